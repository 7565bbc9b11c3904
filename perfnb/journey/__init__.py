"""Customer journeys: stages, touchpoints, paths, transitions, ends and satisfaction.

A *touch* is an event with a touchpoint label (its channel, or any other column).
A *journey* is the touches of one person up to and including a conversion, or,
after the last conversion, up to the end of the data. So every touch belongs to
one journey, and every conversion ends one; conversions at one instant end the
same journey. A conversion without a touch is the journey "(no touch)". What may
be counted otherwise, `Counting` lists.
"""

from perfnb.journey.flow import ends, flows, frequent, transitions
from perfnb.journey.matrix import loops, matrix_difference, retention, step_matrix, two_groups
from perfnb.journey.paths import BETWEEN, SEPARATOR, TRANSFORMS, path_counts, paths
from perfnb.journey.satisfaction import satisfaction
from perfnb.journey.segments import personas, segments
from perfnb.journey.sessions import sessions, with_sessions
from perfnb.journey.stages import STAGES, contacts, stages
from perfnb.journey.touchmap import CYCLE, compare_cycle, emotion, map, peak_end
from perfnb.journey.unit import NO_TOUCH, Counting, journeys_sql, part_sql, sizes, walks_plainly, walks_sql

__all__ = [
    "BETWEEN",
    "CYCLE",
    "NO_TOUCH",
    "SEPARATOR",
    "STAGES",
    "TRANSFORMS",
    "Counting",
    "compare_cycle",
    "contacts",
    "emotion",
    "ends",
    "flows",
    "frequent",
    "journeys_sql",
    "loops",
    "map",
    "matrix_difference",
    "part_sql",
    "path_counts",
    "paths",
    "peak_end",
    "personas",
    "retention",
    "satisfaction",
    "segments",
    "sessions",
    "sizes",
    "stages",
    "step_matrix",
    "transitions",
    "two_groups",
    "walks_plainly",
    "walks_sql",
    "with_sessions",
]
