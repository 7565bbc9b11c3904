"""Shapley values: what a channel adds on average over all orders in which the channels could have come together.

The value depends on what a coalition of channels is said to be worth, so that is
a parameter here; other tools give different worths one name.
"""

from math import comb

import numpy as np
import pandas as pd

from perfnb.attribution import noise
from perfnb.attribution.paths import GROUPS, coded
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
    a table of paths. Limits are 95 %, by a jack-knife over groups of persons, for the
    rate worth a linearised one, which is too narrow where a channel was hardly seen
    alone.

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
    paths = coded(source, grouped=intervals, converted=worth == "conversions", **counting)
    row, channel = paths.members()
    if worth == "conversions":
        size = np.bincount(row, minlength=paths.group.size)
        cell = channel * GROUPS + paths.group[row]
        parts = [_sums(cell, (paid / size)[row], len(paths.names)) for paid in (paths.conversions, paths.value)]
        return _table("shapley", paths, parts, intervals)
    if len(paths.names) <= _EXACT:
        parts, error = _exact(paths, row, channel), 0.0
    else:
        parts, error = _sampled(paths, row, channel, draws, np.random.default_rng(seed))
    return _table("shapley_rate", paths, parts, intervals, signed=True, sampling_error=error)


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
    paths = coded(source, grouped=intervals, converted=True, **counting)
    row = paths.row
    stands = paths.conversions[row] > 0
    row, channel = row[stands], paths.codes[stands].astype(np.int64)
    place = np.arange(paths.codes.size)[stands] - paths.starts[row]
    _, which, times = np.unique(row * len(paths.names) + channel, return_inverse=True, return_counts=True)
    member, _ = paths.members()
    split = np.bincount(member, minlength=paths.group.size)[row] * times[which]
    deepest = int(place.max(initial=0)) + 1
    rows, cell = np.unique(channel * deepest + place, return_inverse=True)
    cell = cell * GROUPS + paths.group[row]
    parts = [_sums(cell, paid[row] / split, rows.size) for paid in (paths.conversions, paths.value)]
    names = np.array(paths.names, object)[rows // deepest]
    found = _table("shapley_ordered", paths, parts, intervals, names=names, position=rows % deepest + 1)
    found["position"] = found["position"].astype("Int64")
    return found


def _sums(cell, amounts, names):
    return np.bincount(cell, amounts, names * GROUPS).reshape(names, GROUPS)


def _table(model, paths, parts, intervals, *, names=None, **more):
    credit, value = parts
    found = noise.table(
        model,
        paths.names if names is None else names,
        credit.sum(axis=1),
        value.sum(axis=1),
        credit_out=noise.leave_out(credit) if intervals else None,
        value_out=noise.leave_out(value) if intervals else None,
        **paths.told,
        **more,
    )
    return found if paths.conversions.any() or paths.untouched[0].any() else found.iloc[:0]


# The rate worth: v(S) = M Y(S) / N(S), where Y and N are the conversions and the journeys of the paths inside S and M
# is N of all channels. It is no sum over persons, so a group's part is its derivative in the direction of the group's
# Y, N and M: for a change of dY(S), dN(S), dM it is M (dY(S) - r(S) dN(S)) / N(S) + r(S) dM with r = Y / N. Since
# v doubles when all persons are doubled, the parts of all groups add up to v itself (Euler).


def _exact(paths, row, channel):
    """Parts of conversions and of value by channel and group, from all coalitions as bit masks."""
    n = len(paths.names)
    mask = np.bincount(row, 2.0**channel, paths.group.size).astype(np.int64)
    cells, cell = np.unique(mask * GROUPS + paths.group, return_inverse=True)
    mask, group = np.divmod(cells, GROUPS)
    journeys = np.bincount(cell, paths.conversions + paths.nulls, cells.size)
    seen = _inside(np.bincount(mask, journeys, 1 << n))
    size = np.zeros(1, np.int64)
    for _ in range(n):
        size = np.concatenate([size, size + 1])
    # In a random order, the chance that just the s others of a coalition come before a channel.
    after = np.array([1 / (n * comb(n - 1, s)) for s in range(n)] + [0.0])
    without, joined = after[size], after[size] + np.append(0.0, after[:-1])[size]
    scale = np.divide(seen[-1], seen, out=np.zeros(1 << n), where=seen > 0)
    gain = [_around(weight * scale) for weight in (joined, without)]
    found = []
    for paid in (paths.conversions, paths.value):
        paid = np.bincount(cell, paid, cells.size)
        rate = np.divide(_inside(np.bincount(mask, paid, 1 << n)), seen, out=np.zeros(1 << n), where=seen > 0)
        loss = [_around(weight * scale * rate) for weight in (joined, without)]
        parts = np.empty((n, GROUPS))
        for k in range(n):
            more = mask | (1 << k)
            moved = paid * (gain[0][more] - gain[1][mask]) - journeys * (loss[0][more] - loss[1][mask])
            value = (joined * rate).reshape(-1, 2, 1 << k)[:, 1].sum() - (without * rate).sum()
            parts[k] = np.bincount(group, moved + journeys * value, GROUPS)
        found.append(parts)
    return found


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


def _sampled(paths, row, channel, draws, dice):
    """The same from random orders, and the standard error of the credit.

    An order is walked once from each of its channels: so every channel comes at every
    place once, and its first place, where credit jumps most, is none of chance.
    """
    n = len(paths.names)
    whole, begins, which = _distinct(row, channel, paths.group.size)
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


def _distinct(row, channel, rows):
    """Each set of channels once: their channels one after another, where each begins, and which one a row has."""
    number = np.zeros(rows, np.int64)
    for first in range(0, int(channel.max()) + 1, 52):
        inside = (channel >= first) & (channel < first + 52)
        word = np.bincount(row[inside], 2.0 ** (channel[inside] - first), rows)
        word, seen = pd.factorize(word)
        number, _ = pd.factorize(number * len(seen) + word)
    size = np.bincount(row, minlength=rows)
    ends = np.cumsum(size)
    _, one = np.unique(number, return_index=True)
    begins = np.concatenate([[0], np.cumsum(size[one])[:-1]])
    takes = np.repeat(ends[one] - size[one] - begins, size[one]) + np.arange(size[one].sum())
    return channel[takes], begins, number
