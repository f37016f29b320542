"""Bodies of rank calls, read in one go where they are as they should be.

A list of a hundred candidates is a thousand JSON values, and reading them as mappings, and those once more as rows, is
reading them twice. The features of a tenant are known, so that candidates are read into structs of these at once.
Whatever is not just so is left to the slow way, which names what is wrong.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, NamedTuple, cast, get_type_hints

import msgspec
import numpy as np
from msgspec.structs import astuple

from dwell.records.arrays import FloatArray
from dwell.server.repeats import could_repeat
from dwell.server.wire import MOST_CANDIDATES, RankBody

__all__ = ["Ranked", "read_ranked"]

_names: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Ranked(NamedTuple):
    """A body whose candidates are rows already.

    Attributes:
        body: All the rest; its `candidates` are None.
        ids: The candidates' ids, n >= 1 of them, unchecked but for being text.
        features: float64 (n, f), C-contiguous, columns in the order of the names; finite as float64.
    """

    body: RankBody
    ids: list[str]
    features: FloatArray


def read_ranked(body: bytes, names: tuple[str, ...]) -> Ranked | None:
    """Return a body whose candidates are mappings with exactly these features; None where it is to be read slowly.

    Args:
        body: JSON, perhaps.
        names: The features in the order of the columns.
    """
    decoders = _decoders(names)
    if decoders is None:
        return None
    try:
        given = _names(body)
        values = {name: decoders[name](raw) for name, raw in given.items()}
        candidates = cast("list[Any]", values.pop("candidates"))
        if not 1 <= len(candidates) <= MOST_CANDIDATES or could_repeat(
            body, len(given) + len(candidates) * (1 + len(names))
        ):
            return None
        found = RankBody(**values)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return None
    if found.ids is not None or found.features is not None:  # both ways of naming them: told by the slow way
        return None
    ids, *columns = zip(*map(astuple, candidates), strict=True)
    return Ranked(found, list(ids), np.ascontiguousarray(np.array(columns, dtype=np.float64).T))


@lru_cache(maxsize=64)  # tenants of one service that name their features differently
def _decoders(names: tuple[str, ...]) -> dict[str, Any] | None:
    """Return how each value of a body is read; None where a struct can not have these names."""
    if not names or "id" in names:
        return None
    fields = [("f_id", str), *((f"f_{j}", float) for j in range(len(names)))]
    spelled = dict(zip((name for name, _ in fields), ("id", *names), strict=True))
    try:
        candidate = msgspec.defstruct("Candidate", fields, rename=spelled, forbid_unknown_fields=True)
    except ValueError:  # a name with quotes in it, for one
        return None
    kinds: dict[str, Any] = get_type_hints(RankBody, include_extras=True)
    return {
        name: msgspec.json.Decoder(list[candidate] if name == "candidates" else kind).decode  # type: ignore[valid-type]
        for name, kind in kinds.items()
    }
