"""The process is asked to end, or stopped: what was acknowledged stays, others get their answers."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Nursery
from ledger import Ledger
from loop_child import FEATURES

import dwell
from dwell.errors import StoreBusyError, StoreOwnedError
from dwell.storage import open_store

pytestmark = pytest.mark.crash

N_STOPS = max(6, int(os.environ.get("DWELL_KILLS", "30")) // 5)
ANSWER_S = 7.0  # `BUSY_TIMEOUT_S` is 5; the rest is for a busy machine


def test_sigterm_loses_nothing_acknowledged(tmp_path: Path, nursery: Callable[..., Nursery]) -> None:
    """As a service is stopped: without a handler the process ends at once; with one Python ends and flushes."""
    rng = random.Random(15)
    path = tmp_path / "s"
    ledger = Ledger()
    born = nursery()
    for run in range(N_STOPS):
        child = born.start("loop_child", path, run, "full", "exits" if run % 2 else "dies")
        lines = child.until_open()
        time.sleep(rng.uniform(0.0, 0.2))
        code, more = child.ended(signal.SIGTERM)
        assert code == (143 if run % 2 else -signal.SIGTERM)
        refused = [line for line in more if line.startswith("!")]
        assert all("store_closed" in line for line in refused), refused  # who came too late is told
        ledger.took([line for line in lines + more if line not in refused])
        ledger.n_refused += len(refused)
        dwell.open(path, features=FEATURES).close()
        store = open_store(str(path), role="reader")
        ledger.check(store, everything=run == N_STOPS - 1)
        store.close()
    print(ledger.told("times SIGTERM") + f"; {ledger.n_refused} came too late and were told")
    ledger.demand_nothing_wrong()
    assert ledger.n_lost == 0


def test_beside_a_stopped_owner_readers_read_and_nobody_takes_its_place(
    tmp_path: Path, nursery: Callable[..., Nursery]
) -> None:
    path = tmp_path / "s"
    ledger = Ledger()
    child = nursery().start("loop_child", path, 0)
    lines = child.until_open()
    lines += [child.line() for _ in range(20)]
    os.kill(child.pid, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(StoreOwnedError, match=str(child.pid)):
        open_store(str(path))
    store = open_store(str(path), role="reader")
    with store.snapshot() as reader:
        assert all(reader.event(event_id) is not None for event_id in lines if event_id != "open")
    assert time.monotonic() - began < ANSWER_S, "reading waited for the stopped process"
    os.kill(child.pid, signal.SIGCONT)
    lines += [child.line() for _ in range(20)]
    ledger.took(lines + child.ended()[1])
    ledger.check(store, everything=True)
    store.close()
    ledger.demand_nothing_wrong()
    assert ledger.n_lost == 0


def test_a_writer_stopped_inside_a_transaction_is_told_of_in_time(
    tmp_path: Path, nursery: Callable[..., Nursery]
) -> None:
    path = tmp_path / "s"
    open_store(str(path)).close()
    child = nursery().start("holding_child", path)
    assert child.line() == "inside"
    os.kill(child.pid, signal.SIGSTOP)
    reader_store, admin = (open_store(str(path), role=role) for role in ("reader", "admin"))
    n_read, is_over = 0, threading.Event()

    def read_on() -> None:
        nonlocal n_read
        while not is_over.is_set():
            with reader_store.snapshot() as reader:
                assert reader.setting("half") is None, "a reader saw a transaction that is not over"
                n_read += 1
            time.sleep(0.01)

    reading = threading.Thread(target=read_on)
    reading.start()
    began = time.monotonic()
    with pytest.raises(StoreBusyError, match="another writer holds") as caught, admin.transaction() as tx:
        tx.put_setting("by", b"admin")
    waited_s = time.monotonic() - began
    is_over.set()
    reading.join()
    assert caught.value.retryable
    assert 4.0 < waited_s < ANSWER_S
    assert n_read > 50, "readers waited for the stopped writer"
    os.kill(child.pid, signal.SIGCONT)
    assert child.line() == "committed"
    with admin.transaction() as tx:
        assert tx.setting("half") == b"whole"
        tx.put_setting("by", b"admin")
    for store in (admin, reader_store):
        store.close()
    assert child.ended(None)[0] == 0
    print(f"\nanswered after {waited_s:.1f} s; {n_read} snapshots were read meanwhile")
