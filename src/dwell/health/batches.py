"""What the last learning drew: how diverse its batches were, how old, and how far from the live params."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from dwell.health.report import Check
from dwell.health.shares import effective_number, grouped
from dwell.health.snapshot import BatchesSeen, HealthSnapshot
from dwell.health.thresholds import judged, shown
from dwell.records.rows import EventRow

__all__ = ["batch_checks", "batches_seen"]

_MIN_BUFFER: Final = 1_000  # a batch of 256 from fewer events repeats some by chance
_NOT_YET: Final = "nothing was learned from the buffer yet"


def batches_seen(
    batches: Sequence[Sequence[EventRow]],
    *,
    learned_at: float,
    live_version: int,
    objective: Sequence[float] = (),
    step_norm: float | None = None,
) -> BatchesSeen | None:
    """Return what batches were made of, or None where there are none.

    Args:
        batches: The lists of each step.
        learned_at: UTC epoch seconds.
        live_version: Params in force when they were drawn.
        objective: Estimated reward per list at each step.
        step_norm: Distance that was learned.
    """
    rows = [row for batch in batches for row in batch]
    if not rows:
        return None
    repeats = [1.0 - len({row.seq for row in batch}) / len(batch) for batch in batches if batch]
    users = np.array([row.user_hash for row in rows if row.user_hash is not None], dtype=np.uint64)
    queries = np.array([row.query_hash for row in rows], dtype=np.uint64)
    names = {row.segment_code: row.segment for row in rows if row.segment is not None}
    segments = grouped(np.array([row.segment_code for row in rows if row.segment is not None], dtype=np.int64))
    ages = learned_at - np.array([row.served_at for row in rows])
    tenth = max(len(objective) // 10, 1)
    return BatchesSeen(
        learned_at=learned_at,
        n_batches=len(repeats),
        n_drawn=len(rows),
        n_distinct=len({row.seq for row in rows}),
        duplicate_ratio=float(np.mean(repeats)),
        effective_users=effective_number(grouped(users).counts),
        effective_queries=effective_number(grouped(queries).counts),
        effective_segments=effective_number(segments.counts),
        largest_segment=str(names[int(segments.codes[0])]) if segments.n else "",
        largest_segment_share=segments.largest_share,
        mean_age_s=float(ages.mean()),
        oldest_age_s=float(ages.max()),
        oldest_version=min(row.params_version for row in rows),
        live_version=live_version,
        objective_first=float(np.mean(objective[:tenth])) if len(objective) else None,
        objective_last=float(np.mean(objective[-tenth:])) if len(objective) else None,
        step_norm=step_norm,
    )


def batch_checks(snapshot: HealthSnapshot) -> Iterator[Check]:
    """Yield the checks of the last batches."""
    seen = snapshot.batches
    yield judged(
        "replay_ratio", snapshot.replay_ratio, f"{snapshot.replay_ratio:.3g} lists are replayed per list taken in"
    )
    if seen is None:
        for name in ("batch_duplicates_ratio", "batch_effective_users", "batch_effective_queries"):
            yield judged(name, None, _NOT_YET)
        return
    n = int(snapshot.rewards.size)
    repeated = shown(seen.duplicate_ratio, "ratio")
    yield judged(
        "batch_duplicates_ratio",
        seen.duplicate_ratio,
        f"{repeated} of a batch's lists are in it already; {seen.n_drawn:,} lists in {seen.n_batches:,} batches were "
        f"{seen.n_distinct:,} different ones",
        is_chance=n < _MIN_BUFFER,
    )
    for kind, effective in (
        ("users", seen.effective_users),
        ("queries", seen.effective_queries),
        ("segments", seen.effective_segments),
    ):
        known = effective or None
        words = f"as diverse as {shown(effective, 'count')} equal ones" if known else f"no list drawn names its {kind}"
        yield judged(f"batch_effective_{kind}", known, words)
    if seen.largest_segment:
        words = f"segment {seen.largest_segment[:40]!r} made up {seen.largest_segment_share:.0%} of what was drawn"
        yield judged("batch_largest_segment_ratio", seen.largest_segment_share, words)
    mean, oldest = seen.mean_age_s / 3600.0, seen.oldest_age_s / 3600.0
    yield judged("batch_mean_age_hours", mean, f"lists drawn were {shown(mean, 'hours')} old in the mean")
    yield judged("batch_oldest_age_hours", oldest, f"the oldest list drawn was {shown(oldest, 'hours')} old")
    behind = max(seen.live_version - seen.oldest_version, 0)
    words = f"version {seen.oldest_version} served the oldest list drawn, version {seen.live_version} was live"
    yield judged("batch_versions_behind", behind, words)
