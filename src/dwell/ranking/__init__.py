"""Score documents, draw a ranking, and say how likely it was."""

from dwell.ranking.explaining import contributions, kendall_tau, order_of, standardised_contributions
from dwell.ranking.exposure import (
    Exposure,
    deterministic_exposure,
    expected_exposure,
    rank_marginals,
    sampled_rankings,
)
from dwell.ranking.policy import Drawn, conditional_propensities, draw_ranking, policy_scores, score_spread
from dwell.ranking.seeds import named_generator

__all__ = [
    "Drawn",
    "Exposure",
    "conditional_propensities",
    "contributions",
    "deterministic_exposure",
    "draw_ranking",
    "expected_exposure",
    "kendall_tau",
    "named_generator",
    "order_of",
    "policy_scores",
    "rank_marginals",
    "sampled_rankings",
    "score_spread",
    "standardised_contributions",
]
