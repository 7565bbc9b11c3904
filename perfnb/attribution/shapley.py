"""Shapley values: what a channel adds on average over all orders in which the channels could have come together.

The value depends on what a coalition of channels is said to be worth, so that is
a parameter here; other tools give different worths one name.
"""

from math import comb

import numpy as np

from perfnb.attribution import noise
from perfnb.attribution.paths import GROUPS, coded, numbered, persons_known
from perfnb.errors import BadParameter

__all__ = ["shapley", "shapley_ordered"]

_EXACT = 20  # channels whose coalitions, a million, are all gone through


def shapley(source, *, worth="conversions", draws=32, seed=0, intervals=True, **counting):
    """Credit by Shapley value, for one of two worths of a coalition S of channels.

    "conversions": S is worth the conversions whose path has channels of S only. The
    Shapley value of that game splits every conversion equally among the distinct
    channels of its path (Zhao, Mahboobi, Bagheri 2018), for any number of channels.
    Journeys that do not convert play no part.

    "rate": S is worth the conversions expected of all journeys with a touch, had
    they converted at the rate of those whose channels are all in S. So all channels
    together are worth the conversions there are, credit adds up to them, and a
    channel with which fewer convert has negative credit, which is shown. A coalition
    inside which no journey was seen is worth 0, as no channel at all is: nothing
    speaks for a rate. Without journeys that do not convert every rate is 1, and
    credit goes to the channels that were seen alone. Up to 20 channels all
    coalitions count; beyond, `draws` random orders (from `seed`), each begun at
    every channel in turn.

    `source` is a touchpoints Table, counted by `counting` (see `journey.Counting`), or
    a table of paths. Limits are 95 %, by a jack-knife over groups of persons, or over the
    journeys of a table of paths; for the rate worth a linearised one, which is too narrow
    where a channel was hardly seen alone.

    Returns one row per channel: model ("shapley" or "shapley_rate"), channel, credit
    (conversions) with low and high, share (0-1) with share_low and share_high, value
    with value_low and value_high, currency, definition; for the rate worth also sampling_error
    (conversions; standard error from drawing orders, 0 where all count). No rows
    where nobody converted.
    """
    if worth not in ("conversions", "rate"):
        raise BadParameter(f"worth {worth!r}: expected 'conversions' or 'rate'")
    if draws < 2:
        raise BadParameter(f"draws {draws!r}: expected 2 or more")
    if worth == "conversions":
        grouped = intervals and persons_known(source)
        paths = coded(source, grouped=grouped, converted=True, **counting)
        row, channel = paths.members()
        share = 1 / np.bincount(row, minlength=paths.group.size)[row]
        found = _split(paths, row, channel, share, len(paths.names), intervals, grouped)
        return _table("shapley", paths, paths.names, **found)
    grouped = intervals and persons_known(source)
    paths = coded(source, grouped=grouped, **counting)
    if len(paths.names) <= _EXACT:
        found, error = _exact(paths, intervals, grouped), 0.0
    else:
        paths = paths if grouped else coded(source, grouped=intervals, **counting)
        parts, error = _sampled(paths, draws, np.random.default_rng(seed))
        found = _by_group(*parts, intervals)
    return _table("shapley_rate", paths, paths.names, **found, signed=True, sampling_error=error)


def shapley_ordered(source, *, intervals=True, **counting):
    """Credit by Shapley value, told apart by the place in the path (Zhao, Mahboobi, Bagheri 2018, ordered).

    Every conversion is split equally among the distinct channels of its path, and a
    channel's part equally among the places where it stands: summed over places it is
    the credit of `shapley`. `source` and `counting` as there.

    Returns one row per channel and place: model ("shapley_ordered"), channel, credit
    (conversions) with low and high, share (0-1) with share_low and share_high, value
    with value_low and value_high, currency, definition, position (1: the first touch of the
    path; null for conversions without a touch). No rows where nobody converted.
    """
    grouped = intervals and persons_known(source)
    paths = coded(source, grouped=grouped, converted=True, **counting)
    row = paths.row
    member, _, cell = paths.cells()
    times = np.bincount(cell)[cell]
    share = 1 / (np.bincount(member, minlength=paths.group.size)[row] * times)
    place = np.arange(paths.codes.size) - paths.starts[row]
    deepest = int(place.max(initial=0)) + 1
    at, kinds = numbered(paths.codes.astype(np.int64) * deepest + place, len(paths.names) * deepest, tight=True)
    kind = np.empty(kinds, np.int64)
    kind[at] = paths.codes.astype(np.int64) * deepest + place
    found = _split(paths, row, at, share, kinds, intervals, grouped)
    names = np.array(paths.names, object)[kind // deepest]
    table = _table("shapley_ordered", paths, names, **found, position=kind % deepest + 1)
    table["position"] = table["position"].astype("Int64")
    return table


def _split(paths, row, name, share, size, intervals, grouped):
    """Credit and value by name (of `size`), and what their limits need, where entries get a share of their row's."""
    amounts = paths.conversions, paths.value
    if grouped:
        cell = name * GROUPS + paths.group[row]
        return _by_group(*(_sums(cell, share * paid[row], size) for paid in amounts), intervals)
    credit, value = (np.bincount(name, share * paid[row], size) for paid in amounts)
    spread = noise.of_shares(name, share, *(paid[row] for paid in amounts), size) if intervals else None
    return {"credit": credit, "value": value, "spread": spread}


def _by_group(credit, value, intervals):
    found = {"credit": credit.sum(axis=1), "value": value.sum(axis=1)}
    outs = {"credit_out": noise.leave_out(credit), "value_out": noise.leave_out(value)}
    return found | outs if intervals else found


def _sums(cell, amounts, names):
    return np.bincount(cell, amounts, names * GROUPS).reshape(names, GROUPS)


def _table(model, paths, names, **found):
    found = noise.table(model, names, **found, **paths.told)
    return found if paths.conversions.any() or paths.untouched[0].any() else found.iloc[:0]


# The rate worth: v(S) = M Y(S) / N(S), where Y and N are the conversions and the journeys of the paths inside S and M
# is N of all channels. It is no sum over persons, so a group's part is its derivative in the direction of the group's
# Y, N and M: for a change of dY(S), dN(S), dM it is M (dY(S) - r(S) dN(S)) / N(S) + r(S) dM with r = Y / N. Since
# v doubles when all persons are doubled, the parts of all groups add up to v itself (Euler).


def _exact(paths, intervals, grouped):
    """Credit and value by channel and what their limits need, from all coalitions as bit masks."""
    n = len(paths.names)
    codes, begins, which = paths.sets()
    mask = np.add.reduceat(1 << codes, begins) if begins.size else begins
    conversions, nulls, value = (
        np.bincount(which, count, mask.size) for count in (paths.conversions, paths.nulls, paths.value)
    )
    seen = _inside(np.bincount(mask, conversions + nulls, 1 << n).astype(float))
    size = np.zeros(1, np.int64)
    for _ in range(n):
        size = np.concatenate([size, size + 1])
    # In a random order, the chance that just the s others of a coalition come before a channel.
    after = np.array([1 / (n * comb(n - 1, s)) for s in range(n)] + [0.0])
    without, joined = after[size], after[size] + np.append(0.0, after[:-1])[size]
    scale = np.divide(seen[-1], seen, out=np.zeros(1 << n), where=seen > 0)
    gain = [_around(weight * scale) for weight in (joined, without)]
    gained = np.array([gain[0][mask | (1 << k)] - gain[1][mask] for k in range(n)]).T
    sums, amounts = [], []
    for paid in (conversions, value):
        rate = np.divide(_inside(np.bincount(mask, paid, 1 << n)), seen, out=np.zeros(1 << n), where=seen > 0)
        loss = [_around(weight * scale * rate) for weight in (joined, without)]
        worth = np.array(
            [(joined * rate).reshape(-1, 2, 1 << k)[:, 1].sum() - (without * rate).sum() for k in range(n)]
        )
        kept = worth - np.array([loss[0][mask | (1 << k)] - loss[1][mask] for k in range(n)]).T
        sums.append(paid @ gained + (conversions + nulls) @ kept)
        amounts.append((gained, kept, kept))
    limits = noise.linearised(paths, which, amounts, grouped=grouped) if intervals else {}
    return {"credit": sums[0], "value": sums[1], **limits}


def _inside(values):
    """For every coalition the sum over the coalitions inside it."""
    for k in range(values.size.bit_length() - 1):
        pairs = values.reshape(-1, 2, 1 << k)
        pairs[:, 1] += pairs[:, 0]
    return values


def _around(values):
    """For every coalition the sum over the coalitions around it."""
    for k in range(values.size.bit_length() - 1):
        pairs = values.reshape(-1, 2, 1 << k)
        pairs[:, 0] += pairs[:, 1]
    return values


def _sampled(paths, draws, dice):
    """The same from random orders, and the standard error of the credit.

    An order is walked once from each of its channels: so every channel comes at every
    place once, and its first place, where credit jumps most, is none of chance.
    """
    n = len(paths.names)
    whole, begins, which = paths.sets()
    cells, cell = np.unique(which * GROUPS + paths.group, return_inverse=True)
    which, group = np.divmod(cells, GROUPS)
    counts = [paths.conversions + paths.nulls, paths.conversions, paths.value]
    counts = [np.bincount(cell, count, cells.size) for count in counts]
    journeys = np.bincount(group, counts[0], GROUPS)
    found = np.zeros((draws, 2, n, GROUPS))
    for draw in range(draws):
        order = dice.permutation(n)
        for _ in range(n):
            order = np.roll(order, 1)
            place = np.empty(n, np.int64)
            place[order] = np.arange(n)
            last = np.maximum.reduceat(place[whole], begins)[which] * GROUPS + group
            seen, *paid = (_sums(last, count, n).cumsum(axis=0) for count in counts)
            total = seen.sum(axis=1, keepdims=True)
            for which_paid, won in enumerate(paid):
                rate, scale = (
                    np.divide(top, total, out=np.zeros((n, 1)), where=total > 0)
                    for top in (won.sum(axis=1, keepdims=True), total[-1:])
                )
                worth = scale * (won - rate * seen) + rate * journeys
                found[draw, which_paid, order] += np.diff(worth, axis=0, prepend=0.0)
    found /= n
    error = found[:, 0].sum(axis=2).std(axis=0, ddof=1) / np.sqrt(draws)
    return found.mean(axis=0), error
