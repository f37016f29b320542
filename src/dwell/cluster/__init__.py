"""The same loop over shards, for those who outgrow one machine: the store holds the truth, shards hold the experience.

Where to begin reading: `placement` says where an experience lives, `shard` is what lives there, `sampling` draws over
all of them, `transport` is how they are asked. Nothing here needs Ray: shards in one process do the same, to the last
digit that sums in another order leave.
"""

from dwell.cluster.placement import Placement
from dwell.cluster.sampling import ShardBatch, ShardSampler
from dwell.cluster.shard import Checksum, Followed, Moved, Shard, ShardFacts, ShardSpec
from dwell.cluster.transport import LocalShards, Shards

__all__ = [
    "Checksum",
    "Followed",
    "LocalShards",
    "Moved",
    "Placement",
    "Shard",
    "ShardBatch",
    "ShardFacts",
    "ShardSampler",
    "ShardSpec",
    "Shards",
]
