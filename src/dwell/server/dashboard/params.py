"""Params: the weights now and proposed, how they got there, and two versions compared on the same lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from starlette.responses import Response

from dwell.records import GateDecision, Params
from dwell.server.dashboard.comparing import MOST_LISTS, Comparison, compared
from dwell.server.dashboard.ledger import moves, standing_of
from dwell.server.dashboard.trajectories import Version, charts_of, read_bound, version_of
from dwell.server.dashboard.visit import Visit
from dwell.storage import Reader

__all__ = ["Weight", "show", "weights_of"]

_MOST_VERSION: Final = 2**53
_MOST_LISTED: Final = 20
_MOST_WEIGHTS: Final = 100
_READ: Final = 4 * MOST_LISTS  # newest events looked through for lists with features


class Weight(NamedTuple):
    """A feature's weight in two versions.

    Attributes:
        name: The feature, or what stands for the starting ranker's score.
        live: Its weight in the live version; None where it has none.
        proposed: Its weight in the other one.
        is_feature: Whether it is a feature of documents; else it is the starting ranker.
    """

    name: str
    live: float | None
    proposed: float | None
    is_feature: bool = True

    @property
    def change(self) -> float | None:
        """How far it moved, or None where one of the two has none."""
        return None if self.live is None or self.proposed is None else self.proposed - self.live


async def show(visit: Visit) -> Response:
    """Show the weights."""
    chosen = [visit.number(name, -1, low=0, high=_MOST_VERSION) for name in ("first", "second")]
    return await visit.show("params.html", partial(_context, visit, chosen[0], chosen[1]))


def _context(visit: Visit, first: int, second: int) -> Mapping[str, Any]:
    loop = visit.loop
    loop.refresh()
    live, proposed, history = loop.params, loop.proposed, loop.history()
    with loop.facts() as reader:
        numbers = reader.params_versions()
        versions = _read(reader, numbers, read_bound(len(live.weights)))
    if first < 0:
        first = live.version
    if second < 0:
        second = _other(live, proposed, numbers, history)
    weights = weights_of(live, proposed)
    return {
        "live": live,
        "proposed": proposed,
        "standing": standing_of(live.version, history),
        "weights": weights[:_MOST_WEIGHTS],
        "n_weights": len(weights),
        "span": max(
            (abs(v) for w in weights if w.is_feature for v in (w.live, w.proposed) if v is not None), default=1.0
        ),
        "are_of_one_unit": proposed is None or (live.transform is None) == (proposed.transform is None),
        "charts": charts_of(versions, history, len(numbers)) if len(versions) > 1 else [],
        "versions": versions[::-1][:_MOST_LISTED],
        "n_versions": len(numbers),
        "verdicts": {d.proposed_version: d for d in history if d.kind != "evaluated"},
        "first": first,
        "second": second,
        "choices": _choices(numbers, {first, second}),
        # made only where it is shown: not when the part above is fetched anew
        "compare": partial(_compare, visit, first, second),
    }


def _read(reader: Reader, numbers: Sequence[int], most: int) -> list[Version]:
    """Return the newest versions, ascending; of the maps of their features no more than two are held at a time."""
    found: list[Version] = []
    before: Params | None = None
    for number in numbers[-most:]:
        params = reader.params(number)
        if params is None:
            continue
        parent = before if before is not None and before.version == params.parent else None
        if parent is None and params.parent is not None and params.parent != number:
            parent = reader.params(params.parent)
        found.append(version_of(params, parent))
        before = params
    return found


def weights_of(live: Params, proposed: Params | None) -> list[Weight]:
    """Return every weight of the live version beside the proposal's, the largest in either first."""
    other: Mapping[str, float] = {} if proposed is None else proposed.weights
    names = dict.fromkeys([*live.weights, *other])
    found = [Weight(name, live.weights.get(name), other.get(name)) for name in names]
    found.sort(key=lambda one: -max(abs(value) for value in (one.live, one.proposed) if value is not None))
    start = [None if one is None or one.raw_score is None else one.raw_score.coefficient for one in (live, proposed)]
    if any(value is not None for value in start):
        found.insert(0, Weight("the starting ranker's score", start[0], start[1], is_feature=False))
    return found


def _other(live: Params, proposed: Params | None, numbers: Sequence[int], history: Sequence[GateDecision]) -> int:
    """Return the version that is worth comparing the live one with: the proposal, else the last live one, else any."""
    if proposed is not None and proposed.version != live.version:
        return proposed.version
    earlier = [d.proposed_version for d in reversed(moves(history)) if d.proposed_version != live.version]
    others = [number for number in (*earlier, *reversed(numbers)) if number != live.version]
    return others[0] if others else live.version


def _choices(numbers: Sequence[int], chosen: set[int]) -> list[int]:
    return sorted({*numbers[-200:], *(chosen & set(numbers))}, reverse=True)


def _compare(visit: Visit, first: int, second: int) -> Comparison:
    loop = visit.loop
    one, other = loop.version(first), loop.version(second)
    with loop.facts() as reader:
        lists = reader.impressions(reader.seqs(limit=_READ, newest_first=True))
    return compared([found for found in lists if found.has_features][:MOST_LISTS], one, other)
