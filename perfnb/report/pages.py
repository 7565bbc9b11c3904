"""HTML pages of a report: one for each notebook, and the index.

Pages are self-contained and need no JavaScript; their Content-Security-Policy lets
nothing run and nothing load. The templates escape everything. Two things only are
HTML when they arrive: the prose of the notebooks, and tables, which are reduced to
harmless tags first.
"""

import base64
import json
import re
import struct
import tomllib
from functools import cache
from pathlib import Path

from perfnb.report.execute import plain

HERE = Path(__file__).parent
_UPRIGHT = 1250  # pixels that an upright page shows in full size
IMAGES = ("image/svg+xml", "image/png", "image/jpeg")
KEPT = """
    table caption colgroup col thead tbody tfoot tr th td div span p br hr b strong i em u s small sub sup
    mark abbr code pre kbd blockquote ul ol li dl dt dd h1 h2 h3 h4 h5 h6 figure figcaption img a details summary
"""
TAGS = frozenset(KEPT.split())
DROPPED = ("script", "style", "iframe", "object", "embed", "link", "meta", "base", "form", "template", "svg")
ATTRIBUTES = frozenset("class id colspan rowspan scope title lang dir alt width height open style".split())  # noqa: SIM905
NUMBER = re.compile(r"[-+−–]?[^\w\s]?\s?\d[\d.,\s'’]*\s?([%‰€$£]|pp|[A-Z]{3})?")
# "/home/…/x.py:2: UserWarning: 3 rows …", then the line of code: what is for the reader is "3 rows …"
WARNED = re.compile(r"^\S.*?:\d+: \w*Warning: (.*)\n?(?:  .*\n?)?", re.MULTILINE)


def words(language):
    """The words of the pages in a language: {key: text}; English if the language has none."""
    known = tomllib.loads((HERE / "words.toml").read_text(encoding="utf-8"))
    return known.get(language, known["en"])


def duration(seconds, words):
    """Seconds in words: "4.1 s", "4,1 s", "2 min 5 s"."""
    seconds = round(seconds, 1)
    if seconds >= 60:
        return words["minutes"].format(minutes=int(seconds // 60), seconds=int(seconds % 60))
    return words["seconds"].format(seconds=f"{seconds:.1f}".replace(".", words["decimal"]))


def page(node, *, row, manifest, failed_cell, folder):
    """The page of one executed notebook, as a string of HTML.

    `row` is its entry in the manifest, `failed_cell` the index of the cell where it
    stopped (None: it did not), `folder` where images of its prose are looked for.
    """
    language = row["parameters"].get("language", "en")
    text = words(language)
    cells = node.cells if failed_cell is None else node.cells[: failed_cell + 1]
    lifted = row["status"] == "ok"
    return _render(
        "page.html.j2",
        language=language,
        words=text,
        row=row,
        manifest=manifest,
        layout=node.metadata.get("perfnb", {}).get("layout"),
        seconds=duration(row["seconds"], text),
        blocks=_blocks(cells, title=row["title"], words=text, folder=folder, lifted=lifted, row=row),
        parameters={name: shown(value) for name, value in row["parameters"].items()},
    )


def index(manifest):
    """The index of a report, as a string of HTML, from its manifest."""
    text = words(manifest["language"])
    rows = [{**row, "duration": duration(row["seconds"], text)} for row in manifest["notebooks"]]
    return _render(
        "index.html.j2",
        language=manifest["language"],
        words=text,
        manifest=manifest,
        rows=rows,
        verdict=_verdict(rows, text),
        seconds=duration(manifest["seconds"], text),
        parameters={name: shown(value) for name, value in manifest["parameters"].items()},
    )


def shown(value):
    """A parameter's value as a reader would write it."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _verdict(rows, words):
    failed = sum(row["status"] == "failed" for row in rows)
    key = "some_failed" if failed else "all_complete" if len(rows) > 1 else "one_complete"
    return words[key].format(failed=failed, total=len(rows))


@cache
def _environment():
    from jinja2 import Environment, FileSystemLoader

    templates = FileSystemLoader(HERE / "template")
    made = Environment(loader=templates, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    # A reader wants the client's name; where on which machine stands in the manifest and at the page's end.
    made.filters["source"] = lambda data: data if "://" in data else Path(data).resolve().name or data
    made.filters["when"] = lambda created: f"{created[:10]} {created[11:16]} UTC"
    return made


def _render(template, **values):
    return _environment().get_template(template).render(**values)


# --- what a page shows, block by block: prose, or code with its outputs


def _blocks(cells, *, title, words, folder, lifted, row):
    blocks, heading, untitled = [], title, True
    for cell in cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            source = cell.source
            if untitled and (found := re.search(r"^# .*$", source, re.MULTILINE)):
                source, untitled = source[: found.start()] + source[found.end() :], False
            headings = re.findall(r"^#+ +(.+)$", source, re.MULTILINE)
            heading = re.sub(r"[*`]", "", headings[-1]) if headings else heading
            if source.strip():
                blocks.append({"prose": prose(source, folder, cell.get("attachments", {}))})
        elif cell.cell_type == "code" and not {"parameters", "injected-parameters"} & set(tags):
            outputs = [_output(output, f"{words['chart']}: {heading}") for output in cell.outputs]
            if "headline" in tags and lifted:
                outputs = [output for output in outputs if output and output["kind"] not in ("text", "html")]
            outputs = [output for output in outputs if output]
            for output in outputs:
                if output["kind"] == "error":
                    output["sentence"] = row["error"] or output["sentence"]
            source = cell.source
            if blocks and blocks[-1].get("outputs") == []:  # one fold for code that shows nothing, and the next
                source = f"{blocks.pop()['code']}\n\n{source}"
            if source.strip() or outputs:
                blocks.append({"code": source.strip(), "outputs": outputs, "proof": "proof" in tags})
    return blocks


def _output(output, alt):
    """One output as what the template shows: {"kind": …, …}; None if it shows nothing."""
    if output.output_type == "stream":
        text = WARNED.sub(r"\1\n", plain("".join(output.text))).strip("\n")
        return {"kind": "warning" if output.name == "stderr" else "text", "text": text} if text else None
    if output.output_type == "error":
        trace = plain("\n".join(output.traceback))
        return {"kind": "error", "sentence": plain(f"{output.ename}: {output.evalue}"), "trace": trace}
    data = output.data
    for kind in IMAGES:
        if kind in data:
            wide = kind == "image/png" and _is_wide(data[kind])
            return {"kind": "image", "source": _embedded(kind, data[kind]), "alt": alt, "wide": wide}
    if "text/html" in data:
        return {"kind": "html", "html": harmless("".join(data["text/html"]))}
    text = plain("".join(data.get("text/markdown") or data.get("text/plain") or ""))
    return {"kind": "text", "text": text} if text.strip() else None


def _is_wide(content):
    """Whether a PNG is made for a page across: its text would be too small to read on one upright."""
    width, height = struct.unpack(">II", base64.b64decode("".join(content)[:64])[16:24])
    return width > _UPRIGHT and width > 1.6 * height


def _embedded(kind, content):
    content = "".join(content)
    if kind == "image/svg+xml":
        content = base64.b64encode(content.encode()).decode()
    return f"data:{kind};base64,{content.replace(chr(10), '')}"


def prose(source, folder, attachments=None):
    """Markdown of a notebook's author as HTML; images beside the notebook are embedded."""
    from markupsafe import Markup
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    renderer = IPythonRenderer(
        escape=False,
        attachments=attachments,
        embed_images=True,
        path=str(folder),
        exclude_anchor_links=True,
    )
    return Markup(MarkdownWithMath(renderer=renderer).render(source))


def harmless(html):
    """HTML output reduced to tables and text: no scripts, styles, handlers or links to elsewhere.

    Cells of plain pandas tables get the class "number" or "text" by their column.
    """
    from bs4 import BeautifulSoup, Comment
    from markupsafe import Markup

    soup = BeautifulSoup(html, "html.parser")
    for remark in soup.find_all(string=lambda text: isinstance(text, Comment)):
        remark.extract()
    for tag in soup.find_all(DROPPED):
        tag.decompose()
    for tag in soup.find_all(True):
        if tag.name not in TAGS:
            tag.unwrap()
        else:
            tag.attrs = {key: value for key, value in tag.attrs.items() if _is_harmless(key, value)}
    for table in soup.select("table.dataframe"):
        _align(table)
    return Markup(str(soup))


def _is_harmless(key, value):
    text = str(value).strip().lower()
    if key == "style":
        return "url(" not in text and "position" not in text and "\\" not in text
    if key == "src":
        return text.startswith("data:image/")
    if key == "href":
        return text.startswith("#")
    return key in ATTRIBUTES or key.startswith("aria-")


def _align(table):
    rows = [row.find_all("td", recursive=False) for row in table.select("tbody > tr")]
    width = max((len(row) for row in rows), default=0)
    columns = [[row[i].get_text(" ", strip=True) for row in rows if i < len(row)] for i in range(width)]
    kinds = [_kind(texts) for texts in columns]
    for cells in rows:
        for cell, kind in zip(cells, kinds, strict=False):
            cell["class"] = [*cell.get("class", []), kind]
    for row in table.select("thead > tr"):
        heads = row.find_all("th", recursive=False)[-width:] if width else []
        if len(heads) == width and not any(head.get("colspan") for head in heads):
            for head, kind in zip(heads, kinds, strict=True):
                head["class"] = [*head.get("class", []), kind]


def _kind(texts):
    texts = [text for text in texts if text not in ("", "NaN", "nan", "None", "NaT", "<NA>", "–")]
    return "number" if texts and all(NUMBER.fullmatch(text) for text in texts) else "text"
