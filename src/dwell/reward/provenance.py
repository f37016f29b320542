"""Who speaks: people, or agents about their own work. An agent's word is a class of its own, told by its name.

`agent_helpful` is what an agent says of itself where a person would say `helpful`. The class stands in the name, so
that it is durable wherever a signal is: in every store, archive and export, also in those of another process.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from dwell.errors import RecordError

__all__ = ["AGENT_BOUND", "AGENT_PREFIX", "MAX_AGENT_SIGNALS", "Provenance", "is_agents", "named_by"]

Provenance: TypeAlias = Literal["person", "agent"]

AGENT_PREFIX: Final = "agent_"
# A choice: the most that an agent can say is worth less than the weakest praise of a person that is more than silence
# (0.3, the class "moderate" of the founding pages). As a rate, praise at every showing stands below `helpful` at one in
# three.
AGENT_BOUND: Final = 0.25
MAX_AGENT_SIGNALS: Final = 100  # per event, a tenth of what it keeps: an agent leaves people room to speak


def is_agents(signal: str) -> bool:
    """Return whether a signal of this name is an agent's own word."""
    return signal.startswith(AGENT_PREFIX)


def named_by(signal: str, by: Provenance) -> str:
    """Return the name under which a signal is given: an agent's word has the prefix, once.

    Args:
        signal: Its name, as the preset declares it.
        by: Who speaks. A name with the prefix is an agent's whoever gives it.

    Raises:
        RecordError: code `provenance`: `by` is neither.
    """
    if by not in ("person", "agent"):
        raise RecordError(
            "feedback is given by a person or by an agent",
            code="provenance",
            field="by",
            value=by,
            hint='Pass by="person" or by="agent".',
        )
    return signal if by == "person" or is_agents(signal) else AGENT_PREFIX + signal
