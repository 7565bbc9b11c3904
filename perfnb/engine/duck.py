"""DuckDB, embedded: the default engine."""

import contextlib
import itertools
import re
import tempfile
import uuid
import warnings
from pathlib import Path

import duckdb

from perfnb.engine import identifier, literal
from perfnb.errors import UnreadableData


class DuckDB:
    """Runs statements on an in-memory DuckDB; attaches a `.duckdb` file read-only when asked to."""

    name = "duckdb"
    errors = (duckdb.Error,)

    def __init__(self):
        self.connection = duckdb.connect()
        # Offsets in texts ("…+02:00") count only in casts to TIMESTAMPTZ, read in the session's zone.
        self.connection.execute("SET TimeZone = 'UTC'")
        # Long statements would otherwise put a widget between a cell and its result. In Jupyter without ipywidgets
        # there is none, and DuckDB refuses the setting.
        with contextlib.suppress(duckdb.InvalidInputException):
            self.connection.execute("SET enable_progress_bar = false")
        # Row order never carries meaning here, and keeping it costs memory.
        self.connection.execute("SET preserve_insertion_order = false")
        # What does not fit into memory goes there, and not into the folder that Python was started in.
        folder = Path(tempfile.gettempdir()) / f"perfnb_{uuid.uuid4().hex}"
        self.connection.execute(f"SET temp_directory = {literal(folder)}")
        # Memory that a step of a statement gives back goes back at once: the next step's would come on top of it.
        self.connection.execute("SET allocator_flush_threshold = '8MB'")
        self.connection.execute("SET allocator_bulk_deallocation_flush_threshold = '8MB'")
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

    def from_micros(self, expression):
        """SQL for a TIMESTAMP from whole microseconds since 1970."""
        return f"MAKE_TIMESTAMP({expression})"

    def csv(self, path, columns, delimiter):
        """SQL that reads a CSV file as text columns, strictly; what the folder is called gives no column."""
        types = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in columns)
        sql = (
            f"SELECT * FROM read_csv({literal(path)}, delim={literal(delimiter)}, quote='\"', escape='\"', "
            f"header=true, auto_detect=false, hive_partitioning=false, columns={{{types}}})"
        )
        # In one column alone, an empty line would be a row.
        return sql if len(columns) > 1 else f"{sql} WHERE {identifier(columns[0])} IS NOT NULL"

    def parquet(self, paths):
        """SQL that reads Parquet files; where they lie (`country=DE/`) gives no column."""
        folder = Path(paths[0]).parent
        if len(paths) > 1 and not re.search(r"[*?\[]", str(folder)):
            files = literal(folder / "*.parquet")
        else:
            files = "[" + ", ".join(literal(path) for path in paths) + "]"
        return f"SELECT * FROM read_parquet({files}, union_by_name=true, hive_partitioning=false)"

    def frame(self, arrow):
        """SQL that reads an Arrow table; the engine keeps it."""
        name = next(self._names)
        self.connection.register(name, arrow)
        return f"SELECT * FROM {identifier(name)}"

    def database(self, path):
        """Attach a DuckDB file read-only; its tables and views as {schema.table: SQL}."""
        alias = next(self._names)
        try:
            self.connection.execute(f"ATTACH {literal(path)} AS {identifier(alias)} (READ_ONLY, TYPE duckdb)")
        except duckdb.Error as error:
            said = _first(error)
            in_use = "lock" in said or "already attached" in said
            way_out = "It is open elsewhere: close it there" if in_use else "Write it again with DuckDB"
            raise UnreadableData(f"{path}: not a DuckDB database that can be opened ({said}). {way_out}") from None
        found = self.connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_catalog = ?", [alias]
        ).fetchall()
        return {
            f"{schema}.{table}": f"SELECT * FROM {identifier(alias)}.{identifier(schema)}.{identifier(table)}"
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
        return self._run(sql, lambda result: result.df())

    def sums(self, sql, texts):
        """{column: array} of numbers and days; of `texts` (each row's place in the names, −1 for none; the names): by
        way of Arrow, in less time.
        """
        table = self._run(sql, _arrow)
        found = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            if name in texts:
                column = column.combine_chunks().dictionary_encode()
                found[name] = column.indices.fill_null(-1).to_numpy(zero_copy_only=False), column.dictionary.to_pylist()
            else:
                found[name] = column.to_numpy(zero_copy_only=False)
        return found

    def batches(self, sql, rows):
        """The result of a statement in its order, in parts of about so many rows: {column: array}.

        No other statement may run until all parts are taken.
        """
        # Without it, parts come in any order, that of ORDER BY or not.
        self.connection.execute("SET preserve_insertion_order = true")
        try:
            with _readable():
                for batch in _arrow_parts(self.connection.execute(sql), rows):
                    columns = zip(batch.schema.names, batch.columns, strict=True)
                    yield {name: column.to_numpy(zero_copy_only=False) for name, column in columns}
        finally:
            self.connection.execute("SET preserve_insertion_order = false")

    def cause(self, error):
        """What an engine's error says, in one line."""
        return _first(error, lines=3)

    def _run(self, sql, then=lambda result: result):
        with _readable():
            return then(self.connection.execute(sql))


@contextlib.contextmanager
def _readable():
    try:
        yield
    except (
        duckdb.InvalidInputException,
        duckdb.ConversionException,
        duckdb.IOException,
        duckdb.OutOfRangeException,
    ) as error:
        raise UnreadableData(_first(error, lines=3)) from None


def _arrow_parts(result, rows):
    with warnings.catch_warnings():  # of the copy that this makes of each part
        warnings.simplefilter("ignore")
        return (getattr(result, "to_arrow_reader", None) or result.fetch_record_batch)(rows)


def _arrow(result):
    with warnings.catch_warnings():  # of the copy that this makes of a small result
        warnings.simplefilter("ignore")
        return (getattr(result, "to_arrow_table", None) or result.fetch_arrow_table)()


def _first(error, lines=1):
    return " ".join(line.strip() for line in str(error).splitlines()[:lines] if line.strip())
