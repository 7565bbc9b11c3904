"""The counts of a plain funnel at once: one sort by unit and time, and one pass over the rows for each step.

The programme carries every row through a window per hop, and DuckDB sorts for each. It serves every switch; here are
those that most funnels have.
"""

import numpy as np
import pandas as pd

from perfnb.engine import identifier
from perfnb.engine.stream import mapped, streams, whole_persons
from perfnb.funnel.programme import check_types, known, met, moment, reach

__all__ = ["countable", "plain_counts"]

_BITS = 62  # of a number that holds a time and a step


def countable(touchpoints, rule):
    """Whether `plain_counts` finds what the programme finds, and sooner."""
    return (
        streams(touchpoints.engine)
        and rule.count > 1
        and rule.order == "ordered"
        and rule.entry in ("best", "first")
        and rule.open == "closed"
        and rule.plain
        and not (rule.in_rows or rule.exclude or rule.optional or rule.grace)
        and all(limit is None for limit in rule.limits)
    )


def plain_counts(touchpoints, rule):
    """One row: units_k, level_k, continued_k, out_of_order_k, immature_k per step; None without times of our age.

    Units are told apart by DuckDB's hash of 64 bits: of a million, two share one in one log of 37 million.
    """
    touchpoints.require(*rule.columns)
    check_types(touchpoints, rule)
    at = touchpoints.micros()
    span = touchpoints.fetch(f"SELECT MIN({at}) AS low, MAX({at}) AS high FROM {{table}} AS source").iloc[0]
    bits = (rule.count + 1).bit_length()
    if span.isna().any() or span["low"] < 0 or span["high"] >= 1 << (_BITS - bits):
        return None
    units, did, late = np.zeros((3, rule.count + 1), np.int64)
    parts = whole_persons(touchpoints.engine, touchpoints.over(_sorted(touchpoints, rule, bits)))
    for found in mapped(lambda part: _counts(part, rule, bits, int(span["high"])), parts):
        for whole, own in zip((units, did, late), found, strict=True):
            whole += own
    found = {}
    for k in range(1, rule.count + 1):
        found |= {f"units_{k}": units[k], f"level_{k}": units[k], f"out_of_order_{k}": did[k] - units[k]}
        if k > 1:
            # Without a window, it never closes.
            immature = units[k - 1] - units[k] if rule.window is None else late[k]
            found |= {f"continued_{k}": units[k], f"immature_{k}": immature}
    return pd.DataFrame([found])


def _sorted(touchpoints, rule, bits):
    """The statement for person (the unit's hash) and k (time and step in one number), in their order."""
    at = moment(touchpoints, rule)
    keys = ", ".join(map(identifier, rule.keys))
    step = " ".join(f"WHEN {one.sql()} THEN {k}" for k, one in enumerate(rule.steps, start=1))
    return (
        f"SELECT HASH({keys}) AS person, {at} * {1 << bits} + CASE {step} END AS k FROM {{table}} AS source "
        f"WHERE {' AND '.join([*known(rule, at), met(rule)])} ORDER BY person, k"
    )


def _counts(part, rule, bits, ends):
    """(units that get to each step, units that do it in any order, units that still may), by step, of whole units."""
    t, step = part["k"] >> bits, part["k"] & ((1 << bits) - 1)
    fresh = np.append(True, part["person"][1:] != part["person"][:-1])
    begins, whose = np.flatnonzero(fresh), np.cumsum(fresh, dtype=np.int32) - 1
    units, did, late = np.zeros((3, rule.count + 1), np.int64)

    def of_units(at):
        found = np.zeros(begins.size, bool)
        found[whose[at]] = True
        return found

    near, inside = np.ones((2, t.size), bool)
    if rule.period is not None:
        since, until = rule.period.micros()
        inside = (t >= since) & (t < until)
        since, until = reach(rule)
        near = (t >= since) & (until is None or t < until)
    starts = step == 1
    if rule.entry == "first":
        first = np.minimum.reduceat(np.where(starts, t, np.iinfo(np.int64).max), begins)
        starts &= t == first[whose]
    held = np.flatnonzero(starts & inside)  # the rows that end an attempt of so many steps, and when it began
    start = np.zeros_like(t)
    start[held] = t[held]
    reached = of_units(held)
    units[1] = reached.sum()
    # At one instant, what stands at one step may go on to the next; under "increase" it may not.
    sooner = None
    if rule.ties == "increase":
        sooner = np.maximum.accumulate(np.where(fresh | (np.diff(t, prepend=-1) > 0), np.arange(t.size), 0)) - 1
    for k in range(1, rule.count + 1):
        mine = np.flatnonzero(step == k)
        did[k] = of_units(mine[near[mine]]).sum()
        if k == 1:
            continue
        # Starts only move on with time: the latest attempt before a row is that with the latest start.
        last = np.full(t.size, -1)
        last[held] = held
        last = np.maximum.accumulate(last)
        before = last[mine] if sooner is None else np.where(sooner[mine] >= 0, last[sooner[mine]], -1)
        goes_on = before >= begins[whose[mine]]
        if rule.window is not None:
            goes_on &= t[mine] - start[before] <= rule.window
        mine, before = mine[goes_on], before[goes_on]
        came, waiting = reached, np.full(begins.size, -1)
        waiting[whose[held]] = held  # the last row of each unit
        start[mine], held = start[before], mine
        reached = of_units(held)
        units[k] = reached.sum()
        if rule.window is not None:
            late[k] = (came & ~reached & (start[waiting] + rule.window > ends)).sum()
    return units, did, late
