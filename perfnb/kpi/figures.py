"""The sums that KPIs are made of: one GROUP BY over the days of two periods."""

from datetime import timedelta

import numpy as np
import pandas as pd

from perfnb import columns
from perfnb.engine import Table, identifier, labelled, literal
from perfnb.errors import BadParameter, MissingTable
from perfnb.kpi.catalogue import BASE, CATALOGUE, NOT_SUMMED, SUMMED
from perfnb.kpi.noise import Halves, each_day
from perfnb.kpi.tree import keys
from perfnb.period import Period, duration

# Base columns beyond our own that a table may bring (calls, downloads …): those that may be summed.
_SUMMED = frozenset(column for one in CATALOGUE.values() if one.aggregation in SUMMED for column in one.columns) - set(
    NOT_SUMMED
)
_UNKNOWN = 0.02  # share of orders whose margin or kind of customer may be unknown
_TYPES = {
    "date": "DATE",
    "channel": "VARCHAR",
    "campaign": "VARCHAR",
    "visits": "BIGINT",
    "orders": "BIGINT",
    "revenue": "DECIMAL(38, 6)",
    "currency": "VARCHAR",
}


def figures(campaigns, *, touchpoints=None, orders=None, conversion="order", session_gap="30 minutes"):
    """The campaigns table; where it is absent, visits, orders and revenue counted from the touchpoints.

    A visit is then a run of one person's events with pauses of at most
    `session_gap`, booked on the day and channel of its first event; an order is
    a `conversion` event. Impressions, clicks and cost cannot be counted: they
    stay absent.

    With `orders`, new_customers and contribution (the margin) that the table lacks
    are counted from them, on the channel and campaign of the touchpoint with the
    same order_id; an order without one stays under "(unknown)".

    Returns a Table with one row per day × channel × campaign (and source).
    """
    counted = campaigns if not campaigns.absent else _from_events(campaigns, touchpoints, conversion, session_gap)
    return counted if orders is None or orders.absent else _with_orders(counted, touchpoints, orders)


def _from_events(campaigns, touchpoints, conversion, session_gap):
    if touchpoints is None or touchpoints.absent:
        raise MissingTable(
            f"{campaigns.origin.removeprefix('not in ')}: neither campaigns nor touchpoints; KPIs need one of them. "
            "Add campaigns.csv (day × channel × campaign) or touchpoints.csv (one row per event)"
        )
    touchpoints.require("user_id", "timestamp", "event")
    gap = round(duration(session_gap).total_seconds() * 1_000_000)
    touchpoints.currency("value")
    seen = touchpoints.fetch("SELECT DISTINCT event FROM {table} AS t WHERE event IS NOT NULL")["event"]
    if conversion not in set(seen):
        raise BadParameter(
            f"conversion {conversion!r}: no such event in touchpoints ({touchpoints.origin}); "
            f"found {', '.join(sorted(map(str, seen))[:40])}. Name the event that counts as an order"
        )
    channel, campaign, currency = (touchpoints.column(name) for name in ("channel", "campaign", "currency"))
    value = touchpoints.column("value", "DECIMAL(18, 6)")
    sql = f"""WITH events AS (SELECT user_id AS u, {touchpoints.micros()} AS t, CAST("timestamp" AS DATE) AS "date",
  event, {channel} AS channel, {campaign} AS campaign, {value} AS value, {currency} AS currency
  FROM ({touchpoints.sql}) AS source),
gaps AS (SELECT events.*, LAG(t) OVER (PARTITION BY u ORDER BY t, COALESCE(event, ''), COALESCE(channel, ''),
  COALESCE(campaign, '')) AS before FROM events WHERE u IS NOT NULL AND t IS NOT NULL),
counted AS (
  SELECT "date", channel, campaign, 1 AS visits, 0 AS orders, CAST(NULL AS DECIMAL(18, 6)) AS revenue,
    CAST(NULL AS VARCHAR) AS currency FROM gaps WHERE before IS NULL OR t - before > {gap}
  UNION ALL SELECT "date", channel, campaign, 0, 1, value, currency FROM events WHERE event = {literal(conversion)})
SELECT "date", channel, campaign, SUM(visits) AS visits, SUM(orders) AS orders, SUM(revenue) AS revenue,
  MAX(currency) AS currency FROM counted GROUP BY "date", channel, campaign"""
    # Small, and read several times from here on: counting every event again each time would be slow.
    sql = touchpoints.engine.keep(sql)
    return Table("campaigns", touchpoints.engine, sql, dict(_TYPES), f"counted from {touchpoints.origin}")


def _with_orders(counted, touchpoints, orders):
    """The figures, and below them one row per day and segment of what only the orders know."""
    found = {"new_customers": "new_customer", "contribution": "margin"}
    added = {name: own for name, own in found.items() if orders.has(own) and not counted.has(name)}
    if not added or not orders.has("timestamp"):
        return counted
    if orders.has("order_id"):
        twice = orders.fetch("SELECT COUNT(order_id) - COUNT(DISTINCT order_id) AS n FROM {table} AS t")["n"].iloc[0]
        if twice:
            raise BadParameter(
                f"{orders.name} ({orders.origin}): {twice} rows repeat an order_id, so margins and new customers would "
                "count twice. One row per order: remove the others"
            )
    counts = ", ".join(f"COUNT({identifier(own)}) AS {name}" for name, own in added.items())
    known = orders.fetch(f"SELECT COUNT(*) AS n, {counts} FROM {{table}} AS t").iloc[0]
    for name, own in added.items():
        if known[name] < (1 - _UNKNOWN) * known["n"]:
            raise BadParameter(
                f"{orders.name} ({orders.origin}): {known['n'] - known[name]} of {known['n']} orders have no {own}, so "
                "the sums would be too small. Fill the column, or leave it out"
            )
    ours, theirs = counted.currency("revenue", "cost"), orders.currency("margin")
    if "contribution" in added and None not in (ours, theirs) and ours != theirs:
        raise BadParameter(
            f"{orders.name} ({orders.origin}): margins in {theirs}, but {counted.name} ({counted.origin}) is in "
            f"{ours}; convert one of them"
        )
    sums = {
        "new_customers": 'SUM(CASE WHEN o."new_customer" THEN 1 WHEN NOT o."new_customer" THEN 0 END)',
        "contribution": 'SUM(o."margin")',
    }
    linked = orders.has("order_id") and touchpoints is not None and touchpoints.has("order_id")
    channel, campaign = (touchpoints.column(name) if linked else "NULL" for name in ("channel", "campaign"))
    # One row per order, whatever the events say twice.
    links = (
        f"SELECT order_id, MIN(CAST({channel} AS VARCHAR)) AS channel, MIN(CAST({campaign} AS VARCHAR)) AS campaign "
        f"FROM ({touchpoints.sql}) AS events WHERE order_id IS NOT NULL GROUP BY order_id"
        if linked
        else "SELECT CAST(NULL AS VARCHAR) AS order_id, CAST(NULL AS VARCHAR) AS channel, "
        "CAST(NULL AS VARCHAR) AS campaign WHERE 1 = 0"
    )
    key = "o.order_id" if linked else "CAST(NULL AS VARCHAR)"
    kinds = {"new_customers": "BIGINT", "contribution": "DECIMAL(38, 6)"}
    types = dict(counted.columns) | {name: kinds[name] for name in added}
    names = [*counted.columns, *added]
    own = {"date": "day", "channel": "channel", "campaign": "campaign", "currency": "currency"} | {n: n for n in added}
    above = ", ".join(_or_null(name, counted.columns, types) for name in names)
    below = ", ".join(_or_null(name, own, types, own) for name in names)
    summed = ", ".join(f"CAST({sums[name]} AS {types[name]}) AS {name}" for name in added)
    sql = f"""WITH links AS ({links}),
sums AS (SELECT CAST(o."timestamp" AS DATE) AS day, l.channel AS channel, l.campaign AS campaign, {summed},
  {literal(theirs) if theirs else "CAST(NULL AS VARCHAR)"} AS currency
  FROM ({orders.sql}) AS o LEFT JOIN links AS l ON {key} = l.order_id
  WHERE o."timestamp" IS NOT NULL GROUP BY CAST(o."timestamp" AS DATE), l.channel, l.campaign)
SELECT {above} FROM ({counted.sql}) AS figures UNION ALL SELECT {below} FROM sums"""
    return Table("campaigns", counted.engine, sql, types, f"{counted.origin} with {orders.origin}")


def _or_null(name, found, types, source=None):
    """A column where `found` has it, else a typed NULL under its name."""
    text = identifier((source or {}).get(name, name)) if name in found else f"CAST(NULL AS {types[name]})"
    return f"{text} AS {identifier(name)}"


def daily(figures, *, by=(), period="all", action="orders"):
    """Sums of the base columns by day and segment: what every analysis of KPIs starts from.

    `period` is a Period or a text ("2025-08", "last 28 days", "all"). `action` names
    the column that counts as a conversion.

    Returns one row per day and segment that has rows: date, (by), impressions,
    clicks, ad_visits, other_visits, visits, engaged_visits, leads, orders,
    new_customers (counts), revenue, contribution, cost (amounts; null where the
    source has no figure, which is not 0), conversions (the action's), further
    base columns of the catalogue that the table has, action, currency.
    """
    if not isinstance(period, Period):
        period = figures.period(period)
    by = keys(by)
    *found, currency = _sums(figures, (period,), by, action)
    found = _frame(*found).sort_values(["date", *by], ignore_index=True).astype(dict.fromkeys(by, "str"))
    return found.assign(action=action, currency=currency)


def base(figures, *, period, compare="previous", by=("channel", "campaign"), action="orders"):
    """Sums of the base columns by day and segment, for a period and the one that it is compared with.

    `period` is a Period or a text ("2025-08", "last 28 days": of the data).
    `compare` is "previous" (as many days just before), "year_before" (364 days
    before, the same weekdays), a Period or a text. Periods may overlap: each is
    counted whole. One that begins before or ends after the data is refused: a part
    must not be compared with a whole.

    Returns one row per period, day and segment: period ("before", "after"), the
    columns of `kpi.daily`, since and last_day of the period, covered (its days
    that have rows in any segment).
    """
    by = keys(by)
    sums = two(figures, period, compare, by, action)
    found, parts = _frame(sums.figures, sums.names), []
    for name, rows, days in zip(("before", "after"), sums.rows, sums.days, strict=True):
        part = found.iloc[rows].sort_values(["date", *by]).astype(dict.fromkeys(by, "str"))
        covered = part["date"].nunique()
        since, last_day = pd.to_datetime(days[[0, -1]])
        part = part.assign(action=action, currency=sums.currency, since=since, last_day=last_day, covered=covered)
        part.insert(0, "period", name)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def two(figures, period, compare, by, action, asked=None):
    """The Halves of both periods, of the base columns `asked` or of all."""
    spans = before, after = _periods(figures, period, compare)
    found, names, currency = _sums(figures, spans, by, action, asked)
    dates = found["date"]
    ends = [np.array([span.since, span.last_day], "datetime64[D]") for span in spans]
    # Rows on its first and its last day say that the data hold a period: else it is looked up what they hold.
    held = [all((dates == day).any() for day in own) for own in ends]
    if not held[1]:
        figures.whole(after)
    if not held[0]:
        figures.whole(before, called=f"the period before, from compare={str(compare)!r},")
    rows = [np.flatnonzero((dates >= first) & (dates <= last)) for first, last in ends]
    for name, own, span in zip(("before", "after"), rows, spans, strict=True):
        if not len(own):
            raise BadParameter(
                f"{figures.name} ({figures.origin}): no day in {span} (the period {name}). "
                f"The data hold {figures.span()}: choose period and compare inside it"
            )
    return Halves(found, tuple(rows), tuple(each_day(*own) for own in ends), action, currency, names)


def parts(figures, names, *, action="orders"):
    """{base column: SQL of one row's figure} for a table of campaigns; a typed NULL for what it does not have."""
    visits, clicks = figures.column("visits", "BIGINT"), figures.column("clicks", "BIGINT")
    sql = {name: _number(figures, name) for name in names}
    # Exports of organic channels say 0 clicks or none at all: either way their visits are no clicks that arrived.
    own = {"ad_visits": f"CASE WHEN {clicks} > 0 THEN {visits} END"}
    own["other_visits"] = f"CASE WHEN {clicks} > 0 THEN NULL ELSE {visits} END"
    own["conversions"] = _number(figures, action)
    return sql | {name: text for name, text in own.items() if name in sql}


def _number(figures, name):
    """A column as a number: one that is not ours may be text still, as CSV has it."""
    sql = figures.column(name, "DOUBLE")
    return f"CAST({sql} AS DOUBLE)" if figures.columns.get(name) in ("VARCHAR", "STRING", "string") else sql


_NOTHING = "CAST(NULL AS DOUBLE)"


def _sums(figures, spans, by, action, asked=None):
    """One GROUP BY over the days of the spans, of the base columns `asked` or of all: {column: array}, the names of the
    segments as Halves have them, and the currency.
    """
    # A segment that our table could have but has not is one segment, "(unknown)".
    known = columns.of("campaigns")
    figures.require("date", *(name for name in by if name not in known))
    if action != "orders":
        figures.require(action)
    names = [*BASE, "conversions", *(name for name in figures.columns if _is_extra(name, known))]
    names = [name for name in names if asked is None or name in asked]
    currency = figures.currency("revenue", "contribution", "cost")
    # As they are: what they are called costs less to say for every name than for every row.
    texts = {name: f"CAST({figures.column(name)} AS VARCHAR)" for name in by}
    named = "".join(f", {sql} AS {identifier(name)}" for name, sql in texts.items())
    sums = ", ".join(
        (sql if sql == _NOTHING else f"CAST(SUM({sql}) AS DOUBLE)") + f" AS {identifier(name)}"
        for name, sql in parts(figures, names, action=action).items()
    )
    day = '"date"'
    spans = sorted(spans, key=lambda span: span.since)
    ranges = [f"{day} >= DATE '{span.since}' AND {day} < DATE '{span.until}'" for span in spans]
    # One range around both lets the engine leave out what lies beside it unread.
    inside = f"{day} >= DATE '{spans[0].since}' AND {day} < DATE '{max(span.until for span in spans)}'"
    if spans[0].until < spans[-1].since:
        inside += f" AND ({' OR '.join(f'({own})' for own in ranges)})"
    found = figures.sums(
        f"SELECT {day}{named}, {sums} FROM {{table}} AS source WHERE {inside} "
        f"GROUP BY {', '.join([day, *texts.values()])}",
        by,
    )
    return found, {name: _labelled(*found.pop(name)) for name in by}, currency


def _labelled(places, names):
    """Each row's place in the names, and these in their order, called as `label` does in SQL."""
    names = [*map(labelled, names), "(unknown)"]
    order = sorted(set(names))
    place = {name: at for at, name in enumerate(order)}
    return np.array([place[name] for name in names])[places], order  # −1, none, is the last


def _frame(found, names):
    """Sums as a frame: the date, the names of the segments as categories, the figures."""
    named = {name: pd.Categorical.from_codes(own, pd.Index(order, dtype="str")) for name, (own, order) in names.items()}
    return pd.DataFrame({"date": pd.to_datetime(found["date"])} | named | found)


def _is_extra(name, known):
    """Whether a column of the data, beyond our own table's, is one that the catalogue sums."""
    return name not in known and name not in (*BASE, "conversions") and name in _SUMMED


def last(base, watch):
    """The last days of the period of a result of `base`: as many as `watch` says ("last 7 days"), at most all of them.

    A Period, or a text that names days ("2025-08-28..2025-08-31"), is taken as it is.
    """
    days = span(base)
    if isinstance(watch, Period):
        return watch
    asked = Period.parse(watch, end=days.until)
    return Period(max(asked.since, days.since), asked.until) if str(watch).strip().startswith("last ") else asked


def source(campaigns):
    """The name of the table that `figures` come from: "campaigns", or "touchpoints" where that is absent."""
    return "touchpoints" if campaigns.absent else "campaigns"


def span(base, which="after"):
    """The Period that the rows "after" (or "before") of a result of `base` cover."""
    row = base[base["period"] == which].iloc[0]
    return Period(row["since"].date(), row["last_day"].date() + timedelta(days=1))


def _periods(figures, period, compare):
    """The periods before and after."""
    if not isinstance(period, Period):
        # Only "last …" counts from the end of the data.
        end = figures.span().until if str(period).strip().startswith("last ") else None
        period = Period.parse(period, end=end)
    if compare == "previous":
        return period.previous(), period
    if compare == "year_before":
        return period.year_before(), period
    if isinstance(compare, Period):
        return compare, period
    if str(compare).strip().startswith("last "):
        raise BadParameter(
            f"compare {str(compare)!r}: expected 'previous' (as many days just before), 'year_before' (364 days "
            "before), or days as '2025-07' or '2025-07-04..2025-07-31'"
        )
    return Period.parse(compare), period
