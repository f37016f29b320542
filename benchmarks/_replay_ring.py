"""The column ring: how fast it is opened again, and how fast it is made anew from the database."""

from __future__ import annotations

__all__ = ["ring_figures"]


def ring_figures() -> list[str]:
    """Return the lines of the section: reopening a million experiences warm, and the rate of a rebuild."""
    return ["not built yet"]
