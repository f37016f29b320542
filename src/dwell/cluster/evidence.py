"""What a shard says of a proposal: numbers of its own judged events, and sums over them.

Everything is worked out where the event lives, by the functions that one machine judges by. Per judged event its
difference travels, with a handful of numbers of the same kind that the gate reads, and whose event it is by the hash
by which users are capped; the two rounds behind the estimate by prefix weights, and behind the check of clicks by rank,
are sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dwell.evaluation.figures import figures_of
from dwell.evaluation.judging import JudgedEvent, differences
from dwell.evaluation.log_fit import ClickMoments, ClickSums, click_moments, click_sums, own_figures
from dwell.evaluation.prefix import Moments, PrefixRatios, PrefixSums, prefix_moments, prefix_sums
from dwell.evaluation.propensity_checks import ListFigures, list_figures, pair_figures
from dwell.learning.predictor import Predictor
from dwell.learning.space import Space
from dwell.loop.event_rows import EventRows
from dwell.loop.judge import Band, Bench, Judgement, averaged_exposure, drawn_lists
from dwell.loop.row_codec import taken_up_us
from dwell.records import Params
from dwell.records.arrays import BoolArray, FloatArray, IntArray
from dwell.records.impression import Mode
from dwell.storage.codec import decode_params, encode_params

__all__ = [
    "CANDIDATE",
    "Candidates",
    "JudgedPart",
    "LogPart",
    "Question",
    "SecondPart",
    "ShardEvidence",
    "candidates_of",
    "encoded_versions",
]

Candidates = npt.NDArray[Any]  # of dtype CANDIDATE
Shares = Mapping[int, tuple[tuple[int, float], ...]]  # per event, versions with their shares of the events up to it

# what is told of an event that may judge: where it stands, and whose it is
CANDIDATE: Final = np.dtype(
    [
        ("taken_up_us", np.int64),
        ("seq", np.int64),
        ("served_at", np.float64),
        ("user", np.uint64),
        ("params_version", np.int64),
        ("segment_code", np.int64),
        ("has_user", np.bool_),
        ("is_held_out", np.bool_),
        ("is_caller_ordered", np.bool_),
    ]
)
_MOST_JUDGEMENTS: Final = 2  # the standing proposal's, and that of the params that may come back
_AT_ONCE: Final = 2_048  # rows decoded together

Coded = tuple[int, bytes]  # a params version and its encoding


def encoded_versions(versions: Mapping[int, Params]) -> dict[int, bytes]:
    """Return params by version as they stand in a question."""
    return {version: encode_params(params) for version, params in versions.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a proposal; plain values, so that it can be sent.

    Attributes:
        key: Names the judgement: the same question asked again goes on with what is known.
        proposed: What is judged.
        safe: The live params.
        mode: Of the loop.
        space: The space in which the predictor lives.
        beta: The predictor, which saw nothing that judges.
        theta: float64 (k,), examination per position.
        max_importance_weight: Clip of the exposure difference over logged exposure.
        band: Tables between which examination lies, the lower and the upper ends first.
        versions: Params that served, encoded, by version.
    """

    key: str
    proposed: Coded
    safe: Coded
    mode: Mode
    space: Space
    beta: FloatArray
    theta: FloatArray
    max_importance_weight: float
    band: tuple[FloatArray, ...] = ()
    versions: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def of(cls, bench: Bench, *, key: str, proposed: Params) -> Question:
        """Return the question of a bench whose predictor saw no event of either fold."""
        band = () if bench.band is None else (bench.band.low, bench.band.high, *bench.band.more)
        return cls(
            key=key,
            proposed=(proposed.version, encode_params(proposed)),
            safe=(bench.safe.version, encode_params(bench.safe)),
            mode=bench.mode,
            space=bench.space,
            beta=bench.predictors[0].beta,
            theta=bench.theta,
            max_importance_weight=bench.max_importance_weight,
            band=band,
        )

    def bench(self) -> Bench:
        """Return the bench that it was made of."""
        predictor = Predictor(self.beta)
        return Bench(
            proposed=decode_params(self.proposed[1], version=self.proposed[0]),
            safe=decode_params(self.safe[1], version=self.safe[0]),
            mode=self.mode,
            space=self.space,
            predictors=(predictor, predictor),
            theta=self.theta,
            max_importance_weight=self.max_importance_weight,
            band=Band(self.band[0], self.band[1], self.band[2:]) if self.band else None,
        )

    def served_by(self) -> dict[int, Params]:
        """Return the params that served, by version."""
        return {version: decode_params(body, version=version) for version, body in self.versions.items()}


class JudgedPart(NamedTuple):
    """Numbers of a shard's judged events, each (n,), in the order asked for, of those that it can judge.

    Attributes:
        seqs: int64.
        differences: float64; as are the following, see `evaluation.Figures`.
        ends: float64 (n, m).
        importance: float64.
        unsupported: float64.
        clipped: float64.
        forgone: float64.
        own: float64, what the safe policy earned by this estimate, NaN where it did not serve.
        rewards: float64, reward of each list, the sum over its served documents.
        prefix: First round of the prefix estimate.
        clicks: First round of clicks by rank, over the newest.
    """

    seqs: IntArray
    differences: FloatArray
    ends: FloatArray
    importance: FloatArray
    unsupported: FloatArray
    clipped: FloatArray
    forgone: FloatArray
    own: FloatArray
    rewards: FloatArray
    prefix: PrefixSums
    clicks: ClickSums


class SecondPart(NamedTuple):
    """Second rounds over the same events."""

    moments: Moments
    clicks: ClickMoments


class LogPart(NamedTuple):
    """Numbers of lists whose propensities are checked.

    Attributes:
        complete: int64, seqs of those whose log weights are known.
        figures: Their numbers.
        others: int64, seqs of the other ones that were drawn.
        pairs: float64, numbers of their neighbours, NaN where there are none.
    """

    complete: IntArray
    figures: ListFigures
    others: IntArray
    pairs: FloatArray


def candidates_of(rows: EventRows, *, after: int = 0, n_newest_held_out: int | None = None) -> Candidates:
    """Return what may judge and has a seq above `after`, or so many newest of the held out, in the order of taking up.

    Events with a drawn pair never judge.
    """
    columns = rows.index(
        "seq", "served_at", "late_us", "has_user", "user_hash", "segment_code", "is_held_out", "swap_pair"
    )
    is_meant: BoolArray = (columns["seq"] > after) & (columns["swap_pair"] == 0)
    if n_newest_held_out is not None:
        is_meant &= columns["is_held_out"].astype(bool)
    taken = taken_up_us(columns)[is_meant]
    columns = {name: values[is_meant] for name, values in columns.items()}
    order = np.lexsort((columns["seq"], taken))
    if n_newest_held_out is not None:
        order = order[-n_newest_held_out:] if n_newest_held_out else order[:0]
    found = np.zeros(len(order), dtype=CANDIDATE)
    found["taken_up_us"], found["user"] = taken[order], columns["user_hash"][order]
    for name in ("seq", "served_at", "segment_code", "has_user", "is_held_out"):
        found[name] = columns[name][order]
    if len(order):
        beside = rows.raw(found["seq"].copy(), ["params_version", "is_caller_ordered"])
        found["params_version"], found["is_caller_ordered"] = beside["params_version"], beside["is_caller_ordered"]
    return found


class ShardEvidence:
    """The judged events of one shard, each computed once.

    Args:
        rows: Of the shard.
    """

    def __init__(self, rows: EventRows) -> None:
        self._rows = rows
        self._judgements: dict[str, Judgement] = {}
        self._rewards: dict[str, dict[int, FloatArray]] = {}

    def forget(self, seqs: Sequence[int]) -> None:
        """Drop erased events."""
        for key, judgement in self._judgements.items():
            judgement.forget(seqs)
            for seq in seqs:
                self._rewards[key].pop(seq, None)

    def judge(self, question: Question, seqs: IntArray, shares: Shares, newest: IntArray) -> JudgedPart:
        """Return the first round over these events, of which the newest are checked for clicks by rank."""
        judgement, rewards = self._of(question), self._rewards[question.key]
        served_by = question.served_by() if shares else {}
        for start in range(0, len(seqs), _AT_ONCE):
            rows = self._rows.rows(seqs[start : start + _AT_ONCE].tolist())
            judgement.prepare(rows)
            for row in rows:
                rewards[row.seq] = row.rewards
                own = shares.get(row.seq)
                exposure = None
                if own is not None and row.seq not in judgement.events:
                    exposure = averaged_exposure(row, [(served_by[v], share) for v, share in own], question.theta)
                judgement.judged(row, exposure)
        there = [seq for seq in seqs.tolist() if seq in judgement.events and seq in rewards]
        events, rewarded = self._known(question.key, there)
        figures, own_ones = figures_of(events, rewarded), own_figures(events, rewarded)
        late, late_rewards = self._known(question.key, [seq for seq in newest.tolist() if seq in judgement.events])
        return JudgedPart(
            seqs=np.array(there, dtype=np.int64),
            differences=figures.differences,
            ends=figures.ends,
            importance=figures.importance,
            unsupported=figures.unsupported,
            clipped=figures.clipped,
            forgone=figures.forgone,
            own=own_ones.estimated,
            rewards=np.array([float(c.sum()) for c in rewarded]),
            prefix=prefix_sums(events, rewarded),
            clicks=click_sums(late, late_rewards, question.theta),
        )

    def judge_again(
        self,
        question: Question,
        seqs: IntArray,
        shares: Shares,
        newest: IntArray,
        ratios: PrefixRatios | None,
        sums: ClickSums,
    ) -> SecondPart:
        """Return the second round over the same events, given what all shards' first rounds say together.

        A shard that was rebuilt since the first round judges them anew.
        """
        if not self._knows(question.key, seqs):
            self.judge(question, seqs, shares, newest)
        events, rewarded = self._known(question.key, seqs.tolist())
        late, late_rewards = self._known(question.key, newest.tolist())
        moments = Moments() if ratios is None else prefix_moments(events, rewarded, ratios)
        return SecondPart(moments, click_moments(late, late_rewards, question.theta, sums))

    def guard(self, question: Question, seqs: IntArray) -> FloatArray:
        """Return the differences on held-out events, float64 (n,), in the order asked for."""
        judgement = self._of(question)
        rows = self._rows.rows(seqs.tolist())
        judgement.prepare(rows)
        return differences([judgement.judged(row) for row in rows], [row.rewards for row in rows])

    def log(self, question: Question, seqs: IntArray) -> LogPart:
        """Return the numbers of lists whose propensities are to be checked."""
        complete, others = drawn_lists(self._rows.rows(seqs.tolist()), question.served_by())
        return LogPart(
            np.array([row.seq for row, _ in complete], dtype=np.int64),
            list_figures([row for row, _ in complete], [z for _, z in complete]),
            np.array([row.seq for row in others], dtype=np.int64),
            pair_figures([row.propensities for row in others]),
        )

    def _of(self, question: Question) -> Judgement:
        found = self._judgements.get(question.key)
        if found is None:
            while len(self._judgements) >= _MOST_JUDGEMENTS:
                oldest = next(iter(self._judgements))
                del self._judgements[oldest], self._rewards[oldest]
            found = self._judgements[question.key] = Judgement(question.bench(), {})
            self._rewards[question.key] = {}
        return found

    def _knows(self, key: str, seqs: IntArray) -> bool:
        rewards = self._rewards.get(key, {})
        return all(seq in rewards for seq in seqs.tolist())

    def _known(self, key: str, seqs: Sequence[int]) -> tuple[list[JudgedEvent], list[FloatArray]]:
        judgement, rewards = self._judgements[key], self._rewards[key]
        return [judgement.events[seq] for seq in seqs], [rewards[seq] for seq in seqs]
