"""Scores of other systems as frozen values, whoever tells them, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dwell.integrations.ubi.records import Refusal

__all__ = ["Page", "Reader", "Score", "ScoresReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What somebody, or something, thought of a trace.

    Attributes:
        id: Its identity there; with its value it makes the idempotency key, so that a changed score is a changed vote.
        name: What was measured.
        value: A number or a truth; None where it has none.
        label: Its category, or None.
        at: When it was given or changed last, UTC epoch seconds.
        targets: Event ids that it may be about, the likeliest first.
        doc: The document that it is about, or None for the whole list.
        is_models: Whether a model gave it, as its source says: then it is an agent's word, whatever it is mapped to.
    """

    id: str
    name: str
    value: float | bool | None
    label: str | None
    at: float
    targets: tuple[str, ...]
    doc: str | None = None
    is_models: bool = False


class Page(NamedTuple):
    """Some scores of a reader.

    Attributes:
        scores: Those that could be read.
        unreadable: (pointer, reason) of the others.
        following: Where to read on, or None at the end.
    """

    scores: Sequence[Score]
    unreadable: Sequence[tuple[str, str]]
    following: str | None


class Reader(NamedTuple):
    """Where scores come from.

    Attributes:
        source: Its name, part of idempotency keys.
        pages: (names of scores, since, until, where to read on) -> pages, in the order of the source. Instants are UTC
            epoch seconds; None is the beginning.
        lookback_s: How much later than its instant a score may appear: the next import begins so long before this one.
    """

    source: str
    pages: Callable[[Sequence[str], float | None, float, str | None], Iterator[Page]]
    lookback_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoresReport:
    """What an import of scores found and did.

    Attributes:
        n_scores: Scores that came, whatever became of them.
        n_quarantined: Those that could not be read, or whose value is none of those declared.
        quarantined: The first 1,000 of them.
        feedback: {what became of a score: how many}.
        left_out: {reason: how many} that were understood and have no place here: `no_list` (it names none),
            `unknown_list` (the store does not hold it), `no_value` (words, or a label without a number that the
            mapping could use), `ignored` (the mapping says so).
        next_since: What to give as `since` next time, UTC epoch seconds.
    """

    n_scores: int = 0
    n_quarantined: int = 0
    quarantined: tuple[Refusal, ...] = ()
    feedback: Mapping[str, int] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    next_since: float = 0.0
