"""Groups of a funnel against all others: differences of rates, with intervals and adjusted p."""

import numpy as np
import pandas as pd

from perfnb import intervals

__all__ = ["compared"]


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
    low, high = intervals.newcombe(p1, p2, intervals.wilson(x, n), intervals.wilson(others_x, others_n))
    p = intervals.same_rate(x, n, others_x, others_n)
    # Where nobody, or everybody, goes on in all groups, no difference is what is seen.
    p = np.where(np.isnan(p) & (n > 0) & (others_n > 0), 1.0, p)
    table = table.assign(rate_difference=p1 - p2, rate_difference_low=low, rate_difference_high=high, p=p)
    table["p_adjusted"] = intervals.adjusted(table["p"])
    table["tests"] = int(table["p"].notna().sum())
    definition = table.pop("definition")
    return table.assign(definition=definition)
