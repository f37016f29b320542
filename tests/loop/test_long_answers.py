"""What is long to write is not written by the loop that answers searches."""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from dwell.config import ServeSettings
from dwell.health.doctor import Diagnosis
from dwell.loop import Loop
from dwell.server import judging_routes
from dwell.server.admission import Admission
from dwell.server.house import House
from dwell.server.learner import Plan
from dwell.server.learner_link import LearnerLink
from dwell.server.rate_limits import Limiter, RateLimits
from dwell.server.telling_diagnosis import told_diagnosis


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A house whose learner was never started."""
    where, arguments = str(tmp_path / "s.dwell"), {"features": ["x"], "weights": {"x": 1.0}}
    link = LearnerLink(Plan(where, arguments, 60.0, 1_000))
    limiter = Limiter(RateLimits(), time.monotonic)
    made = House(where, arguments, ServeSettings(), link, True, time.time(), limiter, Admission(8))
    yield made
    made.close()


@pytest.mark.parametrize("name", ["params", "history", "health", "doctor"])
def test_long_answers_are_written_by_the_threads_of_pages(
    house: House, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # /v1/history with a thousand decisions kept every search waiting for a quarter of a second
    writers: set[str] = set()
    original = judging_routes.plain

    def heard(value: object) -> Any:
        writers.add(threading.current_thread().name.rpartition("_")[0])
        return original(value)

    monkeypatch.setattr(judging_routes, "plain", heard)
    app = Starlette()
    app.state.house = house
    scope = {"type": "http", "method": "GET", "path": f"/v1/{name}", "query_string": b"", "headers": [], "app": app}
    answer = asyncio.run(getattr(judging_routes, name)(Request(scope)))
    assert answer.status_code == 200
    assert writers == {"dwell-pages"}


def test_without_a_learner_the_doctor_looks_from_the_threads_of_pages(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookers: list[str] = []
    original = Loop.doctor

    def heard(loop: Loop) -> Diagnosis:
        lookers.append(threading.current_thread().name.rpartition("_")[0])
        return original(loop)

    monkeypatch.setattr(Loop, "doctor", heard)
    found = asyncio.run(told_diagnosis(house, ""))
    assert [one.code for one in found.findings][-1] == "learner_down"
    assert lookers == ["dwell-pages"]
