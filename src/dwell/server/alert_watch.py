"""The service watches itself: reports become alerts that are logged, kept and sent, and no request waits for any of it.

Looking is done in the event loop, between requests; sending in a thread of its own, whose receiver may be as slow as it
likes. What they share stands in the store: a change and its message are written together.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from dwell.errors import StorageError
from dwell.health import AlertSettings, AlertState, Change, HealthReport, step
from dwell.loop import Loop
from dwell.loop.alert_states import alert_states, put_alert_states
from dwell.server.house import House
from dwell.server.outbox import MOST_WAITING, Message, after_attempt, put_messages, settle, waiting
from dwell.server.redaction import redacted
from dwell.server.webhook import Sent, Webhook
from dwell.storage import Transaction

__all__ = ["AlertWatch", "Tell", "message_of"]

Tell = Callable[[House, str], Awaitable[HealthReport]]

_log = logging.getLogger("dwell.alerts")

_SETTLING_S: Final = 10.0  # a learner takes seconds to start: that it is not there yet is nothing to tell
_LONGEST_WAIT_S: Final = 60.0  # between two looks into the outbox: what another process left there is found
_READ_S: Final = 1.0  # what one process says of alerts, all do within a second
_JOIN_S: Final = 5.0  # at the end; what is under way then is sent again, under its id, after the next start
_MOST_WORDS: Final = 1_000  # characters of a text that is sent: receivers show a line or two


class AlertWatch:
    """Follows the alerts of every tenant of a house.

    Args:
        house: The service.
        rules: When an alert fires, and how often to look.
        tell: Returns how a tenant's loop is.
        webhook: Who is told of changes, or None.
        is_telling: Whether this process looks, for all that serve; else it reads what the one that looks has kept.
    """

    def __init__(
        self,
        house: House,
        rules: AlertSettings,
        tell: Tell,
        webhook: Webhook | None = None,
        *,
        is_telling: bool = True,
    ) -> None:
        self._house = house
        self._rules = rules
        self._tell = tell
        self._webhook = webhook
        self._is_telling = is_telling
        self._news = threading.Event()
        self._is_closing = threading.Event()
        self._sender = threading.Thread(target=self._send, name="dwell-alerts", daemon=True)

    async def run(self) -> None:
        """Look every `every_s` seconds until cancelled; what goes wrong is logged, and looked at again."""
        while not self._is_telling:
            await asyncio.sleep(_READ_S)
            await asyncio.to_thread(self._read)
        if self._webhook is not None:
            self._sender.start()
        try:
            await asyncio.sleep(min(self._rules.every_s, _SETTLING_S))
            while True:
                for tenant in self._house.loops():
                    await self.look(tenant, time.time())
                await asyncio.sleep(self._rules.every_s)
        finally:
            self._is_closing.set()
            self._news.set()
            if self._webhook is not None:
                await asyncio.to_thread(self._sender.join, _JOIN_S)

    async def look(self, tenant: str, now: float) -> tuple[Change, ...]:
        """Return what changed with a tenant's newest report; it is kept, logged, and on its way to be sent.

        Where it can not be kept nobody is told, and it is found again at the next look.
        """
        try:
            loop = self._house.loop(tenant)
            known = self._house.alerts.get(tenant)
            if known is None:
                known = await asyncio.to_thread(_kept, loop)
            states, changes = step(known, await self._tell(self._house, tenant), now, self._rules)
            if states != known:
                await asyncio.to_thread(self._keep, loop, tenant, states, changes)
        except Exception:  # noqa: BLE001 - whatever it is, a service that no longer looks would look well
            _log.exception("the alerts of tenant %r were not looked at; they will be", tenant)
            return ()
        self._house.alerts[tenant] = states
        for change in changes:
            _say(change, tenant)
        if changes:
            self._news.set()
        return changes

    def _read(self) -> None:
        """Take over where the alerts stand, as the process that looks has kept it."""
        for tenant, loop in self._house.loops().items():
            with contextlib.suppress(StorageError):
                self._house.alerts[tenant] = _kept(loop)

    def _keep(self, loop: Loop, tenant: str, states: dict[str, AlertState], changes: tuple[Change, ...]) -> None:
        messages = [message_of(change, tenant) for change in changes] if self._webhook is not None else []

        def job(tx: Transaction) -> int:
            put_alert_states(tx, states)
            return put_messages(tx, messages) if messages else 0

        n_lost = loop._state.write(job)  # noqa: SLF001 - alerts are the service's, not the loop's
        if n_lost:
            _log.error("%d messages were given up: more than %d wait for the webhook", n_lost, MOST_WAITING)

    # ---- the sender's thread

    def _send(self) -> None:
        while not self._is_closing.is_set():
            self._news.clear()
            next_at = min((self.deliver(tenant, time.time()) for tenant in self._house.loops()), default=0.0)
            pause_s = min(max(next_at - time.time(), 0.0), _LONGEST_WAIT_S)
            self._news.wait(pause_s)

    def deliver(self, tenant: str, now: float) -> float:
        """Send what is due of a tenant, in order, and return when the next message is; at the latest in a minute."""
        try:
            loop = self._house.loop(tenant)
            while not self._is_closing.is_set():
                with loop._state.store.snapshot() as reader:  # noqa: SLF001 - as above
                    messages = waiting(reader)
                if not messages or messages[0].next_at > now:
                    return messages[0].next_at if messages else now + _LONGEST_WAIT_S
                self._attempt(loop, messages[0], now)
        except Exception:  # noqa: BLE001 - as in `look`
            if not self._is_closing.is_set():  # then the store is being closed as well: they wait in it
                _log.exception("messages of tenant %r are not sent for now", tenant)
        return now + _LONGEST_WAIT_S

    def _attempt(self, loop: Loop, message: Message, now: float) -> None:
        assert self._webhook is not None  # noqa: S101 - there is no sender without it
        sent = self._webhook.send(message.body.encode(), id=message.id)
        after = after_attempt(message, sent, now)
        loop._state.write(lambda tx: settle(tx, message.id, after))  # noqa: SLF001 - as above
        if sent.outcome != "delivered":
            _say_not_sent(sent, message, after)


def message_of(change: Change, tenant: str) -> Message:
    """Return what is sent of a change: its id tells repetitions apart from news, also across restarts."""
    name = hashlib.blake2b(f"{tenant}\0{change.id}".encode(), digest_size=16).hexdigest()
    body = {
        "id": name,
        "kind": change.kind,
        "code": change.code,
        "severity": change.severity,
        "message": redacted(change.message)[:_MOST_WORDS],
        "remedy": redacted(change.remedy)[:_MOST_WORDS],
        "at": change.at,
        "since": change.since,
        "tenant": tenant,
    }
    return Message(name, msgspec.json.encode(body).decode())


def _kept(loop: Loop) -> dict[str, AlertState]:
    with loop._state.store.snapshot() as reader:  # noqa: SLF001 - alerts are the service's, not the loop's
        return alert_states(reader)


def _say(change: Change, tenant: str) -> None:
    how = logging.ERROR if change.severity == "critical" and change.kind != "resolved" else logging.WARNING
    fields = {"kind": change.kind, "code": change.code, "severity": change.severity, "since": change.since}
    words = "alert %s: %s (%s), tenant %r: %s.%s"
    remedy = "" if change.kind == "resolved" else f" {change.remedy}"
    told = (change.kind, change.code, change.severity, tenant, change.message.removesuffix("."), remedy)
    _log.log(how, words, *told, extra={"alert": {**fields, "tenant": tenant}})


def _say_not_sent(sent: Sent, message: Message, after: Message | None) -> None:
    next_ = "it is given up" if after is None else f"attempt {after.n_attempts + 1} follows"
    _log.warning("message %s did not reach the webhook (%s): %s", message.id, sent.reason, next_)
