"""Which conversions and touches count: conserved against the events in every way of counting, and said in words."""

import hashlib
import itertools
import json
import random
import re
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _tables import ALL_WAYS, SAMPLES, WAYS, book, events, moments

from perfnb import attribution, checks, journey, locale, report
from perfnb.errors import TooMuchLost
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
DAY = 86_400
NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "attribution.ipynb"
PERIOD = Period(date(2025, 1, 5), date(2025, 1, 14))
BETWEEN_WAYS = ALL_WAYS[::5]


def random_log(seed, persons=30, labels=("A", "B", "Direct", "Direct", None)):
    """Visits and orders by half a day, with ties, several orders at one moment, and nulls wherever they can be."""
    dice = random.Random(seed)
    rows = []
    for person in range(persons):
        for _ in range(dice.randint(1, 8)):
            user = None if dice.random() < 0.04 else f"p{person}"
            at = None if dice.random() < 0.04 else dice.randrange(40) * DAY / 2
            if dice.random() < 0.3:
                rows += [(user, at, "order", dice.choice(labels), dice.choice([None, 10.5, 99.25]))] * dice.choice(
                    [1, 1, 2]
                )
            else:
                rows.append((user, at, dice.choice(["visit", "click", None]), dice.choice(labels), None))
    return rows


def brute_totals(log, count, period):
    """(conversions, their value), one order after the other."""
    start = date(2025, 1, 1)
    orders = [(user, at, value or 0) for user, at, event, _, value in log if event == "order"]
    first = {}
    for user, at, _ in orders:
        if user is not None and at is not None:
            first[user] = min(at, first.get(user, at))
    kept = []
    for user, at, value in orders:
        if period is not None and (at is None or not period.since <= start + timedelta(seconds=at) < period.until):
            continue
        if count == "first" and user is not None and at is not None and at != first[user]:
            continue
        kept.append(value)
    return len(kept), sum(kept)


# Conservation


@pytest.mark.parametrize("transform", journey.TRANSFORMS)
@pytest.mark.parametrize("period", [None, PERIOD], ids=["all", "period"])
def test_paths_conserve_conversions_and_value_in_every_way_of_counting(transform, period):
    log = random_log(1)
    table = events(log, COLUMNS)
    ways = ALL_WAYS if transform == "unique" else BETWEEN_WAYS
    for counting in ways:
        found = journey.paths(table, transform=transform, period=period, lookback="3 days", **counting)
        sums = found["conversions"].sum(), found["value"].sum()
        assert sums == pytest.approx(brute_totals(log, counting["count"], period)), counting
        if counting["nulls"] == "none":
            assert not found["nulls"].any()


@pytest.mark.parametrize("count", WAYS["count"])
@pytest.mark.parametrize("period", [None, PERIOD, Period(date(2025, 1, 9), date(2025, 1, 10))])
@pytest.mark.parametrize("seed", range(4))
def test_totals_equal_a_count_of_the_orders_one_by_one(seed, period, count):
    log = random_log(seed + 50)
    found = checks.totals(events(log, COLUMNS), count=count, period=period)
    assert (found["conversions"], found["value"]) == pytest.approx(brute_totals(log, count, period))


@pytest.mark.parametrize("period", [None, PERIOD])
@pytest.mark.parametrize("direct", WAYS["direct"])
def test_the_proof_holds_for_first_conversions_under_every_model(period, direct):
    table = events(random_log(7), COLUMNS)
    counting = {"count": "first", "direct": direct, "period": period, "lookback": "2 days"}
    expected = checks.totals(table, count="first", period=period)
    models = (attribution.rules, attribution.markov, attribution.shapley, attribution.probabilistic, attribution.hazard)
    credits = attribution.compare([model(table, **counting) for model in models])
    sums = credits.groupby("model")[["credit", "value"]].sum()
    checks.prove(expected, conversions=sums["credit"], value=sums["value"])
    every = checks.totals(table, period=period)
    with pytest.raises(TooMuchLost):
        checks.prove(every, conversions=sums["credit"])


def test_a_way_of_counting_that_is_none_is_not_counted_as_every():
    table = events([("u", 0, "order", "A", 1), ("u", 1, "order", "A", 1)], COLUMNS)
    with pytest.raises(ValueError, match="firts"):
        checks.totals(table, count="firts")


def test_totals_of_times_with_a_zone_are_those_of_utc():
    frame = pd.DataFrame({"user_id": ["u", "u", None], "event": "order", "value": [1.0, 2.0, 4.0], "channel": "A"})
    frame["timestamp"] = moments([DAY * 3 - 1, DAY * 3, DAY * 3]).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    table = book(touchpoints=frame).touchpoints
    fourth = Period(date(2025, 1, 4), date(2025, 1, 5))
    assert checks.totals(table, period=fourth)["value"] == 6
    assert checks.totals(table, count="first", period=fourth)["value"] == 4
    assert attribution.rules(table, models=["last"], count="first", period=fourth)["value"].sum() == 4


# A table of paths says what the events say


@pytest.mark.parametrize("counting", BETWEEN_WAYS, ids=lambda counting: "-".join(counting.values()))
def test_a_table_of_paths_gives_under_every_model_what_its_events_give(counting):
    table = events(random_log(3, persons=60), COLUMNS)
    paths = journey.paths(table, lookback="4 days", **counting)
    models = {
        "rules": lambda source, **more: attribution.rules(
            source, models=["first", "last", "last_non_direct", "linear", "position", "own"], weights=[3, 2, 1], **more
        ),
        "markov": attribution.markov,
        "markov_3": lambda source, **more: attribution.markov(source, order=3, **more),
        "shapley": attribution.shapley,
        "rate": lambda source, **more: attribution.shapley(source, worth="rate", **more),
        "probabilistic": lambda source, **more: attribution.probabilistic(source, least=3, **more),
        "ordered": attribution.shapley_ordered,
        "roles": attribution.roles,
    }
    for name, model in models.items():
        one, other = model(table, lookback="4 days", **counting), model(paths)
        keys = [key for key in ("model", "channel", "position") if key in one]
        drop = [column for column in one if column == "definition" or "low" in column or "high" in column]
        one, other = (found.drop(columns=drop).sort_values(keys, ignore_index=True) for found in (one, other))
        pd.testing.assert_frame_equal(one, other, check_dtype=False, atol=1e-7, obj=name)


@pytest.mark.parametrize("label", ["a > b", "a >", "> b", ">", " > ", "a>b", "a > ", "(1) > (2)"])
def test_a_label_with_the_separator_stays_one_touch_in_a_table_of_paths(label):
    rows = [("u", 0, "visit", label, None), ("u", 1, "visit", "z", None), ("u", 2, "order", None, 10)]
    rows += [("v", 0, "visit", "z", None), ("v", 1, "visit", label, None), ("v", 2, "order", None, 10)]
    table = events(rows, COLUMNS)
    paths = journey.paths(table)
    for model in (attribution.shapley, attribution.markov):
        for source in (table, paths):
            found = model(source)
            assert len(found) == 2 and "z" in set(found["channel"])
            assert found["credit"].tolist() == [1, 1]


def test_labels_that_differ_by_a_space_are_told_apart_or_together_by_all_models_alike():
    """The engine keeps them apart; reading paths must not join them."""
    rows = [("u", 0, "visit", "Search ", None), ("u", 1, "visit", "Search", None), ("u", 2, "visit", "B", None)]
    table = events([*rows, ("u", 3, "order", None, 10), ("v", 0, "visit", "B", None)], COLUMNS)
    found = [attribution.rules(table, models=["linear"]), attribution.markov(table), attribution.shapley(table)]
    assert len({tuple(sorted(part["channel"])) for part in found}) == 1


def test_credit_of_touches_adds_up_where_a_label_begins_with_a_space():
    rows = [("u", 0, "visit", " Search", None), ("u", 1, "order", None, 10)]
    rows += [("v", 0, "visit", "B", None), ("v", 1, "order", None, 10)]
    table = events(rows, COLUMNS)
    for model in (attribution.shapley, attribution.markov):
        found = attribution.credit(table, model=model(table))
        assert found[["credit", "value"]].sum().tolist() == [2, 20]


def test_five_paths_by_hand():
    rows = [
        ("u", 0, "visit", "Direct", None), ("u", 1, "visit", "A", None), ("u", 2, "visit", "Direct", None),
        ("u", 3, "order", None, 10), ("u", 4, "visit", "B", None), ("u", 5, "order", None, 20),
        ("v", 0, "visit", "Direct", None), ("v", 1, "order", None, 5),
        ("w", 0, "visit", "A", None),
    ]  # fmt: skip
    table = events(rows, COLUMNS)

    def counted(**counting):
        found = journey.paths(table, **counting)
        return {path: (int(won), int(lost)) for path, won, lost in found[["path", "conversions", "nulls"]].to_numpy()}

    rest = {"Direct": (1, 0), "A": (0, 1)}
    assert counted() == {"Direct > A > Direct": (1, 0), "B": (1, 0), **rest}
    assert counted(direct="drop") == {"A": (1, 1), "B": (1, 0), "Direct": (1, 0)}
    assert counted(direct="drop_last") == {"Direct > A": (1, 0), "B": (1, 0), **rest}
    assert counted(count="first") == {"Direct > A > Direct": (1, 0), **rest}
    assert counted(repeats="overlap") == {"Direct > A > Direct": (1, 0), "Direct > A > Direct > B": (1, 0), **rest}
    assert counted(nulls="none", count="first") == {"Direct > A > Direct": (1, 0), "Direct": (1, 0)}


# The line that says what was counted

UNITS = ["30 days", "1 day", "12 hours", "1 hour", "30 minutes", "1 minute", "2 weeks", "1 week", "90 seconds"]
SAME_WORDS = {"Journeys", "Person", "Direct", "order", "visit", "in"}


@pytest.mark.parametrize("lookback", [None, *UNITS])
def test_the_definition_has_nothing_english_left_in_german(lookback):
    for counting, named, period in itertools.product(ALL_WAYS, [None, ["visit"]], [None, PERIOD]):
        said = journey.Counting(lookback=lookback, events=named, period=period, **counting).definition
        english, german = (locale.definition(said, language) for language in ("en", "de"))
        words = [set(re.findall(r"[^\W\d_]+", text)) for text in (english, german)]
        assert not (words[0] & words[1]) - SAME_WORDS, german
        if period is None:
            assert english == said
        else:
            assert "05.01.2025 bis 13.01.2025" in german and "2025-01" not in english


def test_every_way_of_counting_has_its_own_line_in_both_languages():
    for language in ("en", "de"):
        lines = {locale.definition(journey.Counting(**counting).definition, language) for counting in ALL_WAYS}
        assert len(lines) == len(ALL_WAYS)


def test_names_from_data_are_not_translated_in_the_definition():
    said = journey.Counting(conversion="closed", events=["days", "touches"], direct="drop", direct_channel="day")
    german = locale.definition(said.definition, "de")
    assert {"closed", "days", "touches", "day"} <= set(re.findall(r"\w+", german))


def test_results_of_every_model_say_how_was_counted():
    table = events(random_log(4), COLUMNS)
    counting = {"count": "first", "direct": "drop", "lookback": "2 days"}
    said = journey.Counting(**counting).definition
    for model in (attribution.rules, attribution.markov, attribution.shapley, attribution.probabilistic,
                  attribution.hazard):  # fmt: skip
        assert set(model(table, **counting)["definition"]) == {said}, model.__name__


# The notebook under other parameters

OTHERS = {
    "first_conversions": {
        "count": "first", "direct": "drop", "markov_order": "2", "considered": "markov_2", "lookback": "7 days",
        "period": "2025-08", "experiments": '{"Brand Search": [20, 10, 30]}',
    },
    "german_hazard": {
        "count": "first", "direct": "drop_last", "markov_order": "3", "considered": "hazard", "used": "position",
        "touch_events": "[]", "period": "2025-08-04..2025-08-31", "language": "de", "split": '["device", "date"]',
    },
    "two_days_at_once": {"lookback": "0 days", "period": "2025-08-04..2025-08-05", "considered": "shapley"},
}  # fmt: skip


@pytest.mark.parametrize("parameters", OTHERS.values(), ids=OTHERS)
def test_the_notebook_runs_and_its_proof_holds_under_other_parameters(parameters, tmp_path):
    manifest = report.run(data=SAMPLES, out=tmp_path / "out", notebooks=[str(NOTEBOOK)], texts=parameters)
    (row,) = manifest["notebooks"]
    assert row["error"] is None
    done = json.loads((tmp_path / "out" / row["notebook"]).read_text(encoding="utf-8"))
    (proof,) = (cell for cell in done["cells"] if "proof" in cell["metadata"].get("tags", []))
    last = re.findall(r"<td[^>]*>([^<]*)</td></tr>", "".join(proof["outputs"][0]["data"]["text/html"]))
    assert len(last) >= 18 and set(last) == {"0"}
    printed = [out for cell in done["cells"] for out in cell.get("outputs", []) if out.get("name") == "stderr"]
    assert not printed


# Odd logs


def test_the_group_of_a_person_is_the_same_hash_in_the_package_and_out_of_it():
    """Intervals rest on it: MD5 of the person, its first two digits, of 64 groups."""
    table = events([(f"u{k}", 0, "order", None, 1) for k in range(50)] + [("u1", -5, "visit", "A", None)], COLUMNS)
    found = journey.path_counts(table)
    groups = {int(hashlib.md5(f"u{k}".encode()).hexdigest()[:2], 16) for k in range(50)}
    assert {int(part, 16) for part in found["part"]} == groups


def test_touches_long_before_1970_and_far_ahead_keep_their_conversions():
    at = [-60 * 365 * DAY, -60 * 365 * DAY + 1, 200 * 365 * DAY, 200 * 365 * DAY + 1]
    rows = [("u", moment, event, "A", None) for moment, event in zip(at, ["visit", "order"] * 2, strict=True)]
    found = journey.paths(events(rows, COLUMNS), lookback=None)
    assert found[["path", "conversions"]].to_numpy().tolist() == [["A", 2]]
    assert np.isnan(found["value"]).all()
