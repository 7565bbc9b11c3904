"""Intervals of credit: the delete-one-group jack-knife over groups of persons."""

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.attribution.paths import GROUPS
from perfnb.journey import NO_TOUCH

COLUMNS = (
    *("model", "channel", "credit", "low", "high", "share", "share_low", "share_high"),
    *("value", "value_low", "value_high", "currency", "definition"),
)


def leave_out(parts):
    """(…, GROUPS) what the persons of all other groups make, scaled to all, from what each group's persons make."""
    return (parts.sum(axis=-1, keepdims=True) - parts) * (GROUPS / (GROUPS - 1))


def limits(estimate, left_out):
    """95 % limits of `estimate` from the same estimated without each group (last axis): a t interval.

    Miller (1974), The jackknife: a review; Biometrika 61. With 64 groups of some
    hundred persons the groups are as good as independent.
    """
    spread = left_out - left_out.mean(axis=-1, keepdims=True)
    half = intervals.t(GROUPS - 1) * np.sqrt((GROUPS - 1) / GROUPS * (spread**2).sum(axis=-1))
    return estimate - half, estimate + half


def table(
    model,
    names,
    credit,
    value,
    *,
    credit_out=None,
    value_out=None,
    untouched,
    has_value=True,
    currency=None,
    definition="",
    signed=False,
    **more,
):
    """One model's credit as a result table, with the row "(no touch)" where there are such conversions.

    `credit` and `value` are by name, `credit_out` and `value_out` the same with each
    group left out (None: no intervals); `untouched` is (conversions, value) by group.
    `signed`: credit may be negative. `more` are further columns by name.

    `definition` says how journeys were counted.

    Returns one row per touchpoint: see `COLUMNS`, then `more`.
    """
    found = pd.DataFrame({"model": model, "channel": pd.Series(names, dtype=object)})
    for name, column in more.items():
        found[name] = column
    alone = np.array([part.sum() for part in untouched])
    if alone[0]:
        found = pd.concat([found, pd.DataFrame([{"model": model, "channel": NO_TOUCH}])], ignore_index=True)
        credit, value = np.append(credit, alone[0]), np.append(value, alone[1])
        if credit_out is not None:
            outs = (leave_out(np.asarray(part)) for part in untouched)
            credit_out, value_out = (
                np.vstack([out, own]) for out, own in zip((credit_out, value_out), outs, strict=True)
            )
    # Engines add in any order: the last bits are noise, and would decide between equals.
    credit, value = np.round(credit, 9), np.round(value, 9)
    with np.errstate(divide="ignore", invalid="ignore"):
        share, share_out = credit / credit.sum(), None if credit_out is None else credit_out / credit_out.sum(axis=0)
    estimates = (("credit", "", credit, credit_out), ("share", "share_", share, share_out))
    for name, prefix, estimate, left_out in (*estimates, ("value", "value_", value, value_out)):
        low = high = np.full(len(found), np.nan)
        if left_out is not None and len(found):
            low, high = limits(estimate, left_out)
            low = low if signed else np.maximum(low, 0.0)
            high = np.minimum(high, 1.0) if name == "share" and not signed else high
        found[name], found[f"{prefix}low"], found[f"{prefix}high"] = estimate, np.round(low, 9), np.round(high, 9)
    if not has_value:
        found[["value", "value_low", "value_high"]] = np.nan
    found["currency"], found["definition"] = currency, definition
    found = found.sort_values(["credit", "channel"], ascending=[False, True], ignore_index=True)
    return found[[*COLUMNS, *more]]
