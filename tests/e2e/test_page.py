"""The collector in a real browser, against a server that only writes down what arrives."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

STATIC = Path(__file__).resolve().parents[2] / "src" / "dwell" / "server" / "static"
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'"
FORBIDDEN = """
  window.touched = [];
  const refuse = name => ({ get() { window.touched.push(name); throw new DOMException(name, 'SecurityError') } });
  for (const name of ['localStorage', 'sessionStorage', 'indexedDB', 'caches']) {
    Object.defineProperty(window, name, refuse(name));
  }
  Object.defineProperty(document, 'cookie', refuse('cookie'));
"""


class Recorder:
    """What arrived, and how the next posts are answered: a status, or 0 to cut the connection after the body."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.pages: dict[str, str] = {}
        self.answers: list[int] = []
        self.is_picky = False

    @property
    def items(self) -> list[dict[str, Any]]:
        """Every item of every accepted post, a repeated key counted once, in order of arrival."""
        kept = [item for post in self.posts if post["status"] in {0, 200} for item in post["body"]["items"]]
        return list({item["idempotency_key"]: item for item in kept}.values())

    def told(self, *signals: str) -> list[tuple[str, str | None, float]]:
        """(signal, doc, value) of those signals."""
        return [(i["signal"], i.get("doc"), i["value"]) for i in self.items if i["signal"] in signals]

    def answer(self, body: dict[str, Any]) -> int:
        """The status of the next post."""
        if self.is_picky and any(item["signal"] == "poison" for item in body["items"]):
            return 400
        return self.answers.pop(0) if self.answers else 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    recorder: Recorder

    def do_GET(self) -> None:
        if self.path == "/dwell.js":
            self._reply(200, (STATIC / "dwell.js").read_bytes(), "text/javascript; charset=utf-8")
            return
        text = self.recorder.pages.get(self.path.partition("?")[0], "<!doctype html><title>elsewhere</title>")
        self._reply(200, text.encode(), "text/html; charset=utf-8")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = self.recorder.answer(body)
        post = {"path": self.path, "headers": dict(self.headers), "body": body, "status": status}
        self.recorder.posts.append(post)
        if status:
            self._reply(status, b"{}", "application/json")
        else:
            self.close_connection = True
            self.connection.close()

    def _reply(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name is the library's
        """Say nothing."""


@pytest.fixture
def recorder() -> Iterator[tuple[Recorder, str]]:
    kept = Recorder()
    handler = type("Bound", (Handler,), {"recorder": kept})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield kept, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


Opened = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, recorder: tuple[Recorder, str]) -> Iterator[Opened]:
    """Return a function that opens a page with that body; any error in the page fails the test."""
    kept, origin = recorder
    errors: list[str] = []
    with contextlib.ExitStack() as contexts:

        def open_page(body: str, attributes: str = 'data-wait-s="0.05"', before: str = "") -> Any:
            context = browser.new_context(viewport={"width": 800, "height": 600})
            contexts.callback(context.close)
            page = context.new_page()
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("dialog", lambda dialog: (errors.append(dialog.message), dialog.dismiss()))
            if before:
                page.add_init_script(before)
            head = '<!doctype html><meta charset="utf-8"><title>t</title><style>body{{margin:0}}</style>'
            script = f'<script src="/dwell.js" data-key="dwell_pub_k" data-user="u-1" {attributes}></script>'
            kept.pages["/"] = f"{head}{body}{script}"
            page.goto(origin + "/")
            return page

        yield open_page
        assert errors == []


def until(claim: Callable[[], object], within_s: float = 4.0) -> None:
    """Wait until a claim holds; fail where it does not in time."""
    end = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def go_back(page: Any) -> None:
    """Go back to a page that the browser kept as it was."""
    page.go_back(wait_until="commit")
    assert page.evaluate("performance.getEntriesByType('navigation')[0].type") == "navigate", "not from the cache"


def a_list(*docs: str, style: str = "height:100px") -> str:
    rows = "".join(f'<li data-dwell-doc="{doc}" style="{style}"><a href="/elsewhere">{doc}</a></li>' for doc in docs)
    return f'<ol data-dwell-event="e-1" data-dwell-token="tok" style="margin:0;padding:0">{rows}</ol>'


def test_a_document_is_seen_after_a_second_at_half_and_once(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    # of 600 px of window: "a" shows whole, "b" 240 of 360 px, "c" nothing, "tall" nothing of its 3,000 px
    page = opened(
        '<div data-dwell-event="e-1"><div data-dwell-doc="a" style="height:360px">a</div>'
        '<div data-dwell-doc="b" style="height:360px">b</div><div data-dwell-doc="c" style="height:360px">c</div>'
        '<div data-dwell-doc="tall" style="height:3000px">t</div></div>'
    )
    until(lambda: len(kept.told("view")) == 2)
    assert kept.told("view") == [("view", "a", 1.0), ("view", "b", 1.0)]
    origin = page.evaluate("performance.timeOrigin") / 1000
    assert all(item["at"] - origin >= 1.0 for item in kept.items)
    page.evaluate("scrollTo(0, 360)")  # "c" shows 240 of its 360 px, for less than a second
    page.wait_for_timeout(500)
    page.evaluate("scrollTo(0, 300)")  # 180: half of it, as "tall" is not
    page.evaluate("scrollTo(0, 200)")  # 80
    page.wait_for_timeout(900)
    assert len(kept.told("view")) == 2
    page.evaluate("scrollTo(0, 1080)")  # "tall" fills the window, and never shows half of itself
    until(lambda: len(kept.told("view")) == 3)
    assert kept.told("view")[-1] == ("view", "tall", 1.0)


def test_what_comes_later_is_seen_and_another_list_in_the_same_place_anew(
    opened: Opened, recorder: tuple[Recorder, str]
) -> None:
    kept, _ = recorder
    page = opened('<div id="place"></div>')
    page.evaluate("html => { place.innerHTML = html }", a_list("a"))
    until(lambda: kept.told("view") == [("view", "a", 1.0)])
    page.evaluate("document.querySelector('ol').dataset.dwellEvent = 'e-2'")
    until(lambda: len(kept.items) == 2)
    assert [item["event_id"] for item in kept.items] == ["e-1", "e-2"]


def test_clicks_by_mouse_middle_button_and_keyboard(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    page = opened(
        a_list("a", "b", "c")
        + '<div data-dwell-event="e-9"><p data-dwell-doc="card"><button data-dwell-click>open</button></p></div>'
        + '<a href="#">no result</a>'
    )
    for name in ("click", "auxclick"):
        page.evaluate(f"document.addEventListener('{name}', e => {{ e.preventDefault(); e.stopPropagation() }}, true)")
    page.locator("li").nth(2).click(position={"x": 700, "y": 60})  # beside the link
    page.get_by_text("no result").click()
    page.get_by_role("link", name="a", exact=True).click()
    page.get_by_role("link", name="a", exact=True).click()  # the same again is one
    page.get_by_role("link", name="b", exact=True).click(button="middle")
    page.get_by_role("link", name="c", exact=True).focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="open").click()
    until(lambda: len(kept.told("click")) == 4)
    assert [told[1] for told in kept.told("click")] == ["a", "b", "c", "card"]
    first = kept.items[0]
    assert (first["event_id"], first["token"]) == ("e-1", "tok")
    assert kept.posts[0]["body"]["key"] == "dwell_pub_k"
    assert kept.posts[0]["body"]["user"] == "u-1"
    assert kept.posts[0]["path"] == "/v1/feedback"
    assert abs(first["at"] - time.time()) < 60


def test_leaving_sends_a_beacon_and_coming_back_tells_how_long(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    page = opened(a_list("a", "b"), 'data-wait-s="60" data-bounce-s="10"')
    page.get_by_role("link", name="a").click()
    page.wait_for_url("**/elsewhere")
    until(lambda: kept.told("click") == [("click", "a", 1.0)])  # nothing else would have sent it for a minute
    assert kept.posts[0]["headers"]["Content-Type"].startswith("text/plain")
    page.wait_for_timeout(600)
    go_back(page)
    page.evaluate("dwell.flush()")
    until(lambda: kept.told("dwell", "bounce"))
    (name, doc, away_s), bounce = kept.told("dwell", "bounce")
    assert (name, doc) == ("dwell", "a")
    assert 0.6 <= away_s < 5.0
    assert bounce == ("bounce", "a", 1.0)
    page.goto(page.url + "elsewhere")  # without a click: no reading of anything
    go_back(page)
    page.evaluate("dwell.flush()")
    page.wait_for_timeout(100)
    assert len(kept.told("dwell")) == 1


def test_a_hidden_tab_is_left_and_sees_nothing(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    page = opened(a_list("a", "b"), 'data-wait-s="60"')
    turn = """state => {
      Object.defineProperty(document, 'visibilityState', { value: state, configurable: true })
      document.dispatchEvent(new Event('visibilitychange'))
    }"""
    page.evaluate("addEventListener('click', e => e.preventDefault())")
    page.get_by_role("link", name="b").click()
    page.evaluate(turn, "hidden")
    until(lambda: kept.told("click"))
    page.wait_for_timeout(1200)
    page.evaluate(turn, "visible")
    page.evaluate("dwell.flush()")
    until(lambda: kept.told("dwell"))
    assert kept.told("view") == []
    assert kept.told("dwell")[0][1] == "b"
    assert 1.2 <= kept.told("dwell")[0][2] < 5.0


def test_thumbs_say_what_they_are_and_can_be_taken_back(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    page = opened(
        '<div data-dwell-event="e-1"><p data-dwell-doc="a"><dwell-thumbs data-down="Useless"></dwell-thumbs></p>'
        '<p><button data-dwell-thumb="up">good list</button></p></div>'
    )
    up = page.get_by_role("button", name="Helpful", exact=True)
    down = page.get_by_role("button", name="Useless")
    down.focus()
    page.keyboard.press("Space")
    assert down.get_attribute("aria-pressed") == "true"
    up.click()
    assert (up.get_attribute("aria-pressed"), down.get_attribute("aria-pressed")) == ("true", "false")
    page.keyboard.press("Enter")  # the pressed one again
    assert up.get_attribute("aria-pressed") == "false"
    page.get_by_text("good list").click()
    until(lambda: len(kept.told("thumbs")) == 4)
    assert kept.told("thumbs") == [
        ("thumbs", "a", -1), ("thumbs", "a", 1), ("thumbs", "a", 0), ("thumbs", None, 1),
    ]  # fmt: skip
    assert kept.told("click") == []


def test_another_search_soon_and_without_a_click_says_that_the_list_failed(
    opened: Opened, recorder: tuple[Recorder, str]
) -> None:
    kept, _ = recorder
    form = '<form action="/elsewhere"><input name="q" data-dwell-search value="Reset 2FA"></form>'
    ask = "text => { const i = document.querySelector('input'); i.value = text; i.form.requestSubmit() }"
    halt = "addEventListener('submit', e => e.preventDefault())"

    def searched(text: str, attributes: str = 'data-wait-s="60"', *, has_clicked: bool = False) -> Any:
        page = opened(form + a_list("a"), attributes)
        page.evaluate(halt)
        if has_clicked:
            page.evaluate("addEventListener('click', e => e.preventDefault())")
            page.get_by_role("link", name="a").click()
        page.wait_for_timeout(150)
        page.evaluate(ask, text)
        page.evaluate("dwell.flush()")
        return page

    searched(" reset 2fa ")  # the same question
    searched("lost phone", has_clicked=True)
    searched("lost phone", 'data-wait-s="60" data-reformulated-s="0.1"')  # too late
    page = searched("lost phone")
    page.evaluate(ask, "phone lost")  # still the same list: once
    page.evaluate("dwell.flush()")
    until(lambda: kept.told("reformulated"))
    page.wait_for_timeout(100)
    assert kept.told("reformulated") == [("reformulated", None, 1.0)]


def test_batches_leave_by_size_or_by_time(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    page = opened(a_list(), 'data-batch="3" data-wait-s="0.4"')
    page.evaluate("['a', 'b', 'c', 'd'].forEach(doc => dwell.track('copy', { doc }))")
    until(lambda: len(kept.posts) == 1)
    assert [len(post["body"]["items"]) for post in kept.posts] == [3]
    until(lambda: len(kept.posts) == 2)
    assert [item["doc"] for item in kept.items] == ["a", "b", "c", "d"]
    page.evaluate("dwell.track('copy', { value: NaN })")
    page.evaluate("dwell.track('rating', { doc: 'a', value: 4, eventId: 'e-7', token: 't-7' })")
    page.evaluate("dwell.stop(); dwell.track('copy')")
    page.wait_for_timeout(600)
    assert len(kept.posts) == 2, "what was stopped sends nothing"


@pytest.mark.parametrize("failure", [503, 0])
def test_what_is_sent_again_counts_once(opened: Opened, recorder: tuple[Recorder, str], failure: int) -> None:
    kept, _ = recorder
    kept.answers = [failure]
    page = opened(a_list())
    page.evaluate("dwell.track('copy', { doc: 'a' })")
    until(lambda: len(kept.posts) == 2, within_s=6.0)
    assert kept.posts[0]["body"] == kept.posts[1]["body"]
    assert len(kept.items) == 1
    until(lambda: page.evaluate("dwell.stats.sent") == 1)
    page.wait_for_timeout(200)
    assert len(kept.posts) == 2


def test_one_bad_item_does_not_take_the_others_along(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    kept.is_picky = True
    page = opened(a_list())
    page.evaluate("['a', 'b', 'c', 'd', 'e'].forEach(doc => dwell.track(doc === 'd' ? 'poison' : 'copy', { doc }))")
    until(lambda: page.evaluate("dwell.stats.sent") == 4)
    assert [item["doc"] for item in kept.items] == ["a", "b", "c", "e"]
    assert page.evaluate("dwell.stats.dropped") == 1


def test_the_queue_is_bounded(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    page = opened(a_list(), 'data-batch="40" data-wait-s="60"')
    page.evaluate("for (let i = 0; i < 600; i++) dwell.track('copy', { doc: 'd' + i })")
    assert page.evaluate("dwell.stats.dropped") == 100
    page.evaluate("dwell.flush()")
    # more than a browser lets go at once: what it refuses follows
    until(lambda: len(kept.items) == 500, within_s=60.0)
    assert max(len(post["body"]["items"]) for post in kept.posts) <= 40


def test_neither_cookie_nor_storage_is_touched(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    page = opened(a_list("a") + "<dwell-thumbs></dwell-thumbs>", before=FORBIDDEN)
    with contextlib.suppress(Exception):
        page.evaluate("localStorage.length")
    assert page.evaluate("touched") == ["localStorage"], "the trap works"
    page.evaluate("addEventListener('click', e => e.preventDefault())")
    page.get_by_role("link", name="a").click()
    until(lambda: len(kept.items) == 2)
    page.goto(page.url + "elsewhere")
    go_back(page)
    page.evaluate("dwell.flush()")
    until(lambda: kept.told("dwell"))
    assert page.evaluate("touched") == ["localStorage"]
    assert page.context.cookies() == []
    assert all("Cookie" not in post["headers"] for post in kept.posts)


def test_a_broken_browser_breaks_nothing_in_the_page(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    broken = """
      window.fetch = () => { throw new Error('fetch') }
      navigator.sendBeacon = () => { throw new Error('beacon') }
      window.IntersectionObserver = undefined
    """
    page = opened(a_list("a"), before=broken)
    page.evaluate("addEventListener('click', e => e.preventDefault())")
    page.get_by_role("link", name="a").click()
    page.evaluate(
        "dwell.start(null); dwell.start(7); dwell.track(Symbol('s')); dwell.track('copy', null); dwell.flush()"
    )
    until(lambda: page.evaluate("dwell.stats.errors") >= 2)
    page.goto(page.url + "elsewhere")
    assert kept.posts == []  # and no error reached the page: `opened` looks


def test_hostile_ids_arrive_as_they_are_and_run_nothing(opened: Opened, recorder: tuple[Recorder, str]) -> None:
    kept, _ = recorder
    ids = [
        '"><img src=x onerror=alert(1)>',
        "</script><script>alert(1)</script>",
        "__proto__",
        "]','",
        "\u202egnp.exe",
        "' or 1",
    ]
    page = opened('<div id="place" data-dwell-event="constructor"></div><a id="dwell"></a><form id="fetch"></form>')
    page.evaluate(
        """ids => ids.forEach(id => {
          const a = document.createElement('a')
          a.href = '#'; a.textContent = 'open'; a.dataset.dwellDoc = id
          place.append(a)
          a.click()
        })""",
        ids,
    )
    until(lambda: len(kept.told("click")) == len(ids))
    assert [told[1] for told in kept.told("click")] == ids
    assert {item["event_id"] for item in kept.items} == {"constructor"}
