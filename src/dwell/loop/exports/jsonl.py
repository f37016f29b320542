"""Experiences as lines of JSON: every field of `dwell.Experience` under its own name."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import msgspec

from dwell.loop.exports.pieces import Piece, StoreNames
from dwell.loop.recorded_events import RecordedEvent
from dwell.records import Experience

__all__ = ["jsonl"]

_FIELDS = tuple(field.name for field in dataclasses.fields(Experience) if field.init)


def jsonl(events: Iterable[RecordedEvent], names: StoreNames) -> Iterator[Piece]:
    """Yield one line per event."""
    del names
    for event in events:
        experience = event.experience()
        record = {name: getattr(experience, name) for name in _FIELDS}
        yield Piece(msgspec.json.encode(record, enc_hook=dict) + b"\n", 1)
