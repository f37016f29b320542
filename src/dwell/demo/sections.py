"""A text as its sections, one under each heading of Markdown or reStructuredText."""

import inspect
import re
from collections.abc import Iterator, Sequence

__all__ = ["sections_of"]

_FENCE = re.compile(r"^[ ]{0,3}(```|~~~)")
_ATX = re.compile(r"^#{1,6}[ \t]+(?P<title>.*?)[ \t]*#*[ \t]*$")
_UNDERLINE = re.compile(r"^(=|-|~|\*|\^|\"|\+|#){3,}[ \t]*$")
_SLUG_GAP = re.compile(r"[^\w]+")

#: A section with fewer words stays with the one before it: a heading over one line is no entry of its own.
_MIN_SECTION_WORDS = 20


def _headings(lines: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """(first line, first line after, title) of each heading: `# title`, or a line underlined over its whole width."""
    fenced = False
    for index, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        if fenced:
            continue
        atx = _ATX.match(line)
        if atx is not None and atx["title"]:
            yield index, index + 1, atx["title"]
        elif index and _underlines(line, lines[index - 1]):
            yield index - 1, index + 1, lines[index - 1].strip()


def _underlines(line: str, above: str) -> bool:
    if _UNDERLINE.match(line) is None or _UNDERLINE.match(above) is not None:
        return False
    return len(line.rstrip()) >= len(above.strip()) > 0 and not above[0].isspace()


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(title, text below it) of each heading, what stands before the first heading first, under ""."""
    marks = [(0, 0, ""), *_headings(lines)]
    ends = [first for first, _, _ in marks[1:]] + [len(lines)]
    for (_, after, title), end in zip(marks, ends, strict=True):
        piece = inspect.cleandoc("\n".join(lines[after:end]))
        if piece or title:
            yield title, piece


def sections_of(doc_id: str, name: str, text: str) -> Iterator[tuple[str, str, str]]:
    """(id, title, text) of each section under a heading. The first has the id of the whole, the rest `id#slug`."""
    lines = text.splitlines()
    merged: list[tuple[str, str]] = []
    for title, piece in _blocks(lines):
        if merged and len(piece.split()) < _MIN_SECTION_WORDS:
            merged[-1] = (merged[-1][0], f"{merged[-1][1]}\n\n{title}\n\n{piece}".strip())
        elif piece or title:
            merged.append((title, piece))
    whole = next((title for title, _ in merged if title), name)
    taken: set[str] = set()
    for number, (title, piece) in enumerate(merged):
        if not piece:
            continue
        slug = _SLUG_GAP.sub("-", title.lower()).strip("-") or str(number)
        slug = slug if slug not in taken else f"{slug}-{number}"
        taken.add(slug)
        yield (doc_id if number == 0 else f"{doc_id}#{slug}"), (whole if number == 0 else f"{whole}: {title}"), piece
