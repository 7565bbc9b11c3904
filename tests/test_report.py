"""Laws of reports: all or nothing, nothing silent, and text from data stays text."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat import v4

from perfnb import cli, report
from perfnb.errors import BadParameter, PerfnbError
from perfnb.report import execute, folder, pages

NASTY = '<script>alert(1)</script> =HYPERLINK("http://x") *bold* a lone $ {{ 7*7 }} \\ \''
PARAMETERS = """\
from typing import Literal
data: str = "data_samples"  # Folder or URL
language: Literal["en", "de"] = "en"  # Language
channel: str | None = None  # Only this channel
"""


def markdown(source, id_):
    return v4.new_markdown_cell(source, id=id_)


def code(source, *tags):
    return v4.new_code_cell(source, metadata={"tags": list(tags)})


def write(path, *cells, parameters=PARAMETERS):
    path.parent.mkdir(parents=True, exist_ok=True)
    first = [markdown(f"# About {path.stem}\n\nWhy it matters.", "intro"), code(parameters, "parameters")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"}}
    nbformat.write(v4.new_notebook(cells=[*first, *cells], metadata=kernel), path)


def headline(expression):
    shown = f"type('Line', (), {{'__repr__': lambda self: {expression}}})()"
    return code(shown, "headline")


def read(path):
    return path.read_text(encoding="utf-8")


# --- one real run, with a good notebook and three that fail; the tests below read what it left


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "exports").mkdir()
    (home / "exports" / "rows.txt").write_text("three rows", encoding="utf-8")
    notebooks = home / "notebooks"
    write(
        notebooks / "good.ipynb",
        headline("'Only ' + channel"),
        code("print(open(f'{data}/rows.txt').read())"),
        markdown("## A chart\n\nRead it from left to right.", "chart"),
        code("import matplotlib.pyplot as plt\nfig, ax = plt.subplots()\nax.plot([1, 2]);"),
        code(
            "from IPython.display import HTML, Markdown, display\n"
            "display(Markdown(channel))\n"
            "HTML('<table onclick=\"x()\"><tr><td class=number>7</td></tr></table>'\n"
            "     '<img src=http://x/y.png><link href=http://x><script src=http://x></script>')"
        ),
        code("import warnings\nwarnings.warn('two rows lost')"),
        code("'adds up'", "proof"),
    )
    write(notebooks / "keyed.ipynb", code("print('before')"), code("{}[channel]"), code("print('after')"))
    write(
        notebooks / "own.ipynb",
        code("from perfnb.errors import MissingColumns\nraise MissingColumns('no column user_id\\nmap it')"),
    )
    write(notebooks / "killed.ipynb", code("print('before')"), code("import os\nos._exit(9)"))
    (notebooks / "de").mkdir()
    (notebooks / "de" / "good.md").write_text(
        "<!-- cell: intro -->\n# Über Gutes\n\nWarum es zählt.\n", encoding="utf-8"
    )
    before = os.getcwd(), os.environ.get("MPLBACKEND")
    os.chdir(home)
    os.environ["MPLBACKEND"] = "Agg"  # as in many CI systems; charts must appear all the same
    try:
        rc = cli.main(
            ["report", "--data", "exports", "--out", "a/b/{out}", "-p", "language", "de", "-p", "channel", NASTY]
        )
    finally:
        os.chdir(before[0])
        os.environ.pop("MPLBACKEND") if before[1] is None else os.environ.update(MPLBACKEND=before[1])
    return home / "a" / "b" / "{out}", rc


def rows(out):
    manifest = json.loads(read(out / "manifest.json"))
    return {row["name"]: row for row in manifest["notebooks"]}


def test_a_failed_notebook_makes_exit_code_1_and_the_others_run(made):
    out, rc = made
    assert rc == 1
    assert {name: row["status"] for name, row in rows(out).items()} == {
        "good": "ok",
        "keyed": "failed",
        "killed": "failed",
        "own": "failed",
    }


def test_errors_are_one_readable_sentence(made):
    found = {name: row["error"] for name, row in rows(made[0]).items()}
    assert found["good"] is None
    assert found["own"] == "no column user_id map it"
    assert found["keyed"].startswith("KeyError in Zelle 4: ")
    assert found["killed"] == "Der Kernel ist in Zelle 4 abgestürzt (zu wenig Speicher?)"
    index = BeautifulSoup(read(made[0] / "index.html"), "html.parser").get_text()
    assert all(error in index for error in found.values() if error)


@pytest.mark.parametrize("name", ["keyed", "killed"])
def test_a_failed_notebook_keeps_what_it_had_shown(made, name):
    node = nbformat.read(made[0] / f"{name}.ipynb", as_version=4)
    nbformat.validate(node)
    assert "before" in [o["text"].strip() for c in node.cells for o in c.get("outputs", []) if "text" in o]
    assert not [c for c in node.cells if "papermill-error-cell-tag" in c.metadata.get("tags", [])]
    soup = BeautifulSoup(read(made[0] / f"{name}.html"), "html.parser")
    assert soup.select_one("main #error .sentence").get_text(strip=True).endswith(rows(made[0])[name]["error"])
    assert [pre.get_text() for pre in soup.select("main pre.text")] == ["before"]
    assert "after" not in soup.get_text()
    assert "\x1b" not in str(soup) and "[0;31m" not in str(soup)


def test_only_the_report_is_there_and_readable_by_others(made):
    out = made[0]
    names = {"good", "keyed", "killed", "own"}
    files = {f"{name}.{ext}" for name in names for ext in ("html", "ipynb")}
    assert {path.name for path in out.iterdir()} == files | {"index.html", "manifest.json"}
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    umask = os.umask(0)
    os.umask(umask)
    assert os.name != "posix" or out.stat().st_mode & 0o777 == 0o777 & ~umask


def test_the_manifest_tells_what_was_run(made):
    manifest = json.loads(read(made[0] / "manifest.json"))
    assert manifest["perfnb"] and manifest["created"].endswith("+00:00")
    assert manifest["data"] == "exports"
    assert manifest["language"] == "de"
    assert manifest["parameters"] == {"language": "de", "channel": NASTY}
    row = rows(made[0])["good"]
    assert row["parameters"] == {"data": "exports", "language": "de", "channel": NASTY}
    assert row["headline"] == f"Only {NASTY}"
    assert row["seconds"] > 0


def test_text_from_data_and_parameters_stays_text(made):
    for name in ("good.html", "index.html", "keyed.html"):
        page = read(made[0] / name)
        assert "<script" not in page and "<em>bold" not in page and "lone $ 49" not in page
        assert NASTY in BeautifulSoup(page, "html.parser").get_text()
    soup = BeautifulSoup(read(made[0] / "good.html"), "html.parser")
    assert soup.select_one("header .headline").get_text() == f"Only {NASTY}"
    assert NASTY in [pre.get_text() for pre in soup.select("main pre.text")]  # display(Markdown(…))
    assert not soup.select("main pre.text")[0].find_all(True)


def test_pages_need_nothing_from_elsewhere(made):
    for path in made[0].glob("*.html"):
        soup = BeautifulSoup(read(path), "html.parser")
        assert not soup.select("script, link, iframe, object, embed, base")
        assert not [a for tag in soup.find_all(True) for a in tag.attrs if a.startswith("on")]
        for tag in soup.select("[src]"):
            assert tag["src"].startswith("data:image/")
        for tag in soup.select("[href]"):
            assert ":" not in tag["href"] and (made[0] / tag["href"]).exists()
        assert "url(" not in read(path) and "@import" not in read(path)
        assert "default-src 'none'" in soup.select_one("meta[http-equiv]")["content"]
        assert path.stat().st_size < 1_000_000


def test_a_page_shows_the_chart_the_table_the_warning_the_proof_and_folded_code(made):
    soup = BeautifulSoup(read(made[0] / "good.html"), "html.parser")
    (image,) = soup.select("main figure img")
    assert image["alt"] == "Diagramm: A chart"
    assert soup.select_one("main .scroll table td.number").get_text() == "7"
    assert soup.select_one("main .warning pre").get_text() == "two rows lost"
    assert soup.select_one("main .proof pre.text").get_text() == "'adds up'"
    assert all(pre.find_parent("details") for pre in soup.select("main pre:has(code)"))
    assert "three rows" in soup.select_one("main").get_text()
    assert "data_samples" not in soup.select_one("main").get_text()  # the parameters cell
    assert "Only" not in [pre.get_text() for pre in soup.select("main pre.text")]  # the headline is above
    made_of = soup.select_one("footer details").get_text()
    assert "exports" in made_of and "channel" in made_of and "perfnb 0." in made_of


def test_prose_is_in_the_language_of_the_report_where_there_is_a_translation(made):
    soup = BeautifulSoup(read(made[0] / "good.html"), "html.parser")
    assert soup.html["lang"] == "de"
    assert soup.title.get_text() == "Über Gutes"
    assert [h.get_text() for h in soup.find_all("h1")] == ["Über Gutes"]
    assert "Warum es zählt." in soup.get_text() and "Why it matters." not in soup.get_text()
    assert "Read it from left to right." in soup.get_text()  # no section: English
    index = BeautifulSoup(read(made[0] / "index.html"), "html.parser")
    assert index.html["lang"] == "de"
    assert "3 von 4 Analysen wurden vorzeitig abgebrochen." in index.get_text()
    assert "About keyed" in index.get_text()  # no file: English


def test_executed_notebooks_are_papermills_own_and_name_no_folder_of_the_machine(made):
    node = nbformat.read(made[0] / "good.ipynb", as_version=4)
    nbformat.validate(node)
    tags = [tuple(cell.metadata.tags) for cell in node.cells]
    assert tags[1:3] == [("parameters",), ("injected-parameters",)]
    assert node.metadata.papermill.input_path == "good.ipynb"
    assert str(made[0].parent) not in read(made[0] / "good.ipynb")


# --- everything below runs without a kernel


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exports").mkdir()
    write(tmp_path / "notebooks" / "kpi_tree.ipynb")
    write(tmp_path / "notebooks" / "funnel_dropoff.ipynb", parameters=PARAMETERS + "top: int = 10\n")
    return tmp_path


@pytest.fixture
def no_kernel(monkeypatch):
    """Notebooks "run" at once; the list says which."""
    ran = []

    def stub(notebook, *, name, parameters, words):
        ran.append((name, parameters))
        node = nbformat.reads(json.dumps(notebook), as_version=4)
        return execute.Outcome(node, None, None, 0.1)

    monkeypatch.setattr(execute, "execute", stub)
    return ran


def test_all_problems_are_named_at_once_before_a_kernel_starts(home, no_kernel):
    (home / "out").mkdir()
    (home / "out" / "mine.txt").touch()
    with pytest.raises(BadParameter) as error:
        report.run(
            data="export",
            out="out",
            notebooks=["kpi_tre", "funnel_dropoff"],
            parameters={"top": "many"},
        )
    said = str(error.value)
    assert "unknown notebook 'kpi_tre'; did you mean 'kpi_tree'? Known: " in said
    assert "data 'export' does not exist" in said
    assert "out exists and holds no report" in said
    with pytest.raises(BadParameter) as error:
        report.run(data="exports", out="new", texts={"top": "many", "channnel": "x", "language": "fr"})
    assert str(error.value).splitlines() == [
        "unknown parameter 'channnel'; did you mean 'channel'? Known: channel, data, language, top",
        "funnel_dropoff, kpi_tree: parameter 'language' is 'fr'; expected one of 'en', 'de'",
        "funnel_dropoff: parameter 'top' is 'many'; expected int (a whole number)",
    ]
    assert no_kernel == []
    assert not (home / "new").exists()


def test_parameters_go_where_they_are_declared(home, no_kernel):
    report.run(data="exports", out="out", texts={"top": "3"}, parameters={"channel": "Email"})
    assert no_kernel == [
        ("funnel_dropoff", {"data": "exports", "channel": "Email", "top": 3}),
        ("kpi_tree", {"data": "exports", "channel": "Email"}),
    ]


def test_notebooks_are_found_by_name_or_path_each_once(home, no_kernel):
    write(home / "elsewhere" / "mine.ipynb")
    names = ["kpi_tree", "elsewhere/mine.ipynb", "kpi_tree"]
    manifest = report.run(data="exports", out="out", notebooks=names)
    assert [row["name"] for row in manifest["notebooks"]] == ["kpi_tree", "mine"]
    write(home / "elsewhere" / "kpi_tree.ipynb")
    with pytest.raises(BadParameter, match="two notebooks are named 'kpi_tree'"):
        report.run(data="exports", out="out", notebooks=["kpi_tree", "elsewhere/kpi_tree.ipynb"])


def test_without_a_folder_here_the_notebooks_of_the_checkout_are_found(tmp_path, monkeypatch):
    write(tmp_path / "source" / "notebooks" / "theirs.ipynb")
    (tmp_path / "source" / "pyproject.toml").touch()
    monkeypatch.setattr("perfnb.__file__", str(tmp_path / "source" / "perfnb" / "__init__.py"))
    monkeypatch.chdir(tmp_path)
    assert [path.stem for path in report.find()[0]] == ["theirs"]
    write(tmp_path / "notebooks" / "mine.ipynb")
    assert [path.stem for path in report.find()[0]] == ["mine"]
    assert [path.stem for path in report.find(["theirs", "mine"])[0]] == ["theirs", "mine"]


def test_a_faulty_notebook_is_named(home, no_kernel):
    (home / "notebooks" / "broken.ipynb").write_text("{}")
    write(home / "notebooks" / "loose.ipynb", parameters="top = 3")
    with pytest.raises(BadParameter) as error:
        report.run(data="exports", out="out")
    assert "broken: notebooks/broken.ipynb is not a Jupyter notebook" in str(error.value)
    assert "loose: `top = 3` in the parameters cell has no type" in str(error.value)


def test_data_may_be_a_url_but_not_with_a_password(home, no_kernel):
    assert report.run(data="spark://host/db", out="out")["data"] == "spark://host/db"
    with pytest.raises(BadParameter, match="password") as error:
        report.run(data="spark://me:secret@host/db", out="out")
    assert "secret" not in str(error.value)


def test_an_old_report_is_replaced_and_survives_a_crash(home, no_kernel, monkeypatch):
    report.run(data="exports", out="out")
    report.run(data="exports", out="out", notebooks=["kpi_tree"])
    assert {path.name for path in (home / "out").glob("*.html")} == {"index.html", "kpi_tree.html"}
    before = read(home / "out" / "manifest.json")
    for crash in (RuntimeError, KeyboardInterrupt):
        monkeypatch.setattr(pages, "index", lambda manifest, crash=crash: (_ for _ in ()).throw(crash()))
        with pytest.raises(crash):
            report.run(data="exports", out="out")
        assert read(home / "out" / "manifest.json") == before
        assert sorted(path.name for path in home.iterdir()) == ["exports", "notebooks", "out"]


def test_an_old_report_survives_when_the_new_one_cannot_be_put_in_place(home, no_kernel, monkeypatch):
    report.run(data="exports", out="out")
    before, rename = read(home / "out" / "manifest.json"), Path.rename

    def refuse(self, target):
        if self.suffix == ".tmp":
            raise OSError("disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        report.run(data="exports", out="out")
    assert read(home / "out" / "manifest.json") == before
    assert sorted(path.name for path in home.iterdir()) == ["exports", "notebooks", "out"]


def test_folders_that_are_not_ours_are_left_alone(home, no_kernel):
    (home / "empty").mkdir()
    report.run(data="exports", out="empty")
    (home / "empty" / ".ipynb_checkpoints").mkdir()
    report.run(data="exports", out="empty")
    (home / "empty" / "notes.txt").touch()
    (home / "theirs").mkdir()
    (home / "theirs" / "manifest.json").write_text('{"name": "web app"}')
    (home / "file").touch()
    for out, says in [
        ("empty", "not part of its report (notes.txt)"),
        ("theirs", "holds no report of perfnb"),
        ("file", "is a file"),
        (".", "is the current folder or holds it"),
        ("..", "is the current folder or holds it"),
    ]:
        with pytest.raises(BadParameter) as error:
            report.run(data="exports", out=out)
        assert says in str(error.value)
    assert folder.problem("new/deep") is None
    with pytest.raises(PerfnbError, match="cannot write beside"):
        report.run(data="exports", out="file/deep")


def test_a_translation_cannot_rot(home, no_kernel):
    notebook, german = home / "notebooks" / "kpi_tree.ipynb", home / "notebooks" / "de" / "kpi_tree.md"
    assert report.untranslated(notebook, "de") == ["intro"]
    german.parent.mkdir()
    german.write_text("<!-- cell: intro -->\n# Titel\n", encoding="utf-8")
    assert report.untranslated(notebook, "de") == []
    for text, says in [
        ("<!-- cell: gone -->\nText", "cell 'gone' is no Markdown cell"),
        ("<!-- cell: intro -->\na\n<!-- cell: intro -->\nb", "cell 'intro' stands twice"),
        ("Text", "expected `<!-- cell: id -->` first"),
    ]:
        german.write_text(text, encoding="utf-8")
        with pytest.raises(BadParameter) as error:
            report.run(data="exports", out="out", parameters={"language": "de"})
        assert says in str(error.value)
    report.run(data="exports", out="out")  # in English no translation is read


def test_both_languages_have_the_same_words():
    words = tomllib.loads(read(Path(pages.__file__).with_name("words.toml")))
    assert words["en"].keys() == words["de"].keys()
    for key, text in words["en"].items():
        assert re.findall(r"{\w*}", text) == re.findall(r"{\w*}", words["de"][key]) or key == "some_failed"


@pytest.mark.parametrize(
    ("seconds", "language", "text"),
    [(4.13, "en", "4.1 s"), (4.13, "de", "4,1 s"), (125, "en", "2 min 5 s"), (59.97, "en", "1 min 0 s")],
)
def test_durations(seconds, language, text):
    assert pages.duration(seconds, pages.words(language)) == text


@pytest.mark.parametrize(
    ("html", "rest"),
    [
        ("<p onclick='x()'>a</p>", "<p>a</p>"),
        ("a<style>b</style><script>c</script><svg><script>d</script></svg>", "a"),
        ("<a href='javascript:x()'>a</a><img src='http://x/y'/>", "<a>a</a><img/>"),
        ("<td style='background:url(http://x)'>a</td>", "<td>a</td>"),
        ("<blink>a <b>b</b></blink>", "a <b>b</b>"),
    ],
)
def test_html_output_is_reduced_to_harmless_tags(html, rest):
    assert pages.harmless(html) == rest


def test_pandas_tables_are_aligned_by_column():
    import pandas as pd

    frame = pd.DataFrame({"name": ["<b>x</b>", "7 up"], "share": ["12.3 %", "-4 %"], "cost": [1.5, None]})
    soup = BeautifulSoup(pages.harmless(frame._repr_html_()), "html.parser")
    first = [(td["class"], td.get_text()) for td in soup.select("tbody tr:first-child td")]
    assert first == [(["text"], "<b>x</b>"), (["number"], "12.3 %"), (["number"], "1.5")]
    assert [th.get("class") for th in soup.select("thead th")] == [None, ["text"], ["number"], ["number"]]


def test_sentences_of_failures():
    words = pages.words("en")
    assert execute.sentence("KeyError", "'x'", 7, words) == "KeyError in cell 7: 'x'"
    assert execute.sentence("AssertionError", "", 7, words) == "AssertionError in cell 7"
    assert execute.sentence("TooMuchLost", "\x1b[31mlost\n 3 %\x1b[0m", 7, words) == "lost 3 %"
    assert len(execute.sentence("ValueError", "x" * 5000, 7, words)) < 700


def test_a_kernel_that_does_not_start_is_a_failure_of_the_notebook(home, monkeypatch):
    monkeypatch.setattr(execute, "KERNEL", "no_such_kernel")
    row, _ = report.run(data="exports", out="out")["notebooks"]
    assert row["status"] == "failed"
    assert row["error"].startswith("the kernel did not start: ")
    assert "the kernel did not start" in read(home / "out" / "funnel_dropoff.html")


@pytest.mark.parametrize("validator", ["fastjsonschema", "jsonschema"])
def test_notebooks_still_validate_without_the_slow_import(validator):
    lines = [
        "import sys",
        "from perfnb.report.execute import load_jupyter",
        "load_jupyter()",
        "assert 'rfc3987_syntax' not in sys.modules",
        "import nbformat",
        "notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('1')])",
        "nbformat.validate(notebook)",
        "notebook.cells[0]['outputs'] = 7",
        "try: nbformat.validate(notebook)",
        "except nbformat.ValidationError: print('validated')",
    ]
    environment = {**os.environ, "NBFORMAT_VALIDATOR": validator}
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=environment)
    assert done.stdout == "validated\n", done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_behind(home, number):
    write(home / "slow" / "slow.ipynb", code("import pathlib, time\npathlib.Path('up').touch()\ntime.sleep(60)"))
    command = [sys.executable, "-m", "perfnb.cli", "report", "--data", "exports", "--out", "out"]
    running = subprocess.Popen([*command, "--notebook", "slow/slow.ipynb"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (home / "up").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(number)
    _, said = running.communicate(timeout=20)
    assert running.returncode == 130
    assert said.strip() == "perfnb: stopped; nothing was written"
    assert sorted(path.name for path in home.iterdir()) == ["exports", "notebooks", "slow", "up"]
