"""Steps through a Markov chain, counted: from paths, or in the engine from events."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from perfnb import journey
from perfnb.attribution.paths import GROUPS, Coded, coded, numbered, persons_known

START, CONVERTED, ENDED = -1, -2, -3
# Limits come from persons with about so many conversions; of fewer touches than the first, all persons are looked at,
# and of more than the last the engine would count little else.
_CONVERSIONS, _TOUCHES = 1_500, (200_000, 2_000_000)


@dataclass(frozen=True)
class Walks:
    """What a chain is made of: its steps, and what the journeys add up to.

    `names` are the touchpoints; `total` and `untouched` are (conversions, value), each
    by group of persons where there are such, with and without a touch; `nulls` journeys
    without a conversion. `taken` says which steps each path takes, where persons are not
    known, or each person, where events were counted.
    """

    steps: "Steps"
    taken: "Taken | Persons | None"
    names: tuple
    total: tuple
    untouched: tuple
    nulls: float
    has_value: bool
    currency: str | None
    definition: str


@dataclass(frozen=True)
class Steps:
    """What walks through the chain do, counted.

    `holds`: (states, touchpoints) which touchpoints a state holds. The others are by
    kind of step and group of persons: from and to (a state, or one of the numbers
    above), group, weight (walks) and value (of the conversions).
    """

    holds: np.ndarray
    before: np.ndarray
    after: np.ndarray
    group: np.ndarray
    weight: np.ndarray
    value: np.ndarray


@dataclass(frozen=True)
class Taken:
    """How often each path takes each of the `Steps`, sparse: of the paths that convert, and of those that do not.

    `conversions`, `value` and `nulls` are those of the paths.
    """

    converting: sparse.csr_array
    ending: sparse.csr_array
    conversions: np.ndarray
    value: np.ndarray
    nulls: np.ndarray


@dataclass(frozen=True)
class Persons:
    """How often each person takes each of the `Steps`, sparse: of a `share` of all persons, drawn by a hash.

    `walks` and, of the steps to a conversion, its `worth` are by person and step;
    `untouched` (conversions, value) without a touch by person. `nobody`: the same, of whom
    or when is not known.
    """

    share: float
    walks: sparse.csr_array
    worth: sparse.csr_array
    untouched: tuple
    nobody: tuple


def walks(source, order, *, grouped, **counting):
    """The steps of a chain of that order, from a touchpoints Table, a table of paths or `Coded` paths."""
    if isinstance(source, pd.DataFrame | Coded) or not journey.walks_plainly(**counting):
        known = isinstance(source, Coded) or persons_known(source)
        paths = source if isinstance(source, Coded) else coded(source, grouped=grouped and known, **counting)
        total = tuple(np.bincount(paths.group, amount, GROUPS) for amount in (paths.conversions, paths.value))
        steps, taken = _from_paths(paths, order, grouped and not known)
        said = paths.nulls.sum(), paths.has_value, paths.currency, paths.definition
        return Walks(steps, taken, paths.names, total, paths.untouched, *said)
    return _from_events(source, order, grouped, counting)


def _from_events(touchpoints, order, told, counting):
    share = _share(touchpoints, counting) if told else 0.0
    seen = [f"s{k}" for k in range(order)]
    sql = journey.walks_sql(touchpoints, order=order, told=share, **counting)
    found = touchpoints.sums(sql, texts=[*seen, "following", "person"])
    names = sorted({name for column in (*seen, "following") for name in found[column][1]})
    number = {name: k for k, name in enumerate(names)}
    codes = []
    for column in (*seen, "following"):
        places, texts = found[column]
        codes.append(np.array([number[text] for text in texts] + [-1])[places])
    seen, following = np.array(codes[:-1]), codes[-1]
    weight, value = (np.asarray(found[name], float) for name in ("weight", "value"))
    has_value = not np.isnan(value).all() if value.size else False
    value = np.nan_to_num(value)
    converts = np.asarray(found["converts"], float)
    alone = seen[0] < 0
    last = ~alone & (following < 0)
    ended = last & (converts == 0)
    paid = last & ~ended
    total, untouched = (tuple(amount[mask].sum(keepdims=True) for amount in (weight, value)) for mask in (paid, alone))
    # A state is the last `order` touches, oldest first, or a whole path that is shorter: then it begins and ends there.
    whole = ~alone & ((seen[order - 1] >= 0) | last)
    before, after, holds = _numbered(seen, following, whole, order, len(names))
    fresh = whole & ~(np.asarray(found[f"s{order}"], float) == 1)
    inner = whole & ~last
    inner[inner] = before[inner] != after[inner]
    none, same = np.zeros_like(value), np.ones_like(before)
    kinds = [
        (fresh, (START * same, before, weight, none)),
        (inner, (before, after, weight, none)),
        (paid, (before, CONVERTED * same, weight, value)),
        (ended, (before, ENDED * same, weight, none)),
    ]
    rows = zip(*([column[mask] for column in columns] for mask, columns in kinds), strict=True)
    before, after, weights, values = map(np.concatenate, rows)
    steps, cell = counted(holds, before, after, np.zeros_like(before), weights, values)
    taken = None
    if told:
        person, persons = found["person"][0], len(found["person"][1])
        whose = np.concatenate([person[mask] for mask, _ in kinds])
        known, shape = whose >= 0, (persons, steps.weight.size)
        walked, worth = (
            sparse.csr_array((amount[some], (whose[some], cell[some])), shape=shape)
            for amount, some in ((weights, known), (values, known & (values != 0)))
        )
        mine, nobody = alone & (person >= 0), np.isnan(converts)
        own = tuple(np.bincount(person[mine], amount[mine], persons) for amount in (weight, value))
        taken = Persons(share, walked, worth, own, (weight[nobody].sum(), value[nobody].sum()))
    said = touchpoints.currency("value"), journey.Counting(**counting).definition
    return Walks(steps, taken, tuple(names), total, untouched, weight[ended].sum(), has_value, *said)


def _share(touchpoints, counting):
    """The share of persons to look at, in whole 4,096ths."""
    touches, conversions = (max(number, 1) for number in journey.sizes(touchpoints, **counting))
    few, many = (number / touches for number in _TOUCHES)
    return min(math.ceil(4096 * max(min(_CONVERSIONS / conversions, many), few)) / 4096, 1.0)


def _numbered(seen, following, whole, order, size):
    """(state, the state that follows, touchpoints by state): states as numbers, by row of counted touches."""
    own = seen[:order].astype(np.int64)
    later = np.vstack([following[None], own[: order - 1]])
    before, after = np.zeros(following.size, np.int64), np.zeros(following.size, np.int64)
    for mine, next_one in zip(own, later, strict=True):
        keys = np.concatenate([before * (size + 1) + mine + 1, after * (size + 1) + next_one + 1])
        both = pd.factorize(keys)[0]
        before, after = both[: following.size].astype(np.int64), both[following.size :].astype(np.int64)
    walks_on = whole & (following >= 0)
    used, places = np.unique(np.concatenate([before[whole], after[walks_on]]), return_inverse=True)
    first, second = np.full(following.size, -9), np.full(following.size, -9)
    first[whole], second[walks_on] = places[: whole.sum()], places[whole.sum() :]
    holds = np.zeros((used.size, size), bool)
    for numbers, touches in ((first, own), (second, later)):
        for touch in touches:
            known = (numbers >= 0) & (touch >= 0)
            holds[numbers[known], touch[known]] = True
    return first, second, holds


def _from_paths(paths, order, told):
    """The steps that paths take, and where asked, which path takes which."""
    state, holds, last = _states(paths, order)
    at = np.flatnonzero(state >= 0)
    row = paths.row
    inner = at[:-1][(np.diff(at) == 1) & (row[at[:-1]] == row[at[1:]])] if at.size else at
    inner = inner[state[inner] != state[inner + 1]]
    weight = paths.conversions + paths.nulls
    first = paths.starts[:-1]
    rows = np.arange(first.size)
    converts, ends = rows[paths.conversions > 0], rows[paths.nulls > 0]
    none = np.zeros
    before = np.concatenate([np.full(rows.size, START), state[inner], state[last[converts]], state[last[ends]]])
    after = [state[first], state[inner + 1], np.full(converts.size, CONVERTED), np.full(ends.size, ENDED)]
    weights = [weight, weight[row[inner]], paths.conversions[converts], paths.nulls[ends]]
    values = [none(rows.size), none(inner.size), paths.value[converts], none(ends.size)]
    groups = [paths.group, paths.group[row[inner]], paths.group[converts], paths.group[ends]]
    steps, cell = counted(holds, before, *(np.concatenate(parts) for parts in (after, groups, weights, values)))
    if not told:
        return steps, None
    begins, inside, *last = np.split(cell, np.cumsum([rows.size, inner.size, converts.size]))
    taken = []
    for own, ending in zip((converts, ends), last, strict=True):
        number = np.full(rows.size, -1)
        number[own] = np.arange(own.size)
        within = number[row[inner]]
        place = np.concatenate([number[own], within[within >= 0], number[own]])
        step = np.concatenate([begins[own], inside[within >= 0], ending])
        # Enough digits for limits, and half the memory.
        times = np.ones(step.size, np.float32)
        taken.append(sparse.csr_array((times, (place, step)), shape=(own.size, steps.weight.size)))
    return steps, Taken(*taken, paths.conversions[converts], paths.value[converts], paths.nulls[ends])


def counted(holds, before, after, group, weight, value):
    """Steps with one row per from, to and group, and which of them each of those given is."""
    size = len(holds) + 3
    cell, kinds = pd.factorize(((before + 3) * size + after + 3) * GROUPS + group)
    pair, group = np.divmod(kinds, GROUPS)
    before, after = np.divmod(pair, size)
    sums = (np.bincount(cell, amount, kinds.size) for amount in (weight, value))
    return Steps(holds, before - 3, after - 3, group, *sums), cell


def _states(paths, order):
    """(state that begins at each touch, -1 for none; touchpoints by state; where each row's last state begins)."""
    size = len(paths.names)
    codes, row = paths.codes.astype(np.int64), paths.row
    left = paths.starts[1:][row] - np.arange(codes.size)
    first = left == paths.length[row]
    ids, count, base = codes.copy(), size, 0
    state, length = np.full(codes.size, -1, np.int64), np.zeros(codes.size, np.int64)
    for j in range(1, order + 1):
        if j > 1:
            on = np.flatnonzero(left >= j)
            ids[on], count = numbered(ids[on] * size + codes[on + j - 1], count * size)
        begins = left >= j if j == order else first & (left == j)
        state[begins], length[begins] = base + ids[begins], j
        base += count
    at = np.flatnonzero(state >= 0)
    place, kinds = numbered(state[at], base, tight=True)
    state[at] = place
    sample = np.zeros(kinds, np.int64)
    sample[place] = at
    holds = np.zeros((kinds, size), bool)
    for j in range(min(order, int(length.max(initial=1)))):
        some = np.flatnonzero(length[sample] > j)
        holds[some, codes[sample[some] + j]] = True
    last = np.maximum(paths.starts[1:] - order, paths.starts[:-1])
    return state, holds, last
