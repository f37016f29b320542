from pathlib import Path

import numpy as np
import pytest

import calibration
import learning
import ranking
from study.figures import FROZEN, LINEAR
from study.tasks import PARTS, PDGD, Task, perform
from study.worlds import World


def test_without_the_sets_it_says_so_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DWELL_SHARED", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["learning.py", "--quick", "--sets", "lightgbm_rank,scifact"])
    assert learning.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [["skipped", "lightgbm_rank"], ["skipped", "scifact"]]


def test_a_full_run_is_what_the_bars_are_about() -> None:
    asked = learning.arguments([])
    assert (asked.seeds, asked.events, asked.workers) == (5, 10_000, 2)
    assert asked.sets == ["lightgbm_rank", "cranfield", "scifact", "heavy_tailed", "one_query_each"]
    users = [learning.users_on(name, asked) for name in asked.sets]
    everyone = ["pbm", "cascade", "dbn"]
    assert users == [everyone, ["pbm"], ["pbm"], everyone, ["pbm"]]


def test_a_quick_run_may_still_be_told_more() -> None:
    asked = learning.arguments(["--quick", "--events", "1000", "--sets", "scifact"])
    assert (asked.seeds, asked.events, asked.sets) == (1, 1_000, ["scifact"])


def test_rivals_and_the_literal_trainer_meet_the_first_users_alone(small_world: World) -> None:
    asked = learning.arguments(["--seeds", "2", "--rivals", "lightgbm_rank"])
    tasks = learning.planned(small_world._replace(name="lightgbm_rank"), asked)
    kinds = [kind for part in PARTS.values() for kind in part]
    assert sorted((t.user, t.kind, t.seed) for t in tasks) == sorted(
        (user, kind, seed)
        for seed in range(2)
        for user, of_user in (("pbm", kinds), ("cascade", kinds[:4]), ("dbn", kinds[:4]))
        for kind in of_user
    )
    heavy = learning.planned(small_world._replace(name="heavy_tailed"), asked)
    assert {t.kind for t in heavy} == {"gated", "ungated", "early gated", "early ungated"}


def test_only_some_parts_of_some_users(small_world: World) -> None:
    asked = learning.arguments(["--only", "loops", "--users", "dbn", "--seeds", "1"])
    tasks = learning.planned(small_world._replace(name="lightgbm_rank"), asked)
    assert [(t.user, t.kind) for t in tasks] == [("dbn", "gated"), ("dbn", "ungated")]


def test_results_become_a_study(small_world: World) -> None:
    figures = np.full(6, 0.5)
    of_kind = {"frozen": [{FROZEN: figures}] * 2, "pdgd": [{0.1: figures, 0.01: figures + 0.1}] * 2}
    study = learning.study_of(small_world, "dbn", 1_000, of_kind, {LINEAR: figures})
    assert study.rivals[PDGD] == pytest.approx(np.full((2, 6), 0.6))
    assert (study.user, study.n_seeds, set(study.loops)) == ("dbn", 2, set())


def test_a_task_is_performed_by_its_kind(small_world: World, capsys: pytest.CaptureFixture[str]) -> None:
    run = perform(Task(small_world, "cascade", 0, 1_000, "early ungated"))
    assert [point.n_events for point in run.checkpoints] == [0, 50, 100]
    assert "small, cascade, seed 0, early ungated: done" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--users", "ubm"],
        ["--only", "gates"],
        ["--rivals", "letor"],
        ["--sets", "letor"],
        ["--events", "1500"],
        ["--events", "-1000"],
        ["--seeds", "-1"],
    ],
)
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


def test_recalibration_is_measured_on_events_that_the_map_never_saw(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(calibration, "N_LATER", 200)
    monkeypatch.setattr(calibration, "USERS", calibration.USERS[:1])
    assert calibration.main(["--quick"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| position")]
    assert len(table) == 1
    rows = calibration.events_of(calibration.USERS[0], 200, np.random.default_rng(0))
    # a predictor that promises nothing is off by what came
    nothing = calibration.errors_of(rows, np.zeros(5 * len(rows)))
    rewards = np.array([row.rewards.sum() for row in rows])
    assert nothing.document == pytest.approx(np.mean([row.rewards.mean() for row in rows]))
    assert nothing.listed == pytest.approx(np.clip(rewards, -1.0, 1.0).mean())
    assert nothing.squared == pytest.approx((np.clip(rewards, -1.0, 1.0) ** 2).mean())
