"""Judge a policy off-line: estimators, anytime-valid bounds, the gate's decision.

Estimators, intervals, diagnostics, online and influence are modules of this room.
"""

from dwell.evaluation.gate import Evidence, GateSettings, decide, spent_alpha
from dwell.evaluation.judging import EventPolicy, JudgedEvent, differences, judge_event, kish

__all__ = [
    "EventPolicy",
    "Evidence",
    "GateSettings",
    "JudgedEvent",
    "decide",
    "differences",
    "judge_event",
    "kish",
    "spent_alpha",
]
