"""Simulated users in front of a loop: who asks what and when, what they click on, and what the loop made of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

import dwell
from dwell.testing.users import CascadeUser, DbnUser, PositionBasedUser, SimulatedUser, Visitors
from study.scoring import ndcg_per_question, ndcg_shown
from study.worlds import FloatArray, IntArray, Question, World

__all__ = [
    "CLICK_MODELS",
    "CLICK_NOISE",
    "GATED",
    "N_SHOWN",
    "PEPPER",
    "TEMPERATURE",
    "TRAIN_EVERY",
    "UNGATED",
    "Checkpoint",
    "Clicks",
    "Logged",
    "Run",
    "events_of",
    "frozen_log",
    "run_loop",
    "user_of",
]

N_SHOWN: Final = 10
TEMPERATURE: Final = 0.3
TRAIN_EVERY: Final = 1_000
N_USERS: Final = 500
SECONDS_PER_EVENT: Final = 60.0
START_AT: Final = 1_700_000_000.0
PEPPER: Final = b"benchmark"
GATED: Final[dict[str, Any]] = {}
UNGATED: Final[dict[str, Any]] = {"gate": {"kind": "off"}}
CLICK_NOISE: Final = 0.1  # Ai et al., SIGIR 2018: the rate of clicks on what is irrelevant
CLICK_MODELS: Final = {
    "pbm": "position-based: looks at position k with probability 1/k; what the learner assumes",
    "cascade": "cascade: reads from the top and leaves after the first click",
    "dbn": "DBN with trust bias: patience .9, satisfaction .7, trust .2",
}


def user_of(name: str, max_grade: int) -> SimulatedUser:
    """Return a simulated user by the name of the click model, one of `CLICK_MODELS`."""
    if name == "pbm":
        return PositionBasedUser(eta=1.0, noise=CLICK_NOISE, max_grade=max_grade)
    if name == "cascade":
        return CascadeUser(noise=CLICK_NOISE, max_grade=max_grade)
    if name == "dbn":
        return DbnUser(noise=CLICK_NOISE, max_grade=max_grade)
    raise ValueError(f"no click model {name!r}; there are {', '.join(CLICK_MODELS)}")


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
        checkpoints: After each call of `train`, the one before any event first.
        served: float64, mean nDCG@10 of the lists that users saw since the call before; NaN where there were none.
        seconds: Time spent, {"rank", "feedback", "train"}.
    """

    checkpoints: tuple[Checkpoint, ...]
    served: tuple[float, ...]
    seconds: dict[str, float]


class Logged(NamedTuple):
    """One list of the frozen logging policy, as those who learn from its log alone get it.

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


class Clicks:
    """What a user of a kind clicks on. Each event has its own draw, whatever was served before."""

    def __init__(self, world: World, seed: int, user: str) -> None:
        self._user = user_of(user, world.max_grade)
        self._seed = seed

    def __call__(self, number: int, grades: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return the clicks of an event by its number on documents of these grades, bool (k,)."""
        drawn: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] = self._user.clicks(
            grades, np.random.default_rng([self._seed, 3, number])
        )
        return drawn


def _open(world: World, seed: int, config: dict[str, Any], where: str = ":memory:") -> dwell.Loop:
    return dwell.open(
        where,
        features=list(world.feature_names),
        weights=dict(world.weights),
        temperature=TEMPERATURE,
        seed=seed,
        config=config,
        pepper=PEPPER,  # given, so that a run can be repeated
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
    user: str = "pbm",
    train_at: Sequence[int] | None = None,
    progress: Callable[[str], None] = lambda _: None,
    where: str = ":memory:",
) -> Run:
    """Return what became of a loop that serves, listens and trains, by its public calls alone.

    Args:
        world: The set.
        seed: Of requests, users, clicks and the loop's own draws.
        n_events: Events served.
        config: Of the loop.
        user: Click model, one of `CLICK_MODELS`.
        train_at: After how many events to call `train`, a number as often as there are calls; every 1,000 when not
            given.
        progress: Told a line after each call.
        where: A new store.

    Raises:
        RuntimeError: A reaction did not join its event.
    """
    calls = Counter(range(TRAIN_EVERY, n_events + 1, TRAIN_EVERY) if train_at is None else train_at)
    clicks = Clicks(world, seed, user)
    seconds = {"rank": 0.0, "feedback": 0.0, "train": 0.0}
    served_quality: list[float] = []
    with _open(world, seed, config, where) as loop:
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
            for _ in range(calls[number + 1]):
                _check(answers)
                began = time.perf_counter()
                report = loop.train(now=event.at + SECONDS_PER_EVENT)
                seconds["train"] += time.perf_counter() - began
                found.append(_checkpoint(loop, world, number + 1, report.decision))
                served_quality.append(float(np.nanmean(block)) if np.isfinite(block).any() else float("nan"))
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


def frozen_log(world: World, *, seed: int, n_events: int, user: str = "pbm") -> list[Logged]:
    """Return what the logging policy served to the same requests when nothing is ever learned, and the clicks on it."""
    clicks = Clicks(world, seed, user)
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
