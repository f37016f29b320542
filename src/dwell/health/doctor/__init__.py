"""The doctor: what is wrong with a loop, in order of harm, with one remedy each; and whether it is learning."""

from dwell.health.doctor.diagnosis import BY_HARM, Diagnosis, Finding, Looked, finding, with_finding
from dwell.health.doctor.doctor import diagnose, with_counted
from dwell.health.doctor.evidence import LEAST_EVENTS, MOST_EVENTS, Evidence, RingSeen, SeenEvent
from dwell.health.doctor.upkeep import unopened

__all__ = [
    "BY_HARM",
    "LEAST_EVENTS",
    "MOST_EVENTS",
    "Diagnosis",
    "Evidence",
    "Finding",
    "Looked",
    "RingSeen",
    "SeenEvent",
    "diagnose",
    "finding",
    "unopened",
    "with_counted",
    "with_finding",
]
