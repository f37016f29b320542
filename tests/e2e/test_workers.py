"""`dwell serve --workers` on PostgreSQL: several processes that answer as one, whatever dies."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pytest

import dwell
from dwell.errors import StoreBusyError
from dwell.loop.entrance import open_loop

from ..postgres import emptied_database, server  # noqa: TID252 - tests are no installed package
from .serving import ROOT, Service, service
from .test_serve_postgres import QUICK, visit

N_WORKERS = 2
N_RESTARTS = int(os.environ.get("DWELL_RESTARTS", "2"))  # `make soak`: every ten seconds for two minutes
RESTARTS_EVERY_S = 1.5 if N_RESTARTS < 5 else 10.0
SWAPS_S = float(os.environ.get("DWELL_SWAPS_S", "4"))  # `make soak` swaps for a minute
PATIENCE_S = 20.0
N_ASKING = 6
FEATURES = ("--features", "good,noise", "--no-auth")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with emptied_database() as found:
        yield found


@pytest.fixture(scope="module")
def served(url: str) -> Iterator[Service]:
    with service(url, *FEATURES, "--workers", str(N_WORKERS), environment=QUICK) as found:
        yield found


def sessions(url: str, role: str) -> set[int]:
    """Return the processes that hold a role of a store now, as their sessions are named."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT DISTINCT application_name FROM pg_stat_activity a JOIN pg_locks l USING (pid) "
            "WHERE l.locktype = 'advisory' AND l.granted AND datname = current_database() AND application_name LIKE %s",
            (f"dwell {role} %",),
        ).fetchall()
    return {int(name.split()[2]) for (name,) in found}


def wait_until(wanted: Any, patience_s: float = PATIENCE_S) -> float:
    """Return after how many seconds something was so."""
    began = time.monotonic()
    while not wanted():
        assert time.monotonic() - began < patience_s, "it did not come to pass"
        time.sleep(0.05)
    return time.monotonic() - began


def lives(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    return False


def figure(served: Service, name: str) -> float:
    """Return the sum of a metric's samples, as whichever process was asked tells it."""
    status, told, _ = served.call("GET", "/metrics")
    assert status == 200, told
    return sum(float(v) for v in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", told.decode(), re.MULTILINE))


def test_what_one_was_told_all_know(served: Service, url: str) -> None:
    wait_until(lambda: len(sessions(url, "serving")) == N_WORKERS)
    answers = {}
    for i in range(20):
        status, answers[i] = visit(served, f"know-{i}")
        assert (status, answers[i]["recorded"]) == (200, "durable")
    for i in range(20):  # each call is a connection of its own, and is answered by whoever takes it
        again = [visit(served, f"know-{i}")[1] for _ in range(3)]
        assert all(one["ids"] == answers[i]["ids"] and one["scores"] == answers[i]["scores"] for one in again)
        item = {"event_id": f"know-{i}", "signal": "click", "doc": answers[i]["ids"][0]}
        said = [served.call("POST", "/v1/feedback", [item], idempotency_key=f"key-{i}")[:2] for _ in range(3)]
        assert said == [(200, {"results": [{"status": "joined", "reason": None}]})] * 3
    other = {"query": "another", "candidates": [{"id": "d0", "good": 1.0, "noise": 0.0}], "event_id": "know-0"}
    assert {served.call("POST", "/v1/rank", other)[0] for _ in range(6)} == {409}
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT count(*) FROM dwell.signals").fetchall()
    assert found == [(20,)], "a key had its effect twice"


def test_a_deferred_list_is_activated_by_any(served: Service) -> None:
    for i in range(10):
        asked = {"query": "q", "ids": ["a", "b"], "features": [[1.0, 0.0], [0.0, 1.0]], "activate": False}
        status, answer, _ = served.call("POST", "/v1/rank", {**asked, "event_id": f"later-{i}"})
        assert (status, answer["recorded"]) == (200, "durable")
        status, answer, _ = served.call("POST", "/v1/activate", {"event_id": f"later-{i}", "shown": answer["ids"]})
        assert status == 200, answer


def test_each_answers_for_the_learner_and_tells_the_same_sums(served: Service, url: str) -> None:
    wait_until(lambda: len(sessions(url, "learner")) == 1)
    (learner,) = sessions(url, "learner")
    before = figure(served, "dwell_rank_duration_seconds_count")
    for i in range(30):
        visit(served, f"sum-{i}")
    told = [figure(served, "dwell_rank_duration_seconds_count") for _ in range(9)]
    assert told == [before + 30] * 9
    for _ in range(6):
        status, report, _ = served.call("GET", "/v1/health")
        assert (status, report["learner"]) == (200, "up")
        assert served.call("GET", "/")[0] == 200
    assert served.call("POST", "/v1/train", {"steps": 2})[0] == 200
    assert sessions(url, "learner") == {learner}


def test_one_that_is_killed_is_replaced_and_what_it_counted_stays(served: Service, url: str) -> None:
    for i in range(12):
        visit(served, f"kill-{i}")
    n_before = figure(served, "dwell_rank_duration_seconds_count")
    victim = min(sessions(url, "serving"))
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: len(sessions(url, "serving") - {victim}) == N_WORKERS)
    assert figure(served, "dwell_rank_duration_seconds_count") >= n_before
    assert all(visit(served, f"kill-{i}")[0] == 200 for i in range(12))


class Swaps(NamedTuple):
    """From when on which version was live, at the latest, when that began, and what was answered meanwhile."""

    begun: list[float]
    promoted: list[tuple[float, int]]
    answers: list[tuple[float, float, int, list[str], list[float]]]


def _swapped(served: Service, url: str) -> tuple[Swaps, dict[int, dwell.Params], np.ndarray]:
    """Move the live params back and forth while several ask without a pause."""
    rng = np.random.default_rng(3)
    features = rng.integers(0, 64, (8, 2)) / 64.0  # whole in float32
    found = Swaps([0.0], [], [])
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.is_set():
            asked = {"query": "q", "ids": [f"d{i}" for i in range(8)], "features": features.tolist(), "k": 8}
            began = time.monotonic()
            status, answer, _ = served.call("POST", "/v1/rank", asked)
            assert (status, answer["fallback"]) == (200, None)
            ended = time.monotonic()
            found.answers.append((began, ended, answer["params_version"], answer["ids"], answer["scores"]))

    with contextlib.closing(open_loop(url, pepper=QUICK["DWELL_PEPPER"], _role="admin")) as admin:
        versions = [
            admin.promote(dwell.Params(version=0, weights={"good": a, "noise": b}), force=True).version
            for a, b in ((0.8, -0.6), (-0.28, 0.96))
        ]
        found.promoted.append((time.monotonic(), versions[-1]))
        time.sleep(1.0)
        threads = [threading.Thread(target=ask, daemon=True) for _ in range(N_ASKING)]
        for thread in threads:
            thread.start()
        ends_at = time.monotonic() + SWAPS_S
        try:
            while time.monotonic() < ends_at:
                time.sleep(float(rng.uniform(0.2, 1.6)))
                to = versions[(len(found.promoted) + 1) % 2]
                began = time.monotonic()
                _rolled_back(admin, to)
                found.promoted.append((time.monotonic(), to))
                found.begun.append(began)
        finally:
            is_over.set()
            for thread in threads:
                thread.join(PATIENCE_S)
        return found, {version: admin.version(version) for version in versions}, features


def _rolled_back(admin: dwell.Loop, to: int) -> None:
    while True:
        with contextlib.suppress(StoreBusyError):  # those that serve write without a pause
            admin.rollback(to=to)
            return


def test_no_answer_mixes_versions_and_none_is_of_one_that_went_a_second_ago(served: Service, url: str) -> None:
    swaps, params, features = _swapped(served, url)
    assert len(swaps.promoted) > 2
    assert len(swaps.answers) > 10 * SWAPS_S
    assert {version for _, _, version, _, _ in swaps.answers} == set(params)
    scores = {version: one.score(features).astype(np.float32).astype(float) for version, one in params.items()}
    late_s = []
    for began, ended, version, ids, told in swaps.answers:
        rows = [int(doc[1:]) for doc in ids]
        np.testing.assert_allclose(told, scores[version][rows], rtol=0, atol=1e-12)
        # the newest that was live for a whole second when the question was sent, and those that came until the answer
        n_old = sum(at <= began - 1.0 for at, _ in swaps.promoted)
        n_new = sum(at <= ended for at in swaps.begun)
        allowed = {live for _, live in swaps.promoted[max(n_old - 1, 0) : n_new]}
        assert version in allowed, "a version is served a second after another one took its place"
        is_settled = sum(at <= ended for at in swaps.begun) == sum(at <= began for at, _ in swaps.promoted)
        newest_at, newest = max((at, live) for at, live in swaps.promoted if at <= began)
        late_s.append(began - newest_at if version != newest and is_settled else 0.0)
    told_s = f"the last of an old version {max(late_s):.3f} s after the promotion"
    print(f"{len(swaps.answers)} lists, {len(swaps.promoted) - 1} swaps; {told_s}")


def _children(pid: int) -> set[int]:
    """Return the children of a process, whichever of its threads made them."""
    found: set[int] = set()
    for told in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found.update(map(int, told.read_text(encoding="ascii").split()))
    return found


def called(served: Service, event_id: str, *, wait: bool = True) -> tuple[int, Any, dict[str, str]]:
    candidates = [{"id": f"d{i}", "good": i / 4, "noise": 0.5} for i in range(4)]
    asked = {"query": "q", "candidates": candidates, "k": 3, "event_id": event_id, "wait": wait}
    return served.call("POST", "/v1/rank", asked)


def test_the_learner_of_another_service_takes_over_and_who_dies_leaves_nobody_behind() -> None:
    with emptied_database() as url, service(url, *FEATURES, "--workers", "2", environment=QUICK) as first:
        wait_until(lambda: len(sessions(url, "learner")) == 1)
        (learner,) = sessions(url, "learner")
        assert learner in _children(first.process.pid)
        with service(url, *FEATURES, environment=QUICK) as second:
            most, is_over = [0], threading.Event()

            def watch() -> None:
                while not is_over.wait(0.05):
                    most[0] = max(most[0], len(sessions(url, "learner")))

            watcher = threading.Thread(target=watch, daemon=True)
            watcher.start()
            told = {f"{i}": visit((first, second)[i % 2], f"{i}") for i in range(10)}
            assert {status for status, _ in told.values()} == {200}
            wait_until(lambda: second.call("GET", "/v1/health")[1]["learner"] == "up")
            status, refusal, headers = second.call("POST", "/v1/train", {"steps": 1})
            assert (status, "retry-after" in headers) == (503, True), refusal
            assert str(learner) in refusal["detail"]
            os.kill(learner, signal.SIGKILL)
            wait_until(lambda: sessions(url, "learner") not in (set(), {learner}), 10.0)
            children = _children(first.process.pid)
            first.process.kill()
            first.process.wait()
            wait_until(lambda: sessions(url, "learner") & _children(second.process.pid), 10.0)
            status, report, _ = second.call("POST", "/v1/train", {"steps": 1})
            assert status == 200, report
            with contextlib.closing(open_loop(url, pepper=QUICK["DWELL_PEPPER"], _role="reader")) as reader:
                assert set(told) == {one.event_id for one in reader.experiences()}
                assert reader.event_counts()["open"] == 0
            is_over.set()
            watcher.join(PATIENCE_S)
            assert most == [1], "two learned at once"
            wait_until(lambda: not any(map(lives, children)))


def test_restarts_of_the_database_answer_no_500_and_lose_nothing(served: Service, url: str) -> None:
    is_over = threading.Event()
    statuses: Counter[tuple[str, int]] = Counter()
    joined: set[str] = set()

    def ask(name: str) -> None:
        i = 0
        while not is_over.is_set():
            event_id = f"{name}-{i}"
            status, answer, headers = called(served, event_id)
            statuses["wait", status] += 1
            assert status != 503 or "retry-after" in headers
            if status == 200 and answer["recorded"] == "durable":
                item = {"event_id": event_id, "signal": "click", "doc": answer["ids"][0]}
                status, answer, headers = served.call("POST", "/v1/feedback", item)
                statuses["feedback", status] += 1
                assert status != 503 or "retry-after" in headers
                if status == 200 and answer["status"] in {"joined", "duplicate"}:
                    joined.add(event_id)
            i += 1

    def search(name: str) -> None:
        i = 0
        while not is_over.is_set():
            status, answer, _ = called(served, f"{name}-{i}", wait=False)
            statuses["search", status] += 1
            assert len(answer["ids"]) == 3, answer
            i += 1
            time.sleep(0.01)

    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(ask, "t0"), threads.submit(ask, "t1"), threads.submit(search, "s")]
        try:
            for _ in range(N_RESTARTS):
                time.sleep(RESTARTS_EVERY_S)
                server().stop()
                time.sleep(0.5)
                server().start()
            n_before = len(joined)
            wait_until(lambda: len(joined) > n_before + 2)
        finally:
            is_over.set()
        for one in asking:
            one.result(PATIENCE_S)
    assert {status for _, status in statuses} <= {200, 503}, statuses
    assert {status for what, status in statuses if what == "search"} == {200}, statuses
    with (
        contextlib.closing(open_loop(url, pepper=QUICK["DWELL_PEPPER"], _role="reader")) as reader,
        reader.facts() as facts,
    ):
        found = [event for event in map(facts.event, joined) if event is not None]
        signals = facts.signals([event.seq for event in found])
    assert len(found) == len(joined), "what was acknowledged is gone"
    assert {len(of) for of in signals.values()} == {1}


def test_a_flood_of_what_looks_like_news_costs_little(served: Service, url: str) -> None:
    """Whoever may connect to the database may send it; 0.4 of a core each went there, and now a few looks in 20 ms."""
    wait_until(lambda: len(sessions(url, "serving")) == N_WORKERS)
    pids = sessions(url, "serving")
    assert served.call("GET", "/v1/health")[0] == 200
    time.sleep(0.5)  # who has just started has other work
    # A machine that does much else makes the same work dearer for a while: the cheapest of three floods counts
    taken = [flooded(url, pids) for _ in range(3)]
    assert min(taken) < 0.25, taken
    assert served.call("GET", "/v1/health")[0] == 200


def test_they_end_in_peace(served: Service) -> None:
    children = _children(served.process.pid)
    assert len(children) > N_WORKERS
    began = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - began < PATIENCE_S
    wait_until(lambda: not any(map(lives, children)), 5.0)


def test_a_file_and_an_owned_store_are_refused_by_name(url: str, tmp_path: Any) -> None:
    def refused(where: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "dwell", "serve", where, *FEATURES, "--workers", "2", "--port", "0"],
            env={**os.environ, **QUICK, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert done.returncode != 0
        return done.stderr

    assert "dwell db copy" in refused(str(tmp_path / "a.dwell"))
    assert not (tmp_path / "a.dwell").exists()
    with contextlib.closing(dwell.open(url, pepper=QUICK["DWELL_PEPPER"], features=["good", "noise"])):
        assert f"owner already: process {os.getpid()}" in refused(url)


def flooded(url: str, pids: set[int], *, lasts_s: float = 2.0) -> float:
    """Send what looks like news as fast as it goes, and return the most processor seconds that it costs a process."""
    before = {pid: cpu_s(pid) for pid in pids}
    with psycopg.connect(url, autocommit=True) as connection:
        ends_at, n = time.monotonic() + lasts_s, 0
        while time.monotonic() < ends_at:
            connection.execute("SELECT pg_notify('dwell_news', %s)", (f"{n}{'x' * 7_000}",))
            n += 1
    assert n > 100
    return max(cpu_s(pid) - before[pid] for pid in pids)


def cpu_s(pid: int) -> float:
    """Return the seconds of a processor that a process has taken."""
    told = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")
