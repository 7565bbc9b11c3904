"""Which KPIs of which segments were unusual on a day: weekday-adjusted control charts, ranked by money.

Each day is held against the 56 days before it, so no day has a part in its own
limits. An alarm says that a figure left its usual range, not why it did.
"""

import math
from datetime import timedelta

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import CATALOGUE, kpi
from perfnb.kpi.control import LIMIT, PAST, band, judge, outage_days
from perfnb.kpi.series import cube, series
from perfnb.kpi.tree import DEFAULT, as_tree, keys
from perfnb.period import Period

__all__ = ["WATCHED", "alerts", "chart"]

WATCHED = ("orders", "cvr_visit", "visits", "clicks", "ctr")

_BORROWED = 28  # days before, whose rate stands in where a day has none
_PATIENCE = 28  # days within which weekly sums should show an outage

_tail = np.frompyfunc(lambda z: math.erfc(abs(z) / math.sqrt(2)), 1, 1)


def alerts(figures, *, kpis=None, by=("channel",), day=None, tree=DEFAULT, action="orders"):
    """Every series (KPI × segment) of a day against its own past: alarms first, the dearest on top.

    `figures` is the Table of campaigns or a result of `kpi.daily` (all its days).
    `kpis` are counts (orders), ratios of counts (cvr_visit) or costs per count
    (cpo, charted as orders per cost); by default those of `WATCHED` that the data
    have. `day` is a day, or a period whose days are judged one by one; by default
    the last day of the data. Inside the data, a segment without a row counts 0
    that day; a day without any row is unknown. What had nothing to count on the
    day and in the 56 days before is no series. `action` is what a Table's
    conversions are.

    Returns one row per series and day: date, (by), kpi, x (the count), n (what it
    is counted in; null for counts), value, expected, low and high (the usual range
    of the value), z (distance from the expected in standard deviations), p, q (p
    held against all series of the day: Benjamini & Hochberg 1995), status (high
    and low: |z| > 3; drift: eight days on one side; ok; too_few: not even an
    outage would show; too_short: no eight weeks of past; no_data),
    detectable_drop (0-1: the smallest fall of x that would show), outage_days
    (after which their sum would show an outage), impact (unit of the root: what
    the root of all segments is above what it were with x as expected), root,
    advice (too_few: sum_weeks or look_wider; an alarm without any row:
    check_rows), flag (why impact is null: not_in_tree, root_unknown,
    formula_differs), action
    (where the KPI counts it), currency.
    """
    by = tuple(keys(by))
    tree = as_tree(tree)
    usual = WATCHED if action == "orders" else ("conversions", *WATCHED)
    watched = [series(name) for name in _names(usual if kpis is None else kpis)]
    nodes = [kpi(name) for name, _, _ in tree.walk() if name in CATALOGUE]
    sums = cube(figures, by=by, kpis=[*(one.kpi for one in watched), *nodes], action=action)
    watched = _measurable(watched, sums, all_of_them=kpis is not None)
    places = sums.places(day)
    parts, shop = [], _shop(sums, places)
    for one in watched:
        found = _judged(sums, one, places)
        impact, reason = _impact(tree, one, shop, found.pop("excess"))
        flag = np.where(np.isfinite(found["z"]) & np.isnan(impact), reason, None)
        found |= {"impact": impact, "flag": flag}
        parts.append(sums.table(places, found)[_lives(sums, one, places).ravel()])
    table = pd.concat(parts, ignore_index=True).assign(root=tree.root)
    table["q"] = table.groupby("date")["p"].transform(intervals.adjusted)
    rank = table["status"].map({"high": 0, "low": 0, "drift": 1}).fillna(2)
    table = table.assign(rank=rank, size=table["impact"].abs(), far=table["z"].abs()).sort_values(
        ["rank", "size", "far", "date", *by, "kpi"], ascending=[True, False, False, *[True] * (len(by) + 2)]
    )
    order = ["kpi", "x", "n", "value", "expected", "low", "high", "z", "p", "q", "status", "detectable_drop"]
    order += ["outage_days", "impact", "root", "advice", "flag", "action", "currency"]
    return table[["date", *by, *order]].reset_index(drop=True)


def chart(figures, *, kpi, segment=None, period=None, action="orders"):
    """One series of `alerts` day by day, for its control chart: each day's limits come from the 56 days before it.

    `segment` is {column: value}, as {"channel": "Email"}; without it the whole
    shop. `period` is a Period or a text; by default the last 56 days of the data.

    Returns one row per day: date, (the segment's columns), kpi, x, n, value,
    expected, low, high, z, status, detectable_drop, action, currency, as in `alerts`.
    """
    segment = segment or {}
    one = series(kpi)
    sums = cube(figures, by=tuple(segment), kpis=[one.kpi], action=action).only(segment)
    _measurable([one], sums)
    if period is None:
        period = Period(max(sums.since, sums.until - timedelta(days=PAST)), sums.until)
    places = sums.places(period)
    table = sums.table(places, _judged(sums, one, places))
    order = ["kpi", "x", "n", "value", "expected", "low", "high", "z", "status", "detectable_drop"]
    return table[["date", *segment, *order, "action", "currency"]]


def _names(kpis):
    names = [kpis] if isinstance(kpis, str) else kpis
    return list(dict.fromkeys(kpi(name).id for name in names))


def _measurable(watched, sums, all_of_them=True):
    """Those that the data have figures for; BadParameter where one lacks that was asked for, or all do."""
    known = {name for name, values in sums.sums.items() if np.isfinite(values).any()}
    lacking = {one.kpi.id: [name for name in one.kpi.columns if name not in known] for one in watched}
    found = [one for one in watched if not lacking[one.kpi.id]]
    if not found or (all_of_them and len(found) < len(watched)):
        names = {name: columns for name, columns in lacking.items() if columns}
        raise BadParameter(
            f"KPI {', '.join(names)}: not measurable with these data, which have no figures of "
            f"{', '.join(dict.fromkeys(column for columns in names.values() for column in columns))}. "
            "Name others (kpis=[…]), or load these figures"
        )
    return found


def _judged(sums, one, places):
    """The chart of one KPI on the days `places`: {column: segments × days}; `excess` is x above the expected."""
    sides = one.x(sums.sums), one.n(sums.sums)
    # Below 0 nothing can be counted: such a figure is a correction of other days.
    x, n = (None if side is None else np.where(side >= 0, side, np.nan) for side in sides)
    expected, alpha, z, drift = judge(x, n, places)
    x, n = x[:, places], None if n is None else n[:, places]
    low, high = band(expected, alpha)
    days = outage_days(expected, alpha)
    excess, drop = x - expected, np.where(low > 0, 1 - low / expected, np.nan)
    value, expected, low, high = (one.value(part, n) for part in (x, expected, low, high))
    if one.upside_down:
        low, high, z = high, low, 0.0 - z
    status = np.select(
        [np.isnan(x) | (n is not None and ~(n > 0)), np.isnan(z), z > LIMIT, z < -LIMIT, days > 1, drift],
        ["no_data", "too_short", "high", "low", "too_few", "drift"],
        "ok",
    )
    thin, unseen = status == "too_few", np.isin(status, ("high", "low")) & ~sums.rows[:, places]
    advice = np.select([thin & (days <= _PATIENCE), thin, unseen], ["sum_weeks", "look_wider", "check_rows"], "")
    return {
        "kpi": np.full(x.shape, one.kpi.id, object),
        "x": x,
        "n": np.full(x.shape, np.nan) if n is None else n,
        "value": value,
        "expected": expected,
        "low": low,
        "high": high,
        "z": z,
        "p": _tail(z).astype(float),
        "status": status.astype(object),
        "detectable_drop": drop,
        "outage_days": days,
        "advice": np.where(advice == "", None, advice.astype(object)),
        "excess": excess,
        "action": np.full(x.shape, sums.action if "conversions" in one.kpi.columns else None, object),
    }


def _lives(sums, one, places):
    """Whether the segment has rows, and the KPI something to count in, on the day or in the 56 days before."""
    n = one.n(sums.sums)
    counted = np.isfinite(one.x(sums.sums)) if n is None else n > 0

    def lately(there):
        return np.stack([there[:, max(t - PAST, 0) : t + 1].any(1) for t in places], axis=1)

    return lately(sums.rows) & lately(counted)


def _shop(sums, places):
    """The sums of all segments: of each day, and of the days before from which a rate is borrowed."""
    day, before = {}, {}
    for name, values in sums.sums.items():
        known = np.isfinite(values)
        total = np.where(known, values, 0.0).sum(0)
        grown = np.concatenate([[0.0], np.cumsum(total)])
        day[name] = np.where(known.any(0), total, np.nan)[places]
        before[name] = grown[places] - grown[np.maximum(places - _BORROWED, 0)]
    return day, before


def _impact(tree, one, shop, excess):
    """What each day's root is above what it were with this x as expected, and why that may be unknown."""
    paths = [path.split("/") for name, path, _ in tree.walk() if name == one.kpi.id]
    if not paths:
        return np.full(excess.shape, np.nan), "not_in_tree"
    day, before = shop
    above = {name for path in paths for name in path[:-1]}
    given = {}
    for name in {name for name, _, _ in tree.walk()} - above:
        if name in CATALOGUE and kpi(name).columns and set(kpi(name).columns) <= set(day):
            given[name] = _value(kpi(name), day, before)
        elif not tree.children(name):
            given[name] = np.full(excess.shape[1], np.nan)
    for _, operator, children in tree.formulas:
        if operator == "+":  # a part without figures adds nothing
            given |= {name: np.nan_to_num(given[name]) for name in children if name in given}
    usual = one.value(one.x(day) - excess, one.n(day))
    root = [tree.evaluate(given | changed)[tree.root] for changed in ({}, {one.kpi.id: usual})]
    effect = root[0] - root[1]
    if tree.root in CATALOGUE and set(kpi(tree.root).columns) <= set(day):
        own = _value(kpi(tree.root), day, before)
        differs = np.abs(root[0] - own) > 1e-6 * np.maximum(np.abs(own), 1)
        if differs.any():  # the formula does not make the root: what it says of a change is not the root's
            return np.where(differs, np.nan, effect), "formula_differs"
    return effect, "root_unknown"


def _value(one, day, before):
    """A KPI of the whole shop on each day; a rate with nothing to divide by is that of the days before."""
    if not one.denominator:
        return one.top(day)
    found = _divided(one.top(day), one.bottom(day))
    return np.where(one.bottom(day) == 0, _divided(one.top(before), one.bottom(before)), found)


def _divided(top, bottom):
    top, bottom = np.broadcast_arrays(top, bottom)
    return np.divide(top, bottom, out=np.full(top.shape, np.nan), where=bottom > 0)
