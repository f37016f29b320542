"""Is anything tried? Lists without features, without propensities, and draws that are no draws or nothing but draws."""

from __future__ import annotations

from typing import Final

import numpy as np

from dwell.health.doctor.diagnosis import Checked, Harm, Looked, finding
from dwell.health.doctor.evidence import LEAST_EVENTS, Evidence, SeenEvent
from dwell.records import Impression

__all__ = ["equal_chances", "exploration", "features_logged"]

_NEARLY_ALL: Final = 0.99
_SOME: Final = 0.1  # from a tenth on it is no accident of a roll-out
_EQUAL: Final = 0.02  # relative: of ten documents, chances from 9.8 % to 10.2 %
_MOSTLY: Final = 0.9
_NO_SPREAD: Final = 1e-9  # as the policy has it: below it all scores count as equal
_RANK: Final = "served = loop.rank(query, candidates, k=10)"


def features_logged(evidence: Evidence) -> Checked:
    """Return whether lists come with the features that are learned from."""
    events = evidence.finished
    bare = sum(not event.impression.has_features for event in events)
    share = bare / max(len(events), 1)
    words = f"{len(events) - bare} of {len(events)} closed lists have features"
    looked = Looked("features_logged", "Do lists come with features?", words, is_judged=len(events) >= LEAST_EVENTS)
    if len(events) < LEAST_EVENTS or share < _SOME:
        return Checked(looked)
    names = list(evidence.feature_names)
    message = f"{bare} of {len(events)} closed lists ({share:.0%}) have no features: nothing is learned from them"
    remedy = f"Give every result all of {names} in log_retrieval, or serve through rank."
    if not names:
        message = f"no features are registered: nothing can be learned from {len(events)} closed lists"
        remedy = (
            'Open the store with them: dwell.open(path, features=["bm25", "cosine"]), and give them with each list.'
        )
    severity: Harm = "critical" if share >= _NEARLY_ALL else "warning"
    figures = {"n_without_features": bare, "without_features_share": share}
    return Checked(looked, (finding("no_features", severity, message, remedy, figures),))


def exploration(evidence: Evidence) -> Checked:
    """Return whether lists are drawn, so that it is known how likely each was."""
    events = [e for e in evidence.finished if e.impression.has_features and e.impression.arm != "interleave"]
    name, title = "exploration", "Is it known how likely each list was?"
    if len(events) < LEAST_EVENTS:
        words = f"{len(events)} closed lists with features so far: from {LEAST_EVENTS} on it can be told"
        return Checked(Looked(name, title, words, is_judged=False))
    drawn = sum(not event.impression.is_deterministic for event in events)
    elsewhere = sum(event.impression.policy == "external" and event.impression.is_deterministic for event in events)
    ours = sum(event.impression.is_deterministic and _is_ours(event.impression) for event in events)
    words = f"{drawn} of {len(events)} lists were drawn with known chances ({drawn / len(events):.0%})"
    looked = Looked(name, title, words)
    figures = {"n_drawn": drawn, "n_ordered_elsewhere": elsewhere, "n_sorted": ours}
    if elsewhere >= _NEARLY_ALL * len(events):
        message = (
            f"all of {elsewhere} lists were ordered by another ranker: their chances are not known, so proposals are"
            " learned and none can be shown to be better"
        )
        remedy = f"Let dwell order, at least for some of the traffic: {_RANK}."
        return Checked(looked, (finding("no_propensities", "warning", message, remedy, figures),))
    if ours >= _NEARLY_ALL * len(events):
        message = (
            f"temperature 0: all of {ours} lists are plain sorts and every probability is 1. It learns from clicks, but"
            " nothing is tried, so no other order can be shown to be better"
        )
        remedy = "Draw a little: dwell.open(..., temperature=0.3), the default."
        return Checked(looked, (finding("no_exploration", "warning", message, remedy, figures),))
    return Checked(looked)


def _is_ours(impression: Impression) -> bool:
    """Return whether the order was ours to explore: in the modes that only look the caller's is served as it is."""
    return impression.policy == "params" or (impression.policy == "caller" and impression.mode in {"live", "canary"})


def equal_chances(evidence: Evidence) -> Checked:
    """Return whether every document was as likely as any other, so that the params order nothing."""
    drawn = [event for event in evidence.events if _can_tell(event.impression)]
    name, title = "equal_chances", "Do the params order anything?"
    if len(drawn) < LEAST_EVENTS:
        words = f"{len(drawn)} drawn lists so far: from {LEAST_EVENTS} on it can be told"
        return Checked(Looked(name, title, words, is_judged=False))
    alike = [event for event in drawn if _is_uniform(event.impression)]
    share = len(alike) / len(drawn)
    words = f"in {len(drawn) - len(alike)} of {len(drawn)} drawn lists some documents were likelier than others"
    looked = Looked(name, title, words)
    if share < _MOSTLY:
        return Checked(looked)
    flat = sum(event.impression.score_sd <= _NO_SPREAD for event in alike)
    why = _why_equal(alike, flat)
    message = (
        f"all probabilities are equal in {len(alike)} of {len(drawn)} lists: {why}. It is not learning from them, it is"
        " shuffling"
    )
    remedy = "Lower it: dwell.open(..., temperature=0.3), the default."
    if flat > len(alike) / 2:
        remedy = (
            "Give features that differ between the candidates of a list; `dwell inspect STORE EVENT_ID` shows what"
            " one list was given."
        )
    figures = {"equal_share": share, "n_without_spread": flat}
    return Checked(looked, (finding("scores_equal", "critical", message, remedy, figures),))


def _can_tell(impression: Impression) -> bool:
    is_drawn = impression.policy == "params" and not impression.is_deterministic and impression.arm != "swap"
    return is_drawn and impression.n_candidates > 1 and len(impression.propensities) > 0


def _is_uniform(impression: Impression) -> bool:
    n, k = impression.n_candidates, len(impression.propensities)
    uniform = 1.0 / (n - np.arange(k, dtype=np.float64))
    return bool((np.abs(impression.propensities / uniform - 1.0) <= _EQUAL).all())


def _why_equal(alike: list[SeenEvent], flat: int) -> str:
    if flat > len(alike) / 2:
        return "the scores of a list's candidates are all the same"
    return f"temperature {alike[-1].impression.temperature:g} drowns the scores"
