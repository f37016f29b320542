"""One number per document and one per list, from all signals of an event, in whatever order they arrived.

**Documents first.** A signal that names a document is credited to that document alone.

**A reaction to the whole list** (task completed, reformulated, the default reward) is shared so that the shares add up
to it:

* praise goes to the documents that have praise of their own, in proportion to it: what was used is what helped, and
  junk beside it gains nothing;
* blame goes to the documents that have none, in proportion to examination: what was looked at and not wanted;
* where that leaves nobody (no document was praised, or all were), it goes to all shown documents in proportion to
  examination. Divided by exposure, as the learner does, such a share is on average the same for every document that the
  policy can show: it tells lists apart, and never favours a document for the position at which it happened to stand.

**Agents** earn nothing here: what `agent_...` signals say (see `provenance`) is aggregated and shown, and no reward
holds any of it, so that nothing that is learned or judged from rewards does. What it is worth to activation says
`agents_word`.

**Order.** Signals are sorted by (at, name, document, value) and added exactly (`math.fsum`): any permutation of arrival
gives the same bits, and so does a signal delivered twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dwell.errors import RecordError
from dwell.records.arrays import FloatArray
from dwell.records.signal import Signal
from dwell.reward.presets import RewardPreset
from dwell.reward.provenance import AGENT_BOUND, AGENT_PREFIX, is_agents
from dwell.reward.signals import SignalSpec, agents_own, aggregate, check_signal

__all__ = ["RewardBasis", "RewardResult", "agents_word", "compute_reward"]

RewardBasis = Literal["pending", "default", "feedback"]

_Key = tuple[float, str, bool, str, float, str]


@dataclass(frozen=True, slots=True, eq=False)
class RewardResult:
    """What an event was worth, and what that rests on.

    Attributes:
        reward: Reward of the list, in [-1, 1]: the sum of the documents' own credit and the list's, each clipped to
            [-1, 1], clipped again.
        document_rewards: float64 (k,), reward per shown document in shown order, each in [-1, 1], read-only. Its sum is
            the list's reward wherever nothing was clipped.
        signals: {name: value aggregated over everything of that name}, in the signal's own unit.
        document_signals: {document: {name: aggregated value}} for the documents that a signal named.
        basis: "feedback": at least one signal of people and of a weight other than 0 counted, even if it came to 0 (an
            explicit zero). "default": the window is over without any, and the default reward stands in. "pending": the
            window is still open without any; the rewards are 0 and mean nothing yet.
        ignored: {code: number of signals that counted nowhere}: `unknown_signal`, `signal_scope` or `signal_range`
            (the rewards were configured anew since they were stored), `not_served` (about a document that was not
            among those shown), or another code of `check_signal`.
    """

    reward: float
    document_rewards: FloatArray
    signals: dict[str, float]
    document_signals: dict[str, dict[str, float]]
    basis: RewardBasis
    ignored: dict[str, int] = field(default_factory=dict)

    @property
    def has_feedback(self) -> bool:
        """Whether the reward rests on what a user did; an explicit zero does, a default reward does not."""
        return self.basis == "feedback"


def compute_reward(
    preset: RewardPreset,
    shown: Sequence[str],
    signals: Sequence[Signal],
    examination: FloatArray,
    *,
    is_window_over: bool = True,
) -> RewardResult:
    """Return the reward of one event, per document and for the list; the same bits for any order of `signals`.

    Signals with the same name, document, value, instant and idempotency key are one signal delivered several times.
    Signals that the preset no longer declares are counted in `ignored`, never fatal: a change of configuration must not
    keep an event from closing.

    Args:
        preset: The reward function.
        shown: Ids of the k documents that the user saw, in order, without repeats; k >= 1.
        signals: Everything observed for the event, in any order, `at` already credited (see `lifecycle.credited_at`).
        examination: float64 (k,), probability in [0, 1] that a user looks at each position.
        is_window_over: Whether the attribution window is over; while it is not, "no signal yet" is "pending".

    Raises:
        RecordError: `results_shape` (shown is empty, repeats a document, or differs in length from examination) or
            `range` (an examination outside [0, 1]).
    """
    theta = _checked(shown, examination)
    positions = {doc: i for i, doc in enumerate(shown)}
    counted, ignored = _sorted_and_sifted(preset, positions, signals)
    by_name: dict[str, list[float]] = {}
    by_doc: dict[str | None, dict[str, list[float]]] = {}
    for signal in counted:
        # -0.0 becomes 0.0: the two are equal, so sorting would let the order of arrival through
        value = float(signal.value) + 0.0
        by_name.setdefault(signal.name, []).append(value)
        by_doc.setdefault(signal.doc, {}).setdefault(signal.name, []).append(value)
    totals = {doc: _aggregated(preset, values) for doc, values in by_doc.items()}
    direct = np.zeros(len(shown))
    for doc, aggregates in totals.items():
        if doc is not None:
            direct[positions[doc]] = _credit(preset, aggregates)
    has_feedback = _has_spoken(preset, by_name)
    list_credit = _credit(preset, totals.get(None, {}))
    if not has_feedback:
        list_credit = preset.default_reward if is_window_over else 0.0
    rewards = np.clip(direct + list_credit * _shares(direct, theta, is_praise=list_credit > 0.0), -1.0, 1.0)
    rewards += 0.0  # no -0.0, whose bits would differ from 0.0
    rewards.flags.writeable = False
    return RewardResult(
        reward=_clipped(math.fsum([*direct.tolist(), list_credit])),
        document_rewards=rewards,
        signals=_aggregated(preset, by_name),
        document_signals={doc: totals[doc] for doc in shown if doc in totals},
        basis="feedback" if has_feedback else ("default" if is_window_over else "pending"),
        ignored=ignored,
    )


def agents_word(
    preset: RewardPreset, shown: Sequence[str], signals: Sequence[Signal], examination: FloatArray
) -> FloatArray:
    """Return what agents say that each shown document was worth, float64 (k,), each in [-0.25, 0.25].

    Zeros where people said anything of the list or of a document in it: what they did with it speaks of all of it. Of
    several words about one document the last one holds, so that to repeat it adds nothing; a word about the list is
    shared in proportion to examination among the documents without a word of their own.

    Args:
        preset: The reward function.
        shown: As `compute_reward`.
        signals: Everything observed for the event, in any order: the same bits for each.
        examination: As `compute_reward`.

    Raises:
        RecordError: As `compute_reward`.
    """
    theta = _checked(shown, examination)
    words = np.zeros(len(shown))
    if not any(is_agents(signal.name) for signal in signals):
        return words
    positions = {doc: i for i, doc in enumerate(shown)}
    counted, _ = _sorted_and_sifted(preset, positions, signals)
    if _has_spoken(preset, (signal.name for signal in counted)):
        return words
    last: dict[str | None, float] = {}
    for signal in counted:
        spec = _spec(preset, signal.name)
        if is_agents(signal.name) and spec.weight != 0.0:
            last[signal.doc] = spec.weight * spec.credit_of(float(signal.value))
    of_list = last.pop(None, 0.0)
    is_silent = np.array([doc not in last for doc in shown])
    for doc, word in last.items():
        words[positions[str(doc)]] = word
    if of_list and is_silent.any():
        words[is_silent] = of_list * _by_examination(theta[is_silent])
    return np.clip(words, -AGENT_BOUND, AGENT_BOUND) + 0.0


def _checked(shown: Sequence[str], examination: FloatArray) -> FloatArray:
    theta = np.asarray(examination, dtype=np.float64)
    if not shown or len(set(shown)) != len(shown) or theta.shape != (len(shown),):
        raise RecordError(
            "one or more different documents are due, with one examination each",
            code="results_shape",
            field="shown",
            value=(list(shown), theta.shape),
            hint="Pass the documents as shown and examination.theta(len(shown)).",
        )
    if not ((theta >= 0.0) & (theta <= 1.0)).all():
        raise RecordError(
            "an examination is a probability",
            code="range",
            field="examination",
            value=theta.tolist(),
            hint="Pass values in [0, 1], the first position's being 1.",
        )
    return theta


def _key(signal: Signal) -> _Key:
    return (
        float(signal.at),
        signal.name,
        signal.doc is not None,
        signal.doc or "",
        float(signal.value),
        signal.idempotency_key or "",
    )


def _sorted_and_sifted(
    preset: RewardPreset, positions: Mapping[str, int], signals: Sequence[Signal]
) -> tuple[list[Signal], dict[str, int]]:
    distinct = {_key(signal): signal for signal in signals}
    counted: list[Signal] = []
    ignored: dict[str, int] = {}
    for key in sorted(distinct):
        signal = distinct[key]
        code = _objection(preset, positions, signal)
        if code is None:
            counted.append(signal)
        else:
            ignored[code] = ignored.get(code, 0) + 1
    return counted, ignored


def _objection(preset: RewardPreset, positions: Mapping[str, int], signal: Signal) -> str | None:
    try:
        check_signal(preset.signals, signal.name, signal.doc, signal.value)
    except RecordError as error:
        return error.code
    return "not_served" if signal.doc is not None and signal.doc not in positions else None


def _aggregated(preset: RewardPreset, values: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: aggregate(values[name], _spec(preset, name).aggregation) for name in sorted(values)}


def _spec(preset: RewardPreset, name: str) -> SignalSpec:
    """Return what is declared of a signal, itself or for people; what was sifted before is there."""
    found = preset.signals.get(name)
    return agents_own(preset.signals[name[len(AGENT_PREFIX) :]]) if found is None else found


def _has_spoken(preset: RewardPreset, names: Iterable[str]) -> bool:
    """Return whether one of these is a person's, and worth anything."""
    return any(not is_agents(name) and preset.signals[name].weight != 0.0 for name in names)


def _credit(preset: RewardPreset, aggregates: Mapping[str, float]) -> float:
    specs = preset.signals
    people = ((specs[name], value) for name, value in aggregates.items() if not is_agents(name))
    return _clipped(math.fsum(spec.weight * spec.credit_of(value) for spec, value in people))


def _clipped(total: float) -> float:
    return min(1.0, max(-1.0, total)) + 0.0


def _shares(direct: FloatArray, theta: FloatArray, *, is_praise: bool) -> FloatArray:
    praised = direct > 0.0
    if is_praise and praised.any():
        shares = np.where(praised, direct, 0.0)
    elif not is_praise and praised.any() and not praised.all():
        shares = np.where(praised, 0.0, theta)
    else:
        shares = theta
    return _by_examination(shares)


def _by_examination(shares: FloatArray) -> FloatArray:
    total = math.fsum(shares.tolist())
    # nobody looked anywhere, says the examination: then nothing tells the documents apart
    return shares / total if total > 0.0 else np.full(len(shares), 1.0 / len(shares))
