"""One call as a flow, driven by hand: no socket, no clock, no sleep."""

import random
from typing import Any

import pytest

from dwell.client.asking import Request
from dwell.client.core import Answer, Call, Core, Failure, Secret, Send, Wait, exchange, retry_after_s
from dwell.client.retrying import Patience
from dwell.errors import DwellError, ServiceUnreachableError


class Driven:
    """A core whose time is told, and a flow that is played against a list of outcomes."""

    def __init__(self) -> None:
        self.now = 0.0
        self.core = Core(
            "http://h", "k", strict=False, rank_timeout_s=0.25, feedback_timeout_s=1.0, timeout_s=1.0,
            rng=random.Random(1), clock=lambda: self.now,
        )  # fmt: skip
        self.steps: list[Any] = []

    def play(self, call: Call, outcomes: list[tuple[float, Answer | Failure]]) -> Answer:
        """Drive the flow; each outcome comes after so many seconds."""
        flow = exchange(self.core, call)
        left = list(outcomes)
        step = next(flow)
        try:
            while True:
                self.steps.append(step)
                if isinstance(step, Wait):
                    self.now += step.seconds
                    step = flow.send(None)
                else:
                    took_s, outcome = left.pop(0)
                    self.now += took_s
                    step = flow.send(outcome)
        except StopIteration as done:
            assert left == []
            found: Answer = done.value
            return found


GET = Request("GET", "/x")
OK = Answer(200, {}, b"{}")
REFUSED = Failure("unreachable", may_have_arrived=False)


def test_the_first_answer_is_taken() -> None:
    driven = Driven()
    assert driven.play(Call(GET, Patience(1.0)), [(0.1, OK)]) is OK
    assert driven.steps == [Send(GET, 1.0)]


def test_each_attempt_has_what_is_left_of_the_budget() -> None:
    driven = Driven()
    driven.play(
        Call(GET, Patience(1.0, attempts=3, base_s=0.1)), [(0.2, REFUSED), (0.2, Answer(503, {}, b"")), (0.2, OK)]
    )
    sends = [step.timeout_s for step in driven.steps if isinstance(step, Send)]
    waits = [step.seconds for step in driven.steps if isinstance(step, Wait)]
    assert sends == pytest.approx([1.0, 0.8 - waits[0], 0.6 - waits[0] - waits[1]])


@pytest.mark.parametrize(
    ("outcomes", "code", "has_arrived"),
    [
        ([REFUSED, REFUSED], "unreachable", False),
        ([REFUSED, Failure("timeout", may_have_arrived=True)], "timeout", True),
        ([Answer(500, {}, b""), REFUSED], "unreachable", True),
        ([REFUSED, Answer(429, {}, b"")], "overloaded", True),
        ([REFUSED, Answer(500, {}, b"<html>")], "server_error", True),
        ([REFUSED, Answer(408, {}, b"")], "timeout", True),
    ],
)
def test_the_last_failure_names_the_error_and_any_arrival_is_told(
    outcomes: list[Answer | Failure], code: str, *, has_arrived: bool
) -> None:
    driven = Driven()
    with pytest.raises(ServiceUnreachableError) as caught:
        driven.play(Call(GET, Patience(1.0, attempts=2)), [(0.0, one) for one in outcomes])
    assert (caught.value.code, caught.value.may_have_arrived) == (code, has_arrived)


@pytest.mark.parametrize("status", [301, 400, 401, 404, 409, 413, 422])
def test_a_refusal_is_not_repeated(status: int) -> None:
    driven = Driven()
    with pytest.raises(DwellError):
        driven.play(Call(GET, Patience(1.0)), [(0.0, Answer(status, {}, b""))])
    assert len(driven.steps) == 1


def test_where_the_server_asks_for_more_than_is_left_there_is_no_second_attempt() -> None:
    driven = Driven()
    with pytest.raises(ServiceUnreachableError):
        driven.play(Call(GET, Patience(1.0)), [(0.0, Answer(503, {"retry-after": "1"}, b""))])
    driven = Driven()
    driven.play(Call(GET, Patience(1.5, base_s=0.1)), [(0.0, Answer(503, {"retry-after": "1"}, b"")), (0.0, OK)])
    assert 1.0 <= driven.steps[1].seconds <= 1.1


def test_a_call_that_is_not_guarded_neither_opens_the_circuit_nor_asks_it_and_its_answer_closes_it() -> None:
    driven = Driven()
    for _ in range(10):
        with pytest.raises(ServiceUnreachableError):
            driven.play(Call(GET, Patience(1.0, attempts=1)), [(0.0, REFUSED)])
    guarded = Call(GET, Patience(1.0, attempts=1), is_guarded=True)
    for _ in range(5):
        with pytest.raises(ServiceUnreachableError):
            driven.play(guarded, [(0.0, REFUSED)])
    with pytest.raises(ServiceUnreachableError) as caught:
        driven.play(guarded, [])
    assert (caught.value.code, caught.value.may_have_arrived) == ("circuit_open", False)
    driven.play(Call(GET, Patience(1.0)), [(0.0, OK)])
    driven.play(guarded, [(0.0, OK)])


def test_a_call_ends_when_it_is_told_to() -> None:
    driven = Driven()
    ends_at = [100.0]
    flow = exchange(driven.core, Call(GET, Patience(30.0, attempts=9), ends_at=lambda: ends_at[0]))
    assert next(flow) == Send(GET, 30.0)
    assert isinstance(flow.send(REFUSED), Wait)
    ends_at[0] = 0.5
    assert flow.send(None) == Send(GET, 0.5)
    driven.now = 0.6
    with pytest.raises(ServiceUnreachableError):
        flow.send(REFUSED)


@pytest.mark.parametrize(
    ("headers", "due"),
    [
        ({}, None),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": " 0.5 "}, 0.5),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "9" * 400}, None),
        ({"retry-after": "Fri, 27 Nov 2026 04:00:07 GMT"}, None),
        ({"retry-after": "Fri, 27 Nov 2026 04:00:07 GMT", "date": "Fri, 27 Nov 2026 04:00:00 GMT"}, 7.0),
        ({"retry-after": "Fri, 27 Nov 2026 04:00:00 GMT", "date": "Fri, 27 Nov 2026 04:00:07 GMT"}, 0.0),
        ({"retry-after": "Fri, 27 Nov 2026 04:00:07 GMT", "date": "no date"}, None),
        ({"retry-after": "Fri, 27 Nov 2026 04:00:07", "date": "Fri, 27 Nov 2026 04:00:00 GMT"}, None),
    ],
)
def test_what_a_server_asks_for_is_read(headers: dict[str, str], due: float | None) -> None:
    assert retry_after_s(headers) == due


def test_a_key_shows_itself_to_nobody() -> None:
    key = Secret("hunter2")
    assert "hunter2" not in f"{key} {key!r} {[key]}"
    assert key.reveal() == "hunter2"
