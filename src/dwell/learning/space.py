"""The space in which weights are learned: standardised features, and the starting ranker's own score.

The policy divides by the spread of the scores, so only the direction of the weights means anything: params are kept at
norm 1 here, and steps and trust regions are measured on that sphere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from dwell.activation import FEATURES
from dwell.learning.transform import fit_transform
from dwell.records import Adjustment, LowRank, Params, RawScore, Transform
from dwell.records.arrays import FloatArray

__all__ = ["Space", "equal_weights", "natural_columns", "space_for"]


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """A frozen map from raw features to what weights are learned on.

    Attributes:
        feature_names: Names of the raw columns.
        transform: The feature map.
        raw_weights: float64 (f,), the starting ranker's raw weights, or None where there was none.
        raw_mean: Mean of its score where the space was fitted.
        raw_sd: Standard deviation of its score there, > 0.
    """

    feature_names: tuple[str, ...]
    transform: Transform
    raw_weights: FloatArray | None = None
    raw_mean: float = 0.0
    raw_sd: float = 1.0

    @property
    def size(self) -> int:
        """Number of weights."""
        return len(self.feature_names) + (self.raw_weights is not None)

    def phi(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return standardised features (..., p), the starting ranker's score last, for raw features (..., f)."""
        mapped = self.transform.apply(features)
        if self.raw_weights is None:
            return mapped
        raw = np.nan_to_num(np.asarray(features, dtype=np.float64)) @ self.raw_weights
        return np.concatenate([mapped, ((raw - self.raw_mean) / self.raw_sd)[..., None]], axis=-1)

    def vector(self, params: Params) -> FloatArray:
        """Return params of this space as a unit vector, float64 (p,).

        Given raw weights are the starting ranker itself; where there is nothing yet, it is `equal_weights`.
        """
        if self.raw_weights is not None and params.raw_score is None:
            start = np.zeros(self.size)
            start[-1] = 1.0
            return start
        tail = [] if params.raw_score is None else [params.raw_score.coefficient]
        vector = np.concatenate([params.vector, tail])
        norm = float(np.linalg.norm(vector))
        return vector / norm if norm > 0.0 else _equally(self.feature_names, n_more=len(tail))

    def additions(self, params: Params) -> dict[str, FloatArray]:
        """Return what params of this space add by segment, float64 (p,) each, where their weights are at norm 1.

        Nothing where they act on raw values: an addition to the starting formula has no place in this space.
        """
        norm = self._norm(params)
        found = {name: params.shift(segment=name) for name in params.by_segment} if norm else {}
        return {name: shift / norm for name, shift in found.items() if shift is not None}

    def factors(self, params: Params) -> LowRank | None:
        """Return the weights by query of params of this space, where their weights are at norm 1, or None."""
        norm = self._norm(params)
        return LowRank(params.by_query.u / norm, params.by_query.v) if params.by_query is not None and norm else None

    def _norm(self, params: Params) -> float:
        """Return the norm of params in this space; 0 where they act on raw values, or are nothing."""
        return 0.0 if params.transform is None else params.norm()

    def params(
        self,
        vector: FloatArray,
        additions: Mapping[str, FloatArray] = MappingProxyType({}),
        factors: LowRank | None = None,
        *,
        version: int,
        parent: Params,
        created_at: float,
    ) -> Params:
        """Return a learned version at norm 1.

        Args:
            vector: (p,) weights that are not all zero.
            additions: Per segment, (p,) what is added for it to weights at norm 1.
            factors: What a query's embedding adds to weights at norm 1, or None.
            version: Its number.
            parent: What it was learned from.
            created_at: UTC epoch seconds.
        """
        unit = vector / np.linalg.norm(vector)
        weights = unit[: len(self.feature_names)]
        raw = None
        if self.raw_weights is not None:
            raw = RawScore(tuple(self.raw_weights.tolist()), self.raw_mean, self.raw_sd, float(unit[-1]))
        return Params(
            version=version,
            weights=dict(zip(self.feature_names, weights.tolist(), strict=True)),
            temperature=parent.temperature,
            transform=self.transform,
            raw_score=raw,
            origin="learned",
            parent=parent.version,
            created_at=created_at,
            by_segment={name: self._adjustment(shift) for name, shift in additions.items()},
            by_query=factors,
        )

    def _adjustment(self, shift: FloatArray) -> Adjustment:
        n = len(self.feature_names)
        weights = dict(zip(self.feature_names, shift[:n].tolist(), strict=True))
        return Adjustment(weights, float(shift[n]) if self.raw_weights is not None else 0.0)


def natural_columns(feature_names: Sequence[str]) -> list[int]:
    """Return which features are taken in their own unit: activation, in nats."""
    return [j for j, name in enumerate(feature_names) if name == FEATURES[0]]


def space_for(live: Params, features: npt.NDArray[np.floating]) -> Space:
    """Return the space in which successors of the live params are learned.

    A version that carries a transform keeps it, so that the successor starts exactly where the live params are; else
    one is fitted to these rows. A feature that the transform knows as a constant, because it came later or did not vary
    then, is mapped anew where it varies now and has no weight: no score changes, and it can be learned from.

    Args:
        live: The params in force.
        features: (n, f) raw features of documents seen, n >= 1.
    """
    if live.transform is not None:
        raw, transform = live.raw_score, _with_new_columns(live, live.transform, features)
        if raw is None:
            return Space(live.feature_names, transform)
        return Space(live.feature_names, transform, np.array(raw.weights), raw.mean, raw.sd)
    transform = fit_transform(features, natural=natural_columns(live.feature_names))
    if live.origin != "given":
        return Space(live.feature_names, transform)
    scores = np.nan_to_num(np.asarray(features, dtype=np.float64)) @ live.vector
    sd = float(scores.std())
    return Space(live.feature_names, transform, live.vector, float(scores.mean()), sd if sd > 0.0 else 1.0)


def _with_new_columns(live: Params, known: Transform, features: npt.NDArray[np.floating]) -> Transform:
    """Return the transform with a map for each column that it holds for constant, that varies here, of weight 0."""
    waiting = [
        j
        for j, (knots, weight) in enumerate(zip(known.knots, live.vector, strict=True))
        if knots.size == 1 and weight == 0.0 and not _is_adjusted(live, j)
    ]
    if not waiting or not len(features):
        return known
    natural = natural_columns([live.feature_names[j] for j in waiting])
    fitted = fit_transform(features[:, waiting], kind=known.kind, natural=natural)
    knots, levels = list(known.knots), list(known.levels)
    for at, j in enumerate(waiting):
        if fitted.knots[at].size > 1:
            knots[j], levels[j] = fitted.knots[at], fitted.levels[at]
    return Transform(tuple(knots), tuple(levels), known.kind)


def _is_adjusted(params: Params, j: int) -> bool:
    """Return whether some queries give feature number j another weight than others."""
    if params.by_query is not None and params.by_query.u[j].any():
        return True
    return any(one.weights[params.feature_names[j]] for one in params.by_segment.values())


def equal_weights(feature_names: tuple[str, ...], transform: Transform, *, parent: Params, created_at: float) -> Params:
    """Return equal weights of norm 1 in standardised units: what is served when nobody gave a starting formula.

    Activation has none: it says nothing before anybody reacted. Where there is nothing else, it orders by itself.
    """
    return Params(
        version=parent.version + 1,
        weights=dict(zip(feature_names, _equally(feature_names).tolist(), strict=True)),
        temperature=parent.temperature,
        transform=transform,
        origin="standardised",
        parent=parent.version,
        created_at=created_at,
    )


def _equally(feature_names: tuple[str, ...], *, n_more: int = 0) -> FloatArray:
    """Return equal weights at norm 1 of all features but the loop's own, and of as many more, (f + n_more,)."""
    counts = np.array([name not in FEATURES for name in feature_names] + [True] * n_more, dtype=np.float64)
    if not counts.any():
        counts[feature_names.index(FEATURES[0])] = 1.0
    return np.asarray(counts * float(counts.sum()) ** -0.5)
