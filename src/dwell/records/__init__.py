"""What happened, as frozen values: impressions, signals, experiences, params, batches and decisions."""

from dwell.records.adjustments import Adjustment, LowRank
from dwell.records.batch import Batch, Columns, ColumnSpec, UpdateResult
from dwell.records.decision import Estimate, GateDecision
from dwell.records.experience import Experience
from dwell.records.impression import Impression
from dwell.records.params import Params, RawScore, Transform
from dwell.records.served import Served
from dwell.records.signal import Feedback, Signal

__all__ = [
    "Adjustment",
    "Batch",
    "ColumnSpec",
    "Columns",
    "Estimate",
    "Experience",
    "Feedback",
    "GateDecision",
    "Impression",
    "LowRank",
    "Params",
    "RawScore",
    "Served",
    "Signal",
    "Transform",
    "UpdateResult",
]
