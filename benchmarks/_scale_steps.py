"""A training step over buffers of very different sizes: drawn, gathered, learned from, and written back."""

from __future__ import annotations

import gc
import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from _replay_memory import resident_bytes
from _timing import FloatArray, Interval, interval, ratio, verdict
from dwell.learning.learner import LearnerSettings, Lists, learn
from dwell.learning.predictor import Predictor
from dwell.loop.row_codec import RowShape, row_schema, unpacked
from dwell.records import Experience
from dwell.records.arrays import IntArray
from dwell.records.rows import EventRow, stack_rows
from dwell.replay import ReplayBuffer
from dwell.replay.index_rows import SourceIndex
from dwell.replay.priority import priority_of
from dwell.replay.size_estimate import index_bytes
from dwell.storage.column_ring import ColumnRing

__all__ = ["PARTS", "Kept", "Steps", "sized", "step_lines", "steps"]

SIZES: Final = (100_000, 1_000_000, 10_000_000)
QUICK_SIZES: Final = (4_000, 40_000)
BATCH: Final = 256  # lists of a step, half of them replayed in the loop: here all of them
N_STEPS: Final = 20  # per round and size
N_ROUNDS: Final = 41
N_QUICK_ROUNDS: Final = 5
PARTS: Final = ("sample", "gather", "gradient", "write-back")
STRATEGIES: Final = ("recency", "priority")
CHUNK: Final = 20_000  # rows made at once, and repeated with other ids
# Eight documents of eight features: 10^7 of them, ring and index, take about 10 GB, half of a machine of 24
SHAPE: Final = RowShape(n_features=8, n_documents=8, n_positions=8)
SIZED: Final = 0.05  # memory is as sized where it is off by at most so much
JUDGED_FROM: Final = 1_000_000  # experiences
HALF_LIFE_S: Final = 604_800.0
SECONDS_PER_EVENT: Final = 0.1
SETTINGS: Final = LearnerSettings()


class _Rows:
    """A ring in memory as the source of a buffer's rows."""

    def __init__(self, ring: ColumnRing) -> None:
        self.ring = ring
        self.names = ring.names

    def read(self, seqs: IntArray, names: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
        """Return the named columns of some rows."""
        return self.ring.read(seqs, names)

    def experience(self, seq: int) -> Experience:
        """Refuse: there are no facts behind these rows."""
        raise LookupError(seq)


class Kept(NamedTuple):
    """A filled buffer.

    Attributes:
        n: Experiences.
        ring: Their rows.
        buffer: Their index and the sampler.
        predicted_bytes: What they were to take: rows by their schema, index by `size_estimate`.
        measured_bytes: Growth of the resident set.
        seconds: What filling took.
    """

    n: int
    ring: ColumnRing
    buffer: ReplayBuffer
    predicted_bytes: int
    measured_bytes: int
    seconds: float


def sized(n: int) -> int:
    """Return how many bytes n experiences take, rows and index, before any is made."""
    schema = row_schema(SHAPE, key="", embedding="none")
    return n * (sum(column.n_bytes for column in schema.all_columns) + index_bytes("x" * SHAPE.id_bytes, None, None))


def _pattern(n: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return n rows as a loop packs them: eight documents shown, clicks by position and the first feature."""
    d, k, f = SHAPE.n_documents, SHAPE.n_positions, SHAPE.n_features
    schema = row_schema(SHAPE, key="", embedding="none")
    rows: dict[str, Any] = {c.name: np.zeros((n, *c.shape), c.dtype) for c in schema.all_columns}
    rows["features"] = rng.normal(size=(n, d, f)).astype(np.float32)
    rows["inclusion"] = np.ones((n, d))
    rows["exposure"] = np.full((n, d), 0.35, np.float32)
    rows["caller_rank"] = np.tile(np.arange(d, dtype=np.int32), (n, 1))
    theta = 1.0 / np.arange(1.0, k + 1.0)
    clicks = rng.random((n, k)) < theta / (1.0 + np.exp(-rows["features"][:, :k, 0]))
    rows["rewards"] = clicks.astype(np.float32)
    rows["propensities"] = np.full((n, k), 1.0 / d)
    rows["doc_hashes"] = rng.integers(1, 2**63, (n, k)).astype(np.uint64)
    for name, value in (("temperature", 0.3), ("n_documents", d), ("n_kept", k), ("n_shown", k), ("params_version", 1)):
        rows[name][:] = value
    rows["priority"] = rng.random(n) + 0.01
    rows["reward"] = rows["row_reward"] = np.minimum(rows["rewards"].sum(axis=1), 1.0).astype(np.float64)
    rows["query_hash"] = rng.integers(1, 2**63, n).astype(np.uint64)
    rows["version"][:] = 1
    return rows


def filled(n: int) -> Kept:
    """Return a buffer of n experiences, made in bulk."""
    rng, began, before = np.random.default_rng(n), time.perf_counter(), resident_bytes()
    ring = ColumnRing.create(None, row_schema(SHAPE, key="", embedding="none"), n)
    rows = _pattern(min(CHUNK, n), rng)
    for start in range(0, n, CHUNK):
        seqs = np.arange(start + 1, min(start + CHUNK, n) + 1)
        part = {name: values[: seqs.size] for name, values in rows.items()}
        part |= {
            "seq": seqs,
            "served_at": 1.7e9 + SECONDS_PER_EVENT * seqs,
            "event_id": np.char.add(b"event-", np.char.zfill(seqs.astype("S"), SHAPE.id_bytes - 6)),
        }
        ring.put_many(part)
    buffer = ReplayBuffer(n, half_life_s=HALF_LIFE_S, seed=0, columns=_Rows(ring))
    names = ("event_id", "seq", "served_at", "priority", "reward", "version", "segment_code")
    found = ring.columns(names)
    found["segment_code"] = found["segment_code"].astype(np.int64)
    buffer.adopt(SourceIndex(*(found.pop(name) for name in names), [None]))
    del rows, found
    for strategy in STRATEGIES:
        buffer.sample(BATCH, strategy=strategy)  # its tree is made with the first draw
    gc.collect()
    return Kept(n, ring, buffer, sized(n), resident_bytes() - before, time.perf_counter() - began)


class Steps(NamedTuple):
    """What a step costs at one size.

    Attributes:
        n: Experiences in the buffer.
        strategy: How they are drawn.
        seconds: {part: (rounds,) CPU seconds per step}.
        faults: Minor page faults per step, over all rounds.
    """

    n: int
    strategy: str
    seconds: Mapping[str, FloatArray]
    faults: float

    @property
    def total(self) -> FloatArray:
        """Seconds of a whole step, (rounds,)."""
        return np.sum([self.seconds[name] for name in PARTS], axis=0)


def _step(kept: Kept, strategy: str, rng: np.random.Generator) -> list[float]:
    """Return the CPU seconds of each part of one step."""
    at = [time.process_time()]
    seqs = (batch := kept.buffer.sample(BATCH, strategy=strategy, rng=rng)).seqs
    at.append(time.process_time())
    rows = unpacked(kept.ring.read(seqs, kept.ring.names))
    stacked = stack_rows(rows)
    at.append(time.process_time())
    phi = stacked.features.astype(np.float64)
    start = np.zeros(SHAPE.n_features)
    start[0] = 1.0
    predictor = Predictor(np.full(SHAPE.n_features + 1, 0.1))
    theta = 1.0 / np.arange(1.0, SHAPE.n_positions + 1.0)
    learn(
        start,
        [Lists(stacked, phi, phi @ start, batch.sampling_weights)],
        (predictor, predictor),
        theta=theta,
        temperature=0.3,
        n_events=float(kept.n),
        settings=SETTINGS,
        rng=rng,
    )
    at.append(time.process_time())
    values = [_surprise(row, phi[i], predictor, theta) for i, row in enumerate(rows)]
    kept.buffer.update_priorities(seqs, values)
    kept.ring.set(seqs, "priority", values)
    at.append(time.process_time())
    return np.diff(at).tolist()


def _surprise(row: EventRow, phi: FloatArray, predictor: Predictor, theta: FloatArray) -> float:
    expected = float(theta[: row.n_kept] @ predictor.predict(phi[: row.n_kept]))
    return priority_of(min(float(row.rewards.sum()), 1.0), min(max(expected, -1.0), 1.0))


def steps(sizes: Sequence[int], n_rounds: int) -> tuple[list[Kept], list[Steps]]:
    """Return the buffers of all sizes, and what a step costs over each, sizes in turn within every round."""
    kept = []
    for n in sizes:
        print(f"filling {n:,}: {sized(n) / 1e9:.2f} GB by size", file=sys.stderr, flush=True)
        kept.append(filled(n))
    runs = [(one, strategy) for one in kept for strategy in STRATEGIES]
    seconds = np.zeros((len(runs), len(PARTS), n_rounds))
    faults = np.zeros(len(runs))
    for i in range(-1, n_rounds):
        for j in np.roll(np.arange(len(runs)), -max(i, 0)).tolist():
            one, strategy = runs[j]
            rng = np.random.default_rng([i + 1, j])
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            found = np.mean([_step(one, strategy, rng) for _ in range(N_STEPS)], axis=0)
            if i >= 0:
                seconds[j, :, i] = found
                faults[j] += (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / N_STEPS / n_rounds
    made = [
        Steps(one.n, strategy, dict(zip(PARTS, seconds[j], strict=True)), float(faults[j]))
        for j, (one, strategy) in enumerate(runs)
    ]
    return kept, made


def growth(measured: Sequence[Steps], strategy: str) -> list[tuple[int, int, Interval, float]]:
    """Return, for each size after the smallest, how much more a step costs and how much log n has grown."""
    of = sorted((one for one in measured if one.strategy == strategy), key=lambda one: one.n)
    least = of[0]
    return [(least.n, one.n, ratio(one.total, least.total), math.log(one.n) / math.log(least.n)) for one in of[1:]]


def step_lines(kept: Sequence[Kept], measured: Sequence[Steps], *, is_judged: bool) -> list[str]:
    """Return memory and costs as Markdown tables with their verdicts."""
    lines = [
        "| experiences | predicted, GB | measured, GB | measured / predicted | bytes each | filled in, s | as sized |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in kept:
        of, each = one.measured_bytes / one.predicted_bytes, one.measured_bytes / one.n
        lines.append(
            f"| {one.n:,} | {one.predicted_bytes / 1e9:.3f} | {one.measured_bytes / 1e9:.3f} | {of:.3f} | {each:,.0f} "
            f"| {one.seconds:.1f} | {_sized_as_said(of, one.n) if is_judged else 'not judged'} |"
        )
    lines += [
        "",
        f"CPU time of a step over {BATCH} lists, microseconds, medians; the whole with its interval.",
        "",
        f"| drawn by | experiences | {' | '.join(PARTS)} | whole step | page faults |",
        f"|---|---|{'---|' * (len(PARTS) + 2)}",
    ]
    for step in measured:
        parts = " | ".join(f"{1e6 * float(np.median(step.seconds[name])):,.0f}" for name in PARTS)
        whole = interval(1e6 * step.total)
        lines.append(f"| {step.strategy} | {step.n:,} | {parts} | {whole} | {step.faults:.2f} |")
    lines += ["", "| drawn by | from | to | a step costs, times | log n grows, times | |", "|---|---|---|---|---|---|"]
    for strategy in STRATEGIES:
        for low, high, found, bar in growth(measured, strategy):
            said = verdict(found, bar, at_least=False) if is_judged else "not judged"
            lines.append(f"| {strategy} | {low:,} | {high:,} | {found} | at most {bar:.3f} | {said} |")
        lines.append(_fit_line(measured, strategy))
    return lines


def _sized_as_said(of: float, n: int) -> str:
    """Return the verdict on memory; a small buffer is not judged: what imports and caches take is not its own."""
    if n < JUDGED_FROM:
        return ""
    return "met" if abs(of - 1.0) <= SIZED else "**not met**"


def _fit_line(measured: Sequence[Steps], strategy: str) -> str:
    """Return the line a + b log2 n through the medians, as a row of the table."""
    of = [one for one in measured if one.strategy == strategy]
    logs, costs = np.log2([one.n for one in of]), np.array([1e6 * np.median(one.total) for one in of])
    b, a = np.polyfit(logs, costs, 1)
    worst = float(np.abs(costs - a - b * logs).max())
    return f"| {strategy} | | | {a:,.0f} {b:+,.1f} log2 n us, off by at most {worst:,.0f} | | |"
