"""KPI trees over a million rows: perfnb against the bare GROUP BY in DuckDB, and against icanexplain doing one KPI.

Every round runs all of them in turn on the same Parquet file, so that ratios share the machine's mood; the first
round only warms up. icanexplain needs an older DuckDB, so it runs in an environment of its own:

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
CASES = (("channel", "campaign"), ("channel", "device"))

# revenue, orders, clicks, impressions, aov, cvr, ctr
TREE = kpi.Tree.parse("revenue = orders * aov; orders = clicks * cvr; clicks = impressions * ctr")
MEASURES = ("impressions", "clicks", "orders", "revenue")
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


def bare(connection, path, by):
    """The sums that the tree needs, by day and segment, as one would write them by hand."""
    keys, sums = ", ".join(by), ", ".join(f"SUM({name}) AS {name}" for name in MEASURES)
    return connection.execute(
        f"SELECT date, {keys}, {sums} FROM read_parquet('{path}') "
        f"WHERE date >= DATE '{BEFORE.since}' AND date < DATE '{AFTER.until}' GROUP BY date, {keys}"
    ).df()


class Peer:
    """icanexplain in its own Python, kept running: its imports do not count."""

    SCRIPT = """
import json, sys, time
import ibis
import icanexplain
ibis.set_backend("duckdb")
path, split, threads = sys.argv[1:]
con = ibis.duckdb.connect(threads=int(threads))
for line in sys.stdin:
    by = json.loads(line)
    started = time.perf_counter()
    rows = con.read_parquet(path)
    rows = rows.mutate(half=(rows.date >= ibis.date(split)).cast("int8"), revenue=rows.revenue.cast("float64"))
    explainer = icanexplain.SumExplainer(fact="revenue", period="half", group=by)
    found = explainer(rows).execute()
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, len(found), float(found["inner"].sum() + found["mix"].sum())]), flush=True)
"""

    def __init__(self, python, path, threads):
        command = [python, "-W", "ignore", "-c", self.SCRIPT, str(path), str(AFTER.since), str(threads)]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def explain(self, by):
        """Its seconds, its rows, and what these add up to."""
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
        pq.write_table(campaigns(), path, row_group_size=122_880)  # as DuckDB writes it: a group is read by one thread
        table = workspace.open(folder).campaigns
        connection = duckdb.connect()
        threads = connection.execute("SELECT current_setting('threads')").fetchone()[0]
        print(f"{ROWS:,} rows, {DAYS} days, {path.stat().st_size / 1e6:.1f} MB of Parquet, {threads} threads")
        peer = Peer(options.peer_python, path, threads) if options.peer_python else None
        for by in CASES:
            report(by, *measured(by, table, connection, path, peer, options.rounds))
        if peer:
            peer.close()
        else:
            print("icanexplain: skipped; give the Python of an environment that has it: --peer-python PATH")


def measured(by, table, connection, path, peer, rounds):
    """Seconds of each step in each round, and what must hold: residuals, and what the peer's parts add up to."""
    seconds, facts = defaultdict(list), {}

    def timed(name, function):
        started = time.perf_counter()
        found = function()
        seconds[name].append(time.perf_counter() - started)
        return found

    for _ in range(rounds + 1):
        timed("bare GROUP BY", lambda: bare(connection, path, by))
        for draws in (0, 500):
            timed(f"explain, {draws} draws", lambda draws=draws: explained(table, by, draws))
        base = timed("base", lambda: kpi.base(table, period=AFTER, by=by))
        for draws in (0, 500):
            nodes = timed(f"nodes, {draws} draws", lambda draws=draws: kpi.nodes(base, tree=TREE, draws=draws))
            rows = timed(
                f"explain of base, {draws} draws", lambda draws=draws: kpi.explain(base, tree=TREE, by=by, draws=draws)
            )
        if peer:
            own, count, total = peer.explain(by)
            seconds["icanexplain"].append(own)
            facts["peer"] = count, total
    root = nodes.iloc[0]
    facts["change"] = root["change"]
    facts["residual"] = abs(rows["contribution"].sum() - root["change"]) / max(abs(root["before"]), abs(root["after"]))
    facts["sizes"] = len(base), len(rows)
    return {name: np.array(own[1:]) for name, own in seconds.items()}, facts


def explained(table, by, draws):
    return kpi.explain(table, tree=TREE, period=AFTER, by=by, draws=draws)


def report(by, seconds, facts):
    bare_seconds = seconds["bare GROUP BY"]

    def line(name, own, wanted=""):
        ratio = statistics.median(own / bare_seconds)
        print(f"  {name:38}{statistics.median(own) * 1e3:8.1f} ms {ratio:6.2f} × the GROUP BY {wanted}")

    print(f"\n{' and '.join(by)}: {facts['sizes'][0]:,} sums, {facts['sizes'][1]:,} rows of result")
    line("bare GROUP BY, fetched", bare_seconds)
    for draws in (0, 500):
        wanted = "(required: at most 1.3)" if not draws else ""
        line(f"kpi.explain, {draws} draws", seconds[f"explain, {draws} draws"], wanted)
    print("  where the time goes, in steps:")
    line("kpi.base (all sums of the table)", seconds["base"])
    for draws in (0, 500):
        line(f"kpi.nodes, {draws} draws", seconds[f"nodes, {draws} draws"])
        line(f"kpi.explain of the base, {draws} draws", seconds[f"explain of base, {draws} draws"])
    residual = facts["residual"]
    print(f"  residual {residual:.0e} of the root (required: below 1e-9)")
    assert residual < 1e-9
    if "peer" in facts:
        rows, total = facts["peer"]
        line("icanexplain, one KPI", seconds["icanexplain"])
        times = statistics.median(seconds["icanexplain"] / seconds["explain, 0 draws"])
        drawn = statistics.median(seconds["icanexplain"] / seconds["explain, 500 draws"])
        print(f"  icanexplain takes {times:.1f} × as long as kpi.explain (required: 5), {drawn:.1f} × with intervals")
        print(f"  its {rows:,} rows add up to {total:,.2f} of a change of {facts['change']:,.2f}")


if __name__ == "__main__":
    main()
