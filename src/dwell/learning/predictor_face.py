"""`RewardPredictor`: the reward to expect of a query under given params, as the founding document calls it.

A ridge regression of the list's reward on (query embedding, ranking params, 1), in closed form from sums that are
additive over experiences. What it is surprised by gets a high priority (`dwell.compute_priority`).

Source: Hoerl and Kennard 1970, "Ridge Regression: Biased Estimation for Nonorthogonal Problems".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from dwell.errors import LearningError
from dwell.learning.predictor import Predictor, PredictorSums, fit_predictor
from dwell.records import Experience, checks
from dwell.records.arrays import FloatArray

__all__ = ["RewardPredictor"]

DEFAULT_RIDGE: Final = 1.0  # the weight of one experience with a unit embedding: prior and data balance at the first


class RewardPredictor:
    """Expected reward in [-1, 1]; 0 before anything was learned.

    The dimension of the embeddings is that of the first one learned from; an empty embedding counts as zeros. Names of
    params are taken as they come; one that is absent counts as 0. Memory is 8 d^2 bytes for d inputs: 1.2 MB at 384
    dimensions, 19 MB at 1,536.

    Args:
        ridge: Weight of the pull towards 0, > 0; the intercept is not pulled.

    Raises:
        LearningError: The ridge is not above 0.
    """

    def __init__(self, *, ridge: float = DEFAULT_RIDGE) -> None:
        self._ridge = checks.finite(ridge, "ridge")
        if self._ridge <= 0.0:
            raise LearningError("a ridge is above 0", field="ridge", value=ridge, hint="Pass 1.0.")
        self._dim = 0
        self._names: tuple[str, ...] = ()
        self._sums = PredictorSums.empty(0)
        self._fitted: Predictor | None = None

    @property
    def n_learned(self) -> int:
        """Number of experiences learned from."""
        return self._sums.n

    def predict(self, query_embedding: Sequence[float], ranking_params: Mapping[str, float]) -> float:
        """Return the reward to expect, in [-1, 1].

        Args:
            query_embedding: (d,) finite floats, d as learned; or empty.
            ranking_params: {name: finite float}; names not learned from have no effect.

        Raises:
            RecordError: A number is not finite, or the embedding has another dimension.
        """
        if self._sums.n == 0:
            return 0.0
        inputs = self._inputs(query_embedding, ranking_params, self._dim, self._names)
        if self._fitted is None:
            self._fitted = fit_predictor(self._sums, ridge=self._ridge)
        return float(self._fitted.predict(inputs))

    def learn(self, experiences: Iterable[Experience]) -> None:
        """Learn from more experiences, in any order and any portions: the result is the same.

        Raises:
            RecordError: An embedding has another dimension. Nothing was learned.
        """
        given = list(experiences)
        if not given:
            return
        dim = self._dim or max(len(item.query_embedding) for item in given)
        new = {name for item in given for name in item.ranking_params} - set(self._names)
        names = (*self._names, *sorted(new))
        inputs = np.array([self._inputs(item.query_embedding, item.ranking_params, dim, names) for item in given])
        rewards = np.array([item.reward for item in given], dtype=np.float64)
        ones = np.ones(len(given))
        self._sums = self._widened(dim, names).plus(inputs, rewards, ones, ones)
        self._dim, self._names, self._fitted = dim, names, None

    def fit(self, experiences: Iterable[Experience]) -> None:
        """Forget what was learned and learn from these alone.

        Raises:
            RecordError: Two embeddings differ in dimension. What was learned before is kept.
        """
        fresh = RewardPredictor(ridge=self._ridge)
        fresh.learn(experiences)
        self._dim, self._names, self._sums, self._fitted = fresh._dim, fresh._names, fresh._sums, None

    def _widened(self, dim: int, names: tuple[str, ...]) -> PredictorSums:
        """Return the sums with inputs that were 0 in everything learned so far."""
        n_inputs = dim + len(names)
        old_inputs = self._dim + len(self._names)
        if n_inputs == old_inputs:
            return self._sums
        wide = PredictorSums.empty(n_inputs)
        # embedding first, then params, then the intercept: where the old entries stand among the new
        at = np.concatenate([np.arange(self._dim), dim + np.arange(len(self._names)), [n_inputs]]).astype(np.int64)
        gram, moment = wide.gram, wide.moment
        gram[np.ix_(at, at)] = self._sums.gram
        moment[at] = self._sums.moment
        return PredictorSums(gram, moment, self._sums.n)

    @staticmethod
    def _inputs(
        query_embedding: Sequence[float], ranking_params: Mapping[str, float], dim: int, names: tuple[str, ...]
    ) -> FloatArray:
        inputs = np.zeros(dim + len(names))
        # before any embedding was learned from, an embedding says nothing, like a name not learned from
        if dim and len(query_embedding):
            inputs[:dim] = checks.embedding(query_embedding, dim=dim)
        for i, name in enumerate(names):
            inputs[dim + i] = checks.finite(ranking_params.get(name, 0.0), f"ranking_params.{name}")
        return inputs
