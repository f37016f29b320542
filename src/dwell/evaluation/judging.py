"""What one event says about a proposal: its estimated difference to the safe policy, before and after the reward.

    x = sum over d of g_d min(1, rho_d / .05) where g_d = (omega_d^new - omega_d^safe) mu_d > 0, of g_d where it is not
      + sum over shown d of clip((omega_d^new - omega_d^safe) / rho_d, +-W) (c_d - theta_k mu_d)

The first sum is the direct method, pessimistic where the logging policy gave no support; the second corrects it with
what users did. Everything but c is fixed when the event is served, so a late reward changes x without drawing again.

Examination is measured or assumed, never known: the same event is worked out at the ends of its band as well, from the
same rankings, so that the gate can ask whether the verdict depends on it.

Beside it stands an estimate with other assumptions, which holds for users who read from the top and stop anywhere (see
`prefix`): prefix weights  w_k = prod over j <= k of pi(y_j | above) / mu(y_j | above).

Source: Jeunen and Ustimenko 2024, "Delta-OPE"; Oosterhuis 2023 (doubly robust); McInerney et al. 2020, "Counterfactual
Evaluation of Slate Recommendations with Sequential Reward Interactions" (prefix weights).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from dwell.ranking import named_generator, policy_scores, rank_marginals, score_spread
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow

__all__ = [
    "SUPPORT",
    "Contribution",
    "EventPolicy",
    "JudgedEvent",
    "differences",
    "end_differences",
    "judge_event",
    "kish",
]

SUPPORT: Final = 0.05  # gated-loop study: below it a document's exposure counts as no support
_N_DRAWS: Final = 200  # as for the logged exposure: the same Monte Carlo error on both sides of the ratio
_MIN_EXPOSURE: Final = 1e-3  # below one draw in 200 at the last position: only the clip W decides there
_TINY: Final = np.float32(1e-30)
_MAX_LOG_WEIGHT: Final = 50.0  # e^50: such a weight leaves no information, and its square must not overflow


class EventPolicy(NamedTuple):
    """A policy on the documents of one event.

    Attributes:
        scores: float64 (l,).
        temperature: >= 0; at 0 the order is a stable sort.
    """

    scores: FloatArray
    temperature: float


class Contribution(NamedTuple):
    """What turns the rewards of one event into its difference, under one examination.

    Attributes:
        direct: The direct method's difference.
        slope: float64 (kept,), clipped exposure difference over logged exposure, per served document.
        expected: float64 (kept,), theta_k mu_d per served document.
    """

    direct: float
    slope: FloatArray
    expected: FloatArray

    def difference(self, rewards: FloatArray) -> float:
        """Return the estimated difference, given the rewards of the served documents (kept,)."""
        return self.direct + float(self.slope @ (rewards - self.expected))


class JudgedEvent(NamedTuple):
    """What an event contributes once its rewards are known.

    Attributes:
        seq: The event.
        direct: The direct method's difference.
        slope: float64 (kept,), clipped exposure difference over logged exposure, per served document.
        expected: float64 (kept,), theta_k mu_d per served document.
        prefix: float64 (kept,), prefix weights of the proposal, or None where the logging policy drew nothing.
        safe_prefix: The same for the safe policy, or None.
        importance: Mean exposure ratio new / logged over served documents, the event's weight for its sample size.
        unsupported: Share of the proposal's exposure gained by documents without support, in [0, 1].
        ends: The same at the ends of the examination's band, as far as they were asked for.
        clipped: Share of the served documents whose slope was cut at W, in [0, 1].
        forgone: What documents promise to gain and are not believed for want of support, reward per list, >= 0.
        own: What the safe policy earns by this estimate, where it is the one that served and the whole list is kept:
            its `difference` is to nothing at all.
    """

    seq: int
    direct: float
    slope: FloatArray
    expected: FloatArray
    prefix: FloatArray | None
    safe_prefix: FloatArray | None
    importance: float
    unsupported: float
    ends: tuple[Contribution, ...] = ()
    clipped: float = 0.0
    forgone: float = 0.0
    own: Contribution | None = None


def _log_weights(policy: EventPolicy, row: EventRow) -> FloatArray:
    stand_in = 1.0 / row.inclusion
    spread = score_spread(policy.scores, stand_in)
    return policy_scores(policy.scores, policy.temperature, spread=spread) + np.log(stand_in)


def _exposures(
    policy: EventPolicy,
    log_weights: FloatArray | None,
    row: EventRow,
    thetas: FloatArray,
    noise: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> FloatArray:
    """Return the exposure of each document under each of m examinations (m, k), from the same rankings, (m, n)."""
    n = policy.scores.size
    if log_weights is None:
        order = np.argsort(-policy.scores, kind="stable")
        # who stands in for c candidates takes up c positions, as under a drawn order: exposures always sum to theta's
        below = np.cumsum(1.0 / row.inclusion[order])
        value = np.zeros((len(thetas), n))
        for one, theta in zip(value, thetas, strict=True):
            reached = np.interp(below, np.arange(theta.size + 1), np.concatenate([[0.0], np.cumsum(theta)]))
            one[order] = np.diff(reached, prepend=0.0)
        return value
    k = min(thetas.shape[1], n)
    order = np.argsort(noise - log_weights.astype(np.float32), axis=1)[:, :k]
    found: FloatArray = thetas[:, :k] @ rank_marginals(order, n)
    return found


def _log_steps(z: FloatArray, row: EventRow) -> FloatArray:
    """Return log P(document i | those above it) of the served documents, from log weights (l,)."""
    # as logarithms: whatever is far below what was placed first would underflow
    remaining = np.logaddexp.accumulate(z[::-1])[::-1][: row.n_kept]
    own = z[: row.n_kept] + np.log(row.inclusion[: row.n_kept])  # a served document stands for itself alone
    steps: FloatArray = np.minimum(own - remaining, 0.0)
    return steps


def _prefix_weights(steps: FloatArray, row: EventRow) -> FloatArray:
    """Return the product of the ratios to the logged propensities down to each served document."""
    log_weight = np.cumsum(steps - np.log(row.propensities))
    weights: FloatArray = np.exp(np.minimum(log_weight, _MAX_LOG_WEIGHT))
    return weights


def judge_event(
    row: EventRow,
    proposed: EventPolicy,
    safe: EventPolicy,
    predicted: FloatArray,
    theta: FloatArray,
    *,
    max_importance_weight: float,
    ends: Sequence[FloatArray] = (),
    is_own: bool = False,
) -> JudgedEvent:
    """Return what one event contributes to the judgement of a proposal; the same for the same arguments.

    Args:
        row: A closed event that the proposal never learned from; its rewards are not read.
        proposed: The proposal on this event's documents.
        safe: What users get without it.
        predicted: float64 (l,), relevance predicted by a predictor that never saw this event.
        theta: (k,) examination per position, cut to the length of the list.
        max_importance_weight: Clip W of the exposure difference over logged exposure, > 0.
        ends: Further tables of examination, (k,) each: the ends of its band. Logged exposure was worked out under
            `theta`; under another table it is taken to change as the safe policy's does, which is exact where that
            policy served.
        is_own: Whether the safe policy is the one that served, with the logged exposure: then `own` is told.
    """
    thetas = np.array([theta, *ends])[:, : row.n_shown]
    rng = named_generator(b"", "judge", row.event_id)
    noise = rng.standard_exponential((_N_DRAWS, len(row.inclusion)), dtype=np.float32)
    noise = np.log(np.maximum(noise, _TINY, out=noise), out=noise)
    z_new, z_old = (None if p.temperature == 0.0 else _log_weights(p, row) for p in (proposed, safe))
    new = _exposures(proposed, z_new, row, thetas, noise)
    old = _exposures(safe, z_old, row, thetas, noise)
    gain = new - old
    kept = row.n_kept
    # under `theta` as logged, under another table as the safe policy's changes
    exposure = row.exposure * ((old + _MIN_EXPOSURE) / (old[0] + _MIN_EXPOSURE))
    ratio = gain[:, :kept] / np.maximum(exposure[:, :kept], _MIN_EXPOSURE)
    slope = np.clip(ratio, -max_importance_weight, max_importance_weight)
    promised = gain * predicted
    # what is not supported promises no gain; losses are believed: with both discounted, a sharper ranking read better
    supported = promised * np.minimum(1.0, exposure / SUPPORT)
    direct = np.where(promised > 0.0, supported, promised).sum(axis=1)
    examined = np.zeros((len(thetas), kept))
    examined[:, : thetas.shape[1]] = thetas[:, :kept]
    expected = examined * predicted[:kept]
    prefix: FloatArray | None = None
    safe_prefix: FloatArray | None = None
    if not row.is_deterministic and z_new is not None and z_old is not None:
        prefix = _prefix_weights(_log_steps(z_new, row), row)
        safe_prefix = _prefix_weights(_log_steps(z_old, row), row)
    total = float(new[0].sum())
    gained = float(np.maximum(gain[0], 0.0)[row.exposure < SUPPORT].sum())
    return JudgedEvent(
        seq=row.seq,
        direct=float(direct[0]),
        slope=slope[0],
        expected=expected[0],
        prefix=prefix,
        safe_prefix=safe_prefix,
        importance=float((new[0, :kept] / np.maximum(row.exposure[:kept], _MIN_EXPOSURE)).mean()),
        unsupported=gained / total if total > 0.0 else 0.0,
        ends=tuple(Contribution(float(direct[i]), slope[i], expected[i]) for i in range(1, len(thetas))),
        clipped=float((np.abs(ratio[0]) > max_importance_weight).mean()),
        forgone=float(np.maximum(promised[0] - supported[0], 0.0).sum()),
        own=_own(row, old[0], predicted, expected[0], 1.0 + max_importance_weight) if is_own else None,
    )


def _own(row: EventRow, exposure: FloatArray, predicted: FloatArray, expected: FloatArray, most: float) -> Contribution:
    """Return what turns the rewards into the value of a policy with this exposure."""
    ratio = exposure[: row.n_kept] / np.maximum(row.exposure[: row.n_kept], _MIN_EXPOSURE)
    return Contribution(float(exposure @ predicted), np.minimum(ratio, most), expected)


def differences(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> FloatArray:
    """Return the estimated difference of each event, float64 (n,), from the rewards of its served documents."""
    return np.array([e.direct + float(e.slope @ (c - e.expected)) for e, c in zip(events, rewards, strict=True)])


def end_differences(events: Sequence[JudgedEvent], rewards: Sequence[FloatArray]) -> FloatArray:
    """Return the same at the ends of the examination's band, float64 (n, m); m is 0 where an event has none."""
    n_ends = min((len(event.ends) for event in events), default=0)
    found = [[end.difference(c) for end in e.ends[:n_ends]] for e, c in zip(events, rewards, strict=True)]
    return np.array(found, dtype=np.float64).reshape(len(found), n_ends)


def kish(weights: FloatArray) -> float:
    """Return how many equally weighted values these are worth, in [0, n].

    Source:
        Kish 1965, "Survey Sampling", section 8.2.
    """
    square = float((weights**2).sum())
    return float(weights.sum()) ** 2 / square if square > 0.0 else 0.0
