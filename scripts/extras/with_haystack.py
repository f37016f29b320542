"""A pipeline with the ranker is written down, read again and run."""

from haystack import Document, Pipeline

from dwell.integrations.haystack import DwellRanker

settings = {"weights": {"score": 1.0}, "temperature": 0.0}
pipeline = Pipeline()
pipeline.add_component("ranker", DwellRanker("s.dwell", features=["score"], settings=settings, top_k=1))
again = Pipeline.loads(pipeline.dumps(), allowed_modules=["dwell"])
documents = [Document(id="a", content="x", score=0.1), Document(id="b", content="y", score=0.9)]
answer = again.run({"ranker": {"query": "q", "documents": documents}})["ranker"]
assert [document.id for document in answer["documents"]] == ["b"]
print(f"event {answer['event_id'][:8]}... by a ranker that was read from text")
