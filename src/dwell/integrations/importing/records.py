"""One item of a foreign log, and what became of all of them, as values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from dwell.integrations.ubi.records import Refusal
from dwell.loop.imported import ToldList, ToldReaction

__all__ = ["MAX_LISTED", "ImportReport", "Item", "Told", "together"]

MAX_LISTED = 1_000  # refusals that a report holds; all are counted

Told = ToldList | ToldReaction


class Item(NamedTuple):
    """What one reading gives: a line, a block of lines, or rows that belong together.

    Attributes:
        line: Where it begins, from 1: lines of text, else rows.
        end: How far the log was read with it: bytes of text, else rows.
        mark: Checksum of the log up to there.
        value: What stands there, or a `Refusal` that says why it is not read.
    """

    line: int
    end: int
    mark: int
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import found and did.

    Attributes:
        n_items: Lines, blocks or groups of rows that were read now; empty lines are none.
        n_skipped: Those that an earlier import had read already, by its note in the store.
        n_refused: Items of which something could not be used.
        refused: The first 1,000 refusals: line from 1, JSON pointer, reason, file.
        n_lists: Lists recorded now.
        n_lists_known: Lists that the store had already.
        n_lists_without_features: Of those recorded now, the ones that nothing can be learned from.
        n_lists_drawn: Of those recorded now, the ones whose probability the log tells.
        feedback: {what became of a reaction: how many}.
        left_out: {what has no place here: how often}.
        normalised: {name: how often} of what was read although it is not written as it should be.
        unknown_signals: {name: how many} reactions that no signal is declared for.
        n_erased: Lists and reactions of users who were erased: left out.
        n_too_early: Reactions further before their list than a clock may be wrong: left out.
        is_dry_run: Whether nothing was written.
    """

    n_items: int = 0
    n_skipped: int = 0
    n_refused: int = 0
    refused: tuple[Refusal, ...] = ()
    n_lists: int = 0
    n_lists_known: int = 0
    n_lists_without_features: int = 0
    n_lists_drawn: int = 0
    feedback: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    normalised: Mapping[str, int] = field(default_factory=dict)
    unknown_signals: Mapping[str, int] = field(default_factory=dict)
    n_erased: int = 0
    n_too_early: int = 0
    is_dry_run: bool = False


def together(reports: Sequence[ImportReport]) -> ImportReport:
    """Return one report of several files."""
    found: dict[str, Any] = {}
    for name in (one.name for one in fields(ImportReport)):
        values = [getattr(report, name) for report in reports]
        if name == "refused":
            found[name] = tuple(one for value in values for one in value)[:MAX_LISTED]
        elif name == "is_dry_run":
            found[name] = any(values)
        elif values and isinstance(values[0], Mapping):
            found[name] = in_order(sum(map(Counter, values), Counter()))
        else:
            found[name] = sum(values)
    return ImportReport(**found)


def in_order(counts: Mapping[str, int] | Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return counts by name, without those that are 0."""
    return {name: n for name, n in sorted(dict(counts).items()) if n}
