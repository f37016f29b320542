"""Is the store itself in order? A file that can not be opened, and a side file of columns that is out of step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dwell.health.doctor.diagnosis import Checked, Diagnosis, Finding, Harm, Looked, finding
from dwell.health.doctor.evidence import Evidence

__all__ = ["ring", "unopened"]

_STALE: Final = frozenset({"stale", "damaged"})


def ring(evidence: Evidence) -> Checked:
    """Return whether the side file of columns is in step with the store."""
    seen = evidence.ring
    looked = Looked("ring", "Is the side file of columns in step?", seen.words, is_judged=seen.state != "none")
    if seen.state not in _STALE:
        return Checked(looked)
    message = (
        f"the side file of columns is {seen.state}: {seen.words}. Nothing is lost: it is made from the store again"
    )
    remedy = "`dwell train STORE` makes it; whoever opens the store next does so too, and takes longer for it."
    return Checked(looked, (finding("ring_stale", "notice", message, remedy, {"state": seen.state}),))


# What stands in the way of opening, by the code of the error that says so: (code, severity, remedy)
_IN_THE_WAY: Final[Mapping[str, tuple[str, Harm, str]]] = {
    "corrupt": (
        "store_damaged",
        "critical",
        "Stop what writes to it, keep a copy, and restore the newest backup; docs/durability.md says how.",
    ),
    "schema_newer": (
        "schema_newer",
        "critical",
        "Upgrade dwell to the version that wrote it: pip install --upgrade dwell",
    ),
    "schema_older": ("needs_upgrade", "critical", "Run `dwell db upgrade STORE`; it takes one transaction."),
    "pepper_mismatch": (
        "pepper_missing",
        "critical",
        "Restore the file STORE.pepper beside the store, or set DWELL_PEPPER to its text.",
    ),
    "pepper_of_database": (
        "pepper_missing",
        "critical",
        "Set DWELL_PEPPER to the pepper that the store was made with; a database has no file beside it to hold one.",
    ),
    "pepper_permissions": ("pepper_missing", "critical", "Run: chmod 600 STORE.pepper"),
}


def unopened(code: str, message: str, hint: str, *, now: float) -> Diagnosis:
    """Return the diagnosis of a store that can not be opened.

    Args:
        code: "corrupt", "schema_newer", "schema_older", "pepper_of_database", or that of the error that was raised.
        message: What it said.
        hint: What it said to do, for errors that are not known here.
        now: UTC epoch seconds.
    """
    known = _IN_THE_WAY.get(code)
    found: Finding = (
        finding("store_unusable", "critical", message, hint or "`dwell inspect STORE` says more.", {"error": code})
        if known is None
        else finding(known[0], known[1], message, known[2], {"error": code})
    )
    looked = Looked("opening", "Can the store be opened?", f"no: {message}")
    return Diagnosis((found,), (looked,), "No: the store can not be opened, so nothing was looked at.", 0, now)
