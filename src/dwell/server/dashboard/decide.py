"""Promote or roll back by hand: first a page that says what it means, then the deed, which the ledger records."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from dwell.errors import PromotionRefused, RequestError, StaleParamsError
from dwell.records import GateDecision
from dwell.server.dashboard.decisions import Entry, entry_of
from dwell.server.dashboard.ledger import standing_of
from dwell.server.dashboard.params import weights_of
from dwell.server.dashboard.visit import Visit

__all__ = ["carry_out", "confirm"]

_JUDGING_S: Final = 50.0  # below the guard's minute, so that the page says why
_ACTIONS: Final = ("promote", "rollback")


async def confirm(visit: Visit) -> Response:
    """Show what a deed means and ask for it once more."""
    action = visit.asked("action")
    version = visit.number("version", 0, low=0, high=2**53)
    return await visit.show("decide.html", partial(_question, visit, action, version))


def _question(visit: Visit, action: str, version: int, refused: Entry | None = None) -> Mapping[str, Any]:
    if action not in _ACTIONS:
        raise _no_such_deed(action)
    loop = visit.loop
    loop.refresh()
    params, live, history = loop.version(version), loop.params, loop.history()
    judged = next((d for d in reversed(history) if d.proposed_version == version and d.kind != "forced"), None)
    return {
        "action": action,
        "version": version,
        "live": live.version,
        "standing": standing_of(live.version, history),
        "weights": [(one.name, one.live, one.proposed) for one in weights_of(live, params)],
        "scales": [("raw values" if one.transform is None else "standard deviations") for one in (live, params)],
        "judged": None if judged is None else entry_of(0, judged, _half(judged.difference.low, judged.difference.high)),
        "refused": refused,
    }


def _half(low: float, high: float) -> float:
    return max(abs(low), abs(high))


async def carry_out(visit: Visit) -> Response:
    """Do it, and show the ledger; where the gate refuses, show why and what forcing it would mean."""
    fields = await visit.form()
    action, version = fields.get("action", ""), _whole(fields, "version")
    live = visit.loop.params.version
    if _whole(fields, "expected_version") != live:
        raise StaleParamsError(
            f"version {live} is live by now", field="expected_version", value=fields.get("expected_version"),
            hint="Look at the ledger again, then decide.",
        )  # fmt: skip
    if action == "rollback":
        await asyncio.to_thread(visit.loop.rollback, version)
    elif action == "promote":
        asked = {"version": version, "force": fields.get("force") == "yes"}
        try:
            await visit.house.calls.call("promote", visit.tenant, asked, timeout_s=_JUDGING_S)
        except PromotionRefused as refused:
            decision = refused.decision
            if not isinstance(decision, GateDecision):
                raise
            entry = entry_of(0, decision, _half(decision.difference.low, decision.difference.high))
            question = partial(_question, visit, action, version, entry)
            return await visit.show("decide.html", question, status=409)
        visit.loop.refresh()
    else:
        raise _no_such_deed(action)
    return visit.go("/dashboard/decisions")


def _whole(fields: Mapping[str, str], name: str) -> int:
    text = fields.get(name, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise RequestError(f"{name} is a whole number", code="not_found", field=name, hint="Use the page's own form.")
    return int(text)


def _no_such_deed(action: str) -> RequestError:
    return RequestError(
        "there is no such deed", code="not_found", field="action", value=action[:40], hint="Promote, or roll back."
    )
