"""What is counted in arrays from one sort is what the statement of every engine counts."""

import random

import numpy as np
import pandas as pd
import pytest
from _tables import events

from perfnb import journey
from perfnb.engine import stream
from perfnb.errors import PerfnbError
from perfnb.journey import matrix, quick
from perfnb.period import Period

COLUMNS = ("user_id", "timestamp", "event", "channel", "value")
PERIOD = Period.parse("2025-01-10..2025-01-25")
WAYS = [
    {"count": count, "nulls": nulls, **more}
    for count in ("every", "first")
    for nulls in ("journeys", "persons", "none")
    for more in (
        {},
        {"lookback": "3 days"},
        {"period": PERIOD},
        {"period": PERIOD, "lookback": "2 days", "events": ["visit"]},
    )
]
COUNTS = {
    "transitions": journey.transitions,
    "paths": journey.frequent,
    "few short paths": lambda log, **counting: journey.frequent(log, top=3, depth=2, **counting),
    "from the start": lambda log, **counting: journey.step_matrix(log, after=4, **counting),
    "to the end": lambda log, **counting: journey.step_matrix(log, anchor="(end)", before=3, **counting),
    "around the first": lambda log, **counting: journey.step_matrix(log, anchor="A", before=2, after=2, **counting),
    "around the last": lambda log, **counting: journey.step_matrix(
        log, anchor="B", occurrence="last", before=2, after=2, **counting
    ),
    "around what is not there": lambda log, **counting: journey.step_matrix(log, anchor="?", after=2, **counting),
}
LIMITS = ["low", "high", "design_effect"]  # of steps, whose groups of persons are drawn in another way


def made_up(seed, size=300, persons=12):
    """Events of few persons, many at equal times, some of nobody or at no time, with values that may be missing."""
    dice = random.Random(seed)
    rows = []
    for _ in range(size):
        event = dice.choice([*["visit"] * 6, "order", "order", "other", None])
        rows.append((
            None if dice.random() < 0.03 else f"u{dice.randrange(persons)}",
            None if dice.random() < 0.03 else dice.choice([3600 * dice.randrange(960), dice.randrange(960 * 3600)]),
            event,
            dice.choice([*"ABCD", None, "(other)"]),
            dice.choice([None, 10, 12.5]) if event == "order" else None,
        ))  # fmt: skip
    return rows


def by_statement(monkeypatch, model, log, **counting):
    with monkeypatch.context() as patched:
        patched.setattr(quick, "walk", lambda *_, **__: None)
        return model(log, **counting)


def agree(one, other, name):
    if "step" in one:
        one, other = one.drop(columns=LIMITS), other.drop(columns=LIMITS)
    pd.testing.assert_frame_equal(one, other, rtol=1e-9, obj=name)


@pytest.mark.parametrize("rows", [7, 60, 100_000])
def test_arrays_count_what_the_statement_counts(rows, monkeypatch):
    monkeypatch.setattr(stream, "ROWS", rows)  # parts are cut anywhere in a person
    monkeypatch.setattr(matrix, "MANY", -1)
    log = events(made_up(rows), COLUMNS)
    for counting in WAYS:
        assert quick.walk(log, **counting)
        for name, model in COUNTS.items():
            agree(model(log, **counting), by_statement(monkeypatch, model, log, **counting), name)


@pytest.mark.parametrize(
    "rows",
    [
        [("u1", 5, "visit", "A", None)],
        [("u1", 5, "order", "A", 3)],
        [(None, 5, "order", "A", 3), (None, None, "order", "B", None), ("u1", None, "visit", "C", None)],
        [("u1", 5, "visit", "A", None)] * 40,
        [("u1", 5, "order", "A", 1)] * 3 + [("u1", 4, "visit", "A", None)] * 2,
    ],
    ids=["a touch", "an order", "nobody", "one moment", "orders at once"],
)
def test_arrays_count_what_the_statement_counts_of_next_to_nothing(rows, monkeypatch):
    monkeypatch.setattr(matrix, "MANY", -1)
    log = events(rows, COLUMNS)
    for name, model in COUNTS.items():
        agree(model(log), by_statement(monkeypatch, model, log), name)


def test_what_arrays_cannot_hold_goes_through_the_statement(monkeypatch):
    log = events(made_up(1, 60), COLUMNS)
    assert quick.walk(log) and not quick.walk(log, repeats="overlap") and not quick.walk(log, direct="drop")
    assert not quick.walk(events([("u1", -2_000_000_000, "visit", "A", None)], COLUMNS))
    assert not quick.walk(events([("u1", k, "visit", f"c{k}", None) for k in range(1024)], COLUMNS))
    assert quick.walk(events([("u1", k, "visit", f"c{k}", None) for k in range(1023)], COLUMNS))
    assert quick.paths(quick.walk(log), 3, 40) is None
    deep = {"depth": 40, "top": 3}
    agree(journey.frequent(log, **deep), by_statement(monkeypatch, journey.frequent, log, **deep), "deep")
    monkeypatch.setattr(quick, "_LARGE", 59)
    assert not quick.walk(log)


def test_few_events_keep_groups_of_persons_that_all_engines_draw_alike(monkeypatch):
    log = events(made_up(2), COLUMNS)
    found = journey.step_matrix(log)
    pd.testing.assert_frame_equal(found, by_statement(monkeypatch, journey.step_matrix, log))


def test_limits_of_steps_differ_by_their_groups_of_persons_alone(monkeypatch):
    """Journeys of one person are alike here: a share is known from as many as there are persons."""
    dice = np.random.default_rng(3)
    rows = [
        (f"u{person}", 10 * k + (event == "order"), event, channel, None)
        for person, channel in enumerate(dice.choice(list("AB"), 1500))
        for k in range(3)
        for event in ("visit", "order")
    ]
    log = events(rows, COLUMNS)
    slow = by_statement(monkeypatch, journey.step_matrix, log, after=1)
    monkeypatch.setattr(matrix, "MANY", -1)
    fast = journey.step_matrix(log, after=1)
    for table in (fast, slow):
        assert table.loc[table["touchpoint"] == "A", "design_effect"].iloc[0] == pytest.approx(3, rel=0.25)
    np.testing.assert_allclose(fast[["low", "high"]], slow[["low", "high"]], atol=0.005)


def test_events_in_no_order_are_refused(monkeypatch):
    log = events(made_up(4), COLUMNS)
    given = log.engine.batches

    def backwards(sql, rows):
        for part in given(sql, rows):
            yield {name: column[::-1] for name, column in part.items()}

    monkeypatch.setattr(log.engine, "batches", backwards)
    with pytest.raises(PerfnbError, match="in no order"):
        journey.transitions(log)
