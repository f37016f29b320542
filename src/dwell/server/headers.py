"""Headers that every call shares: what its body is said to be, and the key that makes its retries count once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from starlette.requests import Request

from dwell.errors import RequestError

if TYPE_CHECKING:
    from dwell.server.endpoints import Endpoint

__all__ = ["MAX_KEY_CHARS", "check_headers"]

MAX_KEY_CHARS: Final = 256
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{MAX_KEY_CHARS}}}")
# What curl says where it is told nothing is JSON here: pages that could send it are refused by their origin
_JSON: Final = frozenset({"application/json", "application/x-www-form-urlencoded", ""})
_USUAL: Final = "application/json"
_TOLD: Final = frozenset({"application/json"})
_LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl", "text/plain"})
_UTF8: Final = frozenset({"", "utf-8", "utf8", "us-ascii"})


async def check_headers(request: Request, endpoint: Endpoint) -> None:
    """Return where the headers of a request fit its call.

    Raises:
        RequestError: code `unsupported_media_type` for a body of another kind or in another alphabet than UTF-8; `type`
            for an `Idempotency-Key` that is empty, too long, or not of printable ASCII.
    """
    if endpoint.method != "POST":
        return
    key = request.headers.get("idempotency-key")
    if key is not None and _KEY.fullmatch(key) is None:
        raise RequestError(
            f"an idempotency key has 1 to {MAX_KEY_CHARS} printable ASCII characters without blanks",
            code="type",
            field="Idempotency-Key",
            hint="Use a UUID.",
        )
    if endpoint.may_be_empty and not await request.body():
        return
    if request.headers.get("content-type") == _USUAL:
        return
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    kinds = _JSON | _LINES if endpoint.lines else _JSON
    charset = re.search(r"charset\s*=\s*\"?([^\s\";]*)", parameters, re.IGNORECASE)
    if media.strip().lower() not in kinds or (charset[1].lower() if charset else "") not in _UTF8:
        raise RequestError(
            f"a body of this call is {' or '.join(sorted(_LINES | _TOLD if endpoint.lines else _TOLD))}, in UTF-8",
            code="unsupported_media_type",
            field="Content-Type",
            hint="Say so in Content-Type.",
        )
