"""Every page of the dashboard in a real browser: seen at both widths and in both schemes, and heard by axe.

One service for each state of a store: nothing served, one list, many, and one that holds hostile text.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from dwell.server.dashboard.rendering import NAV

from . import dashboard_stores as stores
from .looking import NARROW, WIDE, Look, looking
from .serving import Service, made_key, service
from .test_dashboard_decides import Browser

LEARNER_S = 30.0
PAGES = [path for path, _ in NAV]
UNKNOWN = "/dashboard/events/unknown"  # its answer is 404, which the console says
MORE = {
    "empty": [],
    "one": ["/dashboard/events/only-one", "/dashboard/activation/item?id=a"],
    "many": [
        "/dashboard/events/event-000005",
        "/dashboard/events/event-001999",
        "/dashboard/events/broken",
        "/dashboard/events/nobody-served-it",
        "/dashboard/events?state=closed&segment=how",
        "/dashboard/queries?against=previous",
        "/dashboard/activation/item?id=kb-1",
        "/dashboard/activation/item?id=never-served",
        "/dashboard/activation/forget",
        "/dashboard/decide?action=rollback&version=0",
        "/dashboard/decide?action=promote&version=1",
    ],
    "hostile": [
        "/dashboard/events/h-1",
        "/dashboard/events/h-259",
        "/dashboard/events/h-broken",
        "/dashboard/events/h-orphan",
        "/dashboard/decide?action=rollback&version=0",
        *(f"/dashboard/activation/item?id={quote(text)}" for text in (stores.HOSTILE[0], stores.HOSTILE[10])),
        *(
            f"/dashboard/events?text={quote(text)}&user={quote(text)}&state={quote(text)}"
            for text in stores.HOSTILE[1:12:5]
        ),
        *(f"/dashboard/decide?action={quote(text)}" for text in stores.HOSTILE[:1]),
        f"/dashboard/events/{quote(stores.HOSTILE[3], safe='')}",
    ],
}


def _served(folder: Path, state: str, *arguments: str) -> Iterator[Service]:
    store = folder / f"{state}.dwell"
    getattr(stores, state)(store)
    with service(store, *arguments) as found:
        if "--no-auth" not in arguments:
            found.key = made_key(store, "admin")
        until = time.monotonic() + LEARNER_S
        while found.call("GET", "/readyz")[1].get("learner") != "up" and time.monotonic() < until:
            time.sleep(0.1)
        yield found


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from _served(tmp_path_factory.mktemp("empty"), "empty", "--no-auth")


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from _served(tmp_path_factory.mktemp("one"), "one", "--no-auth", "--learner", "both")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    folder = tmp_path_factory.mktemp("many")
    for found in _served(folder, "many"):
        yield found, folder / "many.dwell"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    yield from _served(tmp_path_factory.mktemp("hostile"), "hostile", "--no-auth")


def sign_in(look: Look, key: str) -> None:
    look.go("/dashboard/login")
    look.page.fill("#key", key)
    look.page.click("main button")
    look.page.wait_for_url(look.origin + "/")


def seen_well(look: Look, path: str, *, is_heard_twice: bool = True) -> list[str]:
    """Return what is wrong with a page, wide and narrow, light and dark; axe may hear it in one of these alone."""
    look.page.emulate_media(color_scheme="light")
    look.go(path)
    wrong = [f"wide, overflows: {one}" for one in look.overflow()]
    look.page.set_viewport_size(NARROW)
    wrong += [f"narrow, overflows: {one}" for one in look.overflow()]
    look.shorten()
    wrong += look.faults
    wrong += [f"narrow: {one}" for one in look.violations()]
    look.page.emulate_media(color_scheme="dark")
    look.page.set_viewport_size(WIDE)
    if is_heard_twice:
        wrong += [f"wide, dark: {one}" for one in look.violations()]
    look.faults.clear()  # axe writes styles where there are shadow trees, which the page's policy refuses
    return [f"{path} {one}" for one in wrong]


@pytest.mark.parametrize("state", ["empty", "one"])
def test_pages_of_a_young_store_are_seen_and_heard_well(
    browser: Any, request: pytest.FixtureRequest, state: str
) -> None:
    found: Service = request.getfixturevalue(state)
    with looking(browser, found.url) as look:
        wrong = [
            fault for path in [*PAGES, *MORE[state]] for fault in seen_well(look, path, is_heard_twice=state == "empty")
        ]
        assert not wrong


def test_pages_of_a_store_with_many_lists_are_seen_and_heard_well(browser: Any, many: tuple[Service, Path]) -> None:
    found = many[0]
    with looking(browser, found.url) as look:
        wrong = seen_well(look, "/dashboard/login")
        sign_in(look, str(found.key))
        paths = [*PAGES, *MORE["many"]]
        wrong += [fault for path in paths for fault in seen_well(look, path, is_heard_twice=path in PAGES)]
        assert not wrong


def test_an_empty_store_says_what_to_do_next(browser: Any, empty: Service) -> None:
    with looking(browser, empty.url) as look:
        for path, word in (
            ("events", "POST /v1/rank"),
            ("queries", "POST /v1/rank"),
            ("activation", 'learner = "both"'),
        ):
            look.go(f"/dashboard/{path}")
            assert word in look.page.inner_text("main .empty")


def test_axe_finds_what_is_planted(browser: Any, one: Service) -> None:
    with looking(browser, one.url) as look:
        look.go("/dashboard/events")
        assert look.violations() == []
        look.page.evaluate("""() => {
          const main = document.querySelector('main')
          main.append(document.createElement('img'))
          const faint = document.createElement('p')
          faint.textContent = 'hardly to be read'
          faint.style.color = '#ccd'
          main.append(faint)
          document.querySelector('label[for=user]').remove()
        }""")
        found = {fault.partition(":")[0] for fault in look.violations()}
        assert {"image-alt", "color-contrast", "label"} <= found
        look.page.evaluate("document.querySelector('main').style.width = '3000px'")
        assert look.overflow()


@pytest.mark.parametrize("is_bare", [False, True], ids=["as served", "without its policy"])
def test_hostile_text_is_inert_on_every_page(browser: Any, hostile: Service, *, is_bare: bool) -> None:
    n_shown = 0
    with looking(browser, hostile.url, is_bare=is_bare) as look:
        for path in [*PAGES, *MORE["hostile"]]:
            look.faults.clear()
            look.go(path)
            assert look.hits() == [], path
            # an address of nonsense is answered by a page whose status the console tells
            assert [fault for fault in look.faults if "status of 4" not in fault] == [], path
            n_shown += "window.__hit" in look.page.inner_text("body")
            look.page.set_viewport_size(NARROW)
            assert look.overflow() == [], path
            look.page.set_viewport_size(WIDE)
    assert n_shown >= 6  # it was there to be read


def test_a_page_that_did_not_escape_would_be_noticed(browser: Any, hostile: Service) -> None:
    with looking(browser, hostile.url, is_bare=True) as look:
        look.go("/dashboard/events")
        for text, sign in (
            (stores.HOSTILE[2], "ran"),
            (stores.HOSTILE[3], "ran"),
            (stores.HOSTILE[12], "element"),
            ('<p hx-get="/evil" hx-trigger="load"></p>', "attribute"),
        ):  # fmt: skip
            look.page.evaluate("text => { document.querySelector('main').innerHTML = text }", text)
            for _ in range(100):  # at once, where the machine has nothing else to do
                look.page.wait_for_timeout(50)
                if seen := any(fault.startswith(sign) for fault in look.hits()):
                    break
            assert seen, text


def test_what_was_asked_is_shown_to_whom_it_may_be_and_nowhere_else(many: tuple[Service, Path]) -> None:
    found, store = many
    texts = {}
    for kind in ("secret", "admin"):
        visitor = Browser(found.url)
        assert visitor.sign_in(made_key(store, kind)) == 303
        texts[kind] = {path: visitor.ask("GET", path) for path in [*PAGES, *MORE["many"]]}
        texts[kind] |= {p: visitor.ask("GET", p, hx_target="live") for p in PAGES}
    assert any(stores.CANARY in text for _, text in texts["admin"].values())
    assert texts["secret"]["/dashboard/events"][0] == 200
    leaks = [path for path, (_, text) in texts["secret"].items() if stores.CANARY in text]
    assert leaks == []


def test_a_new_list_appears_by_itself_and_the_focus_stays(browser: Any, one: Service) -> None:
    with looking(browser, one.url) as look:
        look.go("/dashboard/events")
        look.page.evaluate("window.__same = true")
        look.page.focus("#user")
        look.page.keyboard.type("half a wo")
        look.page.wait_for_function(
            "() => performance.getEntriesByType('resource').some(e => e.initiatorType === 'xmlhttprequest')",
            timeout=9_000,
        )
        assert look.statuses == [204]  # nothing had changed
        before = look.page.locator("tbody tr").count()
        status, _, _ = one.call(
            "POST",
            "/v1/rank",
            {"query": "a second", "candidates": [{"id": "a", "good": 1, "bad": 0, "noise": 0}], "event_id": "only-two"},
        )
        assert status == 200
        look.page.wait_for_selector("text=only-two", timeout=15_000)
        assert look.page.locator("tbody tr").count() == before + 1
        assert look.page.evaluate("[window.__same, document.activeElement.id, document.activeElement.value]") == [
            True, "user", "half a wo",
        ]  # fmt: skip
        assert look.faults == []


def test_everything_is_reached_and_seen_by_keyboard(browser: Any, many: tuple[Service, Path]) -> None:
    found = many[0]
    with looking(browser, found.url) as look:
        sign_in(look, str(found.key))
        look.go("/dashboard/events")
        look.page.keyboard.press("Tab")
        first = "document.activeElement"
        assert look.page.evaluate(f"{first}.className") == "skip"
        assert look.page.evaluate(f"{first}.getBoundingClientRect().left") >= 0
        look.page.keyboard.press("Enter")
        assert look.page.evaluate(f"{first}.id") == "main"
        reached = set()
        for _ in range(14):
            look.page.keyboard.press("Tab")
            name, width, style = look.page.evaluate(
                f"(e => [e.id || e.textContent, parseFloat(getComputedStyle(e).outlineWidth) || 0,"
                f" getComputedStyle(e).outlineStyle + getComputedStyle(e).boxShadow])({first})"
            )
            reached.add(name)
            assert (width >= 2 and style.startswith("solid")) or "px" in style, name
        assert {"id", "text", "user"} <= reached
        look.page.focus("#id")
        look.page.keyboard.type("event-000005")
        look.page.keyboard.press("Enter")
        look.page.wait_for_url("**/dashboard/events/event-000005")
        assert look.page.inner_text("h1") == "Why is this ranked here?"


def test_an_item_is_pinned_and_let_go_by_form(browser: Any, many: tuple[Service, Path]) -> None:
    found = many[0]
    with looking(browser, found.url) as look:
        sign_in(look, str(found.key))
        look.go("/dashboard/activation/item?id=kb-2")
        for before, after in (("Pin", "Unpin"), ("Unpin", "Pin")):
            look.page.get_by_role("button", name=re.compile(f"^{before}$")).click()
            look.page.wait_for_selector(f"button:text-is('{after}')")
        assert look.faults == []


def test_a_secret_key_neither_pins_nor_forgets(many: tuple[Service, Path]) -> None:
    found, store = many
    visitor = Browser(found.url)
    assert visitor.sign_in(made_key(store, "secret")) == 303
    assert "Pin" not in visitor.ask("GET", "/dashboard/activation/item?id=kb-2")[1].partition("<main")[2]
    for path in ("/dashboard/activation/change", "/dashboard/activation/forget"):
        assert visitor.ask("POST", path, {"csrf": "", "item": "kb-2", "action": "pin"})[0] == 403
    admin = Browser(found.url)
    assert admin.sign_in(str(found.key)) == 303
    assert admin.ask("POST", "/dashboard/activation/change", {"csrf": "x", "item": "kb-2", "action": "pin"})[0] == 403
