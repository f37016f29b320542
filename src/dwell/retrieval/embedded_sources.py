"""Candidates by vectors that lie in memory, and those of the embedded retriever: sources that need nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.retrieval.retriever import Retriever
from dwell.retrieval.sources import (
    FEATURE_OF,
    Embed,
    Filters,
    Found,
    Space,
    best_first,
    checked_name,
    closed,
    nearness,
    read_request,
    vector_of,
)

__all__ = ["RetrieverSource", "VectorSource"]

_MAX_ROWS: Final = 1_000_000  # exact search reads all: 10^6 rows of 96 floats are 384 MB a query


class VectorSource:
    """Documents by exact search among vectors in memory; safe from several threads.

    Args:
        ids: n document ids, each once.
        vectors: (n, d) finite numbers.
        space: "cosine", "dot", "l2" or "l1".
        embed: Turns queries into vectors, for those who pass none.
        texts: {id: text}, where there are any.
        metadata: {id: {field: value}}; these can be filtered by.
        name: What the source is called.
        feature: What its number is called; by the space when not given.

    Raises:
        ConfigError: The arrays do not fit together, or hold what is not finite.
    """

    def __init__(
        self,
        ids: Sequence[str],
        vectors: npt.ArrayLike,
        *,
        space: Space = "cosine",
        embed: Embed | None = None,
        texts: Mapping[str, str] | None = None,
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
        name: str = "vectors",
        feature: str | None = None,
    ) -> None:
        if space not in FEATURE_OF:
            raise ConfigError("unknown space", field="space", value=space, hint=f"Use one of {list(FEATURE_OF)}.")
        matrix = np.asarray(vectors, dtype=np.float32)
        if matrix.ndim != 2 or len(matrix) != len(ids) or len(ids) > _MAX_ROWS or not matrix.shape[1]:
            raise ConfigError(
                f"vectors have shape {matrix.shape}, due is one row for each of {len(ids)} ids",
                field="vectors",
                value=matrix.shape,
                hint=f"At most {_MAX_ROWS} rows: beyond, use a store with an index.",
            )
        if not np.isfinite(matrix).all():
            raise ConfigError("a vector is not finite", field="vectors", value="not finite", hint="Check the model.")
        self._ids = _different(ids)
        self._name, self._features = checked_name(name), checks.feature_names([feature or FEATURE_OF[space]])
        self._space: Space = space
        self._embed, self._texts, self._metadata = embed, texts or {}, metadata or {}
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        # a document of zeros has no direction: its cosine with anything is 0
        self._matrix = matrix / np.where(norms > 0.0, norms, 1.0) if space == "cosine" else matrix
        self._is_closed = False

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._name

    @property
    def features(self) -> tuple[str, ...]:
        """The name of its one number."""
        return self._features

    def search(
        self, query: str, *, query_embedding: object = None, k: int = 50, filters: Filters | None = None
    ) -> list[Found]:
        """Return the nearest documents; see `CandidateSource.search`."""
        asked = read_request(query, k, filters)
        if self._is_closed:
            raise closed(self._name)
        known = {field for held in self._metadata.values() for field in held} if asked.filters else set()
        unknown = next((field for field in asked.filters if field not in known), None)
        if unknown is not None and len(self._ids):
            raise ConfigError(
                "the source has no such field to filter by", field="filters", value=unknown, hint=f"There are {known}."
            )
        vector = vector_of(
            asked.query, query_embedding, space=self._space, embed=self._embed, dim=self._matrix.shape[1]
        )
        scores = self._scores(np.array(vector))
        rows = np.flatnonzero([self._is_wanted(doc, asked.filters) for doc in self._ids]) if asked.filters else None
        chosen = np.argsort(-(scores if rows is None else scores[rows]), kind="stable")[: asked.k]
        found = (self._found(int(row), scores) for row in (chosen if rows is None else rows[chosen]))
        return best_first(found, asked.k, self._features)

    def close(self) -> None:
        """Let no more searches in."""
        self._is_closed = True

    def _scores(self, vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self._space in {"cosine", "dot"}:
            asked = vector / np.linalg.norm(vector) if self._space == "cosine" else vector
            products = (self._matrix @ asked.astype(np.float32)).astype(np.float64)
            return np.clip(products, -1.0, 1.0) if self._space == "cosine" else products
        order = 2 if self._space == "l2" else 1
        distances = np.linalg.norm(self._matrix - vector.astype(np.float32), ord=order, axis=1)
        return np.array([nearness(distance) for distance in distances.tolist()])

    def _is_wanted(self, doc: str, filters: Mapping[str, Sequence[object]]) -> bool:
        held = self._metadata.get(doc, {})
        return all(held.get(field) in values for field, values in filters.items())

    def _found(self, row: int, scores: npt.NDArray[np.float64]) -> Found:
        doc = self._ids[row]
        return Found(
            doc, {self._features[0]: float(scores[row])}, self._texts.get(doc, ""), dict(self._metadata.get(doc, {}))
        )


class RetrieverSource:
    """The embedded retriever as a source: all of its features, best first in its own fused order.

    Args:
        retriever: Whose documents are searched; it stays the caller's to close.
        name: What the source is called.
    """

    def __init__(self, retriever: Retriever, *, name: str = "embedded") -> None:
        self._retriever = retriever
        self._name = checked_name(name)
        self._is_closed = False

    @property
    def name(self) -> str:
        """What the source is called."""
        return self._name

    @property
    def features(self) -> tuple[str, ...]:
        """The names of `dwell.retrieval.FEATURE_NAMES`."""
        return self._retriever.names

    def search(
        self,
        query: str,
        *,
        query_embedding: object = None,  # noqa: ARG002 - the protocol's; the retriever has vectors of its own
        k: int = 50,
        filters: Filters | None = None,
    ) -> list[Found]:
        """Return the retriever's candidates; see `CandidateSource.search`. Its documents have no fields to filter by.

        Raises:
            ConfigError: Any filter is given.
        """
        asked = read_request(query, k, filters)
        if self._is_closed:
            raise closed(self._name)
        if asked.filters:
            raise ConfigError(
                "the embedded retriever's documents have no fields to filter by",
                field="filters",
                value=list(asked.filters),
                hint="Leave the filters out, or keep the documents in another store.",
            )
        candidates = self._retriever.search(asked.query, asked.k)
        rows = candidates.features.tolist()
        return [
            Found(doc, dict(zip(candidates.names, row, strict=True)), *self._shown(doc))
            for doc, row in zip(candidates.ids, rows, strict=True)
        ]

    def close(self) -> None:
        """Let no more searches in; the retriever stays open."""
        self._is_closed = True

    def _shown(self, doc: str) -> tuple[str, dict[str, Any]]:
        document = self._retriever.document(doc)
        return ("", {}) if document is None else (document.body, {"title": document.title})


def _different(ids: Sequence[str]) -> list[str]:
    try:
        found = checks.identifiers(ids, "ids") if ids else []
    except RecordError as error:
        raise ConfigError(error.message, field=error.field, value=error.value, hint=error.hint) from error
    if len(set(found)) < len(found):
        raise ConfigError("two documents share an id", field="ids", value=len(found), hint="Make ids unique.")
    return found
