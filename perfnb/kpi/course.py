"""The course of several KPIs by day, with the usual range where one is known: the small charts of the tree's cards."""

import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi.alerts import chart
from perfnb.kpi.catalogue import CATALOGUE, kpi
from perfnb.kpi.figures import daily
from perfnb.kpi.series import series
from perfnb.kpi.tree import measured

_RANGE = ("expected", "low", "high", "status")


def course(figures, *, kpis, period, action="orders"):
    """Every KPI of `kpis` by day, of the whole: its value, and what was usual for that day where `kpi.alerts` can say.

    `figures` is the Table of campaigns or a result of `kpi.daily`, `period` a
    Period. Amounts of money have no usual range; what cannot be measured, or is no KPI of the
    catalogue, is left out.

    Returns one row per KPI and day: kpi, date, value (null where that day has
    nothing to divide by), expected, low, high, status (as in `kpi.chart`; null
    without a range), currency.
    """
    frame = figures if isinstance(figures, pd.DataFrame) else daily(figures, action=action)
    known = {name for name in frame if frame[name].notna().any()}
    parts = []
    for name in dict.fromkeys(name for name in kpis if name in CATALOGUE):
        if not measured(name, known):
            continue
        try:
            series(name)
        except BadParameter:
            parts.append(_plain(frame, kpi(name)))
        else:
            parts.append(chart(frame, kpi=name, period=period))
    columns = ["kpi", "date", "value", *_RANGE, "currency"]
    if not parts:
        return pd.DataFrame(columns=columns)
    found = pd.concat([part.reindex(columns=columns) for part in parts], ignore_index=True)
    inside = found["date"].between(pd.Timestamp(period.since), pd.Timestamp(period.last_day))
    return found[inside].reset_index(drop=True)


def _plain(frame, one):
    sums = frame.groupby("date")[list(one.columns)].sum(min_count=1)
    value = one.top(sums)
    if one.denominator:
        bottom = one.bottom(sums)
        value = value / bottom.where(bottom != 0)
    found = value.astype(float).rename("value").reset_index()
    return found.assign(kpi=one.id, currency=frame["currency"].iloc[0] if "currency" in frame else None)
