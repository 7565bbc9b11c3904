"""Journeys step by step: who is where at each step, what differs between two groups, loops, and how deep they go."""

from dataclasses import replace

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter, MissingColumns
from perfnb.journey import quick
from perfnb.journey.unit import NO_TOUCH, Counting, journeys_sql, part_sql, stops_sql

START, END = "(start)", "(end)"
_CONVERSION = "(conversion)"
_OWN = {START: 1, _CONVERSION: 2, END: 3}  # these rows stand last, in this order
_HIT, _GROUP = "perfnb_hit", "perfnb_group"
_HOUR = 3_600_000_000
_COUNTS = ("journeys", "aligned")
MANY = 1_000_000  # events, from which on the quick way counts steps


def step_matrix(
    touchpoints, *, anchor=START, occurrence="first", before=5, after=10, by=None, lookback=None, **counting
):
    """Which share of journeys is at which touchpoint, step by step; at every step they add up to all aligned journeys.

    `anchor` says what stands under each other: "(start)" — steps 1 to `after` are the first
    touches; "(end)" — step 0 is how the journey ends, steps -1 to -`before` the last touches;
    the name of a touchpoint, or {column: value} for a touch with that value ({"event":
    "add_to_cart"}) — step 0 is its "first" or "last" `occurrence`, and only journeys that
    have it are aligned. Direct repeats are one step, as in `transitions`. Where a journey
    has not begun it is at "(start)", where it is over at "(conversion)" or "(end)".
    `by` names a column: a person with all journeys belongs to the value at the first touch
    counted, so that groups share no person; who has no touch stands in "(no touch)".
    `counting` and `lookback` say which touches and conversions count; see `Counting`.

    Returns one row per group, step and touchpoint: (by), step, touchpoint, journeys,
    aligned (journeys of the group that are aligned: what each step adds up to), share
    (0-1, of those) with low and high (95 %, Wilson with as many journeys as they are worth:
    several of one person are not independent), design_effect (how much wider that makes the
    variance, 1 or more, from groups of persons: drawn alike on all engines, but for more than a
    million events on DuckDB by a hash of its own), aligned_share (0-1, of all journeys of the group), definition.
    """
    rule = Counting(lookback=lookback, **counting)
    anchor = START if anchor is None else anchor
    if occurrence not in ("first", "last"):
        raise BadParameter(f"occurrence {occurrence!r}: expected 'first' or 'last'")
    if before < 0 or after < 1:
        raise BadParameter(f"before {before!r}, after {after!r}: expected 0 or more, and 1 or more")
    steps = {START: range(1, after + 1), END: range(-max(before, 1), 1)}
    steps = steps.get(anchor if isinstance(anchor, str) else None, range(-before, after + 1))
    table, marks = _marked(touchpoints, anchor, by)
    walk = None if marks else quick.walk(table, lookback=lookback, **counting)
    counts = None
    if walk and walk.events > MANY:
        counts = quick.cells(walk, anchor, occurrence, steps, start=START, end=END)
    if counts is None:
        ctes = stops_sql(table, keep=marks, lookback=lookback, **counting)
        counts = table.fetch(_positions(ctes, marks, anchor, occurrence, steps))
    groups = counts.groupby("g", dropna=False, sort=True) if by else [(None, counts)]
    parts = [
        table.assign(**({by: group} if by else {}))
        for group, rows in groups
        if len(table := _grid(rows, steps, ends_last=anchor == END))
    ]
    columns = ["step", "touchpoint", "journeys", "aligned", "share", "low", "high", "design_effect", "aligned_share"]
    columns = [*([by] if by else []), *columns]
    table = pd.concat(parts, ignore_index=True)[columns] if parts else pd.DataFrame(columns=columns)
    names = [anchor] if isinstance(anchor, str) else [f"{name} {value}" for name, value in anchor.items()]
    where = anchor if anchor in (START, END) else f"{occurrence} " + ", ".join(f"“{name}”" for name in names)
    return table.assign(definition=f"aligned at {where}, {rule.definition}")


def two_groups(matrix, *, by, groups=()):
    """The step matrices of two groups, from the result of `step_matrix` with `by`; without `groups`, of the largest.

    Returns the columns of `step_matrix` twice, as a mapping from the name of each group to its
    matrix; empty matrices where there are fewer than two groups.
    """
    sizes = (
        matrix.groupby(by)["aligned"].max().drop(NO_TOUCH, errors="ignore").sort_values(ascending=False, kind="stable")
    )
    names = list(groups) or list(sizes.index[:2])
    strange = [name for name in names if name not in sizes]
    if (groups and len(set(names)) != 2) or (strange and len(sizes) >= 2):
        raise BadParameter(
            f"groups {names!r}: expected two of the column {by}, which has {', '.join(sizes.index[:20])}"
        )
    if strange or len(names) < 2:
        return dict.fromkeys((*names, "", " ")[:2], matrix.iloc[:0])
    return {name: matrix[matrix[by] == name] for name in names}


def matrix_difference(one, other):
    """Where two groups of journeys differ, from two results of `step_matrix` with the same steps.

    The groups must not share persons; those of `step_matrix(by=…)` do not:
    `matrix_difference(matrix[matrix["device"] == "mobile"], matrix[matrix["device"] == "desktop"])`.
    Intervals after Newcombe (1998) from the limits of both shares; p by the score test, by
    Fisher's where fewer than five are expected, both with as many journeys as those of
    several per person are worth; adjusted after Benjamini & Hochberg (1995) over all cells
    in which anyone is.

    Returns one row per step and touchpoint: step, touchpoint, journeys_one, aligned_one,
    share_one, journeys_other, aligned_other, share_other, difference (share_one -
    share_other) with difference_low and difference_high (95 %), p, p_adjusted, tests (how
    many there are).
    """
    parts = []
    for name, matrix in (("one", one), ("other", other)):
        if matrix.duplicated(["step", "touchpoint"]).any():
            raise BadParameter(f"{name}: has several rows of a step and touchpoint. Give one group of it")
        parts.append(matrix[["step", "touchpoint", "journeys", "aligned", "share", "low", "high", "design_effect"]])
    if set(one["step"]) != set(other["step"]):
        raise BadParameter("the two matrices have other steps: make them with the same anchor, before and after")
    table = parts[0].merge(parts[1], how="outer", on=["step", "touchpoint"], suffixes=("_one", "_other"))
    for end in ("_one", "_other"):
        table["aligned" + end] = table.groupby("step")["aligned" + end].transform("max")
        table = table.fillna({f"journeys{end}": 0, f"share{end}": 0.0, f"design_effect{end}": 1.0})
        absent = table[f"low{end}"].isna()
        limits = intervals.wilson(table[f"journeys{end}"], table[f"aligned{end}"])
        for side, limit in zip(("low", "high"), limits, strict=True):
            table.loc[absent, side + end] = limit[absent]
    a, b = (table[f"share{end}"] for end in ("_one", "_other"))
    table["difference"] = a - b
    spans = [(table[f"low_{end}"], table[f"high_{end}"]) for end in ("one", "other")]
    table["difference_low"], table["difference_high"] = intervals.newcombe(a, b, *spans)
    worth = [table[f"{name}_{end}"] / table[f"design_effect_{end}"] for end in ("one", "other") for name in _COUNTS]
    table["p"] = intervals.same_rate(*worth)
    table["p_adjusted"] = intervals.adjusted(table["p"])
    table["tests"] = int(table["p"].notna().sum())
    for name in ("journeys_one", "aligned_one", "journeys_other", "aligned_other"):
        table[name] = table[name].astype(int)
    size = (table["journeys_one"] + table["journeys_other"]).groupby(table["touchpoint"]).transform("sum")
    table = table.assign(size=size, own=table["touchpoint"].map(_OWN).fillna(0))
    table = table.sort_values(["step", "own", "size", "touchpoint"], ascending=[True, True, False, True])
    figures = [f"{name}_{end}" for end in ("one", "other") for name in ("journeys", "aligned", "share")]
    found = ["difference", "difference_low", "difference_high", "p", "p_adjusted", "tests"]
    return table[["step", "touchpoint", *figures, *found]].reset_index(drop=True)


def loops(touchpoints, *, lookback=None, **counting):
    """Coming back: touches of a touchpoint after another of the same in its journey.

    A "repeat" follows directly, a "return" after touches of others. Every touch is a
    journey's first of its touchpoint, a repeat or a return: passed = touches - repeats is
    what `ends` says of the same counting.

    Returns one row per touchpoint and kind: touchpoint, kind (repeat, return), persons
    (who did it), of_persons (who had the touchpoint), share (persons / of_persons) with
    low and high (Wilson, 95 %), journeys, of_journeys, loops (times), touches (of the
    touchpoint), share_of_touches (loops / touches), between (touches of others inside,
    mean), median_hours (from one to the next), hours (inside, in all), definition.
    """
    rule = Counting(lookback=lookback, **counting)
    again = "CASE WHEN last_place IS NULL THEN 0 WHEN place - last_place = 1 THEN 1 ELSE 2 END"
    per_journey = ", ".join(
        f"SUM(CASE WHEN kind = {k} THEN {what} ELSE 0 END) AS {name}_{k}"
        for k in (1, 2)
        for name, what in (("loops", "1"), ("inside", "place - last_place - 1"), ("gap", "gap"))
    )
    middle = ", ".join(f"MAX(CASE WHEN kind = {k} AND nth = (times + 1) // 2 THEN gap END) AS mid_{k}" for k in (1, 2))
    total = ", ".join(
        f"COUNT(DISTINCT CASE WHEN loops_{k} > 0 THEN u END) AS persons_{k}, "
        f"SUM(CASE WHEN loops_{k} > 0 THEN 1 ELSE 0 END) AS journeys_{k}, SUM(loops_{k}) AS loops_{k}, "
        f"SUM(inside_{k}) AS inside_{k}, CAST(SUM(gap_{k}) AS DOUBLE) AS gap_{k}, MAX(mid_{k}) AS mid_{k}"
        for k in (1, 2)
    )
    found = touchpoints.fetch(
        f"{journeys_sql(touchpoints, lookback=lookback, **counting)},\n"
        "spots AS (SELECT u, ends, label, t, ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY t, label) AS place "
        "FROM touched),\n"
        "behind AS (SELECT spots.*, LAG(place) OVER (PARTITION BY u, ends, label ORDER BY place) AS last_place, "
        "t - LAG(t) OVER (PARTITION BY u, ends, label ORDER BY place) AS gap FROM spots),\n"
        f"kinds AS (SELECT behind.*, {again} AS kind FROM behind),\n"
        "ranked AS (SELECT kinds.*, ROW_NUMBER() OVER (PARTITION BY label, kind ORDER BY gap) AS nth, "
        "COUNT(*) OVER (PARTITION BY label, kind) AS times FROM kinds),\n"
        f"journeys AS (SELECT u, ends, label, COUNT(*) AS touches, {per_journey}, {middle} FROM ranked "
        "GROUP BY u, ends, label)\n"
        "SELECT label AS touchpoint, COUNT(DISTINCT u) AS of_persons, COUNT(*) AS of_journeys, "
        f"SUM(touches) AS touches, {total} FROM journeys GROUP BY label"
    )
    names = ["persons", "journeys", "loops", "inside", "gap", "mid"]
    rows = [
        found[["touchpoint", "of_persons", "of_journeys", "touches"]].assign(
            kind=kind, **{name: found[f"{name}_{k}"] for name in names}
        )
        for k, kind in ((1, "repeat"), (2, "return"))
    ]
    table = pd.concat(rows, ignore_index=True)
    for name in ("persons", "of_persons", "journeys", "of_journeys", "loops", "touches"):
        table[name] = table[name].astype(int)
    table["share"] = table["persons"] / table["of_persons"]
    table["low"], table["high"] = intervals.wilson(table["persons"], table["of_persons"])
    table["share_of_touches"] = table["loops"] / table["touches"]
    table["between"] = table["inside"] / table["loops"].where(table["loops"] > 0)
    table["median_hours"] = table["mid"] / _HOUR
    table["hours"] = table["gap"] / _HOUR
    table["definition"] = rule.definition
    table = table.sort_values(["touches", "touchpoint", "kind"], ascending=[False, True, True], ignore_index=True)
    shares = ["persons", "of_persons", "share", "low", "high"]
    times = ["journeys", "of_journeys", "loops", "touches", "share_of_touches", "between", "median_hours", "hours"]
    return table[["touchpoint", "kind", *shares, *times, "definition"]]


def retention(touchpoints, *, depth=10, lookback=None, **counting):
    """How many journeys reach a k-th touch, every touch counted, and how those that do not are over.

    Returns one row per depth from 0 (all journeys, those without a touch too) to `depth`:
    depth, journeys (with at least so many touches), from_journeys (at the depth before),
    rate (journeys / from_journeys) with low and high (95 %, Wilson with as many journeys as
    those of several per person are worth), overall (0-1, of all journeys), converted and
    ended (journeys over with exactly so many touches, with a conversion or without),
    definition. journeys - converted - ended are the journeys of the next depth.
    """
    if depth < 1:
        raise BadParameter(f"depth {depth!r}: expected 1 or more")
    rule = Counting(lookback=lookback, **counting)
    part, alone = _parts()
    found = touchpoints.fetch(
        f"{stops_sql(touchpoints, lookback=lookback, **counting)},\n"
        "lengths AS (SELECT u, ends, COUNT(code) AS touches FROM stops GROUP BY u, ends),\n"
        f"capped AS (SELECT CASE WHEN touches > {depth} THEN {depth + 1} ELSE touches END AS touches, "
        f"CASE WHEN ends IS NULL THEN 0 ELSE 1 END AS converted, {part} AS part FROM lengths)\n"
        "SELECT touches, converted, part, COUNT(*) AS n FROM capped GROUP BY touches, converted, part\n"
        f"UNION ALL SELECT 0, 1, {alone}, SUM(n) FROM nowhere GROUP BY {alone}"
    )
    found["n"] = found["n"].astype(int)
    reach = {k: found[found["touches"] >= k].groupby("part")["n"].sum() for k in range(depth + 1)}
    rows = []
    for k in range(depth + 1):
        over = found[found["touches"] == k].groupby("converted")["n"].sum()
        row = {"depth": k, "journeys": int(reach[k].sum()), "converted": over.get(1, 0), "ended": over.get(0, 0)}
        if k:
            base = reach[k - 1]
            got = reach[k].reindex(base.index, fill_value=0)
            low, high, _ = intervals.clustered(
                got.sum(), base.sum(), (got**2).sum(), (base**2).sum(), (got * base).sum(), (base > 0).sum()
            )
            row |= {"from_journeys": int(base.sum()), "low": float(low), "high": float(high)}
        rows.append(row)
    table = pd.DataFrame(rows)
    table["from_journeys"] = table["from_journeys"].astype("Int64")
    before = table["from_journeys"].astype(float)
    table["rate"] = table["journeys"] / before.where(before > 0)
    table["overall"] = table["journeys"] / max(table["journeys"].iloc[0], 1)
    table["definition"] = rule.definition
    columns = ["depth", "journeys", "from_journeys", "rate", "low", "high", "overall", "converted", "ended"]
    return table[[*columns, "definition"]].astype({"converted": int, "ended": int})


def _parts():
    """The group of persons of a journey, and of one of which the person is not known."""
    return part_sql("u"), part_sql("t", "''")


def _marked(touchpoints, anchor, by):
    """The events with what is asked of them as columns of our own, and the names of these."""
    more = {}
    if not isinstance(anchor, str):
        missing = [name for name in anchor if not touchpoints.has(name)]
        if missing or not anchor:
            raise MissingColumns(
                f"{touchpoints.name} ({touchpoints.origin}): anchor names the column "
                f"{', '.join(map(repr, missing)) or '(none)'}; found {', '.join(touchpoints.columns)}"
            )
        hit = " AND ".join(f"{identifier(name)} = {literal(value)}" for name, value in anchor.items())
        more[_HIT] = f"CASE WHEN {hit} THEN 1 ELSE 0 END"
    if by is not None:
        touchpoints.require(by)
        more[_GROUP] = label(identifier(by))
    if not more:
        return touchpoints, ()
    added = ", ".join(f"{sql} AS {name}" for name, sql in more.items())
    sql = f"SELECT given.*, {added} FROM ({touchpoints.sql}) AS given"
    return replace(touchpoints, sql=sql, columns=touchpoints.columns | dict.fromkeys(more, "VARCHAR")), tuple(more)


def _positions(stops, marks, anchor, occurrence, steps):
    """The statement: journeys by group, step, touchpoint, and whether they begin or are over there."""
    journey = "PARTITION BY u, ends"
    source, group, of_group = "stops", "", "CAST(NULL AS VARCHAR)"
    grouped = []
    if _GROUP in marks:
        # Touches before conversions: the group is that of the first touch.
        first = f"(PARTITION BY u ORDER BY CASE WHEN code IS NULL THEN 1 ELSE 0 END, q, {_GROUP})"
        of_group = "'(no touch)'"
        grouped = [
            f"grouped AS (SELECT stops.*, COALESCE(FIRST_VALUE({_GROUP}) OVER {first}, {of_group}) AS g FROM stops)"
        ]
        source, group = "grouped", ", g"
    run = "before IS NULL OR code <> before"  # of direct repeats, the first
    if isinstance(anchor, str):
        spot = "CAST(NULL AS BIGINT)"
        if anchor not in (START, END):
            spot = f"CASE WHEN code = (SELECT MIN(code) FROM names WHERE label = {literal(anchor)}) THEN place END"
        spots = [
            f"runs AS (SELECT u, ends, q, code, 1 AS fresh, ROW_NUMBER() OVER ({journey} ORDER BY nth) AS place, "
            f"COUNT(*) OVER ({journey}) AS places{group} FROM {source} "
            f"WHERE {run})",
            f"spots AS (SELECT runs.*, {spot} AS spot FROM runs)",
        ]
    else:
        spots = [
            f"freshly AS (SELECT {source}.*, CASE WHEN {run} THEN 1 ELSE 0 END AS fresh FROM {source} "
            "WHERE before IS NULL OR code IS NOT NULL)",
            f"runs AS (SELECT u, ends, q, code, fresh, {_HIT}, SUM(fresh) OVER ({journey} ORDER BY nth "
            f"ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS place{group} FROM freshly)",
            f"spots AS (SELECT runs.*, MAX(place) OVER ({journey}) AS places, "
            f"CASE WHEN {_HIT} = 1 THEN place END AS spot FROM runs)",
        ]
    extreme = "MIN" if occurrence == "first" else "MAX"
    origin = f"{extreme}(spot) OVER ({journey})"
    if isinstance(anchor, str):
        origin = {START: "0", END: "places + 1"}.get(anchor, origin)
    part, alone = _parts()
    inside = f"place - origin BETWEEN {steps[0]} AND {steps[-1]}"
    # Of journeys without a touch nothing is known but that they converted.
    bare = 1 if anchor in (START, END) else 0
    names = "g, part, step, label, opens, kind, aligned"
    ctes = [
        stops,
        *grouped,
        *spots,
        f"aimed AS (SELECT u, ends, code, fresh, place, places, {origin} AS origin, "
        f"{'g' if group else of_group + ' AS g'} FROM spots)",
        f"cells AS (SELECT g, {part} AS part, CASE WHEN {inside} AND code IS NOT NULL THEN place - origin END AS step, "
        f"CASE WHEN {inside} THEN code END AS code, CASE WHEN place = 1 THEN 1 ELSE 0 END AS opens, "
        "CASE WHEN code IS NULL THEN 'bare' WHEN place < places THEN 'on' WHEN ends IS NULL THEN 'ended' "
        f"ELSE 'converted' END AS kind, CASE WHEN code IS NULL THEN {bare} WHEN origin IS NULL THEN 0 ELSE 1 END "
        f"AS aligned FROM aimed WHERE fresh = 1 AND ({inside} OR place = 1))",
        "counted AS (SELECT g, part, step, code, opens, kind, aligned, COUNT(*) AS n FROM cells "
        "GROUP BY g, part, step, code, opens, kind, aligned)",
    ]
    return (
        ",\n".join(ctes) + f"\nSELECT {names}, n FROM counted LEFT JOIN names ON counted.code = names.code\n"
        f"UNION ALL SELECT {of_group}, {alone}, NULL, NULL, 1, 'bare', {bare}, SUM(n) FROM nowhere GROUP BY {alone}"
    )


def _grid(rows, steps, *, ends_last):
    """One group's matrix: every touchpoint at every step."""
    rows = rows.assign(n=rows["n"].astype(int), step=pd.to_numeric(rows["step"]).astype(float))
    total = int(rows.loc[rows["opens"] == 1, "n"].sum())
    rows = rows[rows["aligned"] == 1]
    sizes = rows[rows["opens"] == 1].groupby("part")["n"].sum()
    if not len(sizes):
        return pd.DataFrame()
    seen = rows[rows["step"].notna()]
    place, whose = (seen["step"] - steps[0]).to_numpy(int), np.searchsorted(sizes.index, seen["part"])

    def by_step(chosen):
        cell = whose[chosen] * len(steps) + place[chosen]
        return np.bincount(cell, seen["n"][chosen], len(sizes) * len(steps)).reshape(len(sizes), -1)

    opening, done, ended = (
        by_step(chosen.to_numpy())
        for chosen in (seen["opens"] == 1, seen["kind"] == "converted", seen["kind"] == "ended")
    )
    waiting = opening[:, ::-1].cumsum(axis=1)[:, ::-1] - opening
    done, ended = (over.cumsum(axis=1) - over for over in (done, ended))
    bare = rows[rows["kind"] == "bare"].groupby("part")["n"].sum().reindex(sizes.index, fill_value=0).to_numpy()
    # Aligned at their ends, journeys without a touch have not begun before the last step.
    waiting[:, :-1] += bare[:, None] * ends_last
    done[:, -1 if ends_last else 0 :] += bare[:, None]
    cells = seen.groupby(["label", "step", "part"], as_index=False)["n"].sum()
    cells = cells.assign(yy=cells["n"] ** 2, yn=cells["n"] * cells["part"].map(sizes))
    own = [
        pd.DataFrame(
            {"label": name, "step": steps, "n": y.sum(axis=0), "yy": (y**2).sum(axis=0), "yn": sizes.to_numpy() @ y}
        )
        for name, y in ((START, waiting), (_CONVERSION, done), (END, ended))
    ]
    sums = pd.concat([cells[["label", "step", "n", "yy", "yn"]], *own]).groupby(["label", "step"]).sum()
    order = sums.groupby("label")["n"].sum().loc[lambda n: n > 0].reset_index()
    order["own"] = order["label"].map(_OWN).fillna(0)
    labels = order.sort_values(["own", "n", "label"], ascending=[True, False, True])["label"]
    grid = pd.MultiIndex.from_product([[float(step) for step in steps], labels], names=["step", "label"])
    sums = sums.reorder_levels(["step", "label"]).reindex(grid, fill_value=0).reset_index()
    n = int(sizes.sum())
    low, high, effect = intervals.clustered(sums["n"], n, sums["yy"], (sizes**2).sum(), sums["yn"], len(sizes))
    return pd.DataFrame(
        {
            "step": sums["step"].astype(int),
            "touchpoint": sums["label"],
            "journeys": sums["n"].astype(int),
            "aligned": n,
            "share": sums["n"] / n,
            "low": low,
            "high": high,
            "design_effect": effect,
            "aligned_share": n / total,
        }
    )
