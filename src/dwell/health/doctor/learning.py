"""Does it learn, and does what it learned change anything? Windows that nobody closes, params that never move."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dwell.health.doctor.diagnosis import Checked, Finding, Looked, finding
from dwell.health.doctor.evidence import LEAST_EVENTS, Evidence
from dwell.ranking import kendall_tau, order_of
from dwell.records import GateDecision

__all__ = ["closing", "influence", "overlap", "proposals"]

_OVERDUE_S: Final = 3_600.0  # a service looks each minute; an hour of nothing is no pause
_LEARNABLE: Final = 200  # as many as the first version waits for, and the gate by default
_LEAST_REWARDED: Final = 10
_MOST_REFUSED: Final = 3  # proposals in a row; by luck one in some fifth is refused where nothing is left to learn
_MOST_WAITED: Final = 20_000  # as gate.max_judged_events
_SAME_ORDER: Final = 0.995  # of ten documents, one pair in two lists stands the other way
_COMPARED: Final = 500  # newest lists whose orders are compared
_MIN_OVERLAP: Final = 0.2  # as evaluation.diagnostics has it for exposures
_MOVES: Final = frozenset({"judged", "requested", "forced", "rollback"})
_TRAIN: Final = "Call loop.train() every minute or so; `dwell serve` does it by itself, `dwell train STORE` once"


def closing(evidence: Evidence) -> Checked:
    """Return whether somebody closes lists whose window is over: the first step of learning."""
    late_s = max(_OVERDUE_S, evidence.attribution_window_s)
    still_open = [event.impression.served_at for event in evidence.events if event.state == "open"]
    newest = max((event.impression.served_at for event in evidence.events), default=0.0)
    # what was open when an application was stopped is no fault: time goes on only where lists are served
    until = evidence.now if not evidence.n_finished else newest
    overdue = [at for at in still_open if at + evidence.attribution_window_s + late_s < until]
    words = f"{len(overdue)} of {len(evidence.events)} lists wait to be closed for more than {late_s / 3600.0:g} h"
    looked = Looked("closing", "Does anything close lists and learn from them?", words, is_judged=bool(evidence.events))
    if len(overdue) < LEAST_EVENTS:
        return Checked(looked)
    hours = (until - min(overdue) - evidence.attribution_window_s) / 3600.0
    message = f"{len(overdue)} lists wait to be closed, the oldest for {hours:.1f} h: no learner runs"
    figures = {"n_overdue": len(overdue), "oldest_overdue_hours": hours}
    return Checked(looked, (finding("learner_idle", "critical", message, f"{_TRAIN}.", figures),))


def proposals(evidence: Evidence) -> Checked:
    """Return whether there was ever a proposal, and whether any of them went live."""
    moves = [d for d in evidence.decisions if d.verdict == "promote" and d.kind in _MOVES]
    live = evidence.live.version
    words = f"{evidence.n_learned} versions were learned, {len(moves)} moves of the live params; live is version {live}"
    is_judged = evidence.n_finished >= LEAST_EVENTS
    looked = Looked("proposals", "Were params learned, and did any go live?", words, is_judged=is_judged)
    found = _nothing_learned(evidence) if not evidence.n_learned else _never_moved(evidence, moves)
    return Checked(looked, () if found is None else (found,))


def _nothing_learned(evidence: Evidence) -> Finding | None:
    rewarded = sum(bool(event.reward) for event in evidence.finished)
    if evidence.n_finished < _LEARNABLE or rewarded < _LEAST_REWARDED:
        return None
    if evidence.mode == "log-only":
        why, remedy = "mode log-only records and does not learn", 'Open it with dwell.open(..., mode="shadow").'
    elif not evidence.feature_names:
        why = "no features are registered"
        remedy = 'Open it with dwell.open(..., features=["bm25", "cosine"]), and give them with each list.'
    else:
        why, remedy = "train was never called", f"{_TRAIN}."
    message = f"{evidence.n_finished} closed lists, and never a proposal: {why}"
    figures = {"n_closed": evidence.n_finished, "n_rewarded": rewarded}
    return finding("nothing_learned", "critical", message, remedy, figures)


def _never_moved(evidence: Evidence, moves: list[GateDecision]) -> Finding | None:
    if moves or evidence.mode not in {"live", "canary"}:
        return None
    judged = [d for d in evidence.decisions if d.kind == "judged"]
    refused = sum(d.verdict == "reject" for d in judged)
    waited = max((d.difference.n for d in judged if d.verdict == "hold"), default=0)
    if refused < _MOST_REFUSED and waited < _MOST_WAITED:
        return None
    message = (
        f"{evidence.n_learned} proposals, {refused} refused and none promoted: the params never moved; the last word"
        f" was {judged[-1].reasons[0]}"
    )
    remedy = (
        "`dwell history STORE` has the reasons. Where the order is as good as these features allow that is the answer:"
        " register one that tells more, dwell.open(..., features=[...])."
    )
    figures = {"n_learned": evidence.n_learned, "n_refused": refused, "most_judged_events": waited}
    return finding("never_moved", "warning", message, remedy, figures)


def influence(evidence: Evidence) -> Checked:
    """Return how far the live order is from the one that was served before anything was learned."""
    name, title = "influence", "Did feedback change the order?"
    taus = _agreements(evidence)
    if evidence.live.origin != "learned" or len(taus) < LEAST_EVENTS:
        words = "no learned version is live, so there is nothing to compare yet"
        if evidence.live.origin == "learned":
            words = f"{len(taus)} lists to compare so far: from {LEAST_EVENTS} on it can be told"
        return Checked(Looked(name, title, words, is_judged=False))
    tau = math.fsum(taus) / len(taus)
    words = f"Kendall's tau between the live order and the first one is {tau:.3f} over {len(taus)} lists (1: the same)"
    looked = Looked(name, title, words)
    if tau < _SAME_ORDER:
        return Checked(looked)
    n_rewarded = sum(bool(event.reward) for event in evidence.finished)
    message = (
        f"version {evidence.live.version} is live and orders as before anything was learned (Kendall's tau {tau:.3f}"
        f" over {len(taus)} lists), although {n_rewarded} of the newest lists were rewarded"
    )
    remedy = "`dwell params STORE` shows the weights; let it step further: [learner] max_step_norm in dwell.toml."
    figures = {"kendall_tau": tau, "n_compared": len(taus), "n_rewarded": n_rewarded}
    return Checked(looked, (finding("no_influence", "warning", message, remedy, figures),))


def _agreements(evidence: Evidence) -> list[float]:
    taus: list[float] = []
    for event in reversed(evidence.events):
        shown = event.impression
        if len(taus) >= _COMPARED:
            break
        if shown.feature_names != evidence.live.feature_names or len(shown.documents) < 2:
            continue
        rank, start = shown.document_scores, evidence.start
        first = np.zeros(rank.size) if start is None else start.score(shown.features)  # all equal: the caller's order
        live = evidence.live.score(shown.features, segment=shown.segment, query_embedding=shown.query_embedding)
        taus.append(kendall_tau(order_of(live, rank), order_of(first, rank)))
    return taus


def overlap(evidence: Evidence) -> Checked:
    """Return how much of its events the newest judgement is worth."""
    name, title = "overlap", "Does the evidence say anything about what is proposed?"
    judged = [d for d in evidence.decisions if d.kind in {"judged", "requested"} and d.difference.n >= _LEARNABLE]
    if not judged:
        words = f"no proposal was judged on {_LEARNABLE} lists yet"
        return Checked(Looked(name, title, words, is_judged=False))
    newest = judged[-1]
    share = newest.difference.effective_sample_size / newest.difference.n
    share = min(share, newest.diagnostics.get("exposure_ess", share))
    words = f"the newest judgement stands on {newest.difference.n} lists that are worth {share:.0%} of themselves"
    looked = Looked(name, title, words)
    if share >= _MIN_OVERLAP:
        return Checked(looked)
    message = (
        f"the {newest.difference.n} lists that judged version {newest.proposed_version} are worth {share:.1%} of"
        " themselves: what it would show was hardly ever shown"
    )
    remedy = "Explore more: dwell.open(..., temperature=0.5); or propose less at once: [learner] max_step_norm."
    figures = {"effective_share": share, "n_judged": newest.difference.n}
    return Checked(looked, (finding("ess_low", "warning", message, remedy, figures),))
