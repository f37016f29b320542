"""What the cases of the torture suite are written with: cases, demands, and the arithmetic of a fair test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dwell.records.arrays import FloatArray
from dwell.testing.buffer_torture.adapter import BufferAdapter, Drawn, Offer

__all__ = [
    "FALSE_ALARM",
    "Buffer",
    "Case",
    "Cases",
    "WrongAnswerError",
    "demand",
    "demand_law",
    "demand_weights",
    "demand_whole",
    "draw",
    "drawn_keys",
    "filled",
    "put",
    "refused",
]

Buffer = type[BufferAdapter]

N_DRAWS: Final = 4096
FALSE_ALARM: Final = 1e-6  # chance that one right buffer fails one chi-square test
FALSE_ALARM_Z: Final = 4.753424  # the standard normal's upper quantile at it
WEIGHT_TOLERANCE: Final = (
    1e-3  # peers count in float32, and add as much as 1e-4 to a priority of 1 by documented intent
)
PROBABILITY_TOLERANCE: Final = 1e-4  # float32 again, summed


class WrongAnswerError(AssertionError):
    """The buffer answered, and the answer is not true."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a replay buffer should survive.

    Attributes:
        name: Unique in the suite.
        group: What it is about.
        source: The test of another project that it re-expresses, or "none checks this".
        expectation: What a right buffer does, in one sentence.
        needs: Offers without which it is not asked.
        check: Takes an adapter class; returns if the buffer is right, raises `WrongAnswerError` if it is not.
    """

    name: str
    group: str
    source: str
    expectation: str
    needs: frozenset[Offer]
    check: Callable[[Buffer], None]


class Cases(list[Case]):
    """The cases of one group, each made from a function: its name, and its docstring as the expectation."""

    def __init__(self, group: str) -> None:
        super().__init__()
        self._group = group

    def case(self, source: str, *needs: Offer) -> Callable[[Callable[[Buffer], None]], Callable[[Buffer], None]]:
        """Return a decorator that makes a function a case."""

        def made(check: Callable[[Buffer], None]) -> Callable[[Buffer], None]:
            name, expectation = check.__name__.strip("_").replace("_", " "), (check.__doc__ or "").strip()
            self.append(Case(name, self._group, source, expectation, frozenset(needs), check))
            return check

        return made


def demand(is_right: bool, what: str) -> None:  # noqa: FBT001 - reads as a sentence: demand(a == b, "...")
    """Go on if something is right.

    Raises:
        WrongAnswerError: It is not.
    """
    if not is_right:
        raise WrongAnswerError(what)


def refused(call: Callable[[], object]) -> bool:
    """Return whether a call was refused, by an exception of any kind; a report of it is up to the caller."""
    try:
        call()
    except Exception:  # noqa: BLE001 - which error a buffer refuses with is its own affair
        return True
    return False


def put(
    buffer: BufferAdapter,
    key: int,
    priority: float | None = None,
    *,
    marker: float | None = None,
    user: str | None = None,
) -> Any:  # noqa: ANN401 - a handle is whatever the buffer makes it
    """Add an item, its row full of its key unless told otherwise, and return its handle.

    Where the buffer takes no priority at add, it is written afterwards, as the buffer's users do.
    """
    marker = float(key) if marker is None else marker
    if priority is None or "priority at add" in buffer.offers:
        return buffer.add(key, marker, priority=priority, user=user)
    handle = buffer.add(key, marker, user=user)
    buffer.update([handle], [priority])
    return handle


def filled(
    adapter: Buffer, masses: Mapping[int, float], *, capacity: int = 16, alpha: float = 1.0, seed: int = 0
) -> tuple[BufferAdapter, dict[int, Any]]:
    """Return a buffer that holds items of these priorities, and their handles by key."""
    buffer = adapter.make(capacity=capacity, alpha=alpha, seed=seed)
    return buffer, {key: put(buffer, key, mass) for key, mass in masses.items()}


def draw(buffer: BufferAdapter, n_draws: int, *, beta: float = 1.0) -> list[Drawn]:
    """Return samples of that many draws in all, each draw independent of the others."""
    n_left, samples = n_draws, list[Drawn]()
    while n_left > 0:
        drawn = buffer.sample(min(n_left, buffer.n_independent), beta=beta)
        demand(len(drawn.keys) > 0, "a sample of a buffer that is not empty is empty")
        samples.append(drawn)
        n_left -= len(drawn.keys)
    return samples


def drawn_keys(buffer: BufferAdapter, n_samples: int = 60) -> list[int]:
    """Return the keys of samples of five, in order, for comparing generators.

    Five, because a sample that is a multiple of the items is the same for every seed where draws are stratified.
    """
    n = min(5, buffer.n_independent)
    return [key for _ in range(n_samples) for key in buffer.sample(n).keys.tolist()]


def demand_whole(samples: Iterable[Drawn], markers: Mapping[int, float] | None = None) -> None:
    """Demand that each row is of one marker, and that of its key.

    Args:
        samples: What was drawn.
        markers: Marker by key; None: the key itself.
    """
    for drawn in samples:
        rows = np.asarray(drawn.rows, dtype=np.float64)
        demand(bool((rows == rows[:, :1]).all()), "a row holds fields of two items")
        due = drawn.keys if markers is None else np.array([markers[key] for key in drawn.keys.tolist()])
        demand(bool((rows[:, 0] == due).all()), "a row belongs to another key")


def demand_law(buffer: BufferAdapter, masses: Mapping[int, float], *, n_draws: int = N_DRAWS) -> None:
    """Demand that draws follow masses: counts by chi-square, weights and probabilities by value, rows whole.

    A right buffer fails with probability `FALSE_ALARM`: counts beyond the chi-square quantile of that level. A buffer
    that stratifies its draws is further from it still.

    Args:
        buffer: Not empty.
        masses: Key to mass, in proportion to the due probability; all 0: none may be drawn that is not among them.
        n_draws: Enough for every key with mass to be expected five times or more.

    Raises:
        WrongAnswerError: Another key was drawn, or one of mass 0, or the law is another one.
    """
    total = sum(masses.values())
    samples = draw(buffer, n_draws)
    demand_whole(samples)
    keys, counts = np.unique(np.concatenate([drawn.keys for drawn in samples]), return_counts=True)
    seen = dict(zip(keys.tolist(), counts.tolist(), strict=True))
    strangers = sorted(key for key in seen if masses.get(key, 0.0) <= 0.0)
    demand(not strangers, f"drawn though not to be drawn: {_shortened(strangers)}")
    due = {key: n_draws * mass / total for key, mass in masses.items() if mass > 0.0}
    found = {key: seen.get(key, 0) for key in due}
    chi_square = sum((found[key] - n) ** 2 / n for key, n in due.items())
    limit = _chi_square_limit(len(due) - 1)
    shares = {key: (round(n / n_draws, 4), round(due[key] / n_draws, 4)) for key, n in found.items()}
    demand(
        chi_square <= limit,
        f"chi-square {chi_square:.3g} over {limit:.3g}; share found and due by key: {_shortened(shares)}",
    )
    demand_weights(samples, masses, beta=1.0)
    for drawn in samples:
        if drawn.probabilities is not None:
            _demand_close(drawn.probabilities, _of(drawn, masses) / total, PROBABILITY_TOLERANCE, "probabilities")


def demand_weights(samples: Sequence[Drawn], masses: Mapping[int, float], *, beta: float) -> None:
    """Demand that the weights of each sample, where there are any, are in proportion to mass^-beta."""
    for drawn in samples:
        if drawn.weights is not None:
            demand(bool(np.isfinite(drawn.weights).all()), "weights that are not finite")
            constant = drawn.weights * _of(drawn, masses) ** beta
            _demand_close(constant, np.full(constant.size, constant[0]), WEIGHT_TOLERANCE, "weights times mass^beta")


def _of(drawn: Drawn, masses: Mapping[int, float]) -> FloatArray:
    return np.array([masses[key] for key in drawn.keys.tolist()], dtype=np.float64)


def _demand_close(found: FloatArray, due: npt.NDArray[np.float64], tolerance: float, what: str) -> None:
    is_close = bool((np.abs(found - due) <= tolerance * np.abs(due)).all())  # false for NaN
    if not is_close:  # an array is slow to print
        raise WrongAnswerError(f"{what}: found {_shortened(found)}, due {_shortened(due)}")


def _chi_square_limit(n_free: int) -> float:
    """Return the chi-square quantile at 1 - `FALSE_ALARM`, from above (Wilson and Hilferty 1931)."""
    if n_free < 1:
        return 0.0  # one key: its count is certain
    spread = 2.0 / (9.0 * n_free)
    return float(n_free * (1.0 - spread + FALSE_ALARM_Z * spread**0.5) ** 3)


def _shortened(value: object) -> str:
    text = str(value).replace("\n", " ")
    return text if len(text) <= 160 else text[:157] + "..."
