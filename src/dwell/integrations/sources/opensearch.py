"""Candidates from an index of OpenSearch, by words or by vectors."""

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
from dwell.retrieval.sources import FEATURE_OF, Embed, Request

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

__all__ = ["connect", "text_source", "vector_source"]

_SPACES: Final = ("cosinesimil", "innerproduct", "l2", "l1")
#: The same text for the same copies of the shards, whose deleted documents differ: scores of one query are repeatable.
_PREFERENCE: Final = "dwell"


def connect(url: str, *, login: tuple[str, str] | None = None, timeout_s: float = 5.0) -> OpenSearch:
    """Return a client of an OpenSearch, for the sources; it is the caller's to close.

    Args:
        url: https://host:9200, or http on this very machine; without a password.
        login: Name and password.
        timeout_s: Longest wait for an answer, s; nothing is asked twice.

    Raises:
        MissingDependencyError: opensearch-py is not installed.
        ConfigError: Another address.
    """
    address = checked_address(
        url, asked="OpenSearch", field="url", hint="Give https://host:9200, and login=(name, password)."
    )
    timeout = checks.within(timeout_s, "timeout_s", 1e-3, 3_600.0)
    return _library().OpenSearch([address], http_auth=login, timeout=timeout, max_retries=0)  # type: ignore[no-any-return]


def text_source(
    client: OpenSearch,
    index: str,
    *,
    fields: Sequence[str],
    id_field: str | None = None,
    text_field: str | None = None,
    metadata_fields: Sequence[str] = (),
    name: str = "opensearch",
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
        MissingDependencyError: opensearch-py is not installed.
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
    client: OpenSearch,
    index: str,
    *,
    field: str,
    space_type: Literal["cosinesimil", "innerproduct", "l2", "l1"] = "cosinesimil",
    dim: int | None = None,
    embed: Embed | None = None,
    id_field: str | None = None,
    text_field: str | None = None,
    metadata_fields: Sequence[str] = (),
    name: str = "opensearch_vectors",
    feature: str | None = None,
) -> IndexSource:
    """Return a source that searches by vectors of a knn_vector field, engine lucene or faiss.

    Its number is what `_score` was made of: the cosine, the inner product, or 1 / (1 + distance).

    Args:
        client: The client; it stays the caller's to close.
        index: Name of an index or alias.
        field: The field of the vectors.
        space_type: As the field's mapping has it.
        dim: Dimension of the vectors; where it is not given, OpenSearch refuses others.
        embed: Turns queries into vectors, for those who pass none.
        id_field: Field that holds the documents' ids; `_id` when not given.
        text_field: Field for `Found.text`.
        metadata_fields: Fields for `Found.metadata`.
        name: What the source is called.
        feature: What its number is called; by the space when not given.

    Raises:
        MissingDependencyError: opensearch-py is not installed.
        ConfigError: Another space.
    """
    space, scale = similarity_of(space_type, _SPACES, "space_type")

    def body(asked: Request, vector: list[float]) -> Body:
        knn: Body = {"vector": vector, "k": asked.k}
        if asked.filters:
            knn["filter"] = {"bool": {"filter": filter_clauses(asked)}}
        return {"query": {"knn": {field: knn}}}

    return IndexSource(
        _asking(client, index),
        body,
        reading=Reading(id_field, text_field, tuple(metadata_fields)),
        scale=scale,
        vectors=Vectors(space, embed, dim),
        name=name,
        feature=feature or FEATURE_OF[space],
    )


def _asking(client: OpenSearch, index: str) -> Callable[[Body], Any]:
    library = _library()

    def ask(body: Body) -> Any:  # noqa: ANN401 - what the server sends
        try:
            return client.search(index=index, body=body, params={"preference": _PREFERENCE})
        except library.exceptions.OpenSearchException as error:
            why = f"{type(error).__name__} {getattr(error, 'status_code', '')}".rstrip()
            raise StorageError(
                f"OpenSearch could not be searched: {why}",
                code="source_failed",
                hint="Check the address, the rights of the user, the index and its fields.",
            ) from error

    return ask


def _library() -> Any:  # noqa: ANN401 - a module
    try:
        import opensearchpy
    except ImportError as error:
        raise MissingDependencyError(
            "candidates from OpenSearch need opensearch-py", hint="pip install 'dwell[opensearch]'"
        ) from error
    return opensearchpy
