"""How far a figure would have moved by itself: days drawn again within their weekdays."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.errors import BadParameter
from perfnb.kpi.tree import keys, present

DRAWS = 500


# Segments that are drawn together: their sums stay in the processor's cache; larger arrays cost several times as much.
_BLOCK = 32


@dataclass(frozen=True)
class Drawn:
    """Figures {column: (before, after)}, each days × segments, and how `often` each day counts: (before, after), each
    draws × days. `names` are {column: array of the segments' names}, `count` how many segments there are, `weeks` the
    number of days of the rarest weekday in the shorter period.
    """

    figures: dict
    often: tuple
    names: dict
    count: int
    weeks: int

    @cached_property
    def segments(self):
        """One row per segment: its names."""
        return pd.DataFrame(self.names, index=range(self.count))

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
        if not len(self.often[0]):
            return {name: own.sum(axis=2) for name, own in self.data.items()}
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
        count = self.count if len(self.often[0]) > 1 else 0
        return [slice(first, first + _BLOCK) for first in range(0, count, _BLOCK)]


@dataclass(frozen=True)
class Halves:
    """Figures by day and segment, and the places of the rows and the days of each period: (before, after).

    `figures` are a frame or {column: array}. `names` are {column: (each row's place in them, the names in their
    order)} of those segments that the figures do not hold as text.
    """

    figures: pd.DataFrame | dict
    rows: tuple
    days: tuple
    action: str | None
    currency: str | None
    names: dict = field(default_factory=dict)


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
    missing = [name for name in by if name not in base.figures and name not in base.names]
    if missing:
        raise BadParameter(
            f"by {missing[0]!r}: the sums of `kpi.base` are not split by it; found {', '.join(base.figures)}. "
            "Give it to `kpi.base` as well"
        )
    if draws < 0:
        raise BadParameter(f"draws {draws}: expected how often days are drawn again, as 500; 0 for no intervals")
    names = sorted(present(base.figures, base.rows) if names is None else names)
    codes, segments, count = _segments(base, by)
    figures = {name: _filled(base.figures[name]) for name in names}
    weeks = min(_weeks(own) for own in base.days)
    draws = draws if weeks > 1 else 0
    dice = np.random.default_rng(seed) if draws else None
    often = [_draws(own, draws, dice) for own in base.days]
    found = {name: [] for name in names}
    for own, inside in zip(base.rows, base.days, strict=True):
        shape = max(len(inside), 1), count
        cell = _places(base.figures, own, inside) * count + codes[own]
        for name, ends in found.items():
            ends.append(np.bincount(cell, figures[name][own], shape[0] * shape[1]).reshape(shape))
    return Drawn(found, tuple(often), segments, count, weeks)


def half_width(effect, weeks):
    """1.96 standard errors of an effect (draws first)."""
    # Days drawn from m vary by (m − 1) / m of what days themselves do.
    return intervals.Z * effect[1:].std(axis=0) * np.sqrt(weeks / (weeks - 1))


def within(low, high):
    """Whether each interval holds 0; null where there is none."""
    low, high = (np.asarray(end, float) for end in (low, high))
    return pd.arrays.BooleanArray((low <= 0) & (high >= 0), np.isnan(low))


def _segments(base, by):
    """The number of each row's segment; the names of the segments in the order of their keys (none at the end), and
    how many there are.
    """
    rows = len(next(iter(base.figures.values()))) if isinstance(base.figures, dict) else len(base.figures)
    codes, count = np.zeros(rows, int), 1
    for name in by:
        if name in base.names:
            own, found = base.names[name]
        else:
            own, found = pd.factorize(base.figures[name], sort=True)
            own = np.where(own < 0, len(found), own)
        kinds = len(found) + 1
        codes = codes * kinds + own
        there = np.zeros(count * kinds, bool)
        there[codes] = True
        codes, count = (np.cumsum(there) - 1)[codes], int(there.sum())
    first = np.zeros(count if rows else 0, int)
    first[codes[::-1]] = np.arange(rows)[::-1]
    coded = {name: base.names[name] for name in by if name in base.names}
    segments = texts({name: (found, own[first]) for name, (own, found) in coded.items()})
    for name in by:
        if name not in coded:
            own = base.figures[name].array
            if own.dtype == "category":
                own = own.categories.array.take(own.codes, allow_fill=True)
            segments[name] = own.take(first)
    return codes, segments, len(first)


def texts(columns):
    """{column: array of texts} from {column: (texts, each row's place in them)}.

    One array of all texts is made first: a small one costs as much as a large one.
    """
    if not columns:
        return {}
    own = pd.Series([text for found, _ in columns.values() for text in found]).array
    starts = np.cumsum([0, *(len(found) for found, _ in columns.values())])
    return {name: own.take(places + start) for (name, (_, places)), start in zip(columns.items(), starts, strict=False)}


def _filled(column):
    found = np.asarray(column, float)
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
        return np.array([], "datetime64[D]")
    if "since" in base:
        return each_day(base["since"].iloc[rows[0]], base["last_day"].iloc[rows[0]])
    dates = base["date"].iloc[rows]
    return each_day(dates.min(), dates.max())


def each_day(first, last):
    """The days from the first to the last."""
    first, last = np.array([first, last], "datetime64[D]")
    return np.arange(first, last + 1)


def _places(base, rows, days):
    """The place of each row's day among the days."""
    if not len(days):
        return np.zeros(len(rows), int)
    return (np.asarray(base["date"])[rows] - days[0]) // np.timedelta64(1, "D")


def _weeks(days):
    """How many days the rarest weekday has."""
    return min(np.bincount(_weekdays(days), minlength=7)) if len(days) else 0


def _weekdays(days):
    return (days.astype(int) + 3) % 7  # 1970 began with a Thursday


def _draws(days, draws, dice):
    """How often each day counts in each draw."""
    often = np.zeros((draws, max(len(days), 1)))
    weekdays = _weekdays(days)
    for weekday in range(7 if draws else 0):
        own = np.flatnonzero(weekdays == weekday)
        often[:, own] = dice.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws)
    return often
