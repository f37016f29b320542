"""Which examination is in force: measured from the loop's own draws where that says enough, assumed until then.

It changes only where a measurement differs from it beyond chance and by an amount that matters, and only while no
proposal stands: what has been judged stays judged under one examination. A change computes the exposure of every event
in memory anew, from what was logged.
"""

from __future__ import annotations

from typing import Final, Literal, cast

import msgspec

from dwell.config import Config
from dwell.loop.judge import Band
from dwell.loop.looks import click_table, looks_of
from dwell.loop.state import LoopState
from dwell.reward.examination import Examination, Fitted, PositionBased
from dwell.reward.measuring import Measured, examination_after, measure
from dwell.storage import Reader

__all__ = [
    "band_of",
    "examination_in_force",
    "kept_examination",
    "measured_now",
    "note_measured",
    "settle_examination",
]

_EXAMINATION: Final = "examination"  # setting of the tenant


class _Kept(msgspec.Struct, frozen=True):
    values: list[float]
    se: list[float]
    n_lists: int
    n_effective: list[float]
    source: Literal["harvest", "swaps", "regression_em"]


def examination_in_force(reader: Reader, config: Config) -> Examination:
    """Return the examination that was measured here, or the assumed one where none was, or none is to be."""
    kept = None if config.training.examination == "assumed" else kept_examination(reader)
    return PositionBased(config.training.examination_eta) if kept is None else kept


def kept_examination(reader: Reader) -> Fitted | None:
    """Return the examination that was measured here and taken over, or None."""
    body = reader.setting(_EXAMINATION)
    if not body:
        return None
    kept = msgspec.msgpack.decode(body, type=_Kept)
    return Fitted(tuple(kept.values), tuple(kept.se), kept.n_lists, tuple(kept.n_effective), kept.source)


def measured_now(state: LoopState) -> Measured:
    """Return the examination that the events in memory speak for, with its band; nothing changes."""
    assumed = PositionBased(state.config.training.examination_eta)
    k = state.limits.max_results
    if state.config.training.examination == "assumed":
        return measure(assumed, k)
    looks = looks_of(state)
    found = measure(assumed, k, harvested=looks.harvested, swaps=looks.swaps)
    if not found.is_assumed:
        return found
    return measure(assumed, k, harvested=looks.harvested, swaps=looks.swaps, table=click_table(state))


def band_of(state: LoopState) -> Band:
    """Return between what examination lies, measured once until a proposal is learned."""
    if state.band is None:
        note_measured(state, measured_now(state))
    return cast("Band", state.band)


def note_measured(state: LoopState, measured: Measured) -> None:
    """Have verdicts depend on this band until a proposal is learned."""
    state.band = Band.of(measured)
    state.measured = measured


def settle_examination(state: LoopState, measured: Measured | None = None) -> None:
    """Take over a measured examination where it differs materially from the one in force; no proposal stands.

    Args:
        state: The loop.
        measured: What was measured, where the events are not in memory here.
    """
    measured = measured_now(state) if measured is None else measured
    note_measured(state, measured)
    found = examination_after(state.rules.examination, measured)
    if found is state.rules.examination or not isinstance(found, Fitted):
        return
    body = msgspec.msgpack.encode(
        _Kept(list(found.values), list(found.se), found.n_lists, list(found.n_effective), found.source)
    )
    with state.replayed.changing():
        state.write(lambda tx: tx.put_setting(_EXAMINATION, body))
        state.rules = state.rules._replace(examination=found)
        state.replayed.expose_anew(found)
        if state.watched is not None:
            state.watched.judgement = None  # what has been judged is judged again: one sequence, one examination
    state.counters["examinations_measured"] += 1
