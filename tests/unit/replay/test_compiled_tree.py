"""The compiled engine agrees with the one of numpy to the bit."""

import sys

import numpy as np
import pytest

from dwell.errors import ConfigError
from dwell.records import ColumnSpec
from dwell.replay import ReplayBuffer
from dwell.replay.draws import draw
from dwell.replay.engines import tree_maker
from dwell.replay.prefix_tree import PrefixTree

pytest.importorskip("numba", reason="numba is not installed: no compiled engine")

SPEC = ColumnSpec({"x": ((2,), np.dtype("float32"))})


@pytest.mark.parametrize("n", [1, 2, 3, 512, 513, 5_000])
def test_sums_and_finds_are_those_of_the_other_tree(n: int) -> None:
    rng = np.random.default_rng(n)
    compiled, plain = tree_maker("numba")(n), PrefixTree(n)
    masses = rng.integers(0, 2**30, n).astype(float)
    masses[n // 2] = 1.0
    for tree in (compiled, plain):
        tree.fill(masses)
    for _ in range(30):
        indices, changed = rng.integers(n, size=100), rng.integers(1, 2**30, 100).astype(float)
        for tree in (compiled, plain):
            tree.set(indices, changed)
        masses[indices] = changed  # of an index given twice the last one holds
        assert compiled.total == plain.total == masses.sum()
        assert compiled.leaves(n).tolist() == plain.leaves(n).tolist() == masses.tolist()
        borders = np.cumsum(masses)
        positions = np.sort(np.concatenate([[0.0], borders[:-1], np.maximum(borders - 1.0, 0.0)]))
        expected = borders.searchsorted(positions, side="right")
        assert compiled.find(positions).tolist() == plain.find(positions).tolist() == expected.tolist()
        seed = int(rng.integers(2**32))
        ours, theirs = (draw(tree, 64, np.random.default_rng(seed)) for tree in (compiled, plain))
        assert ours.slots.tolist() == theirs.slots.tolist()
        assert ours.probabilities.tolist() == theirs.probabilities.tolist()


@pytest.mark.parametrize("strategy", ["priority", "rank"])
def test_both_engines_draw_the_same_batches(strategy: str) -> None:
    buffers = [ReplayBuffer(700, columns=SPEC, seed=1, engine=engine) for engine in ("numpy", "numba")]
    rng = np.random.default_rng(0)
    for turn in range(30):
        n = int(rng.integers(1, 200))
        ids, priorities = [f"{turn}-{i}" for i in range(n)], rng.random(n) * 10.0 ** rng.integers(-5, 5)
        batches = []
        for buffer in buffers:
            buffer.extend_columns(
                ids, timestamps=np.arange(n), columns={"x": np.zeros((n, 2), "float32")}, priorities=priorities
            )
            batches.append(buffer.sample(100, strategy=strategy))  # type: ignore[arg-type]
        for name in ("seqs", "sampling_probabilities", "sampling_weights"):
            assert getattr(batches[0], name).tolist() == getattr(batches[1], name).tolist()
        updates = rng.random(100)
        for buffer, batch in zip(buffers, batches, strict=True):
            buffer.update_priorities(batch.seqs, updates)


def test_a_missing_compiler_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "dwell.replay.compiled_tree", raising=False)
    with pytest.raises(ConfigError, match="engine numba is not installed"):
        ReplayBuffer(10, engine="numba")
    with pytest.raises(ConfigError, match="no such engine"):
        ReplayBuffer(10, engine="fortran")  # type: ignore[arg-type]
