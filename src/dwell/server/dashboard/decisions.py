"""Decisions: the ledger with its intervals and reasons, what is being judged now, and what may be done by hand."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from dwell.records import GateDecision
from dwell.server.dashboard.charts import Whisker, whisker
from dwell.server.dashboard.ledger import moves, standing_of
from dwell.server.dashboard.visit import Visit

__all__ = ["Entry", "Reason", "entry_of", "show"]

_A_PAGE: Final = 25
_MOST_REASONS: Final = 12


class Reason(NamedTuple):
    """One reason of a decision.

    Attributes:
        code: Its code; docs/gate.md says what to do about each.
        words: The rest.
    """

    code: str
    words: str


class Entry(NamedTuple):
    """One decision as a page shows it.

    Attributes:
        number: Its place in the ledger, from 1.
        decision: The decision.
        reasons: Its reasons, taken apart.
        interval: The difference, drawn; None where nothing was measured.
        title: What happened, in words.
    """

    number: int
    decision: GateDecision
    reasons: list[Reason]
    interval: Whisker | None
    title: str


async def show(visit: Visit) -> Response:
    """Show the ledger, newest first."""
    page = visit.number("page", 1, low=1, high=1_000_000)
    verdict = visit.asked("verdict")
    return await visit.show("decisions.html", partial(_context, visit, page, verdict))


def _context(visit: Visit, page: int, verdict: str) -> Mapping[str, Any]:
    loop = visit.loop
    loop.refresh()
    history = loop.history()
    numbered = [(i, d) for i, d in enumerate(history, start=1) if verdict in {"", d.verdict}][::-1]
    n_pages = max(1, math.ceil(len(numbered) / _A_PAGE))
    page = min(page, n_pages)
    shown = numbered[(page - 1) * _A_PAGE : page * _A_PAGE]
    span = _span([decision for _, decision in shown])
    live, proposed = loop.params.version, loop.proposed
    judged = None
    if proposed is not None:
        judged = next((d for d in reversed(history) if d.proposed_version == proposed.version), None)
    return {
        "entries": [entry_of(number, decision, span) for number, decision in shown],
        "span": span,
        "page": page,
        "n_pages": n_pages,
        "verdict": verdict,
        "n_by_verdict": {v: sum(d.verdict == v for d in history) for v in ("promote", "hold", "reject")},
        "standing": standing_of(live, history),
        "live": live,
        "mode": loop.mode,
        "proposed": None if proposed is None else proposed.version,
        "judged": None if judged is None else entry_of(0, judged, _span([judged])),
        "earlier": _earlier(history, live),
    }


def _earlier(history: Sequence[GateDecision], live: int) -> list[GateDecision]:
    """Return the decisions that made other versions live, newest first, each version once."""
    found: dict[int, GateDecision] = {}
    for decision in reversed(moves(history)):
        if decision.proposed_version != live:
            found.setdefault(decision.proposed_version, decision)
    return list(found.values())[:10]


def entry_of(number: int, decision: GateDecision, span: float) -> Entry:
    """Return a decision as pages show it, its interval on an axis from -span to span."""
    reasons = [Reason(*_apart(reason)) for reason in decision.reasons[:_MOST_REASONS]]
    difference = decision.difference
    interval = whisker(difference.value, difference.low, difference.high, span) if difference.n else None
    return Entry(number, decision, reasons, interval, _title(decision))


def _apart(reason: str) -> tuple[str, str]:
    code, _, words = reason.partition(":")
    return code.strip(), words.strip()


def _span(decisions: Sequence[GateDecision]) -> float:
    """Return half the width of an axis for these intervals, 0 in its middle: thrice the median of their farther ends.

    So one planted mistake does not shrink all others to dots; what reaches beyond is cut, and its figures say how far.
    """
    measured = [d.difference for d in decisions if d.difference.n]
    ends = [max(abs(end) for end in (e.low, e.high, e.value) if math.isfinite(end)) for e in measured]
    return 3.0 * statistics.median(ends) if any(ends) else 1.0


def _title(decision: GateDecision) -> str:
    new, old = decision.proposed_version, decision.safe_version
    by_kind = {
        "forced": f"Version {new} went live by force, in place of version {old}",
        "rollback": f"Back from version {old} to version {new}",
        "initial": f"Version {new} went live to begin with",
        "evaluated": f"Version {new} was judged on demand; nothing moved",
    }
    by_verdict = {
        "promote": f"Version {new} went live in place of version {old}",
        "hold": f"Version {new} is not live: more evidence is needed",
        "reject": f"Version {new} was given up",
    }
    return by_kind.get(decision.kind) or by_verdict[decision.verdict]
