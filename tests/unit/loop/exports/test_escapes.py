"""What a spreadsheet would run does not run, what a line would end in does not end it, and every text comes back."""

import pytest

from dwell.loop.exports.escapes import plain_cell, plain_word, safe_cell, safe_word

FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "  =1", "\xa0@x", "a\n=cmd|' /C calc'!A0", "\n+1", "a\r@x",
    "\ufeff=1", "\u200b=1", "\u202e=1", "\x00=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff20x", "\ufe661",
    "\ufe621", "\ufe631", "\ufe6bx", "\u207a1", "\u208b1", "\u22121", "\u20131", "a\u2028=1",
    "a\x85=1", "a\x0b=1", "\u3000\uff1d1",
]  # fmt: skip
PLAIN = ["", "shoes", "a=b", "c++", "3-1", "a\nb", "mail@example.org", "\u00e9t\u00e9", "1.5", "a - b", "\u65e5\u672c"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_cell_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    assert safe_cell(text) == "'" + text
    assert plain_cell(safe_cell(text)) == text


@pytest.mark.parametrize("text", PLAIN)
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert safe_cell(text) == text == plain_cell(text)


@pytest.mark.parametrize("text", ["'x", "'=1", "''", "'"])
def test_a_cell_that_begins_with_an_apostrophe_comes_back(text: str) -> None:
    assert safe_cell(text) == "'" + text
    assert plain_cell(safe_cell(text)) == text


@pytest.mark.parametrize("char", list("|:#'\"%=\\ \t\n\r\v\f\x00\x7f\x85\xa0\u2028\u3000\u200b\ufeff"))
def test_a_word_holds_nothing_that_means_something(char: str) -> None:
    word = safe_word(f"a{char}b")
    assert char not in word.replace("%", "") if char != "%" else word == "a%25b"
    assert word.isprintable()
    assert not set(word) & set("|:#'\"=\\ ")
    assert plain_word(word) == f"a{char}b"


@pytest.mark.parametrize("text", ["kb-12", "\u00e9t\u00e9", "a/b@c.d", "\u65e5\u672c", ""])
def test_a_plain_word_stays_as_it_is(text: str) -> None:
    assert safe_word(text) == text == plain_word(text)
