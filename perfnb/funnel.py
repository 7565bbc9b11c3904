"""Funnels of persons: how many get from step to step, in order, inside a window.

The rule is a closed, ordered funnel. An attempt is one event for each step, in
time order (events at the same instant may stand in either order), the last at
most `within` after the first, both ends included. A person stands at the level
of the longest attempt, so counts fall from step to step by construction.
"""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter, MissingColumns
from perfnb.intervals import wilson
from perfnb.period import Period, duration

__all__ = ["levels", "mature", "over_time", "steps"]

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND
_WEEK = 7 * _DAY
_FIRST_MONDAY = 4 * _DAY  # 1970-01-05


def steps(touchpoints, steps, *, within, entry="best", by=None, period=None):
    """The funnel, with what is lost at each step.

    `steps` are event names, all different. `within` is the window from step 1
    ("7 days", or None). `entry`: "best" takes a person's longest attempt from
    any entry, "first" only the person's first step-1 event. `period` bounds
    step 1 (a Period); what follows is counted however late. `by` names a
    column: a person belongs to the value at the entry of the attempt counted,
    the earliest that gets as far (without an entry: at the first funnel event),
    so groups add up.

    Returns one row per group and step: (by), step (1 …), name, units
    (persons), from_units (persons at the step before), rate (0-1, of the step
    before) with low and high (Wilson, 95 %), overall (0-1, of step 1) with
    overall_low and overall_high, dropped (persons lost on the way here),
    out_of_order (persons who did the step between the period's first day and
    its last plus `within`, but in no attempt: out of order or too late),
    immature (those of the dropped whose window was still open when the data
    end), definition.
    """
    _require_group(touchpoints, by)
    ctes, within_us = _programme(touchpoints, steps, within, entry, period, by)
    counts = touchpoints.fetch(_counted(ctes, steps, within_us))
    return _reported(counts, steps, by, _definition(within, entry, period))


def over_time(touchpoints, steps, *, within, by=None, period=None):
    """The funnel by the week (Monday to Sunday, UTC) of each person's first step-1 event.

    Only the first entry of a person counts: the best entry would date those who
    convert by hindsight.

    Returns the columns of `steps`, with week (the Monday) before them. Weeks
    in which immature is not 0 are not complete yet.
    """
    _require_group(touchpoints, by)
    ctes, within_us = _programme(touchpoints, steps, within, "first", period, by)
    week = f"CASE WHEN level > 0 THEN FLOOR((entered - {_FIRST_MONDAY}) / {_WEEK}.0) END"
    counts = touchpoints.fetch(_counted(ctes, steps, within_us, week))
    counts = counts[counts["week"].notna()]
    parts = [
        _reported(rows, steps, by, _definition(within, "first", period)).assign(week=_monday(week))
        for week, rows in counts.groupby("week")
    ]
    if not parts:
        parts = [_reported(counts, steps, by, "").iloc[:0].assign(week=pd.Series(dtype="datetime64[us]"))]
    table = pd.concat(parts, ignore_index=True)
    return table[["week", *table.columns.drop("week")]]


def levels(touchpoints, steps, *, within, entry="best", period=None):
    """How far each person got; adds up to all persons of the table.

    Returns one row per level: level (0: not entered), name (of the step
    reached), units (persons).
    """
    ctes, within_us = _programme(touchpoints, steps, within, entry, period)
    counts = touchpoints.fetch(_counted(ctes, steps, within_us))
    reached = [int(counts[f"units_{k}"].sum()) for k in range(1, len(steps) + 1)]
    total = touchpoints.fetch("SELECT COUNT(DISTINCT user_id) AS n FROM {table} AS t")["n"].iloc[0]
    at_least = [int(total), *reached, 0]
    return pd.DataFrame(
        {
            "level": range(len(steps) + 1),
            "name": ["(not entered)", *steps],
            "units": [at_least[k] - at_least[k + 1] for k in range(len(steps) + 1)],
        }
    )


def mature(touchpoints, *, within, steps=(), period=None):
    """The Period of entries whose whole window lies inside the data: from the first day to `within` before the end.

    Without a window (None), or of one step, it is all days of the data. `period`
    narrows it. Rates over later entries are too low: their windows are cut off.
    """
    within = None if len(steps) == 1 else within
    within_us = _micros(within)
    at = touchpoints.require("timestamp").micros()
    seen = touchpoints.fetch(f"SELECT MIN({at}) AS low, MAX({at}) AS high FROM {{table}} AS t").iloc[0]
    if pd.isna(seen["low"]):
        raise BadParameter(f"{touchpoints.name} ({touchpoints.origin}): no events, so no period")
    since, until = _date(seen["low"]), _date(seen["high"] + (_DAY if within is None else _SECOND - within_us))
    if period is not None:
        since, until = max(since, period.since), min(until, period.until)
    if until <= since:
        raise BadParameter(
            f"{touchpoints.origin}: no entry has a whole window of {within} inside the data "
            f"({_date(seen['low'])} to {_date(seen['high'])}). Shorten within, or widen the period"
        )
    return Period(since, until)


def _require_group(touchpoints, by):
    if by is not None and not touchpoints.has(by):
        raise MissingColumns(
            f"{touchpoints.name} ({touchpoints.origin}): no column {by!r} to group by; found "
            f"{', '.join(touchpoints.columns)}. Group by one of them, or map it"
        )


def _programme(touchpoints, steps, within, entry, period, by=None):
    """The CTEs up to `units`, and the window in microseconds."""
    touchpoints.require("user_id", "timestamp", "event")
    if isinstance(steps, str) or len(steps) < 1:
        raise BadParameter(f"steps {steps!r}: expected a list of event names, in order")
    if len(set(steps)) < len(steps):
        raise BadParameter(f"steps {steps!r}: a step stands there twice; expected different events")
    if entry not in ("best", "first"):
        raise BadParameter(f"entry {entry!r}: expected 'best' or 'first'")
    within_us = _micros(within)
    return _units(touchpoints, list(steps), within_us, entry, period, by), within_us


def _units(touchpoints, steps, within_us, entry, period, by):
    """CTEs: events → instants (a row per person and moment) → a hop per step → one row per person."""
    at = touchpoints.micros()
    marks = ", ".join(
        f"MAX(CASE WHEN event = {literal(name)} THEN 1 ELSE 0 END) AS m_{k}" for k, name in _numbered(steps)
    )
    named = ", ".join(literal(name) for name in steps)
    group = label(identifier(by)) if by else "NULL"
    # At one instant a person enters with the group of the step-1 event, if there is one.
    at_entry = f"COALESCE(MIN(CASE WHEN event = {literal(steps[0])} THEN g END), MIN(g))" if by else "NULL"
    opens, nearby = "m_1 = 1", ""
    if period is not None:
        since, until = period.micros()
        opens += f" AND t >= {since} AND t < {until}"
        # Who did a step at quite another time did not do it out of order.
        nearby = f" AND t >= {since}" + (f" AND t < {until + within_us}" if within_us is not None else "")
    start = f"CASE WHEN {opens} THEN t END"
    if entry == "first":
        start = f"CASE WHEN {opens} AND t = MIN(CASE WHEN m_1 = 1 THEN t END) OVER (PARTITION BY u) THEN t END"
    ctes = [
        f"events AS (SELECT user_id AS u, {at} AS t, event, {group} AS g FROM {{table}} AS source "
        f'WHERE user_id IS NOT NULL AND "timestamp" IS NOT NULL AND event IN ({named}))',
        f"instants AS (SELECT u, t, {at_entry} AS g, {marks} FROM events GROUP BY u, t)",
        f"hop_1 AS (SELECT instants.*, {start} AS s_1 FROM instants)",
    ]
    for k, _ in _numbered(steps[1:], first=2):
        inside = f" AND t - p <= {within_us}" if within_us is not None else ""
        ctes.append(
            f"before_{k} AS (SELECT hop_{k - 1}.*, MAX(s_{k - 1}) OVER (PARTITION BY u ORDER BY t "
            f"ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS p FROM hop_{k - 1})"
        )
        kept = ", ".join(["u", "t", "g", *(f"m_{j}" for j, _ in _numbered(steps)), *(f"s_{j}" for j in range(1, k))])
        ctes.append(
            f"hop_{k} AS (SELECT {kept}, "
            f"CASE WHEN m_{k} = 1 AND p IS NOT NULL{inside} THEN p END AS s_{k} FROM before_{k})"
        )
    count = len(steps)
    level = " ".join(f"WHEN MAX(s_{k}) IS NOT NULL THEN {k}" for k in range(count, 0, -1))
    # s_k only grows with time, so the earliest row that gets as deep has the smallest start.
    entered = " ".join(f"WHEN MAX(s_{k}) IS NOT NULL THEN MIN(s_{k})" for k in range(count, 0, -1))
    latest = " ".join(f"WHEN MAX(s_{k}) IS NOT NULL THEN MAX(s_{k})" for k in range(count, 0, -1))
    did = ", ".join(f"MAX(CASE WHEN m_{k} = 1{nearby} THEN 1 ELSE 0 END) AS did_{k}" for k, _ in _numbered(steps))
    ctes.append(
        f"units AS (SELECT u, CASE {level} ELSE 0 END AS level, CASE {entered} ELSE MIN(t) END AS entered, "
        f"CASE {latest} END AS latest, {did} FROM hop_{count} GROUP BY u)"
    )
    ctes.append(f"data AS (SELECT MAX({at}) AS ends FROM {{table}} AS source)")
    return "WITH " + ",\n".join(ctes)


def _counted(ctes, steps, within_us, week="NULL"):
    """The statement that counts units per group (and week) and step."""
    open_window = f"latest + {within_us} > ends" if within_us is not None else "1 = 1"
    flags = []
    for k, _ in _numbered(steps):
        flags.append(f"SUM(CASE WHEN level >= {k} THEN 1 ELSE 0 END) AS units_{k}")
        flags.append(f"SUM(CASE WHEN did_{k} = 1 AND level < {k} THEN 1 ELSE 0 END) AS out_of_order_{k}")
        waiting = f"level = {k - 1} AND level > 0 AND {open_window}"
        flags.append(f"SUM(CASE WHEN {waiting} THEN 1 ELSE 0 END) AS immature_{k}")
    return (
        f"{ctes},\nplaced AS (SELECT units.*, g AS grp, {week} AS week FROM units "
        f"JOIN instants ON units.u = instants.u AND units.entered = instants.t)\n"
        f"SELECT grp, week, {', '.join(flags)} FROM placed CROSS JOIN data GROUP BY grp, week"
    )


def _reported(counts, steps, by, definition):
    rows = []
    groups = [group for _, group in counts.groupby("grp", dropna=False)]
    # Without groups a funnel that nobody entered still has its steps, with nobody at them.
    for group in groups or ([] if by else [counts]):
        before = None
        for k, name in _numbered(steps):
            units = int(group[f"units_{k}"].sum())
            rows.append(
                {
                    **({by: group["grp"].iloc[0]} if by else {}),
                    "step": k,
                    "name": name,
                    "units": units,
                    "from_units": before,
                    "dropped": None if before is None else before - units,
                    "out_of_order": int(group[f"out_of_order_{k}"].sum()),
                    "immature": int(group[f"immature_{k}"].sum()),
                }
            )
            before = units
    columns = [*([by] if by else []), "step", "name", "units", "from_units", "dropped", "out_of_order", "immature"]
    table = pd.DataFrame(rows, columns=columns)
    entered = table["units"].where(table["step"] == 1).ffill().to_numpy(float)
    before = table["from_units"].to_numpy(float)
    units = table["units"].to_numpy(float)
    table["rate"] = _ratio(units, before)
    table["low"], table["high"] = wilson(units, before)
    table["overall"] = _ratio(units, entered)
    table["overall_low"], table["overall_high"] = wilson(units, entered)
    table["from_units"] = table["from_units"].astype("Int64")
    table["dropped"] = table["dropped"].astype("Int64")
    table["definition"] = definition
    order = ["units", "from_units", "rate", "low", "high", "overall", "overall_low", "overall_high"]
    return table[[*([by] if by else []), "step", "name", *order, "dropped", "out_of_order", "immature", "definition"]]


def _definition(within, entry, period):
    window = "no window" if within is None else f"{_spelled(duration(within))} inclusive"
    bounds = f", entries {period}" if period is not None else ""
    return f"closed, ordered, {entry} entry, {window}, ties distinct{bounds}"


def _spelled(window):
    seconds = window.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1)):
        if seconds % size == 0 or unit == "seconds":
            count = f"{seconds / size:g}"
            return f"{count} {unit if count != '1' else unit.removesuffix('s')}"


def _ratio(part, whole):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _numbered(steps, first=1):
    return list(enumerate(steps, start=first))


def _micros(within):
    return None if within is None else round(duration(within) / timedelta(microseconds=1))


def _date(micros):
    return datetime.fromtimestamp(int(micros) / _SECOND, UTC).date()


def _monday(week):
    return pd.Timestamp(_date(int(week) * _WEEK + _FIRST_MONDAY))
