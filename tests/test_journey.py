"""Journeys: conservation against the events, independent counts in pandas, ties, and tables of five rows."""

import itertools
import math
import random
from collections import Counter

import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, book, events, only, shared, shuffled

from perfnb import journey, workspace
from perfnb.errors import BadParameter, MissingColumns

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
DAY = 86_400


def random_log(persons, seed, span=12, orders=0.25):
    """Touches and orders with ties, persons and channels that are null, orders without a value."""
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 8)):
            order = dice.random() < orders
            user = None if dice.random() < 0.03 else f"p{person}"
            value = dice.choice([None, 10.5, 20.25]) if order else None
            event = "order" if order else dice.choice(["visit", "visit", "view"])
            rows.append((user, dice.randrange(span), event, dice.choice(["A", "B", "C", None]), value))
    return rows


def by_hand(rows, *, touches=("visit", "view"), lookback=None):
    """Independent: (labels, number of conversions, value) of every journey, walking each person's events in order."""
    persons, found = {}, []
    for user, at, event, label, value in rows:
        if user is None or at is None:
            if event == "order":
                found.append((("(no touch)",), 1, value))
            continue
        persons.setdefault(user, []).append((at, event, label or "(unknown)", value))
    for happened in persons.values():
        open_touches = []
        for at in sorted({row[0] for row in happened}):
            now = [row for row in happened if row[0] == at]
            open_touches += sorted((at, label) for _, event, label, _ in now if event in touches)
            orders = [value for _, event, _, value in now if event == "order"]
            if orders:
                seen = [label for then, label in open_touches if lookback is None or at - then <= lookback]
                known = [value for value in orders if value is not None]
                found.append((tuple(seen) or ("(no touch)",), len(orders), sum(known) if known else None))
                open_touches = []
        if open_touches:
            found.append((tuple(label for _, label in open_touches), 0, None))
    return found


def merged(labels):
    return tuple(label for place, label in enumerate(labels) if not place or labels[place - 1] != label)


LOG = random_log(150, seed=7)


@pytest.mark.parametrize("engine", ENGINES)
def test_paths_equal_a_count_by_hand(engine):
    expected = {}
    for labels, conversions, value in by_hand(LOG):
        row = expected.setdefault(" > ".join(merged(labels)), [0, 0, 0, 0.0])
        row[0] += 1
        row[1] += conversions > 0
        row[2] += conversions
        row[3] += value or 0.0
    paths = journey.frequent(events(LOG, COLUMNS, engine=engine), top=10_000, depth=20)
    found = paths.fillna({"value": 0.0}).set_index("path")[["journeys", "converted", "conversions", "value"]]
    assert found.T.to_dict("list") == expected


@pytest.mark.parametrize("lookback", [None, 0, 1, 3])
def test_journeys_conversions_and_value_add_up_whatever_the_lookback(lookback):
    text = None if lookback is None else f"{lookback} seconds"
    expected = by_hand(LOG, lookback=lookback)
    for top, depth in ((1, 1), (3, 2), (1000, 6)):
        paths = journey.frequent(events(LOG, COLUMNS), lookback=text, top=top, depth=depth)
        assert paths["journeys"].sum() == len(expected)
        assert paths["conversions"].sum() == sum(event == "order" for _, _, event, _, _ in LOG)
        assert paths["value"].sum() == sum(value for *_, value in LOG if value)
        assert paths["converted"].sum() == sum(conversions > 0 for _, conversions, _ in expected)
        assert math.isclose(paths["share"].sum(), 1) and math.isclose(paths["cumulative_share"].iloc[-1], 1)
    untouched = sum(conversions for labels, conversions, _ in expected if labels == ("(no touch)",))
    assert only(paths, path="(no touch)")["conversions"] == untouched > 0


def test_transitions_equal_a_count_by_hand():
    expected = Counter()
    for labels, conversions, _ in by_hand(LOG):
        if labels == ("(no touch)",):
            expected["(start)", "(conversion)"] += 1
            continue
        places = ["(start)", *merged(labels), "(conversion)" if conversions else "(end)"]
        expected.update(itertools.pairwise(places))
    found = journey.transitions(events(LOG, COLUMNS))
    assert found.set_index(["from", "to"])["transitions"].to_dict() == dict(expected)
    assert found.groupby("from")["share_out"].sum().round(12).eq(1).all()


def test_out_of_the_start_leave_all_journeys_and_into_each_touchpoint_go_as_many_as_leave():
    table = events(LOG, COLUMNS)
    found = journey.transitions(table, lookback="2 seconds")
    out, into = found.groupby("from")["transitions"].sum(), found.groupby("to")["transitions"].sum()
    paths = journey.frequent(table, lookback="2 seconds")
    assert out["(start)"] == paths["journeys"].sum()
    assert into["(conversion)"] == paths["converted"].sum()
    assert into["(conversion)"] + into["(end)"] == out["(start)"]
    for label in ("A", "B", "C", "(unknown)"):
        assert out[label] == into[label] > 0


def test_the_order_of_rows_changes_nothing():
    other = events(list(shuffled(LOG)), COLUMNS)
    for count in (journey.frequent, journey.transitions):
        pd.testing.assert_frame_equal(count(events(LOG, COLUMNS)), count(other))


def test_shifting_all_times_changes_nothing_and_twins_double_the_counts():
    later = [(user, at + 500 * DAY, *rest) for user, at, *rest in LOG]
    twins = LOG + [(user and f"twin {user}", *rest) for user, *rest in LOG]
    one = journey.transitions(events(LOG, COLUMNS))
    pd.testing.assert_frame_equal(one, journey.transitions(events(later, COLUMNS)))
    two = journey.transitions(events(twins, COLUMNS))
    assert (2 * one["transitions"]).equals(two["transitions"])


# Tables of five rows


def test_two_conversions_at_one_instant_end_one_journey_with_both_values():
    rows = [("u", 0, "visit", "A", None), ("u", 9, "order", "A", 10), ("u", 9, "order", "A", 5)]
    path = only(journey.frequent(events(rows, COLUMNS)), path="A")
    assert (path["journeys"], path["converted"], path["conversions"], path["value"]) == (1, 1, 2, 15)


def test_a_touch_at_the_instant_of_a_conversion_leads_to_it_and_ties_stand_by_label():
    rows = [("u", 5, "order", "x", 1), ("u", 5, "visit", "B", None), ("u", 5, "visit", "A", None)]
    assert journey.frequent(events(rows, COLUMNS))["path"].tolist() == ["A > B"]


def test_a_second_conversion_without_a_touch_between_has_no_touch():
    rows = [("u", 0, "visit", "A", None), ("u", 1, "order", "A", 10), ("u", 2, "order", "A", 7)]
    paths = journey.frequent(events(rows, COLUMNS))
    assert only(paths, path="A")["value"] == 10
    assert only(paths, path="(no touch)")[["journeys", "conversions", "value"]].tolist() == [1, 1, 7]


def test_conversions_without_person_or_time_have_no_touch_and_keep_their_value():
    rows = [(None, 1, "order", "A", 3), ("u", None, "order", "A", 4), ("u", 0, "visit", "A", None)]
    paths = journey.frequent(events(rows, COLUMNS))
    assert only(paths, path="(no touch)")[["journeys", "conversions", "value"]].tolist() == [2, 2, 7]
    assert only(paths, path="A")[["journeys", "conversions"]].tolist() == [1, 0]


def test_touches_after_the_last_conversion_are_a_journey_without_one():
    rows = [("u", 0, "visit", "A", None), ("u", 1, "order", "A", 1), ("u", 2, "visit", "B", None)]
    assert journey.frequent(events(rows, COLUMNS)).set_index("path")["converted"].to_dict() == {"A": 1, "B": 0}


def test_the_lookback_includes_its_last_moment_and_leaves_journeys_without_conversion_alone():
    rows = [
        ("u", 0, "visit", "old", None),
        ("u", 1, "visit", "just in", None),
        ("u", 11, "order", "x", 1),
        ("v", 0, "visit", "no order", None),
        ("v", 500, "visit", "ever", None),
    ]
    paths = journey.frequent(events(rows, COLUMNS), lookback="10 seconds")
    assert set(paths["path"]) == {"just in", "no order > ever"}


def test_an_event_without_a_name_is_a_touch_too():
    rows = [("u", 0, None, "A", None), ("u", 1, "order", "B", 10)]
    assert journey.frequent(events(rows, COLUMNS))["path"].tolist() == ["A"]


def test_events_choose_the_touches_and_refuse_the_conversion_and_a_bare_text():
    rows = [("u", 0, "visit", "A", None), ("u", 1, "view", "B", None), ("u", 2, "order", "C", 1)]
    table = events(rows, COLUMNS)
    assert journey.frequent(table, events=["view"])["path"].tolist() == ["B"]
    with pytest.raises(BadParameter, match="hold the conversion 'order'"):
        journey.frequent(table, events=["visit", "order"])
    with pytest.raises(BadParameter, match="list of event names"):
        journey.frequent(table, events="visit")


def test_a_path_longer_than_depth_ends_in_an_ellipsis_and_merges_direct_repeats_first():
    rows = [("u", at, "visit", label, None) for at, label in enumerate("AABBBCA")]
    rows += [("v", at, "visit", label, None) for at, label in enumerate("AB")]
    table = events(rows, COLUMNS)
    assert journey.frequent(table)["path"].tolist() == ["A > B", "A > B > C > A"]
    short = journey.frequent(table, depth=2)
    assert short.set_index("path")["journeys"].to_dict() == {"A > B": 1, "A > B > …": 1}


def test_names_from_data_stay_text():
    names = ["'; DROP TABLE x; --", 'Größe "x"', "a\\b"]
    rows = [("u", at, "visit", name, None) for at, name in enumerate(names)] + [("u", 9, "o'r\\d", "x", 2)]
    assert journey.frequent(events(rows, COLUMNS), conversion="o'r\\d")["path"].tolist() == [" > ".join(names)]


@pytest.mark.parametrize("rows", [[], [("u", 0, "visit", "A", None)]])
def test_without_conversions_nothing_converts(rows):
    table = events([*rows, ("w", None, "visit", "A", None)], COLUMNS)
    paths, transitions = journey.frequent(table), journey.transitions(table)
    ends = journey.ends(transitions)
    assert paths["journeys"].sum() == len(rows) and paths["conversions"].sum() == 0
    assert ends["ended"].sum() == len(rows) and ends["converted"].sum() == 0


def test_ends_are_the_transitions_into_the_end_with_all_visits_as_denominator():
    table = events(LOG, COLUMNS)
    transitions = journey.transitions(table)
    ends = journey.ends(transitions)
    into = transitions.groupby("to")["transitions"].sum()
    assert ends["ended"].sum() == into["(end)"]
    untouched = only(transitions, **{"from": "(start)", "to": "(conversion)"})["transitions"]
    assert ends["converted"].sum() == into["(conversion)"] - untouched
    assert ends.set_index("touchpoint")["passed"].to_dict() == into.drop(["(end)", "(conversion)"]).to_dict()
    assert (ends["rate"] == ends["ended"] / ends["passed"]).all() and math.isclose(ends["share"].sum(), 1)


# Stages and contacts

STAGES = {"visit": "reach", "view": "interaction", "order": "transaction"}


def test_stages_fall_and_with_no_stage_add_up_to_all_persons_and_events():
    rows = [*LOG, ("stray", 1, "newsletter", "A", None), ("p1", 1, "newsletter", "A", None)]
    found = journey.stages(events(rows, COLUMNS), stages=STAGES)
    units = found["units"].tolist()
    assert units[:3] == sorted(units[:3], reverse=True)
    persons = {user for user, *_ in rows if user}
    assert units[0] + units[3] == len(persons) and units[3] == 1
    assert found["events"].sum() == sum(user is not None for user, *_ in rows)
    for row in found.itertuples():
        events_of = [name for name, stage in STAGES.items() if stage == row.stage] or ["newsletter"]
        assert row.observed == len({user for user, _, event, *_ in rows if user and event in events_of})
    assert found["dropped"].tolist()[1:3] == [units[0] - units[1], units[1] - units[2]]
    assert found["rate"].tolist()[1] == units[1] / units[0]


def test_events_without_a_stage_are_named_even_where_every_person_has_one():
    rows = [("u", 0, "visit", "A", None), ("u", 1, "newsletter", "A", None), ("u", 2, "newsletter", "A", None)]
    row = only(journey.stages(events(rows, COLUMNS), stages=STAGES), stage="(no stage)")
    assert (row["units"], row["observed"], row["events"]) == (0, 1, 2)


def test_a_person_counts_at_every_stage_up_to_the_furthest():
    rows = [("u", 0, "order", "A", 1), ("v", 0, "visit", "A", None)]
    found = journey.stages(events(rows, COLUMNS), stages=STAGES)
    assert found["units"].tolist() == [2, 1, 1]
    assert found["observed"].tolist() == [1, 0, 1]


def test_the_column_stage_says_the_stage_and_an_unknown_one_is_none():
    rows = [("u", 0, "visit", "reach"), ("v", 0, "visit", "Reach!"), ("w", 0, "visit", None)]
    found = journey.stages(events(rows, ("user_id", "timestamp", "event", "stage")))
    assert found.set_index("stage")["units"].to_dict() == {
        "reach": 1,
        "interaction": 0,
        "transaction": 0,
        "(no stage)": 2,
    }


def test_wrong_or_missing_stages_are_named():
    table = events([("u", 0, "visit", "A")])
    with pytest.raises(BadParameter, match="'buy' is no stage"):
        journey.stages(table, stages={"order": "buy"})
    with pytest.raises(MissingColumns, match="no column stage"):
        journey.stages(table)


def test_contacts_count_every_event_of_a_person_once():
    found = journey.contacts(events(LOG, COLUMNS), stages=STAGES)
    assert found["contacts"].sum() == sum(user is not None for user, *_ in LOG)
    row = only(found, stage="interaction", touchpoint="(unknown)")
    persons = {user for user, _, event, channel, _ in LOG if user and event == "view" and channel is None}
    assert (row["units"], row["share"]) == (len(persons), len(persons) / len({user for user, *_ in LOG if user}))


# Satisfaction


def surveys(rows):
    frame = pd.DataFrame(rows, columns=["user_id", "touchpoint", "score", "scale"])
    return book(surveys=frame).surveys


def test_the_mean_is_over_persons_with_student_quantile_2_045_for_29_degrees():
    rows = [(f"u{k}", "checkout", 1 + k % 5, "satisfaction") for k in range(30)]
    rows += [("u0", "checkout", 5, "satisfaction")]  # u0 answers 1 and 5: 3 in the mean
    rows += [("u0", "checkout", 10, "nps")]
    found = only(journey.satisfaction(surveys(rows)), touchpoint="checkout")
    scores = pd.Series([3 if k == 0 else 1 + k % 5 for k in range(30)])
    assert (found["answers"], found["n"], found["small_n"]) == (31, 30, False)
    assert math.isclose(found["mean"], scores.mean())
    half = 2.0452 * scores.std() / 30**0.5  # t(0.975; 29), as printed in statistical tables
    assert math.isclose(found["high"] - found["mean"], half, rel_tol=1e-4)
    assert math.isclose(found["mean"] - found["low"], half, rel_tol=1e-4)


def test_fewer_than_30_persons_are_withheld_but_counted():
    rows = [(f"u{k}", "cart", 3, "satisfaction") for k in range(29)] + [("u1", "cart", 4, "satisfaction")]
    found = only(journey.satisfaction(surveys(rows)), touchpoint="cart")
    assert found["small_n"] and (found["answers"], found["n"]) == (30, 29)
    assert found[["mean", "low", "high"]].isna().all()


def test_answers_without_a_touchpoint_stand_in_unknown_and_scales_are_not_mixed():
    rows = [("u", None, 2, "satisfaction"), ("v", "cart", 9, "nps"), ("w", "cart", None, "nps")]
    assert journey.satisfaction(surveys(rows))["touchpoint"].tolist() == ["(unknown)"]
    found = journey.satisfaction(surveys(rows), scale="nps")
    assert found[["touchpoint", "answers", "n"]].to_numpy().tolist() == [["cart", 1, 1]]
    with pytest.raises(BadParameter, match="satisfaction or nps"):
        journey.satisfaction(surveys(rows), scale="stars")


def test_an_absent_table_of_surveys_has_no_touchpoints():
    frame = pd.DataFrame({"user_id": ["u"], "timestamp": [pd.Timestamp("2025-01-01")], "event": ["visit"]})
    assert journey.satisfaction(book(optional=["surveys"], touchpoints=frame).surveys).empty


# Money, and logs made by others


def test_amounts_in_two_currencies_are_refused():
    rows = [("u", 0, "visit", "A", None, None), ("u", 1, "order", "A", 1, "EUR"), ("v", 1, "order", "A", 1, "USD")]
    table = events(rows, (*COLUMNS, "currency"))
    with pytest.raises(BadParameter, match="EUR, USD"):
        journey.frequent(table)
    one = events([row for row in rows if row[5] != "USD"], (*COLUMNS, "currency"))
    assert set(journey.frequent(one)["currency"]) == {"EUR"}


def test_without_a_value_column_value_is_null_not_zero():
    table = events([("u", 0, "visit", "A"), ("u", 1, "order", "A")])
    paths = journey.frequent(table)
    assert paths["conversions"].sum() == 1 and paths["value"].isna().all() and paths["currency"].isna().all()


def test_otto_log_has_its_52_carts_and_10_orders_and_ties_of_several_articles():
    frame = pd.read_csv(shared("data/journeys/otto_events.csv"))
    frame["timestamp"] = pd.to_datetime(frame["ts"], unit="ms")
    frame = frame.rename(columns={"session": "user_id", "type": "event"})
    table = book(touchpoints=frame).touchpoints
    paths = journey.frequent(table, conversion="orders", touchpoint="event")
    instants = frame[frame["event"] == "orders"].drop_duplicates(["user_id", "timestamp"])
    assert paths["conversions"].sum() == 10
    assert paths["converted"].sum() == len(instants) < 10
    contacts = journey.contacts(table, touchpoint="event", stages={"clicks": "interaction"})
    assert contacts.set_index("touchpoint")["contacts"].to_dict() == {"clicks": 800, "carts": 52, "orders": 10}


@pytest.mark.skipif(not SAMPLES.exists(), reason="no data_samples")
def test_the_samples_add_up_to_their_own_file():
    frame = pd.read_csv(SAMPLES / "touchpoints.csv")
    orders = frame[frame["event"] == "order"]
    table = workspace.open(SAMPLES).touchpoints
    paths = journey.frequent(table, events=["visit"], lookback="30 days")
    assert paths["conversions"].sum() == len(orders)
    assert math.isclose(paths["value"].sum(), orders["value"].sum())
    assert journey.stages(table)["units"].iloc[0] == frame["user_id"].nunique()
