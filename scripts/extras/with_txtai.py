"""A search over a real index of txtai, by keywords: no model is fetched."""

from txtai import Embeddings

import dwell
from dwell.integrations.txtai import searched

embeddings = Embeddings(keyword=True, content=True)
embeddings.index([("kb-3", "Reset a password", None), ("kb-12", "Reset 2FA of an account", None)])
with dwell.open(":memory:", features=["score"], temperature=0.0, pepper="p") as loop:
    found = searched(embeddings, loop).search("reset", 2, user="u-77")
    assert {row["id"] for row in found.results} == {"kb-3", "kb-12"}, found.results
    assert found.event_id is not None
    print(loop.feedback(found.event_id, "click", doc="kb-12").status)
