"""The labelled sets that the benchmarks learn on, read into one shape and split by query.

Candidates are shuffled once, when a set is read: text sets come in the order of their first-stage score, and whoever
ties would otherwise inherit it ("tie leak").
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.retrieval import Retriever

__all__ = [
    "READERS",
    "MissingDataError",
    "Question",
    "Standardised",
    "World",
    "ridge_start",
    "ridge_weights",
    "shared_folder",
    "standardised",
]

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_SHUFFLE_SEED: Final = 7
_START_SEED: Final = 1  # which 5 % of the queries were labelled for the ranker that is learned from
_START_RIDGE: Final = 10.0
_START_SHARE: Final = 0.05
_N_CANDIDATES: Final = 50  # SciFact: what the retriever hands on, its own default
_TEST_SHARE: Final = 1.0 / 3.0  # SciFact: share of the judged queries that only test


class MissingDataError(Exception):
    """The sets are not on this machine."""


class Question(NamedTuple):
    """A query with its candidates and what is known of them.

    Attributes:
        query: The request.
        ids: n document ids, shuffled.
        features: float32 (n, f), finite.
        grades: int64 (n,), 0 is not relevant.
    """

    query: str
    ids: tuple[str, ...]
    features: npt.NDArray[np.float32]
    grades: IntArray


class World(NamedTuple):
    """A labelled set.

    Attributes:
        name: What it is called.
        feature_names: f names.
        train: Questions that are asked by users and labelled for the full-label baselines.
        test: Questions that only test; each has a relevant candidate.
        max_grade: Highest grade.
        weights: The logging ranker, {feature: weight} on raw values.
        start: The logging ranker in words.
        n_left_out: Test questions without any relevant candidate: no order of them is better than another.
    """

    name: str
    feature_names: tuple[str, ...]
    train: tuple[Question, ...]
    test: tuple[Question, ...]
    max_grade: int
    weights: Mapping[str, float]
    start: str
    n_left_out: int


def shared_folder(root: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the sets: DWELL_SHARED/data, else `../shared/data` beside the project.

    Raises:
        MissingDataError: It is not there.
    """
    given = environ.get("DWELL_SHARED")
    folder = (Path(given) if given else root.parent / "shared") / "data"
    if not folder.is_dir():
        raise MissingDataError(
            f"no folder {folder.name!r} in {'DWELL_SHARED' if given else '../shared'}: the labelled sets are no part "
            "of the project. Set DWELL_SHARED to the folder that holds data/."
        )
    return folder


def shuffled(question: Question, rng: np.random.Generator) -> Question:
    """Return the same question with its candidates in random order."""
    order = rng.permutation(len(question.ids))
    return Question(
        question.query,
        tuple(question.ids[i] for i in order),
        np.ascontiguousarray(question.features[order]),
        question.grades[order],
    )


def world_of(
    name: str,
    feature_names: Sequence[str],
    train: Iterable[Question],
    test: Iterable[Question],
    *,
    max_grade: int,
    weights: Mapping[str, float],
    start: str,
) -> World:
    """Return a set with its candidates shuffled and its unusable test questions left out."""
    rng = np.random.default_rng(_SHUFFLE_SEED)
    asked = tuple(shuffled(question, rng) for question in train)
    tested = [shuffled(question, rng) for question in test]
    usable = tuple(question for question in tested if question.grades.any())
    return World(name, tuple(feature_names), asked, usable, max_grade, dict(weights), start, len(tested) - len(usable))


# ---- lightgbm_rank


def read_svmlight(lines: Iterable[str], group_sizes: Sequence[int], n_features: int, prefix: str) -> list[Question]:
    """Return questions from svmlight lines, `grade index:value ...` with indices from 1, in groups of given sizes.

    Raises:
        ValueError: The groups do not add up to the lines.
    """
    grades, rows = [], []
    for line in lines:
        grade, *cells = line.split()
        row = np.zeros(n_features, dtype=np.float32)
        for cell in cells:
            index, value = cell.split(":")
            row[int(index) - 1] = float(value)
        grades.append(int(grade))
        rows.append(row)
    if sum(group_sizes) != len(rows):
        raise ValueError(f"groups of {sum(group_sizes)} documents in all, {len(rows)} lines")
    questions = []
    start = 0
    for i, size in enumerate(group_sizes):
        ids = tuple(f"{prefix}{i}-{j}" for j in range(size))
        part = slice(start, start + size)
        questions.append(Question(f"{prefix}{i}", ids, np.stack(rows[part]), np.array(grades[part], dtype=np.int64)))
        start += size
    return questions


def ridge_weights(questions: Sequence[Question], ridge: float) -> FloatArray:
    """Return weights on raw values, float64 (f,), of a ridge regression of the grades on standardised features."""
    x = np.concatenate([question.features for question in questions]).astype(np.float64)
    y = np.concatenate([question.grades for question in questions]).astype(np.float64)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    sd[sd == 0.0] = 1.0
    z = (x - mean) / sd
    weights: FloatArray = np.linalg.solve(z.T @ z + ridge * np.eye(x.shape[1]), z.T @ (y - y.mean())) / sd
    return weights


def ridge_start(questions: Sequence[Question], share: float, ridge: float, seed: int) -> FloatArray:
    """Return the weights of a ridge regression on a share of the questions, drawn by the seed."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(questions), max(2, int(share * len(questions))), replace=False)
    return ridge_weights([questions[i] for i in chosen], ridge)


def read_lightgbm_rank(shared: Path) -> World:
    """Return the learning-to-rank example of LightGBM: 300 anonymous features, grades 0 to 4."""
    parts = {}
    for part in ("train", "test"):
        sizes = [int(size) for size in _lines(shared / "lightgbm_rank" / f"rank.{part}.query")]
        lines = _lines(shared / "lightgbm_rank" / f"rank.{part}")
        parts[part] = read_svmlight(lines, sizes, 300, f"{part}-")
    names = tuple(f"f{j}" for j in range(1, 301))
    weights = ridge_start(parts["train"], _START_SHARE, _START_RIDGE, _START_SEED)
    return world_of(
        "lightgbm_rank",
        names,
        parts["train"],
        parts["test"],
        max_grade=4,
        weights=dict(zip(names, weights.tolist(), strict=True)),
        start="ridge regression (ridge 10) on 5 % of the labelled training queries",
    )


class Standardised(NamedTuple):
    """A set in units in which one learning rate suits all features.

    Attributes:
        train: Per training question, float64 (n, f).
        mean: float64 (f,), over the training documents.
        sd: float64 (f,).
        start: float64 (f,), the logging ranker in these units, its scores of mean spread 1.
    """

    train: list[FloatArray]
    mean: FloatArray
    sd: FloatArray
    start: FloatArray

    def scorer(self, weights: FloatArray) -> Callable[[npt.NDArray[np.float32]], FloatArray]:
        """Return a scorer of raw features."""
        return lambda features: (features.astype(np.float64) - self.mean) / self.sd @ weights


def standardised(world: World) -> Standardised:
    """Return the training questions in standardised units, with the logging ranker in them."""
    x = np.concatenate([question.features for question in world.train]).astype(np.float64)
    mean, sd = x.mean(axis=0), x.std(axis=0)
    sd[sd == 0.0] = 1.0
    train = [(question.features.astype(np.float64) - mean) / sd for question in world.train]
    start = np.array([world.weights[name] for name in world.feature_names]) * sd
    spread = float(np.mean([(z @ start).std() for z in train]))
    return Standardised(train, mean, sd, start / spread)


# ---- text sets


def read_cranfield(shared: Path) -> World:
    """Return Cranfield: the best 100 of BM25 with 12 named features, one of them noise on purpose."""
    path = shared / "text_ltr" / "cranfield.npz"
    _require(path)
    with np.load(path) as arrays:
        names = [str(name) for name in arrays["features"]]
        train, test = (_groups(arrays, part) for part in ("train", "test"))
    weights = {name: float(name == "bm25_all") for name in names}
    return world_of("cranfield", names, train, test, max_grade=4, weights=weights, start="BM25 alone (bm25_all)")


def _groups(arrays: Mapping[str, npt.NDArray[Any]], part: str) -> list[Question]:
    ends = np.cumsum(arrays[f"g_{part}"])
    found = []
    for query, start, end in zip(arrays[f"q_{part}"], [0, *ends[:-1].tolist()], ends.tolist(), strict=True):
        ids = tuple(str(doc) for doc in arrays[f"d_{part}"][start:end])
        grades = arrays[f"y_{part}"][start:end].astype(np.int64)
        found.append(Question(str(query), ids, arrays[f"X_{part}"][start:end].astype(np.float32), grades))
    return found


class Abstract(NamedTuple):
    """A document of SciFact, as `dwell.retrieval` takes it."""

    doc_id: str
    title: str
    body: str
    links: tuple[str, ...] = ()
    modified_at: float | None = None


def read_scifact(shared: Path) -> World:
    """Return SciFact: claims against 5,183 abstracts, candidates and features by `dwell.retrieval`, grades 0 and 1."""
    folder = shared / "scifact"
    grades = read_qrels(_lines(folder / "qrels" / "train.tsv"))
    queries = {entry["_id"]: str(entry["text"]) for entry in map(json.loads, _lines(folder / "queries.jsonl"))}
    documents = (json.loads(line) for line in _lines(folder / "corpus.jsonl"))
    abstracts = [Abstract(str(entry["_id"]), str(entry["title"]), str(entry["text"])) for entry in documents]
    questions = []
    with Retriever.build(abstracts) as retriever:
        names = retriever.names
        for query_id in sorted(grades):
            found = retriever.search(queries[query_id], _N_CANDIDATES)
            judged = np.array([grades[query_id].get(doc, 0) for doc in found.ids], dtype=np.int64)
            questions.append(Question(queries[query_id], found.ids, found.features.astype(np.float32), judged))
    order = np.random.default_rng(_SHUFFLE_SEED).permutation(len(questions))
    n_test = round(_TEST_SHARE * len(questions))
    test, train = order[:n_test], order[n_test:]
    return world_of(
        "scifact",
        names,
        [questions[i] for i in train],
        [questions[i] for i in test],
        max_grade=1,
        weights={name: float(name == "bm25") for name in names},
        start="BM25 alone (bm25)",
    )


def read_qrels(lines: Iterable[str]) -> dict[str, dict[str, int]]:
    """Return {query: {document: grade}} from tab-separated judgements under a line of headings."""
    found: dict[str, dict[str, int]] = {}
    for line in list(lines)[1:]:
        query, document, grade = line.split("\t")
        found.setdefault(query, {})[document] = int(grade)
    return found


def _require(path: Path) -> None:
    if not path.is_file():
        raise MissingDataError(f"no file {path.parent.name}/{path.name} among the labelled sets")


def _lines(path: Path) -> list[str]:
    _require(path)
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line]


READERS: Final = {"lightgbm_rank": read_lightgbm_rank, "cranfield": read_cranfield, "scifact": read_scifact}
