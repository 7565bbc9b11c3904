"""Funnels over time: trend, time to convert, next action, before and after a day."""

import math
import random
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from _funnel_reference import Event, Switches, deepest, entries, random_units
from _tables import ENGINES, book, events, only

from perfnb import funnel
from perfnb.errors import BadParameter
from perfnb.funnel import survival
from perfnb.period import Period

ABC = ["a", "b", "c"]
DAY = 86_400
FUNNEL = ("user_id", "timestamp", "event", "segment")
START = date(2025, 1, 1)


def random_log(persons, seed, *, unit=DAY, span=40, most=9):
    """Logs full of ties, in steps of `unit` seconds; a person is of one segment."""
    dice = random.Random(seed)
    return [
        (f"p{person}", dice.randrange(span) * unit, dice.choice("abcx"), "odd" if person % 2 else "even")
        for person in range(persons)
        for _ in range(dice.randint(1, most))
    ]


LOG = random_log(300, seed=8)


def first_entries(rows, steps, within):
    """{person: (first entry, level, when the last step was reached)}, by hand; steps are all different."""
    found = {}
    for person in {row[0] for row in rows}:
        mine = [(at, event) for who, at, event, _ in rows if who == person]
        entry = min((at for at, event in mine if event == steps[0]), default=None)
        if entry is None:
            continue
        level, reached = 1, entry
        for step in steps[1:]:
            following = [at for at, event in mine if event == step and at >= reached and at - entry <= within]
            if not following:
                break
            level, reached = level + 1, min(following)
        found[person] = entry, level, reached
    return found


# trend


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_a_trend_counts_each_person_in_the_interval_of_the_first_entry(every, engine):
    starts = {
        "day": lambda day: day,
        "week": lambda day: day - timedelta(days=day.weekday()),
        "month": lambda day: day.replace(day=1),
    }
    expected = {}
    for entry, level, _ in first_entries(LOG, ABC, 9 * DAY).values():
        first = starts[every](START + timedelta(seconds=entry))
        for step in range(1, level + 1):
            expected[first, step] = expected.get((first, step), 0) + 1
    found = funnel.trend(events(LOG, FUNNEL, engine=engine), ABC, every=every, within="9 days")
    counted = {(row.entered.date(), row.step): row.units for row in found.itertuples() if row.units}
    assert counted == expected
    assert found["entered"].dtype == "datetime64[us]" and found["entered"].is_monotonic_increasing


@pytest.mark.parametrize("by", [None, "segment"])
@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_intervals_add_up_to_the_whole(every, by):
    table = events(LOG, FUNNEL)
    period = Period(date(2025, 1, 4), date(2025, 2, 3))
    found = funnel.trend(table, ABC, every=every, within="9 days", by=by, period=period)
    whole = funnel.steps(table, ABC, within="9 days", entry="first", period=period)
    for column in ("units", "immature"):
        assert found.groupby("step")[column].sum().tolist() == whole[column].tolist()
    assert list(found) == ["entered", "last_day", *([by] if by else []), *whole.columns[:-1], "mature", "definition"]


def test_an_interval_is_mature_when_its_last_window_is_closed_in_the_data():
    # Wednesday 1 January to the last second of Sunday 19 January.
    rows = [("u", 0, "a", "x"), ("v", 6 * DAY, "a", "x"), ("w", 13 * DAY, "a", "x"), ("w", 19 * DAY - 1, "x", "x")]
    for days, closed in ((1, [True, True, False]), (7, [True, True, False]), (8, [True, False, False])):
        table = funnel.trend(events(rows, FUNNEL), ["a", "b"], within=f"{days} days")
        assert table.loc[table["step"] == 1, "mature"].tolist() == closed, days
    assert not funnel.trend(events(rows, FUNNEL), ["a", "b"], within=None)["mature"].any()
    assert funnel.trend(events(rows, FUNNEL), ["a"], within=None)["mature"].tolist() == [True, True, True]


def test_nobody_waits_in_a_mature_interval_and_its_rates_stay_when_more_data_come():
    table = funnel.trend(events(LOG, FUNNEL), ABC, every="day", within="9 days")
    cut = [row for row in LOG if row[1] <= 30 * DAY]
    early = funnel.trend(events(cut, FUNNEL), ABC, every="day", within="9 days")
    assert early["mature"].any() and (early.loc[early["mature"], "immature"] == 0).all()
    columns = ["entered", "step", "units", "rate"]
    later = table[table["entered"].isin(early.loc[early["mature"], "entered"])]
    pd.testing.assert_frame_equal(
        early.loc[early["mature"], columns].reset_index(drop=True), later[columns].reset_index(drop=True)
    )


def test_weeks_begin_on_monday_and_end_with_the_last_instant_of_sunday():
    rows = [
        ("u", 4 * DAY, "a", "x"),  # Sunday 5 January, in the week from 30 December
        ("u", 5 * DAY, "b", "x"),
        ("v", 5 * DAY, "a", "y"),  # Monday
        ("v", 20 * DAY, "a", "y"),
        ("w", 12 * DAY - 0.000001, "a", "y"),  # last instant of that week
        ("z", -56 * 365 * DAY, "a", "y"),  # before 1970, on a Thursday
    ]
    weeks = funnel.trend(events(rows, FUNNEL), ["a", "b"], within="7 days")
    entered = weeks[weeks["step"] == 1].set_index("entered")["units"]
    days = [pd.Timestamp("1969-01-13"), pd.Timestamp("2024-12-30"), pd.Timestamp("2025-01-06")]
    assert entered.to_dict() == dict(zip(days, [1, 1, 2], strict=True))
    assert weeks.loc[weeks["step"] == 2, "units"].tolist() == [0, 1, 0]


def test_a_trend_without_any_entry_is_empty_with_the_same_columns_and_types():
    table = events([("u", 0, "b", "x"), ("v", 0, "a", "y")], FUNNEL)
    for by in (None, "segment"):
        empty = funnel.trend(table, ["c", "b"], within="1 day", by=by)
        full = funnel.trend(table, ["a", "b"], within="1 day", by=by)
        assert empty.empty and list(empty) == list(full)
        assert empty["entered"].dtype == full["entered"].dtype and empty["mature"].dtype == bool


def test_a_group_may_be_called_as_columns_are_inside():
    for name in ("part", "side", "units_1", "days", "level"):
        table = events(LOG, ("user_id", "timestamp", "event", name))
        trend = funnel.trend(table, ABC, within="9 days", by=name)
        change = funnel.before_after(table, ABC, date="2025-01-20", within="3 days", by=name)
        curve = funnel.time_to_convert(table, ABC, within="9 days", by=name) if name != "days" else trend
        assert set(trend[name]) == set(change[name]) == set(curve[name]) == {"even", "odd"}


def test_an_unknown_interval_is_named():
    with pytest.raises(BadParameter, match="every 'year': expected 'day', 'week', 'month'"):
        funnel.trend(events(LOG, FUNNEL), ABC, every="year", within="9 days")


# time_to_convert


def product_limit(times):
    """[(time, at risk, converted, share, low, high)] from [(time, whether converted)], person by person."""
    stays, total, found = 1.0, 0.0, []
    for time in sorted({time for time, done in times if done}):
        waiting = sum(other >= time for other, _ in times)
        ends = sum(other == time and done for other, done in times)
        stays *= 1 - ends / waiting
        limits = (None, None)
        if stays > 0:
            total += ends / (waiting * (waiting - ends))
            width = 1.959963984540054 * math.sqrt(total) / abs(math.log(stays))
            limits = 1 - stays ** math.exp(-width), 1 - stays ** math.exp(width)
        found.append((time, waiting, ends, 1 - stays, *limits))
    return found


def waits(rows, steps, within):
    """{person: (time, whether converted)} of everybody who entered."""
    ends = max(at for _, at, _, _ in rows)
    return {
        person: (reached - entry, True) if level == len(steps) else (min(ends - entry, within), False)
        for person, (entry, level, reached) in first_entries(rows, steps, within).items()
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("within", [0, 5, 9, 10_000])
def test_the_curve_equals_the_product_limit_person_by_person(within, engine):
    log, steps = random_log(300, seed=9, span=14), ABC if within else ABC[:2]
    times = waits(log, steps, within * DAY)
    curve = funnel.time_to_convert(
        events(log, FUNNEL, engine=engine), steps, within=timedelta(days=within), by="segment"
    )
    assert set(curve["segment"]) == {"even", "odd"}
    for segment, rows in curve.groupby("segment"):
        mine = [time for person, time in times.items() if (int(person[1:]) % 2 == 1) == (segment == "odd")]
        expected = product_limit(mine)
        assert rows["days"].iloc[0] == 0 and (rows["converted"].iloc[1:] > 0).all()
        assert (rows["units"] == len(mine)).all()
        assert rows["converted"].sum() + rows["censored"].sum() == len(mine) == rows["at_risk"].iloc[0]
        shown = rows if expected[0][0] == 0 else rows.iloc[1:]
        columns = ["days", "at_risk", "converted", "share", "low", "high"]
        wanted = pd.DataFrame(expected, columns=columns).assign(days=lambda table: table["days"] / DAY)
        pd.testing.assert_frame_equal(shown[columns].reset_index(drop=True), wanted, check_dtype=False)
        assert rows["at_risk"].tolist()[1:] == (rows["at_risk"] - rows["converted"] - rows["censored"]).tolist()[:-1]


def test_remission_of_leukaemia_under_6_mp_from_freireich_1963_has_the_published_curve():
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    rows = [(f"e{n}", 0, "a", "x") for n, _ in enumerate(ended)]
    rows += [(f"e{n}", at * DAY, "b", "x") for n, at in enumerate(ended)]
    rows += [(f"c{n}", (35 - at) * DAY, "a", "x") for n, at in enumerate(censored)]
    rows.append(("end", 35 * DAY, "x", "x"))
    curve = funnel.time_to_convert(events(rows, FUNNEL), ["a", "b"], within=None)
    assert curve["days"].tolist() == [0, 6, 7, 10, 13, 16, 22, 23]
    assert curve["at_risk"].tolist() == [21, 21, 17, 15, 12, 11, 7, 6]
    stays = (1 - curve["share"]).round(3).tolist()
    assert stays == [1, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]  # Kleinbaum & Klein, Survival Analysis, ch. 2
    assert funnel.waiting(curve)["median_days"].tolist() == [23]


def july(seed, persons=4000, quick=5.0, first=0.0, last=31.0, group="x"):
    """30 % convert, after `quick` days on average; the log ends with the month."""
    rng = np.random.default_rng(seed)
    entry = rng.uniform(first, last, persons)
    end = np.where(rng.random(persons) < 0.3, entry + rng.exponential(quick, persons), np.inf)
    rows = [(f"{group}{n}", at * DAY, "a", group) for n, at in enumerate(entry)]
    return rows + [(f"{group}{n}", at * DAY, "b", group) for n, at in enumerate(end) if at < 31]


TRUE = 0.3 * (1 - math.exp(-14 / 5))


def test_a_month_cut_off_at_its_end_has_the_true_share_inside_and_the_naive_one_far_below():
    inside = []
    for seed in range(20):
        curve = funnel.time_to_convert(events(july(seed), FUNNEL), ["a", "b"], within="14 days")
        found = funnel.waiting(curve).iloc[0]
        inside.append(found["low"] <= TRUE <= found["high"])
        assert found["naive_share"] == found["converted"] / found["units"] < TRUE - 0.02
        assert found["units"] == 4000 == found["converted"] + found["censored"]
    assert sum(inside) >= 17


def test_a_group_that_came_late_is_no_worse_than_it_is():
    # The same behaviour; "late" entered in the last ten days.
    rows = july(1, group="early", last=17.0) + july(2, group="late", first=21.0)
    curve = funnel.time_to_convert(events(rows, FUNNEL), ["a", "b"], within="14 days", by="segment")
    late, early = (only(funnel.waiting(curve), segment=name) for name in ("late", "early"))
    assert late["naive_share"] < early["low"] - 0.04
    ten_days = curve[(curve["segment"] == "early") & (curve["days"] <= 9.9)].iloc[-1]
    assert late["low"] < ten_days["share"] < late["high"]


def test_more_times_than_rows_are_summed_into_rows_whose_shares_stay_exact(monkeypatch):
    table = events(july(3, persons=300), FUNNEL)
    every = funnel.time_to_convert(table, ["a", "b"], within="14 days")
    monkeypatch.setattr(survival, "_MOST", 7)
    few = funnel.time_to_convert(table, ["a", "b"], within="14 days")
    assert len(every) > 50 and len(few) == 8
    for column in ("converted", "censored"):
        assert few[column].sum() == every[column].sum()
    shown = every[every["days"].isin(few["days"])]
    assert few["days"].iloc[-1] == every["days"].iloc[-1]
    for column in ("share", "low", "high"):
        np.testing.assert_allclose(few[column], shown[column], rtol=1e-12)


def test_the_order_of_rows_and_a_shift_of_all_times_leave_the_curve_alone():
    one = funnel.time_to_convert(events(LOG, FUNNEL), ABC, within="9 days", by="segment")
    moved = [(who, at - 70 * 365 * DAY, event, segment) for who, at, event, segment in reversed(LOG)]
    other = funnel.time_to_convert(events(moved, FUNNEL), ABC, within="9 days", by="segment")
    pd.testing.assert_frame_equal(one, other)


def test_five_persons_by_hand():
    rows = [(name, 0, "a", "x") for name in "uvwx"]
    rows += [("u", DAY, "b", "x"), ("v", 2 * DAY, "b", "x"), ("w", 4 * DAY, "b", "x"), ("y", 3 * DAY, "a", "x")]
    rows.append(("z", 5 * DAY, "x", "x"))  # the data end here: y is followed for two days of four
    curve = funnel.time_to_convert(events(rows, FUNNEL), ["a", "b"], within="4 days")
    assert curve["at_risk"].tolist() == [5, 5, 4, 2]
    assert curve["censored"].tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(curve["share"], [0, 1 / 5, 2 / 5, 7 / 10])
    found = funnel.waiting(curve).iloc[0]
    assert (found["median_days_converters"], found["median_days"]) == (2, 4)
    assert (found["converted"], found["censored"], found["naive_share"]) == (3, 2, 0.6)
    assert curve["followed"].tolist() == [4, 4, 4, 4]


def test_nobody_and_everybody_have_an_interval_too():
    everybody = [(f"u{n}", 0, "a", "x") for n in range(10)] + [(f"u{n}", n * DAY, "b", "x") for n in range(10)]
    curve = funnel.time_to_convert(events(everybody, FUNNEL), ["a", "b"], within="30 days")
    assert curve["share"].iloc[-1] == 1 and 0.7 < curve["low"].iloc[-1] < 1 == curve["high"].iloc[-1]
    assert curve["converted"].iloc[0] == 1 and curve["days"].iloc[0] == 0
    nobody = funnel.time_to_convert(events(everybody, FUNNEL), ["a", "x"], within="8 days")
    assert (len(nobody), nobody["share"].iloc[0], nobody["censored"].iloc[0]) == (1, 0, 10)
    assert 0 < nobody["high"].iloc[0] < 0.4
    found = funnel.waiting(nobody).iloc[0]
    assert pd.isna(found["median_days"]) and pd.isna(found["median_days_converters"])
    # Nobody was followed for 30 days: that nobody converted by then is not known of anybody.
    unknown = funnel.waiting(funnel.time_to_convert(events(everybody, FUNNEL), ["a", "x"], within="30 days"))
    assert unknown[["share", "low", "high"]].iloc[0].tolist() == [0, 0, 1]


def test_a_curve_of_no_entries_is_empty_and_one_step_is_refused():
    empty = funnel.time_to_convert(events(LOG, FUNNEL), ["z", "b"], within="9 days", by="segment")
    full = funnel.time_to_convert(events(LOG, FUNNEL), ["a", "b"], within="9 days", by="segment")
    assert empty.empty and list(empty) == list(full)
    assert list(funnel.waiting(empty)) == list(funnel.waiting(full))
    with pytest.raises(BadParameter, match="one step takes no time"):
        funnel.time_to_convert(events(LOG, FUNNEL), ["a"], within="9 days")
    with pytest.raises(BadParameter, match="a table of funnel"):
        funnel.waiting(funnel.steps(events(LOG, FUNNEL), ABC))


# next_action


LONG = ("user_id", "timestamp", "event", "device", "sequence")


def logged(units, engine="duckdb"):
    rows = [(unit, e.t * DAY, e.name, e.device, e.sequence) for unit, happened in units.items() for e in happened]
    return events(random.Random(0).sample(rows, len(rows)), LONG, engine=engine)


def stops(units, steps, switches):
    """{(level, next event): units}, by trying every attempt."""
    found = {}
    for happened in units.values():
        order = sorted(happened, key=lambda e: (e.t, e.sequence, e.name, e.device or ""))
        mine = [Event(e.t, e.sequence, e.name, e.device, place) for place, e in enumerate(order)]
        level, longest = deepest(mine, steps, switches, entries(mine, steps, switches))
        if not 0 < level < len(steps):
            continue
        key = (lambda e: e.place) if switches.rows else (lambda e: e.t)
        last = min(key(attempt[-1]) for attempt in longest)
        after = [(key(e), e.name) for e in mine if key(e) > last]
        action = (level, min(after)[1] if after else "(nothing)")
        found[action] = found.get(action, 0) + 1
    return found


SWITCHES = [
    {},
    {"entry": "first"},
    {"within": 2},
    {"within": 3, "entry": "first", "ties": "increase"},
    {"ties": "sequence", "within": 4},
    {"ties": "sequence", "entry": "first"},
    {"order": "strict", "within": 5},
    {"order": "adjacent"},
    {"step_within": (2, 1), "within": 5},
    {"ties": "shared"},
    {"exclude": (("x", 1, 2, "stop"),)},
    {"exclude": (("x", 1, 3, "stop"),), "ties": "sequence"},
    {"period": (2, 5), "within": 3},
]


def spoken(switches):
    said = dict(switches)
    said["within"] = None if said.get("within") is None else timedelta(days=said["within"])
    if "step_within" in said:
        said["step_within"] = [timedelta(days=limit) for limit in said["step_within"]]
    if "exclude" in said:
        keys = ("event", "after", "before", "effect")
        said["exclude"] = [dict(zip(keys, one, strict=True)) for one in said["exclude"]]
    if "period" in said:
        said["period"] = Period(*(START + timedelta(days=day) for day in said["period"]))
    return said


@pytest.mark.parametrize("steps", [ABC, ["a", "b", "a"]])
@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_next_actions_equal_those_found_by_trying_every_attempt(steps, switches):
    units = random_units(random.Random(f"{steps}{switches}"), 150, names="abcxy", span=7, most=7)
    expected = stops(units, steps, Switches(**switches))
    found = funnel.next_action(logged(units), steps, **spoken(switches))
    assert {(row.step, row.next): row.units for row in found.itertuples()} == expected
    assert len(expected) > 6
    dropped = funnel.steps(logged(units), steps, **spoken(switches))["dropped"].tolist()[1:]
    assert [found.loc[found["step"] == step, "units"].sum() for step in (1, 2)] == dropped


@pytest.mark.spark
@pytest.mark.parametrize("engine", ENGINES[1:])
@pytest.mark.parametrize("switches", [SWITCHES[0], SWITCHES[6]], ids=str)
def test_next_actions_are_the_same_on_every_engine(switches, engine):
    units = random_units(random.Random(4), 80, names="abcxy", span=7, most=7)
    one, other = (funnel.next_action(logged(units, name), ABC, **spoken(switches)) for name in ("duckdb", engine))
    pd.testing.assert_frame_equal(one, other, check_dtype=False)


def test_next_actions_of_every_preset_and_switch_add_up_to_the_dropped():
    units = random_units(random.Random(7), 300, names="abcx", span=9, most=8)
    table = logged(units)
    for switches in (
        {"semantics": "posthog", "period": Period(date(2025, 1, 2), date(2025, 1, 7))},
        {"semantics": "mixpanel"},
        {"semantics": "amplitude", "order": "strict"},
        {"semantics": "ga4", "order": "adjacent"},
        {"semantics": "clickhouse", "within": "3 days"},
        {"grace": "2 days"},
        {"exclude": {"event": "x", "effect": "remove"}, "within": "3 days"},
        {"unit": ["user_id", "device"]},
        {"optional": 2, "within": "3 days"},
    ):
        found = funnel.next_action(table, ABC, **switches)
        dropped = funnel.steps(table, ABC, **switches)["dropped"].dropna()
        assert found["units"].sum() == dropped.sum() > 0, switches
        assert (found.groupby("step")["units"].transform("sum") == found["stopped"]).all()


def test_what_happens_at_the_moment_of_the_last_step_is_not_after_it_unless_the_sequence_says_so():
    rows = [("u", 0, "a", None, 1), ("u", 0, "x", None, 2), ("u", 5, "z", None, 4), ("u", 5, "y", None, 5)]
    table = events(rows, LONG)
    assert funnel.next_action(table, ["a", "b"])["next"].tolist() == ["y"]
    assert funnel.next_action(table, ["a", "b"], ties="sequence")["next"].tolist() == ["x"]
    later = events([*rows[2:], ("u", 3, "a", None, 3)], LONG)
    assert funnel.next_action(later, ["a", "b"], ties="sequence")["next"].tolist() == ["z"]


def test_within_a_grace_an_earlier_step_is_not_what_was_done_next():
    rows = [("u", 0, "b", "x"), ("u", 1, "a", "x"), ("u", 9, "x", "x")]
    found = funnel.next_action(events(rows, FUNNEL), ABC, grace="2 seconds")
    assert (found["step"].tolist(), found["next"].tolist()) == ([2], ["x"])


def test_the_less_frequent_are_others_and_who_does_nothing_is_named():
    actions = ["m"] * 5 + ["k"] * 3 + ["n"] * 3 + ["z", "(other)", None, "'; --"]
    rows = [(f"u{n}", 0, "a", "x") for n in range(len(actions) + 2)]
    rows += [(f"u{n}", 60, action, "x") for n, action in enumerate(actions)]
    found = funnel.next_action(events(rows, FUNNEL), ["a", "b"], top=2)
    assert dict(zip(found["next"], found["units"], strict=True)) == {"m": 5, "k": 3, "(other)": 7, "(nothing)": 2}
    assert found["next"].tolist() == ["m", "k", "(other)", "(nothing)"]
    assert (found["stopped"] == 17).all() and found["share"].sum() == pytest.approx(1)
    every = funnel.next_action(events(rows, FUNNEL), ["a", "b"], top=20)
    assert set(every["next"]) == {"m", "k", "n", "z", "“(other)”", "(unknown)", "'; --", "(nothing)"}


def test_next_action_refuses_what_has_no_last_step():
    table = events(LOG, FUNNEL)
    for switches in ({"entry": "each"}, {"open": "union"}, {"order": "any"}):
        with pytest.raises(BadParameter, match="from step to step"):
            funnel.next_action(table, ABC, **switches)
    with pytest.raises(BadParameter, match="top 0"):
        funnel.next_action(table, ABC, top=0)
    with pytest.raises(BadParameter, match="two or more"):
        funnel.next_action(table, ["a"])
    nobody = funnel.next_action(table, ["z", "b"])
    assert nobody.empty and list(nobody) == list(funnel.next_action(table, ABC))


# before_after


def weekly(seed, *, groups=1, weeks=16, entries=60, rate=0.3, change=0.0, sd=0.0):
    """Persons by week and group from Wednesday 1 January on; from the middle on, the rate is `change` higher.

    `sd`: how much weeks differ by themselves, on the scale of log-odds.
    """
    rng = np.random.default_rng(seed)
    odds = np.log(rate / (1 - rate)) + sd * rng.standard_normal((groups, weeks))
    rates = 1 / (1 + np.exp(-odds)) + np.where(np.arange(weeks) < weeks // 2, 0, change)
    counts = rng.poisson(entries, (groups, weeks))
    group = np.repeat(np.arange(groups * weeks) // weeks, counts.ravel())
    week = np.repeat(np.arange(groups * weeks) % weeks, counts.ravel())
    at = (week + rng.random(len(week))) * 7 * DAY
    done = rng.random(len(week)) < np.repeat(rates.ravel(), counts.ravel())
    frame = pd.DataFrame({"user_id": [f"u{n}" for n in range(len(at))], "s": at, "segment": [f"g{n}" for n in group]})
    after = frame[done].assign(s=at[done] + rng.random(done.sum()) * DAY, event="b")
    frame = pd.concat([frame.assign(event="a"), after], ignore_index=True)
    frame["timestamp"] = pd.Timestamp(START) + pd.to_timedelta(frame.pop("s"), unit="s")
    return book(touchpoints=frame).touchpoints


MIDDLE = START + timedelta(weeks=8)
AB = {"date": MIDDLE, "within": "1 day"}


@pytest.mark.parametrize("sd", [0.0, 0.3])
def test_without_a_change_one_in_twenty_is_found_changed_also_when_weeks_differ(sd):
    found = funnel.before_after(weekly(5, groups=300, sd=sd, entries=150), ["a", "b"], by="segment", weeks=None, **AB)
    assert len(found) == 300 == found["tests"].iloc[0]
    assert 0.02 <= (found["p"] < 0.05).mean() <= 0.085
    assert 0.915 <= ((found["low"] <= 0) & (found["high"] >= 0)).mean() <= 0.985
    assert (found["p_adjusted"] < 0.05).sum() <= 1
    assert (found["spread"] >= 1).all() and (found["spread"].median() > 2) == (sd > 0)


def test_a_planted_change_is_found_with_its_size_inside():
    found = funnel.before_after(weekly(1, groups=20, entries=200, change=0.08), ["a", "b"], by="segment", **AB)
    assert (found["p_adjusted"] < 0.05).mean() > 0.8
    assert ((found["low"] <= 0.08) & (found["high"] >= 0.08)).mean() >= 0.8
    assert (found["difference"] - (found["after_rate"] - found["before_rate"])).abs().max() < 1e-12


@pytest.mark.parametrize("engine", ENGINES)
def test_before_and_after_hold_whole_weeks_on_one_side_of_the_change_and_name_the_rest(engine):
    rows = random_log(400, seed=3, span=80, most=6)
    change, within, end = 38, 5, max(at for _, at, _, _ in rows) // DAY
    found = funnel.before_after(
        events(rows, FUNNEL, engine=engine),
        ABC,
        date=str(START + timedelta(days=change)),
        within="5 days",
        by="segment",
        weeks=None,
    )
    weeks = (change - within) // 7, (end - within - change) // 7
    assert (found["before_weeks"].iloc[0], found["after_weeks"].iloc[0]) == weeks == (4, 5)
    people = first_entries(rows, ABC, within * DAY)
    for row in found.itertuples():
        mine = [
            (entry / DAY, level)
            for person, (entry, level, _) in people.items()
            if (int(person[1:]) % 2 == 1) == (row.segment == "odd")
        ]
        before = [level for day, level in mine if change - within - 7 * weeks[0] <= day < change - within]
        after = [level for day, level in mine if change <= day < change + 7 * weeks[1]]
        for side, levels in (("before", before), ("after", after)):
            assert getattr(row, f"{side}_from") == sum(level >= row.step - 1 for level in levels)
            assert getattr(row, f"{side}_units") == sum(level >= row.step for level in levels)
        assert len(before) + len(after) + row.left_out == len(mine)
    assert found["step"].tolist() == [2, 3, 2, 3]


def test_weeks_that_vary_widen_the_interval_by_pearsons_chi2_and_students_t():
    # Persons per week: 10 of 100 and 30 of 100 before, 40 of 100 and 40 of 100 after.
    done = [10, 30, 40, 40]
    rows = [(f"u{week}-{n}", (7 * week + 1) * DAY, "a", "x") for week in range(4) for n in range(100)]
    rows += [(f"u{week}-{n}", (7 * week + 1) * DAY, "b", "x") for week in range(4) for n in range(done[week])]
    rows += [("begin", 0, "x", "x"), ("end", 28 * DAY, "x", "x")]
    row = funnel.before_after(events(rows, FUNNEL), ["a", "b"], date=START + timedelta(days=14), within="0 seconds")
    row = row.iloc[0]
    chi2 = 2 * 10**2 / (100 * 0.2 * 0.8)
    assert row["spread"] == pytest.approx(chi2 / 2)
    z = 0.2 / math.sqrt(0.3 * 0.7 * 2 / 200) / math.sqrt(chi2 / 2)
    assert row["p"] == pytest.approx(1 - z / math.sqrt(2 + z * z))  # t with two degrees of freedom
    assert (row["before_units"], row["before_from"], row["after_units"], row["after_from"]) == (40, 200, 80, 200)
    assert row["low"] < 0 < row["difference"] == pytest.approx(0.2)


def test_in_the_first_weeks_of_a_log_regular_visitors_seem_new_and_the_weeks_next_to_the_day_do_not_mind():
    """Nothing changes: half come every week and convert in half of their first weeks, half are new and never do."""
    dice, rows = np.random.default_rng(3), []
    for week in range(16):
        for n in range(60):
            at = 7 * week * DAY + int(dice.integers(7 * DAY))
            rows.append((f"new{week}-{n}", at, "a", "x"))
        for n in range(40):
            if dice.random() < 0.4:
                at = 7 * week * DAY + int(dice.integers(7 * DAY))
                rows += [(f"old{n}", at, "a", "x"), (f"old{n}", at + 60, "b", "x")]
    table = events(rows, FUNNEL)
    near = funnel.before_after(table, ["a", "b"], **AB).iloc[0]
    assert (near["before_weeks"], near["after_weeks"]) == (4, 4) and near["p"] > 0.05
    assert abs(near["difference"]) < 0.05
    assert funnel.before_after(table, ["a", "b"], weeks=None, **AB).iloc[0]["difference"] < -0.05


def test_weeks_are_limited_and_a_day_at_the_edge_is_refused():
    table = weekly(2)
    found = funnel.before_after(table, ["a", "b"], weeks=3, **AB).iloc[0]
    assert (found["before_weeks"], found["after_weeks"]) == (3, 3)
    assert found["definition"].endswith("entries 2025-02-26..2025-03-18 against 3 weeks before")
    for wrong, said in (
        ({"date": "2025-01-10"}, "found 1 whole weeks of entries before it"),
        ({"date": "2030-01-01"}, "0 from it on"),
        ({"date": "next week"}, "is no day"),
        ({"within": None}, "a window"),
        ({"weeks": 1}, "from 2"),
    ):
        with pytest.raises(BadParameter, match=said):
            funnel.before_after(table, ["a", "b"], **AB | wrong)
    with pytest.raises(BadParameter, match="nobody entered"):
        funnel.before_after(table, ["z", "b"], **AB)


def test_groups_that_cannot_be_compared_have_no_difference_and_no_p():
    rows = [(f"u{n}", (n % 56) * DAY, "a", "often") for n in range(560)]
    rows += [("v", 3 * DAY, "a", "before only"), ("v", 3 * DAY, "b", "before only")]
    # One week each, where rates could vary: nobody can tell how much.
    rows += [(f"w{n}", (3 if n < 30 else 30) * DAY, "a", "one week") for n in range(60)]
    rows += [(f"w{n}", (3 if n < 30 else 30) * DAY, "b", "one week") for n in range(10, 55)]
    rows.append(("end", 56 * DAY, "x", "x"))
    found = funnel.before_after(
        events(rows, FUNNEL), ["a", "b"], date=START + timedelta(days=28), within="0 seconds", by="segment"
    ).set_index("segment")
    columns = ["difference", "low", "high", "p", "p_adjusted", "spread"]
    assert found.loc["before only", columns].isna().all()
    assert found.loc["one week", columns[1:]].isna().all() and found.loc["one week", "difference"] != 0
    assert found.loc["often", ["difference", "p", "spread"]].tolist() == [0, 1, 1]
    assert (found["tests"] == 1).all()
