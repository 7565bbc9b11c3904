"""Laws of the command line: thin, quick, and no traceback for what the user can mend."""

import json
import subprocess
import sys

import pytest

import perfnb
from perfnb import cli, report
from perfnb.errors import BadParameter


@pytest.fixture
def called(monkeypatch):
    """What the command line calls report.run with."""
    calls = []

    def stub(**arguments):
        calls.append(arguments)
        return {"notebooks": [{"name": "kpi", "status": "ok", "error": None}]}

    monkeypatch.setattr(report, "run", stub)
    return calls


def test_arguments_become_one_call(called, capsys):
    rc = cli.main(
        "report --data d --out o --notebook a b --notebook c -p top -5 -p since 2025-09-01".split()  # noqa: SIM905
    )
    assert rc == 0
    (call,) = called
    assert call.pop("progress") is None  # not a terminal
    assert call == {
        "data": "d",
        "out": "o",
        "notebooks": ["a", "b", "c"],
        "texts": {"top": "-5", "since": "2025-09-01"},
    }
    assert capsys.readouterr().out == "o/index.html\n"


def test_a_failed_notebook_is_exit_code_1(monkeypatch, capsys):
    rows = [{"name": "kpi", "status": "failed", "error": "no column x"}]
    monkeypatch.setattr(report, "run", lambda **arguments: {"notebooks": rows})
    assert cli.main(["report", "--data", "d", "--out", "o"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "o/index.html\n"
    assert shown.err == "perfnb: kpi failed: no column x\n"


def test_problems_are_exit_code_2_line_by_line_without_a_traceback(monkeypatch, capsys):
    def refuse(**arguments):
        raise BadParameter("one\ntwo")

    monkeypatch.setattr(report, "run", refuse)
    assert cli.main(["report", "--data", "d", "--out", "o"]) == 2
    assert capsys.readouterr() == ("", "perfnb: one\nperfnb: two\n")


def test_an_interrupt_is_exit_code_130(monkeypatch, capsys):
    def interrupt(**arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "run", interrupt)
    assert cli.main(["report", "--data", "d", "--out", "o"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_parameter_given_twice_is_refused(called, capsys):
    assert cli.main(["report", "--data", "d", "--out", "o", "-p", "a", "1", "-p", "a", "2"]) == 2
    assert capsys.readouterr().err == "perfnb: parameter 'a' is given twice\n"
    assert called == []


def test_progress_is_written_on_a_terminal(called, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    cli.main(["report", "--data", "d", "--out", "o"])
    called[0]["progress"]("[1/4] kpi … ")
    called[0]["progress"]("4.1 s\n")
    assert capsys.readouterr().err == "[1/4] kpi … 4.1 s\n"


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["report", "--help"]])
def test_help_and_version(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert (perfnb.__version__ if arguments == ["--version"] else "report") in shown
    if arguments == ["report", "--help"]:
        assert "perfnb report --data data_samples --out report" in shown


@pytest.mark.parametrize("arguments", [[], ["report"], ["report", "--data", "d"], ["reprot"]])
def test_wrong_usage_is_exit_code_2(arguments, capsys):
    with pytest.raises(SystemExit) as done:
        cli.main(arguments)
    assert done.value.code == 2
    assert "usage: perfnb" in capsys.readouterr().err


def test_nothing_heavy_is_imported_until_notebooks_run(tmp_path):
    """Neither on import nor for an error in what was given."""
    lines = [
        "import json, sys",
        "from perfnb import cli",
        "rc = cli.main(['report', '--data', 'no', '--out', 'o', '--notebook', 'no'])",
        "heavy = ['pandas', 'numpy', 'matplotlib', 'papermill', 'nbformat', 'nbconvert', 'jinja2', 'duckdb']",
        "print(json.dumps([rc, [name for name in heavy if name in sys.modules]]))",
    ]
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], cwd=tmp_path, capture_output=True, text=True)
    assert json.loads(done.stdout) == [2, []]
    assert "perfnb: data 'no' does not exist here" in done.stderr
    assert "perfnb: unknown notebook 'no'" in done.stderr
