"""Candidates from a collection of Qdrant."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dwell.errors import ConfigError, DwellError, MissingDependencyError, StorageError
from dwell.records import checks
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

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

__all__ = ["QdrantSource"]

_SPACES: Final[Mapping[str, Space]] = {"Cosine": "cosine", "Dot": "dot", "Euclid": "l2", "Manhattan": "l1"}
#: Paths that Qdrant reads without quotes. Source: its documentation, "Filtering", nested keys.
_FIELD: Final = re.compile(r"[\w-]+(\.[\w-]+)*")


class QdrantSource:
    """Documents of a Qdrant collection by their vectors; as safe from several threads as the client is.

    Qdrant reports cosine and inner product as they are, and of Euclid and Manhattan the distance, smaller is better:
    these come as 1 / (1 + distance).

    Args:
        client: The client; it stays the caller's to close.
        collection: Name of the collection.
        vector: Name of the vector in collections that have several.
        id_field: Field of the payload that holds the documents' ids; the point's own id when not given. Of several
            points of one document the best counts.
        text_field: Field of the payload for `Found.text`.
        embed: Turns queries into vectors, for those who pass none.
        timeout_s: Longest time that the server is given, whole seconds.
        name: What the source is called.
        feature: What its number is called; by the collection's distance when not given.

    Raises:
        MissingDependencyError: qdrant-client is not installed.
        ConfigError: The collection has no such vector.
        StorageError: Qdrant does not answer, or has no such collection.
    """

    def __init__(
        self,
        client: QdrantClient,
        collection: str,
        *,
        vector: str | None = None,
        id_field: str | None = None,
        text_field: str | None = None,
        embed: Embed | None = None,
        timeout_s: int = 5,
        name: str = "qdrant",
        feature: str | None = None,
    ) -> None:
        self._models = _models()
        self._client: QdrantClient | None = client
        self._collection, self._vector = collection, vector
        self._id_field, self._text_field = id_field, text_field
        self._embed = embed
        self._timeout_s = checks.positive_integer(timeout_s, "timeout_s", most=3_600)
        self._space, self._dim = self._described(client)
        self._name, self._features = checked_name(name), checks.feature_names([feature or FEATURE_OF[self._space]])

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
        """Return the nearest documents; see `CandidateSource.search`. Filters name fields of the payload."""
        asked = read_request(query, k, filters)
        if self._client is None:
            raise closed(self._name)
        vector = vector_of(asked.query, query_embedding, space=self._space, embed=self._embed, dim=self._dim)
        wanted = self._filter(asked.filters)
        try:
            points = self._client.query_points(
                self._collection,
                query=vector,
                using=self._vector,
                query_filter=wanted,
                limit=asked.k,
                with_payload=True,
                timeout=self._timeout_s,
            ).points
        except Exception as error:  # the client raises ValueError, httpx' errors, and several of its own
            raise _failed(error) from error
        found = [self._found(point) for point in points if math.isfinite(point.score)]
        return best_first(found, asked.k, self._features)

    def close(self) -> None:
        """Let no more searches in; the client stays open."""
        self._client = None

    def _described(self, client: QdrantClient) -> tuple[Space, int]:
        """Return how the collection compares its vectors, and how many numbers they have."""
        try:
            given: Any = client.get_collection(self._collection).config.params.vectors
        except Exception as error:  # see `search`
            raise _failed(error) from error
        params = given.get(self._vector) if isinstance(given, Mapping) and self._vector is not None else given
        if params is None or isinstance(params, Mapping) or (self._vector is not None and params is given):
            raise ConfigError(
                "the collection has no such vector",
                field="vector",
                value=self._vector,
                hint=f"It has {sorted(given)}." if isinstance(given, Mapping) else "Leave vector= out: it has one.",
            )
        return _SPACES[str(getattr(params.distance, "value", params.distance))], int(params.size)

    def _filter(self, filters: Mapping[str, Sequence[Any]]) -> Any:  # noqa: ANN401 - a model of the client's
        models = self._models
        if not filters:
            return None
        wrong = next((field for field in filters if _FIELD.fullmatch(field) is None), None)
        if wrong is not None:
            raise ConfigError(
                "this is no field of a payload",
                field="filters",
                value=wrong,
                hint="Give letters, digits, - and _; a dot leads into an object.",
            )
        return models.Filter(
            must=[
                models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))
                for field, values in filters.items()
            ]
        )

    def _found(self, point: Any) -> Found:  # noqa: ANN401 - a model of the client's
        payload = dict(point.payload or {})
        doc = point.id if self._id_field is None else payload.get(self._id_field)
        if doc is None:
            raise StorageError(
                f"point {point.id} has no {self._id_field!r} in its payload",
                code="source_failed",
                hint="Check id_field=.",
            )
        score = float(point.score)
        value = nearness(score) if self._space in {"l2", "l1"} else score
        text = payload.get(self._text_field, "") if self._text_field is not None else ""
        return Found(str(doc), {self._features[0]: value}, str(text), payload)


def _models() -> Any:  # noqa: ANN401 - a module
    try:
        from qdrant_client import models
    except ImportError as error:
        raise MissingDependencyError(
            "candidates from Qdrant need qdrant-client", hint="pip install 'dwell[qdrant]'"
        ) from error
    return models


def _failed(error: Exception) -> Exception:
    if isinstance(error, DwellError):
        return error
    return StorageError(
        f"Qdrant could not be searched: {type(error).__name__}: {error}",
        code="source_failed",
        hint="Is it running, and is the collection there?",
    )
