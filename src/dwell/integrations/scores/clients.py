"""The clients of Langfuse, Phoenix and Opik as their own environment variables configure them, for the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

from dwell.errors import ConfigError, MissingDependencyError
from dwell.integrations.scores.langfuse import langfuse_scores
from dwell.integrations.scores.opik import opik_scores
from dwell.integrations.scores.phoenix import phoenix_scores
from dwell.integrations.scores.records import Reader

__all__ = ["SOURCES", "reader_of"]


@contextmanager
def _langfuse(project: str | None) -> Iterator[Reader]:
    """Give a reader of Langfuse; its keys belong to one project."""
    if project is not None:
        raise ConfigError(
            "the keys of Langfuse belong to one project", field="project", value=project, hint="Leave it out."
        )
    for name in ("LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"):
        if not os.environ.get(name):
            raise ConfigError(
                f"{name} is not set", field=name, hint="Set it, and LANGFUSE_BASE_URL for a server of yours."
            )
    try:
        from langfuse import Langfuse
    except ImportError as error:
        raise MissingDependencyError("langfuse is not installed", hint="pip install 'dwell[langfuse]'") from error
    client = Langfuse(tracing_enabled=False)
    try:
        yield langfuse_scores(client)
    finally:
        client.shutdown()


@contextmanager
def _phoenix(project: str | None) -> Iterator[Reader]:
    try:
        from phoenix.client import Client
    except ImportError as error:
        raise MissingDependencyError(
            "arize-phoenix-client is not installed", hint="pip install 'dwell[phoenix]'"
        ) from error
    yield phoenix_scores(Client(), _named(project))


@contextmanager
def _opik(project: str | None) -> Iterator[Reader]:
    try:
        import opik
    except ImportError as error:
        raise MissingDependencyError("opik is not installed", hint="pip install 'dwell[opik]'") from error
    client = opik.Opik()
    try:
        yield opik_scores(client, _named(project))
    finally:
        client.end()


def _named(project: str | None) -> str:
    if project is None:
        raise ConfigError(
            "this source is read project by project", field="project", value=None, hint="Name one: --project kb."
        )
    return project


SOURCES: Final[Mapping[str, Callable[[str | None], AbstractContextManager[Reader]]]] = {
    "langfuse": _langfuse,
    "opik": _opik,
    "phoenix": _phoenix,
}


def reader_of(source: str, project: str | None) -> AbstractContextManager[Reader]:
    """Return a reader, as a context that lets go of its client.

    Args:
        source: One of `SOURCES`.
        project: Which project; Langfuse's keys name theirs.

    Raises:
        ConfigError: A variable of the environment is not set, or the project is missing or one too many.
        MissingDependencyError: The client is not installed; the message has the command.
    """
    return SOURCES[source](project)
