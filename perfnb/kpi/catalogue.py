"""The KPIs that a tree may hold: names in two languages, level, unit, direction, formula."""

import csv
from dataclasses import dataclass
from importlib import resources

import pandas as pd

from perfnb.errors import BadParameter
from perfnb.intervals import wilson

# The sums that every KPI here is made of; `ad_visits` are the visits of rows with clicks, `other_visits` the rest.
BASE = ("impressions", "clicks", "ad_visits", "other_visits", "visits", "orders", "revenue", "cost")


@dataclass(frozen=True)
class Kpi:
    """One KPI: a sum of a base column, or a ratio of two sums (never a mean of ratios)."""

    id: str
    en: str
    de: str
    level: str
    unit: str
    direction: str
    numerator: str
    denominator: str
    meaning_en: str
    meaning_de: str

    @property
    def columns(self):
        """The base columns that it needs."""
        return tuple(name for name in (self.numerator, self.denominator) if name)

    def of(self, sums):
        """The value from the summed base columns; None where it is undefined."""
        top = _known(sums.get(self.numerator))
        if not self.denominator:
            return top
        base = _known(sums.get(self.denominator))
        return top / base if top is not None and base else None


def _load():
    with resources.files("perfnb.kpi").joinpath("catalogue.csv").open(encoding="utf-8", newline="") as file:
        return {row["id"]: Kpi(**row) for row in csv.DictReader(file)}


CATALOGUE = _load()


def kpi(name):
    """The Kpi `name`; BadParameter with the known ones otherwise."""
    if name not in CATALOGUE:
        raise BadParameter(f"KPI {name!r} is not in the catalogue; known: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def value(base, names, *, by=()):
    """KPIs of one or more periods as ratios of sums, with numerator and denominator in the row.

    `base` is the result of `kpi.base`.

    Returns one row per period, group of `by` and KPI: period, (by), kpi, unit,
    value (null where the denominator is 0 or a column is absent) with low and
    high (Wilson, 95 %, of shares), numerator, denominator (null for sums),
    currency.
    """
    rows = []
    keys = ["period", *by]
    sums = base.groupby(keys, dropna=False, sort=True)[list(BASE)].sum(min_count=1)
    for key, group in sums.iterrows():
        key = key if isinstance(key, tuple) else (key,)
        for name in names:
            one = kpi(name)
            rows.append(
                dict(zip(keys, key, strict=True))
                | {"kpi": name, "unit": one.unit, "value": one.of(group), "numerator": _known(group[one.numerator])}
                | {"denominator": _known(group[one.denominator]) if one.denominator else None}
            )
    table = pd.DataFrame(rows, columns=[*keys, "kpi", "unit", "value", "numerator", "denominator"])
    table = table.astype(dict.fromkeys(("value", "numerator", "denominator"), float))
    shares = table["unit"].eq("share") & (table["numerator"] <= table["denominator"])
    table["low"], table["high"] = wilson(table["numerator"].where(shares), table["denominator"].where(shares))
    table["currency"] = base["currency"].iloc[0] if len(base) else None
    order = [*keys, "kpi", "unit", "value", "low", "high", "numerator", "denominator", "currency"]
    return table[order]


def _known(number):
    return None if number is None or pd.isna(number) else float(number)
