"""Activation: how well each item is remembered, until when, and why; pinned and forgotten by hand."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import numpy as np
from starlette.responses import Response

from dwell.activation import Explanation
from dwell.config import NEVER_FORGET_NATS
from dwell.errors import RequestError
from dwell.loop.item_activation import ItemActivation
from dwell.server.dashboard.charts import Chart, Line
from dwell.server.dashboard.visit import Visit
from dwell.server.recent_lists import seen_lists
from dwell.storage import Reader

__all__ = ["Remembered", "Rung", "change", "confirm_forgetting", "fading", "forget", "rungs_of", "show", "show_item"]

_MOST: Final = 20
_LISTS: Final = 200  # newest lists in which an item is looked for: 40 ms
_MOST_LISTS: Final = 20
_SHOWN_BEFORE_FORGETTING: Final = 100
_AT_ONCE: Final = 500  # items that are forgotten by one deed: each one's date is looked at again first
_US: Final = 1_000_000
_FAR_US: Final = 2**62
# From a minute to a year, evenly in their logarithm: a power law falls fastest at first
_AHEAD_S: Final = tuple(float(age) for age in np.geomspace(60.0, 31_536_000.0, 40))


class Remembered(NamedTuple):
    """One item of a list of items.

    Attributes:
        item: Its id.
        activation: In nats.
        forget_at: UTC epoch seconds from which on it may be forgotten; None for never.
    """

    item: str
    activation: float
    forget_at: float | None


class Rung(NamedTuple):
    """How much of what is remembered is of one timescale.

    Attributes:
        half_life_s: Of the scale; infinite for the plain count.
        reward: Share of the reward, in [0, 1].
        exposure: Share of the exposure, in [0, 1].
    """

    half_life_s: float
    reward: float
    exposure: float


async def show(visit: Visit) -> Response:
    """Show what is remembered of all items, or lead to the one that was asked for."""
    item = visit.asked("item").strip()
    if item:
        return visit.go(f"/dashboard/activation/item?{urlencode({'id': item})}")
    return await visit.show("activation.html", partial(_context, visit))


def _context(visit: Visit) -> Mapping[str, Any]:
    activation = visit.loop.activation
    if activation is None:
        return {"overview": None}
    overview = activation.overview(now=visit.now, is_exact=False)
    with visit.loop.facts() as reader:
        soonest = reader.forgettable(_FAR_US, limit=_MOST)
    return {
        "overview": overview,
        "ladder": overview.ladder,
        "most_counted": 10_000,
        "strongest": _strongest(activation, visit.now),
        "soonest": _remembered(activation, soonest, visit.now),
    }


def _strongest(activation: ItemActivation, now: float) -> list[Remembered]:
    items = activation.items()
    if not items:
        return []
    scores = activation.scores(items, now=now)
    best = sorted(range(len(items)), key=lambda i: (-float(scores[i]), items[i]))[:_MOST]
    chosen = [items[i] for i in best]
    dates = activation.forget_dates(chosen)
    return [Remembered(items[i], float(scores[i]), date) for i, date in zip(best, dates, strict=True)]


def _remembered(activation: ItemActivation, soonest: Sequence[tuple[str, int]], now: float) -> list[Remembered]:
    if not soonest:
        return []
    scores = activation.scores([item for item, _ in soonest], now=now).tolist()
    return [Remembered(item, score, at / _US) for (item, at), score in zip(soonest, scores, strict=True)]


def _forget_at(explained: Explanation) -> float | None:
    return None if explained.forget_us is None else explained.forget_us / _US


async def show_item(visit: Visit) -> Response:
    """Show everything that went into one item's activation."""
    item = visit.asked("id")
    activation = _activation(visit)
    explained = await visit.house.pages.done(partial(activation.explain, item, now=visit.now))
    stamp = repr((explained.last_us, explained.is_pinned, explained.reward_mass > 0.0))
    return await visit.show("activation_item.html", partial(_item, visit, activation, item), stamp=stamp)


def _item(visit: Visit, activation: ItemActivation, item: str) -> Mapping[str, Any]:
    explained = activation.explain(item, now=visit.now)
    instants = [visit.now, *(visit.now + age for age in _AHEAD_S)]
    base = [float(activation.base_levels([item], now=at)[0]) for at in instants]
    scores = [float(activation.scores([item], now=at)[0]) for at in instants]
    threshold = None if explained.threshold == NEVER_FORGET_NATS else explained.threshold
    with visit.loop.facts() as reader:
        lists = _showing(reader, visit, item)
    return {
        "item": item,
        "explained": explained,
        "is_known": explained.last_us is not None,
        "last_at": None if explained.last_us is None else explained.last_us / _US,
        "forget_at": _forget_at(explained),
        "threshold": threshold,
        "expected": math.exp(min(explained.activation, 0.0)),
        "rungs": rungs_of(explained),
        "chart": fading(instants, scores, base, threshold),
        "lists": lists[:_MOST_LISTS],
        "n_looked": _LISTS,
    }


def rungs_of(explained: Explanation) -> list[Rung]:
    """Return the timescales that hold anything worth showing, from the fastest to the slowest."""
    found = [Rung(share.half_life_s, share.reward, share.exposure) for share in explained.timescales]
    return [rung for rung in reversed(found) if max(rung.reward, rung.exposure) >= 0.001]


def fading(instants: Sequence[float], scores: Sequence[float], base: Sequence[float], threshold: float | None) -> Chart:
    """Return how an item is remembered from now on, if nothing happens to it.

    Args:
        instants: UTC epoch seconds, ascending, now first.
        scores: Activation at each, in nats.
        base: Base level at each, in nats.
        threshold: Base level below which it may be forgotten; None for never.
    """
    lines = [Line("base level", base), Line("activation", scores)]
    if threshold is not None:
        lines.append(Line("threshold", [threshold] * len(instants)))
    says = "Nobody ever liked it."
    if math.isfinite(base[0]):
        says = f"If nothing happens to it, its base level falls from {base[0]:.2f} now to {base[-1]:.2f} in a year."
    says += f" Its activation goes from {scores[0]:.2f} to {scores[-1]:.2f}: evidence fades, for it and against it."
    return Chart("What becomes of it", says, instants, lines, "nats", x_name="instant")


def _showing(reader: Reader, visit: Visit, item: str) -> list[tuple[Any, int]]:
    """Return the newest lists that showed an item, with its place in them."""
    seqs = reader.seqs(limit=_LISTS, newest_first=True)
    places = {i.seq: i.served.index(item) + 1 for i in reader.impressions(seqs) if item in i.served}
    loop = visit.loop
    salt = loop._state.identity.naming_salt  # noqa: SLF001 - names are told
    return [(seen, places[seen.seq]) for seen in seen_lists(reader, list(places), loop.rewards, salt)]


async def change(visit: Visit) -> Response:
    """Pin an item, or let go of it."""
    fields = await visit.form()
    item, action = fields.get("item", ""), fields.get("action", "")
    activation = _activation(visit)
    deeds = {"pin": activation.pin, "unpin": activation.unpin}
    if action not in deeds:
        raise RequestError("there is no such deed", code="not_found", field="action", hint="Use the page's own form.")
    await asyncio.to_thread(deeds[action], [item])
    return visit.go(f"/dashboard/activation/item?{urlencode({'id': item})}")


async def confirm_forgetting(visit: Visit) -> Response:
    """Show what would be forgotten, and ask for it once more."""
    activation = _activation(visit)
    look = partial(activation.forget, now=visit.now, limit=_AT_ONCE, dry_run=True)
    found = await visit.house.pages.done(look)
    shown = found.items[:_SHOWN_BEFORE_FORGETTING]
    context = {"shown": shown, "n": len(found.items), "has_more": found.has_more}
    return await visit.show("forget.html", lambda: context, stamp=str(len(found.items)))


async def forget(visit: Visit) -> Response:
    """Forget what is below the threshold, and show what is left."""
    await visit.form()
    await asyncio.to_thread(_activation(visit).forget, now=visit.now, limit=_AT_ONCE, dry_run=False)
    return visit.go("/dashboard/activation")


def _activation(visit: Visit) -> ItemActivation:
    found = visit.loop.activation
    if found is None:
        raise RequestError(
            "this store keeps no activation", code="not_found", hint='Open it with learner = "both" or "activation".'
        )
    return found
