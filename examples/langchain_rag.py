"""A plain RAG pipeline of LangChain that learns its order from simulated users, in three lines marked with a number.

Run it: `pip install 'dwell[langchain]'`, then `python langchain_rag.py`. It needs no network and leaves nothing behind.

The text is the documentation of the running Python. Simulated users look for one entry each, ask with words of its name
and of its first line, look from the top, the less the deeper, and call helpful what they were looking for. What is
measured is what other simulated users get, who taught the loop nothing.
"""

from __future__ import annotations

import asyncio
import collections
import functools
import heapq
import importlib
import inspect
import math
import random
import re
import string
import textwrap
import time
import uuid
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough

import dwell
from dwell.integrations.langchain import DwellRetriever, feedback_for_run

MODULES = (asyncio, collections, functools, heapq, inspect, math, random, re, string, textwrap)
MORE = ("argparse", "csv", "datetime", "decimal", "fractions", "itertools", "json", "logging", "os", "pathlib")
MORE += ("shutil", "sqlite3", "statistics", "subprocess", "tempfile", "threading", "unittest", "urllib.parse")
FEATURES = ["reciprocal_rank", "bm25", "title", "first_line"]
STARTING = {"reciprocal_rank": 0.0, "bm25": 1.0, "title": 0.0, "first_line": 0.0}  # the order of the plain pipeline
# a real application has thousands of users and the defaults; these few hundred are told more by less exploration and a
# larger step
SETTINGS: dict[str, Any] = {"temperature": 0.1, "config": {"learner": {"step_size": 0.01}}, "rewards": "rag"}
N_SHOWN = 10


def words_of(text: str) -> list[str]:
    """Return the words of a text, of three letters or more."""
    return re.findall(r"[a-z]{3,}", text.lower())


def corpus() -> list[Document]:
    """Return one document for each documented name of some modules, an inherited text once."""
    found: dict[str, Document] = {}
    for module in (*MODULES, *map(importlib.import_module, MORE)):
        for name, member in inspect.getmembers(module):
            text = inspect.getdoc(member) if not name.startswith("_") and callable(member) else None
            if text and len(words_of(text)) > 5 and text not in found:
                title = f"{module.__name__}.{name}"
                found[text] = Document(page_content=text, id=title, metadata={"first": text.split("\n", 1)[0]})
    return list(found.values())


class BM25(BaseRetriever):
    """The plain pipeline's own retriever (Robertson, Zaragoza 2009, k1 = 1.2, b = 0.75), with where words match."""

    documents: list[Document]
    postings: dict[str, list[tuple[int, float]]]

    @classmethod
    def over(cls, documents: list[Document]) -> BM25:
        """Return a retriever over documents."""
        counts = [Counter(words_of(one.page_content)) for one in documents]
        mean = sum(one.total() for one in counts) / len(counts)
        n_with = Counter(word for one in counts for word in one)
        postings: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for i, one in enumerate(counts):
            length = 1.2 * (0.25 + 0.75 * one.total() / mean)
            for word, n in one.items():
                rarity = math.log(1 + (len(counts) - n_with[word] + 0.5) / (n_with[word] + 0.5))
                postings[word].append((i, rarity * n * 2.2 / (n + length)))
        return cls(documents=documents, postings=dict(postings))

    def _get_relevant_documents(self, query: str, **_: object) -> list[Document]:
        words, scores = words_of(query), defaultdict[int, float](float)
        for word in words:
            for i, score in self.postings.get(word, ()):
                scores[i] += score
        best = heapq.nsmallest(N_SHOWN, scores, key=lambda i: (-scores[i], i))
        return [self._described(self.documents[i], scores[i], words) for i in best]

    def _described(self, found: Document, score: float, words: list[str]) -> Document:
        title, first = words_of(found.id or ""), words_of(found.metadata["first"])
        share = {"title": title, "first_line": first}
        matched = {name: sum(word in text for word in words) / len(words) for name, text in share.items()}
        return Document(page_content=found.page_content, id=found.id, metadata={"bm25": score, **matched})


class Visit(NamedTuple):
    """One simulated user with one question."""

    user: str
    query: str
    wanted: str


def visits(documents: list[Document], n: int, who: str, rng: random.Random) -> list[Visit]:
    """Return what simulated users look for: each an entry, with two words of its name and one of its first line."""
    found = []
    while len(found) < n:
        wanted = rng.choice(documents)
        name, first = words_of(wanted.id or ""), words_of(wanted.metadata["first"])
        if first:
            query = f"{rng.choice(name)} {rng.choice(name)} {rng.choice(first)}"
            found.append(Visit(f"{who}-{len(found)}", query, wanted.id or ""))
    return found


def rated(visit: Visit, shown: list[Document], rng: random.Random) -> list[Document]:
    """Return what a simulated user calls helpful: what was wanted, if seen, and one in fifty of the others seen."""
    seen = [one for i, one in enumerate(shown) if rng.uniform(0, 1) < 1 / (i + 1) ** 0.5]
    return [one for one in seen if one.id == visit.wanted or rng.uniform(0, 1) < 0.02]


def reciprocal_ranks(retriever: BaseRetriever, asked: list[Visit]) -> list[float]:
    """Return 1 / the rank of what was wanted for each visit, 0 where it is not among those shown."""
    ranks = []
    for visit in asked:
        ids = [one.id for one in retriever.invoke(visit.query, {"configurable": {"user_id": visit.user}})]
        ranks.append(1 / (ids.index(visit.wanted) + 1) if visit.wanted in ids else 0.0)
    return ranks


def first_lines(found: list[Document]) -> str:
    """Return what the model is told of what was found."""
    return "\n".join(one.page_content.split("\n", 1)[0] for one in found)


def interval(values: list[float]) -> tuple[float, float]:
    """Return a mean and the half-width of its 95 % interval (normal: there are hundreds)."""
    mean = sum(values) / len(values)
    variance = sum((one - mean) ** 2 for one in values) / (len(values) - 1)
    return mean, 1.96 * math.sqrt(variance / len(values))


def main(n_visits: int = 250, n_held_out: int = 150, seed: int = 7) -> tuple[float, float]:
    """Print how the order of the plain pipeline changed; return the gain in mean reciprocal rank and its half-width."""
    rng = random.Random(seed)
    documents = corpus()
    retriever: BaseRetriever = BM25.over(documents)
    prompt = ChatPromptTemplate.from_template("Answer from this:\n{context}\n\nQuestion: {question}")
    model = FakeListChatModel(responses=["(what a model makes of it)"])
    asked = visits(documents, n_held_out, "held-out", rng)  # nobody of these is among those who teach
    before = reciprocal_ranks(retriever, asked)

    loop = dwell.open(":memory:", features=FEATURES, weights=STARTING, pepper=b"an example's pepper", **SETTINGS)  # 1
    retriever = DwellRetriever(base=retriever, loop=loop, k=N_SHOWN)  # 2
    chain = {"context": retriever | first_lines, "question": RunnablePassthrough()} | prompt | model | StrOutputParser()
    print(f"{len(documents)} entries, {n_held_out} held-out users, and a pipeline: {chain.invoke('read a csv file')}")

    for part in range(3):
        for visit in visits(documents, n_visits, f"part {part}", rng):
            run_id = uuid.UUID(int=rng.getrandbits(128))
            found = retriever.invoke(visit.query, {"configurable": {"user_id": visit.user}}, run_id=run_id)
            for document in rated(visit, found, rng):
                feedback_for_run(loop, run_id, "helpful", doc=document)  # 3
        decision = loop.train(now=time.time() + 1_800.0).decision
        print(f"{n_visits} more simulated users: {decision.verdict}, {decision.reasons[0]}")

    after = reciprocal_ranks(retriever, asked)
    gain = interval([new - old for new, old in zip(after, before, strict=True)])
    for name, ranks in (("before, plain:", before), ("after, with dwell:", after)):
        print("mean reciprocal rank of what was wanted, {:18} {:.3f} +- {:.3f}".format(name, *interval(ranks)))
    print("gain for the same held-out users: {:+.3f} +- {:.3f} (95 % interval)".format(*gain))
    print("weights:", {name: round(weight, 3) for name, weight in loop.params.weights.items()})
    loop.close()
    return gain


if __name__ == "__main__":
    main()
