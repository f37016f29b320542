"""`dwell.open`: every argument of a loop, and the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from dwell.loop.engine import Loop
from dwell.loop.opening import LoopRole, Start, build_state
from dwell.loop.state import Limits

__all__ = ["open_loop"]


def open_loop(
    where: str | Path,
    *,
    features: Sequence[str] | None = None,
    weights: Mapping[str, float] | None = None,
    capacity: int = 100_000,
    max_results: int = 20,
    embedding_dim: int | None = None,
    mode: str = "live",
    temperature: float = 0.3,
    rewards: object = None,
    attribution_window_s: float = 1800.0,
    durability: str = "full",
    seed: int = 0,
    config: object = None,
    strict: bool = False,
    learner: str = "replay",
    max_candidates: int = 64,
    canary_share: float = 0.05,
    holdout: float = 0.3,
    pepper: bytes | str | None = None,
    tenant: str = "",
    late_window_s: float = 604_800.0,
    retention_s: float | None = None,
    max_store_bytes: int = 10_000_000_000,
    drop_features: Sequence[str] = (),
    archive: str | Path | None = None,
    _role: LoopRole = "owner",
) -> Loop:
    """Open a loop on a store, made where it is not there yet.

    Args:
        where: A path, ":memory:", or postgresql://user@host:port/database.
        features: Names of the features of every candidate; the stored ones when not given.
        weights: Today's formula on raw values; without it the caller's order for 200 events, then equal weights.
        capacity: Closed events kept for learning and judging.
        max_results: Served documents that are learned from.
        embedding_dim: Dimension of query embeddings; else fixed by the first one.
        mode: "log-only", "shadow", "canary" or "live".
        temperature: Exploration, 0 or at least 1e-6; 0 serves a stable sort and learns from nothing new.
        rewards: None ("search"), "rag", "memory", "support", {signal: weight}, or a `RewardPreset`.
        attribution_window_s: How long reactions are waited for.
        durability: "full", or "relaxed": a power cut may lose the last commits.
        seed: Seeds the draws, with the store's secret.
        config: A `Config`, a mapping, or the path of a TOML file.
        strict: Whether `rank` raises on bad values.
        learner: "replay", "activation", or "both"; a store that keeps activation does until its features are dropped.
        max_candidates: Documents whose features are kept per event.
        canary_share: Share of users who are served the proposal in mode "canary".
        holdout: Share of users whose events only judge.
        pepper: Pseudonymises users; else DWELL_PEPPER, else a file beside it. A database needs one of the first two.
        tenant: Whose data it is.
        late_window_s: How long after the close a reaction still counts.
        retention_s: Age after which facts are removed; None keeps them.
        max_store_bytes: Size from which evicted facts are removed, oldest first.
        drop_features: Features to retire.
        archive: Folder of Parquet files that events go to before they are removed; extra `arrow`, docs/archive.md.

    Raises:
        ConfigError: An argument is out of range, by name.
        StorageError: It can not be opened: owned elsewhere, another pepper, damaged, of a newer version.
    """
    bounds = (capacity, max_results, max_candidates, embedding_dim, retention_s, max_store_bytes, canary_share, holdout)
    state = build_state(
        str(where),
        start=Start(features, weights, drop_features),
        limits=Limits(*bounds, archive),
        served=(mode, temperature),
        rewards=rewards,
        windows=(attribution_window_s, late_window_s),
        durability=durability,
        config=config,
        strict=strict,
        learner=learner,
        pepper=pepper,
        tenant=tenant,
        seed=seed,
        role=_role,
    )
    return Loop(state)
