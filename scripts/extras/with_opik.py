"""Opik's own client is taken; that its server is away is told by name."""

import opik

import dwell
from dwell.errors import ServiceError
from dwell.integrations.scores import import_scores, opik_scores

client = opik.Opik(host="http://127.0.0.1:9/api", project_name="kb", _use_batching=False)
with dwell.open(":memory:", features=["score"], pepper="p") as loop:
    try:
        import_scores(loop, opik_scores(client, "kb"), {"helpful": "thumbs"}, since=1e9)
    except ServiceError as error:
        print(str(error)[:80])
    else:
        raise AssertionError("nobody listens there")
