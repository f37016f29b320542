"""The calls of whoever runs the service: look at params and ledger, judge, promote, go back, erase, take out."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from dwell.errors import PromotionRefused, RecordError, StaleParamsError
from dwell.loop import Loop
from dwell.records import Experience
from dwell.server.caller import caller_of
from dwell.server.problems import MEDIA_TYPE, problem_of
from dwell.server.telling_diagnosis import told_diagnosis
from dwell.server.telling_health import told_health
from dwell.server.wire import (
    EraseBody,
    ErasedReply,
    EvaluateBody,
    HistoryReply,
    PromoteBody,
    PromoteReply,
    RollbackBody,
    TrainBody,
    plain,
    read_body,
)

__all__ = ["doctor", "erase", "evaluate", "experiences", "health", "history", "params", "promote", "rollback", "train"]

_JUDGING_S: Final = 50.0  # below the guard's minute, so that the answer says why
_HEALTH_S: Final = 2.0  # a learner that is learning answers later: its last word is told
_MOST_DECISIONS: Final = 1_000
_MOST_EXPERIENCES: Final = 1_000


def _answer(body: object, *, version: int | None = None, status: int = 200) -> Response:
    headers = {} if version is None else {"dwell-params-version": str(version)}
    return Response(msgspec.json.encode(body), status_code=status, media_type="application/json", headers=headers)


def _query_number(request: Request, name: str, *, low: float, high: float, is_whole: bool = False) -> float | None:
    """Return a number of the address, None where it is not there.

    Raises:
        RecordError: It is no number of that range.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        value: float = msgspec.json.decode(text, type=int if is_whole else float)
    except msgspec.MsgspecError:
        value = low - 1.0
    if not low <= value <= high:
        raise RecordError(
            f"{name} is a {'whole ' if is_whole else ''}number in [{low:,.0f}, {high:,.0f}]",
            code="range",
            field=name,
            value=text,
            hint="Send such a number, or leave it out.",
        )
    return value


def _limit(request: Request, most: int) -> int:
    return int(_query_number(request, "limit", low=1, high=most, is_whole=True) or most)


async def params(request: Request) -> Response:
    """Tell the params in force."""
    house, caller = caller_of(request, "secret")
    live = house.loop(caller.tenant).params
    return await house.pages.done(lambda: _answer(plain(live), version=live.version))


async def history(request: Request) -> Response:
    """Tell the ledger, newest last."""
    house, caller = caller_of(request, "secret")
    limit = _limit(request, _MOST_DECISIONS)
    loop = house.loop(caller.tenant)
    # a thousand decisions take a quarter of a second to write: no search waits for that
    return await house.pages.done(lambda: _answer(HistoryReply([plain(one) for one in loop.history()[-limit:]])))


def _asked(body: EvaluateBody | PromoteBody, loop: Loop) -> dict[str, Any]:
    """Return which params are meant.

    Raises:
        RecordError: None, both ways of naming them, or weights that do not fit.
    """
    if (body.weights is None) == (body.version is None):
        raise RecordError(
            "params are named by their weights or by their version, one of both",
            code="type",
            field="weights",
            value=None,
            hint="Send {weights: {feature: number, ...}} or {version: n}.",
        )
    if body.version is not None:
        loop.version(body.version)
    return {"weights": body.weights, "version": body.version}


async def evaluate(request: Request) -> Response:
    """Judge params on the evidence at hand; nothing moves."""
    house, caller = caller_of(request, "admin")
    asked = read_body(await request.body(), EvaluateBody)
    meant = _asked(asked, house.loop(caller.tenant))
    decision = await house.calls.call("evaluate", caller.tenant, meant, timeout_s=_JUDGING_S)
    return _answer(decision)


async def promote(request: Request) -> Response:
    """Make params live if the evidence says so, or by force, which the ledger records."""
    house, caller = caller_of(request, "admin")
    asked = read_body(await request.body(), PromoteBody)
    loop = house.loop(caller.tenant)
    meant = {**_asked(asked, loop), "force": asked.force}
    _check_expected(loop, asked.expected_version)
    try:
        live, decision = await house.calls.call("promote", caller.tenant, meant, timeout_s=_JUDGING_S)
    except PromotionRefused as refused:
        problem = msgspec.to_builtins(problem_of(refused, request_id=_request_id(request)))
        return JSONResponse({**problem, "decision": plain(refused.decision)}, status_code=409, media_type=MEDIA_TYPE)
    loop.refresh()
    return _answer(PromoteReply(live, decision), version=live["version"])


def _request_id(request: Request) -> str:
    return str(getattr(request.state, "request_id", ""))


def _check_expected(loop: Loop, expected: int | None) -> None:
    if expected is None:
        return
    loop.refresh()  # another process may have moved it just now
    live = loop.params.version
    if expected != live:
        raise StaleParamsError(
            f"version {live} is live", field="expected_version", value=expected, hint="Look again, then decide."
        )


async def rollback(request: Request) -> Response:
    """Return to an earlier version; works without the learner."""
    house, caller = caller_of(request, "admin")
    asked = read_body(await request.body() or b"{}", RollbackBody)
    loop = house.loop(caller.tenant)
    _check_expected(loop, asked.expected_version)
    live = await asyncio.to_thread(loop.rollback, asked.to)
    return _answer(plain(live), version=live.version)


async def train(request: Request) -> Response:
    """Have the learner learn now."""
    house, caller = caller_of(request, "admin")
    asked = read_body(await request.body() or b"{}", TrainBody)
    loop = house.loop(caller.tenant)
    await house.arrivals.of(loop.when_recorded("nothing"))  # what was served before this call is learned from
    report = await house.calls.call("train", caller.tenant, {"steps": asked.steps}, timeout_s=_JUDGING_S)
    loop.refresh()
    return _answer(report, version=report["live"]["version"])


async def health(request: Request) -> Response:
    """Tell how the loop is, the learner included."""
    house, caller = caller_of(request, "secret")
    report = await told_health(house, caller.tenant, patience_s=_HEALTH_S)
    learner = {"learner": "up" if house.link.is_up else "down", "learner_starts": house.link.n_starts}
    return await house.pages.done(lambda: _answer({**plain(report.to_dict()), **learner}))


async def doctor(request: Request) -> Response:
    """Tell what is wrong, most harmful first, each with its remedy, and whether it is learning."""
    house, caller = caller_of(request, "secret")
    found = await told_diagnosis(house, caller.tenant)
    return await house.pages.done(lambda: _answer(plain(found.to_dict())))


async def experiences(request: Request) -> Response:
    """Tell what was served and what came of it, one JSON document a line, oldest first."""
    house, caller = caller_of(request, "admin")
    since = _query_number(request, "since", low=0.0, high=1e11)
    limit = _limit(request, _MOST_EXPERIENCES)
    found = house.loop(caller.tenant).experiences(since=since, limit=limit)
    return StreamingResponse(iterate_in_threadpool(_lines(found)), media_type="application/x-ndjson")


def _lines(found: Iterator[Experience]) -> Iterator[bytes]:
    for experience in found:
        record = {f.name: getattr(experience, f.name) for f in dataclasses.fields(experience) if f.init}
        yield msgspec.json.encode(record, enc_hook=dict) + b"\n"


async def erase(request: Request) -> Response:
    """Forget a user for good."""
    house, caller = caller_of(request, "admin")
    asked = read_body(await request.body(), EraseBody)
    return _answer(ErasedReply(await asyncio.to_thread(house.loop(caller.tenant).erase, asked.user)))
