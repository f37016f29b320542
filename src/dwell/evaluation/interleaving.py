"""Compare two rankers in one list: both draft documents in turn, and users choose between the teams.

Every user serves as their own control, so a difference shows on far fewer events than when users are split between the
arms. It says which ranking people prefer and not by how much reward: the list shown is neither ranker's own.

Such events are for the verdict. The chance of a list is known given the two rankings (`draft_probability`), but the
rankings themselves are not a policy's draws: no propensity of a document follows from it, so that nothing may be
learned from these events off-policy.

Source: Radlinski, Kurup and Joachims 2008, "How does clickthrough data reflect retrieval quality?", section 4 (team
draft); Chapelle, Joachims, Radlinski and Yue 2012, "Large-scale validation and analysis of interleaved search
evaluation" (what both rank alike on top belongs to nobody).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np

from dwell.errors import EvaluationError
from dwell.evaluation.online import anytime_estimate
from dwell.records import Estimate
from dwell.records.arrays import FloatArray, IntArray

__all__ = [
    "Interleaved",
    "InterleavingVerdict",
    "draft_probability",
    "drafted",
    "interleaved_credit",
    "interleaving_verdict",
    "team_draft",
]

_FIRST: Final = 1
_SECOND: Final = -1
_NOBODY: Final = 0


class Interleaved(NamedTuple):
    """One list of two rankers.

    Attributes:
        order: int64 (m,), document indices from the top.
        team: int64 (m,), 1 where the first ranker drafted the document, -1 the second, 0 nobody.
    """

    order: IntArray
    team: IntArray


@dataclass(frozen=True, slots=True, kw_only=True)
class InterleavingVerdict:
    """Whose documents users prefer.

    Attributes:
        verdict: "first", "second" or "undecided".
        difference: Mean credit in [-1, 1], positive for the first, with its anytime-valid interval of error alpha.
        reason: Starts with a code and says it in words.
    """

    verdict: Literal["first", "second", "undecided"]
    difference: Estimate
    reason: str


def _ranking(given: IntArray, field: str) -> list[int]:
    ranking = np.asarray(given)
    if ranking.ndim != 1 or not ranking.size or not np.issubdtype(ranking.dtype, np.integer) or ranking.min() < 0:
        raise EvaluationError("a ranking is document indices >= 0, at least one", field=field, value=ranking.shape)
    if np.unique(ranking).size != ranking.size:
        raise EvaluationError("a ranking names each document once", field=field, value=ranking.shape)
    found: list[int] = ranking.tolist()
    return found


def _length(k: object) -> int:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
        raise EvaluationError("a list has at least one position", field="k", value=k)
    return int(k)


def _common(first: list[int], second: list[int], k: int) -> list[int]:
    """Return what both rank alike from the top, at most k documents."""
    found = []
    for a, b in zip(first[:k], second[:k], strict=False):
        if a != b:
            break
        found.append(a)
    return found


def _round(first: list[int], second: list[int], room: int, *, is_first: bool) -> list[tuple[int, int]]:
    """Return the one or two (document, team) of a round; both rankers have documents left.

    Who drafts and gets no answer, because the other has nothing left, drafts for nobody: a longer list is no merit. The
    last position of the list has no answer either, and is whose the coin says.
    """
    (mine, my_team), (yours, your_team) = (first, _FIRST), (second, _SECOND)
    if not is_first:
        (mine, my_team), (yours, your_team) = (yours, your_team), (mine, my_team)
    pick = mine[0]
    if room == 1:
        return [(pick, my_team)]
    answer = next((doc for doc in yours if doc != pick), None)
    return [(pick, _NOBODY)] if answer is None else [(pick, my_team), (answer, your_team)]


def _left(ranking: list[int], shown: set[int]) -> list[int]:
    return [doc for doc in ranking if doc not in shown]


def drafted(first: IntArray, second: IntArray, k: int, coins: Sequence[bool]) -> Interleaved:
    """Return the list that these coins give; the same for the same arguments.

    What both rank alike from the top belongs to nobody. Then, per round, whom the coin names drafts the best document
    that is not yet in the list, and the other one answers. Once a ranker has none left, the rest of the other's is
    appended for nobody.

    Args:
        first: (n,) document indices from the top, each once, n >= 1.
        second: (m,) the same; lengths and documents may differ.
        k: Length of the list, >= 1; shorter where both together have fewer documents.
        coins: Per round, whether the first ranker drafts first; (k + 1) // 2 are enough.

    Raises:
        EvaluationError: No rankings, no length, or too few coins.
    """
    a, b, k = _ranking(first, "first"), _ranking(second, "second"), _length(k)
    picks = [(doc, _NOBODY) for doc in _common(a, b, k)]
    coin = iter(coins)
    while len(picks) < k:
        shown = {doc for doc, _ in picks}
        a, b = _left(a, shown), _left(b, shown)
        if not (a and b):
            picks += [(doc, _NOBODY) for doc in (a or b)[: k - len(picks)]]
            break
        is_first = next(coin, None)
        if is_first is None:
            raise EvaluationError("one coin per round is due", field="coins", value=len(coins))
        picks += _round(a, b, k - len(picks), is_first=is_first)
    return Interleaved(
        np.array([doc for doc, _ in picks], dtype=np.int64), np.array([team for _, team in picks], dtype=np.int64)
    )


def team_draft(first: IntArray, second: IntArray, k: int, rng: np.random.Generator) -> Interleaved:
    """Return a team draft of two rankings by fair coins; `drafted` says how.

    Args:
        first: (n,) document indices from the top, each once, n >= 1.
        second: (m,) the same.
        k: Length of the list, >= 1.
        rng: (k + 1) // 2 coins are taken from it, whatever the rankings are.

    Raises:
        EvaluationError: No rankings, or no length.
    """
    coins = rng.random((_length(k) + 1) // 2) < 0.5
    return drafted(first, second, k, coins.tolist())


def draft_probability(first: IntArray, second: IntArray, order: IntArray) -> float:
    """Return the chance that a team draft of these two rankings shows this list, whatever the teams, in [0, 1].

    A round starts from what was shown before it, not from who drafted it: the chance is a product over rounds.

    Args:
        first: (n,) document indices from the top, each once, n >= 1.
        second: (m,) the same.
        order: (k,) the whole list as shown, each document once, k >= 1.

    Raises:
        EvaluationError: No rankings, or no list.
    """
    a, b, shown = _ranking(first, "first"), _ranking(second, "second"), _ranking(order, "order")
    k = len(shown)
    at = len(_common(a, b, k))
    if shown[:at] != a[:at]:
        return 0.0
    probability = 1.0
    while at < k:
        above = set(shown[:at])
        a, b = _left(a, above), _left(b, above)
        if not (a and b):
            return probability if shown[at:] == (a or b)[: k - at] else 0.0
        rounds = [[doc for doc, _ in _round(a, b, k - at, is_first=is_first)] for is_first in (True, False)]
        fits = [docs for docs in rounds if shown[at : at + len(docs)] == docs]
        if not fits:
            return 0.0
        probability *= 0.5 * len(fits)
        at += len(fits[0])
    return probability


def interleaved_credit(team: IntArray, rewards: FloatArray) -> float:
    """Return which team users chose, in [-1, 1]: 1 all reward went to the first, -1 all to the second, 0 no difference.

    The difference of the teams' rewards over the sum of their sizes; what users disliked counts against its team.

    Args:
        team: (m,) as in `Interleaved`.
        rewards: (m,), finite, per shown document.

    Raises:
        EvaluationError: Unequal shapes, other teams, or rewards that are not finite.
    """
    if team.ndim != 1 or not np.isin(team, (_FIRST, _SECOND, _NOBODY)).all():
        raise EvaluationError("teams are 1, -1 or 0 (m,)", field="team", value=team.shape)
    if rewards.shape != team.shape or not np.isfinite(rewards).all():
        raise EvaluationError("one finite reward per shown document is due", field="rewards", value=rewards.shape)
    size = float(np.abs(rewards[team != _NOBODY]).sum())
    return min(1.0, max(-1.0, float(team @ rewards) / size)) if size > 0.0 else 0.0  # +-1 but for rounding


def interleaving_verdict(credit: FloatArray, *, alpha: float, weights: FloatArray | None = None) -> InterleavingVerdict:
    """Return whose documents users prefer; wrong with chance alpha at most, however often it is asked.

    Assumed: each list's coins are its own, and users see nothing of the teams.

    Args:
        credit: (n,) of `interleaved_credit`, in the order in which they became known.
        alpha: Chance of a wrong "first" or "second", in (0, 1); half of it on each side.
        weights: (n,) in [0, 1], what each event counts, fixed before its reward was known, such as
            `influence.sequential_user_weights`: without, a user with many events decides more than others.

    Raises:
        EvaluationError: Credits outside of [-1, 1], weights outside of [0, 1], unequal shapes, or alpha out of range.
    """
    if isinstance(alpha, bool) or not 0.0 < alpha < 1.0:
        raise EvaluationError("the chance of an error lies in (0, 1)", field="alpha", value=alpha)
    if credit.ndim != 1 or not (np.abs(credit) <= 1.0).all():
        raise EvaluationError("credits are (n,) in [-1, 1]", field="credit", value=credit.shape)
    counted = np.ones(credit.size) if weights is None else weights
    if counted.shape != credit.shape or not ((counted >= 0.0) & (counted <= 1.0)).all():
        raise EvaluationError("one weight in [0, 1] per event is due", field="weights", value=counted.shape)
    found = anytime_estimate(credit * counted, alpha, bound=1.0, weights=counted)
    shown = f"mean credit {found.value:+.4f}, {found.low:+.4f} to {found.high:+.4f}, on {found.n} lists"
    # as for a canary: what began well and turned is not decided
    if found.low > 0.0 and min(found.value, found.high) > 0.0:
        return InterleavingVerdict(verdict="first", difference=found, reason=f"better: {shown}")
    if found.high < 0.0 and max(found.value, found.low) < 0.0:
        return InterleavingVerdict(verdict="second", difference=found, reason=f"worse: {shown}")
    return InterleavingVerdict(verdict="undecided", difference=found, reason=f"not_yet: {shown}")
