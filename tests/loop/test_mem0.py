"""mem0's real class on a local Qdrant: its memories in the learned order, its other calls as they were."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from qdrant_client import QdrantClient

import dwell
from dwell.errors import ConfigError, RecordError
from dwell.integrations.mem0 import DwellMem0

TEXTS = ("red kettle", "blue kettle", "stove")


class Letters:
    """An embedding that needs no network: how often each letter stands in a text."""

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:  # noqa: ARG002 - mem0 passes it
        return [text.count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"]

    def embed_batch(self, texts: list[str], _: str | None = None) -> list[list[float]]:
        return [self.embed(text) for text in texts]


@pytest.fixture(scope="module")
def mem0_class(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return mem0's class: it reads its environment when it is imported, and would report to its maker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEM0_TELEMETRY", "False")
        patch.setenv("MEM0_DIR", str(tmp_path_factory.mktemp("mem0")))
        import mem0

        yield mem0.Memory


@pytest.fixture
def theirs(mem0_class: Any, tmp_path: Any) -> Iterator[Any]:
    store = {"client": QdrantClient(":memory:"), "collection_name": "memories", "embedding_model_dims": 26}
    memory = mem0_class.from_config(
        {
            "vector_store": {"provider": "qdrant", "config": store},
            "embedder": {"provider": "openai", "config": {"api_key": "none"}},
            "llm": {"provider": "openai", "config": {"api_key": "none"}},
            "history_db_path": str(tmp_path / "history.db"),
        }
    )
    memory.embedding_model = Letters()
    memory.llm = None  # nothing is inferred here
    for i, text in enumerate(TEXTS):
        memory.add(text, user_id="ann", infer=False, metadata={"stars": i})
    yield memory
    memory.close()


@pytest.fixture
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(
        ":memory:",
        features=["score"],
        weights={"score": 1.0, "act.activation": 1.0},
        learner="both",
        rewards="memory",
        temperature=0.0,
        pepper="test",
    ) as found:
        yield found


def texts(found: dict[str, Any]) -> list[str]:
    return [one["memory"] for one in found["results"]]


def test_memories_come_in_the_learned_order(theirs: Any, loop: dwell.Loop) -> None:
    ours = DwellMem0(theirs, loop)
    plain = theirs.search("kettle", filters={"user_id": "ann"}, top_k=2)
    first = ours.search("kettle", user_id="ann", top_k=2, event_id="e")
    assert first == {**plain, "event_id": "e", "fallback": None}  # until somebody reacts, theirs, unchanged
    loop.when_recorded("e").result()
    assert loop.shown("e") == [one["id"] for one in plain["results"]]
    assert loop.inspect("e").story["user"] == loop.pseudonym("ann")

    last = ours.search("kettle", user_id="ann", limit=3, event_id="f")["results"][-1]
    assert ours.feedback("f", "used", memory_id=last["id"]).status == "joined"
    assert texts(ours.search("kettle", user_id="ann", top_k=1)) == [last["memory"]]
    unknown = ours.feedback("f", "praised", memory_id=last["id"], by="agent")
    assert (unknown.status, "agent_praised" in str(unknown.reason)) == ("rejected", True)
    assert texts(asyncio.run(ours.asearch("kettle", filters={"user_id": "ann"}, top_k=1))) == [last["memory"]]


def test_what_is_deleted_is_gone_from_the_loop_too(theirs: Any, loop: dwell.Loop) -> None:
    ours = DwellMem0(theirs, loop)
    found = ours.search("kettle", user_id="ann", event_id="e")["results"]
    ours.feedback("e", "used", memory_id=found[0]["id"])
    assert loop.activation is not None
    assert ours.delete(found[0]["id"]) == {"message": "Memory deleted successfully!"}
    assert sorted(loop.activation.items()) == sorted(one["id"] for one in found[1:])
    asyncio.run(ours.adelete(found[1]["id"]))
    assert loop.activation.items() == [found[2]["id"]]
    assert [one["memory"] for one in ours.get_all(filters={"user_id": "ann"})["results"]] == [found[2]["memory"]]

    ours.delete_all(user_id="ann")
    assert theirs.get_all(filters={"user_id": "ann"})["results"] == []
    assert loop.is_erased("ann")
    assert found[2]["id"] not in loop.activation.items()
    assert {loop.activation.explain(one["id"]).exposure_mass for one in found} == {0.0}


def test_whatever_the_loop_lacks_leaves_their_order(theirs: Any) -> None:
    with dwell.open(":memory:", features=["price"], weights={"price": 1.0}) as loop:
        found = DwellMem0(theirs, loop).search("kettle", user_id="ann", top_k=2)
        plain = theirs.search("kettle", filters={"user_id": "ann"}, top_k=2)
        assert found["results"] == plain["results"]
        assert (loop.counts["fallback"], found["fallback"]) == (1, "feature_schema:price")


def test_numbers_in_metadata_and_age_are_features(theirs: Any) -> None:
    features = ["stars", "recency"]
    with dwell.open(":memory:", features=features, weights={"stars": 1.0, "recency": 0.0}, temperature=0.0) as loop:
        found = DwellMem0(theirs, loop).search("kettle", user_id="ann")
        assert texts(found) == ["stove", "blue kettle", "red kettle"]  # by stars


class Older:
    """How mem0 1.x is asked, by its documentation; it is not installed here."""

    def search(self, query: str, user_id: str | None = None, limit: int = 100, filters: Any = None) -> Any:
        assert (query, user_id, filters) == ("kettle", "ann", {"kind": "x"})
        return {"results": [{"id": str(i), "memory": str(i), "score": float(i)} for i in range(limit)]}


def test_an_older_memory_is_asked_by_its_own_names(loop: dwell.Loop) -> None:
    found = DwellMem0(Older(), loop, n_candidates=5).search("kettle", user_id="ann", filters={"kind": "x"}, limit=2)
    assert texts(found) == ["4", "3"]


def test_bad_arguments_are_refused_by_name(loop: dwell.Loop) -> None:
    with pytest.raises(ConfigError, match="'memory'"):
        DwellMem0({}, loop)
    with pytest.raises(RecordError, match="'n_candidates'"):
        DwellMem0(Older(), loop, n_candidates=0)
    with pytest.raises(RecordError, match="'top_k'"):
        DwellMem0(Older(), loop).search("kettle", top_k=0)
    with pytest.raises(RecordError, match="'limit'"):
        DwellMem0(Older(), loop).search("kettle", limit=True)
    with pytest.raises(RecordError, match="'by'"):
        DwellMem0(Older(), loop).feedback("e", "used", by="robot")  # type: ignore[arg-type]
    with pytest.raises(AttributeError):
        DwellMem0(Older(), loop)._anything  # noqa: B018 - that it is not there is what is tried
