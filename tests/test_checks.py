"""Checks: for each a table that breaks it and one that must not; the gate; proofs of totals."""

from datetime import date

import pandas as pd
import pytest
from _tables import book, moments, only

from perfnb import checks
from perfnb.errors import BadParameter, TooMuchLost
from perfnb.period import Period

TOUCHES = ("user_id", "timestamp", "event", "order_id", "value", "currency")
ADS = ("date", "channel", "campaign", "impressions", "clicks", "orders", "visits", "cost", "currency")
GOOD_TOUCHES = [
    ("u", 0, "visit", None, None, None),
    ("u", 60, "view_item", None, None, None),
    ("u", 60, "order", "o1", 10.0, "EUR"),
    ("v", 0, "visit", None, None, None),
    ("v", 5, "order", "o2", 5.5, "EUR"),
]
GOOD_ADS = [
    ("2025-01-01", "Search", "Gesamtpaket", 100, 5, 9, 3, 4.0, "EUR"),  # more orders than visits: view-through
    ("2025-01-01", "Direct", None, None, None, 1, 7, None, None),
    ("2025-01-02", "Search", "Gesamtpaket", 100, 100, 0, 0, 4.0, "EUR"),
    ("2025-01-02", "Search", "first day of a new one", 0, 0, 0, 0, 0.0, "EUR"),
    ("2025-01-03", "Search", "Total recall", 50, 1, 0, 0, 4.0, "EUR"),
]


def shop(touches=GOOD_TOUCHES, ads=GOOD_ADS, answers=(("u", 3.0, "satisfaction"),)):
    touchpoints = pd.DataFrame(list(touches), columns=TOUCHES)
    touchpoints["timestamp"] = moments(touchpoints["timestamp"])
    campaigns = pd.DataFrame(list(ads), columns=ADS)
    campaigns["date"] = pd.to_datetime(campaigns["date"])
    surveys = pd.DataFrame(list(answers), columns=["user_id", "score", "scale"])
    return book(touchpoints=touchpoints, campaigns=campaigns, surveys=surveys)


ALL = ("touchpoints", "campaigns", "surveys")


def finding(name, table="touchpoints", **frames):
    return only(checks.run(shop(**frames), tables=ALL), name=name, table=table)


def test_a_good_shop_raises_nothing():
    findings = checks.run(shop(), tables=ALL)
    raised = findings[findings["severity"] != "ok"]
    findings = findings[findings["severity"] == "ok"]
    assert list(raised["check"] + " " + raised["severity"]) == ["X2 skipped"], raised.T  # its events have no channel
    assert findings["rows"].eq(0).all() and findings["what_to_do"].eq("").all()
    assert set(findings["message"]) == {"Nothing found."}


def many(rows, bad, times=200):
    """The bad rows among so many good ones of persons of their own that they are rare."""
    fill = [(f"fill {k}", 1000 + k, "visit", None, None, None) for k in range(times)]
    return [*rows, *fill, *bad]


TOUCH_CASES = [
    # name, rows that break it, rows found, severity
    ("no_person", [*GOOD_TOUCHES, (None, 1, "visit", None, None, None)], 1, "error"),
    ("no_person", many(GOOD_TOUCHES, [(None, 1, "visit", None, None, None)]), 1, "info"),
    ("no_time", [*GOOD_TOUCHES, ("w", None, "visit", None, None, None)], 1, "error"),
    ("no_time", many(GOOD_TOUCHES, [("w", None, "visit", None, None, None)]), 1, "info"),
    ("duplicate_events", [*GOOD_TOUCHES, GOOD_TOUCHES[0], GOOD_TOUCHES[0]], 2, "error"),
    ("duplicate_events", many(GOOD_TOUCHES, [GOOD_TOUCHES[0]], times=2000), 1, "info"),
    ("double_conversion", [*GOOD_TOUCHES, ("v", 9, "order", "o2", 5.5, "EUR")], 1, "error"),
    ("order_id_missing", [*GOOD_TOUCHES, ("v", 9, "order", None, 5.5, "EUR")], 1, "warn"),
    ("impossible_time", [*GOOD_TOUCHES, ("w", -30 * 365 * 86_400, "visit", None, None, None)], 1, "error"),
    ("impossible_time", [*GOOD_TOUCHES, ("w", 60 * 365 * 86_400, "visit", None, None, None)], 1, "error"),
    (
        "order_first",
        [*GOOD_TOUCHES, ("w", 9, "order", "o3", 5.5, "EUR"), ("w", 10, "visit", None, None, None)],
        1,
        "warn",
    ),
    ("order_value", [*GOOD_TOUCHES, ("v", 9, "order", "o3", 0.0, "EUR")], 1, "warn"),
    ("order_value", [*GOOD_TOUCHES, ("v", 9, "order", "o3", None, "EUR")], 1, "warn"),
    ("order_value", [*GOOD_TOUCHES, ("v", 9, "order", "o3", -3.0, "EUR")], 1, "warn"),
    ("currencies_mixed", [*GOOD_TOUCHES, ("v", 9, "order", "o3", 5.5, "USD")], 6, "warn"),
]


@pytest.mark.parametrize(("name", "rows", "bad", "severity"), TOUCH_CASES)
def test_a_broken_table_of_touchpoints_is_found_and_counted(name, rows, bad, severity):
    found = finding(name, touches=rows)
    assert (found["rows"], found["severity"]) == (bad, severity)
    assert found["share"] == bad / found["of"] and found["message"] and found["what_to_do"]


AD_CASES = [
    ("no_date", [*GOOD_ADS, (None, "Search", "x", 1, 1, 0, 0, 1.0, "EUR")], 1, "error"),
    ("key_twice", [*GOOD_ADS, ("2025-01-01", "Search", "Gesamtpaket", 7, 5, 2, 3, 9.0, "EUR")], 1, "error"),
    ("clicks_over_impressions", [*GOOD_ADS, ("2025-01-03", "Search", "x", 1, 2, 0, 0, 1.0, "EUR")], 1, "error"),
    ("negative_cost", [*GOOD_ADS, ("2025-01-03", "Search", "x", 1, 1, 0, 0, -1.0, "EUR")], 1, "info"),
    ("clicks_without_cost", [*GOOD_ADS, ("2025-01-03", "Search", "x", 9, 1, 0, 0, 0.0, "EUR")], 1, "warn"),
    (
        "missing_days",  # three weeks of weekdays but for one Wednesday: weekends are no gap
        [
            (f"2025-01-{day:02}", "Search", "x", 9, 1, 0, 0, 1.0, "EUR")
            for day in (6, 7, 8, 9, 10, 13, 14, 16, 17, 20, 21)
        ],
        1,
        "error",
    ),
    ("currencies_mixed", [*GOOD_ADS, ("2025-01-03", "Search", "x", 9, 1, 0, 0, 1.0, "USD")], 6, "warn"),
]


@pytest.mark.parametrize(("name", "rows", "bad", "severity"), AD_CASES)
def test_a_broken_table_of_campaigns_is_found_and_counted(name, rows, bad, severity):
    found = finding(name, table="campaigns", ads=rows)
    assert (found["rows"], found["severity"]) == (bad, severity)
    assert found["share"] == bad / found["of"] and found["message"] and found["what_to_do"]


def test_a_score_off_its_scale_is_found():
    answers = [("u", 6.0, "satisfaction"), ("u", 6.0, "nps"), ("v", 0.0, "nps"), ("w", 0.0, "satisfaction")]
    assert finding("score_off_scale", table="surveys", answers=answers)["rows"] == 2


def test_missing_order_ids_are_no_double_conversion():
    rows = [*GOOD_TOUCHES, *[("w", at, "order", None, 5.5, "EUR") for at in range(5)]]
    assert finding("double_conversion", touches=rows)["severity"] == "ok"


def test_a_visit_at_the_instant_of_the_order_led_to_it():
    rows = [("u", 0, "order", "o1", 10.0, "EUR"), ("u", 0, "visit", None, None, None)]
    assert finding("order_first", touches=rows)["severity"] == "ok"


def test_rows_of_another_device_are_no_duplicates():
    rows = [("2025-01-01", "Search", "x", 9, 1, 0, 0, 1.0, "EUR")] * 2
    ws = shop(ads=rows)
    frame = ws.campaigns.rows().assign(device=["phone", "desktop"])
    assert only(checks.run(book(campaigns=frame), tables=["campaigns"]), name="key_twice")["severity"] == "ok"
    assert only(checks.run(ws, tables=["campaigns"]), name="key_twice")["severity"] == "error"


def test_the_conversion_is_the_one_named():
    rows = [*GOOD_TOUCHES, ("w", 0, "visit", None, None, None), ("w", 9, "le'ad", None, None, None)]
    findings = checks.run(shop(touches=rows), conversion="le'ad")
    assert only(findings, name="order_id_missing")["of"] == 1
    assert "'le'ad'" in only(findings, name="order_id_missing")["message"]


def test_the_budget_for_lost_rows_is_a_parameter_and_stands_in_the_finding():
    rows = [*GOOD_TOUCHES, (None, 1, "visit", None, None, None)]
    found = only(checks.run(shop(touches=rows), max_lost=0.5), name="no_person")
    assert (found["severity"], found["threshold"], found["of"]) == ("info", 0.5, 6)


def test_the_gravest_stand_first_and_a_column_that_is_not_there_is_said():
    frame = pd.DataFrame({"user_id": ["u", None], "timestamp": moments([0, 1]), "event": ["order", "visit"]})
    findings = checks.run(book(touchpoints=frame, optional=["campaigns"]))
    assert findings["severity"].drop_duplicates().tolist() == ["error", "warn", "skipped", "ok"]
    assert only(findings, name="double_conversion")["message"] == "Not checked: no column order_id."
    absent = findings[findings["table"] == "campaigns"]
    assert set(absent["severity"]) == {"skipped"} and set(absent["message"]) == {"The table campaigns is not there."}


def test_an_empty_table_of_events_is_no_division_by_nothing():
    findings = checks.run(shop(touches=[("u", 0, "visit", None, None, None)]), conversion="never")
    found = only(findings, name="order_value")
    assert found["severity"] == "ok" and found["of"] == 0 and pd.isna(found["share"])


def test_findings_speak_german_with_german_numbers():
    rows = many(GOOD_TOUCHES, [(None, 1, "visit", None, None, None)], times=994)
    found = only(checks.run(shop(touches=rows), language="de"), name="no_person")
    assert found["message"] == "1 von 1.000 Zeilen (0,1 %) haben keine Person: Sie gehören zu keiner Journey."
    assert found["what_to_do"].startswith("Einwilligung")


def test_every_check_has_its_words_in_both_languages():
    for language in ("en", "de"):
        for check in checks._checks("order", 0.02):
            for part in ("says", "do"):
                said = checks.text(
                    f"checks.{check.name}.{part}", language, n=1, of=2, share=3, table="t", conversion="c"
                )
                assert said and "{" not in said


# The gate


BROKEN = [*GOOD_TOUCHES, ("v", 9, "order", "o2", 5.5, "EUR"), (None, 1, "visit", None, None, None)]


def test_the_gate_stops_with_what_was_found_and_the_way_out():
    with pytest.raises(TooMuchLost) as stopped:
        checks.require(checks.run(shop(touches=BROKEN)))
    said = str(stopped.value)
    assert "Touchpoints: 1 of 3 events 'order' repeat an order id" in said and "Keep the first event" in said
    assert 'accept=["L1", "E2"]' in said or 'accept=["E2", "L1"]' in said


@pytest.mark.parametrize("accept", [["E2", "L1"], ["double_conversion", "no_person"], ("E2", "no_person")])
def test_the_gate_opens_for_what_is_accepted_and_says_so(accept):
    findings = checks.run(shop(touches=BROKEN))
    gate = checks.require(findings, accept=accept).iloc[0]
    assert gate["errors"] == 2 and set(gate["accepted"].split(", ")) == {"E2", "L1"}
    assert gate["checked"] == (findings["severity"] != "skipped").sum()


def test_the_gate_stops_for_what_is_left():
    with pytest.raises(TooMuchLost, match="have no person"):
        checks.require(checks.run(shop(touches=BROKEN)), accept="E2")
    assert checks.require(checks.run(shop())).iloc[0]["accepted"] == "–"


# Contents, totals and proofs


def test_contents_of_present_and_absent_tables():
    ws = book(optional=["campaigns", "targets"], touchpoints=shop().touchpoints.rows())
    found = checks.contents(ws, ["touchpoints", "campaigns", "targets"])
    row = only(found, table="touchpoints")
    assert row[["status", "rows", "first", "last"]].tolist() == ["present", 5] + [pd.Timestamp("2025-01-01")] * 2
    for name in ("campaigns", "targets"):
        row = only(found, table=name)
        assert row["status"] == "absent" and pd.isna(row["rows"]) and row["note"].startswith("Without it")
    assert only(checks.contents(ws, ["campaigns"], language="de"), table="campaigns")["note"].startswith("Ohne sie")


def test_totals_count_what_models_lose_and_bound_the_period():
    rows = [*GOOD_TOUCHES, (None, 90_000, "order", "o9", 7.0, "EUR"), ("w", None, "order", "o8", 1.0, "EUR")]
    ws = shop(touches=rows)
    assert checks.totals(ws.touchpoints) == {"events": 7, "persons": 3, "conversions": 4, "value": 23.5}
    first = Period(date(2025, 1, 1), date(2025, 1, 2))
    assert checks.totals(ws.touchpoints, period=first) == {"events": 5, "persons": 2, "conversions": 2, "value": 15.5}
    found = checks.totals(ws.campaigns, period=first)
    assert (found["impressions"], found["visits"], found["cost"], found["revenue"]) == (100, 10, 4, 0)


def test_a_proof_shows_each_total_and_each_part():
    found = checks.prove(
        {"conversions": 3, "value": 15.5}, conversions=3, value=pd.Series({"first": 15.5, "last": 15.5})
    )
    assert found[["total", "part", "difference"]].fillna("").to_numpy().tolist() == [
        ["conversions", "", 0],
        ["value", "first", 0],
        ["value", "last", 0],
    ]
    assert checks.prove({"value": 1e6}, value=1e6 + 1e-7)["difference"].tolist() == [0]


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        (3, 2),
        (3, pd.Series({"first": 3, "last": 2.999})),
        (3, None),
        (3, float("nan")),
        (5_000_000, 4_999_999),
        (200_000_000, 199_999_999),
        (0, 1),
        (3, pd.Series(dtype=float)),
    ],
)
def test_a_proof_finds_one_lost_conversion_however_many_there_are(expected, found):
    with pytest.raises(TooMuchLost, match="conversions"):
        checks.prove({"conversions": expected}, conversions=found)


def test_a_proof_of_nothing_by_nothing_holds_and_an_unknown_total_is_named():
    assert checks.prove({"conversions": 0}, conversions=pd.Series(dtype=float))["difference"].tolist() == [0]
    with pytest.raises(ValueError, match="credit"):
        checks.prove({"conversions": 0}, credit=1)


def test_an_event_spelled_nearly_like_another_is_a_slip_and_one_that_is_not_there_counts_0():
    touchpoints = shop().touchpoints
    found = checks.events(touchpoints, ["visit", "lead"])
    assert list(found["event"]) == ["visit", "lead"] and found["events"].iloc[0] > 0 and found["events"].iloc[1] == 0
    with pytest.raises(BadParameter, match="no event 'visits'; did you mean 'visit'"):
        checks.events(touchpoints, ["visits"])
