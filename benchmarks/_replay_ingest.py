"""Durable ingest: impressions acknowledged per second, against a bare insert of the same bytes and a bare append.

Here the clock on the wall counts, not CPU time: most of it is waiting for the disk. All four write in turn, batch by
batch, in files of one folder, and every batch is on disk when its call returns.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import numpy as np

from _timing import Contestant, Interval, interval, race, ratio
from dwell.loop.close import Rules
from dwell.loop.feedback import record_impression
from dwell.records import Impression
from dwell.reward import PositionBased, resolve_rewards
from dwell.storage import Transaction, Writer, open_store
from dwell.storage.rows import event_row

BATCH_SIZES: Final = (64, 1_024)
N_DOCUMENTS: Final = 10
N_FEATURES: Final = 8
BULK: Final = "dwell, one job per batch"
SINGLY: Final = "dwell, one job per impression"
BARE: Final = "bare apsw insert"
APPEND: Final = "append + fdatasync"


class Ingest(NamedTuple):
    """What a batch size came to.

    Attributes:
        batch_size: Impressions per acknowledgement.
        row_bytes: Mean bytes of an impression as stored: body, list as shown, id.
        per_second: {contestant: impressions acknowledged per second}.
        of_bare: {contestant: throughput as a share of the bare insert's}.
    """

    batch_size: int
    row_bytes: float
    per_second: dict[str, Interval]
    of_bare: dict[str, Interval]


def impressions(first: int, n: int, rng: np.random.Generator) -> list[Impression]:
    """Return impressions of the record's size: an embedding of 384 numbers, ten documents of eight features."""
    names = tuple(f"feature_{j}" for j in range(N_FEATURES))
    documents = tuple(f"kb-{j}" for j in range(N_DOCUMENTS))
    embeddings = rng.random((n, 384), dtype=np.float32)
    features = rng.random((n, N_DOCUMENTS, N_FEATURES), dtype=np.float32)
    scores = features.sum(axis=2)
    return [
        Impression(
            event_id=f"event-{first + i}",
            served_at=1.7e9 + first + i,
            query=f"how do I reset the second factor of account {first + i}",
            query_embedding=embeddings[i],
            mode="live",
            policy="params",
            params_version=0,
            temperature=0.3,
            is_deterministic=False,
            served=documents,
            propensities=np.full(N_DOCUMENTS, 0.1),
            n_candidates=N_DOCUMENTS,
            scores=scores[i],
            score_sd=1.0,
            documents=documents,
            document_scores=np.arange(N_DOCUMENTS),
            inclusion=np.ones(N_DOCUMENTS),
            features=features[i],
            feature_names=names,
            user="0123456789abcdef0123456789abcdef",
        )
        for i in range(n)
    ]


def as_bytes(impression: Impression) -> tuple[str, str, bytes]:
    """Return id, list as shown and body: all the bytes that the store keeps of an impression but for its indexes."""
    row = event_row(impression)
    return row.event_id, row.shown, row.body


def _recorded(tx: Transaction, batch: Sequence[Impression], rules: Rules) -> None:
    for impression in batch:
        record_impression(tx, impression, rules, lambda _: None)


class _Targets:
    """Where everybody writes: a store with its writer, a bare table, a file."""

    def __init__(self, folder: Path) -> None:
        self._store = open_store(str(folder / "store.dwell"))
        self._writer = Writer(self._store)
        self._bare = apsw.Connection(str(folder / "bare.db"))
        for pragma in ("journal_mode = WAL", "synchronous = FULL"):
            self._bare.execute(f"PRAGMA {pragma}").fetchall()
        self._bare.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, event_id TEXT, shown TEXT, body BLOB)")
        self._file = os.open(folder / "appended", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        self._rules = Rules(resolve_rewards(None), PositionBased(1.0), 1_800.0, 604_800.0)

    def bulk(self, batch: Sequence[Impression]) -> None:
        """Hand a batch to the writer as one job, and wait until it is acknowledged."""
        job = partial(_recorded, batch=batch, rules=self._rules)
        self._writer.submit(job, event_ids=[impression.event_id for impression in batch]).result()

    def singly(self, batch: Sequence[Impression]) -> None:
        """Hand over impression after impression, as `Loop.rank` does, and wait for the last acknowledgement."""
        for impression in batch:
            done = self._writer.submit(
                partial(_recorded, batch=(impression,), rules=self._rules), event_ids=(impression.event_id,)
            )
        done.result()

    def bare(self, batch: Sequence[tuple[str, str, bytes]]) -> None:
        """Insert rows that are encoded already, in one transaction, into a table without an index."""
        with self._bare:
            self._bare.executemany("INSERT INTO events (event_id, shown, body) VALUES (?, ?, ?)", batch)

    def append(self, batch: bytes) -> None:
        """Append bytes that are joined already."""
        os.write(self._file, batch)
        os.fdatasync(self._file)

    def close(self) -> None:
        """Release everything."""
        self._writer.close()
        self._store.close()
        self._bare.close()
        os.close(self._file)


def _joined(row: tuple[str, str, bytes]) -> bytes:
    return b"".join((row[0].encode(), row[1].encode(), row[2]))


def ingest(batch_size: int, *, n_rounds: int, n_calls: int, folder: Path | None) -> Ingest:
    """Return what acknowledging batches of this size costs.

    Args:
        batch_size: Impressions per acknowledgement.
        n_rounds: Rounds.
        n_calls: Batches per round and contestant.
        folder: Where to write; on the disk that matters. None: the system's temporary folder.
    """
    rng = np.random.default_rng(batch_size)
    numbers = count(0, batch_size)

    def batches(n: int) -> list[list[Impression]]:
        return [impressions(next(numbers), batch_size, rng) for _ in range(n)]

    def encoded(n: int) -> list[list[tuple[str, str, bytes]]]:
        return [[as_bytes(impression) for impression in batch] for batch in batches(n)]

    def joined(n: int) -> list[bytes]:
        return [b"".join(map(_joined, batch)) for batch in encoded(n)]

    with tempfile.TemporaryDirectory(dir=folder) as made:
        targets = _Targets(Path(made))
        try:
            contestants: list[tuple[str, Any, Any]] = [
                (BULK, batches, targets.bulk),
                (SINGLY, batches, targets.singly),
                (BARE, encoded, targets.bare),
                (APPEND, joined, targets.append),
            ]
            seconds = race(
                [Contestant(name, prepare, call, n_calls) for name, prepare, call in contestants],
                n_rounds=n_rounds,
                clock=time.perf_counter,
            )
        finally:
            targets.close()
    return Ingest(
        batch_size=batch_size,
        row_bytes=float(np.mean([len(_joined(as_bytes(impression))) for impression in impressions(0, 64, rng)])),
        per_second={name: interval(batch_size / spent) for name, spent in seconds.items()},
        of_bare={name: ratio(seconds[BARE], seconds[name]) for name in seconds},
    )
