import numpy as np
import pytest

import steps
from _steps_bare import bare_step
from _steps_ours import made_up, our_step


@pytest.mark.parametrize("n_documents", [4, 10, 30])
def test_the_bare_arithmetic_takes_the_same_step(n_documents: int) -> None:
    task = made_up(16, n_documents)
    np.testing.assert_allclose(bare_step(task, 3), our_step(task, 3), rtol=1e-10)
    assert not np.allclose(our_step(task, 3)[-1], our_step(task, 4)[-1])


def test_the_enumerated_gradient_is_that_of_a_list_one_can_do_by_hand() -> None:
    # two documents, one shown: J = r p + s (1 - p), dJ/dz = (r - s) p (1 - p), and the opposite
    z, r = np.array([0.3, -0.2]), np.array([1.0, 0.25])
    p = 1.0 / (1.0 + np.exp(-0.5))
    slope = 0.75 * p * (1.0 - p)
    np.testing.assert_allclose(steps.enumerated_gradient(z, r, np.array([1.0])), [slope, -slope])


def test_memory_grows_with_the_batch() -> None:
    assert 3.0 < steps.peak_bytes(256, 10) / steps.peak_bytes(64, 10) < 5.0


def test_the_table_gives_a_verdict_for_each_contestant() -> None:
    ours, bare = np.full(9, 2e-3), np.full(9, 1e-3)
    lines = steps.step_table([steps.Steps(10, {steps.OURS: ours, steps.BARE: bare, steps.TORCH[0]: ours * 6.0}, 0.0)])
    assert lines[3].endswith("ours takes 2 (2 to 2) | at most 1.3 | **not met** |")
    assert lines[4].endswith("takes 6 (6 to 6) of ours | at least 5 | met |")
