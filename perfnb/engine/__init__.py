"""Engines that run SQL, and the lazy `Table` that models read.

A model composes one statement in DuckDB's dialect (portable subset) and runs
it once; the engine translates it where it is not DuckDB. Values and names
enter a statement only through `literal` and `identifier`.
"""

import functools
import importlib.util
import math
import numbers
import re
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from perfnb.errors import BadParameter, MissingColumns, MissingTable, PerfnbError
from perfnb.period import Period

# Rows that models add for what has no name in the data; a channel that is really called so is put in quotes.
OWN_WORDS = (
    *("(start)", "(end)", "(conversion)", "(no touch)", "(baseline)", "(other)", "(unknown)"),
    *("(no stage)", "(not entered)", "(nothing)", "(goes on)"),
)

__all__ = ["Table", "connect", "identifier", "label", "labelled", "literal", "sql_of", "translated"]

_OUTSIDE = 0.1  # share of a period's days that may lie before or after a log of events
# Quoted values and names first: an event may be called "{table}".
_PLACE = re.compile(r"""'[^']*'|"[^"]*"|\{table\}""")


def identifier(name):
    """`name` as a quoted SQL identifier."""
    return '"' + str(name).replace('"', '""') + '"'


def literal(value):
    """`value` (text, number, truth value or None) as an SQL literal."""
    if value is None:
        return "NULL"
    value = value.item() if hasattr(value, "item") else value  # numpy's scalars
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise BadParameter(f"{value} is no number that a statement can hold")
        return repr(float(value))
    if "\0" in str(value):
        raise BadParameter(f"{value!r} holds a NUL, which no statement can. Remove it")
    return "'" + str(value).replace("'", "''") + "'"


def connect(url="duckdb"):
    """The engine behind `url`: "duckdb" (in memory), "spark://local[2]", "sc://host:15002" or "chdb://"."""
    if url == "duckdb":
        from perfnb.engine.duck import DuckDB

        return DuckDB()
    if url == "chdb://":
        _need(url, "chdb", "chdb", "sqlglot")
        return _chdb()
    if url.startswith(("spark://", "sc://")):
        _need(url, "spark", "pyspark", "sqlglot")
        from pyspark.errors import PySparkException

        try:
            return _spark(url)
        except PySparkException as error:
            raise PerfnbError(
                f"{url}: Spark does not start ({str(error).splitlines()[0]}). On this machine it needs Java 17 or "
                "newer, on the PATH or in JAVA_HOME; elsewhere, an address that answers"
            ) from None
    raise PerfnbError(
        f'engine {url!r} is not known; expected "duckdb", "spark://local[2]", "spark://host:port", '
        '"sc://host:port" (Spark Connect) or "chdb://" (ClickHouse in this process)'
    )


def _need(what, extra, *packages):
    missing = [name for name in packages if not importlib.util.find_spec(name)]
    if missing:
        raise PerfnbError(
            f'{what} needs {" and ".join(missing)}, which is not installed. Install it: pip install "perfnb[{extra}]"'
        )


@functools.cache
def _chdb():
    # One ClickHouse serves a process: it allows no second.
    from perfnb.engine.chdb import ClickHouse

    return ClickHouse()


@functools.cache
def _spark(url):
    # One Spark session serves a process: starting one takes seconds, and Spark allows no second.
    from perfnb.engine.spark import Spark

    return Spark(url)


def label(expression):
    """SQL for a name from the data as text: "(unknown)" for none, in quotes where it is one of our own words."""
    text = f"CAST({expression} AS VARCHAR)"
    ours = ", ".join(literal(word) for word in OWN_WORDS)
    # Our own words begin with a bracket: for almost every name, the first comparison is all.
    return (
        f"CASE WHEN {text} >= ')' THEN {text} WHEN {expression} IS NULL THEN '(unknown)' "
        f"WHEN {text} IN ({ours}) THEN CONCAT('“', {text}, '”') ELSE {text} END"
    )


def labelled(name):
    """A name from the data, which is not null, as `label` has it."""
    return f"“{name}”" if name in OWN_WORDS else name


@dataclass(frozen=True)
class Table:
    """A lazy handle: an engine and the SELECT that yields the rows, under perfnb's names.

    `columns` maps each column to its type as the engine spells it; `origin` is
    what errors call it (the file). An `absent` table has the right columns and
    no rows: it stands in where an analysis said that it can do without.
    """

    name: str
    engine: object = field(repr=False)
    sql: str = field(repr=False)
    columns: dict
    origin: str
    absent: bool = False

    def require(self, *names):
        """This table, if it has all of `names`; MissingColumns otherwise."""
        missing = [name for name in names if name not in self.columns]
        if missing:
            pairs = ", ".join(f'"{name}": "…"' for name in missing)
            raise MissingColumns(
                f"{self.name} ({self.origin}): missing column {', '.join(missing)}; "
                f"found {', '.join(self.columns) or 'none'}. "
                f"Map it: columns={{{pairs}}} (in a command: -p columns {missing[0]}=…)"
            )
        return self

    def has(self, name):
        """Whether the table has a column `name`."""
        return name in self.columns

    def column(self, name, type="VARCHAR"):
        """The quoted column, or a typed NULL where the table has none: for columns that may be absent."""
        return identifier(name) if self.has(name) else f"CAST(NULL AS {type})"

    def micros(self, name="timestamp"):
        """SQL for the column's moment as whole microseconds since 1970 (UTC)."""
        return self.engine.micros(identifier(name))

    def currency(self, *amounts):
        """The one currency of these columns of amounts; None where none is said, BadParameter where several are."""
        if amounts not in self._seen:
            self._seen[amounts] = self._currency(amounts)
        return self._seen[amounts]

    @functools.cached_property
    def _seen(self):
        """What a look into all rows once found: several analyses of a table ask the same."""
        return {}

    def _currency(self, amounts):
        known = " OR ".join(f"{identifier(amount)} IS NOT NULL" for amount in amounts if self.has(amount))
        if not (self.has("currency") and known):
            return None
        found = self.fetch(f"SELECT DISTINCT currency FROM {{table}} AS t WHERE currency IS NOT NULL AND ({known})")
        found = found["currency"]
        if len(found) > 1:
            raise BadParameter(
                f"{self.name} ({self.origin}): amounts in {', '.join(sorted(found))}; "
                "sums over two currencies mean nothing. Convert them, or keep one"
            )
        return found.iloc[0] if len(found) else None

    @property
    def moment(self):
        """The column that says when a row is of: timestamp, date, or None."""
        return next((name for name in ("timestamp", "date") if self.has(name)), None)

    def span(self):
        """The days of the rows as a Period, from the first to the last by `timestamp` or `date` (UTC)."""
        if self.moment is None:
            self.require("timestamp")
        moment = identifier(self.moment)
        seen = self.fetch(
            f"SELECT CAST(MIN({moment}) AS DATE) AS low, CAST(MAX({moment}) AS DATE) AS high FROM {{table}} AS t"
        ).iloc[0]
        low, high = (str(seen[end])[:10] for end in ("low", "high"))
        if low in ("NaT", "None", "nan"):
            raise BadParameter(f"{self.name} ({self.origin}): no rows with a time, so no period")
        return Period(date.fromisoformat(low), date.fromisoformat(high) + timedelta(days=1))

    def period(self, text):
        """The Period that a text means for this table: "2025-08", "last 28 days" …, or all its days for "all".

        BadParameter where more than a tenth of its days lie before or after the
        data: fewer may be quiet days at the edge of a log.
        """
        days = self.span()
        return days if text == "all" else self.whole(Period.parse(text, end=days.until), outside=_OUTSIDE)

    def whole(self, period, *, outside=0.0, called="the period"):
        """`period`, if the table's days cover it but for a share `outside`; BadParameter otherwise."""
        days = self.span()
        missing = max((days.since - period.since).days, 0) + max((period.until - days.until).days, 0)
        if missing > period.days * outside:
            raise BadParameter(
                f"{self.name} ({self.origin}): {min(missing, period.days)} of the {period.days} days of {called} "
                f"({period}) lie outside the data, which hold {days}. Choose days inside them"
            )
        return period

    def between(self, period):
        """The rows of a Period (UTC days); an absent table, and one without a time, stay as they are."""
        if self.absent or self.moment is None:
            return self
        moment = identifier(self.moment)
        bounds = f"{moment} >= TIMESTAMP '{period.since} 00:00:00' AND {moment} < TIMESTAMP '{period.until} 00:00:00'"
        return replace(self, sql=f"SELECT * FROM ({self.sql}) AS t WHERE {bounds}")

    def fetch(self, sql):
        """Run a statement that reads `{table}` (this table's rows); a pandas frame of the result."""
        return self.engine.fetch(self.over(sql))

    def sums(self, sql, texts):
        """The same of numbers and days as {column: array}, of `texts` as (each row's place in the names, −1 for none;
        the names): without a frame it costs less.
        """
        return self.engine.sums(self.over(sql), texts)

    def over(self, sql):
        """The statement with this table's rows in the place of `{table}`."""
        return _PLACE.sub(lambda match: match[0] if match[0] != "{table}" else f"({self.sql})", sql)

    def rows(self, limit=None):
        """The rows as a pandas frame, all of them or the first `limit` (of no particular order)."""
        return self.fetch("SELECT * FROM {table} AS t" + (f" LIMIT {int(limit)}" if limit else ""))

    def count(self):
        """The number of rows."""
        return int(self.fetch("SELECT COUNT(*) AS n FROM {table} AS t")["n"].iloc[0])


def absent(name, engine, types, location):
    """An empty Table with the columns `types`, for a table that `location` does not have."""
    if not types:
        raise MissingTable(f"{location}: no table {name}")
    nulls = ", ".join(f"CAST(NULL AS {type}) AS {identifier(column)}" for column, type in types.items())
    return Table(name, engine, f"SELECT {nulls} WHERE 1 = 0", dict(types), f"not in {location}", absent=True)


class _Captured(Exception):
    def __init__(self, sql):
        self.sql = sql


class _Recorder:
    batches = None  # what is recorded is the statement of every engine

    def __init__(self, engine):
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def fetch(self, sql):
        raise _Captured(sql)

    def sums(self, sql, texts):
        raise _Captured(sql)


def sql_of(function, table, *arguments, dialect="duckdb", **options):
    """The first statement that `function(table, …)` would run, as text to read or to paste elsewhere.

    `dialect` is "bigquery", "clickhouse", "databricks", "duckdb", "postgres", "snowflake" or "spark";
    for all but DuckDB's, sqlglot must be installed. What the table is called stays: see `funnel.sql`.
    """
    try:
        function(replace(table, engine=_Recorder(table.engine)), *arguments, **options)
    except _Captured as captured:
        sql = captured.sql
    else:
        raise PerfnbError(f"{function.__name__} runs no statement")
    if dialect == "duckdb":
        return re.sub(r"('[^']*'|\"[^\"]*\")|\n\s*\n", lambda match: match[1] or "\n", sql)
    return translated(sql, dialect)


def translated(sql, dialect, **tables):
    """A statement in DuckDB's dialect as text in another, laid out to be read; reading `tables` by other names."""
    _need(f"dialect {dialect!r}", "sql", "sqlglot")
    from perfnb.engine.dialects import translate

    return translate(sql, dialect, pretty=True, tables=tables)
