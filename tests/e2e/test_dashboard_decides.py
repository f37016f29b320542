"""Who may see the dashboard of a service with keys, and what an operator may do there by hand."""

import time
from collections.abc import Iterator
from html import escape, unescape
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest

from dwell.cli import main

from ..canary import kept  # noqa: TID252 - tests are no installed package
from .serving import Service, made_key, service

LEARNER_S = 30.0
KEY_S = 5.0


class Browser:
    """Cookies and redirects as a browser has them, without a page."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self.cookie = ""
        self.set_cookie = ""

    def ask(self, method: str, path: str, fields: dict[str, object] | None = None, **headers: str) -> tuple[int, str]:
        """Return status and text of one answer; redirects are not followed."""
        body = None if fields is None else urlencode(fields)
        given = {"cookie": self.cookie, **{n.replace("_", "-"): v for n, v in headers.items()}}
        if body is not None:
            given.setdefault("content-type", "application/x-www-form-urlencoded")
        connection = HTTPConnection(self.host, timeout=60)
        try:
            connection.request(method, path, body, given)
            answer = connection.getresponse()
            text, told = answer.read().decode(), answer.headers
        finally:
            connection.close()
        self.location = told.get("location", "")
        self.set_cookie = told.get("set-cookie", "")
        if self.set_cookie:
            self.cookie = self.set_cookie.partition(";")[0]
        kept.hear(f"the page at {path}", text)
        return answer.status, text

    def sign_in(self, key: str) -> int:
        until = time.monotonic() + KEY_S  # a new key is good within a second
        while True:
            status, _ = self.ask("POST", "/dashboard/login", {"key": key})
            if status != 401 or time.monotonic() > until:
                return status
            time.sleep(0.1)

    def csrf(self, path: str) -> str:
        return self.ask("GET", path)[1].partition('name="csrf" value="')[2].partition('"')[0]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Path]]:
    store = tmp_path_factory.mktemp("keys") / "s.dwell"
    with service(store, "--features", "good,bad") as found:
        found.key = made_key(store, "admin")
        until = time.monotonic() + LEARNER_S
        while found.call("GET", "/readyz")[1]["learner"] != "up" and time.monotonic() < until:
            time.sleep(0.1)
        while found.call("GET", "/v1/params")[0] != 200 and time.monotonic() < until:
            time.sleep(0.1)
        yield found, store


@pytest.fixture
def admin(served: tuple[Service, Path]) -> Browser:
    browser = Browser(served[0].url)
    assert browser.sign_in(str(served[0].key)) == 303
    return browser


def live_of(found: Service) -> int:
    return int(found.call("GET", "/v1/params")[1]["version"])


def proposed_by_hand(found: Service, good: float) -> int:
    """Make a version that is stored and not live: forced, then rolled back."""
    version = found.call("POST", "/v1/promote", {"weights": {"good": good, "bad": 0.1}, "force": True})[1]["params"]
    assert found.call("POST", "/v1/rollback", {})[0] == 200
    return int(version["version"])


def test_nobody_sees_a_page_without_a_session(served: tuple[Service, Path]) -> None:
    stranger = Browser(served[0].url)
    for path in ("/", "/dashboard/decisions", "/dashboard/decide?action=promote&version=1"):
        status, text = stranger.ask("GET", path)
        then = "" if path == "/" else f"?then={quote(path, safe='')}"
        assert (status, stranger.location, text) == (303, f"/dashboard/login{then}", "")
    stranger.cookie = "dwell_session=" + "x" * 43
    assert stranger.ask("GET", "/")[0] == 303
    status, text = stranger.ask("GET", "/dashboard/login")
    assert status == 200
    assert "You are no longer signed in" in text
    assert "You are no longer signed in" not in Browser(served[0].url).ask("GET", "/dashboard/login")[1]
    assert stranger.ask("GET", "/", hx_request="true", hx_target="live")[0] == 401  # no page inside of a page


def test_a_wrong_key_a_public_key_and_what_is_no_form_begin_no_session(served: tuple[Service, Path]) -> None:
    found, store = served
    stranger = Browser(found.url)
    assert stranger.ask("POST", "/dashboard/login", {"key": "dwell_adm_wrong"})[0] == 401
    assert stranger.ask("POST", "/dashboard/login", {"a" + str(i): i for i in range(50)})[0] == 401
    assert stranger.ask("POST", "/dashboard/login", {"key": "x" * 100_000})[0] == 401
    assert stranger.sign_in(made_key(store, "public")) == 403
    assert stranger.cookie == ""


def test_the_cookie_is_no_key_and_no_script_reads_it(served: tuple[Service, Path], admin: Browser) -> None:
    fresh = Browser(served[0].url)
    fresh.sign_in(str(served[0].key))
    parts = {part.strip().lower().partition("=")[0] for part in fresh.set_cookie.split(";")}
    assert {"httponly", "samesite", "path", "max-age"} <= parts
    assert "samesite=strict" in fresh.set_cookie.lower()
    assert "secure" not in parts  # over http a browser would not send it back
    assert str(served[0].key) not in fresh.set_cookie
    proxied = Browser(served[0].url)
    proxied.ask("POST", "/dashboard/login", {"key": str(served[0].key)}, x_forwarded_proto="https")
    assert "secure" in proxied.set_cookie.lower()


def test_who_signs_out_or_whose_key_is_revoked_is_out(served: tuple[Service, Path], admin: Browser) -> None:
    found, store = served
    before = admin.cookie
    assert admin.ask("POST", "/dashboard/logout", {"csrf": admin.csrf("/")})[0] == 303
    admin.cookie = before
    assert admin.ask("GET", "/")[0] == 303

    other = Browser(found.url)
    key = made_key(store, "secret")
    assert other.sign_in(key) == 303
    assert other.ask("GET", "/")[0] == 200
    assert main(["keys", "revoke", key.split("_")[2], str(store)]) == 0
    until = time.monotonic() + KEY_S
    while other.ask("GET", "/")[0] == 200 and time.monotonic() < until:
        time.sleep(0.1)
    assert other.ask("GET", "/")[0] == 303


def test_another_page_signs_nobody_in_and_nobody_out(served: tuple[Service, Path], admin: Browser) -> None:
    key = str(served[0].key)
    victim = Browser(served[0].url)
    for site in ("cross-site", "same-site"):
        assert victim.ask("POST", "/dashboard/login", {"key": key}, sec_fetch_site=site)[0] == 403
        assert victim.cookie == ""
    # with the cookie, as a page of the same site sends it
    assert admin.ask("POST", "/dashboard/logout", {})[0] == 403
    assert admin.ask("POST", "/dashboard/logout", {"csrf": "x"})[0] == 403
    assert admin.ask("GET", "/")[0] == 200
    # without it, as any other page does: the browser would obey an answer that takes the cookie back
    stranger = Browser(served[0].url)
    assert stranger.ask("POST", "/dashboard/logout", {})[0] == 303
    assert (stranger.location, stranger.set_cookie) == ("/dashboard/login", "")
    assert victim.ask("POST", "/dashboard/login", {"key": key}, sec_fetch_site="same-origin")[0] == 303


def test_a_stamp_of_no_page_of_ours_and_a_live_part_of_a_page_without_one_are_no_failure(
    served: tuple[Service, Path], admin: Browser
) -> None:
    version = proposed_by_hand(served[0], 7.0)
    for path in ("/?stamp=%C3%A9", f"/dashboard/decide?action=promote&version={version}"):
        assert admin.ask("GET", path, hx_request="true", hx_target="live")[0] == 200


def test_after_the_key_one_is_where_one_wanted_to_go_and_never_elsewhere(served: tuple[Service, Path]) -> None:
    found, _ = served
    wanted = "/dashboard/events?state=open&user=a%26b"
    stranger = Browser(found.url)
    assert stranger.ask("GET", wanted)[0] == 303
    status, text = stranger.ask("GET", stranger.location)
    assert status == 200
    assert f'name="then" value="{escape(wanted)}"' in text
    assert stranger.ask("POST", "/dashboard/login", {"key": "no", "then": wanted})[1].count(escape(wanted)) == 1
    assert stranger.ask("POST", "/dashboard/login", {"key": found.key, "then": wanted})[0] == 303
    assert stranger.location == wanted
    for elsewhere in ("https://evil.example/", "//evil.example/dashboard/", "/example", "/dashboard/\r\nx: y"):
        assert stranger.ask("POST", "/dashboard/login", {"key": found.key, "then": elsewhere})[0] == 303
        assert stranger.location == "/"


def test_an_address_without_a_page_says_so_on_a_page(served: tuple[Service, Path], admin: Browser) -> None:
    for path in ("/dashboard/nothing", "/dashboard/", "/dashboard/params/1"):
        status, text = admin.ask("GET", path)
        assert status == 404
        assert "there is no page at this address" in text
        assert 'href="/dashboard/params"' in text  # where to begin anew
    assert Browser(served[0].url).ask("GET", "/dashboard/nothing")[0] == 303


def test_a_promotion_by_hand_is_asked_twice_and_stands_in_the_ledger(
    served: tuple[Service, Path], admin: Browser
) -> None:
    found, _ = served
    version, live = proposed_by_hand(found, 2.0), live_of(found)
    page = f"/dashboard/decide?action=promote&version={version}"
    fields = {"csrf": admin.csrf(page), "action": "promote", "version": version, "expected_version": live}

    status, text = admin.ask("POST", "/dashboard/decide", fields)
    assert status == 409
    assert "The gate says hold, so nothing was changed." in text
    assert "tick “Promote anyway” below" in text
    assert live_of(found) == live

    assert admin.ask("POST", "/dashboard/decide", {**fields, "force": "yes"})[0] == 303
    assert admin.location == "/dashboard/decisions"
    assert live_of(found) != live
    last = found.call("GET", "/v1/history")[1]["decisions"][-1]
    assert (last["kind"], last["proposed_version"]) == ("forced", live_of(found))
    text = admin.ask("GET", "/dashboard/decisions")[1]
    assert f"Version {live_of(found)} went live by force, in place of version {live}" in text
    assert "forced by hand" in text

    page = f"/dashboard/decide?action=rollback&version={live}"
    back = {"csrf": admin.csrf(page), "action": "rollback", "version": live, "expected_version": live_of(found)}
    assert admin.ask("POST", "/dashboard/decide", back)[0] == 303
    assert live_of(found) == live


def test_what_was_decided_on_an_old_page_is_not_done(served: tuple[Service, Path], admin: Browser) -> None:
    found, _ = served
    version, live = proposed_by_hand(found, 3.0), live_of(found)
    fields = {"action": "rollback", "version": version, "expected_version": live + 1_000}
    page = f"/dashboard/decide?action=rollback&version={version}"
    status, text = admin.ask("POST", "/dashboard/decide", {"csrf": admin.csrf(page), **fields})
    assert status == 409
    assert f"version {live} is live by now" in text
    assert live_of(found) == live


def test_a_form_of_another_session_or_of_another_kind_does_nothing(
    served: tuple[Service, Path], admin: Browser
) -> None:
    found, _ = served
    version, live = proposed_by_hand(found, 4.0), live_of(found)
    page = f"/dashboard/decide?action=rollback&version={version}"
    good = {"csrf": admin.csrf(page), "action": "rollback", "version": version, "expected_version": live}
    other = Browser(found.url)
    other.sign_in(str(found.key))
    refused = [
        admin.ask("POST", "/dashboard/decide", {**good, "csrf": ""})[0],
        admin.ask("POST", "/dashboard/decide", {**good, "csrf": other.csrf(page)})[0],
        admin.ask("POST", "/dashboard/decide", {**good, "action": "erase"})[0],
        admin.ask("POST", "/dashboard/decide", {**good, "version": "-1"})[0],
        admin.ask("POST", "/dashboard/decide", {**good, "version": 10**17})[0],
        admin.ask("POST", "/dashboard/decide", good, content_type="text/plain")[0],
        admin.ask("POST", "/dashboard/decide", {**good, "x": "y" * 30_000})[0],
    ]
    assert refused == [403, 403, 404, 404, 409, 415, 415]
    assert live_of(found) == live


def test_a_secret_key_looks_and_decides_nothing(served: tuple[Service, Path]) -> None:
    found, store = served
    version, live = proposed_by_hand(found, 5.0), live_of(found)
    looker = Browser(found.url)
    assert looker.sign_in(made_key(store, "secret")) == 303
    text = looker.ask("GET", "/dashboard/decisions")[1]
    assert "The ledger" in text
    assert "/dashboard/decide" not in text
    page = f"/dashboard/decide?action=rollback&version={version}"
    assert looker.ask("GET", page)[0] == 403
    assert looker.ask("POST", "/dashboard/decide", {"action": "rollback", "version": version})[0] == 403
    assert live_of(found) == live


def test_the_live_part_is_sent_again_only_when_something_changed(served: tuple[Service, Path], admin: Browser) -> None:
    found, _ = served
    whole = admin.ask("GET", "/dashboard/decisions")[1]
    stamp = whole.partition('"stamp": "')[2].partition('"')[0]
    assert stamp
    own = unescape(whole.partition('hx-get="')[2].partition('"')[0])  # as the page itself asks
    path = f"{own}&stamp={stamp}"
    assert admin.ask("GET", path, hx_request="true", hx_target="live") == (204, "")
    version = proposed_by_hand(found, 6.0)
    status, part = admin.ask("GET", path, hx_request="true", hx_target="live")
    assert status == 200
    assert part.lstrip().startswith('<div id="live"')
    assert "<html" not in part
    assert f"to version {version}" in part or f"Version {version}" in part


def test_a_page_that_is_asked_for_nonsense_says_so_as_a_page(served: tuple[Service, Path], admin: Browser) -> None:
    for path in ("/dashboard/decisions?page=0", "/dashboard/decisions?page=x", "/dashboard/decide?action=no&version=1"):
        status, text = admin.ask("GET", path)
        assert status == 404
        assert "<h1>" in text
    assert admin.ask("GET", "/dashboard/decide?action=promote&version=99999")[0] == 404


def test_a_list_whose_id_looks_like_a_path_is_opened_by_its_link(served: tuple[Service, Path], admin: Browser) -> None:
    found, _ = served
    body = {"query": "q", "candidates": [{"id": "a", "good": 1.0, "bad": 0.0}], "k": 1, "event_id": "../x/./y"}
    assert found.call("POST", "/v1/rank", {**body, "wait": True})[0] == 200
    link = admin.ask("GET", "/dashboard/events")[1].partition('href="/dashboard/events/')[2].partition('"')[0]
    assert link == "..%2Fx%2F.%2Fy"  # one part of a path, which no browser shortens
    status, text = admin.ask("GET", f"/dashboard/events/{link}")
    assert status == 200
    assert "../x/./y" in text
