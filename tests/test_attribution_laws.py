"""Attribution held against an independent brute-force reference, and the laws that every model keeps."""

import functools
import itertools
import random
from datetime import date, timedelta

import _attribution_reference as reference
import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, events, shared, shuffled

from perfnb import attribution, journey
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
DAY = 86_400
SEEDS = range(8)
LABELS = [
    "Search",
    "Paid Search",
    "Direct",
    "Direct",
    "E-Mail",
    "a > b",
    'O\'Neil "x"',
    "Größe – 広告",
    "(no touch)",
    None,
]
RULES = ["first", "last", "last_non_direct", "linear", "time_decay", "position", "w_shaped", "own"]
OPTIONS = {"half_life": "2 days", "position": (0.5, 0.2, 0.3), "weights": [0.5, 0.3, 0.2]}
MODELS = {
    "markov": attribution.markov,
    "markov_2": functools.partial(attribution.markov, order=2),
    "markov_3": functools.partial(attribution.markov, order=3),
    "shapley": attribution.shapley,
    "shapley_rate": functools.partial(attribution.shapley, worth="rate"),
    "shapley_ordered": attribution.shapley_ordered,
    "probabilistic": attribution.probabilistic,
}
SINCE = date(2025, 1, 1)  # second 0 of the logs
PERIOD = Period(SINCE + timedelta(days=6), SINCE + timedelta(days=15))


def random_log(seed, persons=40, labels=LABELS, span=20):
    """Visits, leads and orders by the day, with ties, and nulls wherever they can be."""
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 9)):
            user = None if dice.random() < 0.03 else f"p{person}"
            at = None if dice.random() < 0.03 else dice.randrange(span)
            if dice.random() < 0.25:
                value = dice.choice([None, 10.5, 99.25])
                rows += [(user, at, "order", dice.choice(labels), value)] * dice.choice([1, 1, 2])
            else:
                event = dice.choice(["visit", "visit", "lead", "click", None])
                rows.append((user, at, event, dice.choice(labels), None))
    return rows


def touchpoints(log, **options):
    """The log as touchpoints; its times are days."""
    return events([(user, at and at * DAY, *rest) for user, at, *rest in log], COLUMNS, **options)


def random_counting(seed):
    """(counting as the package has it, as the reference has it)."""
    dice = random.Random(seed)
    days = dice.choice([None, 0, 3, 7])
    chosen = {
        "events": dice.choice([None, ["visit", "lead"]]),
        "count": dice.choice(["every", "first"]),
        "repeats": dice.choice(["reset", "overlap"]),
        "direct": dice.choice(["keep", "drop", "drop_last"]),
        "nulls": dice.choice(["journeys", "persons", "none"]),
    }
    period = dice.choice([None, PERIOD])
    ours = chosen | {"lookback": days if days is None else f"{days} days", "period": period}
    bounds = period and tuple((day - SINCE).days for day in (period.since, period.until))
    return ours, chosen | {"lookback": days, "period": bounds}


def random_paths(seed, channels="ABCD", count=9, longest=5):
    """[(labels, conversions, nulls, value)], each path once."""
    dice = random.Random(seed)
    labels = {tuple(dice.choices(channels, k=dice.randint(1, longest))): None for _ in range(count)}
    rows = [(path, dice.randint(0, 3), dice.randint(0, 3)) for path in labels]
    rows = [(path, won, lost, won * dice.randint(0, 50)) for path, won, lost in rows if won + lost]
    return rows if any(won for _, won, _, _ in rows) else [*rows, (("A",), 1, 1, 5)]


def frame(paths):
    """A table of paths."""
    rows = [(" > ".join(labels), *rest) for labels, *rest in paths]
    return pd.DataFrame(rows, columns=["path", "conversions", "nulls", "value"])


def figures(table, *columns):
    found = table.set_index("channel")[list(columns)]
    return {channel: tuple(row) for channel, row in zip(found.index, found.to_numpy(float), strict=True)}


def same(found, expected, tolerance=1e-7):
    """Both say the same of every channel; 0 where one does not know it."""
    for channel in {*found, *expected}:
        size = len(next(iter({**found, **expected}.values())))
        one, other = found.get(channel, (0,) * size), expected.get(channel, (0,) * size)
        assert one == pytest.approx(tuple(map(float, other)), abs=tolerance), channel


def by_name(table):
    return table.sort_values([*(["position"] if "position" in table else []), "channel"], ignore_index=True)


def untouched(log, **counting):
    conversions, _, value = reference.paths(log, **counting).get((), (0, 0, 0, 0))[1:]
    return {"(no touch)": (conversions, value)} if conversions else {}


def marked(log):
    """Touchpoints with a campaign and a device, and the conversions and value in them."""
    dice = random.Random(0)
    rows = [(user, at and at * DAY, *rest) for user, at, *rest in log]
    rows = [(*row, dice.choice(["x", "y", None]), dice.choice(["phone", "desktop"])) for row in rows]
    orders = [row[4] or 0 for row in rows if row[2] == "order"]
    return events(rows, (*COLUMNS, "campaign", "device")), len(orders), sum(orders)


# Paths


def paths_differ(log, ours, theirs, transform, engine="duckdb"):
    found = journey.paths(touchpoints(log, engine=engine), transform=transform, **ours)
    assert found["path"].is_unique
    counted = found.fillna({"value": 0.0}).set_index("path")[["persons", "conversions", "nulls", "value"]]
    counted = {path: tuple(row) for path, row in zip(counted.index, counted.to_numpy(float), strict=True)}
    expected = {
        " > ".join(label.replace(" > ", " › ") for label in labels) or "(no touch)": tuple(map(float, row))
        for labels, row in reference.paths(log, transform, **theirs).items()
    }
    return {path: (counted.get(path), expected.get(path)) for path in {*counted, *expected}
            if counted.get(path) != expected.get(path)}  # fmt: skip


@pytest.mark.parametrize("seed", range(48))
def test_paths_equal_the_reference_under_all_ways_of_counting(seed):
    ours, theirs = random_counting(seed)
    transform = journey.TRANSFORMS[seed % len(journey.TRANSFORMS)]
    assert paths_differ(random_log(seed), ours, theirs, transform) == {}


@pytest.mark.parametrize("engine", ENGINES[1:])
@pytest.mark.parametrize("seed", range(100, 102))
def test_paths_on_another_engine_equal_the_reference(seed, engine):
    ours, theirs = random_counting(seed)
    assert paths_differ(random_log(seed, 20), ours, theirs, journey.TRANSFORMS[seed % 2], engine) == {}


def test_every_way_of_counting_conserves_conversions_and_value():
    log = random_log(11)
    orders = [(user, at, value or 0) for user, at, event, _, value in log if event == "order"]
    table = touchpoints(log)
    for repeats, direct, nulls in itertools.product(
        ["reset", "overlap"], ["keep", "drop", "drop_last"], ["journeys", "persons", "none"]
    ):
        found = journey.paths(table, repeats=repeats, direct=direct, nulls=nulls, lookback="2 days")
        assert found["conversions"].sum() == len(orders)
        assert found["value"].sum() == pytest.approx(sum(value for *_, value in orders))


# Rules


@pytest.mark.parametrize("seed", range(24))
def test_rules_equal_the_reference_under_all_ways_of_counting(seed):
    ours, theirs = random_counting(seed)
    # Which of two journeys a lead belongs to where journeys overlap, is not the rule's question here.
    models = RULES if theirs["repeats"] == "reset" else [model for model in RULES if model != "w_shaped"]
    log = random_log(seed)
    found = attribution.rules(touchpoints(log), models=models, **OPTIONS, **ours)
    for model in models:
        expected = reference.rules(
            log, model, half_life=2, position=(0.5, 0.2, 0.3), own=[0.5, 0.3, 0.2], lead="lead", **theirs
        )
        same(figures(found[found["model"] == model].fillna({"value": 0.0}), "credit", "value"), expected)


@pytest.mark.parametrize("by", [["campaign"], ["date"], ["campaign", "date", "device"]])
def test_credit_adds_up_to_the_events_by_anything(by):
    table, conversions, value = marked(random_log(5))
    whole = attribution.rules(table, models=RULES, **OPTIONS)
    found = attribution.rules(table, models=RULES, by=by, **OPTIONS)
    assert not found.duplicated(["model", "channel", *by]).any()
    for model in RULES:
        parts, one = (rows[rows["model"] == model] for rows in (found, whole))
        assert parts["credit"].sum() == pytest.approx(conversions)
        assert parts["value"].sum() == pytest.approx(value)
        sums = parts.groupby("channel", as_index=False)[["credit", "value"]].sum()
        same(figures(sums, "credit", "value"), figures(one, "credit", "value"))


# Chains and games from events


@pytest.mark.parametrize("seed", SEEDS)
def test_models_from_events_equal_the_reference_on_its_own_paths(seed):
    ours, theirs = random_counting(seed + 300)
    log = random_log(seed, 15, labels=["A", "B", "Direct", None])
    paths = reference.table(log, **theirs)
    table = touchpoints(log)
    alone = untouched(log, **theirs)
    value = {"value": 0.0}  # unknown where no order of the paths has one
    for order in (1, 2, 3):
        found = attribution.markov(table, order=order, **ours).fillna(value)
        expected = {channel: row[:2] for channel, row in reference.markov(paths, order).items()}
        same(figures(found, "credit", "value"), expected | alone)
    channels = sorted({label for labels, *_ in paths for label in labels})
    for worth, game in (("conversions", reference.worth_conversions), ("rate", reference.worth_rate)):
        credit, worths = (reference.shapley(channels, game(paths, column)) for column in (1, 3))
        expected = {channel: (credit[channel], worths[channel]) for channel in channels}
        found = attribution.shapley(table, worth=worth, **ours).fillna(value)
        same(figures(found, "credit", "value"), expected | alone)
    expected = {channel: row[:2] for channel, row in reference.probabilistic(paths, 3).items()}
    found = attribution.probabilistic(table, least=3, **ours).fillna(value)
    same(figures(found, "credit", "value"), expected | alone)


# Markov by deleting the channel


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", SEEDS)
def test_markov_of_any_order_equals_deleting_the_channel_from_the_chain(seed, order):
    paths = random_paths(seed)
    found = attribution.markov(frame(paths), order=order)
    same(figures(found, "credit", "value", "removal_effect"), reference.markov(paths, order))
    assert found["credit"].sum() == pytest.approx(sum(won for _, won, _, _ in paths))
    assert found["value"].sum() == pytest.approx(sum(value for *_, value in paths))


def test_markov_holds_on_a_chain_that_walks_in_circles_for_long():
    """A past bug: the sum over walks ended after their first step."""
    paths = [("AB" * 12, 1, 0, 9), ("BA" * 12 + "C", 0, 3, 0), ("CAB" * 7, 2, 5, 20), ("C", 1, 40, 5)]
    for order in (1, 2, 3):
        found = attribution.markov(frame(paths), order=order)
        same(figures(found, "credit", "value", "removal_effect"), reference.markov(paths, order))


# Mean of four runs of 10 million simulated walks each (seeds 1 to 4), ChannelAttribution 2.2.5: standard error 0.0005.
SIMULATED = {
    2: [0.1217, 0.2361, 0.2376, 0.2510, 0.4241, 0.2463, 0.2699, 0.2212, 0.1259, 0.4851, 0.0819, 0.1184],
    3: [0.1300, 0.2314, 0.2573, 0.2717, 0.4247, 0.2606, 0.2838, 0.2640, 0.1136, 0.5195, 0.0865, 0.1154],
    4: [0.1375, 0.2536, 0.2707, 0.2846, 0.4473, 0.2714, 0.2824, 0.3084, 0.1181, 0.5504, 0.0830, 0.1256],
}


@pytest.mark.parametrize("order", SIMULATED)
def test_markov_of_higher_order_is_inside_the_simulation_error_of_channelattribution_2_2_5(order):
    given = pd.read_csv(shared("cases/attribution/clean_paths_10000users_12ch.csv"))
    paths = given.rename(columns={"conv": "conversions", "nul": "nulls", "val": "value"})
    found = attribution.markov(paths, order=order, intervals=False).sort_values("channel")
    np.testing.assert_allclose(found["removal_effect"], SIMULATED[order], atol=0.0015)


def test_beyond_the_longest_path_the_removal_effect_is_the_share_of_conversions_with_the_channel():
    paths = random_paths(4, longest=6)
    conversions = sum(won for _, won, _, _ in paths)
    share = {
        channel: sum(won for labels, won, _, _ in paths if channel in labels) / conversions
        for channel in {label for labels, *_ in paths for label in labels}
    }
    gap = []
    for order in range(1, 7):
        effect = attribution.markov(frame(paths), order=order).set_index("channel")["removal_effect"].to_dict()
        gap.append(max(abs(effect[channel] - share[channel]) for channel in share))
    assert gap[5] == pytest.approx(0, abs=1e-9) and gap[0] > 0.01
    assert gap[3] < gap[0]


def test_a_chain_forgets_what_lies_before_its_window():
    paths = frame([("XAB", 2, 0, 9), ("YAB", 0, 2, 0)])
    two, three = (figures(attribution.markov(paths, order=order), "removal_effect") for order in (2, 3))
    assert two["Y"] == pytest.approx((0.5,)) and three["Y"] == (0,)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_same_touch_more_often_than_the_window_changes_nothing(order):
    paths = random_paths(21)
    longer = [
        (tuple(label for label, run in itertools.groupby(labels) for _ in range(max(len(list(run)), order) + 2)), *rest)
        for labels, *rest in paths
    ]
    again = [
        (tuple(label for label, run in itertools.groupby(labels) for _ in range(len(list(run)) + 3)), *rest)
        for labels, *rest in longer
    ]
    one, other = (attribution.markov(frame(table), order=order) for table in (longer, again))
    same(figures(one, "credit", "value"), figures(other, "credit", "value"))
    if order == 1:
        same(figures(attribution.markov(frame(paths)), "credit", "value"), figures(other, "credit", "value"))


# Laws of all models


@pytest.mark.parametrize("model", MODELS)
def test_credit_and_value_add_up_to_the_events(model):
    log = random_log(2)
    orders = [value or 0 for *_, event, _, value in log if event == "order"]
    for repeats, lookback in itertools.product(["reset", "overlap"], [None, "2 days"]):
        found = MODELS[model](touchpoints(log), repeats=repeats, lookback=lookback)
        assert found["credit"].sum() == pytest.approx(len(orders))
        assert found["value"].sum() == pytest.approx(sum(orders))
        assert found["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize("model", MODELS)
def test_the_order_of_rows_changes_nothing_and_a_shift_in_time_no_credit(model):
    log = random_log(6)
    mixed = [tuple(None if pd.isna(cell) else cell for cell in row) for row in shuffled(log)]
    later = [(user, at if at is None else at + 700, *rest) for user, at, *rest in mixed]
    one, other, third = (by_name(MODELS[model](touchpoints(rows))) for rows in (log, mixed, later))
    pd.testing.assert_frame_equal(one, other)
    # Groups of conversions without a person go by their time, so their limits may move.
    credit = ["channel", "credit", "share", "value"]
    pd.testing.assert_frame_equal(one[credit], third[credit])


@pytest.mark.parametrize("model", MODELS)
def test_as_many_persons_again_double_credit_and_value(model):
    log = [row for row in random_log(7) if row[0] is not None]
    twice = [*log, *((f"again {user}", *rest) for user, *rest in log)]
    options = [{"least": 4}, {"least": 8}] if model == "probabilistic" else [{}, {}]
    one, other = (
        MODELS[model](touchpoints(rows), **more).sort_values(["credit", "channel"], ignore_index=True)
        for rows, more in zip((log, twice), options, strict=True)
    )
    assert one["channel"].tolist() == other["channel"].tolist()
    np.testing.assert_allclose(other[["credit", "value"]], 2 * one[["credit", "value"]], atol=1e-6)


@pytest.mark.parametrize(
    "counting", [{}, {"lookback": None}, {"lookback": "5 days", "repeats": "overlap", "nulls": "persons"}]
)
@pytest.mark.parametrize("model", MODELS)
def test_events_and_the_paths_counted_from_them_say_the_same(model, counting):
    table = touchpoints(random_log(8, labels=["A", "B", "Paid Search", "Search", None]))
    one = by_name(MODELS[model](table, **counting))
    other = by_name(MODELS[model](journey.paths(table, **counting)))
    np.testing.assert_allclose(one[["credit", "share", "value"]], other[["credit", "share", "value"]], atol=1e-7)
    assert one["channel"].tolist() == other["channel"].tolist()


@pytest.mark.parametrize("model", MODELS)
def test_names_change_nothing_and_stay_what_they_are(model):
    names = {"A": "Paid Search", "B": "Search", "C": '\'; --\\ "Größe" 広告', "D": "a>b"}
    paths = random_paths(9)
    log = []
    for number, (labels, won, lost, value) in enumerate(paths):
        for person in range(won + lost):
            user = f"{number}/{person}"
            log += [(user, at, "visit", label, None) for at, label in enumerate(labels)]
            if person < won:
                log.append((user, len(labels), "order", None, value / won))
    renamed = [(user, at, event, names.get(label), value) for user, at, event, label, value in log]
    one, other = (MODELS[model](touchpoints(rows)) for rows in (log, renamed))
    one["channel"] = one["channel"].map(names).astype(object)
    other["channel"] = other["channel"].astype(object)
    pd.testing.assert_frame_equal(by_name(one), by_name(other))


@pytest.mark.parametrize("empty", [None, "", "  ", "(no touch)"])
@pytest.mark.parametrize("model", MODELS)
def test_an_empty_path_credits_no_channel_and_not_that_of_the_row_above(model, empty):
    """ChannelAttribution credits the channel of the row before."""
    rows = [("A > B", 4, 9, 40.0), (empty, 7, 0, 70.0), ("C", 2, 5, 10.0)]
    paths = pd.DataFrame(rows, columns=["path", "conversions", "nulls", "value"])
    without = MODELS[model](paths.drop(index=1))
    found = MODELS[model](paths)
    alone = found[found["channel"] == "(no touch)"]
    assert alone[["credit", "value"]].to_numpy().tolist() == [[7, 70]]
    rest, without = by_name(found[found["channel"] != "(no touch)"]), by_name(without)
    np.testing.assert_allclose(rest[["credit", "value"]], without[["credit", "value"]], atol=1e-7)


@pytest.mark.parametrize("model", MODELS)
def test_search_is_not_inside_paid_search(model):
    """DP6's models match "Search" inside "Paid Search"."""
    paths = frame([(("Paid Search",), 3, 50, 30), (("Search", "Email"), 0, 40, 0), (("Email",), 1, 60, 9)])
    found = MODELS[model](paths).groupby("channel")["credit"].sum()
    assert set(found.index) - {"Search"} == {"Paid Search", "Email"}
    if model == "shapley_rate":
        assert found["Search"] < 0
    elif not model.startswith("markov"):
        assert found.get("Search", 0) == 0 and found["Paid Search"] == pytest.approx(3)


@pytest.mark.parametrize("model", MODELS)
def test_a_path_split_into_several_rows_is_the_same_path(model):
    paths = random_paths(10)
    # A value belongs to conversions: of a path split in two, it goes with them.
    split = [
        (labels, part, other, value * part / won if won else 0)
        for labels, won, lost, value in paths
        for part, other in ((won // 2, lost // 2), (won - won // 2, lost - lost // 2))
    ]
    one, other = (by_name(MODELS[model](frame(rows))) for rows in (paths, split))
    np.testing.assert_allclose(one[["credit", "value"]], other[["credit", "value"]], atol=1e-7)


# Credit of touches


@pytest.mark.parametrize(
    "by", [["channel"], ["campaign"], ["date", "campaign"], ["channel", "campaign", "date", "device"]]
)
@pytest.mark.parametrize("model", ["last", "w_shaped", "markov", "markov_2", "shapley", "probabilistic"])
def test_credit_of_touches_adds_up_to_the_events_by_anything(model, by):
    table, conversions, value = marked(random_log(12))
    counting = {"lookback": "4 days", "repeats": "overlap"}
    whole = MODELS[model](table, **counting) if model in MODELS else model
    found = attribution.credit(table, model=whole, by=by, **counting)
    assert not found.duplicated(by).any()
    assert found["credit"].sum() == pytest.approx(conversions) and found["value"].sum() == pytest.approx(value)
    if by[0] == "channel" and model in MODELS:
        sums = found.groupby("channel").agg({"credit": "sum", "value": "sum", "unplaced": "first"})
        expected = whole.set_index("channel")["credit"].reindex(sums.index)
        np.testing.assert_allclose(sums["credit"] + sums["unplaced"], expected, atol=1e-4)


def test_credit_of_touches_under_shapley_is_an_equal_part_of_every_channel_and_of_each_of_its_touches():
    rows = [("u", 0, "visit", "A", None, "x"), ("u", DAY, "visit", "A", None, "y"), ("u", DAY, "visit", "B", None, "y")]
    rows += [("u", 2 * DAY, "order", None, 10, None)]
    table = events(rows, (*COLUMNS, "campaign"))
    found = attribution.credit(table, model=attribution.shapley(table), by=["channel", "campaign"])
    credit = found.set_index(["channel", "campaign"])["credit"].to_dict()
    assert credit == pytest.approx({("A", "x"): 0.25, ("A", "y"): 0.25, ("B", "y"): 0.5})
