"""Look into a store: what is in it, or all that is known of one event."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from dwell.cli.options import store_argument, tenant_option
from dwell.cli.printing import (
    NOTHING,
    document,
    examples,
    fact_lines,
    json_option,
    number,
    plain,
    say,
    shortened,
    table,
    when,
)
from dwell.cli.stores import facts

if TYPE_CHECKING:
    from dwell.storage import Reader

__all__ = ["inspect"]

_MOST_SHOWN: Final = 5  # documents named in a line of the summary
_QUARANTINED_SHOWN: Final = 20


@click.command()
@store_argument
@click.argument("event_id", required=False)
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="Newest events to list.")
@tenant_option
@json_option
@examples(
    "dwell inspect search.dwell",
    "dwell inspect search.dwell --limit 50 --json",
    "dwell inspect search.dwell 0191c7a2-7d1e-7bb0-a4c5-52f1f1d1a3f0",
)
def inspect(store: str, event_id: str | None, limit: int, tenant: str, *, as_json: bool) -> None:
    """Look into a store, or at one event.

    Without EVENT_ID: facts of the store, counts, the newest events, what was quarantined and why. With it: the whole
    list as it was served, with scores, propensities, features, reactions and rewards.
    """
    with facts(store, tenant) as reader:
        found = _summary(reader, store, tenant, limit) if event_id is None else _story(reader, event_id)
    if as_json:
        document(found)
    elif event_id is None:
        _say_summary(found)
    elif found["state"] in {"quarantined", "orphan"}:
        _say_unserved(found)
    else:
        _say_event(found)


# ---- the summary


def _summary(reader: Reader, store: str, tenant: str, limit: int) -> dict[str, Any]:
    from dwell.storage.upgrading import due_version

    live_version = reader.live_version() or 0
    live = reader.params(live_version)
    return {
        "store": {
            "path": store,
            "size_bytes": reader.size_bytes(),
            "schema_version": due_version(store),  # a store of another version does not open
            "tenant": tenant,
            "features": [] if live is None else list(live.feature_names),
            "live_version": live_version,
            "n_segments_of_their_own": 0 if live is None else len(live.by_segment),
            "query_rank": 0 if live is None or live.by_query is None else live.by_query.rank,
            "versions": reader.params_versions(),
            "n_decisions": len(reader.decisions()),
        },
        "examination": _examination(reader),
        "counts": reader.counts(),
        "events": _newest(reader, limit),
        "quarantined": [
            {"event_id": q.event_id, "at": q.at, "reason": q.reason}
            for q in reader.quarantined(limit=_QUARANTINED_SHOWN)
        ],
    }


def _examination(reader: Reader) -> dict[str, Any] | None:
    """Return the examination that was measured here and taken over, with 95 % intervals; None where none was."""
    import numpy as np

    from dwell.loop.examining import kept_examination

    found = kept_examination(reader)
    if found is None:
        return None
    values, errors = np.array(found.values), np.array(found.se)
    band = np.exp(1.959963984540054 * errors / values)  # two-sided 95 % on log theta
    return {
        "source": found.source,
        "version": found.version,
        "n_lists": found.n_lists,
        "values": values.tolist(),
        "low": (values / band).tolist(),
        "high": np.minimum(values * band, 1.0).tolist(),
        "is_monotone": bool((np.diff(values) <= 0.0).all()),
    }


def _newest(reader: Reader, limit: int) -> list[dict[str, Any]]:
    seqs = reader.seqs(limit=limit, newest_first=True)
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
    signals = reader.signals(seqs)
    return [
        {
            "event_id": impression.event_id,
            "served_at": impression.served_at,
            "state": outcomes[impression.seq].state,
            "query": impression.query,
            "user": impression.user,
            "served": list(impression.served),
            "signals": dict(Counter(signal.name for signal in signals.get(impression.seq, []))),
            "reward": outcomes[impression.seq].reward,
        }
        for impression in reader.impressions(seqs)
        if impression.seq in outcomes
    ]


def _say_summary(found: Mapping[str, Any]) -> None:
    store = found["store"]
    say(f"{plain(store['path'])}")
    fact_lines(
        [
            ("size", f"{store['size_bytes']:,} bytes"),
            ("schema version", store["schema_version"]),
            ("tenant", store["tenant"] or "(default)"),
            ("features", ", ".join(store["features"]) or NOTHING),
            ("live", f"version {store['live_version']} of {len(store['versions'])}; {store['n_decisions']} decisions"),
            ("examination", _examination_text(found["examination"])),
        ]
    )
    say()
    say("counts")
    fact_lines(found["counts"].items())
    if found["events"]:
        say()
        say("newest events")
        table(("served", "event", "state", "query", "shown", "signals", "reward"), map(_line, found["events"]))
    if found["quarantined"]:
        say()
        say("quarantined, newest first")
        table(
            ("at", "event", "reason"),
            [(when(q["at"]), q["event_id"], shortened(q["reason"], 100)) for q in found["quarantined"]],
        )


def _examination_text(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "assumed, as the settings say"
    values = " ".join(f"{value:.2f}" for value in found["values"])
    order = "" if found["is_monotone"] else ", rising somewhere"
    return f"{values}{order}, by {found['source']} over {found['n_lists']:,} lists"


def _line(event: Mapping[str, Any]) -> tuple[str, ...]:
    served: Sequence[str] = event["served"]
    more = f" +{len(served) - _MOST_SHOWN}" if len(served) > _MOST_SHOWN else ""
    shown = " ".join(shortened(doc, 16) for doc in served[:_MOST_SHOWN])
    signals = " ".join(f"{name} x{n}" for name, n in event["signals"].items())
    return (
        when(event["served_at"]),
        event["event_id"],
        event["state"],
        shortened(event["query"], 40),
        f"{shown}{more}",
        shortened(signals, 40) or NOTHING,
        number(event["reward"], signed=True),
    )


# ---- one event


def _story(reader: Reader, event_id: str) -> dict[str, Any]:
    from dwell.loop.event_story import event_story

    return event_story(reader, event_id)


def _say_unserved(found: Mapping[str, Any]) -> None:
    say(f"event {plain(found['event_id'])}")
    if found["state"] == "quarantined":
        say("  quarantined: it was served in the caller's order, and nothing is learned from it")
        fact_lines([(when(r["at"]), r["reason"]) for r in found["reasons"]])
    else:
        say("  never recorded here; these reactions wait for it")
        _say_signals(found["signals"])


def _say_event(found: Mapping[str, Any]) -> None:
    say(f"event {plain(found['event_id'])}")
    drawn = "deterministic" if found["is_deterministic"] else f"temperature {number(found['temperature'])}"
    if found["teams"]:
        drawn = f"teams {' '.join('+' if t > 0 else '-' if t < 0 else '0' for t in found['teams'])}: not learned from"
    altered = ", altered: not learned from" if found["is_altered"] else ""
    arm = found["arm"]
    if found["swap_pair"]:
        shown = "the other way round" if found["is_swapped"] else "as it stood"
        arm += f" (positions {found['swap_pair']} and {found['swap_pair'] + 1}, shown {shown}: never judges)"
    fact_lines(
        [
            ("query", shortened(found["query"], 200)),
            ("served", when(found["served_at"])),
            ("state", f"{found['state']}{'' if found['is_shown'] else ', not shown yet'}{altered}"),
            ("closed", when(found["closed_at"])),
            ("user", found["user"] or NOTHING),
            ("segment", found["segment"] or NOTHING),
            ("ordered by", f"{found['policy']}, mode {found['mode']}, arm {arm}, {drawn}"),
            ("params version", found["params_version"]),
            *_own_weights_fact(found),
            ("candidates", f"{found['n_candidates']}, of which {len(found['unserved'])} unserved are kept"),
            ("reward", _reward_text(found)),
            ("priority", number(found["priority"])),
        ]
    )
    say()
    names: list[str] = found["features"]
    heads = ("rank", "doc", "score", "propensity", "exposure", "reward", "signals", *map(plain, names))
    table(
        heads,
        [_document_line(doc, names) for doc in found["served"]],
        right=("rank", "score", "propensity", "exposure", "reward", *map(plain, names)),
    )
    if found["list_signals"]:
        say()
        say("about the whole list")
        _say_signals(found["list_signals"])


def _reward_text(found: Mapping[str, Any]) -> str:
    if found["reward"] is None:
        return "not computed yet"
    return f"{number(found['reward'], signed=True)} by {found['reward_version']}, computed {found['version']} times"


def _own_weights_fact(found: Mapping[str, Any]) -> list[tuple[str, object]]:
    own = found["own_weights"]
    words = ", ".join(f"{plain(name)} {number(weight, signed=True)}" for name, weight in (own or {}).items())
    return [("its own weights", words)] if own else []


def _document_line(doc: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    signals = " ".join(f"{signal['name']}={number(signal['value'])}" for signal in doc["signals"])
    return (
        str(doc["rank"]),
        doc["id"],
        number(doc["score"]),
        number(doc["propensity"]),
        number(doc["exposure"]),
        number(doc["reward"], signed=True),
        signals or NOTHING,
        *(number(doc["features"].get(name)) for name in names),
    )


def _say_signals(signals: Sequence[Mapping[str, Any]]) -> None:
    table(
        ("at", "signal", "value", "doc"),
        [(when(s["at"]), s["name"], number(s["value"]), s.get("doc") or NOTHING) for s in signals],
        right=("value",),
    )
