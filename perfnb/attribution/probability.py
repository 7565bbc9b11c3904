"""The second-order probability model of Shao and Li (2011), and how steady models are."""

import numpy as np
import pandas as pd
from scipy import sparse

from perfnb import intervals
from perfnb.attribution import noise
from perfnb.attribution.paths import GROUPS, coded
from perfnb.errors import BadParameter
from perfnb.journey import NO_TOUCH

__all__ = ["probabilistic", "variability"]


def probabilistic(source, *, least=30, intervals=True, **counting):
    """Credit by how often journeys with a channel, and with a pair of channels, convert (Shao and Li 2011).

    With p(i) and p(i, j) the conversion rates of journeys that contain channel i, or
    both i and j, a channel's strength is p(i) + 1/2 of the mean of p(i, j) - p(i) -
    p(j) over the other channels. Pairs with fewer than `least` journeys are left out
    of that mean: their rate would be chance. Strengths do not add up to anything, so
    every conversion is split among the channels of its path in proportion to their
    strengths (a negative one counts as 0; equally where all are 0).

    It lives on journeys that do not convert: without any, every rate is 1, all
    strengths are equal, and credit is that of `shapley`.

    `source` is a touchpoints Table, counted by `counting` (see `journey.Counting`), or
    a table of paths. Limits are 95 %, by a jack-knife over groups of persons.

    Returns one row per channel: model ("probabilistic"), channel, credit
    (conversions) with low and high, share (0-1) with share_low and share_high, value
    with value_low and value_high, currency, definition, conversions and journeys that contain the
    channel, rate (conversions / journeys), strength (-1 to 1), pairs (other channels
    that it was held against). No rows where nobody converted.
    """
    if least < 1:
        raise BadParameter(f"least {least!r}: expected 1 or more journeys")
    paths = coded(source, grouped=intervals, **counting)
    rows, n = paths.group.size, len(paths.names)
    contains = sparse.csr_array((np.ones(paths.codes.size), paths.codes, paths.starts), shape=(rows, n))
    contains.sum_duplicates()
    contains.data[:] = 1.0
    counts = np.stack([paths.conversions, paths.conversions + paths.nulls])
    whole = _together(contains, counts)
    rate, strength, pairs = _strength(*whole, least)
    ends = np.flatnonzero(paths.conversions)
    ending, amounts = contains[ends], np.stack([paths.conversions, paths.value])[:, ends]
    outs = [None, None]
    if intervals:
        outs = np.empty((2, n, GROUPS))
        for g in range(GROUPS):
            own = np.flatnonzero(paths.group == g)
            _, others, _ = _strength(*(whole - _together(contains[own], counts[:, own])), least)
            left = amounts * (paths.group[ends] != g)
            outs[:, :, g] = _split(ending, left, others) * (GROUPS / (GROUPS - 1))
    found = noise.table(
        "probabilistic",
        paths.names,
        *_split(ending, amounts, strength),
        credit_out=outs[0],
        value_out=outs[1],
        **paths.told,
        conversions=np.diag(whole[0]),
        journeys=np.diag(whole[1]),
        rate=np.diag(rate),
        strength=strength,
        pairs=pd.array(pairs, "Int64"),
    )
    return found if ends.size or paths.untouched[0].any() else found.iloc[:0]


def _together(contains, counts):
    """Each count of the paths by the pair of channels that they contain; on the diagonal, by the one channel."""
    return np.array([(contains.T @ contains.multiply(count[:, None])).toarray() for count in counts])


def _strength(converted, journeys, least):
    """The rates of pairs, each channel's strength, and the number of channels that it was held against."""
    rate = np.divide(converted, journeys, out=np.zeros(journeys.shape), where=journeys > 0)
    alone = np.diag(rate)
    held = (journeys >= least) & ~np.eye(len(alone), dtype=bool)
    excess = np.where(held, rate - alone[:, None] - alone, 0.0).sum(axis=1)
    pairs = held.sum(axis=1)
    return rate, alone + excess / (2 * np.maximum(pairs, 1)), pairs


def _split(contains, amounts, strength):
    """The paths' amounts by channel, each split in proportion to the strengths of the channels it contains."""
    weight = np.maximum(strength, 0.0)
    total = contains @ weight
    weak = total <= 0
    each = amounts / np.where(weak, contains.sum(axis=1), total)
    return weight * ((each * ~weak) @ contains) + (each * weak) @ contains


def variability(credits):
    """How much each model's shares would change with other persons (the first yardstick of Shao and Li 2011).

    `credits` is a list of results of models. The standard deviation of a share is
    that behind its interval, a jack-knife over groups of persons, where Shao and Li
    draw persons again; steady is not right: a model that never looks is steady, too.

    Returns one row per model: model, channels (whose share has an interval),
    variability (0-1: mean over them of the standard deviation of the share).
    """
    table = pd.concat([part[["model", "channel", "share", "share_high"]] for part in credits], ignore_index=True)
    table = table[table["share_high"].notna() & ~table["channel"].isin([NO_TOUCH])]
    table["variability"] = (table["share_high"] - table["share"]) / intervals.t(GROUPS - 1)
    found = table.groupby("model", sort=False)["variability"].agg(["size", "mean"]).reset_index()
    found.columns = ["model", "channels", "variability"]
    return found.sort_values(["variability", "model"], ignore_index=True)
