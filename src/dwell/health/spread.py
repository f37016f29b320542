"""How ages, rewards, priorities and versions are spread, and what was served when."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dwell.health.report import Distribution, Timeline
from dwell.health.snapshot import HealthSnapshot
from dwell.records.arrays import FloatArray

__all__ = ["distributions_of", "timeline_of"]

MOST_BUCKETS: Final = 60
_AGE_EDGES: Final = (0.0, 1.0, 3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 168.0, 336.0, 720.0, 2160.0, 8760.0)  # hours
_REWARD_EDGES: Final = tuple(np.linspace(-1.0, 1.0, 21).round(1).tolist())
_MOST_VERSIONS: Final = 40  # bars of a page


def distributions_of(snapshot: HealthSnapshot) -> dict[str, Distribution]:
    """Return the distributions that there is anything of; versions are those of the newest lists."""
    if not snapshot.rewards.size:
        return {}
    hours = np.maximum((snapshot.now - snapshot.served_at) / 3600.0, 0.0)
    last = max(_AGE_EDGES[-1], float(hours.max()) + 1.0)
    found = {
        "age_hours": _counted("age_hours", "hours", hours, (*_AGE_EDGES[:-1], last)),
        "reward": _counted("reward", "reward", np.clip(snapshot.rewards, -1.0, 1.0), _REWARD_EDGES),
        "priority": _counted("priority", "", snapshot.priorities, _even(snapshot.priorities)),
    }
    newest = snapshot.newest
    if newest is not None and newest.params_version.size:
        low, high = int(newest.params_version.min()), int(newest.params_version.max())
        width = -(-(high - low + 1) // _MOST_VERSIONS)
        edges = tuple(float(edge) for edge in range(low, high + width + 1, width))
        found["params_version"] = _counted("params_version", "count", newest.params_version, edges)
    return found


def _even(values: FloatArray) -> tuple[float, ...]:
    top = float(values.max())
    return tuple(np.linspace(0.0, top if top > 0.0 else 1.0, 21).tolist())


def _counted(name: str, unit: str, values: npt.NDArray[np.generic], edges: tuple[float, ...]) -> Distribution:
    counts, _ = np.histogram(values, np.array(edges))
    return Distribution(name, unit, edges, tuple(counts.tolist()))


def timeline_of(snapshot: HealthSnapshot) -> Timeline | None:
    """Return what was served when, in up to 60 equal buckets; None where nothing is closed."""
    n = int(snapshot.rewards.size)
    if not n:
        return None
    begin, end = float(snapshot.served_at.min()), float(snapshot.served_at.max())
    n_buckets = min(MOST_BUCKETS, n) if end > begin else 1
    edges = np.linspace(begin, end if end > begin else begin + 1.0, n_buckets + 1)
    which = np.clip(np.searchsorted(edges, snapshot.served_at, side="right") - 1, 0, n_buckets - 1)
    counts = np.bincount(which, minlength=n_buckets)
    sums = np.bincount(which, weights=snapshot.rewards, minlength=n_buckets)
    rewarded = np.bincount(which, weights=snapshot.rewards != 0.0, minlength=n_buckets)
    return Timeline(
        tuple(edges.tolist()),
        tuple(counts.tolist()),
        tuple(total / n if n else None for total, n in zip(sums.tolist(), counts.tolist(), strict=True)),
        tuple(total / n if n else None for total, n in zip(rewarded.tolist(), counts.tolist(), strict=True)),
    )
