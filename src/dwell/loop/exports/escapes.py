"""Text in places where some characters mean something, and back."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote, unquote

__all__ = ["plain_cell", "plain_word", "safe_cell", "safe_word"]

# what a spreadsheet takes for a formula at the start of a cell, or of a line in it (OWASP, CSV injection)
_STARTS: Final = frozenset("=+-@")
_CONTROLS: Final = frozenset("\t\r")  # the same: a spreadsheet drops them, and what follows stands first
# written like one of these in another script: some spreadsheets and importers fold them. NFKC folds full width, small
# and raised forms; what it leaves are the minus sign, the dashes and the hyphens
_DASHES: Final = frozenset("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u02d7\u2796\u2795\u30a0\ua78a")
_LINES: Final = re.compile(r"\r\n|[\r\n\v\f\x85\u2028\u2029]")
_MOST_WORDS: Final = re.compile(r"[\w.,/@+-]*", re.ASCII)  # nearly all: they stay as they are
_MEANS_MORE: Final = frozenset("|:#'\"%=\\")


def safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: with a ' before it where one would.

    A text that begins with ' gets one more, so that taking the first away gives every text back: `plain_cell`.
    """
    return f"'{text}" if text.startswith("'") or _is_formula(text) else text


def plain_cell(cell: str) -> str:
    """Return the text that `safe_cell` made a cell of."""
    return cell.removeprefix("'")


def _is_formula(text: str) -> bool:
    if text[:1] in _CONTROLS:
        return True
    if text.isascii() and text[:1].isalnum() and text.isprintable():
        return False  # as nearly all are: one line that begins with a letter or a digit
    return any(_begins_as_formula(line) for line in _LINES.split(text))


def _begins_as_formula(line: str) -> bool:
    """Return whether the first character that is seen, blanks and invisible ones apart, begins a formula."""
    for char in line:
        if char.isspace() or unicodedata.category(char) in {"Cf", "Cc", "Mn"}:
            continue
        return char in _DASHES or unicodedata.normalize("NFKC", char)[:1] in _STARTS | _DASHES
    return False


def safe_word(text: str) -> str:
    r"""Return text as one word, which ends no name, line or comment of VW or svmlight.

    Blanks, line ends, whatever is not printed, and any of `| : # ' " % = \` stand as %XX of their UTF-8.
    """
    if _MOST_WORDS.fullmatch(text):
        return text
    return "".join(char if _is_plain(char) else quote(char, safe="") for char in text)


def _is_plain(char: str) -> bool:
    return char.isprintable() and not char.isspace() and char not in _MEANS_MORE


def plain_word(word: str) -> str:
    """Return the text that `safe_word` made a word of."""
    return unquote(word, errors="strict")
