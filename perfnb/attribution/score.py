"""How far each model's shares lie from the truth, on simulated shops."""

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.attribution.compare import compare
from perfnb.errors import BadParameter

_WIDTH = 2 * intervals.Z  # of a 95 % interval, in standard deviations
_DRAWS = 2_000
COLUMNS = (
    *("model", "distance", "distance_low", "distance_high", "misplaced", "cost"),
    *("over", "over_share", "over_true", "under", "under_share", "under_true", "channels", "currency"),
)


def score(credits, *, truth=None, campaigns=None, period=None, seed=0):
    """How far each model's shares among the paid channels lie from the truth's.

    `credits` is a comparison that has the model "truth" (`compare` with a
    simulated shop's truth), or one or several results of models; then `truth`,
    `campaigns` and `period` are handed on to `compare`.

    The distance is half the sum of absolute differences of shares (total
    variation): 0 is right, 1 has nothing in common. Channels that cost nothing or
    whose truth is not known are left out, as the question is how money should
    move between those that cost some; where no cost is known at all, every
    channel with a truth counts. Negative truths and credits count as nothing.

    The interval carries that of the truth and of the credit, as far as known: both
    are drawn again 2,000 times from normal laws, channel by channel, and it is as
    wide on either side as the differences of shares moved in 95 % of the draws
    (half the sum, again). By the triangle inequality the distance without noise
    lies inside at least as often; noise alone makes a distance, which a plain
    bootstrap would count twice.

    Returns one row per model, the nearest first: model, distance (0-1; null for a
    model that credits none of these channels), distance_low, distance_high,
    misplaced (of `cost`, what would lie elsewhere if budgets followed the model
    instead of the truth: distance × cost), cost (of these channels), over (the
    channel that gets most too much), over_share and over_true (its shares, 0-1),
    under, under_share, under_true (the same of what gets most too little),
    channels (how many were judged), currency. No rows where the truth is not
    known, or credits none of them.
    """
    comparison = _comparison(credits, truth, campaigns, period)
    known = comparison.loc[(comparison["model"] == "truth") & comparison["credit"].notna(), "channel"]
    judged = comparison[comparison["channel"].isin(known)]
    paid = judged["cost"] > 0
    judged = judged[paid] if comparison["cost"].notna().any() else judged
    tables = judged.assign(sd=(judged["high"] - judged["low"]) / _WIDTH)
    credit, sd = (tables.pivot(index="model", columns="channel", values=name).fillna(0.0) for name in ("credit", "sd"))
    if "truth" not in credit.index or not credit.loc["truth"].clip(lower=0).sum():
        return pd.DataFrame(columns=list(COLUMNS))
    share = _shares(credit.to_numpy())
    true = share[credit.index == "truth"]
    rng = np.random.default_rng(seed)
    drawn = _shares(rng.normal(credit, sd, (_DRAWS, *credit.shape)))
    off = share - true
    moved = np.abs(drawn - drawn[:, credit.index == "truth"] - off).sum(axis=-1) / 2
    found = pd.DataFrame({"model": credit.index, "distance": np.abs(off).sum(axis=-1) / 2})
    uncertain = (sd.to_numpy() > 0).any(axis=-1) | (sd.loc["truth"] > 0).any()
    half = np.where(uncertain, np.quantile(moved, 0.95, axis=0), np.nan)
    found["distance_low"] = np.maximum(found["distance"] - half, 0.0)
    found["distance_high"] = np.minimum(found["distance"] + half, 1.0)
    cost = judged.groupby("model")["cost"].sum(min_count=1)
    found["cost"] = found["model"].map(cost).astype(float)
    found["misplaced"] = found["distance"] * found["cost"]
    for name, sign in (("over", 1), ("under", -1)):
        place = np.nan_to_num(sign * off).argmax(axis=1)
        some = np.take_along_axis(sign * off, place[:, None], 1)[:, 0] > 0
        found[name] = np.where(some, credit.columns.to_numpy(object)[place], None)
        found[f"{name}_share"] = np.where(some, share[np.arange(len(share)), place], np.nan)
        found[f"{name}_true"] = np.where(some, true[0, place], np.nan)
    found["channels"] = credit.shape[1]
    found["currency"] = comparison["currency"].iloc[0]
    found = found[found["model"] != "truth"].sort_values(["distance", "model"], ignore_index=True)
    return found[list(COLUMNS)]


def _comparison(credits, truth, campaigns, period):
    if not isinstance(credits, pd.DataFrame):
        return compare(credits, truth=truth, campaigns=campaigns, period=period)
    if "cost" not in credits:
        return compare([credits], truth=truth, campaigns=campaigns, period=period)
    if not (truth is None and campaigns is None and period is None):
        raise BadParameter(
            "score: a comparison holds its truth and cost already; give truth, campaigns and period to compare, "
            "or results of models to score"
        )
    return credits


def _shares(credit):
    credit = np.maximum(credit, 0.0)
    total = credit.sum(axis=-1, keepdims=True)
    return np.divide(credit, total, out=np.full(credit.shape, np.nan), where=total > 0)
