from pathlib import Path

import pytest

import learning
import ranking


def test_without_the_sets_it_says_so_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DWELL_SHARED", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["learning.py", "--quick"])
    assert learning.main() == 0
    assert capsys.readouterr().out.startswith("skipped: ")


def test_a_full_run_is_what_the_bars_are_about() -> None:
    asked = learning.arguments([])
    assert (asked.seeds, asked.events, asked.workers) == (5, 10_000, 2)
    assert asked.sets == ["lightgbm_rank", "cranfield", "scifact"]


def test_a_quick_run_may_still_be_told_more() -> None:
    asked = learning.arguments(["--quick", "--events", "1000", "--sets", "scifact"])
    assert (asked.seeds, asked.events, asked.sets) == (1, 1_000, ["scifact"])


@pytest.mark.parametrize("wrong", [["--sets", "letor"], ["--events", "1500"], ["--events", "-1000"], ["--seeds", "-1"]])
def test_what_can_not_be_run_is_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        learning.arguments(wrong)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_cost_is_the_median_of_calls_that_differ() -> None:
    numbers: list[int] = []
    cost = ranking.measured("counting", numbers.append, 30, 1.0)
    assert len(set(numbers[-30:])) == 30
    assert 0.0 < cost.least_s <= cost.median_s
    assert cost.is_met is True
    assert cost._replace(at_most_s=0.0).is_met is False
    assert cost._replace(at_most_s=None).is_met is None


def test_the_table_says_what_was_met() -> None:
    slow, fast = ranking.Cost("slow", 2e-3, 1e-3, 1e-3), ranking.Cost("fast", 5e-6, 4e-6, None)
    rows = ranking.table([slow, fast])
    assert rows[2] == "| slow | 2000.0 | 1000.0 | 1000 | **not met** |"
    assert rows[3] == "| fast | 5.0 | 4.0 |  |  |"
