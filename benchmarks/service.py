"""What the service costs and bears: rank and feedback over HTTP, beside a bare Starlette + msgspec endpoint.

    python benchmarks/service.py [cost | overload] [--quick] [--json FILE]

`dwell serve` runs as it is started by hand: with keys, its learner beside it, and default settings. The bare endpoint
(`_service_bare.py`) reads the same body, scores it in numpy and keeps as many bytes, in commits of many rows that are
synced as ours are. Both are asked in turn by one more process (`_service_load.py`), and whoever is not asked is idle.
Server, load and learner share the cores of the machine: rates are what is left of it, processor time is the steadier
figure. The part `overload` asks ten times as much as can be answered (`_service_overload.py`). Linux only: processor
time is read from /proc.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import msgspec
import numpy as np

import _service_overload as heavy
import dwell
from _service_bare import NAMES
from _service_flood import Flooder
from _service_load import Asked, Load, Loader, request
from _timing import FloatArray, Interval, interval, ratio, verdict

HERE: Final = Path(__file__).resolve().parent
N_CANDIDATES: Final = 100
N_BODIES: Final = 64  # different ones, asked in turn
N_RANK_CLIENTS: Final = 16
N_FEEDBACK_CLIENTS: Final = 64
N_BATCH: Final = 100
RANK_BAR: Final = 2.5  # times the processor time of the bare endpoint
FEEDBACK_BAR_PER_S: Final = 5_000.0
FSYNC_SHARE: Final = 0.6  # of what the disk allows when every client waits for one sync
IDLE_BAR: Final = 0.01  # of one core
_SETTLE_S: Final = 0.3  # what was queued is on disk by then
_START_S: Final = 60.0

DWELL, BARE = "dwell", "bare"


class Size(NamedTuple):
    """How much is asked.

    Attributes:
        n_rounds: Rounds, each of everything.
        n_ranks: Rank calls per round.
        n_feedback: Reactions per round, one per request.
        n_batches: Requests of `N_BATCH` reactions per round.
        idle_s: How long nobody asks.
    """

    n_rounds: int
    n_ranks: int
    n_feedback: int
    n_batches: int
    idle_s: float


FULL: Final = Size(9, 600, 3_000, 40, 10.0)
QUICK: Final = Size(1, 64, 128, 2, 1.0)


class Round(NamedTuple):
    """One load on one server.

    Attributes:
        per_s: Answers per second.
        p50_s: Half of them came within.
        p99_s: 99 of 100 came within.
        cpu_s: Processor time of the server per answer, the learner left out.
    """

    per_s: float
    p50_s: float
    p99_s: float
    cpu_s: float


def ticks_of(pid: int) -> int:
    """Return the processor time of a process in ticks of the kernel, all of its threads; 0 where it ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def children_of(pid: int) -> dict[int, str]:
    """Return the command lines of a process's children, by process id."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="utf-8").split():
            with contextlib.suppress(OSError):
                found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


class Server(NamedTuple):
    """A server that listens.

    Attributes:
        name: "dwell" or "bare".
        url: Its address.
        process: Its process.
    """

    name: str
    url: str
    process: subprocess.Popen[str]

    def learner(self) -> list[int]:
        """Return the learner's process id, if it has one."""
        return [pid for pid, line in children_of(self.process.pid).items() if "spawn_main" in line]

    def cpu_s(self) -> float:
        """Return the processor time of the server with its helpers, the learner left out."""
        pids = {self.process.pid, *children_of(self.process.pid)}.difference(self.learner())
        return sum(map(ticks_of, pids)) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def started(name: str, command: Sequence[str]) -> Iterator[Server]:
    """Run a server until the context is left; the last word of its first line, or its first address, is its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen([sys.executable, *command], env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        until = time.monotonic() + _START_S
        line = ""
        while "http://" not in line and time.monotonic() < until and process.poll() is None:
            line = process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http://"))
        yield Server(name, url, process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        assert process.stdout is not None
        process.stdout.close()


def measured(server: Server, loader: Loader, load: Load, *, per_request: int = 1) -> tuple[Round, Asked]:
    """Return what a load costs a server; its processor time with what it still has to write afterwards."""
    before = server.cpu_s()
    asked = loader.ask(load)
    time.sleep(_SETTLE_S)
    cpu = server.cpu_s() - before
    n = load.n_requests * per_request
    p50, p99 = np.quantile(asked.latencies, (0.5, 0.99))
    return Round(n / asked.seconds, float(p50), float(p99), cpu / n), asked


def syncs_per_s(folder: str, seconds: float = 0.3) -> float:
    """Return how often a second 4 KB can be appended to a file and synced."""
    with (Path(folder) / "syncs").open("ab", buffering=0) as file:
        began, n = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            n += 1
        return n / (time.perf_counter() - began)


def rank_bodies(n: int, *, as_rows: bool = False) -> list[bytes]:
    """Return bodies of rank calls: 100 candidates with 8 features, as mappings or as ids and rows."""
    rng = np.random.default_rng(0)
    ids = [f"doc-{i}" for i in range(N_CANDIDATES)]
    found = []
    for i in range(n):
        rows = rng.normal(size=(N_CANDIDATES, len(NAMES))).round(6).tolist()
        given: dict[str, Any] = {"ids": ids, "features": rows}
        if not as_rows:
            named = (dict(zip(NAMES, row, strict=True)) for row in rows)
            given = {"candidates": [{"id": doc} | one for doc, one in zip(ids, named, strict=True)]}
        found.append(msgspec.json.encode({"query": f"a query {i}", **given, "k": 10, "user": f"user-{i}"}))
    return found


class Bench:
    """Both servers, the process that asks, and what to ask."""

    def __init__(self, ours: Server, bare: Server, loader: Loader, key: str, size: Size) -> None:
        self._ours, self._bare, self._loader, self._key, self._size = ours, bare, loader, key, size
        bodies = rank_bodies(N_BODIES)
        self._ranks = {
            DWELL: [request("/v1/rank", body, key) for body in bodies],
            BARE: [request("/rank", body) for body in bodies],
        }
        self._rows = [request("/v1/rank", body, key) for body in rank_bodies(N_BODIES, as_rows=True)]
        self.load_cpu_s: list[float] = []

    def _asked(self, server: Server, requests: Sequence[bytes], n: int, n_clients: int, **more: int) -> Round:
        found, asked = measured(server, self._loader, Load(server.url, requests, n, n_clients), **more)
        self.load_cpu_s.append(asked.cpu_s / asked.seconds)
        return found

    def rank(self, server: Server) -> Round:
        """Return what rank costs, candidates as mappings."""
        return self._asked(server, self._ranks[server.name], self._size.n_ranks, N_RANK_CLIENTS)

    def rank_rows(self) -> Round:
        """Return what rank costs, ids and rows."""
        return self._asked(self._ours, self._rows, self._size.n_ranks, N_RANK_CLIENTS)

    def served(self) -> list[tuple[str, str]]:
        """Return (event id, document) of lists that were just served: what reactions can be about."""
        load = Load(self._ours.url, self._ranks[DWELL], N_BODIES, N_RANK_CLIENTS)
        lists = [json.loads(body) for body in self._loader.ask(load).bodies]
        time.sleep(_SETTLE_S)
        return [(one["event_id"], doc) for one in lists for doc in one["ids"]]

    def _items(self, n: int) -> list[dict[str, Any]]:
        about, at = self.served(), time.time()
        # each at an instant of its own: two that agree in everything are one reaction
        return [
            {"event_id": e, "signal": "click", "doc": d, "at": at + 1e-5 * i}
            for i in range(n)
            for e, d in [about[i % len(about)]]
        ]

    def feedback(self, server: Server) -> Round:
        """Return what one reaction per request costs, acknowledged when it is on disk."""
        path, key = ("/v1/feedback", self._key) if server.name == DWELL else ("/feedback", None)
        requests = [request(path, msgspec.json.encode(one), key) for one in self._items(self._size.n_feedback)]
        return self._asked(server, requests, len(requests), N_FEEDBACK_CLIENTS)

    def batches(self) -> Round:
        """Return what reactions cost that come a hundred to a request."""
        items = self._items(self._size.n_batches * N_BATCH)
        bodies = [msgspec.json.encode(items[i : i + N_BATCH]) for i in range(0, len(items), N_BATCH)]
        requests = [request("/v1/feedback", body, self._key) for body in bodies]
        return self._asked(self._ours, requests, len(requests), 8, per_request=N_BATCH)

    def idle(self) -> tuple[float, float]:
        """Return the shares of a core that service and learner take while nobody asks."""
        learner, hertz = self._ours.learner(), os.sysconf("SC_CLK_TCK")
        before = self._ours.cpu_s(), sum(map(ticks_of, learner))
        time.sleep(self._size.idle_s)
        after = self._ours.cpu_s(), sum(map(ticks_of, learner))
        return (after[0] - before[0]) / self._size.idle_s, (after[1] - before[1]) / hertz / self._size.idle_s


Rounds = dict[str, list[Round]]


def run(bench: Bench, ours: Server, bare: Server, size: Size, folder: str) -> tuple[Rounds, FloatArray]:
    """Return every round of every contestant, and the disk's syncs per second in each; one round is thrown away."""
    contestants: dict[str, Callable[[], Round]] = {
        "rank, dwell": lambda: bench.rank(ours),
        "rank, bare": lambda: bench.rank(bare),
        "rank, dwell, ids and rows": bench.rank_rows,
        "feedback, dwell": lambda: bench.feedback(ours),
        "feedback, bare": lambda: bench.feedback(bare),
        f"feedback, dwell, {N_BATCH} a request": bench.batches,
    }
    names = list(contestants)
    rounds: Rounds = {name: [] for name in names}
    syncs = []
    for i in range(-1, size.n_rounds):
        first = i % len(names)
        for name in (*names[first:], *names[:first]):
            found = contestants[name]()
            if i >= 0:
                rounds[name].append(found)
        if i >= 0:
            syncs.append(syncs_per_s(folder))
    return rounds, np.array(syncs)


def column(rounds: Sequence[Round], name: str) -> FloatArray:
    """Return one figure of every round."""
    return np.array([getattr(one, name) for one in rounds])


def table(rounds: Rounds) -> list[str]:
    """Return everything that was measured under load as a Markdown table."""
    lines = ["| call | CPU of the server, us each | a second | p50, ms | p99, ms |", "|---|---|---|---|---|"]
    for name, of in rounds.items():
        cells = [
            interval(1e6 * column(of, "cpu_s")),
            interval(column(of, "per_s")),
            interval(1e3 * column(of, "p50_s")),
            interval(1e3 * column(of, "p99_s")),
        ]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} |")
    return lines


def promises(rounds: Rounds, syncs: FloatArray, idle: tuple[float, float]) -> list[str]:
    """Return the bars and whether they were met as a Markdown table."""
    costs = ratio(column(rounds["rank, dwell"], "cpu_s"), column(rounds["rank, bare"], "cpu_s"))
    each = column(rounds["feedback, dwell"], "per_s")
    allowed = N_FEEDBACK_CLIENTS * syncs
    bars = np.minimum(FEEDBACK_BAR_PER_S, FSYNC_SHARE * allowed)
    of_bar = interval(each / bars)
    both = sum(idle)
    return [
        "| what | measured | promised | |",
        "|---|---|---|---|",
        (
            f"| CPU of rank, times the bare endpoint's | {costs} | at most {RANK_BAR:g} "
            f"| {verdict(costs, RANK_BAR, at_least=False)} |"
        ),
        (
            f"| feedback a second, one per request, {N_FEEDBACK_CLIENTS} clients, of the bar | {of_bar} | at least 1 "
            f"| {verdict(of_bar, 1.0)} |"
        ),
        (
            f"| the bar: {FEEDBACK_BAR_PER_S:,.0f} a second, or {FSYNC_SHARE:g} of {N_FEEDBACK_CLIENTS} for each sync "
            f"of the disk | {interval(bars)}; syncs: {interval(syncs)} a second | | |"
        ),
        (
            f"| idle service and learner, % of a core | {100 * idle[0]:.2f} + {100 * idle[1]:.2f} "
            f"| under {100 * IDLE_BAR:g} | {'met' if both < IDLE_BAR else '**not met**'} |"
        ),
    ]


def made_key(store: str) -> str:
    """Return a new secret key of a store."""
    command = [sys.executable, "-m", "dwell", "keys", "create", "--kind", "secret", "--name", "load", store, "--json"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    found = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return str(json.loads(found.stdout)["key"])


def bytes_of_an_event(store: str) -> int:
    """Return how many bytes our store keeps of a list, its largest column; that of the first ones."""
    connection = apsw.Connection(store, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return round(connection.execute("SELECT avg(length(body)) FROM events").fetchall()[0][0])
    finally:
        connection.close()


def measure(size: Size, folder: str) -> dict[str, Any]:
    """Return everything that is measured, in a folder whose disk counts."""
    store = str(Path(folder) / "service.dwell")
    with contextlib.ExitStack() as stack:
        serve = ["-m", "dwell", "serve", store, "--features", ",".join(NAMES), "--port", "0"]
        ours = stack.enter_context(started(DWELL, serve))
        key = made_key(store)
        time.sleep(1.0)  # a service looks for new keys twice a second
        loader = stack.enter_context(Loader())
        first = [request("/v1/rank", body, key) for body in rank_bodies(N_BODIES)]
        loader.ask(Load(ours.url, first, N_BODIES, 1))
        time.sleep(_SETTLE_S)
        n_bytes = bytes_of_an_event(store)
        bare_command = [str(HERE / "_service_bare.py"), str(Path(folder) / "bare.db"), str(n_bytes)]
        bare = stack.enter_context(started(BARE, bare_command))
        bench = Bench(ours, bare, loader, key, size)
        rounds, syncs = run(bench, ours, bare, size, folder)
        time.sleep(min(size.idle_s, 5.0))  # the learner may still be at what came in
        idle = bench.idle()
    return {"rounds": rounds, "syncs": syncs, "idle": idle, "n_bytes": n_bytes, "load": np.array(bench.load_cpu_s)}


def report(found: dict[str, Any]) -> list[str]:
    """Return what is printed."""
    load: Interval = interval(found["load"])
    head = f"{N_CANDIDATES} candidates, {len(NAMES)} features, 10 shown, {found['n_bytes']:,} bytes kept of a list; "
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} cores for everybody."
    return [
        "# The service",
        "",
        f"{head}{versions}",
        (
            f"The process that asks was busy {100 * load.value:.0f} % of the time, at most"
            f" {100 * found['load'].max():.0f} %."
        ),
        "",
        *table(found["rounds"]),
        "",
        *promises(found["rounds"], found["syncs"], found["idle"]),
    ]


def flooded(size: heavy.OverloadSize, folder: str) -> list[heavy.Overloaded]:
    """Return what floods of reactions and of searches do, in a folder whose disk counts."""
    store = str(Path(folder) / "overload.dwell")
    bodies = [json.loads(body) for body in rank_bodies(N_BODIES)]
    with contextlib.ExitStack() as stack:
        serve = ["-m", "dwell", "serve", store, "--features", ",".join(NAMES), "--port", "0"]
        ours = stack.enter_context(started(DWELL, serve))
        key = made_key(store)
        time.sleep(1.0)  # a service looks for new keys twice a second
        loader, flooder = stack.enter_context(Loader()), stack.enter_context(Flooder())
        lists = heavy.served(loader, ours.url, bodies, key, size.n_lists)
        kinds = (heavy.reactions(lists, key, store), heavy.rankings(bodies, key, store))
        return [heavy.overloaded(ours.url, ours.process.pid, loader, flooder, kind, size) for kind in kinds]


def main(given: Sequence[str] | None = None) -> int:
    """Measure, print, and return 0, also where a bar is not met: that is printed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", nargs="?", choices=("cost", "overload"), help="one part; default: both")
    parser.add_argument("--quick", action="store_true", help="a smoke test; judges nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there, too")
    parser.add_argument("--folder", metavar="FOLDER", help="where the stores stand; default: a temporary one")
    asked = parser.parse_args(given)
    if not Path("/proc/self/stat").exists():
        print("skipped: processor time of other processes is read from /proc, and there is none")
        return 0
    values: dict[str, Any] = {"dwell": dwell.__version__}
    if asked.part != "overload":
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            found = measure(QUICK if asked.quick else FULL, folder)
        print("\n".join(report(found)))
        values |= {
            "rounds": {name: [one._asdict() for one in of] for name, of in found["rounds"].items()},
            "syncs_per_s": found["syncs"].tolist(),
            "idle_shares_of_a_core": found["idle"],
        }
    if asked.part != "cost":
        size = heavy.QUICK if asked.quick else heavy.FULL
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            floods = flooded(size, folder)
        print("\n".join(heavy.overload_report(floods, size)))
        values["goodput"] = {one.name: [of.goodput for of in one.rounds] for one in floods}
    if asked.json is not None:
        asked.json.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
