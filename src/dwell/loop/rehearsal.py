"""A loop that answers as another one would, on a store of its own that is thrown away."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from dwell.loop.engine import Loop
from dwell.loop.entrance import open_loop

__all__ = ["rehearsal"]


@contextlib.contextmanager
def rehearsal(loop: Loop) -> Iterator[Loop]:
    """Open a loop of the same features, rewards, windows and users as another one; it ends with the context.

    It begins empty: see `imported.bring_known`. It lives in a temporary folder, so memory does not grow with it.

    Args:
        loop: May be open for reading only; nothing of it is changed.

    Raises:
        StorageError: No temporary file can be made.
    """
    state = loop._state  # noqa: SLF001 - a rehearsal has the settings of what it rehearses
    with tempfile.TemporaryDirectory(prefix="dwell-rehearsal-") as folder:
        other = open_loop(
            Path(folder) / "rehearsal.dwell",
            features=state.caller_names or None,
            mode=state.mode,
            max_results=state.limits.max_results,
            max_candidates=state.limits.max_candidates,
            embedding_dim=state.limits.embedding_dim,
            rewards=state.rules.preset,
            attribution_window_s=state.rules.attribution_window_s,
            late_window_s=state.rules.late_window_s,
            learner=state.learner,
            tenant=state.identity.tenant,
            pepper=state.identity.pepper,
            durability="relaxed",
        )
        with contextlib.closing(other):
            yield other
