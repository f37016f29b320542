"""Who is refused before anything is spent on him, what he is told, and that room taken is room given back."""

import json
from typing import Any

from dwell.server.admission import Admission

HEADERS = ((b"x-one", b"1"), (b"x-two", b"2"))


def parts(answer: bytes) -> tuple[bytes, dict[str, str], Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    return line, dict(one.decode().split(": ", 1) for one in lines), json.loads(body)


def test_there_is_room_up_to_the_limit_and_again_when_somebody_left() -> None:
    admission = Admission(2, always=frozenset({b"/livez"}))
    scopes: list[dict[str, Any]] = [{}, {}, {}]
    for scope in scopes[:2]:
        assert admission.has_room_for(b"/v1/rank")
        admission.enter(scope)
    assert not admission.has_room_for(b"/v1/rank")
    assert admission.has_room_for(b"/livez"), "whether it lives is told whatever is going on"
    admission.leave(scopes[2])  # never entered: a body that was too large, say
    assert admission.n == 2
    admission.leave(scopes[0])
    admission.leave(scopes[0])
    assert admission.n == 1
    assert admission.has_room_for(b"/v1/rank")


def test_a_refusal_is_a_whole_answer_with_an_id_of_its_own() -> None:
    admission = Admission(0, headers=HEADERS)
    (first, seconds), (second, _) = admission.refusal(b"/v1/rank"), admission.refusal(b"/v1/rank")
    line, headers, problem = parts(first)
    assert line == b"HTTP/1.1 503 Service Unavailable"
    assert (headers["x-one"], headers["x-two"], headers["content-type"]) == ("1", "2", "application/problem+json")
    assert int(headers["retry-after"]) == seconds == 1
    assert int(headers["content-length"]) == len(first.partition(b"\r\n\r\n")[2])
    assert (problem["status"], problem["code"]) == (503, "overloaded")
    assert problem["request_id"] == headers["x-request-id"] != parts(second)[1]["x-request-id"]


def test_the_more_are_resting_the_longer_the_next_one_rests() -> None:
    admission = Admission(0)
    seconds = []
    for n in range(12_001):
        if n % 500 == 0:
            told = admission.refusal(b"/")[1]
            assert int(parts(admission.refusal(b"/")[0])[1]["retry-after"]) == told
            seconds.append(told)
        admission.rest()
    assert seconds[:6] == [1, 1, 2, 3, 4, 5]
    assert set(seconds[6:]) == {5}, "behind a proxy others wait on the same connection"
    for _ in range(12_001):
        admission.rested()
    assert admission.refusal(b"/")[1] == 1


def test_paths_that_callers_think_of_take_no_memory() -> None:
    admission = Admission(0)
    admission.paths = frozenset({"/v1/rank"})
    for n in range(1_000):
        admission.refusal(b"/%d?x=%d" % (n, n))
    admission.refusal(b"/v1/rank?x=1")
    assert dict(admission.n_refused) == {"": 1_000, "/v1/rank": 1}
