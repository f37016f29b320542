"""Archived events as the learner reads them: the same rows, bit for bit, as the store that they came from gave."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from dwell.loop.close import exposed_under
from dwell.loop.rows import event_row
from dwell.loop.state import LoopState
from dwell.records.rows import EventRow
from dwell.reward.examination import Examination
from dwell.storage.archive_parts import opened_part
from dwell.storage.archive_rows import LEARNING_COLUMNS, ArchivedEvent, events_of

__all__ = ["RowRules", "group_rows", "learning_rows", "row_rules"]


class RowRules(NamedTuple):
    """What rows are made by; all of a loop's own, and small enough to travel.

    Attributes:
        feature_names: The loop's features: of an event from before one of them it is NaN, those that were dropped are
            left out.
        salt: Salt of the hold-out split.
        holdout: Share of users whose events only judge.
        examination: What exposures stand on; those computed under another one are computed anew. None takes them as
            they are.
    """

    feature_names: tuple[str, ...]
    salt: bytes
    holdout: float
    examination: Examination | None = None


def row_rules(state: LoopState) -> RowRules:
    """Return what this loop's rows are made by."""
    return RowRules(state.feature_names, state.identity.salt, state.limits.holdout, state.rules.examination)


def learning_rows(
    events: Iterable[ArchivedEvent],
    rules: RowRules,
    *,
    is_erased: Callable[[str], bool] | None = None,
    segments: dict[str | None, int] | None = None,
) -> Iterator[EventRow]:
    """Yield rows of the events that can be learned from or judged by, in their order; evicted ones are among them.

    Args:
        events: As they stand in the archive.
        rules: What rows are made by.
        is_erased: Whether a pseudonym has a tombstone; its events are left out. None where nobody is asked.
        segments: Codes by name, those of new names added, counted up as they come; None counts from 0 per call.
    """
    codes = {} if segments is None else segments
    for impression, given, _ in events:
        if is_erased is not None and impression.user is not None and is_erased(impression.user):
            continue
        outcome = exposed_under(impression, given, rules.examination)
        row = event_row(impression, outcome, feature_names=rules.feature_names, salt=rules.salt, holdout=rules.holdout)
        if row is not None:
            code = codes.setdefault(impression.segment, len(codes))
            yield replace(
                row, segment_code=code, segment=impression.segment, query_embedding=impression.query_embedding
            )


def group_rows(
    path: Path,
    groups: Sequence[int] | None,
    rules: RowRules,
    *,
    is_erased: Callable[[str], bool] | None = None,
    is_known: bool = False,
) -> list[EventRow]:
    """Return the learning rows of some row groups of one part.

    Args:
        path: The part, one of `archive_places.archive_files`.
        groups: Which row groups; all of them where None.
        rules: What rows are made by.
        is_erased: See `learning_rows`.
        is_known: Whether digest and rows of the part were checked a moment ago, and are not again.

    Raises:
        ArchiveError: The part is not to be used.
    """
    found: list[EventRow] = []
    segments: dict[str | None, int] = {}
    with opened_part(path, is_known=is_known) as file:
        for i in range(file.n_groups) if groups is None else groups:
            events = events_of(file.group(i, LEARNING_COLUMNS), is_known=is_known)
            found += learning_rows(events, rules, is_erased=is_erased, segments=segments)
    return found
