"""What persons did early on and how many of them converted later: the same time to do it for all."""

from datetime import timedelta

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.engine import identifier, label, labelled, literal
from perfnb.errors import BadParameter
from perfnb.funnel.programme import keyed
from perfnb.funnel.rule import micros, rule_of, spelled
from perfnb.funnel.steps import opening, statement

__all__ = ["drivers"]

_FEWEST = 30  # units in an arm, below which nothing is said of it
_HOUR = 3_600_000_000
_TENTH = 10  # of the window is the landmark, unless another is said


def drivers(touchpoints, steps, *, within, landmark=None, candidates=None, period=None, unit="user_id"):
    """Which events early on go with a conversion later.

    Counting an event for converters until they convert, and for the others over the whole
    window, gives the others more time for everything: pure noise then looks like a strong
    hindrance. Here every unit has the same time. At the `landmark` (a duration since the
    unit's first step-1 event; unless told, a tenth of `within`, in whole hours) those who
    have not converted and whose window is closed in the data are parted by whether the
    event was there up to then (both ends included), and followed to the end of the window:
    Anderson, Cain & Gelber (1983), Journal of Clinical Oncology 1. All is done again with half and
    with twice the landmark. What is found is an association among those still undecided:
    who searches for a product may be nearer to buying it anyway.

    `candidates` names events; unless told, all. Rows that are a step of the funnel never
    count as one. `period` bounds the entries, `unit` is the column (or columns) counted.

    Returns one row per candidate and landmark, the smallest p at the landmark itself first:
    event, landmark_hours, chosen (true for the landmark, false for its half and double),
    exposed (units with the event by then), exposed_converted (of them, later), exposed_rate
    (0-1), unexposed, unexposed_converted, unexposed_rate, difference (-1 to 1, of the rates)
    with low and high (Newcombe, 95 %), odds_ratio with odds_low and odds_high (0.5 added to
    each cell, Haldane 1956; logit limits, Gart 1966), p (score test; Fisher where few are
    expected), p_adjusted (Benjamini and Hochberg, over the candidates at this landmark) and
    tests (how many), stable (the difference has the same sign at all three landmarks; null where one
    is hidden), small_n (fewer than 30 units in an arm: all but the size of the arms is
    hidden), early (units that converted by the landmark), immature (units whose window is
    open when the data end), definition. exposed, unexposed, early and immature add up to
    all units that entered.
    """
    if within is None:
        raise BadParameter("within None: who has not converted by when? Say a window, as '14 days'")
    rule = rule_of(steps, within=within, entry="first", period=period, unit=unit)
    if rule.count < 2:
        raise BadParameter(f"steps {rule.names}: one step is no conversion; expected two or more")
    marks = _landmarks(rule, landmark)
    candidates = _candidates(rule, candidates)
    found = touchpoints.fetch(_counted(touchpoints, rule, marks, candidates))
    whole = found[found["event"].isna()].drop(columns="event").sum()
    found = found[found["event"].notna()].set_index("event")
    if candidates is not None:
        found = found.reindex([labelled(name) for name in candidates]).fillna(0)
    tables = [_compared(found, whole, number, mark) for number, mark in enumerate(marks)]
    signs = pd.concat([np.sign(table.set_index("event")["difference"]) for table in tables], axis=1)
    stable = signs.sum(axis=1).abs().eq(len(marks)).astype("boolean").mask(signs.isna().any(axis=1))
    first = tables[0].assign(size=tables[0][["exposed", "unexposed"]].min(axis=1))
    first = first.sort_values(["p", "size", "event"], ascending=[True, False, True])
    place = {event: number for number, event in enumerate(first["event"])}
    table = pd.concat(tables, ignore_index=True)
    table.insert(table.columns.get_loc("small_n"), "stable", table["event"].map(stable).astype("boolean"))
    order = table["event"].map(place)
    table = table.assign(order=order).sort_values(["order", "landmark_hours"], ignore_index=True).drop(columns="order")
    said = f"{rule.definition}, landmark {spelled(timedelta(microseconds=marks[0]))}"
    return table.assign(definition=f"{said}, of those still undecided then: an association, not an effect")


def _landmarks(rule, said):
    """The landmark, its half and its double, in microseconds."""
    mark = rule.window // _TENTH if said is None else micros(said)
    if said is None and mark >= _HOUR:
        mark -= mark % _HOUR
    if mark < 2 or 2 * mark >= rule.window:
        raise BadParameter(
            f"landmark {said!r}: expected more than nothing and less than half of within ({rule.within}), as twice the "
            "landmark is looked at too"
        )
    return mark, mark // 2, 2 * mark


def _candidates(rule, said):
    if said is None:
        return None
    if isinstance(said, str) or not said or not all(isinstance(name, str) for name in said):
        raise BadParameter(f"candidates {said!r}: expected a list of event names, as ['search', 'newsletter']")
    for step in rule.steps:
        names = dict(step.where).get("event", ()) if len(step.where) == 1 else ()
        taken = [name for name in said if name in names]
        if taken:
            raise BadParameter(
                f"candidates: {taken[0]!r} is a step of this funnel, and who is further converts more. "
                "Choose events that are no steps"
            )
    return list(dict.fromkeys(said))


def _counted(touchpoints, rule, marks, candidates):
    """The statement that counts the units exposed to each event at each landmark; in the row without an event, all.

    That row is of step 1, to which every unit is exposed as it enters.
    """
    keys = keyed(rule).split(", ")
    at = touchpoints.micros()
    first, *later = (step.sql() for step in rule.steps)
    wanted = "1 = 1" if candidates is None else f"event IN ({', '.join(map(literal, candidates))})"
    kept = f"CASE WHEN {first} THEN 1 WHEN {' OR '.join(f'({step})' for step in later)} THEN 0 WHEN {wanted} THEN 1 END"
    same = " AND ".join(f"others.{key} = entries.{key}" for key in keys)
    named = ", ".join(f"{identifier(name)} AS {key}" for name, key in zip(rule.keys, keys, strict=True))
    mine = ", ".join(f"entries.{key}" for key in keys)
    counts = []
    for number, mark in enumerate(marks):
        undecided = f"mature = 1 AND (converted IS NULL OR converted > {mark})"
        for name, test in (("units", undecided), ("converted", f"{undecided} AND converted IS NOT NULL")):
            counts.append(f"SUM(CASE WHEN seen <= {mark} AND {test} THEN 1 ELSE 0 END) AS {name}_{number}")
    return (
        opening(rule)
        + ",\n".join(
            [
                *statement(touchpoints, rule, times=True),
                f"data AS (SELECT MAX({at}) AS ends FROM {{table}} AS source)",
                f"entries AS (SELECT {keyed(rule)}, entered, CASE WHEN reached_{rule.count} = 1 "
                f"THEN time_{rule.count} - entered END AS converted, "
                f"CASE WHEN entered + {rule.window} <= ends THEN 1 ELSE 0 END AS mature "
                "FROM units CROSS JOIN data WHERE level > 0)",
                f"others AS (SELECT {named}, {at} AS t, CASE WHEN {first} THEN NULL ELSE {label('event')} END AS name "
                f"FROM {{table}} AS source WHERE {kept} = 1)",
                f"exposures AS (SELECT {mine}, others.name AS event, MIN(others.t - entries.entered) AS seen, "
                "MIN(entries.converted) AS converted, MIN(entries.mature) AS mature "
                f"FROM entries JOIN others ON {same} AND others.t >= entries.entered "
                f"AND others.t <= entries.entered + {max(marks)} GROUP BY {mine}, others.name)",
            ]
        )
        + f"\nSELECT event, COUNT(*) AS entered, SUM(1 - mature) AS immature, {', '.join(counts)} "
        "FROM exposures GROUP BY event"
    )


def _compared(found, whole, number, mark):
    """The rows of one landmark."""
    n1, x1 = (found[f"{name}_{number}"].to_numpy(float) for name in ("units", "converted"))
    n0, x0 = whole[f"units_{number}"] - n1, whole[f"converted_{number}"] - x1
    small = np.minimum(n1, n0) < _FEWEST
    sizes = n1, n0
    n1, x1, n0, x0 = (np.where(small, np.nan, values) for values in (n1, x1, n0, x0))
    p1, p0 = x1 / n1, x0 / n0
    low, high = intervals.newcombe(p1, p0, intervals.wilson(x1, n1), intervals.wilson(x0, n0))
    cells = [values + 0.5 for values in (x1, n1 - x1, x0, n0 - x0)]
    log_odds = np.log(cells[0] * cells[3] / (cells[1] * cells[2]))
    half = intervals.Z * np.sqrt(sum(1 / cell for cell in cells))
    p = intervals.same_rate(x1, n1, x0, n0)
    p = pd.Series(np.where(np.isnan(p) & ~small, 1.0, p))  # all, or none, convert in both arms: no difference is seen
    return pd.DataFrame(
        {
            "event": found.index.to_numpy(),
            "landmark_hours": mark / _HOUR,
            "chosen": number == 0,
            "exposed": sizes[0].astype(int),
            "exposed_converted": pd.array(x1, "Int64"),
            "exposed_rate": p1,
            "unexposed": sizes[1].astype(int),
            "unexposed_converted": pd.array(x0, "Int64"),
            "unexposed_rate": p0,
            "difference": p1 - p0,
            "low": low,
            "high": high,
            "odds_ratio": np.exp(log_odds),
            "odds_low": np.exp(log_odds - half),
            "odds_high": np.exp(log_odds + half),
            "p": p,
            "p_adjusted": intervals.adjusted(p),
            "tests": int(p.notna().sum()),
            "small_n": small,
            "early": int(whole["entered"] - whole["immature"] - whole[f"units_{number}"]),
            "immature": int(whole["immature"]),
        }
    )
