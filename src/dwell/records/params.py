"""The weights that order documents, and the frozen map of features that learned weights act on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from types import MappingProxyType
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError
from dwell.records import checks
from dwell.records.adjustments import Adjustment, LowRank, checked_segments
from dwell.records.arrays import FloatArray

__all__ = ["Params", "ParamsOrigin", "RawScore", "Transform"]

ParamsOrigin = Literal["given", "caller-order", "standardised", "learned"]
_ORIGINS: Final[tuple[str, ...]] = get_args(ParamsOrigin)

MAX_LEVEL: Final = 1e6  # standard deviations: the rank of one value among 1e300 others lies below 40
MAX_COEFFICIENT: Final = 1e12  # beyond it the starting score drowns every weight, to the last bit
_MAX_INTEGER: Final = 2**63  # what a store can keep
_KINDS: Final = ("gauss", "moments")


@dataclass(frozen=True, slots=True, eq=False)
class Transform:
    """A monotone, piecewise linear map of each feature, fitted once and never changed.

    Outside its knots a feature keeps the value of the last knot: one row of 1e12 can not ruin a score.

    Attributes:
        knots: Per feature, float64 (m_j,), strictly increasing raw values; m_j >= 1.
        levels: Per feature, float64 (m_j,), value at each knot, in standard deviations, within +-1e6.
        kind: "gauss" (rank to normal) or "moments".

    Raises:
        RecordError: Knots or levels are no such arrays, or the kind is unknown.
    """

    knots: tuple[FloatArray, ...]
    levels: tuple[FloatArray, ...]
    kind: str = "gauss"

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise _refused("unknown kind of transform", "transform.kind", self.kind, f"Use one of {list(_KINDS)}.")
        if len(self.knots) != len(self.levels):
            raise _refused(
                "knots and levels are not of equally many features",
                "transform.levels",
                len(self.levels),
                f"Give levels for each of {len(self.knots)} features.",
            )
        for j, (knots, levels) in enumerate(zip(self.knots, self.levels, strict=True)):
            _check_column(knots, levels, j)

    def apply(self, features: npt.NDArray[np.floating]) -> FloatArray:
        """Return features in standardised units, float64 of the same shape (..., f); NaN becomes 0, the mean."""
        shape = features.shape
        columns = np.array(features.reshape(-1, shape[-1]).T, dtype=np.float64, order="C")
        mapped = np.empty(columns.shape[::-1])
        for j, (knots, levels) in enumerate(zip(self.knots, self.levels, strict=True)):
            mapped[:, j] = np.interp(columns[j], knots, levels)
        if np.isnan(mapped).any():
            mapped = np.nan_to_num(mapped, nan=0.0)
        return mapped.reshape(shape)


def _refused(message: str, field: str, value: object, hint: str, *, code: str = "params_bounds") -> RecordError:
    return RecordError(message, code=code, field=field, value=value, hint=hint)


def _check_column(knots: FloatArray, levels: FloatArray, j: int) -> None:
    """Refuse what is not a piecewise linear map of feature number j."""
    pair: tuple[tuple[str, object], ...] = (("knots", knots), ("levels", levels))
    for name, values in pair:
        field = f"transform.{name}[{j}]"
        if not isinstance(values, np.ndarray) or values.dtype != np.float64 or values.ndim != 1 or not values.size:
            raise _refused(
                f"{name} are a float64 array of one axis with at least one value",
                field,
                values,
                "Fit it with dwell.learning.fit_transform.",
                code="type",
            )
        if not np.isfinite(values).all():
            raise _refused(f"{name} are finite", field, values, "Leave NaN and infinities out.", code="non_finite")
    if knots.size != levels.size:
        raise _refused("each knot has a level", f"transform.levels[{j}]", levels.size, f"Give {knots.size} levels.")
    if not (knots[1:] > knots[:-1]).all():
        raise _refused("knots are strictly increasing", f"transform.knots[{j}]", knots, "Sort them, each value once.")
    if np.abs(levels).max() > MAX_LEVEL:
        raise _refused(
            f"a level is outside +-{MAX_LEVEL:g}",
            f"transform.levels[{j}]",
            float(np.abs(levels).max()),
            "Levels are standard deviations.",
        )


@dataclass(frozen=True, slots=True)
class RawScore:
    """The starting ranker's own score as one more feature of a learned version.

    Attributes:
        weights: The given raw weights, in feature order, float64 (f,) as a tuple.
        mean: Mean of the raw score where the transform was fitted.
        sd: Its standard deviation there, > 0.
        coefficient: Weight of the standardised raw score, in the units of the learned weights, within +-1e12.

    Raises:
        RecordError: A number is not finite or out of range.
    """

    weights: tuple[float, ...]
    mean: float
    sd: float
    coefficient: float

    def __post_init__(self) -> None:
        # as large as they like: they are the weights that a store was begun with
        for j, weight in enumerate(self.weights):
            checks.finite(weight, f"raw_score.weights[{j}]")
        checks.finite(self.mean, "raw_score.mean")
        if not checks.finite(self.sd, "raw_score.sd") > 0.0:
            raise _refused(
                "a standard deviation is above 0", "raw_score.sd", self.sd, "Use 1 where the score is constant."
            )
        checks.within(
            self.coefficient, "raw_score.coefficient", -MAX_COEFFICIENT, MAX_COEFFICIENT, code="params_bounds"
        )


def _check_number(value: object, field: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _refused("a whole number is due here", field, value, "Pass an int.", code="type")
    if not 0 <= int(value) < _MAX_INTEGER:
        raise _refused("the number is outside [0, 2^63)", field, value, "Pass an int in that range.", code="range")


def _check_maps(transform: Transform | None, raw_score: RawScore | None, n_features: int) -> None:
    """Refuse a transform or a starting score of another type, or of another number of features."""
    if transform is not None and not isinstance(transform, Transform):
        raise _refused("a Transform is due here", "transform", transform, "Pass a Transform or None.", code="type")
    if raw_score is not None and not isinstance(raw_score, RawScore):
        raise _refused("a RawScore is due here", "raw_score", raw_score, "Pass a RawScore or None.", code="type")
    for name, n in (
        ("transform", n_features if transform is None else len(transform.knots)),
        ("raw_score", n_features if raw_score is None else len(raw_score.weights)),
    ):
        if n != n_features:
            raise _refused(
                f"the {name.replace('_', ' ')} is of another number of features",
                name,
                n,
                f"It must be of {n_features} features.",
                code="feature_schema",
            )


def _check_by_query(by_query: LowRank | None, n_weights: int) -> None:
    """Refuse weights by query of another type, or for another number of weights."""
    if by_query is None:
        return
    if not isinstance(by_query, LowRank):
        raise _refused("a LowRank is due here", "by_query", by_query, "Pass a LowRank or None.", code="type")
    if len(by_query.u) != n_weights:
        raise _refused(
            "the weights by query are for another number of weights",
            "by_query.u",
            by_query.u.shape,
            f"Give {n_weights} rows.",
            code="feature_schema",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Params:
    """One version of the ranking parameters; immutable, swapped as a whole.

    Attributes:
        version: Number of the version, in [0, 2^63).
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
        by_segment: What is added to the weights for the queries of a segment, by its name; at most 1,000 of them.
        by_query: What a query's embedding adds to the weights, or None.

    Raises:
        RecordError: A field is none of these; names field, value and remedy.
    """

    version: int
    weights: Mapping[str, float]
    temperature: float = 0.3
    transform: Transform | None = None
    raw_score: RawScore | None = None
    origin: ParamsOrigin = "given"
    parent: int | None = None
    created_at: float = 0.0
    by_segment: Mapping[str, Adjustment] = field(default_factory=dict)
    by_query: LowRank | None = None
    _vector: FloatArray = field(init=False, repr=False, compare=False)
    _raw_vector: FloatArray | None = field(init=False, repr=False, compare=False)
    _additions: Mapping[str, FloatArray] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_number(self.version, "version")
        if self.parent is not None:
            _check_number(self.parent, "parent")
        if self.origin not in _ORIGINS:
            raise _refused("unknown origin", "origin", self.origin, f"Use one of {list(_ORIGINS)}.")
        checks.finite(self.created_at, "created_at")
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
        _check_maps(self.transform, self.raw_score, len(names))
        vector = np.array(values, dtype=np.float64)
        vector.flags.writeable = False
        raw = None if self.raw_score is None else np.array(self.raw_score.weights, dtype=np.float64)
        object.__setattr__(self, "weights", MappingProxyType(dict(zip(names, values, strict=True))))
        object.__setattr__(self, "_vector", vector)
        object.__setattr__(self, "_raw_vector", raw)
        by_segment = checked_segments(self.by_segment, names) if self.by_segment else {}
        _check_by_query(self.by_query, len(names) + (self.raw_score is not None))
        object.__setattr__(self, "by_segment", MappingProxyType(by_segment))
        object.__setattr__(self, "_additions", {name: self._addition(one) for name, one in by_segment.items()})

    def _addition(self, adjustment: Adjustment) -> FloatArray:
        tail = [] if self.raw_score is None else [adjustment.coefficient]
        return np.array([*adjustment.weights.values(), *tail], dtype=np.float64)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the feature columns that `score` expects, in order."""
        return tuple(self.weights)

    @property
    def vector(self) -> FloatArray:
        """The weights as float64 (f,), read-only."""
        return self._vector

    @property
    def is_adjusted(self) -> bool:
        """Whether some queries are scored by other weights than others."""
        return bool(self._additions) or self.by_query is not None

    def shift(
        self, *, segment: str | None = None, query_embedding: npt.NDArray[np.floating] | None = None
    ) -> FloatArray | None:
        """Return what is added to the weights for one query, float64 (p,), or None where nothing is.

        Args:
            segment: The query's segment; one that has no weights of its own adds nothing.
            query_embedding: (m,) the query's embedding; without one it adds nothing.

        Raises:
            RecordError: An embedding of another size than the weights were learned with.
        """
        found = None if segment is None else self._additions.get(segment)
        if self.by_query is None or query_embedding is None:
            return found
        turned = self.by_query.shift(query_embedding)
        return turned if found is None else found + turned

    def weights_for(
        self, *, segment: str | None = None, query_embedding: npt.NDArray[np.floating] | None = None
    ) -> Mapping[str, float]:
        """Return the weights that one query is scored by, {feature: weight}; see `shift`."""
        shift = self.shift(segment=segment, query_embedding=query_embedding)
        if shift is None:
            return self.weights
        moved = self._vector + shift[: self._vector.size]
        return dict(zip(self.weights, moved.tolist(), strict=True))

    def score(
        self,
        features: npt.NDArray[np.floating],
        *,
        segment: str | None = None,
        query_embedding: npt.NDArray[np.floating] | None = None,
    ) -> FloatArray:
        """Return raw scores, float64 (..., n), for features (..., n, f) in the order of `feature_names`.

        Args:
            features: Raw feature values.
            segment: The query's segment, where the version has weights by segment.
            query_embedding: (m,) the query's embedding, where it has weights by query.

        Raises:
            RecordError: The last axis has another number of features, or the embedding another size.
        """
        shape = getattr(features, "shape", None)
        if shape is None or shape[-1:] != self._vector.shape:
            raise _refused(
                "features of another shape",
                "features",
                shape,
                f"Give an array of shape (..., {self._vector.size}), a column per feature in order.",
                code="feature_schema",
            )
        shift = self.shift(segment=segment, query_embedding=query_embedding) if self.is_adjusted else None
        vector = self._vector if shift is None else self._vector + shift[: self._vector.size]
        if self.transform is None:
            return _weighed(features, vector)
        learned: FloatArray = self.transform.apply(features) @ vector
        if self.raw_score is not None and self._raw_vector is not None:
            coefficient = self.raw_score.coefficient + (0.0 if shift is None else float(shift[-1]))
            start = _weighed(features, self._raw_vector)
            learned = learned + coefficient * ((start - self.raw_score.mean) / self.raw_score.sd)
        return learned

    def norm(self) -> float:
        """Euclidean norm of the weights, the raw score's coefficient included."""
        extra = 0.0 if self.raw_score is None else self.raw_score.coefficient
        return math.hypot(*self._vector.tolist(), extra)  # squares of large weights would overflow


def _weighed(features: npt.NDArray[np.floating], weights: FloatArray) -> FloatArray:
    """Return weighted sums of raw features; one that did not exist when the event was served adds nothing."""
    values = np.asarray(features, dtype=np.float64)
    weighed: FloatArray = values @ weights
    if np.isnan(weighed).any():
        weighed = np.nan_to_num(values) @ weights
    return weighed
