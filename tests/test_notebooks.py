"""The notebooks: well made, translated, and right with other parameters than their own.

Their outputs are held against a fresh run by nbval (see the Makefile); what is
tested here is what nbval never sees.
"""

import json
import re
import shutil
from pathlib import Path

import pytest
from _tables import shared
from bs4 import BeautifulSoup

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


def headline(folder, row):
    return " ".join(BeautifulSoup((folder / row["html"]).read_text(encoding="utf-8"), "html.parser")
                    .select_one(".headline").get_text().split())  # fmt: skip


def test_the_planted_stories_of_the_samples_are_in_the_headlines(tmp_path):
    """The checkout broke on phones from 16 to 22 June; the checkout annoys (data_samples/README.md)."""
    names = ("customer_journey", "funnel_dropoff")
    paths = [str(ROOT / "notebooks" / f"{name}.ipynb") for name in names]
    manifest = report.run(data=ROOT / "data_samples", out=tmp_path / "out", notebooks=paths)
    said = {row["html"]: headline(tmp_path / "out", row) for row in manifest["notebooks"]}
    assert "Feelings fall most at “Checkout”: 2.8" in said["customer_journey.html"]
    assert re.search(r"From 16 Jun 2025 to 22 Jun 2025, 35.3.% .*“Order” \(mobile\)", said["funnel_dropoff.html"])


@pytest.mark.parametrize(
    ("group", "steps", "story"),
    [
        (
            "device",
            "add_to_cart,shipping_details,payment_details,purchase",
            r"From 20 May 2024 to 9 Jun 2024, 23\.8.*\(mobile\)",
        ),
        ("device", "shipping_details,payment_details", r"From 15 Apr 2024 to 5 May 2024, .*\(mobile\)"),
        ("segment", "product_view,purchase", r"“Purchase”: 10.\d.% of new came on, 17.\d.% of all others"),
        ("user_cohort", "product_view,purchase", r"“Purchase”: 10.\d.% of 2024-04 came on, 1[67].\d.% of all others"),
    ],
)
def test_the_planted_stories_of_the_public_demo_log_are_in_the_headline(tmp_path, group, steps, story):
    """Payment incident, checkout bug, new against loyal users, drift between cohorts: counted by visit."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copy(shared("data/journeys/retentioneering-ecom.csv.gz"), folder / "touchpoints.csv.gz")
    texts = {
        "columns": "device=platform,channel=acquisition_channel,segment=user_lifecycle",
        "steps": steps,
        "group": group,
        "within": "1 day",
        "unit": "user_id,session_id",
        "resolution": "1 day",
    }
    path = str(ROOT / "notebooks" / "funnel_dropoff.ipynb")
    manifest = report.run(data=folder, out=tmp_path / "out", notebooks=[path], texts=texts)
    assert re.search(story, headline(tmp_path / "out", manifest["notebooks"][0]))
