"""The most unusual weeks of a trend: found where they were planted, and seldom where there are none."""

import math

import numpy as np
import pandas as pd
import pytest
from _tables import SAMPLES, only, shared

from perfnb import funnel, workspace
from perfnb.errors import BadParameter

MONDAYS = pd.date_range("2025-01-06", periods=26, freq="7D")


def trend_of(units, of, group=None, mature=True):
    """A trend of one step by week."""
    table = pd.DataFrame({"entered": MONDAYS[: len(units)]}).assign(
        last_day=lambda t: t["entered"] + pd.Timedelta("6D")
    )
    if group is not None:
        table["device"] = group
    table = table.assign(step=2, name="order", units=units, from_units=of, mature=mature, definition="closed")
    return table.assign(rate=table["units"] / table["from_units"])


def test_a_planted_run_is_found_with_its_days_and_the_rates_in_and_outside_of_it():
    dice = np.random.default_rng(1)
    x = dice.binomial(40, 0.8, 26)
    x[10:13] = [12, 9, 14]
    table = pd.concat([trend_of(x, 40, "mobile"), trend_of(dice.binomial(40, 0.8, 26), 40, "desktop")])
    found = funnel.unusual(table)
    row = found.iloc[0]
    assert (row["device"], row["since"], row["last_day"]) == ("mobile", MONDAYS[10], MONDAYS[13] - pd.Timedelta("1D"))
    assert (row["spans"], row["of_intervals"], row["units"], row["from_units"]) == (3, 26, 35, 120)
    assert (row["rest_units"], row["rest_from"]) == (x.sum() - 35, 23 * 40)
    assert row["rate"] == 35 / 120 and row["difference"] == pytest.approx(35 / 120 - (x.sum() - 35) / 920)
    assert row["low"] < row["rate"] < row["high"] < row["rest_rate"]
    assert row["difference_low"] < row["difference"] < row["difference_high"] < 0
    assert row["p"] <= 0.01 and row["tests"] == 2
    assert found.iloc[1]["device"] == "desktop" and found.iloc[1]["p"] > 0.05


def test_the_statistic_is_kulldorffs_by_brute_force():
    x, n = np.array([3, 9, 1, 2, 8, 7, 5]), np.array([10, 12, 9, 11, 10, 9, 12])

    def log_likelihood(k, of):
        return sum(count * math.log(count / of) for count in (k, of - k) if count)

    best, run = -1.0, None
    for k in (1, 2):
        for first in range(7 - k + 1):
            inside = slice(first, first + k)
            parts = (x[inside].sum(), n[inside].sum()), (np.delete(x, inside).sum(), np.delete(n, inside).sum())
            odd = sum(log_likelihood(*part) for part in parts) - log_likelihood(x.sum(), n.sum())
            if odd > best:
                best, run = odd, (MONDAYS[first], k)
    row = only(funnel.unusual(trend_of(x, n)))
    assert (row["since"], row["spans"]) == run


@pytest.mark.parametrize("varies", [0.0, 0.35])
def test_where_nothing_happened_few_trends_are_called_unusual(varies):
    """Nine series of 26 weeks; with `varies`, weeks differ by more than chance among persons (sd of log odds)."""
    alarms = 0
    for seed in range(60):
        dice = np.random.default_rng(seed)
        parts = []
        for group in range(9):
            chance = 1 / (1 + np.exp(-0.8 - varies * dice.normal(size=26)))
            of = dice.integers(40, 120, 26)
            parts.append(trend_of(dice.binomial(of, chance), of, f"g{group}"))
        alarms += funnel.unusual(pd.concat(parts), draws=99, seed=seed)["p"].min() <= 0.05
    assert alarms <= 7  # 3 are due


def test_only_mature_intervals_count_and_order_does_not():
    x = np.array([20, 21, 19, 22, 20, 18, 21, 2, 1])
    mature = np.arange(9) < 7
    found = funnel.unusual(trend_of(x, 30, mature=mature))
    assert found["since"].iloc[0] < MONDAYS[7] and found["of_intervals"].iloc[0] == 7 and found["p"].iloc[0] > 0.05
    again = funnel.unusual(trend_of(x, 30, mature=mature).sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(found, again)


def test_too_few_intervals_or_none_give_no_rows_and_too_few_draws_are_refused():
    assert funnel.unusual(trend_of([3, 4], 10)).empty
    assert funnel.unusual(trend_of([], [])).empty
    assert funnel.unusual(trend_of([10] * 9, 10))["p"].iloc[0] == 1  # all go on, everywhere
    with pytest.raises(BadParameter, match="draws 10: expected 99"):
        funnel.unusual(trend_of([3] * 9, 10), draws=10)


def test_the_broken_checkout_of_the_samples_is_found():
    log = workspace.open(SAMPLES).touchpoints
    steps = ["visit", "view_item", "add_to_cart", "checkout", "order"]
    found = funnel.unusual(funnel.trend(log, steps, within="7 days", by="device"))
    assert found[["device", "name", "spans"]].iloc[0].tolist() == ["mobile", "order", 1]
    assert found["since"].iloc[0] == pd.Timestamp("2025-06-16") and found["p"].iloc[0] < 0.01
    assert (found["p"].iloc[1:] > 0.05).all()


def test_the_checkout_bug_and_the_payment_incident_of_the_public_demo_log_are_found():
    """Its stories 2 (mobile, 9 April to 9 May) and 3 (all devices, 19 May to 7 June); visits are shuffled."""
    file = shared("data/journeys/retentioneering-ecom.csv.gz")
    log = workspace.open(
        file.parent, files={"touchpoints": file.name}, columns={"device": "platform", "channel": "acquisition_channel"}
    ).touchpoints
    steps = ["add_to_cart", "shipping_details", "payment_details", "purchase"]
    visits = {"within": "1 day", "unit": ["user_id", "session_id"], "resolution": "1 day"}
    found = funnel.unusual(funnel.trend(log, steps, by="device", **visits))
    real = found[found["p"] < 0.05].set_index(["device", "name"])
    assert set(real.index) == {("desktop", "purchase"), ("mobile", "purchase"), ("mobile", "payment_details")}
    bug = real.loc[("mobile", "payment_details")]
    assert pd.Timestamp("2024-04-08") <= bug["since"] and bug["last_day"] <= pd.Timestamp("2024-05-12")
    assert bug["rate"] < 0.4 and bug["rest_rate"] > 0.7
    whole = only(funnel.unusual(funnel.trend(log, steps[2:], **visits)))
    assert whole["since"] == pd.Timestamp("2024-05-20") and whole["last_day"] == pd.Timestamp("2024-06-09")
    assert whole["rate"] < 0.4 and whole["rest_rate"] > 0.8 and whole["p"] < 0.05
