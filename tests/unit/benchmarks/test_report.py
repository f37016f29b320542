import json

import numpy as np
import pytest

from study.baselines import LEARNING_RATES, PASSES, Literal
from study.report import Study, as_values, bar_lines, bars_of, literal_choice, markdown, promotions_of
from study.simulation import Checkpoint, Run
from study.worlds import World

N_TEST = 6


def a_run(*means: float, versions: tuple[int, ...] | None = None) -> Run:
    """Return a run whose checkpoints stand every 1,000 events, the first before any."""
    found = tuple(
        Checkpoint(1_000 * i, versions[i] if versions else i, np.full(N_TEST, mean), mean + 0.1, "hold", "not_yet: x")
        for i, mean in enumerate(means)
    )
    return Run(found, tuple(means[1:]), {"rank": 1.0})


def a_literal(value: float, best: tuple[float, int] = (0.001, 2)) -> Literal:
    grid = {(rate, passes): np.full(N_TEST, value - 0.01) for rate in LEARNING_RATES for passes in PASSES}
    return Literal(grid | {best: np.full(N_TEST, value)})


def a_study(world: World, name: str, gated: float, *, literal: float = 0.6, ungated: float = 0.8) -> Study:
    means = [0.5] * 10
    return Study(
        world=world._replace(name=name),
        n_events=10_000,
        gated=[a_run(*means, gated) for _ in range(5)],
        ungated=[a_run(*means, ungated) for _ in range(5)],
        literal=[a_literal(literal)] * 5,
        linear=np.full(N_TEST, 0.7),
        trees=np.full(N_TEST, 0.75),
    )


def test_a_promotion_is_a_change_of_the_live_version_with_what_it_did() -> None:
    run = a_run(0.5, 0.5, 0.6, 0.55, versions=(0, 0, 3, 4))
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


@pytest.mark.parametrize(
    ("gated", "literal", "ungated", "met"),
    [
        (0.71, 0.695, 0.72, [True, True, True]),
        (0.709, 0.68, 0.72, [False, True, True]),
        (0.72, 0.71, 0.72, [True, False, True]),
        (0.72, 0.68, 0.719, [True, True, False]),
    ],
)
def test_the_bars_of_lightgbm_rank(
    small_world: World, gated: float, literal: float, ungated: float, met: list[bool]
) -> None:
    bars = bars_of(a_study(small_world, "lightgbm_rank", gated, literal=literal, ungated=ungated))
    assert [bar.is_met for bar in bars] == met


@pytest.mark.parametrize(("worst", "met"), [(0.49, True), (0.489, False)])
def test_cranfield_s_bar_looks_at_every_thousand_events(small_world: World, worst: float, met: bool) -> None:  # noqa: FBT001 - a test's parameter
    study = a_study(small_world, "cranfield", 0.5)
    dipped = study._replace(gated=[a_run(0.5, 0.5, worst, 0.5)] * 5)
    (bar,) = bars_of(dipped)
    assert bar.is_met is met


def test_a_short_run_judges_no_bar(small_world: World) -> None:
    study = a_study(small_world, "lightgbm_rank", 0.9)._replace(n_events=3_000)
    assert {bar.is_met for bar in bars_of(study)} == {None}
    assert "not judged" in bar_lines(bars_of(study))[-1]


def test_the_table_calls_a_tie_a_tie(small_world: World) -> None:
    lines = markdown(a_study(small_world, "lightgbm_rank", 0.5))
    dwell = next(line for line in lines if line.startswith("| dwell (gated, defaults) | 0.5"))
    literal = next(line for line in lines if line.startswith("| founding"))
    assert dwell.endswith("| tie |")
    assert literal.endswith("| better |")


def test_every_table_is_as_wide_as_its_heading(small_world: World) -> None:
    lines = [
        *markdown(a_study(small_world, "cranfield", 0.6)),
        *bar_lines(bars_of(a_study(small_world, "cranfield", 0.6))),
    ]
    tables = [[]]  # type: list[list[int]]
    for line in lines:
        if line.startswith("|"):
            tables[-1].append(line.count("|"))
        elif tables[-1]:
            tables.append([])
    assert all(len(set(widths)) == 1 for widths in tables if widths)
    assert sum(bool(widths) for widths in tables) >= 4


def test_the_values_survive_json(small_world: World) -> None:
    values = as_values(a_study(small_world, "lightgbm_rank", 0.75))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["rankers"]["dwell (gated, defaults)"]["ndcg_by_seed"] == pytest.approx([0.75] * 5)
    assert [bar["is_met"] for bar in values["bars"]] == [True, True, True]
