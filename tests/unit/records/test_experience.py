import dataclasses
import math
import pickle

import numpy as np
import pytest

from dwell.errors import RecordError
from dwell.records import Experience

# the seed's dataclass: nine fields, in this order, the last with a default
SEED_FIELDS = (
    "event_id",
    "timestamp",
    "query",
    "query_embedding",
    "results_served",
    "ranking_params",
    "feedback_signals",
    "reward",
    "priority",
)


def experience(**changes: object) -> Experience:
    fields = {
        "event_id": "e-1",
        "timestamp": 1_700_000_000.0,
        "query": "reset 2fa",
        "query_embedding": [0.1, -0.2],
        "results_served": [{"id": "kb-12", "rank": 1, "score": 0.5, "bm25": 7.1}],
        "ranking_params": {"bm25": 1.0},
        "feedback_signals": {"click": 1.0},
        "reward": 0.5,
    }
    return Experience(**(fields | changes))


def test_the_seeds_fields_come_first_and_in_its_order() -> None:
    names = [field.name for field in dataclasses.fields(Experience) if field.init]
    assert tuple(names[: len(SEED_FIELDS)]) == SEED_FIELDS
    built = Experience("e", 5.0, "q", [0.5], [], {}, {}, -0.5)
    assert (built.timestamp, built.reward, built.priority) == (5.0, -0.5, 1.0)


def test_everything_after_the_seeds_fields_has_a_default() -> None:
    later = [field for field in dataclasses.fields(Experience) if field.init][8:]
    for field in later:
        assert field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"event_id": ""}, "id", "event_id"),
        ({"event_id": "a b"}, "id", "event_id"),
        ({"timestamp": -1.0}, "timestamp", "timestamp"),
        ({"timestamp": 1.7e12}, "timestamp", "timestamp"),
        ({"timestamp": True}, "timestamp", "timestamp"),
        ({"query": "\ud800"}, "text", "query"),
        ({"query": None}, "type", "query"),
        ({"query_embedding": [math.nan]}, "non_finite", "query_embedding[0]"),
        ({"query_embedding": np.zeros(8_193)}, "embedding_dim", "query_embedding"),
        ({"ranking_params": {"bm25": math.inf}}, "non_finite", "ranking_params.bm25"),
        ({"feedback_signals": {"click": True}}, "type", "feedback_signals.click"),
        ({"feedback_signals": {"click": "1"}}, "type", "feedback_signals.click"),
        ({"reward": 1.5}, "reward_range", "reward"),
        ({"reward": -1.5}, "reward_range", "reward"),
        ({"reward": math.nan}, "non_finite", "reward"),
        ({"reward": "0.5"}, "type", "reward"),
        ({"priority": -0.1}, "priority", "priority"),
        ({"priority": math.nan}, "non_finite", "priority"),
        ({"priority": math.inf}, "non_finite", "priority"),
        ({"propensities": [0.5, 0.0]}, "propensity_range", "propensities[1]"),
        ({"propensities": [-0.5]}, "propensity_range", "propensities[0]"),
        ({"propensities": [1.0001]}, "propensity_range", "propensities[0]"),
        ({"propensities": [math.nan]}, "non_finite", "propensities[0]"),
        ({"document_rewards": {"kb-12": 1.1}}, "reward_range", "document_rewards.kb-12"),
        ({"keep_probability": 0.0}, "range", "keep_probability"),
    ],
)
def test_bad_values_are_refused_with_code_field_and_remedy(changes: dict[str, object], code: str, field: str) -> None:
    with pytest.raises(RecordError) as caught:
        experience(**changes)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert caught.value.hint


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": 0.0},
        {"priority": 0},
        {"reward": 1},
        {"reward": -1.0},
        {"query": ""},
        {"query_embedding": ()},
        {"query_embedding": np.float32([0.5])},
        {"timestamp": 0},
        {"propensities": np.array([1.0, 1e-9])},
        {"results_served": []},
    ],
)
def test_values_at_the_edge_are_legal(changes: dict[str, object]) -> None:
    built = experience(**changes)
    for name, value in changes.items():
        assert getattr(built, name) is value


def test_only_the_priority_may_be_assigned_and_only_a_legal_one() -> None:
    built = experience()
    built.priority = 0.25
    assert built.priority == 0.25
    for bad in (-1.0, math.nan, "1", True):
        with pytest.raises(RecordError):
            built.priority = bad
    assert built.priority == 0.25
    with pytest.raises(dataclasses.FrozenInstanceError, match="reward"):
        built.reward = 0.0


def test_a_sealed_copy_is_equal_and_its_priority_can_not_be_assigned() -> None:
    built = experience(priority=3.0)
    sealed = built.sealed()
    assert sealed == built
    assert sealed is not built
    with pytest.raises(dataclasses.FrozenInstanceError, match="update_priorities"):
        sealed.priority = 1.0
    built.priority = 7.0
    assert sealed.priority == 3.0


def test_equality_reads_arrays_and_nested_mappings() -> None:
    assert experience() == experience()
    assert experience(query_embedding=np.array([0.1, -0.2])) == experience()
    assert experience(query_embedding=[0.1]) != experience()
    assert experience(query_embedding=[0.1, 0.2]) != experience()
    assert experience(results_served=[{"id": "other"}]) != experience()
    assert experience(document_signals={"a": {"click": 1.0}}) != experience(document_signals={"a": {"click": 0.0}})
    assert experience() != "e-1"


def test_it_has_no_hash_and_survives_replace_and_pickling() -> None:
    built = experience(user="u", propensities=(0.5,))
    with pytest.raises(TypeError):
        hash(built)
    assert dataclasses.replace(built, reward=0.1).reward == 0.1
    twin = pickle.loads(pickle.dumps(built))  # noqa: S301 - our own bytes
    assert twin == built
    with pytest.raises(dataclasses.FrozenInstanceError):
        twin.reward = 0.0


def test_it_keeps_the_caller_s_own_document_shapes() -> None:
    served = [{"memory_id": "m", "rank": 1, "score": 0.9, "content_preview": "text"}]
    assert experience(results_served=served).results_served is served
