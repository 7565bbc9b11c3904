"""The stops of `unit.stops_sql` in arrays, from one sort: where DuckDB is the engine, in a fraction of the time.

Persons are told apart by DuckDB's hash of 64 bits: of a million persons, two share one in one log of 37 million.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd

from perfnb.engine import Table
from perfnb.engine.stream import mapped, streams, whole_persons
from perfnb.journey.unit import GROUPS, Counting, labels_sql, nowhere_sql, sorted_sql, walks_plainly

_BITS = 10  # for the place of a label, in one number with a time until the year 2112
_LATEST = 1 << (62 - _BITS)
_KINDS = ("bare", "on", "ended", "converted")
_CELLS = 4_000_000  # of a count by group, step and label
_LARGE = 50_000_000  # events, beyond which what must be kept of all stops may be more than memory holds


@dataclass(frozen=True)
class Stops:
    """Stops of whole persons, one person after another, in order of time.

    As in `stops_sql`: q, code and before (0 where they are NULL there), closes. person is the place in
    `persons`, their hashes; opens: the journey begins here; paid: it ends in a conversion. Where asked
    for, lag is q less that of the touch before, 0 without one, and times and value are those of the conversions that
    a stop is (nan where no value is known).
    """

    persons: np.ndarray
    person: np.ndarray
    q: np.ndarray
    code: np.ndarray
    before: np.ndarray
    lag: np.ndarray | None
    opens: np.ndarray
    closes: np.ndarray
    paid: np.ndarray
    times: np.ndarray | None
    value: np.ndarray | None

    def where(self, chosen):
        """The chosen stops."""
        columns = (getattr(self, field.name) for field in fields(self)[1:])
        return Stops(self.persons, *(column if column is None else column[chosen] for column in columns))


@dataclass(frozen=True)
class Walk:
    """The stops of a log, in parts; `names` are the labels, code k means names[k - 1]. `all_known`: so are persons and
    times of all `events`.
    """

    touchpoints: Table
    rule: Counting
    names: list
    events: int
    all_known: bool

    def each(self, function, *, timed=False, value=False):
        """What `function` makes of the `Stops`, part by part; where asked for with lag, or with times and value."""
        bits = len(self.names).bit_length()
        sql = sorted_sql(self.touchpoints, self.rule, self.names, bits, value)

        def made(part):
            stops = _stops(part["person"], part["k"], part.get("value"), bits, self.rule, timed)
            return function(stops) if stops.q.size else None

        found = mapped(made, whole_persons(self.touchpoints.engine, self.touchpoints.over(sql)))
        return (one for one in found if one is not None)

    def nowhere(self):
        """Conversions of which the person or the time is not known: n, value, person."""
        if self.all_known:
            return pd.DataFrame({"n": [], "value": [], "person": []}).astype({"n": "int64", "person": "uint64"})
        return self.touchpoints.fetch(nowhere_sql(self.touchpoints, self.rule))


def hops(walk):
    """What `transitions` counts, None where there is nothing: origin and goal (labels, None for a start and a
    conversion), transitions, persons, ended (journeys, at the goal), middle and late (the time that half and 95 % take
    at most).
    """
    size = len(walk.names) + 1
    pairs = size * size
    count, ended, persons = (np.zeros(pairs, np.int64) for _ in range(3))
    which, lags = [], []

    def counted(stops):
        pair = stops.before * size + stops.code
        once = np.sort(stops.person.astype(np.int64) * pairs + pair)
        once = once[np.diff(once, prepend=-1) > 0] % pairs
        counts = (np.bincount(part, minlength=pairs) for part in (pair, pair[stops.closes], once))
        timed = (stops.before > 0) & (stops.before != stops.code)
        # Numbers of 16 bits are sorted by counting.
        return *counts, pair[timed].astype(np.int16 if pairs < 1 << 15 else np.int32), stops.lag[timed]

    for hopped, over, of_persons, pair, lag in walk.each(counted, timed=True):
        count += hopped
        ended += over
        persons += of_persons
        which.append(pair)
        lags.append(lag)
    if not which:
        return None
    which, lags = np.concatenate(which), np.concatenate(lags)
    lags = lags[np.argsort(which, kind="stable")]
    ends = np.cumsum(np.bincount(which, minlength=pairs))
    middle, late = np.full((2, pairs), np.nan)
    for pair in np.flatnonzero(np.diff(ends, prepend=0)):
        own = lags[ends[pair - 1] if pair else 0 : ends[pair]]
        places = (own.size + 1) // 2 - 1, (19 * own.size + 19) // 20 - 1
        middle[pair], late[pair] = np.partition(own, places)[list(places)]
    met = np.flatnonzero(count)
    names = np.array([None, *walk.names], object)
    origin, goal = (names[place] for place in np.divmod(met, size))
    figures = {"transitions": count, "persons": persons, "ended": ended, "middle": middle, "late": late}
    found = pd.DataFrame({"origin": origin, "goal": goal} | {name: own[met] for name, own in figures.items()})
    nobody = int(walk.nowhere()["n"].sum())
    if nobody:
        found.loc[len(found)] = {"transitions": nobody, "persons": 0, "ended": 0}
    return found


def cells(walk, anchor, occurrence, steps, *, start, end):
    """What `step_matrix` counts: part (group of persons), step, label, opens, kind, aligned, n; None where there are
    too many labels and steps.
    """
    size, width = len(walk.names) + 1, len(steps) + 1
    code_of = {name: code for code, name in enumerate(walk.names, start=1)}
    bare = 1 if anchor in (start, end) else 0
    shape = (GROUPS, width, size, 2, len(_KINDS), 2)
    if math.prod(shape) > _CELLS:
        return None
    count = np.zeros(math.prod(shape), np.int64)

    def counted(stops):
        run = np.flatnonzero(stops.opens | ((stops.code > 0) & (stops.code != stops.before)))
        code, opens = stops.code[run], stops.opens[run]
        begins = np.flatnonzero(opens)
        number = np.diff(np.append(begins, run.size))  # of places of each journey
        place, goes_on = np.arange(1, run.size + 1) - np.repeat(begins, number), np.append(~opens[1:], False)
        aligned = code > 0
        if anchor == start:
            step = place
        elif anchor == end:
            step = place - np.repeat(number, number) - 1
        else:
            hit, none = code == code_of.get(anchor, -1), 1 << 62
            if occurrence == "first":
                spot = np.minimum.reduceat(np.where(hit, place, none), begins)
            else:
                spot = np.maximum.reduceat(np.where(hit, place, -none), begins)
            spot = np.repeat(spot, number)
            aligned &= np.abs(spot) < none
            step = place - spot
        inside = (step >= steps[0]) & (step <= steps[-1]) & aligned
        over = np.where(stops.paid[run], 3, 2)
        keys = (
            (stops.persons % GROUPS).astype(np.int32)[stops.person[run]],
            np.where(inside, step - steps[0], width - 1),
            np.where(inside, code, 0),
            opens,
            np.where(code == 0, 0, np.where(goes_on, 1, over)),
            np.where(code == 0, bare, aligned),
        )
        seen = inside | opens
        cell = np.zeros(run.size, np.int64)
        for key, many in zip(keys, shape, strict=True):
            cell *= many
            cell += key
        return cell[seen]

    for cell in walk.each(counted):
        count += np.bincount(cell, minlength=count.size)
    cell = np.flatnonzero(count)
    group, step, code, opens, kind, aligned = np.unravel_index(cell, shape)
    table = pd.DataFrame(
        {
            "g": None,
            "part": group,
            "step": np.where(step < width - 1, step + steps[0], np.nan),
            "label": np.array([None, *walk.names], object)[code],
            "opens": opens,
            "kind": np.array(_KINDS, object)[kind],
            "aligned": aligned,
            "n": count[cell],
        }
    )
    nobody = walk.nowhere()
    if len(nobody):
        more = nobody.assign(part=nobody["person"] % GROUPS).groupby("part", as_index=False)["n"].sum()
        table = pd.concat([table, more.assign(opens=1, kind="bare", aligned=bare)], ignore_index=True)
    return table


def paths(walk, top, depth):
    """What `frequent` counts, by place (`top` + 1: all others), None where paths are too long to count them so:
    label_p_1 …, longer, journeys, converted, conversions, value, touches, middle (the time that half of the
    journeys with a touch last at most).
    """
    size = len(walk.names) + 1
    if 2 * size**depth >= 1 << 62:
        return None

    def counted(stops):
        begins = np.flatnonzero(stops.opens)
        last = np.append(begins[1:], stops.q.size) - 1
        repeats = stops.code == stops.before
        way = np.where(repeats, 0, stops.code)
        kept = stops.opens | (stops.code == 0) | ~repeats | stops.closes
        way, first = way[kept], np.flatnonzero(stops.opens[kept])
        over = np.append(first[1:], way.size)
        way = np.append(way, np.zeros(depth + 1, way.dtype))
        key = np.zeros(first.size, np.int64)
        for k in range(depth):
            key = key * size + np.where(first + k < over, way[first + k], 0)
        key = key * 2 + ((first + depth < over) & (way[first + depth] > 0))
        paid = stops.paid[begins]
        times, value = np.where(paid, stops.times[last], 0), np.where(paid, stops.value[last], np.nan)
        return key, last - begins + 1 - paid, stops.q[last] - stops.q[begins], times, value

    rows = list(walk.each(counted, value=True))
    nobody = walk.nowhere()
    none = np.zeros(len(nobody), np.int64)
    rows.append((none, none, none, nobody["n"].to_numpy(np.int64), nobody["value"].to_numpy(float)))
    key, touches, lasted, times, value = map(np.concatenate, zip(*rows, strict=True))
    if not key.size:
        return None
    journeys = np.ones(key.size, np.int64)
    journeys[key.size - none.size :] = times[key.size - none.size :]  # of nobody each conversion is a journey
    number, kinds = pd.factorize(key)
    often = np.bincount(number, journeys, kinds.size)
    ranked = np.lexsort((kinds, -often))
    place = np.empty(kinds.size, np.int64)
    place[ranked] = np.minimum(np.arange(kinds.size), top)
    at = place[number]

    def total(of):
        return np.bincount(at, of, minlength=top + 1)

    middle = np.full(top + 1, np.nan)
    met = key // 2 >= size ** (depth - 1)
    for one in range(min(kinds.size, top + 1)):
        own = lasted[met & (at == one)]
        if own.size:
            middle[one] = np.partition(own, (own.size + 1) // 2 - 1)[(own.size + 1) // 2 - 1]
    shown = kinds[ranked[:top]] // 2
    names = np.array([None, *walk.names], object)
    known = total(~np.isnan(value)) > 0
    figures = {
        "place": np.arange(1, top + 2),
        "longer": np.append(kinds[ranked[:top]] % 2, np.zeros(top + 1 - shown.size, np.int64)),
        "journeys": total(journeys),
        "converted": total(journeys * (times > 0)),
        "conversions": total(times),
        "value": np.where(known, total(np.nan_to_num(value)), np.nan),
        "touches": total(touches),
        "middle": middle,
    }
    for k in range(depth):
        codes = shown // size ** (depth - 1 - k) % size
        figures[f"label_p_{k + 1}"] = np.append(names[codes], np.full(top + 1 - shown.size, None, object))
    return pd.DataFrame(figures)[: min(kinds.size, top + 1)]


def walk(touchpoints, **counting):
    """The `Walk` of a log; None where its stops must come from `stops_sql`."""
    if not (streams(touchpoints.engine) and walks_plainly(**counting)):
        return None
    rule = Counting(**counting)
    found = touchpoints.fetch(labels_sql(touchpoints, rule))
    names, events = sorted(set(found["label"].dropna())), int(found["n"].sum())
    if not (0 < len(names) < 1 << _BITS and found["known"].sum() and events <= _LARGE):
        return None
    if any("\0" in name for name in names):  # which no statement can hold
        return None
    if found["low"].min() < 0 or found["high"].max() >= _LATEST:
        return None
    return Walk(touchpoints, rule, names, events, all_known=(found["n"] == found["known"]).all())


def _stops(person, k, value, bits, rule, timed):
    """Stops of sorted touches and conversions."""
    q, code = k >> bits, (k & ((1 << bits) - 1)).astype(np.int32)
    # Conversions at one moment are one stop.
    is_end, fresh = (q & 1) == 1, np.append(True, person[1:] != person[:-1])
    begins = np.flatnonzero(~np.append(False, is_end[1:] & is_end[:-1] & (q[1:] == q[:-1]) & ~fresh[1:]))
    times = worth = None
    if value is not None:
        times = np.add.reduceat(is_end.astype(np.int64), begins)
        worth = np.where(np.isnan(value) | ~is_end, 0.0, value)
        known = np.logical_or.reduceat(~np.isnan(value), begins)
        worth = np.where(known, np.add.reduceat(worth, begins), np.nan)
    persons = person[fresh]
    if begins.size < q.size:
        q, code, is_end, fresh = (column[begins] for column in (q, code, is_end, fresh))
    if rule.count == "first":
        nth, whose = np.cumsum(is_end), np.cumsum(fresh) - 1
        kept = ~(is_end & (nth - (nth - is_end)[fresh][whose] > 1))
        q, code, is_end, fresh = (column[kept] for column in (q, code, is_end, fresh))
        times, worth = (column if column is None else column[kept] for column in (times, worth))
    size, starts = q.size, np.flatnonzero(fresh)
    whose = np.cumsum(fresh, dtype=np.int32) - 1
    over = np.append(starts[1:], size).astype(np.int32)  # where the next person begins
    following = np.where(is_end, np.arange(size, dtype=np.int32), np.int32(size))
    following = np.minimum.accumulate(following[::-1])[::-1]
    paid = following < over[whose]
    led = np.append(False, ~is_end[:-1]) & ~fresh  # by a touch of the same journey
    inside = is_end | paid if rule.nulls == "none" else np.ones(size, bool)
    if rule.nulls == "persons" or rule.count == "first":
        inside &= paid | ~np.logical_or.reduceat(is_end, starts)[whose]
    if rule.window is not None or rule.period is not None:
        ends = q[np.minimum(following, size - 1)]
        if rule.window is not None:
            inside &= ~paid | (ends - q <= 2 * rule.window + 1)
            led[1:] &= ~paid[1:] | (ends[1:] - q[:-1] <= 2 * rule.window + 1)
        if rule.period is not None:
            since = 2 * rule.period.micros()[0]
            inside &= np.where(paid, ends, q) >= since
            led[1:] &= np.where(paid[1:], ends[1:], q[:-1]) >= since
    before = np.zeros_like(code)
    np.multiply(code[:-1], led[1:], out=before[1:])
    lag = np.diff(q, prepend=q[:1]) * led if timed else None
    closes = np.append(fresh[1:], True) & ~paid
    stops = Stops(persons, whose, q, code, before, lag, ~led, closes, paid, times, worth)
    return stops if inside.all() else stops.where(inside)
