"""What every learner is, and those that can be asked for by name.

A learner takes the params in force and samples of lists, and returns where it would go. What it promises is shipped as
tests: `dwell.testing.learner_contract`.

* The same arguments and the same generator give the same bits; nothing that it was given is changed.
* The result has norm 1, is at most `max_step_norm` away from the start, and no weight is beyond `max_weight` in it that
  was not beyond it before, nor further than before.
* A start, a feature, a reward, an exposure or a sampling weight that is not finite is refused as a `LearningError`, and
  what is returned is always finite.
* Without samples it stays where it is.
* One that learns off-policy asks no document to leave the trust region around the safe policy.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import MappingProxyType
from typing import Final, Protocol, Unpack, runtime_checkable

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError
from dwell.learning.lambda_loss import lambda_loss
from dwell.learning.learner import Learned, LearnerCall, Lists, Objective, learn, list_reward
from dwell.learning.pairwise import pairwise_logistic
from dwell.learning.predictor import Predictor
from dwell.records.arrays import FloatArray

__all__ = ["OBJECTIVES", "Learner", "Scorer", "learner_of"]


class Learner(Protocol):
    """Where weights should go, from samples of lists; the module's docstring says what is promised."""

    def __call__(
        self,
        start: FloatArray,
        samples: Iterable[Lists],
        predictors: tuple[Predictor, Predictor],
        **call: Unpack[LearnerCall],
    ) -> Learned:
        """Return proposed weights.

        Args:
            start: (p,) the live params at norm 1.
            samples: Samples of lists, each in the learner's space.
            predictors: The direct method, fitted to queries of fold 0 and of fold 1.
            call: See `LearnerCall`.

        Raises:
            LearningError: Something was not finite, or the samples are not of a kind that it may learn from.
        """
        ...


@runtime_checkable
class Scorer(Protocol):
    """What orders documents by their raw features: params, or a challenger that is no weighted sum."""

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return the score of each document, float64 (n,), for raw features (n, f)."""
        ...


OBJECTIVES: Final[MappingProxyType[str, Objective]] = MappingProxyType(
    {"lambda_loss": lambda_loss, "pairwise": pairwise_logistic, "pl_rank": list_reward}
)


def learner_of(objective: str = "pl_rank") -> Learner:
    """Return the off-policy learner that climbs the named objective.

    Args:
        objective: One of `OBJECTIVES`.

    Raises:
        ConfigError: There is none of that name, or it is "pdgd", which learns on-line: see `pdgd.PdgdLearner`.
    """
    if objective == "pdgd":
        raise ConfigError(
            "pdgd learns on-line, from lists of one version",
            field="learner.objective",
            value=objective,
            hint="Use dwell.learning.pdgd.PdgdLearner, which has to be told the version.",
        )
    if objective not in OBJECTIVES:
        raise ConfigError(
            "unknown objective", field="learner.objective", value=objective, hint=f"Use one of {sorted(OBJECTIVES)}."
        )
    return partial(learn, objective=OBJECTIVES[objective])
