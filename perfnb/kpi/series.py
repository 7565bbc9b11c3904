"""Daily sums as arrays, segments × days, and how a KPI is charted as a count in something."""

from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter, MissingColumns
from perfnb.kpi.catalogue import CATALOGUE, Kpi, kpi
from perfnb.kpi.figures import daily
from perfnb.period import Period

__all__ = ["Cube", "Series", "cube", "series"]

_MONEY = {name for one in CATALOGUE.values() if one.unit.startswith("currency") for name in one.terms[0]}


@dataclass(frozen=True)
class Series:
    """A KPI as counts x in n, or x alone. A cost per count is charted upside down: its counts in its cost."""

    kpi: Kpi
    upside_down: bool = False

    @property
    def sides(self):
        """The terms of x and of n."""
        return self.kpi.terms[::-1] if self.upside_down else self.kpi.terms

    def x(self, sums):
        """The counts."""
        return _side(self.sides[0], sums)

    def n(self, sums):
        """What they are counted in; None for plain counts."""
        return _side(self.sides[1], sums) if self.sides[1] else None

    def value(self, x, n):
        """The KPI of x in n; NaN where that divides by nothing."""
        if n is None:
            return _scale(self.sides[0]) * x
        top, bottom = _scale(self.sides[0]) * x, _scale(self.sides[1]) * n
        top, bottom = np.broadcast_arrays(*((bottom, top) if self.upside_down else (top, bottom)))
        return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)


def _side(terms, sums):
    return sum(factor * sums[name] for name, factor in terms.items()) / _scale(terms)


def _scale(terms):
    """What one of the things counted adds to its side: 1000 in "1000 * cost"."""
    return min(map(abs, terms.values()))


def series(name):
    """The Series of a KPI; BadParameter where it is neither a count nor a ratio of counts nor a cost per count."""
    one = kpi(name)
    top, bottom = (set(terms) for terms in one.terms)
    if one.unit == "currency_per_unit" and one.direction == "lower" and bottom and not bottom & _MONEY:
        return Series(one, upside_down=True)
    if top & _MONEY:
        raise BadParameter(
            f"KPI {one.id}: its numerator is money, for which a chart of counts has no limits. "
            "Watch the counts behind it, for example kpis=['orders', 'cvr_visit', 'cpo']"
        )
    business = one.level in ("finance", "operations") and bottom  # ratios of money or of hours, not of a day's events
    summed = one.aggregation in ("additive", "ratio") and one.unit in ("count", "persons", "share", "x")
    if business or not summed or not top:
        raise BadParameter(
            f"KPI {one.id} ({one.aggregation}, in {one.unit}) is neither a count nor a ratio of counts, and only "
            "these have limits. Watch the counts that it is made of"
        )
    return Series(one)


@dataclass(frozen=True)
class Cube:
    """The sums of each base column as segments × days, which of these have rows, and what the segments are called."""

    segments: pd.DataFrame
    since: date
    sums: dict
    rows: np.ndarray
    action: str
    currency: str

    @property
    def until(self):
        return self.since + timedelta(days=self.rows.shape[1])

    def places(self, day):
        """The days asked for (a day, a Period, a text; None: the last), as places from the first day of the data."""
        asked = _period(day, self.until)
        if asked.since < self.since or asked.until > self.until:
            held = Period(self.since, self.until)
            raise BadParameter(f"day {str(day)!r}: the data hold {held} only. Choose a day or a period inside them")
        return np.arange((asked.since - self.since).days, (asked.until - self.since).days)

    def only(self, segment):
        """The one segment {column: value}."""
        which = np.ones(len(self.segments), bool)
        for name, value in segment.items():
            names = self.segments.loc[which, name]
            which &= (self.segments[name] == value).to_numpy()
            if not which.any():
                some = ", ".join(sorted(map(str, names.unique()))[:20])
                raise BadParameter(f"segment {segment}: no rows with this {name}; found {some}")
        sums = {name: values[which] for name, values in self.sums.items()}
        return replace(self, segments=self.segments[which], sums=sums, rows=self.rows[which])

    def table(self, places, columns):
        """Arrays of segments × places as a frame with a row each: date, the segment, the columns."""
        days = pd.Timestamp(self.since) + pd.to_timedelta(places, unit="D")
        table = self.segments.loc[self.segments.index.repeat(len(places))].reset_index(drop=True)
        table.insert(0, "date", np.tile(days, len(self.segments)))
        # The dtype is said: pandas 3 would make text of it in some frames and not in others.
        columns = {name: pd.Series(values.ravel(), dtype=values.dtype) for name, values in columns.items()}
        return table.assign(**columns, currency=self.currency)


def cube(figures, *, by, kpis, action):
    """The daily sums of what the KPIs `kpis` are made of, as a Cube, from a Table or a result of `kpi.daily`.

    Inside the data, a day without rows of a segment is 0 for a column that had a
    figure in that segment before; a day without rows of any segment is unknown.
    """
    frame = daily(figures, by=by, action=action) if not isinstance(figures, pd.DataFrame) else figures
    missing = [name for name in ("date", *by) if name not in frame]
    if missing:
        raise MissingColumns(
            f"figures: no column {', '.join(missing)}; found {', '.join(map(str, frame.columns))}. "
            f"Take the result of kpi.daily(figures, by={list(by)})"
        )
    if frame.empty:
        raise BadParameter("figures: no rows, so no day to judge")
    names = sorted({name for one in kpis for name in one.columns if name in frame})
    days = pd.to_datetime(frame["date"])
    since = days.min()
    segment = frame.groupby(list(by), dropna=False).ngroup() if by else pd.Series(0, index=frame.index)
    sums = frame[names].astype(float).groupby([segment, (days - since).dt.days]).sum(min_count=1)
    at = tuple(sums.index.get_level_values(level).to_numpy() for level in (0, 1))
    rows = np.zeros([place.max() + 1 for place in at], bool)
    rows[at] = True
    filled = {}
    for name in names:
        values = np.full(rows.shape, np.nan)
        values[at] = sums[name]
        begun = np.maximum.accumulate(np.isfinite(values), axis=1)
        filled[name] = np.where(~rows & rows.any(0) & begun, 0.0, values)
    segments = frame[list(by)].groupby(segment).first() if by else pd.DataFrame(index=[0])
    said = {name: frame[name].dropna().unique() if name in frame else () for name in ("action", "currency")}
    if len(said["currency"]) > 1:
        raise BadParameter(f"figures: amounts in {', '.join(said['currency'])}. Convert them, or keep one")
    said = {name: next(iter(found), None) for name, found in said.items()}
    return Cube(segments, since.date(), filled, rows, **said)


def _period(day, until):
    if day is None:
        return Period(until - timedelta(days=1), until)
    if isinstance(day, Period):
        return day
    if isinstance(day, str):
        try:
            day = date.fromisoformat(day)
        except ValueError:
            return Period.parse(day, end=until)
    day = day.date() if isinstance(day, datetime) else day
    if not isinstance(day, date):
        raise BadParameter(f"day {day!r}: expected a day ('2025-08-31'), a Period, or a text like 'last 7 days'")
    return Period(day, day + timedelta(days=1))
