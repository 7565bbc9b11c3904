"""Step matrix, loops, retention and sessions: brute force on random logs, and totals that agree with transitions."""

import itertools
import math
import random
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, SPARK, book, events, only, shared, shuffled
from _tables import no_spark as without_spark

from perfnb import workspace
from perfnb.errors import BadParameter, MissingColumns
from perfnb.intervals import clustered
from perfnb.journey.flow import ends, frequent, transitions
from perfnb.journey.matrix import loops, matrix_difference, retention, step_matrix, two_groups
from perfnb.journey.sessions import sessions, with_sessions
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value", "device")
HOUR = 3600


def random_log(persons, seed, span=12, orders=0.25):
    """Touches and orders with ties, whole rows that repeat, persons, times and channels that are null."""
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 9)):
            order = dice.random() < orders
            user = None if dice.random() < 0.03 else f"p{person}"
            at = None if dice.random() < 0.02 else dice.randrange(span)
            event = "order" if order else dice.choice(["visit", "visit", "view"])
            rows.append((user, at, event, dice.choice(["A", "B", "C", None]), 1 if order else None, dice.choice("xyy")))
    return rows + rows[:5]


def by_hand(rows):
    """Independent: [person, touches as (label, time, device), converted] of every journey."""
    persons, found = {}, []
    for user, at, event, channel, _, device in rows:
        if user is None or at is None:
            if event == "order":
                found.append([None, [], True])
            continue
        persons.setdefault(user, []).append((at, channel or "(unknown)", device, event == "order"))
    for user, happened in persons.items():
        waiting = []
        for at in sorted({row[0] for row in happened}):
            now = [row for row in happened if row[0] == at]
            waiting += sorted((label, at, device) for _, label, device, order in now if not order)
            if any(order for *_, order in now):
                found.append([user, waiting, True])
                waiting = []
        if waiting:
            found.append([user, waiting, False])
    return found


LOG = random_log(150, seed=11)
JOURNEYS = by_hand(LOG)


def runs(touches):
    """The touches without direct repeats: [label, devices in it]."""
    found = []
    for label, _, device in touches:
        if found and found[-1][0] == label:
            found[-1][1].add(device)
        else:
            found.append([label, {device}])
    return found


def expected_matrix(journeys, steps, origin):
    """Independent: {step: Counter of where journeys are}, each walked on its own. `origin`: place of step 0 or None."""
    found = {step: Counter() for step in steps}
    for _, touches, converted in journeys:
        places = runs(touches)
        zero = origin(places)
        if zero is None:
            continue
        for step in steps:
            place = zero + step
            if place < 0:
                found[step]["(start)"] += 1
            elif place < len(places):
                found[step][places[place][0]] += 1
            else:
                found[step]["(conversion)" if converted else "(end)"] += 1
    return found


def first(places, fits):
    return next((k for k, place in enumerate(places) if fits(place)), None)


ANCHORS = [
    ("(start)", "first", range(1, 5), lambda places: -1),
    ("(end)", "first", range(-2, 1), len),
    ("B", "first", range(-2, 5), lambda places: first(places, lambda place: place[0] == "B")),
    (
        "B",
        "last",
        range(-2, 5),
        lambda places: max((k for k, place in enumerate(places) if place[0] == "B"), default=None),
    ),
    ({"device": "x"}, "first", range(-2, 5), lambda places: first(places, lambda place: "x" in place[1])),
    (
        {"device": "x"},
        "last",
        range(-2, 5),
        lambda places: max((k for k, place in enumerate(places) if "x" in place[1]), default=None),
    ),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("anchor", "occurrence", "steps", "origin"), ANCHORS)
def test_the_step_matrix_equals_every_journey_walked_on_its_own(engine, anchor, occurrence, steps, origin):
    table = events(LOG, COLUMNS, engine=engine)
    found = step_matrix(table, anchor=anchor, occurrence=occurrence, before=2, after=4)
    expected = expected_matrix(JOURNEYS, steps, origin)
    cells = found[found["journeys"] > 0].set_index(["step", "touchpoint"])["journeys"].to_dict()
    assert cells == {(step, name): n for step, row in expected.items() for name, n in row.items()}
    aligned = sum(origin(runs(touches)) is not None for _, touches, _ in JOURNEYS)
    assert set(found["aligned"]) == {aligned} and set(found.groupby("step")["journeys"].sum()) == {aligned}
    assert np.allclose(found["aligned_share"], aligned / len(JOURNEYS))
    assert np.allclose(found.groupby("step")["share"].sum(), 1)
    assert (found["low"] <= found["share"] + 1e-12).all() and (found["share"] <= found["high"] + 1e-12).all()


def test_a_touchpoint_where_no_journey_ever_is_has_no_row():
    """A past bug: from their first step on nobody is at the start, and the chart had an empty row for it."""
    found = step_matrix(events(LOG, COLUMNS))
    assert (found.groupby("touchpoint")["journeys"].sum() > 0).all() and "(start)" not in set(found["touchpoint"])


@pytest.mark.parametrize("lookback", [None, "2 seconds"])
def test_the_step_matrix_agrees_with_transitions_and_frequent_journeys(lookback):
    table = events(LOG, COLUMNS)
    start = step_matrix(table, lookback=lookback, after=1)
    hops = transitions(table, lookback=lookback)
    out = hops[hops["from"] == "(start)"].set_index("to")["transitions"]
    at_one = start[start["journeys"] > 0].set_index("touchpoint")["journeys"]
    assert at_one.to_dict() == out.to_dict()
    assert start["aligned"].iloc[0] == frequent(table, lookback=lookback)["journeys"].sum()
    end = step_matrix(table, anchor="(end)", lookback=lookback, before=1)
    over = hops[hops["to"].isin(["(conversion)", "(end)"])]
    assert (
        only(end, step=0, touchpoint="(conversion)")["journeys"]
        == over.loc[over["to"] == "(conversion)", "transitions"].sum()
    )
    last = over.groupby("from")["transitions"].sum()
    at_last = end[(end["step"] == -1) & (end["journeys"] > 0)].set_index("touchpoint")["journeys"]
    assert at_last.to_dict() == last.to_dict()


def test_the_order_of_rows_changes_nothing():
    table, other = events(LOG, COLUMNS), events(list(shuffled(LOG)), COLUMNS)
    for count in (
        lambda log: step_matrix(log, anchor={"device": "x"}, by="device"),
        loops,
        retention,
        lambda log: sessions(log, timeout="1 second"),
    ):
        pd.testing.assert_frame_equal(count(table), count(other))


def test_groups_share_no_person_and_add_up_to_the_whole():
    table = events(LOG, COLUMNS)
    whole, parts = step_matrix(table, after=3), step_matrix(table, after=3, by="device")
    cells = ["step", "touchpoint"]
    sums = parts.groupby(cells)["journeys"].sum()
    pd.testing.assert_series_equal(sums, whole.groupby(cells)["journeys"].sum())
    earliest = {}
    for user, touches, _ in JOURNEYS:
        for label, at, device in touches:
            earliest[user] = min(earliest.get(user, (at, device, label)), (at, device, label))
    groups = Counter(earliest[user][1] if user in earliest else "(no touch)" for user, *_ in JOURNEYS)
    assert parts.drop_duplicates("device").set_index("device")["aligned"].to_dict() == dict(groups)


def test_without_events_there_is_no_matrix_and_nobody_is_retained():
    table = events([("u", None, "visit", "A", None, "x")], COLUMNS)
    assert step_matrix(table).empty and step_matrix(table, by="device").empty
    assert retention(table)["journeys"].sum() == 0 and loops(table).empty


def test_an_anchor_that_nobody_has_aligns_nobody_and_a_wrong_one_is_refused():
    table = events(LOG, COLUMNS)
    assert step_matrix(table, anchor="nowhere").empty
    with pytest.raises(MissingColumns, match="anchor names the column 'colour'"):
        step_matrix(table, anchor={"colour": "red"})
    with pytest.raises(BadParameter, match="'first' or 'last'"):
        step_matrix(table, anchor="A", occurrence="second")


def test_names_from_data_stay_text_in_anchors_and_groups():
    name = "'; DROP TABLE x; --"
    rows = [("u", 0, "visit", "(start)", None, name), ("u", 1, "visit", "(end)", None, 'Größe "x"')]
    table = events(rows, COLUMNS)
    found = step_matrix(table, anchor={"device": name}, by="device", before=0, after=1)
    assert found[found["journeys"] > 0][["device", "step", "touchpoint"]].to_numpy().tolist() == [
        [name, 0, "“(start)”"],
        [name, 1, "“(end)”"],
    ]
    assert step_matrix(table, anchor="“(end)”", before=0, after=1)["aligned"].iloc[0] == 1


def test_persons_with_many_like_journeys_widen_the_interval_as_if_they_were_one_each():
    """Every person ten times the same: the variance is ten times that of independent journeys."""
    rows = []
    for person in range(400):
        label = "A" if person % 2 else "B"
        for k in range(10):
            rows += [
                (f"p{person}", 2 * k, "visit", label, None, "x"),
                (f"p{person}", 2 * k + 1, "order", label, 1, "x"),
            ]
    found = only(step_matrix(events(rows, COLUMNS), after=1), step=1, touchpoint="A")
    assert (found["journeys"], found["aligned"]) == (2000, 4000)
    assert 7 < found["design_effect"] < 13
    # Wilson's for 200 of 400: 0.451 to 0.549.
    assert math.isclose(found["high"] - found["low"], 0.098, abs_tol=0.015)


def test_clustered_limits_are_wilsons_where_each_cluster_is_one():
    low, high, effect = clustered(30, 100, 30, 100, 30, 100)
    assert math.isclose(effect, 100 / 99) and math.isclose(low, 0.2190, abs_tol=1e-3)
    assert math.isclose(high, 0.3958, abs_tol=1e-3)
    low, high, effect = clustered(0, 50, 0, 50, 0, 50)
    assert (low, effect) == (0, 1) and high > 0.05


def test_the_difference_of_two_groups_is_newcombes():
    """Newcombe (1998), table II, case a: 56 of 70 against 48 of 80: 0.2, interval 0.0524 to 0.3339."""

    def group(name, yes, n):
        return [(f"{name}{k}", 0, "visit", "A" if k < yes else "B", None, name) for k in range(n)]

    matrix = step_matrix(events(group("x", 56, 70) + group("y", 48, 80), COLUMNS), after=1, by="device")
    matrix = matrix.assign(design_effect=1.0)
    from perfnb.intervals import wilson

    matrix["low"], matrix["high"] = wilson(matrix["journeys"], matrix["aligned"])
    one, other = (matrix[matrix["device"] == device] for device in "xy")
    found = only(matrix_difference(one, other), step=1, touchpoint="A")
    assert found[["difference", "difference_low", "difference_high"]].round(4).tolist() == [0.2, 0.0524, 0.3339]
    assert found[["journeys_one", "aligned_one", "journeys_other", "aligned_other"]].tolist() == [56, 70, 48, 80]
    assert math.isclose(found["p"], 0.0079, abs_tol=5e-4) and found["p_adjusted"] >= found["p"]
    back = only(matrix_difference(other, one), step=1, touchpoint="A")
    assert math.isclose(back["difference_low"], -found["difference_high"]) and math.isclose(back["p"], found["p"])


def test_noise_is_seldom_a_difference():
    """Two groups of one kind: of 40 comparisons of whole matrices, about 5 % have a cell below 5 % after adjusting."""
    false = 0
    for seed in range(40):
        dice = random.Random(seed)
        rows = [
            (f"p{k}", at, "visit" if at % 3 else "order", dice.choice("ABCD"), None, dice.choice("xy"))
            for k in range(150)
            for at in range(dice.randint(1, 8))
        ]
        parts = step_matrix(events(rows, COLUMNS), after=4, by="device")
        one, other = (parts[parts["device"] == device] for device in "xy")
        false += (matrix_difference(one, other)["p_adjusted"] < 0.05).any()
    assert false <= 6


def test_a_cell_that_only_one_group_has_is_a_share_of_0_in_the_other():
    rows = [(f"p{k}", 0, "visit", "A" if k else "B", None, "x" if k < 6 else "y") for k in range(12)]
    matrix = step_matrix(events(rows, COLUMNS), after=1, by="device")
    one, other = (matrix[matrix["device"] == device] for device in "xy")
    found = only(matrix_difference(one, other), touchpoint="B")
    assert found[["journeys_one", "journeys_other", "aligned_other"]].tolist() == [1, 0, 6]
    assert 0 < found["p"] <= 1 and found["difference_low"] < 0 < found["difference_high"]
    with pytest.raises(BadParameter, match="one group"):
        matrix_difference(matrix, other)
    with pytest.raises(BadParameter, match="other steps"):
        matrix_difference(one[one["step"] > 1], other)


# Loops and retention


@pytest.mark.parametrize("engine", ENGINES)
def test_loops_equal_a_count_by_hand_and_with_first_touches_make_all_touches(engine):
    table = events(LOG, COLUMNS, engine=engine)
    expected, firsts, touches = {}, Counter(), Counter()
    for user, path, _ in JOURNEYS:
        seen = {}
        for place, (label, at, _) in enumerate(path):
            touches[label] += 1
            firsts[label] += label not in seen
            if label in seen:
                kind = "repeat" if place == seen[label][0] + 1 else "return"
                row = expected.setdefault((label, kind), [0, set(), 0, []])
                row[0] += 1
                row[1].add(user)
                row[2] += place - seen[label][0] - 1
                row[3].append(at - seen[label][1])
            seen[label] = place, at
    found = loops(table)
    for row in found.itertuples():
        times, persons, between, gaps = expected.get((row.touchpoint, row.kind), [0, (), 0, []])
        assert (row.loops, row.persons, row.touches) == (times, len(persons), touches[row.touchpoint])
        assert math.isclose(row.hours * HOUR, sum(gaps), abs_tol=1e-6)
        if times:
            assert math.isclose(row.between, between / times)
            assert math.isclose(row.median_hours * HOUR, sorted(gaps)[(times - 1) // 2], abs_tol=1e-6)
    sums = found.groupby("touchpoint")["loops"].sum()
    of_journeys = found.drop_duplicates("touchpoint").set_index("touchpoint")["of_journeys"]
    assert of_journeys.to_dict() == dict(firsts)
    assert (sums + of_journeys).to_dict() == dict(touches)


def test_touches_without_direct_repeats_are_those_that_journeys_passed():
    table = events(LOG, COLUMNS)
    repeats = loops(table).query("kind == 'repeat'").set_index("touchpoint")
    passed = ends(transitions(table)).set_index("touchpoint")["passed"]
    assert (repeats["touches"] - repeats["loops"]).to_dict() == passed.to_dict()


@pytest.mark.parametrize("engine", ENGINES)
def test_retention_falls_and_every_journey_is_over_somewhere_or_deeper(engine):
    found = retention(events(LOG, COLUMNS, engine=engine), depth=3)
    lengths = [len(touches) for _, touches, _ in JOURNEYS]
    assert found["journeys"].tolist() == [sum(length >= k for length in lengths) for k in range(4)]
    for row in found.itertuples():
        over = [converted for _, touches, converted in JOURNEYS if len(touches) == row.depth]
        assert (row.converted, row.ended) == (sum(over), len(over) - sum(over))
    left = found["journeys"] - found["converted"] - found["ended"]
    assert left.tolist()[:-1] == found["journeys"].tolist()[1:]
    assert found["journeys"].iloc[0] == frequent(events(LOG, COLUMNS))["journeys"].sum()
    known = found.iloc[1:]
    assert ((known["low"] <= known["rate"]) & (known["rate"] <= known["high"])).all()


# Sessions


def sessions_by_hand(rows, pause):
    found = []
    persons = {}
    for user, at, event, *_ in rows:
        if user is not None and at is not None:
            persons.setdefault(user, []).append((at, event))
    for happened in persons.values():
        number, last = 0, None
        for at, event in sorted(happened):
            if last is None or at - last > pause:
                number += 1
                found.append([number, 0, 0])
            found[-1][1] += 1
            found[-1][2] += event == "order"
            last = at
    return found


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pause", [0, 1, 3])
def test_sessions_equal_a_walk_by_hand_and_keep_all_events(engine, pause):
    found = sessions(events(LOG, COLUMNS, engine=engine), timeout=f"{pause} seconds", first=2)
    expected = sessions_by_hand(LOG, pause)
    assert found["events"].sum() == len(LOG)
    assert found["sessions"].sum() == len(expected)
    assert found["conversions"].sum() == sum(row[2] == "order" for row in LOG)
    for name, numbers in (("1", {1}), ("2", {2}), ("3+", range(3, 99))):
        mine = [row for row in expected if row[0] in numbers]
        if mine:
            row = only(found, session=name)
            assert (row["sessions"], row["events"]) == (len(mine), sum(n for _, n, _ in mine))
            assert row["converted"] == sum(hits > 0 for *_, hits in mine)
    lost = only(found, session="(unknown)")
    assert lost["events"] == sum(row[0] is None or row[1] is None for row in LOG) and lost["sessions"] == 0


def test_a_pause_of_exactly_the_time_out_is_inside():
    rows = [("u", at, "visit", "A", None, "x") for at in (0, 1800, 1800 + 1801)]
    found = sessions(events(rows, COLUMNS))
    assert found["sessions"].tolist() == [1, 1] and found["events"].tolist() == [2, 1]
    assert math.isclose(found["median_minutes"].iloc[0], 30)
    assert math.isclose(found["median_gap_days"].iloc[1], 1801 / 86_400)


def test_events_of_a_session_are_one_unit_for_journeys_and_the_rest_of_the_table_stays():
    table = events(LOG, COLUMNS)
    numbered = with_sessions(table, timeout="2 seconds", as_user=True)
    expected = sessions_by_hand(LOG, 2)
    rows = numbered.rows()
    assert rows["user_id"].nunique() == len(expected) == rows["session_id"].nunique()
    assert rows["user_id"].isna().sum() == sum(row[0] is None or row[1] is None for row in LOG)
    assert rows.groupby("event").size().equals(table.rows().groupby("event").size())
    assert set(step_matrix(numbered)["aligned"]) == {frequent(numbered)["journeys"].sum()}
    again = with_sessions(numbered, timeout="2 seconds")
    assert again.rows()["session_no"].dropna().eq(1).all()
    with pytest.raises(BadParameter, match="not session_no"):
        with_sessions(numbered, unit="session_id")


def test_several_columns_make_a_unit():
    rows = [("u", at, "visit", "A", None, device) for at, device in ((0, "x"), (1, "y"), (2, "x"), (9, "y"))]
    found = sessions(events(rows, COLUMNS), timeout="5 seconds", unit=["user_id", "device"])
    assert found[["session", "sessions", "events"]].to_numpy().tolist() == [["1", 2, 3], ["2", 1, 1]]


# Logs made by others


@pytest.fixture(scope="module")
def shop():
    frame = pd.read_csv(shared("data/journeys/retentioneering-ecom.csv.gz"))
    frame["timestamp"] = pd.to_datetime(frame["timestamp"])
    return frame, book(touchpoints=frame).touchpoints


def test_the_made_up_shop_has_its_3605_sessions_and_470_of_them_buy(shop):
    frame, table = shop
    found = sessions(table, conversion="purchase")
    assert (found["sessions"].sum(), found["events"].sum(), found["converted"].sum()) == (3605, 31_106, 470)
    ours = with_sessions(table.require("session_id"), as_user=True).fetch(
        "SELECT user_id, COUNT(*) AS n FROM {table} AS t GROUP BY user_id"
    )
    assert sorted(ours["n"]) == sorted(frame.groupby("session_id").size())


def test_the_checkout_bug_on_phones_shows_in_the_difference_of_step_matrices(shop):
    """After shipping details in the weeks of the bug, phones reach payment less often than other devices."""
    frame, _ = shop
    begins = frame.groupby("session_id")["timestamp"].transform("min")
    days = frame[(begins >= "2024-04-09") & (begins < "2024-05-10")]
    steps = ["add_to_cart", "cart", "shipping_details", "payment_details", "purchase"]
    marked = days[days["event"].isin(steps)].assign(phone=lambda rows: rows["platform"].eq("mobile").astype(str))
    # Their order inside a visit is not reliable (README of the data): steps stand in the order of the checkout.
    rank = marked["event"].map({name: place for place, name in enumerate(steps)})
    marked["timestamp"] = marked.groupby("session_id")["timestamp"].transform("min") + pd.to_timedelta(rank, unit="s")
    visits = marked.assign(user_id=marked["session_id"]).drop(columns="session_id")
    table = book(touchpoints=visits).touchpoints
    matrix = step_matrix(
        table, anchor="shipping_details", by="phone", touchpoint="event", conversion="purchase", before=0, after=1
    )
    one, other = (matrix[matrix["phone"] == phone] for phone in ("True", "False"))
    found = only(matrix_difference(one, other), step=1, touchpoint="payment_details")
    phones = days[(days["event"] == "shipping_details") & (days["platform"] == "mobile")]
    assert found["aligned_one"] == phones["session_id"].nunique() == 60
    assert found["share_one"] < 0.4 and found["share_other"] > 0.7
    assert found["difference_high"] < -0.2 and found["p_adjusted"] < 0.001


def test_of_the_visits_of_new_loyal_and_all_customers_as_many_buy_as_its_documentation_says(shop):
    """With sessions as persons and only the first conversion of each, a journey is a visit."""
    _, table = shop
    visits = with_sessions(table, as_user=True)
    counting = {"touchpoint": "event", "conversion": "purchase", "count": "first"}
    found = step_matrix(visits, anchor="(end)", before=1, by="user_lifecycle", **counting)
    bought = found[(found["step"] == 0) & (found["touchpoint"] == "(conversion)")].set_index("user_lifecycle")
    assert bought["aligned"].to_dict() == {"new": 963, "returning": 1840, "loyal": 802}
    assert bought["journeys"].to_dict() == {"new": 81, "returning": 241, "loyal": 148}
    groups = [found[found["user_lifecycle"] == name] for name in ("new", "loyal")]
    row = only(matrix_difference(*groups), step=0, touchpoint="(conversion)")
    assert row["difference_high"] < -0.05 and row["p_adjusted"] < 1e-6


@pytest.mark.skipif(not SAMPLES.exists(), reason="no data_samples")
def test_the_broken_checkout_of_the_samples_shows_on_phones_in_its_week_only():
    table = workspace.open(SAMPLES).touchpoints
    found = {}
    for name, days in (("broken", "2025-06-16..2025-06-22"), ("sound", "2025-06-23..2025-08-31")):
        matrix = step_matrix(
            table.between(Period.parse(days)), anchor="checkout", touchpoint="event", by="device", before=0, after=1
        )
        one, other = (matrix[matrix["device"] == device] for device in ("mobile", "desktop"))
        found[name] = only(matrix_difference(one, other), step=1, touchpoint="(conversion)")
    assert found["broken"]["difference_high"] < -0.2 and found["broken"]["p_adjusted"] < 0.01
    assert found["sound"]["p_adjusted"] > 0.05


@pytest.mark.spark
@pytest.mark.skipif(without_spark, reason="needs pyspark, sqlglot and java")
def test_every_engine_gives_the_same_tables():
    duck, spark = (events(LOG, COLUMNS, engine=engine) for engine in ("duckdb", SPARK))
    for count in (
        lambda log: step_matrix(log, anchor="B", by="device", after=3),
        lambda log: step_matrix(log, anchor={"device": "x"}, after=3),
        loops,
        retention,
        lambda log: sessions(log, timeout="1 second"),
    ):
        pd.testing.assert_frame_equal(count(duck), count(spark), check_dtype=False)


def test_the_steps_of_a_short_matrix_are_the_first_of_a_long_one():
    table = events(LOG, COLUMNS)
    short, long = (step_matrix(table, after=after) for after in (2, 9))
    keys = ["step", "touchpoint"]
    both = short.merge(long, on=keys)
    assert len(both) and (both["journeys_x"] == both["journeys_y"]).all()
    for one, other in itertools.pairwise(sorted(set(long["step"]))):
        for end in ("(conversion)", "(end)"):
            counts = [only(long, step=step, touchpoint=end)["journeys"] for step in (one, other)]
            assert counts[0] <= counts[1]


def test_two_groups_of_a_matrix_are_those_named_or_the_largest():
    rows = [(f"u{n}", n, "visit", "A", device) for n, device in enumerate(["p", "p", "p", "q", "q", "r"])]
    log = events(rows, ("user_id", "timestamp", "event", "channel", "device"))
    matrix = step_matrix(log, by="device", after=2)
    assert list(two_groups(matrix, by="device")) == ["p", "q"]
    found = two_groups(matrix, by="device", groups=["r", "p"])
    assert {name: part["aligned"].iloc[0] for name, part in found.items()} == {"r": 1, "p": 3}
    for wrong in (["p"], ["p", "p"], ["p", "z"], ["p", "q", "r"]):
        with pytest.raises(BadParameter, match="expected two of the column device, which has p, q, r"):
            two_groups(matrix, by="device", groups=wrong)
    alone = step_matrix(events(rows[:3], ("user_id", "timestamp", "event", "channel", "device")), by="device")
    one, other = two_groups(alone, by="device").values()
    assert matrix_difference(one, other).empty
    one, other = two_groups(alone, by="device", groups=["mobile", "desktop"]).values()
    assert one.empty and other.empty
