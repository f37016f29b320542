"""The gate: promote what the evidence shows to be better, hold what it does not show yet, reject what is not.

The default looks as often as it is asked and stays valid (betting); "block" judges once on a fresh block of events by a
one-sided fixed-n test, with more power and without the right to look again. Both spend alpha over successive proposals
against the same live params, alpha_j = 6 alpha / (pi^2 j^2), so that the chance of ever promoting one that is no
better, between two promotions, stays below alpha. Differences beyond the bound are cut, which assumes that cut losses
do not outweigh cut gains; the share that was cut is among the diagnostics.

Source: Waudby-Smith and Ramdas 2024 (betting); Ramdas et al. 2018 on spending alpha over a stream of tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from dwell.errors import ConfigError
from dwell.evaluation.betting import log_wealth, lower_bound, upper_bound
from dwell.evaluation.diagnostics import Finding, weight_concentration
from dwell.evaluation.figures import Figures, figures_of
from dwell.evaluation.guardrails import guardrail_objections
from dwell.evaluation.interleaving import InterleavingVerdict
from dwell.evaluation.judging import JudgedEvent, kish
from dwell.evaluation.online import CanaryVerdict
from dwell.learning.transform import normal_quantile
from dwell.records import Estimate, GateDecision
from dwell.records.arrays import FloatArray
from dwell.records.decision import DecisionKind, Verdict

__all__ = ["Z_END", "CanaryMethod", "Evidence", "GateKind", "GateSettings", "decide", "spent_alpha"]

GateKind = Literal["anytime", "block", "off"]
CanaryMethod = Literal["split", "interleave"]

Z_END: Final = 1.0  # standard errors; by the sign alone 5 of 64 nulls were promoted, docs/experiments.md
_Z_VETO: Final = 1.645  # one-sided 5 %: the second estimate and the hold-out are vetoes, not proofs
# in the order of an event's ends; the last two only beside a band that no test of the log supports
_ENDS: Final = ("examination_low", "examination_high", "assumed_low", "assumed_high")
_FEW: Final = 2  # a variance needs two values
_ROUNDING: Final = 1e-9  # n users with equally many events are n effective ones, whatever the sums were rounded to


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """When a proposal goes live.

    Attributes:
        kind: "anytime" (betting, looks are free), "block" (one look at a fresh block) or "off" (everything goes live).
        alpha: Chance of promoting what is no better between two promotions, in (0, 0.5].
        max_importance_weight: Clip of the exposure difference over logged exposure, in [0.1, 100].
        bound: Differences are cut at +-bound, in (0, 100], reward per list.
        block_events: Events that the block gate waits for, >= 100.
        min_events: Fewest judged events for a promotion, >= 2.
        min_users: Fewest effective users behind a promotion, >= 1, where users are known: (sum n_u)^2 / sum n_u^2 over
            the events n_u of each, so that one user with half of the traffic counts for no more than three others.
        futility_events: After so many judged events an estimate at or below zero rejects, >= 100.
        unsupported_warn: Share of unsupported exposure that is reported, in [0, 1].
        unsupported_refuse: Share from which a promotion is held, in [0, 1].
        max_judged_events: After so many judged events an undecided proposal is replaced, >= 100.
        segment_margin: How much worse a segment may be, reward per list, >= 0: one that is shown to lose more holds a
            promotion.
        min_segment_events: Judged events from which a segment is guarded, >= 2.
        canary_method: What the canary's users get in mode "canary": "split" (the proposal's lists) or "interleave"
            (what the proposal and the live params draft in turn).
        is_rolled_back: Whether params that `train` promoted give way again, by themselves, to those before them once
            later events show that these are better; at the error of a first attempt, once per such promotion.
    """

    kind: GateKind = "anytime"
    alpha: float = 0.05
    max_importance_weight: float = 2.0  # gated-loop study: W = 2 instead of 10, with pessimism
    bound: float = 3.0  # the same study: x clipped below at -3
    block_events: int = 1_000
    min_events: int = 200
    min_users: int = 20
    futility_events: int = 1_000
    unsupported_warn: float = 0.10
    unsupported_refuse: float = 0.30  # refusing at 10 % blocked half of the good proposals there
    max_judged_events: int = 20_000
    segment_margin: float = (
        0.02  # a choice: a twenty-fifth of a click of the preset "search", below what a segment of hundreds can show
    )
    min_segment_events: int = 100
    canary_method: CanaryMethod = "split"
    is_rolled_back: bool = True

    def __post_init__(self) -> None:
        if self.kind not in {"anytime", "block", "off"}:
            raise ConfigError(
                "unknown gate", field="gate.kind", value=self.kind, hint="Use 'anytime', 'block' or 'off'."
            )
        if self.canary_method not in {"split", "interleave"}:
            raise ConfigError(
                "unknown method of the canary",
                field="gate.canary_method",
                value=self.canary_method,
                hint="Use 'split' or 'interleave'.",
            )
        for name, low, high in (
            ("alpha", 1e-6, 0.5),
            ("max_importance_weight", 0.1, 100.0),
            ("bound", 0.01, 100.0),
            ("block_events", 100, 2**31),
            ("min_events", 2, 2**31),
            ("min_users", 1, 2**31),
            ("futility_events", 100, 2**31),
            ("unsupported_warn", 0.0, 1.0),
            ("unsupported_refuse", 0.0, 1.0),
            ("max_judged_events", 100, 2**31),
            ("segment_margin", 0.0, 100.0),
            ("min_segment_events", 2, 2**31),
        ):
            value = getattr(self, name)
            wanted = int if name.endswith(("_events", "_users")) else (int, float)
            if isinstance(value, bool) or not isinstance(value, wanted) or not low <= value <= high:
                kind = "a whole number" if wanted is int else "a number"
                raise ConfigError(
                    f"a gate setting is {kind} in [{low:g}, {high:g}]",
                    field=f"gate.{name}",
                    value=value,
                    hint="Correct the setting.",
                )
        if not isinstance(self.is_rolled_back, bool):
            raise ConfigError(
                "true or false is due here", field="gate.is_rolled_back", value=self.is_rolled_back, hint="Use True."
            )


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """What the gate may know of one proposal.

    Attributes:
        events: Judged events in close order, none of them learned from.
        rewards: Per event, float64 (kept,).
        n_users: Distinct users behind them, or None where no event names one.
        n_effective_users: How many users with equally many events they are worth (Kish), in [1, n_users], or None
            where all have equally many.
        is_caller_ordered_only: Whether every event was ordered by the caller.
        held_out: Differences on users that are never learned from, for the guard.
        attempt: How many proposals have been judged against these live params, this one included; >= 1.
        findings: What is wrong with the log itself, see `diagnostics`: a failed check holds a promotion.
        segments: Segment of each event, None where it has none; empty where segments are not guarded.
        weights: (n,), in (0, 1], what each event counts where nobody counts for more than three average users; None
            where nobody is capped.
        users: Per event, who it is of, or None; for the error of the capped estimate.
        canary: What the users who are served the proposal say, beside those who are not; None where nobody is.
        interleaving: Whose documents users choose, the proposal's being the first; None where nothing is interleaved.
        figures: The numbers of the events where somebody else holds these: then `events` and `rewards` are empty. None
            where they are worked out from the events.
    """

    events: Sequence[JudgedEvent]
    rewards: Sequence[FloatArray]
    n_users: int | None
    is_caller_ordered_only: bool
    held_out: FloatArray
    attempt: int
    n_effective_users: float | None = None
    findings: Sequence[Finding] = ()
    segments: Sequence[str | None] = ()
    weights: FloatArray | None = None
    users: Sequence[int | None] = ()
    canary: CanaryVerdict | None = None
    interleaving: InterleavingVerdict | None = None
    figures: Figures | None = None

    def in_numbers(self) -> Figures:
        """Return the numbers of the judged events."""
        return figures_of(self.events, self.rewards) if self.figures is None else self.figures

    @property
    def effective_users(self) -> float | None:
        """How many users with equally many events stand behind it, or None where no event names one."""
        return self.n_users if self.n_effective_users is None else self.n_effective_users


def spent_alpha(alpha: float, attempt: int) -> float:
    """Return what the j-th proposal may spend, 6 alpha / (pi^2 j^2); all of them together spend alpha."""
    return alpha * 6.0 / (math.pi**2 * attempt**2)


def _fixed_estimate(x: FloatArray, weights: FloatArray | None = None) -> Estimate:
    """Return a mean with its two-sided 95 % normal interval."""
    if x.size < _FEW:
        return Estimate(float(x.sum()), -math.inf, math.inf, x.size, float(x.size))
    half = 1.959963984540054 * float(x.std(ddof=1)) / math.sqrt(x.size)
    mean = float(x.mean())
    return Estimate(mean, mean - half, mean + half, x.size, float(x.size) if weights is None else kish(weights))


def _estimates(evidence: Evidence, figures: Figures, x: FloatArray, settings: GateSettings) -> dict[str, Estimate]:
    importance = figures.importance
    found = {"doubly_robust": _fixed_estimate(x, importance)}
    ends = np.clip(figures.ends, -settings.bound, settings.bound)
    if x.size:
        found |= {name: _fixed_estimate(end, importance) for name, end in zip(_ENDS, ends.T, strict=False)}
    if figures.prefix is not None:
        value, error, n, effective = figures.prefix
        half = 1.959963984540054 * error
        found["prefix"] = Estimate(value, value - half, value + half, n, effective)
    if evidence.weights is not None and x.size and (evidence.weights < 1.0).any():
        found["capped_users"] = _capped_estimate(x, evidence.weights, evidence.users)
    if evidence.canary is not None:
        found["canary"] = evidence.canary.difference
    if evidence.interleaving is not None:
        found["interleaving"] = evidence.interleaving.difference
    if evidence.held_out.size:
        found["held_out_users"] = _fixed_estimate(evidence.held_out)
    return found


def _capped_estimate(x: FloatArray, weights: FloatArray, users: Sequence[int | None]) -> Estimate:
    """Return the weighted mean with a two-sided 95 % interval whose error is that of users, not of events.

    Source: Liang and Zeger 1986, "Longitudinal data analysis using generalized linear models" (errors by cluster).
    """
    mean = float(weights @ x / weights.sum())
    parts: dict[object, float] = {}
    for i, (part, user) in enumerate(zip((weights * (x - mean)).tolist(), users, strict=True)):
        who: object = ("nobody", i) if user is None else user
        parts[who] = parts.get(who, 0.0) + part
    error = math.sqrt(sum(part * part for part in parts.values())) / float(weights.sum())
    half = 1.959963984540054 * error if len(parts) >= _FEW else math.inf
    return Estimate(mean, mean - half, mean + half, x.size, kish(weights))


def _significantly_positive(estimate: Estimate, z: float = _Z_VETO) -> bool:
    error = (estimate.high - estimate.low) / (2.0 * 1.959963984540054)
    return math.isfinite(error) and estimate.value - z * error > 0.0


def _significantly_negative(estimate: Estimate) -> bool:
    error = (estimate.high - estimate.low) / (2.0 * 1.959963984540054)
    return math.isfinite(error) and estimate.n >= _FEW and estimate.value + _Z_VETO * error < 0.0


def _objections(
    evidence: Evidence,
    estimates: dict[str, Estimate],
    unsupported: float,
    findings: Sequence[Finding],
    settings: GateSettings,
) -> list[str]:
    """Return why a proposal that looks better must still wait."""
    n = estimates["doubly_robust"].n
    reasons = []
    if n < settings.min_events:
        reasons.append(f"too_few_events: {n} events judge it, {settings.min_events} are needed")
    effective = evidence.effective_users
    if effective is not None and effective * (1.0 + _ROUNDING) < settings.min_users:
        reasons.append(
            f"too_few_users: {evidence.n_users} users stand behind it, effective are {effective:.1f} of them,"
            f" {settings.min_users} are needed"
        )
    if evidence.is_caller_ordered_only and n:
        reasons.append(
            "unsupported: every event was ordered by the caller, who drew nothing: use mode 'canary' or 'live'"
        )
    elif unsupported > settings.unsupported_refuse:
        reasons.append(
            f"unsupported: {unsupported:.0%} of its exposure goes to documents that were hardly ever shown"
            f" (at most {settings.unsupported_refuse:.0%}): explore with a higher temperature"
        )
    if "prefix" in estimates and _significantly_negative(estimates["prefix"]):
        reasons.append(f"disagreement: the prefix estimate says it is worse, {estimates['prefix'].value:+.4f}")
    reasons += [f"{found.code}: {found.words}. {found.remedy}" for found in findings if found.severity == "fail"]
    ends = [estimates[name] for name in _ENDS if name in estimates]
    # above 0 by chance is not enough: docs/experiments.md has what that promoted, and what this costs
    if len(ends) > 1 and not all(_significantly_positive(end, Z_END) for end in ends):
        values = [end.value for end in ends]
        assumed = "".join(f", {value:+.4f}" for value in values[2:])
        reasons.append(
            f"examination: the difference is {values[0]:+.4f} where lower positions are looked at least,"
            f" {values[1]:+.4f} where most{assumed and ', and at the ends of the assumed band' + assumed[1:]},"
            " not shown to be above 0 at each: more events, a band from more lists, or a canary, can decide"
        )
    if "capped_users" in estimates and not _significantly_positive(estimates["capped_users"]):
        reasons.append(
            f"few_users_decide: with nobody counting for more than three average users the difference is"
            f" {estimates['capped_users'].value:+.4f}, not shown to be above 0"
        )
    if "held_out_users" in estimates and _significantly_negative(estimates["held_out_users"]):
        value = estimates["held_out_users"].value
        reasons.append(f"held_out_users: those that are never learned from say it is worse, {value:+.4f}")
    return reasons


def _findings(evidence: Evidence, x: FloatArray, importance: FloatArray, settings: GateSettings) -> list[Finding]:
    """Return what speaks against reading the estimate: of the log, of its weights, and segment by segment."""
    found = list(evidence.findings)
    if importance.size >= _FEW and importance.sum() > 0.0:
        # as far as the estimate follows them: beyond the clip no weight counts more
        most = 1.0 + settings.max_importance_weight
        found += weight_concentration(np.minimum(importance, most), "exposure")
    if len(evidence.segments) == x.size:
        found += guardrail_objections(
            x,
            evidence.segments,
            margin=settings.segment_margin,
            alpha=settings.alpha,
            min_events=settings.min_segment_events,
        )
    return found


def _notes(evidence: Evidence, n: int, unsupported: float, settings: GateSettings) -> list[str]:
    notes = []
    if evidence.n_users is None and n:
        notes.append("users_unknown: no event names a user, so distinct users can not be counted")
    if settings.unsupported_warn < unsupported <= settings.unsupported_refuse:
        notes.append(f"weak_support: {unsupported:.0%} of its exposure goes to documents that were hardly ever shown")
    if evidence.canary is not None and evidence.canary.reason.startswith("sample_ratio"):
        notes.append(f"canary_{evidence.canary.reason}")
    return notes


def _warnings(findings: Sequence[Finding]) -> list[str]:
    """Return what is worth a look and holds nothing."""
    return [f"{found.code}: {found.words}" for found in findings if found.severity == "warn"]


def _user_figures(evidence: Evidence) -> dict[str, float]:
    """Return how many users stand behind it and how many they are worth; nothing where no event names one."""
    if evidence.n_users is None or evidence.effective_users is None:
        return {}
    return {"n_users": float(evidence.n_users), "n_effective_users": float(evidence.effective_users)}


def _is_better(x: FloatArray, alpha: float, settings: GateSettings) -> bool:
    if settings.kind == "block":
        if x.size < max(settings.block_events, _FEW):
            return False
        error = float(x.std(ddof=1)) / math.sqrt(x.size)
        # the normal upper quantile by bisection would hide it: erfc is monotone, so compare probabilities
        z = float(x.mean()) / error if error > 0.0 else 0.0
        return 0.5 * math.erfc(z / math.sqrt(2.0)) <= alpha
    return bool(x.size) and float(log_wealth(x, 0.0, floor=-settings.bound).max()) >= -math.log(alpha)


def _difference(x: FloatArray, alpha: float, importance: FloatArray, settings: GateSettings) -> Estimate:
    """Return the mean difference with the interval that decides: by betting, or of a full block's normal test."""
    value = float(x.mean()) if x.size else 0.0
    if settings.kind == "block" and x.size >= settings.block_events:
        half = float(-normal_quantile(np.array(alpha))) * float(x.std(ddof=1)) / math.sqrt(x.size)
        return Estimate(value, value - half, value + half, x.size, kish(importance))
    if not x.size:  # nothing was seen, so nothing is known: not even that differences are cut
        return Estimate(value, -math.inf, math.inf, 0, 0.0)
    return Estimate(
        value=value,
        low=lower_bound(x, alpha, floor=-settings.bound),
        high=upper_bound(x, alpha, ceiling=settings.bound),
        n=x.size,
        effective_sample_size=kish(importance),
    )


def _verdict(
    x: FloatArray,
    difference: Estimate,
    objections: list[str],
    alpha: float,
    settings: GateSettings,
    *,
    forgone: float,
) -> tuple[Verdict, list[str]]:
    n = x.size
    if n == 0:
        return "hold", ["too_few_events: no event has been served and closed since it was made"]
    # both ends can be refuted when the effect changed on the way: what began well and turned is not promoted
    # a bound that was reached once and that the mean has fallen below since says the same
    is_steady = difference.low <= difference.value
    if _is_better(x, alpha, settings) and min(difference.value, difference.high) > 0.0 and is_steady:
        gain = f"{difference.value:+.4f} reward per list, at least {difference.low:+.4f} with error {alpha:.4f}"
        if not objections:
            return "promote", [f"better: {gain}, on {n} events"]
        if n < settings.max_judged_events:
            return "hold", objections
        return "reject", [f"undecided: {gain}, but {n} events did not remove what speaks against it", *objections]
    rejection = _rejection(n, difference, settings, forgone=forgone)
    if rejection is not None:
        return "reject", [rejection]
    pending = f"not_yet: {difference.value:+.4f} reward per list, at least {difference.low:+.4f}, on {n} events"
    return "hold", [pending, *objections]


def _rejection(n: int, difference: Estimate, settings: GateSettings, *, forgone: float) -> str | None:
    """Return why a proposal that is not shown to be better is given up now, or None while it may still be."""
    per_list = f"{difference.value:+.4f} reward per list"
    # without support a loss is believed and a gain is not: it is harm only if it were one with that gain as well
    if difference.high + forgone < 0.0:
        return f"worse: {per_list}, at most {difference.high:+.4f}, on {n} events"
    if settings.kind == "block" and n >= settings.block_events:
        return f"no_gain: {per_list} on its block of {n} events is not significant"
    if n >= settings.futility_events and difference.value <= 0.0:
        return f"no_gain: {per_list} after {n} events"
    if n >= settings.max_judged_events:
        return f"undecided: {n} events did not decide, {per_list}"
    return None


def _served_worse(evidence: Evidence) -> str | None:
    """Return what users who were served it hold against it, or None."""
    if evidence.canary is not None and evidence.canary.verdict == "worse":
        return f"canary_{evidence.canary.reason}"
    if evidence.interleaving is not None and evidence.interleaving.verdict == "second":
        return f"interleaving_{evidence.interleaving.reason}"
    return None


def decide(
    evidence: Evidence,
    settings: GateSettings,
    *,
    proposed_version: int,
    safe_version: int,
    now: float,
    kind: DecisionKind = "judged",
) -> GateDecision:
    """Return the verdict on a proposal, with every number that led to it.

    Args:
        evidence: What is known of it.
        settings: When a proposal goes live.
        proposed_version: Version judged.
        safe_version: Version that it is judged against.
        now: UTC epoch seconds.
        kind: What led to the judgement.
    """
    figures = evidence.in_numbers()
    x = figures.differences
    cut = float((np.abs(x) > settings.bound).mean()) if x.size else 0.0
    x = np.clip(x, -settings.bound, settings.bound)
    alpha = spent_alpha(settings.alpha, evidence.attempt)
    forgone, unsupported = figures.mean("forgone"), figures.mean("unsupported")
    estimates = _estimates(evidence, figures, x, settings)
    findings = _findings(evidence, x, figures.importance, settings)
    difference = _difference(x, alpha, figures.importance, settings)
    objections = _objections(evidence, estimates, unsupported, findings, settings)
    if settings.kind == "off":
        verdict: Verdict = "promote"
        reasons = ["gate_off: the configuration lets every proposal go live"]
    elif (worse := _served_worse(evidence)) is not None:
        # what users were served needs no model of how they look at lists: no estimate speaks against it
        verdict, reasons = "reject", [worse]
    else:
        verdict, reasons = _verdict(x, difference, objections, alpha, settings, forgone=forgone)
    return GateDecision(
        verdict=verdict,
        reasons=[*reasons, *_notes(evidence, x.size, unsupported, settings), *_warnings(findings)],
        difference=difference,
        estimates=estimates,
        diagnostics={
            "unsupported_exposure": unsupported,
            "cut_share": cut,
            "forgone_gain": forgone,
            "clipped_share": figures.mean("clipped"),
            "capped_share": 0.0 if evidence.weights is None or not x.size else 1.0 - float(evidence.weights.mean()),
            "attempt": float(evidence.attempt),
            **{found.code: found.value for found in findings},
            **_user_figures(evidence),
        },
        proposed_version=proposed_version,
        safe_version=safe_version,
        kind=kind,
        alpha=alpha,
        decided_at=now,
    )
