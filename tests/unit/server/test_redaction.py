"""No secret gets through a log line, however it came into it."""

import json
import logging
import sys

import pytest

from dwell.server.keys import Keyring, created
from dwell.server.redaction import JsonLines, redacted
from dwell.server.tokens import SigningKey, mint

MADE = created(Keyring(), kind="secret", name="n", now=0.0, entropy=bytes(range(40)))
SECRET = MADE.text.split("_")[3]
TOKEN = mint([SigningKey(b"k" * 32, 0.0)], tenant="", event_id="e", served=["d"], subject="u", expires_at=1.0)


def line(message: str, *given: object, exc_info: object = None) -> str:
    record = logging.LogRecord("dwell", logging.ERROR, "f", 1, message, given, exc_info)  # type: ignore[arg-type]
    return JsonLines().format(record)


@pytest.mark.parametrize(
    "place",
    [
        "{}",
        "Authorization: Bearer {}",
        "/v1/x?key={}&a=1",
        "{{'token': '{}'}}",
        '{{"x-api-key":"{}"}}',
        "(b'authorization', b'{}')",
    ],
)
@pytest.mark.parametrize("what", [MADE.text, MADE.text[:-8], TOKEN])
def test_keys_and_tokens_are_masked_wherever_they_stand(place: str, what: str) -> None:
    shown = redacted(place.format(what))
    for part in (SECRET[:30], TOKEN.partition(".")[0], TOKEN.partition(".")[2]):
        assert part not in shown


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer canary",
        "x-api-key=canary&b=1",
        "{'authorization': 'Basic canary'}",
        "(b'cookie', b'canary')",
        '{"token": "canary"}',
    ],
)
def test_what_stands_after_a_telling_name_is_masked(text: str) -> None:
    assert "canary" not in redacted(text)


def test_a_key_can_still_be_found_by_its_id() -> None:
    assert MADE.key.id in redacted(MADE.text)
    assert redacted("20 events closed in 0.3 s") == "20 events closed in 0.3 s"


def test_a_traceback_is_masked_and_everything_is_one_line() -> None:
    try:
        raise ValueError(MADE.text)  # noqa: TRY301 - the traceback is what is looked at
    except ValueError:
        shown = line("failed\nAuthorization: %s", MADE.text, exc_info=sys.exc_info())
    assert SECRET not in shown
    assert "\n" not in shown
    assert json.loads(shown)["message"].startswith("failed\n")
    assert "ValueError" in json.loads(shown)["traceback"]
