"""Whatever text stands in a store, it comes back from a cell and from a word."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from dwell.loop.exports.escapes import plain_cell, plain_word, safe_cell, safe_word

SPECIAL = st.sampled_from(list("=+-@'\"|:# %\t\r\n,;\\\u2212\uff1d\u200b\u2028"))
TEXTS = st.text(SPECIAL | st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_cells_come_back_through_a_file(texts: list[str]) -> None:
    file = io.StringIO(newline="")
    csv.writer(file).writerow([safe_cell(text) for text in texts])
    (row,) = csv.reader(io.StringIO(file.getvalue(), newline=""))
    assert [plain_cell(cell) for cell in row] == texts
    assert not any(cell[:1] in set("=+-@\t\r") for cell in row)


@given(TEXTS)
def test_words_come_back_and_are_one_word(text: str) -> None:
    word = safe_word(text)
    assert plain_word(word) == text
    assert len(word.split()) == bool(text)
    assert not set(word) & set("|:#'\"=\\")
