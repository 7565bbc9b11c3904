"""The catalogue of KPIs: names in two languages, level, unit, direction, formula, and how each may be added up."""

import ast
import csv
import difflib
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

import pandas as pd

from perfnb import locale
from perfnb.errors import BadParameter

# The sums that trees are made of; `ad_visits` are the visits of rows with clicks, `other_visits` the rest.
BASE = ("impressions", "clicks", "ad_visits", "other_visits", "visits", "engaged_visits", "leads", "orders")
BASE += ("new_customers", "revenue", "contribution", "cost")

# The classes whose figures are sums, or sums divided by sums.
SUMMED = ("additive", "ratio", "duration")
# Base columns that hold what no sum over rows may: "once" stands in one row of the asked group (the same person or
# order may be in the next one), "first" and "last" are balances, of the first or last day.
NOT_SUMMED = dict.fromkeys(("reach", "recipients", "visitors", "customers", "influenced_revenue"), "once")
NOT_SUMMED |= dict.fromkeys(("customers_start", "staff_start"), "first")
NOT_SUMMED |= dict.fromkeys(("equity", "total_capital", "current_assets", "current_liabilities"), "last")

_WORDS = ("level", "indicator", "unit", "direction", "aggregation")


@dataclass(frozen=True)
class Kpi:
    """One KPI. `numerator` and `denominator` are sums of base columns ("contribution - cost", "1000 * cost").

    `aggregation` says what may be done with it: additive, ratio (of sums, never
    a mean of ratios), distinct (the numerator is the id that is counted), stock,
    survey, duration, index or derived. `formula` says what these cannot. `level`
    is reach, interaction, transaction, cx, finance or operations; `tags` are
    further ones it belongs to, "cost", and "amounts" where a share is one of
    money or hours, not of things counted.
    """

    id: str
    en: str
    de: str
    level: str
    tags: str
    indicator: str
    unit: str
    direction: str
    aggregation: str
    numerator: str
    denominator: str
    formula: str
    definition_en: str
    definition_de: str
    ambiguity_en: str
    ambiguity_de: str
    aliases: str

    @cached_property
    def terms(self):
        """{base column: factor} of the numerator and of the denominator."""
        return tuple(_terms(side) for side in (self.numerator, self.denominator))

    @cached_property
    def columns(self):
        """The base columns that it needs."""
        return tuple(dict.fromkeys(name for side in self.terms for name in side))

    @property
    def equation(self):
        """How it is made, as text: "(contribution - cost) / cost"."""
        if self.formula:
            return self.formula
        if self.aggregation == "distinct":
            return f"count(distinct {self.numerator})"
        if not self.denominator:
            return self.numerator
        sides = zip((self.numerator, self.denominator), self.terms, strict=True)
        return " / ".join(f"({side})" if len(terms) > 1 else side for side, terms in sides)

    def top(self, sums):
        """The numerator from the summed base columns (numbers or arrays)."""
        return _sum(self.terms[0], sums)

    def bottom(self, sums):
        """The denominator from the summed base columns (numbers or arrays)."""
        return _sum(self.terms[1], sums)


def _sum(terms, sums):
    parts = [sums[name] if factor == 1 else factor * sums[name] for name, factor in terms.items()]
    return sum(parts[1:], start=parts[0]) if parts else 0


def _terms(text):
    """{"contribution": 1.0, "cost": -1.0} from "contribution - cost"."""
    return _linear(ast.parse(text, mode="eval").body) if text else {}


def _linear(node):
    match node:
        case ast.Name():
            return {node.id: 1.0}
        case ast.BinOp(left=ast.Constant(value=factor), op=ast.Mult()):
            return {name: factor * own for name, own in _linear(node.right).items()}
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            sign = 1.0 if isinstance(node.op, ast.Add) else -1.0
            return _linear(node.left) | {name: sign * own for name, own in _linear(node.right).items()}
    raise ValueError(f"catalogue.csv: {ast.unparse(node)!r} is no sum of base columns")


def _load():
    with resources.files("perfnb.kpi").joinpath("catalogue.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: Kpi(**row) for row in csv.DictReader(file)}


CATALOGUE = _load()
_ALIASES = {alias: one.id for one in CATALOGUE.values() for alias in one.aliases.split()}
_NAMES = {said.casefold(): one.id for one in reversed(CATALOGUE.values()) for said in (one.id, one.en, one.de)}


def kpi(name):
    """The Kpi `name` (an id, an alias, or its name in either language); BadParameter with the nearest ids otherwise."""
    found = CATALOGUE.get(_ALIASES.get(name, name)) or CATALOGUE.get(_NAMES.get(str(name).strip().casefold()))
    if found is None:
        near = difflib.get_close_matches(str(name), [*CATALOGUE, *_ALIASES], n=3)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise BadParameter(f"KPI {name!r} is not in the catalogue. {hint}All ids: perfnb.kpi.CATALOGUE")
    return found


def describe(name, *, language="en"):
    """What the catalogue says of a KPI, in English or German ("en", "de").

    Returns one row per fact: fact (its label), says. Facts that a KPI does not
    have (ambiguity, aliases) have no row.
    """
    one = kpi(name)
    words = {field: locale.text(f"describe.{field}.{getattr(one, field)}", language) for field in _WORDS}
    tags = [locale.text(f"describe.tags.{tag}", language) for tag in one.tags.split() if tag != "amounts"]
    facts = {
        "name": getattr(one, language),
        "id": one.id,
        "level": ", ".join([words["level"], *tags]),
        "indicator": words["indicator"],
        "formula": one.equation,
        "unit": words["unit"],
        "direction": words["direction"],
        "aggregation": words["aggregation"],
        "columns": ", ".join(one.columns),
        "definition": getattr(one, f"definition_{language}"),
        "ambiguity": getattr(one, f"ambiguity_{language}"),
        "aliases": ", ".join(one.aliases.split()),
    }
    rows = [(locale.text(f"describe.facts.{fact}", language), says) for fact, says in facts.items() if says]
    return pd.DataFrame(rows, columns=["fact", "says"])
