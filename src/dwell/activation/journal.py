"""Events that can still change: what feedback, a retraction or an earlier event of the same session may yet touch.

Traces hold sums and no events. To add reward at the instant of the serve, to take an event away and to give its place
under the cap to the next, the events of the recent past are kept here until they are sealed: then their increments are
final. What is remembered per (item, session) is the served time and id of its open events, and how many of the sealed
ones count; both go when its last open event is sealed, so that a session which pauses for longer begins anew. Memory is
bounded by the number of open events.

Where there is a log, it is the journal: `capping.counted` asked of it gives the same.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

__all__ = ["Increment", "Journal"]

_Place = tuple[int, str]  # served time, event id: the order in which events count

DEFAULT_OPEN_EVENTS: Final = 100_000  # about 100 MB at 10 items an event


# what one event changes in one item: the item, the instant of the serve, what is added to reward and to exposure, or
# taken away; a plain tuple, because ten of them are made per serve
Increment: TypeAlias = tuple[str, int, float, float]


class _Event:
    """One serve with what came of it."""

    __slots__ = ("at_us", "exposures", "feedback", "session")

    def __init__(self, at_us: int, session: str | None, exposures: dict[str, float]) -> None:
        self.at_us = at_us
        self.session = session
        self.exposures = exposures
        self.feedback: dict[str, dict[str, float]] | None = None

    def increment(self, item: str, sign: float = 1.0) -> Increment:
        """Return what it adds to an item: of all its feedback at most 1 either way."""
        reward, exposure = 0.0, self.exposures[item]
        said = self.feedback.get(item) if self.feedback is not None else None
        if said:
            reward = min(sum(value for value in said.values() if value > 0.0), 1.0)
            exposure += min(sum(-value for value in said.values() if value < 0.0), 1.0)
        return (item, self.at_us, sign * reward, sign * exposure)


class Journal:
    """Open events by id, and which of them count.

    Every method returns the increments that are to be applied to keep the sums right.

    Args:
        cap: Most events that count per (item, session); None for no limit.
        max_open: Most open events; the oldest are sealed when there are more.
    """

    def __init__(self, cap: int | None, max_open: int) -> None:
        self.cap = cap
        self._max_open = max_open
        self._events: dict[str, _Event] = {}
        self._oldest: list[_Place] = []
        self._places: dict[tuple[str, str], list[_Place]] = {}
        self._n_sealed: dict[tuple[str, str], int] = {}
        self.horizon: _Place = (0, "")

    def __len__(self) -> int:
        return len(self._events)

    def __contains__(self, event_id: object) -> bool:
        return event_id in self._events

    def has(self, event_id: str, item: str) -> bool:
        """Return whether an open event served an item."""
        event = self._events.get(event_id)
        return event is not None and item in event.exposures

    def counts(self, event_id: str, item: str) -> bool:
        """Return whether an open event counts for an item that it served."""
        event = self._events[event_id]
        if self.cap is None or event.session is None:
            return True
        key = (item, event.session)
        place = bisect_left(self._places[key], (event.at_us, event_id))
        return place < self.cap - self._n_sealed.get(key, 0)

    def is_late(self, event_id: str, at_us: int) -> bool:
        """Return whether events of that place are sealed already."""
        return (at_us, event_id) < self.horizon

    def serve(self, event_id: str, at_us: int, session: str | None, exposures: dict[str, float]) -> list[Increment]:
        """Take in an event that is neither known nor late; `trim` afterwards, when its increments are applied."""
        event = self._events[event_id] = _Event(at_us, session, exposures)
        heapq.heappush(self._oldest, (at_us, event_id))
        if self.cap is None or session is None:
            found = [(item, at_us, 0.0, exposure) for item, exposure in exposures.items()]
        else:
            found = []
            for item in exposures:
                found += self._entered(event_id, event, item)
        return found

    def trim(self) -> None:
        """Seal the oldest events beyond the most that are kept open."""
        while len(self._events) > self._max_open:
            self._seal_oldest()

    def _entered(self, event_id: str, event: _Event, item: str) -> list[Increment]:
        key, place = (item, event.session or ""), (event.at_us, event_id)
        n_free = (self.cap or 0) - (self._n_sealed.get(key, 0) if self._n_sealed else 0)
        places = self._places.get(key)
        if places is None:
            self._places[key] = [place]
            return [event.increment(item)] if n_free > 0 else []
        insort(places, place)
        if bisect_left(places, place) >= n_free:
            return []
        if len(places) <= n_free:
            return [event.increment(item)]
        _, displaced = places[n_free]
        return [event.increment(item), self._events[displaced].increment(item, -1.0)]

    def feedback(self, event_id: str, item: str, feedback_id: str, reward: float) -> list[Increment]:
        """Take in what was said of an item that an open event served; the same id again replaces what it had said."""
        event = self._events[event_id]
        before = event.increment(item, -1.0)
        if event.feedback is None:
            event.feedback = {}
        event.feedback.setdefault(item, {})[feedback_id] = reward
        after = event.increment(item)
        reward_change, exposure_change = after[2] + before[2], after[3] + before[3]
        if (reward_change == 0.0 and exposure_change == 0.0) or not self.counts(event_id, item):
            return []
        return [(item, event.at_us, reward_change, exposure_change)]

    def said(self, event_id: str, item: str, feedback_id: str) -> float | None:
        """Return what a feedback id has said of an item, or None."""
        feedback = self._events[event_id].feedback
        return None if feedback is None else feedback.get(item, {}).get(feedback_id)

    def retract(self, event_id: str, items: Sequence[str] | None) -> list[Increment]:
        """Take an open event away, or some of its items; what comes next in the session counts instead."""
        event = self._events[event_id]
        found: list[Increment] = []
        for item in list(event.exposures) if items is None else items:
            if item not in event.exposures:
                continue
            if self.counts(event_id, item):
                found.append(event.increment(item, -1.0))
                found += self._restored(event, item)
            self._left(event_id, event, item)
            del event.exposures[item]
        if not event.exposures:
            del self._events[event_id]
        return found

    def _restored(self, event: _Event, item: str) -> Iterator[Increment]:
        if self.cap is None or event.session is None:
            return
        key = (item, event.session)
        places, n_free = self._places[key], self.cap - self._n_sealed.get(key, 0)
        if len(places) > n_free:
            yield self._events[places[n_free][1]].increment(item)

    def _left(self, event_id: str, event: _Event, item: str) -> None:
        if self.cap is None or event.session is None:
            return
        key = (item, event.session)
        places = self._places[key]
        del places[bisect_left(places, (event.at_us, event_id))]
        if not places:
            del self._places[key]
            self._n_sealed.pop(key, None)

    # ---------------------------------------------------------------- ending

    def seal(self, before_us: int) -> int:
        """Make events of before an instant final; return how many there were."""
        return self.seal_to((before_us, ""))

    def seal_to(self, horizon: _Place) -> int:
        """Make events of before a place final; return how many there were."""
        n_before = len(self._events)
        while self._oldest and self._oldest[0] < horizon:
            self._seal_oldest()
        self.horizon = max(self.horizon, horizon)
        return n_before - len(self._events)

    def _seal_oldest(self) -> None:
        at_us, event_id = place = heapq.heappop(self._oldest)
        event = self._events.get(event_id)
        if event is None or event.at_us != at_us:
            return  # retracted since, or served anew at another instant
        for item in event.exposures:
            if self.cap is None or event.session is None:
                break
            key = (item, event.session)
            if self.counts(event_id, item):
                self._n_sealed[key] = self._n_sealed.get(key, 0) + 1
                # the sealed one left the line: what is free and what stands in it moved by one, together
            self._left(event_id, event, item)
        del self._events[event_id]
        self.horizon = max(self.horizon, (place[0], place[1] + "\x00"))

    # ---------------------------------------------------------------- merging

    def increments(self) -> list[Increment]:
        """Return what all open events that count have added."""
        return [
            event.increment(item)
            for event_id, event in self._events.items()
            for item in event.exposures
            if self.counts(event_id, item)
        ]

    def absorb(self, other: Journal) -> None:
        """Take in the open events of a journal with the same horizon; an event known to both is one event.

        What they said of it is united; where both have the same feedback id, the larger size is kept, so that the order
        of merging does not matter.
        """
        for key, n_sealed in other._n_sealed.items():
            self._n_sealed[key] = self._n_sealed.get(key, 0) + n_sealed
        for event_id, event in other._events.items():
            own = self._events.get(event_id)
            if own is None:
                self.serve(event_id, event.at_us, event.session, dict(event.exposures))
                own = self._events.get(event_id)
            if own is not None:
                _unite(own, event.feedback or {})


def _unite(event: _Event, feedback: Mapping[str, Mapping[str, float]]) -> None:
    for item, said in feedback.items():
        if event.feedback is None:
            event.feedback = {}
        mine = event.feedback.setdefault(item, {})
        for feedback_id, reward in said.items():
            mine[feedback_id] = max(reward, mine.get(feedback_id, reward), key=lambda value: (abs(value), value))
