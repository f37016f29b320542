"""A row per event and document shown, for spreadsheets and whatever else takes a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from dwell.loop.exports.escapes import safe_cell, safe_word
from dwell.loop.exports.feature_texts import feature_texts
from dwell.loop.exports.pieces import Piece, StoreNames
from dwell.loop.recorded_events import RecordedEvent
from dwell.records import Signal
from dwell.reward.compute import RewardResult
from dwell.reward.signals import SignalSpec, aggregate

__all__ = ["COLUMNS", "TEXT_COLUMNS", "csv_rows"]

COLUMNS: Final = (
    "event_id", "served_at", "query", "user", "segment", "policy", "arm", "params_version", "state", "list_reward",
    "list_signals", "rank", "doc", "score", "propensity", "reward", "signals",
)  # fmt: skip
#: Columns in which a ' may stand before the text: one taken away gives it back.
TEXT_COLUMNS: Final = ("event_id", "query", "user", "segment", "list_signals", "doc", "signals")


def csv_rows(events: Iterable[RecordedEvent], names: StoreNames) -> Iterator[Piece]:
    """Yield the head, `COLUMNS` and one for each feature, then the rows of each event."""
    yield Piece(_lines([[*COLUMNS, *(safe_cell(f"feature.{name}") for name in names.features)]]))
    nothing = [""] * len(names.features)
    for event in events:
        impression, found = event.impression, event.reward()
        head = [*_head(event, found), _pairs(_of_list(event.signals, names.signals))]
        features = feature_texts(impression, names.features, impression.served)
        documents = _documents(event, found)
        rows = [
            [*head, *about, *features.get(doc, nothing)]
            for doc, about in zip(impression.served, documents, strict=True)
        ]
        yield Piece(_lines(rows), 1)


def _lines(rows: Iterable[Iterable[object]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _head(event: RecordedEvent, found: RewardResult) -> list[object]:
    one, outcome = event.impression, event.outcome
    return [
        safe_cell(one.event_id),
        datetime.fromtimestamp(one.served_at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        safe_cell(one.query),
        safe_cell(one.user or ""),
        safe_cell(one.segment or ""),
        one.policy,
        one.arm,
        one.params_version,
        outcome.state,
        found.reward if outcome.reward is None else outcome.reward,
    ]


def _documents(event: RecordedEvent, found: RewardResult) -> Iterator[list[object]]:
    """Yield the cells of each document shown, those of its features apart."""
    impression, rewards = event.impression, event.outcome.document_rewards
    earned = (found.document_rewards if rewards is None else rewards).tolist()
    scores = impression.scores[impression.document_scores].astype(str).tolist()  # shorter than those of float64
    score = dict(zip(impression.documents, scores, strict=True))
    propensities = impression.propensities.tolist()
    for i, doc in enumerate(impression.served):
        yield [
            i + 1,
            safe_cell(doc),
            score.get(doc, ""),
            propensities[i] if i < len(propensities) else "",
            earned[i] if i < len(earned) else "",
            _pairs(found.document_signals.get(doc, {})),
        ]


def _of_list(signals: Sequence[Signal], specs: Mapping[str, SignalSpec]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for signal in signals:
        if signal.doc is None and signal.name in specs:
            values.setdefault(signal.name, []).append(signal.value)
    return {name: aggregate(values[name], specs[name].aggregation) for name in sorted(values)}


def _pairs(signals: Mapping[str, float]) -> str:
    return safe_cell(" ".join(f"{safe_word(name)}={value!r}" for name, value in signals.items()))
