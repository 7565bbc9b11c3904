"""KPIs: the catalogue, the tree from reach to transaction, who moved it, targets, alerts, before and after."""

from perfnb.kpi.catalogue import CATALOGUE, Kpi
from perfnb.kpi.explain import decompose, explain, kinds, nodes
from perfnb.kpi.figures import base, daily, figures, source, span
from perfnb.kpi.ratio import factors, split, split_within
from perfnb.kpi.tree import DEFAULT, TREES, Tree, lint

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "TREES",
    "Kpi",
    "Tree",
    "base",
    "daily",
    "decompose",
    "explain",
    "factors",
    "figures",
    "kinds",
    "lint",
    "nodes",
    "source",
    "span",
    "split",
    "split_within",
]
