"""A loop's experience in the shape of User Behavior Insights, as OpenSearch bulk lines.

What the schema has no field for stands in `query_attributes` under names that begin with `dwell.`, as text, since the
OpenSearch plugin takes nothing else there. A reaction's value is `dwell.value` in `event_attributes`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from dwell.integrations.ubi.lists import SEGMENT
from dwell.integrations.ubi.meanings import VALUE
from dwell.loop import Loop
from dwell.loop.whole_file import write_whole
from dwell.records import Experience, Signal

__all__ = ["export_ubi", "lines_of", "write_ubi"]

APPLICATION: Final = "dwell"


def export_ubi(loop: Loop, path: Path) -> int:
    """Write every list and every reaction to a new file of bulk lines, and return how many lists.

    Importing it into another store gives the same lists under the same names with the same reactions. Users are
    pseudonyms, as in the store. Lists that were never shown are left out.

    Raises:
        ConfigError: A path that is taken or can not be written.
    """
    return write_ubi(loop.experiences(), loop.signals, path)


def write_ubi(experiences: Iterable[Experience], signals: Callable[[str], Sequence[Signal]], path: Path) -> int:
    """Write experiences with their reactions as `export_ubi` does, and return how many lists.

    Args:
        experiences: What was served.
        signals: Gives the reactions to a list by its event id.
        path: The file.

    Raises:
        ConfigError: A path that is taken or can not be written.
    """
    shown = (experience for experience in experiences if experience.state != "not_shown")
    return write_whole(path, (lines_of(experience, signals(experience.event_id)) for experience in shown))


def lines_of(experience: Experience, signals: Sequence[Signal]) -> bytes:
    """Return one experience as bulk lines: its query, an impression per document, and its reactions one by one."""
    lines = [*_bulk("ubi_queries", experience.event_id, _query(experience))]
    for n, event in enumerate(_events(experience, signals)):
        lines += _bulk("ubi_events", f"{experience.event_id}:{n}", event)
    return b"\n".join(lines) + b"\n"


def _bulk(index: str, identity: str, body: dict[str, Any]) -> tuple[bytes, bytes]:
    return msgspec.json.encode({"index": {"_index": index, "_id": identity}}), msgspec.json.encode(body)


def _instant(at: float) -> str:
    """Return an instant as ISO 8601 in UTC, to the microsecond: what a store keeps."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _query(experience: Experience) -> dict[str, Any]:
    attributes = {
        "dwell.params_version": str(experience.params_version),
        "dwell.policy": experience.policy,
        "dwell.arm": experience.arm,
        "dwell.mode": experience.mode,
        "dwell.temperature": repr(experience.temperature),
        "dwell.keep_probability": repr(experience.keep_probability),
        "dwell.propensities": json.dumps(list(experience.propensities)),
    }
    if experience.segment is not None:
        attributes[SEGMENT] = experience.segment
    return _without_none(
        {
            "application": APPLICATION,
            "query_id": experience.event_id,
            "client_id": experience.user,
            "user_query": experience.query,
            "query_attributes": attributes,
            "query_response_id": experience.event_id,
            "query_response_hit_ids": [shown["id"] for shown in experience.results_served],
            "timestamp": _instant(experience.timestamp),
        }
    )


def _events(experience: Experience, signals: Sequence[Signal]) -> Iterator[dict[str, Any]]:
    at = experience.timestamp
    ranks = {}
    for shown in experience.results_served:
        ranks[shown["id"]] = shown["rank"]
        thing = {"object_id": shown["id"]} | ({"score": shown["score"]} if "score" in shown else {})
        yield _event(experience, "impression", at, {"object": thing, "position": {"ordinal": shown["rank"]}})
    for signal in signals:
        about: dict[str, Any] = {VALUE: signal.value}
        if signal.doc is not None:
            about["object"] = {"object_id": signal.doc}
            about |= {"position": {"ordinal": ranks[signal.doc]}} if signal.doc in ranks else {}
        yield _event(experience, signal.name, signal.at, about)


def _event(experience: Experience, action: str, at: float, attributes: dict[str, Any]) -> dict[str, Any]:
    return _without_none(
        {
            "application": APPLICATION,
            "action_name": action,
            "query_id": experience.event_id,
            "client_id": experience.user,
            "user_query": experience.query,
            "timestamp": _instant(at),
            "event_attributes": attributes,
        }
    )


def _without_none(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}
