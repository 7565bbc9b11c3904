"""What persons say of the touchpoints."""

import numpy as np

from perfnb import intervals
from perfnb.engine import label, literal
from perfnb.errors import BadParameter

SMALL = 30  # persons, below which figures are withheld
_SCALES = {"satisfaction": (1, 5), "nps": (0, 10)}


def scale_ends(scale):
    """The worst and the best score of a scale; BadParameter where there is none of that name."""
    if scale not in _SCALES:
        raise BadParameter(f"scale {scale!r}: expected {' or '.join(_SCALES)}")
    return _SCALES[scale]


def satisfaction(surveys, *, scale="satisfaction"):
    """Mean score by touchpoint: first the mean of each person, then the mean over persons.

    Returns one row per touchpoint: touchpoint, scale, answers, n (persons),
    mean with low and high (t interval, 95 %), small_n (n < 30: the figures are
    withheld).
    """
    surveys.require("user_id", "touchpoint", "score", "scale")
    scale_ends(scale)
    found = surveys.fetch(
        f"WITH answered AS (SELECT {label('touchpoint')} AS touchpoint, user_id, score "
        "FROM {table} AS source "
        f"WHERE scale = {literal(scale)} AND score IS NOT NULL AND user_id IS NOT NULL),\n"
        "person AS (SELECT touchpoint, user_id, COUNT(*) AS answers, AVG(score) AS m FROM answered "
        "GROUP BY touchpoint, user_id)\n"
        "SELECT touchpoint, SUM(answers) AS answers, COUNT(*) AS n, AVG(m) AS mean, VAR_SAMP(m) AS variance "
        "FROM person GROUP BY touchpoint ORDER BY touchpoint"
    )
    found["low"], found["high"] = intervals.mean(found["mean"], found["variance"], found["n"])
    found["small_n"] = found["n"] < SMALL
    found.loc[found["small_n"], ["mean", "low", "high"]] = np.nan
    found["scale"] = scale
    found["answers"] = found["answers"].astype(int)
    found = found.sort_values(["mean", "touchpoint"], ignore_index=True)
    return found[["touchpoint", "scale", "answers", "n", "mean", "low", "high", "small_n"]]
