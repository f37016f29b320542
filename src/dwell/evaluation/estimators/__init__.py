"""Off-policy estimators: what a policy would have earned, from the log of another one.

Each is a function from one batch of logged events to `Sums`, a small value that adds up. Events can so be judged in
batches, as they come, in several processes or on several machines, in memory that does not grow with the log:

    sums = merged(ips(batch.rewards, batch.propensities, batch.target_probabilities) for batch in log)
    print(sums.estimate(), sums.mean_weight())

`docs/estimators.md` has a card for each: formula, assumption, when it fails.
"""

from dwell.evaluation.estimators.actions import (
    balanced_ips,
    direct_method,
    doubly_robust,
    ips,
    replay,
    shrunk_doubly_robust,
    subgaussian_doubly_robust,
    subgaussian_ips,
    switch_doubly_robust,
)
from dwell.evaluation.estimators.exposures import exposure_doubly_robust, exposure_ips
from dwell.evaluation.estimators.lists import cascade_doubly_robust, item_position_ips, list_ips, prefix_ips
from dwell.evaluation.estimators.sums import Sums, merged

__all__ = [
    "Sums",
    "balanced_ips",
    "cascade_doubly_robust",
    "direct_method",
    "doubly_robust",
    "exposure_doubly_robust",
    "exposure_ips",
    "ips",
    "item_position_ips",
    "list_ips",
    "merged",
    "prefix_ips",
    "replay",
    "shrunk_doubly_robust",
    "subgaussian_doubly_robust",
    "subgaussian_ips",
    "switch_doubly_robust",
]
