"""Haystack: a ranker that learns from feedback, and the component that takes the feedback (extra `haystack`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlsplit

from dwell.errors import ConfigError, MissingDependencyError
from dwell.integrations.opened import is_service, opened
from dwell.integrations.reranking import Order, Ranks, Row, check_defaults, names_of, ordered, ordered_async
from dwell.records import checks

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.utils import Secret
except ImportError as _error:  # a component is a class of Haystack's: there is none without it
    raise MissingDependencyError("haystack is not installed", hint="pip install 'dwell[haystack]'") from _error

__all__ = ["DwellFeedback", "DwellRanker"]

_TOP_K: Final = 10  # as `Loop.rank`
_SECRETS: Final = ("key", "pepper")


class _Place:
    """Which loop a component talks to: one that was given, or one that is named and opened when it is first needed."""

    def __init__(
        self,
        where: str | Secret | None,
        loop: Ranks | None,
        key: Secret | None,
        pepper: Secret | None,
        features: list[str] | None,
        settings: dict[str, Any] | None,
    ) -> None:
        if (where is None) == (loop is None):
            raise ConfigError(
                "a component has a loop, or the name of one",
                field="where",
                value="both" if loop is not None else None,
                hint="Pass where='search.dwell' (or a service's URL), or loop=dwell.open(...).",
            )
        for name, given in (("key", key), ("pepper", pepper)):
            if given is not None and not isinstance(given, Secret):
                raise ConfigError(
                    f"the {name} is a secret, and a component is written down",
                    field=name,
                    value="text",
                    hint=f"Pass {name}=Secret.from_env_var('DWELL_{name.upper()}').",
                )
        for name in _SECRETS:
            if name in (settings or {}):
                raise ConfigError(
                    f"the {name} is a secret, and settings are written down",
                    field=f"settings.{name}",
                    value="text",
                    hint=f"Pass {name}=Secret.from_env_var('DWELL_{name.upper()}') beside them.",
                )
        self.where = where
        self.given = loop
        self.key = key
        self.pepper = pepper
        self.features = features
        self.settings = settings

    def loop(self) -> Ranks:
        """Return the loop, opened.

        Raises:
            ConfigError, StorageError: As `dwell.open`.
        """
        if self.given is not None:
            return self.given
        where = self.where.resolve_value() if isinstance(self.where, Secret) else self.where
        return opened(
            str(where),
            key=_told(self.key),
            pepper=_told(self.pepper),
            features=None if is_service(str(where)) else self.features,
            settings=self.settings,
        )

    def to_dict(self, name: str) -> dict[str, Any]:
        """Return what names the loop.

        Raises:
            ConfigError: It was given open, or its name holds a password.
        """
        if self.given is not None:
            raise ConfigError(
                f"{name} was given an open loop, which can not be written down",
                field="loop",
                value=type(self.given).__name__,
                hint="Pass where='search.dwell' (or a service's URL) instead: it is opened when it is first used.",
            )
        if isinstance(self.where, str) and "://" in self.where and urlsplit(self.where).password is not None:
            raise ConfigError(
                f"the name of the store of {name} holds a password, which is not written down",
                field="where",
                value=urlsplit(self.where).scheme,
                hint="Pass where=Secret.from_env_var('DWELL_STORE').",
            )
        return {
            "where": self.where,
            "key": self.key,
            "pepper": self.pepper,
            "features": self.features,
            "settings": self.settings,
        }


def _told(secret: Secret | None) -> str | None:
    value = None if secret is None else secret.resolve_value()
    return None if value is None else str(value)


@component
class DwellRanker:
    """Orders documents by what feedback taught; never fails a search for a reason of its own.

    Features are looked for among a document's score (`score`), its numeric metadata, and `reciprocal_rank`, 1 / its
    place. Documents keep their scores: the order is the answer, so do not sort it again.

    Args:
        where: The loop by name: path, "postgresql://..." or the URL of `dwell serve`; a Secret where it holds a
            password. Components of one process that name the same store share one loop.
        loop: An open loop or client in place of `where`; such a component can not be written down.
        key: Of a service.
        pepper: Of a store, as `dwell.open`.
        features: Registered features; those of the store when not given. A service's must be given.
        settings: What else `dwell.open`, or `dwell.Client`, takes.
        top_k: Documents to return, >= 1.
        defaults: {feature: value} for documents that lack it. Without one, a list in which it is missing comes back in
            its own order, and nothing is learned from it.
        event_id_key: Key under which each returned document's metadata holds the event id; None for nowhere.

    Raises:
        ConfigError: Neither or both of `where` and `loop`, or a secret that is no Secret.
        RecordError: `top_k` is no positive integer.
    """

    def __init__(
        self,
        where: str | Secret | None = None,
        *,
        loop: Any = None,  # noqa: ANN401 - Haystack reads this annotation: whatever ranks
        key: Secret | None = None,
        pepper: Secret | None = None,
        features: list[str] | None = None,
        settings: dict[str, Any] | None = None,
        top_k: int = _TOP_K,
        defaults: dict[str, float] | None = None,
        event_id_key: str | None = "event_id",
    ) -> None:
        self._place = _Place(where, loop, key, pepper, features, settings)
        self.top_k = checks.positive_integer(top_k, "top_k")
        self.defaults = defaults
        self.event_id_key = event_id_key
        self._ready: tuple[Ranks, tuple[str, ...], Mapping[str, float]] | None = None

    def warm_up(self) -> None:
        """Open the loop; a pipeline does so before its first run.

        Raises:
            ConfigError, StorageError: As `dwell.open`: what can not work is said at the start.
        """
        loop = self._place.loop()
        names = names_of(loop, self._place.features)
        self._ready = loop, names, check_defaults(self.defaults, names)

    @component.output_types(documents=list[Document], event_id=str | None, fallback=str | None)
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        *,
        user: str | None = None,
        segment: str | None = None,
        query_embedding: list[float] | None = None,
        event_id: str | None = None,
    ) -> dict[str, Any]:
        """Return `documents`, in the order to show, `event_id`, which feedback is given to, and `fallback`.

        `event_id` is None without documents. `fallback` is None, or the code of what went wrong: then the order is the
        one given.

        Args:
            query: What was asked.
            documents: In the retriever's order; of one that stands twice the first place counts.
            top_k: Documents to return, where another number than the component's.
            user: Who asks; only a pseudonym is kept.
            segment: Group of queries.
            query_embedding: The query's vector.
            event_id: Your own id of the list.

        Raises:
            RecordError: `top_k` is no positive integer.
        """
        loop, names, defaults = self._warm()
        how = {"user": user, "segment": segment, "query_embedding": query_embedding, "event_id": event_id}
        k = self.top_k if top_k is None else top_k
        found = ordered(loop, query, _rows(documents), names=names, k=k, defaults=defaults, **how)
        return self._answer(documents, found)

    @component.output_types(documents=list[Document], event_id=str | None, fallback=str | None)
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        *,
        user: str | None = None,
        segment: str | None = None,
        query_embedding: list[float] | None = None,
        event_id: str | None = None,
    ) -> dict[str, Any]:
        """Return what `run` does, without holding up the event loop.

        Raises:
            RecordError: As `run`.
        """
        loop, names, defaults = self._warm()
        how = {"user": user, "segment": segment, "query_embedding": query_embedding, "event_id": event_id}
        k = self.top_k if top_k is None else top_k
        found = await ordered_async(loop, query, _rows(documents), names=names, k=k, defaults=defaults, **how)
        return self._answer(documents, found)

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` makes the same component of.

        Raises:
            ConfigError: It was given an open loop.
        """
        named = self._place.to_dict("DwellRanker")
        return dict(
            default_to_dict(self, **named, top_k=self.top_k, defaults=self.defaults, event_id_key=self.event_id_key)
        )

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DwellRanker:
        """Return the component that was written down; its loop is opened when it is first used."""
        return default_from_dict(cls, data)

    def _warm(self) -> tuple[Ranks, tuple[str, ...], Mapping[str, float]]:
        if self._ready is None:
            self.warm_up()
        assert self._ready is not None  # noqa: S101 - `warm_up` has just set it
        return self._ready

    def _answer(self, documents: list[Document], found: Order) -> dict[str, Any]:
        shown = [documents[i] for i in found.positions]
        if self.event_id_key is not None and found.event_id is not None:
            shown = [replace(one, meta={**one.meta, self.event_id_key: found.event_id}) for one in shown]
        return {"documents": shown, "event_id": found.event_id, "fallback": found.fallback}


def _rows(documents: list[Document]) -> list[Row]:
    return [Row(one.id, {**one.meta, **({} if one.score is None else {"score": one.score})}) for one in documents]


@component
class DwellFeedback:
    """Gives a reaction to the loop; never raises on what it is given.

    Args:
        where: As `DwellRanker`; without further settings it is whatever loop of that store is open.
        loop: An open loop or client in place of it.
        key: Of a service.
        pepper: Of a store.
        settings: What else `dwell.open`, or `dwell.Client`, takes.

    Raises:
        ConfigError: As `DwellRanker`.
    """

    def __init__(
        self,
        where: str | Secret | None = None,
        *,
        loop: Any = None,  # noqa: ANN401 - Haystack reads this annotation: whatever takes feedback
        key: Secret | None = None,
        pepper: Secret | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self._place = _Place(where, loop, key, pepper, None, settings)

    @component.output_types(status=str, reason=str | None)
    def run(
        self,
        event_id: str | None,
        signal: str,
        doc: str | None = None,
        value: float = 1.0,
        idempotency_key: str | None = None,
    ) -> dict[str, Any]:
        """Return `status` and `reason`, as `Loop.feedback` answers.

        Args:
            event_id: As `DwellRanker` returned it.
            signal: Name of the signal.
            doc: The document's id, or None for the whole list.
            value: Its value.
            idempotency_key: For retries.
        """
        loop: Any = self._place.loop()
        answer = loop.feedback(event_id, signal, doc=doc, value=value, idempotency_key=idempotency_key)
        return {"status": answer.status, "reason": answer.reason}

    def to_dict(self) -> dict[str, Any]:
        """Return what `from_dict` makes the same component of.

        Raises:
            ConfigError: It was given an open loop.
        """
        named = self._place.to_dict("DwellFeedback")
        del named["features"]
        return dict(default_to_dict(self, **named))

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> DwellFeedback:
        """Return the component that was written down."""
        return default_from_dict(cls, data)
