"""How far a figure would have moved by itself: days drawn again within their weekdays."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi.tree import keys, present

DRAWS = 500
_Z = 1.959963984540054


# Segments that are drawn together: their sums stay in the processor's cache; larger arrays cost several times as much.
_BLOCK = 32


@dataclass(frozen=True)
class Drawn:
    """Figures {column: (before, after)}, each days × segments, and how `often` each day counts: (before, after), each
    draws × days. `weeks` is the number of days of the rarest weekday in the shorter period.
    """

    figures: dict
    often: tuple
    segments: pd.DataFrame
    weeks: int

    @cached_property
    def data(self):
        """Sums by segment without draws, {column: (2, 1, segments)}."""
        return {name: np.stack([own.sum(axis=0)[None] for own in ends]) for name, ends in self.figures.items()}

    @cached_property
    def parts(self):
        """Sums by segment, {column: (2, 1 + draws, segments)}: the data first, then the draws."""
        return self.of(slice(None))

    def of(self, places):
        """The same of some segments."""
        return {
            name: np.concatenate([self.data[name][:, :, places], self._sums(own[:, places] for own in ends)], axis=1)
            for name, ends in self.figures.items()
        }

    @cached_property
    def whole(self):
        """Sums over all segments, {column: (2, 1 + draws)}."""
        return {
            name: np.hstack(
                [self.data[name].sum(axis=2), self._sums(own.sum(axis=1, keepdims=True) for own in ends)[..., 0]]
            )
            for name, ends in self.figures.items()
        }

    def _sums(self, ends):
        return np.stack([often @ own for often, own in zip(self.often, ends, strict=True)])

    @property
    def rough(self):
        """Whether there are intervals, of few weeks."""
        return 1 < self.weeks < 4 and len(self.often[0]) > 1

    def blocks(self):
        """Places of some segments at a time; none where there are no intervals."""
        count = len(self.segments) if len(self.often[0]) > 1 else 0
        return [slice(first, first + _BLOCK) for first in range(0, count, _BLOCK)]


@dataclass(frozen=True)
class Halves:
    """Figures by day and segment, and the places of the rows and the days of each period: (before, after)."""

    figures: pd.DataFrame
    rows: tuple
    days: tuple
    action: str | None
    currency: str | None


def halves(base):
    """The Halves of the result of `kpi.base`."""
    if isinstance(base, Halves):
        return base
    rows = tuple(np.flatnonzero(base["period"] == period) for period in ("before", "after"))
    action = base["action"].iloc[0] if "action" in base else None
    return Halves(base, rows, tuple(_days(base, own) for own in rows), action, base["currency"].iloc[0])


def sums(base, *, by=(), names=None, draws=DRAWS, seed=0):
    """The sums of both periods by segment, and the same with the days drawn again (Efron 1979).

    Within each period and weekday its days are drawn with replacement, the same
    days for all segments and columns; a day without rows counts as zero. `names`
    are the base columns to sum; without it, all that are known in both periods.
    """
    by, base = keys(by), halves(base)
    missing = [name for name in by if name not in base.figures]
    if missing:
        raise BadParameter(
            f"by {missing[0]!r}: the sums of `kpi.base` are not split by it; found {', '.join(base.figures)}. "
            "Give it to `kpi.base` as well"
        )
    if draws < 0:
        raise BadParameter(f"draws {draws}: expected how often days are drawn again, as 500; 0 for no intervals")
    names = sorted(present(base.figures, base.rows) if names is None else names)
    codes, segments = _segments(base.figures, list(by))
    figures = {name: _filled(base.figures[name]) for name in names}
    weeks = min(_weeks(own) for own in base.days)
    dice = np.random.default_rng(seed)
    often = [_draws(own, draws if weeks > 1 else 0, dice) for own in base.days]
    found = {name: [] for name in names}
    for own, inside in zip(base.rows, base.days, strict=True):
        shape = max(len(inside), 1), len(segments)
        cell = _places(base.figures, own, inside) * len(segments) + codes[own]
        for name, ends in found.items():
            ends.append(np.bincount(cell, figures[name][own], shape[0] * shape[1]).reshape(shape))
    return Drawn(found, tuple(often), segments, weeks)


def half_width(effect, weeks):
    """1.96 standard errors of an effect (draws first)."""
    # Days drawn from m vary by (m − 1) / m of what days themselves do.
    return _Z * effect[1:].std(axis=0) * np.sqrt(weeks / (weeks - 1))


def within(low, high):
    """Whether each interval holds 0; null where there is none."""
    low, high = (np.asarray(end, float) for end in (low, high))
    return pd.arrays.BooleanArray((low <= 0) & (high >= 0), np.isnan(low))


def _segments(base, by):
    """The number of each row's segment, and the segments in the order of their keys (none at the end)."""
    codes, count = np.zeros(len(base), int), 1
    for name in by:
        column = base[name]
        if column.dtype == "category" and column.cat.ordered is False and column.cat.categories.is_monotonic_increasing:
            own, kinds = column.cat.codes.to_numpy(np.int64), len(column.cat.categories)
        else:
            own, found = pd.factorize(column, sort=True)
            kinds = len(found)
        codes = codes * (kinds + 1) + np.where(own < 0, kinds, own)
        there = np.zeros(count * (kinds + 1), bool)
        there[codes] = True
        codes, count = (np.cumsum(there) - 1)[codes], int(there.sum())
    first = np.zeros(count if len(base) else 0, int)
    first[codes[::-1]] = np.arange(len(base))[::-1]
    segments = {}
    for name in by:
        own = base[name].array
        if own.dtype == "category":
            segments[name] = own.categories.array.take(own.codes[first], allow_fill=True)
        else:
            segments[name] = own.take(first)
    return codes, pd.DataFrame(segments, index=range(len(first)))


def _filled(column):
    found = column.to_numpy(float)
    return np.where(np.isnan(found), 0.0, found)


def limits(effect, weeks):
    """Lower and upper 95 % limits of an effect (draws first): point ± 1.96 standard errors; NaN below two weeks."""
    if weeks < 2 or len(effect) < 3:
        nothing = np.full(effect.shape[1:], np.nan)
        return (nothing, nothing) if effect.ndim > 1 else (np.nan, np.nan)
    half = half_width(effect, weeks)
    low, high = effect[0] - half, effect[0] + half
    return (low, high) if effect.ndim > 1 else (float(low), float(high))


def _days(base, rows):
    """The days of the period that these rows are of."""
    if "date" not in base:
        return pd.DatetimeIndex([])
    if "since" in base:
        return pd.date_range(base["since"].iloc[rows[0]], base["last_day"].iloc[rows[0]])
    dates = base["date"].iloc[rows]
    return pd.date_range(dates.min(), dates.max())


def _places(base, rows, days):
    """The place of each row's day among the days."""
    if not len(days):
        return np.zeros(len(rows), int)
    return (base["date"].to_numpy()[rows] - days[0].to_datetime64()) // np.timedelta64(1, "D")


def _weeks(days):
    """How many days the rarest weekday has."""
    return min(np.bincount(days.day_of_week, minlength=7)) if len(days) else 0


def _draws(days, draws, dice):
    """How often each day counts in each draw."""
    often = np.zeros((draws, max(len(days), 1)))
    weekdays = days.day_of_week.to_numpy()
    for weekday in range(7 if draws else 0):
        own = np.flatnonzero(weekdays == weekday)
        often[:, own] = dice.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws)
    return often
