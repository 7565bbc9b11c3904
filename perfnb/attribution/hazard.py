"""Additive hazard: every touch adds to a person's chance of converting for a while, over a baseline of no touch's."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd
from scipy import sparse

from perfnb import journey
from perfnb.attribution import noise
from perfnb.attribution.noise import BASELINE
from perfnb.attribution.paths import GROUPS, group_of
from perfnb.errors import BadParameter, PerfnbError
from perfnb.period import Period, half_life_of

HALF_LIVES = (1.0, 2.0, 4.0, 7.0, 14.0, 30.0)  # days
_DAY = 86_400_000_000
_CLOSE = 1e-7  # of all conversions: how far another round may still move them
_ROUNDS = 2_000
_RIDGE = 1e-10


def hazard(touchpoints, *, half_life=None, intervals=True, **counting):
    """Credit by each touch's part of the hazard at the moment of conversion.

    On each day the hazard of a person is mu + the sum over their touches of
    beta of its channel × 2^(-age / half_life): Zhang, Wei, Ren (2014), Multi-touch
    attribution in online advertising with survival theory; Ji and Wang (2017),
    Additional multi-touch attribution for online advertising; Shender et al. (2024),
    A time to event framework for multi-touch attribution. mu and the betas, none
    below 0, are those of the largest likelihood, and so is the half-life of 1, 2, 4,
    7, 14 and 30 days (see `half_lives`), where `half_life` ("7 days") does not say it. A touch gets
    its part of the hazard in which the conversion happened, and so of its value;
    mu's part stands in the row "(baseline)": conversions that would have come
    within the look-back of a touch without it.

    Ages are whole days of 24 hours since the touch, 0 on the first: how many
    minutes lie between a visit and its order says nothing of what the visit caused.
    A touch is watched from its moment until the conversion that it leads to, the
    end of the look-back, or the last event of the data or of `period`, and a day
    that began counts as whole. A person is watched while one of their touches is: a
    conversion outside of that is of "(no touch)" and teaches nothing. So those who
    do not convert matter as much as those who do, and `nulls` may not be "none".

    Intervals are those of the delete-one-group jack-knife at the half-life that was
    chosen: mu and the betas, none below 0, are fitted anew without each of 64 groups of
    persons. No limit lies above all conversions, nor all value, of the events.

    Returns one row per touchpoint: model ("hazard"), channel, credit (conversions)
    with low and high (95 %), share (0-1) with share_low and share_high, value with
    value_low and value_high, currency, definition, half_life (days). Credit and value add up to
    the events with the rows "(baseline)" and "(no touch)". No rows where nobody
    converted.
    """
    seen = _seen(touchpoints, counting)
    table = {"untouched": seen.untouched, "has_value": seen.has_value, "currency": seen.currency}
    table["definition"] = journey.Counting(**counting).definition
    if not seen.conversions.size:
        none, by_group = np.zeros(0), np.zeros((0, GROUPS))
        found = noise.table("hazard", [], none, none, credit_out=by_group, value_out=by_group, **table, half_life=none)
        return _within(found)
    tried = HALF_LIVES if half_life is None else (half_life_of(half_life) / timedelta(days=1),)
    best = max((_fitted(seen, days) for days in tried), key=lambda fit: fit.log_likelihood)
    if intervals:
        credit, value, table["credit_out"], table["value_out"] = _credited(seen, best)
    else:
        credit, value = (_parts(best.features, best.weights, amount) for amount in _by_pattern(seen))
    return _within(noise.table("hazard", [*seen.names, BASELINE], credit, value, **table, half_life=best.half_life))


def half_lives(touchpoints, **counting):
    """How well each half-life explains when the conversions came, in the model of `hazard`.

    Returns one row per half-life: half_life (days), log_likelihood, chosen (the
    largest likelihood). Where the first is chosen, conversions follow a visit at
    once, as orders follow the visit in which they are placed; where the last is,
    the age of a touch says little. No rows where nothing that was touched converted.
    """
    seen = _seen(touchpoints, counting)
    tried = HALF_LIVES if seen.conversions.size else ()
    table = pd.DataFrame({"half_life": np.array(tried, float)})
    table["log_likelihood"] = np.array([_fitted(seen, days).log_likelihood for days in tried], float)
    table["chosen"] = table["log_likelihood"].eq(table["log_likelihood"].max())
    return table


@dataclass(frozen=True)
class _Seen:
    """What the engine counted. A pattern is what touches of which ages led to a conversion: `row` (the pattern),
    `channel`, `age` (days) and `touches` are of its touches."""

    names: list
    row: np.ndarray
    channel: np.ndarray
    age: np.ndarray
    touches: np.ndarray
    pattern: np.ndarray  # of the conversions at one instant of one person, as the next three
    conversions: np.ndarray
    value: np.ndarray
    group: np.ndarray
    lasted: np.ndarray  # (channels, GROUPS, days): touches that were watched until this day of theirs
    watched: np.ndarray  # (GROUPS,) days of persons
    untouched: tuple
    has_value: bool
    currency: str | None


@dataclass(frozen=True)
class _Fit:
    """`weights`: conversions expected of each channel and of the baseline; `features`: their hazard by pattern, for
    one expected conversion; `exposure` (…, GROUPS): the share of each that lies in a group."""

    half_life: float
    log_likelihood: float
    weights: np.ndarray
    features: object
    exposure: np.ndarray


def _within(table):
    """The same with no limit above the sum of the rows."""
    highs = {
        high: table[high].clip(upper=np.maximum(table[name], table[name].sum()))
        for name, high in (("credit", "high"), ("value", "value_high"))
    }
    return table.assign(**highs)


def _seen(touchpoints, counting):
    if isinstance(touchpoints, pd.DataFrame):
        raise BadParameter(
            "hazard: found a table of paths, which does not say when a touch was; expected a Table of touchpoints"
        )
    rule = journey.Counting(**counting)
    if rule.nulls == "none":
        raise BadParameter(
            "nulls 'none': the hazard is learnt from those who do not convert as well; expected 'journeys' or 'persons'"
        )
    found = _converting(touchpoints, rule, counting)
    alone = found["label"].isna().to_numpy()
    amounts = found["n"].to_numpy(float), pd.to_numeric(found["value"]).fillna(0.0).to_numpy(float)
    group = found["part"].map(group_of).to_numpy(int)
    untouched = tuple(np.bincount(group[alone], amount[alone], GROUPS) for amount in amounts)
    has_value = bool(found["value"].notna().any())
    currency = touchpoints.currency("value")
    if alone.all():
        return _Seen([], *[np.zeros(0)] * 8, np.zeros((0, GROUPS, 0)), np.zeros(GROUPS), untouched, has_value, currency)
    exposed = _exposed(touchpoints, rule, counting)
    names = sorted(set(exposed["label"]) | set(found.loc[~alone, "label"]))
    found, group, amounts = found[~alone], group[~alone], [amount[~alone] for amount in amounts]
    _, first, row = np.unique(found["id"].to_numpy(), return_index=True, return_inverse=True)
    channel = pd.Categorical(found["label"], names).codes.astype(int)
    age, touches = found["age"].to_numpy(int), found["touches"].to_numpy(float)
    places = pd.Categorical(exposed["label"], names).codes, exposed["part"].map(group_of).to_numpy(int)
    last = exposed["last_day"].to_numpy(int)
    lasted = np.zeros((len(names), GROUPS, max(last.max(initial=0), age.max()) + 1))
    np.add.at(lasted, (*places, last), exposed["touches"].to_numpy(float))
    # A touch that counts only in the journeys that convert (direct dropped elsewhere) was watched until they did.
    unseen = np.ones((len(names), GROUPS), bool)
    unseen[places] = False
    led = unseen[channel, group]
    np.add.at(lasted, (channel[led], group[led], age[led]), touches[led])
    watched = np.bincount(places[1], exposed["days"].to_numpy(float), GROUPS)
    shown, pattern = _patterns(row, channel * lasted.shape[2] + age, touches)
    is_shown = np.isin(row, shown)
    of_touch = (column[is_shown] for column in (pattern[row], channel, age, touches))
    of_conversion = (column[first] for column in (*amounts, group))
    return _Seen(names, *of_touch, pattern, *of_conversion, lasted, watched, untouched, has_value, currency)


def _patterns(row, kind, touches):
    """One row of each pattern, and the pattern of each row, from how many touches of each kind the rows have.

    Rows are told apart by sums of 64 random bits a kind: two of a million patterns would be taken for one
    in some 1 of 10 million cases.
    """
    kinds, kind = np.unique(kind, return_inverse=True)
    bits = np.random.default_rng(0).integers(2**64, size=kinds.size, dtype=np.uint64)
    key = np.zeros(row.max() + 1, np.uint64)
    np.add.at(key, row, bits[kind] * touches.astype(np.uint64))
    _, shown, pattern = np.unique(key, return_index=True, return_inverse=True)
    return shown, pattern


def _age(micros, rule):
    """SQL for whole days, of which a look-back holds so many."""
    days = f"FLOOR(({micros}) / CAST({_DAY} AS DOUBLE))"
    return f"CAST({days} AS INTEGER)" if rule.window is None else f"CAST(LEAST({days}, {_most(rule)}) AS INTEGER)"


def _most(rule):
    return max(-(-rule.window // _DAY) - 1, 0)


def _converting(touchpoints, rule, counting):
    """One row per conversion, label and age of the touches that led to it, and one per group of "(no touch)"."""
    part = journey.part_sql("u")
    alone = journey.part_sql("u", "t")
    return touchpoints.fetch(
        f"{journey.journeys_sql(touchpoints, **counting | {'nulls': 'none'})},\n"
        f"numbered AS (SELECT u, t, n, value, {part} AS part, ROW_NUMBER() OVER (ORDER BY u, t) AS id "
        "FROM converted),\n"
        "led AS (SELECT c.id, c.part, c.n, c.value, k.label, "
        f"{_age('c.t - k.t', rule)} AS age FROM touched AS k JOIN numbered AS c ON k.u = c.u AND k.ends = c.t)\n"
        "SELECT id, part, n, CAST(value AS DOUBLE) AS value, label, age, COUNT(*) AS touches "
        "FROM led GROUP BY id, part, n, value, label, age\n"
        f"UNION ALL SELECT NULL, {alone}, SUM(n), CAST(SUM(value) AS DOUBLE), NULL, NULL, NULL "
        f"FROM untouched GROUP BY {alone}"
    )


def _exposed(touchpoints, rule, counting):
    """One row per label, group and day: touches that were watched until it, and the days that persons were."""
    since, whole = None, {"lookback": None}
    if rule.period is not None:
        since, _ = rule.period.micros()
        whole["period"] = Period(date.min, rule.period.until)
    ctes = journey.journeys_sql(touchpoints, **counting | whole)
    lived = "SELECT u, ends, t, label FROM touched"
    if rule.repeats == "overlap" and rule.count == "every":
        # A touch stands there once for each conversion that it led to, and works on after them.
        lived = (
            "SELECT k.u, CAST(NULL AS BIGINT) AS ends, k.t, k.label FROM touched AS k LEFT JOIN "
            "(SELECT u, MAX(t) AS t FROM converted GROUP BY u) AS l ON k.u = l.u WHERE k.ends IS NULL OR k.ends = l.t"
        )
    over = "f.until" if rule.window is None else f"LEAST(t + {rule.window}, f.until)"
    begins, inside, before = "t", "", ""
    if since is not None:
        begins, inside = f"GREATEST(t, {since})", f" WHERE stops >= {since}"
        # The days of a touch before the period are taken off again.
        before = (
            f"\n  UNION ALL SELECT u, label, {_age(f'{since} - t', rule)} - 1, -1, 0 "
            f"FROM spans{inside} AND {since} - t >= {_DAY}"
        )
    days = f"waits / CAST({_DAY} AS DOUBLE)"
    begun = f"FLOOR({days}) + 1" if rule.window is None else f"LEAST(FLOOR({days}) + 1, {_most(rule) + 1})"
    part = journey.part_sql("u")
    return touchpoints.fetch(
        f"""{ctes},
lived AS ({lived}),
chained AS (SELECT u, ends, t, label, LEAD(t) OVER (PARTITION BY u ORDER BY t, label) AS next_t FROM lived),
spans AS (SELECT u, label, t, next_t, LEAST(COALESCE(ends, f.until), {over}) AS stops
  FROM chained CROSS JOIN (SELECT MAX(t) AS until FROM events) AS f),
waited AS (SELECT u, label, t, stops, GREATEST(LEAST(stops, COALESCE(next_t, stops)) - {begins}, 0) AS waits,
  CASE WHEN next_t IS NULL OR next_t > stops THEN 1 ELSE 0 END AS is_last FROM spans{inside}),
watched AS (SELECT u, label, {_age("stops - t", rule)} AS last_day, 1 AS touches,
  CASE WHEN is_last = 1 THEN {begun} ELSE {days} END AS days FROM waited{before}),
by_person AS (SELECT u, label, last_day, SUM(touches) AS touches, SUM(days) AS days FROM watched
  GROUP BY u, label, last_day)
SELECT label, {part} AS part, last_day, CAST(SUM(touches) AS BIGINT) AS touches, SUM(days) AS days FROM by_person
  GROUP BY label, {part}, last_day"""
    )


def _fitted(seen, half_life):
    kernel = 2.0 ** (-np.arange(seen.lasted.shape[2]) / half_life)
    exposure = np.vstack([seen.lasted @ np.cumsum(kernel), seen.watched])
    total = exposure.sum(axis=1)
    total = np.where(total > 0, total, 1.0)
    n = np.bincount(seen.pattern, seen.conversions)
    baseline = len(seen.names)
    rows = np.concatenate([seen.row, np.arange(n.size)])
    columns = np.concatenate([seen.channel, np.full(n.size, baseline)])
    amounts = np.concatenate([seen.touches * kernel[seen.age], np.ones(n.size)])
    features = sparse.csr_array((amounts / total[columns], (rows, columns)), shape=(n.size, baseline + 1))
    # Where touches and baseline explain the same, it is the touches': the baseline begins with next to nothing.
    weights = np.full(baseline + 1, n.sum() / (baseline + 1))
    weights[-1] *= 1e-6
    weights, log_likelihood = _likeliest(features, n, np.ones(baseline + 1), weights)
    return _Fit(half_life, log_likelihood, weights, features, exposure / total[:, None])


def _likeliest(features, n, exposure, weights):
    """Weights w >= 0 that maximise sum n log(features w) - exposure w, from some above 0 on, and the maximum.

    Each round is one step of the EM algorithm, which keeps the weights at or above 0 and never loses
    likelihood, and one of Newton's where that gains more. Concave: with all slopes at most g, the
    likelihood is within g × conversions of its maximum.
    """
    total = n.sum()
    turned = features.T.tocsr()
    lengths = np.diff(features.indptr)

    def likelihood(w):
        rate = features @ w
        return (n * np.log(rate)).sum() - exposure @ w if rate.min() > 0 else -np.inf

    for _ in range(_ROUNDS):
        gain = turned @ (n / (features @ weights))
        slope = gain - exposure
        if slope.max() < _CLOSE and (weights * abs(slope)).max() < _CLOSE * total:
            return weights, likelihood(weights)
        weights = np.divide(weights * gain, exposure, out=np.zeros_like(weights), where=exposure > 0)
        rate = features @ weights
        slope = turned @ (n / rate) - exposure
        bent = np.repeat(n / rate**2, lengths) * features.data
        bent = sparse.csr_array((bent, features.indices, features.indptr), shape=features.shape)
        step = _step(weights, slope, (turned @ bent).toarray())
        before = likelihood(weights)
        tried = (weights + step / 4**k for k in range(6))
        weights = next((w for w in tried if likelihood(w) > before), weights)
    raise PerfnbError(
        f"hazard: no maximum of the likelihood found in {_ROUNDS} rounds. Give a half_life, or group rare channels"
    )


def _step(weights, slope, curvature):
    """Newton's step within weights >= 0: the best such step where the likelihood is taken for a parabola."""
    from scipy.optimize import nnls

    scale = np.sqrt(np.diag(curvature))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(curvature / np.outer(scale, scale))
    # Among columns that explain the same a trace of the identity decides: their weights move least.
    lengths = np.sqrt(np.maximum(values, 0) + _RIDGE)
    turned = vectors.T @ (weights * scale)
    target = lengths * turned + (vectors.T @ (slope / scale)) / lengths
    return nnls(lengths[:, None] * vectors.T, target, maxiter=100 * scale.size)[0] / scale - weights


def _credited(seen, fit):
    """Credit and value by column, and both fitted anew with each group left out, scaled to all."""
    amounts = seen.conversions, seen.value
    n, value = _by_pattern(seen)
    out = np.zeros((2, fit.weights.size, GROUPS))
    for left in range(GROUPS):
        mine = seen.group == left
        rest, worth = (
            whole - np.bincount(seen.pattern[mine], amount[mine], whole.size)
            for whole, amount in zip((n, value), amounts, strict=True)
        )
        still = rest > 0
        if still.any():
            features, rest = fit.features[still], rest[still]
            # From the weights of all persons on, it is few rounds.
            weights, _ = _likeliest(features, rest, 1 - fit.exposure[:, left], fit.weights)
            out[:, :, left] = _parts(features, weights, rest), _parts(features, weights, worth[still])
    credit_out, value_out = out * (GROUPS / (GROUPS - 1))
    return *(_parts(fit.features, fit.weights, amount) for amount in (n, value)), credit_out, value_out


def _by_pattern(seen):
    """Conversions and value by pattern."""
    return [np.bincount(seen.pattern, amount) for amount in (seen.conversions, seen.value)]


def _parts(features, weights, amount):
    """What each column gets of amounts by row, in proportion to its hazard there."""
    return weights * (features.T @ (amount / (features @ weights)))
