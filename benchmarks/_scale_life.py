"""One store that grows, in a process of its own: what its events have cost so far, told at each of some sizes.

    python benchmarks/_scale_life.py STORE SERVER_PID SYNCS SIZE [SIZE ...]

A line of JSON per size, and the word "learning" before each. SERVER_PID is that of the database whose processor time
counts, or 0; SYNCS is the file that strace writes, or "-".
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any, Final

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy is imported

import numpy as np  # noqa: E402 - after the number of threads

import dwell  # noqa: E402 - the same
from _scale_place import cpu_s_of  # noqa: E402 - the same
from dwell.storage.archive import Archive  # noqa: E402 - the same
from dwell.storage.archive_rows import archived_events  # noqa: E402 - the same
from dwell.storage.protocol import chunks  # noqa: E402 - the same

__all__ = [
    "AT_ONCE",
    "CLICK_SHARE",
    "FEATURES",
    "LEARNING",
    "N_CANDIDATES",
    "N_SHOWN",
    "STAGES",
    "bytes_by_table",
    "request",
]

AT_ONCE: Final = 100  # events between two waits for the disk: what 64 clients of a busy service share, and some more
N_CANDIDATES, N_SHOWN, N_FEATURES = 20, 10, 8
FEATURES: Final = [f"feature_{j}" for j in range(N_FEATURES)]
CLICK_SHARE: Final = 0.5  # of the lists have a click and a dwell time: one reaction an event
STAGES: Final = ("rank", "feedback", "commit", "close")
LEARNING: Final = "learning"  # the line before what learning does, which is no cost of an event
ARCHIVED_AT_ONCE: Final = 1_000  # events, as retention archives them
N_QUERIES: Final = 1_000
N_USERS: Final = 2_000
N_DOCUMENTS: Final = 5_000
START_AT: Final = 1_700_000_000.0
SECONDS_PER_EVENT: Final = 0.1
WINDOW_S: Final = 1_800.0


class Life:
    """A loop, the clock of its events, and the processor time that each stage has taken.

    Args:
        where: The store.
        most: Events that there will be.
    """

    def __init__(self, where: str, most: int) -> None:
        self.loop = dwell.open(
            where,
            features=FEATURES,
            weights=dict.fromkeys(FEATURES, 1.0),
            capacity=2 * most,
            pepper="benchmark",
            strict=True,
            # every call of `train` learns and is promoted, and no clock ends it: so calls at all sizes are alike
            config={"gate": {"kind": "off"}, "training": {"max_seconds": 3_600.0}},
        )
        self.cpu = dict.fromkeys(STAGES, 0.0)
        self.n = self.n_signals = 0
        self.now = START_AT
        self._rng = np.random.default_rng(0)
        self._archive: Archive | None = None
        self._archived = 0
        if not where.startswith("postgres") and importlib.util.find_spec("pyarrow") is not None:
            folder = Path(f"{where}-archive")
            self._archive = Archive.of(folder, tenant="", store="benchmark", pepper=b"benchmark")
            self._archive.begin()
            self.cpu["archive"] = 0.0

    def grow(self, to: int) -> None:
        """Serve and hear about events until there are so many, then close them all."""
        while self.n < to:
            self._some(min(AT_ONCE, to - self.n))
        self.now += WINDOW_S + 1.0
        began = time.process_time()
        self.loop.close_events(now=self.now)
        self.cpu["close"] += time.process_time() - began
        if self._archive is not None:
            self._put_into(self._archive)

    def _put_into(self, archive: Archive) -> None:
        """Archive what is new, as retention would, and leave it in the store."""
        began = time.process_time()
        with self.loop.facts() as reader:
            for part in chunks(range(self._archived + 1, self.n + 1), ARCHIVED_AT_ONCE):
                archive.add(archived_events(reader, part))
        self._archived = self.n
        self.cpu["archive"] += time.process_time() - began

    def _some(self, n: int) -> None:
        rng, items = self._rng, []
        began, of_all = time.thread_time(), time.process_time()
        for i in range(self.n, self.n + n):
            self.now += SECONDS_PER_EVENT
            given = request(i, rng)
            served = self.loop.rank(
                given["query"], ids=given["ids"], features=given["features"], k=N_SHOWN, user=given["user"],
                event_id=f"event-{i:030d}", now=self.now,
            )  # fmt: skip
            if rng.random() < CLICK_SHARE:
                doc = served.ids[int(rng.integers(N_SHOWN))]
                about = {"event_id": served.event_id, "doc": doc, "at": self.now}
                items += [{**about, "signal": "click"}, {**about, "signal": "dwell", "value": 30.0}]
        ranked = time.thread_time()
        answers = self.loop.feedback_many(items, now=self.now)
        assert all(answer.status == "joined" for answer in answers), answers[:1]
        heard, all_done = time.thread_time(), time.process_time()
        self.cpu["rank"] += ranked - began
        self.cpu["feedback"] += heard - ranked
        self.cpu["commit"] += max(0.0, all_done - of_all - (heard - began))
        self.n += n
        self.n_signals += len(items)

    def learn(self) -> dict[str, float]:
        """Return what one call of `train` and one verdict cost at this size."""
        began = time.process_time()
        verdict = self.loop.evaluate(self.loop.version(0), now=self.now)  # on what the live params have served
        judged = time.process_time()
        report = self.loop.train(now=self.now)
        learned = time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = {"n": self.n, "train": learned - judged, "judge": judged - began, "peak_bytes": peak}
        found |= {"n_judged": verdict.difference.n, "n_steps": report.n_steps, "n_learned_from": report.n_learned_from}
        return found


def request(i: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return what a client asks of `rank`: twenty candidates of eight features."""
    return {
        "query": f"how do I reset the second factor of account {i % N_QUERIES}",
        "ids": [f"document-{doc}" for doc in rng.choice(N_DOCUMENTS, N_CANDIDATES, replace=False).tolist()],
        "features": rng.normal(size=(N_CANDIDATES, N_FEATURES)).astype(np.float32),
        "user": f"user-{int(rng.integers(N_USERS))}",
    }


def bytes_by_table(where: str) -> dict[str, int]:
    """Return the bytes of tables and indexes of a store, and of ring and archive beside a file; empty ones left out."""
    if where.startswith("postgres"):
        import psycopg

        with psycopg.connect(where) as connection:
            found = connection.execute(
                """SELECT coalesce(p.relname, c.relname), c.relkind = 'i', sum(pg_relation_size(c.oid)
                   + CASE WHEN c.relkind = 'r' THEN coalesce(pg_total_relation_size(nullif(c.reltoastrelid, 0)), 0)
                          ELSE 0 END)
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                LEFT JOIN pg_inherits h ON h.inhrelid = c.oid LEFT JOIN pg_class p ON p.oid = h.inhparent
                WHERE n.nspname = 'dwell' AND c.relkind IN ('r', 'i') GROUP BY 1, 2"""
            ).fetchall()
        return {f"{'index' if is_index else 'table'} {name}": int(n) for name, is_index, n in found if n > 8192}
    import apsw

    connection = apsw.Connection(where, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        indexes = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
        found = connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall()
    finally:
        connection.close()
    sizes = {f"{'index' if name in indexes else 'table'} {name}": int(n) for name, n in found if n > 4096}
    for path in Path(where).parent.glob(f"{Path(where).name}*ring*"):
        sizes["ring"] = path.stat().st_blocks * 512
    archived = sum(path.stat().st_size for path in Path(f"{where}-archive").rglob("*.parquet"))
    if archived:
        sizes["archive"] = archived
    return sizes


def _counted(where: str, server: int, syncs: str) -> dict[str, float]:
    """Return what the store's database has done so far: processor time, log, syncs; what can not be had is left out."""
    found: dict[str, float] = {}
    if server:
        found["cpu database"] = cpu_s_of(server)
    if syncs != "-":
        found["syncs"] = Path(syncs).read_bytes().count(b"\n")
    if where.startswith("postgres"):
        import psycopg

        with psycopg.connect(where, autocommit=True) as connection:
            row = connection.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()
            found["log bytes"] = float(row[0]) if row else 0.0
            of = "wal_sync FROM pg_stat_wal"
            if connection.info.server_version >= 180_000:
                of = "sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"
            row = connection.execute(f"SELECT {of}").fetchone()
            found["syncs"] = float(row[0]) if row else 0.0
    return found


def main() -> int:
    """Grow, and tell."""
    where, server, syncs, *sizes = sys.argv[1:]
    life = Life(where, max(map(int, sizes)))
    before = _counted(where, int(server), syncs)
    learning = dict.fromkeys(before, 0.0)  # what learning had the database do, which is no cost of an event
    for size in map(int, sizes):
        life.grow(size)
        life.loop.health(now=life.now)
        after = _counted(where, int(server), syncs)
        told: dict[str, Any] = {"n": life.n, "n_signals": life.n_signals}
        told |= {f"cpu {stage}": seconds for stage, seconds in life.cpu.items()}
        told |= {name: after[name] - before[name] - learning[name] for name in after}
        told["bytes"] = bytes_by_table(where)
        print(LEARNING, flush=True)
        told["learn"] = life.learn()
        learnt = _counted(where, int(server), syncs)
        learning = {name: learning[name] + learnt[name] - after[name] for name in after}
        print(json.dumps(told), flush=True)
    life.loop.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
