"""Which notebooks there are, and their prose in another language."""

import json
import re
from pathlib import Path

import perfnb
from perfnb.errors import BadParameter
from perfnb.report.parameters import unknown

SECTION = re.compile(r"^<!--\s*cell:\s*(\S+)\s*-->\s*$")


def folders():
    """The folders where notebooks are looked for, in order: ./notebooks, then that of the source checkout."""
    checkout = Path(perfnb.__file__).resolve().parent.parent
    found = [Path("notebooks")]
    if (checkout / "pyproject.toml").is_file():
        found.append(checkout / "notebooks")
    return [folder for folder in found if folder.is_dir()]


def find(names=None):
    """The paths of the notebooks with these names (or paths), each once; None: all of the first folder.

    Returns (paths, problems); problems are sentences.
    """
    listed = [sorted(folder.glob("*.ipynb")) for folder in folders()]
    listed = [paths for paths in listed if paths]
    if not names:
        return (listed[0], []) if listed else ([], ["no notebooks here; expected a folder notebooks/"])
    known = {path.stem: path for paths in reversed(listed) for path in paths}
    paths, problems = [], []
    for name in dict.fromkeys(str(name) for name in names):
        path = known.get(name) or Path(name)
        if path.suffix == ".ipynb" and path.is_file():
            paths.append(path)
        else:
            problems.append(unknown("notebook", Path(name).stem, sorted(known)))
    return paths, problems + _clashes(paths)


def _clashes(paths):
    names = [path.stem for path in paths]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems = [f"two notebooks are named {name!r}; their pages would overwrite each other" for name in twice]
    if "index" in names:
        problems.append("a notebook named 'index' would overwrite the index of the report; rename it")
    return problems


def load(path):
    """A notebook's JSON as a dict. Raises BadParameter if the file is not a notebook."""
    try:
        notebook = json.loads(Path(path).read_text(encoding="utf-8"))
        if notebook["nbformat"] < 4 or not isinstance(notebook["cells"], list):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise BadParameter(f"{path} is not a Jupyter notebook (format 4)") from None
    return notebook


def translation(path, language):
    """The prose of a notebook in another language: {cell id: Markdown}, from <folder>/<language>/<name>.md.

    A missing file is an empty translation. Raises BadParameter if a section
    names no Markdown cell of the notebook, stands twice, or text stands before the first.
    """
    file = Path(path).parent / language / f"{Path(path).stem}.md"
    if language == "en" or not file.is_file():
        return {}
    cells, sections, current = _prose_ids(load(path)), {}, None
    for line in file.read_text(encoding="utf-8").splitlines():
        if section := SECTION.match(line):
            current = section.group(1)
            if current in sections or current not in cells:
                fault = "stands twice" if current in sections else "is no Markdown cell of the notebook"
                raise BadParameter(f"{file}: cell {current!r} {fault}")
            sections[current] = []
        elif current is not None:
            sections[current].append(line)
        elif line.strip():
            raise BadParameter(f"{file}: expected `<!-- cell: id -->` first, found {line.strip()[:40]!r}")
    return {cell: "\n".join(lines).strip() for cell, lines in sections.items()}


def untranslated(path, language):
    """The ids of the Markdown cells of a notebook that have no text in the language, in order.

    An empty list says that the translation is complete. Raises BadParameter as `translation` does.
    """
    sections = translation(path, language)
    return [cell for cell in _prose_ids(load(path)) if not sections.get(cell)]


def translated(notebook, sections):
    """The notebook with its Markdown cells replaced where there is a text; the given one stays as it was."""
    return {**notebook, "cells": [_in_other_words(cell, sections) for cell in notebook["cells"]]}


def _in_other_words(cell, sections):
    text = sections.get(cell.get("id"))
    return {**cell, "source": text} if text and cell["cell_type"] == "markdown" else cell


def _prose_ids(notebook):
    return [cell.get("id") for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
