"""The lists that a training step is timed on, and the step as the package takes it."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from dwell.learning.learner import LearnerSettings, Lists, learn
from dwell.learning.predictor import Predictor
from dwell.records.rows import RowBatch

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

N_FEATURES: Final = 8
N_EVENTS: Final = 10_000.0  # effective size of the log: clip 0.1, trust region 1.5
TEMPERATURE: Final = 1.0  # gated-loop study: the learner's own
SETTINGS: Final = LearnerSettings()


class Task(NamedTuple):
    """All that a step reads.

    Attributes:
        lists: A sample of lists, as the loop makes it.
        start: (p,) the live params at norm 1.
        predictors: The direct method of both folds.
        theta: (k,) examination.
    """

    lists: Lists
    start: FloatArray
    predictors: tuple[Predictor, Predictor]
    theta: FloatArray


def made_up(n_lists: int, n_documents: int, *, n_shown: int = 10, seed: int = 0) -> Task:
    """Return lists of normal features, ten documents of each shown, clicks by position and the first feature."""
    rng = np.random.default_rng(seed)
    b, d, k = n_lists, n_documents, min(n_shown, n_documents)
    phi = rng.normal(size=(b, d, N_FEATURES))
    theta = 1.0 / np.arange(1.0, k + 1.0)
    position = np.zeros((b, d), dtype=np.int64)
    position[:, :k] = np.arange(1, k + 1)
    rewards = np.zeros((b, d))
    rewards[:, :k] = rng.random((b, k)) < theta / (1.0 + np.exp(-phi[:, :k, 0]))
    start = rng.normal(size=N_FEATURES)
    start /= np.linalg.norm(start)
    batch = RowBatch(
        seqs=np.arange(1, b + 1),
        features=phi.astype(np.float32),
        is_document=np.ones((b, d), dtype=bool),
        log_stand_in=np.zeros((b, d)),
        exposure=np.full((b, d), theta.sum() / d),
        rewards=rewards,
        position=position,
        propensities=np.full((b, k), 1.0 / d),
        caller_rank=np.tile(np.arange(float(d)), (b, 1)),
        n_kept=np.full(b, k),
        n_shown=np.full(b, k),
        query_hash=rng.integers(0, 2**63, b).astype(np.uint64),
    )
    predictors = Predictor(rng.normal(size=N_FEATURES + 1) * 0.1), Predictor(rng.normal(size=N_FEATURES + 1) * 0.1)
    return Task(Lists(batch, phi, phi @ start, np.ones(b)), start, predictors, theta)


def our_step(task: Task, seed: int) -> FloatArray:
    """Return the weights after one step of `dwell.learning.learner.learn`, at norm 1, and the slope's norm, (p + 1,).

    Adam's first step follows signs alone: the norm tells whether the slopes agree.
    """
    found = learn(
        task.start,
        [task.lists],
        task.predictors,
        theta=task.theta,
        temperature=TEMPERATURE,
        n_events=N_EVENTS,
        settings=SETTINGS,
        rng=np.random.default_rng(seed),
    )
    return np.append(found.vector, found.curves["gradient_norm"][0])
