"""The page at `/`: what this service is, and where to go on. Nothing in it comes from elsewhere, and nothing runs."""

from __future__ import annotations

from html import escape

from dwell import __version__

__all__ = ["front_page"]


def front_page(*, has_example: bool) -> str:
    """Return the page.

    Args:
        has_example: Whether the search page of the example is served.
    """
    links = [
        ("docs", "the calls of this service"),
        ("openapi.json", "the same for programs, as OpenAPI 3.1"),
        ("readyz", "whether it serves"),
        ("livez", "whether it runs"),
        ("dwell.js", "the collector for pages"),
        *([("example", "a search page that learns from its clicks")] if has_example else []),
    ]
    rows = "".join(f'<li><a href="{path}">/{path}</a>: {words}</li>' for path, words in links)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>dwell</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"></head><body><main><h1>dwell</h1>'
        "<p>This service orders results, takes what users did with them, and learns from it.</p>"
        f"<ul>{rows}</ul>"
        "<p>How the loop is: <code>GET /v1/health</code>, with a key of kind secret. Keys are made on its machine: "
        f"<code>dwell keys create</code>.</p><p>Version {escape(__version__)}</p></main></body></html>"
    )
