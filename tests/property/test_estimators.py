"""Any log, cut anywhere: shards add up to the whole; and what holds of every log holds of these."""

import itertools
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwell.evaluation.estimators import (
    Sums,
    balanced_ips,
    cascade_doubly_robust,
    direct_method,
    doubly_robust,
    exposure_doubly_robust,
    exposure_ips,
    ips,
    item_position_ips,
    list_ips,
    merged,
    prefix_ips,
    replay,
    shrunk_doubly_robust,
    subgaussian_doubly_robust,
    subgaussian_ips,
    switch_doubly_robust,
)

Array = npt.NDArray[Any]
WIDTH: Final = 3
ROUNDING: Final = 1e-12  # of the largest contribution to a value


class Log:
    """Random columns of n events, single actions and lists alike."""

    def __init__(self, seed: int, n: int, sharpness: float) -> None:
        rng = np.random.default_rng(seed)
        self.rewards = rng.normal(size=n) * 10.0 ** rng.integers(-3, 4)
        # a sharp logging policy has propensities down to 1e-6: heavy weights
        self.propensities = rng.uniform(1e-3, 1.0, n) ** sharpness
        self.targets = rng.random(n) * (rng.random(n) < 0.8)
        self.loggers = np.stack([self.propensities, rng.random(n)], axis=1)
        self.predicted, self.direct = rng.normal(size=n), rng.normal(size=n)
        self.matches = rng.random(n) < 0.3
        self.is_shown = np.arange(WIDTH) < rng.integers(1, WIDTH + 1, n)[:, None]
        self.clicks = (rng.random((n, WIDTH)) < 0.2) * self.is_shown
        self.steps = rng.uniform(0.05, 1.0, (n, WIDTH))
        self.target_steps = rng.random((n, WIDTH))
        self.q, self.v = rng.random((n, WIDTH)) * self.is_shown, rng.random((n, WIDTH)) * self.is_shown
        self.examination = self.is_shown * np.array([1.0, 0.6, 0.3])


def _floats(array: Array) -> Array:
    return array.astype(float)


ESTIMATORS: dict[str, Callable[[Log, Any], Sums]] = {
    "replay": lambda g, i: replay(g.rewards[i], g.matches[i]),
    "ips": lambda g, i: ips(g.rewards[i], g.propensities[i], g.targets[i]),
    "clipped": lambda g, i: ips(g.rewards[i], g.propensities[i], g.targets[i], max_importance_weight=5.0),
    "snips": lambda g, i: ips(g.rewards[i], g.propensities[i], g.targets[i], self_normalised=True),
    "balanced": lambda g, i: balanced_ips(g.rewards[i], g.loggers[i], [0.3, 0.7], g.targets[i]),
    "subgaussian": lambda g, i: subgaussian_ips(g.rewards[i], g.propensities[i], g.targets[i], smoothing=0.1),
    "dm": lambda g, i: direct_method(g.direct[i]),
    "dr": lambda g, i: doubly_robust(*_model(g, i)),
    "sndr": lambda g, i: doubly_robust(*_model(g, i), self_normalised=True),
    "switch": lambda g, i: switch_doubly_robust(*_model(g, i), max_importance_weight=3.0),
    "shrunk": lambda g, i: shrunk_doubly_robust(*_model(g, i), shrinkage=2.0),
    "subgaussian dr": lambda g, i: subgaussian_doubly_robust(*_model(g, i), smoothing=0.1),
    "list": lambda g, i: list_ips(_floats(g.clicks[i]), g.propensities[i], g.targets[i]),
    "list sn": lambda g, i: list_ips(_floats(g.clicks[i]), g.propensities[i], g.targets[i], self_normalised=True),
    "position": lambda g, i: item_position_ips(*_lists(g, i), is_shown=g.is_shown[i]),
    "position sn": lambda g, i: item_position_ips(*_lists(g, i), is_shown=g.is_shown[i], self_normalised=True),
    "prefix": lambda g, i: prefix_ips(*_lists(g, i), is_shown=g.is_shown[i]),
    "prefix sn": lambda g, i: prefix_ips(*_lists(g, i), is_shown=g.is_shown[i], self_normalised=True),
    "cascade": lambda g, i: cascade_doubly_robust(*_lists(g, i), g.q[i], g.v[i], is_shown=g.is_shown[i]),
    "cascade sn": lambda g, i: cascade_doubly_robust(
        *_lists(g, i), g.q[i], g.v[i], is_shown=g.is_shown[i], self_normalised=True
    ),
    "exposure": lambda g, i: exposure_ips(*_exposed(g, i)),
    "exposure sn": lambda g, i: exposure_ips(*_exposed(g, i), self_normalised=True),
    "exposure dr": lambda g, i: exposure_doubly_robust(*_exposed(g, i), g.q[i]),
}


def _model(g: Log, i: Any) -> tuple[Array, ...]:
    return g.rewards[i], g.propensities[i], g.targets[i], g.predicted[i], g.direct[i]


def _lists(g: Log, i: Any) -> tuple[Array, ...]:
    return _floats(g.clicks[i]), g.steps[i], g.target_steps[i]


def _exposed(g: Log, i: Any) -> tuple[Array, ...]:
    return _floats(g.clicks[i]), g.steps[i], g.target_steps[i], g.examination[i]


def _scale(sums: Sums, value: float) -> float:
    """The size of what was added up: rounding is relative to it and not to what is left after cancelling."""
    spread = float(np.sqrt(np.diag(sums.scatter).max() / max(sums.n, 1))) + float(np.abs(sums.mean).max())
    return max(spread, abs(value), 1e-300)


# 23 estimators share their sums: few examples of each are many of what they share
few = settings(max_examples=20)
logs = st.builds(Log, st.integers(0, 10_000), st.integers(0, 60), st.sampled_from([1.0, 2.0]))


@pytest.mark.parametrize("name", ESTIMATORS)
@few
@given(log=logs, cuts=st.lists(st.integers(0, 60), max_size=6), backwards=st.booleans())
def test_shards_cut_anywhere_add_up_to_the_whole(name: str, log: Log, cuts: list[int], *, backwards: bool) -> None:
    n = log.rewards.size
    whole = ESTIMATORS[name](log, slice(None))
    edges = [0, *sorted(min(cut, n) for cut in cuts), n]
    shards = [ESTIMATORS[name](log, slice(a, b)) for a, b in itertools.pairwise(edges)]
    found = merged(shards[::-1] if backwards else shards)
    assert (found.n, found.estimator) == (n, whole.estimator)
    one, other = whole.estimate(), found.estimate()
    scale = _scale(whole, one.value)
    assert other.value == pytest.approx(one.value, abs=ROUNDING * scale, rel=ROUNDING)
    assert other.effective_sample_size == pytest.approx(one.effective_sample_size, rel=1e-11)
    np.testing.assert_allclose(found.scatter, whole.scatter, rtol=1e-10, atol=ROUNDING * n * scale**2)
    assert np.isfinite(one.high) == np.isfinite(other.high)


@pytest.mark.parametrize("name", ESTIMATORS)
@few
@given(log=logs, seed=st.integers(0, 100))
def test_the_order_of_events_does_not_matter(name: str, log: Log, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(log.rewards.size)
    one, other = ESTIMATORS[name](log, slice(None)), ESTIMATORS[name](log, order)
    value = one.estimate().value
    assert other.estimate().value == pytest.approx(value, abs=ROUNDING * _scale(one, value), rel=ROUNDING)


@pytest.mark.parametrize("name", ESTIMATORS)
@few
@given(log=logs)
def test_every_estimate_is_a_number_within_its_interval(name: str, log: Log) -> None:
    found = ESTIMATORS[name](log, slice(None)).estimate()
    assert np.isfinite(found.value)
    assert found.low <= found.value <= found.high
    assert 0.0 <= found.effective_sample_size <= found.n == log.rewards.size


@few
@given(log=logs)
def test_snips_stays_within_the_rewards_that_were_seen(log: Log) -> None:
    found = ESTIMATORS["snips"](log, slice(None))
    if found.effective_sample_size > 0.0:
        slack = 1e-12 * np.abs(log.rewards).max()
        assert log.rewards.min() - slack <= found.estimate().value <= log.rewards.max() + slack
