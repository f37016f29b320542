"""What a version adds to its weights for some queries alone: by segment, and by the query's embedding.

Both are additions in the space of the weights: on raw feature values where a version has no transform, else on
standardised ones. A segment that is not named, and a query without an embedding, add nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = ["MAX_RANK", "MAX_SEGMENTS", "Adjustment", "LowRank", "checked_segments", "unit_rows"]

MAX_RANK: Final = 8  # beyond it there is a weight per direction of the queries: what rank is there to prevent
MAX_SEGMENTS: Final = 1_000  # a version stays for ever: with 300 features it is 2.4 MB at most
_MOST: Final = 1e12  # as of the starting score's coefficient: beyond it nothing else counts, to the last bit


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What is added to the weights for one segment.

    Attributes:
        weights: {feature: finite addition}, within +-1e12; features that are not named get 0.
        coefficient: Addition to the coefficient of the starting ranker's score, within +-1e12.

    Raises:
        RecordError: No mapping of names to such numbers.
    """

    weights: Mapping[str, float]
    coefficient: float = 0.0

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Mapping):
            raise RecordError(
                "additions are a mapping of features to numbers",
                code="type",
                field="by_segment.weights",
                value=self.weights,
                hint="Pass {feature: number}.",
            )
        names = checks.feature_names(self.weights) if self.weights else ()
        values = {name: _addition(self.weights[name], f"by_segment.weights.{name}") for name in names}
        object.__setattr__(self, "weights", MappingProxyType(values))
        object.__setattr__(self, "coefficient", _addition(self.coefficient, "by_segment.coefficient"))


def _addition(value: object, field: str) -> float:
    return checks.within(value, field, -_MOST, _MOST, code="params_bounds")


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """What a query's embedding adds to the weights, U (V^T e), with e at norm 1.

    Attributes:
        u: float64 (p, r), a row per weight, that of the starting ranker's score last where there is one; 1 <= r <= 8.
        v: float64 (m, r), a row per number of an embedding.

    Raises:
        RecordError: Not two finite matrices of one rank, within +-1e12.
    """

    u: FloatArray
    v: FloatArray

    def __post_init__(self) -> None:
        factors: tuple[tuple[str, object], ...] = (("u", self.u), ("v", self.v))
        for name, given in factors:
            field = f"by_query.{name}"
            if not isinstance(given, np.ndarray) or given.dtype != np.float64 or given.ndim != 2 or not given.size:
                raise RecordError(
                    "a factor is a float64 matrix", code="type", field=field, value=given, hint="Pass (rows, rank)."
                )
            if not np.isfinite(given).all():
                raise RecordError(
                    "a factor is finite", code="non_finite", field=field, value=given.shape, hint="Learn it again."
                )
            if np.abs(given).max() > _MOST:
                raise RecordError(
                    f"a factor is within +-{_MOST:g}",
                    code="params_bounds",
                    field=field,
                    value=float(np.abs(given).max()),
                    hint="Scale the features instead.",
                )
            own = given.copy()
            own.flags.writeable = False
            object.__setattr__(self, name, own)
        if self.u.shape[1] != self.v.shape[1] or self.u.shape[1] > MAX_RANK:
            raise RecordError(
                f"both factors are of one rank, 1 to {MAX_RANK}",
                code="params_bounds",
                field="by_query",
                value=(self.u.shape[1], self.v.shape[1]),
                hint="Pass u (p, r) and v (m, r).",
            )

    @property
    def rank(self) -> int:
        """Number of directions, r."""
        return int(self.u.shape[1])

    def shift(self, embedding: npt.NDArray[np.floating]) -> FloatArray:
        """Return what an embedding adds, float64 (p,); its norm has no meaning, and one of zeros adds nothing.

        Raises:
            RecordError: The embedding has another size, or is not finite.
        """
        e = checks.embedding(embedding, dim=len(self.v))
        found: FloatArray = self.u @ (self.v.T @ unit_rows(e[None, :])[0])
        return found


def unit_rows(rows: FloatArray) -> FloatArray:
    """Return rows (b, m) at norm 1, those that are 0 as they are."""
    peak = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    scaled = rows / np.where(peak > 0.0, peak, 1.0)  # squares of huge or tiny entries leave float64
    norm = np.linalg.norm(scaled, axis=1, keepdims=True)
    found: FloatArray = scaled / np.where(norm > 0.0, norm, 1.0)
    return found


def checked_segments(given: object, feature_names: tuple[str, ...]) -> dict[str, Adjustment]:
    """Return additions by segment, an addition for every feature, in feature order.

    Raises:
        RecordError: No such mapping, too many segments, or an addition to a feature that has no weight.
    """
    if not isinstance(given, Mapping):
        raise RecordError(
            "additions by segment are a mapping", code="type", field="by_segment", value=given, hint="Pass a mapping."
        )
    if len(given) > MAX_SEGMENTS:
        raise RecordError(
            f"at most {MAX_SEGMENTS} segments have weights of their own",
            code="params_bounds",
            field="by_segment",
            value=len(given),
            hint="Keep those with the most events.",
        )
    found = {}
    for name, adjustment in given.items():
        checks.identifier(name, "by_segment")
        if not isinstance(adjustment, Adjustment):
            raise RecordError(
                "an Adjustment is due here",
                code="type",
                field=f"by_segment[{name!r}]",
                value=adjustment,
                hint="Pass dwell.records.Adjustment({feature: number}).",
            )
        unknown = set(adjustment.weights) - set(feature_names)
        if unknown:
            raise RecordError(
                "an addition is given to a feature that has no weight",
                code="feature_schema",
                field=f"by_segment[{name!r}]",
                value=sorted(unknown),
                hint=f"Name features among {list(feature_names)}.",
            )
        whole = {feature: adjustment.weights.get(feature, 0.0) for feature in feature_names}
        found[name] = Adjustment(whole, adjustment.coefficient)
    return found
