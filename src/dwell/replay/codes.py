"""Small integers for names that are present: segments, users."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["NameCodes"]


class NameCodes:
    """Codes by name; a code is free again once its last experience left."""

    __slots__ = ("_code_of", "_free", "_n_of", "_names")

    def __init__(self) -> None:
        self._code_of: dict[str | None, int] = {}
        self._names: list[str | None] = []
        self._n_of: list[int] = []
        self._free: list[int] = []

    @classmethod
    def of(cls, counted: Mapping[str | None, int]) -> NameCodes:
        """Return codes 0, 1, ... for names in their order, with the number of experiences of each, >= 1."""
        codes = cls()
        codes._names = list(counted)
        codes._n_of = list(counted.values())
        codes._code_of = {name: code for code, name in enumerate(counted)}
        return codes

    def __len__(self) -> int:
        return len(self._code_of)

    def enter(self, name: str | None, n: int = 1) -> int:
        """Return the code of a name that gains n experiences."""
        code = self._code_of.get(name)
        if code is None:
            if self._free:
                code = self._free.pop()
                self._names[code] = name
            else:
                code = len(self._names)
                self._names.append(name)
                self._n_of.append(0)
            self._code_of[name] = code
        self._n_of[code] += n
        return code

    def leave(self, code: int, n: int = 1) -> None:
        """Forget n experiences of a name."""
        self._n_of[code] -= n
        if self._n_of[code] == 0:
            del self._code_of[self._names[code]]
            self._free.append(code)

    def find(self, name: str | None) -> int | None:
        """Return the code of a name, or None where it is not present."""
        return self._code_of.get(name)

    def name(self, code: int) -> str | None:
        """Return the name behind a code that is in use."""
        return self._names[code]

    def count(self, code: int) -> int:
        """Return the number of experiences of a code that is in use."""
        return self._n_of[code]

    def counts(self) -> dict[str | None, int]:
        """Return the number of experiences per name present."""
        return {name: self._n_of[code] for name, code in self._code_of.items()}

    def codes(self) -> dict[str | None, int]:
        """Return the code of every name present."""
        return dict(self._code_of)
