"""Charts of journeys."""

import numpy as np
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap

from perfnb import locale
from perfnb.journey import STAGES
from perfnb.plot import style
from perfnb.plot.attribution import wrapped

_LIGHT = "#9CCBE8"
# Light enough for dark figures on every tone.
_BLUES = LinearSegmentedColormap.from_list("perfnb", ["#FFFFFF", "#7DBCE3"])


def stages(stages, *, language="en", ax=None):
    """Persons per stage as bars, with what was lost on the way in grey."""
    staged = stages[stages["stage"].isin(STAGES)]
    if staged.empty or not staged["units"].iloc[0]:
        return style.empty(ax, language)
    ax = style.axes(ax, 2.8)
    style.losses(ax, staged, [style.plain(stage, language) for stage in staged["stage"]], language)
    style.note(ax, locale.text("plot.interval", language) + ".")
    return ax


def contacts(contacts, *, top=12, language="en", ax=None):
    """Share of all persons who met a touchpoint in a stage, as a heat map."""
    if contacts.empty:
        return style.empty(ax, language)
    wide = contacts.pivot(index="touchpoint", columns="stage", values="share")
    wide = wide[[stage for stage in (*STAGES, "(no stage)") if stage in wide]]
    wide = wide.loc[wide.max(axis=1).sort_values(ascending=False, kind="stable").index[:top]]
    labels = wide.map(lambda share: "" if np.isnan(share) else locale.share(share, language, 0))
    ax = style.axes(ax, 0.34 * len(wide) + 1.1)
    _heat(ax, wide, labels, 9)
    ax.set_xticklabels([style.plain(stage, language) for stage in wide], rotation=0)
    ax.set_yticklabels([style.plain(name, language) for name in wide.index], rotation=0)
    ax.xaxis.tick_top()
    ax.set(xlabel="", ylabel="")
    style.caption(ax, locale.text("plot.of_all_persons", language))
    return ax


def paths(paths, *, language="en", ax=None):
    """The most frequent paths: journeys as bars, the conversion rate with its interval beside them."""
    paths = paths[~paths["path"].isin(["(other)"])]
    if paths.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.36 * len(paths) + 1.1)
    converted = locale.text("plot.converted", language)
    said = [
        f"{locale.number(row.journeys, language)}   {converted}: {_rate(row, language)}" for row in paths.itertuples()
    ]
    names = [style.plain(path, language, 44) for path in paths["path"]]
    _bars(ax, paths["journeys"], said, names, color=style.BLUE, room=1.75)
    ax.set_title(locale.text("plot.journeys", language), loc="left", fontsize=10)
    return ax


def transitions(transitions, *, top=10, language="en", ax=None):
    """Where persons go next: share of the transitions out of each touchpoint, as a heat map."""
    if transitions.empty:
        return style.empty(ax, language)
    weight = transitions.groupby("from")["transitions"].sum().drop("(start)", errors="ignore")
    names = list(weight.sort_values(ascending=False, kind="stable").index[:top])
    wide = transitions.pivot(index="from", columns="to", values="share_out").fillna(0.0)
    rows = [name for name in ("(start)", *names) if name in wide.index]
    columns = [name for name in (*names, "(conversion)", "(end)") if name in wide]
    wide = wide.loc[rows, columns]
    labels = wide.map(lambda share: locale.share(share, language, 0) if share >= 0.005 else "")
    ax = style.axes(ax, 0.4 * len(wide) + 1.6)
    _heat(ax, wide, labels, 8)
    ax.set_xticklabels([style.plain(name, language, 18) for name in wide], rotation=35, ha="right")
    ax.set_yticklabels([style.plain(name, language, 22) for name in wide.index], rotation=0)
    ax.set_xlabel(locale.text("plot.to", language), fontsize=9)
    ax.set_ylabel("")
    ax.set_title(locale.text("plot.share", language), loc="left", fontsize=10)
    return ax


def ends(ends, *, top=12, language="en", ax=None):
    """How many journeys end at each touchpoint without a conversion, of those that pass it."""
    ends = ends[ends["passed"] > 0].head(top)
    if ends.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.36 * len(ends) + 1.1)
    said = [f"{locale.number(row.ended, language)}   {_rate(row, language)}" for row in ends.itertuples()]
    names = [style.plain(name, language) for name in ends["touchpoint"]]
    _bars(ax, ends["ended"], said, names, color=style.GREY, room=1.5)
    ax.set_title(locale.text("plot.ended", language), loc="left", fontsize=10)
    return ax


def satisfaction(satisfaction, *, language="en", ax=None):
    """Mean score by touchpoint with its interval and n; touchpoints with few answers stay empty."""
    shown = satisfaction[~satisfaction["small_n"].astype(bool)]
    if shown.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.42 * len(shown) + 1.1)
    spans = style.errors(shown["low"], shown["mean"], shown["high"])
    ax.errorbar(shown["mean"], range(len(shown)), xerr=spans, fmt="o", color=style.BLUE, capsize=3)
    count = locale.text("plot.answers", language)
    labels = [
        f"{style.plain(row.touchpoint, language)} ({count} = {locale.number(row.n, language)})"
        for row in shown.itertuples()
    ]
    style.rows(ax, labels)
    ax.set_xlim((1, 5) if shown["scale"].iloc[0] == "satisfaction" else (0, 10))
    style.numbers(ax.xaxis, language)
    style.grid(ax)
    ax.set_xlabel(f"{locale.text('plot.score', language)}: {locale.word(shown['scale'].iloc[0], language)}", fontsize=9)
    style.caption(ax, locale.text("plot.interval", language))
    return ax


def loops(loops, *, top=10, language="en", ax=None):
    """Who comes back to a touchpoint: directly (dark), or after others (light), as shares of those who had it.

    From `journey.loops`. Beside the bars: how often, and the median time to coming back.
    Of more than `top` touchpoints those with most touches are drawn.
    """
    of = loops[loops["of_persons"] > 0].drop_duplicates("touchpoint")
    names = list(of["touchpoint"][:top])
    if not names:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.5 * len(names) + 1.4)
    cells = {name: [[] for _ in names] for name in ("loops", "wait")}
    longest = loops.loc[loops["touchpoint"].isin(names), "high"].max()
    for kind, color, shift in (("repeat", style.BLUE, -0.19), ("return", _LIGHT, 0.19)):
        rows = loops[(loops["kind"] == kind) & loops["touchpoint"].isin(names)]
        at = np.array([names.index(name) for name in rows["touchpoint"]]) + shift
        spans = style.errors(rows["low"], rows["share"], rows["high"])
        bars = ax.barh(at, rows["share"], height=0.36, color=color, label=locale.text(f"plot.{kind}", language))
        ax.errorbar(rows["share"], at, xerr=spans, fmt="none", ecolor=style.INK, capsize=2, linewidth=1)
        for bar, row in zip(bars, rows.itertuples(), strict=True):
            place = (max(row.share, row.high), bar.get_y() + bar.get_height() / 2)
            said = locale.share(row.share, language)
            look = {"textcoords": "offset points", "va": "center", "fontsize": 8, "color": style.INK}
            ax.annotate(said, place, (4, 0), **look)
            cells["loops"][names.index(row.touchpoint)].append(locale.number(row.loops, language))
            cells["wait"][names.index(row.touchpoint)].append(locale.wait(row.median_hours / 24, language))
    style.rows(ax, [wrapped(name, language) for name in names])
    ax.set_xlim(0, max(longest * 1.18, 0.01))
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    heads = [locale.text(f"plot.{word}", language) for word in ("times", "median_wait")]
    style.beside(ax, [(head, ["\n".join(said) for said in cells[key]]) for head, key in zip(heads, cells, strict=True)])
    style.legend(ax, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=1, labelspacing=0.3)
    more = locale.text("plot.more_touchpoints", language, n=len(of) - len(names)) if len(of) > len(names) else ""
    read = [locale.text("plot.of_persons_there", language), locale.text("plot.interval", language) + "."]
    style.note(ax, style.defined(loops, language), *read, more)
    return ax


def _heat(ax, wide, labels, size):
    options = {"cmap": _BLUES, "vmin": 0, "cbar": False, "linewidths": 1}
    sns.heatmap(wide, annot=labels, fmt="", ax=ax, annot_kws={"size": size, "color": style.INK}, **options)


def _rate(row, language):
    low, high = locale.share(row.low, language), locale.share(row.high, language)
    return f"{locale.share(row.rate, language)} ({low} – {high})"


def _bars(ax, lengths, said, names, *, color, room):
    """A bar per row with what is said of it at its end; `room` is the width in longest bars."""
    longest = max(lengths.max(), 1)
    ax.barh(range(len(lengths)), lengths, height=0.62, color=color)
    for place, (length, text) in enumerate(zip(lengths, said, strict=True)):
        ax.text(length + longest * 0.015, place, text, va="center", fontsize=8.5)
    style.rows(ax, names)
    ax.set_xlim(0, longest * room)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
