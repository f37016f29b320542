"""What every buffer in the comparison answers to, so that the same code times and checks all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from _replay_rows import Block, Layout

ALPHA: Final = 0.6  # cpprb's default, and the value of the paper
BETA: Final = 0.4  # cpprb's default; torchrl has none; so everybody takes one power per drawn row


class AbsentError(Exception):
    """A system that is not installed, or that can not do what is asked; says which and why."""


class Drawn(NamedTuple):
    """A batch.

    Attributes:
        keys: What `update` takes for these rows.
        columns: {name: array (b, ...)}, of the columns that the system was told to read.
        weights: Sampling weights, (b,).
    """

    keys: Any
    columns: Any
    weights: Any


class System(Protocol):
    """A prioritised buffer, full of rows of one layout."""

    name: str
    layout: Layout

    def prepared(self, block: Block, ids: Sequence[str], priorities: npt.NDArray[Any]) -> Any:  # noqa: ANN401 - each has its own
        """Return rows as `add_many` takes them."""
        ...

    def prepared_each(self, block: Block, ids: Sequence[str], priorities: npt.NDArray[Any]) -> list[Any]:
        """Return rows as `add_one` takes each of them."""
        ...

    def add_many(self, prepared: Any, /) -> object:  # noqa: ANN401 - each has its own
        """Add rows with their priorities in one call; when it is full, the oldest leave."""
        ...

    def add_one(self, prepared: Any, /) -> object:  # noqa: ANN401 - each has its own
        """Add one row with its priority."""
        ...

    def draw(self, batch_size: int, /) -> Drawn:
        """Draw by priority^ALPHA, gather the rows, weigh them."""
        ...

    def as_priorities(self, values: npt.NDArray[Any], /) -> Any:  # noqa: ANN401 - each has its own
        """Return priorities as `update` takes them."""
        ...

    def keys_at(self, positions: npt.NDArray[Any], /) -> Any:  # noqa: ANN401 - each has its own
        """Return the keys of rows 0 to n - 1 of a freshly filled system."""
        ...

    def random_keys(self, size: int, n_calls: int, rng: np.random.Generator, /) -> list[Any]:
        """Return n_calls times the keys of `size` rows, drawn uniformly."""
        ...

    def update(self, keys: Any, priorities: Any, /) -> object:  # noqa: ANN401 - each has its own
        """Set new priorities."""
        ...
