"""Every error has a status, a code and words, and none tells of our insides."""

import msgspec
import pytest

from dwell import errors
from dwell.errors import DwellError, QueueFull, RecordError, RequestError, StorageError
from dwell.server.problems import problem_of, retry_after_of


class Body(msgspec.Struct):
    k: list[int]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RecordError("no", code="non_finite", field="bm25"), 400, "non_finite"),
        (errors.TokenInvalid("no"), 403, "token_invalid"),
        (errors.UnknownEventError("no"), 404, "unknown_event"),
        (errors.PromotionRefused("no"), 409, "promotion_refused"),
        (QueueFull("no"), 503, "overloaded"),
        (RequestError("no", code="too_many_requests"), 429, "too_many_requests"),
        (RequestError("no", code="timeout"), 408, "timeout"),
        (ValueError("no"), 500, "internal"),
        (DwellError("no"), 500, "internal"),
    ],
)
def test_an_error_has_its_status(error: Exception, status: int, code: str) -> None:
    problem = problem_of(error, request_id="r")
    assert (problem.status, problem.code, problem.request_id) == (status, code, "r")


def test_a_field_becomes_a_json_pointer() -> None:
    assert problem_of(RecordError("no", field="candidates[3].a/b~c")).path == "/candidates/3/a~1b~0c"
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(b'{"k": [1, "x"]}', type=Body)
    assert (problem_of(caught.value).path[:2], problem_of(caught.value).code) == ("/k", "type")
    with pytest.raises(msgspec.DecodeError) as broken:
        msgspec.json.decode(b"{", type=Body)
    assert problem_of(broken.value).code == "malformed_json"


def test_nothing_of_our_insides_is_told() -> None:
    for error in (KeyError("canary"), StorageError("canary", hint="canary", value="canary"), DwellError("canary")):
        assert b"canary" not in msgspec.json.encode(problem_of(error))
    assert b"canary" not in msgspec.json.encode(problem_of(RecordError("no", field="k", value="canary")))


def test_when_to_try_again() -> None:
    assert retry_after_of(RequestError("no", code="too_many_requests", retry_after_s=2.1)) == 3
    assert retry_after_of(QueueFull("no")) == 1
    assert retry_after_of(RecordError("no")) is None
