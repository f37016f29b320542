import asyncio
import gc
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

import dwell
from dwell.errors import LearnerDown
from dwell.health import HealthReport
from dwell.server.house import House
from dwell.server.telling_health import told_health


@dataclass
class Pipe:
    """The end of a learner at work: it answers when the test says so."""

    is_up: bool = True
    questions: list[Future[Any]] = field(default_factory=list)

    def submit(self, _name: str, _tenant: str, _arguments: dict[str, Any]) -> Future[Any]:
        self.questions.append(Future())
        self.questions[-1].set_running_or_notify_cancel()
        return self.questions[-1]


@dataclass
class Rooms:
    """What is asked of a house: a loop, the pipe, and what was said."""

    open_loop: dwell.Loop
    link: Pipe = field(default_factory=Pipe)
    reports: dict[str, HealthReport] = field(default_factory=dict)
    asked: dict[str, Future[HealthReport]] = field(default_factory=dict)

    def loop(self, _tenant: str) -> dwell.Loop:
        return self.open_loop


@pytest.fixture
def rooms() -> Any:
    with dwell.open(":memory:", features=["a"], pepper=b"only for this test") as loop:
        yield Rooms(loop)


def ask(rooms: Rooms, **limits: float) -> Any:
    return told_health(cast("House", rooms), "", **limits)


def test_whoever_stops_waiting_takes_the_question_from_nobody(rooms: Rooms) -> None:
    async def look() -> None:
        assert (await ask(rooms, first_s=0.01)).status == "empty"
        assert (await ask(rooms, first_s=0.01)).status == "empty"
        assert len(rooms.link.questions) == 1  # however often it is asked, one question is out
        rooms.link.questions[0].set_result(HealthReport("healthy", [], {"n_events": 3}))
        assert rooms.reports[""].status == "healthy"  # nobody waited, and it is kept
        assert (await ask(rooms, patience_s=0.01)).figures["n_events"] == 3

    asyncio.run(look())


def test_a_learner_that_dies_after_nobody_waited_any_more_leaves_nothing_in_the_log(rooms: Rooms) -> None:
    told: list[str] = []

    async def look() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context["message"]))
        await ask(rooms, first_s=0.01)
        rooms.link.questions[0].set_exception(LearnerDown("it ended", hint="wait"))
        await asyncio.sleep(0.01)
        rooms.link.questions.clear()
        rooms.asked.clear()
        gc.collect()  # what was raised and read by nobody is told of when it is thrown away

    asyncio.run(look())
    assert told == []
