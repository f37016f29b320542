"""Queries whose one right answer is known, made from the corpus itself, with nothing of the answer left to find.

Two families. A *summary* query is the first sentence of an entry, thinned to two to five words; a *reference* query is
the sentence in which another entry names it, the name masked, thinned alike. Both sentences are removed from
everything that is indexed, wherever they stand.

Source: L. Azzopardi, M. de Rijke, K. Balog, "Building simulated queries for known-item topics", SIGIR 2007: terms drawn
from the known item by how well they discriminate, mixed with noise from the collection. Here the terms come from a
sentence that the item no longer holds, so no query is a piece of the text that it must find.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dwell.demo.documents import Document, sentences
from dwell.demo.links import mention_finder, with_links
from dwell.errors import ConfigError
from dwell.retrieval.analysis import content_terms, terms

Family = Literal["summary", "reference"]

#: An entry with fewer words left once its summary is gone has nothing left to be found by: it is not indexed.
MIN_REMAINING_WORDS = 5

#: A shorter summary or passage ("Return true.") stands in many entries and identifies none.
MIN_SENTENCE_WORDS = 4

#: Longer "sentences" are tables, grammars and signatures without a full stop.
_MAX_SENTENCE_WORDS = 60

#: Words of a query: two to five, as in logs of site search.
MIN_QUERY_WORDS = 2
MAX_QUERY_WORDS = 5

#: Share of query words drawn from the whole collection instead of the sentence.
#: Source: Azzopardi et al. 2007, section 3: p(t|q) = (1 - noise) p(t|d) + noise p(t).
NOISE = 0.1

#: Words of a query that its answer must still hold. Visitors who look for a known item know it: with none required,
#: two queries in five shared no word with what was left of their answer, and no retriever could be blamed for them.
MIN_SHARED_WORDS = 2

#: Reference queries for one answer; `print` alone is named in forty places.
_MAX_PER_ANSWER = 3

#: Draws tried per sentence before it is given up.
_N_DRAWS = 4

_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class KnownItemQuery:
    """A query with its one right answer.

    Attributes:
        query_id: unique within its set, a legal id.
        text: what is searched for: two to five words.
        answer: id of the one document that is right.
        family: what kind of sentence it was made of.
        sentence: that sentence. It stands nowhere in what is indexed; for display and audit, never for search.
    """

    query_id: str
    text: str
    answer: str
    family: Family
    sentence: str

    def grade(self, doc_id: str) -> float:
        """1 for the answer, 0 for every other document."""
        return float(doc_id == self.answer)


@dataclass(frozen=True, slots=True)
class KnownItemTask:
    """What must be indexed, and the queries over it.

    Attributes:
        documents: the corpus as it must be indexed: no summary and no quoted passage stands in any body or title,
            links are counted in what is left. `Document.summary` is still there, for display only.
        train: queries to learn from.
        test: queries to judge with. No answer occurs in both.
    """

    documents: tuple[Document, ...]
    train: tuple[KnownItemQuery, ...]
    test: tuple[KnownItemQuery, ...]


@dataclass(frozen=True, slots=True)
class _Source:
    """A sentence that becomes a query once `masked` terms are out of it."""

    answer: str
    family: Family
    sentence: str
    masked: frozenset[str]


def words(text: str) -> list[str]:
    """Case-folded words of `text`: two sentences with the same words say the same."""
    return list(map(str.casefold, _WORD.findall(text)))


def own_name(title: str) -> str:
    """What an entry itself is called: the end of a dotted name, the last heading of a section."""
    return title.rpartition(": ")[2] if ": " in title else title.rpartition(".")[2]


# ------------------------------------------------------------------------------------------------------------- removing


class _Phrases:
    """Sentences to be removed wherever they stand, found by their words whatever the spacing, case and marks."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._by_start: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
        for phrase in sorted({tuple(words(phrase)) for phrase in phrases}):
            if len(phrase) >= MIN_SENTENCE_WORDS:
                self._by_start[phrase[:MIN_SENTENCE_WORDS]].append(phrase)
        self._first_words = frozenset(start[0] for start in self._by_start)

    def removed_from(self, text: str) -> str:
        """`text` without any of the phrases; equal to `text` where it holds none."""
        folded = words(text)
        if not self._may_stand_in(folded):
            return text
        places = [match.span() for match in _WORD.finditer(text)]
        kept: list[str] = []
        done = index = 0
        while index + MIN_SENTENCE_WORDS <= len(folded):
            length = self._longest_at(folded, index) if folded[index] in self._first_words else 0
            if length:
                kept.append(text[done : places[index][0]])
                done = places[index + length - 1][1]
                index += length
            else:
                index += 1
        return "".join([*kept, text[done:]]).strip() if done else text

    def _may_stand_in(self, folded: Sequence[str]) -> bool:
        starts = zip(*(folded[first:] for first in range(MIN_SENTENCE_WORDS)), strict=False)
        return not self._by_start.keys().isdisjoint(starts)

    def _longest_at(self, folded: Sequence[str], index: int) -> int:
        found = self._by_start.get(tuple(folded[index : index + MIN_SENTENCE_WORDS]), ())
        return max((len(p) for p in found if tuple(folded[index : index + len(p)]) == p), default=0)


def _without_summary(document: Document) -> str:
    spans = sentences(document.body)
    return document.body[spans[0][1] :].lstrip(" \t\n.!?") if spans else ""


def _indexed(documents: Sequence[Document], phrases: _Phrases) -> tuple[Document, ...]:
    """The documents with what must be indexed: until nothing changes, because a removal may join two halves."""
    kept: dict[tuple[str, ...], Document] = {}
    for document in documents:
        body = document.body
        while (shorter := phrases.removed_from(body)) != body:
            body = shorter
        said = tuple(words(body))
        if len(said) >= MIN_REMAINING_WORDS:
            kept.setdefault(said, replace(document, body=body))
    return tuple(kept.values())


def _title_checker(documents: Sequence[Document]) -> Callable[[str], bool]:
    """Whether a sentence of `MIN_SENTENCE_WORDS` or more stands in some title, from where it can not be removed."""
    said = [words(document.title) for document in documents]
    titles = "".join(f" {' '.join(title)} |" for title in said)
    # nearly every sentence is told by its first words alone
    starts = {
        tuple(title[first : first + MIN_SENTENCE_WORDS])
        for title in said
        for first in range(len(title) - MIN_SENTENCE_WORDS + 1)
    }

    def stands_in_a_title(sentence: str) -> bool:
        asked = words(sentence)
        return tuple(asked[:MIN_SENTENCE_WORDS]) in starts and f" {' '.join(asked)} " in titles

    return stands_in_a_title


# -------------------------------------------------------------------------------------------------------------- sources


def _summary_sources(documents: Sequence[Document]) -> Iterator[_Source]:
    for document in documents:
        if MIN_SENTENCE_WORDS <= len(words(document.summary)) <= _MAX_SENTENCE_WORDS:
            masked = frozenset(terms(own_name(document.title)))
            yield _Source(document.doc_id, "summary", document.summary, masked)


def _reference_sources(documents: Sequence[Document]) -> Iterator[_Source]:
    """Every sentence that names exactly one other entry, with what names it masked."""
    find = mention_finder(documents)
    titles = {document.doc_id: document.title for document in documents}
    for document in documents:
        mentions = find(document)
        for start, end in sentences(document.body):
            named = [mention for mention in mentions if start <= mention.start and mention.end <= end]
            passage = document.body[start:end]
            if len({mention.doc_id for mention in named}) != 1:
                continue
            if MIN_SENTENCE_WORDS <= len(words(passage)) <= _MAX_SENTENCE_WORDS:
                answer = named[0].doc_id
                said = " ".join(document.body[mention.start : mention.end] for mention in named)
                yield _Source(
                    answer, "reference", passage, frozenset(terms(said)) | frozenset(terms(own_name(titles[answer])))
                )


# ------------------------------------------------------------------------------------------------------------- thinning


class _Thinner:
    """Draws a few words of a sentence, those that discriminate first, with some noise of the collection."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._left = {entry.doc_id: frozenset(content_terms(f"{entry.title} {entry.body}")) for entry in documents}
        self._frequency = Counter(term for left in self._left.values() for term in left)
        self._vocabulary = sorted(self._frequency)
        counts = np.array([self._frequency[term] for term in self._vocabulary], dtype=np.float64)
        self._cumulative = np.cumsum(counts)
        self._known_idf: dict[str, float] = {}

    def shares_enough(self, query: str, answer: str) -> bool:
        """Whether what is left of the answer holds enough words of the query."""
        return len(self._left.get(answer, frozenset()) & set(content_terms(query))) >= MIN_SHARED_WORDS

    def _idf(self, word: str) -> float:
        found = self._known_idf.get(word)
        if found is None:
            found = self._known_idf[word] = self._idf_of(word)
        return found

    def _idf_of(self, word: str) -> float:
        return max(math.log1p(len(self._left) / (1 + self._frequency[term])) for term in content_terms(word))

    def _choices(self, source: _Source) -> list[str]:
        """Words of the sentence that may be drawn: no function words, no numbers, nothing of the masked name."""
        found: dict[str, None] = {}
        for match in _WORD.finditer(source.sentence):
            said = content_terms(match.group())
            if said and source.masked.isdisjoint(said) and len(match.group()) > 1 and not match.group().isdigit():
                found.setdefault(match.group())
        return list(found)

    def thinned(self, source: _Source, rng: np.random.Generator) -> str | None:
        """The query, in the order of the sentence; None where no draw leaves enough words that the answer holds."""
        choices = self._choices(source) if source.answer in self._left else []
        if len(choices) < MIN_QUERY_WORDS:
            return None
        idf = np.array([self._idf(word) for word in choices])
        for _ in range(_N_DRAWS):
            n_words = min(int(rng.integers(MIN_QUERY_WORDS, MAX_QUERY_WORDS + 1)), len(choices))
            drawn = np.sort(rng.choice(len(choices), size=n_words, replace=False, p=idf / idf.sum()))
            query = " ".join(self._noisy([choices[index] for index in drawn], source.masked, rng))
            if self.shares_enough(query, source.answer):
                return query
        return None

    def _noisy(self, query: Sequence[str], masked: frozenset[str], rng: np.random.Generator) -> list[str]:
        said = list(query)
        for position in np.flatnonzero(rng.random(len(said)) < NOISE):
            place = np.searchsorted(self._cumulative, rng.random() * self._cumulative[-1], side="right")
            strange = self._vocabulary[int(place)]
            if masked.isdisjoint(content_terms(strange)) and strange not in said:
                said[position] = strange
        return said


# ----------------------------------------------------------------------------------------------------------------- task


def known_item_task(
    documents: Sequence[Document],
    rng: np.random.Generator,
    *,
    n_queries: int = 1200,
    test_share: float = 0.4,
    reference_share: float = 0.4,
) -> KnownItemTask:
    """The corpus as it must be indexed, and at most `n_queries` queries with known answers over it.

    Queries are split by answer: what is right for a training query is right for no test query. The same documents
    and the same state of `rng` give the same task.

    Args:
        documents: as read; ids unique.
        rng: source of every draw.
        n_queries: how many queries to make, both families and both parts together; fewer where the corpus holds fewer.
        test_share: share of the answers kept for the test part, in (0, 1).
        reference_share: share of reference queries asked for, in [0, 1]; the rest are summary queries.

    Raises:
        ConfigError: an argument is out of range, two documents share an id, or no query can be made of the corpus.
    """
    _check(documents, n_queries=n_queries, test_share=test_share, reference_share=reference_share)
    without_summaries = [replace(document, body=_without_summary(document)) for document in documents]
    phrases = [document.summary for document in documents]
    before = _indexed(without_summaries, _Phrases(phrases))
    in_title = _title_checker(before)
    drawn = _drawn(
        [source for source in _reference_sources(without_summaries) if not in_title(source.sentence)],
        _Thinner(before),
        rng,
        limit=round(n_queries * reference_share),
    )
    indexed = _indexed(before, _Phrases([*phrases, *(source.sentence for source, _ in drawn)]))
    thinner = _Thinner(indexed)
    made = [(source, text) for source, text in drawn if thinner.shares_enough(text, source.answer)]
    summaries = [source for source in _summary_sources(indexed) if not in_title(source.sentence)]
    made += _drawn(summaries, thinner, rng, limit=n_queries - len(made))
    queries = [
        KnownItemQuery(f"{source.family}-{number:05d}", text, source.answer, source.family, source.sentence)
        for number, (source, text) in enumerate(made)
    ]
    train, test = _split(queries, rng, test_share)
    if not train or not test:
        raise ConfigError(
            f"only {len(queries)} queries with known answers can be made of {len(documents)} documents",
            hint="give a corpus with more documents of several sentences each",
            field="corpus",
            value=len(documents),
        )
    return KnownItemTask(with_links(indexed), train, test)


def _drawn(
    sources: Sequence[_Source], thinner: _Thinner, rng: np.random.Generator, *, limit: int
) -> list[tuple[_Source, str]]:
    """Up to `limit` sources in random order, each with its query; few of the same answer, no sentence twice."""
    made: list[tuple[_Source, str]] = []
    n_of_answer: Counter[str] = Counter()
    used: set[tuple[str, ...]] = set()
    for index in rng.permutation(len(sources)):
        source = sources[index]
        said = tuple(words(source.sentence))
        if len(made) == limit:
            break
        if said in used or n_of_answer[source.answer] == _MAX_PER_ANSWER:
            continue
        text = thinner.thinned(source, rng)
        if text is not None:
            used.add(said)
            n_of_answer[source.answer] += 1
            made.append((source, text))
    return made


def _split(
    queries: Sequence[KnownItemQuery], rng: np.random.Generator, test_share: float
) -> tuple[tuple[KnownItemQuery, ...], tuple[KnownItemQuery, ...]]:
    answers = sorted({query.answer for query in queries})
    drawn = rng.permutation(len(answers))[: round(len(answers) * test_share)]
    kept_for_test = {answers[index] for index in drawn}
    train = tuple(query for query in queries if query.answer not in kept_for_test)
    return train, tuple(query for query in queries if query.answer in kept_for_test)


def _check(documents: Sequence[Document], *, n_queries: int, test_share: float, reference_share: float) -> None:
    if len({document.doc_id for document in documents}) != len(documents):
        raise ConfigError("two documents share an id", hint="make ids unique", field="documents", value=len(documents))
    if n_queries < 2:
        raise ConfigError("a task needs a query on each side", hint="at least 2", field="n_queries", value=n_queries)
    if not 0.0 < test_share < 1.0:
        raise ConfigError("not a share", hint="between 0 and 1, both excluded", field="test_share", value=test_share)
    if not 0.0 <= reference_share <= 1.0:
        raise ConfigError("not a share", hint="between 0 and 1", field="reference_share", value=reference_share)
