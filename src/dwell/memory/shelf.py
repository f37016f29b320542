"""What a memory searches: vectors, dates and owners by number, in arrays that grow; what is near, and what matches.

Vectors come from the caller's own embedding, or from latent semantic analysis of the texts. The latter is fitted to the
texts that are there; one that comes later is folded in, its terms' vectors summed as a query's are, until a fourth as
many have come as were there at the fit.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np

from dwell.errors import ConfigError
from dwell.memory.texts import Row
from dwell.records.arrays import BoolArray, Float32Array, FloatArray, IntArray
from dwell.retrieval.analysis import content_terms, terms
from dwell.retrieval.vectors import N_DIMENSIONS, LatentSpace, latent_space, term_index

__all__ = ["FEATURES", "Embed", "Fitted", "Found", "Shelf", "fitted_to", "words_of"]

Embed: TypeAlias = Callable[[Sequence[str]], object]

#: The features of every candidate, in the order of the columns. All are finite; larger is better.
#:
#: bm25     share of the best BM25 of the query, 0 to 1: the score itself says nothing across queries
#: cosine   of the query and the text in the latent space, or in that of the caller's embedding, -1 to 1
#: recency  -log2(1 + age in days) as of now, 0 for what was added just now
FEATURES: Final = ("bm25", "cosine", "recency")

_DAY_S: Final = 86_400.0
_FIRST_ROOM: Final = 64
# Every fit takes in a fourth more: all fits together cost five times the last one (1 / (1 - 1 / 1.25)), however many.
_GROWTH: Final = 0.25
# A word of more than half of the texts tells nothing: FTS5 gives it an idf of 1e-6. Among many texts it only costs, for
# it has every one of them scored; among few it is what finds them at all.
_LEAST_MANY: Final = 1_000
_IDF_OF_HALF: Final = math.log(2.0)
# Texts that share no word have a cosine of about 1e-5 where the space holds them all: float32, and a randomised SVD.
_LEAST_MATCH: Final = 1e-3


class Found(NamedTuple):
    """Memories that may answer a query, best first by words and meaning alone.

    Attributes:
        ids: n ids.
        numbers: int64 (n,), their numbers.
        features: float64 (n, 3), as `FEATURES` has them.
        is_pinned: (n,) whether each is pinned and matches.
    """

    ids: list[str]
    numbers: IntArray
    features: FloatArray
    is_pinned: BoolArray


def words_of(text: str) -> list[str]:
    """Return the terms by which a text or a query is found; function words only where there is nothing else."""
    return content_terms(text) or terms(text)


class Fitted(NamedTuple):
    """A latent space fitted to texts.

    Attributes:
        space: Vectors of the texts and of their terms.
        vocabulary: term -> number.
        everywhere: Terms of more than half of the texts, where there are many texts.
    """

    space: LatentSpace
    vocabulary: dict[str, int]
    everywhere: frozenset[str]


def fitted_to(rows: Sequence[Row]) -> Fitted | None:
    """Return the latent space of texts, None of none; it takes its time for many, and needs no lock."""
    if not rows:
        return None
    index = term_index([words_of(row.text) for row in rows])
    # the seed is fixed: the same texts in the same order give the same vectors, today or tomorrow
    space = latent_space(index, np.random.default_rng(0), n_dimensions=N_DIMENSIONS)
    common: list[str] = []
    if len(rows) >= _LEAST_MANY:
        common = [word for word, number in index.vocabulary.items() if index.idf[number] < _IDF_OF_HALF]
    return Fitted(space, index.vocabulary, frozenset(common))


class Shelf:
    """The searched part of a memory, kept in this process. Not safe from several threads: the memory has the lock.

    Args:
        embed: The caller's own embedding, texts in, vectors of one dimension out; None for latent semantic analysis.
    """

    def __init__(self, embed: Embed | None) -> None:
        self._embed = embed
        self._space: LatentSpace | None = None
        self._vocabulary: dict[str, int] = {}
        self._everywhere: frozenset[str] = frozenset()
        self._n_fitted = 0
        self._n_since = 0
        self._ids: list[str | None] = []
        self._free: list[int] = []
        self._owners: dict[str, int] = {"": 0}
        self._added_at = np.zeros(0)
        self._owner = np.zeros(0, dtype=np.int64)
        self._is_there = np.zeros(0, dtype=bool)
        self._is_pinned = np.zeros(0, dtype=bool)
        self._vectors = np.zeros((0, 0), dtype=np.float32)
        self._numbers: dict[str, int] = {}
        self._since: dict[int, str] = {}

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._numbers)

    def __contains__(self, item: object) -> bool:
        """Return whether there is one of this id."""
        return item in self._numbers

    @property
    def is_grown(self) -> bool:
        """Whether enough has come since the latent space was fitted to fit it again."""
        return self._embed is None and self._n_since >= max(1.0, _GROWTH * self._n_fitted)

    @property
    def is_changed(self) -> bool:
        """Whether anything has come since the latent space was fitted."""
        return self._embed is None and self._n_since > 0

    @property
    def is_embedded(self) -> bool:
        """Whether vectors are the caller's own."""
        return self._embed is not None

    def next_number(self) -> int:
        """Return the number that the next memory is to have."""
        return self._free[0] if self._free else len(self._ids)

    def vectors(self, texts: Sequence[str]) -> Float32Array | None:
        """Return the caller's vectors of texts at norm 1, float32 (n, d); None where the space is latent.

        It may take its time, and changes nothing: no lock is needed.

        Raises:
            ConfigError: The caller's function answered something else.
        """
        return None if self._embed is None else _embedded(self._embed, texts)

    def check(self, row: Row) -> None:
        """Refuse a memory whose vector is not like the others', before it is written.

        Raises:
            ConfigError: It has another dimension.
        """
        if row.vector is not None:
            self._widen(row.vector.size)

    def put(self, row: Row) -> None:
        """Take in a memory, or its new text; its vector is its own, or folded in."""
        self._grow(row.number)
        self._n_since += row.id not in self._numbers or self._embed is None
        while len(self._ids) <= row.number:
            heapq.heappush(self._free, len(self._ids))
            self._ids.append(None)
        if self._ids[row.number] is None:
            self._free.remove(row.number)
            heapq.heapify(self._free)
        self._ids[row.number] = row.id
        self._numbers[row.id] = row.number
        self._added_at[row.number] = row.added_at
        self._owner[row.number] = self._owners.setdefault(row.owner, len(self._owners))
        self._is_there[row.number] = True
        self._is_pinned[row.number] = row.is_pinned
        vector = row.vector
        if self._embed is None:
            self._since[row.number] = row.text
            vector = self._folded(words_of(row.text))
        self._vectors[row.number] = 0.0
        if vector is not None:
            self._widen(vector.size)
            self._vectors[row.number] = vector

    def remove(self, item: str) -> None:
        """Take out a memory."""
        number = self._numbers.pop(item)
        self._ids[number] = None
        self._since.pop(number, None)
        heapq.heappush(self._free, number)
        self._is_there[number] = self._is_pinned[number] = False
        self._vectors[number] = 0.0

    def pin(self, item: str, *, is_pinned: bool) -> None:
        """Set whether a memory is pinned."""
        self._is_pinned[self._numbers[item]] = is_pinned

    def begin_fit(self, n: int) -> None:
        """Take note that the space is being fitted to the n texts that are there; what comes after is folded in."""
        self._n_fitted, self._n_since = n, 0
        self._since.clear()

    def adopt(self, fitted: Fitted | None, rows: Sequence[Row]) -> None:
        """Give each text its vector in a new space.

        Args:
            fitted: As `fitted_to` made it of the rows; None of none.
            rows: The texts that were there when `begin_fit` was told.
        """
        if fitted is None or self._embed is not None:
            return
        self._space, self._vocabulary, self._everywhere = fitted
        found = self._space.document_vectors
        self._vectors = np.zeros((len(self._added_at), found.shape[1]), dtype=np.float32)
        self._vectors[[row.number for row in rows]] = found
        self._vectors[~self._is_there] = 0.0
        for number, text in self._since.items():
            vector = self._folded(words_of(text))
            self._vectors[number] = 0.0 if vector is None else vector

    def fit(self, rows: Sequence[Row]) -> None:
        """Fit the latent space to all texts that are there, and give each its vector in it."""
        self.begin_fit(len(rows))
        self.adopt(None if self.is_embedded else fitted_to(rows), rows)

    def telling(self, words: Sequence[str]) -> list[str]:
        """Return the words of a query that tell texts apart; all of them where none does."""
        return [word for word in words if word not in self._everywhere] or list(words)

    def in_order_of_age(self, *, before: float = math.inf) -> list[str]:
        """Return the ids of what is not pinned and was added before an instant, oldest first."""
        numbers = np.flatnonzero(self._is_there & ~self._is_pinned & (self._added_at < before))
        order = numbers[np.argsort(self._added_at[numbers], kind="stable")]
        return [item for item in (self._ids[number] for number in order.tolist()) if item is not None]

    def find(
        self,
        query: str | Float32Array,
        matches: tuple[IntArray, FloatArray],
        *,
        owner: str,
        k: int,
        n: int,
        now: float,
        oldest: float,
    ) -> Found:
        """Return at most `n` candidates.

        Args:
            query: What is asked; its vector at norm 1, float32 (d,), where vectors are the caller's.
            matches: As `Texts.matches` has them.
            owner: Whose memories are seen beside everybody's; "" for nobody's.
            k: How many will be shown.
            n: How many are described, >= k.
            now: UTC epoch seconds.
            oldest: What was added before it is not seen, unless it is pinned.
        """
        is_seen = self._is_there & (self._is_pinned | (self._added_at >= oldest))
        is_seen &= (self._owner == 0) | (self._owner == self._owners.get(owner, 0))
        bm25 = np.zeros(len(is_seen))
        bm25[matches[0]] = matches[1]
        bm25[~is_seen] = 0.0
        best = bm25.max(initial=0.0)
        if best > 0.0:
            bm25 /= best
        cosine = np.where(is_seen, self._cosines(query), 0.0)
        match = bm25 + np.maximum(cosine, 0.0)
        order = np.argsort(-match, kind="stable")
        order = order[match[order] > _LEAST_MATCH]
        is_pinned = self._is_pinned & (bm25 > 0.0)
        is_pinned[order[:k]] |= self._is_pinned[order[:k]]
        # a pinned memory that matches is always among them, whatever else matches better
        order = order[np.argsort(~is_pinned[order], kind="stable")][: max(n, k)]
        order = order[np.argsort(-match[order], kind="stable")]
        age_s = np.maximum(now - self._added_at[order], 0.0)
        features = np.column_stack([bm25[order], cosine[order], -np.log2(1.0 + age_s / _DAY_S)])
        ids = [self._ids[number] or "" for number in order.tolist()]
        return Found(ids, order.astype(np.int64), features, is_pinned[order])

    def _cosines(self, query: str | Float32Array) -> FloatArray:
        if isinstance(query, str):
            found = self._folded(list(dict.fromkeys(words_of(query))))
        else:
            found = query
            self._widen(found.size)
        if found is None:
            return np.zeros(len(self._is_there))
        return np.clip((self._vectors @ found).astype(np.float64), -1.0, 1.0)

    def _folded(self, words: Sequence[str]) -> Float32Array | None:
        """Return a text's vector at norm 1: its terms' vectors, by 1 + ln of their number; None without known terms."""
        if self._space is None:
            return None
        counts = Counter(self._vocabulary[word] for word in words if word in self._vocabulary)
        if not counts:
            return None
        weights = 1.0 + np.log(np.fromiter(counts.values(), np.float64, len(counts)))
        vector = weights @ self._space.term_vectors[list(counts)].astype(np.float64)
        norm = float(np.linalg.norm(vector))
        return None if norm <= 1e-12 else (vector / norm).astype(np.float32)

    def _grow(self, number: int) -> None:
        room = len(self._added_at)
        if number < room:
            return
        more = max(_FIRST_ROOM, room, number + 1 - room)
        self._added_at = np.concatenate([self._added_at, np.zeros(more)])
        self._owner = np.concatenate([self._owner, np.zeros(more, dtype=np.int64)])
        self._is_there = np.concatenate([self._is_there, np.zeros(more, dtype=bool)])
        self._is_pinned = np.concatenate([self._is_pinned, np.zeros(more, dtype=bool)])
        empty = np.zeros((more, self._vectors.shape[1]), dtype=np.float32)
        self._vectors = np.concatenate([self._vectors, empty])

    def _widen(self, width: int) -> None:
        """Make room for vectors of a dimension; there is none before the first one.

        Raises:
            ConfigError: The others have another dimension.
        """
        if self._vectors.shape[1] == width:
            return
        if self._vectors.shape[1]:
            raise ConfigError(
                f"the memory's vectors have {self._vectors.shape[1]} dimensions",
                field="embed",
                value=width,
                hint="Use one embedding model per memory, or add the texts to a new one.",
            )
        self._vectors = np.zeros((len(self._added_at), width), dtype=np.float32)


def _embedded(embed: Embed, texts: Sequence[str]) -> Float32Array:
    """Return the caller's vectors at norm 1.

    Raises:
        ConfigError: They are no (n, d) array of finite numbers.
    """
    try:
        found = np.asarray(embed(list(texts)), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"embed did not answer numbers: {error}", field="embed", hint="Return one vector of numbers per text."
        ) from error
    if found.ndim != 2 or found.shape[0] != len(texts) or not found.shape[1] or not np.isfinite(found).all():
        raise ConfigError(
            "embed answers one vector of finite numbers per text",
            field="embed",
            value=found.shape,
            hint=f"Return an array of shape ({len(texts)}, dimension).",
        )
    norms = np.linalg.norm(found, axis=1, keepdims=True)
    return np.asarray(found / np.maximum(norms, 1e-12), dtype=np.float32)
