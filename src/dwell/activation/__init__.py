"""ACT-R activation: what an item's history says of how likely it is needed now, in memory that does not grow with it.

Where to begin: `model` is the face. The arithmetic is `ladder` (rates and weights), `traces` (sums), `exact` and
`petrov` (the other two meanings), `rewarded` (two channels); what is kept is `table` or `histories`, and `journal` with
`capping` for what may still change (`merging` for both); `reading`, `forgetting` and `explain` are what is read of it;
`retrieval` and `blending` are the rest of the theory.
"""

from dwell.activation.blending import blended, choice_probabilities, default_temperature
from dwell.activation.capping import CapKey, counted
from dwell.activation.explain import Explanation, TimescaleShare
from dwell.activation.forgetting import Bounded, Worth, bounded, first_below, worth
from dwell.activation.instants import NEVER_US, Instant, as_us
from dwell.activation.ladder import LADDER_12, LADDER_14, LADDERS, Ladder
from dwell.activation.model import Activation
from dwell.activation.reading import FEATURES
from dwell.activation.retrieval import latency_s, mismatch, noise, noise_variance, recall_probability, spreading
from dwell.activation.rewarded import Prior, drawn_activation, need_odds
from dwell.activation.table import Changes, TraceTable

__all__ = [
    "FEATURES",
    "LADDERS",
    "LADDER_12",
    "LADDER_14",
    "NEVER_US",
    "Activation",
    "Bounded",
    "CapKey",
    "Changes",
    "Explanation",
    "Instant",
    "Ladder",
    "Prior",
    "TimescaleShare",
    "TraceTable",
    "Worth",
    "as_us",
    "blended",
    "bounded",
    "choice_probabilities",
    "counted",
    "default_temperature",
    "drawn_activation",
    "first_below",
    "latency_s",
    "mismatch",
    "need_odds",
    "noise",
    "noise_variance",
    "recall_probability",
    "spreading",
    "worth",
]
