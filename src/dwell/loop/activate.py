"""A deferred list was shown: from now on it is waited for and learned from, as far as what was shown is ours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from dwell.errors import RecordError, UnknownEventError
from dwell.loop.activity import Watch
from dwell.loop.state import LoopState
from dwell.records import checks
from dwell.storage import EventState, Transaction

__all__ = ["activate", "is_altered"]


def is_altered(served: Sequence[str], shown: Sequence[str]) -> bool:
    """Return whether the policy did not choose what was shown; a shorter list from the top is its own."""
    return list(shown) != list(served[: len(shown)])


def activate(state: LoopState, event_id: object, *, shown: object, now: float) -> None:
    """Record that a deferred event was shown; telling the same again does nothing.

    An order that was not served, or items pinned among those that were, mark the event altered: its signals join and
    its reward is told, and nothing is learned from it.

    Args:
        state: The loop.
        event_id: The event.
        shown: The ids rendered, in order; None: the list as served.
        now: UTC epoch seconds.

    Raises:
        RecordError: Nothing shown, a repeat, no id among them that was served, or code `not_deferred`: the event
            stands as shown otherwise already.
        UnknownEventError: No such event.
    """
    event = checks.event_id(event_id)
    told = None if shown is None else _rendered(shown)

    def job(tx: Transaction, watch: Watch | None) -> None:
        found = tx.event(event)
        if found is None:
            raise UnknownEventError("no such event", field="event_id", value=event, hint="Activate what rank returned.")
        rendered = found.shown if told is None else told
        if found.state != "not_shown":
            _check_is_retry(tx, found, told)
            return
        if not set(rendered) & set(found.shown):
            raise RecordError(
                "none of the documents was served by this event",
                code="not_served",
                field="shown",
                value=rendered,
                hint="Check the event id.",
            )
        if watch is not None:
            watch.expect(tx, found)
        tx.add_activation(found.seq, shown=rendered, is_altered=is_altered(found.shown, rendered), at=now)
        shown = tx.event(event)
        if watch is not None and shown is not None:
            watch.served(shown)
            watch.reacted(tx, shown)

    state.write_watched(job)


def _rendered(shown: object) -> tuple[str, ...]:
    """Return the ids that a caller says were rendered.

    Raises:
        RecordError: No sequence of ids, none, or one of them twice.
    """
    # text is a sequence of text, too: "abc" would be three documents
    is_sequence = isinstance(shown, Sequence) and not isinstance(shown, str | bytes)
    if not is_sequence and not (isinstance(shown, np.ndarray) and shown.ndim == 1):
        raise RecordError(
            "what was shown is a sequence of document ids",
            code="type",
            field="shown",
            value=shown,
            hint="Pass a list of the ids rendered, in order.",
        )
    rendered = tuple(checks.identifier(doc, f"shown[{i}]") for i, doc in enumerate(cast("Sequence[object]", shown)))
    if not rendered or len(set(rendered)) != len(rendered):
        raise RecordError(
            "what was shown is a list of different documents",
            code="results_shape",
            field="shown",
            value=rendered,
            hint="Pass the ids rendered, in order; do not activate what was not shown.",
        )
    return rendered


def _check_is_retry(tx: Transaction, found: EventState, told: tuple[str, ...] | None) -> None:
    """Refuse what would change an event that stands as shown.

    Raises:
        RecordError: code `not_deferred`.
    """
    if told is not None:
        is_same = told == found.shown
    else:
        # as served: neither altered nor cut, which the propensities tell, one for each document served
        is_same = all(not i.is_altered and len(i.propensities) == len(found.shown) for i in tx.impressions([found.seq]))
    if not is_same:
        raise RecordError(
            "the event stands as shown already, with another list",
            code="not_deferred",
            field="event_id",
            value=found.event_id,
            hint="Serve with activate=False, and activate once with what was rendered.",
        )
