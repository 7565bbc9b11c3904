"""Credit of single touchpoints under any model, to be summed by campaign, day or device."""

import numpy as np
import pandas as pd
from scipy import sparse

from perfnb.attribution.chain import markov
from perfnb.attribution.hazard import hazard
from perfnb.attribution.noise import BASELINE
from perfnb.attribution.paths import coded
from perfnb.attribution.probability import probabilistic
from perfnb.attribution.rules import RULES, credited_sql, rules, segments
from perfnb.attribution.shapley import shapley
from perfnb.engine import literal
from perfnb.errors import BadParameter

# Models that look at all paths at once, and the options that are theirs and not of the counting.
FITTED = {
    "markov": (markov, {"order"}),
    "shapley": (shapley, {"worth", "draws", "seed"}),
    "probabilistic": (probabilistic, {"least"}),
    "hazard": (hazard, {"half_life"}),
}
_ROUNDS, _CLOSE = 20_000, 1e-10


def credit(touchpoints, *, model, by=("channel",), **options):
    """Credit of one model by any columns of a touch: channel, campaign, device, "date" (its day, UTC) …

    `model` is the name of a rule (with its options, as `half_life`, and what counts:
    see `rules`), "markov", "shapley", "probabilistic" or "hazard" (with theirs), or what
    one of these gave, counted in the same way. Of a model that is no rule, every
    conversion is shared among the touchpoints of its path in proportion to one weight
    per touchpoint, and a touchpoint's part equally among its touches; the weights are
    those under which each touchpoint gets just what the model credits to it (iterative
    proportional fitting, Deming & Stephan 1940), for conversions and for value.

    Returns one row per value of `by` (of touchpoints, under "channel"): model, the
    columns `by`, credit (conversions), value, currency, and for a model's result
    unplaced (conversions that the model credits to the touchpoint and its paths do not
    hold; negative where they force more on it: 0 where the model can be told by paths at
    all, as a Markov chain of order 1 often cannot; null without "channel" in `by`). Credit and
    value add up to the conversions in the events.
    """
    if isinstance(by, str) or not by:
        raise BadParameter(f"by {by!r}: expected a list of columns, as ['channel', 'campaign']")
    keys, more = list(by), [name for name in by if name != "channel"]
    if isinstance(model, str) and model in FITTED:
        function, own = FITTED[model]
        model = function(touchpoints, intervals=False, **options)
        options = {name: option for name, option in options.items() if name not in own}
    if isinstance(model, str):
        if model not in RULES:
            raise BadParameter(f"model {model!r}: expected one of {', '.join([*RULES, *FITTED])}, or a model's result")
        found = rules(touchpoints, models=[model], by=more, intervals=False, **options)
        table = found.groupby(["model", *keys], dropna=False, as_index=False)[["credit", "value"]].sum(min_count=1)
    else:
        table = _fitted(touchpoints, model, keys, more, options)
    table["currency"] = touchpoints.currency("value")
    order = ["credit", *keys]
    return table.sort_values(order, ascending=[False, *[True] * len(keys)], ignore_index=True)


def _fitted(touchpoints, model, keys, more, counting):
    if model["channel"].duplicated().any():
        raise BadParameter("model: expected the result of one model, with one row per channel")
    if (model["credit"] < 0).any():
        below = model.loc[model["credit"].idxmin(), "channel"]
        raise BadParameter(f"model: negative credit ({below!r}) cannot be given to single touches")
    paths = coded(touchpoints, grouped=False, **counting)
    target = model.set_index("channel")[["credit", "value"]].fillna(0.0)
    names = [*paths.names, *([BASELINE] if BASELINE in target.index else [])]
    wanted = target.reindex(names, fill_value=0.0).to_numpy().T
    held = wanted.sum(axis=1), (paths.conversions.sum(), paths.value.sum())
    if not np.allclose(*held, rtol=1e-6, atol=1e-6):
        raise BadParameter(
            f"model: it credits {held[0][0]:g} conversions to touchpoints, the touchpoints have {held[1][0]:g}. "
            "Count in the same way for both"
        )
    sets = _sets(paths, len(names))
    weights = [_weights(sets, paid, goal) for paid, goal in zip((paths.conversions, paths.value), wanted, strict=True)]
    placed = weights[0] * (sets.T @ _over(paths.conversions, sets @ weights[0]))
    shares, path = {}, {}
    for name, weight in zip(("counted", "valued"), weights, strict=True):
        base = float(weight[-1]) if len(names) > len(paths.names) else 0.0
        # By way of text: engines take 1e-30 for a decimal of so many digits that nothing else fits.
        named = zip(paths.names, weight.tolist(), strict=False)
        cases = " ".join(f"WHEN {literal(one)} THEN CAST('{w!r}' AS DOUBLE)" for one, w in named)
        each = f"(CASE label {cases} END / times)" if cases else "CAST(1 AS DOUBLE)"
        path[f"whole_{name}"] = f"SUM({each}) OVER (PARTITION BY u, ends)"
        shares[name] = f"{each} / (whole_{name} + CAST('{base!r}' AS DOUBLE))"
    sql = credited_sql(
        touchpoints, shares, by=more, counting=counting, path=path,
        touch={"times": "COUNT(*) OVER (PARTITION BY u, ends, label)"},
    )  # fmt: skip
    found = touchpoints.fetch(sql)
    columns = ["channel", *more]
    table = segments(found, columns)
    place = found.groupby(columns, dropna=False, sort=False).ngroup().to_numpy()
    for name, source in (("credit", "credit_counted"), ("value", "value_valued")):
        table[name] = np.round(np.bincount(place, found[source].fillna(0.0).astype(float), len(table)), 9)
    if BASELINE in target.index:
        rest = target.loc[BASELINE]
        table = pd.concat([table, pd.DataFrame([{"channel": BASELINE, **rest}])], ignore_index=True)
    if not paths.has_value:
        table["value"] = np.nan
    unplaced = pd.Series(wanted[0] - placed, names)
    unplaced = unplaced.where(unplaced.abs() > 1e-6 * max(paths.conversions.sum(), 1.0), 0.0)
    table["unplaced"] = table["channel"].map(unplaced).fillna(0.0) if "channel" in keys else np.nan
    table.insert(0, "model", model["model"].iloc[0] if len(model) else None)
    table = table.groupby(["model", *keys], dropna=False, as_index=False)[["credit", "value", "unplaced"]].agg(
        {"credit": "sum", "value": lambda part: part.sum(min_count=1), "unplaced": "first"}
    )
    return table


def _sets(paths, size):
    """Which touchpoints a path has, one row per path; the baseline, where there is one, is in all."""
    row, code = paths.members()
    held = sparse.csr_array((np.ones(row.size), (row, code)), shape=(paths.length.size, size)).tolil()
    if size > len(paths.names):
        held[:, [size - 1]] = 1.0
    return held.tocsr()


def _weights(sets, paid, goal):
    """The weight of each touchpoint under which sharing by weights gives it its goal, as near as the paths allow."""
    if not goal.sum():
        return np.ones(goal.size)
    sets, paid = sets[paid > 0], paid[paid > 0]
    weight = np.maximum(goal, 1e-12 * goal.sum())
    for _ in range(_ROUNDS):
        given = weight * (sets.T @ _over(paid, sets @ weight))
        if np.abs(given - goal).max() <= _CLOSE * goal.sum():
            break
        weight = np.maximum(weight * _over(goal, given), 1e-30)
        weight /= weight.max()
    return weight


def _over(part, whole):
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
