"""Saving for buffers that hand out their state as a value: a file that is there whole or not at all."""

from __future__ import annotations

import os
import pickle
import tempfile
from pathlib import Path
from typing import Any, Final

__all__ = ["read_state", "write_state"]

FILE_NAME: Final = "buffer.pickle"


def write_state(place: Path, state: object) -> None:
    """Write a state to a folder in place of the one before.

    The state is written beside, flushed to the disk, and renamed: a reader finds the old one or the new one.
    """
    descriptor, name = tempfile.mkstemp(dir=place, prefix=f"{FILE_NAME}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            pickle.dump(state, file, protocol=pickle.HIGHEST_PROTOCOL)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(place / FILE_NAME)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read_state(place: Path) -> Any:  # noqa: ANN401 - a state is whatever the buffer makes it
    """Return the state that was written to a folder last; only from folders that you trust.

    Raises:
        OSError: There is none.
        Exception: The file is damaged; the kind is pickle's choice.
    """
    return pickle.loads((place / FILE_NAME).read_bytes())  # noqa: S301 - written by write_state
