"""What stays, what goes and what is forgotten on purpose: closing, eviction, retention, erasure."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from dwell.errors import ArchiveError, RingUnusable, StorageError, StoreBusyError
from dwell.loop.activity import Watch
from dwell.loop.archiving import (
    FAILING,
    PART_ROWS,
    Archived,
    archive_first,
    erase_from_archives,
    put_pending,
    retry_erasures,
    told_failing,
    unchanged,
)
from dwell.loop.close import close_one, logged_exposure
from dwell.loop.erasures import ERASURES, n_erasures_of
from dwell.loop.expected import expected_rewards
from dwell.loop.feedback import ANSWERS_KEPT_S, ORPHAN_WINDOW_S
from dwell.loop.follow import follow_learner
from dwell.loop.judge import Judgement
from dwell.loop.replayed import Notes
from dwell.loop.rows import late_us, query_digest
from dwell.loop.state import LoopState
from dwell.loop.warm_up import recall_warm_up
from dwell.records import Impression
from dwell.storage import EventState, Outcome, PairStatistics, Reader, Transaction, pseudonym, user_mark
from dwell.storage.instants import micros
from dwell.storage.places import has_side_files
from dwell.storage.protocol import chunks

__all__ = ["RING_NOTES", "checkpoint", "close_events", "ensure_rebuilt", "erase", "evict", "start_over", "take_in"]

_log = logging.getLogger("dwell")

_AT_ONCE: Final = 200  # events per commit: the writer must come back to feedback within tens of milliseconds
MAX_PAIRS: Final = 1_000_000  # design, section 4: statistics of evicted events are bounded
_STATISTICS_HALF_LIFE_S: Final = 2_592_000.0  # 30 days: longer than learning looks back, shorter than content lives
_SIZE_BATCH: Final = 1_000
RING_NOTES: Final = "ring"  # setting of the tenant that says with what the ring's file agrees
_CHECKPOINT_ATTEMPTS: Final = 5  # feedback that comes in at the same moment sets the store one step ahead
_SCRUB_ATTEMPTS: Final = 6  # each waits 5 s for the lock: half a minute in all


def close_events(state: LoopState, now: float) -> int:
    """Turn events whose window is over into experiences; return how many were closed.

    Late rewards are taken into memory, what no longer fits is evicted, and what is past its retention is removed.
    """
    if state.store.role == "admin" or state.is_learning_elsewhere:
        raise StorageError(
            "another process closes events here: what it learns from would not know of these",
            code="not_owner",
            hint="Call it in the process that owns the store, or that learns for it.",
        )
    take_in(state)
    n_closed = sum(_close(state, part) for part in _due(state, now))
    _take_in_reopened(state)
    _retain(state, now)
    return n_closed


class _Due(NamedTuple):
    """An event whose window is over; compared by when it can be taken up, and by seq."""

    taken_up_us: int
    seq: int
    event: EventState
    impression: Impression


def _due(state: LoopState, now: float) -> Iterator[list[_Due]]:
    """Yield parts of what is due, each to be closed before the next one is asked for, in the order of taking up.

    Seqs tell that order but for events that were activated after their window's end: these wait for their turn, so that
    memory is filled in the order in which it would be filled from the store.
    """
    window_s = state.rules.attribution_window_s
    late: dict[int, _Due] = {}
    while True:
        with state.store.snapshot() as reader:
            events = reader.due(now - window_s, limit=_AT_ONCE + len(late))
            fresh = {event.seq: event for event in events if event.seq not in late}
            impressions = reader.impressions(list(fresh))
        on_time = []
        for impression in impressions:
            event = fresh[impression.seq]
            after_us = late_us(impression, event.served_at + window_s)
            one = _Due(micros(event.served_at, "served_at") + after_us, event.seq, event, impression)
            if after_us:
                late[one.seq] = one
            else:
                on_time.append(one)
        if impressions and not on_time:
            continue  # all of them are late: who is on time may stand behind them
        until = max(on_time)[:2] if on_time else None
        part = sorted([*on_time, *(one for one in late.values() if until is None or one[:2] < until)])[:_AT_ONCE]
        if not part:
            return
        for one in part:
            late.pop(one.seq, None)
        yield part


def _close(state: LoopState, due: Sequence[_Due]) -> int:
    # exposure depends on what was logged alone, so it is computed before the writer is asked for its time
    impressions = [one.impression for one in due]
    exposed = [(one.event, one.impression, logged_exposure(one.impression, state.rules.examination)) for one in due]
    predicted: list[float | None] = [None] * len(due)
    if state.expected is not None:
        predicted = expected_rewards(state.expected, impressions, state.theta(), most=state.limits.max_results)

    def job(tx: Transaction) -> list[tuple[Impression, Outcome]]:
        closed = []
        for (event, impression, exposure), reward in zip(exposed, predicted, strict=True):
            outcome = close_one(tx, event, impression, exposure, state.rules, predicted_reward=reward)
            if outcome is not None:
                closed.append((impression, outcome))
        return closed

    with state.replayed.changing(is_written=False) as change:
        closed = state.write(job)
        change.is_written = True
        evict(state, state.replayed.admit_many(closed, state.feature_names))
    return len(closed)


def take_in(state: LoopState) -> None:
    """Bring the memory up to what was committed: before anything is sampled or judged.

    What other processes promoted or erased, what is still queued, what an earlier run left, and late rewards.
    """
    if state.writer is not None:
        state.writer.flush()  # first: a version of our own that is on its way hides what others made live
    state.refresh(at_once=True)
    _heed_others(state)
    if state.replayed.is_doubtful:
        _log.warning("an earlier call ended half way: what is learned from is made from the facts again")
        start_over(state)
    ensure_rebuilt(state)
    with state.store.snapshot() as reader:
        n_erasures = n_erasures_of(reader)
        if state.store.role == "learner":
            state.reopened |= _reopened_elsewhere(state, reader)
    if n_erasures != state.replayed.n_erasures:
        with state.replayed.changing():
            _drop_erased(state)
        state.replayed.n_erasures = n_erasures
    _take_in_reopened(state)


def _heed_others(state: LoopState) -> None:
    """Forget what is in memory where another process may have closed, evicted and learned since it was taken in."""
    if state.store.role not in {"owner", "learner"}:
        return
    n_takings = state.store.n_takings()
    if n_takings == state.n_takings:
        return
    _log.warning("the database lost this process's session: what is learned from is made from the facts again")
    start_over(state)
    state.reopened.clear()
    follow_learner(state)
    state.n_takings = n_takings


def _reopened_elsewhere(state: LoopState, reader: Reader) -> set[int]:
    """Return the events in memory whose reward the store's owner computed anew since they were taken in."""
    if state.replayed.epoch == reader.epoch():
        return set()
    rows = state.replayed.rows.index("seq", "version")
    known = dict(zip(rows["seq"].tolist(), rows["version"].tolist(), strict=True))
    found: set[int] = set()
    for part in chunks(reader.seqs(states=("reopened",)), _AT_ONCE):
        found.update(o.seq for o in reader.outcomes(part) if known.get(o.seq, o.version) != o.version)
    state.replayed.epoch = reader.epoch()
    return found


def ensure_rebuilt(state: LoopState) -> None:
    """Take up the column ring, or make it from the facts, once; what there is no room for is evicted."""
    if state.is_rebuilt:
        return
    with state.replayed.changing():
        with state.store.snapshot() as reader:
            n_erasures = n_erasures_of(reader)
            gone = [] if _reopened(state, reader) else state.replayed.rebuild(reader, state.feature_names)
        state.replayed.n_erasures = n_erasures
        state.is_rebuilt = True
        if state.store.role in {"owner", "learner"}:
            for part in chunks(gone, _AT_ONCE):
                evict(state, part)


def start_over(state: LoopState) -> None:
    """Forget what is learned from, the ring's file included; whoever needs it next makes it from the facts."""
    state.replayed.start_over()
    state.is_rebuilt = False
    if state.store.role == "owner":
        state.replayed.rows.discard()


def _reopened(state: LoopState, reader: Reader) -> bool:
    """Return whether the ring's file holds what these facts say; if not, why not stands in the log."""
    body = reader.setting(RING_NOTES)
    if body is None or state.store.role != "owner" or not has_side_files(state.store.where):
        return False
    try:
        state.replayed.reopen(msgspec.msgpack.decode(body, type=Notes), reader.epoch())
    except (RingUnusable, StorageError, msgspec.DecodeError) as error:
        _log.info("the column ring is made from the facts: %s", error)
        return False
    return True


def checkpoint(state: LoopState) -> bool:
    """Bring the column ring to disk in step with the store; return whether it is.

    Where it is not, because another process changed the facts this very moment or the disk refused, nothing is lost:
    the ring is made again at the next opening.
    """
    replayed = state.replayed
    if not state.is_rebuilt or state.writer is None or replayed.is_doubtful or not replayed.rows.has_file:
        return False
    try:
        return any(_checkpointed(state) for _ in range(_CHECKPOINT_ATTEMPTS))
    except StorageError as error:
        _log.warning("the column ring was not brought to disk: %s", error)
        return False


def _checkpointed(state: LoopState) -> bool:
    """Bring the column ring to disk unless the facts move on meanwhile; return whether it is."""
    take_in(state)
    with state.store.snapshot() as reader:
        epoch, n_erasures = reader.epoch(), n_erasures_of(reader)
    if state.writer is not None:
        # an event is told to be reopened after its commit: of all that this epoch holds, it has been told now
        state.writer.flush()
    replayed = state.replayed
    if state.reopened or n_erasures != replayed.n_erasures:
        return False
    if replayed.rows.is_clean and replayed.epoch == epoch:
        return True
    notes = replayed.notes(epoch)

    def job(tx: Transaction) -> bool:
        is_still = tx.epoch() == epoch
        if is_still:
            tx.put_setting(RING_NOTES, msgspec.msgpack.encode(notes))
        return is_still

    is_noted = state.write(job)
    if is_noted:
        replayed.checkpoint(notes)
    return is_noted


def _forget(state: LoopState, seqs: Sequence[int]) -> None:
    """Drop erased events from what is learned from and from what judges; the rest of the sequence stays as it is."""
    state.replayed.drop(seqs)
    for judgement in _judgements(state):
        judgement.forget(seqs)


def _stand_on(state: LoopState, gone: set[int]) -> None:
    """Keep which events judged first, now that some are erased: their absence is no loss of evidence."""
    for name, one in (("proposal", state.standing), ("watched", state.watched)):
        if one is None or not gone & set(one.proposal.first_seqs):
            continue
        first = [seq for seq in one.proposal.first_seqs if seq not in gone]
        if one.judgement is not None:
            first = one.judgement.first_seqs()
        one.proposal = msgspec.structs.replace(one.proposal, first_seqs=first)
        body = msgspec.msgpack.encode(one.proposal)
        state.write(lambda tx, name=name, body=body: tx.put_setting(name, body))  # type: ignore[misc]


def _judgements(state: LoopState) -> list[Judgement]:
    return [one.judgement for one in (state.standing, state.watched) if one is not None and one.judgement is not None]


def _drop_erased(state: LoopState) -> None:
    """Forget events in memory whose facts are gone."""
    judged = {seq for judgement in _judgements(state) for seq in (*judgement.known, *judgement.drafts)}
    seqs = sorted({*state.replayed.rows.seqs_in_close_order().tolist(), *judged})
    with state.store.snapshot() as reader:
        there = set(reader.seqs())
    _forget(state, [seq for seq in seqs if seq not in there])
    recall_warm_up(state)


def _take_in_reopened(state: LoopState) -> None:
    """Take late rewards into memory."""
    seqs = sorted(state.reopened)
    if not seqs:
        return
    with state.replayed.changing():
        state.reopened.difference_update(seqs)
        with state.store.snapshot() as reader:
            outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
            impressions = reader.impressions(seqs)
        for impression in impressions:
            if impression.seq in outcomes:
                evict(state, state.replayed.admit(impression, outcomes[impression.seq], state.feature_names))


def evict(state: LoopState, seqs: Sequence[int]) -> None:
    """Mark events as no longer learned from, and keep what can be said of them without any user."""
    if not seqs:
        return

    def job(tx: Transaction) -> int:
        tx.merge_statistics(_statistics(tx, seqs), half_life_s=_STATISTICS_HALF_LIFE_S, most=MAX_PAIRS)
        return tx.evict(seqs)

    state.counters["evicted"] += state.write(job)


def _statistics(reader: Reader, seqs: Sequence[int]) -> list[PairStatistics]:
    """Return the sums that evicted events leave behind, one per event and document."""
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
    pairs = []
    for impression in reader.impressions(seqs):
        outcome = outcomes.get(impression.seq)
        if outcome is None or outcome.exposure is None or outcome.document_rewards is None:
            continue
        credit = dict(zip(impression.served, outcome.document_rewards.tolist(), strict=False))
        user = () if impression.user is None else (user_mark(impression.user),)
        pairs += [
            PairStatistics(
                query_hash=query_digest(impression.query),
                segment=impression.segment or "",
                doc=doc,
                n=1.0,
                exposure=float(exposure),
                credit=credit.get(doc, 0.0),
                users=user,
                at=impression.served_at,
            )
            for doc, exposure in zip(impression.documents, outcome.exposure, strict=True)
        ]
    return pairs


def _retain(state: LoopState, now: float) -> None:
    """Remove facts that are past their retention, or that the store has no room for, and orphans nobody claimed.

    Where events are archived first and the archive can not take them, they stay: it is counted and told.
    """
    state.write(lambda tx: (tx.drop_orphans(now - ORPHAN_WINDOW_S), tx.drop_answers(now - ANSWERS_KEPT_S)))
    try:
        retry_erasures(state)
        if state.limits.retention_s is not None:
            with state.store.snapshot() as reader:
                old = reader.seqs(until=now - state.limits.retention_s)
            _remove(state, old)
        while state.store_size() > state.limits.max_store_bytes:
            with state.store.snapshot() as reader:
                evicted = _oldest_evicted(reader)
            if not _remove(state, evicted):
                break
    except ArchiveError as error:
        told_failing(state, error)
    else:
        if state.counters[FAILING]:
            state.counters[FAILING] = 0


def _remove(state: LoopState, seqs: Sequence[int]) -> int:
    """Delete events, each as it stands in the archive where there is one; return how many went.

    Raises:
        ArchiveError: They could not be archived; those that were not are still there.
    """
    if not seqs:
        return 0
    one_by_one = seqs
    if state.limits.archive is None:  # there, too, each goes as it stands, which takes a look at each
        one_by_one = _drop_spans(state, seqs)
    n_removed = len(seqs) - len(one_by_one)
    for block in chunks(one_by_one, PART_ROWS):
        archived = archive_first(state, block)

        def job(tx: Transaction, part: Sequence[int], archived: dict[int, Archived] | None = archived) -> list[int]:
            gone = list(part)
            if archived is not None:  # what changed since it was read is archived anew the next time
                gone = unchanged(tx, part, archived)
            tx.delete_events(gone)
            return gone

        with state.replayed.changing(is_written=False) as change:
            for part in chunks(block, _AT_ONCE):
                gone = state.write(lambda tx, part=part, job=job: job(tx, part))  # type: ignore[misc]
                change.is_written = True
                state.replayed.drop(gone)
                state.counters["removed"] += len(gone)
                n_removed += len(gone)
    _drop_spans(state, [])  # what is empty by now
    return n_removed


def _oldest_evicted(reader: Reader) -> list[int]:
    """Return some of the oldest evicted events: all of a span, where nothing else is in it."""
    oldest = reader.seqs(states=("evicted",), limit=_SIZE_BATCH)
    for first, last in reader.spans() if oldest else ():
        if first <= oldest[0] <= last:
            evicted = reader.seqs(states=("evicted",), after=first - 1, before=last + 1)
            if evicted == reader.seqs(after=first - 1, before=last + 1):
                return evicted
    return oldest


def _drop_spans(state: LoopState, seqs: Sequence[int]) -> list[int]:
    """Remove spans of which nothing would be left without these ascending seqs; return those that are still there."""
    with state.store.snapshot() as reader:
        whole = []
        for first, last in reader.spans():
            mine = seqs[bisect_left(seqs, first) : bisect_right(seqs, last)]
            if reader.seqs(after=first - 1, before=last + 1, limit=len(mine) + 1) == mine:
                whole.append((first, last, mine))
    left = set(seqs)
    for first, last, mine in whole:
        with state.replayed.changing(is_written=False) as change:
            n = state.write(lambda tx, first=first, last=last: tx.drop_span(first, last))  # type: ignore[misc]
            change.is_written = True
            if n is None:
                continue
            state.replayed.drop(mine)
        state.counters["removed"] += n
        left.difference_update(mine)
    return sorted(left)


def erase(state: LoopState, user: str, now: float) -> int:
    """Remove everything of a user from store, memory and archives, leave a tombstone, and return how many events went.

    First the facts go, in one transaction, then the file is written anew, so that their bytes stand nowhere on it, then
    every part of an archive that holds some.

    Raises:
        StoreBusyError: The facts are gone for every reader, their bytes are not overwritten yet: another process held
            an older state for half a minute. Call again.
        StorageError: The facts could not be removed, and nothing is half erased; or, with the facts gone, the file
            could not be written anew, as where no space is left for its copy. Call again; where the facts are gone
            it then returns 0.
        ArchiveError: The facts are gone, and an archive could not be reached: it is pending until it is.
    """
    who = pseudonym(state.identity.pepper, state.identity.tenant, user)
    if state.replayed.is_doubtful:  # an erasure that ended half way may have left something there
        start_over(state)

    def job(tx: Transaction, watch: Watch | None) -> tuple[list[int], int]:
        if watch is not None:
            watch.erased(tx, who)
        n_erasures = n_erasures_of(tx) + 1
        tx.put_setting(ERASURES, msgspec.msgpack.encode(n_erasures))
        put_pending(tx, who)
        return tx.erase_user(who, at=now), n_erasures

    with state.replayed.changing(is_written=False) as change:
        gone, n_erasures = state.write_watched(job)
        change.is_written = True
        _forget(state, gone)
        _stand_on(state, set(gone))
        if n_erasures == state.replayed.n_erasures + 1:  # else another process erased, too: it is looked for later
            state.replayed.n_erasures = n_erasures
        if not state.replayed.rows.has_file:
            # nobody here has opened the ring's file, and it holds what was erased: it is made again
            state.replayed.rows.discard()
    with state.serving:
        state.recent.clear()
    recall_warm_up(state)
    state.counters["erased_events"] += len(gone)
    checkpoint(state)  # what was dropped from the ring has left the disk as well
    _scrub(state)
    return len(gone) + erase_from_archives(state)


def _scrub(state: LoopState) -> None:
    """Overwrite on disk what was erased; a reader that holds an old state for a while is waited for.

    Raises:
        StoreBusyError: It held on for half a minute: the facts are gone for every reader, their bytes not yet.
    """
    for attempt in range(_SCRUB_ATTEMPTS):
        try:
            state.store.scrub()
        except StoreBusyError as error:
            if attempt == _SCRUB_ATTEMPTS - 1:
                raise StoreBusyError(
                    "the user is erased, but another process still reads an older state of the file",
                    hint="Call erase again once it is done, so that the erased bytes are overwritten too.",
                ) from error
        else:
            return
