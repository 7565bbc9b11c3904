"""How result tables are printed: the one place that rounds, names and colours columns."""

import html
import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

from perfnb import columns as vocabulary
from perfnb import locale
from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import CATALOGUE

__all__ = ["Shown", "across", "amount", "kpi_name", "show"]

_TEXTS = ("text", "word", "state", "flags", "path", "kpi", "id", "currency", "terms")
# Facts for programs, not for readers: the unit decides how other columns print, the rest is one line for all rows.
_HIDDEN = ("currency", "definition", "unit", "direction", "root")


# Units of the catalogue that are printed as another.
_PRINTED = {"currency": "money", "currency_per_unit": "money"}
_PRINTED |= dict.fromkeys(("points", "index", "days", "hours", "seconds"), "credit")
# What a ratio's change is split into.
_EFFECTS = ("rate", "mix", "undefined", "total", "between_mix", "within_mix")

# The classes are for reports; JupyterLab has its own style and aligns everything to the right, but for this.
_NUMBER = 'class="number"'
_TEXT = 'class="text" style="text-align:left"'
_LONG = 'class="text long" style="text-align:left"'
_LONGEST = 40


@dataclass(frozen=True)
class Shown:
    """A printed table: cells as text, labels, which columns are numbers, a caption. Notebooks show it as HTML."""

    cells: tuple
    labels: tuple
    numbers: tuple
    caption: str = ""

    def _repr_html_(self):
        if not self.cells:
            return f'<p class="perfnb-empty">{safe(self.caption)}</p>'
        kinds = [
            _NUMBER if number else _LONG if max(len(row[place]) for row in self.cells) > _LONGEST else _TEXT
            for place, number in enumerate(self.numbers)
        ]
        head = "".join(f"<th {kind}>{safe(label)}</th>" for kind, label in zip(kinds, self.labels, strict=True))
        rows = "".join(
            f"<tr>{''.join(f'<td {kind}>{safe(cell)}</td>' for kind, cell in zip(kinds, row, strict=True))}</tr>\n"
            for row in self.cells
        )
        caption = f"<caption>{safe(self.caption)}</caption>" if self.caption else ""
        return f'<table class="perfnb">{caption}<thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>'

    def __repr__(self):
        if not self.cells:
            return self.caption
        plain = pd.DataFrame(list(self.cells), columns=list(self.labels)).to_string(index=False)
        return f"{plain}\n{self.caption}" if self.caption else plain


def show(table, *, language="en", columns=None, top=None):
    """Print a result table in the language: labels, numbers, per cents, money, days.

    `columns` chooses and orders columns; `top` keeps the first rows. A line
    that all rows share (the definition) becomes the caption.

    Returns a Shown, which notebooks display; it holds text only.
    """
    _require(table, columns or ())
    rows = len(table)
    if top is not None:
        table = table.head(top)
    if table.empty:
        return Shown((), (), (), locale.text("show.empty", language))
    names = [name for name in (columns or table.columns) if columns or name not in _HIDDEN]
    # Of what was asked for, only texts that no row has are left out: a campaign where all targets are for the whole.
    empty = [name for name in names if not table[name].notna().any()]
    names = [name for name in names if name not in empty or (columns and _unit(name, table, 0) not in _TEXTS)]
    currencies = list(table["currency"]) if "currency" in table else [None] * len(table)
    cells = [
        [_cell(value, _unit(name, table, row), currencies[row], language) for row, value in enumerate(table[name])]
        for name in names
    ]
    if "depth" in table and "kpi" in names:
        place = names.index("kpi")
        indent = "\N{EM SPACE}"
        cells[place] = [indent * int(depth) + cell for depth, cell in zip(table["depth"], cells[place], strict=True)]
    definition = table["definition"].iloc[0] if "definition" in table else ""
    caption = (
        f"{locale.text('show.definition', language)}: {locale.definition(definition, language)}" if definition else ""
    )
    if len(table) < rows:
        caption = "; ".join(filter(None, [caption, _cut(len(table), rows, language)]))
    numbers = tuple(_unit(name, table, 0) not in _TEXTS for name in names)
    # Beside an expected figure and its distance, low and high are the usual range of a day and no interval.
    usual = {"low": "usual_low", "high": "usual_high"} if {"expected", "z"} <= set(table) else {}
    labels = tuple(_label(usual.get(name, name), language) for name in names)
    return Shown(tuple(zip(*cells, strict=True)), labels, numbers, caption)


def across(table, *, rows, columns, values, top=None, language="en"):
    """Print one column of a long result table across: a row per `rows` (the `top` first), a column per `columns`.

    Returns a Shown; where a pair has no row stands a dash.
    """
    if table.empty:
        return Shown((), (), (), locale.text("show.empty", language))
    _require(table, (rows, columns, values))
    pairs = table[[rows, columns]]
    if pairs.duplicated().any():
        twice = " and ".join(str(one) for one in pairs[pairs.duplicated()].iloc[0])
        raise BadParameter(f"more than one row for {twice}: choose rows of one model, level or currency first")
    currencies = table["currency"].dropna().unique() if "currency" in table else ()
    if len(currencies) > 1:
        raise BadParameter(f"amounts in {' and '.join(currencies)}: choose the rows of one currency first")
    currency = currencies[0] if len(currencies) else None
    unit = _unit(values, table, 0)
    wide = table.pivot(index=rows, columns=columns, values=values)[list(dict.fromkeys(table[columns]))]
    wide = wide.reindex(list(dict.fromkeys(table[rows])))
    caption = _label(values, language)
    if top is not None and top < len(wide):
        caption += f"; {_cut(top, len(wide), language)}"
        wide = wide.head(top)
    cells = tuple(
        (str(locale.word(name, language)), *(_cell(value, unit, currency, language) for value in row))
        for name, row in zip(wide.index, wide.to_numpy(), strict=True)
    )
    labels = (_label(rows, language), *(locale.word(name, language) for name in wide))
    return Shown(cells, labels, (False, *([True] * len(wide.columns))), caption)


def _cut(top, rows, language):
    shown = {"top": locale.number(top, language), "rows": locale.number(rows, language)}
    return locale.text("show.cut", language, **shown)


def _require(table, names):
    missing = [name for name in names if name not in table]
    if missing:
        raise BadParameter(f"no column {', '.join(map(str, missing))}; found {', '.join(map(str, table.columns))}")


def _label(name, language):
    column = vocabulary.describe(name)
    return column.label(language) if column else str(name)


def _unit(name, table, row):
    """The unit of one cell: of the column, or, where the row's KPI decides, of that KPI."""
    column = vocabulary.describe(name)
    unit = column.unit if column else ("number" if pd.api.types.is_numeric_dtype(table[name]) else "text")
    if unit == "change" and "kpi" not in table:
        return "change_money"
    if unit == "change" or (name in _EFFECTS and "kpi" in table):
        return _change(table["kpi"].iloc[row])
    if unit == "by_kpi" or (name == "value" and "kpi" in table):
        return _kpi_unit(table["kpi"].iloc[row])
    if unit == "root":
        return _change(table["root"].iloc[row])
    if unit == "root_plain":
        return _kpi_unit(table["root"].iloc[row])
    if unit == "like":
        return _neighbour(name, table, row)
    return unit


def _kpi_unit(name):
    """How a KPI's values are printed."""
    return _PRINTED.get(CATALOGUE[name].unit, CATALOGUE[name].unit) if name in CATALOGUE else "x"


def _change(name):
    """How a change of a KPI is printed: with its sign, and of a share in percentage points."""
    unit = _kpi_unit(name)
    return "change_" + ("points" if unit == "share" else unit)


def _neighbour(name, table, row):
    """low and high are in the unit of the estimate beside them; value is money."""
    if name == "value":
        return "money"
    of_difference = name == "difference" or "rate" not in table
    if "effect" in table or ({"difference", "p"} <= set(table) and of_difference):
        return "signed_share"
    if "worse_by" in table:
        return _kpi_unit(table["root"].iloc[row])
    if "contribution" in table and "root" in table:
        return _change(table["root"].iloc[row])
    if "kpi" in table:
        return (_change if "total" in table else _kpi_unit)(table["kpi"].iloc[row])
    estimate = next((one for one in ("mean", "rate", "credit", "share") if one in table), None)
    return {"mean": "score", "rate": "share", "credit": "credit", "share": "share"}.get(estimate, "number")


def _cell(value, unit, currency, language):
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return "" if unit in _TEXTS else locale.MISSING
    if isinstance(value, bool | np.bool_):
        return locale.state("yes" if value else "no", language)
    if unit.startswith("change_"):
        return locale.signed(_cell(value, unit.removeprefix("change_"), currency, language), value)
    if unit in ("count", "persons"):
        return _count(float(value), language)
    if unit == "share":
        return locale.share(float(value), language)
    if unit == "points":
        return f"{locale.number(100 * value, language, 2)}\N{NO-BREAK SPACE}{locale.text('show.pp', language)}"
    if unit == "signed_share":
        return locale.signed(locale.share(float(value), language), value)
    if unit == "money":
        return locale.money(float(value), currency, language)
    if unit in ("x", "score"):
        return locale.number(float(value), language, 2)
    if unit == "credit":
        return locale.number(float(value), language, 1)
    if unit == "number":
        return locale.number(float(value), language, 0 if abs(value - round(value)) < 1e-6 else 2)
    if unit == "p":
        return f"< {locale.number(0.001, language, 3)}" if value < 0.001 else locale.number(float(value), language, 3)
    if unit == "wait":
        return locale.wait(float(value) / 86_400, language)
    if unit == "wait_days":
        return locale.wait(float(value), language)
    if unit == "date":
        return locale.day(value, language)
    if unit == "moment":
        return str(value)
    if unit == "kpi":
        return kpi_name(value, language)
    if unit == "flags":
        return ", ".join(_flag(one, language) for one in str(value).split(", "))
    if unit == "state":
        return str(locale.state(value, language))
    if unit == "terms":
        return locale.definition(str(value), language)
    if unit == "path":
        return locale.path(value, language)
    return str(locale.word(value, language))


def _count(value, language):
    """A number of things; of few that were expected or made up, with a decimal: 0.4 orders are not none."""
    return locale.number(value, language, 1 if abs(value) < 10 and abs(value - round(value)) > 1e-6 else 0)


def _flag(value, language):
    """A note's words; after a colon stands the KPI that it is about."""
    said, _, name = value.partition(":")
    return " ".join(filter(None, [str(locale.state(said, language)), kpi_name(name, language)]))


def kpi_name(name, language="en"):
    """A KPI's name in the language; of "cvr × new_share" both; other words as `locale.word` has them."""
    if isinstance(name, str) and re.search(r" [+−×÷] ", name):
        return re.sub(r"[^\W\d]\w*", lambda part: kpi_name(part[0], language), name)
    return getattr(CATALOGUE[name], language) if name in CATALOGUE else locale.word(name, language)


def amount(value, unit, currency, language="en", *, change=False):
    """A KPI's value for a sentence or a chart, rounded to what a reader needs.

    `unit` is that of the catalogue. A `change` has its sign; of a share it is in
    percentage points.
    """
    if value is None or value != value:
        return locale.MISSING
    if unit == "share":
        said = locale.points(value, language) if change else locale.share(value, language)
    elif unit in ("currency", "currency_per_unit"):
        said = locale.money(
            value, currency, language, 0 if unit == "currency" and (abs(value) >= 100 or not value) else 2
        )
    else:
        counts = unit in ("count", "persons")
        said = _count(value, language) if counts else locale.number(value, language, 2 if unit == "x" else 1)
    return locale.signed(said, value) if change else said


def safe(cell):
    """Text from anywhere as HTML that shows it as text."""
    # A sign alone in its element cannot pair with another: JupyterLab would set the text between as maths.
    return re.sub(r"[$\\]", lambda sign: f"<span>{sign[0]}</span>", html.escape(str(cell)))
