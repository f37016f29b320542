"""Exact base level and its hybrid: closed forms, limits, refusals. The reference values are in test_reference.py."""

import math
from typing import Any

import pytest

from dwell.activation.exact import base_level, optimized_base_level
from dwell.activation.petrov import hybrid_base_level
from dwell.errors import RecordError


def test_one_access_is_minus_d_ln_of_its_age() -> None:
    assert base_level([86_400.0], 0.5) == pytest.approx(-0.5 * math.log(86_400.0))
    assert base_level([7.0], 0.0) == 0.0


def test_amounts_weigh_accesses() -> None:
    assert base_level([4.0, 9.0], 0.5, amounts=[1.0, 0.0]) == pytest.approx(math.log(0.5))
    assert base_level([4.0, 9.0], 0.5, amounts=[2.0, 3.0]) == pytest.approx(math.log(2.0))


def test_another_unit_shifts_every_base_level_alike() -> None:
    ages_s = [100.0, 5_000.0, 1e6]
    in_days = base_level([age / 86_400.0 for age in ages_s], 0.3)
    assert in_days == pytest.approx(base_level(ages_s, 0.3) + 0.3 * math.log(86_400.0))


def test_the_hybrid_is_exact_where_it_keeps_everything() -> None:
    ages = [10.0, 40.0, 900.0]
    assert hybrid_base_level(ages, 3, 900.0, 0.5) == pytest.approx(base_level(ages, 0.5))


def test_the_hybrid_is_the_integral_of_even_accesses() -> None:
    # 1,000 accesses spread evenly beyond the latest: their mean is the mean of the kernel
    ages = [10.0, *(10.0 + (i + 0.5) * 990.0 / 1_000 for i in range(1_000))]
    assert hybrid_base_level([10.0], 1_001, 1_000.0, 0.5) == pytest.approx(base_level(ages, 0.5), abs=1e-4)


def test_the_hybrid_of_accesses_at_one_instant_has_its_limit() -> None:
    assert hybrid_base_level([50.0], 3, 50.0, 0.5) == pytest.approx(math.log(3.0 * 50.0**-0.5))


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: base_level([], 0.5), "ages_s"),
        (lambda: base_level([1.0, 0.0], 0.5), "ages_s[1]"),
        (lambda: base_level([math.inf], 0.5), "ages_s[0]"),
        (lambda: base_level(["1"], 0.5), "ages_s"),
        (lambda: base_level([True], 0.5), "ages_s"),
        (lambda: base_level([1.0], 1.0), "decay"),
        (lambda: base_level([1.0], -0.1), "decay"),
        (lambda: base_level([1.0], 0.5, amounts=[-1.0]), "amounts"),
        (lambda: base_level([1.0], 0.5, amounts=[0.0]), "amounts"),
        (lambda: base_level([1.0], 0.5, amounts=[1.0, 1.0]), "amounts"),
        (lambda: optimized_base_level(0, 5.0), "n_accesses"),
        (lambda: optimized_base_level(2, 0.0), "lifetime_s[0]"),
        (lambda: hybrid_base_level([5.0, 3.0], 2, 5.0), "latest_ages_s"),
        (lambda: hybrid_base_level([3.0, 5.0], 1, 5.0), "latest_ages_s"),
        (lambda: hybrid_base_level([3.0, 5.0], 3, 4.0), "latest_ages_s"),
    ],
)
def test_what_has_no_value_is_refused(call: Any, field: str) -> None:
    with pytest.raises(RecordError) as refused:
        call()
    assert refused.value.field == field
