"""Charts of funnels."""

import numpy as np
import pandas as pd

from perfnb import locale
from perfnb.plot import style


def funnel(steps, *, language="en", ax=None):
    """Persons per step as bars, what was lost in grey, the rate of the step before with its interval."""
    if steps.empty or not steps["units"].iloc[0]:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.62 * len(steps) + 1.0)
    style.losses(ax, steps, steps["name"], language)
    small = f"{locale.definition(steps['definition'].iloc[0], language)}. {locale.text('plot.interval', language)}"
    style.caption(ax, small)
    return ax


def funnel_by(steps, by, *, language="en", ax=None):
    """The rate of each step by group, as dots with intervals."""
    steps = steps[steps["step"] > 1]
    if steps.empty:
        return style.empty(ax, language)
    groups, left_out = _largest(steps, by)
    names = list(dict.fromkeys(steps["name"]))
    ax = style.axes(ax, (0.3 + 0.15 * len(groups)) * len(names) + 1.1)
    for index, group in enumerate(groups):
        rows = steps[(steps[by] == group) & (steps["from_units"] > 0)]
        places = np.array([names.index(name) for name in rows["name"]]) + (index - (len(groups) - 1) / 2) * min(
            0.2, 0.8 / len(groups)
        )
        spans = style.errors(rows["low"], rows["rate"], rows["high"])
        color = style.GROUPS[index]
        ax.errorbar(
            rows["rate"], places, xerr=spans, fmt="o", color=color, capsize=3, label=style.plain(group, language)
        )
    style.rows(ax, [style.plain(name, language) for name in names])
    ax.set_xlim(0, 1)
    style.numbers(ax.xaxis, language, share=True)
    style.grid(ax)
    ax.set_xlabel(f"{locale.text('plot.share', language)} {locale.text('plot.rate_before', language)}", fontsize=9)
    style.legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(3, len(groups)))
    style.caption(ax, _small_print(left_out, len(groups), language))
    return ax


def over_time(weeks, *, by=None, step=None, language="en", ax=None):
    """The rate of one step (the last, unless told) by week and group, with intervals; open weeks hollow."""
    if weeks.empty:
        return style.empty(ax, language)
    step = step or int(weeks["step"].max())
    weeks = weeks[(weeks["step"] == step) & (weeks["from_units"] > 0)]
    if weeks.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 3.2)
    groups, left_out = _largest(weeks, by) if by else ([None], 0)
    for index, group in enumerate(groups):
        rows = weeks if group is None else weeks[weeks[by] == group]
        color = style.BLUE if group is None else style.GROUPS[index]
        shift = pd.Timedelta(hours=14 * (index - (len(groups) - 1) / 2))
        at = rows["week"] + shift
        label = style.plain(group, language) if group is not None else None
        ax.errorbar(
            at, rows["rate"], yerr=style.errors(rows["low"], rows["rate"], rows["high"]), color=color, alpha=0.35
        )
        ax.plot(at, rows["rate"], "o-", color=color, label=label, markersize=4, linewidth=1.4)
        waiting = rows["immature"] > 0
        ax.plot(at[waiting], rows["rate"][waiting], "o", color="white", markeredgecolor=color, markersize=5)
    ax.set_ylim(0, 1.02)
    style.numbers(ax.yaxis, language, share=True)
    mondays = sorted(set(weeks["week"]))
    shown = mondays[:: max(1, -(-len(mondays) // 10))]
    ax.set_xticks(shown, [locale.day(monday, language)[:6].strip() for monday in shown])
    style.grid(ax, "y")
    ax.set_xlabel(locale.text("plot.week", language), fontsize=9)
    name = style.plain(weeks["name"].iloc[0], language)
    share = f"{locale.text('plot.share', language)} {locale.text('plot.rate_before', language)}"
    ax.set_ylabel(f"{name}: {share}", fontsize=9)
    if by:
        style.legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(3, len(groups)))
    small = _small_print(left_out, len(groups), language)
    if (weeks["immature"] > 0).any():
        small += f"; ○ {locale.text('plot.immature', language)}"
    style.caption(ax, small)
    return ax


def _largest(table, by):
    """As many groups as there are colours, the largest of them in the order of their names; how many are left out."""
    sizes = table.groupby(by, sort=False)["from_units"].sum().sort_values(ascending=False, kind="stable")
    kept = set(sizes.index[: len(style.GROUPS)])
    return [group for group in dict.fromkeys(table[by]) if group in kept], len(sizes) - len(kept)


def _small_print(left_out, shown, language):
    small = locale.text("plot.interval", language)
    if left_out:
        small += f"; {locale.text('plot.more_groups', language, shown=shown, all=shown + left_out)}"
    return small
