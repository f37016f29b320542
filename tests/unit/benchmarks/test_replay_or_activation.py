"""The worlds are what they are said to be, every learner is run, and the verdict is on the better of the others."""

import numpy as np
import pytest

import replay_or_activation as study


def world(name: str) -> study.World:
    return next(one for one in study.WORLDS if one.name == name)


def test_a_small_run_is_measured_and_told() -> None:
    said: list[str] = []
    found = study.measured([world("mixed")], 1, 32, said.append)
    assert [line.split(":")[0] for line in said] == [f"mixed, seed 0, {name}" for name in study.LEARNERS]
    for shares in (found[0].first, found[0].last):
        assert all(0.0 < float(values[0]) <= 1.0 for values in shares.values())
    assert len(study.table(found)) == 3


def test_loops_meet_the_same_requests_and_a_run_can_be_repeated() -> None:
    asked = study.requests(world("churn"), 24, 5)
    again = study.requests(world("churn"), 24, 5)
    assert [one.ids for one in asked] == [one.ids for one in again]
    first, second = (study.served_by("both", asked, seed=5) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_features_tell_all_or_nothing_or_half() -> None:
    rng = np.random.default_rng(0)
    slots = np.arange(study.N_ITEMS)
    explained = []
    for name in ("features", "items", "mixed"):
        catalogue = study.Catalogue(world(name), rng)
        logit = (np.log(catalogue.liked(slots)) - np.log1p(-catalogue.liked(slots)) + 2.0) / 2.0
        design = np.column_stack([catalogue.features, np.ones(study.N_ITEMS)])
        rest = logit - design @ np.linalg.lstsq(design, logit, rcond=None)[0]
        explained.append(1.0 - float(rest.var() / logit.var()))
    assert explained[0] == pytest.approx(1.0)
    assert explained[1] < 0.08  # five of 300 columns of noise: 0.017 expected
    assert 0.35 < explained[2] < 0.65


def test_churn_replaces_items_and_drift_changes_what_is_liked() -> None:
    churning = study.requests(world("churn"), 200, 1)
    assert not any("-" in item for item in churning[0].ids)
    assert any("-" in item for one in churning[-20:] for item in one.ids)
    drifting = study.requests(world("drift"), 200, 1)
    before = {item: p for one in drifting[:100] for item, p in zip(one.ids, one.liked, strict=True)}
    same = [before[item] == p for one in drifting[100:] for item, p in zip(one.ids, one.liked, strict=True)]
    assert not any(same)


def test_the_share_is_of_the_best_lists() -> None:
    served = np.array([[1.0] * 10 + [0.5] * 10, [1.0] * 20])
    assert study.share(served, is_end=False) == pytest.approx(1.0)
    assert study.share(served, is_end=True) == pytest.approx(0.5)
    assert study.rewarded(np.array([0.6, 0.4, 0.3, 0.4, 0.5])) == pytest.approx(0.6 + 0.2 + 0.1 + 0.1 + 0.1)


def test_both_is_held_against_the_better_one() -> None:
    last = {"activation": np.array([0.5, 0.7]), "replay": np.array([0.8, 0.6]), "both": np.array([0.8, 0.6]) - 0.05}
    found = study.Found("mixed", last, last)
    assert found.lead().value == pytest.approx(-0.05)
    assert study.table([found])[-1].endswith("| **not met** |")


@pytest.mark.parametrize("wrong", [["--worlds", "flat"], ["--seeds", "1"], ["--queries", "10"]])
def test_what_can_not_be_run_is_wrong_usage(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        study.arguments(wrong)
    assert "error:" in capsys.readouterr().err
