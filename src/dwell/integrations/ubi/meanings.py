"""Actions of User Behavior Insights as signals of a reward preset."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from dwell.errors import ConfigError
from dwell.integrations.ubi.records import UbiEvent

__all__ = ["SHOWN", "Meaning", "check_actions", "meaning_of", "value_of"]

SHOWN: Final = "impression"  # an object was seen: it tells the list, and is no reaction
# What producers write where the schema's own word was refused by the schema, or was another one in version 1.2
_SPELLINGS: Final = {"item_click": "click", "click_through": "click"}
VALUE: Final = "dwell.value"  # in event_attributes: the value of a signal that has one, in its own unit
_DWELL_TIME: Final = "dwell_time"  # in event_attributes of the sample data: seconds


class Meaning(NamedTuple):
    """What an action means to a loop.

    Attributes:
        kind: "signal", "shown", "ignored" (an override says so) or "unknown" (no signal is declared for it).
        signal: Name of the signal; "" for the others.
    """

    kind: str
    signal: str = ""


def check_actions(given: Mapping[str, str | None] | None, declared: Collection[str]) -> dict[str, str | None]:
    """Return an override {action: signal, None to ignore it}.

    Raises:
        ConfigError: It names a signal that the reward preset does not declare.
    """
    chosen = dict(given or {})
    for action, signal in chosen.items():
        if signal is not None and signal not in declared and signal != SHOWN:
            raise ConfigError(
                "an action is mapped to a signal that the rewards do not declare",
                field=f"actions.{action}",
                value=signal,
                hint=f"Use one of {', '.join(sorted(declared))}, or None to ignore it.",
            )
    return chosen


def meaning_of(action: str, declared: Collection[str], overrides: Mapping[str, str | None]) -> Meaning:
    """Return what an action means: the override, else the signal of the same name, else that of a known spelling.

    Args:
        action: `action_name` as it came.
        declared: Names of the signals that the reward preset declares.
        overrides: See `check_actions`.
    """
    if action in overrides:
        chosen = overrides[action]
        if chosen is None:
            return Meaning("ignored")
        return Meaning("shown") if chosen == SHOWN else Meaning("signal", chosen)
    name = _SPELLINGS.get(action, action)
    if name == SHOWN:
        return Meaning("shown")
    return Meaning("signal", name) if name in declared else Meaning("unknown")


def value_of(event: UbiEvent, signal: str) -> float | None:
    """Return a signal's value: `dwell.value` in its attributes, for "dwell" its `dwell_time` in seconds, else 1.

    None where "dwell" comes without either: a second of reading would be made up.
    """
    names = (VALUE, _DWELL_TIME) if signal == "dwell" else (VALUE,)
    for name in names:
        given = event.attributes.get(name)
        if isinstance(given, int | float) and not isinstance(given, bool):
            return given
    return None if signal == "dwell" else 1.0
