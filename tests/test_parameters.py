"""Laws of parameters: read without running, converted by declared type, wrong ones named with the way out."""

from datetime import date

import pytest

from perfnb.errors import BadParameter
from perfnb.report.parameters import Parameter, assign, checked, declared, from_text, kind_of


def notebook(*cells, tags=("parameters",)):
    return {"cells": [{"cell_type": "code", "source": c, "metadata": {"tags": list(tags)}} for c in cells]}


CELL = '''\
"""What the reader may change."""
from typing import Literal

data: str = "data_samples"  # Folder or URL
language: Literal["en", "de"] = "en"
top: int = -1  # Rows
within: str | None = None  # e.g. "7 days" # or none
weights: dict[str, float] = {
    "email": 1.5,
}  # by channel
'''


def test_parameters_are_read_with_type_default_and_help():
    assert declared(notebook(CELL)) == [
        Parameter("data", "str", "data_samples", "Folder or URL"),
        Parameter("language", "Literal['en', 'de']", "en", ""),
        Parameter("top", "int", -1, "Rows"),
        Parameter("within", "str | None", None, 'e.g. "7 days" # or none'),
        Parameter("weights", "dict[str, float]", {"email": 1.5}, "by channel"),
    ]


def test_source_may_be_a_list_of_lines_and_nothing_is_executed():
    cell = notebook("")
    cell["cells"][0]["source"] = ["import no_such_module\n", "top: int = 1\n"]
    assert declared(cell) == [Parameter("top", "int", 1, "")]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("top = 3", "`top = 3` in the parameters cell has no type"),
        ("top: int", "has no default"),
        ("top: int = 1 + rows", "is derived"),
        ("since: str = str(2025)", "is derived"),
        ("print(3)", "declares no parameter"),
        ("a.b: int = 3", "declares no parameter"),
        ("top: int = 'x'", "the default of parameter 'top' is 'x'; expected int"),
        ("top: set = 3", "type `set` in the parameters cell is not supported"),
        ("top: int | str = 3", "not supported"),
        ("top: int = 1\ntop: int = 2", "declared twice"),
        ("%matplotlib inline", "is not Python"),
    ],
)
def test_a_faulty_line_is_named(source, says):
    with pytest.raises(BadParameter, match="(?s)" + says.replace("|", r"\|").replace("(", r"\(")):
        declared(notebook(source))


def test_all_faulty_lines_are_named_at_once():
    with pytest.raises(BadParameter) as error:
        declared(notebook("a = 1\nb: int = f()\nc: int = 3"))
    assert len(str(error.value).splitlines()) == 2


def test_one_parameters_cell_is_expected():
    with pytest.raises(BadParameter, match="no cell is tagged 'parameters'"):
        declared(notebook("x: int = 1", tags=["other"]))
    with pytest.raises(BadParameter, match="2 cells are tagged"):
        declared(notebook("x: int = 1", "y: int = 2"))


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("str", "00123", "00123"),
        ("str", "1e5", "1e5"),
        ("str", "none", "none"),
        ("str", '=HYPERLINK("http://x")', '=HYPERLINK("http://x")'),
        ("int", "7", 7),
        ("int", " -7 ", -7),
        ("float", "1e5", 100000.0),
        ("float", "2", 2.0),
        ("bool", "yes", True),
        ("bool", "TRUE", True),
        ("bool", "1", True),
        ("bool", "no", False),
        ("bool", "0", False),
        ("date", "2025-09-30", "2025-09-30"),
        ("Literal['en', 'de']", "de", "de"),
        ("Literal[7, 28]", "28", 28),
        ("int | None", "none", None),
        ("Optional[int]", "", None),
        ("None | int", "3", 3),
        ("str | None", "None", None),
        ("list[str]", "a, b,c", ["a", "b", "c"]),
        ("list[str]", "001", ["001"]),
        ("list[str]", "", []),
        ("list[str]", '["a,b", "c"]', ["a,b", "c"]),
        ("list[float]", "1,2.5", [1.0, 2.5]),
        ("list[float]", "[1, 2.5]", [1.0, 2.5]),
        ("list[str] | None", "none", None),
        ("dict[str, str]", "a=b, c=d=e", {"a": "b", "c": "d=e"}),
        ("dict[str, str]", '{"a": "b,c"}', {"a": "b,c"}),
        ("dict[str, float]", "email=1.5", {"email": 1.5}),
    ],
)
def test_texts_are_converted_by_declared_type(type_, text, value):
    got = from_text(kind_of(type_), text)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("int", "abc"),
        ("int", "1.5"),
        ("int", "1_000"),
        ("int", ""),
        ("float", "nan"),
        ("float", "1,5"),
        ("bool", "2"),
        ("bool", "ja"),
        ("date", "30.09.2025"),
        ("Literal['en', 'de']", "fr"),
        ("int | None", "x"),
        ("list[float]", "1,x"),
        ("list[str]", "[1, 2]"),
        ("list[str]", "[broken"),
        ("dict[str, str]", "a"),
        ("dict[str, str]", '{"a": 1}'),
    ],
)
def test_texts_of_another_type_are_refused(type_, text):
    with pytest.raises(ValueError):
        from_text(kind_of(type_), text)


@pytest.mark.parametrize(
    ("type_", "value", "result"),
    [
        ("float", 2, 2.0),
        ("date", date(2025, 9, 30), "2025-09-30"),
        ("list[str]", ("a", "b"), ["a", "b"]),
        ("dict[str, str]", {"a": "b"}, {"a": "b"}),
        ("int | None", None, None),
    ],
)
def test_values_from_python_are_checked(type_, value, result):
    assert checked(kind_of(type_), value) == result


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int", "7"),
        ("int", True),
        ("int", 7.0),
        ("int", None),
        ("float", True),
        ("float", float("inf")),
        ("bool", 1),
        ("str", 7),
        ("list[str]", "abc"),
        ("list[str]", [1]),
        ("dict[str, str]", {1: "b"}),
        ("Literal[1]", True),
    ],
)
def test_values_of_another_type_are_refused(type_, value):
    with pytest.raises(ValueError):
        checked(kind_of(type_), value)


def test_values_go_only_to_notebooks_that_declare_them():
    by = {"a": [Parameter("top", "int", 1, "")], "b": [Parameter("top", "str", "", ""), Parameter("x", "int", 1, "")]}
    values, problems = assign(by, {"top": "007", "x": "3"}, texts=True)
    assert values == {"a": {"top": 7}, "b": {"top": "007", "x": 3}}
    assert problems == []


def test_unknown_and_illtyped_are_named_with_the_way_out():
    by = {"kpi": [Parameter("channel", "str", "", ""), Parameter("top", "int", 1, "")]}
    _, problems = assign(by, {"channnel": "x", "top": "abc", "zzz": "1"}, texts=True)
    assert problems == [
        "unknown parameter 'channnel'; did you mean 'channel'? Known: channel, top",
        "unknown parameter 'zzz'. Known: channel, top",
        "kpi: parameter 'top' is 'abc'; expected int (a whole number)",
    ]
