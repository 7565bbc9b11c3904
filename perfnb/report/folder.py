"""The output folder: whole or not at all."""

import contextlib
import json
import shutil
import uuid
from pathlib import Path

from perfnb.errors import PerfnbError

MANIFEST = "manifest.json"


def problem(out):
    """Why a report may not be written to this folder: a sentence, or None if it may.

    A folder that is new or empty, or holds a report and nothing else, may be (re)written.
    """
    out = Path(out)
    if not out.exists():
        return None
    if not out.is_dir():
        return f"{out} is a file; give a folder with --out"
    here = Path.cwd()
    if out.resolve() in (here, *here.parents):
        return f"{out} is the current folder or holds it; give a folder of its own with --out"
    names = {path.name for path in out.iterdir()}
    if not names:
        return None
    own = _files_of(out)
    if own is None:
        return f"{out} exists and holds no report of perfnb; it is left alone. Give another folder with --out"
    foreign = sorted(name for name in names - own if not name.startswith("."))
    if foreign:
        return f"{out} holds files that are not part of its report ({', '.join(foreign)}); move them away first"
    return None


def _files_of(out):
    """The names of the files of the report in a folder, or None if there is no report."""
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        files = {row[key] for row in manifest["notebooks"] for key in ("html", "notebook")}
        return files | {MANIFEST, "index.html"} if "perfnb" in manifest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextlib.contextmanager
def staged(out):
    """A temporary folder beside `out` that becomes `out` when the block ends well.

    On any error, or an interrupt, it is removed and what was there stays. Raises
    PerfnbError where nothing can be written.
    """
    out = Path(out).resolve()
    temporary = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise PerfnbError(f"cannot write beside {out}: {error.strerror}") from None
    try:
        yield temporary
        _swap(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _swap(temporary, out):
    if reason := problem(out):
        raise PerfnbError(reason)
    if not out.exists():
        temporary.rename(out)
        return
    old = temporary.with_suffix(".old")
    out.rename(old)
    try:
        temporary.rename(out)
    except BaseException:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
