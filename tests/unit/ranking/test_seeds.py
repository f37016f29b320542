"""Streams that depend on names alone."""

import itertools

import numpy as np
import pytest
from scipy import stats

from dwell.ranking import named_generator


def first(secret: bytes, *parts: str | int) -> list[float]:
    return named_generator(secret, *parts).random(4).tolist()


def test_the_same_names_give_the_same_stream_whatever_was_drawn_before() -> None:
    expected = first(b"secret", 7, "event-1")
    named_generator(b"secret", 7, "event-2").random(1_000)
    assert first(b"secret", 7, "event-1") == expected


def test_another_secret_seed_or_event_gives_another_stream() -> None:
    keys = [(b"a", 0, "e"), (b"b", 0, "e"), (b"a", 1, "e"), (b"a", 0, "f"), (b"", 0, "e"), (b"a", "e", 0)]
    streams = [first(*key) for key in keys]
    assert all(x != y for x, y in itertools.combinations(streams, 2))


def test_parts_do_not_run_into_each_other() -> None:
    keys = [("ab",), ("a", "b"), ("a", "", "b"), ("a\x1fb",), ("a", "b", ""), (), ("",), ("1:a",), ("1:a", "1:b")]
    streams = [first(b"s", *key) for key in keys]
    assert all(x != y for x, y in itertools.combinations(streams, 2))


@pytest.mark.statistical
def test_streams_of_neighbouring_names_are_independent_and_uniform() -> None:
    # false-alarm rates: 1e-4 (Kolmogorov-Smirnov), and 4 standard errors (6e-5) for the correlation of 2,000 pairs
    draws = np.array([named_generator(b"s", "event", i).random(2) for i in range(2_000)])
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(draws[:-1, 0], draws[1:, 0])[0, 1]) < 4.0 / np.sqrt(2_000)


@pytest.mark.statistical
def test_who_does_not_know_the_secret_guesses_no_better_than_chance() -> None:
    # the same events under two secrets are uncorrelated: 4 standard errors, 6e-5
    mine = np.array([named_generator(b"mine", i).random() for i in range(2_000)])
    guess = np.array([named_generator(b"guess", i).random() for i in range(2_000)])
    assert abs(np.corrcoef(mine, guess)[0, 1]) < 4.0 / np.sqrt(2_000)
