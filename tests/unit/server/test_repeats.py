import json

import pytest

from dwell.errors import RecordError
from dwell.server.repeats import could_repeat
from dwell.server.wire import EvaluateBody, FeedbackBody, Item, LogBody, RankBody, read_body


@pytest.mark.parametrize(
    ("body", "kind", "field"),
    [
        (b'{"query": "a", "query": "b", "ids": ["x"]}', RankBody, "query"),
        (b'{"query":"a","candidates":[{"id":"a","x":1},{"id":"b","x":1,"x":2}]}', RankBody, "candidates[1].x"),
        (b'{"query":"a","results":[{"id":"a","rank":1,"\\u0072ank":2}]}', LogBody, "results[0].rank"),
        (b'{"weights": {"a": 1, "a" : 2}}', EvaluateBody, "weights.a"),
        (b'{"event_id":"e","signal":"click","signal":"skip"}', Item, "signal"),
        (
            b'[{"event_id":"e","signal":"click"},{"event_id":"e","signal":"a","doc":"d","doc":"d"}]',
            list[Item],
            "[1].doc",
        ),
        (b'{"items":[{"event_id":"e","event_id":"e","signal":"click"}]}', FeedbackBody, "items[0].event_id"),
        # as many colons behind quotes as distinct names, because one stands in a string and one behind a blank
        (b'{"query":"\\":","k" :1,"k":2,"ids":["x"]}', RankBody, "k"),
    ],
)
def test_a_name_that_stands_twice_is_refused_by_its_place(body: bytes, kind: type, field: str) -> None:
    with pytest.raises(RecordError) as refused:
        read_body(body, kind)
    assert (refused.value.code, refused.value.field) == ("duplicate_name", field)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("separators", [None, (",", ":"), (" , ", " : ")])
def test_names_that_stand_once_in_each_object_pass(indent: int | None, separators: tuple[str, str] | None) -> None:
    candidates = [{"id": 'a":"b', "x": 1.0}, {"id": "c : d", "x": 2.0}]
    asked = {"query": 'the ": and "query":', "candidates": candidates, "k": 2}
    body = json.dumps(asked, indent=indent, separators=separators).encode()
    assert read_body(body, RankBody).candidates == candidates
    items = [{"event_id": "e:1", "signal": "click"}] * 3
    assert len(read_body(json.dumps(items, indent=indent, separators=separators).encode(), list[Item])) == 3
    envelope = json.dumps({"items": items}, indent=indent, separators=separators).encode()
    assert len(read_body(envelope, FeedbackBody).items) == 3


def test_a_colon_in_a_string_does_not_hide_a_name_behind_a_blank() -> None:
    # 3 names behind quotes and one behind a blank; 3 distinct ones: only the blank tells that one stands twice
    body = b'{"query":"\\":a","k" :1,"k":2}'
    assert body.count(b'":') == 3
    assert could_repeat(body, 3)
    assert not could_repeat(b'{"query":"a","k":2}', 2)
    assert could_repeat(b'{"k":1,"k":2}', 1)
