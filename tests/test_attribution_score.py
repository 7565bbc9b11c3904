"""Models against the truth and against experiments: shares by hand, intervals that cover, totals that hold."""

import math

import numpy as np
import pandas as pd
import pytest
from _tables import book, only

from perfnb import attribution
from perfnb.attribution.calibrate import calibrate
from perfnb.attribution.score import score
from perfnb.errors import BadParameter, MissingColumns


def comparison(models, *, half=None, cost=None):
    """{model: {channel: credit}} as `compare` gives it; `half` is half the width of all intervals."""
    rows = [
        {"model": model, "channel": channel, "credit": credit, "cost": (cost or {}).get(channel)}
        for model, credits in models.items()
        for channel, credit in credits.items()
    ]
    table = pd.DataFrame(rows).astype({"credit": float, "cost": float})
    width = np.nan if half is None else half
    return table.assign(low=table["credit"] - width, high=table["credit"] + width, currency="EUR")


COST = {"Search": 60.0, "Social": 30.0, "Video": 10.0}
TRUTH = {"Search": 2, "Social": 1, "Video": 1}


# Score by hand


def test_distance_misplaced_over_and_under_by_hand():
    models = {
        "last": {"Search": 4, "Social": 0, "Video": 0, "Direct": 90},
        "linear": {"Search": 5, "Social": 4, "Video": 1, "Direct": 2},
        "right": {"Search": 20, "Social": 10, "Video": 10, "Direct": 0},
        "truth": TRUTH,
    }
    found = score(comparison(models, cost=COST))
    assert found["model"].tolist() == ["right", "linear", "last"]
    assert found["distance"].tolist() == pytest.approx([0, 0.15, 0.5])
    assert found["misplaced"].tolist() == pytest.approx([0, 15, 50]) and set(found["cost"]) == {100}
    row = only(found, model="linear")
    assert row[["over", "over_share", "over_true"]].tolist() == ["Social", 0.4, 0.25]
    assert row[["under", "under_share", "under_true"]].tolist() == ["Video", 0.1, 0.25]
    assert only(found, model="last")["over"] == "Search" and set(found["channels"]) == {3}
    assert only(found, model="right")[["over", "under"]].isna().all()
    # Nothing is known of how sure anything is.
    assert found[["distance_low", "distance_high"]].isna().all(axis=None)


def test_results_of_models_are_compared_first():
    spent = pd.DataFrame({"channel": ["Search", "Social"], "cost": [60.0, 40.0], "currency": "EUR"})
    spent["date"] = pd.Timestamp("2025-01-01")
    caused = pd.DataFrame(
        {"channel": ["Search", "Social"], "incremental_orders": [3, 1], "low": [1, 0], "high": [5, 2]}
    )
    ws = book(campaigns=spent, truth=caused)
    credit = pd.DataFrame({"model": "own", "channel": ["Search", "Social"], "credit": [1.0, 1.0]})
    credit = credit.assign(low=0.5, high=1.5, share=0.5, share_low=0.3, share_high=0.7, currency=None)
    credit[["value", "value_low", "value_high"]] = np.nan
    alone, listed = (score(given, truth=ws.truth, campaigns=ws.campaigns) for given in (credit, [credit]))
    pd.testing.assert_frame_equal(alone, listed)
    assert only(alone, model="own")[["distance", "misplaced", "channels"]].tolist() == [0.25, 25, 2]
    # Without any cost every channel with a truth is judged, and no money is misplaced.
    row = only(score(credit, truth=ws.truth), model="own")
    assert row["distance"] == 0.25 and math.isnan(row["misplaced"])
    with pytest.raises(BadParameter, match="holds its truth and cost already"):
        score(attribution.compare([credit], truth=ws.truth), truth=ws.truth)


def test_without_a_truth_or_with_a_truth_of_nothing_no_model_is_judged():
    assert score(comparison({"last": TRUTH}, cost=COST)).empty
    assert score(comparison({"last": TRUTH, "truth": dict.fromkeys(TRUTH, 0)}, cost=COST)).empty


def test_channels_whose_truth_is_not_known_are_left_out_and_negative_figures_count_as_nothing():
    models = {"last": {**TRUTH, "Video": -5}, "truth": {"Search": 2, "Social": 1, "Video": -1, "Radio": None}}
    models["last"]["Radio"] = 100
    row = only(score(comparison(models, cost={**COST, "Radio": 50.0})), model="last")
    assert row[["distance", "channels", "cost"]].tolist() == [0, 3, 100]


def test_a_model_that_credits_no_judged_channel_has_no_distance_and_stands_last():
    found = score(comparison({"last": {"Direct": 5, "Search": 0}, "first": TRUTH, "truth": TRUTH}, cost=COST, half=0.1))
    assert found["model"].tolist() == ["first", "last"]
    row = only(found, model="last")
    assert row[["distance", "distance_low", "distance_high", "misplaced", "over"]].isna().all()


# Laws of the interval


@pytest.mark.parametrize("gap", [0.0, 0.05, 0.40])
def test_the_interval_of_the_distance_covers_it(gap):
    rng = np.random.default_rng(5)
    true = np.array([0.35, 0.25, 0.2, 0.1, 0.1])
    share = true + gap * np.array([1, -0.5, -0.5, 0.0, 0.0]) * 0.5
    distance = np.abs(share - true).sum() / 2
    channels, covered = list("abcde"), 0
    for _ in range(60):
        counts = {"own": rng.poisson(600 * share), "truth": rng.poisson(400 * true)}
        table = comparison(
            {model: dict(zip(channels, count, strict=True)) for model, count in counts.items()},
            cost=dict.fromkeys("abcde", 1),
        )
        half = 1.96 * np.sqrt(table["credit"])
        row = only(score(table.assign(low=table["credit"] - half, high=table["credit"] + half)), model="own")
        assert row["distance_low"] <= row["distance"] <= row["distance_high"]
        covered += row["distance_low"] <= distance <= row["distance_high"]
    assert covered / 60 > 0.9


def test_what_is_known_exactly_has_an_interval_of_no_width():
    models = {"own": {"Search": 1, "Social": 1, "Video": 2}, "truth": TRUTH}
    row = only(score(comparison(models, cost=COST, half=1e-9)), model="own")
    assert row[["distance_low", "distance", "distance_high"]].tolist() == pytest.approx([0.25] * 3)


def test_the_same_seed_gives_the_same_interval():
    table = comparison({"own": {"Search": 1, "Social": 1, "Video": 2}, "truth": TRUTH}, cost=COST, half=0.5)
    pd.testing.assert_frame_equal(score(table), score(table))
    assert not score(table).equals(score(table, seed=1))


# Calibration

CREDIT = {"Retargeting": 40, "Search": 30, "Social": 20, "(no touch)": 10}
SPENT = {"Retargeting": 80.0, "Search": 60.0}


def measured(*rows):
    return pd.DataFrame(rows, columns=["channel", "incremental_orders", "low", "high"])


def by_channel(found, column):
    return found.set_index("channel")[column].to_dict()


def test_a_harvester_measured_at_10_of_40_leaves_30_for_the_others_or_for_nobody():
    found = calibrate(comparison({"markov": CREDIT}, cost=SPENT), experiments=measured(("Retargeting", 10, 10, 10)))
    assert by_channel(found, "calibrated") == {
        "Retargeting": 10, "Search": 30, "Social": 20, "(no touch)": 10, "(baseline)": 30,
    }  # fmt: skip
    assert by_channel(found, "calibrated_high") == {
        "Retargeting": 10, "Search": 48, "Social": 32, "(no touch)": 10, "(baseline)": 30,
    }  # fmt: skip
    assert by_channel(found, "calibrated_low")["(baseline)"] == 0
    row = only(found, channel="Retargeting")
    assert row[["evidence", "multiplier", "cost_per_order_before", "cost_per_order_after"]].tolist() == [
        "measured",
        0.25,
        2,
        8,
    ]
    assert found["channel"].tolist() == ["Retargeting", "Search", "Social", "(no touch)", "(baseline)"]
    assert math.isnan(only(found, channel="(baseline)")["multiplier"])


@pytest.mark.parametrize("orders", [0, 10, 40, 45, 65, 100])
def test_credit_adds_up_to_the_same_conversions_at_both_bounds(orders):
    found = calibrate(comparison({"markov": CREDIT}), experiments=measured(("Retargeting", orders, orders, orders)))
    by_kind = found.groupby("evidence")[["credit", "calibrated", "calibrated_low", "calibrated_high"]].sum()
    assert by_kind["calibrated"].sum() == pytest.approx(by_kind["credit"].sum()) == 100
    for others, nobody in (("calibrated_low", "calibrated_high"), ("calibrated_high", "calibrated_low")):
        assert orders + by_kind.loc["others", others] + by_kind.loc["nobody", nobody] == pytest.approx(100)
    assert (found["calibrated"] >= 0).all()


def test_a_channel_that_caused_more_than_its_credit_takes_from_nobody_first_and_from_the_others_at_most():
    found = calibrate(comparison({"markov": CREDIT}), experiments=measured(("Social", 26, 26, 26)))
    assert by_channel(found, "calibrated") == {
        "Social": 26, "Retargeting": 40, "Search": 30, "(no touch)": 4, "(baseline)": 0,
    }  # fmt: skip
    low = by_channel(found, "calibrated_low")
    assert low["Retargeting"] == pytest.approx(40 * 64 / 70) and low["Search"] == pytest.approx(30 * 64 / 70)


def test_bounds_carry_the_interval_of_the_experiment():
    found = calibrate(comparison({"markov": CREDIT}), experiments=measured(("Retargeting", 10, 0, 25)))
    row = only(found, channel="Retargeting")
    assert row[["calibrated", "calibrated_low", "calibrated_high"]].tolist() == [10, 0, 25]
    assert by_channel(found, "calibrated_high")["Search"] == pytest.approx(30 * 90 / 50)
    assert by_channel(found, "calibrated_low")["Search"] == 30
    assert by_channel(found, "calibrated_high")["(baseline)"] == 40


def test_several_experiments_and_a_baseline_of_the_models_own():
    credit = {"A": 30.0, "B": 20.0, "C": 10.0, "(baseline)": 40.0}
    found = calibrate(
        comparison({"hazard": credit}), experiments=measured(("A", 20, 20, 20), ("B", 25, 25, 25)), model="hazard"
    )
    assert by_channel(found, "calibrated") == {"A": 20, "B": 25, "C": 10, "(baseline)": 45}
    assert by_channel(found, "calibrated_high")["C"] == 15


@pytest.mark.parametrize(
    ("experiments", "says"),
    [
        (measured(("Radio", 1, 0, 2)), "'Radio' is no channel of the comparison; there are Retargeting, Search"),
        (measured(("(no touch)", 1, 0, 2)), "'\\(no touch\\)' is no channel"),
        (measured(("Search", 1, 0, 2), ("Search", 3, 2, 4)), "'Search' stands there twice"),
        (measured(("Search", 3, 0, 2)), "Search: expected low <= incremental_orders <= high, found 0, 3, 2"),
        (measured(("Search", None, 0, 2)), "expected low <= incremental_orders <= high"),
        (measured(("Search", 500, 400, 600)), "500 incremental orders measured, but the comparison is of 100"),
    ],
)
def test_experiments_that_cannot_be_are_named(experiments, says):
    with pytest.raises(BadParameter, match=says):
        calibrate(comparison({"markov": CREDIT}), experiments=experiments)


def test_what_is_missing_is_named():
    with pytest.raises(
        MissingColumns, match="experiments: missing column low, high; found channel, incremental_orders"
    ):
        calibrate(
            comparison({"markov": CREDIT}), experiments=measured(("Search", 1, 0, 2)).drop(columns=["low", "high"])
        )
    segmented = pd.concat([comparison({"markov": CREDIT})] * 2).assign(campaign="a")
    with pytest.raises(BadParameter, match="several rows per channel"):
        calibrate(segmented, experiments=measured(("Search", 1, 0, 2)))
    with pytest.raises(BadParameter, match="model 'hazard': not in the comparison; there are markov"):
        calibrate(comparison({"markov": CREDIT}), experiments=measured(("Search", 1, 0, 2)), model="hazard")
