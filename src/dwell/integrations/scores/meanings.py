"""What a score elsewhere is as a signal: which one, and what its numbers, truths and labels are worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from dwell.errors import ConfigError, RecordError
from dwell.integrations.ubi.fields import UnreadableField
from dwell.records import checks
from dwell.reward.signals import SignalSpec, spec_of

__all__ = ["Meaning", "Valued", "meanings_of", "value_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a score is as a signal.

    Attributes:
        signal: Name of the signal, as the loop's rewards declare it.
        low: Smallest number that the score can be there; smaller ones are refused. None: not checked.
        high: Largest.
        onto: (from, to): low and high as values of the signal, numbers between them in proportion, so (1, -1) turns a
            score around. None: numbers are taken as they are.
        true: Value of a true score; None leaves it out.
        false: Value of a false one.
        labels: {label: value} of a categorical score, None to leave it out; other labels are refused. Where they are
            given, a score's label counts before its number.
    """

    signal: str
    low: float | None = None
    high: float | None = None
    onto: tuple[float, float] | None = None
    true: float | None = 1.0
    false: float | None = 0.0
    labels: Mapping[str, float | None] = field(default_factory=dict)


def meanings_of(given: Mapping[str, object], declared: Mapping[str, SignalSpec]) -> dict[str, Meaning]:
    """Return {name of a score: what it is}, checked.

    Args:
        given: {name of a score: name of the signal, a `Meaning`, or its fields as a mapping}.
        declared: The signals of the loop's rewards.

    Raises:
        ConfigError: A signal is not declared, a field is unknown, or a value is outside the signal's range.
    """
    if not given:
        raise ConfigError(
            "scores are named with their signals", field="scores", value=given, hint="Pass {'helpful': 'thumbs'}."
        )
    return {name: _meaning(name, one, declared) for name, one in given.items()}


def _meaning(name: str, given: object, declared: Mapping[str, SignalSpec]) -> Meaning:
    where = f"scores.{name}"
    if isinstance(given, str):
        given = Meaning(signal=given)
    elif isinstance(given, Mapping):
        known = {one.name for one in fields(Meaning)}
        for key in given:
            if key not in known:
                raise ConfigError(
                    "unknown field", field=f"{where}.{key}", hint=f"Known are {', '.join(sorted(known))}."
                )
        if "signal" not in given:
            raise ConfigError("a score is a signal", field=f"{where}.signal", hint="Name it.")
        given = Meaning(**_plain(given))
    if not isinstance(given, Meaning):
        raise ConfigError(
            "a score is named with its signal", field=where, value=type(given).__name__, hint="Pass text or a Meaning."
        )
    spec = spec_of(declared, given.signal)
    if spec is None:
        raise ConfigError(
            "a score is mapped to a signal that the rewards do not declare",
            field=where,
            value=given.signal,
            hint=f"Use one of {', '.join(sorted(declared))}, or open the store with rewards of your own.",
        )
    _check(given, spec, where)
    return given


def _plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as JSON tells them: a pair is a list there."""
    onto = given.get("onto")
    return {**given, **({"onto": tuple(onto)} if isinstance(onto, list) else {})}


def _check(given: Meaning, spec: SignalSpec, where: str) -> None:
    """Refuse what could never become a value of the signal.

    Raises:
        ConfigError: A bound is missing or no number, or a value is outside the signal's range.
    """
    try:
        _check_bounds(given, where)
        for name, value in _values(given):
            if value is not None:
                checks.within(value, f"{where}.{name}", spec.low, spec.high)
    except (RecordError, AttributeError, TypeError) as error:
        told = error if isinstance(error, RecordError) else None
        raise ConfigError(
            f"this is no meaning of the signal {spec.name}: {told.message if told else 'a field has the wrong type'}",
            field=where if told is None else told.field,
            value=None if told is None else told.value,
            hint=f"Its values are in [{spec.low:g}, {spec.high:g}].",
        ) from error


def _check_bounds(given: Meaning, where: str) -> None:
    for name in ("low", "high"):
        bound = getattr(given, name)
        if bound is not None:
            checks.finite(bound, f"{where}.{name}")
    low, high = given.low, given.high
    if low is not None and high is not None and not low < high:
        raise RecordError("low is below high", field=f"{where}.low", value=low)
    if given.onto is not None and (low is None or high is None or len(given.onto) != 2):
        raise RecordError("a pair is due, with low and high", field=f"{where}.onto", value=given.onto)


def _values(given: Meaning) -> list[tuple[str, float | None]]:
    """Return what the signal can be given, by the name of its field."""
    onto = () if given.onto is None else given.onto
    return [
        # what nobody said is nobody's mistake: a signal of numbers has no truths
        *((name, value) for name, value in (("true", given.true), ("false", given.false)) if value not in {0.0, 1.0}),
        *((f"labels.{label}", value) for label, value in given.labels.items()),
        *((f"onto[{i}]", value) for i, value in enumerate(onto)),
    ]


class Valued(Protocol):
    """What has a number or a truth, a label, or neither."""

    @property
    def value(self) -> float | bool | None:
        """The number or truth, or None."""

    @property
    def label(self) -> str | None:
        """The category, or None."""


def value_of(score: Valued, meaning: Meaning) -> float | str:
    """Return a score as the signal's value, or the reason why it is left out.

    Raises:
        UnreadableField: A number outside the declared range, a label that is not declared, or another type.
    """
    if meaning.labels and score.label is not None:
        if score.label not in meaning.labels:
            raise UnreadableField("/label", "unknown_label: the mapping declares no such label")
        return _or_ignored(meaning.labels[score.label])
    if score.value is None:
        return "no_value"
    if isinstance(score.value, bool):
        return _or_ignored(meaning.true if score.value else meaning.false)
    try:
        number = checks.finite(score.value, "value")
    except RecordError as error:
        raise UnreadableField("/value", f"{error.code}: {error.message}") from error
    low, high = meaning.low, meaning.high
    if (low is not None and number < low) or (high is not None and number > high):
        raise UnreadableField("/value", "out_of_range: the number is outside the declared range")
    if meaning.onto is None or low is None or high is None:
        return number
    start, end = meaning.onto
    return start + (end - start) * (number - low) / (high - low)


def _or_ignored(value: float | None) -> float | str:
    return "ignored" if value is None else float(value)
