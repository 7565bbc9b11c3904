"""Targets: are we where we should be by now, what is the gap made of, and what would close it.

A target is judged by what should have been reached by the last day of data: the
whole of it when its period is over, before that the part that is due so far.
"""

import math
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.engine import Table
from perfnb.errors import BadParameter, MissingColumns
from perfnb.kpi.catalogue import CATALOGUE, NOT_SUMMED
from perfnb.kpi.catalogue import kpi as known_kpi
from perfnb.kpi.explain import decompose
from perfnb.kpi.figures import daily
from perfnb.kpi.tree import DEFAULT, Tree, apply, measured
from perfnb.period import Period

_BASE = frozenset(column for one in CATALOGUE.values() for column in one.columns) - set(NOT_SUMMED)
_DIRECTIONS = ("higher", "lower", "band", "context")
_ROUNDING = 1e-9  # of the larger of two values: what is less is no difference
_OUTSIDE = 0.1  # share of the days so far that may lie before the data
_WEEKS = 8
_SHRINK = 20  # counts per weekday that a weekday index of 1 weighs
_NOISE = 7  # days from which a projection has an interval
_NONE = "(no objective)"
INCONSISTENCY = "target_inconsistency"

_TYPES = dict.fromkeys(("baseline", "target", "target_low", "target_high", "actual", "numerator", "denominator"), float)
_TYPES |= dict.fromkeys(("expected", "gap", "attainment", "progress", "pace", "needed_per_day"), float)
_TYPES |= dict.fromkeys(("projection", "projection_low", "projection_high"), float)
_TYPES |= dict.fromkeys(("days_elapsed", "days_left", "covered"), "Int64")
_TYPES |= dict.fromkeys(("since", "due"), "datetime64[us]")
_COLUMNS = ("objective", "kpi", "channel", "campaign", "owner", "since", "due", "direction", "baseline", "target")
_COLUMNS += ("target_low", "target_high", "actual", "numerator", "denominator", "expected", "gap", "attainment")
_COLUMNS += ("progress", "status", "flag", "days_elapsed", "days_left", "covered", "pacing", "pace")
_COLUMNS += ("needed_per_day", "projection", "projection_low", "projection_high", "action", "unit", "currency")


@dataclass(frozen=True)
class Target:
    """One SMART target: what KPI, which value, from when, until when, whose.

    `target` is a number, or (low, high) for a KPI that should stay in a band.
    `since` and `due` are its first and last day, as dates or "2025-08-31".
    `direction` (higher, lower, band, context) is the catalogue's where none is
    given. `baseline` is where the KPI stood when the target was set. `channel` and
    `campaign` narrow it to a part, `objective` is what it is a key result of.
    """

    kpi: str
    target: float | tuple
    since: date
    due: date
    direction: str | None = None
    owner: str | None = None
    baseline: float | None = None
    channel: str | None = None
    campaign: str | None = None
    objective: str | None = None

    def __post_init__(self):
        one = known_kpi(self.kpi)
        made = {"kpi": one.id}
        for name in ("since", "due"):
            made[name] = _day(getattr(self, name), f"target for {one.id}: {name}")
        where = f"target for {one.id} ({made['since']} to {made['due']})"
        if made["due"] < made["since"]:
            raise BadParameter(f"{where}: due before it begins. Swap the days, or mend one")
        if one.aggregation == "distinct":
            raise BadParameter(
                f"{where}: {one.id} counts distinct persons, and those of several days are not their sum: daily "
                "figures cannot measure it. Set the target for a KPI that adds up, as visits or impressions"
            )
        banded = isinstance(self.target, tuple | list)
        made["target"] = _limits(self.target, where) if banded else _number(self.target, f"{where}: the value")
        if self.baseline is not None:
            made["baseline"] = _number(self.baseline, f"{where}: baseline")
        made["direction"] = self.direction or ("band" if banded else one.direction)
        if made["direction"] not in _DIRECTIONS:
            raise BadParameter(f"{where}: direction {self.direction!r}; expected {', '.join(_DIRECTIONS)}")
        if banded != (made["direction"] == "band"):
            found = f"({made['target'][0]:g}, {made['target'][1]:g})" if banded else f"{made['target']:g}"
            raise BadParameter(
                f"{where}: direction {made['direction']} with the value {found}; a band needs two values, (low, high), "
                "and every other direction one. Give low and high, or another direction"
            )
        for name in ("owner", "channel", "campaign", "objective"):
            made[name] = getattr(self, name) or None
        for name, value in made.items():
            object.__setattr__(self, name, value)


def targets(table):
    """The workspace's table `targets` as a tuple of Targets, in its order; an absent table has none.

    A row says kpi, target (or low and high), and period ("2025-08") or since and
    due; and where it has them direction, owner, baseline, channel, campaign and
    objective. A row that is no SMART target is refused, naming it.
    """
    table.require("kpi")
    for pair in (("target", "low"), ("period", "due")):
        if not any(table.has(name) for name in pair):
            raise MissingColumns(
                f"{table.name} ({table.origin}): missing column {pair[0]} (or {pair[1]}); found "
                f"{', '.join(table.columns)}. A target needs a value and a period"
            )
    rows = table.rows().astype(object)
    return tuple(_read(row, table) for row in rows.where(rows.notna(), None).to_dict("records"))


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
    targets = _known(targets)
    if period is not None:
        targets = [one for one in targets if one.since <= period.last_day and one.due >= period.since]
    book = _book(figures, targets)
    today = None if today is None else _day(today, "today")
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


def gap(figures, targets, *, period, tree=DEFAULT, today=None):
    """Which drivers made the gap between the targets of a period ("2025-08") and what was reached.

    The tree with 0 = target and 1 = actual. While the period runs, the targets of
    sums count as far as they are due (by the root's weekdays); rates are held
    to their targets. A rate without a target takes the one that the targets of
    its numerator and denominator imply (flag "implied_target"). A node is split
    where all its children have targets and figures. What the root's own target
    is more or less than its drivers' targets yield is one row,
    "target_inconsistency" (before: the root's target, after: what they yield).

    Returns one row per node: path, kpi, depth, op ("" where it is not split, null at
    the leaves), level, unit, direction, target (of the whole period, where one was
    set), before (the target so far), after (actual), change, contribution (unit of
    the root), share (of the root's gap; null when that is nearly 0), root, method,
    flag (implied_target; or why it is not split: children_without_target,
    children_not_measurable, formula_differs), action, currency. The children of a
    node, that row included, add up to it.
    """
    book = _book(figures)
    today = None if today is None else _day(today, "today")
    period = period if isinstance(period, Period) else Period.parse(period, end=today or book.seen.until)
    stated = _stated(targets, period)
    window, reason = _window(book, period, today)
    if window is None:
        raise BadParameter(
            f"period {period}: no gap, for it has not begun or lies outside the data ({reason}), which hold {book.seen}"
        )
    reached = _sums(book.parts[(None, None)].iloc[window.first : window.last])
    aims, actuals, implied = _sides(tree, stated, _share(book, tree.root, period, window, reached), reached)
    for side, what in ((aims, "target"), (actuals, "figure")):
        if side[tree.root] is None or not np.isfinite(side[tree.root]):
            raise BadParameter(
                f"tree: no {what} for its root {tree.root} in {period}; targets there: {', '.join(stated)}. "
                "Set one, or take a tree whose root has both"
            )
    kept, why = _cut(tree, aims, actuals)
    table = _gaps(tree, kept, aims, actuals)
    made_of = {name for name, _, _ in kept}
    rows = []
    for name in table["kpi"]:
        one = CATALOGUE.get(tree.root if name == INCONSISTENCY else name)
        row = {"level": one.level if one else None, "unit": one.unit if one else "x"}
        row |= {"direction": one.direction if one and name != INCONSISTENCY else "context"}
        row |= {"target": stated[name].target if name in stated else np.nan}
        row |= {"flag": why.get(name) or ("implied_target" if name in implied - made_of else None)}
        rows.append(row | {"action": _action(one, book.action) if one else None})
    table = pd.concat([table, pd.DataFrame(rows)], axis=1).assign(root=tree.root, currency=book.currency)
    table["op"] = ["" if name in why else op for name, op in zip(table["kpi"], table["op"], strict=True)]
    table["change"] = table["after"] - table["before"]
    whole = table["contribution"].iloc[0]
    negligible = abs(whole) <= _ROUNDING * max(abs(aims[tree.root]), abs(actuals[tree.root]))
    table["share"] = np.nan if negligible else table["contribution"] / whole
    order = ["path", "kpi", "depth", "op", "level", "unit", "direction", "target", "before", "after", "change"]
    return table[[*order, "contribution", "share", "root", "method", "flag", "action", "currency"]]


def sensitivity(base, *, tree=DEFAULT):
    """What one per cent more of each driver would be worth, all else equal, in the period "after" of `kpi.base`.

    It is the slope of the tree at these figures, not a forecast: drivers seldom
    move alone, nor at no cost.

    Returns one row per leaf of the tree: kpi, level, unit, direction, value,
    numerator, denominator (rates), one_percent (of the value), worth (of that,
    in the unit of the root; null where a rate is undefined), root (the root's
    KPI), flag (no_base), action, currency; the most worth first.
    """
    tree = tree.measurable(base)
    after = base[base["period"] == "after"]
    sums = _sums(after[_base_columns(after)])
    measures = {name: _value(CATALOGUE[name], sums) for name, _, _ in tree.walk() if name in CATALOGUE}
    known = {name: measure[0] for name, measure in measures.items() if measure[0] is not None}
    values = tree.evaluate(dict.fromkeys(tree.leaves, np.nan) | known)
    slopes = dict.fromkeys(tree.leaves, 0.0)
    weights = {tree.root: 1.0}
    for name, path, _ in tree.walk():
        children = tree.children(name)
        if not children:
            slopes[name] += weights[path]
        for child, slope in zip(children, _slopes(tree.operator(name), [values[one] for one in children]), strict=True):
            weights[f"{path}/{child}"] = weights[path] * slope
    rows = []
    for name in tree.leaves:
        one, (_, top, bottom, flag) = CATALOGUE[name], measures[name]
        row = {"kpi": name, "level": one.level, "unit": one.unit, "direction": one.direction, "value": values[name]}
        row |= {"numerator": top, "denominator": bottom, "one_percent": values[name] / 100, "root": tree.root}
        row["worth"] = values[name] / 100 * slopes[name]
        row["flag"] = flag or ("no_base" if np.isnan(row["worth"]) else None)
        rows.append(row | {"action": _action(one, _first(after, "action")), "currency": _first(after, "currency")})
    order = [
        "kpi",
        "level",
        "unit",
        "direction",
        "value",
        "numerator",
        "denominator",
        "one_percent",
        "worth",
        "root",
        "flag",
    ]
    found = pd.DataFrame(rows, columns=[*order, "action", "currency"])
    found = found.astype(dict.fromkeys(("numerator", "denominator"), float))
    return found.sort_values("worth", key=np.abs, ascending=False, kind="stable", ignore_index=True)


def _slopes(operator, values):
    """What the node gains per unit of each child."""
    if operator == "*":
        return [math.prod(values[:place] + values[place + 1 :]) for place in range(len(values))]
    if operator == "/":
        top, bottom = values
        return [1 / bottom, -top / bottom**2] if bottom else [np.nan, np.nan]
    return [1.0 if operator == "+" or place == 0 else -1.0 for place in range(len(values))]


# What a target must be


def _day(value, what):
    if isinstance(value, str):
        try:
            return date.fromisoformat(value.strip())
        except ValueError:
            value = value or None
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    found = "none" if value is None else repr(value)
    raise BadParameter(f"{what} is {found}; expected a day, as '2025-08-31'")


def _number(value, what):
    if isinstance(value, bool) or not hasattr(value, "__float__") or not math.isfinite(value):
        found = "none" if value is None or value != value else repr(value)
        raise BadParameter(f"{what} is {found}; expected a number")
    return float(value)


def _limits(pair, where):
    if len(pair) != 2:
        raise BadParameter(f"{where}: {len(pair)} values; expected one, or (low, high)")
    low, high = (_number(value, f"{where}: {end}") for value, end in zip(pair, ("low", "high"), strict=True))
    if high < low:
        raise BadParameter(f"{where}: low {low:g} is above high {high:g}. Swap them")
    return low, high


def _read(row, table):
    """A Target from one row of the table."""
    where = f"{table.name} ({table.origin}), {row['kpi'] or 'a row without a KPI'} {row.get('period') or ''}".rstrip()
    made = {one.name: row.get(one.name) for one in fields(Target)}
    bounds = (row.get("low"), row.get("high"))
    try:
        if row.get("period") and not (made["since"] or made["due"]):
            period = Period.parse(row["period"])
            made |= {"since": period.since, "due": period.last_day}
        elif row.get("period"):
            raise BadParameter(f"period {row['period']} and since or due: give the one or the other")
        if bounds != (None, None):
            if made["target"] is not None:
                raise BadParameter(f"target {made['target']} and low or high: give the one or the other")
            made["target"] = bounds
        return Target(**made)
    except BadParameter as error:
        raise BadParameter(f"{where}: {error}") from None


def _known(targets):
    targets = (targets,) if isinstance(targets, Target) else tuple(targets)
    wrong = next((one for one in targets if not isinstance(one, Target)), None)
    if wrong is not None:
        raise BadParameter(
            f"targets: found {wrong!r}; expected kpi.Targets, as kpi.targets(workspace.targets) reads them"
        )
    return targets


# The figures by day


@dataclass(frozen=True)
class _Book:
    """The daily sums of each part that has a target, on every day from the first to the last of the data."""

    seen: Period
    parts: dict
    rows: np.ndarray  # whether any part has a row that day
    action: str | None
    currency: str | None


@dataclass(frozen=True)
class _Window:
    """The days of a period that are over and in the data: positions in the book, and how many days they make."""

    first: int
    last: int
    days: int
    flag: str | None


@dataclass(frozen=True)
class _Paced:
    """What share of a period's sum is due by now, how its days were weighed, and the noise of its sums."""

    share: float
    by: str
    spread: float  # variance of a sum per its mean, about the size of one order; NaN where it is not known
    days: int  # that the spread was seen on
    falls: bool  # whether the sum can fall (refunds)


def _book(figures, targets=()):
    keys = [name for name in ("channel", "campaign") if any(getattr(one, name) for one in targets)]
    frame = daily(figures, by=keys) if isinstance(figures, Table) else figures
    missing = [name for name in ("date", *keys) if name not in frame]
    if missing:
        raise BadParameter(
            f"figures: no column {missing[0]}, which targets need; found {', '.join(map(str, frame.columns))}. "
            f"Give a Table, or kpi.daily(figures, by={keys})"
        )
    if frame.empty:
        raise BadParameter("figures: no days with figures, so no target can be held against them")
    days = pd.to_datetime(frame["date"])
    calendar = pd.date_range(days.min(), days.max())
    held, parts = _base_columns(frame), {}
    for part in {(one.channel, one.campaign) for one in targets} | {(None, None)}:
        own = frame
        for name, value in zip(("channel", "campaign"), part, strict=True):
            own = own if value is None else own[own[name] == value]
        if len(own):
            parts[part] = own.groupby(days[own.index])[held].sum(min_count=1).reindex(calendar)
    seen = Period(calendar[0].date(), calendar[-1].date() + timedelta(days=1))
    return _Book(seen, parts, calendar.isin(days), _first(frame, "action"), _first(frame, "currency"))


def _first(frame, name):
    found = frame[name].dropna() if name in frame else ()
    return found.iloc[0] if len(found) else None


def _window(book, period, today):
    """The _Window of the period so far, or None and why there is none."""
    today = today or book.seen.until
    if period.since >= today:
        return None, "not_started"
    until = min(period.until, today, book.seen.until)
    days = (until - period.since).days
    before = (book.seen.since - period.since).days
    if days <= 0 or before > _OUTSIDE * days:
        return None, "outside_data"
    first, last = max(-before, 0), (until - book.seen.since).days
    covered = int(book.rows[first:last].sum())
    flag = "data_behind" if until < min(period.until, today) else "days_missing" if covered < days else None
    return _Window(first, last, days, flag), None


def _base_columns(frame):
    return [name for name in frame.columns if name in _BASE]


def _sums(frame):
    """{base column: sum}, without those that have no figure at all.

    But there is no revenue without orders, and no other visit where all rows have clicks.
    """
    sums = {name: value for name, value in frame.sum(min_count=1).items() if value == value}
    if sums.get("orders") == 0 and "revenue" in frame:
        sums.setdefault("revenue", 0.0)
    if {"visits", "clicks"} <= set(sums) and "other_visits" in frame:
        sums.setdefault("other_visits", 0.0)
    return sums


def _value(one, sums):
    """(value, numerator, denominator, flag) of a KPI; numerator and denominator of rates only."""
    if not measured(one.id, sums):
        return None, None, None, "not_measurable"
    top = float(one.top(sums))
    if not one.denominator:
        return top, None, None, None
    bottom = float(one.bottom(sums))
    if bottom:
        return top / bottom, top, bottom, None
    return None, top, bottom, "numerator_without_denominator" if top else "no_base"


def _action(one, action):
    """The action, for a KPI that is counted by it."""
    return action if "conversions" in one.columns else None


# Where one target stands


def _row(target, book, today, amber_band):
    one = CATALOGUE[target.kpi]
    period = Period(target.since, target.due + timedelta(days=1))
    part = (target.channel, target.campaign)
    banded = target.direction == "band"
    row = {field.name: getattr(target, field.name) for field in fields(Target)}
    row |= {"since": pd.Timestamp(target.since), "due": pd.Timestamp(target.due)}
    if banded:
        row |= {"target": None, "target_low": target.target[0], "target_high": target.target[1]}
    row |= {"status": "no_data", "unit": one.unit, "currency": book.currency, "action": _action(one, book.action)}
    window, reason = _window(book, period, today)
    elapsed = window.days if window else min(max(((today or book.seen.until) - period.since).days, 0), period.days)
    row |= {"flag": reason, "days_elapsed": elapsed, "days_left": period.days - elapsed}
    if window is None:
        return row
    row["covered"] = int(book.rows[window.first : window.last].sum())
    if part not in book.parts:
        return row | {"flag": "segment_not_found"}
    actual, top, bottom, reason = _value(one, _sums(book.parts[part].iloc[window.first : window.last]))
    row |= {"actual": actual, "numerator": top, "denominator": bottom, "flag": reason or window.flag}
    if actual is None:
        return row
    running, adds_up = window.days < period.days, one.aggregation == "additive"
    paced = _paced(book, one, part, period, window) if adds_up else None
    expected, gap = _expected(target, actual, paced.share if adds_up else window.days / period.days, adds_up)
    row |= {"expected": expected, "gap": gap, "status": _status(target, actual, expected, gap, amber_band)}
    row |= {"attainment": _attainment(target, actual), "progress": _progress(target, actual, adds_up)}
    if running:
        straight = "baseline" if target.baseline is not None and not banded else None
        row["pacing"] = paced.by if adds_up else straight
    if adds_up:
        row |= _projection(actual, paced)
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


def _paced(book, one, part, period, window):
    """The share of the period's sum that its days so far should bring, and how noisy its sums are."""
    start, sums = (period.since - book.seen.since).days, np.nan_to_num(one.top(book.parts[part]).to_numpy())
    so_far = sums[window.first : window.last]
    history = sums[start - 7 * _WEEKS : start] if start >= 7 * _WEEKS else sums[:0]
    known = history.sum() > 0
    index = _weekday_index(history, _SHRINK if one.unit in ("count", "persons") else 0) if known else np.ones(7)
    weights = np.resize(index, period.days)
    # Refunds may outweigh a weekday's sales, and a period may hold only days on which nothing is ever sold.
    if index.min() < 0 or not weights.sum():
        known, weights = False, np.ones(period.days)
    spread = _spread(history, index, 7) if history.sum() > 0 else _spread(so_far, np.ones(1), 1)
    share = weights[: window.days].sum() / weights.sum()
    falls = bool((history < 0).any() or (so_far < 0).any())
    return _Paced(
        share, "weekdays" if known else "equal_days", spread, len(history) if history.sum() > 0 else len(so_far), falls
    )


def _weekday_index(history, shrink):
    """What the first, second … weekday of whole weeks brings of a mean day; counts are shrunk to 1, amounts not."""
    sums = history.reshape(-1, 7).sum(axis=0)
    return (sums + shrink) / (sums.mean() + shrink)


def _spread(seen, index, fitted):
    """The variance of a day's sum per its mean (Wedderburn's dispersion, 1974); NaN where too little was seen."""
    mean = seen.mean()
    if len(seen) < _NOISE or mean <= 0:
        return np.nan
    return float(((seen - mean * np.resize(index, len(seen))) ** 2).sum() / (len(seen) - fitted) / mean)


def _projection(actual, paced):
    """The whole period's sum at the pace so far, with its interval.

    The variance of a sum grows with it, as that of counts does. In simulated shops
    (weekdays, drift, 0.5 to 500 orders a day) the interval held the end of the
    month in 90 to 96 of 100 cases, from the third day on.
    """
    if not paced.share:
        return {}
    projection = actual / paced.share
    # A part in which nothing has been sold yet is as uncertain as one with a single order.
    variance = paced.spread * max(actual, paced.spread) * (1 - paced.share) / paced.share**2
    low, high = (float(end) for end in intervals.mean(projection, variance * paced.days, paced.days))
    if not paced.falls:
        low = max(low, actual) if low == low else low
    return {"projection": projection, "projection_low": low, "projection_high": high}


# What the gap is made of


def _stated(targets, period):
    """{kpi: Target} of this period's targets with one value for the whole."""
    whole = [one for one in _known(targets) if one.channel is None and one.campaign is None and one.direction != "band"]
    found = {}
    for one in whole:
        if (one.since, one.due) == (period.since, period.last_day):
            if one.kpi in found:
                raise BadParameter(f"targets: two targets for {one.kpi} in {period}. Keep one")
            found[one.kpi] = one
    if not found:
        periods = ", ".join(dict.fromkeys(f"{one.since}..{one.due}" for one in whole)) or "none"
        raise BadParameter(f"period {period}: no target with one value for the whole; there are targets for {periods}")
    return found


def _share(book, root, period, window, reached):
    """The share of the period that is due: one for all sums, so that the plan stays what it is."""
    if root in CATALOGUE and CATALOGUE[root].aggregation == "additive" and measured(root, reached):
        return _paced(book, CATALOGUE[root], (None, None), period, window).share
    return window.days / period.days


def _sides(tree, stated, share, reached):
    """{node: target so far}, {node: actual} (None: there is none), and the nodes whose target others imply."""
    due = {name: one.target for name, one in stated.items()}
    due |= {name: value * share for name, value in due.items() if CATALOGUE[name].aggregation == "additive"}
    planned = {CATALOGUE[name].numerator: value for name, value in due.items() if not CATALOGUE[name].denominator}
    aims, actuals, implied = {}, {}, set()
    for name in reversed([name for name, _, _ in tree.walk()]):  # children before their parents
        one, children = CATALOGUE.get(name), tree.children(name)
        aims[name], actuals[name] = (
            apply(tree.operator(name), [side[child] for child in children])
            if children and all(side[child] is not None for child in children)
            else None
            for side in (aims, actuals)
        )
        if name in due:
            aims[name] = due[name]
        elif one and measured(name, planned):
            aims[name] = _value(one, planned)[0]
            implied.add(name)
        if one and measured(name, reached):
            actuals[name] = _value(one, reached)[0]
            if actuals[name] is None and name != tree.root:
                # A driver with nothing to divide by says nothing of the gap: it counts as if it had met its target.
                actuals[name] = aims[name]
    return aims, actuals, implied


def _cut(tree, aims, actuals):
    """The formulas that can be split, from the root down, and {node: why it is not}."""
    kept, flags, reached = [], {}, [tree.root]
    for name in reached:
        children = tree.children(name)
        if not children:
            continue
        aimed, had = ([side[child] for child in children] for side in (aims, actuals))
        if None in aimed or not np.isfinite(apply(tree.operator(name), aimed)):
            flags[name] = "children_without_target"
        elif None in had:
            flags[name] = "children_not_measurable"
        elif not abs(apply(tree.operator(name), had) - actuals[name]) <= _ROUNDING * max(1.0, abs(actuals[name])):
            flags[name] = "formula_differs"
        else:
            kept.append((name, tree.operator(name), children))
            reached += [child for child in children if child not in reached]
    return tuple(kept), flags


def _gaps(tree, kept, aims, actuals):
    """The node table: what the leaves contribute, and what their targets do not yield of the root's."""
    root = tree.root
    if not kept:
        lone = {"path": root, "kpi": root, "depth": 0, "op": None, "before": aims[root], "after": actuals[root]}
        return pd.DataFrame([lone]).assign(contribution=actuals[root] - aims[root], method=None)
    cut = Tree(kept)
    table = decompose(cut, *({name: side[name] for name in cut.leaves} for side in (aims, actuals)))
    yielded = table["before"].iloc[0]
    table.loc[0, ["before", "contribution"]] = aims[root], actuals[root] - aims[root]
    if abs(yielded - aims[root]) > _ROUNDING * max(abs(yielded), abs(aims[root])):
        row = {"path": f"{root}/{INCONSISTENCY}", "kpi": INCONSISTENCY, "depth": 1, "before": aims[root]}
        row |= {"after": yielded, "contribution": yielded - aims[root], "method": table["method"].iloc[0]}
        table = pd.concat([table, pd.DataFrame([row])], ignore_index=True)
    return table
