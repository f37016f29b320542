"""What the service holds while it runs: a loop per tenant, the keys, the learner's link, and what was counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from dwell.config import ServeSettings
from dwell.errors import DwellError, StorageError
from dwell.health import AlertState, HealthReport
from dwell.loop import Loop, open_loop
from dwell.loop.tally import Histogram
from dwell.records import Served
from dwell.server.admission import Admission
from dwell.server.arrivals import Arrivals
from dwell.server.consulting import Consultation
from dwell.server.guard import SECURITY_HEADERS
from dwell.server.keys import Key, Keyring, authenticated, is_active, read_keyring
from dwell.server.learner import Plan
from dwell.server.learner_calls import LearnerCalls, Link
from dwell.server.learner_link import LearnerLink
from dwell.server.ledgers import Ledgers
from dwell.server.page_room import PageRoom
from dwell.server.rate_limits import Limiter, RateLimits
from dwell.server.recent_lists import RecentLists
from dwell.server.sessions import N_NAME_BYTES, Session, begin, end, find, read_ended
from dwell.server.tokens import SigningKey, mint, read_signing_keys, signing_keys, verify
from dwell.server.tracing import where_traced

__all__ = ["FOLLOW_S", "RANK_EDGES_S", "Counts", "House", "Turn", "open_house", "plan_of"]

_log = logging.getLogger("dwell.serve")

#: How long news is waited for before it is looked for: a promoted version serves within a second.
FOLLOW_S: Final = 0.4
# between two looks: any user of the database may send what looks like news, thousands a second (tests/e2e/test_workers)
_BREATH_S: Final = 0.02
# From the quickest list to what a searcher takes for broken; most take one to ten milliseconds
RANK_EDGES_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_PAGES_OF: Final = 8  # of the requests that are worked on at once so many are pages at most: 32 of 256
_ALWAYS: Final = frozenset({b"/livez", b"/readyz"})
_NOBODY: Final = Key(id="no-auth", kind="admin", tenant="", name="everybody on this machine", created_at=0.0)


#: A figure's name, then its labels in the order in which they are told: what was counted under them.
Counts = dict[tuple[str, ...], float]


async def _alone(counts: Counts) -> Counts:
    return counts


@dataclass(slots=True, eq=False)
class Turn:
    """Who may work on one idempotency key now.

    Attributes:
        lock: Held by one request.
        n_waiting: Requests that hold it or wait for it.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    n_waiting: int = 0


@dataclass(slots=True, eq=False)
class House:
    """Everything that the routes share. Safe from any thread.

    Attributes:
        where: The store's file.
        arguments: Of `dwell.open`, for every tenant.
        settings: How to serve.
        link: The learner.
        is_open: Whether no key is asked for.
        started_at: UTC epoch seconds.
        limiter: How often public callers may ask.
        is_draining: Whether the service is being shut down.
        n_in_flight: Requests that are worked on.
        requests: Number of answers by route and status.
        at_work: Turns of the idempotency keys that are worked on, by tenant and key.
        reports: What the learner last said of each tenant's loop.
        asked: What it was asked of each and has not said yet, or has said last.
        admission: How many requests are worked on, and who is refused before anything is spent on him.
        arrivals: What the writers have done, for those who wait in the event loop.
        recent: The newest lists as its pages show them, by tenant.
        consultations: What the doctor last said, by tenant.
        alerts: Where each tenant's alerts stand, by their codes, once they were looked at.
        ledgers: What each tenant's ledger holds in sum.
        rank_duration_s: How long lists took to order.
        pages: Where pages are made.
        gather: Returns what was counted by all that serve, this process's share given.
        calls: Calls to the learner.
    """

    where: str
    arguments: Mapping[str, Any]
    settings: ServeSettings
    link: Link
    is_open: bool
    started_at: float
    limiter: Limiter
    admission: Admission
    _loops: dict[str, Loop] = field(default_factory=dict)
    _keyring: Keyring = field(default_factory=Keyring)
    _signing: tuple[SigningKey, ...] = ()
    _ended: Mapping[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _data_version: int = -1
    is_draining: bool = False
    n_in_flight: int = 0
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    at_work: dict[tuple[str, str], Turn] = field(default_factory=dict)
    reports: dict[str, HealthReport] = field(default_factory=dict)
    asked: dict[str, Future[HealthReport]] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=Arrivals)
    recent: dict[str, RecentLists] = field(default_factory=dict)
    consultations: dict[str, Consultation] = field(default_factory=dict)
    alerts: dict[str, dict[str, AlertState]] = field(default_factory=dict)
    ledgers: Ledgers = field(default_factory=Ledgers)
    rank_duration_s: Histogram = field(default_factory=lambda: Histogram(RANK_EDGES_S))
    pages: PageRoom = field(default_factory=lambda: PageRoom(1))
    gather: Callable[[Counts], Awaitable[Counts]] = _alone
    calls: LearnerCalls = field(init=False)
    _is_closing: threading.Event = field(default_factory=threading.Event)
    _follower: threading.Thread | None = None

    def __post_init__(self) -> None:
        self.calls = LearnerCalls(self.link)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may serve the same store."""
        return self.loop("")._state.store.role == "serving"  # noqa: SLF001 - how it was opened

    def follow(self, patience_s: float = FOLLOW_S) -> None:
        """Wait for news of other processes, and take over what they committed; while the store is away, nothing.

        What is served then, and who may ask, stays what was known last.
        """
        with contextlib.suppress(StorageError):
            self.loop("")._state.store.wait_for_news(patience_s)  # noqa: SLF001 - news are the store's
        try:
            self._refresh()
            for loop in self.loops().values():
                loop.refresh()
        except StorageError:
            self._is_closing.wait(patience_s)

    def _follow_on(self) -> None:
        while not self._is_closing.is_set():
            try:
                self.follow()
            except Exception:  # noqa: BLE001 - whatever it is, who stops following serves old params for ever
                _log.exception("what other processes committed was not taken over; it will be")
                self._is_closing.wait(FOLLOW_S)
            self._is_closing.wait(_BREATH_S)

    def loop(self, tenant: str) -> Loop:
        """Return a tenant's loop, opened at its first use.

        Raises:
            StorageError: It can not be opened.
        """
        found = self._loops.get(tenant)
        if found is not None:
            return found
        with self._lock:
            found = self._loops.get(tenant)
            if found is None:
                opened = open_loop(self.where, **self.arguments, tenant=tenant, strict=True, _role="server")
                opened._state.is_followed = self._follower is not None  # noqa: SLF001 - by the thread of this house
                found = where_traced(opened, tenant, is_traced=self.settings.is_traced)
                self._loops[tenant] = found
        self.link.follow(tenant)
        return found

    def loops(self) -> dict[str, Loop]:
        """Return the loops that are open, by tenant."""
        return dict(self._loops)

    @property
    def has_keys(self) -> bool:
        """Whether anybody was given a key."""
        return bool(self._keyring.keys)

    def key_of(self, presented: str | None) -> Key | None:
        """Return whose key this is; None for none, a wrong one, or one that is over."""
        if self.is_open:
            return _NOBODY
        if not presented:
            return None
        return authenticated(self._keyring, presented, time.time())

    def key_by_id(self, key_id: str) -> Key | None:
        """Return a key that is good now by its identity, or None."""
        found = self._keyring.get(key_id)
        return found if found is not None and is_active(found, time.time()) else None

    def token_for(self, served: Served, user: str | None, tenant: str) -> str:
        """Return the signed token of a list that is about to be shown to a user."""
        return self.token(served.event_id, served.ids, user, tenant)

    def token(self, event_id: str, shown: Sequence[str], user: str | None, tenant: str) -> str:
        """Return the signed token of a list that is shown to a user."""
        return mint(
            self._signing,
            tenant=tenant,
            event_id=event_id,
            served=shown,
            subject=self._subject(user, tenant),
            expires_at=time.time() + self.settings.token_lifetime_s,
        )

    def check_token(self, token: str | None, *, tenant: str, event_id: str, user: str | None) -> None:
        """Return where a token proves that this list was served to this user.

        Raises:
            TokenInvalid: In every other case, with one message.
        """
        verify(
            self._signing,
            token or "",
            tenant=tenant,
            event_id=event_id,
            subject=self._subject(user, tenant),
            now=time.time(),
            served=self.loop(tenant).shown(event_id),
        )

    def begin_session(self, key_id: str, now: float) -> str:
        """Return the cookie of a new session of the dashboard."""
        return begin(self._signing, key_id, now, secrets.token_bytes(N_NAME_BYTES))

    def session(self, cookie: str, now: float) -> Session | None:
        """Return the session of a cookie, in whichever process it began; None where there is none, or no longer."""
        return find(self._signing, cookie, now, self._ended)

    def end_session(self, cookie: str, now: float) -> None:
        """End a session, here at once and in other processes within a second; one that is not known is fine.

        Raises:
            StorageError: It could not be noted, and goes on.
        """
        found = self.session(cookie, now)
        if found is not None:
            self.loop("")._state.write(lambda tx: end(tx, found, now))  # noqa: SLF001 - sessions are the store's
            self._ended = {**self._ended, found.name: found.expires_at}

    def _subject(self, user: str | None, tenant: str) -> str:
        return "" if user is None else self.loop(tenant).pseudonym(user)

    def _refresh(self) -> None:
        """Take over the keys that another process changed.

        Raises:
            StorageError: The store could not be read; the keys are those of before.
        """
        store = self.loop("")._state.store  # noqa: SLF001 - keys are the store's, not a tenant's
        version = store.data_version()
        if version == self._data_version:
            return
        with store.snapshot() as reader:
            keyring, signing, ended = read_keyring(reader), read_signing_keys(reader), read_ended(reader)
        now = time.time()
        self._keyring = keyring
        # one that was ended here just now may not be in what was read
        self._ended = {name: at for name, at in {**self._ended, **ended}.items() if at > now}
        self._signing = signing or self._signing
        self._data_version = version

    def close(self) -> None:
        """Write what is queued, end the learner and release the store."""
        self.is_draining = True
        self._is_closing.set()
        self.pages.close()
        if self._follower is not None and self._follower.is_alive():
            self._follower.join()
        self.link.close()
        for loop in self.loops().values():
            loop.close()


def plan_of(where: str, arguments: Mapping[str, Any], settings: ServeSettings) -> Plan:
    """Return what the learner beside a service is told."""
    return Plan(
        where, dict(arguments), settings.train_every_s, settings.train_after_events, is_traced=settings.is_traced
    )


def open_house(
    where: str,
    arguments: Mapping[str, Any],
    settings: ServeSettings,
    *,
    is_open: bool = False,
    link: Link | None = None,
) -> House:
    """Return a running house: the default tenant's loop is open and the learner is on its way.

    Args:
        where: The store's file, made where it is not there yet.
        arguments: Of `dwell.open`, without `tenant` and `strict`.
        settings: How to serve.
        is_open: Whether no key is asked for.
        link: The way to a learner that runs already; without it one is started.

    Raises:
        StorageError: The store can not be opened, or lives in memory, where no learner can stand beside it.
        ConfigError: An argument is out of range.
    """
    if where == ":memory:":
        raise StorageError(
            "a store in memory has no room for the learner's process", code="in_memory", hint="Give a file's path."
        )
    limits = RateLimits(
        per_key=settings.requests_per_minute_per_key,
        per_address=settings.requests_per_minute_per_address,
        per_subject=settings.requests_per_minute_per_subject,
    )
    limiter = Limiter(limits, time.monotonic)
    admission = Admission(settings.max_in_flight, always=_ALWAYS, headers=SECURITY_HEADERS)
    house = House(
        where,
        dict(arguments),
        settings,
        link or LearnerLink(plan_of(where, arguments, settings)),
        is_open,
        time.time(),
        limiter,
        admission,
    )
    house.pages = PageRoom(max(settings.max_in_flight // _PAGES_OF, 1))
    house._follower = threading.Thread(target=house._follow_on, name="dwell-follower", daemon=True)  # noqa: SLF001
    try:
        loop = house.loop("")
        house._signing = signing_keys(loop._state.store, now=time.time())  # noqa: SLF001 - keys are the store's
        house._refresh()  # noqa: SLF001 - of the same module
    except DwellError:
        house.close()
        raise
    house.link.start()
    house._follower.start()  # noqa: SLF001 - of the same module
    return house
