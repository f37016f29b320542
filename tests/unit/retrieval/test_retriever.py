"""The retriever as its users meet it: a few small documents in memory, and a file where opening one is the promise."""

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dwell.errors import ConfigError, RecordError
from dwell.retrieval import FEATURE_NAMES, Candidates, Retriever


@dataclass(frozen=True)
class Page:
    doc_id: str
    title: str
    body: str
    links: tuple[str, ...] = ()
    modified_at: float | None = None


PAGES = (
    Page("heap", "Heap queue", "A heap keeps the smallest item first. Push and pop cost little.", ("sort",), 86_400.0),
    Page("sort", "Sorting", "Sorting orders every item of a list. A stable sort keeps equal items in place.", (), 0.0),
    Page("sock", "Socket", "A socket sends bytes over the network to a remote host.", ("sort", "heap"), 172_800.0),
    Page("with", "with", "Runs a block between entering and leaving a context.", (), 172_800.0),
    Page("mail", "Mail", "Mail travels over the network; a host stores bytes until they are read.", ("sort",), 0.0),
)
SHARED = Retriever.build(PAGES)


def column(found: Candidates, doc_id: str, name: str) -> float:
    return float(found.features[found.ids.index(doc_id), found.names.index(name)])


def test_the_document_that_says_it_comes_first_with_every_feature_in_its_place() -> None:
    found = SHARED.search("stable sorting of items", 5)
    assert found.ids[0] == "sort"
    assert found.names == FEATURE_NAMES
    assert found.features.shape == (len(found), len(FEATURE_NAMES))
    assert column(found, "sort", "popularity") == pytest.approx(np.log(1 + 3))
    assert column(found, "sort", "recency") == pytest.approx(-np.log2(1 + 2))
    assert column(found, "sort", "title_match") == 1.0
    assert column(found, "sort", "bm25_title") > 0.0
    assert column(found, "sort", "length") == pytest.approx(np.log(1 + 11))  # 16 words, "a" twice, of every in are out


def test_bm25_agrees_with_its_formula() -> None:
    found = SHARED.search("remote", 5)
    # Okapi with k1 1.2, b 0.75; FTS5 takes the length of the whole row, title and body, and idf ln((N-n+.5)/(n+.5)).
    lengths = {
        page.doc_id: float(np.expm1(column(SHARED.search(page.title, 5), page.doc_id, "length"))) for page in PAGES
    }
    titles = {"heap": 2, "sort": 1, "sock": 1, "with": 1, "mail": 1}
    rows = {doc_id: lengths[doc_id] + titles[doc_id] for doc_id in lengths}
    mean = sum(rows.values()) / len(rows)
    expected = np.log((5 - 1 + 0.5) / 1.5) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * rows["sock"] / mean))
    assert column(found, "sock", "bm25") == pytest.approx(expected)


def test_as_dicts_is_what_the_loop_takes() -> None:
    found = SHARED.search("network bytes", 3)
    rows = found.as_dicts()
    assert [row["id"] for row in rows] == list(found.ids)
    assert [[row[name] for name in FEATURE_NAMES] for row in rows] == found.features.tolist()


def test_function_words_alone_are_a_query_too() -> None:
    assert SHARED.search("with", 5).ids[0] == "with"


@pytest.mark.parametrize("query", ["", "   ", "zzzzz", "\x00", "((("])
def test_a_query_that_names_nothing_has_no_candidates(query: str) -> None:
    found = SHARED.search(query)
    assert found.ids == ()
    assert found.features.shape == (0, len(FEATURE_NAMES))
    assert found.as_dicts() == []


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.text(st.characters(), max_size=60),
        st.lists(
            st.sampled_from(
                ["AND", "OR", "NOT", "NEAR(", ")", '"', "'", "*", "^", ":", "title:", "-", "+", "{", "sort", "\ud800"]
            ),
            max_size=12,
        ).map(" ".join),
    ),
    st.integers(1, 9),
)
def test_no_text_breaks_the_search_and_every_feature_is_finite(query: str, n_candidates: int) -> None:
    found = SHARED.search(query, n_candidates)
    assert len(found) <= n_candidates
    assert len(set(found.ids)) == len(found)
    assert np.isfinite(found.features).all()


def test_the_vectors_find_what_shares_no_word_with_the_query() -> None:
    pages = [Page(f"p{n}", f"p{n}", "feline whiskers purring" if n % 2 else "engine gears torque") for n in range(6)]
    pages += [Page("bridge", "bridge", "cat feline whiskers"), Page("other", "other", "motor engine gears")]
    found = Retriever.build(pages, n_dimensions=2).search("cat", 5)
    assert found.ids[0] == "bridge"
    assert set(found.ids[1:]) == {"p1", "p3", "p5"}  # never p0: engines are at cosine 0 in another topic
    assert column(found, "p1", "bm25") == 0.0
    assert column(found, "p1", "cosine") > 0.5


def test_a_file_can_be_opened_again_and_answers_the_same(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    with Retriever.build(PAGES, path=path) as built:
        before = built.search("network bytes")
    with Retriever.open(path) as opened:
        after = opened.search("network bytes")
        page = opened.document("mail")
        assert len(opened) == len(PAGES)
        assert opened.document("none") is None
    assert after.ids == before.ids
    assert np.array_equal(after.features, before.features)
    assert page is not None
    assert (page.title, page.body, page.links, page.modified_at) == (
        PAGES[4].title,
        PAGES[4].body,
        PAGES[4].links,
        PAGES[4].modified_at,
    )


def test_a_file_is_never_overwritten_and_a_strange_one_never_opened(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    Retriever.build(PAGES, path=path).close()
    with pytest.raises(ConfigError, match="already"):
        Retriever.build(PAGES, path=path)
    strange = tmp_path / "notes.txt"
    strange.write_text("no database at all, but long enough to be read as a header " * 4)
    with pytest.raises(ConfigError):
        Retriever.open(strange)
    with pytest.raises(ConfigError):
        Retriever.open(tmp_path / "absent.db")


@pytest.mark.parametrize(
    ("pages", "error", "field"),
    [
        ([], ConfigError, "documents"),
        ([PAGES[0], PAGES[0]], ConfigError, "doc_id"),
        ([Page("", "t", "b")], RecordError, "doc_id"),
        ([Page("a\nb", "t", "b")], RecordError, "doc_id"),
        ([Page("x" * 513, "t", "b")], RecordError, "doc_id"),
        ([Page("a", "t", "b", (), float("nan"))], RecordError, "modified_at"),
        ([Page("a", "t\ud800", "b")], RecordError, "title"),
    ],
)
def test_bad_documents_are_refused_by_name(pages: list[Page], error: type[Exception], field: str) -> None:
    with pytest.raises(error) as caught:
        Retriever.build(pages)
    assert caught.value.field == field  # type: ignore[attr-defined]


def test_bad_numbers_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="n_candidates"):
        SHARED.search("sort", 0)
    with pytest.raises(ConfigError, match="n_dimensions"):
        Retriever.build(PAGES, n_dimensions=0)


def test_documents_without_a_single_term_are_no_obstacle() -> None:
    retriever = Retriever.build([Page("a", "---", "..."), Page("b", "", "")])
    assert retriever.search("anything").ids == ()


def test_threads_may_search_at_once() -> None:
    expected = SHARED.search("network bytes").ids
    wrong: list[object] = []

    def ask() -> None:
        try:
            wrong.extend(found for _ in range(50) if (found := SHARED.search("network bytes").ids) != expected)
        except Exception as error:  # noqa: BLE001 - whatever a thread raises is the finding
            wrong.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
