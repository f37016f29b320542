"""Checks of what callers pass to `Activation`: each value is taken as it is or refused by name, never adjusted."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np

from dwell.activation.instants import MAX_US
from dwell.activation.ladder import MAX_DECAY, MIN_DECAY, Ladder
from dwell.activation.rewarded import Prior
from dwell.errors import ConfigError, RecordError
from dwell.records import checks
from dwell.records.arrays import FloatArray, IntArray

__all__ = [
    "asked_ids",
    "checked_ids",
    "exposures_of",
    "history_of",
    "hybrid_setting",
    "item_ids",
    "known_channel",
    "known_curve",
    "known_ids",
    "mergeable",
    "no_session",
    "not_hybrid",
    "one_of",
    "only_traces",
    "session_of",
    "setting_decay",
    "setting_ladder",
    "setting_prior",
    "setting_whole",
    "threshold",
]


def item_ids(items: object, known: Container[str] = ()) -> Sequence[str]:
    """Return the ids of items, one or more, each once.

    Args:
        items: What was passed.
        known: Ids that were looked at before.

    Raises:
        RecordError: They are no list of different ids.
    """
    found = _ids(items, known)
    if not found or len(set(found)) < len(found):
        raise RecordError(
            "one or more different items are due here",
            code="items",
            field="items",
            value=items,
            hint="Name each item once.",
        )
    return found


def asked_ids(items: object) -> Sequence[str] | None:
    """Return the ids of items that are asked for, repeats and none of them allowed; None for all.

    What a list holds is looked at when it is not found: a thousand ids are asked for per search, and most are known.

    Raises:
        RecordError: They are no list.
    """
    return items if items is None or isinstance(items, list | tuple) else _ids(items, ())


def checked_ids(items: object) -> Sequence[str]:
    """Return the ids of items, each looked at.

    Raises:
        RecordError: They are no list of ids.
    """
    return _ids(items, ())


def _ids(items: object, known: Container[str]) -> list[str]:
    if not isinstance(items, Sequence | np.ndarray) or isinstance(items, str | bytes):
        raise RecordError(
            "a list of item ids is due here", code="type", field="items", value=items, hint='Pass ["doc-1", ...].'
        )
    return [
        item if type(item) is str and item in known else checks.identifier(item, f"items[{place}]")
        for place, item in enumerate(items)
    ]


def known_ids(items: object, known: Container[str]) -> Sequence[str]:
    """Return the ids of items that are known.

    Raises:
        RecordError: One is not.
    """
    found = item_ids(items)
    for place, item in enumerate(found):
        if item not in known:
            raise RecordError(
                "there is no such item",
                code="unknown_item",
                field=f"items[{place}]",
                value=item,
                hint="Ask `items()` for those that there are.",
            )
    return found


def exposures_of(items: Sequence[str], exposures: object) -> dict[str, float]:
    """Return the exposure of each item in [0, 1], 1 where none are given.

    Raises:
        RecordError: There are more or fewer than items, or one is outside.
    """
    if exposures is None:
        return dict.fromkeys(items, 1.0)
    is_list = isinstance(exposures, Sequence | np.ndarray) and not isinstance(exposures, str | bytes)
    if not is_list or len(exposures) != len(items):  # type: ignore[arg-type]  # a sequence, or the first is false
        raise RecordError(
            f"{len(items)} exposures are due, one per item",
            code="type",
            field="exposures",
            value=exposures,
            hint="Leave them out where each counts 1.",
        )
    pairs = zip(items, exposures, strict=True)  # type: ignore[call-overload]  # the same
    return {item: checks.within(value, f"exposures[{i}]", 0.0, 1.0) for i, (item, value) in enumerate(pairs)}


def threshold(value: object) -> float:
    """Return a threshold in nats.

    Raises:
        RecordError: It is not finite.
    """
    try:
        return checks.finite(value, "threshold")
    except RecordError as error:
        raise RecordError(
            error.message,
            code=error.code,
            field="threshold",
            value=value,
            hint="Nats, ages in seconds: one access a year ago is -8.6 at d = 0.5.",
        ) from error


def history_of(
    items: object, at_us: object, rewards: object, exposures: object
) -> tuple[Sequence[str], IntArray, FloatArray]:
    """Return the columns of many events: ids, instants (n,) and amounts (n, 2).

    Raises:
        RecordError: Shapes differ, or a value is out of its range.
    """
    ids = checked_ids(items)
    instants = np.asarray(at_us)
    is_instant = instants.dtype.kind in "iu" and instants.shape == (len(ids),)
    if not is_instant or (instants < 0).any() or (instants > MAX_US).any():
        raise RecordError(
            f"{len(ids)} instants in microseconds UTC are due, one per item",
            code="timestamp",
            field="at_us",
            value=at_us,
            hint="Pass an int64 array.",
        )
    columns = []
    for field, column, most in (("rewards", rewards, 1.0), ("exposures", exposures, np.inf)):
        values = np.asarray(column)
        is_numbers = values.dtype.kind in "fiu" and values.shape == instants.shape and np.isfinite(values).all()
        if not is_numbers or (values < 0.0).any() or (values > most).any():
            raise RecordError(
                f"{len(ids)} finite numbers are due, each at least 0" + (" and at most 1" if most == 1.0 else ""),
                code="range",
                field=field,
                value=column,
                hint="Negative feedback is exposure.",
            )
        columns.append(values.astype(np.float64))
    return ids, instants.astype(np.int64), np.column_stack(columns)


def known_channel(channel: object) -> None:
    """Refuse a channel that there is not.

    Raises:
        RecordError: It is another word.
    """
    _known(channel, "channel", ("reward", "exposure"))


def known_curve(curve: object) -> None:
    """Refuse what no date of forgetting is known of.

    Raises:
        RecordError: It is another word.
    """
    _known(curve, "of", ("base_level", "activation"))


def _known(value: object, field: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in known:
        raise RecordError(
            "there is no such choice", code="range", field=field, value=value, hint=f"One of {', '.join(known)}."
        )


def no_session(session: object) -> None:
    """Refuse a session without an event id: nothing could be told apart in it.

    Raises:
        RecordError: There is one.
    """
    if session is not None:
        raise RecordError(
            "a session caps events, and this access has no event id",
            code="type",
            field="session",
            value=session,
            hint="Pass event_id, too.",
        )


def mergeable(one: object, other: object) -> None:
    """Refuse what can not be added to an activation.

    Raises:
        RecordError: It is no other `Activation`, or of another meaning, ladder or cap.
    """
    if not isinstance(other, type(one)) or other is one:
        raise RecordError(
            "another Activation is due here", code="type", field="other", value=other, hint="Pass that of a shard."
        )
    for field in ("meaning", "ladder", "session_cap"):
        if getattr(one, field) != getattr(other, field):
            raise RecordError(
                f"the two have another {field}",
                code="mismatch",
                field=f"other.{field}",
                value=getattr(other, field),
                hint=f"Make both with {getattr(one, field)!r}.",
            )


def only_traces(meaning: str) -> RecordError:
    """Return the refusal to pack what grows with the number of events."""
    return RecordError(
        "only traces are kept as rows",
        code="meaning",
        field="meaning",
        value=meaning,
        hint='Make it with meaning="traces"; the other meanings are made from the log.',
    )


def not_hybrid(meaning: str, call: str) -> None:
    """Refuse a call that needs what the hybrid threw away.

    Raises:
        RecordError: The meaning is "petrov".
    """
    if meaning == "petrov":
        raise RecordError(
            f"the hybrid counts whole accesses: {call} needs what it does not keep",
            code="meaning",
            field="meaning",
            value=meaning,
            hint='Take meaning="traces" or "exact".',
        )


def session_of(session: object, meaning: str) -> None:
    """Refuse a malformed session, and any where an event can not be displaced again.

    Raises:
        RecordError: The id is malformed, or the meaning is "petrov".
    """
    if session is not None:
        not_hybrid(meaning, "a session with its cap")
        checks.identifier(session, "session")


# ---------------------------------------------------------------- settings


def hybrid_setting(meaning: str, channels: str) -> None:
    """Refuse the hybrid for two channels.

    Raises:
        ConfigError: The meaning is "petrov" and the channels are not "access".
    """
    if meaning == "petrov" and channels != "access":
        raise ConfigError(
            "the hybrid counts whole accesses and knows no weights",
            field="channels",
            value=channels,
            hint='Pass channels="access", or another meaning.',
        )


def one_of(value: object, field: str, known: Sequence[str]) -> None:
    """Refuse a setting that is not among the known words.

    Raises:
        ConfigError: It is another one.
    """
    if not isinstance(value, str) or value not in known:
        raise ConfigError("there is no such choice", field=field, value=value, hint=f"One of {', '.join(known)}.")


def setting_decay(value: object) -> float:
    """Return d.

    Raises:
        ConfigError: It is outside [0.1, 0.9].
    """
    try:
        return checks.within(value, "decay", MIN_DECAY, MAX_DECAY)
    except RecordError as error:
        raise ConfigError(error.message, field="decay", value=value, hint="0.5 is ACT-R's.") from error


def setting_whole(value: object, field: str, most: int) -> int:
    """Return a whole number in [1, most].

    Raises:
        ConfigError: It is something else.
    """
    try:
        return checks.positive_integer(value, field, most=most)
    except RecordError as error:
        raise ConfigError(error.message, field=field, value=value, hint=error.hint) from error


def setting_ladder(value: object) -> Ladder:
    """Return a ladder.

    Raises:
        ConfigError: It is something else.
    """
    if not isinstance(value, Ladder):
        raise ConfigError(
            "a Ladder is due here", field="ladder", value=value, hint="Take LADDER_12 or LADDER_14 of dwell.activation."
        )
    return value


def setting_prior(value: object) -> Prior:
    """Return a prior, the default one for None.

    Raises:
        ConfigError: It is something else.
    """
    if value is not None and not isinstance(value, Prior):
        raise ConfigError(
            "a Prior is due here", field="prior", value=value, hint="Pass dwell.activation.Prior(base_rate=...)."
        )
    return Prior() if value is None else value
