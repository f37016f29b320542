"""Several answers as one list, and reciprocal rank fusion as weights."""

import math
from collections.abc import Sequence
from itertools import combinations_with_replacement, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest

from dwell.errors import ConfigError
from dwell.retrieval import Found, reciprocal_rank_fusion, weighted
from dwell.retrieval.hybrid import RRF_CONSTANT, declared_names, united


class Source(NamedTuple):
    name: str
    features: tuple[str, ...]


TEXT, NEAR = Source("text", ("bm25",)), Source("near", ("cosine", "age"))
ANSWERS = {
    "text": [Found("a", {"bm25": 7.0}), Found("b", {"bm25": 5.0}, "what b says"), Found("c", {"bm25": 1.0}, "c")],
    "near": [Found("b", {"cosine": 0.9, "age": 3.0}, "other words"), Found("d", {"cosine": 0.5, "age": 1.0})],
}


def test_each_document_stands_once_with_every_feature() -> None:
    found = united([TEXT, NEAR], ANSWERS, fill={"age": -1.0}, missing=True)
    assert found.names == ("bm25", "text_rrf", "text_missing", "cosine", "age", "near_rrf", "near_missing")
    assert found.ids == ("b", "a", "d", "c")  # 1/62 + 1/61, 1/61, 1/62, 1/63
    assert found.features.tolist() == [
        [5.0, 1 / 62, 0.0, 0.9, 3.0, 1 / 61, 0.0],
        [7.0, 1 / 61, 0.0, 0.0, -1.0, 0.0, 1.0],
        [0.0, 0.0, 1.0, 0.5, 1.0, 1 / 62, 0.0],
        [1.0, 1 / 63, 0.0, 0.0, -1.0, 0.0, 1.0],
    ]
    assert (found.found["b"].text, found.found["c"].text, len(found)) == ("what b says", "c", 4)
    assert found.as_dicts()[0] == {"id": "b", **dict(zip(found.names, found.features[0].tolist(), strict=True))}


def test_without_an_answer_there_is_nothing_and_the_columns_stay() -> None:
    found = united([TEXT, NEAR], {}, left_out={"text": "too_slow"})
    assert (found.ids, found.features.shape, dict(found.left_out)) == ((), (0, 5), {"text": "too_slow"})
    assert united([TEXT, NEAR], {"text": ANSWERS["text"]}).names == found.names


def test_a_text_is_taken_from_whoever_has_one() -> None:
    bare = [Found("b", {"bm25": 5.0}, "", {"of": "text"})]
    assert united([TEXT, NEAR], {"text": bare, "near": ANSWERS["near"]}).found["b"].text == "other words"


def test_reciprocal_rank_fusion_is_one_for_each_source() -> None:
    start = reciprocal_rank_fusion([TEXT, NEAR])
    assert start.features == declared_names([TEXT, NEAR]) == ("bm25", "text_rrf", "cosine", "age", "near_rrf")
    assert start.weights == {"bm25": 0.0, "text_rrf": 1.0, "cosine": 0.0, "age": 0.0, "near_rrf": 1.0}
    with_missing = reciprocal_rank_fusion([TEXT], missing=True)
    assert with_missing == (("bm25", "text_rrf", "text_missing"), {"bm25": 0.0, "text_rrf": 1.0, "text_missing": 0.0})


def test_a_formula_of_ones_own_is_a_start_too() -> None:
    start = weighted([TEXT, NEAR], {"cosine": 0.7, "bm25": 0.3})
    assert start.weights == {"bm25": 0.3, "text_rrf": 0.0, "cosine": 0.7, "age": 0.0, "near_rrf": 0.0}
    for wrong in ({"nothing": 1.0}, {"bm25": math.nan}, {"bm25": True}, {"bm25": 0.0}, {}):
        with pytest.raises(ConfigError):
            weighted([TEXT, NEAR], wrong)


@pytest.mark.parametrize(
    "sources",
    [
        [],
        [TEXT, TEXT],
        [TEXT, Source("other", ("bm25",))],
        [TEXT, Source("other", ("text_rrf",))],
        [Source("text", ("id",))],
        [Source("text", ("",))],
        [TEXT, Source("x" * 510, ("cosine",))],
    ],
)
def test_sources_that_do_not_fit_together_are_refused(sources: Any) -> None:
    for call in (declared_names, reciprocal_rank_fusion):
        with pytest.raises(ConfigError):
            call(sources)


@pytest.mark.parametrize("fill", [{"nothing": 0.0}, {"bm25": math.inf}, {"bm25": None}, {"text_rrf": 1.0}])
def test_what_can_not_be_filled_in_is_refused(fill: Any) -> None:
    with pytest.raises(ConfigError):
        united([TEXT, NEAR], ANSWERS, fill=fill)


WHOLE = math.lcm(*range(61, 161))


def exact(ranks: Sequence[int]) -> int:
    """Reciprocal rank fusion in whole numbers: times what all of 61 to 160 divide."""
    return sum(WHOLE // (60 + rank) for rank in ranks if rank)


@pytest.mark.parametrize("scale", [1.0, 60.0])
def test_the_order_survives_the_precision_that_features_are_kept_in(scale: float) -> None:
    # every pair of ranks among two lists of 100, 0 for none, in exact arithmetic and as float32 features of weight 1;
    # different pairs of equal sums, 1/62 + 1/104 and 1/69 + 1/89, may be told apart by rounding
    kept = [0.0] + [float(np.float32(scale / (RRF_CONSTANT + rank))) for rank in range(1, 101)]
    pairs = sorted(combinations_with_replacement(range(101), 2), key=exact)
    sums = [[kept[a] + kept[b] for a, b in group] for _, group in groupby(pairs, key=exact)]
    assert len(sums) > 5_000
    assert all(max(lower) < min(higher) for lower, higher in pairwise(sums))


def test_documents_of_the_same_ranks_are_equal_whoever_had_which() -> None:
    three = [Source(name, (f"{name}_score",)) for name in "xyz"]

    def answer(name: str, order: str) -> list[Found]:
        return [Found(doc, {f"{name}_score": 1.0}) for doc in order]

    # p has the ranks 1, 2, 3; q 2, 3, 1; r 3, 1, 2: the first that was found stands first
    found = united(three, {"x": answer("x", "pqr"), "y": answer("y", "rpq"), "z": answer("z", "qrp")})
    assert found.ids == ("p", "q", "r")
    totals = found.features[:, 1::2].astype(np.float32).astype(np.float64).sum(axis=1)
    assert len(set(totals.tolist())) == 1


def test_rounding_does_not_decide_between_equals() -> None:
    # added one after the other, q's shares come to more than p's, which are the same three
    assert (1 / 67 + 1 / 62) + 1 / 61 > (1 / 61 + 1 / 67) + 1 / 62
    three = [Source(name, (f"{name}_score",)) for name in "xyz"]
    ranks = {"p": (1, 7, 2), "q": (7, 2, 1)}
    answers = {}
    for i, source in enumerate(three):
        order = [f"{source.name}{rank}" for rank in range(1, 8)]
        for doc, held in ranks.items():
            order[held[i] - 1] = doc
        answers[source.name] = [Found(doc, {source.features[0]: 1.0}) for doc in order]
    assert united(three, answers).ids[:2] == ("p", "q")
