"""Charts: one function per result table. They place numbers, and neither compute nor show them.

Every function takes the table and `ax` (a figure of its own when None) and
returns the Axes. Colours mean one thing each: blue what was counted, grey what
was lost or is context, models and groups their own. Of what moved a KPI blue helps
and orange hurts, and what is hollow is within the usual variation.
"""

from perfnb.plot.attribution import credits, moves, orders, ranks, returns, roles, score
from perfnb.plot.drop import drivers, levers, next_action
from perfnb.plot.funnel import funnel, funnel_by, time_to_convert, trend
from perfnb.plot.graph import transition_graph
from perfnb.plot.journey import contacts, ends, loops, paths, satisfaction, stages, transitions
from perfnb.plot.journey_map import journey_map
from perfnb.plot.kpi import control_chart, factors, movers, placebos, targets, waterfall
from perfnb.plot.kpi_tree import kpi_tree
from perfnb.plot.matrix import matrix_difference, step_matrix
from perfnb.plot.sankey import sankey
from perfnb.plot.style import canvas

__all__ = [
    "canvas",
    "contacts",
    "control_chart",
    "credits",
    "drivers",
    "ends",
    "factors",
    "funnel",
    "funnel_by",
    "journey_map",
    "kpi_tree",
    "levers",
    "loops",
    "matrix_difference",
    "movers",
    "moves",
    "next_action",
    "orders",
    "paths",
    "placebos",
    "ranks",
    "returns",
    "roles",
    "sankey",
    "satisfaction",
    "score",
    "stages",
    "step_matrix",
    "targets",
    "time_to_convert",
    "transition_graph",
    "transitions",
    "trend",
    "waterfall",
]
