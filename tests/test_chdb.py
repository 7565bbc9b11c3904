"""ClickHouse in this process: what DuckDB reads, it holds and counts; what it cannot do it says."""

import importlib.util
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from _tables import CHDB, SAMPLES, book, events

from perfnb import engine as engines
from perfnb import funnel, journey, workspace
from perfnb.engine import Table
from perfnb.errors import BadParameter, PerfnbError, UnreadableData
from perfnb.period import Period

LOG = ("user_id", "timestamp", "event", "channel")


def test_without_chdb_it_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "chdb" else find(name))
    with pytest.raises(PerfnbError, match=r'chdb:// needs chdb.*pip install "perfnb\[chdb\]"'):
        engines.connect("chdb://")


@pytest.fixture(autouse=True)
def _installed(request):
    if "without_chdb" not in request.node.name:
        request.getfixturevalue("chdb")


def test_a_folder_by_url_holds_the_same_rows():
    here, there = workspace.open(SAMPLES), workspace.open(f"{CHDB}{SAMPLES}")
    for name in ("touchpoints", "campaigns", "orders", "surveys"):
        one, other = getattr(here, name), getattr(there, name)
        assert (one.count(), one.columns) == (other.count(), other.columns)
        order = list(one.columns)
        pd.testing.assert_frame_equal(
            one.rows().sort_values(order, ignore_index=True),
            other.rows().sort_values(order, ignore_index=True),
            check_dtype=False,
        )
    august = Period(date(2025, 8, 1), date(2025, 9, 1))
    assert here.touchpoints.between(august).count() == there.touchpoints.between(august).count() > 0
    assert here.touchpoints.span() == there.touchpoints.span()


def test_rows_of_all_kinds_come_in_parts_and_whole(monkeypatch):
    from perfnb.engine import chdb

    monkeypatch.setattr(chdb, "_BATCH", 2)
    moments = [pd.Timestamp("1955-01-01 00:00:00.000001"), pd.NaT, pd.Timestamp("2100-12-31 23:59:59.999999")]
    rows = pa.table(
        {
            "user_id": ["a", None, 'it\'s \\ "x"'],
            "timestamp": pd.Series(moments).astype("datetime64[us]"),
            "value": pa.array(["0.1", None, "-999999999.999999"]),
            'many words `\\ "': [[1, 2], None, []],
            "u": pa.array([2**63, None, 1], pa.uint64()),
            "b": [True, None, False],
        }
    )
    one, other = (workspace.open({"touchpoints": rows}, engine=engine).touchpoints for engine in ("duckdb", CHDB))
    shown = f"user_id, {one.micros()} AS t, CAST(value AS DOUBLE) AS value, u, CASE WHEN b THEN 1 ELSE 0 END AS b"
    micros = f"SELECT {shown} FROM {{table}} AS t"
    found = [table.fetch(micros).sort_values("t", ignore_index=True) for table in (one, other)]
    pd.testing.assert_frame_equal(*found, check_dtype=False)
    assert other.rows()['many words `\\ "'].tolist().count("[1, 2]") == 1


def test_sums_and_empty_tables():
    log = events([("u", 0, "a", "x"), ("v", 1, "a", None)], LOG, engine=CHDB)
    found = log.sums("SELECT channel, COUNT(*) AS n FROM {table} AS t GROUP BY channel", ["channel"])
    places, names = found["channel"]
    assert {names[p] if p >= 0 else None: n for p, n in zip(places, found["n"], strict=True)} == {"x": 1, None: 1}
    nothing = log.fetch(
        "SELECT MAX(t) AS t, SUM(n) AS n FROM (SELECT 1 AS n, 2 AS t FROM {table} AS s WHERE 1 = 0) AS q"
    )
    assert nothing.isna().all().all()
    joined = (
        "SELECT COALESCE(b.n, 5) AS n FROM {table} AS a LEFT JOIN (SELECT 'z' AS u, 1 AS n) AS b ON a.user_id = b.u"
    )
    assert log.fetch(joined)["n"].tolist() == [5, 5]
    absent = book(CHDB, optional=["surveys"], touchpoints=log.rows())
    assert absent.surveys.count() == 0 and journey.satisfaction(absent.surveys).empty


def test_a_person_may_have_more_attempts_than_clickhouse_recurses_by_itself():
    log = events([("u", 0, "a", "x")], LOG, engine=CHDB)
    found = log.fetch(
        "WITH RECURSIVE w AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM w WHERE n < 1200) SELECT MAX(n) AS n FROM w"
    )
    assert found["n"].tolist() == [1200]


def test_what_clickhouse_cannot_do_is_said():
    log = events([("u", 1, "a", "x"), ("u", 0, "b", "x")], LOG, engine=CHDB)
    assert funnel.steps(log, ["a", "b"], grace="30 minutes")["units"].tolist() == [1, 1]
    with pytest.raises(BadParameter, match=r"ClickHouse looks ahead 2,147 seconds at most, found 7,200: shorten"):
        funnel.steps(log, ["a", "b"], grace=timedelta(hours=2))
    with pytest.raises(UnreadableData, match="no_such_column"):
        log.fetch("SELECT no_such_column FROM {table} AS t")


def test_figures_are_kept_where_they_are_counted():
    log = events([("u", 0, "a", "x")], LOG, engine=CHDB)
    kept = log.engine.keep(log.sql)
    assert Table("kept", log.engine, kept, log.columns, "here").count() == 1
    log.engine.drop(kept)
    with pytest.raises(UnreadableData):
        log.engine.fetch(kept)
    assert np.isfinite(log.fetch("SELECT COUNT(*) - 2 AS n FROM {table} AS t")["n"].iloc[0])
