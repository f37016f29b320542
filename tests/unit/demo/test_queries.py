"""Queries with known answers: nothing of an answer is left in what is indexed, and nothing of its name in the query."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dwell.demo.corpus import folder, python_documentation
from dwell.demo.documents import Document
from dwell.demo.links import with_links
from dwell.demo.queries import (
    MAX_QUERY_WORDS,
    MIN_QUERY_WORDS,
    MIN_REMAINING_WORDS,
    MIN_SENTENCE_WORDS,
    MIN_SHARED_WORDS,
    KnownItemTask,
    known_item_task,
    own_name,
)
from dwell.errors import ConfigError
from dwell.retrieval.analysis import content_terms, terms

DOCUMENTS = python_documentation().documents


@pytest.fixture(scope="module")
def task() -> KnownItemTask:
    return known_item_task(DOCUMENTS, np.random.default_rng(7))


def said(text: str) -> str:
    """The words of a text, one space apart and around: a way to compare of the test's own."""
    return f" {' '.join(re.sub(r'[^0-9a-z]+', ' ', text.lower()).split())} "


def test_no_summary_stands_in_anything_that_is_indexed(task: KnownItemTask) -> None:
    everything = "|".join(said(document.body) for document in task.documents)
    summaries = [document.summary for document in DOCUMENTS if document.summary.isascii()]
    checked = [summary for summary in summaries if len(said(summary).split()) >= MIN_SENTENCE_WORDS]
    assert len(checked) > 2_000
    assert [summary for summary in checked if said(summary) in everything] == []


def test_the_sentence_of_a_query_was_in_the_corpus_and_is_in_no_title_or_body(task: KnownItemTask) -> None:
    read = "|".join(said(f"{document.body}") for document in DOCUMENTS)
    indexed = "|".join(said(document.body) + "|" + said(document.title) for document in task.documents)
    for query in (*task.train, *task.test):
        assert said(query.sentence) in read
        assert said(query.sentence) not in indexed
    families = [query.family for query in (*task.train, *task.test)]
    assert families.count("summary") > 300
    assert families.count("reference") > 50


def test_no_query_names_its_answer(task: KnownItemTask) -> None:
    title_of = {document.doc_id: document.title for document in task.documents}
    for query in (*task.train, *task.test):
        assert not set(terms(own_name(title_of[query.answer]))) & set(terms(query.text)), query


def test_a_reference_query_holds_nothing_of_the_name_as_its_passage_says_it(task: KnownItemTask) -> None:
    title_of = {document.doc_id: document.title for document in task.documents}
    queries = [query for query in (*task.train, *task.test) if query.family == "reference"]
    for query in queries:
        # The passage says a dotted end of the title; all of it is masked, not only the last part.
        dotted = re.findall(r"\w+(?:\.\w+)*", query.sentence)
        ends = [name for name in dotted if f".{title_of[query.answer]}".endswith(f".{name}")]
        assert ends, query
        assert not {term for name in ends for term in terms(name)} & set(terms(query.text)), query


def test_queries_are_short_and_their_answers_can_be_found(task: KnownItemTask) -> None:
    left = {document.doc_id: set(content_terms(document.title + " " + document.body)) for document in task.documents}
    for query in (*task.train, *task.test):
        assert MIN_QUERY_WORDS <= len(query.text.split()) <= MAX_QUERY_WORDS
        assert len(left[query.answer] & set(content_terms(query.text))) >= MIN_SHARED_WORDS
        assert query.grade(query.answer) == 1.0
        assert query.grade("another") == 0.0


def test_answers_are_split_and_ids_are_unique(task: KnownItemTask) -> None:
    assert not {query.answer for query in task.train} & {query.answer for query in task.test}
    ids = [query.query_id for query in (*task.train, *task.test)]
    assert len(set(ids)) == len(ids)
    share = len({query.answer for query in task.test}) / len({query.answer for query in (*task.train, *task.test)})
    assert share == pytest.approx(0.4, abs=0.001)


def test_popularity_is_counted_in_what_is_left(task: KnownItemTask) -> None:
    recounted = with_links([replace(document, links=()) for document in task.documents])
    assert [document.links for document in recounted] == [document.links for document in task.documents]
    assert all(len(said(document.body).split()) >= MIN_REMAINING_WORDS for document in task.documents)


def test_the_same_seed_gives_the_same_task_and_another_seed_another() -> None:
    some = DOCUMENTS[:1200]
    first, again, other = (known_item_task(some, np.random.default_rng(seed), n_queries=60) for seed in (1, 1, 2))
    assert first == again
    assert first.train != other.train
    assert len(first.train) + len(first.test) == 60


def test_the_words_of_a_query_stand_in_the_order_of_its_summary() -> None:
    summary_of = {document.doc_id: said(document.summary).split() for document in DOCUMENTS}
    task = known_item_task(DOCUMENTS[:1500], np.random.default_rng(3), n_queries=100, reference_share=0.0)
    n_ordered = 0
    for query in (*task.train, *task.test):
        rest = iter(summary_of[query.answer])
        n_ordered += all(word in rest for word in said(query.text).split())
    # Noise replaces a word with probability 0.1, so at least 0.9**5 = 0.59 of the queries are a plain thinning.
    assert n_ordered / (len(task.train) + len(task.test)) > 0.5


def test_a_summary_repeated_elsewhere_is_removed_there_too() -> None:
    documents = [
        Document("m.alpha", "m.alpha", "Fold paper into cranes. Takes a square sheet of paper and folds the wings.",
                 "Fold paper into cranes."),
        Document("m", "m", "Origami things. Contents: alpha -- fold PAPER, into\n cranes; beta cuts sheets with care.",
                 "Origami things."),
        Document("m.beta", "m.beta", "Cut paper with sharp scissors. Takes scissors and a sheet of paper to cut up.",
                 "Cut paper with sharp scissors."),
        Document("m.gamma", "m.gamma", "Glue sheets of paper together. Takes glue, two sheets, and time to set.",
                 "Glue sheets of paper together."),
    ]  # fmt: skip
    task = known_item_task(documents, np.random.default_rng(0), n_queries=8)
    left = {document.doc_id: said(document.body) for document in task.documents}
    assert "cranes" not in left["m"]
    assert "beta cuts sheets with care" in left["m"]
    assert left["m.alpha"] == " takes a square sheet of paper and folds the wings "
    assert {document.doc_id: document.summary for document in task.documents}["m.alpha"] == "Fold paper into cranes."


def test_an_entry_loses_its_own_summary_however_short() -> None:
    task = known_item_task(DOCUMENTS, np.random.default_rng(0), n_queries=4)
    whole = {document.doc_id: said(document.body) for document in DOCUMENTS}
    short = [document for document in task.documents if len(said(document.summary).split()) < MIN_SENTENCE_WORDS]
    assert len(short) > 50
    for document in short:
        if document.summary.isascii():
            # Other sentences may be gone as well, so compare how often the words of the summary are said.
            n_before, n_after = (
                text.count(said(document.summary)) for text in (whole[document.doc_id], said(document.body))
            )
            assert n_after < n_before, document.doc_id


def test_a_folder_makes_a_task_by_the_same_code(tmp_path: Path) -> None:
    tools = ["hammer", "chisel", "plane", "drill", "clamp", "rasp"]
    for tool in tools:
        (tmp_path / f"{tool}.md").write_text(
            f"# {tool.title()}\n\nThe {tool} shapes hard oak {tool}wise on benches. Hard oak needs a steady bench and "
            f"sharp {tool}wise edges kept dry. It is stored with the others when evening comes.\n"
        )
    task = known_item_task(folder(tmp_path).documents, np.random.default_rng(0), n_queries=6)
    assert len(task.documents) == len(tools)
    assert {query.family for query in (*task.train, *task.test)} == {"summary"}


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"n_queries": 1}, "n_queries"),
        ({"test_share": 0.0}, "test_share"),
        ({"test_share": 1.0}, "test_share"),
        ({"test_share": float("nan")}, "test_share"),
        ({"reference_share": 1.5}, "reference_share"),
    ],
)
def test_arguments_out_of_range_are_refused_by_name(arguments: dict[str, float], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        known_item_task(DOCUMENTS[:10], np.random.default_rng(0), **arguments)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_corpus_without_enough_text_is_refused_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match="several sentences"):
        known_item_task([Document("a", "a", "One line.", "One line.")], np.random.default_rng(0))
    with pytest.raises(ConfigError, match="share an id"):
        known_item_task([DOCUMENTS[0], DOCUMENTS[0]], np.random.default_rng(0))
