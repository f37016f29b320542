"""The client serves the caller's order where nobody answers."""

import dwell

with dwell.Client("http://127.0.0.1:9", key="dwell_sec_none") as client:
    served = client.rank("q", [{"id": "a", "good": 1.0}, {"id": "b", "good": 0.0}])
assert served.ids == ["a", "b"]
print(served.fallback)
