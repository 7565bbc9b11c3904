"""Small tables by hand, for the tests of the models."""

import importlib.util
import itertools
import shutil
from pathlib import Path

import pandas as pd
import pytest

from perfnb import workspace

SAMPLES = Path(__file__).resolve().parents[1] / "data_samples"
SHARED = Path(__file__).resolve().parents[2] / "shared"
SPARK = "spark://local[2]"
CHDB = "chdb://"
no_spark = not (importlib.util.find_spec("pyspark") and importlib.util.find_spec("sqlglot") and shutil.which("java"))
no_chdb = not (importlib.util.find_spec("chdb") and importlib.util.find_spec("sqlglot"))
ENGINES = [
    "duckdb",
    pytest.param(
        SPARK, marks=[pytest.mark.spark, pytest.mark.skipif(no_spark, reason="needs pyspark, sqlglot and java")]
    ),
    pytest.param(CHDB, marks=[pytest.mark.chdb, pytest.mark.skipif(no_chdb, reason="needs chdb and sqlglot")]),
]

# What counts as a journey, in all ways that `journey.Counting` knows.
WAYS = {
    "count": ["every", "first"],
    "repeats": ["reset", "overlap"],
    "direct": ["keep", "drop", "drop_last"],
    "nulls": ["journeys", "persons", "none"],
}
ALL_WAYS = [dict(zip(WAYS, values, strict=True)) for values in itertools.product(*WAYS.values())]


def apart(one, other, slack=1.0):
    """Whether two boxes on a chart do not touch, but for so many pixels."""
    return (
        one.x1 <= other.x0 + slack
        or other.x1 <= one.x0 + slack
        or one.y1 <= other.y0 + slack
        or other.y1 <= one.y0 + slack
    )


def shared(path):
    """A file of the public data folder beside the repository; without it the test is skipped."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"no {path} in a folder 'shared' beside the repository")
    return found


def book(engine="duckdb", optional=(), **frames):
    """A workspace of the frames."""
    return workspace.open(frames, engine=engine, optional=optional)


def events(rows, columns=("user_id", "timestamp", "event", "channel"), engine="duckdb", **more):
    """Touchpoints from tuples; a number in `timestamp` is seconds since 2025-01-01 (UTC)."""
    frame = pd.DataFrame(rows, columns=list(columns)).assign(**more)
    frame["timestamp"] = moments(frame["timestamp"])
    for name in frame:
        if frame[name].isna().all() and name not in ("timestamp", "value"):
            frame[name] = frame[name].astype("string")
    return book(engine, touchpoints=frame).touchpoints


def moments(seconds):
    """Timestamps from seconds since 2025-01-01, null where they are null."""
    return pd.Timestamp("2025-01-01") + pd.to_timedelta(pd.Series(seconds, dtype="float64"), unit="s")


def shuffled(rows, seed=0):
    """The rows in another order."""
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).itertuples(index=False, name=None)


def only(frame, **where):
    """The one row that has these values."""
    for name, value in where.items():
        frame = frame[frame[name] == value]
    assert len(frame) == 1, frame
    return frame.iloc[0]
