"""Spans of the service, where `serve.is_traced` asks for them: its loops are traced, and callers' traces go on."""

from __future__ import annotations

from typing import cast

from dwell.integrations.otel import traced
from dwell.loop import Loop
from dwell.server.guard import App, Receive, Scope, Send

__all__ = ["TraceContext", "where_traced"]


def where_traced(loop: Loop, tenant: str, *, is_traced: bool) -> Loop:
    """Return a loop that tells this process's tracer what it does, or the loop as it is.

    Raises:
        MissingDependencyError: opentelemetry-api is not installed.
    """
    # a traced loop has all that a loop has; it is no subclass, so that a loop knows nothing of tracers
    return cast("Loop", traced(loop, data_source=tenant or None)) if is_traced else loop


class TraceContext:
    """Makes the caller's span (W3C `traceparent`, or what OTEL_PROPAGATORS names) the parent of what is done for him.

    Where the web framework is instrumented as well, its span is there already and stays the parent.

    Args:
        inner: The application.
    """

    def __init__(self, inner: App) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        from opentelemetry import context, propagate, trace

        if scope["type"] != "http" or trace.get_current_span().get_span_context().is_valid:
            await self._inner(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        token = context.attach(propagate.extract(headers))  # what is no trace context is none: nothing is raised
        try:
            await self._inner(scope, receive, send)
        finally:
            context.detach(token)
