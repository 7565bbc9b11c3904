"""The door for data: a folder, a DuckDB file or frames, opened as lazy tables under our names."""

import contextlib
import csv
import difflib
import functools
import gzip
import re
import zlib
from collections import Counter
from pathlib import Path

from perfnb import columns as vocabulary
from perfnb import engine as engines
from perfnb.casts import TYPES, Source, cast, refuse_unreadable
from perfnb.engine import Table, identifier
from perfnb.errors import BadParameter, MissingTable, PerfnbError, UnreadableData

__all__ = ["Workspace", "open"]

_FILES = (".csv", ".csv.gz", ".parquet")
_DELIMITERS = ",;\t|"


class Workspace:
    """The tables of one client: `.touchpoints`, `.campaigns`, `.orders`, `.surveys`, `.targets`, `.truth`.

    A table is read, and its types are checked, when it is first asked for. A
    table that is not there raises MissingTable, unless `optional` named it:
    then it is an absent Table, with the right columns and no rows.
    """

    def __init__(self, location, engine, sources, columns, optional):
        self.location = location
        self.engine = engine
        self._reader = getattr(engine, "reader", engine)
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
            table = _canonical(name, self._sources[name], self._columns, self._reader)
            return table if self._reader is self.engine else self.engine.take(table)
        if name in self._optional:
            types = {column.name: TYPES[column.type] for column in known.values()}
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
    ("spark://local[2]//srv/data" for an absolute path), "chdb://data_samples".

    `columns` maps our names to those found ({"user_id": "uid"}) and wins over a
    column that already has our name; capitals do not count in our names.
    `files` maps tables to files named otherwise ({"touchpoints": "events.csv"}),
    or to tables of a `.duckdb` file ("events", or "schema.events"). Tables in
    `optional` may be absent. Text is UTF-8. Moments come out as UTC
    microseconds (nanoseconds are cut); texts and frames without a time zone are
    read as UTC. Amounts keep six decimals.

    Raises UnreadableData or MissingTable, naming the file, the column and the
    way out.
    """
    label = location if isinstance(location, str) else None
    if isinstance(location, str) and (match := re.fullmatch(r"((?:spark|sc)://[^/]+)/(.+)", location)):
        engine, location = match.groups()
    elif isinstance(location, str) and location.startswith("chdb://"):
        engine, location = "chdb://", location.removeprefix("chdb://")
    unknown = [name for name in (*(files or ()), *optional) if name not in vocabulary.TABLES]
    if unknown:
        raise MissingTable(f"{unknown[0]!r} is no table of a workspace; expected {', '.join(vocabulary.TABLES)}")
    backend = engines.connect(engine)
    reader = getattr(backend, "reader", backend)
    if hasattr(location, "items"):
        if files:
            raise BadParameter("files= names files of a folder; a mapping of frames names its tables itself")
        sources, label = _from_frames(location, reader), "the mapping of frames"
    else:
        folder = Path(location)
        label = label or str(location)
        if not folder.exists():
            raise MissingTable(f"{location}: no such folder or file")
        from_there = _from_folder if folder.is_dir() else _from_file
        sources = from_there(folder, files or {}, reader)
    _check_mapping(columns or {}, sources, label)
    return Workspace(label, backend, sources, dict(columns or {}), tuple(optional))


def _from_frames(frames, backend):
    sources = {}
    for name, frame in frames.items():
        if name not in vocabulary.TABLES:
            raise MissingTable(f"{name!r} is no table of a workspace; expected {', '.join(vocabulary.TABLES)}")
        origin = f"frame {name!r}"
        with _reading(origin, "Give every column one plain type, for example with frame.astype(str)", backend):
            frame = _plain(_arrow(frame, name, origin))
            _refuse_names(frame.column_names, origin)
            sql = backend.frame(frame)
            sources[name] = Source(origin, sql, backend.columns(sql))
    return sources


def _arrow(frame, table, origin):
    """Any frame (pandas, Arrow, or what speaks Arrow's stream protocol) as an Arrow table."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(frame, pd.DataFrame):
        _refuse_names(["" if column is None or column != column else str(column) for column in frame.columns], origin)
        hidden = [name for name in frame.index.names if name in vocabulary.of(table) and name not in frame.columns]
        if hidden:
            raise UnreadableData(f"{origin}: {hidden[0]} is the index, not a column. Give frame.reset_index()")
        try:
            return pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise UnreadableData(f"{'; '.join(str(part) for part in reversed(error.args))}") from None
    if not hasattr(frame, "__arrow_c_stream__") and not isinstance(frame, pa.RecordBatch):
        raise UnreadableData(f"{origin} is a {type(frame).__name__}; expected a pandas frame or an Arrow table")
    return frame if isinstance(frame, pa.Table) else pa.table(frame)


def _plain(frame):
    """The Arrow table in types that every engine reads: no dictionaries, moments as UTC microseconds."""
    for index, column in enumerate(frame.schema):
        values = _plain_values(frame.column(index))
        if values.type != column.type:
            frame = frame.set_column(index, column.name, values)
    return frame


def _plain_values(values):
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind):
        return _plain_values(values.cast(kind.value_type))
    if isinstance(kind, pa.BaseExtensionType):
        if kind.extension_name != "arrow.uuid":
            raise UnreadableData(f"type {kind} is not read")
        return pa.chunked_array([[None if one is None else str(one) for one in values.to_pylist()]], pa.string())
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz), safe=kind.unit != "ns")
        return values.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us")) if kind.tz else values
    if pa.types.is_decimal256(kind):
        return values.cast(pa.decimal128(38, kind.scale))
    others = {
        pa.null(): pa.string(),
        pa.string_view(): pa.string(),
        pa.float16(): pa.float32(),
        pa.uint8(): pa.int16(),
        pa.uint16(): pa.int32(),
        pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0),
    }
    return values.cast(others[kind]) if kind in others else values


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


def _from_file(path, files, backend):
    if path.suffix.lower() not in (".duckdb", ".db"):
        raise UnreadableData(
            f"{path}: expected a folder or a .duckdb file. Open its folder, and name the file for its table: "
            f'workspace.open("{path.parent}", files={{"touchpoints": "{path.name}"}})'
        )
    if not hasattr(backend, "database"):
        raise UnreadableData(f"{path}: a .duckdb file is read by DuckDB only, not by {backend.name}")
    tables = backend.database(str(path))
    sources = {}
    for name in vocabulary.TABLES:
        wanted = files.get(name, name).lower()
        found = [full for full in tables if wanted in (full.lower(), full.lower().split(".", 1)[1])]
        if len(found) > 1:
            raise UnreadableData(
                f'{path}: {" and ".join(found)} both claim to be {name}. Say which: files={{"{name}": "{found[0]}"}}'
            )
        if not found and name in files:
            raise MissingTable(f"{path}: no table {files[name]} (files= names it for {name}); found {_listed(tables)}")
        if found:
            origin = f"{path.name}, table {found[0].removeprefix('main.')}"
            with _reading(origin, "Mend the view, or keep its rows in a table", backend):
                sources[name] = Source(origin, tables[found[0]], backend.columns(tables[found[0]]))
    if not sources:
        raise MissingTable(
            f"{path}: no table of ours in it; found {_listed(tables)}. Expected {', '.join(vocabulary.TABLES)}. "
            f'Name a table that is called otherwise: files={{"touchpoints": "…"}}'
        )
    return sources


def _listed(names):
    return ", ".join(sorted(names)[:8]) or "nothing"


@contextlib.contextmanager
def _reading(origin, way_out, backend):
    """What goes wrong in here is said with the name of its file and a way out."""
    try:
        yield
    except PerfnbError as error:
        message = str(error)
        if isinstance(error, UnreadableData) and origin not in message:
            raise UnreadableData(f"{origin}: {message.rstrip('.')}. {way_out}") from None
        raise
    except (*backend.errors, ValueError, TypeError) as error:
        raise UnreadableData(f"{origin}: {backend.cause(error).rstrip('.')}. {way_out}") from None


def _read(path, backend):
    name = path.name.lower()
    if path.is_dir() or name.endswith(".parquet"):
        return _read_parquet(path, backend)
    if path.stat().st_size == 0:
        raise UnreadableData(f"{path}: the file is empty; expected a header and rows. Export it again")
    if not name.endswith((".csv", ".csv.gz")):
        raise UnreadableData(f"{path}: expected .csv, .csv.gz or .parquet")
    if name.endswith(".gz"):
        _refuse_cut_off(path)
    header, delimiter = _header(path)
    with _reading(str(path), _CSV_WAY_OUT, backend):
        sql = backend.csv(str(path), header, delimiter)
    return Source(path.name, sql, dict.fromkeys(header, "VARCHAR"), text=True)


def _refuse_cut_off(path):
    """Read a gzip file to its end: DuckDB 1.4 takes what there is of a broken download for the whole."""
    try:
        with gzip.open(path) as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error) as error:
        raise UnreadableData(f"{path}: broken gzip ({error}). Export or download it again") from None


_CSV_WAY_OUT = "Export it again as CSV UTF-8, with as many cells in every row as in the first"


def _read_parquet(path, backend):
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not parts:
        raise UnreadableData(f"{path}: a folder without .parquet files. Name the file itself: files=…")
    for part in parts:
        try:
            names = pq.read_schema(part).names
        except (pa.ArrowException, OSError) as error:
            raise UnreadableData(
                f"{part}: not a Parquet file ({str(error).splitlines()[0]}). Export it again"
            ) from None
        _refuse_names(names, str(part))
    with _reading(str(path), "Write all parts with the same columns of the same types", backend):
        sql = backend.parquet([str(part) for part in parts])
        return Source(path.name, sql, backend.columns(sql))


def _header(path):
    """The column names of a CSV file and the delimiter between them: the one that parts the first line most."""
    opener = gzip.open if path.name.lower().endswith(".gz") else Path.open
    try:
        with opener(path, mode="rt", encoding="utf-8-sig", newline="") as file:
            lines = {}
            for delimiter in _DELIMITERS:
                file.seek(0)
                lines[delimiter] = [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
    except UnicodeDecodeError:
        raise UnreadableData(f"{path}: not UTF-8. Save it as CSV UTF-8") from None
    except (OSError, EOFError, csv.Error) as error:
        raise UnreadableData(f"{path}: cannot be read ({error}). Export it again") from None
    delimiter = max(_DELIMITERS, key=lambda one: len(lines[one]))
    names = lines[delimiter]
    if not any(names):
        raise UnreadableData(f"{path}: the first line is empty; expected the column names. Export it again")
    _refuse_names(names, str(path))
    return names, delimiter


def _refuse_names(names, origin):
    """Every column needs a name, of its own."""
    if not names:
        raise UnreadableData(f"{origin}: no columns; expected some of those of its table. Export it again")
    if "" in names:
        raise UnreadableData(f"{origin}: column {names.index('') + 1} has no name. Name it")
    broken = [name for name in names if "\0" in name]
    if broken:
        raise UnreadableData(f"{origin}: column name {broken[0]!r} is no text. Save the file as UTF-8 (not UTF-16)")
    twice = [name for name, times in Counter(name.lower() for name in names).items() if times > 1]
    if twice:
        raise UnreadableData(
            f"{origin}: column {', '.join(twice)} appears more than once (capitals do not count). "
            "Rename or remove one of them"
        )


def _check_mapping(columns, sources, label):
    found = {name for source in sources.values() for name in source.columns}
    plain = {name.lower(): name for name in found}
    for ours, theirs in columns.items():
        if theirs not in found:
            near = difflib.get_close_matches(str(theirs).lower(), plain, n=1)
            hint = f"did you mean {plain[near[0]]!r}? " if near else ""
            raise UnreadableData(
                f'{label}: columns={{"{ours}": "{theirs}"}} names a column {theirs!r} that no table has; '
                f"{hint}Found: {', '.join(sorted(found))}"
            )
    twice = [name for name, times in Counter(ours.lower() for ours in columns).items() if times > 1]
    if twice:
        raise UnreadableData(f"{label}: columns= names {twice[0]} twice (capitals do not count). Remove one of them")


def _canonical(name, source, columns, backend):
    """The source's rows under our names and types, checked; columns that we do not know keep theirs."""
    way_out = _CSV_WAY_OUT if source.text else "Export it again"
    with _reading(source.origin, way_out, backend):
        known = vocabulary.of(name)
        theirs = _named(known, source.columns, columns)
        kinds = {ours: known[ours].type if ours in known else None for ours in theirs}
        # A text file is parsed once; Parquet and databases are read where they lie. (DuckDB also pushes a
        # TRY_CAST into its CSV reader, where it raises.)
        raw = backend.keep(source.sql) if source.text else source.sql
        casts = {ours: cast(raw, column, kinds[ours], source, backend) for ours, column in theirs.items()}
        casts = refuse_unreadable(raw, theirs, casts, kinds, source, backend)
        selected = ", ".join(f"{casts[ours]} AS {identifier(ours)}" for ours in theirs)
        sql = f"SELECT {selected} FROM ({raw}) AS raw"
        if source.text:
            sql = backend.keep(sql)
            backend.drop(raw)
        return Table(name, backend, sql, backend.columns(sql), source.origin)


def _named(known, found, columns):
    """{our name: the column found}: what `columns` maps first, then our names in any capitals, then the rest."""
    theirs = {}
    for ours, column in columns.items():
        if column in found:
            theirs[ours.lower() if ours.lower() in known else ours] = column
    taken, mapped = {ours.lower() for ours in theirs}, set(theirs.values())
    for column in found:
        if column not in mapped and column.lower() not in taken:
            theirs[column.lower() if column.lower() in known else column] = column
    return theirs
