"""The simulated visitors at work: they search, look from the top, click, and the loop hears of it."""

from concurrent.futures import Future
from typing import Final, NamedTuple

import numpy as np

from dwell.demo.measures import DEPTH
from dwell.demo.world import World
from dwell.errors import StorageError
from dwell.loop import Loop
from dwell.records import Feedback, Served
from dwell.records.arrays import FloatArray
from dwell.testing.clock import START_AT
from dwell.testing.users import DbnUser, Visitors

__all__ = ["N_VISITORS", "SEARCH_EVERY_S", "TOGETHER", "USER", "Plan", "Traffic"]

N_VISITORS: Final = 300  # some of whom come far more often than others: Zipf with exponent 1

#: 48 searches a day, a small site. 1,000 of them take three weeks, so that what was learned from counts an eighth
#: three weeks later, at the default half-life of one: a loop that is asked to follow a change must be able to forget.
SEARCH_EVERY_S: Final = 1800.0

#: Reads from the top, trusts what stands high, leaves when satisfied. It is not the model that the learner assumes,
#: which is examination 1 / rank: a demo in which users obey the learner's model would show nothing.
USER: Final = DbnUser()

TOGETHER: Final = 50  # searches whose clicks are drawn at once

_FIRST_CLICK_S: Final = 8.0  # after the list was shown, and as long again for each rank further down
_MOST_PENDING: Final = 4_000  # reactions on their way to the disk; the loop's own queue holds 10,000


class Plan(NamedTuple):
    """How the demo is played.

    Attributes:
        n_searches: Searches in all.
        train_every: Searches between two calls of `train`.
        seed: Seeds everything that is drawn.
        changes_after: Searches after which the taste changes; None where there are too few for that.
    """

    n_searches: int
    train_every: int
    seed: int
    changes_after: int | None

    @property
    def rounds(self) -> list[int]:
        """Searches made at each call of `train`."""
        return [*range(self.train_every, self.n_searches, self.train_every), self.n_searches]

    def taste_at(self, n_searches: int) -> int:
        """Which of the two tastes the next search has, after so many."""
        return int(self.changes_after is not None and n_searches >= self.changes_after)

    @staticmethod
    def now(n_searches: int) -> float:
        """The simulated instant of the next search, after so many, UTC epoch seconds."""
        return START_AT + SEARCH_EVERY_S * n_searches


class Traffic:
    """Visitors who search and click; every draw comes from the plan's seed.

    Args:
        loop: The loop that serves them.
        world: What there is to look for.
        plan: How the demo is played.
    """

    def __init__(self, loop: Loop, world: World, plan: Plan) -> None:
        self._loop, self._world, self._plan = loop, world, plan
        self._rng = np.random.default_rng([plan.seed, 1])
        self._visitors = Visitors(N_VISITORS, self._rng)
        self._pending: list[Future[Feedback]] = []
        self.n_clicks = 0

    def search(self, first: int, after: int) -> None:
        """Make the searches from number `first`, counted from 0, up to `after`: visitors ask, are served, and click.

        Raises:
            StorageError: The loop could not serve one as it should.
        """
        numbers = range(first, after)
        shown = [self._serve(number) for number in numbers]
        grades = np.zeros((len(shown), DEPTH))
        for i, (_, wanted) in enumerate(shown):
            grades[i, : wanted.size] = wanted
        # what a visitor does with a list depends on that list alone, so a few dozen of them are drawn at once
        clicked = USER.clicks(grades, self._rng)
        for number, (served, wanted), clicks in zip(numbers, shown, clicked, strict=True):
            for position in np.flatnonzero(clicks[: wanted.size]).tolist():
                at = self._plan.now(number) + _FIRST_CLICK_S * (position + 1)
                self._pending.append(
                    self._loop.submit_feedback(served.event_id, "click", doc=served.ids[position], at=at, now=at)
                )
        if len(self._pending) > _MOST_PENDING:
            self.settle()

    def _serve(self, number: int) -> tuple[Served, FloatArray]:
        """Return what was served for one search, and how much each document of it is wanted."""
        asked = self._world.train[int(self._rng.integers(len(self._world.train)))]
        served = self._loop.rank(
            asked.text,
            ids=asked.ids,
            features=asked.features,
            k=DEPTH,
            user=self._visitors.next_visitor(self._rng),
            event_id=f"demo-{number:06d}",
            now=self._plan.now(number),
        )
        if served.fallback is not None:
            raise StorageError(f"search {number} fell back to the caller's order: {served.fallback}")
        wanted = dict(zip(asked.ids, asked.grades[self._plan.taste_at(number)].tolist(), strict=True))
        return served, np.array([wanted[doc_id] for doc_id in served.ids])

    def settle(self) -> None:
        """Wait until every click is on disk.

        Raises:
            StorageError: One was not taken.
        """
        for answer in self._pending:
            feedback = answer.result()
            if feedback.status != "joined":
                raise StorageError(f"a click was not joined but {feedback.status}: {feedback.reason}")
        self.n_clicks += len(self._pending)
        self._pending.clear()
