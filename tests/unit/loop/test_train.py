import numpy as np
import pytest

from dwell.config import Config, TrainingSettings
from dwell.loop.train import Proposal, plan_steps

DEFAULT = Config()


@pytest.mark.parametrize(
    ("n_unseen", "steps", "expected"),
    [
        (0, None, (0, 0)),
        (1, None, (1, 16)),  # never fewer lists than make a step
        (8, None, (1, 16)),
        (80, None, (10, 16)),  # 160 lists in steps of at least 16
        (800, None, (100, 16)),
        (8_000, None, (100, 160)),  # 16,000 lists over the 100 steps aimed at
        (100_000, None, (100, 256)),  # no step is larger than 256
        (800, 40, (40, 40)),
        (800, 1, (1, 256)),
        (800, 5_000, (200, 16)),  # no more than 200 steps
    ],
)
def test_one_pass_over_unseen_events_and_as_many_replayed(
    n_unseen: int, steps: int | None, expected: tuple[int, int]
) -> None:
    assert plan_steps(n_unseen, DEFAULT, steps=steps) == expected


def test_settings_bound_the_plan() -> None:
    config = Config(training=TrainingSettings(max_steps=3, target_steps=10, min_batch=4, max_batch=8))
    assert plan_steps(1_000, config, steps=None) == (3, 8)


def test_a_standing_proposals_predictor_survives_the_store() -> None:
    beta = np.array([0.1, -1e300, 5e-324, 0.0])
    kept = Proposal(version=3, safe_version=1, after_seq=9, attempt=2, beta=beta.tolist())
    assert kept.predictor().beta.tobytes() == beta.tobytes()
