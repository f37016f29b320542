"""What a loop recorded, as a file for other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypedDict, Unpack

from dwell.errors import ConfigError
from dwell.loop.exports.pieces import Format, StoreNames
from dwell.loop.recorded_events import RecordedEvent, recorded_events
from dwell.loop.state import LoopState
from dwell.loop.whole_file import write_whole

__all__ = ["FORMATS", "ExportChoices", "chosen_events", "export", "store_names"]

FORMATS: Final = ("csv", "jsonl", "parquet", "svmlight", "vw")
_PROGRESS_EVERY: Final = 1_000


class ExportChoices(TypedDict, total=False):
    """What of a loop is exported, and who hears of it.

    Attributes:
        since: Only events served at or after this instant, UTC epoch seconds.
        until: Only events served before this instant.
        limit: At most so many events, the newest ones, in the order served.
        has_text: Whether queries and their embeddings are written; True when not given.
        on_progress: Called with the number of events read, every thousand and at the end.
    """

    since: float | None
    until: float | None
    limit: int | None
    has_text: bool
    on_progress: Callable[[int], None] | None


def export(state: LoopState, path: Path, format_name: str, **choices: Unpack[ExportChoices]) -> int:
    """Write events to a new file, a page at a time, and return how many are in it.

    Raises:
        ConfigError: An unknown format, or a path that is taken or can not be written.
        MissingDependencyError: The format needs a package that is not installed; the message has the command.
        RecordError: A limit that is no number of events.
        StorageError: The store could not be read.
    """
    pieces, names, n = _format(format_name), store_names(state, has_text=choices.get("has_text", True)), 0

    def bodies() -> Iterator[bytes]:
        nonlocal n
        for piece in pieces(chosen_events(state, **choices), names):
            n += piece.n_events
            yield piece.body

    write_whole(path, bodies())
    return n


def chosen_events(
    state: LoopState,
    *,
    since: float | None = None,
    until: float | None = None,
    limit: int | None = None,
    has_text: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> Iterator[RecordedEvent]:
    """Yield the events that are asked for, see `ExportChoices`, and tell how far it went.

    Raises:
        RecordError: A limit that is no number of events.
        StorageError: The store could not be read.
    """
    n = 0
    events = recorded_events(state, since=since, until=until, limit=limit, has_text=has_text)
    for n, event in enumerate(events, start=1):
        if on_progress is not None and n % _PROGRESS_EVERY == 0:
            on_progress(n)
        yield event
    if on_progress is not None:
        on_progress(n)


def store_names(state: LoopState, *, has_text: bool = True) -> StoreNames:
    """Return what a format is told of the store before its first event."""
    features: dict[str, None] = {}
    with state.store.snapshot() as reader:
        for version in reader.params_versions():
            params = reader.params(version)
            features |= dict.fromkeys(() if params is None else params.feature_names)
    return StoreNames(tuple(features), state.rules.preset.signals, has_text)


def _format(name: str) -> Format:
    """Return what makes the pieces of a format; only its own module is imported.

    Raises:
        ConfigError: It is unknown, or another package's.
    """
    if name == "csv":
        from dwell.loop.exports.csv_rows import csv_rows as found
    elif name == "jsonl":
        from dwell.loop.exports.jsonl import jsonl as found
    elif name == "parquet":
        from dwell.loop.exports.parquet import parquet as found
    elif name == "svmlight":
        from dwell.loop.exports.svmlight import svmlight as found
    elif name == "vw":
        from dwell.loop.exports.vw import vw as found
    else:
        raise ConfigError(
            "unknown export format",
            field="format",
            value=name,
            hint=f"Use one of {', '.join(FORMATS)}; `dwell export --format` and dwell.integrations have more.",
        )
    return found
