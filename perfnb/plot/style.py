"""What all charts share: colours, axes without needless ink, labels as plain text."""

import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import TextToPath

from perfnb import locale

# Okabe & Ito (2008), distinguishable with colour-blind eyes and in greyscale print.
BLUE, ORANGE, GREY, INK = "#0072B2", "#D55E00", "#C8CCD0", "#222222"
MUTED = "#6B7280"
GROUPS = ("#117733", "#AA4499", "#999933", "#44AA99", "#661100", "#332288")
# Told apart by their marker too; at least 10 apart (CIE 1976) to normal, red-blind and green-blind eyes.
MODELS = {
    "first": ("#56B4E9", "<"),
    "last": ("#E69F00", ">"),
    "last_non_direct": ("#5A4500", "P"),
    "linear": ("#8C8C8C", "s"),
    "time_decay": ("#C187BE", "v"),
    "position": ("#008A55", "^"),
    "w_shaped": ("#63BD85", "X"),
    "own": ("#A3B34D", "h"),
    "markov": ("#882255", "o"),
    "shapley": ("#3F22C4", "*"),
    "shapley_rate": ("#7D70F5", (4, 1, 0)),
    "probabilistic": ("#0B4A6F", "p"),
    "hazard": ("#D11141", (8, 1, 0)),
    "truth": ("#000000", "D"),
}
# How a target stands: never these colours alone, always with their sign.
STATUS = {
    "green": ("#2A8F5B", "\N{CHECK MARK}"),
    "amber": ("#F0B429", "!"),
    "red": ("#A61B29", "\N{BALLOT X}"),
    "context": (MUTED, "\N{BULLET}"),
    "no_data": (MUTED, "\N{EN DASH}"),
}
_DPI = 144
_PAGE_DPI = 120  # of pages that are wider than other charts
_WIDTH = 8.0


def axes(ax, height, width=_WIDTH, dpi=_DPI):
    """`ax`, or the Axes of a new figure; light either way."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), dpi=dpi * min(1, 9 / width), layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    ax.tick_params(colors=INK, length=0, labelsize=9)
    return ax


def page(ax, width, height, dpi=_PAGE_DPI):
    """Axes measured in inches from the top left corner, and by how much what is drawn there must shrink or grow."""
    if ax is None:
        ax = plt.figure(figsize=(width, height), dpi=dpi * min(1, 13 / width)).add_axes((0, 0, 1, 1))
        scale = 1.0
    else:
        box = ax.get_window_extent()
        scale = min(box.width / width, box.height / height) / ax.figure.dpi
        ax.set_aspect("equal", anchor="NW")
    ax.set_axis_off()
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    return ax, scale


@dataclass(frozen=True)
class Pen:
    """Draws on the page; points are those of a page of its own, and shrink and grow with another."""

    ax: object
    scale: float
    language: str

    def write(self, x, y, said, size, *, width=9.0, smallest=None, weight="normal", color=INK, **options):
        """Text with its baseline at y and no wider than `width`; returns how wide it is."""
        said, size = fitted(said, size, width, smallest=smallest or size, weight=weight)
        options = {"va": "baseline"} | options
        self.ax.text(x, y, said, fontsize=size * self.scale, color=color, weight=weight, **options)
        return text_width(said, size, weight)

    def line(self, xs, ys, color, width, **options):
        self.ax.plot(xs, ys, color=color, linewidth=width * self.scale, **options)

    def mark(self, x, y, shape, size, color, *, edge=None, **options):
        options |= {"color": color, "markeredgecolor": edge or color, "markeredgewidth": self.scale if edge else 0}
        self.ax.plot(x, y, shape, markersize=size * self.scale, linestyle="none", **options)

    def box(self, x, y, width, height, *, linewidth=0.0, **options):
        self.ax.add_patch(Rectangle((x, y), width, height, linewidth=linewidth * self.scale, **options))


def text_width(said, size, weight="normal"):
    """The width of a line of text in inches, with the little that a screen's whole pixels add to it."""
    font = FontProperties(size=size, weight=weight)
    return 1.04 * TextToPath().get_text_width_height_descent(said.replace(r"\$", "$"), font, False)[0] / 72


def fitted(said, size, width, *, smallest, weight="normal"):
    """The text and its size, made smaller down to `smallest` and then cut, so that it is no wider than `width`."""
    wanted = text_width(said, size, weight)
    size = max(smallest, min(size, size * width / wanted)) if wanted else size
    while len(said) > 1 and text_width(said, size, weight) > width * 1.001:
        said = said.removesuffix("…")[:-1].rstrip() + "…"
    return said, size


def canvas(height, width=_WIDTH):
    """Axes of a new figure of this size in inches: for `ax=`, where a chart should be smaller than it makes itself."""
    return axes(None, height, width)


def empty(ax, language):
    """Axes that say that there is nothing to draw."""
    ax = axes(ax, 1.2)
    ax.set_axis_off()
    ax.text(0.5, 0.5, locale.text("show.no_data", language), ha="center", va="center", color=MUTED)
    return ax


def plain(label, language="en", longest=34):
    """A label as text: in the language, not too long, and never as maths (matplotlib reads $…$ so)."""
    label = locale.path(label, language)
    label = label if len(label) <= longest else label[: longest - 1] + "…"
    return label.replace("$", r"\$")


def rows(ax, labels):
    """Name the rows of a horizontal chart, the first on top."""
    ax.set_yticks(range(len(labels)), labels)
    ax.set_ylim(len(labels) - 0.4, -0.6)
    ax.spines["left"].set_visible(False)


def losses(ax, table, labels, language, more=()):
    """Bars of persons with those lost on the way in grey; beside them figures, and `more` columns of them."""
    units, lost = table["units"].to_numpy(float), table["dropped"].to_numpy(float, na_value=0.0)
    before = table["from_units"].to_numpy(float, na_value=np.nan)
    went_on = table["rate"].to_numpy(float, na_value=np.nan) * before
    places = np.arange(len(units))
    ax.barh(places, units, height=0.62, color=BLUE)
    ax.barh(places, lost, left=units, height=0.62, color=GREY)
    low, high = (table[end].to_numpy(float, na_value=np.nan) * before for end in ("low", "high"))
    spans = [np.clip(np.nan_to_num(span), 0, None) for span in (went_on - low, high - went_on)]
    known = before > 0
    ax.errorbar(units[known], places[known], xerr=[side[known] for side in spans], fmt="none", ecolor=INK, capsize=3)
    rates = [
        f"{locale.share(row.rate, language)} ({between(row.low, row.high, language)})" if seen else ""
        for row, seen in zip(table.itertuples(), known, strict=True)
    ]
    counts = [locale.number(count, language) for count in units]
    gone = ["" if pd.isna(count) else locale.number(count, language) for count in table["dropped"]]
    heads = [locale.text(f"plot.{word}", language) for word in ("reached", "rate_head", "lost")]
    beside(ax, [*zip(heads, (counts, rates, gone), (BLUE, None, GREY), strict=True), *more])
    rows(ax, labels)
    ax.set_xlim(0, max((units + lost).max(), 1))
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)


def between(low, high, language, decimals=1):
    """Two shares in per cent: 81.9 – 83.9 %."""
    return f"{locale.number(100 * low, language, decimals)} – {locale.share(high, language, decimals)}"


def beside(ax, columns):
    """Columns of figures to the right of the rows: [(head, cells)], with the colour of the bars that they are of."""
    at = 4.0
    look = {"textcoords": "offset points", "ha": "right", "fontsize": 8.5}
    above = {"xycoords": "axes fraction", "va": "bottom"} | look
    for head, cells, *color in columns:
        if not any(cells):
            continue
        tops = [72 * text_width(line, 8.5) for line in head.split("\n")]
        square = 11.0 if any(color) else 0.0
        widths = [72 * text_width(line, 8.5) for said in cells for line in said.split("\n")]
        at += 10 + max(max(tops) + square, *widths, 0.0)
        ax.annotate(head, (1, 1), (at, 3), color=MUTED, **above)
        if square:
            ax.annotate("\N{BLACK SQUARE}", (1, 1), (at - tops[-1] - 2, 3), color=color[0], **above)
        for place, said in enumerate(cells):
            if said:
                here = {"xycoords": ax.get_yaxis_transform(), "va": "center", "color": INK}
                ax.annotate(said, (1, place), (at, 0), **here, **look)


def defined(table, language):
    """The definition of a result, as a sentence."""
    said = locale.definition(table["definition"].iloc[0], language) if "definition" in table else ""
    return f"{said[:1].upper()}{said[1:]}." if said else ""


def note(ax, *said):
    """Small print below the chart, as wide as its figure."""
    said = " ".join(one for one in said if one)
    lines = [line for label in ax.get_yticklabels() for line in label.get_text().split("\n")] if ax.axison else []
    labels = max((text_width(line, 9) for line in lines), default=0.0)
    if said:
        caption(ax, said, max(int(16.5 * (ax.figure.get_figwidth() - labels - 0.4)), 40))


def numbers(axis, language, decimals=None, share=False):
    """Tick labels in the language: per cents, or numbers with as many decimals as they need."""

    def written(value, _):
        if share:
            return locale.share(value, language, 0)
        places = decimals if decimals is not None else (0 if float(value).is_integer() else 1)
        return locale.number(value, language, places)

    axis.set_major_formatter(written)


def grid(ax, axis="x"):
    ax.grid(axis=axis, color="#E7E9EC", linewidth=0.8)
    ax.set_axisbelow(True)


def errors(low, middle, high):
    """The lengths that matplotlib's error bars take, never negative by rounding."""
    return [(middle - low).clip(lower=0), (high - middle).clip(lower=0)]


def legend(ax, **options):
    ax.legend(frameon=False, fontsize=9, labelcolor=INK, **options)


def caption(ax, text, width=110):
    """Small print below the chart, in as many lines as it needs."""
    lines = textwrap.wrap(text, width)
    ticks = len(ax.get_xticks()) and ax.xaxis.get_ticks_position() != "top"
    ax.annotate(
        "\n".join(lines).replace("$", r"\$"),
        (0, 0),
        (0, -30 if ax.get_xlabel() else -22 if ticks else -10),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=8,
        color=MUTED,
        va="top",
        linespacing=1.4,
    )
