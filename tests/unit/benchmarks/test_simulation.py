from itertools import pairwise

import numpy as np
import pytest

from dwell.testing.users import relevance
from study.scoring import ndcg_per_question
from study.simulation import GATED, N_USERS, UNGATED, events_of, frozen_log, run_loop
from study.worlds import World


def test_events_are_the_same_for_a_seed_and_a_minute_apart(small_world: World) -> None:
    events = list(events_of(small_world, 300, seed=1))
    assert events == list(events_of(small_world, 300, seed=1))
    assert events != list(events_of(small_world, 300, seed=2))
    assert {round(b.at - a.at, 6) for a, b in pairwise(events)} == {60.0}
    assert {event.question for event in events} == set(range(len(small_world.train)))
    assert len({event.event_id for event in events}) == 300
    assert len({event.user for event in events}) > 0.8 * N_USERS * (1 - np.exp(-300 / N_USERS))


def test_the_frozen_log_shows_every_candidate_once_and_is_clicked_on_by_relevance(small_world: World) -> None:
    log = frozen_log(small_world, seed=0, n_events=500)
    clicked, expected = 0.0, 0.0
    for entry in log:
        assert sorted(entry.shown.tolist()) == list(range(6))
        grades = small_world.train[entry.question].grades[entry.shown]
        clicked += float(entry.clicks.sum())
        chance = (0.1 + 0.9 * relevance(grades)) / np.arange(1, 7)
        expected += float(chance.sum())
    # a count of n clicks or not has a standard deviation below sqrt(n / 4); 5 of them: less than one in a million
    assert clicked == pytest.approx(expected, abs=5 * np.sqrt(len(log) * 6 / 4))


@pytest.mark.parametrize("config", [GATED, UNGATED])
def test_a_run_trains_every_thousand_events_and_says_what_was_live(
    small_world: World, config: dict[str, object]
) -> None:
    said: list[str] = []
    run = run_loop(small_world, seed=0, n_events=1_000, config=config, progress=said.append)
    start, end = run.checkpoints
    weights = np.array(list(small_world.weights.values()))
    assert start.test == pytest.approx(ndcg_per_question(lambda f: f @ weights, small_world.test))
    assert (start.n_events, start.version, end.n_events) == (0, 0, 1_000)
    # one call of train: the gate has seen nothing after the proposal yet; without a gate it goes live at once
    assert (end.version == 0) is (config == GATED)
    assert len(run.served) == len(said) == 1
    assert 0.0 < run.served[0] <= 1.0
