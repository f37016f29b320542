"""The report on one loop, section by section: one pass over the columns of what is in memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dwell.health.batches import batch_checks
from dwell.health.buffer import buffer_checks
from dwell.health.counted import counted_checks, counted_figures, made
from dwell.health.features import feature_checks
from dwell.health.feedback import feedback_checks
from dwell.health.learning import learning_checks
from dwell.health.ranking import ranking_checks
from dwell.health.report import HealthReport
from dwell.health.shares import Groups, effective_number, named_shares, shares_of
from dwell.health.snapshot import HealthSnapshot
from dwell.health.spread import distributions_of, timeline_of

__all__ = ["report_health"]


def report_health(snapshot: HealthSnapshot) -> HealthReport:
    """Return the report on one loop at one instant; what there is too little of is `unknown`, never an alarm."""
    groups = shares_of(snapshot)
    report = HealthReport(
        "empty",
        [],
        _figures(snapshot, groups),
        snapshot.examination,
        shares=named_shares(groups, snapshot),
        distributions=distributions_of(snapshot),
        timeline=timeline_of(snapshot),
        at=snapshot.now,
        counters=dict(snapshot.counters),
    )
    checks = (
        *buffer_checks(snapshot, groups),
        *batch_checks(snapshot),
        *feedback_checks(snapshot),
        *learning_checks(snapshot),
        *ranking_checks(snapshot),
        *feature_checks(snapshot),
    )
    return made([*counted_checks(snapshot.counters), *checks], report)


def _figures(snapshot: HealthSnapshot, groups: Mapping[str, Groups]) -> dict[str, float | int | str]:
    n = int(snapshot.rewards.size)
    figures: dict[str, float | int | str] = {
        "n_events": sum(snapshot.states.values()),
        "size": n,
        "capacity": snapshot.capacity,
        "capacity_pct": n / snapshot.capacity,
        "n_signals": snapshot.n_signals,
        "live_version": snapshot.live_version,
        "n_promotions": snapshot.n_promotions,
        "last_verdict": snapshot.last_verdict,
        "replay_ratio": snapshot.replay_ratio,
    }
    if snapshot.oldest_params_version is not None:
        figures["oldest_params_version"] = snapshot.oldest_params_version
    figures |= {f"n_{state}": count for state, count in sorted(snapshot.states.items())}
    figures |= counted_figures(snapshot.counters)
    if snapshot.examination is not None:
        figures["examination_source"] = snapshot.examination.source
        figures["examinations_measured"] = snapshot.counters.get("examinations_measured", 0)
    if n:
        ages = snapshot.now - snapshot.served_at
        figures |= {
            "avg_reward": float(snapshot.rewards.mean()),
            "reward_std": float(snapshot.rewards.std(ddof=1)) if n > 1 else 0.0,
            "rewarded_share": float(np.count_nonzero(snapshot.rewards) / n),
            "avg_age_hours": float(ages.mean()) / 3600.0,
            "oldest_hours": float(ages.max()) / 3600.0,
            "newest_hours": float(ages.min()) / 3600.0,
            "unique_contexts": int(groups["user"].counts.size),
            "effective_users": effective_number(groups["user"].counts),
            "effective_queries": effective_number(groups["query"].counts),
        }
    return figures
