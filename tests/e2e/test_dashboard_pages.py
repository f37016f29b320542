"""Params, Buffer and Doctor of a service over a store that has learned, and over an empty one."""

import re
import time
from collections.abc import Iterator
from html import unescape
from urllib.request import urlopen

import numpy as np
import pytest

import dwell
from dwell.records import Params

from .serving import Service, service

N_LISTS = 60
LEARNER_S = 30.0
BEGAN = 1_760_000_000.0


def text_of(found: Service, path: str) -> str:
    with urlopen(found.url + path, timeout=30) as answer:  # noqa: S310 - our own loopback
        return str(answer.read().decode())


def shown(page: str) -> str:
    """Return the words of a page without its tags."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)))


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A store with lists, feedback, and version 1 forced by hand, which turns the order round."""
    store = tmp_path_factory.mktemp("learned") / "s.dwell"
    rng = np.random.default_rng(0)
    with dwell.open(str(store), features=["good", "fresh"], weights={"good": 1.0, "fresh": 0.0}) as loop:
        for i in range(N_LISTS):
            now = BEGAN + 600.0 * i
            good = rng.permutation(4).astype(float)
            candidates = [{"id": f"doc-{j}", "good": good[j], "fresh": -good[j]} for j in range(4)]
            segment = "how" if i % 3 else "what"
            served = loop.rank(f"ask {i % 5} <b>", candidates, user=f"u-{i % 7}", segment=segment, now=now)
            loop.feedback(served.event_id, "click", doc=served.ids[0], now=now + 5.0)
        loop.close_events(now=BEGAN + 1e6)
        turned = Params(version=0, weights={"good": 0.0, "fresh": 1.0})
        loop.promote(turned, force=True, now=BEGAN + 1e6)
    with service(store, "--no-auth") as found:
        until = time.monotonic() + LEARNER_S
        while found.call("GET", "/readyz")[1]["learner"] != "up" and time.monotonic() < until:
            time.sleep(0.1)
        yield found


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("empty") / "s.dwell", "--features", "good,fresh", "--no-auth") as found:
        yield found


def test_params_shows_the_weights_their_way_and_what_another_version_would_do(learned: Service) -> None:
    page = shown(text_of(learned, "/dashboard/params"))
    assert re.search(r"Live version 1\b", page)
    assert "fresh +1" in page
    assert "version 0 with 1" in page
    assert "forced by hand" in page
    # live first, then the version that was live before it: what is good for one is bad for the other
    assert "Alike \N{MINUS SIGN}1" in page
    assert "Same order 0 of 50 lists" in page
    assert "Another first result 50" in page
    moved = re.search(r"doc-\d rises from 4 to 1: good \+([\d.]+), fresh \+([\d.]+)", page)
    assert moved is not None
    # (3 2 1 0) lies (1.5 0.5 -0.5 -1.5) about its mean, over a spread of sqrt(5) / 2: 1.34 to the top in either version
    assert {float(part) for part in moved.groups()} == {1.3}
    assert re.search(r"ask \d <b>", page)


def test_two_versions_are_chosen_by_the_address_and_one_that_is_not_there_is_refused(learned: Service) -> None:
    page = shown(text_of(learned, "/dashboard/params?first=0&second=1"))
    assert "rises from 4 to 1: fresh" in page or "rises from 4 to 1: good" in page
    assert "Choose two different versions" in shown(text_of(learned, "/dashboard/params?first=1&second=1"))
    status, answer, _ = learned.call("GET", "/dashboard/params?first=0&second=77")
    assert status == 404
    assert b"no such version" in answer
    assert learned.call("GET", "/dashboard/params?first=-1")[0] == 404


def test_params_of_an_empty_store_says_what_comes_next(empty: Service) -> None:
    page = shown(text_of(empty, "/dashboard/params"))
    assert "There is one version as yet" in page
    assert "Compare" not in page


def test_buffer_shows_whom_experience_is_from_and_every_figure_that_is_judged(learned: Service) -> None:
    until = time.monotonic() + LEARNER_S
    while "Whom it is from" not in (page := shown(text_of(learned, "/dashboard/buffer"))):
        assert time.monotonic() < until, "the learner never told how it is"
        time.sleep(0.2)
    assert f"{N_LISTS} of at most 100,000 closed events are kept" in page
    assert re.search(r"ask 0 <b> lists of query \w{8} 20 % 12", page)  # each of five queries
    assert re.search(r"Rewards of a list 60 in all", page)
    told = learned.call("GET", "/v1/health")[1]
    assert {share["name"] for share in told["shares"]["segment"]} == {"how", "what"}
    for share in told["shares"]["segment"]:
        assert f"{share['name']} {100.0 * share['share']:.3g} % {share['n']}" in page
    for section in told["sections"]:
        for check in section["checks"]:
            assert check["title"] in page
            assert check["remedy"] in page
    n_ok = sum(check["severity"] == "ok" for section in told["sections"] for check in section["checks"])
    assert f"{n_ok} are fine" in page


def test_buffer_of_an_empty_store_says_what_comes_next(empty: Service) -> None:
    page = shown(text_of(empty, "/dashboard/buffer"))
    assert "Nothing is in it yet" in page or "The learner has not told how it is yet" in page
    assert "Whom it is from" not in page


def until_shown(found: Service, path: str, words: str) -> str:
    until = time.monotonic() + LEARNER_S
    while words not in (page := shown(text_of(found, path))):
        assert time.monotonic() < until, f"{path} never said {words!r}"
        time.sleep(0.2)
    return page


def test_doctor_shows_findings_in_order_of_harm_and_what_was_looked_at(learned: Service) -> None:
    until = time.monotonic() + LEARNER_S
    while True:  # the learner is at work beside it: what he says may change between two calls
        told = learned.call("GET", "/v1/doctor")[1]
        page = until_shown(learned, "/dashboard/doctor", "What was looked at")
        said = [told["answer"], *(looked["sentence"] for looked in told["looked_at"])]
        said += [finding["message"] for finding in told["findings"]]
        if all(words in page for words in said):
            break
        assert time.monotonic() < until, f"not on the page: {[words for words in said if words not in page]}"
        time.sleep(0.5)
    places = [page.index(f"Do this: {finding['remedy']}") for finding in told["findings"]]
    assert places == sorted(places)
    assert all(finding["code"] in page for finding in told["findings"])
    assert all(looked["title"] in page for looked in told["looked_at"])


def test_doctor_of_an_empty_store_finds_nothing_and_says_what_comes_next(empty: Service) -> None:
    page = until_shown(empty, "/dashboard/doctor", "What was looked at")
    assert "No findings" in page
    assert "Nothing was served yet" in page


def test_overview_leads_to_the_pages_that_say_more(learned: Service) -> None:
    page = text_of(learned, "/")
    for path in ("/dashboard/params", "/dashboard/decisions", "/dashboard/buffer", "/dashboard/doctor"):
        assert page.count(f'href="{path}"') == 2  # in the list of pages, and where the question comes up
