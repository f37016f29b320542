"""Whatever JSON arrives: nothing raises, and every item is either accepted or quarantined."""

import io
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dwell
from dwell.integrations.ubi import import_ubi, read_item, take_ubi
from dwell.integrations.ubi.lines import items_of_array, items_of_lines
from dwell.integrations.ubi.records import Refusal

NOW = 1_800_000_000.0
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
ids = st.sampled_from(["q", "q2", "a b", "", 7]) | junk
instants = st.sampled_from([1_700_000_000, 1_700_000_000_000, "2024-01-01T00:00:00Z", "2024-01-01"]) | junk
places = st.fixed_dictionaries({}, optional={"ordinal": st.integers(-1, 3) | st.just({"index": 1}) | junk, "xy": junk})
things = st.fixed_dictionaries({}, optional={"object_id": st.sampled_from(["a", "b", 3]) | junk})
attributes = st.fixed_dictionaries(
    {}, optional={"object": things | junk, "position": places | junk, "dwell_time": junk}
)
items = junk | st.fixed_dictionaries(
    {},
    optional={
        "action_name": st.sampled_from(["click", "impression", "dwell", "x"]) | junk,
        "user_query": st.just("shoes") | junk,
        "timestamp": instants,
        "query_id": ids,
        "client_id": ids,
        "user_id": ids,
        "query_response_hit_ids": st.lists(st.sampled_from(["a", "b", 3])) | junk,
        "query_attributes": junk,
        "event_attributes": attributes | junk,
        "message": junk,
    },
)


@pytest.fixture(scope="module")
def loop() -> Iterator[dwell.Loop]:
    with dwell.open(":memory:", pepper=b"a pepper of these tests") as opened:
        yield opened


@given(items, st.sampled_from(["queries", "events"]))
def test_any_item_is_a_record_or_a_refusal(item: Any, kind: Any) -> None:
    noted: Counter[str] = Counter()
    found = read_item(item, kind, 5, noted)
    assert all(n > 0 for n in noted.values())
    if isinstance(found, Refusal):
        assert found.index == 5
        assert not noted
        assert found.pointer == "" or found.pointer.startswith("/")


@settings(max_examples=50)
@given(st.binary(max_size=60) | st.lists(items, max_size=4).map(lambda found: json.dumps(found).encode()))
def test_any_bytes_are_items_or_refusals(text: bytes) -> None:
    for index, one in enumerate(items_of_lines(io.BytesIO(text))):
        assert one.place == index
    if text.startswith(b"["):
        for index, one in enumerate(items_of_array(io.BytesIO(text), chunk=7)):
            assert one.place == index


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(items, max_size=6), st.lists(items, max_size=6))
def test_whatever_is_imported_is_accounted_for_and_known_the_second_time(
    loop: dwell.Loop, queries: list[Any], events: list[Any]
) -> None:
    first = import_ubi(loop, queries, events, now=NOW)
    again = import_ubi(loop, queries, events, now=NOW)
    assert first.n_accepted + first.n_quarantined == len(queries) + len(events)
    assert again.n_lists == 0
    assert not {"joined", "orphan", "late"} & again.feedback.keys()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(items, max_size=6), st.sampled_from(["queries", "events"]), st.booleans())
def test_whatever_a_request_holds_is_accounted_for(loop: dwell.Loop, sent: list[Any], kind: Any, trusted: bool) -> None:  # noqa: FBT001 - drawn
    answer = take_ubi(loop, kind, json.dumps(sent).encode(), "application/json", trusted=trusted, now=NOW)
    assert answer.accepted + len(answer.quarantined) == len(sent)
    assert sum(answer.outcomes.values()) == answer.accepted
