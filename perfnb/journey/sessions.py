"""Visits: the events of a person cut where nothing happened for a while."""

from dataclasses import replace

import pandas as pd

from perfnb import intervals
from perfnb.engine import identifier, literal
from perfnb.errors import BadParameter
from perfnb.journey.paths import BETWEEN
from perfnb.period import duration

_MINUTE = 60_000_000
_DAY = 86_400_000_000
_OWN = ("session_no", "session_id")


def sessions(touchpoints, *, timeout="30 minutes", unit="user_id", conversion="order", first=10):
    """The sessions of a unit by their number: how many come again, how long they are, and which convert.

    A new session begins where more than `timeout` has passed since the unit's last event
    (a pause of exactly `timeout` is inside). `unit` is a column or a list of them. Sessions
    after the `first` … stand together in "11+". Events without a unit or a time belong to no
    session and stand in "(unknown)": events add up to the table.

    Returns one row per number: session ("1" …, "11+", "(unknown)"), sessions, persons (units
    with such a session), events, converted (sessions with a `conversion`), rate (converted /
    sessions) with low and high (95 %, Wilson with as many sessions as those of several per
    unit are worth), conversions, median_minutes (from the first to the last event),
    median_gap_days (from the end of the session before), definition.
    """
    if first < 1:
        raise BadParameter(f"first {first!r}: expected 1 or more")
    table = with_sessions(touchpoints.require("event"), timeout=timeout, unit=unit)
    names = [identifier(name) for name in _units(unit)]
    units = ", ".join(f"u_{k}" for k in range(len(names)))
    columns = ", ".join(f"{name} AS u_{k}" for k, name in enumerate(names))
    number = f"CASE WHEN session_no > {first} THEN {first + 1} ELSE session_no END"
    middle = ", ".join(
        f"MAX(CASE WHEN by_{name} = (known_{name} + 1) // 2 THEN {name} END) AS {name}" for name in ("length", "gap")
    )
    ranks = ", ".join(
        f"ROW_NUMBER() OVER (PARTITION BY number, CASE WHEN {name} IS NULL THEN 1 ELSE 0 END ORDER BY {name}) "
        f"AS by_{name}, COUNT({name}) OVER (PARTITION BY number) AS known_{name}"
        for name in ("length", "gap")
    )
    found = table.fetch(
        f"WITH events AS (SELECT {columns}, session_no, {table.micros()} AS t, "
        f"CASE WHEN event = {literal(conversion)} THEN 1 ELSE 0 END AS hit FROM {{table}} AS source),\n"
        f"spans AS (SELECT {units}, session_no, COUNT(*) AS events, SUM(hit) AS hits, MAX(t) - MIN(t) AS length, "
        f"MIN(t) AS begins, MAX(t) AS ends FROM events GROUP BY {units}, session_no),\n"
        f"behind AS (SELECT spans.*, {number} AS number, CASE WHEN session_no > 1 THEN "
        f"begins - LAG(ends) OVER (PARTITION BY {units} ORDER BY session_no) END AS gap FROM spans),\n"
        f"ranked AS (SELECT behind.*, {ranks} FROM behind),\n"
        f"person AS (SELECT {units}, number, COUNT(*) AS n, SUM(events) AS events, SUM(hits) AS conversions, "
        f"SUM(CASE WHEN hits > 0 THEN 1 ELSE 0 END) AS y, {middle} FROM ranked GROUP BY {units}, number)\n"
        "SELECT number, COUNT(*) AS persons, SUM(n) AS sessions, SUM(events) AS events, SUM(y) AS converted, "
        "SUM(conversions) AS conversions, SUM(y * y) AS yy, SUM(n * n) AS nn, SUM(y * n) AS yn, "
        "MAX(length) AS length, MAX(gap) AS gap FROM person GROUP BY number"
    )
    found["number"] = pd.to_numeric(found["number"]).fillna(first + 2)
    found = found.sort_values("number", ignore_index=True)
    found.insert(0, "session", found["number"].astype(int).astype(str))
    found.loc[found["number"] == first + 1, "session"] = f"{first + 1}+"
    lost = found["number"] > first + 1
    found.loc[lost, "session"] = "(unknown)"
    found.loc[lost, ["persons", "sessions", "converted"]] = 0
    for name in ("sessions", "persons", "events", "converted", "conversions"):
        found[name] = found[name].astype(int)
    found["rate"] = found["converted"] / found["sessions"].where(found["sessions"] > 0)
    sums = (found[name].astype(float) for name in ("converted", "sessions", "yy", "nn", "yn", "persons"))
    found["low"], found["high"], _ = intervals.clustered(*sums)
    found["median_minutes"] = (found["length"] / _MINUTE).mask(lost)
    found["median_gap_days"] = (found["gap"] / _DAY).astype(float).mask(lost)
    found["definition"] = (
        f"sessions of {' and '.join(_units(unit))}, time-out {timeout} inclusive, conversion event “{conversion}”"
    )
    columns = ["session", "sessions", "persons", "events", "converted", "rate", "low", "high", "conversions"]
    return found[[*columns, "median_minutes", "median_gap_days", "definition"]]


def with_sessions(touchpoints, *, timeout="30 minutes", unit="user_id", as_user=False):
    """The events as a Table with the columns session_no (1 … per unit) and session_id.

    Nothing runs until the Table is read. Both columns are null where the unit or the time
    is. With `as_user` the session takes the place of user_id, so that everything that
    counts persons — journeys, step matrices, funnels — counts sessions; otherwise it is a
    second column of a unit: `unit=["user_id", "session_no"]`.

    Returns the columns of `touchpoints`, and session_no, session_id.
    """
    names = _units(unit)
    touchpoints.require("user_id", "timestamp", *names)
    known = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in (*names, "timestamp"))
    of = ", ".join(f"given.{identifier(name)}" for name in names)
    moment = touchpoints.micros()
    pause = round(duration(timeout).total_seconds() * 1_000_000)
    of += ", perfnb_known"
    columns = {name: kind for name, kind in touchpoints.columns.items() if name not in _OWN}
    kept = ", ".join(f"given.{identifier(name)}" for name in columns)
    timed = (
        f"SELECT {kept}, {moment} AS perfnb_t, CASE WHEN {known} THEN 1 ELSE 0 END AS perfnb_known "
        f"FROM ({touchpoints.sql}) AS given"
    )
    # Both windows below walk the rows in one order, so that it does not matter which of a tie comes first.
    place = f"ROW_NUMBER() OVER (PARTITION BY {of} ORDER BY perfnb_t)"
    placed = f"SELECT given.*, {place} AS perfnb_place FROM ({timed}) AS given"
    window = f"PARTITION BY {of} ORDER BY perfnb_place"
    marked = f"SELECT given.*, perfnb_t - LAG(perfnb_t) OVER ({window}) AS perfnb_pause FROM ({placed}) AS given"
    opens = f"CASE WHEN perfnb_pause IS NULL OR perfnb_pause > {pause} THEN 1 ELSE 0 END"
    numbered = (
        f"SELECT {kept}, perfnb_known, CASE WHEN perfnb_known = 1 THEN SUM({opens}) OVER ({window} "
        f"ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) END AS session_no FROM ({marked}) AS given"
    )
    named = f", {literal(BETWEEN)}, ".join(f"CAST(given.{identifier(name)} AS VARCHAR)" for name in names)
    session = f"CASE WHEN perfnb_known = 1 THEN CONCAT({named}, {literal(BETWEEN)}, CAST(session_no AS VARCHAR)) END"
    kept = ", ".join(
        f"{session} AS user_id" if as_user and name == "user_id" else f"given.{identifier(name)}" for name in columns
    )
    sql = f"SELECT {kept}, CAST(session_no AS BIGINT) AS session_no, {session} AS session_id FROM ({numbered}) AS given"
    return replace(touchpoints, sql=sql, columns=columns | {"session_no": "BIGINT", "session_id": "VARCHAR"})


def _units(unit):
    names = [unit] if isinstance(unit, str) else list(unit)
    if not names or set(names) & set(_OWN):
        raise BadParameter(f"unit {unit!r}: expected a column or a list of columns, not {' or '.join(_OWN)}")
    return names
