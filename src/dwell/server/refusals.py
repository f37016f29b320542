"""Reactions that are wrong, told to whoever sent them: which field, and what to send instead.

The loop answers `rejected` with words for a program in Python. Whoever sent one reaction by itself is refused with a
problem, as with every other call; in a batch the others count, and each wrong one has its reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from dwell.errors import RecordError, RequestError
from dwell.records import Feedback, checks
from dwell.reward import SignalSpec
from dwell.reward.signals import check_signal
from dwell.server.wire import Item
from dwell.server.wording import remedy_of

__all__ = ["MAX_AHEAD_S", "in_envelope", "is_ahead", "reason_of", "refusal_of", "refuse_one", "told_apart"]

_OF_ENVELOPE: Final = {"user": '"u-77"', "key": '"dwell_pub_..."'}
MAX_AHEAD_S: Final = 300.0  # clocks of devices differ by seconds: twenty bad inputs, number 10


def in_envelope(error: RecordError) -> RecordError:
    """Return an error of a body of reactions, with where a field belongs that stands in a reaction by mistake."""
    name = (error.field or "").rpartition(".")[2]
    if error.code == "unknown_field" and name in _OF_ENVELOPE:
        error.hint = f'`{name}` stands once, beside the reactions: {{"items": [...], "{name}": {_OF_ENVELOPE[name]}}}.'
    return error


def is_ahead(item: Item, now: float) -> bool:
    """Return whether a reaction claims to be of the future, or is not in seconds."""
    return item.at is not None and item.at > now + MAX_AHEAD_S


def refusal_of(item: Item, signals: Mapping[str, SignalSpec], now: float) -> RecordError | None:
    """Return what is wrong with a reaction by itself, whatever it is about; None where nothing is.

    Args:
        item: What was sent.
        signals: The signals that are declared.
        now: The server's time, UTC epoch seconds.
    """
    try:
        checks.event_id(item.event_id)
        checks.optional_identifier(item.doc, "doc")
        check_signal(signals, item.signal, item.doc, item.value)
        if item.at is not None:
            checks.timestamp(item.at, "at")
        checks.optional_identifier(item.idempotency_key, "idempotency_key")
    except RecordError as error:
        return error
    if not is_ahead(item, now):
        return None
    return RecordError(
        f"the instant is more than {MAX_AHEAD_S / 60:g} minutes in the future",
        code="timestamp",
        field="at",
        value=item.at,
        hint="Send `at` in seconds since 1970 (UTC) by a clock that is right, or leave it out.",
    )


def reason_of(error: RecordError) -> str:
    """Return an error as the reason of a reaction that was rejected; what was sent is not repeated."""
    place = f" (field {error.field!r})" if error.field else ""
    return f"{error.code}: {error.message}{place}. {remedy_of(error.code, error.hint)}"


def told_apart(
    results: Sequence[Feedback],
    items: Sequence[Item],
    explained: Iterable[int],
    signals: Mapping[str, SignalSpec],
    now: float,
) -> list[Feedback]:
    """Return the answers to a batch, those that are wrong by themselves with their field and remedy.

    Args:
        results: What became of each reaction.
        items: The reactions.
        explained: Positions whose reason says everything.
        signals: The signals that are declared.
        now: The server's time.
    """
    known = frozenset(explained)
    found = list(results)
    for i, (result, item) in enumerate(zip(results, items, strict=True)):
        if result.status == "rejected" and i not in known:
            error = refusal_of(item, signals, now)
            found[i] = result if error is None else Feedback("rejected", reason_of(error))
    return found


def refuse_one(result: Feedback, item: Item, signals: Mapping[str, SignalSpec], now: float) -> None:
    """Return where a reaction that was sent by itself is not wrong: what came too late, say, is in order.

    Raises:
        RecordError: It is wrong by itself, or about a document that was not served.
        RequestError: Its key was used for another one.
    """
    if result.status != "rejected":
        return
    error = refusal_of(item, signals, now)
    if error is not None:
        raise error
    code, _, words = (result.reason or "").partition(": ")
    if code == "not_served":
        raise RecordError(
            "this document was not in the list of this event",
            code=code,
            field="doc",
            hint="Send `doc`, the id of a document of the list.",
        )
    if code == "idempotency_conflict":
        raise RequestError(words, code=code, field="idempotency_key", hint="Use a new key for a new reaction.")
