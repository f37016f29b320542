"""The collector of User Behavior Insights, by the shape of what it posts, from a real browser into a real loop.

`ubi.js` posts a JSON array of one, as `application/json`, to `{base}/ubi_queries` and `{base}/ubi_events`.
"""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Route

import dwell
from dwell.integrations.ubi import take_ubi
from dwell.loop import Loop

POST = """async ([path, record]) => {
  const answer = await fetch(path, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify([record]),
  })
  return answer.json()
}"""
QUERY = {
    "application": "shop", "query_id": "q-1", "client_id": "c-1", "user_query": "laptop", "query_attributes": {},
    "object_id_field": "sku", "query_response_hit_ids": ["sku-1", "sku-2"],
}  # fmt: skip


def event(name: str, sku: str, ordinal: int, timestamp: str | int) -> dict[str, Any]:
    """An event as `UbiEvent` has it: no user is an empty text, and what is not known is null."""
    return {
        "application": "shop", "action_name": name, "query_id": "q-1", "session_id": "s-1", "client_id": "c-1",
        "user_id": "", "timestamp": timestamp, "message_type": "INFO", "message": None, "user_query": "laptop",
        "event_attributes": {
            "object": {"object_id": sku, "object_id_field": "sku", "description": "a laptop"},
            "position": {"ordinal": ordinal},
        },
    }  # fmt: skip


@pytest.fixture
def hosted() -> Iterator[tuple[Loop, str]]:
    with (
        dwell.open(":memory:", features=["price"], attribution_window_s=10.0) as loop,
        socket.create_server(("127.0.0.1", 0)) as door,
    ):

        def sink(kind: Any, *, trusted: bool) -> Any:
            async def take(request: Request) -> JSONResponse:
                kind_of_body = request.headers["Content-Type"]
                answer = take_ubi(loop, kind, await request.body(), kind_of_body, trusted=trusted, now=time.time())
                return JSONResponse({"accepted": answer.accepted, "quarantined": len(answer.quarantined)})

            return take

        async def page(request: Request) -> HTMLResponse:
            return HTMLResponse(f"<!doctype html><title>{request.url.path}</title>")

        # the host's server tells the list, the browser what became of it
        routes = [
            Route("/", page),
            Route("/ubi_queries", sink("queries", trusted=True), methods=["POST"]),
            Route("/ubi_events", sink("events", trusted=False), methods=["POST"]),
        ]
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        yield loop, f"http://127.0.0.1:{door.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_what_the_collector_posts_is_taken_and_joined(browser: Any, hosted: tuple[Loop, str]) -> None:
    loop, origin = hosted
    page = browser.new_page()
    page.goto(origin)
    iso, milliseconds = page.evaluate("[new Date().toISOString(), Date.now()]")
    told = [
        ("/ubi_queries", {**QUERY, "timestamp": iso}),
        ("/ubi_events", event("impression", "sku-1", 1, milliseconds)),
        ("/ubi_events", event("click", "sku-2", 2, iso)),
        ("/ubi_events", event("click", "sku-3", 3, iso)),  # was in no list
    ]
    answers = [page.evaluate(POST, list(one)) for one in told]
    assert answers == [{"accepted": 1, "quarantined": 0}] * 4
    assert page.evaluate(POST, ["/ubi_events", {"action_name": "click"}]) == {"accepted": 0, "quarantined": 1}
    page.close()
    loop.close_events(now=time.time() + 60.0)
    (experience,) = loop.experiences()
    assert [result["id"] for result in experience.results_served] == ["sku-1", "sku-2"]
    told_of = {doc: set(signals) for doc, signals in experience.document_signals.items()}
    assert told_of == {"sku-2": {"click"}}  # to have been shown is no reaction
