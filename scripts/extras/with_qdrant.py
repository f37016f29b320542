"""A collection in memory is a source of candidates."""

from qdrant_client import QdrantClient, models

from dwell.integrations.sources.qdrant import QdrantSource

client = QdrantClient(":memory:")
client.create_collection("kb", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE))
client.upsert("kb", [models.PointStruct(id=12, vector=[1.0, 0.0]), models.PointStruct(id=13, vector=[0.0, 1.0])])
found = QdrantSource(client, "kb").search("reset 2fa", query_embedding=[1.0, 0.1])
assert [one.id for one in found] == ["12", "13"]
print(found[0].features)
client.close()
