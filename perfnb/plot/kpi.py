"""Charts of KPIs: what moved them, whether a day was unusual, how far it is to the target.

In all of them blue helps and orange hurts where the KPI should go, and what is
hollow (or not filled) lies within the usual variation.
"""

import textwrap
from types import SimpleNamespace

import numpy as np
import pandas as pd
from babel.numbers import format_compact_currency, format_compact_decimal
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from perfnb import locale
from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import CATALOGUE
from perfnb.plot import style
from perfnb.tables import kpi_name

_COMPACT = 1e7  # from here on amounts are said in millions
_WIDEST = 2.0  # times the target, where bars end
_SPAN = "#E3E6E9"  # what is usual
_TOLD = 6  # so many unusual days have their figures beside them


def waterfall(nodes, *, top=12, language="en", ax=None):
    """From before to after by what each leaf of the tree contributed; from `kpi.nodes`, or from `kpi.gap`.

    Leaves stand as in the tree. Hollow bars are within the usual variation,
    whiskers 95 % intervals. Of more than `top` leaves the smallest are one bar.
    """
    if nodes.empty:
        return style.empty(ax, language)
    root, rows = nodes.iloc[0], _steps(nodes, top, language)
    ax = style.axes(ax, 0.4 * (len(rows) + 2) + 0.9)
    write = writer(root["unit"], root["currency"], [row["contribution"] for row in rows], language)
    at, seen = root["before"], [root["before"], root["after"]]
    for place, row in enumerate(rows, start=1):
        ax.plot([at, at], [place - 1.31, place + 0.31], color=style.MUTED, linewidth=0.7, zorder=0)
        seen += _bar(ax, place, at, row, root["direction"], write)
        at += row["contribution"]
    ax.plot([at, at], [len(rows) - 0.31, len(rows) + 1.31], color=style.MUTED, linewidth=0.7, zorder=0)
    words = ("target", "actual") if "target" in nodes else ("before", "after")
    name = kpi_name(root["kpi"], language)
    labels = [style.plain(f"{name}, {locale.text(f'plot.{word}', language)}", language, 44) for word in words]
    for place, end in ((0, "before"), (len(rows) + 1, "after")):
        ax.plot([root[end]] * 2, [place - 0.31, place + 0.31], color=style.INK, linewidth=4, solid_capstyle="butt")
        said = amount(root[end], root["unit"], root["currency"], language)
        _beside(ax, root[end], place, said, color=style.INK, weight="bold")
    style.rows(ax, [labels[0], *(row["name"] for row in rows), labels[1]])
    _bare(ax, seen, 0.04, 0.22)
    _key(ax, rows, root["direction"], language)
    if any(row["low"] == row["low"] for row in rows):
        style.caption(ax, locale.text("plot.interval", language))
    return ax


def movers(explained, *, top=10, language="en", ax=None):
    """The largest contributions by segment, from `kpi.explain`: what helped the root in blue, what hurt it in orange.

    Hollow bars are within the usual variation, whiskers 95 % intervals.
    """
    shown = explained[explained["contribution"] != 0].head(top)
    if shown.empty:
        return style.empty(ax, language)
    one, keys = _root(shown["root"].iloc[0]), list(shown.columns[1 : shown.columns.get_loc("kind")])
    ax = style.axes(ax, 0.4 * len(shown) + 1.2)
    write = writer(one.unit, shown["currency"].iloc[0], shown["contribution"], language)
    rows = [row | {"noise": noisy(row)} for row in shown.to_dict("records")]
    seen, labels = [0.0], []
    for place, row in enumerate(rows):
        seen += _bar(ax, place, 0.0, row, one.direction, write, outwards=True)
        kpi = style.plain(kpi_name(row["kpi"], language), language)
        labels.append(f"{_segment(row, keys, language)}\n{kpi}, {locale.word(row['kind'], language)}")
    ax.axvline(0, color=style.INK, linewidth=0.8)
    style.rows(ax, labels)
    ax.tick_params(axis="y", labelsize=8)
    _bare(ax, seen, 0.2, 0.2)
    _key(ax, rows, one.direction, language)
    style.caption(ax, f"{_contribution_to(one, language)}. {locale.text('plot.interval', language)}")
    return ax


def factors(factors, *, top=10, language="en", ax=None):
    """What every factor did in every segment, from `kpi.factors`: a heat map with totals at the right and below.

    Cells within the usual variation are not filled. Beyond the `top` segments the
    rest is one row, so that all add up to the change of the root.
    """
    if factors.empty:
        return style.empty(ax, language)
    one, total = _root(factors["root"].iloc[0]), locale.text("plot.total", language)
    cells, filled, rows = _crossed(factors, top, language)
    names = [_capital(kpi_name(name, language)) for name in dict.fromkeys(factors["factor"])]
    names = [textwrap.fill(style.plain(name, language), 15, break_long_words=False) for name in [*names, total]]
    ax = style.axes(ax, 0.36 * len(rows) + 1.2, max(8.0, 2.6 + 1.1 * len(names)))
    strongest = np.abs(cells[filled]).max() if filled.any() else 1.0
    write = writer(one.unit, None, cells[~np.isnan(cells)], language)
    for (row, column), value in np.ndenumerate(cells):
        if np.isnan(value):
            continue
        # Light enough for dark figures on every tone.
        strength = 0.7 * abs(value) / strongest if filled[row, column] else 0.0
        color = _tint(verdict(value, one.direction)[0], strength)
        ax.add_patch(Rectangle((column - 0.48, row - 0.45), 0.96, 0.9, facecolor=color, linewidth=0))
        sums = row == len(rows) - 1 or column == len(names) - 1
        ink = style.INK if filled[row, column] or sums else style.MUTED
        said = write(value).removesuffix(f"\N{NO-BREAK SPACE}{locale.text('show.pp', language)}")
        weight = "bold" if sums else "normal"
        ax.text(column, row, said, ha="center", va="center", fontsize=8.5, color=ink, weight=weight)
    ax.axhline(len(rows) - 1.5, color=style.MUTED, linewidth=0.8)
    ax.axvline(len(names) - 1.5, color=style.MUTED, linewidth=0.8)
    style.rows(ax, rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_xticks(range(len(names)), names)
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", labelsize=8.5)
    ax.spines["bottom"].set_visible(False)
    said = _contribution_to(one, language)
    unit = locale.text("plot.percentage_points", language) if one.unit == "share" else factors["currency"].iloc[0]
    if one.unit in ("share", "currency", "currency_per_unit") and unit:
        said = locale.text("plot.in_unit", language, said=said, unit=unit)
    verdicts = "blue_orange" if one.direction in ("higher", "lower") else "grey"
    known = "filled" if factors["within_noise"].notna().any() else "colours"
    style.caption(ax, f"{said}. {locale.text(f'plot.{known}_{verdicts}', language)}", 84)
    return ax


def control_chart(days, *, last=56, language="en", ax=None):
    """One KPI of one segment by day, from `kpi.chart` or `kpi.course`: its usual range in grey, days outside it marked.

    Drawn are the `last` days of the table. A day above the range points up, one
    below it down; blue where that is better, orange where it is worse.
    """
    if days["date"].duplicated().any():
        twice = locale.day(days["date"][days["date"].duplicated()].iloc[0], language)
        raise BadParameter(f"more than one row for {twice}: choose the rows of one KPI and one segment first")
    days = days.sort_values("date", ignore_index=True).tail(last)
    if days["value"].isna().all():
        return style.empty(ax, language)
    one = CATALOGUE[days["kpi"].iloc[0]]
    currency = days["currency"].iloc[0] if "currency" in days else None
    name, at = style.plain(kpi_name(one.id, language), language), days["date"]
    ax = style.axes(ax, 3.0)
    said = {word: locale.text(f"plot.{word}", language) for word in ("range", "expected", "high", "low")}
    if days["expected"].notna().any():
        ax.fill_between(at, days["low"], days["high"], color=_SPAN, linewidth=0, label=said["range"])
        ax.plot(at, days["expected"], color=style.MUTED, linewidth=1, linestyle=(0, (4, 2)), label=said["expected"])
    ax.plot(at, days["value"], "o-", color=style.INK, linewidth=1.1, markersize=2.6, label=name)
    for status, marker, sign in (("high", "^", 1), ("low", "v", -1)):
        found = days[days["status"] == status]
        color = verdict(sign, one.direction)[0]
        if len(found):
            options = {"color": color, "markersize": 9, "markeredgecolor": "white", "label": said[status]}
            ax.plot(found["date"], found["value"], marker, **options)
        for row in found.itertuples() if days["status"].isin(["high", "low"]).sum() <= _TOLD else ():
            figure = amount(row.value, one.unit, currency, language)
            place = {"xytext": (0, 9 * sign), "va": "bottom" if sign > 0 else "top", "ha": "center"}
            told = f"{_short_day(row.date, language)}: {figure}"
            ax.annotate(told, (row.date, row.value), textcoords="offset points", fontsize=8, **place)
    _days_below(ax, at, language)
    values = days[["value", "low", "high", "expected"]].to_numpy(float)
    low, high = np.nanmin(values), np.nanmax(values)
    room = (high - low) * 0.15 or abs(high) * 0.5 or 1.0
    ax.set_ylim(0 if 0 <= low < 4 * room else low - room, high + room)
    ax.yaxis.set_major_formatter(lambda value, _: _tick(ax, value, one.unit, currency, language))
    style.grid(ax, "y")
    ax.set_ylabel(name, fontsize=9)
    style.legend(ax, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, columnspacing=1.2, handlelength=1.6)
    return ax


def targets(tracked, *, language="en", ax=None):
    """How far it is to each target, from `kpi.track`: a bar each, 100 % being the target.

    The sign says how it stands (✓ on track, ! just off, ✗ off track). An open
    triangle is what was due by now, a diamond where this pace leads, with its 95 %
    interval. Of a band the bar should end in the grey span.
    """
    if tracked.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.48 * len(tracked) + 1.2)
    rows, seen, kinds = tracked.to_dict("records"), [0.0, 1.1], set()
    for place, row in enumerate(rows):
        color, sign = style.STATUS[row["status"]]
        left = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        disc = {"boxstyle": "circle,pad=0.25", "facecolor": color, "edgecolor": "none"}
        ink = "black" if row["status"] == "amber" else "white"
        ax.annotate(sign, (0, place), (-14, 0), **left, bbox=disc, color=ink, ha="center", va="center", fontsize=8)
        ax.annotate(_versus(row, language), (1, place), (10, 0), **left, va="center", fontsize=8.5, color=style.INK)
        seen += _reached(ax, place, row, kinds)
    due = {row["due"] for row in rows}
    style.rows(ax, [_aim(row, len(due) > 1, language) for row in rows])
    ax.tick_params(axis="y", labelsize=8.5, pad=26)
    ax.set_xlim(max(min(seen) * 1.05, -_WIDEST), min(max(seen) * 1.02, _WIDEST))
    style.numbers(ax.xaxis, language, share=True)
    style.grid(ax)
    ax.set_xlabel(locale.text("plot.target_is", language), fontsize=9)
    handles = [handle for kind, handle in _target_marks(language).items() if kind in kinds]
    spaces = {"columnspacing": 1.0, "handlelength": 1.3, "handletextpad": 0.5}
    style.legend(ax, handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=5, **spaces)
    said = locale.text("plot.signs", language)
    if len(due) == 1:
        said = f"{_capital(_until(rows[0], language))}.   {said}"
    style.caption(ax, said)
    return ax


def placebos(placebos, *, language="en", ax=None):
    """The effect of a change among those of days on which nothing was changed, from `kpi.placebos`.

    The grey span is the usual variation; an effect inside it is not separable from it.
    """
    known = placebos[placebos["effect"].notna()]
    if known.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 2.8)
    one, last = CATALOGUE[known["kpi"].iloc[0]], known.iloc[-1]
    quiet = known[known["kind"] == "placebo"]
    low, high = last["usual_low"], last["usual_high"]
    if low == low:
        ax.axhspan(low, high, color=_SPAN, linewidth=0, label=locale.text("plot.usual_variation", language))
    ax.axhline(0, color=style.MUTED, linewidth=0.8)
    said = locale.text("plot.quiet_days", language)
    ax.plot(quiet["date"], quiet["effect"], "o", color=style.MUTED, markersize=3, label=said)
    _days_below(ax, known["date"], language)
    if last["kind"] == "measured":
        color = verdict(last["effect"], one.direction)[0]
        inside = not (last["effect"] < low or last["effect"] > high)
        options = {"markerfacecolor": "white" if inside else color, "markeredgecolor": color, "markersize": 9}
        said = locale.text("plot.the_change", language)
        ax.plot(last["date"], last["effect"], "D", **options, linestyle="none", label=said)
        told = locale.signed(locale.share(last["effect"], language), last["effect"])
        place = {"xytext": (-9, 0), "textcoords": "offset points", "va": "center", "ha": "right"}
        ax.annotate(told, (last["date"], last["effect"]), fontsize=9, **place)
    style.numbers(ax.yaxis, language, share=True)
    style.grid(ax, "y")
    name = style.plain(kpi_name(one.id, language), language)
    ax.set_ylabel(locale.text("plot.effect", language, kpi=name), fontsize=9)
    style.legend(ax, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1.2)
    return ax


# What KPIs and amounts are called


def amount(value, unit, currency, language, *, change=False, decimals=None, compact=False):
    """A KPI's value, or a change of it, with its unit; the change of a share in percentage points.

    From ten millions on, or where `compact` says so, it has three digits and a word ("512 Mio. €").
    """
    if value != value or value is None:
        return locale.MISSING
    decimals = decimals_of(unit, [value], change=change) if decimals is None else decimals
    if unit == "share" and change:
        said = f"{locale.number(100 * value, language, decimals)}\N{NO-BREAK SPACE}{locale.text('show.pp', language)}"
    elif unit == "share":
        said = locale.share(value, language, decimals)
    elif compact or abs(value) >= _COMPACT:
        said = _compact(value, currency if unit.startswith("currency") else None, language)
    elif unit.startswith("currency"):
        said = locale.money(value, currency, language, decimals)
    elif unit in ("days", "hours", "seconds"):
        said = f"{locale.number(value, language, decimals)}\N{NO-BREAK SPACE}{locale.text(f'plot.{unit}', language)}"
    else:
        said = locale.number(value, language, decimals)
    return said.replace("$", r"\$")


def decimals_of(unit, values, *, change=False):
    """As many decimals as amounts of this size need; all amounts of a chart have the same."""
    largest = max((abs(value) for value in values if value == value), default=0.0)
    if unit == "share":
        return 2 if change or largest < 0.01 else 1
    if unit in ("count", "persons"):
        return 1 if change and largest < 20 else 0
    if unit == "currency":
        return 2 if 0 < largest < 100 else 0
    if unit in ("currency_per_unit", "x"):
        return 0 if largest >= 1000 else 4 if 0 < largest < 0.1 else 2
    return 1


def writer(unit, currency, values, language):
    """How to write changes of this unit: with a sign, and all of these values with the same decimals."""
    options = {"change": True, "decimals": decimals_of(unit, values, change=True)}
    options["compact"] = unit != "share" and max((abs(value) for value in values), default=0) >= _COMPACT

    def write(value):
        return locale.signed(amount(value, unit, currency, language, **options), value)

    return write


def verdict(contribution, direction):
    """Blue where the root went where it should, orange where it did not; the arrow says up or down."""
    arrow = "▲" if contribution > 0 else "▼" if contribution < 0 else "•"
    good = contribution * {"higher": 1, "lower": -1}.get(direction, 0)
    return (style.BLUE if good > 0 else style.ORANGE if good < 0 else style.MUTED), arrow


def noisy(row):
    """Whether it moved, but no more than it usually does."""
    noise = row.get("within_noise")
    return bool(row["contribution"] and noise is not None and noise is not pd.NA and noise == 1)


def leaves(nodes):
    """The nodes that no other stands below."""
    return nodes[~nodes["path"].isin(set(nodes["path"].str.rpartition("/")[0]))]


def directions(direction, language):
    """[(arrow, colour, words)] for up and down."""
    said = {"higher": ("helps", "hurts"), "lower": ("hurts", "helps")}.get(direction, ("", ""))
    made = []
    for way, verb, sign in zip(("more", "less"), said, (1, -1), strict=True):
        color, arrow = verdict(sign, direction)
        words = [locale.text(f"plot.{word}", language) for word in (way, verb) if word]
        made.append((arrow, color, ": ".join(words)))
    return made


def _compact(value, currency, language):
    size = abs(float(value))
    # German has no short form below a million.
    if size < (1e6 if language == "de" else 1e3):
        said = locale.money(size, currency, language, 0) if currency else locale.number(size, language)
        return f"\N{MINUS SIGN}{said}" if value < 0 else said
    decimals = 2 - int(np.log10(size)) % 3
    options = {"locale": language, "fraction_digits": decimals}
    said = format_compact_currency(size, currency, **options) if currency else format_compact_decimal(size, **options)
    return f"\N{MINUS SIGN}{said}" if value < 0 else said


def _capital(said):
    return said[:1].upper() + said[1:]


def _short_day(day, language):
    return locale.day(day, language)[:6].strip()


def _segment(row, keys, language):
    named = [row[key] for key in keys if row[key] not in (None, "(unknown)") and row[key] == row[key]]
    named = named or [row[key] for key in keys[:1] if isinstance(row[key], str)]
    named = named or [locale.text("plot.no_segment", language)]
    return " · ".join(style.plain(one, language, 24) for one in named)


def _contribution_to(one, language):
    return locale.text("plot.contribution_to", language, kpi=style.plain(kpi_name(one.id, language), language))


def _root(name):
    """The Kpi of the root, for the unit and direction of contributions; a root of one's own has neither."""
    return CATALOGUE.get(name) or SimpleNamespace(id=name, unit="x", direction="context")


# Bars of contributions


def _steps(nodes, top, language):
    """The bars of the waterfall: the leaves in their order, the smallest pooled."""
    found = leaves(nodes)
    sizes = found["contribution"].abs().sort_values(ascending=False, kind="stable")
    kept = found[found.index.isin(sizes.index[: top if len(found) <= top else top - 1])]
    rows = []
    for row in kept.to_dict("records"):
        name = kpi_name(row["kpi"], language)
        where = _where(row, found[found["kpi"] == row["kpi"]]["path"])
        if where:
            name = f"{name} ({kpi_name(where, language)})"
        facts = {"name": style.plain(name, language, 44), "contribution": row["contribution"], "noise": noisy(row)}
        rows.append(facts | {"low": row.get("low", np.nan), "high": row.get("high", np.nan)})
    rest = found.drop(index=kept.index)["contribution"]
    if len(rest):
        name = locale.text("plot.pooled", language, n=len(rest))
        rows.append({"name": name, "contribution": rest.sum(), "low": np.nan, "high": np.nan, "noise": False})
    return rows


def _where(row, paths):
    """The node above that tells this leaf from others of the same KPI; that of what is not allocated."""
    above = [path.split("/")[-2::-1] for path in paths]
    own = row["path"].split("/")[-2::-1]
    if row["kpi"] == "unallocated":
        return own[0]
    apart = [len(set(steps)) == len(above) > 1 for steps in zip(*above, strict=False)]
    return own[apart.index(True)] if True in apart else None


def _bar(ax, place, start, row, direction, write, outwards=False):
    """A contribution as a bar from `start` on, with whiskers and figure; returns how far these reach."""
    color, end = verdict(row["contribution"], direction)[0], start + row["contribution"]
    face = "white" if row["noise"] else color
    ax.barh(place, row["contribution"], left=start, height=0.62, facecolor=face, edgecolor=color, linewidth=1.2)
    low, high = start + row["low"], start + row["high"]
    if low == low:
        ax.plot([low, high], [place, place], color=style.INK, linewidth=1)
    ends = [value for value in (start, end, low, high) if value == value]
    left = outwards and row["contribution"] < 0
    ink = style.MUTED if row["noise"] else style.INK
    _beside(ax, min(ends) if left else max(ends), place, write(row["contribution"]), left=left, color=ink)
    return ends


def _beside(ax, x, place, said, *, left=False, **options):
    gap, side = (-6, "right") if left else (6, "left")
    ax.annotate(said, (x, place), (gap, 0), textcoords="offset points", va="center", ha=side, fontsize=8.5, **options)


def _bare(ax, seen, left, right):
    """An axis without ticks: the figures stand beside the bars."""
    low, high = min(seen), max(seen)
    width = (high - low) or abs(high) or 1.0
    ax.set_xlim(low - width * left, high + width * right)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)


def _key(ax, rows, direction, language):
    """What the colours of the bars mean: those that occur."""
    moved = {np.sign(row["contribution"]) for row in rows}
    handles = [
        Patch(facecolor=color, label=said)
        for sign, (_, color, said) in zip((1, -1), directions(direction, language), strict=True)
        if sign in moved
    ]
    if any(row["noise"] for row in rows):
        handles.append(
            Patch(facecolor="white", edgecolor=style.MUTED, label=locale.text("plot.usual_variation", language))
        )
    if handles:
        style.legend(
            ax, handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1.4, handlelength=1.2
        )


# The heat map


def _crossed(factors, top, language):
    """Contributions by segment and factor with their totals, which of them are filled, and the names of the rows.

    Segments that moved most stand first, the others are one row. A sum over
    segments has no interval, and is not filled.
    """
    keys = list(factors.columns[: factors.columns.get_loc("factor")])
    number = factors.groupby(keys, sort=False, dropna=False).ngroup().to_numpy()
    segments = factors[~pd.Series(number, index=factors.index).duplicated()]
    columns = list(dict.fromkeys(factors["factor"]))
    places = (number, factors["factor"].map(columns.index).to_numpy())
    cells = np.full((len(segments), len(columns) + 1), np.nan)
    filled = np.zeros(cells.shape, bool)
    cells[places], cells[:, -1] = factors["contribution"], segments["change"]
    filled[places] = [bool(row["contribution"]) and not noisy(row) for row in factors.to_dict("records")]
    filled[:, -1] = ~((segments["change_low"] <= 0) & (segments["change_high"] >= 0)) & segments["change"].ne(0)
    order = np.argsort(-np.abs(cells[:, -1]), kind="stable")
    kept, rest = (order, order[:0]) if len(order) <= top + 1 else (order[:top], order[top:])
    names = [_segment(row, keys, language) for row in segments.iloc[kept].to_dict("records")]
    sums = [cells[rest]] * bool(len(rest)) + [cells]
    names += [locale.text("plot.pooled", language, n=len(rest))] * bool(len(rest)) + [
        locale.text("plot.total", language)
    ]
    shown = np.vstack([cells[kept], *(np.nansum(part, axis=0) for part in sums)])
    return shown, np.vstack([filled[kept], np.zeros((len(sums), cells.shape[1]), bool)]), names


def _tint(color, strength):
    """The colour on white paper, from none of it to all."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(color))


# Days


def _days_below(ax, at, language):
    """Mondays as the ticks of an axis of days, as many as there is room for."""
    first, last = at.min(), at.max()
    mondays = list(pd.date_range(first, last, freq="W-MON")) or [first]
    shown = mondays[:: max(1, -(-len(mondays) // 9))]
    ax.set_xticks(shown, [_short_day(day, language) for day in shown])
    room = max((last - first) * 0.02, pd.Timedelta(hours=18))
    ax.set_xlim(first - room, last + room)


def _tick(ax, value, unit, currency, language):
    """A tick of an axis in the KPI's unit, with as many decimals as tell the ticks apart."""
    ticks = ax.get_yticks()
    step = (ticks[1] - ticks[0] if len(ticks) > 1 else 1.0) * (100 if unit == "share" else 1)
    return amount(value, unit, currency, language, decimals=max(0, int(np.ceil(-np.log10(step) - 1e-9))))


# Targets


def _reached(ax, place, row, kinds):
    """Bar, target, what was due, where the pace leads; returns how far these reach, adds to `kinds` what it drew."""
    aim = row["target_high"] if row["direction"] == "band" else row["target"]
    if not aim > 0 or row["actual"] != row["actual"]:
        return []
    actual, due, ahead, low, high = (
        row[name] / aim for name in ("actual", "expected", "projection", "projection_low", "projection_high")
    )
    if row["direction"] == "band":
        ax.barh(
            place, 1 - row["target_low"] / aim, left=row["target_low"] / aim, height=0.72, color=style.GREY, zorder=0
        )
        kinds.add("band")
    ax.barh(place, actual, height=0.34, color=style.MUTED)
    ax.plot([1, 1], [place - 0.36, place + 0.36], color=style.INK, linewidth=2.4, solid_capstyle="butt")
    kinds |= {"actual", "target"}
    running = row["days_left"] > 0
    if running and due == due and abs(due - 1) > 1e-9:
        ax.plot(due, place + 0.27, "^", color=style.INK, markerfacecolor="white", markersize=5.5)
        kinds.add("due_so_far")
    if running and ahead == ahead:
        ax.plot([low, high], [place, place], color=style.INK, linewidth=1)
        ax.plot(ahead, place, "D", color=style.INK, markerfacecolor="white", markersize=4.5)
        kinds.add("projection")
    if actual > _WIDEST:
        ax.plot(_WIDEST * 0.985, place, ">", color="white", markersize=5)
    return [value for value in (actual, *((ahead, high) if running else ())) if value == value]


def _target_marks(language):
    """The handles of the legend, by what they stand for."""
    said = {
        kind: locale.text(f"plot.{kind}", language) for kind in ("actual", "target", "band", "due_so_far", "projection")
    }
    hollow = {"color": "none", "markeredgecolor": style.INK, "markerfacecolor": "white"}
    return {
        "actual": Patch(color=style.MUTED, label=said["actual"]),
        "target": Line2D(
            [],
            [],
            color="none",
            marker="|",
            markeredgecolor=style.INK,
            markeredgewidth=2.4,
            markersize=10,
            label=said["target"],
        ),
        "band": Patch(color=style.GREY, label=said["band"]),
        "due_so_far": Line2D([], [], marker="^", markersize=5.5, **hollow, label=said["due_so_far"]),
        "projection": Line2D([], [], marker="D", markersize=4.5, **hollow, label=said["projection"]),
    }


def _versus(row, language):
    """31,344 € (target ≥ 35,000 €)."""
    actual, target, low, high = (
        amount(row[name], row["unit"], row["currency"], language)
        for name in ("actual", "target", "target_low", "target_high")
    )
    aim = f"{low} – {high}" if row["direction"] == "band" else target
    sign = {"higher": "≥ ", "lower": "≤ "}.get(row["direction"], "")
    return locale.text("plot.versus", language, actual=actual, target=f"{sign}{aim}")


def _aim(row, dated, language):
    keys = [style.plain(row[name], language, 22) for name in ("channel", "campaign") if isinstance(row[name], str)]
    name = " · ".join([style.plain(kpi_name(row["kpi"], language), language), *keys])
    return f"{name}\n{_until(row, language)}" if dated else name


def _until(row, language):
    return locale.text("plot.until", language, day=locale.day(row["due"], language))
