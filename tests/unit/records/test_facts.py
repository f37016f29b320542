"""The plain records: frozen, with the defaults that they promise."""

import dataclasses

import numpy as np
import pytest

from dwell.errors import ReplayError
from dwell.records import (
    Batch,
    ColumnSpec,
    Estimate,
    Feedback,
    GateDecision,
    Impression,
    Served,
    Signal,
    UpdateResult,
)
from dwell.records.arrays import frozen
from dwell.records.impression import teams_as_shown


def impression(**changes: object) -> Impression:
    fields = {
        "event_id": "e-1",
        "served_at": 1_700_000_000.0,
        "query": "reset 2fa",
        "mode": "live",
        "policy": "params",
        "params_version": 3,
        "temperature": 0.3,
        "is_deterministic": False,
        "served": ("b", "a"),
        "propensities": np.array([0.5, 0.75]),
        "n_candidates": 3,
        "scores": np.float32([0.1, 0.9, 0.5]),
        "score_sd": 0.33,
        "documents": ("b", "a"),
        "document_scores": np.array([1, 0]),
        "inclusion": np.ones(2),
        "features": np.float32([[1.0], [2.0]]),
        "feature_names": ("bm25",),
    }
    return Impression(**(fields | changes))


def batch(seqs: list[int]) -> Batch:
    return Batch(
        seqs=np.array(seqs, dtype=np.int64),
        sampling_probabilities=np.full(len(seqs), 0.25),
        sampling_weights=np.ones(len(seqs)),
        columns={},
        _read_event_ids=lambda found: [f"e-{seq}" for seq in found],
        _read_experiences=lambda found: [("experience", int(seq)) for seq in found],
    )


FACTS = [
    impression(),
    Signal(event_id="e", name="click", doc="d", value=1.0, at=1.0, received_at=2.0),
    Feedback("joined"),
    Served("e", ["a"], np.ones(1), np.ones(1), 1),
    Estimate(0.1, 0.0, 0.2, 100, 50.0),
    GateDecision("hold", ["unsupported: ..."], Estimate(0.0, 0.0, 0.0, 0, 0.0)),
    UpdateResult(1, 2, 3),
    batch([1]),
]


@pytest.mark.parametrize("fact", FACTS, ids=lambda fact: type(fact).__name__)
def test_a_fact_can_not_be_changed(fact: object) -> None:
    name = dataclasses.fields(fact)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(fact, name, None)
    assert not hasattr(fact, "__dict__"), "slots: no stray attribute either"


def test_an_impression_knows_its_length_and_whether_it_has_features() -> None:
    assert impression().n_served == 2
    assert impression().has_features
    assert not impression(features=np.zeros((0, 0), dtype=np.float32), feature_names=()).has_features


def test_an_impression_is_shown_unaltered_and_kept_for_certain_unless_said_otherwise() -> None:
    plain = impression()
    assert (plain.is_shown, plain.is_altered, plain.keep_probability, plain.arm, plain.seq) == (
        True,
        False,
        1.0,
        "live",
        0,
    )
    assert (plain.user, plain.segment, plain.query_embedding) == (None, None, None)
    assert plain.rest_logsumexp == -np.inf  # nothing was left out: the sum over nothing is 0


@pytest.mark.parametrize(
    ("shown", "teams"),
    [
        ("abcd", (1, -1, 0, 1)),
        ("ab", (1, -1)),  # cut
        ("acd", (1, 0, 1)),  # left out
        ("xaby", (0, 1, -1, 0)),  # added
        ("bacd", (0, 0, 0, 0)),  # in another order, no place is the coins'
        ("dx", (1, 0)),
    ],
)
def test_what_is_shown_of_a_draft_keeps_its_teams_while_the_order_is_its_own(
    shown: str, teams: tuple[int, ...]
) -> None:
    assert teams_as_shown(tuple("abcd"), (1, -1, 0, 1), tuple(shown)) == teams


def test_only_what_a_policy_chose_is_a_policys() -> None:
    assert impression().is_policys
    assert not impression(is_altered=True).is_policys
    assert not impression(arm="interleave").is_policys


def test_impressions_and_signals_are_given_by_name() -> None:
    with pytest.raises(TypeError):
        Signal("e", "click", "d", 1.0, 1.0, 1.0)


def test_signals_and_feedback_compare_by_value() -> None:
    first, second = (Signal(event_id="e", name="click", doc=None, value=1.0, at=1.0, received_at=2.0) for _ in range(2))
    assert first == second
    assert Feedback("rejected", "too_late: ...") != Feedback("rejected")


def test_a_batch_reads_ids_and_experiences_when_asked_in_the_order_of_its_draws() -> None:
    drawn = batch([7, 3, 7])
    assert len(drawn) == 3
    assert drawn.event_ids == ["e-7", "e-3", "e-7"]
    assert drawn.experiences == [("experience", 7), ("experience", 3), ("experience", 7)]


def test_a_batch_reads_nothing_before_it_is_asked() -> None:
    reads = []
    lazy = dataclasses.replace(batch([1, 2]), _read_event_ids=lambda seqs: reads.append(seqs.tolist()) or ["x", "y"])
    assert reads == []
    assert lazy.event_ids == ["x", "y"]
    assert reads == [[1, 2]]


def test_a_column_spec_names_at_least_one_column() -> None:
    with pytest.raises(ReplayError):
        ColumnSpec({})
    assert ColumnSpec({"reward": ((), np.dtype(np.float32))}).columns["reward"][0] == ()


def test_a_decision_starts_without_diagnostics_and_shares_none() -> None:
    first, second = (GateDecision("hold", ["x: y"], Estimate(0.0, 0.0, 0.0, 0, 0.0)) for _ in range(2))
    first.estimates["rips"] = first.difference
    assert second.estimates == {}
    assert (first.kind, first.alpha) == ("judged", 0.05)


def test_a_frozen_array_is_the_same_array_and_read_only() -> None:
    array = np.zeros(2)
    assert frozen(array) is array
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
