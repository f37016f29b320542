"""Health as the service tells it while its learner is at work: the last word, and one question however many ask."""

import asyncio
import os
import signal
import time
from pathlib import Path

from dwell.config import ServeSettings
from dwell.server.house import House, open_house
from dwell.server.telling_health import told_health


async def seen(house: House) -> None:
    """Look until the learner has told something."""
    until = time.monotonic() + 30.0
    while "" not in house.reports and time.monotonic() < until:
        await told_health(house, "")
        await asyncio.sleep(0.05)


def test_many_who_look_while_the_learner_is_at_work_are_told_its_last_word_and_take_up_no_room(tmp_path: Path) -> None:
    house = open_house(str(tmp_path / "a.dwell"), {"features": ["x"]}, ServeSettings())
    try:

        async def look() -> tuple[float, set[str], int]:
            await seen(house)
            os.kill(house.link._process.pid, signal.SIGSTOP)
            try:
                began = time.monotonic()
                for _ in range(4):
                    reports = await asyncio.gather(*(told_health(house, "") for _ in range(20)))
                took = (time.monotonic() - began) / 4
                n_waiting = len(house.link._waiting)
            finally:
                os.kill(house.link._process.pid, signal.SIGCONT)
            answer = await asyncio.wrap_future(house.asked[""])
            assert house.reports[""] is answer  # what comes late is kept for the next one
            return took, {report.status for report in reports}, n_waiting

        took, statuses, n_waiting = asyncio.run(look())
    finally:
        house.close()
    assert statuses == {"empty"}  # nothing was served
    assert n_waiting == 1
    assert took < 1.0  # a tenth of a second of patience, and twenty reports put together


def test_without_a_learner_it_is_said_so(tmp_path: Path) -> None:
    house = open_house(str(tmp_path / "a.dwell"), {"features": ["x"]}, ServeSettings())
    try:
        asyncio.run(seen(house))
        house.link.close()
        report = asyncio.run(told_health(house, ""))
    finally:
        house.close()
    assert [alert.code for alert in report.alerts] == ["learner_down"]
    assert report.status == "warning"
    assert report.sections  # what it said last
