"""Archived events, back in the store that they came from, or in a copy of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dwell.errors import ArchiveError, PepperMismatch
from dwell.loop.engine import Loop
from dwell.loop.keep import start_over, take_in
from dwell.loop.state import LoopState
from dwell.storage import Transaction, fingerprint
from dwell.storage.archive_parts import PartFile, opened_part
from dwell.storage.archive_places import Days, archive_files
from dwell.storage.archive_rows import ArchivedEvent, events_of

__all__ = ["ImportedEvents", "import_archive", "put_archived"]


class ImportedEvents(NamedTuple):
    """What became of archived events.

    Attributes:
        n_added: Now in the store, in the state in which they were archived.
        n_known: There already.
        n_erased: Left out, because their user was erased.
    """

    n_added: int
    n_known: int
    n_erased: int


def import_archive(loop: Loop, folder: str | Path, *, days: Days | None = None) -> ImportedEvents:
    """Bring archived events of the loop's tenant back into its store: all that was read of them, but under new numbers.

    What was evicted stays evicted: to learn from it use `Loop.train_from_archive`. Doing it again adds nothing. A store
    whose retention is over for them archives them once more, under their new numbers.

    Args:
        loop: It owns its store.
        folder: The archive.
        days: Only events that were served on these.

    Raises:
        ConfigError: The folder can be no archive's.
        PepperMismatch: The archive's pseudonyms are not of this store's pepper: erasure would not find them.
        ArchiveError: A part is not to be used, or names params that this store does not have (`archive_foreign`);
            the parts before it are in the store.
        StorageError: The store could not.
    """
    state = loop._state  # noqa: SLF001 - who writes facts for a loop may look at all of it
    found = [0, 0, 0]
    with state.alone():
        take_in(state)
        try:
            for path in archive_files(folder, tenant=state.identity.tenant, days=days):
                with opened_part(path) as file:
                    _check_origin(state, file)
                    for i in range(file.n_groups):
                        counts = _brought_in(state, list(events_of(file.group(i))))
                        found = [a + b for a, b in zip(found, counts, strict=True)]
        finally:
            start_over(state)  # what is learned from is made of all facts again, in their order
    return ImportedEvents(*found)


def _check_origin(state: LoopState, file: PartFile) -> None:
    if file.pepper != fingerprint(state.identity.pepper).hex():
        raise PepperMismatch(
            "the archive's pseudonyms were made with another pepper than this store's",
            field="path",
            value=file.part.path.name,
            hint="Bring it into the store that it came from.",
        )


def _brought_in(state: LoopState, events: Sequence[ArchivedEvent]) -> tuple[int, int, int]:
    """Add events in one transaction; return how many were added, known and erased."""

    def job(tx: Transaction) -> tuple[int, int, int]:
        versions = set(tx.params_versions())
        n_added = n_known = n_erased = 0
        for event in events:
            given = event.impression
            if given.user is not None and tx.is_erased(given.user):
                n_erased += 1
            elif tx.event(given.event_id) is not None:
                n_known += 1
            elif given.params_version not in versions:
                raise ArchiveError(
                    f"params version {given.params_version} served an archived event, and is not in this store",
                    code="archive_foreign",
                    field="params_version",
                    value=given.event_id,
                    hint="Bring it into the store that it came from, or a copy of it.",
                )
            else:
                put_archived(tx, event)
                n_added += 1
        return n_added, n_known, n_erased

    return state.write(job)


def put_archived(tx: Transaction, event: ArchivedEvent) -> None:
    """Store an event as it was archived: impression, activation, signals and outcome."""
    given, outcome = event.impression, event.outcome
    if given.activated_at is None:
        seq = tx.add_impression(given)
    else:
        seq = tx.add_impression(replace(given, is_shown=False, is_altered=False, activated_at=None))
        tx.add_activation(seq, shown=given.served, is_altered=given.is_altered, at=given.activated_at)
    for signal in event.signals:
        tx.add_signal(seq, signal, credited_at=signal.at)
    if outcome.state not in {"open", "not_shown"}:
        tx.put_outcome(replace(outcome, seq=seq), expected_version=0)
