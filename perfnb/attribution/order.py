"""How many touches a Markov chain should remember: judged by persons whom it has not seen."""

import numpy as np
import pandas as pd

from perfnb.attribution.chain import markov
from perfnb.attribution.paths import GROUPS, coded
from perfnb.errors import BadParameter

_FOLDS = 8


def choose_order(source, *, orders=(1, 2, 3, 4), **counting):
    """How well chains of each order foresee who converts, on persons held out of them.

    A chain of order k says of a path how likely it converts from its last k touches:
    the share of paths with the same last touches that did, drawn towards the order
    below by the weight of one path. Each eighth of the persons is foretold from the
    others. Chosen is the smallest order whose log loss lies within one standard error
    of the best (Breiman et al. 1984). With the order, the removal effect tends to the
    assist share, the share of conversions whose path has the channel: `assist_gap`
    says how far the largest difference still is.

    Returns one row per order, 0 for the share of all paths alone: order, log_loss
    (mean over paths, nats) with log_loss_se, auc (0.5-1: the chance that of a path
    that converts and one that does not the first is rated higher) with auc_se,
    states (kinds of last touches), paths (held out, all), conversions (of them),
    assist_gap (0-1), chosen. No rows without both conversions and paths without one.
    """
    if not orders or min(orders) < 1:
        raise BadParameter(f"orders {orders!r}: expected some orders of 1 or more, as (1, 2, 3)")
    paths = coded(source, **counting)
    columns = ["order", "log_loss", "log_loss_se", "auc", "auc_se", "states", "paths", "conversions", "assist_gap"]
    if not (paths.conversions.sum() and paths.nulls.sum()):
        return pd.DataFrame(columns=[*columns, "chosen"])
    assists = _assists(paths)
    fold = paths.group % _FOLDS
    lower = _overall(paths, fold)
    # Without any touch all paths are rated the same: what the folds differ by tells nothing.
    rows = [{"order": 0, **_judged(paths, lower), "auc": 0.5, "auc_se": 0.0, "states": 1, "assist_gap": np.nan}]
    for order in range(1, max(orders) + 1):
        lower, states = _foretold(paths, fold, order, lower)
        if order in orders:
            effect = markov(paths, order=order, intervals=False).set_index("channel")["removal_effect"]
            gap = (assists - effect.reindex(assists.index)).abs().max()
            rows.append({"order": order, **_judged(paths, lower), "states": states, "assist_gap": gap})
    table = pd.DataFrame(rows)
    table["paths"], table["conversions"] = paths.conversions.sum() + paths.nulls.sum(), paths.conversions.sum()
    best = table.loc[table["log_loss"].idxmin()]
    near = table["log_loss"] <= best["log_loss"] + best["log_loss_se"]
    table["chosen"] = table["order"] == table.loc[near & (table["order"] > 0), "order"].min()
    return table[[*columns, "chosen"]]


def _assists(paths):
    size = len(paths.names)
    row, code = paths.members()
    whole = paths.conversions.sum() + paths.untouched[0].sum()
    return pd.Series(np.bincount(code, paths.conversions[row], size) / whole, list(paths.names))


def _overall(paths, fold):
    """For each row, the share of the other folds' paths that converted."""
    sums = [np.bincount(fold, part, _FOLDS) for part in (paths.conversions, paths.nulls)]
    paid, others = (part.sum() - part for part in sums)
    return ((paid + 0.5) / (paid + others + 1.0))[fold]


def _foretold(paths, fold, order, lower):
    """(for each row, the chance that it converts, from its last touches in the other folds; kinds of last touches)."""
    length, last = paths.length, paths.starts[1:] - 1
    ending = np.minimum(length, order).astype(np.int64)
    for back in range(order):
        code = np.where(length > back, paths.codes[np.maximum(last - back, 0)], -1)
        ending = pd.factorize(ending * (len(paths.names) + 1) + code + 1)[0].astype(np.int64)
    kinds = int(ending.max()) + 1
    cell = ending * _FOLDS + fold
    sums = [np.bincount(cell, part, kinds * _FOLDS) for part in (paths.conversions, paths.nulls)]
    paid, others = (part.reshape(kinds, -1).sum(axis=1)[ending] - part[cell] for part in sums)
    return (paid + lower) / (paid + others + 1.0), kinds


def _judged(paths, chance):
    weight = paths.conversions + paths.nulls
    loss = -(paths.conversions * np.log(chance) + paths.nulls * np.log1p(-chance))
    sums = np.array([np.bincount(paths.group, part, GROUPS) for part in (loss, weight)])
    whole = sums.sum(axis=1)
    losses = (whole[0] - sums[0]) / (whole[1] - sums[1])
    aucs = np.array([_auc(paths, chance, paths.group % _FOLDS != k) for k in range(_FOLDS)])
    return {
        "log_loss": whole[0] / whole[1],
        "log_loss_se": _error(losses),
        "auc": _auc(paths, chance, slice(None)),
        "auc_se": _error(aucs),
    }


def _error(left_out):
    n = left_out.size
    return float(np.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum()))


def _auc(paths, chance, rows):
    """The chance that a path that converts is rated above one that does not, ties half."""
    chance, paid, others = chance[rows], paths.conversions[rows], paths.nulls[rows]
    rank = pd.factorize(chance, sort=True)[0]
    up, down = np.bincount(rank, paid), np.bincount(rank, others)
    below = np.cumsum(down) - down
    whole = up.sum() * down.sum()
    return float((up * (below + down / 2)).sum() / whole) if whole else np.nan
