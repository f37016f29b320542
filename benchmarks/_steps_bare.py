"""The same step as plain arithmetic: no checks, no functions of ours, no padding, no lists of another length.

What it leaves out is what it may: every list has the same length and depth, every document stands for itself, and no
weight underflows. What it computes is the same to the last digits but a few: cross-fitted predictions, doubly robust
relevance, sampled rankings of the learned and of the safe policy from shared noise, both exposures, the trust region,
PL-Rank-3, the slope through the standardised scores, and Adam.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from _steps_ours import N_EVENTS, SETTINGS, TEMPERATURE, Task
from dwell.learning.relevance import exposure_clip
from dwell.learning.trust import trust_radius

FloatArray = np.ndarray[Any, np.dtype[np.float64]]


def bare_step(task: Task, seed: int) -> FloatArray:  # noqa: PLR0915 - written out: what is timed has no calls of ours
    """Return the weights after one step and the slope's norm, (p + 1,): those of `our_step` up to rounding."""
    lists, w, theta, tau = task.lists, task.start, task.theta, TEMPERATURE
    batch, phi = lists.batch, lists.phi
    b, d, _ = phi.shape
    k, m = theta.size, SETTINGS.n_samples
    clip, eps = exposure_clip(N_EVENTS), trust_radius(N_EVENTS)
    rng = np.random.default_rng(seed)

    # relevance: cross-fitted predictions, doubly robust, less the mean of the list
    fold = (batch.query_hash % np.uint64(2)).astype(np.int64)
    both = [np.clip(phi @ one.beta[:-1] + one.beta[-1], -1.0, 1.0) for one in task.predictors]
    predicted = np.where(fold[:, None] == 0, both[1], both[0])
    credit = predicted * np.minimum(1.0, batch.exposure / clip)
    top = slice(0, k)
    credit[:, top] += (batch.rewards[:, top] - theta * predicted[:, top]) / np.maximum(batch.exposure[:, top], clip)
    credit -= credit.mean(axis=1, keepdims=True)

    # rankings of both policies from the same noise
    scores = phi @ w
    noise = rng.standard_exponential((b, m, d), dtype=np.float32)
    noise = np.log(np.maximum(noise, np.float32(1e-30), out=noise), out=noise)
    drawn = []
    for s in (scores, lists.safe_scores):
        spread = np.maximum(s.std(axis=1, keepdims=True), 1e-9)
        z = (s - s.max(axis=1, keepdims=True)) / (tau * spread)
        order = np.argsort(noise - z[:, None, :].astype(np.float32), axis=-1)
        flat = order + (np.arange(b) * d)[:, None, None]
        at_top = flat[..., :k]
        exposure = np.bincount(at_top.ravel(), np.broadcast_to(theta, at_top.shape).ravel(), minlength=b * d) / m
        drawn.append((z, flat, exposure.reshape(b, d)))
    (z, flat, exposure), (_, _, safe_exposure) = drawn
    ratio = (exposure + 0.01) / (safe_exposure + 0.01)
    leaves = ((credit > 0.0) & (ratio > 1.0 + eps)) | ((credit < 0.0) & (ratio < 1.0 / (1.0 + eps)))
    trusted = np.where(leaves, 0.0, credit)

    # PL-Rank-3
    weight = np.exp(z)
    placed, r = weight.ravel()[flat], trusted.ravel()[flat]
    earned = r[..., :k] * theta
    remaining = np.cumsum(placed[..., ::-1], axis=-1)[..., ::-1][..., :k]
    inverse = 1.0 / remaining
    from_here = np.cumsum(earned[..., ::-1], axis=-1)[..., ::-1]
    running_reward = np.cumsum(from_here * inverse, axis=-1)
    running_value = np.cumsum(theta * inverse, axis=-1)
    terms = np.empty_like(placed)
    terms[..., :k] = r[..., :k] * running_value - running_reward
    terms[..., k:] = r[..., k:] * running_value[..., -1:] - running_reward[..., -1:]
    terms *= placed
    terms[..., :k] += from_here - earned
    found = np.bincount(flat.ravel(), terms.ravel(), minlength=b * d).reshape(b, d) / m
    found -= found.sum(axis=1, keepdims=True) * (weight / weight.sum(axis=1, keepdims=True))

    # through the standardised scores, then Adam's first step
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True))
    slope_z = found / (tau * spread)
    slope_z -= (found * centred).sum(axis=1, keepdims=True) / (tau * spread**2) * centred / (d * spread)
    slope_z *= np.minimum(spread / 0.3, 1.0)
    slope = (lists.weights[:, None] * slope_z).ravel() @ phi.reshape(b * d, -1) / b - SETTINGS.l2 * (w - task.start)
    first, second = 0.1 * slope, 0.001 * slope**2
    moved = w + SETTINGS.step_size * (first / (1.0 - 0.9)) / (np.sqrt(second / (1.0 - 0.999)) + 1e-8)
    return np.append(moved / np.linalg.norm(moved), np.linalg.norm(slope))
