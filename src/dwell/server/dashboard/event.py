"""One event: why it is ranked as it is, what it earned and for what, and what became of the experience."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from dwell.loop.why import Inspection, RankedDocument
from dwell.reward.parts import DocumentCredit
from dwell.server.dashboard.visit import Visit

__all__ = ["Lean", "Place", "Reasons", "leans_of", "place_of", "reasons_of", "show", "shown_of"]

_MOST_REASONS: Final = 3
_WORTH_TELLING: Final = 0.05  # standard deviations of the list's scores: below it a feature decided nothing here
_MOST_OTHERS: Final = 20
_MOST_PLACES: Final = 100  # a list may have tens of thousands: nobody reads on, and a page would take seconds
_MOST_BARS: Final = 40  # of a document; there may be 1,024 features
_NOTHING: Final = 1e-12


class Lean(NamedTuple):
    """A signed number as a bar from the middle of an axis, in per cent of its width.

    Attributes:
        name: What it is of.
        value: The number.
        start: Where the bar begins.
        width: How wide it is.
    """

    name: str
    value: float
    start: float
    width: float


class Reasons(NamedTuple):
    """What put a document where it is, strongest first, names and numbers as `RankedDocument.parts`.

    Attributes:
        held_up: What lifted it.
        held_down: What held it back.
    """

    held_up: list[tuple[str, float]]
    held_down: list[tuple[str, float]]


class Place(NamedTuple):
    """One document of the list, as the page tells it.

    Attributes:
        ranked: Where it stood and would stand.
        told: What the store has of it: score, propensity, exposure, reward, features, signals.
        reasons: Why it stood there.
        bars: What the strongest features lifted it by, drawn, in feature order; at most 40.
        n_features: How many features there are.
        move: Places that it would rise by under the live params; None where that is not known.
    """

    ranked: RankedDocument
    told: Mapping[str, Any]
    reasons: Reasons
    bars: list[Lean]
    n_features: int
    move: int | None


async def show(visit: Visit) -> Response:
    """Show one event; one that nobody knows is a page that says so."""
    event_id = str(visit.request.path_params["event_id"])[:600]
    found = await visit.house.pages.done(partial(visit.loop.inspect, event_id))
    story = found.story
    if story["state"] in {"quarantined", "orphan"}:
        return await visit.show("event_unserved.html", lambda: {"story": story})
    n_signals = len(story["list_signals"]) + sum(len(doc["signals"]) for doc in story["served"])
    stamp = repr((story["state"], story["version"], story["priority"], n_signals, story["is_shown"]))
    return await visit.show("event.html", partial(shown_of, found), stamp=stamp)


def shown_of(found: Inspection) -> Mapping[str, Any]:
    """Return what the page of a recorded event shows, of a long list its first hundred places."""
    story = found.story
    span = max((abs(v) for doc in found.documents for v in (doc.parts or doc.live_parts).values()), default=0.0)
    n_served = len(story["served"])
    shown = zip(found.documents[: min(n_served, _MOST_PLACES)], story["served"], strict=False)
    unserved = sorted(found.documents[n_served:], key=lambda ranked: ranked.live_place or math.inf)
    pull = None if found.fate is None or not found.fate.pull else found.fate.pull
    return {
        "story": story,
        "served_by": found.served_by,
        "live": found.live,
        "scoring": found.served_by or found.live,
        "places": [place_of(ranked, facts, span) for ranked, facts in shown],
        "n_served": n_served,
        "overtaking": [one for one in unserved if one.live_place is not None and one.live_place <= n_served],
        "n_unserved": len(unserved),
        "n_kept": len(story["served"]) + len(story["unserved"]),
        "most_others": _MOST_OTHERS,
        "rewards": found.rewards,
        "credited": _credited(found)[:_MOST_PLACES],
        "fate": found.fate,
        "pull": leans_of(pull) if pull else [],
    }


def place_of(ranked: RankedDocument, told: Mapping[str, Any], span: float) -> Place:
    """Return one document as the page tells it.

    Args:
        ranked: Where it stood and would stand.
        told: What the store has of it.
        span: Half the width of the axis on which its parts are drawn.
    """
    parts = ranked.parts or ranked.live_parts
    move = None if ranked.live_place is None or ranked.place is None else ranked.place - ranked.live_place
    strongest = set(sorted(parts, key=lambda name: -abs(parts[name]))[:_MOST_BARS])
    drawn = {name: value for name, value in parts.items() if name in strongest}
    return Place(ranked, told, reasons_of(parts), leans_of(drawn, span), len(parts), move)


def reasons_of(parts: Mapping[str, float]) -> Reasons:
    """Return the features that decided most, at most three each way; what hardly counts is left out."""
    strongest = sorted(parts.items(), key=lambda item: -abs(item[1]))
    counted = [(name, value) for name, value in strongest if abs(value) >= _WORTH_TELLING]
    return Reasons(
        [(name, value) for name, value in counted if value > 0.0][:_MOST_REASONS],
        [(name, value) for name, value in counted if value < 0.0][:_MOST_REASONS],
    )


def leans_of(parts: Mapping[str, float], span: float = 0.0) -> list[Lean]:
    """Return signed numbers as bars, in their order, on an axis from -span to span; by default as far as they reach."""
    span = span or max((abs(value) for value in parts.values()), default=0.0) or 1.0
    found = []
    for name, value in parts.items():
        width = round(50.0 * min(abs(value) / span, 1.0), 2)
        found.append(Lean(name, value, round(50.0 - width, 2) if value < 0.0 else 50.0, width))
    return found


def _credited(found: Inspection) -> Sequence[DocumentCredit]:
    """Return the documents that anything came to."""
    if found.rewards is None:
        return ()
    return [one for one in found.rewards.documents if one.by_signal or abs(one.reward) > _NOTHING]
