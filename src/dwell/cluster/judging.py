"""A proposal judged over shards: estimators are merged, not gathered.

The sequence that is bet on has one order over all shards, that of taking up, and only grows. What each event adds to it
is worked out where the event lives; here the numbers are put into that order, sums are added up, and the gate decides
on exactly what it would have read on one machine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import numpy as np

from dwell.cluster.evidence import Candidates, JudgedPart, LogPart, Question, SecondPart, encoded_versions
from dwell.cluster.transport import Shards
from dwell.evaluation import Evidence, kish
from dwell.evaluation.diagnostics import Finding
from dwell.evaluation.figures import Figures
from dwell.evaluation.log_fit import ClickMoments, ClickSums, OwnFigures, click_finding, split_half
from dwell.evaluation.prefix import Moments, PrefixRatios, PrefixSums, prefix_of
from dwell.evaluation.propensity_checks import ListFigures, findings_from, pair_finding
from dwell.loop.judge import Bench, Judgement, Known, shares_of, user_caps, within_quota
from dwell.records import Params
from dwell.records.arrays import FloatArray, IntArray

__all__ = ["ShardedJudgement", "evidence_over"]

_CHECKED: Final = 2_000  # as in loop.judge: newest events whose propensities and clicks are checked at a look
_FEW: Final = 2
_NO_REWARDS: Final = np.zeros(0)


@dataclass(slots=True, eq=False)
class ShardedJudgement:
    """The judged events of one proposal, wherever they live.

    Attributes:
        key: Names it on the shards.
        judgement: What is known of each event beside its numbers; its `rewards` hold the one reward of the list.
        owners: Shard of each event, by seq.
        segments: Code of each segment's name, the same for all shards.
    """

    key: str
    judgement: Judgement
    owners: dict[int, str] = field(default_factory=dict)
    segments: dict[str | None, int] = field(default_factory=dict)

    @property
    def bench(self) -> Bench:
        """What it stands on."""
        return self.judgement.bench


class _Asked(NamedTuple):
    """Events of one kind, in one order, and who has them."""

    found: Candidates
    owners: list[str]

    def where(self, is_meant: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> dict[str, IntArray]:
        """Return seqs by shard, of those meant, each in the order of all."""
        by_shard: dict[str, list[int]] = {}
        for seq, owner, is_one in zip(self.found["seq"].tolist(), self.owners, is_meant.tolist(), strict=True):
            if is_one:
                by_shard.setdefault(owner, []).append(seq)
        return {name: np.array(seqs, dtype=np.int64) for name, seqs in by_shard.items()}

    @property
    def users(self) -> list[int | None]:
        """Hash of each one's user, or None."""
        both = zip(self.found["user"].tolist(), self.found["has_user"].tolist(), strict=True)
        return [user if has_user else None for user, has_user in both]


def _put_together(parts: Mapping[str, Candidates]) -> _Asked:
    found = np.concatenate(list(parts.values()))
    owners = [name for name, part in parts.items() for _ in range(len(part))]
    order = np.lexsort((found["seq"], found["taken_up_us"]))
    return _Asked(found[order], [owners[i] for i in order.tolist()])


def _candidates(shards: Shards, judgement: ShardedJudgement, after: int) -> _Asked:
    """Return what may judge, segments coded alike for all shards."""
    parts = {}
    for name, (found, names) in shards.ask_all("candidates", after).items():
        coded = found.copy()
        for code in np.unique(found["segment_code"]).tolist():
            own = judgement.segments.setdefault(names.get(code), len(judgement.segments))
            coded["segment_code"][found["segment_code"] == code] = own
        parts[name] = coded
    return _put_together(parts)


def _taken_up(judgement: ShardedJudgement, asked: _Asked, *, most: int) -> list[Known]:
    """Return every event known to judge, in the order taken up; new ones are taken up to `most`."""
    known = judgement.judgement.known
    for row, owner, user in zip(asked.found, asked.owners, asked.users, strict=True):
        seq = int(row["seq"])
        if seq in known or len(known) < most:
            judgement.owners[seq] = owner
            before = known.get(seq)
            known[seq] = Known(
                float(row["served_at"]),
                seq,
                _NO_REWARDS if before is None else before.rewards,
                user,
                bool(row["is_held_out"]),
                None if row["is_caller_ordered"] else int(row["params_version"]),
                int(row["segment_code"]),
            )
    return list(known.values())


def _shares(known: Sequence[Known], versions: Mapping[int, Params]) -> dict[int, tuple[tuple[int, float], ...]]:
    """Return the versions that served up to each event with their shares, of the events where these are several."""
    served_by: dict[int, int] = {}
    found = {}
    for one in known:
        if one.params_version is None:
            continue
        served_by[one.params_version] = served_by.get(one.params_version, 0) + 1
        shares = shares_of(served_by, versions) if len(served_by) > 1 else []
        if len(shares) > 1:
            found[one.seq] = tuple((params.version, share) for params, share in shares)
    return found


def evidence_over(
    shards: Shards,
    judgement: ShardedJudgement,
    question: Question,
    *,
    after: int,
    n_guards: int,
    known_versions: Callable[[Iterable[int]], Mapping[int, Params]],
    attempt: int,
    most: int,
) -> tuple[Evidence, list[int]]:
    """Return what the gate may know, as `loop.judge.evidence_of` would from all shards' events, and who is missing.

    Args:
        shards: Hold closed events.
        judgement: The proposal's judged events so far.
        question: What is asked of each event.
        after: Newest event when the proposal was made.
        n_guards: Newest events of held-out users that guard it.
        known_versions: Params of the versions that served, as far as they are known.
        attempt: Count of proposals against these live params.
        most: Most events that judge.

    Returns:
        The evidence, and the seqs of judged events that no shard can judge any more: with any of these the evidence is
        of another sequence, and not to be decided on.
    """
    asked = _candidates(shards, judgement, after)
    known = _taken_up(judgement, asked, most=most)
    served = {*asked.found["params_version"].tolist(), *(one.params_version for one in known)}
    versions = known_versions(version for version in served if version is not None)
    question = replace(question, versions=encoded_versions(versions))
    numbers, missing = _numbers(shards, judgement, question, known, _shares(known, versions))
    weights = user_caps([one.user_hash for one in known])
    per_user: Counter[int] = Counter()
    for one, weight in zip(known, weights.tolist(), strict=True):
        if one.user_hash is not None:
            per_user[one.user_hash] += weight
    names = {code: name for name, code in judgement.segments.items()}
    evidence = Evidence(
        events=[],
        rewards=[],
        figures=numbers.figures,
        n_users=len(per_user) or None,
        n_effective_users=kish(np.array(list(per_user.values()), dtype=np.float64)) if per_user else None,
        is_caller_ordered_only=all(one.params_version is None for one in known),
        held_out=_guards(shards, question, n_guards) if known and n_guards else np.zeros(0),
        attempt=attempt,
        findings=(*_log_findings(shards, question, asked), *numbers.findings),
        segments=[names.get(one.segment_code) for one in known],
        weights=weights,
        users=[one.user_hash for one in known],
    )
    return evidence, missing


class _Numbers(NamedTuple):
    figures: Figures
    findings: tuple[Finding, ...]


def _numbers(
    shards: Shards,
    judgement: ShardedJudgement,
    question: Question,
    known: Sequence[Known],
    shares: Mapping[int, tuple[tuple[int, float], ...]],
) -> tuple[_Numbers, list[int]]:
    """Return the numbers of all known events in their order, and the seqs of those that nobody can judge."""
    by_shard: dict[str, list[int]] = {}
    for one in known:
        by_shard.setdefault(judgement.owners[one.seq], []).append(one.seq)
    newest = {one.seq for one in known[-_CHECKED:]}
    seqs = {name: np.array(own, dtype=np.int64) for name, own in by_shard.items()}
    late = {name: own[np.isin(own, list(newest))] for name, own in seqs.items()}
    own_shares = {name: {seq: shares[seq] for seq in own.tolist() if seq in shares} for name, own in seqs.items()}
    first: dict[str, JudgedPart] = shards.ask_each(
        "judge", {name: (question, own, own_shares[name], late[name]) for name, own in seqs.items()}
    )
    parts = list(first.values())
    place = {seq: i for i, seq in enumerate(one.seq for one in known)}
    judged = {int(seq) for part in parts for seq in part.seqs}
    missing = [one.seq for one in known if one.seq not in judged]
    order = np.argsort([place[int(seq)] for part in parts for seq in part.seqs], kind="stable")
    _note_rewards(judgement, parts)
    sums, clicks = _summed(parts)
    ratios = None if sums is None else PrefixRatios.of(sums)
    second: dict[str, SecondPart] = {}
    if clicks is not None:
        late = {name: late[name][np.isin(late[name], part.seqs)] for name, part in first.items()}
        again = {
            name: (question, part.seqs, own_shares[name], late[name], ratios, clicks) for name, part in first.items()
        }
        second = shards.ask_each("judge_again", again)
    moments, by_rank = Moments(), ClickMoments(np.zeros(0), np.zeros(0))
    for part in second.values():
        moments, by_rank = moments.plus(part.moments), by_rank.plus(part.clicks)
    figures = Figures(
        differences=_column(parts, "differences")[order],
        ends=_ends(parts)[order],
        importance=_column(parts, "importance")[order],
        unsupported=_column(parts, "unsupported")[order],
        clipped=_column(parts, "clipped")[order],
        forgone=_column(parts, "forgone")[order],
        prefix=None if ratios is None else prefix_of(ratios, moments),
    )
    own, observed = _column(parts, "own")[order][-_CHECKED:], _column(parts, "rewards")[order][-_CHECKED:]
    found = (
        split_half(OwnFigures(own, np.where(np.isnan(own), np.nan, observed))),
        None if clicks is None else click_finding(clicks, by_rank),
    )
    return _Numbers(figures, tuple(one for one in found if one is not None)), missing


def _note_rewards(judgement: ShardedJudgement, parts: Sequence[JudgedPart]) -> None:
    for part in parts:
        for seq, reward in zip(part.seqs.tolist(), part.rewards.tolist(), strict=True):
            known = judgement.judgement.known
            known[seq] = known[seq]._replace(rewards=np.array([reward]))


def _summed(parts: Sequence[JudgedPart]) -> tuple[PrefixSums | None, ClickSums | None]:
    sums: PrefixSums | None = None
    clicks: ClickSums | None = None
    for part in parts:
        sums = part.prefix if sums is None else sums.plus(part.prefix)
        clicks = part.clicks if clicks is None else clicks.plus(part.clicks)
    return sums, clicks


def _column(parts: Sequence[Any], name: str) -> FloatArray:
    return np.concatenate([np.zeros(0), *(getattr(part, name) for part in parts)])


def _ends(parts: Sequence[JudgedPart]) -> FloatArray:
    """Return the ends of all, (n, m), as far as every event has them."""
    with_any = [part.ends for part in parts if len(part.seqs)]
    m = min((ends.shape[1] for ends in with_any), default=0)
    return np.concatenate([np.zeros((0, m)), *(ends[:, :m] for ends in with_any)])


def _guards(shards: Shards, question: Question, n: int) -> FloatArray:
    """Return the differences on the newest held-out events, of each user no more than a quota."""
    asked = _put_together(shards.ask_all("guards", n))
    asked = _Asked(asked.found[-n:], asked.owners[-n:])
    kept = set(within_quota(asked.found["seq"].tolist(), asked.users))
    where = asked.where(np.array([seq in kept for seq in asked.found["seq"].tolist()], dtype=bool))
    parts = shards.ask_each("guard", {name: (question, seqs) for name, seqs in where.items()})
    by_seq = {
        seq: value
        for name, values in parts.items()
        for seq, value in zip(where[name].tolist(), values.tolist(), strict=True)
    }
    return np.array([by_seq[seq] for seq in asked.found["seq"].tolist() if seq in by_seq], dtype=np.float64)


def _log_findings(shards: Shards, question: Question, asked: _Asked) -> tuple[Finding, ...]:
    """Return what is wrong with the propensities of the newest events, of each user no more than a quota."""
    kept = set(within_quota(asked.found["seq"].tolist(), asked.users)[-_CHECKED:])
    seqs = asked.found["seq"].tolist()
    where = asked.where(np.array([seq in kept for seq in seqs], dtype=bool))
    parts: list[LogPart] = list(shards.ask_each("log", {name: (question, own) for name, own in where.items()}).values())
    place = {seq: i for i, seq in enumerate(seqs)}
    complete = [part.figures for part in parts]
    order = np.argsort([place[int(seq)] for part in parts for seq in part.complete], kind="stable").astype(np.int64)
    figures = ListFigures(
        _column(complete, "off")[order],
        _column(complete, "surprise")[order],
        _column(complete, "weight")[order],
        _column(complete, "is_complete")[order].astype(bool),
    )
    pairs = _column(parts, "pairs")
    other_order = np.argsort([place[int(seq)] for part in parts for seq in part.others], kind="stable").astype(np.int64)
    pairs = pairs[other_order]
    others = pair_finding(pairs[~np.isnan(pairs)])
    found = findings_from(figures)
    return found if others is None else (*found, others)
