"""Do the 95 % intervals of credit and share cover? Prints a Markdown table.

One large made-up population is the truth here: what a model says of all its persons
is to be covered by what it says of samples of them. The table of
docs/attribution_truth.md is this script's output.
"""

import sys
import time

import numpy as np
import pandas as pd

from perfnb import attribution, simulate, workspace

SHOPS, USERS = 16, 125_000
SIZES, DRAWS = (5_000, 50_000), 150
CLASSES = ("below 5", "5–20", "20–100", "above 100")  # credit expected in the sample
COUNTING = {"events": ["visit"], "lookback": "30 days"}
MODELS = [
    ("rules", lambda t: attribution.rules(t, **COUNTING)),
    ("markov 1", lambda t: attribution.markov(t, **COUNTING)),
    ("markov 2", lambda t: attribution.markov(t, order=2, **COUNTING)),
    ("shapley", lambda t: attribution.shapley(t, **COUNTING)),
    ("shapley, rate", lambda t: attribution.shapley(t, worth="rate", **COUNTING)),
    ("probabilistic", lambda t: attribution.probabilistic(t, **COUNTING)),
    ("hazard", lambda t: attribution.hazard(t, **COUNTING)),
]


def population():
    """Visits and orders of all persons with an event, person by person: (frame, where each person begins)."""
    parts = []
    for seed in range(SHOPS):
        events = simulate.shop(seed=1000 + seed, users=USERS).touchpoints
        events = events.loc[
            events["event"].isin(["visit", "order"]), ["user_id", "timestamp", "event", "channel", "value"]
        ]
        number = events["user_id"].str[1:].astype(int) + seed * USERS
        categories = {name: events[name].astype("category") for name in ("event", "channel")}
        parts.append(events.assign(user_id=number, **categories))
    whole = pd.concat(parts, ignore_index=True)
    for name in ("event", "channel"):
        whole[name] = whole[name].astype("category")
    whole = whole.sort_values("user_id", kind="stable", ignore_index=True)
    begins = np.flatnonzero(whole["user_id"].diff().ne(0))
    return whole, np.append(begins, len(whole))


def results(frame):
    """Every model's answer: one row per model and channel."""
    frame = frame.assign(user_id=frame["user_id"].astype(str), event=frame["event"].astype(str))
    table = workspace.open({"touchpoints": frame.assign(channel=frame["channel"].astype(str))}).touchpoints
    parts = []
    for name, model in MODELS:
        found = model(table)
        parts.append(found if name == "rules" else found.assign(model=name))
    return pd.concat(parts, ignore_index=True)


def main():
    began = time.perf_counter()
    whole, starts = population()
    persons = len(starts) - 1
    print(f"{persons:,} persons: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    target = results(whole).set_index(["model", "channel"])[["credit", "share"]]
    target = target[target["credit"] != 0]
    rng, rows = np.random.default_rng(1), []
    for size in SIZES:
        for _ in range(DRAWS):
            chosen = np.sort(rng.choice(persons, size, replace=False))
            length = starts[chosen + 1] - starts[chosen]
            row = np.repeat(starts[chosen] - (np.cumsum(length) - length), length) + np.arange(length.sum())
            found = results(whole.iloc[row]).set_index(["model", "channel"])
            # a channel that a sample does not have got no credit and no interval: not covered
            found = found.reindex(target.index)
            expected = target["credit"] * size / persons
            rows.append(
                pd.DataFrame(
                    {
                        "expected": expected.abs(),
                        "credit": found["low"].le(expected) & found["high"].ge(expected),
                        "share": found["share_low"].le(target["share"]) & found["share_high"].ge(target["share"]),
                    }
                )
            )
        print(f"{size:,}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    covered = pd.concat(rows).reset_index()
    covered["class"] = pd.cut(covered["expected"], [0, 5, 20, 100, np.inf], labels=list(CLASSES))
    cells = covered.groupby(["model", "class"], sort=False, observed=True)[["credit", "share"]].mean()
    print(f"| model | {' | '.join(CLASSES)} |")
    print("|---" * (len(CLASSES) + 1) + "|")
    for model in dict.fromkeys(covered["model"]):
        texts = [
            f"{cells.loc[(model, name), 'credit']:.2f} · {cells.loc[(model, name), 'share']:.2f}"
            if (model, name) in cells.index
            else "–"
            for name in CLASSES
        ]
        print(f"| {model} | {' | '.join(texts)} |")


if __name__ == "__main__":
    main()
