"""One analysis of text, the same everywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell.retrieval.analysis import STOPWORDS, content_terms, terms


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("os.path.join", ["os", "path", "join"]),
        ("HTTPServer getLogger", ["http", "server", "get", "logger"]),
        ("shut_down_all", ["shut", "down", "all"]),
        ("queues QUEUE Queue", ["queue", "queue", "queue"]),
        ("queries class status bytes", ["query", "class", "status", "byte"]),
        ("\u6771\u4eac is", ["\u6771", "\u4eac", "is"]),
        ("", []),
        ("-- \x00 () \ud800", []),
    ],
)
def test_terms_are_words_of_people_and_parts_of_identifiers(text: str, expected: list[str]) -> None:
    assert terms(text) == expected


def test_content_terms_are_the_terms_without_function_words() -> None:
    text = "Return the index of the first item that is in it"
    assert content_terms(text) == [term for term in terms(text) if term not in STOPWORDS]
    assert content_terms(text) == ["return", "index", "first", "item"]


def test_a_blob_is_no_term() -> None:
    assert terms("x" * 64) == ["x" * 64]
    assert terms("x" * 65) == []


@given(st.text(max_size=200))
def test_terms_hold_nothing_that_full_text_search_could_read_as_syntax(text: str) -> None:
    assert all(term.isalnum() or all(c.isalnum() or ord(c) > 127 for c in term) for term in terms(text))
    assert not any('"' in term or " " in term for term in terms(text))
