"""Rankers that others would make of the very same log: contextual bandits, unbiased LambdaMART, naive click-through.

Each learns from the lists of the frozen logging policy and the clicks on them, and from nothing else. None was tuned on
the test questions but where a docstring says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.learning.pl_rank import full_rankings, pl_rank_gradient
from dwell.ranking import conditional_propensities, policy_scores
from study.scoring import Scorer
from study.simulation import TEMPERATURE, Logged
from study.worlds import FloatArray, IntArray, World, standardised

__all__ = ["click_through", "logged_propensities", "naive_pl_rank", "unbiased_lambdamart", "vw_bandit"]

_ROUNDS: Final = 200  # as LambdaMART on full labels
_EPOCHS: Final = 20  # learning study, 2.4: 20 epochs of Adam .01, 32 to 64 samples
_STEP: Final = 0.01
_SAMPLES: Final = 32
_BATCH: Final = 32  # questions in a step
_ADAM: Final = (0.9, 0.999, 1e-8)  # Kingma and Ba 2015


def logged_propensities(world: World, entry: Logged) -> FloatArray:
    """Return the logging policy's P(document | those above it) for what it showed, float64 (k,)."""
    features = world.train[entry.question].features.astype(np.float64)
    scores = features @ np.array([world.weights[name] for name in world.feature_names])
    others = np.setdiff1d(np.arange(scores.size), entry.shown)
    order = np.concatenate([entry.shown, others])
    return conditional_propensities(policy_scores(scores, TEMPERATURE), order, entry.shown.size)


# ---- contextual bandits


def vw_bandit(world: World, log: Sequence[Logged], *, slots: int) -> Scorer:
    """Return Vowpal Wabbit's `cb_explore_adf` on the log: linear, one pass, its defaults but for softmax and mtr.

    A list of k documents is a decision per slot: the candidates are those not placed above, the cost is minus the
    click, the probability is the logging policy's own, the slot is a feature that all candidates share. The order is
    by predicted cost: softmax keeps it, and what is explored plays no part in learning from a log.

    Args:
        world: The set.
        log: Of the frozen logging policy.
        slots: Decisions per list, from the top: 1 for the first document alone.
    """
    import vowpalwabbit

    space = standardised(world)
    texts = [[_as_text(row) for row in documents] for documents in space.train]
    bandit = vowpalwabbit.Workspace("--cb_explore_adf --softmax --lambda 10 --cb_type mtr --quiet")
    for entry in log:
        documents = texts[entry.question]
        chances = logged_propensities(world, entry)
        left = list(range(len(documents)))
        for slot, chosen in enumerate(entry.shown[:slots].tolist()):
            cost = -float(entry.clicks[slot])
            lines = [f"0:{cost}:{chances[slot]:.6g} {documents[d]}" if d == chosen else documents[d] for d in left]
            if len(left) > 1:  # a last document leaves nothing to decide
                bandit.learn([f"shared |s at{slot}", *lines])
            left.remove(chosen)

    def score(features: npt.NDArray[np.float32]) -> FloatArray:
        rows = (features.astype(np.float64) - space.mean) / space.sd
        return np.log(np.maximum(bandit.predict(["shared |s at0", *map(_as_text, rows)]), 1e-300))

    return score


def _as_text(row: FloatArray) -> str:
    return "|d " + " ".join(f"{j}:{value:.5g}" for j, value in enumerate(row.tolist()) if value)


# ---- trees with a bias of their own per position


def unbiased_lambdamart(world: World, log: Sequence[Logged]) -> Scorer:
    """Return LightGBM's `lambdarank` on the lists as shown, clicks as labels, with `position` to take the bias out.

    Settings are those of LambdaMART on full labels; histograms of 63 bins, since rows are many.

    Source: Hu, Wang, Peng, Li, WWW 2019, for the idea; LightGBM 4.1 and later for this form of it.
    """
    import lightgbm

    kept = [entry for entry in log if entry.clicks.any()]  # a list without a click orders nothing
    rows = lightgbm.Dataset(
        np.concatenate([world.train[entry.question].features[entry.shown] for entry in kept]),
        label=np.concatenate([entry.clicks for entry in kept]).astype(np.int64),
        group=[entry.shown.size for entry in kept],
        position=np.concatenate([np.arange(entry.shown.size) for entry in kept]),
        free_raw_data=True,
    )
    settings: dict[str, Any] = {
        "objective": "lambdarank",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "max_bin": 63,
        "lambdarank_truncation_level": 10,
        "deterministic": True,
        "num_threads": 1,
        "seed": 0,
        "verbosity": -1,
    }
    trees = lightgbm.train(settings, rows, num_boost_round=_ROUNDS)
    return lambda features: np.asarray(trees.predict(features, num_threads=1), dtype=np.float64)


# ---- clicks per time shown


def click_through(world: World, log: Sequence[Logged]) -> list[tuple[FloatArray, int]]:
    """Return per training question the clicks of each document per time shown, 0 if never, and the times asked."""
    clicks = [np.zeros(len(question.ids)) for question in world.train]
    shown = [np.zeros(len(question.ids)) for question in world.train]
    asked = np.zeros(len(world.train), dtype=np.int64)
    for entry in log:
        np.add.at(clicks[entry.question], entry.shown, entry.clicks)
        np.add.at(shown[entry.question], entry.shown, 1.0)
        asked[entry.question] += 1
    return [(c / np.maximum(n, 1.0), int(m)) for c, n, m in zip(clicks, shown, asked, strict=True)]


def naive_pl_rank(world: World, log: Sequence[Logged], seed: int) -> Scorer:
    """Return a linear ranker that maximises the DCG of click-through rates, without a correction for position.

    PL-Rank-3, 20 epochs of Adam .01 over the questions in batches of 32, 32 sampled rankings, from the logging policy
    in standardised units, at temperature 1.

    Source: Oosterhuis, SIGIR 2022; the naive estimate as in Oosterhuis, TOIS 2023, divided by impressions per document.
    """
    space = standardised(world)
    rates = click_through(world, log)
    chosen = [i for i, (rate, _) in enumerate(rates) if rate.any()]
    rng = np.random.default_rng([seed, 5])
    w, first, second, n_steps = space.start.copy(), np.zeros_like(space.start), np.zeros_like(space.start), 0
    if not chosen:
        return space.scorer(w)
    for _ in range(_EPOCHS):
        order = rng.permutation(chosen)
        for start in range(0, len(order), _BATCH):
            slope = _dcg_slope(space.train, rates, order[start : start + _BATCH], w, rng)
            n_steps += 1
            first = _ADAM[0] * first + (1.0 - _ADAM[0]) * slope
            second = _ADAM[1] * second + (1.0 - _ADAM[1]) * slope**2
            unbiased = first / (1.0 - _ADAM[0] ** n_steps), second / (1.0 - _ADAM[1] ** n_steps)
            w += _STEP * unbiased[0] / (np.sqrt(unbiased[1]) + _ADAM[2])
    return space.scorer(w)


def _dcg_slope(
    train: Sequence[FloatArray],
    rates: Sequence[tuple[FloatArray, int]],
    questions: IntArray,
    w: FloatArray,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the gradient of the mean DCG of a batch, weighted by how often each question was asked, float64 (f,)."""
    slope = np.zeros_like(w)
    weights = np.array([rates[i][1] for i in questions], dtype=np.float64)
    for i, weight in zip(questions.tolist(), weights / weights.sum(), strict=True):
        z = train[i] @ w
        n = z.size
        noise = np.log(np.maximum(rng.standard_exponential((1, _SAMPLES, n)), 1e-30)).astype(np.float32)
        values = np.where(np.arange(n) < 10, 1.0 / np.log2(np.arange(2, n + 2)), 0.0)
        sampled = full_rankings((z - z.max())[None], noise)
        slope += weight * (pl_rank_gradient(sampled, rates[i][0][None], values[None])[0] @ train[i])
    return slope
