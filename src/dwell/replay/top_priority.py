"""The highest live priority, with the number of those who have it: a scan is due only when the last of them leaves."""

from __future__ import annotations

import numpy as np

from dwell.records.arrays import FloatArray

__all__ = ["TopPriority"]


class TopPriority:
    """A maximum over a changing column; unknown at first, and nothing is done for it until it is asked for."""

    __slots__ = ("_n_holders", "_value")

    def __init__(self) -> None:
        self._value: float | None = None
        self._n_holders = 0

    def of(self, priorities: FloatArray) -> float:
        """Return the highest of the live priorities, at least one."""
        if self._value is None:
            self._value = float(priorities.max())
            self._n_holders = int(np.count_nonzero(priorities == self._value))
        return self._value

    @property
    def is_known(self) -> bool:
        """Whether changes have to be told."""
        return self._value is not None

    def arrive(self, priority: float) -> None:
        """Note a priority that is live from now on."""
        if self._value is None or priority < self._value:
            return
        if priority > self._value:
            self._value, self._n_holders = priority, 0
        self._n_holders += 1

    def leave(self, priority: float) -> None:
        """Note a priority that is live no more."""
        if priority == self._value:
            self._n_holders -= 1
            if self._n_holders == 0:
                self._value = None

    def arrive_many(self, priorities: FloatArray) -> None:
        """Note priorities that are live from now on."""
        if self._value is not None:
            highest = float(priorities.max())
            if highest > self._value:
                self._value, self._n_holders = highest, 0
            self._n_holders += int(np.count_nonzero(priorities == self._value))

    def leave_many(self, priorities: FloatArray) -> None:
        """Note priorities that are live no more."""
        if self._value is not None:
            self._n_holders -= int(np.count_nonzero(priorities == self._value))
            if self._n_holders == 0:
                self._value = None

    def change(self, before: FloatArray, after: FloatArray) -> None:
        """Note that some priorities, of slots that may repeat, were replaced by others."""
        if self._value is not None and (before.max() >= self._value or after.max() >= self._value):
            self._value = None

    def forget(self) -> None:
        """Note that anything may have changed."""
        self._value = None
