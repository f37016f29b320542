"""What a list and an evaluation of a span are to a loop: the results to log, the signal to send."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dwell.errors import ConfigError
from dwell.integrations.otel.records import SpanRetrieval

__all__ = ["Features", "check_signals", "results_of", "signal_of"]

# (question, document ids) -> one mapping of every registered feature per document
Features = Callable[[str, Sequence[str]], Sequence[Mapping[str, float]]]


def check_signals(given: Mapping[str, str | None] | None, declared: Collection[str]) -> dict[str, str | None]:
    """Return an override {evaluation: signal, None to ignore it}.

    Raises:
        ConfigError: It names a signal that the reward preset does not declare.
    """
    chosen = dict(given or {})
    for name, signal in chosen.items():
        if signal is not None and signal not in declared:
            raise ConfigError(
                "an evaluation is mapped to a signal that the rewards do not declare",
                field=f"signals.{name}",
                value=signal,
                hint=f"Use one of {', '.join(sorted(declared))}, or None to ignore it.",
            )
    return chosen


def signal_of(name: str, declared: Collection[str], overrides: Mapping[str, str | None]) -> tuple[str, str]:
    """Return "signal", "ignored" or "unknown", and the signal: the override's, else that of the same name, else ""."""
    if name in overrides:
        chosen = overrides[name]
        return ("ignored", "") if chosen is None else ("signal", chosen)
    return ("signal", name) if name in declared else ("unknown", "")


def results_of(retrieval: SpanRetrieval, registered: Sequence[str], features: Features | None) -> list[dict[str, Any]]:
    """Return what `Loop.log_retrieval` takes: ids, scores, and the registered features that are known.

    Args:
        retrieval: The list.
        registered: Names of features; looked for among the numbers that the span tells of a document, "score" included.
        features: Gives them instead.
    """
    numbers: Sequence[Mapping[str, float]] = [one.numbers for one in retrieval.documents]
    if features is not None:
        numbers = features(retrieval.query, [one.id for one in retrieval.documents])
    results: list[dict[str, Any]] = []
    for one, row in zip(retrieval.documents, numbers, strict=True):
        score = {} if one.score is None else {"score": one.score}
        results.append({"id": one.id, **score, **{name: row[name] for name in registered if name in row}})
    return results
