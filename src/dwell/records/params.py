"""The weights that order documents, and the frozen map of features that learned weights act on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = ["Params", "ParamsOrigin", "RawScore", "Transform"]

ParamsOrigin = Literal["given", "caller-order", "standardised", "learned"]


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """A monotone, piecewise linear map of each feature, fitted once and never changed.

    Outside its knots a feature keeps the value of the last knot: one row of 1e12 can not ruin a score.

    Attributes:
        knots: Per feature, float64 (m_j,), strictly increasing raw values; m_j >= 1.
        levels: Per feature, float64 (m_j,), value at each knot, in standard deviations.
        kind: "gauss" (rank to normal) or "moments".
    """

    knots: tuple[FloatArray, ...]
    levels: tuple[FloatArray, ...]
    kind: str = "gauss"

    def apply(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return features in standardised units, float64 of the same shape (..., f); NaN becomes 0, the mean."""
        shape = features.shape
        # a copy always: the transpose of one row is contiguous already, and would be the caller's own memory
        columns = np.array(features.reshape(-1, shape[-1]).T, dtype=np.float64, order="C")
        for j, (knots, levels) in enumerate(zip(self.knots, self.levels, strict=True)):
            columns[j] = np.interp(columns[j], knots, levels)
        mapped = np.ascontiguousarray(columns.T).reshape(shape)
        if np.isnan(mapped).any():
            mapped = np.nan_to_num(mapped, nan=0.0)
        return mapped


@dataclass(frozen=True, slots=True)
class RawScore:
    """The starting ranker's own score as one more feature of a learned version.

    Attributes:
        weights: The given raw weights, in feature order, float64 (f,) as a tuple.
        mean: Mean of the raw score where the transform was fitted.
        sd: Its standard deviation there, > 0.
        coefficient: Weight of the standardised raw score, in the units of the learned weights.
    """

    weights: tuple[float, ...]
    mean: float
    sd: float
    coefficient: float


@dataclass(frozen=True, slots=True, eq=False)
class Params:
    """One version of the ranking parameters; immutable, swapped as a whole.

    Attributes:
        version: Number of the version, >= 0.
        weights: {feature: finite weight}, in feature order; empty where a store has registered no features. With
            `transform` None they act on raw feature values, as in the formula that the user has today; else on
            standardised values.
        temperature: Exploration temperature, >= 0.
        transform: Frozen feature map of a learned version, or None.
        raw_score: The starting ranker's score as a feature of a learned version, or None.
        origin: "given", "caller-order" (no weights yet: the caller's order is served), "standardised" (equal weights
            in standardised units) or "learned".
        parent: Version that it was learned from, or None.
        created_at: UTC epoch seconds.
    """

    version: int
    weights: Mapping[str, float]
    temperature: float = 0.3
    transform: Transform | None = None
    raw_score: RawScore | None = None
    origin: ParamsOrigin = "given"
    parent: int | None = None
    created_at: float = 0.0
    _vector: FloatArray = field(init=False, repr=False, compare=False)
    _raw_vector: FloatArray | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = checks.feature_names(self.weights) if self.weights else ()
        values = [checks.finite(self.weights[name], f"weights.{name}") for name in names]
        temperature = checks.finite(self.temperature, "temperature")
        if temperature < 0.0:
            raise RecordError(
                "a temperature is at least 0",
                code="range",
                field="temperature",
                value=temperature,
                hint="0 serves a stable sort.",
            )
        if self.transform is not None and len(self.transform.knots) != len(names):
            raise RecordError(
                "the transform maps another number of features",
                code="feature_schema",
                field="transform",
                value=len(self.transform.knots),
                hint=f"It must map {len(names)} features.",
            )
        vector = np.array(values, dtype=np.float64)
        vector.flags.writeable = False
        raw = None if self.raw_score is None else np.array(self.raw_score.weights, dtype=np.float64)
        object.__setattr__(self, "weights", MappingProxyType(dict(zip(names, values, strict=True))))
        object.__setattr__(self, "_vector", vector)
        object.__setattr__(self, "_raw_vector", raw)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the feature columns that `score` expects, in order."""
        return tuple(self.weights)

    @property
    def vector(self) -> FloatArray:
        """The weights as float64 (f,), read-only."""
        return self._vector

    def score(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return raw scores, float64 (..., n), for features (..., n, f) in the order of `feature_names`."""
        if self.transform is None:
            raw: FloatArray = np.asarray(features, dtype=np.float64) @ self._vector
            if np.isnan(raw).any():  # a feature that did not exist when the event was served adds nothing
                raw = np.nan_to_num(np.asarray(features, dtype=np.float64)) @ self._vector
            return raw
        learned: FloatArray = self.transform.apply(features) @ self._vector
        if self.raw_score is not None and self._raw_vector is not None:
            start = np.nan_to_num(np.asarray(features, dtype=np.float64)) @ self._raw_vector
            learned = learned + self.raw_score.coefficient * ((start - self.raw_score.mean) / self.raw_score.sd)
        return learned

    def norm(self) -> float:
        """Euclidean norm of the weights, the raw score's coefficient included."""
        extra = 0.0 if self.raw_score is None else self.raw_score.coefficient**2
        return math.sqrt(float(self._vector @ self._vector) + extra)
