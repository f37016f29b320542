"""`dwell import` of foreign logs, as people and programs use it."""

import gzip
import json
from pathlib import Path
from typing import Any

import dwell

from .called import Run

AT = 1_700_000_000


def listed(i: int) -> dict[str, Any]:
    return {"event_id": f"e{i}", "timestamp": AT + i, "query": "q", "results": [{"id": "a", "bm25": 1.0}]}


def write(path: Path, *items: object) -> Path:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items), encoding="utf-8")
    return path


def test_a_dry_run_makes_nothing_and_an_import_makes_the_store(dwell_: Run, tmp_path: Path) -> None:
    click = {"event_id": "e1", "signal": "click", "doc": "a", "timestamp": AT + 9}
    log = write(tmp_path / "log.jsonl", listed(1), click, {"x": 1})
    store = tmp_path / "new.dwell"
    arguments = ("import", "jsonl", store, log, "--create", "--features", "bm25", "--json")
    dry = dwell_(*arguments, "--dry-run")
    assert (dry.code, dry.err, store.exists()) == (0, "", False)
    done = dwell_(*arguments)
    assert (done.code, done.err) == (0, "")
    assert dry.json == {**done.json, "is_dry_run": True}
    assert done.json["refused"] == [
        {"index": 3, "pointer": "", "source": "log.jsonl", "reason": done.json["refused"][0]["reason"]}
    ]
    again = dwell_("import", "jsonl", store, log)
    assert "0 items, 0 refused, 3 taken by an earlier import" in again.out
    known = dwell_("import", "jsonl", store, log, "--dry-run")
    assert "0 recorded, 1 known" in known.out
    assert "duplicate 1" in known.out
    with dwell.open(store) as loop:
        assert [one.feedback_signals for one in loop.experiences()] == [{"click": 1.0}]


def test_packed_files_and_several_of_them(dwell_: Run, tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    dwell.open(store, features=["bm25"]).close()
    packed = tmp_path / "one.log"
    packed.write_bytes(gzip.compress(json.dumps(listed(1)).encode()))
    plain = write(tmp_path / "two.log", listed(2))
    assert dwell_("import", "jsonl", store, packed, plain, "--json").json["n_lists"] == 2


def test_what_is_no_log_fails_with_one_line(dwell_: Run, tmp_path: Path) -> None:
    store = tmp_path / "s.dwell"
    dwell.open(store, features=["bm25"]).close()
    for ran in (
        dwell_("import", "jsonl", store, write(tmp_path / "no.jsonl", {"x": 1}, [])),
        dwell_("import", "csv", store, write(tmp_path / "no.csv", "a,b")),
        dwell_("import", "jsonl", store, tmp_path / "nowhere"),
        dwell_("import", "parquet", store, write(tmp_path / "no.parquet", "a")),
        dwell_("import", "jsonl", store, store),
        dwell_("import", "jsonl", tmp_path / "none.dwell", store),
    ):
        assert ran.code == 1
        assert ran.err.startswith("dwell: ")
        assert ran.err.count("\n") == 1
    log = write(tmp_path / "log.jsonl", listed(1))
    for wrong in (("--features", "a"), ("--signals", "[]"), ("--signals", '{"a": 1}'), (log,)):
        assert dwell_("import", "jsonl", store, log, *wrong).code == 2
    assert dwell_("import", "csv", store, log, "--columns", '{"doc": 1}').code == 2
