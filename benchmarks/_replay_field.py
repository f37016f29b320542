"""Full buffers of one layout, ours and those of the peers that are installed, each checked before it is timed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from _replay_checks import Check, check
from _replay_memory import fill
from _replay_ours import Ours
from _replay_peers import Cpprb, Torchrl
from _replay_rows import Block, Layout, event_ids, priorities, rows, template
from _replay_systems import AbsentError, System

MEMORY_MARGIN: Final = 1.3  # index, trees and the chunk being filled, over the bare rows
PEERS: Final = ("cpprb", "torchrl")
ENGINES: Final = ("dwell", "dwell, fast")


class Effort(NamedTuple):
    """How much is run.

    Attributes:
        n_rounds: Rounds of a race.
        n_rows: Rows drawn per round and contestant; 20 calls at least.
        n_batches: Batches of a check.
        is_judged: Whether promises are judged.
    """

    n_rounds: int
    n_rows: int
    n_batches: int
    is_judged: bool

    def calls(self, size: int) -> int:
        """Return calls per round: a round is tens of milliseconds, far above what the clock can tell."""
        return max(self.n_rows // max(size, 64), 20 if self.is_judged else 2)


FULL: Final = Effort(n_rounds=11, n_rows=20_000, n_batches=100, is_judged=True)
QUICK: Final = Effort(n_rounds=3, n_rows=256, n_batches=20, is_judged=False)


class Field:
    """Full buffers of one layout.

    Args:
        layout: Columns of a row.
        n: Capacity, and rows that each of them holds.
        effort: How much is run.
        say: Told what is being done, and what is absent.
        has_peers: Whether there are others than ours.
    """

    def __init__(
        self, layout: Layout, n: int, effort: Effort, say: Callable[[str], None], *, has_peers: bool = True
    ) -> None:
        self.layout = layout
        self.n = n
        self.effort = effort
        self.rng = np.random.default_rng(n)
        self.pattern = template(layout, np.random.default_rng(0))
        self.values = priorities(self.rng, n)
        self.checks: list[Check] = []
        self.absent: list[str] = []
        self.systems: dict[str, System] = {}
        self._n_rows_made = n
        for name, make in self._makers(has_peers=has_peers).items():
            say(f"{layout.name}, {n:,} rows: filling and checking {name}")
            try:
                _check_there_is_room(name, n * layout.n_bytes())
                self._take_in(name, make())
            except AbsentError as error:
                self.absent.append(str(error))
                say(f"skipped: {error}")

    def _makers(self, *, has_peers: bool) -> dict[str, Callable[[], System]]:
        layout, n = self.layout, self.n
        makers: dict[str, Callable[[], System]] = {
            "dwell": partial(Ours, layout, n),
            "dwell, fast": partial(Ours, layout, n, "numba"),
        }
        if has_peers:
            makers |= {"cpprb": partial(Cpprb, layout, n), "torchrl": partial(Torchrl, layout, n)}
        if has_peers and self.is_narrow:
            learner = layout.only(layout.learner)
            makers |= {"cpprb, learner": partial(Cpprb, learner, n), "torchrl, learner": partial(Torchrl, learner, n)}
        return makers

    def _take_in(self, name: str, system: System) -> None:
        fill(system, self.pattern, self.values)
        self.systems[name] = system
        n_batches = self.effort.n_batches
        self.checks.append(check(name, system, self.pattern, self.values, n_batches=n_batches, rng=self.rng))

    @property
    def is_narrow(self) -> bool:
        """Whether a learner reads fewer columns than there are."""
        return len(self.layout.learner) < len(self.layout.columns)

    def ours(self) -> dict[str, Ours]:
        """Return our own buffers by name."""
        return {name: system for name, system in self.systems.items() if isinstance(system, Ours)}

    def learners(self) -> dict[str, System]:
        """Return everybody, ours reading the learner's columns, by seqs."""
        return {**self.systems, **{name: found.view(self.layout.learner) for name, found in self.ours().items()}}

    def fresh(self, n: int) -> tuple[Block, list[str], npt.NDArray[np.float64]]:
        """Return n rows that nobody has seen, with ids and priorities."""
        first = self._n_rows_made
        self._n_rows_made += n
        return rows(self.pattern, first, n), event_ids(first, n), priorities(self.rng, n)

    def is_judged(self, *names: str) -> bool:
        """Return whether figures about these systems are judged."""
        unsound = {found.name for found in self.checks if not found.is_sound}
        return self.effort.is_judged and unsound.isdisjoint(names)


def _check_there_is_room(name: str, n_bytes: int) -> None:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:") and int(line.split()[1]) * 1024 < MEMORY_MARGIN * n_bytes:
            raise AbsentError(f"{name}: {MEMORY_MARGIN * n_bytes / 1e9:.1f} GB are due, fewer are free")
