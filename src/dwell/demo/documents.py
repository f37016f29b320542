"""One entry of a corpus, its sentences, and what was left out."""

import re
from dataclasses import dataclass

__all__ = ["Corpus", "Document", "Mention", "Skipped", "sentences", "summary_of"]


@dataclass(frozen=True, slots=True)
class Document:
    """One entry that can be found.

    Attributes:
        doc_id: identity, 1 to 512 bytes without control characters, stable between runs.
        title: what the entry is called; for Python, the dotted name.
        body: the text to index, without the title.
        summary: its first sentence, on one line. As read, it also stands in `body`.
        links: ids of the other entries that `body` names, sorted, each once.
        modified_at: when it was last changed, UTC epoch seconds; None where that is unknown.
    """

    doc_id: str
    title: str
    body: str
    summary: str = ""
    links: tuple[str, ...] = ()
    modified_at: float | None = None


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that was not read, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Documents in ascending order of id, no two with the same body, and what was left out."""

    name: str
    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True, slots=True)
class Mention:
    """A place in a text that names another entry: `text[start:end]` names `doc_id`."""

    start: int
    end: int
    doc_id: str


#: A sentence ends at . ! or ?, closing quotes or brackets included, before white space and a capital, digit or quote;
#: or at an empty line. "e.g. the" does not end one.
_SENTENCE_END = re.compile(r"(?<!\b[eEiI]\.[gGeE])[.!?][\"')\]`]*(?=\s+[\"'`(\[]*[A-Z0-9_])|\n[ \t]*\n")


def sentences(text: str) -> list[tuple[int, int]]:
    """Spans (start, end) of the sentences of `text`, in order, white space trimmed, none empty."""
    spans: list[tuple[int, int]] = []
    start = 0
    for end in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        piece = text[start:end]
        stripped = piece.strip()
        if stripped:
            first = start + len(piece) - len(piece.lstrip())
            spans.append((first, first + len(stripped)))
        start = end
    return spans


def summary_of(text: str) -> str:
    """The first sentence of `text` on one line, or "" if there is none."""
    spans = sentences(text)
    return " ".join(text[spans[0][0] : spans[0][1]].split()) if spans else ""
