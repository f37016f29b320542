"""What the ledgers hold in sum, for those who ask every few seconds."""

from __future__ import annotations

from collections import Counter
from typing import Final

from dwell.loop import Loop
from dwell.records import GateDecision

__all__ = ["RESULTS", "Ledgers"]

RESULTS: Final = ("promoted", "held", "rejected", "rolled_back")
_BY_VERDICT: Final = {"promote": "promoted", "hold": "held", "reject": "rejected"}
_MOVING: Final = frozenset(
    {"judged", "requested", "forced", "rollback"}
)  # the others say how a store began, or nothing


class Ledgers:
    """What the ledger of each tenant holds, read whole only when its newest decision is another one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[GateDecision | None, Counter[str]]] = {}

    def read(self, tenant: str, loop: Loop) -> tuple[GateDecision | None, Counter[str]]:
        """Return the newest decision, and how many there are by what came of them."""
        with loop._state.store.snapshot() as reader:  # noqa: SLF001 - `history` would wait for the writer
            newest = next(iter(reader.decisions(limit=1)), None)
            known = self._known.get(tenant)
            if known is None or known[0] != newest:
                results = Counter(_result(one) for one in reader.decisions() if one.kind in _MOVING)
                known = self._known[tenant] = (newest, results)
        return known


def _result(decision: GateDecision) -> str:
    return "rolled_back" if decision.kind == "rollback" else _BY_VERDICT[decision.verdict]
