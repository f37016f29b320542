"""Rendezvous hashing: adding or removing one of n shards moves a share of 1/n, and only to it or from it."""

import numpy as np
import pytest

from dwell.cluster.placement import Placement, keys_of
from dwell.errors import ConfigError, RecordError

SALT = b"salt"


def keys(n: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64)


def names(n: int) -> tuple[str, ...]:
    return tuple(f"s{i}" for i in range(n))


def owners(placement: Placement, of: np.ndarray) -> np.ndarray:
    return np.array(placement.shards)[placement.shards_of(of)]


def test_one_key_and_many_say_the_same() -> None:
    placement, some = Placement(names(5), SALT), keys(50)
    assert [placement.shard_of(int(key)) for key in some] == owners(placement, some).tolist()


@pytest.mark.parametrize("n", [1, 2, 4, 9])
def test_a_shard_that_comes_takes_keys_and_nobody_else_gets_any(n: int) -> None:
    some = keys(20_000)
    before, after = owners(Placement(names(n), SALT), some), owners(Placement(names(n + 1), SALT), some)
    moved = before != after
    assert set(after[moved]) == {f"s{n}"}
    # binomial: five standard errors are passed by chance once in two million
    share = 1.0 / (n + 1)
    assert abs(moved.mean() - share) < 5.0 * np.sqrt(share * (1.0 - share) / some.size)


def test_a_shard_that_goes_gives_its_keys_and_nobody_else_loses_any() -> None:
    some, whole = keys(20_000), Placement(names(5), SALT)
    before = owners(whole, some)
    after = owners(whole.with_shards("s0", "s1", "s3", "s4"), some)
    assert (before[before != after] == "s2").all()
    assert "s2" not in after
    # what it had goes to all of the others in equal parts: chi-square with 3 degrees, .9999 quantile 21.1
    counts = np.unique(after[before == "s2"], return_counts=True)[1]
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 21.1


def test_every_shard_has_its_part() -> None:
    counts = np.bincount(Placement(names(8), SALT).shards_of(keys(40_000)), minlength=8)
    # chi-square with 7 degrees, .9999 quantile 29.9
    assert ((counts - 5_000.0) ** 2 / 5_000.0).sum() < 29.9


def test_keys_that_count_up_are_spread_as_well() -> None:
    counts = np.bincount(Placement(names(4), SALT).shards_of(np.arange(40_000, dtype=np.uint64)), minlength=4)
    assert ((counts - 10_000.0) ** 2 / 10_000.0).sum() < 21.1


def test_neither_the_order_of_names_nor_the_process_decides_but_the_salt_does() -> None:
    some = keys(500)
    placed = owners(Placement(("a", "b", "c"), SALT), some)
    assert (owners(Placement(("c", "a", "b"), SALT), some) == placed).all()
    assert (owners(Placement(("a", "b", "c"), b"other"), some) != placed).any()


def test_a_user_and_a_query_with_the_same_hash_are_two_keys() -> None:
    found = keys_of(np.array([True, False]), np.array([7, 0], np.uint64), np.array([1, 7], np.uint64))
    assert found[0] == 7
    assert found[1] != 7


@pytest.mark.parametrize("shards", [(), ("a", "a"), tuple(f"s{i}" for i in range(1_025))])
def test_no_shard_twice_the_same_or_too_many_are_refused(shards: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="shards"):
        Placement(shards, SALT)


def test_a_name_that_is_none_and_a_salt_that_is_none_are_refused() -> None:
    with pytest.raises(RecordError, match="shards"):
        Placement(("a", ""), SALT)
    with pytest.raises(ConfigError, match="salt"):
        Placement(("a",), b"")
