"""Bets compared on the same differences: the ones in force against bets on the estimated mean, at several effects."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

import numpy as np

from dwell.evaluation import GateSettings
from dwell.evaluation.betting import log_wealth
from dwell.evaluation.gate import spent_alpha
from study.judging_logs import USERS, rewards_of, with_gain
from study.judging_loop import judged
from study.judging_runs import GAIN, Task, differences_of, direction, fields, two_logs
from study.worlds import FloatArray, MissingDataError

__all__ = ["BETTORS", "EFFECTS", "Stop", "compare", "estimated_mean_wealth"]

EFFECTS: Final = (1.0, 0.5, 0.25, 0.0)  # of the measured gain; 0 is a null whose mean is 0 by construction
_ATTEMPTS: Final = (1, 5)


class Stop(NamedTuple):
    """One sequence, one bettor.

    Attributes:
        bets: Who.
        effect: Share of the measured gain that was left in.
        attempt: How many proposals were judged.
        n: Values until the null was refuted, or None.
    """

    bets: str
    effect: float
    attempt: int
    n: int | None


def estimated_mean_wealth(x: FloatArray, mean: float, *, floor: float) -> FloatArray:
    """Return log wealth by bets on the estimated mean (aGRAPA), capped at .9: what the gate had before, float64 (n,).

    Source: Waudby-Smith and Ramdas 2024, appendix B.
    """
    values = np.maximum(x, floor)
    total = np.concatenate([[0.0], np.cumsum(values)[:-1]])
    square = np.concatenate([[0.0], np.cumsum(values**2)[:-1]])
    weight = np.arange(values.size) + 1.0
    average = total / weight
    variance = np.maximum((square + 0.25) / weight - average**2, 1e-12)
    edge = average - mean
    bets = np.clip(edge / (variance + edge**2), 0.0, 0.9 / (mean - floor))
    wealth: FloatArray = np.cumsum(np.log1p(bets * (values - mean)))
    return wealth


BETTORS: Final[dict[str, Callable[[FloatArray], FloatArray]]] = {
    "estimated mean, bound 3": partial(estimated_mean_wealth, mean=0.0, floor=-3.0),
    "mixture, bound 3": partial(log_wealth, mean=0.0, floor=-3.0),
    "mixture, bound 2": partial(log_wealth, mean=0.0, floor=-2.0),
}


def compare(task: Task) -> list[Stop]:
    """Return when each bettor refutes "no better", for draws of clicks on one log; nothing where the set is missing."""
    rng = np.random.default_rng([task.seed, 21, len(task.field)])
    user = USERS[task.user]
    try:
        field = fields(task.field, task.seed)
    except MissingDataError:
        return []
    proposal = with_gain(field, direction(field, rng), user, GAIN)
    if proposal is None:
        return []
    known, later = two_logs(field, task, rng)
    events = judged(field, later, proposal, known).events
    drawn = np.array([differences_of(events, rewards_of(later, user, rng)) for _ in range(task.n_draws)])
    gain = float(drawn.mean())
    found = []
    for x in drawn:
        for effect in EFFECTS:
            moved = x - (1.0 - effect) * gain
            for name, wealth in BETTORS.items():
                path = wealth(moved)
                for attempt in _ATTEMPTS:
                    is_over = path >= -np.log(spent_alpha(GateSettings().alpha, attempt))
                    found.append(Stop(name, effect, attempt, int(is_over.argmax()) + 1 if is_over.any() else None))
    return found
