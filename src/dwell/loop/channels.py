"""Praise and dislikes as the learner is told of them, each with a click model, an exposure and a predictor of its own.

By default one click model holds for both, and there is nothing to split: estimates are linear in the rewards. They are
split where users trust what stands high (what comes without relevance is taken off praise alone), where dislikes cost
another amount, or where they do not depend on the position as clicks do.

Rows keep one number per document. A document with a click and a dislike stands in the channel of their sum's sign.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from dwell.learning.estimates import Channel, ClickModel, channels_of, position_based, trusting
from dwell.learning.learner import LearnerSettings, Lists, cross_fitted
from dwell.learning.predictor import Predictor
from dwell.learning.relevance import examination_at
from dwell.loop.judge import policy_on
from dwell.ranking import named_generator, policy_scores, rank_marginals, sampled_rankings, score_spread
from dwell.ranking.exposure import N_EXPOSURE_DRAWS
from dwell.records import Params
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, RowBatch

__all__ = ["Channels", "channels_for", "credited", "is_split", "logged_again", "models_for"]

Fit: TypeAlias = Callable[[Sequence[EventRow], FloatArray], tuple[Predictor, Predictor]]
_UNKNOWN: Final = "version_unknown"


def is_split(settings: LearnerSettings) -> bool:
    """Return whether praise and dislikes are told apart."""
    return settings.trust_bias or settings.negative_weight != 1.0 or settings.negative_examination != "clicks"


def models_for(theta: FloatArray, settings: LearnerSettings, *, worth: float) -> tuple[ClickModel, ClickModel]:
    """Return the click models of praise and of dislikes.

    Args:
        theta: (k,) examination per position.
        settings: The learner's.
        worth: Reward of a click, in (0, 1]: what comes without relevance comes in rewards, not in clicks.
    """
    positive = position_based(theta)
    if settings.trust_bias:
        alpha, beta = trusting(theta, relevant=settings.trust_relevant, irrelevant=settings.trust_irrelevant)
        positive = ClickModel(alpha, beta * worth)
    is_shown = settings.negative_examination == "shown"
    return positive, position_based(np.ones_like(theta) if is_shown else theta)


def logged_again(row: EventRow, alphas: FloatArray, versions: Mapping[int, Params]) -> FloatArray | None:
    """Return E[alpha at the document's rank] under the policy that served, float64 (m, l), for m tables (m, k).

    As the logged exposure, which is this for the examination of its time; None where the version that served is not
    known. A pure function of its arguments: the draws are seeded by the event id.
    """
    n = len(row.inclusion)
    if row.is_caller_ordered and not row.is_deterministic:
        return None  # drawn elsewhere: its chances stand in the facts, not in the row
    if row.is_deterministic or row.is_caller_ordered:
        found = np.zeros((len(alphas), n))
        m = min(row.n_kept, alphas.shape[1])
        found[:, :m] = alphas[:, :m]
        return found
    if row.params_version not in versions:
        return None
    policy = policy_on(row, versions[row.params_version])
    stand_in = 1.0 / row.inclusion
    spread = score_spread(policy.scores, stand_in)
    z = policy_scores(policy.scores, row.temperature, spread=spread) + np.log(stand_in)
    k = min(row.n_shown, alphas.shape[1], n)
    rng = named_generator(b"", "exposure", row.event_id)
    frequency = rank_marginals(sampled_rankings(z, N_EXPOSURE_DRAWS, k, rng), n)
    each: FloatArray = alphas[:, :k] @ frequency / stand_in
    return each


def _with_own_draw(exposure: FloatArray, batch: RowBatch, alpha: FloatArray) -> FloatArray:
    """Return exposure (b, d) with the list that was shown as one draw more: what was shown is then never at 0."""
    own = examination_at(batch.position, alpha)
    counted = (N_EXPOSURE_DRAWS * exposure + own) / (N_EXPOSURE_DRAWS + 1)
    return np.where(batch.position > 0, counted, exposure)


class Channels:
    """Both channels of any list that is learned from.

    Args:
        models: Click models of praise and of dislikes.
        theta: (k,) examination that the logged exposures stand on.
        rows: Everything that may be learned from.
        fit: Fits predictors for fold 0 and fold 1 to rows, under a table of examination.
        versions: Params by version, to work out other exposures than the logged ones.
    """

    def __init__(
        self,
        models: tuple[ClickModel, ClickModel],
        theta: FloatArray,
        rows: Sequence[EventRow],
        fit: Fit,
        versions: Mapping[int, Params],
    ) -> None:
        self._models = models
        self._alphas = np.array([model.alpha for model in models])
        self._is_logged = bool((self._alphas == theta).all())
        self._versions = versions
        self._exposures: dict[int, FloatArray | None] = {}
        self.left_out: dict[str, int] = {}
        self._fits = tuple(
            fit([_alone(row, i, model.beta) for row in rows], model.alpha) for i, model in enumerate(models)
        )

    def known(self, rows: Sequence[EventRow], weights: FloatArray) -> tuple[list[EventRow], FloatArray]:
        """Return the events whose exposures can be told, with their weights; the others are counted in `left_out`."""
        if self._is_logged:
            return list(rows), weights
        for row in rows:
            if row.seq not in self._exposures:
                found = self._exposures[row.seq] = logged_again(row, self._alphas, self._versions)
                if found is None:
                    self.left_out[_UNKNOWN] = self.left_out.get(_UNKNOWN, 0) + 1
        is_known = [self._exposures[row.seq] is not None for row in rows]
        return list(itertools.compress(rows, is_known)), weights[np.array(is_known, dtype=np.bool_)]

    def of(self, lists: Lists, rows: Sequence[EventRow]) -> tuple[Channel, Channel]:
        """Return both channels of lists that were made of these rows, all of them known."""
        exposures = np.stack([lists.batch.exposure] * 2)
        if not self._is_logged:
            exposures = np.zeros_like(exposures)
            for i, row in enumerate(rows):
                exposures[:, i, : len(row.inclusion)] = self._exposures[row.seq]
        praise, dislikes = (
            Channel(rewards, exposure, cross_fitted(lists, predictors), model)
            for rewards, exposure, predictors, model in zip(
                channels_of(lists.batch.rewards), exposures, self._fits, self._models, strict=True
            )
        )
        return praise, dislikes


def _alone(row: EventRow, channel: int, beta: FloatArray) -> EventRow:
    """Return a row with the rewards of one channel, less what comes without relevance."""
    rewards = channels_of(row.rewards)[channel]
    return replace(row, rewards=rewards - examination_at(np.arange(1, row.n_kept + 1), beta))


def channels_for(
    settings: LearnerSettings, theta: FloatArray, rows: Sequence[EventRow], fit: Fit, versions: Mapping[int, Params]
) -> Channels | None:
    """Return the channels of these events, or None where nothing is split.

    Args:
        settings: The learner's.
        theta: (k,) examination per position.
        rows: Everything that may be learned from.
        fit: See `Channels`.
        versions: Params by version.
    """
    if not is_split(settings):
        return None
    praised = np.concatenate([row.rewards[row.rewards > 0.0] for row in rows])
    worth = float(praised.mean()) if praised.size else 1.0
    return Channels(models_for(theta, settings, worth=worth), theta, rows, fit, versions)


def credited(
    lists: Lists, rows: Sequence[EventRow], theta: FloatArray, settings: LearnerSettings, channels: Channels | None
) -> Lists:
    """Return lists with all that the estimate asked for needs beside them: the lists as they are, by default.

    "ips" divides by exposures that were drawn, of which one may be 0 for what was shown all the same: there the list
    that was shown counts as one draw more.

    Args:
        lists: Made of these rows.
        rows: The events, all of them known to the channels.
        theta: (k,) examination per position.
        settings: The learner's.
        channels: Where praise and dislikes are split.
    """
    pair = None if channels is None else channels.of(lists, rows)
    if settings.relevance == "ips":
        batch = lists.batch
        lists = lists._replace(batch=replace(batch, exposure=_with_own_draw(batch.exposure, batch, theta)))
        if pair is not None:
            praise, dislikes = (
                one._replace(exposure=_with_own_draw(one.exposure, batch, one.clicks.alpha)) for one in pair
            )
            pair = praise, dislikes
    return lists._replace(channels=pair)
