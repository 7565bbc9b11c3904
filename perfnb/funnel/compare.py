"""Groups of a funnel against all others: differences of rates, with intervals and adjusted p."""

import numpy as np
import pandas as pd

from perfnb.intervals import wilson

__all__ = ["compared"]

_FEW = 5  # expected units in a cell, below which the score test is too rough


def compared(table, by, rule, *, overlapping):
    """The table of `funnel.steps` with the comparison of each group's rate with that of all others together.

    Newcombe (1998), Statistics in Medicine 17, method 10, for the interval; Benjamini &
    Hochberg (1995) for p_adjusted. Groups that share units, and attempts, of which a
    person may have some in each, are not independent: there the comparison is null.
    """
    # Without steps that lead on there is nothing to compare.
    part = "continued" if rule.open != "closed" else "units"
    x = table[part].where(table["from_units"].notna()).to_numpy(float, na_value=np.nan)
    n = table["from_units"].to_numpy(float, na_value=np.nan)
    if overlapping or rule.attempts:
        x, n = x * np.nan, n * np.nan
    sums = pd.DataFrame({"step": table["step"], "x": x, "n": n}).groupby("step").transform("sum")
    others_x, others_n = sums["x"].to_numpy(float) - x, sums["n"].to_numpy(float) - n
    with np.errstate(divide="ignore", invalid="ignore"):
        p1, p2 = x / n, others_x / others_n
    p1, p2 = np.where(n > 0, p1, np.nan), np.where(others_n > 0, p2, np.nan)
    (l1, u1), (l2, u2) = wilson(x, n), wilson(others_x, others_n)
    difference = p1 - p2
    table = table.assign(
        rate_difference=difference,
        rate_difference_low=difference - np.sqrt((p1 - l1) ** 2 + (u2 - p2) ** 2),
        rate_difference_high=difference + np.sqrt((u1 - p1) ** 2 + (p2 - l2) ** 2),
        p=[_p(*cells) for cells in zip(x, n, others_x, others_n, strict=True)],
    )
    known = table["p"].notna()
    table["p_adjusted"] = np.nan
    table.loc[known, "p_adjusted"] = _adjusted(table.loc[known, "p"].to_numpy(float))
    table["tests"] = int(known.sum())
    definition = table.pop("definition")
    return table.assign(definition=definition)


def _p(x1, n1, x2, n2):
    """Two-sided p of equal rates: the score test, or Fisher's where fewer than five are expected in a cell."""
    if not (n1 > 0 and n2 > 0):
        return np.nan
    pooled = (x1 + x2) / (n1 + n2)
    if pooled in (0, 1):
        return 1.0
    if min(pooled, 1 - pooled) * min(n1, n2) < _FEW:
        from scipy.stats import fisher_exact

        return float(fisher_exact([[int(x1), int(n1 - x1)], [int(x2), int(n2 - x2)]]).pvalue)
    from scipy.special import ndtr

    z = (x1 / n1 - x2 / n2) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    return float(2 * ndtr(-abs(z)))


def _adjusted(p):
    """Benjamini and Hochberg's adjusted p: the smallest false discovery rate at which each would be found."""
    order = np.argsort(p)
    scaled = p[order] * p.size / np.arange(1, p.size + 1)
    found = np.empty_like(p)
    found[order] = np.minimum.accumulate(scaled[::-1])[::-1].clip(max=1)
    return found
