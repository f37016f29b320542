"""What watches the service: liveness and readiness."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dwell import __version__
from dwell.server.caller import house_of

__all__ = ["live", "ready"]


async def live(_request: Request) -> Response:
    """Tell that the process answers."""
    return JSONResponse({"status": "live"})


async def ready(request: Request) -> Response:
    """Tell whether requests can be served: it is not being shut down. While a database is away searches go on."""
    house = house_of(request)
    is_ready = not house.is_draining and house.loop("").is_recording
    body = {
        "status": "ready" if is_ready else "not_ready",
        "learner": "up" if house.link.is_up else "down",  # searches do not depend on it
        "version": __version__,
        "up_s": round(time.time() - house.started_at, 3),
    }
    return JSONResponse(body, status_code=200 if is_ready else 503, headers={} if is_ready else {"retry-after": "1"})
