"""perfnb: a workbook for performance marketing.

Exports come in, are renamed once, are checked, are turned into small result
tables by pure functions, are drawn, and leave as a notebook, a report or a
batch of reports.

    import perfnb as pnb
    ws = pnb.workspace.open("data_samples")
    pnb.funnel.steps(ws.touchpoints, ["visit", "add_to_cart", "order"], within="7 days")

The map, from the door to the reader (imports point up this list only):

    columns, errors, period, locale   words: vocabulary, errors, days, languages
    engine, workspace, simulate       read: the only doors for data
    checks                            check: findings, and the gate
    kpi, journey, funnel, attribution model: table in, table out
    plot, tables, sentences           show: charts, printed tables, headlines
    report, cli                       deliver: one notebook or many, as reports

Modules load when first used; `import perfnb` itself loads nothing.
"""

import importlib

__version__ = "0.1.0"

__all__ = [
    "attribution",
    "checks",
    "columns",
    "engine",
    "errors",
    "funnel",
    "journey",
    "kpi",
    "locale",
    "period",
    "plot",
    "report",
    "sentences",
    "simulate",
    "tables",
    "workspace",
]


def __getattr__(name):
    if name in __all__:
        return importlib.import_module(f"perfnb.{name}")
    raise AttributeError(f"module 'perfnb' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
