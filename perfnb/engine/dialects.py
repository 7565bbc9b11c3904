"""Statements for engines that are not DuckDB: translated by sqlglot, and put right where the meaning would change."""

import pandas as pd
import pyarrow as pa
import sqlglot
from sqlglot import exp

from perfnb.errors import BadParameter

__all__ = ["MICROS", "SETTINGS", "as_duckdb", "numbered", "translate"]

# A moment (UTC) as whole microseconds since 1970: sqlglot passes DuckDB's EPOCH_US on to engines that do not know it.
MICROS = {
    "bigquery": "UNIX_MICROS(moment)",
    "clickhouse": "toUnixTimestamp64Micro(toDateTime64(moment, 6))",
    "databricks": "UNIX_MICROS(moment)",
    "duckdb": "EPOCH_US(moment)",
    "postgres": "CAST(EXTRACT(EPOCH FROM moment) * 1000000 AS BIGINT)",
    "snowflake": "DATE_PART(EPOCH_MICROSECOND, moment)",
    "spark": "UNIX_MICROS(moment)",
}

# What ClickHouse must be told, to mean by a statement what the others mean.
SETTINGS = {
    "join_use_nulls": 1,  # what a LEFT JOIN does not find is null, not 0 or ''
    "aggregate_functions_null_for_empty": 1,  # the sum, least and greatest of nothing are null, not 0
    "prefer_column_name_to_alias": 1,  # in "MAX(t) AS t" the t inside is the column
    "cast_keep_nullable": 1,  # null, cast, is null
    "max_recursive_cte_evaluation_depth": 1_000_000,  # attempts of one unit; without this, 1,000 of them are an error
}

_MOMENTS = (exp.DataType.Type.TIMESTAMP, exp.DataType.Type.TIMESTAMPNTZ)
# Types that sqlglot renders with another range, or that the dialect does not compare with moments in UTC.
_TYPES = {
    "bigquery": dict.fromkeys(_MOMENTS, "TIMESTAMP"),
    "clickhouse": {
        **dict.fromkeys(_MOMENTS, "Nullable(DateTime64(6))"),
        exp.DataType.Type.DATE: "Nullable(Date32)",
    },
}


def translate(sql, dialect, *, pretty=False, tables=None):
    """A statement in DuckDB's dialect as `dialect` says it: one of MICROS; BadParameter for others.

    `tables` maps tables of the statement to what they are called there, as it is written there.
    """
    if dialect not in MICROS:
        raise BadParameter(f"dialect {dialect!r}: expected one of {', '.join(map(repr, MICROS))}")
    tree = sqlglot.parse_one(sql, read="duckdb")
    if dialect == "clickhouse":
        _tell_apart(tree)
    # From the leaves up, so that what takes the place of a node is not looked at again.
    for node in reversed(list(tree.bfs())):
        _mend(node, dialect)
    for ours, theirs in (tables or {}).items():
        for node in [node for node in tree.find_all(exp.Table) if node.name == ours]:
            node.replace(_table(theirs, dialect))
    text = tree.sql(dialect, pretty=pretty, unsupported_level=sqlglot.ErrorLevel.RAISE)
    if dialect == "clickhouse":
        text += "\nSETTINGS " + ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
    return text


def _mend(node, dialect):
    if isinstance(node, exp.UnixMicros):
        node.replace(_micros(node.this, dialect))
    elif isinstance(node, exp.Anonymous) and node.name.upper() == "EPOCH_US":
        node.replace(_micros(node.expressions[0], dialect))
    elif isinstance(node, exp.Ordered):
        # No statement of ours orders by what can be null (a test turns nulls to the other end): to say where they
        # stand is clutter, and an error in BigQuery's windows. What a dialect does by itself, sqlglot does not say.
        order = sqlglot.Dialect.get_or_raise(dialect).NULL_ORDERING
        descending = bool(node.args.get("desc"))
        node.set("nulls_first", {"nulls_are_small": not descending, "nulls_are_large": descending}.get(order, False))
    elif isinstance(node, exp.Identifier) and dialect == "snowflake":
        # Without quotes a name is one in capitals, so that event is not "event"; and START and FOLLOWING are taken.
        node.set("quoted", True)
    elif isinstance(node, exp.DataType) and node.this in _TYPES.get(dialect, {}):
        node.replace(exp.DataType.build(_TYPES[dialect][node.this], dialect=dialect))
    elif dialect == "clickhouse":
        _mend_clickhouse(node)


def _table(name, dialect):
    try:
        return exp.to_table(name, dialect=dialect)
    except sqlglot.errors.SqlglotError:
        raise BadParameter(f"table {name!r}: expected the name of a table, as {dialect} writes it") from None


def _micros(moment, dialect):
    expression = sqlglot.parse_one(MICROS[dialect], read=dialect)
    for column in list(expression.find_all(exp.Column)):
        column.replace(moment.copy())
    return expression


def _tell_apart(tree):
    """Rename CTEs that are called as some column is: ClickHouse takes the column for the table."""
    shared = {cte.alias for cte in tree.find_all(exp.CTE)} & {column.alias for column in tree.find_all(exp.Alias)}
    for node in tree.find_all(exp.CTE, exp.Table, exp.Column):
        name = node.args.get("table") if isinstance(node, exp.Column) else node.this
        name = node.args["alias"].this if isinstance(node, exp.CTE) else name
        if isinstance(name, exp.Identifier) and name.name in shared:
            name.set("this", f"{name.name}_rows")


def _mend_clickhouse(node):
    if isinstance(node, (exp.Lag, exp.Lead)):
        # Of a column that cannot be null, the row before the first would be 0 or ''.
        node.set("this", _call("toNullable", node.this))
    elif isinstance(node, exp.Window) and (spec := node.args.get("spec")) and spec.args.get("kind") == "RANGE":
        distances = [int(end.name) for end in (spec.args["start"], spec.args["end"]) if isinstance(end, exp.Literal)]
        if any(distance >= 2**31 for distance in distances):
            raise BadParameter(
                f"ClickHouse looks ahead 2,147 seconds at most, found {max(distances) / 1_000_000:,.0f}: "
                "shorten the grace, or count on another engine"
            )
        # Frames at a distance are for columns that cannot be null; no order key of ours is.
        for ordered in node.args["order"].expressions:
            ordered.set("this", _call("assumeNotNull", ordered.this))
    elif _unsigned(node):
        # Whole numbers without a sign have no type in common with those that have one.
        node.replace(_call("toInt64", node))
    elif isinstance(node, exp.GroupConcat) and isinstance(node.this, exp.Order):
        # There is no ordered collect: pairs are collected, sorted and read off.
        order = [ordered.this.sql("clickhouse") for ordered in node.this.expressions]
        pairs = f"arraySort(groupArray(({', '.join(order)}, {node.this.this.sql('clickhouse')})))"
        separator = node.args["separator"].sql("clickhouse")
        text = f"arrayStringConcat(arrayMap(pair -> pair.{len(order) + 1}, {pairs}), {separator})"
        node.replace(sqlglot.parse_one(text, read="clickhouse"))


def _unsigned(node):
    """Whether ClickHouse gives a whole number without a sign, where others give one with it."""
    if isinstance(node, exp.Case):
        values = [*(branch.args["true"] for branch in node.args["ifs"]), node.args.get("default") or exp.Null()]
        return all(isinstance(value, exp.Null) or value.is_int for value in values)
    if isinstance(node, exp.Window):
        return isinstance(node.this, (exp.Count, exp.RowNumber, exp.DenseRank))
    return isinstance(node, exp.Count) and not isinstance(node.parent, exp.Window)


def _call(name, argument):
    return exp.Anonymous(this=name, expressions=[argument.copy()])


def as_duckdb(table):
    """An Arrow table in the types that DuckDB gives: decimals as floats, moments and days as UTC microseconds without a
    zone, whole numbers with a sign.
    """
    for index, column in enumerate(table.schema):
        values, kind = table.column(index), column.type
        if pa.types.is_decimal(kind):
            # By way of text: the cast straight to floats makes 0.1 of money 0.09999999999999999.
            values = values.cast(pa.string()).cast(pa.float64())
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            values = values.cast(pa.timestamp("us", getattr(kind, "tz", None))).cast(pa.timestamp("us"))
        elif pa.types.is_unsigned_integer(kind):
            values = values.cast(pa.int64())
        table = table.set_column(index, column.name, values)
    return table


def numbered(frame, texts):
    """{column: array}; of `texts` (each row's place in the names, −1 for none; the names)."""
    found = {name: column.to_numpy() for name, column in frame.items()}
    for name in texts:
        places, names = pd.factorize(found[name])
        found[name] = places, names.tolist()
    return found
