"""Where every target stands, and objectives with their key results.

A target is judged by what should have been reached by the last day of data: the
whole of it when its period is over, before that the part that is due so far.
"""

from dataclasses import fields
from datetime import timedelta

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import CATALOGUE
from perfnb.kpi.pace import action_of, open_book, paced_over, projected, sums_of, value_of, window_of
from perfnb.kpi.targets import Target, as_day, checked
from perfnb.period import Period

_ROUNDING = 1e-9  # of the larger of two values: what is less is no difference
_NONE = "(no objective)"
_TYPES = dict.fromkeys(("baseline", "target", "target_low", "target_high", "actual", "numerator", "denominator"), float)
_TYPES |= dict.fromkeys(("expected", "gap", "attainment", "progress", "pace", "needed_per_day"), float)
_TYPES |= dict.fromkeys(("projection", "projection_low", "projection_high"), float)
_TYPES |= dict.fromkeys(("days_elapsed", "days_left", "covered"), "Int64")
_TYPES |= dict.fromkeys(("since", "due"), "datetime64[us]")
_COLUMNS = ("objective", "kpi", "channel", "campaign", "owner", "since", "due", "direction", "baseline", "target")
_COLUMNS += ("target_low", "target_high", "actual", "numerator", "denominator", "expected", "gap", "attainment")
_COLUMNS += ("progress", "status", "flag", "days_elapsed", "days_left", "covered", "pacing", "pace")
_COLUMNS += ("needed_per_day", "projection", "projection_low", "projection_high", "action", "unit", "currency")


def track(figures, targets, *, period=None, today=None, amber_band=0.05):
    """Where every target stands: status, and while its period runs, pace and projection.

    `figures` is a campaigns Table or a result of `kpi.daily` (split by channel and
    campaign where targets are). With `period` (a Period) only the targets that have
    days in it. `today` looks from the morning of an earlier day
    ("2025-08-15"); by default it is the day after the last of the data, and later
    days are as that one: of what is not in the data nothing is known.

    `expected` is what should be there by now. A sum earns its target by its
    weekdays, as in the 8 whole weeks before the period (pacing "weekdays"; without
    them day by day, "equal_days"); a rate goes from its baseline to the target in
    a line ("baseline"), without one it is held to the target itself. When the
    period is over, it is the target. The status follows from the gap to it:
    green (0 or better), amber (worse by at most `amber_band` of it), red; a KPI
    without a direction gets "context". Attainment is for display.

    Returns one row per target, in their order: objective, kpi, channel, campaign,
    owner, since, due (last day), direction, baseline, target or target_low and
    target_high, actual (so far), numerator, denominator (of rates), expected (so
    far; of a band its nearer end), gap (how much better than expected; of context
    actual - expected), attainment (of the target; null where that is 0 or less),
    progress (share of the way from the baseline), status (green, amber, red,
    context, no_data), flag (why there is no data: not_started, outside_data,
    segment_not_found, not_measurable, no_base, numerator_without_denominator; or
    days_missing, data_behind: no data of the last days), days_elapsed, days_left,
    covered (days so far with rows), pacing, and of sums pace (actual /
    expected), needed_per_day (what each day left must bring, or may cost, to meet
    the target), projection (at this pace) with projection_low and projection_high
    (95 %), action (what a conversion is), unit, currency. Rates are the sums of all
    rows by each other, as in the tree.
    """
    if not 0 <= amber_band < 1:
        raise BadParameter(f"amber_band {amber_band}: expected a share of the target, as 0.05")
    targets = checked(targets)
    if period is not None:
        targets = [one for one in targets if one.since <= period.last_day and one.due >= period.since]
    book = open_book(figures, targets)
    today = None if today is None else as_day(today, "today")
    return pd.DataFrame([_row(one, book, today, amber_band) for one in targets], columns=_COLUMNS).astype(_TYPES)


def okr(track):
    """The result of `kpi.track` by objective.

    Progress is the mean over key results, each counted from 0 to 1, so that one
    that is far beyond its target does not hide another that is far from it. The
    status is the worst of them; targets without an objective stand under
    "(no objective)".

    Returns one row per objective: objective, owner (where all have the same), since,
    due (of the last), key_results, measured (those with a progress), progress,
    green, amber, red, context, no_data (key results), status.
    """
    rows = []
    for objective, group in track.groupby(track["objective"].fillna(_NONE), sort=False):
        progress, owners = group["progress"].dropna().clip(0, 1), group["owner"].unique()
        counts = {name: int(group["status"].eq(name).sum()) for name in ("red", "amber", "green", "context", "no_data")}
        rows.append(
            {
                "objective": objective,
                "owner": owners[0] if len(owners) == 1 else None,
                "since": group["since"].min(),
                "due": group["due"].max(),
                "key_results": len(group),
                "measured": len(progress),
                "progress": progress.mean() if len(progress) else np.nan,
                **counts,
                "status": next(name for name, count in counts.items() if count),
            }
        )
    columns = ["objective", "owner", "since", "due", "key_results", "measured", "progress"]
    return pd.DataFrame(rows, columns=[*columns, "green", "amber", "red", "context", "no_data", "status"])


def _row(target, book, today, amber_band):
    one = CATALOGUE[target.kpi]
    period = Period(target.since, target.due + timedelta(days=1))
    part = (target.channel, target.campaign)
    banded = target.direction == "band"
    row = {field.name: getattr(target, field.name) for field in fields(Target)}
    row |= {"since": pd.Timestamp(target.since), "due": pd.Timestamp(target.due)}
    if banded:
        row |= {"target": None, "target_low": target.target[0], "target_high": target.target[1]}
    row |= {"status": "no_data", "unit": one.unit, "currency": book.currency, "action": action_of(one, book.action)}
    window, reason = window_of(book, period, today)
    elapsed = window.days if window else min(max(((today or book.seen.until) - period.since).days, 0), period.days)
    row |= {"flag": reason, "days_elapsed": elapsed, "days_left": period.days - elapsed}
    if window is None:
        return row
    row["covered"] = int(book.rows[window.first : window.last].sum())
    if part not in book.parts:
        return row | {"flag": "segment_not_found"}
    actual, top, bottom, reason = value_of(one, sums_of(book.parts[part].iloc[window.first : window.last]))
    row |= {"actual": actual, "numerator": top, "denominator": bottom, "flag": reason or window.flag}
    if actual is None:
        return row
    running, adds_up = window.days < period.days, one.aggregation == "additive"
    paced = paced_over(book, one, part, period, window) if adds_up else None
    expected, gap = _expected(target, actual, paced.share if adds_up else window.days / period.days, adds_up)
    row |= {"expected": expected, "gap": gap, "status": _status(target, actual, expected, gap, amber_band)}
    row |= {"attainment": _attainment(target, actual), "progress": _progress(target, actual, adds_up)}
    if running:
        straight = "baseline" if target.baseline is not None and not banded else None
        row["pacing"] = paced.by if adds_up else straight
    if adds_up:
        row |= projected(actual, paced)
    if adds_up and not banded:
        row["pace"] = actual / expected if expected else None
        row["needed_per_day"] = (target.target - actual) / row["days_left"] if running else None
    return row


def _expected(target, actual, share, adds_up):
    """What should be there by now (of a band the end that is nearer to being crossed), and how much better it is."""
    if target.direction == "band":
        low, high = (bound * share if adds_up else bound for bound in target.target)
        return (low, actual - low) if actual - low <= high - actual else (high, high - actual)
    expected = target.target
    if adds_up:
        expected *= share
    elif target.baseline is not None:
        expected = target.baseline + (target.target - target.baseline) * share
    return expected, expected - actual if target.direction == "lower" else actual - expected


def _status(target, actual, expected, gap, amber_band):
    if target.direction == "context":
        return "context"
    slack = _ROUNDING * max(abs(actual), abs(expected))
    if gap >= -slack:
        return "green"
    return "amber" if expected and -gap <= amber_band * abs(expected) + slack else "red"


def _attainment(target, actual):
    if target.direction == "band" or target.target <= 0 or (target.direction == "lower" and actual <= 0):
        return None
    return target.target / actual if target.direction == "lower" else actual / target.target


def _progress(target, actual, adds_up):
    """The share of the way from the baseline to the target; a sum that should grow begins at 0."""
    baseline = 0.0 if target.baseline is None and adds_up and target.direction == "higher" else target.baseline
    if baseline is None or target.direction == "band" or target.target == baseline:
        return None
    return (actual - baseline) / (target.target - baseline)
