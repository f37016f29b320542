"""Candidates from a collection of Chroma."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dwell.errors import ConfigError, MissingDependencyError, RecordError, StorageError
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
    from chromadb import Collection

__all__ = ["ChromaSource"]

_SPACES: Final[Mapping[str, Space]] = {"cosine": "cosine", "ip": "dot", "l2": "l2"}


class ChromaSource:
    """Documents of a Chroma collection by their vectors; as safe from several threads as the client is.

    Chroma reports distances, smaller is better: 1 - cosine, 1 - inner product, or the square of the Euclidean distance.
    They come as cosine, inner product, and 1 / (1 + distance), the root taken.

    Args:
        collection: The collection; the collection's own embedding function is not used.
        id_field: Field of the metadata that holds the documents' ids; Chroma's own id when not given. Of several
            entries of one document the best counts.
        embed: Turns queries into vectors, for those who pass none.
        name: What the source is called.
        feature: What its number is called; by the collection's space when not given.

    Raises:
        MissingDependencyError: chromadb is not installed.
        ConfigError: The collection compares its vectors in a way that is not known.
    """

    def __init__(
        self,
        collection: Collection,
        *,
        id_field: str | None = None,
        embed: Embed | None = None,
        name: str = "chroma",
        feature: str | None = None,
    ) -> None:
        self._errors = _errors()
        self._collection: Collection | None = collection
        self._id_field, self._embed = id_field, embed
        self._space = _space_of(collection)
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
        """Return the nearest documents; see `CandidateSource.search`. Filters name fields of the metadata."""
        asked = read_request(query, k, filters)
        if self._collection is None:
            raise closed(self._name)
        vector = vector_of(asked.query, query_embedding, space=self._space, embed=self._embed)
        wanted = _where(asked.filters)
        try:
            answer: Any = self._collection.query(
                query_embeddings=[vector],  # type: ignore[arg-type]  # a list of lists is what its documentation shows
                n_results=asked.k,
                where=wanted,
                include=["distances", "documents", "metadatas"],
            )
        except self._errors.InvalidDimensionException as error:
            raise _other_dimension(len(vector), error) from error
        except self._errors.InvalidArgumentError as error:
            if "dimension" in str(error):
                raise _other_dimension(len(vector), error) from error
            raise _failed(error) from error
        except Exception as error:  # a remote client raises httpx' errors, a local one those of its core
            raise _failed(error) from error
        rows = zip(
            answer["ids"][0], answer["distances"][0], answer["documents"][0], answer["metadatas"][0], strict=True
        )
        found = [self._found(*row) for row in rows if math.isfinite(row[1])]
        return best_first(found, asked.k, self._features)

    def close(self) -> None:
        """Let no more searches in; the client stays open."""
        self._collection = None

    def _found(self, doc: str, distance: float, text: str | None, metadata: Mapping[str, Any] | None) -> Found:
        held = dict(metadata or {})
        own = doc if self._id_field is None else held.get(self._id_field)
        if own is None:
            raise StorageError(
                f"entry {doc!r} has no {self._id_field!r} in its metadata",
                code="source_failed",
                hint="Check id_field=.",
            )
        return Found(str(own), {self._features[0]: _value(self._space, float(distance))}, text or "", held)


def _value(space: Space, distance: float) -> float:
    """Return the number that is larger for what is nearer."""
    return nearness(math.sqrt(max(distance, 0.0))) if space == "l2" else 1.0 - distance


def _where(filters: Mapping[str, Sequence[Any]]) -> Any:  # noqa: ANN401 - Chroma's own expression
    tests: list[Any] = [{field: {"$in": list(values)}} for field, values in filters.items()]
    if not tests:
        return None
    if any(field.startswith("$") for field in filters):
        raise ConfigError(
            "a field that begins with $ is an operator to Chroma",
            field="filters",
            value=list(filters),
            hint="Rename it.",
        )
    return tests[0] if len(tests) == 1 else {"$and": tests}


def _space_of(collection: Collection) -> Space:
    settings: Any = collection.configuration_json
    index = settings.get("hnsw") or settings.get("spann") or {}
    given = index.get("space", "l2")  # Chroma's own default
    if given not in _SPACES:
        raise ConfigError(
            "the collection compares its vectors in a way that is not known",
            field="collection",
            value=given,
            hint=f"Known are {sorted(_SPACES)}.",
        )
    return _SPACES[given]


def _errors() -> Any:  # noqa: ANN401 - a module
    try:
        from chromadb import errors
    except ImportError as error:
        raise MissingDependencyError(
            "candidates from Chroma need chromadb", hint="pip install 'dwell[chroma]'"
        ) from error
    return errors


def _other_dimension(n: int, error: Exception) -> RecordError:
    return RecordError(
        f"the vector has another dimension than the collection: {error}",
        code="embedding_dim",
        field="query_embedding",
        value=n,
        hint="Use one embedding model per collection.",
    )


def _failed(error: Exception) -> StorageError:
    return StorageError(
        f"Chroma could not be searched: {type(error).__name__}: {error}",
        code="source_failed",
        hint="Is it running, and is the collection there?",
    )
