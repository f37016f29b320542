"""From the page to the order and back: `dwell.js` of a real service, its own learner, and visitors in chromium.

A shop on an origin of its own ranks by its secret key and renders the list with a public one; browsers send what they
do to the service. The visitors are simulated: each looks for one document and clicks it wherever it stands.
"""

import json
import threading
import time
from collections.abc import Iterator
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from dwell.server.page import dwell_js

from .serving import Service, made_key, service

N_VISITORS = 20  # in browsers, of whom is learned
N_MORE = 5  # without a browser: the events after which a round of learning begins
N_JUDGING = 30  # a round of these, also without, on whom it is judged
N_ROUNDS = 5
N_LATER = 6
N_DRAWN = 200
WINDOW_S = 1.0
LEARNS_S = 60.0  # on a machine that does much else
FOLLOWS_S = 5.0  # a second is promised, of a machine that does nothing else
LOOK_S = 2.0  # the learner looks at the volume once a second
#: The starting formula knows the match alone and puts what everybody looks for third
DOCUMENTS = {"long": (1.0, 0.0), "old": (0.9, 0.0), "wanted": (0.8, 1.0), "odd": (0.7, 0.1), "far": (0.6, 0.0)}
CANDIDATES = [{"id": doc, "match": match, "fresh": fresh} for doc, (match, fresh) in DOCUMENTS.items()]
CONFIG = f"""
[store]
features = ["match", "fresh"]
weights = {{ match = 1.0, fresh = 0.0 }}
attribution_window_s = {WINDOW_S}
holdout = 0.1

[serve]
train_every_s = 3600.0
train_after_events = {N_VISITORS + N_MORE}
origins = ["ORIGIN"]

[gate]  # as many visitors as a test has browsers for; the error stays 5 %
min_events = 15
min_users = 10

[learner]
step_size = 0.2  # a few dozen lists are all there is to learn from

[training]
min_batch = 2
max_batch = 32
"""


class Shop:
    """The application: it asks the service for an order, and shows it."""

    service: Service
    secret = ""
    public = ""
    quiet = ""  # a secret key of another tenant, whose lists nobody clicks

    def ranked(self, user: str, *, key: str = "") -> dict[str, Any]:
        """The service's answer to one search."""
        asked = {"query": "q", "candidates": CANDIDATES, "user": user, "wait": True}
        status, answer, _ = self.service.call("POST", "/v1/rank", asked, key=key or self.secret)
        assert status == 200, answer
        return dict(answer)

    def joined(self) -> int:
        """How many reactions have joined."""
        return int(self.service.call("GET", "/v1/health", key=self.secret)[1].get("feedback_joined", 0))

    def page(self, user: str) -> str:
        """One search's page."""
        served = self.ranked(user)
        rows = "".join(f'<li data-dwell-doc="{doc}"><a href="/item/{doc}">{doc}</a></li>' for doc in served["ids"])
        return (
            f'<!doctype html><meta charset="utf-8"><title>shop</title><ol data-dwell-event="{served["event_id"]}" '
            f'data-dwell-token="{escape(served["token"])}">{rows}</ol><script src="{self.service.url}/dwell.js" '
            f'integrity="{dwell_js()[1]}" crossorigin="anonymous" data-key="{self.public}" data-user="{user}" '
            'data-wait-s="0.02"></script>'
        )


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[tuple[Shop, str, str]]:
    """The shop, its origin, and the admin key of its tenant."""
    opened = Shop()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = urlsplit(self.path)
            is_search = asked.path == "/search"
            text = opened.page(parse_qs(asked.query)["user"][0]) if is_search else "<!doctype html><title>item</title>"
            here = opened.service.url
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Security-Policy", f"default-src 'none'; script-src {here}; connect-src {here}")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is the library's
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    origin = f"http://127.0.0.1:{server.server_address[1]}"
    (tmp_path / "dwell.toml").write_text(CONFIG.replace("ORIGIN", origin))
    store = tmp_path / "s.dwell"
    with service(store, "--config", str(tmp_path / "dwell.toml")) as found:
        opened.service = found
        opened.secret, opened.public, admin = (made_key(store, kind) for kind in ("secret", "public", "admin"))
        opened.quiet = made_key(store, "secret", "--tenant", "quiet")
        until(lambda: found.call("GET", "/v1/params", key=admin)[0] == 200, 5.0)
        yield opened, origin, admin
    server.shutdown()
    server.server_close()
    thread.join()


def until(claim: Any, within_s: float) -> bool:
    """Wait until a claim holds, and tell whether it did in time."""
    end = time.monotonic() + within_s
    while not claim():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def visit(browser: Any, asked: Shop, address: str, errors: list[str], *, leaves: bool = False) -> None:
    """Search in a browser of one's own, and click what is wanted."""
    context = browser.new_context()
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address, wait_until="load")
    link = page.get_by_role("link", name="wanted")
    if leaves:  # what is told on leaving goes by a beacon, of which no page hears again
        n_before = asked.joined()
        link.click()
        page.wait_for_url("**/item/wanted")
        assert until(lambda: asked.joined() > n_before, 5.0), "the beacon did not arrive"
    else:  # to stay is quicker
        page.evaluate("document.addEventListener('click', event => event.preventDefault())")
        with page.expect_response(lambda answer: answer.url.endswith("/v1/feedback")) as sent:
            link.click()
        answers = sent.value.json()["results"]
        assert [one["status"] for one in answers] == ["joined"] * len(answers)
        told = [(item["signal"], item["doc"]) for item in json.loads(sent.value.request.post_data)["items"]]
        assert ("click", "wanted") in told
    context.close()


def places(asked: Shop, key: str) -> list[int]:
    """Where what is wanted stands, from 0, in lists drawn for nobody in particular."""
    return [asked.ranked(f"draw-{n}", key=key)["ids"].index("wanted") for n in range(N_DRAWN)]


def visit_without_browser(asked: Shop, user: str) -> None:
    """Search, and send what the browser of such a visitor sends."""
    served = asked.ranked(user)
    item = {"event_id": served["event_id"], "signal": "click", "doc": "wanted", "token": served["token"]}
    body = {"key": asked.public, "user": user, "items": [item]}
    status, answer, _ = asked.service.call("POST", "/v1/feedback", body, content_type="text/plain")
    assert (status, answer["results"][0]["status"]) == (200, "joined")


@pytest.mark.slow
def test_clicks_in_the_page_change_what_the_service_serves(browser: Any, shop: tuple[Shop, str, str]) -> None:
    asked, origin, admin = shop
    errors: list[str] = []

    def search(name: str, **how: bool) -> None:
        visit(browser, asked, f"{origin}/search?user={name}", errors, **how)

    def ledger(kind: str) -> list[str]:
        found = asked.service.call("GET", "/v1/history", key=admin)[1]["decisions"]
        return [decision["verdict"] for decision in found if decision["kind"] == kind]

    search("visitor-0", leaves=True)
    for n in range(1, N_VISITORS):
        search(f"visitor-{n}")
    for n in range(3 * N_VISITORS):
        asked.ranked(f"nobody-{n}", key=asked.quiet)  # the control: searches, and not a click
    time.sleep(WINDOW_S)
    for n in range(N_MORE):
        visit_without_browser(asked, f"more-{n}")
    assert until(lambda: ledger("judged"), LEARNS_S), "nothing was learned"
    for more in range(N_ROUNDS):
        for n in range(N_JUDGING):
            visit_without_browser(asked, f"judge-{more}-{n}")
        if until(lambda: "promote" in ledger("judged"), WINDOW_S + LOOK_S):
            break
    else:
        # the gate may be unlucky, the page may not: whoever runs the service can overrule it, on record
        status, answer, _ = asked.service.call("POST", "/v1/promote", {"version": 1, "force": True}, key=admin)
        assert (status, ledger("forced")) == (200, ["promote"]), answer
    version = lambda key: asked.service.call("GET", "/v1/params", key=key)[1]["version"]  # noqa: E731 - said thrice
    assert until(lambda: version(admin) >= 1, FOLLOWS_S), "what is live is not served"

    for n in range(N_LATER):
        search(f"later-{n}")
    # By the given weights it stands third, give or take half a place: their mean over 200 lists has a standard error of
    # a thirtieth of a place, the difference of two such means one of a twentieth. How far a few dozen lists move the
    # weights differs from run to run, so five of those are asked for, which without learning come once in 10**6 runs.
    now, before = places(asked, asked.secret), places(asked, asked.quiet)
    assert sum(now) / N_DRAWN < sum(before) / N_DRAWN - 0.25
    assert version(asked.quiet) == 0, "without clicks nothing changes"
    assert errors == []
