"""The graph of transitions: from "(start)" through touchpoints to "(conversion)" and "(end)"."""

import textwrap

import numpy as np
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path

from perfnb import locale
from perfnb.plot import style
from perfnb.plot.attribution import wrapped

_START, _CONVERSION, _END = "(start)", "(conversion)", "(end)"
_WIDTH, _HEIGHT, _PITCH = 1.45, 0.4, 0.86  # of a box, and from one to the next below it; inches, as all here
_FAR, _BETWEEN = 1.5, 2.7  # from the ends to the touchpoints, and between their two columns
_THICKEST, _THINNEST = 9.0, 0.7  # points
_LABELS = 12  # so many connections have their share beside them
_PORTS, _ARRIVAL = {"(conversion)": -0.13, "(end)": 0.05}, 0.13  # where lines leave and reach boxes, off the middle
_MARGIN, _FOOT = 0.15, 0.17
_PASSING = "#9AA3AF"
_COLORS = {_CONVERSION: style.BLUE, _END: style.GREY}
_ALONG = (0.5, 0.42, 0.58, 0.34, 0.66, 0.26, 0.74, 0.18, 0.82)  # where on a line its share may stand


def transition_graph(transitions, *, top=12, edges=36, language="en", ax=None):
    """Where journeys go: touchpoints as boxes, the strongest connections as lines as thick as their transitions.

    From `journey.transitions`. Blue lines lead to conversions, grey ones out of
    the data. Of more than `top` touchpoints those passed most are drawn; left
    stand those that more often open journeys. Of the connections the `edges`
    strongest are drawn, and the strongest into "(conversion)" in any case.
    """
    whole = transitions["transitions"].sum()
    if transitions.empty or not whole:
        return style.empty(ax, language)
    places, names = _laid_out(transitions, top)
    drawn = _strongest(transitions[transitions["from"].isin(places) & transitions["to"].isin(places)], edges)
    lines = _reading(transitions, drawn, len(places) - 3, names, language)
    low = max(y for _, y in places.values()) + _HEIGHT / 2 + 0.25
    width = max(x for x, _ in places.values()) + _WIDTH / 2 + _MARGIN
    lines = [line for said in lines for line in textwrap.wrap(said, int(17 * (width - 2 * _MARGIN)))]
    ax, scale = style.page(ax, width, low + _FOOT * len(lines) + 0.05)
    strongest = drawn["transitions"].max()
    courses = {}
    for row in drawn[::-1].to_dict("records"):
        courses[row["from"], row["to"]] = course = _course(row["from"], row["to"], places)
        thick = max(_THICKEST * row["transitions"] / strongest, _THINNEST)
        _connect(ax, course, thick, row["to"], scale)
    for name, place in places.items():
        _box(ax, name, place, scale, language)
    _shares(ax, drawn, courses, places, scale, language)
    for number, line in enumerate(lines):
        ax.text(_MARGIN, low + _FOOT * number, line, fontsize=7.5 * scale, color=style.MUTED, va="top")
    return ax


# Where boxes stand


def _laid_out(transitions, top):
    """{name: (x, y)} of what is drawn, and the names of all touchpoints.

    Two columns, half a box apart in height, so that lines between the ends and
    the column on the far side run through the gaps of the near one.
    """
    table = transitions[transitions["from"] != transitions["to"]]
    passed = table.groupby("to")["transitions"].sum().drop([_CONVERSION, _END], errors="ignore")
    passed = passed.sort_values(ascending=False, kind="stable")
    kept = list(passed.index[:top])
    opened = _from_or_to(table, "from", _START, "to").reindex(kept).fillna(0) / passed[kept]
    left_by = table.groupby("from")["transitions"].sum().reindex(kept)
    converting = (_from_or_to(table, "to", _CONVERSION, "from").reindex(kept).fillna(0) / left_by).fillna(0)
    half = len(kept) if len(kept) < 4 else -(-len(kept) // 2)
    opening = list(opened.sort_values(ascending=False, kind="stable").index)
    columns = [
        converting[part].sort_values(ascending=False, kind="stable").index for part in (opening[:half], opening[half:])
    ]
    left = _MARGIN + _WIDTH / 2
    first = _MARGIN + _HEIGHT / 2
    places = {}
    for number, column in enumerate(columns):
        x = left + _FAR + _WIDTH + number * (_BETWEEN + _WIDTH)
        for row, name in enumerate(column):
            places[name] = (x, first + _PITCH * (row + 0.5 * number))
    rows = [y for _, y in places.values()] or [first + _PITCH]
    middle, spread = (min(rows) + max(rows)) / 2, max((max(rows) - min(rows)) / 4, 0.6 * _PITCH)
    right = max((x for x, _ in places.values()), default=left) + _FAR + _WIDTH
    top_of = max(_MARGIN + _HEIGHT / 2 - (middle - spread), 0)
    places = {name: (x, y + top_of) for name, (x, y) in places.items()}
    ends = {_START: (left, middle), _CONVERSION: (right, middle - spread), _END: (right, middle + spread)}
    return places | {name: (x, y + top_of) for name, (x, y) in ends.items()}, list(passed.index)


def _from_or_to(table, side, end, other):
    return table[table[side] == end].groupby(other)["transitions"].sum()


def _strongest(table, edges):
    """The strongest connections; of every touchpoint those that lead to it and away, and some into "(conversion)".

    Those are few beside the others, and what it is all about.
    """
    table = table[(table["from"] != table["to"]) & (table["transitions"] > 0)]
    table = table.sort_values("transitions", ascending=False, kind="stable")
    converting = table.index[table["to"] == _CONVERSION][: max(edges // 6, 1)]
    needed = table.index[~table["from"].duplicated() | ~table["to"].duplicated()].union(converting)
    others = table.index.difference(needed, sort=False)[: max(edges - len(needed), 0)]
    return table[table.index.isin(needed.union(others))]


# How lines run


def _course(one, other, places):
    """The points of one or two cubic curves from a box to another, which leave and arrive level."""
    (x0, y0), (x1, y1) = places[one], places[other]
    y0, y1, half, far = y0 + _PORTS.get(other, -0.05), y1 + _ARRIVAL, _WIDTH / 2, abs(x1 - x0) > _FAR + 1.5 * _WIDTH
    ends = (_CONVERSION, _END)
    if x0 == x1:  # in one column: out into the middle and back
        side = -1 if x0 == max(x for name, (x, _) in places.items() if name not in ends) else 1
        bow = x0 + side * (half + 0.35 + 0.16 * abs(y1 - y0) / _PITCH)
        return [(x0 + side * half, y0), (bow, y0), (bow, y1), (x0 + side * half, y1)]
    side = 1 if x1 > x0 else -1
    start, end = (x0 + side * half, y0), (x1 - side * half, y1)
    if one == _START and far and other not in ends:
        bend = (x0 + half + _FAR, y1)
        return [*_curve(start, bend), *_straight(bend, end)[1:]]
    if other in ends and far and one != _START:
        bend = (x1 - half - _FAR, y0)
        return [*_straight(start, bend), *_curve(bend, end)[1:]]
    return _curve(start, end)


def _straight(start, end):
    step = (end[0] - start[0]) / 3
    return [start, (start[0] + step, start[1]), (start[0] + 2 * step, start[1]), end]


def _curve(start, end):
    middle = (start[0] + end[0]) / 2
    return [start, (middle, start[1]), (middle, end[1]), end]


def _connect(ax, course, thick, to, scale):
    """The line with an arrow's head at its end."""
    end, color, above = np.array(course[-1]), _COLORS.get(to, _PASSING), 0.2 * (to == _CONVERSION)
    before = next(point for point in course[::-1] if point != course[-1])
    side = 1 if before[0] < end[0] else -1
    head, wide = (thick + 5) / 72 * 0.75, (thick + 4.5) / 72 / 2
    neck = (end[0] - side * head, end[1])
    points = [neck if point == course[-1] else point for point in course]
    codes = [Path.MOVETO] + [Path.CURVE4] * (len(points) - 1)
    look = {
        "facecolor": "none",
        "edgecolor": color,
        "linewidth": thick * scale,
        "capstyle": "butt",
        "zorder": 1 + above,
    }
    ax.add_patch(PathPatch(Path(points, codes), **look))
    corners = [end, (neck[0], neck[1] - wide), (neck[0], neck[1] + wide)]
    ax.add_patch(Polygon(corners, facecolor=color, linewidth=0, zorder=1.5 + above))


# What is written


def _box(ax, name, place, scale, language):
    """A touchpoint with its name in one line, or in two where it is too long for one."""
    x, y = place
    own = name in (_START, _CONVERSION, _END)
    look = {"facecolor": "#F4F5F6" if own else "white", "edgecolor": _COLORS.get(name, style.MUTED)}
    frame = FancyBboxPatch(
        (x - _WIDTH / 2, y - _HEIGHT / 2),
        _WIDTH,
        _HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.06",
        linewidth=(1.6 if own else 1.0) * scale,
        zorder=3,
        **look,
    )
    ax.add_patch(frame)
    room = _WIDTH - 0.12
    lines = wrapped(name, language, 22, 60).split("\n")
    fitting = [style.fitted(line, 8, room, smallest=6) for line in lines]
    size = min(size for _, size in fitting) * scale
    for number, (line, _) in enumerate(fitting):
        middle = {"ha": "center", "va": "center_baseline", "color": style.INK, "zorder": 4}
        ax.text(x, y + 0.155 * (number - (len(lines) - 1) / 2), line, fontsize=size, **middle)


def _shares(ax, drawn, courses, places, scale, language):
    """Shares beside the strongest lines and those to conversions, where they hide neither a box nor each other."""
    taken = [(x - _WIDTH / 2, x + _WIDTH / 2, y - _HEIGHT / 2, y + _HEIGHT / 2) for x, y in places.values()]
    told = (np.arange(len(drawn)) < _LABELS) | (drawn["to"] == _CONVERSION)
    for row in drawn[told].to_dict("records"):
        said = locale.share(row["share_out"], language, 0 if row["share_out"] >= 0.0995 else 1)
        wide, high = style.text_width(said, 7) / 2 + 0.03, 0.07
        for x, y in _along(courses[row["from"], row["to"]]):
            here = (x - wide, x + wide, y - high, y + high)
            if all(_apart(here, other) for other in taken):
                taken.append(here)
                ink = style.BLUE if row["to"] == _CONVERSION else style.INK
                under = {"boxstyle": "square,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
                middle = {"ha": "center", "va": "center_baseline", "zorder": 2, "bbox": under}
                ax.text(x, y, said, fontsize=7 * scale, color=ink, **middle)
                break


def _along(course):
    """Points on the longer curve of a line."""
    parts = [np.array(course[start : start + 4]) for start in range(0, len(course) - 1, 3)]
    part = max(parts, key=lambda part: np.abs(part[3] - part[0]).sum())
    for t in _ALONG:
        yield tuple(np.array([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]) @ part)


def _apart(one, other):
    return one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]


def _reading(transitions, drawn, boxes, names, language):
    """How to read the graph, and what is not drawn of it."""
    whole = transitions["transitions"].sum()
    facts = {
        "share": locale.share(drawn["transitions"].sum() / whole, language, 0),
        "all": locale.number(whole, language),
    }
    said = [locale.text("plot.graph_shown", language, **facts)]
    if boxes < len(names):
        said.append(locale.text("plot.graph_left_out", language, shown=boxes, all=len(names)))
    return [locale.text("plot.graph_reads", language), " ".join(said)]
