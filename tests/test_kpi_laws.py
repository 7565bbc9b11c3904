"""KPI trees held against an independent brute-force reference, published examples and the laws of decompositions."""

import functools
import itertools
import json
import math
import random

import _kpi_reference as reference
import numpy as np
import pandas as pd
import pytest
from _tables import shared

from perfnb import kpi, workspace
from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import BASE

MONDAY = {"before": pd.Timestamp("2025-06-02"), "after": pd.Timestamp("2025-06-30")}
FLAT = "revenue = impressions * ctr * cvr * aov"
NESTED = "revenue = orders * aov; orders = clicks * cvr; clicks = impressions * ctr"
VISITS = "revenue = visits * cvr_visit * aov"
SHOP = (
    "revenue = orders * aov; orders = visits * cvr_visit; visits = ad_visits + other_visits; "
    "ad_visits = clicks * visits_per_click; clicks = impressions * ctr"
)
PROFIT = (
    "profit = contribution - cost; contribution = revenue * margin_rate; revenue = orders * aov; "
    "orders = clicks * cvr; cost = clicks * cpc"
)
ROAS = "roas = (cvr * aov) / cpc"
CAC = "paid_cac = cpc / (cvr * new_share)"
SPEND = "revenue = cost * roas; cost = clicks * cpc"
ORGANIC = "other_visits = visits - ad_visits; ad_visits = clicks * visits_per_click"
TWICE = "gain = (orders * aov) - (orders * cpo); orders = clicks * cvr"
RETURN = "gain = (revenue - cost) / cost; revenue = orders * aov; orders = clicks * cvr; cost = clicks * cpc"
TREES = [FLAT, NESTED, VISITS, SHOP, PROFIT, ROAS, CAC, SPEND, ORGANIC, TWICE, RETURN]
TABLES = [(make, seed) for make, count in (("tame", 3), ("wild", 6)) for seed in range(count)]
RATIOS = ["ctr", "cvr", "cvr_visit", "aov", "roas", "cpc", "paid_cac"]
MONEY = ["revenue", "contribution", "cost"]
SEEDS = range(5)


# Tables by hand and at random


def base_of(rows, days=1):
    """The result of `kpi.base` from dicts (period, channel, campaign, perhaps day and base columns; the rest is 0)."""
    rows = list(rows)
    since = [MONDAY[row["period"]] for row in rows]
    dates = [first + pd.Timedelta(days=int(row.get("day", 0))) for first, row in zip(since, rows, strict=True)]
    seen = {
        period: len({(row["period"], row.get("day", 0)) for row in rows if row["period"] == period})
        for period in MONDAY
    }
    found = {"period": [row["period"] for row in rows], "date": pd.DatetimeIndex(dates)}
    found |= {name: [row[name] for row in rows] for name in ("channel", "campaign")}
    found |= {name: np.array([row.get(name, 0) for row in rows], float) for name in BASE}
    found |= {"conversions": found["orders"], "action": "orders", "currency": "EUR"}
    found |= {"since": pd.DatetimeIndex(since), "last_day": pd.DatetimeIndex(since) + pd.Timedelta(days=days - 1)}
    return pd.DataFrame(found | {"covered": [seen[row["period"]] for row in rows]})


def one_segment(before, after):
    """A base of one segment from two dicts of sums."""
    pair = (("before", before), ("after", after))
    return base_of([{"period": name, "channel": "c", "campaign": "c"} | sums for name, sums in pair])


def tame(dice):
    """Sums of a segment, all positive, and every formula holds."""
    row = {name: dice.randint(1, 400) for name in BASE}
    return row | {"visits": row["ad_visits"] + row["other_visits"], "revenue": row["revenue"] + row["contribution"]}


def wild(dice):
    """Sums of a segment with zeros, refunds and numerators that have no denominator."""
    row = {name: dice.choice([0, 0, 1, dice.randint(0, 12), dice.randint(0, 400)]) for name in BASE}
    if dice.random() < 0.15:
        row["revenue"] = -dice.randint(1, 300)
    return row | {"visits": row["ad_visits"] + row["other_visits"]}


def segments(seed, make="wild", most=5):
    """{period: {(channel, campaign): sums}} of "tame" segments, or of "wild" ones, which may be new or lost."""
    dice = random.Random(f"{seed} {make}")
    sums_of = {"tame": tame, "wild": wild}[make]
    found = {"before": {}, "after": {}}
    for number in range(dice.randint(1, most)):
        here = dice.choice([("before",), ("after",)] + [("before", "after")] * 4)
        for period in here if make == "wild" else ("before", "after"):
            found[period][f"c{number % 2}", f"s{number}"] = sums_of(dice)
    for period in found:
        if not found[period]:
            found[period]["c9", "only"] = sums_of(dice)
    return found


def base_from(sides):
    """The base of {period: {(channel, campaign): sums}}."""
    return base_of(
        {"period": period, "channel": channel, "campaign": campaign} | sums
        for period, side in sides.items()
        for (channel, campaign), sums in side.items()
    )


def bound(sides):
    """{period: {segment: sums}} as the reference wants it: the counted action has its own column."""
    return {
        period: {key: sums | {"conversions": sums["orders"]} for key, sums in side.items()}
        for period, side in sides.items()
    }


def summed(side):
    """The sums over all segments."""
    return {name: sum(sums[name] for sums in side.values()) for name in (*BASE, "conversions")}


def formulas_of(tree):
    return {name: (operator, children) for name, operator, children in tree.formulas}


def days(seed, count, channels=2, start=0):
    """A base of `count` days in each period with Poisson-like noise and a weekly rhythm; whole numbers."""
    dice = np.random.default_rng(seed)
    rows = []
    for period, level in (("before", 1.0), ("after", 1.2)):
        for day in range(start, start + count):
            for channel in range(channels):
                visits = dice.poisson(60 * level * (1 + 0.4 * (day % 7 == 5)) * (channel + 1))
                orders = dice.binomial(visits, 0.1 + 0.05 * channel)
                clicks = dice.poisson(visits + 5)
                rows.append(
                    {"period": period, "day": day, "channel": f"c{channel}", "campaign": f"s{channel}"}
                    | {"impressions": clicks * 20 + dice.poisson(200), "clicks": clicks, "ad_visits": visits}
                    | {"visits": visits, "orders": orders, "revenue": orders * 50 + int(dice.poisson(40))}
                    | {"cost": int(dice.poisson(30)), "new_customers": orders // 2, "contribution": orders * 20}
                )
    return base_of(rows, days=start + count)


# Comparing


def room(frame):
    """The tolerance of the laws: 1e-9 of the larger value of what is explained."""
    return 1e-9 * max(abs(frame["before"].iloc[0]), abs(frame["after"].iloc[0])) + 1e-12


def assert_same(found, expected, within, about=None):
    """Two dicts of effects are the same; a missing key is 0."""
    for key in {**found, **expected}:
        a, b = found.get(key, 0), float(expected.get(key, 0))
        assert math.isfinite(a) and abs(a - b) <= within, (about, key, a, b)


def effects(found):
    """{(kpi, segment, kind): contribution} of a result of `kpi.explain`."""
    sums = {}
    for row in found.itertuples():
        segment = None if row.kind == "unallocated" else (row.channel, row.campaign)
        sums[row.kpi, segment, row.kind] = sums.get((row.kpi, segment, row.kind), 0) + row.contribution
    return sums


@functools.cache
def results(text, make, seed):
    """Random segments, and the nodes and movers of their tree (None where its root has no value)."""
    sides = segments(seed, make)
    return sides, explained(base_from(sides), text)


def explained(base, text, **more):
    """Nodes and movers, without intervals; None where the tree's root has no value."""
    tree = kpi.Tree.parse(text)
    try:
        return kpi.nodes(base, tree=tree, draws=2, **more), kpi.explain(base, tree=tree, draws=2, **more)
    except BadParameter as error:
        assert str(error)
        return None


def assert_adds_up(nodes):
    """Children (and what is unallocated below them) add up to their node, at every level."""
    within = room(nodes)
    assert np.isfinite(nodes["contribution"]).all(), nodes
    assert abs(nodes["contribution"].iloc[0] - (nodes["after"].iloc[0] - nodes["before"].iloc[0])) <= within
    parent = nodes["path"].str.rpartition("/")[0]
    for path, below in nodes.groupby(parent):
        if path:
            own = nodes.loc[nodes["path"] == path, "contribution"].iloc[0]
            assert abs(below["contribution"].sum() - own) <= within, (path, nodes)


# Published examples


def case(name):
    return json.loads(shared(f"cases/kpi/{name}.json").read_text())


def product_of(before, after, method):
    """Contributions of factors, as given by kpi.decompose on one flat product."""
    names = [f"factor{place}" for place in range(len(before))]
    tree = kpi.Tree.parse("y = " + " * ".join(names))
    sides = (dict(zip(names, side, strict=True)) for side in (before, after))
    return kpi.decompose(tree, *sides, method=method)["contribution"].tolist()[1:]


@pytest.mark.parametrize("name", ["d01_dasgupta_published", "d02_dasgupta_published"])
def test_das_gupta_1993_cases(name):
    found = case(name)
    sides = found["inputs"]["x0"], found["inputs"]["x1"]
    within = max(map(math.prod, sides))
    shapley = product_of(*sides, "shapley")
    np.testing.assert_allclose(shapley, found["expected"]["shapley_flat"], rtol=0, atol=1e-9 * within)
    np.testing.assert_allclose(shapley, found["expected"]["published"], rtol=2e-6)
    np.testing.assert_allclose(product_of(*sides, "logmean"), found["expected"]["lmdi"], rtol=0, atol=1e-9 * within)
    assert product_of(*sides, "auto") == product_of(*sides, "logmean")


@pytest.mark.parametrize(
    ("before", "after", "published"),
    [
        ([25.3, 0.214, 0.279, 0.949], [32.7, 0.290, 0.473, 0.986], [0.6889411, 0.8125381, 1.3829055, 0.1047547]),
        (
            [0.58, 0.76, 0.84, 0.66, 16.573],
            [0.72, 0.97, 0.97, 0.56, 16.158],
            [1.0909785, 1.2298438, 0.7278399, -0.8398707, -0.1290187],
        ),
    ],
    ids=["2.3 four factors", "2.4 five factors"],
)
def test_das_gupta_1993_examples_as_reproduced_in_the_readme_of_dasguptr(before, after, published):
    np.testing.assert_allclose(product_of(before, after, "shapley"), published, rtol=0, atol=6e-8)


def test_das_gupta_1993_example_3_1_natural_increase_is_a_difference():
    tree = kpi.Tree.parse("increase = births - deaths")
    found = kpi.decompose(tree, {"births": 19.4, "deaths": 10.8}, {"births": 23.7, "deaths": 9.5})
    np.testing.assert_allclose(found["contribution"], [5.6, 4.3, 1.3])
    np.testing.assert_allclose(found["after"], [14.2, 23.7, 9.5])


BIRTHS = {
    "rate": ([393, 407, 369, 274, 184, 90, 16], [488, 452, 338, 156, 63, 22, 3]),
    "married": ([0.122, 0.622, 0.903, 0.930, 0.916, 0.873, 0.800], [0.082, 0.527, 0.866, 0.941, 0.942, 0.923, 0.876]),
    "women": ([0.043, 0.041, 0.036, 0.032, 0.026, 0.020, 0.018], [0.058, 0.038, 0.032, 0.030, 0.026, 0.023, 0.019]),
}


def test_das_gupta_1993_example_4_3_a_sum_of_products_over_seven_ages():
    ages = range(7)
    tree = kpi.Tree.parse("births = " + " + ".join(f"rate{age} * married{age} * women{age}" for age in ages))
    sides = [{f"{name}{age}": pair[which][age] for name, pair in BIRTHS.items() for age in ages} for which in (0, 1)]
    found = kpi.decompose(tree, *sides, method="shapley")
    leaves = found[found["depth"] == 2]
    by_factor = leaves.groupby(leaves["kpi"].str.rstrip("0123456"))["contribution"].sum()
    np.testing.assert_allclose(by_factor[["rate", "married", "women"]], [-7.285632, -2.720633, -1.565181], atol=6e-7)
    np.testing.assert_allclose(found["contribution"].iloc[0], -11.571446, atol=6e-7)


# {period: one (sizes, rates) of the ages per race}.
HEADS = {
    "before": [
        (
            [12.9, 10.9, 9.5, 8.0, 7.8, 8.4, 8.6, 7.8, 7.0, 5.9, 4.7, 3.6, 4.9],
            [1.9, 25.8, 45.7, 49.6, 51.2, 51.6, 51.8, 54.9, 58.7, 60.4, 62.8, 66.6, 66.8],
        )
    ],
    "after": [
        (
            [10.1, 11.2, 11.6, 10.9, 9.4, 7.7, 6.3, 6.0, 6.3, 5.9, 5.1, 4.0, 5.5],
            [2.2, 24.3, 45.8, 52.5, 56.1, 55.6, 56.0, 57.4, 57.2, 61.2, 63.9, 68.6, 72.2],
        )
    ],
}
DEATHS = {
    "before": [
        (
            [2968, 11484, 34614, 30992, 21983, 20314, 20928, 16897, 11339, 5720, 1315],
            [18.469, 0.751, 0.391, 1.146, 1.287, 2.672, 6.636, 15.691, 34.723, 79.763, 176.837],
        ),
        (
            [535, 2162, 6120, 4781, 3096, 2718, 2363, 1767, 1149, 448, 117],
            [36.993, 1.352, 0.541, 2.040, 3.523, 6.746, 12.967, 24.471, 45.091, 74.902, 123.205],
        ),
    ],
    "after": [
        (
            [3041, 11577, 27450, 32711, 35480, 27411, 19555, 19795, 15254, 8022, 2472],
            [9.163, 0.462, 0.248, 0.929, 1.084, 1.810, 4.715, 12.187, 27.728, 64.068, 157.570],
        ),
        (
            [707, 2692, 6473, 6841, 6547, 4352, 3034, 2540, 1749, 804, 236],
            [17.208, 0.738, 0.328, 1.103, 2.045, 3.724, 8.052, 17.812, 34.128, 68.276, 125.161],
        ),
    ],
}


@pytest.mark.parametrize(
    ("table", "rate", "mix", "within"),
    [(HEADS, 1.7403, 1.2269, 6e-5), (DEATHS, -2.2277254, 1.5415096, 6e-8)],
    ids=["5.1 household heads by age", "5.3 deaths by age and race"],
)
def test_rate_and_mix_equal_das_gupta_1993_examples_of_rates_over_groups(table, rate, mix, within):
    rows = [
        {"period": period, "channel": f"race{race}", "campaign": f"age{age}", "clicks": size, "orders": size * one}
        for period, races in table.items()
        for race, (sizes, rates) in enumerate(races)
        for age, (size, one) in enumerate(zip(sizes, rates, strict=True))
    ]
    found = kpi.split(base_of(rows), "cvr")
    assert abs(found["rate"].sum() - rate) <= within and abs(found["mix"].sum() - mix) <= within
    tree = kpi.Tree.parse("orders = clicks * cvr")
    kinds = kpi.kinds(base_of(rows), tree=tree, draws=2).set_index(["kpi", "kind"])["contribution"]
    weight = kpi.nodes(base_of(rows), tree=tree, draws=2).set_index("kpi")["weight"]["cvr"]
    assert abs(kinds["cvr", "rate"] / weight - rate) <= within and abs(kinds["cvr", "mix"] / weight - mix) <= within


CHAINS = ["p01_revenue_chain_all_move", "p02_only_one_factor_moves", "p04_zero_conversions_after", "p06_new_segment"]


@pytest.mark.parametrize("method", ["logmean", "shapley"])
@pytest.mark.parametrize("name", CHAINS)
def test_flat_chain_cases(name, method):
    found = case(name)
    names = ("impressions", "clicks", "orders", "revenue")
    before, after = (dict(zip(names, found["inputs"][f"period_{which}"], strict=True)) for which in (0, 1))
    nodes = kpi.nodes(one_segment(before, after), tree=kpi.Tree.parse(FLAT), method=method)
    expected = found["expected"]
    within = 1e-9 * max(abs(before["revenue"]), abs(after["revenue"]))
    by = nodes.set_index("kpi")
    assert by.loc["revenue", "contribution"] == pytest.approx(expected["delta"])
    assert set(nodes["method"]) == {method}
    for one, effect in expected["lmdi" if method == "logmean" else "shapley_flat"].items():
        assert abs(by.loc[one, "contribution"] - effect) <= within, one
        if expected["factors_0"][one] == expected["factors_1"][one]:
            assert by.loc[one, "contribution"] == 0
    movers = kpi.explain(one_segment(before, after), tree=kpi.Tree.parse(FLAT), method=method)
    assert abs(movers["contribution"].sum() - expected["delta"]) <= within


@pytest.mark.parametrize("method", ["logmean", "shapley"])
def test_nested_tree_case_t01(method):
    found = case("t01_nested_vs_flat")
    names = ("impressions", "ctr", "cvr", "aov")
    before, after = (dict(zip(names, found["inputs"][f"leaves_{which}"], strict=True)) for which in (0, 1))
    key = "logmean_tree" if method == "logmean" else "shapley_tree(node-local, chain rule)"
    rows = kpi.decompose(kpi.Tree.parse(found["inputs"]["tree"]), before, after, method=method)
    expected = {path.strip("/"): effect for path, effect in found["expected"][key].items()}
    assert_same(dict(zip(rows["path"], rows["contribution"], strict=True)), expected, 1e-9 * 48000)
    flat = kpi.decompose(kpi.Tree.parse(FLAT), before, after, method=method)
    np.testing.assert_allclose(
        flat["contribution"].tolist()[1:], found["expected"][f"{method}_flat"], atol=1e-9 * 48000
    )


@pytest.mark.parametrize("method", ["logmean", "shapley"])
def test_quotient_case_t03(method):
    found = case("t03_cac_quotient")
    tree = kpi.Tree.parse("cac = cpc / cvr_new; cvr_new = cvr * new_share")
    before, after = ({name: pair[which] for name, pair in found["inputs"].items()} for which in (0, 1))
    rows = kpi.decompose(tree, before, after, method=method)
    expected = {path.strip("/"): effect for path, effect in found["expected"][method].items()}
    assert_same(dict(zip(rows["path"], rows["contribution"], strict=True)), expected, 1e-9 * 63)


def case_rows(found):
    """The rows of a case of ratios as dicts; its action is bound to orders."""
    rows = [dict(zip(found["inputs"]["columns"], row, strict=True)) for row in found["inputs"]["rows"]]
    return [row | {"period": ("before", "after")[row["period"] - 1], "orders": row["conversions"]} for row in rows]


RATIO_CASES = {"r01_cvr_by_campaign": "cvr", "r03_roas_by_campaign": "roas", "r05_aov_by_campaign": "aov"}


def assert_split(rows, expected):
    """The result of kpi.split equals {"channel/campaign": {status, rate, mix, undefined, total}}."""
    within = 1e-9 * max(abs(expected["R0"]), abs(expected["R1"]))
    rows = rows.set_index(rows["channel"] + "/" + rows["campaign"])
    assert set(rows.index) == set(expected["segments"])
    for key, wanted in expected["segments"].items():
        assert rows.loc[key, "status"] == wanted["status"], key
        for kind in ("rate", "mix", "undefined", "total"):
            assert abs(rows.loc[key, kind] - wanted[kind]) <= within, (key, kind)
    for kind in ("rate", "mix", "undefined", "total"):
        assert abs(rows[kind].sum() - expected["sum"][kind]) <= within, kind
    assert abs(rows["total"].sum() - expected["delta"]) <= within


@pytest.mark.parametrize("name", RATIO_CASES)
def test_ratio_cases(name):
    found = case(name)
    assert_split(kpi.split(base_of(case_rows(found)), RATIO_CASES[name]), found["expected"])


def test_simpson_case_r07():
    found = case("r07_simpson")
    given, expected = found["inputs"], found["expected"]
    rows = [
        {"period": period, "channel": "c", "campaign": f"s{place}"}
        | {"clicks": given[f"clicks_{which}"][place], "orders": given[f"conversions_{which}"][place]}
        for which, period in enumerate(("before", "after"))
        for place in (0, 1)
    ]
    split = kpi.split(base_of(rows), "cvr")
    for row, wanted in zip(split.to_dict("records"), expected["segments"], strict=True):
        assert row["status"] == wanted["status"]
        for kind in ("rate", "mix", "undefined", "total"):
            assert row[kind] == pytest.approx(wanted[kind], abs=5e-11)
    assert split["reversal"].all()
    kinds = kpi.kinds(base_of(rows), tree=kpi.Tree.parse("orders = clicks * cvr"), draws=2).set_index(["kpi", "kind"])
    assert kinds.loc[("cvr", "mix"), "reversal"] or kinds.loc[("cvr", "rate"), "reversal"]
    other = [row | {"orders": row["clicks"] // 10} for row in rows]
    assert not kpi.split(base_of(other), "cvr")["reversal"].any()


def test_a_rate_of_two_days_is_the_ratio_of_the_sums_case_k02():
    found = case("k02_ratio_of_sums")
    pairs = list(zip(found["inputs"]["impressions"], found["inputs"]["clicks"], strict=True))
    rows = [
        {"period": period, "day": day, "channel": "c", "campaign": "c", "impressions": impressions, "clicks": clicks}
        for period in ("before", "after")
        for day, (impressions, clicks) in enumerate(pairs)
    ]
    nodes = kpi.nodes(base_of(rows, days=2), tree=kpi.Tree.parse("clicks = impressions * ctr")).set_index("kpi")
    assert nodes.loc["ctr", "before"] == nodes.loc["ctr", "after"] == found["expected"]["ctr"]
    assert kpi.split(base_of(rows, days=2), "ctr")["after"].tolist() == [found["expected"]["ctr"]]


def test_zero_denominators_are_null_or_zero_case_k03():
    found = case("k03_zero_denominator")
    rows = [
        {"period": period, "channel": "c", "campaign": f"s{place}", "orders": top, "clicks": bottom}
        for period in ("before", "after")
        for place, (top, bottom) in enumerate(found["inputs"]["pairs"])
    ]
    values = kpi.split(base_of(rows), "cvr").sort_values("campaign")
    for name in ("before", "after"):
        assert [None if pd.isna(one) else one for one in values[name]] == found["expected"]["values"]
    assert values["status"].tolist() == ["absent", "numerator_without_denominator", "both"]


def test_values_of_tables_follow_the_same_rules_cases_k01_k02_k03():
    pairs = case("k03_zero_denominator")
    rows = [
        {"date": "2025-06-01", "channel": f"c{place}", "campaign": "x", "orders": top, "clicks": bottom}
        for place, (top, bottom) in enumerate(pairs["inputs"]["pairs"])
    ]
    found = kpi.value(workspace.open({"campaigns": pd.DataFrame(rows)}).campaigns, "cvr", by=["channel"])
    found = found.sort_values("channel")
    assert [None if pd.isna(one) else one for one in found["value"]] == pairs["expected"]["values"]
    assert [None if pd.isna(one) else one for one in found["flag"]] == pairs["expected"]["flags"]
    two = case("k02_ratio_of_sums")
    frame = pd.DataFrame(two["inputs"]).assign(date=["2025-06-01", "2025-06-02"], channel="c", campaign="x")
    found = kpi.value(workspace.open({"campaigns": frame}).campaigns, "ctr")
    assert found["value"].tolist() == [two["expected"]["ctr"]]
    with pytest.raises(BadParameter, match="never summed"):
        kpi.value(workspace.open({"campaigns": frame.assign(reach=5)}).campaigns, "reach")
    seen = case("k01_reach_not_additive")
    events = pd.DataFrame(seen["inputs"]["events(day,channel,user)"], columns=["day", "channel", "user_id"])
    events = events.assign(timestamp="2025-06-0" + events.pop("day").str[1:] + "T12:00:00", event="visit")
    touchpoints = workspace.open({"touchpoints": events}).touchpoints
    for by, name in ((), "reach_total"), (("date",), "reach_by_day"), (("channel",), "reach_by_channel"):
        wanted = seen["expected"][name]
        found = kpi.value(touchpoints, "reach", by=by)["value"].tolist()
        assert found == (list(wanted.values()) if isinstance(wanted, dict) else [wanted]), name


# Trees of given values against brute force


def random_tree(dice, operators, most=4):
    """Text of a tree n0 = … over leaves x0 … x4, in which leaves and inner nodes may be used several times."""
    count = dice.randint(1, 4)
    uses = [[] for _ in range(count)]
    for place in range(1, count):
        uses[dice.randrange(place)].append(f"n{place}")
    lines = []
    for place, inner in enumerate(uses):
        operator = dice.choice(operators)
        arity = 2 if operator in "-/" else dice.randint(2, most)
        extra = [f"n{other}" for other in range(place + 1, count) if dice.random() < 0.25]
        pool = list(dict.fromkeys(inner + extra))
        pool += dice.sample([f"x{leaf}" for leaf in range(5)], 5)
        children = pool[: max(arity, len(inner))]
        if operator in "-/" and len(children) > 2:
            operator = "+"
        dice.shuffle(children)
        lines.append(f"n{place} = " + f" {operator} ".join(children))
    return kpi.Tree.parse("; ".join(lines))


def random_states(seed, operators, values):
    """A tree and two states of its leaves in which nothing is divided by 0."""
    dice = random.Random(f"{seed} {operators}")
    while True:
        tree = random_tree(dice, operators)
        states = [{leaf: values(dice) for leaf in tree.leaves} for _ in (0, 1)]
        for leaf in tree.leaves:
            if dice.random() < 0.15:
                states[1][leaf] = states[0][leaf]
        try:
            all_values = [reference.evaluated(formulas_of(tree), tree.root, state) for state in states]
        except ZeroDivisionError:
            continue
        return tree, states, all_values


def assert_decomposed(tree, states, method="auto"):
    found = kpi.decompose(tree, *states, method=method)
    expected, used = reference.decompose(formulas_of(tree), tree.root, *states, method=method)
    assert set(found["method"]) == {used}, tree
    largest = max(abs(float(row[3])) for row in expected)
    within = 1e-9 * max(abs(found["before"].iloc[0]), abs(found["after"].iloc[0]), largest) + 1e-12
    assert found["path"].tolist() == [row[0] for row in expected]
    for row, (_, before, after, effect) in zip(found.itertuples(), expected, strict=True):
        assert row.before == pytest.approx(float(before), rel=1e-12, abs=1e-12)
        assert row.after == pytest.approx(float(after), rel=1e-12, abs=1e-12)
        assert abs(row.contribution - float(effect)) <= within, (tree, states, row, float(effect))
    parent = found["path"].str.rpartition("/")[0]
    for path, below in found[parent != ""].groupby(parent):
        own = found.loc[found["path"] == path, "contribution"].sum()
        assert abs(below["contribution"].sum() - own) <= within, path


@pytest.mark.parametrize("seed", range(40))
def test_decompose_equals_brute_force_on_positive_values(seed):
    tree, states, _ = random_states(seed, "+*/*", lambda dice: dice.randint(1, 60) / dice.choice([1, 7, 64]))
    for method in ("auto", "logmean", "shapley"):
        assert_decomposed(tree, states, method)


@pytest.mark.parametrize("seed", range(40))
def test_decompose_equals_brute_force_on_zeros_negative_values_and_differences(seed):
    tree, states, _ = random_states(
        seed, "+-*/", lambda dice: dice.choice([0, dice.randint(-9, 30), dice.randint(1, 30)])
    )
    assert_decomposed(tree, states)
    assert_decomposed(tree, states, "shapley")


@pytest.mark.parametrize("seed", range(40))
def test_decompose_takes_the_analytical_limits_of_log_mean_at_zero(seed):
    tree, states, _ = random_states(
        seed, "+**/", lambda dice: dice.choice([0, 0, dice.randint(1, 30), dice.randint(1, 9)])
    )
    assert_decomposed(tree, states, "logmean")


@pytest.mark.parametrize("seed", range(12))
def test_six_factors_equal_brute_force(seed):
    dice = random.Random(seed)
    tree = kpi.Tree.parse("y = a * b * c * d * e * f")
    states = [{leaf: dice.choice([0, dice.randint(-5, 9), dice.randint(1, 9)]) for leaf in "abcdef"} for _ in (0, 1)]
    assert_decomposed(tree, states, "shapley")


def test_a_factor_used_twice_in_one_product_gets_both_parts():
    tree = kpi.Tree.parse("area = side * side * height")
    for method in ("logmean", "shapley"):
        found = kpi.decompose(tree, {"side": 2, "height": 3}, {"side": 5, "height": 3}, method=method)
        by = found.groupby("kpi")["contribution"].sum()
        assert by["side"] == pytest.approx(63) and by["height"] == 0 and by["area"] == 63


@pytest.mark.parametrize("method", ["logmean", "shapley"])
def test_a_leaf_used_twice_has_the_sum_over_its_paths(method):
    tree = kpi.Tree.parse("profit = revenue - cost; revenue = clicks * value; cost = clicks * cpc")
    before, after = {"clicks": 100, "value": 3.0, "cpc": 1.0}, {"clicks": 150, "value": 2.5, "cpc": 1.2}
    assert_decomposed(tree, (before, after), method)
    found = kpi.decompose(tree, before, after, method=method).set_index("path")["contribution"]
    assert found["profit/cost/clicks"] < 0 < found["profit/revenue/clicks"]


@pytest.mark.parametrize("seed", range(20))
def test_formulas_with_brackets_mean_what_python_means(seed):
    dice = random.Random(seed)

    def expression(depth):
        if depth == 0 or dice.random() < 0.3:
            return dice.choice("abcdef")
        parts = [expression(depth - 1), expression(depth - 1), expression(0)]
        return f"({parts[0]} {dice.choice('+-*/')} {parts[1]} {dice.choice('+-*/')} {parts[2]})"

    text = f"{expression(2)} {dice.choice('+-*/')} {expression(2)}"
    values = {name: dice.randint(1, 9) + dice.random() for name in "abcdef"}
    tree = kpi.Tree.parse(f"y = {text}")
    assert tree.evaluate(values)["y"] == pytest.approx(eval(text, {}, values), rel=1e-9)
    later = {name: value * (1 + dice.random()) for name, value in values.items()}
    assert_decomposed(tree, (values, later))


def test_method_auto_needs_every_operand_and_result_of_products_and_quotients_positive():
    for text, after, expected in (
        ("y = a * b", {"a": 2, "b": 3}, "logmean"),
        ("y = a * b", {"a": 0, "b": 3}, "shapley"),
        ("y = a * b", {"a": -2, "b": -3}, "shapley"),
        ("y = a / b", {"a": -2, "b": 3}, "shapley"),
        ("y = a + b", {"a": -2, "b": 0}, "logmean"),
        ("y = a - b", {"a": 2, "b": 7}, "logmean"),
        ("y = a * b; b = c - a", {"a": 2, "c": 9}, "logmean"),
        ("y = a * b; b = c - a", {"a": 2, "c": 2}, "shapley"),
        ("y = c + z; z = a * b", {"a": 2, "b": 3, "c": -4}, "logmean"),
        ("y = c + z; z = a * b", {"a": 2, "b": 0, "c": 4}, "shapley"),
    ):
        tree = kpi.Tree.parse(text)
        before = dict.fromkeys(tree.leaves, 1) | ({"c": 2} if "c" in tree.leaves else {})
        found = kpi.decompose(tree, before, before | after)
        assert set(found["method"]) == {expected}, text


@pytest.mark.parametrize("seed", range(20))
def test_log_mean_gives_the_same_however_a_product_is_nested(seed):
    dice = random.Random(seed)
    names = list("abcde")
    states = [{name: dice.uniform(0.01, 900) for name in names} for _ in (0, 1)]

    def nested(parts):
        if len(parts) == 1:
            return parts[0]
        cut = dice.randint(1, len(parts) - 1)
        return f"({nested(parts[:cut])} * {nested(parts[cut:])})"

    flat = kpi.decompose(kpi.Tree.parse("y = a * b * c * d * e"), *states).set_index("kpi")["contribution"]
    deep = kpi.decompose(kpi.Tree.parse(f"y = {nested(names)[1:-1]}"), *states).set_index("kpi")["contribution"]
    np.testing.assert_allclose(deep[names], flat[names], rtol=0, atol=1e-9 * max(math.prod(s.values()) for s in states))
    # a / b / c and a / (b * c) are one product of powers, too.
    chain = kpi.decompose(kpi.Tree.parse("y = (a / b) / c"), *states).set_index("kpi")["contribution"]
    bracket = kpi.decompose(kpi.Tree.parse("y = a / (b * c)"), *states).set_index("kpi")["contribution"]
    within = 1e-9 * max(state["a"] / state["b"] / state["c"] for state in states)
    np.testing.assert_allclose(chain[list("abc")], bracket[list("abc")], rtol=0, atol=within)


@pytest.mark.parametrize("seed", range(20))
def test_decompose_reverses_with_time_scales_with_the_unit_and_gives_nothing_to_what_stood_still(seed):
    tree, (before, after), _ = random_states(seed, "+-*/", lambda dice: dice.randint(-5, 40))
    there, back = kpi.decompose(tree, before, after), kpi.decompose(tree, after, before)
    scale = max(there["contribution"].abs().max(), there["before"].abs().iloc[0], there["after"].abs().iloc[0])
    np.testing.assert_allclose(there["contribution"], -back["contribution"], rtol=0, atol=1e-9 * scale + 1e-12)
    same = there["before"] == there["after"]
    assert (there.loc[same, "contribution"] == 0).all()
    assert (kpi.decompose(tree, before, before)["contribution"] == 0).all()


def test_log_mean_of_nearly_equal_values_keeps_its_digits():
    for step in (1e-3, 1e-6, 1e-9, 1e-12, 1e-15):
        states = {"a": 7.0, "b": 3.0}, {"a": 7.0 * (1 + step), "b": 3.0 * (1 - step)}
        assert_decomposed(kpi.Tree.parse("y = a * b"), states, "logmean")
    for small in (1e-200, 1e-30):
        assert_decomposed(kpi.Tree.parse("y = a * b"), ({"a": small, "b": 3.0}, {"a": 9.0, "b": 2.0}), "logmean")


# Trees over sums against brute force


def assert_nodes(sides, text, method="auto"):
    """The nodes equal brute force; also where chains are broken. False where the root has no value."""
    tree = kpi.Tree.parse(text)
    base = base_from(sides)
    before, after = (summed(bound(sides)[period]) for period in ("before", "after"))
    try:
        reference.nodes(formulas_of(tree), tree.root, before, after, "shapley")
    except reference.Undefined:
        with pytest.raises(BadParameter):
            kpi.nodes(base, tree=tree, draws=2)
        return False
    found = kpi.nodes(base, tree=tree, draws=2, method=method)
    used = found["method"].iloc[0]
    expected, _ = reference.nodes(formulas_of(tree), tree.root, before, after, used)
    within = room(found)
    assert_adds_up(found)
    assert_same(dict(zip(found["path"], found["contribution"], strict=True)), expected, within, (text, sides, used))
    for row in found[found["kpi"] != "unallocated"].itertuples():
        for value, sums in ((row.before, before), (row.after, after)):
            wanted = reference.value(row.kpi, sums) if reference.known(row.kpi) else value
            assert pd.isna(value) if wanted is None else value == pytest.approx(float(wanted), rel=1e-12), (
                text,
                row.path,
            )
    return True


@pytest.mark.parametrize("text", TREES)
def test_nodes_equal_brute_force_on_positive_sums(text):
    for seed in range(3):
        for method in ("auto", "shapley"):
            assert assert_nodes(segments(seed, "tame"), text, method)


@pytest.mark.parametrize("text", TREES)
def test_nodes_equal_brute_force_with_zeros_refunds_and_broken_chains(text):
    measured = sum(assert_nodes(segments(seed, "wild", most=2), text) for seed in range(14))
    assert measured >= 3


@pytest.mark.parametrize("text", TREES)
def test_movers_equal_brute_force(text):
    tree = kpi.Tree.parse(text)
    measured = 0
    for make, seed in TABLES:
        sides, both = results(text, make, seed)
        if both is None:
            continue
        measured += 1
        nodes, movers = both
        assert_adds_up(nodes)
        sums = bound(sides)
        used = nodes["method"].iloc[0]
        expected = reference.explain(formulas_of(tree), tree.root, sums["before"], sums["after"], used)
        assert_same(effects(movers), expected, room(nodes), (text, seed, make))
        assert abs(movers["contribution"].sum() - nodes["contribution"].iloc[0]) <= room(nodes)
        for name, own in movers[movers["kind"] != "unallocated"].groupby("kpi")["contribution"]:
            assert abs(own.sum() - nodes.loc[nodes["kpi"] == name, "contribution"].sum()) <= room(nodes), (text, name)
        if seed < 2:
            by_kind = movers.groupby(["kpi", "kind"])["contribution"].sum()
            kinds = kpi.kinds(base_from(sides), tree=tree, draws=2).groupby(["kpi", "kind"])["contribution"].sum()
            assert_same(kinds.to_dict(), by_kind.to_dict(), room(nodes))
    assert measured >= 4


@pytest.mark.parametrize("name", RATIOS)
def test_split_equals_brute_force(name):
    for make, seed in TABLES:
        sides = segments(seed, make)
        sums = bound(sides)
        n, d = reference.RATES[name]
        keys = list(dict.fromkeys([*sums["before"], *sums["after"]]))
        cells = {
            key: tuple(
                sums[period].get(key, {n: 0, d: 0})[column] for period in ("before", "after") for column in (n, d)
            )
            for key in keys
        }
        found = kpi.split(base_from(sides), name, draws=2)
        rows = found.set_index(["channel", "campaign"])
        expected = reference.split(cells)
        if expected is None:
            assert set(found["status"]) == {"no_base"}
            assert found[["rate", "mix", "undefined", "total"]].isna().all(axis=None)
            continue
        n0, d0, n1, d1 = (sum(cell[place] for cell in cells.values()) for place in range(4))
        within = 1e-9 * max(abs(n0 / d0), abs(n1 / d1)) + 1e-12
        assert set(rows.index) == set(keys)
        for key, wanted in expected.items():
            assert rows.loc[key, "status"] == wanted["status"], (name, seed, key)
            for kind in ("rate", "mix", "undefined", "total"):
                assert abs(rows.loc[key, kind] - float(wanted[kind])) <= within, (name, seed, key, kind)
        assert abs(rows["total"].sum() - (n1 / d1 - n0 / d0)) <= within


@pytest.mark.parametrize("name", RATIOS)
def test_split_over_two_levels_equals_brute_force(name):
    for make, seed in TABLES:
        sides = segments(seed, make, most=7)
        sums = bound(sides)
        n, d = reference.RATES[name]
        keys = list(dict.fromkeys([*sums["before"], *sums["after"]]))
        cells = {
            key: tuple(
                sums[period].get(key, {n: 0, d: 0})[column] for period in ("before", "after") for column in (n, d)
            )
            for key in keys
        }
        expected = reference.split_within(cells)
        if expected is None:
            continue
        between, inner = expected
        found = kpi.split_within(base_from(sides), name)
        n0, d0, n1, d1 = (sum(cell[place] for cell in cells.values()) for place in range(4))
        within = 1e-9 * max(abs(n0 / d0), abs(n1 / d1)) + 1e-12
        outer = found[found["campaign"].isna()].set_index("channel")
        below = found[found["campaign"].notna()].set_index(["channel", "campaign"])
        assert set(outer.index) == set(between) and set(below.index) == set(inner)
        for key, wanted in between.items():
            pairs = {"between_mix": "mix", "rate": "rate", "undefined": "undefined", "total": "total"}
            for column, kind in pairs.items():
                assert abs(outer.loc[key, column] - float(wanted[kind])) <= within, (name, seed, key, column)
            assert outer.loc[key, "status"] == wanted["status"]
            own = below[below.index.get_level_values(0) == key]
            assert abs(own["total"].sum() - outer.loc[key, "rate"]) <= within
        for key, wanted in inner.items():
            for column, kind in {
                "within_mix": "mix",
                "rate": "rate",
                "undefined": "undefined",
                "total": "total",
            }.items():
                assert abs(below.loc[key, column] - float(wanted[kind])) <= within, (name, seed, key, column)
        assert abs(outer["total"].sum() - (n1 / d1 - n0 / d0)) <= within


def test_a_ratio_without_base_in_a_period_has_no_effects_on_either_level():
    rows = [{"period": "after", "channel": "c", "campaign": name, "clicks": 10, "orders": 2} for name in "ab"]
    base = base_of([*rows, {"period": "before", "channel": "c", "campaign": "a"}])
    for found in (kpi.split(base, "cvr"), kpi.split_within(base, "cvr")):
        assert set(found["status"]) == {"no_base"}
        effects_of = [
            name for name in found if name in ("between_mix", "within_mix", "mix", "rate", "undefined", "total")
        ]
        assert found[effects_of].isna().all(axis=None)


FACTORS = {
    VISITS: ("visits", ["cvr_visit", "aov"]),
    SHOP: ("visits", ["cvr_visit", "aov"]),
    SPEND: ("clicks", ["cpc", "roas"]),
    "orders = visits * cvr_visit": ("visits", ["cvr_visit"]),
}


def unbroken(sums, rates):
    return all(sums[d] or not sums[n] for n, d in (reference.RATES[rate] for rate in rates))


def healed(sides, rates):
    """The sides without segments in which a chain is broken."""
    return {period: {k: s for k, s in side.items() if unbroken(s, rates)} for period, side in sides.items()}


def assert_factors(base, text, first, rates, sums):
    expected, method = reference.factors(first, rates, sums["before"], sums["after"])
    found = kpi.factors(base, tree=kpi.Tree.parse(text), draws=2)
    assert set(found["method"]) == {method}
    got = {((row.channel, row.campaign), row.factor): row.contribution for row in found.itertuples()}
    root = text.partition(" ")[0]
    ends = [sum(one[root] for one in side.values()) for side in sums.values()]
    within = 1e-9 * max(map(abs, ends)) + 1e-12
    assert_same(got, expected, within, (text, sums))
    assert abs(found["contribution"].sum() - (ends[1] - ends[0])) <= within


@pytest.mark.parametrize("text", FACTORS)
def test_factors_by_segment_equal_brute_force(text):
    first, rates = FACTORS[text]
    measured = 0
    for make, seed in TABLES:
        sides = healed(segments(seed, make), ["visits_per_click", "cpc", *rates])
        if not all(sum(one[first] for one in side.values()) for side in sides.values()):
            continue
        measured += 1
        assert_factors(base_from(sides), text, first, rates, bound(sides))
    assert measured >= 4


@pytest.mark.parametrize("text", [FLAT, NESTED, kpi.TREES["transaction"]], ids=["flat", "nested", "ready-made"])
def test_factors_by_segment_go_through_clicks_and_their_conversion_rate(text):
    tree = text if isinstance(text, kpi.Tree) else kpi.Tree.parse(text)
    sides = segments(1, "tame")
    expected, _ = reference.factors("impressions", ["ctr", "cvr", "aov"], *bound(sides).values())
    found = kpi.factors(base_from(sides), tree=tree, draws=2)
    got = {((row.channel, row.campaign), row.factor): row.contribution for row in found.itertuples()}
    assert_same(got, expected, 1e-9 * 2000)


def test_factors_where_a_period_has_nothing_at_all_are_volume_as_in_case_p06():
    sides = {"before": {("c", "a"): {}}, "after": {("c", "a"): {"visits": 10, "orders": 2, "revenue": 100}}}
    sides["after"]["c", "b"] = {"visits": 30, "orders": 3, "revenue": 60}
    found = kpi.factors(base_from(sides), tree=kpi.Tree.parse(VISITS), draws=2)
    by = found.groupby("factor")["contribution"].sum()
    assert by["volume"] == pytest.approx(160) and by["mix"] == 0 and by["cvr_visit"] == 0 and by["aov"] == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_factors_add_up_to_the_change_whatever_the_data(seed):
    sides = segments(seed, "wild")
    base = base_from(sides)
    for text in (VISITS, SHOP):
        found = kpi.factors(base, tree=kpi.Tree.parse(text), draws=2)
        assert np.isfinite(found["contribution"]).all()
        totals = base.groupby("period")["revenue"].sum()
        within = 1e-9 * totals.abs().max() + 1e-12
        assert abs(found["contribution"].sum() - (totals["after"] - totals["before"])) <= within
        for key, own in found.groupby(["channel", "campaign"]):
            ends = [sides[period].get(key, {"revenue": 0})["revenue"] for period in ("before", "after")]
            assert abs(own["contribution"].sum() - (ends[1] - ends[0])) <= within, key


# Broken chains and carried rates


def by_path(base, text, **more):
    return kpi.nodes(base, tree=kpi.Tree.parse(text), draws=2, **more).set_index("path")


BEFORE = {"impressions": 1000, "clicks": 20, "visits": 20, "ad_visits": 20, "orders": 2, "revenue": 100, "cost": 10}
AFTER = {"impressions": 1200, "clicks": 30, "visits": 30, "ad_visits": 30, "orders": 4, "revenue": 240, "cost": 12}


def test_orders_without_clicks_break_the_nested_chain_at_the_node_above():
    found = by_path(one_segment(BEFORE | {"clicks": 0, "impressions": 0}, AFTER), NESTED)
    assert found.loc["revenue/orders", "flag"] == "chain_broken_at:cvr"
    # 2 × 50 → 4 × 60: the orders (2 × 55) are not split; nothing above them is lost.
    assert found.loc["revenue/orders", "contribution"] == pytest.approx(
        110 if found["method"].iloc[0] == "shapley" else 109.35, abs=0.5
    )
    assert found.loc["revenue/orders/unallocated", "contribution"] == found.loc["revenue/orders", "contribution"]
    assert found["contribution"]["revenue/orders"] + found["contribution"]["revenue/aov"] == pytest.approx(140)
    assert not {"revenue/orders/clicks", "revenue/orders/cvr"} & set(found.index[found["contribution"] != 0])


@pytest.mark.parametrize("text", [VISITS, FLAT], ids=["visits", "clicks"])
def test_orders_without_clicks_break_the_flat_chain_and_leave_the_order_value(text):
    found = by_path(one_segment(BEFORE | {"clicks": 0, "visits": 0, "ad_visits": 0, "impressions": 0}, AFTER), text)
    rate = "cvr_visit" if text == VISITS else "cvr"
    assert found.loc["revenue", "flag"] == f"chain_broken_at:{rate}"
    nested = by_path(one_segment(BEFORE, AFTER), "revenue = orders * aov", method=found["method"].iloc[0])
    assert found.loc["revenue/aov", "contribution"] == pytest.approx(nested.loc["revenue/aov", "contribution"])
    assert found.loc["revenue/unallocated", "contribution"] == pytest.approx(
        nested.loc["revenue/orders", "contribution"]
    )
    assert_adds_up(found.reset_index())


def test_the_rightmost_break_of_a_flat_chain_counts():
    # Clicks without impressions before, orders without clicks after.
    before, after = BEFORE | {"impressions": 0}, AFTER | {"clicks": 0}
    found = by_path(one_segment(before, after), FLAT)
    assert "chain_broken_at:cvr" in found.loc["revenue", "flag"]
    nested = by_path(one_segment(BEFORE, AFTER), "revenue = orders * aov", method=found["method"].iloc[0])
    assert found.loc["revenue/aov", "contribution"] == pytest.approx(nested.loc["revenue/aov", "contribution"])
    assert found.loc["revenue/unallocated", "contribution"] == pytest.approx(
        nested.loc["revenue/orders", "contribution"]
    )
    whole = by_path(one_segment(before | {"orders": 0}, after), FLAT)
    assert "chain_broken_at:aov" in whole.loc["revenue", "flag"]
    assert whole.loc["revenue/unallocated", "contribution"] == 140


def test_the_order_in_which_a_flat_chain_is_written_does_not_matter():
    for before in (BEFORE, BEFORE | {"visits": 0, "ad_visits": 0}):
        straight = by_path(one_segment(before, AFTER), VISITS)["contribution"]
        turned = by_path(one_segment(before, AFTER), "revenue = aov * cvr_visit * visits")["contribution"]
        assert_same(turned.to_dict(), straight.to_dict(), 1e-9 * 240)


def test_a_cost_per_click_without_clicks_leaves_the_quotient_whole():
    found = by_path(one_segment(BEFORE | {"clicks": 0, "orders": 0, "revenue": 0}, AFTER), ROAS)
    assert found.loc["roas", "flag"] == "chain_broken_at:cpc"
    assert found.loc["roas/unallocated", "contribution"] == pytest.approx(20) == found.loc["roas", "contribution"]


def test_a_rate_without_base_takes_its_value_of_the_other_period():
    nothing = dict.fromkeys(BEFORE, 0)
    for before, after, delta in ((nothing, AFTER, 240), (AFTER, nothing, -240), (nothing, nothing, 0)):
        for text in (FLAT, NESTED, VISITS, SHOP):
            found = kpi.nodes(one_segment(before, after), tree=kpi.Tree.parse(text), draws=2)
            assert_adds_up(found)
            by = found.groupby("kpi")["contribution"].sum()
            leaf = "visits" if text == VISITS else "impressions"
            assert by[leaf] == pytest.approx(delta), text
            rates = [name for name in by.index if name in reference.RATES]
            assert (by[rates] == 0).all()
            assert (found.loc[found["kpi"].isin(rates), "change"] == 0).all()


def test_a_period_without_orders_is_explained_by_the_conversion_rate():
    found = by_path(
        one_segment(BEFORE, AFTER | {"orders": 0, "revenue": 0}), "revenue = orders * aov; orders = clicks * cvr"
    )
    assert found["contribution"]["revenue"] == -100
    assert found["contribution"]["revenue/aov"] == 0
    logmean = by_path(one_segment(BEFORE, AFTER | {"orders": 0, "revenue": 0}), NESTED, method="logmean")[
        "contribution"
    ]
    assert logmean["revenue/orders/cvr"] == pytest.approx(-100) and logmean["revenue/orders/clicks"] == 0


def test_a_root_that_has_no_value_in_a_period_is_refused():
    base = one_segment(BEFORE | {"cost": 0}, AFTER)
    with pytest.raises(BadParameter, match="roas"):
        kpi.nodes(base, tree=kpi.Tree.parse(ROAS))
    with pytest.raises(BadParameter, match="roas"):
        kpi.explain(base, tree=kpi.Tree.parse(ROAS))


def test_a_root_made_of_something_divided_by_nothing_is_refused():
    # 100 spent for no orders: the cost per order has no value, and the gain is not 0.
    base = one_segment({"clicks": 10, "cost": 100}, {"clicks": 10, "orders": 10, "revenue": 500, "cost": 100})
    with pytest.raises(BadParameter, match="cpo"):
        kpi.nodes(base, tree=kpi.Tree.parse(TWICE))


def test_a_node_without_a_formula_of_its_own_takes_no_made_up_value():
    # Revenue of a refused return without orders: revenue per click is 5, not 0.
    before = {"clicks": 10, "orders": 0, "revenue": 50, "cost": 10}
    after = {"clicks": 10, "orders": 5, "revenue": 250, "cost": 10}
    found = by_path(one_segment(before, after), ROAS)
    assert found.loc["roas", "contribution"] == pytest.approx(20)
    inner = found.loc[found.index == "roas/cvr × aov", "contribution"]
    assert inner.empty or inner.iloc[0] == pytest.approx(20)


def test_what_a_formula_does_not_yield_is_one_visible_row():
    # Value of returned goods: revenue is less than orders × the order value of the table below.
    base = one_segment(BEFORE | {"leads": 3}, AFTER | {"leads": 5})
    found = by_path(base, "revenue = leads * aov; leads = clicks * ctr")
    assert_adds_up(found.reset_index())
    assert found.loc[found["kpi"] == "unallocated", "contribution"].ne(0).any()
    movers = kpi.explain(base, tree=kpi.Tree.parse("revenue = leads * aov; leads = clicks * ctr"), draws=2)
    assert movers["contribution"].sum() == pytest.approx(140)


def test_a_broken_chain_below_a_sum_leaves_the_other_parts():
    before = BEFORE | {"clicks": 0, "impressions": 0, "other_visits": 5, "visits": 25}
    after = AFTER | {"other_visits": 8, "visits": 38}
    found = by_path(one_segment(before, after), SHOP)
    assert found.loc["revenue/orders/visits/ad_visits", "flag"] == "chain_broken_at:visits_per_click"
    effects = found["contribution"]
    below = effects["revenue/orders/visits/ad_visits/unallocated"]
    assert below == pytest.approx(effects["revenue/orders/visits/ad_visits"]) and below != 0
    assert effects["revenue/orders/visits/other_visits"] != 0
    assert_adds_up(found.reset_index())


def test_a_negative_denominator_is_refused():
    rows = [{"period": "before", "channel": "c", "campaign": "a", "revenue": 5, "orders": -1}]
    rows += [{"period": "before", "channel": "c", "campaign": "b", "revenue": 5, "orders": 9}]
    rows += [row | {"period": "after"} for row in rows]
    for asked in (
        lambda: kpi.split(base_of(rows), "aov"),
        lambda: kpi.split_within(base_of(rows), "aov"),
        lambda: kpi.explain(base_of(rows), tree=kpi.Tree.parse("revenue = orders * aov")),
    ):
        with pytest.raises(BadParameter, match="orders"):
            asked()


def test_a_rate_that_counts_rows_without_a_denominator_says_so():
    # The cost of organic traffic is unknown, which is not 0.
    rows = [
        {"period": period, "channel": channel, "campaign": "x", "revenue": revenue, "cost": 100}
        for period, channel, revenue in (
            ("before", "paid", 500), ("before", "organic", 500), ("after", "paid", 500), ("after", "organic", 1500)
        )
    ]  # fmt: skip
    base = base_of(rows)
    base.loc[base["channel"] == "organic", "cost"] = np.nan
    found = kpi.split(base, "roas", draws=2).set_index("channel")
    assert found.loc["organic", "status"] == "numerator_without_denominator"
    assert found.loc["organic", "undefined"] != 0 and found["rate"].eq(0).all()
    nodes = kpi.nodes(base, tree="revenue = cost * roas", draws=2).set_index("kpi")
    assert nodes.loc["roas", "flag"] == "counts_rows_without_denominator"
    # Of rows where both parts are known, as kpi.value counts them, it stands still.
    known = kpi.value(base, "roas")
    assert known["value"].eq(5).all() and known["coverage"].eq(1).all()


def test_reach_is_never_summed_over_days_or_segments_case_k01():
    found = case("k01_reach_not_additive")
    assert found["expected"]["forbidden_sum_days"] != found["expected"]["reach_total"]
    base = days(1, 14).assign(reach=5.0)
    with pytest.raises(BadParameter, match=r"distinct|summed|added"):
        kpi.split(base, "frequency")
    with pytest.raises(BadParameter, match=r"distinct|summed|added"):
        kpi.nodes(base, tree=kpi.Tree.parse("impressions = reach * frequency"))


@pytest.mark.parametrize("text", TREES)
def test_columns_that_the_source_does_not_have_cut_the_tree_and_it_still_adds_up(text):
    dice = random.Random(text)
    measured = 0
    for _ in range(5):
        base = base_from(segments(dice.random(), "tame"))
        base[dice.sample([name for name in BASE if name != "orders"], 3)] = np.nan
        both = explained(base, text)
        if both is not None:
            measured += 1
            assert_adds_up(both[0])
            assert abs(both[1]["contribution"].sum() - both[0]["contribution"].iloc[0]) <= room(both[0])
    assert measured or text in (ROAS, CAC, RETURN, TWICE)


def test_lint_names_what_a_reader_would_miss():
    assert kpi.lint(kpi.Tree.parse(SHOP)).empty
    found = kpi.lint("revenue = orders * aov")
    assert set(found["check"]) == {"level"} and set(found["severity"]) == {"warn"} and len(found) == 2
    assert "relative" in kpi.lint("profit = revenue - cost").query("check == 'kind'")["message"].iloc[0]
    reach = kpi.lint("impressions = reach * frequency")
    assert "reach" in reach.loc[reach["severity"] == "error", "kpi"].tolist()
    unknown = kpi.lint("revenue = orders * nonsense")
    assert unknown.loc[unknown["check"] == "unknown", "kpi"].tolist() == ["nonsense"]
    for text in ("a = b * c; b = a * d", "revenue =", "revenue = orders * aov; leads = clicks * ctr"):
        assert kpi.lint(text)["severity"].tolist() == ["error"]


def test_wrong_words_are_refused_in_ours():
    base = days(1, 14)
    for asked in (
        lambda: kpi.split(base, "aov", by=("chanel",)),
        lambda: kpi.split_within(base, "aov", by=("channel", "campain")),
        lambda: kpi.factors(base, by=("chanel",)),
        lambda: kpi.explain(base, by=("chanel",)),
        lambda: kpi.kinds(base, by=("chanel",)),
        lambda: kpi.nodes(base, method="laspeyres"),
        lambda: kpi.nodes(base, tree=7),
        lambda: kpi.nodes(base, draws=-1),
        lambda: kpi.split(base, "orders"),
    ):
        with pytest.raises(BadParameter):
            asked()


# Laws of segments


@pytest.mark.parametrize("text", TREES)
def test_contributions_reverse_with_time(text):
    for make, seed in TABLES[1:6]:
        sides, there = results(text, make, seed)
        back = explained(base_from({"before": sides["after"], "after": sides["before"]}), text)
        if there is None:
            assert back is None
            continue
        within = room(there[0])
        effect = dict(zip(there[0]["path"], there[0]["contribution"], strict=True))
        turned = dict(zip(back[0]["path"], -back[0]["contribution"], strict=True))
        assert_same(effect, turned, within, (text, seed))
        turned = {key: -value for key, value in effects(back[1]).items()}
        assert_same(effects(there[1]), turned, within, (text, seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_splits_and_factors_reverse_with_time(seed):
    sides = segments(seed, "wild")
    there, back = base_from(sides), base_from({"before": sides["after"], "after": sides["before"]})
    keys = ["channel", "campaign"]
    for name in RATIOS:
        one, two = (kpi.split(base, name, draws=2).set_index(keys).sort_index() for base in (there, back))
        within = (
            1e-9 * one[["before", "after"]].abs().max(axis=None)
            if one[["before", "after"]].notna().any(axis=None)
            else 0
        )
        for kind in ("rate", "mix", "undefined", "total"):
            np.testing.assert_allclose(one[kind], -two[kind], rtol=0, atol=within + 1e-12)
    one, two = (kpi.factors(base, tree=kpi.Tree.parse(VISITS), draws=2) for base in (there, back))
    one, two = (frame.set_index([*keys, "factor"])["contribution"].to_dict() for frame in (one, two))
    assert_same(one, {key: -value for key, value in two.items()}, 1e-9 * 4000)


@pytest.mark.parametrize("text", TREES)
def test_the_order_of_rows_changes_nothing(text):
    sides, first = results(text, "tame", 1)
    again = explained(base_from(sides).sample(frac=1, random_state=2), text)
    pd.testing.assert_frame_equal(again[0], first[0])
    assert effects(again[1]) == effects(first[1])


def test_the_order_of_rows_changes_no_interval():
    base = days(1, 28)
    for asked in (
        lambda base: kpi.nodes(base, draws=60),
        lambda base: kpi.kinds(base, draws=60),
        lambda base: kpi.split(base, "cvr_visit", draws=60),
        lambda base: kpi.factors(base, draws=60),
        lambda base: kpi.explain(base, draws=60).sort_values(["kpi", "channel", "campaign", "kind"], ignore_index=True),
    ):
        pd.testing.assert_frame_equal(asked(base.sample(frac=1, random_state=5)), asked(base))


@pytest.mark.parametrize("text", [NESTED, PROFIT])
def test_the_names_of_segments_do_not_matter(text):
    for make, seed in TABLES:
        sides, plain = results(text, make, seed)
        names = {
            key: (f"z{key[0]}", f"{99 - place:02d}") for place, key in enumerate({**sides["before"], **sides["after"]})
        }
        renamed = {period: {names[key]: sums for key, sums in side.items()} for period, side in sides.items()}
        again = explained(base_from(renamed), text)
        if plain is None:
            assert again is None
            continue
        back = {new: old for old, new in names.items()}
        found = {(name, back.get(key), kind): value for (name, key, kind), value in effects(again[1]).items()}
        assert_same(found, effects(plain[1]), room(plain[0]))


@pytest.mark.parametrize("text", TREES)
def test_an_empty_segment_changes_nothing(text):
    for make, seed in TABLES[2:5]:
        sides, plain = results(text, make, seed)
        more = {period: side | {("c0", "empty"): {}, ("void", "void"): {}} for period, side in sides.items()}
        padded = explained(base_from(more), text)
        if plain is None:
            assert padded is None
            continue
        pd.testing.assert_frame_equal(padded[0], plain[0])
        assert_same(effects(padded[1]), effects(plain[1]), room(plain[0]))


@pytest.mark.parametrize("name", RATIOS)
def test_an_empty_segment_is_absent_from_a_split(name):
    for seed in range(3):
        sides = segments(seed, "wild")
        more = {period: side | {("c0", "empty"): {}, ("void", "void"): {}} for period, side in sides.items()}
        plain, padded = (kpi.split(base_from(one), name, draws=2) for one in (sides, more))
        own = padded[~padded["campaign"].isin(["empty", "void"])]
        pd.testing.assert_frame_equal(own.reset_index(drop=True), plain)
        rest = padded[padded["campaign"].isin(["empty", "void"])]
        assert set(rest["status"]) <= {"absent", "no_base"}
        assert rest[["rate", "mix", "undefined", "total"]].fillna(0).eq(0).all(axis=None)


@pytest.mark.parametrize("seed", SEEDS)
def test_merging_segments_of_one_rate_changes_neither_rate_nor_mix(seed):
    dice = random.Random(seed)
    sides = segments(seed, "wild")
    twin = {period: {key: dict(sums) for key, sums in side.items()} for period, side in sides.items()}
    whole = {period: {key: dict(sums) for key, sums in side.items()} for period, side in sides.items()}
    for period in sides:
        clicks, rate = dice.randint(1, 9), dice.randint(0, 9)
        shares = dice.randint(1, 9), dice.randint(1, 9)
        for place, share in enumerate(shares):
            twin[period]["t", f"twin{place}"] = wild(random.Random(0)) | {
                "clicks": clicks * share, "orders": rate * share, "revenue": 0, "impressions": 40 * share
            }  # fmt: skip
        both = [twin[period]["t", f"twin{place}"] for place in (0, 1)]
        whole[period]["t", "both"] = {column: both[0][column] + both[1][column] for column in both[0]}
    one, two = (kpi.split(base_from(sums), "cvr", draws=2) for sums in (twin, whole))
    total = base_from(whole).groupby("period")[["orders", "clicks"]].sum()
    within = 1e-9 * (total["orders"] / total["clicks"]).max()
    for kind in ("rate", "mix", "undefined", "total"):
        assert abs(one[kind].sum() - two[kind].sum()) <= within, kind
    text = "orders = clicks * cvr"
    one, two = (
        explained(base_from(sums), text)[1].groupby(["kpi", "kind"])["contribution"].sum() for sums in (twin, whole)
    )
    assert_same(one.to_dict(), two.to_dict(), 1e-9 * total["orders"].max())


@pytest.mark.parametrize("name", RATIOS)
def test_a_larger_period_of_the_same_shape_has_the_same_rate_and_mix(name):
    for seed, factor in ((0, 7), (1, 0.25), (2, 3)):
        sides = segments(seed, "wild")
        grown = {
            key: {column: value * factor for column, value in sums.items()} for key, sums in sides["after"].items()
        }
        scaled = sides | {"after": grown}
        kinds = ["rate", "mix", "undefined", "total"]
        one, two = (kpi.split(base_from(sums), name, draws=2) for sums in (sides, scaled))
        np.testing.assert_allclose(two[kinds].astype(float), one[kinds].astype(float), rtol=1e-9, atol=1e-9)
        kinds = ["between_mix", "within_mix", "rate", "undefined", "total"]
        one, two = (kpi.split_within(base_from(sums), name) for sums in (sides, scaled))
        np.testing.assert_allclose(two[kinds].astype(float), one[kinds].astype(float), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("text", TREES)
def test_money_in_cents_scales_the_effects(text):
    for make, seed in TABLES[2:5]:
        sides, euro = results(text, make, seed)
        cents = {
            period: {key: sums | {name: 100 * sums[name] for name in MONEY} for key, sums in side.items()}
            for period, side in sides.items()
        }
        cent = explained(base_from(cents), text)
        if euro is None:
            assert cent is None
            continue
        factor = 100 if text.partition(" ")[0] in ("revenue", "profit", "paid_cac") or text == TWICE else 1
        within = factor * room(euro[0])
        scaled = {key: factor * value for key, value in effects(euro[1]).items()}
        assert_same(effects(cent[1]), scaled, within, (text, seed))
        np.testing.assert_allclose(cent[0]["contribution"], factor * euro[0]["contribution"], rtol=0, atol=within)


@pytest.mark.parametrize("text", TREES)
def test_what_did_not_move_gets_exactly_nothing(text):
    before = segments(4, "tame")["before"]
    nodes, movers = explained(base_from({"before": before, "after": before}), text)
    assert (nodes["contribution"] == 0).all() and (movers["contribution"] == 0).all()
    double = {key: {column: 2 * value for column, value in sums.items()} for key, sums in before.items()}
    nodes, movers = explained(base_from({"before": before, "after": double}), text)
    rates = nodes["kpi"].isin(reference.RATES)
    assert (nodes.loc[rates, "contribution"] == 0).all()
    rates = movers["kpi"].isin(reference.RATES)
    assert (movers.loc[rates & (movers["kind"] == "rate"), "contribution"] == 0).all()
    assert movers.loc[rates, "contribution"].abs().max() <= room(nodes)


@pytest.mark.parametrize("text", TREES)
def test_nothing_is_infinite_and_everything_adds_up_for_small_counts(text):
    dice = random.Random(text)
    measured = 0
    for _ in range(6):
        sides = {
            period: {("c", f"s{place}"): {name: dice.choice([0, 0, 1, 1, 2]) for name in BASE} for place in range(2)}
            for period in ("before", "after")
        }
        both = explained(base_from(sides), text)
        if both is None:
            continue
        measured += 1
        nodes, movers = both
        assert_adds_up(nodes)
        numbers = movers.select_dtypes("number")
        assert not np.isinf(numbers.to_numpy(float, na_value=0)).any()
        assert np.isfinite(movers["contribution"]).all()
        assert abs(movers["contribution"].sum() - nodes["contribution"].iloc[0]) <= room(nodes)
        assert not np.isinf(nodes.select_dtypes("number").to_numpy(float, na_value=0)).any()
    assert measured >= 2


def test_share_is_null_where_the_root_did_not_move():
    base = one_segment(BEFORE, BEFORE | {"clicks": 10, "orders": 4, "revenue": 100})
    nodes, movers = explained(base, NESTED)
    assert nodes["share"].isna().all() and movers["share"].isna().all()
    assert nodes.set_index("kpi")["contribution"][["ctr", "cvr", "aov"]].ne(0).all()
    nodes, movers = explained(one_segment(BEFORE, AFTER), NESTED)
    np.testing.assert_allclose(nodes["share"], nodes["contribution"] / 140)
    np.testing.assert_allclose(movers["share"], movers["contribution"] / 140)


def test_a_result_has_one_row_per_kpi_segment_and_kind():
    # Orders without clicks, in a node that stands in two places of the tree.
    before, after = BEFORE | {"clicks": 0, "impressions": 0}, AFTER
    for text in (TWICE, RETURN, PROFIT, SHOP):
        base = one_segment(before, after)
        movers, kinds = (one(base, tree=kpi.Tree.parse(text), draws=2) for one in (kpi.explain, kpi.kinds))
        assert not movers.duplicated(["kpi", "channel", "campaign", "kind"]).any(), text
        assert not kinds.duplicated(["kpi", "kind"]).any(), text


def test_nothing_that_was_given_is_changed():
    base = days(2, 14)
    kept = base.copy(deep=True)
    kpi.nodes(base), kpi.explain(base), kpi.kinds(base), kpi.factors(base)
    kpi.split(base, "aov"), kpi.split_within(base, "aov")
    pd.testing.assert_frame_equal(base, kept)


# Intervals


RESULTS = {
    "nodes": lambda base, **more: kpi.nodes(base, **more),
    "explain": lambda base, **more: kpi.explain(base, **more),
    "kinds": lambda base, **more: kpi.kinds(base, **more),
    "factors": lambda base, **more: kpi.factors(base, **more),
    "split": lambda base, **more: kpi.split(base, "cvr_visit", **more).assign(
        contribution=lambda found: found["total"]
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_intervals_are_seeded_and_hold_their_estimate(name):
    base = days(3, 28)
    found = RESULTS[name](base, draws=80, seed=4)
    pd.testing.assert_frame_equal(RESULTS[name](base, draws=80, seed=4), found)
    moved = found["contribution"].ne(0)
    assert found.loc[moved, ["low", "high"]].notna().all(axis=None)
    known = found[found["low"].notna()]
    assert (known["low"] <= known["contribution"]).all() and (known["contribution"] <= known["high"]).all()
    np.testing.assert_allclose((known["low"] + known["high"]) / 2, known["contribution"], atol=1e-6)
    assert (known["within_noise"] == ((known["low"] <= 0) & (known["high"] >= 0))).all()
    other = RESULTS[name](base, draws=80, seed=5)
    assert (other["low"].dropna().to_numpy() != found["low"].dropna().to_numpy()).any()
    assert other["contribution"].equals(found["contribution"])


@pytest.mark.parametrize("name", RESULTS)
@pytest.mark.parametrize(("count", "known"), [(1, False), (7, False), (13, False), (14, True), (28, True), (31, True)])
def test_intervals_need_two_whole_weeks(name, count, known):
    found = RESULTS[name](days(4, count), draws=30)
    assert found["low"].notna().any() == known and found["high"].notna().any() == known
    assert found["within_noise"].notna().any() == known


def test_two_weeks_are_flagged_as_few():
    assert kpi.nodes(days(4, 28), draws=30)["flag"].isna().all()
    assert kpi.nodes(days(4, 14), draws=30)["flag"].notna().any()


@pytest.mark.parametrize("draws", [0, 1])
def test_no_draws_or_one_make_no_interval(draws):
    assert kpi.nodes(days(4, 28), draws=draws)["low"].isna().all()


@pytest.mark.parametrize("name", RESULTS)
def test_what_is_the_same_on_every_such_weekday_has_no_width(name):
    rows = [
        {"period": period, "day": day, "channel": f"c{channel}", "campaign": f"s{channel}"}
        | {"visits": visits * (1 + day % 7), "ad_visits": visits * (1 + day % 7), "clicks": 40 * (1 + day % 7)}
        | {"impressions": 900, "orders": orders * (1 + day % 3 * 0), "revenue": 70 * orders}
        for period, scale in (("before", 1), ("after", 2))
        for day in range(28)
        for channel, (visits, orders) in enumerate(((20 * scale, 3), (30, 4 * scale)))
    ]
    found = RESULTS[name](base_of(rows, days=28), draws=60)
    moved = found[found["contribution"].ne(0)]
    np.testing.assert_allclose(moved["high"] - moved["low"], 0, atol=1e-6 * moved["contribution"].abs().max())


def test_the_interval_of_a_sum_is_that_of_its_days():
    base = days(6, 28)
    found = kpi.nodes(base, tree=kpi.Tree.parse("profit = contribution - cost"), draws=3000).set_index("kpi")
    daily = base.groupby(["period", "date"])[["contribution", "cost"]].sum().reset_index()
    for name in ("contribution", "cost"):
        weekdays = daily.groupby(["period", daily["date"].dt.day_of_week])[name]
        error = math.sqrt((weekdays.var(ddof=1) * weekdays.count()).sum())
        half = (found.loc[name, "high"] - found.loc[name, "low"]) / 2
        assert half == pytest.approx(1.96 * error, rel=0.06), name


def test_segments_share_their_draws():
    # Two segments that mirror each other: their sum is the same on every day.
    dice = np.random.default_rng(8)
    rows = []
    for period, day in itertools.product(("before", "after"), range(28)):
        orders = int(dice.integers(5, 95)) + (period == "after")
        for place, own in enumerate((orders, 100 - orders)):
            rows.append(
                {"period": period, "day": day, "channel": f"c{place}", "campaign": "s", "visits": own, "clicks": own}
            )
    tree = kpi.Tree.parse("visits = ad_visits + other_visits")
    base = base_of([row | {"ad_visits": row["visits"]} for row in rows], days=28)
    nodes = kpi.nodes(base, tree=tree, draws=80).set_index("kpi")
    assert nodes.loc["visits", "high"] - nodes.loc["visits", "low"] == pytest.approx(0, abs=1e-9)
    movers = kpi.explain(base, tree=tree, draws=80)
    assert (
        movers.loc[movers["kpi"] == "ad_visits", "high"] - movers.loc[movers["kpi"] == "ad_visits", "low"]
    ).min() > 10


def test_ninety_five_per_cent_intervals_hold_the_truth_as_often_as_they_say():
    # 28 days against 28, Poisson visits with a weekly rhythm, binomial orders, three segments.
    dice = np.random.default_rng(11)
    rhythm = np.array([1.0, 0.9, 0.9, 1.0, 1.2, 1.5, 0.6] * 4)
    level = {"before": np.array([80.0, 150.0, 40.0]), "after": np.array([90.0, 120.0, 60.0])}
    chance = {"before": np.array([0.10, 0.05, 0.2]), "after": np.array([0.12, 0.05, 0.17])}
    keys = [("c0", "s0"), ("c0", "s1"), ("c1", "s2")]
    tree = kpi.Tree.parse("orders = visits * cvr_visit")
    sums = {
        period: {
            key: {"visits": float(v * rhythm.sum()), "orders": float(v * rhythm.sum() * p)}
            for key, v, p in zip(keys, level[period], chance[period], strict=True)
        }
        for period in level
    }
    cells = {key: [sums[period][key][name] for period in level for name in ("orders", "visits")] for key in keys}
    true_split = reference.split(cells)
    ends = [{name: sum(one[name] for one in side.values()) for name in ("visits", "orders")} for side in sums.values()]
    true_nodes, _ = reference.nodes(formulas_of(tree), "orders", *ends, "logmean")
    form = base_of(
        [
            {"period": period, "day": day, "channel": channel, "campaign": campaign}
            for period in level
            for day in range(28)
            for channel, campaign in keys
        ],
        days=28,
    )
    held, held_nodes = [], []
    for _ in range(100):
        visits = np.concatenate([dice.poisson(rhythm[:, None] * level[period]).ravel() for period in level])
        rates = np.concatenate([np.tile(chance[period], 28) for period in level])
        base = form.assign(visits=visits * 1.0, orders=dice.binomial(visits, rates) * 1.0)
        found = kpi.split(base, "cvr_visit", draws=100).set_index(["channel", "campaign"])
        held += [
            found.loc[key, "low"] <= float(row["total"]) <= found.loc[key, "high"] for key, row in true_split.items()
        ]
        nodes = kpi.nodes(base, tree=tree, draws=100).set_index("path")
        held_nodes += [
            nodes.loc[path, "low"] <= float(true) <= nodes.loc[path, "high"] for path, true in true_nodes.items()
        ]
    assert 0.88 <= np.mean(held) <= 0.98, np.mean(held)
    assert 0.88 <= np.mean(held_nodes) <= 0.98, np.mean(held_nodes)


# Through the front door


def written(folder, sides, days=1, **columns):
    """A campaigns.csv: the sums of every segment spread over the days of June (before) and July 2025 (after)."""
    rows = []
    for period, month in (("before", 6), ("after", 7)):
        for (channel, campaign), sums in sides[period].items():
            for day in range(days):
                share = {name: value // days + (day < value % days) for name, value in sums.items()}
                rows.append(
                    {"date": f"2025-{month:02d}-{day + 1:02d}", "channel": channel, "campaign": campaign} | share
                )
    frame = pd.DataFrame(rows).assign(**columns)
    frame.to_csv(folder / "campaigns.csv", index=False)
    return frame


def front_sides(seed):
    """Segments as an export has them: the counts of our campaigns table, clicks wherever there are visits."""
    dice = random.Random(seed)
    sides = {"before": {}, "after": {}}
    for number in range(4):
        for period in [("before",), ("after",), ("before", "after"), ("before", "after")][number]:
            clicks = dice.randint(30, 300)
            orders = dice.randint(0, 20)
            sides[period][f"c{number % 2}", f"s{number}"] = {
                "impressions": clicks * dice.randint(5, 30), "clicks": clicks, "visits": clicks - dice.randint(0, 20),
                "orders": orders, "revenue": orders * dice.randint(20, 90), "cost": dice.randint(10, 200),
            }  # fmt: skip
    return sides


def test_front_door_equals_brute_force_on_every_engine(tmp_path, engine):
    sides = front_sides(5)
    written(tmp_path, sides, days=3, currency="EUR")
    campaigns = workspace.open(tmp_path, engine=engine).campaigns
    tree = kpi.Tree.parse(NESTED)
    asked = {"tree": tree, "period": "2025-07-01..2025-07-03", "compare": "2025-06-01..2025-06-03"}
    found = kpi.explain(campaigns, by=["channel", "campaign"], **asked)
    sums = bound(sides)
    used = found["method"].iloc[0]
    expected = reference.explain(formulas_of(tree), "revenue", sums["before"], sums["after"], used)
    totals = [sum(one["revenue"] for one in side.values()) for side in sides.values()]
    assert_same(effects(found), expected, 1e-9 * max(totals))
    assert found["contribution"].sum() == pytest.approx(totals[1] - totals[0], rel=1e-9)
    nodes = kpi.nodes(campaigns, **asked)
    assert_adds_up(nodes)
    assert nodes["before"].iloc[0] == totals[0] and nodes["after"].iloc[0] == totals[1]


def test_front_door_adds_up_over_other_segments(tmp_path):
    sides = front_sides(5)
    written(tmp_path, sides, days=3, currency="EUR")
    campaigns = workspace.open(tmp_path).campaigns
    asked = {"tree": kpi.Tree.parse(SHOP), "period": "2025-07-01..2025-07-03", "compare": "2025-06-01..2025-06-03"}
    totals = [sum(one["revenue"] for one in side.values()) for side in sides.values()]
    for by in (["channel"], ["campaign"], ["campaign", "channel"]):
        for asked_for in (kpi.explain, kpi.kinds):
            found = asked_for(campaigns, by=by, **asked)
            assert found["contribution"].sum() == pytest.approx(totals[1] - totals[0], rel=1e-9)


def test_front_door_equals_the_ratio_cases(tmp_path, shared):
    for name, ratio in RATIO_CASES.items():
        found = case(name)
        frame = pd.DataFrame(case_rows(found)).drop(columns="conversions")
        frame["date"] = frame.pop("period").map({"before": "2025-06-01", "after": "2025-07-01"})
        frame.to_csv(tmp_path / "campaigns.csv", index=False)
        campaigns = workspace.open(tmp_path).campaigns
        base = kpi.base(campaigns, period="2025-07-01..2025-07-01", compare="2025-06-01..2025-06-01")
        assert_split(kpi.split(base, ratio), found["expected"])


def test_front_door_does_not_care_how_rows_are_ordered_or_split(tmp_path):
    sides = front_sides(6)
    frame = written(tmp_path, sides, days=14, currency="EUR")
    asked = {
        "tree": "revenue = clicks * cvr * aov",
        "period": "2025-07-01..2025-07-14",
        "compare": "2025-06-01..2025-06-14",
    }
    asked["tree"] = kpi.Tree.parse(asked["tree"])
    first = kpi.explain(workspace.open(tmp_path).campaigns, draws=50, **asked)
    frame.sample(frac=1, random_state=3).to_csv(tmp_path / "campaigns.csv", index=False)
    pd.testing.assert_frame_equal(kpi.explain(workspace.open(tmp_path).campaigns, draws=50, **asked), first)
    counts = ["impressions", "clicks", "visits", "orders", "revenue", "cost"]
    halves = [frame.assign(**{name: frame[name] // 2 for name in counts})]
    halves.append(frame.assign(**{name: frame[name] - frame[name] // 2 for name in counts}))
    pd.concat(halves).to_csv(tmp_path / "campaigns.csv", index=False)
    again = kpi.explain(workspace.open(tmp_path).campaigns, draws=50, **asked)
    pd.testing.assert_frame_equal(again, first)


def test_another_action_has_its_own_conversion_rate(tmp_path):
    sides = front_sides(7)
    for side in sides.values():
        for sums in side.values():
            sums["leads"] = sums["orders"] * 2 + 1
    written(tmp_path, sides, currency="EUR")
    asked = {"period": "2025-07-01..2025-07-01", "compare": "2025-06-01..2025-06-01"}
    tree = kpi.Tree.parse("conversions = clicks * cvr")
    nodes = kpi.nodes(workspace.open(tmp_path).campaigns, tree=tree, action="leads", **asked).set_index("kpi")
    leads = [sum(one["leads"] for one in side.values()) for side in sides.values()]
    clicks = [sum(one["clicks"] for one in side.values()) for side in sides.values()]
    assert nodes.loc["conversions", ["before", "after"]].tolist() == leads
    np.testing.assert_allclose(nodes.loc["cvr", ["before", "after"]].astype(float), np.divide(leads, clicks))
    assert set(nodes.loc[["conversions", "cvr"], "action"]) == {"leads"}
