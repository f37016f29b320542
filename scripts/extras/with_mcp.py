"""An agent remembers and recalls by the Model Context Protocol."""

import asyncio

from mcp import Client

import dwell.memory
from dwell.integrations.mcp import memory_server


async def session(memory: dwell.memory.Memory) -> None:
    """Call two tools as a client does."""
    async with Client(memory_server(memory)) as client:
        await client.call_tool("remember", {"text": "Ann prefers metric units."})
        found = (await client.call_tool("recall", {"query": "which units?"})).structured_content
        assert found is not None
        print([item["text"] for item in found["items"]])


with dwell.memory.open(":memory:", pepper="p") as opened:
    asyncio.run(session(opened))
