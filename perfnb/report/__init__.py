"""Notebooks as reports: parameters checked, notebooks run, pages for readers and an index.

from perfnb import report
manifest = report.run(data="data_samples", out="report", parameters={"language": "de"})
"""

from perfnb.report.build import run
from perfnb.report.notebooks import find, load, translation, untranslated
from perfnb.report.parameters import Parameter, declared

__all__ = ["Parameter", "declared", "find", "load", "run", "translation", "untranslated"]
