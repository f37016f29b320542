"""`dwell export` in every format, as people and programs use it."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import dwell

from .called import Run

N = 12


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with dwell.open(tmp_path / "a.dwell", features=["a", "b"], attribution_window_s=60.0) as loop:
        for i in range(N):
            served = loop.rank(f"query {i}", ids=["x", "y", "z"], features=[[i, 1.0], [2.0, i], [3.0, 3.0]], k=2,
                               user=f"u{i % 4}", event_id=f"e{i}", now=1_700_000_000.0 + i)  # fmt: skip
            loop.feedback(served.event_id, "click", doc=served.ids[0], now=1_700_000_001.0 + i)
        loop.log_retrieval("elsewhere", [{"id": "x", "rank": 1}], event_id="theirs", now=1_700_000_020.0)
        loop.close_events(now=1_700_001_000.0)
    return tmp_path / "a.dwell"


@pytest.mark.parametrize(
    ("name", "n_left_out"),
    [("jsonl", 0), ("csv", 0), ("parquet", 0), ("svmlight", 1), ("vw", 1), ("obp", 1), ("obp-slates", 1), ("ubi", 0)],
)
def test_a_format_says_how_many_it_holds_and_left_out(
    dwell_: Run, store: Path, tmp_path: Path, name: str, n_left_out: int
) -> None:
    path = tmp_path / "out"
    ran = dwell_("export", store, path, "--format", name)
    said = f"{N + 1 - n_left_out} experiences written to {path}"
    assert (ran.code, ran.out, ran.err) == (0, f"{said}; 1 left out\n" if n_left_out else f"{said}\n", "")
    again = dwell_("export", store, path, "--format", name)
    assert (again.code, again.out) == (1, "")
    assert "there already" in again.err
    window = ("--since", "2023-11-14T22:13:22Z", "--until", "2023-11-14T22:13:30Z", "--limit", 5)
    ran = dwell_("export", store, tmp_path / "some", "--format", name, *window, "--json")
    assert json.loads(ran.out) == {"n_experiences": 5, "n_left_out": 0, "path": str(tmp_path / "some")}


def test_without_text_no_query_leaves_and_what_is_about_queries_is_refused(
    dwell_: Run, store: Path, tmp_path: Path
) -> None:
    assert dwell_("export", store, tmp_path / "a", "--without-text").code == 0
    assert "query 1" not in (tmp_path / "a").read_text(encoding="utf-8")
    for name in ("ubi", "quepid", "workbench"):
        ran = dwell_("export", store, tmp_path / "b", "--format", name, "--without-text")
        assert (ran.code, ran.out) == (2, "")
        assert name in ran.err
    assert not (tmp_path / "b").exists()


def test_judgments_can_be_of_a_time(dwell_: Run, store: Path, tmp_path: Path) -> None:
    how = ("--format", "quepid", "--min-users", 0, "--until", "2023-11-14T22:13:21Z")
    ran = dwell_("export", store, tmp_path / "j.csv", *how)
    assert ran.out.startswith("1 judgments")  # of one list of two; its second place was never clicked
    assert dwell_("export", store, tmp_path / "k.csv", "--since", "yesterday").code == 2


def test_rounds_come_back_from_a_file_of_numpy(dwell_: Run, store: Path, tmp_path: Path) -> None:
    assert dwell_("export", store, tmp_path / "a.npz", "--format", "obp").code == 0
    with np.load(tmp_path / "a.npz") as told:
        assert told["n_rounds"] == N
        assert set(told["action_id"][told["action"]].tolist()) <= {"x", "y", "z"}


def test_a_terminal_is_told_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from dwell.cli.exporting import Progress

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    shown = Progress()
    for n in (1_000, 2_000, 2_000):
        shown(n)
    assert capsys.readouterr().err == "\r1000 experiences\r2000 experiences\r\x1b[K"
    assert shown.n == 2_000
