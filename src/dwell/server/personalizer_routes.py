"""The three calls of Azure Personalizer 1.0, as thin words for ours: its clients move by changing their endpoint.

An action that was answered is a list of one: it alone was shown. The ranking beyond it is what was drawn, and is no
part of what is learned from.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from dwell.errors import RecordError, RequestError
from dwell.integrations.personalizer import flattened
from dwell.loop import Loop
from dwell.loop.ids import new_event_id
from dwell.records import checks
from dwell.server.caller import caller_of
from dwell.server.refusals import refuse_one
from dwell.server.wire import EventId, Item, Name, Number, read_body

__all__ = ["PersonalizerRank", "PersonalizerRanked", "PersonalizerReward", "activate", "rank", "reward"]

_MOST_ACTIONS: Final = 1_000  # Personalizer took 50; what is kept of a list are its scores, up to 1,000
_RETRY_AFTER_S: Final = 1.0
_AT_ACTION: Final = re.compile(r"candidates\[(\d+)\](.*)", re.DOTALL)


class PersonalizerAction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One action, with its features as objects of numbers; texts are left out."""

    id: Name
    features: list[dict[str, Any]] = []


class PersonalizerRank(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Actions, one of which is to be shown."""

    actions: Annotated[list[PersonalizerAction], Meta(min_length=1, max_length=_MOST_ACTIONS)]
    context_features: list[dict[str, Any]] = []
    excluded_actions: Annotated[list[Name], Meta(max_length=_MOST_ACTIONS)] = []
    event_id: EventId | None = None
    defer_activation: bool = False


class PersonalizerChance(msgspec.Struct, frozen=True):
    """An action, and the chance that it was the one to be shown."""

    id: str
    probability: float


class PersonalizerRanked(msgspec.Struct, frozen=True, rename="camel"):
    """The action to show, and all of them: as they were drawn, then those that were excluded."""

    ranking: list[PersonalizerChance]
    event_id: str
    reward_action_id: str


class PersonalizerReward(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What came of an event, in [-1, 1]."""

    value: Number


async def rank(request: Request) -> Response:
    """Choose an action; it counts as shown, unless its activation is deferred."""
    house, caller = caller_of(request, "secret")
    asked = read_body(await request.body(), PersonalizerRank)
    loop = house.loop(caller.tenant)
    excluded = frozenset(asked.excluded_actions)
    places = [i for i, action in enumerate(asked.actions) if action.id not in excluded]
    if not places:
        raise RecordError(
            "no action is left", code="results_shape", field="excludedActions", hint="Exclude fewer actions."
        )
    rest = [action.id for action in asked.actions if action.id in excluded]
    try:
        event_id, ids, chances = await asyncio.to_thread(_chosen, loop, asked, places)
    except RecordError as error:
        raise _in_their_words(error, places) from error
    except Exception:  # noqa: BLE001 - a search must not fail because of us: their baseline, of which nothing is learned
        event_id, ids = new_event_id(), [asked.actions[i].id for i in places]
        chances = [1.0, *[0.0] * (len(ids) - 1)]
    ranking = [
        PersonalizerChance(doc, chance)
        for doc, chance in zip([*ids, *rest], [*chances, *[0.0] * len(rest)], strict=True)
    ]
    reply = PersonalizerRanked(ranking, event_id, ids[0])
    return Response(msgspec.json.encode(reply), status_code=201, media_type="application/json")


def _chosen(loop: Loop, asked: PersonalizerRank, places: Sequence[int]) -> tuple[str, list[str], list[float]]:
    """Return the event, all its actions as they were drawn, and the chance of each to come first."""
    candidates = [_candidate(asked.actions[i], loop.features) for i in places]
    query = json.dumps(asked.context_features, sort_keys=True, ensure_ascii=False) if asked.context_features else ""
    served = loop.rank(query, candidates, k=len(candidates), event_id=asked.event_id, activate=False)
    if not asked.defer_activation:
        loop.activate(served.event_id, shown=served.ids[:1], now=time.time())
    # Plackett-Luce: the chance at place i is that of coming first, among what those above have left
    left, chances = 1.0, []
    for propensity in served.propensities.tolist():
        chances.append(propensity * left)
        left = max(0.0, left - chances[-1])
    return served.event_id, served.ids, chances


def _candidate(action: PersonalizerAction, features: Sequence[str]) -> dict[str, Any]:
    found = flattened(action.features, Counter())
    return {"id": action.id, **{name: found[name] for name in features if name in found}}


def _in_their_words(error: RecordError, places: Sequence[int]) -> RecordError:
    """Return an error of a list with the field of the body that was sent."""
    at = _AT_ACTION.fullmatch(error.field or "")
    if at is not None:
        within = at[2] if at[2] == ".id" else ".features"
        error.field = f"actions[{places[int(at[1])]}]{within}"
    elif error.field == "candidates":
        error.field = "actions"
    elif error.field == "event_id":
        error.field = "eventId"
    return error


async def reward(request: Request) -> Response:
    """Tell what came of an event; answered once it is on disk."""
    house, caller = caller_of(request, "secret")
    event_id = _event_id(request)
    value = read_body(await request.body(), PersonalizerReward).value
    loop = house.loop(caller.tenant)
    item = {"event_id": event_id, "signal": "reward", "value": value}
    (result,) = await asyncio.wrap_future(loop.submit_feedback_many([item]))
    code = (result.reason or "").partition(":")[0]
    if result.status == "rejected" and code in {"overloaded", "storage", "store_closed"}:
        raise RequestError(
            "the reward was not taken", code="overloaded", retry_after_s=_RETRY_AFTER_S, hint="Send it again."
        )
    refuse_one(result, Item(event_id, "reward", value=value), loop.rewards.signals, time.time())
    return Response(status_code=204)


async def activate(request: Request) -> Response:
    """Tell that the action of a deferred event was shown."""
    house, caller = caller_of(request, "secret")
    event_id = _event_id(request)
    loop = house.loop(caller.tenant)
    await asyncio.wrap_future(loop.when_recorded(event_id))  # what was ranked a moment ago waits to be written
    shown = (loop.shown(event_id) or [])[:1]
    await asyncio.to_thread(loop.activate, event_id, shown=shown or None, now=time.time())
    return Response(status_code=204)


def _event_id(request: Request) -> str:
    return checks.event_id(request.path_params.get("event_id"), "eventId")
