"""Daily alarms: the charts of `kpi.alerts` against six other rules on simulated shops. Prints Markdown tables.

A simulated series is 84 days of past and 28 days that are judged one day ahead. A scenario changes the rate of the
judged day only: half the orders, none, one and a half times. The tables of docs/alerts.md are this script's output.
"""

import importlib.util
import math
import time

import numpy as np

from perfnb.kpi import control

SEED = 20261122
ROUNDS, SERIES = 10, 400  # of each class
STL_SERIES = 15  # 420 series-days: a fit takes milliseconds
PAST, JUDGED = 84, 28
CLASSES = {"0.5–5": (0.5, 5), "5–50": (5, 50), "50–500": (50, 500)}  # orders a day
SCENARIOS = {"as usual": 1.0, "−30 %": 0.7, "−50 %": 0.5, "outage": 0.0, "+50 %": 1.5}
ALLOWED = 0.005  # false alarms per series-day at which rules are compared


def simulate(rng, orders, *, series=SERIES, walk=0.01):
    """Clicks, and the orders of each scenario had it struck that day, as series × days.

    Sizes are log-uniform, rates 1 to 5 %; clicks and rate have their weekdays and
    the noise of each day, and the level of the clicks walks at random.
    """
    days = PAST + JUDGED
    weekday = np.arange(days) % 7
    size = np.exp(rng.uniform(*np.log(orders), (series, 1)))
    cvr = rng.uniform(0.01, 0.05, (series, 1))
    on_clicks, on_cvr = (rng.normal(0, sd, (series, 7)) for sd in (0.20, 0.08))
    on_clicks, on_cvr = (one - one.mean(1, keepdims=True) for one in (on_clicks, on_cvr))
    level = np.cumsum(rng.normal(0, walk, (series, days)), axis=1) + rng.normal(0, 0.10, (series, days))
    clicks = rng.poisson(size / cvr * np.exp(on_clicks[:, weekday] + level))
    rate = cvr * np.exp(on_cvr[:, weekday] + rng.normal(0, 0.08, (series, days)) - 0.0032)
    drawn = {name: rng.binomial(clicks, np.minimum(rate * factor, 1)) for name, factor in SCENARIOS.items()}
    return clicks.astype(float), {name: x.astype(float) for name, x in drawn.items()}


def pasts(values):
    """What lies before each judged day: series × judged days × 84."""
    return np.lib.stride_tricks.sliding_window_view(values, PAST, axis=1)[:, :JUDGED].copy()


def judged(orders):
    return {name: x[:, PAST:] for name, x in orders.items()}


def share(x, n):
    return np.divide(x, n, out=np.zeros(np.broadcast(x, n).shape), where=n > 0)


def scored(gap, spread):
    """gap / spread; beyond every threshold where there is a gap and no spread."""
    return np.divide(gap, spread, out=np.where(gap == 0, 0.0, 1e9), where=spread > 0)


def moving_range(past):
    return np.abs(np.diff(past, axis=-1))


def mean_sd(past, value):
    return scored(value - past[..., -28:].mean(-1), past[..., -28:].std(-1, ddof=1))


def xmr(past, value):
    past = past[..., -56:]
    return scored(value - past.mean(-1), moving_range(past).mean(-1) / 1.128)


def xmr_weekday(past, value):
    return xmr(past[..., -56::7], value)


def log_xmr(past, value):
    logs = np.log(past[..., -56:] + 0.5)
    weeks = logs.reshape(*logs.shape[:-1], 8, 7)
    index = np.median(weeks - np.median(weeks, axis=-1, keepdims=True), axis=-2)
    index -= index.mean(-1, keepdims=True)
    plain = (weeks - index[..., None, :]).reshape(logs.shape)
    spread = np.median(moving_range(plain), axis=-1) / 0.954
    return scored(np.log(value + 0.5) - index[..., 0] - np.median(plain[..., -14:], axis=-1), spread)


def p_chart(past_x, past_n, x, n):
    p = share(past_x[..., -56:].sum(-1), past_n[..., -56:].sum(-1))
    return scored(share(x, n) - p, np.sqrt(p * (1 - p) / np.maximum(n, 1)))


def ours_ratio(past_x, past_n, x, n):
    past_x, past_n = (past[..., -56:].reshape(-1, 56) for past in (past_x, past_n))
    return control.score(x.ravel(), *control.expect_ratio(past_x, past_n, n.ravel())).reshape(x.shape)


def ours_count(past, x):
    return control.score(x.ravel(), *control.expect_count(past[..., -56:].reshape(-1, 56))).reshape(x.shape)


def stl(past, value):
    """The day's remainder in a robust STL of the logarithms of its past and itself, in median absolute deviations."""
    from statsmodels.tsa.seasonal import STL

    z = np.empty(value.shape)
    for place in np.ndindex(value.shape):
        rest = STL(np.log(np.append(past[place], value[place])), period=7, robust=True).fit().resid
        rest = rest - np.median(rest)
        z[place] = scored(rest[-1], 1.4826 * np.median(np.abs(rest)))
    return z


def rules(clicks, usual):
    """{rule: (score of a ratio, score of a count)}, each a function of the judged days' orders; None: no such rule."""
    n, past_n, past_x = clicks[:, PAST:], pasts(clicks), pasts(usual)
    past_rate = share(past_x, past_n)

    def plain(rule):
        return lambda x: rule(past_rate, share(x, n)), lambda x: rule(past_x, x)

    return {
        "mean ± sd, 28 days": plain(mean_sd),
        "XmR, 56 days": plain(xmr),
        "XmR, same weekday, 8 weeks": plain(xmr_weekday),
        "binomial p-chart, 56 days": (lambda x: p_chart(past_x, past_n, x, n), None),
        "log XmR, median weekday index": (None, lambda x: log_xmr(past_x, x)),
        "**perfnb**": (lambda x: ours_ratio(past_x, past_n, x, n), lambda x: ours_count(past_x, x)),
    }


def found(z, names, limit=3.0):
    return " / ".join(f"{(z[name] > limit).mean():.2f}" for name in names)


def false_alarms(z):
    each = 1000 * (z["as usual"] > 3).mean()
    return f"{each:.0f}" if each >= 15 else f"{each:.1f}"


def cell(z):
    """False alarms per 1,000 and what is found at 3; what is found at the threshold of equal false alarms."""
    limit = np.quantile(z["as usual"], 1 - ALLOWED)
    fair = found(z, ("−50 %", "outage", "+50 %"), limit)
    return f"{false_alarms(z)} · {found(z, ('−50 %', 'outage'))} · {fair}"


def compared(rng):
    """The rules side by side: {rule: {(kind, class): cell}}."""
    cells = {}
    for name, orders in CLASSES.items():
        z = {}
        for _ in range(ROUNDS):
            clicks, drawn = simulate(rng, orders)
            for rule, kinds in rules(clicks, drawn["as usual"]).items():
                for kind, score in zip(("ratio", "count"), kinds, strict=True):
                    if score is not None:
                        for scenario, x in judged(drawn).items():
                            z.setdefault((rule, kind), {}).setdefault(scenario, []).append(np.abs(score(x)))
        for (rule, kind), parts in z.items():
            whole = {scenario: np.concatenate(found) for scenario, found in parts.items()}
            cells.setdefault(rule, {})[kind, name] = cell(whole)
            if rule == "**perfnb**":
                limit = np.quantile(whole["as usual"], 1 - ALLOWED)
                cells.setdefault("perfnb, −30 %", {})[kind, name] = " · ".join(
                    found(whole, ("−30 %",), threshold) for threshold in (3, limit)
                )
    return cells


def with_stl(rng):
    """The cells of STL at 3, on few series, and its seconds per 1,000 series-days."""
    cells, began, days = {}, time.perf_counter(), 0
    for name in ("5–50", "50–500"):
        clicks, drawn = simulate(rng, CLASSES[name], series=STL_SERIES)
        for kind, past_n, n in (("ratio", pasts(clicks) + 1, clicks[:, PAST:] + 1), ("count", 1, 1)):
            past, z = (pasts(drawn["as usual"]) + 0.5) / past_n, {}
            for scenario in ("as usual", "−50 %", "outage"):
                x = judged(drawn)[scenario]
                z[scenario] = np.abs(stl(past, (x + 0.5) / n))
                days += x.size
            cells[kind, name] = f"{false_alarms(z)} · {found(z, ('−50 %', 'outage'))}"
    return cells, 1000 * (time.perf_counter() - began) / days


# What may lie in the past of a judged day: changes of (past clicks, past orders), in place.
def _outage(*days):
    def change(rng, n, x):
        x[..., [-day for day in days]] = 0

    return change


def _unknown(*days):
    def change(rng, n, x):
        x[..., [-day for day in days]] = np.nan

    return change


def _scattered(rng, n, x):
    x[..., -rng.choice(np.arange(1, 57), 7, replace=False)] = np.nan


def _holiday(rng, n, x):
    kept = 0.4
    n[..., -5], x[..., -5] = np.round(kept * n[..., -5]), rng.binomial(x[..., -5].astype(int), kept)


def _promotion(rng, n, x):
    n[..., -14:-7], x[..., -14:-7] = 2 * n[..., -14:-7], 2 * x[..., -14:-7]


DISTURBED = {
    "nothing": lambda rng, n, x: None,
    "outage, one day, 3 days before": _outage(3),
    "outage, one day, 7 days before (same weekday)": _outage(7),
    "outage, one day, 30 days before": _outage(30),
    "outage, 3 days until yesterday": _outage(1, 2, 3),
    "outage, the whole week until yesterday": _outage(*range(1, 8)),
    "that week left out as unknown": _unknown(*range(1, 8)),
    "7 of 56 days unknown, at random": _scattered,
    "holiday (40 % of the traffic) 5 days before": _holiday,
    "week with twice the traffic, a week before": _promotion,
}


def disturbed(rng):
    """perfnb's charts where the past is not as simulated: {case: {(kind, class): text}}."""
    cells = {}
    cases = [(name, 0.01, change) for name, change in DISTURBED.items()]
    cases.append(("level walks three times as fast", 0.03, DISTURBED["nothing"]))
    for name in ("5–50", "50–500"):
        for case, walk, change in cases:
            clicks, drawn = simulate(rng, CLASSES[name], series=2 * SERIES, walk=walk)
            past_n, past_x, n = pasts(clicks), pasts(drawn["as usual"]), clicks[:, PAST:]
            change(rng, past_n, past_x)
            for kind in ("ratio", "count"):
                z = {
                    scenario: ours_ratio(past_x, past_n, x, n) if kind == "ratio" else ours_count(past_x, x)
                    for scenario, x in judged(drawn).items()
                }
                high, low = (1000 * (sign * z["as usual"] > 3).mean() for sign in (1, -1))
                z = {scenario: np.abs(part) for scenario, part in z.items()}
                cells.setdefault(case, {})[kind, name] = f"{high:.1f} + {low:.1f} · {found(z, ('−50 %', 'outage'))}"
    return cells


def statuses(x, n, days):
    """The scores, and where `alerts` would say drift: not beside an alarm, nor where a day is too thin."""
    expected, alpha, z, drift = control.judge(x, n, days)
    return z, drift & (np.abs(z) <= 3) & (control.outage_days(expected, alpha) <= 1)


def lasting(rng):
    """Alarms and drifts per 1,000 healthy days, and in how many series 14 days of 100, 80, 70 % bring one downwards."""
    cells = {}
    for name in ("5–50", "50–500"):
        clicks, drawn = simulate(rng, CLASSES[name], series=2 * SERIES)
        usual, days = drawn["as usual"], np.arange(PAST, PAST + JUDGED)
        for kind, n in (("ratio", clicks), ("count", None)):
            z, drift = statuses(usual, n, days)
            text = f"{1000 * (np.abs(z) > 3).mean():.1f}, {1000 * drift.mean():.1f}"
            for kept in (1.0, 0.8, 0.7):
                x = usual.copy()
                x[:, PAST:] = rng.binomial(x[:, PAST:].astype(int), kept)
                z, drift = statuses(x, n, days[:14])
                low = z < -3
                text += f" · {low.any(1).mean():.2f} → {(low | drift & (z < 0)).any(1).mean():.2f}"
            cells[kind, name] = text
    return cells


def digest(rng):
    """The share of digests of 400 healthy series in which one has an adjusted p below .05 (nominal: .05)."""
    tail = np.vectorize(lambda z: math.erfc(abs(z) / math.sqrt(2)))
    some = []
    for _ in range(5):
        clicks, drawn = simulate(rng, (0.5, 500))
        usual = drawn["as usual"]
        z = ours_ratio(pasts(usual), pasts(clicks), usual[:, PAST:], clicks[:, PAST:])
        ranked = np.sort(tail(z), axis=0)
        some.append((ranked < 0.05 * np.arange(1, len(z) + 1)[:, None] / len(z)).any(0))
    return np.mean(some)


def speed(rng):
    """Milliseconds for one day of 1,000 series, with the limits and with the look back for drifts."""
    clicks, drawn = simulate(rng, (0.5, 500), series=1000)
    usual, last = drawn["as usual"], [PAST + JUDGED - 1]
    times = {}
    for kind, n in (("ratio", clicks), ("count", None)):
        runs = []
        for _ in range(15):
            began = time.perf_counter()
            past = slice(last[0] - 56, last[0])
            expected, alpha = (
                control.expect_count(usual[:, past])
                if n is None
                else control.expect_ratio(usual[:, past], n[:, past], n[:, last[0]])
            )
            control.score(usual[:, last[0]], expected, alpha)
            control.band(expected, alpha)
            middle = time.perf_counter()
            control.judge(usual, n, last)
            runs.append((middle - began, time.perf_counter() - middle))
        times[kind] = 1000 * np.median(runs, axis=0)
    return times


def markdown(cells, columns, first):
    lines = [
        f"| {first} | {' | '.join(f'{kind} {name}' for kind, name in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    lines += [f"| {name} | {' | '.join(row.get(column, '–') for column in columns)} |" for name, row in cells.items()]
    return "\n".join(lines)


def main():
    rng = np.random.default_rng(SEED)
    wide = [(kind, name) for kind in ("ratio", "count") for name in ("5–50", "50–500")]
    cells, slow = compared(rng), None
    if importlib.util.find_spec("statsmodels"):
        cells["STL of logarithms, robust, with MAD"], slow = with_stl(np.random.default_rng(SEED))
    else:
        print("statsmodels is not installed: row left out\n")
    print(markdown(cells, wide, "rule"), end="\n\n")
    thin = {name: cells[name] for name in ("XmR, 56 days", "log XmR, median weekday index", "**perfnb**")}
    print(markdown(thin, [("ratio", "0.5–5"), ("count", "0.5–5")], "rule"), end="\n\n")
    print(markdown(disturbed(rng), wide, "in the past of the day"), end="\n\n")
    print(markdown({"**perfnb**": lasting(rng)}, wide, ""))
    print(f"\nDigests of 400 healthy series with q < .05 somewhere: {digest(rng):.2f}")
    for kind, (one, whole) in speed(rng).items():
        print(f"{kind}: {one:.1f} ms per 1,000 series and day, {whole:.1f} ms with drifts looked for")
    if slow:
        print(f"STL: {slow:.1f} s per 1,000 series and day")


if __name__ == "__main__":
    main()
