"""Control charts of daily counts and of ratios of counts, adjusted for the weekday: arrays in, arrays out.

One row per series. The past of a day are the 56 days before it, oldest first,
so that each week begins with the day's own weekday; an unknown figure is NaN
and stays out of every sum. A ratio is charted as Laney's p′-chart (2002) with
weekdays, a count around the level of its last two weeks. `alpha` is what varies
more than chance: a figure with mean m has the variance m + alpha·m².
"""

import numpy as np

__all__ = ["LIMIT", "PAST", "band", "expect_count", "expect_ratio", "judge", "outage_days", "score"]

WEEKS = 8
PAST = 7 * WEEKS
LIMIT = 3.0
RUN = 8  # days on one side of the expected that make a drift

_PULL = 20.0  # events that draw each weekday's index towards 1
_FLOOR = 0.02  # least expected figure: after eight weeks of nothing one event is no wonder
_KNOWN = 5 * WEEKS  # days of the past that must be known: a shop may report five days a week
_KNOWN_ALIKE = 4  # of them on the day's own weekday


def judge(x, n, places):
    """The days at `places` of x (counts) in n (None for plain counts), both series × days.

    Each day is held against its own past, which must be whole: eight weeks from
    the first known figure on. Returns expected x, alpha, score and drift (eight
    scores on one side), as series × places; NaN where nothing can be said.
    """
    known = np.isfinite(x) & (n is None or np.isfinite(n))
    began = np.where(known.any(1), known.argmax(1), x.shape[1])
    judgeable = known & (n is None or n > 0)

    def day(t, who):
        if t < PAST:
            return np.full((3, len(who)), np.nan)
        past = slice(t - PAST, t)
        if n is None:
            expected, alpha = expect_count(x[who, past])
        else:
            expected, alpha = expect_ratio(x[who, past], n[who, past], n[who, t])
        expected = np.where((began[who] <= t - PAST) & judgeable[who, t], expected, np.nan)
        return np.stack([expected, alpha, score(x[who, t], expected, alpha)])

    everyone = np.arange(len(x))
    expected, alpha, z = np.stack([day(t, everyone) for t in places], axis=-1)
    drift = np.zeros(z.shape, bool)
    for place, t in enumerate(places):
        # Most series change sides within a day or two: only the others are followed further back.
        same = np.flatnonzero(z[:, place])
        for back in range(1, RUN):
            same = same[np.sign(day(t - back, same)[2]) == np.sign(z[same, place])]
        drift[same, place] = True
    return expected, alpha, z, drift


def expect_ratio(past_x, past_n, n):
    """Expected x in n and its alpha, where x is a part of n; NaN where too little of the past is known."""
    x, of, known = _weeks(past_x, past_n)
    with np.errstate(divide="ignore", invalid="ignore"):
        overall = x.sum((1, 2)) / of.sum((1, 2))
        index = (x.sum(1) + _PULL) / (overall[:, None] * of.sum(1) + _PULL)
        weight = of * index[:, None, :]
        mean = x.sum((1, 2)) / weight.sum((1, 2))
        lately = weight[:, -4:].sum((1, 2))
        # Where nothing was counted in four weeks, the level is that of all eight.
        level = np.where(lately > 0, x[:, -4:].sum((1, 2)) / lately, mean)
    expected = np.maximum(n * index[:, 0] * level, _FLOOR)
    return _sufficient(expected, _dispersion(x, weight * mean[:, None, None], known), known)


def expect_count(past_x):
    """The expected count and its alpha; NaN where too little of the past is known."""
    x, _, known = _weeks(past_x, past_x)
    days, seen = known.sum(1), known.any(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        weekday = np.where(days > 0, x.sum(1) / days, 0.0)
        usual = weekday.sum(1, keepdims=True) / (days > 0).sum(1, keepdims=True)
        index = np.where(days > 0, (WEEKS * weekday + _PULL) / (WEEKS * usual + _PULL), 1.0)
        level = np.where(seen, x.sum(2) / (known * index[:, None, :]).sum(2), 0.0)
        smooth = _with_neighbours(level) / _with_neighbours(seen)
        last = level[:, -2:].sum(1) / seen[:, -2:].sum(1)
    expected = np.maximum(last * index[:, 0], _FLOOR)
    alpha = _dispersion(x, smooth[:, :, None] * index[:, None, :], known)
    # The level is itself an estimate, from two weeks.
    alpha = alpha + 1 / (14 * np.maximum(last, 1)) + 1 / np.maximum(x[:, -2:].sum((1, 2)), 1)
    return _sufficient(expected, alpha, known)


def score(x, expected, alpha):
    """The signed root of the deviance of x (McCullagh & Nelder 1989), in standard deviations widened by alpha."""
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(x == 0, 0.0, x * np.log(x / expected)) - (x - expected)
        return np.sign(x - expected) * np.sqrt(np.maximum(2 * gain, 0.0) / (1 + alpha * expected))


def band(expected, alpha):
    """The x whose scores are -3 and +3; the lower one is 0 where even 0 scores higher.

    With u = x / expected the score is ±3 where u ln u - u + 1 = c. That curve is
    convex, steeper than (u - 1)²/2 below 1 and flatter above: from 1 ± sqrt(2c)
    Newton's steps close in from one side.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        c = _needed(expected, alpha)
        high, low = 1 + np.sqrt(2 * c), np.maximum(1 - np.sqrt(2 * c), 1e-12)
        for _ in range(24):
            high = high - (high * np.log(high) - high + 1 - c) / np.log(high)
            low = low - (low * np.log(low) - low + 1 - c) / np.log(low)
    return np.where(c >= 1, 0.0, low) * expected, high * expected


def outage_days(expected, alpha):
    """How many days like this one an outage must last until their sum shows it: 1 where a day does.

    Days count as independent: the square of the score of a sum of k days is k times that of one.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.ceil(_needed(expected, alpha))


def _needed(expected, alpha):
    """The square of the limit by the square of an outage's score: above 1 not even an outage is seen."""
    return LIMIT**2 * (1 + alpha * expected) / (2 * expected)


def _weeks(past_x, past_n):
    """x and n as series × week × weekday with 0 for the unknown, and which are known."""
    x, n = (np.asarray(past, float).reshape(len(past), WEEKS, 7) for past in (past_x, past_n))
    known = np.isfinite(x) & np.isfinite(n)
    return np.where(known, x, 0.0), np.where(known, n, 0.0), known


def _with_neighbours(weeks):
    """Each week with the week before and after it, summed."""
    total = weeks.astype(float)
    total[:, 1:] += weeks[:, :-1]
    total[:, :-1] += weeks[:, 1:]
    return total


def _dispersion(x, mean, known):
    """alpha of the past: from the median score, and from their standard deviation where that is larger but not wild."""
    known = known.reshape(len(x), PAST)
    days = known.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        z = ((x - mean) / np.sqrt(np.maximum(mean, 0.05))).reshape(len(x), PAST)
        centre = np.where(known, z, 0.0).sum(1) / days
        sd = np.sqrt((np.where(known, z - centre[:, None], 0.0) ** 2).sum(1) / days)
        # Unknown days are sorted behind the known ones, in whose middle lies the median.
        ranked = np.sort(np.where(known, np.abs(z), np.inf), axis=1)
        middle = np.stack([days - 1, days], axis=1).clip(0) // 2
        s = np.maximum(np.take_along_axis(ranked, middle, axis=1).mean(1) / 0.6745, 1.0)
        s = np.maximum(s, np.minimum(sd, 1.5 * s))
        usual = np.where(known, mean.reshape(len(x), PAST), 0.0).sum(1) / days
        return np.maximum((s**2 - 1) / np.maximum(usual, 0.05), 0.0)


def _sufficient(expected, alpha, known):
    """Both, with NaN where too little of the past is known."""
    enough = (known.sum((1, 2)) >= _KNOWN) & (known[:, :, 0].sum(1) >= _KNOWN_ALIKE)
    enough &= np.isfinite(expected) & np.isfinite(alpha)
    return np.where(enough, expected, np.nan), np.where(enough, alpha, np.nan)
