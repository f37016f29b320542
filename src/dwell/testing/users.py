"""Simulated users: nothing that they click on is evidence about people, and whatever shows their clicks must say so.

Each follows a published click model. Documents are described by their grades in shown order, (..., k): integers from 0
to `max_grade`, or floats in [0, 1] that already are probabilities of relevance. An integer grade g counts as
(2^g - 1) / (2^max_grade - 1); a document of relevance R attracts with

    attraction = noise + (1 - noise) * R,

the noise being the rate of clicks on irrelevant documents. `click_probabilities` is the closed form of what `clicks`
draws; both work on whole batches of lists.

Source: Ai, Bi, Luo, Guo, Croft, SIGIR 2018, section 5 (grades and noise 0.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.records.arrays import BoolArray, FloatArray

__all__ = ["CascadeUser", "DbnUser", "PositionBasedUser", "SimulatedUser", "Visitors", "relevance"]

_NOISE: Final = 0.1  # Ai et al., SIGIR 2018
_MAX_GRADE: Final = 4  # the five-grade scale of the public learning-to-rank sets


class SimulatedUser(Protocol):
    """Somebody made up, who looks at lists and clicks."""

    def clicks(self, grades: npt.NDArray[Any], rng: np.random.Generator) -> BoolArray:
        """Return which documents are clicked, bool (..., k), for grades (..., k) in shown order."""
        ...

    def click_probabilities(self, grades: npt.NDArray[Any]) -> FloatArray:
        """Return the marginal probability of a click on each document, float64 (..., k)."""
        ...


def relevance(grades: npt.NDArray[Any], max_grade: int = _MAX_GRADE) -> FloatArray:
    """Return probabilities of relevance, float64 in the shape of `grades`; floats are taken as they are.

    Raises:
        RecordError: code `grade`: a grade outside [0, max_grade], a float outside [0, 1], or no number.
    """
    given = np.asarray(grades)
    if given.dtype.kind in "iu":
        if not ((given >= 0) & (given <= max_grade)).all():
            raise RecordError(
                f"an integer grade is in [0, {max_grade}]",
                code="grade",
                field="grades",
                value=given.tolist(),
                hint="Pass the user another max_grade, or floats in [0, 1].",
            )
        graded: FloatArray = (np.exp2(given.astype(np.float64)) - 1.0) / (2.0**max_grade - 1.0)
        return graded
    if given.dtype.kind != "f" or not ((given >= 0.0) & (given <= 1.0)).all():
        raise RecordError(
            "a float grade is a probability in [0, 1]",
            code="grade",
            field="grades",
            value=given.tolist(),
            hint="Pass integer grades as integers.",
        )
    return given.astype(np.float64)


@dataclass(frozen=True, slots=True)
class PositionBasedUser:
    """Looks at position k with probability 1 / k^eta, whatever stands above, and clicks on what attracts.

    P(click at k) = k^-eta * (noise + (1 - noise) R_k), independently of the other positions.

    Attributes:
        eta: Severity of the position bias, in [0, 4].
        noise: Attraction of an irrelevant document, in [0, 1].
        max_grade: Highest integer grade, in [1, 30].

    Raises:
        ConfigError: A field is out of its range.

    Source: Joachims, Swaminathan, Schnabel, WSDM 2017, section 6.
    """

    eta: float = 1.0
    noise: float = _NOISE
    max_grade: int = _MAX_GRADE

    def __post_init__(self) -> None:
        _check_number("eta", self.eta, 4.0)
        _check_number("noise", self.noise)
        _check_count("max_grade", self.max_grade, 30)

    def click_probabilities(self, grades: npt.NDArray[Any]) -> FloatArray:
        """Return k^-eta * attraction, float64 (..., k)."""
        attraction = self.noise + (1.0 - self.noise) * relevance(grades, self.max_grade)
        rank = np.arange(1, attraction.shape[-1] + 1, dtype=np.float64)
        probabilities: FloatArray = rank**-self.eta * attraction
        return probabilities

    def clicks(self, grades: npt.NDArray[Any], rng: np.random.Generator) -> BoolArray:
        """Return which documents are clicked, bool (..., k)."""
        probabilities = self.click_probabilities(grades)
        drawn: BoolArray = rng.random(probabilities.shape) < probabilities
        return drawn


@dataclass(frozen=True, slots=True)
class CascadeUser:
    """Reads from the top, clicks on what attracts, and leaves after a click, or goes on with some probability.

    P(look at k+1) = P(look at k) * (1 - attraction_k * (1 - continuation)).

    Attributes:
        continuation: Probability of reading on after a click, in [0, 1]; 0 is the cascade model proper.
        noise: Attraction of an irrelevant document, in [0, 1].
        max_grade: Highest integer grade, in [1, 30].

    Raises:
        ConfigError: A field is out of its range.

    Source: Craswell, Zoeter, Taylor, Ramsey, WSDM 2008; with a continuation, Guo, Liu, Wang, WSDM 2009.
    """

    continuation: float = 0.0
    noise: float = _NOISE
    max_grade: int = _MAX_GRADE

    def __post_init__(self) -> None:
        _check_number("continuation", self.continuation)
        _check_number("noise", self.noise)
        _check_count("max_grade", self.max_grade, 30)

    def click_probabilities(self, grades: npt.NDArray[Any]) -> FloatArray:
        """Return P(look at k) * attraction_k, float64 (..., k)."""
        attraction = self.noise + (1.0 - self.noise) * relevance(grades, self.max_grade)
        return _examined(1.0 - attraction * (1.0 - self.continuation)) * attraction

    def clicks(self, grades: npt.NDArray[Any], rng: np.random.Generator) -> BoolArray:
        """Return which documents are clicked, bool (..., k)."""
        attraction = self.noise + (1.0 - self.noise) * relevance(grades, self.max_grade)
        attracted = rng.random(attraction.shape) < attraction
        goes_on = ~attracted | (rng.random(attraction.shape) < self.continuation)
        drawn: BoolArray = _reached(goes_on) & attracted
        return drawn


@dataclass(frozen=True, slots=True)
class DbnUser:
    """Reads from the top, trusts what stands high, and leaves when satisfied or tired.

    The noise at rank k is noise_k = noise + (1 - noise) * trust / k: a document attracts because it stands high. A
    click on a document satisfies with probability satisfaction * R_k; who is not satisfied reads on with probability
    `patience`:

    P(look at k+1) = P(look at k) * patience * (1 - attraction_k * satisfaction * R_k).

    Attributes:
        patience: Probability of reading on when not satisfied, in [0, 1].
        satisfaction: Probability that a relevant, clicked document ends the search, in [0, 1].
        trust: Share of the noise's headroom that the first position takes, in [0, 1]; 0 has no trust bias.
        noise: Attraction of an irrelevant document far down, in [0, 1].
        max_grade: Highest integer grade, in [1, 30].

    Raises:
        ConfigError: A field is out of its range.

    Source: Chapelle, Zhang, WWW 2009 (patience 0.9); Agarwal, Wang, Li, Bendersky, Najork, WWW 2019 (trust bias).
    """

    patience: float = 0.9
    satisfaction: float = 0.7
    trust: float = 0.2
    noise: float = _NOISE
    max_grade: int = _MAX_GRADE

    def __post_init__(self) -> None:
        for name in ("patience", "satisfaction", "trust", "noise"):
            _check_number(name, getattr(self, name))
        _check_count("max_grade", self.max_grade, 30)

    def click_probabilities(self, grades: npt.NDArray[Any]) -> FloatArray:
        """Return P(look at k) * attraction_k, float64 (..., k)."""
        relevant = relevance(grades, self.max_grade)
        attraction = self._attraction(relevant)
        return _examined(self.patience * (1.0 - attraction * self.satisfaction * relevant)) * attraction

    def clicks(self, grades: npt.NDArray[Any], rng: np.random.Generator) -> BoolArray:
        """Return which documents are clicked, bool (..., k)."""
        relevant = relevance(grades, self.max_grade)
        attracted = rng.random(relevant.shape) < self._attraction(relevant)
        is_satisfied = attracted & (rng.random(relevant.shape) < self.satisfaction * relevant)
        goes_on = ~is_satisfied & (rng.random(relevant.shape) < self.patience)
        drawn: BoolArray = _reached(goes_on) & attracted
        return drawn

    def _attraction(self, relevant: FloatArray) -> FloatArray:
        rank = np.arange(1, relevant.shape[-1] + 1, dtype=np.float64)
        noise = self.noise + (1.0 - self.noise) * self.trust / rank
        attraction: FloatArray = noise + (1.0 - noise) * relevant
        return attraction


class Visitors:
    """A crowd of simulated visitors with stable ids, some of whom come far more often than others.

    The same n, skew and generator state make the same crowd.

    Args:
        n: Number of visitors, in [1, 1000000].
        rng: Decides who comes how often; it is not kept.
        skew: Exponent of the Zipf law of visits, in [0, 4]; 0 makes all equally frequent.

    Raises:
        ConfigError: An argument is out of its range.
    """

    def __init__(self, n: int, rng: np.random.Generator, *, skew: float = 1.0) -> None:
        _check_count("n", n, 1_000_000)
        _check_number("skew", skew, 4.0)
        self.ids: tuple[str, ...] = tuple(f"simulated-visitor-{i:06d}" for i in range(n))
        frequency = np.arange(1, n + 1, dtype=np.float64) ** -skew
        self._cumulative = np.cumsum(rng.permutation(frequency / frequency.sum()))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shares(self) -> FloatArray:
        """Share of the visits per visitor, float64 (n,), summing to 1."""
        return np.diff(self._cumulative, prepend=0.0)

    def next_visitor(self, rng: np.random.Generator) -> str:
        """Return the id of whoever comes next, drawn by their shares."""
        drawn = np.searchsorted(self._cumulative, rng.random(), side="right")
        # rounding may leave the last cumulative share a hair below 1
        return self.ids[min(int(drawn), len(self.ids) - 1)]


def _examined(goes_on: FloatArray) -> FloatArray:
    """Return P(look at k) when P(look at k+1) = P(look at k) * goes_on_k and the first is always looked at."""
    looked = np.cumprod(goes_on, axis=-1)
    shifted: FloatArray = np.concatenate([np.ones_like(looked[..., :1]), looked[..., :-1]], axis=-1)
    return shifted


def _reached(goes_on: BoolArray) -> BoolArray:
    so_far = np.logical_and.accumulate(goes_on, axis=-1)
    shifted: BoolArray = np.concatenate([np.ones_like(so_far[..., :1]), so_far[..., :-1]], axis=-1)
    return shifted


def _check_number(name: str, value: object, most: float = 1.0) -> None:
    try:
        checks.within(value, name, 0.0, most)
    except RecordError as error:
        raise ConfigError(error.message, field=name, value=value, hint="See the class for its ranges.") from error


def _check_count(name: str, value: object, most: int) -> None:
    try:
        checks.positive_integer(value, name, most=most)
    except RecordError as error:
        raise ConfigError(error.message, field=name, value=value, hint=error.hint) from error
