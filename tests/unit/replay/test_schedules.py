from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from dwell.errors import ReplayError
from dwell.replay import BetaSchedule, ReplayBuffer


def test_a_constant_is_the_same_at_every_step() -> None:
    schedule = BetaSchedule.constant(0.7)
    assert [schedule.at(step) for step in (0, 1, 10**9)] == [0.7, 0.7, 0.7]


def test_a_line_is_at_its_start_at_0_and_at_its_end_from_n_steps_on() -> None:
    schedule = BetaSchedule.linear(0.25, 0.75, 4)
    # a quarter of the way is (0.75 - 0.25) / 4 = 0.125, exact in binary
    assert [schedule.at(step) for step in range(6)] == [0.25, 0.375, 0.5, 0.625, 0.75, 0.75]


def test_a_line_may_fall() -> None:
    assert BetaSchedule.linear(1.0, 0.0, 2).at(1) == 0.5


def test_the_end_is_reached_to_the_bit() -> None:
    # the sum of 0.1 and the difference of both is the next number above 0.3
    assert BetaSchedule.linear(0.1, 0.3, 10).at(10) == 0.3


@pytest.mark.parametrize(("strategy", "start"), [("priority", 0.4), ("rank", 0.5)])
def test_the_annealing_of_the_paper_ends_fully_corrected(strategy: str, start: float) -> None:
    schedule = BetaSchedule.schaul(1_000, strategy=strategy)
    assert (schedule.at(0), schedule.at(1_000)) == (start, 1.0)
    assert schedule.at(500) == pytest.approx((start + 1.0) / 2.0, rel=1e-15)
    along = [schedule.at(step) for step in range(1_001)]
    assert (np.diff(along) > 0.0).all()


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("start", lambda: BetaSchedule.linear(-0.1, 1.0, 5)),
        ("start", lambda: BetaSchedule.linear(float("nan"), 1.0, 5)),
        ("end", lambda: BetaSchedule.linear(0.0, 1.1, 5)),
        ("end", lambda: BetaSchedule.linear(0.0, float("inf"), 5)),
        ("n_steps", lambda: BetaSchedule.linear(0.0, 1.0, 0)),
        ("n_steps", lambda: BetaSchedule.linear(0.0, 1.0, 2.5)),
        ("n_steps", lambda: BetaSchedule(0.0, 1.0, -1)),
        ("beta", lambda: BetaSchedule.constant(True)),
        ("strategy", lambda: BetaSchedule.schaul(5, strategy="uniform")),
        ("step", lambda: BetaSchedule.constant(1.0).at(-1)),
        ("step", lambda: BetaSchedule.constant(1.0).at(0.5)),
    ],
    ids=[f"case-{i}" for i in range(11)],
)
def test_what_is_refused_is_named(field: str, make: object) -> None:
    with pytest.raises(ReplayError) as caught:
        make()  # type: ignore[operator]
    assert caught.value.field == field


def test_a_schedule_is_a_value() -> None:
    assert BetaSchedule.linear(0.0, 1.0, 3) == BetaSchedule(0.0, 1.0, 3)
    assert len({BetaSchedule.constant(1), BetaSchedule.constant(1.0)}) == 1
    with pytest.raises(FrozenInstanceError):
        BetaSchedule.constant(1.0).start = 0.0  # type: ignore[misc]


def test_sample_takes_what_it_says(experience: object) -> None:
    buffer = ReplayBuffer(4, alpha=1.0, seed=0)
    for i, priority in enumerate((1.0, 4.0)):
        buffer.add(experience(f"e{i}", priority=priority))  # type: ignore[operator]
    schedule = BetaSchedule.linear(0.0, 1.0, 2)
    for step in range(3):
        batch = buffer.sample(
            64, strategy="priority", beta=schedule.at(step), normalisation="none", rng=np.random.default_rng(step)
        )
        # P is 1/5 and 4/5, t is 1/2: the weight is (t / P)^beta
        expected = (0.5 / batch.sampling_probabilities) ** (step / 2)
        np.testing.assert_allclose(batch.sampling_weights, expected, rtol=1e-12)
