"""A foreign log into a loop: read item by item, taken a few hundred to a commit, on from where it was left."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

from dwell.errors import ConfigError, RecordError
from dwell.integrations.importing import formats, parquet, tables
from dwell.integrations.importing.reading import MAX_SKEW_S, Format, Reading, digest_of, pointer_of
from dwell.integrations.importing.records import MAX_LISTED, ImportReport, Item, Told, in_order, together
from dwell.integrations.importing.sources import is_same_so_far, lines_of, lines_of_file, opened
from dwell.integrations.ubi import meanings
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.records import Refusal
from dwell.loop import Loop
from dwell.loop.imported import Taken, ToldList, ToldReaction, bring_known, noted_progress, take_told
from dwell.loop.rehearsal import rehearsal
from dwell.records import checks

__all__ = ["import_log", "import_logs"]

# Lists and reactions of one commit: beside a loop that serves, the writer must come back to feedback within tens of
# milliseconds (`loop.keep` closes as many at a time)
_BATCH: Final = 200
_BATCH_DOCUMENTS: Final = 20_000  # documents in them: 10 MB with 100 features each
_BATCH_S: Final = 5.0  # a slow source, as a pipe is, has its progress stored this often
_APART: Final = "; rows of one event have to follow each other"

Source = Path | str | BinaryIO | Iterable[str | bytes | Mapping[str, Any]]


class _Place(NamedTuple):
    """How far a log was read: bytes or rows, and the checksum up to there."""

    end: int = 0
    mark: int = 0


@dataclass(slots=True)
class _Import:
    """One import under way."""

    loop: Loop
    target: Loop
    reading: Reading
    format: Format
    max_skew_s: float
    on_progress: Callable[[int, int], None]
    key: str | None = None
    source: str = ""
    counts: Counter[str] = field(default_factory=Counter)
    feedback: Counter[str] = field(default_factory=Counter)
    refused: list[Refusal] = field(default_factory=list)
    waiting: list[tuple[int, Told]] = field(default_factory=list)
    n_documents: int = 0
    place: _Place = field(default_factory=_Place)

    def read(self, source: Source, *, is_table: bool, key: tuple[str, str]) -> ImportReport:
        """Read a log from where it was left and take everything; return the report.

        Args:
            source: The log.
            is_table: Whether it is Parquet, which has no lines.
            key: What tells one reading of a file from another, besides its path and the mappings.
        """
        path = Path(source) if isinstance(source, Path | str) and str(source) != "-" else None
        start = _Place()
        if path is not None:
            self.source = path.name
        if path is not None and self.target is self.loop:
            reading = self.reading
            mappings = sorted(reading.overrides.items(), key=repr), sorted(reading.columns.items())
            self.key = digest_of(key, str(path.resolve()), mappings)
            start = _left_at(self.loop, self.key, path, is_table=is_table)
        with ExitStack() as stack:
            items = _items(stack, source, self.format, self.reading, is_table=is_table)
            try:
                return self._taken(items, start)
            finally:
                if self.reading.kept is not None:
                    self.reading.kept.close()

    def _taken(self, items: Iterable[Item], start: _Place) -> ImportReport:
        try:
            self._run(items, start)
        except RecordError:  # the log breaks off here: what stood before is taken
            self._take(self.place)
            raise
        self._take(self.place)
        return self._report()

    def _run(self, items: Iterable[Item], start: _Place) -> None:
        self.place = start
        last_s = time.monotonic()
        for n, item in enumerate(items, 1):
            self.on_progress(n, item.end)
            if item.end <= start.end:
                self.counts["skipped"] += 1
                if self.format.is_stateful:
                    self._remember(item)
                continue
            self.counts["items"] += 1
            self._read(item)
            self.place = _Place(item.end, item.mark)
            now_s = time.monotonic() if n % _BATCH == 0 else last_s
            is_full = len(self.waiting) >= _BATCH or self.n_documents >= _BATCH_DOCUMENTS
            if is_full or now_s - last_s > _BATCH_S:
                self._take(self.place)
                last_s = time.monotonic()

    def _remember(self, item: Item) -> None:
        """Read an item that was taken already, for what it tells of others; it was counted when it was taken."""
        counters = self.reading.noted, self.reading.left_out, self.reading.unknown
        before = [counter.copy() for counter in counters]
        with suppress(UnreadableField, RecordError):  # refused then as now
            list(self.format.read(item, self.reading))
        for counter, was in zip(counters, before, strict=True):
            counter.clear()
            counter.update(was)

    def _read(self, item: Item) -> None:
        if isinstance(item.value, Refusal):
            self._refuse(item.line, item.value.pointer, item.value.reason)
            return
        try:
            told = list(self.format.read(item, self.reading))
        except UnreadableField as error:
            self._refuse(item.line, error.pointer, error.reason)
        except RecordError as error:
            self._refuse_for(item.line, error)
        else:
            for one in told:
                self.waiting.append((item.line, one))
                self.n_documents += len(one.results) if isinstance(one, ToldList) else 0

    def _refuse_for(self, line: int, error: RecordError, more: str = "") -> None:
        why = f"{error.code}: {error.message}"
        self._refuse(line, pointer_of(error), why + more if error.code == "conflict" else why)

    def _refuse(self, line: int, pointer: str, reason: str) -> None:
        self.counts["refused"] += 1
        if len(self.refused) < MAX_LISTED:
            self.refused.append(Refusal(line, pointer, reason, self.source))

    def _take(self, place: _Place) -> None:
        """Record and join what waits, with the place that was reached, in one commit."""
        told = [one for _, one in self.waiting]
        if self.target is not self.loop:
            bring_known(self.loop, self.target, [one.event_id for one in told])
        progress = None if self.key is None else (self.key, [*place])
        if told or progress is not None:
            found = take_told(self.target, told, max_skew_s=self.max_skew_s, progress=progress)
            for (line, one), taken in zip(self.waiting, found, strict=True):
                self._count(line, one, taken)
        self.waiting, self.n_documents = [], 0

    def _count(self, line: int, one: Told, taken: Taken) -> None:
        if taken.outcome in {"erased", "too_early"}:
            self.counts[taken.outcome] += 1
        elif isinstance(one, ToldReaction):
            code = (taken.reason or "unknown").partition(":")[0]
            self.feedback[f"rejected:{code}" if taken.outcome == "rejected" else taken.outcome] += 1
        elif taken.error is not None:
            self._refuse_for(line, taken.error, _APART if self.format.has_rows else "")
        else:
            self.counts[taken.outcome] += 1
            is_new = taken.outcome == "recorded"
            self.counts["without_features"] += is_new and not taken.has_features
            self.counts["drawn"] += taken.is_drawn

    def _report(self) -> ImportReport:
        counts, reading = self.counts, self.reading
        return ImportReport(
            n_items=counts["items"],
            n_skipped=counts["skipped"],
            n_refused=counts["refused"],
            refused=tuple(sorted(self.refused, key=lambda one: one.index)),
            n_lists=counts["recorded"],
            n_lists_known=counts["known"],
            n_lists_without_features=counts["without_features"],
            n_lists_drawn=counts["drawn"],
            feedback=in_order(self.feedback),
            left_out=in_order(reading.left_out),
            normalised=in_order(reading.noted),
            unknown_signals=in_order(reading.unknown),
            n_erased=counts["erased"],
            n_too_early=counts["too_early"],
            is_dry_run=self.target is not self.loop,
        )


def import_log(
    loop: Loop,
    source: Source,
    *,
    format: str,  # noqa: A002 - as in `Loop.export`
    name: str | None = None,
    signals: Mapping[str, str | None] | None = None,
    columns: Mapping[str, str] | None = None,
    max_skew_s: float = MAX_SKEW_S,
    is_dry_run: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
    now: float | None = None,
) -> ImportReport:
    """Record the lists that a log tells of, join what users did with them, and return what was found.

    Importing the same again changes nothing; a file that was read in part, or has grown, is read on from where it was
    left. What is held in memory does not grow with the log. See docs/imports.md for the formats.

    Args:
        loop: Open as the owner of its store; for a dry run it may be open for reading only.
        source: A file's path, "-" for standard input, an open binary file, lines, or for JSON formats and tables
            mappings. Text may be packed with gzip.
        format: "jsonl", "csv", "parquet", "metarank", "algolia", "open-bandit", "vw-dsjson" or "vw-text".
        name: What the log is called; the file's name when not given. Items without ids are known by it and their line.
        signals: {name in the log: signal of the loop's rewards, None to ignore it}, where the names differ.
        columns: {field: name of its column}, for tables whose columns are called otherwise.
        max_skew_s: A reaction by at most so much before its list is credited when the list was served; an earlier one
            is left out and counted. Seconds, >= 0.
        is_dry_run: Read everything, write nothing, and return what an import from the start would have returned.
        on_progress: Called with the number of items so far, and with the bytes of text (of Parquet, rows) read.
        now: Instants more than 5 minutes after it are refused, and what carries none is taken to have happened then.

    Raises:
        ConfigError: The format or an override is unknown, or the file can not be read or is no text.
        RecordError: `max_skew_s` or `now` is no number in its range; a packed file is damaged or a bomb.
        MissingDependencyError: "parquet" without pyarrow.
        StorageError: The store could not; what is there stays, and importing again goes on from it.
    """
    return import_logs(
        loop,
        [source],
        format=format,
        name=name,
        signals=signals,
        columns=columns,
        max_skew_s=max_skew_s,
        is_dry_run=is_dry_run,
        on_progress=None if on_progress is None else lambda _, n, end: on_progress(n, end),
        now=now,
    )


def import_logs(
    loop: Loop,
    sources: Sequence[Source],
    *,
    format: str,  # noqa: A002 - as in `Loop.export`
    name: str | None = None,
    signals: Mapping[str, str | None] | None = None,
    columns: Mapping[str, str] | None = None,
    max_skew_s: float = MAX_SKEW_S,
    is_dry_run: bool = False,
    on_progress: Callable[[int, int, int], None] | None = None,
    now: float | None = None,
) -> ImportReport:
    """Do as `import_log` for several logs of one format, one after the other, and return one report.

    Args:
        loop: See `import_log`, as for all that is not named here.
        sources: Lists are best told before, or within a day of log time of, the reactions to them.
        format: That of all of them.
        name: See `import_log`.
        signals: See `import_log`.
        columns: See `import_log`.
        max_skew_s: See `import_log`.
        is_dry_run: See `import_log`; the logs are read as if those before them had been taken.
        on_progress: Called with the index of the source, then as in `import_log`.
        now: See `import_log`.

    Raises:
        ConfigError, RecordError, MissingDependencyError, StorageError: As `import_log`.
    """
    moment = time.time() if now is None else checks.timestamp(now, "now")
    chosen = _format(format)
    overrides = meanings.check_actions(signals, loop.rewards.signals)
    named = tables.checked_columns(columns)
    skew_s = checks.within(max_skew_s, "max_skew_s", 0.0, checks.MAX_TIMESTAMP_S)
    reports = []
    with ExitStack() as stack:
        target = stack.enter_context(rehearsal(loop)) if is_dry_run else loop
        for i, source in enumerate(sources):
            called = name if name is not None else _name_of(source)
            under_way = _Import(
                loop=loop,
                target=target,
                reading=Reading(called, tuple(loop.features), loop.rewards.signals, overrides, named, moment),
                format=chosen,
                max_skew_s=skew_s,
                on_progress=_progress_of(on_progress, i),
            )
            reports.append(under_way.read(source, is_table=format == "parquet", key=(format, called)))
    return together(reports)


def _progress_of(given: Callable[[int, int, int], None] | None, i: int) -> Callable[[int, int], None]:
    return (lambda *_: None) if given is None else lambda n, end: given(i, n, end)


def _format(name: str) -> Format:
    found = formats.FORMATS.get(name)
    if found is None:
        known = ", ".join(sorted(formats.FORMATS))
        raise ConfigError("unknown format of a log", field="format", value=name, hint=f"Use one of {known}.")
    return found


def _name_of(source: Source) -> str:
    return Path(source).name if isinstance(source, Path | str) else ""


def _left_at(loop: Loop, key: str, path: Path, *, is_table: bool) -> _Place:
    """Return how far a log was read, the start where it is not the same any more."""
    noted = noted_progress(loop).get(key)
    if noted is None:
        return _Place()
    place = _Place(*noted)
    if is_table:
        return place if parquet.mark_of(path) == place.mark else _Place()
    with opened(path) as file:
        return place if is_same_so_far(file, place.end, place.mark) else _Place()


def _items(stack: ExitStack, source: Source, chosen: Format, reading: Reading, *, is_table: bool) -> Iterator[Item]:
    if is_table:
        if not isinstance(source, Path | str) or str(source) == "-":
            raise ConfigError(
                "Parquet is read from a file", field="source", value="stream", hint="Give the path of a file."
            )
        return parquet.items_of_file(Path(source), reading)
    if isinstance(source, Path | str) or hasattr(source, "read"):
        file = stack.enter_context(opened(cast("Path | str | BinaryIO", source)))
        return chosen.items(lines_of_file(file), reading)
    return _items_of_program(source, chosen, reading)


def _items_of_program(
    given: Iterable[str | bytes | Mapping[str, Any]], chosen: Format, reading: Reading
) -> Iterator[Item]:
    """Yield the items of lines, or of mappings that are items already."""
    iterator = iter(given)
    first = next(iterator, None)
    if first is None:
        return
    if isinstance(first, str | bytes):
        yield from chosen.items(lines_of(_texts(first, iterator)), reading)
        return
    items = (Item(n, n, 0, one) for n, one in enumerate(_chained(first, iterator), 1))
    yield from tables.grouped(items, reading) if chosen is tables.CSV else items


def _texts(first: str | bytes, rest: Iterator[Any]) -> Iterator[str | bytes]:
    for one in _chained(first, rest):
        if not isinstance(one, str | bytes):
            raise RecordError(
                "lines and mappings are mixed", code="type", field="source", hint="Give one or the other."
            )
        yield one


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:  # noqa: ANN401 - whatever it is
    yield first
    yield from rest
