"""Every attribution model against the true effects in seven kinds of simulated markets. Prints Markdown tables.

Three questions: how far do a model's shares lie from the truth's, what would it have done to the orders had a fifth of
the budget followed it (the same persons are replayed), and what does it get most wrong. The tables of
docs/attribution_truth.md are this script's output: `python benchmarks/attribution_truth.py [seeds] [market …]`.
"""

import sys
import time

import numpy as np
import pandas as pd

from perfnb import attribution, simulate, workspace
from perfnb.simulate import draw, observe, play
from perfnb.simulate.rules import Rules

SEEDS, USERS, DAYS = 20, 60_000, 91
MARKETS = ("default", "benign", "harvest", "brand", "delays", "cross_device", "consent")
COUNTING = {"events": ["visit"], "lookback": "30 days"}
EXPERIMENTS = (("credit", 1), ("cost", 3))
MOVED, MOST = 0.20, 0.50  # of the whole budget; of a channel's
SHOWN = ("last", "markov 1", "hazard")
WHOLE, SHORT = "every visit", "without the visit of the order"

# (name, function of the touchpoints and the counting options): add a model here.
MODELS = [
    ("rules", lambda t, **c: attribution.rules(t, **c)),
    *((f"markov {k}", lambda t, k=k, **c: attribution.markov(t, order=k, **c)) for k in (1, 2)),
    ("shapley", lambda t, **c: attribution.shapley(t, **c)),
    ("shapley, rate", lambda t, **c: attribution.shapley(t, worth="rate", **c)),
    ("probabilistic", lambda t, **c: attribution.probabilistic(t, **c)),
    ("hazard", lambda t, **c: attribution.hazard(t, **c)),
]


def shapes(touchpoints):
    """The events as they are, and without the visits in which an order was placed."""
    person = pd.factorize(touchpoints["user_id"])[0]
    in_turn = np.argsort(person, kind="stable")
    event = touchpoints["event"].to_numpy()
    number = np.empty(person.size, int)
    number[in_turn] = np.cumsum(event[in_turn] == "visit")
    closing = (event == "visit") & np.isin(number, number[event == "order"])
    return {WHOLE: touchpoints, SHORT: touchpoints[~closing]}


def credits(touchpoints, **counting):
    """The result of every model, under the names of MODELS."""
    results = []
    for name, model in MODELS:
        found = model(touchpoints, **counting)
        if name != "rules":
            found = found.assign(model=name)
        results += [part for _, part in found.groupby("model", sort=False)]
    return results


def calibrated(comparison, truth, by, number):
    """The Markov chain after an experiment in each of the `number` paid channels with most credit, or cost."""
    mine = comparison[(comparison["model"] == "markov 1") & comparison["channel"].isin(truth["channel"])]
    chosen = mine[mine["cost"] > 0].sort_values(by, ascending=False)["channel"].iloc[:number]
    # measured on all persons: the interval of the truth is that of the experiment
    experiments = truth[truth["channel"].isin(chosen)]
    found = attribution.calibrate(comparison, experiments=experiments, model="markov 1")
    found["model"] = f"markov 1, measured: {number} of most {by}"
    return found.assign(credit=found["calibrated"], low=np.nan, high=np.nan)[
        ["model", "channel", "credit", "cost", "low", "high", "currency"]
    ]


def advice(table, stuck):
    """The budget's factor by channel if a fifth of it follows `credit`: from the dearest order to the cheapest.

    Channels give in the order of their cost per credited order, the dearest first, up to
    half of their budget each, to the cheapest, up to half of theirs on top, until a
    fifth of the whole has moved or nobody dearer is left. `stuck` cannot take: they
    are paid by the order.
    """
    table = table[table["cost"] > 0].set_index("channel")
    with np.errstate(divide="ignore"):
        each = (table["cost"] / table["credit"].clip(lower=0)).sort_index().sort_values(kind="stable")
    room, change = MOST * table["cost"], pd.Series(0.0, table.index)
    left = MOVED * table["cost"].sum()
    givers, takers = list(each.index[::-1]), [name for name in each.index if name not in stuck]
    while left > 1e-9 and givers and takers and each[givers[0]] > each[takers[0]]:
        giver, taker = givers[0], takers[0]
        amount = min(left, room[giver] + change[giver], room[taker] - change[taker])
        change[giver] -= amount
        change[taker] += amount
        left -= amount
        if room[giver] + change[giver] < 1e-9:
            givers.pop(0)
        if room[taker] - change[taker] < 1e-9:
            takers.pop(0)
    return (1 + change / table["cost"]).clip(0, 1 + MOST).to_dict()


def replays(seed, world):
    """A function budgets -> (orders, cost) of the persons of `simulate.shop(seed=seed, ...)`, drawn once."""
    rules = Rules(world, DAYS)
    child = np.random.SeedSequence(seed).spawn(2)[0].spawn(1)[0]
    rng = np.random.Generator(np.random.PCG64(child))
    ceiling = np.where(rules.tracked, world.headroom, 1.0)
    people, candidates = draw.draw(rules, first=0, size=USERS, rng=rng, ceiling=ceiling)
    cpm, cpc, cpo = (np.array([getattr(mark, name) for mark in rules.marks]) for name in ("cpm", "cpc", "cpo"))

    def replay(budgets):
        factors = np.array([budgets.get(mark.channel, 1.0) for mark in rules.marks])
        played = play.play(people, candidates, rules, factors)
        impressions, _, clicks = observe.delivered(people, candidates, rules, played).sum(axis=2)
        ordered = played.outcome == play.ORDERED
        through = np.bincount(played.arrival[ordered], minlength=len(rules.marks))
        return int(ordered.sum()), float((cpm * impressions / 1000 + cpc * clicks + cpo * through).sum())

    return replay


def paid_by_the_order(world):
    return {mark.channel for mark in world.marks if mark.cpo and not mark.rate}


def judged(market, seed):
    """One row per shape and model: distances, what the advice is worth, the most over-credited channel."""
    world = simulate.preset(market)
    shop = simulate.shop(seed=seed, users=USERS, days=DAYS, preset=market)
    replay, stuck = replays(seed, world), paid_by_the_order(world)
    orders, cost = replay({})
    assert orders == len(shop.orders), "the replay is not that of simulate.shop"
    rows, known = [], {}
    lookbacks = ("30 days", "90 days") if market == "delays" else ("30 days",)
    for shape, events in shapes(shop.touchpoints).items():
        for lookback in lookbacks:
            ws = workspace.open({"touchpoints": events, "campaigns": shop.campaigns, "truth": shop.truth})
            results = credits(ws.touchpoints, **(COUNTING | {"lookback": lookback}))
            comparison = attribution.compare(results, campaigns=ws.campaigns, truth=ws.truth)
            comparison = pd.concat([comparison, *(calibrated(comparison, shop.truth, *which) for which in EXPERIMENTS)])
            scores = attribution.score(comparison).set_index("model")
            wide = attribution.score(comparison.assign(cost=np.nan)).set_index("model")
            movable = comparison[comparison["channel"].isin(shop.truth["channel"])]
            for model, credit in movable.groupby("model", sort=False):
                plan = advice(credit, stuck)
                key = tuple(sorted(plan.items()))
                if key not in known:
                    known[key] = replay(plan)
                after, spent = known[key]
                row = {"market": market, "seed": seed, "shape": shape, "lookback": lookback, "model": model}
                row |= {"gain": after / orders - 1, "spent": spent / cost - 1}
                if model != "truth":
                    mine = scores.loc[model]
                    row |= {"paid": mine["distance"], "tracked": wide.loc[model, "distance"]}
                    row |= mine[["over", "over_share", "over_true"]].to_dict()
                rows.append(row)
    return rows


def mean(values, form):
    """Mean ± standard error over seeds."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{form(values.mean())} ± {form(error).lstrip('+')}"


def share(value):
    return f"{value:.3f}".replace("0.", ".", 1)


def percent(value):
    return f"{100 * value:+.1f}".replace("-", "−")


def distances(found, column, across="market"):
    cells = found.groupby(["model", across], sort=False)[column].agg(lambda values: mean(values, share)).unstack()
    return markdown(cells, found.groupby("model")[column].mean().sort_values().index)


def decisions(found):
    """The change of orders and, in brackets, of cost."""
    groups = found.groupby(["model", "market"], sort=False)
    cells = groups["gain"].agg(lambda values: mean(values, percent)) + groups["spent"].mean().map(
        lambda value: f" ({percent(value)})"
    )
    return markdown(cells.unstack(), found.groupby("model")["gain"].mean().sort_values(ascending=False).index)


def markdown(cells, order):
    """One row per model in that order; models with the same cells share theirs."""
    lines = [f"| model | {' | '.join(cells.columns)} |", "|---" * (len(cells.columns) + 1) + "|"]
    rows = {}
    for model in order:
        rows.setdefault(" | ".join(cells.loc[model].fillna("–")), []).append(model)
    return "\n".join(lines + [f"| {', '.join(models)} | {texts} |" for texts, models in rows.items()])


def mistakes(found):
    """What each model credits most too much: in how many seeds, its share and the true one."""
    lines = ["| model | market | channel | seeds | share | true share |", "|---|---|---|---|---|---|"]
    for (model, market), part in found.groupby(["model", "market"], sort=False):
        channel = part["over"].mode()[0]
        mine = part[part["over"] == channel]
        shares = (share(mine[column].mean()) for column in ("over_share", "over_true"))
        lines.append(f"| {' | '.join((model, market, channel, f'{len(mine)} of {len(part)}', *shares))} |")
    return "\n".join(lines)


def main(arguments):
    seeds = int(arguments[0]) if arguments else SEEDS
    began, rows = time.perf_counter(), []
    for seed in range(1, seeds + 1):
        for market in arguments[1:] or MARKETS:
            rows += judged(market, seed)
        print(f"seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    print(report(pd.DataFrame(rows), seeds))


def report(found, seeds):
    """The tables as Markdown."""
    models, usual = found["model"] != "truth", found["lookback"] == COUNTING["lookback"]
    parts = [f"{seeds} seeds of {USERS:,} persons and {DAYS} days; mean ± standard error over seeds"]
    for shape in (WHOLE, SHORT):
        mine = usual & (found["shape"] == shape)
        parts.append(f"Distance of shares among paid channels, {shape}\n\n{distances(found[mine & models], 'paid')}")
        parts.append(f"Change of true orders (of cost), %, {shape}\n\n{decisions(found[mine])}")
    whole = found[usual & models & (found["shape"] == WHOLE)]
    parts.append(f"Distance of shares with the free channel whose truth is known\n\n{distances(whole, 'tracked')}")
    late = found[models & (found["market"] == "delays")]
    if len(late):
        late = late.assign(counted=late["shape"] + ", " + late["lookback"])
        parts.append(f"Distance of shares in the market of delays\n\n{distances(late, 'paid', 'counted')}")
    parts.append(f"Most over-credited\n\n{mistakes(whole[whole['model'].isin(SHOWN)])}")
    return "\n\n".join(parts)


if __name__ == "__main__":
    main(sys.argv[1:])
