"""The quick counts of a plain funnel are those of the programme that every switch goes through."""

import importlib

import numpy as np
import pandas as pd
import pytest

from perfnb import funnel
from perfnb.engine import absent, connect
from perfnb.funnel.counts import countable, plain_counts
from perfnb.funnel.rule import rule_of
from perfnb.period import Period
from tests._tables import events, only

NAMES = ["a", "b", "c", "d", "x"]
PERIOD = Period.parse("2025-01-02..2025-01-04")
SWITCHES = [
    {"within": within, "entry": entry, "ties": ties, **more}
    for within in ("1 hour", "1 day", None)
    for entry in ("best", "first")
    for ties in ("distinct", "increase", "shared")
    for more in (
        {},
        {"period": PERIOD},
        {"period": PERIOD, "follow_up": "inside"},
        {"unit": ["user_id", "channel"]},
        {"resolution": "6 hours"},
    )
]
FUNNELS = [["a", "b"], ["a", "b", "c", "d"], [["a", "x"], {"event": "b", "channel": "web"}, "c"]]


def made_up(seed, size=1500, engine="duckdb"):
    """Events of few persons at few moments, so that many are equal, over five days; some of nobody, some at no time."""
    dice = np.random.default_rng(seed)
    moments = dice.integers(0, 60, size) * 7200.0
    moments[::97] = np.nan
    persons = dice.integers(0, 150, size)
    rows = zip(
        np.where(persons, np.char.add("u", persons.astype(str)), None),
        moments,
        dice.choice(NAMES, size),
        dice.choice(["web", "app"], size),
        strict=True,
    )
    return events(list(rows), engine=engine)


def by_programme(monkeypatch, *arguments, **switches):
    with monkeypatch.context() as patched:
        patched.setattr(importlib.import_module("perfnb.funnel.steps"), "countable", lambda *_: False)
        return funnel.steps(*arguments, **switches)


@pytest.mark.parametrize("names", FUNNELS, ids=str)
def test_the_quick_counts_are_those_of_the_programme_for_all_plain_rules(names, monkeypatch):
    log = made_up(len(names))
    reached = 0
    for switches in SWITCHES:
        assert countable(log, rule_of(names, **switches))
        found = funnel.steps(log, names, **switches)
        pd.testing.assert_frame_equal(found, by_programme(monkeypatch, log, names, **switches))
        reached += found["units"].iloc[-1]
    assert reached > 0


@pytest.mark.parametrize(
    "switches",
    [
        {"order": "strict"},
        {"order": "any"},
        {"entry": "each"},
        {"ties": "sequence"},
        {"open": "first_touch"},
        {"step_within": "1 hour"},
        {"exclude": "x"},
        {"optional": [2]},
        {"grace": "1 second"},
    ],
    ids=str,
)
def test_rules_that_are_not_plain_go_through_the_programme(switches):
    assert not countable(made_up(0, 10), rule_of(["a", "b", "c"], **switches))
    assert not countable(made_up(0, 10), rule_of(["a", "b", "a"]))


def test_the_quick_counts_by_hand():
    rows = [
        # Reaches c: the entry at 100 can hold it, the one at 0 cannot.
        *(("one", t, e, "web") for t, e in ((0, "a"), (100, "a"), (110, "b"), (3650, "c"))),
        # b before a, then a at the moment of b.
        *(("two", t, e, "web") for t, e in ((0, "b"), (50, "a"), (50, "b"))),
        # Too late, and its window was closed when the data ended.
        *(("three", t, e, "web") for t, e in ((0, "a"), (3601, "b"))),
        # Still open.
        ("four", 3000, "a", "web"),
        ("five", 10, "c", "web"),
    ]
    log = events(rows)
    found = plain_counts(log, rule_of(["a", "b", "c"], within="1 hour")).iloc[0]
    assert [found[f"units_{k}"] for k in (1, 2, 3)] == [4, 2, 1]
    assert [found[f"out_of_order_{k}"] for k in (1, 2, 3)] == [0, 1, 1]
    # The data end at 3650: four may still do b, and two (from 50) could until 3650.
    assert [found[f"immature_{k}"] for k in (2, 3)] == [1, 0]
    strictly = plain_counts(log, rule_of(["a", "b", "c"], within="1 hour", ties="increase")).iloc[0]
    assert [strictly[f"units_{k}"] for k in (1, 2, 3)] == [4, 1, 1]


def test_nobody_in_the_funnel_is_nought_at_every_step():
    log = events([("one", 0, "x", "web")])
    found = funnel.steps(log, ["a", "b"])
    assert only(found, step=2)["units"] == 0
    assert found["immature"].tolist() == [0, 0]
    assert found["out_of_order"].tolist() == [0, 0]


@pytest.mark.parametrize("seconds", [[None, None], [-3e9, -3e9 + 5], [7e9, 7e9 + 5], [0, 5]])
def test_logs_at_any_time_or_none_are_counted(seconds, monkeypatch):
    log = events([("one", at, name, "web") for at, name in zip(seconds, "ab", strict=True)])
    found = funnel.steps(log, ["a", "b"])
    pd.testing.assert_frame_equal(found, by_programme(monkeypatch, log, ["a", "b"]))
    assert found["units"].tolist() == ([0, 0] if seconds[0] is None else [1, 1])


def test_a_log_that_is_not_there_has_nobody():
    columns = {"user_id": "VARCHAR", "timestamp": "TIMESTAMP", "event": "VARCHAR"}
    nobody = absent("touchpoints", connect("duckdb"), columns, "nowhere")
    assert funnel.steps(nobody, ["a", "b"])["units"].tolist() == [0, 0]
