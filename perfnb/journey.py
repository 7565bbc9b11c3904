"""Customer journeys: stages, touchpoints, paths, transitions, ends and satisfaction.

A *touch* is an event with a touchpoint label (its channel, or any other column).
A *journey* is the touches of one person up to and including a conversion, or,
after the last conversion, up to the end of the data. So every touch belongs to
one journey, and every conversion ends one; conversions at one instant end the
same journey. A conversion without a touch is the journey "(no touch)".
Direct repeats of a touchpoint count once in paths and transitions.
"""

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter, MissingColumns
from perfnb.period import duration

__all__ = ["STAGES", "contacts", "ends", "journeys_sql", "paths", "satisfaction", "stages", "transitions"]

STAGES = ("reach", "interaction", "transaction")
NO_TOUCH = "(no touch)"
_SMALL = 30
_SCALES = {"satisfaction": (1, 5), "nps": (0, 10)}


def stages(touchpoints, *, stages=None):
    """How many persons get as far as each stage.

    `stages` maps events to "reach", "interaction" or "transaction"; without it
    the column `stage` says so. A person counts at every stage up to the
    furthest one seen, so counts fall from stage to stage. Events without a stage
    stand in a row "(no stage)": its units are the persons who have no others.

    Returns one row per stage: stage, units (persons whose furthest stage is
    this one or later), observed (persons with an event of the stage), events,
    from_units (persons at the stage before), rate (0-1, of the stage before)
    with low and high (Wilson, 95 %), dropped (persons).
    """
    touchpoints.require("user_id", "event")
    rank = _rank(touchpoints, stages)
    seen = ", ".join(f"MAX(CASE WHEN s = {k} THEN 1 ELSE 0 END) AS seen_{k}" for k in (0, 1, 2, 3))
    events = ", ".join(f"SUM(CASE WHEN s = {k} THEN 1 ELSE 0 END) AS events_{k}" for k in (0, 1, 2, 3))
    furthest = ", ".join(f"SUM(CASE WHEN furthest = {k} THEN 1 ELSE 0 END) AS furthest_{k}" for k in (0, 1, 2, 3))
    observed = ", ".join(f"SUM(seen_{k}) AS observed_{k}" for k in (0, 1, 2, 3))
    total = ", ".join(f"SUM(events_{k}) AS events_{k}" for k in (0, 1, 2, 3))
    counts = touchpoints.fetch(
        f"WITH staged AS (SELECT user_id AS u, {rank} AS s FROM {{table}} AS source WHERE user_id IS NOT NULL),\n"
        f"person AS (SELECT u, MAX(s) AS furthest, {seen}, {events} FROM staged GROUP BY u)\n"
        f"SELECT {furthest}, {observed}, {total} FROM person"
    )
    counts = counts.iloc[0].fillna(0).astype(int)
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
        f"WITH staged AS (SELECT user_id AS u, {_rank(touchpoints, stages)} AS s, "
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


def paths(touchpoints, *, conversion="order", events=None, touchpoint="channel", lookback=None, top=10, depth=6):
    """The most frequent journeys; with "(other)" they add up to all journeys and conversions.

    `events` are the events that count as touches (all but the conversion when
    empty); touches more than `lookback` before the conversion are left out. A path
    longer than `depth` touchpoints ends in "…".

    Returns one row per path: path ("a > b > c"), journeys, share (0-1, of all
    journeys), cumulative_share, converted (journeys), rate (converted /
    journeys) with low and high (Wilson, 95 %), conversions, value, currency.
    """
    if depth < 1 or top < 1:
        raise BadParameter(f"depth {depth!r}, top {top!r}: expected 1 or more")
    ctes = journeys_sql(touchpoints, conversion=conversion, events=events, touchpoint=touchpoint, lookback=lookback)
    names = [f"p_{k}" for k in range(1, depth + 1)]
    pivot = ", ".join(f"MAX(CASE WHEN place = {k} THEN label END) AS p_{k}" for k in range(1, depth + 1))
    found = touchpoints.fetch(
        f"{ctes},\nwhole AS (SELECT u, ends, MAX(place) AS places, {pivot} FROM merged GROUP BY u, ends),\n"
        "journeys AS (SELECT whole.*, COALESCE(c.n, 0) AS n, c.value AS value FROM whole "
        "LEFT JOIN converted AS c ON whole.u = c.u AND whole.ends = c.t)\n"
        f"SELECT {', '.join(names)}, CASE WHEN places > {depth} THEN 1 ELSE 0 END AS longer, COUNT(*) AS journeys, "
        "SUM(CASE WHEN n > 0 THEN 1 ELSE 0 END) AS converted, SUM(n) AS conversions, "
        f"CAST(SUM(value) AS DOUBLE) AS value FROM journeys GROUP BY {', '.join(names)}, "
        f"CASE WHEN places > {depth} THEN 1 ELSE 0 END\n"
        f"UNION ALL SELECT {literal(NO_TOUCH)}, {'NULL, ' * (depth - 1)}0, COUNT(*), COUNT(*), SUM(n), "
        "CAST(SUM(value) AS DOUBLE) FROM untouched HAVING COUNT(*) > 0"
    )
    labels = found[names].to_numpy(object)
    found["path"] = [
        " > ".join(label for label in row if isinstance(label, str)) + (" > …" if longer else "")
        for row, longer in zip(labels, found["longer"], strict=True)
    ]
    found = found.sort_values(["journeys", "path"], ascending=[False, True], ignore_index=True)
    head, rest = found.iloc[:top], found.iloc[top:]
    columns = ["path", "journeys", "converted", "conversions", "value"]
    table = head[columns]
    if len(rest):
        sums = rest[columns[1:]].sum(min_count=1)
        table = pd.concat([table, pd.DataFrame([{"path": "(other)", **sums}])], ignore_index=True)
    for column in ("journeys", "converted", "conversions"):
        table[column] = table[column].astype(int)
    total = table["journeys"].sum()
    table.insert(2, "share", table["journeys"] / total)
    table.insert(3, "cumulative_share", table["share"].cumsum())
    table["rate"] = table["converted"] / table["journeys"]
    table["low"], table["high"] = intervals.wilson(table["converted"], table["journeys"])
    table["currency"] = touchpoints.currency("value")
    order = ["path", "journeys", "share", "cumulative_share", "converted", "rate", "low", "high"]
    return table[[*order, "conversions", "value", "currency"]]


def transitions(touchpoints, *, conversion="order", events=None, touchpoint="channel", lookback=None):
    """How often one touchpoint directly follows another, from "(start)" to "(conversion)" or "(end)".

    Returns one row per pair: from, to, transitions, share_out (0-1, of all
    transitions out of `from`). Out of "(start)" leave as many as there are
    journeys; into every touchpoint go as many as leave it.
    """
    ctes = journeys_sql(touchpoints, conversion=conversion, events=events, touchpoint=touchpoint, lookback=lookback)
    found = touchpoints.fetch(
        f'{ctes},\n{STEPS_SQL}\nSELECT "from", "to", SUM(journeys) AS transitions FROM steps GROUP BY "from", "to"'
    )
    found["transitions"] = found["transitions"].astype(int)
    found["share_out"] = found["transitions"] / found.groupby("from")["transitions"].transform("sum")
    return found.sort_values(["from", "transitions", "to"], ascending=[True, False, True], ignore_index=True)


def ends(transitions):
    """Where journeys end, from the result of `transitions`.

    Returns one row per touchpoint: touchpoint, passed (how often journeys came
    by, direct repeats once), ended (journeys that ended here without a
    conversion), rate (ended / passed) with low and high (Wilson, 95 %), converted (journeys that
    converted right after it), share (0-1, of all journeys that ended).
    """
    passed = transitions.groupby("from")["transitions"].sum()
    ended = transitions[transitions["to"] == "(end)"].set_index("from")["transitions"]
    converted = transitions[transitions["to"] == "(conversion)"].set_index("from")["transitions"]
    table = pd.DataFrame({"passed": passed, "ended": ended, "converted": converted}).drop("(start)", errors="ignore")
    table = table.fillna(0).astype(int).rename_axis("touchpoint").reset_index()
    table["rate"] = table["ended"] / table["passed"]
    table["low"], table["high"] = intervals.wilson(table["ended"], table["passed"])
    table["share"] = table["ended"] / max(table["ended"].sum(), 1)
    table = table.sort_values(["ended", "touchpoint"], ascending=[False, True], ignore_index=True)
    return table[["touchpoint", "passed", "ended", "rate", "low", "high", "converted", "share"]]


def satisfaction(surveys, *, scale="satisfaction"):
    """Mean score by touchpoint: first the mean of each person, then the mean over persons.

    Returns one row per touchpoint: touchpoint, scale, answers, n (persons),
    mean with low and high (t interval, 95 %), small_n (n < 30: the figures are
    withheld).
    """
    surveys.require("user_id", "touchpoint", "score", "scale")
    if scale not in _SCALES:
        raise BadParameter(f"scale {scale!r}: expected {' or '.join(_SCALES)}")
    found = surveys.fetch(
        f"WITH answered AS (SELECT {label('touchpoint')} AS touchpoint, user_id, score "
        "FROM {table} AS source "
        f"WHERE scale = {literal(scale)} AND score IS NOT NULL AND user_id IS NOT NULL),\n"
        "person AS (SELECT touchpoint, user_id, COUNT(*) AS answers, AVG(score) AS m FROM answered "
        "GROUP BY touchpoint, user_id)\n"
        "SELECT touchpoint, SUM(answers) AS answers, COUNT(*) AS n, AVG(m) AS mean, VAR_SAMP(m) AS variance "
        "FROM person GROUP BY touchpoint ORDER BY touchpoint"
    )
    found["low"], found["high"] = intervals.mean(found["mean"], found["variance"], found["n"])
    found["small_n"] = found["n"] < _SMALL
    found.loc[found["small_n"], ["mean", "low", "high"]] = np.nan
    found["scale"] = scale
    found["answers"] = found["answers"].astype(int)
    found = found.sort_values(["mean", "touchpoint"], ignore_index=True)
    return found[["touchpoint", "scale", "answers", "n", "mean", "low", "high", "small_n"]]


def journeys_sql(touchpoints, *, conversion, events=None, touchpoint="channel", lookback=None, period=None, keep=()):
    """CTEs for everything that counts journeys.

    With a Period: its conversions with the touches that led to them (those before
    it, too), and, of journeys that did not convert, the touches inside it; what
    comes after it is not looked at.

    `converted`: u, t, n, value — one row per person and instant with conversions.
    `touched`: u, ends (the conversion's moment, NULL where none follows), t, label,
    and the columns `keep` — one row per touch inside the look-back.
    `merged`: `touched` without direct repeats; place (1 …), label.
    `untouched`: n, value — conversions without a touch, those without a person among them.
    """
    touchpoints.require("user_id", "timestamp", "event", touchpoint, *keep)
    at = touchpoints.micros()
    value = touchpoints.column("value", "DECIMAL(18, 6)")
    wanted = f"(event <> {literal(conversion)} OR event IS NULL)"
    if isinstance(events, str):
        raise BadParameter(f"events {events!r}: expected a list of event names, as [{events!r}]")
    if events:
        if conversion in events:
            raise BadParameter(f"events {list(events)!r} hold the conversion {conversion!r}: expected touches only")
        wanted = f"event IN ({', '.join(literal(event) for event in events)})"
    kept = "".join(f", {identifier(name)} AS {identifier(name)}" for name in keep)
    names = "".join(f", {identifier(name)}" for name in keep)
    nulls = "".join(", NULL" for _ in keep)
    inside = ""
    if lookback is not None:
        inside = f" AND (ends IS NULL OR ends - t <= {round(duration(lookback).total_seconds() * 1_000_000)})"
    seen = counted = ""
    if period is not None:
        since, until = period.micros()
        seen = f" WHERE t IS NULL OR t < {until}"
        counted = f" WHERE t >= {since}"
        inside += f" AND (ends >= {since} OR (ends IS NULL AND t >= {since}))"
    timeless = "u IS NULL OR t IS NULL" if period is None else f"u IS NULL AND t >= {since}"
    # Equal times: a touch at the very moment of a conversion leads to it, and touches stand in the order of
    # their labels, so that the order of rows decides nothing.
    tie = ", ".join(["label", *(identifier(name) for name in keep)])
    return f"""WITH log AS (SELECT user_id AS u, {at} AS t, event,
  {label(identifier(touchpoint))} AS label, {value} AS value{kept}
  FROM {{table}} AS source),
events AS (SELECT * FROM log{seen}),
closing AS (SELECT u, t, COUNT(*) AS n, SUM(value) AS value FROM events
  WHERE event = {literal(conversion)} AND u IS NOT NULL AND t IS NOT NULL GROUP BY u, t),
converted AS (SELECT * FROM closing{counted}),
moments AS (SELECT u, t, 0 AS is_end, label{names} FROM events WHERE {wanted} AND u IS NOT NULL AND t IS NOT NULL
  UNION ALL SELECT u, t, 1 AS is_end, NULL{nulls} FROM closing),
placed AS (SELECT moments.*, MIN(CASE WHEN is_end = 1 THEN t END) OVER (PARTITION BY u ORDER BY t DESC, is_end DESC
  ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ends FROM moments),
touched AS (SELECT u, ends, t, label{names} FROM placed WHERE is_end = 0{inside}),
followed AS (SELECT touched.*, LAG(label) OVER (PARTITION BY u, ends ORDER BY t, {tie}) AS before FROM touched),
merged AS (SELECT u, ends, label, ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY t, {tie}) AS place
  FROM followed WHERE before IS NULL OR before <> label),
untouched AS (SELECT c.n, c.value FROM converted AS c
  LEFT JOIN (SELECT DISTINCT u, ends FROM touched WHERE ends IS NOT NULL) AS j ON c.u = j.u AND c.t = j.ends
  WHERE j.u IS NULL
  UNION ALL SELECT 1, value FROM events WHERE event = {literal(conversion)} AND ({timeless}))"""


# One row per kind of transition: journeys takes each journey once, weight each conversion (or null journey).
STEPS_SQL = """hops AS (SELECT u, ends, label, place, LEAD(label) OVER (PARTITION BY u, ends ORDER BY place) AS after
  FROM merged),
weighed AS (SELECT hops.*, COALESCE(c.n, 1) AS n, c.value FROM hops
  LEFT JOIN converted AS c ON hops.u = c.u AND hops.ends = c.t),
steps AS (
  SELECT '(start)' AS "from", label AS "to", COUNT(*) AS journeys, SUM(n) AS weight, SUM(value) AS value
    FROM weighed WHERE place = 1 GROUP BY label
  UNION ALL SELECT label, CASE WHEN after IS NOT NULL THEN after WHEN ends IS NULL THEN '(end)' ELSE '(conversion)' END,
    COUNT(*), SUM(n), SUM(value) FROM weighed
    GROUP BY label, CASE WHEN after IS NOT NULL THEN after WHEN ends IS NULL THEN '(end)' ELSE '(conversion)' END
  UNION ALL SELECT '(start)', '(conversion)', COUNT(*), SUM(n), SUM(value) FROM untouched HAVING COUNT(*) > 0)"""


def _rank(touchpoints, stages):
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
