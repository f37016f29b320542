"""How many erasures the facts have seen: by it every process notices those of the others."""

from __future__ import annotations

from typing import Final

import msgspec

from dwell.storage import Reader

__all__ = ["ERASURES", "n_erasures_of"]

# Setting of the tenant that counts erasures. The tombstones do not: a user who comes back and is erased again leaves
# no second one.
ERASURES: Final = "erasures"


def n_erasures_of(reader: Reader) -> int:
    """Return how many erasures these facts have seen."""
    body = reader.setting(ERASURES)
    return 0 if body is None else int(msgspec.msgpack.decode(body, type=int))
