"""Attribution by brute force: plain Python and exact fractions, no code shared with the package.

Written from the definitions of the method only, to be slow and obvious: a
touchpoint's removal deletes it from the chain and solves what is left, Shapley
goes through all orders of the channels, journeys are lists.

A log is a list of (user, time, event, label, value); times are numbers, anything
may be None. A path is (labels, conversions, nulls, value).
"""

from fractions import Fraction
from itertools import groupby, pairwise, permutations
from typing import NamedTuple

OWN_WORDS = {"(no touch)", "(unknown)", "(other)", "(start)", "(conversion)", "(end)", "(no stage)", "(baseline)"}


class Journey(NamedTuple):
    """Touches (time, label) of a person up to the conversions at `ends` (None: no conversion follows)."""

    user: object
    ends: object
    touches: list
    conversions: int
    value: Fraction


def name(label):
    return "(unknown)" if label is None else f"“{label}”" if label in OWN_WORDS else label


def journeys(
    log, *, conversion="order", events=None, lookback=None, period=None, count="every", repeats="reset",
    direct="keep", direct_channel="Direct", nulls="journeys",
):  # fmt: skip
    """All journeys that count, those without a touch and without a conversion among them.

    Readings where the words leave room. `lookback` (in units of time) is inclusive. A
    touch at the moment of a conversion leads to it; touches at one moment stand in
    the order of their labels; conversions at one moment end one journey, and are
    "first" together. `period` is (since, until), until excluded: what comes later is
    not looked at, what came earlier still closes journeys and is somebody's first
    conversion. Touches after a person's last conversion are a journey that did not
    convert; counted by "first", there is nothing after a conversion. "persons" without
    a conversion have none in all that is looked at. A conversion without a person, or
    without a time, has no touch; in a period, it counts where its time is in it.
    """
    since, until = period or (None, None)
    found, seen = [], []
    for user, time, event, label, value in log:
        is_end = event == conversion
        if user is None or time is None:
            if is_end and (period is None or (time is not None and since <= time < until)):
                found.append(Journey(None, time, [], 1, Fraction(value or 0)))
            continue
        if period is not None and time >= until:
            continue
        if is_end or not events or event in events:
            seen.append((user, time, is_end, name(label), Fraction(value or 0)))
    for user in {row[0] for row in seen}:
        mine = [row for row in seen if row[0] == user]
        touches = sorted((time, label) for _, time, is_end, label, _ in mine if not is_end)
        moments = sorted({time for _, time, is_end, _, _ in mine if is_end})
        if count == "first":
            moments = moments[:1]
        before = None
        for ends in moments:
            own = [value for _, time, is_end, _, value in mine if is_end and time == ends]
            leading = [
                (time, label)
                for time, label in touches
                if time <= ends
                and (repeats == "overlap" or before is None or time > before)
                and (lookback is None or ends - time <= lookback)
            ]
            before = ends
            if period is None or ends >= since:
                found.append(Journey(user, ends, without_direct(leading, direct, direct_channel), len(own), sum(own)))
        rest = [
            (time, label)
            for time, label in touches
            if (before is None or time > before) and (period is None or time >= since)
        ]
        wanted = before is None or (nulls == "journeys" and count == "every")
        if rest and wanted and nulls != "none":
            found.append(Journey(user, None, without_direct(rest, direct, direct_channel), 0, Fraction(0)))
    return found


def without_direct(touches, direct, channel):
    if direct == "keep" or all(label == channel for _, label in touches):
        return touches
    if direct == "drop":
        return [touch for touch in touches if touch[1] != channel]
    while touches[-1][1] == channel:
        touches = touches[:-1]
    return touches


def transformed(labels, transform):
    if transform == "exposure":
        return [label for label, _ in groupby(labels)]
    if transform == "first":
        return list(dict.fromkeys(labels))
    if transform == "recent":
        return list(dict.fromkeys(reversed(labels)))[::-1]
    if transform == "frequency":
        return [f"{label}({labels.count(label)})" for label in dict.fromkeys(labels)]
    return labels


def paths(log, transform="unique", **counting):
    """{labels: (persons, conversions, nulls, value)}; () is the path without a touch."""
    found = {}
    for journey in journeys(log, **counting):
        labels = tuple(transformed([label for _, label in journey.touches], transform))
        users, conversions, nulls, value = found.get(labels, (set(), 0, 0, 0))
        if journey.user is not None:
            users = users | {journey.user}
        found[labels] = (
            users, conversions + journey.conversions, nulls + (journey.ends is None and not journey.conversions),
            value + journey.value,
        )  # fmt: skip
    return {labels: (len(users), *rest) for labels, (users, *rest) in found.items()}


def table(log, **counting):
    """The paths of a log as a list of (labels, conversions, nulls, value)."""
    return [(labels, *rest) for labels, (_, *rest) in paths(log, **counting).items()]


# Rules


def shares(model, touches, *, direct_channel="Direct", half_life=7, position=(0.4, 0.2, 0.4), own=None, lead=None):
    """Each touch's share of the conversion; `lead` is the place (from 0) of the touch that made the lead."""
    n = len(touches)
    if model == "first":
        weight = [Fraction(k == 0) for k in range(n)]
    elif model == "last":
        weight = [Fraction(k == n - 1) for k in range(n)]
    elif model == "last_non_direct":
        others = [k for k in range(n) if touches[k][1] != direct_channel]
        weight = [Fraction(k == (others or [n - 1])[-1]) for k in range(n)]
    elif model == "linear":
        weight = [Fraction(1)] * n
    elif model == "time_decay":
        weight = [Fraction(2.0 ** ((time - touches[-1][0]) / half_life)) for time, _ in touches]
    elif model == "position":
        first, middle, last = map(Fraction, map(str, position))
        weight = [first, *[middle / max(n - 2, 1)] * (n - 2), last] if n > 1 else [Fraction(1)]
    elif model == "w_shaped":
        roles = [0, n - 1] if lead is None else [0, lead, n - 1]
        others = n - len(set(roles))
        weight = [
            Fraction(3, 10) * roles.count(k) if k in roles else Fraction(1, 10) / others for k in range(n)
        ]  # fmt: skip
    elif model == "own":
        weight = [Fraction(str(own[n - 1 - k])) if n - 1 - k < len(own) else Fraction(0) for k in range(n)]
    return [part / sum(weight) for part in weight]


def rules(log, model, *, half_life=7, position=(0.4, 0.2, 0.4), own=None, lead=None, **counting):
    """{channel: (credit, value)} of a rule; "(no touch)" where there are such conversions.

    The lead of a journey is the person's first event `lead` whose next conversion is the
    journey's; the touch that made it, the last one up to its moment.
    """
    found = {}
    direct = counting.get("direct_channel", "Direct")
    for journey in journeys(log, **counting):
        if not journey.conversions:
            continue
        if not journey.touches:
            credit, value = found.get("(no touch)", (0, 0))
            found["(no touch)"] = (credit + journey.conversions, value + journey.value)
            continue
        mine = [row for row in log if row[0] == journey.user and row[1] is not None]
        ends = {time for _, time, event, *_ in mine if event == counting.get("conversion", "order")}
        leads = [
            time
            for _, time, event, *_ in mine
            if event == lead and time <= journey.ends and not any(time <= other < journey.ends for other in ends)
        ]
        made = [k for k, (time, _) in enumerate(journey.touches) if leads and time <= min(leads)]
        each = shares(
            model,
            journey.touches,
            direct_channel=direct,
            half_life=half_life,
            position=position,
            own=own,
            lead=made[-1] if made else None,
        )
        for (_, label), share in zip(journey.touches, each, strict=True):
            credit, value = found.get(label, (0, 0))
            found[label] = (credit + share * journey.conversions, value + share * journey.value)
    return found


# Markov chains


def states(labels, order):
    """A window of the last `order` touches slides over the path; a shorter path is one state; equal ones count once."""
    windows = [tuple(labels[k : k + order]) for k in range(max(len(labels) - order, 0) + 1)]
    return [state for state, _ in groupby(windows)]


def reached(paths, order, without=None):
    """The share of walks that convert, and the value per walk, where walks that would visit `without` fail."""
    steps, out, won = {}, {}, {}
    for labels, conversions, nulls, value in paths:
        weight = Fraction(conversions) + Fraction(nulls)
        if not weight:
            continue
        walk = [(), *(states(labels, order) if labels else [])]
        for before, after in pairwise(walk):
            steps[before, after] = steps.get((before, after), 0) + weight
        for state in walk:
            out[state] = out.get(state, 0) + weight
        one, two = won.get(walk[-1], (0, 0))
        won[walk[-1]] = (one + Fraction(conversions), two + Fraction(value))
    kept = [state for state in out if without not in state]
    system = []
    for state in kept:
        row = [Fraction(state == other) - steps.get((state, other), 0) / out[state] for other in kept]
        system.append([*row, *(amount / out[state] for amount in won.get(state, (0, 0)))])
    solved = solve(system)
    return solved[kept.index(())] if () in kept else (Fraction(0), Fraction(0))


def solve(system):
    """The unknowns of linear equations by elimination; each row is coefficients and two right-hand sides."""
    size = len(system)
    system = [list(row) for row in system]
    for k in range(size):
        pivot = next(row for row in range(k, size) if system[row][k] != 0)
        system[k], system[pivot] = system[pivot], system[k]
        system[k] = [cell / system[k][k] for cell in system[k]]
        for row in range(size):
            if row != k and system[row][k] != 0:
                factor = system[row][k]
                system[row] = [cell - factor * own for cell, own in zip(system[row], system[k], strict=True)]
    return [tuple(row[size:]) for row in system]


def markov(paths, order=1):
    """{channel: (credit, value, removal effect)}, without "(no touch)"."""
    whole, worth = reached(paths, order)
    channels = sorted({label for labels, *_ in paths for label in labels})
    lost = {channel: reached(paths, order, channel) for channel in channels}
    effects = {channel: 1 - lost[channel][0] / whole for channel in channels}
    gone = {channel: worth - lost[channel][1] for channel in channels}
    conversions = sum(Fraction(own) for labels, own, _, _ in paths if labels)
    value = sum(Fraction(own) for labels, _, _, own in paths if labels)
    return {
        channel: (
            conversions * effects[channel] / sum(effects.values()) if conversions else Fraction(0),
            value * gone[channel] / sum(gone.values()) if value else Fraction(0),
            effects[channel],
        )
        for channel in channels
    }


# Shapley


def shapley(players, worth):
    """The mean over all orders of what each player adds to those who came before."""
    orders = list(permutations(players))
    found = dict.fromkeys(players, Fraction(0))
    for order in orders:
        for place, player in enumerate(order):
            found[player] += worth(frozenset(order[: place + 1])) - worth(frozenset(order[:place]))
    return {player: total / len(orders) for player, total in found.items()}


def worth_conversions(paths, column=1):
    """S is worth what converts on paths inside S."""
    return lambda members: sum(
        (Fraction(row[column]) for row in paths if row[0] and set(row[0]) <= members), Fraction(0)
    )


def worth_rate(paths, column=1):
    """S is worth all journeys at the rate of those inside S; nothing where there are none."""
    everybody = sum(Fraction(row[1]) + Fraction(row[2]) for row in paths if row[0])

    def worth(members):
        inside = [row for row in paths if row[0] and set(row[0]) <= members]
        journeys = sum(Fraction(row[1]) + Fraction(row[2]) for row in inside)
        return everybody * sum(Fraction(row[column]) for row in inside) / journeys if journeys else Fraction(0)

    return worth


def shapley_ordered(paths, column=1):
    """{(channel, place from 1): credit}: equally among a path's channels, then among the places of each."""
    found = {}
    for row in paths:
        for place, label in enumerate(row[0], start=1):
            share = Fraction(row[column]) / len(set(row[0])) / list(row[0]).count(label)
            if row[1]:
                found[label, place] = found.get((label, place), 0) + share
    return found


# Shao and Li


def probabilistic(paths, least=1):
    """{channel: (credit, value, strength)}."""
    channels = sorted({label for labels, *_ in paths for label in labels})

    def rate(*those):
        rows = [row for row in paths if set(those) <= set(row[0])]
        journeys = sum(Fraction(row[1]) + Fraction(row[2]) for row in rows)
        return (sum(Fraction(row[1]) for row in rows) / journeys if journeys else None), journeys

    strength = {}
    for one in channels:
        extra = [
            rate(one, other)[0] - rate(one)[0] - rate(other)[0]
            for other in channels
            if other != one and rate(one, other)[1] >= least
        ]
        strength[one] = rate(one)[0] + (sum(extra) / len(extra) / 2 if extra else 0)
    found = {channel: (Fraction(0), Fraction(0), strength[channel]) for channel in channels}
    for labels, conversions, _, value in paths:
        inside = set(labels)
        weight = {channel: max(strength[channel], 0) for channel in inside}
        if not sum(weight.values()):
            weight = dict.fromkeys(inside, 1)
        for channel in inside:
            share = Fraction(weight[channel]) / sum(weight.values())
            credit, worth, own = found[channel]
            found[channel] = (credit + share * Fraction(conversions), worth + share * Fraction(value), own)
    return found
