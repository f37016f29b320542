"""Gather what the doctor judges from: the newest events of a store, whoever else has it open, and its side file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from dwell.activation import FEATURES
from dwell.errors import (
    ConfigError,
    CorruptStoreError,
    DwellError,
    PepperMismatch,
    RingUnusable,
    SchemaVersionError,
    StorageError,
)
from dwell.health import HealthReport, HealthSnapshot, report_health
from dwell.health.doctor import MOST_EVENTS, Diagnosis, Evidence, RingSeen, SeenEvent, diagnose, unopened, with_counted
from dwell.loop.archiving import PENDING, pending_erasures
from dwell.loop.keep import RING_NOTES
from dwell.loop.opening import ring_path
from dwell.loop.replayed import Notes
from dwell.loop.rows import query_hash, user_hash
from dwell.loop.snapshot import STATES, health_snapshot
from dwell.loop.state import LoopState
from dwell.records import Params
from dwell.storage import Reader
from dwell.storage.ownership import holder
from dwell.storage.places import has_side_files
from dwell.storage.ring_file import Header, read_header
from dwell.storage.upgrading import due_version, stored_version

__all__ = ["examined", "why_unopened"]

_REASONS: Final = 1_000  # newest quarantined calls whose reasons are counted
_LONG_WINDOW_S: Final = 86_400.0  # windows are minutes to hours; who reads a file in which none has ended can not know
_MISSING: Final = frozenset({"ring_missing"})


def examined(state: LoopState, now: float) -> Diagnosis:
    """Return what is wrong with a loop, from its newest events; nothing is written.

    Args:
        state: The loop, in any role.
        now: UTC epoch seconds.

    Raises:
        StorageError: The store could not be read.
    """
    if state.writer is not None:
        state.writer.flush()
    with state.store.snapshot() as reader:
        evidence = _gathered(reader, state, now)
        pending = {PENDING: len(pending_erasures(reader))}
    # from the store: the process that could not erase, and counted it, may be gone
    return with_counted(diagnose(evidence, _report(state, evidence)), pending)


def why_unopened(error: DwellError, where: str, now: float) -> Diagnosis:
    """Return the diagnosis of a store that could not be opened or read.

    Args:
        error: What was raised.
        where: The store's file, or the URL of a database.
        now: UTC epoch seconds.
    """
    code, message = error.code, error.message
    if isinstance(error, CorruptStoreError):
        code = "corrupt"
    elif isinstance(error, SchemaVersionError):
        found = stored_version(where)
        due = due_version(where)
        code = "schema_newer" if found > due else "schema_older"
        message = f"it has schema version {found}, and this dwell needs {due}"
    elif isinstance(error, PepperMismatch) and code != "pepper_permissions":
        code = "pepper_mismatch" if has_side_files(where) else "pepper_of_database"
    elif isinstance(error, ConfigError) and error.field == "pepper":
        code = "pepper_of_database"
    return unopened(code, message, error.hint, now=now)


def _gathered(reader: Reader, state: LoopState, now: float) -> Evidence:
    seqs = reader.seqs(limit=MOST_EVENTS, newest_first=True)[::-1]
    outcomes = {outcome.seq: outcome for outcome in reader.outcomes(seqs)}
    signals = reader.signals(seqs)
    decisions = tuple(reader.decisions())
    events = tuple(
        SeenEvent(
            impression,
            outcomes[impression.seq].state,
            outcomes[impression.seq].reward,
            outcomes[impression.seq].document_rewards,
            tuple(signals[impression.seq]),
        )
        for impression in reader.impressions(seqs)
        if impression.seq in outcomes
    )
    counts = reader.counts()
    reasons = Counter(one.reason.partition(": ")[0] for one in reader.quarantined(limit=_REASONS))
    return Evidence(
        now=now,
        mode=state.mode,
        events=events,
        counts=counts,
        feature_names=state.feature_names,
        own_features=tuple(name for name in state.feature_names if name in FEATURES),
        live=state.live,
        start=_start(reader, state.feature_names),
        n_learned=len({d.proposed_version for d in decisions if d.kind == "judged"}),
        decisions=decisions,
        attribution_window_s=_window_s(state, counts),
        quarantine_reasons=reasons,
        ring=_ring(reader, state),
    )


def _window_s(state: LoopState, counts: Mapping[str, int]) -> float:
    """Return how long signals are waited for, the longest that is usual where neither settings nor file say so."""
    is_told = state.store.role != "reader" or any(counts.get(name) for name in ("closed", "reopened", "evicted"))
    return state.rules.attribution_window_s if is_told else max(state.rules.attribution_window_s, _LONG_WINDOW_S)


def _start(reader: Reader, names: tuple[str, ...]) -> Params | None:
    """Return the params that ordered before anything was learned, None where that was the caller."""
    for version in reader.params_versions():
        params = reader.params(version)
        if params is None or params.origin == "learned":
            return None
        if params.origin != "caller-order" and params.feature_names == names:
            return params
    return None


def _ring(reader: Reader, state: LoopState) -> RingSeen:
    """Return how the side file of columns stands, from its header alone: it may be gigabytes."""
    where = state.store.where
    if not has_side_files(where):
        return RingSeen("none", "a store in memory, or in a database, has none")
    try:
        header = read_header(ring_path(where, state.identity.tenant))
    except RingUnusable as error:
        if error.code in _MISSING:
            return RingSeen("none", "there is none; the first training makes it")
        return RingSeen("damaged", error.message)
    except StorageError as error:
        return RingSeen("none", f"it can not be read: {error.message}")
    owner = holder(where)
    if owner is not None:
        return RingSeen("in_use", f"process {owner} has the store open and writes to it")
    return _out_of_step(reader, header) or RingSeen("in_step", f"it holds {header.n_live} events, as the store does")


def _out_of_step(reader: Reader, header: Header) -> RingSeen | None:
    if not header.is_clean:
        return RingSeen("stale", "whoever wrote it ended in the middle of it")
    body = reader.setting(RING_NOTES)
    try:
        notes = None if body is None else msgspec.msgpack.decode(body, type=Notes)
    except msgspec.DecodeError:
        notes = None
    if notes is None or header.epoch != notes.token or notes.epoch != reader.epoch():
        return RingSeen("stale", "the store went on without it")
    return None


def _report(state: LoopState, evidence: Evidence) -> HealthReport:
    """Return the health report: of everything where that is in memory, else of the events that were read."""
    if state.is_rebuilt:
        return report_health(health_snapshot(state, evidence.now))
    return report_health(_snapshot(state, evidence))


def _snapshot(state: LoopState, evidence: Evidence) -> HealthSnapshot:
    """Return what health is judged from, of the events that were read: to read all of them takes long."""
    finished = evidence.finished
    shown = [event.impression for event in finished]
    promoted = [d for d in evidence.decisions if d.verdict == "promote" and d.kind in {"judged", "requested", "forced"}]
    last = evidence.decisions[-1] if evidence.decisions else None
    names = list(dict.fromkeys(one.segment for one in shown))
    return HealthSnapshot(
        now=evidence.now,
        capacity=state.limits.capacity,
        states={name: n for name, n in evidence.counts.items() if name in STATES and n},
        served_at=np.array([one.served_at for one in shown]),
        rewards=np.array([event.reward for event in finished], dtype=np.float64),
        user_hashes=np.array([0 if one.user is None else user_hash(one.user) for one in shown], dtype=np.uint64),
        has_user=np.array([one.user is not None for one in shown], dtype=bool),
        query_hashes=np.array([query_hash(one.query) for one in shown], dtype=np.uint64),
        segment_codes=np.array([names.index(one.segment) for one in shown], dtype=np.int64),
        segments=dict(enumerate(names)),
        is_held_out=np.zeros(len(shown), dtype=bool),
        priorities=np.ones(len(shown)),
        counters=dict(state.counters),
        n_signals=evidence.counts.get("signals", 0),
        live_version=state.live.version,
        n_promotions=len(promoted),
        last_verdict="" if last is None else f"{last.verdict}: {last.reasons[0]}",
    )
