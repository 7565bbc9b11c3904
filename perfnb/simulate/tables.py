"""From recorded visits and contacts to the tables of the library."""

from datetime import date, timedelta

import numpy as np
import pandas as pd

from perfnb.simulate.observe import EVENTS, Visits
from perfnb.simulate.rules import DAY, Rules
from perfnb.simulate.truth import Ledger
from perfnb.simulate.world import COUNTRIES, CURRENCY, DEVICES, SEGMENTS

STAGES = ("reach", "interaction", "interaction", "transaction", "transaction")
TEXT = pd.Series(["text"]).dtype  # as pandas reads text: str, or object before pandas 3
UNCOUNTED = ("impressions", "reach", "clicks", "cost")  # where there is no campaign


def words(names, index):
    """A text column: names by index; None stays absent."""
    return pd.array(list(names), dtype=TEXT).take(index)


def euros(cents):
    return np.rint(cents) / 100


def moments(start: date, seconds):
    return (np.datetime64(start, "us") + seconds.astype("timedelta64[s]")).astype("datetime64[us]")


def site(visits: Visits, rules: Rules, start: date):
    """The tables touchpoints, orders and surveys."""
    step = np.arange(len(EVENTS))
    recorded = ~visits.refused[:, None] | (step == len(EVENTS) - 1)
    row, event = np.nonzero((step <= visits.depth[:, None]) & recorded)
    second = visits.time[row, event]
    # stable: what one person does within one second stays in its order
    order = np.argsort(second.astype(np.int64) * (visits.person.max(initial=0) + 1) + visits.person[row], kind="stable")
    row, event, second = row[order], event[order], second[order]

    # the same digits in both ids of a person: who knows that can put them together, as no analyst could
    numbers, person = np.unique(2 * visits.person.astype(np.int64) + visits.second, return_inverse=True)
    users = [f"{'uv'[number % 2]}{number // 2:07d}" for number in numbers]
    is_order = event == len(EVENTS) - 1
    order_number = np.where(is_order, np.cumsum(is_order), 0)
    order_ids = [None, *(f"o{k:07d}" for k in range(1, is_order.sum() + 1))]
    value = np.where(is_order, euros(visits.cents[row]), np.nan)

    def told(names, index):
        """Text that is known of those only who did not refuse."""
        return words([None, *names], np.where(visits.refused[row], 0, index + 1))

    touchpoints = pd.DataFrame(
        {
            "user_id": told(users, person[row]),
            "timestamp": moments(start, second),
            "event": words(EVENTS, event),
            "channel": told([mark.channel for mark in rules.marks], visits.mark[row]),
            "campaign": told([mark.campaign for mark in rules.marks], visits.mark[row]),
            "stage": words(STAGES, event),
            "device": told(DEVICES, visits.device[row]),
            "country": told(COUNTRIES, visits.country[row]),
            "segment": told(SEGMENTS, visits.segment[row]),
            "order_id": words(order_ids, order_number),
            "value": value,
            "currency": words([None, CURRENCY], is_order.astype(int)),
        }
    )

    bought = row[is_order]
    buyer = pd.Series(visits.person[bought])
    orders = pd.DataFrame(
        {
            "order_id": words(order_ids, order_number[is_order]),
            "user_id": told(users, person[row])[is_order],
            "timestamp": moments(start, second[is_order]),
            "value": value[is_order],
            "margin": euros(visits.cents[bought] * visits.margin[bought]),
            "currency": words([CURRENCY], np.zeros(bought.size, int)),
            "new_customer": (~visits.known[bought]) & (~buyer.duplicated().to_numpy()),
        }
    )
    return touchpoints, orders, _surveys(visits, users, person, rules, start)


def _surveys(visits, users, person, rules, start):
    row, event = np.nonzero(np.where(visits.refused[:, None], 0, visits.score))
    second = visits.time[row, event] + np.where(event == 4, 120, 45)
    praised = np.flatnonzero((visits.nps >= 0) & ~visits.refused)
    # asked by mail two days after the order
    later = visits.time[praised, 4] + 2 * DAY + (visits.margin[praised] * 40_000).astype(int)
    parts = (
        (row, event, second, visits.score[row, event], np.zeros(row.size, int)),
        (praised, np.full(praised.size, 4), later, visits.nps[praised], np.ones(praised.size, int)),
    )
    row, event, second, score, scale = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((scale, event, visits.person[row], second))
    order = order[second[order] < rules.days * DAY]
    row, event, second, score, scale = (column[order] for column in (row, event, second, score, scale))
    return pd.DataFrame(
        {
            "user_id": words(users, person[row]),
            "timestamp": moments(start, second),
            "touchpoint": words(EVENTS, event),
            "score": score.astype(np.int64),
            "scale": words(("satisfaction", "nps"), scale),
        }
    )


def campaigns(visits: Visits, delivered, prices, rules: Rules, start: date) -> pd.DataFrame:
    """The table campaigns: totals of visits, orders and revenue are those of the events that have a channel.

    Platforms count and bill their contacts and clicks, and what is paid by the
    order, whoever refuses to be followed on the site.
    """
    named = len(rules.world.marks)

    def by_day(chosen, event, weights=None):
        cell = visits.mark[chosen] * rules.days + visits.time[chosen, event] // DAY
        return np.bincount(cell, weights, minlength=named * rules.days).reshape(named, rules.days)

    followed, bought = ~visits.refused, visits.depth == 4
    ordered = np.flatnonzero(followed & bought)
    impressions, reach, clicks = delivered[:, :named]
    billed = by_day(np.flatnonzero(bought), 4)
    by_mark = {name: np.array([getattr(m, name) for m in rules.world.marks])[:, None] for name in ("cpm", "cpc", "cpo")}
    cost = (by_mark["cpm"] * impressions / 1000 + by_mark["cpc"] * clicks) * prices + by_mark["cpo"] * billed
    columns = {
        "impressions": impressions,
        "reach": reach,
        "clicks": clicks,
        "visits": by_day(np.flatnonzero(followed), 0),
        "engaged_visits": by_day(np.flatnonzero(followed & (visits.depth >= 1)), 0),
        "orders": by_day(ordered, 4),
        "revenue": euros(by_day(ordered, 4, visits.cents[ordered])),
        "cost": euros(cost * 100),
    }
    day, mark = np.divmod(np.arange(rules.days * named), named)
    untracked = ~rules.tracked[mark]
    dates = np.datetime64(start, "us") + day.astype("timedelta64[D]")
    table = {
        "date": dates.astype("datetime64[us]"),
        "channel": words([m.channel for m in rules.world.marks], mark),
        "campaign": words([m.campaign for m in rules.world.marks], mark),
    }
    for name, column in columns.items():
        amounts = pd.Series(column[mark, day])
        if name in UNCOUNTED:
            amounts = amounts.astype("float64" if name == "cost" else "Int64").mask(untracked)
        table[name] = amounts
    table["currency"] = words([CURRENCY], np.zeros(mark.size, int))
    return pd.DataFrame(table)


def targets(rules: Rules, users: int, start: date) -> pd.DataFrame:
    """The table targets: the plan by month, for the days of the month that the shop covers."""
    days = pd.Series([(start + timedelta(days=d)).strftime("%Y-%m") for d in range(rules.days)])
    covered = days.value_counts().sort_index()
    rows = [
        (kpi, period, float(_round(rate * users * count)))
        for period, count in covered.items()
        for kpi, rate in rules.world.plan
    ]
    return pd.DataFrame(rows, columns=["kpi", "period", "target"])


def _round(amount):
    """Plans are round: two leading digits, as far as there are as many."""
    step = 10 ** max(len(str(int(amount))) - 2, 0)
    return round(amount / step) * step


def truth(ledger: Ledger, start: date, days: int) -> pd.DataFrame:
    """The table truth: one row per channel but Direct, which cannot be switched off, and the days it is true of."""
    channels = list(ledger.orders)
    orders = np.array([ledger.orders[c] for c in channels], dtype=np.int64)
    spread = 1.96 * np.sqrt([ledger.differing[c] for c in channels])
    return pd.DataFrame(
        {
            "channel": words(channels, np.arange(len(channels))),
            "incremental_orders": orders,
            "low": np.round(orders - spread, 2),
            "high": np.round(orders + spread, 2),
            "incremental_revenue": euros(np.array([ledger.cents[c] for c in channels], dtype=float)),
            "currency": words([CURRENCY], np.zeros(len(channels), int)),
            "since": pd.Timestamp(start).as_unit("us"),
            "last_day": pd.Timestamp(start + timedelta(days=days - 1)).as_unit("us"),
        }
    )
