"""Which alerts fire, kept in the store: a restart forgets none and tells of none twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from dwell.health import AlertState
from dwell.storage import Reader, Transaction

__all__ = ["alert_states", "put_alert_states"]

_KEY: Final = "alert_states"  # setting of the tenant


def alert_states(reader: Reader) -> dict[str, AlertState]:
    """Return every alert that is not ok, by its code, with when it fired; none where the kept ones can not be read.

    They are what `dwell serve` last found: nobody else follows alerts over time.
    """
    body = reader.setting(_KEY)
    try:
        kept = [] if body is None else msgspec.json.decode(body, type=list[AlertState])
    except msgspec.DecodeError:  # of another version: what still holds fires once more
        return {}
    return {state.code: state for state in kept}


def put_alert_states(tx: Transaction, states: Mapping[str, AlertState]) -> None:
    """Keep where every alert stands."""
    tx.put_setting(_KEY, msgspec.json.encode(list(states.values())))
