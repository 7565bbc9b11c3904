"""Attribution against ChannelAttribution, marketing_attribution_models, hand-written SQL and the sort of its events.

Everything runs in rounds that take turns, each system in a process of its own, on the same files; a first round in
fresh processes is for the peak memory and warms the disk. What takes longer than --patience is not repeated. The peers
need environments of their own:

    python -m venv markov && markov/bin/pip install -r benchmarks/peers/channelattribution.txt
    python -m venv rules && rules/bin/pip install -r benchmarks/peers/marketing_attribution_models.txt
    python benchmarks/attribution.py --channelattribution markov/bin/python --dp6 rules/bin/python \
        --persons 1000000 --touchpoints 10000000 --walks 40000000
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from perfnb import attribution, workspace
from perfnb.attribution import MODELS

SEED = 20261122
FEW = 10_000  # persons of the small table of paths
ORDERS = (1, 2, 3)
DAYS, LOOKBACK = 90, "30 days"
PEER_MODELS = ("first", "last", "linear", "position", "time_decay")
# Times as fast as the peer, by order, on the small table and on the large ones.
SMALL, LARGE, COUNTED = {1: 25, 2: 60, 3: 150}, {1: 2, 2: 3, 3: 9}, 10
HEURISTICS, DP6, BY_HAND, SORTED, ON_TOP = 3, 20, 1.3, 1.2, 0.5
SECONDS_OF_40, MEGABYTES = 10, 512
AGAIN = 0.1  # seconds: what takes less is done again and again in its turn, by all systems


# Made-up data -------------------------------------------------------------------------------------------------------


def paths(persons, channels, seed=SEED):
    """Paths of persons as a table: path, conversions, nulls, value. Four touches on average, few channels with many."""
    dice = np.random.default_rng(seed)
    length = dice.geometric(0.25, persons)
    starts = np.concatenate([[0], np.cumsum(length)])
    often = (np.arange(channels) + 1) ** -1.3
    codes = dice.choice(channels, starts[-1], p=often / often.sum())
    stays = dice.random(starts[-1]) < 0.3  # with the channel of the touch before
    stays[starts[:-1]] = False
    codes = codes[np.maximum.accumulate(np.where(stays, 0, np.arange(starts[-1])))]
    converts = dice.random(persons) < 1 - np.exp(-np.add.reduceat(dice.uniform(0, 0.012, channels)[codes], starts[:-1]))
    names = [f"Channel {k:02}" for k in range(channels)]
    table = pd.DataFrame(
        {
            "path": [" > ".join([names[k] for k in codes[a:b]]) for a, b in itertools.pairwise(starts)],
            "conversions": converts.astype(int),
            "nulls": (~converts).astype(int),
            "value": np.where(converts, np.round(np.exp(dice.normal(4, 0.5, persons)), 2), 0.0),
        }
    )
    return table.groupby("path", as_index=False).sum()


def transitions(table, order):
    """The steps that the chain of that order is made of, with states by name: what an engine would have counted."""
    weight, worth = Counter(), Counter()
    for path, conversions, nulls, value in table.itertuples(index=False):
        touches = path.split(" > ")
        states = [" > ".join(touches[k : k + order]) for k in range(max(len(touches) - order, 0) + 1)]
        states = [state for state, before in zip(states, [None, *states], strict=False) if state != before]
        for step in zip(["(start)", *states], states, strict=False):
            weight[step] += conversions + nulls
        for end, walks in (("(conversion)", conversions), ("(end)", nulls)):
            if walks:
                weight[states[-1], end] += walks
        if conversions:
            worth[states[-1], "(conversion)"] += value
    rows = [(*step, walks, worth.get(step, 0.0)) for step, walks in weight.items()]
    return pd.DataFrame(rows, columns=["from", "to", "weight", "value"])


def events(folder, rows, channels=12):
    """A folder with `rows` touchpoints of about a fourth as many persons, and what the campaigns cost by day."""
    folder.mkdir()

    def draw(k):  # the same on any number of threads
        return f"(hash(16 * i + {(SEED << 36) + k}) / 18446744073709551616.0)"

    start, channel = "TIMESTAMP '2025-01-01'", f"CAST(floor({channels} * {draw(5)} ** 2) AS INT)"
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT
  printf('u%09d', CAST(floor({rows // 4} * {draw(1)} * {draw(2)} ** 0.3) AS BIGINT)) AS user_id,
  {start} + to_microseconds(CAST({DAYS * 86_400e6} * {draw(3)} AS BIGINT)) AS timestamp,
  CASE WHEN {draw(4)} < 0.008 THEN 'order' ELSE 'visit' END AS event,
  printf('Channel %02d', {channel}) AS channel,
  printf('Campaign %02d-%d', {channel}, CAST(floor(5 * {draw(6)}) AS INT)) AS campaign,
  CASE WHEN {draw(4)} < 0.008 THEN CAST(20 + 100 * {draw(7)} AS DECIMAL(18, 2)) END AS value,
  CASE WHEN {draw(4)} < 0.008 THEN 'EUR' END AS currency
  FROM range({rows}) AS r(i)) TO '{folder / "touchpoints.parquet"}' (FORMAT parquet, ROW_GROUP_SIZE 122880)"""
        )
        connection.execute(
            f"""COPY (SELECT CAST({start} + to_days(CAST(i % {DAYS} AS INT)) AS DATE) AS date,
  printf('Channel %02d', i // {DAYS * 5}) AS channel,
  printf('Campaign %02d-%d', i // {DAYS * 5}, i // {DAYS} % 5) AS campaign,
  CAST(50 + 100 * {draw(8)} AS DECIMAL(18, 2)) AS cost, 'EUR' AS currency
  FROM range({DAYS * 5 * channels}) AS r(i)) TO '{folder / "campaigns.parquet"}' (FORMAT parquet)"""
        )


def sessions(folder):
    """The same visits as the peer wants them: the last one before an order is the one with the conversion."""
    source, path = folder / "touchpoints.parquet", folder / "sessions.parquet"
    with duckdb.connect() as connection:
        connection.execute(
            f"""COPY (SELECT user_id, timestamp, channel, COALESCE(next = 'order', FALSE) AS conversion
  FROM (SELECT *, lead(event) OVER (PARTITION BY user_id ORDER BY timestamp, event DESC) AS next FROM '{source}')
  WHERE event = 'visit') TO '{path}' (FORMAT parquet)"""
        )
    return path


# What is measured of ours, and against it by hand -------------------------------------------------------------------

# All models in one statement: orders have numbers, and touches of others are not sorted.
HAND = """WITH closing AS (SELECT user_id, epoch_us(timestamp) AS t, COUNT(*) AS n, CAST(SUM(value) AS DOUBLE) AS v
  FROM '{events}' WHERE event = 'order' GROUP BY ALL),
orders AS (SELECT *, LAG(t) OVER (PARTITION BY user_id ORDER BY t) AS before, ROW_NUMBER() OVER () AS id FROM closing),
visits AS (SELECT user_id, epoch_us(timestamp) AS t, channel, campaign FROM '{events}'
  WHERE event = 'visit' AND user_id IN (SELECT user_id FROM closing)),
touches AS (SELECT id, n, v, channel, campaign, visits.t, orders.t AS ends FROM visits JOIN orders
  ON visits.user_id = orders.user_id AND visits.t <= orders.t AND (before IS NULL OR visits.t > before)
  AND orders.t - visits.t <= 30 * 86400000000),
placed AS (SELECT *, ROW_NUMBER() OVER w AS place, COUNT(*) OVER (w ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED
  FOLLOWING) AS length, POWER(CAST(2 AS DOUBLE), (t - ends) / CAST(604800000000 AS DOUBLE)) AS decay FROM touches
  WINDOW w AS (PARTITION BY id ORDER BY t, channel, campaign)),
summed AS (SELECT *, SUM(decay) OVER p AS decays, MAX(CASE WHEN channel <> 'Direct' THEN place END) OVER p AS other
  FROM placed WINDOW p AS (PARTITION BY id)),
shares AS (SELECT channel, campaign, n, v, CAST(place = 1 AS INT) AS a, CAST(place = length AS INT) AS b,
  CAST(place = COALESCE(other, length) AS INT) AS c, 1 / CAST(length AS DOUBLE) AS d, decay / decays AS e,
  CAST(CASE WHEN length = 1 THEN 1 WHEN length = 2 THEN 0.5 WHEN place IN (1, length) THEN 0.4
  ELSE 0.2 / (length - 2) END AS DOUBLE) AS f FROM summed),
credits AS (SELECT channel, campaign, {sums} FROM shares GROUP BY ALL
  UNION ALL SELECT '(no touch)', NULL, {whole} FROM orders ANTI JOIN touches ON orders.id = touches.id),
costs AS (SELECT channel, campaign, CAST(SUM(cost) AS DOUBLE) AS cost FROM '{campaigns}' GROUP BY ALL)
SELECT *, {returns} FROM credits FULL JOIN costs USING (channel, campaign)"""


def by_hand(connection, folder):
    letters = "abcdef"
    return connection.execute(
        HAND.format(
            events=folder / "touchpoints.parquet",
            campaigns=folder / "campaigns.parquet",
            sums=", ".join(f"SUM(n * {k}) AS n{k}, SUM(v * {k}) AS v{k}" for k in letters),
            whole=", ".join("SUM(n), SUM(v)" for _ in letters),
            returns=", ".join(f"v{k} / cost AS roas{k}, cost / n{k} AS cpo{k}" for k in letters),
        )
    ).df()


def by_sort(connection, folder):
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE ordered AS SELECT user_id, timestamp, channel "
        f"FROM '{folder / 'touchpoints.parquet'}' ORDER BY user_id, timestamp"
    )
    return connection.execute("DROP TABLE ordered").df()


def work(source, task, *, order=1, intervals=False):
    """One result of ours, of DuckDB alone ("hand", "sort"), as {what: number} to hold against another's."""
    counting = {"events": ["visit"], "intervals": intervals}
    if task == "heuristics":
        found = attribution.rules(source, models=["first", "last", "linear"], intervals=intervals)
        return {f"{row.model} {row.channel}": row.credit for row in found.itertuples()}
    if task == "markov":
        found = attribution.markov(source, order=order, intervals=intervals)
        return dict(zip(found["channel"], found["credit"], strict=True))
    if task == "removal effects":
        found = attribution.removal_effects(source)
        return dict(zip(found["channel"], found["credit"], strict=True))
    if task == "hand":
        found = by_hand(*source)
        return {f"{name} {letter}": found[f"n{letter}"].sum() for name, letter in zip(MODELS, "abcdef", strict=True)}
    if task == "sort":
        return {"rows": len(by_sort(*source))}
    if task == "rules":
        found = attribution.rules(source.touchpoints, by=["campaign"], **counting)
        found = attribution.compare([found], campaigns=source.campaigns, by=["campaign"])
        return {
            f"{name} {letter}": found.loc[found["model"] == name, "credit"].sum()
            for name, letter in zip(MODELS, "abcdef", strict=True)
        }
    if task == "peer's rules":
        found = attribution.rules(source.touchpoints, models=list(PEER_MODELS), lookback=None, nulls="none", **counting)
        return {f"{row.model} {row.channel}": row.credit for row in found.itertuples()}
    assert task == "walks", task
    found = attribution.markov(source.touchpoints, order=order, lookback=LOOKBACK, **counting)
    return dict(zip(found["channel"], found["credit"], strict=True))


def opened(path, task):
    if path.suffix == ".csv":
        return pd.read_csv(path)
    if task in ("hand", "sort"):
        connection = duckdb.connect()
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET preserve_insertion_order = false")
        return connection, path
    found = workspace.open(path)
    found.touchpoints, found.campaigns  # noqa: B018  types are checked when a table is first asked for
    return found


def serve():
    """Does what is asked for line by line, and answers with seconds for one time, peak memory (MB) and result."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    sources = {}
    for line in sys.stdin:
        path, task, options, clock = json.loads(line)
        key = path, task in ("hand", "sort")
        if key not in sources:
            sources[key] = opened(Path(path), task)
        clock = getattr(time, clock)
        started, times = clock(), 0
        while not times or clock() - started < AGAIN:
            found, times = work(sources[key], task, **options), times + 1
        print(json.dumps([(clock() - started) / times, peak(), found]), file=answers, flush=True)


def peak():
    """Megabytes that this process has held at most; getrusage would also count its parent at the fork."""
    return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


# The peers, in their own Pythons -------------------------------------------------------------------------------------

SERVE = """
import json, os, re, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
sources = {}
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1024
%s
for line in sys.stdin:
    path, task, options, clock = json.loads(line)
    if path not in sources:
        sources[path] = opened(path)
    clock = getattr(time, clock)
    started, times = clock(), 0
    while not times or clock() - started < %g:
        found, times = work(sources[path], task, **options), times + 1
    seconds = (clock() - started) / times
    print(json.dumps([seconds, peak(), result(found)]), file=answers, flush=True)
"""
CHANNELATTRIBUTION = """
import pandas as pd
import ChannelAttribution as peer

opened = pd.read_csv

def work(table, task, **options):
    columns = {"var_path": "path", "var_conv": "conversions", "var_value": "value", "flg_pro": False}
    if task == "heuristics":
        return peer.heuristic_models(table, **columns)
    return peer.markov_model(table, **columns, var_null="nulls", verbose=False, **options)

def result(found):
    found = found.set_index("channel_name")
    if "total_conversions" in found:
        return found["total_conversions"].to_dict()
    names = {"first": "first_touch_conversions", "last": "last_touch_conversions", "linear": "linear_touch_conversions"}
    return {f"{model} {name}": x for model, column in names.items() for name, x in found[column].items()}
"""
MAM = """
import polars as pl
from mam.core import MAM

def opened(path):
    return path

def work(path, task):
    made = MAM(
        df=pl.read_parquet(path), format_type="session", channels_colname="channel",
        journey_with_conv_colname="conversion", datetime_colname="timestamp", user_id_colname="user_id",
        create_journey_id_based_on_conversion=True,
    )
    return {
        "first": made.run_first_click(), "last": made.run_last_click(), "linear": made.run_linear(),
        "position": made.run_position_based(), "time_decay": made.run_time_decay(half_life_hours=168.0),
    }

def result(found):
    tables = {model: one.to_polars() for model, one in found.items()}
    rows = ((model, *row) for model, table in tables.items() for row in table.select("channels", "attribution").rows())
    return {f"{model} {name}": x for model, name, x in rows}
"""


class Worker:
    """A process that answers one task after another."""

    def __init__(self, command):
        own = command[0] == sys.executable
        plain = {name: value for name, value in os.environ.items() if own or not name.startswith("PYTHON")}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=plain)

    def ask(self, path, task, options, limits):
        """(seconds, megabytes, result); None where there is no answer in time, and then the worker is gone."""
        print(json.dumps([str(path), task, options, limits.clock]), file=self.process.stdin, flush=True)
        if not select.select([self.process.stdout], [], [], limits.timeout)[0]:
            self.process.kill()
            return None
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def ours():
    return [sys.executable, __file__, "--serve"]


def peer(python, script):
    return [python, "-W", "ignore", "-c", SERVE % (script, AGAIN)]


# Measuring ----------------------------------------------------------------------------------------------------------


class Run:
    """Seconds of each task in each round, and its peak memory and result in a fresh process."""

    def __init__(self, tasks, options):
        """`tasks`: {name: (command, path, task, options)}."""
        self.seconds, self.peak, self.result = defaultdict(list), {}, {}
        for name, (command, *task) in tasks.items():
            with Worker(command) as worker:
                found = worker.ask(*task, options)
            self.seconds[name] = [found[0] if found else np.inf]
            self.peak[name], self.result[name] = found[1:] if found else (np.nan, {})
        self.slow = {name for name, own in self.seconds.items() if own[0] > options.patience}
        with contextlib.ExitStack() as stack:
            commands = {json.dumps(command): command for command, *_ in tasks.values()}
            workers = {key: stack.enter_context(Worker(command)) for key, command in commands.items()}
            for turn in range(options.rounds + 1):  # the first warms up
                for name, (command, *task) in tasks.items():
                    if name not in self.slow:
                        seconds, _, _ = workers[json.dumps(command)].ask(*task, options)
                        self.seconds[name] = [*self.seconds[name], seconds] if turn else []

    def median(self, name):
        return statistics.median(self.seconds[name])

    def ratio(self, name, other):
        """`name` in terms of `other`, round by round; where one was not repeated, of the medians."""
        if {name, other} & self.slow:
            return self.median(name) / self.median(other)
        return statistics.median(np.array(self.seconds[name]) / np.array(self.seconds[other]))

    def on_top(self, name, other):
        return self.ratio(name, other) - 1


def said(seconds):
    if not np.isfinite(seconds):
        return "no answer"
    return f"{seconds * 1e3:.1f} ms" if seconds < 0.1 else f"{seconds:.2f} s"


def table(title, head, rows):
    print(f"\n**{title}**\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)


def verdict(met):
    return "yes" if met else "**no**"


def on_top(run, name, other):
    extra = run.on_top(name, other)
    return f"{extra:+.0%}{'' if extra <= ON_TOP else ' (**more than 50 %**)'}"


def path_tables(folder, options):
    sizes = [(FEW, 12), *((options.persons, channels) for channels in options.channels if options.persons > FEW)]
    for persons, channels in sizes:
        given = options.table if persons == FEW else None
        made = pd.read_csv(given)[["path", "conversions", "nulls", "value"]] if given else paths(persons, channels)
        path = folder / f"paths_{persons}_{channels}.csv"
        made.to_csv(path, index=False)
        counts = {}
        for order in ORDERS:
            counts[order] = folder / f"steps_{persons}_{channels}_{order}.csv"
            transitions(made, order).to_csv(counts[order], index=False)
        tasks = {
            "ours 0": (ours(), path, "heuristics", {}),
            "limits 0": (ours(), path, "heuristics", {"intervals": True}),
        }
        for order in ORDERS:
            tasks[f"ours {order}"] = ours(), path, "markov", {"order": order}
            tasks[f"limits {order}"] = ours(), path, "markov", {"order": order, "intervals": True}
            tasks[f"counts {order}"] = ours(), counts[order], "removal effects", {}
        theirs = peer(options.channelattribution, CHANNELATTRIBUTION) if options.channelattribution else None
        if theirs:
            tasks["peer 0"] = theirs, path, "heuristics", {}
            tasks |= {f"peer {order}": (theirs, path, "markov", {"order": order}) for order in ORDERS}
        run = Run(tasks, options)
        title = given or f"{persons:,} persons × {channels} channels"
        title += f": {len(made):,} different paths"
        named = {0: "first, last, linear"} | {order: f"Markov, order {order}" for order in ORDERS}
        rows = []
        for order, name in named.items():
            row = [name, said(run.median(f"ours {order}")), f"{run.peak[f'ours {order}']:.0f} MB"]
            if theirs:
                row += [said(run.median(f"peer {order}")), f"{run.peak[f'peer {order}']:.0f} MB"]
                aim = HEURISTICS if not order else (SMALL if persons == FEW else LARGE)[order]
                times = run.ratio(f"peer {order}", f"ours {order}")
                found = run.result[f"peer {order}"]
                row += [f"{times:.1f}", f"{aim} {verdict(times >= aim)}"]
                row += [f"{apart(run.result[f'ours {order}'], found):.2%}" if found else ""]
            rows.append([*row, on_top(run, f"limits {order}", f"ours {order}")])
        head = [
            "",
            "ours",
            "peak",
            *(["peer", "peak", "times as fast", "required", "credit apart"] if theirs else []),
            "limits on top",
        ]
        table(title, head, rows)
        rows = []
        for order in ORDERS:
            row = [f"order {order}", said(run.median(f"counts {order}")), f"{run.peak[f'counts {order}']:.0f} MB"]
            if theirs:
                times = run.ratio(f"peer {order}", f"counts {order}")
                row += [f"{times:.0f}", f"{COUNTED} {verdict(times >= COUNTED)}"]
            rows.append(row)
        table(
            f"{title}, from counted steps",
            ["", "ours", "peak", *(["times as fast", "required"] if theirs else [])],
            rows,
        )
        if channels == 40:
            seconds = run.median("ours 3")
            met = verdict(seconds < SECONDS_OF_40)
            print(f"\nOrder 3 of 40 channels: {said(seconds)}, required below {SECONDS_OF_40} s: {met}")
        if theirs and persons == FEW:
            simulated(run, path, theirs, options)


def apart(one, other):
    """How much credit two results give to others: half the sum of the absolute differences of shares."""
    one, other = (pd.Series(found) / sum(found.values()) for found in (one, other))
    return one.sub(other, fill_value=0).abs().sum() / 2


def simulated(run, path, theirs, options):
    """Whether ours is what the peer's simulation tends to: its runs from ours, from each other, and a long one."""
    rows = []
    for order in ORDERS:
        own = run.result[f"ours {order}"]
        with Worker(theirs) as worker:
            tasks = [{"order": order, "seed": seed} for seed in range(1, options.seeds + 1)]
            tasks.append({"order": order, "nsim_start": options.simulated})
            *runs, long = [worker.ask(path, "markov", task, options)[2] for task in tasks]
        away = statistics.median(apart(own, found) for found in runs)
        spread = statistics.median(apart(one, other) for one, other in itertools.combinations(runs, 2))
        rows.append([f"order {order}", f"{away:.2%}", f"{spread:.2%}", f"{apart(own, long):.2%}"])
    head = ["credit given to others", "its runs against ours", "its runs against each other"]
    head.append(f"one run of {options.simulated:,.0f} paths against ours")
    table(f"ChannelAttribution simulates: {options.seeds} seeds, medians", head, rows)


def event_tables(folder, options):
    if options.touchpoints:
        rules_by_hand(folder / "events", options)
        if options.dp6:
            rules_of_peer(folder / "fewer", options)
    if options.walks:
        walks(folder / "walks", options)


def rules_by_hand(folder, options):
    events(folder, options.touchpoints)
    tasks = {"hand": (ours(), folder, "hand", {})}
    tasks |= {name: (ours(), folder, "rules", {"intervals": name == "limits"}) for name in ("ours", "limits")}
    run = Run(tasks, options)
    assert np.allclose(pd.Series(run.result["hand"]), pd.Series(run.result["ours"]))
    times = run.ratio("ours", "hand")
    rows = [
        ["SQL by hand", said(run.median("hand")), f"{run.peak['hand']:.0f} MB", "1", ""],
        ["`rules` and `compare`", said(run.median("ours")), f"{run.peak['ours']:.0f} MB", f"{times:.2f}",
         f"at most {BY_HAND}: {verdict(times <= BY_HAND)}; {MEGABYTES} MB: {verdict(run.peak['ours'] <= MEGABYTES)}"],
        ["the same with limits", said(run.median("limits")), f"{run.peak['limits']:.0f} MB",
         f"{run.ratio('limits', 'hand'):.2f}", f"limits on top: {on_top(run, 'limits', 'ours')}"],
    ]  # fmt: skip
    title = f"Six rules by channel and campaign with return, {options.touchpoints:,} touchpoints"
    table(title, ["", "time", "peak", "× by hand", "required"], rows)


def rules_of_peer(folder, options):
    rows = min(options.touchpoints, options.dp6_touchpoints)
    events(folder, rows)
    path = sessions(folder)
    tasks = {name: (ours(), folder, "peer's rules", {"intervals": name == "limits"}) for name in ("ours", "limits")}
    tasks["peer"] = peer(options.dp6, MAM), path, "rules", {}
    run = Run(tasks, options)
    own, other = (pd.Series(run.result[name]) for name in ("ours", "peer"))
    own = own[~own.index.str.endswith("(no touch)")]
    gap = own.sub(other, fill_value=0).abs().max() if len(other) else np.nan
    times = run.ratio("peer", "ours")
    lines = [
        ["ours", said(run.median("ours")), f"{run.peak['ours']:.0f} MB", "", ""],
        ["with limits", said(run.median("limits")), f"{run.peak['limits']:.0f} MB", "", on_top(run, "limits", "ours")],
        ["marketing_attribution_models", said(run.median("peer")), f"{run.peak['peer']:.0f} MB", f"{times:.1f}",
         f"{DP6} {verdict(times >= DP6)}"],
    ]  # fmt: skip
    table(
        f"Five rules by channel, {rows:,} touchpoints", ["", "time", "peak", "ours is times as fast", "required"], lines
    )
    print(f"\nGreatest difference of credit: {gap:.1e} of {other.sum() / len(PEER_MODELS):,.0f} conversions")


def walks(folder, options):
    events(folder, options.walks)
    tasks = {"sort": (ours(), folder, "sort", {})}
    for order in (1, 3):
        for name, intervals in (("ours", False), ("limits", True)):
            tasks[f"{name} {order}"] = ours(), folder, "walks", {"order": order, "intervals": intervals}
    run = Run(tasks, options)
    rows = [["sorted by person and time", said(run.median("sort")), f"{run.peak['sort']:.0f} MB", "1", "", ""]]
    for order in (1, 3):
        times = run.ratio(f"ours {order}", "sort")
        aim = f"at most {SORTED}: {verdict(times <= SORTED)}" if order == 1 else ""
        rows.append([
            f"Markov, order {order}", said(run.median(f"ours {order}")), f"{run.peak[f'ours {order}']:.0f} MB",
            f"{times:.2f}", aim, on_top(run, f"limits {order}", f"ours {order}"),
        ])  # fmt: skip
    head = ["", "time", "peak", "× sorting", "required", "limits on top"]
    table(f"Markov chains from {options.walks:,} touchpoints", head, rows)


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--channelattribution", metavar="PATH", help="the Python of an environment that has it")
    options.add_argument("--dp6", metavar="PATH", help="the Python of one that has marketing_attribution_models")
    options.add_argument("--persons", type=int, default=100_000, help="of the large tables of paths; 0: none at all")
    options.add_argument("--table", help="a CSV file of paths instead of the small made-up table")
    options.add_argument("--channels", type=int, nargs="*", default=[12, 40], help="of the large tables of paths")
    options.add_argument("--touchpoints", type=int, default=1_000_000, help="that rules credit; 0: none")
    options.add_argument("--dp6-touchpoints", type=int, default=1_000_000, help="of these, for its own table")
    options.add_argument("--walks", type=int, default=2_000_000, help="touchpoints for Markov chains; 0: none")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seeds", type=int, default=5, help="of ChannelAttribution's simulation, to know its error")
    options.add_argument("--simulated", type=float, default=1e7, help="paths that it simulates once, to come near")
    options.add_argument("--patience", type=float, default=20, help="seconds; slower tasks are not repeated")
    options.add_argument("--timeout", type=float, default=240, help="seconds, for any task")
    options.add_argument(
        "--cpu", dest="clock", action="store_const", const="process_time", default="perf_counter",
        help="seconds of all processors instead of the clock: what to trust on a busy machine",
    )  # fmt: skip
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = options.parse_args()
    if options.serve:
        serve()
        return
    print(f"DuckDB {duckdb.__version__}, {os.cpu_count()} cores, medians of {options.rounds} rounds")
    print("Seconds of processors" if options.clock == "process_time" else "Seconds by the clock")
    print(f"Load at the beginning {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        if options.persons:
            path_tables(Path(folder), options)
        event_tables(Path(folder), options)
    print(f"\nLoad at the end {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
