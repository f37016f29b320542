r"""The ladder of rates that stands for every power law of forgetting: t^-d ~ sum_k w_k(d) e^(-rate_k t).

A power law is a mixture of exponentials, t^-d = 1/Gamma(d) * integral of l^(d-1) e^(-l t) dl, so K of them reproduce it
over a range of ages, and what has to be remembered of a history is K sums, S_k = sum_j r_j e^(-rate_k age_j), which do
not depend on d. Only the weights do: w(d) is the minimax fit of relative error to t^-d over the range of ages, found by
the exchange algorithm of Remez (exponentials of different rates are a Chebyshev system on t > 0: the best fit is the
one whose error alternates K + 1 times).

With weights and increments >= 0 a relative error eps of the kernel bounds the error of ln sum by -ln(1 - eps), whatever
the history is.

Source: Beylkin and Monzon, Appl. Comput. Harmon. Anal. 2005 and 2010 (sums of exponentials for power laws); Cheney,
Introduction to Approximation Theory, chapter 3 (exchange, Chebyshev systems).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np

from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["LADDERS", "LADDER_12", "LADDER_14", "MAX_DECAY", "MIN_DECAY", "YEAR_S", "Ladder", "checked_decay"]

MIN_DECAY: Final = 0.1  # the range of d in which the bounds of both ladders hold: swept by the tests in steps of 0.01
MAX_DECAY: Final = 0.9
YEAR_S: Final = 31_557_600.0  # 365.25 days

_N_AGES: Final = 1_200  # 78 per factor of e: between two of them the error moves by less than 1e-5
_MOST_EXCHANGES: Final = 200  # at most 36 are needed over 161 values of d
_ALTERNATES: Final = 1e-6  # by how much, relatively, the largest error may exceed that of the K + 1 ages at the end


def checked_decay(decay: object) -> float:
    """Return d, in [0.1, 0.9].

    Raises:
        RecordError: It is outside, or no number.
    """
    try:
        return checks.within(decay, "decay", MIN_DECAY, MAX_DECAY)
    except RecordError as error:
        raise RecordError(
            error.message,
            code=error.code,
            field="decay",
            value=decay,
            hint="0.5 is ACT-R's; the ladders' bound on the error holds from 0.1 to 0.9.",
        ) from error


@dataclass(frozen=True, slots=True)
class Ladder:
    """Rates of decay, shared by every d, and the ages between which their bound holds.

    Attributes:
        ladder_id: Name, kept beside what was computed with it.
        version: Moves when rates move: traces of another version mean something else.
        rates_per_s: (K,) ascending, >= 0, the first 0: the plain count.
        youngest_s: Below this age the kernel saturates, by design: there is no singularity at age 0.
        oldest_s: Above this age it overestimates, by the plain count.
        bound_nats: Most that ln of the sum can be off, for every d in [0.1, 0.9] and any history with ages in range.

    Raises:
        ConfigError: The rates do not ascend from 0, or the ages are not in order.
    """

    ladder_id: str
    version: int
    rates_per_s: tuple[float, ...]
    youngest_s: float
    oldest_s: float
    bound_nats: float

    def __post_init__(self) -> None:
        rates = self.rates_per_s
        if len(rates) < 2 or rates[0] != 0.0 or any(not a < b for a, b in pairwise(rates)):
            raise ConfigError(
                "rates ascend from 0", field="rates_per_s", value=rates, hint="Take LADDER_12 or LADDER_14."
            )
        if not 0.0 < self.youngest_s < self.oldest_s < np.inf:
            raise ConfigError(
                "the ages are not in order",
                field="youngest_s",
                value=(self.youngest_s, self.oldest_s),
                hint="0 < youngest_s < oldest_s.",
            )

    @property
    def size(self) -> int:
        """K."""
        return len(self.rates_per_s)

    @property
    def rates(self) -> FloatArray:
        """(K,) float64 per second, not to be written to."""
        return _frozen(self.rates_per_s)

    @property
    def half_lives_s(self) -> FloatArray:
        """(K,) float64 seconds, the first infinite."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(2.0) / self.rates)

    def weights(self, decay: float) -> FloatArray:
        """Return w(d), (K,) float64 > 0, not to be written to; kept for the last 256 values of d.

        Raises:
            RecordError: The decay is outside [0.1, 0.9].
        """
        return _fitted(self.rates_per_s, self.youngest_s, self.oldest_s, checked_decay(decay))[0]

    def error_nats(self, decay: float) -> float:
        """Return the most that ln of the sum can be off at this d, for any history with ages in range.

        Raises:
            RecordError: The decay is outside [0.1, 0.9].
        """
        return _fitted(self.rates_per_s, self.youngest_s, self.oldest_s, checked_decay(decay))[1]


@lru_cache(maxsize=16)
def _frozen(values: tuple[float, ...]) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    array.flags.writeable = False
    return array


@lru_cache(maxsize=256)
def _fitted(rates: tuple[float, ...], youngest_s: float, oldest_s: float, decay: float) -> tuple[FloatArray, float]:
    """Return the minimax weights and the bound in nats that they give.

    Raises:
        ConfigError: The ladder has no non-negative fit at this decay, so that no bound would hold.
    """
    ages = np.geomspace(youngest_s, oldest_s, _N_AGES)
    # relative to the power law: what is to be approximated is 1
    terms = np.exp(-np.outer(ages, rates) + decay * np.log(ages)[:, None])
    terms_scale = terms.max(axis=0)
    terms /= terms_scale
    n_due = len(rates) + 1
    # extremes crowd at the ends, as those of a Chebyshev polynomial do
    chosen = np.round((0.5 - 0.5 * np.cos(np.pi * np.arange(n_due) / (n_due - 1))) * (_N_AGES - 1)).astype(np.int64)
    signs = (-1.0) ** np.arange(n_due)
    for _ in range(_MOST_EXCHANGES):
        solved = np.linalg.solve(np.column_stack([terms[chosen], signs]), np.ones(n_due))
        errors = terms @ solved[:-1] - 1.0
        worst = int(np.abs(errors).argmax())
        if abs(errors[worst]) <= (1.0 + _ALTERNATES) * abs(solved[-1]):
            break
        chosen = _exchanged(chosen, worst, errors)
    weights: FloatArray = solved[:-1] / terms_scale
    if (weights < 0.0).any():
        raise ConfigError(
            "the ladder has no non-negative fit at this decay",
            field="rates_per_s",
            value=decay,
            hint="Take LADDER_12 or LADDER_14.",
        )
    weights.flags.writeable = False
    return weights, float(-np.log1p(-np.abs(errors).max()))


def _exchanged(chosen: IntArray, worst: int, errors: FloatArray) -> IntArray:
    """Return the ages (indices) with the worst one in, and a neighbour out such that signs still alternate."""
    place = int(np.searchsorted(chosen, worst))
    is_same = np.sign(errors[chosen]) == np.sign(errors[worst])
    if place == 0 and not is_same[0]:
        return np.concatenate([[worst], chosen[:-1]])
    if place == chosen.size and not is_same[-1]:
        return np.concatenate([chosen[1:], [worst]])
    swapped = chosen.copy()
    swapped[place if place < chosen.size and is_same[place] else place - 1] = worst
    return swapped


# Both from one search over geometric ladders with a rate of 0, ages 60 s to 10 years, the maximum over d in 0.1 ... 0.9
# being minimised: 1.32 % and 0.47 % at d = 0.9, which is 0.0133 and 0.0047 nats.
LADDER_12: Final = Ladder(
    ladder_id="joint-12",
    version=1,
    rates_per_s=(
        *(0.0, 7.891627069252536e-09, 3.471157416706775e-08, 1.5267996961619853e-07, 6.715677315527655e-07),
        *(2.9539121549253907e-06, 1.2992877127733725e-05, 5.714958577048479e-05, 0.0002513742815874444),
        *(0.001105677820612271, 0.0048633592715753935, 0.02139164136558414),
    ),
    youngest_s=60.0,
    oldest_s=10.0 * YEAR_S,
    bound_nats=0.014,
)
LADDER_14: Final = Ladder(
    ladder_id="joint-14",
    version=1,
    rates_per_s=(
        *(0.0, 4.24340718808025e-09, 1.5722778535096905e-08, 5.825643260399455e-08, 2.1585319237105533e-07),
        *(7.997846516537477e-07, 2.963382111677676e-06, 1.0979997580164978e-05, 4.068336188753448e-05),
        *(0.00015074101085978757, 0.0005585293668169776, 0.0020694769911496803, 0.00766787795117194),
        0.02841121332854487,
    ),
    youngest_s=60.0,
    oldest_s=10.0 * YEAR_S,
    bound_nats=0.005,
)
LADDERS: Final = {ladder.ladder_id: ladder for ladder in (LADDER_12, LADDER_14)}
