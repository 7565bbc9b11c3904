"""The unit of everything that counts journeys: which touches lead to which conversion."""

from dataclasses import dataclass, fields, replace

from perfnb.engine import identifier, label, literal
from perfnb.errors import BadParameter
from perfnb.period import Period, duration

NO_TOUCH = "(no touch)"
GROUPS = 256  # of persons, for intervals
_KNOWN = "u IS NOT NULL AND t IS NOT NULL"
_CHOICES = {
    "count": ("every", "first"),
    "repeats": ("reset", "overlap"),
    "direct": ("keep", "drop", "drop_last"),
    "nulls": ("journeys", "persons", "none"),
}


@dataclass(frozen=True)
class Counting:
    """Which events are touches, which conversions end a journey, and which touches belong to it.

    conversion      the event that ends a journey
    events          events that count as touches; all but the conversion when empty
    touchpoint      the column that says what a touch is of
    lookback        how long before its conversion a touch may lie, inclusive; None: any time
    period          a Period bounds the conversions: touches before it that led to them count,
                    and of journeys that did not convert the touches inside it; None: all days
    count           "every" conversion, or the "first" of each person (what follows it is no
                    journey; conversions without a person count each, since nobody knows)
    repeats         "reset": a touch leads to the person's next conversion only; "overlap": to every
                    conversion that follows inside the look-back
    direct          touches of `direct_channel`: "keep", "drop" (unless a journey has no others), or
                    "drop_last" (those at a journey's end, unless it has no others)
    nulls           journeys without a conversion: all of them ("journeys": also what follows a
                    person's last conversion), of "persons" who never convert only, or "none"
    """

    conversion: str = "order"
    events: tuple | list | None = None
    touchpoint: str = "channel"
    lookback: str | None = "30 days"
    period: Period | None = None
    count: str = "every"
    repeats: str = "reset"
    direct: str = "keep"
    direct_channel: str = "Direct"
    nulls: str = "journeys"

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                expected = ", ".join(map(repr, choices))
                raise BadParameter(f"{name} {getattr(self, name)!r}: expected one of {expected}")
        if isinstance(self.events, str):
            raise BadParameter(f"events {self.events!r}: expected a list of event names, as [{self.events!r}]")
        if self.events and self.conversion in self.events:
            raise BadParameter(
                f"events {list(self.events)!r} hold the conversion {self.conversion!r}: expected touches only"
            )

    @property
    def definition(self):
        """All of it in a line, to stand under a result."""
        names = ", ".join(f"“{event}”" for event in self.events or ())
        touches = f"touches {names}" if names else "all other events are touches"
        said = [
            f"conversion event “{self.conversion}”",
            touches,
            f"look-back {self.lookback} inclusive" if self.lookback else "no look-back",
            {"every": "every conversion", "first": "first conversion of each person"}[self.count],
            {"reset": "for the next conversion", "overlap": "for every later conversion"}[self.repeats],
        ]
        if self.direct != "keep":
            where = "left out unless alone" if self.direct == "drop" else "left out at the end unless alone"
            said.append(f"“{self.direct_channel}” {where}")
        said.append(
            {
                "journeys": "with all journeys that do not convert",
                "persons": "with persons who never convert",
                "none": "without journeys that do not convert",
            }[self.nulls]
        )
        if self.period is not None:
            said.append(f"{self.period.since}..{self.period.last_day}")
        return ", ".join(said)

    @property
    def window(self):
        """The look-back in whole microseconds; None without one."""
        return None if self.lookback is None else round(duration(self.lookback).total_seconds() * 1_000_000)

    @property
    def touch(self):
        """SQL that says of an event whether it is a touch."""
        if self.events:
            return f"event IN ({', '.join(literal(event) for event in self.events)})"
        return f"(event <> {literal(self.conversion)} OR event IS NULL)"


def part_sql(*keys):
    """SQL for the group of persons that a row is of, for intervals, by the first of `keys` that is known.

    The first two digits of a hash that every engine has.
    """
    known = ", ".join(f"CAST({key} AS VARCHAR)" for key in keys)
    return f"SUBSTR(MD5({known if len(keys) == 1 else f'COALESCE({known})'}), 1, 2)"


def journeys_sql(touchpoints, *, keep=(), **counting):
    """CTEs for everything that counts journeys, as `Counting` says.

    `events`: u, t, event, label, value and the columns `keep` — the log, up to the period's end.
    `converted`: u, t, n, value — one row per person and instant with conversions.
    `touched`: u, ends (the conversion's moment, NULL where none follows), t, label,
    and the columns `keep` — one row per touch of a journey.
    `merged`: `touched` without direct repeats; place (1 …), label.
    `untouched`: u, t, n, value — conversions without a touch; of those without a person u is NULL, and each is a
    journey of its own.
    """
    rule = Counting(**counting)
    log = _log(touchpoints, rule, keep)
    names = "".join(f", {identifier(name)}" for name in keep)
    # Equal times: a touch at the very moment of a conversion leads to it, and touches stand in the order of
    # their labels, so that the order of rows decides nothing.
    tie = ", ".join(["label", *(identifier(name) for name in keep)])
    parts = [
        f"WITH events AS (SELECT * FROM {log})",
        *_conversions(log, rule),
        *(_overlapping if rule.repeats == "overlap" else _reset)(
            _log(touchpoints, rule, keep, _converting(rule)), rule, names, len(keep)
        ),
        *_without_direct(rule, names, tie),
        f"""followed AS (SELECT touched.*, LAG(label) OVER (PARTITION BY u, ends ORDER BY t, {tie}) AS before
  FROM touched)""",
        f"""merged AS (SELECT u, ends, label, ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY t, {tie}) AS place
  FROM followed WHERE before IS NULL OR before <> label)""",
        f"""untouched AS (SELECT c.u, c.t, c.n, c.value FROM converted AS c
  LEFT JOIN (SELECT DISTINCT u, ends FROM touched WHERE ends IS NOT NULL) AS j ON c.u = j.u AND c.t = j.ends
  WHERE j.u IS NULL
  UNION ALL SELECT NULL, t, n, value FROM endings WHERE {_nowhere(rule)})""",
    ]
    return ",\n".join(parts)


def _log(touchpoints, rule, keep=(), where=""):
    """The log as a subquery, up to the period's end.

    Conversions and touches read it each for itself: an engine that keeps what is read twice would keep it whole.
    """
    touchpoints.require("user_id", "timestamp", "event", rule.touchpoint, *keep)
    kept = "".join(f", {identifier(name)} AS {identifier(name)}" for name in keep)
    seen = "" if rule.period is None else f" WHERE t IS NULL OR t < {rule.period.micros()[1]}"
    return f"""(SELECT * FROM (SELECT user_id AS u, {touchpoints.micros()} AS t, event,
  {label(identifier(rule.touchpoint))} AS label, {touchpoints.column("value", "DECIMAL(18, 6)")} AS value{kept}
  FROM {{table}} AS source{where}) AS log{seen}) AS events"""


def _converting(rule):
    """Where no other journeys count, only the persons who converted are looked at, before anything else is done."""
    return " WHERE user_id IN (SELECT u FROM converted)" if rule.nulls == "none" else ""


def _conversions(log, rule):
    """`endings`, every conversion; `closing`, those that end a journey; `converted`, those of them that count."""
    counted = "" if rule.period is None else f" WHERE t >= {rule.period.micros()[0]}"
    first = f"(SELECT u, MIN(t) AS t FROM endings WHERE {_KNOWN} GROUP BY u)"
    closing = {
        "every": f"SELECT * FROM endings WHERE {_KNOWN}",
        "first": f"SELECT e.u, e.t, e.n, e.value FROM endings AS e JOIN {first} AS f ON e.u = f.u AND e.t = f.t",
    }
    return [
        f"""endings AS (SELECT u, t, COUNT(*) AS n, SUM(value) AS value FROM {log}
  WHERE event = {literal(rule.conversion)} GROUP BY u, t)""",
        f"closing AS ({closing[rule.count]})",
        f"converted AS (SELECT * FROM closing{counted})",
    ]


def nowhere_sql(touchpoints, rule):
    """The statement for conversions of which the person or the time is not known, for DuckDB only: n, value, person (a
    hash of the time).
    """
    endings, *_ = _conversions(_log(touchpoints, rule), rule)
    figures = "n, CAST(value AS DOUBLE) AS value, HASH(t) AS person"
    return f"WITH {endings} SELECT {figures} FROM endings WHERE {_nowhere(rule)}"


def _nowhere(rule):
    """SQL for conversions that count and whose person or time is not known."""
    return "u IS NULL OR t IS NULL" if rule.period is None else f"u IS NULL AND t >= {rule.period.micros()[0]}"


def _reset(log, rule, names, kept):
    """`placed`, the touches with the next conversion of their person, and `reached`, those of a journey."""
    conditions = ["is_end = 0", *_conditions(rule)]
    return [
        f"""moments AS (SELECT u, t, 0 AS is_end, label{names} FROM {log} WHERE {rule.touch} AND {_KNOWN}
  UNION ALL SELECT u, t, 1 AS is_end, NULL{", NULL" * kept} FROM closing)""",
        """placed AS (SELECT moments.*, MIN(CASE WHEN is_end = 1 THEN t END) OVER (PARTITION BY u
  ORDER BY t DESC, is_end DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS ends FROM moments)""",
        f"reached AS (SELECT u, ends, t, label{names} FROM placed WHERE {' AND '.join(conditions)})",
    ]


def _overlapping(log, rule, names, kept):
    columns = names.replace(", ", ", e.")
    inside = "" if rule.window is None else f" AND c.t - e.t <= {rule.window}"
    conditions = _conditions(rule)
    return [
        f"touches AS (SELECT u, t, label{names} FROM {log} WHERE {rule.touch} AND {_KNOWN})",
        f"""placed AS (SELECT e.u, c.t AS ends, e.t, e.label{columns} FROM touches AS e
  JOIN converted AS c ON e.u = c.u AND e.t <= c.t{inside}
  UNION ALL SELECT e.u, NULL, e.t, e.label{columns} FROM touches AS e
  LEFT JOIN (SELECT u, MAX(t) AS t FROM closing GROUP BY u) AS l ON e.u = l.u WHERE l.u IS NULL OR e.t > l.t)""",
        f"reached AS (SELECT * FROM placed{' WHERE ' + ' AND '.join(conditions) if conditions else ''})",
    ]


def _conditions(rule, t="t", scale=1):
    """Which of the placed touches belong to a journey that counts.

    With a `scale` of 2, times are doubled, and those of conversions one more.
    """
    found = []
    if rule.window is not None:
        found.append(f"(ends IS NULL OR ends - {t} <= {scale * rule.window + scale - 1})")
    if rule.period is not None:
        since = scale * rule.period.micros()[0]
        found.append(f"(ends >= {since} OR (ends IS NULL AND {t} >= {since}))")
    if rule.nulls == "none":
        found.append("ends IS NOT NULL")
    elif rule.nulls == "persons" or rule.count == "first":
        found.append("(ends IS NOT NULL OR u NOT IN (SELECT u FROM closing))")
    return found


def _without_direct(rule, names, tie):
    """`touched`: the touches of a journey that its credit goes to."""
    if rule.direct == "keep":
        return [f"touched AS (SELECT u, ends, t, label{names} FROM reached)"]
    direct = literal(rule.direct_channel)
    if rule.direct == "drop":
        others = f"MAX(CASE WHEN label <> {direct} THEN 1 ELSE 0 END) OVER (PARTITION BY u, ends)"
        return [
            f"mixed AS (SELECT reached.*, {others} AS others FROM reached)",
            f"touched AS (SELECT u, ends, t, label{names} FROM mixed WHERE others = 0 OR label <> {direct})",
        ]
    return [
        f"""ranked AS (SELECT reached.*, ROW_NUMBER() OVER (PARTITION BY u, ends ORDER BY t, {tie}) AS place
  FROM reached)""",
        f"mixed AS (SELECT ranked.*, MAX(CASE WHEN label <> {direct} THEN place END) OVER (PARTITION BY u, ends) "
        "AS others FROM ranked)",
        f"touched AS (SELECT u, ends, t, label{names} FROM mixed WHERE others IS NULL OR place <= others)",
    ]


def stops_sql(touchpoints, *, keep=(), **counting):
    """CTEs for everything that walks journeys stop by stop: `stops`, which a statement should read once only.

    A plain `SELECT … FROM stops` streams; read twice, an engine keeps all of it. Times are
    twice the microseconds, and one more for conversions, which so come after the touches
    of their moment; a code stands for a label, in the order of labels.

    `names`: label, code (1 …).
    `stops`: one row per touch of a journey and, with a code of NULL, per person and instant with
    conversions that end one: u, ends (the conversion's time, NULL where none follows), q (its own), code,
    before and before_q (the touch before it in its journey, NULL where the journey begins), nth
    (grows by one from stop to stop), closes (1 on the last touch of a journey without a
    conversion), and the columns `keep` (NULL for conversions).
    `nowhere`: t, n, value — conversions of which the person or the time is not known, each a journey without a touch.
    `converted`: as in `journeys_sql`; its t is (ends - 1) / 2.
    """
    rule = Counting(**counting)
    parts = (_walked if _plain(rule) else _walked_anew)(touchpoints, rule, keep)
    return ",\n".join([*parts, f"nowhere AS (SELECT t, n, value FROM endings WHERE {_nowhere(rule)})"])


def _names(source):
    """The CTE `names`. Codes make rows small and sorts quick, however long the names are."""
    return (
        "names AS (SELECT label, CAST(ROW_NUMBER() OVER (ORDER BY label) AS INTEGER) AS code "
        f"FROM (SELECT DISTINCT label FROM {source}) AS labels)"
    )


def _moments(touchpoints, rule, keep=(), more=""):
    """`names` and `moments`, the touches and the conversions that end journeys, from the log itself."""
    looked_at = _log(touchpoints, rule, keep, where=_converting(rule))
    names = "".join(f", {identifier(name)}" for name in keep)
    return [
        _names(f"{looked_at} WHERE {rule.touch} AND {_KNOWN}"),
        f"""moments AS (SELECT u, t * 2 AS q, code{names}{more and ", CAST(NULL AS DECIMAL(38, 6)) AS value"}
  FROM {looked_at} JOIN names ON events.label = names.label WHERE {rule.touch} AND {_KNOWN}
  UNION ALL SELECT u, t * 2 + 1, NULL{", NULL" * len(keep)}{more} FROM closing)""",
    ]


def _walked(touchpoints, rule, keep):
    """`stops` in one pass over the log, where touches lead to their person's next conversion and stay as they are."""
    names = "".join(f", {identifier(name)}" for name in keep)
    frame = "PARTITION BY u ORDER BY q, code"
    of_times = replace(rule, count="every", nulls="journeys")  # whether a journey counts, each touch says for itself
    before = " AND ".join(["MOD(before_q, 2) = 0", *_conditions(of_times, "before_q", 2)])
    touch = " AND ".join(["MOD(q, 2) = 0", *_conditions(rule, "q", 2)])
    counts = "" if rule.period is None else f" AND q >= {2 * rule.period.micros()[0]}"
    endings, *conversions = _conversions(_log(touchpoints, rule), rule)
    return [
        f"WITH {endings}",
        *conversions,
        *_moments(touchpoints, rule, keep),
        f"""walked AS (SELECT moments.*, LAG(q) OVER ({frame}) AS before_q, LAG(code) OVER ({frame}) AS before_code,
  LEAD(q) OVER ({frame}) AS after_q, ROW_NUMBER() OVER ({frame}) AS nth,
  MIN(CASE WHEN MOD(q, 2) <> 0 THEN q END) OVER ({frame} ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS ends
  FROM moments)""",
        f"""stops AS (SELECT u, ends, q, code, nth, CASE WHEN {before} THEN before_code END AS before,
  CASE WHEN {before} THEN before_q END AS before_q,
  CASE WHEN ends IS NULL AND after_q IS NULL THEN 1 ELSE 0 END AS closes{names}
  FROM walked WHERE ({touch}) OR (MOD(q, 2) <> 0{counts}))""",
    ]


def _walked_anew(touchpoints, rule, keep):
    """`stops` from the journeys, where a touch may be of several, or some touches of a journey do not count."""
    columns = "".join(f", k.{identifier(name)}" for name in keep)
    frame = "PARTITION BY u, ends ORDER BY q, code"
    counting = {field.name: getattr(rule, field.name) for field in fields(rule)}
    return [
        journeys_sql(touchpoints, keep=keep, **counting),
        _names("touched"),
        f"""gathered AS (SELECT k.u, k.ends * 2 + 1 AS ends, k.t * 2 AS q, n.code{columns}
  FROM touched AS k JOIN names AS n ON k.label = n.label
  UNION ALL SELECT u, t * 2 + 1, t * 2 + 1, NULL{", NULL" * len(keep)} FROM converted)""",
        f"""stops AS (SELECT gathered.*, LAG(code) OVER ({frame}) AS before, LAG(q) OVER ({frame}) AS before_q,
  ROW_NUMBER() OVER ({frame}) AS nth,
  CASE WHEN ends IS NULL AND LEAD(q) OVER ({frame}) IS NULL THEN 1 ELSE 0 END AS closes FROM gathered)""",
    ]


def labels_sql(touchpoints, rule):
    """The statement for what there is to sort: label (NULL: of conversions), n (events), known (with a person and a
    time), low and high (times).
    """
    touchpoints.require("user_id", "timestamp", "event", rule.touchpoint)
    shown = f"CASE WHEN {rule.touch} THEN {label('named')} END"
    at, known = touchpoints.micros(), 'user_id IS NOT NULL AND "timestamp" IS NOT NULL'
    return (
        f"SELECT {shown} AS label, n, known, low, high FROM (SELECT event, {identifier(rule.touchpoint)} AS named, "
        f"COUNT(*) AS n, COUNT(CASE WHEN {known} THEN 1 END) AS known, MIN({at}) AS low, MAX({at}) AS high "
        "FROM {table} AS source GROUP BY event, named) AS found "
        f"WHERE {rule.touch} OR event = {literal(rule.conversion)}"
    )


def sorted_sql(touchpoints, rule, names, bits, value):
    """The statement for touches and conversions in the order of persons and times, for DuckDB only.

    Rows: person (a hash), k (twice the time, one more of a conversion, times 2^`bits`, plus the place of
    its label in `names`, from 1), and where asked for the value of conversions.
    """
    places = ", ".join(f"({literal(name)}, {place})" for place, name in enumerate(names, start=1))
    odd = f"CASE WHEN event = {literal(rule.conversion)} THEN 1 ELSE 0 END"
    worth = ", CAST(value AS DOUBLE) AS value" if value else ""
    return (
        f"SELECT HASH(u) AS person, (t * 2 + {odd}) * {1 << bits} + (1 - {odd}) * COALESCE(place, 0) AS k{worth} "
        f"FROM {_log(touchpoints, rule)} LEFT JOIN (VALUES {places}) AS names (name, place) ON label = name "
        f"WHERE ({rule.touch} OR event = {literal(rule.conversion)}) AND {_KNOWN} ORDER BY person, k"
    )


def walks_plainly(**counting):
    """Whether `walks_sql` can count journeys as `counting` says."""
    return _plain(Counting(**counting))


def _plain(rule):
    return rule.repeats == "reset" and rule.direct == "keep"


def sizes(touchpoints, **counting):
    """(touches, conversions) of known persons that `counting` looks at, in passing: not all need count."""
    rule = Counting(**counting)
    touches, conversions = (
        f"COUNT(CASE WHEN {of} THEN 1 END)" for of in (rule.touch, f"event = {literal(rule.conversion)}")
    )
    found = touchpoints.fetch(
        f"SELECT {touches} AS touches, {conversions} AS conversions FROM {_log(touchpoints, rule)} WHERE {_KNOWN}"
    )
    return int(found["touches"].iloc[0]), int(found["conversions"].iloc[0])


def walks_sql(touchpoints, *, order, told=0.0, **counting):
    """The statement that counts how journeys walk on, in one pass: each touch with those before it and the next.

    Which walks are whose is told of the share `told` of the persons, chosen by a hash that every
    engine has.

    Only for touches that lead to their person's next conversion and stay as they are:
    see `walks_plainly`.

    Rows: s0 … — the touch and those before it in its journey, NULL where the journey
    begins later, all NULL for conversions without a touch; the last of them says only
    whether there is one, by 1; following (the next
    touch, NULL at the journey's end), converts (1 where a conversion ends the journey, 0 where none
    does; NULL of conversions whose person or time is not known), person (NULL where it is
    not told), weight (journeys, as often as there are conversions), value (of the
    conversions right after the touch).
    """
    rule = Counting(**counting)
    log = _log(touchpoints, rule)
    moments = ",\n".join(_moments(touchpoints, rule, more=", value"))
    # Small keys make the one sort quick: q is twice the time, and one more of a conversion, which so comes after the
    # touches of its moment; a code stands for the label, in the order of labels.
    frame = "PARTITION BY m.u ORDER BY m.q, m.code"
    # Of the touch that lies `order` back it matters only whether it is there.
    lags = "".join(
        f", LAG(m.{name}, {k}) OVER ({frame}) AS {name}_{k}"
        for k in range(1, order + 1)
        for name in ("q", "code")
        if name == "q" or k < order
    )
    early = [_conditions(rule, f"q_{k}", 2) for k in range(1, order + 1)]
    inside = [" AND ".join([f"MOD(q_{k}, 2) = 0", *conditions]) for k, conditions in enumerate(early, start=1)]
    states = [
        f"CASE WHEN {' AND '.join(['MOD(q, 2) = 0', *inside[:k]])} THEN {f'code_{k}' if k < order else '1'} END AS s{k}"
        for k in range(1, order + 1)
    ]
    touch = " AND ".join(["MOD(q, 2) = 0", *_conditions(rule, "q", 2)])
    seen = "" if rule.period is None else f" AND q >= {2 * rule.period.micros()[0]}"
    chosen = f"MD5(CAST(w.u AS VARCHAR)) < '{round(told * 16**3):03x}'"
    person = "w.u" if told >= 1 else f"CASE WHEN {chosen} THEN w.u END" if told else "CAST(NULL AS VARCHAR)"
    keys = ", ".join([*(f"s{k}" for k in range(order + 1)), "following", "converts", "person"])
    coded = [*(f"s{k}" for k in range(order)), "following"]
    decoded = ", ".join(f"n_{name}.label AS {name}" for name in coded)
    joins = " ".join(f"LEFT JOIN names AS n_{name} ON g.{name} = n_{name}.code" for name in coded)
    return f"""WITH {", ".join(_conversions(log, rule))},
{moments},
walked AS (SELECT m.u, m.q, m.code, m.value, LEAD(m.code) OVER ({frame}) AS following,
  LEAD(m.value) OVER ({frame}) AS won{lags}, MIN(CASE WHEN MOD(m.q, 2) <> 0 THEN m.q END) OVER ({frame}
  ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS ends FROM moments AS m),
often AS (SELECT u AS who, t * 2 + 1 AS last, n AS times FROM closing WHERE n > 1),
walks AS (SELECT code AS s0, {", ".join(states)}, CASE WHEN MOD(q, 2) = 0 THEN following END AS following,
  CASE WHEN ends IS NULL THEN 0 ELSE 1 END AS converts, {person} AS person, COALESCE(times, 1) AS n,
  CASE WHEN MOD(q, 2) <> 0 THEN value WHEN following IS NULL THEN won END AS value
  FROM walked AS w LEFT JOIN often AS o ON w.u = o.who AND w.ends = o.last
  WHERE ({touch}) OR (MOD(q, 2) <> 0 AND NOT COALESCE({inside[0]}, FALSE){seen})),
grouped AS (SELECT {keys}, CAST(SUM(n) AS DOUBLE) AS weight, CAST(SUM(value) AS DOUBLE) AS value
  FROM walks GROUP BY {keys})
SELECT {decoded}, g.s{order}, g.converts, g.person, g.weight, g.value FROM grouped AS g {joins}
UNION ALL SELECT {"NULL, " * (order + 4)}CAST(SUM(n) AS DOUBLE), CAST(SUM(value) AS DOUBLE)
  FROM endings WHERE {_nowhere(rule)} HAVING COUNT(*) > 0"""
