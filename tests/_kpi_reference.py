"""The KPI decomposition by brute force: plain dicts and exact fractions, no code shared with the package.

Written from the definitions of the method only, to be slow and obvious: Shapley
goes through all orders of the factors, the chain rule through all paths from
the root, logarithms have 60 digits.
"""

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import permutations
from math import prod

# What a rate divides by what; every other KPI used here is the sum of the base column of its name.
RATES = {
    "ctr": ("clicks", "impressions"),
    "cvr": ("conversions", "clicks"),
    "cvr_visit": ("orders", "visits"),
    "visits_per_click": ("ad_visits", "clicks"),
    "aov": ("revenue", "orders"),
    "cpc": ("cost", "clicks"),
    "cpo": ("cost", "orders"),
    "roas": ("revenue", "cost"),
    "new_share": ("new_customers", "orders"),
    "paid_cac": ("cost", "new_customers"),
    "margin_rate": ("contribution", "revenue"),
}
SUMS = {"impressions", "clicks", "ad_visits", "other_visits", "visits", "orders", "conversions", "new_customers"}
SUMS |= {"revenue", "contribution", "cost", "leads", "engaged_visits"}


class Undefined(Exception):
    """The root has no value in a period."""


def log_mean(a, b):
    """(a − b) / ln(a / b); a where they are equal, 0 where one of them is 0."""
    if a == b:
        return Fraction(a)
    if a == 0 or b == 0:
        return Fraction(0)
    with localcontext() as context:
        context.prec = 60
        ratio = Fraction(a) / Fraction(b)
        log = (Decimal(ratio.numerator) / Decimal(ratio.denominator)).ln()
        return (Fraction(a) - Fraction(b)) / Fraction(log)


def weights(op, node, children, method):
    """w with Δnode = Σ w·Δchild; `node` and each child are (before, after)."""
    p0, p1 = node
    if op == "+":
        return [Fraction(1)] * len(children)
    if op == "-":
        return [Fraction(1)] + [Fraction(-1)] * (len(children) - 1)
    if op == "*" and method == "shapley":
        return [_average_product(children, which) for which in range(len(children))]
    if op == "/" and method == "shapley":
        (a0, a1), (b0, b1) = children
        return [(1 / Fraction(b0) + 1 / Fraction(b1)) / 2, -(Fraction(a0) + a1) / 2 / (Fraction(b0) * b1)]
    if p0 == 0 and p1 == 0:
        return [Fraction(0)] * len(children)
    if op == "*":
        if p0 == 0 or p1 == 0:
            end = 0 if p0 == 0 else 1
            zero = [child[end] == 0 and child[1 - end] != 0 for child in children]
            return [
                (Fraction(p1) - p0) / (sum(zero) * (Fraction(child[1]) - child[0])) if is_zero else Fraction(0)
                for child, is_zero in zip(children, zero, strict=True)
            ]
        return [log_mean(p1, p0) / log_mean(child[1], child[0]) for child in children]
    (a0, a1), (b0, b1) = children
    if a0 == 0 or a1 == 0:
        return [(Fraction(p1) - p0) / (Fraction(a1) - a0), Fraction(0)]
    return [log_mean(p1, p0) / log_mean(a1, a0), -log_mean(p1, p0) / log_mean(b1, b0)]


def _average_product(children, which):
    """What the others make together, on average over all orders in which the factors change."""
    found = []
    for order in permutations(range(len(children))):
        place = order.index(which)
        found.append(prod((Fraction(children[c][1]) for c in order[:place]), start=Fraction(1))
                     * prod((Fraction(children[c][0]) for c in order[place + 1 :]), start=Fraction(1)))  # fmt: skip
    return sum(found) / len(found)


def joined(op, values):
    """The values added, subtracted, multiplied or divided."""
    found = Fraction(values[0])
    for value in values[1:]:
        value = Fraction(value)
        found = (
            found + value
            if op == "+"
            else found - value
            if op == "-"
            else found * value
            if op == "*"
            else found / value
        )
    return found


def evaluated(formulas, name, leaves):
    """{node: value} of the tree {node: (operator, children)} below `name`."""
    if name not in formulas:
        return {name: Fraction(leaves[name])}
    found = {}
    for child in formulas[name][1]:
        found |= evaluated(formulas, child, leaves)
    return found | {name: joined(formulas[name][0], [found[child] for child in formulas[name][1]])}


def method_of(formulas, before, after):
    """Log-mean where all operands and results of products and quotients are positive in both periods."""
    for name, (op, children) in formulas.items():
        if op in "*/" and not all(state[one] > 0 for one in (name, *children) for state in (before, after)):
            return "shapley"
    return "logmean"


def decompose(formulas, root, before, after, method="auto"):
    """[(path, before, after, contribution)] of every place from the root down, and the method, from two states."""
    old, new = evaluated(formulas, root, before), evaluated(formulas, root, after)
    used = method_of(formulas, old, new) if method == "auto" else method
    found = []

    def go(name, path, weight):
        found.append((path, old[name], new[name], weight * (new[name] - old[name])))
        if name in formulas:
            op, children = formulas[name]
            pairs = [(old[child], new[child]) for child in children]
            for child, own in zip(children, weights(op, (old[name], new[name]), pairs, used), strict=True):
                go(child, f"{path}/{child}", weight * own)

    go(root, root, Fraction(1))
    return found, used


# From sums of base columns


def measured(name, before, after):
    """(before, after) of a catalogue KPI from two dicts of sums; a rate 0/0 is carried, None is x/0."""
    if name in SUMS:
        return Fraction(before[name]), Fraction(after[name])
    n, d = RATES[name]
    values = [Fraction(s[n]) / Fraction(s[d]) if s[d] else (None if s[n] else "carried") for s in (before, after)]
    if values == ["carried", "carried"]:
        return Fraction(0), Fraction(0)
    for which in (0, 1):
        if values[which] == "carried":
            values[which] = values[1 - which]
    return tuple(values)


def value(name, sums):
    """The value of a catalogue KPI from a dict of sums; None where a rate has no denominator."""
    if name in SUMS:
        return Fraction(sums[name])
    n, d = RATES[name]
    return Fraction(sums[n]) / Fraction(sums[d]) if sums[d] else None


def known(name):
    return name in SUMS or name in RATES


def nodes(formulas, root, before, after, method):
    """{path: contribution}, {kpi: weight summed over its paths}, of a tree over sums; "…/unallocated" below a break."""
    values = {}

    def value(name):
        if name not in values:
            if known(name):
                values[name] = measured(name, before, after)
            else:
                op, children = formulas[name]
                parts = [value(child) for child in children]
                both = []
                for which in (0, 1):
                    own = [part[which] for part in parts]
                    undefined = None in own or (op == "/" and own[1] == 0)
                    both.append(None if undefined else joined(op, own))
                values[name] = tuple(both)
        return values[name]

    found, total = {}, {}

    def go(name, path, weight):
        old, new = value(name)
        found[path] = weight * (new - old)
        total[name] = total.get(name, 0) + weight
        if name not in formulas:
            return
        op, children = formulas[name]
        pairs = [value(child) for child in children]
        lost = [place for place, pair in enumerate(pairs) if None in pair]
        if op == "/" and not lost and 0 in pairs[1]:
            lost = [1]
        if not lost:
            for child, own in zip(children, weights(op, (old, new), pairs, method), strict=True):
                go(child, f"{path}/{child}", weight * own)
            return
        last = max(lost)
        rest = children[last + 1 :]
        if op != "*" or not rest or children[last] not in RATES:
            found[f"{path}/unallocated"] = weight * (new - old)
            return
        column = RATES[children[last]][0]
        pairs = [(Fraction(before[column]), Fraction(after[column])), *pairs[last + 1 :]]
        own = weights("*", (old, new), pairs, method)
        found[f"{path}/unallocated"] = weight * own[0] * (pairs[0][1] - pairs[0][0])
        for child, one in zip(rest, own[1:], strict=True):
            go(child, f"{path}/{child}", weight * one)

    if None in value(root) or (root in RATES and 0 in (before[RATES[root][1]], after[RATES[root][1]])):
        raise Undefined(root)
    go(root, root, Fraction(1))
    return found, total


# Over segments: {segment: (numerator before, denominator before, numerator after, denominator after)}


def split(segments):
    """{segment: {status, rate, mix, undefined, total}} of a ratio (Kitagawa 1955, symmetric); None without a base."""
    n0, d0, n1, d1 = (sum(Fraction(one[place]) for one in segments.values()) for place in range(4))
    if d0 == 0 or d1 == 0:
        return None
    average = (n0 / d0 + n1 / d1) / 2
    found = {}
    for key, values in segments.items():
        a0, b0, a1, b1 = map(Fraction, values)
        total = (a1 / d1 - a0 / d0) - average * (b1 / d1 - b0 / d0)
        row = {"rate": Fraction(0), "mix": Fraction(0), "undefined": Fraction(0), "total": total}
        if (a0 != 0 and b0 == 0) or (a1 != 0 and b1 == 0):
            row |= {"status": "numerator_without_denominator", "undefined": total}
        elif b0 == 0 and b1 == 0:
            row |= {"status": "absent"}
        elif b0 == 0 or b1 == 0:
            row |= {"status": "new" if b0 == 0 else "lost", "mix": total}
        else:
            rate = (b0 / d0 + b1 / d1) / 2 * (a1 / b1 - a0 / b0)
            row |= {"status": "both", "rate": rate, "mix": total - rate}
        found[key] = row
    return found


def split_within(segments):
    """Two levels, for keys (outer, inner): {outer: …}, {(outer, inner): …}."""
    outer = {}
    for (name, _), values in segments.items():
        outer[name] = tuple(a + Fraction(b) for a, b in zip(outer.get(name, (0,) * 4), values, strict=True))
    between = split(outer)
    if between is None:
        return None
    d0, d1 = (sum(one[place] for one in outer.values()) for place in (1, 3))
    inner = {}
    for name, row in between.items():
        own = {key: values for key, values in segments.items() if key[0] == name}
        if row["status"] == "both":
            share = (outer[name][1] / d0 + outer[name][3] / d1) / 2
            for key, one in split(own).items():
                inner[key] = {kind: share * one[kind] for kind in ("rate", "mix", "undefined", "total")}
        else:
            inner |= {key: dict.fromkeys(("rate", "mix", "undefined", "total"), Fraction(0)) for key in own}
    return between, inner


def explain(formulas, root, before, after, method):
    """{(kpi, segment, kind): contribution} of {segment: sums} before and after; nothing where it is 0."""
    columns = {column for one in (*before.values(), *after.values()) for column in one}
    none = dict.fromkeys(columns, 0)
    keys = list(dict.fromkeys([*before, *after]))
    old, new = ({key: side.get(key, none) for key in keys} for side in (before, after))
    total = [{column: sum(Fraction(one[column]) for one in side.values()) for column in columns} for side in (old, new)]
    paths, weight = nodes(formulas, root, *total, method)
    found = {}
    for name, own in weight.items():
        if name in formulas:
            continue
        for key in keys:
            if name in SUMS:
                found[name, key, "volume"] = own * (Fraction(new[key][name]) - Fraction(old[key][name]))
        if name in RATES:
            n, d = RATES[name]
            parts = split({key: (old[key][n], old[key][d], new[key][n], new[key][d]) for key in keys})
            for key, row in (parts or {}).items():
                for kind in ("rate", "mix", "undefined"):
                    found[name, key, kind] = own * row[kind]
    for path, effect in paths.items():
        if path.endswith("/unallocated"):
            place = (path.split("/")[-2], None, "unallocated")
            found[place] = found.get(place, 0) + effect
    return {key: value for key, value in found.items() if value}


def factors(first, rates, before, after):
    """{(segment, factor): effect} of the flat product first × rates in every segment, and the method.

    `before` and `after` are {segment: sums}. Chains that are broken in a segment are not for this function.
    """
    keys = list(dict.fromkeys([*before, *after]))
    none = dict.fromkeys({first, *(column for rate in rates for column in RATES[rate])}, 0)
    old, new = ({key: side.get(key, none) for key in keys} for side in (before, after))
    whole = [sum(Fraction(one[first]) for one in side.values()) for side in (old, new)]
    laid = {}
    for key in keys:
        shares = [
            Fraction(side[key][first]) / all_ if all_ else None for side, all_ in zip((old, new), whole, strict=True)
        ]
        shares = [shares[1 - w] if shares[w] is None else shares[w] for w in (0, 1)]
        shares = [Fraction(0) if one is None else one for one in shares]
        laid[key] = [tuple(whole), tuple(shares), *(measured(rate, old[key], new[key]) for rate in rates)]
    negative = any(value < 0 for chain in laid.values() for pair in chain for value in pair)
    method = "shapley" if negative else "logmean"
    found = {}
    for key, pairs in laid.items():
        node = (prod(pair[0] for pair in pairs), prod(pair[1] for pair in pairs))
        own = weights("*", node, pairs, method)
        for name, weight, (a, b) in zip(("volume", "mix", *rates), own, pairs, strict=True):
            found[key, name] = weight * (b - a)
    return found, method
