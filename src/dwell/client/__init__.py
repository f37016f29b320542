"""The loop from afar: the same calls as `Loop`, answered by `dwell serve`.

Needs the extra `client` (httpx); nothing of the server.
"""

from dwell.client.async_client import AsyncClient
from dwell.client.client import Client

__all__ = ["AsyncClient", "Client"]
