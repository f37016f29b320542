"""A traced loop does what the loop does."""

import dwell
from dwell.integrations.otel import traced

with dwell.open(":memory:", features=["good"], pepper="p") as loop:
    served = traced(loop).rank("q", [{"id": "a", "good": 1.0}, {"id": "b", "good": 0.0}])
    print("traced", sorted(served.ids))
