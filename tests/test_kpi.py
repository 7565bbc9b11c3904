"""KPI tree: published decompositions, laws on random tables, periods, figures counted from events."""

import itertools
import json
import math
import random
from datetime import date

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, book, events, only, shared

from perfnb import checks, kpi, workspace
from perfnb.errors import BadParameter, MissingColumns, MissingTable
from perfnb.kpi.catalogue import BASE
from perfnb.kpi.explain import _log_mean, _weights
from perfnb.period import Period

DAY = 86_400
FLAT = kpi.Tree.parse("revenue = impressions * ctr * visits_per_click * cvr * aov")
NESTED = kpi.Tree.parse(
    "revenue = orders * aov; orders = visits * cvr; visits = clicks * visits_per_click; clicks = impressions * ctr"
)
TREES = [
    kpi.DEFAULT,
    kpi.Tree.parse("revenue = orders * aov; orders = visits * cvr"),
    kpi.Tree.parse("revenue = visits * cvr * aov; visits = ad_visits + other_visits"),
    kpi.Tree.parse("other_visits = visits - ad_visits; ad_visits = clicks * visits_per_click"),
    kpi.Tree.parse("revenue = cost * roas; cost = clicks * cpc"),
]


def base_of(rows):
    """The result of `kpi.base` from dicts: period, channel, campaign and base columns (absent ones are null)."""
    frame = pd.DataFrame(rows)
    for name in BASE:
        frame[name] = pd.to_numeric(frame[name]).astype(float) if name in frame else np.nan
    return frame.assign(days=1, currency="EUR")


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
    return kpi.explain(base, tree=tree), kpi.movers(base, tree=tree)


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
    pairs, node = list(zip(x0, x1, strict=True)), (math.prod(x0), math.prod(x1))
    for method, expected in (("shapley", "shapley_flat"), ("logmean", "lmdi")):
        weights = _weights("*", node, pairs, method)
        effects = [weight * (after - before) for weight, (before, after) in zip(weights, pairs, strict=True)]
        np.testing.assert_allclose(effects, found["expected"][expected], rtol=1e-9)
        assert math.isclose(sum(effects), node[1] - node[0])
    shapley = [w * (after - before) for w, (before, after) in zip(_weights("*", node, pairs, "shapley"), pairs)]  # noqa: B905
    np.testing.assert_allclose(shapley, found["expected"]["published"], rtol=2e-6)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("p01_revenue_chain_all_move", "logmean"),
        ("p02_only_one_factor_moves", "logmean"),
        ("p04_zero_conversions_after", "shapley"),
        ("p06_new_segment", "shapley"),
    ],
)
def test_flat_chains_equal_the_reference(name, method):
    found = case(name)
    nodes = kpi.explain(chain(found["inputs"]["period_0"], found["inputs"]["period_1"]), tree=FLAT)
    expected = found["expected"]
    effects = nodes.set_index("kpi")["contribution"]
    assert nodes["method"].unique().tolist() == [method]
    assert effects["revenue"] == expected["delta"]
    for factor, effect in expected["lmdi" if method == "logmean" else "shapley_flat"].items():
        assert effects[factor] == pytest.approx(effect, abs=1e-9 * max(map(abs, found["inputs"]["period_1"])))
    assert effects["visits_per_click"] == 0
    for factor, before in expected["factors_0"].items():
        if expected["factors_1"][factor] == before:
            assert effects[factor] == 0, factor  # what did not move gets exactly nothing


def test_flat_shapley_weights_of_p01_equal_the_reference():
    expected = case("p01_revenue_chain_all_move")["expected"]
    pairs = list(zip(expected["factors_0"].values(), expected["factors_1"].values(), strict=True))
    weights = _weights("*", (48000.0, 47520.0), pairs, "shapley")
    effects = [weight * (after - before) for weight, (before, after) in zip(weights, pairs, strict=True)]
    np.testing.assert_allclose(effects, list(expected["shapley_flat"].values()), rtol=1e-9)


def test_t01_the_tree_gives_each_node_what_the_reference_gives_it():
    expected = case("t01_nested_vs_flat")["expected"]["logmean_tree"]
    nodes = kpi.explain(chain((1_000_000, 20_000, 600, 48_000), (1_200_000, 21_600, 540, 47_520)), tree=NESTED)
    effects = nodes.set_index("kpi")["contribution"]
    names = {"conversions": "orders"}
    for path, effect in expected.items():
        name = path.split("/")[-1]
        assert effects[names.get(name, name)] == pytest.approx(effect, abs=1e-9 * 48_000), path
    assert effects["visits"] == effects["clicks"]


def test_t01_node_local_shapley_adds_up_by_the_chain_rule_to_the_reference():
    expected = case("t01_nested_vs_flat")["expected"]["shapley_tree(node-local, chain rule)"]
    orders, clicks = (600.0, 540.0), (20_000.0, 21_600.0)
    weight, aov = _weights("*", (48_000.0, 47_520.0), [orders, (80.0, 88.0)], "shapley")
    assert aov * 8 == pytest.approx(expected["/revenue/aov"])
    inner, cvr = _weights("*", orders, [clicks, (0.03, 0.025)], "shapley")
    assert weight * cvr * -0.005 == pytest.approx(expected["/revenue/conversions/cvr"])
    impressions, ctr = _weights("*", clicks, [(1e6, 1.2e6), (0.02, 0.018)], "shapley")
    assert weight * inner * impressions * 2e5 == pytest.approx(
        expected["/revenue/conversions/clicks/impressions"], rel=1e-9
    )
    assert weight * inner * ctr * -0.002 == pytest.approx(expected["/revenue/conversions/clicks/ctr"], rel=1e-9)


@pytest.mark.parametrize("method", ["logmean", "shapley"])
def test_t03_a_quotient_equals_the_reference(method):
    found = case("t03_cac_quotient")
    cpc, cvr, new = (tuple(found["inputs"][name]) for name in ("cpc", "cvr", "new_share"))
    product = tuple(a * b for a, b in zip(cvr, new, strict=True))
    cac = tuple(a / b for a, b in zip(cpc, product, strict=True))
    own, below = _weights("/", cac, [cpc, product], method)
    by_cvr, by_new = _weights("*", product, [cvr, new], method)
    expected = found["expected"][method]
    effects = {
        "/cac": cac[1] - cac[0],
        "/cac/cpc": own * (cpc[1] - cpc[0]),
        "/cac/cvr_new": below * (product[1] - product[0]),
        "/cac/cvr_new/cvr": below * by_cvr * (cvr[1] - cvr[0]),
        "/cac/cvr_new/new_share": below * by_new * (new[1] - new[0]),
    }
    assert effects == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "tree", "rate"),
    [
        ("r01_cvr_by_campaign", "orders = visits * cvr", "cvr"),
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
    node = only(kpi.explain(base, tree=tree), kpi=rate)
    expected = found["expected"]
    assert (node["before"], node["after"]) == pytest.approx((expected["R0"], expected["R1"]))
    movers = kpi.movers(base, tree=tree)
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
    tree = kpi.Tree.parse("orders = visits * cvr")
    weight = only(kpi.explain(base_of(rows), tree=tree), kpi="cvr")["weight"]
    movers = kpi.movers(base_of(rows), tree=tree)
    for s, effects in enumerate(found["expected"]["segments"]):
        for kind in ("rate", "mix"):
            effect = only(movers, kpi="cvr", campaign=str(s), kind=kind)["contribution"] / weight
            assert effect == pytest.approx(effects[kind], rel=1e-9)


def test_k01_reach_is_no_kpi_that_could_be_summed():
    assert "reach" not in BASE and "reach" not in kpi.CATALOGUE
    with pytest.raises(BadParameter, match="'reach' is not in the catalogue"):
        kpi.value(random_base(1), ["reach"])


def test_k02_a_ratio_is_one_of_sums_with_numerator_and_denominator_beside_it():
    inputs, expected = (case("k02_ratio_of_sums")[part] for part in ("inputs", "expected"))
    rows = [
        {"period": period, "channel": "c", "campaign": day, "impressions": shown, "clicks": clicked}
        for period in ("before", "after")
        for day, (shown, clicked) in enumerate(zip(inputs["impressions"], inputs["clicks"], strict=True))
    ]
    row = only(kpi.value(base_of(rows), ["ctr"]), period="after")
    assert row["value"] == pytest.approx(expected["ctr"]) and (row["numerator"], row["denominator"]) == (1111, 101000)
    assert row["low"] < row["value"] < row["high"]


def test_k03_nothing_by_nothing_and_something_by_nothing_are_null():
    found = case("k03_zero_denominator")
    for (top, bottom), expected in zip(found["inputs"]["pairs"], found["expected"]["values"], strict=True):
        row = {"period": "after", "channel": "c", "campaign": "c", "orders": top, "visits": bottom}
        value = kpi.value(base_of([row]), ["cvr"]).iloc[0]
        assert value["value"] == expected or (expected is None and pd.isna(value["value"]))
        assert (value["numerator"], value["denominator"]) == (top, bottom)


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
            below = nodes["path"].str.fullmatch(f"{node.path}/[a-z_]+")
            if below.any():
                assert nodes.loc[below, "contribution"].sum() == pytest.approx(node.contribution, abs=near), node.path
            else:
                assert pd.isna(node.op), node.path
        assert nodes.loc[nodes["op"].isna(), "contribution"].sum() == pytest.approx(change, abs=near)
        assert movers["contribution"].sum() == pytest.approx(change, abs=near)
        assert kpi.kinds(movers)["contribution"].sum() == pytest.approx(change, abs=near)
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
    weight = only(kpi.explain(base, tree=tree), kpi=rate)["weight"]
    movers = kpi.movers(base, tree=tree)
    return movers[movers["kpi"] == rate].groupby("kind")["contribution"].sum() / weight


def test_a_period_of_another_size_changes_neither_rate_nor_mix():
    tree = kpi.Tree.parse("orders = visits * cvr")
    for seed in range(20):
        base = random_base(seed, wild=False)
        grown = base.copy()
        grown.loc[grown["period"] == "after", list(BASE)] *= 7
        one, other = rate_and_mix(base, tree, "cvr"), rate_and_mix(grown, tree, "cvr")
        assert one.to_dict() == pytest.approx(other.to_dict(), abs=1e-12)


def test_merging_segments_of_equal_rates_leaves_rate_and_mix_alone():
    tree = kpi.Tree.parse("orders = visits * cvr")
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
    one, other = rate_and_mix(split, tree, "cvr"), rate_and_mix(merged, tree, "cvr")
    assert one.to_dict() == pytest.approx(other.to_dict())
    assert abs(one["mix"]) > 1e-4


def test_collapsing_a_node_changes_nothing_elsewhere_with_log_means():
    for seed in range(10):
        base = random_base(seed, wild=False)
        deep = kpi.explain(base, tree=TREES[1]).set_index("kpi")["contribution"]
        flat = kpi.explain(base, tree=kpi.Tree.parse("revenue = visits * cvr * aov")).set_index("kpi")["contribution"]
        for name in ("visits", "cvr", "aov"):
            assert deep[name] == pytest.approx(flat[name], abs=1e-6)


def test_log_mean_near_equality_and_at_it():
    assert _log_mean(5.0, 5.0) == 5.0
    assert _log_mean(2.0, 1.0) == pytest.approx(1 / math.log(2))
    assert _log_mean(1.0 + 1e-13, 1.0) == pytest.approx(1.0, rel=1e-12)
    assert _log_mean(1e-100, 1e100) == pytest.approx(_log_mean(1e100, 1e-100))


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
    assert only(nodes, kpi="cvr")["contribution"] == 80
    assert movers["contribution"].sum() == 80 and "aov" not in set(movers["kpi"])


@pytest.mark.parametrize("tree", ["cpo = cost / orders", "roas = aov / cpo; cpo = cost / orders"])
def test_a_root_that_is_undefined_in_a_period_is_refused(tree):
    base = two_periods({"cost": 10, "orders": 2, "revenue": 40}, {"cost": 0, "orders": 0, "revenue": 0})
    with pytest.raises(BadParameter, match="undefined in the period after"):
        kpi.explain(base, tree=kpi.Tree.parse(tree))


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


def test_a_formula_that_does_not_hold_is_refused():
    base = two_periods({"visits": 10, "orders": 2, "clicks": 3}, {"visits": 10, "orders": 2, "clicks": 3})
    with pytest.raises(BadParameter, match="The formula does not hold"):
        kpi.explain(base, tree=kpi.Tree.parse("orders = clicks * cvr"))


def test_movers_by_a_column_that_the_base_has_not_are_refused():
    with pytest.raises(BadParameter, match="device"):
        kpi.movers(random_base(1), by=["device"])


# What can be measured


def test_a_tree_keeps_what_has_figures():
    row = {"visits": 10, "orders": 2}
    base = two_periods(row, row)
    assert kpi.DEFAULT.measurable(base).formulas == (("orders", "*", ("visits", "cvr")),)
    with pytest.raises(BadParameter, match="no formula of the tree can be measured"):
        kpi.DEFAULT.measurable(two_periods({"impressions": 1}, {"impressions": 2}))


def test_a_figure_that_one_period_lacks_is_not_taken_for_nothing():
    # The platform's export began between the periods: its clicks were not 0 before.
    common = {"orders": 2, "revenue": 40, "visits": 10}
    base = two_periods(
        common | {"other_visits": 10},
        common | {"impressions": 500, "clicks": 5, "ad_visits": 4, "other_visits": 6},
    )
    nodes = kpi.explain(base)
    assert set(nodes["kpi"]) == {"revenue", "orders", "aov", "visits", "cvr"}
    assert nodes["contribution"].eq(0).all()


def test_a_period_without_orders_has_a_revenue_of_nothing_and_one_without_other_visits_none_of_them():
    ads = {"impressions": 100, "clicks": 5, "ad_visits": 4}
    base = two_periods(
        ads | {"visits": 4, "orders": 0}, ads | {"visits": 6, "other_visits": 2, "orders": 2} | {"revenue": 50}
    )
    nodes = kpi.explain(base)
    assert nodes["change"].iloc[0] == 50
    assert {"aov", "other_visits", "ctr"} <= set(nodes["kpi"])


# Trees


def test_a_tree_is_read_with_its_leaves():
    tree = kpi.Tree.parse("revenue = orders*aov\n\n orders = visits * cvr ;")
    assert (tree.root, tree.leaves, tree.operator("orders")) == ("revenue", ("visits", "cvr", "aov"), "*")
    assert [path for _, path, _ in tree.walk()][-1] == "revenue/aov"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the tree is empty"),
        ("revenue", "no formula"),
        ("revenue = ", "no formula"),
        ("revenue = orders *", "no formula"),
        ("revenue = orders", "expected KPIs joined by"),
        ("revenue = orders ** aov", "expected KPIs joined by"),
        ("revenue = orders * 2", "one operator a line"),
        ("revenue = orders * aov + cost", "one operator a line"),
        ("other_visits = visits - ad_visits - clicks", "take two KPIs"),
        ("roas = revenue / (cost / orders)", "take two KPIs"),
        ("revenue = orders * luck", "'luck' is not in the catalogue"),
        ("revenue = orders * aov; revenue = visits * cvr", "defined twice"),
        ("revenue = orders * aov; visits = ad_visits + other_visits", "hangs nowhere"),
        ("revenue = orders * aov; orders = visits * cvr; visits = orders / cvr", "goes in a circle"),
        ("revenue = __import__('os').system('true') * aov", "one operator a line"),
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
    after, unknown, before = (
        only(base, period=period, channel=channel).replace({np.nan: None})
        for period, channel in (("after", "Ads"), ("after", "(unknown)"), ("before", "Ads"))
    )
    columns = ["visits", "ad_visits", "other_visits", "clicks", "orders", "revenue", "cost", "days"]
    assert after[columns].tolist() == [13, 13, None, 17, 2, 30.5, None, 2]
    assert unknown[columns].tolist() == [3, None, 3, None, 1, 5, None, 1]
    assert before[columns].tolist() == [5, 5, None, 7, 1, 10, None, 1]
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
    assert base.loc[base["period"] == "before", ["visits", "days"]].to_numpy().tolist() == [[10 * days, days]]


@pytest.mark.parametrize("wrong", ["last month", "2025-13", "2025-08-31..2025-08-01", "last 0 days", ""])
def test_a_wrong_period_is_named(wrong):
    table = daily("2025-01-01", "2025-12-31")
    with pytest.raises(BadParameter):
        kpi.base(table, period=wrong)
    with pytest.raises(BadParameter):
        kpi.base(table, period="2025-12", compare=wrong)


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
    assert base.set_index("period")["visits"].to_dict() == {"after": 3650, "before": 3650}


def test_amounts_in_two_currencies_are_refused_and_one_is_kept():
    rows = [("2025-07-01", "c", "c", 1, 1, 1.0, "EUR"), ("2025-08-01", "c", "c", 1, 1, 1.0, "EUR")]
    columns = ("date", "channel", "campaign", "visits", "orders", "revenue", "currency")
    base = kpi.base(campaigns(rows, columns), period="2025-08-01..2025-08-01", compare="2025-07-01..2025-07-01")
    assert set(base["currency"]) == {"EUR"} == set(kpi.explain(base, tree=TREES[1])["currency"])
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


def test_value_brings_numerator_and_denominator_and_no_interval_above_one():
    base = two_periods({"visits": 4, "orders": 2, "revenue": 40}, {"visits": 4, "orders": 5, "revenue": 40})
    found = kpi.value(base, ["cvr", "aov", "orders"], by=["channel"])
    cvr = only(found, kpi="cvr", period="after")
    assert cvr[["value", "numerator", "denominator"]].tolist() == [1.25, 5, 4] and pd.isna(cvr["low"])
    assert only(found, kpi="cvr", period="before")["high"] < 1
    orders = only(found, kpi="orders", period="after")
    assert orders["value"] == orders["numerator"] == 5 and pd.isna(orders["denominator"]) and pd.isna(orders["low"])
    assert kpi.value(base, ["orders"])["value"].tolist() == [5, 2]
    assert kpi.value(base, ["cost", "roas"])["value"].isna().all()


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
    assert counted(rows).rows()["visits"].sum() == 1


def test_retentioneering_log_has_3605_visits_and_470_purchases_as_its_readme_counts():
    frame = pd.read_csv(shared("data/journeys/retentioneering-ecom.csv.gz"))
    frame = frame.rename(columns={"acquisition_channel": "channel"}).drop(columns="session_id")
    ws = book(optional=["campaigns"], touchpoints=frame)
    figures = kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, conversion="purchase")
    totals = checks.totals(figures)
    assert (totals["visits"], totals["orders"]) == (3605, 470)
    base = kpi.base(figures, period="2024-05", compare="2024-04", by=["channel"])
    nodes = kpi.explain(base)
    assert set(nodes["kpi"]) == {"orders", "visits", "cvr"}
    assert nodes["contribution"].iloc[1:].sum() == pytest.approx(nodes["change"].iloc[0])


def test_orders_in_two_currencies_are_refused_even_on_one_day_and_channel():
    rows = [("u", 0, "order", "A", 10, "EUR"), ("v", 0, "order", "A", 10, "USD")]
    with pytest.raises(BadParameter, match="EUR, USD"):
        counted(rows)


def test_a_period_without_orders_has_no_revenue_but_a_tree():
    rows = [("u", day * DAY, "visit", "A", None, None) for day in range(4)]
    rows.append(("u", 3 * DAY, "order", "A", 10, "EUR"))
    base = kpi.base(counted(rows), period="2025-01-03..2025-01-04", compare="previous")
    nodes = kpi.explain(base)
    assert nodes["kpi"].iloc[0] == "revenue" and nodes["change"].iloc[0] == 10
    assert only(nodes, kpi="cvr")["contribution"] == pytest.approx(10)


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
    search = kpi.value(base, ["cvr"], by=["channel"]).query("channel == 'Paid Search'").set_index("period")["value"]
    assert (round(search["before"], 3), round(search["after"], 3)) == (0.055, 0.040)


def test_every_kpi_of_the_catalogue_can_be_made_of_base_columns():
    for one, language in itertools.product(kpi.CATALOGUE.values(), ("en", "de")):
        assert set(one.columns) <= set(BASE) and getattr(one, language)
        assert one.direction in ("higher", "lower", "context") and one.unit in ("count", "share", "money", "x")
