"""The ladders: every decay in the range, between the listed ones too, keeps the bound at every age."""

import numpy as np
import pytest

from dwell.activation import LADDER_12, LADDER_14, Ladder
from dwell.errors import ConfigError, RecordError

# 7 times denser than what the weights are fitted on, and shifted against it
AGES_S = np.geomspace(60.0, 315_576_000.0, 8_501)


@pytest.mark.parametrize("ladder", [LADDER_12, LADDER_14], ids=lambda ladder: ladder.ladder_id)
def test_the_bound_holds_for_every_decay_and_age(ladder: Ladder) -> None:
    faded = np.exp(-np.outer(AGES_S, ladder.rates))
    for decay in np.linspace(0.1, 0.9, 81):
        weights = ladder.weights(float(decay))
        error = np.abs(faded @ weights * AGES_S**decay - 1.0).max()
        assert (weights > 0.0).all()
        assert -np.log1p(-error) <= ladder.bound_nats
        assert -np.log1p(-error) <= ladder.error_nats(float(decay)) + 1e-5


@pytest.mark.parametrize("ladder", [LADDER_12, LADDER_14], ids=lambda ladder: ladder.ladder_id)
def test_the_fit_is_minimax_because_its_error_alternates(ladder: Ladder) -> None:
    for decay in (0.13, 0.5, 0.87):
        errors = np.exp(-np.outer(AGES_S, ladder.rates)) @ ladder.weights(decay) * AGES_S**decay - 1.0
        largest = np.abs(errors).max()
        signs = np.sign(errors[np.abs(errors) > 0.999 * largest])
        assert 1 + np.count_nonzero(np.diff(signs)) == ladder.size + 1  # de la Vallee Poussin: no fit is better


def test_the_first_rate_is_the_plain_count_and_half_lives_ascend() -> None:
    assert LADDER_12.rates_per_s[0] == 0.0
    assert LADDER_12.half_lives_s[0] == np.inf
    assert (np.diff(LADDER_12.half_lives_s) < 0.0).all()
    assert (LADDER_12.size, LADDER_14.size) == (12, 14)


def test_weights_are_shared_and_can_not_be_changed() -> None:
    assert LADDER_12.weights(0.5) is LADDER_12.weights(0.5)
    with pytest.raises(ValueError, match="read-only"):
        LADDER_12.weights(0.5)[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        LADDER_12.rates[0] = 1.0


@pytest.mark.parametrize("decay", [0.09, 0.91, float("nan"), True, "0.5", None])
def test_a_decay_outside_its_range_is_refused(decay: float) -> None:
    with pytest.raises(RecordError) as refused:
        LADDER_12.weights(decay)
    assert refused.value.field == "decay"


@pytest.mark.parametrize(
    ("rates", "youngest", "field"),
    [((0.1, 0.2), 60.0, "rates_per_s"), ((0.0, 0.2, 0.1), 60.0, "rates_per_s"), ((0.0, 0.1), 1e12, "youngest_s")],
)
def test_a_malformed_ladder_is_refused(rates: tuple[float, ...], youngest: float, field: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Ladder("mine", 1, rates, youngest, 1e9, 0.1)
    assert refused.value.field == field


def test_a_ladder_without_a_fit_gives_no_weights() -> None:
    # rates beyond anything in the range, and crowded: the best fit takes one away again
    with pytest.raises(ConfigError, match="no non-negative fit"):
        Ladder("mine", 1, (0.0, 1e-9, 1.1e-9, 1e-3), 60.0, 1e8, 0.1).weights(0.5)
