"""The funnel over time, by the day, week or month of the entry."""

import pandas as pd

from perfnb.errors import BadParameter
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import columns_of, counted, cut, reported

__all__ = ["trend"]

_EVERY = {"day": "D", "week": "W-SUN", "month": "M"}  # as pandas calls them: a week ends on Sunday
_SECOND, _DAY = 1_000_000, 86_400_000_000


def trend(touchpoints, steps, *, every="week", by=None, within, period=None, **switches):
    """The funnel by the day, week (Monday to Sunday) or month (UTC) of each unit's first step-1 event.

    Only the first entry of a unit counts: the best entry would date those who
    convert by hindsight. The other switches are those of `funnel.steps`, for a closed
    funnel of units. Of an interval that is not `mature`, rates are too low
    and will rise; without a window (within=None) none ever is. Intervals add up to
    `funnel.steps` with entry "first"; one without an entry has no row. The log's
    first intervals hold those who had entered before it began, as if for the first time.

    Returns one row per interval, group and step: entered and last_day (of the
    interval), then the columns of `funnel.steps` without comparisons, and mature (whether the
    window of an entry on the interval's last day is closed when the data end).
    """
    if every not in _EVERY:
        raise BadParameter(f"every {every!r}: expected {', '.join(map(repr, _EVERY))}")
    rule = rule_of(steps, within=within, entry="first", period=period, **switches)
    if rule.open != "closed":
        raise BadParameter(f"a trend is that of a closed funnel, entered at step 1. Found {rule.definition}")
    by = columns_of(touchpoints, by)
    counts = touchpoints.fetch(counted(touchpoints, rule, by, "entry", cut("entered", _DAY)))
    counts = counts[counts["part"].notna()]
    days = pd.to_datetime(counts["part"].astype("int64"), unit="us").dt.to_period(_EVERY[every])
    table = reported(counts.assign(part=days.dt.start_time), rule, by, rule.definition)
    table = table.rename(columns={"(part)": "entered"}).astype({"entered": "datetime64[us]"})
    definition = table.pop("definition")
    following = (table["entered"].dt.to_period(_EVERY[every]) + 1).dt.start_time.astype("datetime64[us]")
    table.insert(1, "last_day", following - pd.Timedelta(days=1))
    return table.assign(mature=_mature(table, rule, following, counts["ends"].max()), definition=definition)


def _mature(table, rule, following, ends):
    """Whether an entry at the interval's end could be followed for the whole window, and no window is open in fact."""
    window = 0 if rule.count == 1 else rule.window
    if window is None:
        return False
    # Times are often whole seconds: the last of a day is then one before its end.
    closed = following.astype("int64") + window <= ends + _SECOND
    return closed & (table.groupby("entered")["immature"].transform("sum") == 0)
