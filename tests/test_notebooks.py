"""The notebooks: well made, translated, and right with other parameters than their own.

Their outputs are held against a fresh run by nbval (see the Makefile); what is
tested here is what nbval never sees.
"""

import json
import re
from pathlib import Path

import pytest

from perfnb import report

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


def cells(path, kind):
    return [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def tagged(path, tag):
    return [cell for cell in cells(path, "code") if tag in cell["metadata"].get("tags", [])]


def test_there_are_five():
    assert NAMES == ["attribution", "customer_journey", "executive_summary", "funnel_dropoff", "kpi_tree"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
class TestMaking:
    def test_one_parameters_cell_typed_and_commented(self, path):
        declared = {parameter.name: parameter for parameter in report.declared(report.load(path))}
        assert {"data", "language", "columns", "files"} <= set(declared)
        assert all(parameter.help for parameter in declared.values())

    def test_one_headline_and_one_proof(self, path):
        assert len(tagged(path, "headline")) == len(tagged(path, "proof")) == 1

    def test_cells_are_short_and_hold_calls_only(self, path):
        for cell in cells(path, "code"):
            if cell in tagged(path, "parameters"):
                continue
            assert len(source(cell).splitlines()) <= 7, source(cell)
            assert not re.search(r"^\s*(def|for|while|if|try|class|with)\b", source(cell), re.MULTILINE)

    def test_prose_stands_before_code_and_holds_no_figures_of_the_samples(self, path):
        prose = "\n".join(source(cell) for cell in cells(path, "markdown"))
        assert len(cells(path, "markdown")) >= 7
        assert not re.search(r"[€$]\s?\d|\d\s?€|\d{4,}", prose)

    def test_ids_are_unique_and_outputs_small(self, path):
        everything = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert len({cell["id"] for cell in everything}) == len(everything)
        for cell in cells(path, "code"):
            assert cell["execution_count"], "committed with outputs"
            for output in cell["outputs"]:
                assert output["output_type"] != "error"
                assert len(json.dumps(output)) < 270_000  # a picture of 200 kB, as text
                assert output.get("name") != "stderr"

    def test_every_prose_cell_is_translated(self, path):
        assert report.untranslated(path, "de") == []


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    """All on other parameters than their defaults, in German."""
    out = tmp_path_factory.mktemp("reports") / "german"
    texts = {
        "language": "de",
        "within": "3 days",
        "period": "2025-08",
        "lookback": "7 days",
        "top": "5",
        "scale": "nps",
        "half_life": "2 days",
    }
    manifest = report.run(data=ROOT / "data_samples", out=out, notebooks=[str(path) for path in NOTEBOOKS], texts=texts)
    funnel = report.run(
        data=ROOT / "data_samples",
        out=out.parent / "segment",
        notebooks=[str(ROOT / "notebooks" / "funnel_dropoff.ipynb")],
        texts={"group": "segment", "period": "last 60 days"},
    )
    return out, manifest, funnel


def test_they_run_with_other_parameters(german):
    _, manifest, funnel = german
    assert [row["error"] for row in [*manifest["notebooks"], *funnel["notebooks"]]] == [None] * 6


def test_german_reports_are_german(german):
    out, manifest, _ = german
    for row in manifest["notebooks"]:
        page = (out / row["html"]).read_text(encoding="utf-8")
        assert '<html lang="de"' in page
        assert "Was das nicht sagen kann" in page and "What this cannot tell" not in page
    assert re.search(r"\d\.\d{3},\d{2}\s€", (out / "kpi_tree.html").read_text(encoding="utf-8"))
    assert "Kennzahlenbaum" in (out / "index.html").read_text(encoding="utf-8")


def test_every_notebook_shows_a_proof_without_difference(german):
    out, manifest, _ = german
    for row in manifest["notebooks"]:
        (cell,) = tagged(out / row["notebook"], "proof")
        html = "".join(cell["outputs"][0]["data"]["text/html"])
        last = re.findall(r"<td[^>]*>([^<]*)</td></tr>", html)
        assert last and set(last) == {"0"}


def test_pages_are_small_and_hold_a_picture_per_chart(german):
    out, manifest, _ = german
    for row in manifest["notebooks"]:
        page = (out / row["html"]).read_text(encoding="utf-8")
        charts = sum("pnb.plot." in source(cell) for cell in cells(out / row["notebook"], "code"))
        assert page.count("data:image/png") == charts >= 2
        assert len(page) < 1_000_000


def test_they_do_not_need_ipywidgets(tmp_path):
    """A plain installation has none; DuckDB in Jupyter wants them for its progress bars."""
    path = tmp_path / "notebooks" / "plain.ipynb"
    path.parent.mkdir()
    notebook = json.loads((ROOT / "notebooks" / "funnel_dropoff.ipynb").read_text(encoding="utf-8"))
    notebook["cells"] = notebook["cells"][:6]
    setup = next(cell for cell in notebook["cells"] if cell["id"] == "setup")
    setup["source"] = "import sys\n\nsys.modules['ipywidgets'] = None\n" + source(setup)
    path.write_text(json.dumps(notebook), encoding="utf-8")
    manifest = report.run(data=ROOT / "data_samples", out=tmp_path / "out", notebooks=[str(path)])
    assert manifest["notebooks"][0]["error"] is None
