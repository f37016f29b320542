"""What is read out of a history: activation with its floors, features, explanations, dates. Reading changes nothing."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol

import numpy as np

from dwell.activation.explain import Explanation, shares
from dwell.activation.forgetting import first_below
from dwell.activation.instants import NEVER_US, US_PER_S
from dwell.activation.rewarded import Prior, need_odds
from dwell.activation.table import TraceTable
from dwell.records.arrays import FloatArray, IntArray

if TYPE_CHECKING:
    from dwell.activation.ladder import Ladder

__all__ = ["FEATURES", "Channels", "Kept", "Meaning", "Reading"]

Meaning = Literal["traces", "exact", "petrov"]
Channels = Literal["reward", "access"]

# what enters ranking, to be logged with the served list: computed later it would know the future
FEATURES: Final = ("act.activation", "act.evidence", "act.age_s")


class Kept(Protocol):
    """What each meaning keeps of items: `TraceTable`, `ExactHistories` or `LatestAccesses`."""

    pins: dict[str, float]

    def __len__(self) -> int: ...
    def __contains__(self, item: object) -> bool: ...
    @property
    def known(self) -> Container[str]:
        """The items, to look one up."""
        ...

    def items(self) -> list[str]:
        """Return the items."""
        ...

    def add(self, items: Sequence[str], at_us: IntArray | int, amounts: FloatArray) -> None:
        """Add events."""
        ...

    def masses(self, items: Sequence[str] | None, now_us: int | IntArray, decay: float) -> FloatArray:
        """Return P and E."""
        ...

    def last_us(self, items: Sequence[str]) -> IntArray:
        """Return the latest instants."""
        ...

    def remove(self, items: Sequence[str]) -> int:
        """Forget items."""
        ...

    def pin(self, item: str, floor: float = ...) -> None:
        """Keep an item."""
        ...

    def merge(self, other: Any) -> None:  # noqa: ANN401 - of the same class; who calls has looked
        """Add the events of another history."""
        ...

    def unpin(self, item: str) -> bool:
        """Let an item go."""
        ...


class Reading(NamedTuple):
    """A history, and how it is read.

    Attributes:
        kept: The history.
        decay: d.
        meaning: Of base level.
        channels: Which enter activation.
        prior: Of items without a history.
        ladder: Of traces.
    """

    kept: Kept
    decay: float
    meaning: Meaning
    channels: Channels
    prior: Prior
    ladder: Ladder

    def bare(self, masses: FloatArray) -> FloatArray:
        """Return A of masses (n, 2), (n,), without floors."""
        if self.channels == "access":
            return log_of(masses[:, 0])
        alpha, beta = self.prior.masses(self.decay)
        return need_odds(masses[:, 0], masses[:, 1], alpha, beta)

    def activation(self, items: Sequence[str] | None, masses: FloatArray) -> FloatArray:
        """Return A of masses (n, 2) of these items, (n,), at least their floors."""
        found, pins = self.bare(masses), self.kept.pins
        if pins:
            for place, item in enumerate(self.kept.items() if items is None else items):
                if item in pins:
                    found[place] = max(found[place], pins[item])
        return found

    def features(self, items: Sequence[str] | None, now_us: int) -> FloatArray:
        """Return A, ln(1 + E) and the seconds since the latest event, (n, 3)."""
        masses = self.kept.masses(items, now_us, self.decay)
        last = self.kept.last_us(self.kept.items() if items is None else items)
        age_s = np.where(last > 0, np.maximum(now_us - last, 0) / US_PER_S, 0.0)
        return np.column_stack([self.activation(items, masses), np.log1p(masses[:, 1]), age_s])

    def forget_us(self, items: Sequence[str], threshold: float, *, of_activation: bool) -> IntArray:
        """Return when each item falls below a threshold, (n,); never where it is pinned."""
        may_rise = of_activation and self.channels == "reward"

        def curve(at_us: IntArray) -> FloatArray:
            masses = self.kept.masses(items, at_us, self.decay)
            return self.bare(masses) if may_rise else log_of(masses[:, 0])

        found = first_below(curve, self.kept.last_us(items), threshold, is_falling=not may_rise)
        is_pinned = np.array([item in self.kept.pins for item in items], dtype=np.bool_)
        return np.where(is_pinned, NEVER_US, found)

    def explanation(self, item: str, now_us: int, threshold: float | None) -> Explanation:
        """Return what went into the activation of one item."""
        masses = self.kept.masses([item], now_us, self.decay)
        bare, reward = float(self.bare(masses)[0]), float(masses[0, 0])
        alpha, beta = self.prior.masses(self.decay) if self.channels == "reward" else (0.0, 0.0)
        last = int(self.kept.last_us([item])[0])
        forget = NEVER_US if threshold is None else int(self.forget_us([item], threshold, of_activation=False)[0])
        floor = self.kept.pins.get(item, -np.inf)
        traces = self.kept.traces_of([item], now_us)[0] if isinstance(self.kept, TraceTable) else None
        return Explanation(
            item=item,
            now_us=now_us,
            activation=max(bare, floor),
            without_floor=bare,
            base_level=float(log_of(masses[:, 0])[0]),
            reward_mass=reward,
            exposure_mass=float(masses[0, 1]),
            prior_reward=alpha,
            prior_exposure=alpha + beta,
            prior_share=alpha / (alpha + reward) if alpha > 0.0 else 0.0,
            timescales=() if traces is None else shares(traces, self.decay, self.ladder),
            last_us=last or None,
            forget_us=None if forget == NEVER_US else forget,
            threshold=threshold,
            is_pinned=item in self.kept.pins,
            floor=None if floor == -np.inf else floor,
            decay=self.decay,
            meaning=self.meaning,
            ladder=None if traces is None else f"{self.ladder.ladder_id}/{self.ladder.version}",
        )


def log_of(masses: FloatArray) -> FloatArray:
    """Return ln of masses, -inf where there is none."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(masses))
