"""The counts of a plain funnel at once: each hop sorts only the rows that can still go on.

The programme carries every row through a window per hop. It serves every switch, and an engine that sorts once for
all of these windows needs no better; DuckDB sorts for each. Here units that never come to step 2 after step 1 stay
out, and hop k takes the attempts at step k - 1 and the events of their units alone.
"""

from perfnb.engine import identifier
from perfnb.funnel.programme import bounds, check_types, keyed, known, met, moment, nearby

__all__ = ["countable", "plain_counts"]


def countable(touchpoints, rule):
    """Whether `plain_counts` finds what the programme finds, and sooner."""
    return (
        touchpoints.engine.name == "duckdb"
        and rule.count > 1
        and rule.order == "ordered"
        and rule.entry in ("best", "first")
        and rule.open == "closed"
        and rule.plain
        and not (rule.in_rows or rule.exclude or rule.optional or rule.grace)
        and all(limit is None for limit in rule.limits)
    )


def plain_counts(touchpoints, rule):
    """The statement whose one row has units_k, level_k, continued_k, out_of_order_k and immature_k per step."""
    ctes, numbers = [*_rows(touchpoints, rule), *_starts(rule)], range(1, rule.count + 1)
    held = {"units_1": "sum_1", **{f"did_{k}": "sum_1" for k in numbers}}
    for k in numbers[1:]:
        ctes += _hop(rule, k)
        held[f"units_{k}"] = f"sum_{k}"
        if rule.window is not None:
            ctes.append(_immature(rule, k))
            held[f"immature_{k}"] = f"late_{k}"
    # One under the other: planning a join of so many tables takes as long as counting a small log.
    rows = " UNION ALL ".join(f"SELECT '{name}' AS name, {name} AS n FROM {table}" for name, table in held.items())
    found = {name: f"MAX(CASE WHEN name = '{name}' THEN n END)" for name in held}
    for k in numbers:
        found[f"level_{k}"] = found[f"units_{k}"]
        found[f"out_of_order_{k}"] = f"{found.pop(f'did_{k}')} - {found[f'units_{k}']}"
    for k in numbers[1:]:
        found[f"continued_{k}"] = found[f"units_{k}"]
        if rule.window is None:
            # Nobody's window ever closes.
            found[f"immature_{k}"] = f"{found[f'units_{k - 1}']} - {found[f'units_{k}']}"
    shown = ", ".join(f"{sql} AS {name}" for name, sql in found.items())
    return "WITH " + ",\n".join(ctes) + f"\nSELECT {shown} FROM ({rows}) AS counted"


def _rows(touchpoints, rule):
    """CTEs `rows_of`: u_1 …, t, step of the funnel's events; `data`: when the log ends."""
    touchpoints.require(*rule.columns)
    check_types(touchpoints, rule)
    at = moment(touchpoints, rule)
    keys = ", ".join(f"{identifier(name)} AS u_{n}" for n, name in enumerate(rule.keys, start=1))
    step = " ".join(f"WHEN {one.sql()} THEN {k}" for k, one in enumerate(rule.steps, start=1))
    return [
        f"rows_of AS (SELECT {keys}, {at} AS t, CAST(CASE {step} END AS SMALLINT) AS step FROM {{table}} AS source "
        f"WHERE {' AND '.join([*known(rule, at), met(rule)])})",
        f"data AS (SELECT MAX({touchpoints.micros()}) AS ends FROM {{table}} AS source)",
    ]


def _starts(rule):
    """CTEs `units`: the first and the last start of each, its last event of step 2, did_k; `sum_1`: their sums;
    `events`: those of units that may go on, from the first start to the end of the last window; `s_1`: their starts.
    """
    keys, numbers = keyed(rule), range(1, rule.count + 1)
    start = f"CASE WHEN step = 1{bounds(rule)} THEN t END"
    low, high = f"MIN({start})", f"MAX({start})"
    if rule.entry == "first":
        low = high = f"CASE WHEN MIN(CASE WHEN step = 1 THEN t END) = {low} THEN {low} END"
    found = {
        "low": low,
        "high": high,
        "last": "MAX(CASE WHEN step = 2 THEN t END)",
        **{f"did_{k}": f"MAX(CASE WHEN step = {k}{nearby(rule)} THEN CAST(1 AS SMALLINT) END)" for k in numbers},
    }
    did = {k: f"did_{k}" for k in numbers}
    if rule.period is None:
        # All starts count: what is known of steps 1 and 2 says who did them.
        did |= {1: "low", 2: "last"}
        del found["did_1"], found["did_2"]
    late = "" if rule.window is None else f" + {rule.window}"
    return [
        f"units AS (SELECT {keys}, {', '.join(f'{sql} AS {name}' for name, sql in found.items())} "
        f"FROM rows_of GROUP BY {keys})",
        f"sum_1 AS (SELECT COUNT(low) AS units_1, {', '.join(f'COUNT({did[k]}) AS did_{k}' for k in numbers)} "
        "FROM units)",
        f"events AS (SELECT rows_of.* FROM rows_of JOIN units ON {_same(rule, 'rows_of', 'units')} WHERE low <= last "
        "AND t >= low AND "
        + (f"t <= CASE WHEN step = 1 THEN high ELSE high{late} END)" if late else "(step > 1 OR t <= high))"),
        f"s_1 AS (SELECT {keys}, t, t AS s FROM events WHERE step = 1)",
    ]


def _hop(rule, k):
    """CTEs `s_k`: u_1 …, t, s of the events that end an attempt of k steps, with its latest start; `sum_k`."""
    keys, before = keyed(rule), f"s_{k - 1}"
    # At one instant, what stands at step k - 1 may go on to step k; under "increase" it stands after it.
    held = rule.count + 1 if rule.ties == "increase" else 0
    wanted = [] if k == 2 else [_has(rule, before, "events")]
    if k == 2 or k < rule.count:
        # Of few units, the last hop reads all steps: DuckDB tests what all readers test before the join, on all rows.
        wanted.append(f"step = {k}")
    inside = "" if rule.window is None else f" AND t - start <= {rule.window}"
    return [
        f"met_{k} AS (SELECT {keys}, t, step, CAST(NULL AS BIGINT) AS s FROM events WHERE {' AND '.join(wanted)} "
        f"UNION ALL SELECT {keys}, t, CAST({held} AS SMALLINT) AS step, s FROM {before})",
        f"held_{k} AS (SELECT met_{k}.*, MAX(s) OVER (PARTITION BY {keys} ORDER BY t, step "
        f"ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS start FROM met_{k})",
        f"s_{k} AS (SELECT {keys}, t, start AS s FROM held_{k} WHERE step = {k} AND start IS NOT NULL{inside})",
        f"sum_{k} AS (SELECT COUNT(*) AS units_{k} FROM (SELECT DISTINCT {keys} FROM s_{k}) AS reached)",
    ]


def _immature(rule, k):
    """The CTE `late_k`: the units that stopped before step k, with a window that is open when the data end."""
    before, start = ("units", "high") if k == 2 else (f"s_{k - 1}", "s")
    return (
        f"late_{k} AS (SELECT COUNT(*) AS immature_{k} FROM (SELECT DISTINCT {keyed(rule)} FROM {before} "
        f"CROSS JOIN data WHERE {start} + {rule.window} > ends AND NOT {_has(rule, f's_{k}', before)}) AS stopped)"
    )


def _has(rule, table, other):
    return f"EXISTS (SELECT 1 FROM {table} WHERE {_same(rule, table, other)})"


def _same(rule, one, other):
    return " AND ".join(f"{one}.u_{n} = {other}.u_{n}" for n, _ in enumerate(rule.keys, start=1))
