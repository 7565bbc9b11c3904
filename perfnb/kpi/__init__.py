"""KPIs: the catalogue, the tree from reach to transaction, who moved it, targets, alerts, before and after."""

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
