"""A search of the shape that txtai 9.14 documents, through a loop; txtai itself brings torch and is not installed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import dwell
from dwell.errors import ConfigError, RecordError
from dwell.integrations.txtai import searched


class Embeddings:
    """What `txtai.Embeddings.search` returns: (id, score) of a bare index, mappings of one with a database."""

    def __init__(self, results: list[Any]) -> None:
        self.results = results
        self.asked: list[tuple[Any, ...]] = []

    def search(self, query: str, limit: int | None = None, weights: object = None, index: object = None) -> list[Any]:
        self.asked.append((query, limit, weights, index))
        return self.results[:limit]


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(
        ":memory:", features=["score", "fresh"], weights={"score": 0.0, "fresh": 1.0}, temperature=0.0, pepper="test"
    ) as found:
        yield found


ROWS = [
    {"id": "old", "text": "one", "score": 0.9, "fresh": 0.1},
    {"id": "new", "text": "two", "score": 0.5, "fresh": 0.9},
    {"id": "mid", "text": "six", "score": 0.2, "fresh": 0.4},
]


def test_mappings_come_in_the_learned_order_unchanged(loop: dwell.Loop) -> None:
    embeddings = Embeddings(ROWS)
    found = searched(embeddings, loop).search("q", 2, user="u", event_id="e-1", weights=0.3)
    assert found.results == [ROWS[1], ROWS[2]]
    assert (found.event_id, found.fallback) == ("e-1", None)
    assert embeddings.asked == [("q", 20, 0.3, None)]
    assert loop.feedback("e-1", "click", doc="new").status == "joined"
    assert asyncio.run(searched(embeddings, loop).asearch("q", 1)).results == [ROWS[1]]


def test_pairs_of_a_bare_index_have_numbers_for_ids(loop: dwell.Loop) -> None:
    pairs = [(0, np.float32(0.9)), (np.int64(2), np.float32(0.6)), (1, 0.5)]  # as numpy's numbers, too
    found = searched(Embeddings(pairs), loop, defaults={"fresh": 0.0}).search("q")
    assert found.results == pairs  # by freshness all are the same: the order given
    assert loop.feedback(str(found.event_id), "click", doc="2").status == "joined"


def test_the_loop_fails_open(loop: dwell.Loop) -> None:
    found = searched(Embeddings([(0, 0.9), (1, 0.5)]), loop).search("q", 1)  # nobody tells how fresh they are
    assert found.results == [(0, 0.9)]
    assert (loop.counts["fallback"], found.fallback) == (1, "feature_schema:fresh")


def test_nothing_found_is_no_event_and_bad_input_is_refused_by_name(loop: dwell.Loop) -> None:
    assert searched(Embeddings([]), loop).search("q") == ([], None, None)
    with pytest.raises(RecordError, match=r"results\[0\]\.id"):
        searched(Embeddings([{"text": "one", "score": 1.0}]), loop).search("select text, score from txtai")
    with pytest.raises(RecordError, match="limit"):
        searched(Embeddings(ROWS), loop).search("q", 0)
    with pytest.raises(ConfigError, match="have a search"):
        searched([], loop)
