"""The service watches itself: an alert is logged once, kept, sent once, and over once, across restarts."""

import asyncio
import contextlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dwell
from dwell.config import ServeSettings
from dwell.errors import ConfigError
from dwell.health import Alert, AlertSettings, Change, HealthReport
from dwell.loop.alert_states import alert_states
from dwell.server.alert_watch import AlertWatch, message_of
from dwell.server.house import House, open_house
from dwell.server.outbox import waiting
from dwell.server.redaction import JsonLines
from dwell.server.running import run_service
from dwell.server.webhook import Webhook

from ..canary import CANARY, kept  # noqa: TID252 - tests are no installed package
from .prometheus import promtool
from .receiving import OK, Receiver, receiver
from .serving import Service, service

SECRET = CANARY + "-of-a-webhook"
TOLD = "looks-like-a-token-and-is-none"
PEPPER = CANARY + "-pepper"
QUICK = AlertSettings(every_s=1.0, raise_after_reports=1, raise_after_s=0.0, clear_after_reports=1, clear_after_s=0.0)
WELL = HealthReport("healthy", [], {})
ILL = HealthReport("critical", [Alert("dropped", "critical", "3 lists lost", f"never say token={TOLD}")], {})


@pytest.fixture(autouse=True)
def _secret_is_kept() -> None:
    kept.keep("a webhook's secret", SECRET)


@pytest.fixture
def listens(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path) as found:
        yield found


@contextlib.contextmanager
def house(tmp_path: Path) -> Iterator[House]:
    found = open_house(str(tmp_path / "a.dwell"), {"features": ["x"], "pepper": PEPPER}, ServeSettings(), is_open=True)
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house for several tests, each with a tenant of its own."""
    with house(tmp_path_factory.mktemp("shared")) as found:
        yield found


class Spoken:
    """A way to tell how a loop is, whose words the test chooses."""

    def __init__(self) -> None:
        self.report = WELL

    async def __call__(self, _house: House, _tenant: str) -> HealthReport:
        return self.report


def watching(of: House, listens: Receiver) -> tuple[AlertWatch, Spoken]:
    tell = Spoken()
    hook = Webhook(listens.url, SECRET, is_allowed=lambda _: True, tls=listens.trusted)
    return AlertWatch(of, QUICK, tell, hook), tell


def look(watch: AlertWatch, now: float, tenant: str = "") -> list[str]:
    return [change.kind for change in asyncio.run(watch.look(tenant, now))]


def outbox(of: House, tenant: str = "") -> list[tuple[str, int]]:
    with of.loop(tenant)._state.store.snapshot() as reader:
        return [(json.loads(message.body)["kind"], message.n_attempts) for message in waiting(reader)]


def test_a_change_is_kept_sent_once_and_remembered_over_a_restart(tmp_path: Path, listens: Receiver) -> None:
    with house(tmp_path) as one:
        watch, tell = watching(one, listens)
        tell.report = ILL
        assert [look(watch, 10.0), look(watch, 20.0)] == [["fired"], []]
        assert outbox(one) == [("fired", 0)]
        listens.answers.append(b"HTTP/1.1 503 Busy\r\n\r\n")
        due = watch.deliver("", 20.0)
        assert outbox(one) == [("fired", 1)]
        assert watch.deliver("", due - 0.001) == due
        assert len(listens.wait_for(1)) == len(listens.got) == 1  # it is not tried before it is due

    with house(tmp_path) as again:  # a restart between two attempts
        watch, tell = watching(again, listens)
        tell.report = ILL
        assert look(watch, 30.0) == []
        assert again.alerts[""]["dropped"].since == 10.0
        assert outbox(again) == [("fired", 1)]
        watch.deliver("", due)
        assert outbox(again) == []
        tell.report = WELL
        assert look(watch, 40.0) == ["resolved"]
        watch.deliver("", 40.0)
        watch.deliver("", 50.0)

    sent = [json.loads(got.body) for got in listens.wait_for(3)]
    assert len(listens.got) == 3
    assert [body["kind"] for body in sent] == ["fired", "fired", "resolved"]
    assert sent[0] == sent[1]
    assert [got.headers["idempotency-key"] for got in listens.got] == [body["id"] for body in sent]
    assert sent[0]["id"] != sent[2]["id"]
    assert TOLD not in sent[0]["remedy"]
    assert {name: sent[0][name] for name in ("code", "severity", "message", "at", "since", "tenant")} == {
        "code": "dropped",
        "severity": "critical",
        "message": "3 lists lost",
        "at": 10.0,
        "since": 10.0,
        "tenant": "",
    }


def test_nobody_is_told_that_it_is_over_before_that_it_began(shared: House, listens: Receiver) -> None:
    watch, tell = watching(shared, listens)
    listens.answer = b"HTTP/1.1 500 Broken\r\n\r\n"
    tell.report = ILL
    look(watch, 10.0, "in-order")
    due = watch.deliver("in-order", 10.0)
    tell.report = WELL
    look(watch, 11.0, "in-order")
    assert watch.deliver("in-order", 12.0) == due
    assert outbox(shared, "in-order") == [("fired", 1), ("resolved", 0)]
    listens.answer = OK
    watch.deliver("in-order", due)
    assert [json.loads(got.body)["kind"] for got in listens.wait_for(3)] == ["fired", "fired", "resolved"]
    assert outbox(shared, "in-order") == []


def test_what_can_not_be_delivered_is_given_up_and_the_log_says_so(
    shared: House, listens: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    watch, tell = watching(shared, listens)
    listens.answer = b"HTTP/1.1 502 Bad\r\n\r\n"
    tell.report = ILL
    look(watch, 0.0, "given-up")
    now, n = 0.0, 0
    while outbox(shared, "given-up"):
        now, n = watch.deliver("given-up", now), n + 1
        assert n < 20
    assert n == len(listens.got) == 6
    assert "it is given up" in caplog.text


def test_what_can_not_be_kept_is_told_to_nobody_and_found_again(
    shared: House, listens: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    watch, tell = watching(shared, listens)
    tell.report = ILL
    look(watch, 1.0, "closed")
    tell.report = WELL
    shared.loop("closed").close()
    assert look(watch, 2.0, "closed") == []
    assert "were not looked at" in caplog.text
    del shared._loops["closed"]
    assert look(watch, 3.0, "closed") == ["resolved"]
    watch.deliver("closed", 3.0)
    assert [json.loads(got.body)["at"] for got in listens.wait_for(2)] == [1.0, 3.0]


def test_searches_do_not_wait_for_a_receiver(shared: House) -> None:
    """A receiver that answers nothing holds the sender's thread, and nothing else."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        tell = Spoken()
        tell.report = ILL
        hook = Webhook(f"https://127.0.0.1:{silent.getsockname()[1]}/", SECRET, is_allowed=lambda _: True)
        watch = AlertWatch(shared, QUICK, tell, hook)

        async def served() -> float:
            running = asyncio.create_task(watch.run())
            while "" not in shared.alerts:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
            began = time.monotonic()
            for _ in range(10):
                shared.loop("").rank("q", [{"id": "a", "x": 1.0}])
                await asyncio.sleep(0)
            took_s = time.monotonic() - began
            silent.accept()[0].close()
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            return took_s

        assert asyncio.run(served()) < 2.0  # a fifth of what the receiver is waited for


def test_a_service_that_would_call_into_its_own_network_does_not_start(tmp_path: Path) -> None:
    store = tmp_path / "never.dwell"
    alerts = AlertSettings(webhook_url="https://169.254.169.254/latest/meta-data/", webhook_secret=SECRET)
    with pytest.raises(ConfigError, match="public address"):
        run_service(str(store), {}, ServeSettings(), is_open=True, say=print, advise=print, alerts=alerts)
    assert not store.exists()


def test_ids_of_tenants_are_apart() -> None:
    change = Change("x-1-fired", "fired", "x", "warning", "m" * 5_000, "r", 1.0, 1.0)
    one, other = message_of(change, "one"), message_of(change, "other")
    assert one.id != other.id
    assert len(one.body) < 3_000
    assert one == message_of(change, "one")


def test_the_log_has_one_line_with_fields_and_no_secret(caplog: pytest.LogCaptureFixture, shared: House) -> None:
    tell = Spoken()
    tell.report = ILL
    with caplog.at_level(logging.WARNING, "dwell.alerts"):
        look(AlertWatch(shared, QUICK, tell), 10.0, "logged")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records]
    (line,) = [line for line in lines if line["logger"] == "dwell.alerts"]
    assert line["level"] == "ERROR"
    fields = {"kind": "fired", "code": "dropped", "severity": "critical", "since": 10.0, "tenant": "logged"}
    assert line["alert"] == fields
    assert "never say token=" in line["message"]
    assert TOLD not in json.dumps(line)


def fires(found: Service) -> bytes:
    """Return what is told to Prometheus once an alert is among it."""
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        told: bytes = found.call("GET", "/metrics")[1]
        if b'dwell_alerts_firing{code="no_feedback",severity="critical",tenant=""} 1.0' in told:
            return told
        time.sleep(0.2)
    raise AssertionError(found.log())


def test_dwell_serve_says_it_once_over_restarts_and_remembers_since(tmp_path: Path) -> None:
    """120 lists without one reaction: the service finds it out, says it once, and a second start says nothing."""
    store = tmp_path / "quiet.dwell"
    with dwell.open(store, features=["x"], pepper=PEPPER, attribution_window_s=1.0) as loop:
        for i in range(120):
            loop.rank("q", [{"id": "a", "x": 1.0}], user=f"u{i}", now=1_700_000_000.0 + i)
        loop.close_events(now=1_700_001_000.0)
    environment = {
        "DWELL_PEPPER": PEPPER,
        "DWELL_ALERTS__EVERY_S": "1",
        "DWELL_ALERTS__RAISE_AFTER_REPORTS": "1",
    }
    with service(store, "--no-auth", environment=environment) as found:
        told = fires(found)
        first = found.log()
    with service(store, "--no-auth", environment=environment) as again:
        fires(again)  # it has looked, and knows
        second = again.log()
    lines: list[dict[str, Any]] = [json.loads(line) for line in first.splitlines() if line.startswith("{")]
    said = [line["alert"] for line in lines if line.get("alert", {}).get("code") == "no_feedback"]
    assert [(alert["kind"], alert["severity"]) for alert in said] == [("fired", "critical")]
    assert '"code": "no_feedback"' not in second
    assert b'dwell_buffer_items{tenant=""} 120.0' in told
    assert promtool("check", "metrics", read=told) == (0, "")
    with dwell.open(store, pepper=PEPPER) as loop, loop._state.store.snapshot() as reader:
        assert alert_states(reader)["no_feedback"].since == said[0]["since"]
