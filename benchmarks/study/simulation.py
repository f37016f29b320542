"""Simulated users in front of a loop: who asks what and when, what they click on, and what the loop made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

import dwell
from dwell.testing.users import PositionBasedUser, Visitors
from study.scoring import ndcg_per_question, ndcg_shown
from study.worlds import FloatArray, IntArray, Question, World

__all__ = ["GATED", "N_SHOWN", "TEMPERATURE", "UNGATED", "Checkpoint", "Logged", "Run", "frozen_log", "run_loop"]

N_SHOWN: Final = 10
TEMPERATURE: Final = 0.3
TRAIN_EVERY: Final = 1_000
N_USERS: Final = 500
SECONDS_PER_EVENT: Final = 60.0
START_AT: Final = 1_700_000_000.0
GATED: Final[dict[str, Any]] = {}
UNGATED: Final[dict[str, Any]] = {"gate": {"kind": "off"}}


class Event(NamedTuple):
    """One request.

    Attributes:
        event_id: Its id.
        question: Index of what is asked.
        user: Who asks.
        at: When, UTC epoch seconds.
    """

    event_id: str
    question: int
    user: str
    at: float


class Checkpoint(NamedTuple):
    """What was live after a call of `train`.

    Attributes:
        n_events: Events served so far.
        version: Params version in force.
        test: float64 (n_test,), nDCG@10 per test question, greedy by `loop.params.score`.
        train: Mean nDCG@10 over the questions that users ask, greedy by the same.
        verdict: The gate's word in that call.
        reasons: Its first reason.
    """

    n_events: int
    version: int
    test: FloatArray
    train: float
    verdict: str
    reason: str


class Run(NamedTuple):
    """One loop from its first event to its last.

    Attributes:
        checkpoints: Every 1,000 events, the one before any event first.
        served: float64, mean nDCG@10 of the lists that users saw, per 1,000 events.
        seconds: Time spent, {"rank", "feedback", "train"}.
    """

    checkpoints: tuple[Checkpoint, ...]
    served: tuple[float, ...]
    seconds: dict[str, float]


class Logged(NamedTuple):
    """One list of the frozen logging policy, as the founding document's trainer gets it.

    Attributes:
        question: Index of what was asked.
        shown: int64 (k,), indices of the documents shown, from the top.
        clicks: bool (k,).
    """

    question: int
    shown: IntArray
    clicks: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def events_of(world: World, n_events: int, seed: int) -> Iterator[Event]:
    """Yield the requests of a seed, one every 60 s: the same for every loop that is compared."""
    rng = np.random.default_rng([seed, 1])
    visitors = Visitors(N_USERS, np.random.default_rng([seed, 2]), skew=0.0)
    for i in range(n_events):
        question = int(rng.integers(len(world.train)))
        yield Event(f"s{seed}-{i:06d}", question, visitors.next_visitor(rng), START_AT + SECONDS_PER_EVENT * i)


class _Clicks:
    """Position-based clicks: theta = 1 / k, .1 of noise. Each event has its own draw, whatever was served before."""

    def __init__(self, world: World, seed: int) -> None:
        self._user = PositionBasedUser(eta=1.0, noise=0.1, max_grade=world.max_grade)
        self._seed = seed

    def __call__(self, number: int, grades: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        drawn: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = self._user.clicks(
            grades, np.random.default_rng([self._seed, 3, number])
        )
        return drawn


def _open(world: World, seed: int, config: dict[str, Any]) -> dwell.Loop:
    return dwell.open(
        ":memory:",
        features=list(world.feature_names),
        weights=dict(world.weights),
        temperature=TEMPERATURE,
        seed=seed,
        config=config,
        pepper=b"benchmark",  # given, so that a run can be repeated
        strict=True,  # a fall-back would be measured as a ranking
    )


def _shown(question: Question, ids: Sequence[str]) -> IntArray:
    where = {doc: i for i, doc in enumerate(question.ids)}
    return np.array([where[doc] for doc in ids], dtype=np.int64)


def _checkpoint(loop: dwell.Loop, world: World, n_events: int, decision: dwell.GateDecision | None) -> Checkpoint:
    score = loop.params.score
    reason = decision.reasons[0] if decision is not None and decision.reasons else ""
    return Checkpoint(
        n_events=n_events,
        version=loop.params.version,
        test=ndcg_per_question(score, world.test),
        train=float(np.nanmean(ndcg_per_question(score, world.train))),
        verdict="" if decision is None else decision.verdict,
        reason=reason,
    )


def run_loop(
    world: World,
    *,
    seed: int,
    n_events: int,
    config: dict[str, Any],
    progress: Callable[[str], None] = lambda _: None,
) -> Run:
    """Return what became of a loop that serves, listens and trains every 1,000 events, by its public calls alone.

    Raises:
        RuntimeError: A reaction did not join its event.
    """
    clicks = _Clicks(world, seed)
    seconds = {"rank": 0.0, "feedback": 0.0, "train": 0.0}
    served_quality: list[float] = []
    with _open(world, seed, config) as loop:
        found = [_checkpoint(loop, world, 0, None)]
        answers: list[Any] = []
        block: list[float] = []
        for number, event in enumerate(events_of(world, n_events, seed)):
            question = world.train[event.question]
            began = time.perf_counter()
            served = loop.rank(
                question.query,
                ids=question.ids,
                features=question.features,
                k=N_SHOWN,
                user=event.user,
                event_id=event.event_id,
                now=event.at,
            )
            ranked = time.perf_counter()
            grades = question.grades[_shown(question, served.ids)]
            block.append(ndcg_shown(grades, question.grades, N_SHOWN))
            clicked = np.flatnonzero(clicks(number, grades)).tolist()
            asked = time.perf_counter()
            answers += [
                loop.submit_feedback(event.event_id, "click", doc=served.ids[i], now=event.at + 5.0 * (i + 1))
                for i in clicked
            ]
            told = time.perf_counter()
            seconds["rank"] += ranked - began
            seconds["feedback"] += told - asked
            if (number + 1) % TRAIN_EVERY == 0:
                _check(answers)
                began = time.perf_counter()
                report = loop.train(now=event.at + SECONDS_PER_EVENT)
                seconds["train"] += time.perf_counter() - began
                found.append(_checkpoint(loop, world, number + 1, report.decision))
                served_quality.append(float(np.nanmean(block)))
                block.clear()
                answers.clear()
                progress(
                    f"{number + 1} events: v{found[-1].version}, test {np.mean(found[-1].test):.4f}, "
                    f"{found[-1].verdict}: {found[-1].reason}"
                )
    return Run(tuple(found), tuple(served_quality), seconds)


def _check(answers: Sequence[Any]) -> None:
    lost = [answer.result() for answer in answers if answer.result().status != "joined"]
    if lost:
        raise RuntimeError(f"{len(lost)} of {len(answers)} reactions did not join: {lost[0]}")


def frozen_log(world: World, *, seed: int, n_events: int) -> list[Logged]:
    """Return what the logging policy served to the same requests when nothing is ever learned, and the clicks on it."""
    clicks = _Clicks(world, seed)
    logged = []
    with _open(world, seed, GATED) as loop:
        for number, event in enumerate(events_of(world, n_events, seed)):
            question = world.train[event.question]
            served = loop.rank(
                question.query,
                ids=question.ids,
                features=question.features,
                k=N_SHOWN,
                user=event.user,
                event_id=event.event_id,
                now=event.at,
            )
            shown = _shown(question, served.ids)
            logged.append(Logged(event.question, shown, clicks(number, question.grades[shown])))
    return logged
