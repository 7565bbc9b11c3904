"""The statement that finds how far each unit gets: a running maximum per step, as CTEs up to `units`.

s_k is the latest start of an attempt that ends in a row as step k. Of the events
that end an attempt of k steps, the latest also has the latest start (induction
over k); so where the next step cannot extend that one, it can extend none.
"""

import itertools
import re
from collections import Counter

from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter
from perfnb.funnel.rule import micros

__all__ = [
    "base",
    "bounds",
    "check_types",
    "events_sql",
    "keyed",
    "known",
    "met",
    "moment",
    "nearby",
    "programme",
    "reach",
]

_MOST_OVERLAPPING = 5  # conditions that meet in one event: their subsets are counted
_BEFORE = "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
_UP_TO = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
_AHEAD = "ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"
_AFTER = "ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING"


def keyed(rule, prefix=""):
    """The columns u_1 … that name a unit, as SQL."""
    return ", ".join(f"{prefix}u_{n}" for n, _ in enumerate(rule.keys, start=1))


def programme(touchpoints, rule, *, times=False):
    """CTEs up to `units`: u_1 …, level, base, entered, latest, reached_k, did_k; one row per unit with a funnel event.

    level: the furthest required step, 0 for none; base: the step of entry; entered: the
    entry of the earliest attempt that gets as far; latest: the start of the latest such,
    and closes: until when it could have gone on (NULL: for ever); reached_k and did_k:
    0 or 1 per step. With `times`: time_k, when the attempt counted (from its latest start)
    met step k, opened, the unit's earliest step-1 event that could have started it.
    """
    ctes = base(touchpoints, rule)
    if rule.order in ("any", "any_after_first"):
        chain = _any(rule)
    elif rule.open == "union":
        each = ", ".join(f"CASE WHEN m_{c} > 0{bounds(rule)} THEN t END AS s_{k}" for k, c in _steps(rule))
        chain = [f"ends AS (SELECT rows_of.*, {each} FROM rows_of)"]
    else:
        chain = _chain(rule)
    return [*ctes, *chain, *(_timed(rule) if times else []), *_units(rule, times)]


def base(touchpoints, rule):
    """The CTE `rows_of`: rows u_1 …, t, m_c (how many events meet condition c), x_e (0 or 1: exclusion e), and n_S.

    One row per unit and instant; where the order of events counts, one per event, with its place rn.
    """
    touchpoints.require(*rule.columns)
    check_types(touchpoints, rule)
    at = moment(touchpoints, rule)
    keys = [f"{identifier(name)} AS u_{n}" for n, name in enumerate(rule.keys, start=1)]
    tests = {f"m_{c}": step.sql() for c, step in enumerate(rule.conditions, start=1)}
    tests |= {f"x_{e}": one.step.sql() for e, one in enumerate(rule.exclude, start=1)}
    tested = [] if rule.order in ("strict", "adjacent") else [met(rule)]
    where = " AND ".join([*known(rule, at), *tested])
    flags = {name: f"CASE WHEN {test} THEN 1 ELSE 0 END" for name, test in tests.items()}
    if rule.in_rows or (rule.entry == "sequential" and rule.exclude):
        place = ", ".join(_place(touchpoints, rule, at, flags))
        marks = ", ".join(f"{flag} AS {name}" for name, flag in flags.items())
        return [
            f"rows_of AS (SELECT {', '.join(keys)}, {at} AS t, {marks}, ROW_NUMBER() OVER (PARTITION BY "
            f"{', '.join(identifier(name) for name in rule.keys)} ORDER BY {place}) AS rn "
            f"FROM {{table}} AS source WHERE {where})"
        ]
    # How many events there are matters only where steps repeat or overlap, or entries are counted.
    total = "SUM" if rule.attempts or _options(rule) else "MAX"
    marks = [f"{total if name[0] == 'm' else 'MAX'}({flag}) AS {name}" for name, flag in flags.items()]
    if _options(rule):
        for group in _overlaps(rule):
            either = " OR ".join(f"({rule.conditions[c - 1].sql()})" for c in group)
            marks.append(f"SUM(CASE WHEN {either} THEN 1 ELSE 0 END) AS {_union(group)}")
    by = ", ".join([*(identifier(name) for name in rule.keys), at])
    return [
        f"rows_of AS (SELECT {', '.join(keys)}, {at} AS t, {', '.join(marks)} FROM {{table}} AS source "
        f"WHERE {where} GROUP BY {by})"
    ]


def check_types(touchpoints, rule):
    """Engines differ in whether a text is a number: a condition compares like with like."""
    for step in [*rule.conditions, *(one.step for one in rule.exclude)]:
        for column, values in step.where:
            type = touchpoints.columns[column]
            number = re.match(r"(TINY|SMALL|BIG|HUGE)?INT|DECIMAL|DOUBLE|FLOAT|BOOL", type)
            for value in values:
                like = not isinstance(value, str) if number else isinstance(value, str) or type != "VARCHAR"
                if value is not None and not like:
                    raise BadParameter(
                        f"step {step.name!r}: {column} is {type}, found {value!r}. Say a value of that type"
                    )


def events_sql(touchpoints, rule, by, is_step, *, all_events):
    """The CTE `events`: u_1 …, t, g_1 … (the columns `by`), is_step; of funnel events, or of all in the period."""
    at = moment(touchpoints, rule)
    where = [f"{identifier(name)} IS NOT NULL" for name in rule.keys] + ['"timestamp" IS NOT NULL']
    if not all_events:
        where.append(met(rule))
    elif rule.period is not None:
        since, until = rule.period.micros()
        where.append(f"{at} >= {since} AND {at} < {until}")
    keys = [f"{identifier(name)} AS u_{n}" for n, name in enumerate(rule.keys, start=1)]
    groups = [f"{label(identifier(name))} AS g_{n}" for n, name in enumerate(by, start=1)]
    return (
        f"events AS (SELECT {', '.join([*keys, f'{at} AS t', *groups])}, {is_step} AS is_step FROM {{table}} AS source "
        f"WHERE {' AND '.join(where)})"
    )


def known(rule, at):
    """Conditions that an event is one of a unit, at a time that counts."""
    found = [f"{identifier(name)} IS NOT NULL" for name in rule.keys] + ['"timestamp" IS NOT NULL']
    if rule.follow_up == "inside" and rule.period is not None:
        found.append(f"{at} < {rule.period.micros()[1]}")
    return found


def moment(touchpoints, rule):
    """SQL for the time of an event, in whole microseconds, cut to the rule's resolution."""
    at = touchpoints.micros()
    cut = micros(rule.resolution)
    return at if cut is None else f"({at} - (({at} % {cut}) + {cut}) % {cut})"


def met(rule):
    """The condition that an event is one of the funnel."""
    tested = [*rule.conditions, *(one.step for one in rule.exclude)]
    if all(len(step.where) == 1 and step.where[0][0] == "event" for step in tested):
        names = dict.fromkeys(name for step in tested for name in step.where[0][1])
        if None not in names:
            return f"event IN ({', '.join(map(literal, names))})"
    return "(" + " OR ".join(f"({step.sql()})" for step in tested) + ")"


def _place(touchpoints, rule, at, flags):
    """The order of a unit's events, total but for events that nothing tells apart."""
    order = [at]
    if not rule.in_rows:
        # Attempts under "distinct": events of an instant stand in the order of the steps, excluded ones last.
        position = " ".join(f"WHEN {step.sql()} THEN {k}" for k, step in enumerate(rule.steps, start=1))
        return [at, f"CASE {position} ELSE {rule.count + 1} END", *flags.values()]
    if touchpoints.has(rule.sequence):
        column = identifier(rule.sequence)
        order += [f"CASE WHEN {column} IS NULL THEN 1 ELSE 0 END", column]
    tested = [*rule.conditions, *(one.step for one in rule.exclude)]
    by_name = all(column == "event" for step in tested for column, _ in step.where)
    return [*order, "COALESCE(event, '')", *([] if by_name else flags.values())]


def _options(rule):
    return rule.ties == "distinct" and not rule.in_rows and not rule.plain


def _overlaps(rule):
    """Sets of conditions, linked by events that may meet two of them: whose events have to be counted together."""
    count = len(rule.conditions)
    linked = {
        (a, b)
        for a, b in itertools.combinations(range(1, count + 1), 2)
        if not rule.conditions[a - 1].apart(rule.conditions[b - 1])
    }
    found, last = [], [(c,) for c in range(1, count + 1)]
    while last:
        grown = {
            tuple(sorted((*group, c)))
            for group in last
            for c in range(1, count + 1)
            if c not in group and any((min(c, g), max(c, g)) in linked for g in group)
        }
        last = sorted(grown)
        if last and len(last[0]) > _MOST_OVERLAPPING:
            raise BadParameter(
                f"steps: more than {_MOST_OVERLAPPING} of them may be met by the same events under ties 'distinct'. "
                "Tell them apart, or use ties 'sequence' or 'shared'"
            )
        found += last
    return found


def _union(group):
    return "n_" + "_".join(map(str, group))


def _steps(rule):
    return list(enumerate(rule.marks, start=1))


def bounds(rule):
    """The condition that a row lies in the rule's period, after others; nothing without one."""
    if rule.period is None:
        return ""
    since, until = rule.period.micros()
    return f" AND t >= {since} AND t < {until}"


def reach(rule):
    """(since, until) in microseconds: where an attempt of the rule's period may reach; until is None for ever."""
    since, until = rule.period.micros()
    if rule.open == "union" or rule.follow_up == "inside":
        return since, until
    return since, None if rule.window is None else until + rule.window


def nearby(rule):
    """The condition that a row lies where an attempt of the period may reach: who did a step at quite another time
    did not do it out of order.
    """
    if rule.period is None:
        return ""
    since, until = reach(rule)
    return f" AND t >= {since}" + ("" if until is None else f" AND t < {until}")


def _starts(rule):
    """{step: SQL that says of a row whether an attempt may begin there, at this step}."""
    mine = f"OVER (PARTITION BY {keyed(rule)})"
    place = "rn" if rule.in_rows else "t"
    is_first = f"m_{rule.marks[0]} > 0"
    if rule.open == "first_touch":
        any_step = " OR ".join(f"m_{c} > 0" for c in range(1, len(rule.conditions) + 1))
        first = f"{place} = MIN(CASE WHEN {any_step} THEN {place} END) {mine}{bounds(rule)}"
        found = {}
        for k, c in _steps(rule):
            lower = "".join(f" AND m_{rule.marks[j - 1]} = 0" for j in range(1, k))
            found[k] = f"m_{c} > 0{lower} AND {first}"
        return found
    opens = is_first + bounds(rule)
    if rule.entry == "first":
        opens += f" AND {place} = MIN(CASE WHEN {is_first} THEN {place} END) {mine}"
    return {1: opens}


def _chain(rule):
    """CTEs up to `ends`: rows_of with s_k, and r_k (without the exclusions that remove), and what follows for those."""
    removing = [e for e, one in enumerate(rule.exclude, start=1) if one.effect == "remove"]
    every = list(range(1, len(rule.exclude) + 1))
    kept = [keyed(rule), "t", *(["rn"] if rule.in_rows else [])]
    kept += [f"m_{c}" for c in range(1, len(rule.conditions) + 1)] + [f"x_{e}" for e in every]
    if _options(rule):
        kept += [_union(group) for group in _overlaps(rule)]
    ctes, last, columns = _hops(rule, "s", every, "rows_of", kept)
    if removing:
        kept = [*kept, *columns]
        more, last, columns = _hops(rule, "r", [e for e in every if e not in removing], last, kept)
        ctes += more
        order = "rn" if rule.in_rows else "t"
        after = ", ".join(
            f"MIN(CASE WHEN x_{e} = 1 THEN t END) OVER (PARTITION BY {keyed(rule)} ORDER BY {order} {_AFTER}) AS a_{e}"
            for e in removing
        )
        ctes.append(f"followed AS (SELECT {last}.*, {after} FROM {last})")
        last = "followed"
    return [*ctes, f"ends AS (SELECT * FROM {last})"]


def _hops(rule, s, exclusions, source, kept):
    """CTEs that add the columns s_1 … to `source`; the name of the last, and these columns."""
    starts = _starts(rule)
    opening = {k: f"CASE WHEN {starts[k]} THEN t END AS {s}o_{k}" for k in starts if k > 1}
    columns = [f"{s}_1", *(f"{s}o_{k}" for k in opening)]
    ctes = [
        f"{s}_hop_1 AS (SELECT {source}.*, "
        + ", ".join([f"CASE WHEN {starts[1]} THEN t END AS {s}_1", *opening.values()])
        + f" FROM {source})"
    ]
    last, seen, lags = f"{s}_hop_1", set(), []
    for k in range(2, rule.count + 1):
        before = [j for j in rule.required if j < k]
        # With options, an attempt may have stood at any earlier step when this instant came.
        for j in before if _options(rule) else before[-1:]:
            if j not in seen:
                seen.add(j)
                more, last, added = _reach(rule, s, j, exclusions, last)
                ctes += more
                lags += added
        if _options(rule):
            met = _at_once(rule, s, before, k, exclusions)
        else:
            met = [f"WHEN {s}o_{k} IS NOT NULL THEN {s}o_{k}"] if k in opening else []
            met.append(f"WHEN m_{rule.marks[k - 1]} > 0 AND {_extends(rule, s, before[-1], k, exclusions)} "
                       f"THEN {s}p_{before[-1]}")  # fmt: skip
        carried = [*kept, *columns, *(lags if _options(rule) or rule.optional else [])]
        ctes.append(f"{s}_hop_{k} AS (SELECT {', '.join(carried)}, CASE {' '.join(met)} END AS {s}_{k} FROM {last})")
        last = f"{s}_hop_{k}"
        columns.append(f"{s}_{k}")
    return ctes, last, columns


def _at_once(rule, s, before, k, exclusions):
    """The options for step k at an instant with enough events for several steps: the fewest steps before it first,
    whose starts are the latest.
    """
    entries = [j for j in _starts(rule) if 1 < j <= k]
    met = [f"WHEN {_enough(rule, range(j, k + 1))} AND {s}o_{j} IS NOT NULL THEN {s}o_{j}" for j in entries]
    for stood in range(len(before) + 1):
        enough = _enough(rule, [*before[stood:], k])
        if stood == 0:
            met.append(f"WHEN {enough} AND {s}_1 IS NOT NULL THEN {s}_1")
        else:
            j = before[stood - 1]
            following = before[stood] if stood < len(before) else k
            met.append(f"WHEN {enough} AND {_extends(rule, s, j, following, exclusions)} THEN {s}p_{j}")
    return met


def _enough(rule, steps):
    """SQL that an instant has different events for all the steps: enough for every set of their conditions (Hall)."""
    needed = Counter(rule.marks[k - 1] for k in steps)
    found = [f"m_{c} >= {number}" for c, number in sorted(needed.items())]
    for group in _overlaps(rule):
        if all(c in needed for c in group):
            found.append(f"{_union(group)} >= {sum(needed[c] for c in group)}")
    return " AND ".join(found)


def _reach(rule, s, j, exclusions, source):
    """CTEs that add sp_j (the start of the attempt that could be extended), sq_j (when it met step j), sz_j …"""
    limited = any(limit is not None for limit in rule.limits)
    hop = _hop_exclusions(rule, j, exclusions)
    place = "rn" if rule.in_rows else "t"
    wanted = {f"{s}p_{j}": f"{s}_{j}"}
    if limited:
        wanted[f"{s}q_{j}"] = f"CASE WHEN {s}_{j} IS NOT NULL THEN t END"
    if hop:
        wanted[f"{s}k_{j}"] = f"CASE WHEN {s}_{j} IS NOT NULL THEN {place} END"
    mine = f"PARTITION BY {keyed(rule)}"
    names = list(wanted)
    ctes = []
    if rule.order == "strict":
        run = f"SUM(CASE WHEN m_{rule.marks[j - 1]} > 0 THEN 0 ELSE 1 END) OVER ({mine} ORDER BY rn {_UP_TO})"
        inside = ", ".join(
            f"MAX({value}) OVER ({mine}, run ORDER BY rn {_UP_TO}) AS h{name}" for name, value in wanted.items()
        )
        ctes.append(f"{s}_runs_{j} AS (SELECT {source}.*, {run} AS run FROM {source})")
        ctes.append(f"{s}_held_{j} AS (SELECT {s}_runs_{j}.*, {inside} FROM {s}_runs_{j})")
        source = f"{s}_held_{j}"
        found = {name: f"LAG(h{name}) OVER ({mine} ORDER BY rn)" for name in wanted}
    elif rule.order == "adjacent":
        found = {name: f"LAG({value}) OVER ({mine} ORDER BY rn)" for name, value in wanted.items()}
    else:
        found = {name: f"MAX({value}) OVER ({mine} {_frame(rule)})" for name, value in wanted.items()}
    for e in hop:
        name = f"{s}z_{j}_{e}"
        found[name] = f"MAX(CASE WHEN x_{e} = 1 THEN {place} END) OVER ({mine} ORDER BY {place} {_BEFORE})"
        names.append(name)
    added = ", ".join(f"{sql} AS {name}" for name, sql in found.items())
    ctes.append(f"{s}_before_{j} AS (SELECT {source}.*, {added} FROM {source})")
    return ctes, f"{s}_before_{j}", names


def _frame(rule):
    """Which rows may hold the step before."""
    if rule.in_rows:
        return f"ORDER BY rn {_BEFORE}"
    if rule.grace is not None:
        return f"ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND {micros(rule.grace)} FOLLOWING"
    if rule.ties == "increase" or _options(rule):
        return f"ORDER BY t {_BEFORE}"
    return f"ORDER BY t {_UP_TO}"


def _hop_exclusions(rule, j, exclusions):
    return [e for e in exclusions if rule.exclude[e - 1].after <= j < rule.exclude[e - 1].before]


def _extends(rule, s, j, k, exclusions):
    """SQL that the attempt at step j can go on to this row as step k, the next required or an optional one."""
    found = [f"{s}p_{j} IS NOT NULL"]
    if rule.window is not None:
        found.append(f"t - {s}p_{j} <= {rule.window}")
    limit = rule.limits[k - 2]
    if limit is not None:
        found.append(f"t - {s}q_{j} <= {limit}")
    found += [f"({s}z_{j}_{e} IS NULL OR {s}k_{j} >= {s}z_{j}_{e})" for e in _hop_exclusions(rule, j, exclusions)]
    return " AND ".join(found)


def _any(rule):
    """CTEs up to `ends` for steps in any order: s_k where k different steps lie in the window that opens in the row."""
    order = "rn" if rule.in_rows else "t"
    mine = f"PARTITION BY {keyed(rule)}"
    ahead = ", ".join(
        f"MIN(CASE WHEN m_{c} > 0 THEN t END) OVER ({mine} ORDER BY {order} {_AHEAD}) AS f_{k}" for k, c in _steps(rule)
    )
    inside = "" if rule.window is None else f" AND f_{{k}} - t <= {rule.window}"
    done = " + ".join(f"CASE WHEN f_{k} IS NOT NULL{inside.format(k=k)} THEN 1 ELSE 0 END" for k, _ in _steps(rule))
    marks = rule.marks[:1] if rule.order == "any_after_first" else rule.marks
    met = "(" + " OR ".join(f"m_{c} > 0" for c in marks) + ")"
    opens = met + bounds(rule)
    if rule.entry == "first":
        opens += f" AND {order} = MIN(CASE WHEN {met} THEN {order} END) OVER ({mine})"
    level = ", ".join(f"CASE WHEN done >= {k} THEN t END AS s_{k}" for k, _ in _steps(rule))
    return [
        f"ahead AS (SELECT rows_of.*, {ahead}, CASE WHEN {opens} THEN 1 ELSE 0 END AS opens FROM rows_of)",
        f"counted AS (SELECT ahead.*, CASE WHEN opens = 1 THEN {done} ELSE 0 END AS done FROM ahead)",
        f"ends AS (SELECT counted.*, {level} FROM counted)",
    ]


def _timed(rule):
    """The CTE `timed`: `ends` with the start of the attempt counted, and when it was done."""
    mine = f"OVER (PARTITION BY {keyed(rule)})"
    deepest = rule.required[::-1]
    start = " ".join(f"WHEN MAX(s_{k}) {mine} IS NOT NULL THEN MIN(s_{k}) {mine}" for k in deepest)
    done = " ".join(
        f"WHEN MAX(s_{k}) {mine} IS NOT NULL THEN MIN(CASE WHEN s_{k} IS NOT NULL THEN t END) {mine}" for k in deepest
    )
    return [f"timed AS (SELECT ends.*, CASE {start} END AS start, CASE {done} END AS done FROM ends)"]


def _units(rule, times):
    """CTEs `sums` and `units`, from `ends` (or `timed`)."""
    removing = [e for e, one in enumerate(rule.exclude, start=1) if one.effect == "remove"]
    numbers = range(1, rule.count + 1)
    found = [f"MAX(s_{k}) AS hi_{k}" for k in numbers] + [f"MIN(s_{k}) AS lo_{k}" for k in numbers]
    limited = any(limit is not None for limit in rule.limits)
    if limited:
        found += [f"MAX(CASE WHEN s_{k} IS NOT NULL THEN t END) AS at_{k}" for k in numbers]
    found += [f"MAX(CASE WHEN m_{c} > 0{nearby(rule)} THEN 1 ELSE 0 END) AS did_{k}" for k, c in _steps(rule)]
    if removing:
        found += [f"MAX(r_{k}) AS free_{k}" for k in numbers]
        found += [f"MAX(CASE WHEN s_{k} IS NOT NULL{_unspoiled(rule, k, removing)} THEN 1 ELSE 0 END) AS clean_{k}"
                  for k in numbers]  # fmt: skip
    shown = ""
    if times:
        found += [f"MIN(CASE WHEN s_{k} = start THEN t END) AS time_{k}" for k in numbers]
        inside = f" AND done - t <= {rule.window}" if rule.window is not None else ""
        found.append(f"MIN(CASE WHEN s_1 IS NOT NULL{inside} THEN t END) AS opened")
        shown = "".join(f", time_{k}" for k in numbers) + ", opened"
    required = rule.required[::-1]
    deepest = "CASE " + " ".join(f"WHEN hi_{k} IS NOT NULL THEN {k}" for k in required) + " ELSE 0 END"
    lowest = "CASE " + " ".join(f"WHEN hi_{k} IS NOT NULL THEN {k}" for k in numbers) + " END"
    level = deepest
    if removing:
        cases = " ".join(
            f"WHEN hi_{k} IS NOT NULL THEN CASE WHEN clean_{k} = 1"
            + "".join(f" AND free_{j} IS NULL" for j in numbers if j > k)
            + f" THEN {k} ELSE 0 END"
            for k in required
        )
        level = f"CASE {cases} ELSE 0 END"
    entered = "CASE " + " ".join(f"WHEN level = {k} THEN lo_{k}" for k in required) + " ELSE seen END"
    latest = "CASE " + " ".join(f"WHEN level = {k} THEN hi_{k}" for k in required) + " END"
    reached = []
    for k in numbers:
        met = f"hi_{k} IS NOT NULL" if k in rule.optional or rule.open != "closed" else f"level >= {k}"
        reached.append(f"CASE WHEN level > 0 AND {met} THEN 1 ELSE 0 END AS reached_{k}")
    did = ", ".join(f"did_{k}" for k in numbers)
    return [
        f"sums AS (SELECT {keyed(rule)}, MIN(t) AS seen, {', '.join(found)} "
        f"FROM {'timed' if times else 'ends'} GROUP BY {keyed(rule)})",
        f"levelled AS (SELECT sums.*, {level} AS level FROM sums)",
        f"units AS (SELECT {keyed(rule)}, level, {lowest if rule.open != 'closed' else '1'} AS base, "
        f"{entered} AS entered, {latest} AS latest, {_closes(rule, latest)} AS closes, {', '.join(reached)}, {did}"
        f"{shown} FROM levelled)",
    ]


def _closes(rule, latest):
    """SQL for the last moment at which the attempt could have gone on; NULL: for ever."""
    if not any(limit is not None for limit in rule.limits):
        return f"({latest}) + {rule.window}" if rule.window is not None else "CAST(NULL AS BIGINT)"
    cases = []
    for k in rule.required[:-1]:
        limit = rule.limits[rule.required[rule.required.index(k) + 1] - 2]
        ends = []
        if rule.window is not None:
            ends.append(f"hi_{k} + {rule.window}")
        if limit is not None:
            ends.append(f"at_{k} + {limit}")
        if ends:
            least = ends[0] if len(ends) == 1 else f"CASE WHEN {ends[0]} < {ends[1]} THEN {ends[0]} ELSE {ends[1]} END"
            cases.append(f"WHEN level = {k} THEN {least}")
    return f"CASE {' '.join(cases)} END" if cases else "CAST(NULL AS BIGINT)"


def _unspoiled(rule, k, removing):
    """SQL that no excluded event follows the attempt that ends here as step k, before its window closes."""
    found = ""
    for e in removing:
        if rule.exclude[e - 1].after <= k < rule.exclude[e - 1].before:
            late = [f"a_{e} - s_{k} > {rule.window}"] if rule.window is not None else []
            if rule.limits[k - 1] is not None:
                late.append(f"a_{e} - t > {rule.limits[k - 1]}")
            found += f" AND ({' OR '.join([f'a_{e} IS NULL', *late])})"
    return found
