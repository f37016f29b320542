"""Run as a process of its own: connections that are opened and say nothing, every other one after a first answer.

    python tests/e2e/idling.py PORT CONNECTIONS SECONDS

Prints how many were open at once. A process of its own, so that opening them slows down nobody who measures.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sys

ASKED = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def idle(port: int, n: int, hold_s: float) -> int:
    """Return how many connections were open at once, for so long."""
    held: list[asyncio.StreamWriter] = []
    for i in range(n):
        with contextlib.suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            held.append(writer)
            if i % 2:
                writer.write(ASKED)
                await reader.readline()
    await asyncio.sleep(hold_s)
    n_open = sum(not writer.transport.is_closing() for writer in held)
    for i, writer in enumerate(held):
        writer.transport.abort()
        if i % 500 == 499:
            await asyncio.sleep(0.05)
    await asyncio.gather(*(writer.wait_closed() for writer in held), return_exceptions=True)
    return n_open


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(asyncio.run(idle(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))))
