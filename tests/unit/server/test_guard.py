"""What the door refuses, asked through ASGI itself."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest

from dwell.errors import RequestError
from dwell.server.guard import Guard, GuardLimits, inflated, is_too_deep


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = (await receive())["body"]
    await send({"type": "http.response.start", "status": 200, "headers": [(b"server", b"x")]})
    await send({"type": "http.response.body", "body": body})


def asked(
    parts: list[bytes],
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    delay_s: float = 0.0,
    **limits: Any,
) -> tuple[int, dict[str, str], bytes]:
    """Send a request in parts and return status, headers and body."""
    sent: list[Any] = []
    left = [{"type": "http.request", "body": p, "more_body": n < len(parts) - 1} for n, p in enumerate(parts)]

    async def receive() -> Any:
        await asyncio.sleep(delay_s)
        return left.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "path": "/",
        "headers": [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()],
    }  # fmt: skip
    asyncio.run(Guard(echo, GuardLimits(**limits))(scope, receive, send))
    found = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], found, b"".join(m.get("body", b"") for m in sent[1:])


def test_a_request_passes_with_its_body_and_gets_the_headers() -> None:
    status, headers, body = asked([b"ab", b"cd"])
    assert (status, body) == (200, b"abcd")
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers
    assert "access-control-allow-origin" not in headers
    assert asked([b""], {"X-Request-Id": "mine-1"})[1]["x-request-id"] == "mine-1"
    assert asked([b""], {"X-Request-Id": "a b"})[1]["x-request-id"] != "a b"


def test_a_body_that_is_a_little_too_long_is_read_to_its_end() -> None:
    parts = [b"x" * 60] * 50
    read: list[int] = []

    class Counted(bytes):
        def __len__(self) -> int:
            read.append(1)
            return super().__len__()

    assert asked([Counted(one) for one in parts], max_body_bytes=100)[0] == 413
    assert len(read) >= len(parts)


@pytest.mark.parametrize(
    ("parts", "headers", "status", "code"),
    [
        ([b"x" * 101], {}, 413, "too_large"),
        ([b"x" * 60, b"x" * 60], {}, 413, "too_large"),
        ([b""], {"Content-Length": "101"}, 413, "too_large"),
        ([b""], {"Content-Length": "9" * 5_000}, 413, "too_large"),
        ([gzip.compress(b"x" * 101)], {"Content-Encoding": "gzip"}, 413, "too_large"),
        ([b"nothing packed"], {"Content-Encoding": "gzip"}, 400, "malformed_json"),
        ([b"x"], {"Content-Encoding": "br"}, 415, "unsupported_media_type"),
        ([b"[" * 65 + b"]" * 65], {"Content-Encoding": "identity"}, 413, "too_large"),
        ([b"[" * 65], {}, 400, "malformed_json"),
    ],
)
def test_what_is_refused_is_told_as_a_problem(
    parts: list[bytes], headers: dict[str, str], status: int, code: str
) -> None:
    found, sent, body = asked(parts, headers, max_body_bytes=100)
    assert (found, json.loads(body)["code"]) == (status, code)
    assert sent["content-type"] == "application/problem+json"
    assert json.loads(body)["request_id"] == sent["x-request-id"]


def test_a_hundred_bytes_pass_and_so_do_they_when_packed() -> None:
    assert asked([b"x" * 100], max_body_bytes=100)[0] == 200
    status, _, body = asked([gzip.compress(b"x" * 100)], {"Content-Encoding": "gzip"}, max_body_bytes=100)
    assert (status, body) == (200, b"x" * 100)


def test_a_slow_body_is_told_408() -> None:
    assert asked([b"a"] * 50, delay_s=0.02, body_deadline_s=0.1)[0] == 408


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    with pytest.raises(RequestError) as caught:
        inflated(gzip.compress(bytes(50_000_000)), 1_000)
    assert caught.value.code == "too_large"
    packed = gzip.compress(b"abc")
    for damaged in (packed[:-1], packed + b"x", zlib.compress(b"abc")):
        with pytest.raises(RequestError):
            inflated(damaged, 1_000)


@pytest.mark.parametrize(("depth", "is_deep"), [(64, False), (65, True)])
def test_depth_is_counted_outside_of_strings(depth: int, *, is_deep: bool) -> None:
    for start, end in ((b"[", b"]"), (b'{"a":', b"}")):
        assert is_too_deep(start * depth + b"1" + end * depth, 64) == is_deep
    assert not is_too_deep(b'["' + b"[" * 500 + b'\\"{{"]', 64)
    assert not is_too_deep(b"[" + b"[]," * 500 + b"[]]", 64)


def test_pages_of_listed_origins_may_read_and_others_may_not() -> None:
    limits = {"origins": frozenset({"https://shop.example"})}
    preflight = {"Access-Control-Request-Method": "POST"}
    for origin, is_allowed in (("https://shop.example", True), ("https://shop.example.evil", False), ("null", False)):
        _, headers, _ = asked([b""], {"Origin": origin}, **limits)
        assert (headers.get("access-control-allow-origin") == origin) == is_allowed
        assert headers["vary"] == "origin"
        status, headers, _ = asked([b""], {"Origin": origin, **preflight}, method="OPTIONS", **limits)
        assert status == 204
        assert ("access-control-allow-methods" in headers) == is_allowed


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "127.0.0.1:8765"}, 200),
        ({"Host": "localhost"}, 200),
        ({"Host": "localhost:1", "Origin": "http://localhost:3000"}, 200),
        ({"Host": "[::1]:8765", "Origin": "https://shop.example"}, 200),
        ({"Host": "localhost", "Origin": "https://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost.evil.example"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Host": "rebound.example"}, 403),
        ({}, 403),
    ],
)
def test_without_keys_pages_from_elsewhere_may_not_call(headers: dict[str, str], status: int) -> None:
    assert asked([b""], headers, is_local=True, origins=frozenset({"https://shop.example"}))[0] == status
    assert asked([b""], headers)[0] == 200, "with keys the key decides"
