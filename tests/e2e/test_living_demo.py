"""`dwell demo --serve` lived in: people search, click and overrule the gate, and the page says what became of it.

The visitors are simulated. Three come with a browser of their own, the others send what a browser sends.

Event ids, and so the draws, differ from run to run. Of 100 seeds, played in memory with these settings, the clicked
result rose in all, on either corpus, by 30 visitors' clicks and by one visitor's; of 40 seeds the gate promoted in all
after 7 rounds, where 8 or 9 are played here. So a false alarm is had in at most 3 of 100 runs, and 8 of 100 for the
gate's promotion (95 %, rule of three).
"""

import contextlib
import re
import signal
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest

import dwell
from dwell.demo.place import place_pepper
from dwell.demo.story import mistake
from dwell.demo.world import START

from .serving import Service, service

WINDOW_S = 1.0
QUERY = "temporary directory"
N_VISITORS = 30
N_IN_BROWSERS = 3
ENOUGH_ROUNDS = 8  # of 30 lists each; the gate wants 200
#: The page's own settings, but for the window: a test need not wait for twenty seconds.
CONFIG = f"[store]\nattribution_window_s = {WINDOW_S}\n"


class Row(NamedTuple):
    """One result: its document, and its place without the draw."""

    doc: str
    place: int


class Shown(NamedTuple):
    """One search's page."""

    text: str
    event_id: str
    token: str
    rows: tuple[Row, ...]

    def place_of(self, doc: str) -> int:
        return next(row.place for row in self.rows if row.doc == doc)


@contextlib.contextmanager
def lived_in(place: Path, *more: str) -> Iterator[Service]:
    (place / "living.toml").write_text(CONFIG)
    store = place / "demo.dwell"
    words = ("demo", "--serve", "--store", str(store), "--config", str(place / "living.toml"), *more)
    with service(store, words=words) as found:
        yield found


@pytest.fixture
def living(tmp_path: Path) -> Iterator[Service]:
    """The demo as it comes, over the documentation of this Python."""
    with lived_in(tmp_path) as found:
        yield found


def made_up(place: Path) -> Path:
    """Twelve entries, which differ in length, in title and in words of the query."""
    corpus = place / "corpus"
    corpus.mkdir()
    for n in range(12):
        title = f"{'Directory' if n % 4 else 'Note'} number {n}"
        about = "A temporary directory is made. " if n % 3 else "Making of a directory, a note. "
        more = f"{'It says more of other things. ' * (7 * n % 12)}{'A directory. ' * (5 * n % 4)}"
        (corpus / f"entry-{n:02}.txt").write_text(f"{title}\n\n{about}{more}\n")
    return corpus


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Service]:
    """The same over made-up text."""
    with lived_in(tmp_path, "--corpus", str(made_up(tmp_path))) as found:
        yield found


def page(living: Service, path: str, body: dict[str, str] | None = None) -> str:
    sent = None if body is None else urlencode(body).encode()
    kind = "application/x-www-form-urlencoded"
    status, answer, _ = living.call("GET" if sent is None else "POST", path, sent, content_type=kind)
    assert status in {200, 409}, answer
    return unescape(answer.decode())


def search(living: Service, user: str) -> Shown:
    text = page(living, f"/example/search?{urlencode({'q': QUERY, 'user': user})}")
    event, token = (re.search(f'data-dwell-{name}="([^"]+)"', text) for name in ("event", "token"))
    assert event
    assert token
    rows = re.findall(r'data-dwell-doc="([^"]+)".*?data-place="(\d+)"', text, re.DOTALL)
    return Shown(text, event[1], token[1], tuple(Row(doc, int(place)) for doc, place in rows))


def click(living: Service, user: str, doc: str) -> bool:
    """Search, and send what a browser sends where the document is shown; tell whether it was."""
    shown = search(living, user)
    if doc not in [row.doc for row in shown.rows]:
        return False
    item = {"event_id": shown.event_id, "signal": "click", "doc": doc, "token": shown.token}
    status, answer, _ = living.call("POST", "/v1/feedback", {"user": user, "items": [item]}, content_type="text/plain")
    assert (status, answer["results"][0]["status"]) == (200, "joined")
    return True


def third(living: Service, user: str = "you") -> str:
    """The document that stands third without the draw; one of a few searches shows it."""
    for _ in range(10):
        found = [row.doc for row in search(living, user).rows if row.place == 3]
        if found:
            return found[0]
    raise AssertionError("the third result was shown in none of ten lists")


def lists(living: Service) -> Iterator[Shown]:
    """Searches of later visitors, ten of them: what is wanted is in nearly each."""
    return (search(living, f"later {n}") for n in range(10))


def strip(living: Service, user: str) -> str:
    return " ".join(re.sub("<[^>]+>", " ", page(living, f"/example/lesson?{urlencode({'user': user})}")).split())


def learn(living: Service, user: str) -> str:
    """Have it learn once the windows are over, and return what the page says then."""
    time.sleep(WINDOW_S + 0.1)
    page(living, "/example/learn", {"q": "", "user": user})
    return strip(living, user)


def live(living: Service) -> int:
    return int(living.call("GET", "/v1/params")[1]["version"])


def visit(browser: Any, living: Service, user: str, doc: str) -> bool:
    """Search in a browser of one's own, and click the document where it is shown, until the page tells it back."""
    context = browser.new_context(viewport={"width": 360, "height": 640})
    tab = context.new_page()
    errors: list[str] = []
    tab.on("pageerror", lambda error: errors.append(str(error)))
    tab.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    tab.goto(f"{living.url}/example/search?{urlencode({'q': QUERY, 'user': user})}", wait_until="load")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    is_shown = tab.locator(f'[data-dwell-doc="{doc}"]').count() == 1
    if is_shown:
        tab.evaluate("document.addEventListener('click', event => event.preventDefault())")  # to stay is quicker
        tab.locator(f'[data-dwell-doc="{doc}"] h2 a').click()
        tab.get_by_text("1 click and 0 ratings of yours count, on 1 list").wait_for(timeout=10_000)
    assert errors == []
    context.close()
    return is_shown


def decide(living: Service, action: str, version: int, *, force: str = "") -> str:
    """Send the form of the dashboard's page, and return what comes of it."""
    body = {"csrf": "", "action": action, "version": str(version), "expected_version": str(live(living))}
    return page(living, "/dashboard/decide", {**body, "force": force})


def test_thirty_visitors_and_a_hand_change_the_order(browser: Any, living: Service) -> None:
    wanted = third(living)
    names = [f"simulated visitor {n}" for n in range(1, N_VISITORS + 1)]
    clicked = [visit(browser, living, name, wanted) for name in names[:N_IN_BROWSERS]]
    clicked += [click(living, name, wanted) for name in names[N_IN_BROWSERS:]]
    assert sum(clicked) > N_VISITORS / 2
    said = learn(living, "you")
    assert live(living) == 0
    # the one that looked for the third result is a visitor, too, and had at least one list
    assert re.search(r"Version 1 was learned from the lists of \d+ visitors and is not live", said)
    assert "The gate says hold" in said
    offered = re.findall(r'href="([^"]+)">Promote version 1 anyway', page(living, "/example/lesson?user=you"))
    assert offered == ["/dashboard/decide?action=promote&version=1"]
    assert "Promote anyway" in page(living, offered[0])
    refused = decide(living, "promote", 1)  # without force the gate is heard
    assert "gate says hold, so nothing was changed" in refused
    assert "the starting ranker's score" in refused  # else the formula seems to be gone
    assert live(living) == 0
    decide(living, "promote", 1, force="yes")
    assert live(living) == 1
    ledger = living.call("GET", "/v1/history")[1]["decisions"]
    assert (ledger[-1]["kind"], ledger[-1]["proposed_version"]) == ("forced", 1)
    said = strip(living, "you")
    assert "promoted by hand, without the gate's word" in said
    assert "Go back to version 0" in said
    seen = next(one for one in lists(living) if wanted in [row.doc for row in one.rows])
    assert seen.place_of(wanted) < 3  # risen, and the page leads to the reason
    assert "since version 0" in seen.text
    reason = f"/dashboard/events/{seen.event_id}"
    assert f'href="{reason}"' in seen.text
    until = time.monotonic() + 5.0
    while living.call("GET", reason)[0] != 200:  # a list is on disk a moment after it is shown
        assert time.monotonic() < until
        time.sleep(0.05)
    told = " ".join(re.sub("<[^>]+>", " ", page(living, reason)).split())
    assert "Why is this ranked here?" in told
    assert "Ordered by version 1" in told
    shown_at = [row.doc for row in seen.rows].index(wanted) + 1
    assert re.search(rf"{shown_at}\. {re.escape(wanted)} Lifted by \w+ \+", told), told


def test_one_visitor_changes_nothing_however_often_and_the_page_says_why(small: Service) -> None:
    wanted = third(small, "one visitor")
    n_clicked = sum(click(small, "one visitor", wanted) for _ in range(N_VISITORS))
    said = learn(small, "one visitor")
    assert f"{n_clicked} clicks and 0 ratings of yours count" in said
    assert "Version 1 was learned from the lists of 1 visitor and is not live" in said
    for _ in range(N_VISITORS):  # as many again, which judge what the first ones taught
        click(small, "one visitor", wanted)
    said = learn(small, "one visitor")
    assert live(small) == 0
    assert not any("since version 0" in one.text for one in lists(small))  # nothing has moved
    assert "the order is still that of version 0" in said
    found = re.search(r"wants 200 lists .* 20 effective visitors .* so far it has (\d+) and ([\d.]+) effective", said)
    assert found, said
    assert 0 < int(found[1]) <= N_VISITORS  # of one visitor not all are counted
    assert float(found[2]) == 1.0
    assert "too_few_users" in said
    assert "one visitor is one visitor" in said
    # what the page says of overruling is true: forced, one visitor's wishes do order everybody's lists
    decide(small, "promote", 1, force="yes")
    seen = next(one for one in lists(small) if wanted in [row.doc for row in one.rows])
    assert seen.place_of(wanted) < 3
    decide(small, "rollback", 0)
    assert live(small) == 0
    assert "orders the lists again: the loop went back to it" in strip(small, "one visitor")


def test_simulated_visitors_are_sent_from_the_page_and_the_gate_promotes_what_they_want(small: Service) -> None:
    wanted = third(small)

    def send() -> None:
        page(small, "/example/visitors", {"q": QUERY, "user": "you", "doc": wanted})

    send()
    assert "Version 1 was learned" in learn(small, "you")
    for _ in range(ENOUGH_ROUNDS):
        send()
    said = learn(small, "you")
    if live(small) == 0:  # a bound that misses by a little is no fault of the page
        send()
        said = learn(small, "you")
    assert "Version 1 orders the lists: the gate promoted it" in said
    assert [d["kind"] for d in small.call("GET", "/v1/history")[1]["decisions"] if d["verdict"] == "promote"] == [
        "initial", "judged"
    ]  # fmt: skip
    page(small, "/example/visitors", {"q": QUERY, "user": "you", "doc": "no such document"})
    assert "30 SIMULATED visitors" in strip(small, "you")
    assert "0 of them were shown no such document" in strip(small, "you")
    status, _, _ = small.call("POST", "/example/visitors", b"{}")
    assert status == 415


def test_a_store_that_is_kept_goes_on_where_it_was_left(tmp_path: Path) -> None:
    store = tmp_path / "demo.dwell"
    with dwell.open(store, features=list(START), weights=START, pepper=place_pepper(store, 7)) as loop:
        loop.promote(mistake(), force=True)
    with lived_in(tmp_path, "--corpus", str(made_up(tmp_path)), "--keep") as kept:
        assert live(kept) == 1
        assert "Version 1 orders the lists: promoted by hand" in strip(kept, "you")
        assert len(search(kept, "you").rows) == 10
        assert '<a href="/example">' in page(kept, "/")
        assert kept.stop(signal.SIGINT) == 0  # as Ctrl-C does
    with dwell.open(store) as loop:
        assert loop.params.weights == mistake().weights
        assert loop.event_counts()["open"] == 1
