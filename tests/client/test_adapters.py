"""The adapters of frameworks on a client: the same as on a loop, over HTTP."""

import uuid
from typing import Any

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

import dwell
from dwell.integrations import langchain, llamaindex
from dwell.integrations.found import Reading

NAMES = ("a", "b", "c")
READING = Reading(features=("reciprocal_rank", "fresh"))


class Nodes(BaseRetriever):
    def _retrieve(self, _: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=name, id_=name, metadata={"fresh": 0.5})) for name in NAMES]


def test_langchain_is_ordered_and_heard_by_a_served_loop(stage: Any) -> None:
    base = RunnableLambda(lambda _: [Document(name, id=name, metadata={"fresh": 0.5}) for name in NAMES])
    client = dwell.Client(stage.url)
    retriever = langchain.DwellRetriever(base=base, loop=client, k=2, reading=READING)
    run_id = uuid.uuid4()
    found = retriever.invoke("q", {"configurable": {"user_id": "u-77"}}, run_id=run_id)
    assert [one.id for one in found] == ["c", "b"]  # the served loop of these tests reverses
    asked = stage.asked[-1].json
    assert (asked["event_id"], asked["user"], asked["k"]) == (str(run_id), "u-77", 2)
    assert asked["candidates"][1] == {"id": "b", "reciprocal_rank": 0.5, "fresh": 0.5}
    assert [one.status for one in langchain.feedback_for_run(client, run_id, "used", doc=found[0])] == ["joined"]
    assert [(one["event_id"], one["doc"]) for one in stage.asked[-1].json] == [(str(run_id), "c")]
    client.close()


def test_llamaindex_is_captured_for_a_served_loop(stage: Any) -> None:
    client = dwell.Client(stage.url)
    assert [one.node_id for one in llamaindex.DwellRetriever(Nodes(), client, reading=READING).retrieve("q")] == [
        "c",
        "b",
        "a",
    ]
    with llamaindex.capture(client, reading=READING) as watching:
        found = Nodes().retrieve("q")
        assert watching.flush()
    assert watching.counts == {"recorded": 1}
    logged = stage.asked[-1]
    assert logged.path == "/v1/log_retrieval"
    assert [logged.json["event_id"]] == llamaindex.event_ids_of(found)
    assert logged.json["results"][1] == {"id": "b", "reciprocal_rank": 0.5, "fresh": 0.5}
    client.close()
