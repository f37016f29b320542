"""Answers as they travel, and the frozen values that they become: the same ones that the embedded loop returns.

What is not finite travels as null. Names that are not known here are passed over: a newer server may say more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec
import numpy as np

from dwell.errors import DwellError, ServiceError
from dwell.health.doctor import Diagnosis, Finding, Looked
from dwell.health.report import Alert, Distribution, HealthReport, Section, Share, Status, Timeline
from dwell.records import Estimate, Experience, Feedback, GateDecision, Params, RawScore, Served, Transform
from dwell.records.decision import DecisionKind, Verdict
from dwell.records.params import ParamsOrigin
from dwell.records.signal import FeedbackStatus

if TYPE_CHECKING:
    from dwell.loop.train import TrainReport

__all__ = [
    "DecisionOnWire",
    "decision_of",
    "read_decision",
    "read_diagnosis",
    "read_experiences",
    "read_feedback",
    "read_health",
    "read_history",
    "read_number",
    "read_params",
    "read_promoted",
    "read_served",
    "read_text",
    "read_training",
]

T = TypeVar("T")

_NO_FIGURES: Final = frozenset(f.name for f in dataclasses.fields(HealthReport)) - {"figures"}
_EXPERIENCE_FIELDS: Final = frozenset(f.name for f in dataclasses.fields(Experience) if f.init)


class _Served(msgspec.Struct, frozen=True):
    event_id: str
    ids: list[str]
    scores: list[float | None]
    propensities: list[float]
    params_version: int
    token: str | None = None
    fallback: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    status: FeedbackStatus
    reason: str | None = None


class _Answers(msgspec.Struct, frozen=True):
    results: list[_Answer]


class _Estimate(msgspec.Struct, frozen=True):
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    effective_sample_size: float | None = 0.0


class DecisionOnWire(msgspec.Struct, frozen=True):
    """A `GateDecision` as it travels."""

    verdict: Verdict
    reasons: list[str]
    difference: _Estimate
    estimates: dict[str, _Estimate] = {}
    diagnostics: dict[str, float | None] = {}
    proposed_version: int = 0
    safe_version: int = 0
    kind: DecisionKind = "judged"
    alpha: float | None = 0.05
    decided_at: float | None = 0.0


class _Decisions(msgspec.Struct, frozen=True):
    decisions: list[DecisionOnWire]


class _Transform(msgspec.Struct, frozen=True):
    knots: list[list[float]]
    levels: list[list[float]]
    kind: str = "gauss"


class _RawScore(msgspec.Struct, frozen=True):
    weights: list[float]
    mean: float
    sd: float
    coefficient: float


class _Params(msgspec.Struct, frozen=True):
    version: int
    weights: dict[str, float]
    temperature: float = 0.3
    transform: _Transform | None = None
    raw_score: _RawScore | None = None
    origin: ParamsOrigin = "given"
    parent: int | None = None
    created_at: float | None = 0.0


class _Promoted(msgspec.Struct, frozen=True):
    params: _Params


class _Training(msgspec.Struct, frozen=True):
    decision: DecisionOnWire
    live: _Params
    proposed: _Params
    curves: dict[str, list[float | None]] = {}
    ended_by: str = "no_events"
    n_steps: int = 0
    n_closed: int = 0
    n_learned_from: int = 0
    step_norm: float | None = 0.0
    n_replayed: int = 0


class _Diagnosis(msgspec.Struct, frozen=True):
    findings: tuple[Finding, ...]
    looked_at: tuple[Looked, ...]
    answer: str
    n_events: int
    at: float


class _Health(msgspec.Struct, frozen=True):
    status: Status
    alerts: list[Alert]
    sections: tuple[Section, ...] = ()
    shares: dict[str, tuple[Share, ...]] = {}
    distributions: dict[str, Distribution] = {}
    timeline: Timeline | None = None
    at: float = 0.0


def _decoded(body: bytes, kind: type[T]) -> T:
    """Return an answer's body as a value.

    Raises:
        ServiceError: code `bad_answer`: it is of another shape.
    """
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _unreadable(str(error)) from error


def _unreadable(what: str) -> ServiceError:
    return ServiceError(
        f"the answer can not be read: {what[:200]}",
        code="bad_answer",
        hint="Check that the URL is that of `dwell serve`, of a version like the client's.",
    )


def _number(value: float | None, *, otherwise: float = math.nan) -> float:
    return otherwise if value is None else float(value)


def read_served(body: bytes) -> Served:
    """Return what to show.

    Raises:
        ServiceError: code `bad_answer`.
    """
    found = _decoded(body, _Served)
    if not len(found.ids) == len(found.scores) == len(found.propensities):
        raise _unreadable("ids, scores and propensities are not equally many")
    return Served(
        event_id=found.event_id,
        ids=found.ids,
        scores=np.array([_number(score) for score in found.scores], dtype=np.float64),
        propensities=np.array(found.propensities, dtype=np.float64),
        params_version=found.params_version,
        token=found.token,
        fallback=found.fallback,
    )


def read_text(body: bytes, name: str) -> str:
    """Return one text of an answer.

    Raises:
        ServiceError: code `bad_answer`.
    """
    found = _decoded(body, dict[str, Any]).get(name)
    if not isinstance(found, str):
        raise _unreadable(f"no text {name!r}")
    return found


def read_number(body: bytes, name: str) -> int:
    """Return one whole number of an answer.

    Raises:
        ServiceError: code `bad_answer`.
    """
    found = _decoded(body, dict[str, Any]).get(name)
    if not isinstance(found, int) or isinstance(found, bool):
        raise _unreadable(f"no number {name!r}")
    return found


def read_feedback(body: bytes, n: int) -> list[Feedback]:
    """Return the answers to n reactions.

    Raises:
        ServiceError: code `bad_answer`, or they are not n.
    """
    found = _decoded(body, _Answers).results
    if len(found) != n:
        raise _unreadable(f"{len(found)} answers to {n} reactions")
    return [Feedback(one.status, one.reason) for one in found]


def _estimate_of(found: _Estimate) -> Estimate:
    """Return an estimate; an end of the interval that is null is infinite."""
    return Estimate(
        _number(found.value),
        _number(found.low, otherwise=-math.inf),
        _number(found.high, otherwise=math.inf),
        found.n,
        _number(found.effective_sample_size),
    )


def decision_of(found: DecisionOnWire) -> GateDecision:
    """Return a gate's decision."""
    return GateDecision(
        verdict=found.verdict,
        reasons=found.reasons,
        difference=_estimate_of(found.difference),
        estimates={name: _estimate_of(one) for name, one in found.estimates.items()},
        diagnostics={name: _number(one) for name, one in found.diagnostics.items()},
        proposed_version=found.proposed_version,
        safe_version=found.safe_version,
        kind=found.kind,
        alpha=_number(found.alpha),
        decided_at=_number(found.decided_at, otherwise=0.0),
    )


def read_decision(body: bytes) -> GateDecision:
    """Return a gate's decision.

    Raises:
        ServiceError: code `bad_answer`.
    """
    return decision_of(_decoded(body, DecisionOnWire))


def read_history(body: bytes) -> list[GateDecision]:
    """Return decisions, oldest first.

    Raises:
        ServiceError: code `bad_answer`.
    """
    return [decision_of(one) for one in _decoded(body, _Decisions).decisions]


def _transform_of(found: _Transform) -> Transform:
    return Transform(
        tuple(np.array(column, dtype=np.float64) for column in found.knots),
        tuple(np.array(column, dtype=np.float64) for column in found.levels),
        found.kind,
    )


def _params_of(found: _Params) -> Params:
    transform, raw_score = found.transform, found.raw_score
    return Params(
        version=found.version,
        weights=found.weights,
        temperature=found.temperature,
        transform=None if transform is None else _transform_of(transform),
        raw_score=None
        if raw_score is None
        else RawScore(tuple(raw_score.weights), raw_score.mean, raw_score.sd, raw_score.coefficient),
        origin=found.origin,
        parent=found.parent,
        created_at=_number(found.created_at, otherwise=0.0),
    )


def read_params(body: bytes) -> Params:
    """Return one version of the params, whole: they score as they do on the server.

    Raises:
        ServiceError: code `bad_answer`.
    """
    return _rebuilt(lambda: _params_of(_decoded(body, _Params)))


def read_promoted(body: bytes) -> Params:
    """Return the params that a promotion made live.

    Raises:
        ServiceError: code `bad_answer`.
    """
    return _rebuilt(lambda: _params_of(_decoded(body, _Promoted).params))


def read_training(body: bytes) -> TrainReport:
    """Return what a training run did.

    Raises:
        ServiceError: code `bad_answer`.
    """
    from dwell.loop.train import TrainReport

    found = _decoded(body, _Training)
    return _rebuilt(
        lambda: TrainReport(
            decision=decision_of(found.decision),
            live=_params_of(found.live),
            proposed=_params_of(found.proposed),
            curves={name: [_number(one) for one in values] for name, values in found.curves.items()},
            ended_by=found.ended_by,
            n_steps=found.n_steps,
            n_closed=found.n_closed,
            n_learned_from=found.n_learned_from,
            step_norm=_number(found.step_norm),
            n_replayed=found.n_replayed,
        )
    )


def read_health(body: bytes) -> HealthReport:
    """Return how a loop is.

    Raises:
        ServiceError: code `bad_answer`.
    """
    told = _decoded(body, _Health)
    figures = {
        name: math.nan if figure is None else figure
        for name, figure in _decoded(body, dict[str, Any]).items()
        if name not in _NO_FIGURES and isinstance(figure, float | int | str | None)
    }
    return HealthReport(
        told.status,
        told.alerts,
        figures,
        sections=told.sections,
        shares=told.shares,
        distributions=told.distributions,
        timeline=told.timeline,
        at=told.at,
    )


def read_diagnosis(body: bytes) -> Diagnosis:
    """Return what is wrong with a loop.

    Raises:
        ServiceError: code `bad_answer`.
    """
    told = _decoded(body, _Diagnosis)
    return Diagnosis(told.findings, told.looked_at, told.answer, told.n_events, told.at)


def read_experiences(body: bytes) -> list[Experience]:
    """Return experiences, one JSON object a line.

    Raises:
        ServiceError: code `bad_answer`.
    """
    return [_experience_of(_decoded(line, dict[str, Any])) for line in body.splitlines() if line.strip()]


def _experience_of(found: Mapping[str, Any]) -> Experience:
    known = {name: value for name, value in found.items() if name in _EXPERIENCE_FIELDS}
    return _rebuilt(lambda: Experience(**known))


def _rebuilt(build: Callable[[], T]) -> T:
    """Return what a function builds from an answer.

    Raises:
        ServiceError: code `bad_answer`: what was sent is none.
    """
    try:
        return build()
    except ServiceError:
        raise
    except (DwellError, TypeError, ValueError) as error:
        raise _unreadable(str(error)) from error
