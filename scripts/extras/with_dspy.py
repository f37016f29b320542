"""A retrieval model in the learned order, as a module of DSPy."""

import dwell
from dwell.integrations.dspy import DwellRetrieve, DwellRM

with dwell.open(":memory:", features=["score"], weights={"score": 1.0}, temperature=0.0, pepper="p") as loop:
    rm = DwellRM(lambda _query, k: [{"long_text": f"p{i}", "pid": i, "score": i / 10} for i in range(k)], loop)
    found = DwellRetrieve(rm, k=2)(query="q")
    assert found.passages == ["p19", "p18"], found.passages
    print(loop.feedback(found.event_id, "click", doc=found.pids[0]).status)
