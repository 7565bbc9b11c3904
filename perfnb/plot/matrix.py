"""Heat maps of journeys step by step: of one group of journeys, and of the difference between two."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from perfnb import locale
from perfnb.errors import BadParameter
from perfnb.plot import style
from perfnb.plot.attribution import wrapped

_OWN = ("(start)", "(conversion)", "(end)")  # these rows stand last, in this order
_DARKEST = 0.62  # dark figures are legible on every tone
_REST = "(other)"
_LEVEL = 0.05
_LEAST = 0.005  # shares below are not written
_DPI = 115  # of so many figures a finer picture is a large file
_FAINT = "#F1F2F4"


def step_matrix(matrix, *, top=12, language="en", ax=None):
    """Which share of journeys is where at each step; every column adds up to all that are aligned.

    From `journey.step_matrix`, one group of it. What is over without a conversion, and
    what has not begun, is grey. Of more than `top` touchpoints those that most journeys
    pass are rows, the rest is one row.
    """
    _one_group(matrix)
    if matrix.empty:
        return style.empty(ax, language)
    names, left_out = _ordered(matrix, matrix["journeys"], top)
    wide = _spread(matrix, "share")
    if left_out:
        wide.loc[_REST] = wide.loc[left_out].sum()
    ax, cells = _cells(ax, wide.loc[names])
    grey = np.isin(names, ("(start)", "(end)"))
    strongest = np.where(grey, cells[grey].max(initial=1e-9), cells[~grey].max(initial=1e-9))
    for (row, column), share in np.ndenumerate(cells):
        tone = _tint(style.MUTED if grey[row] else style.BLUE, _DARKEST * share / strongest[row])
        _cell(ax, row, column, tone, locale.share(share, language, 0) if share >= _LEAST else "")
    labels = [_row_name(name, left_out, language) for name in names]
    _frame(ax, names, labels, list(wide.columns), language)
    facts = {
        "n": locale.number(matrix["aligned"].max(), language),
        "share": locale.share(matrix["aligned_share"].max(), language, 0),
    }
    style.note(ax, style.defined(matrix, language), locale.text("plot.matrix_reads", language, **facts))
    return ax


def matrix_difference(difference, *, one="", other="", top=12, language="en", ax=None):
    """Where two groups of journeys differ, in percentage points: blue where more of `one` are, orange where of `other`.

    From `journey.matrix_difference`. What the adjusted p does not separate from chance is
    pale. Of more than `top` touchpoints those with the largest differences are rows.
    """
    if difference.empty:
        return style.empty(ax, language)
    clear = difference["p_adjusted"] < _LEVEL
    names, left_out = _ordered(difference, difference["difference"].abs() + clear, top, pooled=False)
    sure = _spread(difference.assign(clear=clear), "clear").loc[names].to_numpy(bool)
    wide = _spread(difference, "difference").loc[names]
    ax, cells = _cells(ax, wide)
    strongest = max(np.abs(np.where(sure, cells, 0.0)).max(), 1e-9)
    for (row, column), value in np.ndenumerate(cells):
        color, strength = style.BLUE if value > 0 else style.ORANGE, _DARKEST * abs(value) / strongest
        written = round(100 * value, 1)
        said = locale.signed(locale.number(written, language, 1), written) if written else ""
        if sure[row, column]:
            _cell(ax, row, column, _tint(color, strength), said)
        else:
            _cell(ax, row, column, _FAINT, said, style.MUTED)
    labels = [_row_name(name, [], language) for name in names]
    _frame(ax, names, labels, list(wide.columns), language)
    sizes = {end: locale.number(difference[f"aligned_{end}"].max(), language) for end in ("one", "other")}
    named = {
        "one": style.plain(one or locale.text("plot.group_one", language), language),
        "other": style.plain(other or locale.text("plot.group_other", language), language),
    }
    facts = {end: f"{named[end]} ({sizes[end]})" for end in named}
    tests = locale.number(difference["tests"].max(), language)
    more = locale.text("plot.more_touchpoints", language, n=len(left_out)) if left_out else ""
    said = [locale.text("plot.difference_reads", language, tests=tests, **facts), more]
    style.note(ax, *said)
    return ax


def _one_group(matrix):
    if matrix.duplicated(["step", "touchpoint"]).any():
        raise BadParameter("matrix: several rows of a step and touchpoint; expected one group: choose its rows first")


def _ordered(table, sizes, top, pooled=True):
    """The names of the rows, the largest first, ours last, "(other)" before them; and which names have no row."""
    of = sizes.groupby(table["touchpoint"]).sum().sort_values(ascending=False, kind="stable")
    own = [name for name in _OWN if name in of.index]
    others = [name for name in of.index if name not in own]
    kept, rest = (others, []) if len(others) <= top else (others[:top], others[top:])
    return [*kept, *([_REST] if rest and pooled else []), *own], rest


def _spread(table, column):
    """The column as a table of touchpoints by steps; 0 where nobody is."""
    return table.pivot(index="touchpoint", columns="step", values=column).fillna(0)


def _cells(ax, wide):
    width = max(8.0, 2.4 + 0.52 * wide.shape[1])
    return style.axes(ax, 0.3 * len(wide) + 1.5, width, _DPI), wide.to_numpy(float)


def _cell(ax, row, column, tone, said, ink=style.INK):
    ax.add_patch(Rectangle((column - 0.48, row - 0.46), 0.96, 0.92, facecolor=tone, linewidth=0))
    if said:
        ax.text(column, row, said, ha="center", va="center_baseline", fontsize=8, color=ink)


def _frame(ax, names, labels, steps, language):
    """Names of rows and steps; a line above what is not a touchpoint, and at the step that all are aligned at."""
    style.rows(ax, labels)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlim(-0.5, len(steps) - 0.5)
    ax.set_xticks(range(len(steps)), [locale.number(step, language) for step in steps])
    ax.xaxis.tick_top()
    head = {"textcoords": "offset points", "ha": "right", "va": "bottom", "fontsize": 9, "color": style.MUTED}
    ax.annotate(locale.text("plot.step", language), (0, 1), (-4, 4), xycoords="axes fraction", **head)
    ax.spines["bottom"].set_visible(False)
    own = [place for place, name in enumerate(names) if name in _OWN]
    if own:
        ax.axhline(own[0] - 0.5, color=style.MUTED, linewidth=0.8)
    if 0 in steps:
        at = steps.index(0)
        ax.add_patch(Rectangle((at - 0.5, -0.5), 1, len(names), facecolor="none", edgecolor=style.INK, linewidth=1.0))


def _row_name(name, left_out, language):
    if name == _REST and left_out:
        return locale.text("plot.pooled", language, n=len(left_out))
    return wrapped(name, language, 40)


def _tint(color, strength):
    """The colour on white paper, from none of it to all."""
    return tuple(1 - strength * (1 - part) for part in to_rgb(color))
