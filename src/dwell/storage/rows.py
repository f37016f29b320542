"""The rows that both stores keep, and the one way from records to rows and back.

What is checked or rounded on the way in is checked and rounded here, so that every store answers the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import operator
from collections.abc import Sequence
from typing import Final, NamedTuple, SupportsIndex, cast

import msgspec

from dwell.errors import RecordError, StorageError
from dwell.records import Impression, Signal, checks
from dwell.records.experience import ExperienceState
from dwell.records.impression import teams_as_shown
from dwell.storage import codec
from dwell.storage.instants import micros, seconds
from dwell.storage.protocol import EventState, Outcome, PairStatistics

__all__ = [
    "MAX_QUARANTINED",
    "MOST_USERS",
    "STATES",
    "ActivationRow",
    "EventRow",
    "OutcomeRow",
    "SignalRow",
    "StatisticsRow",
    "TraceRow",
    "applied_changes",
    "check_deferred",
    "duplicate_event",
    "duplicate_version",
    "event_row",
    "event_state",
    "impression",
    "merged",
    "new_state",
    "outcome",
    "outcome_row",
    "pair_statistics",
    "priorities_by_seq",
    "shown_text",
    "signal",
    "signal_order",
    "signal_row",
    "statistics_row",
    "trace_body",
    "trace_rows",
    "unknown_event",
    "unknown_version",
]

MAX_QUARANTINED: Final = 100_000  # newest kept per tenant: a broken producer can not fill the disk
MOST_USERS: Final = 5  # k of k-anonymity, as in the protocol: below five distinct users nothing is told
STATES: Final = ("open", "closed", "reopened", "not_shown", "evicted")

_decode_shown = msgspec.json.Decoder(tuple[str, ...]).decode
_encode_json = msgspec.json.Encoder().encode
_encode_plain = msgspec.msgpack.Encoder().encode


class EventRow(NamedTuple):
    """What never changes of an event."""

    event_id: str
    served_at: int
    user: str | None
    is_shown: bool
    shown: str
    body: bytes


class ActivationRow(NamedTuple):
    """That a deferred event was shown."""

    shown: str
    is_altered: bool
    at: int


class OutcomeRow(NamedTuple):
    """What changes of an event."""

    state: str
    version: int
    closed_at: int | None
    reward: float | None
    priority: float
    details: bytes | None


class SignalRow(NamedTuple):
    """A signal without the event that it belongs to.

    `dedupe` is equal for signals that may not both be there; `digest` tells whether two of the same key agree.
    """

    dedupe: str
    digest: str
    name: str
    doc: str | None
    value: float
    at: int
    received_at: int
    idempotency_key: str | None


class StatisticsRow(NamedTuple):
    """The sums of one (query hash, segment, document)."""

    n: float
    exposure: float
    credit: float
    users: bytes
    at: int


class TraceRow(NamedTuple):
    """What is kept of an item's activation."""

    packed: bytes
    forget_at: int | None


def shown_text(shown: Sequence[str]) -> str:
    """Return document ids as JSON text."""
    return _encode_json(tuple(shown)).decode()


def event_row(given: Impression) -> EventRow:
    """Return the row of an impression."""
    return EventRow(
        event_id=given.event_id,
        served_at=micros(given.served_at, "served_at"),
        user=given.user,
        is_shown=bool(given.is_shown),
        shown=shown_text(given.served),
        body=codec.encode_impression(given),
    )


def impression(seq: int, event_id: str, body: bytes, activation: ActivationRow | None) -> Impression:
    """Return the impression of a row, as shown where it was activated."""
    found = codec.decode_impression(body, event_id=event_id, seq=seq)
    if activation is None:
        return found
    shown = _decode_shown(activation.shown)
    return dataclasses.replace(
        found,
        served=shown,
        teams=teams_as_shown(found.served, found.teams, shown) if found.teams else (),
        is_shown=True,
        is_altered=bool(activation.is_altered),
        activated_at=seconds(activation.at),
    )


def event_state(
    seq: int,
    event_id: str,
    *,
    state: str,
    version: int,
    served_at: int,
    closed_at: int | None,
    user: str | None,
    shown: str,
) -> EventState:
    """Return the state of an event from its columns; `shown` as JSON text, instants in microseconds."""
    return EventState(
        seq=seq,
        event_id=event_id,
        state=cast("ExperienceState", state),
        version=version,
        served_at=seconds(served_at),
        closed_at=None if closed_at is None else seconds(closed_at),
        user=user,
        shown=_decode_shown(shown),
    )


def new_state(seq: int, row: EventRow, shown: Sequence[str]) -> EventState:
    """Return the state of an event that was just stored."""
    return EventState(
        seq=seq,
        event_id=row.event_id,
        state="open" if row.is_shown else "not_shown",
        version=0,
        served_at=seconds(row.served_at),
        closed_at=None,
        user=row.user,
        shown=tuple(shown),
    )


def check_deferred(seq: int, state: str | None) -> None:
    """Refuse to activate an event that is not there or does not wait for it.

    Raises:
        StorageError: code `unknown_event` or `not_deferred`.
    """
    if state is None:
        raise unknown_event(seq)
    if state != "not_shown":
        raise StorageError(
            f"event number {seq} is {state}, it does not wait to be shown",
            code="not_deferred",
            field="seq",
            value=seq,
            hint="Activate a deferred event once.",
        )


def duplicate_event(event_id: str) -> StorageError:
    """Return the error for an event id that is known."""
    return StorageError(
        f"the event {event_id!r} is there already",
        code="duplicate_event",
        field="event_id",
        value=event_id,
        hint="Answer with what was recorded.",
    )


def unknown_event(seq: int) -> StorageError:
    """Return the error for a seq that is not there."""
    return StorageError(
        f"there is no event number {seq}", code="unknown_event", field="seq", value=seq, hint="Look it up with `event`."
    )


def duplicate_version(version: int) -> StorageError:
    """Return the error for a params version that is known."""
    return StorageError(
        f"params version {version} is there already",
        code="duplicate_version",
        field="version",
        value=version,
        hint="Give it the next number.",
    )


def unknown_version(version: int) -> StorageError:
    """Return the error for a params version that is not there."""
    return StorageError(
        f"there is no params version {version}",
        code="unknown_version",
        field="version",
        value=version,
        hint="Store the version before it goes live.",
    )


def outcome_row(given: Outcome) -> OutcomeRow:
    """Return the row of an outcome.

    Raises:
        RecordError: A reward outside [-1, 1], a negative priority, or a number that is not finite.
    """
    if given.state not in STATES or given.version < 0:
        raise RecordError(
            f"a state is one of {', '.join(STATES)}, a version at least 0",
            code="range",
            field="state",
            value=(given.state, given.version),
            hint="Correct the outcome.",
        )
    reward = None if given.reward is None else checks.within(given.reward, "reward", -1.0, 1.0, code="reward_range")
    return OutcomeRow(
        state=given.state,
        version=int(given.version),
        closed_at=None if given.closed_at is None else micros(given.closed_at, "closed_at"),
        reward=None if reward is None else reward + 0.0,
        priority=_priority(given.priority),
        details=codec.encode_details(given),
    )


def _priority(value: object) -> float:
    number = checks.finite(value, "priority")
    if number < 0.0:
        raise RecordError(
            "a priority is at least 0",
            code="priority",
            field="priority",
            value=value,
            hint="Pass the raw error's magnitude.",
        )
    return number + 0.0  # SQLite keeps no sign of zero


def priorities_by_seq(seqs: Sequence[int], priorities: Sequence[float]) -> dict[int, float]:
    """Return {seq: priority}, the last one where a seq is given twice.

    Raises:
        RecordError: Unequal lengths, a negative priority, or one that is not finite.
    """
    if len(seqs) != len(priorities):
        raise RecordError(
            f"{len(seqs)} seqs but {len(priorities)} priorities",
            code="shape",
            field="priorities",
            value=len(priorities),
            hint="Pass one priority per seq.",
        )
    return {int(seq): _priority(float(value)) for seq, value in zip(seqs, priorities, strict=True)}


def outcome(seq: int, row: OutcomeRow) -> Outcome:
    """Return the outcome of a row."""
    details = codec.decode_details(row.details, seq=seq)
    return Outcome(
        seq=seq,
        state=cast("ExperienceState", row.state),
        version=row.version,
        closed_at=None if row.closed_at is None else seconds(row.closed_at),
        reward=row.reward,
        priority=row.priority,
        document_rewards=details.document_rewards,
        reward_version=details.reward_version,
        exposure=details.exposure,
        exposure_se=details.exposure_se,
        examination_version=details.examination_version,
        predicted_reward=details.predicted_reward,
    )


def signal_row(given: Signal, credited_at: float | None = None) -> SignalRow:
    """Return the row of a signal, known again by the instant as given, kept with the one at which it counts.

    Raises:
        RecordError: A value that is not finite, or an instant that is none.
    """
    value = checks.finite(given.value, "value") + 0.0  # SQLite keeps no sign of zero
    at = micros(given.at, "at")
    body = _encode_plain((given.name, given.doc, value))
    if given.idempotency_key is None:
        # Not only the digest: what is equal must be the same signal, and 128 bits make it so
        dedupe = hashlib.blake2b(body, digest_size=16, salt=at.to_bytes(8, "little")).hexdigest()
    else:
        dedupe = f"key:{given.idempotency_key}"
    return SignalRow(
        dedupe=dedupe,
        digest=hashlib.blake2b(body, digest_size=8).hexdigest(),
        name=given.name,
        doc=given.doc,
        value=value,
        at=at if credited_at is None else micros(credited_at, "at"),
        received_at=micros(given.received_at, "received_at"),
        idempotency_key=given.idempotency_key,
    )


def signal(event_id: str, row: SignalRow) -> Signal:
    """Return the signal of a row."""
    return Signal(
        event_id=event_id,
        name=row.name,
        doc=row.doc,
        value=row.value,
        at=seconds(row.at),
        received_at=seconds(row.received_at),
        idempotency_key=row.idempotency_key,
    )


def signal_order(row: SignalRow) -> tuple[int, str, str, float, str]:
    """Return what signals are sorted by: nothing in it depends on when a signal arrived."""
    return (row.at, row.name, row.doc or "", row.value, row.dedupe)


def statistics_row(given: PairStatistics) -> StatisticsRow:
    """Return the row of a pair, its users distinct and at most five.

    Raises:
        RecordError: A user that is not 8 bytes, or a sum that is not finite.
    """
    users = tuple(dict.fromkeys(given.users))
    for user in users:
        if len(user) != 8:
            raise RecordError(
                "a user is marked by 8 bytes",
                code="range",
                field="users",
                value=user,
                hint="Use dwell.storage.pepper.user_mark.",
            )
    return StatisticsRow(
        n=checks.finite(given.n, "n") + 0.0,
        exposure=checks.finite(given.exposure, "exposure") + 0.0,
        credit=checks.finite(given.credit, "credit") + 0.0,
        users=b"".join(users[:MOST_USERS]),
        at=micros(given.at, "at"),
    )


def pair_statistics(query_hash: bytes, segment: str, doc: str, row: StatisticsRow) -> PairStatistics:
    """Return the pair of a row."""
    users = tuple(row.users[i : i + 8] for i in range(0, len(row.users), 8))
    return PairStatistics(
        query_hash=query_hash,
        segment=segment,
        doc=doc,
        n=row.n,
        exposure=row.exposure,
        credit=row.credit,
        users=users,
        at=seconds(row.at),
    )


def merged(kept: StatisticsRow | None, more: StatisticsRow, half_life_s: float) -> StatisticsRow:
    """Return the sums of both, decayed to the later of their instants.

    Raises:
        RecordError: A half-life that is not above zero.
    """
    if not half_life_s > 0.0:
        raise RecordError(
            "a half-life is above zero",
            code="range",
            field="half_life_s",
            value=half_life_s,
            hint="Pass seconds; math.inf keeps everything.",
        )
    if kept is None:
        return more
    at = max(kept.at, more.at)
    old = math.exp2((kept.at - at) / 1e6 / half_life_s)
    new = math.exp2((more.at - at) / 1e6 / half_life_s)
    marks = [row.users[i : i + 8] for row in (kept, more) for i in range(0, len(row.users), 8)]
    return StatisticsRow(
        n=kept.n * old + more.n * new,
        exposure=kept.exposure * old + more.exposure * new,
        credit=kept.credit * old + more.credit * new,
        users=b"".join(tuple(dict.fromkeys(marks))[:MOST_USERS]),
        at=at,
    )


def trace_rows(given: Sequence[tuple[str, bytes, int | None]]) -> dict[str, TraceRow]:
    """Return {item: row}, the last one where an item is given twice.

    Raises:
        RecordError: An item that is no identifier, a row that is not bytes, or an instant that is none.
    """
    return {
        checks.identifier(item, "item"): TraceRow(
            trace_body(packed, "packed"), None if forget_at is None else _count(forget_at, "forget_at")
        )
        for item, packed, forget_at in given
    }


def trace_body(given: object, field: str) -> bytes:
    """Return bytes that nobody can change any more.

    Raises:
        RecordError: Something else than bytes.
    """
    if not isinstance(given, bytes | bytearray | memoryview):
        raise RecordError(
            f"{field} is {type(given).__name__}, not bytes",
            code="type",
            field=field,
            value=given,
            hint="Pack it first.",
        )
    return bytes(given)


def applied_changes(given: object) -> int:
    """Return up to which n changes are applied.

    Raises:
        RecordError: Something else than a whole number from 0 to 2^63 - 1.
    """
    return _count(given, "applied")


def _count(given: object, field: str) -> int:
    if isinstance(given, bool) or not isinstance(given, SupportsIndex) or not 0 <= operator.index(given) < 2**63:
        raise RecordError(
            f"{field} is a whole number from 0 to 2^63 - 1",
            code="range",
            field=field,
            value=given,
            hint="Pass whole microseconds since 1970 in UTC." if field == "forget_at" else "Pass an n.",
        )
    return operator.index(given)
