import asyncio
import threading

import pytest

from dwell.errors import RequestError
from dwell.server.page_room import PageRoom
from dwell.server.problems import retry_after_of


def test_who_finds_no_room_is_told_when_to_come_again_and_a_place_is_given_back() -> None:
    room = PageRoom(2)
    with room.entered():
        with room.entered(), pytest.raises(RequestError, match="too many") as refused, room.entered():
            raise AssertionError("there were two places")
        with room.entered():
            pass
    assert (refused.value.code, retry_after_of(refused.value)) == ("overloaded", 1)
    with pytest.raises(ValueError, match="of the page"), room.entered():
        raise ValueError("of the page")
    with room.entered(), room.entered():
        pass
    room.close()


def test_pages_take_two_threads_and_leave_those_of_everybody_else_alone() -> None:
    room, at_work, most = PageRoom(32), threading.Semaphore(0), []
    go = threading.Event()

    def work() -> str:
        at_work.release()
        most.append(sum(one.name.startswith("dwell-pages") for one in threading.enumerate()))
        go.wait(5.0)
        return threading.current_thread().name

    async def run() -> list[str]:
        pages = [asyncio.ensure_future(room.done(work)) for _ in range(20)]
        assert await asyncio.to_thread(at_work.acquire, timeout=5.0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "searched"), 5.0) == "searched"
        go.set()
        return await asyncio.gather(*pages)

    names = asyncio.run(run())
    assert len(names) == 20
    assert {name.rpartition("_")[0] for name in names} == {"dwell-pages"}
    assert max(most) <= 2
    room.close()
