"""The value of KPIs, each put together from rows as its kind allows, and which KPIs a table can yield."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from perfnb import columns, intervals
from perfnb.engine import Table, connect, identifier, label, literal
from perfnb.errors import BadParameter, MissingColumns, MissingTable
from perfnb.kpi.catalogue import CATALOGUE, NOT_SUMMED
from perfnb.kpi.catalogue import kpi as known
from perfnb.kpi.figures import parts as campaign_parts

__all__ = ["measurable", "value"]

# Events that base columns count in touchpoints; whoever has any but the first of them was on the site.
_EVENTS = {"impressions": "impression", "clicks": "click", "leads": "lead", "orders": "order"}
_ON_SITE = f"COALESCE(event, '') <> {literal(_EVENTS['impressions'])}"
_CONVERSION = "order"
# Groups of answers: the scale, and SQL of one answer.
_ANSWERS = {
    "promoters": ("nps", "CASE WHEN score >= 9 THEN 1 ELSE 0 END"),
    "detractors": ("nps", "CASE WHEN score <= 6 THEN 1 ELSE 0 END"),
    "satisfied_answers": ("satisfaction", "CASE WHEN score >= 4 THEN 1 ELSE 0 END"),
}
# The column of the orders table behind a base column.
_OF_ORDERS = {"revenue": "value", "contribution": "margin", "new_customers": "new_customer", "customers": "user_id"}
_WAYS_OUT = {
    "distinct": "Count it from the events (kpi.value of touchpoints or orders), or ask for groups of one row each, "
    "for example by=['date', 'channel', 'campaign']: the platform's own figure for just that window and slice",
    "index": "Ask for one source and one day: one row per group",
    "once": "Ask for groups of one row each: the figure for just that window and slice",
}
# Columns of money: their amounts must be in one currency.
_MONEY = frozenset(
    column
    for one in CATALOGUE.values()
    for side, terms in zip(("top", "bottom"), one.terms, strict=True)
    for column in terms
    if one.unit == "currency" or one.level == "finance" or (one.unit == "currency_per_unit" and side == "top")
)


@dataclass(frozen=True)
class _Part:
    """A base column in one table: SQL of a row's figure, and of what is null where the row does not say it.

    `how` rows go together: "sum", "distinct", or one of NOT_SUMMED. `money` is
    the table's column if it is an amount.
    """

    sql: str
    how: str = "sum"
    given: str = ""
    money: str = ""


def value(table, kpi, *, by=(), period=None, action=None):
    """KPIs for the whole table or for groups of its rows, each added up as its kind allows.

    `table` is a Table (campaigns, touchpoints, orders or surveys), or the sums of
    `kpi.daily` or `kpi.base`. `kpi` is an id or a list of them, `by` columns ("date"
    for days), `period` a Period or a text ("2025-08"). `action` names the column that
    `conversions` are: "orders" if nothing else is said, here or in the sums.

    A ratio is the sum of its numerator by the sum of its denominator, over the rows
    in which both are known: null is not 0. Distinct persons are counted in the
    events of just this window and slice; a table of sums has them only where a group
    is one row. Balances are those of one day, the last of the period (or the first)
    on which they are known, which the flag says. Answers count as independent. What no
    rule allows raises BadParameter, what the table lacks MissingColumns.

    Returns one row per (period,) group of `by` and KPI: (period), (by), kpi, unit,
    value (null where undefined), low and high (95 %: Wilson for shares of things
    counted, t for means of answers), numerator, denominator (null for sums),
    coverage (share of the denominator that is in the rows with both known),
    action (where the KPI counts it), flag (no_data, no_base: 0/0,
    numerator_without_denominator: x/0, above_one, at_first_day, at_last_day),
    currency.
    """
    asked = list({known(name).id: known(name) for name in ([kpi] if isinstance(kpi, str) else kpi)}.values())
    if not asked:
        raise BadParameter("kpi is empty; expected an id of the catalogue, or a list of them")
    by = [by] if isinstance(by, str) else list(dict.fromkeys(by))
    if isinstance(table, pd.DataFrame):
        by = ["period"] * ("period" in table and "period" not in by) + by
        table, action = _framed(table, by, action)
    if table.absent:
        raise MissingTable(f"{table.origin.removeprefix('not in ')}: no table {table.name}, so none of its KPIs")
    action = action or "orders"
    keys = _keys(table, by)
    parts = _wanted_parts(table, asked, action)
    if any(one.id in ("new_visitors", "returning_visitors") for one in asked) and table.name == "touchpoints":
        table = _with_first_visit(table)
    if period is not None:
        table = table.between(table.period(str(period)))
    found, names = _fetched(table, asked, parts, keys, by)
    _refuse_sums(table, asked, parts, found, names, by)
    rows = [_rows(one, parts[one.id], found, names[one.id]).assign(place=place) for place, one in enumerate(asked)]
    result = pd.concat([pd.concat([found[by], own], axis=1).rename_axis("group") for own in rows]).reset_index()
    result = result.sort_values(["group", "place"], ignore_index=True)
    result["flag"] = result["flag"].astype(object).where(result["flag"].notna(), None)
    counts = {one.id for one in asked if "conversions" in one.columns}
    result["action"] = pd.Series(np.where(result["kpi"].isin(counts), action, None), dtype=object)
    amounts = sorted({part.money for own in parts.values() for part in own.values() if part.money})
    result["currency"] = table.currency(*amounts) if amounts else None
    order = ["kpi", "unit", "value", "low", "high", "numerator", "denominator", "coverage", "action", "flag"]
    return result[[*by, *order, "currency"]]


def measurable(table, *, action=None):
    """Which KPIs of the catalogue a table can yield, and what the others lack.

    Returns one row per KPI: kpi, level, measurable (true or false), missing (columns,
    events or scales that the table does not have; for derived KPIs how they are
    made from others; null for measurable ones). That distinct ones and indices are
    never summed holds for measurable ones, too.
    """
    if isinstance(table, pd.DataFrame):
        table, action = _framed(table, (), action)
    missing = dict.fromkeys(_NAMES, table.name) if table.absent else _parts(table, _NAMES, action or "orders")[1]
    lacking = _lacking(CATALOGUE.values(), missing)
    rows = [(one.id, one.level, not lacking[one.id], ", ".join(lacking[one.id]) or None) for one in CATALOGUE.values()]
    return pd.DataFrame(rows, columns=["kpi", "level", "measurable", "missing"])


# The table, and what stands behind a base column in it


def _framed(frame, by, action):
    """A frame of sums as a Table, and the action that its conversions are."""
    import pyarrow as pa

    said = frame["action"].dropna().unique() if "action" in frame else ()
    if action and len(said) and set(said) != {action}:
        raise BadParameter(
            f"action={action!r}, but these sums count {' and '.join(map(str, said))} as conversions. "
            f"Make them anew: kpi.daily(…, action={action!r})"
        )
    if len(said):
        action = said[0]
    elif action or "conversions" not in frame:
        action = action or "orders"
        frame = frame.assign(conversions=frame[action]) if action in frame else frame
    wanted = {"date", "currency", *by, *_NAMES}
    kept = frame[[name for name in frame if name in wanted]]
    engine = connect("duckdb")
    sql = engine.frame(pa.Table.from_pandas(kept, preserve_index=False))
    return Table("sums", engine, sql, engine.columns(sql), "a frame"), action or "conversions"


def _names(one):
    """The base columns of a Kpi: its own id where it counts distinct ones."""
    return (one.id,) if one.aggregation == "distinct" else one.columns


_NAMES = frozenset(name for one in CATALOGUE.values() for name in _names(one))


def _keys(table, by):
    """{column to group by: SQL}; a column that our table could have but has not is "(unknown)"."""
    table.require(*(name for name in by if name not in columns.of(table.name) and name != "date"))
    keys = {}
    for name in by:
        if name == "date":
            keys[name] = _day(table)
        elif table.name == "sums":  # whose names are labels already
            keys[name] = f"COALESCE(CAST({identifier(name)} AS VARCHAR), '(unknown)')"
        else:
            keys[name] = label(table.column(name))
    return keys


def _day(table):
    if table.moment is None:
        table.require("date")
    return f"CAST({identifier(table.moment)} AS DATE)"


def _wanted_parts(table, asked, action):
    """{KPI: {base column: _Part}}; MissingColumns where the table lacks one."""
    for one in asked:
        if one.aggregation == "derived":
            raise BadParameter(
                f"{one.id} is no sum over rows: {one.equation}. Ask for its parts, and put them together; "
                "kpi.explain compares periods"
            )
    found, missing = _parts(table, {name for one in asked for name in _names(one)}, action)
    lacking = {name: of for name, of in _lacking(asked, missing).items() if of}
    if lacking:
        said = "; ".join(f"{name}: no {', '.join(of)}" for name, of in lacking.items())
        away = f" {_WAYS_OUT['distinct']}" if any(known(name).aggregation == "distinct" for name in lacking) else ""
        raise MissingColumns(
            f"{table.name} ({table.origin}): not measurable with these data: {said}. Found "
            f"{', '.join(table.columns)}. Map columns that are called otherwise when opening: columns={{…}}; "
            f"kpi.measurable(…) lists what a table can yield.{away}"
        )
    return {one.id: {name: _held(one, name, found[name]) for name in _names(one)} for one in asked}


def _held(one, name, part):
    """The part with the limits that its column or its KPI sets."""
    if part.how == "distinct":
        return part
    limit = {"index": "once", "distinct": "once", "stock": "last"}.get(one.aggregation, "sum")
    return replace(part, how=NOT_SUMMED.get(name, limit))


def _lacking(asked, missing):
    """{KPI: what is missing for it}; for a derived one, how it is made."""
    return {
        one.id: [one.equation]
        if one.aggregation == "derived"
        else list(dict.fromkeys(missing[name] for name in _names(one) if name in missing))
        for one in asked
    }


def _parts(table, names, action):
    """{base column: _Part} of those the table has, and {base column: what is missing} of the others."""
    own = {"touchpoints": _of_touchpoints, "orders": _of_orders, "surveys": _of_surveys}
    if table.name not in (*own, "campaigns", "sums"):
        raise BadParameter(f"{table.name}: KPIs come from campaigns, touchpoints, orders, surveys, or sums of these")
    bound, missing = own.get(table.name, _of_campaigns)(table, names, action)
    others = {name: _plain(table, name) for name in names if name not in bound and name not in missing}
    found = bound | {name: part for name, part in others.items() if part}
    return found, {name: missing.get(name, name) for name in names if name not in found}


def _plain(table, name):
    """A column that is called like the base column, or holds the ids that it counts; None if there is none."""
    if table.has(name):
        return _number(table, name)
    ids = CATALOGUE[name].numerator if _is_distinct(name) else "user_id"
    return _Part(identifier(ids), "distinct") if ids != "user_id" and table.has(ids) else None


def _of_campaigns(table, names, action):
    if table.name == "sums":
        return {}, {}
    if action in NOT_SUMMED or getattr(columns.of("campaigns").get(action), "type", "number") in ("text", "date"):
        raise BadParameter(f"action={action!r} is nothing that adds up; expected for example 'orders' or 'leads'")
    bound = {name: _Part(sql) for name, sql in campaign_parts(table, ("ad_visits", "other_visits")).items()}
    needs = {"ad_visits": ("visits", "clicks"), "other_visits": ("visits",), "conversions": (action,)}
    missing = {name: [one for one in needed if not table.has(one)] for name, needed in needs.items()}
    if table.has(action):
        bound["conversions"] = _number(table, action)
    return (
        {name: part for name, part in bound.items() if not missing[name]},
        {name: ", ".join(lacking) for name, lacking in missing.items() if lacking},
    )


def _of_touchpoints(table, names, action):
    bound, missing = {}, {"visits": "visits (kpi.figures counts them)"}
    seen = set()
    if table.has("event") and names & {*_EVENTS, "revenue", "conversions"}:
        seen = set(table.fetch("SELECT DISTINCT event FROM {table} AS t WHERE event IS NOT NULL")["event"])
    for name, event in _EVENTS.items():
        if event in seen:
            bound[name] = _Part(f"CASE WHEN event = {literal(event)} THEN 1 ELSE 0 END")
        else:
            # A kind of event that the log never holds was not recorded; that is not 0.
            missing[name] = f"event {event!r}"
    if _CONVERSION in seen and table.has("value"):
        bound["revenue"] = _Part(f'CASE WHEN event = {literal(_CONVERSION)} THEN "value" ELSE 0 END', money="value")
    else:
        missing["revenue"] = f"event {_CONVERSION!r} with a value"
    if action not in _EVENTS:
        raise BadParameter(f"action={action!r} is not counted in touchpoints; expected {', '.join(_EVENTS)}")
    (bound if action in bound else missing)["conversions"] = bound.get(action, missing.get(action))
    first = ' AND CAST("timestamp" AS DATE) > CAST(perfnb_first AS DATE)'
    persons = {
        "reach": ("TRUE", ("user_id",)),
        "visitors": (_ON_SITE, ("user_id", "event")),
        "unique_visitors": (_ON_SITE, ("user_id", "event")),
        "new_visitors": (f'{_ON_SITE} AND "timestamp" = perfnb_first', ("user_id", "event", "timestamp")),
        "returning_visitors": (_ON_SITE + first, ("user_id", "event", "timestamp")),
    }
    for name, (where, needed) in persons.items():
        lacking = [column for column in needed if not table.has(column)]
        if lacking:
            missing[name] = ", ".join(lacking)
        else:
            bound[name] = _Part(f"CASE WHEN {where} THEN user_id END", "distinct", "user_id")
    return bound, missing


def _with_first_visit(table):
    """The events with their person's first moment on the site, be it inside the period or before."""
    first = f'MIN(CASE WHEN {_ON_SITE} THEN "timestamp" END) OVER (PARTITION BY user_id) AS perfnb_first'
    return replace(table, sql=f"SELECT t.*, {first} FROM ({table.sql}) AS t")


def _of_orders(table, names, action):
    bound = {"orders": _Part("1")}
    flag = '"new_customer"'
    made = {
        "revenue": _Part('"value"', money="value"),
        "contribution": _Part('"margin"', money="margin"),
        "new_customers": _Part(f"CASE WHEN {flag} THEN 1 WHEN NOT {flag} THEN 0 END"),
        "customers": _Part("user_id", "distinct"),
    }
    bound |= {name: part for name, part in made.items() if table.has(_OF_ORDERS[name])}
    missing = {name: column for name, column in _OF_ORDERS.items() if name not in bound}
    if action not in ("orders", "new_customers"):
        raise BadParameter(f"action={action!r} is not counted in orders; expected orders or new_customers")
    (bound if action in bound else missing)["conversions"] = bound.get(action, missing.get(action))
    return bound, missing


def _of_surveys(table, names, action):
    """Of each scale the sum of its scores (nps_points) and the number of answers (nps_answers), and some groups."""
    lacking = [name for name in ("score", "scale") if not table.has(name)]
    scales = set()
    if not lacking:
        scales = set(table.fetch("SELECT DISTINCT scale FROM {table} AS t WHERE scale IS NOT NULL")["scale"])
    bound, missing = {}, {}
    for name in names:
        scale, _, what = name.rpartition("_")
        scale, figure = _ANSWERS.get(name, (scale, {"points": "score", "answers": "1"}.get(what)))
        if figure and scale in scales:
            bound[name] = _Part(f"CASE WHEN scale = {literal(scale)} AND score IS NOT NULL THEN {figure} END")
        elif figure:
            missing[name] = " and ".join(lacking) or f"scale {scale!r}"
    return bound, missing


def _number(table, name):
    """A column as numbers: what a table brings beyond our own columns may be text, and floats be none at all."""
    sql, found = identifier(name), table.columns[name]
    if found == "VARCHAR":
        sql = f"CAST(NULLIF(TRIM({sql}), '') AS DOUBLE)"
    elif found == "BOOLEAN":
        sql = f"CAST({sql} AS INTEGER)"
    if name not in columns.of(table.name) and found in ("VARCHAR", "FLOAT", "DOUBLE"):
        sql = f"CASE WHEN ABS({sql}) < 1e300 THEN {sql} END"  # neither NaN nor infinity
    return _Part(sql, money=name if name in _MONEY else "")


# One statement


def _fetched(table, asked, parts, keys, by):
    """The sums of every group, and {KPI: {what: column}} to find them by."""
    aggregates, windows, names = {"COUNT(*)": "s0"}, {}, {}

    def column(sql):
        return aggregates.setdefault(sql, f"s{len(aggregates)}")

    # Where two periods stand in one table, each has its own first and last day.
    over = f"OVER (PARTITION BY {keys['period']})" if "period" in keys else "OVER ()"
    for one in asked:
        own = parts[one.id]
        balances = [_given(part) for part in own.values() if part.how in ("first", "last")]
        day = None
        if balances:
            here = f"CASE WHEN {' AND '.join(balances)} THEN {_day(table)} END"
            which = "MIN" if any(part.how == "first" for part in own.values()) else "MAX"
            day = windows.setdefault(f"{which}({here}) {over}", f"perfnb_day_{len(windows)}")
        together = [_given(part) for part in own.values() if part.how not in ("first", "last")]
        seen = names[one.id] = {"rows": "s0"}
        for name, part in own.items():
            if part.how in ("first", "last"):
                rule = " AND ".join([*balances, f"{_day(table)} = {day}"])
            else:
                rule = " AND ".join(together) if one.denominator else _given(part)
            seen[name] = column(_aggregate(part, rule))
            if name in one.terms[1]:
                seen[f"all {name}"] = column(_aggregate(part, rule if day else _given(part)))
        if one.aggregation == "survey" and one.unit == "points" and len(one.terms[0]) == 1 and table.name == "surveys":
            answer = own[_names(one)[0]].sql
            seen["variance"] = column(f"VAR_SAMP(CAST({answer} AS DOUBLE))")
    source = "{table}"
    if windows:
        added = ", ".join(f"{sql} AS {name}" for sql, name in windows.items())
        source = f"(SELECT t.*, {added} FROM {{table}} AS t)"
    selected = [f"{sql} AS k{place}" for place, sql in enumerate(keys.values())]
    selected += [f"{sql} AS {name}" for sql, name in aggregates.items()]
    grouped = f" GROUP BY {', '.join(keys.values())}" if keys else ""
    found = table.fetch(f"SELECT {', '.join(selected)} FROM {source} AS source{grouped}")
    found = found.rename(columns={f"k{place}": name for place, name in enumerate(by)})
    if "date" in by:
        found["date"] = pd.to_datetime(found["date"])
    found = found.sort_values(by, ignore_index=True) if by else found
    return found.astype(dict.fromkeys(aggregates.values(), float)), names


def _given(part):
    return f"{part.given or part.sql} IS NOT NULL"


def _aggregate(part, rule):
    figure = f"CASE WHEN {rule} THEN {part.sql} END"
    if part.how == "distinct":
        # Persons whom no row names are not 0 persons.
        figure = f"CASE WHEN COUNT(CASE WHEN {rule} THEN 1 END) > 0 THEN COUNT(DISTINCT {figure}) END"
    elif part.how == "once":
        figure = f"MAX({figure})"
    else:
        figure = f"SUM({figure})"
    return f"CAST({figure} AS DOUBLE)"


def _refuse_sums(table, asked, parts, found, names, by):
    """BadParameter where a group of several rows holds a figure that no sum over rows can give."""
    for one in asked:
        for name, part in parts[one.id].items():
            wrong = found[(found["s0"] > 1) & found[names[one.id][name]].notna()] if part.how == "once" else found[:0]
            if len(wrong):
                row = wrong.iloc[0]
                group = ", ".join(f"{key}={str(row[key])!r}" for key in by) or "all rows"
                what = "an index of one source" if one.aggregation == "index" else "the same ones may stand in each row"
                kind = "index" if one.aggregation == "index" else "distinct" if _is_distinct(name) else "once"
                raise BadParameter(
                    f"{table.name} ({table.origin}): {one.id} in a group of {row['s0']:.0f} rows ({group}): {name} is "
                    f"never summed ({what}). {_WAYS_OUT[kind]}"
                )


def _is_distinct(name):
    return name in CATALOGUE and CATALOGUE[name].aggregation == "distinct"


# The rows of the result


def _rows(one, parts, found, names):
    """The rows of one KPI, one per group."""
    sums = {name: found[names[name]].to_numpy() for name in parts}
    top = sums[one.id] if one.aggregation == "distinct" else one.top(sums)
    bottom = one.bottom(sums) if one.denominator else np.full(len(found), np.nan)
    coverage = np.full(len(found), np.nan)
    amount = top
    if one.denominator:
        amount = _ratio(top, bottom)
        every = one.bottom({name: found[names[f"all {name}"]].to_numpy() for name in one.terms[1]})
        coverage = np.where(np.isnan(every), np.nan, _ratio(np.nan_to_num(bottom), every))
    low, high = _limits(one, sums, top, bottom, found, names)
    return pd.DataFrame(
        {
            "kpi": one.id,
            "unit": one.unit,
            "value": amount,
            "low": low,
            "high": high,
            "numerator": top,
            "denominator": bottom,
            "coverage": coverage,
            "flag": _flags(one, parts, top, bottom, amount),
        },
        index=found.index,
    )


def _ratio(top, bottom):
    """top / bottom, null where bottom is 0."""
    return np.divide(top, bottom, out=np.full(len(top), np.nan), where=np.nan_to_num(bottom) != 0)


def _flags(one, parts, top, bottom, amount):
    days = [f"at_{part.how}_day" for part in parts.values() if part.how in ("first", "last")]
    flag = np.full(len(top), days[0] if days else None, dtype=object)
    if one.unit == "share" and not days:
        flag[amount > 1] = "above_one"
    if one.denominator:
        flag[(bottom == 0) & (top == 0)] = "no_base"
        flag[(bottom == 0) & (top != 0)] = "numerator_without_denominator"
    flag[np.isnan(top) | (np.isnan(bottom) & bool(one.denominator))] = "no_data"
    return flag


def _limits(one, sums, top, bottom, found, names):
    """The 95 % interval: of a share of things counted, and of a mean of answers."""
    if one.unit == "share" and one.denominator and "amounts" not in one.tags.split():
        counted = (top >= 0) & (top <= bottom)
        return intervals.wilson(np.where(counted, top, np.nan), np.where(counted, bottom, np.nan))
    if one.id == "nps":
        p, d = (_ratio(sums[name], bottom) for name in ("promoters", "detractors"))
        low, high = intervals.mean(100 * (p - d), 100**2 * (p + d - (p - d) ** 2), bottom)
        return np.maximum(low, -100), np.minimum(high, 100)
    if "variance" in names:
        return intervals.mean(_ratio(top, bottom), found[names["variance"]].to_numpy(), bottom)
    return np.nan, np.nan
