"""Attribution: who gets the credit for a conversion, under several models at once.

A *path* is the touches of one person before one conversion, inside the
look-back (see `perfnb.journey`). A *model* distributes every conversion and its
value over the touchpoints of its path. Conversions without a touch keep the row
"(no touch)" under every model, so credit adds up to the conversions in the events.
"""

from perfnb.attribution.calibrate import calibrate
from perfnb.attribution.chain import markov, removal_effects
from perfnb.attribution.compare import agreement, common, compare, moves, unjoined
from perfnb.attribution.credit import credit
from perfnb.attribution.experiment import to_test
from perfnb.attribution.hazard import half_lives, hazard
from perfnb.attribution.order import choose_order
from perfnb.attribution.probability import probabilistic, variability
from perfnb.attribution.roles import roles
from perfnb.attribution.rules import MODELS, RULES, rules
from perfnb.attribution.score import score
from perfnb.attribution.shapley import shapley, shapley_ordered

__all__ = [
    "MODELS",
    "RULES",
    "agreement",
    "calibrate",
    "choose_order",
    "common",
    "compare",
    "credit",
    "half_lives",
    "hazard",
    "markov",
    "moves",
    "probabilistic",
    "removal_effects",
    "roles",
    "rules",
    "score",
    "shapley",
    "shapley_ordered",
    "to_test",
    "unjoined",
    "variability",
]
