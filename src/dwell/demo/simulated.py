"""Simulated visitors whom a person sends after one result of the search page."""

from __future__ import annotations

from typing import Final

from dwell.loop import Loop
from dwell.retrieval import Candidates

__all__ = ["N_SENT", "SEGMENT", "send_after"]

N_SENT: Final = 30  # more than the 20 effective users that the gate wants behind a promotion

#: The segment of everything that they do: so pages that know no user by name tell them from people.
SEGMENT: Final = "simulated"

_SHOWN: Final = 10  # as the page shows


def send_after(loop: Loop, query: str, found: Candidates, doc_id: str) -> int:
    """Have 30 distinct simulated visitors search, and click one document wherever it is shown; return how many did.

    Each reads the whole list of ten, wants that document and nothing else, and clicks nothing where it is not in it.
    The same 30 come again at the next call.

    Args:
        loop: The loop that serves them, and hears of it.
        query: What they search for.
        found: Its candidates.
        doc_id: What they want.

    Raises:
        RecordError: The query can not be served.
    """
    pending = []
    for number in range(1, N_SENT + 1):
        served = loop.rank(
            query,
            ids=found.ids,
            features=found.features,
            k=_SHOWN,
            user=f"simulated visitor {number}",
            segment=SEGMENT,
        )
        if doc_id in served.ids:
            pending.append(loop.submit_feedback(served.event_id, "click", doc=doc_id))
    return sum(answer.result().status == "joined" for answer in pending)
