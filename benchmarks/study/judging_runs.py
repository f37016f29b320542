"""Runs of the gate on simulated logs: proposals that are no better, better by a known share, or worse."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from dwell.evaluation import Evidence, GateSettings, JudgedEvent, decide
from dwell.evaluation.betting import log_wealth
from dwell.evaluation.gate import Z_END, spent_alpha
from dwell.evaluation.judging import Contribution
from dwell.records import GateDecision
from dwell.records.arrays import BoolArray
from study.judging_logs import (
    TEMPERATURE,
    USERS,
    Field,
    Log,
    Proposal,
    apparent_gain,
    field_of,
    gain_of,
    log_of,
    rewards_of,
    symmetric_field,
    synthetic_field,
    with_gain,
)
from study.judging_loop import Before, before, exposed_anew, first_events, judged
from study.worlds import READERS, FloatArray, MissingDataError, shared_folder

__all__ = [
    "AGREED",
    "EVERY",
    "GAIN",
    "N_FIT",
    "Outcome",
    "Task",
    "differences_of",
    "direction",
    "fields",
    "outcome",
    "perform",
    "two_logs",
]

ROOT: Final = Path(__file__).resolve().parents[2]
EVERY: Final = 50  # a look every so many judged events
GAIN: Final = 0.024  # the learning study's lift: clicks per list of a proposal over live
N_FIT: Final = 1_000  # events before the judged ones: the predictor is fitted to these
_FLAT: Final = 0.3  # relevance of every document where clicks ignore it
_SHARP: Final = 0.1  # temperature of a proposal that ranks as live does, and draws less
_N_BLOCKS: Final = 5  # successive proposals against the same live params
_WORSE: Final = -0.001  # relative: five of the truth's own standard errors
_N_SEARCHED: Final = 40  # proposals among which a worse one is looked for
_Z_AGREEMENT: Final = 2.0  # learning study, section 2.6: both estimates within two standard errors
_NEVER: Final = 2**31 - 1
AGREED: Final = "anytime, both estimates agree"


class Task(NamedTuple):
    """One log with its proposal, and several draws of clicks on it.

    Attributes:
        kind: "flat", "sharper", "equal", "successive", "power" or "cascade".
        user: Who clicks, one of `USERS`.
        field: "synthetic" or "lightgbm_rank".
        seed: Of field, log and proposal.
        n_draws: Runs: draws of clicks.
        n_events: Judged events of a run.
        way: How it is judged: "loop", or "assumed" for the control, see `judging_loop`.
    """

    kind: str
    user: str
    field: str
    seed: int
    n_draws: int
    n_events: int
    way: str = "loop"


class Outcome(NamedTuple):
    """What the gate said in one run.

    Attributes:
        task: Where it belongs.
        what: What was judged, as it is printed.
        kind: The gate: "anytime", "block" or `AGREED`.
        attempt: How many proposals were judged, this one included.
        verdict: Its last word.
        n: After so many judged events.
        truth: What the proposal truly gains, as a share of what live earns.
    """

    task: Task
    what: str
    kind: str
    attempt: int
    verdict: str
    n: int
    truth: float


# ---- fields and proposals


@lru_cache(maxsize=4)
def fields(name: str, seed: int) -> Field:
    """Return a field by its name.

    Raises:
        MissingDataError: It is a labelled set, and that is not on this machine.
    """
    if name == "synthetic":
        return synthetic_field(np.random.default_rng([seed, 11]))
    return field_of(READERS[name](shared_folder(ROOT)))


def direction(field: Field, rng: np.random.Generator) -> Proposal:
    """Return scores of a better ranker: a ridge regression of relevance on half of the questions, with some noise."""
    half = rng.choice(len(field.live), len(field.live) // 2, replace=False)
    x = np.concatenate([field.features[i] for i in half])
    y = np.concatenate([field.relevance[i] for i in half])
    weights = np.linalg.solve(x.T @ x + 100.0 * np.eye(x.shape[1]), x.T @ (y - y.mean()))
    weights += rng.normal(0.0, 0.5 * np.abs(weights).mean(), weights.size)
    return tuple(x @ weights for x in field.features)


def blended(field: Field, other: Proposal, share: float) -> Proposal:
    """Return live scores, one standard deviation per question, plus a share of others on the same scale."""
    return tuple(
        live / max(live.std(), 1e-9) + share * to / max(to.std(), 1e-9)
        for live, to in zip(field.live, other, strict=True)
    )


def _random(field: Field, rng: np.random.Generator) -> Proposal:
    weights = rng.normal(size=field.features[0].shape[1])
    return blended(field, tuple(x @ weights for x in field.features), float(rng.uniform(0.3, 1.5)))


class Worse(NamedTuple):
    """A proposal that earns less than live, and what position-based estimates make of it."""

    proposal: Proposal
    temperature: float
    truth: float
    apparent: float


def two_faced(field: Field, better: Proposal, strength: float) -> Proposal:
    """Return a proposal that orders the upper half of live's list better and the lower half worse.

    Cascade users hardly notice the first and miss what the second takes off the list; position-based estimates see
    gains at the top.
    """
    found = []
    for live, to in zip(field.live, better, strict=True):
        z, y = ((s - s.mean()) / max(s.std(), 1e-9) for s in (live, to))
        found.append(z + strength * np.where(z > 0.0, y, -y))
    return tuple(found)


def worse_under_cascade(field: Field, rng: np.random.Generator) -> dict[str, Worse]:
    """Return proposals that are truly worse for cascade users: one that is over-rated, and any one.

    The first is praised by position-based estimates, even in the long run; the second is drawn at random.
    """
    user = USERS["cascade"]
    found: dict[str, Worse] = {}
    for i in range(_N_SEARCHED):
        # sharpened ones as well: they are over-rated most (learning study, conclusion 5)
        temperature = float(rng.choice([0.1, 0.2, TEMPERATURE]))
        better = direction(field, rng)
        is_two_faced = i % 2 == 0
        proposal = two_faced(field, better, float(rng.uniform(0.2, 1.0))) if is_two_faced else _random(field, rng)
        what = "over-rated" if is_two_faced else "any"
        if what in found:
            continue
        truth = gain_of(field, proposal, user, temperature=temperature)[1]
        apparent = apparent_gain(field, proposal, user, temperature=temperature)
        if truth <= _WORSE and (apparent > 0.0 or not is_two_faced):
            found[what] = Worse(proposal, temperature, truth, apparent)
    return found


# ---- the gate


def differences_of(events: Sequence[JudgedEvent | Contribution], rewards: FloatArray) -> FloatArray:
    """Return `dwell.evaluation.differences` of lists that are all equally long, float64 (n,), in one go."""
    slope = np.array([event.slope for event in events])
    expected = np.array([event.expected for event in events])
    direct = np.array([event.direct for event in events])
    found: FloatArray = direct + (slope * (rewards - expected)).sum(axis=1)
    return found


def _agrees(decision: GateDecision) -> bool:
    """Return whether the prefix estimate leaves room for what is claimed, two standard errors above itself."""
    prefix, claimed = decision.estimates.get("prefix"), decision.estimates["doubly_robust"]
    if prefix is None:
        return True
    errors = [(one.high - one.low) / (2.0 * 1.959963984540054) for one in (prefix, claimed)]
    return claimed.value - prefix.value <= _Z_AGREEMENT * math.hypot(*errors)


def outcome(
    evidence: Evidence,
    rewards: FloatArray,
    settings: GateSettings,
    *,
    attempt: int = 1,
    every: int = EVERY,
    must_agree: bool = False,
) -> tuple[str, int]:
    """Return the gate's first word that is not "hold", (verdict, judged events), with a look every so many events.

    A look is only worked out in full where it can end in another word: where one of both wealths has ever reached what
    the gate asks for, with a gain at each end of examination, where a block is full, or where futility or the last
    event is reached.

    Args:
        evidence: What events say about a proposal, before their clicks are known.
        rewards: Clicks, float64 (n, k).
        settings: The gate.
        attempt: How many proposals were judged, this one included.
        every: Events between two looks.
        must_agree: Whether a promotion waits until the prefix estimate is near enough: a rule that the gate has not.
    """
    x = np.clip(differences_of(evidence.events, rewards), -settings.bound, settings.bound)
    for n in _looks(x, _is_gain_at_each_end(evidence.events, rewards, settings.bound), settings, attempt, every):
        shown = first_events(evidence, rewards, n, attempt=attempt)
        decision = decide(shown, settings, proposed_version=2, safe_version=1, now=0.0)
        if decision.verdict == "promote" and must_agree and not _agrees(decision):
            continue
        if decision.verdict != "hold":
            return decision.verdict, n
    return "hold", x.size


def _is_gain_at_each_end(events: Sequence[JudgedEvent], rewards: FloatArray, bound: float) -> BoolArray:
    """Return after which events the mean at each end of examination is as far above 0 as the gate asks, bool (n,)."""
    n = np.arange(1, len(events) + 1)
    found = np.ones(n.size, dtype=bool)
    for parts in zip(*(event.ends for event in events), strict=True):
        x = np.clip(differences_of(parts, rewards), -bound, bound)
        mean = np.cumsum(x) / n
        variance = np.maximum(np.cumsum(x**2) / n - mean**2, 0.0) / np.maximum(n - 1, 1)
        # a little less than the gate asks: rounding must not skip a look
        found &= mean > 0.999 * Z_END * np.sqrt(variance)
    return found


def _looks(x: FloatArray, is_gain: BoolArray, settings: GateSettings, attempt: int, every: int) -> list[int]:
    """Return the looks that may end in another word than "hold"."""
    if settings.kind == "block":
        return list(range(every, x.size + 1, every))  # what speaks against it may go, and harm shows before it is full
    due = -math.log(spent_alpha(settings.alpha, attempt))
    mean = np.cumsum(x) / np.arange(1, x.size + 1)
    above = np.maximum.accumulate(log_wealth(x, 0.0, floor=-settings.bound)) >= due
    below = np.maximum.accumulate(log_wealth(-x, 0.0, floor=-settings.bound)) >= due
    return [
        n
        for n in range(every, x.size + 1, every)
        if (above[n - 1] and mean[n - 1] > 0.0 and is_gain[n - 1])
        or below[n - 1]
        or (n >= settings.futility_events and mean[n - 1] <= 0.0)
        or n >= settings.max_judged_events
    ]


# ---- the runs


def two_logs(field: Field, task: Task, rng: np.random.Generator, *, flat: float | None = None) -> tuple[Before, Log]:
    """Return what events before say, and events to judge on with their exposure; for `flat` see `rewards_of`."""
    whole = log_of(field, N_FIT + task.n_events, rng, name=f"{task.kind}-{task.user}-{task.field}-{task.seed}")
    earlier = _part(whole, 0, N_FIT)
    known = before(field, earlier, rewards_of(earlier, USERS[task.user], rng, flat=flat), task.way)
    return known, exposed_anew(field, _part(whole, N_FIT, N_FIT + task.n_events), known.theta)


def _part(log: Log, start: int, stop: int) -> Log:
    return Log(log.rows[start:stop], log.question[start:stop], log.order[start:stop], log.shown[start:stop])


def _nulls(task: Task, rng: np.random.Generator) -> list[Outcome]:
    """Return runs of proposals that are no better: every look is taken, nothing is given up early."""
    user = USERS[task.user]
    if task.kind == "equal":
        field, proposal = symmetric_field(rng)
        flat = None
        n_blocks = 1
    else:
        field = fields(task.field, task.seed)
        flat = _FLAT
        n_blocks = _N_BLOCKS if task.kind == "successive" else 1
    known, later = two_logs(field, task, rng, flat=flat)
    size = task.n_events // n_blocks
    blocks = [_part(later, i * size, (i + 1) * size) for i in range(n_blocks)]
    if task.kind == "sharper":
        evidence = [judged(field, later, field.live, known, temperature=_SHARP)]
    else:
        proposals = [proposal if task.kind == "equal" else _random(field, rng) for _ in blocks]
        evidence = [judged(field, *pair, known) for pair in zip(blocks, proposals, strict=True)]
    settings = GateSettings(futility_events=_NEVER, max_judged_events=_NEVER)
    found = []
    for _ in range(task.n_draws):
        for attempt, (block, said) in enumerate(zip(blocks, evidence, strict=True), 1):
            verdict, n = outcome(said, rewards_of(block, user, rng, flat=flat), settings, attempt=attempt)
            if verdict == "promote" or attempt == n_blocks:
                found.append(Outcome(task, task.kind, "anytime", attempt, verdict, n, 0.0))
                break
    return found


def _power(task: Task, rng: np.random.Generator) -> list[Outcome]:
    user = USERS[task.user]
    field = fields(task.field, task.seed)
    proposal = with_gain(field, direction(field, rng), user, GAIN)
    if proposal is None:
        return []
    truth = gain_of(field, proposal, user)[1]
    known, later = two_logs(field, task, rng)
    evidence = judged(field, later, proposal, known)
    found = []
    gates = {"anytime": GateSettings(), "block": GateSettings(kind="block")}
    for _ in range(task.n_draws):
        rewards = rewards_of(later, user, rng)
        for attempt in range(1, _N_BLOCKS + 1):
            for kind, settings in gates.items():
                verdict, n = outcome(evidence, rewards, settings, attempt=attempt)
                found.append(Outcome(task, "better", kind, attempt, verdict, n, truth))
        verdict, n = outcome(evidence, rewards, GateSettings(), must_agree=True)
        found.append(Outcome(task, "better", AGREED, 1, verdict, n, truth))
    return found


def _cascade(task: Task, rng: np.random.Generator) -> list[Outcome]:
    user = USERS["cascade"]
    field = fields(task.field, task.seed)
    known, later = two_logs(field, task, rng)
    found = []
    for what, one in worse_under_cascade(field, rng).items():
        evidence = judged(field, later, one.proposal, known, temperature=one.temperature)
        for _ in range(task.n_draws):
            rewards = rewards_of(later, user, rng)
            for kind in ("anytime", AGREED):
                verdict, n = outcome(evidence, rewards, GateSettings(), must_agree=kind == AGREED)
                found.append(Outcome(task, what, kind, 1, verdict, n, one.truth))
    return found


_BY_KIND: Final[dict[str, Callable[[Task, np.random.Generator], list[Outcome]]]] = {
    "flat": _nulls,
    "sharper": _nulls,
    "equal": _nulls,
    "successive": _nulls,
    "power": _power,
    "cascade": _cascade,
}


def perform(task: Task) -> list[Outcome]:
    """Return what came of a task; nothing where its field is a labelled set that is not on this machine."""
    seeds = [task.seed, sorted(_BY_KIND).index(task.kind), sorted(USERS).index(task.user), len(task.field)]
    try:
        return _BY_KIND[task.kind](task, np.random.default_rng(seeds))
    except MissingDataError:
        return []
