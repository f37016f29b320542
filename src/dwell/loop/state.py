"""What one open loop holds: its store, its rules, the params in force and the experience in memory."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from dwell.config import Config
from dwell.errors import StorageError, StoreClosedError
from dwell.loop.activity import FEATURES, Activity, Watch, follow_others, with_activation
from dwell.loop.close import Rules
from dwell.loop.erasures import n_erasures_of
from dwell.loop.expected import Expected
from dwell.loop.judge import Band
from dwell.loop.replayed import Replayed
from dwell.loop.serve import Serving
from dwell.loop.tally import Tally
from dwell.loop.train import Standing
from dwell.records import Params, Served
from dwell.records.arrays import Float32Array, FloatArray
from dwell.records.impression import Arm, Mode
from dwell.replay.meter import RateMeter
from dwell.reward.measuring import Measured
from dwell.reward.position_fit import Calibration
from dwell.reward.provenance import named_by
from dwell.storage import Store, Transaction, Writer

__all__ = ["Identity", "Limits", "LoopState"]

T = TypeVar("T")

_POLL_S: Final = 0.5  # another process's promotion is seen within 1 s: design, section 4
MAX_RECENT: Final = 10_000  # answers kept for retries; older ones are read from the store


_MAX_VERSIONS: Final = 64  # params kept in memory; with 1,024 learned curves each they are megabytes


class Identity(NamedTuple):
    """What makes this store's answers its own.

    Attributes:
        tenant: Tenant, "" by default.
        secret: Seeds the draws, 32 bytes, never shown.
        salt: Salt of the hold-out split.
        pepper: Pseudonymises users; kept outside the store.
        seed: The caller's seed.
    """

    tenant: str
    secret: bytes
    salt: bytes
    pepper: bytes
    seed: int

    @property
    def naming_salt(self) -> bytes:
        """What names of queries in health reports are made with: whoever has it can tell whether a guess is right."""
        told = self.tenant.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(told, key=self.pepper[:64], person=b"dwell names", digest_size=32).digest()


class Limits(NamedTuple):
    """Bounds of one loop.

    Attributes:
        capacity: Closed events kept for learning and judging.
        max_results: Served documents that are learned from.
        max_candidates: Documents whose features are kept per event.
        embedding_dim: Dimension of query embeddings, or None until the first.
        retention_s: Age after which facts are removed, or None.
        max_store_bytes: Size from which evicted facts are removed, oldest first.
        canary_share: Share of users who are served the proposal in mode "canary".
        holdout: Share of users whose events only judge.
        archive: Folder that facts go to before they are removed, or None.
    """

    capacity: int
    max_results: int
    max_candidates: int
    embedding_dim: int | None
    retention_s: float | None
    max_store_bytes: int
    canary_share: float
    holdout: float
    archive: str | Path | None = None


@dataclass(slots=True, eq=False)
class LoopState:
    """Everything that changes while a loop is open; each field has one writer.

    `live` is swapped by one reference. `training` is held by close, train, promote, erase; rank and feedback never wait
    for it. `swapping` is held for as long as it takes to read or set which version is live. `is_learning_elsewhere`:
    another process closes events, learns and judges, and this one follows it. `is_followed`: a thread looks for what
    other processes commit, so that rank does not.
    """

    store: Store
    writer: Writer | None
    config: Config
    rules: Rules
    feature_names: tuple[str, ...]
    caller_names: tuple[str, ...]
    identity: Identity
    limits: Limits
    mode: Mode
    temperature: float
    is_strict: bool
    live: Params
    replayed: Replayed
    is_rebuilt: bool = False
    standing: Standing | None = None
    watched: Standing | None = None
    restored: tuple[bytes | None, ...] | None = None
    expected: Expected | None = None
    band: Band | None = None
    measured: Measured | None = None
    activity: Activity | None = None
    learner: str = "replay"
    calibrated: Calibration | None = None
    params_by_version: OrderedDict[int, Params] = field(default_factory=OrderedDict)
    recent: OrderedDict[str, tuple[Served, bytes]] = field(default_factory=OrderedDict)
    reopened: set[int] = field(default_factory=set)
    meter: RateMeter | None = None
    n_metered: int = 0
    warm_up: list[Float32Array] = field(default_factory=list)
    counters: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(init=False)
    training: threading.RLock = field(default_factory=threading.RLock)
    serving: threading.Lock = field(default_factory=threading.Lock)
    swapping: threading.Lock = field(default_factory=threading.Lock)
    is_live_pending: bool = False
    is_learning_elsewhere: bool = False
    is_followed: bool = False
    n_erasures_seen: int = 0
    n_takings: int = 1
    is_closed: bool = False
    _seen_version: int = -1
    _polled_at: float = 0.0

    def __post_init__(self) -> None:
        declared = frozenset(self.rules.preset.signals)
        self.tally = Tally(declared | {named_by(name, "agent") for name in declared})

    def write(self, job: Callable[[Transaction], T], *, then: Callable[[Future[T]], None] | None = None) -> T:
        """Return what a job returns once its commit is durable.

        Args:
            job: Called with the transaction.
            then: Called in the writer's thread, success or not, and has returned before this returns.

        Raises:
            StorageError: The store could not, or this process may only read.
        """
        if self.is_closed:
            raise StoreClosedError("the loop is closed", hint="Open it again.")
        if self.writer is not None:
            self.writer.check_may_wait()
            return _settled(self.writer, job, then)
        if self.store.role == "reader":
            raise StorageError("this loop was opened for reading", hint="Open it without read-only.")
        with self.store.transaction() as tx:
            return job(tx)

    def write_watched(self, job: Callable[[Transaction, Watch | None], T]) -> T:
        """Return what a job returns once its commit is durable; what it tells the watch changes activation.

        Raises:
            StorageError: As `write`.
        """
        watched, settle = with_activation(self.activity, self.store, job)
        found: T = self.write(watched, then=settle)
        return found

    def check_may_wait(self) -> None:
        """Return where this thread may wait for a commit.

        Raises:
            StorageError: code `in_callback`: it is the writer's own, in which callbacks of futures run.
        """
        if self.writer is not None:
            self.writer.check_may_wait()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold `training`.

        Raises:
            StorageError: code `in_callback`: whoever holds it may be waiting for this very thread.
        """
        self.check_may_wait()
        with self.training:
            yield

    def params(self, version: int) -> Params | None:
        """Return a version, from memory where it was asked for before."""
        if version == self.live.version:
            return self.live
        with self.serving:
            found = self.params_by_version.get(version)
            if found is not None:
                self.params_by_version.move_to_end(version)
                return found
        with self.store.snapshot() as reader:
            found = reader.params(version)
        if found is None:
            return None
        found = replace(found, temperature=self.temperature)
        with self.serving:
            self.params_by_version[version] = found
            while len(self.params_by_version) > _MAX_VERSIONS:
                self.params_by_version.popitem(last=False)
        return found

    @property
    def caller_order(self) -> tuple[str, ...]:
        """The features that the caller gives, in the loop's order; its own stand behind them."""
        return self.feature_names if self.activity is None else self.feature_names[: -len(FEATURES)]

    def store_size(self) -> int:
        """Return the bytes that the facts take."""
        with self.store.snapshot() as reader:
            return reader.size_bytes()

    def theta(self) -> FloatArray:
        """Return the examination of every position that is learned from, float64 (max_results,)."""
        return self.rules.examination.theta(self.limits.max_results)

    def refresh(self, *, at_once: bool = False) -> bool:
        """Take over what another process committed: promotions, rollbacks and erasures; return whether it did commit.

        Erased events leave the memory before the next sample, not here: that takes longer than a rank may.

        Args:
            at_once: Look now; else at most twice a second.
        """
        now = time.monotonic()
        if self.is_closed or (not at_once and now - self._polled_at < _POLL_S):
            return False
        self._polled_at = now
        version = self.store.data_version()
        if version == self._seen_version:
            return False
        with self.swapping:
            if self.is_live_pending:  # our own version is on its way to the disk: what stands there is older
                return False
            with self.store.snapshot() as reader:
                live_version = reader.live_version()
                n_erasures = n_erasures_of(reader)
            found = None if live_version in {None, self.live.version} else self.params(live_version or 0)
            if found is not None and found.feature_names == self.feature_names:
                self.live = found
            self._seen_version = version
        is_erased = n_erasures != self.n_erasures_seen
        if is_erased:
            self.n_erasures_seen = n_erasures
            with self.serving:
                self.recent.clear()
        if is_erased or self.store.role == "serving":
            follow_others(self.activity, self.store, self.writer)
        return True

    def swap(self, params: Params, *, is_pending: bool = False) -> Params:
        """Put params in force and return those that were.

        Args:
            params: They are in the store already, unless `is_pending`.
            is_pending: Whether their commit is still on its way.
        """
        with self.swapping:
            before, self.live, self.is_live_pending = self.live, params, is_pending
            self._seen_version = -1  # another process may have promoted since: the next look tells
        return before

    @property
    def proposed(self) -> Params | None:
        """The standing proposal's params, or None."""
        standing = self.standing
        return None if standing is None else standing.params

    def how_to_serve(self, arm: Arm, params: Params) -> Serving:
        """Return how a list is ordered now for one arm."""
        by_caller = self.mode in {"log-only", "shadow"}
        return Serving(
            params=params,
            policy="caller" if by_caller or params.origin == "caller-order" else "params",
            mode=self.mode,
            arm=arm,
            temperature=0.0 if by_caller else self.temperature,
            max_results=self.limits.max_results,
            max_candidates=self.limits.max_candidates,
            secret=self.identity.secret,
            seed=self.identity.seed,
            # other arms are compared with something as they are
            swap_share=self.config.training.swap_share if arm == "live" and not by_caller else 0.0,
        )


def _settled(writer: Writer, job: Callable[[Transaction], T], then: Callable[[Future[T]], None] | None) -> T:
    """Return what a job returned once what follows it is done as well: a waiter wakes before callbacks are called."""
    is_settled = threading.Event()

    def settle(written: Future[T]) -> None:
        try:
            if then is not None:
                then(written)
        finally:
            is_settled.set()

    written = writer.submit(job, then=settle)
    is_settled.wait()
    return written.result()
