"""Activation of items that are no more, and a starting formula that weighs activation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import dwell
from dwell.errors import ConfigError, RecordError

NOW = 1_700_000_000.0
PEPPER = "items-that-are-no-more-pepper-32"
WEIGHTS = {"bm25": 1.0, "act.activation": 0.5}
CANDIDATES = [{"id": "a", "bm25": 1.0}, {"id": "b", "bm25": 1.0}]


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    opened = dwell.open(":memory:", features=["bm25"], weights=WEIGHTS, learner="both", temperature=0.0, pepper=PEPPER)
    with opened as loop:
        yield loop


def test_a_starting_formula_that_weighs_activation_is_served_from_the_first_list_on(loop: dwell.Loop) -> None:
    first = loop.rank("q", CANDIDATES, user="u", event_id="e", now=NOW)
    assert (first.ids, first.params_version) == (["a", "b"], 0)
    assert loop.feedback("e", "click", doc="b", now=NOW).status == "joined"
    then = loop.rank("q", CANDIDATES, user="u", event_id="f", now=NOW + 60.0)
    assert (then.ids, then.params_version) == (["b", "a"], 0)
    assert loop.activation is not None
    activation = loop.activation.features(["b", "a"], now=NOW + 60.0)[:, 0]
    np.testing.assert_allclose(then.scores, 1.0 + 0.5 * activation, atol=1e-6)
    assert activation[0] > 0.0 > activation[1]


def test_it_may_not_where_activation_is_not_kept() -> None:
    with pytest.raises(ConfigError, match="learner='both'"):
        dwell.open(":memory:", features=["bm25"], weights=WEIGHTS)


def test_it_stands_when_the_store_is_opened_again(tmp_path: Path) -> None:
    where = tmp_path / "loop.dwell"
    for _ in range(2):
        with dwell.open(where, features=["bm25"], weights=WEIGHTS, learner="both", pepper=PEPPER) as loop:
            assert {name: weight for name, weight in loop.params.weights.items() if weight} == WEIGHTS
    with pytest.raises(ConfigError, match="begun with other weights"):
        dwell.open(where, weights=WEIGHTS | {"act.activation": 0.6}, learner="both", pepper=PEPPER)


def test_a_dropped_item_has_no_history_and_others_keep_theirs(loop: dwell.Loop) -> None:
    loop.rank("q", CANDIDATES, user="u", event_id="e", now=NOW)
    loop.feedback("e", "click", doc="b", now=NOW)
    assert loop.activation is not None
    loop.activation.pin(["b"], floor=-1.0)
    assert loop.activation.pinned() == {"b": -1.0}
    kept = loop.activation.scores(["a"], now=NOW + 60.0)
    assert loop.activation.drop(["b", "nobody"]) == 1
    assert loop.activation.drop([]) == 0
    assert loop.activation.items() == ["a"]
    assert loop.activation.pinned() == {}
    prior = loop.activation.scores(["unseen"], now=NOW + 60.0)
    np.testing.assert_array_equal(loop.activation.scores(["b"], now=NOW + 60.0), prior)
    np.testing.assert_array_equal(loop.activation.scores(["a"], now=NOW + 60.0), kept)


def test_what_was_served_before_is_dropped_with_it(loop: dwell.Loop) -> None:
    """Lists that are queued, and not yet in the sums, must not bring an item back."""
    assert loop.activation is not None
    for i in range(20):
        loop.rank("q", CANDIDATES, user="u", event_id=f"e{i}", now=NOW)
        loop.activation.drop(["a"])
        assert "a" not in loop.activation.items()


def test_a_drop_is_durable(tmp_path: Path) -> None:
    where = tmp_path / "loop.dwell"
    with dwell.open(where, features=["bm25"], weights=WEIGHTS, learner="both", pepper=PEPPER) as loop:
        loop.rank("q", CANDIDATES, user="u", event_id="e", now=NOW)
        assert loop.activation is not None
        assert loop.activation.drop(["a"]) == 1
    with dwell.open(where, learner="both", pepper=PEPPER) as loop:
        assert loop.activation is not None
        assert loop.activation.items() == ["b"]


def test_ids_are_checked(loop: dwell.Loop) -> None:
    assert loop.activation is not None
    with pytest.raises(RecordError, match="items"):
        loop.activation.drop([""])
    with pytest.raises(RecordError, match="now"):
        loop.activation.features(["a"], now=-1.0)
