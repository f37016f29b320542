"""mem0's own class on a Qdrant in memory, with an embedding that needs no network."""

import os

os.environ["MEM0_TELEMETRY"] = "False"
os.environ["MEM0_DIR"] = os.path.abspath("mem0")  # noqa: PTH100 - mem0 takes a text

import mem0
from qdrant_client import QdrantClient

import dwell
from dwell.integrations.mem0 import DwellMem0


class Letters:
    """How often each letter stands in a text."""

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:  # noqa: ARG002 - mem0 passes it
        """Return 26 numbers."""
        return [text.count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"]

    def embed_batch(self, texts: list[str], _: str | None = None) -> list[list[float]]:
        """Return 26 numbers for each text."""
        return [self.embed(text) for text in texts]


qdrant = {"client": QdrantClient(":memory:"), "collection_name": "memories", "embedding_model_dims": 26}
none = {"provider": "openai", "config": {"api_key": "none"}}
theirs = mem0.Memory.from_config(
    {"vector_store": {"provider": "qdrant", "config": qdrant}, "embedder": none, "llm": none, "history_db_path": "h.db"}
)
theirs.embedding_model = Letters()
theirs.add("red kettle", user_id="ann", infer=False)
with dwell.open(":memory:", features=["score"], rewards="memory", pepper="p") as loop:
    found = DwellMem0(theirs, loop).search("kettle", user_id="ann", top_k=2)
    assert [one["memory"] for one in found["results"]] == ["red kettle"]
    print(loop.feedback(found["event_id"], "used", doc=found["results"][0]["id"]).status)
theirs.close()
