"""A shard of whole numbers, for what is of calls and processes alone; the real one has tests of its own."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dwell.errors import ReplayError, StorageError


class Numbers:
    """Numbers n of 0..99 with n % len(shards) == place."""

    def __init__(self, place: int, n: int) -> None:
        self.numbers = [i for i in range(100) if i % n == place]
        self.waited_for: list[int] = []

    def total(self, factor: int = 1) -> int:
        return factor * sum(self.numbers)

    def slow(self, i: int, wait_s: float) -> int:
        time.sleep(wait_s)
        return i

    def refuse(self) -> None:
        raise ReplayError("nothing to draw", field="n", value=0, hint="Add some.")

    def fail(self) -> None:
        raise ZeroDivisionError("by zero")


@dataclass(frozen=True)
class NumbersRecipe:
    """Makes them; the file stands for the store: {"generation": 1, "shards": [...]}."""

    file: str

    def members(self) -> tuple[int, tuple[str, ...]]:
        path = Path(self.file)
        if not path.exists():
            raise StorageError("the store is away")
        found = json.loads(path.read_text())
        return found["generation"], tuple(found["shards"])

    def shard(self, name: str, shards: tuple[str, ...]) -> Numbers:
        return Numbers(shards.index(name), len(shards))

    def moved(self, shard: Any, name: str, shards: tuple[str, ...]) -> Mapping[str, int]:
        before = set(shard.numbers)
        shard.numbers = self.shard(name, shards).numbers
        return {"gained": len(set(shard.numbers) - before), "lost": len(before - set(shard.numbers))}
