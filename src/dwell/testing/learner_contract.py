"""What every learner promises, as tests: whoever writes a learner of his own runs these against it."""
# ruff: noqa: D102 - the test's name says what it shows

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar, Final

import numpy as np

from dwell.errors import LearningError
from dwell.learning.learner import Learned, LearnerSettings, Lists
from dwell.learning.predictor import Predictor
from dwell.learning.protocol import Learner
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow, stack_rows
from dwell.testing.learner_world import LearnerWorld, closed_events, fitted_predictors, lists_of, value_of
from dwell.testing.store_samples import Refused, equal, true

__all__ = ["LearnerContract"]

_START: Final = np.array([0.8, 0.6, 0.0, 0.0])
_WORLD: Final = LearnerWorld(truth=np.array([0.5, -0.5, 0.5, -0.5]), theta=1.0 / np.arange(1.0, 6.0))
_VERSION: Final = 1
_ROUNDING: Final = 1e-9
_BATCH: Final = 50


@lru_cache(maxsize=4)
def _rows(seed: int, n: int) -> tuple[EventRow, ...]:
    return tuple(closed_events(_WORLD, _START, n, np.random.default_rng([seed, 1]), params_version=_VERSION))


def _samples(rows: tuple[EventRow, ...]) -> list[Lists]:
    """Return the events in batches, each event once."""
    return [lists_of(rows[i : i + _BATCH], _START) for i in range(0, len(rows), _BATCH)]


def _arrays(lists: Lists) -> dict[str, np.ndarray[Any, Any]]:
    batch = {name: getattr(lists.batch, name) for name in lists.batch.__dataclass_fields__}
    return {**batch, "phi": lists.phi, "safe_scores": lists.safe_scores, "weights": lists.weights}


class LearnerContract:
    """Every sentence of `dwell.learning.protocol`, as tests for pytest.

    Derive a class whose name begins with Test and give it `learner`. Lists were served by params version 1.

    Attributes:
        is_off_policy: Whether it learns from what others served, and so has to stay near the safe policy.
    """

    is_off_policy: ClassVar[bool] = True

    def learner(self) -> Learner:
        """Return the learner to try; each test asks for one."""
        raise NotImplementedError

    def settings(self, **changes: float) -> LearnerSettings:
        """Return settings under which 1,500 events are enough to learn something."""
        return LearnerSettings(**{"step_size": 0.02, "n_samples": 8, **changes})  # type: ignore[arg-type]  # n_samples

    def learned(
        self,
        samples: list[Lists],
        *,
        start: FloatArray = _START,
        predictors: tuple[Predictor, Predictor] | None = None,
        seed: int = 0,
        **changes: float,
    ) -> Learned:
        """Return what the learner makes of samples."""
        nothing = Predictor(np.zeros(start.size + 1))
        return self.learner()(
            start,
            samples,
            predictors if predictors is not None else (nothing, nothing),
            theta=_WORLD.theta,
            temperature=_WORLD.temperature,
            n_events=1e4,
            settings=self.settings(**changes),
            rng=np.random.default_rng(seed),
        )

    # ------------------------------------------------------------ the same, and nothing changed

    def test_the_same_generator_gives_the_same_bits(self) -> None:
        samples = _samples(_rows(0, 200))
        one, two = self.learned(samples), self.learned(samples)
        equal(one.vector.tobytes(), two.vector.tobytes())
        equal(one.curves, two.curves)

    def test_what_it_was_given_is_not_changed(self) -> None:
        samples, start = _samples(_rows(0, 200)), _START.copy()
        before = [{name: array.copy() for name, array in _arrays(lists).items()} for lists in samples]
        predictors = fitted_predictors(_rows(0, 200), _WORLD.theta)
        betas = [predictor.beta.copy() for predictor in predictors]
        found = self.learned(samples, start=start, predictors=predictors)
        true(not np.shares_memory(found.vector, start) or not found.step_norm, "the result is the start, written over")
        equal(start.tobytes(), _START.tobytes())
        for predictor, beta in zip(predictors, betas, strict=True):
            equal(predictor.beta.tobytes(), beta.tobytes())
        for lists, arrays in zip(samples, before, strict=True):
            for name, array in _arrays(lists).items():
                true(array.tobytes() == arrays[name].tobytes(), f"{name} was changed")

    def test_without_samples_it_stays_where_it_is(self) -> None:
        found = self.learned([])
        true(np.allclose(found.vector, _START, rtol=0.0, atol=_ROUNDING), f"moved to {found.vector}")
        equal((found.n_steps, found.was_bounded), (0, False))
        true(found.step_norm <= _ROUNDING, f"step_norm is {found.step_norm}")

    # ------------------------------------------------------------ bounds

    def test_it_ends_at_norm_one_and_says_how_far_it_went(self) -> None:
        found = self.learned(_samples(_rows(0, 200)))
        true(abs(float(np.linalg.norm(found.vector)) - 1.0) <= _ROUNDING, f"the norm is {np.linalg.norm(found.vector)}")
        distance = float(np.linalg.norm(found.vector - _START))
        true(abs(found.step_norm - distance) <= 1e-6, f"step_norm is {found.step_norm}, the distance {distance}")
        true(found.step_norm > 0.0, "nothing was learned from 200 events")

    def test_it_never_moves_beyond_the_largest_step(self) -> None:
        for limit in (0.01, 0.3, 1.0):
            found = self.learned(_samples(_rows(0, 200)), step_size=1.0, max_step_norm=limit)
            distance = float(np.linalg.norm(found.vector - _START))
            true(distance <= limit + _ROUNDING, f"moved by {distance}, allowed are {limit}")

    def test_no_weight_leaves_its_bound(self) -> None:
        # 0.8 and 0.6 are beyond a bound of 0.4 at the start: they may stay, not grow
        found = self.learned(_samples(_rows(0, 200)), step_size=1.0, max_step_norm=2.0, max_weight=0.4)
        limit = np.maximum(0.4, np.abs(_START)) + _ROUNDING
        true(bool((np.abs(found.vector) <= limit).all()), f"weights {found.vector} are beyond {limit}")
        true(abs(float(np.linalg.norm(found.vector)) - 1.0) <= _ROUNDING, "the norm is not 1 at the bound")

    # ------------------------------------------------------------ what is not finite

    def test_what_is_not_finite_is_refused_and_never_returned(self) -> None:
        rows = _rows(0, 50)
        for bad in (np.nan, np.inf, -np.inf):
            for name in ("phi", "safe_scores", "weights"):
                lists = lists_of(rows, _START)
                array = getattr(lists, name).copy()
                array[(1,) * array.ndim] = bad
                with Refused(LearningError):
                    self.learned([lists._replace(**{name: array})])
            for name in ("rewards", "exposure"):
                lists = lists_of(rows, _START)
                getattr(lists.batch, name)[1, 1] = bad  # a batch of its own: nobody else reads it
                with Refused(LearningError):
                    self.learned([lists])

    def test_a_start_that_is_no_finite_unit_vector_is_refused(self) -> None:
        samples = _samples(_rows(0, 50))
        for start in ([np.nan, 0.0, 0.0, 1.0], [np.inf, 0.0, 0.0, 0.0], [0.0] * 4, [3.0, 4.0, 0.0, 0.0]):
            for given in (samples, []):
                with Refused(LearningError):
                    self.learned(given, start=np.array(start))

    # ------------------------------------------------------------ learning

    def test_it_learns_what_users_want(self) -> None:
        # paired over 2,000 fresh lists; a learner that walks at random gains at 5 standard errors once in 3 million
        before = value_of(_WORLD, _START)
        for seed in range(2):
            rows = _rows(seed, 1_500)
            found = self.learned(_samples(rows), predictors=fitted_predictors(rows, _WORLD.theta), seed=seed)
            gain = value_of(_WORLD, found.vector) - before
            error = float(gain.std(ddof=1)) / len(gain) ** 0.5
            true(float(gain.mean()) > 5.0 * error, f"gained {gain.mean():+.4f} clicks per list, error {error:.4f}")

    def test_documents_that_do_not_differ_teach_nothing(self) -> None:
        rows = _rows(0, 50)
        lists = lists_of(rows, _START)
        lists.batch.rewards[:] = 0.0
        found = self.learned([lists], l2=0.0)
        true(found.step_norm <= 1e-6, f"nobody reacted to anything, and it moved by {found.step_norm}")

    def test_it_asks_nobody_to_leave_the_trust_region(self) -> None:
        if not self.is_off_policy:
            return
        # the live params lift the two good documents; to a safe policy that hides them, they are beyond the edge
        start = np.array([1.0, 0.0])
        features = np.array([[1.2, 0.4], [0.8, -0.1], [-0.7, 0.2], [-1.1, -0.3]])
        few = _events_of(features, rewards=np.array([1.0, 1.0]))
        batch = stack_rows([few] * 20)
        phi = batch.features.astype(np.float64)
        inside, outside = phi @ start, -10.0 * (phi @ start)
        moved = self.learned([Lists(batch, phi, inside, np.ones(20))] * 5, start=start)
        true(moved.step_norm > 1e-3, "inside the region it does not move: the next demand would show nothing")
        kept = self.learned([Lists(batch, phi, outside, np.ones(20))] * 5, start=start)
        true(kept.step_norm <= _ROUNDING, f"at the edge of the region it goes on by {kept.step_norm}")


def _events_of(features: FloatArray, *, rewards: FloatArray) -> EventRow:
    """Return an event whose first documents were served, one after the other, and rewarded."""
    n, k = len(features), len(rewards)
    return EventRow(
        seq=0,
        event_id="event",
        query_hash=0,
        user_hash=None,
        served_at=0.0,
        features=features.astype(np.float32),
        inclusion=np.ones(n),
        exposure=np.full(n, 0.5),
        n_kept=k,
        n_shown=k,
        rewards=rewards,
        propensities=np.full(k, 0.5),
        caller_rank=np.arange(float(n)),
        params_version=_VERSION,
        temperature=_WORLD.temperature,
        is_held_out=False,
        is_deterministic=False,
        is_caller_ordered=False,
        version=1,
    )
