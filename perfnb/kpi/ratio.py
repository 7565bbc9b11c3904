"""Rate or mix: a ratio's change split over segments, symmetric in time (Kitagawa 1955)."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi import noise
from perfnb.kpi.catalogue import kpi
from perfnb.kpi.tree import DEFAULT, measured
from perfnb.kpi.weights import weights


@dataclass(frozen=True)
class Split:
    """Effects of each segment on a ratio, (draws, segments), and what became of the segment."""

    rate: np.ndarray
    mix: np.ndarray
    undefined: np.ndarray
    status: np.ndarray
    reversal: bool

    def shown(self, kind):
        """Which segments have a row of this kind: no row says 0 where nothing could have been."""
        holds = {"rate": ("both",), "mix": ("both", "new", "lost"), "undefined": ("numerator_without_denominator",)}
        return np.isin(self.status, holds[kind])


def kitagawa(top, bottom, name):
    """The Split of Σ top / Σ bottom; both are (2, draws, segments), before and after.

    Exact in every draw. A segment that is new or lost is mix; with a numerator
    and no denominator it is "undefined".
    """
    if (bottom[:, 0] < 0).any():
        raise BadParameter(f"{name}: a segment's denominator ({kpi(name).denominator}) is negative. Correct the data")
    with np.errstate(all="ignore"):
        whole = bottom.sum(axis=2, keepdims=True)
        share = bottom / whole
        middle = (top.sum(axis=2, keepdims=True) / whole).mean(axis=0)
        total = top[1] / whole[1] - top[0] / whole[0] - middle * (share[1] - share[0])
        own = top / bottom
        rate = share.mean(axis=0) * (own[1] - own[0])
    total = np.where((whole > 0).all(axis=0), total, 0.0)
    hanging = ((bottom == 0) & (top != 0)).any(axis=0)
    both = (bottom > 0).all(axis=0) & ~hanging
    rate = np.where(both, rate, 0.0)
    mix = np.where(hanging, 0.0, total - rate)
    undefined = np.where(hanging, total, 0.0)
    status = np.select(
        [hanging[0], both[0], bottom[1, 0] > 0, bottom[0, 0] > 0],
        ["numerator_without_denominator", "both", "new", "lost"],
        "absent",
    )
    change, moved = (total[0]).sum(), rate[0][status == "both"]
    alone = bool(len(moved)) and not (status == "numerator_without_denominator").any()
    reversal = alone and bool(change < 0 < moved.min() or moved.max() < 0 < change)
    return Split(rate, mix, undefined, status, reversal)


def split(base, kpi_name, *, by=("channel", "campaign"), draws=noise.DRAWS, seed=0):
    """One ratio over its segments: what each changed itself (rate), and by its weight (mix).

    `base` is the result of `kpi.base`, split by `by`.

    Returns one row per segment: kpi, (by), status (both, new, lost,
    numerator_without_denominator, absent, no_base), numerator and denominator
    before and after, before, after (the segment's rate), rate, mix, undefined,
    total (unit of the KPI; null where it has no base in a period), low, high
    (95 % of the total), within_noise, reversal (every own rate moved one way,
    the total the other), unit, currency. Totals add up to the change of the KPI.
    """
    one, drawn = _ratio(base, kpi_name), noise.sums(base, by=by, draws=draws, seed=seed)
    top, bottom = np.nan_to_num(one.top(drawn.parts)), np.nan_to_num(one.bottom(drawn.parts))
    found = _described(drawn.segments.copy(), one, top[:, 0], bottom[:, 0])
    made = kitagawa(top, bottom, one.id)
    total = made.rate + made.mix + made.undefined
    low, high = noise.limits(total, drawn.weeks)
    found = found.assign(status=made.status, rate=made.rate[0], mix=made.mix[0], undefined=made.undefined[0])
    found = found.assign(total=total[0], low=low, high=high, reversal=made.reversal)
    if (bottom[:, 0].sum(axis=1) == 0).any():
        found["status"] = "no_base"
        found[["rate", "mix", "undefined", "total", "low", "high"]] = np.nan
    known = found["low"].notna()
    found["within_noise"] = ((found["low"] <= 0) & (found["high"] >= 0)).astype("boolean").where(known)
    found = found.assign(kpi=one.id, unit=one.unit, currency=base["currency"].iloc[0])
    effects = ["rate", "mix", "undefined", "total", "low", "high", "within_noise", "reversal", "unit", "currency"]
    return found[["kpi", *by, "status", *_FACTS, *effects]]


def split_within(base, kpi_name, *, by=("channel", "campaign")):
    """One ratio over two levels: the mix between the outer segments, the mix inside them, and the rates.

    `by` is the outer and the inner column. A segment's rate differs slightly from
    that of `kpi.split`, which knows one level.

    Returns one row per inner segment: kpi, (by), status, numerator and
    denominator before and after, before, after, within_mix, rate, undefined,
    total (their sum; unit of the KPI); and one per outer segment, its inner
    column null: between_mix, rate (the sum inside it, where it is in both periods),
    undefined, total. The outer rows add up to the change of the KPI; the inner
    ones of an outer segment to its rate.
    """
    if len(by) != 2:
        raise BadParameter(f"by {list(by)}: expected two columns, the outer and the inner one")
    one, drawn = _ratio(base, kpi_name), noise.sums(base, by=by, draws=0)
    outer, inner = by
    top, bottom = np.nan_to_num(one.top(drawn.parts)), np.nan_to_num(one.bottom(drawn.parts))
    codes, names = pd.factorize(drawn.segments[outer], sort=True)
    member = np.eye(len(names))[codes]
    above = kitagawa(top @ member, bottom @ member, one.id)
    weight = (bottom[:, 0] @ member / bottom[:, 0].sum(axis=1, keepdims=True)).mean(axis=0)
    rows = _described(pd.DataFrame({outer: names, inner: None}), one, (top @ member)[:, 0], (bottom @ member)[:, 0])
    rows = rows.assign(status=above.status, between_mix=above.mix[0], within_mix=np.nan, rate=above.rate[0])
    rows = [rows.assign(undefined=above.undefined[0])]
    for place in range(len(names)):
        own = codes == place
        part = _described(drawn.segments[own].reset_index(drop=True), one, top[:, 0, own], bottom[:, 0, own])
        made = kitagawa(top[:, :, own], bottom[:, :, own], one.id)
        size = weight[place] if above.status[place] == "both" else 0.0
        part = part.assign(status=made.status, between_mix=np.nan, within_mix=size * made.mix[0])
        rows.append(part.assign(rate=size * made.rate[0], undefined=size * made.undefined[0]))
    found = pd.concat(rows, ignore_index=True)
    found["total"] = found[["between_mix", "within_mix", "rate", "undefined"]].sum(axis=1)
    found = found.assign(kpi=one.id, unit=one.unit, currency=base["currency"].iloc[0])
    effects = ["between_mix", "within_mix", "rate", "undefined", "total", "unit", "currency"]
    found = found.sort_values([outer, inner], na_position="first", ignore_index=True)
    return found[["kpi", *by, "status", *_FACTS, *effects]]


def factors(base, *, tree=DEFAULT, by=("channel", "campaign"), draws=noise.DRAWS, seed=0):
    """What every factor did in every segment: each segment as volume × its share × its own rates.

    The tree's product from the root down (as visits × conversion rate × order
    value) is laid flat for every segment; a new or lost one is mix. Its figures
    differ factor by factor from those of `kpi.explain`, which goes through the
    whole tree; both add up to the change of the root. Log-mean, or Shapley for
    all where a value is negative.

    Returns one row per segment and factor: (by), factor (volume, mix, or the id
    of a rate), before, after (of the root in the segment), contribution (unit of
    the root), low, high (95 %), within_noise, unit (of the root), root, method,
    currency; segments that moved most first.
    """
    tree = tree.measurable(base)
    drawn = noise.sums(base, by=by, draws=draws, seed=seed)
    chain = _chain(tree, drawn.parts)
    measures = [np.nan_to_num(kpi(name).top(drawn.parts)) for name in chain]
    first = measures[0].sum(axis=2, keepdims=True)
    with np.errstate(all="ignore"):
        sides = [np.where(first != 0, measures[0] / first, 0.0)]
        sides += [np.where(low != 0, high / low, np.nan) for low, high in pairwise(measures)]
    # A rate without a base takes its value of the other period: the segment is new or lost, and that is mix.
    sides = [np.nan_to_num(np.where(np.isnan(side), side[::-1], side)) for side in sides]
    values = [np.broadcast_to(first, measures[0].shape), *sides]
    root = measures[-1]
    made = np.prod(values, axis=0)
    method = "shapley" if min(value[:, 0].min() for value in values) < 0 else "logmean"
    own = weights("*", made, values, method)
    names = ["volume", "mix", *chain[1:]]
    effects = {name: part * (value[1] - value[0]) for name, part, value in zip(names, own, values, strict=True)}
    # Orders without visits, revenue without orders: what the product does not make.
    left = (root[1] - root[0]) - (made[1] - made[0])
    if np.abs(left[0]).max() > 1e-9 * max(np.abs(root[:, 0]).max(), 1e-300):
        effects["undefined"] = left
    moved = np.abs(root[1, 0] - root[0, 0])
    rows = []
    for name, effect in effects.items():
        low, high = noise.limits(effect, drawn.weeks)
        part = drawn.segments.assign(factor=name, before=root[0, 0], after=root[1, 0], contribution=effect[0])
        rows.append(part.assign(low=low, high=high, moved=moved))
    found = pd.concat(rows, ignore_index=True)
    order = {name: place for place, name in enumerate(effects)}
    found = found.assign(place=found["factor"].map(order))
    found = found.sort_values(["moved", *by, "place"], ascending=[False, *([True] * len(by)), True], ignore_index=True)
    known = found["low"].notna()
    found["within_noise"] = ((found["low"] <= 0) & (found["high"] >= 0)).astype("boolean").where(known)
    found = found.assign(method=method, root=tree.root)
    found = found.assign(unit=kpi(tree.root).unit, currency=base["currency"].iloc[0])
    return found[[*by, "factor", "before", "after", "contribution", "low", "high", "within_noise", *_ENDS]]


_FACTS = ["numerator_before", "denominator_before", "numerator_after", "denominator_after", "before", "after"]
_ENDS = ["unit", "root", "method", "currency"]


def _ratio(base, name):
    one = kpi(name)
    if not one.denominator:
        raise BadParameter(f"{one.id} is no ratio: it has no rate to split. Choose a rate, or see kpi.explain")
    lacking = [column for column in one.columns if column not in base or base[column].isna().all()]
    if lacking:
        raise BadParameter(f"{one.id} is not measurable with these data: no {', '.join(lacking)}")
    return one


def _described(segments, one, top, bottom):
    own = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)
    facts = {"numerator_before": top[0], "denominator_before": bottom[0], "numerator_after": top[1]}
    return segments.assign(**facts, denominator_after=bottom[1], before=own[0], after=own[1])


def _chain(tree, sums):
    """[m0, r1, r2 …] with root = m0 × r1 × r2 and each rate over the measure before it, from the tree's products."""

    def flat(name):
        if tree.operator(name) != "*":
            return [name]
        return [part for child in tree.children(name) for part in flat(child)]

    parts = [name for name in flat(tree.root) if measured(name, sums)]
    chain = [name for name in parts if not kpi(name).denominator][:1]
    while chain:
        measure = kpi(chain[-1]).terms[0]
        after = next((name for name in parts if name not in chain and kpi(name).terms[1] == measure), None)
        if after is None:
            break
        chain.append(after)
    if not chain or len(chain) != len(flat(tree.root)) or kpi(chain[-1]).terms[0] != kpi(tree.root).terms[0]:
        raise BadParameter(
            f"tree: {tree.root} is no product of a sum and rates over it (as orders × aov), so no factors by segment. "
            "See kpi.explain"
        )
    return chain
