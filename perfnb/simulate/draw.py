"""Draw the people and their candidate events: all randomness that may change an outcome.

Only uniform numbers are drawn; every other law is a table. A stream of uniforms is
the same on every platform and numpy, which the samples in the repository rely on.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from perfnb.simulate.rules import DAY, VISIT, Rules
from perfnb.simulate.world import SEGMENTS

QUESTIONS = ("accept", "move", "click", "fail", "value")  # each candidate has a uniform number for each


@dataclass(frozen=True)
class People:
    """One chunk of people, as arrays; the one with most candidates stands first."""

    number: np.ndarray  # their number in the whole shop
    segment: np.ndarray
    need: np.ndarray
    device: np.ndarray
    country: np.ndarray
    stage: np.ndarray  # at the start

    @property
    def size(self) -> int:
        return self.number.size

    @property
    def kind(self):
        """Index of need and segment, as in Rules."""
        return self.need.astype(np.int32) * len(SEGMENTS) + self.segment

    def only(self, keep):
        return People(*(getattr(self, name)[keep] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Candidates:
    """What may happen to a chunk of people: first the first candidate of each, then the second, ..."""

    blocks: np.ndarray  # where the first, second, ... candidates begin; and the end
    who: np.ndarray  # position in People
    mark: np.ndarray
    time: np.ndarray  # seconds since the start
    accept: np.ndarray  # the rest are uniform numbers, each for one question
    move: np.ndarray
    click: np.ndarray
    fail: np.ndarray
    value: np.ndarray

    def only(self, keep):
        """The candidates of those people only, renumbered."""
        mine = np.flatnonzero(keep[self.who])
        position = np.cumsum(keep) - 1
        columns = (getattr(self, name)[mine] for name in ("mark", "time", *QUESTIONS))
        blocks = np.searchsorted(mine, self.blocks)
        return Candidates(blocks, position[self.who[mine]], *columns)


def pick(shares, u):
    """Index by share, for uniform numbers."""
    edges = np.cumsum(shares)
    return np.searchsorted(edges[:-1] / edges[-1], u, side="right").astype(np.int8)


def _quantiles():
    return np.array([NormalDist().inv_cdf((k + 0.5) / 4096) for k in range(4096)])


_NORMAL = _quantiles()


def normal(u):
    """Standard normal numbers out of uniform ones, in 4,096 steps."""
    return _NORMAL[(u * 4096).astype(np.int64)]


def draw(rules: Rules, *, first: int, size: int, rng, ceiling) -> tuple[People, Candidates]:
    """Draw people number `first` to `first + size - 1`.

    `ceiling` is a budget factor by mark: candidates that it cannot
    afford are left out. They never happen, and the others keep their numbers.
    """
    world = rules.world
    segment = pick(world.segment_share, rng.random(size))
    need = (rng.random(size) < world.need_share).astype(np.int8)
    device = pick(world.device_share, rng.random(size))
    country = pick(world.country_share, rng.random(size))
    start = np.cumsum(np.array([world.start_idle, world.start_in_need]), axis=2)[need, segment]
    stage = (rng.random(size)[:, None] >= start[:, :3]).sum(axis=1).astype(np.int8)
    people = People(np.arange(first, first + size), segment, need, device, country, stage)
    u = rng.random(size)
    count = np.zeros(size, np.int64)
    for k, law in enumerate(rules.count_of):
        mine = people.kind == k
        count[mine] = np.searchsorted(law, u[mine], side="right")

    who = np.repeat(np.arange(size, dtype=np.int32), count)
    # a person's number plus a uniform: sorted, these are everyone's times in order
    moment = np.sort(who + rng.random(who.size)) - who
    time = np.interp(moment, *rules.clock).astype(np.int32)
    time = np.minimum(time, rules.days * DAY - 3601)  # a moment rounded up to 1
    step = (rng.random(who.size, np.float32) * 65_536).astype(np.int32)
    mark = rules.mark_of.ravel()[people.kind[who] * 65_536 + step]
    uniform = {name: rng.random(who.size, np.float32) for name in QUESTIONS}

    afforded = rules.chance(ceiling).ravel()[mark.astype(np.int32) * rules.days + time // DAY]
    may = np.flatnonzero(uniform["accept"] < afforded)
    may, who, mark, time = _one_purchase_at_a_time(rules, may, who[may], mark[may], time[may])

    left = np.bincount(who, minlength=size)
    order = np.argsort(-left, kind="stable")
    position = np.empty(size, np.int64)
    position[order] = np.arange(size)
    nth = np.arange(who.size) - (np.cumsum(left) - left)[who]
    blocks = np.concatenate([[0], np.cumsum(np.bincount(nth))]) if who.size else np.array([0])
    place = np.empty(who.size, np.int64)
    place[blocks[nth] + position[who]] = np.arange(who.size)

    columns = (uniform[name][may[place]] for name in QUESTIONS)
    return people.only(order), Candidates(blocks, position[who[place]], mark[place], time[place], *columns)


def _one_purchase_at_a_time(rules, may, who, mark, time):
    """Leave out opportunities to buy that begin during the visit of the one before."""
    buys = np.flatnonzero(mark == rules.purchase)
    again = np.zeros(buys.size, bool)
    again[1:] = (who[buys][1:] == who[buys][:-1]) & (np.diff(time[buys]) < VISIT)
    keep = np.ones(who.size, bool)
    keep[buys[again]] = False
    return may[keep], who[keep], mark[keep], time[keep]
