"""Charts of funnels: what is left at each step, by group, by entry date, by time since entry."""

import textwrap

import numpy as np
import pandas as pd

from perfnb import locale
from perfnb.plot import style
from perfnb.plot.attribution import wrapped

_OPEN = "#EEF0F2"  # behind what is not complete yet
_LEVEL = 0.05
_MARKERS = ("o", "s", "^", "D", "v", "P")  # of groups, beside their colours
_DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)), (0, (8, 2)))
_FEW = 10
_MOST = 400  # so many points of a curve are drawn
_INTERVALS = ((27, "entered_month"), (6, "entered_week"), (0, "entered_day"))  # so many days from one to the next


def funnel(steps, *, drops=None, language="en", ax=None):
    """Units per step as bars with those lost in grey; beside them the rate with its interval, and how many were lost.

    From `funnel.steps`, without groups. With `drops`, from `funnel.largest_drop`, the
    last column says how likely it is that a step loses most, whatever chance did.
    """
    if steps.empty or not steps["units"].max():
        return style.empty(ax, language)
    ax = style.axes(ax, 0.46 * len(steps) + 1.3)
    last = []
    if drops is not None:
        likely = drops.set_index("step")["p_largest"]
        cells = [locale.share(likely[step], language, 0) if step in likely else "" for step in steps["step"]]
        last = [(locale.text("plot.largest_loss", language), cells)]
    style.losses(ax, steps, [wrapped(name, language) for name in steps["name"]], language, last)
    spans = locale.text("plot.interval", language) + "." if steps["low"].notna().any() else ""
    style.note(ax, style.defined(steps, language), spans)
    return ax


def funnel_by(steps, by, *, language="en", ax=None):
    """The rate of each step by group, as dots with intervals; hollow where it does not differ from all others."""
    steps = steps[steps["step"] > 1]
    if steps.empty:
        return style.empty(ax, language)
    groups, left_out = _largest(steps, by)
    names = list(dict.fromkeys(steps["name"]))
    ax = style.axes(ax, (0.3 + 0.15 * len(groups)) * len(names) + 1.1)
    known = "p_adjusted" in steps and steps["p_adjusted"].notna().any()
    for index, group in enumerate(groups):
        rows = steps[(steps[by] == group) & (steps["from_units"] > 0)]
        places = np.array([names.index(name) for name in rows["name"]]) + (index - (len(groups) - 1) / 2) * min(
            0.2, 0.8 / len(groups)
        )
        spans = style.errors(rows["low"], rows["rate"], rows["high"])
        color, marker = style.GROUPS[index], _MARKERS[index]
        said = style.plain(group, language)
        ax.errorbar(rows["rate"], places, xerr=spans, fmt=marker, color=color, capsize=3, label=said)
        if known:
            same = ~(rows["p_adjusted"] < _LEVEL).to_numpy()
            ax.plot(rows["rate"][same], places[same], marker, color=color, markerfacecolor="white", zorder=3)
    style.rows(ax, [wrapped(name, language) for name in names])
    ax.set_xlim(0, 1)
    style.numbers(ax.xaxis, language, share=True)
    style.grid(ax)
    ax.set_xlabel(_rate_of(language), fontsize=9)
    style.legend(ax, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=min(3, len(groups)))
    hollow = locale.text("plot.hollow_others", language) if known else ""
    style.note(ax, style.defined(steps, language), _small_print(left_out, len(groups), language), hollow)
    return ax


def trend(trend, *, by=None, step=None, language="en", ax=None):
    """The rate of one step (the last, unless told) by day, week or month of entry and by group, with 95 % bands.

    From `funnel.trend`. What is shaded, with hollow marks, is not complete: windows
    are still open there, and rates will rise. Of several groups, intervals of fewer than
    10 units at the step before are not drawn: their bands would cover all others.
    """
    step = trend["step"].max() if step is None else step
    rows = trend[(trend["step"] == step) & (trend["from_units"] > 0)]
    if rows.empty:
        return style.empty(ax, language)
    few = rows["from_units"] < (_FEW if by and rows[by].nunique() > 1 else 0)
    drawn = rows if few.all() else rows[~few]
    ax = style.axes(ax, 3.2)
    groups, left_out = _largest(drawn, by) if by else ([None], 0)
    dates = rows["entered"].drop_duplicates().sort_values()
    apart = dates.diff().min() if len(dates) > 1 else pd.Timedelta(days=7)
    waiting = rows.loc[~rows["mature"].astype(bool), "entered"]
    if len(waiting):
        ax.axvspan(waiting.min() - apart / 2, dates.max() + apart / 2, color=_OPEN, linewidth=0, zorder=0)
    for index, group in enumerate(groups):
        part = (drawn if group is None else drawn[drawn[by] == group]).sort_values("entered")
        color, marker = (style.BLUE, "o") if group is None else (style.GROUPS[index], _MARKERS[index])
        _course(ax, part, color, marker, None if group is None else style.plain(group, language))
    ax.set_ylim(0, min(1.02, 1.12 * drawn["high"].max()))
    style.numbers(ax.yaxis, language, share=True)
    ax.set_xlim(dates.min() - apart / 2, dates.max() + apart / 2)
    _dates_below(ax, list(dates), apart.days, language)
    style.grid(ax, "y")
    name = style.plain(rows["name"].iloc[0], language)
    fit = 1
    if by:
        longest = max(len(style.plain(group, language)) for group in groups)
        fit = max(1, min(6, 90 // (longest + 6)))
    lines = -(-len(groups) // fit) if by else 0
    ax.set_title(f"{name}: {_rate_of(language)}", loc="left", fontsize=9.5, pad=8 + 16 * lines)
    if by:
        style.legend(ax, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=fit, columnspacing=1.2, handlelength=1.6)
    band = locale.text("plot.band_interval", language)
    more = locale.text("plot.more_groups", language, shown=len(groups), all=len(groups) + left_out) + "."
    open_ones = locale.text("plot.shaded_open", language) if len(waiting) else ""
    hidden = len(rows) - len(drawn)
    thin = locale.text("plot.few_hidden", language, hidden=locale.number(hidden, language)) if hidden else ""
    style.note(ax, style.defined(rows, language), band, more if left_out else "", thin, open_ones)
    return ax


def time_to_convert(curve, *, by=None, waiting=None, language="en", ax=None):
    """Who has converted by how long after the entry, with 95 % bands, those allowed for whose time was not over.

    From `funnel.time_to_convert`. With `waiting`, from `funnel.waiting`, the medians are
    said: of those who converted, and of all where half of all do.
    """
    if curve.empty:
        return style.empty(ax, language)
    sizes = curve.groupby(by, sort=False)["at_risk"].max().sort_values(ascending=False, kind="stable") if by else None
    groups = [None] if sizes is None else list(sizes.index[: len(style.GROUPS)])
    ax = style.axes(ax, 3.0 + 0.2 * len(groups))
    unit, times = next((name, factor) for least, factor, name in locale.WAITS if curve["days"].max() >= least)
    for index, group in enumerate(groups):
        rows = curve if group is None else curve[curve[by] == group]
        color = style.BLUE if group is None else style.GROUPS[index]
        seen = _thinned(rows.sort_values("days"))
        at = seen["days"] * times
        about = None if waiting is None else waiting if group is None else waiting[waiting[by] == group]
        said = _outcome(seen, about, group, language)
        ax.fill_between(at, seen["low"], seen["high"], step="post", color=color, alpha=0.16, linewidth=0)
        look = {"color": color, "linewidth": 1.6, "linestyle": _DASHES[index], "label": said}
        ax.plot(at, seen["share"], drawstyle="steps-post", **look)
        half = seen[seen["share"] >= 0.5]
        if len(half):
            ax.plot([half["days"].iloc[0] * times] * 2, [0, 0.5], color=color, linewidth=0.9, linestyle=(0, (1, 2)))
    ax.set_xlim(0, max(curve["days"].max() * times, 1e-9))
    ax.set_ylim(0, min(1.02, 1.1 * max(curve["high"].max(), 0.01)))
    style.numbers(ax.xaxis, language)
    style.numbers(ax.yaxis, language, share=True)
    style.grid(ax, "y")
    ax.set_xlabel(locale.text("plot.since_entry", language, unit=locale.text(f"plot.{unit}", language)), fontsize=9)
    ax.set_ylabel(locale.text("plot.converted", language), fontsize=9)
    style.legend(ax, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=1, labelspacing=0.3, handlelength=1.8)
    left_out = 0 if sizes is None else len(sizes) - len(groups)
    more = locale.text("plot.more_groups", language, shown=len(groups), all=len(groups) + left_out) + "."
    read = [locale.text(f"plot.{word}", language) for word in ("band_interval", "survival_reads")]
    style.note(ax, style.defined(curve, language), *read, more if left_out else "")
    return ax


# What the charts share


def _course(ax, part, color, marker, label):
    """The line of one group with its band: broken and with hollow marks where it is not complete."""
    at, ripe = part["entered"], part["mature"].astype(bool).to_numpy()
    ax.fill_between(at, part["low"], part["high"], color=color, alpha=0.16, linewidth=0)
    ax.plot(at, part["rate"], color=color, linewidth=1.0, linestyle=(0, (2, 2)))
    look = {"color": color, "marker": marker, "markersize": 4.5}
    ax.plot(at[ripe], part["rate"][ripe], linewidth=1.6, label=label, **look)
    ax.plot(at[~ripe], part["rate"][~ripe], linestyle="none", markerfacecolor="white", **look)


def _dates_below(ax, dates, apart, language):
    """The first days of the intervals as ticks, as many as there is room for, and what they are below them."""
    shown = dates[:: max(1, -(-len(dates) // 10))]
    ax.set_xticks(shown, [locale.day(day, language)[:6].strip() for day in shown])
    interval = next(word for least, word in _INTERVALS if apart >= least)
    ax.set_xlabel(locale.text(f"plot.{interval}", language), fontsize=9)


def _thinned(rows):
    """No more points than can be seen, the first and the last among them."""
    kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _MOST)).round().astype(int))
    return rows.iloc[kept]


def _outcome(rows, waiting, group, language):
    """What became of a group in a line: "mobile: 13.2 % (12.0 – 14.5 %); half of those who convert within 2.1 days"."""
    last = rows.iloc[-1]
    said = f"{locale.share(last['share'], language)} ({style.between(last['low'], last['high'], language)})"
    if group is not None:
        said = f"{style.plain(group, language)}: {said}"
    if waiting is None or waiting.empty:
        return said
    row = waiting.iloc[0]
    told = [said]
    for word, column in (("median_converters", "median_days_converters"), ("median_all", "median_days")):
        if not pd.isna(row[column]):
            facts = {"wait": locale.wait(row[column], language), "n": locale.number(row["converted"], language)}
            told.append(locale.text(f"plot.{word}", language, **facts))
    return textwrap.fill("; ".join(told), 96)


def _largest(table, by):
    """As many groups as there are colours, the largest of them in the order of their names; how many are left out."""
    sizes = table.groupby(by, sort=False)["from_units"].sum().sort_values(ascending=False, kind="stable")
    kept = set(sizes.index[: len(style.GROUPS)])
    return [group for group in dict.fromkeys(table[by]) if group in kept], len(sizes) - len(kept)


def _rate_of(language):
    return f"{locale.text('plot.share', language)} {locale.text('plot.rate_before', language)}"


def _small_print(left_out, shown, language):
    small = locale.text("plot.interval", language) + "."
    if left_out:
        small += f" {locale.text('plot.more_groups', language, shown=shown, all=shown + left_out)}."
    return small
