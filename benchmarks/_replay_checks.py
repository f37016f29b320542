"""Is what is timed what it should be? Rows, law, weights and updates of every buffer, checked beforehand."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from _replay_rows import N_TEMPLATE, Block, numbers_of
from _replay_systems import ALPHA, BETA, System

N_DRAWN: Final = 1_024  # per batch
N_COMPARED: Final = 3  # batches whose rows are compared bit by bit
N_RAISED: Final = 256  # rows whose priority is changed, to see whether that is followed
RAISED_TO: Final = 100.0  # 16 times an ordinary one at alpha 0.6, so these rows stand out
MOST_MASS_OFF: Final = 0.01  # ten standard errors of a decile's share in 100 batches of independent draws
MOST_WEIGHT_OFF: Final = 0.02  # relative; cpprb adds 1e-4 to priorities that are at least 0.01


class Check(NamedTuple):
    """What came of checking one system.

    Attributes:
        name: The system.
        are_rows_equal: Whether every gathered row equals the stored one.
        mass_off: Largest difference between the drawn and the exact share of a decile of priorities.
        weight_off: Largest relative difference from P^-beta, up to a factor that all rows share.
        raised_off: Difference between drawn and exact share of the rows whose priority was raised.
    """

    name: str
    are_rows_equal: bool
    mass_off: float
    weight_off: float
    raised_off: float

    @property
    def is_sound(self) -> bool:
        """Whether its figures mean anything."""
        is_law_right = max(self.mass_off, self.raised_off) <= MOST_MASS_OFF
        return self.are_rows_equal and is_law_right and self.weight_off <= MOST_WEIGHT_OFF

    def __str__(self) -> str:
        return (
            f"{'sound' if self.is_sound else '**NOT SOUND**'}: rows {'equal' if self.are_rows_equal else 'DIFFER'}, "
            f"mass per decile within {self.mass_off:.4f} of the exact, weights within {self.weight_off:.1e}, "
            f"share of {N_RAISED} rows after their update within {self.raised_off:.4f}"
        )


def check(
    name: str,
    system: System,
    pattern: Block,
    priorities: npt.NDArray[np.float64],
    *,
    n_batches: int,
    rng: np.random.Generator,
) -> Check:
    """Return what came of drawing from a freshly filled system; its priorities are afterwards as before.

    Args:
        name: For the report.
        system: Holds rows 0 to n - 1, oldest first.
        pattern: What its rows repeat.
        priorities: float64 (n,), as they were given.
        n_batches: Batches drawn, twice.
        rng: Which rows are raised.
    """
    n = priorities.size
    masses = priorities**ALPHA
    decile = np.empty(n, dtype=np.int64)
    decile[np.argsort(priorities, kind="stable")] = np.arange(n) * 10 // n
    exact = np.bincount(decile, masses, 10) / masses.sum()
    counts = np.zeros(10)
    are_equal, weight_off = True, 0.0
    for i in range(n_batches):
        drawn = system.draw(N_DRAWN)
        numbers = numbers_of(drawn.columns["timestamp"])
        counts += np.bincount(decile[numbers], minlength=10)
        factors = np.asarray(drawn.weights, dtype=np.float64).reshape(-1) * masses[numbers] ** BETA
        weight_off = max(weight_off, float(factors.max() / factors.min() - 1.0))
        if i < N_COMPARED:
            are_equal = are_equal and _are_equal(drawn.columns, pattern, numbers, system.layout.columns)
    mass_off = float(np.abs(counts / counts.sum() - exact).max())

    raised = np.sort(rng.choice(n, min(N_RAISED, n // 10), replace=False))
    keys = system.keys_at(raised)
    system.update(keys, system.as_priorities(np.full(raised.size, RAISED_TO)))
    share = raised.size * RAISED_TO**ALPHA
    share /= share + masses.sum() - masses[raised].sum()
    is_raised = np.zeros(n, dtype=bool)
    is_raised[raised] = True
    found = [is_raised[numbers_of(system.draw(N_DRAWN).columns["timestamp"])].mean() for _ in range(n_batches)]
    system.update(keys, system.as_priorities(priorities[raised]))
    return Check(name, are_equal, mass_off, weight_off, abs(float(np.mean(found)) - share))


def _are_equal(columns: Any, pattern: Block, numbers: npt.NDArray[np.int64], names: Any) -> bool:  # noqa: ANN401 - anybody's
    at = numbers % N_TEMPLATE
    for name in names:
        if name != "timestamp":
            stored = pattern[name].take(at, axis=0)
            gathered = np.asarray(columns[name])
            # a number is (b, 1) in some; an unsigned one is signed in some: the same bits
            if gathered.astype(stored.dtype).tobytes() != stored.tobytes():
                return False
    return True
