"""What all charts share: colours, axes without needless ink, labels as plain text."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.font_manager import FontProperties
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


def axes(ax, height, width=_WIDTH):
    """`ax`, or the Axes of a new figure; light either way."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), dpi=_DPI, layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(GREY)
    ax.tick_params(colors=INK, length=0, labelsize=9)
    return ax


def page(ax, width, height):
    """Axes measured in inches from the top left corner, and by how much what is drawn there must shrink or grow."""
    if ax is None:
        ax = plt.figure(figsize=(width, height), dpi=_PAGE_DPI).add_axes((0, 0, 1, 1))
        scale = 1.0
    else:
        box = ax.get_window_extent()
        scale = min(box.width / width, box.height / height) / ax.figure.dpi
        ax.set_aspect("equal", anchor="NW")
    ax.set_axis_off()
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    return ax, scale


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


def losses(ax, table, labels, language):
    """Bars of persons with those lost on the way in grey, counts, and the rate of the row before with its interval."""
    units, before = table["units"].to_numpy(float), table["from_units"].to_numpy(float, na_value=np.nan)
    places = np.arange(len(units))
    lost = np.nan_to_num(before - units)
    ax.barh(places, units, height=0.62, color=BLUE, label=locale.text("plot.persons", language))
    ax.barh(places, lost, left=units, height=0.62, color=GREY, label=locale.text("plot.lost", language))
    low, high = table["low"].to_numpy() * before, table["high"].to_numpy() * before
    spans = [np.clip(np.nan_to_num(units - low), 0, None), np.clip(np.nan_to_num(high - units), 0, None)]
    ax.errorbar(units[1:], places[1:], xerr=[side[1:] for side in spans], fmt="none", ecolor=INK, capsize=3)
    for place, row in enumerate(table.itertuples()):
        said = locale.number(row.units, language)
        if place:
            said += f"   {locale.share(row.rate, language)} {locale.text('plot.rate_before', language)}"
        ax.text(units[place] + lost[place] + units[0] * 0.015, place, said, va="center", fontsize=9)
    rows(ax, [plain(label, language) for label in labels])
    ax.set_xlim(0, units[0] * 1.42)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    legend(ax, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2)


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
