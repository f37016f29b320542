"""What a format is: a function from events, and what is known of the store, to pieces of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from dwell.loop.recorded_events import RecordedEvent
from dwell.records import Impression
from dwell.reward.signals import SignalSpec
from dwell.storage import Outcome

__all__ = ["Format", "Piece", "StoreNames", "has_policy", "is_learned"]


class Piece(NamedTuple):
    """Bytes of a file.

    Attributes:
        body: What is written.
        n_events: How many events came to their end in it; 0 for a head or a foot.
    """

    body: bytes
    n_events: int = 0


class StoreNames(NamedTuple):
    """What is known of a store before its first event.

    Attributes:
        features: Names of all features that any params version had, oldest first.
        signals: What the rewards know of signals, by name.
        has_text: Whether queries are told.
    """

    features: tuple[str, ...]
    signals: Mapping[str, SignalSpec]
    has_text: bool = True


Format = Callable[[Iterable[RecordedEvent], StoreNames], Iterator[Piece]]


def is_learned(impression: Impression, outcome: Outcome) -> bool:
    """Return whether an event is over and has features: only then is it an example of anything."""
    return outcome.document_rewards is not None and impression.has_features and bool(impression.served)


def has_policy(impression: Impression) -> bool:
    """Return whether the propensity of the document on top is that of one policy's choice among all candidates.

    It is not known of lists that somebody else's ranker ordered, means nothing where other documents were shown than
    chosen or two policies drafted in turn, and is that of a pair where a coin swapped the first two.
    """
    return impression.policy != "external" and impression.is_policys and impression.swap_pair != 1
