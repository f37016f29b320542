"""Each feature against its definition, counted by hand or by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.retrieval import features
from dwell.retrieval.vectors import term_index

collections = st.lists(st.lists(st.sampled_from(list("abcdef")), max_size=14), min_size=1, max_size=6)


def test_coverage_is_the_share_of_the_query_by_idf() -> None:
    documents = [["a", "b"], ["a"], ["c"]]
    index = term_index(documents)
    a, b, c = (index.vocabulary[term] for term in "abc")
    titles = [frozenset({c}), frozenset[int](), frozenset[int]()]
    idf = index.idf
    got = features.coverage(index, titles, [a, b, b], np.array([0, 1, 2]))
    assert got == pytest.approx([1.0, idf[a] / (idf[a] + idf[b]), 0.0])
    assert features.coverage(index, titles, [c], np.array([0, 1, 2])).tolist() == [1.0, 0.0, 1.0]  # 0 by its title
    assert features.coverage(index, titles, [], np.array([0, 1])).tolist() == [0.0, 0.0]


def test_title_match_is_the_share_of_the_title_by_idf() -> None:
    index = term_index([["a", "b"], ["a"], ["c"]])
    a, b, c = (index.vocabulary[term] for term in "abc")
    titles = [frozenset({a, b}), frozenset({c}), frozenset[int]()]
    got = features.title_match(index, titles, [c, b], np.array([0, 1, 2]))
    assert got == pytest.approx([index.idf[b] / (index.idf[a] + index.idf[b]), 1.0, 0.0])


@given(collections, st.lists(st.sampled_from(list("abcdef")), min_size=1, max_size=4))
def test_proximity_agrees_with_looking_at_every_pair_of_places(documents: list[list[str]], query: list[str]) -> None:
    index = term_index(documents)
    asked = list(dict.fromkeys(term for term in query if term in index.vocabulary))
    got = features.proximity(index, [index.vocabulary[term] for term in asked], np.arange(len(documents)))
    pairs = [(asked[i], asked[i + 1]) for i in range(len(asked) - 1)]
    for row, words in enumerate(documents):
        close = [
            any(
                one == x and other == y and abs(i - j) <= 4
                for i, one in enumerate(words)
                for j, other in enumerate(words)
            )
            for x, y in pairs
        ]
        assert got[row] == pytest.approx(sum(close) / max(len(pairs), 1))


def test_recency_halves_in_units_of_days() -> None:
    day = 86_400.0
    assert features.recency([10 * day, 9 * day, 3 * day]) == pytest.approx([0.0, -1.0, -3.0])
    assert features.recency([None, None]).tolist() == [0.0, 0.0]
    assert features.recency([10 * day, None]).tolist() == [0.0, 0.0]
    assert features.recency([]).tolist() == []


def test_popularity_counts_other_documents_once_and_only_known_ones() -> None:
    got = features.popularity(["a", "b", "c"], [["b", "b", "a"], ["nowhere"], ["b"]])
    assert got == pytest.approx([0.0, math.log(3), 0.0])
