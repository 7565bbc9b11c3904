"""How many units get from step to step, by group, and how far each of them got."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from perfnb.engine import identifier
from perfnb.errors import BadParameter, MissingColumns
from perfnb.funnel.attempts import attempts
from perfnb.funnel.compare import compared
from perfnb.funnel.counts import countable, plain_counts
from perfnb.funnel.programme import events_sql, keyed, programme
from perfnb.funnel.rule import micros, rule_of
from perfnb.intervals import Z, wilson
from perfnb.period import Period

__all__ = ["columns_of", "counted", "cut", "grouped", "levels", "mature", "opening", "reported", "statement", "steps"]

_SECOND = 1_000_000
_DAY = 86_400 * _SECOND


def steps(touchpoints, steps, *, by=None, by_from="entry", semantics=None, **switches):
    """The funnel, with what is lost at each step.

    `steps`: event names, lists of names (any of them), or mappings such as {"event":
    "visit", "device": "mobile"}. The switches are those of `Rule`, with its defaults:
    within="7 days", order="ordered", entry="best", ties="distinct", open="closed",
    step_within, grace, exclude, optional, period, follow_up, unit, sequence, resolution.
    `semantics` takes those of a product ("posthog", "mixpanel", "amplitude", "ga4",
    "clickhouse": see PRESETS), over which what is said outright counts.

    `by` names a column, or several. A unit belongs to the value that `by_from` says: at
    the "entry" of the attempt counted, the earliest that gets as far (without an entry: at
    the first funnel event), at the unit's "first" or "last" event in the period, at the
    number of a step in that attempt ("(unknown)" where it did not get there), or "all":
    to each value it had, so that groups do not add up. Each group but those is compared
    with all other units together.

    Returns one row per group and step: (by), step (1 …), name, units (persons, or
    attempts with entry "each" and "sequential"), from_units (at the required step before),
    rate (0-1, of the step before) with low and high (Wilson, 95 %; of attempts, with
    persons as clusters), overall (0-1, of step 1; of an open funnel, of all in it) with
    overall_low and overall_high, dropped (units lost on the way here; null for an optional
    step), out_of_order (units that did the step between the period's first day and its
    last plus `within`, but in no attempt: out of order or too late; null where there is no
    such thing), immature (those of the dropped whose window was still open when the data
    end), definition. An open funnel adds continued (units of the step before that got
    here: the rate's numerator), began (units that entered here) and entered_all (units in the
    funnel: the overall's denominator). With `by`: rate_difference
    (-1 to 1: rate less that of all others) with rate_difference_low and rate_difference_high
    (Newcombe), p (score test; Fisher where few are expected), p_adjusted (Benjamini and
    Hochberg) and tests (how many it is adjusted for).
    """
    rule = rule_of(steps, semantics, **switches)
    by = columns_of(touchpoints, by)
    counts = _counts(touchpoints, rule, by, by_from)
    table = reported(counts, rule, by, _definition(rule, by, by_from))
    return compared(table, by, rule, overlapping=by_from == "all") if by else table


def levels(touchpoints, steps, *, semantics=None, **switches):
    """How far each unit got (of its required steps); adds up to all units of the table.

    Returns one row per level: level (0: not entered), name (of the step
    reached), units (persons), definition.
    """
    rule = rule_of(steps, semantics, **switches)
    if rule.attempts or rule.open != "closed":
        raise BadParameter(f"levels are those of units in a closed funnel. Found {rule.definition}")
    counts = _counts(touchpoints, rule, (), "entry")
    reached = [0 if counts.empty else int(counts[f"level_{k}"].fillna(0).sum()) for k in range(1, rule.count + 1)]
    known = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in rule.keys)
    names = ", ".join(identifier(name) for name in rule.keys)
    total = touchpoints.fetch(
        f"SELECT COUNT(*) AS n FROM (SELECT DISTINCT {names} FROM {{table}} AS source WHERE {known}) AS t"
    )["n"].iloc[0]
    at_least = [int(total), *reached, 0]
    return pd.DataFrame(
        {
            "level": range(rule.count + 1),
            "name": ["(not entered)", *rule.names],
            "units": [at_least[k] - at_least[k + 1] for k in range(rule.count + 1)],
            "definition": rule.definition,
        }
    )


def mature(touchpoints, *, within, steps=(), period=None):
    """The Period of entries whose whole window lies inside the data: from the first day to `within` before the end.

    Without a window (None), or of one step, it is all days of the data. `period`
    narrows it. Rates over later entries are too low: their windows are cut off.
    """
    within = None if len(steps) == 1 else within
    within_us = micros(within)
    at = touchpoints.require("timestamp").micros()
    seen = touchpoints.fetch(f"SELECT MIN({at}) AS low, MAX({at}) AS high FROM {{table}} AS t").iloc[0]
    if pd.isna(seen["low"]):
        raise BadParameter(f"{touchpoints.name} ({touchpoints.origin}): no events, so no period")
    since, until = _date(seen["low"]), _date(seen["high"] + (_DAY if within is None else _SECOND - within_us))
    if period is not None:
        since, until = max(since, period.since), min(until, period.until)
    if until <= since:
        raise BadParameter(
            f"{touchpoints.origin}: no entry has a whole window of {within} inside the data "
            f"({_date(seen['low'])} to {_date(seen['high'])})"
            f"{'' if period is None else f' and the period ({period})'}. Shorten within, or widen the period"
        )
    return Period(since, until)


def statement(touchpoints, rule, *, times=False):
    """The CTEs up to `units` for this rule, with time_k where `times` are asked for."""
    return attempts(touchpoints, rule) if rule.attempts else programme(touchpoints, rule, times=times)


def opening(rule):
    """How a statement of this rule begins."""
    return "WITH RECURSIVE " if rule.entry == "sequential" else "WITH "


def grouped(touchpoints, rule, by, by_from):
    """CTEs up to `placed`: units with the columns g_1 … of their group."""
    if not by:
        return ["placed AS (SELECT units.* FROM units)"]
    names = [f"g_{n}" for n, _ in enumerate(by, start=1)]
    keys = [f"u_{n}" for n, _ in enumerate(rule.keys, start=1)]
    same = " AND ".join(f"units.{key} = marked.{key}" for key in keys)
    shown = ", ".join(f"COALESCE(marked.{name}, '(unknown)') AS {name}" for name in names)
    step = by_from if isinstance(by_from, int) else 1
    is_step = "0"
    if isinstance(by_from, int) or (rule.open == "closed" and not rule.any_order):
        is_step = f"CASE WHEN {rule.steps[step - 1].sql()} THEN 1 ELSE 0 END"
    events = events_sql(touchpoints, rule, by, is_step, all_events=by_from in ("first", "last", "all"))
    if by_from == "all":
        return [
            events,
            f"marked AS (SELECT DISTINCT {', '.join([*keys, *names])} FROM events)",
            f"placed AS (SELECT units.*, {shown} FROM units LEFT JOIN marked ON {same})",
        ]
    if by_from in ("first", "last"):
        order, partition = f"t{' DESC' if by_from == 'last' else ''}", ", ".join(keys)
    else:
        # At one instant a unit has the group of the event of that step, if there is one.
        order, partition = "is_step DESC", ", ".join([*keys, "t"])
        same += f" AND units.{'entered' if by_from == 'entry' else f'time_{by_from}'} = marked.t"
    ranked = f"ROW_NUMBER() OVER (PARTITION BY {partition} ORDER BY {', '.join([order, *names])}) AS place"
    return [
        events,
        f"ranked AS (SELECT events.*, {ranked} FROM events)",
        "marked AS (SELECT * FROM ranked WHERE place = 1)",
        f"placed AS (SELECT units.*, {shown} FROM units LEFT JOIN marked ON {same})",
    ]


def columns_of(touchpoints, by):
    """`by` as a list of columns that the log has."""
    by = [] if by is None else [by] if isinstance(by, str) else list(by)
    for name in by:
        if not touchpoints.has(name):
            raise MissingColumns(
                f"{touchpoints.name} ({touchpoints.origin}): no column {name!r} to group by; found "
                f"{', '.join(touchpoints.columns)}. Group by one of them (in notebooks: group), or map it, "
                f'columns={{"{name}": "…"}}'
            )
    return by


def _check(rule, by_from):
    number = isinstance(by_from, int) and 1 <= by_from <= rule.count
    if by_from not in ("entry", "first", "last", "all") and not number:
        raise BadParameter(
            f"by_from {by_from!r}: expected 'entry', 'first', 'last', 'all' or the number of a step, 1 to {rule.count}"
        )
    if number and (rule.attempts or rule.open == "union" or rule.any_order):
        raise BadParameter(f"by_from {by_from}: no attempt with an event for that step. Found {rule.definition}")


def _definition(rule, by, by_from):
    if not by or by_from == "entry":
        return rule.definition
    words = {"first": "group of the first event", "last": "group of the last event",
             "all": "in every group it had, groups do not add up"}  # fmt: skip
    return f"{rule.definition}, {words.get(by_from, f'group at step {by_from}')}"


def _before(rule, k):
    """The required step before step k; None before step 1."""
    return next((j for j in reversed(rule.required) if j < k), None)


def cut(moment, size):
    """SQL for the beginning of the part of `size` microseconds that a moment lies in, counted from moment 0."""
    return f"({moment} - (({moment} % {size}) + {size}) % {size})"


def _counts(touchpoints, rule, by, by_from):
    """The result of `counted`, without it where there is a quicker way."""
    _check(rule, by_from)
    found = plain_counts(touchpoints, rule) if not by and countable(touchpoints, rule) else None
    return touchpoints.fetch(counted(touchpoints, rule, by, by_from)) if found is None else found


def counted(touchpoints, rule, by, by_from, part=None):
    """The statement that counts units per group and step.

    With `part`, SQL over a unit's columns, also per value of it (as `part`; NULL of units without an entry), beside
    the first and the last moment of the data (begins, ends).
    """
    _check(rule, by_from)
    n = "n" if rule.attempts else "1"
    sums, squares = {}, []
    for k in range(1, rule.count + 1):
        before = _before(rule, k)
        sums[f"units_{k}"] = f"reached_{k} = 1"
        sums[f"level_{k}"] = f"level >= {k}"
        sums[f"out_of_order_{k}"] = f"did_{k} = 1 AND reached_{k} = 0"
        if before is not None:
            sums[f"continued_{k}"] = f"reached_{k} = 1 AND reached_{before} = 1"
        if rule.open != "closed":
            sums[f"entered_{k}"] = f"level > 0 AND base = {k}"
        if before is not None and k not in rule.optional and rule.open != "union":
            sums[f"immature_{k}"] = f"level = {before} AND level > 0 AND (closes IS NULL OR closes > ends)"
    keys = [f"g_{number}" for number, _ in enumerate(by, start=1)] + (["part"] if part else [])
    shown = "".join(f"{key}, " for key in keys)
    tail = f" GROUP BY {', '.join(keys)}" if keys else ""
    flags = [f"SUM(CASE WHEN {test} THEN {n} ELSE 0 END) AS {name}" for name, test in sums.items()]
    at = touchpoints.micros()
    ctes = [
        *statement(touchpoints, rule, times=isinstance(by_from, int)),
        f"data AS (SELECT MIN({at}) AS begins, MAX({at}) AS ends FROM {{table}} AS source)",
        *grouped(touchpoints, rule, by, by_from),
    ]
    source = "placed CROSS JOIN data"
    if part:
        ctes.append(f"dated AS (SELECT placed.*, CASE WHEN level > 0 THEN {part} END AS part FROM placed)")
        source = "dated CROSS JOIN data"
        flags += ["MAX(begins) AS begins", "MAX(ends) AS ends"]
    if rule.attempts:
        # Attempts of one person are no independent trials: sums over persons tell how they vary.
        per = ", ".join([keyed(rule), *keys])
        ctes.append(f"persons AS (SELECT {per}, {', '.join(flags)} FROM {source} GROUP BY {per})")
        flags = [f"SUM({name}) AS {name}" for name in sums]
        for k in range(1, rule.count + 1):
            squares += [f"SUM(units_{k} * units_{k}) AS square_{k}", f"SUM(units_{k} * units_1) AS first_{k}"]
            squares.append(f"SUM(CASE WHEN units_{k} > 0 THEN 1 ELSE 0 END) AS persons_{k}")
            if k > 1:
                squares.append(f"SUM(units_{k} * units_{k - 1}) AS product_{k}")
        source = "persons"
    return (
        f"{opening(rule)}" + ",\n".join(ctes) + f"\nSELECT {shown}{', '.join([*flags, *squares])} FROM {source}{tail}"
    )


def reported(counts, rule, by, definition):
    """The table of `steps` from what `counted` counts, per group and, where there are any, per part as "(part)"."""
    keys = [f"g_{number}" for number, _ in enumerate(by, start=1)]
    columns = list(by)
    if "part" in counts:
        keys, columns, counts = ["part", *keys], ["(part)", *by], counts.drop(columns=["begins", "ends"])
    counts = counts.fillna({name: 0 for name in counts.columns if name not in keys})
    # Without groups a funnel that nobody entered still has its steps, with nobody at them.
    totals = counts.groupby(keys).sum().reset_index() if keys else counts.sum().to_frame().T
    rows = []
    for total in totals.to_dict("records"):
        group = [total.pop(key) for key in keys]
        entered_all = sum(total.get(f"entered_{k}", 0) for k in range(1, rule.count + 1))
        for k, name in enumerate(rule.names, start=1):
            before = None if rule.open == "union" else _before(rule, k)
            units, continued = total[f"units_{k}"], total.get(f"continued_{k}")
            known = before is not None
            rows.append(
                {
                    **dict(zip(columns, group, strict=True)),
                    "step": k,
                    "name": name,
                    "units": int(units),
                    "from_units": int(total[f"units_{before}"]) if known else None,
                    "continued": int(continued) if known else None,
                    "began": int(total.get(f"entered_{k}", 0)),
                    "entered_all": int(total["units_1"] if rule.open == "closed" else entered_all),
                    "dropped": int(total[f"units_{before}"] - continued) if known and k not in rule.optional else None,
                    "out_of_order": None if _unordered(rule) else int(total[f"out_of_order_{k}"]),
                    "immature": int(total.get(f"immature_{k}", 0)),
                    **_spread(rule, total, k, before),
                }
            )
    names = ["step", "name", "units", "from_units", "continued", "began", "entered_all", "dropped", "out_of_order"]
    table = pd.DataFrame(rows, columns=[*columns, *names, "immature", "se", "overall_se", "persons", "persons_all"])
    for rate, part, whole, se, persons in (
        ("rate", "continued", "from_units", "se", "persons"),
        ("overall", "units", "entered_all", "overall_se", "persons_all"),
    ):
        x, n = table[part].to_numpy(float), table[whole].to_numpy(float)
        table[rate] = _ratio(x, n)
        low, high = "low" if rate == "rate" else "overall_low", "high" if rate == "rate" else "overall_high"
        if rule.attempts:
            table[low], table[high] = _clustered(table[rate], table[se], table[persons])
        else:
            table[low], table[high] = wilson(x, n)
    for name in ("from_units", "continued", "dropped"):
        table[name] = table[name].astype("Int64")
    if _unordered(rule):
        table["out_of_order"] = table["out_of_order"].astype("Int64")
    table["definition"] = definition
    order = ["units", "from_units", "rate", "low", "high", "overall", "overall_low", "overall_high"]
    opened = ["continued", "began", "entered_all"] if rule.open != "closed" else []
    return table[[*columns, "step", "name", *order, "dropped", "out_of_order", "immature", *opened, "definition"]]


def _unordered(rule):
    """Whether nothing can be out of order, or nobody can tell."""
    return rule.attempts or rule.open == "union" or rule.any_order


def _spread(rule, total, k, before):
    """Standard errors of the rates of attempts, linearised over persons: Σ(y − R·n)² / (Σn)² · U / (U − 1)."""
    if not rule.attempts:
        return {"se": np.nan, "overall_se": np.nan, "persons": np.nan, "persons_all": np.nan}
    found = {}
    for se, persons, base, product in (("se", "persons", before, "product"), ("overall_se", "persons_all", 1, "first")):
        count = total[f"persons_{base}"] if base else 0
        found[persons], found[se] = count, np.nan
        if count > 1:
            n, y = total[f"units_{base}"], total[f"units_{k}"]
            rate = y / n
            squares = total[f"square_{k}"] - 2 * rate * total[f"{product}_{k}"] + rate**2 * total[f"square_{base}"]
            found[se] = np.sqrt(max(squares, 0.0) * count / (count - 1)) / n
    return found


def _clustered(rate, se, persons):
    """Limits from a standard error over persons; where there is none to see, those of Wilson for as many persons."""
    rate, se, persons = (values.to_numpy(float) for values in (rate, se, persons))
    low, high = wilson(rate * persons, persons)
    seen = se > 0
    return (
        np.where(seen, np.clip(rate - Z * se, 0, 1), low),
        np.where(seen, np.clip(rate + Z * se, 0, 1), high),
    )


def _ratio(part, whole):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(whole > 0, part / whole, np.nan)


def _date(moment):
    return datetime.fromtimestamp(int(moment) / _SECOND, UTC).date()
