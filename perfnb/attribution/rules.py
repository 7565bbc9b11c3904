"""Rule models: credit by a touch's place and time in its path."""

import pandas as pd

from perfnb import journey
from perfnb.engine import literal
from perfnb.errors import BadParameter
from perfnb.period import duration

MODELS = ("first", "last", "linear", "time_decay", "position")
_ENDS, _MIDDLE = 0.4, 0.2


def rules(
    touchpoints,
    *,
    conversion="order",
    events=None,
    touchpoint="channel",
    lookback="30 days",
    half_life="7 days",
    period=None,
):
    """Credit by five rules: first, last, linear, time decay and position-based (40/20/40).

    Time decay weighs a touch by 2^(-age / half_life). Position-based gives the
    first and the last touch 40 % each and shares 20 % among the rest (two
    touches: half each; one: all). Every touch inside the look-back counts,
    repeats too, and before `period` (a Period), which bounds the conversions;
    touches at the same moment stand in the order of their labels.

    Returns one row per model and touchpoint: model, channel (the touchpoint),
    credit (conversions), share (0-1), value, currency. Under each model credit
    and value add up to the conversions in the events.
    """
    ctes = journey.journeys_sql(
        touchpoints, conversion=conversion, events=events, touchpoint=touchpoint, lookback=lookback, period=period
    )
    half = duration(half_life).total_seconds() * 1_000_000
    if half <= 0:
        raise BadParameter(f"half_life {half_life!r}: expected more than nothing, as '7 days'")
    weights = {
        "first": "CASE WHEN place = 1 THEN 1.0 ELSE 0.0 END",
        "last": "CASE WHEN place = length THEN 1.0 ELSE 0.0 END",
        "linear": "1.0 / length",
        "time_decay": "decay / total_decay",
        "position": f"CASE WHEN length = 1 THEN 1.0 WHEN length = 2 THEN 0.5 WHEN place IN (1, length) THEN {_ENDS} "
        f"ELSE {_MIDDLE} / (length - 2) END",
    }
    sums = ", ".join(
        f"SUM(n * CAST({weight} AS DOUBLE)) AS credit_{model}, "
        f"SUM(CAST(value AS DOUBLE) * CAST({weight} AS DOUBLE)) AS value_{model}"
        for model, weight in weights.items()
    )
    untouched = ", ".join("CAST(SUM(n) AS DOUBLE), CAST(SUM(value) AS DOUBLE)" for _ in weights)
    # Ages are counted from the last touch: a path far from its conversion must not underflow to no weight at all.
    found = touchpoints.fetch(
        f"{ctes},\ncredited AS (SELECT k.u, k.ends, k.label, c.n, c.value, "
        "ROW_NUMBER() OVER (PARTITION BY k.u, k.ends ORDER BY k.t, k.label) AS place, "
        "COUNT(*) OVER (PARTITION BY k.u, k.ends) AS length, "
        f"POWER(CAST(2 AS DOUBLE), (k.t - MAX(k.t) OVER (PARTITION BY k.u, k.ends)) / CAST({half} AS DOUBLE)) AS decay "
        "FROM touched AS k JOIN converted AS c ON k.u = c.u AND k.ends = c.t),\n"
        "decayed AS (SELECT credited.*, SUM(decay) OVER (PARTITION BY u, ends) AS total_decay FROM credited)\n"
        f"SELECT label AS channel, {sums} FROM decayed GROUP BY label\n"
        f"UNION ALL SELECT {literal(journey.NO_TOUCH)}, {untouched} FROM untouched HAVING COUNT(*) > 0"
    )
    return _long(found, MODELS, touchpoints.currency("value"))


def _long(wide, models, currency):
    parts = []
    for model in models:
        part = pd.DataFrame(
            {
                "model": model,
                "channel": wide["channel"],
                # Engines add in any order: the last bits are noise, and would decide between equals.
                "credit": wide[f"credit_{model}"].astype(float).round(9),
                "value": wide[f"value_{model}"].astype(float).round(9),
            }
        )
        part["share"] = part["credit"] / part["credit"].sum()
        parts.append(part.sort_values(["credit", "channel"], ascending=[False, True]))
    table = pd.concat(parts, ignore_index=True)
    table["currency"] = currency
    return table[["model", "channel", "credit", "share", "value", "currency"]]
