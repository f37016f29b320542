"""Logs of Azure Personalizer into a loop: what it was asked to rank, and what it was told came of it.

One JSON document a line: `{"rank": {...}}`, `{"reward": {...}}` and `{"activate": {...}}`, or the bodies alone.
What has no place here is counted, never guessed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from dwell.errors import RecordError
from dwell.loop import Loop
from dwell.records import checks

__all__ = ["PersonalizerReport", "Refusal", "flattened", "import_personalizer", "lines_of"]

_BATCH: Final = 500  # rewards per commit
_MOST_DEFERRED: Final = 10_000  # ranks that wait for their activation: what bounds memory
_MOST_REFUSALS: Final = 1_000  # as the report on User Behavior Insights


class Refusal(NamedTuple):
    """A line that could not be read: its number from 1, and why."""

    line: int
    reason: str


@dataclass(slots=True)
class PersonalizerReport:
    """What became of a log.

    Attributes:
        n_lines: Lines read, empty ones left out.
        n_lists: Lists recorded, or known already.
        feedback: {status: rewards that it became of}.
        n_deferred: Ranks that were deferred and never activated: not shown, not recorded.
        left_out: {what has no place here: how often}.
        n_refused: Lines that could not be read.
        refused: The first thousand of them.
    """

    n_lines: int = 0
    n_lists: int = 0
    feedback: Counter[str] = field(default_factory=Counter)
    n_deferred: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    n_refused: int = 0
    refused: list[Refusal] = field(default_factory=list)


def flattened(features: object, left_out: Counter[str]) -> dict[str, float]:
    """Return the numbers among features, by the names that lead to them, joined with dots.

    Args:
        features: As Personalizer takes them: objects of numbers, texts, truths and objects, or a list of such.
        left_out: Counts what is no finite number, as `text_features`.
    """
    found: dict[str, float] = {}
    waiting: list[tuple[str, object]] = [("", features)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting += [(f"{name}.{key}" if name else str(key), one) for key, one in value.items()]
        elif isinstance(value, list):
            waiting += [(name, one) for one in value]
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
            found[name] = float(value)
        elif value is not None:
            left_out["text_features"] += 1
    return found


def import_personalizer(
    loop: Loop,
    lines: Iterable[str | bytes],
    *,
    shown: Literal["first", "all"] = "first",
    now: float,
    on_progress: Callable[[int], None] | None = None,
) -> PersonalizerReport:
    """Return what became of a log; doing it again changes nothing.

    Args:
        loop: Owns its store. Its features are looked for by their flattened names.
        lines: JSON lines, in time order.
        shown: "first": the action that a rank answered with is the list. "all": the whole ranking was shown.
        now: UTC epoch seconds for what carries no time.
        on_progress: Told the number of lines.
    """
    reading = _Reading(loop, shown, now)
    for n, line in enumerate(lines, 1):
        if not line.strip():
            continue
        reading.report.n_lines += 1
        try:
            reading.take(_document(line))
        except RecordError as error:
            reading.report.n_refused += 1
            if len(reading.report.refused) < _MOST_REFUSALS:
                reading.report.refused.append(Refusal(n, str(error)))
        if on_progress is not None:
            on_progress(n)
    reading.send()
    reading.report.n_deferred += len(reading.deferred)
    return reading.report


def _document(line: str | bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RecordError("the line is no JSON", code="malformed_json", hint="One document a line.") from error
    if not isinstance(found, dict):
        raise RecordError("the line is no object", code="type", hint="One object a line.")
    return found


class _Reading:
    """One pass over a log. Holds a batch of rewards and the deferred ranks, at most so many of them."""

    def __init__(self, loop: Loop, shown: str, now: float) -> None:
        self._loop = loop
        self._shown = shown
        self._now = now
        self._features = tuple(loop.params.weights)
        self._rewards: list[dict[str, Any]] = []
        self.deferred: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self.report = PersonalizerReport()

    def take(self, document: dict[str, Any]) -> None:
        """Take a line.

        Raises:
            RecordError: It is none of the three, or malformed.
        """
        for kind, handle in (("rank", self._rank), ("reward", self._reward), ("activate", self._activate)):
            body = document.get(kind)
            if isinstance(body, dict):
                handle({**{k: v for k, v in document.items() if k != kind}, **body})
                return
        if "actions" in document:
            self._rank(document)
        elif "value" in document:
            self._reward(document)
        else:
            raise RecordError("neither rank, reward nor activate", code="type", hint="See docs/personalizer.md.")

    def _rank(self, body: dict[str, Any]) -> None:
        event_id = _event_id(body)
        results = self._results(body)
        for name in ("probabilities", "ranking"):
            if name in body:
                self.report.left_out["probabilities"] += 1
                break
        list_ = {"event_id": event_id, "results": results, "query": _context(body), "now": self._time(body)}
        if not body.get("deferActivation"):
            self._record(list_)
            return
        self.deferred[event_id] = list_
        if len(self.deferred) > _MOST_DEFERRED:
            self.deferred.popitem(last=False)
            self.report.n_deferred += 1

    def _results(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what was shown: the given ranking, else the actions in their order; what was excluded is not in it."""
        actions = body.get("actions")
        if not isinstance(actions, list) or not all(isinstance(one, dict) and "id" in one for one in actions):
            raise RecordError(
                "actions are a list of objects with an id", code="type", field="actions", hint="See docs."
            )
        excluded = set(map(str, body.get("excludedActions") or ()))
        by_id = {str(one["id"]): one for one in actions if str(one["id"]) not in excluded}
        told = [str(one.get("id")) for one in body.get("ranking") or () if isinstance(one, dict)]
        first = [str(body["rewardActionId"])] if body.get("rewardActionId") is not None else []
        order = [name for name in dict.fromkeys([*first, *told, *by_id]) if name in by_id]
        if not order:
            raise RecordError("no action is left", code="results_shape", field="actions", hint="Name at least one.")
        if self._shown == "first":
            order = order[:1]
        numbers = [flattened(by_id[name].get("features"), self.report.left_out) for name in order]
        is_whole = all(name in found for found in numbers for name in self._features)
        if self._features and not is_whole:
            self.report.left_out["lists_without_all_features"] += 1
        return [
            {"id": name, "rank": i, **({f: found[f] for f in self._features} if is_whole else {})}
            for i, (name, found) in enumerate(zip(order, numbers, strict=True), 1)
        ]

    def _record(self, list_: dict[str, Any]) -> None:
        query, results = list_.pop("query"), list_.pop("results")
        self._loop.log_retrieval(query, results, **list_)
        self.report.n_lists += 1

    def _reward(self, body: dict[str, Any]) -> None:
        value = checks.finite(body.get("value"), "value")
        event_id, at = _event_id(body), self._time(body)
        key = hashlib.blake2b(f"{event_id}\0{value!r}\0{body.get('timestamp')}".encode(), digest_size=12).hexdigest()
        item = {"event_id": event_id, "signal": "reward", "value": value, "at": at, "idempotency_key": f"pz:{key}"}
        self._rewards.append(item)
        if len(self._rewards) >= _BATCH:
            self.send()

    def _activate(self, body: dict[str, Any]) -> None:
        found = self.deferred.pop(_event_id(body), None)
        if found is None:
            self.report.left_out["activations_of_unknown_ranks"] += 1
        else:
            self._record(found)

    def _time(self, body: dict[str, Any]) -> float:
        written = body.get("timestamp", body.get("Timestamp"))
        if written is None:
            self.report.left_out["no_timestamp"] += 1
            return self._now
        try:
            at = datetime.fromisoformat(str(written))
        except ValueError as error:
            raise RecordError("a timestamp is ISO 8601", code="type", field="timestamp", hint="Correct it.") from error
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()

    def send(self) -> None:
        """Join the rewards that wait, in one commit."""
        if self._rewards:
            latest = max(item["at"] for item in self._rewards)
            for answer in self._loop.feedback_many(self._rewards, now=latest):
                self.report.feedback[answer.status] += 1
            self._rewards = []


def _event_id(body: Mapping[str, Any]) -> str:
    return checks.event_id(body.get("eventId", body.get("EventId")), "eventId")


def _context(body: Mapping[str, Any]) -> str:
    """Return the context as the question: it is what Personalizer had in its place."""
    found = body.get("contextFeatures")
    return "" if not found else json.dumps(found, sort_keys=True, ensure_ascii=False)


def lines_of(paths: Iterable[str]) -> Iterator[bytes]:
    """Yield the lines of files, one after the other."""
    for path in paths:
        with Path(path).open("rb") as file:
            yield from file
