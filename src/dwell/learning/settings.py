"""What the learner may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from dwell.errors import ConfigError
from dwell.learning.estimates import DEFAULT_RELEVANCE, RelevanceKind
from dwell.learning.predictor import DEFAULT_RIDGE
from dwell.records.adjustments import MAX_RANK

__all__ = ["OBJECTIVE_NAMES", "LearnerSettings", "NegativeExamination"]

NegativeExamination = Literal["clicks", "shown"]

OBJECTIVE_NAMES: Final = ("lambda_loss", "pairwise", "pdgd", "pl_rank")  # `protocol.OBJECTIVES`, above, and PDGD


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerSettings:
    """What the learner may do.

    Attributes:
        objective: What is climbed: "pl_rank" (expected list reward), "lambda_loss" or "pairwise", or "pdgd", which
            learns on-line, from what the live params drew alone; docs/learners.md.
        relevance: Estimate of what a document is worth; docs/relevance.md has a card for each.
        trust_bias: Whether what is seen is also believed for its position: clicks are corrected by the affine model.
        trust_relevant: How often a relevant document that is looked at is clicked, in (0, 1]; read with `trust_bias`.
        trust_irrelevant: How often an irrelevant one at the first position is, in [0, trust_relevant); at position k it
            is 1 / min(k, 10) of that. Read with `trust_bias`.
        negative_weight: What a certain dislike costs, in certain clicks, in [0, 100].
        negative_examination: "clicks" (dislikes depend on the position as clicks do) or "shown" (whoever dislikes has
            read it, at whatever position).
        step_size: Adam's step, in (0, 1], in units of weights at norm 1.
        online_step_size: In the loop, the step per list of "pdgd", in (0, 1].
        n_samples: Rankings sampled per list and step, 1 to 1,024.
        l2: Pull towards the live params, >= 0.
        ridge: Ridge of the reward predictor, >= 0.
        max_step_norm: Largest distance of a proposal from the live params, both at norm 1, in (0, 2].
        max_weight: Bound on every weight at norm 1, in (0, 1]; one that is beyond it in the live params may not grow.
        segment_weights: Whether segments with enough events learn weights of their own; docs/learners.md.
        query_rank: Rank of the weights by the query's embedding, 0 (none) to 8; docs/learners.md.
    """

    objective: str = "pl_rank"
    relevance: RelevanceKind = DEFAULT_RELEVANCE
    trust_bias: bool = False
    trust_relevant: float = 0.98  # Vardasbi, Oosterhuis, de Rijke 2020, section 5: at the first position
    trust_irrelevant: float = 0.65  # the same: .65 / min(k, 10)
    negative_weight: float = 1.0
    negative_examination: NegativeExamination = "clicks"
    step_size: float = 0.003  # gated-loop study: Adam .003 did no harm from 500 to 10,000 events
    online_step_size: float = 0.1  # Oosterhuis and de Rijke 2018, section 5
    n_samples: int = 16
    l2: float = 0.01
    ridge: float = DEFAULT_RIDGE
    max_step_norm: float = 1.0  # 60 degrees on the unit sphere; docs/experiments.md has the distances seen
    max_weight: float = 1.0
    segment_weights: bool = False
    query_rank: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("step_size", 0.0, 1.0),
            ("online_step_size", 0.0, 1.0),
            ("n_samples", 0.0, 1024.0),
            ("max_step_norm", 0.0, 2.0),
            ("max_weight", 0.0, 1.0),
            ("trust_relevant", 0.0, 1.0),
        ):
            self._check(low < getattr(self, name) <= high, name, f"a learner setting is outside ({low:g}, {high:g}]")
        for name, choices in (
            ("objective", OBJECTIVE_NAMES),
            ("relevance", get_args(RelevanceKind)),
            ("negative_examination", get_args(NegativeExamination)),
        ):
            self._check(getattr(self, name) in choices, name, f"unknown {name}", f"Use one of {list(choices)}.")
        for name in ("l2", "ridge"):
            self._check(0.0 <= getattr(self, name) < np.inf, name, "a learner setting is negative or not finite")
        for name in ("trust_bias", "segment_weights"):
            self._check(isinstance(getattr(self, name), bool), name, "true or false is due here", "Use True.")
        rank: object = self.query_rank
        is_rank = isinstance(rank, int) and not isinstance(rank, bool) and 0 <= rank <= MAX_RANK
        self._check(is_rank, "query_rank", f"a rank is a whole number from 0 to {MAX_RANK}", "0 learns none.")
        for name in ("segment_weights", "query_rank"):
            is_plain = self.objective != "pdgd" or not getattr(self, name)
            self._check(is_plain, name, "pdgd learns one vector of weights", "Choose another learner.objective.")
        is_below = 0.0 <= self.trust_irrelevant < self.trust_relevant
        self._check(is_below, "trust_irrelevant", "an irrelevant document is clicked less often than a relevant one")
        self._check(0.0 <= self.negative_weight <= 100.0, "negative_weight", "a learner setting is outside [0, 100]")

    def _check(self, is_legal: bool, name: str, message: str, hint: str = "Correct the setting.") -> None:  # noqa: FBT001 - reads as a sentence
        if not is_legal:
            raise ConfigError(message, field=f"learner.{name}", value=getattr(self, name), hint=hint)
