"""The replay buffer: bounded, addressed by identity, drawn by a stated law with the weights that correct for it.

Where to begin reading: `buffer` is the face. What is in it: `admission`, `bounds`, `contents`; the index in memory is
`ring` (on `event_ids`, `ages`, `chains`, `codes`), rows are `object_rows`, `packed_rows` or `external_rows`. How it is
drawn: `drawing`, `laws`, the `*_sampler`s, `draws`, and the trees (`prefix_tree` for priorities and ranks,
`compiled_tree` the same by numba, `sum_tree` for recency); `weights` corrects. What is kept of it: `state`, `snapshot`,
`training_set`.
"""

from dwell.replay.buffer import ReplayBuffer, Strategy
from dwell.replay.meter import RateMeter, VersionAges, version_ages
from dwell.replay.schedules import BetaSchedule
from dwell.replay.snapshot import Snapshot
from dwell.replay.training_set import Recipe, batches, fingerprint
from dwell.replay.view import ExperienceView

__all__ = [
    "BetaSchedule",
    "ExperienceView",
    "RateMeter",
    "Recipe",
    "ReplayBuffer",
    "Snapshot",
    "Strategy",
    "VersionAges",
    "batches",
    "fingerprint",
    "version_ages",
]
