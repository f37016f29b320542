"""The same loop over shards, for those who outgrow one machine: the store holds the truth, shards hold the experience.

Where to begin reading: `placement` says where an experience lives, `shard` is what lives there (`line` in what order,
`lessons` and `evidence` what it adds to learning and judging), `sampling` draws over all shards, `learning` and
`judging` put together what they say, `training` is a call of `train`; `transport` is how they are asked. Nothing here
needs Ray: shards in one process do the same, to the last digit that sums in another order leave.
"""

from dwell.cluster.placement import Placement
from dwell.cluster.sampling import ShardBatch, ShardSampler
from dwell.cluster.shard import Checksum, Followed, Moved, Shard, ShardFacts, ShardSpec
from dwell.cluster.training import ShardTraining, spec_for
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
    "ShardTraining",
    "Shards",
    "spec_for",
]
