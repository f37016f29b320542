"""How often events are replayed: counted over the life of a store, a restart gives the learner nothing for free."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from dwell.errors import ReplayError
from dwell.health.snapshot import BatchesSeen
from dwell.loop.state import LoopState
from dwell.replay.meter import RateMeter
from dwell.storage import Reader, Transaction

__all__ = ["Metered", "put_metered", "stored_meter", "taken_up"]

_KEY: Final = "meter"  # setting of the tenant


class Metered(msgspec.Struct, frozen=True):
    """What is kept of the meter in the store.

    Attributes:
        meter: `RateMeter.to_state`.
        n_live: Events that could be replayed then: those beyond it at the next opening came in since.
        oldest_params_version: Oldest version among the events that were learned from, or None.
        batches: What the last learning drew, or None.
    """

    meter: dict[str, Any]
    n_live: int
    oldest_params_version: int | None = None
    batches: BatchesSeen | None = None


def stored_meter(reader: Reader) -> Metered | None:
    """Return what was kept, or None where nothing was, or nothing that can be used: then the count begins anew."""
    body = reader.setting(_KEY)
    try:
        found = None if body is None else msgspec.msgpack.decode(body, type=Metered)
        if found is not None:
            RateMeter.from_state(found.meter)
    except (msgspec.DecodeError, ReplayError):
        return None
    return found


def taken_up(state: LoopState, reader: Reader) -> RateMeter:
    """Return the meter with everything noted that came in, under the limit of the settings.

    Args:
        state: The loop; its training lock is held and its memory is up to date.
        reader: The facts, for what an earlier process counted.
    """
    meter = state.meter
    if meter is None:
        meter, found = RateMeter(), stored_meter(reader)
        if found is not None:
            meter, state.n_metered = RateMeter.from_state(found.meter), found.n_live
        limited = {"max_samples_per_insert": state.config.replay.max_ratio, "error_buffer": None, "min_size": 1}
        meter = RateMeter.from_state(meter.to_state() | limited)
    n_new = max(state.replayed.n_taken_in - state.n_metered, 0)
    state.n_metered = state.replayed.n_taken_in
    state.meter = meter.inserted(n_new)
    return state.meter


def put_metered(
    tx: Transaction,
    meter: RateMeter,
    *,
    n_live: int,
    oldest_params_version: int | None,
    batches: BatchesSeen | None = None,
) -> None:
    """Keep the meter, and what was drawn, in the store."""
    tx.put_setting(_KEY, msgspec.msgpack.encode(Metered(meter.to_state(), n_live, oldest_params_version, batches)))
