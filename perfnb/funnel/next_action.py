"""What those who stopped did next."""

from dataclasses import replace

import pandas as pd

from perfnb.engine import identifier, label
from perfnb.errors import BadParameter
from perfnb.funnel.programme import events_sql, keyed, known, met, moment
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import opening, statement
from perfnb.intervals import wilson

__all__ = ["next_action"]

_NOTHING, _OTHER = "(nothing)", "(other)"


def next_action(touchpoints, steps, *, top=8, semantics=None, **switches):
    """What units that got to a step and no further did after it: their next event, of any kind and however late.

    Next is what follows the last event of the attempt counted, as in `funnel.times`: the
    earliest that gets as far, from its latest start. Events at the very moment of that one
    are not after it, for nobody knows their order; of several at the next moment, the first
    by name counts. Where the order of events is said (ties "sequence", order "strict" or
    "adjacent"), it holds in both: time, the column `sequence`, name. The switches are those
    of `funnel.steps`; with follow_up "inside", only events before the period's end are seen.

    Returns one row per step and next event: step and name (the last step reached), next (the
    event; "(nothing)" where none follows, "(other)" for those less frequent than the `top`
    after this step), units, stopped (units that stopped at the step, of which some still have
    time: `immature` of `funnel.steps`), share (0-1, units / stopped) with low and high
    (Wilson, 95 %), definition. The units of a step add up to `dropped` at the next required step.
    """
    rule = rule_of(steps, semantics, **switches)
    if not rule.stepwise:
        raise BadParameter(f"next_action is that of units that go from step to step. Found {rule.definition}")
    if len(rule.required) == 1:
        raise BadParameter(f"steps {rule.names}: nobody stops at the last step; expected two or more")
    if not isinstance(top, int) or top < 1:
        raise BadParameter(f"top {top!r}: expected a whole number from 1")
    found = touchpoints.fetch(_statement(touchpoints, rule))
    parts = [_named(rows, step, rule, top) for step, rows in found.groupby("level")]
    columns = ["step", "name", "next", "units", "stopped", "share", "low", "high"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return table[columns].assign(definition=rule.definition)


def _named(rows, step, rule, top):
    """The rows of one step: the `top` events, then the others, then nothing."""
    names = rows["next"]
    actions = rows[names.notna()].sort_values(["units", "next"], ascending=[False, True])
    other, nothing = int(actions["units"].iloc[top:].sum()), int(rows.loc[names.isna(), "units"].sum())
    ends = pd.DataFrame({"next": [_OTHER, _NOTHING], "units": [other, nothing]})
    table = pd.concat([actions[["next", "units"]].head(top), ends[ends["units"] > 0]], ignore_index=True)
    stopped = int(rows["units"].sum())
    low, high = wilson(table["units"], stopped)
    return table.assign(
        step=int(step),
        name=rule.names[int(step) - 1],
        stopped=stopped,
        share=table["units"] / stopped,
        low=low,
        high=high,
    )


def _statement(touchpoints, rule):
    """The rows level, next, units."""
    same = " AND ".join(f"stopped.u_{n} = events.u_{n}" for n, _ in enumerate(rule.keys, start=1))
    following = _by_place if rule.in_rows else _by_moment
    ctes = [*statement(touchpoints, rule, times=True), *following(touchpoints, rule, same)]
    return (
        opening(rule) + ",\n".join(ctes) + "\nSELECT level, next, COUNT(*) AS units FROM following GROUP BY level, next"
    )


def _by_moment(touchpoints, rule, same):
    """CTEs up to `following`: level, next (NULL: nothing), one row per unit that stopped."""
    last = " ".join(f"WHEN level = {k} THEN {_latest(rule, k)}" for k in rule.required[:-1])
    seen = rule if rule.follow_up == "inside" else replace(rule, period=None)
    return [
        f"stopped AS (SELECT {keyed(rule)}, level, CASE {last} END AS last FROM units "
        f"WHERE level > 0 AND level < {rule.required[-1]})",
        events_sql(touchpoints, seen, ["event"], "0", all_events=True),
        f"ranked AS (SELECT stopped.*, events.g_1 AS next, ROW_NUMBER() OVER (PARTITION BY {keyed(rule, 'stopped.')} "
        f"ORDER BY events.t, events.g_1) AS place FROM stopped LEFT JOIN events ON {same} AND events.t > stopped.last)",
        "following AS (SELECT level, next FROM ranked WHERE place = 1)",
    ]


def _latest(rule, level):
    """SQL for the last moment of an attempt of so many steps: within a grace, no step need be later than another."""
    times = [f"time_{k}" for k in rule.required if k <= level]
    return times[-1] if rule.grace is None or len(times) == 1 else f"GREATEST({', '.join(times)})"


def _by_place(touchpoints, rule, same):
    """The same by the order of events, where rn is how many of the events that the funnel looks at have come."""
    every = rule.order in ("strict", "adjacent")
    looked_at = "1" if every else f"CASE WHEN {met(rule)} THEN 1 ELSE 0 END"
    at, column = moment(touchpoints, rule), identifier(rule.sequence)
    sequence = [f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END", column] if touchpoints.has(rule.sequence) else []
    tested = [step.sql() for step in (*rule.conditions, *(one.step for one in rule.exclude))]
    order = [at, *sequence, "COALESCE(event, '')", *(f"CASE WHEN {test} THEN 1 ELSE 0 END" for test in tested)]
    keys = [identifier(name) for name in rule.keys]
    mine = f"PARTITION BY {', '.join(keys)} ORDER BY {', '.join(order)}"
    names = ", ".join(f"{key} AS u_{n}" for n, key in enumerate(keys, start=1))
    units = " AND ".join(f"units.u_{n} = timed.u_{n}" for n, _ in enumerate(keys, start=1))
    ended = " OR ".join(f"(level = {k} AND s_{k} = start)" for k in rule.required[:-1])
    mine_units = keyed(rule, "units.")
    return [
        f"stopped AS (SELECT {mine_units}, level, MIN(CASE WHEN {ended} THEN rn END) AS last FROM units "
        f"JOIN timed ON {units} WHERE level > 0 AND level < {rule.required[-1]} GROUP BY {mine_units}, level)",
        f"events AS (SELECT {names}, {looked_at} AS looked_at, SUM({looked_at}) OVER ({mine} ROWS BETWEEN UNBOUNDED "
        f"PRECEDING AND CURRENT ROW) AS rn, LEAD({label('event')}) OVER ({mine}) AS next FROM {{table}} AS source "
        f"WHERE {' AND '.join(known(rule, at))})",
        f"following AS (SELECT level, next FROM stopped LEFT JOIN events ON {same} AND events.looked_at = 1 "
        "AND events.rn = stopped.last)",
    ]
