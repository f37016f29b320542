"""Clicks over expected clicks against sums by hand; what a spreadsheet would run; what few users asked."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from dwell.errors import ConfigError
from dwell.integrations.ubi.judgments import coec
from dwell.records import Experience


def shown(query: str, docs: str, clicked: str = "", user: str | None = "u", state: str = "closed") -> Experience:
    return Experience(
        event_id="e",
        timestamp=1.0,
        query=query,
        query_embedding=[],
        results_served=[{"id": doc, "rank": i + 1} for i, doc in enumerate(docs)],
        ranking_params={},
        feedback_signals={},
        reward=0.0,
        user=user,
        document_signals={doc: {"click": 1.0, "purchase": 0.0} for doc in clicked},
        state=state,  # type: ignore[arg-type]
    )


LISTS = [
    shown("q", "abc", "a"),
    shown("q", "bac", "ba"),
    shown("q", "cab"),
    shown("p", "ab", "b"),
    shown("p", "dc", "d"),
    shown("q", "z", "z", state="not_shown"),
]


def by_hand(lists: Sequence[Experience]) -> dict[tuple[str, str], Fraction]:
    """Return clicks over expected clicks by the definition: a sum over single impressions."""
    single = [
        (one.query, doc["id"], doc["rank"], int(doc["id"] in one.document_signals))
        for one in lists
        if one.state != "not_shown"
        for doc in one.results_served
    ]
    rate = {
        rank: Fraction(sum(c for *_, r, c in single if r == rank), sum(1 for *_, r, _ in single if r == rank))
        for *_, rank, _ in single
    }
    found = {}
    for query, doc in {(q, d) for q, d, *_ in single}:
        mine = [(rank, click) for q, d, rank, click in single if (q, d) == (query, doc)]
        expected = sum(rate[rank] for rank, _ in mine)
        if expected:
            found[query, doc] = sum(click for _, click in mine) / expected
    return found


def test_each_impression_counts_with_the_rank_that_it_had() -> None:
    found = coec(LISTS, min_users=0)
    assert {(one.query, one.doc): one.rating for one in found.judgments} == pytest.approx(
        {pair: float(value) for pair, value in by_hand(LISTS).items()}
    )
    # "a" of "q" stood at 1, 2 and 2: its best rank for all three impressions would be another number
    rate_1, rate_2 = Fraction(3, 5), Fraction(2, 5)
    (a,) = [one for one in found.judgments if (one.query, one.doc) == ("q", "a")]
    assert a.rating == pytest.approx(float(2 / (rate_1 + 2 * rate_2)))
    assert a.rating != pytest.approx(float(2 / (3 * rate_1)))
    assert a.n_impressions == 3


def test_random_lists_agree_with_the_definition() -> None:
    rng = np.random.default_rng(3)
    lists = []
    for _ in range(60):
        docs = "".join(rng.permutation(list("abcdef"))[:4])
        lists.append(shown(str(rng.choice(["p", "q"])), docs, "".join(d for d in docs if rng.random() < 0.3)))
    found = coec(lists, min_users=0).judgments
    assert {(one.query, one.doc): one.rating for one in found} == pytest.approx(
        {pair: float(value) for pair, value in by_hand(lists).items()}
    )


def test_what_few_users_asked_is_left_out_and_counted() -> None:
    lists = [shown("often", "a", "a", user=f"u{i}") for i in range(5)]
    lists += [shown("seldom", "a", "a", user=f"u{i % 4}") for i in range(20)]
    lists += [shown("nobody", "a", "a", user=None) for _ in range(20)]
    found = coec(lists)
    assert {one.query for one in found.judgments} == {"often"}
    assert found.n_few_users == 2
    assert {one.query for one in coec(lists, min_users=4).judgments} == {"often", "seldom"}
    assert len(coec(lists, min_users=0).judgments) == 3
    with pytest.raises(ConfigError, match="min_users"):
        coec(lists, min_users=-1)


def test_a_document_where_nothing_is_ever_clicked_has_no_rating() -> None:
    found = coec([shown("q", "ab", "a")], min_users=0)
    assert [one.doc for one in found.judgments] == ["a"]
    assert found.n_never_clicked == 1
