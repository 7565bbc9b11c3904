"""The statement of a funnel, to reproduce its numbers where the events lie."""

from dataclasses import replace

from perfnb.engine import identifier, literal, translated
from perfnb.errors import BadParameter
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import columns_of, grouped, opening, statement

__all__ = ["sql"]


def sql(
    touchpoints,
    steps,
    *,
    dialect,
    table="touchpoints",
    columns=None,
    by=None,
    by_from="entry",
    semantics=None,
    **switches,
):
    """The statement that counts what `funnel.steps` counts, for a warehouse that has the same events. Nothing runs.

    `dialect` is "bigquery", "snowflake", "clickhouse", "databricks", "spark", "postgres" or
    "duckdb" (needs sqlglot). `table` is the events' table there, as it is written there;
    `columns` maps our names to its columns ({"user_id": "uid"}) where they are called
    otherwise. Without that, columns are taken to have our names (on Snowflake in capitals).
    Its `timestamp` holds moments, in UTC where its type has no zone. `by`, `by_from`,
    `semantics` and the switches are those of `steps`.

    Returns the text. Its result has one row per group and step: (by), step, name, units,
    from_units (at the required step before), rate (0-1, of from_units).
    """
    rule = rule_of(steps, semantics, **switches)
    by = columns_of(touchpoints, by)
    touchpoints.require(*rule.columns)
    needed = [*rule.columns, *by, *([rule.sequence] if rule.in_rows and touchpoints.has(rule.sequence) else [])]
    named = _named(list(dict.fromkeys(needed)), columns or {}, dialect)
    read = ", ".join(f"{identifier(theirs)} AS {identifier(ours)}" for ours, theirs in named.items())
    there = replace(touchpoints, sql=f"SELECT {read} FROM perfnb_events")
    keys = [f"g_{number}" for number, _ in enumerate(by, start=1)]
    ctes = [
        *statement(there, rule, times=isinstance(by_from, int)),
        *grouped(there, rule, by, by_from),
        _counted(rule, keys),
    ]
    text = opening(rule) + ", ".join(ctes) + _listed(rule, by, keys)
    text = translated(there.over(text), dialect, perfnb_events=table)
    return f"-- {' '.join(rule.definition.split())}\n{text}"


def _named(needed, columns, dialect):
    """{our name: what the column is called there}."""
    unknown = [name for name in columns if name not in needed]
    if unknown:
        raise BadParameter(f"columns: {unknown[0]!r} is not read by this funnel; expected some of {', '.join(needed)}")
    usual = str.upper if dialect == "snowflake" else str
    return {name: columns.get(name, usual(name)) for name in needed}


def _counted(rule, keys):
    """The CTE `per_group`, one row per group: units_k, and from step 2 on continued_k and from_k."""
    n = "n" if rule.attempts else "1"
    tests = {}
    for k in range(1, rule.count + 1):
        tests[f"units_{k}"] = f"reached_{k} = 1"
        before = _before(rule, k)
        if before is not None:
            tests[f"continued_{k}"] = f"reached_{k} = 1 AND reached_{before} = 1"
            tests[f"from_{k}"] = f"reached_{before} = 1"
    sums = [f"COALESCE(SUM(CASE WHEN {test} THEN {n} ELSE 0 END), 0) AS {name}" for name, test in tests.items()]
    grouping = f" GROUP BY {', '.join(keys)}" if keys else ""
    return f"per_group AS (SELECT {', '.join([*keys, *sums])} FROM placed{grouping})"


def _before(rule, k):
    return None if rule.open == "union" else next((j for j in reversed(rule.required) if j < k), None)


def _listed(rule, by, keys):
    """The SELECT with one row per group and step."""
    steps = range(1, rule.count + 1)
    later = [k for k in steps if _before(rule, k) is not None]

    def case(name, numbers):
        return (
            "CASE numbers.step " + " ".join(f"WHEN {k} THEN {name(k)}" for k in numbers) + " END" if numbers else "NULL"
        )

    shown = [f"{key} AS {identifier(name)}" for name, key in zip(by, keys, strict=True)]
    before = case("from_{}".format, later)
    numbers = " UNION ALL ".join(f"SELECT {k} AS step" for k in steps)
    shown += [
        "numbers.step",
        f"{case(lambda k: literal(rule.names[k - 1]), steps)} AS name",
        f"{case('units_{}'.format, steps)} AS units",
        f"CAST({before} AS BIGINT) AS from_units",
        f"CAST({case('continued_{}'.format, later)} AS DOUBLE) / NULLIF({before}, 0) AS rate",
    ]
    order = ", ".join([*keys, "numbers.step"])
    return f" SELECT {', '.join(shown)} FROM per_group CROSS JOIN ({numbers}) AS numbers ORDER BY {order}"
