"""Charts of what stands behind a funnel's losses: where the lost went, who comes through, what a step is worth."""

import textwrap

import numpy as np
from matplotlib.lines import Line2D

from perfnb import locale
from perfnb.plot import style
from perfnb.plot.attribution import wrapped
from perfnb.plot.kpi import amount, decimals_of

_LAST = {"(other)": 1, "(nothing)": 2}  # these rows stand last
_LEVEL = 0.05
# {whether in money: {reading: column, its limits, colour, mark, face}}
_RAISED, _SAVED = (style.BLUE, "o", style.BLUE), (style.INK, "D", "white")
_READINGS = {
    True: {"raised": ("value", "value", *_RAISED), "saved": ("saved_value", "saved_value", *_SAVED)},
    False: {"raised": ("orders", "orders", *_RAISED), "saved": ("saved_orders", "saved", *_SAVED)},
}
_LEAST = 0.01  # shares below are not written
_PALE = "#A8AEB6"
_PITCH = 1.6  # from one column of bars to the next, in longest bars with their whiskers


def next_action(next_action, *, top=10, language="en", ax=None):
    """What those who stopped at a step did next: a column of bars for each step, a row for each event.

    From `funnel.next_action`. All bars have one scale; of more than `top` events
    those that most persons went to are drawn.
    """
    known = next_action[next_action["stopped"] > 0]
    if known.empty:
        return style.empty(ax, language)
    sizes = known.groupby("next", sort=False)["units"].sum()
    order = sorted(sizes.index, key=lambda name: (_LAST.get(name, 0), -sizes[name], name))
    own = [name for name in order if name in _LAST]
    events = [name for name in order if name not in _LAST][:top]
    shown = [*events, *own]
    steps = known.drop_duplicates("step").sort_values("step")
    ax = style.axes(ax, 0.3 * len(shown) + 1.5, max(8.0, 2.4 + 1.15 * len(steps)))
    longest = known["high"].max()
    for place, step in enumerate(steps["step"]):
        rows = known[(known["step"] == step) & known["next"].isin(shown)]
        at = [shown.index(name) for name in rows["next"]]
        color = [style.GREY if name == "(nothing)" else style.BLUE for name in rows["next"]]
        left = _PITCH * place
        ax.barh(at, rows["share"] / longest, left=left, height=0.6, color=color)
        low, high = (left + rows[end] / longest for end in ("low", "high"))
        ax.hlines(at, low, high, color=style.INK, linewidth=0.9)
        for row, y, end in zip(rows.itertuples(), at, high, strict=True):
            if row.share >= _LEAST:
                said = locale.share(row.share, language, 0)
                ax.annotate(said, (end, y), (3, 0), textcoords="offset points", va="center", fontsize=8)
        ax.plot([left, left], [-0.45, len(shown) - 0.55], color=style.GREY, linewidth=0.8)
    heads = [
        f"{_head(name, language)}\n{locale.number(stopped, language)}"
        for name, stopped in zip(steps["name"], steps["stopped"], strict=True)
    ]
    style.rows(ax, [wrapped(name, language, 40) for name in shown])
    ax.set_xlim(-0.02, _PITCH * len(steps))
    ax.set_xticks([_PITCH * place for place in range(len(steps))], heads, ha="left")
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", labelsize=8)
    ax.spines["bottom"].set_visible(False)
    left_out = len(sizes) - len(shown)
    more = locale.text("plot.more_events", language, n=left_out) if left_out else ""
    style.note(ax, style.defined(known, language), locale.text("plot.next_reads", language), more)
    return ax


def drivers(drivers, *, top=15, language="en", ax=None):
    """Which events early on go with a conversion later: differences of rates in percentage points, with 95 % intervals.

    From `funnel.drivers`. Filled is what the adjusted p separates from chance and what
    has the same sign at half and at twice the landmark, blue with more conversions and
    orange with fewer; the rest is pale. Small dots: half and twice the landmark. Of more
    than `top` events those with the smallest p are drawn; small groups are not.
    """
    seen = drivers[drivers["difference"].notna()]
    known = seen[seen["chosen"].astype(bool)]
    if known.empty:
        return style.empty(ax, language)
    shown = known.head(top).sort_values("difference", ascending=False, kind="stable")
    ax = style.axes(ax, 0.4 * len(shown) + 1.4)
    events = list(shown["event"])
    others = seen[~seen["chosen"].astype(bool) & seen["event"].isin(events)]
    chosen = known["landmark_hours"].iloc[0]
    beside = np.where(others["landmark_hours"] < chosen, -0.24, 0.24) + [events.index(name) for name in others["event"]]
    ax.plot(others["difference"], beside, "o", color=style.MUTED, markerfacecolor="white", markersize=3, zorder=2)
    sure = (shown["p_adjusted"] < _LEVEL) & shown["stable"].fillna(False).astype(bool)
    for place, (row, clear) in enumerate(zip(shown.itertuples(), sure, strict=True)):
        color = (style.BLUE if row.difference > 0 else style.ORANGE) if clear else _PALE
        ax.plot([row.low, row.high], [place, place], color=color, linewidth=1.8 if clear else 1.2, zorder=2)
        face = color if clear else "white"
        ax.plot(row.difference, place, "o", color=color, markerfacecolor=face, markersize=6.5, zorder=3)
    ax.axvline(0, color=style.INK, linewidth=0.8, zorder=1)
    style.rows(ax, [wrapped(name, language) for name in events])
    points(ax.xaxis, language)
    style.grid(ax)
    ax.set_xlabel(locale.text("plot.difference_points", language), fontsize=9)
    cells = [
        [locale.signed(locale.number(100 * value, language, 1), value) for value in shown["difference"]],
        *(
            [f"{locale.share(rate, language)}\n{of} {locale.number(n, language)}" for rate, n in zip(*arm, strict=True)]
            for arm in ((shown[f"{name}_rate"], shown[name]) for name in ("exposed", "unexposed"))
            for of in [locale.text("plot.of", language)]
        ),
    ]
    heads = [locale.text(one, language) for one in ("show.pp", "plot.with_it", "plot.without")]
    style.beside(ax, list(zip(heads, cells, strict=True)))
    hidden = int(drivers.loc[drivers["chosen"].astype(bool), "difference"].isna().sum())
    said = [
        locale.text("plot.landmark_reads", language, hours=locale.number(chosen, language, 1)),
        locale.text("plot.pale_reads", language, tests=locale.number(known["tests"].iloc[0], language)),
        locale.text("plot.small_hidden", language, n=hidden) if hidden else "",
        locale.text("plot.more_events", language, n=len(known) - len(shown)) if len(shown) < len(known) else "",
    ]
    style.note(ax, style.defined(drivers, language), *said)
    return ax


def levers(levers, *, language="en", ax=None):
    """What a better step would be worth: persons more at the last step, or their value, with 95 % intervals.

    From `funnel.levers`. Blue dots: the rate of the step rises; diamonds: that part of
    those lost at it comes on. Money where all values are known, persons else.
    """
    if levers.empty:
        return style.empty(ax, language)
    money = levers["value"].notna().any()
    ax = style.axes(ax, 0.5 * len(levers) + 1.6)
    currency = levers["currency"].iloc[0] if money else None
    unit, seen, columns, handles = "currency" if money else "persons", [0.0], [], []
    for number, (word, (column, limits, color, marker, face)) in enumerate(_READINGS[bool(money)].items()):
        middle, low, high = (levers[name].to_numpy(float) for name in (column, f"{limits}_low", f"{limits}_high"))
        at = np.arange(len(levers)) - 0.17 + 0.34 * number
        ax.hlines(at, low, high, color=color, linewidth=1.3, zorder=2)
        ax.plot(middle, at, marker, color=color, markerfacecolor=face, markersize=6, linestyle="none", zorder=3)
        options = {"decimals": decimals_of(unit, middle, change=True)}
        cells = [amount(value, unit, currency, language, **options) for value in middle]
        columns.append((locale.text(f"plot.{word}_head", language), cells))
        said = locale.text(f"plot.{word}", language)
        handles.append(Line2D([], [], color=color, marker=marker, markerfacecolor=face, label=said, linewidth=1.3))
        seen += [one for one in (*low, *high, *middle) if one == one]
    style.rows(ax, [wrapped(name, language) for name in levers["name"]])
    ax.axvline(0, color=style.INK, linewidth=0.8, zorder=1)
    room = 0.04 * (max(seen) - min(seen) or 1.0)
    ax.set_xlim(min(seen) - room, max(seen) + room)
    style.numbers(ax.xaxis, language)
    style.grid(ax)
    said = locale.text(f"plot.extra_{'value' if money else 'orders'}", language)
    ax.set_xlabel(f"{said} ({currency})" if currency else said, fontsize=9)
    style.beside(ax, columns)
    style.legend(ax, handles=handles, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=1, labelspacing=0.3)
    read = [locale.text(f"plot.{word}", language) for word in ("interval", "levers_read")]
    style.note(ax, style.defined(levers, language), f"{read[0]}.", read[1])
    return ax


def _head(name, language):
    lines = textwrap.wrap(style.plain(name, language, 48), 15, break_long_words=False, max_lines=3, placeholder="…")
    return "\n".join(lines)


def points(axis, language):
    """Tick labels of differences in percentage points, with a sign."""

    def written(value, _):
        places = 0 if abs(100 * value - round(100 * value)) < 1e-6 else 1
        return locale.signed(locale.number(100 * value, language, places), round(value, 9))

    axis.set_major_formatter(written)
