"""Masses as numbers: exact where they are whole, and the same law whatever unit or shift they are measured in."""

from fractions import Fraction

import numpy as np
import pytest

from dwell.replay.masses import (
    LEAST_BITS,
    MOST_BITS,
    PriorityUnit,
    power_sum,
    priority_scale,
    priority_unit,
    recency_masses,
)


def unit_of(priorities: np.ndarray, alpha: float) -> PriorityUnit:
    scale = priority_scale(float(priorities.max()), alpha)
    return PriorityUnit.of(alpha, scale, priority_unit(power_sum(priorities, alpha, scale)))


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [1e-300, 1.0, 1e12, 1e300])
def test_masses_are_whole_numbers_in_proportion_and_their_sum_is_within_its_bits(alpha: float, size: float) -> None:
    priorities = np.array([0.0, 1.0, 4.0, 9.0]) * size
    masses = unit_of(priorities, alpha).masses(priorities)
    assert (masses == np.rint(masses)).all()
    assert masses[0] == 0.0
    assert 2.0 ** (LEAST_BITS - 1) <= masses.sum() <= 2.0**MOST_BITS
    expected = np.array([1.0, 4.0, 9.0]) ** alpha
    np.testing.assert_allclose(masses[1:] / masses.sum(), expected / expected.sum(), rtol=1e-12)


def test_a_tiny_priority_has_a_unit_and_a_huge_one_does_not_overflow() -> None:
    unit = unit_of(np.array([1.0, 1e-30]), 1.0)
    assert unit.masses(np.array([1e-30, 0.0])).tolist() == [1.0, 0.0]
    assert np.isfinite(unit.masses(np.array([1e308]))).all()


def test_sums_over_parts_are_the_sum_over_all() -> None:
    priorities = np.random.default_rng(4).exponential(size=1_000)
    unit = unit_of(priorities, 0.6)
    masses = unit.masses(priorities)
    exact = sum(Fraction(mass) for mass in masses.tolist())
    assert masses.sum() == sum(part.sum() for part in np.array_split(masses[::-1], 7)) == exact


def test_another_shift_changes_no_bit_of_the_law_of_recency() -> None:
    timestamps = 1.7e9 + np.array([0.0, 10.0, 604_800.0, 6_048_000.5])
    masses = [recency_masses(timestamps, 604_800.0, shift) for shift in (2_800, 2_811)]
    assert (masses[0] == masses[1] * 2.0**11).all()
    assert masses[0][2] / masses[0][0] == pytest.approx(2.0, rel=1e-12)
