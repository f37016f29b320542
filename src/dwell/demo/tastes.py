"""What the simulated visitors want: made up, stated, and changed in the middle of the demo."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dwell.demo.documents import Document
from dwell.records.arrays import FloatArray

__all__ = ["Entry", "Taste", "described", "grades_of", "subject_of", "two_tastes"]

#: Grade of the known item where its length is not to the taste: who looks for it still takes it.
_HALF = 0.5

#: Share of the corpus that is short, and that is long. Two opposite wishes of the same strength.
_SHARE = 1.0 / 3.0


class Entry(NamedTuple):
    """What decides whether an entry is wanted.

    Attributes:
        subject: What it belongs to: its module, its topic or its file.
        n_words: Length of its body as it is indexed.
    """

    subject: str
    n_words: int


class Taste(NamedTuple):
    """Which length visitors want.

    Attributes:
        name: One word for it.
        at_least: Fewest words, inclusive.
        at_most: Most words, inclusive; None for no limit.
    """

    name: str
    at_least: int
    at_most: int | None

    def suits(self, n_words: int) -> bool:
        """Whether an entry of that length is to the taste."""
        return n_words >= self.at_least and (self.at_most is None or n_words <= self.at_most)

    @property
    def words(self) -> str:
        """The taste in words."""
        return f"{self.at_least} words or more" if self.at_most is None else f"{self.at_most} words or fewer"


def subject_of(document: Document) -> str:
    """What an entry belongs to: the module of a dotted name, the topic or file of a section."""
    page = document.doc_id.partition("#")[0]
    return page.partition(".")[0] if page == document.title else page


def described(documents: Sequence[Document]) -> dict[str, Entry]:
    """What decides whether it is wanted, by id."""
    return {document.doc_id: Entry(subject_of(document), len(document.body.split())) for document in documents}


def two_tastes(entries: Mapping[str, Entry]) -> tuple[Taste, Taste]:
    """The taste for short entries and the one for long ones: the shortest and the longest third of the corpus.

    Nothing is to both tastes, even where all entries are of one length.
    """
    lengths = [entry.n_words for entry in entries.values()]
    short = int(np.floor(np.quantile(lengths, _SHARE)))
    long = int(np.ceil(np.quantile(lengths, 1.0 - _SHARE)))
    return Taste("short", 0, short), Taste("long", max(long, short + 1), None)


def grades_of(answer: str, ids: Sequence[str], taste: Taste, entries: Mapping[str, Entry]) -> FloatArray:
    """How much each entry is wanted by who looks for `answer`, float64 (n,) in [0, 1].

    1 for what is on the answer's subject and of the wanted length; 0.5 for the answer itself where it is not of that
    length; 0 for everything else.

    Args:
        answer: the known item.
        ids: n ids.
        taste: which length is wanted now.
        entries: what is known of each entry, by id.
    """
    subject = entries[answer].subject
    found = np.zeros(len(ids))
    for i, doc_id in enumerate(ids):
        entry = entries[doc_id]
        if entry.subject == subject and taste.suits(entry.n_words):
            found[i] = 1.0
        elif doc_id == answer:
            found[i] = _HALF
    return found
