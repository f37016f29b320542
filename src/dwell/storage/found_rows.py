"""What a database found, made into records: one way for every database, which gives rows as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from dwell.errors import CorruptStoreError
from dwell.records import GateDecision, Impression, Signal
from dwell.storage import codec, rows
from dwell.storage.instants import seconds
from dwell.storage.protocol import Answer, Outcome, PairStatistics, Quarantined, chunks

__all__ = [
    "answer",
    "damages",
    "decisions",
    "impressions",
    "outcomes",
    "quarantined",
    "signals",
    "signals_in_order",
    "statistics",
]

_Found = Iterable[tuple[Any, ...]]

_DECODED_AT_ONCE: Final = 256  # a megabyte or so of bodies


class _Decoding(Protocol):
    """A reader, as far as it decodes events."""

    def seqs(self) -> list[int]: ...
    def impressions(self, seqs: Sequence[int]) -> list[Impression]: ...
    def outcomes(self, seqs: Sequence[int]) -> list[Outcome]: ...


def impressions(asked: Sequence[int], found: _Found) -> list[Impression]:
    """Return impressions in the order asked for, those that were not found left out.

    Args:
        asked: Seqs.
        found: (seq, event_id, body, shown, is_altered, at) in any order; the last three are of the activation, or None.
    """
    by_seq = {}
    for seq, event_id, body, shown, is_altered, at in found:
        activation = None if shown is None else rows.ActivationRow(shown, bool(is_altered), at)
        by_seq[seq] = rows.impression(seq, event_id, body, activation)
    return [by_seq[seq] for seq in map(int, asked) if seq in by_seq]


def outcomes(asked: Sequence[int], found: _Found) -> list[Outcome]:
    """Return outcomes in the order asked for, those that were not found left out; `found`: (seq, *OutcomeRow)."""
    by_seq = {seq: rows.outcome(seq, rows.OutcomeRow(*row)) for seq, *row in found}
    return [by_seq[seq] for seq in map(int, asked) if seq in by_seq]


def signals(asked: Sequence[int], find: Callable[[list[int]], _Found]) -> dict[int, list[Signal]]:
    """Return the signals of every event asked for, each list in order; `find` gives (seq, event_id, *SignalRow)."""
    by_seq: dict[int, list[tuple[str, rows.SignalRow]]] = {int(seq): [] for seq in asked}
    for seq, event_id, *row in find(list(by_seq)):
        by_seq[seq].append((event_id, rows.SignalRow(*row)))
    return {seq: _in_order(pairs) for seq, pairs in by_seq.items()}


def signals_in_order(event_id: str, found: _Found) -> list[Signal]:
    """Return the signals of one event in order; `found`: the columns of `SignalRow`."""
    return _in_order([(event_id, rows.SignalRow(*row)) for row in found])


def _in_order(pairs: list[tuple[str, rows.SignalRow]]) -> list[Signal]:
    return [rows.signal(event_id, row) for event_id, row in sorted(pairs, key=lambda pair: rows.signal_order(pair[1]))]


def answer(key: str, found: Sequence[tuple[Any, ...]]) -> Answer | None:
    """Return an answer, or None where no (digest, body, at) was found."""
    return Answer(key, found[0][0], found[0][1], seconds(found[0][2])) if found else None


def decisions(found: Sequence[tuple[Any, ...]]) -> list[GateDecision]:
    """Return decisions, oldest first; `found`: (n, body), newest first."""
    return [codec.decode_decision(body, number=n) for n, body in reversed(found)]


def quarantined(found: _Found) -> list[Quarantined]:
    """Return quarantined events; `found`: (event_id, reason, at, user)."""
    return [Quarantined(event_id=e, reason=reason, at=seconds(at), user=user) for e, reason, at, user in found]


def statistics(query_hash: bytes, segment: str, found: _Found) -> list[PairStatistics]:
    """Return the statistics of a query; `found`: (doc, *StatisticsRow)."""
    return [rows.pair_statistics(query_hash, segment, doc, rows.StatisticsRow(*row)) for doc, *row in found]


def damages(reader: _Decoding) -> Iterator[str]:
    """Yield a line for every event whose records do not decode."""
    for some in chunks(reader.seqs(), _DECODED_AT_ONCE):
        try:
            reader.impressions(some)
            reader.outcomes(some)
        except CorruptStoreError:
            yield from _damages_among(reader, some)


def _damages_among(reader: _Decoding, seqs: Sequence[int]) -> Iterator[str]:
    for seq in seqs:
        try:
            reader.impressions([seq])
            reader.outcomes([seq])
        except CorruptStoreError as error:
            yield error.message
