"""Decisions about the next attempt, without a clock: bounds by hypothesis, the law of the waits by their mean."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.client.retrying import (
    FIRST_OPEN_S,
    MOST_OPEN_S,
    N_FAILURES,
    Circuit,
    Patience,
    admitted,
    after_failure,
    after_success,
    next_delay_s,
)

PATIENCE = Patience(budget_s=10.0, attempts=5, base_s=0.1, cap_s=0.3)


@given(
    attempt=st.integers(1, 2_000), seed=st.integers(0, 2**32), left_s=st.floats(-1.0, 100.0),
    wanted=st.none() | st.floats(0.0, 100.0),
)  # fmt: skip
def test_a_wait_is_bounded_and_ends_before_the_budget(
    attempt: int, seed: int, left_s: float, wanted: float | None
) -> None:
    delay = next_delay_s(attempt, random.Random(seed), PATIENCE, left_s=left_s, retry_after_s=wanted)
    if delay is None:
        longest = min(0.3, 0.1 * 2 ** (attempt - 1)) if attempt < 5 else 0.0
        assert attempt >= 5 or (wanted or 0.0) + longest >= left_s
    else:
        assert attempt < 5
        assert (wanted or 0.0) <= delay < left_s
        assert delay <= (wanted or 0.0) + min(0.3, 0.1 * 2 ** (attempt - 1))


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.1), (2, 0.2), (3, 0.3), (4, 0.3)])
def test_waits_are_uniform_from_zero(attempt: int, longest: float) -> None:
    rng = random.Random(5)
    n = 4_000
    found = [next_delay_s(attempt, rng, PATIENCE, left_s=10.0) or 0.0 for _ in range(n)]
    # the mean of n uniforms on [0, L] has the standard error L / sqrt(12 n); five of them with a fixed seed
    assert abs(sum(found) / n - longest / 2) < 5 * longest / (12 * n) ** 0.5
    assert min(found) < 0.01 * longest
    assert max(found) > 0.99 * longest


def failed(circuit: Circuit, n: int, now: float, rng: random.Random) -> Circuit:
    for _ in range(n):
        circuit = after_failure(circuit, now, rng)
    return circuit


def test_it_opens_at_the_fifth_failure_in_a_row() -> None:
    rng = random.Random(1)
    almost = failed(Circuit(), N_FAILURES - 1, 10.0, rng)
    assert admitted(almost, 10.0) == almost
    assert admitted(failed(almost, 1, 10.0, rng), 10.0) is None
    assert admitted(failed(after_success(), N_FAILURES - 1, 10.0, rng), 10.0) is not None


@given(seed=st.integers(0, 2**32), now=st.floats(0.0, 1e6))
def test_one_probe_goes_out_when_the_pause_is_over(seed: int, now: float) -> None:
    rng = random.Random(seed)
    opened = failed(Circuit(), N_FAILURES, now, rng)
    assert 0.5 * FIRST_OPEN_S <= opened.open_until - now + 1e-9 <= FIRST_OPEN_S + 2e-9
    probing = admitted(opened, opened.open_until)
    assert probing is not None
    assert admitted(probing, opened.open_until) is None  # the others wait for it
    assert admitted(probing, opened.open_until + FIRST_OPEN_S) is not None  # but not for ever
    assert admitted(after_success(), opened.open_until) == Circuit()


def test_pauses_double_up_to_half_a_minute_and_stragglers_lengthen_none() -> None:
    rng = random.Random(2)
    now = 0.0
    circuit = failed(Circuit(), N_FAILURES, now, rng)
    for n_probes in range(1, 40):
        straggled = failed(circuit, 100, now, rng)
        assert straggled == circuit
        now = circuit.open_until
        probing = admitted(circuit, now)
        assert probing is not None
        circuit = after_failure(probing, now, rng)
        longest = min(MOST_OPEN_S, FIRST_OPEN_S * 2**n_probes)
        assert 0.5 * longest <= circuit.open_until - now <= longest
