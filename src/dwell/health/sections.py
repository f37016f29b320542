"""The report on one loop, section by section."""

from __future__ import annotations

from collections.abc import Iterator

from dwell.health.counted import counted_checks, counted_figures, made
from dwell.health.report import Check, HealthReport
from dwell.health.shares import effective_number, largest_share
from dwell.health.snapshot import HealthSnapshot
from dwell.health.thresholds import MIN_JUDGED, judged, shown

__all__ = ["report_health"]


def report_health(snapshot: HealthSnapshot) -> HealthReport:
    """Return the report on one loop at one instant."""
    n = int(snapshot.rewards.size)
    n_events = sum(snapshot.states.values())
    report = HealthReport(
        "empty",
        [],
        _figures(snapshot, n, n_events),
        snapshot.examination,
        at=snapshot.now,
        counters=dict(snapshot.counters),
    )
    return made([*counted_checks(snapshot.counters), *_checks(snapshot, n)], report)


def _figures(snapshot: HealthSnapshot, n: int, n_events: int) -> dict[str, float | int | str]:
    ages = snapshot.now - snapshot.served_at
    figures: dict[str, float | int | str] = {
        "n_events": n_events,
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
        figures |= {
            "avg_reward": float(snapshot.rewards.mean()),
            "reward_std": float(snapshot.rewards.std(ddof=1)) if n > 1 else 0.0,
            "rewarded_share": float((snapshot.rewards != 0.0).mean()),
            "avg_age_hours": float(ages.mean()) / 3600.0,
            "oldest_hours": float(ages.max()) / 3600.0,
            "newest_hours": float(ages.min()) / 3600.0,
            "unique_contexts": len([user for user in snapshot.user_counts if user is not None]),
            "effective_users": effective_number({u: c for u, c in snapshot.user_counts.items() if u is not None}),
            "effective_queries": effective_number(snapshot.query_counts),
        }
    return figures


def _checks(snapshot: HealthSnapshot, n: int) -> Iterator[Check]:
    fill = n / snapshot.capacity
    yield judged("fill_ratio", fill, f"{n:,} of {snapshot.capacity:,} closed events are kept")
    is_enough = n >= MIN_JUDGED
    for what, counts in (
        ("segment", snapshot.segment_counts),
        ("query", snapshot.query_counts),
        ("user", snapshot.user_counts),
    ):
        name, share = largest_share(counts)
        is_known = is_enough and name is not None and len(counts) > 1  # a group alone has nothing to be compared with
        words = f"{what} {str(name)[:40]!r} makes up {share:.0%} of the experience"
        yield judged(f"dominant_{what}", share if is_known else None, words if is_known else _few(n))
    n_known = sum(count for user, count in snapshot.user_counts.items() if user is not None)
    unknown = 1.0 - n_known / n if is_enough else None
    words = "no event names a user" if unknown == 1.0 else f"{n - n_known:,} of {n:,} events name no user"
    yield judged("users_unknown", unknown, words if is_enough else _few(n))
    rewarded = float((snapshot.rewards != 0.0).mean()) if is_enough else None
    words = "no closed event has a reward: nothing can be learned"
    if rewarded:
        words = f"only {rewarded:.1%} of closed events have a reward"
        words = words if rewarded < 0.01 else f"{shown(rewarded, 'ratio')} of closed events have a reward"
    yield judged("no_feedback", rewarded, words if is_enough else _few(n))
    yield judged("little_feedback", rewarded or None, words if is_enough else _few(n))
    seen = snapshot.examination
    if seen is not None:
        more = f", and {len(seen.rises) - 1} more" if len(seen.rises) > 1 else ""
        words = seen.rises[0] + more if seen.rises else "no position is looked at more than the one above it"
        yield judged("examination_rises", len(seen.rises), words, remedy=seen.remedy)


def _few(n: int) -> str:
    return f"{n} closed events: too few to tell, {MIN_JUDGED} are"
