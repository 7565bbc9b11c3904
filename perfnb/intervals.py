"""Confidence intervals, 95 % throughout, and how sure a difference is."""

import math
from statistics import NormalDist

import numpy as np

__all__ = ["Z", "adjusted", "clustered", "mean", "newcombe", "same_rate", "t", "wilson"]

Z = NormalDist().inv_cdf(0.975)
_FEW = 5  # expected in a cell, below which the score test is too rough
# Student's t at 0.975, where the expansion in `t` is not exact to four digits.
_T = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582}


def wilson(successes, trials):
    """Lower and upper Wilson limits of successes / trials, element by element; NaN where trials are 0.

    Wilson (1927), Journal of the American Statistical Association 22.
    """
    x, n = np.asarray(successes, float), np.asarray(trials, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = x / n
        centre = p + Z**2 / (2 * n)
        half = Z * np.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        low, high = (centre - half) / (1 + Z**2 / n), (centre + half) / (1 + Z**2 / n)
    # The limits at 0 and at n are exact zeros and ones; rounding must not carry them past.
    return np.where(x == 0, np.where(n > 0, 0.0, np.nan), low), np.where(x == n, np.where(n > 0, 1.0, np.nan), high)


def mean(mean, variance, n):
    """Lower and upper t limits of a mean from the sample variance and n; NaN where n < 2."""
    m, v, n = (np.asarray(values, float) for values in (mean, variance, n))
    with np.errstate(divide="ignore", invalid="ignore"):
        half = np.array([t(degrees) for degrees in (n - 1).ravel()]).reshape(n.shape) * np.sqrt(v / n)
    return m - half, m + half


def t(degrees):
    """Student's t at 0.975 for the degrees of freedom, from 6 on to four digits; NaN below 1."""
    # Cornish-Fisher expansion, Abramowitz & Stegun 26.7.5; below 6 degrees the printed values.
    if not degrees >= 1:
        return math.nan
    if degrees in _T:
        return _T[degrees]
    z = Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))


def newcombe(one, other, limits, other_limits):
    """Lower and upper limits of one - other from the (lower, upper) limits of each.

    Newcombe (1998), Interval estimation for the difference between independent
    proportions, method 10; Statistics in Medicine 17.
    """
    (low, high), (other_low, other_high) = limits, other_limits
    difference = one - other
    return (
        difference - np.hypot(one - low, other_high - other),
        difference + np.hypot(high - one, other - other_low),
    )


def clustered(y, n, yy, nn, yn, clusters):
    """Lower and upper limit of Σy/Σn over clusters (95 %), and the design effect, from sums over the clusters.

    The variance of the ratio by linearisation; Wilson's interval with the n that a plain sample of the same
    variance had (Dean & Pagano 2015), never more than there are: a share of 0 has a width too.
    """
    y, n, yy, nn, yn, clusters = (np.asarray(values, float) for values in (y, n, yy, nn, yn, clusters))
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = y / n
        spread = clusters / (clusters - 1) * (yy - 2 * rate * yn + rate**2 * nn)
        effect = spread / (n * rate * (1 - rate))
    effect = np.where(np.isfinite(effect), np.maximum(effect, 1.0), 1.0)
    return *wilson(y / effect, n / effect), effect


def same_rate(x1, n1, x2, n2):
    """Two-sided p of equal rates, element by element; NaN where either has no n, or both rates are 0 or both 1.

    The score test, or Fisher's exact test where fewer than five are expected in a cell.
    """
    x1, n1, x2, n2 = (np.asarray(values, float) for values in (x1, n1, x2, n2))
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (x1 + x2) / (n1 + n2)
        z = (x1 / n1 - x2 / n2) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
        few = np.minimum(pooled, 1 - pooled) * np.minimum(n1, n2) < _FEW
    known = (n1 > 0) & (n2 > 0) & (pooled > 0) & (pooled < 1)
    p = np.full(pooled.shape, np.nan)
    if known.any():
        from scipy.special import ndtr

        p[known] = 2 * ndtr(-np.abs(z[known]))
    if (known & few).any():
        from scipy.stats import fisher_exact

        for place in np.flatnonzero(known & few):
            counts = [[x[place], n[place] - x[place]] for x, n in ((x1, n1), (x2, n2))]
            p[place] = fisher_exact(np.rint(counts).astype(int)).pvalue
    return p


def adjusted(p):
    """Benjamini & Hochberg's (1995) adjusted p-values of a Series; what has no p stays without."""
    known = p.dropna().sort_values()
    q = (known * len(known) / np.arange(1, len(known) + 1))[::-1].cummin()[::-1]
    return q.clip(upper=1).reindex(p.index)
