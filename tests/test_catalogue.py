"""The catalogue of KPIs and their values: closed vocabularies, published cases, laws, small tables by hand."""

import ast
import csv
import json
import math
import random
import runpy
from datetime import date

import numpy as np
import pandas as pd
import pytest
from _tables import ENGINES, SAMPLES, book, events, only, shared

from perfnb import workspace
from perfnb.engine import sql_of
from perfnb.errors import BadParameter, MissingColumns, MissingTable, PerfnbError, UnreadableData
from perfnb.kpi.catalogue import BASE, CATALOGUE, NOT_SUMMED, describe, kpi
from perfnb.kpi.figures import base, daily
from perfnb.kpi.value import measurable, value
from perfnb.locale import text
from perfnb.period import Period

ROOT = SAMPLES.parent
VOCABULARY = {
    "level": "reach interaction transaction cx finance operations",
    "indicator": "leading lagging input",
    "unit": "count persons share currency currency_per_unit x points index days hours seconds",
    "direction": "higher lower band context",
    "aggregation": "additive ratio distinct stock survey duration index derived",
}
COUNTS = ("impressions", "clicks", "visits", "engaged_visits", "leads", "orders")
EVERY = [one.id for one in CATALOGUE.values() if one.aggregation in ("additive", "ratio", "duration", "survey")]
EVERY = [name for name in EVERY if not set(kpi(name).columns) & set(NOT_SUMMED)]


def written(folder, **tables):
    """The tables as CSV files in the folder, opened as a workspace."""
    for name, frame in tables.items():
        frame.to_csv(folder / f"{name}.csv", index=False)
    return workspace.open(folder)


def campaigns(rows, engine="duckdb", **more):
    """A campaigns table from dicts; days count from 2025-06-02, a Monday."""
    frame = pd.DataFrame(rows)
    first = pd.Timestamp("2025-06-02")
    frame["date"] = first + pd.to_timedelta(frame.get("date", 0), unit="D")
    return book(engine, campaigns=frame.assign(**more)).campaigns


def surveys(scores, scale, engine="duckdb"):
    frame = pd.DataFrame({"score": scores, "scale": scale, "user_id": [f"u{n}" for n in range(len(scores))]})
    return book(engine, surveys=frame.assign(timestamp=pd.Timestamp("2025-06-02"), touchpoint="order")).surveys


def random_campaigns(seed, rows=60):
    """Rows with nulls and zeros in every column; every row has a channel, a campaign and a day."""
    dice = random.Random(seed)

    def figure(most):
        return dice.choice([None, 0, dice.randint(1, most), dice.randint(1, most)])

    columns = {**dict.fromkeys(COUNTS, 40), "revenue": 900, "cost": 90, "new_customers": 5, "contribution": 300}
    return [
        {"date": dice.randrange(28), "channel": f"c{dice.randrange(3)}", "campaign": f"k{dice.randrange(4)}"}
        | {name: figure(most) for name, most in columns.items()}
        for _ in range(rows)
    ]


def asked(table):
    """The KPIs that a table of campaigns can yield for any slice."""
    found = measurable(table)
    return [name for name in found.loc[found["measurable"], "kpi"] if name in EVERY]


# The data


def test_every_field_is_of_its_closed_vocabulary():
    for field, words in VOCABULARY.items():
        assert {getattr(one, field) for one in CATALOGUE.values()} == set(words.split()), field
    tags = {tag for one in CATALOGUE.values() for tag in one.tags.split()}
    assert tags == {"cost", "finance", "cx", "transaction", "amounts"}


def test_every_kpi_of_the_method_is_there_and_says_what_is_ambiguous():
    rows = list(csv.DictReader(shared("methods/kpi_catalogue.csv").open(encoding="utf-8")))
    assert len(rows) == 126
    for row in rows:
        one = kpi(row["id"])
        assert one.ambiguity_en or row["ambiguous"] != "yes", row["id"]


def test_aliases_views_and_split_terms_lead_where_the_method_says():
    same = {"ad_serving": "impressions", "cart_completions": "orders", "cps": "cpo", "traffic_visits": "visits"}
    same |= {"cvr_by_source": "cvr", "cvr_click": "cvr", "cac_trend": "cac", "contribution_margin": "contribution"}
    assert {alias: kpi(alias).id for alias in same} == same
    split = "bounce_rate_ga4 bounce_rate_singlepage unique_visitors new_visitors cvr_visit cvr_user paid_cac kur poas"
    split += " aov cpm margin_rate new_share inquiry_yield stand_yield scrap_rate csat csat_top2"
    assert all(name in CATALOGUE for name in split.split())
    assert {kpi(name).aggregation for name in ("cpa_reduction", "revenue_growth")} == {"derived"}


def test_names_and_aliases_are_unique_and_both_languages_are_whole():
    aliases = [alias for one in CATALOGUE.values() for alias in one.aliases.split()]
    assert len(set(aliases)) == len(aliases) and not set(aliases) & set(CATALOGUE)
    for language in ("en", "de"):
        assert len({getattr(one, language) for one in CATALOGUE.values()}) == len(CATALOGUE)
        assert all(len(getattr(one, language)) <= 33 for one in CATALOGUE.values())
    for one in CATALOGUE.values():
        assert one.id.isidentifier() and one.en and one.de and one.definition_en and one.definition_de, one.id
        assert bool(one.ambiguity_en) == bool(one.ambiguity_de), one.id


def test_expressions_are_what_the_kind_needs():
    for one in CATALOGUE.values():
        top, bottom = one.terms
        if one.aggregation in ("ratio", "survey", "duration"):
            assert top and bottom, one.id
        elif one.aggregation == "derived":
            assert not top and one.formula, one.id
        else:
            assert top and (not bottom or one.aggregation == "stock"), one.id
        if one.aggregation in ("distinct", "index"):
            assert list(top.values()) == [1.0], one.id
        assert all(name.isidentifier() for name in one.columns), one.id
    assert set(BASE) <= {name for one in CATALOGUE.values() for name in one.columns}
    assert set(NOT_SUMMED) <= {name for one in CATALOGUE.values() for name in (one.id, *one.columns)}


def test_top_and_bottom_are_the_expressions_evaluated():
    dice = random.Random(4)
    sums = {name: dice.uniform(-9, 9) for one in CATALOGUE.values() for name in one.columns}
    for one in CATALOGUE.values():
        for side, found in ((one.numerator, one.top(sums)), (one.denominator, one.bottom(sums))):
            expected = eval(compile(ast.parse(side, mode="eval"), one.id, "eval"), {}, sums) if side else 0
            assert found == pytest.approx(expected), one.id


def test_an_unknown_kpi_is_refused_with_the_nearest_ids():
    with pytest.raises(BadParameter, match=r"Did you mean .*roas"):
        kpi("roaz")


@pytest.mark.parametrize("language", ["en", "de"])
def test_every_kpi_is_described_in_both_languages(language):
    labels = {text(f"describe.facts.{fact}", language) for fact in ("name", "level", "definition", "aggregation")}
    for name in CATALOGUE:
        facts = describe(name, language=language)
        assert list(facts.columns) == ["fact", "says"]
        assert labels <= set(facts["fact"]) and facts["fact"].is_unique and facts["says"].str.len().gt(0).all()


def test_roas_is_described_in_german():
    says = describe("roas", language="de").set_index("fact")["says"]
    assert says["Name"] == "Werbeertrag (ROAS)" and says["Kennung"] == "roas"
    assert says["Ebene"] == "Transaktion, Finanzen" and says["Formel"] == "revenue / cost"
    assert says["Zusammenfassen"] == "Summe durch Summe, nie ein Mittel von Raten"
    with pytest.raises(BadParameter, match="language 'fr'"):
        describe("roas", language="fr")


def test_the_page_of_the_catalogue_equals_the_data():
    page = runpy.run_path(str(ROOT / "scripts" / "kpi_page.py"))["page"]()
    assert (ROOT / "docs" / "kpi_catalogue.md").read_text(encoding="utf-8") == page, "run scripts/kpi_page.py"
    assert all(f"| `{name}` |" in page for name in CATALOGUE)


# Golden values


def case(name):
    return json.loads(shared(f"cases/kpi/{name}.json").read_text())


def test_k01_reach_is_counted_for_each_slice_and_never_summed(tmp_path):
    found = case("k01_reach_not_additive")
    rows = found["inputs"]["events(day,channel,user)"]
    frame = pd.DataFrame(rows, columns=["timestamp", "channel", "user_id"]).assign(event="impression")
    frame["timestamp"] = frame["timestamp"].map({"d1": "2025-06-02", "d2": "2025-06-03"})
    table = written(tmp_path, touchpoints=frame).touchpoints
    expected = found["expected"]
    whole = value(table, ["reach", "frequency"])
    assert whole["value"].tolist() == [expected["reach_total"], expected["frequency_total"]]
    assert value(table, "reach", by="date")["value"].tolist() == list(expected["reach_by_day"].values())
    by_channel = value(table, "reach", by=["channel"]).set_index("channel")["value"]
    assert by_channel.to_dict() == expected["reach_by_channel"]


def test_k01_a_table_of_sums_with_reach_refuses_and_names_the_way_out(tmp_path):
    expected = case("k01_reach_not_additive")["expected"]
    days = {"d1": "2025-06-02", "d2": "2025-06-03"}
    frame = pd.DataFrame(
        {"date": days[day], "channel": "a", "campaign": "a", "reach": reach, "impressions": 3}
        for day, reach in expected["reach_by_day"].items()
    )
    table = written(tmp_path, campaigns=frame).campaigns
    for name in ("reach", "frequency"):
        with pytest.raises(BadParameter, match=r"2 rows .*reach is never summed .*touchpoints.*groups of one row"):
            value(table, name)
    found = value(table, ["reach", "frequency"], by="date")
    assert found["value"].tolist() == [2, 1.5, 2, 1.5]
    one_day = value(table, "reach", period="2025-06-02..2025-06-02")
    assert one_day["value"].tolist() == [2]


def test_k02_the_rate_is_the_ratio_of_the_sums(tmp_path):
    found = case("k02_ratio_of_sums")
    frame = pd.DataFrame(found["inputs"]).assign(date=["2025-06-02", "2025-06-03"])
    row = only(value(written(tmp_path, campaigns=frame).campaigns, "ctr"), kpi="ctr")
    assert row["value"] == pytest.approx(found["expected"]["ctr"], rel=1e-9)
    assert (row["numerator"], row["denominator"], row["coverage"]) == (1111, 101000, 1)


def test_k03_zero_denominators_are_null_with_a_reason(tmp_path):
    found = case("k03_zero_denominator")
    frame = pd.DataFrame(found["inputs"]["pairs"], columns=["clicks", "impressions"])
    frame = frame.assign(date="2025-06-02", campaign=[f"k{n}" for n in range(len(frame))])
    table = value(written(tmp_path, campaigns=frame).campaigns, "ctr", by="campaign")
    values = [None if math.isnan(one) else one for one in table["value"]]
    assert values == found["expected"]["values"]
    assert table["flag"].tolist() == found["expected"]["flags"]


def test_wilson_interval_of_81_in_263_from_newcombe_1998_stands_in_the_row():
    row = value(campaigns([{"clicks": 81, "impressions": 263}]), "ctr").iloc[0]
    assert (round(row["low"], 4), round(row["high"], 4)) == (0.2553, 0.3662)


def test_t_interval_of_the_mean_of_sleep_data_student_1908_group_2():
    # Extra hours of sleep: mean 2.33, standard deviation 2.0022, 95 % limits .8977 to 3.7623 (t.test(sleep) in R).
    hours = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    row = value(surveys(hours, "satisfaction"), "csat").iloc[0]
    assert (row["numerator"], row["denominator"]) == (pytest.approx(23.3), 10)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((2.33, 0.8977, 3.7623), abs=1e-4)


def test_nps_of_ten_answers_by_hand():
    # 5 promoters, 2 detractors: 30 points, variance (.5 + .2 − .09) = .61, t(9) = 2.2622.
    row = value(surveys([10, 9, 9, 10, 9, 8, 7, 7, 6, 0], "nps"), "nps").iloc[0]
    half = 100 * 2.262157 * math.sqrt(0.61 / 10)
    assert (row["value"], row["low"], row["high"]) == pytest.approx((30, 30 - half, 30 + half), abs=1e-3)
    assert (row["numerator"], row["denominator"], row["unit"]) == (300, 10, "points")
    assert value(surveys([10, 10, 9], "nps"), "nps").loc[0, "high"] <= 100


# Laws


def test_groups_put_together_again_are_the_whole():
    for seed in range(3):
        table = campaigns(random_campaigns(seed))
        names = asked(table)
        assert len(names) > 30
        whole = value(table, names).set_index("kpi")
        for by in (["channel"], ["channel", "campaign"], ["date"]):
            parts = value(table, names, by=by)
            sums = parts.groupby("kpi")[["numerator", "denominator"]].sum(min_count=1)
            for name in names:
                if len(kpi(name).terms[0]) > 1 and not kpi(name).denominator:
                    continue  # contribution − cost is unknown where a group has no cost at all
                for side in ("numerator", "denominator"):
                    assert sums.loc[name, side] == pytest.approx(whole.loc[name, side], nan_ok=True), (seed, by, name)


def test_every_value_is_finite_or_null_with_a_reason():
    for seed in range(6):
        table = campaigns(random_campaigns(seed, rows=12))
        found = value(table, asked(table), by=["channel", "campaign"])
        numbers = found[["value", "low", "high", "numerator", "denominator", "coverage"]]
        assert not np.isinf(numbers).any(axis=None)
        reasons = ("no_data", "no_base", "numerator_without_denominator")
        assert (found["value"].isna() == found["flag"].isin(reasons)).all()
        rates = found[found["denominator"].notna() & found["value"].notna()]
        assert np.allclose(rates["value"], rates["numerator"] / rates["denominator"])
        assert found["coverage"].dropna().between(0, 1).all()
        inside = found.dropna(subset=["low", "high"])
        assert len(inside) and inside["value"].between(inside["low"], inside["high"]).all()


def test_the_order_of_rows_changes_nothing():
    rows = random_campaigns(3)
    names = asked(campaigns(rows))
    one = value(campaigns(rows), names, by=["channel"])
    other = value(campaigns(random.Random(1).sample(rows, len(rows))), names, by=["channel"])
    pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_gives_the_same_values(engine):
    rows = [row | {"top10_keywords": n, "net_income": 1, "equity": 7 + n} for n, row in enumerate(random_campaigns(5))]
    names = ["cvr", "cpo", "aov", "roi", "ad_visits", "bounce_rate_ga4", "rankings_top10", "roe"]
    ours, theirs = campaigns(rows), campaigns(rows, engine)
    for by in (["channel", "date"], []):
        pd.testing.assert_frame_equal(value(ours, names, by=by), value(theirs, names, by=by))
    log = [(f"u{n % 7}", n * 40_000, ["visit", "order", "impression"][n % 3], "ab"[n % 2]) for n in range(40)]
    names = ["reach", "visitors", "new_visitors", "returning_visitors", "cvr_user", "frequency", "orders"]
    pd.testing.assert_frame_equal(
        value(events(log), names, by="date"), value(events(log, engine=engine), names, by="date")
    )
    scores = [1, 5, 4, 4, 2, 5]
    pd.testing.assert_frame_equal(
        value(surveys(scores, "satisfaction"), ["csat", "csat_top2"]),
        value(surveys(scores, "satisfaction", engine), ["csat", "csat_top2"]),
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_orders_give_the_same_on_every_engine_as_by_hand(engine):
    frame = pd.read_csv(SAMPLES / "orders.csv").iloc[:300]
    found = value(book(engine, orders=frame).orders, ["orders", "aov", "new_customer_rate", "margin_rate"])
    expected = [
        300,
        frame["value"].mean(),
        frame["new_customer"].sum() / frame["user_id"].nunique(),
        frame["margin"].sum() / frame["value"].sum(),
    ]
    assert found["value"].tolist() == pytest.approx(expected)


def test_sums_by_day_give_what_the_table_gives():
    table = workspace.open(SAMPLES).campaigns
    names = ["ctr", "cvr_visit", "aov", "revenue", "ad_visits", "other_visits", "bounce_rate_ga4", "cvr", "cpo"]
    sums = daily(table, by=["channel"])
    one, other = value(table, names, by=["channel"]), value(sums, names, by=["channel"])
    together = ["coverage", "low", "high", "value", "numerator", "denominator"]
    pd.testing.assert_frame_equal(one.drop(columns=together), other.drop(columns=together))
    np.testing.assert_allclose(one[together], other[together], rtol=1e-12)
    august = value(sums, "orders", period="2025-08")["value"].item()
    assert august == value(table, "orders", period="2025-08")["value"].item()


def test_sums_of_two_periods_give_rows_for_each():
    table = workspace.open(SAMPLES).campaigns
    sums = base(table, period="2025-08", by=["channel"])
    found = value(sums, ["orders", "cvr_visit"])
    assert found.columns[0] == "period" and len(found) == 4
    assert (
        only(found, period="after", kpi="orders")["value"] == value(table, "orders", period="2025-08").loc[0, "value"]
    )


# Small tables by hand


FIVE = [
    {"channel": "Search", "clicks": 100, "orders": 5, "revenue": 500, "cost": 50, "visits": 90},
    {"channel": "Search", "clicks": 50, "orders": None, "revenue": None, "cost": 25, "visits": 45},
    {"channel": "Organic", "clicks": None, "orders": 8, "revenue": 640, "cost": None, "visits": 200},
    {"channel": "Social", "clicks": 0, "orders": 2, "revenue": 80, "cost": 0, "visits": 7},
    {"channel": None, "clicks": 10, "orders": 12, "revenue": 900, "cost": 5, "visits": 9},
]


def test_null_is_not_0_a_ratio_takes_rows_with_both_and_says_its_coverage():
    table = campaigns(FIVE)
    cpo = value(table, "cpo").iloc[0]
    assert (cpo["numerator"], cpo["denominator"]) == (50 + 0 + 5, 5 + 2 + 12)
    assert cpo["coverage"] == 19 / 27 and cpo["value"] == 55 / 19
    cvr = value(table, "cvr").iloc[0]
    assert (cvr["numerator"], cvr["denominator"], cvr["coverage"]) == (19, 110, 110 / 160)
    by_channel = value(table, ["cvr", "orders"], by="channel")
    assert only(by_channel, channel="Organic", kpi="cvr")["flag"] == "no_data"
    assert only(by_channel, channel="Social", kpi="cvr")["flag"] == "numerator_without_denominator"
    assert only(by_channel, channel="(unknown)", kpi="cvr")["flag"] == "above_one"
    assert math.isnan(only(by_channel, channel="(unknown)", kpi="cvr")["low"])
    assert only(by_channel, channel="Search", kpi="orders")["value"] == 5
    organic = only(value(table, "cpo", by="channel"), channel="Organic")
    assert (organic["coverage"], organic["flag"]) == (0, "no_data")


def test_visits_of_rows_with_clicks_are_from_ads_and_the_rest_other():
    found = value(campaigns(FIVE), ["ad_visits", "other_visits", "visits", "visits_per_click"]).set_index("kpi")[
        "value"
    ]
    assert found.tolist() == [90 + 45 + 9, 200 + 7, 351, 144 / 160]


def test_shares_of_money_and_shares_above_one_have_no_binomial_interval():
    rows = [{"revenue": 100, "contribution": 30, "clicks": 10, "orders": 10.02}]
    found = value(campaigns(rows), ["margin_rate", "cvr"])
    assert found["value"].tolist() == [0.3, 1.002] and found[["low", "high"]].isna().all(axis=None)
    assert found["flag"].tolist() == [None, "above_one"]


def test_the_counted_action_is_named_where_it_counts_and_only_there():
    rows = [{"clicks": 50, "orders": 2, "leads": 10, "cost": 20}]
    found = value(campaigns(rows), ["cvr", "cpa", "cpo"], action="leads").set_index("kpi")
    assert found["value"].tolist() == [0.2, 2, 10]
    assert found["action"].tolist() == ["leads", "leads", None]
    assert value(daily(campaigns(rows), action="leads"), "cvr").loc[0, "action"] == "leads"
    with pytest.raises(BadParameter, match="these sums count leads"):
        value(daily(campaigns(rows), action="leads"), "cvr", action="orders")
    with pytest.raises(MissingColumns, match="cvr: no sign_ups"):
        value(campaigns(rows), "cvr", action="sign_ups")
    with pytest.raises(BadParameter, match="action='reach'"):
        value(campaigns(rows), "cvr", action="reach")


def test_a_stock_is_of_one_day_and_says_so():
    rows = [
        {"date": 0, "channel": "a", "top10_keywords": 10, "current_assets": 50, "current_liabilities": 40},
        {"date": 9, "channel": "a", "top10_keywords": 12, "current_assets": 60, "current_liabilities": 50},
        {"date": 9, "channel": "b", "top10_keywords": 3, "current_assets": 12, "current_liabilities": 10},
        {"date": 12, "channel": "b", "top10_keywords": None, "current_assets": 1, "current_liabilities": None},
    ]
    found = value(campaigns(rows), ["rankings_top10", "liquidity"])
    assert found["value"].tolist() == [15, 72 / 60] and set(found["flag"]) == {"at_last_day"}
    assert value(campaigns(rows), "rankings_top10", by="channel")["value"].tolist() == [12, 3]
    first_week = Period(date(2025, 6, 2), date(2025, 6, 9))
    assert value(campaigns(rows), "rankings_top10", period=first_week).loc[0, "value"] == 10


def test_a_ratio_with_a_balance_takes_the_flow_of_all_days_and_the_balance_of_one():
    rows = [{"date": 30 * n, "net_income": 5, "equity": 100 if n == 2 else None} for n in range(3)]
    rows = [row | {"customers_lost": 3, "customers_start": 100 - n} for n, row in enumerate(rows)]
    found = value(campaigns(rows), ["roe", "churn_rate"])
    assert found["value"].tolist() == [0.15, 0.09] and found["flag"].tolist() == ["at_last_day", "at_first_day"]


def test_an_index_is_of_one_row_and_a_derived_kpi_names_its_parts():
    rows = [{"date": n, "visibility_index": 1.5} for n in range(2)]
    assert value(campaigns(rows), "visibility_index", by="date")["value"].tolist() == [1.5, 1.5]
    with pytest.raises(BadParameter, match=r"index of one source.*one row per group"):
        value(campaigns(rows), "visibility_index")
    with pytest.raises(BadParameter, match=r"revenue_growth is no sum over rows: revenue\[after\]"):
        value(campaigns(FIVE), "revenue_growth")


def test_revenue_of_any_touch_is_not_summed_over_channels():
    rows = [{"channel": name, "influenced_revenue": 100} for name in "ab"]
    with pytest.raises(BadParameter, match="influenced_revenue is never summed"):
        value(campaigns(rows), "marketing_influenced_revenue")
    assert value(campaigns(rows), "marketing_influenced_revenue", by="channel")["value"].tolist() == [100, 100]


def test_a_duration_is_the_sum_by_the_number():
    rows = [{"visits": 1, "engagement_seconds": 300.0}, {"visits": 9, "engagement_seconds": 300.0}]
    assert value(campaigns(rows), "time_on_site").loc[0, "value"] == 60


def test_new_and_returning_visitors_by_their_first_visit_in_all_the_data():
    day = 86_400
    log = [
        ("ann", 0, "visit", "a"),
        ("ann", 3 * day, "visit", "b"),
        ("bob", 2 * day, "impression", "a"),
        ("bob", 3 * day, "visit", "b"),
        ("cyd", 3 * day, "impression", "a"),
        (None, 3 * day, "visit", "a"),
    ]
    names = ["reach", "visitors", "unique_visitors", "new_visitors", "returning_visitors"]
    # The fourth day alone; ann's first visit lies before it.
    fourth = value(events(log), names, period=Period(date(2025, 1, 4), date(2025, 1, 5)))
    assert fourth["value"].tolist() == [3, 2, 2, 1, 1]
    assert value(events(log), names)["value"].tolist() == [3, 2, 2, 2, 1]
    new = value(events(log), "new_visitors", by="channel").set_index("channel")["value"]
    assert new.to_dict() == {"a": 1, "b": 1}


def test_a_kind_of_event_that_a_log_never_holds_was_not_recorded():
    log = events([("u1", 0, "visit", "a"), ("u1", 9, "order", "b")], value=10.0)
    assert value(log, ["orders", "revenue"], by="channel")["value"].tolist() == [0, 0, 1, 10]
    with pytest.raises(MissingColumns, match="leads: no event 'lead'"):
        value(log, "leads")


def test_answers_are_taken_from_their_scale():
    answers = pd.DataFrame({"score": [5, 3, 10, 9, 0], "scale": ["satisfaction"] * 2 + ["nps"] * 3})
    table = book(surveys=answers.assign(user_id="u", timestamp=pd.Timestamp("2025-06-02"), touchpoint="t")).surveys
    assert value(table, ["csat", "csat_top2", "nps"])["value"].tolist() == [4, 0.5, pytest.approx(100 / 3)]
    with pytest.raises(MissingColumns, match="team_satisfaction: no scale 'team'"):
        value(table, "team_satisfaction")


def test_columns_beyond_ours_are_read_as_numbers_from_text(tmp_path):
    frame = pd.DataFrame({"date": "2025-06-02", "channel": "a", "cost": [10, 20], "qualified_leads": ["2", " 3 "]})
    assert value(written(tmp_path, campaigns=frame).campaigns, "cost_qualified_contact").loc[0, "value"] == 6
    (tmp_path / "other").mkdir()
    wrong = written(tmp_path / "other", campaigns=frame.assign(qualified_leads=["2", "two"])).campaigns
    with pytest.raises(UnreadableData, match="two"):
        value(wrong, "cost_qualified_contact")


def test_measurable_is_what_value_computes_and_names_what_is_missing():
    ws = workspace.open(SAMPLES)
    for table in (ws.campaigns, ws.touchpoints, ws.orders, ws.surveys, daily(ws.campaigns)):
        found = measurable(table)
        assert found["kpi"].tolist() == list(CATALOGUE)
        assert (found["measurable"] == found["missing"].isna()).all()
        for _, row in found.iterrows():
            try:
                value(table, row["kpi"])
                computed = True
            except MissingColumns as error:
                computed = False
                assert row["missing"] in str(error)
            except BadParameter:
                computed = kpi(row["kpi"]).aggregation != "derived"
            assert computed == row["measurable"], row["kpi"]
    assert only(measurable(ws.campaigns), kpi="cac")["missing"] == "sales_cost, new_customers"
    assert only(measurable(ws.touchpoints), kpi="ctr")["missing"] == "event 'click', event 'impression'"


def test_an_absent_table_yields_nothing():
    ws = book(touchpoints=pd.DataFrame({"user_id": ["u"]}), optional=["campaigns"])
    assert not measurable(ws.campaigns)["measurable"].any()
    with pytest.raises(MissingTable, match="no table campaigns"):
        value(ws.campaigns, "ctr")


def test_amounts_in_two_currencies_are_refused_and_counts_are_not():
    rows = [{"clicks": 1, "impressions": 9, "cost": 5, "currency": name} for name in ("EUR", "USD")]
    assert value(campaigns(rows), "ctr").loc[0, "currency"] is None
    with pytest.raises(BadParameter, match="EUR, USD"):
        value(campaigns(rows), "cpc")
    assert value(campaigns(rows[:1]), "cpc").loc[0, "currency"] == "EUR"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kpi": "nonsense"}, "not in the catalogue"),
        ({"kpi": []}, "kpi is empty"),
        ({"kpi": "orders", "by": "city"}, "missing column city"),
        ({"kpi": "orders", "period": "2031"}, "lie outside the data"),
    ],
)
def test_what_cannot_be_answered_is_refused(options, said):
    with pytest.raises(PerfnbError, match=said):
        value(campaigns(FIVE), **options)


def test_names_in_the_data_stay_text():
    rows = [{"channel": name, "orders": 1, "visits": 2} for name in ("'; DROP --", 'a "b" \\', "(unknown)", None)]
    found = value(campaigns(rows), "cvr_visit", by="channel")
    assert set(found["channel"]) == {"'; DROP --", 'a "b" \\', "“(unknown)”", "(unknown)"}


def test_one_statement_sums_all_kpis_of_all_groups():
    sql = sql_of(value, campaigns(FIVE), ["cvr", "aov", "roas"], by=["channel"])
    assert sql.count("GROUP BY") == 1 and sql.count("SELECT") == 1 + campaigns(FIVE).sql.count("SELECT")


def test_sums_made_by_hand_need_no_more_than_what_is_asked():
    sums = pd.DataFrame({"period": ["before", "after", "after"], "clicks": [4, 0, 9], "orders": [1, 0, None]})
    found = value(sums.assign(currency=None), ["cvr", "clicks"])
    assert found["period"].tolist() == ["after", "after", "before", "before"]
    assert found["value"].tolist()[1:] == [9, 0.25, 4] and found["flag"].tolist() == ["no_base", None, None, None]
    assert found["action"].tolist() == ["orders", None] * 2 and found["currency"].isna().all()
    assert value(sums[:0], "cvr").empty
    with pytest.raises(MissingColumns, match="missing column timestamp"):
        value(sums, "clicks", period="2025-08")


def test_nothing_given_is_changed():
    sums = daily(campaigns(FIVE), by=["channel"])
    copy = sums.copy()
    value(sums, ["cvr", "cpo"], by=["channel"])
    pd.testing.assert_frame_equal(sums, copy)
