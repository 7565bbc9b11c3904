"""The second-order probability model of Shao and Li (2011), and how steady models are."""

import numpy as np
import pandas as pd
from scipy import sparse

from perfnb import intervals
from perfnb.attribution import noise
from perfnb.attribution.paths import GROUPS, coded, persons_known
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
    a table of paths. Limits are 95 %, by a linearised jack-knife over groups of persons,
    or over the journeys of a table of paths.

    Returns one row per channel: model ("probabilistic"), channel, credit
    (conversions) with low and high, share (0-1) with share_low and share_high, value
    with value_low and value_high, currency, definition, conversions and journeys that contain the
    channel, rate (conversions / journeys), strength (-1 to 1), pairs (other channels
    that it was held against). No rows where nobody converted.
    """
    if least < 1:
        raise BadParameter(f"least {least!r}: expected 1 or more journeys")
    grouped = intervals and persons_known(source)
    paths = coded(source, grouped=grouped, **counting)
    n = len(paths.names)
    codes, begins, which = paths.sets()
    size = begins.size
    contains = sparse.csr_array((np.ones(codes.size), codes, np.append(begins, codes.size)), shape=(size, n))
    conversions, nulls, value = (
        np.bincount(which, amount, size) for amount in (paths.conversions, paths.nulls, paths.value)
    )
    converted, journeys = (
        (contains.T @ contains.multiply(count[:, None])).toarray() for count in (conversions, conversions + nulls)
    )
    rate = np.divide(converted, journeys, out=np.zeros(journeys.shape), where=journeys > 0)
    held = (journeys >= least) & ~np.eye(n, dtype=bool)
    strength, pairs = _strength(rate, held), held.sum(axis=1)
    weight = np.maximum(strength, 0.0)
    total = contains @ weight
    weak = total <= 0
    total = np.where(weak, contains.sum(axis=1), total)
    # What each channel gets of a conversion of each set.
    share = contains.toarray() * np.where(weak[:, None], 1.0, weight) / total[:, None]
    limits = {}
    if intervals:
        gain, loss = _moved(contains, rate, held, journeys)
        slopes = (_slope(contains, amount, weight, total, weak) for amount in (conversions, value))
        amounts = [(share, gain @ slope.T, loss @ slope.T) for slope in slopes]
        limits = noise.linearised(paths, which, amounts, grouped=grouped)
    found = noise.table(
        "probabilistic",
        paths.names,
        conversions @ share,
        value @ share,
        **limits,
        **paths.told,
        conversions=np.diag(converted),
        journeys=np.diag(journeys),
        rate=np.diag(rate),
        strength=strength,
        pairs=pd.array(pairs, "Int64"),
    )
    return found if conversions.any() or paths.untouched[0].any() else found.iloc[:0]


def _strength(rate, held):
    """Each channel's strength, from the rates of pairs and which of them count."""
    alone = np.diag(rate)
    excess = np.where(held, rate - alone[:, None] - alone, 0.0).sum(axis=1)
    return alone + excess / (2 * np.maximum(held.sum(axis=1), 1))


# One journey more changes the rates of the pairs that it contains, by (1 - rate) / journeys if it converts and by
# -rate / journeys if not, and with them the strengths and how every conversion is split: to first order in each. What
# all journeys make of the credit in this way adds up to it, since it doubles with them (Euler).


def _moved(contains, rate, held, journeys):
    """(sets, names), twice: how a journey that converts, and one that does not, changes the strengths."""
    part = held / (2 * np.maximum(held.sum(axis=1), 1))[:, None]  # [j, i]: of the pair in the strength of j
    alone, base = np.diag(rate), np.maximum(np.diag(journeys), 1.0)
    both, one = part / np.maximum(journeys, 1.0), part / base
    rest = (1 - part.sum(axis=1)) / base
    present = contains.toarray()
    gains = present * (contains @ both.T + rest) - contains @ one.T
    losses = present * (contains @ (both * rate).T + rest * alone) - contains @ (one * alone).T
    return gains - losses, -losses


def _slope(contains, amount, weight, total, weak):
    """[k, j]: how what channel k gets of the amounts changes with the strength of j."""
    each = np.where(weak, 0.0, amount / total)
    shared = (contains.T @ contains.multiply((each / total)[:, None])).toarray()
    return (np.diag(each @ contains) - weight[:, None] * shared) * (weight > 0)


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
