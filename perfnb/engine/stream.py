"""Rows in the order of persons, from one sort, in arrays: for counts that an engine would sort for several times."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from perfnb.errors import PerfnbError

ROWS = 250_000  # in a part, about


def streams(engine):
    """Whether an engine gives its rows in order, part by part."""
    return getattr(engine, "batches", None) is not None


def whole_persons(engine, sql):
    """The result of a statement sorted by `person` and `k`, in parts {column: array}, cut where a person ends."""
    rest = None
    for part in engine.batches(sql, ROWS):
        if rest is not None:
            part = {name: np.concatenate([rest[name], column]) for name, column in part.items()}
        person, k = part["person"], part["k"]
        if ((person[1:] < person[:-1]) | ((person[1:] == person[:-1]) & (k[1:] < k[:-1]))).any():
            raise PerfnbError(
                f"{engine.name} gave the events of persons in no order. Read the table with another engine"
            )
        ends = np.flatnonzero(person[1:] != person[:-1])
        cut = ends[-1] + 1 if ends.size else 0
        if cut:
            yield {name: column[:cut] for name, column in part.items()}
        rest = {name: column[cut:] for name, column in part.items()}
    if rest is not None and rest["person"].size:
        yield rest


def mapped(function, parts):
    """`function` of each part, in their order; two at a time, since numpy lets others work while it counts."""
    with ThreadPoolExecutor(2) as workers:
        waiting = deque()
        for part in parts:
            waiting.append(workers.submit(function, part))
            if len(waiting) > 2:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
