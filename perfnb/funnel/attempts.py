"""The statement that counts attempts: one per step-1 event, or one after the other, as CTEs up to `units`."""

from perfnb.funnel.programme import base, bounds, keyed

__all__ = ["attempts"]

_LATER = "ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"


def attempts(touchpoints, rule):
    """CTEs up to `units`: u_1 …, entered, level, latest, closes, n; one row per entry, which stands for n attempts.

    `latest` and `closes` are the attempt's start and until when it could have gone on.
    """
    if rule.entry == "sequential" and rule.exclude:
        found = [*base(touchpoints, rule), *_walk(rule)]
    else:
        found = [*base(touchpoints, rule), *_each(rule)]
        found += _sequence(rule) if rule.entry == "sequential" else ["attempt AS (SELECT * FROM entry)"]
    reached = ", ".join(f"CASE WHEN level >= {k} THEN 1 ELSE 0 END AS reached_{k}" for k in range(1, rule.count + 1))
    did = ", ".join(f"0 AS did_{k}" for k in range(1, rule.count + 1))
    closes = f"entered + {rule.window}" if rule.window is not None else "CAST(NULL AS BIGINT)"
    return [
        *found,
        f"units AS (SELECT {keyed(rule)}, level, 1 AS base, entered, entered AS latest, {closes} AS closes, n, "
        f"{reached}, {did} FROM attempt)",
    ]


def _each(rule):
    """`entry`: u_1 …, entered, n, level, place, after — backwards, the earliest that each step can be reached.

    c_j is when step j can first be reached from the row, as the step that is being
    computed; b is where the first entry after the last step stands (sequential only).
    Of two rows the later one reaches a step no sooner, if at all: under a limit, the next row
    that reaches it decides.
    """
    place = "rn" if rule.in_rows else "t"
    mine = f"PARTITION BY {keyed(rule)}"
    start = "CURRENT ROW" if rule.ties in ("distinct", "shared") else "1 FOLLOWING"
    steps, count = rule.marks, rule.count
    opens = f"m_{steps[0]} > 0{bounds(rule)}"
    walks = rule.entry == "sequential"
    reached, source, ctes = [f"CASE WHEN m_{steps[-1]} > 0 THEN t END AS c_{count}"], "rows_of", []
    if walks:
        later = f"MIN(CASE WHEN {opens} THEN {place} END) OVER ({mine} ORDER BY {place} {_LATER})"
        reached.append(f"CASE WHEN m_{steps[-1]} > 0 THEN later END AS b")
        source, ctes = "later_of", [f"later_of AS (SELECT rows_of.*, {later} AS later FROM rows_of)"]
    ctes.append(f"back_{count} AS (SELECT {source}.*, {', '.join(reached)} FROM {source})")
    marks = ", ".join(f"m_{c}" for c in range(1, len(rule.conditions) + 1))
    rows = f"{keyed(rule)}, t, {'rn, ' if rule.in_rows else ''}{marks}"
    over = f"OVER ({mine} ORDER BY {place} ROWS BETWEEN {start} AND UNBOUNDED FOLLOWING)"
    for k in range(count - 1, 0, -1):
        limit = rule.limits[k - 1]
        ahead = []
        for j in range(k + 1, count + 1):
            soon = "" if limit is None else f" AND MIN(CASE WHEN c_{j} IS NOT NULL THEN t END) {over} - t <= {limit}"
            ahead.append(f"CASE WHEN m_{steps[k - 1]} > 0{soon} THEN MIN(c_{j}) {over} END AS c_{j}")
        ahead.append(f"CASE WHEN m_{steps[k - 1]} > 0 THEN t END AS c_{k}")
        if walks:
            ahead.append(f"CASE WHEN m_{steps[k - 1]} > 0 THEN MIN(b) {over} END AS b")
        ctes.append(f"back_{k} AS (SELECT {rows}, {', '.join(ahead)} FROM back_{k + 1})")
    window = "" if rule.window is None else f" AND c_{{k}} - t <= {rule.window}"
    cases = " ".join(f"WHEN c_{k} IS NOT NULL{window.format(k=k)} THEN {k}" for k in range(count, 1, -1))
    level = f"CASE {cases} ELSE 1 END" if cases else "1"
    return [
        *ctes,
        f"entry AS (SELECT {keyed(rule)}, t AS entered, m_{steps[0]} AS n, {place} AS place, {level} AS level"
        f"{', b' if walks else ''} FROM back_1 WHERE {opens})",
    ]


def _sequence(rule):
    """`attempt`: from each unit's first entry to the first one after it has converted or timed out, and so on."""
    if rule.count == 1:
        return ["attempt AS (SELECT * FROM entry)"]
    names = [f"u_{n}" for n, _ in enumerate(rule.keys, start=1)]
    same = " AND ".join(f"e.{name} = w.{name}" for name in names)
    columns = [*names, "entered", "place", "level", "onward"]
    carried = f"{keyed(rule)}, entered, place, level, b"
    if rule.window is None:
        late = [f"timed AS (SELECT {carried}, CAST(NULL AS BIGINT) AS late FROM entry)"]
    else:
        # Each entry once more, at the end of its window, behind what happens at that moment: the next entry from there.
        late = [
            f"probes AS (SELECT {carried}, entered AS at_t, 0 AS probe FROM entry UNION ALL "
            f"SELECT {carried}, entered + {rule.window}, 1 FROM entry)",
            f"timed AS (SELECT {carried}, probe, MIN(CASE WHEN probe = 0 THEN place END) OVER "
            f"(PARTITION BY {keyed(rule)} ORDER BY at_t, probe {_LATER}) AS late FROM probes)",
        ]
    ends = "" if rule.window is None else " WHERE probe = 1"
    return [
        *late,
        f"chained AS (SELECT {carried}, CASE WHEN level = {rule.count} THEN b ELSE late END AS onward "
        f"FROM timed{ends})",
        f"opening AS (SELECT chained.*, ROW_NUMBER() OVER (PARTITION BY {keyed(rule)} ORDER BY place) AS number "
        "FROM chained)",
        f"walked AS (SELECT {', '.join(columns)} FROM opening WHERE number = 1 UNION ALL "
        f"SELECT {', '.join(f'e.{name}' for name in columns)} FROM walked AS w JOIN chained AS e "
        f"ON {same} AND e.place = w.onward)",
        "attempt AS (SELECT walked.*, 1 AS n FROM walked)",
    ]


def _walk(rule):
    """`attempt` with exclusions: event by event, in the state (step, start, when it was met, attempt)."""
    names = [f"u_{n}" for n, _ in enumerate(rule.keys, start=1)]
    same = " AND ".join(f"r.{name} = w.{name}" for name in names)
    steps = rule.marks
    opens = f"r.m_{steps[0]} > 0" + bounds(rule).replace(" t ", " r.t ")
    over = f"w.k = 0 OR w.k = {rule.count}"
    if rule.window is not None:
        over += f" OR r.t - w.start > {rule.window}"
    later = " AND r.t > w.met" if rule.ties == "increase" else ""
    goes = " OR ".join(f"(w.k = {k} AND r.m_{steps[k]} > 0{later})" for k in range(1, rule.count)) or "1 = 0"
    strictly = "" if rule.in_rows else " AND r.t > w.met"
    broken = " OR ".join(
        f"(w.k >= {one.after} AND w.k < {one.before} AND r.x_{e} = 1{strictly})"
        for e, one in enumerate(rule.exclude, start=1)
    )
    state = (
        f"CASE WHEN {over} THEN CASE WHEN {opens} THEN 'opens' ELSE 'idle' END "
        f"WHEN {goes} THEN 'goes' WHEN {broken} THEN 'breaks' ELSE 'waits' END"
    )
    first = opens.replace("r.", "")
    keys, theirs = ", ".join(names), ", ".join(f"r.{name}" for name in names)
    # What a row does to the state is said in one place; each column of the next state follows from it.
    does = f"({state})"
    return [
        f"walked AS (SELECT {keys}, rn, CASE WHEN {first} THEN 1 ELSE 0 END AS k, t AS start, t AS met, "
        f"CASE WHEN {first} THEN 1 ELSE 0 END AS number FROM rows_of WHERE rn = 1 UNION ALL "
        f"SELECT {theirs}, r.rn, CASE {does} WHEN 'opens' THEN 1 WHEN 'goes' THEN w.k + 1 WHEN 'waits' THEN w.k ELSE 0 "
        f"END, CASE {does} WHEN 'opens' THEN r.t ELSE w.start END, "
        f"CASE {does} WHEN 'opens' THEN r.t WHEN 'goes' THEN r.t ELSE w.met END, "
        f"w.number + CASE {does} WHEN 'opens' THEN 1 ELSE 0 END "
        f"FROM walked AS w JOIN rows_of AS r ON {same} AND r.rn = w.rn + 1)",
        f"attempt AS (SELECT {keys}, MIN(start) AS entered, MAX(k) AS level, 1 AS n FROM walked "
        f"WHERE number > 0 AND k > 0 GROUP BY {keys}, number)",
    ]
