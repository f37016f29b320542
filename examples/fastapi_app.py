"""FastAPI: a search page whose clicks teach the loop that ordered it, in one process.

    pip install 'dwell[server]' fastapi
    python fastapi_app.py --serve      # http://127.0.0.1:8000
    python fastapi_app.py              # visits its own page once, as a browser would, and ends

The page holds the snippet of docs/page.md: `dwell.js` tells which entries were seen, opened and left. Reactions come to
`/v1/feedback` of this application. Each list goes out with a token, bound to the list and its visitor, so that nobody
can react to lists that they were not shown. Where several applications share one loop, `dwell serve` does all this
instead, and the application asks it by `dwell.AsyncClient`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import html
import json
import secrets
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

import dwell
from dwell.server.page import dwell_js

TRAIN_EVERY_S = 60.0
MAX_BODY_BYTES = 100_000  # forty reactions, as many as `dwell.js` sends at once, are a tenth of it
SECRET = secrets.token_bytes(32)  # several processes need the same one
ENTRIES = {
    "kb-12": ("Lost second factor", 0.9),
    "kb-7": ("Reset the password of your account", 0.2),
    "kb-31": ("Reset 2FA with a recovery code", 0.6),
    "kb-40": ("Second factor by text message", 0.1),
}
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Help</title>
<script src="/dwell.js" defer data-endpoint="/v1/feedback" data-user="{user}"></script>
<form><input name="q" data-dwell-search value="{query}"><input type="hidden" name="user" value="{user}"></form>
<ol data-dwell-event="{event_id}" data-dwell-token="{token}">{items}</ol></html>"""
ITEM = '<li data-dwell-doc="{id}"><a href="/kb/{id}">{title}</a> <dwell-thumbs></dwell-thumbs></li>'


def token_of(event_id: str, user: str) -> str:
    """Return what proves that a list was shown to a visitor."""
    return hmac.new(SECRET, json.dumps([event_id, user]).encode(), hashlib.sha256).hexdigest()


def search(query: str) -> list[dict[str, Any]]:
    """Return the entries with their numbers: what your engine brings."""
    words = set(query.lower().split())
    found = [
        {"id": name, "words": float(len(words & set(title.lower().split()))), "fresh": fresh}
        for name, (title, fresh) in ENTRIES.items()
    ]
    return sorted(found, key=lambda entry: -entry["words"])


def build(store: str) -> FastAPI:
    """Return the application on a store."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with dwell.open(store, features=["words", "fresh"], weights={"words": 1.0, "fresh": 0.5}) as loop:
            app.state.loop = loop
            learning = asyncio.create_task(learn(loop))  # an embedded loop has no timers of its own
            yield
            learning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await learning

    app = FastAPI(title="Help", lifespan=lifespan)

    @app.get("/", response_class=HTMLResponse)
    def page(
        request: Request, q: Annotated[str, Query(max_length=300)] = "", user: Annotated[str, Query(max_length=60)] = ""
    ) -> str:
        loop: dwell.Loop = request.app.state.loop
        # a bad value never breaks the page: then your own order is served, and `served.fallback` says why
        served = loop.rank(q, search(q), k=10, user=user or None)
        items = "".join(ITEM.format(id=name, title=html.escape(ENTRIES[name][0])) for name in served.ids)
        escaped = {"query": html.escape(q), "user": html.escape(user)}
        return PAGE.format(items=items, event_id=served.event_id, token=token_of(served.event_id, user), **escaped)

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> JSONResponse:
        body = b""
        async for part in request.stream():
            body += part
            if len(body) > MAX_BODY_BYTES:
                return JSONResponse({"code": "too_large"}, status_code=413)
        try:  # as text/plain: a browser sends that without asking first
            told = json.loads(body)
            items, user = list(told["items"]), str(told.get("user") or "")
            tokens = [str(item.pop("token", "")) for item in items]
            event_ids = [str(item.get("event_id")) for item in items]
        except (ValueError, KeyError, TypeError, AttributeError):
            return JSONResponse({"code": "malformed_json"}, status_code=400)
        pairs = zip(tokens, event_ids, strict=True)
        if not all(hmac.compare_digest(token.encode(), token_of(event_id, user).encode()) for token, event_id in pairs):
            return JSONResponse({"code": "token_invalid"}, status_code=403)
        results = await asyncio.wrap_future(request.app.state.loop.submit_feedback_many(items))
        return JSONResponse({"results": [{"status": one.status, "reason": one.reason} for one in results]})

    @app.get("/dwell.js")
    def script() -> Response:
        return Response(dwell_js()[0], media_type="text/javascript")

    @app.get("/kb/{name}", response_class=HTMLResponse)
    def entry(name: str) -> str:
        return f"<!doctype html><h1>{html.escape(ENTRIES[name][0] if name in ENTRIES else 'no such entry')}</h1>"

    return app


async def learn(loop: dwell.Loop) -> None:
    """Learn on a schedule, beside the requests: `train` holds no lock that `rank` takes."""
    while True:
        await asyncio.sleep(TRAIN_EVERY_S)
        await asyncio.to_thread(loop.train)


def visit(app: FastAPI) -> None:
    """Do what a browser does with the page, once, and tell what came of it."""
    import re

    from fastapi.testclient import TestClient

    with TestClient(app) as browser:
        shown = browser.get("/", params={"q": "reset 2fa", "user": "u-77"}).text
        (event_id,), (token,) = re.findall('event="([^"]+)"', shown), re.findall('token="([^"]+)"', shown)
        docs = re.findall('doc="([^"]+)"', shown)
        click = {"event_id": event_id, "signal": "click", "doc": docs[0], "value": 1, "token": token}
        told = browser.post("/v1/feedback", content=json.dumps({"user": "u-77", "items": [click]})).json()
        stolen = browser.post("/v1/feedback", content=json.dumps({"user": "u-78", "items": [click]}))
        print("shown:", docs, "by", "dwell.js" if browser.get("/dwell.js").content == dwell_js()[0] else "nothing")
        print("by somebody else:", stolen.status_code, stolen.json())
        print("result: the click on what stood first was", told["results"][0]["status"])


if __name__ == "__main__":
    if "--serve" in sys.argv:
        import uvicorn

        uvicorn.run(build("help.dwell"), host="127.0.0.1", port=8000)
    else:
        visit(build(":memory:"))
