"""The sums that KPIs are made of: one GROUP BY over the days of two periods."""

from datetime import timedelta

import pandas as pd

from perfnb import columns
from perfnb.engine import Table, identifier, label, literal
from perfnb.errors import BadParameter, MissingTable
from perfnb.kpi.catalogue import BASE
from perfnb.period import Period, duration

_TYPES = {
    "date": "DATE",
    "channel": "VARCHAR",
    "campaign": "VARCHAR",
    "visits": "BIGINT",
    "orders": "BIGINT",
    "revenue": "DECIMAL(38, 6)",
    "currency": "VARCHAR",
}


def figures(campaigns, *, touchpoints=None, conversion="order", session_gap="30 minutes"):
    """The campaigns table; where it is absent, visits, orders and revenue counted from the touchpoints.

    A visit is then a run of one person's events with pauses of at most
    `session_gap`, booked on the day and channel of its first event; an order is
    a `conversion` event. Impressions, clicks and cost cannot be counted: they
    stay absent.

    Returns a Table with one row per day × channel × campaign.
    """
    if not campaigns.absent:
        return campaigns
    if touchpoints is None or touchpoints.absent:
        raise MissingTable(
            f"{campaigns.origin.removeprefix('not in ')}: neither campaigns nor touchpoints; KPIs need one of them. "
            "Add campaigns.csv (day × channel × campaign) or touchpoints.csv (one row per event)"
        )
    touchpoints.require("user_id", "timestamp", "event")
    gap = round(duration(session_gap).total_seconds() * 1_000_000)
    touchpoints.currency("value")
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


def base(figures, *, period, compare="previous", by=("channel", "campaign")):
    """Sums of the base columns by period and segment.

    `period` is a Period or a text ("2025-08", "last 28 days": of the data).
    `compare` is "previous" (as many days just before), "year_before" (364 days
    before, the same weekdays), a Period or a text. Periods may overlap: each is
    counted whole. One that begins before or ends after the data is refused: a part
    must not be compared with a whole.

    Returns one row per period and segment: period ("before", "after"), (by),
    impressions, clicks, ad_visits, other_visits, visits, orders (counts),
    revenue, cost (amounts; null where the source has no figure, which is not
    0), days (with rows), since and last_day of the period, covered (its days that
    have rows in any segment), currency.
    """
    # A segment that our table could have but has not is one segment, "(unknown)".
    figures.require("date", *(name for name in by if name not in columns.of("campaigns")))
    after, before = _periods(figures, period, compare)
    figures.whole(after)
    figures.whole(before, called=f"the period before, from compare={str(compare)!r},")
    currency = figures.currency("revenue", "cost")
    day = '"date"'
    inside = {"after": after, "before": before}
    spans = " UNION ALL ".join(
        f"SELECT {literal(name)} AS which, DATE '{span.since}' AS low, DATE '{span.until}' AS high"
        for name, span in inside.items()
    )
    keys = [label(figures.column(name)) for name in by]
    visits, clicks = figures.column("visits", "BIGINT"), figures.column("clicks", "BIGINT")
    parts = {name: figures.column(name, "DOUBLE") for name in BASE}
    # Exports of organic channels say 0 clicks or none at all: either way their visits are no clicks that arrived.
    parts["ad_visits"] = f"CASE WHEN {clicks} > 0 THEN {visits} END"
    parts["other_visits"] = f"CASE WHEN {clicks} > 0 THEN NULL ELSE {visits} END"
    sums = ", ".join(f"CAST(SUM({sql}) AS DOUBLE) AS {name}" for name, sql in parts.items())
    named = "".join(f", {key} AS {identifier(name)}" for key, name in zip(keys, by, strict=True))
    table = figures.fetch(
        f"SELECT spans.which AS period{named}, {sums}, COUNT(DISTINCT {day}) AS days "
        f"FROM {{table}} AS source JOIN ({spans}) AS spans "
        f"ON {day} >= spans.low AND {day} < spans.high GROUP BY {', '.join(['spans.which', *keys])}"
    )
    covered = figures.fetch(
        f"SELECT spans.which AS period, COUNT(DISTINCT {day}) AS covered FROM {{table}} AS source "
        f"JOIN ({spans}) AS spans ON {day} >= spans.low AND {day} < spans.high GROUP BY spans.which"
    )
    table["covered"] = table["period"].map(covered.set_index("period")["covered"])
    table["since"] = table["period"].map({name: pd.Timestamp(span.since) for name, span in inside.items()})
    table["last_day"] = table["period"].map({name: pd.Timestamp(span.last_day) for name, span in inside.items()})
    table["currency"] = currency
    if not set(inside) <= set(table["period"]):
        missing = next(name for name in inside if name not in set(table["period"]))
        raise BadParameter(
            f"{figures.name} ({figures.origin}): no day in {inside[missing]} (the period {missing}). "
            f"The data hold {figures.span()}: choose period and compare inside it"
        )
    return table.sort_values(["period", *by], ignore_index=True)


def source(campaigns):
    """The name of the table that `figures` come from: "campaigns", or "touchpoints" where that is absent."""
    return "touchpoints" if campaigns.absent else "campaigns"


def span(base, which="after"):
    """The Period that the rows "after" (or "before") of a result of `base` cover."""
    row = base[base["period"] == which].iloc[0]
    return Period(row["since"].date(), row["last_day"].date() + timedelta(days=1))


def _periods(figures, period, compare):
    if not isinstance(period, Period):
        seen = figures.span()
        period = Period.parse(period, end=seen.until)
    if compare == "previous":
        return period, period.previous()
    if compare == "year_before":
        return period, period.year_before()
    return period, compare if isinstance(compare, Period) else Period.parse(compare)
