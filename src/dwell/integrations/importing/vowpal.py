"""Logs of Vowpal Wabbit's contextual bandits: decision service JSON, as Personalizer wrote it, and text for cb_adf.

One action is shown, drawn from all with known chances (decision service JSON), or with its own chance known (text). A
cost is the negative of a reward.
Source: Vowpal Wabbit's wiki, "Contextual Bandit algorithms" and "DSJSON", and its parser of the latter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from dwell.integrations.importing.reading import (
    Format,
    Reading,
    event_id_of,
    items_of_lines,
    list_of,
    number,
    object_of,
    too_long,
)
from dwell.integrations.importing.records import Item, Told
from dwell.integrations.importing.sources import Line
from dwell.integrations.personalizer import flattened
from dwell.integrations.ubi.fields import UnreadableField
from dwell.loop.exports.escapes import plain_word, safe_word
from dwell.loop.imported import DrawnElsewhere, ToldList, ToldReaction

__all__ = ["VW_DSJSON", "VW_TEXT"]

_REWARD: Final = "reward"
_ID_KEYS: Final = ("id", "_id", "_tag", "actionId")
_MOST_LINES: Final = 10_001  # of one example: as many actions as a list may have, and what they share
_MOST_BYTES: Final = 67_108_864  # of one example: ten thousand actions of 6 KB
_LABEL: Final = re.compile(r"(\d+):([^:\s]+):([^:\s]+)")
_CLOSE: Final = 1e-6
# what `dwell export --format vw` writes: a tag and these namespaces everywhere, and words as `safe_word` has them
_OUR_SHARED: Final = re.compile(r"shared '([^\s|]+)\|query((?: [^\s|]+)*)(?: \|segment ([^\s|]+))?")
_OUR_ACTION: Final = re.compile(r"(?:0:\S+ )?'([^\s|]+)\|doc ((?:[^\s|:]+:[^\s|:]+(?: |\Z))*)")


def _read_dsjson(item: Item, reading: Reading) -> Iterator[Told]:
    found = object_of(item)
    if found.get("_skipLearn") is True:
        reading.left_out["not_activated"] += 1
        return
    if "a" not in found and ("RewardValue" in found or "EventId" in found):
        yield from _dangling(found, reading)
        return
    context = found.get("c")
    if not isinstance(context, Mapping):
        raise UnreadableField("/c", "type: an object is due here")
    actions = list_of(context.get("_multi"), "/c/_multi")
    order = list_of(found.get("a"), "/a")
    chances = list_of(found.get("p"), "/p")
    if len(order) != len(chances) or not order or len(order) > len(actions):
        raise UnreadableField("/p", "results_shape: actions (a) have one chance each (p), and each stands in _multi")
    by_action: dict[int, float] = {}
    for i, (action, chance) in enumerate(zip(order, chances, strict=True)):
        if not isinstance(action, int) or isinstance(action, bool) or not 1 <= action <= len(actions):
            raise UnreadableField(f"/a/{i}", "range: an action is a number from 1 to the length of _multi")
        by_action[action] = number(chance, f"/p/{i}")
    chosen = found.get("_label_Action", order[0])
    if not isinstance(chosen, int) or chosen not in by_action:
        raise UnreadableField("/_label_Action", "range: the action that was taken is among a")
    told = found.get("_label_probability")
    if told is not None and abs(number(told, "/_label_probability") - by_action[chosen]) > _CLOSE:
        raise UnreadableField("/_label_probability", "conflict: p tells another chance of the action that was taken")
    rows = [_action(actions[action - 1], action, reading) for action in by_action]
    event_id, at = event_id_of(found.get("EventId"), "/EventId"), reading.at(found.get("Timestamp"), "/Timestamp")
    shown = next(row["id"] for row, action in zip(rows, by_action, strict=True) if action == chosen)
    yield ToldList(
        event_id=event_id,
        at=at,
        query=_context(context),
        results=rows,
        drawn=DrawnElsewhere(shown, list(by_action.values())),
        keep_probability=1.0 - number(found.get("pdrop", 0.0), "/pdrop"),
    )
    yield from _rewards(found, event_id, at, shown, reading)


def _action(given: object, action: int, reading: Reading) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise UnreadableField(f"/c/_multi/{action - 1}", "type: an object is due here")
    name = next((given[key] for key in _ID_KEYS if isinstance(given.get(key), str)), f"action-{action}")
    numbers = flattened({k: v for k, v in given.items() if k not in _ID_KEYS}, reading.left_out)
    return {"id": name, **{key: numbers[key] for key in reading.features if key in numbers}}


def _context(context: Mapping[str, Any]) -> str:
    """Return the context as the question, as for Personalizer."""
    shared = {key: value for key, value in context.items() if not key.startswith("_")}
    return json.dumps(shared, sort_keys=True, ensure_ascii=False) if shared else ""


def _rewards(
    found: Mapping[str, Any], event_id: str, at: float, shown: str, reading: Reading
) -> Iterator[ToldReaction]:
    """Yield the reward that was joined to a decision; a cost of 0 is what stands there where nothing came."""
    cost = number(found.get("_label_cost", 0.0), "/_label_cost")
    signal = reading.signal(_REWARD) if cost != 0.0 else None
    if signal is not None:
        yield ToldReaction(event_id=event_id, signal=signal, at=at, key="vw", doc=shown, value=-cost)


def _dangling(found: Mapping[str, Any], reading: Reading) -> Iterator[ToldReaction]:
    """Yield a reward that came without its decision: it stands in another line or another file."""
    event_id = event_id_of(found.get("EventId"), "/EventId")
    if found.get("RewardValue") is None:
        reading.left_out["activations"] += 1
        return
    value, at = (
        number(found["RewardValue"], "/RewardValue"),
        reading.at(found.get("EnqueuedTimeUtc"), "/EnqueuedTimeUtc"),
    )
    signal = reading.signal(_REWARD)
    if signal is not None:
        yield ToldReaction(event_id=event_id, signal=signal, at=at, key=f"vw:{value!r}", value=value)


def _blocks(lines: Iterable[Line], _: Reading) -> Iterator[Item]:
    """Yield examples: lines up to an empty one."""
    held: list[Line] = []
    for line in lines:
        if line.data is not None and not line.data.strip():
            yield from _block(held)
            held = []
        elif len(held) <= _MOST_LINES:
            is_much = bool(held) and line.end - held[0].end > _MOST_BYTES
            held.append(line._replace(data=None) if is_much else line)
    yield from _block(held)


def _block(held: list[Line]) -> Iterator[Item]:
    if held:
        first, last = held[0].number, held[-1]
        data = [line.data for line in held]
        value: object = tuple(one for one in data if one is not None)
        if len(held) > _MOST_LINES or None in data:
            value = too_long(first)
        yield Item(first, last.end, last.mark, value)


def _read_text(item: Item, reading: Reading) -> Iterator[Told]:
    try:
        lines = [line.decode() for line in item.value]
    except UnicodeDecodeError as error:
        raise UnreadableField("", "text: this is no UTF-8") from error
    ours, shared = _exported(lines), ""
    if lines[0].startswith("shared"):
        shared = lines.pop(0).removeprefix("shared").strip()
    if not lines:
        raise UnreadableField("", "results_shape: an example has at least one action")
    rows, chosen, cost, chance = [], None, 0.0, 0.0
    for i, line in enumerate(lines):
        label, rest = _label_of(line, i)
        rows.append(_text_action(rest, i, reading, plain=str if ours is None else plain_word))
        if label is not None:
            if chosen is not None:
                raise UnreadableField(f"/{i}", "results_shape: one action of an example has a label")
            chosen, (cost, chance) = i, label
    if chosen is None:
        reading.left_out["examples_without_label"] += 1
        return
    shown = rows[chosen]["id"]
    event_id, query, segment = ours or (reading.unnamed(item), shared, None)
    chances = [chance if i == chosen else None for i in range(len(rows))]
    yield ToldList(
        event_id=event_id,
        at=reading.at(None, ""),
        query=query,
        segment=segment,
        results=rows,
        drawn=DrawnElsewhere(shown, chances),
    )
    yield from _rewards({"_label_cost": cost}, event_id, reading.now, shown, reading)


def _exported(lines: Sequence[str]) -> tuple[str, str, str | None] | None:
    """Return event id, query and segment of an example that a loop exported, None of any other."""
    head = _OUR_SHARED.fullmatch(lines[0])
    actions = [_OUR_ACTION.fullmatch(line) for line in lines[1:]]
    if head is None or None in actions:
        return None
    event_id, words, segment = head[1], head[2].split(), head[3]
    told = {event_id, *words, segment or event_id}
    for action in actions:
        if action is not None:
            told |= {action[1], *(pair.partition(":")[0] for pair in action[2].split())}
    try:
        if any(safe_word(plain_word(word)) != word for word in told):
            return None
    except UnicodeDecodeError:
        return None
    name = event_id_of(plain_word(event_id), "/shared")
    return name, " ".join(map(plain_word, words)), None if segment is None else plain_word(segment)


def _label_of(line: str, i: int) -> tuple[tuple[float, float] | None, str]:
    """Return cost and chance of an action's label, None where it has none, and the rest of the line."""
    head, bar, rest = line.partition("|")
    if not bar:
        raise UnreadableField(f"/{i}", "malformed: an action has a bar before its features")
    words = head.split()
    tag = words[-1] if words and not head.endswith(" ") and not _LABEL.fullmatch(words[-1]) else ""
    labels = [found for word in words if (found := _LABEL.fullmatch(word)) is not None]
    if len(labels) > 1 or any(word != tag and not _LABEL.fullmatch(word) for word in words):
        raise UnreadableField(f"/{i}", "malformed: a label is action:cost:probability")
    if not labels:
        return None, f"{tag}|{rest}"
    cost, chance = number(labels[0][2], f"/{i}"), number(labels[0][3], f"/{i}")
    return (cost, chance), f"{tag}|{rest}"


def _text_action(line: str, i: int, reading: Reading, *, plain: Callable[[str], str]) -> dict[str, Any]:
    """Return an action with its features, their names made plain: what is not written has the value 0, as there."""
    tag, *spaces = line.split("|")
    row: dict[str, Any] = dict.fromkeys(reading.features, 0.0)
    for space in spaces:
        words = space.split()
        name, scale = "", 1.0
        if space[:1] not in {" ", ""} and words:
            name, _, weight = words.pop(0).partition(":")
            scale = number(weight, f"/{i}") if weight else 1.0
        for word in words:
            feature, _, value = word.partition(":")
            found = scale * (number(value, f"/{i}") if value else 1.0)
            for key in (plain(feature), f"{name}.{feature}"):
                if key in row:
                    row[key] = found
    return {**row, "id": plain(tag.removeprefix("'")) or f"action-{i + 1}"}


VW_DSJSON: Final = Format(items_of_lines, _read_dsjson)
VW_TEXT: Final = Format(_blocks, _read_text)
