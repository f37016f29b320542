"""LangGraph's own store around a loop: searched in the learned order, all else as it was."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator, Sequence

import pytest
from langgraph.store.base import GetOp, ListNamespacesOp, PutOp, SearchItem, SearchOp
from langgraph.store.memory import InMemoryStore

import dwell
from dwell.errors import ConfigError, MissingDependencyError, RecordError
from dwell.integrations.langgraph import DwellStore, RecalledItem, doc_id

ANN = ("ann", "memories")
TEXTS = {"red": "red kettle", "blue": "blue kettle", "stove": "stove"}


def letters(texts: Sequence[str]) -> list[list[float]]:
    return [[float(text.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


def plain() -> InMemoryStore:
    store = InMemoryStore(index={"dims": 26, "embed": letters})
    for key, text in TEXTS.items():
        store.put(ANN, key, {"text": text})
    return store


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


def keys(found: Sequence[SearchItem]) -> list[str]:
    return [item.key for item in found]


def test_a_search_comes_in_the_stores_order_until_somebody_reacts(loop: dwell.Loop) -> None:
    inner = plain()
    store = DwellStore(inner, loop, user_of=lambda namespace: namespace[0])
    theirs = inner.search(ANN, query="kettle", limit=2)
    ours = store.search(ANN, query="kettle", limit=2)
    assert keys(ours) == keys(theirs)
    first = ours[0]
    assert isinstance(first, RecalledItem)
    assert (first.value, first.score, first.namespace) == (theirs[0].value, theirs[0].score, ANN)
    assert first.dict() == {**theirs[0].dict(), "event_id": first.event_id, "fallback": None}
    assert first.event_id is not None

    told = store.feedback(first.event_id, "used", item=ours[1])
    assert told.status == "joined"
    assert keys(store.search(ANN, query="kettle", limit=2))[0] == ours[1].key
    recorded = loop.recorded([first.event_id])[first.event_id]
    assert recorded.query == "kettle"
    assert loop.shown(first.event_id) == [doc_id(ANN, item.key) for item in ours]
    assert loop.inspect(first.event_id).story["user"] == loop.pseudonym("ann")


def test_more_are_asked_for_than_are_shown(loop: dwell.Loop) -> None:
    """What the store has in the third place can come first."""
    store = DwellStore(plain(), loop)
    found = store.search(ANN, query="kettle", limit=3)
    last = found[-1]
    assert isinstance(last, RecalledItem)
    store.feedback(str(last.event_id), "used", item=last)
    assert keys(store.search(ANN, query="kettle", limit=1)) == [last.key]
    narrow = DwellStore(plain(), loop, n_candidates=1)
    assert keys(narrow.search(ANN, query="kettle", limit=1)) != [last.key]


def test_what_is_no_search_with_a_query_is_the_stores_own(loop: dwell.Loop) -> None:
    inner = plain()
    store = DwellStore(inner, loop)
    ops = [
        GetOp(ANN, "red"),
        SearchOp(ANN),
        SearchOp(ANN, query="kettle", limit=1, offset=1),
        SearchOp(ANN, filter={"text": "stove"}),
        ListNamespacesOp(),
    ]
    assert store.batch(ops) == inner.batch(ops)
    assert store.batch([PutOp(ANN, "new", {"text": "new"})]) == [None]
    assert store.get(ANN, "new") is not None
    assert store.get(ANN, "red") == inner.get(ANN, "red")
    assert store.list_namespaces() == [ANN]
    assert store.search(ANN, query="kettle", filter={"text": "nothing"}) == []
    assert store.supports_ttl == inner.supports_ttl
    assert sum(loop.event_counts()[state] for state in ("open", "closed")) == 0


def test_a_deleted_item_takes_its_activation_along(loop: dwell.Loop) -> None:
    store = DwellStore(plain(), loop)
    found = store.search(ANN, query="kettle", limit=2)
    store.feedback(str(found[0].event_id), "used", item=found[0])  # type: ignore[attr-defined]
    assert loop.activation is not None
    store.delete(ANN, found[0].key)
    assert loop.activation.items() == [doc_id(ANN, found[1].key)]
    assert store.get(ANN, found[0].key) is None
    asyncio.run(store.adelete(ANN, found[1].key))
    assert loop.activation.items() == []


def test_it_does_the_same_in_a_coroutine(loop: dwell.Loop) -> None:
    store = DwellStore(plain(), loop)

    async def asked() -> list[SearchItem]:
        await store.aput(ANN, "green", {"text": "green kettle"})
        return await store.asearch(ANN, query="kettle", limit=4)

    found = asyncio.run(asked())
    assert sorted(keys(found)) == ["blue", "green", "red", "stove"]
    assert len({item.event_id for item in found if isinstance(item, RecalledItem)}) == 1


def test_numbers_of_a_value_and_its_age_are_features() -> None:
    features = ["score", "stars", "recency"]
    with dwell.open(":memory:", features=features, weights={"stars": 1.0, "score": 0.0, "recency": 0.0}) as loop:
        store = DwellStore(InMemoryStore(), loop, defaults={"score": 0.0})
        store.put(ANN, "a", {"text": "x", "stars": 1, "is_read": True})
        store.put(ANN, "b", {"text": "x", "stars": 5.0})
        found = store.search(ANN, query="x")
        assert isinstance(found[0], RecalledItem)
        loop.when_recorded(str(found[0].event_id)).result()
        shown = {str(one["id"]): one for one in next(iter(loop.experiences())).results_served}
        assert shown[doc_id(ANN, "b")]["stars"] == 5.0
        assert -0.01 < float(shown[doc_id(ANN, "b")]["recency"]) <= 0.0  # changed seconds ago


def test_whatever_the_loop_lacks_leaves_the_stores_order() -> None:
    with dwell.open(":memory:", features=["price"], weights={"price": 1.0}) as loop:
        inner = plain()
        found = DwellStore(inner, loop).search(ANN, query="kettle", limit=2)
        assert keys(found) == keys(inner.search(ANN, query="kettle", limit=2))
        assert loop.counts["fallback"] == 1
        assert {one.dict()["fallback"] for one in found} == {"feature_schema:price"}


def test_namespaces_and_keys_do_not_run_into_each_other() -> None:
    assert doc_id(("a", "b"), "c") != doc_id(("a",), "b/c")
    assert doc_id(("a", "b"), "c") == doc_id(["a", "b"], "c")


def test_bad_arguments_are_refused_by_name(loop: dwell.Loop) -> None:
    with pytest.raises(ConfigError, match="'store'"):
        DwellStore({}, loop)  # type: ignore[arg-type]
    with pytest.raises(RecordError, match="'n_candidates'"):
        DwellStore(InMemoryStore(), loop, n_candidates=0)
    with pytest.raises(RecordError, match="'by'"):
        DwellStore(InMemoryStore(), loop).feedback("e", "used", by="robot")  # type: ignore[arg-type]


def test_a_key_alone_is_no_item(loop: dwell.Loop) -> None:
    store = DwellStore(plain(), loop)
    first = store.search(ANN, query="kettle")[0]
    assert isinstance(first, RecalledItem)
    with pytest.raises(RecordError, match="an item of the store is due here"):
        store.feedback(first.event_id or "", "used", item=first.key)  # type: ignore[arg-type]
    told = store.get(ANN, first.key)  # an item that no search gave is one as well
    assert store.feedback(first.event_id or "", "used", item=told).status == "joined"


def test_agents_words_have_their_own_name(loop: dwell.Loop) -> None:
    store = DwellStore(plain(), loop)
    found = store.search(ANN, query="kettle", limit=1)
    told = store.feedback(str(found[0].event_id), "praised", item=found[0], by="agent")  # type: ignore[attr-defined]
    assert told.status == "rejected"
    assert "agent_praised" in str(told.reason)


def test_without_the_library_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "langgraph.store.base", None)
    monkeypatch.delitem(sys.modules, "dwell.integrations.langgraph")
    with pytest.raises(MissingDependencyError, match=r"pip install 'dwell\[langgraph\]'"):
        importlib.import_module("dwell.integrations.langgraph")
