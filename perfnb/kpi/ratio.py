"""Rate or mix: a ratio's change split over segments, symmetric in time (Kitagawa 1955)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi import noise
from perfnb.kpi.catalogue import NOT_SUMMED, kpi
from perfnb.kpi.tree import keys, present

_STATUS = np.array(["numerator_without_denominator", "both", "new", "lost", "absent"], object)


@dataclass(frozen=True)
class Split:
    """Effects of each segment on a ratio, (draws, segments), and in which periods the segment has a denominator."""

    rate: np.ndarray
    mix: np.ndarray
    undefined: np.ndarray
    known: np.ndarray
    hanging: np.ndarray

    @cached_property
    def status(self):
        """What became of each segment."""
        return _STATUS[np.select([self.hanging, self.known.all(axis=0), self.known[1], self.known[0]], range(4), 4)]

    @property
    def reversal(self):
        """Whether every segment's own rate moved one way, and the ratio the other."""
        moved = self.rate[0][self.shown("rate")]
        change = (self.rate[0] + self.mix[0]).sum()
        if self.hanging.any() or not len(moved):
            return False
        return bool(change < 0 < moved.min() or moved.max() < 0 < change)

    def shown(self, kind):
        """Which segments have a row of this kind: no row says 0 where nothing could have been."""
        if kind == "undefined":
            return self.hanging
        return ~self.hanging & (self.known.all(axis=0) if kind == "rate" else self.known.any(axis=0))


def kitagawa(top, bottom, name, whole=None):
    """The Split of Σ top / Σ bottom; both are (2, draws, segments), before and after.

    Where these are some of the segments, `whole` are both sums over all, (2, draws).
    Exact in every draw. A segment that is new or lost is mix; with a numerator
    and no denominator it is "undefined".
    """
    if (bottom[:, 0] < 0).any():
        raise BadParameter(f"{name}: a segment's denominator ({kpi(name).denominator}) is negative. Correct the data")
    above, whole = (one[..., None] for one in whole or (top.sum(axis=2), bottom.sum(axis=2)))
    known = bottom > 0
    both = known.all(axis=0)
    hanging = np.zeros_like(both)
    with np.errstate(all="ignore"):
        share = bottom / whole
        middle = (above / whole).mean(axis=0)
        total = top[1] / whole[1] - top[0] / whole[0] - middle * (share[1] - share[0])
        own = top / bottom
        rate = share.mean(axis=0) * (own[1] - own[0])
    if both.all() and (whole > 0).all():
        return Split(rate, total - rate, np.broadcast_to(0.0, rate.shape), known[:, 0], hanging[0])
    total = np.where((whole > 0).all(axis=0), total, 0.0)
    hanging = ((bottom == 0) & (top != 0)).any(axis=0)
    rate = np.where(both & ~hanging, rate, 0.0)
    mix, undefined = np.where(hanging, 0.0, total - rate), np.where(hanging, total, 0.0)
    return Split(rate, mix, undefined, known[:, 0], hanging[0])


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
    by = keys(by)
    one = _ratio(base, kpi_name)
    drawn = noise.sums(base, by=by, names=present(base) & set(one.columns), draws=draws, seed=seed)
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
    found["within_noise"] = noise.within(found["low"], found["high"])
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
    by = keys(by)
    if len(by) != 2:
        raise BadParameter(f"by {by}: expected two columns, the outer and the inner one")
    one, drawn = _ratio(base, kpi_name), noise.sums(base, by=by, draws=0)
    outer, inner = by
    top, bottom = np.nan_to_num(one.top(drawn.parts)), np.nan_to_num(one.bottom(drawn.parts))
    codes, names = pd.factorize(drawn.segments[outer], sort=True)
    member = np.eye(len(names))[codes]
    above = kitagawa(top @ member, bottom @ member, one.id)
    whole = bottom[:, 0].sum(axis=1, keepdims=True)
    weight = (bottom[:, 0] @ member / np.where(whole > 0, whole, np.nan)).mean(axis=0)
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
    effects = ["between_mix", "within_mix", "rate", "undefined"]
    found["total"] = found[effects].sum(axis=1)
    if not (whole > 0).all():
        found["status"] = "no_base"
        found[[*effects, "total"]] = np.nan
    found = found.assign(kpi=one.id, unit=one.unit, currency=base["currency"].iloc[0])
    found = found.sort_values([outer, inner], na_position="first", ignore_index=True)
    return found[["kpi", *by, "status", *_FACTS, *effects, "total", "unit", "currency"]]


_FACTS = ["numerator_before", "denominator_before", "numerator_after", "denominator_after", "before", "after"]


def _ratio(base, name):
    one = kpi(name)
    if not one.denominator:
        raise BadParameter(f"{one.id} is no ratio: it has no rate to split. Choose a rate, or see kpi.explain")
    if set(one.columns) & set(NOT_SUMMED):
        raise BadParameter(f"{one.id} is made of what cannot be summed (distinct persons, balances). See kpi.value")
    known = present(base)
    lacking = [column for column in one.columns if column not in known]
    if lacking:
        raise BadParameter(f"{one.id} is not measurable with these data: no {', '.join(lacking)} in both periods")
    return one


def _described(segments, one, top, bottom):
    own = np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom != 0)
    facts = {"numerator_before": top[0], "denominator_before": bottom[0], "numerator_after": top[1]}
    return segments.assign(**facts, denominator_after=bottom[1], before=own[0], after=own[1])
