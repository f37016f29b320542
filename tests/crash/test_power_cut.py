"""The power goes at any moment: "full" loses nothing acknowledged, "relaxed" does, and neither is damaged.

The power goes in a simulation: a library loaded in front of the C library remembers what was synced, and everything
else is taken away, or part of it. `power.py` says what that covers and what it does not: it is no real disk, and no
real file system's log. `durability="relaxed"` is the control: if it lost nothing, the simulation would show nothing.
`DWELL_CUTS=30` cuts that often.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Nursery
from ledger import Ledger
from power import Power, built_library

import dwell
from dwell.storage import open_store

pytestmark = pytest.mark.crash

N_CUTS = int(os.environ.get("DWELL_CUTS", "5"))
MOST_S = 0.4 if N_CUTS < 30 else 2.0  # a child works for up to so long: the journal is reset after about one second


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_library(tmp_path_factory.mktemp("library"))


def cut_often(
    power: Power, nursery: Callable[..., Nursery], *, durability: str, keep: float, may_refuse: bool = False
) -> Ledger:
    """Run a loop, cut its power, and compare, as often as is asked for."""
    rng = random.Random(f"{durability} {keep} {may_refuse}")
    path = power.root / "s"
    ledger = Ledger()
    n_bytes = 0
    born = nursery(**power.environment)
    for run in range(N_CUTS):
        child = born.start("loop_child", path, run, durability)
        lines = child.until_open() + child.killed_after(rng, MOST_S)
        ledger.took([line for line in lines if not (may_refuse and line.startswith("!"))])
        refused = [line for line in lines if line.startswith("!")]
        for line in refused:  # the click of a list that could not be recorded waits for it, as an orphan
            assert ("disk I/O error" in line and "Check the disk" in line) or "'orphan'" in line, line
        ledger.n_refused += len(refused)
        n_bytes += power.cut(rng, keep=keep)
        # Recovered as any owner would: then a second cut would find the same
        dwell.open(path, features=("bm25", "cosine")).close()
        store = open_store(str(path), role="reader")
        ledger.check(store, everything=run % 5 == 4 or run == N_CUTS - 1 or ledger.n_lost > 0)
        store.close()
        power.on()
    print(ledger.told(f"power cuts ({durability}, {keep:.0%} of the unsynced pages kept)") + f"; {n_bytes} bytes cut")
    ledger.demand_nothing_wrong()
    assert n_bytes > 0, "nothing was unsynced at any cut: nothing was tested"
    return ledger


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_full_loses_nothing(tmp_path: Path, nursery: Callable[..., Nursery], library: Path, keep: float) -> None:
    ledger = cut_often(Power(tmp_path, library), nursery, durability="full", keep=keep)
    assert ledger.n_lost == 0
    assert ledger.n_acknowledged > 10 * N_CUTS, "the cuts came before anything was written: nothing was tested"


@pytest.mark.parametrize("keep", [0.0, 0.5])
def test_relaxed_loses_the_last_ones_and_is_never_damaged(
    tmp_path: Path, nursery: Callable[..., Nursery], library: Path, keep: float
) -> None:
    ledger = cut_often(Power(tmp_path, library), nursery, durability="relaxed", keep=keep)
    assert ledger.n_lost > 0, "the control lost nothing: the simulation is broken, and what it shows of 'full' is void"


def test_a_failed_sync_loses_nothing_acknowledged(
    tmp_path: Path, nursery: Callable[..., Nursery], library: Path
) -> None:
    """Every seventh sync fails and its pages are gone for good; the process goes on, until the power goes."""
    power = Power(tmp_path, library, fail_every=7)
    ledger = cut_often(power, nursery, durability="full", keep=0.0, may_refuse=True)
    print(f"{ledger.n_refused} answers said that a sync had failed")
    assert ledger.n_lost == 0
    assert ledger.n_refused > 0, "no sync failed: nothing was tested"


def test_a_cut_while_a_store_is_made_leaves_nothing_in_the_way(
    tmp_path: Path, nursery: Callable[..., Nursery], library: Path
) -> None:
    rng = random.Random(8)
    power = Power(tmp_path, library)
    born = nursery(**power.environment)
    n_unopened = 0
    for run in range(2 * N_CUTS):
        for path in power.root.iterdir():
            path.unlink()
        power.on()
        child = born.start("loop_child", power.root / "s", run)
        lines = (
            child.until_open() if run % 4 == 3 else []
        )  # the others are rarely that far, and on a busy machine never
        lines += child.killed_after(rng, 0.06)
        n_unopened += not lines
        power.cut(rng, keep=(0.0, 0.5)[run % 2])
        ledger = Ledger()
        ledger.took(lines)
        dwell.open(power.root / "s", features=("bm25", "cosine")).close()
        store = open_store(str(power.root / "s"), role="reader")
        ledger.check(store, everything=True)
        store.close()
        ledger.demand_nothing_wrong()
        assert ledger.n_lost == 0
    assert n_unopened > 0, "no cut came while a store was made: nothing was tested"
    print(f"\n{2 * N_CUTS} power cuts of new stores, {n_unopened} before they were open: all were opened again")
