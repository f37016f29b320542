"""Events with all that a store holds of them, a page at a time: what leaves through an export."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from dwell.loop.close import Rules
from dwell.loop.experiences import experience_of, reward_of, weights_on
from dwell.loop.state import LoopState
from dwell.records import Experience, Impression, Params, Signal, checks
from dwell.reward.compute import RewardResult
from dwell.storage import Outcome, Reader

__all__ = ["RecordedEvent", "check_limit", "recorded_events"]

# read at once: half a megabyte of the lists of every day, 8 MB with queries of 64 KB; larger pages were no faster
_PAGE: Final = 64
_SEQS_AT_ONCE: Final = 10_000
_MOST_VERSIONS: Final = 64  # params kept between pages; a log of more versions at a time reads some again


class RecordedEvent(NamedTuple):
    """One event.

    Attributes:
        impression: What was served.
        outcome: What came of it.
        signals: What users did, in the store's order.
        weights: Those that it was scored by.
        rules: What turns its signals into reward.
    """

    impression: Impression
    outcome: Outcome
    signals: Sequence[Signal]
    weights: Mapping[str, float]
    rules: Rules

    def experience(self) -> Experience:
        """Return the same as one value, its reward up to date where the event is open; computed at each call."""
        return experience_of(
            self.impression,
            self.outcome,
            self.signals,
            self.weights,
            preset=self.rules.preset,
            examination=self.rules.examination,
        )

    def reward(self) -> RewardResult:
        """Return what its signals give, by name, by document and in all; computed at each call."""
        return reward_of(
            self.impression,
            self.outcome,
            self.signals,
            preset=self.rules.preset,
            examination=self.rules.examination,
        )


def recorded_events(
    state: LoopState,
    *,
    since: float | None = None,
    until: float | None = None,
    limit: int | None = None,
    has_text: bool = True,
) -> Iterator[RecordedEvent]:
    """Yield events in the order of the store, open ones included.

    What is recorded after the first is asked for is not among them. What is erased meanwhile is not either, from the
    next page of 64 on.

    Args:
        state: The loop.
        since: Only those served at or after this instant.
        until: Only those served before this instant.
        limit: At most so many, the newest ones.
        has_text: Whether queries and their embeddings are told, from which the words can be guessed.

    Raises:
        RecordError: A limit that is no number of events.
        StorageError: The store could not be read.
    """
    check_limit(limit)
    if state.writer is not None:
        state.writer.flush()
    with state.store.snapshot() as reader:
        last = reader.last_seq()
        after = _start(reader, since, until, limit)
    versions: dict[int, Params | None] = {}
    while after < last:
        with state.store.snapshot() as reader:
            seqs = reader.seqs(after=after, before=last + 1, since=since, until=until, limit=_PAGE)
            page = _page(state, reader, seqs, versions, has_text=has_text)
        if not seqs:
            return
        after = seqs[-1]
        page.reverse()
        while page:  # what was given away is not held any more
            yield page.pop()


def check_limit(limit: object) -> None:
    """Return nothing where this is None or a number of events, 0 included.

    Raises:
        RecordError: code `type` or `range`.
    """
    if limit is not None and (limit != 0 or isinstance(limit, bool)):
        checks.positive_integer(limit, "limit", most=1 << 62)


def _start(reader: Reader, since: float | None, until: float | None, limit: int | None) -> int:
    """Return the seq after which the newest `limit` events stand."""
    if limit is None:
        return 0
    before, left = reader.last_seq() + 1, limit
    while left > 0:
        n = min(left, _SEQS_AT_ONCE)
        found = reader.seqs(before=before, since=since, until=until, limit=n, newest_first=True)
        left -= len(found)
        before = found[-1] if found else before
        if len(found) < n:
            break
    return before - 1


def _page(
    state: LoopState, reader: Reader, seqs: list[int], versions: dict[int, Params | None], *, has_text: bool
) -> list[RecordedEvent]:
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
    signals = reader.signals(seqs)
    found = []
    for told in reader.impressions(seqs):
        if told.seq not in outcomes:
            continue
        weights = _weights(reader, told, versions)
        impression = told if has_text else dataclasses.replace(told, query="", query_embedding=None)
        found.append(RecordedEvent(impression, outcomes[told.seq], signals[told.seq], weights, state.rules))
    return found


def _weights(reader: Reader, impression: Impression, versions: dict[int, Params | None]) -> Mapping[str, float]:
    number = impression.params_version
    if number not in versions:
        if len(versions) >= _MOST_VERSIONS:
            versions.clear()
        versions[number] = reader.params(number)
    version = versions[number]
    return {} if version is None else weights_on(version, impression)
