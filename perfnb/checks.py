"""Checks between reading and modelling: findings as a table, a gate, and proofs of totals."""

import difflib
from dataclasses import dataclass

import pandas as pd

from perfnb import columns as vocabulary
from perfnb.engine import identifier, literal
from perfnb.errors import BadParameter, TooMuchLost
from perfnb.locale import number, text, word

__all__ = ["contents", "events", "prove", "require", "run", "totals"]

_ROUNDING = 1e-9  # of a total: sums of floats in any order differ by less, one lost event by more
# Days without any row, of the weekdays that mostly have rows: a business that rests at weekends misses none.
_MISSING_DAYS = """WITH days AS (SELECT DISTINCT DATE_DIFF('day', DATE '1970-01-05', "date") AS d FROM {table} AS t
  WHERE "date" IS NOT NULL),
ends AS (SELECT MIN(d) AS low, MAX(d) AS high FROM days),
weekdays AS (SELECT d % 7 AS w, COUNT(*) AS seen FROM days GROUP BY d % 7),
expected AS (SELECT seen, low, high, FLOOR((high - w) / 7.0) - FLOOR((low - 1 - w) / 7.0) AS due
  FROM weekdays CROSS JOIN ends)
SELECT SUM(CASE WHEN 2 * seen >= due THEN due - seen ELSE 0 END) AS n, MAX(high) - MAX(low) + 1 AS whole
  FROM expected"""
_ORDER = {"error": 0, "warn": 1, "info": 2, "skipped": 3, "ok": 4}


@dataclass(frozen=True)
class Check:
    """One check: a statement that counts `n` bad rows `of` those looked at, and what the share means.

    Above `threshold` the finding has severity `above`; any bad row at all has
    severity `some`. Messages are the texts `checks.<name>`.
    """

    id: str
    name: str
    table: str
    columns: tuple
    sql: str
    threshold: float = 0.0
    above: str = "error"
    some: str = "error"
    also: tuple = ()  # of another table, which `{touchpoints}` in the statement stands for: its columns

    def severity(self, n, share):
        if not n:
            return "ok"
        return self.above if share > self.threshold else self.some


def _checks(conversion, max_lost):
    is_order = f"event = {literal(conversion)}"
    budget = {"threshold": max_lost, "above": "error", "some": "info"}
    touch, ads = "touchpoints", "campaigns"
    return (
        Check("L1", "no_person", touch, ("user_id",), _share("user_id IS NULL"), **budget),
        Check("L2", "no_time", touch, ("timestamp",), _share('"timestamp" IS NULL'), **budget),
        Check(
            "L4",
            "conversion_without_person",
            touch,
            ("user_id", "event"),
            f"SELECT COUNT(CASE WHEN user_id IS NULL THEN 1 END) AS n, COUNT(*) AS whole FROM {{table}} AS t "
            f"WHERE {is_order}",
            **budget,
        ),
        Check("L5", "no_person", "surveys", ("user_id",), _share("user_id IS NULL"), **budget),
        Check("E1", "duplicate_events", touch, ("user_id", "timestamp", "event"), "", 0.001, "error", "info"),
        Check(
            "E2",
            "double_conversion",
            touch,
            ("event", "order_id"),
            f"SELECT COUNT(order_id) - COUNT(DISTINCT order_id) AS n, COUNT(*) AS whole FROM {{table}} AS t "
            f"WHERE {is_order}",
        ),
        Check(
            "E3",
            "order_id_missing",
            touch,
            ("event", "order_id"),
            f"SELECT COUNT(*) - COUNT(order_id) AS n, COUNT(*) AS whole FROM {{table}} AS t WHERE {is_order}",
            0.05,
            "warn",
            "info",
        ),
        Check(
            "E4",
            "impossible_time",
            touch,
            ("timestamp",),
            _share('"timestamp" < TIMESTAMP \'2005-01-01 00:00:00\' OR "timestamp" > CURRENT_TIMESTAMP'),
        ),
        Check(
            "E6",
            "order_first",
            touch,
            ("user_id", "timestamp", "event"),
            # An event at the very moment of the order led to it, as in journeys.
            f'WITH firsts AS (SELECT user_id, MIN(CASE WHEN {is_order} THEN NULL ELSE "timestamp" END) AS seen, '
            f'MIN(CASE WHEN {is_order} THEN "timestamp" END) AS ordered FROM {{table}} AS t '
            "WHERE user_id IS NOT NULL GROUP BY user_id)\n"
            "SELECT COUNT(CASE WHEN seen IS NULL OR ordered < seen THEN ordered END) AS n, COUNT(ordered) AS whole "
            "FROM firsts",
            0.10,
            "warn",
            "info",
        ),
        Check(
            "E14",
            "order_value",
            touch,
            ("event", "value"),
            "SELECT COUNT(CASE WHEN value IS NULL OR value <= 0 THEN 1 END) AS n, COUNT(*) AS whole "
            f"FROM {{table}} AS t WHERE {is_order}",
            0.0,
            "warn",
            "warn",
        ),
        # Whatever sums amounts refuses two currencies itself; a funnel sums none.
        Check("D8", "currencies_mixed", touch, ("currency",), _currencies(), 0.0, "warn", "warn"),
        Check("L3", "no_date", ads, ("date",), _share('"date" IS NULL'), **budget),
        Check("D1", "key_twice", ads, ("date",), ""),
        Check(
            "D2",
            "clicks_over_impressions",
            ads,
            ("clicks", "impressions"),
            "SELECT COUNT(CASE WHEN clicks > impressions THEN 1 END) AS n, COUNT(impressions) AS whole "
            "FROM {table} AS t",
            0.01,
            "error",
            "warn",
        ),
        Check("D4", "negative_cost", ads, ("cost",), _share("cost < 0"), 0.0, "info", "info"),
        Check(
            "D4b",
            "clicks_without_cost",
            ads,
            ("clicks", "cost"),
            "SELECT COUNT(CASE WHEN clicks > 0 AND cost = 0 THEN 1 END) AS n, COUNT(clicks) AS whole FROM {table} AS t",
            0.05,
            "warn",
            "info",
        ),
        Check(
            "D6",
            "missing_days",
            ads,
            ("date",),
            _MISSING_DAYS,
        ),
        Check("D8", "currencies_mixed", ads, ("currency",), _currencies(), 0.0, "warn", "warn"),
        Check(
            "X2",
            "cost_without_traffic",
            ads,
            ("channel", "cost"),
            "SELECT COUNT(*) AS n, MAX(channels) AS whole FROM (SELECT channel, COUNT(*) OVER () AS channels "
            "FROM {table} AS t WHERE cost > 0 AND channel IS NOT NULL GROUP BY channel) AS paid "
            "WHERE channel NOT IN (SELECT channel FROM {touchpoints} AS other WHERE channel IS NOT NULL)",
            0.0,
            "warn",
            "warn",
            also=("channel",),
        ),
        Check(
            "S1",
            "score_off_scale",
            "surveys",
            ("score", "scale"),
            _share(
                "(scale = 'satisfaction' AND (score < 1 OR score > 5)) OR (scale = 'nps' AND (score < 0 OR score > 10))"
            ),
        ),
    )


def run(workspace, *, tables=("touchpoints", "campaigns"), conversion="order", max_lost=0.02, language="en"):
    """Run the checks of `tables` and return all findings, the gravest first.

    `max_lost` is the share of rows (0-1) that may be lost for want of a person
    or a time before that is an error.

    Returns one row per check: check (id), name, table, severity (error: figures
    would be wrong; warn: they can be misread; info; ok; skipped: a column is
    not there), rows, of (rows looked at), share (0-1), threshold, message,
    what_to_do.
    """
    findings = []
    for check in _checks(conversion, max_lost):
        if check.table not in tables:
            continue
        table = getattr(workspace, check.table)
        other = workspace.touchpoints if check.also and workspace.has("touchpoints") else None
        reason = _lacking(table, check.table, check.columns, language)
        if check.also:
            reason = reason or _lacking(other, "touchpoints", check.also, language)
        if reason:
            findings.append(_finding(check, "skipped", None, None, reason, ""))
            continue
        sql = check.sql or _duplicates(check, table)
        if other is not None:
            sql = sql.replace("{touchpoints}", f"({other.sql})")
        counted = table.fetch(sql).iloc[0]
        n, whole = (0 if pd.isna(value) else int(value) for value in counted)
        share = n / whole if whole else 0.0
        facts = {
            "n": number(n, language),
            "of": number(whole, language),
            "share": number(100 * share, language, 1) + " %",
            "table": check.table,
            "conversion": conversion,
        }
        severity = check.severity(n, share)
        message = (
            text("checks.fine", language) if severity == "ok" else text(f"checks.{check.name}.says", language, **facts)
        )
        way_out = "" if severity == "ok" else text(f"checks.{check.name}.do", language, **facts)
        findings.append(_finding(check, severity, n, whole, message, way_out))
    table = pd.DataFrame(findings)
    rank = table["severity"].map(_ORDER)
    table = table.iloc[rank.argsort(kind="stable")].reset_index(drop=True)
    table[["rows", "of"]] = table[["rows", "of"]].astype("Int64")
    return table


def events(touchpoints, wanted):
    """How often the events occur that an analysis asks for.

    Returns one row per event wanted: event, events (rows), units (persons).
    BadParameter for one that never occurs but is spelled nearly like one that
    does: that is a slip, and would read as nobody doing it.
    """
    found = touchpoints.require("user_id", "event").fetch(
        "SELECT event, COUNT(*) AS events, COUNT(DISTINCT user_id) AS units FROM {table} AS t "
        "WHERE event IS NOT NULL GROUP BY event ORDER BY events DESC, event"
    )
    table = pd.DataFrame({"event": list(wanted)}).merge(found, how="left", on="event")
    for event in table.loc[table["events"].isna(), "event"]:
        near = difflib.get_close_matches(event, found["event"], n=1, cutoff=0.75)
        if near:
            raise BadParameter(
                f"{touchpoints.name} ({touchpoints.origin}): no event {event!r}; did you mean {near[0]!r}? "
                f"Found: {', '.join(found['event'].head(12))}"
            )
    table[["events", "units"]] = table[["events", "units"]].fillna(0).astype(int)
    return table


def require(findings, *, accept=(), language="en"):
    """The findings' gate: TooMuchLost if an error is not in `accept` (ids or names).

    Returns one row: checked (checks that ran), errors, warnings, accepted (text).
    """
    accept = [accept] if isinstance(accept, str) else list(accept)
    errors = findings[findings["severity"] == "error"]
    stopped = errors[~(errors["check"].isin(accept) | errors["name"].isin(accept))]
    if len(stopped):
        lines = [f"{word(row.table, language)}: {row.message} {row.what_to_do}" for row in stopped.itertuples()]
        names = ", ".join(f'"{row.check}"' for row in stopped.itertuples())
        raise TooMuchLost("\n".join([*lines, text("checks.accept", language, names=names)]))
    ran = findings[~findings["severity"].isin(["skipped"])]
    return pd.DataFrame(
        {
            "checked": [len(ran)],
            "errors": [len(errors)],
            "warnings": [int((findings["severity"] == "warn").sum())],
            "accepted": [", ".join(errors["check"]) or "–"],
        }
    )


def contents(workspace, tables, *, language="en"):
    """What the workspace holds of `tables`, and what is not answered without the rest.

    Returns one row per table: table, status (present or absent), rows, first
    and last (day, UTC), note (what its absence costs).
    """
    rows = []
    for name in tables:
        table = getattr(workspace, name)
        if table.absent:
            rows.append({"table": name, "status": "absent", "note": text(f"absent.{name}", language)})
            continue
        day = f"CAST({identifier(table.moment)} AS DATE)" if table.moment else "CAST(NULL AS DATE)"
        seen = table.fetch(f"SELECT COUNT(*) AS n, MIN({day}) AS low, MAX({day}) AS high FROM {{table}} AS t").iloc[0]
        rows.append({"table": name, "status": "present", "rows": int(seen["n"]), "first": seen["low"]})
        rows[-1] |= {"last": seen["high"], "note": ""}
    table = pd.DataFrame(rows, columns=["table", "status", "rows", "first", "last", "note"])
    table["rows"] = table["rows"].astype("Int64")
    table["first"], table["last"] = pd.to_datetime(table["first"]), pd.to_datetime(table["last"])
    return table


def totals(table, *, conversion="order", period=None, count="every", unit="user_id"):
    """Plain totals of a touchpoints or campaigns Table, to hold results against: {name: number}.

    Touchpoints: events, persons (or other units: `unit` is a column, or several),
    conversions, value (of the conversions). With `count`
    "first" only conversions and value, of each person's first and of those without a person.
    Campaigns: impressions, clicks, visits, orders, revenue, cost. `period` (a Period) bounds them.
    """
    whole, table = table, table if period is None else table.between(period)
    if table.moment == "timestamp":
        converted = f"event = {literal(conversion)}"
        if count not in ("every", "first"):
            raise BadParameter(f"count {count!r}: expected 'every' or 'first'")
        if count == "first":
            return _first(whole, converted, period)
        sums = (
            f"COUNT(*) AS events, {_units(unit)} AS persons, "
            f"COUNT(CASE WHEN {converted} THEN 1 END) AS conversions, "
            f"CAST(SUM(CASE WHEN {converted} THEN {table.column('value', 'DOUBLE')} END) AS DOUBLE) AS value"
        )
    else:
        names = ("impressions", "clicks", "visits", "orders", "revenue", "cost")
        sums = ", ".join(f"CAST(SUM({table.column(name, 'DOUBLE')}) AS DOUBLE) AS {name}" for name in names)
    found = table.fetch(f"SELECT {sums} FROM {{table}} AS t").iloc[0]
    return {name: 0.0 if pd.isna(number) else float(number) for name, number in found.items()}


def _first(table, converted, period):
    """Conversions that are their person's first, and their value."""
    bounds = "1 = 1"
    if period is not None:
        since, until = (f"TIMESTAMP '{day} 00:00:00'" for day in (period.since, period.until))
        bounds = f"t.timestamp >= {since} AND t.timestamp < {until}"
    value = f"CAST(SUM({table.column('value', 'DOUBLE')}) AS DOUBLE)"
    found = table.fetch(
        "WITH first AS (SELECT user_id AS who, MIN(timestamp) AS since FROM {table} AS t "
        f"WHERE {converted} AND user_id IS NOT NULL GROUP BY user_id)\n"
        f"SELECT COUNT(*) AS conversions, {value} AS value "
        "FROM {table} AS t LEFT JOIN first ON t.user_id = first.who "
        f"WHERE {converted} AND (t.user_id IS NULL OR t.timestamp IS NULL OR t.timestamp = first.since) AND {bounds}"
    ).iloc[0]
    return {name: 0.0 if pd.isna(number) else float(number) for name, number in found.items()}


def _units(unit):
    """SQL for how many units there are; who lacks a part of the unit is none."""
    names = [identifier(name) for name in ([unit] if isinstance(unit, str) else unit)]
    if len(names) == 1:
        return f"COUNT(DISTINCT {names[0]})"
    known = " AND ".join(f"{name} IS NOT NULL" for name in names)
    return f"(SELECT COUNT(*) FROM (SELECT DISTINCT {', '.join(names)} FROM {{table}} AS s WHERE {known}) AS units)"


def prove(expected, **results):
    """Hold what results add up to against `totals`, which are counted straight from the events.

    Each keyword names a total and gives the sum in the result, or a Series of
    sums that must each equal it (one per model, say; a Series of none is 0).

    Returns one row per total: total, (part, of a Series), in_events, in_result,
    difference. Raises TooMuchLost when a difference is more than rounding.
    """
    unknown = [name for name in results if name not in expected]
    if unknown:
        raise BadParameter(f"{unknown[0]}: nothing to hold it against; expected {', '.join(expected)}")
    rows = []
    for name, found in results.items():
        parts = list(found.items()) if hasattr(found, "items") else [(None, found)]
        parts = parts or [(None, 0.0)]
        for part, number_found in parts:
            given, sum_found = float(expected[name]), 0.0 if pd.isna(number_found) else float(number_found)
            rows.append({"total": name, "part": part, "in_events": given, "in_result": sum_found})
    table = pd.DataFrame(rows)
    table["difference"] = table["in_result"] - table["in_events"]
    close = table["difference"].abs() <= (_ROUNDING * table["in_events"].abs()).clip(lower=1e-4)
    if not close.all():
        row = table[~close].iloc[0]
        raise TooMuchLost(
            f"{row['total']}{f' ({part})' if (part := row['part']) else ''}: the events hold {row['in_events']:,.12g}, "
            f"the result adds up to {row['in_result']:,.12g}. The result is wrong: do not use it"
        )
    table.loc[table["difference"].abs() < 1e-6, "difference"] = 0.0
    return table


def _lacking(table, name, columns, language):
    """Why a check cannot run on a table: it is absent (None, too), or has not all columns. None where it can."""
    missing = [column for column in columns if table is not None and not table.has(column)]
    if missing:
        return text("checks.skipped", language, columns=", ".join(missing))
    return text("checks.absent", language, table=name) if table is None or table.absent else None


def _finding(check, severity, n, whole, message, way_out):
    return {
        "check": check.id,
        "name": check.name,
        "table": check.table,
        "severity": severity,
        "rows": n,
        "of": whole,
        "share": n / whole if whole else None,
        "threshold": check.threshold,
        "message": message,
        "what_to_do": way_out,
    }


def _share(bad):
    return f"SELECT COUNT(CASE WHEN {bad} THEN 1 END) AS n, COUNT(*) AS whole FROM {{table}} AS t"


def _currencies():
    several = "CASE WHEN COUNT(DISTINCT currency) > 1 THEN COUNT(*) ELSE 0 END"
    return f"SELECT {several} AS n, COUNT(*) AS whole FROM {{table}} AS t"


def _duplicates(check, table):
    """Rows that repeat another: of events in every column, of campaigns in every column that is no figure."""
    known = vocabulary.of(check.table)
    figures = ("integer", "number", "money") if check.table == "campaigns" else ()
    key = [name for name in table.columns if name not in known or known[name].type not in figures]
    if check.table == "campaigns":
        key = [name for name in key if name in known or table.columns[name] == "VARCHAR"]
    names = ", ".join(identifier(name) for name in key)
    return (
        f"SELECT SUM(times) - COUNT(*) AS n, SUM(times) AS whole FROM "
        f"(SELECT COUNT(*) AS times FROM {{table}} AS t GROUP BY {names}) AS groups"
    )
