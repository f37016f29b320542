"""What the reward predictor expected of a list, told before its reward was known.

The predictor in force was fitted to events that closed before, so it has never seen the one that is closing. The number
is kept with the outcome: how surprising an event was does not change when the predictor learns from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from dwell.learning.calibration import Observed, Recalibration, fit_recalibration
from dwell.learning.predictor import Predictor
from dwell.learning.space import Space, space_for
from dwell.loop.rows import aligned_features
from dwell.records import Impression, Params
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow
from dwell.storage import Reader, Transaction

__all__ = ["Expected", "expected_of", "expected_rewards", "put_predictor", "recalibration_of", "stored_predictor"]

_PREDICTOR: Final = "predictor"  # setting of the tenant
_AT_ONCE: Final = 256  # events mapped together


class _Kept(msgspec.Struct, frozen=True):
    version: int
    beta: list[float]
    knots: list[float] = []
    values: list[float] = []


class Expected(NamedTuple):
    """A predictor and the space that it lives in.

    Attributes:
        predictor: Of relevance per document.
        space: Of its features.
        recalibration: The map over its predictions, or None where they are taken as they are.
    """

    predictor: Predictor
    space: Space
    recalibration: Recalibration | None = None


def put_predictor(
    tx: Transaction, predictor: Predictor, *, version: int, recalibration: Recalibration | None = None
) -> None:
    """Keep the predictor in force.

    Args:
        tx: The transaction.
        predictor: It.
        version: A params version that carries the map of its features.
        recalibration: The map over its predictions, if there is one.
    """
    kept = _Kept(version, predictor.beta.tolist())
    if recalibration is not None:
        kept = msgspec.structs.replace(kept, knots=recalibration.knots.tolist(), values=recalibration.values.tolist())
    tx.put_setting(_PREDICTOR, msgspec.msgpack.encode(kept))


def stored_predictor(reader: Reader, feature_names: tuple[str, ...]) -> Expected | None:
    """Return the predictor in force, or None where nothing has been learned of these features yet."""
    body = reader.setting(_PREDICTOR)
    if not body:
        return None
    kept = msgspec.msgpack.decode(body, type=_Kept)
    recalibration = Recalibration(np.array(kept.knots), np.array(kept.values)) if kept.knots else None
    return expected_of(Predictor(np.array(kept.beta)), reader.params(kept.version), feature_names, recalibration)


def expected_of(
    predictor: Predictor,
    params: Params | None,
    feature_names: tuple[str, ...],
    recalibration: Recalibration | None = None,
) -> Expected | None:
    """Return a predictor in the space of a version; None where that is not there, or weighs other features."""
    if params is None or params.transform is None or params.feature_names != feature_names:
        return None
    space = space_for(params, np.zeros((1, len(feature_names)), dtype=np.float32))
    return Expected(predictor, space, recalibration)


def recalibration_of(
    rows: Sequence[EventRow], params: Params, folds: tuple[Predictor, Predictor], theta: FloatArray
) -> Recalibration | None:
    """Return the map that brings predictions nearest to what came of these events, or None where nothing was looked at.

    Each query is predicted by the fold that never saw it.

    Args:
        rows: Closed events, at least one.
        params: A version that carries the map of the predictors' features.
        folds: Predictors fitted to queries of fold 0 and of fold 1.
        theta: float64 (k,), examination per position.
    """
    space = space_for(params, np.zeros((1, len(params.feature_names)), dtype=np.float32))
    parts = []
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        counts = [min(row.n_kept, theta.size) for row in some]
        phi = space.phi(np.concatenate([row.features[:n] for row, n in zip(some, counts, strict=True)]))
        other = np.repeat([1 - row.query_hash % 2 for row in some], counts)
        predicted = np.where(other == 1, folds[1].predict(phi), folds[0].predict(phi))
        rewards = np.concatenate([row.rewards[:n] for row, n in zip(some, counts, strict=True)])
        parts.append((predicted, rewards, np.concatenate([theta[:n] for n in counts])))
    predicted, rewards, examined = (np.concatenate(column) for column in zip(*parts, strict=True))
    is_seen = examined > 0.0
    if not is_seen.any():
        return None
    log = Observed(predicted[is_seen], rewards[is_seen], examined[is_seen], np.ones(int(is_seen.sum())))
    return fit_recalibration(log)


def expected_rewards(
    expected: Expected, impressions: Sequence[Impression], theta: FloatArray, *, most: int
) -> list[float | None]:
    """Return the list reward to expect of each impression, in [-1, 1]; None where it logged no features.

    Args:
        expected: The predictor in force.
        impressions: What was served.
        theta: float64 (k,), examination per position.
        most: Documents per list that are learned from; deeper ones are not counted.
    """
    names = expected.space.feature_names
    counts = [min(len(i.served), len(i.documents), most, theta.size) if i.has_features else 0 for i in impressions]
    if not any(counts):
        return [None] * len(impressions)
    features = np.concatenate([aligned_features(i, names)[:n] for i, n in zip(impressions, counts, strict=True) if n])
    relevance = expected.predictor.predict(expected.space.phi(features))
    if expected.recalibration is not None:
        relevance = expected.recalibration.apply(relevance)
    examined = np.concatenate([theta[:n] for n in counts if n])
    ends = np.cumsum(counts)
    totals = np.concatenate([[0.0], np.cumsum(examined * relevance)])
    sums = totals[ends] - totals[ends - np.array(counts)]
    return [float(np.clip(value, -1.0, 1.0)) if n else None for value, n in zip(sums, counts, strict=True)]
