"""A learner that is at work reads nothing: whatever is asked of it meanwhile, searches are answered."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .serving import Service, service

ASKED = {"query": "q", "candidates": [{"id": "a", "good": 1.0}, {"id": "b", "good": 0.0}]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(tmp_path_factory.mktemp("busy") / "s.dwell", "--features", "good", "--no-auth") as found:
        for _ in range(100):
            if found.call("GET", "/v1/health")[1]["learner"] == "up":
                break
            time.sleep(0.1)
        yield found


def learner_of(found: Service) -> int:
    for name in Path("/proc").iterdir():
        if name.name.isdigit():
            try:
                parent = int((name / "stat").read_text().rpartition(")")[2].split()[1])
                words = (name / "cmdline").read_text()
            except OSError:
                continue
            if parent == found.process.pid and "spawn_main" in words:
                return int(name.name)
    raise AssertionError("no learner runs")


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the learner in /proc")
def test_searches_go_on_while_more_waits_for_the_learner_than_a_pipe_holds(served: Service) -> None:
    learner = learner_of(served)
    weights = {"weights": {f"w{i}": 1.0 for i in range(20_000)}}  # some 250 KB: more than a pipe takes
    os.kill(learner, signal.SIGSTOP)
    try:
        for _ in range(40):
            threading.Thread(target=served.call, args=("POST", "/v1/evaluate", weights), daemon=True).start()
        time.sleep(2.0)
        took = []
        for _ in range(5):
            began = time.monotonic()
            assert served.call("POST", "/v1/rank", ASKED)[0] == 200
            took.append(time.monotonic() - began)
        status, problem, headers = served.call("POST", "/v1/evaluate", weights)
        assert (status, problem["code"], "retry-after" in headers) == (503, "learner_down", True)
    finally:
        os.kill(learner, signal.SIGCONT)
    assert max(took) < 1.0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for the learner in /proc")
def test_a_killed_learner_is_told_of_replaced_and_never_left_behind(served: Service) -> None:
    first = learner_of(served)
    os.kill(first, signal.SIGKILL)
    assert served.call("POST", "/v1/rank", ASKED)[0] == 200
    until = time.monotonic() + 5.0
    told = served.call("GET", "/v1/health")[1]["learner"]
    while told == "up" and time.monotonic() < until and learner_or_none(served) in {first, None}:
        told = served.call("GET", "/v1/health")[1]["learner"]
    assert told == "down"
    until = time.monotonic() + 20.0
    while learner_or_none(served) in {first, None} and time.monotonic() < until:
        time.sleep(0.1)
    second = learner_of(served)
    assert second != first
    time.sleep(3.0)  # it imports numpy first
    served.process.kill()
    served.process.wait()
    time.sleep(2.0)
    assert not is_running(second)


def learner_or_none(found: Service) -> int | None:
    try:
        return learner_of(found)
    except AssertionError:
        return None
