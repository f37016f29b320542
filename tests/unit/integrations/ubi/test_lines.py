"""Whatever a file holds is accounted for, item by item, and its form is found by what stands in it."""

import io
import json
from typing import Any

import pytest

from dwell.integrations.ubi.lines import MAX_ITEM_BYTES, decoded, items_of_array, items_of_lines
from dwell.integrations.ubi.records import Refusal

QUERY = {"user_query": "é", "query_id": "q"}
EVENT = {"action_name": "click", "timestamp": 1, "query_id": "q"}


def lines(*given: object) -> list[Any]:
    text = b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in given)
    return list(items_of_lines(io.BytesIO(text)))


def test_lines_tell_their_kind_by_content() -> None:
    found = lines(QUERY, b"", EVENT, b"  ", {"x": 1})
    assert [(one.kind, one.item, one.place) for one in found] == [
        ("queries", QUERY, 0), ("events", EVENT, 1), (None, {"x": 1}, 2)
    ]  # fmt: skip


def test_bulk_lines_announce_the_kind_of_what_has_none() -> None:
    found = lines({"index": {"_index": "ubi_queries"}}, QUERY, {"create": {"_index": "my_ubi_events"}}, {"x": 1})
    assert [(one.kind, one.item) for one in found] == [("queries", QUERY), ("events", {"x": 1})]


def test_bulk_lines_that_change_a_document_are_refused() -> None:
    found = lines({"delete": {"_id": "1"}}, {"update": {"_id": "1"}}, {"doc": EVENT}, EVENT)
    assert [getattr(one.item, "pointer", None) for one in found] == ["/delete", "/update", None]
    assert found[2].item == EVENT


def test_a_search_hit_is_the_document_in_it() -> None:
    (found,) = lines({"_index": "ubi_events", "_id": "1", "_source": EVENT})
    assert (found.kind, found.item) == ("events", EVENT)


def test_a_broken_line_costs_itself_only() -> None:
    found = lines(EVENT, b"{broken", b'{"a": NaN}', b"\xff\xfe", b"[" * 200_000, EVENT)
    assert [isinstance(one.item, Refusal) for one in found] == [False, True, True, True, True, False]
    assert [one.place for one in found] == list(range(6))


def test_a_line_too_long_is_refused_without_being_held_and_the_next_one_is_read() -> None:
    found = lines(b'"' + b"x" * (2 * MAX_ITEM_BYTES) + b'"', EVENT)
    assert isinstance(found[0].item, Refusal)
    assert found[0].item.reason.startswith("too_long")
    assert found[1].item == EVENT


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "items", [[], [12], [QUERY, EVENT, 1, -1500.5, [1, [2]], 'a,]"[', None, True, {}, {"t": 'é\\"'}]]
)
def test_an_array_gives_the_same_wherever_the_chunks_end(items: list[Any], indent: int | None) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=False).encode()
    for chunk in range(1, 40):
        assert [one.item for one in items_of_array(io.BytesIO(text), chunk=chunk)] == items


@pytest.mark.parametrize(
    ("text", "n_whole"),
    [(b"[1,2", 1), (b"[1 2]", 0), (b"[,1]", 0), (b"[1,NaN]", 1), (b"[1,]", 1), (b"[" * 100_000, 0), (b"[1,\xff]", 1)],
)
def test_what_follows_a_break_in_an_array_is_one_refusal(text: bytes, n_whole: int) -> None:
    *whole, last = [one.item for one in items_of_array(io.BytesIO(text))]
    assert len(whole) == n_whole
    assert isinstance(last, Refusal)
    assert last.index == n_whole


@pytest.mark.parametrize("text", [b"NaN", b"1e999", b"", b"{", b"[" * 200_000])
def test_no_json_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the decoder's own words
        decoded(text)
