"""A memory for an agent: recall, remember, feedback, forget, explain, status."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Final, cast

from mcp.server import MCPServer

from dwell.errors import UnknownEventError
from dwell.integrations.mcp.answers import (
    DATA_NOTICE,
    Confirmed,
    EventId,
    Explained,
    Forgot,
    Ids,
    Item,
    Metadata,
    Query,
    Recalled,
    Remember,
    Signal,
    Status,
    Text,
    TopK,
    Value,
)
from dwell.integrations.mcp.tools import (
    AGENTS_WORD,
    VERSION,
    alerts_of,
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
from dwell.memory import Memory, Recall, Why

__all__ = ["memory_server"]

_MOST_EXPLAINED: Final = 20  # what a model reads of one answer
_INSTANT_S: Final = 1e-6
_INSTRUCTIONS: Final = (
    "A memory that learns which of its items are of use. Call recall before you answer, remember for what is worth "
    "keeping, and feedback with the event_id of the answer once you know which items helped. " + DATA_NOTICE
)


class _Tools:
    """The work of the tools; for whom is the operator's to say, not the agent's."""

    def __init__(self, memory: Memory, user: str | None) -> None:
        self._memory = memory
        self._user = user

    def recall(self, query: Query, k: TopK = 10) -> Recalled:
        return _recalled(self._memory.search(query, k=k, user=self._user))

    def remember(self, text: Text, metadata: Metadata = None) -> Remember:
        now = time.time()
        item = self._memory.add(text, metadata=metadata, user=self._user, now=now)
        kept = self._memory.get(item)
        # what was there already keeps the instant at which it was added, to the microsecond
        return {"id": item, "is_new": kept is not None and abs(kept.added_at - now) < _INSTANT_S}

    def feedback(self, event_id: EventId, signal: Signal, item: Item = None, value: Value = 1.0) -> Confirmed:
        check_word(self._memory.loop, event_id, signal, item=item, value=value)
        found = self._memory.feedback(event_id, signal, item=item, value=value, by="agent")
        return cast("Confirmed", confirmed(found, signal))

    def forget(self, ids: Ids) -> Forgot:
        gone: dict[str, bool] = {}
        for item in dict.fromkeys(ids):
            gone[item] = self._memory.is_own(item, self._user) and self._memory.forget(item)
        return {
            "forgotten": [item for item, was_there in gone.items() if was_there],
            "unknown": [item for item, was_there in gone.items() if not was_there],
        }

    def explain(self, event_id: EventId) -> Explained:
        whose = None if self._user is None else self._memory.loop.pseudonym(self._user)
        with contextlib.suppress(UnknownEventError):
            found = self._memory.explain(event_id)
            if found.story.get("user") == whose:
                return _explained(found)
        # another user's list is, to this one, none at all
        raise no_such_answer()

    def status(self) -> Status:
        memory = self._memory
        preset = memory.loop.rewards
        return {
            "n_items": len(memory),
            "params_version": memory.loop.params.version,
            "features": list(memory.loop.features),
            "your_feedback": AGENTS_WORD,
            "signals": sorted({*said_names(preset, scope="document"), *said_names(preset, scope="list")}),
            "alerts": alerts_of(memory.health()),
        }

    def params(self) -> str:
        return json.dumps(params_of(self._memory.loop.params))

    def ledger(self) -> str:
        return json.dumps(ledger_of(self._memory.loop.history()))


def memory_server(memory: Memory, *, user: str | None = None, is_read_only: bool = False) -> MCPServer:
    """Return a server of a memory; `run("stdio")` serves one client, `http_app` makes it an application.

    Every tool runs in a thread of its own. A call that is cancelled is finished, and not answered.

    Args:
        memory: The memory; whoever opened it closes it.
        user: Whose memory it is: recall sees this user's items and everybody's, remember keeps for this user, forget
            takes only what is this user's. Fixed here, so that no agent can ask as somebody else. None: everybody's.
        is_read_only: Leave out remember and forget.
    """
    work = _Tools(memory, user)
    tools = [
        tool(
            work.recall, title="Recall",
            description="Search the memory. Answers the items that fit best, each with its id, and the event_id by "
            "which to give feedback. " + DATA_NOTICE,
        ),
        tool(
            work.feedback, title="Feedback", is_idempotent=True, description=feedback_words(memory.loop.rewards),
        ),
        tool(
            work.explain, title="Explain", is_read_only=True,
            description="Tell why the items of an answer stood where they stood, and what was said of them. "
            + DATA_NOTICE,
        ),
        tool(
            work.status, title="Status", is_read_only=True,
            description="Tell how many items there are, what can be said in feedback, and whether anything is wrong.",
        ),
    ]  # fmt: skip
    if not is_read_only:
        tools += [
            tool(
                work.remember, title="Remember", is_idempotent=True,
                description="Keep a text for good. The same text again is the same item.",
            ),
            tool(
                work.forget, title="Forget", is_destructive=True, is_idempotent=True,
                description="Remove items for good, by id: their texts are deleted from the disk and can not be had "
                "back. Ask the user first.",
            ),
        ]  # fmt: skip
    server = MCPServer(
        "dwell", title="dwell memory", version=VERSION, instructions=_INSTRUCTIONS, tools=tools,
        log_level="WARNING",
    )  # fmt: skip
    with_resources(server, work.params, work.ledger)
    return server


def _recalled(found: Recall) -> Recalled:
    return {
        "event_id": found.event_id,
        "notice": DATA_NOTICE,
        "items": [
            {
                "id": item.id,
                "text": item.text,
                "score": item.score,
                "is_pinned": item.is_pinned,
                "added_at": item.added_at,
                "metadata": dict(item.metadata),
            }
            for item in found.items
        ],
        "params_version": found.params_version,
        "suggested_action": None if found.event_id is None else suggested(found.event_id, "used"),
    }


def _explained(found: Why) -> Explained:
    story = {document["id"]: document for document in found.story.get("served", ())}
    return {
        "event_id": found.event_id,
        "notice": DATA_NOTICE,
        "query": found.query,
        "state": str(found.story.get("state")),
        "params_version": found.params_version,
        "weights": dict(found.weights),
        "items": [
            {
                "id": item.id,
                "text": item.text,
                "place": item.place,
                "parts": dict(item.parts),
                "reward": story.get(item.id, {}).get("reward"),
                "signals": [one["name"] for one in story.get(item.id, {}).get("signals", ())],
            }
            for item in found.items[:_MOST_EXPLAINED]
        ],
    }
