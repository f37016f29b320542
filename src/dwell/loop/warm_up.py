"""The first lists of a loop that was given no weights are kept until equal weights can be fitted to them."""

from __future__ import annotations

from dwell.loop.rows import aligned_features
from dwell.loop.state import LoopState
from dwell.records import Impression
from dwell.storage.protocol import chunks

__all__ = ["is_warming_up", "note_served", "recall_warm_up"]

_READ_AT_ONCE = 200


def is_warming_up(state: LoopState) -> bool:
    """Return whether the caller's order is served only until the first version can be written."""
    return state.live.origin == "caller-order" and state.mode in {"live", "canary"} and bool(state.feature_names)


def note_served(state: LoopState, impression: Impression) -> None:
    """Keep the features of one of the first lists; later ones and lists without features are passed over."""
    is_due = len(state.warm_up) < state.config.training.first_version_events
    if is_due and is_warming_up(state) and impression.has_features:
        state.warm_up.append(aligned_features(impression, state.feature_names))


def recall_warm_up(state: LoopState) -> None:
    """Take up what was served in the caller's order and is still there."""
    if not is_warming_up(state):
        return
    if state.writer is not None:
        state.writer.flush()
    n_due = state.config.training.first_version_events
    found: list[Impression] = []
    with state.store.snapshot() as reader:
        for part in chunks(reader.seqs(), _READ_AT_ONCE):
            found += [impression for impression in reader.impressions(part) if impression.has_features]
            if len(found) >= n_due:
                break
    state.warm_up[:] = [aligned_features(impression, state.feature_names) for impression in found[:n_due]]
