"""Two calls that asked the same: when they are a pair, and when their order moved."""

from typing import Any

import numpy as np
import pytest

from dwell.health.doctor.evidence import SeenEvent
from dwell.health.doctor.serving import repeats

from .evidences import START, click, event, evidence

DOCUMENTS = tuple(f"d{i}" for i in range(6))
FIXED = np.arange(6.0)


def asked(n: int, shown: list[float], *, at: float, query: str = "q", **changes: Any) -> SeenEvent:
    """Return a call whose first feature stays, and whose second one is `shown`, which orders."""
    features = np.column_stack([FIXED, shown]).astype(np.float32)
    scores = np.array(shown, np.float32)
    made = {"documents": DOCUMENTS, "served": DOCUMENTS[:3], "document_scores": np.arange(6)} | changes
    return event(n, at=at, query=query, features=made.pop("features", features), scores=scores, **made)


def pairs(n: int, *, gap_s: float = 1.0, between: bool = False, **changes: Any) -> list[SeenEvent]:
    """Return n queries asked twice: what stood last was shown, and stands first the second time."""
    found = []
    for i in range(n):
        at = START + 10_000.0 * i
        first = asked(2 * i, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0], at=at, query=f"q{i}")
        if between:
            first = first._replace(signals=(click(2 * i, at=at + gap_s / 2.0),))
        found += [first, asked(2 * i + 1, [5.0, 4.0, 3.0, 2.0, 1.0, 6.0], at=at + gap_s, query=f"q{i}", **changes)]
    return found


def told(events: list[SeenEvent]) -> tuple[bool, list[str], str]:
    found = repeats(evidence(events))
    return found.looked.is_judged, [one.code for one in found.findings], found.looked.sentence


def test_what_moves_by_serving_alone_is_named() -> None:
    found = repeats(evidence(pairs(5)))
    assert found.looked.sentence.startswith("5 of 5 calls that were asked again")
    assert [one.code for one in found.findings] == ["order_moves_by_serving"]
    assert "'b' moves by serving alone" in found.findings[0].message
    assert found.findings[0].figures == {"n_repeated": 5, "n_reordered": 5}


@pytest.mark.parametrize(
    "how",
    [
        {"between": True},  # somebody reacted
        {"gap_s": 601.0},  # too long ago: what depends on time has moved
        {"params_version": 2},
        {"segment": "other"},
        {"policy": "caller"},
        {"documents": ("other", *DOCUMENTS[1:])},
        {"n_candidates": 7},  # not all of them are there to compare
        {"features": np.column_stack([FIXED[::-1], FIXED]).astype(np.float32)},  # nothing is as it was
    ],
)
def test_other_calls_are_no_pair(how: dict[str, Any]) -> None:
    assert told(pairs(5, **how))[:2] == (False, [])


def test_a_feature_that_is_the_same_for_all_does_not_say_that_the_call_is() -> None:
    found = pairs(5)
    for one in found:
        one.impression.features[:, 0] = 1.0
    assert told(found)[:2] == (False, [])


def test_too_few_pairs_and_too_few_moves_are_not_named() -> None:
    assert told(pairs(4))[:2] == (False, [])
    still = [asked(100 + i, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0], at=START + 1e6 + i, query="still") for i in range(40)]
    is_judged, codes, words = told([*pairs(3), *still])  # 39 pairs of the same order, and three that moved
    assert (is_judged, codes) == (True, [])
    assert words.startswith("3 of 42 calls")


def test_equal_scores_are_no_order_that_could_move() -> None:
    tied = [asked(i, [1.0] * 6, at=START + i) for i in range(9)]
    assert told(tied)[1] == []


def test_documents_are_compared_by_name_wherever_they_stand() -> None:
    """The second call logs its documents in the order served, turned round: nothing has moved."""
    found = []
    for i in range(6):
        first = asked(2 * i, [5.0, 4.0, 3.0, 2.0, 1.0, 0.0], at=START + 1e4 * i, query=f"q{i}")
        one = first.impression
        found += [
            first,
            asked(
                2 * i + 1,
                [5.0, 4.0, 3.0, 2.0, 1.0, 0.0],
                at=START + 1e4 * i + 1.0,
                query=f"q{i}",
                documents=DOCUMENTS[::-1],
                document_scores=np.arange(6)[::-1].copy(),
                features=one.features[::-1].copy(),
            ),
        ]
    is_judged, codes, words = told(found)
    assert (is_judged, codes) == (True, [])
    assert words.startswith("0 of 6 calls")
