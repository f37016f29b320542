"""What was asked, put together from the newest lists: which queries, how well they do, and where people react."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean
from typing import Final, NamedTuple

from dwell.server.recent_lists import Seen

__all__ = ["AtPlace", "Group", "Mean", "by_place", "groups_of", "mean_of", "worst_first"]

_FEWEST: Final = 5  # closed lists below which a mean says nothing
_MOST_PLACES: Final = 20


class Mean(NamedTuple):
    """A mean reward with its interval.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
        n: Lists behind it.
    """

    value: float
    low: float
    high: float
    n: int


class Group(NamedTuple):
    """The lists of one query, whatever its case and spacing.

    Attributes:
        digest: Hash of the normalised query, in hex.
        query: As it was asked last.
        lists: The lists, newest first.
    """

    digest: str
    query: str
    lists: list[Seen]

    @property
    def newest(self) -> Seen:
        """The newest list."""
        return self.lists[0]

    @property
    def rewards(self) -> list[float]:
        """Rewards of the lists whose window is over."""
        return [seen.reward for seen in self.lists if seen.reward is not None]

    @property
    def n_reacted(self) -> int:
        """Lists that anybody reacted to."""
        return sum(bool(seen.signals) for seen in self.lists)

    @property
    def n_over(self) -> int:
        """Lists whose window is over."""
        return len(self.rewards)

    @property
    def is_ignored(self) -> bool:
        """Whether several lists are over and nobody ever reacted to one."""
        return self.n_over >= _FEWEST and self.n_reacted == 0

    @property
    def fewest(self) -> int:
        """Fewest candidates that there were for it."""
        return min(seen.n_candidates for seen in self.lists)


class AtPlace(NamedTuple):
    """What happened at one position.

    Attributes:
        place: The position, from 1.
        n_shown: Lists that were so long, and whose window is over.
        n_praised: Of these, lists in which the document there was praised.
    """

    place: int
    n_shown: int
    n_praised: int

    @property
    def share(self) -> float:
        """Share of lists in which it was."""
        return self.n_praised / self.n_shown if self.n_shown else 0.0


def groups_of(lists: Sequence[Seen]) -> list[Group]:
    """Return the lists by query, most asked first, of equally often asked ones the latest first."""
    found: dict[str, list[Seen]] = {}
    for seen in lists:
        found.setdefault(seen.digest, []).append(seen)
    groups = [Group(digest, members[0].query, members) for digest, members in found.items()]
    return sorted(groups, key=lambda group: (-len(group.lists), -group.newest.seq))


def mean_of(rewards: Sequence[float], spread: float, *, n_compared: int = 1) -> Mean | None:
    """Return a mean with its 95 % interval, or None of no rewards.

    By the normal approximation, with the spread of all lists, or its own where that is larger: few equal rewards do not
    look certain. Who picks the lowest of many compares all of them, so the interval is wider for that (Bonferroni).

    Args:
        rewards: Rewards of one query's lists.
        spread: Standard deviation of the rewards of all lists.
        n_compared: Queries that are compared, >= 1.
    """
    n = len(rewards)
    if not n:
        return None
    mean = fmean(rewards)
    own = math.sqrt(fmean((reward - mean) ** 2 for reward in rewards))
    half = NormalDist().inv_cdf(1.0 - 0.025 / n_compared) * max(own, spread) / math.sqrt(n)
    return Mean(mean, max(mean - half, -1.0), min(mean + half, 1.0), n)


def worst_first(groups: Sequence[Group], *, most: int) -> list[tuple[Group, Mean]]:
    """Return the queries that earn least, with their means; those with fewer than five closed lists are left out."""
    rewards = [reward for group in groups for reward in group.rewards]
    known = [group for group in groups if group.n_over >= _FEWEST]
    if not known:
        return []
    middle = fmean(rewards)
    spread = math.sqrt(fmean((reward - middle) ** 2 for reward in rewards))
    found = [(group, mean_of(group.rewards, spread, n_compared=len(known))) for group in known]
    ranked = [(group, mean) for group, mean in found if mean is not None]
    return sorted(ranked, key=lambda one: (one[1].value, -one[1].n))[:most]


def by_place(lists: Sequence[Seen]) -> list[AtPlace]:
    """Return how often the document at each position was praised, among lists whose window is over."""
    over = [seen for seen in lists if seen.reward is not None and seen.n_shown]
    deepest = min(max((seen.n_shown for seen in over), default=0), _MOST_PLACES)
    return [
        AtPlace(place, sum(seen.n_shown >= place for seen in over), sum(place in seen.praised for seen in over))
        for place in range(1, deepest + 1)
    ]
