"""The buffer as a read-only sequence, as `buffer.buffer` was in the founding document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, overload

from dwell.records import Experience
from dwell.records.arrays import IntArray

__all__ = ["ExperienceView"]


class _Kept(Protocol):
    def size(self) -> int: ...

    def seqs(self) -> IntArray: ...

    def get(self, event_id: int) -> Experience | None: ...

    def __iter__(self) -> Iterator[Experience]: ...


class ExperienceView(Sequence[Experience]):
    """Experiences, oldest first; it follows the buffer, and nothing can be assigned.

    Iterating is safe while other threads add. An index costs O(n), since age is not a position: to look up many, take
    a list of it once.
    """

    __slots__ = ("_kept",)

    def __init__(self, kept: _Kept) -> None:
        self._kept = kept

    def __len__(self) -> int:
        return self._kept.size()

    def __iter__(self) -> Iterator[Experience]:
        return iter(self._kept)

    @overload
    def __getitem__(self, index: int) -> Experience: ...

    @overload
    def __getitem__(self, index: slice) -> list[Experience]: ...

    def __getitem__(self, index: int | slice) -> Experience | list[Experience]:
        if isinstance(index, slice):
            found = (self._kept.get(seq) for seq in self._kept.seqs()[index].tolist())
            return [experience for experience in found if experience is not None]
        experience = None
        # one that leaves between the two calls shifts the ages: look again
        while experience is None:
            experience = self._kept.get(int(self._kept.seqs()[index]))
        return experience

    def __repr__(self) -> str:
        return f"ExperienceView({len(self)})"
