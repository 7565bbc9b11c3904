"""What the gap to a target is made of, and what would close it."""

import math

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import CATALOGUE
from perfnb.kpi.explain import decompose
from perfnb.kpi.pace import action_of, base_columns, first_of, open_book, paced_over, sums_of, value_of, window_of
from perfnb.kpi.targets import as_day, checked
from perfnb.kpi.tree import DEFAULT, Tree, apply, as_tree, measured
from perfnb.period import Period

_ROUNDING = 1e-9  # of the larger of two values: what is less is no difference
INCONSISTENCY = "target_inconsistency"


def gap(figures, targets, *, period, tree=DEFAULT, today=None):
    """Which drivers made the gap between the targets of a period ("2025-08") and what was reached.

    The tree with 0 = target and 1 = actual. While the period runs, the targets of
    sums count as far as they are due (by the root's weekdays); rates are held
    to their targets. A rate without a target takes the one that the targets of
    its numerator and denominator imply (flag "implied_target"). A node is split
    where all its children have targets and figures. What the root's own target
    is more or less than its drivers' targets yield is one row,
    "target_inconsistency" (before: the root's target, after: what they yield).

    Returns one row per node: path, kpi, depth, op ("" where it is not split, null at
    the leaves), level, unit, direction, target (of the whole period, where one was
    set), before (the target so far), after (actual), change, contribution (unit of
    the root), share (of the root's gap; null when that is nearly 0), root, method,
    flag (implied_target; or why it is not split: children_without_target,
    children_not_measurable, formula_differs), action, currency. The children of a
    node, that row included, add up to it.
    """
    book = open_book(figures)
    today = None if today is None else as_day(today, "today")
    period = period if isinstance(period, Period) else Period.parse(period, end=today or book.seen.until)
    stated = _stated(targets, period)
    window, reason = window_of(book, period, today)
    if window is None:
        raise BadParameter(
            f"period {period}: no gap, for it has not begun or lies outside the data ({reason}), which hold {book.seen}"
        )
    reached = sums_of(book.parts[(None, None)].iloc[window.first : window.last])
    aims, actuals, implied = _sides(tree, stated, _share(book, tree.root, period, window, reached), reached)
    for side, what in ((aims, "target"), (actuals, "figure")):
        if side[tree.root] is None or not np.isfinite(side[tree.root]):
            raise BadParameter(
                f"tree: no {what} for its root {tree.root} in {period}; targets there: {', '.join(stated)}. "
                "Set one, or take a tree whose root has both"
            )
    kept, why = _cut(tree, aims, actuals)
    table = _gaps(tree, kept, aims, actuals)
    made_of = {name for name, _, _ in kept}
    rows = []
    for name in table["kpi"]:
        one = CATALOGUE.get(tree.root if name == INCONSISTENCY else name)
        row = {"level": one.level if one else None, "unit": one.unit if one else "x"}
        row |= {"direction": one.direction if one and name != INCONSISTENCY else "context"}
        row |= {"target": stated[name].target if name in stated else np.nan}
        row |= {"flag": why.get(name) or ("implied_target" if name in implied - made_of else None)}
        rows.append(row | {"action": action_of(one, book.action) if one else None})
    table = pd.concat([table, pd.DataFrame(rows)], axis=1).assign(root=tree.root, currency=book.currency)
    table["op"] = ["" if name in why else op for name, op in zip(table["kpi"], table["op"], strict=True)]
    table["change"] = table["after"] - table["before"]
    whole = table["contribution"].iloc[0]
    negligible = abs(whole) <= _ROUNDING * max(abs(aims[tree.root]), abs(actuals[tree.root]))
    table["share"] = np.nan if negligible else table["contribution"] / whole
    order = ["path", "kpi", "depth", "op", "level", "unit", "direction", "target", "before", "after", "change"]
    return table[[*order, "contribution", "share", "root", "method", "flag", "action", "currency"]]


def sensitivity(base, *, tree=DEFAULT):
    """What one per cent more of each driver would be worth, all else equal, in the period "after" of `kpi.base`.

    It is the slope of the tree at these figures, not a forecast: drivers seldom
    move alone, nor at no cost.

    Returns one row per leaf of the tree: kpi, level, unit, direction, value,
    numerator, denominator (rates), one_percent (of the value), worth (of that,
    in the unit of the root; null where a rate is undefined), root (the root's
    KPI), flag (no_base), action, currency; the most worth first.
    """
    tree = as_tree(tree).measurable(base)
    after = base[base["period"] == "after"]
    sums = sums_of(after[base_columns(after)])
    measures = {name: value_of(CATALOGUE[name], sums) for name, _, _ in tree.walk() if name in CATALOGUE}
    known = {name: measure[0] for name, measure in measures.items() if measure[0] is not None}
    values = tree.evaluate(dict.fromkeys(tree.leaves, np.nan) | known)
    slopes = dict.fromkeys(tree.leaves, 0.0)
    weights = {tree.root: 1.0}
    for name, path, _ in tree.walk():
        children = tree.children(name)
        if not children:
            slopes[name] += weights[path]
        for child, slope in zip(children, _slopes(tree.operator(name), [values[one] for one in children]), strict=True):
            weights[f"{path}/{child}"] = weights[path] * slope
    rows = []
    for name in tree.leaves:
        one, (_, top, bottom, flag) = CATALOGUE[name], measures[name]
        row = {"kpi": name, "level": one.level, "unit": one.unit, "direction": one.direction, "value": values[name]}
        row |= {"numerator": top, "denominator": bottom, "one_percent": values[name] / 100, "root": tree.root}
        row["worth"] = values[name] / 100 * slopes[name]
        row["flag"] = flag or ("no_base" if np.isnan(row["worth"]) else None)
        rows.append(
            row | {"action": action_of(one, first_of(after, "action")), "currency": first_of(after, "currency")}
        )
    order = [
        "kpi",
        "level",
        "unit",
        "direction",
        "value",
        "numerator",
        "denominator",
        "one_percent",
        "worth",
        "root",
        "flag",
    ]
    found = pd.DataFrame(rows, columns=[*order, "action", "currency"])
    found = found.astype(dict.fromkeys(("numerator", "denominator"), float))
    return found.sort_values("worth", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _slopes(operator, values):
    """What the node gains per unit of each child."""
    if operator == "*":
        return [math.prod(values[:place] + values[place + 1 :]) for place in range(len(values))]
    if operator == "/":
        top, bottom = values
        return [1 / bottom, -top / bottom**2] if bottom else [np.nan, np.nan]
    return [1.0 if operator == "+" or place == 0 else -1.0 for place in range(len(values))]


def _stated(targets, period):
    """{kpi: Target} of this period's targets with one value for the whole."""
    whole = [
        one for one in checked(targets) if one.channel is None and one.campaign is None and one.direction != "band"
    ]
    found = {}
    for one in whole:
        if (one.since, one.due) == (period.since, period.last_day):
            if one.kpi in found:
                raise BadParameter(f"targets: two targets for {one.kpi} in {period}. Keep one")
            found[one.kpi] = one
    if not found:
        periods = ", ".join(dict.fromkeys(f"{one.since}..{one.due}" for one in whole)) or "none"
        raise BadParameter(f"period {period}: no target with one value for the whole; there are targets for {periods}")
    return found


def _share(book, root, period, window, reached):
    """The share of the period that is due: one for all sums, so that the plan stays what it is."""
    if root in CATALOGUE and CATALOGUE[root].aggregation == "additive" and measured(root, reached):
        return paced_over(book, CATALOGUE[root], (None, None), period, window).share
    return window.days / period.days


def _sides(tree, stated, share, reached):
    """{node: target so far}, {node: actual} (None: there is none), and the nodes whose target others imply."""
    due = {name: one.target for name, one in stated.items()}
    due |= {name: value * share for name, value in due.items() if CATALOGUE[name].aggregation == "additive"}
    planned = {CATALOGUE[name].numerator: value for name, value in due.items() if not CATALOGUE[name].denominator}
    aims, actuals, implied = {}, {}, set()
    for name in reversed([name for name, _, _ in tree.walk()]):  # children before their parents
        one, children = CATALOGUE.get(name), tree.children(name)
        aims[name], actuals[name] = (
            apply(tree.operator(name), [side[child] for child in children])
            if children and all(side[child] is not None for child in children)
            else None
            for side in (aims, actuals)
        )
        if name in due:
            aims[name] = due[name]
        elif one and measured(name, planned):
            aims[name] = value_of(one, planned)[0]
            implied.add(name)
        if one and measured(name, reached):
            actuals[name] = value_of(one, reached)[0]
            if actuals[name] is None and name != tree.root:
                # A driver with nothing to divide by says nothing of the gap: it counts as if it had met its target.
                actuals[name] = aims[name]
    return aims, actuals, implied


def _cut(tree, aims, actuals):
    """The formulas that can be split, from the root down, and {node: why it is not}."""
    kept, flags, reached = [], {}, [tree.root]
    for name in reached:
        children = tree.children(name)
        if not children:
            continue
        aimed, had = ([side[child] for child in children] for side in (aims, actuals))
        if None in aimed or not np.isfinite(apply(tree.operator(name), aimed)):
            flags[name] = "children_without_target"
        elif None in had:
            flags[name] = "children_not_measurable"
        elif not abs(apply(tree.operator(name), had) - actuals[name]) <= _ROUNDING * max(1.0, abs(actuals[name])):
            flags[name] = "formula_differs"
        else:
            kept.append((name, tree.operator(name), children))
            reached += [child for child in children if child not in reached]
    return tuple(kept), flags


def _gaps(tree, kept, aims, actuals):
    """The node table: what the leaves contribute, and what their targets do not yield of the root's."""
    root = tree.root
    if not kept:
        lone = {"path": root, "kpi": root, "depth": 0, "op": None, "before": aims[root], "after": actuals[root]}
        return pd.DataFrame([lone]).assign(contribution=actuals[root] - aims[root], method=None)
    cut = Tree(kept)
    table = decompose(cut, *({name: side[name] for name in cut.leaves} for side in (aims, actuals)))
    yielded = table["before"].iloc[0]
    table.loc[0, ["before", "contribution"]] = aims[root], actuals[root] - aims[root]
    if abs(yielded - aims[root]) > _ROUNDING * max(abs(yielded), abs(aims[root])):
        row = {"path": f"{root}/{INCONSISTENCY}", "kpi": INCONSISTENCY, "depth": 1, "before": aims[root]}
        row |= {"after": yielded, "contribution": yielded - aims[root], "method": table["method"].iloc[0]}
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
    return table
