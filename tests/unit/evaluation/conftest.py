"""Closed events to judge by."""

from collections.abc import Callable

import numpy as np
import pytest

from dwell.records.rows import EventRow


def _event(n: int, kept: int, **changes: object) -> EventRow:
    """Return a closed event of n documents, the first `kept` served in this order."""
    values = {
        "seq": 1,
        "event_id": "e",
        "query_hash": 0,
        "user_hash": 1,
        "served_at": 0.0,
        "features": np.zeros((n, 1), dtype=np.float32),
        "inclusion": np.ones(n),
        "exposure": np.full(n, 0.5),
        "n_kept": kept,
        "n_shown": kept,
        "rewards": np.zeros(kept),
        "propensities": np.full(kept, 0.5),
        "caller_rank": np.arange(float(n)),
        "params_version": 1,
        "temperature": 0.3,
        "is_held_out": False,
        "is_deterministic": False,
        "is_caller_ordered": False,
        "version": 1,
    }
    return EventRow(**{**values, **changes})


@pytest.fixture
def event() -> Callable[..., EventRow]:
    return _event
