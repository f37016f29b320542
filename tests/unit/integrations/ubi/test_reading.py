"""Every spelling that producers use is read as the one thing that it can mean, and counted by its name."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from dwell.integrations.ubi.reading import event_digest, kind_of, read_item
from dwell.integrations.ubi.records import Refusal, UbiEvent, UbiQuery

# 2024-12-10T00:01:29.378Z by the calendar, not by our reader
AT = datetime(2024, 12, 10, 0, 1, 29, 378_000, tzinfo=UTC).timestamp()
EVENT: dict[str, Any] = {"action_name": "click", "timestamp": "2024-12-10T00:01:29.378Z"}
QUERY: dict[str, Any] = {"user_query": "blender"}


def event(**more: Any) -> tuple[UbiEvent | UbiQuery | Refusal, dict[str, int]]:
    noted: Counter[str] = Counter()
    return read_item(EVENT | more, "events", 3, noted), dict(noted)


def query(**more: Any) -> tuple[UbiEvent | UbiQuery | Refusal, dict[str, int]]:
    noted: Counter[str] = Counter()
    return read_item(QUERY | more, "queries", 3, noted), dict(noted)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("2024-12-10T00:01:29.378Z", None),
        ("2024-12-10T01:01:29.378+01:00", None),
        ("2024-12-10T00:01:29.378", "no_zone"),
        ("2024-12-10 00:01:29.378", "no_zone"),
        (AT, "epoch_seconds"),
        (round(AT * 1e3), "epoch_milliseconds"),
        (round(AT * 1e6), "epoch_microseconds"),
        (str(round(AT * 1e3)), "epoch_text"),
    ],
)
def test_an_instant_is_read_in_every_form_that_producers_write(written: object, name: str | None) -> None:
    found, noted = event(timestamp=written)
    assert isinstance(found, UbiEvent)
    assert found.at == pytest.approx(AT, abs=1e-6)
    assert (name is None) == (not {n for n in noted if n.startswith(("epoch", "no_zone"))})
    if name is not None:
        assert noted[name] == 1


@pytest.mark.parametrize(
    "written", ["", "yesterday", -1, 1e18, True, [], {}, "1969-12-31T23:59:59Z", "2024-13-01", 10**400, "9" * 40]
)
def test_what_is_no_instant_is_refused_with_its_place(written: object) -> None:
    found, noted = event(timestamp=written)
    assert isinstance(found, Refusal)
    assert (found.index, found.pointer) == (3, "/timestamp")
    assert noted == {}


@pytest.mark.parametrize(
    ("written", "value", "name"),
    [
        (4, 4, None),
        (0, 0, None),
        ({"index": 4}, 4, "ordinal_object"),
        ("4", 4, "ordinal_text"),
        (4.0, 4, "ordinal_float"),
    ],
)
def test_an_ordinal_is_a_number_or_an_object_with_an_index(written: object, value: int, name: str | None) -> None:
    found, noted = event(event_attributes={"position": {"ordinal": written}})
    assert isinstance(found, UbiEvent)
    assert found.ordinal == value
    assert {n for n in noted if n.startswith("ordinal")} == ({name} if name else set())


@pytest.mark.parametrize("written", [-1, 1.5, True, "first", [], {"place": 1}, {"index": {"index": 1}}, 10**9])
def test_what_is_no_ordinal_is_refused(written: object) -> None:
    found, _ = event(event_attributes={"position": {"ordinal": written}})
    assert isinstance(found, Refusal)
    assert found.pointer.startswith("/event_attributes/position/ordinal")
    assert found.reason.startswith("range: ")


def test_the_place_on_the_screen_is_kept_in_both_forms() -> None:
    nested, noted = event(event_attributes={"position": {"xy": {"x": 3, "y": 4.5}}})
    flat, also = event(event_attributes={"position": {"x": 3, "y": 4.5}})
    assert isinstance(nested, UbiEvent)
    assert isinstance(flat, UbiEvent)
    assert nested.xy == flat.xy == (3.0, 4.5)
    assert "xy_flat" not in noted
    assert also["xy_flat"] == 1


def test_object_ids_are_text_or_numbers() -> None:
    found, noted = event(event_attributes={"object": {"object_id": 77}})
    assert isinstance(found, UbiEvent)
    assert found.object_id == "77"
    assert noted["number:object_id"] == 1
    for bad in (True, 1.5, [], "a\x00b", "x" * 513):
        refused, _ = event(event_attributes={"object": {"object_id": bad}})
        assert isinstance(refused, Refusal)
        assert refused.pointer == "/event_attributes/object/object_id"


def test_nulls_are_dropped_and_counted_under_the_key_that_holds_them() -> None:
    found, noted = event(message=None, event_attributes={"object": None, "position": {"ordinal": None}}, mine=None)
    assert isinstance(found, UbiEvent)
    assert noted == {
        "null:message": 1, "null:event_attributes": 2, "null:other": 1, "no_object_id": 1, "no_ordinal": 1
    }  # fmt: skip


def test_unknown_keys_are_kept() -> None:
    found, _ = event(mine={"a": 1}, event_attributes={"dwell_time": 2.5})
    assert isinstance(found, UbiEvent)
    assert found.extra == {"mine": {"a": 1}}
    assert found.attributes == {"dwell_time": 2.5}
    asked, _ = query(query="{}", query_attributes={"page": "2"})
    assert isinstance(asked, UbiQuery)
    assert (asked.extra, asked.attributes) == ({"query": "{}"}, {"page": "2"})


def test_hits_have_two_names() -> None:
    new, noted = query(query_response_hit_ids=["a", 2, "a"])
    old, also = query(query_response_object_ids=["a", "2"])
    assert isinstance(new, UbiQuery)
    assert isinstance(old, UbiQuery)
    assert new.hits == old.hits == ("a", "2")
    assert noted == {"no_timestamp": 1, "number:object_id": 1, "repeated_hit": 1}
    assert also == {"no_timestamp": 1, "old_hit_ids_name": 1}
    refused, _ = query(query_response_hit_ids=["a", ["b"]])
    assert isinstance(refused, Refusal)
    assert refused.pointer == "/query_response_hit_ids/1"


def test_a_user_named_by_nothing_is_no_user() -> None:
    found, noted = event(user_id="", client_id="c")
    assert isinstance(found, UbiEvent)
    assert (found.user_id, found.user) == (None, "c")
    assert noted["empty:user_id"] == 1
    named, _ = event(user_id="u", client_id="c")
    assert isinstance(named, UbiEvent)
    assert named.user == "u"


@pytest.mark.parametrize(
    ("kind", "item", "pointer"),
    [
        ("events", [], ""),
        ("events", None, ""),
        ("events", {"timestamp": 1}, "/action_name"),
        ("events", {"action_name": "", "timestamp": 1}, "/action_name"),
        ("events", {"action_name": "click"}, "/timestamp"),
        ("events", EVENT | {"event_attributes": []}, "/event_attributes"),
        ("events", EVENT | {"event_attributes": {"object": "x"}}, "/event_attributes/object"),
        ("events", EVENT | {"query_id": ["q"]}, "/query_id"),
        ("queries", {}, "/user_query"),
        ("queries", {"user_query": 3}, "/user_query"),
        ("queries", {"user_query": "a\x00"}, "/user_query"),
        ("queries", QUERY | {"query_attributes": "x"}, "/query_attributes"),
    ],
)
def test_what_can_not_be_read_says_where(kind: Any, item: object, pointer: str) -> None:
    found = read_item(item, kind, 0, Counter())
    assert isinstance(found, Refusal)
    assert found.pointer == pointer


def test_an_item_nested_too_deep_is_refused() -> None:
    deep: Any = 1
    for _ in range(40):
        deep = {"a": deep}
    found, _ = event(mine=deep)
    assert isinstance(found, Refusal)
    assert found.pointer == "/mine"


def test_kinds_are_told_by_what_only_one_of_them_has() -> None:
    assert kind_of({"action_name": "click", "user_query": "x"}) == "events"
    assert kind_of({"user_query": ""}) == "queries"
    assert kind_of({"id": 1}) is kind_of([]) is None


def test_a_retry_has_the_same_digest_and_anything_else_another() -> None:
    def digest(**more: Any) -> str:
        found, _ = event(query_id="q", client_id="c", **more)
        assert isinstance(found, UbiEvent)
        return event_digest(found)

    same = digest()
    assert same == digest(received_by="collector-2", message="again")
    others = {
        digest(timestamp="2024-12-10T00:01:29.379Z"),
        digest(action_name="purchase"),
        digest(event_attributes={"object": {"object_id": "a"}}),
        digest(event_attributes={"dwell.value": 3.0}),
        digest(user_id="u"),
    }
    assert len(others | {same}) == 6
