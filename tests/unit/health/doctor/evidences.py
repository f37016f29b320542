"""Events and evidence made by hand, for the edges that real use reaches by luck."""

from typing import Any

import numpy as np

from dwell.health.doctor.evidence import Evidence, SeenEvent
from dwell.records import Params, Signal
from dwell.testing.store_samples import sample_impression, sample_signal

START = 1_700_000_000.0


def event(
    n: int,
    *,
    at: float | None = None,
    state: str = "closed",
    reward: float | None = 0.0,
    signals: tuple[Signal, ...] = (),
    **changes: Any,
) -> SeenEvent:
    """Return an event of six candidates, three served; `changes` are fields of its impression."""
    how = {"params_version": 1, "feature_names": ("a", "b")} | changes
    shown = sample_impression(f"e{n}", served_at=START + n if at is None else at, **how)
    credit = None if reward is None else np.full(3, reward / 3.0, np.float32)
    return SeenEvent(shown, state, reward, credit, signals)


def click(n: int, *, at: float, received_at: float | None = None, name: str = "click") -> Signal:
    """Return a reaction to event n."""
    return sample_signal(f"e{n}", name=name, at=at, received_at=at if received_at is None else received_at)


def evidence(events: list[SeenEvent], **changes: Any) -> Evidence:
    """Return the evidence of a store that holds these events."""
    counts: dict[str, int] = {}
    for one in events:
        counts[one.state] = counts.get(one.state, 0) + 1
    given: dict[str, Any] = {
        "now": START + 1e6,
        "mode": "live",
        "events": tuple(events),
        "counts": counts,
        "feature_names": ("a", "b"),
        "live": Params(version=1, weights={"a": 1.0, "b": 0.0}),
        "attribution_window_s": 600.0,
    }
    return Evidence(**{**given, **changes})
