"""Phoenix's own client is taken; that its server is away is told by name."""

from phoenix.client import Client

import dwell
from dwell.errors import ServiceError
from dwell.integrations.scores import import_scores, phoenix_scores

client = Client(base_url="http://127.0.0.1:9")
with dwell.open(":memory:", features=["score"], pepper="p") as loop:
    try:
        import_scores(loop, phoenix_scores(client, "kb"), {"helpful": "thumbs"}, since=1e9)
    except ServiceError as error:
        print(str(error)[:80])
    else:
        raise AssertionError("nobody listens there")
