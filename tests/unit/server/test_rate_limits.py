"""Rate limits: a window that moves, three of them at once, and a bound on what is remembered."""

import pytest

from dwell.server.rate_limits import Limiter, RateLimits


def limiter(at: list[float], **given: int) -> Limiter:
    return Limiter(RateLimits(**given), lambda: at[0])


def test_a_window_moves_and_says_when_there_is_room() -> None:
    at = [100.0]
    found = limiter(at, per_subject=3)
    for now in (100.0, 110.0, 120.0):
        at[0] = now
        assert found.check(subject="u") == (True, 0.0)
    at[0] = 130.0
    verdict = found.check(subject="u")
    assert verdict.allowed is False
    assert verdict.retry_after_s == pytest.approx(30.0)  # the first hit leaves at 160
    at[0] = 130.0 + verdict.retry_after_s
    assert found.check(subject="u").allowed
    assert not found.check(subject="u").allowed


def test_what_is_refused_costs_nothing_anywhere() -> None:
    at = [0.0]
    found = limiter(at, per_key=10, per_subject=1)
    assert found.check(key="k", subject="u").allowed
    for _ in range(50):
        assert not found.check(key="k", subject="u").allowed
    for n in range(9):
        assert found.check(key="k", subject=f"v{n}").allowed
    assert not found.check(key="k", subject="w").allowed


def test_a_batch_costs_its_items_and_one_over_the_limit_never_passes() -> None:
    at = [0.0]
    found = limiter(at, per_address=10)
    assert found.check(address="a", cost=7).allowed
    assert not found.check(address="a", cost=4).allowed
    assert found.check(address="a", cost=3).allowed
    assert not limiter(at, per_address=10).check(address="a", cost=11).allowed


def test_names_of_different_kinds_do_not_mix() -> None:
    found = limiter([0.0], per_key=1, per_address=1, per_subject=1)
    assert found.check(key="x").allowed
    assert found.check(address="x").allowed
    assert found.check(subject="x").allowed
    assert not found.check(subject="x").allowed


def test_a_flood_of_addresses_is_not_remembered_without_end() -> None:
    found = limiter([0.0], max_subjects=100, per_key=50)
    for n in range(1_000):
        found.check(key="k", address=f"a{n}")
    assert len(found) <= 100
    assert not found.check(key="k", address="b").allowed  # what is in use is not forgotten
