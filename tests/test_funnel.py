"""Funnels: published cases, brute force over every attempt, laws, and tables of five rows."""

import itertools
import json
import random
from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
from _tables import ENGINES, book, events, only, shared

from perfnb import funnel
from perfnb.errors import BadParameter, MissingColumns
from perfnb.period import Period

ABC = ["a", "b", "c"]
DAY = 86_400
FUNNEL = ("user_id", "timestamp", "event", "segment")


def counts(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    return table["units"].tolist()


def level_of(table, steps, *, by="segment", **options):
    """{group: furthest step}, where every group is one person."""
    found = funnel.steps(table, steps, by=by, **options)
    assert set(found.loc[found["step"] == 1, "units"]) <= {0, 1}
    return found.groupby(by)["units"].sum().to_dict()


def best_attempt(happened, steps, *, within, entry="best", period=None):
    """The level by enumeration: every choice of one event per step, in time order, inside the window."""
    starts = [t for t, event in happened if event == steps[0]]
    if entry == "first":
        starts = [min(starts)] if starts else []
    if period:
        starts = [t for t in starts if period[0] <= t < period[1]]
    for level in range(len(steps), 0, -1):
        times = [[t for t, event in happened if event == name] for name in steps[:level]]
        times[0] = starts
        for attempt in itertools.product(*times):
            inside = within is None or attempt[-1] - attempt[0] <= within
            if inside and all(earlier <= later for earlier, later in itertools.pairwise(attempt)):
                return level
    return 0


def random_log(persons, seed, *, names="abcx", span=8, most=9):
    """Short logs full of ties: (person, second, event, person)."""
    dice = random.Random(seed)
    return [
        (f"p{person}", dice.randrange(span), dice.choice(names), f"p{person}")
        for person in range(persons)
        for _ in range(dice.randint(1, most))
    ]


# Golden values


def applicable(case):
    switches = case["switches"]
    plain = {"order": "ordered", "open": "closed", "step_within_s": None, "exclude": [], "optional": []}
    return (
        all(switches[name] == value for name, value in plain.items())
        and switches["entry"] in ("best", "first")
        and switches["ties"] == "distinct"
        and len(set(case["steps"])) == len(case["steps"])
    )


def test_levels_of_published_cases_from_clickhouse_posthog_mixpanel_ga4_all_in_one_shuffled_table():
    cases = [case for case in json.loads(shared("cases/funnel/cases.json").read_text())["cases"] if applicable(case)]
    assert len(cases) >= 14
    # Event names are those of the case: in one table the cases must not disturb each other.
    rows = [
        (f"{case['id']}/{user}", seconds, event, f"{case['id']}/{user}")
        for case in cases
        for user, happened in case["events"].items()
        for seconds, _, event in happened
    ]
    random.Random(1).shuffle(rows)
    table = events(rows, FUNNEL)
    settings = {(tuple(c["steps"]), c["switches"]["within_s"], c["switches"]["entry"]) for c in cases}
    found = {
        (steps, seconds, entry): level_of(
            table, list(steps), within=None if seconds is None else timedelta(seconds=seconds), entry=entry
        )
        for steps, seconds, entry in settings
    }
    for case in cases:
        levels = found[tuple(case["steps"]), case["switches"]["within_s"], case["switches"]["entry"]]
        for user, level in case["expected"]["level"].items():
            assert levels.get(f"{case['id']}/{user}", 0) == level, (case["id"], user)


def test_counts_of_the_documented_ga4_closed_funnel():
    paths = {"abcd": "ABCD", "bcd": "BCD", "ad": "AD", "d": "D", "acd": "ACD", "cab": "CAB"}
    table = events([(user, at, name, "x") for user, path in paths.items() for at, name in enumerate(path)], FUNNEL)
    steps = funnel.steps(table, list("ABCD"), within=None)
    assert steps["units"].tolist() == [4, 2, 1, 1]
    assert steps["dropped"].tolist()[1:] == [2, 1, 0]
    # Did B: 3 (bcd not after A). Did C: 4, D: 5.
    assert steps["out_of_order"].tolist() == [0, 1, 3, 4]


def test_wilson_interval_of_81_in_263_from_newcombe_1998_stands_in_the_row():
    rows = [(f"p{k}", 0, "a", "x") for k in range(263)] + [(f"p{k}", 1, "b", "x") for k in range(81)]
    step = only(funnel.steps(events(rows, FUNNEL), ["a", "b"], within="1 day"), step=2)
    assert (step["units"], step["from_units"], step["rate"]) == (81, 263, 81 / 263)
    assert (round(step["low"], 4), round(step["high"], 4)) == (0.2553, 0.3662)
    assert (step["overall_low"], step["overall_high"]) == (step["low"], step["high"])


def test_otto_log_reaches_20_7_and_2_persons_as_its_readme_counts():
    frame = pd.read_csv(shared("data/journeys/otto_events.csv"))
    frame["timestamp"] = pd.to_datetime(frame["ts"], unit="ms")
    frame = frame.rename(columns={"session": "user_id", "type": "event"})[["user_id", "timestamp", "event"]]
    steps = funnel.steps(book(touchpoints=frame).touchpoints, ["clicks", "carts", "orders"], within=None)
    assert steps["units"].tolist() == [20, 7, 2]
    assert steps["out_of_order"].tolist() == [0, 0, 1]  # ordered what was in the cart when the log began


def test_retentioneering_log_shows_steps_done_out_of_order_as_its_readme_counts():
    frame = pd.read_csv(shared("data/journeys/retentioneering-ecom.csv.gz"))
    steps = ["add_to_cart", "cart", "shipping_details", "payment_details", "purchase"]
    visits = book(touchpoints=frame.drop(columns="user_id").rename(columns={"session_id": "user_id"})).touchpoints
    by_visit = funnel.steps(visits, steps, within=None)
    assert by_visit["units"].tolist() == [1213, 679, 291, 121, 36]
    assert (by_visit["units"] + by_visit["out_of_order"]).tolist() == [1213, 1022, 798, 632, 470]
    by_user = funnel.steps(book(touchpoints=frame).touchpoints, steps, within=None)
    assert by_user["units"].tolist() == [522, 439, 334, 225, 116]


# Brute force


@pytest.mark.parametrize("entry", ["best", "first"])
@pytest.mark.parametrize("within", [None, 0, 2, 4])
@pytest.mark.parametrize("period", [None, (2, 6)])
def test_levels_equal_the_longest_attempt_found_by_enumeration(entry, within, period):
    # A second of the log is a day here, so that a period can cut it.
    rows = [(u, t * DAY, event, g) for u, t, event, g in random_log(150, seed=f"{entry}{within}{period}")]
    days = None if within is None else timedelta(days=within)
    first = date(2025, 1, 1)
    bounds = Period(first + timedelta(days=period[0]), first + timedelta(days=period[1])) if period else None
    found = level_of(events(rows, FUNNEL), ABC, within=days, entry=entry, period=bounds)
    by_person = {}
    for user, at, event, _ in rows:
        by_person.setdefault(user, []).append((at // DAY, event))
    expected = {
        user: best_attempt(happened, ABC, within=within, entry=entry, period=period)
        for user, happened in by_person.items()
    }
    assert {user: found.get(user, 0) for user in by_person} == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_finds_the_same_levels_whatever_the_names(engine):
    names = {"a": "'; --", "b": 'Größe "x"', "c": "a\\b", "x": "timestamp"}
    rows = random_log(60, seed=5)
    renamed = [(user, at, names[event], f"G {int(group[1:]) % 3} \\ '") for user, at, event, group in rows]
    found = funnel.steps(
        events(renamed, FUNNEL, engine=engine), [names[name] for name in ABC], within="3 seconds", by="segment"
    )
    by_person = {}
    for user, at, event, _ in rows:
        by_person.setdefault(user, []).append((at, event))
    for third in range(3):
        levels = [
            best_attempt(happened, ABC, within=3) for user, happened in by_person.items() if int(user[1:]) % 3 == third
        ]
        expected = [sum(level >= k for level in levels) for k in (1, 2, 3)]
        assert counts(found, segment=f"G {third} \\ '") == expected


# Laws


LOG = random_log(200, seed=11)


def test_counts_fall_from_step_to_step_and_rise_with_the_window():
    table = events(LOG, FUNNEL)
    wider = [counts(funnel.steps(table, ABC, within=timedelta(seconds=s))) for s in (0, 1, 3, 8)]
    wider.append(counts(funnel.steps(table, ABC, within=None)))
    assert all(row == sorted(row, reverse=True) for row in wider)
    for narrow, wide in itertools.pairwise(wider):
        assert all(a <= b for a, b in zip(narrow, wide, strict=True))
    assert wider[0][2] < wider[2][2] < wider[4][2]


def test_first_entry_never_gets_further_than_the_best():
    table = events(LOG, FUNNEL)
    best = level_of(table, ABC, within="2 seconds")
    first = level_of(table, ABC, within="2 seconds", entry="first")
    assert all(first[user] <= best[user] for user in best)
    assert sum(first.values()) < sum(best.values())


def test_a_funnel_of_one_step_counts_distinct_persons():
    step = funnel.steps(events(LOG, FUNNEL), ["b"], within="1 second").iloc[0]
    assert step["units"] == len({user for user, _, event, _ in LOG if event == "b"})
    assert pd.isna(step["from_units"]) and pd.isna(step["rate"]) and step["overall"] == 1


def test_the_order_of_rows_changes_nothing():
    rows = [(user, at, event, event + user[-1]) for user, at, event, _ in LOG]
    one = funnel.steps(events(rows, FUNNEL), ABC, within="3 seconds", by="segment")
    other = funnel.steps(
        events(random.Random(3).sample(rows, len(rows)), FUNNEL), ABC, within="3 seconds", by="segment"
    )
    pd.testing.assert_frame_equal(one, other)


def test_shifting_all_times_and_renaming_all_events_change_nothing():
    new = {"a": "z", "b": "m", "c": "a", "x": "b"}
    moved = [(user, at - 40 * 365 * DAY, new[event], group) for user, at, event, group in LOG]
    one = funnel.steps(events(LOG, FUNNEL), ABC, within="3 seconds")
    other = funnel.steps(events(moved, FUNNEL), [new[name] for name in ABC], within="3 seconds")
    pd.testing.assert_frame_equal(one.drop(columns="name"), other.drop(columns="name"))


def test_a_second_identical_person_doubles_the_counts():
    twins = LOG + [(f"twin {user}", at, event, group) for user, at, event, group in LOG]
    one = funnel.steps(events(LOG, FUNNEL), ABC, within="3 seconds")
    two = funnel.steps(events(twins, FUNNEL), ABC, within="3 seconds")
    for column in ("units", "from_units", "dropped", "out_of_order", "immature"):
        assert (2 * one[column]).equals(two[column]), column


@pytest.mark.parametrize("entry", ["best", "first"])
def test_groups_add_up_to_the_whole_even_when_persons_change_group(entry):
    rows = [
        (user, at, event, random.Random(f"{user}{at}{event}").choice(["x", "y", None])) for user, at, event, _ in LOG
    ]
    table = events(rows, FUNNEL)
    options = {"within": "3 seconds", "entry": entry}
    whole = funnel.steps(table, ABC, **options)
    groups = funnel.steps(table, ABC, by="segment", **options)
    assert set(groups["segment"]) == {"x", "y", "(unknown)"}
    for column in ("units", "out_of_order", "immature"):
        assert groups.groupby("step")[column].sum().tolist() == whole[column].tolist(), column
    assert (groups["dropped"].sum(), groups["from_units"].sum()) == (whole["dropped"].sum(), whole["from_units"].sum())


def test_levels_add_up_to_all_persons_and_to_the_steps():
    rows = [*LOG, ("only x", 3, "x", "g"), ("no time", None, "a", "g"), (None, 3, "a", "g")]
    table = events(rows, FUNNEL)
    levels = funnel.levels(table, ABC, within="3 seconds")
    assert levels["units"].sum() == len({user for user, *_ in rows if user})
    assert levels["name"].tolist() == ["(not entered)", *ABC]
    reached = [levels["units"][k:].sum() for k in (1, 2, 3)]
    assert reached == counts(funnel.steps(table, ABC, within="3 seconds"))


def test_dropped_and_counts_reconcile_and_immature_is_a_part_of_the_dropped():
    steps = funnel.steps(events(LOG, FUNNEL), ABC, within="3 seconds")
    later = steps[steps["step"] > 1]
    assert (later["from_units"] - later["units"]).tolist() == later["dropped"].tolist()
    assert later["from_units"].tolist() == steps["units"].tolist()[:-1]
    assert (later["rate"] * later["from_units"]).round(9).tolist() == later["units"].tolist()
    assert (later["immature"] <= later["dropped"]).all() and later["immature"].sum() > 0


# Tables of five rows


def test_both_ends_of_the_window_count():
    table = events([("u", 0, "a", "x"), ("u", 300, "b", "x"), ("v", 0, "a", "x"), ("v", 300.000001, "b", "x")], FUNNEL)
    assert counts(funnel.steps(table, ["a", "b"], within="5 minutes")) == [2, 1]


def test_best_entry_finds_the_later_attempt_and_first_entry_keeps_to_the_first():
    table = events([("u", 0, "a", "x"), ("u", 1800, "a", "x"), ("u", 2700, "b", "x"), ("u", 4500, "c", "x")], FUNNEL)
    assert counts(funnel.steps(table, ABC, within="1 hour")) == [1, 1, 1]
    assert counts(funnel.steps(table, ABC, within="1 hour", entry="first")) == [1, 1, 0]


def test_the_group_is_that_of_the_entry_of_the_attempt_counted():
    rows = [("u", 0, "a", "early"), ("u", 7200, "a", "late"), ("u", 7300, "b", "other"), ("v", 5, "b", "stray")]
    found = funnel.steps(events(rows, FUNNEL), ["a", "b"], within="1 hour", by="segment")
    assert set(found["segment"]) == {"late", "stray"}
    assert counts(found, segment="late") == [1, 1]
    assert found.loc[found["segment"] == "stray", "out_of_order"].tolist() == [0, 1]


def test_of_two_attempts_of_the_same_length_the_earlier_counts():
    rows = [("u", 0, "a", "early"), ("u", 5, "b", "x"), ("u", 10, "a", "late"), ("u", 15, "b", "x")]
    assert set(funnel.steps(events(rows, FUNNEL), ["a", "b"], within="1 hour", by="segment")["segment"]) == {"early"}


def test_the_group_at_one_instant_is_that_of_step_1():
    rows = [("u", 0, "b", "A of step 2"), ("u", 0, "a", "B of step 1")]
    assert set(funnel.steps(events(rows, FUNNEL), ["a", "b"], within=None, by="segment")["segment"]) == {"B of step 1"}


def test_the_period_bounds_step_1_only_from_midnight_to_midnight():
    day = {name: index * DAY for index, name in enumerate(["31 Dec", "1 Jan", "2 Jan", "3 Jan"], start=-1)}
    rows = [
        ("before", day["1 Jan"] - 0.000001, "a", "x"),
        ("before", day["2 Jan"], "b", "x"),
        ("first instant", day["1 Jan"], "a", "x"),
        ("first instant", day["3 Jan"], "b", "x"),  # followed beyond the period
        ("after", day["2 Jan"], "a", "x"),
    ]
    period = Period(date(2025, 1, 1), date(2025, 1, 2))
    found = funnel.steps(events(rows, FUNNEL), ["a", "b"], within="7 days", period=period)
    assert found["units"].tolist() == [1, 1]
    assert found["out_of_order"].tolist() == [1, 1]  # "before" did a at quite another time
    assert found["definition"].iloc[0] == (
        "closed, ordered, best entry, 7 days inclusive, ties distinct, entries 2025-01-01..2025-01-01"
    )


def test_rows_without_person_or_time_are_in_no_funnel():
    rows = [(None, 0, "a", "x"), ("u", None, "a", "x"), ("u", 5, "b", "x"), ("v", 0, "a", "x"), ("v", 1, None, "x")]
    assert counts(funnel.steps(events(rows, FUNNEL), ["a", "b"], within="1 day")) == [1, 0]


def test_an_open_window_makes_a_person_immature_and_its_last_moment_does_not():
    rows = [("open", 101, "a", "x"), ("closed", 100, "a", "x"), ("done", 150, "a", "x"), ("done", 150, "b", "x")]
    rows.append(("any event", 200, "unrelated", "x"))  # the data end here
    found = funnel.steps(events(rows, FUNNEL), ["a", "b"], within="100 seconds")
    assert found["immature"].tolist() == [0, 1]


def test_the_latest_start_of_an_attempt_decides_whether_its_window_is_open():
    rows = [("u", 0, "a", "x"), ("u", 150, "a", "x"), ("u", 200, "unrelated", "x")]
    assert funnel.steps(events(rows, FUNNEL), ["a", "b"], within="100 seconds")["immature"].tolist() == [0, 1]


def test_an_event_that_never_occurs_leaves_zeros_and_null_rates():
    table = events([("u", 0, "a", "x"), ("v", 0, "x", "x")], FUNNEL)
    nobody = funnel.steps(table, ["nowhere", "never"], within="1 day")
    assert nobody["units"].tolist() == [0, 0]
    assert nobody[["rate", "low", "high", "overall"]].isna().all().all()
    assert funnel.levels(table, ["nowhere", "never"], within="1 day")["units"].tolist() == [2, 0, 0]
    half = funnel.steps(table, ["a", "never", "nowhere"], within="1 day")
    assert half["units"].tolist() == [1, 0, 0]
    assert half["rate"].tolist()[1] == 0 and pd.isna(half["rate"].tolist()[2])


def test_a_funnel_by_group_that_nobody_entered_is_an_empty_table_with_all_columns():
    table = events([("u", 0, "x", "g")], FUNNEL)
    empty = funnel.steps(table, ["a", "b"], within="1 day", by="segment")
    assert empty.empty
    assert list(empty) == list(funnel.steps(table, ["x", "b"], within="1 day", by="segment"))


def test_entries_of_a_mature_period_have_their_window_inside_the_data():
    dice = random.Random(2)
    rows = [(f"u{k}", dice.random() * 30 * DAY, dice.choice("ab"), "x") for k in range(400)]
    table = events(rows, FUNNEL)
    period = funnel.mature(table, within="7 days")
    end = max(at for _, at, _, _ in rows)
    assert period.since == date(2025, 1, 1)
    assert (datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=end - 7 * DAY)).date() == period.until
    steps = funnel.steps(table, ["a", "b"], within="7 days", period=period)
    assert steps["immature"].sum() == 0
    assert funnel.steps(table, ["a", "b"], within="7 days")["immature"].sum() > 0


def test_mature_narrows_to_the_period_asked_for_and_says_when_nothing_is_left():
    table = events([("u", 0, "a", "x"), ("u", 20 * DAY, "a", "x")], FUNNEL)
    asked = Period(date(2025, 1, 5), date(2025, 3, 1))
    assert funnel.mature(table, within="7 days", period=asked) == Period(date(2025, 1, 5), date(2025, 1, 14))
    with pytest.raises(BadParameter, match="no entry has a whole window of 30 days"):
        funnel.mature(table, within="30 days")


def test_without_a_window_every_day_of_the_data_is_mature():
    table = events([("u", 0, "a", "x"), ("u", 20.5 * DAY, "a", "x")], FUNNEL)
    assert funnel.mature(table, within=None) == Period(date(2025, 1, 1), date(2025, 1, 22))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": "visit"}, "a list of event names"),
        ({"steps": []}, "a list of event names"),
        ({"entry": "last"}, "expected one of 'best', 'first'"),
        ({"within": "a week"}, "no duration"),
    ],
)
def test_a_wrong_parameter_is_named(options, message):
    table = events([("u", 0, "a", "x")], FUNNEL)
    with pytest.raises(BadParameter, match=message):
        funnel.steps(table, **{"steps": ["a", "b"], "within": "1 day"} | options)


def test_a_missing_column_is_named():
    table = events([("u", 0, "a", "x")], FUNNEL)
    with pytest.raises(MissingColumns, match="device"):
        funnel.steps(table, ["a"], within=None, by="device")
