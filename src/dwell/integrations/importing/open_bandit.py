"""The Open Bandit Dataset, and logs in its shape: one row is one place of a list, and how likely what stood there was.

Rows can not be joined to lists, so each is a list of one document, drawn from all items with a logged chance.
Source: Saito, Aihara, Matsutani and Narita 2021, "Open Bandit Dataset and Pipeline".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from dwell.integrations.importing.reading import Format, Reading, number, text
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.importing.tables import rows_of_csv
from dwell.integrations.ubi.fields import UnreadableField
from dwell.integrations.ubi.records import Refusal
from dwell.loop.imported import DrawnElsewhere, ToldList, ToldReaction

__all__ = ["OPEN_BANDIT"]

_AFFINITY: Final = re.compile(r"user-item_affinity_(\d{1,4})")
_NEEDED: Final = ("timestamp", "item_id", "position", "click", "propensity_score")
_FEATURE: Final = "affinity"


def _items(lines: Any, reading: Reading) -> Iterator[Item]:  # noqa: ANN401 - lines, as every format has them
    yield from rows_of_csv(lines, reading, needed=_NEEDED)


def _read(item: Item, reading: Reading) -> Iterator[Told]:
    row: Mapping[str, str] | Refusal = item.value
    if isinstance(row, Refusal):
        raise UnreadableField(row.pointer, row.reason)
    shown = text(row.get("item_id"), "/item_id")
    chance = number(row.get("propensity_score"), "/propensity_score")
    if not 0.0 < chance <= 1.0:
        raise UnreadableField("/propensity_score", "propensity_range: a chance of what was shown is in (0, 1]")
    affinities = {
        found[1]: number(value, f"/{name}")
        for name, value in row.items()
        if (found := _AFFINITY.fullmatch(name)) is not None
    }
    if shown in affinities:
        results: list[dict[str, Any]] = [{"id": doc, _FEATURE: value} for doc, value in affinities.items()]
    else:
        results = [{"id": shown}]
        reading.left_out["rows_without_affinity"] += 1
    event_id, at = reading.unnamed(item), reading.at(row.get("timestamp"), "/timestamp")
    yield ToldList(
        event_id=event_id,
        at=at,
        query=" ".join(value for name, value in sorted(row.items()) if name.startswith("user_feature_")),
        results=results,
        segment=f"position-{row.get('position')}",
        drawn=DrawnElsewhere(shown, [chance if row["id"] == shown else None for row in results]),
    )
    if number(row.get("click"), "/click") > 0.0:
        signal = reading.signal("click")
        if signal is not None:
            yield ToldReaction(event_id=event_id, signal=signal, at=at, key="click", doc=shown)


OPEN_BANDIT: Final = Format(_items, _read)
