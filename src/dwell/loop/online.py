"""Learning on-line in the loop: from what the live params themselves drew and served, each event once at most.

What is learned is a proposal like any other: the same bounds, the same gate, the same ledger. Between two promotions
the live params stay the same, so every event that they serve meanwhile may be learned from, in one step or another.
What anybody else served teaches nothing here, and is counted by its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import msgspec
import numpy as np

from dwell.config import Config
from dwell.learning.learner import Lists, log_weights_of
from dwell.learning.pdgd import PdgdLearner, is_drawn_by, own_lists
from dwell.learning.space import Space, space_for
from dwell.loop.caps import Caps, caps_of
from dwell.loop.train import Learning, Standardised, fit_predictors, fitting_features
from dwell.records import Params
from dwell.records.arrays import FloatArray
from dwell.records.rows import EventRow
from dwell.storage import Reader, Transaction

__all__ = ["OwnEvents", "own_events", "propose_online", "put_used_until", "used_until"]

_AT_ONCE: Final = 256  # lists in one sample, as the off-policy learner has at most


class OwnEvents(NamedTuple):
    """What may be learned from on-line.

    Attributes:
        rows: Events that the live params drew and that no step has used, in close order.
        left_out: The others, by reason: "used_before", "caller_ordered", "not_drawn", "another_version",
            "another_temperature", "pair_swapped" or "propensities" (not those of the live params).
        space: The learner's space.
    """

    rows: list[EventRow]
    left_out: dict[str, int]
    space: Space

    def refusal(self, live: Params) -> str:
        """Return in words why there is nothing to learn from."""
        others = ", ".join(f"{n} {reason}" for reason, n in sorted(self.left_out.items())) or "there are none"
        return (
            f"on_policy_only: no closed event was drawn by the live version {live.version} and not used yet: {others}"
        )


def used_until(reader: Reader, live: Params) -> int:
    """Return the newest event of the live params that a step has used, 0 where there is none."""
    body = reader.setting(f"online:{live.version}")
    return int(msgspec.msgpack.decode(body, type=int)) if body else 0


def put_used_until(tx: Transaction, live: Params, rows: Sequence[EventRow]) -> None:
    """Keep that these events of the live params are used; an older one that closes later is not used any more."""
    tx.put_setting(f"online:{live.version}", msgspec.msgpack.encode(max(row.seq for row in rows)))


def own_events(live: Params, rows: Sequence[EventRow], *, after: int, rng: np.random.Generator) -> OwnEvents:
    """Return the events that the live params drew, apart from all others.

    Args:
        live: Params in force.
        rows: Everything that may be learned from, at least one event.
        after: Newest event that was used before.
        rng: Chooses the documents to which the space of params without one is fitted.
    """
    space = space_for(live, fitting_features(rows, rng))
    left_out: Counter[str] = Counter()
    own: list[EventRow] = []
    for row in rows:
        reason = _objection(row, live, after)
        if reason:
            left_out[reason] += 1
        else:
            own.append(row)
    start, phi_of, kept = space.vector(live), Standardised(space, own), list[EventRow]()
    for lists, some in _batches(own, phi_of, start, live):
        log_weights = log_weights_of(lists.safe_scores, lists.batch, live.temperature)
        is_own = is_drawn_by(lists.batch, log_weights)
        kept += [row for row, its in zip(some, is_own.tolist(), strict=True) if its]
        left_out["propensities"] += int((~is_own).sum())
    return OwnEvents(kept, {reason: n for reason, n in left_out.items() if n}, space)


def _objection(row: EventRow, live: Params, after: int) -> str:
    """Return why an event is not one that the live params drew, or nothing."""
    if row.is_caller_ordered or live.origin == "caller-order":
        return "caller_ordered"
    if row.params_version != live.version:
        return "another_version"
    if row.is_deterministic or live.temperature == 0.0:
        return "not_drawn"
    if row.temperature != live.temperature:
        return "another_temperature"
    if row.swap_pair:
        return "pair_swapped"
    return "used_before" if row.seq <= after else ""


def _batches(
    rows: Sequence[EventRow], phi_of: Standardised, start: FloatArray, live: Params, caps: Caps | None = None
) -> Iterator[tuple[Lists, Sequence[EventRow]]]:
    """Yield samples of the rows with the rows themselves, each row once; rewards count as far as the caps allow."""
    for first in range(0, len(rows), _AT_ONCE):
        some = rows[first : first + _AT_ONCE]
        capped = some if caps is None else [_capped(row, caps) for row in some]
        phi = np.zeros((len(some), max(len(row.inclusion) for row in some), start.size))
        for i, row in enumerate(some):
            phi[i, : len(row.inclusion)] = phi_of(row)
        yield own_lists(capped, phi, start, params_version=live.version), some


def _capped(row: EventRow, caps: Caps) -> EventRow:
    """Return a row whose rewards count what its user and its documents may: the gradient is linear in them."""
    praise = caps.praised([row], row.n_kept)[0]
    return replace(row, rewards=caps.event(row) * row.rewards * np.where(row.rewards > 0.0, praise, 1.0))


def propose_online(
    live: Params,
    own: OwnEvents,
    *,
    rows: Sequence[EventRow],
    version: int,
    theta: FloatArray,
    config: Config,
    now: float,
    rng: np.random.Generator,
) -> Learning:
    """Return a proposal after one step from the live params, learned from their own events alone.

    Args:
        live: Params in force.
        own: Their events, at least one.
        rows: Everything that may be learned from: to the predictor, which judges, it does not matter who served.
        version: Number of the new version.
        theta: (k,) examination per position, for the predictor.
        config: Settings.
        now: UTC epoch seconds.
        rng: Handed to the learner, which draws nothing.
    """
    space, phi_of, caps = own.space, Standardised(own.space, rows), caps_of(rows)
    fold0, fold1, both = fit_predictors(rows, space, theta, ridge=config.learner.ridge, standardised=phi_of, caps=caps)
    start = space.vector(live)
    learned = PdgdLearner(params_version=live.version)(
        start,
        (lists for lists, _ in _batches(own.rows, phi_of, start, live, caps)),
        (fold0, fold1),
        theta=theta,
        temperature=live.temperature,
        n_events=float(len(own.rows)),
        settings=replace(config.learner, step_size=config.learner.online_step_size),
        rng=rng,
    )
    params = space.params(learned.vector, version=version, parent=live, created_at=now)
    counts: Mapping[int, int] = {live.version: len(own.rows)}
    return Learning(params, learned, both, "steps", {}, 0, Counter(counts), own.left_out, (fold0, fold1))
