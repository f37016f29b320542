"""What a signal is: its scope, range and unit, how repeats add up, and how its value becomes credit."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal, get_args

from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.reward.provenance import AGENT_BOUND, AGENT_PREFIX, is_agents

__all__ = [
    "MAX_DWELL_S",
    "MAX_SIGNALS",
    "Aggregation",
    "Curve",
    "Scope",
    "SignalSpec",
    "agents_own",
    "aggregate",
    "check_signal",
    "spec_of",
]

Scope = Literal["document", "list", "either"]
Aggregation = Literal["earliest", "last", "sum", "mean", "max"]
Curve = Literal["linear", "saturating", "centred"]

MAX_DWELL_S: Final = 86_400.0  # a page left open overnight is no reading: dwell beyond 24 h is a bad input
MAX_SIGNALS: Final = 256  # a preset is read by people; the largest built-in one has under 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSpec:
    """The declaration of one signal.

    Credit is `weight * credit_of(aggregated value)`, so that a weight is what the signal is worth at its best.

    Attributes:
        name: Name by which it is given to `feedback`; an id.
        weight: Worth in reward units, in [-1, 1]. A signal of weight 0 is kept and shown, but is no feedback.
        scope: "document" (a document must be named), "list" (none may be) or "either".
        low: Smallest legal value, in `unit`.
        high: Largest legal value, in `unit`; > low.
        aggregation: How several values for the same document (or the list) become one: "earliest", "last" (a vote may
            be changed), "sum", "mean" or "max" (repeats count once).
        curve: "linear": value / max(|low|, |high|). "saturating": min(value, scale) / scale, for low >= 0.
            "centred": -1 at low, 0 half way, +1 at high.
        scale: Value, in `unit`, that earns full credit under "saturating"; in (0, high]. Unused otherwise.
        unit: "1" for a share or a flag, else "s", "stars", ...
        note: Why it is worth that: a source or a reason.

    Raises:
        ConfigError: A field is out of its range.
    """

    name: str
    weight: float
    scope: Scope = "either"
    low: float = 0.0
    high: float = 1.0
    aggregation: Aggregation = "max"
    curve: Curve = "linear"
    scale: float = 1.0
    unit: str = "1"
    note: str = ""

    def __post_init__(self) -> None:
        for field_name in ("weight", "low", "high", "scale"):
            number = _setting(getattr(self, field_name), f"signals.{self.name}.{field_name}")
            object.__setattr__(self, field_name, number)
        self._check(-1.0 <= self.weight <= 1.0, "weight", "a weight is in [-1, 1]")
        self._check(self.low < self.high, "low", "a range has low < high")
        for field_name, choices in (("scope", Scope), ("aggregation", Aggregation), ("curve", Curve)):
            legal = get_args(choices)
            self._check(getattr(self, field_name) in legal, field_name, f"one of {', '.join(legal)} is due here")
        if self.curve == "saturating":
            self._check(self.low >= 0.0, "low", "a saturating signal starts at 0 or above")
            self._check(0.0 < self.scale <= self.high, "scale", "a scale is in (0, high]")
        try:
            checks.identifier(self.name, "signals")
        except RecordError as error:
            raise ConfigError(
                "a signal's name is an id", field="signals", value=self.name, hint="Use a word."
            ) from error
        if is_agents(self.name):
            message = f"an agent's own word weighs at most {AGENT_BOUND}: it is weaker than any person's"
            self._check(abs(self.weight) <= AGENT_BOUND, "weight", message)

    def _check(self, is_legal: bool, field_name: str, message: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not is_legal:
            raise ConfigError(
                message,
                field=f"signals.{self.name}.{field_name}",
                value=getattr(self, field_name),
                hint="Correct the signal's declaration.",
            )

    def credit_of(self, value: float) -> float:
        """Return the aggregated value on the signal's curve: [0, 1] where low >= 0 (not centred), else [-1, 1]."""
        if self.curve == "saturating":
            mapped = min(value, self.scale) / self.scale
        elif self.curve == "centred":
            half = (self.high - self.low) / 2.0
            mapped = (value - self.low - half) / half
        else:
            mapped = value / max(abs(self.low), abs(self.high))
        # a sum of legal values may leave the declared range: the credit does not
        return min(1.0, max(-1.0, mapped))


@lru_cache(maxsize=4 * MAX_SIGNALS)
def agents_own(spec: SignalSpec) -> SignalSpec:
    """Return the signal by which an agent says of itself what people say by `spec`: a quarter as much, its last word.

    Raises:
        ConfigError: The name is too long to have the prefix before it.
    """
    return replace(
        spec,
        name=AGENT_PREFIX + spec.name,
        weight=AGENT_BOUND * spec.weight,
        aggregation="last",
        note=f"An agent's own word for {spec.name!r}.",
    )


def spec_of(signals: Mapping[str, SignalSpec], name: object) -> SignalSpec | None:
    """Return what is declared of a signal, None where nothing is; each has a twin for agents that need not be declared.

    Args:
        signals: The declarations, `RewardPreset.signals`.
        name: Name of the signal.
    """
    if not isinstance(name, str):
        return None
    found = signals.get(name)
    if found is None and is_agents(name):
        people = signals.get(name[len(AGENT_PREFIX) :])
        try:
            return None if people is None or is_agents(people.name) else agents_own(people)
        except ConfigError:  # a name of 510 letters has no twin
            return None
    return found


def aggregate(values: Sequence[float], aggregation: Aggregation) -> float:
    """Return one value for several, given in time order; never empty."""
    if aggregation == "earliest":
        return values[0]
    if aggregation == "last":
        return values[-1]
    if aggregation == "max":
        return max(values)
    total = math.fsum(values)
    return total if aggregation == "sum" else total / len(values)


def check_signal(signals: Mapping[str, SignalSpec], name: object, doc: object, value: object) -> None:
    """Return nothing if the signal is declared and its value, document and scope are legal; raise otherwise.

    Args:
        signals: The declarations, `RewardPreset.signals`.
        name: Name of the signal.
        doc: The document it is about, or None for the whole list.
        value: The observed value, in the unit of the declaration.

    Raises:
        RecordError: `unknown_signal` (the nearest names stand in the hint), `signal_scope`, `signal_range`, `type`,
            `non_finite`, or `id` for a malformed document id.
    """
    spec = spec_of(signals, name)
    if spec is None:
        raise _unknown(signals, name)
    if doc is None:
        if spec.scope == "document":
            raise RecordError(
                f"the signal {spec.name!r} is about one document, and none was named",
                code="signal_scope",
                field="doc",
                value=doc,
                hint="Pass doc=, the id of a served document.",
            )
    elif spec.scope == "list":
        raise RecordError(
            f"the signal {spec.name!r} is about the whole list, and a document was named",
            code="signal_scope",
            field="doc",
            value=doc,
            hint="Leave doc out.",
        )
    else:
        checks.identifier(doc, "doc")
    number = checks.finite(value, "value")
    if not spec.low <= number <= spec.high:
        raise RecordError(
            f"the value of {spec.name!r} is outside [{spec.low:g}, {spec.high:g}] {_unit(spec)}".rstrip(),
            code="signal_range",
            field="value",
            value=value,
            hint="Correct it at its source, or declare another range in the rewards.",
        )


def _unit(spec: SignalSpec) -> str:
    return "" if spec.unit == "1" else spec.unit


def _unknown(signals: Mapping[str, SignalSpec], name: object) -> RecordError:
    near = difflib.get_close_matches(name, signals, n=3) if isinstance(name, str) and len(name) <= 64 else []
    known = f"Did you mean {' or '.join(repr(n) for n in near)}?" if near else f"Known: {', '.join(sorted(signals))}."
    return RecordError(
        "no such signal in the rewards in force",
        code="unknown_signal",
        field="signal",
        value=name,
        hint=f"{known} Declare others through rewards=.",
    )


def _setting(value: object, field_name: str) -> float:
    try:
        return checks.finite(value, field_name)
    except RecordError as error:
        raise ConfigError(error.message, field=field_name, value=value, hint=error.hint) from error
