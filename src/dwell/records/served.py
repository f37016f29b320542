"""The answer to one ranking call."""

from __future__ import annotations

from dataclasses import dataclass

from dwell.records.arrays import FloatArray

__all__ = ["Served"]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """Show these, in this order.

    Attributes:
        event_id: Identity of the list; give it to `Loop.feedback`.
        ids: Document ids in the order to show.
        scores: float64 (k,), raw scores of the documents, in that order.
        propensities: float64 (k,), P(document i | those above it), in (0, 1]; their product is the list's. Where
            `training.swap_share` had a pair drawn, given that pair: its joint probability stands at its upper position.
        params_version: Version of the params that ordered the list.
        token: Signed impression token when the server made one; None when embedded.
        fallback: None, or the code of what went wrong: then the caller's own order is served and nothing is learned.
    """

    event_id: str
    ids: list[str]
    scores: FloatArray
    propensities: FloatArray
    params_version: int
    token: str | None = None
    fallback: str | None = None
