"""A made-up shop whose truth is known: samples, tests and courses in which answers can be checked.

    shop = simulate.shop(seed=7, users=20_000)
    shop.touchpoints        what the site recorded
    shop.truth              what each channel really caused

People meet campaigns, move between hidden stages, and decide to buy. Those who
decide come in through doors that did not cause the decision (brand search,
coupon sites, ...), which is why counting the last click goes wrong. The truth is
a difference of two replays of the same people: with a channel, and without it.

    world     parameters and presets: data, to be changed with dataclasses.replace
    rules     the parameters as arrays
    draw      people and their candidate events: all random numbers, up front
    play      the replay of a chunk of people in one world
    truth     the differences between worlds
    observe   what the site and the platforms record
    tables    the records as our tables
    readme    what the samples are and what was planted in them
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.simulate import draw, observe, play, tables, truth
from perfnb.simulate.rules import Rules
from perfnb.simulate.world import DIRECT, Mark, World, preset

__all__ = ["CHUNK", "Mark", "Shop", "World", "preset", "shop", "write"]

CHUNK = 125_000  # people drawn and replayed at once: bounds the memory
TABLES = ("touchpoints", "campaigns", "orders", "surveys", "targets", "truth")


@dataclass(frozen=True)
class Shop:
    """One shop as tables. Times are UTC without zone, money is in EUR with cents, absent is null.

    touchpoints  one row per event of one person on the site, by time. `user_id`,
                 `timestamp`, `event` (visit, view_item, add_to_cart, checkout, order),
                 `channel` and `campaign` of the visit (no campaign in Organic Search and
                 Direct), `stage` (reach, interaction, transaction), `device`, `country`,
                 `segment`; on orders also `order_id`, `value`, `currency`.
    campaigns    one row per day, channel and campaign. `date`, `channel`, `campaign`,
                 `impressions`, `reach` (people, not additive), `clicks`, `visits`,
                 `engaged_visits` (that looked at an item), `orders` and `revenue` (of
                 visits through the campaign), `cost`, `currency`. Impressions, reach,
                 clicks and cost are null in Organic Search and Direct.
    orders       one row per order. `order_id`, `user_id`, `timestamp`, `value`, `margin`
                 (money, not share), `currency`, `new_customer`.
    surveys      one row per answer. `user_id`, `timestamp`, `touchpoint` (an event),
                 `score`, `scale` (satisfaction: 1-5, nps: 0-10).
    targets      one row per month and KPI. `kpi`, `period` (2025-06), `target`.
    truth        one row per channel but Direct, which cannot be switched off.
                 `channel`, `incremental_orders` (with all channels less without this
                 one; these do not add up to the joint effect), `low` and `high` (95 %),
                 `incremental_revenue`, `currency`, `since` and `last_day` of the days played.

    `without_advertising` is the number of orders that would have come with every
    campaign switched off.

    What is not seen changes the tables and never the truth. Someone who looks around
    on another device than they buy on (`World.second_id`) has two ids, u0000012
    where they buy and v0000012 where they look. Of those who refuse to be followed
    (`World.refusal`) orders are recorded, without person, channel, campaign,
    device, country and segment; `campaigns` has their impressions, reach, clicks
    and cost, not their visits, orders and revenue.
    """

    touchpoints: pd.DataFrame
    campaigns: pd.DataFrame
    orders: pd.DataFrame
    surveys: pd.DataFrame
    targets: pd.DataFrame
    truth: pd.DataFrame
    without_advertising: int


def shop(
    *,
    seed: int = 7,
    users: int = 20_000,
    preset: str = "default",
    days: int = 91,
    start: date = date(2025, 6, 2),
    world: World | None = None,
    budgets: Mapping[str, float] | None = None,
) -> Shop:
    """Simulate a shop with that many people over that many days; see Shop for the tables.

    `preset` is "default" (strong confounding), "benign" (last click nearly right), or
    another of `simulate.preset`; a `world` of your own goes instead of it. `budgets` is a factor by channel on
    the planned budget: `{"Display": 0}` plays the same people without Display.
    """
    rules = _rules(preset, world, days, start)
    _whole("seed", seed, 0)
    _whole("users", users, 1)
    factors = _factors(rules, budgets or {})

    first = range(0, users, CHUNK)
    *seeds, price_seed = np.random.SeedSequence(seed).spawn(len(first) + 1)
    ledger, parts = truth.Ledger(), []
    delivered = np.zeros((3, len(rules.marks), days), np.int64)
    for begin, child in zip(first, seeds, strict=True):
        inner, outer, losses = (np.random.Generator(np.random.PCG64(s)) for s in child.spawn(3))
        people, candidates = draw.draw(
            rules, first=begin, size=min(CHUNK, users - begin), rng=inner, ceiling=np.maximum(factors, 1.0)
        )
        played = play.play(people, candidates, rules, factors)
        truth.compare(people, candidates, rules, factors, played, ledger)
        delivered += observe.delivered(people, candidates, rules, played)
        parts.append(observe.visits(people, candidates, rules, played, outer, losses))

    visits = _together(parts)
    touchpoints, orders, surveys = tables.site(visits, rules, start)
    return Shop(
        touchpoints=touchpoints,
        campaigns=tables.campaigns(visits, delivered, _prices(rules, price_seed), rules, start),
        orders=orders,
        surveys=surveys,
        targets=tables.targets(rules, users, start),
        truth=tables.truth(ledger, start, days),
        without_advertising=ledger.without_advertising,
    )


def write(shop: Shop, folder: str | Path) -> None:
    """Write the tables of a shop as CSV files: UTF-8, `\\n` line ends, money with cents, absent empty."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table = getattr(shop, name).copy()
        for column in table.select_dtypes("bool"):
            table[column] = table[column].map({True: "true", False: "false"})
        form = "%Y-%m-%d" if name == "campaigns" else "%Y-%m-%d %H:%M:%S"
        table.to_csv(
            folder / f"{name}.csv",
            index=False,
            lineterminator="\n",
            date_format=form,
            float_format="%.2f",
            encoding="utf-8",
        )


def _rules(name, world, days, start):
    if world is None:
        world = preset(name)
    elif not isinstance(world, World):
        raise BadParameter(f"world: expected a simulate.World, found {type(world).__name__}")
    _whole("days", days, 1)
    if DIRECT not in [mark.channel for mark in world.marks]:
        raise BadParameter(f"world: no mark with the channel {DIRECT}; people whose door is shut need it")
    if not isinstance(start, date) or isinstance(start, datetime):
        raise BadParameter(f"start: expected a datetime.date, found {start!r}")
    return Rules(world, days)


def _whole(name, number, least):
    if isinstance(number, bool) or not isinstance(number, Integral) or number < least:
        raise BadParameter(f"{name}: expected a whole number of at least {least}, found {number!r}")


def _factors(rules, budgets):
    factors = np.ones(len(rules.marks))
    known = [channel for channel in rules.channels if channel != DIRECT]
    for channel, factor in budgets.items():
        if channel not in known:
            raise BadParameter(f"budgets: unknown channel {channel!r}; there are {', '.join(known)}")
        mine = rules.channel == rules.channels.index(channel)
        most = rules.world.headroom if rules.tracked[mine].all() else 1.0
        if not isinstance(factor, Real) or not 0 <= factor <= most:
            raise BadParameter(f"budgets: {channel} can be scaled by 0 to {most:g}, found {factor!r}")
        factors[mine] = factor
    return factors


def _prices(rules, seed):
    wobble = np.random.Generator(np.random.PCG64(seed)).random((len(rules.world.marks), rules.days))
    return 1 + rules.world.price_wobble * (2 * wobble - 1)


def _together(parts):
    names = [field.name for field in fields(observe.Visits)]
    return observe.Visits(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
