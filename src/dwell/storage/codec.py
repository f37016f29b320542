"""Blobs: plain fields as msgpack, then raw little-endian arrays, under a version and a checksum.

    version u8 | 3 zero bytes | crc32 u32 of all that follows | header length u32 | 4 zero bytes |
    header (msgpack) | zeros up to a multiple of 8 | arrays, those of 8-byte items first

Arrays of a decoded record are read-only views of the blob: nothing is copied, and nobody can change them.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from dwell.errors import CorruptStoreError, RecordError
from dwell.records import Adjustment, GateDecision, Impression, LowRank, Params, RawScore, Transform
from dwell.records.arrays import Float32Array
from dwell.records.impression import Arm, Mode, Policy
from dwell.records.params import ParamsOrigin
from dwell.storage.instants import micros, rounded, seconds
from dwell.storage.protocol import Outcome

__all__ = [
    "Details",
    "decode_decision",
    "decode_details",
    "decode_impression",
    "decode_params",
    "encode_decision",
    "encode_details",
    "encode_impression",
    "encode_params",
]

_VERSION: Final = 1
# of params with weights by segment or by query alone: whoever does not know these would serve other weights, and
# refuses the blob; all other params keep their bytes
_ADJUSTED_VERSION: Final = 2
_PREFIX: Final = struct.Struct("<B3xII4x")
_CHECKED_FROM: Final = 8  # what stands before is the version and the checksum itself
_UNCHECKED: Final = struct.Struct("<B3xI")
_LENGTH: Final = struct.Struct("<I4x")
_PADDINGS: Final = tuple(bytes(n) for n in range(8))
_F8: Final = np.dtype("<f8")
_F4: Final = np.dtype("<f4")
_I8: Final = np.dtype("<i8")


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise RecordError(
        "this can not be stored", code="type", field="record", value=value, hint="Pass plain numbers and text."
    )


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode


class _ImpressionHeader(msgspec.Struct, array_like=True, frozen=True):
    event_id: str
    served_at: int
    query: str
    user: str | None
    segment: str | None
    mode: Mode
    policy: Policy
    arm: Arm
    params_version: int
    temperature: float
    is_deterministic: bool
    is_shown: bool
    is_altered: bool
    served: tuple[str, ...]
    documents: tuple[str, ...]
    n_candidates: int
    score_sd: float
    rest_logsumexp: float
    keep_probability: float
    feature_names: bytes
    lengths: tuple[int, int, int, int, int, int, int]
    teams: tuple[int, ...] = ()
    swap_pair: int = 0
    is_swapped: bool = False


class _DetailsHeader(msgspec.Struct, array_like=True, frozen=True):
    reward_version: str
    examination_version: str
    lengths: tuple[int, int, int]
    predicted_reward: float | None = None


class _ParamsHeader(msgspec.Struct, array_like=True, frozen=True):
    version: int
    names: tuple[str, ...]
    weights: bytes
    temperature: float
    transform_kind: str | None
    knots: tuple[bytes, ...]
    levels: tuple[bytes, ...]
    raw_score: tuple[bytes, float, float, float] | None
    origin: ParamsOrigin
    parent: int | None
    created_at: int
    by_segment: tuple[tuple[str, bytes], ...] = ()
    by_query: tuple[int, bytes, bytes] | None = None


_decode_impression = msgspec.msgpack.Decoder(_ImpressionHeader).decode
_decode_details = msgspec.msgpack.Decoder(_DetailsHeader).decode
_decode_params = msgspec.msgpack.Decoder(_ParamsHeader).decode
_decode_decision = msgspec.msgpack.Decoder(GateDecision).decode
_decode_names = msgspec.msgpack.Decoder(tuple[str, ...]).decode


@lru_cache(maxsize=256)  # one tuple of names for all events of a store: they differ only when features are added
def _names(encoded: bytes) -> tuple[str, ...]:
    return _decode_names(encoded)


@lru_cache(maxsize=256)
def _encoded_names(names: tuple[str, ...]) -> bytes:
    return _encode(names)


def _raw(array: npt.ArrayLike, dtype: np.dtype[Any]) -> bytes:
    if isinstance(array, np.ndarray) and array.dtype is dtype:  # as nearly always: half the time
        return array.tobytes()
    return np.asarray(array, dtype=dtype).tobytes()


def _sealed(header: bytes, arrays: Sequence[bytes] = (), *, version: int = _VERSION) -> bytes:
    checked = b"".join((_LENGTH.pack(len(header)), header, _PADDINGS[-len(header) % 8], *arrays))
    return _UNCHECKED.pack(version, zlib.crc32(checked)) + checked


def _opened(blob: bytes, what: str, *, versions: tuple[int, ...] = (_VERSION,)) -> tuple[memoryview, int]:
    if len(blob) >= _PREFIX.size:
        version, checksum, n_header = _PREFIX.unpack_from(blob)
        if version in versions and zlib.crc32(memoryview(blob)[_CHECKED_FROM:]) == checksum:
            end = _PREFIX.size + n_header
            return memoryview(blob)[_PREFIX.size : end], end + -n_header % 8
    raise CorruptStoreError(f"the stored {what} is damaged", hint="Restore the file from a backup.")


class _Arrays:
    """Reads arrays off a blob, one after the other."""

    __slots__ = ("_at", "_blob")

    def __init__(self, blob: bytes, at: int) -> None:
        self._blob = blob
        self._at = at

    def take(self, dtype: np.dtype[Any], n: int) -> npt.NDArray[Any]:
        array = np.frombuffer(self._blob, dtype, n, self._at)
        self._at += n * dtype.itemsize
        return array


def encode_impression(given: Impression) -> bytes:
    """Return an impression as a blob; its `seq` is not part of it."""
    features = np.asarray(given.features, dtype=_F4)
    embedding = None if given.query_embedding is None else np.asarray(given.query_embedding, dtype=_F4)
    header = _encode(
        (
            given.event_id,
            micros(given.served_at, "served_at"),
            given.query,
            given.user,
            given.segment,
            given.mode,
            given.policy,
            given.arm,
            given.params_version,
            given.temperature,
            given.is_deterministic,
            given.is_shown,
            given.is_altered,
            given.served,
            given.documents,
            given.n_candidates,
            given.score_sd,
            given.rest_logsumexp,
            given.keep_probability,
            _encoded_names(tuple(given.feature_names)),
            (
                len(given.propensities),
                len(given.inclusion),
                len(given.document_scores),
                len(given.scores),
                *features.shape,
                -1 if embedding is None else len(embedding),
            ),
            given.teams,
            given.swap_pair,
            given.is_swapped,
        )[: None if given.swap_pair else -2 if given.teams else -3]  # of arms "swap" and "interleave" alone
    )
    arrays = [
        _raw(given.propensities, _F8),
        _raw(given.inclusion, _F8),
        _raw(given.document_scores, _I8),
        _raw(given.scores, _F4),
        features.tobytes(),
    ]
    if embedding is not None:
        arrays.append(embedding.tobytes())
    return _sealed(header, arrays)


def decode_impression(blob: bytes, *, event_id: str, seq: int) -> Impression:
    """Return the impression of a blob.

    Raises:
        CorruptStoreError: The blob is damaged; names the event.
    """
    what = f"impression of event {event_id!r}"
    header_bytes, at = _opened(blob, what)
    header = _decode_impression(header_bytes)
    n_propensities, n_inclusion, n_indexes, n_scores, n_rows, n_columns, n_embedding = header.lengths
    arrays = _Arrays(blob, at)
    return Impression(
        propensities=arrays.take(_F8, n_propensities),
        inclusion=arrays.take(_F8, n_inclusion),
        document_scores=arrays.take(_I8, n_indexes),
        scores=arrays.take(_F4, n_scores),
        features=arrays.take(_F4, n_rows * n_columns).reshape(n_rows, n_columns),
        query_embedding=None if n_embedding < 0 else arrays.take(_F4, n_embedding),
        event_id=header.event_id,
        served_at=seconds(header.served_at),
        query=header.query,
        user=header.user,
        segment=header.segment,
        mode=header.mode,
        policy=header.policy,
        arm=header.arm,
        params_version=header.params_version,
        temperature=header.temperature,
        is_deterministic=header.is_deterministic,
        is_shown=header.is_shown,
        is_altered=header.is_altered,
        served=header.served,
        documents=header.documents,
        n_candidates=header.n_candidates,
        score_sd=header.score_sd,
        rest_logsumexp=header.rest_logsumexp,
        keep_probability=header.keep_probability,
        teams=header.teams,
        swap_pair=header.swap_pair,
        is_swapped=header.is_swapped,
        feature_names=_names(header.feature_names),
        seq=seq,
    )


class Details(NamedTuple):
    """The arrays of an outcome, and what they were computed with."""

    document_rewards: Float32Array | None = None
    reward_version: str = ""
    exposure: Float32Array | None = None
    exposure_se: Float32Array | None = None
    examination_version: str = ""
    predicted_reward: float | None = None


_NO_DETAILS: Final = Details()


def encode_details(given: Outcome) -> bytes | None:
    """Return the arrays of an outcome as a blob, or None where it has none yet."""
    columns = (given.document_rewards, given.exposure, given.exposure_se)
    if not given.reward_version and not given.examination_version and all(column is None for column in columns):
        return None
    lengths = tuple(-1 if column is None else len(column) for column in columns)
    return _sealed(
        _encode((given.reward_version, given.examination_version, lengths, given.predicted_reward)),
        [_raw(column, _F4) for column in columns if column is not None],
    )


def decode_details(blob: bytes | None, *, seq: int) -> Details:
    """Return the arrays of an outcome.

    Raises:
        CorruptStoreError: The blob is damaged; names the event.
    """
    if blob is None:
        return _NO_DETAILS
    header_bytes, at = _opened(blob, f"outcome of event number {seq}")
    header = _decode_details(header_bytes)
    arrays = _Arrays(blob, at)
    rewards, exposure, standard_error = (None if n < 0 else arrays.take(_F4, n) for n in header.lengths)
    return Details(
        rewards,
        header.reward_version,
        exposure,
        standard_error,
        header.examination_version,
        header.predicted_reward,
    )


def encode_params(given: Params) -> bytes:
    """Return a params version as a blob, every float with its bits."""
    transform, raw_score = given.transform, given.raw_score
    plain = (
        given.version,
        given.feature_names,
        _raw(given.vector, _F8),
        float(given.temperature),
        None if transform is None else transform.kind,
        () if transform is None else tuple(_raw(knots, _F8) for knots in transform.knots),
        () if transform is None else tuple(_raw(levels, _F8) for levels in transform.levels),
        None
        if raw_score is None
        else (
            _raw(raw_score.weights, _F8),
            float(raw_score.mean),
            float(raw_score.sd),
            float(raw_score.coefficient),
        ),
        given.origin,
        given.parent,
        micros(given.created_at, "created_at"),
    )
    if not given.is_adjusted:
        return _sealed(_encode(plain))
    low = given.by_query
    by_segment = tuple((name, _adjustment_bytes(one)) for name, one in given.by_segment.items())
    by_query = None if low is None else (low.rank, _raw(low.u, _F8), _raw(low.v, _F8))
    return _sealed(_encode((*plain, by_segment, by_query)), version=_ADJUSTED_VERSION)


def _adjustment_bytes(given: Adjustment) -> bytes:
    return _raw([*given.weights.values(), given.coefficient], _F8)


def _adjustment(raw: bytes, names: tuple[str, ...]) -> Adjustment:
    *weights, coefficient = np.frombuffer(raw, _F8).tolist()
    return Adjustment(dict(zip(names, weights, strict=True)), coefficient)


def decode_params(blob: bytes, *, version: int) -> Params:
    """Return the params of a blob.

    Raises:
        CorruptStoreError: The blob is damaged; names the version.
    """
    header_bytes, _ = _opened(blob, f"params version {version}", versions=(_VERSION, _ADJUSTED_VERSION))
    header = _decode_params(header_bytes)
    transform = None
    if header.transform_kind is not None:
        transform = Transform(
            knots=tuple(np.frombuffer(raw, _F8) for raw in header.knots),
            levels=tuple(np.frombuffer(raw, _F8) for raw in header.levels),
            kind=header.transform_kind,
        )
    raw_score = None
    if header.raw_score is not None:
        weights, mean, sd, coefficient = header.raw_score
        raw_score = RawScore(
            weights=tuple(np.frombuffer(weights, _F8).tolist()), mean=mean, sd=sd, coefficient=coefficient
        )
    by_query = None
    if header.by_query is not None:
        rank, u, v = header.by_query
        by_query = LowRank(np.frombuffer(u, _F8).reshape(-1, rank), np.frombuffer(v, _F8).reshape(-1, rank))
    return Params(
        version=header.version,
        weights=dict(zip(header.names, np.frombuffer(header.weights, _F8).tolist(), strict=True)),
        temperature=header.temperature,
        transform=transform,
        raw_score=raw_score,
        origin=header.origin,
        parent=header.parent,
        created_at=seconds(header.created_at),
        by_segment={name: _adjustment(raw, header.names) for name, raw in header.by_segment},
        by_query=by_query,
    )


def encode_decision(given: GateDecision) -> bytes:
    """Return a decision as a blob."""
    fields = {name: getattr(given, name) for name in GateDecision.__slots__}
    fields["decided_at"] = rounded(given.decided_at, "decided_at")
    return _sealed(_encode(fields))


def decode_decision(blob: bytes, *, number: int) -> GateDecision:
    """Return the decision of a blob.

    Raises:
        CorruptStoreError: The blob is damaged; names its place in the ledger.
    """
    header_bytes, _ = _opened(blob, f"decision number {number}")
    return _decode_decision(header_bytes)
