"""Power cuts in a folder, played by a library that knows what was synced.

A child runs with the library `power.c` loaded in front of the C library. It keeps, beside the folder, what the disk
would hold if the power went now: the content of each file at its last fsync or fdatasync, under the names that the
folder had at its own last fsync. `Power.cut` makes of the folder what that was when the child was killed.

What this covers: everything written and not synced is gone, in files and in the folder's names (a file that was made
and never synced by its folder is gone, a file that was removed comes back); with `keep` > 0 an arbitrary part of what
was not synced is there nevertheless, page by page and some pages in part (by sectors of 512 bytes), which is writing
out of order and torn pages; and with `fail_every` a sync that fails loses its pages for good, as on Linux.

What it does not cover: disks that say "synced" and lie; damage to pages that nobody wrote; content between two syncs
that was overwritten since; the rules by which a real file system orders its names (here each is kept or lost by itself,
which is harsher than a journal); the log of a real file system, of a controller or of a hypervisor. It is a simulation
in user space: SQLite and dwell run unchanged, but no power was cut. Syncs of other processes than the child are not
seen, nor are `msync`, `sync` and O_SYNC; SQLite and dwell use none of them on what they store.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = 4096
SECTOR = 512


def built_library(folder: Path) -> Path:
    """Return the library, compiled; skips the test where that can not be done."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("power cuts need a C compiler (cc): none was found")
    library = folder / "power.so"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", library, HERE / "power.c", "-ldl"]
    made = subprocess.run([*map(str, command), "-lpthread"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return library


class Power:
    """One folder whose unsynced content can be taken away.

    Args:
        folder: Parent of everything; the watched folder is `Power.root`.
        library: From `built_library`.
        fail_every: Fail every n-th sync, 0 for none.
    """

    def __init__(self, folder: Path, library: Path, *, fail_every: int = 0) -> None:
        self.root = folder / "disk"
        self._shadow = folder / "shadow"
        self.root.mkdir()
        self.environment = {
            "LD_PRELOAD": str(library),
            "POWER_ROOT": str(self.root.resolve()),
            "POWER_SHADOW": str(self._shadow.resolve()),
            "POWER_FAIL_EVERY": str(fail_every),
        }
        self.on()

    def on(self) -> None:
        """Begin anew: all that is in the folder is on the disk."""
        shutil.rmtree(self._shadow, ignore_errors=True)
        (self._shadow / "objects").mkdir(parents=True)
        lines = []
        for path in sorted(self.root.iterdir()):
            lines.append(f"{path.stat().st_ino} {path.name}\n")
            shutil.copyfile(path, self._shadow / "objects" / str(path.stat().st_ino))
        (self._shadow / "names").write_text("".join(lines))

    def cut(self, rng: random.Random, *, keep: float = 0.0) -> int:
        """Make of the folder what a power cut leaves of it, and return how many of its unsynced bytes are gone.

        The child is dead already: at this moment the power goes.

        Args:
            rng: Draws what stays.
            keep: Share of unsynced pages and names that are on the disk nevertheless.
        """
        live = {path.name: path for path in self.root.iterdir()}
        names = {}
        for line in (self._shadow / "names").read_text().splitlines():
            number, name = line.split(" ", 1)
            names[name] = int(number)
        n_lost, left = 0, {}
        live_bytes = {path.stat().st_ino: path.read_bytes() for path in live.values()}
        for name in sorted(live.keys() | names.keys()):
            there = live[name].stat().st_ino if name in live else None
            inode = there if rng.random() < keep else names.get(name)
            if inode is None:
                n_lost += len(live_bytes.get(there or 0, b""))
                continue
            kept = self._shadow / "objects" / str(inode)
            synced = kept.read_bytes() if kept.exists() else b""
            left[name] = _partly(synced, live_bytes.get(inode, synced), rng, keep)
            n_lost += sum(a != b for a, b in zip(left[name], live_bytes.get(inode, synced), strict=False))
            n_lost += max(0, len(live_bytes.get(inode, b"")) - len(left[name]))
        for path in live.values():
            path.unlink()
        for name, content in left.items():
            descriptor = os.open(self.root / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
        self.on()
        return n_lost


def _partly(synced: bytes, written: bytes, rng: random.Random, keep: float) -> bytes:
    """Return a file of which some unsynced pages, or the first sectors of some, reached the disk."""
    if keep == 0.0 or synced == written:
        return synced
    size = len(written) if rng.random() < keep else len(synced)
    pages = []
    for at in range(0, size, PAGE):
        old, new = (content[at : at + PAGE].ljust(PAGE, b"\0") for content in (synced, written))
        n_sectors = PAGE // SECTOR if rng.random() < keep else 0
        if rng.random() < 0.1:  # one page in ten was being written when the power went
            n_sectors = rng.randrange(PAGE // SECTOR + 1)
        pages.append(new[: n_sectors * SECTOR] + old[n_sectors * SECTOR :])
    return b"".join(pages)[:size]
