"""A buffer's index at one instant, frozen: what every draw depends on, and nothing that names a person or an event.

A snapshot stands in the order of `seq`, so it depends neither on slots nor on the order in which a buffer came to be
what it is. Its digest names it: two snapshots with the same digest give the same training sets.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from dwell.errors import ReplayError
from dwell.records.arrays import FloatArray, IntArray
from dwell.replay.buffer import MAX_ALPHA, MIN_HALF_LIFE_S, ReplayBuffer
from dwell.replay.ring import NO_USER

__all__ = ["Snapshot"]

_FORMAT: Final = 1
# canonical form: eight bytes, little-endian, whatever the machine has
_KINDS: Final[Mapping[str, str]] = {
    "seqs": "<i8",
    "versions": "<i8",
    "timestamps": "<f8",
    "priorities": "<f8",
    "rewards": "<f8",
    "segment_codes": "<i8",
    "user_codes": "<i8",
}


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Index columns of n experiences, each (n,) and read-only, in ascending order of `seq`.

    Attributes:
        seqs: int64, >= 1.
        versions: int64, versions of the rewards.
        timestamps: float64, UTC epoch seconds.
        priorities: float64, raw, finite, >= 0.
        rewards: float64.
        segment_codes: int64, index of each segment into `segments`.
        user_codes: int64: users are numbered as they first appear, -1 has none; who they are is not kept.
        segments: Names of the segments present, sorted, None first.
        alpha: Exponent of priorities and ranks.
        half_life_s: Half-life of recency, or None.

    Raises:
        ReplayError: code `snapshot`: the columns do not make one; names what is wrong.
    """

    seqs: IntArray
    versions: IntArray
    timestamps: FloatArray
    priorities: FloatArray
    rewards: FloatArray
    segment_codes: IntArray
    user_codes: IntArray
    segments: tuple[str | None, ...]
    alpha: float
    half_life_s: float | None = field(default=None)

    def __post_init__(self) -> None:
        for name, kind in _KINDS.items():
            values = np.asarray(getattr(self, name))
            is_fit = values.ndim == 1 and (not values.size or values.dtype.kind in ("iu" if kind == "<i8" else "fiu"))
            if not is_fit:
                raise _wrong(name, values)
            # + 0 turns -0.0 into 0.0, so that equal numbers have equal bytes
            column = values.astype(kind) + np.dtype(kind).type(0)
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        object.__setattr__(self, "segments", tuple(self.segments))
        self._check()

    def _check(self) -> None:
        n = len(self.seqs)
        for name in _KINDS:
            if len(getattr(self, name)) != n:
                raise _wrong(name, len(getattr(self, name)))
        present = np.unique(self.segment_codes)
        checks = (
            ("seqs", n == 0 or (self.seqs[0] >= 1 and bool((np.diff(self.seqs) > 0).all()))),
            ("versions", bool((self.versions >= 0).all())),
            ("timestamps", _are_sound(self.timestamps)),
            ("priorities", _are_sound(self.priorities)),
            ("rewards", bool(np.isfinite(self.rewards).all())),
            ("segments", self.segments == tuple(sorted(set(self.segments), key=_by_name))),
            ("segment_codes", np.array_equal(present, np.arange(len(self.segments)))),
            ("user_codes", np.array_equal(self.user_codes, _numbered(self.user_codes))),
            ("alpha", 0.0 <= self.alpha <= MAX_ALPHA),
            ("half_life_s", self.half_life_s is None or MIN_HALF_LIFE_S <= self.half_life_s < math.inf),
        )
        for name, is_sound in checks:
            if not is_sound:
                raise _wrong(name, getattr(self, name))

    @classmethod
    def of(cls, buffer: ReplayBuffer) -> Self:
        """Return the snapshot of a buffer at this instant; O(n log n)."""
        with buffer.held():
            ring = buffer._in.ring  # noqa: SLF001 - columns that no caller outside this room should see
            order = np.argsort(ring.seqs)
            named = {code: name for name, code in ring.segments.codes().items()}
            codes, users = ring.column("segment_code")[order], ring.column("user_code")[order]
            present = sorted({named[code] for code in np.unique(codes).tolist()}, key=_by_name)
            place = {name: i for i, name in enumerate(present)}
            table = np.zeros(max(named, default=0) + 1, dtype=np.int64)
            for code, name in named.items():
                table[code] = place.get(name, 0)
            return cls(
                ring.seqs[order],
                ring.column("version")[order],
                ring.timestamps[order],
                ring.priorities[order],
                ring.column("reward")[order],
                table.take(codes),
                _numbered(users),
                tuple(present),
                buffer.alpha,
                buffer.half_life_s,
            )

    def __len__(self) -> int:
        return len(self.seqs)

    def __repr__(self) -> str:
        return f"Snapshot({len(self)} experiences, {self.digest[:12]})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 in hex over the canonical little-endian bytes of everything in it."""
        text = hashlib.sha256(f"dwell snapshot {_FORMAT} {len(self)} ".encode())
        for name in _KINDS:
            text.update(f"{name} ".encode() + getattr(self, name).tobytes())
        names = [b"-" if name is None else b"+%d " % len(raw := name.encode()) + raw for name in self.segments]
        text.update(b"segments " + b"".join(names))
        half_life_s = math.inf if self.half_life_s is None else self.half_life_s
        text.update(np.array([self.alpha, half_life_s], dtype="<f8").tobytes())
        return text.hexdigest()

    # ---- saving

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return it as plain arrays, for `numpy.savez`; no pickle is needed to read them back."""
        return {
            "format": np.array(_FORMAT),
            **{name: getattr(self, name) for name in _KINDS},
            # no name is empty, so the empty one stands for none
            "segments": np.array([(name or "").encode() for name in self.segments] or [b""], dtype="S")[
                : len(self.segments)
            ],
            "alpha": np.array(self.alpha),
            "half_life_s": np.array(math.nan if self.half_life_s is None else self.half_life_s),
            "digest": np.array(self.digest.encode()),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Return the snapshot that was saved; what `numpy.load(..., allow_pickle=False)` returns will do.

        Raises:
            ReplayError: code `snapshot`: something is missing, malformed, or is not what was saved.
        """
        for name in ("format", *_KINDS, "segments", "alpha", "half_life_s", "digest"):
            if name not in arrays:
                raise _wrong(name, None)
        if np.asarray(arrays["format"]).tolist() != _FORMAT:
            raise _wrong("format", arrays["format"])
        try:
            half_life_s = float(arrays["half_life_s"])
            found = cls(
                **{name: arrays[name] for name in _KINDS},
                segments=tuple(bytes(name).decode() or None for name in np.asarray(arrays["segments"]).tolist()),
                alpha=float(arrays["alpha"]),
                half_life_s=None if math.isnan(half_life_s) else half_life_s,
            )
            digest = bytes(np.asarray(arrays["digest"]).item()).decode()
        except (TypeError, ValueError) as error:
            raise error if isinstance(error, ReplayError) else _wrong("arrays", None) from error
        if digest != found.digest:
            raise _wrong("digest", digest)
        return found


def _by_name(name: str | None) -> tuple[bool, str]:
    return name is not None, name or ""


def _are_sound(values: FloatArray) -> bool:
    return bool((np.isfinite(values) & (values >= 0.0)).all())


def _numbered(codes: npt.NDArray[Any]) -> IntArray:
    """Return each user's number in the order of first appearance, -1 for none: codes depend on a buffer's history."""
    known, first, which = np.unique(codes, return_index=True, return_inverse=True)
    is_user = known != NO_USER
    number = np.full(known.size, NO_USER, dtype=np.int64)
    number[np.flatnonzero(is_user)[np.argsort(first[is_user])]] = np.arange(np.count_nonzero(is_user))
    return number.take(which.reshape(-1))


def _wrong(name: str, value: object) -> ReplayError:
    return ReplayError(
        "these columns do not make a snapshot",
        code="snapshot",
        field=f"snapshot.{name}",
        value=value,
        hint="Pass what Snapshot.to_arrays returned, unchanged.",
    )
