"""When to ask again, and whether to ask at all: bounded, with jitter, decided without a clock. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final, NamedTuple

__all__ = ["Circuit", "Patience", "admitted", "after_failure", "after_success", "next_delay_s"]

N_FAILURES: Final = 5  # in a row: one lost packet opens nothing, a dead server is left alone after five searches
FIRST_OPEN_S: Final = 1.0  # a restarting server is asked again soon
MOST_OPEN_S: Final = 30.0  # and one that is down for an hour is found again within half a minute
_MOST_DOUBLINGS: Final = 30  # 2**30 s is beyond every cap, and a float


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call may take, and how often it asks.

    Attributes:
        budget_s: Longest time from the call to its answer, every attempt and every wait included, > 0.
        attempts: Most requests, >= 1.
        base_s: Longest wait before the second request, > 0; doubled before each further one.
        cap_s: Longest wait before any, >= base_s.
    """

    budget_s: float
    attempts: int = 3
    base_s: float = 0.05
    cap_s: float = 5.0


def next_delay_s(
    attempt: int, rng: random.Random, patience: Patience, *, left_s: float, retry_after_s: float | None = None
) -> float | None:
    """Return how long to wait before the next request, or None where there is none.

    Args:
        attempt: Requests made so far, >= 1.
        rng: Chance: the wait is uniform in [0, min(cap_s, base_s * 2**(attempt - 1))], so that the callers of a server
            that comes back do not come back together.
        patience: The bounds.
        left_s: What is left of the budget.
        retry_after_s: What the server asked for: the wait begins there, and where the budget does not reach that far
            there is no next request.

    Source:
        Brooker 2015, "Exponential Backoff And Jitter": full jitter.
    """
    if attempt >= patience.attempts:
        return None
    longest = min(patience.cap_s, patience.base_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
    delay = (retry_after_s or 0.0) + rng.uniform(0.0, longest)
    return delay if delay < left_s else None


class Circuit(NamedTuple):
    """What the last calls came to.

    Attributes:
        n_failures: Failures in a row.
        n_openings: How often in a row it opened.
        open_until: Until when nothing is asked, on the client's own clock, s.
        is_probing: Whether one call is out to see whether the server is back.
    """

    n_failures: int = 0
    n_openings: int = 0
    open_until: float = 0.0
    is_probing: bool = False


def admitted(circuit: Circuit, now: float) -> Circuit | None:
    """Return the circuit with one more call under way, or None where that call is not to be made.

    When the pause is over one call goes out; the others are refused until it is answered, or for a second.
    """
    if circuit.n_failures < N_FAILURES:
        return circuit
    if now < circuit.open_until:
        return None
    return circuit._replace(open_until=now + FIRST_OPEN_S, is_probing=True)


def after_failure(circuit: Circuit, now: float, rng: random.Random) -> Circuit:
    """Return the circuit after a failed call.

    The fifth failure in a row opens it for 1 s, each failed probe for twice as long, up to 30 s; of these a share
    between one half and all is taken by chance. Failures of calls that were out already when it opened change nothing.
    """
    n_failures = circuit.n_failures + 1
    if n_failures < N_FAILURES:
        return circuit._replace(n_failures=n_failures)
    if now < circuit.open_until and not circuit.is_probing:
        return circuit
    pause = min(MOST_OPEN_S, FIRST_OPEN_S * 2.0 ** min(circuit.n_openings, _MOST_DOUBLINGS))
    return Circuit(N_FAILURES, circuit.n_openings + 1, now + pause * rng.uniform(0.5, 1.0))


def after_success() -> Circuit:
    """Return the circuit after a call that was answered: closed, and all is forgotten."""
    return Circuit()
