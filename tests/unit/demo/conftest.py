"""A small story, told by hand: what the printed lines and the report are made of."""

import numpy as np
import pytest

from dwell.demo.quality import Quality
from dwell.demo.report import Account
from dwell.demo.story import Measured, Planted, TasteChanged, Trained
from dwell.demo.tastes import Taste
from dwell.demo.traffic import Plan
from dwell.demo.world import START, Search, World
from dwell.records import Estimate, GateDecision, Params, Transform

HOSTILE = "<script>alert('x')</script>\x1b[31m\u202e&\n"


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.01, value + 0.01, 4, 4.0)


def measured(n_searches: int, version: int, *, taste: int = 0, gain: float = 0.0) -> Measured:
    level, start = estimate(0.3 + gain), estimate(0.3)
    quality = Quality(level, level, start, start, estimate(gain), estimate(gain))
    return Measured(n_searches, taste, version, quality, quality)


def decision(verdict: str, version: int, *, reason: str = "better: it is", kind: str = "judged") -> GateDecision:
    return GateDecision(
        verdict,  # type: ignore[arg-type]
        [reason],
        estimate(0.02),
        proposed_version=version,
        kind=kind,  # type: ignore[arg-type]
        decided_at=1.7e9 + 86_400.0,
    )


def search(ids: tuple[str, ...], answer: str, grades: tuple[list[float], list[float]]) -> Search:
    """Make a search whose features are the positions of its candidates: the first column falls, the others are 0."""
    features = np.zeros((len(ids), len(START)))
    features[:, 0] = -np.arange(len(ids), dtype=float)
    first, second = (np.array(graded, dtype=float) for graded in grades)
    return Search("two words", answer, ids, features, (first, second), (1.0, 1.0))


@pytest.fixture
def world() -> World:
    one = search(("a", "b"), "a", ([1.0, 0.0], [0.5, 1.0]))
    return World(HOSTILE, 7, (f"bad.txt: {HOSTILE}",), (one,), (one,), (Taste("short", 0, 9), Taste("long", 20, None)))


@pytest.fixture
def account(world: World) -> Account:
    """Return a story in which everything happens once, told by hostile voices."""
    plan = Plan(400, 100, 3, 200)
    before, forced = measured(100, 0), measured(100, 2, gain=-0.2)
    asked = decision("reject", 1, reason=f"worse: {HOSTILE}", kind="requested")
    promoted, rejected = decision("promote", 3), decision("reject", 4, reason=f"no_gain: {HOSTILE}")
    moments = [
        measured(0, 0),
        Planted(100, asked, True, 2, before, forced, before),
        Trained(100, decision("hold", 3, reason="too_few_events: 0"), "steps", 3, before),
        Trained(200, promoted, "steps", 4, measured(200, 3, gain=0.05)),
        TasteChanged(measured(200, 3, gain=0.05), measured(200, 3, taste=1, gain=0.01)),
        Trained(300, rejected, "time", 5, measured(300, 3, taste=1, gain=0.01)),
        Trained(400, decision("promote", 5), "steps", 6, measured(400, 5, taste=1, gain=0.04)),
    ]
    names = ["<script>alert('f')</script>", "bm25"]
    raw = Params(0, dict.fromkeys(names, 1.0))
    nothing = np.zeros(1)
    learned = Params(3, {names[0]: -0.5, names[1]: 0.8}, transform=Transform((nothing, nothing), (nothing, nothing)))
    ledger = [asked, promoted, rejected, decision("promote", 5)]
    return Account([("corpus", HOSTILE)], plan, world, moments, ledger, {1: raw, 3: learned, 4: raw, 5: learned})
