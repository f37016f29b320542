import json
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest

from dwell.errors import ConfigError, ReplayError
from dwell.replay import RateMeter, version_ages


def test_a_new_meter_has_seen_nothing() -> None:
    meter = RateMeter()
    assert (meter.n_inserted, meter.n_sampled, meter.size) == (0, 0, 0)
    assert (meter.samples_per_insert, meter.replay_ratio) == (0.0, 0.0)
    assert meter.allowed(5) == 0  # min_size is 1, and nothing is there
    assert not meter.is_behind


def test_without_a_limit_everything_is_allowed_once_min_size_is_there() -> None:
    meter = RateMeter(min_size=3).inserted(2)
    assert meter.allowed(10) == 0
    meter = meter.inserted()
    assert meter.allowed(10) == 10
    assert meter.sampled(10**9).allowed(10) == 10
    # it is those who are there that count, not those who were
    assert meter.removed(1).allowed(10) == 0


def test_samples_never_exceed_the_limit_however_inserts_and_samples_alternate() -> None:
    rng = np.random.default_rng(0)
    ratio, around, min_size = 2.5, 4.0, 3
    meter = RateMeter(max_samples_per_insert=ratio, error_buffer=around, min_size=min_size)
    n_drawn = 0
    for _ in range(500):
        meter = meter.inserted(int(rng.integers(0, 3)))
        n = meter.allowed(int(rng.integers(0, 20)))
        meter = meter.sampled(n)
        n_drawn += n
        if n:
            # lowest difference allowed: ratio * min_size - around
            assert meter.n_inserted * ratio - meter.n_sampled >= ratio * min_size - around
    assert meter.n_sampled == n_drawn > 0
    assert meter.samples_per_insert == n_drawn / meter.n_inserted


def test_what_is_allowed_is_all_that_is_allowed() -> None:
    # difference 10 * 2 - 5 = 15, lowest 2 * 1 - 2 = 0: 15 more, and then none
    meter = RateMeter(max_samples_per_insert=2.0).inserted(10).sampled(5)
    assert meter.allowed(100) == 15
    assert meter.allowed(7) == 7
    assert meter.sampled(15).allowed(1) == 0
    assert meter.sampled(15).inserted(1).allowed(100) == 2


def test_inserts_are_never_held_up() -> None:
    meter = RateMeter(max_samples_per_insert=1.0, error_buffer=2.0, min_size=1)
    for n in range(1, 50):
        meter = meter.inserted()
        assert meter.n_inserted == n
    # Reverb would have stopped at a difference of 1 + 2; here it is said
    assert meter.is_behind
    assert not meter.sampled(46).is_behind  # 49 - 46 = 3


def test_more_than_was_allowed_is_counted_all_the_same() -> None:
    meter = RateMeter(max_samples_per_insert=1.0).inserted(1).sampled(100)
    assert (meter.n_sampled, meter.allowed(1)) == (100, 0)
    assert meter.inserted(100).allowed(1) == 1


def test_the_ratio_of_the_window_forgets_what_the_whole_ratio_keeps() -> None:
    meter = RateMeter(window=32)
    for _ in range(100):
        meter = meter.inserted().sampled(8)
    for _ in range(64):
        meter = meter.inserted().sampled(1)
    assert meter.samples_per_insert == (100 * 8 + 64) / 164
    # with a window of 32 the marks are one insert apart: exactly the last 32, one sample each
    assert meter.replay_ratio == 1.0


def test_the_ratio_of_the_window_is_known_to_a_part_in_32() -> None:
    rng = np.random.default_rng(1)
    meter = RateMeter(window=100)  # marks at least ceil(100 / 32) = 4 inserts apart
    drawn = []
    for _ in range(1_000):
        drawn.append(int(rng.integers(0, 5)))
        meter = meter.inserted().sampled(drawn[-1])
        if len(drawn) >= 104:
            possible = [sum(drawn[-n:]) / n for n in range(100, 105)]
            assert any(meter.replay_ratio == pytest.approx(ratio, rel=1e-12) for ratio in possible)
        assert len(meter.to_state()["marks"]) <= 34


def test_one_large_insert_is_a_window_of_its_own() -> None:
    meter = RateMeter(window=10).inserted(5).sampled(50).inserted(1_000).sampled(500)
    assert meter.replay_ratio == 0.5


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"max_samples_per_insert": 4.0, "error_buffer": 3.9}, "at least 8 wide"),
        ({"max_samples_per_insert": 0.5, "error_buffer": 0.9}, "at least 2 wide"),
        ({"max_samples_per_insert": 1.0, "error_buffer": (0.0, 1.9), "min_size": 1}, "at least 2 wide"),
        ({"max_samples_per_insert": 1.0, "error_buffer": (0.0, 9.0), "min_size": 10}, "reach up to 10"),
        ({"max_samples_per_insert": 1.0, "error_buffer": (11.0, 20.0), "min_size": 10}, "reach down to 10"),
    ],
    ids=["narrow", "narrow below one", "narrow pair", "ends too early", "begins too late"],
)
def test_a_range_that_could_dead_lock_is_refused(how: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        RateMeter(**how)
    assert caught.value.field == "error_buffer"


def test_every_range_that_is_taken_lets_both_sides_go_on() -> None:
    # a learner that waits for whole batches of 1, and a program that inserts one only when the learner must wait
    rng = np.random.default_rng(2)
    n_taken = 0
    for _ in range(300):
        ratio, min_size = float(rng.uniform(0.1, 5.0)), int(rng.integers(1, 20))
        low = float(rng.uniform(-20.0, 80.0))
        try:
            meter = RateMeter(
                max_samples_per_insert=ratio, error_buffer=(low, low + float(rng.uniform(0, 40))), min_size=min_size
            )
        except ConfigError:
            continue
        n_taken += 1
        for _ in range(200):
            n = meter.allowed(1)
            meter = meter.sampled(n) if n else meter.inserted()
        # at the latest when the difference has grown by one sample beyond min_size: 1 / 0.1 inserts more
        assert meter.n_sampled > 0
    assert n_taken > 20


@pytest.mark.parametrize(
    ("field", "how"),
    [
        ("max_samples_per_insert", {"max_samples_per_insert": 0.0}),
        ("max_samples_per_insert", {"max_samples_per_insert": float("nan")}),
        ("error_buffer", {"max_samples_per_insert": 1.0, "error_buffer": float("inf")}),
        ("error_buffer", {"max_samples_per_insert": 1.0, "error_buffer": (1.0, 2.0, 3.0)}),
        ("error_buffer", {"error_buffer": 5.0}),
        ("min_size", {"min_size": 0}),
        ("window", {"window": 0}),
        ("n_sampled", {"n_sampled": -1}),
        ("n_removed", {"n_removed": 1}),
    ],
    ids=[f"case-{i}" for i in range(9)],
)
def test_a_setting_out_of_range_is_named(field: str, how: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        RateMeter(**how)
    assert caught.value.field == field


@pytest.mark.parametrize("note", ["inserted", "removed", "sampled", "allowed"])
@pytest.mark.parametrize("n", [-1, 1.5, True, "2"], ids=["negative", "fraction", "bool", "text"])
def test_a_count_that_is_none_changes_nothing(note: str, n: object) -> None:
    meter = RateMeter().inserted(5)
    with pytest.raises(ReplayError):
        getattr(meter, note)(n)
    assert meter == RateMeter().inserted(5)


def test_no_more_leave_than_are_there() -> None:
    with pytest.raises(ReplayError):
        RateMeter().inserted(3).removed(4)


def test_a_meter_is_a_value() -> None:
    meter = RateMeter().inserted(1)
    assert meter.inserted(2).n_inserted == 3
    assert meter.n_inserted == 1
    with pytest.raises(FrozenInstanceError):
        meter.n_inserted = 9  # type: ignore[misc]


def test_a_saved_meter_goes_on_as_if_nothing_had_happened() -> None:
    meter = RateMeter(max_samples_per_insert=3.0, error_buffer=(-5.0, 9.0), min_size=2, window=7)
    for i in range(30):
        meter = meter.inserted(2).sampled(i % 5)
    twin = RateMeter.from_state(json.loads(json.dumps(meter.removed(3).to_state())))
    meter = meter.removed(3)
    for i in range(30):
        assert twin == meter
        assert (twin.allowed(99), twin.replay_ratio) == (meter.allowed(99), meter.replay_ratio)
        meter, twin = meter.inserted(1).sampled(i % 4), twin.inserted(1).sampled(i % 4)


@pytest.mark.parametrize(
    "change",
    [
        {"marks": []},
        {"marks": [[5, 0], [1, 0]]},
        {"marks": [[0, 99]]},
        {"marks": None},
        {"n_inserted": "ten"},
        {"window": 0},
    ],
    ids=["no marks", "marks that shrink", "marks ahead", "none", "text", "window"],
)
def test_a_malformed_state_is_refused(change: dict[str, Any]) -> None:
    state = RateMeter().inserted(3).sampled(4).to_state()
    with pytest.raises(ReplayError) as caught:
        RateMeter.from_state(state | change)
    assert caught.value.code == "state"


def test_a_state_that_lacks_something_is_refused() -> None:
    for name in RateMeter().to_state():
        state = RateMeter().to_state()
        del state[name]
        with pytest.raises(ReplayError):
            RateMeter.from_state(state)


# ---- ages of params versions


def test_version_ages_by_hand() -> None:
    # 3 rows of version 2 and 1 of version 7, live is 9: ages 7, 7, 7, 2
    ages = version_ages([2, 7, 1], [3, 1, 0], live=9)
    assert ages is not None
    assert (ages.oldest, ages.oldest_age, ages.mean_age, ages.n) == (2, 7, 23 / 4, 4)


def test_after_a_rollback_a_newer_version_is_no_age() -> None:
    assert version_ages(np.array([5]), np.array([2]), live=3) == (5, 0, 0.0, 2)


def test_without_rows_there_is_no_age() -> None:
    assert version_ages([], [], live=1) is None
    assert version_ages([4], [0], live=5) is None


@pytest.mark.parametrize(
    ("field", "versions", "counts"),
    [("versions", [-1], [1]), ("versions", [1.5], [1]), ("counts", [1], [1, 2]), ("counts", [1], [-2])],
    ids=["negative version", "fraction", "lengths", "negative count"],
)
def test_malformed_versions_are_named(field: str, versions: list[Any], counts: list[Any]) -> None:
    with pytest.raises(ReplayError) as caught:
        version_ages(versions, counts, live=1)
    assert caught.value.field == field
