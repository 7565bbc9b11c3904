"""The map of the journey: touchpoints along its stages, what persons feel there, how many are there and are lost."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.patches import Polygon

from perfnb import locale
from perfnb.journey import STAGES
from perfnb.plot import style

_LEFT, _RIGHT, _COLUMN, _NARROW = 1.25, 0.2, 1.3, 1.0  # inches; of a column where there are few, and where many
_TOP, _STAGE, _FELT, _PEOPLE, _LINE, _TEXT = 0.1, 0.32, 2.0, 1.25, 0.17, 0.15
_BACK = ("#F4F5F6", "#FFFFFF")
_GRID, _BAND = "#DDE0E4", "#CBD5DE"
_ENDS = {"satisfaction": (1, 5, 1), "nps": (0, 10, 5)}  # of the scale, and from tick to tick
_MOVES = {"falls": (style.ORANGE, "▼", "v"), "rises": (style.BLUE, "▲", "^")}
_FEELING = ["position", "scale", "n", "mean", "low", "high", "move", "change", "peak", "journey_mean"]


def journey_map(map, *, emotion=None, top=12, language="en", ax=None):
    """Stage by stage: the emotion curve above, persons and drop-off of each touchpoint below.

    From `journey.map`, and `journey.emotion` of the same touchpoints: it gives their order
    and the curve, and flags where satisfaction falls or rises beyond chance. Scores of few
    answers are left out, and the curve skips them. Of more than `top` cells those of
    each stage with most persons are drawn.
    """
    cells = _placed(map, emotion, top)
    if cells.empty:
        return style.empty(ax, language)
    pitch = max(_NARROW, min(_COLUMN, 8.6 / len(cells)))
    middles = _LEFT + pitch * (np.arange(len(cells)) + 0.5)
    names = [_lines(name, pitch, language) for name in cells["touchpoint"]]
    felt = _TOP + _STAGE
    named = felt + (_FELT if emotion is not None else 0.1)
    foot = named + _TEXT * max(len(lines) for lines in names) + 0.15 + _PEOPLE
    low = foot + (3.2 if cells["rank"].notna().any() else 2.1) * _LINE
    width = _LEFT + pitch * len(cells) + _RIGHT
    said = textwrap.wrap(_reading(map, cells, emotion, language), int(16.5 * (width - _LEFT)))
    ax, scale = style.page(ax, width, low + 0.15 + _LINE * len(said) + 0.05)
    pen = style.Pen(ax, scale, language)
    _stages(pen, cells, middles, pitch, low)
    if emotion is not None:
        _curve(pen, cells, middles, felt, pitch)
    size = min(style.fitted(line, 8.5, pitch - 0.08, smallest=6.5)[1] for lines in names for line in lines)
    for lines, x in zip(names, middles, strict=True):
        for number, line in enumerate(lines):
            _say(pen, x, named + 0.1 + _TEXT * number, line, size, width=pitch - 0.06)
    _people(pen, cells, middles, foot, pitch)
    for number, line in enumerate(said):
        _say(pen, _LEFT, low + 0.15 + _LINE * (number + 0.5), line, 7.5, width=width, color=style.MUTED, ha="left")
    return ax


def _placed(map, emotion, top):
    """The cells to draw in the order of the journey, with what the emotion curve says of them."""
    cells = map[map["units"] > 0].drop(columns=_FEELING, errors="ignore")
    # Of every stage its largest, for later stages hold fewer persons.
    place = cells.groupby("stage")["units"].rank(ascending=False, method="first")
    kept = cells.assign(place=place).sort_values(["place", "units"], ascending=[True, False], kind="stable").index[:top]
    cells = cells[cells.index.isin(kept)]
    cells["later"] = cells["stage"].map({stage: place for place, stage in enumerate(STAGES)}).fillna(len(STAGES))
    if emotion is None:
        cells = cells.assign(position=0)
    else:
        # A touchpoint that stands in several stages has its score in the first of them.
        cells = cells.drop(columns=["low", "high"], errors="ignore")
        cells = cells.merge(emotion[["stage", "touchpoint", *_FEELING]], how="left", on=["stage", "touchpoint"])
    cells["position"] = cells["position"].astype(float).fillna(np.inf)
    return cells.sort_values(["later", "position"], kind="stable", ignore_index=True)


def _lines(name, pitch, language):
    said = style.plain(name, language, 48)
    return textwrap.wrap(said, int(pitch * 14), max_lines=3, placeholder="…", break_long_words=False)


def _say(pen, x, y, said, size, *, width=9.0, ha="center", **options):
    """Text around the middle of its line, no wider than `width`."""
    pen.write(x, y, said, size, width=width, smallest=min(size, 6.2), ha=ha, va="center_baseline", **options)


def _row(pen, y, key):
    """What a row of figures is, at its left."""
    said = locale.text(f"plot.{key}", pen.language)
    _say(pen, 0.1, y, said, 8.5, width=_LEFT - 0.3, weight="bold", ha="left")


def _stages(pen, cells, middles, pitch, low):
    """A band for each stage, with its name above."""
    for number, stage in enumerate(dict.fromkeys(cells["stage"])):
        own = middles[(cells["stage"] == stage).to_numpy()]
        left, wide = own[0] - pitch / 2, pitch * len(own)
        pen.box(left, _TOP, wide, low - _TOP, facecolor=_BACK[number % 2], zorder=0)
        said = style.plain(stage, pen.language)
        _say(pen, left + wide / 2, _TOP + _STAGE / 2, said, 9, width=wide - 0.1, weight="bold")


# What they feel


def _curve(pen, cells, middles, top, pitch):
    """Means with their band on the scale of the survey, and where they fall or rise beyond chance."""
    known = cells["mean"].notna().to_numpy()
    _row(pen, top + 0.16, "felt")
    if not known.any():
        _say(pen, middles.mean(), top + _FELT / 2, locale.text("show.no_data", pen.language), 8.5, color=style.MUTED)
        return
    seen, x = cells[known], middles[known]
    least, most, step = _ENDS[seen["scale"].iloc[0]]
    upper, lower = top + 0.25, top + _FELT - 0.55

    def up(score):
        return lower - (lower - upper) * (score - least) / (most - least)

    right = middles[-1] + pitch / 2
    for tick in range(least, most + 1, step):
        pen.line([_LEFT, right], [up(tick)] * 2, _GRID, 0.7, zorder=0.5)
        _say(pen, _LEFT - 0.08, up(tick), locale.number(tick, pen.language), 8, ha="right")
    pen.line([_LEFT, right], [up(seen["journey_mean"].iloc[0])] * 2, style.MUTED, 0.9, linestyle=(0, (2, 2)), zorder=1)
    band = [*zip(x, up(seen["high"]), strict=True), *zip(x[::-1], up(seen["low"])[::-1], strict=True)]
    pen.ax.add_patch(Polygon(band, facecolor=_BAND, linewidth=0, zorder=1.2))
    pen.line(x, up(seen["mean"]), style.INK, 1.6, zorder=2)
    _row(pen, top + _FELT - 0.22, "answers_row")
    means = seen["mean"].to_numpy(float)
    beside = (np.r_[means[1:2], means[:-1]] + np.r_[means[1:], means[-2:-1]]) / 2 if len(means) > 1 else means
    for at, around, row in zip(x, beside, seen.to_dict("records"), strict=True):
        color, sign, marker = _MOVES.get(row["move"], (style.INK, "", "o"))
        pen.line([at, at], [up(row["low"]), up(row["high"])], style.MUTED, 0.8, zorder=1.5)
        pen.mark(at, up(row["mean"]), marker, 8.5 if sign else 6, color, edge="white", zorder=3)
        said = locale.number(row["mean"], pen.language, 1)
        if sign:
            said += f"  {sign} {locale.signed(locale.number(row['change'], pen.language, 1), row['change'])}"
        # Where the curve bends down, the room is below it.
        below = row["mean"] < around
        y, away = (up(row["low"]) + 0.13, _TEXT) if below else (up(row["high"]) - 0.13, -_TEXT)
        look = {"width": pitch - 0.04, "color": color, "zorder": 4}
        _say(pen, at, y, said, 8, weight="bold" if sign else "normal", **look)
        if row["peak"]:
            _say(pen, at, y + away, locale.text("plot.peak", pen.language), 7.2, **look)
        _say(pen, at, top + _FELT - 0.22, locale.number(row["n"], pen.language), 8)


# Who is there


def _people(pen, cells, middles, foot, pitch):
    """Persons as bars, those who go no further in grey; below them the drop-off with its interval, and the rank."""
    most, half = cells["units"].max(), 0.3 * pitch
    ranked = cells["rank"].notna().any()
    _row(pen, foot - _PEOPLE / 2, "persons")
    _row(pen, foot + 0.7 * _LINE, "drop_off")
    if ranked:
        _row(pen, foot + 2.6 * _LINE, "priority")
    for at, row in zip(middles, cells.to_dict("records"), strict=True):
        tall = (_PEOPLE - 0.2) * row["units"] / most
        lost = 0.0 if pd.isna(row["dropped"]) else tall * row["dropped"] / row["units"]
        pen.box(at - half, foot - tall, 2 * half, lost, facecolor=style.GREY, zorder=2)
        pen.box(at - half, foot - tall + lost, 2 * half, tall - lost, facecolor=style.BLUE, zorder=2)
        _say(pen, at, foot - tall - 0.09, locale.number(row["units"], pen.language), 8, zorder=3)
        _say(pen, at, foot + 0.7 * _LINE, locale.share(row["drop_off"], pen.language, 0), 8.5)
        if not pd.isna(row["drop_off"]):
            span = f"({style.between(row['drop_low'], row['drop_high'], pen.language, 0)})"
            _say(pen, at, foot + 1.6 * _LINE, span, 7, width=pitch - 0.04, color=style.MUTED)
        if not pd.isna(row["rank"]):
            weight = "bold" if row["rank"] == 1 else "normal"
            _say(pen, at, foot + 2.6 * _LINE, locale.number(row["rank"], pen.language), 8.5, weight=weight)
    pen.line([_LEFT, middles[-1] + pitch / 2], [foot, foot], style.GREY, 0.8, zorder=3)


def _reading(map, cells, emotion, language):
    """How to read the map, and what is not drawn of it."""
    words = ["map_reads"]
    if emotion is not None and cells["mean"].notna().any():
        words += ["map_feels"] + ["map_moves"] * bool(cells["move"].isin(list(_MOVES)).any())
    words += ["map_priority"] * bool(cells["rank"].notna().any())
    said = [locale.text(f"plot.{word}", language) for word in words]
    whole = int((map["units"] > 0).sum())
    if len(cells) < whole:
        said.append(locale.text("plot.map_left_out", language, shown=len(cells), all=whole))
    return " ".join([style.defined(map, language), *said])
