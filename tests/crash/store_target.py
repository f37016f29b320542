"""A store of realistic content, and everything that can be read of it; see `flips.py`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import numpy as np

import dwell
from dwell.errors import DwellError
from dwell.records import Signal
from dwell.storage import PairStatistics, Quarantined, Reader, open_store

FILE: Final = "s"
ERRORS: Final = (DwellError,)

_FEATURES: Final = ("bm25", "cosine", "recency")
_START: Final = 1_700_000_000.0
_WINDOW_S: Final = 100.0
_PEPPER: Final = b"a pepper of these tests"
_DIM: Final = 16
_QUERY_HASH: Final = bytes(range(16))


def _open(folder: Path) -> dwell.Loop:
    return dwell.open(
        folder / FILE,
        features=_FEATURES,
        attribution_window_s=_WINDOW_S,
        pepper=_PEPPER,
        embedding_dim=_DIM,
        config={
            "gate": {"min_events": 50, "min_users": 5},
            "training": {"target_steps": 20, "max_seconds": 60.0},
            "learner": {"step_size": 0.05},
        },
    )


def _visit(loop: dwell.Loop, rng: np.random.Generator, n: int, now: float) -> None:
    relevant = rng.permutation(np.linspace(0.0, 1.0, 8))
    candidates = [
        {"id": f"kb-{100 * n + i}", "bm25": float(r), "cosine": float(rng.random()), "recency": float(1.0 - r)}
        for i, r in enumerate(relevant)
    ]
    embedding = rng.standard_normal(_DIM).astype(np.float32)
    query = f"reset two-factor sign-in, question {n % 23}"
    event_id = f"event-{n:05d}"
    served = loop.rank(
        query, candidates, k=5, user=f"user-{n % 40}", segment=f"team-{n % 3}", query_embedding=embedding,
        event_id=event_id, activate=n % 29 != 0, now=now,
    )  # fmt: skip
    if n % 29 == 0 and n % 58 == 0:
        loop.activate(event_id, shown=served.ids[:3], now=now)
    good = {c["id"]: c["bm25"] for c in candidates}
    for i, doc in enumerate(served.ids[:3]):
        if rng.random() < good[doc] / (i + 1):
            loop.submit_feedback(event_id, "click", doc=doc, now=now + 1.0, idempotency_key=f"key-{n}-{i}")
            loop.submit_feedback(event_id, "dwell", doc=doc, value=float(rng.uniform(5.0, 90.0)), now=now + 50.0)


def make(folder: Path) -> None:
    """Write a store: events in all states, several versions, orphans, statistics, an erased user."""
    rng = np.random.default_rng(4)
    now = _START
    with _open(folder) as loop:
        for n in range(240):
            _visit(loop, rng, n, now)
            now += 1.0
            if n % 80 == 79:
                now += _WINDOW_S
                loop.train(now=now)
        loop.feedback("event-00001", "click", doc=loop.rank("other", ids=["a"], features=[[1, 1, 1]], now=now).ids[0])
        loop.feedback("event-that-comes-later", "click", doc="kb-1", now=now)
        last = loop.params
        loop.promote(
            dataclasses.replace(last, weights={"bm25": 0.8, "cosine": 0.5, "recency": 0.1}), force=True, now=now
        )
        loop.promote(
            dataclasses.replace(last, weights={"bm25": 0.2, "cosine": 0.9, "recency": 0.4}), force=True, now=now
        )
        loop.rollback(now=now)
        loop.erase("user-7", now=now)
        for n in range(240, 250):
            _visit(loop, rng, n, now)
    # derived, and damaged by tests of its own: here the facts have to answer
    (folder / f"{FILE}.ring").unlink()
    store = open_store(str(folder / FILE))
    with store.transaction() as tx:
        tx.evict([3, 4, 5])
        tx.add_quarantined(Quarantined("event-bad", "non_finite: a feature", now, user="0" * 32))
        pair = PairStatistics(
            _QUERY_HASH, "team-1", "kb-1", 2.5, 1.25, 0.5, tuple(bytes([i] * 8) for i in range(5)), now
        )
        tx.merge_statistics([pair], half_life_s=3600.0, most=100)
        tx.put_traces([(f"kb-{i}", rng.bytes(209), 10**15 + i) for i in range(40)])
        for _ in range(5):
            tx.add_trace_change(rng.bytes(50))
    store.close()


def read(folder: Path) -> dict[str, str]:
    """Return everything that the public surface and the store give away, as text."""
    found = {}
    with _open(folder) as loop:
        found["live"] = _bits(loop.params)
        found["proposed"] = _bits(loop.proposed)
        found["history"] = "\n".join(map(repr, loop.history()))
        found["experiences"] = "\n".join(map(repr, loop.experiences()))
        found["health"] = repr(loop.health(now=_START + 1_000.0).alerts)
    store = open_store(str(folder / FILE), role="reader")
    with store.snapshot() as reader:
        found |= facts(reader)
    store.close()
    return found


def facts(reader: Reader) -> dict[str, str]:
    """Return everything that a store gives away, as text, whatever the order of traces."""
    seqs = reader.seqs()
    impressions = reader.impressions(seqs)
    ids = [impression.event_id for impression in impressions]
    signals = reader.signals(seqs)
    return {
        "seqs": repr((seqs, reader.last_seq(), reader.seqs(newest_first=True, since=_START + 50.0))),
        "impressions": "\n".join(map(_bits, impressions)),
        "outcomes": "\n".join(map(_bits, reader.outcomes(seqs))),
        "signals": "\n".join(_signal(signal) for seq in seqs for signal in signals[seq]),
        "events": repr([reader.event(event_id) for event_id in ids]),
        "due": repr(reader.due(_START + 1e6, limit=1_000)),
        "orphans": repr(reader.orphans("event-that-comes-later")),
        "versions": "\n".join(_bits(reader.params(version)) for version in reader.params_versions()),
        "live_version": repr(reader.live_version()),
        "quarantined": repr(reader.quarantined()),
        "counts": repr(reader.counts()),
        "statistics": repr(reader.statistics(_QUERY_HASH, "team-1")),
        "traces": repr((sorted(reader.traces()), reader.forgettable(10**16, limit=99), reader.trace_changes())),
        "settings": repr([reader.setting(key) for key in ("features", "proposal", "embedding_dim")]),
        "store_settings": repr([reader.store_setting(key) for key in ("secret", "split_salt", "pepper_fingerprint")]),
    }


def verify(folder: Path) -> list[str]:
    """Return what the store itself finds damaged."""
    store = open_store(str(folder / FILE), role="reader")
    try:
        return store.verify()
    finally:
        store.close()


def _signal(signal: Signal) -> str:
    return repr(signal)


def _bits(record: Any) -> str:
    """Return a record as text, arrays by their bits."""
    if record is None:
        return "None"
    names = [field.name for field in dataclasses.fields(record)]
    return repr([(name, _plain(getattr(record, name))) for name in names])


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _bits(value)
    return dict(value) if hasattr(value, "keys") else value
