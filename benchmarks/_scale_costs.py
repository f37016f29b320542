"""What events cost: bytes by table, processor time by stage, syncs, log and network, at several sizes, and a model."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import numpy as np

from _scale_life import AT_ONCE, FEATURES, LEARNING, N_CANDIDATES, N_SHOWN, request
from _scale_place import apart, emptied
from dwell.storage import open_store

__all__ = [
    "ALL_BYTES",
    "QUICK_SIZES",
    "SIZES",
    "Line",
    "Told",
    "cost_lines",
    "costs_of",
    "fitted",
    "http_bytes",
    "lived",
    "models",
]

HERE: Final = Path(__file__).resolve().parent
SIZES: Final = (10_000, 20_000, 40_000, 100_000)  # 10^4 and 10^5, and two between for the line
QUICK_SIZES: Final = (400, 800, 1_200, 2_000)
MILLION: Final = 1_000_000
N_COMMITS: Final = 200
ALL_BYTES: Final = "bytes of all tables and indexes"
LINEAR: Final = 0.1  # a figure is called linear where the others predict the largest size to a tenth
SMALL_S: Final = 0.5  # processor time below which the clock's hundredths and a busy machine decide
SMALL_SHARE: Final = 0.005  # of all bytes: tables below it are left out, as those of settings and versions
BY_STEPS: Final = ("bytes ring", "bytes table params")  # doubles when it is full; grows with versions, not with events
STRACE: Final = ("strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o")

Told = dict[str, Any]


class Line(NamedTuple):
    """A straight line through what was measured at all sizes but the largest, and how well it tells that one.

    Attributes:
        fixed: Its value at 0 events.
        each: Per event.
        largest: What was measured at the largest size.
        predicted: What the line says there.
    """

    fixed: float
    each: float
    largest: float
    predicted: float

    @property
    def error(self) -> float:
        """By what share the prediction is off."""
        return (self.predicted - self.largest) / self.largest if self.largest else 0.0


def fitted(sizes: Sequence[float], values: Sequence[float]) -> Line:
    """Return the line of least squares through all but the last of at least three sizes, which grow."""
    n, found = np.asarray(sizes, dtype=np.float64), np.asarray(values, dtype=np.float64)
    each, fixed = np.polyfit(n[:-1], found[:-1], 1)
    return Line(float(fixed), float(each), float(found[-1]), float(fixed + each * n[-1]))


class _Counting:
    """A socket in front of a database that counts the bytes of both directions."""

    def __init__(self, behind: str) -> None:
        self.folder = tempfile.mkdtemp(prefix="dwell-count-")
        self._behind, self._lock = behind, threading.Lock()
        self.to_database = self.from_database = 0
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(f"{self.folder}/.s.PGSQL.5432")
        self._door.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            database = socket.socket(socket.AF_UNIX)
            database.connect(f"{self._behind}/.s.PGSQL.5432")
            for source, sink, is_up in ((client, database, True), (database, client, False)):
                threading.Thread(
                    target=self._pass_on, args=(source, sink), kwargs={"is_up": is_up}, daemon=True
                ).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, *, is_up: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                with self._lock:
                    self.to_database += len(data) * is_up
                    self.from_database += len(data) * (not is_up)
                sink.sendall(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let nobody in any more."""
        self._door.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def _counted(url: str) -> Iterator[tuple[str, _Counting | None]]:
    """Give the URL of a database through a socket that counts, where it is reached by a socket."""
    parts = urlsplit(url)
    host = parse_qs(parts.query).get("host", [""])[0]
    if not host.startswith("/"):
        yield url, None
        return
    counting = _Counting(host)
    try:
        yield parts._replace(query=f"host={quote(counting.folder, safe='')}").geturl(), counting
    finally:
        counting.close()


def lived(where: str, sizes: Sequence[int], *, server: int | None = None, syncs: Path | None = None) -> list[Told]:
    """Return what a store that grows told at each size.

    Args:
        where: A file, or the URL of an empty database.
        sizes: Events, growing.
        server: Process of the database.
        syncs: File for what strace sees; None where the database itself counts, or nobody does.
    """
    command = [sys.executable, str(HERE / "_scale_life.py"), where, str(server or 0), str(syncs or "-")]
    command += [str(size) for size in sizes]
    if syncs is not None:
        command = [*STRACE, str(syncs), *command]
    with _counted(where) as (through, counting):
        shown, secret = apart(through)
        command = [shown if word == where else word for word in command]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **secret})
        assert child.stdout is not None
        found: list[Told] = []
        learning, before = np.zeros(2), np.zeros(2)  # bytes that learning moves: it reads what events wrote
        for line in child.stdout:
            moved = np.zeros(2) if counting is None else np.array([counting.to_database, counting.from_database], float)
            if line.strip() == LEARNING:
                before = moved
                continue
            told: Told = json.loads(line)
            if counting is not None:
                told |= dict(zip(("to database", "from database"), (before - learning).tolist(), strict=True))
            learning += moved - before
            found.append(told)
            print(
                f"{'PostgreSQL' if counting else Path(where).name}: {told['n']:,} events", file=sys.stderr, flush=True
            )
        assert child.wait() == 0, "the process that makes the events failed"
    return found


def http_bytes() -> dict[str, float]:
    """Return the bytes of the bodies of one event between an application and the service: asked, answered, told."""
    given = request(0, np.random.default_rng(0))
    rows = np.round(given["features"].astype(float), 6).tolist()
    asked = msgspec.json.encode({**given, "features": rows, "k": N_SHOWN})
    named = [dict(zip(FEATURES, row, strict=True)) for row in rows]
    whole = {**given, "candidates": [{"id": doc} | one for doc, one in zip(given["ids"], named, strict=True)]}
    spelled = msgspec.json.encode({k: v for k, v in whole.items() if k not in {"ids", "features"}} | {"k": N_SHOWN})
    event_id = f"event-{0:030d}"
    answer = msgspec.json.encode(
        {"event_id": event_id, "ids": given["ids"][:N_SHOWN], "propensities": [0.1234567890123456] * N_SHOWN}
    )
    reaction = msgspec.json.encode({"event_id": event_id, "signal": "dwell", "doc": given["ids"][0], "value": 30.0})
    return {
        "rank, ids and rows": len(asked),
        "rank, candidates as mappings": len(spelled),
        "its answer": len(answer),
        "a reaction": len(reaction),
    }


def costs_of(sizes: Sequence[int], url: str, folder: Path | None) -> tuple[dict[str, list[Told]], dict[str, float]]:
    """Return what a file and a database told at each size, and the seconds of a commit of each."""
    found, commits = {}, {}
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        syncs = Path(temporary) / "syncs" if shutil.which("strace") else None
        found["SQLite"] = lived(str(Path(temporary) / "costs.dwell"), sizes, syncs=syncs)
        commits["SQLite"] = _commit_s(str(Path(temporary) / "costs.dwell"))
    with emptied(url) as database:
        found["PostgreSQL"] = lived(database.url, sizes, server=database.pid)
        commits["PostgreSQL"] = _commit_s(database.url)
    return found, commits


def _commit_s(where: str) -> float:
    """Return the median seconds of a transaction of one small row, on the disk when it returns."""
    store, seconds = open_store(where), []
    for i in range(N_COMMITS):
        began = time.perf_counter()
        with store.transaction() as tx:
            tx.put_setting("benchmark", str(i).encode())
        seconds.append(time.perf_counter() - began)
    store.close()
    return float(np.median(seconds))


def series(told: Sequence[Told]) -> dict[str, list[float]]:
    """Return every figure that grows with the events, size by size: the names of `told`, and "bytes <table>"."""
    names = [name for name, value in told[-1].items() if isinstance(value, int | float) and not name.startswith("n")]
    found = {name: [float(one[name]) for one in told] for name in names}
    for table in told[-1]["bytes"]:
        found[f"bytes {table}"] = [float(one["bytes"].get(table, 0)) for one in told]
    found[ALL_BYTES] = [
        float(sum(n for table, n in one["bytes"].items() if table.startswith(("table", "index")))) for one in told
    ]
    return found


def models(told: Sequence[Told]) -> dict[str, Line]:
    """Return the line of every figure."""
    sizes = [one["n"] for one in told]
    return {name: fitted(sizes, values) for name, values in series(told).items()}


def _shown(name: str) -> Callable[[float], str]:
    if name.startswith("cpu"):
        return lambda value: f"{value:,.1f} s"
    if name == "syncs":
        return lambda value: f"{value:,.0f}"
    return lambda value: f"{value / 1e6:,.1f} MB"


def cost_lines(told: Mapping[str, Sequence[Told]], *, is_judged: bool) -> list[str]:
    """Return costs per million events, and whether they are linear, as Markdown tables."""
    lines = [
        f"One event: {N_CANDIDATES} candidates of {len(FEATURES)} features, {N_SHOWN} shown, one reaction on average;",
        f"{AT_ONCE} events share a commit. A line through the smaller sizes tells the largest; off by at most",
        f"{100 * LINEAR:.0f} % is called linear. Processor time under {SMALL_S:g} s is not judged.",
    ]
    for store, found in told.items():
        sizes = [one["n"] for one in found]
        lines += [
            "",
            f"### {store}: {', '.join(f'{n:,}' for n in sizes)} events",
            "",
            f"| what | a million events | fixed | at {sizes[-1]:,}: predicted | measured | off by | |",
            "|---|---|---|---|---|---|---|",
        ]
        of_all = models(found)
        least = SMALL_SHARE * of_all[ALL_BYTES].largest
        for name, line in of_all.items():
            if name.startswith("bytes") and line.largest < least:
                continue
            show, is_small = _shown(name), name.startswith("cpu") and line.largest < SMALL_S
            said = "linear" if abs(line.error) <= LINEAR else "**not linear**"
            if not is_judged or is_small or name in BY_STEPS:
                said = "by doubling" if name == BY_STEPS[0] else ""
            lines.append(
                f"| {name} | {show(MILLION * line.each)} | {show(line.fixed)} | {show(line.predicted)} "
                f"| {show(line.largest)} | {100 * line.error:+.1f} % | {said} |"
            )
        lines += [
            "",
            "| events in the store | `train`, CPU s | of so many events | steps | `evaluate`, s | judged | peak, MB |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {one['n']:,} | {one['train']:.2f} | {one['n_learned_from']:,} | {one['n_steps']} | {one['judge']:.2f} "
            f"| {one['n_judged']:,} | {one['peak_bytes'] / 1e6:,.0f} |"
            for one in (of["learn"] for of in found)
        ]
    lines += ["", "| body of a request or answer over HTTP | bytes |", "|---|---|"]
    return [*lines, *(f"| {name} | {n:,} |" for name, n in http_bytes().items())]
