"""Torture by threads: whoever samples while another adds gets whole rows, and the law is right afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from dwell.testing.buffer_torture.adapter import BufferAdapter
from dwell.testing.buffer_torture.demands import Buffer, Cases, demand, demand_law, demand_whole, put

__all__ = ["THREADS"]

THREADS: Final = Cases("threads")

RUN_S: Final = 0.6  # some thousand calls beside each other
SWITCH_S: Final = 1e-5  # threads change 500 times as often as by default
N_HELD: Final = 64
LAST_KEY: Final = 2**24  # float32 holds every key below it exactly


def _beside_each_other(*steps: Callable[[int], object], run_s: float = RUN_S) -> None:
    """Call each step with 0, 1, 2 ... in a thread of its own for a while, and raise the first failure.

    Raises:
        Exception: Whatever a step raised.
    """
    import sys

    is_over, failures = threading.Event(), list[BaseException]()

    def repeat(step: Callable[[int], object]) -> None:
        turn = 0
        while not is_over.is_set():
            try:
                step(turn)
            except BaseException as error:  # noqa: BLE001 - it is raised again below
                failures.append(error)
                is_over.set()
            turn += 1

    threads = [threading.Thread(target=repeat, args=(step,), daemon=True) for step in steps]
    default_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)
    for thread in threads:
        thread.start()
    end = time.monotonic() + run_s
    while time.monotonic() < end and not is_over.is_set():
        time.sleep(0.01)
    is_over.set()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(default_s)
    for failure in failures:
        raise failure


def _full(adapter: Buffer) -> BufferAdapter:
    buffer = adapter.make(capacity=N_HELD)
    for key in range(N_HELD):
        put(buffer, key)
    return buffer


@THREADS.case("torchrl test_rb_core test_concurrent_updates_do_not_tear_records", "threads")
def no_row_is_torn(adapter: Buffer) -> None:
    """Rows drawn while another thread adds and evicts are whole, and belong to the key that they are drawn with."""
    buffer = _full(adapter)
    _beside_each_other(
        lambda turn: put(buffer, N_HELD + turn),
        lambda _: demand_whole([buffer.sample(N_HELD)]),
        lambda _: demand_whole([buffer.sample(N_HELD)]),
    )


@THREADS.case("reverb table_test ConcurrentInsertOfTheSameKey", "threads", "one item per key")
def no_replaced_row_is_torn(adapter: Buffer) -> None:
    """Rows drawn while another thread replaces them under their keys are whole, and none is there twice."""
    buffer = _full(adapter)

    def whole(_: int) -> None:
        rows = np.asarray(buffer.sample(N_HELD).rows, dtype=np.float64)
        demand(bool((rows == rows[:, :1]).all()), "a row holds fields of two versions")

    _beside_each_other(
        lambda turn: put(buffer, turn % N_HELD, marker=float(turn % LAST_KEY)),
        lambda turn: put(buffer, turn % 7, marker=float(turn % LAST_KEY)),
        whole,
    )
    demand(buffer.size() == N_HELD, f"{buffer.size()} items, {N_HELD} due")


@THREADS.case("reverb table_test ConcurrentCalls", "threads", "priorities")
def concurrent_calls(adapter: Buffer) -> None:
    """Adding, sampling and writing back in four threads raises nothing, and leaves the law of the last priorities."""
    buffer = _full(adapter)

    def learn(_: int) -> None:
        drawn = buffer.sample(32)
        demand(bool(np.isfinite(drawn.keys).all()), "a key that is no number")
        _write_back(buffer, drawn.handles)

    _beside_each_other(
        lambda turn: put(buffer, 10_000 + turn, 2.0), lambda turn: put(buffer, 5_000_000 + turn, 3.0), learn, learn
    )
    masses = {key: float(1 + key % 4) for key in range(9_000_000, 9_000_000 + N_HELD)}
    for key, mass in masses.items():
        put(buffer, key, mass)
    demand(buffer.size() == N_HELD, f"{buffer.size()} items, {N_HELD} due")
    demand_law(buffer, masses)


def _write_back(buffer: BufferAdapter, handles: Any) -> None:  # noqa: ANN401 - handles are whatever the buffer makes them
    buffer.update(list(handles), [float(1 + i % 5) for i in range(len(handles))])
