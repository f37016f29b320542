"""The one port: what a store promises, in prose first, then in types.

A store keeps facts for one tenant. Four kinds of fact never change once written: impressions (with their activations),
signals, params versions, gate decisions. What changes are plain columns: an event's outcome (state, version, reward,
priority) and settings, the live pointer among them. Erasure of a user is the one exception, and it is itself recorded.

* **Transactions** are atomic: all or nothing after a crash, at any instant. With `durability="full"` a transaction
  whose context has been left normally survives a power cut. One transaction at a time; a second one waits.
* **Snapshots** are consistent: everything read through one belongs to one committed state. Any thread may take one at
  any time, also while a transaction runs, and never waits for it.
* **Order**: `seq` grows by one with every impression, in commit order, and is never used twice.
* **Values**: what is returned is immutable and equal to what was written; arrays are copied at the door, floats keep
  their bits (but a negative zero in a signal's value, a list reward or a priority comes back as zero), instants are
  kept in whole microseconds.
* **Epoch**: a number per tenant that grows by one with every transaction that changed outcomes which were there before
  (`put_outcome`, `set_priorities`, `evict`, `delete_events`, `erase_user`), and commits with it. So what was derived
  from the outcomes of one epoch is in step with the store as long as the epoch is the same, whoever wrote meanwhile.
* **Traces**: beside the facts a store keeps one packed row of numbers per item, whose inside it does not know, and the
  changes that are durable with the facts of their transaction but not in those rows yet. Both are derived from facts:
  they may be replaced or dropped at any time, no call about events touches them, and they do not count for the epoch.
* **Ownership**: a process opens a store as "owner" (the only one that ingests), "serving" (ingests beside others that
  serve), "learner" (the only one that closes events, learns and judges, where those who ingest leave that to another
  process), "admin" (short transactions beside them) or "reader" (never writes). One process may own a store for several
  tenants; of one tenant a second owner, a second learner, an owner beside one that serves, and one that serves beside
  an owner are refused by `StoreOwnedError`; death frees the ownership. A store that bears one owner alone refuses
  "serving" by `ConfigError`.
* **News**: whoever serves may wait to hear that another process put params in force, erased a user or changed a setting
  of the whole store. He hears of each of them after its commit, and now and then of nothing.
* **Fork**: use in a child process raises `ForkedError`.
* **Errors**: `StorageError` and its children; a failed transaction leaves nothing behind.

`dwell.testing.StoreContract` tests every sentence above against every store.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeVar

from dwell.records import GateDecision, Impression, Params, Signal
from dwell.records.arrays import Float32Array
from dwell.records.experience import ExperienceState

__all__ = [
    "MAX_ORPHANS",
    "MAX_SIGNALS_PER_EVENT",
    "Answer",
    "Durability",
    "EventState",
    "Outcome",
    "PairStatistics",
    "Quarantined",
    "Reader",
    "Role",
    "SignalStatus",
    "Store",
    "Transaction",
    "chunks",
]

T = TypeVar("T")

Durability = Literal["full", "relaxed"]
Role = Literal["owner", "serving", "learner", "admin", "reader"]
SignalStatus = Literal["added", "duplicate", "conflict", "too_many", "overloaded"]

MAX_SIGNALS_PER_EVENT: Final = 1_000  # a list of 100 documents with ten signals each; beyond it a producer is broken
MAX_ORPHANS: Final = 100_000  # per tenant: unknown event ids can not fill the disk


@dataclass(frozen=True, slots=True)
class EventState:
    """What joining a signal needs to know of an event.

    Attributes:
        seq: Position in the store's order, >= 1.
        event_id: Identity.
        state: "open", "closed", "reopened", "not_shown" or "evicted".
        version: Counts recomputations of the reward, >= 0.
        served_at: UTC epoch seconds.
        closed_at: When its window was found over, or None while open.
        user: Pseudonym or None.
        shown: Document ids that the user saw, in order; while "not_shown", the list as served.
    """

    seq: int
    event_id: str
    state: ExperienceState
    version: int
    served_at: float
    closed_at: float | None
    user: str | None
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The part of an event that changes.

    Attributes:
        seq: The event.
        state: See `EventState`.
        version: Compare-and-set handle; grows by one with every change of the reward.
        closed_at: UTC epoch seconds, or None while open.
        reward: List reward in [-1, 1], or None while open.
        priority: >= 0, raw.
        document_rewards: float32 (k,), reward per served document in served order, each in [-1, 1]; None while open.
        reward_version: Name and version of the reward function; "" while open.
        exposure: float32 (l,), expected examination of each kept document under the logging policy; None while open
            or without features.
        exposure_se: float32 (l,), its standard error.
        examination_version: Name and version of the examination model behind `exposure`.
        predicted_reward: What the reward predictor expected of the list before its reward was known, in [-1, 1]; None
            where nothing had been learned yet.
    """

    seq: int
    state: ExperienceState
    version: int = 0
    closed_at: float | None = None
    reward: float | None = None
    priority: float = 1.0
    document_rewards: Float32Array | None = None
    reward_version: str = ""
    exposure: Float32Array | None = None
    exposure_se: Float32Array | None = None
    examination_version: str = ""
    predicted_reward: float | None = None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An event that could not be learned from, with its reason.

    Attributes:
        event_id: Identity.
        reason: A code, then words.
        at: UTC epoch seconds.
        user: Pseudonym or None, so that erasure finds it.
    """

    event_id: str
    reason: str
    at: float
    user: str | None = None


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """What is kept of evicted events, per (query hash, segment, document); never an input to the gate.

    Attributes:
        query_hash: Hash of the normalised query, 16 bytes.
        segment: Group of queries, "" for none.
        doc: Document id.
        n: Forward-decayed number of impressions at `at`.
        exposure: Forward-decayed sum of exposure at `at`.
        credit: Forward-decayed sum of reward at `at`.
        users: Up to five distinct 8-byte hashes of users seen; five mean "at least five".
        at: UTC epoch seconds to which the sums are decayed.
    """

    query_hash: bytes
    segment: str
    doc: str
    n: float
    exposure: float
    credit: float
    users: tuple[bytes, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered, so that its retry is answered the same.

    Attributes:
        key: The caller's idempotency key.
        digest: Hash of the request, so that another one under the same key is told from a retry.
        body: The answer, encoded.
        at: UTC epoch seconds.
    """

    key: str
    digest: bytes
    body: bytes
    at: float


class Reader(Protocol):
    """Everything that can be read from one committed state."""

    def setting(self, key: str) -> bytes | None:
        """Return a setting of this tenant, or None."""
        ...

    def store_setting(self, key: str) -> bytes | None:
        """Return a setting of the whole store (secret, salt, pepper fingerprint), or None."""
        ...

    def last_seq(self) -> int:
        """Return the highest seq ever given, 0 for an empty store."""
        ...

    def epoch(self) -> int:
        """Return how many transactions of this tenant have changed outcomes, 0 for an empty store.

        An event's first, open outcome and its activation do not count, nor a call that found nothing to change. Within
        a transaction it is the number that its commit leaves, its own changes so far included.
        """
        ...

    def event(self, event_id: str) -> EventState | None:
        """Return an event's state, or None where it is unknown or erased."""
        ...

    def due(self, served_before: float, *, limit: int) -> list[EventState]:
        """Return open events served at or before an instant, in seq order."""
        ...

    def events_of(self, user: str, *, since: float, until: float) -> list[EventState]:
        """Return the events of a pseudonym with since <= served_at < until, in seq order."""
        ...

    def impressions(self, seqs: Sequence[int]) -> list[Impression]:
        """Return impressions in the order asked for; those that are gone are left out.

        An activation changes `served`, `is_shown` and `is_altered` of what is returned.
        """
        ...

    def outcomes(self, seqs: Sequence[int]) -> list[Outcome]:
        """Return outcomes in the order asked for; those that are gone are left out."""
        ...

    def seqs(
        self,
        *,
        states: Sequence[str] = (),
        after: int = 0,
        before: int | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[int]:
        """Return seqs of events in these states (all where empty), ascending, or descending with `newest_first`.

        after < seq < before, and since <= served_at < until.
        """
        ...

    def signals(self, seqs: Sequence[int]) -> dict[int, list[Signal]]:
        """Return the signals of these events, each list in the order (at, name, doc, value).

        That order does not depend on the order of arrival. Every seq asked for is a key; an event without
        signals, or one that is gone, has an empty list.
        """
        ...

    def orphans(self, event_id: str) -> list[Signal]:
        """Return signals parked for an event that is not known, in the order of `signals`."""
        ...

    def answer(self, key: str) -> Answer | None:
        """Return what the request under a key was answered, or None where it is unknown or was dropped."""
        ...

    def params(self, version: int) -> Params | None:
        """Return a params version, bit for bit as it was written, or None."""
        ...

    def params_versions(self) -> list[int]:
        """Return all versions, ascending."""
        ...

    def live_version(self) -> int | None:
        """Return the version in force, or None before the first."""
        ...

    def decisions(self, *, limit: int | None = None) -> list[GateDecision]:
        """Return the ledger, oldest first; with a limit the newest ones."""
        ...

    def quarantined(self, *, event_id: str | None = None, limit: int = 1000) -> list[Quarantined]:
        """Return quarantined events, newest first."""
        ...

    def is_erased(self, user: str) -> bool:
        """Return whether this pseudonym has a tombstone."""
        ...

    def counts(self) -> dict[str, int]:
        """Return the number of events per state, and "signals", "orphans", "quarantined", "erased_users"."""
        ...

    def statistics(self, query_hash: bytes, segment: str = "") -> list[PairStatistics]:
        """Return what is kept of evicted events for a query; pairs with fewer than five distinct users are left out."""
        ...

    def traces(self, *, items: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (item, packed row) of all items, or of those of the given ones that are there.

        All come in an order that is the same as long as nothing is written, the given ones in their order, each once.
        They are read a few hundred at a time while they are asked for, so ask inside the snapshot or transaction.
        """
        ...

    def n_traces(self) -> int:
        """Return how many items have a packed row."""
        ...

    def forgettable(self, before_us: int, *, limit: int) -> list[tuple[str, int]]:
        """Return (item, forget_at) of items to be forgotten from an instant on or earlier.

        Earliest first, of equal instants in the order of the items' code points. On disk it costs as much as is
        returned, not as much as is there.

        Args:
            before_us: UTC epoch microseconds; items whose `forget_at` is this or earlier are meant.
            limit: At most so many.
        """
        ...

    def trace_changes(self, *, after: int = 0) -> list[tuple[int, bytes]]:
        """Return (n, body) of the changes that are not in the packed rows yet and have n > after, ascending by n."""
        ...

    def size_bytes(self) -> int:
        """Return the bytes that the facts take on disk (or would, for a store in memory)."""
        ...

    def spans(self) -> list[tuple[int, int]]:
        """Return the ranges of seq, first and last, that `drop_span` may remove as a whole, ascending.

        All that is left in them is this tenant's, and no event comes to them any more. Empty for a store that removes
        row by row only.
        """
        ...


class Transaction(Reader, Protocol):
    """Reads see the transaction's own writes."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo what was written inside the context if it is left by an exception; the transaction goes on."""
        ...

    def prefetch(self, event_ids: Sequence[str]) -> None:
        """Read what is known of these events at once.

        `event`, `add_impression`, `add_signal` and `take_orphans` then answer sooner, but never otherwise.
        Worth it for many events in one transaction: each statement hands the interpreter lock to whoever computes
        meanwhile, and may get it back five milliseconds later.
        """
        ...

    def put_setting(self, key: str, value: bytes) -> None:
        """Set a setting of this tenant."""
        ...

    def put_store_setting(self, key: str, value: bytes) -> None:
        """Set a setting of the whole store."""
        ...

    def add_impression(self, impression: Impression) -> int:
        """Store an impression with an outcome "open" (or "not_shown") and return its new seq.

        Raises:
            StorageError: code `duplicate_event`, where the event id is known.
        """
        ...

    def add_activation(self, seq: int, *, shown: Sequence[str], is_altered: bool, at: float) -> None:
        """Record that a deferred event was shown; its state becomes "open".

        Raises:
            StorageError: code `unknown_event`, or `not_deferred` where the event does not wait for it.
        """
        ...

    def add_signal(self, seq: int, signal: Signal, *, credited_at: float | None = None) -> SignalStatus:
        """Store a signal.

        "duplicate" where the same key (or, without one, the same name, doc, value and instant as given) is there;
        "too_many" where the event has `MAX_SIGNALS_PER_EVENT` already.
        The same key with another name, doc or value is a "conflict", and nothing is stored. Keys belong to one event;
        a signal without a key is compared with signals without a key, so that the order of arrival plays no part.

        Args:
            seq: The event.
            signal: Its `at` is the instant as given: a retry is known by it.
            credited_at: The instant that is kept as its `at`; that of the signal when not given.

        Raises:
            StorageError: code `unknown_event`.
        """
        ...

    def add_orphan(self, signal: Signal) -> SignalStatus:
        """Park a signal whose event is not known; duplicates and "too_many" as in `add_signal`.

        "overloaded" where `MAX_ORPHANS` signals of this tenant are parked: what was parked stays, so that nothing that
        was taken is lost, and whoever sends more is told.
        """
        ...

    def take_orphans(self, event_id: str) -> list[Signal]:
        """Return and remove the signals parked for an event."""
        ...

    def drop_orphans(self, received_before: float) -> int:
        """Remove parked signals that were received before an instant; return how many."""
        ...

    def put_answer(self, answer: Answer) -> None:
        """Keep what a request was answered; one that stands under the key is replaced."""
        ...

    def drop_answers(self, before: float) -> int:
        """Remove answers that were given before an instant; return how many."""
        ...

    def add_quarantined(self, quarantined: Quarantined) -> None:
        """Record an event that can not be learned from; the newest 100,000 are kept."""
        ...

    def put_outcome(self, outcome: Outcome, *, expected_version: int) -> bool:
        """Replace an event's outcome if its version is the expected one; return whether it was."""
        ...

    def set_priorities(self, seqs: Sequence[int], priorities: Sequence[float]) -> int:
        """Set the priorities of events that are there; return how many were."""
        ...

    def evict(self, seqs: Sequence[int]) -> int:
        """Mark events as evicted: the facts stay, learning no longer sees them; return how many changed."""
        ...

    def delete_events(self, seqs: Sequence[int]) -> int:
        """Remove the facts of events for good (retention); return how many were there."""
        ...

    def drop_span(self, first: int, last: int) -> int | None:
        """Remove all events of one of the `spans` for good, at the price of a few; return how many were there.

        None where it can not go right now, as while somebody reads: `delete_events` removes them at any time.
        """
        ...

    def merge_statistics(self, pairs: Sequence[PairStatistics], *, half_life_s: float, most: int) -> None:
        """Add sums of evicted events to what is kept.

        Over `most` pairs, those with the fewest users, then the oldest, go.
        """
        ...

    def add_trace_change(self, body: bytes) -> int:
        """Append a change that is not in the packed rows yet; return its n, one more than the last.

        An n is never used twice, also where all changes were dropped; one that was undone was not used.
        """
        ...

    def put_traces(
        self, rows: Sequence[tuple[str, bytes, int | None]], *, removed: Sequence[str] = (), applied: int = 0
    ) -> None:
        """Replace or add packed rows, remove others, and drop the changes that are in them now.

        Args:
            rows: (item, packed row, forget_at): UTC epoch microseconds from which on the item is to be forgotten, >= 0
                and below 2^63, or None for never. Of an item that stands twice the last one counts.
            removed: Items whose rows go, before `rows` are put; those that are not there are passed over.
            applied: Changes with n <= applied are dropped, >= 0.

        Raises:
            RecordError: An item that is no identifier, a row that is not bytes, or a number out of its range; nothing
                was written then.
        """
        ...

    def drop_traces(self) -> None:
        """Remove all packed rows and all changes of this tenant, so that both can be derived anew."""
        ...

    def add_params(self, params: Params) -> None:
        """Store a new params version.

        Raises:
            StorageError: code `duplicate_version`.
        """
        ...

    def set_live(self, version: int) -> None:
        """Move the live pointer to a version that is there.

        Raises:
            StorageError: code `unknown_version`.
        """
        ...

    def add_decision(self, decision: GateDecision) -> None:
        """Append a decision to the ledger."""
        ...

    def erase_user(self, user: str, *, at: float) -> list[int]:
        """Remove every fact of a pseudonym, leave a tombstone, and return the seqs that went.

        Impressions, activations, outcomes, signals, orphans of those events, quarantine, and statistics that still
        name the user (by `pepper.user_mark`). Traces and their changes stay: they name items, not users, but count
        what was erased, so that whoever keeps them writes the corrected rows in the same transaction.
        """
        ...


class Store(Protocol):
    """A durable place for the facts of one tenant."""

    @property
    def role(self) -> Role:
        """How this process opened it."""
        ...

    @property
    def where(self) -> str:
        """What it was opened with."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction: commits when the context is left normally, else nothing has happened.

        Raises:
            StoreBusyError: Another process held the write lock too long.
            StorageError: role "reader", closed, forked, disk full or failed.
        """
        ...

    def snapshot(self) -> AbstractContextManager[Reader]:
        """Read one committed state, from any thread, without waiting for a transaction."""
        ...

    def data_version(self) -> int:
        """Return a number that changes when another process has committed; waits for nobody."""
        ...

    def n_takings(self) -> int:
        """Return how often this process took the right of its role: once, and anew where a database lost its session.

        Another process may have had it in between, and changed what only who has it changes. Where it is lost now it
        is taken again first.

        Raises:
            StoreOwnedError: Another process has it.
            StorageError: Role "reader", closed or forked; or the database is away.
        """
        ...

    def wait_for_news(self, timeout_s: float) -> bool:
        """Return True as soon as there may be news of another process, False where there was none for so long.

        For one thread at a time.

        Args:
            timeout_s: How long to wait, >= 0.

        Raises:
            StorageError: There is no telling; what was missed meanwhile, the next call tells.
        """
        ...

    def verify(self) -> list[str]:
        """Return what is damaged, one line each, empty for a sound store; reads everything."""
        ...

    def scrub(self) -> None:
        """Overwrite what was deleted and fold the journal into the file, so that erased text stands nowhere on disk."""
        ...

    def close(self) -> None:
        """Release everything; closing twice is legal."""
        ...


def chunks(many: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield consecutive slices of at most `size`."""
    for start in range(0, len(many), size):
        yield many[start : start + size]
