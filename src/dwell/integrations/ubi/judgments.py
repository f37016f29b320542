"""Relevance judgments from clicks, for Quepid and for OpenSearch's Search Relevance Workbench.

COEC, clicks over expected clicks, divides the clicks of a document by those that any document would have drawn where
this one stood:

    COEC(q, d) = clicks(q, d) / sum over the impressions of (q, d) of CTR(rank of that impression)

with CTR(rank) the share of all impressions at a rank that were clicked. 1 is as good as the average of its places.
Source: Zhang and Jones, "Comparing click logs and editorial labels for training query rewriting", WWW 2007. Each
impression counts with the rank that it had: taking the best rank ever seen for all of them, as some implementations do,
makes every document that was once on top look worse than it is.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from dwell.errors import ConfigError
from dwell.loop.exports.escapes import safe_cell
from dwell.loop.whole_file import write_whole
from dwell.records import Experience, checks

__all__ = ["Judgment", "Judgments", "coec", "write_quepid", "write_workbench"]

MIN_USERS: Final = 5  # who asks a question that hardly anybody asks is recognised by it; as for kept statistics


class Judgment(NamedTuple):
    """How relevant a document is to a query.

    Attributes:
        query: What was asked, to the letter.
        doc: Document id.
        rating: Clicks over expected clicks, >= 0.
        n_impressions: How often it was shown for this query.
    """

    query: str
    doc: str
    rating: float
    n_impressions: int


@dataclass(frozen=True, slots=True)
class Judgments:
    """All judgments, and what was left out.

    Attributes:
        judgments: By query, then by rating from the best, then by id.
        n_few_users: Queries left out because fewer distinct users than asked for had asked them.
        n_never_clicked: Documents left out because nothing was ever clicked at any rank where they stood.
    """

    judgments: tuple[Judgment, ...]
    n_few_users: int
    n_never_clicked: int


def coec(experiences: Iterable[Experience], *, signal: str = "click", min_users: int = MIN_USERS) -> Judgments:
    """Return clicks over expected clicks of every query and document; a document counts as clicked once per list.

    Lists that were never shown are left out. Click rates per rank come from all others, also from those of queries that
    are left out of the judgments.

    Args:
        experiences: See `Loop.experiences`.
        signal: The reaction that counts as a click; any value above 0.
        min_users: Distinct users without whom a query is left out; lists without a user count as nobody's. 0 keeps all.

    Raises:
        ConfigError: `min_users` is negative.
    """
    if isinstance(min_users, bool) or min_users < 0:
        raise ConfigError("a number of users is due here", field="min_users", value=min_users, hint="Pass 0 or more.")
    checks.identifier(signal, "signal")
    shown_at: Counter[int] = Counter()
    clicked_at: Counter[int] = Counter()
    ranks: dict[tuple[str, str], Counter[int]] = {}
    clicks: Counter[tuple[str, str]] = Counter()
    users: dict[str, set[str]] = {}
    for one in experiences:
        if one.state == "not_shown":
            continue
        asked = users.setdefault(one.query, set())
        if one.user is not None and len(asked) < min_users:
            asked.add(one.user)
        for shown in one.results_served:
            pair, rank = (one.query, shown["id"]), shown["rank"]
            is_clicked = one.document_signals.get(shown["id"], {}).get(signal, 0.0) > 0.0
            shown_at[rank] += 1
            clicked_at[rank] += is_clicked
            ranks.setdefault(pair, Counter())[rank] += 1
            clicks[pair] += is_clicked
    rate = {rank: clicked_at[rank] / n for rank, n in shown_at.items()}
    kept = {query for query, asked in users.items() if len(asked) >= min_users}
    expected = {pair: sum(n * rate[rank] for rank, n in at.items()) for pair, at in ranks.items() if pair[0] in kept}
    found = [
        Judgment(query, doc, clicks[query, doc] / e, ranks[query, doc].total())
        for (query, doc), e in expected.items()
        if e > 0.0
    ]
    found.sort(key=lambda one: (one.query, -one.rating, one.doc))
    return Judgments(tuple(found), len(users) - len(kept), len(expected) - len(found))


def write_quepid(judgments: Sequence[Judgment], path: Path, *, is_raw: bool = False) -> int:
    """Write `query,docid,rating` to a new file for Quepid's import, and return how many judgments.

    Args:
        judgments: See `coec`.
        path: The file.
        is_raw: Whether cells are left as they are; for machines, never for a spreadsheet.

    Raises:
        ConfigError: A path that is taken or can not be written.
    """
    return write_whole(path, _csv_lines(judgments, is_raw=is_raw)) - 1


def _csv_lines(judgments: Sequence[Judgment], *, is_raw: bool) -> Iterator[bytes]:
    yield b"query,docid,rating\r\n"
    for one in judgments:
        cells = [one.query, one.doc] if is_raw else [safe_cell(one.query), safe_cell(one.doc)]
        text = io.StringIO()
        csv.writer(text).writerow([*cells, f"{one.rating:.3f}"])
        yield text.getvalue().encode()


def write_workbench(judgments: Sequence[Judgment], path: Path) -> int:
    """Write a new file for the workbench's `PUT _plugins/_search_relevance/judgments`, and return how many judgments.

    Ratings are text with three decimals, as in its documentation.

    Raises:
        ConfigError: A path that is taken or can not be written.
    """
    by_query: dict[str, list[dict[str, str]]] = {}
    for one in judgments:
        by_query.setdefault(one.query, []).append({"docId": one.doc, "rating": f"{one.rating:.3f}"})
    body = {
        "name": "dwell",
        "description": "Clicks over expected clicks",
        "type": "IMPORT_JUDGMENT",
        "judgmentRatings": [{"query": query, "ratings": ratings} for query, ratings in by_query.items()],
    }
    write_whole(path, [msgspec.json.format(msgspec.json.encode(body)), b"\n"])
    return len(judgments)
