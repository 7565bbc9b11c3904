"""A KPI tree as data: nodes that are sums, differences, products or quotients of others."""

import ast
from dataclasses import dataclass

from perfnb.errors import BadParameter
from perfnb.kpi.catalogue import BASE, kpi

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


@dataclass(frozen=True)
class Tree:
    """A tree of catalogue KPIs; the first formula's KPI is the root.

    `formulas` are (kpi, operator, children). Write one per line or after ";":

    >>> Tree.parse("revenue = orders * aov; orders = visits * cvr").leaves
    ('visits', 'cvr', 'aov')
    """

    formulas: tuple

    @classmethod
    def parse(cls, text):
        """A Tree from "revenue = orders * aov; orders = visits * cvr": one operator a line."""
        formulas = []
        for line in text.replace("\n", ";").split(";"):
            if not line.strip():
                continue
            name, _, expression = (part.strip() for part in line.partition("="))
            formulas.append((name, *_children(expression, line)))
        if not formulas:
            raise BadParameter("the tree is empty; expected for example 'revenue = orders * aov'")
        return cls(tuple(formulas))

    def __post_init__(self):
        defined = [name for name, _, _ in self.formulas]
        twice = next((name for name in defined if defined.count(name) > 1), None)
        if twice:
            raise BadParameter(f"tree: {twice} is defined twice")
        for name, _, children in self.formulas:
            for one in (name, *children):
                kpi(one)
        used = {child for _, _, children in self.formulas for child in children}
        stray = next((name for name in defined[1:] if name not in used), None)
        if stray:
            raise BadParameter(f"tree: {stray} hangs nowhere; the root {defined[0]} does not reach it")
        self._refuse_circles(self.root, ())

    def _refuse_circles(self, name, above):
        if name in above:
            raise BadParameter(f"tree: {' → '.join((*above, name))} goes in a circle")
        for child in self.children(name):
            self._refuse_circles(child, (*above, name))

    @property
    def root(self):
        return self.formulas[0][0]

    @property
    def leaves(self):
        """The KPIs without a formula, from left to right."""
        return tuple(dict.fromkeys(name for name, _, _ in self.walk() if not self.children(name)))

    def operator(self, name):
        return next((operator for one, operator, _ in self.formulas if one == name), None)

    def children(self, name):
        return next((children for one, _, children in self.formulas if one == name), ())

    def walk(self):
        """Every node from the root down, left to right: (kpi, path, depth)."""

        def below(name, path, depth):
            yield name, path, depth
            for child in self.children(name):
                yield from below(child, f"{path}/{child}", depth + 1)

        return list(below(self.root, self.root, 0))

    def measurable(self, base):
        """The part of the tree that `base` (the result of `kpi.base`) has figures for, in both periods.

        A node with a child that cannot be measured becomes a leaf; where the
        root cannot be measured, the first formula that can becomes the root.
        """
        present = _present(base)
        can = {one: set(kpi(one).columns) <= present for one in {name for name, _, _ in self.walk()}}
        kept = []
        for name, operator, children in self.formulas:
            # Of a sum, a part without figures is left out: a shop may have visits from advertising only. But a
            # sum of one part that goes no deeper says nothing.
            found = tuple(child for child in children if can[child]) if operator == "+" else children
            says = len(found) > 1 or any(self.children(child) for child in found)
            if can[name] and says and all(can[child] for child in found):
                kept.append((name, operator, found))
        if not kept:
            names = ", ".join(dict.fromkeys(name for name, _, _ in self.walk()))
            raise BadParameter(
                f"no formula of the tree can be measured with these data (of {names}); "
                f"found in both periods: {', '.join(sorted(present)) or 'nothing'}"
            )
        root = kept[0][0]
        reached = {root}
        for name, _, children in kept:
            if name in reached:
                reached |= set(children)
        return Tree(tuple(formula for formula in kept if formula[0] in reached))


def _present(base):
    """The base columns that have figures in every period: what one period lacks is not 0 there.

    But revenue is 0 where there are no orders, and other_visits where all visits are of rows with clicks.
    """
    sums = base.groupby("period")[list(BASE)].sum(min_count=1)
    known = sums.notna()
    known["revenue"] |= sums["orders"].eq(0)
    known["other_visits"] |= known["visits"] & known["clicks"]
    return {name for name in BASE if known[name].all() and base[name].notna().any()}


def _children(expression, line):
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        raise BadParameter(
            f"tree: {line.strip()!r} is no formula; expected for example 'orders = visits * cvr'"
        ) from None
    if not isinstance(node, ast.BinOp) or type(node.op) not in _OPERATORS:
        raise BadParameter(f"tree: {line.strip()!r}: expected KPIs joined by one of + - * /")
    kind = type(node.op)
    names = _flatten(node, kind, line)
    if kind in (ast.Sub, ast.Div) and len(names) > 2:
        raise BadParameter(f"tree: {line.strip()!r}: - and / take two KPIs; give the inner one a line of its own")
    return _OPERATORS[kind], tuple(names)


def _flatten(node, kind, line):
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.BinOp) and type(node.op) is kind:
        return _flatten(node.left, kind, line) + _flatten(node.right, kind, line)
    raise BadParameter(f"tree: {line.strip()!r}: one operator a line; give the inner part a line of its own")


DEFAULT = Tree.parse(
    "revenue = orders * aov; orders = visits * cvr; visits = ad_visits + other_visits; "
    "ad_visits = clicks * visits_per_click; clicks = impressions * ctr"
)
