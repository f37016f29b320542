"""What OpenSearch and Elasticsearch have in common: the body of a `_search`, and what its answer says of documents."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from dwell.errors import ConfigError, StorageError
from dwell.records import checks
from dwell.retrieval.sources import (
    Embed,
    Filters,
    Found,
    Request,
    Space,
    best_first,
    checked_name,
    closed,
    nearness,
    read_request,
    vector_of,
)

__all__ = ["Body", "IndexSource", "Reading", "Scale", "Vectors", "filter_clauses", "similarity_of", "text_query"]

Scale = Literal["as_is", "half_shifted", "folded", "inverse_square"]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """Which parts of a hit become which parts of a document.

    Attributes:
        id_field: Field of the source that holds the documents' ids; the hit's own `_id` when None.
        text_field: Field for `Found.text`, or None.
        metadata_fields: Fields for `Found.metadata`.
    """

    id_field: str | None = None
    text_field: str | None = None
    metadata_fields: tuple[str, ...] = ()

    @property
    def source(self) -> bool | dict[str, list[str]]:
        """What `_source` asks for."""
        fields = [field for field in (self.id_field, self.text_field, *self.metadata_fields) if field is not None]
        return {"includes": sorted(set(fields))} if fields else False


@dataclass(frozen=True, slots=True)
class Vectors:
    """How a source searches by vectors.

    Attributes:
        space: What is compared.
        embed: Turns queries into vectors, for those who pass none.
        dim: Dimension of the vectors, where it is to be checked before the store is asked.
    """

    space: Space
    embed: Embed | None = None
    dim: int | None = None


class IndexSource:
    """Documents of an index of OpenSearch or Elasticsearch; as safe from several threads as the client is.

    Made by `text_source` and `vector_source` of `dwell.integrations.sources.opensearch` and `.elasticsearch`.

    Args:
        ask: Sends a body to `_search` and returns the answer; raises StorageError.
        body: Makes a body of a checked request and, for vectors, its vector.
        reading: What is read of a hit.
        scale: What the engine did to the number before it became `_score`.
        vectors: How vectors are searched by, or None where words are.
        name: What the source is called.
        feature: What its number is called.
    """

    def __init__(
        self,
        ask: Callable[[Body], Any],
        body: Callable[[Request, list[float]], Body],
        *,
        reading: Reading,
        scale: Scale,
        vectors: Vectors | None,
        name: str,
        feature: str,
    ) -> None:
        self._ask: Callable[[Body], Any] | None = ask
        self._body, self._reading, self._scale, self._vectors = body, reading, scale, vectors
        self._name, self._features = checked_name(name), checks.feature_names([feature])

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
        """Return the best documents; see `CandidateSource.search`. Filters name keyword or numeric fields."""
        asked = read_request(query, k, filters)
        ask = self._ask
        if ask is None:
            raise closed(self._name)
        vector: list[float] = []
        if self._vectors is not None:
            vector = vector_of(
                asked.query,
                query_embedding,
                space=self._vectors.space,
                embed=self._vectors.embed,
                dim=self._vectors.dim,
            )
        elif not asked.query.strip():
            return []
        answer = ask(
            {
                "size": asked.k,
                "track_total_hits": False,
                "_source": self._reading.source,
                **self._body(asked, vector),
            }
        )
        hits = answer.get("hits", {}).get("hits") if hasattr(answer, "get") else None
        if not isinstance(hits, list):
            raise StorageError(
                "the answer holds no hits", code="source_failed", hint="Is this a search engine's address?"
            )
        return best_first(map(self._found, hits), asked.k, self._features)

    def close(self) -> None:
        """Let no more searches in; the client stays open."""
        self._ask = None

    def _found(self, hit: Any) -> Found:  # noqa: ANN401 - whatever the server sends
        parts = hit if isinstance(hit, Mapping) else {}
        held, score, doc = parts.get("_source"), parts.get("_score"), parts.get("_id")
        held = held if isinstance(held, Mapping) else {}
        reading = self._reading
        if reading.id_field is not None:
            doc = _at(held, reading.id_field)
        if doc is None or isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise StorageError("a hit has no id or no score", code="source_failed", hint="Check id_field=.")
        text = "" if reading.text_field is None else _at(held, reading.text_field)
        metadata = {field: _at(held, field) for field in reading.metadata_fields}
        return Found(str(doc), {self._features[0]: _unscaled(self._scale, float(score))}, str(text or ""), metadata)


def text_query(asked: Request, fields: Sequence[str]) -> Body:
    """Return the part of a body that searches by words: any of them in any of the fields, the best field counts."""
    words = {"multi_match": {"query": asked.query, "fields": list(fields)}}
    return {"query": {"bool": {"must": [words], "filter": filter_clauses(asked)}}}


def filter_clauses(asked: Request) -> list[Body]:
    """Return one clause for each field that is filtered by."""
    return [{"terms": {field: list(values)}} for field, values in asked.filters.items()]


_SIMILARITIES: Final[Mapping[str, tuple[Space, Scale]]] = {
    # Elasticsearch, `similarity` of dense_vector: (1 + x) / 2, 1 / (1 + d^2), and for any inner product `folded`
    "cosine": ("cosine", "half_shifted"),
    "dot_product": ("dot", "half_shifted"),
    "l2_norm": ("l2", "inverse_square"),
    "max_inner_product": ("dot", "folded"),
    # OpenSearch, `space_type` of knn_vector with the engines lucene and faiss; the same formulas
    "cosinesimil": ("cosine", "half_shifted"),
    "l2": ("l2", "inverse_square"),
    "innerproduct": ("dot", "folded"),
    "l1": ("l1", "as_is"),  # 1 / (1 + d) already
}


def similarity_of(given: str, known: Sequence[str], field: str) -> tuple[Space, Scale]:
    """Return what a similarity compares, and how the engine scales it.

    Raises:
        ConfigError: It is none of those that the engine knows.
    """
    if given not in known:
        raise ConfigError("unknown similarity", field=field, value=given, hint=f"Use one of {list(known)}.")
    return _SIMILARITIES[given]


def _unscaled(scale: Scale, score: float) -> float:
    """Return the number that the engine made `_score` of, or its nearness where it was a distance.

    Source: Elasticsearch reference, "Dense vector field type", parameter `similarity`; OpenSearch documentation,
    "Spaces".
    """
    if scale == "half_shifted":  # (1 + x) / 2
        return 2.0 * score - 1.0
    if scale == "folded":  # 1 + x above 0, 1 / (1 - x) below: a score is never negative
        return score - 1.0 if score >= 1.0 else 1.0 - 1.0 / max(score, sys.float_info.min)
    if scale == "inverse_square":  # 1 / (1 + d^2)
        return nearness(math.sqrt(max(1.0 / max(score, sys.float_info.min) - 1.0, 0.0)))
    return score


def _at(held: Mapping[str, Any], path: str) -> Any:  # noqa: ANN401 - whatever the document holds
    """Return the value of a field whose name may lead into objects: "author.name"."""
    if path in held:
        return held[path]
    found: Any = held
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
