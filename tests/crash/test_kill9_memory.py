"""The process is killed at any moment: after it is opened again, texts, index, activation and pins are in step.

`DWELL_KILLS=200` kills fifty times.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import memory_child
import pytest
from children import Nursery

pytestmark = pytest.mark.crash

N_KILLS = max(6, int(os.environ.get("DWELL_KILLS", "0")) // 4)


def test_kill9_leaves_texts_index_activation_and_pins_in_step(tmp_path: Path, nursery: Callable[..., Nursery]) -> None:
    rng = random.Random(31)
    path = tmp_path / "agent.dwell"
    born, there, begun, pinned, n_forgotten = nursery(), set[str](), set[str](), set[str](), 0
    for run in range(N_KILLS):
        child = born.start("memory_child", path, run)
        assert child.line() == "open"
        said = [line.split() for line in child.killed_after(rng, 1.0)]
        for what, item in said:
            if what == "added":
                there.add(item)
            elif what == "pinned":
                pinned.add(item)
            elif what == "forgetting":
                begun.add(item)
            else:
                there.discard(item)
                n_forgotten += 1
        with memory_child.opened(path) as memory:
            kept = {one.id: one for one in memory}
            # what was begun is done or not; nothing else differs from what was told, but for the call that was killed
            assert there - begun <= set(kept)
            assert not (begun - there) & set(kept)
            assert len(set(kept) - there) <= 1
            there = set(kept)
            for item in kept:
                assert [found.id for found in memory.search(memory_child.word_of(item), k=1, peek=True)] == [item]
            assert memory.loop.activation is not None
            assert set(memory.loop.activation.items()) <= there
            assert set(memory.loop.activation.pinned()) == {item for item, one in kept.items() if one.is_pinned}
            assert pinned & there <= set(memory.loop.activation.pinned())
        held = b"".join(file.read_bytes() for file in path.parent.iterdir())
        for item in begun - there:
            assert f" {memory_child.word_of(item)} ".encode() not in held
    print(f"\n{N_KILLS} kills of a memory: {len(there)} kept, {n_forgotten} forgotten, in step each time")
    assert n_forgotten > N_KILLS, "the kills came before anything was done: nothing was tested"
