"""Alerts: the charts against a loop written from the method, laws, golden values, planted faults."""

import math
import random
import statistics
from datetime import date

import numpy as np
import pandas as pd
import pytest
from _tables import book, only

from perfnb.errors import BadParameter, MissingColumns
from perfnb.kpi import control
from perfnb.kpi.alerts import WATCHED, alerts, chart
from perfnb.kpi.series import series
from perfnb.kpi.tree import DEFAULT, Tree
from perfnb.period import Period

FIRST = pd.Timestamp("2025-01-06")


# One series and one day at a time, in plain Python; None is an unknown figure.


def loop_ratio(xs, ns, n):
    known = [x is not None and m is not None for x, m in zip(xs, ns, strict=True)]
    xs, ns = ([v if k else 0 for v, k in zip(values, known, strict=True)] for values in (xs, ns))
    if not enough(known) or sum(ns) == 0:
        return None
    rate = sum(xs) / sum(ns)
    index = [(sum(xs[j::7]) + 20) / (rate * sum(ns[j::7]) + 20) for j in range(7)]
    e = [m * index[i % 7] for i, m in enumerate(ns)]
    level = sum(xs[28:]) / sum(e[28:]) if sum(e[28:]) > 0 else sum(xs) / sum(e)
    m = [part * sum(xs) / sum(e) for part in e]
    return max(n * index[0] * level, 0.02), loop_alpha(xs, m, known)


def loop_count(xs):
    known = [x is not None for x in xs]
    if not enough(known) or not any(known[42:]):
        return None
    means = {}
    for j in range(7):
        day = [x for x in xs[j::7] if x is not None]
        if day:
            means[j] = statistics.fmean(day)
    usual = statistics.fmean(means.values())
    index = [(8 * means[j] + 20) / (8 * usual + 20) if j in means else 1.0 for j in range(7)]
    levels = []
    for week in range(8):
        days = [(xs[7 * week + j], index[j]) for j in range(7) if known[7 * week + j]]
        levels.append(sum(x for x, _ in days) / sum(i for _, i in days) if days else None)
    near = [[one for one in levels[max(week - 1, 0) : week + 2] if one is not None] for week in range(8)]
    m = [statistics.fmean(near[i // 7]) * index[i % 7] if known[i] else 0.0 for i in range(56)]
    level = statistics.fmean([one for one in levels[-2:] if one is not None])
    alpha = loop_alpha([x or 0 for x in xs], m, known)
    alpha += 1 / (14 * max(level, 1)) + 1 / max(sum(x or 0 for x in xs[42:]), 1)
    return max(level * index[0], 0.02), alpha


def enough(known):
    return sum(known) >= 40 and sum(known[::7]) >= 4


def loop_alpha(xs, m, known):
    z = [(x - u) / math.sqrt(max(u, 0.05)) for x, u, k in zip(xs, m, known, strict=True) if k]
    s = max(statistics.median(map(abs, z)) / 0.6745, 1)
    s = max(s, min(statistics.pstdev(z), 1.5 * s))
    return max((s * s - 1) / max(statistics.fmean(u for u, k in zip(m, known, strict=True) if k), 0.05), 0)


def loop_score(x, mu, alpha):
    deviance = 2 * ((x * math.log(x / mu) if x else 0) - (x - mu))
    return math.copysign(math.sqrt(max(deviance, 0) / (1 + alpha * mu)), x - mu)


def loop_band(mu, alpha):
    def crossing(at, low, high):
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if loop_score(middle, mu, alpha) < at else (low, middle)
        return low

    top = mu + 1
    while loop_score(top, mu, alpha) < 3:
        top *= 2
    return 0.0 if loop_score(0, mu, alpha) > -3 else crossing(-3, 0.0, mu), crossing(3, mu, top)


def histories(seed, count, days=57):
    """Series of all sizes, from one event a year on, some with outages, with other dispersion, with unknown days."""
    rng = np.random.default_rng(seed)
    size = 10 ** rng.uniform(-2, 4, (count, 1)) * np.exp(rng.normal(0, 0.3, (count, days)))
    n = rng.poisson(30 * size).astype(float)
    x = rng.binomial(n.astype(int), 1 / 30).astype(float)
    x[rng.random(count) < 0.1] = 0
    for row in np.flatnonzero(rng.random(count) < 0.2):
        x[row, rng.integers(0, days, 3)] = 0
    for row in np.flatnonzero(rng.random(count) < 0.3):
        x[row, rng.choice(days - 1, rng.integers(1, 14), replace=False)] = np.nan
    for row in np.flatnonzero(rng.random(count) < 0.1):
        x[row, rng.integers(0, 7) : days - 1 : 7] = np.nan
    return x, n


def plain(values):
    return [None if np.isnan(value) else float(value) for value in values]


@pytest.mark.parametrize("kind", ["ratio", "count"])
def test_the_arrays_say_what_a_loop_says(kind):
    x, n = histories(1, 400)
    if kind == "ratio":
        expected, alpha = control.expect_ratio(x[:, :56], n[:, :56], n[:, 56])
    else:
        expected, alpha = control.expect_count(x[:, :56])
    z = control.score(x[:, 56], expected, alpha)
    low, high = control.band(expected, alpha)
    said = 0
    for row in range(len(x)):
        past = plain(x[row, :56])
        loop = loop_ratio(past, plain(n[row, :56]), n[row, 56]) if kind == "ratio" else loop_count(past)
        if loop is None:
            assert np.isnan([expected[row], alpha[row], z[row], low[row], high[row]]).all()
            continue
        said += 1
        whole = (*loop, loop_score(x[row, 56], *loop), *loop_band(*loop))
        assert (expected[row], alpha[row], z[row], low[row], high[row]) == pytest.approx(whole, rel=1e-9, abs=1e-9)
    assert said > 300


def test_drift_is_eight_scores_on_one_side_and_a_past_is_eight_weeks():
    x, n = histories(2, 60, days=90)
    x[:20, :10] = np.nan
    x = np.where(np.isnan(x), np.nan, x * np.linspace(1, 1.4, 90))
    places = np.arange(60, 90)
    for of in (n, None):
        expected, _, z, drift = control.judge(x, of, places)
        every = control.judge(x, of, np.arange(90))[2]
        assert np.array_equal(every[:, 60:], z, equal_nan=True)
        assert drift.any() and not drift.all()
        for row in range(len(x)):
            for place, t in enumerate(places):
                run = every[row, t - 7 : t + 1]
                assert drift[row, place] == bool((run > 0).all() or (run < 0).all())
        assert np.isnan(expected[:20, :6]).all() and np.isfinite(expected[:20, 6:]).any()


def test_benjamini_hochberg_1995_table_of_fifteen_p_values():
    from perfnb.intervals import adjusted

    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.324,
        0.4262,
        0.5719,
        0.6528,
        0.759,
        1.0,
    ]
    order = random.Random(0).sample(range(15), 15)
    q = adjusted(pd.Series([p[place] for place in order] + [np.nan]))
    assert math.isnan(q.iloc[-1])
    q = dict(zip(order, q, strict=False))
    assert [place for place in range(15) if q[place] <= 0.05] == [0, 1, 2, 3]
    assert q[3] == pytest.approx(0.0095 * 15 / 4)
    assert q[5] == pytest.approx(0.0298 * 15 / 7)


# Whole shops as the result of kpi.daily.


def daily(columns, by="channel", **more):
    """A frame of kpi.daily from {segment: {column: figures by day}}; None is a day without a row."""
    rows = []
    for segment, figures in columns.items():
        for day in range(len(next(iter(figures.values())))):
            if all(values[day] is not None for values in figures.values()):
                row = {"date": FIRST + pd.Timedelta(days=day), by: segment}
                rows.append(row | {name: float(values[day]) for name, values in figures.items()})
    return pd.DataFrame(rows).assign(**{"action": "orders", "currency": "EUR"} | more)


def shop(seed=0, days=90, sizes=(400, 60, 9)):
    """A healthy shop of channels with impressions, clicks, visits, orders, revenue and cost."""
    rng = np.random.default_rng(seed)
    parts = {}
    for number, size in enumerate(sizes):
        weekday = np.exp(rng.normal(0, 0.2, 7))[np.arange(days) % 7]
        clicks = rng.poisson(30 * size * weekday)
        visits = rng.binomial(clicks, 0.9)
        orders = rng.binomial(visits, 0.03)
        parts[f"c{number}"] = {
            "impressions": rng.poisson(clicks * 50),
            "clicks": clicks,
            "ad_visits": visits,
            "other_visits": np.zeros(days),
            "visits": visits,
            "orders": orders,
            "conversions": orders,
            "revenue": orders * 80.0,
            "cost": clicks * 0.4,
        }
    return parts


def test_a_constant_series_by_hand():
    frame = daily({"a": {"orders": [10] * 57, "visits": [500] * 57}})
    table = alerts(frame, kpis=["cvr_visit", "orders"])
    ratio, count = only(table, kpi="cvr_visit"), only(table, kpi="orders")
    assert (ratio["x"], ratio["n"], ratio["value"], ratio["expected"]) == (10, 500, 0.02, 0.02)
    assert (ratio["z"], ratio["p"], ratio["status"]) == (0, 1, "ok")
    # alpha is 0: z(0) = -sqrt(20), beyond -3, so an outage would show.
    assert control.score(np.array(500 * ratio["low"]), 10, 0) == pytest.approx(-3)
    assert control.score(np.array(500 * ratio["high"]), 10, 0) == pytest.approx(3)
    assert ratio["detectable_drop"] == pytest.approx(1 - ratio["low"] / 0.02)
    assert math.isnan(count["n"]) and count["expected"] == pytest.approx(10)
    # alpha is that of a level from two weeks of 10.
    assert control.score(np.array(count["high"]), 10, 1 / 140 + 1 / 140) == pytest.approx(3)


def test_planted_faults_are_found_and_stand_on_top():
    parts = shop()
    fault = parts["c1"]
    fault["orders"] = fault["conversions"] = [*fault["orders"][:-1], round(fault["orders"][-1] * 0.5)]
    broken = parts["c0"]
    broken["orders"] = broken["conversions"] = [*broken["orders"][:-1], 0]
    table = alerts(daily(parts))
    found = table[table["status"] == "low"]
    assert set(zip(found["channel"], found["kpi"], strict=True)) == {
        (channel, name) for channel in ("c0", "c1") for name in ("orders", "cvr_visit")
    }
    assert list(table["status"][: len(found)]) == ["low"] * len(found)
    assert list(found["channel"][:2]) == ["c0", "c0"]
    assert found["impact"].abs().is_monotonic_decreasing and (found["impact"] < 0).all()
    assert (found["q"] < 0.01).all()
    assert (table["q"].dropna() >= table["p"].dropna()).all()


def test_false_alarms_are_few_and_halved_days_are_found_in_a_simulation():
    rng = np.random.default_rng(20261122)
    size = np.exp(rng.uniform(np.log(50), np.log(500), (300, 1)))
    level = size / 0.03 * np.exp(rng.normal(0, 0.2, (300, 7))[:, np.arange(112) % 7] + rng.normal(0, 0.1, (300, 112)))
    clicks = rng.poisson(level).astype(float)
    rate = 0.03 * np.exp(rng.normal(0, 0.08, clicks.shape))
    orders, halved = (rng.binomial(clicks.astype(int), factor * rate).astype(float) for factor in (1, 0.5))
    days = np.arange(84, 112)
    for n, most, least in ((clicks, 0.015, 0.85), (None, 0.02, 0.6)):
        expected, alpha, z, _ = control.judge(orders, n, days)
        assert 0.001 < (np.abs(z) > 3).mean() < most
        assert (control.score(halved[:, days], expected, alpha) < -3).mean() > least
        assert (control.score(np.zeros(z.shape), expected, alpha) < -3).all()


def test_the_order_of_rows_and_the_other_segments_do_not_matter():
    frame = daily(shop())
    table = alerts(frame, day="last 5 days")
    mixed = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(table, alerts(mixed, day="last 5 days"))
    alone = alerts(frame[frame["channel"] == "c1"], day="last 5 days")
    keys = ["date", "channel", "kpi"]
    both = alone.merge(table, on=keys, suffixes=("", "_whole"))
    assert len(both) == len(alone) == 25
    for name in ("x", "expected", "low", "high", "z"):
        assert np.array_equal(both[name], both[f"{name}_whole"], equal_nan=True)


def test_a_day_has_no_part_in_its_own_limits_and_later_days_none_at_all():
    frame = daily(shop())
    day = FIRST + pd.Timedelta(days=80)
    changed = frame.copy()
    changed.loc[changed["date"] == day, ["orders", "conversions"]] += 7
    here, there, early = (
        alerts(part, kpis="orders", day=day.date()).sort_values("channel")
        for part in (frame, changed, frame[frame["date"] <= day])
    )
    for name in ("expected", "low", "high", "detectable_drop"):
        assert here[name].tolist() == there[name].tolist() == early[name].tolist()
    assert (there["z"].to_numpy() > here["z"].to_numpy()).all()


def test_days_one_by_one_are_the_period():
    frame = daily(shop())
    whole = alerts(frame, day=Period(date(2025, 4, 1), date(2025, 4, 4)))
    parts = pd.concat([alerts(frame, day=f"2025-04-0{number}") for number in (1, 2, 3)])
    keys = ["date", "channel", "kpi"]
    pd.testing.assert_frame_equal(
        whole.sort_values(keys, ignore_index=True), parts.sort_values(keys, ignore_index=True), check_exact=False
    )


def test_finer_sums_are_added_up_and_the_caller_s_frame_is_left_alone():
    frame = daily(shop(sizes=(300, 40)))
    fine = pd.concat([frame.assign(campaign="x"), frame.assign(campaign="y")], ignore_index=True)
    kept = fine.copy()
    double = frame.copy()
    double[double.select_dtypes("number").columns] *= 2
    pd.testing.assert_frame_equal(alerts(fine), alerts(double))
    pd.testing.assert_frame_equal(fine, kept)
    assert len(alerts(fine, by=("channel", "campaign"))) == 2 * len(alerts(frame))
    total = alerts(fine, by=(), kpis="orders")
    assert len(total) == 1 and total["x"].iloc[0] == fine[fine["date"] == fine["date"].max()]["orders"].sum()


def test_costs_per_order_are_orders_per_cost_upside_down_in_any_currency():
    parts = shop(sizes=(400,))
    parts["c0"]["orders"] = [*parts["c0"]["orders"][:-1], round(parts["c0"]["orders"][-1] * 0.4)]
    frame = daily(parts)
    euro, cent = (alerts(part, kpis=["cpo", "cpm"]) for part in (frame, frame.assign(cost=frame["cost"] * 100)))
    for one in (euro, cent):
        cpo = only(one, kpi="cpo")
        assert cpo["value"] == pytest.approx(cpo["n"] / cpo["x"])
        assert cpo["low"] < cpo["expected"] < cpo["high"] < cpo["value"]
        assert cpo["status"] == "high" and cpo["z"] > 3
    for name in ("value", "expected", "low", "high"):
        assert cent[name].tolist() == pytest.approx([100 * value for value in euro[name]])
    for name in ("z", "detectable_drop"):
        assert cent[name].tolist() == pytest.approx(euro[name].tolist())
    cpm = only(euro, kpi="cpm")
    assert cpm["value"] == pytest.approx(1000 * cpm["n"] / cpm["x"]) and cpm["x"] == frame["impressions"].iloc[-1]


def test_the_first_eight_weeks_are_too_short_to_say_anything():
    parts = shop(days=90, sizes=(400, 400))
    parts["c1"] = {name: [None] * 20 + list(figures[20:]) for name, figures in parts["c1"].items()}
    table = alerts(daily(parts), kpis="orders", day="last 40 days")
    early = table[(table["channel"] == "c1") & (table["date"] < FIRST + pd.Timedelta(days=76))]
    assert set(early["status"]) == {"too_short"} and early["expected"].isna().all() and early["x"].notna().all()
    assert not (table[table["date"] >= FIRST + pd.Timedelta(days=76)]["status"] == "too_short").any()


def test_a_day_without_a_row_is_nothing_and_a_day_without_any_row_is_unknown():
    parts = shop(sizes=(400, 400))
    without = {
        name: [None if day in (70, 88) else value for day, value in enumerate(values)]
        for name, values in parts["c1"].items()
    }
    zeros = {
        name: [0 if day in (70, 88) else value for day, value in enumerate(values)]
        for name, values in parts["c1"].items()
    }
    absent, zero = (
        alerts(daily(parts | {"c1": figures}), day="last 3 days").sort_values(["date", "channel", "kpi"])
        for figures in (without, zeros)
    )
    assert absent["advice"].eq("check_rows").sum() == 3
    pd.testing.assert_frame_equal(absent.drop(columns="advice"), zero.drop(columns="advice"))
    day = FIRST + pd.Timedelta(days=88)
    gone = only(absent[absent["date"] == day], channel="c1", kpi="orders")
    assert (gone["x"], gone["status"]) == (0, "low")
    assert only(absent[absent["date"] == day], channel="c1", kpi="cvr_visit")["status"] == "no_data"

    frame = daily(parts)
    frame = frame[frame["date"] != day]
    table = alerts(frame, day="last 2 days")
    hole = table[table["date"] == day]
    assert len(hole) == 10 and set(hole["status"]) == {"no_data"}
    assert hole[["x", "value", "expected", "z", "p", "q", "impact"]].isna().all(axis=None)
    after = table[table["date"] > day]
    assert not after["status"].isin(["no_data", "too_short"]).any()


def test_unknown_days_of_the_past_stay_out_and_too_many_are_too_short():
    orders = np.array([100.0 + 30 * (day % 7 == 5) for day in range(64)])
    frame = daily({"a": {"orders": orders}, "b": {"orders": orders}})
    frame.loc[frame["date"] < FIRST, "orders"] = 0
    known = only(alerts(frame, kpis="orders"), channel="a")
    hidden = frame.copy()
    hidden.loc[
        (hidden["channel"] == "a") & hidden["date"].dt.day.isin(range(10, 25)) & (hidden["date"].dt.month == 2),
        "orders",
    ] = None
    table = only(alerts(hidden, kpis="orders"), channel="a")
    assert table["expected"] == pytest.approx(known["expected"], rel=1e-3) and table["status"] == "ok"
    hidden.loc[(hidden["channel"] == "a") & (hidden["date"].dt.month == 2), "orders"] = None
    assert only(alerts(hidden, kpis="orders"), channel="a")["status"] == "too_short"


def test_a_day_in_a_long_gap_of_the_data_has_no_series():
    frame = daily(shop(days=200))
    gap = frame["date"].between(FIRST + pd.Timedelta(days=70), FIRST + pd.Timedelta(days=190))
    table = alerts(frame[~gap], by="channel", day=(FIRST + pd.Timedelta(days=185)).date())
    assert table.empty and list(table) == list(alerts(frame))


def test_a_shop_that_reports_five_days_a_week_is_charted():
    parts = {"a": {"orders": [100 if day % 7 < 5 else None for day in range(75)]}}
    table = alerts(daily(parts), kpis="orders", day=Period(date(2025, 3, 17), date(2025, 3, 22)))
    assert table["status"].tolist() == ["ok"] * 5
    assert table["expected"].tolist() == pytest.approx([100] * 5)


def test_nothing_sold_is_no_news_and_thin_series_say_what_would_show():
    rng = np.random.default_rng(4)
    parts = {
        "zero": {"orders": np.zeros(80), "visits": np.full(80, 200)},
        "rare": {"orders": rng.binomial(1, 0.05, 80), "visits": np.full(80, 200)},
        "thin": {"orders": rng.poisson(2, 80), "visits": np.full(80, 200)},
        "large": {"orders": rng.poisson(200, 80), "visits": np.full(80, 9000)},
    }
    table = alerts(daily(parts), kpis=["orders", "cvr_visit"]).set_index(["channel", "kpi"])
    for kpi in ("orders", "cvr_visit"):
        for channel, advice in (("zero", "look_wider"), ("rare", "look_wider"), ("thin", "sum_weeks")):
            row = table.loc[(channel, kpi)]
            assert (row["status"], row["advice"]) == ("too_few", advice)
            assert math.isnan(row["detectable_drop"]) and row["outage_days"] > 1 and row["low"] == 0
        row = table.loc[("large", kpi)]
        assert row["status"] == "ok" and row["outage_days"] == 1 and 0 < row["detectable_drop"] < 0.5
    # The days that an outage must last, by the formula: a sum of k days has k times the square of a day's score.
    thin = table.loc[("thin", "cvr_visit")]
    past = np.append(parts["thin"]["orders"][-57:], 0)
    expected, alpha = loop_ratio(list(past[:56]), [200] * 56, 200)
    assert thin["outage_days"] == math.ceil((3 / loop_score(0, expected, alpha)) ** 2)


def test_a_campaign_that_ended_is_an_alarm_for_days_then_no_news_then_no_series():
    rng = np.random.default_rng(8)
    parts = {"a": {"orders": rng.poisson(50, 200)}, "b": {"orders": [*rng.poisson(50, 90), *[None] * 110]}}
    table = alerts(daily(parts), kpis="orders", day="last 120 days").sort_values("date")
    ended = table[(table["channel"] == "b") & (table["date"] >= FIRST + pd.Timedelta(days=90))]
    said = ended["status"].tolist()
    assert said[0] == "low" and ended["advice"].iloc[0] == "check_rows"
    assert 5 <= said.count("low") <= 14 and said[14:] == ["too_few"] * (len(said) - 14)
    assert len(said) == 56


def test_what_is_ok_is_a_number():
    x, n = histories(3, 80, days=75)
    frame = daily(
        {
            f"s{row}": {"orders": x[row], "visits": n[row], "cost": n[row] * 0.3, "revenue": x[row] * 9}
            for row in range(80)
        }
    )
    table = alerts(frame, kpis=["orders", "visits", "cvr_visit", "cpo"], day="last 15 days")
    numbers = ["x", "value", "expected", "low", "high", "z", "p", "q", "detectable_drop", "outage_days"]
    fine = table[table["status"].isin(["ok", "drift", "low", "high"])]
    assert len(fine) > 500
    fine = fine[fine["outage_days"] == 1]
    finite = np.isfinite(fine[numbers].astype(float))
    # A cost per order on a day without any has no value.
    assert finite.drop(columns="value").all(axis=None)
    assert finite["value"].eq((fine["kpi"] != "cpo") | (fine["x"] > 0)).all()
    assert not np.isinf(table[[*numbers, "n", "impact"]].astype(float)).any(axis=None)
    assert (table[table["impact"].isna() & table["z"].notna()]["flag"] == "not_in_tree").all()
    assert ((fine["low"] <= fine["expected"]) & (fine["expected"] <= fine["high"])).all()
    alarm = fine["status"].isin(["high", "low"])
    outside = (fine["value"] > fine["high"]) | (fine["value"] < fine["low"])
    assert outside.eq(alarm)[fine["value"].notna()].all()


# Money through the tree.


def test_impact_is_what_the_root_would_have_been_by_hand():
    frame = daily(shop())
    table = alerts(frame).set_index(["channel", "kpi"])
    day = frame[frame["date"] == frame["date"].max()]
    total = day.drop(columns=["date", "channel", "action", "currency"]).sum()
    for (_, kpi), row in table.iterrows():
        excess = row["x"] - row["expected"] * (1 if math.isnan(row["n"]) else row["n"])
        per = {"orders": 80, "cvr_visit": 80, "visits": 80 * total["orders"] / total["visits"]}
        per["clicks"] = per["ctr"] = per["visits"] * total["visits"] / total["clicks"]
        assert row["impact"] == pytest.approx(excess * per[kpi])
    assert set(table["root"]) == {"revenue"} and set(table["currency"]) == {"EUR"}


def test_impact_in_a_tree_where_a_kpi_has_two_places():
    frame = daily(shop())
    tree = Tree.parse("profit = revenue - cost; revenue = clicks * cvr * aov; cost = clicks * cpc")
    table = alerts(frame, kpis=["clicks", "cpc", "ctr"], tree=tree)
    day = frame[frame["date"] == frame["date"].max()]
    total = day.drop(columns=["date", "channel", "action", "currency"]).sum()
    for _, row in table.iterrows():
        if row["kpi"] == "ctr":
            assert math.isnan(row["impact"]) and row["flag"] == "not_in_tree"
            continue
        usual = row["expected"] if row["kpi"] == "clicks" else row["n"] / row["expected"]
        clicks = total["clicks"] - row["x"] + usual
        values = {"cvr": total["orders"] / total["clicks"], "aov": 80.0, "cpc": 0.4, "clicks": total["clicks"]}
        other = values | ({"clicks": clicks} if row["kpi"] == "clicks" else {"cpc": total["cost"] / clicks})
        change = [tree.evaluate(one)["profit"] for one in (values, other)]
        assert row["impact"] == pytest.approx(change[0] - change[1])


def test_an_outage_of_the_whole_shop_is_priced_with_the_order_value_of_the_days_before():
    parts = shop(sizes=(400,))
    parts["c0"] |= {name: [*parts["c0"][name][:-1], 0] for name in ("orders", "conversions", "revenue")}
    row = only(alerts(daily(parts), kpis="orders"), kpi="orders")
    assert row["status"] == "low" and row["impact"] == pytest.approx(-80 * row["expected"])


def test_without_revenue_the_impact_is_null_with_its_reason():
    frame = daily(shop()).drop(columns="revenue")
    table = alerts(frame, kpis=["orders", "ctr"])
    assert table["impact"].isna().all() and set(table["flag"]) == {"root_unknown"}
    inner = alerts(frame, kpis="orders", tree=Tree.parse("orders = visits * cvr_visit"))
    assert inner["impact"].tolist() == pytest.approx((inner["x"] - inner["expected"]).tolist())


# The control chart, the doors, the errors.


def test_the_chart_shows_what_alerts_say():
    frame = daily(shop())
    said = alerts(frame, kpis=["cvr_visit"], day="last 20 days")
    said = said[said["channel"] == "c1"].sort_values("date", ignore_index=True)
    shown = chart(frame, kpi="cvr_visit", segment={"channel": "c1"}, period="last 20 days")
    pd.testing.assert_frame_equal(said[list(shown)], shown, check_dtype=False)
    whole = chart(frame, kpi="orders")
    assert len(whole) == 56 and whole["date"].iloc[-1] == frame["date"].max()
    assert (whole["status"] == "too_short").sum() == 22
    assert len(chart(frame[frame["date"] < FIRST + pd.Timedelta(days=30)], kpi="orders")) == 30


def test_from_the_table_as_from_its_daily_sums():
    rng = np.random.default_rng(6)
    days = pd.date_range("2025-01-06", periods=80)
    campaigns = pd.DataFrame(
        [
            (day, channel, f"{channel}{number}", *rng.poisson([4000, 200, 180, 12]), 12 * 80.0, 90.0, "EUR")
            for day in days
            for channel in ("Email", "Search")
            for number in (1, 2)
        ],
        columns=[
            "date",
            "channel",
            "campaign",
            "impressions",
            "clicks",
            "visits",
            "orders",
            "revenue",
            "cost",
            "currency",
        ],
    )
    campaigns["leads"] = campaigns["orders"] + 3
    from perfnb.kpi.figures import daily as sums

    table = book(campaigns=campaigns).campaigns
    here = alerts(table)
    assert set(here["kpi"]) == set(WATCHED) and set(here["channel"]) == {"Email", "Search"}
    pd.testing.assert_frame_equal(here, alerts(sums(table, by=["channel", "campaign"])), check_dtype=False)
    assert here["action"].isna().all()
    leads = alerts(table, kpis=["cvr", "conversions"], action="leads")
    assert set(leads["action"]) == {"leads"}
    assert len(chart(table, kpi="cvr", segment={"campaign": "Email1"}, action="leads")) == 56


@pytest.mark.parametrize("name", ["aov", "roas", "revenue", "profit_margin"])
def test_money_has_no_chart_of_counts(name):
    with pytest.raises(BadParameter, match=r"Watch the counts"):
        series(name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kpis": "aov"}, "kpis=\\['orders', 'cvr_visit', 'cpo'\\]"),
        ({"kpis": "cvr_visits"}, "Did you mean"),
        ({"kpis": ["orders", "cpl"]}, "KPI cpl: not measurable with these data, which have no figures of leads"),
        ({"day": "2026-01-01"}, "the data hold 2025-01-06..2025-04-05"),
        ({"day": "last 100 days"}, "Choose a day or a period inside them"),
        ({"day": "yesterday"}, "is no period"),
        ({"day": 31}, "day 31: expected a day"),
    ],
)
def test_a_wrong_parameter_is_named(options, message):
    with pytest.raises(BadParameter, match=message):
        alerts(daily(shop()), **options)


def test_missing_columns_and_segments_are_named():
    frame = daily(shop())
    with pytest.raises(MissingColumns, match=r"campaign.*kpi\.daily"):
        alerts(frame, by=("channel", "campaign"))
    with pytest.raises(BadParameter, match="found c0, c1, c2"):
        chart(frame, kpi="orders", segment={"channel": "Radio"})
    with pytest.raises(BadParameter, match="not measurable"):
        alerts(frame[["date", "channel", "revenue"]])
    with pytest.raises(BadParameter, match="no rows"):
        alerts(frame.iloc[:0])


def test_the_default_tree_prices_every_kpi_watched():
    assert set(WATCHED) <= {name for name, _, _ in DEFAULT.walk()}
