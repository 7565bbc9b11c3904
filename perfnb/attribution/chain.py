"""Markov chains of any order with removal effects, solved exactly."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
from scipy import sparse

from perfnb import journey
from perfnb.attribution import noise
from perfnb.attribution.paths import GROUPS
from perfnb.attribution.steps import CONVERTED, ENDED, START, Persons, Steps, counted, walks
from perfnb.errors import BadParameter

_EXACT, _FOR_LIMITS, _STRETCH = 1e-13, 1e-3, 8
_BLOCK = 2048


def markov(source, *, order=1, intervals=True, **counting):
    """Credit by removal effect in a Markov chain of the given order (Anderl, Becker, von Wangenheim, Schumann 2016).

    A state is the last `order` touches (of a shorter path, all of them); a state that
    follows itself counts once. Without a touchpoint, every walk into a state that
    holds it fails: the conversions that are lost are its removal effect, and credit
    is in proportion to it. Journeys without a conversion enter the chain as its ends.
    Solved by linear algebra, not simulated: the same events always give the same
    credit. As the order grows the effect tends to the share of conversions whose
    path holds the touchpoint.

    `source` is a touchpoints Table, counted by `counting` (see `journey.Counting`),
    or a table of paths. Limits are 95 %, by a jack-knife over the journeys
    of a table of paths, or over persons: of logs of more than 200,000 touches over a part of
    them, the same on every engine, and over groups of them where direct visits or
    touches of several journeys are counted apart.

    Returns one row per touchpoint: model ("markov", "markov_2" …), channel, credit
    (conversions) with low and high, share (0-1) with share_low and share_high, value
    with value_low and value_high, currency, definition, removal_effect (0-1: the share of
    conversions that the chain loses without this touchpoint), nulls (journeys without
    a conversion in the chain; where there are none, everything converts and the
    effects tell little). Credit and value add up to the events, conversions without a
    touch in their own row. No rows where nobody converted.
    """
    if order < 1:
        raise BadParameter(f"order {order!r}: expected 1 or more touches")
    seen = walks(source, order, grouped=intervals, **counting)
    total, alone = seen.total[0].sum(), seen.untouched[0].sum()
    if not total + alone:
        return pd.DataFrame(columns=[*noise.COLUMNS, "removal_effect", "nulls"])
    lost, limits = np.zeros((2, len(seen.names))), {}
    if total:
        solved = _solved(seen.steps, limits=intervals)
        lost = solved.lost
    if intervals and isinstance(seen.taken, Persons):
        limits = {"spread": _of_persons(seen, solved if total else None)}
    elif intervals and total and seen.taken:
        limits = {"spread": _of_journeys(seen, solved)}
    elif intervals:
        lost_out = lost[:, :, None] - _by_group(seen.steps, solved) if total else np.zeros((*lost.shape, GROUPS))
        outs = (_shared(noise.leave_out(amount), part) for amount, part in zip(seen.total, lost_out, strict=True))
        limits = dict(zip(("credit_out", "value_out"), outs, strict=True))
    return noise.table(
        "markov" if order == 1 else f"markov_{order}",
        seen.names,
        *(_shared(amount.sum(), part) for amount, part in zip(seen.total, lost, strict=True)),
        **limits,
        untouched=seen.untouched,
        has_value=seen.has_value,
        currency=seen.currency,
        definition=seen.definition,
        removal_effect=lost[0] / (total + alone),
        nulls=seen.nulls,
    )


def removal_effects(transitions):
    """Removal effects and credit from steps that are already counted, of a chain of any order.

    `transitions` has one row per pair: from ("(start)" or a state: "a", or "a > b" in
    a chain of order 2), to (a state, "(conversion)" or "(end)"), weight (walks that
    take it) and value (of the conversions reached by it; may be null).

    Returns one row per touchpoint: channel, removal_effect (0-1), credit, value; what
    goes from the start to a conversion keeps the row "(no touch)".
    """
    ends = {"(start)": START, "(conversion)": CONVERTED, "(end)": ENDED}
    states = sorted(set(transitions["from"]) - set(ends))
    number = ends | {state: k for k, state in enumerate(states)}
    lost = sorted(set(transitions["to"]) - set(number))
    if lost:
        raise BadParameter(f"transitions: nothing leaves {lost[0]!r}; expected a row from it to (conversion) or (end)")
    names = sorted({name for state in states for name in state.split(journey.SEPARATOR)})
    holds = np.zeros((len(states), len(names)), bool)
    for k, state in enumerate(states):
        holds[k, np.searchsorted(names, state.split(journey.SEPARATOR))] = True
    before, after = (transitions[end].map(number).to_numpy() for end in ("from", "to"))
    weight, value = (transitions[name].fillna(0.0).to_numpy(float) for name in ("weight", "value"))
    if not weight[after == CONVERTED].sum():
        raise BadParameter("transitions: no conversion, so there is no credit to give. Check the conversion's name")
    steps, _ = counted(holds, before, after, np.zeros(before.size, int), weight, value)
    loops = (steps.before == steps.after) & (steps.before >= 0)
    steps = replace(steps, **{f.name: getattr(steps, f.name)[~loops] for f in fields(Steps) if f.name != "holds"})
    direct = (steps.before == START) & (steps.after == CONVERTED)
    converted = (steps.after == CONVERTED) & ~direct
    untouched = steps.weight[direct].sum(), steps.value[direct].sum()
    solved = _solved(steps)
    credit, worth = (
        _shared(part[converted].sum(), lost)
        for part, lost in zip((steps.weight, steps.value), solved.lost, strict=True)
    )
    effect = solved.lost[0] / (steps.weight[converted].sum() + untouched[0])
    table = pd.DataFrame({"channel": names, "removal_effect": effect, "credit": credit, "value": worth})
    if untouched[0]:
        alone = {"channel": journey.NO_TOUCH, "removal_effect": np.nan, "credit": untouched[0], "value": untouched[1]}
        table = pd.concat([table, pd.DataFrame([alone])], ignore_index=True)
    if transitions["value"].isna().all():
        table["value"] = np.nan
    return table


@dataclass(frozen=True)
class Solved:
    """The chain's answers; the last column is of all touchpoints, the others without one each.

    `reach`: (2, states, columns) conversions and value that a walk from a state comes
    to, for limits only; `visits`: (states, columns) walks that come by a state; `lost`: (2,
    touchpoints) conversions and value that fail without it; `out`: walks that leave
    a state.
    """

    reach: np.ndarray | None
    visits: np.ndarray
    lost: np.ndarray
    out: np.ndarray


def _solved(steps, limits=False):
    count, size = steps.holds.shape
    inside = (steps.before >= 0) & (steps.after >= 0)
    inner = sparse.csr_array((steps.weight[inside], (steps.before[inside], steps.after[inside])), shape=(count, count))
    start, leaves = steps.before == START, steps.after == CONVERTED
    entering = np.bincount(steps.after[start & (steps.after >= 0)], steps.weight[start & (steps.after >= 0)], count)
    leaves &= steps.before >= 0
    ending = np.array([np.bincount(steps.before[leaves], part[leaves], count) for part in (steps.weight, steps.value)])
    leaving = steps.before >= 0
    out = np.bincount(steps.before[leaving], steps.weight[leaving], count)
    chance = sparse.diags_array(1 / out) @ inner
    ending = ending / out
    if (steps.holds.sum(axis=1) == 1).all() and count == size:
        reach, visits = _first_order(chance, ending, entering, steps.holds)
    else:
        allowed = np.hstack([~steps.holds, np.ones((count, 1), bool)])
        columns = np.repeat(entering[:, None], size + 1, axis=1)
        visits, reach = _iterated(chance.T.tocsr(), columns, allowed), None
        if limits:
            worth = 1 + bool(ending[1].any())
            # Single precision is enough for limits, and half the work.
            columns = np.repeat(ending[:worth], size + 1, axis=0).T.astype(np.float32)
            found = _iterated(chance.astype(np.float32), columns, np.tile(allowed, worth), _FOR_LIMITS)
            reach = np.zeros((2, count, size + 1), np.float32)
            reach[:worth] = found.reshape(count, worth, size + 1).transpose(1, 0, 2)
    # Not by a product of matrices: its threads would wait for the next one, at full speed.
    arriving = np.einsum("ks,sc->kc", ending, visits)
    lost = arriving[:, -1:] - arriving[:, :-1]
    return Solved(reach, visits, np.where(np.abs(lost) < 1e-12 * np.abs(arriving[:, -1:]), 0.0, lost), out)


def _first_order(chance, ending, entering, holds):
    """One inverse serves all touchpoints: taking one out changes a single row of the chain (Sherman, Morrison 1950)."""
    place = holds.argmax(axis=0)
    try:
        inverse = np.linalg.inv(np.eye(chance.shape[0]) - chance.toarray())
    except np.linalg.LinAlgError:
        raise BadParameter("transitions: some touchpoints are never left for a conversion or an end") from None
    diagonal = np.diag(inverse)
    visits = entering @ inverse
    reach = []
    for end in ending:
        whole = inverse @ end
        without = whole[:, None] - inverse * (whole / diagonal)
        reach.append(np.column_stack([without[:, place], whole]))
    fewer = visits[:, None] - inverse.T * (visits / diagonal)
    return np.array(reach), np.column_stack([fewer[:, place], visits])


def _iterated(chance, ends, allowed, exact=_EXACT):
    """X = allowed * (chance X + ends), for all columns at once: the sum over walks of growing length, all positive."""
    allowed = allowed.astype(ends.dtype)
    step = ends * allowed
    found = step.copy()
    while True:
        before = step.max(initial=0.0)
        for _ in range(_STRETCH):
            step = chance @ step
            step *= allowed
            found += step
        size = step.max(initial=0.0)
        # What is still to come is a geometric tail, at the rate of the last steps together: two steps alone may
        # differ by anything in a chain that goes to and fro.
        rate = (size / before) ** (1 / _STRETCH) if before else 0.0
        if size == 0 or (rate < 1 and size * rate / (1 - rate) <= exact * found.max(initial=1e-300)):
            return found


# Leaving out persons changes the chain a little: to first order every step that they take adds the visits to where
# it begins times the difference that it makes to what is reached (the infinitesimal jack-knife, Jaeckel 1972). The
# chain is homogeneous in its weights, so the parts of all persons add up to the whole.


def _by_group(steps, solved):
    """(2, touchpoints, GROUPS) what is lost because of each group's persons: the derivative by their weights."""
    count = solved.out.size
    pair, kinds = pd.factorize((steps.before + 3) * (count + 3) + steps.after + 3)
    before, after = (end - 3 for end in np.divmod(kinds, count + 3))
    shape = (GROUPS, kinds.size)
    walks, won = (sparse.csr_array((part, (steps.group, pair)), shape=shape) for part in (steps.weight, steps.value))
    paid = np.flatnonzero((before >= 0) & (after == CONVERTED))
    rate = _lost(solved.visits / solved.out[:, None])[before[paid]]
    changes = _changes(before, after, solved)
    return np.array(
        [(walks @ change + part[:, paid] @ rate).T for change, part in zip(changes, (walks, won), strict=True)]
    )


def _of_journeys(seen, solved):
    """The spread of credit and value over journeys of a table of paths."""
    taken, paid = seen.taken, _paid(seen.steps)
    last, worth = taken.converting[:, paid], taken.value / taken.conversions
    (change, adds), (of_value, adds_value) = _made(seen, solved, np.float32)

    # What journeys make may be a large table: it is summed up as it comes.
    def converting():
        for rows in _blocks(worth.size):
            walks, ends = taken.converting[rows], last[rows]
            value = walks @ of_value + worth[rows, None] * (ends @ adds_value)
            yield taken.conversions[rows], walks @ change + ends @ adds, value

    def ending():
        for rows in _blocks(taken.nulls.size):
            yield taken.nulls[rows], taken.ending[rows] @ change, taken.ending[rows] @ of_value

    return noise.of_journeys(converting(), ending())


def _blocks(size):
    """Slices: what stays in the processor's memory is done in half the time."""
    return (slice(first, first + _BLOCK) for first in range(0, size, _BLOCK))


def _of_persons(seen, solved):
    """The spread of credit and value over persons, with what has no touch as the last name where there is such."""
    taken, conversions = seen.taken, seen.taken.untouched[0]
    made = [np.zeros((conversions.size, len(seen.names))) for _ in range(2)]
    if solved:
        won, worth = (part[:, _paid(seen.steps)] for part in (taken.walks, taken.worth))
        conversions = conversions + won.sum(axis=1)
        ways = zip((won, worth), _made(seen, solved, float), strict=True)
        made = [taken.walks @ change + own @ adds for own, (change, adds) in ways]
    if seen.untouched[0].sum():
        made = [np.column_stack([part, own]) for part, own in zip(made, taken.untouched, strict=True)]
    return noise.of_persons(*made, conversions, share=taken.share, nobody=taken.nobody)


def _paid(steps):
    return np.flatnonzero((steps.before >= 0) & (steps.after == CONVERTED))


def _made(seen, solved, precision):
    """For credit and value: by step and touchpoint, what one walk that takes it makes of them, and by step to a
    conversion and touchpoint, what it makes beside that by its amount.
    """
    steps = seen.steps
    rate = _lost(solved.visits / solved.out[:, None])[steps.before[_paid(steps)]]
    shares = [_shared(1.0, lost) for lost in solved.lost]
    scales = [total.sum() / (lost.sum() or np.inf) for total, lost in zip(seen.total, solved.lost, strict=True)]
    # Credit is in proportion to what is lost: a change of it moves the shares, too.
    changes = _changes(steps.before, steps.after, solved, precision, shares, scales)
    for change, share, scale in zip(changes, shares, scales, strict=True):
        won = (rate - rate.sum(axis=1, keepdims=True) * share) * scale + share
        yield change, won.astype(precision)


def _changes(before, after, solved, precision=float, shares=(None, None), scales=(1.0, 1.0)):
    """For conversions and for value, by step and touchpoint: what one walk that takes it changes in what is lost.

    With `shares`, without what changes them in proportion; times `scales`.
    """
    # From the start walks leave as they are, and behind the last step there is nothing to reach: one row more for each.
    outside = solved.out.size
    before, after = (np.where(end >= 0, end, outside) for end in (before, after))
    visits = np.vstack([solved.visits / solved.out[:, None], np.ones(solved.visits.shape[1])]).astype(precision)
    for reach, share, scale in zip(solved.reach, shares, scales, strict=True):
        reach = np.vstack([reach, np.zeros_like(reach[:1])]).astype(precision, copy=False)
        found = np.empty((before.size, reach.shape[1] - 1), precision)
        for rows in _blocks(before.size):
            change = reach[after[rows]]
            change -= reach[before[rows]]
            change *= visits[before[rows]]
            change = _lost(change)
            if share is not None:
                change -= change.sum(axis=1, keepdims=True) * share.astype(precision)
                change *= precision(scale)
            found[rows] = change
        yield found


def _lost(by_column):
    """What is lost by touchpoint, from columns without each touchpoint and, last, with all."""
    return by_column[:, -1:] - by_column[:, :-1]


def _shared(amount, lost):
    """The amount in proportion to what is lost, or to nothing where nothing is."""
    whole = lost.sum(axis=0)
    return amount * np.divide(lost, whole, out=np.zeros_like(lost), where=whole != 0)
