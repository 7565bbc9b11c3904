"""Attribution: credit adds up to the events, Markov against published and brute-force answers, small tables."""

import itertools
import math
import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _tables import ENGINES, SAMPLES, book, events, moments, only, shared, shuffled

from perfnb import attribution, journey, workspace
from perfnb.errors import BadParameter
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
DAY = 86_400
SHARES = ["share_low", "share_high"]


def random_log(persons, seed, span=40):
    """Visits and orders by the day, with ties, nulls, orders without a value and two orders at one instant."""
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 8)):
            user = None if dice.random() < 0.03 else f"p{person}"
            at = dice.randrange(span) * DAY
            if dice.random() < 0.25:
                rows += [(user, at, "order", "x", dice.choice([None, 10.5, 99.25]))] * dice.choice([1, 1, 2])
            else:
                rows.append((user, at, "visit", dice.choice(["A", "B", "C", None]), None))
    return rows


LOG = random_log(150, seed=3)
ORDERS = sum(event == "order" for _, _, event, *_ in LOG)
VALUE = sum(value for *_, value in LOG if value)


def from_paths(paths):
    """Events of (path, converting persons, others, value of all conversions)."""
    rows = []
    for number, (path, converting, others, value) in enumerate(paths):
        for person in range(converting + others):
            user = f"{number}/{person}"
            labels = path.split(" > ")
            rows += [(user, at, "visit", label, None) for at, label in enumerate(labels)]
            if person < converting:
                rows.append((user, len(labels), "order", "x", value if person == 0 else 0))
    return rows


def by_channel(table, model, column="credit"):
    return table[table["model"] == model].set_index("channel")[column].to_dict()


# Conservation


@pytest.mark.parametrize("engine", ENGINES)
def test_on_every_engine_credit_and_value_of_every_model_add_up_to_the_events(engine):
    table = events(LOG, COLUMNS, engine=engine)
    found = pd.concat([attribution.rules(table), attribution.markov(table)])
    sums = found.groupby("model")[["credit", "value", "share"]].sum()
    assert set(sums.index) == {*attribution.MODELS, "markov"}
    np.testing.assert_allclose(sums.to_numpy(), [[ORDERS, VALUE, 1.0]] * 7, rtol=1e-9)
    if engine == "duckdb":
        return
    reference = events(LOG, COLUMNS)
    expected = pd.concat([attribution.rules(reference), attribution.markov(reference)])
    pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-9)


@pytest.mark.parametrize("lookback", [None, "0 days", "1 day", "7 days"])
def test_credit_and_value_add_up_whatever_the_lookback(lookback):
    table = events(LOG, COLUMNS)
    found = pd.concat([attribution.rules(table, lookback=lookback), attribution.markov(table, lookback=lookback)])
    sums = found.groupby("model")[["credit", "value"]].sum()
    np.testing.assert_allclose(sums.to_numpy(), [[ORDERS, VALUE]] * 7, rtol=1e-9)
    # What has no touch is the same under every model, and what the journeys say.
    untouched = only(journey.paths(table, lookback=lookback), path="(no touch)")
    rest = found[found["channel"] == "(no touch)"]
    assert rest["credit"].tolist() == [untouched["conversions"]] * 7
    assert rest["value"].round(6).tolist() == [untouched["value"]] * 7


def test_a_shorter_lookback_leaves_more_without_a_touch():
    table = events(LOG, COLUMNS)
    credit = [
        by_channel(attribution.rules(table, lookback=lookback), "last")["(no touch)"]
        for lookback in ("0 days", "1 day", "7 days", None)
    ]
    assert credit == sorted(credit, reverse=True) and credit[0] > credit[-1] > 0


def test_the_order_of_rows_and_a_shift_in_time_change_nothing():
    other = events([(u, at + 900 * DAY, *rest) for u, at, *rest in shuffled(LOG)], COLUMNS)
    for model in (attribution.rules, attribution.markov):
        one, two = model(events(LOG, COLUMNS)), model(other)
        # Orders without a person are dealt to groups by their time: only the row without a touch has any.
        touched = one["channel"] != "(no touch)"
        pd.testing.assert_frame_equal(one[touched].drop(columns=SHARES), two[touched].drop(columns=SHARES))
        assert (one["credit"] == two["credit"]).all()


@pytest.mark.skipif(not SAMPLES.exists(), reason="no data_samples")
def test_the_samples_last_click_is_that_of_their_readme():
    table = workspace.open(SAMPLES).touchpoints
    rules = attribution.rules(table, events=["visit"], lookback=None)
    orders = pd.read_csv(SAMPLES / "touchpoints.csv").query("event == 'order'")
    last = by_channel(rules, "last")
    readme = {"Paid Search": 134, "Brand Search": 282, "Paid Social": 8, "Email": 40, "Direct": 205}
    assert {channel: last[channel] for channel in readme} == readme
    assert last["Paid Video"] == 0 and sum(last.values()) == len(orders)


# Golden values


@pytest.fixture(scope="module")
def clean_paths():
    frame = pd.read_csv(shared("cases/attribution/clean_paths_10000users_12ch.csv"))
    rows = frame[["path", "conv", "nul", "val"]].itertuples(index=False, name=None)
    return events(from_paths(rows), COLUMNS)


def test_rules_equal_channelattribution_2_2_5_on_10000_made_up_persons(clean_paths):
    rules = attribution.rules(clean_paths, lookback=None)
    published = pd.read_csv(shared("cases/attribution/clean_heuristic_models.csv")).set_index("channel_name")
    for model in ("first", "last", "linear"):
        for column, name in (("credit", "conversions"), ("value", "value")):
            found = pd.Series(by_channel(rules, model, column)).reindex(published.index)
            np.testing.assert_allclose(found, published[f"{model}_touch_{name}"], rtol=1e-8, atol=1e-6)


def test_markov_equals_the_exact_solution_of_channelattributions_chain_on_10000_made_up_persons(clean_paths):
    exact = pd.read_csv(shared("cases/attribution/clean_markov_order1.csv")).set_index("channel")
    found = attribution.markov(clean_paths, lookback=None).set_index("channel").reindex(exact.index)
    np.testing.assert_allclose(found["credit"], exact["conv_exact"], rtol=1e-8)
    np.testing.assert_allclose(found["value"], exact["value_exact"], rtol=1e-8)
    np.testing.assert_allclose(found["removal_effect"], exact["re_exact"], atol=1e-9)
    # The peer's simulation of 20 million paths agrees within its noise.
    np.testing.assert_allclose(found["credit"], exact["conv_ca"], rtol=0.01)


# Markov by brute force


def random_paths(seed, channels="ABC"):
    dice = random.Random(seed)
    return [
        (
            " > ".join(dice.choice(channels) for _ in range(dice.randint(1, 5))),
            dice.randint(0, 2),
            dice.randint(0, 2),
            dice.randint(0, 50),
        )
        for _ in range(8)
    ]


def chain(paths):
    """{(from, to): weight} of paths without direct repeats."""
    weight = {}
    for path, converting, others, _ in paths:
        states = ["(start)", *(label for label, _ in itertools.groupby(path.split(" > ")))]
        ends = (("(conversion)", converting), ("(end)", others))
        for end, count in ends:
            for pair in itertools.pairwise([*states, end]):
                weight[pair] = weight.get(pair, 0) + count
    return weight


def conversion_probability(weight, without=None):
    """By iteration: walks that would go to the deleted channel fail."""
    out = {}
    for (before, _), count in weight.items():
        out[before] = out.get(before, 0) + count
    reached = dict.fromkeys(out, 0.0) | {"(conversion)": 1.0, "(end)": 0.0}
    for _ in range(4000):
        step = dict.fromkeys(out, 0.0)
        for (before, after), count in weight.items():
            if count and before != without and after != without:
                step[before] += count / out[before] * reached[after]
        reached |= step
    return reached["(start)"]


@pytest.mark.parametrize("seed", range(8))
def test_removal_effects_equal_deleting_the_channel_from_the_chain(seed):
    paths = random_paths(seed)
    weight = chain(paths)
    whole = conversion_probability(weight)
    found = attribution.markov(events(from_paths(paths), COLUMNS), lookback=None)
    conversions = sum(converting for _, converting, _, _ in paths)
    effects = {
        channel: 1 - conversion_probability(weight, without=channel) / whole
        for channel in {label for path, c, n, _ in paths if c + n for label in path.split(" > ")}
    }
    assert found.set_index("channel")["removal_effect"].to_dict() == pytest.approx(effects, abs=2e-9)
    credit = {channel: conversions * effect / sum(effects.values()) for channel, effect in effects.items()}
    assert by_channel(found, "markov") == pytest.approx(credit, abs=1e-8)


def test_self_loops_change_nothing():
    paths = random_paths(21)
    doubled = [(" > ".join(label for label in path.split(" > ") for _ in "xy"), *rest) for path, *rest in paths]
    one, other = (attribution.markov(events(from_paths(p), COLUMNS), lookback=None) for p in (paths, doubled))
    pd.testing.assert_frame_equal(one, other)


def test_a_channel_in_every_path_has_removal_effect_1_and_one_channel_takes_all():
    paths = [("A > B", 2, 1, 30), ("B", 1, 3, 5), ("B > C", 0, 2, 0)]
    found = attribution.markov(events(from_paths(paths), COLUMNS))
    assert only(found, channel="B")["removal_effect"] == 1
    assert only(found, channel="C")["credit"] == 0
    alone = attribution.markov(events(from_paths([("A", 2, 3, 30)]), COLUMNS))
    assert alone[["channel", "credit", "share", "value", "removal_effect"]].to_numpy().tolist() == [["A", 2, 1, 30, 1]]


def test_two_orders_at_one_instant_weigh_twice():
    rows = [("u", 0, "visit", "A", None), ("u", 1, "order", "x", 10), ("u", 1, "order", "x", 20)]
    rows += [("v", 0, "visit", "B", None), ("v", 1, "order", "x", 1)]
    table = events(rows, COLUMNS)
    assert by_channel(attribution.markov(table), "markov") == {"A": 2, "B": 1}
    for model in attribution.MODELS:
        assert by_channel(attribution.rules(table), model) == {"A": 2, "B": 1}
        assert by_channel(attribution.rules(table), model, "value") == {"A": 30, "B": 1}


def test_without_a_conversion_there_is_no_row():
    table = events([("u", 0, "visit", "A", None), ("v", 0, "visit", "B", None)], COLUMNS)
    assert attribution.markov(table).empty and attribution.rules(table).empty
    assert attribution.markov(events([("u", None, "visit", "A", None)], COLUMNS)).empty
    assert attribution.compare([attribution.rules(table), attribution.markov(table)]).empty


def test_conversions_none_of_which_has_a_touch_keep_their_row():
    rows = [("u", 0, "order", "x", 10), ("v", 0, "visit", "A", None)]
    found = attribution.markov(events(rows, COLUMNS))
    assert by_channel(found, "markov") == {"(no touch)": 1, "A": 0}
    assert by_channel(found, "markov", "value") == {"(no touch)": 10, "A": 0}
    only_orders = attribution.markov(events(rows[:1], COLUMNS))
    assert by_channel(only_orders, "markov") == {"(no touch)": 1}


def test_a_chain_that_leads_nowhere_is_refused():
    rows = [("(start)", "A", 1.0, None), ("(start)", "(conversion)", 1.0, None)]
    with pytest.raises(BadParameter, match="nothing leaves 'A'"):
        attribution.removal_effects(pd.DataFrame(rows, columns=["from", "to", "weight", "value"]))


# Rules by hand


@pytest.mark.parametrize(
    ("labels", "position", "linear"),
    [
        ("A", {"A": 1.0}, {"A": 1.0}),
        ("AB", {"A": 0.5, "B": 0.5}, {"A": 0.5, "B": 0.5}),
        ("ABC", {"A": 0.4, "B": 0.2, "C": 0.4}, {"A": 1 / 3, "B": 1 / 3, "C": 1 / 3}),
        ("ABCA", {"A": 0.8, "B": 0.1, "C": 0.1}, {"A": 0.5, "B": 0.25, "C": 0.25}),
    ],
)
def test_position_and_linear_by_hand(labels, position, linear):
    found = attribution.rules(events(from_paths([(" > ".join(labels), 1, 0, 100)]), COLUMNS))
    assert by_channel(found, "position") == pytest.approx(position)
    assert by_channel(found, "position", "value") == pytest.approx({k: 100 * v for k, v in position.items()})
    assert by_channel(found, "linear") == pytest.approx(linear)
    ends = {labels[0]: 1.0}
    assert {k: v for k, v in by_channel(found, "first").items() if v} == ends
    assert {k: v for k, v in by_channel(found, "last").items() if v} == {labels[-1]: 1.0}


def test_time_decay_halves_with_each_half_life():
    rows = [("u", 0, "visit", "A", None), ("u", 7 * DAY, "visit", "B", None), ("u", 14 * DAY, "order", "x", 9)]
    found = attribution.rules(events(rows, COLUMNS), half_life="7 days")
    assert by_channel(found, "time_decay") == pytest.approx({"A": 1 / 3, "B": 2 / 3})


def test_time_decay_holds_at_extreme_ages():
    old = [("u", 0, "visit", "A", None), ("u", 60, "visit", "B", None), ("u", 9000 * DAY, "order", "x", 9)]
    found = attribution.rules(events(old, COLUMNS), lookback=None, half_life="1 minute")
    assert by_channel(found, "time_decay") == pytest.approx({"A": 1 / 3, "B": 2 / 3})
    apart = [("u", 0, "visit", "A", None), ("u", 9000 * DAY, "visit", "B", None), ("u", 9000 * DAY, "order", "x", 9)]
    found = attribution.rules(events(apart, COLUMNS), lookback=None, half_life="1 second")
    assert by_channel(found, "time_decay") == {"A": 0, "B": 1}


def test_a_half_life_of_nothing_is_refused():
    with pytest.raises(BadParameter, match="half_life '0 days'"):
        attribution.rules(events(LOG, COLUMNS), half_life="0 days")


def test_touches_by_campaign_and_names_from_data():
    name = "'; --\\ Größe"
    rows = [("u", 0, "visit", name), ("u", 1, "order", "x")]
    table = events(rows, ("user_id", "timestamp", "event", "campaign"))
    found = attribution.rules(table, touchpoint="campaign")
    assert set(found["channel"]) == {name} and found["value"].isna().all() and found["currency"].isna().all()
    assert by_channel(attribution.markov(table, touchpoint="campaign"), "markov") == {name: 1}


# Side by side


def shop(**frames):
    rows = [("u", 0, "visit", "Search", None), ("u", 1, "visit", "Social", None), ("u", 2, "order", "x", 100)]
    rows += [("v", 0, "visit", "Direct", None), ("v", 1, "order", "x", 40), ("w", 0, "order", "x", 5)]
    touchpoints = pd.DataFrame(rows, columns=COLUMNS).assign(currency="EUR")
    touchpoints["timestamp"] = moments(touchpoints["timestamp"])
    return book(touchpoints=touchpoints, optional=["campaigns", "truth"], **frames)


def campaigns(rows, currency="EUR"):
    frame = pd.DataFrame(rows, columns=["channel", "cost"]).assign(currency=currency, date=pd.Timestamp("2025-01-01"))
    return frame


def credits(ws):
    return [attribution.rules(ws.touchpoints), attribution.markov(ws.touchpoints)]


def test_compare_adds_up_to_the_events_and_to_the_cost_under_every_model():
    spent = campaigns([("Search", 10.0), ("Search", 20.0), ("Display", 7.5), (None, 2.0), ("Direct", None)])
    ws = shop(campaigns=spent)
    found = attribution.compare(credits(ws), campaigns=ws.campaigns)
    sums = found.groupby("model")[["credit", "value", "cost", "share"]].sum()
    np.testing.assert_allclose(sums.to_numpy(), [[3, 145, 39.5, 1]] * 7)
    row = only(found, model="first", channel="Search")
    assert row[["credit", "value", "cost", "roas", "cost_per_order"]].tolist() == [1, 100, 30, 100 / 30, 30]
    row = only(found, model="first", channel="Display")
    assert row[["credit", "value", "cost", "roas"]].tolist() == [0, 0, 7.5, 0] and math.isnan(row["cost_per_order"])
    for channel in ("Direct", "Social", "(no touch)"):
        assert found.loc[found["channel"] == channel, ["cost", "roas", "cost_per_order"]].isna().all().all()
    assert set(found["currency"]) == {"EUR"}


def test_compare_without_campaigns_or_values_has_no_return():
    ws = shop()
    found = attribution.compare(credits(ws), campaigns=ws.campaigns, truth=ws.truth)
    assert found[["cost", "roas", "cost_per_order"]].isna().all().all()
    assert attribution.score(found).empty
    bare = events([("u", 0, "visit", "A"), ("u", 1, "order", "A")])
    found = attribution.compare([attribution.rules(bare), attribution.markov(bare)])
    assert found["value"].isna().all() and found["credit"].tolist() == [1] * 7


def test_compare_refuses_two_currencies():
    ws = shop(campaigns=campaigns([("Search", 10.0)], currency="USD"))
    with pytest.raises(BadParameter, match="EUR, USD"):
        attribution.compare(credits(ws), campaigns=ws.campaigns)


def truth(rows):
    frame = pd.DataFrame(rows, columns=["channel", "incremental_orders"])
    return frame.assign(low=frame["incremental_orders"] - 1, high=frame["incremental_orders"] + 1)


def test_distance_by_hand():
    spent = campaigns([("Search", 60.0), ("Social", 40.0)])
    ws = shop(campaigns=spent, truth=truth([("Search", 3), ("Social", 1), ("Direct", 9)]))
    found = attribution.compare(credits(ws), campaigns=ws.campaigns, truth=ws.truth)
    distance = attribution.score(found).set_index("model")
    # Among those with cost: truth 75 : 25, first 100 : 0, last 0 : 100, linear 50 : 50.
    assert distance.loc[["first", "last", "linear"], "distance"].tolist() == [0.25, 0.75, 0.25]
    assert distance.loc[["first", "last", "linear"], "misplaced"].tolist() == [25, 75, 25]
    row = only(found, model="truth", channel="Search")
    assert row[["credit", "low", "high"]].tolist() == [3, 2, 4]


def test_a_model_without_credit_for_any_paid_channel_has_no_distance_rather_than_none_at_all():
    rows = [("u", 0, "visit", "Paid", None), ("u", 1, "visit", "Direct", None), ("u", 2, "order", "x", 1)]
    touchpoints = events(rows, COLUMNS)
    ws = shop(campaigns=campaigns([("Paid", 60.0), ("Other", 40.0)]), truth=truth([("Paid", 1), ("Other", 3)]))
    found = attribution.compare([attribution.rules(touchpoints)], campaigns=ws.campaigns, truth=ws.truth)
    distance = attribution.score(found).set_index("model")
    assert math.isnan(distance.loc["last", "distance"]) and math.isnan(distance.loc["last", "misplaced"])
    assert distance.loc["first", "distance"] == 0.75
    assert distance.index[-1] == "last"


def test_channels_whose_truth_is_not_known_are_no_part_of_the_distance():
    spent = campaigns([("Search", 60.0), ("Social", 40.0), ("Direct", 100.0)])
    ws = shop(campaigns=spent, truth=truth([("Search", 1), ("Social", 1), ("Direct", None)]))
    found = attribution.compare(credits(ws), campaigns=ws.campaigns, truth=ws.truth)
    row = only(attribution.score(found), model="linear")
    assert (row["distance"], row["misplaced"]) == (0, 0)
    assert only(attribution.score(found), model="first")["misplaced"] == 50


def test_a_truth_of_nothing_measures_no_model():
    ws = shop(campaigns=campaigns([("Search", 60.0)]), truth=truth([("Search", 0)]))
    found = attribution.compare(credits(ws), campaigns=ws.campaigns, truth=ws.truth)
    assert attribution.score(found).empty


def test_negative_truths_count_as_nothing():
    spent = campaigns([("Search", 60.0), ("Social", 40.0)])
    ws = shop(campaigns=spent, truth=truth([("Search", 5), ("Social", -2)]))
    found = attribution.compare(credits(ws), campaigns=ws.campaigns, truth=ws.truth)
    assert only(attribution.score(found), model="first")["distance"] == 0


# A period bounds the conversions, not the touches before them


def test_a_period_counts_its_conversions_with_the_touches_before_it_and_its_cost():
    day = 86_400
    rows = [
        ("u", 0, "visit", "A", None),
        ("u", 10 * day, "order", "x", 10),  # before the period
        ("u", 11 * day, "visit", "B", None),
        ("u", 32 * day, "order", "x", 20),  # inside, led to from before it
        ("v", 33 * day, "visit", "A", None),  # inside, converts after it
        ("v", 70 * day, "order", "x", 40),
        ("w", 20 * day, "visit", "A", None),  # before, and nothing after
    ]
    touchpoints = events(rows, COLUMNS)
    february = Period.parse("2025-02")
    options = {"period": february, "lookback": "30 days"}
    assert by_channel(attribution.rules(touchpoints, **options), "last") == {"B": 1}
    markov = attribution.markov(touchpoints, **options)
    assert by_channel(markov, "markov") == {"A": 0, "B": 1}
    assert by_channel(markov, "markov", "value") == {"A": 0, "B": 20}
    days = pd.DataFrame({"date": pd.date_range("2025-01-15", "2025-03-10"), "channel": "B", "cost": 1.0})
    campaigns = book(campaigns=days).campaigns
    compared = attribution.compare([attribution.rules(touchpoints, **options)], campaigns=campaigns, period=february)
    assert set(compared["cost"]) == {28.0} and set(compared["roas"]) == {20 / 28}
    with pytest.raises(BadParameter, match="14 of the 31 days"):
        attribution.compare([markov], campaigns=campaigns, period=Period.parse("2025-01"))


def test_a_channel_called_like_one_of_our_rows_stays_apart_from_it():
    rows = [("u", 0, "visit", "(other)", None), ("u", 1, "visit", "(end)", None), ("u", 2, "order", "x", 10)]
    rows += [("v", 0, "order", "x", 5), ("w", 0, "visit", None, None)]
    touchpoints = events(rows, COLUMNS)
    credit = by_channel(attribution.rules(touchpoints), "linear")
    assert credit == {"“(other)”": 0.5, "“(end)”": 0.5, "(no touch)": 1}
    assert by_channel(attribution.markov(touchpoints), "markov")["(no touch)"] == 1
    found = journey.transitions(touchpoints)
    assert found.loc[found["to"] == "(end)", "transitions"].sum() == 1


# Two ways of counting the same


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize(
    "counting",
    [
        {},
        {"lookback": None},
        {"lookback": "1 day", "nulls": "persons"},
        {"nulls": "none"},
        {"count": "first"},
        {"lookback": "3 days", "period": Period.parse("2025-01-10..2025-01-25"), "count": "first"},
        {"lookback": None, "period": Period.parse("2025-01-10..2025-01-25")},
    ],
)
def test_steps_counted_in_the_engine_are_those_of_the_paths(engine, order, counting, monkeypatch):
    if engine != "duckdb" and (order != 2 or "period" not in counting):
        pytest.skip("the other engine runs the same statement: twice is enough")
    table = events(LOG, COLUMNS, engine=engine)
    quick = attribution.markov(table, order=order, **counting)
    monkeypatch.setattr(journey, "walks_plainly", lambda **_: False)
    slow = attribution.markov(table, order=order, **counting)
    # Limits are over persons here and over groups of them there: each has tests of its own.
    limits = [name for name in quick if name.endswith(("low", "high"))]
    pd.testing.assert_frame_equal(quick.drop(columns=limits), slow.drop(columns=limits), rtol=1e-8)


def test_rules_of_a_table_of_paths_are_those_of_its_events():
    table = events(LOG, COLUMNS)
    models = [model for model in attribution.RULES if model not in ("time_decay", "w_shaped")]
    options = {"models": models, "weights": [0.5, 0.3, 0.1], "position": (0.5, 0.1, 0.4), "direct_channel": "A"}
    one = attribution.rules(table, **options)
    two = attribution.rules(journey.paths(table), **options)
    keys = ["model", "channel"]
    pd.testing.assert_frame_equal(
        one.sort_values(keys, ignore_index=True)[[*keys, "credit", "share", "value"]],
        two.sort_values(keys, ignore_index=True)[[*keys, "credit", "share", "value"]],
    )
    with pytest.raises(BadParameter, match="holds no times"):
        attribution.rules(journey.paths(table), models=["time_decay"])


def test_a_column_of_paths_in_chunks_as_large_files_give_it_is_read():
    chunks = pa.chunked_array([["A > B", "B"], ["A", None]])
    paths = pd.DataFrame(
        {"path": pd.arrays.ArrowExtensionArray(chunks), "conversions": [2, 1, 0, 1], "nulls": [5, 0, 3, 0]}
    )
    plain = paths.assign(path=["A > B", "B", "A", None])
    for order in (1, 2):
        pd.testing.assert_frame_equal(attribution.markov(paths, order=order), attribution.markov(plain, order=order))


def test_heuristics_equal_channelattribution_2_2_5_on_its_sample():
    paths = pd.read_csv(shared("cases/attribution/clean_paths_10000users_12ch.csv"))
    expected = pd.read_csv(shared("cases/attribution/clean_heuristic_models.csv")).set_index("channel_name")
    paths = paths.rename(columns={"conv": "conversions", "nul": "nulls", "val": "value"})
    found = attribution.rules(paths, models=["first", "last", "linear"])
    for model, rows in found.groupby("model"):
        rows = rows.set_index("channel").reindex(expected.index)
        np.testing.assert_allclose(rows["credit"], expected[f"{model}_touch_conversions"], atol=1e-8)
        np.testing.assert_allclose(rows["value"], expected[f"{model}_touch_value"], atol=1e-7)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", ["markov", "shapley", "probabilistic", "hazard"])
def test_touches_get_what_the_model_credits_to_their_channel_and_every_order_once(engine, model):
    table = events(LOG, COLUMNS, engine=engine)
    fitted = getattr(attribution, model)(table)
    found = attribution.credit(table, model=model, by=["channel", "date"])
    assert found["credit"].sum() == pytest.approx(ORDERS) and found["value"].sum() == pytest.approx(VALUE)
    pd.testing.assert_frame_equal(found, attribution.credit(table, model=fitted, by=["channel", "date"]))
    placed = found.groupby("channel")[["credit", "unplaced"]].agg({"credit": "sum", "unplaced": "first"}).sum(axis=1)
    wanted = fitted.set_index("channel")["credit"]
    np.testing.assert_allclose(placed.reindex(wanted.index).fillna(0.0), wanted, atol=1e-6)
