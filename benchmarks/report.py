"""`perfnb report` against the plain papermill API with nbconvert's HTML, on the samples: a ratio from one run.

Both run as a process of their own, in turn, so that imports count and the machine's mood is shared.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 3

PLAIN = """
import sys
from pathlib import Path
import papermill
from nbconvert import HTMLExporter
import nbformat
out = Path(sys.argv[1])
for path in sorted(Path("notebooks").glob("*.ipynb")):
    papermill.execute_notebook(path, out / path.name, {"data": "data_samples"}, progress_bar=False)
    body, _ = HTMLExporter(exclude_input=True).from_notebook_node(nbformat.read(out / path.name, as_version=4))
    (out / f"{path.stem}.html").write_text(body, encoding="utf-8")
"""


def seconds(command):
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return time.perf_counter() - started


def main():
    ours, plain = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            own = Path(folder) / f"plain_{number}"
            own.mkdir()
            plain.append(seconds([sys.executable, "-c", PLAIN, str(own)]))
            report = ["report", "--data", "data_samples", "--out", str(Path(folder) / f"perfnb_{number}")]
            command = "import sys; from perfnb.cli import main; sys.exit(main(sys.argv[1:]))"
            ours.append(seconds([sys.executable, "-c", command, *report]))
    print(f"perfnb report    {statistics.median(ours):6.1f} s  (median of {ROUNDS})")
    print(f"plain papermill  {statistics.median(plain):6.1f} s")
    print(f"ratio            {statistics.median(ours) / statistics.median(plain):6.2f}  (required: at most 2)")


if __name__ == "__main__":
    main()
