"""The calls of a search: rank, log, feed back, activate. None of them waits for learning."""

from __future__ import annotations

import asyncio
import hashlib
import time
from typing import Any, Final

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from dwell.errors import DwellError, RecordError, RequestError, TokenInvalid
from dwell.loop import Loop
from dwell.loop.ids import new_event_id
from dwell.loop.ingest import KEY_CONFLICT
from dwell.records import Feedback, Served
from dwell.records.readable import readable_ids
from dwell.reward import named_by
from dwell.server.caller import Caller, caller_of, granted
from dwell.server.house import House
from dwell.server.rank_body import read_ranked
from dwell.server.refusals import in_envelope, is_ahead, reason_of, refuse_one, told_apart
from dwell.server.wire import (
    MAX_ITEMS,
    ActivateBody,
    ActivateReply,
    FeedbackBody,
    FeedbackReplies,
    FeedbackReply,
    Item,
    LogBody,
    LogReply,
    RankBody,
    rank_reply,
    read_body,
)

__all__ = ["activate", "feedback", "log_retrieval", "rank"]

_JSON: Final = "application/json"
_RETRY_AFTER_S: Final = 1.0  # the writer's queue drains thousands of jobs a second
_LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_encode: Final = msgspec.json.Encoder().encode


def _answer(body: object, version: int | None = None) -> Response:
    headers = {} if version is None else {"dwell-params-version": str(version)}
    return Response(_encode(body), media_type=_JSON, headers=headers)


async def rank(request: Request) -> Response:
    """Order candidates and record what was served."""
    house, caller = caller_of(request, "secret", lets_agents=True)
    body = await request.body()
    began = time.perf_counter()
    loop, derived = house.loop(caller.tenant), _derived(caller, request)
    asked, served = _ranked(loop, body, derived=derived)
    house.rank_duration_s.observe(time.perf_counter() - began)
    recorded = "dropped" if served.fallback else "queued"
    # Where others serve as well, one of them may be told next that a deferred list was shown
    must_wait = asked.wait or (house.is_shared and not asked.activate)
    if must_wait and not served.fallback:
        recorded = "durable" if await _recorded(house, caller, served.event_id) else "dropped"
        if house.is_shared and (asked.event_id or derived) is not None:
            asked, served = _ranked(loop, body, derived=derived)  # another one's list may have been first
    # by a token, and a page's public key, an agent could speak as a person
    has_token = not served.fallback and not caller.is_agent
    token = house.token(served.event_id, served.ids, asked.user, caller.tenant) if has_token else None
    return _answer(rank_reply(served, token=token, recorded=recorded), served.params_version)


def _ranked(loop: Loop, body: bytes, *, derived: str | None) -> tuple[RankBody, Served]:
    """Return what was asked for, and what is served.

    Raises:
        RecordError: The body can not be read, or is not what a ranking can be made of.
    """
    quick = read_ranked(body, loop.feature_columns)
    if quick is not None:
        try:
            return quick.body, _rank(loop, quick.body, quick.ids, quick.features, derived)
        except DwellError:
            pass  # read it again: whoever has to correct a body needs the names of its fields, as they were sent
    asked = read_body(body, RankBody)
    try:
        features = None if asked.features is None else _array(asked.features)
        return asked, _rank(loop, asked, asked.ids, features, derived)
    except RecordError:
        raise
    except Exception as error:  # noqa: BLE001 - a search must not fail because of us
        return asked, _in_the_callers_order(asked, error)


def _rank(loop: Loop, asked: RankBody, ids: list[str] | None, features: object, derived: str | None) -> Served:
    return loop.rank(
        asked.query,
        asked.candidates,
        ids=ids,
        features=features,
        k=asked.k,
        user=asked.user,
        segment=asked.segment,
        query_embedding=asked.query_embedding,
        event_id=asked.event_id or derived,
        activate=asked.activate,
    )


def _array(features: list[list[float]]) -> Any:  # noqa: ANN401 - an array
    try:
        return np.array(features, dtype=np.float64)
    except ValueError as error:
        raise RecordError(
            "rows of features are not equally long",
            code="results_shape",
            field="features",
            value=len(features),
            hint="Send one row per id, one number per feature.",
        ) from error


def _in_the_callers_order(asked: RankBody, error: Exception) -> Served:
    found = readable_ids(asked.candidates, asked.ids)
    if found is None:
        raise error
    shown = found.ids[: asked.k]
    code = error.code if isinstance(error, DwellError) else f"internal:{type(error).__name__}"
    return Served(
        event_id=new_event_id(),
        ids=shown,
        scores=-np.arange(len(shown), dtype=np.float64),
        propensities=np.ones(len(shown)),
        params_version=0,
        fallback=code,
    )


def _derived(caller: Caller, request: Request) -> str | None:
    """Return the event id that an idempotency key stands for, or None without one."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    named = f"{caller.tenant}\0{key}".encode("utf-8", "replace")
    return f"key:{hashlib.blake2b(named, digest_size=16).hexdigest()}"


async def _recorded(house: House, caller: Caller, event_id: str) -> bool:
    return await house.arrivals.of(house.loop(caller.tenant).when_recorded(event_id))


async def log_retrieval(request: Request) -> Response:
    """Record a list that another ranker ordered; answered once it is on disk."""
    house, caller = caller_of(request, "secret")
    asked = read_body(await request.body(), LogBody)
    loop = house.loop(caller.tenant)
    event_id = loop.log_retrieval(
        asked.query,
        [_integral_rank(result) for result in asked.results],
        user=asked.user,
        segment=asked.segment,
        query_embedding=asked.query_embedding,
        event_id=asked.event_id or _derived(caller, request),
    )
    if not await _recorded(house, caller, event_id):
        raise RequestError(
            "the list was not recorded", code="overloaded", retry_after_s=_RETRY_AFTER_S, hint="Send it again."
        )
    shown = loop.shown(event_id) or []
    return _answer(LogReply(event_id, house.token(event_id, shown, asked.user, caller.tenant)))


def _integral_rank(result: dict[str, Any]) -> dict[str, Any]:
    """Return a result without nulls, its rank as the whole number that JSON may spell 1.0."""
    found = {name: value for name, value in result.items() if value is not None}
    at = found.get("rank")
    if isinstance(at, float) and at.is_integer():
        found["rank"] = int(at)
    return found


async def feedback(request: Request) -> Response:
    """Join reactions with what was served; answered once they are on disk."""
    body = await request.body()
    try:
        given, early = _read_feedback(request, body)
    except RecordError as error:
        raise in_envelope(error) from error
    house, caller = caller_of(request, "public", key=given.key, lets_agents=True)
    given = given.by(caller)
    granted(house, caller, request, subject=given.user, n=len(given.items))
    loop, now = house.loop(caller.tenant), time.time()
    refused = dict(early)
    for i, item in enumerate(given.items):
        if caller.is_public and i not in refused:
            try:
                house.check_token(item.token, tenant=caller.tenant, event_id=item.event_id, user=given.user)
            except TokenInvalid as error:
                if len(given.items) == 1:
                    raise
                refused[i] = Feedback("rejected", f"token_invalid: {error.message}")
    explained = frozenset(refused)
    for i, item in enumerate(given.items):
        if item.at is not None and i not in refused and is_ahead(item, now):
            refused[i] = Feedback("rejected")  # for what reason, `refusals` knows
    taken = [_as_item(item) for i, item in enumerate(given.items) if i not in refused]
    key = request.headers.get("idempotency-key")
    joining = house.arrivals.of(loop.submit_feedback_many(taken, request_key=key))
    answers = iter(await joining)
    results = [refused[i] if i in refused else next(answers) for i in range(len(given.items))]
    _raise_for_all([one for i, one in enumerate(results) if i not in refused])
    if any(one.status == "rejected" for one in results):
        signals = loop.rewards.signals
        if given.is_single:
            refuse_one(results[0], given.items[0], signals, now)
        results = told_apart(results, given.items, explained, signals, now)
    replies = [FeedbackReply(one.status, one.reason) for one in results]
    return _answer(replies[0] if given.is_single else FeedbackReplies(replies))


class _Given(msgspec.Struct, frozen=True):
    """Reactions as they were sent."""

    items: list[Item]
    key: str | None = None
    user: str | None = None
    is_single: bool = False

    def by(self, caller: Caller) -> _Given:
        """Return what is taken of it from this caller: from an agent, as its own word."""
        if not caller.is_agent:
            return self
        said = [msgspec.structs.replace(item, signal=named_by(item.signal, "agent")) for item in self.items]
        return msgspec.structs.replace(self, items=said)


def _read_feedback(request: Request, body: bytes) -> tuple[_Given, dict[int, Feedback]]:
    """Return the reactions of a body, and the lines of it that can not be read with what they are answered.

    Raises:
        RecordError: The body as a whole can not be read, or holds too many.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _LINES:
        return _read_lines(body)
    start = body.lstrip()[:1]
    if start == b"[":
        return _Given(_bounded(read_body(body, list[Item]))), {}
    if b'"items"' in body and _has_items(body):
        found = read_body(body, FeedbackBody)
        return _Given(found.items, found.key, found.user), {}
    return _Given([read_body(body, Item)], is_single=True), {}


def _has_items(body: bytes) -> bool:
    try:
        found = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, RecursionError):
        return False
    return "items" in found


def _bounded(items: list[Item]) -> list[Item]:
    if not 1 <= len(items) <= MAX_ITEMS:
        raise RecordError(
            f"a request holds 1 to {MAX_ITEMS} reactions",
            code="results_shape",
            field="",
            value=len(items),
            hint="Send a list of them, in parts.",
        )
    return items


_UNREADABLE: Final = Item(event_id="unreadable", signal="unreadable")


def _read_lines(body: bytes) -> tuple[_Given, dict[int, Feedback]]:
    lines = [line for line in body.split(b"\n") if line.strip()]
    if not 1 <= len(lines) <= MAX_ITEMS:
        _bounded([_UNREADABLE] * min(len(lines), MAX_ITEMS + 1))
    items: list[Item] = []
    refused: dict[int, Feedback] = {}
    for i, line in enumerate(lines):
        try:
            items.append(read_body(line, Item))
        except RecordError as error:
            items.append(_UNREADABLE)
            refused[i] = Feedback("rejected", reason_of(in_envelope(error)))
    return _Given(items), refused


def _as_item(item: Item) -> dict[str, Any]:
    found: dict[str, Any] = {"event_id": item.event_id, "signal": item.signal, "value": item.value}
    for name in ("doc", "at", "idempotency_key"):
        value = getattr(item, name)
        if value is not None:
            found[name] = value
    return found


def _raise_for_all(results: list[Feedback]) -> None:
    """Refuse a request of which nothing was taken for one reason that is not in its items.

    Raises:
        RequestError: 409 for a key that was used for another request, 503 where the store could take nothing.
    """
    reasons = {one.reason or "" for one in results if one.status == "rejected"}
    if len(results) != sum(one.status == "rejected" for one in results) or len(reasons) != 1:
        return
    reason = reasons.pop()
    code, _, words = reason.partition(":")
    if reason == KEY_CONFLICT:
        raise RequestError(words.strip(), code=code, field="Idempotency-Key", hint="Use a new key for a new request.")
    if code in {"overloaded", "storage", "store_closed"}:
        raise RequestError(
            f"nothing was taken: {reason}", code="overloaded", retry_after_s=_RETRY_AFTER_S, hint="Send it again."
        )


async def activate(request: Request) -> Response:
    """Record that a deferred list was shown."""
    house, caller = caller_of(request, "secret")
    asked = read_body(await request.body(), ActivateBody)
    loop = house.loop(caller.tenant)
    await asyncio.to_thread(loop.activate, asked.event_id, shown=asked.shown, now=time.time())
    shown = loop.shown(asked.event_id) or []
    return _answer(ActivateReply(house.token(asked.event_id, shown, asked.user, caller.tenant)))
