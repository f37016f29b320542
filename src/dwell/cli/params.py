"""Look at what ranks now, and at how it came to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from dwell.cli.decisions import ledger_lines, params_document, units_of
from dwell.cli.options import store_argument, tenant_option
from dwell.cli.printing import bar, document, examples, fact_lines, json_option, number, plain, say, table, when
from dwell.cli.stores import reader_loop

if TYPE_CHECKING:
    from dwell.loop import Loop
    from dwell.records import GateDecision, Params

__all__ = ["history", "params"]

_START: Final = "(the starting formula)"
_SHOWN_SEGMENTS: Final = 20  # a screen


@click.command()
@store_argument
@click.option("--version", type=click.IntRange(min=0), metavar="N", help="Another version than the live one.")
@tenant_option
@json_option
@examples(
    "dwell params search.dwell",
    "dwell params search.dwell --version 3 --json",
)
def params(store: str, version: int | None, tenant: str, *, as_json: bool) -> None:
    """Show the weights that rank now.

    With their units, the largest first, and the versions that they come from.
    """
    with reader_loop(store, tenant) as loop:
        live = loop.params
        shown = live if version is None or version == live.version else loop.version(version)
        lineage = _lineage(loop, shown)
        made_live_at = _made_live_at(loop.history())
        proposed = loop.proposed
    if as_json:
        document(
            params_document(shown)
            | {
                "is_live": shown.version == live.version,
                "live_version": live.version,
                "proposed_version": None if proposed is None else proposed.version,
                "lineage": [_step(step, made_live_at) for step in lineage],
            }
        )
        return
    _say_params(shown, live, proposed)
    say()
    say("lineage, newest first")
    table(
        ("version", "origin", "made", "went live"),
        [(f"{s.version}", s.origin, when(s.created_at), when(made_live_at.get(s.version))) for s in lineage],
        right=("version",),
    )


def _say_params(shown: Params, live: Params, proposed: Params | None) -> None:
    where = "live" if shown.version == live.version else f"not live (version {live.version} is)"
    say(f"version {shown.version}, {where}")
    fact_lines(
        [
            ("origin", shown.origin if shown.parent is None else f"{shown.origin}, from version {shown.parent}"),
            ("units", units_of(shown)),
            ("temperature", number(shown.temperature)),
            ("standing proposal", "none" if proposed is None else f"version {proposed.version}"),
            *_additions(shown),
        ]
    )
    say()
    weights = list(shown.weights.items())
    if shown.raw_score is not None:
        weights.append((_START, shown.raw_score.coefficient))
    largest = max((abs(weight) for _, weight in weights), default=0.0)
    ordered = sorted(weights, key=lambda pair: (-abs(pair[1]), pair[0]))
    table(
        ("feature", "weight", ""),
        [(name, number(weight, signed=True), bar(weight, largest)) for name, weight in ordered],
        right=("weight",),
    )
    _say_segments(shown)


def _additions(shown: Params) -> list[tuple[str, object]]:
    """Return how queries are weighed otherwise than the others, if any are."""
    found: list[tuple[str, object]] = []
    if shown.by_segment:
        found.append(("weights by segment", f"of {len(shown.by_segment)} segments"))
    if shown.by_query is not None:
        low = shown.by_query
        found.append(("weights by query", f"rank {low.rank}, from embeddings of {len(low.v)} numbers"))
    return found


def _say_segments(shown: Params) -> None:
    """Print the weights of the segments that have any of their own, those furthest from the others first."""
    if not shown.by_segment:
        return
    names = [*shown.weights, *([_START] if shown.raw_score is not None else [])]
    additions = {segment: [*one.weights.values(), one.coefficient] for segment, one in shown.by_segment.items()}
    furthest = sorted(additions, key=lambda segment: (-math.hypot(*additions[segment]), segment))
    start = [0.0] if shown.raw_score is None else [shown.raw_score.coefficient]
    own = {
        segment: [w + a for w, a in zip([*shown.vector, *start], additions[segment], strict=True)]
        for segment in furthest
    }
    say()
    say(f"weights by segment, those furthest from the others first{_left_out(furthest)}")
    table(
        ("segment", *map(plain, names)),
        [
            (plain(segment), *(number(weight, signed=True) for weight in own[segment][: len(names)]))
            for segment in furthest[:_SHOWN_SEGMENTS]
        ],
        right=tuple(map(plain, names)),
    )


def _left_out(segments: Sequence[str]) -> str:
    more = len(segments) - _SHOWN_SEGMENTS
    return f"; {more} more in --json" if more > 0 else ""


def _lineage(loop: Loop, start: Params) -> list[Params]:
    found = [start]
    seen = {start.version}
    while found[-1].parent is not None and found[-1].parent not in seen:
        found.append(loop.version(found[-1].parent))
        seen.add(found[-1].version)
    return found


def _made_live_at(decisions: Sequence[GateDecision]) -> dict[int, float]:
    return {d.proposed_version: d.decided_at for d in decisions if d.verdict == "promote"}


def _step(version: Params, made_live_at: dict[int, float]) -> dict[str, Any]:
    return {
        "version": version.version,
        "origin": version.origin,
        "created_at": version.created_at or None,
        "live_at": made_live_at.get(version.version),
    }


@click.command()
@store_argument
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest so many decisions.")
@tenant_option
@json_option
@examples(
    "dwell history search.dwell",
    "dwell history search.dwell --limit 5 --json",
)
def history(store: str, limit: int | None, tenant: str, *, as_json: bool) -> None:
    """Show every decision of the gate.

    Oldest first, each with its reasons, the difference with its interval, the events behind it and the alpha spent.
    """
    with reader_loop(store, tenant) as loop:
        decisions = loop.history()
    first = 0 if limit is None else max(0, len(decisions) - limit)
    if as_json:
        document([{"number": i + 1, "decision": decisions[i]} for i in range(first, len(decisions))])
        return
    say(f"{len(decisions)} decisions in {plain(store)}")
    for i in range(first, len(decisions)):
        ledger_lines(i + 1, decisions[i])
