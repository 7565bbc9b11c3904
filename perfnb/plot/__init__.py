"""Charts: one function per result table. They place numbers, and neither compute nor show them.

Every function takes the table and `ax` (a figure of its own when None) and
returns the Axes. Colours mean one thing each: blue what was counted, grey what
was lost or is context, orange what hurts, models and groups their own.
"""

from perfnb.plot.attribution import credits, returns
from perfnb.plot.funnel import funnel, funnel_by, over_time
from perfnb.plot.journey import contacts, ends, paths, satisfaction, stages, transitions
from perfnb.plot.kpi import kpi_tree, movers

__all__ = [
    "contacts",
    "credits",
    "ends",
    "funnel",
    "funnel_by",
    "kpi_tree",
    "movers",
    "over_time",
    "paths",
    "returns",
    "satisfaction",
    "stages",
    "transitions",
]
