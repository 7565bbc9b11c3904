"""Journeys as flows: columns of touchpoints, position by position, and ribbons from each to the next."""

import textwrap
from zlib import crc32

from matplotlib.patches import PathPatch
from matplotlib.path import Path

from perfnb import locale
from perfnb.plot import style

_START, _CONVERSION, _END, _ON, _OTHER = "(start)", "(conversion)", "(end)", "(goes on)", "(other)"
# Tol's muted colours (2021), which colour-blind eyes tell apart; the names beside the bars say it too.
_PALETTE = ("#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499")
_MEANT = {_START: "#4B5563", _CONVERSION: style.BLUE, _END: style.GREY, _ON: "#4B5563", _OTHER: "#8A9099"}
_PLACES = {_CONVERSION: 0, _OTHER: 2, _ON: 3, _END: 4}  # in their column; named touchpoints stand at 1
_TALL, _GAP, _TEXT = 3.6, 0.06, 0.145  # inches: of all journeys, between bars, of a line of text
_BAR, _MARGIN, _HEAD, _LINE, _THINNEST = 0.12, 0.15, 0.5, 0.17, 0.015
_FAINTEST = 0.012  # inches: thinner ribbons are not drawn
_NAMED = 0.005  # of all journeys: smaller bars have no name beside them
_LEAST, _WIDEST = 1.25, 1.75  # from one column to the next
_SIZE, _CLEAR = 7.5, 0.4
_DPI = 90  # fewer dots than other pages, and ribbons without soft edges: those make large files


def sankey(flows, *, language="en", ax=None):
    """Where journeys go, position by position: bars as high as their journeys, ribbons from each to the next.

    From `journey.flows`. A touchpoint has the same colour everywhere; blue ribbons lead
    to conversions, grey ones out of the data. A ribbon joins two positions: it does not
    follow a person over two of them.
    """
    flows = flows[flows["journeys"] > 0]
    if flows.empty:
        return style.empty(ax, language)
    columns = _columns(flows)
    whole = sum(columns[0].values())
    scale = _TALL / whole
    pitch = min(_WIDEST, max(_LEAST, 8.2 / len(columns)))
    room = pitch - _BAR - 0.1
    labels = [
        {name: _lines(name, room, language) for name, n in column.items() if name in _PLACES or n >= _NAMED * whole}
        for column in columns
    ]
    places, low = _stacked(columns, labels, scale)
    colors = _colored(flows)
    width = 2 * _MARGIN + pitch * len(columns)
    lefts = [_MARGIN + pitch * number for number in range(len(columns))]
    drawn, ribbons = _ribbons(flows, places, lefts, scale)
    said = textwrap.wrap(_reading(flows, drawn, language), int(17 * (width - 2 * _MARGIN)))
    ax, shrink = style.page(ax, width, low + 0.2 + _LINE * len(said) + 0.05, _DPI)
    pen = style.Pen(ax, shrink, language)
    for (name, to), points in ribbons.items():
        color = colors[to] if to in (_CONVERSION, _END) else colors[name]
        codes = [Path.MOVETO, *[Path.CURVE4] * 3, Path.LINETO, *[Path.CURVE4] * 3, Path.CLOSEPOLY]
        path = Path([point for one in points for point in one], codes * len(points))
        ax.add_patch(PathPatch(path, facecolor=color, alpha=_CLEAR, linewidth=0, antialiased=False, zorder=1))
    for number, column in enumerate(columns):
        _head(pen, lefts[number], number + 1, column)
        for name, journeys in column.items():
            top, height = places[number, name]
            pen.box(lefts[number], top, _BAR, max(height, _THINNEST), facecolor=colors[name], zorder=2)
            if name in labels[number]:
                x = lefts[number] + _BAR + 0.05
                _label(pen, x, top, height, labels[number][name], locale.number(journeys, language), room)
    for number, line in enumerate(said):
        pen.write(_MARGIN, low + 0.3 + _LINE * number, line, 7.5, width=width, color=style.MUTED)
    return ax


# Where bars stand


def _columns(flows):
    """For each position its touchpoints with their journeys, in the order in which ribbons cross little."""
    first, last = flows["position"].min(), flows["position"].max()
    links = [flows[flows["position"] == position] for position in range(first, last + 1)]
    columns = [part.groupby("to")["journeys"].sum().to_dict() for part in links]
    columns = [dict(sorted(column.items(), key=lambda item: (_rank(item[0]), -item[1], item[0]))) for column in columns]
    # Two sweeps by barycentre (Sugiyama, Tagawa & Toda 1981): forwards by where ribbons come from, then backwards.
    for number in range(1, len(columns)):
        columns[number] = _sorted(columns[number], columns[number - 1], links[number], "to", "from")
    for number in range(len(columns) - 2, -1, -1):
        columns[number] = _sorted(columns[number], columns[number + 1], links[number + 1], "from", "to")
    return columns


def _rank(name):
    return _PLACES.get(name, 1)


def _sorted(column, other, links, own, far):
    """The column in the order of where its ribbons end in the other column, on average."""
    place = {name: number for number, name in enumerate(other)}
    links = links.assign(weighed=links["journeys"] * links[far].map(place))
    sums = links.groupby(own)[["weighed", "journeys"]].sum()
    middle = (sums["weighed"] / sums["journeys"]).to_dict()
    stays = {name: number for number, name in enumerate(column)}
    ordered = sorted(column, key=lambda name: (_rank(name), middle.get(name, stays[name]), stays[name]))
    return {name: column[name] for name in ordered}


def _stacked(columns, labels, scale):
    """{(column, name): (top, height)} of all bars, as far apart as their names need, and where the lowest ends."""
    places, low = {}, 0.0
    for number, column in enumerate(columns):
        y = _MARGIN + _HEAD
        for name, journeys in column.items():
            height = journeys * scale
            slot = max(height, _THINNEST, _TEXT * len(labels[number].get(name, ())))
            places[number, name] = (y + (slot - height) / 2, height)
            y += slot + _GAP
        low = max(low, y)
    return places, low


# Ribbons


def _ribbons(flows, places, lefts, scale):
    """How many journeys are drawn, and {(from, to): outlines}; what would be thinner than a hair is not drawn."""
    rows = flows.rename(columns={"from": "one", "to": "other"})
    rows["number"] = rows["position"] - rows["position"].min() - 1
    rows = rows[rows["number"] >= 0].copy()
    order = {key: place for place, key in enumerate(places)}
    rows["leaves"] = [order[key] for key in zip(rows["number"], rows["one"], strict=True)]
    rows["lands"] = [order[key] for key in zip(rows["number"] + 1, rows["other"], strict=True)]
    for side, far in (("leaves", "lands"), ("lands", "leaves")):
        rows = rows.sort_values([side, far])
        rows[f"{side}_at"] = (rows.groupby(side)["journeys"].cumsum() - rows["journeys"]) * scale
    rows = rows[rows["journeys"] * scale >= _FAINTEST].sort_values("journeys", ascending=False, kind="stable")
    ribbons = {}
    for row in rows.itertuples():
        height = row.journeys * scale
        x0, x1 = lefts[row.number] + _BAR, lefts[row.number + 1]
        y0 = places[row.number, row.one][0] + row.leaves_at
        y1 = places[row.number + 1, row.other][0] + row.lands_at
        half = (x0 + x1) / 2
        above = [(x0, y0), (half, y0), (half, y1), (x1, y1)]
        below = [(x1, y1 + height), (half, y1 + height), (half, y0 + height), (x0, y0 + height)]
        ribbons.setdefault((row.one, row.other), []).append([*above, *below, (x0, y0)])
    return int(rows["journeys"].sum()), ribbons


def _colored(flows):
    """A colour for each name, by the name and not by its place or size, so that charts of the same events agree."""
    slots = {name: crc32(str(name).encode()) for name in set(flows["to"]) - set(_MEANT)}
    free, found = list(_PALETTE), dict(_MEANT)
    for name in sorted(slots, key=slots.get):
        start = slots[name] % len(_PALETTE)
        found[name] = next((color for color in (*_PALETTE[start:], *_PALETTE[:start]) if color in free), style.MUTED)
        free = [color for color in free if color != found[name]]
    return found


# What is written


def _head(pen, left, number, column):
    """The number of the touch, and how many journeys have it."""
    going = sum(journeys for name, journeys in column.items() if name not in (_CONVERSION, _END))
    if not going:
        return
    word = "later" if set(column) <= {_ON, _CONVERSION, _END} else "nth_touch"
    pen.write(left, _MARGIN + 0.12, locale.text(f"plot.{word}", pen.language, n=number), 8, weight="bold")
    pen.write(left, _MARGIN + 0.29, locale.number(going, pen.language), 7.5, color=style.MUTED)


def _lines(name, room, language):
    """The name in one line, or in two."""
    said = style.plain(name, language, 60)
    if style.text_width(said, _SIZE) <= room - 0.3:
        return [said]
    return textwrap.wrap(said, int(room * 15), max_lines=2, placeholder="…", break_long_words=False)


def _label(pen, x, top, height, lines, count, room):
    """Name and number beside the bar; the number has a line of its own where the bar is high enough."""
    if height >= _TEXT * (len(lines) + 1):
        lines = [*lines, count]
    else:
        name, _ = style.fitted(lines[-1], 6.0, room - style.text_width(f"  {count}", 6.0), smallest=6.0)
        lines = [*lines[:-1], f"{name}  {count}"]
    size = min(style.fitted(line, _SIZE, room, smallest=6.0)[1] for line in lines)
    under = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.6}
    look = {"fontsize": size * pen.scale, "color": style.INK, "va": "center", "linespacing": 1.15, "zorder": 3}
    pen.ax.text(x, top + height / 2, "\n".join(lines), bbox=under, **look)


def _reading(flows, drawn, language):
    """How to read the ribbons, what they cover, and what is not drawn of them."""
    facts = {"share": locale.share(flows["coverage"].iloc[0], language, 0), "other": locale.word(_OTHER, language)}
    said = [locale.text("plot.ribbons_read", language), locale.text("plot.ribbons_named", language, **facts)]
    whole = flows.loc[flows["position"] > flows["position"].min(), "journeys"].sum()
    if drawn < whole:
        thin = locale.share(drawn / whole, language, 1)
        said.append(locale.text("plot.ribbons_drawn", language, share=thin))
    return " ".join([style.defined(flows, language), *said])
