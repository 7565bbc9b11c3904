"""Funnels of units (persons, unless told): how many get from step to step, under a definition that is said.

"Funnel" is a different number in every product, so each choice is a switch
with a name (see `Rule`), `PRESETS` hold those of five products, and every
result prints its definition. The default is a closed, ordered funnel: an
attempt is one event for each step, in time order (events at the same instant
may stand in either order), the last at most `within` after the first, both
ends included. A person stands at the level of the longest attempt, so counts
fall from step to step by construction.
"""

from perfnb.funnel.before_after import before_after
from perfnb.funnel.differences import differences
from perfnb.funnel.drivers import drivers
from perfnb.funnel.levers import largest_drop, levers
from perfnb.funnel.next_action import next_action
from perfnb.funnel.rule import PRESETS, Rule
from perfnb.funnel.sql import sql
from perfnb.funnel.steps import levels, mature, steps
from perfnb.funnel.survival import time_to_convert, waiting
from perfnb.funnel.times import times
from perfnb.funnel.trend import trend
from perfnb.funnel.unusual import unusual

__all__ = [
    "PRESETS",
    "Rule",
    "before_after",
    "differences",
    "drivers",
    "largest_drop",
    "levels",
    "levers",
    "mature",
    "next_action",
    "sql",
    "steps",
    "time_to_convert",
    "times",
    "trend",
    "unusual",
    "waiting",
]
