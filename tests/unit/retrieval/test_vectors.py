"""The positional index and the latent space against their definitions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwell.retrieval.vectors import LatentSpace, TermIndex, latent_space, term_index

Documents = list[list[str]]

collections = st.lists(st.lists(st.sampled_from(list("abcdefgh")), max_size=9), min_size=1, max_size=12)


def dense_weights(documents: Documents, index: TermIndex) -> np.ndarray:
    """(1 + ln tf) idf with rows of norm 1, by the definition."""
    matrix = np.zeros((len(documents), len(index.vocabulary)))
    for row, document in enumerate(documents):
        for term in set(document):
            matrix[row, index.vocabulary[term]] = 1.0 + math.log(document.count(term))
    matrix *= index.idf
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return np.divide(matrix, norms, out=np.zeros_like(matrix), where=norms > 0)


@given(collections)
def test_the_index_finds_each_term_where_it_stands(documents: Documents) -> None:
    index = term_index(documents)
    assert index.lengths.tolist() == [len(document) for document in documents]
    for term, number in index.vocabulary.items():
        positions = index.positions_of(number)
        inside = index.documents_at(positions)
        found = [(int(d), int(p - index.document_starts[d])) for d, p in zip(inside, positions, strict=True)]
        assert found == [(d, p) for d, words in enumerate(documents) for p, word in enumerate(words) if word == term]
        df = sum(term in document for document in documents)
        assert index.idf[number] == pytest.approx(math.log(1 + (len(documents) - df + 0.5) / (df + 0.5)))


def test_documents_stand_too_far_apart_for_any_window() -> None:
    index = term_index([["a"], ["b"]])
    assert index.positions_of(1)[0] - index.positions_of(0)[0] > 8


@settings(max_examples=30, deadline=None)
@given(collections)
def test_with_all_dimensions_the_latent_cosine_is_the_exact_one(documents: Documents) -> None:
    index = term_index(documents)
    if not index.vocabulary:
        return
    space = latent_space(index, np.random.default_rng(0), n_dimensions=64)
    exact = dense_weights(documents, index)
    row_space = np.linalg.pinv(exact) @ exact  # a query keeps only what the documents span
    for term, number in index.vocabulary.items():
        query = np.zeros(len(index.vocabulary))
        query[number] = index.idf[number]
        projected = row_space @ query
        norm = np.linalg.norm(projected)
        assert norm > 0, term
        np.testing.assert_allclose(space.cosines([number]), exact @ projected / norm, atol=5e-4)


def test_few_dimensions_are_the_best_ones() -> None:
    rng = np.random.default_rng(3)
    topics = [[f"{topic}{word}" for word in range(6)] for topic in "xyz"]
    documents = [list(rng.choice(topics[row % 3], size=12)) for row in range(60)]
    index = term_index(documents)
    space = latent_space(index, np.random.default_rng(0), n_dimensions=3)
    gram = space.document_vectors @ space.document_vectors.T
    same = np.arange(60)[:, None] % 3 == np.arange(60)[None, :] % 3
    # Three topics without a common word span three blocks; the three leading directions are one per block.
    assert gram[same].min() > 0.99
    assert np.abs(gram[~same]).max() < 0.01


def test_a_query_or_a_document_without_terms_is_at_cosine_zero() -> None:
    space = latent_space(term_index([["a", "b"], []]), np.random.default_rng(0), n_dimensions=2)
    assert space.cosines([]).tolist() == [0.0, 0.0]
    assert space.cosines([0])[1] == 0.0


def test_a_collection_without_any_term_has_an_empty_space() -> None:
    space = latent_space(term_index([[], []]), np.random.default_rng(0))
    assert isinstance(space, LatentSpace)
    assert space.cosines([]).tolist() == [0.0, 0.0]


def test_the_same_documents_give_the_same_vectors() -> None:
    index = term_index([["a", "b", "c"], ["b", "c", "d"], ["a", "d"]])
    one, two = (latent_space(index, np.random.default_rng(0), n_dimensions=2) for _ in range(2))
    assert np.array_equal(one.document_vectors, two.document_vectors)
