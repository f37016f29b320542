"""The founding document's code runs against dwell, with its imports alone added."""

import inspect
import math
import os
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

# read before the shell's settings are hidden from the tests
SHARED = os.environ.get("DWELL_SHARED")
ADDED_IMPORTS: dict[str, object] = {"time": time, "statistics": statistics}
CLASS_BLOCKS = ("1_experience", "2_replay_buffer")

# What a reader of the document writes next: every name of it used, as its own code uses them.
CALLING_CODE = """
buffer = ReplayBuffer(capacity=100)
empty = buffer_health_report(buffer)
train_from_replay(buffer, ranking_model)
updates_when_empty = list(ranking_model.rates)

now = time.time()
for i in range(150):
    experience = Experience(
        event_id=f"user{i % 4}_{i}",
        timestamp=now - 3600 * (149 - i),
        query=f"query {i % 10}",
        query_embedding=[0.1 * (i % 3), 0.2],
        results_served=[{"memory_id": "m1", "rank": 1, "score": 0.9}, {"memory_id": "m2", "rank": 2, "score": 0.4}],
        ranking_params={"similarity": 0.7, "recency": 0.3},
        feedback_signals={"click": 1.0},
        reward=(i % 5) / 4 - 0.5,
    )
    add_experience_with_priority(buffer, experience, reward_predictor)

size = buffer.size()
kept = [e.event_id for e in buffer.buffer]
priorities = {e.event_id: e.priority for e in buffer.buffer}
uniform = buffer.sample_uniform(32)
prioritised = buffer.sample_priority(32)
everything = buffer.sample_uniform(1000)
train_from_replay(buffer, ranking_model, batch_size=50, learning_rate=0.1)
rates_of_replay = ranking_model.taken()
train_with_temporal_weighting(buffer, ranking_model, batch_size=40)
rates_of_temporal = ranking_model.taken()
weight = temporal_weight(experience, experience.timestamp + 168 * 3600)
report = buffer_health_report(buffer)
buffer.clear()
size_after_clear = buffer.size()
"""


class Model:
    """A user's own model; it writes down what it was asked."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def compute_gradient(
        self, query: list[float], results: list[dict[str, object]], reward: float, old_params: dict[str, float]
    ) -> dict[str, float]:
        assert len(query) == 2
        assert results[0]["memory_id"] == "m1"
        assert old_params == {"similarity": 0.7, "recency": 0.3}
        return {"similarity": reward}

    def update_params(self, gradient: dict[str, float], learning_rate: float) -> None:
        assert set(gradient) == {"similarity"}
        self.rates.append(learning_rate)

    def taken(self) -> list[float]:
        rates, self.rates = self.rates, []
        return rates


class Predictor:
    """A user's own predictor."""

    def predict(self, query_embedding: list[float], ranking_params: dict[str, float]) -> float:
        return query_embedding[0] * ranking_params["similarity"]


def called(names: dict[str, object]) -> dict[str, Any]:
    """Run the calling code with these names and return everything that it made."""
    space: dict[str, Any] = {**ADDED_IMPORTS, **names, "ranking_model": Model(), "reward_predictor": Predictor()}
    exec(compile(CALLING_CODE, "calling code", "exec"), space)  # noqa: S102 - it is the text above
    return space


def defined(blocks: dict[str, str], *, leave_out: tuple[str, ...], given: dict[str, object]) -> dict[str, object]:
    """Run the document's blocks and return the names they define, beside the given ones."""
    space: dict[str, object] = {**ADDED_IMPORTS, **given}
    for name, text in blocks.items():
        if name not in leave_out:
            exec(compile(text, name, "exec"), space)  # noqa: S102 - it is the founding document's own code
    return space


def check(made: dict[str, Any]) -> None:
    """What the document promises, whoever's code it is."""
    assert made["empty"] == {"status": "empty"}
    assert made["updates_when_empty"] == []
    assert made["size"] == 100
    assert made["kept"] == [f"user{i % 4}_{i}" for i in range(50, 150)]
    for i in range(50, 150):
        reward, predicted = (i % 5) / 4 - 0.5, 0.1 * (i % 3) * 0.7
        expected = abs(reward - predicted) + 0.1 * abs(reward) + 0.01
        assert made["priorities"][f"user{i % 4}_{i}"] == pytest.approx(expected, rel=1e-12)
    assert len({item.event_id for item in made["uniform"]}) == len(made["uniform"]) == 32
    assert len(made["prioritised"]) == 32
    assert {item.event_id for item in made["everything"]} == set(made["kept"])
    assert len(made["rates_of_replay"]) == 50
    assert len(made["rates_of_temporal"]) == 40
    assert made["weight"] == pytest.approx(0.5, rel=1e-3)  # the document's 0.693 is not quite ln 2
    report = made["report"]
    assert (report["size"], report["capacity_pct"]) == (100, 1.0)
    rewards = [(i % 5) / 4 - 0.5 for i in range(50, 150)]
    assert report["avg_reward"] == pytest.approx(sum(rewards) / 100, abs=1e-12)
    assert report["reward_std"] == pytest.approx(statistics.stdev(rewards))
    assert report["oldest_hours"] == pytest.approx(99.0, abs=0.01)
    assert report["newest_hours"] == pytest.approx(0.0, abs=0.01)
    assert report["avg_age_hours"] == pytest.approx(49.5, abs=0.01)
    assert report["unique_contexts"] > 1
    assert made["size_after_clear"] == 0


def test_the_calling_code_runs_against_dwells_names(dwell_names: dict[str, object]) -> None:
    made = called(dwell_names)
    check(made)
    # where dwell differs: rates carry the sampling weight, of mean 1 in the batch, and the decay once
    assert sum(made["rates_of_replay"]) == pytest.approx(50 * 0.1, rel=1e-12)
    assert len(set(made["rates_of_replay"])) > 1
    assert made["report"]["unique_contexts"] == 10  # no user is known: queries count, not prefixes of ids
    assert made["weight"] == 0.5


def test_the_whole_document_runs_with_dwells_classes(dwell_names: dict[str, object], blocks: dict[str, str]) -> None:
    given = {name: dwell_names[name] for name in ("Experience", "ReplayBuffer")}
    names = defined(blocks, leave_out=CLASS_BLOCKS, given=given)
    assert names["train_from_replay"] is not dwell_names["train_from_replay"]
    check(called(names))


def test_the_calling_code_is_that_of_the_document(blocks: dict[str, str]) -> None:
    # the yardstick itself: the document's own classes and functions pass the same checks
    check(called(defined(blocks, leave_out=(), given={})))


def test_dwells_functions_take_the_documents_arguments(dwell_names: dict[str, object], blocks: dict[str, str]) -> None:
    theirs = defined(blocks, leave_out=(), given={})
    functions = [name for name, item in theirs.items() if inspect.isfunction(item) and name in dwell_names]
    assert len(functions) == 6
    for name in functions:
        mine = inspect.signature(_function(dwell_names[name])).parameters
        for i, (argument, parameter) in enumerate(inspect.signature(_function(theirs[name])).parameters.items()):
            assert list(mine)[i] == argument
            assert mine[argument].default == parameter.default
        extra = list(mine.values())[len(inspect.signature(_function(theirs[name])).parameters) :]
        assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in extra)


def _function(item: object) -> Callable[..., object]:
    assert callable(item)
    return item


def test_dwells_classes_have_the_documents_fields_and_methods(
    dwell_names: dict[str, object], blocks: dict[str, str]
) -> None:
    theirs = defined(blocks, leave_out=(), given={})
    fields = list(inspect.signature(_function(theirs["Experience"])).parameters)
    assert list(inspect.signature(_function(dwell_names["Experience"])).parameters)[: len(fields)] == fields
    for name in ("add", "size", "sample_uniform", "sample_priority", "clear"):
        ours = inspect.signature(getattr(dwell_names["ReplayBuffer"], name))
        assert list(ours.parameters) == list(inspect.signature(getattr(theirs["ReplayBuffer"], name)).parameters)


def test_dwells_own_model_and_predictor_fit_the_documents_functions(
    dwell_names: dict[str, Any], blocks: dict[str, str]
) -> None:
    names = defined(blocks, leave_out=CLASS_BLOCKS, given={name: dwell_names[name] for name in ("ReplayBuffer",)})
    ranker = dwell_names["LinearRanker"]({"bm25": 1.0, "cosine": 1.0})
    predictor = dwell_names["RewardPredictor"]()
    buffer = dwell_names["ReplayBuffer"](100, seed=0)
    # lists led by bm25 earn, lists led by cosine do not
    for i in range(80):
        first = {"id": "a", "bm25": 1.0, "cosine": 0.0}
        second = {"id": "b", "bm25": 0.0, "cosine": 1.0}
        is_good = i % 2 == 0
        results = [first, second] if is_good else [second, first]
        item = dwell_names["Experience"](
            f"e{i}", 1e9, "q", [1.0, 0.0], results, ranker.params, {}, 1.0 if is_good else -1.0
        )
        _function(names["add_experience_with_priority"])(buffer, item, predictor)
    predictor.learn(buffer)
    for train in (names["train_from_replay"], dwell_names["train_from_replay"]):
        before = ranker.params["bm25"] - ranker.params["cosine"]
        _function(train)(buffer, ranker)
        assert ranker.params["bm25"] - ranker.params["cosine"] > before
    assert math.isfinite(predictor.predict([1.0, 0.0], ranker.params))


def test_the_blocks_are_the_documents_word_for_word(blocks: dict[str, str], root: Path) -> None:
    path = (Path(SHARED) if SHARED else root.parent / "shared") / "seed.txt"
    if not path.exists():
        pytest.skip("the founding document is not beside the project; DWELL_SHARED names the folder that holds it")
    document = " ".join(path.read_text().split())
    for name, text in blocks.items():
        block = " ".join(text.split())
        # layout apart: comments have two spaces before them, calls may close their bracket on a line of its own
        assert document.count(block) == 1, name
        document = document.replace(block, " | ")
    # and no code of the document is left over
    assert re.findall(r"\b(?:def \w+\(|class \w+[:(]|import \w+|return )", document) == []
