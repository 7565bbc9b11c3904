"""How far a figure would have moved by itself: days drawn again within their weekdays."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi.tree import keys, present

DRAWS = 500
_Z = 1.959963984540054


@dataclass(frozen=True)
class Drawn:
    """Sums by segment, {column: (2, 1 + draws, segments)}: the data first, then the draws.

    `weeks` is the number of days of the rarest weekday in the shorter period.
    """

    parts: dict
    segments: pd.DataFrame
    weeks: int


def sums(base, *, by=(), draws=DRAWS, seed=0):
    """The sums of both periods by segment, and the same with the days drawn again (Efron 1979).

    Within each period and weekday its days are drawn with replacement, the same
    days for all segments and columns; a day without rows counts as zero.
    """
    by = keys(by)
    missing = [name for name in by if name not in base]
    if missing:
        raise BadParameter(
            f"by {missing[0]!r}: the sums of `kpi.base` are not split by it; found {', '.join(base.columns)}. "
            "Give it to `kpi.base` as well"
        )
    if draws < 0:
        raise BadParameter(f"draws {draws}: expected how often days are drawn again, as 500; 0 for no intervals")
    names = sorted(present(base))
    codes = base.groupby(by, dropna=False, sort=True).ngroup().to_numpy() if by else np.zeros(len(base), int)
    segments = base[by].assign(code=codes).drop_duplicates("code").sort_values("code", ignore_index=True)[by]
    count = len(segments)
    dice = np.random.default_rng(seed)
    weeks, ends = [], []
    for period in ("before", "after"):
        own = (base["period"] == period).to_numpy()
        part, code = base[own], codes[own]
        days = _days(part)
        place = days.get_indexer(part["date"]) if len(days) else np.zeros(len(part), int)
        cell = place * count + code
        size = max(len(days), 1) * count
        grid = np.stack([np.bincount(cell, part[name].fillna(0.0).to_numpy(float), size) for name in names], axis=-1)
        grid = grid.reshape(max(len(days), 1), count * len(names))
        often, least = _draws(days, draws, dice)
        weeks.append(least)
        ends.append((often @ grid).reshape(len(often), count, len(names)))
    found = np.stack(ends)
    parts = {name: np.ascontiguousarray(found[..., place]) for place, name in enumerate(names)}
    return Drawn(parts, segments, min(weeks))


def limits(effect, weeks):
    """Lower and upper 95 % limits of an effect (draws first): point ± 1.96 standard errors; NaN below two weeks."""
    if weeks < 2 or len(effect) < 3:
        nothing = np.full(effect.shape[1:], np.nan)
        return (nothing, nothing) if effect.ndim > 1 else (np.nan, np.nan)
    # Days drawn from m vary by (m − 1) / m of what days themselves do.
    half = _Z * effect[1:].std(axis=0) * np.sqrt(weeks / (weeks - 1))
    low, high = effect[0] - half, effect[0] + half
    return (low, high) if effect.ndim > 1 else (float(low), float(high))


def _days(part):
    if "date" not in part:
        return pd.DatetimeIndex([])
    first = part["since"].iloc[0] if "since" in part else part["date"].min()
    last = part["last_day"].iloc[0] if "last_day" in part else part["date"].max()
    return pd.date_range(first, last)


def _draws(days, draws, dice):
    """How often each day counts: once in the first row; the number of days of the rarest weekday."""
    once = np.ones((1, max(len(days), 1)))
    weekdays = days.day_of_week.to_numpy() if len(days) else np.array([])
    least = min(np.bincount(weekdays, minlength=7)) if len(weekdays) else 0
    if least < 2 or not draws:
        return once, least
    often = np.zeros((draws, len(days)))
    for weekday in range(7):
        own = np.flatnonzero(weekdays == weekday)
        often[:, own] = dice.multinomial(len(own), np.full(len(own), 1 / len(own)), size=draws)
    return np.concatenate([once, often]), least
