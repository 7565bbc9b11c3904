"""Intervals of credit: a jack-knife over persons, groups of persons, or journeys where persons are not known."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse
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


def variance(left_out):
    """The variance of an estimate from the same estimated without each group (last axis).

    That of the jack-knife (Miller 1974, The jackknife: a review; Biometrika 61), widened
    so that a normal quantile serves: few groups know their own spread badly.
    """
    off = left_out - left_out.mean(axis=-1, keepdims=True)
    wider = (intervals.t(GROUPS - 1) / intervals.Z) ** 2
    return (GROUPS - 1) / GROUPS * (off**2).sum(axis=-1) * wider


def limits(estimate, variance, one=None):
    """95 % limits of `estimate`.

    With `one`, what a single conversion makes of the estimate, they are those of a sum of
    few weighted events, never below 0 and above 0 where nothing was seen (Fay & Feuer
    1997, Confidence intervals for directly standardized rates; Statistics in Medicine 16);
    of many events, and without `one`, a normal interval.
    """
    if one is None:
        half = intervals.Z * np.sqrt(variance)
        return estimate - half, estimate + half
    variance = np.where(variance > 0, variance, np.maximum(estimate, 0) * one)
    return _gamma(estimate, variance, 0.025), _gamma(estimate + one, variance + one**2, 0.975)


@dataclass(frozen=True)
class Spread:
    """Sums over independent persons, or journeys: of the squares of what each makes of the `credit` and the `value`, by
    name, of its part in the credit times its conversions (`crossed`), and of the squares of its `conversions`.
    """

    credit: np.ndarray
    crossed: np.ndarray
    value: np.ndarray
    conversions: float

    def beside(self, conversions, value):
        """The same with a last name of conversions that are of a journey of their own each."""
        more = conversions, conversions, _squares(conversions, value)
        parts = (np.append(own, one) for own, one in zip((self.credit, self.crossed, self.value), more, strict=True))
        return Spread(*parts, self.conversions + conversions)


def of_journeys(converting, ending):
    """The Spread where persons are not known: each journey counts as a person of its own.

    The infinitesimal jack-knife (Jaeckel 1972) with every journey a group: a variance is
    the sum over journeys of the square of what each makes of the estimate. Of journeys
    with and without a conversion, in one part or several: how many of each path, and what
    one of them makes of the credit and of the value, each (paths, names).
    """

    def squares(count, own):
        return np.einsum("p,pk,pk->k", count, own, own)

    credit = crossed = value = conversions = 0.0
    for count, own, worth in converting:
        credit, crossed, value = credit + squares(count, own), crossed + count @ own, value + squares(count, worth)
        conversions += count.sum()
    for count, own, worth in ending:
        credit, value = credit + squares(count, own), value + squares(count, worth)
    return Spread(credit, crossed, value, conversions)


def of_persons(credit, value, conversions, *, share, nobody):
    """The same over persons, drawn as a `share` of all: what each makes of the credit and the value, by name, and their
    conversions. `nobody`: (conversions, value) of the last name that are of a person of their own each.
    """
    squares = [np.einsum("pk,pk->k", part, part) for part in (credit, value)]
    found = [part / share for part in (squares[0], conversions @ credit, squares[1], conversions @ conversions)]
    if nobody[0]:
        for part, more in zip(found, (nobody[0], nobody[0], _squares(*nobody)), strict=False):
            part[-1] += more
        found[3] += nobody[0]
    return Spread(*found)


def of_shares(name, share, conversions, value, size):
    """`of_journeys` for credit that is a share of a path's conversions, one entry per path and name (of `size`)."""
    credit, crossed = (np.bincount(name, conversions * part, size) for part in (share**2, share))
    worth = np.bincount(name, share**2 * _squares(conversions, value), size)
    return Spread(credit, crossed, worth, crossed.sum())


def linearised(paths, which, amounts, *, grouped):
    """The limits of estimates that journeys of one set change alike, as options of `columns`.

    `which` is the set of each of the paths. `amounts`, of the credit and of the value:
    (by set and name) the part in what a conversion is worth, what a journey that converts
    adds beside it, and one that does not. `grouped`: persons are known, by groups.
    """
    if grouped:
        shape = (GROUPS, len(amounts[0][0]))
        converts, fails, worth = (
            sparse.csr_array((count, (paths.group, which)), shape=shape)
            for count in (paths.conversions, paths.nulls, paths.value)
        )
        outs = (
            leave_out((own @ part + converts @ more + fails @ less).T)
            for own, (part, more, less) in zip((converts, worth), amounts, strict=True)
        )
        return dict(zip(("credit_out", "value_out"), outs, strict=True))
    paid = np.flatnonzero(paths.conversions)
    kind, conversions = which[paid], paths.conversions[paid]
    (part, more, less), (own, worth_more, worth_less) = amounts
    convert = part[kind] + more[kind]
    worth = (paths.value[paid] / conversions)[:, None] * own[kind] + worth_more[kind]
    fails = np.bincount(which, paths.nulls, len(part))
    return {"spread": of_journeys([(conversions, convert, worth)], [(fails, less, worth_less)])}


def _squares(conversions, value):
    """The squared values of conversions, those of a path taken for equal."""
    return np.divide(value**2, conversions, out=np.zeros(np.shape(value)), where=conversions > 0)


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
    spread=None,
    untouched,
    has_value=True,
    currency=None,
    definition="",
    signed=False,
    **more,
):
    """One model's credit by column, with the row "(no touch)" where there are such conversions.

    `credit` and `value` are by name, `credit_out` and `value_out` the same with each
    group left out, or there is a `Spread` (neither: no intervals); `untouched` is (conversions, value) by group.
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
        if spread is not None and spread.credit.size < size:
            spread = spread.beside(*alone)
    # Engines add in any order: the last bits are noise, and would decide between equals.
    credit, value = np.round(credit, 9), np.round(value, 9)
    total, worth = credit.sum(), value.sum()
    share = credit / total if total else np.full(size, np.nan)
    variances = None
    if credit_out is not None:
        whole = np.broadcast_to(credit_out.sum(axis=0), credit_out.shape)
        share_out = np.divide(credit_out, whole, out=np.repeat(share[:, None], GROUPS, axis=1), where=whole > 0)
        variances = [variance(left_out) for left_out in (credit_out, share_out, value_out)]
    elif spread is not None and total:
        of_share = (spread.credit - 2 * share * spread.crossed + share**2 * spread.conversions) / total**2
        variances = [spread.credit, np.maximum(of_share, 0.0), spread.value]
    if not has_value:
        value = np.full(size, np.nan)
    each = (1.0, 1.0 / total if total else 1.0, worth / total if total else 0.0)
    found = {}
    estimates = (("credit", "", credit), ("share", "share_", share), ("value", "value_", value))
    for k, ((name, prefix, estimate), one) in enumerate(zip(estimates, each, strict=True)):
        low = high = np.full(size, np.nan)
        if variances and size and (has_value or name != "value"):
            few = None if signed or one <= 0 or (estimate < 0).any() else one
            low, high = limits(estimate, variances[k], few)
            high = np.minimum(high, 1.0) if name == "share" and not signed else high
        found[name], found[f"{prefix}low"], found[f"{prefix}high"] = estimate, np.round(low, 9), np.round(high, 9)
    texts = {"model": model, "currency": currency, "definition": definition}
    found |= {name: np.full(size, text, object) for name, text in texts.items()}
    found |= {"channel": np.array(names, object)} | more
    place = sorted(range(size), key=lambda k: (-credit[k], names[k]))
    return {name: found[name][place] for name in (*COLUMNS, *more)}
