"""Models side by side, with what the channels cost and, on simulated shops, with the truth."""

import numpy as np
import pandas as pd

from perfnb.engine import label
from perfnb.errors import BadParameter


def compare(credits, *, campaigns=None, truth=None, period=None):
    """Credit of several models with cost, return and cost per order.

    `credits` is a list of results of `rules` and `markov`. `campaigns` is the
    Table with the cost by channel, `period` (a Period) the days of the conversions
    in `credits`: only their cost is counted, and none of them may be missing.
    `truth` is the Table of a simulated shop: it becomes the model "truth"
    (incremental orders, which need not add up to all), where its days are the
    period's.

    Returns one row per model and channel: model, channel, credit (conversions),
    share (0-1 of the model's credit), value, cost, roas (value / cost),
    cost_per_order (cost / credit), low and high (of the credit, where known),
    currency. Every channel with credit or cost stands under every model, so cost
    adds up too; ratios without a base are null. No rows where no model has any.
    """
    table = pd.concat([part[["model", "channel", "credit", "value", "currency"]] for part in credits])
    currencies = set(table["currency"].dropna())
    table["low"] = table["high"] = np.nan
    cost = _cost(campaigns, period, currencies)
    if truth is not None and not truth.absent:
        table = pd.concat([table, _truth(truth, period, currencies)])
    if len(currencies) > 1:
        raise BadParameter(f"amounts in {', '.join(sorted(currencies))}: sums over two currencies mean nothing")
    models = list(dict.fromkeys(table["model"]))
    channels = sorted(set(table["channel"]) | set(cost.index))
    grid = pd.MultiIndex.from_product([models, channels], names=["model", "channel"])
    table = table.set_index(["model", "channel"]).reindex(grid).reset_index()
    known = table["model"] != "truth"
    table.loc[known, "credit"] = table.loc[known, "credit"].fillna(0.0)
    has_value = table.groupby("model")["value"].transform(lambda values: values.notna().any())
    table.loc[known & has_value, "value"] = table.loc[known & has_value, "value"].fillna(0.0)
    table["share"] = table["credit"] / table.groupby("model")["credit"].transform("sum")
    table["cost"] = table["channel"].map(cost).astype(float)
    table["roas"] = _ratio(table["value"], table["cost"])
    table["cost_per_order"] = _ratio(table["cost"], table["credit"])
    table["currency"] = next(iter(currencies), None)
    columns = ["model", "channel", "credit", "low", "high", "share", "value", "cost", "roas", "cost_per_order"]
    return table[[*columns, "currency"]]


def distance(comparison):
    """How far each model's shares among the paid channels lie from the truth's.

    Total variation distance: half the sum of absolute differences of shares, 0
    (equal) to 1 (nothing in common). Channels without cost, or whose truth is
    not known, are left out: the question is how money should move between
    those that cost some.

    Returns one row per model: model, distance (0-1; null for a model that
    credits none of these channels), misplaced (cost that would move if budgets
    followed the model instead of the truth: distance × cost), currency. No rows
    where the truth is not known, or credits none of them.
    """
    columns = ["model", "distance", "misplaced", "currency"]
    known = comparison.loc[(comparison["model"] == "truth") & comparison["credit"].notna(), "channel"]
    paid = comparison[(comparison["cost"] > 0) & comparison["channel"].isin(known)]
    shares = paid.pivot(index="channel", columns="model", values="credit").fillna(0.0).clip(lower=0)
    if "truth" not in shares or not shares["truth"].sum():
        return pd.DataFrame(columns=columns)
    shares = shares / shares.sum().replace(0.0, np.nan)
    cost = paid.groupby("model")["cost"].sum().iloc[0]
    rows = [
        {"model": model, "distance": float((shares[model] - shares["truth"]).abs().sum(skipna=False) / 2)}
        for model in shares
        if model != "truth"
    ]
    table = pd.DataFrame(rows, columns=["model", "distance"])
    table["misplaced"] = table["distance"] * cost
    table["currency"] = comparison["currency"].iloc[0]
    return table.sort_values(["distance", "model"], ignore_index=True)[columns]


def _cost(campaigns, period, currencies):
    if campaigns is None or campaigns.absent or not campaigns.has("cost"):
        return pd.Series(dtype=float)
    campaigns.require("channel")
    if period is not None:
        campaigns = campaigns.between(campaigns.whole(period))
    currencies |= {campaigns.currency("cost")} - {None}
    channel = label("channel")
    found = campaigns.fetch(
        f"SELECT {channel} AS channel, CAST(SUM(cost) AS DOUBLE) AS cost FROM {{table}} AS source GROUP BY {channel}"
    )
    return found.set_index("channel")["cost"].dropna()


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
