"""What a webhook's receiver gets, and whom the sender does not talk to."""

import hashlib
import hmac
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dwell.errors import ConfigError
from dwell.server.webhook import Webhook, signature

from ..canary import CANARY, kept  # noqa: TID252 - tests are no installed package
from .receiving import Receiver, receiver

SECRET = CANARY + "-of-a-webhook"
BODY = b'{"id":"a1","kind":"fired"}'


@pytest.fixture(autouse=True)
def _secret_is_kept() -> None:
    kept.keep("a webhook's secret", SECRET)


@pytest.fixture(scope="module")
def listens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    with receiver(tmp_path_factory.mktemp("tls"), host="localhost") as found:
        yield found


@pytest.fixture
def hook(listens: Receiver) -> Webhook:
    listens.got.clear()
    listens.answers.clear()
    return Webhook(listens.url + "?a=1", SECRET, is_allowed=lambda _: True, tls=listens.trusted)


def answer(listens: Receiver, hook: Webhook, raw: bytes) -> str:
    listens.answers.append(raw)
    return hook.send(BODY, id="a1").outcome


def test_a_receiver_can_tell_that_it_is_ours_whole_and_new(listens: Receiver, hook: Webhook) -> None:
    before = int(time.time())
    assert hook.send(BODY, id="a1") == ("delivered", "status 204")
    (got,) = listens.wait_for(1)
    assert (got.line, got.body, got.server_name) == ("POST /hook?a=1 HTTP/1.1", BODY, "localhost")
    assert got.headers["host"] == listens.url.split("/")[2]
    assert got.headers["idempotency-key"] == "a1"
    assert got.headers["content-type"] == "application/json"
    at, value = got.headers["dwell-signature"].removeprefix("t=").split(",v1=")
    assert before <= int(at) <= time.time()
    expected = hmac.new(SECRET.encode(), at.encode() + b"." + got.body, hashlib.sha256).hexdigest()
    assert value == expected
    assert SECRET not in str(got)


def test_the_signature_is_of_this_body_this_instant_and_this_secret() -> None:
    one = signature("s" * 32, BODY, 1_700_000_000)
    assert one.startswith("t=1700000000,v1=")
    others = (signature("s" * 32, BODY + b" ", 1_700_000_000), signature("t" * 32, BODY, 1_700_000_000))
    assert len({one[-64:], *(other[-64:] for other in others), signature("s" * 32, BODY, 1_700_000_001)[-64:]}) == 4


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "delivered"),
        (202, "delivered"),
        (301, "refused"),
        (302, "refused"),
        (307, "refused"),
        (400, "refused"),
        (404, "refused"),
        (410, "refused"),
        (408, "again"),
        (429, "again"),
        (500, "again"),
        (503, "again"),
    ],
)
def test_what_an_answer_means(listens: Receiver, hook: Webhook, status: int, outcome: str) -> None:
    elsewhere = f"HTTP/1.1 {status} x\r\nLocation: {listens.url}/elsewhere\r\nContent-Length: 0\r\n\r\n"
    assert answer(listens, hook, elsewhere.encode()) == outcome
    time.sleep(0.01)
    assert len(listens.wait_for(1)) == len(listens.got) == 1  # nobody went elsewhere


@pytest.mark.parametrize("raw", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 2000 x\r\n", b"x" * 5_000])
def test_what_is_no_answer_is_tried_again(listens: Receiver, hook: Webhook, raw: bytes) -> None:
    assert answer(listens, hook, raw) == "again"


def test_only_to_a_certificate_that_is_trusted(listens: Receiver, hook: Webhook) -> None:
    sent = Webhook(listens.url, SECRET, is_allowed=lambda _: True).send(BODY, id="a1")
    assert sent.outcome == "again"
    assert "certificate is not trusted" in sent.reason
    assert hook.send(BODY, id="a2").outcome == "delivered"
    assert [got.headers["idempotency-key"] for got in listens.wait_for(1)] == ["a2"]


def test_in_production_this_machine_is_not_talked_to(listens: Receiver) -> None:
    before = listens.n_connections
    sent = Webhook(listens.url, SECRET).send(BODY, id="a1")
    assert (sent.outcome, listens.n_connections) == ("refused", before)
    assert "localhost" not in sent.reason


def test_a_name_is_looked_up_once_and_that_address_is_connected_to(
    listens: Receiver, hook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that says something else the second time, as in DNS rebinding, is never asked a second time.

    And it is the name for which the certificate must be good, whatever the address.
    """
    port = int(listens.url.split(":")[2].split("/")[0])
    true = socket.getaddrinfo
    asked: list[Any] = []

    def rebinding(host: Any, *arguments: Any, **named: Any) -> Any:
        asked.append(host)
        return true("localhost" if len(asked) == 1 else "192.0.2.1", *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    before = listens.n_connections
    sent = Webhook(f"https://hooks.test:{port}/", SECRET, is_allowed=lambda _: True, tls=listens.trusted).send(
        BODY, id="a1"
    )
    assert "hooks.test" in sent.reason  # the certificate is for localhost
    assert (sent.outcome, asked, listens.n_connections) == ("again", ["hooks.test"], before + 1)
    assert listens.got == []


def test_a_receiver_that_says_nothing_ends_in_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("dwell.server.webhook._TIMEOUT_S", 0.3)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        hook = Webhook(f"https://127.0.0.1:{silent.getsockname()[1]}/", SECRET, is_allowed=lambda _: True)
        began = time.monotonic()
        assert hook.send(BODY, id="a1") == ("again", "no answer in time")
        assert time.monotonic() - began < 5.0
    assert hook.send(BODY, id="a1").outcome == "again"  # nobody listens there any more


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example/",
        "https://hooks.example:22/",
        "https://hooks.example:80/",
        "https://hooks.example:99999/",
        "https://me@hooks.example/",
        "https://hooks.example/#a",
        "https:///",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://[fd00:ec2::254]/",
        "https://hooks.example/a b",
        "https://hooks.example/a\r\nX: y",
        "https://hooks.example/?a=\x00",
        "https://hooks.example/\N{LATIN SMALL LETTER E WITH ACUTE}",
        "https://127\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}0\N{IDEOGRAPHIC FULL STOP}1/",
    ],
)
def test_where_nothing_is_ever_sent(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Webhook(url, SECRET)
    assert caught.value.field == "alerts.webhook_url"
    assert url not in str(caught.value)


def test_it_does_not_show_what_lets_one_in() -> None:
    shown = repr(Webhook("https://hooks.example/services/B1", SECRET, tls=ssl.create_default_context()))
    assert SECRET not in shown
    assert "B1" not in shown
