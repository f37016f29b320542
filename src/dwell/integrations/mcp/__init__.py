"""A memory, or a loop, for agents: a server of the Model Context Protocol (extra `mcp`).

`memory_server` gives an agent recall, remember, feedback, forget, explain and status over a `dwell.memory`;
`loop_server` gives it rank, feedback, explain and status over a loop or a service. Both are `mcp.server.MCPServer`:
run them over stdio, or behind HTTP with `http_app`. What an agent says of its own work is always the agent's word
(`dwell.reward.provenance`), whatever it says it is.
"""

from dwell.errors import MissingDependencyError

try:
    import mcp.server as _library
except ImportError as _error:
    raise MissingDependencyError("mcp is not installed", hint="pip install 'dwell[mcp]'") from _error

from dwell.integrations.mcp.http import HttpSettings, checked_http, http_app, serve_http
from dwell.integrations.mcp.loop_tools import loop_server
from dwell.integrations.mcp.memory_tools import memory_server

__all__ = ["HttpSettings", "checked_http", "http_app", "loop_server", "memory_server", "serve_http"]

del _library
