"""A KPI tree as data: nodes that are sums, differences, products or quotients of others."""

import ast
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from perfnb.errors import BadParameter, PerfnbError, UnreadableData
from perfnb.kpi.catalogue import CATALOGUE, NOT_SUMMED, SUMMED, kpi
from perfnb.kpi.weights import MOST

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_SIGNS = {"+": " + ", "-": " − ", "*": " × ", "/": " ÷ "}


@dataclass(frozen=True)
class Tree:
    """A tree of KPIs; the first formula's KPI is the root.

    `formulas` are (kpi, operator, children). A KPI may stand in several places.
    What is to be measured in data needs leaves of the catalogue. Write one formula per line or after ";":

    >>> Tree.parse("revenue = orders * aov; orders = visits * cvr_visit").leaves
    ('visits', 'cvr_visit', 'aov')
    >>> Tree.parse("paid_cac = cpc / (cvr * new_share)").children("paid_cac")
    ('cpc', 'cvr × new_share')
    """

    formulas: tuple

    @classmethod
    def parse(cls, text):
        """A Tree from a name of `kpi.TREES`, from formulas as text, or from the path of a YAML file of them.

        A formula is "revenue = orders * aov"; + − × ÷ and brackets may be
        nested. In YAML each is one entry, `revenue: orders * aov`, the root first.
        """
        text = str(text)
        if text.strip() in TREES:
            return TREES[text.strip()]
        if text.strip().endswith((".yaml", ".yml")):
            return cls._read(Path(text.strip()))
        lines = [line.partition("#")[0].strip() for line in text.replace("\n", ";").split(";")]
        formulas = {}
        for line in filter(None, lines):
            name, found, expression = (part.strip() for part in line.partition("="))
            if not found or not name.isidentifier():
                raise BadParameter(
                    f"tree: {line!r} is no formula; expected for example 'orders = visits * cvr_visit', "
                    f"the path of a .yaml file, or one of {', '.join(TREES)}"
                )
            _add(formulas, name, expression, line)
        if not formulas:
            raise BadParameter("the tree is empty; expected for example 'revenue = orders * aov'")
        return cls(tuple((name, *made) for name, made in formulas.items()))

    @classmethod
    def _read(cls, path):
        import yaml

        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UnreadableData(
                f"tree: {path} cannot be read ({error.strerror}). Give the path of a YAML file"
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UnreadableData(f"tree: {path} is no YAML ({' '.join(str(error).split())})") from None
        if not isinstance(found, dict) or not all(isinstance(one, str) for pair in found.items() for one in pair):
            raise BadParameter(f"tree: {path}: expected one 'kpi: formula' a line, as 'revenue: orders * aov'")
        return cls.parse("\n".join(f"{name} = {formula}" for name, formula in found.items()))

    def __post_init__(self):
        defined = [name for name, _, _ in self.formulas]
        self._refuse_circles(self.root, ())
        used = {child for _, _, children in self.formulas for child in children}
        stray = next((name for name in defined[1:] if name not in used), None)
        if stray:
            raise BadParameter(f"tree: {stray} hangs nowhere; the root {defined[0]} does not reach it")
        for name, operator, children in self.formulas:
            if operator == "*" and len(children) > MOST:
                raise BadParameter(f"tree: {name} has {len(children)} factors; give inner ones a node: at most {MOST}")

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

    def evaluate(self, values):
        """{node: value} of every node; what `values` holds is taken as it is, the rest made from its children.

        Values are numbers or arrays. What is divided by nothing is NaN.
        """
        found = {}

        def value(name):
            if name not in found:
                if name in values:
                    found[name] = values[name]
                elif not self.children(name):
                    raise BadParameter(f"tree: no value for {name}; given: {', '.join(values) or 'none'}")
                else:
                    found[name] = apply(self.operator(name), [value(child) for child in self.children(name)])
            return found[name]

        for name, _, _ in self.walk():
            value(name)
        return found

    def measurable(self, base, known=None):
        """The part of the tree that `base` (the result of `kpi.base`) has figures for, in both periods.

        A node with a child that cannot be measured becomes a leaf; where the
        root cannot be measured, the first formula that can becomes the root. Where
        there are clicks and no visits, the default tree goes through clicks.
        """
        found_in = present(base) if known is None else known
        for name in self.leaves:
            if not _is_summed(kpi(name)):
                raise BadParameter(
                    f"tree: {name} is {kpi(name).aggregation}, or made of what is: it cannot be summed over days or "
                    "segments. Leave it out; kpi.value counts it for one window"
                )

        def can(name):
            if name in CATALOGUE and (measured(name, found_in) or kpi(name).aggregation == "additive"):
                # Orders are counted or unknown: what clicks × conversion rate make may be another action.
                return measured(name, found_in)
            return bool(self.children(name)) and all(can(child) for child in self.children(name))

        if self == DEFAULT and not can("visits") and can("clicks") and can("cvr"):
            return TREES["transaction"].measurable(base, found_in)
        kept = []
        for name, operator, children in self.formulas:
            # Of a sum, a part without figures is left out: a shop may have visits from advertising only. But a
            # sum of one part that goes no deeper says nothing.
            found = tuple(child for child in children if can(child)) if operator == "+" else children
            says = len(found) > 1 or any(self.children(child) for child in found)
            if can(name) and says and all(can(child) for child in found):
                kept.append((name, operator, found))
        if not kept:
            names = ", ".join(dict.fromkeys(name for name, _, _ in self.walk()))
            raise BadParameter(
                f"no formula of the tree can be measured with these data (of {names}); "
                f"found in both periods: {', '.join(sorted(found_in)) or 'nothing'}"
            )
        reached = {kept[0][0]}
        for name, _, children in kept:
            if name in reached:
                reached |= set(children)
        return Tree(tuple(formula for formula in kept if formula[0] in reached))


def measured(name, columns):
    """Whether the base columns yield the KPI `name` as a sum or a ratio of sums."""
    return _is_summed(kpi(name)) and set(kpi(name).columns) <= set(columns)


def keys(by):
    """The columns to split by, also where one alone is given as text."""
    return [by] if isinstance(by, str) else list(by)


def as_tree(tree):
    """`tree` as a Tree, where it is one or the text of one; BadParameter otherwise."""
    if isinstance(tree, str):
        return Tree.parse(tree)
    if not isinstance(tree, Tree):
        raise BadParameter(f"tree {tree!r}: expected a Tree, or its text as 'revenue = orders * aov'")
    return tree


def links(measure, rate, action):
    """Whether a rate is over the measure (a KPI) before it, as orders per visit is over visits."""
    return _named(kpi(measure).terms[0], action) == _named(kpi(rate).terms[1], action)


def _named(terms, action):
    return {action if name == "conversions" else name: factor for name, factor in terms.items()}


def _is_summed(one):
    return one.aggregation in SUMMED and bool(one.columns) and not set(one.columns) & set(NOT_SUMMED)


def apply(operator, values):
    """The values joined by + − × ÷; NaN where something is divided by 0."""
    if operator == "/":
        top, bottom = (np.asarray(value, float) for value in values)
        found = np.divide(top, bottom, out=np.full(np.broadcast(top, bottom).shape, np.nan), where=bottom != 0)
        return float(found) if found.ndim == 0 else found
    joined = values[0]
    for value in values[1:]:
        joined = joined * value if operator == "*" else joined + value if operator == "+" else joined - value
    return joined


def lint(tree, *, base=None):
    """What a reader would miss in a tree: levels, absolute and relative KPIs, what cannot be summed or measured.

    `tree` is a Tree, or its text, whose faults are then findings too. The rule
    that reach, interaction and transaction each show a KPI, absolute and
    relative, is that of the training institute's canvas. With `base` (the result
    of `kpi.base`) also what its figures cannot yield.

    Returns one row per finding: check, severity (error, warn, info), kpi,
    message. A tree without findings gives an empty table.
    """
    columns = ["check", "severity", "kpi", "message"]
    try:
        tree = tree if isinstance(tree, Tree) else Tree.parse(tree)
    except PerfnbError as error:
        return pd.DataFrame([("formula", "error", None, str(error))], columns=columns)
    found, names = [], tuple(dict.fromkeys(name for name, _, _ in tree.walk()))
    known = [kpi(name) for name in names if name in CATALOGUE]
    for level in ("reach", "interaction", "transaction"):
        if level not in {one.level for one in known}:
            found.append(("level", "warn", None, f"no KPI of the level {level}"))
    for kind, denominator in (("absolute", False), ("relative", True)):
        if not any(bool(one.denominator) is denominator for one in known):
            found.append(("kind", "warn", None, f"no {kind} KPI"))
    for one in known:
        if one.id in tree.leaves and not _is_summed(one):
            said = f"{one.id} is {one.aggregation}, or made of what is: it cannot be summed over days or segments"
            found.append(("aggregation", "error", one.id, said))
    for name in names:
        if name in CATALOGUE or not name.isidentifier():
            continue
        if name in tree.leaves:
            found.append(("unknown", "error", name, f"{name} is not in the catalogue: nothing says how to measure it"))
        else:
            said = f"{name} is not in the catalogue: its value is what its children make"
            found.append(("unknown", "info", name, said))
    if base is not None:
        found_in = present(base)
        for one in known:
            if not measured(one.id, found_in):
                lacking = ", ".join(column for column in one.columns if column not in found_in) or "a sum"
                found.append(
                    ("measurable", "warn", one.id, f"{one.id} is not measurable with these data: no {lacking}")
                )
    return pd.DataFrame(found, columns=columns)


def present(base, rows=None):
    """The base columns that have figures in every period: what one period lacks is not 0 there.

    But revenue is 0 where there are no orders, and other_visits where all visits are of rows with clicks. `base` is
    a frame or {column: array}, `rows` are the places of each period's rows.
    """
    if rows is None:
        rows = [np.flatnonzero(base["period"] == period) for period in base["period"].unique()]
    found = {name: np.asarray(base[name], float) for name in base if name in _BASE_COLUMNS}
    known = {name: np.array([_has_figures(own, part) for part in rows]) for name, own in found.items()}
    filled = {name for name, own in known.items() if own.any()}
    if {"revenue", "orders"} <= set(found) and not known["revenue"].all():
        none = np.array([np.nansum(found["orders"][part]) == 0 for part in rows])
        known["revenue"] |= known["orders"] & none
    if {"other_visits", "visits", "clicks"} <= set(found):
        known["other_visits"] |= known["visits"] & known["clicks"]
    return {name for name in filled if known[name].all()}


def _has_figures(column, rows):
    # Mostly the first row has one, and no other need be looked at.
    return len(rows) > 0 and not (np.isnan(column[rows[0]]) and np.isnan(column[rows]).all())


_BASE_COLUMNS = frozenset(column for one in CATALOGUE.values() for column in one.columns)


def _id(name):
    """The catalogue's id of a KPI that has several names."""
    try:
        return kpi(name).id
    except BadParameter:
        return name


def _add(formulas, name, expression, line):
    try:
        node = ast.parse(expression, mode="eval").body
    except SyntaxError:
        node = None
    if not isinstance(node, ast.BinOp):
        raise BadParameter(
            f"tree: {line!r} is no formula; expected KPIs joined by + - * /, as 'orders = visits * cvr_visit'"
        )
    name = _id(name)
    if name in formulas:
        raise BadParameter(f"tree: {name} is defined twice")
    formulas[name] = None  # its place in the order, before the nodes inside its brackets
    formulas[name] = _made(node, formulas, line)


def _made(node, formulas, line):
    """(operator, children) of an expression; what stands in brackets becomes a node of its own."""
    kind = type(node.op)
    if kind not in _OPERATORS:
        raise BadParameter(f"tree: {line!r}: expected KPIs joined by + - * /")
    parts = _flatten(node, kind)
    return _OPERATORS[kind], tuple(_child(part, formulas, line) for part in parts)


def _flatten(node, kind):
    """The parts of a + b + c or a * b * c; of − and ÷ always two."""
    if isinstance(node, ast.BinOp) and type(node.op) is kind and kind in (ast.Add, ast.Mult):
        return _flatten(node.left, kind) + _flatten(node.right, kind)
    if isinstance(node, ast.BinOp) and type(node.op) is kind and kind in (ast.Sub, ast.Div):
        return [node.left, node.right]
    return [node]


def _child(node, formulas, line):
    if isinstance(node, ast.Name):
        return _id(node.id)
    if not isinstance(node, ast.BinOp):
        raise BadParameter(f"tree: {line!r}: {ast.unparse(node)} is no KPI; expected names joined by + - * /")
    operator, children = _made(node, formulas, line)
    name = _SIGNS[operator].join(f"({child})" if " " in child else child for child in children)
    formulas[name] = (operator, children)
    return name


TREES = {}
TREES |= {
    name: Tree.parse(text)
    for name, text in {
        "shop": "revenue = orders * aov; orders = visits * cvr_visit; visits = ad_visits + other_visits; "
        "ad_visits = clicks * visits_per_click; clicks = impressions * ctr",
        "canvas": "revenue = orders * aov; orders = leads * orders_per_lead; leads = visits * cr_visitor_lead; "
        "visits = impressions * visits_per_impression",
        "transaction": "revenue = orders * aov; orders = clicks * cvr; clicks = impressions * ctr",
        "roas": "roas = (cvr * aov) / cpc",
        "cac": "paid_cac = cpc / (cvr * new_share)",
        "profit": "profit = contribution - cost; contribution = revenue * margin_rate; revenue = orders * aov; "
        "orders = clicks * cvr; cost = clicks * cpc",
    }.items()
}
DEFAULT = TREES["shop"]
