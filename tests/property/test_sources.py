"""Whatever is asked is answered, and whatever sources answer is fused as its definition says."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import apsw
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dwell.retrieval import Found, Fts5Source
from dwell.retrieval.hybrid import united

DOCUMENTS = {"kb-1": ("reset a token", "en"), "kb-2": ("ключ и пароль", "ru"), "kb-3": ("日本語 の 検索", "ja")}
#: What FTS5 reads as its own, among letters of all scripts; NUL and lone surrogates are refused before.
texts = st.text(
    st.sampled_from("\"'*^:()+-{}, ORANDNTEeset") | st.characters(exclude_categories=["Cs"], min_codepoint=1)
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fts5Source]:
    path: Path = tmp_path_factory.mktemp("fts5") / "kb.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE VIRTUAL TABLE kb USING fts5(doc UNINDEXED, body, lang UNINDEXED)")
    connection.executemany("INSERT INTO kb VALUES (?, ?, ?)", [(doc, *row) for doc, row in DOCUMENTS.items()])
    connection.close()
    made = Fts5Source(path, "kb", id_column="doc", metadata_columns=["lang"])
    yield made
    made.close()


@given(query=texts, lang=texts)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_words_and_nothing_else(source: Fts5Source, query: str, lang: str) -> None:
    assert {one.id for one in source.search(query)} <= set(DOCUMENTS)
    held = {doc for doc, (_, named) in DOCUMENTS.items() if named == lang}
    assert {one.id for one in source.search(query, filters={"lang": lang})} <= held
    # what stands between the words of a document does not keep it from being found
    assert "kb-1" in {one.id for one in source.search(f"{query} token")}


class Source(NamedTuple):
    name: str
    features: tuple[str, ...]


@given(
    orders=st.lists(st.lists(st.integers(0, 30), unique=True, max_size=20), min_size=1, max_size=4),
    are_told=st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_fusion_is_the_sum_of_its_definition(orders: list[list[int]], are_told: bool) -> None:  # noqa: FBT001 - drawn
    sources = [Source(f"s{i}", (f"s{i}_score",)) for i in range(len(orders))]
    answers = {
        source.name: [Found(f"d{doc}", {source.features[0]: float(doc)}) for doc in order]
        for source, order in zip(sources, orders, strict=True)
    }
    found = united(sources, answers, fill={"s0_score": -1.0}, missing=are_told)
    exact = {
        f"d{doc}": sum(Fraction(1, 61 + order.index(doc)) for order in orders if doc in order)
        for doc in {doc for order in orders for doc in order}
    }
    assert set(found.ids) == set(exact)
    totals = np.array([float(exact[doc]) for doc in found.ids])
    assert (np.diff(totals) <= 1e-15).all()
    columns = {name: found.features[:, i] for i, name in enumerate(found.names)}
    assert np.allclose(sum(columns[f"s{i}_rrf"] for i in range(len(orders))), totals, rtol=0.0, atol=1e-15)
    for i, order in enumerate(orders):
        held = np.array([int(doc[1:]) in order for doc in found.ids], dtype=bool)
        numbers = [
            float(doc[1:]) if told else (-1.0 if i == 0 else 0.0) for doc, told in zip(found.ids, held, strict=True)
        ]
        assert columns[f"s{i}_score"].tolist() == numbers
        assert ((columns[f"s{i}_rrf"] > 0.0) == held).all()
        assert not are_told or ((columns[f"s{i}_missing"] == 0.0) == held).all()
