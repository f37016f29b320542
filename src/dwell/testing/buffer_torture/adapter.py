"""What the torture suite asks of a replay buffer: one small class per buffer, saying what it offers."""
# ruff: noqa: ARG002, ARG003 - a default names its arguments for those who write it

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import FloatArray, IntArray

__all__ = ["ROW_WIDTH", "Applied", "BufferAdapter", "Drawn", "NotOfferedError", "Offer", "as_keys"]

ROW_WIDTH: Final = 64  # numbers in a row's longer field: long enough to be copied in more than one step

Offer = Literal[
    "priorities",  # draws in proportion to priority^alpha
    "weights",  # a sample comes with the weights that correct for it
    "probabilities",  # a sample comes with the probability of each draw
    "priority at add",  # the call that adds takes the priority
    "maximum for new",  # an item added without a priority gets the highest known
    "live maximum",  # and known means: of the items that are there, not of all that ever were
    "zero",  # 0 is a priority, and means never
    "another alpha",  # the exponent can be changed afterwards
    "seed",  # draws follow from a seed of the buffer's own
    "save",  # rows can be saved to a place and restored from it
    "saved priorities",  # what is saved holds the priorities
    "saved generator",  # what is saved holds the position of the generator
    "another capacity",  # what is saved can be asked for in a buffer of another capacity
    "removal",  # one item can be taken out
    "removal by user",  # all items of a user can be taken out
    "one item per key",  # the buffer knows identities: adding a known one replaces it
    "report",  # an update says how many items it changed, and how many had left
    "versioned reward",  # a reward is written only if its version is newer
    "bytes",  # the memory can be bounded
    "threads",  # it may be used from several threads at once
    "fork",  # a process that uses it may fork, as the cases with two processes do
]


class NotOfferedError(Exception):
    """The buffer has no such call or no such notion."""


class Drawn(NamedTuple):
    """A sample.

    Attributes:
        keys: int64 (n,), the key that each drawn item was added with, as read from the buffer.
        handles: n handles, as `BufferAdapter.update` takes them.
        rows: (n, w), every number of the fields that hold the marker, side by side; any float dtype.
        weights: float64 (n,), in proportion to (1 / P)^beta within the sample, or None.
        probabilities: float64 (n,), P of one draw, or None.
    """

    keys: IntArray
    handles: Sequence[Any] | IntArray
    rows: npt.NDArray[Any]
    weights: FloatArray | None = None
    probabilities: FloatArray | None = None


class Applied(NamedTuple):
    """What an update says of itself; every item given is in exactly one of the three."""

    updated: int
    stale: int
    rejected: int


class BufferAdapter(Protocol):
    """A buffer as the torture suite sees it: derive from this class and write what the buffer offers.

    An item has a key (an int >= 0, its identity to the caller) and a marker: a number that fills every field of its
    row, so that a row made of two items is seen. A row has at least two fields, one number and one of `ROW_WIDTH`
    numbers. A handle is whatever the buffer addresses an item by: an index, an id.

    An adapter calls the buffer as its own users do and repairs nothing: it checks no value, catches no error. The
    four abstract calls are needed; every other belongs to an offer, and its default says that it is not offered.

    Attributes:
        offers: What the buffer has; a case that needs more is "not offered".
        n_independent: Most draws of one call that are independent given the priorities: 1 where the items of a sample
            are always distinct.
    """

    offers: ClassVar[frozenset[Offer]]
    n_independent: ClassVar[int] = 256

    @classmethod
    def load(cls) -> None:
        """Import what the buffer needs: called once, before the cases are forked. Nothing by default."""
        return

    @classmethod
    def make(cls, *, capacity: int, alpha: float = 1.0, seed: int = 0, max_bytes: int | None = None) -> Self:
        """Return an empty buffer of at most `capacity` items; without "seed" the seed is ignored."""
        ...

    def add(self, key: int, marker: float, *, priority: float | None = None, user: str | None = None) -> object:
        """Put an item in, evicting if need be, and return its handle.

        Args:
            key: Identity, >= 0.
            marker: Fills the row.
            priority: Given with the offer "priority at add" only. None: the highest that is there, or what the buffer
                has for new items.
            user: Given with the offer "removal by user" only.
        """
        ...

    def size(self) -> int:
        """Return the number of items held."""
        ...

    def sample(self, n: int, *, beta: float = 1.0) -> Drawn:
        """Return n items drawn by priority, or uniformly by a buffer without priorities."""
        ...

    def update(self, handles: Sequence[Any], priorities: Sequence[float]) -> Applied | None:
        """Write new priorities; None where the buffer does not say what became of them. Offer: "priorities"."""
        raise NotOfferedError

    def foreign_handles(self) -> Mapping[str, object]:
        """Return handles that the buffer never gave.

        They are {"negative": below all, "unfilled": the next that it may give, "beyond": far above all}.
        Offer: "priorities".
        """
        raise NotOfferedError

    def set_alpha(self, alpha: float) -> None:
        """Change the exponent of priorities. Offer: "another alpha"."""
        raise NotOfferedError

    def save(self, place: Path) -> None:
        """Save to a folder that exists, over what was saved there before. Offer: "save"."""
        raise NotOfferedError

    @classmethod
    def restore(cls, place: Path, *, capacity: int, alpha: float = 1.0) -> Self:
        """Return a buffer of that capacity from what was saved in a folder. Offer: "save"."""
        raise NotOfferedError

    def remove(self, handle: object) -> bool:
        """Take an item out and return whether it was there. Offer: "removal"."""
        raise NotOfferedError

    def remove_user(self, user: str) -> int:
        """Take all items of a user out and return their number. Offer: "removal by user"."""
        raise NotOfferedError

    def update_reward(self, handle: object, reward: float, version: int) -> bool:
        """Write a reward in [-1, 1] if its version is newer, and return whether it was. Offer: "versioned reward"."""
        raise NotOfferedError

    def reward(self, handle: object) -> float:
        """Return the reward held. Offer: "versioned reward"."""
        raise NotOfferedError

    def n_bytes(self) -> int:
        """Return the memory that `max_bytes` bounds, as the buffer counts it. Offer: "bytes"."""
        raise NotOfferedError


def as_keys(values: npt.ArrayLike) -> IntArray:
    """Return a column of keys as int64 (n,), whatever its shape and dtype were."""
    return np.asarray(values).reshape(-1).astype(np.int64)
