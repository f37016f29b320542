"""What health is judged from: counts and columns gathered at one instant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.records import GateDecision
from dwell.records.arrays import Float32Array, FloatArray, IntArray

__all__ = ["BatchesSeen", "Drawing", "ExaminationSeen", "HealthSnapshot", "ListsSeen", "Scored", "SignalsSeen"]


@dataclass(frozen=True, slots=True)
class ExaminationSeen:
    """Who is taken to look at each position, and what the events in memory say of it; every table counts from the top.

    Attributes:
        source: How the examination in force was found: "harvest", "swaps" or "assumed".
        version: Its name and numbers.
        values: Probability of examination per position, in (0, 1].
        is_monotone: Whether no position is looked at more than the one above it.
        measured: What the events in memory spoke for when they were last asked: "harvest", "swaps", "regression_em", or
            "assumed" where they do not say enough; "" where nothing was asked since the loop was opened. Tables of what
            was not asked are empty.
        reasons: Why each more trusted way was passed over.
        low: Lower ends of the band that the gate asks about.
        high: Upper ends.
        calibration: Observed over expected rewards per position, by the reward predictor; None where none are expected.
        calibration_low: Lower ends of pointwise 95 % intervals.
        calibration_high: Upper ends.
        rises: Adjacent pairs whose lower position is looked at more, beyond chance, in words.
        remedy: What to look at where there are any, or "".
    """

    source: str
    version: str
    values: tuple[float, ...]
    is_monotone: bool
    measured: str
    reasons: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    calibration: tuple[float | None, ...] = ()
    calibration_low: tuple[float | None, ...] = ()
    calibration_high: tuple[float | None, ...] = ()
    rises: tuple[str, ...] = ()
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """How experience is kept and drawn for learning.

    Attributes:
        strategy: "uniform", "priority", "rank", "recency" or "stratified".
        alpha: Exponent of priorities and ranks.
        half_life_s: Half-life of recency.
        quotas: Share of the buffer that each segment is sure of, "equal" or "none".
    """

    strategy: str = "uniform"
    alpha: float = 0.6
    half_life_s: float = 604_800.0
    quotas: Mapping[str, float] | str = "none"


@dataclass(frozen=True, slots=True)
class BatchesSeen:
    """What the batches of the last learning were made of; kept with the store, so any process can tell.

    Attributes:
        learned_at: UTC epoch seconds.
        n_batches: Batches, one per step.
        n_drawn: Lists in them, repeats included.
        n_distinct: Different lists among these.
        duplicate_ratio: Mean over batches of the share of lists that are in the same batch already, in [0, 1).
        effective_users: Equally frequent users that would be as diverse; lists without one left out.
        effective_queries: The same of queries.
        effective_segments: The same of segments.
        largest_segment: The segment drawn most often, "" for none.
        largest_segment_share: Its share of lists with a segment.
        mean_age_s: Mean age of the lists drawn, by when they were served.
        oldest_age_s: Age of the oldest one.
        oldest_version: Oldest params version that served one of them.
        live_version: Params in force when they were drawn.
        objective_first: Estimated reward per list at the first tenth of the steps, mean.
        objective_last: At the last tenth.
        step_norm: Distance from the live params that was learned, both at norm 1.
    """

    learned_at: float
    n_batches: int
    n_drawn: int
    n_distinct: int
    duplicate_ratio: float
    effective_users: float
    effective_queries: float
    effective_segments: float
    largest_segment: str
    largest_segment_share: float
    mean_age_s: float
    oldest_age_s: float
    oldest_version: int
    live_version: int
    objective_first: float | None = None
    objective_last: float | None = None
    step_norm: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class SignalsSeen:
    """What the facts say of the newest closed lists' signals.

    Attributes:
        n_lists: Lists looked at.
        n_answered: Those of them that have a signal of people.
        delays_s: float64 (m,), seconds from serving to each signal of people, >= 0.
        window_s: How long signals are waited for.
        n_agents: Those of them on which agents spoke, and no person.
    """

    n_lists: int
    n_answered: int
    delays_s: FloatArray
    window_s: float
    n_agents: int = 0


class Scored(NamedTuple):
    """One list that was drawn rather than sorted.

    Attributes:
        scores: (m,) scores of the candidates.
        served: int (k,), those of them that were shown, from the top.
        score_sd: Standard deviation of the scores over all candidates.
    """

    scores: FloatArray | Float32Array
    served: IntArray
    score_sd: float


@dataclass(frozen=True, slots=True, eq=False)
class ListsSeen:
    """Some lists as they stand in memory, padded.

    Attributes:
        features: float32 (b, d, f), raw; NaN where a feature did not exist then.
        inclusion: float64 (b, d), probability with which a document was kept.
        caller_rank: (b, d), place of each document in the caller's order; served ones stand first, as served.
        n_documents: int (b,), documents of each list.
        n_kept: int (b,), served ones among them.
        is_caller_ordered: bool (b,), whether the list was served in the caller's order.
        params_version: int (b,), what served it.
    """

    features: Float32Array
    inclusion: FloatArray
    caller_rank: npt.NDArray[Any]
    n_documents: npt.NDArray[Any]
    n_kept: npt.NDArray[Any]
    is_caller_ordered: npt.NDArray[np.bool_]
    params_version: npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HealthSnapshot:
    """One loop at one instant. Columns have one entry per closed event in memory, in the order they were taken up.

    Attributes:
        now: UTC epoch seconds.
        capacity: Most closed events kept.
        states: Number of events per state.
        served_at: float64 (n,), when it was served.
        rewards: float64 (n,), reward of the list.
        user_hashes: uint64 (n,), hash of the user's pseudonym.
        has_user: bool (n,), whether there is one.
        query_hashes: uint64 (n,), hash of the normalised query.
        salt: What names of queries in the report are made with, see `query_name`.
        segment_codes: int (n,), code of its segment.
        segments: Names of segments by code; None names those without one.
        is_held_out: bool (n,), whether it only judges.
        priorities: float64 (n,), raw.
        counters: What was counted since the loop was opened, by name.
        n_signals: Signals stored.
        live_version: Params in force.
        n_promotions: Promotions in the ledger, the initial one left out.
        last_verdict: The ledger's newest verdict with its first reason, or "".
        replay_ratio: Replayed lists per event taken in, lately, as of the last learning.
        oldest_params_version: Oldest version that served an event which was learned from last, or None.
        examination: Who is taken to look where, or None where that was not asked.
        drawing: How experience is kept and drawn.
        n_bytes: Bytes that the facts take, 0 where that was not asked.
        max_bytes: Most bytes that they may take, 0 for no bound.
        signals: What the newest lists were answered, or None where that was not asked.
        batches: What the last learning drew, or None before it.
        decisions: The gate's ledger, oldest first.
        steps: float64 (v, p), the last versions that were live, oldest first, each at norm 1 and in one space.
        feature_names: Of `newest` and `reference`.
        own_features: Those among them that the loop makes itself: they move with time, and that is no drift.
        newest: The newest lists, oldest of them first, or None.
        reference: Lists before these, spread evenly over what is in memory, or None.
        drawn: The newest lists that were drawn rather than sorted.
    """

    now: float
    capacity: int
    states: Mapping[str, int]
    served_at: FloatArray
    rewards: FloatArray
    user_hashes: npt.NDArray[np.uint64]
    has_user: npt.NDArray[np.bool_]
    query_hashes: npt.NDArray[np.uint64]
    segment_codes: npt.NDArray[Any]
    segments: Mapping[int, str | None]
    is_held_out: npt.NDArray[np.bool_]
    priorities: FloatArray
    counters: Mapping[str, int]
    n_signals: int
    live_version: int
    n_promotions: int
    last_verdict: str
    replay_ratio: float = 0.0
    oldest_params_version: int | None = None
    examination: ExaminationSeen | None = None
    drawing: Drawing = Drawing()
    n_bytes: int = 0
    max_bytes: int = 0
    signals: SignalsSeen | None = None
    batches: BatchesSeen | None = None
    decisions: Sequence[GateDecision] = ()
    steps: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    feature_names: tuple[str, ...] = ()
    own_features: frozenset[str] = frozenset()
    newest: ListsSeen | None = None
    reference: ListsSeen | None = None
    drawn: Sequence[Scored] = ()
    salt: bytes = b""
