"""Funnels by enumeration, from the definitions: every attempt of a unit is tried. For tests; slow, and no SQL."""

import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """One event of one unit; `place` is its place in the total order (time, sequence, name)."""

    t: int
    sequence: int
    name: str
    device: str | None = None
    place: int = -1


@dataclass(frozen=True)
class Switches:
    """The switches in whole seconds; `exclude` are (event, after, before, effect)."""

    order: str = "ordered"
    entry: str = "best"
    within: int | None = None
    step_within: tuple | None = None
    ties: str = "distinct"
    grace: int = 0
    open: str = "closed"
    exclude: tuple = ()
    optional: tuple = ()
    period: tuple | None = None

    @property
    def rows(self):
        return self.ties == "sequence" or self.order in ("strict", "adjacent")


def counts(happened, steps, switches):
    """How many attempts (or, of one unit, whether it: 0 or 1) reached each step."""
    events = [
        Event(e.t, e.sequence, e.name, e.device, place)
        for place, e in enumerate(sorted(happened, key=lambda e: (e.t, e.sequence, e.name, e.device or "")))
    ]
    count = len(steps)
    if switches.open == "union":
        return [int(any(meets(e, step) and inside(e, switches) for e in events)) for step in steps]
    if switches.open == "first_touch":
        return first_touch(events, steps, switches)
    if switches.entry == "sequential":
        found = walk(events, steps, switches)
    elif switches.entry == "each":
        found = [deepest(events, steps, switches, [e])[0] for e in entries(events, steps, switches)]
    elif switches.order in ("any", "any_after_first"):
        found = [any_order(events, steps, switches)]
    else:
        return closed(events, steps, switches)
    return [sum(level >= k for level in found) for k in range(1, count + 1)]


def meets(event, step):
    """A step is a name, a list of names, or a mapping."""
    if isinstance(step, str):
        return event.name == step
    if isinstance(step, dict):
        return all({"event": event.name, "device": event.device}[column] == value for column, value in step.items())
    return event.name in step


def inside(event, switches):
    return switches.period is None or switches.period[0] <= event.t < switches.period[1]


def entries(events, steps, switches):
    """The events that may be step 1."""
    found = [e for e in events if meets(e, steps[0])]
    if switches.entry == "first" and found:
        key = (lambda e: e.place) if switches.rows else (lambda e: e.t)
        found = [e for e in found if key(e) == min(map(key, found))]
    return [e for e in found if inside(e, switches)]


def follows(before, after, step, events, switches):
    """Whether `after` may stand as the step after `before`, which stands for `step`."""
    if switches.order == "adjacent":
        return after.place == before.place + 1
    if switches.order == "strict":
        between = events[before.place + 1 : after.place]
        return after.place > before.place and all(meets(e, step) for e in between)
    if switches.rows:
        return after.place > before.place
    if switches.ties == "increase":
        return after.t > before.t
    return after.t >= before.t - switches.grace


def broken(before, after, hop, events, switches, exclude):
    """Whether an excluded event lies strictly between the two."""
    for name, first, last, _ in exclude:
        if first <= hop < last:
            for e in events:
                later = before.place < e.place < after.place if switches.rows else before.t < e.t < after.t
                if meets(e, name) and later:
                    return True
    return False


def attempts(events, chain, steps, switches, starts, exclude):
    """All attempts along the step numbers of `chain`, of every length."""
    growing = [(e,) for e in starts]
    while growing:
        yield from growing
        longer = []
        for attempt in growing:
            if len(attempt) == len(chain):
                continue
            here, following = chain[len(attempt) - 1], chain[len(attempt)]
            for e in events:
                last = attempt[-1]
                limit = switches.step_within[following - 2] if switches.step_within else None
                if (
                    meets(e, steps[following - 1])
                    and ((switches.ties == "shared" and not switches.rows) or e not in attempt)
                    and follows(last, e, steps[here - 1], events, switches)
                    and (switches.within is None or e.t - attempt[0].t <= switches.within)
                    and (limit is None or e.t - last.t <= limit)
                    and not broken(last, e, here, events, switches, exclude)
                ):
                    longer.append((*attempt, e))
        growing = longer


def deepest(events, steps, switches, starts, exclude=None):
    """The length of the longest attempt, and the attempts of that length."""
    exclude = switches.exclude if exclude is None else exclude
    chain = [k for k in range(1, len(steps) + 1) if k not in switches.optional]
    found = list(attempts(events, chain, steps, switches, starts, exclude))
    length = max(map(len, found), default=0)
    return length, [attempt for attempt in found if len(attempt) == length and length]


def closed(events, steps, switches):
    starts = entries(events, steps, switches)
    length, longest = deepest(events, steps, switches, starts)
    removing = [one for one in switches.exclude if one[3] == "remove"]
    if removing:
        free, _ = deepest(events, steps, switches, starts, [one for one in switches.exclude if one[3] != "remove"])
        if free != length or spoiled(events, longest, removing, switches):
            length = 0
    chain = [k for k in range(1, len(steps) + 1) if k not in switches.optional]
    reached = [int(k in chain[:length]) for k in range(1, len(steps) + 1)]
    for k in switches.optional:
        before = [j for j in chain if j < k]
        tried = attempts(events, [*before, k], steps, switches, starts, switches.exclude)
        reached[k - 1] = int(any(len(attempt) == len(before) + 1 for attempt in tried))
    return reached


def spoiled(events, longest, removing, switches):
    """Whether an excluded event follows every attempt inside its window; of attempts with one end, that from the
    latest start.
    """
    ends = {}
    for attempt in longest:
        key = attempt[-1].place if switches.rows else attempt[-1].t
        if key not in ends or ends[key][0].t < attempt[0].t:
            ends[key] = attempt
    return bool(ends) and all(any(after(e, attempt, removing, switches) for e in events) for attempt in ends.values())


def after(e, attempt, removing, switches):
    hop = len(attempt)
    start, end = attempt[0], attempt[-1]
    later = e.place > end.place if switches.rows else e.t > end.t
    if not later or not any(first <= hop < last and meets(e, name) for name, first, last, _ in removing):
        return False
    limit = switches.step_within[hop - 1] if switches.step_within else None
    # The first excluded event decides: a later one is no sooner.
    return (switches.within is None or e.t - start.t <= switches.within) and (limit is None or e.t - end.t <= limit)


def first_touch(events, steps, switches):
    funnel = [e for e in events if any(meets(e, step) for step in steps)]
    if not funnel or not inside(funnel[0], switches):
        return [0] * len(steps)
    first = [e for e in funnel if (e.place == funnel[0].place if switches.rows else e.t == funnel[0].t)]
    lowest = min(k for k, step in enumerate(steps, start=1) if any(meets(e, step) for e in first))
    starts = [e for e in first if meets(e, steps[lowest - 1])]
    chain = list(range(lowest, len(steps) + 1))
    length = max(len(attempt) for attempt in attempts(events, chain, steps, switches, starts, switches.exclude))
    return [int(k in chain[:length]) for k in range(1, len(steps) + 1)]


def any_order(events, steps, switches):
    openers = [e for e in events if any(meets(e, step) for step in steps)]
    if switches.order == "any_after_first":
        openers = [e for e in events if meets(e, steps[0])]
    if switches.entry == "first":
        openers = [e for e in openers if e.t == openers[0].t and (not switches.rows or e is openers[0])]
    most = 0
    for opener in openers:
        if inside(opener, switches):
            window = [
                e
                for e in events
                if (e.place >= opener.place if switches.rows else e.t >= opener.t)
                and (switches.within is None or e.t - opener.t <= switches.within)
            ]
            most = max(most, sum(any(meets(e, step) for e in window) for step in steps))
    return most


def walk(events, steps, switches):
    """The levels of attempts one after the other; events of one instant stand in the order of the steps."""
    if not switches.rows:
        position = {e: min((k for k, s in enumerate(steps) if meets(e, s)), default=len(steps)) for e in events}
        events = sorted(events, key=lambda e: (e.t, position[e]))
        events = [Event(e.t, e.sequence, e.name, e.device, place) for place, e in enumerate(events)]
    return walk_with_exclusions(events, steps, switches) if switches.exclude else walk_freely(events, steps, switches)


def walk_freely(events, steps, switches):
    found, free = [], -1
    for e in entries(events, steps, switches):
        if e.place <= free:
            continue
        length, longest = deepest(events, steps, switches, [e])
        found.append(length)
        if length == len(steps):
            free = min(attempt[-1].place for attempt in longest)
        else:
            inside = [o.place for o in events if switches.within is None or o.t - e.t <= switches.within]
            free = max(inside)
    return found


def walk_with_exclusions(events, steps, switches):
    found, level, start, last = [], 0, None, None
    openers = set(entries(events, steps, switches))
    for e in events:
        if level in (0, len(steps)) or (switches.within is not None and e.t - start > switches.within):
            level = 0
            if e in openers:
                level, start, last = 1, e.t, e
                found.append(1)
            continue
        if meets(e, steps[level]) and (switches.ties != "increase" or e.t > last.t):
            level, last = level + 1, e
            found[-1] = level
        elif (switches.rows or e.t > last.t) and any(
            meets(e, name) and first <= level < before for name, first, before, _ in switches.exclude
        ):
            level = 0
    return found


def random_units(dice, number, *, names, span, most):
    """{unit: events}, short and full of ties."""
    return {
        f"p{n}": [
            Event(dice.randrange(span), sequence, dice.choice(names), dice.choice(["mobile", "desktop", None]))
            for sequence, _ in enumerate(range(dice.randint(1, most)))
        ]
        for n in range(number)
    }


def every(**choices):
    """All combinations of the choices, as dictionaries."""
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))
