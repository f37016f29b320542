from typing import Any

import numpy as np
import pytest

from dwell.loop.activate import is_altered
from dwell.loop.rows import event_row, hold_out_share, normalised_query, query_digest
from dwell.records import Impression
from dwell.storage import Outcome


def impression(**changed: object) -> Impression:
    fields: dict[str, Any] = {
        "event_id": "e",
        "served_at": 5.0,
        "query": "q",
        "mode": "live",
        "policy": "params",
        "params_version": 2,
        "temperature": 0.3,
        "is_deterministic": False,
        "served": ("b", "a"),
        "propensities": np.array([0.25, 0.5]),
        "n_candidates": 3,
        "scores": np.array([1.0, 2.0, 3.0], dtype=np.float32),
        "score_sd": 0.8,
        "documents": ("b", "a", "c"),
        "document_scores": np.array([1, 0, 2]),
        "inclusion": np.array([1.0, 1.0, 0.5]),
        "features": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=np.float32),
        "feature_names": ("x", "y"),
        "user": "u",
        "seq": 9,
    }
    return Impression(**{**fields, **changed})


def outcome(**changed: object) -> Outcome:
    fields: dict[str, Any] = {
        "seq": 9,
        "state": "closed",
        "version": 1,
        "reward": 0.5,
        "document_rewards": np.array([0.5, 0.0], dtype=np.float32),
        "exposure": np.array([0.6, 0.5, 0.4], dtype=np.float32),
    }
    return Outcome(**{**fields, **changed})


def row(of: Impression, to: Outcome, names: tuple[str, ...] = ("x", "y"), holdout: float = 0.0) -> Any:
    return event_row(of, to, feature_names=names, salt=b"s", holdout=holdout)


def test_a_row_holds_what_the_learner_reads() -> None:
    found = row(impression(), outcome())
    assert (found.seq, found.n_kept, found.n_shown, found.params_version) == (9, 2, 2, 2)
    assert found.rewards.tolist() == [0.5, 0.0]
    assert found.propensities.tolist() == [0.25, 0.5]
    assert found.caller_rank.tolist() == [1.0, 0.0, 2.0]
    assert not found.is_held_out
    assert row(impression(), outcome(), holdout=0.999999).is_held_out


def test_features_are_aligned_by_name_and_missing_ones_are_nan() -> None:
    found = row(impression(), outcome(), ("y", "new", "x"))
    np.testing.assert_array_equal(found.features, np.array([[2, np.nan, 1], [4, np.nan, 3], [6, np.nan, 5]]))


@pytest.mark.parametrize(
    ("of", "to"),
    [
        ({"features": np.zeros((0, 0), dtype=np.float32), "feature_names": ()}, {}),
        ({"is_altered": True}, {}),
        ({"arm": "interleave"}, {}),
        ({"is_shown": False}, {}),
        ({}, {"exposure": None}),
        ({}, {"document_rewards": None}),
    ],
)
def test_what_can_not_be_learned_from_has_no_row(of: dict[str, Any], to: dict[str, Any]) -> None:
    assert row(impression(**of), outcome(**to)) is None


@pytest.mark.parametrize(
    ("policy", "is_deterministic", "expected"),
    [("caller", True, True), ("external", True, True), ("caller", False, False), ("params", True, False)],
)
def test_only_an_undrawn_order_of_the_callers_is_his(policy: str, is_deterministic: bool, expected: bool) -> None:  # noqa: FBT001 - parameters of the test
    assert row(impression(policy=policy, is_deterministic=is_deterministic), outcome()).is_caller_ordered is expected


def test_documents_shown_below_what_is_kept_are_not_learned_from() -> None:
    found = row(impression(served=("b", "a", "z")), outcome(document_rewards=np.ones(3, dtype=np.float32)))
    assert (found.n_kept, found.n_shown, found.rewards.tolist()) == (2, 3, [1.0, 1.0])


def test_a_query_is_the_same_in_other_case_and_spacing() -> None:
    assert normalised_query("  Straße\t 2FA ") == "strasse 2fa"
    assert query_digest("a  B") == query_digest("A b") != query_digest("ab")
    assert len(query_digest("\ud800")) == 16


def test_the_split_is_stable_uniform_and_by_user() -> None:
    shares = np.array([hold_out_share(f"u{i}", "q", b"salt") for i in range(2_000)])
    assert hold_out_share("u7", "another query", b"salt") == shares[7]
    assert hold_out_share("u7", "q", b"other") != shares[7]
    assert hold_out_share(None, "A  q", b"salt") == hold_out_share(None, "a Q", b"salt")
    assert hold_out_share(None, "u7", b"salt") != hold_out_share("u7", "", b"salt")
    # Kolmogorov-Smirnov: D > 1.95 / sqrt(n) with a probability of 1e-3
    ranks = np.arange(1, 2_001) / 2_000
    assert np.abs(np.sort(shares) - ranks).max() < 1.95 / np.sqrt(2_000) + 1 / 2_000


def test_a_shorter_list_from_the_top_is_unaltered() -> None:
    assert not is_altered(("a", "b", "c"), ("a", "b"))
    assert not is_altered(("a", "b"), ("a", "b"))
    for shown in (("b", "a"), ("a", "c"), ("x", "a"), ("a", "b", "c")):
        assert is_altered(("a", "b"), shown)


@pytest.mark.parametrize(
    ("activated_at", "closed_at", "late"),
    [(None, 10.0, 0), (9.0, 10.0, 0), (10.0, 10.0, 0), (10.25, 10.0, 250_000), (12.0, None, 0)],
)
def test_a_row_is_late_by_what_its_activation_was(
    activated_at: float | None, closed_at: float | None, late: int
) -> None:
    assert row(impression(activated_at=activated_at), outcome(closed_at=closed_at)).late_us == late
