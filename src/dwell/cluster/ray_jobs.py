"""Batch jobs over archives: learn again from all of it, or ask of all of it what a policy is worth, part by part.

A part is read where Ray Data puts it, and answers with sums; what is joined here is joined in the order of the parts.
`in_process` reads the same parts one after the other: both come to the same.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import msgspec
import numpy as np

from dwell.cluster.learning import check_learnable
from dwell.cluster.lessons import Lesson
from dwell.cluster.part_sums import Crowd, Fits, Judged, PartTask, Seen, fits_of, judged_of, seen_of, slope_of
from dwell.config import Config
from dwell.errors import ConfigError, EvaluationError, LearningError, MissingDependencyError
from dwell.learning.learner import SlopeSums, Walk
from dwell.learning.predictor import Predictor
from dwell.learning.space import Space, space_for
from dwell.loop.archived_rows import row_rules
from dwell.loop.expected import put_predictor
from dwell.loop.judge import Bench
from dwell.loop.promote import next_attempt
from dwell.loop.standing import put_standing
from dwell.loop.state import LoopState
from dwell.loop.train import Learning, Proposal, Standing, fitted, slower_at_first
from dwell.records import Estimate, Params
from dwell.records.arrays import FloatArray
from dwell.records.impression import Mode
from dwell.storage import Transaction, has_side_files

__all__ = [
    "Mapped",
    "Reevaluation",
    "by_ray_data",
    "check_free",
    "in_process",
    "learned_from_parts",
    "learned_until",
    "put_proposal",
    "reevaluated",
    "task_for",
]

T = TypeVar("T")
_Z: Final = 1.959963984540054  # two-sided 95 % of the normal law
_CPUS: Final = 1  # of a task that reads a part: it decodes and computes without waiting


class Mapped(Protocol):
    """How a look is taken at every part."""

    def __call__(self, look: Callable[[str], T], parts: Sequence[str], /) -> Iterable[T]:
        """Return what the look finds in each part, in their order."""
        ...


class Reevaluation(NamedTuple):
    """What an archive says of a policy against another.

    Attributes:
        estimate: Difference in reward per list, doubly robust, with a two-sided interval of 95 % that counts users, not
            lists, as independent. It is no verdict: nothing is spent on it, and nothing is promoted by it.
        n_users: Users, and lists of nobody known.
        unsupported: Mean share of the policy's exposure that the archive says nothing about, in [0, 1].
    """

    estimate: Estimate
    n_users: int
    unsupported: float


def in_process(look: Callable[[str], T], parts: Sequence[str], /) -> Iterator[T]:
    """Yield what a look finds in each part, one after the other."""
    for part in parts:
        yield look(part)


def by_ray_data() -> Mapped:
    """Return what takes a look at every part as a job of Ray Data, on all machines of the Ray that is connected.

    Raises:
        MissingDependencyError: Ray Data is not installed.
    """
    try:
        data: Any = importlib.import_module("ray.data")
    except ImportError as error:
        raise MissingDependencyError("batch jobs need Ray Data", hint="pip install 'dwell[ray-data]'") from error
    for name in ("ray.data", "ray.data._internal"):
        logging.getLogger(name).setLevel(logging.ERROR)
    data.DataContext.get_current().enable_progress_bars = False

    def mapped(look: Callable[[str], T], parts: Sequence[str], /) -> Iterable[T]:
        if not parts:
            return []  # Ray Data refuses a job over nothing
        given = data.from_items(
            [{"i": i, "part": part} for i, part in enumerate(parts)], override_num_blocks=len(parts)
        )
        answered = given.map_batches(partial(_answers, look), batch_size=1, num_cpus=_CPUS)
        found = {int(row["i"]): row["answer"] for row in answered.iter_rows()}
        return [pickle.loads(found[i]) for i in range(len(parts))]  # noqa: S301 - made by `_answers`, on our own Ray

    return mapped


def _answers(look: Callable[[str], object], batch: dict[str, Any]) -> dict[str, Any]:
    answers = [pickle.dumps(look(str(part))) for part in batch["part"]]
    return {"i": batch["i"], "answer": np.array([*answers, None], dtype=object)[:-1]}


def task_for(state: LoopState, where: str, *, after: int = 0) -> PartTask:
    """Return what every look has to know, of an open loop.

    Args:
        state: The loop.
        where: What it was opened with: every machine asks it for tombstones.
        after: Only events with a higher seq.
    """
    place = os.path.realpath(where) if has_side_files(where) else where
    return PartTask(row_rules(state), place, state.identity.tenant, after)


class _Fitted(NamedTuple):
    seen: Seen
    space: Space
    crowd: Crowd
    predictors: tuple[Predictor, Predictor, Predictor]


def _fit(parts: Sequence[str], task: PartTask, live: Params, theta: FloatArray, ridge: float, over: Mapped) -> _Fitted:
    """Return what learning and judging stand on: who is there, a space, caps and predictors."""
    seen = _joined(over(partial(seen_of, task=task), parts))
    if seen is None or not seen.n_events:
        raise LearningError(
            "no archived event can be learned from", code="too_few_events", hint="Check the folder, tenant and days."
        )
    space, crowd = space_for(live, seen.features), Crowd.of(seen)
    fits = _joined(over(partial(fits_of, task=task, space=space, theta=theta, crowd=crowd), parts))
    documents = {} if fits is None else fits.capped()
    if documents:  # what a praised document counts is known only now
        crowd = Crowd(crowd.users, crowd.weights, crowd.nameless, documents)
        fits = _joined(over(partial(fits_of, task=task, space=space, theta=theta, crowd=crowd), parts))
    assert fits is not None  # noqa: S101 - there is an event, so there is a part
    return _Fitted(seen, space, crowd, fitted(fits.folds, ridge=ridge))


P = TypeVar("P", Seen, Fits, Judged)


def _joined(found: Iterable[P]) -> P | None:
    total: P | None = None
    for one in found:
        total = one if total is None else total.joined(one)
    return total


def learned_from_parts(
    parts: Sequence[Path],
    task: PartTask,
    live: Params,
    *,
    version: int,
    mode: Mode,
    theta: FloatArray,
    config: Config,
    passes: int,
    now: float,
    over: Mapped = in_process,
) -> Learning:
    """Return a proposal learned from all events of an archive: each pass is one step by the slope over all of them.

    Args:
        parts: Files of the archive, at least one.
        task: See `task_for`.
        live: Params in force.
        version: Number of the new version.
        mode: Mode of the loop.
        theta: (k,) examination per position.
        config: Settings; see `learning.check_learnable`.
        passes: Looks at all parts, >= 1, beside those for users and predictors.
        now: UTC epoch seconds.
        over: How looks are taken.

    Raises:
        ArchiveError: A part is not to be used.
        LearningError: There is nothing to learn from, or a step is not finite.
    """
    names = [str(path) for path in parts]
    found = _fit(names, task, live, theta, config.learner.ridge, over)
    settings = slower_at_first(config.learner, found.seen.n_events)
    lesson = Lesson(
        theta=theta, settings=settings, space=found.space, live=Lesson.encoded(live), live_version=live.version,
        mode=mode, betas=(found.predictors[0].beta, found.predictors[1].beta), n_events=found.seen.n_events,
    )  # fmt: skip
    walk = Walk.begun(found.space.vector(live))
    for step in range(1, passes + 1):
        look = partial(slope_of, task=task, lesson=lesson, crowd=found.crowd, w=walk.w, step=step)
        sums: SlopeSums | None = None
        for one in over(look, names):
            sums = one if sums is None else sums if one is None else sums.plus(one)
        if sums is not None:
            walk = walk.stepped(sums, settings)
    learned = walk.ended(settings)
    params = found.space.params(learned.vector, version=version, parent=live, created_at=now)
    return Learning(params, learned, found.predictors[2], "steps", {}, 0, found.seen.versions, {}, found.predictors[:2])


def reevaluated(
    parts: Sequence[Path],
    task: PartTask,
    proposed: Params,
    live: Params,
    *,
    mode: Mode,
    theta: FloatArray,
    config: Config,
    over: Mapped = in_process,
) -> Reevaluation:
    """Return what all events of an archive say of params against the live ones.

    Args:
        parts: Files of the archive.
        task: Its `after` leaves out what the params learned from.
        proposed: What is judged.
        live: Params in force.
        mode: Mode of the loop: it decides what users get without the proposal.
        theta: (k,) examination per position.
        config: Settings.
        over: How looks are taken.

    Raises:
        ArchiveError: A part is not to be used.
        EvaluationError: Fewer than two users are left.
        LearningError: No event is left for the predictor.
    """
    names = [str(path) for path in parts]
    space_of = proposed if proposed.transform is not None else live
    found = _fit(names, task, space_of, theta, config.learner.ridge, over)
    bench = Bench(
        proposed=proposed, safe=live, mode=mode, space=found.space, predictors=found.predictors[:2], theta=theta,
        max_importance_weight=config.gate.max_importance_weight,
    )  # fmt: skip
    judged = _joined(over(partial(judged_of, task=task, bench=bench), names))
    if judged is None or len(judged.users) < 2:
        raise EvaluationError(
            "two users are due to say how sure an estimate is", code="too_few_users", field="users",
            value=0 if judged is None else len(judged.users), hint="Take more days.",
        )  # fmt: skip
    n, n_users = float(judged.counts.sum()), len(judged.users)
    mean = float(judged.gains.sum()) / n
    # the linearised ratio of two sums over users: Cochran 1977, "Sampling Techniques", section 6.3
    rest = judged.gains - mean * judged.counts
    error = math.sqrt(float((rest**2).sum()) * n_users / (n_users - 1.0)) / n
    effective = judged.weight**2 / judged.square if judged.square > 0.0 else 0.0
    estimate = Estimate(mean, mean - _Z * error, mean + _Z * error, int(n), effective)
    return Reevaluation(estimate, n_users, judged.unsupported / n)


def learned_until(state: LoopState, version: int) -> int:
    """Return the newest event that a version has learned from, 0 where it learned from none."""
    with state.store.snapshot() as reader:
        body = reader.setting(f"learned:{version}")
    return int(msgspec.msgpack.decode(body, type=int)) if body else 0


def check_free(state: LoopState) -> int:
    """Return the number of the next version, where one may be learned by a job.

    Raises:
        ConfigError: Something is configured that is no sum over lists, or the mode only records.
        LearningError: code `standing`: a proposal is being judged.
    """
    check_learnable(state.config, state.live, state.learner)
    if state.mode == "log-only":
        raise ConfigError("this mode records and does not learn", field="mode", value=state.mode, hint="Use another.")
    if state.standing is not None:
        raise LearningError(
            f"version {state.standing.params.version} is being judged", code="standing", field="proposal",
            value=state.standing.params.version, hint="Run `dwell train` until it is decided.",
        )  # fmt: skip
    with state.store.snapshot() as reader:
        return max(reader.params_versions()) + 1


def put_proposal(state: LoopState, learning: Learning) -> None:
    """Have what a job learned stand as the proposal: only events that are served from now on judge it.

    Raises:
        StorageError: It could not be written.
    """
    with state.store.snapshot() as reader:
        last_seq, attempt = reader.last_seq(), next_attempt(reader.decisions())
    proposal = Proposal(
        version=learning.params.version,
        safe_version=state.live.version,
        after_seq=last_seq,
        attempt=attempt,
        beta=learning.predictor.beta.tolist(),
        is_against_caller=state.mode == "shadow",
    )
    standing = Standing(proposal, learning.params)

    def write(tx: Transaction) -> None:
        tx.add_params(learning.params)
        tx.put_setting(f"learned:{learning.params.version}", msgspec.msgpack.encode(last_seq))
        put_standing(tx, standing)
        put_predictor(tx, learning.predictor, version=learning.params.version)

    state.write(write)
    state.standing = standing
