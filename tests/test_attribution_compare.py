"""Models side by side, and what stands on them: agreement, moves, tests, roles, order, limits, credit of touches."""

import hashlib
import itertools
import math
import random
import warnings
from collections import Counter, defaultdict
from datetime import date

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, book, events, only
from scipy import stats

from perfnb import attribution, intervals, journey
from perfnb.attribution import noise, order, steps
from perfnb.attribution.compare import _FIGURES, OWN_ROWS
from perfnb.attribution.paths import GROUPS, coded
from perfnb.errors import BadParameter
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
MORE = (*COLUMNS, "campaign")
DAY = 86_400
JANUARY = Period(date(2025, 1, 1), date(2025, 2, 1))
RATIOS = [f"{name}{end}" for name in ("roas", "cost_per_order") for end in ("", "_low", "_high")]
OF_ALL = {
    "rules": attribution.rules,
    "markov": attribution.markov,
    "markov_2": lambda source, **more: attribution.markov(source, order=2, **more),
    "markov_3": lambda source, **more: attribution.markov(source, order=3, **more),
    "shapley": attribution.shapley,
    "shapley_rate": lambda source, **more: attribution.shapley(source, worth="rate", **more),
    "probabilistic": attribution.probabilistic,
}


@pytest.fixture(autouse=True)
def no_warnings():
    """What divides by nothing must know it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_log(seed, persons=80):
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 6)):
            user, at = None if dice.random() < 0.03 else f"p{person}", dice.randrange(25) * DAY / 2
            if dice.random() < 0.3:
                rows.append((user, at, "order", None, dice.choice([None, 12.5, 80.0]), None))
            else:
                rows.append((user, at, "visit", dice.choice("ABCD"), None, dice.choice(["x", "y", None])))
    return rows


def spent(rows, currency="EUR"):
    columns = ["date", "channel", "campaign", "cost"]
    return book(campaigns=pd.DataFrame(rows, columns=columns).assign(currency=currency)).campaigns


COST = [
    ("2025-01-01", "A", "x", 100.0), ("2025-01-02", "A", "y", 20.0), ("2025-01-02", "B", None, 50.0),
    ("2025-01-03", "C", "spelt otherwise", 30.0), ("2025-01-31", "Television", "z", 77.0),
]  # fmt: skip


def made(models, *, half=None, cost=None, value=None, currency="EUR"):
    """A comparison by hand: models is {model: {channel: credit}}."""
    parts = []
    for model, credit in models.items():
        channels = list(credit)
        amount = np.array([credit[name] for name in channels], float)
        spread = np.zeros(amount.size) if half is None else np.array([half[model][name] for name in channels])
        part = pd.DataFrame({"model": model, "channel": channels, "credit": amount})
        part["low"], part["high"] = amount - spread, amount + spread
        part["share"] = amount / amount.sum()
        part["share_low"], part["share_high"] = part["share"], part["share"]
        for end, column in (("", "credit"), ("_low", "low"), ("_high", "high")):
            part[f"value{end}"] = part[column] * 10 if value is None else value
        parts.append(part.assign(currency=currency, definition="by hand"))
    costs = [("2025-01-01", name, None, amount) for name, amount in (cost or {}).items()]
    return attribution.compare(parts, campaigns=spent(costs) if costs else None)


def from_paths(rows):
    return pd.DataFrame(rows, columns=["path", "conversions", "nulls", "value"][: len(rows[0])])


# Side by side


@pytest.mark.parametrize("by", [(), ("campaign",), ("date",), ("date", "campaign")], ids="-".join)
def test_credit_value_and_cost_add_up_under_every_model_by_anything(by):
    table, campaigns = events(random_log(1), MORE, currency="EUR"), spent(COST)
    orders = [row for row in random_log(1) if row[2] == "order"]
    credits = [attribution.rules(table, by=by)]
    credits += [] if by else [attribution.markov(table), attribution.shapley(table), attribution.hazard(table)]
    found = attribution.compare(credits, campaigns=campaigns, period=JANUARY, by=by)
    sums = found.groupby("model")[["credit", "value", "cost", "share"]].sum()
    expected = [len(orders), sum(row[4] or 0 for row in orders), 277.0, 1.0]
    np.testing.assert_allclose(sums, [expected] * len(sums), rtol=1e-9)
    keys = ["channel", *by]
    assert not found.duplicated(["model", *keys]).any()
    segments = [rows[keys].reset_index(drop=True) for _, rows in found.groupby("model", sort=False)]
    for other in segments[1:]:
        pd.testing.assert_frame_equal(segments[0], other)
    # The own rows last, before them by the credit that the models give together, then by name.
    together = found.groupby(keys, dropna=False)["credit"].sum().reset_index()
    together["own"] = together["channel"].isin(OWN_ROWS)
    wanted = together.sort_values(["own", "credit", *keys], ascending=[True, False, *[True] * len(keys)])
    pd.testing.assert_frame_equal(segments[0], wanted[keys].reset_index(drop=True), check_dtype=False)
    assert not np.isinf(found.select_dtypes("number")).any(axis=None)
    nothing = (together["credit"] == 0) & together["channel"].isin(["A", "B", "C", "D"])
    assert set(together[nothing]["channel"]) <= {"A", "B", "C"}  # only what costs


@pytest.mark.parametrize("by", [("date",), ("campaign",)], ids="-".join)
def test_models_by_a_column_are_compared_without_any_cost(by):
    table = events(random_log(2), MORE)
    credit = attribution.rules(table, models=["last"], by=by)
    found = attribution.compare([credit], by=by)
    assert found["credit"].sum() == pytest.approx(credit["credit"].sum()) and found["cost"].isna().all()
    nothing_yet = spent(COST).between(Period(date(2024, 1, 1), date(2024, 2, 1)))
    assert attribution.compare([credit], campaigns=nothing_yet, by=by)["cost"].isna().all()


def test_models_by_campaign_are_compared_where_no_conversion_has_a_touch():
    table = events([("u", 0, "order", None, 5, None), ("v", DAY, "visit", "A", None, "x")], MORE, currency="EUR")
    found = attribution.compare([attribution.rules(table, by=["campaign"])], campaigns=spent(COST), by=["campaign"])
    assert set(found.groupby("model")["credit"].sum()) == {1} and set(found.groupby("model")["cost"].sum()) == {277}


def test_credit_of_touches_is_compared_by_campaign():
    table = events(random_log(3), MORE, currency="EUR")
    credit = attribution.credit(table, model=attribution.markov(table), by=["channel", "campaign"])
    found = attribution.compare([credit], campaigns=spent(COST), by=["campaign"])
    assert found["credit"].sum() == pytest.approx(credit["credit"].sum()) and found["cost"].sum() == 277
    assert found[["low", "high", "roas_low", "cost_per_order_high"]].isna().all(axis=None)


def test_limits_of_ratios_hold_their_ratio_and_those_of_cost_per_order_change_places():
    table = events(random_log(4, 400), MORE, currency="EUR")
    found = attribution.compare([attribution.rules(table), attribution.markov(table)], campaigns=spent(COST))
    paid = found[found["cost"] > 0].dropna(subset=RATIOS)
    assert len(paid) >= 15
    for name in ("roas", "cost_per_order"):
        assert (paid[f"{name}_low"] < paid[name]).all() and (paid[name] < paid[f"{name}_high"]).all()
    np.testing.assert_allclose(paid["cost_per_order_low"] * paid["high"], paid["cost"])
    np.testing.assert_allclose(paid["cost_per_order_high"] * paid["low"], paid["cost"])
    np.testing.assert_allclose(paid["roas_low"] * paid["cost"], paid["value_low"])
    np.testing.assert_allclose(paid["roas_high"] * paid["cost"], paid["value_high"])


def test_five_rows_by_hand():
    models = {"one": {"A": 6, "B": 2, "C": 2, "(no touch)": 5}, "two": {"A": 1, "B": 4, "C": 5, "(no touch)": 5}}
    half = {"one": {"A": 2, "B": 2, "C": 1, "(no touch)": 0}, "two": {"A": 0.5, "B": 1, "C": 1, "(no touch)": 0}}
    found = made(models, half=half, cost={"A": 12, "B": 8, "Radio": 3})
    assert found[found["model"] == "one"]["channel"].tolist() == ["A", "C", "B", "Radio", "(no touch)"]
    assert found[found["model"] == "one"]["rank"].fillna(0).tolist() == [1, 2, 2, 4, 0]
    assert found[found["model"] == "two"]["rank"].fillna(0).tolist() == [3, 1, 2, 4, 0]
    row = only(found, model="one", channel="A")
    assert row[["share", "cost", "roas", "roas_low", "roas_high"]].tolist() == [0.4, 12, 5, 40 / 12, 80 / 12]
    assert row[["cost_per_order", "cost_per_order_low", "cost_per_order_high"]].tolist() == [2, 1.5, 3]
    row = only(found, model="one", channel="B")
    # From no order at all: no cost of one can be named.
    assert row["cost_per_order_low"] == 2 and math.isnan(row["cost_per_order_high"]) and row["roas_low"] == 0
    row = only(found, model="two", channel="Radio")
    assert row[["credit", "value", "cost", "roas"]].tolist() == [0, 0, 3, 0] and math.isnan(row["cost_per_order"])


def test_what_has_neither_credit_nor_cost_is_left_out_and_what_has_one_stays():
    found = made({"one": {"A": 1, "B": 0, "C": 0}, "two": {"A": 1, "B": 0, "C": 2}})
    assert found["channel"].tolist() == ["A", "C"] * 2
    found = made({"one": {"A": 1, "B": 0, "C": 0}}, cost={"B": 5, "D": 1, "Paused": 0})
    assert set(found["channel"]) == {"A", "B", "D"}


def test_a_model_twice_or_by_more_than_the_channel_is_refused_with_a_way_out():
    table = events(random_log(5), MORE)
    last = attribution.rules(table, models=["last"])
    with pytest.raises(BadParameter, match=r"last.*twice"):
        attribution.compare([last, attribution.rules(table)])
    with pytest.raises(BadParameter, match=r"shapley_ordered.*one row per channel"):
        attribution.compare([attribution.shapley_ordered(table)])
    with pytest.raises(BadParameter, match="campaign"):
        attribution.compare([last], by=["campaign"])
    with pytest.raises(BadParameter, match=r"by 'campaign': expected a list"):
        attribution.compare([attribution.rules(table, by=["campaign"])], by="campaign")
    with pytest.raises(BadParameter, match="no column 'model'"):
        attribution.compare([attribution.roles(table)])
    with pytest.raises(BadParameter, match="one row per channel"):
        attribution.compare([attribution.rules(table, models=["last"], by=["campaign"])])


@pytest.mark.parametrize("where", ["credits", "campaigns", "truth"])
def test_two_currencies_are_refused_wherever_the_second_is(where):
    table = events(random_log(6), MORE, currency="EUR")
    credits = [attribution.rules(table)]
    truth = pd.DataFrame({"channel": ["A"], "incremental_orders": [3.0], "incremental_revenue": [30.0]})
    truth["currency"] = "USD" if where == "truth" else "EUR"
    if where == "credits":
        credits.append(attribution.markov(events(random_log(6), MORE, currency="USD")))
    campaigns = spent(COST, "USD" if where == "campaigns" else "EUR")
    with pytest.raises(BadParameter, match=r"EUR.*USD"):
        attribution.compare(credits, campaigns=campaigns, truth=book(truth=truth).truth)


def test_the_truth_of_these_days_is_one_more_model_and_only_by_channel():
    table = events(random_log(7), MORE)
    truth = pd.DataFrame({"channel": ["A", "B", "Nowhere"], "incremental_orders": [6.0, 2.0, 0.5]})
    truth = truth.assign(low=truth["incremental_orders"] - 1, high=9.0, since=date(2025, 1, 1))
    truth["last_day"] = date(2025, 1, 31)
    truth = book(truth=truth).truth
    found = attribution.compare([attribution.rules(table)], truth=truth, period=JANUARY)
    rows = found[found["model"] == "truth"].set_index("channel")
    assert rows["credit"].dropna().to_dict() == {"A": 6, "B": 2, "Nowhere": 0.5}
    assert rows.loc["A", ["low", "high", "rank"]].tolist() == [5, 9, 1] and rows.loc["A", "share"] == 6 / 8.5
    assert rows.loc["C", ["credit", "share", "rank"]].isna().all()  # not known is not nothing
    assert (found[(found["model"] == "last") & (found["channel"] == "Nowhere")]["credit"] == 0).all()
    other = Period(date(2025, 1, 1), date(2025, 1, 15))
    assert "truth" not in set(attribution.compare([attribution.rules(table)], truth=truth, period=other)["model"])
    by = attribution.rules(table, by=["campaign"])
    assert "truth" not in set(attribution.compare([by], truth=truth, by=["campaign"])["model"])


def test_a_truth_that_adds_up_to_nothing_has_no_shares():
    table = events(random_log(7), MORE)
    truth = book(truth=pd.DataFrame({"channel": ["A", "B"], "incremental_orders": [5.0, -5.0]})).truth
    found = attribution.compare([attribution.rules(table)], truth=truth)
    assert found[found["model"] == "truth"]["share"].isna().all()


def test_the_definition_names_every_way_of_counting_once():
    table = events(random_log(8), MORE)
    one, other = (journey.Counting(lookback=days).definition for days in ("30 days", "2 days"))
    credits = [attribution.rules(table), attribution.markov(table), attribution.hazard(table)]
    assert set(attribution.compare(credits)["definition"]) == {one}
    both = [*credits[:2], attribution.shapley(table, lookback="2 days")]
    assert set(attribution.compare(both)["definition"]) == {f"{one}; {other}"}


def test_nothing_compared_is_a_table_without_rows_that_everything_takes():
    nothing = attribution.compare([])
    table = events([("u", 0, "visit", "A", None)], COLUMNS)
    for found in (nothing, attribution.compare([attribution.rules(table), attribution.markov(table)])):
        assert found.empty and {"model", "channel", *_FIGURES, "currency", "definition"} == set(found)
        for result in (
            attribution.agreement(found),
            attribution.moves(found, model="last", against="markov"),
            attribution.to_test(found, period=JANUARY),
            attribution.unjoined(found),
        ):
            assert result.empty and len(result.columns) >= 6


# Agreement


def test_tau_is_scipys_for_any_ranks_and_ties():
    dice = np.random.default_rng(0)
    for size in (2, 3, 5, 12, 60):
        for _ in range(15):
            credit = {m: dict(enumerate(dice.integers(1, 6, size).astype(float))) for m in ("one", "two")}
            credit = {m: {f"c{k:02}": v for k, v in part.items()} for m, part in credit.items()}
            found = attribution.agreement(made(credit)).iloc[0]
            # Shares are in proportion to credit, so ties stay ties.
            expected = stats.kendalltau(*(list(part.values()) for part in credit.values())).statistic
            assert found["rank_correlation"] == pytest.approx(expected, nan_ok=True)


def test_agreement_by_hand():
    models = {"one": {"A": 4, "B": 3, "C": 1, "(no touch)": 2}, "two": {"A": 2, "B": 2, "C": 4, "(no touch)": 2}}
    row = attribution.agreement(made(models)).iloc[0]
    # |4-2| + |3-2| + |1-4| of 10 conversions, half of it. Pairs: AB tied in two, AC and BC turned: -2 / sqrt(3 * 2).
    assert row[["disagreement", "moved"]].tolist() == pytest.approx([0.3, 3])
    assert row["rank_correlation"] == pytest.approx(-2 / math.sqrt(6))
    assert (row["channels"], row["apart"]) == (3, "C")


def test_agreement_is_symmetric_bounded_and_whole_with_oneself():
    table = events(random_log(9), MORE)
    credits = [attribution.rules(table), attribution.markov(table), attribution.shapley(table)]
    found = attribution.agreement(attribution.compare(credits))
    assert len(found) == 8 * 7 / 2 and found["disagreement"].between(0, 1).all()
    assert found["rank_correlation"].dropna().between(-1, 1).all()
    turned = attribution.agreement(attribution.compare(credits[::-1]))
    measures = ["disagreement", "moved", "rank_correlation"]
    pairs = {frozenset(row[:2]): row[2:] for row in found[["model", "other", *measures]].itertuples(index=False)}
    for row in turned[["model", "other", *measures]].itertuples(index=False):
        assert row[2:] == pytest.approx(pairs[frozenset(row[:2])])
    linear = attribution.rules(table, models=["linear"])
    same = attribution.agreement(attribution.compare([linear, linear.assign(model="again")])).iloc[0]
    assert same[measures].tolist() == pytest.approx([0, 0, 1])


def test_what_is_said_of_channels_refuses_a_comparison_by_campaign_and_says_so():
    table = events(random_log(10), MORE, currency="EUR")
    found = attribution.compare(
        [attribution.rules(table, by=["campaign"])], campaigns=spent([*COST, COST[0]]), by=["campaign"]
    )
    for ask in (
        lambda: attribution.agreement(found),
        lambda: attribution.moves(found, model="last", against="first"),
        lambda: attribution.to_test(found, period=JANUARY),
    ):
        with pytest.raises(BadParameter, match="per channel"):
            ask()


# Moves


def test_moves_by_hand():
    models = {"one": {"A": 6, "B": 2, "F": 2}, "two": {"A": 1, "B": 4, "F": 5}}
    half = {"one": {"A": 2, "B": 1, "F": 1}, "two": {"A": 0, "B": 0, "F": 0}}
    found = attribution.moves(made(models, half=half, cost={"A": 30, "B": 10}), model="one", against="two")
    found = found.set_index("channel")
    assert list(found.index) == ["B", "A"] and found["change"].tolist() == pytest.approx([22, -22])
    assert found["budget_before"].to_dict() == pytest.approx({"A": 30, "B": 10})
    assert found["budget_after"].to_dict() == pytest.approx({"A": 8, "B": 32})
    # Delta method: a share a / (a + b) varies by sqrt(b² (2)² + a² (1)²) / (a + b)² = sqrt(4 * 4 + 36) / 64.
    assert found.loc["A", "change_high"] + 22 == pytest.approx(40 * math.sqrt(52) / 64)


@pytest.mark.parametrize("seed", range(3))
def test_moves_add_up_to_nothing_and_budgets_to_the_cost(seed):
    table = events(random_log(seed + 20), MORE, currency="EUR")
    found = attribution.compare([attribution.rules(table), attribution.markov(table)], campaigns=spent(COST))
    for model, against in itertools.permutations(set(found["model"]), 2):
        table = attribution.moves(found, model=model, against=against)
        assert table["change"].sum() == pytest.approx(0, abs=1e-9)
        sums = table[["cost", "budget_before", "budget_after"]].sum().tolist()
        assert sums == pytest.approx([277] * 3)
        assert (table["change_low"] <= table["change"]).all() and (table["change"] <= table["change_high"]).all()
        back = attribution.moves(found, model=against, against=model).set_index("channel")["change"]
        assert (-back).to_dict() == pytest.approx(table.set_index("channel")["change"].to_dict())


def test_moves_go_by_conversions_where_a_value_is_missing():
    credit = {"one": {"A": 6, "B": 4}, "two": {"A": 5, "B": 5}}
    whole = made(credit, cost={"A": 50, "B": 50})
    assert attribution.moves(whole, model="one", against="two")["change"].abs().tolist() == pytest.approx([10, 10])
    without = made(credit, cost={"A": 50, "B": 50}, value=np.nan)
    assert attribution.moves(without, model="one", against="two")["change"].abs().tolist() == pytest.approx([10, 10])
    one_only = whole.copy()
    one_only.loc[one_only["model"] == "two", "value"] = np.nan
    one_only.loc[one_only["model"] == "one", "value"] = [100.0, 0.0]  # goes by nothing that both have
    assert attribution.moves(one_only, model="one", against="two")["change"].abs().tolist() == pytest.approx([10, 10])
    assert attribution.moves(made(credit), model="one", against="two").empty
    for name in ("model", "against"):
        with pytest.raises(BadParameter, match=f"{name} 'three'.*one, two"):
            attribution.moves(whole, **{"model": "one", "against": "two"} | {name: "three"})


def test_no_model_credits_what_costs_nothing_to_move_and_no_infinity():
    found = made({"one": {"A": 6}, "two": {"A": 5}}, cost={"B": 50, "C": 10})
    moved = attribution.moves(found, model="one", against="two")
    assert not np.isinf(moved.select_dtypes("number")).any(axis=None)
    assert moved["cost"].sum() == 60 and moved["share_before"].isna().all()


def test_a_channel_with_cost_and_no_touch_has_limits_in_moves_too():
    table = events(random_log(11, 300), MORE, currency="EUR")
    found = attribution.compare([attribution.rules(table)], campaigns=spent(COST))
    row = only(attribution.moves(found, model="last", against="first"), channel="Television")
    assert row["change"] == 0 and row["change_low"] <= 0 <= row["change_high"]


def test_limits_of_moves_are_as_wide_as_the_spread_over_other_independent_persons():
    """Persons with one touch; the two models look at other persons each, as far as chance goes."""
    dice = np.random.default_rng(3)
    rates = np.array([120, 300, 60])

    def credit(seed):
        counts = np.random.default_rng(seed).poisson(rates)
        table = pd.DataFrame({"path": list("ABC"), "conversions": counts, "value": counts * 50.0})
        return attribution.rules(table, models=["last"])

    cost = spent([("2025-01-01", name, None, 100.0) for name in "ABC"])
    halves = []
    for seed in range(30):
        found = attribution.compare(
            [credit(seed).assign(model="a"), credit(seed + 999).assign(model="b")], campaigns=cost
        )
        moved = attribution.moves(found, model="a", against="b").set_index("channel").loc[list("ABC")]
        halves.append((moved["change_high"] - moved["change_low"]) / 2)
    one, other = dice.poisson(rates, (20_000, 3)), dice.poisson(rates, (20_000, 3))
    changes = 300 * (one / one.sum(1, keepdims=True) - other / other.sum(1, keepdims=True))
    np.testing.assert_allclose(np.mean(halves, axis=0), intervals.t(GROUPS - 1) * changes.std(axis=0), rtol=0.15)


# What would settle it


def test_the_days_of_a_test_find_the_difference_in_four_of_five():
    """Lewis and Rao (2015): halves of the persons, orders vary as counts do."""
    models = {"one": {"A": 400, "B": 600, "(no touch)": 1000}, "two": {"A": 250, "B": 750, "(no touch)": 1000}}
    row = only(attribution.to_test(made(models, cost={"A": 10, "B": 10}), period=JANUARY), channel="A")
    assert (row["credit_least"], row["least"], row["credit_most"], row["most"]) == (250, "two", 400, "one")
    assert row["at_stake"] == pytest.approx(0.15 * 20) and row["orders_apart"] == 150
    assert row["test_days"] == math.ceil(31 * 2000 * (2 * (1.959964 + 0.841621)) ** 2 / 150**2)
    dice = np.random.default_rng(0)
    whole, apart = 2000 * row["test_days"] / 31, 150 * row["test_days"] / 31
    on, off = dice.poisson(whole / 2, 40_000), dice.poisson((whole - apart) / 2, 40_000)
    power = (np.abs(on - off) / np.sqrt(on + off) > 1.959964).mean()
    assert power == pytest.approx(0.8, abs=0.015)
    nothing = dice.poisson(whole / 2, 40_000)
    assert (np.abs(on - nothing) / np.sqrt(on + nothing) > 1.959964).mean() == pytest.approx(0.05, abs=0.006)


def test_where_models_agree_there_is_nothing_to_test():
    found = attribution.to_test(made({"one": {"A": 3, "B": 1}, "two": {"A": 3, "B": 1}}, cost={"A": 5}), period=JANUARY)
    assert found[["at_stake", "orders_apart"]].to_numpy().tolist() == [[0, 0]] and found["test_days"].isna().all()


# What does not meet


def test_of_what_costs_and_what_is_credited_nothing_is_lost():
    for seed in range(4):
        table = events(random_log(seed + 30), MORE, currency="EUR")
        by = attribution.rules(table, by=["campaign"])
        found = attribution.compare([by], campaigns=spent(COST), by=["campaign"])
        lacking = attribution.unjoined(found)
        one = found[found["model"] == "last"]
        most = found.groupby(["channel", "campaign"], dropna=False)["credit"].max()
        costs = lacking[lacking["kind"] == "cost_without_credit"]
        met = one[one["cost"] > 0].set_index(["channel", "campaign"])
        joined = met[most.reindex(met.index) > 0]["cost"].sum()
        assert costs["cost"].sum() + joined == pytest.approx(277)
        earned = lacking[lacking["kind"] == "credit_without_cost"]
        assert set(earned["channel"]) <= {"A", "B", "C", "Television"} and (earned["credit"] > 0).all()
        assert not lacking.duplicated(["channel", "campaign"]).any() and set(lacking["currency"]) == {"EUR"}


def test_both_kinds_by_hand():
    rows = [("u", 0, "visit", "A", None, "spring"), ("u", 1, "order", None, 40, None)]
    rows += [("v", 0, "visit", "A", None, "a"), ("v", 1, "order", None, 10, None)]
    rows += [("w", 0, "visit", "D", None, "free"), ("w", 1, "order", None, 5, None), ("z", 1, "order", None, 5, None)]
    table = events(rows, MORE, currency="EUR")
    campaigns = spent(
        [("2025-01-01", "A", "a", 3.0), ("2025-01-01", "A", "Spring!", 9.0), ("2025-01-01", "E", "e", 1.0)]
    )
    found = attribution.compare([attribution.rules(table, by=["campaign"])], campaigns=campaigns, by=["campaign"])
    lacking = attribution.unjoined(found)[["kind", "channel", "campaign", "cost", "value"]].fillna(-1)
    assert lacking.to_numpy().tolist() == [
        ["cost_without_credit", "A", "Spring!", 9, 0],
        ["cost_without_credit", "E", "e", 1, 0],
        ["credit_without_cost", "A", "spring", -1, 40],
    ]


def test_columns_in_common():
    table = events(random_log(0, 3), MORE)
    assert attribution.common(table, spent(COST), ["campaign", "device", "date"]) == ["campaign"]


# Credit of touches


def test_credit_by_day_is_that_of_the_utc_day_before_1970_too():
    epoch = -20_089 * DAY  # seconds from 2025 back to 1970
    at = [epoch - 3 * DAY, epoch - 1, epoch, epoch + DAY - 1]
    rows = [row for k, moment in enumerate(at) for row in [(f"u{k}", moment, "visit", "A", None),
                                                           (f"u{k}", moment + 5, "order", None, 7)]]  # fmt: skip
    table = events(rows, COLUMNS)
    for model in ("last", attribution.shapley(table)):
        found = attribution.credit(table, model=model, by=["date"])
        days = dict(zip(found["date"].dt.strftime("%Y-%m-%d"), found["credit"], strict=True))
        assert days == pytest.approx({"1969-12-29": 1, "1969-12-31": 1, "1970-01-01": 2})


@pytest.mark.parametrize("engine", ENGINES)
def test_credit_of_every_model_adds_up_by_anything_on_every_engine(engine):
    log = random_log(12, 50)
    table = events(log, MORE, engine=engine)
    orders = [row[4] or 0 for row in log if row[2] == "order"]
    models = [attribution.markov(table), attribution.shapley(table), attribution.hazard(table)]
    models += [attribution.probabilistic(table, least=3), "w_shaped"]
    kinds = [["channel", "campaign", "date"], ["date"], ["campaign", "date"]]
    if engine != "duckdb":  # about a second per query
        models, kinds = models[:3:2], kinds[:1]
    for model, by in itertools.product(models, kinds):
        found = attribution.credit(table, model=model, by=by)
        assert found[["credit", "value"]].sum().tolist() == pytest.approx([len(orders), sum(orders)])
        if engine != "duckdb":
            expected = attribution.credit(events(log, MORE), model=model, by=by)
            pd.testing.assert_frame_equal(found, expected, check_dtype=False, atol=1e-6)


def test_unplaced_is_nothing_for_shapley_and_says_what_paths_cannot_hold():
    table = events(random_log(13), MORE)
    for model in (attribution.shapley(table), attribution.rules(table, models=["linear"])):
        found = attribution.credit(table, model=model, by=["channel"])
        assert (found["unplaced"] == 0).all()
        expected = model.set_index("channel")["credit"].to_dict()
        assert found.set_index("channel")["credit"].to_dict() == pytest.approx(expected, abs=1e-6)
    rows = [row for name in "AB" for row in [(name, 0, "visit", name, None), (name, 1, "order", None, 10)]]
    table = events(rows, COLUMNS)
    model = attribution.shapley(table)
    model["credit"] = model["channel"].map({"A": 1.5, "B": 0.5})  # though each path holds only one of them
    found = attribution.credit(table, model=model).set_index("channel")
    assert found["credit"].to_dict() == pytest.approx({"A": 1, "B": 1})
    assert found["unplaced"].to_dict() == pytest.approx({"A": 0.5, "B": -0.5})


def test_the_baseline_keeps_its_row_in_credit():
    table = events(random_log(14), MORE)
    model = attribution.hazard(table)
    found = attribution.credit(table, model=model, by=["channel", "campaign"])
    rows = found[found["channel"] == "(baseline)"]
    expected = only(model, channel="(baseline)")
    assert len(rows) == 1 and rows["campaign"].isna().all()
    assert rows[["credit", "value"]].iloc[0].tolist() == pytest.approx(expected[["credit", "value"]].tolist())


def test_credit_refuses_what_it_cannot_give_to_touches_and_says_why():
    table = events([*random_log(15), ("late", 40 * DAY, "order", None, 5, None)], MORE)
    negative = attribution.shapley(table)
    negative.loc[0, "credit"] = -1.0
    with pytest.raises(BadParameter, match="negative credit"):
        attribution.credit(table, model=negative)
    with pytest.raises(BadParameter, match="Count in the same way"):
        attribution.credit(table, model=attribution.shapley(table), lookback="0 days")
    with pytest.raises(BadParameter, match="expected one of"):
        attribution.credit(table, model="best")
    with pytest.raises(BadParameter, match="list of columns"):
        attribution.credit(table, model="last", by="channel")
    with pytest.raises(BadParameter, match=r"one model|one row per channel"):
        attribution.credit(table, model=attribution.rules(table, models=["first", "last"]))


# Roles


def test_roles_by_hand():
    rows = [("A > B > C", 2, 5), ("A > B > A", 1, 0), ("B", 4, 1), ("C > C", 1, 0), ("A > C", 3, 0), ("", 5, 0)]
    found = attribution.roles(from_paths(rows)).set_index("channel")
    columns = ["conversions", "opens", "assists", "closes", "alone"]
    assert found.loc["A", columns].tolist() == [6, 5.5, 0, 0.5, 0]
    assert found.loc["B", columns].tolist() == [7, 0, 3, 0, 4]
    assert found.loc["C", columns].tolist() == [6, 0, 0, 5, 1]
    assert found.index.tolist() == ["B", "A", "C"] and found.loc["A", "share_of_all"] == 6 / 16
    assert found.loc["B", ["share_assists", "share_alone"]].tolist() == [3 / 7, 4 / 7]


@pytest.mark.parametrize("counting", [{}, {"repeats": "overlap", "direct": "drop", "lookback": "3 days"}])
def test_roles_add_up_to_the_conversions_whose_path_has_the_channel(counting):
    table = events(random_log(16), MORE)
    found = attribution.roles(table, **counting)
    parts = found[["opens", "assists", "closes", "alone"]].sum(axis=1)
    np.testing.assert_allclose(parts, found["conversions"])
    np.testing.assert_allclose(found.filter(regex="share_(opens|assists|closes|alone)").sum(axis=1), 1)
    paths = journey.paths(table, **counting)
    for row in found.itertuples():
        has = paths["path"].map(lambda path, name=row.channel: name in path.split(" > "))
        assert row.conversions == paths[has]["conversions"].sum()
        assert row.share_of_all == pytest.approx(row.conversions / paths["conversions"].sum())


def test_roles_without_conversions_with_a_touch_have_no_rows():
    for rows in ([("u", 0, "order", None, 1)], [("u", 0, "visit", "A", None)]):
        assert attribution.roles(events(rows, COLUMNS)).empty


# The order of the chain


def walk_table(seed, chance, persons=20_000, channels="ABC", longest=6):
    """Random walks whose conversion depends on their touches by `chance`; each touch depends on the one before."""
    dice = np.random.default_rng(seed)
    rows = Counter(), Counter()
    turn = dice.dirichlet(np.full(len(channels), 2.0), len(channels))
    for _ in range(persons):
        walk = [int(dice.integers(len(channels)))]
        for _ in range(dice.integers(1, longest)):
            walk.append(int(dice.choice(len(channels), p=turn[walk[-1]])))
        labels = "".join(channels[k] for k in walk)
        rows[dice.random() < chance(labels)][" > ".join(labels)] += 1
    found = pd.DataFrame({"nulls": rows[0], "conversions": rows[1]}).fillna(0).rename_axis("path").reset_index()
    return found


def test_the_order_that_made_the_data_is_chosen():
    last = {"A": 0.05, "B": 0.15, "C": 0.3}
    one = attribution.choose_order(walk_table(0, lambda labels: last[labels[-1]]))
    assert only(one, chosen=True)["order"] == 1
    pairs = {"A": 0.05, "B": 0.3, "C": 0.12}
    two = attribution.choose_order(walk_table(1, lambda labels: pairs[labels[-2]] if labels[-1] == "A" else 0.15))
    assert only(two, chosen=True)["order"] == 2
    losses = two.set_index("order")["log_loss"]
    assert losses[2] < losses[1] < losses[0]


def test_a_chain_of_one_order_is_no_better_than_the_rate_where_touches_say_nothing():
    found = attribution.choose_order(walk_table(2, lambda labels: 0.2, persons=6000)).set_index("order")
    assert only(found.reset_index(), chosen=True)["order"] == 1  # the smallest chain there is
    assert (found["log_loss"] - found.loc[0, "log_loss"]).abs().max() < 2 * found["log_loss_se"].max()
    assert (found["auc"] < 0.53).all()


def journeys_by_person(persons=150, seed=0):
    """[(person, labels, converts)] and the events that make them, one second a touch."""
    dice = random.Random(seed)
    found, rows = [], []
    for person in (f"u{k}" for k in range(persons)):
        at = 0
        for _ in range(dice.randint(0, 3)):
            labels = dice.choices("ABC", k=dice.randint(1, 3))
            rows += [(person, at + k, "visit", label, None) for k, label in enumerate(labels)]
            at += len(labels)
            found.append((person, labels, True))
            rows.append((person, at, "order", None, 10))
            at += 1
        if dice.random() < 0.8:
            labels = dice.choices("AABC", k=dice.randint(1, 4))
            rows += [(person, at + k, "visit", label, None) for k, label in enumerate(labels)]
            found.append((person, labels, False))
    return found, rows


def group_of(person):
    return int(hashlib.md5(person.encode()).hexdigest()[:2], 16) % GROUPS


def foretold(found, longest):
    """For each journey its chance by order 0 …, from the persons of the other eighths, as the docstring says it."""
    chances = []
    for person, labels, _ in found:
        others = [row for row in found if group_of(row[0]) % 8 != group_of(person) % 8]
        won = sum(row[2] for row in others)
        chance = [(won + 0.5) / (len(others) + 1)]
        for k in range(1, longest + 1):
            same = [row for row in others if row[1][-k:] == labels[-k:]]
            chance.append((sum(row[2] for row in same) + chance[-1]) / (len(same) + 1))
        chances.append(chance)
    return np.array(chances)


def test_log_loss_its_error_and_auc_equal_a_count_by_hand():
    found, rows = journeys_by_person()
    chances = foretold(found, 3)
    won = np.array([row[2] for row in found])
    groups = np.array([group_of(row[0]) for row in found])
    table = attribution.choose_order(events(rows, COLUMNS), orders=(1, 2, 3)).set_index("order")
    assert table.index.tolist() == [0, 1, 2, 3] and set(table["paths"]) == {len(found)}
    assert set(table["conversions"]) == {won.sum()}
    for k in range(4):
        loss = -np.where(won, np.log(chances[:, k]), np.log(1 - chances[:, k]))
        assert table.loc[k, "log_loss"] == pytest.approx(loss.mean())
        out = np.array([loss[groups != group].mean() for group in range(GROUPS)])
        error = math.sqrt((GROUPS - 1) / GROUPS * ((out - out.mean()) ** 2).sum())
        assert table.loc[k, "log_loss_se"] == pytest.approx(error)
        if k:
            pairs = [(p > q) + (p == q) / 2 for p in chances[won, k] for q in chances[~won, k]]
            assert table.loc[k, "auc"] == pytest.approx(np.mean(pairs))
            assert table.loc[k, "states"] == len({tuple(row[1][-k:]) for row in found})
    assist = {name: np.mean([name in row[1] for row in found if row[2]]) for name in "ABC"}
    effect = attribution.markov(events(rows, COLUMNS), order=2).set_index("channel")["removal_effect"]
    assert table.loc[2, "assist_gap"] == pytest.approx(max(abs(assist[name] - effect[name]) for name in "ABC"))


def personal_habits():
    """Persons who end on a channel of their own, after two kinds of path: half of them always convert."""
    rows = []
    for k in range(200):
        for at in range(0, 40, 10):
            labels = ["common", f"own {k}"] if at % 20 else [f"own {k}"]
            rows += [(f"u{k}", at + place, "visit", label, None) for place, label in enumerate(labels)]
            if k % 2:
                rows.append((f"u{k}", at + 5, "order", None, 1))
    return events(rows, COLUMNS)


def test_no_person_is_foretold_from_their_own_journeys(monkeypatch):
    table = personal_habits()
    honest = attribution.choose_order(table, orders=(1,)).set_index("order")
    assert honest.loc[1, "log_loss"] > 0.98 * honest.loc[0, "log_loss"]

    def leaky(source, **counting):
        paths = coded(source, **counting)
        object.__setattr__(paths, "group", np.arange(paths.group.size) % GROUPS)
        return paths

    monkeypatch.setattr(order, "coded", leaky)
    cheating = attribution.choose_order(table, orders=(1,)).set_index("order")
    assert cheating.loc[1, "log_loss"] < 0.9 * honest.loc[1, "log_loss"]


def test_without_both_kinds_of_journeys_there_is_no_order_to_choose():
    assert attribution.choose_order(from_paths([("A > B", 3, 0)])).empty
    assert attribution.choose_order(from_paths([("A > B", 0, 3)])).empty
    for orders in ((), (0,), (-1, 2)):
        with pytest.raises(BadParameter, match="orders"):
            attribution.choose_order(from_paths([("A > B", 3, 1)]), orders=orders)


# Limits


def fay_feuer(estimate, variance, one):
    """Their limits of a weighted sum of Poisson counts, the normal quantile widened to Student's by the groups."""
    return gamma_limits(estimate, variance * (stats.t.ppf(0.975, GROUPS - 1) / 1.959964) ** 2, one)


def gamma_limits(estimate, variance, one):
    ends = ((0.025, estimate, variance), (0.975, estimate + one, variance + one**2))
    return [stats.gamma.ppf(p, mean**2 / spread, scale=spread / mean) for p, mean, spread in ends]


def test_limits_without_few_events_are_those_of_the_jack_knifes_textbook():
    """Miller (1974): of a total of G independent parts, t × sqrt(G / (G - 1) × the sum of squared deviations)."""
    part = np.random.default_rng(1).normal(5, 2, GROUPS)
    half = stats.t.ppf(0.975, GROUPS - 1) * math.sqrt(GROUPS / (GROUPS - 1) * ((part - part.mean()) ** 2).sum())
    found = noise.limits(part.sum(), noise.variance(noise.leave_out(part)))
    assert found == pytest.approx((part.sum() - half, part.sum() + half), rel=1e-5)


def test_limits_of_counts_are_garwoods_1936_of_0_1_and_10():
    nothing_known = np.zeros((3, GROUPS))
    found = noise.limits(np.array([0.0, 1.0, 10.0]), noise.variance(nothing_known), 1.0)
    np.testing.assert_allclose(found, [[0, 0.0253, 4.795], [3.689, 5.572, 18.39]], atol=0.005)


def test_limits_of_linear_models_are_fays_and_feuers_with_the_spread_between_groups():
    found, rows = journeys_by_person(600, seed=5)
    table = attribution.rules(events(rows, COLUMNS), models=["last"]).set_index("channel")
    parts = {name: np.zeros(GROUPS) for name in "ABC"}
    for person, labels, won in found:
        parts[labels[-1]][group_of(person)] += won
    whole = sum(parts.values())
    for name, part in parts.items():
        variance = GROUPS / (GROUPS - 1) * ((part - part.mean()) ** 2).sum()
        row, expected = table.loc[name], fay_feuer(part.sum(), variance, 1)
        assert row["credit"] == part.sum()
        assert row[["low", "high"]].tolist() == pytest.approx(expected, rel=1e-4)
        assert row[["value_low", "value_high"]].tolist() == pytest.approx([10 * end for end in expected], rel=1e-4)
        half = stats.t.ppf(0.975, GROUPS - 1) * math.sqrt(variance)
        assert (expected[1] - expected[0]) / 2 == pytest.approx(half, rel=0.03)  # as good as a t interval
        out = (part.sum() - part) / (whole.sum() - whole)
        variance = (GROUPS - 1) / GROUPS * ((out - out.mean()) ** 2).sum()
        expected = fay_feuer(part.sum() / whole.sum(), variance, 1 / whole.sum())
        assert row[["share_low", "share_high"]].tolist() == pytest.approx(expected, rel=1e-4)


def refits(found, table, order, parts):
    """Credit and share by touchpoint of `table`, estimated without each of the `parts` of the persons."""
    outs = []
    for part in parts:
        counts = defaultdict(lambda: [0, 0])
        for person, labels, won in found:
            if person not in part:
                counts[" > ".join(labels)][0 if won else 1] += 1
        paths = from_paths([(path, *both) for path, both in counts.items()])
        refit = attribution.markov(paths, order=order, intervals=False).set_index("channel")
        outs.append(refit[["credit", "share"]].reindex(table.index).to_numpy())
    return np.array(outs)


@pytest.mark.parametrize("order", [1, 3])
def test_limits_of_markov_are_those_of_refits_without_each_group(order):
    """Where touches may not count, which is so with any way to treat direct visits, persons are told by groups."""
    found, rows = journeys_by_person(1500, seed=6)
    counting = {"direct": "drop", "direct_channel": "(none)"}
    table = attribution.markov(events(rows, COLUMNS), order=order, **counting).set_index("channel")
    parts = [{row[0] for row in found if group_of(row[0]) == group} for group in range(GROUPS)]
    outs = refits(found, table, order, parts) * [[GROUPS / (GROUPS - 1), 1]]
    variance = (GROUPS - 1) / GROUPS * ((outs - outs.mean(axis=0)) ** 2).sum(axis=0)
    total = table["credit"].sum()
    for row, (own, of_share) in zip(table.itertuples(), variance, strict=True):
        low, high = fay_feuer(row.credit, own, 1)
        assert row.high - row.low == pytest.approx(high - low, rel=0.06)
        low, high = fay_feuer(row.share, of_share, 1 / total)
        assert row.share_high - row.share_low == pytest.approx(high - low, rel=0.06)


@pytest.mark.parametrize(("order", "share"), [(1, 1), (3, 1), (1, 0.5), (2, 0.5)])
def test_limits_of_markov_are_those_of_refits_without_each_person(order, share, monkeypatch):
    """Jaeckel (1972): the variance is the sum over persons of the square of what each makes of the estimate.

    Of very many persons only a share is looked at: those whose MD5 is below it.
    """
    found, rows = journeys_by_person(400, seed=6)
    if share < 1:
        touches, won = sum(len(row[1]) for row in found), sum(row[2] for row in found)
        monkeypatch.setattr(steps, "_CONVERSIONS", share * won)
        monkeypatch.setattr(steps, "_TOUCHES", (0, touches))
    table = attribution.markov(events(rows, COLUMNS), order=order).set_index("channel")
    whole = attribution.markov(events(rows, COLUMNS), order=order, intervals=False).set_index("channel")
    pd.testing.assert_frame_equal(table[["credit", "share", "value"]], whole[["credit", "share", "value"]])
    persons = sorted({row[0] for row in found})
    bound = f"{round(share * 16):x}" if share < 1 else "g"
    looked_at = [{person} for person in persons if hashlib.md5(person.encode()).hexdigest() < bound]
    assert (len(looked_at) < 250) == (share < 1)
    outs = refits(found, table, order, looked_at)
    variance = ((outs - table[["credit", "share"]].to_numpy()) ** 2).sum(axis=0) / share
    total = table["credit"].sum()
    for row, (own, of_share) in zip(table.itertuples(), variance, strict=True):
        low, high = gamma_limits(row.credit, own, 1)
        assert [row.low, row.high] == pytest.approx([low, high], rel=0.01)
        assert [row.value_low, row.value_high] == pytest.approx([10 * low, 10 * high], rel=0.01)
        low, high = gamma_limits(row.share, of_share, 1 / total)
        assert row.share_high - row.share_low == pytest.approx(high - low, rel=0.01)


@pytest.mark.parametrize("order", [1, 2])
def test_limits_from_events_hold_conversions_of_nobody_and_those_without_a_touch(order):
    """Whom nobody knows is a person of his own; who orders twice without a touch is one person with two."""
    rows = [("u1", 0, "visit", "A", None), ("u1", 1, "order", None, 10)]
    rows += [("u2", 0, "visit", "B", None), ("u3", 1, "order", None, 10), ("u3", 5, "order", None, 30)]
    rows += [(None, 2, "order", None, 10), (None, 3, "order", None, 20)]
    found = attribution.markov(events(rows, COLUMNS), order=order).set_index("channel")
    row = found.loc["(no touch)"]
    assert row[["credit", "value"]].tolist() == [4, 70]
    assert row[["low", "high"]].tolist() == pytest.approx(gamma_limits(4, 2**2 + 1 + 1, 1), rel=1e-6)
    # One conversion is worth 16 on average; the two of nobody are taken for equal.
    expected = gamma_limits(70, 40**2 + 2 * 15**2, 80 / 5)
    assert row[["value_low", "value_high"]].tolist() == pytest.approx(expected, rel=1e-6)
    of_share = ((2 - 0.8 * 2) ** 2 + 2 * (1 - 0.8) ** 2 + (0 - 0.8) ** 2) / 5**2
    low, high = gamma_limits(0.8, of_share, 1 / 5)
    assert row[["share_low", "share_high"]].tolist() == pytest.approx([low, min(high, 1)], rel=1e-6)


TABLE = {  # journeys of a path without a conversion, conversions, value of them
    "A": (900, 40, 2000), "B": (700, 25, 900), "A > B": (500, 60, 4200), "B > A > C": (300, 45, 2100),
    "C": (400, 12, 300), "A > C > A": (250, 30, 2400), "C > C > B": (150, 20, 700), "B > C > A > B": (90, 15, 600),
}  # fmt: skip


@pytest.mark.parametrize(
    "model", ["first", "last_non_direct", "linear", "position", "markov", "markov_2", "markov_3", "shapley",
              "shapley_rate", "shapley_ordered", "probabilistic"],
)  # fmt: skip
def test_limits_of_a_table_of_paths_are_those_of_the_jack_knife_over_its_journeys(model):
    """Jaeckel (1972): the variance is the sum over journeys of the square of what one more makes of the estimate."""

    def run(counts, intervals=False):
        rows = [(path, won, lost, value) for path, (lost, won, value) in counts.items()]
        table = pd.DataFrame(rows, columns=["path", "conversions", "nulls", "value"])
        if model.startswith("markov"):
            found = attribution.markov(table, order=int(model[7:] or 1), intervals=intervals)
        elif model.startswith("shapley_o"):
            found = attribution.shapley_ordered(table, intervals=intervals)
            found["channel"] += found["position"].astype(str)
        elif model.startswith("shapley"):
            worth = "rate" if model.endswith("rate") else "conversions"
            found = attribution.shapley(table, worth=worth, intervals=intervals)
        elif model == "probabilistic":
            found = attribution.probabilistic(table, intervals=intervals)
        else:
            found = attribution.rules(table, models=[model], intervals=intervals)
        return found.set_index("channel")

    table = run(TABLE, intervals=True)
    names, little, variance = ["credit", "share", "value"], 1e-3, 0.0
    before = table[names].to_numpy()
    for path, (lost, won, value) in TABLE.items():
        for more, times in (
            ((lost + little, won, value), lost),
            ((lost, won + little, value * (1 + little / won)), won),
        ):
            after = run(TABLE | {path: more})[names].reindex(table.index).to_numpy()
            variance = variance + times * ((after - before) / little) ** 2
    total, worth = table["credit"].sum(), table["value"].sum()
    ones = {"credit": 1, "share": 1 / total, "value": worth / total}
    for column, name in enumerate(names):
        prefix = "" if name == "credit" else f"{name}_"
        found = (table[f"{prefix}high"] - table[f"{prefix}low"]).to_numpy()
        for width, own, spread in zip(found, before[:, column], variance[:, column], strict=True):
            if model == "shapley_rate":  # may be negative: a normal interval
                expected = 2 * 1.959964 * math.sqrt(spread)
            else:
                one = ones[name]
                low, high = gamma_limits(own, spread, one)
                expected = high - low
            assert width == pytest.approx(expected, rel=3e-3)


EXPECTED = {  # journeys of each path in a whole population, and how many of a hundred convert
    "A": (300, 8), "B": (500, 4), "C": (400, 10), "A > B": (300, 12), "B > C": (250, 20), "C > A": (200, 6),
    "A > B > C": (200, 25), "B > A": (300, 5), "C > C > B": (150, 15), "A > C > A > B": (100, 30), "D": (400, 2),
    "D > B": (200, 9), "D > A > C": (150, 18),
}  # fmt: skip


def population(dice=None):
    table = pd.DataFrame([(path, n * rate / 100, n * (1 - rate / 100)) for path, (n, rate) in EXPECTED.items()],
                         columns=["path", "conversions", "nulls"])  # fmt: skip
    if dice is not None:
        table[["conversions", "nulls"]] = dice.poisson(table[["conversions", "nulls"]])
    return table


@pytest.mark.parametrize("model", ["rules", "markov", "markov_2", "shapley", "probabilistic"])
def test_95_percent_limits_hold_the_true_credit_in_about_95_percent(model):
    truth = OF_ALL[model](population(), intervals=False).set_index(["model", "channel"])
    dice = np.random.default_rng(8)
    hits = {"credit": [], "share": []}
    for _ in range(150):
        found = OF_ALL[model](population(dice)).set_index(["model", "channel"])
        wanted = truth.reindex(found.index)
        hits["credit"].append((found["low"] <= wanted["credit"]) & (wanted["credit"] <= found["high"]))
        hits["share"].append((found["share_low"] <= wanted["share"]) & (wanted["share"] <= found["share_high"]))
    for covered in hits.values():
        covered = pd.concat(covered)
        assert 0.92 <= covered.mean() <= 0.98
        assert covered.groupby(covered.index).mean().between(0.88, 1.0).all()


@pytest.mark.parametrize("model", OF_ALL)
def test_limits_hold_their_estimate_and_stay_inside_what_can_be(model):
    for seed in range(3):
        found = OF_ALL[model](events(random_log(seed + 40, 40), MORE))
        if model == "shapley_rate":  # credit may be negative there
            assert (found["low"] <= found["credit"]).all() and (found["credit"] <= found["high"]).all()
            continue
        for low, name, high in (
            ("low", "credit", "high"), ("share_low", "share", "share_high"), ("value_low", "value", "value_high"),
        ):  # fmt: skip
            known = found[found[low].notna()]
            assert (known[low] >= 0).all()
            assert (known[low] <= known[name] + 1e-9).all() and (known[name] <= known[high] + 1e-9).all()
        assert (found["share_high"].dropna() <= 1).all()


@pytest.mark.parametrize("model", [*OF_ALL, "hazard"])
def test_all_conversions_in_one_group_of_persons_leave_no_estimate_unknown(model):
    rows = [("u", k, "visit", name, None) for k, name in enumerate("ABA")] + [("u", 9, "order", None, 5)]
    rows += [(f"v{k}", 0, "visit", name, None) for k, name in enumerate("ABCABC")]
    for log in (rows, rows[:4]):
        table = events(log, COLUMNS)
        found = attribution.hazard(table) if model == "hazard" else OF_ALL[model](table)
        for _, part in found.groupby("model"):
            assert part[["credit", "share", "value"]].sum().tolist() == pytest.approx([1, 1, 5])
        assert found[["credit", "share", "value", "low", "high", "value_low", "value_high"]].notna().all(axis=None)
        # Of what is left without the group nothing is known: no share has limits then, rather than limits of 0.
        assert found["share_low"].isna().equals(found["share_high"].isna())


def test_leaving_groups_out_keeps_the_whole_on_average():
    parts = np.random.default_rng(0).poisson(3, (4, GROUPS)).astype(float)
    np.testing.assert_allclose(noise.leave_out(parts).mean(axis=-1), parts.sum(axis=-1))
    low, high = noise.limits(parts.sum(axis=-1), noise.variance(noise.leave_out(parts)))
    np.testing.assert_allclose((low + high) / 2, parts.sum(axis=-1))


# Odd tables


def odd(channels, persons=40, value=10.0, seed=0):
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for at in range(dice.randint(1, 5)):
            rows.append((f"u{person}", at, "visit", dice.choice(channels), None))
        if dice.random() < 0.6:
            rows.append((f"u{person}", 10, "order", None, value))
    return rows, sum(row[2] == "order" for row in rows)


ODD = {
    "one": ["A"],
    "sixty": [f"Channel {k:02}" for k in range(60)],
    "numbers": ["1", "2", "10"],
    "emoji": ["🛒 Shop", "👩‍👩‍👧‍👦", "ß", "\u202eabc"],
    "long": ["x" * 10_000, "x" * 9_999 + "y"],
    "quotes": ["'; DROP TABLE t; --", '"', "\\", "%s {x}"],
}


@pytest.mark.parametrize("names", ODD)
def test_odd_names_keep_all_credit_under_every_model(names):
    rows, orders = odd(ODD[names], persons=150 if names == "sixty" else 40)
    table = events(rows, COLUMNS)
    for name, model in [*OF_ALL.items(), ("hazard", attribution.hazard)]:
        found = model(table, intervals=False, draws=2) if name == "shapley_rate" else model(table)
        for _, part in found.groupby("model"):
            assert part[["credit", "value"]].sum().tolist() == pytest.approx([orders, orders * 10]), name
        assert set(found["channel"]) <= {*ODD[names], *OWN_ROWS}
    for by in ("last", attribution.markov(table)):
        assert attribution.credit(table, model=by)["credit"].sum() == pytest.approx(orders)
    compared = attribution.compare([attribution.rules(table), attribution.markov(table)])
    assert attribution.agreement(compared)["channels"].max() <= len(ODD[names])
    assert attribution.roles(table)[["opens", "assists", "closes", "alone"]].sum().sum() >= orders - 1e-6


def test_channels_that_are_numbers_meet_their_cost():
    frame = pd.DataFrame({"user_id": [1, 1, 2, 2], "event": ["visit", "order"] * 2, "channel": [7, None, 8, None]})
    frame["timestamp"] = pd.date_range("2025-01-01", periods=4)
    cost = pd.DataFrame({"date": ["2025-01-01"] * 2, "channel": [7, 8], "cost": [3.0, 4.0]})
    ws = book(touchpoints=frame, campaigns=cost)
    found = attribution.compare([attribution.rules(ws.touchpoints)], campaigns=ws.campaigns)
    assert set(map(tuple, found[["channel", "credit", "cost"]].to_numpy())) == {("7", 1, 3), ("8", 1, 4)}
    numbers = attribution.shapley(pd.DataFrame({"path": [1, 2], "conversions": [1, 2]}))
    assert dict(zip(numbers["channel"], numbers["credit"], strict=True)) == {"1": 1, "2": 2}


def test_conversions_without_value_have_no_value_rather_than_none_of_it():
    rows, _ = odd("AB", value=None)
    table = events(rows, COLUMNS)
    credits = [model(table) for model in OF_ALL.values()]
    found = attribution.compare(credits, campaigns=spent([("2025-01-01", "A", None, 5.0)]))
    assert found[["value", "value_low", "value_high", "roas"]].isna().all(axis=None)
    assert found[found["channel"] == "A"]["cost_per_order"].notna().all()
    assert attribution.credit(table, model=credits[1])["value"].isna().all()


@pytest.mark.parametrize("model", [*OF_ALL, "hazard"])
def test_refunds_are_negative_value_with_limits_around_it(model):
    rows, orders = odd("ABC", persons=120)
    rows = [(*row[:4], -30.0 if row[2] == "order" and k % 3 == 0 else row[4]) for k, row in enumerate(rows)]
    table = events(rows, COLUMNS)
    found = attribution.hazard(table) if model == "hazard" else OF_ALL[model](table)
    value = sum(row[4] for row in rows if row[4])
    for _, part in found.groupby("model"):
        assert part[["credit", "value"]].sum().tolist() == pytest.approx([orders, value])
    assert (found["value_low"] <= found["value"] + 1e-9).all() and (found["value"] <= found["value_high"] + 1e-9).all()


def test_a_channel_whose_orders_are_all_refunded_loses_their_value_in_a_chain():
    """Each path holds one channel only: whatever the model, the value is its own."""
    table = from_paths([("A", 4, 6, -200.0), ("B", 2, 8, 50.0)])
    for model in ("markov", "markov_2", "shapley", "probabilistic"):
        found = OF_ALL[model](table).set_index("channel")
        assert found["value"].to_dict() == pytest.approx({"A": -200, "B": 50}), model


@pytest.mark.parametrize("model", [name for name in OF_ALL if name != "probabilistic"])
def test_weights_of_paths_may_be_fractions_and_scale_as_counts_do(model):
    rows = [("A > B", 1.25, 3.5, 12.5), ("B", 0.5, 0.25, 5.0), ("A > C > B", 2.75, 0.0, 1.0), ("C", 0.0, 7.125, 0.0)]
    one = OF_ALL[model](from_paths(rows)).sort_values(["model", "channel"])
    other = OF_ALL[model](from_paths([(path, *(8 * n for n in rest)) for path, *rest in rows])).sort_values(
        ["model", "channel"]
    )
    np.testing.assert_allclose(8 * one[["credit", "value"]], other[["credit", "value"]], atol=1e-6)
    assert (one.groupby("model")["credit"].sum() - 4.5).abs().max() < 1e-7
    assert one[["low", "high"]].notna().all(axis=None)
