"""The weeks of a trend in which a step went otherwise than in all others: since when, until when, and is it chance."""

from statistics import NormalDist

import numpy as np
import pandas as pd

from perfnb import intervals
from perfnb.errors import BadParameter

__all__ = ["unusual"]

_MEDIAN = NormalDist().inv_cdf(0.75) ** 2  # of the square of a standard normal number
_ALIKE = np.append(0.0, np.geomspace(1e-4, 0.5, 40))  # intraclass correlations to choose from
_LONGEST = 13  # intervals: a quarter of a year of weeks


def unusual(trend, *, draws=499, seed=0):
    """The most unusual run of intervals of every group and step, from the result of `funnel.trend`.

    All runs of up to a third of the intervals (13 at most) are held against the rest of
    the group's, by the scan statistic of Kulldorff (1997), A spatial scan statistic;
    Communications in Statistics 26. p is the chance that some run of some group and step
    looks as odd where nothing happened, from `draws` simulated trends (`seed`): looking
    at many weeks, groups and steps is paid for. Where intervals vary by more than chance
    among persons (the median of their squared distances says so, over all groups and
    steps), simulated ones do, too, and the statistic is divided by it. The rate of a run that
    was picked because it is odd is a little too odd; only mature intervals are looked at,
    and only one run is named of each group and step.

    Returns one row per group and step from 2 on: (group), step, name, since and last_day
    (of the run), spans (intervals in it), of_intervals,
    units, from_units, rate, low, high, rest_units, rest_from, rest_rate (of all other
    intervals), difference (-1 to 1) with difference_low and difference_high (Newcombe,
    95 %, widened by spread), p, tests (groups and steps), spread (factor on the variance, 1 or more),
    definition. The smallest p first. No rows where there are fewer than three intervals.
    """
    if draws < 99:
        raise BadParameter(f"draws {draws!r}: expected 99 or more, p cannot be smaller than 1 / (draws + 1)")
    groups = list(trend.columns[2 : trend.columns.get_loc("step")])
    seen = trend[trend["mature"].astype(bool) & (trend["from_units"].fillna(0) > 0)].sort_values("entered")
    series = [part for _, part in seen.groupby([*groups, "step"], sort=True) if len(part) >= 3]
    counts = [[part[name].to_numpy(float) for name in ("units", "from_units")] for part in series]
    dice = np.random.default_rng(seed)
    alike = _alike([x[None] for x, _ in counts], [n for _, n in counts])
    drawn = [_drawn(dice, n, x.sum() / n.sum(), alike[0], draws) for x, n in counts]
    alike_drawn = _alike(drawn, [n for _, n in counts])
    rows, largest = [], np.zeros(draws)
    for part, (x, n), others in zip(series, counts, drawn, strict=True):
        runs = [(first, k) for k in range(1, min(len(x) // 3, _LONGEST) + 1) for first in range(len(x) - k + 1)]
        first, length = np.array(runs).T
        spread = _spread(n, alike)[0]
        found = _odd(x[None], n, first, length)[0] / spread
        largest = np.maximum(largest, _odd(others, n, first, length).max(axis=1) / _spread(n, alike_drawn))
        best = int(found.argmax())
        inside = slice(first[best], first[best] + length[best])
        rows.append(
            {
                **{name: part[name].iloc[0] for name in [*groups, "step", "name"]},
                "since": part["entered"].iloc[inside].iloc[0],
                "last_day": part["last_day"].iloc[inside].iloc[-1],
                "spans": int(length[best]),
                "of_intervals": len(part),
                "units": int(x[inside].sum()),
                "from_units": int(n[inside].sum()),
                "rest_units": int(x.sum() - x[inside].sum()),
                "rest_from": int(n.sum() - n[inside].sum()),
                "spread": spread,
                "odd": found[best],
            }
        )
    names = ["step", "name", "since", "last_day", "spans", "of_intervals", "units", "from_units", "rest_units"]
    table = pd.DataFrame(rows, columns=[*groups, *names, "rest_from", "spread", "odd"])
    table["p"] = [(1 + (largest >= odd - 1e-9).sum()) / (draws + 1) for odd in table["odd"]]
    table["tests"] = len(table)
    table = _compared(
        table.sort_values(["p", "odd", *groups, "step"], ascending=[True, False, *[True] * (len(groups) + 1)])
    )
    table["definition"] = trend["definition"].iloc[0] if len(trend) else ""
    order = ["rate", "low", "high", "rest_units", "rest_from", "rest_rate"]
    order += ["difference", "difference_low", "difference_high", "p", "tests", "spread", "definition"]
    return table[[*groups, *names[:-1], *order]].reset_index(drop=True)


def _compared(table):
    x, n, others, of_others, wider = (
        table[name].to_numpy(float) for name in ("units", "from_units", "rest_units", "rest_from", "spread")
    )
    rate, other = x / n, others / of_others
    low, high = intervals.wilson(x, n)
    limits = (intervals.wilson(top / wider, whole / wider) for top, whole in ((x, n), (others, of_others)))
    difference_low, difference_high = intervals.newcombe(rate, other, *limits)
    return table.assign(
        rate=rate, low=low, high=high, rest_rate=other, difference=rate - other,
        difference_low=difference_low, difference_high=difference_high,
    )  # fmt: skip


def _alike(trends, sizes):
    """By trend, how alike persons of one interval are (intraclass correlation), from the median over all series.

    A median, since a few odd intervals hardly move it; over all series, since that of one is rough.
    """
    squares, n = [], np.concatenate(sizes) if sizes else np.zeros(0)
    for x, size in zip(trends, sizes, strict=True):
        p = (x.sum(axis=1) / size.sum())[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            squares.append((x - size * p) ** 2 / (size * p * (1 - p)))
    if not squares:
        return np.zeros(1)
    squares = np.nan_to_num(np.concatenate(squares, axis=1))
    enough = np.array([np.median(squares / (1 + (n - 1) * rho), axis=1) <= _MEDIAN for rho in _ALIKE])
    return np.where(enough.any(axis=0), _ALIKE[enough.argmax(axis=0)], _ALIKE[-1])


def _spread(n, alike):
    """By trend, the factor on the variance of a rate in intervals of so many persons."""
    return 1 + alike * ((n @ (n - 1)) / n.sum())


def _drawn(dice, n, p, alike, draws):
    """Trends of one rate in which intervals vary as much as in those seen (beta-binomial)."""
    size = (draws, n.size)
    if alike and 0 < p < 1:
        p = dice.beta(p * (1 - alike) / alike, (1 - p) * (1 - alike) / alike, size)
    return dice.binomial(n.astype(int), p, size).astype(float)


def _odd(x, n, first, length):
    """(trends, runs) log likelihood ratio of a rate of its own for each run against one rate for all intervals."""
    sums = np.concatenate([np.zeros((len(x), 1)), np.cumsum(x, axis=1)], axis=1)
    places = np.concatenate([[0.0], np.cumsum(n)])
    inside, whole = sums[:, first + length] - sums[:, first], places[first + length] - places[first]
    total, of_all = sums[:, -1:], places[-1]
    return (
        _likelihood(inside, whole) + _likelihood(total - inside, of_all - whole) - _likelihood(total, of_all)
    )  # fmt: skip


def _likelihood(x, n):
    from scipy.special import xlogy

    return xlogy(x, x / n) + xlogy(n - x, 1 - x / n)
