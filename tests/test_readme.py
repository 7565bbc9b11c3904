"""What the README shows works: its Python examples, its commands, its files."""

import doctest
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_examples(monkeypatch):
    monkeypatch.chdir(ROOT)
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    result = doctest.testfile(str(ROOT / "README.md"), module_relative=False, optionflags=options, encoding="utf-8")
    assert result.attempted > 5 and result.failed == 0


def test_docstring_examples():
    from perfnb import locale, period
    from perfnb.kpi import tree

    for module in (locale, period, tree):
        result = doctest.testmod(module)
        assert result.attempted and not result.failed, module.__name__


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z]+)`", README)) <= targets


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert os.path.exists(ROOT / target), target
