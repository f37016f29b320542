"""Experiences as lines of JSON, for other tools."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import msgspec

from dwell.errors import ConfigError
from dwell.records import Experience

__all__ = ["export_experiences"]


def export_experiences(experiences: Iterable[Experience], path: Path, format_name: str) -> int:
    """Write experiences to a new file, one JSON object per line, and return how many.

    Raises:
        ConfigError: Another format than "jsonl", or a path that is taken.
    """
    if format_name != "jsonl":
        raise ConfigError("unknown export format", field="format", value=format_name, hint="Use 'jsonl'.")
    n = 0
    try:
        with path.open("xb") as file:
            for experience in experiences:
                record = {f.name: getattr(experience, f.name) for f in dataclasses.fields(experience) if f.init}
                file.write(msgspec.json.encode(record, enc_hook=dict))
                file.write(b"\n")
                n += 1
    except FileExistsError as error:
        raise ConfigError(
            "the file is there already", field="path", value=str(path), hint="Choose a new name."
        ) from error
    return n
