"""What a list and an evaluation of a span are to a loop: the results to log, the signal to send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from dwell.errors import ConfigError
from dwell.integrations.otel.records import SpanEvaluation, SpanRetrieval
from dwell.integrations.scores.meanings import Meaning, meanings_of, value_of
from dwell.reward.signals import SignalSpec, spec_of

__all__ = ["Features", "check_signals", "results_of", "signal_of"]

# (question, document ids) -> one mapping of every registered feature per document
Features = Callable[[str, Sequence[str]], Sequence[Mapping[str, float]]]


def check_signals(given: Mapping[str, object] | None, declared: Mapping[str, SignalSpec]) -> dict[str, Meaning | None]:
    """Return an override {evaluation: what it is, None to ignore it}.

    Args:
        given: {evaluation: name of the signal, a `dwell.integrations.scores.Meaning` or its fields, None}.
        declared: The signals of the loop's rewards.

    Raises:
        ConfigError: It names a signal that the reward preset does not declare, or values that it can not have.
    """
    chosen: dict[str, Meaning | None] = {}
    for name, one in (given or {}).items():
        if isinstance(one, str) and spec_of(declared, one) is None:
            raise ConfigError(
                "an evaluation is mapped to a signal that the rewards do not declare",
                field=f"signals.{name}",
                value=one,
                hint=f"Use one of {', '.join(sorted(declared))}, or None to ignore it.",
            )
        chosen[name] = None if one is None else meanings_of({name: one}, declared)[name]
    return chosen


def signal_of(
    one: SpanEvaluation, declared: Mapping[str, SignalSpec], overrides: Mapping[str, Meaning | None]
) -> tuple[str, SpanEvaluation] | Literal["ignored", "unknown", "no_score"]:
    """Return the signal that an evaluation is, with its value as that signal, or why it is none.

    By the override, else by its own name where the rewards declare a signal of it.

    Raises:
        UnreadableField: The override declares neither this label nor this number.
    """
    meaning = overrides.get(one.name, Meaning(signal=one.name))
    if meaning is None:
        return "ignored"
    if spec_of(declared, meaning.signal) is None:
        return "unknown"
    value = value_of(one, meaning)
    if isinstance(value, str):
        return "ignored" if value == "ignored" else "no_score"
    return meaning.signal, replace(one, value=value)


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
