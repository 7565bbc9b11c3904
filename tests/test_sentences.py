"""Headlines: true in every edge case, in both languages, and text from data stays text."""

import re

import numpy as np
import pandas as pd
import pytest
from _tables import SAMPLES, book, events, moments

from perfnb import attribution, funnel, journey, kpi, sentences, workspace
from perfnb.kpi.catalogue import BASE

LANGUAGES = ("en", "de")
COLUMNS = ("user_id", "timestamp", "event", "channel", "value")


def plain(sentence):
    return str(sentence).replace("\N{NO-BREAK SPACE}", " ").replace("\N{MINUS SIGN}", "-")


def both(make, *tables, **options):
    """The English sentence, after a look that the German one is another and holds the same digits."""
    english, german = (plain(make(*tables, language=language, **options)) for language in LANGUAGES)
    assert english != german and "nan" not in english + german and "{" not in english + german
    assert sorted(re.findall(r"\d", english)) == sorted(re.findall(r"\d", german))
    return english


# Funnel


def steps_of(rows, steps):
    return funnel.steps(events(rows), steps, within="1 day")


def test_a_funnel_names_its_largest_loss():
    rows = [(f"u{k}", 0, "visit", "c") for k in range(10)]
    rows += [(f"u{k}", 1, "cart", "c") for k in range(7)] + [(f"u{k}", 2, "order", "c") for k in range(2)]
    assert both(sentences.funnel, steps_of(rows, ["visit", "cart", "order"])) == (
        "Of 10 persons who started, 2 (20.0 %) reached “Order”. The largest loss is before “Order”: 5 persons, "
        "71.4 % of those who reached the step before."
    )


def test_a_funnel_that_nobody_entered_or_of_one_step_or_without_loss():
    rows = [("u", 0, "visit", "c"), ("u", 1, "order", "c")]
    assert both(sentences.funnel, steps_of(rows, ["never", "order"])).startswith("No persons entered")
    assert both(sentences.funnel, steps_of(rows, ["visit"])) == "1 persons reached “Visit”."
    said = both(sentences.funnel, steps_of(rows, ["visit", "order"]))
    assert said == "All 1 persons who started reached “Order”: nothing is lost."
    said = both(sentences.funnel, steps_of(rows, ["visit", "never", "nowhere"]))
    assert "0 (0.0 %)" in said and "before “never”: 1 persons, 100.0 %" in said
    assert said.endswith("Nobody reached “nowhere”: check that this is what the event is called, and that the period "
                         "is long enough.")  # fmt: skip


def test_a_funnel_of_visits_does_not_speak_of_persons():
    log = events([("u", 0, "visit", "c"), ("u", 1, "order", "d")])
    said = both(sentences.funnel, funnel.steps(log, ["visit", "order"], within="1 day", unit=["user_id", "channel"]))
    assert said.startswith("Of 1 units who started") and "persons" not in said


def test_a_funnel_names_the_group_the_weeks_and_the_lever_that_chance_does_not_explain():
    log = workspace.open(SAMPLES).touchpoints
    steps = ["visit", "view_item", "add_to_cart", "checkout", "order"]
    table = funnel.steps(log, steps, within="7 days")
    odd = funnel.unusual(funnel.trend(log, steps, within="7 days", by="device"))
    levers = funnel.levers(log, steps, within="7 days")
    groups = funnel.steps(log, steps, within="7 days", by="device")
    said, german = (
        plain(sentences.funnel(table, groups=groups, unusual=odd, levers=levers, language=language))
        for language in LANGUAGES
    )
    assert "Vom 16.06.2025 bis 22.06.2025 erreichten 35,3 %" in german and "{" not in said + german
    assert "Groups differ" not in said  # none does
    assert "From 16 Jun 2025 to 22 Jun 2025, 35.3 % of those at the step before reached “Order” (mobile)" in said
    assert "Keeping 10 % of those lost before “Add to cart” would bring about 176 more persons to “Order”, €16," in said
    groups.loc[3, ["p_adjusted", "rate", "rate_difference"]] = [0.01, 0.5, -0.25]
    said = both(sentences.funnel, table, groups=groups, unusual=odd.assign(p=0.2))
    assert said.endswith("Groups differ most at “Checkout”: 50.0 % of desktop came on, 75.0 % of all others.")


# Journey


def journey_of(rows, **options):
    table = events(rows, COLUMNS)
    return journey.frequent(table, **options), journey.ends(journey.transitions(table))


def test_a_journey_names_its_most_frequent_path_and_end():
    rows = [(f"u{k}", 0, "visit", "Search", None) for k in range(3)] + [("u0", 1, "order", "x", 5)]
    assert both(sentences.journey, *journey_of(rows)) == (
        "33.3 % of 3 journeys converted (1 conversions). The most frequent path is “Search” (100.0 % of journeys). "
        "Journeys without a conversion end most often at “Search” (100.0 %)."
    )


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("u", 0, "visit", "A", None)], "1 journeys and no conversion “Order”"),
        ([("u", None, "visit", "A", None)], "0 journeys and no conversion “Order”"),
        (
            [("u", 0, "order", "A", 1)],
            "100.0 % of 1 journeys converted (1 conversions). The most frequent path is “(no touch)”",
        ),
        ([("u", 0, "visit", "A", None), ("u", 1, "order", "A", 1)], "“A” (100.0 % of journeys)."),
    ],
)
def test_journeys_at_the_edges(rows, expected):
    assert expected in both(sentences.journey, *journey_of(rows))


def test_the_most_frequent_path_is_not_the_rest_of_all_others():
    rows = [
        (f"u{k}", at, "visit", label, None)
        for k, path in enumerate(["A", "A", "B", "C", "D"])
        for at, label in enumerate(path)
    ]
    rows.append(("u0", 9, "order", "x", 1))
    assert "“A” (40.0 % of journeys)" in both(sentences.journey, *journey_of(rows, top=1))


# KPI


def said(before, after, tree, segments=("s",)):
    """The sentence of one or more segments from {column: figure or figures}."""
    rows = []
    for period, figures in (("before", before), ("after", after)):
        for place, segment in enumerate(segments):
            row = {name: figure[place] if isinstance(figure, tuple) else figure for name, figure in figures.items()}
            rows.append({"period": period, "channel": "c", "campaign": segment, "currency": "EUR"} | row)
    base = pd.DataFrame(rows).reindex(columns=["period", "channel", "campaign", "currency", *BASE])
    base[list(BASE)] = base[list(BASE)].astype(float)
    tree = kpi.Tree.parse(tree)
    return both(sentences.kpi, kpi.nodes(base, tree=tree), kpi.kinds(base, tree=tree))


SALES = "revenue = orders * aov; orders = visits * cvr_visit"


def test_revenue_that_rose_names_what_helped_and_what_hurt():
    before = {"visits": 100, "orders": 10, "revenue": 1000}
    assert said(before, {"visits": 200, "orders": 20, "revenue": 1800}, SALES) == (
        "Revenue rose by €800 (+80.0 %) to €1,800. Most help: Visits (+€943). Most harm: Average order value (-€143)."
    )


def test_nothing_changed_and_all_offset():
    row = {"visits": 100, "orders": 10, "revenue": 1000}
    assert said(row, row, SALES) == "Revenue did not change: €1,000."
    offset = said(row, {"visits": 200, "orders": 20, "revenue": 1000}, SALES)
    assert offset.startswith("Revenue did not change: €1,000. Most help: Visits (+€")
    assert "Most harm: Average order value (-€" in offset


def test_a_change_that_is_only_rounding_is_none():
    before = {"visits": 3, "orders": 0.3, "revenue": 0.1 + 0.2}
    assert said(before, before | {"revenue": 0.3}, SALES) == "Revenue did not change: €0.30."


def test_growth_from_nothing_has_no_percentage():
    nothing = {"visits": 0, "orders": 0, "revenue": 0}
    found = said(nothing, {"visits": 10, "orders": 5, "revenue": 500}, SALES)
    assert found == "Revenue rose by €500 to €500. Most help: Visits (+€500)."


def test_a_fall_to_nothing():
    found = said({"visits": 10, "orders": 5, "revenue": 500}, {"visits": 10, "orders": 0, "revenue": 0}, SALES)
    assert found == "Revenue fell by €500 (-100.0 %) to €0. Most harm: Conversion rate (visits) (-€500)."


def test_of_a_root_that_should_fall_a_rise_is_harm():
    found = said({"cost": 100, "orders": 10}, {"cost": 300, "orders": 20}, "cpo = cost / orders")
    assert found.startswith("Cost per order rose by €5.00 (+50.0 %) to €15.00. Most help: Orders (-€")
    assert "Most harm: Cost (+€" in found


def test_of_a_root_without_a_good_direction_nothing_helps_or_hurts():
    found = said({"cost": 100, "clicks": 10}, {"cost": 300, "clicks": 20}, "cost = clicks * cpc")
    assert found == "Cost rose by €200 (+200.0 %) to €300."


def test_a_share_is_said_in_per_cent_and_its_change_in_points():
    found = said({"orders": 10, "visits": 200}, {"orders": 11, "visits": 200}, "cvr_visit = orders / visits")
    assert found == (
        "Conversion rate (visits) rose by 0.50 percentage points (+10.0 %) to 5.5 %. "
        "Most help: Orders (+0.50 percentage points)."
    )


def test_a_factor_keeps_its_decimals():
    found = said({"revenue": 100, "cost": 40}, {"revenue": 90, "cost": 40}, "roas = revenue / cost")
    assert found == "Return on ad spend fell by 0.25 (-10.0 %) to 2.25. Most harm: Revenue (-0.25)."


def test_a_shift_between_segments_is_named_only_where_it_is_one():
    # Both segments keep their rates; visits move to the weaker one.
    shift = said(
        {"visits": (100, 100), "orders": (10, 2)}, {"visits": (50, 150), "orders": (5, 3)}, SALES.split("; ")[1], "ab"
    )
    said_so = "Behind the change of “Conversion rate (visits)” stands a shift between segments (-4) more than their own"
    assert f"{said_so} rates (+0)" in shift.replace("(0)", "(+0)")
    own = said(
        {"visits": (100, 100), "orders": (10, 2)}, {"visits": (100, 100), "orders": (5, 3)}, SALES.split("; ")[1], "ab"
    )
    assert "Behind" not in own
    one = said({"visits": 100, "orders": 10}, {"visits": 70, "orders": 9}, SALES.split("; ")[1])
    assert "Behind" not in one
    still = said(
        {"visits": (100, 300), "orders": (7, 11)},
        {"visits": (200, 600), "orders": (14, 22)},
        SALES.split("; ")[1],
        "ab",
    )
    assert "Behind" not in still


def test_a_broken_chain_is_said_by_its_name():
    found = said({"visits": 10, "orders": 2}, {"visits": 0, "orders": 5}, SALES.split("; ")[1])
    assert found == "Orders rose by 3 (+150.0 %) to 5. Most help: Orders, not allocated (+3)."


def by_day(before, after):
    """The sentence of one segment from daily visits and orders of four weeks each."""
    days = pd.date_range("2025-06-02", periods=56)
    since, last = days[[0, 28]].repeat(28), days[[27, 55]].repeat(28)
    base = pd.DataFrame({"date": days, "since": since, "last_day": last, "currency": "EUR", "channel": "c"})
    base["period"], base["campaign"] = ["before"] * 28 + ["after"] * 28, "c"
    base["visits"], base["orders"] = 100.0, [float(orders) for orders in (*before, *after)]
    tree = kpi.Tree.parse("orders = visits * cvr_visit")
    return both(sentences.kpi, kpi.nodes(base, tree=tree), kpi.kinds(base, tree=tree))


def test_a_change_says_whether_it_is_more_than_the_days_vary_anyway():
    noisy, calm = [2, 9, 4, 7] * 7, [5, 6] * 14
    assert "within the usual variation of its days (between -" in by_day(noisy, [n + 1 for n in noisy[::-1]])
    clear = by_day(calm, [n + 4 for n in calm])
    assert "more than the usual variation of its days (between +" in clear
    same = by_day(noisy, noisy)
    assert same.startswith("Orders did not change: 154.") and "usual" not in same


def test_where_every_segment_moved_the_other_way_the_sentence_says_so():
    found = said(
        {"visits": (1000, 1000), "orders": (80, 20)},
        {"visits": (500, 4000), "orders": (45, 90)},
        "cvr_visit = orders / visits",
        "ab",
    )
    assert "fell by 2.00 percentage points" in found
    tree = "orders = visits * cvr_visit"
    found = said({"visits": (1000, 1000), "orders": (80, 20)}, {"visits": (500, 4000), "orders": (45, 90)}, tree, "ab")
    assert "own rates of “Conversion rate (visits)” all moved the other way (+" in found


# Targets, alerts, a change, what to do

TRACKED = {"channel": None, "campaign": None, "unit": "count", "currency": "EUR", "days_left": 0, "kpi": "orders"}
TRACKED |= {"direction": "higher"}
TRACKED |= {"target": 100.0, "projection": np.nan, "projection_low": np.nan, "projection_high": np.nan}


def tracked(*rows):
    return pd.DataFrame([TRACKED | row for row in rows])


def test_targets_say_how_many_hold_and_what_is_furthest_behind_for_its_size():
    good = {"status": "green", "gap": 5.0, "expected": 100.0}
    assert both(sentences.targets, tracked(good)) == "1 of 1 target is on track."
    far = {"status": "red", "gap": -20.0, "expected": 50.0}
    dear = {"kpi": "revenue", "unit": "currency", "status": "amber", "gap": -4000.0, "expected": 100_000.0}
    assert both(sentences.targets, tracked(good, dear, far)) == (
        "1 of 3 targets are on track. Orders missed its target by 20 (40.0 %)."
    )
    running = far | {
        "days_left": 9,
        "channel": "Email",
        "projection": 60.0,
        "projection_low": 50,
        "projection_high": 71,
    }
    assert both(sentences.targets, tracked(running)) == (
        "0 of 1 target is on track. Orders (Email) is 20 (40.0 %) behind what is due by now. "
        "At this pace it ends at 60 (50 to 71) of 100."
    )


def test_targets_that_nobody_can_judge_and_one_of_nothing():
    none = {"status": "no_data", "gap": np.nan, "expected": np.nan}
    assert both(sentences.targets, tracked(none)) == "No target of this period can be judged with these data."
    assert both(sentences.targets, tracked().reindex(columns=[*TRACKED, "status"])).startswith("No target")
    over = {"status": "red", "gap": -3.0, "expected": 0.0}
    assert "missed its target by 3" in both(sentences.targets, tracked(over))


def series(**row):
    day = pd.Timestamp("2025-08-31")
    return {
        "date": day,
        "channel": "A",
        "kpi": "orders",
        "status": "ok",
        "value": 9.0,
        "expected": 9.0,
        "currency": "EUR",
    } | row


def dated(found):
    """The English sentence; the German one writes its days in other digits."""
    english, german = (plain(sentences.alerts(found, language=language)) for language in LANGUAGES)
    assert "31.08.2025" in german and "{" not in german and "nan" not in german
    return english


def test_alerts_count_the_unusual_and_those_too_few_to_tell():
    quiet = pd.DataFrame([series(), series(status="too_few")])
    assert both(sentences.alerts, quiet) == (
        "None of 2 daily figures was unusual; 1 were too few to show even an outage."
    )
    loud = pd.DataFrame(
        [series(status="low", value=1.0, kpi="cvr_visit", expected=0.25), series(), series(status="high")]
    )
    assert dated(loud.iloc[:2]).startswith(
        "1 of 2 daily figures was unusual: Conversion rate (visits) (A) on 31 Aug 2025, 100.0 % where about 25.0 % was"
    )
    assert dated(loud).startswith("2 of 3 daily figures were unusual; the one with the largest effect: Conv")


def test_nothing_judged_is_no_all_clear():
    found = pd.DataFrame([series(status="too_short"), series(status="no_data")])
    assert both(sentences.alerts, found) == "None of the 2 daily figures could be judged: too little history."
    some = pd.DataFrame([series(), series(status="too_short")])
    assert both(sentences.alerts, some).endswith("1 more could not be judged: too little history, or no data.")


def test_rows_without_a_name_are_a_segment_and_not_the_whole():
    row = {"rank": 1, "finding": "segment", "channel": "Meta", "campaign": "(unknown)", "root": "revenue"}
    row |= {"before": 9.0, "after": 5.0, "worse_by": 4.0, "low": 1.0, "high": 7.0, "within_noise": False, "kpi": "aov"}
    rows = pd.DataFrame([row | {"currency": "EUR"}, row | {"currency": "EUR", "channel": "(unknown)"}])
    texts = sentences.actions(rows)["what_to_do"]
    assert texts[0].startswith("Meta · no campaign: ") and texts[1].startswith("no channel · no campaign: ")
    assert sentences.actions(rows, language="de")["what_to_do"][0].startswith("Meta · ohne Kampagne: ")


def test_more_cost_than_planned_is_not_behind():
    over = {"kpi": "cost", "unit": "currency", "status": "red", "gap": -300.0, "expected": 1000.0, "direction": "lower"}
    said = both(sentences.targets, tracked(over))
    assert "Cost is €300 (30.0 %) above what was due by now" in said and "behind" not in said


def test_periods_say_their_days_and_whether_they_are_as_many():
    def rows(which, since, last, covered):
        return {"period": which, "since": pd.Timestamp(since), "last_day": pd.Timestamp(last), "covered": covered}

    even = [rows("before", "2025-07-01", "2025-07-31", 31), rows("after", "2025-08-01", "2025-08-31", 31)]
    assert str(sentences.periods(pd.DataFrame(even))) == "1 Aug 2025 to 31 Aug 2025, against 1 Jul 2025 to 31 Jul 2025."
    odd = [rows("before", "2025-01-01", "2025-01-31", 31), rows("after", "2025-02-01", "2025-02-28", 25)]
    said = str(sentences.periods(pd.DataFrame(odd)))
    assert "differ in length (28 and 31 days)" in said and "Only 25 of the 28 days have figures." in said
    german = str(sentences.periods(pd.DataFrame(odd), language="de"))
    assert "28 und 31 Tage" in german and "25 der 28 Tage" in german


def test_actions_name_the_place_the_factor_and_whether_to_wait():
    row = {"rank": 1, "finding": "segment", "channel": "A", "date": pd.NaT, "root": "revenue", "before": 900.0}
    row |= {"after": 500.0, "worse_by": 400.0, "low": 10.0, "high": 790.0, "within_noise": False, "kpi": "aov"}
    row |= {"currency": "EUR"}
    alarm = {"finding": "alarm", "date": pd.Timestamp("2025-08-31"), "kpi": "orders", "before": 20.0, "after": 0.0}
    rows = [row, row | {"within_noise": True, "channel": None}, row | alarm, row | {"before": np.nan, "kpi": "cpc"}]
    texts = [plain(text) for text in sentences.actions(pd.DataFrame(rows), by=["channel"])["what_to_do"]]
    assert texts[0].startswith("A: Revenue from €900 to €500, most of it through Average order value.")
    assert texts[1].startswith("The whole: ") and texts[1].endswith("watch, do not act yet.")
    assert texts[2].startswith("A: Orders at 0 on 31 Aug 2025, where about 20 was usual.")
    assert "nan" not in texts[3] and "–" not in texts[3] and "Cost per click" in texts[3]
    german = sentences.actions(pd.DataFrame(rows), by=["channel"], language="de")["what_to_do"]
    assert german.str.contains("{", regex=False).sum() == 0 and german[0].startswith("A: Umsatz von 900")


CHANGED = {"kpi": "orders", "segment": "Paid Search", "control": "Email", "unit": "count", "currency": "EUR"}
CHANGED |= {"effect": 0.12, "low": 0.04, "high": 0.21, "extra": 24.0, "extra_low": 8.0, "extra_high": 42.0}
CHANGED |= {"usual_low": -0.07, "usual_high": 0.08, "status": "separable_up", "flag": None, "window": 14}
CHANGED |= {"history": 182, "empty_days": 0}


def test_a_change_is_said_with_its_interval_or_that_it_cannot_be_told_apart():
    def said(**row):
        return both(sentences.change, pd.DataFrame([CHANGED | row]))

    assert said() == (
        "Orders (Paid Search) rose by 12.0 % against the control Email (4.0 % to 21.0 %), "
        "24 more than expected (8 to 42)."
    )
    turned = {"effect": "effect", "low": "high", "high": "low"}
    turned |= {"extra": "extra", "extra_low": "extra_high", "extra_high": "extra_low"}
    fell = {name: -CHANGED[other] for name, other in turned.items()}
    assert said(**fell, status="separable_down") == (
        "Orders (Paid Search) fell by 12.0 % against the control Email (4.0 % to 21.0 %), "
        "24 less than expected (8 to 42)."
    )
    assert said(status="not_separable", low=-0.02, effect=0.05) == (
        "Orders (Paid Search): +5.0 % against the control Email (-2.0 % to +21.0 %); "
        "this is not separable from the usual variation (± 8.0 %)."
    )
    alone = said(control=None, segment=None, flag="no_control, short_history", history=70)
    assert alone.startswith("Orders (The whole) rose by 12.0 % against the 14 days before (")
    assert "what the market did is in it" in alone and "history is short (70 days)" in alone
    assert "no result" in said(status="no_result", **dict.fromkeys(("effect", "low", "high"), np.nan))


# Attribution


def comparison_of(rows, **options):
    table = events(rows, COLUMNS)
    return attribution.compare([attribution.rules(table)], **options)


NONE = pd.DataFrame(columns=["model", "distance", "misplaced", "currency"])


def test_attribution_names_the_channel_that_hangs_most_on_the_model():
    rows = [
        ("u", 0, "visit", "A", None),
        ("u", 1, "visit", "B", None),
        ("u", 2, "visit", "C", None),
        ("u", 3, "order", "x", 1),
    ]
    rows += [("v", 0, "visit", "A", None), ("v", 1, "visit", "B", None), ("v", 2, "order", "x", 1)]
    found = both(sentences.attribution, comparison_of(rows), NONE)
    assert found.startswith("A earns between 0 and 2 of 2 orders, depending on the model")


def test_conversions_without_a_touch_are_not_said_to_be_none():
    found = both(sentences.attribution, comparison_of([("u", 0, "order", "x", 1), ("v", 0, "order", "x", 1)]), NONE)
    assert found == "All models give every channel the same credit, within half an order, of 2 orders."


def test_no_conversion_is_no_credit():
    found = both(sentences.attribution, comparison_of([("u", 0, "visit", "A", None)]), NONE)
    assert found == "No conversion “Order” in the data: there is no credit to give."


def shop_with_truth():
    rows = [("u", 0, "visit", "Search", None), ("u", 1, "visit", "Direct", None), ("u", 2, "order", "x", 1)]
    touchpoints = pd.DataFrame(rows, columns=COLUMNS)
    touchpoints["timestamp"] = moments(touchpoints["timestamp"])
    spent = pd.DataFrame(
        {"date": [pd.Timestamp("2025-01-01")] * 2, "channel": ["Search", "Social"], "cost": [60.0, 40.0]}
    )
    truth = pd.DataFrame({"channel": ["Search", "Social"], "incremental_orders": [1, 1]})
    return book(touchpoints=touchpoints, campaigns=spent.assign(currency="EUR"), truth=truth)


def test_the_truth_is_told_of_models_that_have_a_distance_only():
    ws = shop_with_truth()
    found = attribution.compare([attribution.rules(ws.touchpoints)], campaigns=ws.campaigns, truth=ws.truth)
    distance = attribution.score(found)
    assert np.isnan(distance.set_index("model").loc["last", "distance"])  # all of its credit is Direct's
    said = both(sentences.attribution, found, distance)
    assert "nearest to the truth is “First touch”" in said and "Last touch" not in said
    assert "would misplace €50 of cost" in said


def changes(*rows):
    columns = ["channel", "cost", "change", "change_low", "change_high"]
    return pd.DataFrame(rows, columns=columns).assign(model="last", against="markov", currency="EUR")


def test_what_a_change_of_model_would_move_is_told_apart_from_chance():
    found = comparison_of([("u", 0, "visit", "A", None), ("u", 1, "visit", "B", None), ("u", 2, "order", "x", 1)])
    moved = changes(("A", 600, 100, 50, 150), ("B", 400, -60, -130, 10), ("C", 0, -40, -60, -20))
    said = both(sentences.attribution, found, NONE, moves=moved)
    assert "follow “Markov chain” instead of “Last touch” would move €100 of €1,000, €70 of it beyond what" in said
    still = both(sentences.attribution, found, NONE, moves=changes(("A", 600, 0, 0, 0)))
    assert "would move" not in still


@pytest.mark.parametrize(("days", "expected"), [(365, "over some 365 days"), (366, "needs more than a year")])
def test_the_test_that_settles_most_is_named_with_its_days(days, expected):
    found = comparison_of([("u", 0, "visit", "A", None), ("u", 1, "visit", "B", None), ("u", 2, "order", "x", 1)])
    row = {"channel": "B", "at_stake": 1234.4, "test_days": days, "currency": "EUR"}
    said = both(sentences.attribution, found, NONE, tests=pd.DataFrame([row]))
    assert "Test B first: €1,234 hang on the choice of model" in said and expected in said
    said = both(sentences.attribution, found, NONE, tests=pd.DataFrame([row]).assign(at_stake=0.0))
    assert "Test B" not in said


def test_where_money_is_spent_the_headline_is_of_a_channel_that_costs_some():
    ws = shop_with_truth()
    found = attribution.compare([attribution.rules(ws.touchpoints)], campaigns=ws.campaigns)
    said = both(sentences.attribution, found, NONE)
    assert said.startswith("Search earns between 0 and 1 of 1 orders") and "no other channel that costs money" in said


# Text from data


def test_text_from_data_is_escaped_and_no_dollar_begins_maths():
    name = "<b>Sale</b> $5 & $6"
    rows = [
        ("u", 0, "visit", name, None),
        ("u", 1, "visit", "B", None),
        ("u", 2, "order", "x", 1),
        ("v", 0, "visit", name, None),
    ]
    made = [
        sentences.journey(*journey_of(rows)),
        sentences.attribution(comparison_of(rows), NONE),
        sentences.funnel(steps_of([row[:4] for row in rows] + [("u", 3, name, "c")], ["visit", name])),
    ]
    for sentence in made:
        assert name in sentence and repr(sentence) == str(sentence)
        page = sentence._repr_html_()
        assert "<b>" not in page and "&lt;b&gt;Sale&lt;/b&gt; <span>$</span>5 &amp; <span>$</span>6" in page
