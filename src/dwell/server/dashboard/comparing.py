"""Two versions on the same lists: how alike they order them, which lists change most, who moves where, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.errors import RecordError
from dwell.loop.rows import aligned_features
from dwell.ranking import contributions, kendall_tau, order_of, standardised_contributions
from dwell.records import Impression, Params
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["MOST_LISTS", "Changed", "Comparison", "Moved", "Row", "compared"]

MOST_LISTS: Final = 50
_MOST_CHANGED: Final = 8
_MOST_MOVED: Final = 3
_MOST_REASONS: Final = 3
_MOST_ROWS: Final = 10
_LEAST_REASON: Final = 0.005  # standard deviations: less is not seen when it is written


class Moved(NamedTuple):
    """A document that the two versions place differently.

    Attributes:
        doc: Its id.
        before: Its place under the first version, from 1.
        after: Its place under the second one.
        because: What raised or lowered it most: (feature, change of its part of the score in standard deviations).
    """

    doc: str
    before: int
    after: int
    because: tuple[tuple[str, float], ...]


class Row(NamedTuple):
    """One place of a list under both versions.

    Attributes:
        place: From 1.
        first: Who stands there under the first version.
        second: Who stands there under the second one.
    """

    place: int
    first: str
    second: str


class Changed(NamedTuple):
    """A list that the two versions order differently.

    Attributes:
        event_id: The served list.
        query: What was asked.
        served_at: UTC epoch seconds.
        n_documents: How many documents are compared.
        tau: How alike the orders are, in [-1, 1].
        moved: Who moved most, near the top first.
        rows: The tops of both orders.
    """

    event_id: str
    query: str
    served_at: float
    n_documents: int
    tau: float
    moved: tuple[Moved, ...]
    rows: tuple[Row, ...]


class Comparison(NamedTuple):
    """Two versions on the same lists.

    Attributes:
        n_lists: Lists that were compared.
        n_left_out: Lists that one of the versions can not score.
        n_same: Lists whose order is the same.
        n_first: Lists whose first result is another one.
        mean_tau: Mean of the taus, or None without lists.
        changed: The lists that change most, at most 8.
        by_feature: Mean absolute change of each feature's part, in standard deviations, largest first.
    """

    n_lists: int
    n_left_out: int
    n_same: int
    n_first: int
    mean_tau: float | None
    changed: tuple[Changed, ...]
    by_feature: tuple[tuple[str, float], ...]


class _Ordered(NamedTuple):
    order: IntArray
    parts: FloatArray


def compared(lists: Sequence[Impression], first: Params, second: Params) -> Comparison:
    """Return how two versions differ on lists whose features are kept; lists without features are passed over.

    Args:
        lists: At most `MOST_LISTS` are meant; what it costs grows with their documents.
        first: Any version.
        second: Another one, of the same features or more; each feature that one of them lacks has weight 0 there.
    """
    names = tuple(dict.fromkeys([*first.weights, *second.weights]))
    taus: list[float] = []
    found: list[tuple[float, Changed]] = []
    changes = np.zeros(len(names))
    n_first = n_left_out = 0
    for impression in lists:
        if not impression.has_features:
            continue
        try:
            one, other = _ordered(impression, first, names), _ordered(impression, second, names)
        except RecordError:  # an embedding of another size than the weights by query were learned with
            n_left_out += 1
            continue
        tau = kendall_tau(one.order, other.order)
        taus.append(tau)
        n_first += int(one.order[0] != other.order[0])
        apart = other.parts - one.parts
        changes += np.abs(apart).mean(axis=0)
        if tau < 1.0:
            found.append((tau, _changed(impression, one.order, other.order, apart, names, tau)))
    found.sort(key=lambda pair: (pair[0], -pair[1].served_at, pair[1].event_id))
    each = changes / max(len(taus), 1)
    largest = sorted(zip(names, each.tolist(), strict=True), key=lambda pair: -pair[1])
    return Comparison(
        n_lists=len(taus),
        n_left_out=n_left_out,
        n_same=len(taus) - len(found),
        n_first=n_first,
        mean_tau=float(np.mean(taus)) if taus else None,
        changed=tuple(changed for _, changed in found[:_MOST_CHANGED]),
        by_feature=tuple(pair for pair in largest if pair[1] >= _LEAST_REASON)[:_MOST_ROWS],
    )


def _ordered(impression: Impression, params: Params, names: tuple[str, ...]) -> _Ordered:
    features: npt.NDArray[np.float32] = aligned_features(impression, params.feature_names)
    added = contributions(
        params, features, segment=impression.segment, query_embedding=impression.query_embedding
    )  # fmt: skip
    parts = standardised_contributions(added)
    every = np.zeros((len(impression.documents), len(names)))
    columns = {name: j for j, name in enumerate(names)}
    every[:, [columns[name] for name in params.feature_names]] = parts
    return _Ordered(order_of(added.sum(axis=1), impression.document_scores), every)


def _changed(
    impression: Impression, one: IntArray, other: IntArray, apart: FloatArray, names: Sequence[str], tau: float
) -> Changed:
    docs = impression.documents
    before, after = np.argsort(one), np.argsort(other)
    # a step near the top is worth more than one further down: as nDCG discounts places
    worth = np.abs(1.0 / np.log2(2.0 + before) - 1.0 / np.log2(2.0 + after))
    movers = [int(i) for i in np.argsort(-worth, kind="stable")[:_MOST_MOVED] if before[i] != after[i]]
    moved = tuple(
        Moved(
            docs[i], int(before[i]) + 1, int(after[i]) + 1, _because(apart[i], names, is_up=bool(after[i] < before[i]))
        )
        for i in movers
    )
    rows = tuple(
        Row(place, docs[a], docs[b])
        for place, (a, b) in enumerate(zip(one[:_MOST_ROWS], other[:_MOST_ROWS], strict=True), start=1)
    )
    return Changed(impression.event_id, impression.query, impression.served_at, len(docs), tau, moved, rows)


def _because(apart: FloatArray, names: Sequence[str], *, is_up: bool) -> tuple[tuple[str, float], ...]:
    """Return what moved a document its way, the largest change first."""
    way = 1.0 if is_up else -1.0
    order = np.argsort(-way * apart, kind="stable")[:_MOST_REASONS]
    return tuple((names[j], float(apart[j])) for j in order if way * apart[j] >= _LEAST_REASON)
