"""Why a KPI moved: exact contributions through the tree, and by segment, each with its interval.

Contributions are accounting, not causes. They are in the unit of the root,
add up at every level, and reverse with time.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfnb.engine import Table
from perfnb.errors import BadParameter
from perfnb.kpi import figures
from perfnb.kpi.catalogue import CATALOGUE, kpi
from perfnb.kpi.noise import DRAWS, limits, sums
from perfnb.kpi.ratio import kitagawa
from perfnb.kpi.tree import DEFAULT, apply, as_tree, keys, links, measured
from perfnb.kpi.weights import METHODS, weights

_TINY = 1e-9
_RATIOS = ("numerator_before", "denominator_before", "numerator_after", "denominator_after")
_ESTIMATE = ("contribution", "low", "high", "within_noise", "share")
UNALLOCATED = "unallocated"


def nodes(table, *, tree=DEFAULT, period=None, compare="previous", action="orders", method="auto", draws=DRAWS, seed=0):
    """The tree with before, after and what each node contributed to the root's change.

    `table` is a Table of campaigns (then `period` is needed), or the result of
    `kpi.base`. Weights inside a node are log-mean (LMDI: Ang 2005) where all that
    is multiplied or divided is positive in both periods, else Shapley (Das Gupta
    1993) for the whole tree; `method` asks for one. The chain rule carries them
    to the root. `tree` is a Tree or its text. A rate with nothing to divide by in one period takes its value of
    the other. Where something is divided by nothing (orders without clicks), the
    part above it stands in a row "unallocated"; so does what a formula does not
    yield. A root that is undefined in a period is refused; one that the data do not
    have gives way to the first node that they have (flag in_place_of). A ratio is
    of all sums; where it counts rows whose denominator is unknown, its flag says so. Intervals are from
    days drawn again within their weekdays (`draws` times).

    Returns one row per node: path, kpi, depth, op (how its children make it; ""
    where it is not split, null at the leaves), level, unit, direction, before,
    after, change, growth (change / before), weight (root units per unit of the
    node), contribution, low, high (95 %), within_noise (the interval holds 0),
    share (of the root's change; null when that is nearly 0), numerator and
    denominator before and after (ratios), root, method, flag, action, currency.
    The children of a node add up to it.
    """
    base = _base(table, period, compare, (), action)
    grown = grow(base, tree, method, draws, seed)
    asked = as_tree(tree).root
    rows = []
    for spot in grown.spots:
        before, after = (float(side[0]) for side in spot.value)
        effect = spot.weight * (spot.value[1] - spot.value[0])
        low, high = limits(effect, grown.weeks)
        one = CATALOGUE.get(spot.kpi)
        row = {"path": spot.path, "kpi": spot.kpi, "depth": spot.depth, "op": spot.op, "before": before, "after": after}
        row |= {"level": one.level if one else None, "unit": one.unit if one else "x"}
        row |= {"direction": one.direction if one else "context", "weight": float(spot.weight[0])}
        row |= {"contribution": float(effect[0]), "low": low, "high": high, "flag": spot.flag}
        if spot.kpi == UNALLOCATED:
            row |= {"level": spot.level, "unit": spot.unit, "before": np.nan, "after": np.nan}
        elif one and one.denominator and measured(spot.kpi, grown.sums):
            row["flag"] = ", ".join(filter(None, [row["flag"], _beyond(base, one)])) or None
            for end, side in enumerate(("before", "after")):
                top, bottom = (float(made(grown.sums)[end, 0]) for made in (one.top, one.bottom))
                row |= {f"numerator_{side}": top, f"denominator_{side}": bottom}
                row |= {side: top / bottom if bottom else np.nan}
        rows.append(row | {"change": after - before})
    if asked != grown.tree.root:
        rows[0]["flag"] = ", ".join(filter(None, [rows[0]["flag"], f"in_place_of:{asked}"]))
    found = pd.DataFrame(rows)
    for name in _RATIOS:
        found[name] = found.get(name, np.nan)
    known = found["before"].notna() & found["after"].notna() & found["before"].ne(0)
    found["growth"] = (found["change"] / found["before"].abs()).where(known)
    found["change"] = found["change"].where(found["kpi"] != UNALLOCATED)
    found = _stated(found, grown, base)
    order = [
        "path",
        "kpi",
        "depth",
        "op",
        "level",
        "unit",
        "direction",
        "before",
        "after",
        "change",
        "growth",
        "weight",
    ]
    ratios = ["numerator_before", "denominator_before", "numerator_after", "denominator_after"]
    interval = ["contribution", "low", "high", "within_noise", "share"]
    return found[[*order, *interval, *ratios, "root", "method", "flag", "action", "currency"]]


def explain(
    table,
    *,
    tree=DEFAULT,
    period=None,
    compare="previous",
    by=("channel", "campaign"),
    action="orders",
    method="auto",
    draws=DRAWS,
    seed=0,
):
    """Which segments moved the root, through which KPI, by volume, rate or mix.

    `table` is a Table of campaigns (then `period` is needed), or the result of
    `kpi.base` split by (at least) `by`. A sum changes by volume. A rate changes
    because segments changed theirs ("rate") or because the weight moved between
    segments with different rates ("mix"); the split is Kitagawa's (1955),
    symmetric in time, by the rate's own denominator. A segment with a numerator
    and no denominator is "undefined"; what `kpi.nodes` cannot split is
    "unallocated" and of no segment.

    Returns one row per leaf of the tree, segment and kind: kpi, (by), kind
    (volume, rate, mix, undefined, unallocated), status (both, new, lost,
    numerator_without_denominator), before, after (of the KPI in the segment),
    numerator and denominator before and after (ratios), contribution (unit of
    the root), low, high (95 %), within_noise, share (of the root's change),
    unit, root, method, flag (few_weeks: fewer than four, so that intervals are
    rough), action, currency; the largest first. All rows add up to the root's
    change.
    """
    by = keys(by)
    base = _base(table, period, compare, by, action)
    grown = grow(base, tree, method, draws, seed, by)
    parts = [_rows(effect, grown, by) for effect in effects(grown)]
    found = pd.concat(parts, ignore_index=True)
    found["unit"] = found["kpi"].map({name: one.unit for name, one in CATALOGUE.items()})
    found = _stated(found, grown, base)
    found = found.assign(size=found["contribution"].abs()).sort_values(
        ["size", "kpi", *by, "kind"], ascending=[False, True, *([True] * len(by)), True], ignore_index=True
    )
    order = ["kpi", *by, "kind", "status", "before", "after", *_RATIOS, *_ESTIMATE]
    return found[[*order, "unit", "root", "method", "flag", "action", "currency"]]


def kinds(
    table,
    *,
    tree=DEFAULT,
    period=None,
    compare="previous",
    by=("channel", "campaign"),
    action="orders",
    method="auto",
    draws=DRAWS,
    seed=0,
):
    """Rate or mix: the result of `kpi.explain` over all segments, with intervals of the sums.

    Returns one row per leaf of the tree and kind: kpi, kind (volume, rate, mix,
    undefined, unallocated), contribution (unit of the root), low, high (95 %),
    within_noise, share (of the root's change), reversal (true where every segment's
    own rate moved one way and the total the other: Simpson's paradox), unit,
    root, method, flag (few_weeks), action, currency; the largest first.
    """
    by = keys(by)
    base = _base(table, period, compare, by, action)
    grown = grow(base, tree, method, draws, seed, by)
    rows = []
    for effect in effects(grown):
        whole = effect.size.sum(axis=1)
        low, high = limits(whole, grown.weeks)
        row = {"kpi": effect.kpi, "kind": effect.kind, "contribution": float(whole[0]), "low": low, "high": high}
        rows.append(
            row | {"reversal": effect.reversal, "unit": CATALOGUE[effect.kpi].unit if effect.kpi in CATALOGUE else "x"}
        )
    found = _stated(pd.DataFrame(rows), grown, base)
    found = found.assign(size=found["contribution"].abs())
    found = found.sort_values(["size", "kpi"], ascending=[False, True], ignore_index=True)
    return found[["kpi", "kind", *_ESTIMATE, "reversal", "unit", "root", "method", "flag", "action", "currency"]]


def decompose(tree, before, after, *, method="auto"):
    """Contributions between two states of a tree whose leaf values are given ({kpi: value}).

    For targets against actuals, expected against observed, and published
    examples. A value given for an inner node is taken as it is, and the node is
    not split.

    Returns one row per node: path, kpi, depth, op (null at the leaves), before,
    after, change, contribution (unit of the root), share, root, method. The
    children of a node add up to it.
    """
    tree = as_tree(tree)
    ends = [tree.evaluate({name: float(value) for name, value in end.items()}) for end in (before, after)]
    given = set(before) & set(after)
    values = {name: np.array([[end[name]] for end in ends]) for name in ends[0]}
    bad = next((name for name, value in values.items() if not np.isfinite(value).all()), None)
    if bad:
        raise BadParameter(f"tree: {bad} has no value in one of the states (something is divided by 0, or missing)")
    split = {name: (op, children) for name, op, children in tree.formulas if name not in given}
    method = _method(method, split, values)
    spots = _climb(tree.root, split, {}, values, method)
    change = ends[1][tree.root] - ends[0][tree.root]
    rows = [
        {"path": spot.path, "kpi": spot.kpi, "depth": spot.depth, "op": spot.op}
        | {"before": spot.value[0][0], "after": spot.value[1][0], "change": spot.value[1][0] - spot.value[0][0]}
        | {"contribution": spot.weight[0] * (spot.value[1][0] - spot.value[0][0])}
        for spot in spots
    ]
    found = pd.DataFrame(rows)
    found["share"] = found["contribution"] / change if abs(change) > _floor(values[tree.root]) else np.nan
    return found.assign(root=tree.root, method=method)


@dataclass(frozen=True)
class _Spot:
    """One node at one place of the tree; `value` is (2, draws), `weight` (draws)."""

    path: str
    kpi: str
    depth: int
    op: str | None
    value: np.ndarray
    weight: np.ndarray
    level: str | None = None
    unit: str | None = None
    flag: str | None = None


@dataclass(frozen=True)
class _Grown:
    """A tree with its figures: sums {column: (2, draws)}, by segment (2, draws, segments), and its places."""

    tree: object
    spots: list
    sums: dict
    parts: dict
    segments: pd.DataFrame
    method: str
    weeks: int

    @property
    def change(self):
        return self.spots[0].value[1][0] - self.spots[0].value[0][0]


@dataclass(frozen=True)
class _Effect:
    """One leaf's contributions of one kind: `size` is (draws, segments)."""

    kpi: str
    kind: str
    size: np.ndarray
    shown: np.ndarray | None = None
    status: np.ndarray | None = None
    reversal: bool = False


def _base(table, period, compare, by, action):
    if isinstance(table, Table):
        if period is None:
            raise BadParameter("period: None; expected for example '2025-08' or 'last 28 days', to be compared")
        return figures.base(table, period=period, compare=compare, by=by, action=action)
    if period is not None:
        raise BadParameter(f"period {period!r}: the sums of `kpi.base` have their periods already; leave it out")
    return table


def grow(base, tree, method, draws, seed, by=()):
    """The tree with its figures and places, by segment, for the data and every draw."""
    tree = as_tree(tree).measurable(base)
    action = base["action"].iloc[0] if "action" in base else "orders"
    drawn = sums(base, by=by, draws=draws, seed=seed)
    whole = {name: part.sum(axis=2) for name, part in drawn.parts.items()}
    values, hanging = _values(tree, whole)
    split, closed, flags = {}, {}, {}
    for name, op, children in tree.formulas:
        broken = [child for child in children if child in hanging]
        if broken:
            kept, top = _after_break(children, broken, whole, action) if op == "*" else ((), None)
            flags[name] = ", ".join(f"chain_broken_at:{child}" for child in broken)
            key = f"{name}/{UNALLOCATED}"
            values[key] = values[name] if top is None else top
            split[name] = (op, (key, *kept))
        else:
            split[name] = (op, children)
        made = apply(split[name][0], [values[child] for child in split[name][1]]) if len(split[name][1]) > 1 else None
        if made is not None and not np.allclose(made[:, 0], values[name][:, 0], rtol=_TINY, atol=_TINY):
            flags[name] = ", ".join(filter(None, [flags.get(name), "formula_differs"]))
            values[f"{name}/made"], closed[name] = made, values[name] - made
    method = _method(method, split, values)
    spots = _climb(tree.root, split, closed, values, method, flags)
    return _Grown(tree, spots, whole, drawn.parts, drawn.segments, method, drawn.weeks)


def _values(tree, whole):
    """{node: (2, draws)}, undefined rates carried over, and the rates that have a numerator and no denominator."""
    values, hanging = {}, set()

    def value(name):
        if name in values:
            return values[name]
        if name in CATALOGUE and measured(name, whole):
            one = kpi(name)
            top = one.top(whole)
            if not one.denominator:
                values[name] = np.nan_to_num(top)
                return values[name]
            values[name] = _rate(name, np.nan_to_num(top), np.nan_to_num(one.bottom(whole)))
        else:
            parts = [value(child) for child in tree.children(name)]
            # It has no formula of its own: what is divided by nothing below it leaves it without a value.
            hanging.update({name} if hanging & set(tree.children(name)) else ())
            joined = tree.operator(name) == "/"
            values[name] = _rate(name, *parts) if joined else apply(tree.operator(name), parts)
        return values[name]

    def _rate(name, top, bottom):
        if ((bottom[:, 0] == 0) & (top[:, 0] != 0)).any():
            hanging.add(name)
        found = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)
        if name == tree.root and np.isnan(found[:, 0]).any():
            which = "before" if np.isnan(found[0, 0]) else "after"
            below = kpi(name).denominator if name in CATALOGUE and kpi(name).denominator else tree.children(name)[1]
            raise BadParameter(
                f"tree: {name} is undefined in the period {which}: {below} is 0 there. "
                "Choose another period, or another root"
            )
        found = np.where(np.isnan(found), found[::-1], found)
        return np.nan_to_num(found)

    value(tree.root)
    for name, _, _ in tree.walk():
        value(name)
    if tree.root in hanging:
        broken = next(name for name, _, _ in reversed(tree.walk()) if name in hanging)
        raise BadParameter(
            f"tree: {tree.root} has no value in one of the periods: {broken} is something divided by nothing there. "
            "Choose another period, or another root"
        )
    return values, hanging


def _after_break(children, broken, whole, action):
    """The rates right of the rightmost break of a chain m0 × m1/m0 × …, and the measure that stands for its left."""
    line = chain(children, whole, action)
    place = max((line.index(child) for child in broken), default=len(line)) if line else 0
    if not line or place == len(line) - 1:
        return (), None
    return tuple(line[place + 1 :]), np.nan_to_num(kpi(line[place]).top(whole))


def chain(names, columns, action):
    """The factors of a product in the order m0, m1/m0, m2/m1 …; empty where they are no such chain."""
    parts = [name for name in names if name in CATALOGUE and measured(name, columns)]
    found = [name for name in parts if not kpi(name).denominator][:1]
    while found and len(found) < len(names):
        after = next((name for name in parts if name not in found and links(found[-1], name, action)), None)
        if after is None:
            return []
        found.append(after)
    return found


def _method(method, split, values):
    if method not in ("auto", *METHODS):
        raise BadParameter(f"method {method!r}: expected auto, {' or '.join(METHODS)}")
    used = [(name, children) for name, (op, children) in split.items() if op in "*/" and len(children) > 1]
    low = min((values[one][:, 0].min() for name, children in used for one in (name, *children)), default=1.0)
    if method == "logmean" and low < 0:
        raise BadParameter("method 'logmean': a value is negative, and has no logarithm. Use 'auto' or 'shapley'")
    return ("logmean" if low > 0 else "shapley") if method == "auto" else method


def _climb(root, split, closed, values, method, flags=None):
    """Every place of the tree from the root down, with its weight by the chain rule."""
    spots, one = [], np.ones_like(values[root][0])
    flags = flags or {}

    def below(name, path, depth, weight):
        op, children = split.get(name, (None, ()))
        alone = len(children) == 1 and children[0].endswith(UNALLOCATED)
        spots.append(_Spot(path, name, depth, "" if alone else op, values[name], weight, flag=flags.get(name)))
        made = values.get(f"{name}/made", values[name])
        own = [one] if len(children) < 2 else weights(op, made, [values[child] for child in children], method)
        for child, part in zip(children, own, strict=False):
            if child.endswith(f"/{UNALLOCATED}"):
                lost(child, f"{path}/{UNALLOCATED}", depth + 1, name, values[child], weight * part)
            else:
                below(child, f"{path}/{child}", depth + 1, weight * part)
        if name in closed:
            lost(name, f"{path}/difference", depth + 1, name, closed[name], weight)

    def lost(_, path, depth, parent, value, weight):
        above = CATALOGUE.get(parent)
        level, unit = (above.level, above.unit) if above else (None, "x")
        spots.append(_Spot(path, UNALLOCATED, depth, None, value, weight, level, unit))

    below(root, root, 0, one)
    return spots


def effects(grown):
    """The contributions of every leaf by segment and kind, and what has no segment."""
    total, lost = {}, {}
    for spot in grown.spots:
        if spot.kpi == UNALLOCATED:
            parent = spot.path.split("/")[-2]
            lost[parent] = lost.get(parent, 0.0) + spot.weight * (spot.value[1] - spot.value[0])
        elif spot.op is None:
            total[spot.kpi] = total.get(spot.kpi, 0.0) + spot.weight
    for name, effect in lost.items():
        yield _Effect(name, UNALLOCATED, effect[:, None])
    for name, weight in total.items():
        one = kpi(name)
        top = np.nan_to_num(one.top(grown.parts))
        if not one.denominator:
            shown = (top[:, 0] != 0).any(axis=0)
            yield _Effect(name, "volume", weight[:, None] * (top[1] - top[0]), shown)
            continue
        bottom = np.nan_to_num(one.bottom(grown.parts))
        if not bottom[:, 0].sum(axis=1).all():  # its value was carried over from the other period: it moved nothing
            continue
        split = kitagawa(top, bottom, name)
        for kind in ("rate", "mix", "undefined"):
            shown = split.shown(kind)
            if shown.any():
                size = weight[:, None] * getattr(split, kind)
                yield _Effect(name, kind, size, shown, split.status, split.reversal)


def _rows(effect, grown, by):
    """The rows of one kind of one leaf as a frame."""
    if effect.shown is None:
        low, high = limits(effect.size[:, 0], grown.weeks)
        row = {
            "kpi": effect.kpi,
            "kind": effect.kind,
            "contribution": float(effect.size[0, 0]),
            "low": low,
            "high": high,
        }
        return pd.DataFrame([row | dict.fromkeys([*by, "status", "before", "after", *_RATIOS])])
    places = np.flatnonzero(effect.shown)
    one = kpi(effect.kpi)
    low, high = limits(effect.size[:, places], grown.weeks)
    found = grown.segments.iloc[places].reset_index(drop=True)
    found = found.assign(kpi=effect.kpi, kind=effect.kind, contribution=effect.size[0, places], low=low, high=high)
    top = np.nan_to_num(one.top(grown.parts)[:, 0, places])
    found["status"] = effect.status[places] if effect.status is not None else None
    bottom = np.nan_to_num(one.bottom(grown.parts)[:, 0, places]) if one.denominator else None
    for end, side in enumerate(("before", "after")):
        found[f"numerator_{side}"] = top[end] if one.denominator else np.nan
        found[f"denominator_{side}"] = bottom[end] if one.denominator else np.nan
        own = top[end]
        if one.denominator:
            own = np.divide(top[end], bottom[end], out=np.full(len(places), np.nan), where=bottom[end] != 0)
        found[side] = own
    return found


def _stated(found, grown, base):
    """The columns that every result of this room ends with."""
    known = found["low"].notna()
    found["within_noise"] = ((found["low"] <= 0) & (found["high"] >= 0)).astype("boolean").where(known)
    root = grown.spots[0].value[:, :1]
    found["share"] = found["contribution"] / grown.change if abs(grown.change) >= _floor(root) else np.nan
    uses = {name for name, one in CATALOGUE.items() if "conversions" in one.columns}
    action = base["action"].iloc[0] if "action" in base else None
    found["action"] = [action if name in uses else None for name in found["kpi"]]
    if known.any() and grown.weeks < 4:
        own = found["flag"] if "flag" in found else [None] * len(found)
        found["flag"] = [", ".join(filter(None, [one, "few_weeks"])) for one in own]
    elif "flag" not in found:
        found["flag"] = None
    return found.assign(root=grown.tree.root, method=grown.method, currency=base["currency"].iloc[0])


def _beyond(base, one):
    """A note where a ratio counts rows in whose denominator nothing is known: revenue of channels without a cost."""
    top, bottom = (base[list(side)] for side in one.terms)
    alone = top.notna().any(axis=1) & top.ne(0).any(axis=1) & bottom.isna().all(axis=1)
    return "counts_rows_without_denominator" if alone.any() else None


def _floor(root):
    """A change below this share of the root is none."""
    return _TINY * max(float(np.abs(root).max()), 1e-300)
