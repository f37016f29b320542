"""How often experience is used: samples per insert, and how many more samples the learner may draw now.

A meter counts what it is told and holds no clock. It throttles the learner alone: experience comes in whatever it says,
because feedback that is held up is feedback that is lost.

Source: the rate limiter of Cassirer et al. 2021, "Reverb: A Framework for Experience Replay" (difference of inserts
times samples per insert, and samples; an error buffer around it); capacity, replay ratio and the age of the oldest
policy as three separate things to look at: Fedus et al. 2020, "Revisiting Fundamentals of Experience Replay".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from dwell.errors import ConfigError, ReplayError
from dwell.replay.arguments import real, whole

__all__ = ["RateMeter", "VersionAges", "version_ages"]

_MARKS: Final = 32  # the window is known to 1/32 of itself, and a meter stays some 34 pairs of numbers
_MOST: Final = 2**62  # counts: no overflow in int64, and no loop that runs so long
_MOST_RATIO: Final = 1e9
_SETTINGS: Final = ("max_samples_per_insert", "error_buffer", "min_size", "window")
_COUNTS: Final = ("n_inserted", "n_removed", "n_sampled")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateMeter:
    """Counts of inserts and samples, as a value: each note returns another meter.

    Attributes:
        max_samples_per_insert: Most samples per insert in the long run, > 0; None for no limit.
        error_buffer: How far samples may run ahead of that, and how far they fall behind before `is_behind` says so:
            a number, meant on both sides of the point at which `min_size` is reached, or a pair (lowest, highest) of
            n_inserted * max_samples_per_insert - n_sampled. None: the least that is sound.
        min_size: Experiences that must be there before the first sample, >= 1.
        window: Recent inserts that `replay_ratio` looks at, >= 1.
        n_inserted: Experiences that came in.
        n_removed: Experiences that left.
        n_sampled: Experiences drawn, repeats included.

    Raises:
        ConfigError: A value is out of range, or the range of the error buffer is so narrow or lies so that a learner
            that waits for a batch, and a program that waits for the learner, could wait for each other for ever.
    """

    max_samples_per_insert: float | None = None
    error_buffer: float | tuple[float, float] | None = None
    min_size: int = 1
    window: int = 1_000
    n_inserted: int = 0
    n_removed: int = 0
    n_sampled: int = 0
    _marks: tuple[tuple[int, int], ...] = ((0, 0),)  # (n_inserted, n_sampled) before some inserts, oldest first

    def __post_init__(self) -> None:
        whole(self.min_size, "min_size", 1, _MOST, error=ConfigError)
        whole(self.window, "window", 1, _MOST, error=ConfigError)
        for name in _COUNTS:
            whole(getattr(self, name), name, 0, _MOST, error=ConfigError)
        if self.n_removed > self.n_inserted:
            raise ConfigError("more left than came in", field="n_removed", value=self.n_removed, hint="Correct it.")
        if self.max_samples_per_insert is None:
            if self.error_buffer is not None:
                raise ConfigError(
                    "an error buffer is around a limit, and there is none",
                    field="error_buffer",
                    value=self.error_buffer,
                    hint="Give max_samples_per_insert, or leave error_buffer out.",
                )
        else:
            ratio = real(self.max_samples_per_insert, "max_samples_per_insert", 1e-9, _MOST_RATIO, error=ConfigError)
            object.__setattr__(self, "max_samples_per_insert", ratio)
            _check_range(ratio, self.min_size, *self._range())

    # ---- noting

    def inserted(self, n: int = 1) -> Self:
        """Return the meter after n experiences came in; never refused, whatever the limit.

        Raises:
            ReplayError: `n` is no int >= 0.
        """
        n = whole(n, "n", 0, _MOST)
        step = -(-self.window // _MARKS)
        marks = self._marks
        if n and self.n_inserted - marks[-1][0] >= step:
            marks = (*marks, (self.n_inserted, self.n_sampled))
        total = self.n_inserted + n
        # the newest mark that is a whole window back is the oldest that is needed
        first = max((i for i, (at, _) in enumerate(marks) if total - at >= self.window), default=0)
        return replace(self, n_inserted=total, _marks=marks[first:])

    def removed(self, n: int = 1) -> Self:
        """Return the meter after n experiences left.

        Raises:
            ReplayError: `n` is no int in [0, size].
        """
        return replace(self, n_removed=self.n_removed + whole(n, "n", 0, self.size))

    def sampled(self, n: int) -> Self:
        """Return the meter after n experiences were drawn, more than were allowed included: it counts what happened.

        Raises:
            ReplayError: `n` is no int >= 0.
        """
        return replace(self, n_sampled=self.n_sampled + whole(n, "n", 0, _MOST))

    # ---- asking

    @property
    def size(self) -> int:
        """Experiences that are there."""
        return self.n_inserted - self.n_removed

    @property
    def samples_per_insert(self) -> float:
        """Samples per insert since the beginning, 0 before the first insert."""
        return self.n_sampled / self.n_inserted if self.n_inserted else 0.0

    @property
    def replay_ratio(self) -> float:
        """Samples per insert over the last `window` inserts, to 1/32 of them; over all while there are fewer."""
        inserted, sampled = self._marks[0]
        n = self.n_inserted - inserted
        return (self.n_sampled - sampled) / n if n else 0.0

    def allowed(self, n: int) -> int:
        """Return how many of n samples the learner may draw now, in [0, n]: 0 below `min_size`.

        Raises:
            ReplayError: `n` is no int >= 0.
        """
        n = whole(n, "n", 0, _MOST)
        if self.size < self.min_size:
            return 0
        if self.max_samples_per_insert is None:
            return n
        lowest, _ = self._range()
        return max(0, min(n, math.floor(self._difference() - lowest)))

    @property
    def is_behind(self) -> bool:
        """Whether the learner draws less than the error buffer tolerates: where Reverb would hold up inserts."""
        return self.max_samples_per_insert is not None and self._difference() > self._range()[1]

    def _difference(self) -> float:
        return self.n_inserted * (self.max_samples_per_insert or 0.0) - self.n_sampled

    def _range(self) -> tuple[float, float]:
        """Return the lowest and the highest difference that the error buffer tolerates."""
        ratio = self.max_samples_per_insert or 0.0
        offset = ratio * self.min_size
        given = self.error_buffer
        if isinstance(given, tuple | list):
            if len(given) != 2:
                raise ConfigError(
                    "an error buffer has two ends", field="error_buffer", value=given, hint="Pass (lowest, highest)."
                )
            lowest, highest = (real(end, "error_buffer", -1e18, 1e18, error=ConfigError) for end in given)
            return lowest, highest
        around = max(1.0, ratio) if given is None else real(given, "error_buffer", 0.0, 1e18, error=ConfigError)
        return offset - around, offset + around

    # ---- saving

    def to_state(self) -> dict[str, Any]:
        """Return the meter as plain numbers and lists, for JSON too."""
        state = asdict(self)
        state["marks"] = [list(mark) for mark in state.pop("_marks")]
        if isinstance(self.error_buffer, tuple | list):
            state["error_buffer"] = list(self.error_buffer)
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the meter that was saved.

        Raises:
            ReplayError: code `state`: it is no such state; names what is wrong.
        """
        try:
            marks = tuple((int(inserted), int(sampled)) for inserted, sampled in state["marks"])
            given = state["error_buffer"]
            meter = cls(
                **{name: state[name] for name in (*_SETTINGS, *_COUNTS) if name != "error_buffer"},
                error_buffer=tuple(given) if isinstance(given, list | tuple) else given,
                _marks=marks,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise _malformed(error) from error
        # both counts only grow, and none is ahead of the meter itself
        counts = (*marks, (meter.n_inserted, meter.n_sampled))
        are_growing = all(a <= c and b <= d for (a, b), (c, d) in pairwise(counts))
        if not marks or min(marks[0]) < 0 or not are_growing:
            raise _malformed(state["marks"])
        return meter


def _check_range(ratio: float, min_size: int, lowest: float, highest: float) -> None:
    """Refuse what could stop either side for ever, by the three rules of Reverb's `SampleToInsertRatio`."""
    offset = ratio * min_size
    wrong = (
        # narrower, one insert could carry the difference from below the range to above it
        (highest - lowest < 2.0 * max(1.0, ratio), f"must be at least {2.0 * max(1.0, ratio):g} wide"),
        (highest < offset, f"must reach up to {offset:g}, where min_size is reached"),
        (lowest > offset, f"must reach down to {offset:g}, where min_size is reached"),
    )
    for is_wrong, words in wrong:
        if is_wrong:
            raise ConfigError(
                f"with this error buffer sampling could stop for ever: its range {words}",
                field="error_buffer",
                value=(lowest, highest),
                hint=f"Pass a number of at least {max(1.0, ratio):g}, or leave it out.",
            )


def _malformed(what: object) -> ReplayError:
    return ReplayError(
        "this is not the state of a meter",
        code="state",
        field="state",
        value=what,
        hint="Pass what RateMeter.to_state returned, unchanged.",
    )


class VersionAges(NamedTuple):
    """How old the params are under which the experience was served.

    Attributes:
        oldest: The oldest version among them.
        oldest_age: Versions between it and the live one, >= 0.
        mean_age: Mean over experiences of the same difference.
        n: Experiences.
    """

    oldest: int
    oldest_age: int
    mean_age: float
    n: int


def version_ages(versions: npt.ArrayLike, counts: npt.ArrayLike, *, live: int) -> VersionAges | None:
    """Return the ages of the params versions among live rows, or None where there are no rows.

    Args:
        versions: (v,) whole numbers >= 0.
        counts: (v,) rows of each, whole numbers >= 0; a version without a row plays no part.
        live: Version in force; a newer one counts as age 0.

    Raises:
        ReplayError: They differ in length or are no whole numbers >= 0.
    """
    which, how_many = np.asarray(versions), np.asarray(counts)
    for field, array in (("versions", which), ("counts", how_many)):
        is_whole = array.dtype.kind in "iu" or not array.size
        if not is_whole or array.ndim != 1 or array.size != which.size or (array.size and int(array.min()) < 0):
            raise ReplayError(
                "whole numbers >= 0 are due here, one count per version", field=field, value=array, hint="Correct them."
            )
    live = whole(live, "live", 0, _MOST)
    is_there = how_many > 0
    which, how_many = which[is_there].astype(np.int64), how_many[is_there].astype(np.int64)
    if not which.size:
        return None
    oldest = int(which.min())
    ages = np.maximum(live - which, 0)
    n = int(how_many.sum())
    return VersionAges(oldest, max(live - oldest, 0), float(ages @ how_many / n), n)
