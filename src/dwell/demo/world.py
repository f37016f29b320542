"""Everything that is fixed before the first search: the corpus, the queries, their candidates, and what is wanted."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dwell.demo.corpus import folder, python_documentation
from dwell.demo.measures import ideal_gain
from dwell.demo.queries import KnownItemQuery, known_item_task
from dwell.demo.tastes import Entry, Taste, described, grades_of, two_tastes
from dwell.errors import ConfigError
from dwell.records.arrays import FloatArray
from dwell.retrieval import FEATURE_NAMES, Retriever

__all__ = ["N_CANDIDATES", "START", "Search", "World", "build_world"]

N_CANDIDATES: Final = 50  # as docs/demo-corpus.md measures it: the known item is among them for nine queries in ten

#: The starting ranker, on raw features: a formula as people write it by hand.
START: Final[Mapping[str, float]] = MappingProxyType(
    {name: float(name in {"bm25", "bm25_title", "popularity", "length"}) for name in FEATURE_NAMES}
)


@dataclass(frozen=True, slots=True, eq=False)
class Search:
    """A query with its candidates and how much each is wanted.

    Attributes:
        text: What is typed.
        answer: Id of the known item.
        ids: n candidates in the retriever's own order.
        features: (n, f) float64.
        grades: For each taste, float64 (n,) in [0, 1].
        ideal: For each taste, DCG@10 of the best order of the candidates, the known item counted even if it is missing.
    """

    text: str
    answer: str
    ids: tuple[str, ...]
    features: NDArray[np.float64]
    grades: tuple[FloatArray, FloatArray]
    ideal: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What the demo is played in.

    Attributes:
        name: Where the text comes from.
        n_documents: Entries indexed.
        skipped: What was not read, "name: reason".
        train: Searches that visitors make, each with two candidates or more.
        test: Searches that measure, and are never made.
        tastes: What visitors want at first, and what they want later.
    """

    name: str
    n_documents: int
    skipped: tuple[str, ...]
    train: tuple[Search, ...]
    test: tuple[Search, ...]
    tastes: tuple[Taste, Taste]


def build_world(corpus: Path | None, seed: int, *, on_step: Callable[[str], None] = lambda _: None) -> World:
    """Return the world of a corpus and a seed; the same for the same text and seed.

    Args:
        corpus: A folder of text, or None for the documentation of the running Python.
        seed: Seeds the queries.
        on_step: Told what is being done.

    Raises:
        ConfigError: The corpus can not be read, or no queries can be made of it.
    """
    on_step("reading the corpus")
    # the task finds the links itself, in what is left once the answers' sentences are gone
    read = python_documentation(has_links=False) if corpus is None else folder(corpus, has_links=False)
    on_step("making queries with known answers")
    task = known_item_task(read.documents, np.random.default_rng([seed, 0]))
    on_step("indexing")
    entries = described(task.documents)
    tastes = two_tastes(entries)
    with Retriever.build(task.documents) as retriever:
        on_step("finding candidates")
        train = [_search(retriever, query, tastes, entries) for query in task.train]
        test = [_search(retriever, query, tastes, entries) for query in task.test]
    usable = tuple(search for search in train if len(search.ids) > 1)
    if not usable:
        raise ConfigError(
            "no query finds two entries, so there is nothing to rank",
            field="corpus",
            value=read.name,
            hint="Give a corpus with more text.",
        )
    return World(
        name=read.name,
        n_documents=len(task.documents),
        skipped=tuple(f"{left_out.name}: {left_out.reason}" for left_out in read.skipped),
        train=usable,
        test=tuple(test),
        tastes=tastes,
    )


def _search(
    retriever: Retriever, query: KnownItemQuery, tastes: Sequence[Taste], entries: Mapping[str, Entry]
) -> Search:
    found = retriever.search(query.text, N_CANDIDATES)
    # a known item that was not found is a loss that every ranker shares: without it in the ideal it would not show
    wanted = found.ids if query.answer in found.ids else (*found.ids, query.answer)
    grades = [grades_of(query.answer, wanted, taste, entries) for taste in tastes]
    ideal = [ideal_gain(graded) for graded in grades]
    shown = [graded[: len(found)] for graded in grades]
    return Search(
        text=query.text,
        answer=query.answer,
        ids=found.ids,
        features=found.features,
        grades=(shown[0], shown[1]),
        ideal=(ideal[0], ideal[1]),
    )
