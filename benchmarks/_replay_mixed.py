"""Cycles between which rows arrive: in one call, one by one, and from another thread at the same time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Final

import numpy as np

from _replay_field import ENGINES, Field
from _replay_ours import Ours
from _replay_races import Racer, cycle, cycle_inputs, figure, run
from _replay_report import Figure
from _replay_systems import System

SIZE: Final = 256
N_ADDED: Final = 16  # rows that arrive per cycle
N_ADDS_PER_CYCLE: Final = 10  # calls of the writer per cycle where latencies are measured: it shall outlast the reader


def mixed(field: Field) -> list[Figure]:
    """Return the cycle with adds; everything that both threads spend is counted."""
    n_cycles = field.effort.calls(SIZE)
    doings: list[tuple[str, int, Callable[..., Sequence[Any]], Callable[..., object]]] = [
        (f"cycle {SIZE} and {N_ADDED} added in one call", n_cycles, _with_block, _cycle_and_block),
        (f"cycle {SIZE} and {N_ADDED} added one by one", n_cycles, _with_each, _cycle_and_each),
        # one call is a whole run of two threads
        (f"{n_cycles} cycles of {SIZE} beside a thread that adds {N_ADDED} as often", 1, _whole_run, _beside),
    ]
    figures = []
    for doing, n_calls, inputs, act in doings:
        racers = [
            Racer(f"{key}, {doing}", key, partial(inputs, field, system), partial(act, system))
            for key, system in field.learners().items()
        ]
        seconds = run(field, racers, n_calls)
        mine = [racer for racer in racers if racer.system in ENGINES]
        theirs = [racer for racer in racers if racer.system not in ENGINES]
        figures += [figure(field, a, b, seconds, None) for a in mine for b in theirs]
    return figures


def latencies(field: Field) -> list[str]:
    """Return, as a table, how long a cycle takes on the clock while another thread adds without pause."""
    lines = ["| system | p50, us | p99, us | cycles | rows added per second meanwhile |", "|---|---|---|---|---|"]
    for key, system in field.learners().items():
        n_cycles = 5 * field.effort.calls(SIZE)
        cycles_ = cycle_inputs(field, system, SIZE, n_cycles)
        blocks = [system.prepared(*field.fresh(N_ADDED)) for _ in range(N_ADDS_PER_CYCLE * n_cycles)]
        lock = _lock_for(system)
        writer = threading.Thread(target=_add_all, args=(system, blocks, lock))
        spent = []
        began = time.perf_counter()
        writer.start()
        for given in cycles_:
            at = time.perf_counter()
            with lock:
                cycle(system, given)
            spent.append(time.perf_counter() - at)
            if not writer.is_alive():
                break
        writer.join()
        rate = N_ADDED * len(blocks) / (time.perf_counter() - began)
        p50, p99 = 1e6 * np.quantile(spent, (0.5, 0.99))
        lines.append(f"| {key} | {p50:,.0f} | {p99:,.0f} | {len(spent)} | {rate:,.0f} |")
    return lines


def _with_block(field: Field, system: System, n_calls: int) -> list[tuple[Any, Any]]:
    given = cycle_inputs(field, system, SIZE, n_calls)
    return [(one, system.prepared(*field.fresh(N_ADDED))) for one in given]


def _cycle_and_block(system: System, given: tuple[Any, Any]) -> None:
    one, block = given
    system.add_many(block)
    cycle(system, one)


def _with_each(field: Field, system: System, n_calls: int) -> list[tuple[Any, list[Any]]]:
    given = cycle_inputs(field, system, SIZE, n_calls)
    return [(one, system.prepared_each(*field.fresh(N_ADDED))) for one in given]


def _cycle_and_each(system: System, given: tuple[Any, list[Any]]) -> None:
    one, each = given
    for row in each:
        system.add_one(row)
    cycle(system, one)


def _whole_run(field: Field, system: System, n_calls: int) -> list[list[tuple[Any, Any]]]:
    return [_with_block(field, system, field.effort.calls(SIZE)) for _ in range(n_calls)]


def _beside(system: System, given: list[tuple[Any, Any]]) -> None:
    """Run all cycles here, and all adds in another thread."""
    lock = _lock_for(system)
    writer = threading.Thread(target=_add_all, args=(system, [block for _, block in given], lock))
    writer.start()
    for one, _ in given:
        with lock:
            cycle(system, one)
    writer.join()


def _add_all(system: System, blocks: Sequence[Any], lock: AbstractContextManager[Any]) -> None:
    for block in blocks:
        with lock:
            system.add_many(block)


def _lock_for(system: System) -> AbstractContextManager[Any]:
    """Return what keeps two threads apart: the peers promise whole rows to one thread only, so they get a lock."""
    return contextlib.nullcontext() if isinstance(system, Ours) else threading.Lock()
