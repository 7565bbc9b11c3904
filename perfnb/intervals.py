"""Confidence intervals, 95 % throughout."""

import math
from statistics import NormalDist

import numpy as np

__all__ = ["mean", "t", "wilson"]

_Z = NormalDist().inv_cdf(0.975)
# Student's t at 0.975, where the expansion in `t` is not exact to four digits.
_T = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582}


def wilson(successes, trials):
    """Lower and upper Wilson limits of successes / trials, element by element; NaN where trials are 0.

    Wilson (1927), Journal of the American Statistical Association 22.
    """
    x, n = np.asarray(successes, float), np.asarray(trials, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = x / n
        centre = p + _Z**2 / (2 * n)
        half = _Z * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        low, high = (centre - half) / (1 + _Z**2 / n), (centre + half) / (1 + _Z**2 / n)
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
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / degrees**power for power, term in enumerate(terms, start=1))
