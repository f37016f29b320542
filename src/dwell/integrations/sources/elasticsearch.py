"""Candidates from an index of Elasticsearch, by words or by vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from dwell.errors import MissingDependencyError, StorageError
from dwell.integrations.addresses import checked_address
from dwell.integrations.sources.search_api import (
    Body,
    IndexSource,
    Reading,
    Vectors,
    filter_clauses,
    similarity_of,
    text_query,
)
from dwell.records import checks
from dwell.retrieval.sources import FEATURE_OF, MAX_K, Embed, Request

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

__all__ = ["connect", "text_source", "vector_source"]

_SIMILARITIES: Final = ("cosine", "dot_product", "l2_norm", "max_inner_product")
#: The same text for the same copies of the shards, whose deleted documents differ: scores of one query are repeatable.
_PREFERENCE: Final = "dwell"
#: Candidates of each shard for each document that is asked for: the default of Elasticsearch itself, and at least 100.
_CANDIDATES_PER_K: Final = 1.5


def connect(
    url: str, *, login: tuple[str, str] | None = None, api_key: str | None = None, timeout_s: float = 5.0
) -> Elasticsearch:
    """Return a client of an Elasticsearch, for the sources; it is the caller's to close.

    Args:
        url: https://host:9200, or http on this very machine; without a password.
        login: Name and password.
        api_key: A key in place of `login`.
        timeout_s: Longest wait for an answer, s; nothing is asked twice.

    Raises:
        MissingDependencyError: elasticsearch is not installed.
        ConfigError: Another address.
    """
    address = checked_address(
        url, asked="Elasticsearch", field="url", hint="Give https://host:9200, and api_key= or login=(name, password)."
    )
    timeout = checks.within(timeout_s, "timeout_s", 1e-3, 3_600.0)
    return _library().Elasticsearch(  # type: ignore[no-any-return]
        [address], basic_auth=login, api_key=api_key, request_timeout=timeout, max_retries=0
    )


def text_source(
    client: Elasticsearch,
    index: str,
    *,
    fields: Sequence[str],
    id_field: str | None = None,
    text_field: str | None = None,
    metadata_fields: Sequence[str] = (),
    name: str = "elasticsearch",
    feature: str = "bm25",
) -> IndexSource:
    """Return a source that searches by words; its number is `_score`, BM25 unless the index says otherwise.

    Args:
        client: The client; it stays the caller's to close.
        index: Name of an index or alias.
        fields: Fields to search, at least one; "title^2" counts twice. Of several the best counts.
        id_field: Field that holds the documents' ids; `_id` when not given.
        text_field: Field for `Found.text`.
        metadata_fields: Fields for `Found.metadata`.
        name: What the source is called.
        feature: What its number is called.

    Raises:
        MissingDependencyError: elasticsearch is not installed.
        RecordError: There is no field to search.
    """
    searched = list(checks.feature_names(fields))
    return IndexSource(
        _asking(client, index),
        lambda asked, _: text_query(asked, searched),
        reading=Reading(id_field, text_field, tuple(metadata_fields)),
        scale="as_is",
        vectors=None,
        name=name,
        feature=feature,
    )


def vector_source(
    client: Elasticsearch,
    index: str,
    *,
    field: str,
    similarity: Literal["cosine", "dot_product", "l2_norm", "max_inner_product"] = "cosine",
    dim: int | None = None,
    embed: Embed | None = None,
    id_field: str | None = None,
    text_field: str | None = None,
    metadata_fields: Sequence[str] = (),
    name: str = "elasticsearch_vectors",
    feature: str | None = None,
) -> IndexSource:
    """Return a source that searches by vectors of a dense_vector field, element type float.

    Its number is what `_score` was made of: the cosine, the inner product, or 1 / (1 + distance).

    Args:
        client: The client; it stays the caller's to close.
        index: Name of an index or alias.
        field: The field of the vectors.
        similarity: As the field's mapping has it.
        dim: Dimension of the vectors; where it is not given, Elasticsearch refuses others.
        embed: Turns queries into vectors, for those who pass none.
        id_field: Field that holds the documents' ids; `_id` when not given.
        text_field: Field for `Found.text`.
        metadata_fields: Fields for `Found.metadata`.
        name: What the source is called.
        feature: What its number is called; by the similarity when not given.

    Raises:
        MissingDependencyError: elasticsearch is not installed.
        ConfigError: Another similarity.
    """
    space, scale = similarity_of(similarity, _SIMILARITIES, "similarity")

    def body(asked: Request, vector: list[float]) -> Body:
        n_candidates = min(max(100, round(_CANDIDATES_PER_K * asked.k)), MAX_K)
        knn: Body = {"field": field, "query_vector": vector, "k": asked.k, "num_candidates": n_candidates}
        if asked.filters:
            knn["filter"] = filter_clauses(asked)
        return {"knn": knn}

    return IndexSource(
        _asking(client, index),
        body,
        reading=Reading(id_field, text_field, tuple(metadata_fields)),
        scale=scale,
        vectors=Vectors(space, embed, dim),
        name=name,
        feature=feature or FEATURE_OF[space],
    )


def _asking(client: Elasticsearch, index: str) -> Callable[[Body], Any]:
    library = _library()

    def ask(body: Body) -> Any:  # noqa: ANN401 - what the server sends
        try:
            return client.search(index=index, body=body, preference=_PREFERENCE).body
        except (library.ApiError, library.TransportError) as error:
            why = f"{type(error).__name__} {getattr(error, 'status_code', '')}".rstrip()
            raise StorageError(
                f"Elasticsearch could not be searched: {why}",
                code="source_failed",
                hint="Check the address, the rights of the user, the index and its fields.",
            ) from error

    return ask


def _library() -> Any:  # noqa: ANN401 - a module
    try:
        import elasticsearch
    except ImportError as error:
        raise MissingDependencyError(
            "candidates from Elasticsearch need elasticsearch", hint="pip install 'dwell[elasticsearch]'"
        ) from error
    return elasticsearch
