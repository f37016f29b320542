"""Nodes of LlamaIndex in the loop's order."""

from llama_index.core.schema import NodeWithScore, TextNode

import dwell
from dwell.integrations.llamaindex import DwellPostprocessor, feedback_for

nodes = [NodeWithScore(node=TextNode(id_=f"n{i}", text="x", metadata={"good": float(i)}), score=0.5) for i in range(3)]
with dwell.open(":memory:", features=["good"], weights={"good": 1.0}, temperature=0.0, pepper="p") as loop:
    ranked = DwellPostprocessor(loop=loop, k=2).postprocess_nodes(nodes, query_str="q")
    assert [one.node_id for one in ranked] == ["n2", "n1"]
    print(feedback_for(loop, ranked[0], "click")[0].status)
