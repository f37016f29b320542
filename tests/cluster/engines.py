"""The running Ray of these tests, as they see it."""

import contextlib
import os
from pathlib import Path
from typing import Any, NamedTuple


class Engine(NamedTuple):
    """A running Ray.

    Attributes:
        ray: The module, connected.
        cluster: Ray's utility that adds and removes nodes.
        address: host:port.
    """

    ray: Any
    cluster: Any
    address: str


def bearing(mark: str) -> dict[int, str]:
    """Return the processes that were started with a text in their environment, and what they call themselves."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                found[int(folder.name)] = (folder / "cmdline").read_bytes()[:120].decode(errors="replace")
    return found
