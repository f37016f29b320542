"""Which shard an experience lives on: by its user, by its query where no user is known.

Rendezvous hashing: every shard has a score for every key, and the highest one has the key. Where a shard is added, the
keys that move all move to it; where one is removed, its keys alone move: of n shards a share of 1 / n.

All events of a user are on one shard, so that counts of users, and caps on them, are sums over shards. The salt is kept
in the store and nowhere else: who can choose queries can not choose shards.

Source: Thaler and Ravishankar 1998, "Using Name-Based Mappings to Increase Hit Rates"; the mixing function is that of
Steele, Lea and Flood 2014, "Fast Splittable Pseudorandom Number Generators" (SplitMix64).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError
from dwell.loop.rows import query_hash, user_hash
from dwell.records import Impression, checks
from dwell.records.arrays import BoolArray, HashArray, IntArray

__all__ = ["MAX_SHARDS", "Placement", "key_of", "keys_of"]

MAX_SHARDS: Final = 1_024  # a choice: placing one key costs a score per shard, and so does every answer that is merged
_QUERY: Final = np.uint64(0x9E3779B97F4A7C15)  # sets a query's hash apart from the same number as a user's


def key_of(impression: Impression) -> int:
    """Return the 64-bit key by which an event is placed."""
    if impression.user is not None:
        return user_hash(impression.user)
    return query_hash(impression.query) ^ int(_QUERY)


def keys_of(
    has_user: BoolArray, users: npt.NDArray[np.unsignedinteger], queries: npt.NDArray[np.unsignedinteger]
) -> HashArray:
    """Return the keys of many events, uint64 (n,), from the hashes of their users and queries."""
    return np.where(has_user, users, queries.astype(np.uint64) ^ _QUERY).astype(np.uint64)


def _mixed(values: HashArray) -> HashArray:
    """Return 64 bits each of which depends on all 64 given ones."""
    mixed = values ^ (values >> np.uint64(30))
    mixed = mixed * np.uint64(0xBF58476D1CE4E5B9)
    mixed = mixed ^ (mixed >> np.uint64(27))
    mixed = mixed * np.uint64(0x94D049BB133111EB)
    found: HashArray = mixed ^ (mixed >> np.uint64(31))
    return found


@dataclass(frozen=True, slots=True)
class Placement:
    """A fixed answer to "which shard?" for every key.

    Attributes:
        shards: Names, all different, 1 to 1,024; their order has no influence.
        salt: 1 to 64 bytes, the same for all who place events of one store.

    Raises:
        ConfigError: There is no shard, a name comes twice or is no identifier, or the salt is empty or too long.
    """

    shards: tuple[str, ...]
    salt: bytes

    def __post_init__(self) -> None:
        names = tuple(checks.identifier(name, f"shards[{i}]") for i, name in enumerate(self.shards))
        if not 1 <= len(names) <= MAX_SHARDS or len(set(names)) < len(names):
            raise ConfigError(
                f"1 to {MAX_SHARDS} shards with names of their own are due",
                field="shards",
                value=self.shards,
                hint="Name each one once.",
            )
        if not 1 <= len(self.salt) <= hashlib.blake2b.MAX_KEY_SIZE:
            raise ConfigError("a salt is 1 to 64 bytes", field="salt", value=len(self.salt), hint="Pass the store's.")
        object.__setattr__(self, "shards", names)

    def shard_of(self, key: int) -> str:
        """Return the shard of one key in [0, 2^64)."""
        return self.shards[int(self.shards_of(np.array([key], dtype=np.uint64))[0])]

    def shards_of(self, keys: HashArray) -> IntArray:
        """Return the number of each key's shard in `shards`, int64 (n,), for uint64 keys (n,)."""
        # by name, so that the order in which shards are named decides nothing, not even between equal scores
        by_name = sorted(range(len(self.shards)), key=self.shards.__getitem__)
        best, found = np.zeros(len(keys), dtype=np.uint64), np.zeros(len(keys), dtype=np.int64)
        for place, i in enumerate(by_name):
            score = _mixed(_mixed(keys ^ self._seed(self.shards[i])) + self._seed(self.shards[i]))
            is_higher = (score > best) | (place == 0)
            best[is_higher], found[is_higher] = score[is_higher], i
        return found

    def with_shards(self, *shards: str) -> Placement:
        """Return the placement over other shards, with the same salt."""
        return Placement(tuple(shards), self.salt)

    def _seed(self, name: str) -> np.uint64:
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=self.salt, person=b"dwell shard").digest()
        return np.uint64(int.from_bytes(digest, "little"))
