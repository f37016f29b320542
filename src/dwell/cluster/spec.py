"""What a shard is made from, and what it says of itself: plain values that can be sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from dwell.cluster.placement import Placement
from dwell.errors import ConfigError
from dwell.reward.examination import Examination, PositionBased

__all__ = ["Checksum", "Followed", "Moved", "ShardFacts", "ShardSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSpec:
    """What a shard is made from; it can be sent to another process, and holds no secret but salts.

    Attributes:
        name: Its name among the shards of the placement.
        placement: Which experience is its own.
        where: The store: a path, or postgresql://user@host:port/database.
        tenant: Whose facts.
        feature_names: Features of the loop.
        holdout: Share of users whose events only judge.
        salt: Salt of that split.
        half_life_s: Age at which an experience counts half.
        alpha: Exponent of priorities.
        examination: What exposures stand on.

    Raises:
        ConfigError: The placement has no shard of this name.
    """

    name: str
    placement: Placement
    where: str
    tenant: str = ""
    feature_names: tuple[str, ...] = ()
    holdout: float = 0.1
    salt: bytes = b""
    half_life_s: float = 604_800.0
    alpha: float = 0.6
    examination: Examination = field(default_factory=lambda: PositionBased(1.0))

    def __post_init__(self) -> None:
        if self.name not in self.placement.shards:
            raise ConfigError(
                "the placement has no such shard",
                field="name",
                value=self.name,
                hint=f"It has {list(self.placement.shards)}.",
            )


class ShardFacts(NamedTuple):
    """What a shard holds, in numbers.

    Attributes:
        name: Which shard.
        n: Experiences that can be learned from.
        n_held_out: Those that only judge.
        newest: Newest time of serving of the former, -inf where there is none.
        largest_priority: Of the former, 0 where there is none.
        epoch: The store's, that it is in step with; -1 before it was hydrated.
        last_seq: Highest seq that the store had given then.
        n_bytes: Estimated memory of rows and index.
    """

    name: str
    n: int
    n_held_out: int
    newest: float
    largest_priority: float
    epoch: int
    last_seq: int
    n_bytes: int


class Followed(NamedTuple):
    """What a look at the store brought.

    Attributes:
        n_added: Events taken in.
        n_changed: Events whose reward was computed anew.
        n_removed: Events evicted, removed or erased.
        epoch: The store's, that the shard is in step with now.
    """

    n_added: int
    n_changed: int
    n_removed: int
    epoch: int


class Moved(NamedTuple):
    """What another placement changed.

    Attributes:
        n_dropped: Events that live elsewhere now.
        n_added: Events that lived elsewhere before.
    """

    n_dropped: int
    n_added: int


class Checksum(NamedTuple):
    """A sum over contents, additive over shards: equal sums, equal contents but for one chance in 2^64.

    Attributes:
        n: Number of experiences.
        value: Sum of their digests modulo 2^64.
    """

    n: int
    value: int

    def __add__(self, other: object) -> Checksum:
        """Return the checksum of both together."""
        if not isinstance(other, Checksum):
            return NotImplemented
        return Checksum(self.n + other.n, (self.value + other.value) % 2**64)
