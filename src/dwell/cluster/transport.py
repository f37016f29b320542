"""How shards are asked: a small port, and the shards of one process behind it.

Whoever carries calls to shards elsewhere satisfies `Shards`, by the names of `Shard`'s methods. Arguments and answers
are plain values and arrays that can be pickled.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Protocol, Self

from dwell.cluster.shard import Shard, ShardSpec
from dwell.errors import ConfigError
from dwell.storage import Store

__all__ = ["LocalShards", "Shards"]


class Shards(Protocol):
    """All shards of one placement."""

    @property
    def names(self) -> tuple[str, ...]:
        """Their names, in one order as long as the placement stays."""
        ...

    def ask(self, name: str, method: str, /, *args: object) -> Any:  # noqa: ANN401 - whatever the method is
        """Return what one shard answers."""
        ...

    def ask_all(self, method: str, /, *args: object) -> dict[str, Any]:
        """Return what every shard answers to the same question, by name, in the order of `names`."""
        ...

    def ask_each(self, method: str, args: Mapping[str, tuple[Any, ...]], /) -> dict[str, Any]:
        """Return what the shards named answer, each to arguments of its own, in the order of `names`."""
        ...


class LocalShards:
    """Shards in this process, asked one after the other: for tests, and for who has one machine.

    Args:
        shards: By name.
        are_pickled: Whether arguments and answers go through pickle, as they would to another process.
    """

    def __init__(self, shards: Mapping[str, Shard], *, are_pickled: bool = False) -> None:
        self.shards = MappingProxyType(dict(shards))
        self._are_pickled = are_pickled

    @classmethod
    def made(cls, spec: ShardSpec, *, store: Store | None = None, are_pickled: bool = False) -> Self:
        """Return hydrated shards, one for each name of the placement of a spec.

        Raises:
            StorageError: The store could not be opened or read.
        """
        shards: dict[str, Shard] = {}
        try:
            for name in spec.placement.shards:
                shards[name] = Shard(replace(spec, name=name), store=store)
                shards[name].hydrate()
        except BaseException:
            for shard in shards.values():
                shard.close()
            raise
        return cls(shards, are_pickled=are_pickled)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every shard."""
        for shard in self.shards.values():
            shard.close()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.shards)

    def ask(self, name: str, method: str, /, *args: object) -> Any:  # noqa: ANN401 - whatever the method is
        """Return what one shard answers.

        Raises:
            ConfigError: There is no such shard.
        """
        if name not in self.shards:
            raise ConfigError(
                "there is no such shard", field="name", value=name, hint=f"There are {list(self.shards)}."
            )
        if self._are_pickled:
            args = pickle.loads(pickle.dumps(args))  # noqa: S301 - our own bytes, of this moment
        found = getattr(self.shards[name], method)(*args)
        return pickle.loads(pickle.dumps(found)) if self._are_pickled else found  # noqa: S301 - the same

    def ask_all(self, method: str, /, *args: object) -> dict[str, Any]:
        """Return what every shard answers to the same question, by name."""
        return {name: self.ask(name, method, *args) for name in self.shards}

    def ask_each(self, method: str, args: Mapping[str, tuple[Any, ...]], /) -> dict[str, Any]:
        """Return what the shards named answer, each to arguments of its own."""
        return {name: self.ask(name, method, *args[name]) for name in self.shards if name in args}
