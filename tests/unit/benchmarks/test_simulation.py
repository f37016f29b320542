from itertools import pairwise

import numpy as np
import pytest

from dwell.testing.users import CascadeUser, DbnUser, PositionBasedUser, relevance
from study.scoring import ndcg_per_question
from study.simulation import GATED, N_USERS, UNGATED, events_of, frozen_log, run_loop, user_of
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


@pytest.mark.parametrize(("name", "kind"), [("pbm", PositionBasedUser), ("cascade", CascadeUser), ("dbn", DbnUser)])
def test_each_click_model_has_its_noise_and_scale(name: str, kind: type[object]) -> None:
    user = user_of(name, 1)
    assert isinstance(user, kind)
    grades = np.array([1, 0, 0])
    first = user.click_probabilities(grades)[0]
    assert first == pytest.approx(1.0)  # of the highest grade there is: attraction noise + (1 - noise)
    noise = 0.1 + (0.9 * 0.2 if name == "dbn" else 0.0)  # trust in the first position
    assert user.click_probabilities(np.array([0, 1, 1]))[0] == pytest.approx(noise)


def test_an_unknown_click_model_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no click model 'ubm'"):
        user_of("ubm", 4)


def test_cascade_users_click_once(small_world: World) -> None:
    log = frozen_log(small_world, seed=0, n_events=200, user="cascade")
    # each question has a document of the highest grade, which attracts for certain, and all six are shown
    assert {int(entry.clicks.sum()) for entry in log} == {1}


def test_train_is_called_when_it_is_told_to_and_as_often(small_world: World) -> None:
    run = run_loop(small_world, seed=0, n_events=120, config=UNGATED, user="dbn", train_at=(50, 100, 100))
    assert [point.n_events for point in run.checkpoints] == [0, 50, 100, 100]
    assert run.checkpoints[1].version == 1
    # the second of two calls has seen nothing since
    assert run.checkpoints[3].version == run.checkpoints[2].version


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
