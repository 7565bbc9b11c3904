"""Charts: one function per result table. They place numbers, and neither compute nor show them.

Every function takes the table and `ax` (a figure of its own when None) and
returns the Axes. Colours mean one thing each: blue what was counted, grey what
was lost or is context, models and groups their own. Of what moved a KPI blue helps
and orange hurts, and what is hollow is within the usual variation.
"""

from perfnb.plot.attribution import credits, moves, orders, ranks, returns, roles, score
from perfnb.plot.funnel import funnel, funnel_by, over_time
from perfnb.plot.graph import transition_graph
from perfnb.plot.journey import contacts, ends, paths, satisfaction, stages, transitions
from perfnb.plot.kpi import control_chart, factors, movers, placebos, targets, waterfall
from perfnb.plot.kpi_tree import kpi_tree
from perfnb.plot.style import canvas

__all__ = [
    "canvas",
    "contacts",
    "control_chart",
    "credits",
    "ends",
    "factors",
    "funnel",
    "funnel_by",
    "kpi_tree",
    "movers",
    "moves",
    "orders",
    "over_time",
    "paths",
    "placebos",
    "ranks",
    "returns",
    "roles",
    "satisfaction",
    "score",
    "stages",
    "targets",
    "transition_graph",
    "transitions",
    "waterfall",
]
