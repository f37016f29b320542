"""The process is killed at any moment: after it is opened again, the sums are those of the log, to rounding.

`DWELL_KILLS=200` kills fifty times.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import activation_child
import numpy as np
import pytest
from children import Nursery

import dwell

pytestmark = pytest.mark.crash

N_KILLS = max(6, int(os.environ.get("DWELL_KILLS", "0")) // 4)


def sums(loop: dwell.Loop) -> np.ndarray:
    assert loop.activation is not None
    found = [loop.activation.explain(item, now=activation_child.START + 1e6) for item in activation_child.ITEMS]
    return np.array([(one.reward_mass, one.exposure_mass) for one in found])


def test_kill9_loses_no_event_of_activation_and_counts_none_twice(
    tmp_path: Path, nursery: Callable[..., Nursery]
) -> None:
    rng = random.Random(23)
    path = tmp_path / "s"
    born, n_clicks, n_behind, n_erasing = nursery(), 0, 0, 0
    for run in range(N_KILLS):
        child = born.start("activation_child", path, run)
        assert child.line() == "open"
        said = child.killed_after(rng, 0.4)
        assert not [line for line in said if line.startswith("!")]
        n_erasing += run % 3 == 2
        with activation_child.opened(path) as loop:
            with loop._state.store.snapshot() as reader:
                n_behind += bool(reader.trace_changes())
            signals = {event: [s.doc for s in loop.signals(event)] for event in {line.split()[0] for line in said}}
            gone = f"user-{run % activation_child.N_USERS}" if run % 3 == 2 else None
            for event, doc in (line.split() for line in said):
                number = int(event.rsplit("-", 1)[1])
                is_gone = f"user-{number % activation_child.N_USERS}" == gone
                assert doc in signals[event] or is_gone, f"{event} was acknowledged and is not there"
            n_clicks += len(said)
            kept = sums(loop)
            assert loop.activation is not None
            loop.activation.rebuild()
            np.testing.assert_allclose(kept, sums(loop), rtol=1e-9, atol=1e-15)
    print(f"\n{N_KILLS} kills of activation: {n_clicks} clicks acknowledged, {n_erasing} while users were erased,")
    print(f"{n_behind} with rows behind the redo log: sums as of the whole log each time")
    assert n_clicks > N_KILLS, "the kills came before anything was written: nothing was tested"
    assert n_behind > 0
