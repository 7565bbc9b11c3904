"""ClickHouse, embedded, by URL: `chdb://`."""

import itertools
import re
from dataclasses import replace

import pyarrow as pa
from chdb.session import Session
from chdb.state.sqlitelike import ChdbError  # what a session raises; chdb.ChdbError is another class

from perfnb.engine import connect, identifier
from perfnb.engine.dialects import as_duckdb, numbered, translate
from perfnb.errors import UnreadableData

_BATCH = 1_000_000  # rows
# Types that mean the same to both; columns of others, which no analysis of ours looks into, become texts.
_COMMON = re.compile(r"U?(TINY|SMALL|BIG)?INT(EGER)?|FLOAT|DOUBLE|BOOLEAN|VARCHAR|DATE|TIMESTAMP|DECIMAL\(\d+,\d+\)")


class ClickHouse:
    """Runs statements, translated from DuckDB's dialect, on an embedded ClickHouse.

    DuckDB is its `reader`: it opens files and frames and reads their types as strictly as
    everywhere. What it read, `take` copies into tables of a folder that lives as long as
    the engine.
    """

    name = "chdb"
    errors = (ChdbError,)

    def __init__(self):
        self.reader = connect("duckdb")
        self.session = Session()
        self.session.query("CREATE DATABASE perfnb")
        self._names = (f"perfnb.t_{n}" for n in itertools.count())

    def micros(self, expression):
        return self.reader.micros(expression)

    def take(self, table):
        """The reader's Table as one of this engine, its rows copied, some at a time."""
        types = {name: kind if _COMMON.fullmatch(kind) else "VARCHAR" for name, kind in table.columns.items()}
        columns = ", ".join(
            identifier(name)
            if kind == table.columns[name]
            else f"CAST({identifier(name)} AS VARCHAR) AS {identifier(name)}"
            for name, kind in types.items()
        )
        name = next(self._names)
        found = self.reader.connection.sql(f"SELECT {columns} FROM ({table.sql}) AS given")
        batches = (getattr(found, "to_arrow_reader", None) or found.fetch_arrow_reader)(_BATCH)
        create = f"CREATE TABLE {name} ENGINE = MergeTree ORDER BY tuple() AS"
        self._load(create, pa.Table.from_batches([], batches.schema))
        for batch in batches:
            self._load(f"INSERT INTO {name}", pa.Table.from_batches([batch]))
        return replace(table, engine=self, sql=f"SELECT * FROM {name}", columns=types)

    def keep(self, sql):
        """Run a statement once and keep its rows; SQL that reads them again."""
        name = next(self._names)
        self._run(f"CREATE TABLE {name} ENGINE = MergeTree ORDER BY tuple() AS {translate(sql, 'clickhouse')}")
        return f"SELECT * FROM {name}"

    def drop(self, sql):
        """Give back the room of rows that `keep` kept."""
        self._run(f"DROP TABLE {sql.removeprefix('SELECT * FROM ')}")

    def fetch(self, sql):
        """The result of a statement as a pandas frame, in the types that DuckDB gives."""
        return as_duckdb(self._run(translate(sql, "clickhouse"))).to_pandas()

    def sums(self, sql, texts):
        """{column: array}; of `texts` (each row's place in the names, −1 for none; the names)."""
        return numbered(self.fetch(sql), texts)

    def cause(self, error):
        """What an engine's error says, in one line."""
        return re.sub(r"\s+", " ", str(error)).strip()

    def _load(self, command, rows):
        self.session.query(f"{command} SELECT * FROM Python(rows)")  # that finds the rows by their name here

    def _run(self, sql):
        try:
            return self.session.query(sql, "ArrowTable")
        except ChdbError as error:
            raise UnreadableData(self.cause(error)) from None
