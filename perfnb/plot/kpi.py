"""Charts of KPI trees."""

from itertools import pairwise

from matplotlib.patches import FancyBboxPatch

from perfnb import locale
from perfnb.plot import style
from perfnb.tables import kpi_name

_CARD_WIDTH, _CARD_HEIGHT, _GAP, _STEP = 2.9, 0.92, 0.55, 1.38


def kpi_tree(nodes, *, language="en", ax=None):
    """The tree from `kpi.explain`, root on top: a card per KPI with value, change and contribution to the root."""
    places = _places(nodes)
    wide, deep = max(x for x, _ in places.values()) + 1, max(y for _, y in places.values()) + 1
    if ax is None:
        ax = style.axes(None, deep * 1.16, max(4.2, wide * 3.0))
    ax.set_axis_off()
    ax.set_xlim(-0.1, wide * (_CARD_WIDTH + _GAP))
    ax.set_ylim(-(deep - 1) * _STEP - _CARD_HEIGHT - 0.1, 0.1)
    for node in nodes.itertuples():
        x, y = _corner(places[node.path])
        _card(ax, x, y, node, nodes.iloc[0], language)
        _connect(ax, node, nodes, places)
    return ax


def movers(movers, *, direction="higher", top=10, language="en", ax=None):
    """The largest contributions by segment: what helped the root in blue, what hurt it in orange.

    `direction` is the root's: whether "higher" or "lower" is better.
    """
    shown = movers[movers["contribution"] != 0].head(top)
    if shown.empty:
        return style.empty(ax, language)
    ax = style.axes(ax, 0.4 * len(shown) + 1.0)
    keys = [name for name in shown.columns[1:] if name not in _FACTS]
    colors = [_verdict(value, direction)[0] for value in shown["contribution"]]
    ax.barh(range(len(shown)), shown["contribution"], height=0.62, color=colors)
    ax.axvline(0, color=style.INK, linewidth=0.8)
    reach = shown["contribution"].abs().max()
    for place, row in enumerate(shown.to_dict("records")):
        value = row["contribution"]
        said = locale.signed(_amount(value, row["currency"], language), value)
        side = "left" if value > 0 else "right"
        ax.text(value + (reach * 0.02 if value > 0 else -reach * 0.02), place, said, va="center", ha=side, fontsize=8.5)
    labels = []
    for row in shown.to_dict("records"):
        segment = " · ".join(style.plain(row[key], language, 24) for key in keys if row[key] not in (None, "(unknown)"))
        labels.append(f"{segment}\n{kpi_name(row['kpi'], language)}, {locale.word(row['kind'], language)}")
    style.rows(ax, labels)
    ax.tick_params(axis="y", labelsize=8)
    ax.set_xlim(-reach * 1.35, reach * 1.35)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    return ax


_FACTS = ("kpi", "kind", "before", "after", "contribution", "share", "unit", "currency")


def _places(nodes):
    """Column and row of each card: a parent stands above its first child, siblings to the right of it."""
    free, places = {}, {}
    for node in nodes.itertuples():
        above = places.get(node.path.rpartition("/")[0], (0, 0))[0]
        x = max(free.get(node.depth, 0), above)
        places[node.path] = (x, node.depth)
        free[node.depth] = x + 1
    return places


def _corner(place):
    x, y = place
    return x * (_CARD_WIDTH + _GAP), -y * _STEP - _CARD_HEIGHT


def _card(ax, x, y, node, root, language):
    ax.add_patch(
        FancyBboxPatch(
            (x, y),
            _CARD_WIDTH,
            _CARD_HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor="#F6F8FA",
            edgecolor=style.GREY,
            linewidth=0.8,
        )
    )
    left, right = x + 0.12, x + _CARD_WIDTH - 0.12
    ax.text(left, y + 0.74, style.plain(kpi_name(node.kpi, language), language, 24), va="center", fontsize=8.5)
    ax.text(
        right, y + 0.74, style.plain(node.level, language), va="center", ha="right", fontsize=6.5, color=style.MUTED
    )
    ax.text(left, y + 0.44, _value(node, root, language), va="center", fontsize=11.5, fontweight="bold")
    if node.growth == node.growth:
        growth = locale.signed(locale.share(node.growth, language), node.growth)
        ax.text(right, y + 0.44, growth, va="center", ha="right", fontsize=8.5)
    color, arrow = _verdict(node.contribution, root.direction)
    said = locale.signed(
        _amount(node.contribution, root.currency if root.unit == "money" else None, language), node.contribution
    )
    ax.text(left, y + 0.16, f"{arrow} {said}", va="center", fontsize=8.5, color=color)
    if node.before == node.before:
        before = f"{locale.text('plot.before', language)} {_value(node, root, language, 'before')}"
        ax.text(right, y + 0.16, before, va="center", ha="right", fontsize=7, color=style.MUTED)


def _connect(ax, node, nodes, places):
    children = [path for path in nodes["path"] if path.rpartition("/")[0] == node.path]
    if not children:
        return
    x, y = _corner(places[node.path])
    trunk, bar = x + _CARD_WIDTH / 2, y - (_STEP - _CARD_HEIGHT) / 2
    ends = [_corner(places[child])[0] + _CARD_WIDTH / 2 for child in children]
    line = {"color": style.GREY, "linewidth": 1.2, "zorder": 0}
    ax.plot([trunk, trunk], [y, bar], **line)
    ax.plot([min(ends), max(ends)], [bar, bar], **line)
    for end in ends:
        ax.plot([end, end], [bar, y - (_STEP - _CARD_HEIGHT)], **line)
    signs = {"*": "×", "/": "÷", "-": "−", "+": "+"}
    for left, right in pairwise(ends):
        ax.text(
            (left + right) / 2,
            bar - _STEP / 2,
            signs.get(node.op, ""),
            ha="center",
            va="center",
            fontsize=13,
            color=style.MUTED,
        )


def _verdict(contribution, direction):
    """Blue where the root went where it should, orange where it did not; the arrow says up or down."""
    arrow = "▲" if contribution > 0 else "▼" if contribution < 0 else "•"
    good = contribution * {"higher": 1, "lower": -1}.get(direction, 0)
    return (style.BLUE if good > 0 else style.ORANGE if good < 0 else style.MUTED), arrow


def _value(node, root, language, which="after"):
    value = getattr(node, which)
    if node.unit == "share":
        return locale.share(value, language)
    if node.unit == "money":
        return _amount(value, root.currency, language, 2 if abs(value) < 1000 else 0)
    if node.unit == "x":
        return locale.number(value, language, 2)
    return locale.number(value, language)


def _amount(value, currency, language, decimals=0):
    said = locale.money(value, currency, language, decimals) if currency else locale.number(value, language, decimals)
    return said.replace("$", r"\$")
