"""What activation learns: proposed as any params, judged by the same gate."""

from typing import Any

import numpy as np
import pytest

import dwell
from dwell.activation import FEATURES

START = 1_700_000_000.0
N_ITEMS = 40


class Taste:
    """Items that people like or not, for reasons that no feature tells; simulated."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.liked = self.rng.permutation(np.linspace(0.02, 0.9, N_ITEMS))
        self.now, self.n = START, 0

    def visit(self, loop: dwell.Loop) -> float:
        """Serve a list, react to it, and return how well it was liked relative to the best list."""
        chosen = self.rng.choice(N_ITEMS, size=12, replace=False)
        given = [{"id": f"d{i}", "x": float(self.rng.normal())} for i in chosen]
        served = loop.rank("q", given, k=4, user=f"u{self.n % 97}", event_id=f"e{self.n}", now=self.now)
        rank_of = [int(doc[1:]) for doc in served.ids]
        clicked = [d for i, d in enumerate(rank_of) if self.rng.random() < self.liked[d] / (1 + i)]
        # one commit per visit, waited for: what the next list is ordered by must not depend on how fast the machine is
        said = [{"event_id": served.event_id, "signal": "click", "doc": f"d{item}"} for item in clicked]
        loop.feedback_many(said, now=self.now + 1.0) if said else loop.history()
        self.n += 1
        self.now += 60.0
        return float(self.liked[rank_of].sum() / np.sort(self.liked[chosen])[-4:].sum())


@pytest.mark.parametrize("learner", ["activation", "both"])
def test_it_is_proposed_promoted_by_the_gate_and_better(learner: str) -> None:
    """Features tell nothing here, items all: only who remembers items can serve better; the gate must find it out."""
    world = Taste(3)
    config: dict[str, Any] = {"training": {"first_version_events": 100}}
    loop = dwell.open(
        ":memory:", features=["x"], learner=learner, pepper="p" * 20, strict=True, config=config,
        attribution_window_s=300.0, holdout=0.2,
    )  # fmt: skip
    with loop:
        early = [world.visit(loop) for _ in range(250)]
        for _ in range(6):
            late = [world.visit(loop) for _ in range(250)]
            loop.train(now=world.now)
        decisions = [one for one in loop.history() if one.verdict == "promote" and one.kind == "judged"]
        assert decisions
        assert loop.params.weights[FEATURES[0]] > 0.0
        assert np.mean(late) > np.mean(early) + 0.03


def test_beside_a_starting_formula_the_formula_stays() -> None:
    world = Taste(4)
    loop = dwell.open(
        ":memory:", weights={"x": 2.0}, learner="activation", pepper="p" * 20, strict=True,
        attribution_window_s=300.0,
    )  # fmt: skip
    with loop:
        for _ in range(10):  # by hand: the gate would ask for more events each time
            for _ in range(60):
                world.visit(loop)
            world.now += 1_000.0
            report = loop.train(now=world.now)
            if report.decision.reasons[0].startswith("activation:"):
                break
            assert 0.0 < report.step_norm <= 0.25 + 1e-9
            loop.promote(report.proposed, force=True, now=world.now)
        assert report.decision.reasons[0].startswith("activation:")
        params = loop.params
        base, plus_x, plus_nat = params.score(np.array([[0.0] * 4, [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]))
        assert params.raw_score is not None
        # one standard deviation of the formula's score weighs what one nat does
        assert (plus_x - base) * params.raw_score.sd / 2.0 == pytest.approx(plus_nat - base)
