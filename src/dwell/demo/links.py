"""Which entries a text names: the references between the documents of a corpus."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from dwell.demo.documents import Document, Mention

__all__ = ["mention_finder", "with_links"]

_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")
_CAMEL = re.compile(r"[A-Z]+[a-z0-9]+[A-Z]|[a-z0-9][A-Z]")
_MARKDOWN_LINK = re.compile(r"\[(?P<text>[^\]\n]+)\]\((?P<target>[^()\s]+)\)")
_QUOTES = frozenset("`'\"")


def _suffix_names(documents: Iterable[Document]) -> dict[str, str | None]:
    """Every dotted end of every title, with the id that it names; None where it names several."""
    names: dict[str, str | None] = {}
    for document in documents:
        if _NAME.fullmatch(document.title) is None:
            continue
        parts = document.title.split(".")
        for first in range(len(parts)):
            name = ".".join(parts[first:])
            names[name] = None if names.get(name, document.doc_id) != document.doc_id else document.doc_id
    return names


def _is_written_as_code(text: str, match: re.Match[str]) -> bool:
    name = match.group()
    after = text[match.end() : match.end() + 1]
    before = text[match.start() - 1 : match.start()]
    return (
        "." in name
        or after == "("
        or (before in _QUOTES and after in _QUOTES and before != "" and after != "")
        or "_" in name.strip("_")
        or _CAMEL.search(name) is not None
    )


def mention_finder(documents: Sequence[Document]) -> Callable[[Document], list[Mention]]:
    """A function that gives the places where a document's body names another entry of `documents`.

    A name counts where it is written as code: dotted, called, quoted, with an underscore or in CamelCase; "list" and
    "open" in running text do not. It is resolved as Python would: in the document's own scope first, outwards, then
    as the unique end of a dotted title. A Markdown link to a file or section of the corpus counts too.
    """
    titles = {document.title: document.doc_id for document in documents if _NAME.fullmatch(document.title)}
    suffixes = _suffix_names(documents)
    ids = {document.doc_id for document in documents}

    def resolve(name: str, scope: list[str]) -> str | None:
        for depth in range(len(scope), 0, -1):
            found = titles.get(".".join([*scope[:depth], name]))
            if found is not None:
                return found
        return titles.get(name) or suffixes.get(name)

    def find(document: Document) -> list[Mention]:
        scope = document.title.split(".") if _NAME.fullmatch(document.title) else []
        found = []
        for match in _NAME.finditer(document.body):
            name = match.group()
            # Whatever resolves in a scope is the end of some title, so this look-up spares the rest nearly always.
            if name not in suffixes or len(name) < 3 or not _is_written_as_code(document.body, match):
                continue
            target = resolve(name, scope)
            if target is not None and target != document.doc_id:
                found.append(Mention(match.start(), match.end(), target))
        for match in _MARKDOWN_LINK.finditer(document.body):
            target = _link_target(document.doc_id, match["target"])
            if target in ids and target != document.doc_id:
                found.append(Mention(match.start(), match.end(), target))
        return found

    return find


def _link_target(doc_id: str, target: str) -> str:
    path, _, fragment = target.partition("#")
    source = doc_id.partition("#")[0]
    joined = os.path.normpath(f"{Path(source).parent.as_posix()}/{path}").replace(os.sep, "/") if path else source
    return f"{joined}#{fragment}" if fragment else joined


def with_links(documents: Sequence[Document]) -> tuple[Document, ...]:
    """The documents with `links` computed from what their bodies say now."""
    find = mention_finder(documents)
    return tuple(
        replace(document, links=tuple(sorted({mention.doc_id for mention in find(document)}))) for document in documents
    )
