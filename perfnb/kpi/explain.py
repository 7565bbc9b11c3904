"""Why a KPI moved: exact contributions through the tree, and by segment, each with its interval.

Contributions are accounting, not causes. They are in the unit of the root,
add up at every level, and reverse with time.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from perfnb.engine import Table
from perfnb.errors import BadParameter
from perfnb.kpi import figures
from perfnb.kpi.catalogue import CATALOGUE, kpi
from perfnb.kpi.noise import DRAWS, Drawn, Halves, half_width, halves, limits, sums, texts, within
from perfnb.kpi.ratio import Split, kitagawa
from perfnb.kpi.tree import DEFAULT, apply, as_tree, keys, links, measured, present
from perfnb.kpi.weights import METHODS, weights

_TINY = 1e-9
_RATIOS = ("numerator_before", "denominator_before", "numerator_after", "denominator_after")
_ENDS = ("root", "method", "flag", "action", "currency")
_ESTIMATE = ("contribution", "low", "high", "within_noise", "share")
UNALLOCATED = "unallocated"


def nodes(table, *, tree=DEFAULT, period=None, compare="previous", action="orders", method="auto", draws=DRAWS, seed=0):
    """The tree with before, after and what each node contributed to the root's change.

    `table` is a Table of campaigns (then `period` is needed), or the result of
    `kpi.base`. Weights inside a node are log-mean (LMDI: Ang 2005) where all that
    is multiplied or divided is positive in both periods, else Shapley (Das Gupta
    1993) for the whole tree; `method` asks for one. The chain rule carries them
    to the root. `tree` is a Tree or its text. A rate with nothing to divide by in
    one period takes its value of the other. Where something is divided by nothing
    (orders without clicks), the part above it stands in a row "unallocated"; so
    does what a formula does not yield. A root that is undefined in a period is
    refused; one that the data do not have gives way to the first node that they
    have (flag in_place_of). A ratio is of all sums; where it counts rows whose
    denominator is unknown, its flag says so. Intervals are from days drawn again
    within their weekdays (`draws` times).

    Returns one row per node: path, kpi, depth, op (how its children make it; ""
    where it is not split, null at the leaves), level, unit, direction, before,
    after, change, growth (change / before), weight (root units per unit of the
    node), contribution, low, high (95 %), within_noise (the interval holds 0),
    share (of the root's change; null when that is nearly 0), numerator and
    denominator before and after (ratios), root, method, flag, action, currency.
    The children of a node add up to it.
    """
    base = _base(table, tree, period, compare, (), action)
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
        row |= {"change": after - before} | dict.fromkeys(_RATIOS, np.nan)
        if spot.kpi == UNALLOCATED:
            row |= {"level": spot.level, "unit": spot.unit, "before": np.nan, "after": np.nan, "change": np.nan}
        elif one and one.denominator and measured(spot.kpi, grown.sums):
            row["flag"] = ", ".join(filter(None, [row["flag"], _beyond(base.figures, one)])) or None
            for end, side in enumerate(("before", "after")):
                top, bottom = (float(made(grown.sums)[end, 0]) for made in (one.top, one.bottom))
                row |= {f"numerator_{side}": top, f"denominator_{side}": bottom}
                row |= {side: top / bottom if bottom else np.nan}
        known = not np.isnan([row["before"], row["after"]]).any() and row["before"] != 0
        rows.append(row | {"growth": row["change"] / abs(row["before"]) if known else np.nan})
    if asked != grown.tree.root:
        rows[0]["flag"] = ", ".join(filter(None, [rows[0]["flag"], f"in_place_of:{asked}"]))
    found = pd.DataFrame(rows)
    found = found.assign(**_judged(found, grown), **_named(found, grown))
    order = ["path", "kpi", "depth", "op", "level", "unit", "direction", "before", "after", "change", "growth"]
    return found[[*order, "weight", *_ESTIMATE, *_RATIOS, *_ENDS]]


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
    base = _base(table, tree, period, compare, by, action)
    grown = grow(base, tree, method, draws, seed, by)
    made = list(effects(grown))
    half = _half_widths(grown, made)
    parts = [_rows(effect, grown, half) for effect in made]
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    # Texts are made once for each effect, and repeated.
    which = np.repeat(np.arange(len(made)), [len(part["place"]) for part in parts])
    heads = {"kpi": [effect.kpi for effect in made], "kind": [effect.kind for effect in made]}
    heads["unit"] = [CATALOGUE[name].unit if name in CATALOGUE else None for name in heads["kpi"]]
    heads |= _named(heads, grown)
    # By size, then by KPI, segment and kind. Segments are in the order of their keys; what has none comes last.
    place = np.where(found["place"] < 0, grown.drawn.count, found["place"])
    ranks = [np.array([sorted(set(own)).index(one) for one in own]) for own in (heads["kpi"], heads["kind"])]
    ranks = (ranks[0][which] * (grown.drawn.count + 1) + place) * len(made) + ranks[1][which]
    order = np.lexsort((ranks, -np.abs(found["contribution"])))
    found = {name: own[order] for name, own in found.items()}
    # All of one type, whether every row has one or not.
    found["status"] = pd.Series(found["status"], dtype=object if any(effect.split is None for effect in made) else None)
    found |= _judged(found, grown)
    heads = {name: own if isinstance(own, list) else [own] * len(made) for name, own in heads.items()}
    found |= {name: np.full(len(order), None) for name, own in heads.items() if not any(own)}
    found |= texts({name: (own, which[order]) for name, own in heads.items() if any(own)})
    found |= {name: grown.drawn.names[name].take(found["place"], allow_fill=True) for name in by}
    order = ["kpi", *by, "kind", "status", "before", "after", *_RATIOS, *_ESTIMATE, "unit", *_ENDS]
    return pd.DataFrame({name: found[name] for name in order})


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
    base = _base(table, tree, period, compare, by, action)
    grown = grow(base, tree, method, draws, seed, by)
    made, spread = list(effects(grown)), {}
    for effect in _drawn(grown, made):
        key = effect.kpi, effect.kind
        spread[key] = spread.get(key, 0.0) + effect.size.sum(axis=1)
    rows = []
    for effect in made:
        whole = effect.size.sum(axis=1)
        if effect.shown is not None:
            whole = spread.get((effect.kpi, effect.kind), whole)
        low, high = limits(whole, grown.weeks)
        row = {"kpi": effect.kpi, "kind": effect.kind, "contribution": float(whole[0]), "low": low, "high": high}
        rows.append(
            row
            | {
                "reversal": effect.split is not None and effect.split.reversal,
                "unit": CATALOGUE[effect.kpi].unit if effect.kpi in CATALOGUE else "x",
            }
        )
    found = pd.DataFrame(rows)
    found = found.assign(**_judged(found, grown), **_named(found, grown))
    found = found.assign(size=found["contribution"].abs())
    found = found.sort_values(["size", "kpi"], ascending=[False, True], ignore_index=True)
    return found[["kpi", "kind", *_ESTIMATE, "reversal", "unit", *_ENDS]]


def leading_rate(kinds, focus=""):
    """The rate to look into: `focus`, or else the one of a result of `kinds` that moved the root most; its id."""
    if focus:
        return kpi(focus).id
    rates = kinds[kinds["kind"].isin(["rate", "mix"])]
    if rates.empty:
        raise BadParameter("focus: the tree has no rate with figures. Name one, as focus='ctr', or another tree")
    size = rates.assign(size=rates["contribution"].abs()).groupby("kpi")["size"].sum()
    return size.idxmax()


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
    """A tree with its figures: sums {column: (2, draws)}, those of some segments and draws, and its places."""

    base: Halves
    tree: object
    spots: list
    drawn: Drawn
    parts: dict
    method: str

    @property
    def sums(self):
        return self.drawn.whole

    @property
    def segments(self):
        return self.drawn.segments

    @property
    def weeks(self):
        return self.drawn.weeks

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
    split: Split | None = None
    places: slice | None = None


def _base(table, tree, period, compare, by, action):
    if isinstance(table, Table):
        if period is None:
            raise BadParameter("period: None; expected for example '2025-08' or 'last 28 days', to be compared")
        asked = columns(as_tree(tree))
        # What says whether a missing figure is 0.
        asked |= {"orders"} if "revenue" in asked else set()
        asked |= {"visits", "clicks"} if "other_visits" in asked else set()
        return figures.two(table, period, compare, by, action, asked)
    if period is not None:
        raise BadParameter(f"period {period!r}: the sums of `kpi.base` have their periods already; leave it out")
    return halves(table)


def grow(base, tree, method, draws, seed, by=()):
    """The tree with its figures and places, by segment, for the data and every draw."""
    base = halves(base)
    known = present(base.figures, base.rows)
    tree, action = as_tree(tree).measurable(base, known), base.action or "orders"
    drawn = sums(base, by=by, names=columns(tree) & known, draws=draws, seed=seed)
    whole = drawn.whole
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
        if made is not None and not _close(made[:, 0], values[name][:, 0]):
            flags[name] = ", ".join(filter(None, [flags.get(name), "formula_differs"]))
            values[f"{name}/made"], closed[name] = made, values[name] - made
    method = _method(method, split, values)
    spots = _climb(tree.root, split, closed, values, method, flags)
    return _Grown(base, tree, spots, drawn, drawn.data, method)


def _close(one, other):
    return (np.abs(one - other) <= _TINY * (1 + np.abs(other))).all()


def columns(tree):
    """The base columns that the tree's KPIs are made of."""
    return {column for name, _, _ in tree.walk() if name in CATALOGUE for column in kpi(name).columns}


def _values(tree, whole):
    """{node: (2, draws)}, undefined rates carried over, and the rates that have a numerator and no denominator."""
    values, hanging = {}, set()

    def value(name):
        if name in values:
            return values[name]
        if name in CATALOGUE and measured(name, whole):
            one = kpi(name)
            top = one.top(whole)
            values[name] = _rate(name, top, one.bottom(whole)) if one.denominator else top
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
        return np.where(np.isnan(found), 0.0, found)

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


def effects(grown, wanted=None):
    """The contributions of every leaf by segment and kind, and what has no segment, for the segments of its parts.

    Kinds that no segment has a row of are left out, or those that are not `wanted` as (kpi, kind).
    """
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
        top = one.top(grown.parts)
        weight = weight[: top.shape[1], None]
        if not one.denominator:
            shown = (top[:, 0] != 0).any(axis=0)
            yield _Effect(name, "volume", weight * (top[1] - top[0]), shown)
            continue
        whole = [side(grown.sums)[:, : top.shape[1]] for side in (one.top, one.bottom)]
        if not whole[1][:, 0].all():  # its value was carried over from the other period: it moved nothing
            continue
        split = kitagawa(top, one.bottom(grown.parts), name, whole)
        for kind in ("rate", "mix", "undefined"):
            shown = split.shown(kind)
            if shown.any() if wanted is None else (name, kind) in wanted:
                yield _Effect(name, kind, weight * getattr(split, kind), shown, split)


def _drawn(grown, made):
    """The effects again with their draws, some segments at a time; none of what has no segment."""
    wanted = {(effect.kpi, effect.kind) for effect in made if effect.shown is not None}
    for places in grown.drawn.blocks():
        for effect in effects(replace(grown, parts=grown.drawn.of(places)), wanted):
            if effect.shown is not None:
                yield replace(effect, places=places)


def _half_widths(grown, made):
    """{(kpi, kind): half an interval by segment}; empty without draws."""
    found = {}
    for effect in _drawn(grown, made):
        own = found.setdefault((effect.kpi, effect.kind), np.full(grown.drawn.count, np.nan))
        own[effect.places] = half_width(effect.size, grown.weeks)
    return found


def _rows(effect, grown, half):
    """The columns of one kind of one leaf; `place` is that of the segment, −1 for none."""
    if effect.shown is None:
        places = np.array([-1])
        low, high = (np.array([end]) for end in limits(effect.size[:, 0], grown.weeks))
    else:
        places = np.flatnonzero(effect.shown)
        own = half[effect.kpi, effect.kind][places] if half else np.nan
        low, high = effect.size[0, places] - own, effect.size[0, places] + own
    nothing = np.full(len(places), np.nan)
    found = {"place": places, "contribution": effect.size[0, places], "low": low, "high": high}
    found["status"] = np.full(len(places), None) if effect.split is None else effect.split.status[places]
    found |= dict.fromkeys(("before", "after", *_RATIOS), nothing)
    if effect.shown is not None:
        one = kpi(effect.kpi)
        tops = one.top(grown.parts)[:, 0, places]
        bottoms = one.bottom(grown.parts)[:, 0, places] if one.denominator else (None, None)
        for side, top, bottom in zip(("before", "after"), tops, bottoms, strict=True):
            if bottom is None:
                found[side] = top
            else:
                found |= {f"numerator_{side}": top, f"denominator_{side}": bottom}
                found[side] = np.divide(top, bottom, out=nothing.copy(), where=bottom != 0)
    return found


def _judged(found, grown):
    """{within_noise, share} of the contributions, low and high in `found`."""
    effect = np.asarray(found["contribution"], float)
    known = abs(grown.change) >= _floor(grown.spots[0].value[:, :1])
    return {
        "within_noise": within(found["low"], found["high"]),
        "share": effect / grown.change if known else np.full(len(effect), np.nan),
    }


def _named(found, grown):
    """What every result of this room ends with: {column: value or values}."""
    own = found["flag"] if "flag" in found else [None] * len(found["kpi"])
    if grown.drawn.rough:
        own = [f"{one}, few_weeks" if isinstance(one, str) else "few_weeks" for one in own]
    said = {"root": grown.tree.root, "method": grown.method, "flag": list(own)}
    uses = {name for name in found["kpi"] if name in CATALOGUE and "conversions" in CATALOGUE[name].columns}
    said["action"] = [grown.base.action if name in uses else None for name in found["kpi"]]
    return said | {"currency": grown.base.currency}


def _beyond(base, one):
    """A note where a ratio counts rows in whose denominator nothing is known: revenue of channels without a cost."""
    top, bottom = (np.column_stack([np.asarray(base[name], float) for name in side]) for side in one.terms)
    alone = np.isnan(bottom).all(axis=1)
    if not alone.any():
        return None
    top = top[alone]
    counted = (~np.isnan(top)).any(axis=1) & (top != 0).any(axis=1)
    return "counts_rows_without_denominator" if counted.any() else None


def _floor(root):
    """A change below this share of the root is none."""
    return _TINY * max(float(np.abs(root).max()), 1e-300)
