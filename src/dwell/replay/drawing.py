"""One sample from a buffer's contents: arguments checked first, then everything read under one lock."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import numpy as np

from dwell.errors import NotEnoughExperienceError, ReplayError
from dwell.records import Batch, Experience, checks
from dwell.records.arrays import IntArray
from dwell.replay.arguments import MAX_BATCH, checked_names, one_of, real, repeat_cap, whole
from dwell.replay.contents import Contents
from dwell.replay.draws import not_enough
from dwell.replay.stratified_sampler import STRATA, Stratum, check_shares
from dwell.replay.weights import NORMALISATIONS, Normalisation

__all__ = ["Wish", "draw_batch"]


class Wish(NamedTuple):
    """What `ReplayBuffer.sample` was asked for, not yet checked; its docstring says what each means."""

    batch_size: int
    strategy: str
    beta: float
    replace: bool
    columns: Sequence[str] | None
    now: float | None
    max_repeats: int | None
    normalisation: Normalisation
    stratify_by: Stratum
    shares: Mapping[str | None, float] | None


def draw_batch(
    contents: Contents,
    lock: AbstractContextManager[Any],
    wish: Wish,
    *,
    rng: np.random.Generator,
    readers: tuple[Callable[[IntArray], list[str]], Callable[[IntArray], list[Experience]]],
) -> Batch:
    """Return a batch: identities, probabilities, weights and columns of one moment.

    Raises:
        NotEnoughExperienceError: The buffer is empty, or too few can be drawn under the cap.
        ReplayError: An argument is malformed.
        RecordError: `now` is no instant.
    """
    n_drawn = whole(wish.batch_size, "batch_size", 1, MAX_BATCH)
    beta = real(wish.beta, "beta", 0.0, 1.0)
    if wish.now is not None:
        checks.timestamp(wish.now, "now")
    names = checked_names(wish.columns, contents.rows.default_columns)
    normalisation, shares = wish.normalisation, wish.shares
    is_free = wish.replace and wish.max_repeats is None
    cap = None if is_free else repeat_cap(wish.replace, wish.max_repeats, normalisation)
    if normalisation != "batch_mean":
        one_of(normalisation, "normalisation", NORMALISATIONS)
    if wish.strategy == "stratified":
        one_of(wish.stratify_by, "stratify_by", STRATA)
        shares = check_shares(shares)
    elif shares is not None or wish.stratify_by != "segment":
        raise ReplayError(
            "strata and their shares are for the strategy 'stratified'",
            field="shares" if shares is not None else "stratify_by",
            value=shares if shares is not None else wish.stratify_by,
            hint="Pass strategy='stratified', or leave them out.",
        )
    with lock:
        ring = contents.ring
        n = len(ring)
        if n == 0:
            raise NotEnoughExperienceError(
                "the buffer is empty", field="batch_size", value=n_drawn, hint="Add experiences first."
            )
        if cap is not None and n_drawn > cap * n:
            raise not_enough(cap * n, n_drawn, cap)
        contents.planned(names)  # a name that is refused must not move the generator
        sampler = contents.laws.sampler(wish.strategy, by=wish.stratify_by, shares=shares)
        drawn = sampler.draw(n_drawn, cap, rng)
        hot = ring.hot(drawn.slots)
        seqs = hot["seq"].copy()
        return Batch(
            seqs,
            drawn.probabilities,
            contents.laws.weights(sampler, drawn, beta=beta, normalisation=normalisation),
            contents.read_beside(drawn.slots, hot, seqs, names),
            *readers,
        )
