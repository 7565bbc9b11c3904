"""Attribution: who gets the credit for a conversion, under several models at once.

A *path* is the touches of one person before one conversion, inside the
look-back (see `perfnb.journey`). A *model* distributes every conversion and its
value over the touchpoints of its path. Conversions without a touch keep the row
"(no touch)" under every model, so credit adds up to the conversions in the events.
"""

from perfnb.attribution.chain import markov, removal_effects
from perfnb.attribution.compare import compare, distance
from perfnb.attribution.rules import MODELS, rules

__all__ = ["MODELS", "compare", "distance", "markov", "removal_effects", "rules"]
