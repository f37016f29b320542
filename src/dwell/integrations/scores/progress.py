"""How far an import went, in a file that is replaced as a whole."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dwell.errors import ConfigError

__all__ = ["Progress", "keep_progress", "kept_progress"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an import went.

    Attributes:
        source: Name of its reader.
        since: Where it began, UTC epoch seconds; None is the beginning.
        until: Where it ends.
        following: The reader's next page, or None where none is under way.
    """

    source: str
    since: float | None
    until: float
    following: str | None = None


def kept_progress(path: Path, source: str) -> Progress | None:
    """Return what a file keeps, None where there is no such file.

    Raises:
        ConfigError: It can not be read, or keeps the progress of another source.
    """
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Progress)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError(
            "this file keeps no progress of an import", field="progress", value=path.name, hint="Name another file."
        ) from error
    if kept.source != source:
        raise ConfigError(
            f"this file keeps the progress of {kept.source}",
            field="progress",
            value=path.name,
            hint="Give each source a file of its own.",
        )
    return kept


def keep_progress(path: Path, progress: Progress) -> None:
    """Replace what a file keeps; whoever reads it finds the old or the new, never half of it.

    Raises:
        ConfigError: It can not be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(progress))
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise ConfigError(
            f"the progress of the import can not be kept: {error.strerror}",
            field="progress",
            value=path.name,
            hint="Name a file in a folder that can be written.",
        ) from error
