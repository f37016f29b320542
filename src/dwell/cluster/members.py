"""Which shards a cluster has: written in the store, so that a shard that starts anew knows what is its own."""

from __future__ import annotations

from typing import Final

import msgspec

from dwell.cluster.placement import MAX_SHARDS
from dwell.errors import ClusterError, ConfigError
from dwell.storage import Reader, Transaction

__all__ = ["Members", "members_in", "needed_members", "put_members", "shard_names"]

_MEMBERS: Final = "cluster"  # setting of the tenant


class Members(msgspec.Struct, frozen=True):
    """The shards of a tenant's cluster.

    Attributes:
        generation: Grows with every change: a call that was made for another one is refused.
        shards: Their names, sorted by number.
        address: Ray's, host:port.
    """

    generation: int
    shards: tuple[str, ...]
    address: str

    def scaled(self, n: int) -> Members:
        """Return the next generation with n shards: the lowest numbers stay, so that the least has to move."""
        kept = self.shards[:n]
        numbers = {int(name.rpartition("-")[2]) for name in kept}
        free = (i for i in range(n + len(numbers)) if i not in numbers)
        added = tuple(f"shard-{next(free)}" for _ in range(n - len(kept)))
        return msgspec.structs.replace(self, generation=self.generation + 1, shards=(*kept, *added))


def shard_names(n: object) -> tuple[str, ...]:
    """Return the names of n shards.

    Raises:
        ConfigError: n is no whole number in [1, 1024].
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_SHARDS:
        raise ConfigError(
            f"a cluster has 1 to {MAX_SHARDS} shards", field="shards", value=n, hint="Give another number."
        )
    return tuple(f"shard-{i}" for i in range(n))


def members_in(reader: Reader) -> Members | None:
    """Return the cluster of a tenant, None where it has none.

    Raises:
        ClusterError: code `corrupt`: what the store holds can not be read.
    """
    body = reader.setting(_MEMBERS)
    if not body:
        return None
    try:
        return msgspec.msgpack.decode(body, type=Members)
    except msgspec.DecodeError as error:
        raise ClusterError(
            "the store's note of its cluster can not be read", code="corrupt", hint="Run `dwell cluster down`, then up."
        ) from error


def needed_members(reader: Reader) -> Members:
    """Return the cluster of a tenant.

    Raises:
        ClusterError: code `no_cluster`: it has none.
    """
    found = members_in(reader)
    if found is None:
        raise ClusterError("this store has no cluster", code="no_cluster", hint="Run `dwell cluster up STORE` first.")
    return found


def put_members(tx: Transaction, members: Members | None) -> None:
    """Write which shards there are, or that there are none any more."""
    tx.put_setting(_MEMBERS, b"" if members is None else msgspec.msgpack.encode(members))
