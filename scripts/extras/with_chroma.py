"""A collection in memory is a source of candidates."""

import chromadb
import numpy as np
from chromadb.config import Settings

from dwell.integrations.sources.chroma import ChromaSource

client = chromadb.EphemeralClient(Settings(anonymized_telemetry=False))
pages = client.create_collection("pages", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None)
pages.add(ids=["kb-12", "kb-13"], embeddings=np.eye(2, dtype=np.float32))
found = ChromaSource(pages).search("reset 2fa", query_embedding=[1.0, 0.1])
assert [one.id for one in found] == ["kb-12", "kb-13"]
print(found[0].features)
