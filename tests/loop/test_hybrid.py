"""Sources and a loop: reciprocal rank fusion is what a loop begins with, exactly, and what is served is recorded."""

import asyncio
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import RecordError, StorageError
from dwell.retrieval import Found, HybridRetriever, VectorSource, gathered, reciprocal_rank_fusion, weighted

N_DOCUMENTS, K = 60, 40
NOW = 1.8e9


class Listed:
    """A source that gives a list of its own for each query."""

    def __init__(self, name: str, seed: int) -> None:
        self.name, self.features, self._seed = name, (f"{name}_score",), seed

    def order(self, query: str) -> list[str]:
        rng = np.random.default_rng([self._seed, int(query)])
        return [f"doc-{i}" for i in rng.permutation(N_DOCUMENTS)[: rng.integers(1, K + 1)]]

    def search(self, query: str, **_: Any) -> list[Found]:
        return [Found(doc, {self.features[0]: -float(i)}, f"text of {doc}") for i, doc in enumerate(self.order(query))]

    def close(self) -> None: ...


SOURCES = [Listed("first", 1), Listed("second", 2), Listed("third", 3)]


def fused(orders: Sequence[Sequence[str]], shares: Sequence[int]) -> dict[str, Fraction]:
    """Weighted reciprocal rank fusion by its definition, in exact arithmetic."""
    scores: dict[str, Fraction] = {}
    for order, share in zip(orders, shares, strict=True):
        for rank, doc in enumerate(order, start=1):
            scores[doc] = scores.get(doc, Fraction(0)) + Fraction(share, 60 + rank)
    return scores


def is_sorted_by(ids: Sequence[str], scores: dict[str, Fraction]) -> bool:
    return all(scores[a] >= scores[b] for a, b in pairwise(ids))


@pytest.mark.parametrize("shares", [(1, 1, 1), (2, 1, 5)])
def test_a_loop_begins_with_exactly_this_order(shares: tuple[int, int, int]) -> None:
    start = (
        reciprocal_rank_fusion(SOURCES)
        if shares == (1, 1, 1)
        else weighted(
            SOURCES, {f"{source.name}_rrf": float(share) for source, share in zip(SOURCES, shares, strict=True)}
        )
    )
    with dwell.open(":memory:", features=start.features, weights=start.weights, temperature=0.0, pepper="p") as loop:
        for number in range(12):
            query = str(number)
            found = gathered(SOURCES, query, k=K, deadline_s=30.0)
            served = loop.rank(query, found.as_dicts(), k=200, event_id=f"e{number}", now=NOW)
            scores = fused([source.order(query) for source in SOURCES], shares)
            assert set(served.ids) == set(scores)
            assert is_sorted_by(served.ids, scores)
            assert served.fallback is None
            if shares == (1, 1, 1):
                assert is_sorted_by(found.ids, scores)


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    start = reciprocal_rank_fusion(SOURCES)
    with dwell.open(":memory:", features=start.features, weights=start.weights, pepper="p") as opened:
        yield opened


def test_a_search_hands_back_the_list_and_its_documents(loop: dwell.Loop) -> None:
    search = HybridRetriever(SOURCES, loop, deadline_s=30.0)
    assert search.start == reciprocal_rank_fusion(SOURCES)
    answer = search.search("7", 5, "u-1", event_id="e1", segment="en", now=NOW)
    assert answer.served is not None
    assert [one.id for one in answer.documents] == answer.served.ids
    assert [one.text for one in answer.documents] == [f"text of {doc}" for doc in answer.served.ids]
    scores = fused([source.order("7") for source in SOURCES], (1, 1, 1))
    for one in answer.documents:
        assert set(one.features) == set(search.start.features)
        total = sum(one.features[f"{source.name}_rrf"] for source in SOURCES)
        assert math.isclose(total, scores[one.id], rel_tol=1e-12)
    assert loop.feedback("e1", "click", doc=answer.served.ids[0], now=NOW).status == "joined"
    [experience] = loop.experiences()
    assert [shown["id"] for shown in experience.results_served] == answer.served.ids
    assert search.search("8", 5, event_id="e1", now=NOW).served is not None  # another query: conflict, and it is served


def test_a_search_goes_on_without_a_source(loop: dwell.Loop) -> None:
    class Gone(Listed):
        def search(self, query: str, **_: Any) -> list[Found]:
            assert query == "7"
            raise StorageError("gone", code="gone")

    search = HybridRetriever([*SOURCES[:2], Gone("third", 3)], loop, deadline_s=30.0)
    answer = search.search("7", now=NOW)
    assert answer.served is not None
    assert (answer.served.fallback, dict(answer.left_out), search.left_out) == (
        None,
        {"third": "gone"},
        {"first": 0, "second": 0, "third": 1},
    )


def test_where_nothing_is_found_nothing_is_recorded(loop: dwell.Loop) -> None:
    empty = [
        VectorSource([], np.zeros((0, 2)), name=name, feature=f"{name}_score") for name in ("first", "second", "third")
    ]
    search = HybridRetriever(empty, loop, deadline_s=30.0)
    assert search.search("7", query_embedding=[1.0, 0.0], now=NOW) == (None, [], {})
    assert list(loop.experiences()) == []


def test_it_can_be_awaited(loop: dwell.Loop) -> None:
    search = HybridRetriever(SOURCES, loop, deadline_s=30.0)

    async def many() -> list[Any]:
        return await asyncio.gather(*(search.asearch(str(i), 3, event_id=f"a{i}", now=NOW) for i in range(8)))

    for i, answer in enumerate(asyncio.run(many())):
        assert (answer.served.event_id, len(answer.documents)) == (f"a{i}", len(answer.served.ids))
    with pytest.raises(RecordError):
        asyncio.run(search.asearch("7", 0))
