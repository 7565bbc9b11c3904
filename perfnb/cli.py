"""The command line: `perfnb report --data DIR --out DIR`."""

import argparse
import signal
import sys
from pathlib import Path

import perfnb
from perfnb.errors import PerfnbError

EXAMPLE = """\
example:
  perfnb report --data data_samples --out report
  perfnb report --data exports/2025-09 --out september --notebook funnel_dropoff kpi_tree \\
      -p language de -p period 2025-09

Open index.html in the folder given with --out. It also holds every page, the executed
notebooks and manifest.json. A report that is there already is replaced when the new one
is complete.

exit codes:
  0  all notebooks ran        1  a notebook failed (see the report)
  2  nothing ran: the message names every problem
"""


def main(argv=None):
    """Run the command with these arguments (default: those of the process); returns the exit code."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _stop)
    try:
        return _report(arguments)
    except PerfnbError as error:
        for line in str(error).splitlines():
            print(f"perfnb: {line}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nperfnb: stopped; nothing was written", file=sys.stderr)
        return 130


def _stop(number, frame):
    raise KeyboardInterrupt


def _parser():
    parser = argparse.ArgumentParser(prog="perfnb", description="A workbook for performance marketing.")
    parser.add_argument("--version", action="version", version=f"perfnb {perfnb.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    report = commands.add_parser(
        "report",
        help="run notebooks on your data and write a report",
        description="Run notebooks on your data and write a report: a page for each, and an index.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    report.add_argument("--data", required=True, metavar="DIR|URL", help="folder with the data, or a URL")
    report.add_argument("--out", required=True, metavar="DIR", help="folder for the report")
    report.add_argument(
        "--notebook",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="notebooks to run, by name or path (default: all in ./notebooks, or those of the checkout)",
    )
    report.add_argument(
        "-p",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        dest="parameters",
        help="a parameter of the notebooks; lists as a,b,c and pairs as a=b,c=d",
    )
    return parser


def _report(arguments):
    from perfnb import report

    manifest = report.run(
        data=arguments.data,
        out=arguments.out,
        notebooks=arguments.notebook,
        texts=_pairs(arguments.parameters),
        progress=_progress if sys.stderr.isatty() else None,
    )
    failed = [row for row in manifest["notebooks"] if row["status"] == "failed"]
    if not sys.stderr.isatty():
        for row in failed:
            print(f"perfnb: {row['name']} failed: {row['error']}", file=sys.stderr)
    print(Path(arguments.out) / "index.html")
    return 1 if failed else 0


def _pairs(given):
    names = [name for name, _ in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise PerfnbError("\n".join(f"parameter {name!r} is given twice" for name in twice))
    return dict(given)


def _progress(text):
    print(text, end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
