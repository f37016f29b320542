"""The memoryless law across rebases, and on the timestamps of today."""

import numpy as np
import pytest

from dwell.records import Experience
from dwell.replay import ReplayBuffer
from dwell.replay.laws import Laws
from dwell.replay.ring import IndexRow, Ring
from dwell.replay.samplers import REBASE_HALF_LIVES, RecencySampler

HALF_LIFE_S = 86_400.0 / 7.0  # no whole number of seconds, and no power of two


def ring_of(timestamps: np.ndarray) -> Ring:
    ring = Ring(timestamps.size)
    for seq, timestamp in enumerate(timestamps.tolist(), 1):
        ring.append(IndexRow(f"e{seq}", seq, timestamp, 1.0, 0.0, 0, None, None, 0))
    return ring


@pytest.mark.parametrize("n", [50, 3000])
@pytest.mark.parametrize("cap", [None, 1, 3])
def test_a_rebase_by_whole_half_lives_changes_no_bit_of_a_draw(n: int, cap: int | None) -> None:
    rng = np.random.default_rng(n)
    ring = ring_of(1.7e9 + 30 * HALF_LIFE_S * rng.random(n))
    newest = int(ring.timestamps.max() // HALF_LIFE_S)
    drawn = []
    for shift in (-60, -1, 0, 13, REBASE_HALF_LIVES):
        laws = Laws(ring, alpha=0.6, half_life_s=HALF_LIFE_S, scales={"recency": newest - shift})
        found = laws.sampler("recency").draw(n // 2, cap, np.random.default_rng(7))
        assert laws.scales()["recency"] == newest - shift
        parts = [found.slots, found.probabilities]
        drawn.append([part.tobytes() for part in parts])
    assert all(found == drawn[0] for found in drawn)


def test_time_that_runs_on_rebases_the_tree_and_the_law_stays_that_of_a_new_one() -> None:
    rng = np.random.default_rng(1)
    buffer = ReplayBuffer(300, half_life_s=HALF_LIFE_S, seed=3)
    scales = set()
    for i in range(900):
        at = 1.7e9 + i * HALF_LIFE_S / 3 + float(rng.random())
        buffer.add(Experience(f"e{i}", at, "", [], [], {}, {}, 0.0))
        if i % 50 == 49:
            timestamps = {item.event_id: item.timestamp for item in buffer}
            batch = buffer.sample(200, strategy="recency", rng=np.random.default_rng(i))
            fresh = Laws(buffer._in.ring, alpha=0.6, half_life_s=HALF_LIFE_S)
            found = fresh.sampler("recency").draw(200, None, np.random.default_rng(i))
            assert buffer._in.ring.seqs[found.slots].tolist() == batch.seqs.tolist()
            assert found.probabilities.tobytes() == batch.sampling_probabilities.tobytes()
            mass = {name: 2.0 ** ((t - at) / HALF_LIFE_S) for name, t in timestamps.items()}
            total = sum(mass.values())
            law = [mass[name] / total for name in batch.event_ids]
            assert batch.sampling_probabilities == pytest.approx(law, rel=1e-10)
            scales.add(buffer._in.laws.scales()["recency"])
    assert len(scales) > 2


def test_the_fraction_of_a_half_life_is_exact_far_from_the_epoch() -> None:
    # two events 1 ms apart in 2026, a half-life of 10 ms: their ratio is 2^0.1 but for the rounding of the timestamps
    base = 1_790_000_000.0
    times = np.array([base, base + 0.001])
    laws = Laws(ring_of(times), alpha=0.6, half_life_s=0.01)
    masses = laws.sampler("recency").masses()
    assert masses[1] / masses[0] == pytest.approx(2.0 ** (float(times[1] - times[0]) / 0.01), rel=1e-12)


def test_when_the_newest_leave_the_old_do_not_sink() -> None:
    buffer = ReplayBuffer(10, half_life_s=1.0, seed=0)
    for i, at in enumerate((10.0, 11.0, 5000.0, 5001.0)):
        buffer.add(Experience(f"e{i}", at, "", [], [], {}, {}, 0.0))
    assert set(buffer.sample(100, strategy="recency").event_ids) == {"e2", "e3"}
    buffer.remove("e2")
    buffer.remove("e3")
    batch = buffer.sample(100, strategy="recency")
    assert batch.sampling_probabilities == pytest.approx(
        [{"e0": 1 / 3, "e1": 2 / 3}[name] for name in batch.event_ids], rel=1e-12
    )


def test_the_probability_of_the_newest_is_that_of_the_law() -> None:
    times = 1.7e9 + HALF_LIFE_S * np.array([0.0, 0.3, 2.0, 5.5])
    sampler = RecencySampler(ring_of(times), HALF_LIFE_S)
    masses = 2.0 ** ((times - times[-1]) / HALF_LIFE_S)
    assert sampler.log2_probability_of_newest() == pytest.approx(np.log2(1.0 / masses.sum()), abs=1e-9)
