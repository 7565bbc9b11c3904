"""The KPI tree: the root at the left, its drivers to the right, a card for each."""

import re
import textwrap
from dataclasses import dataclass

import numpy as np
from matplotlib.patches import FancyBboxPatch, Polygon

from perfnb import locale
from perfnb.kpi.catalogue import CATALOGUE
from perfnb.plot import style
from perfnb.plot.kpi import amount, directions, noisy, verdict, writer
from perfnb.tables import kpi_name

MOST = 15  # cards that a page has room for

# Inches. A card has lines from the top down, as many as it needs.
_WIDTH, _PAD, _GAP, _BETWEEN, _MARGIN = 1.56, 0.085, 0.35, 0.14, 0.06
_INNER = _WIDTH - 2 * _PAD
_LINE, _NAME, _VALUE, _AMOUNT, _STRIP, _BOTTOM = 0.135, 0.145, 0.215, 0.175, 0.33, 0.085
_FOOT = 0.155
_BAR, _THINNEST, _HOLLOW, _THICKEST = 0.13, 0.014, 0.045, 0.13
_FULL = 1.25  # times the target, where its bar ends
_FILL, _SPAN = "#F6F8FA", "#DDE1E5"
_REMAINDERS = ("unallocated", "target_inconsistency")  # rows of the table that are no KPI


def kpi_tree(nodes, *, kinds=None, targets=None, days=None, language="en", ax=None):
    """The tree from `kpi.nodes` (or `kpi.gap`) as cards: value, growth, and what each contributed to the root.

    A connector is as thick as the contribution: blue where it helps the root go
    where it should, orange where it hurts, hollow where it is within the usual
    variation. `kinds` (from `kpi.kinds`) adds own rate and mix to the cards of
    rates; `targets` (from `kpi.track`; those of the whole, the last of each KPI
    that has figures) how it stands; `days` (from `kpi.course`) its course in its
    usual range. Of a tree with more than 15 nodes the deepest are left to the
    table, and the chart says so.
    """
    if nodes.empty:
        return style.empty(ax, language)
    shown, hidden = _shown(nodes)
    cards, root = shown.to_dict("records"), shown.iloc[0].to_dict()
    extras = _extras(shown, kinds, targets, days)
    said = _reading(root, extras, len(cards), len(nodes), language)
    sheet = _laid_out(cards, extras, said, language)
    ax, scale = style.page(ax, sheet.width, sheet.height)
    pen = style.Pen(ax, scale, language)
    strongest = shown["contribution"].iloc[1:].abs().max()
    for node in cards:
        _connect(pen, node, cards, sheet, root["direction"], strongest)
    write = writer(root["unit"], root["currency"], shown["contribution"], language)
    for node in cards:
        _card(pen, node, root, sheet, extras, write)
        if node["path"] in hidden:
            said = locale.text("plot.more_kpis", language, n=hidden[node["path"]])
            x, y = sheet.places[node["path"]]
            pen.write(x + _WIDTH - _PAD, y + _LINE, said, 6.8, color=style.MUTED, ha="right")
    _footer(pen, cards, root["direction"], sheet)
    return ax


@dataclass(frozen=True)
class _Sheet:
    """Inches: corner and height of each card by path, the size of the page; where the footer begins, and its lines."""

    places: dict
    heights: dict
    width: float
    height: float
    foot: float
    lines: list


@dataclass(frozen=True)
class _Extras:
    """What cards have beside their node, each by KPI: {kind: row}, the row of a target, a frame of days."""

    kinds: dict
    targets: dict
    days: dict


# What is drawn


def _shown(nodes):
    """The nodes that there is room for, and {path: how many below it are not drawn}."""
    shown, hidden = nodes.reset_index(drop=True), {}
    while len(shown) > MOST:
        above = shown["path"].str.rpartition("/")[0]
        deepest = shown["depth"] == shown["depth"].max()
        parent = shown["contribution"].abs()[deepest].groupby(above[deepest]).max().idxmin()
        gone = above == parent
        hidden[parent] = int(gone.sum()) + sum(hidden.pop(path, 0) for path in shown["path"][gone])
        shown = shown[~gone].reset_index(drop=True)
    return shown, hidden


def _extras(shown, kinds, targets, days):
    """What there is for the KPIs that are drawn; rate and mix only of one that stands at one place of the tree."""
    known, found = set(shown["kpi"]), {}
    once = known - set(shown["kpi"][shown["kpi"].duplicated()])
    for kind in ("rate", "mix") if kinds is not None else ():
        for row in kinds[(kinds["kind"] == kind) & kinds["kpi"].isin(once)].to_dict("records"):
            found.setdefault(row["kpi"], {})[kind] = row
    standing, courses = {}, {}
    if targets is not None:
        parts = [name for name in ("channel", "campaign") if name in targets]
        whole = targets[targets[parts].isna().all(axis=1) & (targets["status"] != "no_data")]
        standing = {row["kpi"]: row for row in whole.to_dict("records") if row["kpi"] in known}
    if days is not None:
        days = days[days["kpi"].isin(known) & days["value"].notna()].sort_values("date")
        courses = dict(iter(days.groupby("kpi", sort=False)))
    return _Extras(found, standing, courses)


# Where it stands


def _laid_out(cards, extras, said, language):
    """A column for each depth; in it the cards in their order, parents in the middle of their children."""
    heights = {node["path"]: _height(node, extras, language) for node in cards}
    tops = _tops(cards[0]["path"], cards, heights)
    columns = 1 + max(node["depth"] for node in cards)
    places = {node["path"]: (_MARGIN + node["depth"] * (_WIDTH + _GAP), _MARGIN + tops[node["path"]]) for node in cards}
    foot = max(places[path][1] + heights[path] for path in places) + 0.08
    width = max(2 * _MARGIN + columns * (_WIDTH + _GAP) - _GAP, 5.8)
    lines = textwrap.wrap(said, int(16.5 * width))
    return _Sheet(places, heights, width, foot + 0.12 + _FOOT * len(lines) + 0.1, foot, lines)


def _tops(path, cards, heights):
    """{path: top} of a card and all below it: branches one below the other, as close as their cards allow."""
    tops, below = {}, _children(path, cards)
    for child in below:
        branch = _tops(child["path"], cards, heights)
        needed = (
            tops[upper] + heights[upper] + _BETWEEN - top
            for upper in tops
            for lower, top in branch.items()
            if upper.count("/") == lower.count("/")
        )
        down = max(needed, default=0.0)
        tops |= {lower: top + down for lower, top in branch.items()}
    ends = [tops[child["path"]] + heights[child["path"]] / 2 for child in below[:: max(len(below) - 1, 1)]]
    tops = {path: (sum(ends) / len(ends) if ends else 0.0) - heights[path] / 2} | tops
    first = min(tops.values())
    return {lower: top - first for lower, top in tops.items()}


def _children(path, cards):
    return [one for one in cards if one["path"].rpartition("/")[0] == path]


def _height(node, extras, language):
    lines = len(_names(node, language)) - (_level(node, language) is None)
    valued = node["kpi"] not in _REMAINDERS and node["after"] == node["after"]
    height = _LINE + lines * _NAME + _VALUE * valued + _AMOUNT + _LINE * noisy(node) + _BOTTOM
    height += _LINE * (node["kpi"] in extras.kinds)
    target = extras.targets.get(node["kpi"])
    if node["kpi"] in extras.days or (target and target["attainment"] == target["attainment"]):
        return height + _STRIP
    return height + _AMOUNT * (target is not None)


# Cards


def _card(pen, node, root, sheet, extras, write):
    x, y = sheet.places[node["path"]]
    left, right, noise = x + _PAD, x + _WIDTH - _PAD, noisy(node)
    _frame(pen, x, y, sheet.heights[node["path"]], node is root or node["path"] == root["path"])
    y += _LINE
    level = _level(node, pen.language)
    if level:
        pen.write(left, y, level, 6.8, color=style.MUTED)
    if "target" in node and node["kpi"] in CATALOGUE and node["before"] == node["before"]:
        aim = amount(node["before"], node["unit"], root["currency"], pen.language)
        said = f"{locale.text('plot.target', pen.language)} {aim}"
        pen.write(right, y, said, 6.8, width=_INNER / 2, smallest=5, color=style.MUTED, ha="right")
    for place, name in enumerate(_names(node, pen.language), start=level is not None):
        y += _NAME * (place > 0)
        pen.write(left, y, name, 8, width=_INNER, smallest=6.8)
    if node["kpi"] not in _REMAINDERS and node["after"] == node["after"]:
        y += _VALUE
        taken = pen.write(right, y, _moved(node, pen.language), 7.5, color=style.MUTED, ha="right")
        said = amount(node["after"], node["unit"], root["currency"], pen.language)
        pen.write(left, y, said, 11.5, width=_INNER - taken - 0.07, smallest=7, weight="bold")
    y += _AMOUNT
    color, arrow = verdict(node["contribution"], root["direction"])
    ink, arrow = (style.MUTED, {"▲": "△", "▼": "▽"}.get(arrow, arrow)) if noise else (color, arrow)
    said, weight = f"{arrow} {write(node['contribution'])}", "bold" if node["contribution"] and not noise else "normal"
    pen.write(left, y, said, 8, width=_INNER, smallest=6, color=ink, weight=weight)
    if noise:
        y += _LINE
        said = locale.text("plot.usual_variation", pen.language)
        pen.write(left, y, said, 6.8, width=_INNER, smallest=5.5, color=style.MUTED)
    if node["kpi"] in extras.kinds:
        y += _LINE
        _rate_and_mix(pen, left, y, extras.kinds[node["kpi"]], write)
    _strip(pen, left, y + 0.09, extras.days.get(node["kpi"]), extras.targets.get(node["kpi"]))


def _frame(pen, x, y, height, root):
    look = {"edgecolor": style.MUTED, "linewidth": 1.4} if root else {"edgecolor": style.GREY, "linewidth": 0.8}
    look["linewidth"] *= pen.scale
    rounded = "round,pad=0,rounding_size=0.05"
    pen.ax.add_patch(FancyBboxPatch((x, y), _WIDTH, height, boxstyle=rounded, facecolor=_FILL, **look))


def _level(node, language):
    named = isinstance(node["level"], str) and node["kpi"] not in _REMAINDERS
    return locale.text(f"describe.level.{node['level']}", language) if named else None


def _names(node, language):
    """The name in one line, or in two where it is too long for one: "a × b" breaks before its signs."""
    name = style.plain(kpi_name(node["kpi"], language), language, 80)
    if style.text_width(name, 6.8) <= _INNER:
        return [name]
    parts = re.split(r" (?=[+−×÷] )", name)
    lines = []
    for part in parts if len(parts) > 1 else name.split():
        if lines and (len(lines) == 2 or style.text_width(f"{lines[-1]} {part}", 7.4) <= _INNER):
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return lines


def _moved(node, language):
    """Growth; of a share the change in points, for per cent of per cent would mislead."""
    change, growth = node["change"], node.get("growth", np.nan)
    if node["unit"] == "share" and change == change and "growth" in node:
        return locale.signed(amount(change, "share", None, language, change=True), change)
    return locale.signed(locale.share(growth, language), growth) if growth == growth else ""


def _rate_and_mix(pen, left, y, rows, write):
    said = {
        kind: f"{locale.word(kind, pen.language).capitalize()} {write(row['contribution'])}"
        for kind, row in rows.items()
    }
    _, size = style.fitted("   ".join(said.values()), 6.8, _INNER, smallest=5)
    for kind, row in rows.items():
        left += pen.write(left, y, said[kind], size, color=style.MUTED if noisy(row) else style.INK) + 0.09


def _strip(pen, left, y, days, target):
    """The lowest part of a card: its course at the left, how it stands to its target at the right."""
    if days is not None:
        _course(pen, left, y, _INNER * (0.56 if target else 1.0), _STRIP - 0.06, days)
    if target is not None:
        start = _INNER * 0.62 if days is not None else 0.0
        _stand(pen, left + start, y, _INNER - start, target, days is None)


def _course(pen, left, y, width, height, days):
    """A line of days in the grey span of what is usual, and the days outside it."""
    values = days[["value", "low", "high"]].to_numpy(float)
    least, most = np.nanmin(values), np.nanmax(values)
    days_on = (days["date"] - days["date"].iloc[0]).dt.days.to_numpy()
    across = left + width * days_on / max(days_on[-1], 1)
    up = y + height * (1 - (values - least) / ((most - least) or 1.0))
    known = ~np.isnan(values).any(axis=1)
    if known.sum() > 1:
        corners = [*zip(across[known], up[known, 1], strict=True)]
        corners += [*zip(across[known][::-1], up[known, 2][::-1], strict=True)]
        pen.ax.add_patch(Polygon(corners, facecolor=_SPAN, linewidth=0))
    pen.line(across, up[:, 0], style.INK, 0.8)
    pen.mark(across[-1], up[-1, 0], "o", 2.4, style.INK)
    direction = CATALOGUE[days["kpi"].iloc[0]].direction
    for status, shape, sign in (("high", "^", 1), ("low", "v", -1)):
        found = (days["status"] == status).to_numpy()
        pen.mark(across[found], up[found, 0], shape, 4.5, verdict(sign, direction)[0], zorder=3)


def _stand(pen, left, y, width, target, named):
    """The sign of the status, how much of the target is reached, and a bar with a tick at the target."""
    color, sign = style.STATUS[target["status"]]
    pen.mark(left + 0.055, y + 0.06, "o", 7.5, color)
    ink = "black" if target["status"] == "amber" else "white"
    pen.write(left + 0.055, y + 0.06, sign, 6, color=ink, weight="bold", ha="center", va="center_baseline", zorder=3)
    reached, said = target["attainment"], locale.text("plot.target", pen.language)
    if reached == reached:
        share = locale.share(reached, pen.language, 0)
        said = f"{said} {share}" if named else share
        pen.box(left, y + 0.17, width, 0.06, facecolor=_SPAN)
        pen.box(left, y + 0.17, width * min(max(reached, 0.0), _FULL) / _FULL, 0.06, facecolor=style.MUTED)
        pen.line([left + width / _FULL] * 2, [y + 0.14, y + 0.26], style.INK, 1.4, solid_capstyle="butt")
    pen.write(left + 0.15, y + 0.09, said, 6.8)


# Connectors and footer


def _connect(pen, node, cards, sheet, direction, strongest):
    """A neutral trunk, and a branch to each child as thick as its contribution; signs between the children."""
    below = _children(node["path"], cards)
    if not below:
        return
    middles = [sheet.places[one["path"]][1] + sheet.heights[one["path"]] / 2 for one in (node, *below)]
    start = sheet.places[node["path"]][0] + _WIDTH
    bar = start + _BAR
    trunk = {"color": style.MUTED, "width": 0.9, "zorder": 2.5, "solid_capstyle": "butt"}
    pen.line([start, bar], [middles[0]] * 2, **trunk)
    pen.line([bar, bar], [min(middles), max(middles)], **trunk)
    for one, middle in zip(below, middles[1:], strict=True):
        color, _ = verdict(one["contribution"], direction)
        least = _HOLLOW if noisy(one) else _THINNEST
        thick = max(_THICKEST * abs(one["contribution"]) / strongest, least) if strongest else least
        face = "white" if noisy(one) else color
        size = (start + _GAP - bar, thick)
        pen.box(bar, middle - thick / 2, *size, facecolor=face, edgecolor=color, linewidth=0.8, zorder=2)
    for one, upper, lower in zip(below[1:], middles[1:], middles[2:], strict=False):
        place, sign = (bar, (upper + lower) / 2), _sign(node, one)
        pen.mark(*place, "o", 11, "white", edge=style.GREY, zorder=3)
        pen.write(*place, sign, 9, ha="center", va="center_baseline", zorder=4)


def _sign(node, child):
    """What stands before a child: its parent's operator, or a plus where it is what the formula leaves over."""
    left_over = child["path"].endswith("/difference") or child["kpi"] == "target_inconsistency"
    return "+" if left_over else {"*": "×", "/": "÷", "-": "−"}.get(node["op"], "+")


def _reading(root, extras, drawn, nodes, language):
    """How to read the tree, and what is not drawn of it."""
    said = [
        locale.text(
            f"plot.{'gap' if 'target' in root else 'tree'}_reads", language, kpi=kpi_name(root["kpi"], language)
        )
    ]
    said += [locale.text(f"plot.{one}_read", language) for one in ("kinds", "days", "targets") if getattr(extras, one)]
    if drawn < nodes:
        said.append(locale.text("plot.more_in_table", language, shown=drawn, all=nodes))
    return " ".join(said)


def _footer(pen, cards, direction, sheet):
    """What arrows, colours and hollow connectors mean, and how to read the rest."""
    x, y = _MARGIN, sheet.foot + 0.12
    moved = {verdict(node["contribution"], direction)[1] for node in cards}
    for arrow, color, words in directions(direction, pen.language):
        if arrow in moved:
            x += pen.write(x, y, f"{arrow} {words}", 7.5, color=color, weight="bold") + 0.2
    if any(noisy(node) for node in cards):
        pen.write(x, y, f"△ ▽ {locale.text('plot.usual', pen.language)}", 7.5, color=style.MUTED)
    for place, line in enumerate(sheet.lines, start=1):
        pen.write(_MARGIN, y + _FOOT * place, line, 7.2, width=sheet.width - 2 * _MARGIN, smallest=5, color=style.MUTED)
