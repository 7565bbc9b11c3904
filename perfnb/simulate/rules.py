"""The parameters of a World as arrays, for the draw and the replay."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from perfnb.simulate.world import DEVICES, DIRECT, World

DAY = 86_400
VISIT = 1_800  # no visit lasts longer, in seconds


@dataclass(frozen=True)
class Rules:
    """A World as arrays: the marks of the world first, then hearsay, forgetting, purchase."""

    world: World
    days: int

    @cached_property
    def marks(self):
        return (*self.world.marks, self.world.hearsay, self.world.forgetting, self.world.purchase)

    @property
    def forgetting(self) -> int:
        return len(self.world.marks) + 1

    @property
    def purchase(self) -> int:
        return len(self.world.marks) + 2

    @cached_property
    def direct(self) -> int:
        return [mark.channel for mark in self.marks].index(DIRECT)

    @cached_property
    def channels(self) -> list:
        return list(dict.fromkeys(mark.channel for mark in self.world.marks))

    @cached_property
    def channel(self):
        names = [*self.channels, ""]
        return np.array([names.index(mark.channel) for mark in self.marks])

    @cached_property
    def tracked(self):
        """True for campaigns: their contacts are counted and paid for."""
        return np.array([mark.campaign is not None for mark in self.marks])

    @cached_property
    def rate(self):
        """Candidates per person over the whole time by kind of person (need, segment) and mark.

        Drawn for the stage most open to the mark and the largest budget; `accept`
        and `chance` thin them.
        """
        whole = np.array([mark.rate for mark in self.marks]) * self.capacity * self.days / 7
        return whole * self._likely.max(axis=2).T

    @cached_property
    def accept(self):
        """Chance by mark, kind and stage that a candidate happens, relative to the stage most open."""
        best = self._likely.max(axis=2, keepdims=True)
        return (self._likely / np.where(best > 0, best, 1.0)).astype(np.float32)

    @cached_property
    def _likely(self):
        table = [
            np.concatenate([both * mark.idle, both])
            for mark in self.marks
            for both in [np.outer(mark.segments, mark.accept)]
        ]
        return np.array(table)

    @cached_property
    def effect(self):
        return np.array([(*mark.effect, 0.0, 0.0) for mark in self.marks], np.float32)

    @cached_property
    def click(self):
        return np.array([mark.click for mark in self.marks], np.float32)

    @cached_property
    def visit(self):
        """Chance by mark and stage that a contact becomes a visit: a click that arrives."""
        arrives = np.where(self.tracked, self.world.click_arrives, 1.0).astype(np.float32)
        return self.click * arrives[:, None]

    @cached_property
    def budget(self):
        """Planned budget by mark and day, as a factor."""
        table = np.ones((len(self.marks), self.days))
        for m, mark in enumerate(self.marks):
            for day, factor in mark.budget:
                table[m, day:] = factor
        return table

    @cached_property
    def capacity(self):
        """Candidates are drawn for the largest budget that may be replayed."""
        return self.budget.max(axis=1) * np.where(self.tracked, self.world.headroom, 1.0)

    def chance(self, factors):
        """Share of the candidates by mark and day that these budgets (a factor by mark) can afford."""
        capacity = np.where(self.capacity > 0, self.capacity, 1.0)
        return (self.budget * factors[:, None] / capacity[:, None]).astype(np.float32)

    @cached_property
    def arrivals(self):
        """Cumulated weights of the doors by (visited before, day, mark)."""
        weight = np.array([mark.arrival for mark in self.marks])
        open_to_all = np.array([not mark.known for mark in self.marks])
        by_day = np.stack([weight * open_to_all, weight])[:, None, :] * self.budget.T[None]
        # someone decided without any door in the world: they come direct
        by_day[..., self.direct] += np.where(by_day.sum(axis=2) > 0, 0.0, 1.0)
        return np.cumsum(by_day / by_day.sum(axis=2, keepdims=True), axis=2)

    @cached_property
    def own(self):
        """Chance that a decided person comes through the mark that moved them last; last row: nothing did."""
        own = [self.world.own_arrival * mark.returns * bool(mark.channel) for mark in self.marks]
        return np.array([*own, 0.0])

    @cached_property
    def lost(self):
        return np.array([mark.lost for mark in self.marks])

    @cached_property
    def fails(self):
        """Chance by device and day that the checkout of someone decided fails."""
        table = np.full((len(DEVICES), self.days), self.world.checkout_fails)
        since, until = self.world.break_days
        table[DEVICES.index(self.world.break_device), since:until] = self.world.break_fails
        return table

    @cached_property
    def mark_of(self):
        """The mark of a candidate, by kind of person, for a uniform number in 65,536 steps."""
        steps = (np.arange(65_536) + 0.5) / 65_536
        edges = np.cumsum(self.rate, axis=1)
        rows = [np.searchsorted(row / max(row[-1], 1e-300), steps, side="right") for row in edges]
        return np.array(rows).clip(max=len(self.marks) - 1).astype(np.uint8)

    @cached_property
    def count_of(self):
        """Cumulated laws of the number of candidates, by kind: Poisson with a gamma rate is negative binomial."""
        shape, laws = self.world.media_use, []
        for mean in self.rate.sum(axis=1):
            p = (shape / (shape + mean)) ** shape
            law, k = [p], 0
            while law[-1] < 1 - 1e-10:
                p *= (k + shape) / (k + 1) * mean / (shape + mean)
                law.append(law[-1] + p)
                k += 1
            laws.append(np.array(law))
        return laws

    @cached_property
    def clock(self):
        """(cumulated intensity, second), by hour; the last hour is empty so that no visit outlasts the time."""
        days = np.arange(self.days)
        season = np.interp(days, *zip(*self.world.season, strict=True))
        daily = season * np.array(self.world.weekdays)[days % 7]
        hourly = np.outer(daily, self.world.hours).ravel()
        hourly[-1] = 0.0
        total = np.concatenate([[0.0], np.cumsum(hourly)])
        return total / total[-1], np.arange(total.size) * 3600.0
