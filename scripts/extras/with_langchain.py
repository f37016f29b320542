"""A retriever of LangChain in the loop's order; its run takes the feedback."""

from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

import dwell
from dwell.integrations.langchain import DwellRetriever, feedback_for_run

found = [Document(id=f"d{i}", page_content="x", metadata={"good": float(i)}) for i in range(3)]
with dwell.open(":memory:", features=["good"], weights={"good": 1.0}, temperature=0.0, pepper="p") as loop:
    documents = DwellRetriever(base=RunnableLambda(lambda _query: found), loop=loop, k=2).invoke("q")
    assert [document.id for document in documents] == ["d2", "d1"]
    print(feedback_for_run(loop, documents[0].metadata["event_id"], "click", doc=documents[0])[0].status)
