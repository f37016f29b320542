"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dwell.errors import ConfigError

__all__ = ["write_whole"]


def write_whole(path: Path, pieces: Iterable[bytes]) -> int:
    """Write pieces to a new file and return how many.

    They are written to `<path>.part`, which takes the name once it is whole and on the disk: a file of that name is a
    whole one. Where anything fails, neither stays.

    Raises:
        ConfigError: A path that is taken or can not be written.
    """
    if not path.name or "\0" in str(path):
        raise ConfigError("an export needs a file's name", field="path", value=str(path), hint="Give one.")
    part = path.with_name(f"{path.name}.part")
    try:
        _refuse_taken(path)
        with part.open("xb") as file:
            try:
                n = 0
                for piece in pieces:
                    file.write(piece)
                    n += 1
                file.flush()
                os.fsync(file.fileno())
                _refuse_taken(path)
                part.rename(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
    except FileExistsError as error:
        raise ConfigError(
            "an export to this file is under way, or was cut off",
            field="path",
            value=str(part),
            hint="Wait for it, or remove that file.",
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} can not be written: {error.strerror or error}",
            field="path",
            value=str(path),
            hint="Check that the folder exists, that this user may write to it, and that space is left.",
        ) from error
    return n


def _refuse_taken(path: Path) -> None:
    if os.path.lexists(path):
        raise ConfigError(f"{path} is there already", field="path", value=path.name, hint="Choose a new name.")
