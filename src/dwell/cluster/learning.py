"""A proposal learned over shards: gradients travel, experience does not.

Each step is that of one machine: the same lists drawn by the same uniforms, the same noise, the same sums, added up in
another order. So the proposal is the same to the rounding of those sums. What is not a sum over lists is refused by
name, before anything is asked of a shard.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np

from dwell.cluster.lessons import (
    GradientPart,
    Lesson,
    PartOfStep,
    document_caps,
    user_caps_over,
)
from dwell.cluster.sampling import ShardSampler, check_strategy
from dwell.cluster.transport import Shards
from dwell.config import Config
from dwell.errors import ConfigError
from dwell.learning.learner import Learned, LearnerSettings, SlopeSums, Walk
from dwell.learning.predictor import Predictor, PredictorSums
from dwell.learning.space import space_for
from dwell.loop.adjusting import is_split_by_query
from dwell.loop.channels import is_split
from dwell.loop.train import Budget, Learning, Plan, fitted, slower_at_first, spread, unseen_places
from dwell.records import Params
from dwell.records.arrays import Float32Array, FloatArray, IntArray
from dwell.records.impression import Mode

__all__ = ["StepLists", "check_learnable", "propose_over", "step_over"]

_NOT_A_SUM: Final = "it is no sum over lists: learn on one machine, or leave it at its default"


class StepLists(NamedTuple):
    """The lists of one step, wherever they live.

    Attributes:
        seqs: int64 (b,), repeats included.
        owners: int64 (b,), number of each one's shard among the names.
        weights: float64 (b,), sampling weights, mean 1.
        n_documents: Documents of the longest list.
    """

    seqs: IntArray
    owners: IntArray
    weights: FloatArray
    n_documents: int


def check_learnable(config: Config, live: Params, learner: str = "replay") -> None:
    """Return where all that is configured can be learned from sums over shards.

    Raises:
        ConfigError: Something can not, by name.
        ReplayError: The strategy of the replay can not, by name.
    """
    check_strategy(config.replay.strategy)
    settings = config.learner
    for field_, value, is_refused in (
        ("learner", learner, learner != "replay"),
        ("learner.objective", settings.objective, settings.objective == "pdgd"),
        ("learner.relevance", settings.relevance, settings.relevance == "self_normalised"),
        ("learner.trust_bias", settings.trust_bias, settings.trust_bias),
        ("learner.negative_weight", settings.negative_weight, is_split(settings)),
        ("learner.segment_weights", settings.segment_weights, settings.segment_weights),
        ("learner.query_rank", settings.query_rank, settings.query_rank > 0),
        ("ranking_params", live.version, is_split_by_query(settings, live)),
        ("replay.segment_quotas", config.replay.segment_quotas, config.replay.segment_quotas != "none"),
        ("training.recalibrate", config.training.recalibrate, config.training.recalibrate),
    ):
        if is_refused:
            raise ConfigError(
                "shards can not learn like this", code="not_a_sum", field=field_, value=value, hint=_NOT_A_SUM
            )


def step_over(
    shards: Shards, walk: Walk, lists: StepLists, settings: LearnerSettings, rng: np.random.Generator
) -> Walk:
    """Return a walk one step on, by lists that live on shards that are prepared; the generator moves as in `learn`.

    Raises:
        DivergedError: A gradient or something that a list says was not finite.
        ReplayError: code `unprepared`: a shard was rebuilt, and not told the lesson.
    """
    names = shards.names
    asked = {
        names[i]: (
            walk.w,
            PartOfStep(
                lists.seqs[lists.owners == i],
                lists.weights[lists.owners == i],
                np.flatnonzero(lists.owners == i),
                len(lists.seqs),
                lists.n_documents,
                dict(rng.bit_generator.state),
                walk.adam.n_steps + 1,
            ),
        )
        for i in np.unique(lists.owners).tolist()
    }
    found: dict[str, GradientPart] = shards.ask_each("gradient", asked)
    sums: SlopeSums | None = None
    for part in found.values():
        rng.bit_generator.state = part.rng
        if part.sums is not None:
            sums = part.sums if sums is None else sums.plus(part.sums)
    return walk if sums is None else walk.stepped(sums, settings)


@dataclass(slots=True)
class _Seen:
    """Which lists a call has learned from, and where they live."""

    seqs: list[IntArray]
    owners: list[IntArray]

    def add(self, lists: StepLists) -> None:
        self.seqs.append(lists.seqs)
        self.owners.append(lists.owners)

    def asked(self, names: tuple[str, ...], beta: FloatArray) -> dict[str, tuple[Any, ...]]:
        """Return what to ask each shard for surprises with."""
        if not self.seqs:
            return {}
        seqs, first = np.unique(np.concatenate(self.seqs), return_index=True)
        owners = np.concatenate(self.owners)[first]
        return {names[i]: (seqs[owners == i], beta) for i in np.unique(owners).tolist()}


def propose_over(
    shards: Shards,
    live: Params,
    *,
    after: int,
    plan: Plan,
    version: int,
    mode: Mode,
    theta: FloatArray,
    config: Config,
    most_replayed: int,
    now: float,
    rng: np.random.Generator,
    clock: Callable[[], float],
) -> Learning:
    """Return a proposal learned from the live params on, as `loop.train.propose` would from all shards' experience.

    Args:
        shards: Hold closed events, and stay as they are while this lasts.
        live: Params in force.
        after: Newest event that the live params have learned from; at least one is behind it.
        plan: Steps and lists per step.
        version: Number of the new version.
        mode: Mode of the loop.
        theta: (k,) examination per position.
        config: Settings; see `check_learnable`.
        most_replayed: Lists that may be drawn.
        now: UTC epoch seconds.
        rng: Source of sampling and rankings.
        clock: Monotonic seconds, for the time limit alone.

    Raises:
        ConfigError: Something is configured that is no sum over lists.
        LearningError: As `learning.learner.learn`.
    """
    check_learnable(config, live)
    everybody = ShardSampler(shards, "uniform", half_life_s=None)
    space = space_for(live, _fitting_features(shards, everybody, live, rng))
    settings = slower_at_first(config.learner, everybody.n)
    lesson = _capped(shards, Lesson(theta=theta, settings=settings, space=space, n_events=everybody.n, mode=mode))
    lesson = replace(lesson, live=Lesson.encoded(live), live_version=live.version)
    shards.ask_all("prepare", lesson)
    sums = list(shards.ask_all("predictor_sums").values())
    folds = _joined([one[0] for one in sums]), _joined([one[1] for one in sums])
    fold0, fold1, both = fitted(folds, ridge=config.learner.ridge)
    lesson = replace(lesson, betas=(fold0.beta, fold1.beta))
    shards.ask_all("prepare", lesson)
    begun, budget, seen, ended_by = clock(), Budget(most_replayed), _Seen([], []), "steps"
    walk = Walk.begun(space.vector(live))
    lesson.terms(live.temperature)  # what is wrong with them is said before the first step
    for lists in _step_lists(shards, after, plan, config, budget, rng):
        if clock() > begun + config.training.max_seconds:
            ended_by = "time"
            break
        seen.add(lists)
        walk = step_over(shards, walk, lists, settings, rng)
    learned = walk.ended(settings)
    return _learning(
        shards,
        learned,
        space.params(learned.vector, version=version, parent=live, created_at=now),
        predictors=(fold0, fold1, both),
        seen=seen,
        ended_by=ended_by,
        n_replayed=budget.n_spent,
    )


def _learning(
    shards: Shards,
    learned: Learned,
    params: Params,
    *,
    predictors: tuple[Predictor, Predictor, Predictor],
    seen: _Seen,
    ended_by: str,
    n_replayed: int,
) -> Learning:
    fold0, fold1, both = predictors
    priorities: dict[int, float] = {}
    for seqs, values in shards.ask_each("surprises", seen.asked(shards.names, both.beta)).values():
        priorities |= dict(zip(seqs.tolist(), values.tolist(), strict=True))
    served_by: Counter[int] = Counter()
    for counts in shards.ask_all("version_counts").values():
        served_by.update(counts)
    return Learning(params, learned, both, ended_by, priorities, n_replayed, served_by, {}, (fold0, fold1))


def _joined(parts: list[PredictorSums]) -> PredictorSums:
    total = parts[0]
    for part in parts[1:]:
        total = total.joined(part)
    return total


def _capped(shards: Shards, lesson: Lesson) -> Lesson:
    """Return a lesson with the caps on users and documents over all shards."""
    caps = user_caps_over(list(shards.ask_all("user_totals").values()))
    return replace(lesson, caps=caps, documents=document_caps(list(shards.ask_all("credits", caps).values())))


def _fitting_features(shards: Shards, everybody: ShardSampler, live: Params, rng: np.random.Generator) -> Float32Array:
    """Return what `loop.train.fitting_features` would, and move the generator as it does.

    Where the live params bring their map of every feature, no shard is asked for any.
    """
    chosen, owners = everybody.located(spread(everybody.n, rng))
    first = np.cumsum(chosen["n_documents"]) - chosen["n_documents"]
    picked = spread(int(chosen["n_documents"].sum()), rng)
    if live.transform is not None and all(knots.size > 1 for knots in live.transform.knots):
        return np.zeros((0, len(live.feature_names)), dtype=np.float32)
    row = first.searchsorted(picked, side="right") - 1
    document, found = picked - first[row], np.zeros((len(picked), len(live.feature_names)), dtype=np.float32)
    names = shards.names
    asked = {
        names[i]: (chosen["seq"][row[owners[row] == i]], document[owners[row] == i])
        for i in np.unique(owners[row]).tolist()
    }
    for name, part in shards.ask_each("features_of", asked).items():
        found[owners[row] == names.index(name)] = part
    return found


def _step_lists(
    shards: Shards,
    after: int,
    plan: Plan,
    config: Config,
    budget: Budget,
    rng: np.random.Generator,
) -> Iterator[StepLists]:
    """Yield the lists of each step: half unseen events, each once, half replayed ones while they last."""
    replay = config.replay
    sampler = ShardSampler(shards, replay.strategy, alpha=replay.alpha, half_life_s=replay.half_life_s)
    unseen, homes = sampler.pending(after)
    for places in unseen_places(len(unseen), plan, rng):
        seqs, owners, weights = unseen["seq"][places], homes[places], np.ones(len(places))
        count, longest = unseen["count"][places], int(unseen["n_documents"][places].max())
        n_old = budget.spend(plan.batch - len(places))
        if n_old > 0:
            batch = sampler.draw(n_old, beta=replay.beta, rng=rng)
            seqs, owners = np.concatenate([seqs, batch.seqs]), np.concatenate([owners, batch.owners])
            weights = np.concatenate([weights, batch.weights])
            count, longest = np.concatenate([count, batch.counts]), max(longest, int(batch.n_documents.max()))
        weights = weights * count
        yield StepLists(seqs, owners, weights / weights.mean(), longest)
