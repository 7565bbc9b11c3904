"""How long the steps took those who took them."""

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import columns_of, grouped, opening, statement
from perfnb.intervals import mean as mean_limits

__all__ = ["times"]


def times(touchpoints, steps, *, anchor="last", by=None, semantics=None, **switches):
    """The time from step to step and from step 1, of the attempt that `funnel.steps` counts.

    Of those who took the step only: no censoring is corrected for, so these are not the
    times of all. `anchor` says what time is counted from: the "last" step-1 event that can
    start the attempt counted, or the "first". `by` groups by the value at the entry; the
    other switches are those of `funnel.steps`.

    Returns one row per group and step from 2 on: (by), step, name, units, seconds (mean, since
    the required step before) with seconds_low and seconds_high (t, 95 %), seconds_median, from_start and
    from_start_median (seconds since step 1, by the anchor), anchor, definition.
    """
    rule = rule_of(steps, semantics, **switches)
    if not rule.stepwise:
        raise BadParameter(f"times are those of units that go from step to step. Found {rule.definition}")
    if anchor not in ("last", "first"):
        raise BadParameter(f"anchor {anchor!r}: expected 'last' or 'first'")
    if anchor == "first" and (rule.exclude or any(limit is not None for limit in rule.limits)):
        raise BadParameter("anchor 'first': with step_within or exclude, only the 'last' start is known to be allowed")
    by = columns_of(touchpoints, by)
    keys = [f"g_{number}" for number, _ in enumerate(by, start=1)]
    start = "opened" if anchor == "first" else "time_1"
    pairs = [(k, max(j for j in rule.required if j < k)) for k in range(2, rule.count + 1)]
    lags = " UNION ALL ".join(
        f"SELECT {''.join(f'{key}, ' for key in keys)}{k} AS step, "
        f"time_{k} - {start if before == 1 else f'time_{before}'} AS lag, time_{k} - {start} AS total "
        f"FROM placed WHERE reached_{k} = 1 AND time_{k} IS NOT NULL"
        for k, before in pairs
    )
    if not pairs:
        raise BadParameter(f"steps {rule.names}: one step takes no time; expected two or more")
    part = ", ".join([*keys, "step"])
    ranked = ", ".join(
        f"ROW_NUMBER() OVER (PARTITION BY {part} ORDER BY {name}) AS {name}_place" for name in ("lag", "total")
    )
    middles = ", ".join(
        # Of an even number, the two in the middle.
        f"AVG(CASE WHEN 2 * {name}_place IN (n, n + 1, n + 2) THEN {name} / 1000000.0 END) AS {name}_median"
        for name in ("lag", "total")
    )
    found = touchpoints.fetch(
        opening(rule)
        + ",\n".join(
            [
                *statement(touchpoints, rule, times=True),
                *grouped(touchpoints, rule, by, "entry"),
                f"lags AS ({lags})",
                f"ordered AS (SELECT lags.*, COUNT(*) OVER (PARTITION BY {part}) AS n, {ranked} FROM lags)",
            ]
        )
        + f"\nSELECT {part}, COUNT(*) AS units, AVG(lag / 1000000.0) AS mean, VAR_SAMP(lag / 1000000.0) AS variance, "
        f"AVG(total / 1000000.0) AS total, {middles} FROM ordered GROUP BY {part}"
    )
    found[["variance", "mean"]] = found[["variance", "mean"]].astype(float)
    low, high = mean_limits(found["mean"], found["variance"], found["units"])
    table = pd.DataFrame(
        {
            **{name: found[key] for name, key in zip(by, keys, strict=True)},
            "step": found["step"].astype(int),
            "units": found["units"].astype(int),
            "seconds": found["mean"],
            "seconds_low": np.maximum(low, 0) if rule.grace is None else low,
            "seconds_high": high,
            "seconds_median": found["lag_median"],
            "from_start": found["total"],
            "from_start_median": found["total_median"],
        }
    )
    table.insert(len(by) + 1, "name", [rule.names[k - 1] for k in table["step"]])
    table = table.assign(anchor=anchor, definition=rule.definition)
    return table.sort_values([*by, "step"], ignore_index=True)
