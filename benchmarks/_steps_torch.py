"""The same step in torch, float64, one thread: its tensors, its autograd through the scores, its Adam.

"PL-Rank" computes the PL-Rank-3 estimate of dJ/dz with tensors and lets autograd carry it through the standardised
scores: the same numbers as ours from the same noise. "log-probability" lets autograd differentiate the log-probability
of each sampled ranking, rank by rank, weighed by the reward from there on: the same expectation with more noise, as it
is written where PL-Rank is not known. Import this only where torch is installed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from _steps_ours import N_EVENTS, SETTINGS, TEMPERATURE, Task
from dwell.learning.relevance import exposure_clip
from dwell.learning.trust import trust_radius

FloatArray = np.ndarray[Any, np.dtype[np.float64]]

torch.set_num_threads(1)


class TorchTask:
    """A task as tensors, made outside the timing."""

    def __init__(self, task: Task) -> None:
        batch, theta = task.lists.batch, task.theta
        self.phi, self.safe = torch.from_numpy(task.lists.phi), torch.from_numpy(task.lists.safe_scores)
        self.start, self.theta = torch.from_numpy(task.start), torch.from_numpy(theta)
        self.rewards, self.exposure = torch.from_numpy(batch.rewards), torch.from_numpy(batch.exposure)
        self.is_even = torch.from_numpy((batch.query_hash % np.uint64(2) == 0)[:, None])
        self.betas = [torch.from_numpy(one.beta) for one in task.predictors]


def _log_weights(scores: torch.Tensor) -> torch.Tensor:
    spread = scores.std(dim=1, keepdim=True, correction=0).clamp_min(1e-9)
    return (scores - scores.max(dim=1, keepdim=True).values) / (TEMPERATURE * spread)


def torch_step(task: TorchTask, seed: int, *, is_pl_rank: bool = True) -> FloatArray:
    """Return the weights after one step, at norm 1, and the slope's norm, (p + 1,)."""
    phi, theta = task.phi, task.theta
    b, d, _ = phi.shape
    k, m = len(theta), SETTINGS.n_samples
    w = task.start.clone().requires_grad_()
    adam = torch.optim.Adam([w], lr=SETTINGS.step_size, maximize=True)
    noise = np.random.default_rng(seed).standard_exponential((b, m, d), dtype=np.float32)
    log_noise = torch.from_numpy(noise).clamp_min_(1e-30).log_()
    scores = phi @ w
    z = _log_weights(scores)
    with torch.no_grad():
        credit = _credit(task)
        order, exposure = _drawn(z, log_noise, theta)
        _, safe_exposure = _drawn(_log_weights(task.safe), log_noise, theta)
        eps = trust_radius(N_EVENTS)
        ratio = (exposure + 0.01) / (safe_exposure + 0.01)
        leaves = ((credit > 0.0) & (ratio > 1.0 + eps)) | ((credit < 0.0) & (ratio < 1.0 / (1.0 + eps)))
        r = torch.where(leaves, 0.0, credit)[:, None, :].expand(b, m, d).gather(2, order)
        flatness = (scores.std(dim=1, correction=0) / 0.3).clamp_max(1.0)
        earned = r[..., :k] * theta
        from_here = earned.flip(-1).cumsum(-1).flip(-1)
    if is_pl_rank:
        with torch.no_grad():
            slope = _pl_rank(z, order, r, earned, from_here, theta)
        objective = ((slope * z).sum(dim=1) * flatness).mean()
    else:
        placed = z[:, None, :].expand(b, m, d).gather(2, order)
        remaining = placed.flip(-1).logcumsumexp(-1).flip(-1)[..., :k]
        log_p = placed[..., :k] - remaining
        objective = ((log_p * from_here).sum(dim=-1).mean(dim=1) * flatness).mean()
    (objective - 0.5 * SETTINGS.l2 * ((w - task.start) ** 2).sum()).backward()
    adam.step()
    moved: FloatArray = w.detach().numpy()
    return np.append(moved / np.linalg.norm(moved), np.linalg.norm(w.grad.numpy()))


def _credit(task: TorchTask) -> torch.Tensor:
    k, clip = len(task.theta), exposure_clip(N_EVENTS)
    both = [(task.phi @ beta[:-1] + beta[-1]).clamp(-1.0, 1.0) for beta in task.betas]
    predicted = torch.where(task.is_even, both[1], both[0])
    credit = predicted * (task.exposure / clip).clamp_max(1.0)
    residual = task.rewards[:, :k] - task.theta * predicted[:, :k]
    credit[:, :k] += residual / task.exposure[:, :k].clamp_min(clip)
    return credit - credit.mean(dim=1, keepdim=True)


def _drawn(z: torch.Tensor, log_noise: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    order = (log_noise - z.float()[:, None, :]).argsort(dim=-1)
    b, m, d = order.shape
    top = order[..., : len(theta)]
    exposure = torch.zeros(b, d, dtype=torch.float64)
    exposure.scatter_add_(1, top.reshape(b, -1), theta.expand(top.shape).reshape(b, -1))
    return order, exposure / m


def _pl_rank(
    z: torch.Tensor,
    order: torch.Tensor,
    r: torch.Tensor,
    earned: torch.Tensor,
    from_here: torch.Tensor,
    theta: torch.Tensor,
) -> torch.Tensor:
    b, m, d = order.shape
    k = len(theta)
    weight = z.exp()
    placed = weight[:, None, :].expand(b, m, d).gather(2, order)
    inverse = 1.0 / placed.flip(-1).cumsum(-1).flip(-1)[..., :k]
    running_reward, running_value = (from_here * inverse).cumsum(-1), (theta * inverse).cumsum(-1)
    terms = torch.empty_like(placed)
    terms[..., :k] = r[..., :k] * running_value - running_reward
    terms[..., k:] = r[..., k:] * running_value[..., -1:] - running_reward[..., -1:]
    terms *= placed
    terms[..., :k] += from_here - earned
    found = torch.zeros(b, d, dtype=torch.float64).scatter_add_(1, order.reshape(b, -1), terms.reshape(b, -1)) / m
    return found - found.sum(dim=1, keepdim=True) * (weight / weight.sum(dim=1, keepdim=True))
