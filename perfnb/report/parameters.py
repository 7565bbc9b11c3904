"""The typed parameters of a notebook: read without running it; values converted and checked.

A notebook declares them in its one cell tagged `parameters`, line by line:

    top: int = 10  # How many rows the tables show
"""

import ast
import difflib
import io
import json
import math
import re
import tokenize
from dataclasses import dataclass
from datetime import date

from perfnb.errors import BadParameter

TAG = "parameters"
SIMPLE = ("str", "int", "float", "bool", "date")
TRUE, FALSE = ("true", "yes", "1"), ("false", "no", "0")


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell; `type` as written there, `help` from its comment."""

    name: str
    type: str
    default: object
    help: str


# --- what a notebook declares


def declared(notebook):
    """The parameters that a notebook (its JSON as a dict) declares, in order.

    Returns a list of Parameter. Raises BadParameter naming every problem of the
    cell: missing, twice, untyped, derived, a default that does not fit its type.
    """
    cells = [cell for cell in notebook["cells"] if TAG in cell.get("metadata", {}).get("tags", [])]
    if not cells:
        raise BadParameter("no cell is tagged 'parameters'; tag the cell that declares them")
    if len(cells) > 1:
        raise BadParameter(f"{len(cells)} cells are tagged 'parameters'; expected one")
    source = "".join(cells[0]["source"])
    try:
        lines = ast.parse(source).body
    except SyntaxError as error:
        raise BadParameter(f"the parameters cell is not Python: {error.msg}, line {error.lineno}") from None
    comments = _comments(source)
    found, problems = {}, []
    for line in lines:
        if _is_import_or_text(line):
            continue
        try:
            parameter = _parameter(line, comments)
        except BadParameter as error:
            problems.append(str(error))
            continue
        if parameter.name in found:
            problems.append(f"parameter {parameter.name!r} is declared twice")
        found[parameter.name] = parameter
    if problems:
        raise BadParameter("\n".join(problems))
    return list(found.values())


def _is_import_or_text(line):
    text = isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
    return text or isinstance(line, (ast.Import, ast.ImportFrom))


def _parameter(line, comments):
    written = ast.unparse(line).splitlines()[0]
    form = "write `name: type = default  # help`"
    if isinstance(line, ast.Assign):
        raise BadParameter(f"`{written}` in the parameters cell has no type; {form}")
    if not isinstance(line, ast.AnnAssign) or not isinstance(line.target, ast.Name):
        raise BadParameter(f"`{written}` in the parameters cell declares no parameter; {form}")
    if line.value is None:
        raise BadParameter(f"`{written}` in the parameters cell has no default; {form}")
    name, type_ = line.target.id, ast.unparse(line.annotation)
    kind = kind_of(type_)
    try:
        default = ast.literal_eval(line.value)
    except ValueError:
        raise BadParameter(
            f"`{written}` in the parameters cell is derived; a default is a plain value, "
            "derive from it in the next cell"
        ) from None
    try:
        checked(kind, default)
    except ValueError:
        raise BadParameter(f"the default of parameter {name!r} is {default!r}; expected {expected(kind)}") from None
    return Parameter(name, type_, default, comments.get(line.end_lineno, ""))


def _comments(source):
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("#").strip() for t in tokens if t.type == tokenize.COMMENT}


# --- kinds: ("int",), ("literal", ("en", "de")), ("optional", kind), ("list", kind), ("dict", kind)


def kind_of(type_):
    """The kind that a type, as written, stands for: a nested tuple. Raises BadParameter if unknown."""
    return _kind(ast.parse(type_, mode="eval").body, type_)


def _kind(node, written):
    match node:
        case ast.Name(id=name) if name in SIMPLE:
            return (name,)
        case ast.BinOp(left=inner, op=ast.BitOr(), right=ast.Constant(value=None)):
            return ("optional", _kind(inner, written))
        case ast.BinOp(left=ast.Constant(value=None), op=ast.BitOr(), right=inner):
            return ("optional", _kind(inner, written))
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return ("optional", _kind(inner, written))
        case ast.Subscript(value=ast.Name(id="list"), slice=inner):
            return ("list", _kind(inner, written))
        case ast.Subscript(value=ast.Name(id="dict"), slice=ast.Tuple(elts=[ast.Name(id="str"), inner])):
            return ("dict", _kind(inner, written))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Tuple(elts=values)) if all(
            isinstance(value, ast.Constant) for value in values
        ):
            return ("literal", tuple(value.value for value in values))
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Constant(value=value)):
            return ("literal", (value,))
    raise BadParameter(
        f"type `{written}` in the parameters cell is not supported; "
        "expected str, int, float, bool, date, Literal, list, dict[str, …] or one of these | None"
    )


def expected(kind):
    """What a value of this kind looks like, in words for an error message."""
    match kind:
        case ("date",):
            return "a date such as 2025-09-30"
        case ("bool",):
            return "true or false"
        case ("int",):
            return "int (a whole number)"
        case ("float",):
            return "float (a number)"
        case ("literal", values):
            return "one of " + ", ".join(repr(value) for value in values)
        case ("optional", inner):
            return f"{expected(inner)} or none"
        case ("list", inner):
            return f"a list (a,b,c) of {expected(inner)}"
        case ("dict", inner):
            return f"pairs (name=value,…) with values of {expected(inner)}"
    return kind[0]


# --- values


def from_text(kind, text):
    """The value that a text stands for, by kind: "7" is 7 for int and "7" for str. Raises ValueError."""
    match kind:
        case ("optional", inner):
            return None if text.strip().lower() in ("", "none") else from_text(inner, text)
        case ("bool",):
            return _bool(text.strip().lower())
        case ("int",):
            return int(_matching(r"[+-]?\d+", text))
        case ("float",):
            return checked(kind, float(text))
        case ("literal", values):
            return next(value for value in _nonempty([v for v in values if str(v) == text]))
        case ("list", inner):
            if text.lstrip().startswith("["):
                return checked(kind, json.loads(text))
            return [from_text(inner, part.strip()) for part in text.split(",")] if text.strip() else []
        case ("dict", inner):
            if text.lstrip().startswith("{"):
                return checked(kind, json.loads(text))
            return {key: from_text(inner, part) for key, part in _pairs(text)}
    return checked(kind, text)


def checked(kind, value):
    """The value as it goes to the notebook if it is of this kind; nothing is guessed. Raises ValueError."""
    match kind:
        case ("optional", inner):
            return None if value is None else checked(inner, value)
        case ("literal", values):
            return _nonempty([v for v in values if v == value and type(v) is type(value)])[0]
        case ("list", inner) if isinstance(value, (list, tuple)):
            return [checked(inner, item) for item in value]
        case ("dict", inner) if isinstance(value, dict):
            return {checked(("str",), key): checked(inner, item) for key, item in value.items()}
        case ("float",) if isinstance(value, (int, float)) and not isinstance(value, bool):
            if math.isfinite(value):
                return float(value)
        case ("int",) if isinstance(value, int) and not isinstance(value, bool):
            return value
        case ("bool",) if isinstance(value, bool):
            return value
        case ("date",) if isinstance(value, (str, date)):
            return date.fromisoformat(str(value).strip()).isoformat()
        case ("str",) if isinstance(value, str):
            return value
    raise ValueError(value)


def _bool(text):
    if text not in TRUE + FALSE:
        raise ValueError(text)
    return text in TRUE


def _matching(pattern, text):
    if not re.fullmatch(pattern, text.strip(), re.ASCII):
        raise ValueError(text)
    return text.strip()


def _nonempty(values):
    if not values:
        raise ValueError("none of the allowed values")
    return values


def _pairs(text):
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all("=" in part for part in parts):
        raise ValueError(text)
    return [tuple(piece.strip() for piece in part.split("=", 1)) for part in parts]


# --- values against what several notebooks declare


def assign(declared_by, given, *, texts=False):
    """The values for each notebook, checked: {notebook: {name: value}}, and what is wrong.

    `declared_by` is {notebook: [Parameter, …]}, `given` {name: value}; with `texts`
    values are texts, converted by the declared type. A value goes only to notebooks
    that declare it. Returns (values, problems); problems are sentences.
    """
    known = sorted({p.name for parameters in declared_by.values() for p in parameters})
    problems = [unknown("parameter", name, known) for name in given if name not in known]
    values, illtyped = {notebook: {} for notebook in declared_by}, {}
    for notebook, parameters in declared_by.items():
        for parameter in parameters:
            if parameter.name not in given:
                continue
            value, kind = given[parameter.name], kind_of(parameter.type)
            try:
                values[notebook][parameter.name] = (from_text if texts else checked)(kind, value)
            except (ValueError, TypeError):
                fault = f"parameter {parameter.name!r} is {value!r}; expected {expected(kind)}"
                illtyped.setdefault(fault, []).append(notebook)
    problems += [f"{', '.join(names)}: {fault}" for fault, names in illtyped.items()]
    return values, problems


def unknown(what, name, known):
    """The sentence about an unknown name: the nearest known one, and all that are known."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what} {name!r}{hint} Known: {', '.join(known) or 'none'}"
