"""Blobs: nothing is lost, and damage is named."""

import contextlib

import numpy as np
import pytest

from dwell.errors import CorruptStoreError, RecordError
from dwell.records import Estimate, GateDecision, Params
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


def test_damage_to_other_records_is_named() -> None:
    details = codec.encode_details(Outcome(seq=1, state="closed", exposure=np.ones(2, dtype=np.float32)))
    assert details is not None
    with pytest.raises(CorruptStoreError, match="outcome of event number 5"):
        codec.decode_details(details[:-1], seq=5)
    with pytest.raises(CorruptStoreError, match="params version 9"):
        codec.decode_params(codec.encode_params(Params(9, {"x": 1.0}))[:-1], version=9)
    with pytest.raises(CorruptStoreError, match="decision number 2"):
        codec.decode_decision(b"", number=2)
