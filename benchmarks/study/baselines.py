"""What the loop is compared with: the founding document's trainer taken literally, and rankers on the full labels.

The founding document's trainer is run on the log of the frozen logging policy, with everything that it leaves open
decided in its favour, see `literal_trainer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from study.scoring import Scorer, ndcg_per_question
from study.simulation import TEMPERATURE, Logged
from study.worlds import FloatArray, IntArray, Question, World, ridge_weights, standardised

__all__ = [
    "LEARNING_RATES",
    "PASSES",
    "Literal",
    "lambdamart",
    "linear_on_labels",
    "list_gradients",
    "literal_priorities",
    "literal_trainer",
]

LEARNING_RATES: Final = (0.0003, 0.001, 0.003, 0.01)  # the last one is the founding document's own
PASSES: Final = (1, 2, 5, 10)  # over the log
_BATCH: Final = 64  # founding document, train_from_replay
_RIDGES: Final = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_FOLDS: Final = 5
_ROUNDS: Final = 200


class Literal(NamedTuple):
    """The literal trainer's rankers.

    Attributes:
        test: {(learning rate, passes): float64 (n_test,), nDCG@10 per test question}.
    """

    test: dict[tuple[float, int], FloatArray]


def literal_priorities(rewards: FloatArray) -> FloatArray:
    """Return the founding document's priorities, float64 (n,): |reward - predicted| + 0.1 |reward| + 0.01.

    The document does not say what predicts: here it is the mean of the rewards before, 0 for the first.
    """
    before = np.concatenate([[0.0], np.cumsum(rewards)[:-1]]) / np.maximum(np.arange(rewards.size), 1)
    return np.abs(rewards - before) + 0.1 * np.abs(rewards) + 0.01


def list_gradients(weights: FloatArray, documents: FloatArray, n_shown: int, temperature: float) -> FloatArray:
    """Return d/dw of the log probability of a list, float64 (l, f), for l weight vectors at once.

    Args:
        weights: (l, f).
        documents: (n, f), all candidates, those shown first and in the order shown.
        n_shown: Length of the list, 1 <= n_shown <= n.
        temperature: Of the Plackett-Luce policy with log weights score / temperature, > 0.
    """
    z = weights @ documents.T / temperature
    heavy = np.exp(z - z.max(axis=1, keepdims=True))
    remaining = np.cumsum(heavy[:, ::-1], axis=1)[:, ::-1][:, :n_shown]
    # sum over the ranks down to a document's own of 1 / what was left to choose from
    chances = np.cumsum(1.0 / np.maximum(remaining, 1e-300), axis=1)
    reached = np.concatenate([chances, np.repeat(chances[:, -1:], documents.shape[0] - n_shown, axis=1)], axis=1)
    coefficient = -heavy * reached
    coefficient[:, :n_shown] += 1.0
    gradient: FloatArray = coefficient @ documents / temperature
    return gradient


def literal_trainer(world: World, log: Sequence[Logged], seed: int) -> Literal:
    """Return the founding document's `train_from_replay` run on a log, for every learning rate and number of passes.

    Literal: draws by priority with replacement and without correction, in batches of 64; one reward for the whole list;
    each drawn experience moves the params at once, by learning rate * reward * d log pi(list) / dw; the reward is the
    number of clicks. In its favour: standardised features, the start scaled to the spread at which the list was drawn,
    the policy over all candidates and not the served ones alone, and whoever reads the result may choose the learning
    rate and the number of passes on the test questions.
    """
    space = standardised(world)
    rewards = np.array([float(entry.clicks.sum()) for entry in log])
    mass = np.cumsum(literal_priorities(rewards))
    orders = [_shown_first(entry.shown, len(space.train[entry.question])) for entry in log]
    rng = np.random.default_rng([seed, 4])
    rates = np.array(LEARNING_RATES)[:, None]
    weights = np.repeat(space.start[None, :], len(LEARNING_RATES), axis=0)
    found: dict[tuple[float, int], FloatArray] = {}
    n_batches = 0
    for passes in PASSES:
        while n_batches * _BATCH < passes * len(log):
            n_batches += 1
            for i in np.searchsorted(mass, rng.random(_BATCH) * mass[-1], side="right").tolist():
                if rewards[i] == 0.0:
                    continue  # the gradient is the reward times a slope
                documents = space.train[log[i].question][orders[i]]
                slope = list_gradients(weights, documents, len(log[i].shown), TEMPERATURE)
                weights = weights + rates * rewards[i] * slope
        for rate, row in zip(LEARNING_RATES, weights, strict=True):
            found[rate, passes] = ndcg_per_question(space.scorer(row), world.test)
    return Literal(found)


def _shown_first(shown: IntArray, n: int) -> IntArray:
    is_other = np.ones(n, dtype=bool)
    is_other[shown] = False
    return np.concatenate([shown, np.flatnonzero(is_other)])


def linear_on_labels(world: World) -> tuple[Scorer, float]:
    """Return ridge regression of the grades on all labelled training questions, and its ridge.

    The ridge is chosen by 5-fold cross-validated nDCG@10 on the training questions.
    """
    judged = [question for question in world.train if question.grades.any()]
    fold = np.arange(len(judged)) % _FOLDS

    def quality(ridge: float) -> float:
        found = []
        for left_out in range(_FOLDS):
            weights = ridge_weights([q for q, f in zip(judged, fold, strict=True) if f != left_out], ridge)
            part = [q for q, f in zip(judged, fold, strict=True) if f == left_out]
            found.append(ndcg_per_question(_linear(weights), part))
        return float(np.concatenate(found).mean())

    best = max(_RIDGES, key=quality)
    return _linear(ridge_weights(judged, best)), best


def _linear(weights: FloatArray) -> Scorer:
    return lambda features: features.astype(np.float64) @ weights


def lambdamart(world: World) -> Scorer:
    """Return LambdaMART of LightGBM on all labelled training questions: 200 rounds, 15 leaves, step .05, untuned."""
    import lightgbm

    judged: list[Question] = [question for question in world.train if question.grades.any()]
    rows = lightgbm.Dataset(
        np.concatenate([question.features for question in judged]),
        label=np.concatenate([question.grades for question in judged]),
        group=[len(question.ids) for question in judged],
        free_raw_data=True,
    )
    settings: dict[str, Any] = {
        "objective": "lambdarank",
        "learning_rate": 0.05,
        "num_leaves": 15,
        "min_data_in_leaf": 20,
        "lambdarank_truncation_level": 10,
        "deterministic": True,
        "num_threads": 1,
        "seed": 0,
        "verbosity": -1,
    }
    trees = lightgbm.train(settings, rows, num_boost_round=_ROUNDS)

    def score(features: np.ndarray[Any, np.dtype[np.float32]]) -> FloatArray:
        return np.asarray(trees.predict(features, num_threads=1), dtype=np.float64)

    return score
