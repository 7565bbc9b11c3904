"""Did the funnel change on a day? Entries before and after it, with the variation that weeks show by themselves."""

from datetime import date as Day
from datetime import timedelta

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.errors import BadParameter
from perfnb.funnel.rule import rule_of
from perfnb.funnel.steps import columns_of, counted, cut
from perfnb.period import Period

__all__ = ["before_after"]

_SECOND, _DAY = 1_000_000, 86_400_000_000
_WEEK = 7 * _DAY
_LEAST = 2  # weeks on a side: from one, nobody can tell how weeks vary


def before_after(touchpoints, steps, *, date, within, by=None, weeks=4, unit="user_id"):
    """The rates of a funnel for those who first entered before a day, and from it on.

    Whole weeks are compared: after, those from `date` on whose windows are closed when the
    data end; before, those that end `within` before it, so that no window counted reaches
    over the change. At most `weeks` on each side, those next to the day (None: all in the data), `unit` is the
    column (or columns) counted. Weeks differ
    by more than chance among persons (campaigns, holidays): Pearson's chi² between the
    weeks of a side, over both sides, says by what factor, as in a quasi-binomial model
    (McCullagh & Nelder 1989, section 4.5), and Student's t makes up for few weeks. What
    came with the date for another reason is part of the difference, and a trend that had
    begun before is, too. "First" is first in the log: in its first weeks even regular
    visitors seem to enter for the first time, and they convert more often than the new
    ones of later weeks. Keep those weeks out of the comparison; all weeks (None) of a log
    that begins shortly before the day find a change where there is none.

    Returns one row per group and step from 2 on: (by), step, name, before_units, before_from
    (units at the step before), before_rate (0-1), the same after, difference (-1 to 1: after less
    before) with low and high (Newcombe, 95 %), p, p_adjusted (Benjamini and Hochberg) and tests,
    spread (by what factor the variance is more than that of persons alone, 1 or more: the
    interval and p know it; null, as they are, where no two weeks of a side can be compared),
    before_weeks and after_weeks, left_out (units that entered on neither side: across the
    change, too late to be followed, or beyond the whole weeks), definition.
    """
    rule = rule_of(steps, within=within, entry="first", unit=unit)
    if rule.count == 1 or rule.window is None:
        raise BadParameter(
            f"steps {rule.names}, within {within!r}: expected two steps or more and a window, since only entries "
            "that were followed equally long can be compared"
        )
    if weeks is not None and (not isinstance(weeks, int) or weeks < _LEAST):
        raise BadParameter(f"weeks {weeks!r}: expected a whole number from {_LEAST}, or None for all in the data")
    change, by = _moment(date), columns_of(touchpoints, by)
    last = change - rule.window
    part = (
        f"CASE WHEN entered >= {change} THEN {cut(f'(entered - {change})', _WEEK)} "
        f"WHEN entered < {last} THEN {cut(f'(entered - {last})', _WEEK)} END"
    )
    counts = touchpoints.fetch(counted(touchpoints, rule, by, "entry", part))
    counts = counts[counts["units_1"] > 0]
    before, after = _weeks(counts, change, rule, date, weeks)
    week = (counts["part"] // _WEEK).to_numpy(float, na_value=np.nan)
    sides = np.select([(week >= -before) & (week < 0), (week >= 0) & (week < after)], ["before", "after"], "")
    counts = counts.assign(side=sides)
    keys = [f"g_{number}" for number, _ in enumerate(by, start=1)]
    groups = counts.groupby(keys) if keys else [((), counts)]
    rows = [dict(zip(by, group, strict=True)) | row for group, found in groups for row in _compared(found, rule)]
    names = ["step", "name", "before_units", "before_from", "before_rate", "after_units", "after_from", "after_rate",
             "difference", "low", "high", "p", "spread", "left_out"]  # fmt: skip
    table = pd.DataFrame(rows, columns=[*by, *names])
    left_out = table.pop("left_out")
    spread = table.pop("spread")
    table = table.assign(p_adjusted=intervals.adjusted(table["p"]), tests=int(table["p"].notna().sum()), spread=spread)
    entries = Period(_day(date), _day(date) + timedelta(weeks=after))
    definition = f"{rule.definition}, entries {entries} against {before} weeks before"
    return table.assign(before_weeks=before, after_weeks=after, left_out=left_out, definition=definition)


def _compared(found, rule):
    """The rows of one group, from its counts per week and side."""
    left_out = int(found.loc[found["side"] == "", "units_1"].sum())
    sides = {side: found[found["side"] == side] for side in ("before", "after")}
    for k in range(2, rule.count + 1):
        row = {"step": k, "name": rule.names[k - 1], "left_out": left_out}
        weekly = {}
        for side, rows in sides.items():
            x, n = (rows[name].to_numpy(float) for name in (f"units_{k}", f"units_{k - 1}"))
            weekly[side] = x[n > 0], n[n > 0]
            row |= {f"{side}_units": int(x.sum()), f"{side}_from": int(n.sum())}
            row[f"{side}_rate"] = x.sum() / n.sum() if n.sum() else np.nan
        yield row | _difference(row, _variation(weekly.values()))


def _variation(sides):
    """Pearson's chi² between the weeks of each side, summed, and its degrees of freedom.

    NaN where rates could vary, but there are no two weeks to see it; a rate of 0 or 1 does not vary.
    """
    chi2, degrees, varies = 0.0, 0, False
    for x, n in sides:
        if 0 < x.sum() < n.sum():
            rate, varies = x.sum() / n.sum(), True
            chi2 += float(((x - n * rate) ** 2 / (n * rate * (1 - rate))).sum())
            degrees += len(n) - 1
    return (chi2, degrees) if degrees or not varies else (np.nan, 0)


def _difference(row, variation):
    from scipy.special import stdtr

    chi2, degrees = variation
    ends = [(row[f"{side}_units"], row[f"{side}_from"]) for side in ("after", "before")]
    (x1, n1), (x0, n0) = ends
    if not (n1 and n0):
        return dict.fromkeys(("difference", "low", "high", "p", "spread"), np.nan)
    p = float(intervals.same_rate([x1], [n1], [x0], [n0])[0])
    p = 1.0 if np.isnan(p) else p
    spread = wider = 1.0
    if np.isnan(chi2):
        p = spread = wider = np.nan
    elif chi2 > 0:
        factor, pooled = chi2 / degrees, (x1 + x0) / (n1 + n0)
        z = (x1 / n1 - x0 / n0) / np.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n0))
        # Weeks that happen to be alike prove nothing: the plain test holds as well.
        p = max(p, 2 * float(stdtr(degrees, -abs(z) / np.sqrt(factor))))
        spread = max(1.0, factor)
        wider = max(1.0, factor * (intervals.t(degrees) / intervals.Z) ** 2)
    limits = [intervals.wilson(x / wider, n / wider) for x, n in ends]
    low, high = intervals.newcombe(x1 / n1, x0 / n0, *limits)
    return {"difference": x1 / n1 - x0 / n0, "low": float(low), "high": float(high), "p": p, "spread": spread}


def _weeks(counts, change, rule, date, weeks):
    """How many whole weeks there are before and after."""
    if counts.empty:
        raise BadParameter(f"steps {rule.names}: nobody entered, so there is nothing to compare")
    begins, ends = int(counts["begins"].min()), int(counts["ends"].max())
    # Times are often whole seconds: the last of a day is then one before its end.
    found = (change - rule.window - begins // _DAY * _DAY) // _WEEK, (ends + _SECOND - rule.window - change) // _WEEK
    if min(found) < _LEAST:
        raise BadParameter(
            f"date {date}: found {max(found[0], 0)} whole weeks of entries before it and {max(found[1], 0)} from it "
            f"on whose windows of {rule.within} lie inside the data and on one side; expected {_LEAST} or more of "
            "each. Shorten within, or choose another day"
        )
    return tuple(min(have, weeks) if weeks else have for have in found)


def _moment(date):
    return (_day(date) - Day(1970, 1, 1)).days * _DAY


def _day(date):
    try:
        return Day.fromisoformat(str(date).removesuffix(" 00:00:00"))
    except ValueError:
        raise BadParameter(f"date {date!r} is no day; expected the first day of the change, as '2025-08-04'") from None
