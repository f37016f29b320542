"""What enters through rank and feedback, and how it reaches the one writer without anybody waiting who should not."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import msgspec

from dwell.errors import DwellError, RecordError, StorageError, StoreClosedError
from dwell.loop.activity import Watch, follow_commit, with_activation
from dwell.loop.feedback import Joined, join_all, record_impression
from dwell.loop.state import LoopState
from dwell.records import Feedback, Impression, Signal, checks
from dwell.records.arrays import Float32Array
from dwell.reward.signals import check_signal
from dwell.storage import Answer, Quarantined, Transaction

__all__ = [
    "EMBEDDING_DIM",
    "KEY_CONFLICT",
    "Request",
    "check_sequence",
    "checked_signal",
    "count_joined",
    "digest_of",
    "fix_dimension",
    "kept_later",
    "quarantine",
    "recorded_later",
    "signals_of",
    "submit_impression",
    "submit_signals",
]

KEY_CONFLICT: Final = "idempotency_conflict: this key was used for another request"
EMBEDDING_DIM = "embedding_dim"  # name of the setting
_TEXT_BYTES = 64  # an id in the queue besides its letters: 49 bytes of a Python str, its place, its position
_SIGNAL_BYTES = 512  # a signal in the queue: ids, name and the job around it


def submit_impression(state: LoopState, impression: Impression) -> bool:
    """Queue an impression for the next commit without waiting; return False where a full queue dropped it."""
    if state.writer is None:
        raise StorageError("this loop was opened without ingesting", hint="Open it as the owner of the store.")

    def record(tx: Transaction, watch: Watch | None) -> int | None:
        return record_impression(tx, impression, state.rules, lambda joined: count_joined(state, joined), watch)

    job, settle = with_activation(state.activity, state.store, record)

    def done(written: Future[Any]) -> None:
        _note_failure(state, written)
        if written.exception() is None and written.result() is None:  # a list of this id was recorded before this one
            with state.serving:
                state.recent.pop(impression.event_id, None)
        settle(written)
        follow_commit(state.activity, state.writer, time.monotonic())

    n_ids = len(impression.documents) + len(impression.served)
    n_bytes = (
        impression.features.nbytes
        + impression.scores.nbytes
        + impression.propensities.nbytes
        + _TEXT_BYTES * n_ids
        + sum(map(len, impression.documents))
        + sum(map(len, impression.served))
        + len(impression.query)
    )
    try:
        state.writer.submit(job, n_bytes=n_bytes, event_ids=(impression.event_id,), is_awaited=False, then=done)
    except StorageError as error:
        if error.code != "overloaded":
            raise
        state.counters["dropped_impressions"] += 1
        return False
    state.counters["impressions"] += 1
    state.tally.retrievals[impression.policy, state.mode] += 1
    return True


def recorded_later(state: LoopState, event_id: str) -> Future[bool]:
    """Return a future of whether an event is on disk, resolved once everything that was queued before it is."""
    if state.writer is None or state.is_closed:
        raise StoreClosedError("the loop records nothing: it is closed or read-only")
    return state.writer.submit(lambda tx: tx.event(event_id) is not None, event_ids=(event_id,))


def kept_later(state: LoopState, answer: Answer) -> Future[Answer]:
    """Return a future of the answer that is kept under a key, on disk: the one that came first, of all processes."""
    if state.writer is None or state.is_closed:
        raise StoreClosedError("the loop records nothing: it is closed or read-only")

    def keep(tx: Transaction) -> Answer:
        before = tx.answer(answer.key)
        if before is None:
            tx.put_answer(answer)
        return before or answer

    return state.writer.submit(keep, n_bytes=_SIGNAL_BYTES + len(answer.body))


def fix_dimension(state: LoopState, embedding: Float32Array) -> None:
    """Make the first embedding's dimension the store's, for this run and the next ones.

    Raises:
        RecordError: code `embedding_dim`: another thread's was first.
    """
    if state.limits.embedding_dim == embedding.size:
        return
    with state.serving:
        is_first = state.limits.embedding_dim is None
        if is_first:
            state.limits = state.limits._replace(embedding_dim=embedding.size)
    if not is_first:
        checks.embedding(embedding, dim=state.limits.embedding_dim)
    elif state.writer is not None:
        body = msgspec.msgpack.encode(embedding.size)
        # another process's may have been first
        state.writer.submit(lambda tx: None if tx.setting(EMBEDDING_DIM) else tx.put_setting(EMBEDDING_DIM, body))


def _note_failure(state: LoopState, done: Future[Any]) -> None:
    if done.exception() is not None:
        state.counters["failed_impressions"] += 1


def count_joined(state: LoopState, joined: Joined) -> None:
    """Count what became of a signal, and note the event whose reward changes."""
    state.counters[f"feedback_{joined.feedback.status}"] += 1
    if joined.signal:  # a retry was counted the first time
        state.tally.reacted(joined.signal, joined.feedback.status, joined.delay_s)
    state.counters["feedback_skewed"] += joined.is_skewed
    state.counters["feedback_future"] += joined.is_future
    if joined.reopened is not None:
        state.reopened.add(joined.reopened)


def _count_refused(state: LoopState, names: Iterable[str]) -> None:
    for name in names:
        state.tally.reacted(name, "rejected")


def checked_signal(
    state: LoopState,
    event_id: object,
    signal: object,
    *,
    doc: object,
    value: object,
    at: object,
    key: object,
    now: float,
) -> Signal:
    """Return a signal that can be stored.

    Raises:
        RecordError: By field, see `records.checks` and `reward.signals.check_signal`.
    """
    event = checks.event_id(event_id)
    document = checks.optional_identifier(doc, "doc")
    if not isinstance(signal, str):
        raise RecordError("a signal's name is text", code="type", field="signal", value=signal, hint="Pass 'click'.")
    number = checks.finite(value, "value")
    check_signal(state.rules.preset.signals, signal, document, number)
    return Signal(
        event_id=event,
        name=str.__str__(signal),
        doc=document,
        value=number,
        at=now if at is None else checks.timestamp(at, "at"),
        received_at=now,
        idempotency_key=checks.optional_identifier(key, "idempotency_key"),
    )


def check_sequence(items: object) -> None:
    """Return where `items` is a sequence other than text.

    Raises:
        RecordError: code `type`.
    """
    if isinstance(items, str | bytes) or not isinstance(items, Sequence):
        raise RecordError(
            "reactions are a sequence of mappings",
            code="type",
            field="items",
            value=type(items).__name__,
            hint="Pass a list; of one reaction, a list of one.",
        )


def digest_of(items: Sequence[object]) -> bytes:
    """Return 16 bytes that tell a batch from any other, the order of an item's fields left aside."""
    return hashlib.blake2b(msgspec.json.encode(items, order="deterministic"), digest_size=16).digest()


def signals_of(state: LoopState, items: Sequence[object], now: float) -> list[Signal | Feedback]:
    """Return, per item, a signal that can be stored or the answer that refuses it.

    Each item is a mapping with "event_id" and "signal", and optionally "doc", "value", "at" and "idempotency_key".
    """
    found: list[Signal | Feedback] = []
    for item in items:
        try:
            found.append(_signal_of(state, item, now))
        except DwellError as error:
            found.append(Feedback("rejected", f"{error.code}: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever a hostile item does when it is looked at
            found.append(Feedback("rejected", f"internal:{type(error).__name__}"))
    return found


def _signal_of(state: LoopState, item: object, now: float) -> Signal | Feedback:
    known = {"event_id", "signal", "doc", "value", "at", "idempotency_key"}
    if not isinstance(item, Mapping) or not {"event_id", "signal"} <= item.keys() or item.keys() - known:
        return Feedback("rejected", f"type: an item is a mapping with event_id and signal, and of {sorted(known)}")
    return checked_signal(
        state,
        item["event_id"],
        item["signal"],
        doc=item.get("doc"),
        value=item.get("value", 1.0),
        at=item.get("at"),
        key=item.get("idempotency_key"),
        now=now,
    )


class Request(NamedTuple):
    """What tells a retry of a batch from another one.

    Attributes:
        key: The caller's idempotency key.
        digest: Hash of what was sent.
        at: When it came.
    """

    key: str
    digest: bytes
    at: float


def _joined_once(
    tx: Transaction, signals: Sequence[Signal], request: Request | None, state: LoopState, watch: Watch | None
) -> list[Joined]:
    """Store signals, or answer as before where their request was answered already."""
    if request is None:
        return join_all(tx, signals, state.rules, watch)
    before = tx.answer(request.key)
    if before is None:
        joined = join_all(tx, signals, state.rules, watch)
        body = msgspec.msgpack.encode([(one.feedback.status, one.feedback.reason) for one in joined])
        tx.put_answer(Answer(request.key, request.digest, body, request.at))
        return joined
    if before.digest != request.digest:
        return [Joined(Feedback("rejected", KEY_CONFLICT))] * len(signals)
    return [Joined(Feedback(*one)) for one in msgspec.msgpack.decode(before.body)]


def submit_signals(
    state: LoopState, signals: Sequence[Signal | Feedback], *, request: Request | None = None
) -> Future[list[Feedback]]:
    """Queue signals for one commit; the future answers, item by item, once the commit is durable. Never raises.

    Args:
        state: The loop.
        signals: What can be stored, or the answer that refuses it.
        request: With it, a retry is answered as the first time, from the same commit; another batch under its key is
            refused as a whole.
    """
    wanted = [signal for signal in signals if isinstance(signal, Signal)]
    _count_refused(state, ("" for signal in signals if isinstance(signal, Feedback)))

    job, settle = with_activation(
        state.activity, state.store, lambda tx, watch: _joined_once(tx, wanted, request, state, watch)
    )

    answer: Future[list[Feedback]] = Future()
    answer.set_running_or_notify_cancel()

    def resolve(answers: Callable[[int], Feedback]) -> None:
        position = iter(range(len(wanted)))
        answer.set_result([s if isinstance(s, Feedback) else answers(next(position)) for s in signals])

    def done(written: Future[list[Joined]]) -> None:
        settle(written)
        error = written.exception()
        if error is not None:
            state.counters["feedback_failed"] += len(wanted)
            _count_refused(state, (signal.name for signal in wanted))
            resolve(lambda _: Feedback("rejected", f"storage: {error}"))
            return
        joined = written.result()
        for one in joined:
            count_joined(state, one)
        resolve(lambda i: joined[i].feedback)
        follow_commit(state.activity, state.writer, time.monotonic())

    if not wanted:
        resolve(lambda _: Feedback("rejected"))
        return answer
    try:
        if state.writer is None or state.is_closed:
            raise StoreClosedError("the loop does not take feedback: it is closed or read-only")
        state.writer.submit(
            job,
            n_bytes=_SIGNAL_BYTES * len(wanted),
            event_ids=[signal.event_id for signal in wanted],
            then=done,
        )
    except StorageError as error:
        refusal = Feedback(
            "rejected", "overloaded: try again" if error.code == "overloaded" else f"{error.code}: {error}"
        )
        state.counters["feedback_rejected"] += len(wanted)
        _count_refused(state, (signal.name for signal in wanted))
        resolve(lambda _: refusal)
    return answer


def quarantine(state: LoopState, event_id: str, reason: str, *, user: str | None, now: float) -> None:
    """Record that an event can not be learned from; a full queue or a failed store is counted, never raised."""
    state.counters["quarantined"] += 1
    entry = Quarantined(event_id, reason, now, user)
    try:
        if state.writer is not None:
            state.writer.submit(lambda tx: tx.add_quarantined(entry), n_bytes=_SIGNAL_BYTES, is_awaited=False)
    except StorageError:
        state.counters["dropped_impressions"] += 1
