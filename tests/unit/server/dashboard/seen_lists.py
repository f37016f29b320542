"""Lists at a glance, for the tests of what is put together from them."""

from typing import Any

from dwell.loop.rows import query_digest
from dwell.server.recent_lists import Seen


def seen(seq: int, query: str = "q", reward: float | None = 0.0, **changed: Any) -> Seen:
    """Return a list of three documents that nobody reacted to."""
    fields: dict[str, Any] = {
        "seq": seq, "event_id": f"e{seq}", "query": query, "digest": query_digest(query).hex(), "user": "u",
        "segment": None, "served_at": 1_700_000_000.0 + seq, "state": "open" if reward is None else "closed",
        "policy": "params", "version": 1, "n_shown": 3, "n_candidates": 9, "signals": {}, "praised": (),
        "reward": reward, "has_features": True,
    }  # fmt: skip
    return Seen(**{**fields, **changed})
