"""What the reward predictor expected of a list, told before its reward was known.

The predictor in force was fitted to events that closed before, so it has never seen the one that is closing. The number
is kept with the outcome: how surprising an event was does not change when the predictor learns from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np

from dwell.learning.predictor import Predictor
from dwell.learning.space import Space, space_for
from dwell.loop.rows import aligned_features
from dwell.records import Impression, Params
from dwell.records.arrays import FloatArray
from dwell.storage import Reader, Transaction

__all__ = ["Expected", "expected_of", "expected_rewards", "put_predictor", "stored_predictor"]

_PREDICTOR: Final = "predictor"  # setting of the tenant


class _Kept(msgspec.Struct, frozen=True):
    version: int
    beta: list[float]


class Expected(NamedTuple):
    """A predictor and the space that it lives in.

    Attributes:
        predictor: Of relevance per document.
        space: Of its features.
    """

    predictor: Predictor
    space: Space


def put_predictor(tx: Transaction, predictor: Predictor, *, version: int) -> None:
    """Keep the predictor in force.

    Args:
        tx: The transaction.
        predictor: It.
        version: A params version that carries the map of its features.
    """
    tx.put_setting(_PREDICTOR, msgspec.msgpack.encode(_Kept(version, predictor.beta.tolist())))


def stored_predictor(reader: Reader, feature_names: tuple[str, ...]) -> Expected | None:
    """Return the predictor in force, or None where nothing has been learned of these features yet."""
    body = reader.setting(_PREDICTOR)
    if not body:
        return None
    kept = msgspec.msgpack.decode(body, type=_Kept)
    return expected_of(Predictor(np.array(kept.beta)), reader.params(kept.version), feature_names)


def expected_of(predictor: Predictor, params: Params | None, feature_names: tuple[str, ...]) -> Expected | None:
    """Return a predictor in the space of a version; None where that is not there, or weighs other features."""
    if params is None or params.transform is None or params.feature_names != feature_names:
        return None
    return Expected(predictor, space_for(params, np.zeros((1, len(feature_names)), dtype=np.float32)))


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
    examined = np.concatenate([theta[:n] for n in counts if n])
    ends = np.cumsum(counts)
    totals = np.concatenate([[0.0], np.cumsum(examined * relevance)])
    sums = totals[ends] - totals[ends - np.array(counts)]
    return [float(np.clip(value, -1.0, 1.0)) if n else None for value, n in zip(sums, counts, strict=True)]
