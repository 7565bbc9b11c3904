"""One notebook, executed by papermill; what it says in one sentence, or why it stopped."""

import ast
import contextlib
import json
import logging
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from perfnb import errors

KERNEL = "python3"
INLINE = "module://matplotlib_inline.backend_inline"
ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b-\x1f\x7f]")
LONGEST = 600


@dataclass(frozen=True)
class Outcome:
    """An executed notebook: its node, the sentence and cell of its failure (or None), and the seconds."""

    node: object
    error: str | None
    failed_cell: int | None
    seconds: float


def load_jupyter():
    """Import papermill and nbformat quickly.

    jsonschema builds large grammars from rfc3987_syntax at import, for formats that
    no notebook uses (seconds); while Jupyter is imported that module is held back.
    """
    held_back = "rfc3987_syntax" not in sys.modules
    if held_back:
        sys.modules["rfc3987_syntax"] = None
    try:
        import jsonschema  # noqa: F401
        import nbformat  # noqa: F401
        import papermill  # noqa: F401
    finally:
        if held_back:
            del sys.modules["rfc3987_syntax"]


def execute(notebook, *, name, parameters, words):
    """Run a notebook (its JSON as a dict) in a fresh kernel in the current folder.

    Returns an Outcome; a notebook that stops keeps what it had shown until then.
    """
    load_jupyter()
    import nbformat
    import papermill
    from papermill import engines
    from papermill import execute as papermill_execute

    started = time.perf_counter()
    node = nbformat.reads(json.dumps(_without_outputs(notebook)), as_version=4)
    with _quiet_papermill(), _inline_charts():
        node = papermill.execute_notebook(
            node, None, parameters, kernel_name=KERNEL, language="python", prepare_only=True
        )
        node.metadata.papermill.update(input_path=f"{name}.ipynb", output_path=f"{name}.ipynb")
        error = cell = None
        try:
            with _private_channel() as config:
                engines.papermill_engines.execute_notebook_with_engine(
                    None,
                    node,
                    KERNEL,
                    output_path=None,
                    progress_bar=False,
                    log_output=False,
                    config=config,
                    extra_arguments=["--IPKernelApp.log_level=50"],  # its log is not for the reader
                )
            papermill_execute.raise_for_execution_errors(node, None)
        except papermill.PapermillExecutionError as stopped:
            papermill_execute.remove_error_markers(node)
            cell = stopped.cell_index
            error = sentence(stopped.ename, stopped.evalue, _number(node, cell), words)
        except Exception as stopped:  # a dead kernel, a time-out, no kernel at all
            cell = _last_started(node)
            error = _mark(node, cell, stopped, words)
    return Outcome(node, error, cell, time.perf_counter() - started)


def sentence(name, message, number, words):
    """A failure in one readable sentence: the message of our own errors, else "KeyError in cell 7: 'x'"."""
    message = _one_line(plain(message))
    message = message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"
    own = getattr(errors, name, None)
    if message and isinstance(own, type) and issubclass(own, errors.PerfnbError):
        return message
    return f"{name} {words['in_cell']} {number}" + (f": {message}" if message else "")


def _one_line(text):
    """The text in one line; spaces that must not break stay."""
    return re.sub(r"[ \t\r\n]+", " ", text).strip()


def plain(text):
    """The text without terminal colours and control characters."""
    return ANSI.sub("", text)


def headline(node):
    """The sentence that the cell tagged `headline` shows, as plain text; None if there is none."""
    for cell in node.cells:
        if "headline" in cell.metadata.get("tags", []):
            # The cell's own result, not what something below it may have displayed on the way.
            results = [output for output in cell.get("outputs", []) if output.output_type == "execute_result"]
            for output in results:
                text = output.get("data", {}).get("text/plain")
                if text:
                    return _one_line(plain(_unquoted("".join(text))))
    return None


def _unquoted(text):
    """A str shown as a result comes with its quotes: take them off."""
    if text[:1] in "'\"":
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(text)
            return value if isinstance(value, str) else text
    return text


def title(node, default):
    """The first `# ` heading of a notebook, without Markdown's marks."""
    for cell in node.cells:
        if cell.cell_type == "markdown":
            found = re.search(r"^# +(.+?)\s*#*\s*$", cell.source, re.MULTILINE)
            if found:
                return re.sub(r"[*`]", "", found.group(1))
    return default


def _without_outputs(notebook):
    def bare(cell):
        return {**cell, "outputs": [], "execution_count": None} if cell["cell_type"] == "code" else cell

    return {**notebook, "cells": [bare(cell) for cell in notebook["cells"]]}


@contextlib.contextmanager
def _private_channel():
    """Kernels talk through sockets in a private folder where there are such: data stay off the network."""
    from traitlets.config import Config

    with tempfile.TemporaryDirectory(prefix="perfnb-") as private:
        ipc = {"transport": "ipc", "ip": str(Path(private) / "kernel")}
        yield Config(KernelManager=ipc if os.name == "posix" else {})


@contextlib.contextmanager
def _quiet_papermill():
    """papermill warns of types that it cannot read; ours are checked already."""
    logger = logging.getLogger("papermill")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextlib.contextmanager
def _inline_charts():
    """With MPLBACKEND=Agg in the environment (common in CI) charts would vanish from the report."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = INLINE
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


def _number(node, index):
    """The number that Jupyter shows, or would have shown, beside a cell."""
    code = [cell for cell in node.cells[: index + 1] if cell.cell_type == "code" and cell.source.strip()]
    return len(code)


def _last_started(node):
    """The cell that was running when the notebook stopped; None if no cell was."""
    cells = enumerate(node.cells)
    started = [i for i, c in cells if c.cell_type == "code" and c.metadata.papermill.get("start_time")]
    return max(started, default=None)


def _mark(node, index, stopped, words):
    """Write a failure that left no error output into the cell where it happened; returns the sentence."""
    import nbformat

    name, message = type(stopped).__name__, str(stopped)
    if index is None:
        return f"{words['no_kernel']}: {_one_line(plain(message))}"
    text = sentence(name, message, _number(node, index), words)
    if name == "DeadKernelError":
        text = words["kernel_died"].format(cell=_number(node, index))
    node.cells[index].outputs.append(nbformat.v4.new_output("error", ename=name, evalue=text, traceback=[]))
    for later in node.cells[index + 1 :]:
        later.metadata.papermill["status"] = "pending"
    return text
