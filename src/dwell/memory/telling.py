"""Why a list of memories stood as it stood: features by weights, and what activation is made of."""

from __future__ import annotations

from collections.abc import Callable

from dwell.loop import Loop
from dwell.loop.item_activation import ItemActivation
from dwell.memory.recalled import Standing, Why
from dwell.memory.texts import Row

__all__ = ["told_why"]


def told_why(
    loop: Loop, activation: ItemActivation, event_id: str, now: float, *, row_of: Callable[[str], Row | None]
) -> Why:
    """Return what `Memory.explain` answers.

    Args:
        loop: Has the list.
        activation: The loop's.
        event_id: The list.
        now: As of when activation is told, UTC epoch seconds.
        row_of: Finds a memory by its id.

    Raises:
        UnknownEventError: Nothing is known of the list.
    """
    found = loop.inspect(event_id)
    shown = {item: place for place, item in enumerate(loop.shown(event_id) or (), start=1)}
    served_by = found.served_by
    items = []
    for document in found.documents:
        row = row_of(document.doc)
        items.append(
            Standing(
                id=document.doc,
                text=None if row is None else row.text,
                place=shown.get(document.doc),
                parts=document.parts,
                activation=activation.explain(document.doc, now=now),
                is_pinned=row is not None and row.is_pinned,
            )
        )
    items.sort(key=lambda item: (item.place is None, item.place or 0))
    return Why(
        event_id=event_id,
        query=str(found.story.get("query", "")),
        params_version=loop.params.version if served_by is None else served_by.version,
        weights={} if served_by is None else served_by.weights,
        items=tuple(items),
        story=found.story,
    )
