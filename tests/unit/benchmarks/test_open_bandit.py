"""The benchmark on the Open Bandit Dataset: what it reads, what it asks, and that it ends well without obp."""

import json
from pathlib import Path

import numpy as np
import pytest

import _open_bandit_obp
import open_bandit
from _open_bandit import ESTIMATORS, Rows, as_served, asked, obp_value, prior_of, rows_of, simulated_rows, thompson
from _open_bandit_obp import obp_folder, obp_or_none
from dwell.evaluation.estimators import Sums


def small_log(n: int = 600) -> Rows:
    rng = np.random.default_rng(1)
    rates = rng.uniform(0.1, 0.5, (4, 3))
    return simulated_rows(rates, np.tile([[0.4], [0.3], [0.2], [0.1]], 3), n, rng)


def test_without_obp_it_says_so_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_open_bandit_obp.importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setattr("sys.argv", ["open_bandit.py", "--quick"])
    assert open_bandit.main() == 0
    assert capsys.readouterr().out.startswith("skipped: ")


def test_loading_obp_leaves_no_stand_in_behind() -> None:
    import sys

    before = dict(sys.modules)
    obp_or_none()
    left = {name for name in sys.modules if name.partition(".")[0] in {"obp", "torch", "pandas", "sklearn"}}
    assert left == {name for name in before if name.partition(".")[0] in {"obp", "torch", "pandas", "sklearn"}}


def test_the_prior_is_read_from_plain_nested_lists() -> None:
    text = "all:\n  alpha:\n    - 1.0\n    - 2.5\n  beta:\n    - 3.0\n    - 4.0\n"
    text += "men:\n  alpha:\n    - 9.0\n  beta:\n    - 8.0\n"
    assert [p.tolist() for p in prior_of(text, "all")] == [[1.0, 2.5], [3.0, 4.0]]
    assert [p.tolist() for p in prior_of(text, "men")] == [[9.0], [8.0]]
    with pytest.raises(KeyError):
        prior_of(text, "women")


def test_thompson_sampling_of_two_items_has_a_closed_form() -> None:
    """P(Beta(a, 1) > U) = a / (a + 1): with Beta(3, 1) against Beta(1, 1), the first wins three times of four."""
    found = thompson(np.array([3.0, 1.0, 1.0]), np.array([1.0, 1.0, 1e9]), np.random.default_rng(2), n_draws=40_000)
    np.testing.assert_allclose(found.sum(axis=0), 1.0)
    np.testing.assert_allclose(found[:2, 0], [0.75, 0.25], atol=4.0 * np.sqrt(0.75 * 0.25 / 40_000))
    np.testing.assert_array_equal(found[:, 2], [0.0, 0.0, 1.0])


def test_predictions_know_nothing_of_the_rows_that_they_are_for() -> None:
    rows, policy = small_log(), np.full((4, 3), 0.25)
    before = asked(rows, policy, np.random.default_rng(3))
    turned = rows._replace(clicks=np.where(before.fold == 0, 1.0 - rows.clicks, rows.clicks))
    after = asked(turned, policy, np.random.default_rng(3))
    # all clicks of fold 0 changed. The mean that items are shrunk to is of both folds, and known to both
    share = (after.predictions - before.predictions)[:, 0]
    shift = turned.clicks.mean() - rows.clicks.mean()
    shown = np.bincount(rows.items[before.fold != 0], minlength=4)
    np.testing.assert_allclose(share, 100.0 * shift / (shown + 100.0), atol=1e-12)


def test_replay_matches_as_often_as_two_draws_agree() -> None:
    rows, policy = small_log(20_000), np.tile([[0.1], [0.2], [0.3], [0.4]], 3)
    found = asked(rows, policy, np.random.default_rng(4)).matches.mean()
    expected = 0.4 * 0.1 + 0.3 * 0.2 + 0.2 * 0.3 + 0.1 * 0.4
    assert found == pytest.approx(expected, abs=4.0 * np.sqrt(expected / 20_000))


def test_a_policy_as_served_is_its_frequencies() -> None:
    rows = Rows(np.array([0, 0, 1, 1]), np.array([0, 0, 0, 1]), np.zeros(4), np.full(4, 0.5))
    with np.errstate(invalid="ignore"):
        found = as_served(rows, 2)
    np.testing.assert_allclose(found[:, :2], [[2.0 / 3.0, 0.0], [1.0 / 3.0, 1.0]])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_shared_estimator_is_asked_the_same_as_obp(name: str) -> None:
    obp = obp_or_none()
    if obp is None:
        pytest.skip("obp is not installed")
    q = asked(small_log(), np.tile([[0.1], [0.2], [0.3], [0.4]], 3), np.random.default_rng(5))
    theirs = obp_value(obp, name, q)
    ours: Sums = ESTIMATORS[name](q)
    if theirs is None:
        assert name in {"clipped IPS", "sub-Gaussian IPS", "sub-Gaussian DR"}
    else:
        assert ours.estimate().value == pytest.approx(theirs, abs=1e-12)


def test_a_log_is_read_as_it_is_shipped() -> None:
    folder = obp_folder()
    if folder is None:
        pytest.skip("obp is not installed")
    rows = rows_of(folder, "random", "men")
    assert rows.items.size == 10_000
    assert set(rows.positions.tolist()) == {0, 1, 2}
    np.testing.assert_allclose(rows.propensities, 1.0 / 34.0)
    assert set(rows.clicks.tolist()) == {0.0, 1.0}


def test_all_of_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    if obp_folder() is None:
        pytest.skip("obp is not installed")
    # one campaign, few draws: the smallest run that goes through every line
    monkeypatch.setattr(open_bandit, "CAMPAIGNS", ("men",))
    monkeypatch.setattr(open_bandit, "ESTIMATORS", {name: ESTIMATORS[name] for name in ("replay", "IPS", "DR")})
    monkeypatch.setattr("sys.argv", ["open_bandit.py", "--logs", "2", "--json", str(tmp_path / "figures.json")])
    assert open_bandit.main() == 0
    printed = capsys.readouterr().out
    assert "same as obp to 1e-09" in printed
    assert printed.count("**not met**") <= 3  # coverage of two logs may fail, the promises may not
    assert ": met\n" in printed
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert {answer["question"] for answer in figures["answers"]} == {"prior", "served", "uniform"}


def test_what_can_not_be_run_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        open_bandit.arguments(["--logs", "0"])
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_an_interval_is_held_against_the_other_log_and_against_the_error_of_both() -> None:
    estimate = open_bandit.Estimate(0.5, 0.4, 0.6, 10, 10.0)
    for value, covered, within in ((0.55, True, True), (0.63, False, True), (0.70, False, False)):
        truth = open_bandit.Estimate(value, value - 0.1, value + 0.1, 10, 10.0)
        answer = open_bandit.Answer("prior", "all", "IPS", estimate, truth, None, 0.0)
        assert (answer.is_covered, answer.is_within_both) == (covered, within)
        assert ("**" in open_bandit._cell(answer)) is not covered
