"""What can still be served of a malformed call: its ids, in the caller's own order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import numpy as np

__all__ = ["MAX_CANDIDATES", "Readable", "readable_ids"]

MAX_CANDIDATES: Final = 100_000  # a ranking call is not a scan; a list beyond it is a mistake upstream


class Readable(NamedTuple):
    """What can be served of a malformed call.

    Attributes:
        ids: The ids that are text.
        n_unreadable: Items without such an id.
    """

    ids: list[str]
    n_unreadable: int


def readable_ids(candidates: object, ids: object) -> Readable | None:
    """Return the ids that can be read from a malformed call, in the caller's order without repeats, or None.

    Ids are read from whatever can be iterated, also from sets and generators, which are refused for learning.
    """
    found: dict[str, None] = {}
    n_unreadable = 0
    try:
        for item in islice(_items_of(candidates, ids), MAX_CANDIDATES):
            doc = _id_of(item)
            if doc is None:
                n_unreadable += 1
            else:
                found[doc] = None
    except Exception:  # noqa: BLE001 - a hostile collection: what was read before it raised is served
        n_unreadable += 1
    return Readable(list(found), n_unreadable) if found else None


def _items_of(candidates: object, ids: object) -> Iterable[object]:
    source: object = ids if ids is not None else candidates
    if isinstance(source, np.ndarray):
        return source.ravel().tolist()
    if isinstance(source, str | bytes | Mapping):
        return ()
    due = Sequence if ids is None else Iterable
    return source if isinstance(source, due) else ()


def _id_of(item: object) -> str | None:
    try:
        doc = item.get("id", item.get("memory_id")) if isinstance(item, Mapping) else item
    except Exception:  # noqa: BLE001 - one hostile mapping must not hide the other ids
        return None
    return (str.__str__(doc) or None) if isinstance(doc, str) else None
