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
    """Return Ray's processes that were started with a text in their environment, and what they call themselves.

    Others have it as well: what the tests start meanwhile and end later, such as the server of the database.
    """
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            named = (folder / "cmdline").read_bytes()
            is_rays = b"ray::" in named or b"/ray/" in named
            if is_rays and mark.encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                found[int(folder.name)] = named[:120].decode(errors="replace")
    return found
