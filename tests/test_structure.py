"""The house: imports point one way, every public function is documented, the lists of packages agree."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import perfnb

ROOT = Path(__file__).resolve().parents[1]
ROOMS = [
    {"columns", "errors", "period", "locale", "intervals", "words"},
    {"engine", "casts", "workspace", "simulate"},
    {"checks"},
    {"kpi", "journey", "funnel", "attribution"},
    {"tables", "sentences", "plot"},
    {"report", "cli"},
]
FLOOR = {name: number for number, room in enumerate(ROOMS) for name in room}
MODELS_THAT_MAY_IMPORT = {"attribution": {"journey"}}
CONDA_NAMES = {"duckdb": "python-duckdb"}


def modules():
    return [name for _, name, _ in pkgutil.walk_packages(perfnb.__path__, "perfnb.") if "__main__" not in name]


def imported_rooms(path):
    """The perfnb modules that a file imports, by their first name."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "perfnb":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("perfnb."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("perfnb."))


def test_imports_point_one_way():
    wrong = []
    for path in sorted((ROOT / "perfnb").rglob("*.py")):
        own = path.relative_to(ROOT / "perfnb").parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for other in set(imported_rooms(path)) - {own, "__version__"}:
            same_floor = FLOOR[own] == FLOOR[other]
            sideways = same_floor and own in ROOMS[3] and other not in MODELS_THAT_MAY_IMPORT.get(own, set())
            if FLOOR[other] > FLOOR[own] or sideways:
                wrong.append(f"{path.relative_to(ROOT)} imports {other}")
    assert wrong == []


def test_every_module_has_a_room():
    own = {path.name.removesuffix(".py") for path in (ROOT / "perfnb").iterdir() if not path.name.startswith("__")}
    assert own == set(FLOOR)


@pytest.mark.parametrize("name", modules())
def test_what_is_public_is_documented(name):
    needed = {"perfnb.engine.spark": "pyspark", "perfnb.engine.chdb": "chdb", "perfnb.engine.dialects": "sqlglot"}
    if name in needed:
        pytest.importorskip(needed[name])
    module = importlib.import_module(name)
    if name != "perfnb.words":
        assert module.__doc__, name
    for public in getattr(module, "__all__", []):
        found = getattr(module, public)
        if inspect.isfunction(found) or inspect.isclass(found):
            assert found.__doc__ and not found.__doc__.startswith(f"{public}("), f"{name}.{public}"


def test_results_are_described():
    """A function that gives a table says what one row is."""
    for room in ("funnel", "journey", "attribution", "kpi"):
        module = importlib.import_module(f"perfnb.{room}")
        for public in module.__all__:
            found = getattr(module, public)
            others = ("journeys_sql", "walks_plainly", "walks_sql", "mature", "span", "source", "figures", "targets")
            others += ("last", "leading_rate", "part_sql", "sizes", "sql")
            if inspect.isfunction(found) and public not in others:
                assert re.search("Returns (one row|the columns)", found.__doc__), f"{room}.{public}"


def loaded_by(statement):
    code = f"import sys; {statement}; print('\\n'.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


HEAVY = {
    "pandas",
    "numpy",
    "duckdb",
    "matplotlib",
    "seaborn",
    "pyarrow",
    "babel",
    "papermill",
    "nbformat",
    "pyspark",
    "chdb",
}


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import perfnb", set()),
        ("import perfnb.cli", set()),
        ("import perfnb.workspace", {"duckdb"}),
        ("import perfnb.funnel, perfnb.journey", {"pandas", "numpy", "pyarrow", "duckdb"}),
        ("import perfnb.tables", {"pandas", "numpy", "pyarrow", "babel", "duckdb"}),
    ],
)
def test_import_loads_nothing_that_it_does_not_need(statement, allowed):
    assert (loaded_by(statement) & HEAVY) <= allowed


def named(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower()


def requirements():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [*project["dependencies"], *(one for group in project["optional-dependencies"].values() for one in group)]


def test_the_three_lists_of_packages_agree():
    from packaging.requirements import Requirement

    pinned = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    )
    pinned = {name.lower().replace("_", "-"): version for name, version in pinned.items()}
    conda = [
        line.split(" #")[0].strip().removeprefix("- ")
        for line in (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()
        if line.startswith(("  - ", "      - ")) and "--editable" not in line
    ]
    conda = {named(line): line for line in conda}
    listed = set()
    for requirement in requirements():
        name = named(requirement)
        assert Requirement(requirement).specifier.contains(pinned[name]), requirement
        other = CONDA_NAMES.get(name, name)
        assert conda[other] == other + requirement[len(name) :]
        listed.add(other)
    assert set(conda) - listed == {"python", "pip", "conda-forge"}


def test_no_file_names_a_registry_or_a_machine():
    hosts = re.compile("|".join(["py" + "pi\\.org", "python" + "hosted", "npm" + "js\\.", "anaconda\\." + "org"]))
    absolute = re.compile(r"(?<![\w.:/])/(?:home|root|work|Users|tmp)/\w")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in tracked.stdout.split("\n"):
        path = ROOT / name
        if not path.is_file() or path.suffix in (".png", ".parquet"):
            continue
        text = path.read_text(encoding="utf-8")
        assert not hosts.search(text), name
        if path.suffix not in (".py", ".csv"):
            assert not absolute.search(text), name
