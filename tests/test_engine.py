"""Laws of engines, words and printed tables: what is quoted comes back, statements travel, figures are rounded once."""

import re
import string
import subprocess
import sys
import tomllib
from datetime import date, datetime, timedelta
from importlib import resources

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from perfnb import columns as vocabulary
from perfnb import engine as engines
from perfnb import funnel, journey, locale, tables, workspace
from perfnb.engine import identifier, literal, sql_of
from perfnb.errors import BadParameter, PerfnbError
from perfnb.period import Period, duration

ODD = ["'; --", 'a"b', "a\\b", "a\\", "\\'", "`x`", "select", "Größe", "{table}", "a\nb", "%s", "$1", "''", "--", "/*"]


# --- quoting


def test_values_and_names_come_back(workspace_of):
    table = workspace_of({"touchpoints": pa.table({"event": ODD})}).touchpoints
    values = ", ".join(f"{literal(text)} AS {identifier(f'{text} {n}')}" for n, text in enumerate(ODD))
    found = table.fetch(f"SELECT {values} FROM {{table}} AS t LIMIT 1")
    assert list(found) == [f"{text} {n}" for n, text in enumerate(ODD)]
    assert list(found.iloc[0]) == ODD
    counts = ", ".join(f"COUNT(CASE WHEN event = {literal(text)} THEN 1 END) AS c_{n}" for n, text in enumerate(ODD))
    assert list(table.fetch(f"SELECT {counts} FROM {{table}} AS t").iloc[0]) == [1] * len(ODD)


def test_sums_come_as_arrays_and_names_once(workspace_of):
    table = workspace_of({"touchpoints": pa.table({"event": ["b", None, "a", "b", *ODD]})}).touchpoints
    sql = "SELECT event, CAST(COUNT(*) AS DOUBLE) AS n FROM {table} AS t GROUP BY event"
    found = table.sums(sql, ["event"])
    places, names = found["event"]
    assert all(isinstance(own, np.ndarray) for own in (places, found["n"])) and len(set(names)) == len(names)
    counts = {names[place] if place >= 0 else None: n for place, n in zip(places, found["n"], strict=True)}
    assert counts == {"b": 2, None: 1, "a": 1} | dict.fromkeys(ODD, 1)


def test_literals():
    assert literal(None) == "NULL" and literal(True) == "TRUE" and literal(np.bool_(False)) == "FALSE"
    # numpy's own repr of a float is "np.float64(0.1)", which is no SQL.
    assert literal(np.float64(0.1)) == literal(0.1) == "0.1"
    assert literal(np.int64(7)) == literal(7) == "7"
    for value in (float("nan"), float("inf"), np.float64("nan"), "a\0b"):
        with pytest.raises(BadParameter):
            literal(value)


def test_an_event_called_as_the_place_of_the_table():
    table = workspace.open({"touchpoints": pa.table({"event": ["{table}", "x"]})}).touchpoints
    assert table.fetch("SELECT COUNT(*) AS n FROM {table} AS t WHERE event = '{table}'")["n"].iloc[0] == 1


def test_unknown_engines():
    with pytest.raises(PerfnbError, match=r'"duckdb", "spark://local\[2\]"'):
        engines.connect("postgres://x")


# --- statements


def _statements(samples):
    touchpoints = workspace.open(samples).touchpoints
    return {
        "steps": lambda dialect: sql_of(
            funnel.steps, touchpoints, ["visit", "add_to_cart", "order"], within="7 days", by="device", dialect=dialect
        ),
        "transitions": lambda dialect: sql_of(journey.transitions, touchpoints, dialect=dialect),
    }


@pytest.mark.parametrize("name", ["steps", "transitions"])
def test_statements_are_readable(name, samples):
    sql = _statements(samples)[name]("duckdb")
    assert sql.count("\n") > 5 and "{table}" not in sql and "\n\n" not in sql
    assert sql.lstrip().upper().startswith("WITH")


@pytest.mark.parametrize("dialect", ["bigquery", "snowflake", "clickhouse", "spark", "postgres"])
@pytest.mark.parametrize("name", ["steps", "transitions"])
def test_statements_travel(name, dialect, samples):
    sqlglot = pytest.importorskip("sqlglot")
    sql = _statements(samples)[name](dialect)
    assert sqlglot.parse_one(sql, read=dialect) is not None


def test_a_statement_runs_nothing_and_keeps_its_values(samples):
    touchpoints = workspace.open(samples).touchpoints
    sql = sql_of(funnel.steps, touchpoints, ["a\n\nb", "it's"], within=None)
    assert "'a\n\nb'" in sql and "'it''s'" in sql
    with pytest.raises(PerfnbError, match="runs no statement"):
        sql_of(_nothing, touchpoints)


def _nothing(table):
    return table


# --- periods


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        ("2024", date(2024, 1, 1), date(2025, 1, 1)),
        ("2024-02", date(2024, 2, 1), date(2024, 3, 1)),
        (" 2025-12 ", date(2025, 12, 1), date(2026, 1, 1)),
        ("2025-08-04..2025-08-04", date(2025, 8, 4), date(2025, 8, 5)),
        ("last 28 days", date(2025, 8, 4), date(2025, 9, 1)),
        ("last month", date(2025, 8, 1), date(2025, 9, 1)),
    ],
)
def test_periods(text, since, until):
    period = Period.parse(text, end=date(2025, 9, 1))
    assert (period.since, period.until) == (since, until)
    assert period.previous().until == since and period.previous().days == period.days == (until - since).days
    assert period.year_before().since.weekday() == since.weekday()
    assert Period.parse(str(period)) == period


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-13",
        "2025-00",
        "0000",
        "9999",
        "2025-02-30..2025-03-01",
        "2025-08-05..2025-08-03",
        "last 0 days",
        "last 28 days",
        "last 999999 days",
        "august",
        "2025-8",
        "202508",
    ],
)
def test_no_periods(text):
    end = date(2025, 9, 1) if text != "last 28 days" else None
    with pytest.raises(BadParameter):
        Period.parse(text, end=end)


def test_a_period_is_made_of_days():
    for since, until in (("2025-08-01", "2025-09-01"), (datetime(2025, 8, 1), datetime(2025, 9, 1))):
        with pytest.raises(BadParameter, match="is no day"):
            Period(since, until)


def test_durations():
    assert duration("7 days") == duration("1 week") == duration(timedelta(7)) == timedelta(7)
    assert duration(" 1.5 hours ") == duration("90 minutes") == timedelta(minutes=90)
    for text in ("", "7", "days", "-1 days", "7 Tage", "1 month", "1e3 days", "٣ days", None, 7, "9" * 15 + " weeks"):
        with pytest.raises(BadParameter):
            duration(text)


# --- numbers and words


def test_numbers_in_two_languages():
    assert locale.number(1234.5, "en", 1) == "1,234.5" and locale.number(1234.5, "de", 1) == "1.234,5"
    assert locale.money(1234.5, "EUR", "de") == "1.234,50\N{NO-BREAK SPACE}€"
    assert locale.money(1234.5, "EUR", "en") == "€1,234.50"
    assert locale.money(-1234.5, "EUR", "en") == "\N{MINUS SIGN}€1,234.50"
    assert locale.money(-0.001, "EUR", "en") == "€0.00"
    assert locale.share(0.1234, "de") == "12,3\N{NO-BREAK SPACE}%"
    assert locale.day(date(2025, 8, 31), "de") == "31.08.2025" and locale.day(date(2025, 8, 31)) == "31 Aug 2025"
    assert locale.signed("5", 5) == "+5" and locale.signed("–", float("inf")) == "–"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), pd.NA, pd.NaT, np.float64("nan")])
def test_what_is_absent_is_a_dash(value):
    assert {locale.number(value), locale.share(value), locale.money(value, "EUR"), locale.day(value)} == {"–"}


@pytest.mark.parametrize("currency", [None, "", float("nan"), pd.NA])
def test_amounts_without_a_currency(currency):
    assert locale.money(5, currency) == "5.00"


def test_unknown_languages():
    with pytest.raises(BadParameter, match="language 'fr'"):
        locale.text("show.empty", "fr")
    with pytest.raises(BadParameter, match="language 'fr'"):
        vocabulary.describe("rate").label("fr")


def _words(language):
    with resources.files("perfnb.words").joinpath(f"{language}.toml").open("rb") as file:
        return dict(_leaves(tomllib.load(file)))


def _leaves(node, path=()):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def test_both_languages_have_the_same_words():
    en, de = _words("en"), _words("de")
    assert set(en) <= set(de)
    # English definitions and some values are words already: they stand for themselves.
    assert {path[0] for path in set(de) - set(en)} <= {"definition", "values"}


def test_both_languages_have_the_same_places():
    en, de = _words("en"), _words("de")
    for path, text in en.items():
        places = [{field for _, field, _, _ in string.Formatter().parse(one) if field} for one in (text, de[path])]
        assert places[0] == places[1], path


def test_every_column_has_both_labels():
    known = [column for table in (*vocabulary.TABLES, "results") for column in vocabulary.of(table).values()]
    assert len(known) > 100
    for column in known:
        assert column.en and column.de and column.meaning_en and column.meaning_de, column
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name), column
    names = [(column.table, column.name) for column in vocabulary._all()]
    assert len(names) == len(set(names)) == len(known)
    assert vocabulary.describe("nope") is None


# --- printed tables

EVIL = ["<script>alert(1)</script>", "$a$ \\(b\\)", "=HYPERLINK(1)", "*bold* & 'x'"]


def _texts(shown):
    return re.findall(r"<td[^>]*>(.*?)</td>", shown._repr_html_(), re.DOTALL)


def test_text_from_data_stays_text():
    shown = tables.show(pd.DataFrame({"campaign": EVIL, "clicks": [1, 2, 3, 4]}))
    assert [row[0] for row in shown.cells] == EVIL
    page = shown._repr_html_()
    assert "<script>" not in page
    # A dollar or a backslash alone in its element starts no formula.
    assert not re.search(r"[$\\](?!</span>)", page)
    assert _texts(shown)[0] == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert _texts(shown)[4] == "=HYPERLINK(1)"
    wide = tables.across(
        pd.DataFrame({"campaign": EVIL, "model": EVIL, "credit": 1.0}),
        rows="campaign",
        columns="model",
        values="credit",
    )
    assert "<script>" not in wide._repr_html_()


RESULT = pd.DataFrame(
    {
        "channel": ["Paid", None],
        "rate": [0.12345, None],
        "credit": [1234.56, 0.04],
        "cost": [1234.567, None],
        "units": [1234, 5],
        "currency": ["EUR", "EUR"],
        "definition": ["closed, 7 days", "closed, 7 days"],
    }
)


def test_units_and_rounding_in_english_and_german():
    before = RESULT.copy(deep=True)
    assert tables.show(RESULT).cells == (
        ("Paid", "12.3\N{NO-BREAK SPACE}%", "1,234.6", "€1,234.57", "1,234"),
        ("", "–", "0.0", "–", "5"),
    )
    german = tables.show(RESULT, language="de")
    assert german.cells[0] == ("Paid", "12,3\N{NO-BREAK SPACE}%", "1.234,6", "1.234,57\N{NO-BREAK SPACE}€", "1.234")
    assert german.labels == ("Kanal", "Rate", "Zugerechnete Bestellungen", "Kosten", "Personen")
    assert german.caption == "Definition: geschlossen, 7 Tage"
    assert german.numbers == (False, True, True, True, True)
    pd.testing.assert_frame_equal(RESULT, before)


def test_each_row_has_its_own_currency():
    mixed = pd.DataFrame({"channel": ["a", "b", "c"], "cost": [1.0, 2.0, 3.0], "currency": ["EUR", "USD", None]})
    assert [row[1] for row in tables.show(mixed).cells] == ["€1.00", "$2.00", "3.00"]
    with pytest.raises(BadParameter, match="EUR and USD"):
        tables.across(mixed.assign(model="x"), rows="channel", columns="model", values="cost")


def test_what_cannot_be_shown_says_so():
    assert "nothing" in tables.show(RESULT, columns=["rate"], top=0)._repr_html_().lower()
    with pytest.raises(BadParameter, match=r"no column nope; found channel"):
        tables.show(RESULT, columns=["nope"])
    twice = pd.DataFrame({"channel": ["a", "a"], "model": ["x", "x"], "credit": [1, 2]})
    with pytest.raises(BadParameter, match="more than one row for a and x"):
        tables.across(twice, rows="channel", columns="model", values="credit")


def test_across_keeps_order_and_marks_gaps():
    long = pd.DataFrame({"channel": ["a", "b", "a"], "model": ["linear", "linear", "first"], "credit": [1, 2, 3]})
    wide = tables.across(long, rows="channel", columns="model", values="credit", language="de")
    assert wide.labels == ("Kanal", "Linear", "Erster Kontakt")
    assert wide.cells == (("a", "1,0", "3,0"), ("b", "2,0", "–"))


def test_spark_without_java_says_what_it_needs(tmp_path):
    pytest.importorskip("pyspark")
    code = (
        "from perfnb import engine\n"
        "try:\n    engine.connect('spark://local[1]')\n"
        "except Exception as error:\n    print(repr(error))"
    )
    bare = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    run = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout.startswith("PerfnbError") and "Java 17" in run.stdout
