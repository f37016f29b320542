"""One call of `train` over shards: close, judge what stands, learn what comes next, through the same gate and ledger.

The process that calls is the store's learner: it closes, evicts, decides and writes, as it does on one machine, and
holds no experience. Shards follow the store, and are asked for sums. What is learned, judged and decided is what
`Loop.train` would do with all experience in its own memory, to the rounding of sums in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import numpy as np

from dwell.cluster.evidence import Question
from dwell.cluster.judging import ShardedJudgement, evidence_over
from dwell.cluster.learning import check_learnable, propose_over
from dwell.cluster.line import joined
from dwell.cluster.placement import Placement
from dwell.cluster.shard import Followed, ShardFacts, ShardSpec
from dwell.cluster.transport import Shards
from dwell.evaluation import Evidence
from dwell.learning.space import space_for
from dwell.loop.examining import note_measured, settle_examination
from dwell.loop.judge import Bench, Judgement
from dwell.loop.keep import close_events, evict
from dwell.loop.learn import judge_first, learned_until, settle, stand
from dwell.loop.looks import Looks, reading_of, usual_of
from dwell.loop.metering import taken_up
from dwell.loop.promote import next_attempt
from dwell.loop.standing import GUARDS, bench_in, decided, evidence_lost, known_versions
from dwell.loop.state import LoopState
from dwell.loop.train import Learning, Plan, Proposal, Standing, TrainReport, plan_steps
from dwell.loop.watch import watch_live
from dwell.ranking import named_generator
from dwell.records import Estimate, GateDecision
from dwell.reward.examination import HarvestSums, PositionBased
from dwell.reward.measuring import Measured, measure
from dwell.storage.protocol import chunks

__all__ = ["ShardTraining", "spec_for"]

_NOTHING: Final = Estimate(0.0, -float("inf"), float("inf"), 0, 0.0)
_EVICTED_AT_ONCE: Final = 200  # as in loop.keep


def spec_for(state: LoopState, shards: tuple[str, ...]) -> ShardSpec:
    """Return the spec of the first of these shards over a loop's store.

    The placement is salted with the store's secret split, so that all who place events of one store agree.
    """
    return ShardSpec(
        name=shards[0],
        placement=Placement(shards, state.identity.salt[:64]),
        where=state.store.where,
        tenant=state.identity.tenant,
        feature_names=state.feature_names,
        holdout=state.limits.holdout,
        salt=state.identity.salt,
        half_life_s=state.config.replay.half_life_s,
        alpha=state.config.replay.alpha,
        examination=state.rules.examination,
    )


@dataclass(slots=True, eq=False)
class ShardTraining:
    """A loop whose experience is on shards: its own memory keeps nothing from now on.

    Attributes:
        state: Of a loop that may close events; its training lock is held by whoever calls `train`.
        shards: Hold the closed events of its store.
    """

    state: LoopState
    shards: Shards
    n_live: int = 0
    _judgements: dict[str, ShardedJudgement] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_learnable(self.state.config, self.state.live, self.state.learner)
        self.state.replayed.keep_nothing()
        self.state.is_rebuilt = True

    def train(self, *, steps: int | None, now: float, clock: Callable[[], float]) -> TrainReport:
        """Return what was judged, learned and decided.

        Args:
            steps: Learning steps, or None for one pass over unseen events plus as many replayed.
            now: UTC epoch seconds.
            clock: Monotonic seconds, for the time limit alone.

        Raises:
            ConfigError: Something is configured that shards can not learn by; see `check_learnable`.
        """
        state = self.state
        check_learnable(state.config, state.live, state.learner)
        n_closed = close_events(state, now)
        self.bring_up()
        live = state.live
        if state.mode == "log-only":
            words = "log_only: this mode records and does not learn"
            return TrainReport(self._hold(words, now), live, live, n_closed=n_closed)
        judged = watch_live(state, now, partial(self.judged, now=now, n_guards=0))
        judged = judged or judge_first(state, now, partial(self.judged, now=now))
        if state.standing is not None and judged is not None:
            return TrainReport(judged, state.live, state.standing.params, ended_by="standing", n_closed=n_closed)
        settle_examination(state, self._measured())
        self.shards.ask_all("stand_on", state.rules.examination)
        after = learned_until(state)
        plan = plan_steps(sum(self.shards.ask_all("n_pending", after).values()), state.config, steps=steps)
        if not plan.n_steps or not state.feature_names:
            hold = judged or self._hold("too_few_events: no closed event can be learned from", now)
            return TrainReport(hold, state.live, state.live, n_closed=n_closed)
        learning, standing = self._learn(plan, after, now=now, clock=clock)
        decision = judged or settle(state, self.judged(standing, now=now))
        return TrainReport(
            decision=decision,
            live=state.live,
            proposed=state.proposed or state.live,
            curves=learning.learned.curves,
            ended_by=learning.ended_by,
            n_steps=learning.learned.n_steps,
            n_closed=n_closed,
            n_learned_from=self.n_live,
            step_norm=learning.learned.step_norm,
            n_replayed=learning.n_replayed,
        )

    def _hold(self, words: str, now: float) -> GateDecision:
        return GateDecision("hold", [words], _NOTHING, safe_version=self.state.live.version, decided_at=now)

    # ---- what shards hold

    def bring_up(self) -> dict[str, Followed]:
        """Have the shards follow the store, and evict what is beyond the capacity: oldest first, over all shards."""
        state = self.state
        self.shards.ask_all("stand_on", state.rules.examination)
        found: dict[str, Followed] = self.shards.ask_all("follow")
        facts: list[ShardFacts] = list(self.shards.ask_all("facts").values())
        n_learned_from, n_held_out = sum(one.n for one in facts), sum(one.n_held_out for one in facts)
        state.replayed.n_taken_in += max(n_learned_from - self.n_live, 0)
        held = round(state.limits.capacity * state.limits.holdout)
        surplus = {
            "learned_from": n_learned_from - max(state.limits.capacity - held, 1),
            "held_out": n_held_out - max(held, 1),
        }
        gone: list[int] = []
        for which, n in surplus.items():
            if n > 0:
                oldest = joined(list(self.shards.ask_all("oldest", n, which).values()))[:n]
                gone += oldest["seq"].tolist()
        for part in chunks(gone, _EVICTED_AT_ONCE):
            evict(state, part)
        if gone:
            self.shards.ask_all("follow")
        self.n_live = n_learned_from - max(surplus["learned_from"], 0)
        return found

    # ---- examination

    def _measured(self) -> Measured:
        """Return the examination that the events on the shards speak for: from drawn lists and swapped pairs alone.

        What one machine does beyond it where nothing was drawn, an EM over newest clicks with features, is no sum.
        """
        state = self.state
        assumed, k = PositionBased(state.config.training.examination_eta), state.limits.max_results
        if state.config.training.examination == "assumed":
            return measure(assumed, k)
        counts = list(self.shards.ask_all("events_by_user").values())
        usual = usual_of((np.concatenate([one[0] for one in counts]), np.concatenate([one[1] for one in counts])))
        parts: list[Looks] = list(self.shards.ask_all("looks", reading_of(state), usual).values())
        drawn, swaps = HarvestSums.empty(k), None
        for part in parts:
            drawn += part.harvested
            if part.swaps is not None:
                swaps = part.swaps if swaps is None else swaps + part.swaps
        return measure(assumed, k, harvested=drawn, swaps=swaps)

    # ---- learning

    def _learn(self, plan: Plan, after: int, *, now: float, clock: Callable[[], float]) -> tuple[Learning, Standing]:
        """Learn a new proposal, make it the standing one, and write back how surprising the replayed events are."""
        state = self.state
        with state.store.snapshot() as reader:
            versions, decisions, last_seq = reader.params_versions(), reader.decisions(), reader.last_seq()
            meter = taken_up(state, reader)
        version = max(versions) + 1
        learning = propose_over(
            self.shards,
            state.live,
            after=after,
            plan=plan,
            version=version,
            mode=state.mode,
            theta=state.theta(),
            config=state.config,
            most_replayed=meter.allowed(plan.n_steps * plan.batch),
            now=now,
            rng=named_generator(state.identity.secret, "train", state.identity.seed, version),
            clock=clock,
        )
        standing = stand(
            state,
            learning,
            attempt=next_attempt(decisions),
            last_seq=last_seq,
            meter=meter.sampled(learning.n_replayed),
            n_live=self.n_live,
        )
        seqs = np.array(sorted(learning.priorities), dtype=np.int64)
        values = np.array([learning.priorities[seq] for seq in seqs.tolist()])
        with state.store.snapshot() as reader:
            epoch = reader.epoch()
        # each shard takes those that it has: the others are stale to it
        self.shards.ask_all("write_back", seqs, values, None, epoch)
        return learning, standing

    # ---- judging

    def judged(self, standing: Standing, *, now: float, n_guards: int = GUARDS) -> GateDecision:
        """Return the verdict on params against the live ones, from events served since they stand. Nothing moves."""
        state, proposal = self.state, standing.proposal
        if standing.judgement is None:
            if state.config.gate.kind != "off" and self._is_evidence_lost(proposal):
                return evidence_lost(state, proposal, now)
            standing.judgement = Judgement(self._bench(standing), {})
        sharded = self._sharded(standing, standing.judgement)
        evidence, missing = self._evidence(standing, sharded, n_guards)
        if missing:
            standing.judgement.forget(self._erased(missing))
            evidence, missing = self._evidence(standing, sharded, n_guards)
        if missing:
            return evidence_lost(state, proposal, now)
        return decided(state, standing, evidence, now)

    def _bench(self, standing: Standing) -> Bench:
        state, params = self.state, standing.params
        if state.band is None:
            note_measured(state, self._measured())
        # the map comes with what was learned; a column that was constant then has no weight in its predictor
        space_of = params if params.transform is not None else state.live
        space = space_for(space_of, np.zeros((0, len(state.feature_names)), dtype=np.float32))
        predictor = standing.proposal.predictor()
        return bench_in(state, params, (predictor, predictor), space)

    def _sharded(self, standing: Standing, judgement: Judgement) -> ShardedJudgement:
        proposal = standing.proposal
        examination = self.state.rules.examination.version  # what was judged under another one is judged again
        key = f"{proposal.version} against {proposal.safe_version} after {proposal.after_seq} by {examination}"
        found = self._judgements.get(key)
        if found is None or found.judgement is not judgement:
            found = ShardedJudgement(key, judgement)
            self._judgements = {name: one for name, one in self._judgements.items() if self._stands(one)}
            self._judgements[key] = found
        return found

    def _stands(self, one: ShardedJudgement) -> bool:
        standing = (self.state.standing, self.state.watched)
        return any(other is not None and other.judgement is one.judgement for other in standing)

    def _evidence(self, standing: Standing, sharded: ShardedJudgement, n_guards: int) -> tuple[Evidence, list[int]]:
        state, proposal = self.state, standing.proposal
        return evidence_over(
            self.shards,
            sharded,
            Question.of(sharded.bench, key=sharded.key, proposed=standing.params),
            after=proposal.after_seq,
            n_guards=n_guards,
            known_versions=partial(known_versions, state),
            attempt=proposal.attempt,
            most=state.config.gate.max_judged_events,
        )

    def _is_evidence_lost(self, proposal: Proposal) -> bool:
        """Return whether events that judged the proposal at an earlier look are no longer on any shard."""
        if not proposal.first_seqs:
            return False
        with self.state.store.snapshot() as reader:
            there = {outcome.seq for outcome in reader.outcomes(proposal.first_seqs) if outcome.state != "evicted"}
            is_any_evicted = bool(reader.seqs(states=("evicted",), after=proposal.after_seq, limit=1))
        return is_any_evicted or len(there) < len(proposal.first_seqs)

    def _erased(self, seqs: Iterable[int]) -> list[int]:
        """Return those whose facts are gone: users who leave take their events with them."""
        wanted = list(seqs)
        with self.state.store.snapshot() as reader:
            there = {outcome.seq for outcome in reader.outcomes(wanted)}
        return [seq for seq in wanted if seq not in there]
