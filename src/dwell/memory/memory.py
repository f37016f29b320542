"""The memory: texts that are found, ranked by a loop that learns which of them were of use, and forgotten for good."""

from __future__ import annotations

import hashlib
import json
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from dwell.errors import RecordError, StorageError
from dwell.health import HealthReport
from dwell.loop import Loop, TrainReport
from dwell.loop.item_activation import ItemActivation
from dwell.memory.recalled import Kept, Recall, Remembered, Why
from dwell.memory.shelf import Found, Shelf, fitted_to, words_of
from dwell.memory.telling import told_why
from dwell.memory.texts import Row, Texts
from dwell.records import Feedback, Served, checks
from dwell.reward.provenance import Provenance, named_by

__all__ = ["Memory"]

_N_CANDIDATES: Final = 50  # as many as the embedded retriever describes, below the 64 whose features a loop keeps
_MAX_TEXT_BYTES: Final = 1_000_000  # a memory is a note; a document is cut into passages before it is kept
_MAX_METADATA_BYTES: Final = 65_536  # as a query


class Memory:
    """A small durable memory that learns from what was done with what it recalled. Made by `dwell.memory.open`.

    All calls are safe from any thread. Every `now` is UTC epoch seconds and defaults to the wall clock of that call;
    nothing happens between calls. In a coroutine: `await asyncio.to_thread(memory.search, query)`.
    """

    def __init__(
        self,
        loop: Loop,
        texts: Texts,
        shelf: Shelf,
        *,
        user: str | None,
        max_items: int | None,
        max_age_s: float | None,
    ) -> None:
        self._loop = loop
        self._texts = texts
        self._shelf = shelf
        self._user = user
        self._max_items = max_items
        self._max_age_s = max_age_s
        self._lock = threading.RLock()
        self._fitting = threading.Lock()

    # ---- keep

    def add(
        self,
        text: str,
        *,
        id: str | None = None,  # noqa: A002 - the name is public surface
        metadata: Mapping[str, Any] | None = None,
        user: str | None = None,
        now: float | None = None,
    ) -> str:
        """Return the id under which a text is kept, durably.

        Args:
            text: What to remember, 1 byte to 1 MB.
            id: Its id; what was kept under it is replaced, its activation and pin stay. Without one, a keyed digest of
                the text: the same text again has the same id, and changes nothing but the metadata, where given.
            metadata: Whatever belongs to it, as JSON has it, at most 64 KB; it is not searched.
            user: Whose it is: only found by searches of this user, and gone with `forget_user`. None: everybody's.
            now: When it is added.

        Raises:
            RecordError: A value is malformed, by name.
            StorageError: The disk refused; code `full`: there is no room for one that is not pinned.
        """
        body = _text(text)
        item = checks.optional_identifier(id, "id")
        beside = None if metadata is None else _metadata(metadata)
        owner = "" if user is None else self._loop.pseudonym(user)
        moment = _moment(now)
        likeness = self._loop.pseudonym(f"text:{owner}:{hashlib.sha256(body.encode()).hexdigest()}")
        before = self._known(item, likeness)
        is_new = before is None or before.likeness != likeness
        vectors = self._shelf.vectors([body]) if is_new else None  # without the lock: it may be a call of a service
        with self._lock:
            before = self._known(item, likeness)
            if before is not None and before.likeness == likeness:
                if beside is not None:
                    self._texts.put_metadata(before.id, beside)
                return before.id
            row = Row(
                number=self._shelf.next_number() if before is None else before.number,
                id=f"m-{likeness}" if item is None else item,
                text=body,
                likeness=likeness,
                owner=owner,
                metadata=b"{}" if beside is None else beside,
                added_at=moment,
                is_pinned=before is not None and before.is_pinned,
            )
            if self._shelf.is_embedded:
                found = self._shelf.vectors([body]) if vectors is None else vectors  # None: it was there a moment ago
                row = row if found is None else row._replace(vector=found[0])
            self._put(row, is_new=before is None, now=moment)
        if self._shelf.is_grown:
            self._fit()
        return row.id

    def _fit(self) -> None:
        """Fit the latent space to the texts that are there; other calls go on meanwhile, in the one of before."""
        if not self._fitting.acquire(blocking=False):
            return  # another thread is at it
        try:
            with self._lock:
                rows = self._texts.rows()
                self._shelf.begin_fit(len(rows))
            fitted = fitted_to(rows)
            with self._lock:
                self._shelf.adopt(fitted, rows)
        finally:
            self._fitting.release()

    def _known(self, item: str | None, likeness: str) -> Row | None:
        return self._texts.like(likeness) if item is None else self._texts.row(item)

    def _put(self, row: Row, *, is_new: bool, now: float) -> None:
        leaving = self._leaving(now, n_more=int(is_new), staying=row.id)
        self._shelf.check(row)
        self._texts.put(row, " ".join(words_of(row.text)), leaving=leaving)
        for item in leaving:
            self._shelf.remove(item)
        self._shelf.put(row)
        self._drop(leaving)

    def _leaving(self, now: float, *, n_more: int, staying: str | None = None) -> list[str]:
        """Return what goes by age, and then by number: the least active first, the oldest of these first.

        Raises:
            StorageError: code `full`.
        """
        aged = [] if self._max_age_s is None else self._shelf.in_order_of_age(before=now - self._max_age_s)
        aged = [item for item in aged if item != staying]
        n_over = 0 if self._max_items is None else len(self._shelf) + n_more - len(aged) - self._max_items
        if n_over <= 0:
            return aged
        gone = {*aged, staying}
        rest = [item for item in self._shelf.in_order_of_age() if item not in gone]
        if len(rest) < n_over:
            raise StorageError(
                f"the memory is full: it holds {self._max_items}, and what is pinned does not go",
                code="full",
                field="max_items",
                value=self._max_items,
                hint="Unpin or forget something, or open it with a larger max_items.",
            )
        order = np.argsort(self._activation.scores(rest, now=now), kind="stable")[:n_over]
        return [*aged, *(rest[i] for i in order.tolist())]

    def trim(self, *, now: float | None = None) -> list[str]:
        """Remove what is over `max_age_s` and `max_items` by now, and return the ids; `add` does so by itself.

        Raises:
            StorageError: The disk refused.
        """
        moment = _moment(now)
        with self._lock:
            leaving = self._leaving(moment, n_more=0)
            if leaving:
                self._texts.remove(leaving)
                for item in leaving:
                    self._shelf.remove(item)
                self._drop(leaving)
            return leaving

    def _drop(self, leaving: Sequence[str]) -> None:
        if leaving:
            self._activation.drop(leaving)
            self._texts.left(leaving)

    # ---- recall

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        user: str | None = None,
        now: float | None = None,
        peek: bool = False,
        event_id: str | None = None,
    ) -> Recall:
        """Return the memories that answer a query, ranked by the params in force.

        Args:
            query: The question, at most 64 KB; nothing in it is syntax.
            k: Most memories, >= 1.
            user: Who asks, whose own memories are seen beside everybody's; else that of `open`.
            now: When.
            peek: Only look, for maintenance: no event, nothing drawn, nothing counted.
            event_id: The caller's id for the list; a known one answers a retry with what was recorded under it.

        Raises:
            RecordError: A value is malformed, by name.
            StorageError: The texts can not be read.
        """
        asked, n_shown = checks.query_text(query), checks.positive_integer(k, "k", most=1_000)
        is_peek, moment = checks.boolean(peek, "peek"), _moment(now)
        event = None if event_id is None else checks.event_id(event_id)
        who = self._user if user is None else checks.identifier(user, "user")
        vectors = self._shelf.vectors([asked]) if len(self._shelf) else None  # without the lock, as in `add`
        with self._lock:
            found = self._shelf.find(
                asked if vectors is None else vectors[0],
                self._texts.matches(self._shelf.telling(words_of(asked))),
                owner="" if who is None else self._loop.pseudonym(who),
                k=n_shown,
                n=_N_CANDIDATES,
                now=moment,
                oldest=-math.inf if self._max_age_s is None else moment - self._max_age_s,
            )
            if not found.ids:
                return Recall(None, (), self._loop.params.version)
            if is_peek:
                return self._peeked(found, n_shown, moment)
            # with the lock: what `forget` takes out of activation must be queued behind every list that shows it
            return self._served(asked, found, n_shown, user=who, event_id=event, now=moment)

    def _served(
        self, query: str, found: Found, k: int, *, user: str | None, event_id: str | None, now: float
    ) -> Recall:
        is_pinned = dict(zip(found.ids, found.is_pinned.tolist(), strict=True))
        has_pins = any(is_pinned.values())
        served = self._loop.rank(
            query,
            ids=found.ids,
            features=found.features,
            k=len(found.ids) if has_pins else k,
            user=user,
            event_id=event_id,
            activate=not has_pins,
            now=now,
        )
        shown = sorted(range(len(served.ids)), key=lambda i: not is_pinned.get(served.ids[i], False))[:k]
        if has_pins and served.fallback is None:
            shown = self._activated(served, shown, now)
        return self._recalled(served, shown, is_pinned)

    def _activated(self, served: Served, shown: list[int], now: float) -> list[int]:
        """Record what is shown, and return it; of a list that was shown before, what was shown then."""
        try:
            # what is pinned was not drawn: where that changes the order the event is marked altered, not learned from
            self._loop.activate(served.event_id, shown=[served.ids[i] for i in shown], now=now)
        except RecordError as error:
            if error.code != "not_deferred":
                raise
            before = self._loop.shown(served.event_id) or ()
            return [served.ids.index(item) for item in before if item in served.ids]
        return shown

    def _recalled(self, served: Served, shown: Sequence[int], is_pinned: Mapping[str, bool]) -> Recall:
        items = []
        for i in shown:
            pinned = is_pinned.get(served.ids[i], False)
            row = self._texts.row(served.ids[i])
            if row is not None:  # forgotten since it was found
                propensity = 1.0 if pinned else float(served.propensities[i])
                items.append(_remembered(row, float(served.scores[i]), propensity, is_pinned=pinned))
        return Recall(served.event_id, tuple(items), served.params_version, served.fallback)

    def _peeked(self, found: Found, k: int, now: float) -> Recall:
        params = self._loop.params
        columns = np.concatenate([found.features, self._activation.features(found.ids, now=now)], axis=1)
        named = dict(zip(self._loop.features, columns.T, strict=True))
        scores = params.score(np.column_stack([named[name] for name in params.feature_names]))
        order = np.lexsort((-scores, ~found.is_pinned))[:k]
        rows = [(self._texts.row(found.ids[i]), i) for i in order.tolist()]
        items = [
            _remembered(row, float(scores[i]), 1.0, is_pinned=bool(found.is_pinned[i]))
            for row, i in rows
            if row is not None
        ]
        return Recall(None, tuple(items), params.version)

    def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        item: str | None = None,
        value: float = 1.0,
        by: Provenance = "person",
        idempotency_key: str | None = None,
        now: float | None = None,
    ) -> Feedback:
        """Return what became of one reaction, once it is durable; never raises on data or storage.

        Args:
            event_id: The list, as `search` named it.
            signal: Name of the signal, as the rewards declare it: "used", "cited", "helpful", "contradicted"...
            item: The memory that it is about, or None for the whole list.
            value: Its value.
            by: "person", or "agent": what an agent says of its own work is the signal `agent_<name>`, and counts for
                less than any person's word.
            idempotency_key: The caller's key for retries.
            now: When.

        Raises:
            RecordError: `by` is neither.
        """
        given: object = signal
        named = named_by(signal, by) if isinstance(given, str) else signal  # what is no name is rejected below
        if isinstance(item, str) and item not in self._shelf:
            return Feedback("rejected", f"forgotten: there is no memory of the id {item!r}")
        return self._loop.feedback(event_id, named, doc=item, value=value, idempotency_key=idempotency_key, now=now)

    # ---- forget and pin

    def forget(self, id: str) -> bool:  # noqa: A002 - the name is public surface
        """Remove a memory for good, and return whether there was one: its text is nowhere on the disk on return.

        The file of texts is written anew for it. The lists that showed it stay on record with its id, without text.

        Raises:
            StoreBusyError: It is removed, and its bytes are not overwritten yet: somebody reads the file. The next
                `forget`, or opening, does it.
            StorageError: The disk refused.
        """
        item = checks.identifier(id, "id")
        with self._lock:
            if item not in self._shelf:
                self._finish()
                return False
            self._texts.remove([item])
            self._shelf.remove(item)
            self._finish()
            return True

    def forget_user(self, user: str, *, now: float | None = None) -> int:
        """Remove a user's own memories, and all that is on record of the user, for good; return how many memories went.

        Raises:
            StorageError: Something could not be removed; call again: it goes on where it was.
        """
        who = checks.identifier(user, "user")
        with self._lock:
            items = self._texts.owned(self._loop.pseudonym(who))
            self._texts.remove(items)
            for item in items:
                self._shelf.remove(item)
            self._finish()
        self._loop.erase(who, now=now)
        with self._lock:  # what the user's events added is taken away, also of memories that were forgotten before
            self._activation.drop([item for item in self._activation.items() if item not in self._shelf])
        return len(items)

    def _finish(self) -> None:
        """Take what is leaving out of activation and off the disk."""
        leaving = self._texts.leaving()
        if leaving:
            self._activation.drop(leaving)
            self._texts.scrub()
            self._texts.left(leaving)

    def pin(self, id: str) -> bool:  # noqa: A002 - the name is public surface
        """Have a memory stand first where it matches, and never go by age or number; return whether there is one.

        Lists whose order that changes are recorded as altered: reactions count for activation, and no params are
        learned from them.

        Raises:
            StorageError: The disk refused.
        """
        return self._set_pin(id, is_pinned=True)

    def unpin(self, id: str) -> bool:  # noqa: A002 - the name is public surface
        """Have a memory stand where it is ranked, and go as others do; return whether there is one.

        Raises:
            StorageError: The disk refused.
        """
        return self._set_pin(id, is_pinned=False)

    def _set_pin(self, given: str, *, is_pinned: bool) -> bool:
        item = checks.identifier(given, "id")
        with self._lock:
            if item not in self._shelf:
                return False
            self._texts.pin(item, is_pinned=is_pinned)
            self._shelf.pin(item, is_pinned=is_pinned)
            (self._activation.pin if is_pinned else self._activation.unpin)([item])
            return True

    # ---- look

    def get(self, id: str) -> Kept | None:  # noqa: A002 - the name is public surface
        """Return one memory, or None; looking changes nothing."""
        row = self._texts.row(checks.identifier(id, "id"))
        return None if row is None else _kept(row)

    def is_own(self, id: str, user: str | None = None) -> bool:  # noqa: A002 - the name is public surface
        """Return whether there is such a memory and it is this user's own; None: everybody's."""
        row = self._texts.row(checks.identifier(id, "id"))
        return row is not None and row.owner == ("" if user is None else self._loop.pseudonym(user))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._shelf)

    def __contains__(self, id: object) -> bool:  # noqa: A002 - as everywhere here
        """Return whether there is one of this id."""
        return isinstance(id, str) and id in self._shelf

    def __iter__(self) -> Iterator[Kept]:
        """Yield all memories, oldest first, as they were when this was asked."""
        return iter([_kept(row) for row in sorted(self._texts.rows(), key=lambda row: (row.added_at, row.number))])

    def explain(self, event_id: str, *, now: float | None = None) -> Why:
        """Return why each memory of a list stood where it stood, and what came of the list.

        Args:
            event_id: The list.
            now: As of when activation is told.

        Raises:
            UnknownEventError: Nothing is known of it.
        """
        self._loop.when_recorded(checks.event_id(event_id)).result()
        return told_why(self._loop, self._activation, event_id, _moment(now), row_of=self._texts.row)

    def train(self, *, now: float | None = None) -> TrainReport:
        """Learn from what is over, as `Loop.train`, and fit the latent space to the texts that are there now.

        Raises:
            StorageError: The store could not.
        """
        report = self._loop.train(now=now)
        if self._shelf.is_changed:
            self._fit()
        return report

    def health(self, now: float | None = None) -> HealthReport:
        """Return how the loop is, as `Loop.health`."""
        return self._loop.health(now)

    @property
    def loop(self) -> Loop:
        """The loop that ranks and learns."""
        return self._loop

    @property
    def _activation(self) -> ItemActivation:
        activation = self._loop.activation
        if activation is None:
            raise StorageError("the store keeps no activation", code="not_in_step", hint="Open it with learner='both'.")
        return activation

    # ---- end

    def close(self) -> None:
        """Write what is queued and release both files; closing twice is legal."""
        with self._lock:
            self._texts.close()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<dwell.memory.Memory of {len(self._shelf)} on {self._loop!r}>"


def _moment(now: float | None) -> float:
    return time.time() if now is None else checks.timestamp(now, "now")


def _text(text: object) -> str:
    checked = checks.valid_text(text, "text", _MAX_TEXT_BYTES, "text")
    if not checked.strip():
        raise RecordError("there is nothing to remember", field="text", value=text, hint="Pass a text with words.")
    return checked


def _metadata(metadata: object) -> bytes:
    if not isinstance(metadata, Mapping):
        raise RecordError(
            "metadata is a mapping", code="type", field="metadata", value=metadata, hint='Pass {"source": ...}.'
        )
    try:
        body = json.dumps(dict(metadata), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(
            f"metadata can not be said in JSON: {error}",
            field="metadata",
            value=metadata,
            hint="Use text, finite numbers, bools, None, lists and mappings of them.",
        ) from error
    if len(body) > _MAX_METADATA_BYTES:
        raise RecordError(
            f"metadata has {len(body)} bytes, at most {_MAX_METADATA_BYTES} are kept",
            field="metadata",
            value=metadata,
            hint="Keep a reference to what is large.",
        )
    return body


def _kept(row: Row) -> Kept:
    return Kept(row.id, row.text, json.loads(row.metadata), row.added_at, row.is_pinned)


def _remembered(row: Row, score: float, propensity: float, *, is_pinned: bool) -> Remembered:
    return Remembered(row.id, row.text, score, propensity, json.loads(row.metadata), is_pinned, row.added_at)
