"""What a framework's own retriever found, ordered by a loop: the part that the adapters share.

No framework is imported here: an adapter says what it found, and puts what comes back into its framework's words.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from dwell.errors import ConfigError, DwellError, RecordError
from dwell.records import Feedback, Served, checks

__all__ = [
    "EVENT_ID",
    "NOTE",
    "Found",
    "Ordered",
    "RankingLoop",
    "Reading",
    "as_identifier",
    "checked_loop",
    "content_id",
    "event_id_in",
    "ordered",
]

EVENT_ID: Final = "event_id"  # where a document or node says which list it was served in
NOTE: Final = "dwell"  # where it says the rest
_DIGEST_BYTES: Final = 16  # 2**64 documents until two of them are likely to share an id


class RankingLoop(Protocol):
    """What adapters ask of a loop: `dwell.Loop`, `dwell.Client` and a traced loop all have it."""

    def rank(
        self,
        query: str,
        candidates: Sequence[Mapping[str, Any]] | None = None,
        *,
        k: int = 10,
        user: str | None = None,
        segment: str | None = None,
        event_id: str | None = None,
    ) -> Served:
        """Return which documents to show, in which order."""

    def log_retrieval(
        self,
        query: str,
        results: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        segment: str | None = None,
        event_id: str | None = None,
    ) -> str:
        """Record a list that another ranker ordered and return its event id."""

    def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
    ) -> Feedback:
        """Return what became of one reaction, once its commit is durable."""

    def submit_feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
    ) -> Future[Feedback]:
        """Return a future of what `feedback` would answer."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How a document's features and its identity are read from what a framework knows of it.

    Attributes:
        features: The features of a candidate, by name; those registered with the loop when not given. A client must be
            told, since it would have to ask over the network.
        keys: {feature: the key of the metadata that holds it}, for those that go by another name there.
        defaults: {feature: value of a document that lacks it}. Without one, a list with a document that lacks a feature
            is served in its own order, `fallback` names the feature, and nothing is learned from the list.
        position: The feature that is the reciprocal of the position, from 1, at which the wrapped retriever had the
            document, whatever the metadata says.
        score: The feature that is the wrapped retriever's own score, where it carries one; else it is read as others.
        id_key: The key of the metadata that identifies a document, text or a whole number; the framework's own id when
            not given.

    Raises:
        ConfigError: `features` is one text.
        RecordError: A name is no feature's or stands twice, or a default is no finite number.
    """

    features: tuple[str, ...] | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, float] = field(default_factory=dict)
    position: str = "reciprocal_rank"
    score: str = "score"
    id_key: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.features, str):
            raise ConfigError(
                "features are a tuple of names",
                field="features",
                value=self.features,
                hint=f"Pass ({self.features!r},).",
            )
        if self.features is not None:
            object.__setattr__(self, "features", checks.feature_names(self.features) if self.features else ())
        for name, value in self.defaults.items():
            checks.finite(value, f"defaults.{name}")

    def names(self, loop: object) -> tuple[str, ...]:
        """Return the features of a candidate, by name.

        Raises:
            ConfigError: They are not given, and the loop is a client.
        """
        if self.features is not None:
            return self.features
        known = getattr(loop, "feature_columns", None)
        if known is None:
            raise ConfigError(
                "a client does not know the registered features",
                field="features",
                value=None,
                hint="Pass reading=Reading(features=(...)) with the features of the served loop.",
            )
        return tuple(known)

    def values(
        self, names: Sequence[str], metadata: Mapping[Any, Any], *, position: int, score: float | None = None
    ) -> dict[str, object]:
        """Return {feature: value} as far as a document has them; the loop says which value is wrong.

        Args:
            names: The features.
            metadata: What is known of the document; None counts as absent.
            position: Where the wrapped retriever had it, from 0.
            score: The wrapped retriever's own score.
        """
        found: dict[str, object] = {}
        for name in names:
            value: object = metadata.get(self.keys.get(name, name))
            if name == self.position:
                value = 1.0 / (position + 1)
            elif name == self.score and score is not None:
                value = score
            if value is None:
                value = self.defaults.get(name)
            if value is not None:
                found[name] = _plain(value)
        return found


def _plain(value: object) -> object:
    """Return numpy's numbers as Python's, since a client has to write them as JSON, and anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    try:
        return float(value)
    except OverflowError:
        return math.inf  # the loop says that it is not finite


def checked_loop(loop: object, reading: Reading) -> None:
    """Refuse what can not rank.

    Raises:
        RecordError: It is no loop.
        ConfigError: It is a client, and no features are given.
    """
    if not (callable(getattr(loop, "rank", None)) and callable(getattr(loop, "submit_feedback", None))):
        raise RecordError(
            "a dwell.Loop or a dwell.Client is due here",
            code="type",
            field="loop",
            value=type(loop).__name__,
            hint="Open one with dwell.open, or connect with dwell.Client.",
        )
    reading.names(loop)


class Found(NamedTuple):
    """One document that a retriever found.

    Attributes:
        id: Its identity, to be the same whenever it is found again; anything that is no text is refused by the loop.
        values: {feature: value}.
    """

    id: object
    values: Mapping[str, object]


class Ordered(NamedTuple):
    """The order that a loop gave to what was found.

    Attributes:
        event_id: The served list; None where the loop could not be asked and nobody named the list.
        positions: Which documents to show, by their positions among those found, in order.
        notes: What is to be said of each of them under the key "dwell": plain values that JSON can write.
        fallback: Why this is the retriever's own order; None where the loop ranked.
    """

    event_id: str | None
    positions: list[int]
    notes: list[dict[str, Any]]
    fallback: str | None


def ordered(
    loop: RankingLoop,
    query: str,
    found: Sequence[Found],
    *,
    k: int,
    user: object = None,
    segment: object = None,
    event_id: str | None = None,
    is_strict: bool = False,
) -> Ordered:
    """Return what to show; where the loop can not be asked, the retriever's own order with the reason as a code.

    Args:
        loop: Who ranks.
        query: The request.
        found: What was found, in the retriever's own order.
        k: Documents to show, >= 1.
        user: Who asks; whole numbers and UUIDs become text.
        segment: Group of queries.
        event_id: Identity of the list; the loop's own when not given.
        is_strict: Whether what the loop raises comes out.

    Raises:
        Exception: Whatever the loop raises, of a strict call.
    """
    try:
        served = loop.rank(
            query,
            [{**one.values, "id": one.id} for one in found],
            k=k,
            user=as_identifier(user),
            segment=as_identifier(segment),
            event_id=event_id,
        )
        if served.fallback is not None:  # its ids hold none twice, the retriever's order may
            return _own_order(found, k, served.event_id, served.fallback)
        return _loops_order(found, served)
    except Exception as error:
        if is_strict:
            raise
        code = error.code if isinstance(error, DwellError) else f"internal:{type(error).__name__}"
        return _own_order(found, k, event_id, code)


def _loops_order(found: Sequence[Found], served: Served) -> Ordered:
    where = {one.id: i for i, one in enumerate(found)}
    positions = [where[doc] for doc in served.ids]
    notes: list[dict[str, Any]] = [
        {
            "event_id": served.event_id,
            "doc": doc,
            "position": position + 1,
            "score": float(score),
            "propensity": float(propensity),
            "params_version": served.params_version,
        }
        for doc, position, score, propensity in zip(
            served.ids, positions, served.scores, served.propensities, strict=True
        )
    ]
    return Ordered(served.event_id, positions, notes, None)


def _own_order(found: Sequence[Found], k: int, event_id: str | None, code: str) -> Ordered:
    positions = list(range(min(k, len(found))))
    notes: list[dict[str, Any]] = [
        {"event_id": event_id, "doc": doc if isinstance(doc := found[i].id, str) else None, "position": i + 1}
        | {"fallback": code}
        for i in positions
    ]
    return Ordered(event_id, positions, notes, code)


def as_identifier(value: object) -> Any:  # noqa: ANN401 - what is no text is refused by the loop, by name
    """Return whole numbers and UUIDs as text, and anything else as it is: frameworks write ids in either way."""
    if isinstance(value, bool):
        return value
    return str(value) if isinstance(value, UUID | Integral) else value


def content_id(content: str) -> str:
    """Return the identity of a document that has none: a digest of its text, another one once the text changes."""
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def event_id_in(metadata: Mapping[Any, Any]) -> str | None:
    """Return the list in which a document with this metadata was served; None where dwell served it in none."""
    note = metadata.get(NOTE)
    found = note.get("event_id") if isinstance(note, Mapping) else None
    return found if isinstance(found, str) else None
