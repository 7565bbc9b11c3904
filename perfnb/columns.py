"""The vocabulary: every column of every table, its unit and meaning, in English and German.

The words are data (`words/columns.csv`). The tables `touchpoints`, `campaigns`,
`orders`, `surveys`, `targets` and `truth` are what a workspace holds; the rest,
under the table "results", are columns of results.
"""

import csv
import functools
from dataclasses import dataclass
from importlib import resources

from perfnb.errors import BadParameter

__all__ = ["TABLES", "Column", "describe", "of"]

TABLES = ("touchpoints", "campaigns", "orders", "surveys", "targets", "truth")


@dataclass(frozen=True)
class Column:
    """One column: its table, name, type, unit, and label and meaning in two languages."""

    table: str
    name: str
    type: str
    unit: str
    en: str
    de: str
    meaning_en: str
    meaning_de: str

    def label(self, language="en"):
        if language not in ("en", "de"):
            raise BadParameter(f"language {language!r}: expected en or de")
        return getattr(self, language)


@functools.cache
def _all():
    with resources.files("perfnb.words").joinpath("columns.csv").open(encoding="utf-8", newline="") as file:
        return tuple(Column(**row) for row in csv.DictReader(file))


@functools.cache
def of(table):
    """The columns of one table as {name: Column}, in order."""
    return {column.name: column for column in _all() if column.table == table}


@functools.cache
def describe(name):
    """The Column that a result's column `name` shows: of "results" first, then of the tables; None if unknown."""
    for table in ("results", *TABLES):
        if name in of(table):
            return of(table)[name]
    return None
