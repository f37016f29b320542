"""Who wants what: by subject, by length, and the known item always."""

import pytest

from dwell.demo.documents import Document
from dwell.demo.tastes import Taste, described, grades_of, subject_of, two_tastes


@pytest.mark.parametrize(
    ("doc_id", "title", "subject"),
    [
        ("zlib.crc32", "zlib.crc32", "zlib"),
        ("print", "print", "print"),
        ("topics/with", "with", "topics/with"),
        ("topics/with#more", "with: More", "topics/with"),
        ("guide/a.md#part", "A: Part", "guide/a.md"),
        ("notes.md", "Notes", "notes.md"),
    ],
)
def test_a_subject_is_the_module_the_topic_or_the_file(doc_id: str, title: str, subject: str) -> None:
    assert subject_of(Document(doc_id, title, "x")) == subject


def test_grades_follow_subject_and_length_and_the_answer_always_counts() -> None:
    bodies = {"m.short": "one two", "m.long": "w " * 30, "m.middle": "w " * 10, "other.short": "one two"}
    entries = described([Document(name, name, body) for name, body in bodies.items()])
    short, long = Taste("short", 0, 5), Taste("long", 20, None)
    ids = list(bodies)
    assert grades_of("m.middle", ids, short, entries).tolist() == [1.0, 0.0, 0.5, 0.0]
    assert grades_of("m.middle", ids, long, entries).tolist() == [0.0, 1.0, 0.5, 0.0]
    assert grades_of("m.short", ids, short, entries).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert grades_of("other.short", ids, long, entries).tolist() == [0.0, 0.0, 0.0, 0.5]


def test_nothing_is_to_both_tastes() -> None:
    entries = described([Document(f"d{n}", f"d{n}", "w " * n) for n in range(1, 101)])
    short, long = two_tastes(entries)
    assert not [n for n in range(1, 101) if short.suits(n) and long.suits(n)]
    n_short, n_long = (sum(taste.suits(n) for n in range(1, 101)) for taste in (short, long))
    assert (n_short, n_long) == pytest.approx((100 / 3, 100 / 3), abs=1.0)  # whole words: a third but for rounding
    alike = described([Document(f"d{n}", f"d{n}", "w w") for n in range(10)])
    short, long = two_tastes(alike)
    assert not (short.suits(2) and long.suits(2))
