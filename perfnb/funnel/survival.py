"""How long it takes all who enter, with those whose time is not over yet: Kaplan and Meier's curve."""

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import columns_of, grouped, opening, statement
from perfnb.intervals import Z, wilson

__all__ = ["time_to_convert", "waiting"]

_MOST = 2_000  # rows per group
_DAY = 86_400_000_000
_ROUNDING = 1e-9


def time_to_convert(touchpoints, steps, *, within, by=None, period=None, **switches):
    """The share that has reached the last step so long after the first entry, cut-off windows accounted for.

    A unit's time runs from its first step-1 event until it reaches the last step; who has
    not by the end of the window, or of the data, is censored then. As long as late entries
    behave like early ones, the share is that of windows seen to their end (Kaplan & Meier
    1958, Journal of the American Statistical Association 53). The variance is Greenwood's, the 95 %
    interval that on the scale log(-log(1 - share)). `by` groups by the value at the entry,
    `period` bounds entries; without a window (within=None) only the end of the data
    censors. The other switches are those of `funnel.steps`, for a closed funnel.

    Shares are exact at the times shown. A group with more than 2,000 times shows as many of
    them, its rows then counting what happened at several.

    Returns one row per group and time at which units convert, and one for time 0: (by), days
    (since the entry), at_risk (units still waiting just before), converted (units, at this
    time), censored (units, from here until the next row), share (0-1, of all units, had all
    been followed so long) with low and high, units (of the group), followed (those of them
    whose whole window lies in the data), definition.
    """
    rule = rule_of(steps, within=within, entry="first", period=period, **switches)
    if rule.count == 1:
        raise BadParameter(f"steps {rule.names}: one step takes no time; expected two or more")
    if not rule.stepwise:
        raise BadParameter(f"time is counted from step 1 of a closed funnel in order. Found {rule.definition}")
    by = columns_of(touchpoints, by)
    found = touchpoints.fetch(_statement(touchpoints, rule, by))
    keys = [f"g_{number}" for number, _ in enumerate(by, start=1)]
    groups = found.groupby(keys) if keys else [((), found)] if len(found) else []
    parts = [_curve(rows).assign(**dict(zip(by, group, strict=True))) for group, rows in groups]
    columns = ["days", "at_risk", "converted", "censored", "share", "low", "high", "units", "followed"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*by, *columns])
    return table[[*by, *columns]].assign(definition=f"{rule.definition}, Kaplan–Meier")


def waiting(curve):
    """What a curve of `funnel.time_to_convert` comes to: who converted, after how long, and what cut-off windows hide.

    The median of the converters is that of a part that happened to be quick; that of all,
    with its 95 % interval from the band of the curve, is reached where half of all have
    converted, and null where they do not (its upper end: where they need not). The naive
    share, of all who entered, counts those as lost whose window is still open.

    Returns one row per group: (by), units, converted, censored (units), median_days_converters,
    median_days (of all) with median_days_low and median_days_high, share (0-1, by the end of
    the window or of the data) with low and high, naive_share (converted / units), definition.
    """
    missing = {"days", "converted", "share", "units", "followed"} - set(curve)
    if missing:
        raise BadParameter(f"no column {', '.join(sorted(missing))}; expected a table of funnel.time_to_convert")
    by = list(curve.columns[: curve.columns.get_loc("days")])
    groups = curve.groupby(by, sort=False) if by else [((), curve)] if len(curve) else []
    rows = [dict(zip(by, group, strict=True)) | _waited(rows) for group, rows in groups]
    names = ["units", "converted", "censored", "median_days_converters", "median_days", "median_days_low",
             "median_days_high", "share", "low", "high", "naive_share", "definition"]  # fmt: skip
    return pd.DataFrame(rows, columns=[*by, *names])


def _statement(touchpoints, rule, by):
    """Rows per group and part, a time with conversions and the censorings that follow, each already summed.

    ended: d conversions and c censorings per group and time; queued: at_risk just before each time, place (the number
    of times with conversions so far) and times (how many there are).
    """
    keys = [f"g_{number}" for number, _ in enumerate(by, start=1)]
    shown = "".join(f"{key}, " for key in keys)
    mine = f"PARTITION BY {', '.join(keys)} " if keys else ""
    rows = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
    left, full = "ends - entered", "0"
    if rule.window is not None:
        left = f"CASE WHEN ends - entered < {rule.window} THEN ends - entered ELSE {rule.window} END"
        full = f"CASE WHEN ends - entered >= {rule.window} THEN 1 ELSE 0 END"
    converted = f"level = {rule.count}"
    ctes = [
        *statement(touchpoints, rule, times=True),
        f"data AS (SELECT MAX({touchpoints.micros()}) AS ends FROM {{table}} AS source)",
        *grouped(touchpoints, rule, by, "entry"),
        f"spans AS (SELECT {shown}CASE WHEN {converted} THEN time_{rule.count} - entered ELSE {left} END AS lasted, "
        f"CASE WHEN {converted} THEN 1 ELSE 0 END AS done, {full} AS seen FROM placed CROSS JOIN data WHERE level > 0)",
        f"ended AS (SELECT {shown}lasted, SUM(done) AS d, SUM(1 - done) AS c, SUM(seen) AS seen FROM spans "
        f"GROUP BY {shown}lasted)",
        f"queued AS (SELECT ended.*, SUM(d + c) OVER ({mine}ORDER BY lasted DESC {rows}) AS at_risk, "
        f"SUM(CASE WHEN d > 0 THEN 1 ELSE 0 END) OVER ({mine}ORDER BY lasted {rows}) AS place, "
        f"SUM(CASE WHEN d > 0 THEN 1 ELSE 0 END) OVER ({mine.strip()}) AS times FROM ended)",
        # Up to so many times, each has a part of its own.
        f"parted AS (SELECT queued.*, CAST(at_risk AS DOUBLE) AS n, CASE WHEN place = 0 THEN -1 "
        f"ELSE FLOOR(CAST(place - 1 AS DOUBLE) * {_MOST} / times) END AS part FROM queued)",
    ]
    return (
        opening(rule) + ",\n".join(ctes) + f"\nSELECT {shown}part, MAX(CASE WHEN d > 0 THEN lasted END) AS lasted, "
        "MAX(at_risk) AS at_risk, SUM(d) AS converted, SUM(c) AS censored, SUM(seen) AS seen, "
        # The logarithm of what share of those at risk goes on waiting, and Greenwood's sum; none may be left.
        "SUM(CASE WHEN at_risk > d THEN LN((n - d) / n) ELSE 0 END) AS stays, "
        "SUM(CASE WHEN at_risk > d THEN d / n / (n - d) ELSE 0 END) AS greenwood, "
        "MAX(CASE WHEN at_risk = d THEN 1 ELSE 0 END) AS emptied "
        f"FROM parted GROUP BY {shown}part"
    )


def _curve(found):
    """The curve of one group from its sums per part."""
    found = found.sort_values("part", ignore_index=True)
    units, followed = int(found["at_risk"].max()), int(found["seen"].sum())
    if not (found["lasted"].fillna(0) == 0).iloc[0]:
        start = {"lasted": 0, "at_risk": units, "converted": 0, "censored": 0, "stays": 0.0, "greenwood": 0.0}
        found = pd.concat([pd.DataFrame([start | {"emptied": 0}]), found], ignore_index=True)
    stays = np.exp(found["stays"].astype(float).cumsum().to_numpy()) * (found["emptied"].to_numpy(float) == 0)
    low, high = _limits(found, stays, found["greenwood"].astype(float).cumsum().to_numpy())
    return pd.DataFrame(
        {
            "days": found["lasted"].fillna(0).astype(float) / _DAY,
            **{name: found[name].astype("int64") for name in ("at_risk", "converted", "censored")},
            "share": 1 - stays,
            "low": low,
            "high": high,
            "units": units,
            "followed": followed,
        }
    )


def _limits(found, stays, greenwood):
    """Limits of 1 - stays; where nobody has converted, or all have, Wilson's with as many as could still be seen."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(stays)
        width = Z * np.sqrt(greenwood) / np.abs(logs)
        low, high = 1 - stays ** np.exp(-width), 1 - stays ** np.exp(width)
    before = np.concatenate([[1.0], stays[:-1]])
    share, n = 1 - stays, found["at_risk"].to_numpy(float) / before
    edges = wilson(share * n, n)
    edge = (stays <= 0) | (stays >= 1)
    return np.where(edge, edges[0], low), np.where(edge, edges[1], high)


def _waited(rows):
    last = rows.iloc[-1]
    units, converted = int(last["units"]), int(rows["converted"].sum())
    low, high = last["low"], last["high"]
    if converted == 0:
        # At time 0 nobody had converted; that nobody ever did is known of those alone who were seen to the end.
        followed = int(last["followed"])
        low, high = (float(limit) for limit in wilson(0, followed)) if followed else (0.0, 1.0)
    so_far = rows["converted"].cumsum()
    middles = [_first(rows["days"], so_far >= half) for half in (converted / 2, converted / 2 + 0.5)]
    return {
        "units": units,
        "converted": converted,
        "censored": units - converted,
        "median_days_converters": np.mean(middles) if converted else np.nan,
        "median_days": _first(rows["days"], rows["share"] >= 0.5 - _ROUNDING),
        "median_days_low": _first(rows["days"], rows["high"] >= 0.5 - _ROUNDING),
        "median_days_high": _first(rows["days"], rows["low"] >= 0.5 - _ROUNDING),
        "share": last["share"],
        "low": low,
        "high": high,
        "naive_share": converted / units,
        "definition": last["definition"],
    }


def _first(days, reached):
    return days[reached].min()
