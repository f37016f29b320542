"""What the exact and the hybrid meaning keep, against their formulas, in any order of arrival."""

import itertools
import math

import numpy as np
import pytest

from dwell.activation.histories import MIN_AGE_S, ExactHistories, LatestAccesses
from dwell.activation.petrov import hybrid_base_level
from dwell.errors import RecordError

S = 1_000_000
ACCESS = np.array([[1.0, 1.0]])


def test_the_hybrid_keeps_the_latest_and_the_first_in_any_order() -> None:
    times = [10, 400, 30, 900, 70]
    expected = hybrid_base_level([100.0, 600.0], 5, 990.0, 0.5)
    for order in itertools.permutations(times):
        kept = LatestAccesses(2)
        for time in order:
            kept.add(["a"], time * S, ACCESS)
        assert math.log(kept.masses(["a"], 1_000 * S, 0.5)[0, 0]) == pytest.approx(expected, abs=1e-12)
        assert kept.last_us(["a", "new"]).tolist() == [900 * S, 0]


def test_the_hybrid_takes_whole_accesses_and_ignores_exposure() -> None:
    kept = LatestAccesses(3)
    kept.add(["a"], 5 * S, np.array([[0.0, 1.0]]))
    assert (kept.masses(["a"], 9 * S, 0.5) == 0.0).all()
    assert kept.items() == ["a"]
    with pytest.raises(RecordError) as refused:
        kept.add(["a"], 6 * S, np.array([[0.5, 1.0]]))
    assert refused.value.code == "meaning"


def test_exact_histories_add_up_and_take_away() -> None:
    kept = ExactHistories()
    kept.add(["a", "b", "a"], np.array([0, 0, 75 * S]), np.array([[1.0, 1.0], [0.5, 1.0], [0.0, 1.0]]))
    assert kept.masses(["a", "b"], 100 * S, 0.5) == pytest.approx(np.array([[0.1, 0.3], [0.05, 0.1]]))
    kept.add(["a"], 75 * S, np.array([[0.0, -1.0]]))
    assert kept.masses(["a"], 100 * S, 0.5)[0] == pytest.approx([0.1, 0.1])


def test_an_access_of_now_has_a_value() -> None:
    for kept in (ExactHistories(), LatestAccesses(1)):
        kept.add(["a"], 7 * S, ACCESS)
        assert kept.masses(["a"], 7 * S, 0.5)[0, 0] == pytest.approx(MIN_AGE_S**-0.5)


def test_both_forget_pins_with_their_items() -> None:
    for kept in (ExactHistories(), LatestAccesses(1)):
        kept.pin("a", -1.0)
        kept.add(["b"], 1, ACCESS)
        assert len(kept) == 2
        assert not kept.unpin("b")
        assert kept.remove(["a", "unknown"]) == 1
        assert kept.pins == {}
        assert "a" not in kept
        kept.pin("b")
        assert kept.unpin("b")


def test_an_instant_per_item() -> None:
    for kept in (ExactHistories(), LatestAccesses(1)):
        kept.add(["a", "b"], np.array([0, 50 * S]), np.tile(ACCESS, (2, 1)))
        found = kept.masses(["a", "b"], np.array([100 * S, 75 * S]), 0.5)
        assert found[:, 0] == pytest.approx([0.1, 0.2])
