"""What cost most, in order; the course of a tree's KPIs; factors of any tree."""

import numpy as np
import pandas as pd
import pytest
from _tables import SAMPLES, only

from perfnb import kpi, workspace
from perfnb.period import Period

DAYS = pd.date_range("2025-06-02", periods=56)
PRODUCT = kpi.Tree.parse("revenue = visits * cvr_visit * aov")


def base_of(**segments):
    """Two times four weeks; each segment is (visits, orders, revenue) a day before and after."""
    rows = []
    for name, (before, after) in segments.items():
        for place, day in enumerate(DAYS):
            period, figures = ("before", before) if place < 28 else ("after", after)
            row = dict(zip(("visits", "orders", "revenue"), figures, strict=True))
            # The same ups and downs in both periods, so that an unchanged segment varies and yet did not move.
            row = {key: float(value * (1 + 0.1 * np.sin(day.day_of_year))) for key, value in row.items()}
            rows.append({"period": period, "date": day, "channel": name} | row)
    frame = pd.DataFrame(rows)
    frame["since"] = frame["period"].map({"before": DAYS[0], "after": DAYS[28]})
    frame["last_day"] = frame["period"].map({"before": DAYS[27], "after": DAYS[55]})
    return frame.assign(covered=28, action="orders", currency="EUR")


FALLEN = base_of(
    page=((100, 10, 1000), (100, 5, 500)),
    traffic=((100, 10, 1000), (80, 8, 800)),
    grown=((100, 10, 1000), (150, 15, 1500)),
    same=((100, 10, 1000), (100, 10, 1000)),
)


def test_the_dearest_segment_comes_first_with_the_factor_that_did_it():
    found = kpi.priorities(kpi.factors(FALLEN, tree=PRODUCT, by=["channel"]), by=["channel"], top=9)
    lost = ["page", "traffic"]
    assert found["channel"].tolist()[:2] == lost and "grown" not in set(found["channel"])
    assert found["rank"].tolist() == list(range(1, len(found) + 1))
    page, traffic = found.iloc[0], found.iloc[1]
    assert (page["kpi"], traffic["kpi"]) == ("cvr_visit", "volume")
    for row in (page, traffic):
        assert row["worse_by"] == pytest.approx(row["before"] - row["after"])
        assert 0 < row["low"] < row["worse_by"] < row["high"] and not row["within_noise"]


def test_what_lies_within_the_usual_variation_comes_after_what_does_not():
    dice = np.random.default_rng(3)
    base = base_of(sure=((100, 10, 1000), (100, 9, 880)), wild=((100, 10, 1000), (100, 10, 900)))
    wild = base["channel"] == "wild"
    base.loc[wild, "revenue"] *= dice.choice([0.05, 3.0], wild.sum())
    factors = kpi.factors(base, tree=PRODUCT, by=["channel"])
    found = kpi.priorities(factors, by=["channel"])
    assert found["channel"].iloc[0] == "sure"
    noisy = found["within_noise"].astype(bool)
    assert noisy.tolist() == sorted(noisy)


def test_of_a_root_that_should_fall_a_rise_is_a_finding_and_a_root_without_direction_has_none():
    costs = FALLEN.assign(cost=FALLEN["visits"] * np.where(FALLEN["period"] == "after", 3.0, 2.0))
    rising = kpi.factors(costs, tree=kpi.Tree.parse("cpo = cost / orders"), by=["channel"])
    found = kpi.priorities(rising, by=["channel"], top=1)
    assert found["worse_by"].iloc[0] > 0 and found["root"].iloc[0] == "cpo"
    assert rising["contribution"].sum() > 0
    without = kpi.factors(
        costs.assign(clicks=costs["visits"]), tree=kpi.Tree.parse("cost = clicks * cpc"), by=["channel"]
    )
    assert kpi.priorities(without, by=["channel"]).empty


def test_one_event_that_rings_in_several_kpis_of_a_segment_counts_once():
    rings = pd.DataFrame(
        {
            "date": pd.Timestamp("2025-07-27"),
            "channel": ["page", "page", "traffic", "same"],
            "kpi": ["orders", "visits", "orders", "orders"],
            "status": ["low", "low", "low", "ok"],
            "impact": [-900.0, -700.0, -50.0, -9e9],
            "expected": 20.0,
            "value": 2.0,
            "low": 10.0,
            "high": 30.0,
            "root": "revenue",
            "currency": "EUR",
        }
    )
    factors = kpi.factors(FALLEN, tree=PRODUCT, by=["channel"])
    found = kpi.priorities(factors, alerts=rings, by=["channel"], top=20)
    alarms = found[found["finding"] == "alarm"]
    assert alarms[["channel", "kpi", "worse_by"]].values.tolist() == [
        ["page", "orders", 900.0],
        ["traffic", "orders", 50.0],
    ]
    assert alarms[["before", "after"]].iloc[0].tolist() == [20.0, 2.0] and alarms["low"].isna().all()


@pytest.mark.parametrize("name", sorted(kpi.TREES))
@pytest.mark.parametrize("by", [["channel"], ["channel", "campaign"]])
def test_factors_of_every_tree_add_up_to_the_change_of_the_root_and_of_each_segment(name, by):
    if not SAMPLES.exists():
        pytest.skip("no data_samples")
    ws = workspace.open(SAMPLES)
    figures = kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, orders=ws.orders)
    base = kpi.base(figures, period="last month", by=by)
    found = kpi.factors(base, tree=kpi.TREES[name], by=by, draws=20)
    change = kpi.nodes(base, tree=kpi.TREES[name], draws=0)["change"].iloc[0]
    assert found["contribution"].sum() == pytest.approx(change, rel=1e-9)
    sums = found.groupby(by, dropna=False)["contribution"].sum()
    own = found.drop_duplicates(by).set_index(by)["change"]
    pd.testing.assert_series_equal(sums.sort_index(), own.sort_index(), check_names=False)
    if set(found["view"]) == {"flat"}:
        segments = found.drop_duplicates(by)
        np.testing.assert_allclose(segments["after"] - segments["before"], segments["change"], atol=1e-6)


def test_the_course_has_a_range_for_counts_and_rates_and_none_for_money():
    days = pd.date_range("2025-05-05", periods=84)
    frame = pd.DataFrame({"date": days, "visits": 100.0, "orders": 10.0, "revenue": 500.0}).assign(
        action="orders", currency="EUR"
    )
    frame.loc[83, ["orders", "revenue"]] = [0.0, 0.0]
    period = Period.parse("2025-07-21..2025-07-27")
    found = kpi.course(frame, kpis=["revenue", "orders", "cvr_visit", "aov", "cost", "cvr × aov"], period=period)
    assert set(found["kpi"]) == {"revenue", "orders", "cvr_visit", "aov"}
    assert found.groupby("kpi").size().eq(7).all()
    assert found.loc[found["kpi"].isin(["orders", "cvr_visit"]), "expected"].notna().all()
    assert found.loc[found["kpi"].isin(["revenue", "aov"]), "expected"].isna().all()
    last = found[found["date"] == days[-1]]
    assert only(last, kpi="orders")["status"] == "low"
    assert only(last, kpi="revenue")["value"] == 0 and pd.isna(only(last, kpi="aov")["value"])
