"""How figures are spread, as bars: what a page draws of a distribution, and whom the hashes of health stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from dwell.health import Check, Distribution, HealthReport, Section, Share
from dwell.health.shares import query_name
from dwell.loop.rows import user_hash
from dwell.server.recent_lists import Seen

__all__ = ["Bar", "Group", "Spread", "groups_of_shares", "most_harmful_first", "spread_of", "tally"]

_WIDE: Final = 100.0  # the drawing's own units; it is stretched to its place
_HIGH: Final = 40.0
_GAP: Final = 0.12  # of a bar's width
_SEEN: Final = 0.6  # the least height of a bar that counts anything
_WORST: Final = {"critical": 0, "warning": 1, "ok": 2, "unknown": 3}


class Bar(NamedTuple):
    """One bin.

    Attributes:
        low: Where it begins.
        high: Where it ends.
        n: Its count.
        share: n over all.
        x: Left edge of the bar, in [0, 100].
        y: Its top, in [0, 40], from above.
        width: Its width.
        height: Its height.
    """

    low: float
    high: float
    n: int
    share: float
    x: float
    y: float
    width: float
    height: float


class Spread(NamedTuple):
    """A distribution as it is drawn.

    Attributes:
        name: What is counted.
        unit: As `Check.unit`.
        n: Of how many.
        bars: From the first bin that counts anything to the last one; all equally wide, whatever their bins are.
        fullest: The bar that counts most.
    """

    name: str
    unit: str
    n: int
    bars: tuple[Bar, ...]
    fullest: Bar


class Group(NamedTuple):
    """A group with its share of the experience.

    Attributes:
        name: A segment, the pseudonym of a user, or the hash of a user or a query that is no more among the newest.
        n: Its events.
        share: Its share of all.
        query: What was asked, where the group is a query and is known; else None.
        digest: What the page of events finds the query by; "" where it is not known.
        is_known: Whether the hash was found among the newest lists.
    """

    name: str
    n: int
    share: float
    query: str | None = None
    digest: str = ""
    is_known: bool = True


def spread_of(found: Distribution) -> Spread | None:
    """Return a distribution as bars, or None where nothing is counted."""
    filled = [i for i, n in enumerate(found.counts) if n]
    if not filled:
        return None
    total, most = sum(found.counts), max(found.counts)
    kept = range(filled[0], filled[-1] + 1)
    bins = list(pairwise(found.edges))
    step = _WIDE / len(kept)
    bars = []
    for place, i in enumerate(kept):
        n = found.counts[i]
        height = max(_HIGH * n / most, _SEEN) if n else 0.0
        x, width = step * (place + _GAP / 2.0), step * (1.0 - _GAP)
        bars.append(
            Bar(*bins[i], n, n / total, round(x, 3), round(_HIGH - height, 3), round(width, 3), round(height, 3))
        )
    return Spread(found.name, found.unit, total, tuple(bars), max(bars, key=lambda bar: bar.n))


def groups_of_shares(
    shares: Mapping[str, Sequence[Share]], lists: Iterable[Seen], salt: bytes = b""
) -> dict[str, list[Group]]:
    """Return the largest groups of each kind, with what their hashes stand for as far as the newest lists say.

    Args:
        shares: As `HealthReport.shares`.
        lists: The newest lists.
        salt: What the report's names of queries were made with.
    """
    queries: dict[str, Seen] = {}
    users: dict[str, str] = {}
    for seen in lists:
        queries.setdefault(query_name(seen.query_hash, salt), seen)
        if seen.user is not None:
            users.setdefault(f"{user_hash(seen.user):016x}", seen.user)

    def group(kind: str, one: Share) -> Group:
        if kind == "query":
            found = queries.get(one.name)
            if found is not None:
                return Group(one.name, one.n, one.share, found.query, found.digest)
            return Group(one.name, one.n, one.share, is_known=False)
        if kind == "user":
            return Group(users.get(one.name, one.name), one.n, one.share, is_known=one.name in users)
        return Group(one.name, one.n, one.share)

    return {kind: [group(kind, one) for one in shares.get(kind, ())] for kind in ("segment", "query", "user")}


def most_harmful_first(section: Section) -> list[Check]:
    """Return the checks of a section: what is wrong, what is well, and what can not be told yet."""
    return sorted(section.checks, key=lambda check: _WORST[check.severity])


def tally(report: HealthReport) -> dict[str, int]:
    """Return how many checks there are of each severity."""
    found = dict.fromkeys(_WORST, 0)
    for section in report.sections:
        for check in section.checks:
            found[check.severity] += 1
    return found
