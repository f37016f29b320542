"""The demo as it happens: searches, training, a planted mistake, a change of taste; moment by moment."""

from collections.abc import Iterator
from dataclasses import dataclass

from dwell.demo.quality import Quality, Scores, Sheet, compared
from dwell.demo.traffic import TOGETHER, Plan, Traffic
from dwell.demo.world import START, World
from dwell.errors import PromotionRefused
from dwell.loop import Loop
from dwell.records import GateDecision, Params

__all__ = ["Measured", "Moment", "Planted", "Searched", "TasteChanged", "Trained", "mistake", "play"]


@dataclass(frozen=True, slots=True)
class Searched:
    """Visitors are at it.

    Attributes:
        n_searches: Searches so far.
    """

    n_searches: int


@dataclass(frozen=True, slots=True)
class Measured:
    """The live params, measured on queries that nobody ever makes.

    Attributes:
        n_searches: Searches so far.
        taste: Which taste judges.
        version: The live version.
        quality: What it serves, beside the starting ranker.
        own_order: The same without exploration.
    """

    n_searches: int
    taste: int
    version: int
    quality: Quality
    own_order: Quality


@dataclass(frozen=True, slots=True)
class Trained:
    """A call of `train` is over.

    Attributes:
        n_searches: Searches so far.
        decision: What it decided, and why.
        ended_by: What ended learning, as in `TrainReport`.
        proposed: Version of the standing proposal after it, the live one where there is none.
        after: The live params after it.
    """

    n_searches: int
    decision: GateDecision
    ended_by: str
    proposed: int
    after: Measured


@dataclass(frozen=True, slots=True)
class Planted:
    """Somebody asks for a mistake to go live.

    Attributes:
        n_searches: Searches so far.
        decision: What the gate said.
        was_refused: Whether it stayed out.
        version: Its version.
        before: The live params before.
        forced: The mistake, live: promoted by force where the gate refused it.
        rolled_back: The live params after the rollback.
    """

    n_searches: int
    decision: GateDecision
    was_refused: bool
    version: int
    before: Measured
    forced: Measured
    rolled_back: Measured

    @property
    def is_restored(self) -> bool:
        """Whether the rollback brought back the same version and the same figures, to the last digit."""
        return self.rolled_back == self.before


@dataclass(frozen=True, slots=True)
class TasteChanged:
    """From now on visitors want something else.

    Attributes:
        before: The live params by the old taste.
        after: The same ones by the new taste.
    """

    before: Measured
    after: Measured


Moment = Searched | Measured | Trained | Planted | TasteChanged


def mistake() -> Params:
    """The starting formula with one sign wrong: what matches worst comes first. No bounds check minds it."""
    return Params(version=0, weights={**START, "bm25": -START["bm25"]})


class _Yardstick:
    """Measures params beside the starting ranker, whose figures are computed once."""

    def __init__(self, loop: Loop, world: World, plan: Plan) -> None:
        self._sheet = Sheet(world.test, plan.seed)
        self._start = loop.params
        self._answers = [search.answer for search in world.test]
        self._known: dict[tuple[int, int, float], Scores] = {}

    def _scores(self, params: Params, taste: int, temperature: float, *, afresh: bool = False) -> Scores:
        key = (params.version, taste, temperature)
        if afresh or key not in self._known:
            self._known[key] = self._sheet.score(params, taste, temperature)
        return self._known[key]

    def measure(self, params: Params, n_searches: int, taste: int, *, afresh: bool = False) -> Measured:
        served, own = (
            compared(
                self._scores(params, taste, temperature, afresh=afresh),
                self._scores(self._start, taste, temperature),
                self._answers,
            )
            for temperature in (params.temperature, 0.0)
        )
        return Measured(n_searches, taste, params.version, served, own)


def play(loop: Loop, world: World, plan: Plan) -> Iterator[Moment]:
    """Yield what happens, in order; the same for the same corpus, plan and new store.

    Args:
        loop: A loop on a new store, with the starting formula live.
        world: What it serves from.
        plan: How the demo is played.

    Raises:
        StorageError: The store could not.
    """
    traffic, yardstick = Traffic(loop, world, plan), _Yardstick(loop, world, plan)
    yield yardstick.measure(loop.params, 0, 0)
    done = 0
    for at in plan.rounds:
        for first in range(done, at, TOGETHER):
            traffic.search(first, min(first + TOGETHER, at))
            yield Searched(min(first + TOGETHER, at))
        traffic.settle()
        now = plan.now(at)
        if at == plan.rounds[0]:
            loop.close_events(now)
            yield _plant(loop, yardstick, at, now)
        yield _train(loop, yardstick, at, now, plan.taste_at(done))
        if at == plan.changes_after:
            yield TasteChanged(*(yardstick.measure(loop.params, at, taste) for taste in (0, 1)))
        done = at


def _train(loop: Loop, yardstick: _Yardstick, n_searches: int, now: float, taste: int) -> Trained:
    report = loop.train(now=now)
    return Trained(
        n_searches,
        report.decision,
        report.ended_by,
        report.proposed.version,
        yardstick.measure(report.live, n_searches, taste),
    )


def _plant(loop: Loop, yardstick: _Yardstick, n_searches: int, now: float) -> Planted:
    before = yardstick.measure(loop.params, n_searches, 0)
    try:
        loop.promote(mistake(), now=now)
        was_refused = False
    except PromotionRefused:
        was_refused = True
    decision = loop.history()[-1]
    if was_refused:
        loop.promote(mistake(), force=True, now=now)
    version = loop.params.version
    forced = yardstick.measure(loop.params, n_searches, 0)
    loop.rollback(now=now)
    restored = yardstick.measure(loop.params, n_searches, 0, afresh=True)
    return Planted(n_searches, decision, was_refused, version, before, forced, restored)
