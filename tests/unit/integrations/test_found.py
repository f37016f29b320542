"""What was found as candidates: features by name, identities, and the order where the loop can not say one."""

import uuid
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dwell.errors import ConfigError, RecordError
from dwell.integrations.found import Found, Reading, as_identifier, checked_loop, content_id, event_id_in, ordered
from dwell.records import Served

NAMES = ("reciprocal_rank", "score", "fresh")


class Reversing:
    """A loop that reverses, and keeps what it was asked."""

    feature_columns = NAMES

    def __init__(self, fallback: str | None = None) -> None:
        self.fallback = fallback
        self.asked: list[Any] = []

    def rank(self, query: str, candidates: Any, *, k: int, **how: Any) -> Served:
        self.asked.append((query, candidates, how))
        ids = list(dict.fromkeys(one["id"] for one in candidates))[::-1][:k]
        return Served(
            how["event_id"] or "new", ids, np.arange(len(ids)) * 1.0, np.ones(len(ids)), 3, None, self.fallback
        )

    log_retrieval: Any = rank
    feedback: Any = rank
    submit_feedback: Any = rank


def test_features_by_name_key_default_place_and_score() -> None:
    reading = Reading(keys={"fresh": "age"}, defaults={"score": 0.25})
    told = {"reciprocal_rank": 9.0, "fresh": 9.0, "age": 2}
    assert reading.values(NAMES, told, position=3) == {"reciprocal_rank": 1 / 4, "score": 0.25, "fresh": 2.0}
    assert reading.values(NAMES, {"score": 0.5}, position=0) == {"reciprocal_rank": 1.0, "score": 0.5}
    assert reading.values(NAMES, {"score": 0.5}, position=0, score=0.75)["score"] == 0.75
    other = Reading(position="place", score="similarity")
    assert other.values(("place", "similarity", "score"), {"score": 1.0}, position=1, score=0.5) == {
        "place": 0.5,
        "similarity": 0.5,
        "score": 1.0,
    }


@pytest.mark.parametrize(
    ("value", "due"), [(np.float32(0.5), 0.5), (np.int64(2), 2.0), (Fraction(1, 4), 0.25), (3, 3.0)]
)
def test_numbers_become_pythons(value: Any, due: float) -> None:
    found = Reading().values(("x",), {"x": value}, position=0)["x"]
    assert (type(found), found) == (float, due)


@pytest.mark.parametrize("value", [True, "0.5", [1.0]])
def test_what_is_no_number_is_left_for_the_loop_to_refuse(value: Any) -> None:
    assert Reading().values(("x",), {"x": value}, position=0) == {"x": value}


def test_names_are_given_or_the_loops() -> None:
    assert Reading().names(Reversing()) == NAMES
    assert Reading(features=("a",)).names(Reversing()) == ("a",)
    with pytest.raises(ConfigError, match="client"):
        Reading().names(object())
    with pytest.raises(RecordError, match=r"dwell\.Loop or a dwell\.Client"):
        checked_loop(object(), Reading(features=("a",)))


def test_identities() -> None:
    name = uuid.uuid4()
    assert [as_identifier(one) for one in (7, name, "u", None, True)] == ["7", str(name), "u", None, True]
    assert content_id("a text") == content_id("a text") != content_id("a text ")
    assert len(content_id("\ud800")) == 32
    assert event_id_in({"dwell": {"event_id": "e"}}) == "e"
    assert [event_id_in(one) for one in ({}, {"dwell": 3}, {"dwell": {"event_id": None}}, {"event_id": "e"})] == [
        None
    ] * 4


def found(*ids: object) -> list[Found]:
    return [Found(one, {"fresh": float(i)}) for i, one in enumerate(ids)]


def test_the_loops_order_with_what_it_says_of_each() -> None:
    loop = Reversing()
    order = ordered(loop, "q", found("a", "b", "c"), k=2, user=7, segment="s", event_id="e")
    assert (order.event_id, order.positions, order.fallback) == ("e", [2, 1], None)
    due = {"event_id": "e", "doc": "b", "position": 2, "score": 1.0, "propensity": 1.0, "params_version": 3}
    assert order.notes[1] == due
    assert loop.asked == [
        (
            "q",
            [{"fresh": float(i), "id": name} for i, name in enumerate("abc")],
            {"user": "7", "segment": "s", "event_id": "e"},
        )
    ]


def test_the_retrievers_order_where_the_loop_fell_back_keeps_every_document() -> None:
    order = ordered(Reversing("results_shape"), "q", found("a", "b", "a", None), k=10)
    assert (order.event_id, order.positions, order.fallback) == ("new", [0, 1, 2, 3], "results_shape")
    assert [one["doc"] for one in order.notes] == ["a", "b", "a", None]
    assert {one["fallback"] for one in order.notes} == {"results_shape"}


def test_what_a_loop_raises_costs_the_order_and_comes_out_of_a_strict_call() -> None:
    class Raising(Reversing):
        def rank(self, *_: Any, **__: Any) -> Served:
            raise RecordError("no", code="id")

    order = ordered(Raising(), "q", found("a", "b"), k=1, event_id="e")
    assert (order.event_id, order.positions, order.fallback) == ("e", [0], "id")
    assert ordered(Raising(), "q", found("a"), k=1).event_id is None
    with pytest.raises(RecordError, match="no"):
        ordered(Raising(), "q", found("a"), k=1, is_strict=True)
