"""The column ring: how fast it is opened again, how fast it is made anew from the database, and what a batch costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from _replay_ingest import N_FEATURES, impressions
from dwell.loop.replayed import Notes, Replayed
from dwell.loop.row_codec import RowShape, row_schema
from dwell.records import Experience
from dwell.storage import Outcome, open_store
from dwell.storage.column_ring import ColumnRing

__all__ = ["ring_figures"]

REOPEN_S: Final = 0.2  # promised for a million experiences, warm
REBUILD_PER_S: Final = 200_000  # promised
N_REBUILT: Final = 20_000  # closed events in the database that the ring is made from
N_ROUNDS: Final = 5
CHUNK: Final = 10_000
TOKEN: Final = 7  # any number: it stands in the file and in the notes
NAMES: Final = tuple(f"feature_{j}" for j in range(N_FEATURES))
SHAPE: Final = RowShape(N_FEATURES)  # 16 documents of eight features, 16 positions


def ring_figures(n: int, folder: Path | None, *, is_judged: bool) -> list[str]:
    """Return the lines of the section.

    Args:
        n: Experiences to reopen.
        folder: Where files are written, or None for the system's temporary folder.
        is_judged: Whether the run is long enough to be judged.
    """
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        row_bytes, opened, sampled, by_id, batch_us = _reopened(Path(temporary), n)
        per_second = _rebuilt(Path(temporary), N_REBUILT if is_judged else 1_000)

    def said(is_met: bool) -> str:  # noqa: FBT001 - a verdict
        return ("met" if is_met else "not met") if is_judged else "not judged"

    return [
        f"Wall clock, {N_ROUNDS} rounds in turn, warm: median (least to most). {n:,} rows of {row_bytes:,} bytes.",
        "A batch goes through `ReplayBuffer.sample` and one read of every column of the row.",
        "",
        "| what | figure | promised | |",
        "|---|---|---|---|",
        (
            f"| reopen: file checked, index taken over | {_spread(opened)} s | {REOPEN_S} s | "
            f"{said(float(np.median(opened)) <= REOPEN_S)} |"
        ),
        f"| after it: the first batch of 256 by recency | {_spread(sampled)} s | | |",
        f"| after it: the first look-up by event id | {_spread(by_id)} s | | |",
        f"| a batch of 256 later | {batch_us:,.0f} us | | |",
        (
            f"| rebuild from the database | {_spread(per_second, 0)} a second | {REBUILD_PER_S:,} | "
            f"{said(float(np.median(per_second)) >= REBUILD_PER_S)} |"
        ),
    ]


def _spread(values: list[float], digits: int = 3) -> str:
    return f"{np.median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def _no_experience(seq: int) -> Experience:
    raise LookupError(seq)


def _replayed(path: Path, capacity: int) -> Replayed:
    return Replayed(
        capacity=capacity,
        holdout=0.0,
        salt=b"benchmark",
        half_life_s=604_800.0,
        alpha=0.6,
        read_experience=_no_experience,
        feature_names=NAMES,
        path=str(path),
    )


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _reopened(folder: Path, n: int) -> tuple[int, list[float], list[float], list[float], float]:
    path = folder / "store.ring"
    schema = row_schema(SHAPE, key=_replayed(path, n).rows.key, embedding="none")
    ring = ColumnRing.create(str(path), schema, n)
    rng = np.random.default_rng(0)
    row: dict[str, Any] = {}
    chunk = min(CHUNK, n)
    for column in schema.all_columns:
        shape = (chunk, *column.shape)
        is_float = column.dtype.kind == "f"
        row[column.name] = rng.random(shape).astype(column.dtype) if is_float else np.ones(shape, column.dtype)
    row["is_held_out"][:] = False
    row["segment_code"][:] = 0
    for start in range(0, n, chunk):
        seqs = np.arange(start + 1, start + chunk + 1)
        row |= {
            "seq": seqs,
            "served_at": 1.7e9 + seqs,
            "event_id": np.array([f"event-{seq:030d}" for seq in seqs], "S"),
        }
        ring.put_many(row)
    ring.checkpoint(TOKEN)
    ring.close()
    notes = Notes(epoch=1, token=TOKEN, shape=tuple(SHAPE), segments={0: None}, n_without_features=0)
    opened, sampled, by_id, batch_us = [], [], [], []
    for _ in range(N_ROUNDS + 1):
        replayed = _replayed(path, n)
        opened.append(_timed(lambda kept=replayed: kept.reopen(notes, 1)))  # type: ignore[misc]
        sampled.append(_timed(lambda kept=replayed: kept.buffer.sample(256, strategy="recency")))  # type: ignore[misc]
        by_id.append(_timed(lambda kept=replayed: f"event-{n:030d}" in kept.buffer))  # type: ignore[misc]
        if len(replayed.buffer) != n or f"event-{n:030d}" not in replayed.buffer:
            raise AssertionError("not everything was taken over")
        seconds = [_timed(lambda kept=replayed: _batch(kept)) for _ in range(200)]  # type: ignore[misc]
        batch_us.append(1e6 * float(np.median(seconds)))
        replayed.rows.close()
    row_bytes = sum(column.n_bytes for column in schema.all_columns)
    return row_bytes, opened[1:], sampled[1:], by_id[1:], float(np.median(batch_us))


def _batch(replayed: Replayed) -> object:
    seqs = replayed.buffer.sample(256, strategy="recency").seqs
    return replayed.rows.raw(seqs, ("features", "inclusion", "exposure", "caller_rank", "rewards", "propensities"))


def _rebuilt(folder: Path, n: int) -> list[float]:
    path = folder / "store"
    store = open_store(str(path))
    documents = len(impressions(0, 1, np.random.default_rng(0))[0].documents)
    for start in range(0, n, 1_000):
        given = impressions(start, min(1_000, n - start), np.random.default_rng(start))
        with store.transaction() as tx:
            for impression in given:
                seq = tx.add_impression(impression)
                outcome = Outcome(
                    seq=seq,
                    state="closed",
                    version=1,
                    closed_at=impression.served_at + 1_800.0,
                    reward=0.5,
                    document_rewards=np.full(documents, 0.05, dtype=np.float32),
                    reward_version="benchmark",
                    exposure=np.ones(documents, dtype=np.float32),
                    exposure_se=np.zeros(documents, dtype=np.float32),
                    examination_version="benchmark",
                )
                tx.put_outcome(outcome, expected_version=0)
    rates = []
    for i in range(N_ROUNDS + 1):
        replayed = _replayed(folder / f"rebuilt-{i}.ring", n)
        with store.snapshot() as reader:
            rates.append(n / _timed(lambda kept=replayed, facts=reader: kept.rebuild(facts, NAMES)))  # type: ignore[misc]
        if len(replayed.buffer) != n:
            raise AssertionError("not every event is in the ring")
        replayed.rows.close()
    store.close()
    return rates[1:]
