"""Learn from archived events, more of them than fit into memory, and let the same gate judge what comes of it.

Events are read a row group at a time, in an order that chance decides: once to count users, once for the reward
predictor (twice where a document is praised too much), and once to learn. What is learned stands as any proposal, to be
judged on events that are served after it was made: none of these was in the archive.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from dwell.config import Config
from dwell.errors import ArchiveError, ConfigError
from dwell.learning.learner import Learned, Lists
from dwell.learning.predictor import Predictor
from dwell.learning.protocol import learner_of
from dwell.learning.space import Space, space_for
from dwell.loop.adjusting import Additions, Lessons, additions_of
from dwell.loop.archive_sums import SeenUsers, StreamedCaps, predictors_over, seen_users
from dwell.loop.archived_rows import RowRules, group_rows, row_rules
from dwell.loop.by_activation import hastened
from dwell.loop.examining import settle_examination
from dwell.loop.keep import close_events
from dwell.loop.learn import judge_first, settle, stand
from dwell.loop.metering import taken_up
from dwell.loop.position_health import calibrate
from dwell.loop.promote import next_attempt
from dwell.loop.standing import heed_embeddings, judge_standing
from dwell.loop.state import LoopState
from dwell.loop.train import (
    LEARNER_TEMPERATURE,
    Learning,
    Lister,
    Standardised,
    TrainReport,
    slower_at_first,
)
from dwell.loop.watch import watch_live
from dwell.ranking import named_generator
from dwell.records import Estimate, GateDecision, Params, checks
from dwell.records.arrays import FloatArray
from dwell.records.impression import Mode
from dwell.records.rows import EventRow
from dwell.storage.archive_parts import opened_part
from dwell.storage.archive_places import Days, archive_files

__all__ = [
    "ArchiveRows",
    "Basis",
    "learn_from_batches",
    "shuffled_batches",
    "trained_from_archive",
]

_NOTHING: Final = Estimate(0.0, -float("inf"), float("inf"), 0, 0.0)
WINDOW_ROWS: Final = 4_096  # rows mixed with each other: 30 MB at 64 documents of 20 features
MOST_STEPS: Final = 1_000_000  # 256 million lists: at milliseconds a step, an hour or more
_KNOWN_USERS: Final = 65_536


class ArchiveRows:
    """The learnable rows of some parts, a row group at a time, checked at the first look.

    Args:
        files: Parts, as `archive_files` gives them.
        rules: What rows are made by.
        is_erased: Whether a pseudonym has a tombstone.
    """

    def __init__(self, files: Sequence[Path], rules: RowRules, is_erased: Callable[[str], bool] | None = None) -> None:
        self._rules = rules
        self._is_erased = is_erased
        self._seen: set[int] = set()
        self.groups: list[tuple[Path, int]] = []
        for path in files:
            with _there(path), opened_part(path) as file:
                self.groups += [(path, i) for i in range(file.n_groups)]

    def rows(self, order: Iterable[int] | None = None) -> Iterator[list[EventRow]]:
        """Yield the rows of row groups, those that may be learned from, none where a group has none.

        Args:
            order: Places in `groups`; all, as they stand, where None.

        Raises:
            ArchiveError: A part is not to be used, or was written anew meanwhile (`archive_changed`).
        """
        for place in range(len(self.groups)) if order is None else order:
            path, i = self.groups[place]
            with _there(path):
                found = group_rows(path, [i], self._rules, is_erased=self._is_erased, is_known=place in self._seen)
            self._seen.add(place)
            yield [row for row in found if not row.is_held_out]


def shuffled_batches(
    archive: ArchiveRows, n_lists: int, rng: np.random.Generator, *, window: int = WINDOW_ROWS
) -> Iterator[list[EventRow]]:
    """Yield batches without end, every event once per look at all, in an order that chance decides.

    Row groups come in random order; the rows of as many as fill the window are mixed.

    Args:
        archive: What is learned from; it has rows.
        n_lists: Rows per batch, >= 1.
        rng: Decides the order.
        window: Rows mixed with each other: what bounds the memory.
    """
    waiting: list[EventRow] = []
    while True:
        for rows in archive.rows(rng.permutation(len(archive.groups)).tolist()):
            waiting += rows
            if len(waiting) >= max(window, n_lists):
                waiting = [waiting[i] for i in rng.permutation(len(waiting))]
                while len(waiting) >= n_lists:
                    yield waiting[:n_lists]
                    waiting = waiting[n_lists:]
        waiting = [waiting[i] for i in rng.permutation(len(waiting))]
        while waiting:
            yield waiting[:n_lists]
            waiting = waiting[n_lists:]


class Basis(NamedTuple):
    """What learning stands on beside its batches.

    Attributes:
        live: Params in force.
        space: The learner's space.
        caps: How much each event and document may teach.
        predictors: Fitted to queries of fold 0, of fold 1, and to both.
        mode: Mode of the loop.
        theta: (k,) examination per position.
        n_events: Events that are learned from.
    """

    live: Params
    space: Space
    caps: StreamedCaps
    predictors: tuple[Predictor, Predictor, Predictor]
    mode: Mode
    theta: FloatArray
    n_events: int


def learn_from_batches(
    basis: Basis,
    batches: Iterable[Sequence[EventRow]],
    config: Config,
    *,
    rng: np.random.Generator,
    is_over: Callable[[], bool] = lambda: False,
) -> Learned:
    """Return the global weights that batches of events teach, one step each.

    The same learner, from the same start, as for events in memory: the same batches give the same weights.

    Args:
        basis: What learning stands on.
        batches: Events; each batch at least one.
        config: Settings.
        rng: Source of rankings.
        is_over: Whether the time for learning is over.
    """

    def lists() -> Iterator[Lists]:
        for rows in batches:
            if is_over():
                return
            weights = np.array([basis.caps.of([row]).event(row) for row in rows])
            yield _lister(basis, config, rows).lists(rows, weights / weights.mean(), is_global=True)

    return learner_of(config.learner.objective)(
        basis.space.vector(basis.live),
        lists(),
        basis.predictors[:2],
        theta=basis.theta,
        temperature=basis.live.temperature or LEARNER_TEMPERATURE,
        n_events=float(basis.n_events),
        settings=slower_at_first(config.learner, basis.n_events),
        rng=rng,
    )


def _lister(basis: Basis, config: Config, rows: Sequence[EventRow]) -> Lister:
    """Return what makes lists of some events."""
    live, space = basis.live, basis.space
    standardised, caps, start = Standardised(space, rows), basis.caps.of(rows), space.vector(live)
    return Lister(space, standardised, caps, None, start, live, basis.mode, basis.theta, config.learner)


def trained_from_archive(
    state: LoopState,
    folder: str | Path,
    *,
    days: Days | None,
    steps: int | None,
    now: float,
    max_seconds: float | None = None,
) -> TrainReport:
    """Learn from an archive while nothing else learns; see `Loop.train_from_archive`.

    Raises:
        RecordError: The steps are no whole number in range.
    """
    if steps is not None:
        checks.positive_integer(steps, "steps", most=MOST_STEPS)
    with state.alone():
        return _trained(state, folder, days=days, steps=steps, max_seconds=max_seconds, now=now, clock=time.monotonic)


def _trained(
    state: LoopState,
    folder: str | Path,
    *,
    days: Days | None,
    steps: int | None,
    max_seconds: float | None,
    now: float,
    clock: Callable[[], float],
) -> TrainReport:
    """Return what was judged, learned from an archive and decided; as `learn.train`, but for where events come from.

    Args:
        state: The loop; its training lock is held.
        folder: The archive.
        days: Only events that were served on these.
        steps: Learning steps, or None for one look at all events.
        max_seconds: Longest time to learn for, looks before it left out; None sets none.
        now: UTC epoch seconds.
        clock: Monotonic seconds.

    Raises:
        ConfigError: What is learned by these settings can not be learned from an archive, or the folder is none.
        ArchiveError: Something in the archive is not to be used; nothing was learned.
    """
    _check_settings(state)
    n_closed = close_events(state, now)
    heed_embeddings(state)
    calibrate(state)
    judged = watch_live(state, now) or judge_first(state, now)
    if state.standing is not None and judged is not None:
        return TrainReport(judged, state.live, state.standing.params, ended_by="standing", n_closed=n_closed)
    settle_examination(state)
    files = archive_files(folder, tenant=state.identity.tenant, days=days)
    archive = ArchiveRows(files, row_rules(state), _tombstones(state))
    with state.store.snapshot() as reader:
        version, decisions, last_seq = max(reader.params_versions()) + 1, reader.decisions(), reader.last_seq()
        meter = taken_up(state, reader)
    rng = named_generator(state.identity.secret, "archive", state.identity.seed, version)
    seen = seen_users(archive.rows(), rng)
    if not seen.n_events:
        words = "too_few_events: no archived event can be learned from"
        decision = judged or GateDecision("hold", [words], _NOTHING, safe_version=state.live.version, decided_at=now)
        return TrainReport(decision, state.live, state.live, n_closed=n_closed)
    attempt = next_attempt(decisions)
    learning = _proposal(
        state, archive, seen, version=version, attempt=attempt, steps=steps, max_seconds=max_seconds, clock=clock,
        now=now, rng=rng,
    )  # fmt: skip
    standing = stand(state, learning, attempt=attempt, last_seq=last_seq, meter=meter)
    decision = judged or settle(state, judge_standing(state, standing, now))
    return TrainReport(
        decision=decision,
        live=state.live,
        proposed=state.proposed or state.live,
        curves=learning.learned.curves,
        ended_by=learning.ended_by,
        n_steps=learning.learned.n_steps,
        n_closed=n_closed,
        n_learned_from=seen.n_events,
        step_norm=learning.learned.step_norm,
    )


def _proposal(
    state: LoopState,
    archive: ArchiveRows,
    seen: SeenUsers,
    *,
    version: int,
    attempt: int,
    steps: int | None,
    max_seconds: float | None,
    clock: Callable[[], float],
    now: float,
    rng: np.random.Generator,
) -> Learning:
    """Return what is learned from an archive."""
    live, config, theta = state.live, state.config, state.theta()
    space = space_for(live, seen.features)
    caps, predictors = predictors_over(archive.rows, seen, space, theta, ridge=config.learner.ridge)
    basis = Basis(live, space, caps, predictors, state.mode, theta, seen.n_events)
    n_lists = config.training.max_batch
    n_steps = math.ceil(seen.n_events / n_lists) if steps is None else steps
    deadline = math.inf if max_seconds is None else clock() + max_seconds
    batches = islice(shuffled_batches(archive, n_lists, rng), min(n_steps, MOST_STEPS))
    learned = learn_from_batches(basis, batches, config, rng=rng, is_over=lambda: clock() > deadline)
    if state.learner == "both":
        learned = hastened(
            learned, space.vector(live), predictors[2], names=state.feature_names, attempt=attempt,
            settings=config.learner,
        )  # fmt: skip
    added = Additions({}, None)
    if live.is_adjusted:  # what the live params add to single queries goes on with them; it is not learned further
        lister = _lister(basis, config, [])
        temperature = live.temperature or LEARNER_TEMPERATURE
        lessons = Lessons([], [], lister.lists, predictors[:2], theta, temperature, lambda: False)
        settings = slower_at_first(config.learner, seen.n_events)
        added = additions_of(learned.vector, live, space, lessons, config=config, settings=settings, rng=rng)
    params = space.params(learned.vector, *added, version=version, parent=live, created_at=now)
    ended_by = "time" if clock() > deadline else "steps"
    return Learning(params, learned, predictors[2], ended_by, {}, 0, seen.versions, {}, predictors[:2])


def _check_settings(state: LoopState) -> None:
    """Refuse what reads all events at once, or only those that the live params drew.

    Raises:
        ConfigError: The setting that asks for it, by name.
    """
    settings = state.config.learner
    refused = {
        "mode": state.mode == "log-only",
        "learner": state.learner == "activation",
        "learner.objective": settings.objective == "pdgd",
        "learner.segment_weights": settings.segment_weights,
        "learner.query_rank": settings.query_rank > 0,
        "learner.trust_bias": settings.trust_bias,
        "learner.negative_weight": settings.negative_weight != 1.0,
        "learner.negative_examination": settings.negative_examination != "clicks",
    }
    for field, is_refused in refused.items():
        if is_refused:
            name = field.rpartition(".")[2]
            raise ConfigError(
                "this can not be learned from an archive",
                field=field,
                value=getattr(settings if "." in field else state, name),
                hint="Leave it at its default for this call; docs/archive.md says what is learned.",
            )


def _tombstones(state: LoopState) -> Callable[[str], bool]:
    """Return whether a pseudonym is erased in the store, asked once for each of the users seen of late."""

    @lru_cache(maxsize=_KNOWN_USERS)
    def is_erased(user: str) -> bool:
        with state.store.snapshot() as reader:
            return reader.is_erased(user)

    return is_erased


@contextmanager
def _there(path: Path) -> Iterator[None]:
    """Say of a part that is gone what happened to it.

    Raises:
        ArchiveError: code `archive_changed`.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise ArchiveError(
            "a part was written anew while the archive was read",
            code="archive_changed",
            field="path",
            value=str(path),
            hint="An erasure or new events did that: call again.",
        ) from error
