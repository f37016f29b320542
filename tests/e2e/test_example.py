"""The example in a real browser, on a real loop and server: readers click, the loop learns, the order follows."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from statistics import fmean
from typing import Any, NamedTuple

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import dwell
from dwell.demo.documents import Document
from dwell.loop import Loop
from dwell.records import Feedback, Served
from dwell.retrieval import Retriever
from dwell.server.page_routes import page_routes

N_READERS = 16
WINDOW_S = 60.0
#: Five entries whose titles say nothing of files. The formula that starts looks at titles only: it can not tell them
#: apart and draws their order. Readers want the shortest.
TEXTS = {f"entry-{n}": f"A file is read. {'It says more of every file. ' * n}" for n in (0, 2, 4, 8, 16)}
WANTED = "entry-0"


class Hosted(NamedTuple):
    """A service as small as can be: one loop, what the page told it, and what became of that."""

    one: Loop
    told: list[dict[str, Any]]
    became: list[Feedback]
    origin: str

    def loop(self, tenant: str) -> Loop:  # noqa: ARG002 - the protocol names it
        return self.one

    def token_for(self, served: Served, user: str | None, tenant: str) -> str:  # noqa: ARG002 - as above
        return f"token of {served.event_id} for {user}"

    async def feedback(self, request: Request) -> JSONResponse:
        """Take the envelope that `dwell.js` posts; refuse an item that holds another token than its list's."""
        body = json.loads(await request.body())
        for item in body["items"]:
            assert item.pop("token") == f"token of {item['event_id']} for {body.get('user')}"
        self.told.extend(body["items"])
        self.became.extend(self.one.feedback_many(body["items"]))
        return JSONResponse({})


@pytest.fixture
def hosted() -> Iterator[Hosted]:
    weights = {name: 1.0 if name == "title_match" else 0.0 for name in Retriever.names}
    with (
        dwell.open(
            ":memory:", features=list(Retriever.names), weights=weights, attribution_window_s=WINDOW_S,
            holdout=0.1,
        ) as loop,
        socket.create_server(("127.0.0.1", 0)) as door,
    ):  # fmt: skip
        house = Hosted(loop, [], [], f"http://127.0.0.1:{door.getsockname()[1]}")
        library = Retriever.build([Document(doc_id, doc_id, text) for doc_id, text in TEXTS.items()], n_dimensions=2)
        routes = [*page_routes(house, lambda: library), Route("/v1/feedback", house.feedback, methods=["POST"])]
        server = uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        yield house
        server.should_exit = True
        thread.join()
        library.close()


def test_clicks_in_the_page_change_the_order_that_it_shows(browser: Any, hosted: Hosted) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 640}, color_scheme="dark")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    rows = "els => els.map(el => el.dataset.dwellDoc)"

    def order(user: str) -> list[str]:
        page.goto(f"{hosted.origin}/example/search?q=read+a+file&user={user}", wait_until="domcontentloaded")
        shown: list[str] = page.eval_on_selector_all("[data-dwell-doc]", rows)
        return shown

    page.goto(f"{hosted.origin}/example")
    page.keyboard.type("read a file")  # the box has the focus
    page.keyboard.press("Enter")
    page.wait_for_url("**/example/search?q=read+a+file&user=")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_role("link", name=WANTED).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/example/document?id=entry-0")
    page.go_back(wait_until="commit")
    page.get_by_role("button", name=f"{WANTED} is helpful").click()
    first = order("reader-0")
    assert set(first) == set(TEXTS)
    before = [first.index(WANTED)]
    version = hosted.one.params.version
    assert page.get_by_text(f"params version {version}").is_visible()
    for reader in range(1, N_READERS):
        before.append(order(f"reader-{reader}").index(WANTED))
        page.evaluate("document.addEventListener('click', event => event.preventDefault())")  # stay: it is quicker
        page.get_by_role("link", name=WANTED, exact=True).click()
    page.goto(f"{hosted.origin}/example")
    until = time.monotonic() + 5.0
    while sum(item["signal"] == "click" for item in hosted.told) < N_READERS:
        assert time.monotonic() < until, hosted.told
        time.sleep(0.02)
    assert {one.status for one in hosted.became} == {"joined"}
    told = {(item["signal"], item["doc"]) for item in hosted.told if item["signal"] != "view"}
    assert told == {(signal, WANTED) for signal in ("click", "dwell", "bounce", "thumbs")}

    hosted.one.train(now=time.time() + WINDOW_S + 1.0)
    learned = hosted.one.proposed
    assert learned is not None
    hosted.one.promote(learned, force=True)  # the gate asks for more readers than a test has
    after = [order(f"later-{n}").index(WANTED) for n in range(6)]
    # Drawn, a place of five is 2 on average with a variance of 2: a mean of 16 is 0.6 or less once in 77,000 runs, and
    # places of 6 add up to at most 1 in 7 of 5**6 cases.
    assert fmean(before) > 0.6
    assert sum(after) <= 1
    assert page.get_by_text(f"params version {hosted.one.params.version}").is_visible()
    assert errors == []
    context.close()
