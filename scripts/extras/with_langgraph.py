"""A store of LangGraph in the loop's order, with feedback by event id."""

from collections.abc import Sequence

from langgraph.store.base import IndexConfig
from langgraph.store.memory import InMemoryStore

import dwell
from dwell.integrations.langgraph import DwellStore, RecalledItem


def letters(texts: Sequence[str]) -> list[list[float]]:
    """Return how often each letter stands in each text."""
    return [[float(text.count(letter)) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


with dwell.open(":memory:", features=["score"], rewards="memory", pepper="p") as loop:
    store = DwellStore(InMemoryStore(index=IndexConfig(dims=26, embed=letters)), loop)
    store.put(("ann",), "units", {"text": "prefers metric units"})
    found = store.search(("ann",), query="units")
    assert isinstance(found[0], RecalledItem)
    assert found[0].event_id is not None
    print(store.feedback(found[0].event_id, "used", item=found[0]).status)
