"""Write docs/kpi_catalogue.md from the data: python scripts/kpi_page.py."""

from pathlib import Path

from perfnb.kpi.catalogue import CATALOGUE
from perfnb.locale import text

PAGE = Path(__file__).resolve().parents[1] / "docs" / "kpi_catalogue.md"
LEVELS = ("reach", "interaction", "transaction", "cx", "finance", "operations")
KINDS = ("additive", "ratio", "distinct", "stock", "survey", "duration", "index", "derived")
HEAD = """# The KPIs

Written from `perfnb/kpi/catalogue.csv` by `scripts/kpi_page.py`; change the data, not this page.
`perfnb.kpi.describe("roas", language="de")` says the same of one KPI, in English or German;
`perfnb.kpi.measurable(table)` says which of them your data can yield.

What may be done with a KPI depends on its kind, and `perfnb.kpi.value` holds to it:

| kind | adding up |
|---|---|
"""
TABLE = """
| id | English | Deutsch | formula | unit | better | kind | meaning |
|---|---|---|---|---|---|---|---|
"""


def page():
    """The page as text: a table of kinds, then one of KPIs for each level."""
    kinds = "".join(f"| {kind} | {_cell(text(f'describe.aggregation.{kind}'))} |\n" for kind in KINDS)
    return HEAD + kinds + "".join(_level(level) for level in LEVELS)


def _level(level):
    found = [one for one in CATALOGUE.values() if one.level == level]
    return f"\n## {text(f'describe.level.{level}')}\n{TABLE}" + "".join(_row(one) for one in found)


def _row(one):
    unit, better = (text(f"describe.{field}.{getattr(one, field)}") for field in ("unit", "direction"))
    meaning = one.definition_en + "."
    if one.ambiguity_en:
        meaning += f" *{one.ambiguity_en}.*"
    if one.aliases:
        meaning += f" Also: {', '.join(f'`{alias}`' for alias in one.aliases.split())}."
    cells = [f"`{one.id}`", one.en, one.de, f"`{one.equation}`", unit, better, one.aggregation, meaning]
    return f"| {' | '.join(_cell(cell) for cell in cells)} |\n"


def _cell(said):
    return said.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
