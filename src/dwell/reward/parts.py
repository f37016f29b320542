"""A reward taken apart: what each signal earned each document, and what came from reactions to the whole list."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dwell.records.arrays import FloatArray
from dwell.records.signal import Signal
from dwell.reward.compute import compute_reward
from dwell.reward.presets import RewardPreset
from dwell.reward.provenance import is_agents

__all__ = ["DocumentCredit", "RewardParts", "reward_parts"]


class DocumentCredit(NamedTuple):
    """What one document was credited with.

    Attributes:
        doc: Its id.
        by_signal: {signal: what it earned the document}, before clipping.
        from_list: Its share of the reactions to the whole list, or of the default reward.
        reward: What counts: the sum, clipped to [-1, 1].
    """

    doc: str
    by_signal: Mapping[str, float]
    from_list: float
    reward: float


class RewardParts(NamedTuple):
    """The reward of a list by what it was made of.

    Attributes:
        reward: Of the list, in [-1, 1].
        documents: Per shown document, in shown order.
        of_list: {signal about the whole list: what it earned}, before clipping.
        default: The default reward where nothing else was there, else 0.
        ignored: {code: number of signals that counted nowhere}.
    """

    reward: float
    documents: tuple[DocumentCredit, ...]
    of_list: Mapping[str, float]
    default: float
    ignored: Mapping[str, int]


def reward_parts(
    preset: RewardPreset,
    shown: Sequence[str],
    signals: Sequence[Signal],
    examination: FloatArray,
    *,
    is_window_over: bool = True,
) -> RewardParts:
    """Return the parts of a reward, by the very function that computes it; arguments and errors as `compute_reward`."""
    whole = compute_reward(preset, shown, signals, examination, is_window_over=is_window_over)
    about_list = [signal for signal in signals if signal.doc is None]
    # what is about the list alone: the aggregates of its signals are not mixed with those of documents
    of_list = compute_reward(preset, shown, about_list, examination).signals if about_list else {}
    found = []
    for doc, reward in zip(shown, whole.document_rewards.tolist(), strict=True):
        by_signal = _earned(preset, whole.document_signals.get(doc, {}))
        own = min(1.0, max(-1.0, math.fsum(by_signal.values())))
        found.append(DocumentCredit(doc, by_signal, reward - own, reward))
    default = preset.default_reward if whole.basis == "default" else 0.0
    return RewardParts(whole.reward, tuple(found), _earned(preset, of_list), default, whole.ignored)


def _earned(preset: RewardPreset, aggregates: Mapping[str, float]) -> dict[str, float]:
    specs = preset.signals
    # what agents say is told, and earns nothing
    return {
        name: 0.0 if is_agents(name) else specs[name].weight * specs[name].credit_of(value)
        for name, value in aggregates.items()
    }
