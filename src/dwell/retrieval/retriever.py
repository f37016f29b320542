"""A small embedded hybrid retriever: full text and latent vectors find candidates, named features describe them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dwell.errors import ConfigError, RecordError
from dwell.records.checks import identifier
from dwell.retrieval import features as named
from dwell.retrieval.analysis import content_terms, terms
from dwell.retrieval.fulltext import FullTextIndex, Matches, StoredDocument
from dwell.retrieval.vectors import N_DIMENSIONS, LatentSpace, TermIndex, latent_space, term_index

#: Weight of the title's BM25 beside the body's where candidates are chosen. It decides who is looked at, not the order
#: that learning starts from.
_TITLE_WEIGHT = 1.0

#: The constant of reciprocal rank fusion.
#: Source: G. Cormack, C. Clarke, S. Buettcher, "Reciprocal rank fusion outperforms Condorcet and individual rank
#: learning methods", SIGIR 2009.
_FUSION_CONSTANT = 60.0


class Searchable(Protocol):
    """What a document must have to be indexed."""

    @property
    def doc_id(self) -> str:
        """Identity: 1 to 512 bytes of UTF-8 without control characters."""
        ...

    @property
    def title(self) -> str:
        """What it is called."""
        ...

    @property
    def body(self) -> str:
        """What it says."""
        ...

    @property
    def links(self) -> Sequence[str]:
        """Ids of the documents that it refers to."""
        ...

    @property
    def modified_at(self) -> float | None:
        """When it was last changed, UTC epoch seconds, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may answer a query, best first in the retriever's own order, with everything known of it.

    Attributes:
        ids: n document ids.
        features: (n, f) float64, finite, one column per name.
        names: f feature names.
    """

    ids: tuple[str, ...]
    features: NDArray[np.float64]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def as_dicts(self) -> list[dict[str, str | float]]:
        """The candidates as `Loop.rank` takes them: `{"id": ..., "bm25": ..., ...}`, in the same order."""
        return [
            {"id": doc_id, **dict(zip(self.names, row, strict=True))}
            for doc_id, row in zip(self.ids, self.features.tolist(), strict=True)
        ]


class Retriever:
    """Finds candidates among a fixed set of documents. Make one with `build` or `open`; safe from several threads."""

    #: Names of the features, in the order of the columns; `dwell.retrieval.features` says what each means.
    names: tuple[str, ...] = named.FEATURE_NAMES

    def __init__(self, fulltext: FullTextIndex, documents: Sequence[StoredDocument], n_dimensions: int) -> None:
        self._fulltext = fulltext
        self._ids = tuple(document.doc_id for document in documents)
        bodies = [content_terms(document.body) for document in documents]
        titles = [terms(document.title) for document in documents]
        self._index: TermIndex = term_index([[*title, *body] for title, body in zip(titles, bodies, strict=True)])
        self._title_terms = [frozenset(self._index.vocabulary[term] for term in title) for title in titles]
        # The seed is fixed: the same documents give the same vectors, built or opened, today or tomorrow.
        self._latent: LatentSpace = latent_space(self._index, np.random.default_rng(0), n_dimensions=n_dimensions)
        self._of_document = np.stack(
            [
                np.log1p([float(len(body)) for body in bodies]),
                named.recency([document.modified_at for document in documents]),
                named.popularity(self._ids, [document.links for document in documents]),
            ],
            axis=1,
        )

    @classmethod
    def build(
        cls, documents: Iterable[Searchable], *, path: str | Path = ":memory:", n_dimensions: int = N_DIMENSIONS
    ) -> Self:
        """A retriever over the documents, kept in memory or in a new SQLite file.

        Args:
            documents: what to index, in any order; ids unique.
            path: where the file goes, or ":memory:".
            n_dimensions: of the latent space, >= 1; fewer are used where the documents span fewer.

        Raises:
            ConfigError: there are no documents, an id is given twice, `n_dimensions` is not positive, or the file is
                there already.
            RecordError: an id is not legal, a title or body holds a lone surrogate, or a date is not finite.
            StorageError: the file can not be made or filled.
        """
        if n_dimensions < 1:
            raise ConfigError("not a dimension", hint="at least 1", field="n_dimensions", value=n_dimensions)
        stored = [_checked(document) for document in documents]
        if not stored:
            raise ConfigError("there are no documents to search", hint="give at least one", field="documents", value=0)
        twice = [doc_id for doc_id, n in Counter(document.doc_id for document in stored).items() if n > 1]
        if twice:
            raise ConfigError("two documents share an id", hint="make ids unique", field="doc_id", value=twice[0])
        fulltext = FullTextIndex.create(path)
        fulltext.fill(stored, [(" ".join(terms(entry.title)), " ".join(content_terms(entry.body))) for entry in stored])
        return cls(fulltext, stored, n_dimensions)

    @classmethod
    def open(cls, path: str | Path, *, n_dimensions: int = N_DIMENSIONS) -> Self:
        """The retriever that `build` put in a file. Vectors are computed again, which takes as long as they did.

        Raises:
            ConfigError: there is no such file, it is no index, or one of another version.
        """
        fulltext = FullTextIndex.open(path)
        return cls(fulltext, fulltext.documents(), n_dimensions)

    def __len__(self) -> int:
        return len(self._ids)

    def document(self, doc_id: str) -> StoredDocument | None:
        """The document of that id, or None."""
        return self._fulltext.document(doc_id)

    def search(self, query: str, n_candidates: int = 50) -> Candidates:
        """At most `n_candidates` documents with their features: the best of full text and of the vectors, fused.

        Any text is a legal query: nothing in it is syntax. A query that names nothing of the collection has no
        candidates.

        Raises:
            ConfigError: `n_candidates` is not positive.
        """
        if n_candidates < 1:
            raise ConfigError("not a number of candidates", hint="at least 1", field="n_candidates", value=n_candidates)
        # "for while" are all function words, and exactly what somebody may look for in the documentation of Python.
        asked = content_terms(query) or terms(query)
        known = [self._index.vocabulary[term] for term in asked if term in self._index.vocabulary]
        matches = self._fulltext.matches(asked)
        cosines = self._latent.cosines(known)
        chosen = _fused(matches, cosines, n_candidates)
        return Candidates(
            tuple(self._ids[number] for number in chosen.tolist()),
            self._features(chosen, matches, cosines, known),
            self.names,
        )

    def _features(
        self, chosen: NDArray[np.int64], matches: Matches, cosines: NDArray[np.float64], known: Sequence[int]
    ) -> NDArray[np.float64]:
        bm25 = np.zeros((len(self._ids), 2))
        bm25[matches.numbers, 0] = matches.bm25
        bm25[matches.numbers, 1] = matches.bm25_title
        return np.column_stack(
            [
                bm25[chosen],
                cosines[chosen],
                named.title_match(self._index, self._title_terms, known, chosen),
                named.coverage(self._index, self._title_terms, known, chosen),
                named.proximity(self._index, known, chosen),
                self._of_document[chosen],
            ]
        )

    def close(self) -> None:
        """Close the file behind the retriever."""
        self._fulltext.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _checked(document: Searchable) -> StoredDocument:
    doc_id = identifier(document.doc_id, "doc_id")
    if document.modified_at is not None and not math.isfinite(document.modified_at):
        raise RecordError(
            f"the date of {doc_id!r} is not finite", hint="None if unknown", field="modified_at", value="not finite"
        )
    for field, text in (("title", document.title), ("body", document.body)):
        if not _is_text(text):
            raise RecordError(f"the {field} of {doc_id!r} is no valid text", hint="decode it first", field=field)
    return StoredDocument(doc_id, document.title, document.body, tuple(document.links), document.modified_at)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # an unpaired surrogate
        return False
    return True


def _fused(matches: Matches, cosines: NDArray[np.float64], n_candidates: int) -> NDArray[np.int64]:
    """Numbers of the candidates by reciprocal rank fusion of full text and vectors; ties go to the lower number.

    Only documents with a positive cosine count on the side of the vectors.
    """
    text = matches.numbers[np.argsort(-(matches.bm25 + _TITLE_WEIGHT * matches.bm25_title), kind="stable")]
    near = np.argsort(-cosines, kind="stable")[:n_candidates]
    near = near[cosines[near] > 0.0]
    fused = np.zeros(len(cosines))
    for order in (text[:n_candidates], near):
        fused[order] += 1.0 / (_FUSION_CONSTANT + 1.0 + np.arange(len(order)))
    best = np.argsort(-fused, kind="stable")[:n_candidates]
    return best[fused[best] > 0.0].astype(np.int64)
