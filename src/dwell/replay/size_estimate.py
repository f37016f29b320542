"""How much memory an experience takes, by a rule that anyone can recompute.

Sizes are those of CPython 3.11 on 64 bits: they are an estimate of what the interpreter holds, made so that a bound
in bytes is a bound, not so that it is exact to the byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final

import numpy as np

from dwell.records import Experience

__all__ = ["experience_bytes", "index_bytes", "text_bytes"]

TEXT_BYTES: Final = 49  # sys.getsizeof("")
NUMBER_BYTES: Final = 32  # 24 for a float, 8 for the reference to it
CONTAINER_BYTES: Final = 64  # sys.getsizeof({}); lists and tuples have 56 and 40
ENTRY_BYTES: Final = 24  # hash, key and value of one dict entry
ARRAY_BYTES: Final = 112  # sys.getsizeof(numpy.empty(0))
INDEX_BYTES: Final = 112  # columns 56, age 10, tables of seqs and ids 33, a tree 9: 108 without the texts

_FIELDS: Final = tuple(field.name for field in fields(Experience) if field.init)


def index_bytes(event_id: str, user: str | None, segment: str | None) -> int:
    """Return the estimated memory of one entry of the index."""
    n_bytes = INDEX_BYTES + text_bytes(event_id)
    if user is not None:
        n_bytes += text_bytes(user)
    return n_bytes if segment is None else n_bytes + text_bytes(segment)


def experience_bytes(experience: Experience) -> int:
    """Return the estimated memory of a kept experience and its entry of the index."""
    return INDEX_BYTES + sum(8 + _size(getattr(experience, name)) for name in _FIELDS)


def text_bytes(text: str) -> int:
    """Return the estimated memory of a text."""
    return TEXT_BYTES + len(text if text.isascii() else text.encode("utf-8", "surrogatepass"))


def _size(value: object) -> int:
    if isinstance(value, str):
        return text_bytes(value)
    if isinstance(value, np.ndarray):
        return ARRAY_BYTES + value.nbytes
    if isinstance(value, Mapping):
        return CONTAINER_BYTES + sum(ENTRY_BYTES + _size(key) + _size(item) for key, item in value.items())
    if isinstance(value, Sequence):
        if value and all(type(item) is float for item in value):
            return CONTAINER_BYTES + NUMBER_BYTES * len(value)
        return CONTAINER_BYTES + sum(8 + _size(item) for item in value)
    return 0 if value is None else NUMBER_BYTES
