import pytest

from dwell.server.wording import pointer_in_body, remedy_of

NAMES = ("bm25", "cosine")


@pytest.mark.parametrize(
    ("pointer", "path", "found"),
    [
        ("/candidates/0/bm25", "/v1/rank", "/candidates/0/bm25"),
        ("/features/3/cosine", "/v1/rank", "/features/3/1"),
        ("/features/3/unknown", "/v1/rank", "/features/3/unknown"),
        ("/features", "/v1/rank", "/features"),
        ("/ids/2/id", "/v1/rank", "/ids/2"),
        ("/shown/0/id", "/v1/activate", "/shown/0"),
        ("/candidates/1/id", "/v1/log_retrieval", "/results/1/id"),
        ("/candidates", "/v1/log_retrieval", "/results"),
        ("/params/weights/bm25", "/v1/promote", "/weights/bm25"),
        ("/params/weights", "/v1/evaluate", "/weights"),
        ("/params", "/v1/evaluate", "/version"),
        ("/payload", "/ubi/events", ""),
        ("/Idempotency-Key", "/ubi/events", "/Idempotency-Key"),
    ],
)
def test_a_place_is_told_as_the_body_has_it(pointer: str, path: str, found: str) -> None:
    assert pointer_in_body(pointer, path, NAMES) == found


def test_what_only_python_can_do_is_told_in_the_words_of_http() -> None:
    assert remedy_of("type:bm25", "Pass a str.") == remedy_of("type", "Pass True.")
    assert "/v1/params" in remedy_of("feature_schema", "Open the store with features=[...].")
    assert "/v1/history" in remedy_of("nothing_to_roll_back", "Loop.history() lists what was live.")
    assert "/openapi.json" in remedy_of("something_new", "Pass it.")
    assert "/openapi.json" in remedy_of("something_new", "")


def test_what_anybody_can_do_is_left_as_it_is() -> None:
    assert remedy_of("results_shape", "Number them from 1.") == "Number them from 1."
    hint = "Did you mean 'click'? Declare others through rewards=."
    assert remedy_of("unknown_signal", hint).startswith("Did you mean 'click'? Others are declared in")
