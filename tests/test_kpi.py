"""KPI tree: published decompositions, laws on random tables, periods, figures counted from events."""

import json
import math
import random
import re
from datetime import date

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, book, events, only, shared

from perfnb import checks, kpi, workspace
from perfnb.errors import BadParameter, MissingColumns, MissingTable
from perfnb.kpi.catalogue import BASE
from perfnb.kpi.weights import log_mean, weights
from perfnb.period import Period

DAY = 86_400
FLAT = kpi.Tree.parse("revenue = impressions * ctr * cvr * aov")
TREES = [
    kpi.DEFAULT,
    kpi.Tree.parse("revenue = orders * aov; orders = visits * cvr_visit"),
    kpi.Tree.parse("revenue = visits * cvr_visit * aov; visits = ad_visits + other_visits"),
    kpi.Tree.parse("other_visits = visits - ad_visits; ad_visits = clicks * visits_per_click"),
    kpi.Tree.parse("revenue = cost * roas; cost = clicks * cpc"),
]


def base_of(rows):
    """The result of `kpi.base` from dicts: period, channel, campaign and base columns (absent ones are null)."""
    frame = pd.DataFrame(rows)
    for name in BASE:
        frame[name] = pd.to_numeric(frame[name]).astype(float) if name in frame else np.nan
    day = frame["period"].map({"before": pd.Timestamp("2025-07-01"), "after": pd.Timestamp("2025-08-01")})
    frame["conversions"] = frame["orders"]
    return frame.assign(date=day, since=day, last_day=day, covered=1, action="orders", currency="EUR")


def chain(before, after):
    """A base of one segment from (impressions, clicks, conversions, revenue); a visit for each click."""
    return base_of(
        {"period": period, "channel": "c", "campaign": "c"}
        | dict(zip(("impressions", "clicks", "orders", "revenue"), row, strict=True))
        | {"visits": row[1], "ad_visits": row[1]}
        for period, row in (("before", before), ("after", after))
    )


def random_base(seed, *, wild=True, segments=5):
    """Two periods of segments with zeros; wild: nulls, refunds, orders without visits, new and lost segments."""
    dice = random.Random(seed)
    rows = []
    for segment in range(segments):
        organic = dice.random() < 0.3
        kept = [("before",), ("after",), ("before", "after")][dice.choice([0, 1, 2, 2, 2]) if wild else 2]
        for period in kept:
            low = 0 if wild else 1
            row = {"period": period, "channel": f"c{segment % 2}", "campaign": f"s{segment}"}
            row["visits"] = dice.choice([low, dice.randint(low, 40)])
            row["orders"] = dice.choice([low, dice.randint(low, 9)])
            row["revenue"] = dice.randint(-50 if wild else 1, 400) if row["orders"] or dice.random() < 0.2 else 0
            if organic:
                row["other_visits"] = row["visits"]
            else:
                row |= {"ad_visits": row["visits"], "clicks": dice.randint(low, 50), "cost": dice.randint(low, 90)}
                row["impressions"] = dice.choice([low, dice.randint(low, 900)])
            rows.append(row)
    # Every column is known in both periods, so that no tree is cut short.
    for period in ("before", "after"):
        rows.append(
            {"period": period, "channel": "c0", "campaign": "all"}
            | dict.fromkeys(BASE, 0 if wild else 1)
            | ({} if wild else {"visits": 2})
        )
    return base_of(rows)


def explained(base, tree):
    """Nodes and movers; None where the tree refuses the data, which it must do by BadParameter."""
    return kpi.nodes(base, tree=tree), kpi.explain(base, tree=tree)


def closing(nodes):
    """The tolerance of the laws: 1e-9 of the larger value of the root."""
    return 1e-9 * max(abs(nodes["before"].iloc[0]), abs(nodes["after"].iloc[0]), 1.0)


def case(name):
    return json.loads(shared(f"cases/kpi/{name}.json").read_text())


# Golden values


@pytest.mark.parametrize("name", ["d01_dasgupta_published", "d02_dasgupta_published"])
def test_factors_equal_the_published_examples_of_das_gupta_1993(name):
    found = case(name)
    x0, x1 = found["inputs"]["x0"], found["inputs"]["x1"]
    names = ["one", "two", "three"][: len(x0)]
    tree = kpi.Tree.parse(f"y = {' * '.join(names)}")
    before, after = (dict(zip(names, end, strict=True)) for end in (x0, x1))
    for method, expected in (("shapley", "shapley_flat"), ("logmean", "lmdi")):
        effects = kpi.decompose(tree, before, after, method=method).set_index("kpi")["contribution"]
        np.testing.assert_allclose(effects[names], found["expected"][expected], rtol=1e-9)
        assert math.isclose(effects[names].sum(), effects["y"])
    effects = kpi.decompose(tree, before, after, method="shapley").set_index("kpi")["contribution"]
    np.testing.assert_allclose(effects[names], found["expected"]["published"], rtol=2e-6)


@pytest.mark.parametrize("method", ["logmean", "shapley"])
@pytest.mark.parametrize(
    "name",
    ["p01_revenue_chain_all_move", "p02_only_one_factor_moves", "p04_zero_conversions_after", "p06_new_segment"],
)
def test_flat_chains_equal_the_reference(name, method):
    found = case(name)
    nodes = kpi.nodes(chain(found["inputs"]["period_0"], found["inputs"]["period_1"]), tree=FLAT, method=method)
    expected = found["expected"]
    effects = nodes.set_index("kpi")["contribution"]
    assert effects["revenue"] == expected["delta"]
    for factor, effect in expected["lmdi" if method == "logmean" else "shapley_flat"].items():
        near = 1e-9 * max(map(abs, found["inputs"]["period_0"] + found["inputs"]["period_1"]))
        assert effects[factor] == pytest.approx(effect, abs=near)
        if expected["factors_0"][factor] == expected["factors_1"][factor]:
            assert effects[factor] == 0, factor  # what did not move gets exactly nothing
    auto = kpi.nodes(chain(found["inputs"]["period_0"], found["inputs"]["period_1"]), tree=FLAT)["method"]
    assert set(auto) == {"logmean" if name[:3] in ("p01", "p02") else "shapley"}


@pytest.mark.parametrize(
    ("method", "key"), [("logmean", "logmean_tree"), ("shapley", "shapley_tree(node-local, chain rule)")]
)
def test_t01_the_tree_gives_each_node_what_the_reference_gives_it(method, key):
    found = case("t01_nested_vs_flat")
    leaves = ["impressions", "ctr", "cvr", "aov"]
    before, after = (dict(zip(leaves, found["inputs"][f"leaves_{end}"], strict=True)) for end in (0, 1))
    effects = kpi.decompose(kpi.Tree.parse(found["inputs"]["tree"]), before, after, method=method)
    effects = effects.set_index("path")["contribution"]
    assert len(effects) == len(found["expected"][key])
    for path, effect in found["expected"][key].items():
        assert effects[path.removeprefix("/")] == pytest.approx(effect, abs=1e-9 * 48_000), path


@pytest.mark.parametrize("method", ["logmean", "shapley"])
def test_t03_a_quotient_equals_the_reference(method):
    found = case("t03_cac_quotient")
    before, after = ({name: pair[end] for name, pair in found["inputs"].items()} for end in (0, 1))
    for text in ("cac = cpc / cvr_new; cvr_new = cvr * new_share", "cac = cpc / (cvr * new_share)"):
        effects = kpi.decompose(kpi.Tree.parse(text), before, after, method=method).set_index("kpi")["contribution"]
        for path, effect in found["expected"][method].items():
            name = path.split("/")[-1]
            name = "cvr × new_share" if name == "cvr_new" and "(" in text else name
            assert effects[name] == pytest.approx(effect, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "tree", "rate"),
    [
        ("r01_cvr_by_campaign", "orders = visits * cvr_visit", "cvr_visit"),
        ("r03_roas_by_campaign", "revenue = cost * roas", "roas"),
        ("r05_aov_by_campaign", "revenue = orders * aov", "aov"),
    ],
)
def test_rate_and_mix_by_campaign_equal_the_reference(name, tree, rate):
    found = case(name)
    rows = [dict(zip(found["inputs"]["columns"], row, strict=True)) for row in found["inputs"]["rows"]]
    base = base_of(
        row
        | {"period": {1: "before", 2: "after"}[row["period"]], "orders": row["conversions"], "visits": row["clicks"]}
        for row in rows
    )
    tree = kpi.Tree.parse(tree)
    node = only(kpi.nodes(base, tree=tree), kpi=rate)
    expected = found["expected"]
    assert (node["before"], node["after"]) == pytest.approx((expected["R0"], expected["R1"]))
    movers = kpi.explain(base, tree=tree)
    parts = movers[movers["kpi"] == rate].assign(effect=lambda table: table["contribution"] / node["weight"])
    near = 1e-9 * max(expected["R0"], expected["R1"])
    for segment, effects in expected["segments"].items():
        channel, campaign = segment.split("/")
        rows = parts[(parts["channel"] == channel) & (parts["campaign"] == campaign)].set_index("kind")["effect"]
        assert rows.get("rate", 0.0) == pytest.approx(effects["rate"], abs=near), segment
        assert rows.get("mix", 0.0) == pytest.approx(effects["mix"], abs=near), segment
        assert set(rows.index) == ({"rate", "mix"} if effects["status"] == "both" else {"mix"}), segment
    for kind in ("rate", "mix"):
        assert parts.loc[parts["kind"] == kind, "effect"].sum() == pytest.approx(expected["sum"][kind], abs=near)


def test_r07_both_segments_improve_and_the_total_falls():
    found = case("r07_simpson")
    rows = [
        {"period": period, "channel": "c", "campaign": str(s), "orders": orders, "visits": visits}
        for period, end in (("before", 0), ("after", 1))
        for s, (orders, visits) in enumerate(
            zip(found["inputs"][f"conversions_{end}"], found["inputs"][f"clicks_{end}"], strict=True)
        )
    ]
    tree = kpi.Tree.parse("orders = visits * cvr_visit")
    weight = only(kpi.nodes(base_of(rows), tree=tree), kpi="cvr_visit")["weight"]
    movers = kpi.explain(base_of(rows), tree=tree)
    for s, effects in enumerate(found["expected"]["segments"]):
        for kind in ("rate", "mix"):
            effect = only(movers, kpi="cvr_visit", campaign=str(s), kind=kind)["contribution"] / weight
            assert effect == pytest.approx(effects[kind], rel=1e-9)


# Laws


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.root)
@pytest.mark.parametrize("wild", [True, False])
def test_children_leaves_and_movers_add_up_at_every_level_and_are_finite(tree, wild):
    seen = set()
    for seed in range(25):
        base = random_base(f"{seed}{wild}", wild=wild)
        nodes, movers = explained(base, tree)
        near, change = closing(nodes), nodes["change"].iloc[0]
        totals = {period: base.loc[base["period"] == period, tree.root].sum() for period in ("before", "after")}
        assert change == pytest.approx(totals["after"] - totals["before"], abs=near)
        for node in nodes.itertuples():
            below = nodes["path"].str.fullmatch(f"{re.escape(node.path)}/[^/]+")
            if below.any():
                assert nodes.loc[below, "contribution"].sum() == pytest.approx(node.contribution, abs=near), node.path
            else:
                assert pd.isna(node.op), node.path
        assert nodes.loc[nodes["op"].isna(), "contribution"].sum() == pytest.approx(change, abs=near)
        assert movers["contribution"].sum() == pytest.approx(change, abs=near)
        assert kpi.kinds(base, tree=tree)["contribution"].sum() == pytest.approx(change, abs=near)
        leaves = nodes[nodes["op"].isna() & (nodes["kpi"] != "unallocated")].groupby("kpi")["contribution"].sum()
        moved = movers[movers["kind"] != "unallocated"].groupby("kpi")["contribution"].sum()
        assert moved.reindex(leaves.index, fill_value=0.0).to_dict() == pytest.approx(leaves.to_dict(), abs=near)
        for table in (nodes, movers):
            assert np.isfinite(table["contribution"]).all()
            assert not np.isinf(table.select_dtypes("number").to_numpy(float)).any()
        seen |= set(movers["kind"]) | {nodes["method"].iloc[0]}
    if tree is kpi.DEFAULT:
        kinds = {"volume", "rate", "mix", "undefined", "unallocated", "shapley"} if wild else {"volume", "logmean"}
        assert kinds <= seen


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.root)
@pytest.mark.parametrize("wild", [True, False])
def test_turning_time_round_turns_every_contribution_round(tree, wild):
    for seed in range(12):
        base = random_base(f"time {seed}", wild=wild)
        back = base.assign(period=base["period"].map({"before": "after", "after": "before"}))
        (nodes, movers), (nodes_back, movers_back) = explained(base, tree), explained(back, tree)
        near = closing(nodes)
        one, other = (table.set_index("path")["contribution"].to_dict() for table in (nodes, nodes_back))
        assert one == pytest.approx({path: -value for path, value in other.items()}, abs=near)
        one, other = (
            table.groupby(["kpi", "channel", "campaign", "kind"])["contribution"].sum().to_dict()
            for table in (
                movers.fillna({"channel": "", "campaign": ""}),
                movers_back.fillna({"channel": "", "campaign": ""}),
            )
        )
        assert one == pytest.approx({key: -value for key, value in other.items()}, abs=near)


def test_the_order_of_rows_and_an_empty_segment_change_nothing():
    for seed in range(20):
        base = random_base(seed)
        empty = base_of(
            {"period": period, "channel": "new", "campaign": "empty"} | dict.fromkeys(BASE, 0)
            for period in ("before", "after")
        )
        other = pd.concat([base, empty]).sample(frac=1, random_state=seed)
        for one, two in zip(explained(base, kpi.DEFAULT), explained(other, kpi.DEFAULT), strict=True):
            pd.testing.assert_frame_equal(one, two)


def test_money_in_cents_scales_every_contribution():
    for seed in range(20):
        base = random_base(seed)
        cents = base.assign(revenue=100 * base["revenue"], cost=100 * base["cost"])
        for one, two in zip(explained(base, kpi.DEFAULT), explained(cents, kpi.DEFAULT), strict=True):
            np.testing.assert_allclose(100 * one["contribution"], two["contribution"], rtol=1e-9, atol=1e-9)


def rate_and_mix(base, tree, rate):
    weight = only(kpi.nodes(base, tree=tree), kpi=rate)["weight"]
    movers = kpi.explain(base, tree=tree)
    return movers[movers["kpi"] == rate].groupby("kind")["contribution"].sum() / weight


def test_a_period_of_another_size_changes_neither_rate_nor_mix():
    tree = kpi.Tree.parse("orders = visits * cvr_visit")
    for seed in range(20):
        base = random_base(seed, wild=False)
        grown = base.copy()
        grown.loc[grown["period"] == "after", list(BASE)] *= 7
        one, other = rate_and_mix(base, tree, "cvr_visit"), rate_and_mix(grown, tree, "cvr_visit")
        assert one.to_dict() == pytest.approx(other.to_dict(), abs=1e-12)


def test_merging_segments_of_equal_rates_leaves_rate_and_mix_alone():
    tree = kpi.Tree.parse("orders = visits * cvr_visit")
    rows = [
        {"period": period, "channel": "c", "campaign": name, "visits": visits, "orders": orders}
        for period, name, visits, orders in [
            ("before", "a", 100, 10),
            ("before", "b", 300, 30),
            ("before", "z", 50, 1),
            ("after", "a", 400, 20),
            ("after", "b", 100, 5),
            ("after", "z", 90, 8),
        ]
    ]
    split = base_of(rows)
    merged = split.assign(campaign=split["campaign"].replace({"b": "a"}))
    one, other = rate_and_mix(split, tree, "cvr_visit"), rate_and_mix(merged, tree, "cvr_visit")
    assert one.to_dict() == pytest.approx(other.to_dict())
    assert abs(one["mix"]) > 1e-4


def test_collapsing_a_node_changes_nothing_elsewhere_with_log_means():
    for seed in range(10):
        base = random_base(seed, wild=False)
        deep = kpi.nodes(base, tree=TREES[1]).set_index("kpi")["contribution"]
        flat = kpi.nodes(base, tree=kpi.Tree.parse("revenue = visits * cvr_visit * aov")).set_index("kpi")[
            "contribution"
        ]
        for name in ("visits", "cvr_visit", "aov"):
            assert deep[name] == pytest.approx(flat[name], abs=1e-6)


def test_log_mean_near_equality_and_at_it():
    assert log_mean(5.0, 5.0) == 5.0
    assert log_mean(2.0, 1.0) == pytest.approx(1 / math.log(2))
    assert log_mean(1.0 + 1e-13, 1.0) == pytest.approx(1.0, rel=1e-12)
    assert log_mean(1e-100, 1e100) == pytest.approx(log_mean(1e100, 1e-100))


def test_a_long_flat_product_with_a_negative_factor_still_adds_up():
    # Two more factors than a tree's product may have: volume and mix before the rates of a nested tree.
    children = [np.array([[before], [before + 1.0]]) for before in (3.0, 2.0, -4.0, 1.5, 2.5, 0.5, 3.5, 1.0)]
    node = np.prod(children, axis=0)
    for method in ("shapley", "logmean"):
        own = weights("*", node, children, method)
        effects = sum(weight * (child[1] - child[0]) for weight, child in zip(own, children, strict=True))
        assert effects == pytest.approx(node[1] - node[0])


# Broken chains and undefined rates


def two_periods(before, after):
    key = {"channel": "c", "campaign": "c"}
    return base_of([{"period": "before"} | key | before, {"period": "after"} | key | after])


def test_orders_without_visits_leave_the_orders_unallocated():
    base = two_periods({"visits": 10, "orders": 2, "revenue": 40}, {"visits": 0, "orders": 3, "revenue": 90})
    nodes, movers = explained(base, TREES[1])
    assert nodes["path"].tolist() == ["revenue", "revenue/orders", "revenue/orders/unallocated", "revenue/aov"]
    assert only(nodes, kpi="orders")["op"] == ""
    row = only(movers, kind="unallocated")
    assert (row["kpi"], row["contribution"]) == ("orders", only(nodes, kpi="orders")["contribution"])
    assert movers["contribution"].sum() == pytest.approx(50)


def test_a_rate_of_nothing_by_nothing_takes_its_value_of_the_other_period_and_shows_null():
    base = two_periods({"visits": 20, "orders": 0, "revenue": 0}, {"visits": 20, "orders": 4, "revenue": 80})
    nodes, movers = explained(base, TREES[1])
    aov = only(nodes, kpi="aov")
    assert pd.isna(aov["before"]) and aov["after"] == 20 and aov["contribution"] == 0 and pd.isna(aov["growth"])
    assert only(nodes, kpi="cvr_visit")["contribution"] == 80
    assert movers["contribution"].sum() == 80 and "aov" not in set(movers["kpi"])


@pytest.mark.parametrize("tree", ["cpo = cost / orders", "roas = aov / cpo; cpo = cost / orders"])
def test_a_root_that_is_undefined_in_a_period_is_refused(tree):
    base = two_periods({"cost": 10, "orders": 2, "revenue": 40}, {"cost": 0, "orders": 0, "revenue": 0})
    with pytest.raises(BadParameter, match="undefined in the period after"):
        kpi.nodes(base, tree=kpi.Tree.parse(tree))


def test_below_a_broken_node_nothing_is_asked_to_hold():
    # cost per order has no value after; its own formula could not hold there.
    base = two_periods({"cost": 10, "orders": 2, "revenue": 40}, {"cost": 10, "orders": 0, "revenue": 30})
    tree = kpi.Tree.parse("roas = aov / cpo; aov = revenue / orders; cpo = cost / orders")
    nodes, movers = explained(base, tree)
    assert nodes["path"].tolist() == ["roas", "roas/unallocated"]
    assert movers["contribution"].tolist() == [-1]


def test_a_quotient_adds_up_also_where_it_falls_to_nothing():
    base = two_periods({"cost": 10, "orders": 2}, {"cost": 0, "orders": 4})
    nodes, movers = explained(base, kpi.Tree.parse("cpo = cost / orders"))
    assert nodes["change"].iloc[0] == -5 and nodes["method"].iloc[0] == "shapley"
    assert nodes["contribution"].iloc[1:].sum() == pytest.approx(-5)
    assert movers["contribution"].sum() == pytest.approx(-5)


def test_nothing_changed_gives_null_shares():
    row = {"visits": 10, "orders": 2, "revenue": 40}
    nodes, movers = explained(two_periods(row, row), TREES[1])
    assert nodes["contribution"].eq(0).all() and nodes["share"].isna().all() and movers["share"].isna().all()


def test_what_a_formula_does_not_yield_is_one_visible_row():
    base = two_periods({"visits": 10, "orders": 2, "clicks": 3}, {"visits": 10, "orders": 4, "clicks": 5})
    nodes, movers = explained(base, kpi.Tree.parse("orders = clicks * cvr_visit"))
    assert nodes["path"].tolist() == ["orders", "orders/clicks", "orders/cvr_visit", "orders/difference"]
    assert nodes["flag"].iloc[0] == "formula_differs"
    made = 5 * 0.4 - 3 * 0.2
    assert only(nodes, kpi="unallocated")["contribution"] == pytest.approx(2 - made)
    assert nodes["contribution"].iloc[1:].sum() == pytest.approx(2)
    assert movers["contribution"].sum() == pytest.approx(2)


def test_few_weeks_are_said_of_every_node_beside_what_some_say_themselves():
    tree = kpi.Tree.parse("orders = clicks * cvr_visit")
    days = [
        {"period": period, "channel": "c", "campaign": "c", "visits": 10 + day, "orders": 2 + day, "clicks": 3}
        for period in ("before", "after")
        for day in range(14)
    ]
    base = base_of(days)
    base["date"] += pd.to_timedelta(2 * [*range(14)], unit="D")
    base["last_day"] = base.groupby("period")["date"].transform("max")
    base["covered"] = 14
    flags = kpi.nodes(base, tree=tree, draws=20)["flag"]
    assert flags.tolist()[:2] == ["formula_differs, few_weeks", "few_weeks"]


def test_movers_by_a_column_that_the_base_has_not_are_refused():
    with pytest.raises(BadParameter, match="device"):
        kpi.explain(random_base(1), by=["device"])


# What can be measured


def test_a_tree_keeps_what_has_figures():
    row = {"visits": 10, "orders": 2}
    base = two_periods(row, row)
    assert kpi.DEFAULT.measurable(base).formulas == (("orders", "*", ("visits", "cvr_visit")),)
    with pytest.raises(BadParameter, match="no formula of the tree can be measured"):
        kpi.DEFAULT.measurable(two_periods({"impressions": 1}, {"impressions": 2}))


def test_a_figure_that_one_period_lacks_is_not_taken_for_nothing():
    # The platform's export began between the periods: its clicks were not 0 before.
    common = {"orders": 2, "revenue": 40, "visits": 10}
    base = two_periods(
        common | {"other_visits": 10},
        common | {"impressions": 500, "clicks": 5, "ad_visits": 4, "other_visits": 6},
    )
    nodes = kpi.nodes(base)
    assert set(nodes["kpi"]) == {"revenue", "orders", "aov", "visits", "cvr_visit"}
    assert nodes["contribution"].eq(0).all()


def test_a_period_without_orders_has_a_revenue_of_nothing_and_one_without_other_visits_none_of_them():
    ads = {"impressions": 100, "clicks": 5, "ad_visits": 4}
    base = two_periods(
        ads | {"visits": 4, "orders": 0}, ads | {"visits": 6, "other_visits": 2, "orders": 2} | {"revenue": 50}
    )
    nodes = kpi.nodes(base)
    assert nodes["change"].iloc[0] == 50
    assert {"aov", "other_visits", "ctr"} <= set(nodes["kpi"])


# Trees


def test_a_tree_is_read_with_its_leaves():
    tree = kpi.Tree.parse("revenue = orders*aov\n\n orders = visits * cvr_visit ;")
    assert (tree.root, tree.leaves, tree.operator("orders")) == ("revenue", ("visits", "cvr_visit", "aov"), "*")
    assert [path for _, path, _ in tree.walk()][-1] == "revenue/aov"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the tree is empty"),
        ("revenue", "no formula"),
        ("revenue = ", "no formula"),
        ("revenue = orders *", "no formula"),
        ("revenue = orders", "no formula"),
        ("revenue = orders ** aov", "expected KPIs joined by"),
        ("revenue = orders * 2", "2 is no KPI"),
        ("revenue = orders * -aov", "-aov is no KPI"),
        ("revenue = orders // aov", "expected KPIs joined by"),
        ("revenue = a * b * c * d * e * f * g", "7 factors"),
        ("revenue = orders * aov; revenue = visits * cvr_visit", "defined twice"),
        ("revenue = orders * aov; visits = ad_visits + other_visits", "hangs nowhere"),
        ("revenue = orders * aov; orders = visits * cvr_visit; visits = orders / cvr_visit", "goes in a circle"),
        ("revenue = __import__('os').system('true') * aov", "is no KPI"),
    ],
)
def test_a_wrong_tree_is_named(text, message):
    with pytest.raises(BadParameter, match=message):
        kpi.Tree.parse(text)


# Periods and sums


def campaigns(rows, columns=("date", "channel", "campaign", "visits", "orders", "revenue"), engine="duckdb", **more):
    frame = pd.DataFrame(rows, columns=list(columns)).assign(**more)
    frame["date"] = pd.to_datetime(frame["date"])
    return book(engine, campaigns=frame).campaigns


def daily(since, until, **columns):
    days = pd.date_range(since, until)
    frame = {"date": days, "channel": "c", "campaign": "c", "visits": 10, "orders": 1, "revenue": 20.0} | columns
    return book(campaigns=pd.DataFrame(frame)).campaigns


@pytest.mark.parametrize("engine", ENGINES)
def test_base_sums_each_period_and_segment_and_keeps_null_apart_from_nothing(engine):
    table = campaigns(
        [
            ("2025-07-31", "Ads", "x", 5, 1, 10.0, 7),
            ("2025-08-01", "Ads", "x", 6, 0, None, 8),
            ("2025-08-31", "Ads", "x", 7, 2, 30.5, 9),
            ("2025-08-31", None, None, 3, 1, 5.0, None),
            ("2025-09-01", "Ads", "x", 1000, 99, 9.0, 99),
            (None, "Ads", "x", 1000, 99, 9.0, 99),
        ],
        ("date", "channel", "campaign", "visits", "orders", "revenue", "clicks"),
        engine=engine,
    )
    base = kpi.base(table, period="2025-08", compare="2025-07-31..2025-07-31")
    columns = ["visits", "ad_visits", "other_visits", "clicks", "orders", "conversions", "revenue", "cost"]
    cells = base[["period", "date", "channel", *columns]].astype({"date": str})
    assert cells.astype(object).where(cells.notna(), None).to_numpy().tolist() == [
        ["before", "2025-07-31", "Ads", 5, 5, None, 7, 1, 1, 10, None],
        ["after", "2025-08-01", "Ads", 6, 6, None, 8, 0, 0, None, None],
        ["after", "2025-08-31", "(unknown)", 3, None, 3, None, 1, 1, 5, None],
        ["after", "2025-08-31", "Ads", 7, 7, None, 9, 2, 2, 30.5, None],
    ]
    after = base.iloc[-1]
    assert (after["since"], after["last_day"]) == (pd.Timestamp("2025-08-01"), pd.Timestamp("2025-08-31"))
    assert kpi.span(base) == Period(date(2025, 8, 1), date(2025, 9, 1))
    assert kpi.span(base, "before").days == 1


@pytest.mark.parametrize(
    ("period", "compare", "before"),
    [
        ("last 28 days", "previous", "2024-11-06..2024-12-03"),
        ("2024-12", "previous", "2024-10-31..2024-11-30"),
        ("2024-12-30..2024-12-31", "year_before", "2024-01-01..2024-01-02"),
        ("2024-12", "2024-10", "2024-10-01..2024-10-31"),
        (
            Period(date(2024, 12, 1), date(2025, 1, 1)),
            Period(date(2024, 5, 1), date(2024, 5, 8)),
            "2024-05-01..2024-05-07",
        ),
    ],
)
def test_periods_are_read(period, compare, before):
    base = kpi.base(daily("2023-12-25", "2024-12-31"), period=period, compare=compare)
    assert str(kpi.span(base, "before")) == before
    days = kpi.span(base, "before").days
    assert base.loc[base["period"] == "before", "visits"].tolist() == [10] * days


@pytest.mark.parametrize("wrong", ["last week", "2025-13", "2025-08-31..2025-08-01", "last 0 days", ""])
def test_a_wrong_period_is_named(wrong):
    table = daily("2025-01-01", "2025-12-31")
    with pytest.raises(BadParameter):
        kpi.base(table, period=wrong)
    with pytest.raises(BadParameter):
        kpi.base(table, period="2025-12", compare=wrong)


def test_what_to_compare_with_is_no_end_of_the_data():
    with pytest.raises(BadParameter, match=r"compare 'last 28 days': expected 'previous'"):
        kpi.base(daily("2025-01-01", "2025-08-31"), period="last 28 days", compare="last 28 days")


def test_a_period_without_data_is_an_error_that_names_it():
    table = daily("2025-08-01", "2025-08-31")
    with pytest.raises(BadParameter, match=r"30 of the 30 days of the period before, from compare='year_before'"):
        kpi.base(table, period="2025-08-01..2025-08-30", compare="year_before")
    with pytest.raises(BadParameter, match=r"30 of the 30 days of the period \(2025-09-01"):
        kpi.base(table, period="2025-09", compare="2025-08")


def test_a_period_that_reaches_beyond_the_data_is_an_error():
    table = daily("2025-07-20", "2025-08-31")
    with pytest.raises(BadParameter, match=r"16 of the 28 days of the period before, from compare='previous'"):
        kpi.base(table, period="2025-08-01..2025-08-28", compare="previous")
    with pytest.raises(BadParameter, match=r"15 of the 30 days of the period \(2025-08-17"):
        kpi.base(table, period="2025-08-17..2025-09-15", compare="2025-08-01..2025-08-10")
    with pytest.raises(BadParameter, match="1 of the 32 days"):  # a part must not be compared with a whole
        kpi.base(table, period="2025-08-01..2025-09-01", compare="2025-07-20..2025-07-31")
    # Idle weeks inside the data are said, not refused here: checks know of missing days.
    gap = campaigns([(day, "c", "c", 1, 1, 1.0) for day in ("2025-06-01", "2025-07-30", "2025-08-31")])
    found = kpi.base(gap, period="2025-08", compare="2025-07")
    assert dict(zip(found["period"], found["covered"], strict=True)) == {"after": 1, "before": 1}


def test_periods_that_overlap_are_both_counted_whole():
    table = daily("2024-01-01", "2025-12-31")
    base = kpi.base(table, period="2025", compare="year_before")
    assert base.groupby("period")["visits"].sum().to_dict() == {"after": 3650, "before": 3650}


def test_amounts_in_two_currencies_are_refused_and_one_is_kept():
    rows = [("2025-07-01", "c", "c", 1, 1, 1.0, "EUR"), ("2025-08-01", "c", "c", 1, 1, 1.0, "EUR")]
    columns = ("date", "channel", "campaign", "visits", "orders", "revenue", "currency")
    base = kpi.base(campaigns(rows, columns), period="2025-08-01..2025-08-01", compare="2025-07-01..2025-07-01")
    assert set(base["currency"]) == {"EUR"} == set(kpi.nodes(base, tree=TREES[1])["currency"])
    with pytest.raises(BadParameter, match="EUR, USD"):
        table = campaigns([*rows, ("2025-08-02", "c", "c", 1, 1, 1.0, "USD")], columns)
        kpi.base(table, period="2025-08-01..2025-08-01", compare="2025-07-01..2025-07-01")


def test_revenue_in_one_currency_and_cost_in_another_are_refused():
    columns = ("date", "channel", "campaign", "visits", "orders", "revenue", "cost", "currency")
    rows = [(f"2025-0{month}-01", "c", "c", 1, 1, 1.0, None, "EUR") for month in (7, 8)]
    table = campaigns([*rows, ("2025-08-01", "ads", "d", 1, 0, None, 5.0, "USD")], columns)
    with pytest.raises(BadParameter, match="EUR, USD"):
        kpi.base(table, period="2025-08-01..2025-08-01", compare="2025-07-01..2025-07-01")


def test_a_column_that_the_table_has_not_is_named():
    with pytest.raises(MissingColumns, match="device"):
        kpi.base(daily("2025-07-01", "2025-08-31"), period="2025-08", by=["device"])


# Figures counted from the events


def counted(rows, columns=("user_id", "timestamp", "event", "channel", "value", "currency"), **options):
    ws = book(optional=["campaigns"], touchpoints=events(rows, columns).rows())
    return kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, **options)


def test_a_pause_of_more_than_30_minutes_begins_a_visit_on_the_day_and_channel_of_its_first_event():
    rows = [
        ("u", DAY - 60, "visit", "A", None, None),
        ("u", DAY + 1740, "view", "B", None, None),  # exactly 30 minutes later: the same visit
        ("u", DAY + 3541, "order", "B", 10, "EUR"),  # a second more: another
        ("v", 0, "visit", None, None, None),
        (None, 0, "visit", "A", None, None),
        (None, 5, "order", "A", 4, "EUR"),
        ("w", None, "visit", "A", None, None),
    ]
    found = counted(rows).rows().dropna(subset="date")
    cells = found[["date", "channel", "visits", "orders", "revenue"]].astype({"date": str, "revenue": float})
    cells = cells.astype(object).where(cells.notna(), None).sort_values(["date", "orders"], ascending=[True, False])
    assert cells.to_numpy().tolist() == [
        ["2025-01-01", "A", 1, 1, 4],
        ["2025-01-01", None, 1, 0, None],
        ["2025-01-02", "B", 1, 1, 10],
    ]


def test_an_event_without_a_time_begins_no_visit():
    rows = [("u", None, "visit", "A", None, None), ("u", 0, "visit", "A", None, None)]
    assert counted(rows, conversion="visit").rows()["visits"].sum() == 1


def test_a_conversion_that_no_event_is_called_is_refused_with_the_events():
    with pytest.raises(BadParameter, match=r"conversion 'order': no such event .* found purchase, visit"):
        counted([("u", 0, "visit", "A", None, None), ("u", 9, "purchase", "A", 5, "EUR")])


def test_an_order_log_that_would_count_twice_or_too_little_is_refused():
    day = pd.to_datetime(["2025-08-01"])
    figures = {"campaigns": pd.DataFrame({"date": day, "channel": "A", "campaign": "x", "orders": 1})}
    rows = pd.DataFrame({"order_id": ["1", "1"], "timestamp": day[0], "margin": [5.0, 5.0]})
    ws = book(**figures, orders=rows)
    with pytest.raises(BadParameter, match="1 rows repeat an order_id"):
        kpi.figures(ws.campaigns, orders=ws.orders)
    ws = book(**figures, orders=rows.assign(order_id=["1", "2"], margin=[5.0, None]))
    with pytest.raises(BadParameter, match="1 of 2 orders have no margin"):
        kpi.figures(ws.campaigns, orders=ws.orders)


def test_periods_of_unequal_length_and_a_segment_named_like_one_of_our_columns():
    base = kpi.base(daily("2025-05-01", "2025-08-31"), period="2025-08-01..2025-08-14", compare="2025-07")
    assert kpi.explain(base, tree=TREES[1])["contribution"].sum() == pytest.approx(20 * (14 - 31))
    assert kpi.nodes(base, tree=TREES[1])["low"].notna().all()
    named = base.rename(columns={"channel": "size"})
    assert kpi.explain(named, tree=TREES[1], by=["size"])["size"].eq("c").all()


def test_orders_are_counted_or_unknown_and_never_another_action():
    row = {"clicks": 10, "leads": 3, "conversions": 3}
    base = two_periods(row, row | {"leads": 4})
    base["conversions"] = base["leads"]
    base = base.assign(action="leads", orders=np.nan, revenue=np.nan)
    with pytest.raises(BadParameter, match="no formula of the tree can be measured"):
        kpi.nodes(base, tree="revenue = orders * aov; orders = clicks * cvr")
    assert kpi.nodes(base, tree="leads = clicks * cvr")["kpi"].iloc[0] == "leads"


def test_without_visits_the_default_tree_goes_through_clicks():
    row = {"impressions": 100, "clicks": 10, "orders": 2, "revenue": 40}
    nodes = kpi.nodes(two_periods(row, row | {"clicks": 20, "orders": 3}))
    assert {"clicks", "cvr", "ctr", "aov"} <= set(nodes["kpi"]) and nodes["change"].iloc[0] == 0


def test_the_days_to_watch_are_the_last_of_the_period_and_no_more():
    base = kpi.base(daily("2025-05-01", "2025-08-31"), period="2025-07-01..2025-07-10")
    assert str(kpi.last(base, "last 7 days")) == "2025-07-04..2025-07-10"
    assert str(kpi.last(base, "last 28 days")) == "2025-07-01..2025-07-10"
    assert str(kpi.last(base, "2025-06-01..2025-06-03")) == "2025-06-01..2025-06-03"


def test_retentioneering_log_has_3605_visits_and_470_purchases_as_its_readme_counts():
    frame = pd.read_csv(shared("data/journeys/retentioneering-ecom.csv.gz"))
    frame = frame.rename(columns={"acquisition_channel": "channel"}).drop(columns="session_id")
    ws = book(optional=["campaigns"], touchpoints=frame)
    figures = kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, conversion="purchase")
    totals = checks.totals(figures)
    assert (totals["visits"], totals["orders"]) == (3605, 470)
    base = kpi.base(figures, period="2024-05", compare="2024-04", by=["channel"])
    nodes = kpi.nodes(base)
    assert set(nodes["kpi"]) == {"orders", "visits", "cvr_visit"}
    assert nodes["contribution"].iloc[1:].sum() == pytest.approx(nodes["change"].iloc[0])


def test_orders_in_two_currencies_are_refused_even_on_one_day_and_channel():
    rows = [("u", 0, "order", "A", 10, "EUR"), ("v", 0, "order", "A", 10, "USD")]
    with pytest.raises(BadParameter, match="EUR, USD"):
        counted(rows)


def test_a_period_without_orders_has_no_revenue_but_a_tree():
    rows = [("u", day * DAY, "visit", "A", None, None) for day in range(4)]
    rows.append(("u", 3 * DAY, "order", "A", 10, "EUR"))
    base = kpi.base(counted(rows), period="2025-01-03..2025-01-04", compare="previous")
    nodes = kpi.nodes(base)
    assert nodes["kpi"].iloc[0] == "revenue" and nodes["change"].iloc[0] == 10
    assert only(nodes, kpi="cvr_visit")["contribution"] == pytest.approx(10)


def test_the_campaigns_table_stands_as_it_is_and_neither_table_is_an_error():
    table = daily("2025-08-01", "2025-08-02")
    assert kpi.figures(table) is table
    ws = book(optional=["campaigns", "touchpoints"], surveys=pd.DataFrame({"user_id": ["u"], "score": [1.0]}))
    with pytest.raises(MissingTable, match="neither campaigns nor touchpoints"):
        kpi.figures(ws.campaigns, touchpoints=ws.touchpoints)


@pytest.mark.skipif(not SAMPLES.exists(), reason="no data_samples")
def test_the_samples_sum_to_their_own_file_and_tell_their_planted_story():
    frame = pd.read_csv(SAMPLES / "campaigns.csv", parse_dates=["date"])
    base = kpi.base(workspace.open(SAMPLES).campaigns, period="last 28 days")
    august = frame[frame["date"].between("2025-08-04", "2025-08-31")]
    for name in ("impressions", "clicks", "visits", "orders", "revenue", "cost"):
        assert base.loc[base["period"] == "after", name].sum() == pytest.approx(august[name].sum()), name
    nodes, movers = explained(base, kpi.DEFAULT)
    assert nodes["growth"].iloc[0] == pytest.approx(0.052, abs=0.0005)  # total revenue rises by 5.2 %
    assert movers["contribution"].sum() == pytest.approx(nodes["change"].iloc[0], rel=1e-9)
    search = only(kpi.split(base, "cvr_visit", by=["channel"]), channel="Paid Search")
    assert (round(search["before"], 3), round(search["after"], 3)) == (0.055, 0.040)
    inside = kpi.split_within(base, "cvr_visit")
    search = inside[inside["channel"].eq("Paid Search") & inside["campaign"].notna()]
    assert search["within_mix"].sum() < 2 * min(search["rate"].sum(), 0)  # the mix, not the campaigns themselves


@pytest.mark.skipif(not SAMPLES.exists(), reason="no data_samples")
@pytest.mark.parametrize("engine", ENGINES)
def test_new_customers_and_margins_come_from_the_orders_by_channel_and_none_is_lost(engine):
    ws = workspace.open(SAMPLES, engine=engine)
    figures = kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, orders=ws.orders)
    found = kpi.daily(figures, by=["channel"])
    orders = pd.read_csv(SAMPLES / "orders.csv")
    assert found["new_customers"].sum() == orders["new_customer"].sum()
    assert found["contribution"].sum() == pytest.approx(orders["margin"].sum())
    alone = kpi.daily(kpi.figures(ws.campaigns), by=["channel"])
    shared = found.merge(alone, on=["date", "channel"], suffixes=("", "_alone"))
    assert len(shared) == len(alone) and shared["orders"].equals(shared["orders_alone"])
    assert (shared["new_customers"].fillna(0) <= shared["orders"]).all()  # each on the channel of its order
    # Without the events, what the orders know has no channel.
    unknown = kpi.daily(kpi.figures(ws.campaigns, orders=ws.orders), by=["channel"])
    assert unknown.loc[unknown["channel"] == "(unknown)", "new_customers"].sum() == orders["new_customer"].sum()


def test_an_order_that_two_events_name_is_counted_once():
    touch = {"user_id": "u", "event": "order", "order_id": "1"}
    times = pd.to_datetime(["2025-08-01 10:00", "2025-08-01 11:00"])
    ws = book(
        campaigns=pd.DataFrame({"date": times[:1].normalize(), "channel": "A", "campaign": "x", "orders": 1}),
        touchpoints=pd.DataFrame([touch | {"channel": "A"}, touch | {"channel": "B"}]).assign(timestamp=times),
        orders=pd.DataFrame({"order_id": ["1"], "user_id": "u", "timestamp": times[:1], "new_customer": [True]}),
    )
    found = kpi.daily(kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, orders=ws.orders), by=["channel"])
    assert found["new_customers"].sum() == 1 and found["orders"].sum() == 1


def test_conversions_are_the_action_that_was_named():
    table = daily("2025-07-01", "2025-08-31", leads=3)
    base = kpi.base(table, period="2025-08", action="leads")
    assert base["conversions"].eq(base["leads"]).all() and set(base["action"]) == {"leads"}
    assert kpi.base(table, period="2025-08")["conversions"].eq(1).all()
    with pytest.raises(MissingColumns, match="calls"):
        kpi.base(table, period="2025-08", action="calls")
