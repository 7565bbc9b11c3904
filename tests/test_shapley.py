"""Shapley and the probability model: by hand, against all orders of the channels, and the laws of a fair split."""

import importlib
import random

import _attribution_reference as reference
import numpy as np
import pandas as pd
import pytest
from _tables import events, shared

from perfnb import attribution
from perfnb.errors import BadParameter

SEEDS = range(8)
# v(A) = 200 · 10/100, v(B) = 200 · 10/50 and v(AB) = 40 conversions; p(A) = 30/150, p(B) = 30/100, p(A, B) = 20/50.
PAIR = [("A", 10, 90, 100), ("B", 10, 40, 300), ("AB", 20, 30, 800)]


def frame(paths):
    """A table of paths from (labels, conversions, nulls, value)."""
    rows = [(" > ".join(labels) or "(no touch)", *rest) for labels, *rest in paths]
    return pd.DataFrame(rows, columns=["path", "conversions", "nulls", "value"])


def random_paths(seed, channels="ABCDE", count=14):
    """Paths with repeats, some without a conversion, one without a touch."""
    dice = random.Random(seed)
    paths = {tuple(dice.choices(channels, k=dice.randint(1, 6))): None for _ in range(count)}
    rows = [(labels, dice.randint(0, 3), dice.randint(0, 4)) for labels in paths]
    rows = [(labels, won, lost, won * dice.randint(0, 90)) for labels, won, lost in rows if won + lost]
    return [*rows, ((), 2, 0, 35)]


def touches(paths):
    """The same as events, a person for each journey."""
    rows, person = [], 0
    for labels, won, lost, value in paths:
        for journey in range(won + lost):
            person += 1
            rows += [(f"u{person}", place, "visit", label, None) for place, label in enumerate(labels)]
            if journey < won:
                rows.append((f"u{person}", 9, "order", None, value / won))
    return events(rows, ("user_id", "timestamp", "event", "channel", "value"))


def figures(table, column="credit"):
    return table[table["channel"] != "(no touch)"].set_index("channel")[column].to_dict()


def approximately(expected):
    return pytest.approx({key: float(value) for key, value in expected.items()}, abs=1e-8)


def adds_up(table, paths):
    assert table["credit"].sum() == pytest.approx(sum(row[1] for row in paths), abs=1e-7)
    assert table["value"].sum() == pytest.approx(sum(row[3] for row in paths), abs=1e-7)
    assert table["share"].sum() == pytest.approx(1)


# Shapley by hand and by all orders


def test_the_worth_decides_by_hand():
    paths = frame(PAIR)
    assert figures(attribution.shapley(paths)) == approximately({"A": 20, "B": 20})
    assert figures(attribution.shapley(paths), "value") == approximately({"A": 500, "B": 700})
    rate = attribution.shapley(paths, worth="rate")
    assert figures(rate) == approximately({"A": 10, "B": 30})
    # Per journey 1 of A alone, 6 of B alone, 6 of all: v(A) = 200, v(B) = 1,200, v(AB) = 1,200.
    assert figures(rate, "value") == approximately({"A": 100, "B": 1100})


@pytest.mark.parametrize("seed", SEEDS)
def test_shapley_equals_all_orders_of_the_channels(seed):
    paths = random_paths(seed)
    channels = sorted({label for labels, *_ in paths for label in labels})
    for worth, game in (("conversions", reference.worth_conversions), ("rate", reference.worth_rate)):
        found = attribution.shapley(frame(paths), worth=worth)
        assert set(found["model"]) == {"shapley" if worth == "conversions" else "shapley_rate"}
        for column, amount in ((1, "credit"), (3, "value")):
            assert figures(found, amount) == approximately(reference.shapley(channels, game(paths, column)))
        adds_up(found, paths)


def test_a_channel_with_which_fewer_convert_has_negative_credit():
    found = attribution.shapley(frame([("A", 50, 50, 0), ("AB", 1, 99, 0), ("B", 0, 100, 0)]), worth="rate")
    credit = figures(found)
    assert credit["B"] < 0 < credit["A"] and found["credit"].sum() == 51


def test_a_coalition_that_nobody_was_seen_with_is_worth_nothing():
    # B alone was never seen: v(B) = 0 and v(A) = v(AB) · (1/10) / (6/20).
    found = attribution.shapley(frame([("A", 1, 9, 0), ("AB", 5, 5, 0)]), worth="rate")
    assert figures(found) == approximately({"A": 4, "B": 2})


def test_without_journeys_that_do_not_convert_the_rate_credits_who_was_seen_alone():
    found = attribution.shapley(frame([("A", 5, 0, 0), ("AB", 3, 0, 0)]), worth="rate")
    assert figures(found) == approximately({"A": 8, "B": 0})


def test_two_channels_that_always_come_together_share_alike_and_order_is_no_matter():
    paths = [("ABC", 3, 7, 30), ("BA", 2, 9, 5), ("C", 1, 20, 3), ("CBAA", 1, 1, 4)]
    for options in ({"worth": "conversions"}, {"worth": "rate"}):
        found = attribution.shapley(frame(paths), **options)
        assert figures(found)["A"] == pytest.approx(figures(found)["B"])
        turned = frame([(labels[::-1], *rest) for labels, *rest in paths])
        other = attribution.shapley(turned.sample(frac=1, random_state=1), **options)
        assert figures(other) == approximately(figures(found))


def test_any_number_of_channels():
    names = [f"channel {k}" for k in range(150)]
    paths = [(names[k : k + 3], 2, 5, 10) for k in range(148)]
    found = figures(attribution.shapley(frame(paths)))
    assert found["channel 0"] == pytest.approx(2 / 3) and found["channel 75"] == pytest.approx(2)
    adds_up(attribution.shapley(frame(paths), worth="rate", draws=2), paths)


# Orders drawn at random


def test_random_orders_come_to_the_exact_value_within_their_stated_error(monkeypatch):
    paths = frame(random_paths(3, "ABCDEFGH", 60))
    exact = figures(attribution.shapley(paths, worth="rate"))
    monkeypatch.setattr(importlib.import_module("perfnb.attribution.shapley"), "_EXACT", 0)
    off = []
    for seed in range(12):
        table = attribution.shapley(paths, worth="rate", draws=20, seed=seed).query("channel != '(no touch)'")
        assert table["credit"].sum() == pytest.approx(sum(exact.values()))
        errors = table["sampling_error"].to_numpy()
        assert (errors > 0).all()
        off.append((table["credit"] - table["channel"].map(exact)).to_numpy() / errors)
    assert 0.7 < np.std(off) < 1.4 and np.abs(np.mean(off)) < 0.3


def test_every_channel_comes_first_once_in_every_draw(monkeypatch):
    monkeypatch.setattr(importlib.import_module("perfnb.attribution.shapley"), "_EXACT", 0)
    found = attribution.shapley(frame(PAIR), worth="rate", draws=2)
    assert figures(found) == approximately({"A": 10, "B": 30})
    assert figures(found, "sampling_error") == approximately({"A": 0, "B": 0})


def test_random_orders_depend_on_the_seed_only(monkeypatch):
    monkeypatch.setattr(importlib.import_module("perfnb.attribution.shapley"), "_EXACT", 0)
    one, same, other = (
        attribution.shapley(frame(random_paths(2)), worth="rate", draws=5, seed=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(one, same)
    assert not one["credit"].equals(other["credit"])


def test_intervals_of_random_orders_are_those_of_all(monkeypatch):
    log = touches(random_paths(5, "ABCD", 30))
    exact = attribution.shapley(log, worth="rate").set_index("channel")
    monkeypatch.setattr(importlib.import_module("perfnb.attribution.shapley"), "_EXACT", 0)
    drawn = attribution.shapley(log, worth="rate", draws=400).set_index("channel").reindex(exact.index)
    for column in ("credit", "low", "high", "value_low", "value_high"):
        np.testing.assert_allclose(drawn[column], exact[column], rtol=0.1, atol=0.3 if column == "credit" else 3)


# Intervals


@pytest.mark.parametrize("model", ["shapley", "shapley_rate", "probabilistic"])
def test_limits_are_as_wide_as_the_spread_over_other_persons(model):
    dice = np.random.default_rng(7)
    labels = ["A", "B", "A > B", "B > A > C", "C", "A > C", "B > C"]
    rate = np.array([0.03, 0.05, 0.08, 0.1, 0.02, 0.05, 0.04])
    credit, half = [], []
    for _ in range(150):
        journeys = dice.multinomial(8000, np.array([5, 3, 4, 2, 3, 2, 1]) / 20)
        won = dice.binomial(journeys, rate)
        paths = pd.DataFrame({"path": labels, "conversions": won, "nulls": journeys - won})
        found = (
            attribution.probabilistic(paths)
            if model == "probabilistic"
            else attribution.shapley(paths, worth="rate" if model == "shapley_rate" else "conversions")
        )
        found = found.set_index("channel").loc[["A", "B", "C"]]
        credit.append(found["credit"])
        half.append((found["high"] - found["low"]) / 4.0)
    np.testing.assert_allclose(np.mean(half, axis=0), np.std(credit, axis=0), rtol=0.25)


def test_credit_is_the_same_without_intervals():
    paths = frame(random_paths(4))
    for model in (
        attribution.shapley,
        attribution.shapley_ordered,
        attribution.probabilistic,
        lambda paths, **options: attribution.shapley(paths, worth="rate", **options),
    ):
        found, bare = model(paths), model(paths, intervals=False)
        assert found["low"].notna().all() and bare["low"].isna().all()
        pd.testing.assert_frame_equal(found[["channel", "credit", "value"]], bare[["channel", "credit", "value"]])


# Ordered


def test_the_places_by_hand():
    found = attribution.shapley_ordered(frame([(("A", "A", "B"), 4, 1, 40), ("B", 1, 0, 10), ("C", 0, 5, 0)]))
    by_place = found.set_index(["channel", "position"])["credit"].to_dict()
    assert by_place == {("A", 1): 1, ("A", 2): 1, ("B", 3): 2, ("B", 1): 1}


@pytest.mark.parametrize("seed", SEEDS)
def test_the_places_add_up_to_shapley_and_equal_the_reference(seed):
    paths = random_paths(seed)
    found = attribution.shapley_ordered(frame(paths))
    placed = found[found["position"].notna()]
    for column, amount in ((1, "credit"), (3, "value")):
        expected = reference.shapley_ordered(paths, column)
        assert placed.set_index(["channel", "position"])[amount].to_dict() == approximately(expected)
        whole = {
            label: credit for label, credit in figures(attribution.shapley(frame(paths)), amount).items() if credit
        }
        sums = placed.groupby("channel")[amount].sum()
        assert sums[sums != 0].to_dict() == approximately(whole)
    adds_up(found, paths)


# Probability


def test_shao_and_li_by_hand():
    found = attribution.probabilistic(frame(PAIR), least=50)
    assert figures(found, "rate") == approximately({"A": 0.2, "B": 0.3})
    assert figures(found, "strength") == approximately({"A": 0.15, "B": 0.25})
    assert figures(found) == approximately({"A": 10 + 20 * 0.15 / 0.4, "B": 10 + 20 * 0.25 / 0.4})
    assert figures(found, "conversions") == {"A": 30, "B": 30} and figures(found, "journeys") == {"A": 150, "B": 100}
    # One journey less than that, and the pair says nothing: strengths are the rates.
    alone = attribution.probabilistic(frame(PAIR), least=51)
    assert figures(alone, "strength") == approximately({"A": 0.2, "B": 0.3})
    assert figures(alone, "pairs") == {"A": 0, "B": 0}


@pytest.mark.parametrize("least", [1, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_shao_and_li_equal_the_reference(seed, least):
    paths = random_paths(seed)
    found = attribution.probabilistic(frame(paths), least=least)
    expected = reference.probabilistic(paths, least)
    for place, column in enumerate(("credit", "value", "strength")):
        assert figures(found, column) == approximately({label: row[place] for label, row in expected.items()})
    adds_up(found, paths)


def test_without_journeys_that_do_not_convert_shao_and_li_split_as_shapley_does():
    paths = frame([(labels, won, 0, value) for labels, won, _, value in random_paths(1) if won])
    assert figures(attribution.probabilistic(paths, least=1)) == approximately(figures(attribution.shapley(paths)))


def test_a_path_of_channels_without_strength_is_split_equally():
    # C alone always converts, with A or B never: next to it both have a strength below 0.
    paths = frame([("AB", 1, 999, 10), ("AC", 0, 100, 0), ("BC", 0, 100, 0), ("C", 200, 0, 400)])
    found = attribution.probabilistic(paths)
    assert figures(found, "strength")["A"] == figures(found, "strength")["B"] < 0
    assert figures(found) == approximately({"A": 0.5, "B": 0.5, "C": 200})
    assert figures(found, "value") == approximately({"A": 5, "B": 5, "C": 400})


# What both share


@pytest.mark.parametrize("model", [attribution.shapley, attribution.shapley_ordered, attribution.probabilistic])
def test_nobody_and_nobody_with_a_touch(model):
    assert model(frame([("AB", 0, 3, 0)])).empty
    none = model(events([("u", 0, "visit", "A")]))
    assert none.empty and "credit" in none
    alone = model(events([("u", 0, "order", None)]))
    assert alone[["channel", "credit", "share"]].to_numpy().tolist() == [["(no touch)", 1, 1]]


def test_a_worth_and_limits_that_make_no_sense_are_refused():
    paths = frame(PAIR)
    with pytest.raises(BadParameter, match="worth 'sales': expected 'conversions' or 'rate'"):
        attribution.shapley(paths, worth="sales")
    with pytest.raises(BadParameter, match="draws 1"):
        attribution.shapley(paths, worth="rate", draws=1)
    with pytest.raises(BadParameter, match="least 0"):
        attribution.probabilistic(paths, least=0)


def test_variability_is_the_mean_spread_of_shares_and_falls_with_the_square_root_of_persons():
    few, many = frame(PAIR), frame([(labels, *(25 * n for n in rest)) for labels, *rest in PAIR])
    one, other = (
        attribution.variability([attribution.shapley(paths), attribution.probabilistic(paths)]).set_index("model")
        for paths in (few, many)
    )
    assert (one["channels"] == 2).all() and (one["variability"] > 0).all()
    np.testing.assert_allclose(one["variability"] / other["variability"], 5, rtol=0.4)


def test_shapley_on_10000_made_up_persons_adds_up_to_their_conversions_and_value():
    given = pd.read_csv(shared("cases/attribution/clean_paths_10000users_12ch.csv"))
    paths = given.rename(columns={"conv": "conversions", "nul": "nulls", "val": "value"})
    for found in (
        attribution.shapley(paths),
        attribution.shapley(paths, worth="rate"),
        attribution.shapley_ordered(paths),
        attribution.probabilistic(paths),
    ):
        np.testing.assert_allclose(found[["credit", "value"]].sum(), [239, given["val"].sum()], rtol=1e-9)
