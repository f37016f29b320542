"""Hybrid search over one SQLite file: FTS5 and vectors, begun with reciprocal rank fusion, weighed by what is clicked.

Run it: `python examples/hybrid_fts5.py`. Needs nothing but dwell. The users are simulated, and their taste is known:
they want pages about what they mean. Some pages only name the words, and BM25 can not tell: the vectors can.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

import dwell
from dwell.retrieval import Fts5Source, HybridRetriever, VectorSource, reciprocal_rank_fusion
from dwell.retrieval.hybrid import Gathered
from dwell.testing.users import PositionBasedUser

N_TOPICS, N_WORDS, N_FILLERS, N_DIMENSIONS = 16, 16, 200, 32
N_PAGES, N_ROUNDS, N_SEARCHES, N_USERS, N_JUDGED = 320, 3, 250, 400, 150
K_PER_SOURCE, HOUR_S = 15, 3_600.0
FAST = {"learner": {"step_size": 0.02}}  # seven times the default: three rounds are few


class World(NamedTuple):
    """Pages, what each is about, and the words of each topic."""

    texts: dict[str, str]
    topics: dict[str, int]
    words: list[list[str]]


def made_up(rng: np.random.Generator) -> World:
    """Return pages: half are about a topic in many of its words, half only name two words of it, again and again."""
    words = [[f"topic{t}word{w}" for w in range(N_WORDS)] for t in range(N_TOPICS)]
    texts, topics = {}, {}
    for i in range(N_PAGES):
        topic, is_about = int(rng.integers(N_TOPICS)), i % 2 == 0
        named = rng.choice(words[topic], size=7 if is_about else 2, replace=False)
        fillers = [f"filler{n}" for n in rng.integers(N_FILLERS, size=10)]
        texts[f"page-{i}"] = " ".join(rng.permutation([*named, *fillers, *(() if is_about else [*named, *named])]))
        topics[f"page-{i}"] = topic if is_about else -1
    return World(texts, topics, words)


def asked(world: World, topic: int, rng: np.random.Generator) -> str:
    """Return a query: three words of a topic."""
    return " ".join(rng.choice(world.words[topic], size=3, replace=False))


class Embedder:
    """Vectors in numpy: the singular value decomposition of which page holds which word."""

    def __init__(self, texts: Sequence[str]) -> None:
        vocabulary = sorted({word for text in texts for word in text.split()})
        self._row_of = {word: i for i, word in enumerate(vocabulary)}
        counts = np.zeros((len(texts), len(vocabulary)))
        for i, text in enumerate(texts):
            for word in set(text.split()):
                counts[i, self._row_of[word]] = 1.0
        self._weights = np.log(len(texts) / counts.sum(axis=0))
        _, _, directions = np.linalg.svd(counts * self._weights, full_matrices=False)
        self._directions = directions[:N_DIMENSIONS].T * self._weights[:, None]
        self.vectors = counts @ self._directions

    def __call__(self, query: str) -> list[float]:
        """Return the vector of a query."""
        known = [self._row_of[word] for word in query.split() if word in self._row_of]
        return self._directions[known].sum(axis=0).tolist()


def indexed(path: Path, world: World) -> None:
    """Write the pages into a table of SQLite, and an FTS5 index of it."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE pages (number INTEGER PRIMARY KEY, page TEXT, body TEXT)")
        database.executemany("INSERT INTO pages (page, body) VALUES (?, ?)", world.texts.items())
        database.execute("CREATE VIRTUAL TABLE words USING fts5(body, content='pages', content_rowid='number')")
        database.execute("INSERT INTO words (words) VALUES ('rebuild')")


def wanted(world: World, topic: int, ids: Sequence[str]) -> np.ndarray:
    """Return the probability that each page is what a user who means the topic is after."""
    return np.array([0.9 if world.topics[page] == topic else 0.05 for page in ids])


def quality(world: World, topic: int, found: Gathered, params: dwell.Params) -> float:
    """Return nDCG@10 of the candidates in the order of these params, by what users are known to want."""
    order = np.argsort(-params.score(found.features.astype(np.float32)), kind="stable")
    gains = wanted(world, topic, found.ids)
    discounts = 1.0 / np.log2(np.arange(2, 12))
    best = np.sort(gains)[::-1][:10]
    return float(gains[order][:10] @ discounts[: len(best)] / (best @ discounts[: len(best)]))


def run(folder: Path, seed: int) -> tuple[dwell.Params, dwell.Params, np.ndarray]:
    """Return the params begun with, those learned, and nDCG@10 of both on fresh queries, (N_JUDGED, 2)."""
    rng = np.random.default_rng(seed)
    world = made_up(rng)
    indexed(folder / "pages.db", world)
    embed = Embedder(list(world.texts.values()))
    texts = Fts5Source(folder / "pages.db", "words", content="pages", content_rowid="number", id_column="page")
    vectors = VectorSource(list(world.texts), embed.vectors, embed=embed)
    sources = [texts, vectors]
    start = reciprocal_rank_fusion(sources)

    user, clicked = PositionBasedUser(), []
    with dwell.open(
        ":memory:", features=start.features, weights=start.weights, config=FAST, pepper="example", seed=seed
    ) as loop:
        begun, search = loop.params, HybridRetriever(sources, loop, k_per_source=K_PER_SOURCE, deadline_s=30.0)
        now = 1.8e9  # an instant like any other, so that each run is the same
        for turn in range(N_ROUNDS):
            clicked.clear()
            for i in range(N_SEARCHES):
                topic = int(rng.integers(N_TOPICS))
                who = f"simulated-user-{rng.integers(N_USERS)}"
                served, _, _ = search.search(asked(world, topic, rng), user=who, event_id=f"{turn}/{i}", now=now)
                if served is not None:
                    is_clicked = user.clicks(wanted(world, topic, served.ids), rng)
                    clicked += [
                        {"event_id": served.event_id, "signal": "click", "doc": page}
                        for page, yes in zip(served.ids, is_clicked, strict=True)
                        if yes
                    ]
            loop.feedback_many(clicked, now=now)
            now += HOUR_S  # half an hour is waited for reactions; these searches are over
            report = loop.train(now=now)
            verdict = report.decision.verdict
            print(f"round {turn + 1}: {len(clicked)} clicks, {verdict}, params version {loop.params.version} is live")
        learned = loop.params
        topics = [int(topic) for topic in rng.integers(N_TOPICS, size=N_JUDGED)]
        judged = [(topic, search.gather(asked(world, topic, rng))) for topic in topics]
    texts.close()
    both = [[quality(world, topic, found, params) for params in (begun, learned)] for topic, found in judged]
    return begun, learned, np.array(both)


def main() -> None:
    """Print what was learned, and what it is worth."""
    with tempfile.TemporaryDirectory() as folder:
        begun, learned, both = run(Path(folder), seed=1)
    print(f"begun with, on raw values: {begun.weights}")
    start = 0.0 if learned.raw_score is None else learned.raw_score.coefficient
    print(f"learned, in standard deviations: {start:.2f} of what was begun with, and")
    for name, weight in learned.weights.items():
        print(f"  {weight:+.2f} {name}")
    print(f"nDCG@10 over {len(both)} fresh queries: {both[:, 0].mean():.3f} by RRF, {both[:, 1].mean():.3f} learned")


if __name__ == "__main__":
    main()
