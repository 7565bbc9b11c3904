"""Did a change work? A segment before and after it against a control, with the error that quiet days show.

The comparison that is made for the change is made at every day of the history as
well, where nothing was changed: how far it strays there is the error of the one
that counts. No model of the market is fitted; what moves both sides alike cancels.
"""

import difflib
import numbers
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter
from perfnb.intervals import t as student
from perfnb.kpi.catalogue import CATALOGUE, Kpi
from perfnb.kpi.catalogue import kpi as catalogued
from perfnb.kpi.figures import daily
from perfnb.period import duration

_LEAST, _ADVISED = 4, 6  # windows of history: with fewer it is refused, or flagged
_ROUNDING = 1e-9  # on the log scale: less did not move
_DAY = timedelta(days=1)


def before_after(figures, *, kpi, day, window="14 days", segment=None, control=None, history=None, action="orders"):
    """The effect of a change on a KPI: the window from `day` on against the one before, less what the control did.

    With S the KPI of a window (of ratios: the ratio of its sums) and C the
    control's, the effect is exp(k) - 1, k = ln(S after / S before) - ln(C after /
    C before). Its error is the root mean square of k at all days whose windows lie
    before the change (placebos in time: Abadie, Diamond and Hainmueller 2015), its
    interval Student's t with a degree of freedom per window of placebo days.

    `figures` is a Table of campaigns, or a result of `kpi.daily` split by what
    `segment` and `control` name. `segment` is what was changed, as {"channel":
    "Paid Search"} (values may be lists; None: the whole); `control` is what the
    change cannot reach: name it before you look. `window` is whole weeks, `history`
    ("26 weeks") the days before the change that count; None: all.

    A segment without a row on a day for which others have rows counts as 0 there.
    Days without any row, and nulls, are unknown: refused inside the two windows;
    placebos that would need them are left out.

    Returns one row: kpi, unit, direction, segment, control, window (days),
    before_since, before_last_day, since, last_day (of the windows), before and
    after (of the segment), control_before, control_after, numerator and
    denominator of each (ratios), effect (share), low, high (95 %), half_width (of
    the interval), usual_low and usual_high (effects between them are not separable
    from the usual variation), expected (after, had it moved as the control did),
    extra (after - expected), extra_low, extra_high, history (days), placebos
    (days), df, empty_days (of the two windows, without a row of a segment), status
    (separable_up, separable_down, not_separable, no_result), flag (reasons for
    caution: no_control, short_history, empty_days, missing_days, empty_window),
    action (what conversions count), currency.
    """
    study = _study(figures, kpi, day, window, segment, control, history, action)
    one, w, since = study.kpi, study.window, study.day
    k, half, count, df = verdict(study.moves, w)
    if study.empty_window:
        k, half, count, df, status = np.nan, np.nan, 0, 0, "no_result"
    elif abs(k) <= max(half, _ROUNDING):
        status = "not_separable"
    else:
        status = "separable_up" if k > 0 else "separable_down"
    ends = {"": study.segment, "control_": study.control}
    row = {
        "kpi": one.id,
        "unit": one.unit,
        "direction": one.direction,
        "segment": _spelled(segment),
        "control": _spelled(control),
        "window": w,
        "before_since": pd.Timestamp(since - w * _DAY),
        "before_last_day": pd.Timestamp(since - _DAY),
        "since": pd.Timestamp(since),
        "last_day": pd.Timestamp(since + (w - 1) * _DAY),
        **{name: value for prefix, sums in ends.items() for name, value in _ends(one, sums, w, prefix).items()},
        "effect": np.expm1(k),
        "low": np.expm1(k - half),
        "high": np.expm1(k + half),
        "half_width": np.exp(k) * np.sinh(half),
        "usual_low": np.expm1(-half),
        "usual_high": np.expm1(half),
    }
    # What would have been is after / exp(k); the interval of k carries over, high to high.
    row |= {
        "expected": row["after"] * np.exp(-k),
        "extra": row["after"] * -np.expm1(-k),
        "extra_low": row["after"] * -np.expm1(half - k),
        "extra_high": row["after"] * -np.expm1(-half - k),
        "history": study.history,
        "placebos": count,
        "df": df,
        "empty_days": study.empty_days,
        "status": status,
        "flag": _flag(study),
        "action": study.action,
        "currency": study.currency,
    }
    return pd.DataFrame([row])


def placebos(figures, *, kpi, day, window="14 days", segment=None, control=None, history=None, action="orders"):
    """The effects that `kpi.before_after` would have found on the days before, when nothing was changed.

    Returns one row per day of comparison, the change itself last: kpi, segment,
    control, date (first day of the window after), kind ("placebo", "measured"),
    effect (share; null where flag says why: missing_days, empty_window),
    usual_low and usual_high (as in `kpi.before_after`), flag.
    """
    study = _study(figures, kpi, day, window, segment, control, history, action)
    w = study.window
    half = np.nan if study.empty_window else verdict(study.moves, w)[1]
    used = [*range(len(study.moves) - w), len(study.moves) - 1]
    first = study.day - (study.history - w) * _DAY
    moves = study.moves[used]
    why = np.where(study.unknown[used], "missing_days", "empty_window")
    return pd.DataFrame(
        {
            "kpi": study.kpi.id,
            "segment": _spelled(segment),
            "control": _spelled(control),
            "date": pd.to_datetime([first + place * _DAY for place in used]),
            "kind": ["placebo"] * (len(used) - 1) + ["measured"],
            "effect": np.expm1(moves),
            "usual_low": np.expm1(-half),
            "usual_high": np.expm1(half),
            "flag": np.where(np.isnan(moves), why, None),
        }
    )


def window_sums(days, window):
    """Sums over every run of `window` days, along the last axis; the first is that of the first days."""
    return np.lib.stride_tricks.sliding_window_view(days, window, axis=-1).sum(axis=-1)


def log_changes(treated, control, window):
    """k of each window that has one before it, from the KPI of every window; NaN where one has nothing to compare."""

    def change(values):
        logs = np.log(np.where(values > 0, values, np.nan))
        return logs[..., window:] - logs[..., :-window]

    return change(treated) - (0.0 if control is None else change(control))


def verdict(moves, window):
    """The last k, the half width of its interval, how many placebos that rests on, and its degrees of freedom.

    Placebos are those k whose windows end before the last window begins.
    """
    quiet = moves[..., :-window]
    count = np.isfinite(quiet).sum(axis=-1)
    error = np.sqrt(np.nansum(quiet**2, axis=-1) / np.maximum(count, 1))
    df = np.maximum(2, count // window)
    return moves[..., -1], np.vectorize(student, otypes=[float])(df) * error, count, df


@dataclass(frozen=True)
class _Study:
    """What is compared: each window by its first day, from the beginning of the history to the change."""

    kpi: Kpi
    day: date
    window: int
    history: int
    segment: dict  # {base column: sum of every window}
    control: dict | None
    moves: np.ndarray  # k of every window that has one before it
    unknown: np.ndarray  # which of them lack a day
    empty_window: bool
    empty_days: int
    action: str | None
    currency: str | None


def _study(figures, kpi, day, window, segment, control, history, action):
    one, day, w = _summable(kpi), _date(day), _weeks(window)
    keys = list(dict.fromkeys([*_named(segment, "segment"), *_named(control, "control")]))
    table = _table(figures, one, keys, action)
    sides = _sides(table, segment, control)
    ends = table["date"].max().date()
    if day + w * _DAY > ends + _DAY:
        raise BadParameter(
            f"day {day}, window {w} days: the window lasts until {day + (w - 1) * _DAY}, the data until {ends}. "
            "Wait until it is over, or take fewer whole weeks"
        )
    days = pd.date_range(table["date"].min(), ends)
    sides = {name: _by_day(rows, one, days, table["date"], name) for name, rows in sides.items()}
    since = max(side.first for side in sides.values())
    if history is not None:
        since = max(since, pd.Timestamp(day - timedelta(days=_days(history))))
    length = (pd.Timestamp(day) - since).days
    if length < _LEAST * w:
        raise BadParameter(
            f"day {day}, window {w} days: {max(length, 0)} days of history (from the first day with figures of "
            f"segment and control); expected at least {_LEAST * w}, better {_ADVISED * w}, to see how much they vary "
            "when nothing is changed. Take fewer whole weeks, or a segment and control with a longer history"
        )
    last = pd.Timestamp(day + (w - 1) * _DAY)
    inside = pd.date_range(day - w * _DAY, last)
    _refuse_unknown(sides, inside)
    sums = {
        name: {column: window_sums(side.totals.loc[since:last, column].to_numpy(), w) for column in side.totals}
        for name, side in sides.items()
    }
    values = {name: _values(one, found) for name, found in sums.items()}
    moves = log_changes(values["segment"], values.get("control"), w)
    unknown = np.any([np.isnan(found[w:] + found[:-w]) for found in values.values()], axis=0)
    quiet = (~unknown[:-w]).sum()
    if quiet < (_LEAST - 2) * w + 1:
        raise BadParameter(
            f"day {day}, window {w} days: missing days leave {quiet} days of the history to compare with; expected at "
            f"least {(_LEAST - 2) * w + 1}. Export the missing days, or take fewer whole weeks"
        )
    nothing = np.isnan(moves) & ~unknown
    return _Study(
        kpi=one,
        day=day,
        window=w,
        history=length,
        segment=sums["segment"],
        control=sums.get("control"),
        moves=moves,
        unknown=unknown,
        empty_window=bool(nothing[:-w].any() or nothing[-1]),
        empty_days=int(np.any([_gaps(side.here.loc[since:last], inside) for side in sides.values()], axis=0).sum()),
        action=action if "conversions" in one.columns else None,
        currency=_currency(table, one),
    )


def _sides(table, segment, control):
    """The rows of the segment and of the control."""
    sides = {"segment": _chosen(table, segment, "segment")}
    if control is None:
        return sides
    sides["control"] = _chosen(table, control, "control")
    both = len(sides["segment"].index.intersection(sides["control"].index))
    if both:
        changed = f"the segment {_spelled(segment)}" if segment else "the whole, as no segment is named,"
        raise BadParameter(
            f"control: {both} of its {len(sides['control'])} rows belong to {changed} as well, so the change reaches "
            "them. Expected a control that shares nothing with what was changed"
        )
    return sides


def _summable(name):
    one = catalogued(name)
    # A ratio may hold what is distinct or a level: impressions per person reached.
    whole = [CATALOGUE[part].aggregation for part in (one.id, *one.columns) if part in CATALOGUE]
    kind = next((kind for kind in whole if kind not in ("additive", "ratio", "duration")), None)
    if kind or not one.numerator:
        raise BadParameter(
            f"KPI {one.id} is {kind or one.aggregation}, or made of such: its value in a window is no sum over days. "
            "Take a KPI that adds up, or a ratio of such (visits, orders, revenue, cvr_visit …)"
        )
    return one


def _date(day):
    try:
        return date.fromisoformat(str(day).removesuffix(" 00:00:00"))
    except ValueError:
        raise BadParameter(f"day {day!r} is no day; expected the first day of the change, as '2025-08-04'") from None


def _days(span):
    return span if isinstance(span, numbers.Integral) else duration(span) / _DAY


def _weeks(window):
    days = _days(window)
    if days < 7 or days % 7:
        raise BadParameter(f"window {window!r}: expected whole weeks, as '14 days' or 28, for weekdays differ")
    return int(days)


def _named(where, parameter):
    if where is not None and not isinstance(where, dict):
        raise BadParameter(f"{parameter} {where!r}: expected columns and values, as {{'channel': 'Paid Search'}}")
    return where or {}


def _table(figures, one, keys, action):
    """The rows with a date: date, place (number of the segment), (keys), the base columns of the KPI, currency."""
    frame = figures if isinstance(figures, pd.DataFrame) else daily(figures, by=keys, action=action)
    missing = [name for name in ("date", *keys, *one.columns) if name not in frame]
    if missing:
        raise BadParameter(
            f"figures: no column {', '.join(missing)}; found {', '.join(map(str, frame.columns))}. KPI {one.id} needs "
            f"{', '.join(one.columns)}; segment and control need kpi.daily(campaigns, by={keys!r})"
        )
    if "conversions" in one.columns and not set(frame.get("action", [action])) <= {action}:
        counted = ", ".join(sorted(set(frame["action"])))
        raise BadParameter(f"action {action!r}: the figures count {counted} as conversions. Name the same action")
    frame = frame.reset_index(drop=True)  # rows of segment and control are told apart by it
    table = pd.DataFrame({"date": pd.to_datetime(frame["date"]).dt.normalize()})
    table["place"] = frame.groupby(keys, dropna=False).ngroup() if keys else 0
    for name in keys:
        table[name] = frame[name].astype("string").fillna("(unknown)")
    for name in one.columns:
        table[name] = _figure(frame, name)
    table["currency"] = frame.get("currency")
    table = table[table["date"].notna()]
    if table.empty:
        raise BadParameter("figures: no row with a date, so there is nothing to compare")
    return table


def _figure(frame, name):
    """A base column, with 0 for nulls that another column explains: no orders, so no revenue."""
    found = frame[name].astype(float)
    if name in ("revenue", "contribution", "new_customers") and "orders" in frame:
        return found.mask(found.isna() & (frame["orders"] == 0), 0.0)
    if name in ("ad_visits", "other_visits") and "visits" in frame:
        return found.mask(found.isna() & frame["visits"].notna(), 0.0)
    return found


def _chosen(table, where, parameter):
    chosen = pd.Series(True, index=table.index)
    for column, values in (where or {}).items():
        values = [str(value) for value in (values if isinstance(values, list | tuple | set) else [values])]
        found = sorted(set(table[column]))
        for value in values:
            if value not in found:
                near = difflib.get_close_matches(value, found, n=3) or found[:10]
                raise BadParameter(f"{parameter}: no {column} {value!r} in the figures; there is {', '.join(near)}")
        chosen &= table[column].isin(values)
    if not chosen.any():
        raise BadParameter(f"{parameter} {_spelled(where)}: no row has all of it. Name a segment that has rows")
    return table[chosen]


@dataclass(frozen=True)
class _Side:
    """The segment or the control by day."""

    totals: pd.DataFrame  # its base columns; null: not known
    here: pd.DataFrame  # which of its parts have a row
    first: pd.Timestamp  # its first day with a figure


def _by_day(rows, one, days, seen, name):
    parts = rows.groupby(["date", "place"])
    sums = parts[list(one.columns)].sum(min_count=1).unstack("place").reindex(days)
    here = parts.size().unstack("place").reindex(days).notna()
    totals, first = pd.DataFrame(index=days), days[0]
    for column in one.columns:
        wide = sums[column].loc[:, sums[column].notna().any()]
        if wide.empty:
            raise BadParameter(
                f"KPI {one.id}: the {name} has no figure for {column} on any day: not measurable there. "
                "Take another KPI, or a segment that has it"
            )
        # A part that never has a figure lacks none; one that has it on other days lacks it where its row has null.
        unknown = (wide.isna() & here[wide.columns]).any(axis=1) | ~days.isin(seen)
        totals[column] = wide.sum(axis=1).mask(unknown)
        first = max(first, wide.notna().any(axis=1).idxmax())
    return _Side(totals, here, first)


def _gaps(here, inside):
    """The days of the two windows on which a part of the side, which has rows on other days, has none."""
    return ~here.loc[inside, here.any()].all(axis=1).to_numpy()


def _refuse_unknown(sides, inside):
    for name, side in sides.items():
        for column in side.totals:
            missing = side.totals.loc[inside, column]
            missing = missing[missing.isna()].index.strftime("%Y-%m-%d")
            if len(missing):
                listed = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
                raise BadParameter(
                    f"figures: on {len(missing)} of the {len(inside)} days of the two windows {column} of the {name} "
                    f"is not known ({listed}: no row at all, or null). Export these days, write 0 where nothing "
                    "happened, or take a window without them"
                )


def _values(one, sums):
    """The KPI of every window; 0 where a ratio has nothing to divide by: either way nothing to compare."""
    top = one.top(sums)
    if not one.denominator:
        return top
    bottom = one.bottom(sums)
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)


def _ends(one, sums, window, prefix):
    """The KPI of the two windows, and of what it is made."""
    found = {}
    for name, place in (("before", -1 - window), ("after", -1)):
        top = bottom = value = np.nan
        if sums is not None:
            at = {column: side[place] for column, side in sums.items()}
            value = one.top(at)
            if one.denominator:
                top, bottom = value, one.bottom(at)
                value = top / bottom if bottom else np.nan
        found |= {name: value, f"numerator_{name}": top, f"denominator_{name}": bottom}
    order = ("before", "after", "numerator_before", "denominator_before", "numerator_after", "denominator_after")
    return {prefix + name: found[name] for name in order}


def _currency(table, one):
    found = sorted(table["currency"].dropna().unique())
    if len(found) > 1 and one.unit.startswith("currency"):
        raise BadParameter(f"figures: amounts in {', '.join(found)}; sums over two currencies mean nothing. Keep one")
    return found[0] if len(found) == 1 else None


def _spelled(where):
    """As text, such as channel = Email, Direct; device = phone. None for the whole."""
    if not where:
        return None
    lists = {name: values if isinstance(values, list | tuple | set) else [values] for name, values in where.items()}
    return "; ".join(f"{name} = {', '.join(map(str, values))}" for name, values in lists.items())


def _flag(study):
    reasons = {
        "no_control": study.control is None,
        "short_history": study.history < _ADVISED * study.window,
        "empty_days": study.empty_days > 0,
        "missing_days": study.unknown[: -study.window].any(),
        "empty_window": study.empty_window,
    }
    return ", ".join(name for name, holds in reasons.items() if holds) or None
