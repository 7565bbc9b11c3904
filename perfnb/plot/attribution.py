"""Charts of attribution: models side by side, what they return, how they rank channels, what they would move."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D

from perfnb import locale
from perfnb.attribution.compare import OWN_ROWS
from perfnb.plot import style
from perfnb.plot.kpi import amount, decimals_of, writer

_DPI = 100  # of the chart of ranks
_BAND = "#F4F5F6"
_SLOT, _LOW = 0.068, 0.45  # inches that a model needs in the row of a channel; the height of rows of no channel
_BEYOND, _LEAST = 0.5, 20  # so far beyond the marks, as a share of the largest; so many times less than usual
_TICKS = [one * 10.0**power for power in range(-6, 10) for one in (1, 2, 5)]
_MOST = 5  # so many channels have colours in the chart of ranks
# Who opens is who the first touch credits, who closes whom the last touch does: the same colours.
_ROLES = {
    "opens": (style.MODELS["first"][0], style.INK),
    "assists": ("#DADDE1", style.INK),
    "closes": (style.MODELS["last"][0], style.INK),
    "alone": ("#4B5563", "white"),
}


def credits(comparison, *, top=12, language="en", ax=None):
    """Orders credited by channel under each model, with 95 % intervals; the truth is a black diamond and a hairline.

    Of more than `top` channels those with most credit are drawn. What no channel
    earned, "(no touch)" and "(baseline)", stands last, in grey. Intervals far wider
    than what is credited do not stretch the axis: they end in arrows.
    """
    known = _named(comparison[comparison["credit"].notna()])
    if known.empty:
        return style.empty(ax, language)
    own = known[known["channel"].isin(OWN_ROWS) & (known["credit"] != 0)]
    channels = known[~known["channel"].isin(OWN_ROWS)]
    names = _ordered(channels, "credit", "mean")
    shown = names[:top]
    models = list(dict.fromkeys(known["model"]))
    own_names = [name for name in OWN_ROWS if name in set(own["name"])]
    channels = channels[channels["name"].isin(shown)]
    drawn = pd.concat([channels, own])
    spans = _spans(drawn, "low", "high")
    ends = _reach(drawn["credit"].to_numpy(float), *spans)
    ax = _rows_of_models(ax, models, shown, language, own_names)
    for model in models:
        _points(ax, channels[channels["model"] == model], "credit", ("low", "high"), shown, models, ends)
    at = len(shown) - 0.5 + _LOW * (_places(own, own_names) + 0.5)
    _whiskers(ax, own["credit"], at, _spans(own, "low", "high"), style.MUTED, ends)
    ax.scatter(own["credit"], at, s=24, color=style.MUTED, zorder=3)
    ax.set_xlim(*ends)
    if ends[0] < 0:
        ax.axvline(0, color=style.MUTED, linewidth=0.8, zorder=1)
    style.numbers(ax.xaxis, language)
    ax.set_xlabel(locale.text("plot.orders_credited", language), fontsize=9)
    _legend(ax, models, language)
    _caption(ax, _intervals(known, "low", language), _cut(spans, ends, language), _left_out(shown, names, language))
    return ax


def returns(comparison, *, top=12, language="en", ax=None):
    """Value per unit of cost by channel under each model, with 95 % intervals, on a logarithmic axis.

    Channels without cost are left out. What lies far below the others, or has no
    place on such an axis (0 and less), stands hollow at its left end, with its
    figures.
    """
    known = _named(comparison[(comparison["cost"] > 0) & comparison["roas"].notna()])
    if known.empty:
        return style.empty(ax, language)
    names = _ordered(known, "roas", "median")
    shown, models = names[:top], list(dict.fromkeys(known["model"]))
    known = known[known["name"].isin(shown)]
    ax = _rows_of_models(ax, models, shown, language)
    low, high = _spans(known, "roas_low", "roas_high")
    edge, end = _range(known["roas"].to_numpy(float), low, high)
    outside = known[known["roas"] < edge]
    begin = edge * (edge / end) ** 0.2 if len(outside) else edge
    ax.set_xscale("log")
    ax.set_xlim(begin, end)
    for model in models:
        rows = known[(known["model"] == model) & (known["roas"] >= edge)]
        _points(ax, rows, "roas", ("roas_low", "roas_high"), shown, models, (edge, end))
    _far_below(ax, outside, shown, models, (begin, edge, end), language)
    ax.axvline(1, color=style.INK, linewidth=1, zorder=1)
    said = locale.text("plot.break_even", language)
    beside = {"textcoords": "offset points", "fontsize": 8, "color": style.INK, "va": "bottom"}
    right = np.log(1 / begin) / np.log(end / begin) > 0.6
    place = {"xytext": (-3 if right else 3, 3), "ha": "right" if right else "left"}
    ax.annotate(said, (1, 1), xycoords=ax.get_xaxis_transform(), **place, **beside)
    _ticks(ax, edge, end, language)
    ax.set_xlabel(locale.text("plot.roas", language), fontsize=9)
    _legend(ax, models, language, above=1.7)
    said = [locale.text("plot.log_scale", language), _intervals(known, "roas_low", language)]
    _caption(ax, *said, _cut((low, high), (edge, end), language), _left_out(shown, names, language))
    return ax


def ranks(comparison, *, top=12, language="en", ax=None):
    """How channels rank under each model: a line each, in colour where the rank changes most.

    From `attribution.compare`; channels of the same rank stand below each other.
    """
    known = _named(comparison[comparison["rank"].notna()]).sort_values(["rank", "name"], kind="stable")
    if known.empty:
        return style.empty(ax, language)
    models = [model for model in dict.fromkeys(comparison["model"]) if model in set(known["model"])]
    names = list(known.groupby("name")["rank"].mean().sort_values(kind="stable").index)
    shown = names[:top]
    known = known[known["name"].isin(shown)]
    places = known.groupby("model").cumcount()
    span = known.groupby("name")["rank"].agg(np.ptp).reindex(shown)
    moved = span[span >= 2].sort_values(ascending=False, kind="stable").index[:_MOST]
    colors = dict(zip(moved, style.GROUPS, strict=False))
    heads = [textwrap.fill(style.plain(model, language), 12, break_long_words=False) for model in models]
    step, size = _steps(heads)
    sides = 2 * max(
        style.text_width(line, 8.5, "bold") for name in shown for line in wrapped(name, language).split("\n")
    )
    ax = _wide(ax, 0.31 * len(shown) + 1.2, max(8.0, sides + step * (len(models) - 0.4) + 0.5))
    for name in sorted(shown, key=lambda name: name in colors):
        rows = known[known["name"] == name].assign(place=places).set_index("model").reindex(models)
        color = colors.get(name)
        line = {"color": color or style.GREY, "linewidth": 2.4 if color else 1.2, "zorder": 2 + bool(color)}
        ax.plot(range(len(models)), rows["place"], solid_joinstyle="round", **line)
        _stations(ax, rows, color, language)
        _at_the_ends(ax, rows, name, color, language)
    ax.set_xticks(range(len(models)), heads)
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", labelsize=size)
    ax.set_yticks([])
    ax.set_xlim(-0.3, len(models) - 0.7)
    ax.set_ylim(len(shown) - 0.4, -0.6)
    for side in ("left", "bottom"):
        ax.spines[side].set_visible(False)
    said = locale.text("plot.rank_reads", language) if len(moved) else ""
    _caption(ax, f"{locale.text('plot.rank', language)}.", said, _left_out(shown, names, language))
    return ax


def roles(roles, *, top=12, language="en", ax=None):
    """Whether a channel opens paths to conversions, assists on them, closes them, or is alone: shares as stacked bars.

    From `attribution.roles`; at the right the conversions with the channel on
    their path. Of more than `top` channels those with most are drawn.
    """
    ordered = roles[roles["conversions"] > 0].sort_values("conversions", ascending=False, kind="stable")
    shown = ordered.head(top)
    if shown.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.36 * len(shown) + 1.3)
    left = np.zeros(len(shown))
    for role, (color, ink) in _ROLES.items():
        shares = shown[f"share_{role}"].fillna(0.0).to_numpy(float)
        said = locale.text(f"plot.{role}", language)
        ax.barh(range(len(shown)), shares, left=left, height=0.66, color=color, edgecolor="white", label=said)
        for place, (start, share) in enumerate(zip(left, shares, strict=True)):
            if share >= 0.07:
                inside = {"ha": "center", "va": "center", "fontsize": 8, "color": ink}
                ax.text(start + share / 2, place, locale.share(share, language, 0), **inside)
        left += shares
    at_right = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "fontsize": 8.5, "ha": "right"}
    counts = [locale.number(count, language) for count in shown["conversions"]]
    head = locale.word("conversions", language)
    width = 72 * max(style.text_width(said, 8.5) for said in (head, *counts)) + 8
    for place, count in enumerate(counts):
        ax.annotate(count, (1, place), (width, 0), va="center", color=style.INK, **at_right)
    ax.annotate(head, (1, -0.6), (width, 2), va="bottom", color=style.MUTED, **at_right)
    style.rows(ax, [wrapped(name, language) for name in shown["channel"]])
    ax.set_xlim(0, max(1.0, left.max()))
    style.numbers(ax.xaxis, language, share=True)
    style.legend(ax, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, handlelength=1.2, columnspacing=1.4)
    _caption(ax, locale.text("plot.roles_read", language), _left_out(shown, ordered, language))
    return ax


def moves(moves, *, top=12, language="en", ax=None):
    """What following another model would move in budget, by channel: bars to the right gain, to the left lose.

    From `attribution.moves`. Hollow bars have an interval (change_low,
    change_high, where the table has them) that includes 0.
    """
    known = moves[moves["change"].notna()]
    ordered = known.loc[known["change"].sort_values(ascending=False, kind="stable").index]
    largest = ordered["change"].abs().sort_values(ascending=False, kind="stable").index[:top]
    shown = ordered[ordered.index.isin(largest)]
    if shown.empty:
        return style.empty(ax, language)
    currency = shown["currency"].iloc[0]
    ax = style.axes(ax, 0.38 * len(shown) + 1.2)
    low, high = _spans(shown, "change_low", "change_high")
    write = writer("currency", currency, shown["change"], language)
    changes = [write(change) for change in shown["change"]]
    budgets = _budgets(shown, language)
    seen = np.concatenate([shown["change"], low, high, [0.0]])
    hollow = (low <= 0) & (high >= 0)
    for place, row in enumerate(shown.to_dict("records")):
        face = "white" if hollow[place] else style.BLUE
        ax.barh(place, row["change"], height=0.62, facecolor=face, edgecolor=style.BLUE, linewidth=1.2)
        if low[place] == low[place]:
            ax.plot([low[place], high[place]], [place, place], color=style.INK, linewidth=1)
        loses = row["change"] < 0
        end = np.nanmin if loses else np.nanmax
        gap, side = (-6, "right") if loses else (6, "left")
        beside = {"textcoords": "offset points", "va": "center", "ha": side, "fontsize": 8.5}
        ink = style.MUTED if hollow[place] else style.INK
        ax.annotate(
            changes[place], (end([row["change"], low[place], high[place]]), place), (gap, 0), color=ink, **beside
        )
        beside = {"textcoords": "offset points", "va": "center", "ha": "left", "fontsize": 8.5, "color": style.MUTED}
        ax.annotate(budgets[place], (1, place), (4, 0), xycoords=ax.get_yaxis_transform(), **beside)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    head = " → ".join(locale.text(f"plot.{word}", language) for word in ("before", "after"))
    ax.annotate(head, (1, 1), (4, 2), xycoords="axes fraction", **beside | {"va": "bottom"})
    style.rows(ax, [wrapped(name, language) for name in shown["channel"]])
    least, most, told = np.nanmin(seen), np.nanmax(seen), 0.14 + max(style.text_width(said, 8.5) for said in changes)
    inches = max(_room(ax) - max(style.text_width(said, 8.5) for said in budgets) - 2 * told, 1.0)
    room = (most - least or 1.0) * told / inches
    ax.set_xlim(least - room * bool(least < 0), most + room)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    said = locale.text("plot.budget_change", language) + "."
    if {"model", "against"} <= set(shown):
        facts = {name: locale.word(shown[name].iloc[0], language) for name in ("model", "against")}
        said = locale.text("plot.budget_follows", language, **facts)
    zero = locale.text("plot.hollow_zero", language) if hollow.any() else ""
    _caption(ax, said, _intervals(shown, "change_low", language), zero, _left_out(shown, known, language))
    return ax


def orders(chosen, *, language="en", ax=None):
    """How well chains of each order foretell held-out persons, with one standard error; the chosen order is filled.

    From `attribution.choose_order`. The grey span is one standard error around
    the best; below stand the number of states and how far the removal effects
    are from the assist share.
    """
    known = chosen[chosen["log_loss"].notna()].sort_values("order")
    if known.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 3.4)
    best = known.loc[known["log_loss"].idxmin()]
    if best["log_loss_se"] == best["log_loss_se"]:
        ax.axhspan(
            best["log_loss"] - best["log_loss_se"], best["log_loss"] + best["log_loss_se"], color=_BAND, zorder=0
        )
    color = style.MODELS["markov"][0]
    error = known["log_loss_se"].fillna(0.0)
    ax.errorbar(known["order"], known["log_loss"], yerr=error, fmt="none", ecolor=color, elinewidth=1, capsize=3)
    ax.plot(known["order"], known["log_loss"], color=color, linewidth=1, zorder=1)
    picked = known["chosen"].astype(bool)
    for rows, face in ((known[~picked], "white"), (known[picked], color)):
        ax.plot(rows["order"], rows["log_loss"], "o", color=color, markerfacecolor=face, markersize=7, linestyle="none")
    facts = [locale.text(f"plot.{name}", language) for name in ("states", "assist_gap")]
    ax.set_xticks(known["order"], [_order(row, language) for row in known.to_dict("records")])
    ax.set_xlim(known["order"].min() - 0.5, known["order"].max() + 0.5)
    left = {"xycoords": "axes fraction", "textcoords": "offset points", "ha": "right", "va": "top"}
    ax.annotate("\n" + "\n".join(facts), (0, 0), (-4, -3.5), fontsize=9, color=style.MUTED, **left)
    step = np.ptp(ax.get_yticks()) / max(len(ax.get_yticks()) - 1, 1)
    style.numbers(ax.yaxis, language, decimals=max(0, int(np.ceil(-np.log10(step) - 1e-9))))
    style.grid(ax, "y")
    ax.set_xlabel(locale.text("plot.markov_order", language), fontsize=9)
    ax.set_title(locale.text("plot.log_loss", language), loc="left", fontsize=9, color=style.INK)
    said = " ".join(locale.text(f"plot.{name}", language) for name in ("chosen", "one_error"))
    room = ax.figure.get_figwidth() - max(style.text_width(fact, 9) for fact in facts) - 0.4
    said = textwrap.fill(said, int(16.5 * room))
    below = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "linespacing": 1.4}
    ax.annotate(said, (0, 0), (0, -62), fontsize=8, color=style.MUTED, **below)
    return ax


def score(score, *, language="en", ax=None):
    """How far each model's shares lie from the truth's, with the interval; at the right the money that it misplaces.

    From `attribution.score`; whiskers where it has distance_low and distance_high.
    """
    known = score[score["distance"].notna()].sort_values("distance", kind="stable")
    if known.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.36 * len(known) + 1.2)
    low, high = _spans(known, "distance_low", "distance_high")
    for place, row in enumerate(known.to_dict("records")):
        color, marker = style.MODELS.get(row["model"], (style.INK, "o"))
        ax.plot([low[place], high[place]], [place, place], color=color, linewidth=1.4, solid_capstyle="butt")
        ax.scatter(
            row["distance"], place, s=_size(row["model"], 46), color=color, marker=marker, linewidths=0, zorder=3
        )
        if row.get("misplaced") == row.get("misplaced") and row.get("misplaced") is not None:
            money = amount(row["misplaced"], "currency", row.get("currency"), language)
            said = locale.text("plot.misplaced", language, money=money)
            beside = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
            ax.annotate(said, (1, place), (8, 0), fontsize=8.5, color=style.MUTED, **beside)
    style.rows(ax, [style.plain(model, language) for model in known["model"]])
    ax.set_xlim(0, np.nanmax([*known["distance"], *high, 0.01]) * 1.05)
    step = np.diff(ax.get_xticks()[:2])[0]
    style.numbers(ax.xaxis, language, decimals=max(1, int(np.ceil(-np.log10(step) - 1e-9))))
    style.grid(ax)
    ax.set_xlabel(locale.text("plot.distance", language), fontsize=9)
    _caption(ax, _intervals(known, "distance_low", language))
    return ax


# Rows of channels with models in them


def _named(table):
    """The table with the name of each row: its channel, or all that it is broken down by."""
    keys = list(table.columns[1 : table.columns.get_loc("credit")])
    name = table[keys[0]].astype(str)
    for key in keys[1:]:
        name = name.where(table[key].isna(), name + " · " + table[key].astype(str))
    return table.assign(name=name)


def _ordered(table, column, how):
    """Names by what the models say of them on the whole; by the truth where no model says anything."""
    models = table[table["model"] != "truth"]
    sizes = (models if len(models) else table).groupby("name")[column].agg(how)
    sizes = sizes.reindex(dict.fromkeys(table["name"])).sort_values(ascending=False, kind="stable")
    return list(sizes.index)


def _rows_of_models(ax, models, names, language, own=()):
    """Axes with a row for each name, high enough for a mark of each model, and lower ones for what is no channel."""
    high = len(names) + _LOW * len(own)
    ax = style.axes(ax, max(_SLOT * len(models) + 0.12, 0.36) * high + 1.3)
    for place in range(0, len(names), 2):
        ax.axhspan(place - 0.5, place + 0.5, color=_BAND, linewidth=0, zorder=0)
    places = [*range(len(names)), *(len(names) - 0.5 + _LOW * (place + 0.5) for place in range(len(own)))]
    ax.set_yticks(places, [wrapped(name, language) for name in [*names, *own]])
    ax.spines["left"].set_visible(False)
    ax.set_ylim(high - 0.5, -0.5)
    style.grid(ax)
    return ax


def wrapped(name, language, width=26, longest=48):
    """A name in one line, or in two where it is longer than `width`."""
    said = style.plain(name, language, longest)
    lines = textwrap.wrap(said, width, break_long_words=False)
    while len(lines) > 2:
        width += 1
        lines = textwrap.wrap(said, width, break_long_words=False)
    return "\n".join(lines)


def _slots(rows, names, models):
    """Where the models stand in the rows of their names."""
    order = pd.Index(models).get_indexer(rows["model"])
    return _places(rows, names) + (order - (len(models) - 1) / 2) * 0.86 / max(len(models), 4)


def _places(rows, names):
    return pd.Series(pd.Index(names, dtype=object).get_indexer(rows["name"]), index=rows.index, dtype=float)


def _spans(table, low, high):
    """Both ends of the intervals; not a number where there are none."""
    known = table.reindex(columns=[low, high]).apply(pd.to_numeric)
    return known[low].to_numpy(float, na_value=np.nan), known[high].to_numpy(float, na_value=np.nan)


def _points(ax, rows, column, interval, names, models, ends):
    """The marks of one model with their intervals; arrows where these go on beyond the ends of the axis."""
    if rows.empty:
        return
    model = rows["model"].iloc[0]
    color, marker = style.MODELS.get(model, (style.INK, "o"))
    at = _slots(rows, names, models)
    _whiskers(ax, rows[column], at, _spans(rows, *interval), color, ends)
    if model == "truth":
        hairline = {"color": color, "linewidth": 0.8, "linestyle": (0, (1, 2)), "zorder": 1}
        for value, place in zip(rows[column], _places(rows, names), strict=True):
            ax.plot([value] * 2, [place - 0.5, place + 0.5], **hairline)
    look = {"s": _size(model, 26), "color": color, "marker": marker, "linewidths": 0}
    ax.scatter(rows[column], at, zorder=3, clip_on=False, **look)


def _size(model, usual):
    """Stars look smaller than they are."""
    marker = style.MODELS.get(model, (None, "o"))[1]
    return usual * (1.3 if model == "truth" else 1.9 if marker == "*" or isinstance(marker, tuple) else 1.0)


def _whiskers(ax, values, at, spans, color, ends):
    low, high = (pd.Series(end, index=values.index).fillna(values) for end in spans)
    ax.hlines(at, low.clip(*ends), high.clip(*ends), color=color, linewidth=1, zorder=2)
    for end, arrow, on in zip(ends, "<>", (low < ends[0], high > ends[1]), strict=True):
        if on.any():
            ax.plot(np.full(on.sum(), end), at[on], arrow, color=color, markersize=3.5, clip_on=False)


def _cut(spans, ends, language):
    """What arrows mean, where there are any."""
    on = (spans[0] < ends[0]).any() or (spans[1] > ends[1]).any()
    return locale.text("plot.goes_on", language) if on else ""


def _legend(ax, models, language, above=0.4):
    """Marks and names of the models, in as many columns as there is room for."""
    handles = []
    for model in models:
        color, marker = style.MODELS.get(model, (style.INK, "o"))
        look = {
            "marker": marker,
            "color": "none",
            "markerfacecolor": color,
            "markeredgewidth": 0,
            "markersize": _size(model, 36) ** 0.5,
        }
        handles.append(Line2D([], [], label=locale.word(model, language), **look))
    widths = [style.text_width(handle.get_label(), 9) + 0.34 for handle in handles]
    fitting = (n for n in range(len(handles), 0, -1) if sum(map(max, np.array_split(widths, n))) < _room(ax))
    columns = next(fitting, 1)
    columns = -(-len(handles) // -(-len(handles) // columns))
    spaces = {"columnspacing": 1.0, "handletextpad": 0.3, "handlelength": 1.2, "borderaxespad": above}
    style.legend(ax, handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, **spaces)


def _room(ax):
    """The width in inches beside the names of the rows."""
    lines = [line for label in ax.get_yticklabels() for line in label.get_text().split("\n")]
    return ax.figure.get_figwidth() - max((style.text_width(line, 9) for line in lines), default=0.0) - 0.4


def _intervals(table, low, language):
    known = low in table and table[low].notna().any()
    return locale.text("plot.interval", language) + "." if known else ""


def _left_out(shown, names, language):
    return locale.text("plot.left_out", language, shown=len(shown), all=len(names)) if len(shown) < len(names) else ""


def _caption(ax, *said):
    said = " ".join(one for one in said if one)
    if said:
        style.caption(ax, said, int(16.5 * _room(ax)))


def _budgets(rows, language):
    """What each channel has before and after, all with the same decimals."""
    columns = ["budget_before", "budget_after"]
    options = {"decimals": decimals_of("currency", rows[columns].to_numpy(float).ravel())}
    facts = zip(rows["budget_before"], rows["budget_after"], rows["currency"], strict=True)
    return [
        " → ".join(amount(value, "currency", currency, language, **options) for value in budgets)
        for *budgets, currency in facts
    ]


# Axes that marks fill, and long intervals do not


def _reach(values, low, high):
    """Where the axis of credit begins and ends: with all marks, and intervals as far as they are not far beyond."""
    beyond = _BEYOND * np.abs(values).max()
    end = min(np.nanmax([*high, *values]), values.max() + beyond)
    begin = max(np.nanmin([*low, *values, 0.0]), min(values.min(), 0.0) - beyond)
    room = (end - begin) * 0.03 or 1.0
    return begin - room * (begin < 0), end + room


def _range(values, low, high):
    """The same for returns, logarithmic and with 1 on it; marks far below the rest are not on it."""
    positive = values[values > 0]
    usual = min(1.0, np.median(positive)) if len(positive) else 1.0
    seen = np.concatenate([values, low, high])
    most = max([*positive, 1.0]) * _LEAST**0.5
    seen = seen[(seen >= usual / _LEAST) & (seen <= most)]
    return min([*seen, 0.8]) / 1.15, max([*seen, 1.25]) * 1.15


def _far_below(ax, rows, names, models, ends, language):
    """Hollow marks in a strip of their own at the left, and their figures once for each channel."""
    if rows.empty:
        return
    begin, edge, end = ends
    width = np.log(end / begin)
    ax.axvspan(begin, edge, color="white", linewidth=0, zorder=0.5)
    ax.axvline(edge, color=style.GREY, linewidth=0.8)
    at, reach = _slots(rows, names, models), _spans(rows, "roas_low", "roas_high")[1]
    for place, model, high in zip(at, rows["model"], reach, strict=True):
        color, marker = style.MODELS.get(model, (style.INK, "o"))
        if high > edge:
            ax.plot([edge, min(high, end)], [place, place], color=color, linewidth=1, zorder=2)
            ax.plot(edge, place, "<", color=color, markersize=3.5)
        ax.scatter(
            begin * np.exp(0.022 * width), place, s=26, marker=marker, facecolor="white", edgecolor=color, zorder=3
        )
    for _, group in rows.groupby("name", sort=False):
        least, most = (locale.number(end, language, 2) for end in (group["roas"].min(), group["roas"].max()))
        said = f"◂ {least}" if least == most else f"◂ {least} – {most}"
        where = (begin * np.exp(0.04 * width), at[group.index].mean())
        ax.text(*where, said, fontsize=7.5, color=style.INK, va="center", zorder=4)


def _ticks(ax, edge, end, language):
    """Ticks at 1, 2 and 5 times powers of ten, or at powers alone where those are too many."""
    ticks = np.array([tick for tick in _TICKS if edge * 0.999 <= tick <= end * 1.001])
    if len(ticks) > 10:
        ticks = ticks[np.isclose(np.log10(ticks) % 1, 0)]
    said = [locale.number(tick, language, max(0, int(np.ceil(-np.log10(tick) - 1e-9)))) for tick in ticks]
    ax.set_xticks(ticks, said)
    ax.minorticks_off()


# The chart of ranks


def _wide(ax, height, width):
    """Axes of a figure with fewer dots per inch, as many slanting lines make large files."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), dpi=_DPI, layout="constrained")
    return style.axes(ax, height)


def _steps(heads):
    """Inches from model to model, and the size of the names above: as large as fit, and no wider than need be."""
    wanted = max(style.text_width(line, 8) for head in heads for line in head.split("\n")) + 0.1
    step = min(max(wanted, 0.6), 0.82)
    return step, min(8.0, 8.0 * (step - 0.06) / (wanted - 0.1))


def _stations(ax, rows, color, language):
    """The ranks of a channel in discs; between its ends small dots where it has no colour."""
    for x, (rank, place) in enumerate(zip(rows["rank"], rows["place"], strict=True)):
        if place != place:
            continue
        if not color and 0 < x < len(rows) - 1:
            ax.plot(x, place, "o", markersize=4, color=style.GREY, zorder=2)
            continue
        face, ink = (color, "white") if color else ("white", style.MUTED)
        ax.plot(x, place, "o", markersize=13, color=face, markeredgecolor=color or style.GREY, zorder=4)
        inside = {"ha": "center", "va": "center_baseline", "fontsize": 7.5, "zorder": 5}
        ax.text(x, place, locale.number(rank, language), color=ink, weight="bold" if color else "normal", **inside)


def _at_the_ends(ax, rows, name, color, language):
    look = {"fontsize": 8.5, "color": color or style.INK, "weight": "bold" if color else "normal"}
    for x, gap, side in ((0, -12, "right"), (len(rows) - 1, 12, "left")):
        if rows["place"].iloc[x] == rows["place"].iloc[x]:
            beside = {"textcoords": "offset points", "va": "center", "ha": side}
            ax.annotate(wrapped(name, language), (x, rows["place"].iloc[x]), (gap, 0), **beside, **look)


def _order(row, language):
    """The order, and below it the number of states and the gap to the assist share."""
    gap = amount(row.get("assist_gap", np.nan), "share", None, language, change=True)
    return f"{locale.number(row['order'], language)}\n{locale.number(row['states'], language)}\n{gap}"
