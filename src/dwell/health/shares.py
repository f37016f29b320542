"""How experience is spread over groups: the largest shares, and how many equal groups would be as diverse."""

from __future__ import annotations

import math
from collections.abc import Mapping

__all__ = ["effective_number", "largest_share"]


def effective_number(counts: Mapping[object, int]) -> float:
    """Return how many equally large groups are as diverse as these, the exponential of their entropy; 0 for none.

    Source:
        Hill 1973, "Diversity and Evenness", order 1.
    """
    total = sum(counts.values())
    if not total:
        return 0.0
    return math.exp(-sum(n / total * math.log(n / total) for n in counts.values() if n))


def largest_share(counts: Mapping[object, int]) -> tuple[object, float]:
    """Return the largest group and its share of all; (None, 0) for none."""
    total = sum(counts.values())
    if not total:
        return None, 0.0
    name = max(counts, key=lambda key: (counts[key], str(key)))
    return name, counts[name] / total
