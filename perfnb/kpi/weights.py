"""What one node's children are worth to it: weights that make ΔP = Σ weight · Δchild exactly.

Values are arrays of shape (2, draws): the period before, the period after; the
first draw is the data themselves, the others resampled days.
"""

import math
from itertools import combinations

import numpy as np

METHODS = ("logmean", "shapley")
MOST = 6  # factors of one product under Shapley: the work doubles with each


def weights(operator, node, children, method):
    """One array (draws) of weights per child.

    "logmean" is LMDI (Ang 2005) with its analytical limits at zero (Ang & Liu
    2007); where a draw holds a negative value, it takes Shapley's. "shapley" is
    Das Gupta's (1993) average over all orders, within this node only.
    """
    one = np.ones_like(node[0])
    if operator == "+":
        return [one] * len(children)
    if operator == "-":
        return [one, -one]
    with np.errstate(all="ignore"):
        if method == "shapley":
            return _shapley(operator, node, children)
        found = _log_quotient(node, *children) if operator == "/" else _log_product(node, children)
        negative = np.any([np.minimum(*value) < 0 for value in (node, *children)], axis=0)
        if not negative.any():
            return found
        exact = _shapley(operator, node, children)
    return [np.where(negative, one, own) for one, own in zip(exact, found, strict=True)]


def log_mean(a, b):
    """The logarithmic mean (a − b) / ln(a / b); a where both are equal, 0 where one of them is 0."""
    with np.errstate(all="ignore"):
        x = np.log(a / b)
        mean = np.where(np.abs(x) < 1e-12, b * (1 + x / 2), b * np.expm1(x) / x)
    return np.where((a > 0) & (b > 0), mean, 0.0)


def _log_product(node, children):
    before, after = node
    change = after - before
    whole = log_mean(after, before)
    alive = (before > 0) & (after > 0)
    # One end is zero: the children that are zero at just that end share the change, by the limit of the formula.
    ended = [(child[0] == 0) != (child[1] == 0) for child in children]
    count = np.sum(ended, axis=0)
    found = []
    for child, own in zip(children, ended, strict=True):
        limit = np.where(own & (count > 0), change / (np.maximum(count, 1) * (child[1] - child[0])), 0.0)
        found.append(np.where(alive, whole / log_mean(child[1], child[0]), np.where(change == 0, 0.0, limit)))
    return found


def _log_quotient(node, a, b):
    whole = log_mean(node[1], node[0])
    alive = (a[0] > 0) & (a[1] > 0) & (b[0] > 0) & (b[1] > 0)
    ended = ((a[0] == 0) != (a[1] == 0)) & (b[0] > 0) & (b[1] > 0)
    top = np.where(alive, whole / log_mean(a[1], a[0]), 0.0)
    top = np.where(ended, (node[1] - node[0]) / (a[1] - a[0]), top)
    return [top, np.where(alive, -whole / log_mean(b[1], b[0]), 0.0)]


def _shapley(operator, node, children):
    return _quotient(*children) if operator == "/" else _product(children, node)


def _quotient(a, b):
    known = (b[0] != 0) & (b[1] != 0)
    top = np.where(known, (1 / b[0] + 1 / b[1]) / 2, 0.0)
    return [top, np.where(known, -(a[0] + a[1]) / 2 / (b[0] * b[1]), 0.0)]


def _product(children, node):
    """The mean of what the others multiply to over all orders in which the factors may change."""
    count, found = len(children), []
    for place in range(count):
        others = [child for index, child in enumerate(children) if index != place]
        total = np.zeros_like(node[0])
        for size in range(count):
            share = math.factorial(size) * math.factorial(count - 1 - size) / math.factorial(count)
            for chosen in combinations(range(count - 1), size):
                total = total + share * math.prod(
                    (others[j][1] if j in chosen else others[j][0] for j in range(count - 1)), start=np.ones_like(total)
                )
        found.append(total)
    return found
