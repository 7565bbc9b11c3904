"""Models side by side, with what the channels cost and, on simulated shops, with the truth."""

import itertools

import numpy as np
import pandas as pd

from perfnb.attribution.noise import BASELINE, COLUMNS
from perfnb.engine import identifier, label
from perfnb.errors import BadParameter
from perfnb.journey import NO_TOUCH

OWN_ROWS = (NO_TOUCH, BASELINE)


def compare(credits, *, campaigns=None, truth=None, period=None, by=()):
    """Credit of several models with cost, return and cost per order.

    `credits` is a list of results of models (`rules`, `markov`, `shapley` …), all of
    them by channel and the columns `by`. `campaigns` is the Table with the cost by
    channel (and `by`), `period` (a Period) the days of the conversions in `credits`:
    only their cost is counted, and none of them may be missing. `truth` is the Table
    of a simulated shop: it becomes the model "truth" (incremental orders, which need
    not add up to all), where its days are the period's.

    Returns one row per model and channel (and `by`): model, channel, credit
    (conversions) with low and high, share (0-1 of the model's credit) with share_low
    and share_high, value with value_low and value_high, cost, roas (value / cost) with
    roas_low and roas_high, cost_per_order (cost / credit) with cost_per_order_low and
    cost_per_order_high, rank (1: most credit of the channels), currency, definition
    (how journeys were counted). Limits are
    95 % and take the cost as known. Everything with credit or cost stands under every
    model, so cost adds up too; ratios without a base are null. No rows where no model
    has any.
    """
    if isinstance(by, str):
        raise BadParameter(f"by {by!r}: expected a list of columns, as [{by!r}]")
    keys = ["channel", *by]
    known = [part for part in credits if len(part)]
    missing = [name for part in known for name in ("model", *keys, "credit") if name not in part]
    if missing:
        raise BadParameter(f"credits: a model has no column {missing[0]!r}. Give it the same by={list(by)!r}")
    if not known:
        return pd.DataFrame(columns=["model", *keys, *_FIGURES, "currency", "definition"])
    wanted = ["model", *keys, *COLUMNS[2:-1]]
    table = pd.concat([part.reindex(columns=wanted).astype(_types(keys)) for part in known])
    twice = table.loc[table.duplicated(["model", *keys]), "model"]
    if len(twice):
        raise BadParameter(
            f"credits: the model {twice.iloc[0]!r} is given twice, or by more than the channel. "
            "Give each model once, with one row per channel"
        )
    currencies = set(table["currency"].dropna())
    cost = _cost(campaigns, period, currencies, keys).astype(_types(keys))
    if truth is not None and not truth.absent and not by:
        table = pd.concat([table, _truth(truth, period, currencies)])
    if len(currencies) > 1:
        raise BadParameter(f"amounts in {', '.join(sorted(currencies))}: sums over two currencies mean nothing")
    table = _everywhere(table, cost, keys)
    table["currency"] = next(iter(currencies), None)
    said = dict.fromkeys(part["definition"].iloc[0] for part in known if "definition" in part)
    said.pop("", None)
    table["definition"] = "; ".join(said)
    return table[["model", *keys, *_FIGURES, "currency", "definition"]]


_FIGURES = (
    *COLUMNS[2:-2],
    *("cost", "roas", "roas_low", "roas_high"),
    *("cost_per_order", "cost_per_order_low", "cost_per_order_high", "rank"),
)


def _everywhere(table, cost, keys):
    """Everything with credit or cost under every model, with the ratios of both."""
    models = pd.DataFrame({"model": list(dict.fromkeys(table["model"]))})
    grid = models.merge(_segments(table, cost, keys), how="cross")
    table = grid.merge(table, how="left", on=["model", *keys]).merge(cost, how="left", on=keys)
    real = table["model"] != "truth"
    table.loc[real, "credit"] = table.loc[real, "credit"].fillna(0.0)
    has_value = table.groupby("model")["value"].transform(lambda values: values.notna().any()).astype(bool)
    table.loc[real & has_value, "value"] = table.loc[real & has_value, "value"].fillna(0.0)
    for name in COLUMNS[2:-2]:
        table[name] = table[name].astype(float)
    whole = table.groupby("model")["credit"].transform("sum")
    table["share"] = table["credit"] / whole.where(whole > 0)
    for end in ("", "_low", "_high"):
        table[f"roas{end}"] = _ratio(table[f"value{end}"], table["cost"])
    table["cost_per_order"] = _ratio(table["cost"], table["credit"])
    # The more orders, the less each costs: the limits change places.
    table["cost_per_order_low"] = _ratio(table["cost"], table["high"])
    table["cost_per_order_high"] = _ratio(table["cost"], table["low"])
    ranked = table["credit"].where(~table["channel"].isin(OWN_ROWS))
    table["rank"] = ranked.groupby(table["model"]).rank(ascending=False, method="min")
    return table


def _types(keys):
    """What has no row, or no name in any, must still meet what has."""
    return {name: "datetime64[us]" if name == "date" else object for name in keys}


def _segments(table, cost, keys):
    """What has credit or cost: by the credit that the models give on average, what is no touchpoint last."""
    real, cost = table[table["model"] != "truth"], cost[cost["cost"] != 0]
    found = pd.concat([real[(real["credit"] != 0) | real["channel"].isin(cost["channel"])], cost])
    found = pd.concat([found, table[(table["model"] == "truth") & ~table["channel"].isin(OWN_ROWS)]])[keys]
    found = found.drop_duplicates().merge(
        real.groupby(keys, dropna=False)["credit"].sum().reset_index().astype(_types(keys)), how="left", on=keys
    )
    found["own"] = found["channel"].isin(OWN_ROWS)
    order = found.fillna({"credit": 0.0}).sort_values(
        ["own", "credit", *keys], ascending=[True, False, *[True] * len(keys)]
    )
    return order[keys]


def common(touchpoints, campaigns, names):
    """Returns the columns among `names` that both tables have: what credit and cost can be split by."""
    return [name for name in names if touchpoints.has(name) and campaigns.has(name)]


def agreement(comparison):
    """How far the models agree on who contributed.

    Returns one row per pair of models, the truth left out: model, other, disagreement
    (0-1: half the sum of the absolute differences of shares, so the share of all
    conversions that one credits elsewhere than the other), moved (conversions that
    this is), rank_correlation (-1 to 1, Kendall's tau-b over the channels; null
    below two), channels (that are ranked), apart (the channel with the greatest
    difference of shares).
    """
    by_channel(comparison)
    real = comparison[comparison["model"] != "truth"]
    shares = real.pivot(index="channel", columns="model", values="share").fillna(0.0)
    total = real.groupby("model")["credit"].sum()
    rows = []
    for one, other in itertools.combinations(dict.fromkeys(real["model"]), 2):
        gap = (shares[one] - shares[other]).abs()
        named = shares[~shares.index.isin(OWN_ROWS)]
        rows.append(
            {
                "model": one,
                "other": other,
                "disagreement": gap.sum() / 2,
                "moved": gap.sum() / 2 * total[one],
                "rank_correlation": _tau(named[one].to_numpy(), named[other].to_numpy()),
                "channels": len(named),
                "apart": gap.idxmax(),
            }
        )
    columns = ["model", "other", "disagreement", "moved", "rank_correlation", "channels", "apart"]
    return pd.DataFrame(rows, columns=columns)


def moves(comparison, *, model, against):
    """What it would move in budget to follow `against` instead of `model`.

    The money that the channels cost now is spread over the same channels in
    proportion to the value that each model credits (to conversions, where no value
    is known). This is no advice: returns fall as budgets grow, and neither model
    knows what would have happened anyway.

    Returns one row per channel with cost: model, against, channel, cost, share_before and
    share_after (0-1, of the credit of the channels with cost, under `model` and
    `against`), budget_before and budget_after (all cost × share), change (money),
    change_low and change_high (as far as the limits of both shares reach, together),
    currency.
    """
    by_channel(comparison)
    models = list(dict.fromkeys(comparison["model"]))
    for name, asked in (("model", model), ("against", against)):
        if models and asked not in models:
            raise BadParameter(f"{name} {asked!r}: not in the comparison, which has {', '.join(models)}")
    paid = comparison[comparison["cost"] > 0]
    valued = paid.loc[paid["model"].isin([model, against]), "value"].notna().all()
    basis, low, high = ("value", "value_low", "value_high") if valued else ("credit", "low", "high")
    one, other = (paid[paid["model"] == name].set_index("channel") for name in (model, against))
    total = one["cost"].sum()
    shares, spreads = [], []
    for part in (one, other):
        whole = part[basis].sum()
        shares.append(part[basis] / whole if whole else part[basis] * np.nan)
        half = ((part[high] - part[low]) / 2).where(part[basis] != 0, 0.0)
        # Of a share p of a sum of independent parts: (1 - p) of its own noise, p of that of the others.
        noise = half**2
        spreads.append(((1 - shares[-1]) ** 2 * noise + shares[-1] ** 2 * (noise.sum() - noise)) / whole**2)
    change = total * (shares[1] - shares[0])
    half = total * np.sqrt(spreads[0] + spreads[1])
    table = pd.DataFrame(
        {
            "cost": one["cost"],
            "share_before": shares[0],
            "share_after": shares[1],
            "budget_before": total * shares[0],
            "budget_after": total * shares[1],
            "change": change,
            "change_low": change - half,
            "change_high": change + half,
        }
    )
    table["currency"] = comparison["currency"].iloc[0] if len(comparison) else None
    table = table.rename_axis("channel").reset_index()
    table.insert(0, "against", against)
    table.insert(0, "model", model)
    return table.sort_values(["change", "channel"], ascending=[False, True], ignore_index=True)


def unjoined(comparison):
    """Where cost and credit do not meet: what a return on spend cannot judge, in money.

    Give it a comparison by campaign: names that platforms and web analytics spell
    differently show here on both sides.

    Returns one row per segment: kind ("cost_without_credit": no model credits it, or
    "credit_without_cost": in a channel that costs money elsewhere), the columns of the
    segment, cost, credit and value (the most that any model gives), currency. No rows
    where everything meets.
    """
    keys = [name for name in comparison.columns[1:] if name not in (*_FIGURES, "currency", "definition")]
    real = comparison[comparison["model"] != "truth"]
    most = real.groupby(keys, dropna=False, as_index=False)[["cost", "credit", "value"]].max()
    paid = set(most.loc[most["cost"] > 0, "channel"])
    spent = (most["cost"] > 0) & (most["credit"] == 0)
    earned = ~(most["cost"] > 0) & (most["credit"] > 0) & most["channel"].isin(paid)
    kinds = np.where(spent, "cost_without_credit", "credit_without_cost")
    most.insert(0, "kind", kinds)
    most = most[spent | earned].copy()
    most["currency"] = comparison["currency"].iloc[0] if len(comparison) else None
    weight = most["cost"].fillna(0.0).where(most["kind"] == "cost_without_credit", most["value"])
    order = most.assign(weight=weight).sort_values(["kind", "weight"], ascending=[True, False]).index
    return most.loc[order].reset_index(drop=True)


def by_channel(comparison):
    """Refuse a comparison that is split by more than the channel."""
    if comparison.duplicated(["model", "channel"]).any():
        raise BadParameter("comparison: expected one row per channel and model; compare without by")


def _tau(one, other):
    """Kendall's tau-b: the share of pairs in the same order less that in the opposite, ties corrected for."""
    if one.size < 2:
        return np.nan
    upper = np.triu_indices(one.size, 1)
    signs = [np.sign(values[:, None] - values[None, :])[upper] for values in (one, other)]
    scale = np.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
    return float((signs[0] * signs[1]).sum() / scale) if scale else np.nan


def _cost(campaigns, period, currencies, keys):
    if campaigns is None or campaigns.absent or not campaigns.has("cost"):
        return pd.DataFrame(columns=[*keys, "cost"])
    campaigns.require(*keys)
    if period is not None:
        campaigns = campaigns.between(campaigns.whole(period))
    currencies |= {campaigns.currency("cost")} - {None}
    names = [name for name in keys if name != "date"]
    columns = [f"{label(identifier(name))} AS {identifier(name)}" for name in names]
    day = ["date"] if "date" in keys else []
    found = campaigns.fetch(
        f"WITH spent AS (SELECT {', '.join([*columns, *(f'CAST({d} AS DATE) AS {d}' for d in day), 'cost'])} "
        "FROM {table} AS source)\n"
        f"SELECT {', '.join(map(identifier, keys))}, CAST(SUM(cost) AS DOUBLE) AS cost FROM spent "
        f"GROUP BY {', '.join(map(identifier, keys))}"
    )
    if day:
        found["date"] = pd.to_datetime(found["date"])
    return found[found["cost"].notna()]


def _truth(truth, period, currencies):
    truth.require("channel", "incremental_orders")
    days = ""
    if period is not None and truth.has("since") and truth.has("last_day"):
        days = f" AND since = DATE '{period.since}' AND last_day = DATE '{period.last_day}'"
    low, high = (truth.column(name, "DOUBLE") for name in ("low", "high"))
    revenue = truth.column("incremental_revenue", "DOUBLE")
    currencies |= {truth.currency("incremental_revenue")} - {None}
    return truth.fetch(
        f"SELECT 'truth' AS model, {label('channel')} AS channel, incremental_orders AS credit, "
        f"CAST({revenue} AS DOUBLE) AS value, {low} AS low, {high} AS high FROM {{table}} AS source "
        f"WHERE incremental_orders IS NOT NULL{days}"
    )


def _ratio(part, whole):
    return np.where(whole > 0, part / whole.where(whole > 0), np.nan)
