"""What the service holds while it runs: a loop per tenant, the keys, the learner's link, and what was counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
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
from dwell.server.learner_link import LearnerLink
from dwell.server.ledgers import Ledgers
from dwell.server.page_room import PageRoom
from dwell.server.rate_limits import Limiter, RateLimits
from dwell.server.recent_lists import RecentLists
from dwell.server.sessions import Sessions
from dwell.server.tokens import SigningKey, mint, read_signing_keys, signing_keys, verify
from dwell.server.tracing import where_traced

__all__ = ["RANK_EDGES_S", "House", "Turn", "open_house"]

_POLL_S: Final = 0.5  # a revoked key is refused within a second
# From the quickest list to what a searcher takes for broken; most take one to ten milliseconds
RANK_EDGES_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_PAGES_OF: Final = 8  # of the requests that are worked on at once so many are pages at most: 32 of 256
_ALWAYS: Final = frozenset({b"/livez", b"/readyz"})
_NOBODY: Final = Key(id="no-auth", kind="admin", tenant="", name="everybody on this machine", created_at=0.0)


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
        sessions: Who is signed in to the dashboard.
        recent: The newest lists as its pages show them, by tenant.
        consultations: What the doctor last said, by tenant.
        alerts: Where each tenant's alerts stand, by their codes, once they were looked at.
        ledgers: What each tenant's ledger holds in sum.
        rank_duration_s: How long lists took to order.
        pages: Where pages are made.
    """

    where: str
    arguments: Mapping[str, Any]
    settings: ServeSettings
    link: LearnerLink
    is_open: bool
    started_at: float
    limiter: Limiter
    admission: Admission
    _loops: dict[str, Loop] = field(default_factory=dict)
    _keyring: Keyring = field(default_factory=Keyring)
    _signing: tuple[SigningKey, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _looked_at: float = -1.0
    _data_version: int = -1
    is_draining: bool = False
    n_in_flight: int = 0
    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    at_work: dict[tuple[str, str], Turn] = field(default_factory=dict)
    reports: dict[str, HealthReport] = field(default_factory=dict)
    asked: dict[str, Future[HealthReport]] = field(default_factory=dict)
    arrivals: Arrivals = field(default_factory=Arrivals)
    sessions: Sessions = field(default_factory=Sessions)
    recent: dict[str, RecentLists] = field(default_factory=dict)
    consultations: dict[str, Consultation] = field(default_factory=dict)
    alerts: dict[str, dict[str, AlertState]] = field(default_factory=dict)
    ledgers: Ledgers = field(default_factory=Ledgers)
    rank_duration_s: Histogram = field(default_factory=lambda: Histogram(RANK_EDGES_S))
    pages: PageRoom = field(default_factory=lambda: PageRoom(1))

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
        self._refresh()
        return authenticated(self._keyring, presented, time.time())

    def key_by_id(self, key_id: str) -> Key | None:
        """Return a key that is good now by its identity, or None."""
        self._refresh()
        found = self._keyring.get(key_id)
        return found if found is not None and is_active(found, time.time()) else None

    def token_for(self, served: Served, user: str | None, tenant: str) -> str:
        """Return the signed token of a list that is about to be shown to a user."""
        return self.token(served.event_id, served.ids, user, tenant)

    def token(self, event_id: str, shown: Sequence[str], user: str | None, tenant: str) -> str:
        """Return the signed token of a list that is shown to a user."""
        self._refresh()
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

    def _subject(self, user: str | None, tenant: str) -> str:
        return "" if user is None else self.loop(tenant).pseudonym(user)

    def _refresh(self) -> None:
        """Take over the keys that another process changed, looked for twice a second."""
        now = time.monotonic()
        if now - self._looked_at < _POLL_S:
            return
        self._looked_at = now
        store = self.loop("")._state.store  # noqa: SLF001 - keys are the store's, not a tenant's
        version = store.data_version()
        if version == self._data_version:
            return
        with store.snapshot() as reader:
            keyring, signing = read_keyring(reader), read_signing_keys(reader)
        self._keyring = keyring
        self._signing = signing or self._signing
        self._data_version = version

    def close(self) -> None:
        """Write what is queued, end the learner and release the store."""
        self.is_draining = True
        self.pages.close()
        self.link.close()
        for loop in self.loops().values():
            loop.close()


def open_house(where: str, arguments: Mapping[str, Any], settings: ServeSettings, *, is_open: bool = False) -> House:
    """Return a running house: the default tenant's loop is open and the learner is on its way.

    Args:
        where: The store's file, made where it is not there yet.
        arguments: Of `dwell.open`, without `tenant` and `strict`.
        settings: How to serve.
        is_open: Whether no key is asked for.

    Raises:
        StorageError: The store can not be opened, or lives in memory, where no learner can stand beside it.
        ConfigError: An argument is out of range.
    """
    if where == ":memory:":
        raise StorageError(
            "a store in memory has no room for the learner's process", code="in_memory", hint="Give a file's path."
        )
    learner_arguments = dict(arguments)
    plan = Plan(
        where, learner_arguments, settings.train_every_s, settings.train_after_events, is_traced=settings.is_traced
    )
    limits = RateLimits(
        per_key=settings.requests_per_minute_per_key,
        per_address=settings.requests_per_minute_per_address,
        per_subject=settings.requests_per_minute_per_subject,
    )
    limiter = Limiter(limits, time.monotonic)
    admission = Admission(settings.max_in_flight, always=_ALWAYS, headers=SECURITY_HEADERS)
    house = House(where, dict(arguments), settings, LearnerLink(plan), is_open, time.time(), limiter, admission)
    house.pages = PageRoom(max(settings.max_in_flight // _PAGES_OF, 1))
    try:
        loop = house.loop("")
        house._signing = signing_keys(loop._state.store, now=time.time())  # noqa: SLF001 - keys are the store's
        house._refresh()  # noqa: SLF001 - of the same module
    except DwellError:
        house.close()
        raise
    house.link.start()
    return house
