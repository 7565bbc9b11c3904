"""A report from notebooks: check everything, run one after another, put the whole in place."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import perfnb
from perfnb.errors import BadParameter
from perfnb.report import execute, folder, notebooks, pages
from perfnb.report.parameters import assign, declared


def run(*, data, out, notebooks=None, parameters=None, texts=None, progress=None):
    """Run notebooks on some data and write the report to the folder `out`.

    data        a folder, or a URL with a scheme; the notebooks get it as parameter `data`
    notebooks   names or paths; None: all of ./notebooks, or of the source checkout
    parameters  {name: value}, checked by the declared type
    texts       {name: text}, converted by the declared type, as on the command line
    progress    called with pieces of text while it runs, e.g. sys.stderr.write

    Returns the manifest, a dict as in manifest.json. A notebook that fails is a row
    with status "failed", and the others still run. Raises BadParameter, naming all
    problems at once, before anything runs; PerfnbError if `out` cannot be written.
    """
    jobs, language = _plan(str(data), out, notebooks, parameters or {}, texts or {})
    started = time.perf_counter()
    manifest = {
        "perfnb": perfnb.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": str(data),
        "language": language,
        "parameters": {**(texts or {}), **(parameters or {})},
        "notebooks": [],
        "seconds": 0.0,
    }
    with folder.staged(out) as temporary:
        for number, job in enumerate(jobs, start=1):
            _say(progress, f"[{number}/{len(jobs)}] {job['name']} … ")
            row = _run_one(job, manifest, temporary)
            manifest["notebooks"].append(row)
            _say(progress, _progress_of(row))
        manifest["seconds"] = round(time.perf_counter() - started, 2)
        _write(temporary / "index.html", pages.index(manifest))
        _write(temporary / folder.MANIFEST, json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
    return manifest


def _say(progress, text):
    if progress:
        progress(text)


def _progress_of(row):
    taken = pages.duration(row["seconds"], pages.words("en"))
    return f"{taken}\n" if row["status"] == "ok" else f"{taken}, failed: {row['error']}\n"


def _write(path, text):
    path.write_text(text, encoding="utf-8")


# --- before anything runs


def _plan(data, out, names, parameters, texts):
    """What is to run: ([{name, path, notebook, sections, given, effective}], language). Raises BadParameter."""
    paths, problems = notebooks.find(names)
    problems += _problems_of(data, out, parameters, texts)
    loaded, declarations = {}, {}
    for path in paths:
        try:
            loaded[path.stem] = notebooks.load(path)
            declarations[path.stem] = declared(loaded[path.stem])
        except BadParameter as error:
            problems += [f"{path.stem}: {line}" for line in str(error).splitlines()]
    given = [assign(declarations, {"data": data, **parameters}), assign(declarations, texts, texts=True)]
    if len(declarations) == len(paths) > 0:  # else what is known is not known
        problems += [problem for _, found in given for problem in found]
    jobs = []
    for path in paths:
        name = path.stem
        if name not in declarations:
            continue
        values = given[0][0][name] | given[1][0][name]
        effective = {p.name: p.default for p in declarations[name]} | values
        sections, fault = _translation(path, effective.get("language", "en"))
        problems += fault
        text = notebooks.translated(loaded[name], sections)
        jobs.append({"name": name, "path": path, "notebook": text, "given": values, "effective": effective})
    if problems:
        raise BadParameter("\n".join(problems))
    return jobs, next((job["effective"]["language"] for job in jobs if "language" in job["effective"]), "en")


def _problems_of(data, out, parameters, texts):
    problems = []
    url = "://" in data
    if not url and not Path(data).exists():
        problems.append(f"data {data!r} does not exist here; expected a folder, or a URL (scheme://…)")
    if url and urlsplit(data).password:
        problems.append("data is a URL with a password, which the report would show; set it outside the URL")
    if "data" in {**parameters, **texts}:
        problems.append("parameter 'data' is given as the data of the report; leave it out of the parameters")
    problems += [f"parameter {name!r} is given twice" for name in parameters if name in texts]
    return problems + [reason for reason in [folder.problem(out)] if reason]


def _translation(path, language):
    try:
        return notebooks.translation(path, language), []
    except BadParameter as error:
        return {}, [str(error)]


# --- one notebook


def _run_one(job, manifest, temporary):
    """Run one notebook, write its page and its executed notebook; returns its row of the manifest."""
    execute.load_jupyter()
    import nbformat

    language = job["effective"].get("language", "en")
    outcome = execute.execute(job["notebook"], name=job["name"], parameters=job["given"], words=pages.words(language))
    title = execute.title(outcome.node, job["name"])
    row = {
        "name": job["name"],
        "title": title,
        "status": "failed" if outcome.error else "ok",
        "headline": None if outcome.error else execute.headline(outcome.node) or title,
        "error": outcome.error,
        "parameters": job["effective"],
        "seconds": round(outcome.seconds, 2),
        "html": f"{job['name']}.html",
        "notebook": f"{job['name']}.ipynb",
    }
    _write(temporary / row["notebook"], nbformat.writes(outcome.node) + "\n")
    page = pages.page(
        outcome.node,
        row=row,
        manifest=manifest,
        failed_cell=outcome.failed_cell,
        folder=job["path"].parent,
    )
    _write(temporary / row["html"], page)
    return row
