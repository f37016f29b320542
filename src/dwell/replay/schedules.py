"""How strongly a batch is corrected for its sampler, step by step: the exponent beta of the sampling weights.

`ReplayBuffer.sample(beta=...)` takes a number; a schedule says which one is due at a step, and counts nothing itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from dwell.replay.arguments import one_of, real, whole

__all__ = ["BetaSchedule"]

# Schaul et al. 2015, table 3: where beta starts in each of the two variants; it ends at 1
_SCHAUL_START: Final = {"priority": 0.4, "rank": 0.5}


@dataclass(frozen=True, slots=True)
class BetaSchedule:
    """A straight line from `start` to `end` over `n_steps` steps, and `end` ever after.

    Attributes:
        start: Beta at step 0, in [0, 1].
        end: Beta from step `n_steps` on, in [0, 1].
        n_steps: Steps from the one to the other, >= 0; with 0 it is `end` at once.

    Raises:
        ReplayError: A value is out of range; names it.
    """

    start: float
    end: float
    n_steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", real(self.start, "start", 0.0, 1.0))
        object.__setattr__(self, "end", real(self.end, "end", 0.0, 1.0))
        object.__setattr__(self, "n_steps", whole(self.n_steps, "n_steps", 0, 2**63 - 1))

    @classmethod
    def constant(cls, beta: float) -> Self:
        """Return the same beta for every step.

        Raises:
            ReplayError: `beta` is not in [0, 1].
        """
        checked = real(beta, "beta", 0.0, 1.0)
        return cls(checked, checked, 0)

    @classmethod
    def linear(cls, start: float, end: float, n_steps: int) -> Self:
        """Return a line; unlike the constructor it demands at least one step.

        Raises:
            ReplayError: A value is out of range; names it.
        """
        return cls(start, end, whole(n_steps, "n_steps", 1, 2**63 - 1))

    @classmethod
    def schaul(cls, n_steps: int, *, strategy: str = "priority") -> Self:
        """Return the annealing of the paper: from 0.4 ("priority") or 0.5 ("rank") to 1 over the whole of learning.

        Source:
            Schaul et al. 2015, "Prioritized Experience Replay", section 3.4 and table 3.

        Raises:
            ReplayError: There is no such variant, or `n_steps` is no int >= 1.
        """
        one_of(strategy, "strategy", tuple(_SCHAUL_START))
        return cls.linear(_SCHAUL_START[strategy], 1.0, n_steps)

    def at(self, step: int) -> float:
        """Return beta at a step, counted from 0; in [0, 1].

        Raises:
            ReplayError: `step` is no int >= 0.
        """
        step = whole(step, "step", 0, 2**63 - 1)
        if step >= self.n_steps:
            return self.end
        return self.start + (self.end - self.start) * (step / self.n_steps)
