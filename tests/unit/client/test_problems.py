"""Problem documents, and whatever else stands in the body of a refusal."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dwell import errors
from dwell.client.problems import error_of, field_of_pointer, read_problem


@pytest.mark.parametrize(
    "name",
    sorted(set(errors.__all__) - {"PromotionRefused", "MissingDependencyError", "QueueFull", "ServiceError",
                                  "ServiceUnreachableError", "AuthenticationError"}),
)  # fmt: skip
def test_every_code_of_the_tree_comes_back_as_its_class(name: str) -> None:
    kind = getattr(errors, name)
    body = msgspec.json.encode({"code": kind.code, "detail": "d", "remedy": "r"})
    error = error_of(read_problem(409, body))
    assert type(error) is kind
    assert (error.code, error.message, error.hint, error.field) == (kind.code, "d", "r", None)


@given(status=st.integers(300, 599), body=st.binary(max_size=60))
def test_any_body_makes_an_error(status: int, body: bytes) -> None:
    error = error_of(read_problem(status, body), body)
    assert isinstance(error, errors.DwellError)
    assert str(error)


@pytest.mark.parametrize(
    ("pointer", "field"),
    [
        ("/candidates/0/bm25", "candidates[0].bm25"),
        ("/k", "k"),
        ("limit", "limit"),
        ("/a~1b/c~0d", "a/b.c~d"),
        ("/0", "[0]"),
        ("/x/\u00b2", "x.\u00b2"),  # a digit to Python, none to JSON
        ("", ""),
    ],
)
def test_a_pointer_reads_as_errors_name_fields(pointer: str, field: str) -> None:
    assert field_of_pointer(pointer) == field


def test_the_offending_value_is_the_one_that_was_sent() -> None:
    sent = b'{"candidates": [{"id": "a", "bm25": "7"}]}'
    body = msgspec.json.encode({"code": "type:bm25", "detail": "d", "path": "/candidates/0/bm25"})
    error = error_of(read_problem(400, body), sent)
    assert (error.code, error.field, error.value) == ("type:bm25", "candidates[0].bm25", "7")
    assert isinstance(error, errors.RecordError)
