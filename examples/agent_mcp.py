"""An agent with a memory over the Model Context Protocol: it recalls, says what was of use, and recalls better.

The agent is a script, no language model: it knows which of six notes answers the question, and says so. What it says is
its own word: it moves the note's activation, a little. Then a person confirms, and that is worth four times as much.

    pip install 'dwell[mcp]'
    python agent_mcp.py
"""

from __future__ import annotations

import asyncio
from typing import Any

from mcp import Client

import dwell.memory
from dwell.integrations.mcp import memory_server

QUESTION = "How do we deploy the shop?"
NOTES = [
    "How do we deploy the shop? The old way was a script on the build machine.",
    "How do we deploy the shop? Ask operations, they said in spring.",
    "How do we deploy the shop? By copying files, until last year.",
    "How do we deploy the shop? There was a plan to use containers.",
    "How do we deploy the shop? Merge to main: the pipeline does the rest.",
    "How do we deploy the shop? Not on Fridays, says the handbook.",
]
ANSWER = NOTES[4]
ROUNDS = 30


async def call(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """Call a tool and return its structured answer."""
    found = await client.call_tool(tool, arguments)
    if found.is_error or not isinstance(found.structured_content, dict):
        raise RuntimeError(str(found.content))
    return found.structured_content


async def turn(client: Client) -> int:
    """Recall, use what answers the question, say so as the answer suggests; return the place at which it stood."""
    recall = await call(client, "recall", query=QUESTION, k=6)
    texts = [item["text"] for item in recall["items"]]
    item = recall["items"][texts.index(ANSWER)]
    suggested = recall["suggested_action"]
    await call(client, suggested["tool"], **(suggested["arguments"] | {"item": item["id"], "signal": "helpful"}))
    return texts.index(ANSWER) + 1


async def main() -> None:
    """Play thirty turns and tell what has changed, and why."""
    with dwell.memory.open(":memory:") as memory:
        async with Client(memory_server(memory)) as client:
            for note in NOTES:
                await call(client, "remember", text=note)
            places = [await turn(client) for _ in range(ROUNDS)]
            first, last = places[: ROUNDS // 3], places[-ROUNDS // 3 :]
            print(
                f"mean place of the answer: {sum(first) / len(first):.1f} at first, {sum(last) / len(last):.1f} at last"
            )

            recall = await call(client, "recall", query=QUESTION, k=6)
            event = recall["event_id"]
            item = next(one["id"] for one in recall["items"] if one["text"] == ANSWER)
            told = await call(client, "feedback", event_id=event, item=item, signal="helpful")
            print(f"the agent's word is kept as {told['recorded_as']}")
            # a person answers somewhere else: in the application, not through the agent
            memory.feedback(event, "helpful", item=item, by="person")
            why = await call(client, "explain", event_id=event)
            place, parts, said = next(
                (one["place"], one["parts"], one["signals"]) for one in why["items"] if one["id"] == item
            )
            print(f"place {place}, said of it: {', '.join(sorted(said))}")
            print(
                "what lifts it:", ", ".join(f"{name} {part:+.2f}" for name, part in parts.items() if abs(part) > 0.005)
            )


if __name__ == "__main__":
    asyncio.run(main())
