"""An import is killed at any moment and started again: each list and each reaction is there once."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Nursery
from import_child import PEPPER

import dwell

pytestmark = pytest.mark.crash

N_KILLS = int(os.environ.get("DWELL_KILLS", "30")) // 6
N_LISTS = 1_500


def test_kill9_of_an_import_leaves_each_event_once(tmp_path: Path, nursery: Callable[..., Nursery]) -> None:
    log, store = tmp_path / "log.jsonl", tmp_path / "s.dwell"
    with log.open("w", encoding="utf-8") as file:
        for i in range(N_LISTS):
            results = [{"id": doc, "bm25": 1.0} for doc in ("a", "b")]
            at = 1_700_000_000 + i
            lines = [
                {"event_id": f"e{i}", "timestamp": at, "query": f"q{i}", "results": results},
                {"event_id": f"e{i}", "signal": "click", "doc": "a", "timestamp": at + 5},
                {"event_id": f"e{i}", "signal": "dwell", "doc": "b", "value": 30.0, "timestamp": at + 9},
            ]
            file.writelines(f"{json.dumps(line)}\n" for line in lines)
    rng, born, n_killed, n_moved, last = random.Random(7), nursery(), 0, 0, 0
    while True:
        child = born.start("import_child", store, log)
        child.until_open()
        if n_killed == N_KILLS:
            break
        for _ in range(rng.randrange(1, 9)):  # that many hundred items further: what was skipped is read, too
            if (line := child.line()) == "" or line.startswith("done"):
                break
        child.killed_after(rng, 0.05)
        n_killed += 1
        with dwell.open(store, pepper=PEPPER) as loop:
            there = [one.event_id for one in loop.experiences()]
        assert len(there) == len(set(there))
        n_moved += len(there) > last
        last = len(there)
    lines = child.ended(None)[1]
    done = next(line for line in lines if line.startswith("done"))
    assert int(done.split()[1]) > 0, "it went on where it was left"
    assert n_moved >= 2, "the kills came before anything was written: nothing was tested"
    with dwell.open(store, pepper=PEPPER) as loop:
        found = list(loop.experiences())
        assert sorted(one.event_id for one in found) == sorted(f"e{i}" for i in range(N_LISTS))
        for one in found:
            assert one.document_signals == {"a": {"click": 1.0}, "b": {"dwell": 30.0}}, "each reaction once"
            assert len(loop.signals(one.event_id)) == 2
