"""A loop for an agent that has candidates of its own: rank, feedback, explain, status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol, cast

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from dwell.health import HealthReport
from dwell.integrations.mcp.answers import (
    DATA_NOTICE,
    Candidates,
    Confirmed,
    EventId,
    Explained,
    Item,
    Query,
    Ranked,
    Signal,
    Status,
    TopK,
    Value,
)
from dwell.integrations.mcp.tools import (
    AGENTS_WORD,
    VERSION,
    alerts_of,
    check_is_recorded,
    check_word,
    confirmed,
    feedback_words,
    ledger_of,
    no_such_answer,
    params_of,
    said_names,
    suggested,
    tool,
    with_resources,
)
from dwell.loop import Loop
from dwell.records import Feedback, GateDecision, Params, Served
from dwell.reward import named_by

__all__ = ["Ranking", "loop_server"]

_INSTRUCTIONS: Final = (
    "A ranking that learns from feedback. Call rank with what you found elsewhere, use the items in the order given, "
    "and call feedback with the event_id once you know which of them helped."
)


class Ranking(Protocol):
    """What a `Loop` and a `dwell.Client` have alike."""

    def rank(
        self,
        query: str,
        candidates: list[Mapping[str, Any]],
        *,
        k: int = 10,
        user: str | None = None,
    ) -> Served:
        """Return which documents to show, in which order."""
        ...

    def feedback(self, event_id: str, signal: str, *, doc: str | None = None, value: float = 1.0) -> Feedback:
        """Return what became of one reaction."""
        ...

    def health(self) -> HealthReport:
        """Return how the loop is."""
        ...

    def history(self) -> list[GateDecision]:
        """Return every gate decision, oldest first."""
        ...

    @property
    def params(self) -> Params:
        """Params in force."""
        ...

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the registered features."""
        ...


class _Tools:
    def __init__(self, loop: Ranking, user: str | None) -> None:
        self._loop = loop
        self._user = user

    def rank(self, query: Query, candidates: Candidates, k: TopK = 10) -> Ranked:
        served = self._loop.rank(query, cast("Any", candidates), k=k, user=self._user)
        if served.fallback is not None:
            due = ", ".join(self._loop.features)
            raise ToolError(f"{served.fallback}: the order is as you gave it. Each candidate has an id and: {due}")
        return {
            "event_id": served.event_id,
            "items": [
                {"id": doc, "score": float(score), "propensity": float(propensity)}
                for doc, score, propensity in zip(served.ids, served.scores, served.propensities, strict=True)
            ],
            "params_version": served.params_version,
            "fallback": served.fallback,
            "suggested_action": suggested(served.event_id, "used" if self._knows("used") else "click"),
        }

    def _knows(self, signal: str) -> bool:
        return isinstance(self._loop, Loop) and signal in self._loop.rewards.signals

    def feedback(self, event_id: EventId, signal: Signal, item: Item = None, value: Value = 1.0) -> Confirmed:
        if isinstance(self._loop, Loop):
            check_word(self._loop, event_id, signal, item=item, value=value)
        found = self._loop.feedback(event_id, named_by(signal, "agent"), doc=item, value=value)
        return cast("Confirmed", confirmed(found, signal))

    def explain(self, event_id: EventId) -> Explained:
        loop = cast("Loop", self._loop)
        check_is_recorded(loop, event_id)
        found = loop.inspect(event_id)
        if found.story.get("user") != (None if self._user is None else loop.pseudonym(self._user)):
            # another user's list is, to this one, none at all
            raise no_such_answer()
        story = {document["id"]: document for document in found.story.get("served", ())}
        return {
            "event_id": event_id,
            "notice": DATA_NOTICE,
            "query": str(found.story.get("query", "")),
            "state": str(found.story.get("state")),
            "params_version": loop.params.version if found.served_by is None else found.served_by.version,
            "weights": {} if found.served_by is None else dict(found.served_by.weights),
            "items": [
                {
                    "id": one.doc,
                    "text": None,
                    "place": place if one.doc in story else None,
                    "parts": dict(one.parts),
                    "reward": story.get(one.doc, {}).get("reward"),
                    "signals": [said["name"] for said in story.get(one.doc, {}).get("signals", ())],
                }
                for place, one in enumerate(found.documents[:20], start=1)
            ],
        }

    def status(self) -> Status:
        names: set[str] = set()
        if isinstance(self._loop, Loop):
            preset = self._loop.rewards
            names = {*said_names(preset, scope="document"), *said_names(preset, scope="list")}
        return {
            "n_items": None,
            "params_version": self._loop.params.version,
            "features": list(self._loop.features),
            "your_feedback": AGENTS_WORD,
            "signals": sorted(names),
            "alerts": alerts_of(self._loop.health()),
        }

    def params(self) -> str:
        return json.dumps(params_of(self._loop.params))

    def ledger(self) -> str:
        return json.dumps(ledger_of(self._loop.history()))


def loop_server(loop: Ranking, *, user: str | None = None) -> MCPServer:
    """Return a server of a loop, or of a service through `dwell.Client`; see `memory_server`.

    Args:
        loop: Who ranks; whoever opened it closes it. Without `inspect`, as a client, there is no tool explain.
        user: For whom all lists are asked. Fixed here, so that no agent can ask as somebody else.
    """
    work = _Tools(loop, user)
    features = ", ".join(loop.features)
    tools = [
        tool(
            work.rank, title="Rank",
            description=f"Order candidates by what was of use before. Each is an object with id and: {features}. "
            "Answers the event_id by which to give feedback.",
        ),
        tool(
            work.feedback, title="Feedback", is_idempotent=True,
            description=feedback_words(loop.rewards if isinstance(loop, Loop) else None),
        ),
        tool(
            work.status, title="Status", is_read_only=True,
            description="Tell what each candidate must have, what can be said in feedback, and whether all is well.",
        ),
    ]  # fmt: skip
    if isinstance(loop, Loop):
        tools.append(
            tool(
                work.explain, title="Explain", is_read_only=True,
                description="Tell why the items of an answer stood where they stood, and what was said of them.",
            )
        )  # fmt: skip
    server = MCPServer(
        "dwell", title="dwell ranking", version=VERSION, instructions=_INSTRUCTIONS, tools=tools,
        log_level="WARNING",
    )  # fmt: skip
    with_resources(server, work.params, work.ledger)
    return server
