"""pyactup itself as the oracle, where it is right, and shown to be wrong where it is."""

import math

import numpy as np
import pyactup
import pytest

from dwell.activation import blended, exact, petrov


def remembered(times: list[float], now: float, decay: float, *, optimized: object = False) -> float:
    """Return pyactup's base level of one chunk."""
    memory = pyactup.Memory(noise=0.0, temperature=1.0, decay=decay, optimized_learning=optimized)
    memory.advance(times[0])
    for time, following in zip(times, [*times[1:], now], strict=True):
        assert memory.time == pytest.approx(time)
        memory.learn({"it": "is"})
        memory.advance(following - time)
    memory.activation_history = []
    memory.retrieve({"it": "is"})
    return float(memory.activation_history[0]["base_level_activation"])


@pytest.mark.parametrize("seed", range(12))
def test_exact_and_optimized_agree_with_pyactup(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.choice(100_000, int(rng.integers(1, 80)), replace=False)).astype(float).tolist()
    now, decay = times[-1] + float(rng.integers(1, 10_000)), float(rng.uniform(0.1, 0.9))
    ages = [now - time for time in times]
    assert exact.base_level(ages, decay) == pytest.approx(remembered(times, now, decay), abs=1e-9)
    optimized = exact.optimized_base_level(len(times), ages[0], decay)
    assert optimized == pytest.approx(remembered(times, now, decay, optimized=True), abs=1e-9)


def test_blending_agrees_with_pyactup() -> None:
    rng = np.random.default_rng(3)
    memory = pyactup.Memory(noise=0.0, temperature=0.7, decay=0.4)
    values, ages = rng.integers(-9, 9, 20).astype(float), []
    for value in values:
        memory.learn({"option": "x", "value": float(value), "which": len(ages)})
        memory.advance(float(rng.integers(1, 50)))
        ages.append(memory.time)
    now = memory.time
    born = [0.0, *ages[:-1]]
    levels = [exact.base_level([now - time], 0.4) for time in born]
    assert blended(values, levels, 0.7) == pytest.approx(memory.blend("value", {"option": "x"}), abs=1e-9)


def test_pyactups_hybrid_depends_on_when_the_clock_was_started_and_ours_does_not() -> None:
    found = [remembered([t0, t0 + 90.0], t0 + 100.0, 0.5, optimized=1) for t0 in (0.0, 50.0, 1_000.0, 100_000.0)]
    assert max(found) - min(found) > 0.2  # a base level that moves with the origin of time
    formula = petrov.hybrid_base_level([10.0], 2, 100.0, 0.5)
    older = (math.sqrt(100.0) - math.sqrt(10.0)) / (0.5 * (100.0 - 10.0))
    assert formula == pytest.approx(math.log(10.0**-0.5 + older), abs=1e-12)
    assert min(abs(value - formula) for value in found) > 0.1
