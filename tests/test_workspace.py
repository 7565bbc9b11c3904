"""Laws of the door: the same rows whatever they come in, nothing changed in silence, errors that say the way out."""

import decimal
import gzip
import uuid
from datetime import UTC, date, datetime, time, timedelta, timezone

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

from perfnb import columns as vocabulary
from perfnb import workspace
from perfnb.errors import BadParameter, MissingColumns, MissingTable, PerfnbError, UnreadableData

ROWS = pd.DataFrame(
    {
        "user_id": ["00123", "'; --", "a\\b", 'Größe, "x"\ny', None],
        "timestamp": pd.to_datetime(
            [
                "2025-06-01 12:00:00.000001",
                "2025-06-01 23:59:59.999999",
                "2025-06-02 00:00:00",
                "1970-01-01 00:00:00",
                "2025-06-02 00:00:00",
            ],
            format="ISO8601",
        ).astype("datetime64[us]"),
        "event": ["visit", "order", "{table}", "order", "order"],
        "campaign": ["<b>", 'a"b', None, "=1+1", "a\tb"],
        "value": [None, 1234.5, None, 0.1, 99.99],
        'odd "name"': ["1", "2", "3", "4", None],
    }
)


def rows(frame):
    """The rows in a fixed order, with absent as None."""
    frame = frame.sort_values(["timestamp", "event"])
    return [[None if pd.isna(value) else value for value in row] for row in frame.itertuples(index=False)]


def csv(folder, text, table="touchpoints", *, name=None, **options):
    """The Table that a CSV file of this text becomes."""
    content = text if isinstance(text, bytes) else text.encode()
    (folder / (name or f"{table}.csv")).write_bytes(content)
    return getattr(workspace.open(folder, **options), table)


def one(value, column, table="touchpoints", folder=None, **options):
    """What one text in a CSV cell is read as."""
    quoted = '"' + value.replace('"', '""') + '"'
    return csv(folder, f"{column},extra\n{quoted},x\n", table, **options).rows()[column].iloc[0]


def framed(values, column, table="touchpoints", **options):
    """What Arrow values are read as."""
    opened = workspace.open({table: pa.table({column: values})}, **options)
    return getattr(opened, table).rows()[column]


# --- the same rows, whatever they come in


def _as_csv(folder, **options):
    ROWS.to_csv(folder / "touchpoints.csv", index=False)
    return workspace.open(folder, **options)


def _as_semicolons(folder, **options):
    text = "\ufeff" + ROWS.to_csv(index=False, sep=";")
    (folder / "touchpoints.csv.gz").write_bytes(gzip.compress(text.encode()))
    return workspace.open(folder, **options)


def _as_parquet(folder, **options):
    pq.write_table(pa.Table.from_pandas(ROWS, preserve_index=False), folder / "touchpoints.parquet")
    return workspace.open(folder, **options)


def _as_parts(folder, **options):
    parts = folder / "country=DE" / "touchpoints"
    parts.mkdir(parents=True)
    pq.write_table(pa.Table.from_pandas(ROWS.head(2), preserve_index=False), parts / "a.parquet")
    last = ROWS.tail(3)[ROWS.columns[::-1]]
    pq.write_table(pa.Table.from_pandas(last, preserve_index=False), parts / "b.parquet")
    return workspace.open(parts.parent, **options)


def _as_database(folder, **options):
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        connection.register("given", ROWS)
        connection.execute("CREATE TABLE events AS SELECT * FROM given")
        connection.execute("CREATE VIEW touchpoints AS SELECT * FROM events")
    return workspace.open(folder / "shop.duckdb", **options)


def _as_pandas(_, **options):
    return workspace.open({"touchpoints": ROWS}, **options)


def _as_pandas_arrow(_, **options):
    return workspace.open({"touchpoints": ROWS.convert_dtypes(dtype_backend="pyarrow")}, **options)


def _as_pandas_nullable(_, **options):
    return workspace.open({"touchpoints": ROWS.convert_dtypes(dtype_backend="numpy_nullable")}, **options)


def _as_pandas_categories(_, **options):
    return workspace.open({"touchpoints": ROWS.astype({"event": "category", "user_id": "category"})}, **options)


def _as_arrow(_, **options):
    return workspace.open({"touchpoints": pa.Table.from_pandas(ROWS, preserve_index=False)}, **options)


def _as_record_batch(_, **options):
    return workspace.open({"touchpoints": pa.RecordBatch.from_pandas(ROWS, preserve_index=False)}, **options)


FORMS = [
    _as_csv,
    _as_semicolons,
    _as_parquet,
    _as_parts,
    _as_database,
    _as_pandas,
    _as_pandas_arrow,
    _as_pandas_nullable,
    _as_pandas_categories,
    _as_arrow,
    _as_record_batch,
]


def _holds_rows(table):
    found = table.rows()
    assert list(table.columns) == list(found) == [*ROWS]
    assert rows(found) == rows(ROWS)
    assert found["timestamp"].dtype == "datetime64[us]"
    assert table.count() == len(ROWS)
    assert table.fetch("SELECT SUM(value) AS v FROM {table} AS t")["v"].iloc[0] == pytest.approx(1334.59, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_the_same_rows_in_every_form(form, tmp_path):
    before = ROWS.copy(deep=True)
    _holds_rows(form(tmp_path).touchpoints)
    assert_frame_equal(ROWS, before)


@pytest.mark.spark
@pytest.mark.parametrize("form", [_as_csv, _as_parts, _as_pandas])
def test_the_same_rows_on_spark(form, tmp_path, spark):
    _holds_rows(form(tmp_path, engine=spark).touchpoints)


@pytest.mark.spark
def test_an_engine_before_a_folder(samples, spark):
    on_spark = workspace.open(f"{spark}/{samples}")
    here = workspace.open(samples)
    sums = "SELECT COUNT(*) AS n, SUM(cost) AS cost, MIN(date) AS low, MAX(date) AS high FROM {table} AS t"
    assert_frame_equal(on_spark.campaigns.fetch(sums), here.campaigns.fetch(sums), check_dtype=False)


def test_reading_changes_no_total(samples):
    opened = workspace.open(samples)
    for name in ("touchpoints", "campaigns", "orders", "surveys"):
        plain = pd.read_csv(samples / f"{name}.csv", dtype=str, keep_default_na=False)
        table = getattr(opened, name)
        assert table.count() == len(plain)
        for column, known in vocabulary.of(name).items():
            if column in plain and known.type in ("money", "integer", "number"):
                exact = sum(decimal.Decimal(value) for value in plain[column] if value)
                sums = table.fetch(f'SELECT CAST(SUM("{column}") AS VARCHAR) AS s FROM {{table}} AS t')
                assert float(sums["s"].iloc[0]) == pytest.approx(float(exact), rel=1e-12), (name, column)
            elif column in plain and known.type == "text":
                found = table.fetch(f'SELECT COUNT(DISTINCT "{column}") AS n FROM {{table}} AS t')["n"].iloc[0]
                assert found == plain[column][plain[column] != ""].nunique(), (name, column)


# --- moments


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-06-01T12:00:00+02:00", "2025-06-01 10:00:00"),
        ("2025-06-01 12:00:00-0330", "2025-06-01 15:30:00"),
        ("2025-06-01 12:00:00+02", "2025-06-01 10:00:00"),
        ("2025-06-01T12:00:00Z", "2025-06-01 12:00:00"),
        ("2025-06-01 12:00:00 UTC", "2025-06-01 12:00:00"),
        ("2025-06-01T12:00", "2025-06-01 12:00:00"),
        ("2025-06-01", "2025-06-01 00:00:00"),
        (" 2025-06-01 12:00:00.123456789 ", "2025-06-01 12:00:00.123456"),
        ("2025-06-01 12:00:00.9999999", "2025-06-01 12:00:00.999999"),
        ("1748779200", "2025-06-01 12:00:00"),
        ("1748779200.25", "2025-06-01 12:00:00.25"),
        ("1748779200.123456", "2025-06-01 12:00:00.123456"),
        ("1748779200123", "2025-06-01 12:00:00.123"),
        ("1748779200123456", "2025-06-01 12:00:00.123456"),
        ("1748779200123456789", "2025-06-01 12:00:00.123456"),
    ],
)
def test_moments_in_texts(text, moment, tmp_path):
    assert one(text, "timestamp", folder=tmp_path) == pd.Timestamp(moment)


_NO_MOMENTS = [
    "12:30",
    "2025",
    "2025-06",
    "20250601",
    "25-06-01 12:00",
    "01.06.2025 12:00",
    "06/01/2025",
    "2025-06-01 12:00 PM",
    "2025-06-01 24:00:00",
    "2025-02-30",
    "epoch",
    "now",
    "infinity",
    "nan",
    "99999-01-01",
]


@pytest.mark.parametrize("text", _NO_MOMENTS)
def test_no_moments(text, tmp_path):
    with pytest.raises(UnreadableData, match=r"touchpoints\.csv: column timestamp"):
        one(text, "timestamp", folder=tmp_path)


@pytest.mark.spark
def test_no_moments_on_spark_either(tmp_path, spark):
    # Spark reads "12:30" as today and "2025" as its first day.
    texts = [text for text in _NO_MOMENTS if text not in ("2025", "20250601")]
    with pytest.raises(UnreadableData, match=f"{len(texts)} of {len(texts)} values"):
        csv(tmp_path, "timestamp,event\n" + "".join(f"{text},x\n" for text in texts), engine=spark)


def test_moments_of_two_kinds_are_refused(tmp_path):
    with pytest.raises(UnreadableData, match="1 of 2 values"):
        csv(tmp_path, "user_id,timestamp\n1,2025-06-01\n2,1748779200\n")
    with pytest.raises(UnreadableData, match="no seconds, milliseconds"):
        csv(tmp_path, "user_id,timestamp\n1,1748779200\n2,1748779200000\n")


NOON = pa.array([1748779200], pa.int64()).cast(pa.timestamp("s"))


def _moments():
    berlin = datetime(2025, 6, 1, 14, tzinfo=timezone(timedelta(hours=2)))
    return [
        NOON,
        NOON.cast(pa.timestamp("ms")),
        NOON.cast(pa.timestamp("ns")),
        NOON.cast(pa.timestamp("us", "Europe/Berlin")),
        NOON.cast(pa.timestamp("ns")).dictionary_encode(),
        pa.array([1748779200]),
        pa.array([1748779200.0]),
        pa.array([1748779200000], pa.uint64()),
        pa.array([decimal.Decimal("1748779200.000")]),
        pa.array(["2025-06-01T14:00:00+02:00"]),
        pa.array([berlin]),
    ]


def test_moments_in_frames(workspace_of, engine):
    values = _moments() if engine == "duckdb" else _moments()[3:7]
    for column in values:
        found = workspace_of({"touchpoints": pa.table({"timestamp": column})}).touchpoints.rows()["timestamp"]
        assert found.dtype == "datetime64[us]", column.type
        assert found.iloc[0] == pd.Timestamp("2025-06-01 12:00:00"), column.type


def test_fractions_of_seconds_in_floats_are_kept():
    found = framed(pa.array([1748779200.5, 1748779200.123456, None]), "timestamp")
    assert list(found[:2]) == [pd.Timestamp("2025-06-01 12:00:00.5"), pd.Timestamp("2025-06-01 12:00:00.123456")]
    assert pd.isna(found[2])


@pytest.mark.parametrize("type", ["TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP", "TIMESTAMPTZ"])
def test_moments_in_a_database_and_in_parquet(type, tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        given = "2025-06-01 14:00:00+02" if type == "TIMESTAMPTZ" else "2025-06-01 12:00:00"
        connection.execute(f"CREATE TABLE touchpoints AS SELECT '{given}'::{type} AS timestamp")
        connection.execute(f"COPY touchpoints TO '{tmp_path / 'touchpoints.parquet'}'")
    for place in (tmp_path / "x.duckdb", tmp_path):
        assert workspace.open(place).touchpoints.rows()["timestamp"].iloc[0] == pd.Timestamp("2025-06-01 12:00:00")


# --- days: a moment inside a day is no day


@pytest.mark.parametrize("text", ["2025-06-01", "2025-6-1", "2025-06-01 00:00:00", "2025-06-01T00:00"])
def test_days(text, tmp_path):
    assert one(text, "date", "campaigns", tmp_path) == pd.Timestamp("2025-06-01")


@pytest.mark.parametrize(
    "text", ["2025-06-01 13:00:00", "2025-06-01T23:00:00-05:00", "2025-06", "25-06-01", "20250601", "1.6.2025", "epoch"]
)
def test_no_days(text, tmp_path):
    with pytest.raises(UnreadableData, match=r"campaigns\.csv: column date.*expected a day as 2025-08-31"):
        one(text, "date", "campaigns", tmp_path)


def test_a_day_of_another_zone_does_not_shift():
    # Midnight in Berlin is ten in the evening of the day before in UTC.
    local = pd.DataFrame({"date": pd.to_datetime(["2025-06-01"]).tz_localize("Europe/Berlin"), "clicks": [1]})
    with pytest.raises(UnreadableData, match=r"column date.*time zone"):
        _ = workspace.open({"campaigns": local}).campaigns
    assert framed(pa.array([date(2025, 6, 1)]), "date", "campaigns").iloc[0] == pd.Timestamp("2025-06-01")
    naive = pd.DataFrame({"date": pd.to_datetime(["2025-06-01"]), "clicks": [1]})
    assert workspace.open({"campaigns": naive}).campaigns.rows()["date"].iloc[0] == pd.Timestamp("2025-06-01")


# --- numbers


@pytest.mark.parametrize(
    ("text", "column", "number"),
    [
        ("1234.50", "cost", 1234.5),
        (" -.5 ", "cost", -0.5),
        ("1e3", "cost", 1000),
        ("3.0", "clicks", 3),
        ("9007199254740993", "clicks", 9007199254740993),
        ("+7", "clicks", 7),
        ("1.5", "leads", 1.5),
    ],
)
def test_numbers(text, column, number, tmp_path):
    assert one(text, column, "campaigns", tmp_path) == number


_NO_NUMBERS = [
    "1.234,50",
    "1,5",
    "1 000",
    "1_000",
    "0x10",
    "5d",
    "5f",
    "nan",
    "NaN",
    "inf",
    "-Infinity",
    "1e400",
    "–",
    "€5",
]


@pytest.mark.parametrize("column", ["cost", "clicks", "leads"])
@pytest.mark.parametrize("text", [*_NO_NUMBERS, "--", "three"])
def test_no_numbers(text, column, tmp_path):
    with pytest.raises(UnreadableData, match=f"column {column}: 1 of 1 values cannot be read, for example"):
        one(text, column, "campaigns", tmp_path)


@pytest.mark.parametrize("text", ["3.7", "1e3", "9007199254740993.5", "9223372036854775808", "3.00000000000001"])
def test_no_whole_numbers(text, tmp_path):
    with pytest.raises(UnreadableData, match=r"column clicks.*expected a whole number"):
        one(text, "clicks", "campaigns", tmp_path)


@pytest.mark.spark
def test_no_numbers_on_spark_either(tmp_path, spark):
    # Spark reads "5d" as five.
    lines = "".join(f'"{text}","{text}","{text}"\n' for text in [*_NO_NUMBERS, "9223372036854775808.5"])
    n = len(_NO_NUMBERS)
    with pytest.raises(UnreadableData) as caught:
        csv(tmp_path, f"clicks,leads,revenue\n{lines}", "campaigns", engine=spark)
    assert f"column clicks: {n + 1} of {n + 1}" in str(caught.value)
    assert f"column leads: {n} of {n + 1}" in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    ("column", "table"),
    [
        ("cost", "campaigns"),
        ("clicks", "campaigns"),
        ("leads", "campaigns"),
        ("new_customer", "orders"),
        ("user_id", "orders"),
        ("timestamp", "orders"),
    ],
)
def test_what_is_no_number_in_a_frame_is_refused(value, column, table):
    with pytest.raises(UnreadableData, match=f"column {column}: 1 of 2"):
        framed(pa.array([value, None]), column, table)


def test_amounts_are_exact():
    cents = pa.array([decimal.Decimal("0.10")] * 1000)
    table = workspace.open({"orders": pa.table({"order_id": pa.array(range(1000)), "value": cents})}).orders
    assert table.fetch("SELECT CAST(SUM(value) AS VARCHAR) AS v FROM {table} AS t")["v"].iloc[0] == "100.000000"


@pytest.mark.parametrize(
    ("text", "truth"), [("true", True), ("TRUE", True), ("1", True), ("no", False), ("0.0", False), ("f", False)]
)
def test_truth_values(text, truth, tmp_path):
    assert one(text, "new_customer", "orders", tmp_path) is np.bool_(truth)


def test_no_truth_values(tmp_path):
    for text in ("2", "wahr", "on"):
        with pytest.raises(UnreadableData, match=r"new_customer.*expected true or false"):
            one(text, "new_customer", "orders", tmp_path)
    for number in (2, 0.5):
        with pytest.raises(UnreadableData, match="new_customer"):
            framed(pa.array([number]), "new_customer", "orders")


# --- ids


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (pa.array(["00123", "17.0", " x", "NULL", "nan"]), ["00123", "17.0", " x", "NULL", "nan"]),
        (pa.array([17.0, None, 2.0**53 - 1]), ["17", None, "9007199254740991"]),
        (pa.array([2**53 + 1, 2**63 - 1]), ["9007199254740993", "9223372036854775807"]),
        (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
        (pa.array([decimal.Decimal(10**30 + 1)], pa.decimal128(38, 0)), [str(10**30 + 1)]),
        (pa.array([decimal.Decimal("17.00"), decimal.Decimal("17.50")]), ["17", "17.50"]),
        (
            pa.ExtensionArray.from_storage(pa.uuid(), pa.array([uuid.UUID(int=5).bytes], pa.binary(16))),
            [str(uuid.UUID(int=5))],
        ),
        (pa.array(["", "  "]), [None, None]),
    ],
)
def test_ids_stay_what_they_are(values, ids):
    found = framed(values, "user_id")
    assert [None if pd.isna(value) else value for value in found] == ids


def test_ids_that_a_float_cannot_tell_apart_are_refused():
    with pytest.raises(UnreadableData, match=r"column user_id.*read them as text"):
        framed(pa.array([2.0**53]), "user_id")
    with pytest.raises(UnreadableData, match="column user_id"):
        framed(pa.array([2.0**24], pa.float32()), "user_id")


@pytest.mark.parametrize("values", [pa.array([[1]]), pa.array([{"a": 1}]), pa.array([b"a"]), pa.array([time(1)])])
def test_types_that_are_no_text_are_refused(values):
    with pytest.raises(UnreadableData, match="frame 'touchpoints': column user_id: 1 of 1 values"):
        framed(values, "user_id")


def test_types_that_are_no_moment_or_number_are_refused(tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")) as connection:
        connection.execute("CREATE TABLE touchpoints AS SELECT TIME '12:00' AS timestamp, INTERVAL 1 DAY AS value")
        connection.execute("CREATE TABLE orders AS SELECT 'infinity'::TIMESTAMP AS timestamp, 5::HUGEINT AS user_id")
        connection.execute("CREATE TABLE campaigns AS SELECT 'infinity'::DATE AS date, true AS clicks")
    opened = workspace.open(tmp_path / "x.duckdb")
    for name, columns in (("touchpoints", ["timestamp", "value"]), ("orders", ["timestamp"]), ("campaigns", ["date"])):
        with pytest.raises(UnreadableData) as caught:
            getattr(opened, name)
        assert all(f"x.duckdb, table {name}: column {column}: 1 of 1" in str(caught.value) for column in columns)


# --- files


def test_line_ends_and_quotes_and_names(tmp_path):
    table = csv(tmp_path, '\ufeffuser_id,select,"a""b",Größe,a`b\r\n1,"x\r\ny",2,3,4\r\n')
    assert table.rows().to_dict("records") == [
        {"user_id": "1", "select": "x\r\ny", 'a"b': "2", "Größe": "3", "a`b": "4"}
    ]


def test_the_delimiter_parts_the_header(tmp_path):
    # Commas inside a quoted name once won: every row became one cell, or none.
    table = csv(tmp_path, '"a,b,c,d";user_id;event\nx;1;visit\n')
    assert table.rows().to_dict("records") == [{"a,b,c,d": "x", "user_id": "1", "event": "visit"}]
    for delimiter in "\t|":
        assert csv(tmp_path, f"user_id{delimiter}event\n1{delimiter}visit\n").count() == 1


def test_a_header_may_break_a_line(tmp_path):
    assert list(csv(tmp_path, 'user_id,"my\ncolumn",event\n1,x,visit\n').columns) == ["user_id", "my\ncolumn", "event"]


def test_one_column_and_empty_lines(tmp_path, engine):
    assert sorted(csv(tmp_path, "user_id\n1\n\n2\n\n", engine=engine).rows()["user_id"]) == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"   \n", "first line is empty"),
        (b"user_id,timestamp\n", "a header but no rows"),
        (b"user_id,event", "a header but no rows"),
        (b"user_id,User_ID\n1,2\n", "user_id appears more than once"),
        (b"user_id,,event\n1,2,3\n", "column 2 has no name"),
        (b"user_id,event\n1,2,3\n", "as many cells in every row"),
        (b"user_id,event,value\n1,2\n", "as many cells in every row"),
        (b'user_id,event\n1,"abc\n2,x\n', "Export it again"),
        ("user_id,campaign\n1,Größe\n".encode("latin-1"), "UTF-8"),
        (b"user_id,campaign\n" + b"1,x\n" * 20_000 + "1,Größe\n".encode("latin-1"), "UTF-8"),
        ("user_id,campaign\n1,x\n".encode("utf-16"), "UTF-8"),
        ("user_id,campaign\n1,x\n".encode("utf-16-le"), "UTF-8"),
    ],
)
def test_broken_files(content, message, tmp_path):
    with pytest.raises(UnreadableData, match=message) as caught:
        csv(tmp_path, content)
    assert "touchpoints.csv" in str(caught.value)


@pytest.mark.spark
@pytest.mark.parametrize(
    "content",
    [b'user_id,event\n1,"abc\n2,x\n', b"user_id,event\n1,2,3\n", b"user_id,event\n" + b"1,x\n" * 9000 + b"1,\xdf\n"],
)
def test_spark_does_not_swallow_broken_files(content, tmp_path, spark):
    # Alone it runs on over the open quote, and replaces bytes that are no UTF-8.
    with pytest.raises(UnreadableData, match=r"touchpoints\.csv.*Export it again as CSV UTF-8"):
        csv(tmp_path, content, engine=spark)


@pytest.mark.parametrize(
    "content",
    [b"user_id,event\n1,2\n", gzip.compress(b""), gzip.compress(b"user_id,event\n"), gzip.compress(b"a,b\n" * 99)[:-9]],
    ids=["not gzip", "empty", "header only", "cut off"],
)
def test_broken_gzip(content, tmp_path):
    with pytest.raises(UnreadableData, match=r"touchpoints\.csv\.gz"):
        csv(tmp_path, content, name="touchpoints.csv.gz")


def test_parquet_with_broken_names_or_parts(tmp_path):
    folder = tmp_path / "touchpoints"
    folder.mkdir()
    for names in (["user_id", "user_id"], ["user_id", "User_ID"], ["user_id", ""]):
        pq.write_table(pa.table([pa.array(["1"]), pa.array(["2"])], names=names), folder / "0.parquet")
        with pytest.raises(UnreadableData, match=r"0\.parquet: column"):
            workspace.open(tmp_path)
    pq.write_table(pa.table({"user_id": ["1"]}), folder / "0.parquet")
    (folder / "1.parquet").write_bytes(b"no Parquet at all")
    with pytest.raises(UnreadableData, match=r"1\.parquet: not a Parquet file"):
        workspace.open(tmp_path)


def test_parts_with_ids_of_two_types_keep_both(tmp_path):
    (tmp_path / "touchpoints").mkdir()
    pq.write_table(pa.table({"user_id": ["00123"]}), tmp_path / "touchpoints" / "0.parquet")
    pq.write_table(pa.table({"user_id": [123]}), tmp_path / "touchpoints" / "1.parquet")
    assert sorted(workspace.open(tmp_path).touchpoints.rows()["user_id"]) == ["00123", "123"]


@pytest.mark.parametrize("form", [_as_csv, _as_parquet, _as_parts])
def test_folders_whose_names_are_patterns(form, tmp_path):
    folder = tmp_path / "a[1]*{x}'" / "value=7"
    folder.mkdir(parents=True)
    _holds_rows(form(folder).touchpoints)


def test_two_files_for_one_table(tmp_path):
    _as_csv(tmp_path)
    _as_parquet_file = tmp_path / "touchpoints.parquet"
    _as_parquet_file.write_bytes(b"")
    with pytest.raises(UnreadableData, match=r"touchpoints\.csv and touchpoints\.parquet both claim.*files="):
        workspace.open(tmp_path)
    assert workspace.open(tmp_path, files={"touchpoints": "touchpoints.csv"}).touchpoints.count() == len(ROWS)


def test_what_is_not_there(tmp_path):
    with pytest.raises(MissingTable, match="no such folder"):
        workspace.open(tmp_path / "nowhere")
    with pytest.raises(MissingTable, match=r"no table found.*files="):
        workspace.open(tmp_path)
    with pytest.raises(MissingTable, match=r"events\.csv: no such file"):
        workspace.open(tmp_path, files={"touchpoints": "events.csv"})
    with pytest.raises(MissingTable, match="'events' is no table"):
        workspace.open({"events": ROWS})
    opened = csv(tmp_path, "order_id,value\n1,2\n", "orders") and workspace.open(tmp_path)
    assert opened.has("orders") and not opened.has("touchpoints")
    with pytest.raises(MissingTable, match=r"no table touchpoints; found orders.*user_id"):
        _ = opened.touchpoints


# --- names


def test_columns_renames(tmp_path):
    table = csv(tmp_path, "uid,event\n1,visit\n", columns={"user_id": "uid"})
    assert list(table.columns) == ["user_id", "event"]


def test_columns_swaps_and_wins(tmp_path):
    table = csv(tmp_path, "channel,source\na,b\n", columns={"channel": "source", "source": "channel"})
    assert table.rows().to_dict("records") == [{"channel": "b", "source": "a"}]
    for name in ("user_id", "User_ID"):
        table = csv(tmp_path, f"uid,{name}\n1,2\n", columns={"user_id": "uid"})
        assert table.rows().to_dict("records") == [{"user_id": "1"}]


def test_capitals_do_not_count(tmp_path):
    table = csv(tmp_path, "User_ID,Timestamp,VALUE\n1,2025-06-01,2.5\n")
    assert table.rows().to_dict("records") == [{"user_id": "1", "timestamp": pd.Timestamp("2025-06-01"), "value": 2.5}]
    table = csv(tmp_path, "v,value,event\n1.5,2,x\n", columns={"VALUE": "v"})
    assert table.rows().to_dict("records") == [{"value": 1.5, "event": "x"}]


def test_columns_that_no_table_has(tmp_path):
    with pytest.raises(UnreadableData, match="did you mean 'uid'"):
        csv(tmp_path, "uid,event\n1,visit\n", columns={"user_id": "UID"})
    with pytest.raises(UnreadableData, match="names value twice"):
        csv(tmp_path, "a,b\n1,2\n", columns={"value": "a", "VALUE": "b"})


def test_require_says_how_to_map(tmp_path):
    table = csv(tmp_path, "uid,timestamp\n1,2025-06-01\n")
    assert table.require("timestamp") is table
    with pytest.raises(MissingColumns) as caught:
        table.require("user_id", "timestamp", "event")
    assert str(caught.value) == (
        "touchpoints (touchpoints.csv): missing column user_id, event; found uid, timestamp. "
        'Map it: columns={"user_id": "…", "event": "…"} (in a command: -p columns user_id=…)'
    )


# --- frames


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame([[1, 2]], columns=["user_id", "User_ID"]), "more than once"),
        (pd.DataFrame({None: [1], "event": ["x"]}), "column 1 has no name"),
        (pd.DataFrame({"user_id": [1, "a"]}), "user_id.*one plain type"),
        (pd.DataFrame({"user_id": ["\ud800"]}, dtype=object), "frame 'touchpoints'"),
        (pd.DataFrame({"user_id": [2**70]}), "frame 'touchpoints'"),
        (pd.DataFrame({"value": [1j]}), "frame 'touchpoints'"),
        (pd.DataFrame({"timestamp": pd.period_range("2025-01", periods=1, freq="M")}), "period"),
        (ROWS.set_index("user_id"), "user_id is the index.*reset_index"),
        (ROWS.head(0), "no rows"),
        (pd.DataFrame(), "no columns"),
        ({"user_id": ["1"]}, "is a dict; expected a pandas frame"),
        (None, "is a NoneType"),
    ],
)
def test_frames_that_cannot_be_read(frame, message):
    with pytest.raises(UnreadableData, match=message):
        _ = workspace.open({"touchpoints": frame}).touchpoints


def test_zones_of_several_rows():
    zoned = pd.Series([datetime(2025, 6, 1, tzinfo=UTC), datetime(2025, 6, 1, tzinfo=timezone(timedelta(hours=2)))])
    found = workspace.open({"touchpoints": pd.DataFrame({"timestamp": zoned.astype(object)})}).touchpoints.rows()
    assert list(found["timestamp"]) == [pd.Timestamp("2025-06-01"), pd.Timestamp("2025-05-31 22:00")]


# --- databases


def _database(path, *statements):
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


EVENTS = "AS SELECT '1' AS user_id, TIMESTAMP '2025-06-01' AS timestamp, 'visit' AS event"


def test_tables_of_a_database_in_any_schema_and_capitals(tmp_path):
    path = _database(tmp_path / "a'b.duckdb", "CREATE SCHEMA s", f"CREATE TABLE s.Touchpoints {EVENTS}")
    assert workspace.open(path).touchpoints.count() == 1
    assert workspace.open(path).touchpoints.count() == 1  # open twice at a time


def test_one_name_in_two_schemas_is_refused(tmp_path):
    path = _database(
        tmp_path / "x.duckdb",
        f"CREATE TABLE touchpoints {EVENTS}",
        "CREATE SCHEMA s",
        f"CREATE TABLE s.touchpoints {EVENTS} UNION ALL SELECT '2', NULL, NULL",
    )
    with pytest.raises(UnreadableData, match=r"main\.touchpoints and s\.touchpoints both claim"):
        workspace.open(path)
    assert workspace.open(path, files={"touchpoints": "s.touchpoints"}).touchpoints.count() == 2


def test_other_names_in_a_database(tmp_path):
    path = _database(tmp_path / "x.duckdb", f"CREATE TABLE events {EVENTS}")
    with pytest.raises(MissingTable, match=r"found main\.events"):
        workspace.open(path)
    assert workspace.open(path, files={"touchpoints": "events"}).touchpoints.count() == 1
    with pytest.raises(MissingTable, match="no table nope"):
        workspace.open(path, files={"touchpoints": "nope"})


def test_a_broken_view(tmp_path):
    path = _database(
        tmp_path / "x.duckdb", f"CREATE TABLE e {EVENTS}", "CREATE VIEW touchpoints AS SELECT * FROM e", "DROP TABLE e"
    )
    with pytest.raises(UnreadableData, match=r"x\.duckdb, table touchpoints: .*Mend the view"):
        workspace.open(path)


@pytest.mark.parametrize("content", [b"", b"no database " * 999, b"SQLite format 3\0" + bytes(4096)])
def test_what_is_no_database(content, tmp_path):
    (tmp_path / "x.db").write_bytes(content)
    with pytest.raises(UnreadableData, match=r"x\.db: not a DuckDB database"):
        workspace.open(tmp_path / "x.db")


def test_a_database_that_is_open_elsewhere(tmp_path):
    with duckdb.connect(str(tmp_path / "x.duckdb")), pytest.raises(UnreadableData, match="open elsewhere: close it"):
        workspace.open(tmp_path / "x.duckdb")


def test_a_file_is_no_workspace(tmp_path):
    (tmp_path / "events.csv").write_text("a\n1\n")
    with pytest.raises(UnreadableData, match=r'files={"touchpoints": "events.csv"}'):
        workspace.open(tmp_path / "events.csv")
    with pytest.raises(BadParameter, match="files="):
        workspace.open({"touchpoints": ROWS}, files={"touchpoints": "x.csv"})


# --- a table that may be absent


def test_an_absent_table_answers_everything(workspace_of):
    table = workspace_of({"orders": pa.table({"order_id": ["1"]})}, optional=["touchpoints"]).touchpoints
    assert table.absent and table.count() == 0
    assert list(table.columns) == list(vocabulary.of("touchpoints"))
    assert table.require("user_id", "timestamp") is table
    assert table.rows().shape == table.rows(5).shape == (0, len(table.columns))
    assert list(table.rows()) == list(table.columns)
    assert table.column("value") == '"value"' and table.column("nope", "DOUBLE") == "CAST(NULL AS DOUBLE)"
    found = table.fetch(f"SELECT MIN({table.micros()}) AS low, SUM(value) AS v FROM {{table}} AS t").iloc[0]
    assert found.isna().all()


def test_only_tables_of_a_workspace_are_optional():
    with pytest.raises(PerfnbError, match="'events' is no table"):
        workspace.open({"touchpoints": ROWS}, optional=["events"])
