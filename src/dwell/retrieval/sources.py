"""Where candidates come from: one small protocol for stores of documents, and what each of them checks and gives back.

A source finds documents for a query and says by named numbers what it knows of each. It knows nothing of the loop.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, Protocol

import numpy.typing as npt

from dwell.errors import ConfigError, RecordError, StoreClosedError
from dwell.records import checks
from dwell.records.arrays import FloatArray

__all__ = [
    "FEATURE_OF",
    "MAX_K",
    "CandidateSource",
    "Embed",
    "Filters",
    "Found",
    "Request",
    "Space",
    "best_first",
    "checked_filters",
    "checked_name",
    "closed",
    "nearness",
    "read_request",
    "vector_of",
]

#: Most documents that one call asks a source for: as many as Elasticsearch and OpenSearch give by default
#: (`index.max_result_window`).
MAX_K: Final = 10_000

Space = Literal["cosine", "dot", "l2", "l1"]

#: What the number of a vector store is called. All are larger for better documents, whatever the store itself reports:
#: cosine in [-1, 1]; dot, the inner product, unbounded; l2_nearness and l1_nearness, 1 / (1 + distance), in (0, 1].
FEATURE_OF: Final[Mapping[Space, str]] = {
    "cosine": "cosine",
    "dot": "dot",
    "l2": "l2_nearness",
    "l1": "l1_nearness",
}

Filters = Mapping[str, "str | int | Sequence[str] | Sequence[int]"]


class Embed(Protocol):
    """Whatever turns a query into its vector."""

    def __call__(self, query: str, /) -> Sequence[float] | npt.NDArray[Any]:
        """Return the vector of a query, (d,)."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A document that a source found.

    Attributes:
        id: Identity of the document: 1 to 512 bytes of UTF-8 without control characters.
        features: One finite number for each name that the source declares, and no other.
        text: What the document says, or "" where the source does not hold it.
        metadata: What else the source holds of it.
    """

    id: str
    features: Mapping[str, float]
    text: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


class CandidateSource(Protocol):
    """A store of documents that can be asked for candidates; `dwell.testing.source_contract` has its promises as tests.

    `search` is safe from several threads. Who made the client behind a source closes it; `close` only ends the source,
    and closing twice is legal.
    """

    @property
    def name(self) -> str:
        """What the source is called among others, an id."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the numbers that it gives of each document."""
        ...

    def search(
        self, query: str, *, query_embedding: object = None, k: int = 50, filters: Filters | None = None
    ) -> list[Found]:
        """Return at most k documents, best first, each id once.

        Args:
            query: What is asked; any text that `Loop.rank` takes, and nothing in it is syntax.
            query_embedding: Its vector, (d,), for sources that search by one.
            k: Most documents, in [1, 10000].
            filters: {field: value or values}: only documents that have one of the values in every field.

        Raises:
            RecordError: An argument is malformed, or the vector is missing or of another dimension.
            ConfigError: The source has no such field to filter by.
            StorageError: The store could not be asked, or answered what can not be used.
        """
        ...

    def close(self) -> None:
        """End the source; a search afterwards raises StoreClosedError."""
        ...


class Request(NamedTuple):
    """One checked call of `search`.

    Attributes:
        query: Valid text.
        k: In [1, MAX_K].
        filters: {field: its values, at least one}.
    """

    query: str
    k: int
    filters: dict[str, list[str] | list[int]]


def read_request(query: object, k: object, filters: object) -> Request:
    """Return the arguments of `search`, checked.

    Raises:
        RecordError: One of them is malformed; names it.
    """
    return Request(
        checks.query_text(query), checks.positive_integer(k, "k", most=MAX_K), checked_filters(filters or {})
    )


def checked_filters(filters: object) -> dict[str, list[str] | list[int]]:
    """Return filters with the values of each field in a list.

    Raises:
        RecordError: No mapping, a field without values, or a value that is neither text nor a whole number.
    """
    if not isinstance(filters, Mapping):
        raise RecordError(
            "filters are a mapping", code="type", field="filters", value=filters, hint="Pass {'lang': 'en'}."
        )
    found: dict[str, list[str] | list[int]] = {}
    for name, given in filters.items():
        path = f"filters.{checks.identifier(name, 'filters')}"
        values = [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
        kinds = {type(value) for value in values}
        if kinds not in ({str}, {int}):
            raise RecordError(
                "a field is filtered by text or by whole numbers",
                code="type",
                field=path,
                value=given,
                hint="Pass one value, or a list of one kind that is not empty.",
            )
        found[name] = [checks.query_text(value, path) if isinstance(value, str) else value for value in values]
    return found


def vector_of(
    query: str, query_embedding: object, *, space: Space, embed: Embed | None = None, dim: int | None = None
) -> list[float]:
    """Return the vector that a query is searched by, (d,).

    Args:
        query: The query.
        query_embedding: Its vector, or None: then `embed` makes it.
        space: How the store compares; a vector of zeros has no cosine.
        embed: Turns queries into vectors.
        dim: Dimension of the store, where it is known.

    Raises:
        RecordError: There is no vector, or it is not finite, of another dimension, or all zeros where cosines are due.
    """
    given = query_embedding
    if given is None:
        if embed is None:
            raise RecordError(
                "a source of vectors is asked by a vector",
                code="embedding_dim",
                field="query_embedding",
                value=None,
                hint="Pass query_embedding=, or make the source with embed=.",
            )
        given = embed(query)
    vector: FloatArray = checks.embedding(given, dim=dim)
    if space == "cosine" and not vector.any():
        raise RecordError(
            "a vector of zeros has no cosine with anything",
            code="embedding_dim",
            field="query_embedding",
            value="zeros",
            hint="Leave the source out where a query has no vector.",
        )
    listed: list[float] = vector.tolist()
    return listed


def nearness(distance: float) -> float:
    """Return 1 / (1 + distance) in (0, 1]: larger is nearer, and 0, which none has, is infinitely far."""
    return 1.0 / (1.0 + max(distance, 0.0))  # rounding takes a squared distance below 0


def best_first(found: Iterable[Found], k: int, features: tuple[str, ...]) -> list[Found]:
    """Return at most k documents by the first feature, best first, ties by id; of equal ids the best stays.

    Raises:
        RecordError: An id is not legal, or a feature is missing, not declared or not finite.
    """
    checked = [_checked(one, features) for one in found]
    unique: dict[str, Found] = {}
    for one in sorted(checked, key=lambda one: (-one.features[features[0]], one.id)):
        unique.setdefault(one.id, one)
    return list(unique.values())[:k]


def _checked(one: Found, features: tuple[str, ...]) -> Found:
    checks.identifier(one.id, "id")
    if one.features.keys() != set(features):
        raise RecordError(
            "a source gives exactly the features that it declares",
            code="feature_schema",
            field=one.id,
            value=sorted(one.features),
            hint=f"Due are {sorted(features)}.",
        )
    for name, value in one.features.items():
        if not math.isfinite(value):
            raise RecordError("the feature is not finite", code=f"non_finite:{name}", field=one.id, value=value)
    return one


def closed(name: str) -> StoreClosedError:
    """Return the error of a source that is asked after its end."""
    return StoreClosedError(f"the source {name!r} was closed", hint="Make it anew.")


def checked_name(name: object) -> str:
    """Return the name of a source.

    Raises:
        ConfigError: It is no legal id.
    """
    try:
        found = checks.identifier(name, "name")
    except RecordError as error:
        raise ConfigError(error.message, field="name", value=name, hint=error.hint) from error
    return found
