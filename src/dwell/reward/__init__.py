"""From signals to rewards: what a reaction is worth, to which document it is credited, and who looked where."""

from dwell.reward.compute import RewardBasis, RewardResult, agents_word, compute_reward
from dwell.reward.examination import Examination, Fitted, PositionBased, harvest
from dwell.reward.lifecycle import (
    CreditedAt,
    StateChange,
    credited_at,
    is_due,
    join_status,
    next_state,
    window_end,
)
from dwell.reward.presets import RewardPreset, custom, resolve_rewards
from dwell.reward.provenance import Provenance, is_agents, named_by
from dwell.reward.signals import Aggregation, Curve, Scope, SignalSpec, check_signal

__all__ = [
    "Aggregation",
    "CreditedAt",
    "Curve",
    "Examination",
    "Fitted",
    "PositionBased",
    "Provenance",
    "RewardBasis",
    "RewardPreset",
    "RewardResult",
    "Scope",
    "SignalSpec",
    "StateChange",
    "agents_word",
    "check_signal",
    "compute_reward",
    "credited_at",
    "custom",
    "harvest",
    "is_agents",
    "is_due",
    "join_status",
    "named_by",
    "next_state",
    "resolve_rewards",
    "window_end",
]
