"""What the tests of archives share: everything in a folder, whatever its name, as bytes that can be searched."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

import dwell
from dwell.storage.archive import read_archive
from dwell.storage.archive_parts import opened_part
from dwell.storage.archive_places import archive_files
from dwell.storage.archive_rows import ArchivedEvent, archived_events, events_of

RETENTION_S = 1_000.0


def everything(loop: dwell.Loop) -> list[ArchivedEvent]:
    """Return all that a store holds, in seq order."""
    with loop.facts() as reader:
        return archived_events(reader, reader.seqs())


def archived(folder: Path, tenant: str = "") -> list[ArchivedEvent]:
    """Return all that an archive holds, in seq order."""
    found = []
    for path in archive_files(folder, tenant=tenant):
        with opened_part(path) as file:
            found += [event for i in range(file.n_groups) for event in events_of(file.group(i))]
    return sorted(found, key=lambda event: event.impression.seq)


def searchable(folder: Path) -> bytes:
    """Return every byte under a folder, and every value of every part as it was before it was compressed."""
    raw = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    tenants = [path.name.removeprefix("tenant=") for path in folder.glob("tenant=*")]
    tables = [table for tenant in tenants for table in read_archive(folder, tenant=tenant)]
    return raw + repr([table.to_pylist() for table in tables]).encode()


def differing(a: ArchivedEvent, b: ArchivedEvent) -> list[str]:
    """Return the names of the fields in which two events differ by a bit."""
    pairs: list[tuple[Any, Any]] = [(a.impression, b.impression), (a.outcome, b.outcome)]
    names = [
        field.name
        for x, y in pairs
        for field in dataclasses.fields(x)
        if _bits(getattr(x, field.name)) != _bits(getattr(y, field.name))
    ]
    return names + (["signals"] if a.signals != b.signals else [])


def _bits(value: Any) -> object:
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    return type(value), value.hex() if isinstance(value, float) else value
