"""What was served: the fact that everything else is joined to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np

from dwell.records.arrays import Float32Array, FloatArray, IntArray

__all__ = ["MAX_LOGGED_SCORES", "Arm", "Impression", "Mode", "Policy", "teams_as_shown"]

Mode = Literal["log-only", "shadow", "canary", "live"]
Policy = Literal["params", "caller", "external"]
Arm = Literal["live", "canary", "baseline", "interleave", "swap"]

MAX_LOGGED_SCORES: Final = 1_000  # design, section 5: what is logged of the candidates


def teams_as_shown(served: Sequence[str], teams: Sequence[int], shown: Sequence[str]) -> tuple[int, ...]:
    """Return the team of each document shown; nobody's where it was added, and all nobody's where they were re-sorted.

    The coins made the teams' places alike. What is cut or added leaves that; another order puts them where somebody
    else wants them.

    Args:
        served: Document ids as they were drafted.
        teams: Their teams.
        shown: Document ids as they were rendered.
    """
    place = {doc: i for i, doc in enumerate(served)}
    places = [place[doc] for doc in shown if doc in place]
    if places != sorted(places):
        return (0,) * len(shown)
    return tuple(teams[place[doc]] if doc in place else 0 for doc in shown)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Impression:
    r"""One served list, with all that a counterfactual needs; never changed once written.

    Attributes:
        event_id: Identity, matches `[\w.:/@-]{1,128}`.
        served_at: UTC epoch seconds, >= 0.
        query: The request, at most 64 KB.
        query_embedding: float32 (d,), or None.
        user: Pseudonym (32 hex digits) or None; the raw id is never kept.
        segment: Group of queries, or None.
        mode: "log-only", "shadow", "canary" or "live".
        policy: What ordered the list: "params", "caller" (the caller's own order, explored or not) or "external"
            (somebody else's ranker, through `log_retrieval`).
        params_version: Version of the params in force, >= 0.
        arm: "live", "canary", "baseline", "interleave" (a list that the proposal, whose version and scores are
            recorded, and the live params drafted in turn) or "swap" (the live arm with an adjacent pair in either order
            by a fair coin, which measures who looks where).
        temperature: Exploration temperature, >= 0; 0 is a stable sort.
        is_deterministic: Whether the policy drew nothing: then every propensity is 1, a swapped pair's apart. So it is
            for arm "interleave", whose lists are no policy's draws.
        is_shown: False while a deferred event waits for `activate`.
        is_altered: Whether what was shown is an order that this policy did not choose.
        activated_at: UTC epoch seconds at which a deferred event was activated, or None.
        served: Document ids in the order shown; k of them.
        propensities: float64 (k,), P(document i | those above it), in (0, 1]. In arm "swap" given which pair was drawn:
            the pair's joint probability stands at its upper position, and 1 at its lower one.
        n_candidates: Number of candidates of the call, >= k.
        scores: float32 (m,), raw scores of min(n_candidates, 1000) candidates in the caller's order.
        score_sd: Population standard deviation of the scores over *all* candidates, >= 0.
        rest_logsumexp: log sum exp of score / (temperature * max(score_sd, 1e-9)) over the candidates whose scores are
            not logged; -inf where all are.
        documents: Ids of the documents whose features are kept: served ones first, in served order, up to
            `max_results`, then a uniform sample of the unserved.
        document_scores: int64 (l,), index of each kept document into `scores`.
        inclusion: float64 (l,), probability with which the document was kept; 1 for served ones.
        features: float32 (l, f), raw feature values in the order of `feature_names`; NaN marks a feature that did not
            exist when the event was served. (0, 0) where none were given.
        feature_names: Names of the columns.
        keep_probability: Probability with which an event like this one was kept at all, in (0, 1].
        teams: Per document of `served`, in arm "interleave": 1 where the proposal drafted it, -1 the live params, 0
            nobody. Empty in the others.
        swap_pair: Upper position of the pair that was drawn in arm "swap", from 1; 0 in the others.
        is_swapped: Whether the coin showed that pair the other way round.
        seq: Position in the store's order, >= 1; 0 before it is stored.
    """

    event_id: str
    served_at: float
    query: str
    mode: Mode
    policy: Policy
    params_version: int
    temperature: float
    is_deterministic: bool
    served: tuple[str, ...]
    propensities: FloatArray
    n_candidates: int
    scores: Float32Array
    score_sd: float
    documents: tuple[str, ...]
    document_scores: IntArray
    inclusion: FloatArray
    features: Float32Array
    feature_names: tuple[str, ...]
    rest_logsumexp: float = -np.inf
    query_embedding: Float32Array | None = None
    user: str | None = None
    segment: str | None = None
    arm: Arm = "live"
    is_shown: bool = True
    is_altered: bool = False
    activated_at: float | None = None
    keep_probability: float = 1.0
    teams: tuple[int, ...] = ()
    swap_pair: int = 0
    is_swapped: bool = False
    seq: int = field(default=0)

    @property
    def has_features(self) -> bool:
        """Whether features were logged: without them the event is joined and counted, but not learned from."""
        return bool(self.features.size)

    @property
    def is_policys(self) -> bool:
        """Whether one policy chose what was shown: only then do propensities and exposure mean anything."""
        return not self.is_altered and self.arm != "interleave"

    @property
    def n_served(self) -> int:
        """Length of the list as shown."""
        return len(self.served)
