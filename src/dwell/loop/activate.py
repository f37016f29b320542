"""A deferred list was shown: from now on it is waited for and learned from, as far as what was shown is ours."""

from __future__ import annotations

from collections.abc import Sequence

from dwell.errors import RecordError, UnknownEventError
from dwell.loop.state import LoopState
from dwell.records import checks
from dwell.storage import Transaction

__all__ = ["activate", "is_altered"]


def is_altered(served: Sequence[str], shown: Sequence[str]) -> bool:
    """Return whether the policy did not choose what was shown; a shorter list from the top is its own."""
    return list(shown) != list(served[: len(shown)])


def activate(state: LoopState, event_id: object, *, shown: Sequence[str] | None, now: float) -> None:
    """Record that an event was shown.

    Raises:
        RecordError: Nothing shown, a repeat, or an id that was not served.
        UnknownEventError: No such event.
    """
    event = checks.event_id(event_id)

    def job(tx: Transaction) -> None:
        found = tx.event(event)
        if found is None:
            raise UnknownEventError("no such event", field="event_id", value=event, hint="Activate what rank returned.")
        served = found.shown
        rendered = (
            served if shown is None else tuple(checks.identifier(doc, f"shown[{i}]") for i, doc in enumerate(shown))
        )
        if not rendered or len(set(rendered)) != len(rendered):
            raise RecordError(
                "what was shown is a list of different documents",
                code="results_shape",
                field="shown",
                value=rendered,
                hint="Pass the ids rendered, in order; do not activate what was not shown.",
            )
        foreign = [doc for doc in rendered if doc not in served]
        if foreign and len(foreign) == len(rendered):
            raise RecordError(
                "none of the documents was served by this event",
                code="not_served",
                field="shown",
                value=foreign,
                hint="Check the event id.",
            )
        tx.add_activation(found.seq, shown=rendered, is_altered=is_altered(served, rendered), at=now)

    state.write(job)
