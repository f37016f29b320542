"""The facade: one object that ranks, takes feedback, learns, judges, and answers for itself."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from dwell.errors import DwellError, ForkedError, StorageError
from dwell.health import HealthReport, HealthSnapshot, report_health
from dwell.health.doctor import Diagnosis
from dwell.learning.trees import TreeKind, TreeSettings
from dwell.loop.activate import activate
from dwell.loop.activity import flush, flushed
from dwell.loop.challenge import Challenge, challenge
from dwell.loop.examine_store import examined
from dwell.loop.export import ExportChoices, export
from dwell.loop.follow import follow
from dwell.loop.from_archive import trained_from_archive
from dwell.loop.ingest import (
    Request,
    check_sequence,
    checked_signal,
    digest_of,
    kept_later,
    recorded_later,
    signals_of,
    submit_signals,
)
from dwell.loop.item_activation import ItemActivation
from dwell.loop.keep import checkpoint, close_events, erase
from dwell.loop.learn import train
from dwell.loop.promote import evaluate, promote, rollback
from dwell.loop.rank import log_external, rank, shown_of
from dwell.loop.recorded import RecordedList, is_erased, recorded_lists, recorded_signals, stored_version
from dwell.loop.recorded_events import recorded_events
from dwell.loop.snapshot import health_snapshot
from dwell.loop.standing import restore_standing
from dwell.loop.state import LoopState
from dwell.loop.train import TrainReport
from dwell.loop.warm_up import recall_warm_up
from dwell.loop.why import Inspection, inspected
from dwell.records import Experience, Feedback, GateDecision, Params, Served, Signal, checks
from dwell.records.impression import Mode
from dwell.reward.presets import RewardPreset
from dwell.storage import Answer, Reader, pseudonym
from dwell.storage.archive_places import Days

__all__ = ["Loop"]


class Loop:
    """A retrieval system's memory of what it served and what came of it, and what it learned.

    Made by `dwell.open`. `rank`, `feedback` and `health` are safe from any thread; `close_events`, `train`, `evaluate`,
    `promote`, `rollback` and `erase` exclude each other and never hold what `rank` needs. Every `now` is UTC epoch
    seconds, any finite value >= 0, and defaults to the wall clock of that call; nothing happens between calls.
    """

    def __init__(self, state: LoopState) -> None:
        self._state = state
        self._history: list[GateDecision] = []
        restore_standing(state)
        recall_warm_up(state)

    # ---- serve and record

    def rank(
        self,
        query: str,
        candidates: Sequence[Mapping[str, Any]] | None = None,
        *,
        ids: Sequence[str] | None = None,
        features: object = None,
        k: int = 10,
        user: str | None = None,
        segment: str | None = None,
        query_embedding: object = None,
        event_id: str | None = None,
        activate: bool = True,
        now: float | None = None,
    ) -> Served:
        """Return which documents to show, in which order; never raises into a search unless the loop is strict.

        Args:
            query: The request, at most 64 KB.
            candidates: Mappings that hold "id" and exactly the registered features, in the caller's own order.
            ids: Document ids, in the caller's own order, in place of `candidates`.
            features: With `ids`, an (n, f) array; columns in the order of `dwell.open(features=...)`.
            k: Documents to show, >= 1; may exceed the number of candidates.
            user: Who asks; only a pseudonym is kept.
            segment: Group of queries.
            query_embedding: The request's vector, of the store's dimension.
            event_id: The caller's id; a known one answers with what was recorded under it.
            activate: False where it is not known yet whether the list will be shown: see `activate`.
            now: When it is served.

        Raises:
            RecordError: No ids can be read or `k` is no positive integer; with strict=True, on any bad value.
        """
        return rank(
            self._state,
            query,
            candidates,
            ids=ids,
            features=features,
            k=k,
            user=user,
            segment=segment,
            query_embedding=query_embedding,
            event_id=event_id,
            activate=activate,
            now=now,
            wall_clock=time.time(),
        )

    def log_retrieval(
        self,
        query: str,
        results: Sequence[Mapping[str, Any]],
        *,
        user: str | None = None,
        segment: str | None = None,
        query_embedding: object = None,
        event_id: str | None = None,
        now: float | None = None,
    ) -> str:
        """Record a list that another ranker ordered and return its event id, for `feedback`.

        Results are mappings with "id" (or "memory_id") and optionally "rank", "score" and features. Without every
        registered feature the event is recorded, joined and counted as `no_features`, and not learned from.

        Raises:
            RecordError: A malformed value.
        """
        return log_external(
            self._state,
            query,
            results,
            user=user,
            segment=segment,
            query_embedding=query_embedding,
            event_id=event_id,
            now=self._now(now),
        )

    def feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
        now: float | None = None,
    ) -> Feedback:
        """Return what became of one reaction, once its commit is durable; never raises on data or storage.

        Args:
            event_id: The served list.
            signal: Name of the signal, as the reward preset declares it.
            doc: The document that it is about, or None for the whole list.
            value: Its value, in the unit and range of the signal's declaration.
            at: When the user acted; `now` when not given.
            idempotency_key: The caller's key for retries.
            now: When it is received.
        """
        refusal = self._refusal_to_wait()
        if refusal is not None:
            return refusal
        return self.submit_feedback(
            event_id, signal, doc=doc, value=value, at=at, idempotency_key=idempotency_key, now=now
        ).result()

    def submit_feedback(
        self,
        event_id: str,
        signal: str,
        *,
        doc: str | None = None,
        value: float = 1.0,
        at: float | None = None,
        idempotency_key: str | None = None,
        now: float | None = None,
    ) -> Future[Feedback]:
        """Return a future of what `feedback` would answer, without waiting for the disk.

        Callbacks of the future run in the thread that writes. There `rank` and `submit_feedback` work as anywhere, and
        what would wait for a commit is refused: `feedback` answers "rejected", the other calls raise `StorageError`,
        code `in_callback`.
        """
        try:
            signals: list[Any] = [
                checked_signal(
                    self._state, event_id, signal, doc=doc, value=value, at=at, key=idempotency_key, now=self._now(now)
                )
            ]
        except DwellError as error:
            signals = [Feedback("rejected", f"{error.code}: {error}")]
        except Exception as error:  # noqa: BLE001 - whatever a hostile value does when it is looked at
            signals = [Feedback("rejected", f"internal:{type(error).__name__}")]
        answer: Future[Feedback] = Future()
        answer.set_running_or_notify_cancel()
        submit_signals(self._state, signals).add_done_callback(lambda done: answer.set_result(done.result()[0]))
        return answer

    def feedback_many(self, items: Sequence[Mapping[str, Any]], *, now: float | None = None) -> list[Feedback]:
        """Return what became of many reactions, in their order, after one commit.

        Each item is a mapping with "event_id" and "signal", and optionally "doc", "value", "at" and "idempotency_key".
        Whatever an item or `now` holds, it is answered.

        Raises:
            RecordError: `items` is no sequence: there is no number of answers to give.
        """
        check_sequence(items)
        refusal = self._refusal_to_wait()
        if refusal is not None:
            return [refusal for _ in items]
        return self.submit_feedback_many(items, now=now).result()

    def submit_feedback_many(
        self,
        items: Sequence[Mapping[str, Any]],
        *,
        request_key: str | None = None,
        now: float | None = None,
    ) -> Future[list[Feedback]]:
        """Return a future of what `feedback_many` would answer, without waiting for the disk.

        Args:
            items: See `feedback_many`.
            request_key: The caller's key for the whole batch: for a week a retry has no second effect and is answered
                as the first time; other items under it are all rejected as `idempotency_conflict`.
            now: When they are received.

        Raises:
            RecordError: `items` is no sequence, or the key no text of 1 to 512 bytes.
        """
        check_sequence(items)
        key = checks.optional_identifier(request_key, "request_key")
        try:
            moment = self._now(now)
            signals: list[Any] = signals_of(self._state, items, moment)
            request = None if key is None else Request(key, digest_of(items), moment)
        except DwellError as error:
            signals, request = [Feedback("rejected", f"{error.code}: {error}") for _ in items], None
        except Exception as error:  # noqa: BLE001 - whatever a hostile value does when it is looked at
            signals, request = [Feedback("rejected", f"internal:{type(error).__name__}") for _ in items], None
        return submit_signals(self._state, signals, request=request)

    def activate(self, event_id: str, *, shown: Sequence[str] | None = None, now: float | None = None) -> None:
        """Record that a deferred event was shown.

        Args:
            event_id: The event.
            shown: The ids rendered, in order, where they differ from what was served. A shorter list from the top is
                learned from as shown; any other order, or items pinned among those served, marks the event "altered":
                its signals join, nothing is learned from it. Telling the same again does nothing.
            now: When.

        Raises:
            RecordError: An unknown event, no id that was served, or code `not_deferred`: it stands as shown otherwise.
            StorageError: The store could not.
        """
        activate(self._state, event_id, shown=shown, now=self._now(now))

    # ---- learn and judge

    def close_events(self, now: float | None = None) -> int:
        """Turn events whose attribution window is over into experiences; return how many."""
        with self._state.alone():
            return close_events(self._state, self._now(now))

    def train(self, *, steps: int | None = None, now: float | None = None) -> TrainReport:
        """Close events, judge what stands, learn a new proposal where none does, and say why.

        Where the live params are shown to be worse than those that they replaced, these come back first.

        Args:
            steps: Learning steps; one pass over unseen events plus as many replayed, at most 200, when not given.
            now: The instant against which windows are over.

        Raises:
            StorageError: The store could not.
        """
        if steps is not None:
            checks.positive_integer(steps, "steps", most=100_000)
        with self._state.alone():
            return train(self._state, steps=steps, now=self._now(now), clock=time.monotonic)

    def train_from_archive(
        self, folder: str | Path, *, days: Days | None = None, steps: int | None = None, now: float | None = None
    ) -> TrainReport:
        """Do as `train`, but learn from archived events, more than memory holds: one look at all, or so many steps.

        Raises:
            ConfigError, ArchiveError: The settings ask for what only memory can teach, or a part is not to be used.
        """
        return trained_from_archive(self._state, folder, days=days, steps=steps, now=self._now(now))

    def evaluate(self, params: Params, *, now: float | None = None) -> GateDecision:
        """Return the gate's verdict on any params from the evidence at hand; nothing moves.

        Raises:
            RecordError: The params do not fit this loop.
        """
        with self._state.alone():
            return evaluate(self._state, params, self._now(now))

    def challenge(
        self, kind: TreeKind | None = None, *, settings: TreeSettings | None = None, now: float | None = None
    ) -> Challenge:
        """Return boosted trees grown on closed events, and the gate's verdict on them from held-out users' events.

        Nothing moves, and trees are not served. The verdict is in no ledger and spends nothing: among many settings
        tried on the same users, some look better by luck.

        Args:
            kind: "lightgbm" or "xgboost"; that of the settings when not given.
            settings: How to grow them, a `dwell.TreeSettings`.
            now: When it is asked.

        Raises:
            ConfigError: An unknown kind, or another than that of the settings.
            MissingDependencyError: The library is not installed; the message has the command.
        """
        with self._state.alone():
            return challenge(self._state, kind, settings, self._now(now))

    def promote(self, params: Params, *, force: bool = False, now: float | None = None) -> Params:
        """Make params live if the evidence says so, and return them.

        Raises:
            PromotionRefused: The gate did not say "promote"; with force=True it is recorded as forced instead.
            AlreadyLiveError: They are live; nothing is written.
            RecordError: The params do not fit this loop.
        """
        with self._state.alone():
            return promote(self._state, params, self._now(now), force=checks.boolean(force, "force"))

    def rollback(self, to: int | None = None, *, now: float | None = None) -> Params:
        """Return to the params that were live before, or to a version, bit for bit as they were.

        Raises:
            NothingToRollBackError: There is no such version.
        """
        with self._state.alone():
            return rollback(self._state, to, self._now(now))

    # ---- look

    @property
    def params(self) -> Params:
        """The params in force; readable after `close`."""
        if not self._state.is_closed and not self._state.is_followed:
            self._state.refresh()
        return self._state.live

    @property
    def proposed(self) -> Params | None:
        """The standing proposal, or None."""
        return self._state.proposed

    @property
    def features(self) -> tuple[str, ...]:
        """Registered feature names, in the order of `Params.weights`."""
        return self._state.feature_names

    @property
    def rewards(self) -> RewardPreset:
        """What turns signals into rewards; its signals are those that `feedback` takes."""
        return self._state.rules.preset

    def recorded(self, event_ids: Sequence[str]) -> dict[str, RecordedList]:
        """Return, by event id, those of these lists that the store holds."""
        self._state.check_may_wait()
        return recorded_lists(self._state, event_ids)

    def signals(self, event_id: str) -> list[Signal]:
        """Return what users did with a list, one by one; `experiences` has them aggregated."""
        return recorded_signals(self._state, event_id)

    def inspect(self, event_id: str) -> Inspection:
        """Return all that is known of one list: what was served, what came of it, why each document stood where.

        Raises:
            UnknownEventError: Nothing is known of it.
        """
        return inspected(self._state, event_id)

    def is_erased(self, user: str) -> bool:
        """Return whether everything of this user was erased.

        Raises:
            RecordError: This is no user id.
        """
        return is_erased(self._state, user)

    def version(self, version: int) -> Params:
        """Return any stored version.

        Raises:
            RecordError: code `unknown_version`.
        """
        return stored_version(self._state, version)

    def history(self) -> list[GateDecision]:
        """Return every gate decision, oldest first; readable after `close`."""
        state = self._state
        if not state.is_closed:
            if state.writer is not None:
                state.writer.flush()
            with state.store.snapshot() as reader:
                self._history = reader.decisions()
        return list(self._history)

    def event_counts(self) -> dict[str, int]:
        """Return how many events are in each state, and "signals", "orphans", "quarantined" and "erased_users"."""
        with self._state.store.snapshot() as reader:
            return reader.counts()

    def shown(self, event_id: str) -> list[str] | None:
        """Return the ids that an event's user saw, in order; None where the event is not known."""
        return shown_of(self._state, event_id)

    def when_recorded(self, event_id: str) -> Future[bool]:
        """Return a future of whether an event is on disk, resolved once everything given before is.

        Raises:
            StorageError: The loop is closed, read-only, or its queue is full.
        """
        return recorded_later(self._state, event_id)

    def kept_answer(self, key: str) -> Answer | None:
        """Return what a request under a key was answered, or None; it is kept for a week."""
        with self._state.store.snapshot() as reader:
            return reader.answer(key)

    def keep_answer(self, answer: Answer) -> Future[Answer]:
        """Return a future of the answer that is kept for a request's retries, on disk: the first one of its key.

        Raises:
            StorageError: The loop is closed, read-only, or its queue is full.
        """
        return kept_later(self._state, answer)

    def pseudonym(self, user: str) -> str:
        """Return what is kept in place of a user's name: the same for the same user of this store and tenant.

        Raises:
            RecordError: It is no identifier.
        """
        return pseudonym(self._state.identity.pepper, self._state.identity.tenant, checks.identifier(user, "user"))

    @property
    def activation(self) -> ItemActivation | None:
        """Activation of the items: explain, pin, forget; None where the store keeps none (`learner`)."""
        activity = self._state.activity
        return None if activity is None else ItemActivation(self._state, activity)

    @property
    def mode(self) -> Mode:
        """What users are served: "log-only", "shadow", "canary" or "live"."""
        return self._state.mode

    def facts(self) -> AbstractContextManager[Reader]:
        """Return one committed state of the store to read from, as a context; what is queued still is not in it."""
        return self._state.store.snapshot()

    @property
    def feature_columns(self) -> tuple[str, ...]:
        """The registered features, in the order of the columns that `rank` takes in an array."""
        return self._state.caller_names

    @property
    def counts(self) -> dict[str, int]:
        """What was counted since the loop was opened, by name."""
        return dict(self._state.counters)

    @property
    def is_recording(self) -> bool:
        """Whether what is served is recorded: the loop is open, and this process owns its store."""
        return self._state.writer is not None and not self._state.is_closed

    def refresh(self) -> None:
        """Take over at once what another process committed; `rank` does so by itself within a second.

        Raises:
            StorageError: The store could not be read.
        """
        follow(self._state, at_once=True)

    def last_seq(self) -> int:
        """Return the position of the newest event on disk in the store's order, 0 before the first."""
        with self._state.store.snapshot() as reader:
            return reader.last_seq()

    def experiences(self, *, since: float | None = None, limit: int | None = None) -> Iterator[Experience]:
        """Yield experiences in the order served, open ones included.

        Args:
            since: Only those served at or after this instant.
            limit: At most so many, the newest ones.
        """
        return (event.experience() for event in recorded_events(self._state, since=since, limit=limit))

    def health(self, now: float | None = None) -> HealthReport:
        """Return how the loop is, with alerts in plain words and what to do about each."""
        return report_health(self.health_snapshot(now))

    def doctor(self, now: float | None = None) -> Diagnosis:
        """Return what is wrong with the loop, most harmful first, each with its remedy, and whether it is learning."""
        self._state.check_may_wait()
        return examined(self._state, self._now(now))

    def health_snapshot(self, now: float | None = None) -> HealthSnapshot:
        """Return what `health` is judged from."""
        if not self._state.is_rebuilt:
            self._state.check_may_wait()
        return health_snapshot(self._state, self._now(now))

    def export(self, path: str | Path, format: str = "jsonl", **choices: Unpack[ExportChoices]) -> int:  # noqa: A002 - the name is public surface
        """Write events to a new file, all of them without `since`, `until` or `limit`, and return how many.

        Raises:
            ConfigError: An unknown format, a file that is there already, or a path that can not be written.
        """
        return export(self._state, Path(path), format, **choices)

    # ---- end

    def erase(self, user: str, *, now: float | None = None) -> int:
        """Remove everything of a user for good, and return how many events went.

        Raises:
            StoreBusyError: The facts are gone for every reader, their bytes are not overwritten yet: another process
                held an older state for half a minute. Call again.
            StorageError: The facts could not be removed, and nothing is half erased; or the file, or an archive
                (`ArchiveError`), could not be written anew. Call again; the facts that are gone count no more.
        """
        checks.identifier(user, "user")
        with self._state.alone():
            return erase(self._state, user, self._now(now))

    def close(self) -> None:
        """Write what is queued and release the store; closing twice is legal. In a forked child nothing is touched.

        Raises:
            StorageError: code `in_callback`: in the thread that would have to write; nothing is closed.
        """
        state = self._state
        if state.is_closed:
            return
        state.check_may_wait()
        try:
            self.history()
            with state.training, contextlib.suppress(StorageError):
                checkpoint(state)
            activity = state.activity
            if activity is not None and activity.is_following and state.writer is not None:
                with contextlib.suppress(StorageError):
                    state.write(lambda tx: flush(activity, tx), then=lambda written: flushed(activity, written))
        except ForkedError:
            pass
        finally:
            state.is_closed = True
            if state.writer is not None:
                state.writer.close()
            state.replayed.rows.close()
            state.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self._state
        return f"<dwell.Loop {state.store.where!r} mode={state.mode} params=v{state.live.version}>"

    def _refusal_to_wait(self) -> Feedback | None:
        """Return the answer in the writer's own thread, where waiting would never end; None elsewhere."""
        try:
            self._state.check_may_wait()
        except DwellError as error:
            return Feedback("rejected", f"{error.code}: {error}")
        return None

    def _now(self, now: float | None) -> float:
        return time.time() if now is None else checks.timestamp(now, "now")
