"""Targets: status from the gap, pace by weekdays, the gap through the tree, objectives."""

import random
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from _tables import SAMPLES, book, only

from perfnb import kpi, workspace
from perfnb.errors import BadParameter, MissingColumns
from perfnb.kpi.catalogue import BASE
from perfnb.kpi.gaps import gap, sensitivity
from perfnb.kpi.targets import Target, targets
from perfnb.kpi.tracking import okr, track

MONTH = ("2025-08-01", "2025-08-31")
SHORT = kpi.Tree.parse("revenue = orders * aov; orders = visits * cvr_visit")


def days(since, until, **columns):
    """A frame as `kpi.daily` gives it: a value for each day of [since, until], or a function of the weekday."""
    dates = pd.date_range(since, until)
    made = {
        name: [value(day.weekday()) if callable(value) else value for day in dates] for name, value in columns.items()
    }
    frame = pd.DataFrame({"date": dates, **made}).assign(action="orders", currency="EUR")
    return frame.astype({name: float for name in columns if name not in ("channel", "campaign")})


def month(**totals):
    """A frame whose August has these sums, all on its first day; its other days have zeros."""
    frame = days(*MONTH, **dict.fromkeys(totals, 0))
    frame.loc[0, list(totals)] = list(totals.values())
    return frame.astype(dict.fromkeys(totals, float))


def one(figures, name, target, period=MONTH, **more):
    """The row of `track` for a single target."""
    options = {key: more.pop(key) for key in ("today", "amber_band") if key in more}
    table = track(figures, Target(name, target, *period, **more), **options)
    assert len(table) == 1
    return table.iloc[0]


def lone(name, actual, target, **more):
    """The row of a finished month in which a KPI has this value."""
    if kpi.CATALOGUE[name].denominator:
        return one(month(cost=actual * 10, orders=10, revenue=actual * 10, visits=10), name, target, **more)
    return one(month(**{name: actual}), name, target, **more)


# Status


@pytest.mark.parametrize(
    ("name", "actual", "target", "status", "gap", "attainment"),
    [
        ("revenue", 100, 100, "green", 0, 1),
        ("revenue", 130, 100, "green", 30, 1.3),
        ("revenue", 95, 100, "amber", -5, 0.95),
        ("revenue", 94.99, 100, "red", -5.01, 0.9499),
        ("cpo", 20, 20, "green", 0, 1),
        ("cpo", 16, 20, "green", 4, 1.25),
        ("cpo", 21, 20, "amber", -1, 20 / 21),
        ("cpo", 25, 20, "red", -5, 0.8),
        ("revenue", 0, 100, "red", -100, 0),
        ("cpo", 0, 20, "green", 20, None),  # nothing to divide the target by
        ("revenue", 5, 0, "green", 5, None),
        ("revenue", -1, 0, "red", -1, None),  # of a target of 0 nothing is near
        ("revenue", -50, -100, "green", 50, None),
        ("revenue", -104, -100, "amber", -4, None),
    ],
)
def test_status_is_from_the_gap_and_attainment_is_only_shown(name, actual, target, status, gap, attainment):
    row = lone(name, actual, target)
    assert row["status"] == status and row["gap"] == pytest.approx(gap)
    assert pd.isna(row["attainment"]) if attainment is None else row["attainment"] == pytest.approx(attainment)
    assert (row["days_left"], row["expected"], row["actual"]) == (0, target, pytest.approx(actual))


def test_a_month_that_reached_its_target_is_green_though_its_days_do_not_add_up_exactly():
    frame = days(*MONTH, revenue=0.1)
    assert frame["revenue"].sum() != 3.1
    for direction in ("higher", "lower"):
        assert one(frame, "revenue", 3.1, direction=direction)["status"] == "green"
    low = one(frame, "revenue", 3.1 / 0.95)  # exactly the amber band below
    assert low["status"] == "amber"


@pytest.mark.parametrize(
    ("actual", "status", "gap", "expected"),
    [
        (2.5, "green", 0.5, 2),
        (3.9, "green", 0.1, 4),
        (2, "green", 0, 2),
        (1.9, "amber", -0.1, 2),
        (1.89, "red", -0.11, 2),
        (4.2, "amber", -0.2, 4),  # 5 % of the end that was crossed, not of the other
        (4.21, "red", -0.21, 4),
    ],
)
def test_a_band_is_left_at_either_end(actual, status, gap, expected):
    row = one(month(revenue=actual, cost=1), "roas", (2, 4))
    assert (row["status"], row["expected"]) == (status, expected) and row["gap"] == pytest.approx(gap)
    assert (row["target_low"], row["target_high"], row["direction"]) == (2, 4, "band")
    assert row[["target", "attainment", "progress", "pace", "needed_per_day"]].isna().all()


def test_a_band_of_a_sum_is_due_in_parts():
    row = one(days(*MONTH, cost=10), "cost", (248, 341), today="2025-08-11")
    assert (row["actual"], row["expected"], row["gap"], row["status"]) == (100, 110, pytest.approx(10), "green")


def test_a_kpi_without_a_direction_has_no_status_but_a_pace():
    row = one(days(*MONTH, cost=10), "cost", 620, today="2025-08-11")
    assert (row["status"], row["pace"], row["projection"]) == ("context", pytest.approx(0.5), pytest.approx(310))
    assert one(days(*MONTH, cost=10), "cost", 300, direction="lower")["status"] == "amber"


def test_the_amber_band_is_a_parameter():
    assert lone("revenue", 91, 100, amber_band=0.1)["status"] == "amber"
    with pytest.raises(BadParameter, match="amber_band"):
        lone("revenue", 91, 100, amber_band=10)


def test_rates_bring_numerator_and_denominator_and_are_ratios_of_sums():
    frame = days(*MONTH, orders=1, visits=10)
    frame.loc[0, ["orders", "visits"]] = 50, 100
    row = one(frame, "cvr_visit", 0.2)
    assert (row["numerator"], row["denominator"]) == (80, 400) and row["actual"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("figures", "name", "flag"),
    [
        (month(revenue=0, cost=0), "roas", "no_base"),
        (month(revenue=5, cost=0), "roas", "numerator_without_denominator"),
        (month(revenue=5), "roas", "not_measurable"),
        (month(revenue=5, cost=0).assign(cost=np.nan), "cost", "not_measurable"),
        (days("2025-07-01", "2025-07-31", revenue=1), "revenue", "not_started"),
        (days("2025-06-01", "2025-08-10", revenue=1), "revenue", None),
        (days("2025-09-01", "2025-09-10", revenue=1), "revenue", "outside_data"),
        (days("2025-08-05", "2025-08-31", revenue=1), "revenue", "outside_data"),
    ],
)
def test_what_cannot_be_held_against_its_target_is_no_data_with_the_reason(figures, name, flag):
    row = one(figures, name, 10)
    assert (row["status"] == "no_data") == (flag is not None) == pd.isna(row["actual"])
    assert row["flag"] == flag or (flag is None and pd.isna(row["flag"]))
    assert row[["gap", "expected", "projection"]].isna().all() or flag is None


def test_reach_is_not_summed_on_its_way_into_a_rate():
    assert one(days(*MONTH, impressions=9, reach=3), "frequency", (2, 4))["flag"] == "not_measurable"


def test_no_orders_mean_no_revenue_but_no_rows_of_a_part_mean_no_data():
    frame = days(*MONTH, channel="A", orders=0, revenue=np.nan)
    assert one(frame, "revenue", 10, channel="A")["actual"] == 0
    assert one(frame, "revenue", 10, channel="a")["flag"] == "segment_not_found"


def test_a_day_without_rows_is_said():
    row = one(days("2025-08-02", "2025-08-31", revenue=1), "revenue", 30)
    assert (row["status"], row["flag"], row["covered"], row["days_elapsed"]) == ("green", "days_missing", 30, 31)


# Pace


@pytest.mark.parametrize("elapsed", [1, 5, 17, 30])
def test_without_a_history_the_share_that_is_due_is_the_share_of_the_days(elapsed):
    frame = days("2025-07-01", "2025-08-31", revenue=7)
    row = one(frame, "revenue", 310, today=date(2025, 8, 1) + timedelta(days=elapsed))
    assert row["pacing"] == "equal_days" and row["expected"] == pytest.approx(310 * elapsed / 31)
    assert row["actual"] == 7 * elapsed and row["pace"] == pytest.approx(0.7)
    assert row["projection"] == pytest.approx(217) and row["status"] == "red"
    assert row["needed_per_day"] == pytest.approx((310 - 7 * elapsed) / (31 - elapsed))
    assert (row["days_elapsed"], row["days_left"]) == (elapsed, 31 - elapsed)


def test_a_shop_that_sells_on_mondays_only_is_not_behind_on_the_sunday_before():
    frame = days("2025-05-01", "2025-09-30", revenue=lambda weekday: 100 if weekday == 0 else 0)
    before = one(frame, "revenue", 400, today="2025-08-04")  # Friday to Sunday are over
    assert (before["pacing"], before["expected"], before["gap"], before["status"]) == ("weekdays", 0, 0, "green")
    assert pd.isna(before["pace"]) and pd.isna(before["projection"])
    after = one(frame, "revenue", 400, today="2025-08-05")
    assert (after["expected"], after["pace"], after["projection"]) == (100, 1, 400)
    assert after["projection_low"] == after["projection_high"] == 400  # its weeks are all alike


def test_eight_whole_weeks_before_the_period_are_the_history_not_seven():
    monday = {"revenue": lambda weekday: 100 if weekday == 0 else 1}
    for first, pacing in (("2025-06-06", "weekdays"), ("2025-06-07", "equal_days")):
        assert one(days(first, "2025-08-10", **monday), "revenue", 100)["pacing"] == pacing


def test_weekdays_of_counts_are_shrunk_and_those_of_amounts_are_not():
    # Eight Mondays with 8 orders each in 56 days: sums (64 + 20) against a mean of 64 / 7 + 20.
    frame = days("2025-06-02", "2025-08-04", orders=lambda weekday: 8 if weekday == 0 else 0)
    row = one(frame.assign(revenue=frame["orders"]), "orders", 100, ("2025-07-28", "2025-08-03"), today="2025-07-29")
    assert row["expected"] == pytest.approx(100 * 84 / (64 + 7 * 20))
    amounts = one(
        frame.assign(revenue=frame["orders"]), "revenue", 100, ("2025-07-28", "2025-08-03"), today="2025-07-29"
    )
    assert amounts["expected"] == pytest.approx(100)


def test_a_weekday_of_refunds_alone_leaves_the_days_equal():
    frame = days("2025-05-01", "2025-08-10", revenue=lambda weekday: -5 if weekday == 6 else 10)
    row = one(frame, "revenue", 310)
    assert (row["pacing"], row["expected"]) == ("equal_days", pytest.approx(100))


def test_a_rate_goes_from_its_baseline_to_the_target_in_a_line():
    frame = days(*MONTH, orders=2, visits=100)
    row = one(frame, "cvr_visit", 0.04, baseline=0.01, today="2025-08-11")
    assert row["expected"] == pytest.approx(0.01 + 0.03 * 10 / 31) and row["status"] == "green"
    assert row["pacing"] == "baseline" and row["progress"] == pytest.approx(1 / 3)
    assert row[["pace", "needed_per_day", "projection"]].isna().all()
    bare = one(frame, "cvr_visit", 0.04, today="2025-08-11")
    assert (
        bare["expected"] == 0.04 and bare["status"] == "red" and pd.isna(bare["pacing"]) and pd.isna(bare["progress"])
    )
    assert one(frame, "cvr_visit", 0.04, baseline=0.01)["expected"] == pytest.approx(0.04)  # the month is over


def test_later_days_than_the_data_are_not_days_without_sales():
    frame = days(*MONTH, revenue=10).iloc[:20]
    row = one(frame, "revenue", 310, today="2025-09-15")
    assert (row["flag"], row["days_elapsed"], row["days_left"], row["status"]) == ("data_behind", 20, 11, "green")
    future = one(frame, "revenue", 310, ("2025-09-01", "2025-09-30"), today="2025-09-15")
    assert (future["status"], future["flag"]) == ("no_data", "outside_data")


def test_an_earlier_today_sees_no_later_day():
    frame = days("2025-05-01", "2025-08-31", revenue=lambda weekday: 10 + weekday)
    for today in ("2025-08-02", "2025-08-15"):
        pd.testing.assert_series_equal(
            one(frame, "revenue", 310, today=today), one(frame[frame["date"] < today], "revenue", 310)
        )


def test_an_interval_holds_the_end_of_the_month_about_as_often_as_it_says():
    dice, held = np.random.default_rng(8), []
    for _ in range(150):
        weekdays = np.exp(dice.normal(0, 0.2, 7))
        level = np.exp(np.cumsum(dice.normal(0, 0.01, 87)) + dice.normal(0, 0.1, 87))
        frame = days("2025-06-06", "2025-08-31", orders=0)
        frame["orders"] = dice.poisson(12 * level * np.resize(weekdays, 87)).astype(float)
        row = one(frame, "orders", 400, today="2025-08-12")
        held.append(row["projection_low"] <= frame["orders"].iloc[56:].sum() <= row["projection_high"])
    assert 0.88 <= np.mean(held) <= 0.99


def test_a_projection_is_not_below_what_is_there_unless_there_are_refunds():
    frame = days("2025-06-06", "2025-08-31", orders=0)
    frame["orders"] = (np.arange(len(frame)) % 5 == 0).astype(float)
    row = one(frame, "orders", 10, today="2025-08-04")
    assert row["projection_low"] >= row["actual"]
    none = one(
        frame.assign(orders=frame["orders"].where(frame["date"] < "2025-08-01", 0)), "orders", 10, today="2025-08-08"
    )
    assert none["projection"] == none["projection_low"] == 0 < none["projection_high"]


# Laws


def random_month(seed):
    dice = random.Random(seed)
    frames = [
        days("2025-05-20", "2025-08-20", channel=channel).assign(
            **{
                name: [dice.choice([0, dice.uniform(0, 50)]) for _ in range(93)]
                for name in ("revenue", "cost", "visits")
            },
            orders=[dice.randint(0, 5) for _ in range(93)],
        )
        for channel in ("A", "B")
    ]
    plan = [
        Target("revenue", dice.uniform(300, 1500), *MONTH),
        Target("revenue", dice.uniform(100, 900), *MONTH, channel="B"),
        Target("roas", dice.uniform(0.5, 1.5), "2025-07-01", "2025-07-31", baseline=dice.uniform(0.2, 2)),
        Target("cpo", dice.uniform(5, 20), *MONTH),
        Target("cost", (dice.uniform(0, 500), dice.uniform(500, 900)), *MONTH),
    ]
    return pd.concat(frames, ignore_index=True), plan


@pytest.mark.parametrize("seed", range(10))
def test_another_currency_changes_neither_status_nor_attainment(seed):
    figures, plan = random_month(seed)
    large = figures.assign(revenue=1e3 * figures["revenue"], cost=1e3 * figures["cost"])
    money = {"revenue", "cpo", "cost"}
    times = [1e3 if row.kpi in money else 1 for row in plan]
    grown = [
        Target(
            row.kpi,
            tuple(end * by for end in row.target) if isinstance(row.target, tuple) else row.target * by,
            row.since,
            row.due,
            channel=row.channel,
            baseline=row.baseline,
        )
        for row, by in zip(plan, times, strict=True)
    ]
    small, big = track(figures, plan), track(large, grown)
    same = ["status", "flag", "pacing"]
    pd.testing.assert_frame_equal(small[same], big[same])
    for name in ("attainment", "pace", "progress"):
        np.testing.assert_allclose(small[name].astype(float), big[name].astype(float))
    for name in ("actual", "expected", "gap", "projection", "projection_low", "projection_high", "needed_per_day"):
        np.testing.assert_allclose(small[name] * times, big[name], err_msg=name)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_rows_and_targets_does_not_matter(seed):
    figures, plan = random_month(seed)
    found = track(figures, plan)
    turned = track(figures.sample(frac=1, random_state=seed).reset_index(drop=True), plan[::-1])
    pd.testing.assert_frame_equal(found, turned.iloc[::-1].reset_index(drop=True))


def test_nothing_that_was_given_is_changed():
    figures, plan = random_month(1)
    kept = figures.copy(deep=True)
    track(figures, plan)
    gap(figures, plan, period="2025-08", tree=SHORT)
    pd.testing.assert_frame_equal(figures, kept)


def test_a_target_of_a_part_sees_its_part_only():
    frame = pd.concat(
        [
            days(*MONTH, channel="A", campaign="x", revenue=1),
            days(*MONTH, channel="A", campaign="y", revenue=2),
            days(*MONTH, channel="B", campaign="x", revenue=4),
        ],
        ignore_index=True,
    )
    parts = [{}, {"channel": "A"}, {"campaign": "x"}, {"channel": "A", "campaign": "x"}]
    assert [one(frame, "revenue", 1, **part)["actual"] for part in parts] == [217, 93, 155, 31]
    with pytest.raises(BadParameter, match="no column campaign"):
        one(frame.drop(columns="campaign"), "revenue", 1, campaign="x")


# What a target must be


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"target": None}, "the value is none"),
        ({"target": float("nan")}, "the value is none"),
        ({"target": "100"}, "the value is '100'"),
        ({"target": True}, "the value is True"),
        ({"target": (1, None)}, "high is none"),
        ({"target": (3, 2)}, "low 3 is above high 2"),
        ({"target": (1, 2), "direction": "higher"}, "a band needs two values"),
        ({"direction": "band"}, "a band needs two values"),
        ({"direction": "up"}, "direction 'up'; expected higher, lower"),
        ({"due": None}, "due is none"),
        ({"due": ""}, "due is none"),
        ({"since": "August"}, "since is 'August'"),
        ({"due": "2025-07-31"}, "due before it begins"),
        ({"baseline": "low"}, "baseline is 'low'"),
        ({"kpi": "revenu"}, "Did you mean revenue"),
        ({"kpi": "reach"}, "distinct persons"),
    ],
)
def test_what_is_not_smart_is_refused_and_says_why(wrong, said):
    given = {"kpi": "revenue", "target": 100, "since": MONTH[0], "due": MONTH[1]} | wrong
    with pytest.raises(BadParameter, match=said):
        Target(**given)


def test_a_target_is_what_it_was_given_in_plain_types():
    made = Target("revenue", 100, pd.Timestamp(MONTH[0]), date(2025, 8, 31), channel="")
    assert made == Target("revenue", 100.0, *MONTH, direction="higher")
    assert hash(made) and Target("cvr_click", 0.1, *MONTH).kpi == "cvr"


def plan(*rows):
    return book(targets=pd.DataFrame(rows)).targets


def test_the_table_of_targets_is_read_row_by_row():
    found = targets(
        plan(
            {
                "kpi": "revenue",
                "period": "2025-08",
                "target": 100.0,
                "owner": "Ana",
                "baseline": 80.0,
                "objective": "O1",
            },
            {"kpi": "roas", "period": "2025", "low": 2.0, "high": 4.0, "channel": "Email"},
            {"kpi": "cost", "since": "2025-08-04", "due": "2025-08-10", "target": 9.0, "direction": "lower"},
        )
    )
    assert found == (
        Target("revenue", 100, *MONTH, owner="Ana", baseline=80, objective="O1"),
        Target("roas", (2, 4), "2025-01-01", "2025-12-31", channel="Email"),
        Target("cost", 9, "2025-08-04", "2025-08-10", direction="lower"),
    )
    assert (
        targets(book(optional=["targets"], campaigns=pd.DataFrame({"date": [MONTH[0]], "visits": [1]})).targets) == ()
    )


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"kpi": "revenue", "period": "2025-13", "target": 1.0}, "targets .*revenue 2025-13: .*no period"),
        ({"kpi": "revenue", "period": "2025-08"} | {"target": None, "low": None}, "the value is none"),
        ({"kpi": "revenue", "period": "2025-08", "target": 1.0, "low": 1.0, "high": 2.0}, "give the one or the other"),
        ({"kpi": "revenue", "period": "2025-08", "due": "2025-08-31", "target": 1.0}, "give the one or the other"),
        ({"kpi": "revenue", "period": None, "target": 1.0, "due": "2025-08-31"}, "since is none"),
        ({"kpi": None, "period": "2025-08", "target": 1.0}, "a row without a KPI"),
    ],
)
def test_a_row_that_is_no_target_is_named(row, said):
    good = {"kpi": "visits", "period": "2025-08", "target": 1.0}
    with pytest.raises(BadParameter, match=said):
        targets(plan(good, row))


def test_a_table_without_values_or_periods_is_named():
    with pytest.raises(MissingColumns, match="missing column target"):
        targets(plan({"kpi": "visits", "period": "2025-08"}))
    with pytest.raises(MissingColumns, match="missing column period"):
        targets(plan({"kpi": "visits", "target": 1.0}))


def test_no_targets_are_an_empty_table_of_the_same_columns():
    empty, full = track(days(*MONTH, revenue=1), []), track(days(*MONTH, revenue=1), Target("revenue", 1, *MONTH))
    assert empty.empty and list(empty.columns) == list(full.columns) and okr(empty).empty
    with pytest.raises(BadParameter, match=r"kpi\.targets"):
        track(days(*MONTH, revenue=1), ["revenue"])


# The gap


def by_path(table):
    return table.set_index("path")["contribution"].to_dict()


def test_the_gap_is_split_by_targets_that_sums_imply():
    figures = month(visits=1000, orders=30, revenue=2700)
    table = gap(
        figures,
        [Target("visits", 800, *MONTH), Target("orders", 40, *MONTH), Target("revenue", 4000, *MONTH)],
        period="2025-08",
        tree=SHORT,
    )
    rows = table.set_index("kpi")
    assert rows["before"].to_dict() == pytest.approx(
        {"revenue": 4000, "orders": 40, "visits": 800, "cvr_visit": 0.05, "aov": 100}
    )
    assert rows.loc[["cvr_visit", "aov"], "flag"].tolist() == ["implied_target"] * 2
    assert rows.loc[["revenue", "orders", "visits"], "flag"].isna().all()
    assert rows.loc["revenue", ["target", "before", "after", "contribution", "share"]].tolist() == [
        4000,
        4000,
        2700,
        -1300,
        1,
    ]
    assert rows.loc["orders", "contribution"] + rows.loc["aov", "contribution"] == pytest.approx(-1300)
    assert rows.loc["visits", "contribution"] > 0 > rows.loc["cvr_visit", "contribution"]
    assert "target_inconsistency" not in rows.index


@pytest.mark.parametrize("seed", range(20))
def test_the_rows_of_a_gap_add_up_to_actual_less_target(seed):
    dice = random.Random(seed)
    names = [
        "revenue",
        "orders",
        "visits",
        "aov",
        "cvr_visit",
        "ad_visits",
        "other_visits",
        "clicks",
        "impressions",
        "ctr",
    ]
    figures = days("2025-05-01", "2025-08-31", channel="A").assign(
        impressions=[dice.uniform(100, 200) for _ in range(123)],
        clicks=[dice.randint(0, 9) for _ in range(123)],
        ad_visits=[dice.randint(0, 9) for _ in range(123)],
        other_visits=[dice.randint(0, 9) for _ in range(123)],
        orders=[dice.randint(0, 3) for _ in range(123)],
        revenue=[dice.uniform(-9, 50) for _ in range(123)],
    )
    figures["visits"] = figures["ad_visits"] + figures["other_visits"]
    chosen = {"revenue", *dice.sample(names, dice.randint(1, len(names)))}
    sums = kpi.CATALOGUE
    aims = [
        Target(name, dice.uniform(0.01, 0.2) if sums[name].denominator else dice.uniform(1, 900), *MONTH)
        for name in sorted(chosen)
    ]
    today = dice.choice(["2025-08-09", "2025-08-20", None])
    table = gap(figures, aims, period="2025-08", today=today)
    root = table.iloc[0]
    reached = figures.loc[
        figures["date"].between(
            "2025-08-01", "2025-08-31" if today is None else pd.Timestamp(today) - pd.Timedelta(days=1)
        )
    ]
    assert root["after"] == pytest.approx(reached["revenue"].sum())
    row = track(figures, [row for row in aims if row.kpi == "revenue"], today=today).iloc[0]
    assert (root["before"], root["contribution"]) == (pytest.approx(row["expected"]), pytest.approx(row["gap"]))
    assert np.isfinite(table["contribution"]).all()
    for parent in table.itertuples():
        below = table[table["path"].str.fullmatch(f"{parent.path}/[^/]+")]
        if len(below):
            assert below["contribution"].sum() == pytest.approx(parent.contribution, rel=1e-9, abs=1e-9)


def test_a_plan_that_does_not_agree_with_itself_says_by_how_much():
    figures = month(visits=1000, orders=30, revenue=3000)
    aims = [Target(name, value, *MONTH) for name, value in (("revenue", 4000), ("orders", 35), ("aov", 100))]
    tree = kpi.Tree.parse("revenue = orders * aov")
    table = gap(figures, aims, period="2025-08", tree=tree)
    row = only(table, kpi="target_inconsistency")
    assert (row["before"], row["after"], row["contribution"], row["path"]) == (
        4000,
        3500,
        -500,
        "revenue/target_inconsistency",
    )
    assert by_path(table) == pytest.approx(
        {"revenue": -1000, "revenue/orders": -500, "revenue/aov": 0, "revenue/target_inconsistency": -500}
    )
    # The root's target may be missing: then it is what its drivers' targets yield.
    assert gap(figures, aims[1:], period="2025-08", tree=tree)["before"].iloc[0] == 3500


def test_a_node_whose_children_lack_targets_is_not_split_and_says_so():
    figures = month(visits=1000, orders=30, revenue=3000, clicks=500)
    table = gap(figures, [Target("revenue", 4000, *MONTH), Target("orders", 40, *MONTH)], period="2025-08", tree=SHORT)
    assert table["path"].tolist() == ["revenue", "revenue/orders", "revenue/aov"]
    assert only(table, kpi="orders")[["op", "flag"]].tolist() == ["", "children_without_target"]
    lone = gap(figures, Target("revenue", 4000, *MONTH), period="2025-08", tree=SHORT)
    assert lone[["path", "op", "contribution", "share", "flag"]].to_numpy().tolist() == [
        ["revenue", "", -1000, 1, "children_without_target"]
    ]


def test_a_tree_that_the_figures_do_not_obey_is_not_split_and_says_so():
    figures = month(visits=0, orders=30, revenue=3000)  # orders without visits
    aims = [Target(name, value, *MONTH) for name, value in (("visits", 800), ("orders", 40), ("revenue", 4000))]
    table = gap(figures, aims, period="2025-08", tree=SHORT)
    assert only(table, kpi="orders")["flag"] == "formula_differs" and table["contribution"].iloc[
        1:
    ].sum() == pytest.approx(-1000)
    blind = gap(month(orders=30, revenue=3000), aims, period="2025-08", tree=SHORT)
    assert only(blind, kpi="orders")["flag"] == "children_not_measurable"


def test_a_target_of_nothing_is_no_divisor():
    aims = [Target("roas", 2, *MONTH), Target("revenue", 10, *MONTH), Target("cost", 0, *MONTH)]
    tree = kpi.Tree.parse("roas = revenue / cost")
    row = only(gap(month(revenue=9, cost=3), aims, period="2025-08", tree=tree), kpi="roas")
    assert row[["before", "after", "flag"]].tolist() == [2, 3, "children_without_target"]


def test_where_all_rows_have_clicks_there_are_no_other_visits():
    figures = month(visits=30, ad_visits=30, clicks=40).assign(other_visits=np.nan)
    aims = [Target("ad_visits", 25, *MONTH), Target("other_visits", 10, *MONTH)]
    tree = kpi.Tree.parse("visits = ad_visits + other_visits")
    found = by_path(gap(figures, aims, period="2025-08", tree=tree))
    assert found == {"visits": -5, "visits/ad_visits": 5, "visits/other_visits": -10}


def test_a_month_without_visits_blames_the_visits():
    aims = [Target(name, value, *MONTH) for name, value in (("visits", 800), ("orders", 40), ("revenue", 4000))]
    found = by_path(gap(month(visits=0, orders=0, revenue=0), aims, period="2025-08", tree=SHORT))
    assert found["revenue/orders/visits"] == pytest.approx(-4000)
    assert found["revenue/aov"] == found["revenue/orders/cvr_visit"] == 0


def test_a_gap_needs_a_target_and_a_figure_of_its_root():
    figures, aims = month(visits=10, orders=1, revenue=9), [Target("revenue", 4000, *MONTH)]
    with pytest.raises(BadParameter, match=r"no target with one value .* 2025-08-01\.\.2025-08-31"):
        gap(figures, aims, period="2025-07")
    with pytest.raises(BadParameter, match="no target for its root visits"):
        gap(figures, aims, period="2025-08", tree=kpi.Tree.parse("visits = ad_visits + other_visits"))
    with pytest.raises(BadParameter, match="no figure for its root revenue"):
        gap(month(visits=10), aims, period="2025-08", tree=SHORT)
    with pytest.raises(BadParameter, match="not_started"):
        gap(figures, [Target("revenue", 1, "2025-10-01", "2025-10-31")], period="2025-10")
    with pytest.raises(BadParameter, match="two targets for revenue"):
        gap(figures, aims * 2, period="2025-08")
    with pytest.raises(BadParameter, match="no figure for its root roas"):  # not on target for want of a base
        gap(
            month(revenue=1, cost=0),
            Target("roas", 2, *MONTH),
            period="2025-08",
            tree=kpi.Tree.parse("roas = revenue / cost"),
        )


# One per cent more


def base_of(**after):
    made = dict.fromkeys(BASE, np.nan) | after
    rows = pd.concat([days("2025-07-01", "2025-07-01", **made), days("2025-08-01", "2025-08-01", **made)])
    return rows.assign(period=["before", "after"], since=rows["date"], last_day=rows["date"], covered=1)


def test_one_per_cent_of_a_leaf_is_worth_what_the_root_gains_from_it():
    base = base_of(revenue=5000, contribution=2000, clicks=200, orders=50, cost=300)
    tree = kpi.Tree.parse("profit = revenue * margin_rate - clicks * cpc; revenue = clicks * cvr * aov")
    base = base.assign(conversions=base["orders"])
    table = sensitivity(base, tree=tree).set_index("kpi")
    values = table["value"].to_dict()
    whole = tree.evaluate(values)["profit"]
    assert whole == pytest.approx(1700)
    for name in tree.leaves:  # the tree is linear in each leaf, so the slope is exact
        more = tree.evaluate(values | {name: values[name] * 1.01})["profit"]
        assert table.loc[name, "worth"] == pytest.approx(more - whole), name
        assert table.loc[name, "one_percent"] == pytest.approx(values[name] / 100)
    assert table.loc["clicks", "worth"] == pytest.approx(17) and table.loc["cpc", "worth"] == pytest.approx(-3)
    assert table["worth"].abs().is_monotonic_decreasing and set(table["root"]) == {"profit"}
    assert table.loc["aov", ["numerator", "denominator"]].tolist() == [5000, 50]


def test_one_per_cent_of_a_denominator_costs_its_share():
    table = sensitivity(base_of(revenue=5000, cost=1000), tree=kpi.Tree.parse("roas = revenue / cost")).set_index("kpi")
    assert table["worth"].to_dict() == pytest.approx({"revenue": 0.05, "cost": -0.05})


def test_a_rate_without_a_base_has_no_worth_and_says_so():
    table = sensitivity(base_of(visits=10, orders=0, revenue=0), tree=SHORT).set_index("kpi")
    assert table.loc["aov", "flag"] == "no_base" and pd.isna(table.loc["aov", "value"])
    assert table.loc["visits", "worth"] != table.loc["visits", "worth"] and table.loc["visits", "flag"] == "no_base"


# Objectives


def test_an_objective_is_as_far_as_its_key_results_each_at_most_whole():
    figures = month(revenue=200, visits=30, orders=4, cost=9)
    aims = [
        Target("revenue", 100, *MONTH, objective="Grow", owner="Ana"),
        Target("visits", 100, *MONTH, objective="Grow", owner="Ana", baseline=10),
        Target("orders", 4, "2025-07-01", "2025-09-30", objective="Grow", owner="Ana", baseline=4),
        Target("leads", 5, *MONTH, objective="Grow", owner="Ana"),
        Target("cost", 5, *MONTH),
    ]
    found = track(figures, aims)
    assert found["progress"].iloc[0] == 2 and found["progress"].iloc[1] == pytest.approx(2 / 9)
    assert found["progress"].iloc[2:].isna().all()
    table = okr(found)
    grow, rest = only(table, objective="Grow"), only(table, objective="(no objective)")
    assert grow["progress"] == pytest.approx((1 + 2 / 9) / 2) and grow["owner"] == "Ana"
    assert grow[["key_results", "measured", "status"]].tolist() == [4, 2, "red"]
    assert grow["due"] == pd.Timestamp("2025-09-30") and grow["since"] == pd.Timestamp("2025-07-01")
    assert rest["status"] == "context" and pd.isna(rest["progress"]) and pd.isna(rest["owner"])
    counts = ["green", "amber", "red", "context", "no_data"]
    assert (table[counts].sum(axis=1) == table["key_results"]).all()


# The sample shop


@pytest.fixture(scope="module")
def shop():
    if not SAMPLES.exists():
        pytest.skip("no data_samples")
    return workspace.open(SAMPLES)


def test_the_plan_of_august_2025_is_met_in_the_samples(shop):
    frame = pd.read_csv(SAMPLES / "campaigns.csv", parse_dates=["date"])
    august = frame[frame["date"] >= "2025-08-01"]
    table = track(shop.campaigns, targets(shop.targets))
    table = table[table["since"] == "2025-08-01"].set_index("kpi")
    for name in ("visits", "orders", "revenue", "cost"):
        assert table.loc[name, "actual"] == pytest.approx(august[name].sum())
    assert table["status"].to_dict() == {"visits": "green", "orders": "green", "revenue": "green", "cost": "context"}
    assert set(table["currency"]) == {"EUR"} and (table["days_left"] == 0).all()


def test_ten_days_into_august_2025_the_samples_are_paced_by_weekdays(shop):
    row = only(
        track(shop.campaigns, targets(shop.targets), today="2025-08-11"), kpi="visits", since=pd.Timestamp("2025-08-01")
    )
    assert (row["pacing"], row["days_elapsed"], row["days_left"], row["status"]) == ("weekdays", 10, 21, "green")
    assert row["expected"] == pytest.approx(4500 * 10 / 31, rel=0.05) and row["expected"] != pytest.approx(
        4500 * 10 / 31
    )
    assert row["projection_low"] < 5473 < row["projection_high"] * 1.1


def test_the_gap_of_august_2025_in_the_samples_is_visits_less_worse_rates(shop):
    table = gap(shop.campaigns, targets(shop.targets), period="2025-08")
    found = by_path(table)
    assert found["revenue"] == pytest.approx(31343.84 - 29000)
    assert found["revenue/orders/visits"] > 0 > found["revenue/orders/cvr_visit"]
    pd.testing.assert_frame_equal(table, gap(shop.campaigns, targets(shop.targets), period="last 31 days"))
    leaves = table[~table["op"].isin(["+", "*"])]
    assert leaves["contribution"].sum() == pytest.approx(found["revenue"])


def test_a_channel_of_the_samples_can_have_a_target_of_its_own(shop):
    frame = pd.read_csv(SAMPLES / "campaigns.csv", parse_dates=["date"])
    email = frame[(frame["channel"] == "Email") & (frame["date"] >= "2025-08-01")]
    row = track(shop.campaigns, [Target("orders", 20, *MONTH, channel="Email")]).iloc[0]
    assert row["actual"] == email["orders"].sum() and row["channel"] == "Email"
