"""What each user's lists of one stretch of time add to activation, asked of the log: it is the journal.

Of the events of one user within one window the first few count for an item, by served time and event id
(`activation.capping`). Which ones is a question to the log, so that late feedback, out-of-order events, restarts and
erasure are exact however old the event is. A window's journal is kept for as long as it is in use.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from dwell.activation.instants import US_PER_S
from dwell.activation.journal import Increment, Journal
from dwell.loop.erasures import n_erasures_of
from dwell.records import Signal
from dwell.reward.compute import agents_word, compute_reward
from dwell.reward.examination import PositionBased
from dwell.reward.presets import RewardPreset
from dwell.storage import EventState, Reader
from dwell.storage.instants import micros

__all__ = ["SessionRules", "Sessions", "Window"]

_MOST_KEPT: Final = 1_024  # windows in use; each holds what one user was shown in it
_MOST_OPEN: Final = 100_000_000  # a journal of one window is never sealed: its end is that it is dropped
_NOT_SHOWN: Final = "not_shown"


# a user's pseudonym, and the number of the window since the epoch
Window: TypeAlias = tuple[str, int]


class SessionRules(NamedTuple):
    """What an event is worth to its items.

    Attributes:
        preset: Signals to reward.
        examination: Shares out what was said of a list as a whole. Fixed, unlike the learner's: what an event has added
            must be found again to the bit.
        cap: Most events that count per item, user and window.
        window_s: Length of a window, > 0; windows begin at multiples of it.
        most_shown: Documents of a list that count, from the top.
    """

    preset: RewardPreset
    examination: PositionBased
    cap: int
    window_s: float
    most_shown: int


class Sessions:
    """Journals by user and window, read from the log when they are asked for.

    Used by one thread, the writer's: it alone knows in which order facts are committed.

    Args:
        rules: What events are worth.
    """

    def __init__(self, rules: SessionRules) -> None:
        self.rules = rules
        self._window_us = round(rules.window_s * US_PER_S)
        self._kept: OrderedDict[Window, Journal] = OrderedDict()
        self._n_erasures = 0
        self._data_version: int | None = None
        self._within: Reader | None = None

    def clear(self) -> None:
        """Forget every journal."""
        self._kept.clear()

    def keep_up(self, reader: Reader, data_version: int | None = None) -> None:
        """Forget every journal where another process erased a user, or committed anything, since the last time.

        It is asked once a transaction: within one no other process changes anything, and what is asked of a transaction
        has it write what it holds back.

        Args:
            reader: The transaction.
            data_version: The store's, where other processes ingest as well; else they change no journal but by erasing.
        """
        if reader is self._within:
            return
        self._within, n_erasures = reader, n_erasures_of(reader)
        if n_erasures != self._n_erasures or data_version != self._data_version:
            self._kept.clear()
            self._n_erasures, self._data_version = n_erasures, data_version

    def leave(self) -> None:
        """Take note that a transaction has ended."""
        self._within = None

    def forget(self, windows: Iterable[Window]) -> None:
        """Forget these journals: a transaction that they took part in was undone."""
        for window in windows:
            self._kept.pop(window, None)

    def trim(self) -> None:
        """Keep those used last; never in the middle of a job, which must see one journal of each window."""
        while len(self._kept) > _MOST_KEPT:
            self._kept.popitem(last=False)

    def window_of(self, event: EventState) -> Window | None:
        """Return which user's stretch of time an event belongs to; None where nobody knows the user."""
        return None if event.user is None else (event.user, at_us(event) // self._window_us)

    def journal(self, reader: Reader, event: EventState) -> Journal:
        """Return the journal that an event belongs to, as the log has it so far.

        Args:
            reader: The log, before whatever is about to change in it.
            event: Stored or not.
        """
        key = self.window_of(event)
        if key is None:
            return self._filled(reader, [event] if reader.event(event.event_id) is not None else [])
        found = self._kept.pop(key, None)
        if found is None:
            begin, end = (number * self._window_us / US_PER_S for number in (key[1], key[1] + 1))
            found = self._filled(reader, reader.events_of(key[0], since=begin, until=end))
        self._kept[key] = found
        return found

    def serve(self, journal: Journal, event: EventState) -> list[Increment]:
        """Return what a shown list adds; nothing where it is known or has not been shown."""
        if event.state == _NOT_SHOWN or event.event_id in journal:
            return []
        shown = dict.fromkeys(event.shown[: self.rules.most_shown], 1.0)
        return journal.serve(event.event_id, at_us(event), event.user, shown)

    def react(self, journal: Journal, event: EventState, signals: Sequence[Signal]) -> list[Increment]:
        """Return what changes when these are all the signals of an event.

        Args:
            journal: Of this event.
            event: As it is stored.
            signals: All that is known of it.
        """
        if event.event_id not in journal:
            return []
        theta = self.rules.examination.theta(len(event.shown))
        found = compute_reward(self.rules.preset, event.shown, signals, theta, is_window_over=False)
        increments: list[Increment] = []
        words = found.document_rewards
        if not found.has_feedback:  # people have not spoken: what agents say of themselves counts, a little
            words = agents_word(self.rules.preset, event.shown, signals, theta)
        rewards = words[: self.rules.most_shown].tolist()
        for doc, reward in zip(event.shown, rewards, strict=False):
            if reward or journal.said(event.event_id, doc, "reward"):
                increments += journal.feedback(event.event_id, doc, "reward", reward)
        return increments

    def all_of(self, reader: Reader, events: Iterable[EventState]) -> Iterator[list[Increment]]:
        """Yield what these events add, a window at a time: the whole log gives the sums as they should be."""
        windows: dict[Window, list[EventState]] = {}
        alone: list[EventState] = []
        for event in events:
            if event.state == _NOT_SHOWN:
                continue
            window = self.window_of(event)
            if window is None:
                alone.append(event)
            else:
                windows.setdefault(window, []).append(event)
        for group in (*windows.values(), *([event] for event in alone)):
            yield self._filled(reader, group).increments()

    def _filled(self, reader: Reader, events: Sequence[EventState]) -> Journal:
        journal = Journal(self.rules.cap, _MOST_OPEN)
        signals = reader.signals([event.seq for event in events])
        for event in events:
            self.serve(journal, event)
            self.react(journal, event, signals[event.seq])
        return journal


def at_us(event: EventState) -> int:
    """Return when an event was served, in the store's own microseconds."""
    return micros(event.served_at, "served_at")
