"""What is found: arrays by number, against what is computed the long way."""

from __future__ import annotations

import numpy as np
import pytest

from dwell.memory.shelf import FEATURES, Shelf, fitted_to, words_of
from dwell.memory.texts import Row

DAY_S = 86_400.0
NOTHING = (np.zeros(0, np.int64), np.zeros(0))
TEXTS = ("red kettle", "blue kettle on the stove", "a cat", "the cat sleeps", "stove")


def row(number: int, text: str, *, owner: str = "", added_at: float = 0.0, is_pinned: bool = False) -> Row:
    return Row(number, f"m{number}", text, f"l{number}", owner, b"{}", added_at, is_pinned)


def filled(texts: tuple[str, ...] = TEXTS) -> Shelf:
    shelf = Shelf(None)
    rows = [row(i, text) for i, text in enumerate(texts)]
    for one in rows:
        shelf.put(one)
    shelf.fit(rows)
    return shelf


def test_a_text_that_is_folded_in_lies_where_a_fitted_one_does() -> None:
    """The same text again, after the fit, has the vector that its twin was given by it."""
    shelf = filled()
    shelf.put(row(5, TEXTS[1]))
    found = shelf.find("stove", NOTHING, owner="", k=9, n=9, now=0.0, oldest=-1.0)
    cosines = dict(zip(found.ids, found.features[:, 1].tolist(), strict=True))
    assert cosines["m5"] == pytest.approx(cosines["m1"], abs=1e-5)


def test_features_are_what_they_are_said_to_be() -> None:
    shelf = Shelf(None)
    shelf.put(row(0, "kettle", added_at=0.0))
    shelf.put(row(1, "stove", added_at=3 * DAY_S))
    found = shelf.find("q", (np.array([0, 1]), np.array([1.0, 4.0])), owner="", k=2, n=2, now=3 * DAY_S, oldest=-1.0)
    assert FEATURES == ("bm25", "cosine", "recency")
    assert found.ids == ["m1", "m0"]
    # share of the best; nothing is fitted yet; -log2(1 + 0 days) and -log2(1 + 3 days)
    np.testing.assert_allclose(found.features, [[1.0, 0.0, 0.0], [0.25, 0.0, -2.0]])


def test_a_date_in_the_future_is_no_age() -> None:
    shelf = Shelf(None)
    shelf.put(row(0, "kettle", added_at=9 * DAY_S))
    found = shelf.find("q", (np.array([0]), np.array([1.0])), owner="", k=1, n=1, now=0.0, oldest=-1.0)
    assert found.features[0, 2] == 0.0


def test_numbers_of_what_is_removed_are_given_again() -> None:
    shelf = filled()
    assert shelf.next_number() == 5
    shelf.remove("m3")
    shelf.remove("m1")
    assert shelf.next_number() == 1
    shelf.put(row(1, "red"))
    assert (shelf.next_number(), len(shelf)) == (3, 4)
    shelf.put(row(9, "far"))  # as when a file with gaps is read
    assert shelf.next_number() == 3
    assert "m9" in shelf
    assert "m3" not in shelf


def test_what_is_removed_is_found_no_more() -> None:
    shelf = filled()
    shelf.remove("m2")
    found = shelf.find("cat", NOTHING, owner="", k=9, n=9, now=0.0, oldest=-1.0)
    assert "m2" not in found.ids
    assert "m3" in found.ids


def test_a_pinned_match_is_among_the_candidates_whatever_matches_better() -> None:
    shelf = Shelf(None)
    for i in range(10):
        shelf.put(row(i, "kettle", is_pinned=i == 9))
    bm25 = np.linspace(2.0, 1.0, 10)
    found = shelf.find("kettle", (np.arange(10), bm25), owner="", k=2, n=3, now=0.0, oldest=-1.0)
    assert found.ids == ["m0", "m1", "m9"]
    assert found.is_pinned.tolist() == [False, False, True]
    none = shelf.find("kettle", (np.arange(3), bm25[:3]), owner="", k=2, n=3, now=0.0, oldest=-1.0)
    assert not none.is_pinned.any()


def test_it_is_fitted_again_when_a_fourth_has_come() -> None:
    shelf = filled(tuple(f"kettle {i}" for i in range(100)))
    for i in range(100, 124):
        shelf.put(row(i, "stove"))
        assert not shelf.is_grown
        assert shelf.is_changed
    shelf.put(row(124, "stove"))
    assert shelf.is_grown


def test_what_changes_while_it_is_fitted_is_where_it_belongs_afterwards() -> None:
    """Added, replaced, removed, and its number given again."""
    shelf = filled()
    rows = [row(i, text) for i, text in enumerate(TEXTS)]
    shelf.begin_fit(len(rows))
    fitted = fitted_to(rows)
    shelf.put(row(5, TEXTS[1]))
    shelf.put(row(0, TEXTS[3]))
    shelf.remove("m4")
    shelf.remove("m2")
    shelf.put(row(2, TEXTS[0])._replace(id="new"))
    shelf.adopt(fitted, rows)
    found = shelf.find("stove cat kettle", NOTHING, owner="", k=9, n=9, now=0.0, oldest=-1.0)
    ours = dict(zip(found.ids, found.features[:, 1].tolist(), strict=True))
    plain = filled().find("stove cat kettle", NOTHING, owner="", k=9, n=9, now=0.0, oldest=-1.0)
    theirs = dict(zip(plain.ids, plain.features[:, 1].tolist(), strict=True))
    twins = {"m5": "m1", "m1": "m1", "m0": "m3", "m3": "m3", "new": "m0"}
    assert ours == pytest.approx({item: theirs[twin] for item, twin in twins.items()}, abs=1e-5)


def test_words_of_half_of_many_texts_are_not_asked_for() -> None:
    texts = [f"user {'kettle' if i % 2 else 'stove'} word{i}" for i in range(1_000)]
    many = filled((*texts, "stove"))  # of 1,001 texts: user in 1,000, stove in 501, kettle in 500
    assert many.telling(["user", "stove", "kettle", "word7"]) == ["kettle", "word7"]
    assert many.telling(["user", "stove"]) == ["user", "stove"]
    few = filled(tuple(texts[:999]))
    assert few.telling(["user", "kettle"]) == ["user", "kettle"]


def test_ages_are_in_order_and_pins_are_left_out() -> None:
    shelf = Shelf(None)
    for i, at in enumerate((3.0, 1.0, 2.0)):
        shelf.put(row(i, "x", added_at=at, is_pinned=i == 2))
    assert shelf.in_order_of_age() == ["m1", "m0"]
    assert shelf.in_order_of_age(before=3.0) == ["m1"]
    shelf.pin("m2", is_pinned=False)
    assert shelf.in_order_of_age() == ["m1", "m2", "m0"]


@pytest.mark.parametrize(
    ("text", "words"), [("The cats", ["cat"]), ("to be or not to be", ["to", "be", "or", "not", "to", "be"])]
)
def test_function_words_count_only_where_there_is_nothing_else(text: str, words: list[str]) -> None:
    assert words_of(text) == words
