"""Futures of another thread, awaited in the event loop."""

import asyncio
import threading
from concurrent.futures import Future

import pytest

from dwell.server.arrivals import Arrivals


def test_many_futures_that_are_resolved_together_wake_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def waits() -> tuple[list[int], int]:
        loop = asyncio.get_running_loop()
        arrivals, n_woken = Arrivals(), 0
        wake = loop.call_soon_threadsafe

        def counted(*arguments: object, **more: object) -> object:
            nonlocal n_woken
            n_woken += 1
            return wake(*arguments, **more)  # type: ignore[arg-type]

        monkeypatch.setattr(loop, "call_soon_threadsafe", counted)
        futures: list[Future[int]] = [Future() for _ in range(64)]
        waiting = [asyncio.create_task(arrivals.of(future)) for future in futures]
        await asyncio.sleep(0)
        other = threading.Thread(target=lambda: [future.set_result(i) for i, future in enumerate(futures)])
        other.start()
        other.join()  # in the loop's own thread: it wakes only after all of them
        return await asyncio.gather(*waiting), n_woken

    assert asyncio.run(waits()) == (list(range(64)), 1)


def test_errors_and_those_who_no_longer_wait() -> None:
    async def waits() -> None:
        arrivals = Arrivals()
        failed: Future[int] = Future()
        failed.set_exception(KeyError("on purpose"))
        with pytest.raises(KeyError):
            await arrivals.of(failed)
        late: Future[int] = Future()
        waiting = asyncio.create_task(arrivals.of(late))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        late.set_result(1)  # whoever was cancelled has cancelled only himself
        good: Future[int] = Future()
        good.set_result(2)
        assert await arrivals.of(good) == 2
        gone: Future[int] = Future()
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await arrivals.of(gone)

    asyncio.run(waits())


def test_nothing_is_lost_between_two_threads() -> None:
    async def waits() -> int:
        arrivals, n = Arrivals(), 2_000
        futures: list[Future[int]] = [Future() for _ in range(n)]
        threads = [
            threading.Thread(target=lambda part: [f.set_result(1) for f in part], args=(futures[i::2],)) for i in (0, 1)
        ]
        waiting = [asyncio.create_task(arrivals.of(future)) for future in futures]
        for thread in threads:
            thread.start()
        return sum(await asyncio.wait_for(asyncio.gather(*waiting), 20))

    assert asyncio.run(waits()) == 2_000
