"""The README of the samples: what the tables are and what was planted; its figures are computed."""

from datetime import timedelta

from perfnb.simulate.world import DIRECT

TEXT = """\
# Samples: a made-up shop whose truth is known

`python -m perfnb.simulate data_samples` writes this folder, this file included: {users:,} people,
{since} to {until}, seed {seed}, the default preset. The same command gives the same bytes.
No person, brand or campaign here is real.

With few orders a planted story can drown in chance; this seed was chosen among some two hundred
because all of them can be seen. `simulate.shop(seed=..., users=...)` makes other shops and larger ones.

## The tables

UTF-8, comma, `\\n`; times are UTC; money is in EUR with cents; an empty field is absent, not 0.

**touchpoints.csv** ({touchpoints:,} rows): one row per event of one person on the site, by time.

| column | meaning |
|---|---|
| `user_id` | pseudonymous person |
| `timestamp` | when |
| `event` | `visit`, `view_item`, `add_to_cart`, `checkout`, `order` |
| `channel`, `campaign` | through which the visit came, on all of its events; no campaign in Organic Search and Direct |
| `stage` | `reach` (visit), `interaction` (item, cart), `transaction` (checkout, order) |
| `device`, `country`, `segment` | of the person |
| `order_id`, `value`, `currency` | on orders only |

**campaigns.csv** ({campaigns:,} rows): one row per day (UTC), channel and campaign.

| column | meaning |
|---|---|
| `date`, `channel`, `campaign` | the key |
| `impressions`, `clicks` | contacts and clicks as the platform counts them; some clicks never arrive |
| `reach` | people with a contact that day; not to be added over days or campaigns |
| `visits`, `engaged_visits` | visits begun that day, and those of them that looked at an item |
| `orders`, `revenue` | orders of that day in visits through the campaign; they add up to the events |
| `cost`, `currency` | media cost |

Impressions, reach, clicks and cost are absent in Organic Search and Direct: nobody counts or bills them.

**orders.csv** ({orders:,} rows): one row per order. `order_id`, `user_id`, `timestamp`, `value`, `margin`
(money that stays, not a share), `currency`, `new_customer` (`true`: first order of a person who was no customer).

**surveys.csv** ({surveys:,} rows): one row per answer. `user_id`, `timestamp`, `touchpoint` (an event), `score`,
`scale`: `satisfaction` is 1 (bad) to 5, `nps` is 0 to 10, asked two days after an order.

**targets.csv** ({targets:,} rows): one row per month and KPI. `kpi`, `period` (`2025-06`; from the first day of the
shop), `target` (revenue and cost in EUR).

**truth.csv** ({truth:,} rows): one row per channel. `channel`, `incremental_orders`, `low`, `high` (95 %),
`incremental_revenue`, `currency`, `since` and `last_day` (the days that it is true of). No real shop has this table.

## What is true, and what the last click says

Incremental orders are the orders of all people less those of the same people with the channel switched off.
They do not add up: channels stand in for each other. With every campaign off, {without:,} of the
{orders:,} orders would still have come. Direct cannot be switched off and has no truth.

| channel | true incremental orders | 95 % | last click |
|---|---:|---:|---:|
{table}

Those who have decided look for a door: the brand's name, a coupon, the mail in the inbox. These doors get the
last click and cause little. What made people aware is seldom there at the end.

## What was planted

- **The checkout broke.** {break_since} to {break_until}, on phones: {broken:.0%} of the checkouts became orders,
  {unbroken:.0%} on phones in all other weeks. Desktop and tablet are unharmed.
- **The mix moved.** From {shift} the budget of `Generic | Broad` in Paid Search is more than tripled. Paid Search
  as a whole falls from {cr_before:.1%} to {cr_after:.1%} orders per visit against the 28 days before, though no
  campaign in it got worse; total revenue rises by {growth:.1%}.
- **Affiliates only close.** Coupon and cashback sites bring only people who visited before and have decided.
- **Paid Video only opens.** Its visits are those of people who are not yet considering; none ends in an order.
- **The checkout annoys.** Satisfaction is lowest there, and lowest of all where it was broken.
"""


def readme(shop, *, seed: int, users: int) -> str:
    """Markdown about a shop of the default preset that covers all stories."""
    visits = shop.touchpoints[shop.touchpoints["event"] == "visit"]
    start = visits["timestamp"].min().date()
    breaks = (start + timedelta(days=14), start + timedelta(days=20))
    shift = start + timedelta(days=63)

    phones = shop.touchpoints[shop.touchpoints["device"] == "mobile"]
    during = phones["timestamp"].dt.date.between(*breaks)
    after, before = _since(shop, shift), _since(shop, shift - timedelta(days=28), shift)
    return TEXT.format(
        **{
            name: len(getattr(shop, name))
            for name in ("touchpoints", "campaigns", "orders", "surveys", "targets", "truth")
        },
        seed=seed,
        users=users,
        since=start,
        until=visits["timestamp"].max().date(),
        without=shop.without_advertising,
        table=_against_last_click(shop),
        break_since=breaks[0],
        break_until=breaks[1],
        broken=_completed(phones[during]),
        unbroken=_completed(phones[~during]),
        shift=shift,
        cr_before=_search_rate(before),
        cr_after=_search_rate(after),
        growth=after["revenue"].sum() / before["revenue"].sum() - 1,
    )


def _since(shop, since, until=None):
    day = shop.campaigns["date"].dt.date
    return shop.campaigns[(day >= since) & (day < until if until else True)]


def _completed(events):
    return (events["event"] == "order").sum() / (events["event"] == "checkout").sum()


def _search_rate(campaigns):
    search = campaigns[campaigns["channel"] == "Paid Search"]
    return search["orders"].sum() / search["visits"].sum()


def _against_last_click(shop):
    last = shop.touchpoints.loc[shop.touchpoints["event"] == "order", "channel"].value_counts()
    rows = [
        f"| {t.channel} | {t.incremental_orders:,} | {t.low:,.0f} to {t.high:,.0f} | {last.get(t.channel, 0):,} |"
        for t in shop.truth.itertuples()
    ]
    return "\n".join([*rows, f"| {DIRECT} | | | {last.get(DIRECT, 0):,} |"])
