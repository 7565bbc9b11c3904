"""Intervals of credit: the delete-one-group jack-knife over groups of persons."""

import numpy as np
import pandas as pd
from scipy.special import gammaincinv

from perfnb import intervals
from perfnb.attribution.paths import GROUPS
from perfnb.journey import NO_TOUCH

BASELINE = "(baseline)"  # conversions that a model explains by no touch
COLUMNS = (
    *("model", "channel", "credit", "low", "high", "share", "share_low", "share_high"),
    *("value", "value_low", "value_high", "currency", "definition"),
)


def leave_out(parts):
    """(…, GROUPS) what the persons of all other groups make, scaled to all, from what each group's persons make."""
    return (parts.sum(axis=-1, keepdims=True) - parts) * (GROUPS / (GROUPS - 1))


def limits(estimate, left_out, one=None):
    """95 % limits of `estimate` from the same estimated without each group (last axis).

    The spread is that of the jack-knife (Miller 1974, The jackknife: a review;
    Biometrika 61). With `one`, what a single conversion makes of the estimate, the limits
    are those of a sum of few weighted events, never below 0 and above 0 where nothing was
    seen (Fay & Feuer 1997, Confidence intervals for directly standardized rates;
    Statistics in Medicine 16); of many events, and without `one`, they are a t interval.
    """
    off = left_out - left_out.mean(axis=-1, keepdims=True)
    variance = (GROUPS - 1) / GROUPS * (off**2).sum(axis=-1)
    t = intervals.t(GROUPS - 1)
    if one is None:
        return estimate - t * np.sqrt(variance), estimate + t * np.sqrt(variance)
    variance = np.where(variance > 0, variance * (t / intervals.Z) ** 2, np.maximum(estimate, 0) * one)
    return _gamma(estimate, variance, 0.025), _gamma(estimate + one, variance + one**2, 0.975)


def _gamma(mean, variance, p):
    """The quantile of a gamma law of that mean and variance; 0 where the mean is."""
    known = (mean > 0) & (variance > 0)
    scale = np.where(known, variance / np.where(known, mean, 1.0), 0.0)
    shape = np.where(known, mean / np.where(known, scale, 1.0), 1.0)
    return scale * gammaincinv(shape, p)


def table(model, names, credit, value, **options):
    """One model's credit as a result table; see `columns`."""
    return tables([columns(model, names, credit, value, **options)])


def tables(models):
    """Results of several models, as `columns` gives them, as one table."""
    found = {name: np.concatenate([part[name] for part in models]) for name in models[0]}
    return pd.DataFrame(found)


def columns(
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
    """One model's credit by column, with the row "(no touch)" where there are such conversions.

    `credit` and `value` are by name, `credit_out` and `value_out` the same with each
    group left out (None: no intervals); `untouched` is (conversions, value) by group.
    `definition` says how journeys were counted, `signed` that credit may be negative;
    `more` are further columns by name.

    Returns one row per touchpoint: see `COLUMNS`, then `more`. Most credit first.
    """
    names, size = list(names), len(names)
    more = {
        name: np.full(size, column) if np.ndim(column) == 0 else np.asarray(column) for name, column in more.items()
    }
    alone = np.array([part.sum() for part in untouched])
    if alone[0]:
        names, size = [*names, NO_TOUCH], size + 1
        credit, value = np.append(credit, alone[0]), np.append(value, alone[1])
        more = {name: np.append(column, [None if column.dtype == object else np.nan]) for name, column in more.items()}
        if credit_out is not None:
            outs = (leave_out(np.asarray(part)) for part in untouched)
            credit_out, value_out = (
                np.vstack([out, own]) for out, own in zip((credit_out, value_out), outs, strict=True)
            )
    # Engines add in any order: the last bits are noise, and would decide between equals.
    credit, value = np.round(credit, 9), np.round(value, 9)
    total, worth = credit.sum(), value.sum()
    share = credit / total if total else np.full(size, np.nan)
    share_out = None
    if credit_out is not None:
        whole = np.broadcast_to(credit_out.sum(axis=0), credit_out.shape)
        share_out = np.divide(credit_out, whole, out=np.repeat(share[:, None], GROUPS, axis=1), where=whole > 0)
    if not has_value:
        value, value_out = np.full(size, np.nan), None
    each = (1.0, 1.0 / total if total else 1.0, worth / total if total else 0.0)
    found = {}
    estimates = (("credit", "", credit, credit_out), ("share", "share_", share, share_out))
    estimates += (("value", "value_", value, value_out),)
    for (name, prefix, estimate, left_out), one in zip(estimates, each, strict=True):
        low = high = np.full(size, np.nan)
        if left_out is not None and size:
            low, high = limits(estimate, left_out, None if signed or one <= 0 or (estimate < 0).any() else one)
            high = np.minimum(high, 1.0) if name == "share" and not signed else high
        found[name], found[f"{prefix}low"], found[f"{prefix}high"] = estimate, np.round(low, 9), np.round(high, 9)
    texts = {"model": model, "currency": currency, "definition": definition}
    found |= {name: np.full(size, text, object) for name, text in texts.items()}
    found |= {"channel": np.array(names, object)} | more
    place = sorted(range(size), key=lambda k: (-credit[k], names[k]))
    return {name: found[name][place] for name in (*COLUMNS, *more)}
