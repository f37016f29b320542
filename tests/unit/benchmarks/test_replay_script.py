"""The replay benchmark, ours only: no peer is needed to run it."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import _replay_memory
import replay
from _replay_field import QUICK
from _replay_ingest import APPEND, BARE, BULK, SINGLY, as_bytes, impressions, ingest
from _replay_report import ADD, CYCLE, Figure, bar_of, table, tally
from _replay_rows import LOOP_ROW, RECORD, Layout
from _timing import Interval

MET = Figure("ours", "cpprb", 10.0, 40.0, Interval(4.0, 3.9, 4.2), 3.5)
MISSED = Figure("ours", "torchrl", 10.0, 40.0, Interval(4.0, 3.9, 4.2), 6.0)
TIED = Figure("ours", "cpprb", 10.0, 40.0, Interval(4.0, 3.9, 4.2), 4.0)
FREE = Figure("ours", "SB3", 10.0, 9.0, Interval(0.9, 0.8, 1.1), None)


@pytest.mark.parametrize(
    ("layout", "sections"), [(RECORD, tuple(replay.RACES)), (LOOP_ROW, ("cycle", "update", "add"))]
)
def test_all_of_ours_runs_and_is_sound(layout: Layout, sections: tuple[str, ...]) -> None:
    found = replay.of_layout(layout, 4_000, sections, QUICK, has_peers=False)
    engines = ["dwell", "dwell, fast"] if find_spec("numba") else ["dwell"]
    assert [check["name"] for check in found.values["checks"]] == engines
    assert all(check["is_sound"] for check in found.values["checks"]), found.lines
    assert all(np.isfinite(figure.ratio).all() for figure in found.figures)
    if "seed" in sections:  # the one rival that is always there
        assert [figure.against.partition(",")[0] for figure in found.figures] == ["the founding document's code"]


def test_a_short_run_judges_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in replay.ONE_THREAD:
        monkeypatch.setenv(name, "1")
    written = tmp_path / "figures.json"
    monkeypatch.setattr("sys.argv", ["replay.py", "--quick", "--only", "ingest,ring", "--json", str(written)])
    assert replay.main() == 0
    printed = capsys.readouterr().out
    assert "| met |" not in printed
    assert "**not met**" not in printed
    assert printed.count("not judged") == 6  # two batch sizes, two ways of ours; reopening and rebuilding
    assert "## The column ring" in printed
    values = json.loads(written.read_text(encoding="utf-8"))
    assert [one["batch_size"] for one in values["parts"][0]["ingest"]] == [64, 1024]


def test_everybody_acknowledges_the_same_impressions(tmp_path: Path) -> None:
    found = ingest(64, n_rounds=2, n_calls=1, folder=tmp_path)
    assert set(found.per_second) == {BULK, SINGLY, BARE, APPEND}
    assert found.of_bare[BARE] == Interval(1.0, 1.0, 1.0)
    made = impressions(0, 3, np.random.default_rng(0))
    assert len({as_bytes(one) for one in made}) == 3
    assert min(len(as_bytes(one)[2]) for one in made) > 4 * (384 + 10 * 8 + 10)  # embedding, features, scores
    assert not any(tmp_path.iterdir())


def test_memory_is_what_a_process_of_its_own_grew_by() -> None:
    found = _replay_memory.measured("dwell", 4_000)
    assert found.payload_bytes == 1952 + 32
    # a row less than it is would mean that the process had room before; three times would be no packed row
    assert 0.95 < found.over_payload < 3.0


def test_a_system_that_is_not_there_is_said_to_be_absent() -> None:
    if find_spec("cpprb"):
        pytest.skip("cpprb is installed")
    with pytest.raises(_replay_memory.AbsentError, match="cpprb"):
        _replay_memory.measured("cpprb", 10)


def test_a_full_run_is_what_the_promises_are_about() -> None:
    asked = replay.arguments([])
    assert asked.sizes == (100_000, 1_000_000)
    assert asked.only == list(replay.SECTIONS)
    assert replay.FULL.n_rounds >= 9
    assert replay.FULL.is_judged
    assert not QUICK.is_judged


def test_a_quick_run_may_still_be_told_more() -> None:
    asked = replay.arguments(["--quick", "--n", "5000", "--only", "cycle,ring"])
    assert (asked.sizes, asked.only) == ((5_000,), ["cycle", "ring"])


@pytest.mark.parametrize("wrong", [["--only", "speed"], ["--n", "10"], ["--n", "many"]])
def test_what_can_not_be_run_is_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        replay.arguments(wrong)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_promises_are_looked_up_by_batch_and_peer() -> None:
    assert bar_of(CYCLE, 256, "cpprb") == 3.5
    assert bar_of(CYCLE, 256, "torchrl") == 6.0
    assert bar_of(ADD, 1, "torchrl") == 40.0
    assert bar_of(CYCLE, 256, "SB3") is None
    assert bar_of(CYCLE, 128, "cpprb") is None
    assert bar_of(None, 256, "cpprb") is None


def test_the_table_says_what_was_met() -> None:
    rows = table([MET, MISSED, TIED, FREE, MET._replace(is_judged=False)])[2:]
    assert rows[0] == "| ours | cpprb | 10.0 | 40.0 | 4 (3.9 to 4.2) | 3.5 | met |"
    verdicts = ["met", "**not met**", "tie, median met", "tie with it", "not judged"]
    assert [row.rsplit("|", 2)[1].strip() for row in rows] == verdicts
    assert tally([MET, MISSED, TIED, FREE, MET._replace(is_judged=False)]) == (
        "3 promises judged: 1 met, 1 not met, 1 tied."
    )


def test_arithmetic_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[dict[str, str]] = []

    class BeganAnewError(Exception): ...

    def begin(_program: str, _arguments: list[str], environment: dict[str, str]) -> None:
        began.append(environment)
        raise BeganAnewError

    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setattr(os, "execve", begin)
    monkeypatch.setattr("sys.argv", ["replay.py", "--quick"])
    with pytest.raises(BeganAnewError):
        replay.main()
    assert all(began[0][name] == "1" for name in replay.ONE_THREAD)
