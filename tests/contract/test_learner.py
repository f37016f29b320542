"""Every learner keeps the promises of the protocol, and a learner with a fault does not."""

from collections.abc import Callable

import numpy as np
import pytest

from dwell.learning.learner import Learned, LearnerSettings, Lists, learn
from dwell.learning.pdgd import PdgdLearner
from dwell.learning.pl_rank import pl_rank_gradient
from dwell.learning.protocol import Learner, learner_of
from dwell.learning.segments import SegmentLearner
from dwell.testing.learner_contract import LearnerContract


class TestPlRank(LearnerContract):
    def learner(self) -> Learner:
        return learn


class TestLambdaLoss(LearnerContract):
    def learner(self) -> Learner:
        return learner_of("lambda_loss")


class TestPairwise(LearnerContract):
    def learner(self) -> Learner:
        return learner_of("pairwise")


class TestPdgd(LearnerContract):
    is_off_policy = False

    def learner(self) -> Learner:
        return PdgdLearner(params_version=1)

    def settings(self, **changes: float) -> LearnerSettings:
        return LearnerSettings(**{"step_size": 0.003, **changes})


class TestSegment(LearnerContract):
    def learner(self) -> Learner:
        return SegmentLearner(kappa=2_000.0)


def _ignores_the_region(*args: object, **arguments: object) -> Learned:
    objective = lambda sampled: pl_rank_gradient(sampled.rankings, sampled.credit, sampled.values)  # noqa: E731
    return learn(*args, **arguments, objective=objective)


def _downhill(*args: object, **arguments: object) -> Learned:
    objective = lambda sampled: -pl_rank_gradient(sampled.rankings, sampled.trusted, sampled.values)  # noqa: E731
    return learn(*args, **arguments, objective=objective)


def _has_chance_of_its_own(*args: object, **arguments: object) -> Learned:
    return learn(*args, **{**arguments, "rng": np.random.default_rng()})


def _writes_into_lists(start: object, samples: list[Lists], *args: object, **arguments: object) -> Learned:
    found = learn(start, samples, *args, **arguments)
    for lists in samples:
        lists.weights[:] *= 2.0
    return found


def _unbounded(*args: object, settings: LearnerSettings, **arguments: object) -> Learned:
    return learn(*args, settings=LearnerSettings(step_size=settings.step_size, max_step_norm=2.0), **arguments)


def _without_norm(*args: object, **arguments: object) -> Learned:
    found = learn(*args, **arguments)
    return Learned(2.0 * found.vector, found.n_steps, found.step_norm, found.was_bounded, found.curves)


def _takes_anything(start: object, samples: list[Lists], *args: object, **arguments: object) -> Learned:
    return Learned(np.asarray(start), 0, 0.0, False, {})


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (_ignores_the_region, "test_it_asks_nobody_to_leave_the_trust_region"),
        (_downhill, "test_it_learns_what_users_want"),
        (_has_chance_of_its_own, "test_the_same_generator_gives_the_same_bits"),
        (_writes_into_lists, "test_what_it_was_given_is_not_changed"),
        (_unbounded, "test_it_never_moves_beyond_the_largest_step"),
        (_unbounded, "test_no_weight_leaves_its_bound"),
        (_without_norm, "test_it_ends_at_norm_one_and_says_how_far_it_went"),
        (_without_norm, "test_without_samples_it_stays_where_it_is"),
        (_takes_anything, "test_what_is_not_finite_is_refused_and_never_returned"),
        (_takes_anything, "test_a_start_that_is_no_finite_unit_vector_is_refused"),
        (_takes_anything, "test_it_asks_nobody_to_leave_the_trust_region"),
    ],
)
def test_the_contract_catches(fault: Callable[..., Learned], caught_by: str) -> None:
    class Faulty(LearnerContract):
        def learner(self) -> Learner:
            return fault

    with pytest.raises(AssertionError):
        getattr(Faulty(), caught_by)()
