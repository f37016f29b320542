"""A small, fast world with clean users and some who are not: what the loop promotes, and what the first get of it.

Everything goes through the public calls. Every request is a new question: 12 candidates, 8 features, 5 shown. The live
ranker sees most of what matters; the last feature marks what an attacker sells, and clean users like it less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

import dwell
from dwell.loop.rows import hold_out_share
from dwell.ranking import policy_scores, sampled_rankings
from dwell.storage.pepper import pseudonym
from dwell.testing.users import PositionBasedUser

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

N_FEATURES: Final = 8
N_CANDIDATES: Final = 12
N_SHOWN: Final = 5
TEMPERATURE: Final = 0.3
N_USERS: Final = 300
TRAIN_EVERY: Final = 1_000
START_AT: Final = 1_700_000_000.0
SECONDS_PER_EVENT: Final = 60.0
NAMES: Final = tuple(f"f{i}" for i in range(N_FEATURES))
SPAM: Final = N_FEATURES - 1
TRUTH: Final = np.array([1.0, 0.8, 0.6, 0.4, 0.2, 0.0, 0.0, -0.3])
LIVE: Final = np.array([1.0, 0.4, 0.9, 0.0, 0.3, 0.3, 0.0, 0.0])
_N_TRUTH_LISTS: Final = 1_000
_N_TRUTH_DRAWS: Final = 40
_USER: Final = PositionBasedUser()
_MOST_NAMES: Final = 4_000  # tried until enough accounts are held out: 30 % of all are


class Attack(NamedTuple):
    """Who is not a clean user.

    Attributes:
        name: As it is printed.
        share: Share of all events that are theirs, in [0, 1).
        n_accounts: Behind these events; None where every user is part of it.
        kind: "hostile" clicks on what it sells and on nothing else; "random" clicks anywhere, whatever is shown.
        is_held_out: Whether all accounts are among those whose events only judge.
        bar: "harmless" (nothing worse than live is promoted), "unmoved" (and clean users lose less than 1 %) or
            "limit" (printed, nothing is promised).
    """

    name: str
    share: float
    n_accounts: int | None
    kind: str
    is_held_out: bool = False
    bar: str = "harmless"


ATTACKS: Final = (
    Attack("nobody", 0.0, 0, "hostile"),
    Attack("one account, half of all events", 0.5, 1, "hostile", bar="unmoved"),
    Attack("one account, half of all events, held out", 0.5, 1, "hostile", is_held_out=True, bar="unmoved"),
    Attack("10 accounts, 30 % of events", 0.3, 10, "hostile"),
    Attack("10 accounts, 30 % of events, held out", 0.3, 10, "hostile", is_held_out=True),
    Attack("30 % random labels from all users", 0.3, None, "random"),
    Attack("fake accounts, 2 % of users", 0.02, 6, "hostile"),
    Attack("fake accounts, 5 % of users", 0.05, 15, "hostile"),
    Attack("fake accounts, 10 % of users", 0.10, 33, "hostile", bar="limit"),
    Attack("fake accounts, 20 % of users", 0.20, 75, "hostile", bar="limit"),
    Attack("fake accounts, 30 % of users", 0.30, 129, "hostile", bar="limit"),
)


class Promoted(NamedTuple):
    """One version that went live by itself.

    Attributes:
        n_events: Served before it.
        gain: What clean users gain over what was live before, as a share of that.
        error: Its standard error.
    """

    n_events: int
    gain: float
    error: float

    @property
    def is_worse(self) -> bool:
        """Whether it is worse than live by more than two standard errors of the truth itself."""
        return self.gain < -2.0 * self.error


class Run(NamedTuple):
    """One attack, one seed.

    Attributes:
        attack: Its name.
        seed: Of everything.
        promoted: What went live, in order.
        moved: Clean utility of what is live in the end over that of the first ranker, less 1.
    """

    attack: str
    seed: int
    promoted: tuple[Promoted, ...]
    moved: float


def relevance_of(x: FloatArray) -> FloatArray:
    """Return the probability that a clean user finds a document relevant, for features (..., f)."""
    value: FloatArray = 1.0 / (1.0 + np.exp(1.5 - 1.2 * (x @ TRUTH)))
    return value


def utilities(score: Callable[[FloatArray], FloatArray]) -> FloatArray:
    """Return clean clicks per list under a ranker, float64 (n,): the same lists and noise whoever ranks."""
    rng = np.random.default_rng(99)
    x = rng.normal(size=(_N_TRUTH_LISTS, N_CANDIDATES, N_FEATURES))
    z = policy_scores(score(x.reshape(-1, N_FEATURES)).reshape(x.shape[:2]), TEMPERATURE)
    order = sampled_rankings(z, _N_TRUTH_DRAWS, N_SHOWN, rng)
    shown = np.take_along_axis(relevance_of(x)[:, None, :], order, axis=2)
    value: FloatArray = _USER.click_probabilities(shown).sum(axis=2).mean(axis=1)
    return value


def accounts_of(loop: dwell.Loop, attack: Attack) -> list[str]:
    """Return the attacker's accounts: by chance, or by luck all of them among those whose events only judge."""
    if not attack.is_held_out:
        return [f"simulated-fake-{i}" for i in range(attack.n_accounts or 0)]
    state = loop._state  # noqa: SLF001 - nobody can ask who is held out: the worst case is looked up
    found: list[str] = []
    for i in range(_MOST_NAMES):
        name = f"simulated-fake-{i}"
        who = pseudonym(state.identity.pepper, state.identity.tenant, name)
        if hold_out_share(who, "", state.identity.salt) < state.limits.holdout:
            found.append(name)
        if len(found) == attack.n_accounts:
            break
    return found


def clicks_of(attack: Attack, is_theirs: bool, x: FloatArray, rng: np.random.Generator) -> IntArray:  # noqa: FBT001
    """Return the positions clicked on a list of features (k, f), from 0."""
    if is_theirs and attack.kind == "hostile":
        # the two documents that sell most, wherever they stand, provided that they do sell
        best = np.argsort(-x[:, SPAM])[:2]
        return best[x[best, SPAM] > 0.0]
    if is_theirs:
        return np.flatnonzero(rng.random(len(x)) < 0.3)
    return np.flatnonzero(_USER.clicks(relevance_of(x), rng))


def run(attack: Attack, seed: int, n_events: int, config: dict[str, Any] | None = None) -> Run:
    """Return what one loop promoted while it was attacked from the first event on, and what that was worth.

    Raises:
        RuntimeError: A reaction did not join its event.
    """
    rng = np.random.default_rng([seed, 1])
    promoted = []
    with dwell.open(
        ":memory:",
        features=list(NAMES),
        weights=dict(zip(NAMES, LIVE.tolist(), strict=True)),
        temperature=TEMPERATURE,
        seed=seed,
        config=config or {},
        pepper=b"benchmark",
        strict=True,
    ) as loop:
        accounts = accounts_of(loop, attack)
        start = utilities(loop.params.score)
        now = start
        version = loop.params.version
        answers: list[Any] = []
        for number in range(n_events):
            # the same clean traffic whoever attacks: each event has its own draws
            draws = np.random.default_rng([seed, 2, number])
            at = START_AT + SECONDS_PER_EVENT * number
            x = draws.normal(size=(N_CANDIDATES, N_FEATURES)).astype(np.float32)
            user = f"simulated-user-{draws.integers(N_USERS)}"
            is_theirs = rng.random() < attack.share
            if is_theirs and accounts:
                user = accounts[int(rng.integers(len(accounts)))]
            event = f"{seed}-{number}"
            ids = [f"d{number}-{i}" for i in range(N_CANDIDATES)]
            served = loop.rank(event, ids=ids, features=x, k=N_SHOWN, user=user, event_id=event, now=at)
            shown = np.array([ids.index(doc) for doc in served.ids])
            answers += [
                loop.submit_feedback(event, "click", doc=served.ids[i], now=at + 5.0)
                for i in clicks_of(attack, is_theirs, x[shown].astype(np.float64), draws).tolist()
            ]
            if (number + 1) % TRAIN_EVERY:
                continue
            _check(answers)
            answers.clear()
            loop.train(now=at + SECONDS_PER_EVENT)
            if loop.params.version != version:
                version = loop.params.version
                before, now = now, utilities(loop.params.score)
                change = now - before
                error = float(change.std(ddof=1)) / len(change) ** 0.5 / float(before.mean())
                promoted.append(Promoted(number + 1, float(change.mean() / before.mean()), error))
    return Run(attack.name, seed, tuple(promoted), float(now.mean() / start.mean() - 1.0))


def _check(answers: list[Any]) -> None:
    lost = [answer.result() for answer in answers if answer.result().status not in {"joined", "capped", "ignored"}]
    if lost:
        raise RuntimeError(f"{len(lost)} of {len(answers)} reactions did not join: {lost[0]}")
