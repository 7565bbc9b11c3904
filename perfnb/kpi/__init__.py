"""KPIs: the catalogue, the tree from reach to transaction, and who moved it."""

from perfnb.kpi.catalogue import CATALOGUE, Kpi, value
from perfnb.kpi.explain import explain, kinds, movers
from perfnb.kpi.figures import base, figures, source, span
from perfnb.kpi.tree import DEFAULT, Tree

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "Kpi",
    "Tree",
    "base",
    "explain",
    "figures",
    "kinds",
    "movers",
    "source",
    "span",
    "value",
]
