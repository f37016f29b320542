"""What the example of `dwell serve` searches: the documentation of the Python that runs it."""

from __future__ import annotations

from dwell.demo.corpus import python_documentation
from dwell.retrieval import Retriever

__all__ = ["python_library"]


def python_library() -> Retriever:
    """Return a retriever over Python's documentation, in memory; seconds of work, nothing is fetched or written.

    Raises:
        ConfigError: This installation of Python carries no documentation.
    """
    return Retriever.build(python_documentation().documents)
