"""The second arrow: a signal finds the list that it belongs to, inside the transaction that makes it durable."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from dwell.loop.activity import Watch
from dwell.loop.close import Rules, reopen
from dwell.records import Feedback, Impression, Signal
from dwell.reward.lifecycle import credited_at, join_status
from dwell.reward.provenance import MAX_AGENT_SIGNALS, is_agents
from dwell.storage import EventState, SignalStatus, Transaction
from dwell.storage.protocol import MAX_ORPHANS, MAX_SIGNALS_PER_EVENT

__all__ = ["ANSWERS_KEPT_S", "ORPHAN_WINDOW_S", "Joined", "join_all", "record_impression"]

ORPHAN_WINDOW_S = 86_400.0  # a signal that came before its impression waits for a day
ANSWERS_KEPT_S: Final = (
    604_800.0  # a retry of a keyed request is answered the same for a week, as long as it may be late
)


_REFUSED: Final[dict[SignalStatus, str]] = {
    "conflict": "idempotency_conflict: this key was used for another signal",
    "too_many": f"too_many: an event keeps at most {MAX_SIGNALS_PER_EVENT} signals",
    "overloaded": f"overloaded: {MAX_ORPHANS} signals wait for events that are not known; try again",
}


_TAKEN: Final = frozenset({"joined", "late"})


class Joined(NamedTuple):
    """What became of a signal, and what must be looked at again.

    Attributes:
        feedback: The answer.
        reopened: Seq of the closed event whose reward changes, or None.
        is_skewed: Whether its clock ran before the served time.
        is_future: Whether its clock ran ahead of the receiver's.
        signal: Its name, "" where the request was answered before.
        delay_s: From when the list was served to what it is credited at, >= 0; None where it found no list.
    """

    feedback: Feedback
    reopened: int | None = None
    is_skewed: bool = False
    is_future: bool = False
    signal: str = ""
    delay_s: float | None = None


def join_all(tx: Transaction, signals: Sequence[Signal], rules: Rules, watch: Watch | None = None) -> list[Joined]:
    """Store checked signals where they belong and say what became of each.

    The reward of a closed event is computed once, from all of them: signal by signal the work would grow with the
    square of their number.

    Args:
        tx: Where they are stored.
        signals: In the order given.
        rules: How signals become reward.
        watch: What is to be told of what changes for activation.
    """
    if watch is not None:
        for known in _known(tx, [signal.event_id for signal in signals]):
            watch.expect(tx, known)
    joined = [_join(tx, signal, rules)._replace(signal=signal.name) for signal in signals]
    if watch is not None:
        taken = [s.event_id for s, one in zip(signals, joined, strict=True) if one.feedback.status in _TAKEN]
        for changed in _known(tx, taken):
            watch.reacted(tx, changed)
    wanted = {one.reopened: signal.event_id for one, signal in zip(joined, signals, strict=True) if one.reopened}
    for event_id in wanted.values():
        event = tx.event(event_id)
        if event is not None:
            reopen(tx, event, rules)
    return joined


def _known(tx: Transaction, event_ids: Sequence[str]) -> list[EventState]:
    found = (tx.event(event_id) for event_id in dict.fromkeys(event_ids))
    return [event for event in found if event is not None]


def _join(tx: Transaction, signal: Signal, rules: Rules) -> Joined:
    event = tx.event(signal.event_id)
    if event is None:
        return Joined(_park(tx, signal))
    if signal.doc is not None and signal.doc not in event.shown:
        return Joined(
            Feedback("rejected", f"not_served: document {signal.doc!r:.80} was not in the list of this event")
        )
    answer = join_status(event.state, event.closed_at, signal.received_at, late_window_s=rules.late_window_s)
    if answer.status == "rejected":
        return Joined(answer)
    credited = credited_at(signal.at, event.served_at, signal.received_at)
    is_own_word = is_agents(signal.name)
    refusal = _agents_refusal(tx.signals([event.seq])[event.seq], signal) if is_own_word else None
    if refusal is not None:
        return Joined(refusal)
    status = tx.add_signal(event.seq, signal, credited_at=credited.at)
    if status != "added":
        return Joined(_not_new(status))
    # what agents say is in no reward: there is nothing to compute again
    reopened = event.seq if answer.status == "late" and not is_own_word else None
    delay_s = max(credited.at - event.served_at, 0.0)
    return Joined(answer, reopened, credited.is_skewed, credited.is_future, delay_s=delay_s)


def _agents_refusal(there: Sequence[Signal], signal: Signal) -> Feedback | None:
    """Return the answer to an agent's word that is not stored: it has said so before, or has said too much."""
    own = [said for said in there if is_agents(said.name)]
    about = [said for said in own if said.doc == signal.doc]
    newest = max(about, key=lambda said: (said.at, said.received_at, said.name, said.value), default=None)
    if newest is not None and (newest.name, newest.value) == (signal.name, signal.value):
        return Feedback("duplicate", "said_before: an agent's word counts once per event and document")
    if len(own) >= MAX_AGENT_SIGNALS:
        return Feedback("rejected", f"too_many: an event keeps at most {MAX_AGENT_SIGNALS} words of agents")
    return None


def _park(tx: Transaction, signal: Signal) -> Feedback:
    """Keep a signal whose event is not known yet, unless it is known why it never will be."""
    quarantined = tx.quarantined(event_id=signal.event_id, limit=1)
    if quarantined:
        return Feedback("rejected", f"quarantined: the event was not recorded ({quarantined[0].reason})")
    status = tx.add_orphan(signal)
    return Feedback("orphan", "unknown_event: parked for 24 hours") if status == "added" else _not_new(status)


def _not_new(status: SignalStatus) -> Feedback:
    if status == "duplicate":
        return Feedback("duplicate")
    return Feedback("rejected", _REFUSED[status])


def record_impression(
    tx: Transaction,
    impression: Impression,
    rules: Rules,
    on_joined: Callable[[Joined], None],
    watch: Watch | None = None,
) -> int | None:
    """Store an impression, join the signals that waited for it, return its seq; None where it is known already."""
    if tx.event(impression.event_id) is not None:
        return None
    if watch is not None:
        watch.expect(tx, _state_of(impression, 0))
    seq = tx.add_impression(impression)
    if watch is not None:
        watch.served(_state_of(impression, seq))
    orphans = tx.take_orphans(impression.event_id)
    in_time = [orphan for orphan in orphans if impression.served_at - orphan.received_at <= ORPHAN_WINDOW_S]
    for joined in join_all(tx, in_time, rules, watch):
        on_joined(joined)
    return seq


def _state_of(impression: Impression, seq: int) -> EventState:
    """Return what the log says of an event right after it was stored."""
    return EventState(
        seq=seq,
        event_id=impression.event_id,
        state="open" if impression.is_shown else "not_shown",
        version=0,
        served_at=impression.served_at,
        closed_at=None,
        user=impression.user,
        shown=impression.served,
    )
