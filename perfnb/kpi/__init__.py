"""KPIs: the catalogue, the tree from reach to transaction, who moved it, targets, alerts, before and after.

catalogue, value                  what a KPI is, and its value as its kind allows
figures                           the sums by day and segment that everything else starts from
tree, weights, noise              formulas; what a child is worth to its node; days drawn again
explain, ratio, factors           why did it move: through the tree, by rate and mix, by segment and factor
targets, pace, tracking, gaps     what is to be reached, what is due by now, where it stands, what is missing
series, control, alerts, course   counts by day, their usual range, the unusual days
before_after, priorities          what a change did; what to look at first
"""

from perfnb.kpi.alerts import alerts, chart
from perfnb.kpi.before_after import before_after, placebos
from perfnb.kpi.catalogue import CATALOGUE, Kpi, describe
from perfnb.kpi.course import course
from perfnb.kpi.explain import decompose, explain, kinds, leading_rate, nodes
from perfnb.kpi.factors import factors
from perfnb.kpi.figures import base, daily, figures, last, source, span
from perfnb.kpi.gaps import gap, sensitivity
from perfnb.kpi.priorities import priorities
from perfnb.kpi.ratio import split, split_within
from perfnb.kpi.targets import Target, targets
from perfnb.kpi.tracking import okr, track
from perfnb.kpi.tree import DEFAULT, TREES, Tree, lint
from perfnb.kpi.value import measurable, value

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "TREES",
    "Kpi",
    "Target",
    "Tree",
    "alerts",
    "base",
    "before_after",
    "chart",
    "course",
    "daily",
    "decompose",
    "describe",
    "explain",
    "factors",
    "figures",
    "gap",
    "kinds",
    "last",
    "leading_rate",
    "lint",
    "measurable",
    "nodes",
    "okr",
    "placebos",
    "priorities",
    "sensitivity",
    "source",
    "span",
    "split",
    "split_within",
    "targets",
    "track",
    "value",
]
