"""Langfuse's own client is taken; that its server is away is told by name."""

from langfuse import Langfuse

import dwell
from dwell.errors import ServiceError
from dwell.integrations.scores import import_scores, langfuse_scores

client = Langfuse(public_key="pk", secret_key="sk", host="http://127.0.0.1:9", tracing_enabled=False)  # noqa: S106 - nobody listens there
with dwell.open(":memory:", features=["score"], pepper="p") as loop:
    try:
        import_scores(loop, langfuse_scores(client), {"helpful": "thumbs"}, since=1e9)
    except ServiceError as error:
        print(str(error)[:80])
    else:
        raise AssertionError("nobody listens there")
