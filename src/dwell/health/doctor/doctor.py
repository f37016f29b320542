"""All checks, one after the other, and the answer to the question that everybody asks first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from dwell.health.counted import counted_checks
from dwell.health.doctor.arriving import clocks, parked, put_aside, rewards
from dwell.health.doctor.crowd import crowd
from dwell.health.doctor.diagnosis import (
    Checked,
    Diagnosis,
    Figures,
    Finding,
    Harm,
    Looked,
    by_harm,
    finding,
    with_finding,
)
from dwell.health.doctor.evidence import Evidence
from dwell.health.doctor.exploring import equal_chances, exploration, features_logged
from dwell.health.doctor.features import features
from dwell.health.doctor.learning import closing, influence, overlap, proposals
from dwell.health.doctor.serving import repeats
from dwell.health.doctor.upkeep import ring
from dwell.health.report import HealthReport

__all__ = ["diagnose", "with_counted"]

_CHECKS: Final[Sequence[Callable[[Evidence], Checked]]] = (
    rewards,
    parked,
    put_aside,
    features_logged,
    closing,
    proposals,
    exploration,
    equal_chances,
    influence,
    overlap,
    repeats,
    features,
    crowd,
    ring,
)
# What the report says as well, and what is said here with its cause
_SAID_HERE: Final = frozenset({"no_feedback", "fallback", "orphan_ratio", "order_tau", "constant_features"})
# With one of these nothing comes of what users do
_IN_THE_WAY: Final = frozenset(
    {
        "rewards_missing",
        "rewards_all_default",
        "no_features",
        "learner_idle",
        "learner_down",
        "scores_equal",
        "nothing_learned",
        "no_propensities",
        "no_exploration",
        "never_moved",
        "no_influence",
    }
)
_BEGIN: Final = (
    "Nothing was served yet. Call served = loop.rank(query, candidates, user=...), show served.ids in that order, and"
    ' tell what was clicked: loop.feedback(served.event_id, "click", doc=...).'
)


def diagnose(evidence: Evidence, report: HealthReport) -> Diagnosis:
    """Return what is wrong with a loop, most harmful first, and what was looked at.

    Args:
        evidence: The newest events, and facts of the store.
        report: Its health: alerts that nothing here explains are told as they are.
    """
    if not evidence.n_events and not evidence.counts.get("quarantined", 0) and not evidence.counts.get("orphans", 0):
        return Diagnosis(
            (), (Looked("events", "Was anything served?", _BEGIN, is_judged=False),), _BEGIN, 0, evidence.now
        )
    checked = [check(evidence) for check in _CHECKS]
    checked.insert(2, clocks(evidence, _counted(report.figures)))
    checked.append(_shares(report))
    found = by_harm([one for each in checked for one in each.findings])
    looked = tuple(each.looked for each in checked)
    return Diagnosis(found, looked, _answer(evidence, found), len(evidence.events), evidence.now)


def with_counted(diagnosis: Diagnosis, counters: Mapping[str, int]) -> Diagnosis:
    """Return a diagnosis with what another process has counted, where that is wrong.

    Args:
        diagnosis: Of the store they share.
        counters: Of the process that serves, by name, as `Loop.counts`.
    """
    for check in counted_checks(counters):
        if check.severity in {"warning", "critical"} and check.name not in _SAID_HERE:
            severity: Harm = "critical" if check.severity == "critical" else "warning"
            figures: Figures = {} if check.value is None else {check.name: check.value}
            diagnosis = with_finding(diagnosis, finding(check.name, severity, check.sentence, check.remedy, figures))
    return diagnosis


def _counted(figures: Mapping[str, float | int | str]) -> dict[str, int]:
    named = {name: figures.get(name, 0) for name in ("feedback_future", "feedback_skewed")}
    return {name: int(n) for name, n in named.items() if not isinstance(n, str)}


def _shares(report: HealthReport) -> Checked:
    """Return what the health report alerts to, dominance by one group among it."""
    words = f"{len(report.alerts)} alerts" if report.alerts else "no alert"
    looked = Looked(
        "health", "Is one group too large, or anything else out of bounds?", f"the health report has {words}"
    )
    found = [
        finding(alert.code, alert.severity, alert.message, alert.remedy, _figure(report, alert.code))
        for alert in report.alerts
        if alert.code not in _SAID_HERE
    ]
    return Checked(looked, tuple(found))


def _figure(report: HealthReport, code: str) -> Figures:
    check = report.check(code)
    return {} if check is None or check.value is None else {code: check.value}


def _answer(evidence: Evidence, found: Sequence[Finding]) -> str:
    """Return whether it is learning, in a sentence."""
    blocking = next((one for one in found if one.code in _IN_THE_WAY), None)
    if blocking is not None:
        return f"Is it learning? No: {blocking.message}."
    moves = sum(d.verdict == "promote" and d.kind in {"judged", "requested", "forced"} for d in evidence.decisions)
    if evidence.live.origin == "learned":
        return (
            f"Is it learning? Yes: version {evidence.live.version}, learned from feedback, orders the lists;"
            f" {moves} promotions so far."
        )
    judged = [d for d in evidence.decisions if d.kind == "judged"]
    if judged:
        return (
            f"Is it learning? Yes, and version {evidence.live.version} still orders the lists: the gate's last word is"
            f" {judged[-1].verdict}: {judged[-1].reasons[0]}."
        )
    return (
        f"Is it learning? Not yet: {evidence.n_finished} of {evidence.n_events} lists are closed, no proposal was made."
    )
