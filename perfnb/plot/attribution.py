"""Charts of attribution."""

from perfnb import locale
from perfnb.plot import style


def credits(comparison, *, language="en", ax=None):
    """Orders credited by channel under each model, side by side; the truth as a diamond with its interval."""
    return _models(comparison, "credit", "plot.orders_credited", language, ax)


def returns(comparison, *, language="en", ax=None):
    """Value per unit of cost by channel under each model; channels without cost are left out."""
    return _models(comparison[comparison["cost"] > 0], "roas", "plot.roas", language, ax)


def _models(comparison, column, label, language, ax):
    known = comparison[comparison[column].notna()]
    if known.empty:
        return style.empty(ax, language)
    order = (
        known[known["model"] != "truth"].groupby("channel")[column].max().sort_values(ascending=False, kind="stable")
    )
    channels = list(order.index)
    models = list(dict.fromkeys(known["model"]))
    ax = style.axes(ax, 0.5 * len(channels) + 1.5)
    for place in range(len(channels)):
        ax.axhline(place, color="#EEF0F2", linewidth=1, zorder=0)
    for index, model in enumerate(models):
        rows = known[(known["model"] == model) & known["channel"].isin(channels)]
        color, marker = style.MODELS.get(model, (style.INK, "o"))
        shift = (index - (len(models) - 1) / 2) * 0.09
        places = [channels.index(channel) + shift for channel in rows["channel"]]
        if column == "credit" and rows["low"].notna().any():
            spans = style.errors(rows["low"], rows["credit"], rows["high"])
            ax.errorbar(rows["credit"], places, xerr=spans, fmt="none", ecolor=color, elinewidth=1, capsize=2)
        size = 42 if model == "truth" else 26
        ax.scatter(
            rows[column], places, s=size, color=color, marker=marker, label=locale.word(model, language), zorder=3
        )
    style.rows(ax, [style.plain(channel, language) for channel in channels])
    ax.set_xlim(left=0)
    style.numbers(ax.xaxis, language)
    style.grid(ax)
    ax.set_xlabel(locale.text(label, language), fontsize=9)
    style.legend(ax, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=4, columnspacing=1.0, handletextpad=0.2)
    return ax
