"""The story in plain lines: who takes part, what happened, what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap
from typing import Final

from dwell.demo.cast import formula, printable
from dwell.demo.measures import DEPTH
from dwell.demo.story import Measured, Moment, Planted, TasteChanged, Trained, mistake
from dwell.demo.world import World
from dwell.records import Estimate, GateDecision

__all__ = ["Outcome", "cast_lines", "conclusion", "interval", "moment_lines", "outcome_of"]

_WIDTH: Final = 104
_INDENT: Final = 12


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo has to show at its end.

    Attributes:
        n_judged: Proposals that the gate decided upon.
        n_promoted: Proposals that went live on evidence.
        n_rejected: Proposals that were given up.
        was_mistake_refused: Whether the planted mistake stayed out.
        is_restored: Whether the rollback restored the same figures to the last digit.
        start: Measured before the first search.
        change: The taste's change, or None where there were too few searches.
        end: Measured after the last search.
    """

    n_judged: int
    n_promoted: int
    n_rejected: int
    was_mistake_refused: bool
    is_restored: bool
    start: Measured
    change: TasteChanged | None
    end: Measured

    @property
    def complaint(self) -> str | None:
        """Why the demo did not show what it is there for, or None."""
        if not self.was_mistake_refused:
            return "the planted mistake was promoted: the gate did not stop it"
        if not self.is_restored:
            return "the rollback did not restore the figures from before"
        if not self.n_promoted:
            return "nothing was promoted: the evidence was not enough (more --events show more)"
        return None


def outcome_of(moments: Sequence[Moment]) -> Outcome:
    """Return what a whole story comes to; it starts with a measurement and holds one planted mistake."""
    decisions = [moment.decision for moment in moments if isinstance(moment, Trained)]
    planted = next(moment for moment in moments if isinstance(moment, Planted))
    measured = [moment for moment in moments if isinstance(moment, Measured)]
    trained = [moment for moment in moments if isinstance(moment, Trained)]
    promoted = [decision for decision in decisions if decision.verdict == "promote"]
    rejected = [decision for decision in decisions if decision.verdict == "reject"]
    return Outcome(
        n_judged=len(promoted) + len(rejected),
        n_promoted=len(promoted),
        n_rejected=len(rejected),
        was_mistake_refused=planted.was_refused,
        is_restored=planted.is_restored,
        start=measured[0],
        change=next((moment for moment in moments if isinstance(moment, TasteChanged)), None),
        end=trained[-1].after,
    )


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """A value with its 95 % interval, to three digits."""
    sign = "+" if signed else ""
    return f"{estimate.value:{sign}.3f} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def cast_lines(facts: Sequence[tuple[str, str]]) -> list[str]:
    """Who takes part and under which rules, in lines."""
    lines = ["dwell demo: real text, SIMULATED users"]
    for name, words in facts:
        told = wrap(words, _WIDTH - _INDENT, break_long_words=False, break_on_hyphens=False)
        lines += [f"  {name if i == 0 else '':<{_INDENT - 2}}{line}" for i, line in enumerate(told)]
    return [*lines, ""]


def moment_lines(moment: Moment, world: World) -> list[str]:
    """What a moment looks like, in lines; none for a sign of life."""
    if isinstance(moment, Measured):
        return _head() + _row(moment)
    if isinstance(moment, Trained):
        return _row(moment.after) + _decision(moment)
    if isinstance(moment, Planted):
        return _planted(moment)
    if isinstance(moment, TasteChanged):
        wanted = f"they want {world.tastes[1].name} entries now. By the new taste:"
        line = f"{moment.after.n_searches:>8,}  taste     the visitors change their mind: {wanted}"
        return [line, *_row(moment.after)]
    return []


def _head() -> list[str]:
    quality = f"{f'nDCG@{DEPTH}':<20}  {'start':<5}  {'difference':<23}  {f'MRR@{DEPTH}':<6}  difference"
    return [f"{'searches':>8}  {'live':<10}  {quality}"]


def _row(measured: Measured) -> list[str]:
    quality = measured.quality
    live = f"{measured.n_searches:>8,}  {f'version {measured.version}':<10}  {interval(quality.ndcg)}"
    beside = f"{quality.start_ndcg.value:.3f}  {interval(quality.ndcg_gain, signed=True)}"
    return [f"{live}  {beside}  {quality.mrr.value:.3f}   {interval(quality.mrr_gain, signed=True)}"]


def _decision(trained: Trained) -> list[str]:
    decision = trained.decision
    lines = [_verdict(decision)]
    lines += [f"{'':>20}{printable(reason)}" for reason in decision.reasons[1:]]
    if trained.ended_by == "time":
        lines.append(f"{'':>20}learning was cut short by its time limit: another run may come to other figures")
    if trained.proposed not in {trained.after.version, decision.proposed_version}:
        lines.append(f"{'':>10}{'propose':<8}  version {trained.proposed} was learned; what is served next judges it")
    return lines


def _verdict(decision: GateDecision) -> str:
    version = f"version {decision.proposed_version}: " if decision.proposed_version else ""
    return f"{'':>10}{decision.verdict:<8}  {version}{printable(decision.reasons[0])}"


def _planted(moment: Planted) -> list[str]:
    before, forced, after = (
        f"nDCG@{DEPTH} {measured.quality.ndcg.value:.3f}"
        for measured in (moment.before, moment.forced, moment.rolled_back)
    )
    words = f"a mistake of sign, {formula(mistake())}: legal weights, within every bound"
    lines = [f"{moment.n_searches:>8,}  planted   {words}", _verdict(moment.decision)]
    how = "forced    by hand all the same (force=True)" if moment.was_refused else "promoted  on the gate's word"
    same = "the same to the last digit" if moment.is_restored else "NOT the same"
    lines.append(f"{'':>10}{how}: {before} -> {forced}")
    lines.append(f"{'':>10}rollback  version {moment.rolled_back.version} is live again: {after}, {same}")
    return lines


def conclusion(outcome: Outcome, world: World, store: str) -> list[str]:
    """What came of it, and what to look at next."""
    end = outcome.end.quality
    decided = f"{outcome.n_judged} proposals decided: {outcome.n_promoted} promoted, {outcome.n_rejected} rejected"
    lines = ["", f"  {decided}; the planted mistake was {'refused' if outcome.was_mistake_refused else 'PROMOTED'}"]
    figures = [("at the start", outcome.start)]
    if outcome.change is not None:
        figures += [
            (f"before the change ({world.tastes[0].name})", outcome.change.before),
            (f"just after it ({world.tastes[1].name})", outcome.change.after),
        ]
    figures.append(("at the end", outcome.end))
    for words, measured in figures:
        quality = measured.quality
        lines.append(
            f"  {words:<28}  nDCG@{DEPTH} {quality.ndcg.value:.3f}, start {quality.start_ndcg.value:.3f}, "
            f"difference {interval(quality.ndcg_gain, signed=True)}"
        )
    own = outcome.end.own_order
    lines.append(
        f"  {'at the end, no exploration':<28}  nDCG@{DEPTH} {own.ndcg.value:.3f}, start {own.start_ndcg.value:.3f}, "
        f"difference {interval(own.ndcg_gain, signed=True)}"
    )
    if end.ndcg_gain.high < 0.0:
        lines.append("  what is served at the end is WORSE than the starting ranker")
    lines += ["", "  the store stays; look at it with"]
    shown = printable(store)
    lines += [f"    dwell {command} {shown}" for command in ("inspect", "params", "health", "rollback")]
    return [*lines, ""]
