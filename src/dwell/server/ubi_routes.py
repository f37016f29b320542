"""User Behavior Insights over the wire: where its collectors and plugins may send queries and events."""

from __future__ import annotations

import asyncio
import time

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dwell.integrations.ubi import Kind, take_ubi
from dwell.server.caller import caller_of, granted
from dwell.server.wire import UbiRefusal, UbiReply

__all__ = ["events", "queries"]


async def queries(request: Request) -> Response:
    """Take what was searched, with the hits that were shown."""
    return await _taken(request, "queries")


async def events(request: Request) -> Response:
    """Take what users did."""
    return await _taken(request, "events")


async def _taken(request: Request, kind: Kind) -> Response:
    house, caller = caller_of(request, "public", key=request.query_params.get("key"))
    granted(house, caller, request)
    found = await asyncio.to_thread(
        take_ubi,
        house.loop(caller.tenant),
        kind,
        await request.body(),
        request.headers.get("content-type", ""),
        trusted=not caller.is_public,
        now=time.time(),
    )
    refused = [UbiRefusal(one.index, one.pointer, one.reason) for one in found.quarantined]
    reply = UbiReply(found.accepted, dict(found.normalised), refused, dict(found.outcomes))
    return Response(msgspec.json.encode(reply), media_type="application/json")
