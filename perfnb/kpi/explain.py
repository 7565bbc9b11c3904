"""Why a KPI moved: exact contributions through the tree, and by segment.

Contributions are accounting, not causes. They are in the unit of the root,
add up at every level, and reverse with time.
"""

import math
from itertools import combinations

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import BASE, kpi
from perfnb.kpi.tree import DEFAULT

_TINY = 1e-9


def explain(base, *, tree=DEFAULT):
    """The tree with before, after and what each node contributed to the root's change.

    Weights inside a node are log-mean (LMDI: Ang 2005) where all its factors are
    positive in both periods, else Shapley (Das Gupta 1993) for the whole tree;
    the chain rule carries them to the root. A rate with nothing to divide by in
    one period takes its value of the other; where something is divided by
    nothing, the node above it is not split further, and its part stands in a row
    "unallocated". A root that is undefined in a period is refused.

    Returns one row per node: path, kpi, depth, op (how its children make it; ""
    where it is not split, null at the leaves), level, unit, direction, before,
    after, change, growth (change / before), weight (root units per unit of the
    node), contribution, share (of the root's change; null when that is nearly
    0), numerator and denominator before and after (ratios), method, currency. The children of a node add up to it.
    """
    sums = _sums(base)
    tree = tree.measurable(base)
    _refuse_undefined(kpi(tree.root), sums)
    values, broken = _values(tree, sums)
    split = _split_formulas(tree, broken)
    _refuse_inconsistent(split, values)
    method = "logmean" if _all_positive(split, values) else "shapley"
    change = values[tree.root][1] - values[tree.root][0]
    negligible = abs(change) < _TINY * max(abs(values[tree.root][0]), abs(values[tree.root][1]), 1e-300)
    rows = []
    weights = {tree.root: 1.0}
    for name, path, depth in tree.walk():
        if path not in weights:
            continue
        one, (before, after), weight = kpi(name), values[name], weights[path]
        children = tree.children(name)
        ratio = one.denominator
        shown = (one.of(sums["before"]), one.of(sums["after"])) if ratio else (before, after)
        rows.append(
            {
                "path": path,
                "kpi": name,
                "depth": depth,
                "op": "" if name in broken else tree.operator(name),
                "level": one.level,
                "unit": one.unit,
                "direction": one.direction,
                "before": shown[0],
                "after": shown[1],
                "change": after - before,
                "growth": (after - before) / abs(before) if before and None not in shown else np.nan,
                "weight": weight,
                "contribution": weight * (after - before),
                "numerator_before": sums["before"][one.numerator] if ratio else np.nan,
                "denominator_before": sums["before"][one.denominator] if ratio else np.nan,
                "numerator_after": sums["after"][one.numerator] if ratio else np.nan,
                "denominator_after": sums["after"][one.denominator] if ratio else np.nan,
            }
        )
        if name in broken:
            lost = {"path": f"{path}/unallocated", "kpi": "unallocated", "depth": depth + 1, "level": one.level}
            lost |= {"unit": one.unit, "direction": "context", "weight": weight}
            rows.append(lost | {"contribution": weight * (after - before)})
        elif children:
            inner = _weights(tree.operator(name), values[name], [values[child] for child in children], method)
            for child, own in zip(children, inner, strict=True):
                weights[f"{path}/{child}"] = weight * own
    table = pd.DataFrame(rows)
    table["share"] = np.nan if negligible else table["contribution"] / change
    table["method"] = method
    table["currency"] = base["currency"].iloc[0]
    order = ["path", "kpi", "depth", "op", "level", "unit", "direction", "before", "after", "change", "growth"]
    ratios = ["numerator_before", "denominator_before", "numerator_after", "denominator_after"]
    return table[[*order, "weight", "contribution", "share", *ratios, "method", "currency"]]


def movers(base, *, by=("channel", "campaign"), tree=DEFAULT):
    """Which segments moved the root, through which KPI, by volume, rate or mix.

    A sum changes by volume. A rate changes because segments changed theirs
    ("rate") or because the weight moved between segments with different rates
    ("mix"); the split is Kitagawa's (1955), symmetric in time. A segment that has
    a numerator but no denominator is "undefined".

    Returns one row per leaf of the tree, segment and kind: kpi, (by), kind
    (volume, rate, mix, undefined, unallocated), before, after (of the KPI in
    the segment), contribution (unit of the root), share (of the root's change),
    unit, currency. All rows add up to the root's change.
    """
    by = list(by)
    missing = [name for name in by if name not in base]
    if missing:
        raise BadParameter(
            f"by {missing[0]!r}: the sums of `kpi.base` are not split by it; found {', '.join(base.columns)}. "
            "Give it to `kpi.base` as well"
        )
    nodes = explain(base, tree=tree)
    wide = base.groupby([*by, "period"], dropna=False)[list(BASE)].sum(min_count=1).unstack("period")
    rows = []
    for node in nodes.itertuples():
        if node.kpi == "unallocated":
            rows.append({"kpi": node.path.split("/")[-2], "kind": "unallocated", "contribution": node.contribution})
        elif pd.isna(node.op):
            rows += _split(wide, kpi(node.kpi), node.weight)
    table = pd.DataFrame(rows, columns=["segment", "kpi", "kind", "before", "after", "contribution"])
    table["unit"] = [kpi(name).unit for name in table["kpi"]]
    change = nodes["contribution"].iloc[0]
    largest = max(abs(nodes["before"].iloc[0]), abs(nodes["after"].iloc[0]), 1e-300)
    table["share"] = table["contribution"] / change if abs(change) >= _TINY * largest else np.nan
    table["currency"] = nodes["currency"].iloc[0]
    for position, name in enumerate(by):
        table[name] = [key[position] if isinstance(key, tuple) else None for key in table["segment"]]
    order = ["kpi", *by, "kind", "before", "after", "contribution", "share", "unit", "currency"]
    table = table.assign(size=table["contribution"].abs()).sort_values(
        ["size", "kpi", *by, "kind"], ascending=[False, True, *([True] * len(by)), True], ignore_index=True
    )
    return table[order]


def kinds(movers):
    """The result of `movers` summed over segments: volume, rate and mix of each KPI.

    Returns one row per KPI and kind: kpi, kind, contribution (unit of the
    root), share (of the root's change), currency.
    """
    columns = ["contribution", "share"]
    table = movers.groupby(["kpi", "kind"], sort=False)[columns].sum(min_count=1).reset_index()
    table = table.assign(size=table["contribution"].abs()).sort_values(["size", "kpi"], ascending=[False, True])
    table["currency"] = movers["currency"].iloc[0] if len(movers) else None
    return table.drop(columns="size").reset_index(drop=True)


def _sums(base):
    totals = base.groupby("period")[list(BASE)].sum(min_count=1)
    return {period: totals.loc[period].to_dict() for period in ("before", "after")}


def _values(tree, sums):
    """{kpi: (before, after)}, with undefined rates carried over, and the nodes that cannot be split."""
    values, broken = {}, set()
    for name in dict.fromkeys(name for name, _, _ in tree.walk()):
        one = kpi(name)
        found = [one.of(sums[period]) for period in ("before", "after")]
        if one.denominator:
            hanging = [
                not sums[period][one.denominator] and bool(_zero(sums[period][one.numerator]))
                for period in ("before", "after")
            ]
            if any(hanging):
                broken |= {parent for parent, _, children in tree.formulas if name in children}
        carried = next((number for number in found if number is not None), 0.0)
        empty = carried if one.denominator else 0.0
        values[name] = tuple(empty if number is None else number for number in found)
    return values, broken


def _zero(number):
    return 0.0 if number is None or math.isnan(number) else number


def _refuse_undefined(root, sums):
    for period in ("before", "after"):
        if root.denominator and root.of(sums[period]) is None:
            raise BadParameter(
                f"tree: {root.id} is undefined in the period {period}: {root.denominator} is 0 there. "
                f"Choose another period, or a tree whose root is {root.numerator}"
            )


def _split_formulas(tree, broken):
    """The formulas that the root reaches without passing a node that cannot be split."""
    reached, formulas = [tree.root], []
    for name in reached:
        if tree.children(name) and name not in broken:
            formulas.append((name, tree.operator(name), tree.children(name)))
            reached += [child for child in tree.children(name) if child not in reached]
    return formulas


def _refuse_inconsistent(formulas, values):
    for name, operator, children in formulas:
        for period, end in (("before", 0), ("after", 1)):
            made, own = _apply(operator, [values[child][end] for child in children]), values[name][end]
            if abs(made - own) > _TINY * max(1.0, abs(own)):
                raise BadParameter(
                    f"tree: {name} = {f' {operator} '.join(children)} gives {made:,.6g} in the period {period}, "
                    f"but {name} itself is {own:,.6g}. The formula does not hold with the catalogue's definitions"
                )


def _apply(operator, numbers):
    if operator == "+":
        return sum(numbers)
    if operator == "*":
        return math.prod(numbers)
    first, second = numbers
    if operator == "-":
        return first - second
    return first / second if second else 0.0


def _all_positive(formulas, values):
    return all(
        number > 0
        for name, operator, children in formulas
        if operator in "*/"
        for one in (name, *children)
        for number in values[one]
    )


def _weights(operator, node, children, method):
    """For each child w with: change of the node = sum of w times the child's change."""
    if operator == "+":
        return [1.0] * len(children)
    if operator == "-":
        return [1.0, -1.0]
    if method == "logmean":
        own = _log_mean(node[1], node[0])
        signs = [1.0, -1.0] if operator == "/" else [1.0] * len(children)
        return [sign * own / _log_mean(after, before) for sign, (before, after) in zip(signs, children, strict=True)]
    if operator == "/":
        (a0, a1), (b0, b1) = children
        if not (b0 and b1):
            return [0.0, 0.0]
        return [(1 / b0 + 1 / b1) / 2, -(a0 + a1) / 2 / (b0 * b1)]
    return [_shapley(children, place) for place in range(len(children))]


def _log_mean(a, b):
    x = math.log(a / b)
    return b * (1 + x / 2) if abs(x) < 1e-12 else b * math.expm1(x) / x


def _shapley(children, place):
    others = [child for index, child in enumerate(children) if index != place]
    count, total = len(children), 0.0
    for size in range(count):
        share = math.factorial(size) * math.factorial(count - 1 - size) / math.factorial(count)
        for chosen in combinations(range(count - 1), size):
            total += share * math.prod(others[j][1] if j in chosen else others[j][0] for j in range(count - 1))
    return total


def _split(wide, one, weight):
    """Rows of one leaf by segment, in units of the root."""
    n = _pair(wide, one.numerator)
    if not one.denominator:
        return [
            {"segment": _key(key), "kpi": one.id, "kind": "volume", "before": n[0][i], "after": n[1][i]}
            | {"contribution": weight * (n[1][i] - n[0][i])}
            for i, key in enumerate(wide.index)
            if n[0][i] or n[1][i]
        ]
    d = _pair(wide, one.denominator)
    whole = [side.sum() for side in d]
    if not all(whole):
        return []
    rates = [side_n.sum() / side_d for side_n, side_d in zip(n, whole, strict=True)]
    middle = sum(rates) / 2
    rows = []
    for i, key in enumerate(wide.index):
        shares = [d[k][i] / whole[k] for k in (0, 1)]
        total = n[1][i] / whole[1] - n[0][i] / whole[0] - middle * (shares[1] - shares[0])
        own = [n[k][i] / d[k][i] if d[k][i] else np.nan for k in (0, 1)]
        if any(n[k][i] and not d[k][i] for k in (0, 1)):
            parts = {"undefined": total}
        elif d[0][i] and d[1][i]:
            rate = (shares[0] + shares[1]) / 2 * (own[1] - own[0])
            parts = {"rate": rate, "mix": total - rate}
        elif d[0][i] or d[1][i]:
            parts = {"mix": total}
        else:
            continue
        for kind, part in parts.items():
            row = {"segment": _key(key), "kpi": one.id, "kind": kind, "before": own[0], "after": own[1]}
            rows.append(row | {"contribution": weight * part})
    return rows


def _key(key):
    return key if isinstance(key, tuple) else (key,)


def _pair(wide, column):
    return [wide[column, period].fillna(0.0).to_numpy(float) for period in ("before", "after")]
