"""KPI trees over a million rows: perfnb against the bare GROUP BY in DuckDB, and against icanexplain doing one KPI.

Every round runs all of them in turn on the same Parquet file, so that ratios share the machine's mood; a first round
only warms up. icanexplain needs an older DuckDB, and so an environment of its own:

    python -m venv peer && peer/bin/pip install -r benchmarks/peers/icanexplain.txt
    python benchmarks/kpi.py --peer-python peer/bin/python
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from datetime import date, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from perfnb import kpi, workspace
from perfnb.period import Period

SEED = 20261122
ROUNDS = 7
ROWS = 1_000_000
DAYS, SINCE = 56, date(2025, 7, 7)
CHANNELS = ("affiliate", "display", "email", "paid_search", "paid_social", "referral", "shopping", "video")
CAMPAIGNS, DEVICES, COUNTRIES = 456, 3, 14
DRAWS = (0, 500)
CASES = (("channel", "campaign"), ("channel", "device"))

# revenue, orders, clicks, impressions, aov, cvr, ctr
TREE = kpi.Tree.parse("revenue = orders * aov; orders = clicks * cvr; clicks = impressions * ctr")
# The sums that the tree needs, and all that kpi.base makes of the table.
NEEDED = {name: name for name in ("impressions", "clicks", "orders", "revenue")}
ALL = NEEDED | {
    "visits": "visits",
    "cost": "cost",
    "ad_visits": "CASE WHEN clicks > 0 THEN visits END",
    "other_visits": "CASE WHEN clicks > 0 THEN NULL ELSE visits END",
}
AFTER = Period(SINCE + timedelta(days=DAYS // 2), SINCE + timedelta(days=DAYS))
BEFORE = AFTER.previous()


def campaigns(seed=SEED):
    """Figures of campaigns by day, device and country; in the later weeks rates rise and the weights shift."""
    dice = np.random.default_rng(seed)
    cells = (DAYS, CAMPAIGNS, DEVICES, COUNTRIES)
    kept = np.sort(dice.choice(np.prod(cells), ROWS, replace=False))  # not every campaign runs everywhere every day
    day, campaign, device, country = np.unravel_index(kept, cells)
    later = day >= DAYS // 2
    size, ctr, cvr = (np.exp(dice.normal(mean, sd, CAMPAIGNS)) for mean, sd in ((5, 1.2), (-3.2, 0.4), (-3.2, 0.4)))
    aov, cpc = (np.exp(dice.normal(mean, 0.4, CAMPAIGNS)) for mean in (4, -1))
    drift = np.exp(dice.normal(0, 0.3, CAMPAIGNS))[campaign] ** later
    by_device, by_country = dice.uniform(0.3, 1.5, DEVICES)[device], np.exp(dice.normal(0, 0.8, COUNTRIES))[country]
    impressions = dice.poisson(size[campaign] * by_device * by_country * drift)
    clicks = dice.binomial(impressions, np.minimum(ctr[campaign] * (1 + 0.05 * later), 1))
    orders = dice.binomial(clicks, np.minimum(cvr[campaign] * (1 + 0.03 * later), 1))
    revenue = np.round(orders * aov[campaign], 2)
    cost = np.round(clicks * cpc[campaign], 2)
    money = pa.decimal128(18, 2)
    return pa.table(
        {
            "date": np.datetime64(SINCE) + day.astype("timedelta64[D]"),
            "channel": _texts(campaign % len(CHANNELS), CHANNELS),
            "campaign": _texts(campaign, [f"campaign_{number:03}" for number in range(CAMPAIGNS)]),
            "device": _texts(device, ("desktop", "mobile", "tablet")),
            "country": _texts(country, [f"C{number:02}" for number in range(COUNTRIES)]),
            "impressions": impressions,
            "clicks": clicks,
            "visits": dice.binomial(clicks, 0.9),
            "orders": orders,
            "revenue": pa.array(revenue).cast(money),
            "cost": pa.array(cost).cast(money),
            "currency": _texts(np.zeros(ROWS, int), ("EUR",)),
        }
    )


def _texts(codes, words):
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(words)).cast(pa.string())


def bare(connection, path, by, sums):
    """Sums by day and segment, as one would write them by hand."""
    keys, summed = ", ".join(by), ", ".join(f"SUM({sql}) AS {name}" for name, sql in sums.items())
    return connection.execute(
        f"SELECT date, {keys}, {summed} FROM read_parquet('{path}') "
        f"WHERE date >= DATE '{BEFORE.since}' AND date < DATE '{AFTER.until}' GROUP BY date, {keys}"
    ).df()


class Peer:
    """icanexplain in its own Python, kept running: its imports do not count."""

    SCRIPT = """
import json, sys, time
import ibis, icanexplain
import pandas as pd

path, split, threads = sys.argv[1:]
engine = ibis.duckdb.connect(threads=int(threads))
frame = pd.read_parquet(path, columns=["date", "channel", "campaign", "device", "revenue"])
frame["half"] = (pd.to_datetime(frame.pop("date")) >= split).astype("int8")
frame["revenue"] = frame["revenue"].astype(float)

def parquet():
    rows = engine.read_parquet(path)
    return rows.mutate(half=(rows.date >= ibis.date(split)).cast("int8"), revenue=rows.revenue.cast("float64"))

for line in sys.stdin:
    by, found = json.loads(line), {}
    for name in ("Parquet", "pandas"):
        started = time.perf_counter()
        explained = icanexplain.SumExplainer(fact="revenue", period="half", group=by)(
            parquet() if name == "Parquet" else frame
        )
        explained = explained if name == "pandas" else explained.execute()
        seconds = time.perf_counter() - started
        found[name] = seconds, len(explained), float(explained["inner"].sum() + explained["mix"].sum())
    print(json.dumps(found), flush=True)
"""

    def __init__(self, python, path, threads):
        command = [python, "-W", "ignore", "-c", self.SCRIPT, str(path), str(AFTER.since), str(threads)]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=plain)

    def explain(self, by):
        """{source: (seconds, rows, what these add up to)}."""
        print(json.dumps(by), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--peer-python", default=os.environ.get("PERFNB_PEER_PYTHON"), metavar="PATH")
    options.add_argument("--rounds", type=int, default=ROUNDS)
    options = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "campaigns.parquet"
        pq.write_table(campaigns(), path, row_group_size=122_880)  # DuckDB's own size: a group is one thread's work
        connection = duckdb.connect()
        threads = connection.execute("SELECT current_setting('threads')").fetchone()[0]
        print(f"{ROWS:,} rows, {DAYS} days, {path.stat().st_size / 1e6:.0f} MB of Parquet, {threads} threads")
        print(f"DuckDB {duckdb.__version__}, medians of {options.rounds} rounds")
        peer = Peer(options.peer_python, path, threads) if options.peer_python else None
        for by in CASES:
            report(by, *measured(by, connection, path, peer, options.rounds))
        if peer:
            peer.close()
        else:
            print("\nicanexplain: left out; give the Python of an environment that has it: --peer-python PATH")


def measured(by, connection, path, peer, rounds):
    """Seconds of each step in each round; the last result of kpi.nodes and kpi.explain, and of the peer."""
    seconds, found = defaultdict(list), {}

    def timed(name, function, *arguments, **options):
        started = time.perf_counter()
        found[name] = function(*arguments, **options)
        seconds[name].append(time.perf_counter() - started)

    for _ in range(rounds + 1):
        timed("bare", bare, connection, path, by, NEEDED)
        timed("bare, all sums", bare, connection, path, by, ALL)
        timed("open", lambda: workspace.open(path.parent).campaigns)
        table = found["open"]
        timed("first", kpi.explain, table, tree=TREE, period=AFTER, by=by, draws=0)
        for draws in DRAWS:
            timed(f"explain {draws}", kpi.explain, table, tree=TREE, period=AFTER, by=by, draws=draws)
        timed("base", kpi.base, table, period=AFTER, by=by)
        for draws in DRAWS:
            timed(f"nodes {draws}", kpi.nodes, found["base"], tree=TREE, draws=draws)
            timed(f"segments {draws}", kpi.explain, found["base"], tree=TREE, by=by, draws=draws)
        if peer:
            found["peer"] = peer.explain(by)
            for source, (own, _, _) in found["peer"].items():
                seconds[source].append(own)
    return {name: np.array(own[1:]) for name, own in seconds.items()}, found


def report(by, seconds, found):
    def line(name, own, against="bare", said=""):
        ratio = statistics.median(own / seconds[against])
        print(f"  {name:42}{statistics.median(own) * 1e3:7.1f} ms  {ratio:5.2f} ×  {said}")

    none, some = DRAWS
    print(f"\n{' and '.join(by)}: {len(found['bare']):,} sums, {len(found[f'explain {none}']):,} rows of result")
    line("bare GROUP BY of the tree's sums, fetched", seconds["bare"])
    line("kpi.explain without intervals", seconds[f"explain {none}"], said="(required: at most 1.3)")
    line("the same, first of a table just opened", seconds["first"])
    line(f"kpi.explain, {some} draws", seconds[f"explain {some}"])
    line("open the table, all values checked", seconds["open"])
    print(" in steps:")
    line("bare GROUP BY of all sums, fetched", seconds["bare, all sums"], "bare, all sums")
    line("kpi.base", seconds["base"], "bare, all sums")
    for draws in DRAWS:
        line(f"kpi.nodes, {draws} draws", seconds[f"nodes {draws}"], "bare, all sums")
        line(f"kpi.explain of the base, {draws} draws", seconds[f"segments {draws}"], "bare, all sums")
    for draws in DRAWS:
        total = seconds["base"] + seconds[f"nodes {draws}"] + seconds[f"segments {draws}"]
        line(f"together, {draws} draws", total, "bare, all sums")
    root, rows = found[f"nodes {some}"].iloc[0], found[f"explain {some}"]
    residual = abs(rows["contribution"].sum() - root["change"]) / max(abs(root["before"]), abs(root["after"]))
    print(f"  residual {residual:.0e} of the root (required: below 1e-9)")
    assert residual < 1e-9
    for source, (_, count, total) in found.get("peer", {}).items():
        line(f"icanexplain, revenue alone, from {source}", seconds[source])
        times = [statistics.median(seconds[source] / seconds[f"explain {draws}"]) for draws in DRAWS]
        print(f"    {times[0]:.1f} × kpi.explain (required: at least 5), {times[1]:.1f} × with intervals;")
        print(f"    its {count:,} rows add up to {total:,.2f} of a change of {root['change']:,.2f}")


if __name__ == "__main__":
    main()
