"""ACT-R activation of items, kept up to date by events: the bufferless learner, usable alone.

memory = Activation()
memory.serve(["doc-1", "doc-2"], at=1_700_000_000_000_000, event_id="e-1")
memory.feedback("e-1", "doc-1", 1.0)
memory.scores(["doc-1", "doc-2", "doc-3"], now=1_700_000_060_000_000)
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from dwell.activation import arguments
from dwell.activation.capping import DEFAULT_CAP
from dwell.activation.explain import Explanation
from dwell.activation.forgetting import Bounded, Worth, bounded, worth
from dwell.activation.histories import ExactHistories, LatestAccesses
from dwell.activation.instants import Instant, as_us
from dwell.activation.journal import DEFAULT_OPEN_EVENTS, Increment, Journal
from dwell.activation.ladder import LADDER_12, Ladder, checked_decay
from dwell.activation.merging import apply_increments, merge_histories
from dwell.activation.petrov import DEFAULT_RECENT
from dwell.activation.reading import Channels, Kept, Meaning, Reading, log_of
from dwell.activation.rewarded import Law, Prior, drawn_activation
from dwell.activation.table import Changes, TraceTable
from dwell.records import checks
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["Activation", "FeedbackStatus", "ServeStatus"]

ServeStatus = Literal["taken", "duplicate", "late"]
FeedbackStatus = Literal["counted", "beyond_cap", "duplicate", "orphan"]


class Activation:
    """Activation of any number of items, from what was served and what came of it.

    A serve adds exposure, never reward; feedback adds reward at the instant of its serve; A = ln(P + alpha) -
    ln(E + alpha + beta). Events may come in any order and twice. Reading changes nothing. Safe from any thread.

    Args:
        decay: d in [0.1, 0.9]; may be changed at any time, for the past too.
        meaning: What base level is computed from. "traces": K sums per channel, within `ladder.bound_nats` of the exact
            value for ages of 60 s to 10 years, memory constant. "exact": every event is kept. "petrov": the latest
            accesses and a formula for the others, for `channels="access"` only.
        channels: "reward": A as above. "access": plain ACT-R, A = B = ln P: exposure is kept and not used.
        ladder: Of the traces.
        prior: What is believed of an item without a history.
        session_cap: Most events that count per (item, session): the first by served time and event id. None: all.
        max_open_events: Most events that can still change; the oldest become final beyond it. See `seal`.
        n_recent: k of "petrov".

    Raises:
        ConfigError: An argument is unknown or out of its range.
    """

    def __init__(
        self,
        *,
        decay: float = 0.5,
        meaning: Meaning = "traces",
        channels: Channels = "reward",
        ladder: Ladder = LADDER_12,
        prior: Prior | None = None,
        session_cap: int | None = DEFAULT_CAP,
        max_open_events: int = DEFAULT_OPEN_EVENTS,
        n_recent: int = DEFAULT_RECENT,
    ) -> None:
        arguments.one_of(meaning, "meaning", get_args(Meaning))
        arguments.one_of(channels, "channels", get_args(Channels))
        arguments.hybrid_setting(meaning, channels)
        cap = None if session_cap is None else arguments.setting_whole(session_cap, "session_cap", 1_000_000)
        self._journal = Journal(cap, arguments.setting_whole(max_open_events, "max_open_events", 100_000_000))
        kept: Kept
        if meaning == "traces":
            kept = TraceTable(arguments.setting_ladder(ladder))
        elif meaning == "exact":
            kept = ExactHistories()
        else:
            kept = LatestAccesses(arguments.setting_whole(n_recent, "n_recent", 10_000))
        self._reading = Reading(
            kept=kept,
            decay=arguments.setting_decay(decay),
            meaning=meaning,
            channels=channels,
            prior=arguments.setting_prior(prior),
            ladder=arguments.setting_ladder(ladder),
        )
        self._n_future = 0
        self._n_late = 0
        self._lock = threading.RLock()

    def __len__(self) -> int:
        """Return the number of items with a history or a pin."""
        return len(self._reading.kept)

    def __contains__(self, item: object) -> bool:
        return item in self._reading.kept

    @property
    def decay(self) -> float:
        """Return d."""
        return self._reading.decay

    @property
    def meaning(self) -> Meaning:
        """What base level is computed from."""
        return self._reading.meaning

    @property
    def channels(self) -> Channels:
        """Which channels enter activation."""
        return self._reading.channels

    @property
    def ladder(self) -> Ladder:
        """The ladder of the traces."""
        return self._reading.ladder

    @property
    def session_cap(self) -> int | None:
        """Most events that count per (item, session)."""
        return self._journal.cap

    @property
    def prior(self) -> Prior:
        """What is believed of an item without a history."""
        return self._reading.prior

    @property
    def worth(self) -> Worth:
        """What an access is worth after an hour, a day and a year, relative to a minute; it shows the decay."""
        return worth(self._reading.decay)

    @property
    def n_open_events(self) -> int:
        """Events that can still change."""
        return len(self._journal)

    @property
    def n_future(self) -> int:
        """Events that claimed to be later than `now` and were put at `now`."""
        return self._n_future

    @property
    def n_late(self) -> int:
        """Events that came when their part of the past was sealed; nothing of them was added."""
        return self._n_late

    def items(self) -> list[str]:
        """Return all items, in the order of `scores(None, now)`."""
        with self._lock:
            return self._reading.kept.items()

    # ---------------------------------------------------------------- events

    def serve(
        self,
        items: Sequence[str],
        at: Instant,
        *,
        event_id: str,
        session: str | None = None,
        exposures: Sequence[float] | FloatArray | None = None,
        now: Instant | None = None,
    ) -> ServeStatus:
        """Record that items were shown: exposure, and nothing else.

        Args:
            items: Different ids, in the order shown.
            at: When.
            event_id: Identity of the served list; known ones have no effect.
            session: Whose influence is capped together; None for an event of its own. Not with "petrov".
            exposures: (n,) in [0, 1], such as examination by position; 1 each when not given, which did better in
                simulation: small exposures are noisy.
            now: Instant of taking it in, where it is known: `at` later than this becomes this, and is counted.

        Raises:
            RecordError: An id, an instant or an exposure is malformed, or an item stands twice.
        """
        ids, at_us = self._checked(items, at, event_id, session)
        shown = arguments.exposures_of(ids, exposures)
        with self._lock:
            status, found = self._served(event_id, self._not_after(at_us, now), session, shown)
            apply_increments(self._reading.kept, found)
            self._journal.trim()
        return status

    def _checked(
        self, items: Sequence[str], at: Instant, event_id: str | None, session: str | None
    ) -> tuple[Sequence[str], int]:
        ids = arguments.item_ids(items, self._reading.kept.known)
        if event_id is not None:
            checks.event_id(event_id)
        arguments.session_of(session, self.meaning)
        return ids, as_us(at, "at")

    def _served(
        self, event_id: str, at_us: int, session: str | None, shown: dict[str, float]
    ) -> tuple[ServeStatus, list[Increment]]:
        if event_id in self._journal:
            return "duplicate", []
        if self._journal.is_late(event_id, at_us):
            self._n_late += 1
            return "late", []
        return "taken", self._journal.serve(event_id, at_us, session, shown)

    def feedback(self, event_id: str, item: str, reward: float, *, feedback_id: str = "reward") -> FeedbackStatus:
        """Add what was said of a served item, at the instant of the serve, however late it comes.

        Args:
            event_id: Of the serve.
            item: One of its items.
            reward: In [-1, 1]; what is negative adds its size to exposure. Of one event and item, positive and negative
                feedback count up to 1 each.
            feedback_id: Feedback with the same id replaces what it had said; other ids add up.

        Returns:
            "counted"; "beyond_cap": kept, and counted when an earlier event of the session is retracted; "duplicate":
            this id has said the same before; "orphan": no open event served this item.

        Raises:
            RecordError: An id is malformed or the reward outside [-1, 1].
        """
        arguments.not_hybrid(self.meaning, "feedback")
        value = checks.within(reward, "reward", -1.0, 1.0)
        checks.event_id(event_id)
        checks.identifier(item, "item")
        checks.identifier(feedback_id, "feedback_id")
        with self._lock:
            if not self._journal.has(event_id, item):
                return "orphan"
            if self._journal.said(event_id, item, feedback_id) == value:
                return "duplicate"
            apply_increments(self._reading.kept, self._journal.feedback(event_id, item, feedback_id, value))
            return "counted" if self._journal.counts(event_id, item) else "beyond_cap"

    def access(
        self,
        items: Sequence[str],
        at: Instant,
        *,
        event_id: str | None = None,
        session: str | None = None,
        now: Instant | None = None,
    ) -> ServeStatus:
        """Record that items were used: an exposure with the whole reward; ACT-R's access.

        Without an event id, which `retract` needs and which guards against doubles, it is final at once and of no
        session. The other arguments are those of `serve`.

        Raises:
            RecordError: As `serve`.
        """
        if event_id is None:
            arguments.no_session(session)
        ids, at_us = self._checked(items, at, event_id, session)
        if event_id is None:
            with self._lock:
                self._reading.kept.add(ids, self._not_after(at_us, now), np.ones((len(ids), 2)))
            return "taken"
        with self._lock:
            status, found = self._served(event_id, self._not_after(at_us, now), session, dict.fromkeys(ids, 1.0))
            if status == "taken":
                # all at once: the hybrid can not take a displaced exposure away and add an access in two steps
                for item in ids:
                    found += self._journal.feedback(event_id, item, "reward", 1.0)
            apply_increments(self._reading.kept, found)
            self._journal.trim()
        return status

    def retract(self, event_id: str, items: Sequence[str] | None = None) -> int:
        """Take an event away as if it had never been, or some of its items; the next of the session counts instead.

        Args:
            event_id: Of an open event.
            items: Which of its items; all when None.

        Returns:
            How many sums changed: 0 where the event is not open, or did not count.

        Raises:
            RecordError: An id is malformed.
        """
        arguments.not_hybrid(self.meaning, "retract")
        checks.event_id(event_id)
        chosen = None if items is None else arguments.item_ids(items)
        with self._lock:
            if event_id not in self._journal:
                return 0
            found = self._journal.retract(event_id, chosen)
            apply_increments(self._reading.kept, found)
            return len(found)

    def seal(self, before: Instant) -> int:
        """Make events of before an instant final, and forget them; return how many there were.

        What is not sealed is bounded by `max_open_events` alone. A served event of before the horizon is refused as
        "late", feedback to a sealed one is an "orphan".

        Raises:
            RecordError: The instant is malformed.
        """
        with self._lock:
            return self._journal.seal(as_us(before, "before"))

    def remember(
        self,
        items: Sequence[str],
        at: Instant,
        *,
        event_id: str,
        session: str | None = None,
        exposures: Sequence[float] | FloatArray | None = None,
        feedback: Mapping[str, float] | None = None,
    ) -> ServeStatus:
        """Reopen an event whose increments are in the sums already, after `load`: nothing is added.

        Give every event of a session: the rule decides which of them count, as before. The arguments are those of
        `serve`, and {item: reward}, as the sums hold it.

        Raises:
            RecordError: As `serve` and `feedback`.
        """
        ids, at_us = self._checked(items, at, event_id, session)
        shown = arguments.exposures_of(ids, exposures)
        said = {item: checks.within(value, f"feedback[{item}]", -1.0, 1.0) for item, value in (feedback or {}).items()}
        with self._lock:
            status, _ = self._served(event_id, at_us, session, shown)
            for item, value in said.items():
                if status == "taken" and item in shown:
                    self._journal.feedback(event_id, item, "reward", value)
            self._journal.trim()
        return status

    def load_history(self, items: Sequence[str], at_us: IntArray, rewards: FloatArray, exposures: FloatArray) -> None:
        """Add events that can not change any more, in one call and in any order: a rebuild from a log.

        Args:
            items: (n,) ids, repeats allowed; which events count is the caller's business: see `counted`.
            at_us: (n,) int64 instants of the serves, microseconds UTC.
            rewards: (n,) in [0, 1].
            exposures: (n,) >= 0, what was shown and negative feedback.

        Raises:
            RecordError: Shapes differ, or a value is out of its range.
        """
        ids, instants, amounts = arguments.history_of(items, at_us, rewards, exposures)
        with self._lock:
            if ids:
                self._reading.kept.add(ids, instants, amounts)

    def _not_after(self, at_us: int, now: Instant | None) -> int:
        latest = at_us if now is None else as_us(now, "now")
        self._n_future += at_us > latest
        return min(at_us, latest)

    # ---------------------------------------------------------------- reading

    def masses(self, items: Sequence[str] | None, now: Instant) -> FloatArray:
        """Return reward and exposure mass, (n, 2), in units of one event a second ago; 0 for unknown items.

        Args:
            items: n ids; all, in the order of `items()`, when None.
            now: At which instant; events after it count at age 0.

        Raises:
            RecordError: An id or the instant is malformed.
        """
        ids = arguments.asked_ids(items)
        with self._lock:
            return self._reading.kept.masses(ids, as_us(now, "now"), self._reading.decay)

    def base_level(
        self, items: Sequence[str] | None, now: Instant, *, channel: Literal["reward", "exposure"] = "reward"
    ) -> FloatArray:
        """Return B = ln of one channel's mass, (n,) nats, ages in seconds; -inf where there is none.

        Arguments are those of `masses`, and which channel.

        Raises:
            RecordError: As `masses`, or there is no such channel.
        """
        arguments.known_channel(channel)
        return log_of(self.masses(items, now)[:, 0 if channel == "reward" else 1])

    def scores(self, items: Sequence[str] | None, now: Instant, *, touch: bool = False) -> FloatArray:
        """Return A, (n,) nats, floors included: A = ln(P + alpha) - ln(E + alpha + beta), or B for plain accesses.

        Args:
            items: As in `masses`.
            now: As in `masses`.
            touch: Whether this is a serve: True adds one exposure now to each of the items given, never a reward.
                Maintenance, evaluation and health checks leave it.

        Raises:
            RecordError: As `masses`; `touch` is no bool.
        """
        ids = arguments.asked_ids(items)
        at_us = as_us(now, "now")
        with self._lock:
            found = self._reading.activation(ids, self._reading.kept.masses(ids, at_us, self._reading.decay))
            if checks.boolean(touch, "touch"):
                touched = self._reading.kept.items() if ids is None else list(dict.fromkeys(ids))
                self._reading.kept.add(touched, at_us, np.tile([0.0, 1.0], (len(touched), 1)))
        return found

    def bounded(self, items: Sequence[str] | None, now: Instant, *, limit: float) -> Bounded:
        """Return A within `limit` nats of a new item's, and what was held back: what is added to another score.

        Arguments are those of `masses`, and C in nats, > 0.

        Raises:
            RecordError: As `masses`; the limit is not above 0.
        """
        return bounded(self.scores(items, now), centre=self._reading.prior.activation, limit=limit)

    def draw(
        self, items: Sequence[str] | None, now: Instant, *, rng: np.random.Generator, law: Law = "gamma"
    ) -> FloatArray:
        """Return ln of one draw of each item's reward per exposure, (n,): what Thompson sampling ranks by.

        Arguments are those of `masses`, the source of the draw, and the law of `rewarded.drawn_activation`.

        Raises:
            RecordError: As `masses`; law "beta" where an item has more reward than exposure.
        """
        found = self.masses(items, now)
        alpha, beta = self._reading.prior.masses(self._reading.decay)
        return drawn_activation(found[:, 0], found[:, 1], alpha, beta, rng=rng, law=law)

    def features(self, items: Sequence[str] | None, now: Instant) -> FloatArray:
        """Return `FEATURES`, (n, 3): A, ln(1 + E), seconds since the latest event (0 for none).

        Log them with the served list: computed again at training time they would hold what came of it.

        Raises:
            RecordError: As `masses`.
        """
        ids = arguments.asked_ids(items)
        at_us = as_us(now, "now")
        with self._lock:
            return self._reading.features(ids, at_us)

    def explain(self, item: str, now: Instant, *, threshold: float | None = None) -> Explanation:
        """Return everything that went into the activation of one item, known or not.

        Args:
            item: Which.
            now: At which instant.
            threshold: tau in nats, for the date on which base level falls below it.

        Raises:
            RecordError: The id, the instant or the threshold is malformed.
        """
        checks.identifier(item, "item")
        at_us = as_us(now, "now")
        tau = None if threshold is None else arguments.threshold(threshold)
        with self._lock:
            return self._reading.explanation(item, at_us, tau)

    # ---------------------------------------------------------------- keeping

    def forget_date(
        self, items: Sequence[str] | None, threshold: float, *, of: Literal["base_level", "activation"] = "base_level"
    ) -> IntArray:
        """Return the first instant from which on each item is below a threshold, (n,) microseconds UTC.

        `NEVER_US` for pinned items and for what stays above for 100 years after its latest event. It holds until the
        next event, for this decay and this threshold: put it in an index, and forgetting is a range scan.

        Args:
            items: As in `masses`.
            threshold: tau in nats, ages in seconds: one access a year ago is -8.6 at d = 0.5.
            of: "base_level": ln P, which only falls. "activation": A, which may rise again when exposure is forgotten;
                then it is the first fall.

        Raises:
            RecordError: An id or the threshold is malformed.
        """
        tau = arguments.threshold(threshold)
        arguments.known_curve(of)
        ids = arguments.asked_ids(items)
        with self._lock:
            chosen = self._reading.kept.items() if ids is None else list(ids)
            return self._reading.forget_us(chosen, tau, of_activation=of == "activation")

    def pin(self, items: Sequence[str], *, floor: float | None = None) -> None:
        """Keep items from being forgotten, with or without a history; their A is at least the floor given.

        Args:
            items: Different ids.
            floor: Nats; a quantile of `scores(None, now)` is a usual choice. None takes an earlier floor away.

        Raises:
            RecordError: An id is malformed or the floor not finite.
        """
        ids = arguments.item_ids(items)
        least = -np.inf if floor is None else checks.finite(floor, "floor")
        with self._lock:
            for item in ids:
                self._reading.kept.pin(item, least)

    def unpin(self, items: Sequence[str]) -> int:
        """Let items be forgotten again, floors gone; return how many were pinned.

        Raises:
            RecordError: An id is malformed.
        """
        ids = arguments.item_ids(items)
        with self._lock:
            return sum(self._reading.kept.unpin(item) for item in ids)

    def pinned(self) -> dict[str, float | None]:
        """Return the pinned items with their floors."""
        with self._lock:
            pins = sorted(self._reading.kept.pins.items())
        return {item: None if floor == -np.inf else floor for item, floor in pins}

    def forget(self, items: Sequence[str]) -> int:
        """Forget items, history and pin; return how many were known.

        Open events that served them can add to them again.

        Raises:
            RecordError: An id is malformed.
        """
        with self._lock:
            return self._reading.kept.remove(arguments.item_ids(items))

    def set_decay(self, decay: float) -> None:
        """Change d, for the past too: sums do not depend on it. Dates of forgetting are to be asked again.

        Raises:
            RecordError: It is outside [0.1, 0.9].
        """
        d = checked_decay(decay)
        with self._lock:
            self._reading = self._reading._replace(decay=d)

    def merge(self, other: Activation) -> None:
        """Take in what another one saw, as if its events had come here; the other stays as it is.

        Open events known to both are one event, and caps hold over both. What is sealed there must be of other events
        than what is sealed here.

        Raises:
            RecordError: It has another meaning, ladder or cap, or both are hybrids.
        """
        arguments.not_hybrid(self.meaning, "merge")
        arguments.mergeable(self, other)
        first, second = sorted((self, other), key=id)  # one order of locks for all threads
        with first._lock, second._lock:  # noqa: SLF001 - of the same class
            merge_histories(self._reading.kept, self._journal, other._reading.kept, other._journal)

    # ---------------------------------------------------------------- storing

    def rows(self, items: Sequence[str] | None = None) -> Iterator[tuple[str, bytes]]:
        """Yield (item, packed row) for a store, 209 bytes with 12 rates; every item when none are given.

        Raises:
            RecordError: The meaning is not "traces", or an item is unknown.
        """
        table = self._table()
        with self._lock:
            return iter(list(table.rows(None if items is None else arguments.known_ids(items, table))))

    def load(self, rows: Iterable[tuple[str, bytes]]) -> int:
        """Take packed rows in, in the place of what is here of their items; return how many.

        Raises:
            RecordError: The meaning is not "traces", or a row is not of this ladder or damaged.
        """
        table = self._table()
        with self._lock:
            return table.load(rows)

    def apply(self, increments: Sequence[Increment]) -> None:
        """Add (item, microseconds UTC, reward, exposure) that a log worked out, past the open events."""
        with self._lock:
            apply_increments(self._reading.kept, increments)

    def take_changes(self, *, everything: bool = False) -> Changes:
        """Return packed rows of what changed since the last call, or of all, and what was forgotten, for a store.

        Raises:
            RecordError: The meaning is not "traces".
        """
        table = self._table()
        with self._lock:
            return table.take_changes(everything=everything)

    def _table(self) -> TraceTable:
        if not isinstance(self._reading.kept, TraceTable):
            raise arguments.only_traces(self._reading.meaning)
        return self._reading.kept
