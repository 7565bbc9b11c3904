"""Customer journeys: stages, touchpoints, paths, transitions, ends and satisfaction.

A *touch* is an event with a touchpoint label (its channel, or any other column).
A *journey* is the touches of one person up to and including a conversion, or,
after the last conversion, up to the end of the data. So every touch belongs to
one journey, and every conversion ends one; conversions at one instant end the
same journey. A conversion without a touch is the journey "(no touch)". What may
be counted otherwise, `Counting` lists.
"""

from perfnb.journey.flow import ends, frequent, transitions
from perfnb.journey.paths import BETWEEN, SEPARATOR, TRANSFORMS, path_counts, paths
from perfnb.journey.satisfaction import satisfaction
from perfnb.journey.stages import STAGES, contacts, stages
from perfnb.journey.unit import GROUP, NO_TOUCH, STEPS_SQL, Counting, journeys_sql, walks_plainly, walks_sql

__all__ = [
    "BETWEEN",
    "GROUP",
    "NO_TOUCH",
    "SEPARATOR",
    "STAGES",
    "STEPS_SQL",
    "TRANSFORMS",
    "Counting",
    "contacts",
    "ends",
    "frequent",
    "journeys_sql",
    "path_counts",
    "paths",
    "satisfaction",
    "stages",
    "transitions",
    "walks_plainly",
    "walks_sql",
]
