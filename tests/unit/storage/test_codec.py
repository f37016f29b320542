"""Blobs: nothing is lost, and damage is named."""

import contextlib
from typing import Any

import numpy as np
import pytest

from dwell.errors import CorruptStoreError, RecordError
from dwell.records import Adjustment, Estimate, GateDecision, LowRank, Params, RawScore, Transform
from dwell.storage import codec
from dwell.storage.protocol import Outcome
from dwell.testing.store_samples import same_record, sample_impression


def test_every_flipped_bit_of_an_impression_is_found() -> None:
    blob = codec.encode_impression(sample_impression("e-17", query_embedding=np.ones(3, dtype=np.float32)))
    harmless = []
    for i in range(len(blob)):
        for bit in range(8):
            broken = bytearray(blob)
            broken[i] ^= 1 << bit
            with contextlib.suppress(CorruptStoreError):
                found = codec.decode_impression(bytes(broken), event_id="e-17", seq=1)
                same_record(found, codec.decode_impression(blob, event_id="e-17", seq=1))
                harmless.append(i)
    assert sorted(set(harmless)) == [1, 2, 3]  # what stands after the version carries nothing
    with pytest.raises(CorruptStoreError, match="impression of event 'e-17' is damaged"):
        codec.decode_impression(blob[:-1] + b"\xff", event_id="e-17", seq=1)


def test_a_truncated_blob_is_found() -> None:
    blob = codec.encode_impression(sample_impression("e"))
    for n in range(len(blob)):
        with pytest.raises(CorruptStoreError):
            codec.decode_impression(blob[:n], event_id="e", seq=1)


@pytest.mark.parametrize("n_documents", [1, 2, 3, 7])
def test_arrays_stay_aligned_and_read_only(n_documents: int) -> None:
    given = sample_impression("e" * n_documents, k=1, n=n_documents, f=3)
    found = codec.decode_impression(codec.encode_impression(given), event_id="e", seq=4)
    for name in ("propensities", "inclusion", "document_scores", "scores", "features"):
        assert getattr(found, name).flags.aligned, name
    same_record(found, given, besides=("seq",))


def test_the_teams_of_a_draft_are_kept_and_nothing_is_written_without() -> None:
    plain = sample_impression("e")
    given = sample_impression("e", arm="interleave", teams=(1, 0, -1))
    blob = codec.encode_impression(given)
    assert codec.decode_impression(blob, event_id="e", seq=1).teams == (1, 0, -1)
    assert codec.decode_impression(codec.encode_impression(plain), event_id="e", seq=1).teams == ()
    assert len(blob) > len(codec.encode_impression(plain))


def test_numpy_scalars_are_numbers() -> None:
    given = sample_impression("e", temperature=np.float64(0.3), n_candidates=np.int64(6), is_altered=np.bool_(0))
    found = codec.decode_impression(codec.encode_impression(given), event_id="e", seq=1)
    assert (type(found.temperature), type(found.n_candidates), type(found.is_altered)) == (float, int, bool)
    decision = GateDecision("hold", ["x: y"], Estimate(np.float64(0.5), 0, 1, np.int64(3), np.float32(0.5)))
    assert codec.decode_decision(codec.encode_decision(decision), number=1) == decision


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(RecordError, match="can not be stored"):
        codec.encode_impression(sample_impression("e", query=object()))


def test_an_outcome_without_arrays_takes_no_blob() -> None:
    assert codec.encode_details(Outcome(seq=1, state="open")) is None
    assert codec.decode_details(None, seq=1) == codec.Details()


# written by the version before weights by segment and by query were there
OLD = (
    "01000000fa99f4819e000000000000009b0792a162a161c410555555555555d53f0000000000000080cb3fb999999999999aa5676175737392"
    "c41059f3f8c21f6ea5010000000000000040c408000000000000000092c410555555555555d5bf000000000000f03fc4080000000000000000"
    "94c410555555555555d53f0000000000000040cb3fc2492492492492cb3fbc71c71c71c71ccbbfb745d1745d1746a76c6561726e656400ce00"
    "bebc200000"
)
OLDER = (
    "010000007e1fd1f524000000000000009b0091a178c408000000000000f03fcb3fd3333333333333c09090c0a5676976656ec00000000000"
)


def learned(**changes: Any) -> Params:
    fields: dict[str, Any] = {
        "version": 7,
        "weights": {"b": 1 / 3, "a": -0.0},
        "temperature": 0.1,
        "transform": Transform(
            knots=(np.array([1e-300, 2.0]), np.array([0.0])), levels=(np.array([-1 / 3, 1.0]), np.array([0.0]))
        ),
        "raw_score": RawScore(weights=(1 / 3, 2.0), mean=1 / 7, sd=1 / 9, coefficient=-1 / 11),
        "origin": "learned",
        "parent": 0,
        "created_at": 12.5,
    }
    return Params(**{**fields, **changes})


def test_params_without_additions_keep_the_bytes_that_they_always_had() -> None:
    assert codec.encode_params(learned()).hex() == OLD
    assert codec.encode_params(Params(0, {"x": 1.0})).hex() == OLDER
    assert codec.encode_params(learned(by_segment={}, by_query=None)).hex() == OLD


def test_params_from_before_there_were_additions_are_read() -> None:
    found = codec.decode_params(bytes.fromhex(OLD), version=7)
    assert (dict(found.by_segment), found.by_query, found.is_adjusted) == ({}, None, False)
    features = np.array([[0.5, 1.0], [3.0, -2.0]])
    assert found.score(features).tobytes() == learned().score(features).tobytes()
    assert codec.encode_params(found).hex() == OLD


@pytest.mark.parametrize(
    "additions",
    [
        {"by_segment": {"de": Adjustment({"a": 1 / 3}, 1 / 7), "\N{SNOWMAN}": Adjustment({"b": -0.0})}},
        {"by_query": LowRank(np.arange(6.0).reshape(3, 2) / 7, np.arange(8.0).reshape(4, 2) / 3)},
        {"by_segment": {"de": Adjustment({"a": 1e12})}, "by_query": LowRank(np.ones((3, 1)), np.ones((4, 1)) / 3)},
    ],
)
def test_additions_come_back_bit_for_bit(additions: dict[str, Any]) -> None:
    given = learned(**additions)
    blob = codec.encode_params(given)
    assert blob[0] == 2  # who knows of no additions refuses it, and serves no other weights unawares
    found = codec.decode_params(blob, version=7)
    assert codec.encode_params(found) == blob
    assert found.by_segment == given.by_segment
    features, e = np.array([[0.5, 1.0], [3.0, -2.0]]), np.array([1.0, -2.0, 0.5, 3.0])
    for segment in (None, "de", "\N{SNOWMAN}", "other"):
        one = given.score(features, segment=segment, query_embedding=e)
        assert found.score(features, segment=segment, query_embedding=e).tobytes() == one.tobytes()
    with pytest.raises(CorruptStoreError, match="params version 7"):
        codec.decode_params(blob[:-1], version=7)
    with pytest.raises(CorruptStoreError, match="outcome"):  # the new version is that of params alone
        codec.decode_details(blob, seq=1)


def test_damage_to_other_records_is_named() -> None:
    details = codec.encode_details(Outcome(seq=1, state="closed", exposure=np.ones(2, dtype=np.float32)))
    assert details is not None
    with pytest.raises(CorruptStoreError, match="outcome of event number 5"):
        codec.decode_details(details[:-1], seq=5)
    with pytest.raises(CorruptStoreError, match="params version 9"):
        codec.decode_params(codec.encode_params(Params(9, {"x": 1.0}))[:-1], version=9)
    with pytest.raises(CorruptStoreError, match="decision number 2"):
        codec.decode_decision(b"", number=2)
