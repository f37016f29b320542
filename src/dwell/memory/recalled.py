"""What a memory answers, as frozen values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dwell.activation import Explanation

__all__ = ["Kept", "Recall", "Remembered", "Standing", "Why"]


@dataclass(frozen=True, slots=True)
class Kept:
    """One memory, as it is kept.

    Attributes:
        id: Its id.
        text: What it says.
        metadata: Whatever was given with it.
        added_at: When it was added, or its text last replaced, UTC epoch seconds.
        is_pinned: Whether it stands first where it matches, and never goes by age or number.
    """

    id: str
    text: str
    metadata: Mapping[str, Any]
    added_at: float
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Remembered:
    """One memory that was recalled.

    Attributes:
        id: Its id; give it to `Memory.feedback` as `item`.
        text: What it says.
        score: Its score by the params that ordered the list.
        propensity: Probability that it was drawn for its place after those above it; 1 where nothing was drawn.
        metadata: Whatever was given with it.
        is_pinned: Whether it was put where it stands because it is pinned and matches.
        added_at: When it was added, UTC epoch seconds.
    """

    id: str
    text: str
    score: float
    propensity: float
    metadata: Mapping[str, Any]
    is_pinned: bool
    added_at: float


@dataclass(frozen=True, slots=True)
class Recall:
    """What a search found, best first.

    Attributes:
        event_id: Identity of the list, for `Memory.feedback`; None for a peek, and where nothing was found.
        items: The memories.
        params_version: Version of the params that ordered them.
        fallback: None, or the code of what went wrong: then the starting order is shown and nothing is learned from it.
    """

    event_id: str | None
    items: tuple[Remembered, ...]
    params_version: int
    fallback: str | None = None

    def __iter__(self) -> Iterator[Remembered]:
        """Yield the memories, best first."""
        return iter(self.items)

    def __len__(self) -> int:
        """Return how many were found."""
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Standing:
    """Why a memory stood where it stood.

    Attributes:
        id: Its id.
        text: What it says; None where it is forgotten.
        place: As shown, from 1; None for one that was looked at and not shown.
        parts: {feature: by how much it lifted it above the mean of those looked at, in standard deviations of their
            scores} by the params that ordered the list.
        activation: What went into its activation as of now.
        is_pinned: Whether it is pinned now.
    """

    id: str
    text: str | None
    place: int | None
    parts: Mapping[str, float]
    activation: Explanation
    is_pinned: bool


@dataclass(frozen=True, slots=True)
class Why:
    """Why a list stood as it stood, and what came of it.

    Attributes:
        event_id: The list.
        query: What was asked.
        params_version: What ordered it.
        weights: {feature: weight} of these params.
        items: Those shown in their order, then those that were only looked at.
        story: What is on record of the list, reactions included, as `Loop.inspect` has it.
    """

    event_id: str
    query: str
    params_version: int
    weights: Mapping[str, float]
    items: tuple[Standing, ...]
    story: Mapping[str, Any]
