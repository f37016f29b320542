"""What every source of candidates promises, as tests: run it on a source of your own."""
# ruff: noqa: D102 - the test's name says what it shows

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, ClassVar, Final

import numpy as np

from dwell.errors import ConfigError, DwellError, RecordError, StoreClosedError
from dwell.records import checks
from dwell.retrieval.sources import CandidateSource, Found
from dwell.testing.store_samples import Refused, equal, true

__all__ = ["DIMENSIONS", "DOCUMENTS", "CandidateSourceContract", "SampleDocument", "sample_embedding"]

DIMENSIONS: Final = 16

#: What a language of queries, of a shell or of a database might take for its own.
HOSTILE: Final = (
    '"', "'", "' OR 1=1 --", '"; DROP TABLE documents; --', "title:*", "NEAR(reset, 2)", "reset AND", "NOT", "(",
    "*", "^reset", "{title body}: reset", "-reset", "a\\", '\\"', '{"match_all": {}}', "${jndi:ldap://x}", "%00",
    "<script>", "reset\t\n\r", "\u202ereset", "[TO *]", "AND OR NOT", "_exists_:id", "/.*/", "reset~2", "\ufffd",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SampleDocument:
    """A document that a source under trial is to hold.

    Attributes:
        id: Its id.
        text: What it says.
        metadata: {"lang": text, "year": whole number}.
        embedding: DIMENSIONS numbers of norm 1.
    """

    id: str
    text: str
    metadata: dict[str, Any]
    embedding: list[float] = field(default_factory=list)


def sample_embedding(text: str) -> list[float]:
    """Return a vector of norm 1 to which each word adds a direction of its own, the same on every machine."""
    total = np.zeros(DIMENSIONS)
    for word in text.casefold().split():
        seed = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
        total += np.random.default_rng(seed).normal(size=DIMENSIONS)
    norm = float(np.linalg.norm(total))
    # what says nothing points somewhere all the same: a store by cosine takes no vector of zeros
    return [float(x) for x in (total / norm if norm else np.eye(DIMENSIONS)[0])]


def _document(doc: str, text: str, lang: str, year: int) -> SampleDocument:
    return SampleDocument(doc, text, {"lang": lang, "year": year}, sample_embedding(text))


DOCUMENTS: Final = (
    _document("kb-1", "reset two factor authentication token", "en", 2024),
    _document("kb-2", "reset a forgotten password by mail", "en", 2025),
    _document("kb-3", "export invoices as a spreadsheet", "en", 2024),
    _document("kb-4", "invoices are sent monthly", "en", 2026),
    _document("kb-5", "passwort zurücksetzen per mail", "de", 2025),
    _document("kb-6", "rechnungen als tabelle exportieren", "de", 2024),
    _document("kb-7", "сбросить пароль по почте", "ru", 2025),
    _document("kb-8", "naïve café résumé", "fr", 2026),
    _document("ключ/9 ü", "rotate the key of the vault", "en", 2026),
    _document("kb-10", "delete an account and all of its invoices", "en", 2025),
)


class CandidateSourceContract:
    """What `dwell.retrieval.CandidateSource` promises, as tests for pytest.

    Derive a class whose name begins with Test and give it `source`.

    Attributes:
        takes_embedding: Whether it searches by a vector, and refuses a search without one.
        filterable: Whether its documents have fields to filter by: "lang" and "year" of the samples.
        orders_by: The feature by which the best stands first, or None for an order of its own.
    """

    takes_embedding: ClassVar[bool] = False
    filterable: ClassVar[bool] = True
    orders_by: ClassVar[str | None] = None

    def source(self, documents: Sequence[SampleDocument]) -> CandidateSource:
        """Return a source that holds these documents and no other."""
        raise NotImplementedError

    def ask(self, source: CandidateSource, query: str, **arguments: Any) -> list[Found]:  # noqa: ANN401 - any argument
        """Return what the source finds, a vector of the query given where it takes one."""
        if self.takes_embedding:
            arguments.setdefault("query_embedding", sample_embedding(query))
        return source.search(query, **arguments)

    def test_it_says_what_it_brings(self) -> None:
        source = self.source(DOCUMENTS)
        equal(checks.identifier(source.name, "name"), source.name)
        equal(checks.feature_names(source.features), tuple(source.features))
        true(self.orders_by is None or self.orders_by in source.features, "it orders by a feature that it has not")

    def test_the_document_that_is_asked_for_stands_first(self) -> None:
        source = self.source(DOCUMENTS)
        for document in DOCUMENTS:
            equal(_first(self.ask(source, document.text, k=3)), document.id)

    def test_each_id_stands_once_and_is_one_of_the_documents(self) -> None:
        found = [one.id for one in self.ask(self.source(DOCUMENTS), "reset invoices mail")]
        true(set(found) <= {document.id for document in DOCUMENTS}, f"nobody gave it {found}")
        equal(len(set(found)), len(found))

    def test_every_document_has_exactly_the_features_that_it_brings_and_they_are_finite(self) -> None:
        source = self.source(DOCUMENTS)
        found = self.ask(source, "reset invoices mail")
        true(len(found) >= 2, "too little was found to look at")
        for one in found:
            equal(set(one.features), set(source.features))
            true(all(type(x) is float and math.isfinite(x) for x in one.features.values()), f"{one.features}")

    def test_the_best_stands_first(self) -> None:
        if self.orders_by is None:
            return
        values = [one.features[self.orders_by] for one in self.ask(self.source(DOCUMENTS), "reset invoices mail")]
        equal(values, sorted(values, reverse=True))
        true(len(set(values)) > 1, "all have the same number: nothing is told apart")

    def test_k_is_the_most(self) -> None:
        source = self.source(DOCUMENTS)
        whole = [one.id for one in self.ask(source, "reset invoices mail")]
        for k in (1, 2):
            equal([one.id for one in self.ask(source, "reset invoices mail", k=k)], whole[:k])

    def test_k_beyond_the_index_gives_what_there_is(self) -> None:
        source = self.source(DOCUMENTS[:3])
        true(len(self.ask(source, "reset invoices mail", k=10_000)) <= 3, "more than there is")
        equal(_first(self.ask(source, DOCUMENTS[1].text, k=10_000)), DOCUMENTS[1].id)

    def test_an_empty_index_has_no_candidates(self) -> None:
        source = self.source(())
        for query in ("reset", ""):
            equal(self.ask(source, query), [])

    def test_an_empty_query_is_legal(self) -> None:
        source = self.source(DOCUMENTS)
        for query in ("", "   ", "\N{NO-BREAK SPACE}", "."):
            found = self.ask(source, query)
            true(self.takes_embedding or not found, f"{query!r} names nothing, and {found} answer it")

    def test_letters_of_all_scripts_are_found(self) -> None:
        source = self.source(DOCUMENTS)
        for document in DOCUMENTS[4:9]:
            found = self.ask(source, document.text)
            equal(_first(found), document.id)
            true(found[0].text in {document.text, ""}, f"the text came back as {found[0].text!r}")
        for query in ("\N{KEY}\N{ZERO WIDTH JOINER}\N{KEY}", "日本語の検索", "מחק חשבון", "é" * 500):
            self.ask(source, query)

    def test_nothing_in_a_query_is_syntax(self) -> None:
        source = self.source(DOCUMENTS)
        for query in HOSTILE:
            for one in self.ask(source, query):
                true(one.id in {document.id for document in DOCUMENTS}, f"{query!r} brings {one.id!r}")
        equal(_first(self.ask(source, DOCUMENTS[0].text)), DOCUMENTS[0].id)

    def test_filters_let_only_their_values_through(self) -> None:
        source = self.source(DOCUMENTS)
        if not self.filterable:
            with Refused(ConfigError):
                self.ask(source, "reset", filters={"lang": "en"})
            return
        tried: tuple[dict[str, Any], ...] = (
            {"lang": "de"},
            {"year": 2025},
            {"lang": ["de", "fr"]},
            {"lang": "en", "year": [2024, 2025]},
        )
        for filters in tried:
            due = {document.id for document in DOCUMENTS if _passes(document, filters)}
            query = " ".join(document.text for document in DOCUMENTS)
            equal({one.id for one in self.ask(source, query, filters=filters)}, due)
            first = next(document for document in DOCUMENTS if document.id in due)
            equal(_first(self.ask(source, first.text, k=1, filters=filters)), first.id)

    def test_nothing_in_a_filter_is_syntax(self) -> None:
        if not self.filterable:
            return
        source = self.source(DOCUMENTS)
        for value in ("' OR 1=1 --", '"', "*", "en' --", "{}", "", "en\u2028"):
            equal(self.ask(source, "reset", filters={"lang": value}), [])
        for name in ("lang' --", 'lang" = "lang', "nowhere"):
            with contextlib.suppress(ConfigError):  # a store that knows its fields says so
                equal(self.ask(source, "reset", filters={name: "en"}), [])

    def test_the_same_question_has_the_same_answer(self) -> None:
        first, second = self.source(DOCUMENTS), self.source(DOCUMENTS)
        answers = [self.ask(source, "reset invoices mail") for source in (first, first, second)]
        for found in answers[1:]:
            equal([one.id for one in found], [one.id for one in answers[0]])
            equal([dict(one.features) for one in found], [dict(one.features) for one in answers[0]])

    def test_malformed_arguments_are_refused(self) -> None:
        source = self.source(DOCUMENTS)
        for k in (0, -1, True, 1.5, "3", None, 10_001):
            with Refused(RecordError):
                self.ask(source, "reset", k=k)
        for query in (None, 3, b"reset", "\ud800", "\x00", "a" * 70_000):
            with Refused(RecordError):
                source.search(query, query_embedding=sample_embedding("reset"))  # type: ignore[arg-type]
        malformed: tuple[Any, ...] = (
            "en",
            {"lang": []},
            {"lang": None},
            {"lang": 1.5},
            {"lang": True},
            {"": "en"},
            {"lang": ["en", 1]},
        )
        for filters in malformed:
            with Refused(DwellError):
                self.ask(source, "reset", filters=filters)

    def test_a_vector_that_can_not_be_compared_is_refused(self) -> None:
        if not self.takes_embedding:
            return
        source = self.source(DOCUMENTS)
        whole = DIMENSIONS
        bad: tuple[Any, ...] = (None, [], [1.0], [math.nan] * whole, [math.inf] * whole, "text", [[0.5] * whole])
        for vector in bad:
            with Refused(RecordError):
                source.search("reset", query_embedding=vector)

    def test_vectors_may_be_arrays(self) -> None:
        if not self.takes_embedding:
            return
        source, vector = self.source(DOCUMENTS), sample_embedding(DOCUMENTS[2].text)
        for kind in (np.float32, np.float64):
            equal(_first(source.search("", query_embedding=np.array(vector, dtype=kind), k=1)), DOCUMENTS[2].id)

    def test_threads_may_share_it(self) -> None:
        source = self.source(DOCUMENTS)
        alone = [[one.id for one in self.ask(source, document.text)] for document in DOCUMENTS]
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda i: [one.id for one in self.ask(source, DOCUMENTS[i % 10].text)], range(40))
            for i, ids in enumerate(found):
                equal(ids, alone[i % 10])

    def test_a_closed_source_says_so(self) -> None:
        source = self.source(DOCUMENTS)
        source.close()
        source.close()
        with Refused(StoreClosedError):
            self.ask(source, "reset")


def _first(found: Sequence[Found]) -> str | None:
    return found[0].id if found else None


def _passes(document: SampleDocument, filters: dict[str, Any]) -> bool:
    return all(
        document.metadata[name] in (given if isinstance(given, list) else [given]) for name, given in filters.items()
    )
