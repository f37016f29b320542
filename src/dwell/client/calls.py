"""The loop's calls as flows: what each asks, what it makes of the answer, and what it answers without one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import numpy as np

from dwell.client.asking import (
    MAX_ITEMS,
    Request,
    encoded,
    feedback_items,
    params_body,
    rank_body,
    retrieval_body,
)
from dwell.client.core import Call, Core, Flow, circuit_open, exchange, new_id
from dwell.client.retrying import Patience
from dwell.client.wire import (
    read_decision,
    read_diagnosis,
    read_experiences,
    read_feedback,
    read_health,
    read_history,
    read_number,
    read_params,
    read_promoted,
    read_served,
    read_text,
    read_training,
)
from dwell.errors import DwellError, RecordError, ServiceError, StorageError
from dwell.health.doctor import Diagnosis
from dwell.health.report import HealthReport
from dwell.records import Experience, Feedback, GateDecision, Params, Served, checks
from dwell.records.readable import readable_ids

if TYPE_CHECKING:
    from dwell.loop.train import TrainReport

__all__ = [
    "MAX_EXPERIENCES",
    "activate",
    "doctor",
    "erase",
    "evaluate",
    "experiences",
    "feedback",
    "health",
    "history",
    "live_params",
    "log_retrieval",
    "promote",
    "rank",
    "rollback",
    "send_items",
    "train",
]

MAX_EXPERIENCES: Final = 1_000  # in one answer, as the server gives them
_LATER: Final = 202  # RFC 9110, section 15.3.3: accepted, not done yet
_MAX_BODY_BYTES: Final = 1_000_000  # half of what the server takes: the rest is room for what stands around items


def _post(path: str, body: bytes) -> Request:
    """Return a request that has one effect however often it is repeated."""
    return Request("POST", path, body, new_id())


def rank(
    core: Core,
    query: object,
    candidates: object,
    *,
    ids: object,
    features: object,
    k: object,
    user: object,
    segment: object,
    query_embedding: object,
    event_id: object,
    activate: object,
) -> Flow[Served]:
    """Return what to show; whatever goes wrong, the caller's own order with the reason as a code.

    Raises:
        RecordError: No ids can be read, or `k` is no positive integer.
        DwellError: Of a strict client, whatever went wrong.
    """
    n_shown = checks.positive_integer(k, "k", most=sys.maxsize)
    own_id: object = new_id() if event_id is None else event_id
    try:
        if core.refuses():
            raise circuit_open()  # noqa: TRY301 - on its way to the same answer as every other trouble
        body = rank_body(
            query,
            candidates,
            ids=ids,
            features=features,
            k=n_shown,
            user=user,
            segment=segment,
            query_embedding=query_embedding,
            event_id=own_id,
            activate=activate,
        )
        call = Call(Request("POST", "/v1/rank", body), core.rank_patience, is_guarded=True)
        answer = yield from exchange(core, call)
        served = read_served(answer.body)
    except Exception as error:
        if core.is_strict:
            raise
        return _fall_back(core, error, candidates, ids, n_shown, own_id)
    core.note_served()
    return served


def _fall_back(core: Core, error: Exception, candidates: object, ids: object, k: int, event_id: object) -> Served:
    """Return the caller's own order: somebody's search must not fail because of us."""
    readable = readable_ids(candidates, ids)
    if readable is None:
        if isinstance(error, RecordError):
            raise error
        raise RecordError(
            "no ids can be read", code="results_shape", field="candidates", hint="Pass [{'id': ..., 'bm25': ...}, ...]."
        ) from error
    code = error.code if isinstance(error, DwellError) else f"internal:{type(error).__name__}"
    core.note_fallback(code)
    shown = readable.ids[:k]
    return Served(
        event_id=_own_event_id(error, event_id),
        ids=shown,
        scores=-np.arange(len(shown), dtype=np.float64),
        propensities=np.ones(len(shown)),
        params_version=0 if core.last_params is None else core.last_params.version,
        fallback=code,
    )


def _own_event_id(error: Exception, event_id: object) -> str:
    """Return the event id of a list in the caller's order: another one where the server may know this one.

    A request without an answer may have been served: then another list stands under its id, which must not be credited
    with this one's signals.
    """
    if getattr(error, "may_have_arrived", isinstance(error, ServiceError | StorageError)):
        return new_id()
    try:
        return checks.event_id(event_id)
    except DwellError:
        return new_id()


def log_retrieval(
    core: Core,
    query: object,
    results: object,
    *,
    user: object,
    segment: object,
    query_embedding: object,
    event_id: object,
) -> Flow[str]:
    """Return the event id of a list that another ranker ordered, recorded where the server can be reached.

    Raises:
        RecordError: A malformed value.
        DwellError: Of a strict client, whatever went wrong.
    """
    own_id: object = new_id() if event_id is None else event_id
    body = retrieval_body(query, results, user=user, segment=segment, query_embedding=query_embedding, event_id=own_id)
    call = Call(Request("POST", "/v1/log_retrieval", body), core.rank_patience, is_guarded=True)
    try:
        answer = yield from exchange(core, call)
        return read_text(answer.body, "event_id")
    except (ServiceError, StorageError):
        if core.is_strict:
            raise
        core.count("dropped_impressions")
        return checks.event_id(own_id)


def feedback(core: Core, items: Sequence[bytes | Feedback]) -> Flow[list[Feedback]]:
    """Return what became of checked reactions, in their order; never raises."""
    wanted = [item for item in items if isinstance(item, bytes)]
    answers: list[Feedback] = []
    for part in _parts(wanted):
        answers += yield from send_items(core, part, core.feedback_patience)
    told = iter(answers)
    return [next(told) if isinstance(item, bytes) else item for item in items]


def _parts(items: Sequence[bytes]) -> list[list[bytes]]:
    parts: list[list[bytes]] = []
    n_bytes = 0
    for item in items:
        if not parts or len(parts[-1]) == MAX_ITEMS or n_bytes + len(item) > _MAX_BODY_BYTES:
            parts.append([])
            n_bytes = 0
        parts[-1].append(item)
        n_bytes += len(item) + 1
    return parts


def send_items(
    core: Core,
    items: Sequence[bytes],
    patience: Patience,
    *,
    is_guarded: bool = True,
    ends_at: Callable[[], float] | None = None,
) -> Flow[list[Feedback]]:
    """Return the answers to the reactions of one request; a request that fails rejects them all, with its reason."""
    call = Call(_post("/v1/feedback", b"[" + b",".join(items) + b"]"), patience, is_guarded, ends_at)
    try:
        answer = yield from exchange(core, call)
        return read_feedback(answer.body, len(items))
    except DwellError as error:
        core.count("feedback_failed", len(items))
        return [Feedback("rejected", f"{error.code}: {error}") for _ in items]


def feedback_many(core: Core, items: object) -> Flow[list[Feedback]]:
    """Return what became of many reactions, in their order.

    Raises:
        RecordError: `items` is no sequence.
    """
    return (yield from feedback(core, feedback_items(items)))


def activate(core: Core, event_id: object, *, shown: Sequence[str] | None) -> Flow[None]:
    """Record that a deferred event was shown."""
    ids = None if shown is None else [checks.identifier(doc, f"shown[{i}]") for i, doc in enumerate(shown)]
    body = encoded({"event_id": checks.event_id(event_id), "shown": ids})
    yield from exchange(core, Call(_post("/v1/activate", body), core.patience))


def live_params(core: Core) -> Flow[Params]:
    """Return the params in force; those that were read last, where the client was closed."""
    if core.is_closed and core.last_params is not None:
        return core.last_params
    answer = yield from exchange(core, Call(Request("GET", "/v1/params"), core.patience))
    core.last_params = core.remember(read_params(answer.body))
    return core.last_params


def history(core: Core) -> Flow[list[GateDecision]]:
    """Return decisions, oldest first; those that were read last, where the client was closed."""
    if not core.is_closed or core.last_history is None:
        answer = yield from exchange(core, Call(Request("GET", "/v1/history"), core.patience))
        core.last_history = read_history(answer.body)
    return list(core.last_history)


def evaluate(core: Core, params: object) -> Flow[GateDecision]:
    """Return the gate's verdict on any params."""
    body = encoded(params_body(params, core.known))
    answer = yield from exchange(core, Call(_post("/v1/evaluate", body), core.patience))
    return read_decision(answer.body)


def promote(core: Core, params: object, *, force: object, expected_version: object) -> Flow[Params]:
    """Make params live if the evidence says so, and return them."""
    body = params_body(params, core.known)
    body |= {
        "force": checks.boolean(force, "force"),
        "expected_version": _version(expected_version, "expected_version"),
    }
    answer = yield from exchange(core, Call(_post("/v1/promote", encoded(body)), core.patience))
    core.last_params = core.remember(read_promoted(answer.body))
    return core.last_params


def rollback(core: Core, to: object, *, expected_version: object) -> Flow[Params]:
    """Return to the params that were live before, or to a version."""
    body = {"to": _version(to, "to"), "expected_version": _version(expected_version, "expected_version")}
    answer = yield from exchange(core, Call(_post("/v1/rollback", encoded(body)), core.patience))
    core.last_params = core.remember(read_params(answer.body))
    return core.last_params


def _version(value: object, field: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise RecordError(
            "a version is a whole number", code="type", field=field, value=value, hint="Pass Params.version."
        )
    return value


def train(core: Core, *, steps: object) -> Flow[TrainReport]:
    """Learn and judge on the server, and return its report."""
    if steps is not None:
        checks.positive_integer(steps, "steps", most=100_000)
    answer = yield from exchange(core, Call(_post("/v1/train", encoded({"steps": steps})), core.patience))
    if answer.status == _LATER:
        raise ServiceError(
            "the learner beside the server was asked, and answers later",
            code="accepted",
            hint="history() has its decision when it is done.",
        )
    report = read_training(answer.body)
    core.remember(report.proposed)
    core.last_params = core.remember(report.live)
    return report


def health(core: Core) -> Flow[HealthReport]:
    """Return how the loop is."""
    answer = yield from exchange(core, Call(Request("GET", "/v1/health"), core.patience))
    return read_health(answer.body)


def doctor(core: Core) -> Flow[Diagnosis]:
    """Return what is wrong with the loop."""
    answer = yield from exchange(core, Call(Request("GET", "/v1/doctor"), core.patience))
    return read_diagnosis(answer.body)


def experiences(core: Core, *, since: float | None, limit: int | None) -> Flow[list[Experience]]:
    """Return experiences in the order served."""
    asked: dict[str, object] = {}
    if since is not None:
        asked["since"] = repr(checks.timestamp(since, "since"))
    if limit is not None:
        asked["limit"] = checks.positive_integer(limit, "limit", most=MAX_EXPERIENCES)
    path = f"/v1/experiences?{urlencode(asked)}" if asked else "/v1/experiences"
    answer = yield from exchange(core, Call(Request("GET", path), core.patience))
    return read_experiences(answer.body)


def erase(core: Core, user: object) -> Flow[int]:
    """Remove everything of a user for good, and return how many events went."""
    body = encoded({"user": checks.identifier(user, "user")})
    answer = yield from exchange(core, Call(_post("/v1/erase", body), core.patience))
    return read_number(answer.body, "n_events")
