"""What every format needs to turn items into lists and reactions, and single fields read the same way everywhere."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from dwell.errors import RecordError
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.importing.sources import Line
from dwell.integrations.ubi import meanings
from dwell.integrations.ubi.fields import UnreadableField, as_object, epoch_seconds
from dwell.integrations.ubi.lines import MAX_ITEM_BYTES, decoded
from dwell.integrations.ubi.lists import safe_event_id
from dwell.integrations.ubi.records import Refusal
from dwell.records import checks
from dwell.reward.signals import SignalSpec

__all__ = [
    "Format",
    "Reading",
    "digest_of",
    "items_of_lines",
    "number",
    "numbers_of",
    "object_of",
    "pointer_of",
]

MAX_SKEW_S: Final = 300.0  # what clocks may be wrong by: design, section 4, has it for the future
_MAX_NAMES: Final = 1_000  # names that are counted apart, so that strangers can not fill memory
_MOST_FLOAT: Final = 1e308  # a whole number beyond it is no float; NaN is not below it
_MAX_NESTED: Final = 32  # the formats are six deep; what is far deeper is an attack on whoever walks it


class Format(NamedTuple):
    """How one kind of log is read.

    Attributes:
        items: Lines in, items out: one at a time, in their order.
        read: An item in, lists and reactions out; raises `UnreadableField` or `RecordError`.
        is_stateful: Whether items tell of others: those that were taken already are read again, for what they tell.
        has_rows: Whether a list stands in several rows, which have to follow each other.
    """

    items: Callable[[Iterable[Line], Reading], Iterator[Item]]
    read: Callable[[Item, Reading], Iterable[Told]]
    is_stateful: bool = False
    has_rows: bool = False


@dataclass(slots=True)
class Reading:
    """One reading of one log.

    Attributes:
        name: The log's name: where items have no ids of their own, it is part of those that they are given.
        features: The loop's features, as the caller names them.
        signals: What the loop's rewards declare.
        overrides: {name in the log: signal, None to ignore it}.
        columns: {field: name of the column that has it}, for tables.
        now: When it is read, UTC epoch seconds; also the instant of what carries none.
        noted: Counts what is read although it is not written as it should be.
        left_out: Counts what has no place here.
        unknown: Counts reactions that no signal is declared for.
        kept: What items told for others, where the format is stateful.
    """

    name: str
    features: tuple[str, ...]
    signals: Mapping[str, SignalSpec]
    overrides: Mapping[str, str | None]
    columns: Mapping[str, str]
    now: float
    noted: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    kept: Any = None

    def at(self, value: object, pointer: str) -> float:
        """Return an instant; that of the import where there is none, which is counted.

        Raises:
            UnreadableField: It is no instant, or more than 5 minutes from now.
        """
        if value is None or value == "":
            self.left_out["timestamp"] += 1
            return self.now
        noted: Counter[str] = Counter()
        found = epoch_seconds(value, pointer, noted)
        self.noted["no_zone"] += noted["no_zone"]  # how numbers count time is each format's own
        if found > self.now + MAX_SKEW_S:
            raise UnreadableField(pointer, "future: more than 5 minutes from now")
        return found

    def signal(self, *names: str | None) -> str | None:
        """Return the signal of a reaction that goes by several names, the most telling first; None for none.

        A name that is given in the overrides wins; what no signal is declared for is counted.
        """
        told = [name for name in names if name]
        told.sort(key=lambda name: name not in self.overrides)
        for name in told:
            meaning = meanings.meaning_of(name, self.signals, self.overrides)
            if meaning.kind == "signal":
                return meaning.signal
            if meaning.kind in {"ignored", "shown"}:
                return None
        name = told[0] if told else ""
        self.unknown[name if name in self.unknown or len(self.unknown) < _MAX_NAMES else "(others)"] += 1
        return None

    def unnamed(self, item: Item, *more: object) -> str:
        """Return an event id for an item without one: the log's name, its line and what stands there.

        The same line of a log of the same name has the same id, however much was added behind it.
        """
        return f"log:{digest_of(self.name, item.line, item.value, *more)}"

    def has_features(self, row: Mapping[str, object]) -> bool:
        """Return whether every feature of the loop stands in a mapping."""
        return bool(self.features) and all(name in row for name in self.features)


def digest_of(*parts: object) -> str:
    """Return 32 hex digits that tell these parts from any others."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "backslashreplace"), digest_size=16).hexdigest()


def items_of_lines(lines: Iterable[Line], _: Reading) -> Iterator[Item]:
    """Yield one item a line, empty ones left out; what stands there is decoded when it is read."""
    for line in lines:
        if line.data is None:
            yield Item(line.number, line.end, line.mark, too_long(line.number))
        elif line.data.strip():
            yield Item(line.number, line.end, line.mark, line.data)


def too_long(number: int) -> Refusal:
    """Return the refusal of a line that is longer than allowed."""
    return Refusal(number, "", f"too_long: a line has at most {MAX_ITEM_BYTES} bytes")


def object_of(item: Item) -> Mapping[str, Any]:
    """Return the JSON object that an item is, given as text or decoded already.

    Raises:
        UnreadableField: It is none, or nested more than 32 deep.
    """
    value = item.value
    if isinstance(value, bytes):
        try:
            value = decoded(value)
        except ValueError as error:
            raise UnreadableField("", "malformed_json: this line is no JSON") from error
        if item.value.count(b"[") + item.value.count(b"{") > _MAX_NESTED:
            _check_nested(value)
    return as_object(value)


def _check_nested(value: object) -> None:
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        one, depth = waiting.pop()
        inside = one.values() if isinstance(one, Mapping) else one if isinstance(one, list) else ()
        if inside and depth > _MAX_NESTED:
            raise UnreadableField("", f"depth: nested more than {_MAX_NESTED} deep")
        waiting += [(each, depth + 1) for each in inside if isinstance(each, Mapping | list)]


def number(value: object, pointer: str) -> float:
    """Return a finite number, given as one or as text.

    Raises:
        UnreadableField: It is none.
    """
    try:
        if isinstance(value, str):
            value = float(value)
        return checks.finite(value, pointer)
    except ValueError as error:
        is_truth = isinstance(value, str) and value.strip().lower() in {"true", "false", "yes", "no"}
        due = "type: a finite number is due here" + (": write 1 or 0" if is_truth else "")
        raise UnreadableField(pointer, due) from error


def numbers_of(values: Mapping[str, Any]) -> dict[str, float]:
    """Return what is a finite number among values; truths are 1 and 0."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and abs(value) <= _MOST_FLOAT
    }


def text(value: object, pointer: str) -> str:
    """Return an id as text: text as it is, a whole number in digits.

    Raises:
        UnreadableField: It is neither.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UnreadableField(pointer, "type: text is due here")


def text_or_none(value: object, pointer: str) -> str | None:
    """Return an id as text, None where it is missing or empty.

    Raises:
        UnreadableField: It is neither text nor a whole number.
    """
    return None if value is None or value == "" else text(value, pointer)


def event_id_of(value: object, pointer: str) -> str:
    """Return an event id: the given one where it can be one, else a digest of it.

    Raises:
        UnreadableField: It is missing, empty, or neither text nor a whole number.
    """
    if value is None or value == "":
        raise UnreadableField(pointer, "missing: an event has an id")
    found = text(value, pointer)
    try:
        return checks.event_id(found)
    except RecordError:
        return safe_event_id(found)


def list_of(value: object, pointer: str) -> list[Any]:
    """Return a list.

    Raises:
        UnreadableField: It is none.
    """
    if not isinstance(value, list):
        raise UnreadableField(pointer, "type: a list is due here")
    return value


def pointer_of(error: RecordError) -> str:
    """Return the JSON pointer of the field that an error names: "results[0].score" is "/results/0/score"."""
    name = error.field or ""
    return "/" + name.replace("[", "/").replace("].", "/").replace("]", "").replace(".", "/") if name else ""
