"""DuckDB, embedded: the default engine."""

import itertools

import duckdb

from perfnb.engine import identifier, literal
from perfnb.errors import UnreadableData


class DuckDB:
    """Runs statements on an in-memory DuckDB; attaches a `.duckdb` file read-only when asked to."""

    name = "duckdb"

    def __init__(self):
        self.connection = duckdb.connect()
        # Offsets in texts ("…+02:00") count only in casts to TIMESTAMPTZ, read in the session's zone.
        self.connection.execute("SET TimeZone = 'UTC'")
        # Row order never carries meaning here, and keeping it costs memory.
        self.connection.execute("SET preserve_insertion_order = false")
        self._names = (f"perfnb_{n}" for n in itertools.count())

    def micros(self, expression):
        return f"EPOCH_US({expression})"

    def utc(self, expression, type):
        """SQL for a UTC TIMESTAMP from text or any timestamp; null where the text cannot be read."""
        if type == "TIMESTAMP_NS":
            return f"MAKE_TIMESTAMP(EPOCH_NS({expression}) // 1000)"
        if type == "VARCHAR":
            return f"TIMEZONE('UTC', TRY_CAST({expression} AS TIMESTAMPTZ))"
        if "TIME ZONE" in type or "TZ" in type:
            return f"TIMEZONE('UTC', {expression})"
        return f"CAST({expression} AS TIMESTAMP)"

    def from_epoch(self, expression, per_second):
        """SQL for a TIMESTAMP from an integer count of 1/`per_second` seconds since 1970."""
        if per_second > 1_000_000:
            return f"MAKE_TIMESTAMP(CAST({expression} AS BIGINT) // {per_second // 1_000_000})"
        return f"MAKE_TIMESTAMP(CAST({expression} AS BIGINT) * {1_000_000 // per_second})"

    def csv(self, path, columns, delimiter):
        """SQL that reads a CSV file as text columns, strictly: a row of another width is an error."""
        types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
        return (
            f"SELECT * FROM read_csv({literal(path)}, delim={literal(delimiter)}, quote='\"', escape='\"', "
            f"header=true, auto_detect=false, columns={{{types}}})"
        )

    def parquet(self, pattern):
        return f"SELECT * FROM read_parquet({literal(pattern)}, union_by_name=true)"

    def frame(self, arrow):
        """SQL that reads an Arrow table; the engine keeps it."""
        name = next(self._names)
        self.connection.register(name, arrow)
        return f"SELECT * FROM {identifier(name)}"

    def database(self, path):
        """Attach a DuckDB file read-only; its tables as {name: SQL}."""
        alias = next(self._names)
        try:
            self.connection.execute(f"ATTACH {literal(path)} AS {identifier(alias)} (READ_ONLY)")
        except duckdb.Error as error:
            raise UnreadableData(f"{path}: not a DuckDB database that can be opened ({_first(error)})") from None
        found = self.connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = ?", [alias]
        ).fetchall()
        return {
            table: f"SELECT * FROM {identifier(alias)}.{identifier(schema)}.{identifier(table)}"
            for schema, table in found
        }

    def columns(self, sql):
        """{column: type} of a statement's result."""
        return {row[0]: row[1] for row in self._run(f"DESCRIBE {sql}").fetchall()}

    def keep(self, sql):
        """Run a statement once and keep its rows; SQL that reads them again."""
        name = next(self._names)
        self._run(f"CREATE TEMP TABLE {identifier(name)} AS {sql}")
        return f"SELECT * FROM {identifier(name)}"

    def drop(self, sql):
        """Give back the memory of rows that `keep` kept."""
        self._run(f"DROP TABLE {sql.removeprefix('SELECT * FROM ')}")

    def fetch(self, sql):
        """The result of a statement as a pandas frame."""
        return self._run(sql).df()

    def _run(self, sql):
        try:
            return self.connection.execute(sql)
        except (duckdb.InvalidInputException, duckdb.ConversionException, duckdb.IOException) as error:
            raise UnreadableData(_first(error, lines=3)) from None


def _first(error, lines=1):
    return " ".join(line.strip() for line in str(error).splitlines()[:lines] if line.strip())
