"""The first arrow: candidates in, a ranking out, and an impression that says how likely it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from dwell.errors import RecordError
from dwell.evaluation.interleaving import team_draft
from dwell.loop.candidates import Candidates
from dwell.ranking import draw_ranking, named_generator, policy_scores, score_spread
from dwell.ranking.policy import MIN_SPREAD, Drawn
from dwell.records import Impression, Params, Served
from dwell.records.arrays import Float32Array, FloatArray, IntArray
from dwell.records.impression import MAX_LOGGED_SCORES, Arm, Mode, Policy
from dwell.reward.swaps import Swapped, swapped

__all__ = ["Request", "Serving", "caller_scores", "drawn_elsewhere", "listed_elsewhere", "serve", "serve_drafted"]

_LEAST: Final = 1e-300  # a propensity that underflowed: its ratios are taken
# log of a chance that is 0 or was not logged: exp of it is 0 in float64, and it is finite, as every score is
_NO_CHANCE: Final = -1000.0


class Request(NamedTuple):
    """What one call asks for, checked.

    Attributes:
        event_id: Identity.
        query: The request.
        query_embedding: float32 (d,) or None.
        user: Pseudonym or None.
        segment: Group of queries or None.
        k: Documents to show, >= 1; may exceed the number of candidates.
        is_shown: False for a deferred event.
        now: UTC epoch seconds.
    """

    event_id: str
    query: str
    query_embedding: Float32Array | None
    user: str | None
    segment: str | None
    k: int
    is_shown: bool
    now: float


class Serving(NamedTuple):
    """How lists are ordered now.

    Attributes:
        params: The params in force.
        policy: "params", "caller" or "external".
        mode: Mode of the loop.
        arm: "live", "canary", "baseline" or "interleave".
        temperature: Exploration temperature; 0 draws nothing.
        max_results: Served documents whose features are kept.
        max_candidates: Documents whose features are kept in all.
        secret: Makes draws unpredictable from outside.
        seed: The loop's seed.
        swap_share: Probability that one adjacent pair is drawn, to be shown in either order by a fair coin.
    """

    params: Params
    policy: Policy
    mode: Mode
    arm: Arm
    temperature: float
    max_results: int
    max_candidates: int
    secret: bytes
    seed: int
    swap_share: float = 0.0


def caller_scores(n: int) -> FloatArray:
    """Return scores that reproduce the caller's own order, minus the rank, float64 (n,)."""
    return -np.arange(n, dtype=np.float64)


def serve(candidates: Candidates, request: Request, serving: Serving) -> tuple[Served, Impression]:
    """Return what to show and the record of it; the same for the same arguments.

    Args:
        candidates: The candidates of the call.
        request: What is asked for.
        serving: How lists are ordered now.

    Raises:
        RecordError: code `non_finite:score` or `non_finite:propensity`.
    """
    logged, drawn, rng = _ranked(candidates, request, serving)
    coin = _intervention(drawn, request, serving)
    if coin is not None:
        n_open = len(coin.order)  # what is shown deeper stays as it is
        order, propensities = drawn.order.copy(), np.maximum(drawn.propensities, _LEAST)
        order[:n_open], propensities[:n_open] = coin.order, np.maximum(coin.propensities, _LEAST)
        drawn = drawn._replace(order=order, propensities=propensities)
    impression = _impression(candidates, request, serving, drawn, logged, rng)
    if coin is not None:
        impression = replace(impression, arm="swap", swap_pair=coin.pair, is_swapped=coin.is_swapped)
    return _served(impression, drawn, logged), impression


def serve_drafted(
    candidates: Candidates, request: Request, live: Serving, proposed: Serving
) -> tuple[Served, Impression]:
    """Return a list that a draw of the proposal and one of the live params draft in turn, and the record of it.

    Both draw with the same noise: what differs between them is their params' doing. The list is nobody's draw, so that
    its propensities are 1, as where nothing is drawn.

    Args:
        candidates: The candidates of the call.
        request: What is asked for.
        live: How the live params order.
        proposed: How the proposal does; what it scored is recorded.

    Raises:
        RecordError: code `non_finite:score` or `non_finite:propensity`.
    """
    logged, by_proposed, rng = _ranked(candidates, request, proposed)
    by_live = _ranked(candidates, request, live)[1]
    coins = named_generator(proposed.secret, "interleave", proposed.seed, request.event_id)
    order, team = team_draft(by_proposed.order, by_live.order, by_proposed.order.size, coins)
    drafted = Drawn(order, np.ones(order.size))
    impression = _impression(candidates, request, proposed, drafted, logged, rng)
    impression = replace(impression, is_deterministic=True, teams=tuple(team.tolist()))
    return _served(impression, drafted, logged), impression


def listed_elsewhere(candidates: Candidates, request: Request, serving: Serving, scores: FloatArray) -> Impression:
    """Return the record of a list that another ranker ordered: nothing is drawn, and all of it was shown.

    Args:
        candidates: In the order shown.
        request: What was asked for; all candidates are shown.
        serving: How lists are recorded: policy "external", temperature 0.
        scores: float64 (n,), that ranker's scores, finite as float32.
    """
    n = len(candidates.ids)
    order = np.arange(n)
    kept, inclusion = order, np.ones(n)
    if n > serving.max_results and n > serving.max_candidates:
        rng = named_generator(serving.secret, "serve", serving.seed, request.event_id)
        kept, inclusion = _kept_documents(n, order, serving, rng)
    where, _, _ = _logged_scores(caller_scores(n).astype(np.float32), kept, 0.0)
    return _recorded(
        candidates,
        request,
        serving,
        Drawn(order, np.ones(n)),
        _Logged(kept, inclusion, where, scores[:MAX_LOGGED_SCORES].astype(np.float32), float(score_spread(scores))),
    )


def drawn_elsewhere(
    candidates: Candidates, request: Request, serving: Serving, shown: int, chances: FloatArray
) -> Impression:
    """Return the record of one document that another policy drew from candidates whose chances it logged.

    The scores are the logs of the chances, and the temperature is the one at which a Plackett-Luce policy with these
    scores draws the first document with just these chances. A chance that is not known is taken for none, as where a
    list was sorted: what was not shown then counts as not supported. What was shown with chance 1 was not drawn: such a
    record is deterministic, whatever the log calls it.

    Args:
        candidates: In the order in which that policy was given them.
        request: What was asked for; one document is shown.
        serving: How lists are recorded: policy "external".
        shown: Which of the candidates was shown.
        chances: float64 (n,), probability with which each was shown, in [0, 1]; NaN where it is not known. That of the
            one that was shown is above 0.
    """
    is_known = np.nan_to_num(chances, nan=0.0) > 0.0
    scores = np.full(chances.size, _NO_CHANCE)
    scores[is_known] = np.log(chances[is_known])
    logged = _as_logged(scores)
    spread = float(score_spread(logged))
    drawn = Drawn(np.array([shown]), np.array([max(float(chances[shown]), _LEAST)]))
    rng = named_generator(serving.secret, "serve", serving.seed, request.event_id)
    temperature = 1.0 / spread if spread > MIN_SPREAD else 1.0
    if chances[shown] >= 1.0:
        temperature = 0.0
    return _impression(candidates, request, serving._replace(temperature=temperature), drawn, logged, rng)


def _ranked(
    candidates: Candidates, request: Request, serving: Serving
) -> tuple[Float32Array, Drawn, np.random.Generator]:
    """Return scores as they are logged, the draw, and the generator behind it."""
    ids, features = candidates
    n = len(ids)
    k = min(request.k, n)
    raw = caller_scores(n)
    if serving.policy == "params":
        raw = serving.params.score(features, segment=request.segment, query_embedding=request.query_embedding)
    # the policy is defined on what is logged: with float64 scores the logged float32 ones would give other propensities
    logged = _as_logged(raw)
    scores = logged.astype(np.float64)
    rng = named_generator(serving.secret, "serve", serving.seed, request.event_id)
    drawn = draw_ranking(scores, serving.temperature, k, rng)
    if not np.isfinite(drawn.propensities).all():
        raise RecordError(
            "a propensity is not finite",
            code="non_finite:propensity",
            field="temperature",
            value=serving.temperature,
            hint="Draw at a temperature that scores can be divided by, or at 0.",
        )
    return logged, drawn, rng


def _served(impression: Impression, drawn: Drawn, logged: Float32Array) -> Served:
    return Served(
        event_id=impression.event_id,
        ids=list(impression.served),
        scores=logged.astype(np.float64)[drawn.order],
        propensities=drawn.propensities.copy(),  # the caller may do as he likes with his own
        params_version=impression.params_version,
    )


def _intervention(drawn: Drawn, request: Request, serving: Serving) -> Swapped | None:
    """Return the top of a list with an adjacent pair in either order; None where no pair is drawn, as mostly.

    The draw has a stream of its own: with a share of 0, and for every list that is not chosen, nothing else changes.
    """
    if serving.swap_share == 0.0:
        return None
    rng = named_generator(serving.secret, "swap", serving.seed, request.event_id)
    top = drawn.order[: serving.max_results]
    propensities = np.maximum(drawn.propensities[: len(top)], _LEAST)
    found = swapped(top, rng, serving.swap_share, propensities=propensities)
    return found if found.pair else None


def _as_logged(scores: FloatArray) -> Float32Array:
    with np.errstate(over="ignore"):
        logged = scores.astype(np.float32)
    if not np.isfinite(logged).all():
        at = int(np.flatnonzero(~np.isfinite(logged))[0])
        raise RecordError(
            "a score is not finite as float32",
            code="non_finite:score",
            field=f"scores[{at}]",
            value=float(scores[at]),
            hint="Scale the features, or use smaller weights.",
        )
    return logged


def _impression(
    candidates: Candidates,
    request: Request,
    serving: Serving,
    drawn: Drawn,
    scores: Float32Array,
    rng: np.random.Generator,
) -> Impression:
    kept, inclusion = _kept_documents(len(candidates.ids), drawn.order, serving, rng)
    where, logged, rest = _logged_scores(scores, kept, serving.temperature)
    found = _Logged(kept, inclusion, where, logged, float(score_spread(scores)), rest)
    return _recorded(candidates, request, serving, drawn, found)


class _Logged(NamedTuple):
    """What is logged of the candidates; see `Impression`."""

    kept: IntArray
    inclusion: FloatArray
    where: IntArray
    scores: Float32Array
    spread: float
    rest_logsumexp: float = -np.inf


def _recorded(candidates: Candidates, request: Request, serving: Serving, drawn: Drawn, logged: _Logged) -> Impression:
    ids, features = candidates
    return Impression(
        event_id=request.event_id,
        served_at=request.now,
        query=request.query,
        query_embedding=request.query_embedding,
        user=request.user,
        segment=request.segment,
        mode=serving.mode,
        policy=serving.policy,
        params_version=serving.params.version,
        arm=serving.arm,
        temperature=serving.temperature,
        is_deterministic=serving.temperature == 0.0,
        is_shown=request.is_shown,
        served=tuple([ids[i] for i in drawn.order.tolist()]),
        propensities=drawn.propensities,
        n_candidates=len(ids),
        scores=logged.scores,
        score_sd=logged.spread,
        rest_logsumexp=logged.rest_logsumexp,
        documents=tuple([ids[i] for i in logged.kept.tolist()]),
        document_scores=logged.where,
        inclusion=logged.inclusion,
        features=features[logged.kept],
        feature_names=serving.params.feature_names if features.shape[1] else (),
    )


def _kept_documents(n: int, order: IntArray, serving: Serving, rng: np.random.Generator) -> tuple[IntArray, FloatArray]:
    """Return which documents' features are kept, served ones first, and the probability with which each was."""
    served = order[: serving.max_results]
    is_other = np.ones(n, dtype=bool)
    is_other[served] = False
    others = np.flatnonzero(is_other)  # documents shown deeper than max_results compete like unserved ones
    room = max(serving.max_candidates - len(served), 0)
    if others.size <= room:
        sample, probability = others, 1.0
    else:
        sample, probability = np.sort(rng.choice(others, size=room, replace=False)), room / others.size
    kept = np.concatenate([served, sample])
    inclusion = np.ones(len(kept))
    inclusion[len(served) :] = probability
    return kept, inclusion


def _logged_scores(scores: Float32Array, kept: IntArray, temperature: float) -> tuple[IntArray, Float32Array, float]:
    """Return where each kept document's score stands, the logged scores, and the log mass of those left out."""
    n = scores.size
    if n <= MAX_LOGGED_SCORES:
        return kept.astype(np.int64), scores, -np.inf
    must = np.zeros(n, dtype=bool)
    must[kept] = True
    # the heaviest documents carry the partition sum: keep those, after the ones whose features are kept
    priority = np.where(must, np.inf, scores.astype(np.float64))
    chosen = np.sort(np.argsort(-priority, kind="stable")[:MAX_LOGGED_SCORES])
    where = np.searchsorted(chosen, kept)
    left_out = np.ones(n, dtype=bool)
    left_out[chosen] = False
    if temperature == 0.0:
        return where, scores[chosen], -np.inf
    spread = max(float(score_spread(scores)), MIN_SPREAD)
    z = policy_scores(scores, temperature, spread=spread)[left_out]
    top = float(scores.max()) / (temperature * spread)
    return where, scores[chosen], float(np.logaddexp.reduce(z)) + top
