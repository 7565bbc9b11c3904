"""Funnels and journeys against SQL by hand and retentioneering, and a log ten times as large, out of core.

Every run is a fresh process on the same Parquet parts, in rounds that take turns; what takes longer than --patience
is not repeated. retentioneering needs an environment of its own (it sends nothing from here):

    python -m venv peer && peer/bin/pip install -r benchmarks/peers/retentioneering.txt
    python benchmarks/funnel.py --peer peer/bin/python --events 10000000 --large 100000000
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import duckdb

SEED = 20261122
PER_USER = 14
PART = 2_500_000  # events in a file
STEPS = ("home", "product", "cart", "checkout", "purchase")
OTHERS = ("search", "category", "reviews", "login", "payment", "wishlist", "help", "blog", "account", "returns")
NAMES = (STEPS[0], *OTHERS[:2], *STEPS[1:3], *OTHERS[2:5], *STEPS[3:], *OTHERS[5:], "contact")
WITHIN = 7 * 86_400 * 1_000_000
JOURNEYS = ("transitions", "step matrix", "top paths")
BY_HAND, PEER, JOURNEYS_PEER, PER_EVENT = 1.2, 10, 8, 1.5
MEGABYTES, JOURNEYS_MEGABYTES, LARGE_MEGABYTES = 512, 1024, 4096


# Made-up data -------------------------------------------------------------------------------------------------------


def log(folder, rows, seed=SEED):
    """A folder with `rows` events in no order: visits of minutes in two weeks of each user, the first names more often.

    Times are whole seconds, so that some are equal.
    """
    parts = folder / "touchpoints"
    if parts.exists():
        return folder
    parts.mkdir(parents=True)

    def draw(k, of="i"):  # the same on any number of threads
        return f"(hash(16 * {of} + {(seed << 36) + k}) / 18446744073709551616.0)"

    seconds = (
        f"{60 * 86_400} * {draw(3, 'person')} + {14 * 86_400} * {draw(4, '(4 * person + visit)')} + 900 * {draw(5)}"
    )
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        for number, first in enumerate(range(0, rows, PART)):
            connection.execute(
                f"""COPY (SELECT printf('u%09d', person) AS user_id,
  TIMESTAMP '2025-01-01' + to_seconds(CAST(floor({seconds}) AS BIGINT)) AS timestamp,
  {list(NAMES)}[1 + CAST(floor({len(NAMES)} * {draw(6)} ** 1.5) AS INT)] AS event
  FROM (SELECT i, CAST(floor({rows // PER_USER} * {draw(1)}) AS BIGINT) AS person, CAST(floor(4 * {draw(2)}) AS BIGINT)
    AS visit FROM range({first}, {min(first + PART, rows)}) AS r(i)) AS drawn)
  TO '{parts / f"part_{number:03}.parquet"}' (FORMAT parquet, ROW_GROUP_SIZE 122880)"""
            )
    return folder


# SQL by hand: a level per unit, no more ------------------------------------------------------------------------------


def windows(source):
    """Nested windows: the latest start, step by step; 1 to 5 in one column, so that rows stay small."""
    order = "OVER (PARTITION BY u ORDER BY t RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    ctes = [f"h1 AS (SELECT *, CASE WHEN k = 1 THEN t END AS s FROM ({_events(source)}))"]
    for k in range(2, len(STEPS) + 1):
        ctes.append(
            f"h{k} AS (SELECT u, t, k, CASE WHEN k = {k} AND t - p <= {WITHIN} THEN p ELSE s END AS s "
            f"FROM (SELECT *, MAX(CASE WHEN k = {k - 1} THEN s END) {order} AS p FROM h{k - 1}))"
        )
    counts = ", ".join(f"COUNT(CASE WHEN level >= {k} THEN 1 END)" for k in range(1, len(STEPS) + 1))
    level = "MAX(CASE WHEN s IS NOT NULL THEN k END) AS level"
    return f"WITH {', '.join(ctes)} SELECT {counts} FROM (SELECT u, {level} FROM h{len(STEPS)} GROUP BY u)"


def asof(source, going=""):
    """A chain of ASOF joins, exact here because no event can be two steps."""
    ctes = [f"e AS MATERIALIZED ({_events(source)})", "h1 AS (SELECT u, t, t AS s FROM e WHERE k = 1)"]
    for k in range(2, len(STEPS) + 1):
        ctes.append(
            f"h{k} AS MATERIALIZED (SELECT a.u, a.t, b.s "
            f"FROM (SELECT * FROM e WHERE k = {k}{going.format(k - 1)}) AS a "
            f"ASOF JOIN h{k - 1} AS b ON a.u = b.u AND a.t >= b.t WHERE a.t - b.s <= {WITHIN})"
        )
    counts = ", ".join(f"(SELECT COUNT(DISTINCT u) FROM h{k})" for k in range(1, len(STEPS) + 1))
    return f"WITH {', '.join(ctes)} SELECT {counts}"


def asof_going(source):
    """The same, of users who are at the step before."""
    return asof(source, " AND u IN (SELECT u FROM h{})")


def _events(source):
    step = " ".join(f"WHEN '{name}' THEN {k}" for k, name in enumerate(STEPS, start=1))
    return (
        f"SELECT user_id AS u, epoch_us(timestamp) AS t, CASE event {step} END AS k "
        f"FROM '{source}/touchpoints/*.parquet' WHERE event IN {STEPS}"
    )


BY_SQL = {
    "nested windows": windows,
    "ASOF joins": asof,
    "ASOF joins of those who can go on": asof_going,
}


# What runs in a process of its own: prints [seconds of the task alone, peak memory in MB, result] --------------------

REPORT = """
import re

def done(started, found):
    peak = re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
    print(json.dumps([clock() - started, int(peak) / 1024, found]))
"""
OURS = (
    """
import json, sys, time
from perfnb import funnel, journey, workspace
clock = getattr(time, sys.argv[2])
"""
    + REPORT
    + """
opened = workspace.open(sys.argv[1])
if len(sys.argv) > 5:
    opened.engine.connection.execute(f"SET memory_limit = '{sys.argv[5]}'")
log = opened.touchpoints
started = clock()
counting = {"touchpoint": "event", "conversion": "purchase", "lookback": None}
if sys.argv[3] == "funnel":
    found = funnel.steps(log, json.loads(sys.argv[4]), within="7 days")["units"].tolist()
elif sys.argv[3] == "transitions":
    found = len(journey.transitions(log, **counting))
elif sys.argv[3] == "step matrix":
    found = len(journey.step_matrix(log, after=10, **counting))
else:
    found = len(journey.frequent(log, top=10, depth=6, **counting))
done(started, found)
"""
)
HAND = (
    """
import json, sys, time
import duckdb
clock = getattr(time, sys.argv[2])
"""
    + REPORT
    + """
with duckdb.connect() as connection:
    connection.execute("SET preserve_insertion_order = false; SET enable_progress_bar = false")
    started = clock()
    done(started, list(connection.execute(sys.argv[3]).fetchone()))
"""
)
THEIRS = (
    """
import json, sys, time
import pandas as pd
import retentioneering
clock = getattr(time, sys.argv[2])
"""
    + REPORT
    + """
stream = retentioneering.Eventstream(pd.read_parquet(sys.argv[1] + "/touchpoints"))
started = clock()
if sys.argv[3] == "funnel":
    found = [step["unique_paths"] for step in stream.funnel_data(steps=json.loads(sys.argv[4]))["steps"]]
elif sys.argv[3] == "transitions":
    found = len(stream.transition_graph_data(edge_weight="count"))
elif sys.argv[3] == "step matrix":
    found = len(stream.step_matrix_data(max_steps=10))
else:  # it has no table of paths: what its rows give by pandas
    rows = stream.to_dataframe()
    first = rows.assign(event=rows["event"].astype(str)).groupby("user_id", sort=False).head(6)
    found = len(first.groupby("user_id", sort=False)["event"].agg(" > ".join).value_counts().head(10))
done(started, found)
"""
)


class Runs:
    """Rounds of tasks {name: command}: seconds of the whole process and of the task alone, peak memory, result."""

    def __init__(self, tasks, options):
        self.whole, self.task, self.peak = defaultdict(list), defaultdict(list), defaultdict(int)
        self.result = {}
        self.cpu = options.clock == "process_time"
        for _ in range(options.rounds):
            for name, command in tasks.items():
                if name not in self.whole or self.whole[name][-1] <= options.patience:
                    self._run(name, command, options)

    def _run(self, name, command, options):
        own = command[0] == sys.executable
        kept = {key: value for key, value in os.environ.items() if own or not key.startswith("PYTHON")}
        started, before = time.perf_counter(), os.times()
        found = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            text=True,
            timeout=options.timeout,
            check=True,
            env={**kept, "RETENTIONEERING_NO_TRACK": "1"},
        )
        seconds, after = time.perf_counter() - started, os.times()
        if self.cpu:
            seconds = after.children_user + after.children_system - before.children_user - before.children_system
        task, peak, self.result[name] = json.loads(found.stdout.splitlines()[-1])
        self.whole[name].append(seconds)
        self.task[name].append(task)
        self.peak[name] = max(self.peak[name], peak)

    def ratio(self, one, other, of="task"):
        """How many times as long `one` takes as `other`: the median over rounds, where both ran in all of them."""
        one, other = getattr(self, of)[one], getattr(self, of)[other]
        if len(one) == len(other):
            return statistics.median(a / b for a, b in zip(one, other, strict=True))
        return statistics.median(one) / statistics.median(other)

    def shown(self, name):
        return [said(self.whole[name]), said(self.task[name]), f"{self.peak[name]:.0f} MB"]


# What is printed -----------------------------------------------------------------------------------------------------


def said(seconds):
    return f"{statistics.median(seconds):.2f} s"


def verdict(met):
    return "met" if met else "MISSED"


def table(title, head, rows):
    print(f"\n{title}\n")
    for row in [head, ["-" * len(name) for name in head], *rows]:
        print("| " + " | ".join(map(str, row)) + " |")
    sys.stdout.flush()


def ours(folder, task, options):
    return [sys.executable, "-c", OURS, str(folder), options.clock, task, json.dumps(STEPS)]


def theirs(folder, task, options):
    return [options.peer, "-W", "ignore", "-c", THEIRS, str(folder), options.clock, task, json.dumps(STEPS)]


def funnels(folder, options):
    tasks = {"funnel.steps": ours(folder, "funnel", options)}
    for name, sql in BY_SQL.items():
        tasks[name] = [sys.executable, "-c", HAND, str(folder), options.clock, sql(folder)]
    if options.peer:
        tasks["retentioneering"] = theirs(folder, "funnel", options)
    run = Runs(tasks, options)
    same = [name for name in BY_SQL if run.result[name] == run.result["funnel.steps"]]
    assert same, run.result
    best = min(same, key=lambda name: statistics.median(run.task[name]))
    rows = []
    for name in tasks:
        counts = " ".join(f"{count:,}" for count in run.result[name])
        rows.append([name, *run.shown(name), f"{run.ratio('funnel.steps', name):.2f}",
                     f"{run.ratio(name, 'funnel.steps', 'whole'):.2f}", counts])  # fmt: skip
    head = ["", "process", "task", "peak", "funnel.steps × it", "its process × ours", "users at each step"]
    table(f"Five steps within 7 days, {options.events:,} events", head, rows)
    times, peak = run.ratio("funnel.steps", best), run.peak["funnel.steps"]
    print(f"\n{times:.2f} × {best}, the fastest of the same counts; at most {BY_HAND}: {verdict(times <= BY_HAND)}")
    print(f"Peak {peak:.0f} MB; at most {MEGABYTES}: {verdict(peak <= MEGABYTES)}")
    if options.peer:
        times = run.ratio("retentioneering", "funnel.steps", "whole")
        print(f"{times:.1f} times as fast as retentioneering (no window); at least {PEER}: {verdict(times >= PEER)}")


def journeys(folder, options):
    tasks = {}
    for task in JOURNEYS:
        tasks[task] = ours(folder, task, options)
        if options.peer:
            tasks[f"retentioneering: {task}"] = theirs(folder, task, options)
    run = Runs(tasks, options)
    rows = []
    for task in JOURNEYS:
        peak = run.peak[task]
        row = [task, *run.shown(task), f"{JOURNEYS_MEGABYTES}: {verdict(peak <= JOURNEYS_MEGABYTES)}"]
        if options.peer:
            times = run.ratio(f"retentioneering: {task}", task, "whole")
            row += run.shown(f"retentioneering: {task}")
            row += [f"{times:.1f}", f"{JOURNEYS_PEER}: {verdict(times >= JOURNEYS_PEER)}"]
        rows.append(row)
    head = ["", "process", "task", "peak", "at most, MB"]
    if options.peer:
        head += ["retentioneering", "its task", "its peak", "times as fast", "at least"]
    table(f"Journeys, {options.events:,} events", head, rows)


def large(folder, more, options):
    tasks = {
        f"{options.events:,}": ours(folder, "funnel", options),
        f"{options.large:,}": ours(more, "funnel", options),
        f"{options.large:,}, {options.memory} for DuckDB": [*ours(more, "funnel", options), options.memory],
    }
    run, sizes = Runs(tasks, options), [options.events, options.large, options.large]
    small, *others = tasks
    assert run.result[others[0]] == run.result[others[1]]
    rows = []
    for name, size in zip(tasks, sizes, strict=True):
        per_event = statistics.median(run.task[name]) / size
        row = [name, *run.shown(name), f"{per_event * 1e6:.3f} µs", "", ""]
        if name in others:
            times, peak = run.ratio(name, small) * options.events / size, run.peak[name]
            row[-2] = f"{times:.2f}; at most {PER_EVENT}: {verdict(times <= PER_EVENT)}"
            row[-1] = f"below {LARGE_MEGABYTES} MB: {verdict(peak < LARGE_MEGABYTES)}"
        rows.append(row)
    head = ["events", "process", "task", "peak", "task per event", f"× that of {small}", "memory"]
    table("Five steps within 7 days, as the log grows", head, rows)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--peer", metavar="PATH", help="the Python of an environment that has retentioneering")
    options.add_argument("--events", type=int, default=1_000_000)
    options.add_argument("--large", type=int, default=0, help="events of the log out of core; 0: none")
    options.add_argument("--memory", default="3GB", help="what DuckDB may use in a second run over it: it goes to disk")
    options.add_argument("--only", nargs="*", choices=("funnel", "journeys", "large"), help="all where not said")
    options.add_argument("--folder", type=Path, help="where the logs are made, and kept for the next time")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--patience", type=float, default=20, help="seconds; slower processes are not repeated")
    options.add_argument("--timeout", type=float, default=1800, help="seconds, for any process")
    options.add_argument(
        "--cpu", dest="clock", action="store_const", const="process_time", default="perf_counter",
        help="seconds of all processors instead of the clock: what to trust on a busy machine",
    )  # fmt: skip
    options = options.parse_args()
    print(f"DuckDB {duckdb.__version__}, {os.cpu_count()} cores, medians of up to {options.rounds} rounds")
    print("Seconds of processors" if options.clock == "process_time" else "Seconds by the clock")
    print(f"Load at the beginning {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as made:
        home, only = options.folder or Path(made), options.only or ["funnel", "journeys", "large"]
        folder = log(home / f"{options.events}", options.events)
        if "funnel" in only:
            funnels(folder, options)
        if "journeys" in only:
            journeys(folder, options)
        if "large" in only and options.large:
            large(folder, log(home / f"{options.large}", options.large), options)
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
