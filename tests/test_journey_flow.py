"""Transitions, frequent journeys, flows, the step matrix and funnels agree to the person; times against brute force."""

import itertools
import math
import random
from collections import Counter, defaultdict
from datetime import date

import pandas as pd
import pytest
from _tables import ALL_WAYS, ENGINES, events, only, shuffled

from perfnb import funnel, journey
from perfnb.errors import BadParameter
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
DAY = 86_400
OWN = {"(start)", "(conversion)", "(end)"}
PERIOD = Period(date(2025, 1, 4), date(2025, 1, 12))


def random_log(seed, persons=60, span=14, orders=0.25, twice=True):
    """Touches and orders with ties; persons, times, events and channels that are null; orders twice at one instant."""
    dice = random.Random(seed)
    rows, ordered = [], set()
    for person in range(persons):
        for _ in range(dice.randint(1, 10)):
            user = None if dice.random() < 0.03 else f"p{person}"
            at = None if dice.random() < 0.03 else dice.randrange(span) * DAY
            label = dice.choice(["A", "B", "C", "Direct", None])
            if dice.random() < orders:
                if twice or user is None or (user, at) not in ordered:
                    ordered.add((user, at))
                    rows.append((user, at, "order", label, dice.choice([None, 10.5])))
            else:
                rows.append((user, at, dice.choice(["a", "b", "c", None]), label, None))
    return rows


LOG = random_log(3)


def by_hand(rows):
    """Independent: [person, touches as (time, label), time of the conversion or None] of every journey."""
    persons, found = defaultdict(list), []
    for user, at, event, channel, _ in rows:
        if user is None or at is None:
            found += [[None, [], at]] if event == "order" else []
        else:
            persons[user].append((at, event == "order", channel or "(unknown)"))
    for user, happened in persons.items():
        waiting = []
        for at, is_order, label in sorted(happened):
            if not is_order:
                waiting.append((at, label))
            elif not (found and found[-1][0] == user and found[-1][2] == at):
                found.append([user, waiting, at])
                waiting = []
        found += [[user, waiting, None]] if waiting else []
    return found


def merged(labels):
    return [label for label, _ in itertools.groupby(labels)]


def picked(values, share):
    """The row ⌈share · n⌉."""
    return sorted(values)[math.ceil(round(share * len(values), 9)) - 1]


# Against an independent count


@pytest.mark.parametrize("engine", ENGINES)
def test_transitions_persons_and_times_equal_every_journey_walked_on_its_own(engine):
    times, persons, lags = Counter(), defaultdict(set), defaultdict(list)
    for user, touches, end in by_hand(LOG):
        converted = end is not None or user is None
        stops = [(None, "(start)"), *touches, (end, "(conversion)" if converted else "(end)")]
        for (then, origin), (at, goal) in itertools.pairwise(stops):
            if origin != goal:
                times[origin, goal] += 1
                persons[origin, goal] |= {user} - {None}
                if origin != "(start)" and goal != "(end)":
                    lags[origin, goal].append(at - then)
    found = journey.transitions(events(LOG, COLUMNS, engine=engine))
    assert len(found) == len(times)
    for row in found.itertuples(index=False):
        pair = row[0], row[1]
        assert (row.transitions, row.persons) == (times[pair], len(persons[pair])), pair
        if pair in lags:
            middle, late = picked(lags[pair], 0.5), picked(lags[pair], 0.95)
            assert (row.median_seconds, row.q95_seconds) == (middle, late), pair
        else:
            assert math.isnan(row.median_seconds) and math.isnan(row.q95_seconds)
        into = sum(n for (_, goal), n in times.items() if goal == pair[1])
        assert math.isclose(row.share_in, row.transitions / into)


@pytest.mark.parametrize("engine", ENGINES)
def test_frequent_journeys_with_their_lengths_and_times_equal_a_count_by_hand(engine):
    lengths, lasted = defaultdict(list), defaultdict(list)
    for _, touches, end in by_hand(LOG):
        path = " > ".join(merged(label for _, label in touches)) or "(no touch)"
        lengths[path].append(len(touches))
        if touches:
            lasted[path].append(((touches[-1][0] if end is None else end) - touches[0][0]) / DAY)
    table = events(LOG, COLUMNS, engine=engine)
    whole = journey.frequent(table, top=10_000, depth=12)
    assert whole.set_index("path")["journeys"].to_dict() == {path: len(found) for path, found in lengths.items()}
    for row in whole.itertuples():
        assert math.isclose(row.length, sum(lengths[row.path]) / len(lengths[row.path]))
        assert row.path == "(no touch)" or math.isclose(row.median_days, picked(lasted[row.path], 0.5))
    assert math.isnan(only(whole, path="(no touch)")["median_days"])
    short = journey.frequent(table, top=3, depth=12)
    pd.testing.assert_frame_equal(short.iloc[:3], whole.iloc[:3])
    rest = set(lengths) - set(short["path"])
    other = only(short, path="(other)")
    assert math.isclose(other["median_days"], picked([days for path in rest for days in lasted[path]], 0.5))
    assert other["journeys"] == sum(len(lengths[path]) for path in rest)


def test_the_paths_that_are_equally_frequent_stand_in_order_whatever_the_order_of_rows():
    table, other = events(LOG, COLUMNS), events(list(shuffled(LOG)), COLUMNS)
    for count in (journey.transitions, journey.flows, lambda log: journey.frequent(log, top=7)):
        pd.testing.assert_frame_equal(count(table), count(other))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("steps", [1, 3])
def test_flows_equal_every_journey_walked_on_its_own(engine, steps):
    expected = Counter()
    for user, touches, end in by_hand(LOG):
        over = "(conversion)" if end is not None or user is None else "(end)"
        places = ["(start)", *merged(label for _, label in touches), over]
        for position, (origin, goal) in enumerate(itertools.pairwise(places[: steps + 2])):
            expected[position, origin, "(goes on)" if position == steps and goal not in OWN else goal] += 1
    found = journey.flows(events(LOG, COLUMNS, engine=engine), steps=steps)
    assert found.set_index(["position", "from", "to"])["journeys"].to_dict() == dict(expected)
    assert set(found["coverage"]) == {1}


def test_flows_gather_what_is_met_least_and_say_how_much_is_named():
    rows = [(f"p{k}", at, "visit", label, None) for k in range(4) for at, label in enumerate("AB"[: 1 + k % 2] + "C")]
    found = journey.flows(events(rows, COLUMNS), top=2)
    assert set(found["from"]) | set(found["to"]) == {"(start)", "A", "C", "(other)", "(end)"}
    named = found[(found["from"] != "(other)") & (found["to"] != "(other)")]["journeys"].sum()
    assert (named, found["journeys"].sum()) == (10, 14) and set(found["coverage"]) == {10 / 14}
    with pytest.raises(BadParameter, match="steps 0"):
        journey.flows(events(rows, COLUMNS), steps=0)


# Reconciliation


@pytest.mark.parametrize(
    "counting", [{}, {"lookback": "3 days"}, {"repeats": "overlap", "lookback": "5 days"}], ids=str
)
def test_the_same_journeys_leave_the_start_of_every_table(counting):
    table = events(LOG, COLUMNS)
    hops = journey.transitions(table, **counting)
    paths = journey.frequent(table, **counting)
    flows = journey.flows(table, steps=3, top=99, **counting)
    matrix = journey.step_matrix(table, after=3, **counting)
    retained = journey.retention(table, depth=1, **counting)
    out, into = (hops.groupby(side)["transitions"].sum() for side in ("from", "to"))
    journeys = paths["journeys"].sum()
    assert out["(start)"] == journeys == flows.loc[flows["position"] == 0, "journeys"].sum()
    assert set(matrix["aligned"]) == {journeys} and retained["journeys"][0] == journeys
    assert into["(conversion)"] == paths["converted"].sum()
    assert into["(end)"] == journeys - paths["converted"].sum()
    assert paths["conversions"].sum() == sum(event == "order" for _, _, event, *_ in LOG)
    touchpoints = (set(hops["from"]) | set(hops["to"])) - OWN
    assert {name: out[name] for name in touchpoints} == {name: into[name] for name in touchpoints}
    for position in (1, 2, 3):
        left = flows[flows["position"] == position].groupby("from")["journeys"].sum()
        came = (
            flows[(flows["position"] == position - 1) & flows["to"].isin(touchpoints)].groupby("to")["journeys"].sum()
        )
        there = matrix[(matrix["step"] == position) & matrix["touchpoint"].isin(touchpoints) & (matrix["journeys"] > 0)]
        assert left.to_dict() == came.to_dict() == there.set_index("touchpoint")["journeys"].to_dict()
    whole = journey.flows(table, steps=12, top=99, **counting)
    sums = whole.groupby(["from", "to"])["journeys"].sum()
    assert sums.to_dict() == hops.set_index(["from", "to"])["transitions"].to_dict()


@pytest.mark.parametrize("period", [None, PERIOD], ids=["all", "period"])
def test_transitions_and_flows_are_those_of_the_paths_in_every_way_of_counting(period):
    table = events(random_log(8, persons=40, twice=False), COLUMNS)
    for counting in ALL_WAYS if period is None else ALL_WAYS[::2]:
        counting = counting | {"lookback": "4 days", "period": period}
        expected, journeys = Counter(), Counter()
        for row in journey.paths(table, transform="exposure", **counting).itertuples():
            labels = [] if row.path == "(no touch)" else row.path.split(" > ")
            for over, n in (("(conversion)", row.conversions), ("(end)", row.nulls)):
                journeys[row.path] += n
                for pair in itertools.pairwise(["(start)", *labels, over]):
                    expected[pair] += n
        hops = journey.transitions(table, **counting)
        assert hops.set_index(["from", "to"])["transitions"].to_dict() == dict(+expected), counting
        sums = journey.flows(table, steps=12, top=99, **counting).groupby(["from", "to"])["journeys"].sum()
        assert sums.to_dict() == dict(+expected), counting
        found = journey.frequent(table, top=999, depth=12, **counting)
        assert found.set_index("path")["journeys"].to_dict() == dict(+journeys), counting
        start = journey.step_matrix(table, after=12, **counting).query("journeys > 0 and step == 1")
        first = {goal: n for (origin, goal), n in (+expected).items() if origin == "(start)"}
        assert start.set_index("touchpoint")["journeys"].to_dict() == first, counting


@pytest.mark.parametrize("engine", ENGINES)
def test_a_funnel_of_one_event_directly_after_another_has_the_persons_of_that_transition(engine):
    """Every event a touch: at equal times both stand in the order of their names; repeats of a change nothing."""
    log = [(user, at, event or "d", *rest) for user, at, event, *rest in random_log(5, persons=150, span=6)]
    table = events(log, COLUMNS, engine=engine)
    hops = journey.transitions(table, touchpoint="event", conversion="none such").set_index(["from", "to"])
    pairs = list(itertools.permutations(["a", "b", "c", "order"], 2))
    for a, b in pairs if engine == "duckdb" else pairs[:2]:
        found = funnel.steps(table, [a, b], order="adjacent", within=None)
        assert found["units"].tolist()[1] == hops["persons"].get((a, b), 0) > 0


def test_a_conversion_directly_after_a_touch_is_a_funnel_of_the_two():
    """Where the conversion's name sorts after those of the touches, as it stands after them at one instant."""
    log = [(user, at, event or "d", *rest) for user, at, event, *rest in random_log(6, persons=150, span=6)]
    table = events(log, COLUMNS)
    hops = journey.transitions(table, touchpoint="event").set_index(["from", "to"])["persons"]
    for touch in "abcd":
        found = funnel.steps(table, [touch, "order"], order="adjacent", within=None)
        assert found["units"].tolist()[1] == hops[touch, "(conversion)"] > 0


def test_persons_who_begin_a_journey_are_a_funnel_of_one_step():
    """All touches one touchpoint: a journey each person with a touch begins."""
    one = [(*row[:3], "x", row[4]) for row in LOG]
    table = events(one, COLUMNS)
    names = {"a", "b", "c"}
    hops = journey.transitions(table, events=sorted(names))
    touched = funnel.steps(table, [sorted(names)], within=None)
    persons = {user for user, at, event, *_ in LOG if user and at is not None and event in names}
    assert only(hops, **{"from": "(start)", "to": "x"})["persons"] == touched["units"][0] == len(persons)
    bought = funnel.steps(table, [sorted(names), "order"], within=None)
    # Under ties "distinct" a touch at the order's own instant came before it, in both.
    assert only(hops, **{"from": "x", "to": "(conversion)"})["persons"] == bought["units"][1]


def test_persons_of_a_transition_are_at_most_its_times_and_at_least_those_of_one_journey():
    hops = journey.transitions(events(LOG, COLUMNS), touchpoint="channel")
    known = hops[(hops["from"] != "(start)") | (hops["to"] != "(conversion)")]
    assert (known["persons"] <= known["transitions"]).all() and (known["persons"] > 0).all()
    over = hops[hops["to"] == "(end)"]
    assert (over["persons"] == over["transitions"]).all()
    assert (hops["median_seconds"].dropna() <= hops["q95_seconds"].dropna()).all()


# By hand


def test_five_rows_by_hand():
    rows = [
        ("u", 0, "visit", "A", None),
        ("u", 10, "visit", "A", None),
        ("u", 40, "visit", "B", None),
        ("u", 100, "order", None, 5),
        ("v", 7, "visit", "A", None),
    ]
    table = events(rows, COLUMNS)
    hops = journey.transitions(table).set_index(["from", "to"])
    assert hops["transitions"].to_dict() == {
        ("(start)", "A"): 2, ("A", "B"): 1, ("A", "(end)"): 1, ("B", "(conversion)"): 1,
    }  # fmt: skip
    # From the last of the direct repeats to B.
    assert hops["median_seconds"]["A", "B"] == 30 and hops["q95_seconds"]["B", "(conversion)"] == 60
    paths = journey.frequent(table).set_index("path")
    assert paths["length"].to_dict() == {"A": 1, "A > B": 3}
    assert paths["median_days"].to_dict() == {"A": 0, "A > B": 100 / DAY}


def test_the_times_of_four_ways_are_the_second_and_the_fourth():
    rows = []
    for k, lag in enumerate([1, 5, 9, 100]):
        rows += [(f"p{k}", 0, "visit", "A", None), (f"p{k}", lag, "visit", "B", None)]
    row = only(journey.transitions(events(rows, COLUMNS)), **{"from": "A", "to": "B"})
    assert (row["median_seconds"], row["q95_seconds"], row["share_in"]) == (5, 100, 1)


def test_journeys_without_a_touch_among_the_others_do_not_shorten_their_time():
    rows = [(f"p{k}", 0, "visit", "A", None) for k in range(3)] + [("q", 0, "visit", "B", None)]
    rows += [("q", DAY, "order", None, 1), ("r", 5, "order", None, 1), (None, 5, "order", None, 1)]
    other = only(journey.frequent(events(rows, COLUMNS), top=1), path="(other)")
    assert other[["journeys", "converted", "median_days"]].tolist() == [3, 3, 1]
    assert math.isclose(other["length"], 1 / 3)


def test_without_events_nothing_flows():
    table = events([("u", None, "visit", "A", None)], COLUMNS)
    assert journey.flows(table).empty and journey.transitions(table).empty and journey.frequent(table).empty
    alone = events([(None, 1, "order", "A", 3), ("u", None, "order", "A", 4)], COLUMNS)
    assert journey.flows(alone)[["position", "from", "to", "journeys"]].to_numpy().tolist() == [
        [0, "(start)", "(conversion)", 2]
    ]
    assert journey.transitions(alone)[["transitions", "persons"]].to_numpy().tolist() == [[2, 0]]


def test_names_from_data_stay_text_in_flows():
    names = ["'; DROP TABLE x; --", 'Größe "x"', "(goes on)"]
    rows = [("u", at, "visit", name, None) for at, name in enumerate(names)]
    assert set(journey.flows(events(rows, COLUMNS))["from"]) >= set(names[:2])


# Times between stages


@pytest.mark.parametrize("engine", ENGINES)
def test_times_between_stages_are_from_first_event_to_first_event(engine):
    stages = {"a": "reach", "b": "interaction", "order": "transaction"}
    first = {}
    for user, at, event, *_ in LOG:
        if user and at is not None and event in stages:
            first[user, stages[event]] = min(at, first.get((user, stages[event]), at))
    found = journey.stages(events(LOG, COLUMNS, engine=engine), stages=stages)
    assert found["timed"].isna().tolist()[0] and math.isnan(found["median_days"][0])
    for before, row in zip(journey.STAGES, list(found.itertuples())[1:3], strict=False):
        pairs = [(first.get((user, before)), at) for (user, stage), at in first.items() if stage == row.stage]
        lags = [(at - then) / DAY for then, at in pairs if then is not None and at >= then]
        assert row.timed == len(lags) > 0
        assert (row.median_days, row.q95_days) == (picked(lags, 0.5), picked(lags, 0.95))


def test_a_stage_that_nobody_reached_after_the_one_before_has_no_time():
    rows = [("u", 5, "a", "A", None), ("u", 1, "b", "A", None), ("v", None, "b", "A", None)]
    found = journey.stages(events(rows, COLUMNS), stages={"a": "reach", "b": "interaction"})
    assert found["timed"].tolist()[1:3] == [0, 0] and found[["median_days", "q95_days"]].isna().all(axis=None)
