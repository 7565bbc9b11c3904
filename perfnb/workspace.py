"""The door for data: a folder, a DuckDB file or frames, opened as lazy tables under our names."""

import csv
import difflib
import functools
import gzip
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from perfnb import columns as vocabulary
from perfnb import engine as engines
from perfnb.engine import Table, identifier
from perfnb.errors import MissingTable, UnreadableData

__all__ = ["Workspace", "open"]

_TYPES = {
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "money": "DECIMAL(18, 6)",
    "boolean": "BOOLEAN",
}
_EXPECTED = {
    "timestamp": "a moment as 2025-08-31 13:05:00, with an offset as +02:00 where it is not UTC, "
    "or a whole number since 1970",
    "date": "a day as 2025-08-31",
    "integer": "a whole number without separators, as 1234",
    "number": "a number with a decimal point and no other separator, as 1234.5",
    "money": "an amount with a decimal point and no other separator, as 1234.50",
    "boolean": "true or false",
}
_FILES = (".csv", ".csv.gz", ".parquet")
_DELIMITERS = ",;\t|"
# Whole numbers since 1970 that mean a moment between 2000 and 2100: the ranges do not overlap.
_EPOCH_UNITS = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
_YEAR_2000, _YEAR_2100 = 946_684_800, 4_102_444_800


@dataclass(frozen=True)
class _Source:
    """Where a table's raw rows come from; `text` when every column is still text."""

    origin: str
    sql: str
    columns: dict
    text: bool = False


class Workspace:
    """The tables of one client: `.touchpoints`, `.campaigns`, `.orders`, `.surveys`, `.targets`, `.truth`.

    A table is read, and its types are checked, when it is first asked for. A
    table that is not there raises MissingTable, unless `optional` named it:
    then it is an absent Table, with the right columns and no rows.
    """

    def __init__(self, location, engine, sources, columns, optional):
        self.location = location
        self.engine = engine
        self._sources = sources
        self._columns = columns
        self._optional = optional

    def __repr__(self):
        return f"Workspace({self.location!r}: {', '.join(self._sources)})"

    @functools.cached_property
    def touchpoints(self):
        """One row per event of one person."""
        return self._table("touchpoints")

    @functools.cached_property
    def campaigns(self):
        """One row per day × channel × campaign."""
        return self._table("campaigns")

    @functools.cached_property
    def orders(self):
        """One row per order."""
        return self._table("orders")

    @functools.cached_property
    def surveys(self):
        """One row per answer."""
        return self._table("surveys")

    @functools.cached_property
    def targets(self):
        """One row per KPI and period."""
        return self._table("targets")

    @functools.cached_property
    def truth(self):
        """One row per channel of a simulated shop: what it really caused."""
        return self._table("truth")

    def has(self, table):
        """Whether the workspace holds `table`."""
        return table in self._sources

    def _table(self, name):
        known = vocabulary.of(name)
        if name in self._sources:
            return _canonical(name, self._sources[name], self._columns, self.engine)
        if name in self._optional:
            types = {column.name: _TYPES[column.type] for column in known.values()}
            return engines.absent(name, self.engine, types, self.location)
        raise MissingTable(
            f"{self.location}: no table {name}; found {', '.join(self._sources) or 'none'}. "
            f"Add {name}.csv or {name}.parquet with the columns {', '.join(known)} (as far as you have them), "
            f'or name the file: files={{"{name}": "…"}}'
        )


def open(location, *, columns=None, files=None, optional=(), engine="duckdb"):
    """Open `location` as a Workspace of lazy tables.

    `location` is a folder of CSV or Parquet files named after the tables
    (`touchpoints.csv`, `campaigns.parquet`, a folder `touchpoints/` of Parquet
    parts …), a `.duckdb` file, a mapping {"touchpoints": frame} of pandas or
    Arrow tables, or an engine's URL before a folder: "spark://local[2]/data_samples"
    ("spark://local[2]//srv/data" for an absolute path).

    `columns` maps our names to those found ({"user_id": "uid"}) and wins over a
    column that already has our name. `files` maps tables to files named
    otherwise ({"touchpoints": "events.csv"}). Tables in `optional` may be
    absent. Text is UTF-8. Moments come out as UTC microseconds (nanoseconds
    are cut); texts and frames without a time zone are read as UTC.

    Raises UnreadableData or MissingTable, naming the file, the column and the
    way out.
    """
    label = location if isinstance(location, str) else None
    if isinstance(location, str) and (match := re.fullmatch(r"((?:spark|sc)://[^/]+)/(.+)", location)):
        engine, location = match.groups()
    unknown = [name for name in (*(files or ()), *optional) if name not in vocabulary.TABLES]
    if unknown:
        raise MissingTable(f"{unknown[0]!r} is no table of a workspace; expected {', '.join(vocabulary.TABLES)}")
    backend = engines.connect(engine)
    if hasattr(location, "items"):
        sources, label = _from_frames(location, backend), "the mapping of frames"
    else:
        folder = Path(location)
        label = label or str(location)
        if not folder.exists():
            raise MissingTable(f"{location}: no such folder or file")
        sources = _from_folder(folder, files or {}, backend) if folder.is_dir() else _from_file(folder, backend)
    _check_mapping(columns or {}, sources, label)
    return Workspace(label, backend, sources, dict(columns or {}), tuple(optional))


def _from_frames(frames, backend):
    import pyarrow as pa

    sources = {}
    for name, frame in frames.items():
        if name not in vocabulary.TABLES:
            raise MissingTable(f"{name!r} is no table of a workspace; expected {', '.join(vocabulary.TABLES)}")
        if not isinstance(frame, pa.Table):
            _refuse_duplicates([str(column) for column in frame.columns], f"frame {name!r}")
            frame = pa.Table.from_pandas(frame, preserve_index=False)
        _refuse_duplicates(frame.column_names, f"frame {name!r}")
        sql = backend.frame(_plain(frame))
        sources[name] = _Source(f"frame {name!r}", sql, backend.columns(sql))
    return sources


def _plain(frame):
    """The Arrow table without dictionaries, and with moments as UTC microseconds, which every engine reads."""
    import pyarrow as pa

    for index, column in enumerate(frame.schema):
        values, kind = frame.column(index), column.type
        if pa.types.is_dictionary(kind):
            values = values.cast(kind.value_type)
        elif pa.types.is_timestamp(kind):
            values = values.cast(pa.timestamp("us", kind.tz), safe=False)
            if kind.tz:
                values = values.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
        elif pa.types.is_null(kind):
            values = values.cast(pa.string())
        else:
            continue
        frame = frame.set_column(index, column.name, values)
    return frame


def _from_folder(folder, files, backend):
    sources = {}
    for name in vocabulary.TABLES:
        if name in files:
            path = folder / files[name]
            if not path.exists():
                raise MissingTable(f"{path}: no such file (files= names it for {name})")
            found = [path]
        else:
            found = [folder / f"{name}{ending}" for ending in _FILES]
            found = [path for path in found if path.exists()]
            if (folder / name).is_dir() and any((folder / name).glob("*.parquet")):
                found.append(folder / name)
        if len(found) > 1:
            listed = " and ".join(path.name for path in found)
            raise UnreadableData(f"{folder}: {listed} both claim to be {name}. Keep one, or say which: files=…")
        if found:
            sources[name] = _read(found[0], backend)
    if not sources:
        listed = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise MissingTable(
            f"{folder}: no table found; expected files such as touchpoints.csv or campaigns.parquet, "
            f'found {listed}. Name a file that is called otherwise: files={{"touchpoints": "…"}}'
        )
    return sources


def _from_file(path, backend):
    if path.suffix not in (".duckdb", ".db"):
        raise UnreadableData(
            f"{path}: expected a folder or a .duckdb file. Open its folder, and name the file for its table: "
            f'workspace.open("{path.parent}", files={{"touchpoints": "{path.name}"}})'
        )
    if not hasattr(backend, "database"):
        raise UnreadableData(f"{path}: a .duckdb file is read by DuckDB only, not by {backend.name}")
    found = {name: sql for name, sql in backend.database(str(path)).items() if name in vocabulary.TABLES}
    return {name: _Source(f"{path.name}, table {name}", sql, backend.columns(sql)) for name, sql in found.items()}


def _read(path, backend):
    if path.stat().st_size == 0:
        raise UnreadableData(f"{path}: the file is empty; expected a header and rows. Export it again")
    if path.is_dir() or path.suffix == ".parquet":
        pattern = str(path / "*.parquet") if path.is_dir() else str(path)
        sql = backend.parquet(pattern)
        return _Source(path.name, sql, backend.columns(sql))
    if not path.name.endswith((".csv", ".csv.gz")):
        raise UnreadableData(f"{path}: expected .csv, .csv.gz or .parquet")
    header, delimiter = _header(path)
    return _Source(path.name, backend.csv(str(path), header, delimiter), dict.fromkeys(header, "VARCHAR"), text=True)


def _header(path):
    """The column names of a CSV file and the delimiter between them."""
    opener = gzip.open if path.suffix == ".gz" else Path.open
    try:
        with opener(path, mode="rt", encoding="utf-8-sig", newline="") as file:
            line = file.readline()
    except UnicodeDecodeError:
        raise UnreadableData(f"{path}: not UTF-8. Save it as CSV UTF-8") from None
    delimiter = max(_DELIMITERS, key=line.count)
    names = [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    if not any(names):
        raise UnreadableData(f"{path}: the first line is empty; expected the column names. Export it again")
    if "" in names:
        raise UnreadableData(f"{path}: column {names.index('') + 1} has no name in the first line. Name it")
    _refuse_duplicates(names, str(path))
    return names, delimiter


def _refuse_duplicates(names, origin):
    twice = [name for name, times in Counter(name.lower() for name in names).items() if times > 1]
    if twice:
        raise UnreadableData(
            f"{origin}: column {', '.join(twice)} appears more than once (capitals do not count). "
            "Rename or remove one of them"
        )


def _check_mapping(columns, sources, label):
    found = {name for source in sources.values() for name in source.columns}
    for ours, theirs in columns.items():
        if theirs not in found:
            near = difflib.get_close_matches(theirs, found, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UnreadableData(
                f'{label}: columns={{"{ours}": "{theirs}"}} names a column {theirs!r} that no table has; '
                f"{hint}Found: {', '.join(sorted(found))}"
            )


def _canonical(name, source, columns, backend):
    """The source's rows under our names and types, checked; columns that we do not know keep theirs."""
    known = vocabulary.of(name)
    theirs = {ours: column for ours, column in columns.items() if column in source.columns}
    renamed = set(theirs.values())
    for column in source.columns:
        if column not in renamed and column not in theirs:
            theirs[column] = column
    kinds = {ours: known[ours].type if ours in known else None for ours in theirs}
    # A text file is parsed once; Parquet and databases are read where they lie. (DuckDB also pushes a
    # TRY_CAST into its CSV reader, where it raises.)
    raw = backend.keep(source.sql) if source.text else source.sql
    casts = {
        ours: _cast(identifier(column), source.columns[column], kinds[ours], backend) for ours, column in theirs.items()
    }
    for ours, column in theirs.items():
        if kinds[ours] == "timestamp" and casts[ours] is None:
            casts[ours] = _epoch_cast(raw, column, source, backend)
    _refuse_unreadable(raw, theirs, casts, kinds, source, backend)
    selected = ", ".join(f"{casts[ours]} AS {identifier(ours)}" for ours in theirs)
    sql = f"SELECT {selected} FROM ({raw}) AS raw"
    if source.text:
        sql = backend.keep(sql)
        backend.drop(raw)
    return Table(name, backend, sql, backend.columns(sql), source.origin)


def _cast(column, found, kind, backend):
    """SQL that reads `column` as `kind`; None for moments whose form only the values tell."""
    blank = f"NULLIF(TRIM({column}), '')"
    if kind is None or kind == "text":
        if found == "VARCHAR":
            return f"CASE WHEN TRIM({column}) = '' THEN NULL ELSE {column} END"
        if kind is None:
            return column
        if found in ("DOUBLE", "FLOAT"):
            # Ids that pandas turned into floats because one was missing: 17.0 is the person 17.
            whole = f"TRY_CAST({column} AS BIGINT)"
            return f"CASE WHEN {whole} = {column} THEN CAST({whole} AS VARCHAR) ELSE CAST({column} AS VARCHAR) END"
        return f"CAST({column} AS VARCHAR)"
    if kind == "timestamp":
        if found == "VARCHAR" or not found.startswith(("TIMESTAMP", "DATE")):
            return None
        return backend.utc(column, found)
    value = blank if found == "VARCHAR" else column
    if kind in ("integer", "number", "money"):
        number = f"TRY_CAST({value} AS DOUBLE)"
        # NaN sorts above every number, so this keeps NaN and infinity out.
        finite = f"ABS({number}) < 1e300"
        if kind == "integer":
            return f"CASE WHEN {finite} AND {number} = FLOOR({number}) THEN TRY_CAST({value} AS BIGINT) END"
        return f"CASE WHEN {finite} THEN TRY_CAST({value} AS {_TYPES[kind]}) END"
    return f"TRY_CAST({value} AS {_TYPES[kind]})"


def _epoch_cast(raw, column, source, backend):
    """SQL for a moment held as text or as a whole number since 1970, whose unit its range tells."""
    name, found = identifier(column), source.columns[column]
    number = f"TRY_CAST({name} AS DOUBLE)"
    seen = backend.fetch(
        f"SELECT MIN({number}) AS low, MAX({number}) AS high, COUNT({number}) AS numbers FROM ({raw}) AS raw"
    ).iloc[0]
    if seen["numbers"] == 0:
        return backend.utc(f"NULLIF(TRIM(CAST({name} AS VARCHAR)), '')", "VARCHAR")
    for per_second in _EPOCH_UNITS:
        if _YEAR_2000 * per_second <= seen["low"] and seen["high"] < _YEAR_2100 * per_second:
            value = f"TRY_CAST({name} AS BIGINT)" if found == "VARCHAR" else name
            return backend.from_epoch(value, per_second)
    raise UnreadableData(
        f"{source.origin}: column {column} holds whole numbers from {seen['low']:.0f} to {seen['high']:.0f}, which "
        f"are no {', '.join(_EPOCH_UNITS.values())} since 1970 of the years 2000 to 2099. Give moments as texts"
    )


def _refuse_unreadable(raw, theirs, casts, kinds, source, backend):
    """One scan over all typed columns; UnreadableData for all that holds values of another type."""
    typed = [ours for ours in theirs if kinds[ours] not in (None, "text")]
    if not typed:
        return
    parts = []
    for index, ours in enumerate(typed):
        column = identifier(theirs[ours])
        given = f"{column} IS NOT NULL"
        if source.columns[theirs[ours]] == "VARCHAR":
            given = f"TRIM({column}) <> ''"
        bad = f"{given} AND ({casts[ours]}) IS NULL"
        parts.append(f"COUNT(CASE WHEN {bad} THEN 1 END) AS bad_{index}")
        parts.append(f"MIN(CASE WHEN {bad} THEN CAST({column} AS VARCHAR) END) AS example_{index}")
    counts = backend.fetch(f"SELECT COUNT(*) AS n, {', '.join(parts)} FROM ({raw}) AS raw").iloc[0]
    if counts["n"] == 0:
        raise UnreadableData(f"{source.origin}: a header but no rows. Export it again, or remove the file")
    problems = [
        f"{source.origin}: column {theirs[ours]}: {counts[f'bad_{index}']} of {counts['n']} values cannot be read, "
        f"for example {counts[f'example_{index}']!r}; expected {_EXPECTED[kinds[ours]]}"
        for index, ours in enumerate(typed)
        if counts[f"bad_{index}"]
    ]
    if problems:
        raise UnreadableData("\n".join(problems))
