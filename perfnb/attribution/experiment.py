"""What would settle what the models cannot: which channel to test first, and for how long."""

from statistics import NormalDist

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.attribution.compare import OWN_ROWS, by_channel

_POWER = intervals.Z + NormalDist().inv_cdf(0.8)  # two-sided 5 %, found in 80 % of the tests
_COLUMNS = ("channel", "cost", "credit_least", "least", "credit_most", "most", "at_stake", "orders_apart", "test_days")


def to_test(comparison, *, period):
    """Where an experiment is worth most: the paid channels by the money that hangs on the choice of model.

    The test is a hold-out: for half of the persons or regions, drawn at random, the
    channel is switched off. `test_days` is how long it must run to tell the least from the
    most that a model credits, so that in four of five tests a difference as large shows
    (two-sided 5 %), with as many orders a day as in `period` (a Period): the orders of
    both halves vary as counts do (Poisson; more where they come in bursts). Experience
    with such tests: Lewis & Rao (2015), The unfavorable economics of measuring the
    returns to advertising; Quarterly Journal of Economics 130.

    Returns one row per channel with cost, the most at stake first: channel, cost,
    credit_least (conversions) and least (the model), credit_most and most, at_stake
    (money: the difference of the highest and the lowest share among channels with cost
    × all cost), orders_apart (credit_most less credit_least), test_days (of the test; null
    where the models agree), currency.
    """
    by_channel(comparison)
    real = comparison[(comparison["model"] != "truth") & (comparison["cost"] > 0)]
    real = real[~real["channel"].isin(OWN_ROWS)]
    if real.empty:
        return pd.DataFrame(columns=[*_COLUMNS, "currency"])
    orders = comparison[comparison["model"] == real["model"].iloc[0]]["credit"].sum()
    credit = real.pivot(index="channel", columns="model", values="credit")
    share = credit / credit.sum()
    cost = real.groupby("channel")["cost"].first()
    table = pd.DataFrame(
        {
            "cost": cost,
            "credit_least": credit.min(axis=1),
            "least": credit.idxmin(axis=1),
            "credit_most": credit.max(axis=1),
            "most": credit.idxmax(axis=1),
            "at_stake": (share.max(axis=1) - share.min(axis=1)) * cost.sum(),
        }
    )
    apart = table["credit_most"] - table["credit_least"]
    table["orders_apart"] = apart
    # Half of the orders lie in each half; switched off in one, half of the channel's own are missing there.
    times = (2 * _POWER) ** 2 * orders / apart.where(apart > 1e-6) ** 2
    table["test_days"] = np.ceil(times * period.days)
    table["currency"] = comparison["currency"].iloc[0]
    table = table.rename_axis("channel").reset_index()
    table = table.sort_values(["at_stake", "channel"], ascending=[False, True], ignore_index=True)
    return table[[*_COLUMNS, "currency"]]
