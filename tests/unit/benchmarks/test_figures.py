import numpy as np
import pytest

from study.baselines import LEARNING_RATES, PASSES, Literal
from study.figures import DWELL, LOGGING, Study, best_setting, literal_choice, promotions_of
from study.scoring import ndcg_per_question
from study.simulation import Checkpoint, Run
from study.worlds import World

N_TEST = 6


def a_run(events: tuple[int, ...], means: tuple[float, ...], versions: tuple[int, ...]) -> Run:
    points = zip(events, means, versions, strict=True)
    return Run(tuple(Checkpoint(n, v, np.full(N_TEST, m), m + 0.1, "", "") for n, m, v in points), means[1:], {})


def test_a_promotion_is_a_change_of_the_live_version_with_what_it_did() -> None:
    run = a_run((0, 1_000, 2_000, 3_000), (0.5, 0.5, 0.6, 0.55), (0, 0, 3, 4))
    found = promotions_of(run.checkpoints)
    assert [(p.n_events, round(p.test, 6), round(p.train, 6)) for p in found] == [
        (2_000, 0.1, 0.1),
        (3_000, -0.05, -0.05),
    ]


def test_the_literal_trainer_s_best_settings_are_chosen_over_all_seeds() -> None:
    """One seed's best is another pair: the mean decides, not the luckiest cell."""
    lucky = {(rate, passes): np.full(N_TEST, 0.5) for rate in LEARNING_RATES for passes in PASSES}
    first = Literal(lucky | {(0.01, 1): np.full(N_TEST, 0.8), (0.003, 5): np.full(N_TEST, 0.7)})
    second = Literal(lucky | {(0.01, 1): np.full(N_TEST, 0.3), (0.003, 5): np.full(N_TEST, 0.7)})
    best, figures = literal_choice([first, second])
    assert best == (0.003, 5)
    assert figures.shape == (2, N_TEST)
    assert figures.mean() == pytest.approx(0.7)
    assert best_setting([first.test, second.test])[0] == best


def test_what_was_live_is_found_in_the_run_it_belongs_to(small_world: World) -> None:
    long = [a_run((0, 1_000, 2_000), (0.5, 0.51, 0.52), (0, 1, 2)) for _ in range(2)]
    early = [a_run((0, 50, 100), (0.5, 0.3, mean), (0, 1, 2)) for mean in (0.4, 0.6)]
    study = Study(world=small_world, n_events=2_000, gated=long, early={DWELL: early})
    assert study.means_at(DWELL, 100) == pytest.approx([0.4, 0.6])
    assert study.means_at(DWELL, 2_000) == pytest.approx([0.52, 0.52])
    assert (study.has_point(DWELL, 100), study.has_point(DWELL, 3_000)) == (True, False)


def test_the_logging_policy_s_figures_need_no_run(small_world: World) -> None:
    study = Study(world=small_world, n_events=1_000)
    weights = np.array(list(small_world.weights.values()))
    expected = ndcg_per_question(lambda f: f @ weights, small_world.test)
    assert study.figures[LOGGING][0] == pytest.approx(expected)
