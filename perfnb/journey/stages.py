"""Stages of the journey: reach, interaction, transaction, and the touchpoints met in each."""

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter, MissingColumns

STAGES = ("reach", "interaction", "transaction")
_DAY = 86_400_000_000
_NEVER = 2**62  # microseconds


def stages(touchpoints, *, stages=None):
    """How many persons get as far as each stage.

    `stages` maps events to "reach", "interaction" or "transaction"; without it
    the column `stage` says so. A person counts at every stage up to the
    furthest one seen, so counts fall from stage to stage. Events without a stage
    stand in a row "(no stage)": its units are the persons who have no others.
    Times are those of persons who got on, so not of all: who takes long may not be there yet.

    Returns one row per stage: stage, units (persons whose furthest stage is
    this one or later), observed (persons with an event of the stage), events,
    from_units (persons at the stage before), rate (0-1, of the stage before)
    with low and high (Wilson, 95 %), dropped (persons), timed (persons whose first event of
    the stage is not before their first of the stage before, both of a known time), median_days and q95_days
    (from the one to the other: as long at most for half, and for 95 %, of the timed).
    """
    touchpoints.require("user_id", "timestamp", "event")
    rank = rank_sql(touchpoints, stages)
    seen = ", ".join(f"MAX(CASE WHEN s = {k} THEN 1 ELSE 0 END) AS seen_{k}" for k in (0, 1, 2, 3))
    events = ", ".join(f"SUM(CASE WHEN s = {k} THEN 1 ELSE 0 END) AS events_{k}" for k in (0, 1, 2, 3))
    furthest = ", ".join(f"SUM(CASE WHEN furthest = {k} THEN 1 ELSE 0 END) AS furthest_{k}" for k in (0, 1, 2, 3))
    observed = ", ".join(f"SUM(seen_{k}) AS observed_{k}" for k in (0, 1, 2, 3))
    total = ", ".join(f"SUM(events_{k}) AS events_{k}" for k in (0, 1, 2, 3))
    first = ", ".join(f"MIN(CASE WHEN s = {k} THEN t END) AS first_{k}" for k in (1, 2, 3))
    # What has no time stands last, and the places of the others are not moved by it.
    lags = ", ".join(
        f"CASE WHEN first_{k} >= first_{k - 1} THEN first_{k} - first_{k - 1} ELSE {_NEVER} END AS lag_{k}"
        for k in (2, 3)
    )
    places = ", ".join(
        f"ROW_NUMBER() OVER (ORDER BY lag_{k}) AS place_{k}, "
        f"SUM(CASE WHEN lag_{k} < {_NEVER} THEN 1 ELSE 0 END) OVER () AS known_{k}"
        for k in (2, 3)
    )
    times = ", ".join(
        f"MAX(known_{k}) AS timed_{k}, "
        f"MAX(CASE WHEN known_{k} > 0 AND place_{k} = (known_{k} + 1) // 2 THEN lag_{k} END) AS middle_{k}, "
        f"MAX(CASE WHEN known_{k} > 0 AND place_{k} = (19 * known_{k} + 19) // 20 THEN lag_{k} END) AS late_{k}"
        for k in (2, 3)
    )
    found = touchpoints.fetch(
        f"WITH staged AS (SELECT user_id AS u, {touchpoints.micros()} AS t, {rank} AS s "
        "FROM {table} AS source WHERE user_id IS NOT NULL),\n"
        f"person AS (SELECT u, MAX(s) AS furthest, {seen}, {events}, {first} FROM staged GROUP BY u),\n"
        f"lagged AS (SELECT person.*, {lags} FROM person),\n"
        f"placed AS (SELECT lagged.*, {places} FROM lagged)\n"
        f"SELECT {furthest}, {observed}, {total}, {times} FROM placed"
    ).iloc[0]
    counts = found.drop([f"{name}_{k}" for name in ("middle", "late") for k in (2, 3)]).fillna(0).astype(int)
    reached = [int(sum(counts[f"furthest_{j}"] for j in range(k, 4))) for k in (1, 2, 3)]
    table = pd.DataFrame(
        {
            "stage": STAGES,
            "units": reached,
            "observed": [int(counts[f"observed_{k}"]) for k in (1, 2, 3)],
            "events": [int(counts[f"events_{k}"]) for k in (1, 2, 3)],
            "from_units": pd.array([None, *reached[:-1]], dtype="Int64"),
        }
    )
    before = table["from_units"].to_numpy(float, na_value=np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        table["rate"] = table["units"] / before
    table["low"], table["high"] = intervals.wilson(table["units"], before)
    table["dropped"] = table["from_units"] - table["units"]
    table["timed"] = pd.array([None, counts["timed_2"], counts["timed_3"]], dtype="Int64")
    for name, column in (("middle", "median_days"), ("late", "q95_days")):
        table[column] = [np.nan, *(pd.to_numeric(found[f"{name}_{k}"]) / _DAY for k in (2, 3))]
        table[column] = table[column].astype(float)
    if counts["events_0"]:
        unstaged = {"stage": "(no stage)", "units": int(counts["furthest_0"]), "events": int(counts["events_0"])}
        unstaged["observed"] = int(counts["observed_0"])
        table = pd.concat([table, pd.DataFrame([unstaged])], ignore_index=True)
    return table


def contacts(touchpoints, *, touchpoint="channel", stages=None):
    """Which touchpoints persons meet in which stage.

    Returns one row per stage and touchpoint: stage, touchpoint, units (persons),
    contacts (events), share (0-1, of all persons of the table). Persons meet
    several touchpoints: units do not add up to persons.
    """
    touchpoints.require("user_id", "event", touchpoint)
    found = touchpoints.fetch(
        f"WITH staged AS (SELECT user_id AS u, {rank_sql(touchpoints, stages)} AS s, "
        f"{label(identifier(touchpoint))} AS label "
        "FROM {table} AS source WHERE user_id IS NOT NULL)\n"
        "SELECT s, label, COUNT(DISTINCT u) AS units, COUNT(*) AS contacts, "
        "(SELECT COUNT(DISTINCT u) FROM staged) AS persons FROM staged GROUP BY s, label"
    )
    found["stage"] = found["s"].map({0: "(no stage)"} | dict(enumerate(STAGES, start=1)))
    found["share"] = found["units"] / found["persons"]
    found = found.sort_values(["s", "units", "label"], ascending=[True, False, True], ignore_index=True)
    found = found.rename(columns={"label": "touchpoint"})
    return found[["stage", "touchpoint", "units", "contacts", "share"]]


def rank_sql(touchpoints, stages):
    """SQL for the number of an event's stage: 1 to 3, 0 for none."""
    if not stages:
        if not touchpoints.has("stage"):
            raise MissingColumns(
                f'{touchpoints.name} ({touchpoints.origin}): no column stage. Map it, columns={{"stage": "…"}}, '
                'or say which event is which stage: stages={"visit": "reach", "view_item": "interaction", '
                '"order": "transaction"}'
            )
        ranks = " ".join(f"WHEN stage = {literal(name)} THEN {k}" for k, name in enumerate(STAGES, start=1))
        return f"CASE {ranks} ELSE 0 END"
    wrong = sorted(set(stages.values()) - set(STAGES))
    if wrong:
        raise BadParameter(f"stages: {wrong[0]!r} is no stage; expected {', '.join(STAGES)}")
    ranks = " ".join(f"WHEN event = {literal(event)} THEN {STAGES.index(stage) + 1}" for event, stage in stages.items())
    return f"CASE {ranks} ELSE 0 END"
