"""How columns as they are found become ours: by type, strictly, with every value that cannot be read counted."""

from dataclasses import dataclass

from perfnb.engine import identifier
from perfnb.errors import UnreadableData

TYPES = {
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP",
    "date": "DATE",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "money": "DECIMAL(18, 6)",
    "boolean": "BOOLEAN",
}
_EXPECTED = {
    "text": "text, or a number that is exact (whole numbers held as floats are not above 2^53: read them as text)",
    "timestamp": "a moment as 2025-08-31 13:05:00, with an offset as +02:00 where it is not UTC, "
    "or a whole number since 1970",
    "date": "a day as 2025-08-31 (no time and no offset: cut them off in the time zone that the days are meant in)",
    "integer": "a whole number without separators, as 1234",
    "number": "a number with a decimal point and no other separator, as 1234.5",
    "money": "an amount below 10^12 with a decimal point and no other separator, as 1234.50",
    "boolean": "true or false",
}
# What each kind may be read from; anything else is refused, where it holds a value.
_NUMBERS = ("integer", "float", "decimal")
_READABLE = {
    "text": ("text", "uuid", "moment", "day", "boolean", *_NUMBERS),
    "timestamp": ("text", "moment", "day", *_NUMBERS),
    "date": ("text", "moment", "day"),
    "integer": ("text", *_NUMBERS),
    "number": ("text", *_NUMBERS),
    "money": ("text", *_NUMBERS),
    "boolean": ("text", "boolean", *_NUMBERS),
}
# How texts must look: engines read much more ("1_000", "5d", "epoch", "12:30", "2025"), each something else.
_WHOLE = "^[+-]?[0-9]+([.]0*)?$"
_NUMBER = "^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?$"
_DAY = "[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}"
_MIDNIGHT = f"^{_DAY}([ T]00:00(:00([.]0+)?)?)?$"
_OFFSET = "(Z| ?UTC|[+-][0-9]{2}(:?[0-9]{2})?| [A-Za-z_]+/[A-Za-z_/]+)"
_MOMENT = f"^{_DAY}([ T]([01]?[0-9]|2[0-3]):[0-9]{{2}}(:[0-9]{{2}}([.][0-9]+)?)?{_OFFSET}?)?$"
# Whole numbers since 1970 that mean a moment between 2000 and 2100: the ranges do not overlap.
_EPOCH_UNITS = {1: "seconds", 10**3: "milliseconds", 10**6: "microseconds", 10**9: "nanoseconds"}
# What begins with an ASCII letter is not blank: a comparison says so at a tenth of what trimming costs.
_PLAIN = "({} BETWEEN '!' AND '~')"
_YEAR_2000, _YEAR_2100 = 946_684_800, 4_102_444_800


@dataclass(frozen=True)
class Source:
    """Where a table's raw rows come from; `text` when every column is still text."""

    origin: str
    sql: str
    columns: dict
    text: bool = False


def _family(found):
    """What an engine's type is to us: text, integer, float, decimal, moment, day, boolean, uuid or other."""
    if found.endswith("]"):
        return "other"
    families = {
        "text": ("VARCHAR", "CHAR", "ENUM"),
        "integer": ("TINYINT", "SMALLINT", "INT", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINT", "UBIGINT"),
        "float": ("FLOAT", "DOUBLE"),
        "decimal": ("DECIMAL",),
        "moment": ("TIMESTAMP",),
        "day": ("DATE",),
        "boolean": ("BOOLEAN",),
        "uuid": ("UUID",),
    }
    found = "BIGINT" if found == "UHUGEINT" else found.replace("INTERVAL", "OTHER")
    return next((family for family, starts in families.items() if found.startswith(starts)), "other")


def cast(raw, column, kind, source, backend):
    """SQL that reads `column` as `kind`: null where its value is none of that kind."""
    name, found = identifier(column), source.columns[column]
    family = _family(found)
    if kind is None:
        return _text_cast(name, found, "text") if found == "VARCHAR" else name
    if family not in _READABLE[kind]:
        return f"CAST(NULL AS {TYPES[kind]})"
    if family == "text":
        name = name if found == "VARCHAR" else f"CAST({name} AS VARCHAR)"
    if kind == "text":
        return _text_cast(name, found, family)
    value = f"NULLIF(TRIM({name}), '')" if family == "text" else name
    if kind == "timestamp":
        return _moment_cast(raw, column, value, family, source, backend)
    if kind == "date":
        return _day_cast(value, found, family, backend)
    if kind == "boolean":
        return _boolean_cast(value, family)
    return _number_cast(value, kind, family)


def _text_cast(name, found, family):
    if family == "text":
        return f"CASE WHEN {_PLAIN.format(name)} OR TRIM({name}) <> '' THEN {name} END"
    text = f"CAST({name} AS VARCHAR)"
    if family not in ("float", "decimal"):
        return text
    # Ids that pandas turned into floats because one was missing: 17.0 is the person 17.
    whole = f"TRY_CAST({name} AS BIGINT)"
    text = f"CASE WHEN {whole} = {name} THEN CAST({whole} AS VARCHAR) ELSE {text} END"
    if family == "decimal":
        return text
    # Above, neighbours share a float: two persons would be one.
    return f"CASE WHEN ABS({name}) < {2**53 if found == 'DOUBLE' else 2**24} THEN {text} END"


def _number_cast(value, kind, family):
    if kind == "integer":
        if family == "integer":
            return f"TRY_CAST({value} AS BIGINT)"
        if family == "text":
            whole = f"TRY_CAST(TRY_CAST({value} AS DECIMAL(38, 9)) AS BIGINT)"
            return f"CASE WHEN {_looks(value, _WHOLE)} THEN {whole} END"
        return f"CASE WHEN TRY_CAST({value} AS BIGINT) = {value} THEN TRY_CAST({value} AS BIGINT) END"
    number = f"TRY_CAST({value} AS {TYPES[kind]})"
    if family == "text":
        number = f"CASE WHEN {_looks(value, _NUMBER)} THEN {number} END"
    if family in ("integer", "decimal"):
        return number
    # NaN sorts above every number, so this keeps NaN and infinity out.
    return f"CASE WHEN ABS({number}) < 1e300 THEN {number} END"


def _boolean_cast(value, family):
    if family == "boolean":
        return value
    if family != "text":
        return f"CASE WHEN {value} = 1 THEN TRUE WHEN {value} = 0 THEN FALSE END"
    yes, no = "('true', 't', 'yes', 'y', '1', '1.0')", "('false', 'f', 'no', 'n', '0', '0.0')"
    return f"CASE WHEN LOWER({value}) IN {yes} THEN TRUE WHEN LOWER({value}) IN {no} THEN FALSE END"


def _day_cast(value, found, family, backend):
    if family == "text":
        return f"CASE WHEN {_looks(value, _MIDNIGHT)} THEN TRY_CAST({value} AS DATE) END"
    if family == "moment":
        # A moment inside a day is one day here and another there: only midnight (UTC) is a day.
        moment = backend.utc(value, found)
        midnight = f"{_within_years(moment)} AND {backend.micros(moment)} % 86400000000 = 0"
        return f"CASE WHEN {midnight} THEN CAST({moment} AS DATE) END"
    return f"CASE WHEN {_within_years(value)} THEN {value} END"


def _moment_cast(raw, column, value, family, source, backend):
    """SQL for a moment: of a timestamp, a text, or a number since 1970, whose unit its range tells."""
    if family in ("moment", "day"):
        moment = backend.utc(value, source.columns[column])
        return f"CASE WHEN {_within_years(moment)} THEN {moment} END"
    number = value
    if family == "text":
        number = f"CASE WHEN {_looks(value, _NUMBER)} THEN TRY_CAST({value} AS DECIMAL(28, 9)) END"
    elif family == "float":
        number = f"CASE WHEN ABS({value}) < 1e300 THEN {value} END"
    seen = backend.fetch(
        f"SELECT CAST(MIN({number}) AS DOUBLE) AS low, CAST(MAX({number}) AS DOUBLE) AS high, "
        f"COUNT({number}) AS numbers FROM ({raw}) AS raw"
    ).iloc[0]
    if seen["numbers"] == 0:
        if family != "text":
            return "CAST(NULL AS TIMESTAMP)"
        return f"CASE WHEN {_looks(value, _MOMENT)} THEN {backend.utc(value, 'VARCHAR')} END"
    for per_second in _EPOCH_UNITS:
        if _YEAR_2000 * per_second <= seen["low"] and seen["high"] < _YEAR_2100 * per_second:
            return backend.from_micros(_micros(number, family, per_second))
    raise UnreadableData(
        f"{source.origin}: column {column} holds numbers from {seen['low']:.0f} to {seen['high']:.0f}, which "
        f"are no {', '.join(_EPOCH_UNITS.values())} since 1970 of the years 2000 to 2099. Give moments as texts"
    )


def _micros(number, family, per_second):
    """SQL for whole microseconds from a count of 1/`per_second` seconds, which may have a fraction."""
    factor = str(1_000_000 // per_second) if per_second <= 1_000_000 else "0.001"
    if family == "float":
        # A float of this size is exact to a quarter of a microsecond: round, for cutting would lose a whole one.
        return f"CAST(ROUND({number} * {factor}) AS BIGINT)"
    return f"CAST(FLOOR(CAST({number} AS DECIMAL(28, 9)) * {factor}) AS BIGINT)"


def _looks(value, pattern):
    return f"REGEXP_MATCHES({value}, '{pattern}')"


def _within_years(moment):
    """Keeps DuckDB's infinities out, and years that Python cannot hold."""
    return f"{moment} >= DATE '0001-01-01' AND {moment} < DATE '9999-12-31'"


def refuse_unreadable(raw, theirs, casts, kinds, source, backend):
    """One scan over all columns that can fail; UnreadableData for values of another kind, and for no rows.

    Returns the casts that are needed from here on: what the scan has found to be of its type throughout is taken
    as it is, which reads several times faster.
    """
    families = {ours: _family(source.columns[column]) for ours, column in theirs.items()}
    checked = [ours for ours in theirs if kinds[ours] and (kinds[ours], families[ours]) != ("text", "text")]
    parts = ["COUNT(*) AS n"]
    for index, ours in enumerate(checked):
        column = identifier(theirs[ours])
        text = f"CAST({column} AS VARCHAR)"
        given = f"TRIM({text}) <> ''" if families[ours] == "text" else f"{column} IS NOT NULL"
        bad = f"{given} AND ({casts[ours]}) IS NULL"
        parts.append(f"COUNT(CASE WHEN {bad} THEN 1 END) AS bad_{index}")
        parts.append(f"MIN(CASE WHEN {bad} THEN {text} END) AS example_{index}")
    texts = [ours for ours in theirs if source.columns[theirs[ours]] == "VARCHAR" and ours not in checked]
    for index, ours in enumerate(() if source.text else texts):
        name = identifier(theirs[ours])
        # Said so, the least and the greatest value in a Parquet file's statistics may answer it.
        parts.append(f"COUNT(CASE WHEN NOT {_PLAIN.format(name)} AND TRIM({name}) = '' THEN 1 END) AS blank_{index}")
    counts = backend.fetch(f"SELECT {', '.join(parts)} FROM ({raw}) AS raw").iloc[0]
    if counts["n"] == 0:
        raise UnreadableData(f"{source.origin}: a header but no rows. Export it again, or leave it out")
    problems = []
    for index, ours in enumerate(checked):
        if counts[f"bad_{index}"]:
            kept_as = "" if families[ours] == "text" else f" ({source.columns[theirs[ours]]})"
            problems.append(
                f"{source.origin}: column {theirs[ours]}: {counts[f'bad_{index}']} of {counts['n']} values cannot be "
                f"read, for example {counts[f'example_{index}']!r}{kept_as}; expected {_EXPECTED[kinds[ours]]}"
            )
    if problems:
        raise UnreadableData("\n".join(problems))
    if source.text:
        return casts
    plain = {ours: identifier(theirs[ours]) for index, ours in enumerate(texts) if not counts[f"blank_{index}"]}
    for ours in checked:
        column, found, wanted = identifier(theirs[ours]), source.columns[theirs[ours]], TYPES[kinds[ours]]
        if kinds[ours] in ("date", "integer", "number", "money") and families[ours] in (*_NUMBERS, "day"):
            plain[ours] = column if found == wanted else f"CAST({column} AS {wanted})"
        if kinds[ours] == "timestamp" and families[ours] in ("moment", "day"):
            plain[ours] = backend.utc(column, found)
    return casts | plain
