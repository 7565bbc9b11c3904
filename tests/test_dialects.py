"""Statements travel: all that the models send keeps to what every engine has, parses elsewhere, and counts the same."""

import functools
import json
import random
import re
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pandas as pd
import pytest
from _funnel_reference import random_units
from _tables import CHDB, ENGINES, SAMPLES, SHARED, events

from perfnb import attribution, funnel, journey, kpi, workspace
from perfnb.engine.duck import DuckDB
from perfnb.errors import BadParameter
from perfnb.period import Period

sqlglot = pytest.importorskip("sqlglot")

from sqlglot import exp  # noqa: E402

from perfnb.engine.dialects import translate  # noqa: E402

WAREHOUSES = ("bigquery", "snowflake", "clickhouse")  # on Spark, statements run in other tests
AUGUST = Period(date(2025, 8, 1), date(2025, 9, 1))
STEPS = ["visit", "view_item", "add_to_cart", "order"]
LOG = ("user_id", "timestamp", "event", "device", "sequence")

# Every switch of a funnel at least once; with the published cases, where they are there.
RULES = {
    "best": {},
    "by two columns": {"by": ["device", "channel"]},
    "by the first event": {"by": "device", "by_from": "first"},
    "by all": {"by": "device", "by_from": "all"},
    "by the step": {"by": "device", "by_from": 2},
    "period": {"period": AUGUST},
    "inside": {"period": AUGUST, "follow_up": "inside"},
    "first": {"entry": "first"},
    "each": {"entry": "each"},
    "each with limits": {"entry": "each", "step_within": "1 day", "ties": "increase"},
    "sequential": {"entry": "sequential"},
    "sequential without a window": {"entry": "sequential", "within": None, "ties": "sequence"},
    "sequential, excluded": {"entry": "sequential", "exclude": "checkout"},
    "strict": {"order": "strict"},
    "strict with limits": {"order": "strict", "step_within": "1 hour", "exclude": "checkout"},
    "adjacent": {"order": "adjacent"},
    "any": {"order": "any"},
    "any after the first": {"order": "any_after_first", "entry": "first"},
    "limits": {"step_within": ["1 hour", None, "1 day"]},
    "sequence": {"ties": "sequence"},
    "increase": {"ties": "increase"},
    "shared": {"ties": "shared"},
    "repeats": {"steps": ["visit", "visit", ["visit", "order"]]},
    "grace": {"grace": "2 seconds"},
    "first touch": {"open": "first_touch"},
    "union": {"open": "union"},
    "excluded": {"exclude": "checkout"},
    "removed": {"exclude": {"event": "checkout", "effect": "remove", "after": 2}},
    "optional": {"optional": [2, 3]},
    "unit": {"unit": ["user_id", "device"]},
    "resolution": {"resolution": "1 second"},
    "mapping": {"steps": [{"event": "visit", "device": "mobile"}, {"device": None}, {"event": ["order"]}]},
}
FUNNELS = {
    "levels": lambda ws: funnel.levels(ws.touchpoints, STEPS),
    "mature": lambda ws: funnel.mature(ws.touchpoints, within="7 days"),
    "times": lambda ws: funnel.times(ws.touchpoints, STEPS, by="device"),
    "times from the first": lambda ws: funnel.times(ws.touchpoints, STEPS, anchor="first"),
    "differences": lambda ws: funnel.differences(
        ws.touchpoints, STEPS, one={"semantics": "mixpanel"}, other={"order": "strict"}
    ),
    "trend": lambda ws: funnel.trend(ws.touchpoints, STEPS, within="7 days", by="device"),
    "trend by month": lambda ws: funnel.trend(ws.touchpoints, STEPS, within="7 days", every="month"),
    "time to convert": lambda ws: funnel.time_to_convert(ws.touchpoints, STEPS, within="7 days", by="device"),
    "next action": lambda ws: funnel.next_action(ws.touchpoints, STEPS),
    "before and after": lambda ws: funnel.before_after(
        ws.touchpoints, STEPS, date=date(2025, 8, 1), within="7 days", by="device"
    ),
    "drivers": lambda ws: funnel.drivers(ws.touchpoints, ["visit", "order"], within="7 days"),
    "levers": lambda ws: funnel.levers(ws.touchpoints, STEPS),
}
JOURNEYS = {
    "stages": lambda ws: journey.stages(ws.touchpoints),
    "contacts": lambda ws: journey.contacts(ws.touchpoints),
    "frequent": lambda ws: journey.frequent(ws.touchpoints),
    "flows": lambda ws: journey.flows(ws.touchpoints),
    "transitions": lambda ws: journey.transitions(ws.touchpoints),
    "transitions, overlapping": lambda ws: journey.transitions(
        ws.touchpoints, repeats="overlap", lookback="7 days", direct="drop_last", nulls="persons", period=AUGUST
    ),
    "transitions of the first": lambda ws: journey.transitions(
        ws.touchpoints, count="first", direct="drop", nulls="none", events=["visit", "checkout"]
    ),
    "paths": lambda ws: journey.paths(ws.touchpoints, transform="frequency"),
    "paths of the first": lambda ws: journey.paths(ws.touchpoints, transform="first"),
    "steps": lambda ws: journey.step_matrix(ws.touchpoints, by="device"),
    "steps to the end": lambda ws: journey.step_matrix(ws.touchpoints, anchor="(end)"),
    "steps around": lambda ws: journey.step_matrix(ws.touchpoints, anchor={"event": "add_to_cart"}, occurrence="last"),
    "loops": lambda ws: journey.loops(ws.touchpoints),
    "retention": lambda ws: journey.retention(ws.touchpoints),
    "sessions": lambda ws: journey.sessions(ws.touchpoints),
    "steps of sessions": lambda ws: funnel.steps(
        journey.with_sessions(ws.touchpoints), STEPS, unit=["user_id", "session_no"]
    ),
    "satisfaction": lambda ws: journey.satisfaction(ws.surveys),
    "map": lambda ws: journey.map(ws.touchpoints, campaigns=ws.campaigns, surveys=ws.surveys, draws=2),
    "map of events": lambda ws: journey.map(
        ws.touchpoints, surveys=ws.surveys, touchpoint="event", outcome="nps", draws=2
    ),
    "emotion": lambda ws: journey.emotion(ws.touchpoints, surveys=ws.surveys),
    "peak and end": lambda ws: journey.peak_end(ws.touchpoints, surveys=ws.surveys),
    "segments": lambda ws: journey.segments(ws.touchpoints, orders=ws.orders),
}
CREDITS = {
    "rules": lambda ws: attribution.rules(ws.touchpoints, by=["campaign"]),
    "rules in a period": lambda ws: attribution.rules(ws.touchpoints, period=AUGUST, direct="drop"),
    "markov": lambda ws: attribution.markov(ws.touchpoints, order=2),
    "shapley": lambda ws: attribution.shapley(ws.touchpoints),
    "shapley_ordered": lambda ws: attribution.shapley_ordered(ws.touchpoints),
    "probabilistic": lambda ws: attribution.probabilistic(ws.touchpoints),
    "hazard": lambda ws: attribution.hazard(ws.touchpoints),
    "roles": lambda ws: attribution.roles(ws.touchpoints),
    "credit": lambda ws: attribution.credit(ws.touchpoints, model="linear", by=("channel", "campaign")),
    "compare": lambda ws: attribution.compare(
        [attribution.rules(ws.touchpoints, models=["linear"])], campaigns=ws.campaigns, period=AUGUST
    ),
}


def figures(ws):
    return kpi.figures(ws.campaigns, touchpoints=ws.touchpoints, orders=ws.orders)


KPIS = {
    "base": lambda ws: kpi.base(figures(ws), period=AUGUST),
    "explain": lambda ws: kpi.explain(figures(ws), period=AUGUST, draws=2),
    "value": lambda ws: kpi.value(ws.campaigns, "cvr", by=("channel",)),
    "daily": lambda ws: kpi.daily(figures(ws), by=("channel",)),
    "track": lambda ws: kpi.track(figures(ws), kpi.targets(ws.targets)),
    "alerts": lambda ws: kpi.alerts(figures(ws)),
    "before and after": lambda ws: kpi.before_after(figures(ws), kpi="orders", day=date(2025, 8, 1)),
    "in a period": lambda ws: ws.touchpoints.between(AUGUST).count(),
}


def published():
    path = SHARED / "cases/funnel/cases.json"
    for case in json.loads(path.read_text())["cases"] if path.exists() else ():
        said = dict(case["switches"])
        within, hops = said.pop("within_s"), said.pop("step_within_s")
        limits = [None if limit is None else timedelta(seconds=limit) for limit in [within, *(hops or [])]]
        said |= {"within": limits[0]} | ({"step_within": limits[1:]} if hops else {})
        yield case["id"], {"steps": case["steps"], **said}


def funnel_of(said):
    return lambda ws: funnel.steps(ws.touchpoints, **{"steps": STEPS, **said})


CALLS = {
    **{f"funnel, {name}": funnel_of(said) for name, said in RULES.items()},
    **{f"funnel, {name}": call for name, call in FUNNELS.items()},
    **{f"journey, {name}": call for name, call in JOURNEYS.items()},
    **{f"attribution, {name}": call for name, call in CREDITS.items()},
    **{f"kpi, {name}": call for name, call in KPIS.items()},
}
CASES = {f"funnel, case {name}": funnel_of(said) for name, said in published()}
# What leaves the portable subset, where, and why it may.
EXCEPTIONS = {
    # Attempts one after the other are no window: where the next begins depends on where the last ended.
    "With": re.compile("^funnel, (sequential|case (mx-exclusion-totals|dd-totals))"),
    # With a grace, a step of the near future counts: rows up to a distance, in whole microseconds.
    "RANGE": re.compile("^funnel, (grace|differences|case mx)"),
    # Paths of any length as one text; BigQuery, Snowflake, Spark say it in other words, ClickHouse in many.
    "GroupConcat": re.compile("^(journey, paths|attribution, (shapley|probabilistic|roles))"),
    # The lesser or greater of two known numbers (of null and a number it is one here and the other there).
    "Least": re.compile("^attribution, hazard"),
    "Greatest": re.compile("^attribution, hazard"),
}
# All that statements may call: what is here, every engine has, and sqlglot translates (EPOCH_US: perfnb does).
KNOWN = """
Abs And Avg Case Cast Coalesce Concat Count DenseRank EPOCH_US Exists Exp FirstValue Floor If Lag Lead Ln Lower MD5 Max
Min Mod Nullif Or Pow Round RowNumber Sqrt Substring Sum Trim Variance
"""
PORTABLE = set(KNOWN.split())


@pytest.fixture(scope="module")
def shop():
    ws = workspace.open(SAMPLES)
    found = ws.touchpoints
    numbered = f'SELECT given.*, 0 AS "sequence" FROM ({found.sql}) AS given'
    ws.touchpoints = replace(found, sql=numbered, columns=found.columns | {"sequence": "BIGINT"})
    for name in ("campaigns", "orders", "surveys", "targets"):
        getattr(ws, name).count()  # opened: from here on, only models send statements
    return ws


@pytest.fixture(scope="module")
def sent(shop):
    """A function: the result of a call, and the statements that it sent to DuckDB (in their order, each once)."""
    run = DuckDB._run

    @functools.cache
    def recorded(name):
        found = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DuckDB, "_run", lambda self, sql, *then: found.append(sql) or run(self, sql, *then))
            result = (CALLS | CASES)[name](shop)
        reading = [sql.split(" AS ", 1)[1] if sql.startswith("CREATE") else sql for sql in found]
        return result, [sql for sql in dict.fromkeys(reading) if sql.startswith(("SELECT", "WITH"))]

    return recorded


@pytest.fixture(scope="module")
def sent_by_cases(sent):
    """The statements of the published cases: (name, statement), of those that differ in numbers and names only one."""
    shapes = {re.sub(r"\d+|'[^']*'", "…", sql): (name, sql) for name in CASES for sql in sent(name)[1]}
    return list(shapes.values())


def leaves_the_subset(name, sql):
    """What in a statement not every engine has, but for the exceptions of its call."""
    found = set(re.findall("NULLS FIRST|NULLS LAST", sql))
    for node in sqlglot.parse_one(sql, read="duckdb").walk():
        if isinstance(node, exp.Func):
            found.add(node.name.upper() if isinstance(node, exp.Anonymous) else type(node).__name__)
        elif isinstance(node, (exp.Qualify, exp.Filter, exp.Array, exp.Bracket, exp.Lambda, exp.Pivot, exp.Interval)):
            found.add(type(node).__name__)
        elif isinstance(node, exp.Join):
            found |= {node.method} - {""}
        elif isinstance(node, exp.With) and node.recursive:
            found.add("With")
        elif isinstance(node, exp.Group) and node.args.get("all"):
            found.add("GROUP BY ALL")
        elif isinstance(node, exp.Star):
            found |= {key for key, value in node.args.items() if value}
        elif isinstance(node, exp.WindowSpec):
            ends = [end for end in (node.args["start"], node.args["end"]) if not isinstance(end, str)]
            if node.args["kind"] == "RANGE" or not all(end.is_int for end in ends):
                found.add("RANGE" if all(end.is_int for end in ends) else "RANGE of something else than whole numbers")
            found |= {"EXCLUDE"} if node.args.get("exclude") else set()
        elif isinstance(node, exp.Identifier) and node.name.lower() in ("timestamp", "at") and not node.quoted:
            found.add(f"unquoted {node.name}")
    return {one for one in found - PORTABLE if not (one in EXCEPTIONS and EXCEPTIONS[one].search(name))}


@pytest.mark.parametrize("name", CALLS)
def test_statements_keep_to_what_every_engine_has(name, sent):
    _, statements = sent(name)
    assert statements
    for sql in statements:
        assert leaves_the_subset(name, sql) == set(), sql


def test_statements_of_published_cases_keep_to_what_every_engine_has(sent_by_cases):
    for name, sql in sent_by_cases:
        assert leaves_the_subset(name, sql) == set(), (name, sql)


def test_what_leaves_the_subset_is_seen():
    for sql, what in (
        ("SELECT LIST(a ORDER BY b) FROM t", {"ArrayAgg"}),
        ("SELECT * EXCLUDE (a) FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY a) = 1", {"except_", "Qualify"}),
        ("SELECT MEDIAN(a), a[1], LIST_TRANSFORM(b, x -> x + 1) FROM t GROUP BY ALL", {"Median", "GROUP BY ALL"}),
        ("SELECT timestamp FROM t ASOF JOIN s ON t.a = s.a AND t.b >= s.b", {"unquoted timestamp", "ASOF"}),
        ("SELECT SUM(a) OVER (ORDER BY b RANGE BETWEEN INTERVAL 1 DAY PRECEDING AND CURRENT ROW EXCLUDE GROUP) FROM t",
         {"RANGE of something else than whole numbers", "EXCLUDE", "Interval"}),
        ("SELECT SUM(a) OVER (ORDER BY b NULLS LAST RANGE BETWEEN 1 PRECEDING AND CURRENT ROW) FROM t",
         {"NULLS LAST", "RANGE"}),
    ):  # fmt: skip
        assert what <= leaves_the_subset("", sql), sql


def travels(sql, dialect):
    """The statement in another dialect, parsed there and read back as it was."""
    text = translate(sql, dialect)
    (parsed,) = sqlglot.parse(text, read=dialect, error_level=sqlglot.ErrorLevel.RAISE)
    assert not isinstance(parsed, exp.Command)
    without = re.sub("'[^']*'|EPOCH_MICROSECOND", "", text)
    for word in ("EPOCH_", "TIME_TO_UNIX", "NULLS FIRST", "NULLS LAST", "QUALIFY", "ASOF", "Variant"):
        assert word not in without, (word, text)
    if dialect == "snowflake":
        # It has START and FOLLOWING for itself, and takes event for EVENT, which is not "event".
        assert all(name.quoted for name in parsed.find_all(exp.Identifier))


@pytest.mark.parametrize("name", CALLS)
def test_statements_parse_in_other_dialects(name, sent):
    for sql in sent(name)[1]:
        for dialect in WAREHOUSES:
            travels(sql, dialect)


def test_statements_of_published_cases_parse_in_other_dialects(sent_by_cases):
    for _, sql in sent_by_cases:
        for dialect in WAREHOUSES:
            travels(sql, dialect)


# What a funnel is in a warehouse


def runs(text, engine):
    """The result of a statement as it is written, on an engine of the dialect."""
    if engine.name == "duckdb":
        return engine.connection.execute(text).df()
    if engine.name == "chdb":
        return engine.session.query(text, "ArrowTable").to_pandas()
    return engine.session.sql(text).toPandas()


UNITS = random_units(random.Random(3), 80, names="abcdx", span=8, most=12)
ROWS = [(unit, e.t * 3600, e.name, e.device, e.sequence) for unit, happened in UNITS.items() for e in happened]
IN_LETTERS = {"visit": "a", "order": "b", "checkout": "x"}


def lettered(said):
    """Switches for the sample as those for the log of letters."""
    if isinstance(said, str):
        return IN_LETTERS.get(said, said)
    if isinstance(said, dict):
        return {name: lettered(value) for name, value in said.items()}
    return [lettered(one) for one in said] if isinstance(said, list) else said


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("engine", ENGINES)
def test_the_statement_of_a_funnel_counts_what_the_funnel_counts(name, engine):
    said = {"steps": ["a", "b", "c", "d"], "within": "3 hours", **lettered(RULES[name])}
    said["by"] = ["device"] if said.get("by") else None
    if "period" in said:
        said["period"] = Period(date(2025, 1, 1), date(2025, 1, 2))
    if engine not in ("duckdb", CHDB) and name not in ("best", "by the step", "each", "strict", "removed"):
        pytest.skip("Spark runs the same statements in other tests, and takes a second for each")
    log = events(ROWS, LOG, engine=engine)
    expected = funnel.steps(log, **said)
    dialect = {"chdb": "clickhouse"}.get(log.engine.name, log.engine.name)
    kept = log.engine.keep(log.sql).removeprefix("SELECT * FROM ")
    text = funnel.sql(log, dialect=dialect, table=kept, **said)
    found = runs(text, log.engine)
    columns = [*(said["by"] or []), "step", "name", "units", "from_units"]
    keys = [*(said["by"] or []), "step"]
    found, expected = (table.sort_values(keys, ignore_index=True) for table in (found, expected))
    pd.testing.assert_frame_equal(found[columns], expected[columns], check_dtype=False)
    np.testing.assert_allclose(found["rate"].astype(float), expected["rate"].astype(float))
    assert text.startswith(f"-- {expected['definition'].iloc[0].split(', group')[0].split(', in every')[0]}")


def test_a_table_and_columns_of_other_names_are_read_by_these():
    log = events(ROWS, LOG)
    kept = log.engine.keep(f'SELECT user_id AS "Uid \\", "timestamp" AS "At", event AS name FROM ({log.sql}) AS t')
    columns = {"user_id": "Uid \\", "timestamp": "At", "event": "name"}
    table = kept.removeprefix("SELECT * FROM ")
    text = funnel.sql(log, ["a", "b"], dialect="duckdb", table=table, columns=columns)
    assert runs(text, log.engine)["units"].tolist() == funnel.steps(log, ["a", "b"])["units"].tolist()
    for dialect, theirs, shown in (
        ("bigquery", "my-project.shop.events", "FROM my-project.shop.events"),
        ("snowflake", "shop.public.events", "FROM shop.public.events"),
        ("clickhouse", "shop.events", "FROM shop.events"),
        ("databricks", "`a b`.events", "FROM `a b`.events"),
    ):
        text = funnel.sql(log, ["a", "b"], dialect=dialect, table=theirs, columns={"user_id": "uid"})
        assert shown in text and re.search('["`]uid["`] AS', text), text
    assert "FROM `a; DROP TABLE a`" in funnel.sql(log, ["a"], dialect="spark", table="a; DROP TABLE a")
    assert '"TIMESTAMP" AS "timestamp"' in funnel.sql(log, ["a"], dialect="snowflake")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"dialect": "mysql"}, "dialect 'mysql': expected one of 'bigquery'"),
        ({"dialect": "bigquery", "table": ""}, "table '': expected the name of a table"),
        ({"dialect": "bigquery", "columns": {"segment": "x"}}, "'segment' is not read by this funnel"),
        ({"dialect": "clickhouse", "grace": "1 hour"}, "2,147 seconds"),
    ],
)
def test_what_cannot_be_written_is_refused_by_name(said, message):
    with pytest.raises(BadParameter, match=message):
        funnel.sql(events(ROWS, LOG), ["a", "b"], **said)


@pytest.mark.parametrize("name", CALLS)
def test_no_result_depends_on_where_nulls_sort(name, shop, sent):
    """So no translation needs to say it."""
    result, _ = sent(name)
    shop.engine.connection.execute("SET default_null_order = 'nulls_first'")
    try:
        other = CALLS[name](shop)
    finally:
        shop.engine.connection.execute("RESET default_null_order")
    if isinstance(result, pd.DataFrame):
        pd.testing.assert_frame_equal(result, other)
    else:
        assert result == other or not isinstance(result, (int, Period))
