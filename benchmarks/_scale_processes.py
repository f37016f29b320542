"""Several API processes and a learner on one database: nothing lost, nothing twice, no answer of two versions."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.request import Request, urlopen

import msgspec
import numpy as np

import dwell
from _scale_clients import Crowd, Heard, Listed, candidates
from _scale_life import FEATURES
from _scale_place import apart, cpu_s_of, emptied
from _timing import FloatArray
from dwell.ranking import conditional_propensities, policy_scores
from dwell.records import GateDecision
from dwell.storage import open_store

__all__ = ["Checked", "Ended", "checked", "process_lines", "processes", "too_old"]

N_WORKERS: Final = 4
N_CLIENTS: Final = 24
N_VERSIONS: Final = 3
TURN_S: Final = 5.0  # between two changes of the live version by hand
LOOK_S: Final = 1.0  # between two looks at who holds which connection
SWAP_S: Final = 1.0  # a promoted version is served everywhere by then
AGREEING: Final = 1e-9  # answers and what is recomputed from the version that they name
TEMPERATURE: Final = 0.3  # of `dwell.open`, unless told otherwise
_START_S: Final = 60.0
_PEPPER: Final = "benchmark"
_SETTINGS: Final = {
    "DWELL_PEPPER": _PEPPER,
    "DWELL_STORE__ATTRIBUTION_WINDOW_S": "10",
    "DWELL_SERVE__TRAIN_EVERY_S": "20",
}


class Change(NamedTuple):
    """A version that went live.

    Attributes:
        version: It.
        at: When it was decided, by the ledger; its commit comes after.
        known_at: When whoever asked for it was told that it is live; `at` where nobody asked.
    """

    version: int
    at: float
    known_at: float


class Ended(NamedTuple):
    """What a run left behind.

    Attributes:
        crowd: What the clients were told.
        seconds: How long they asked.
        processes: {client port: process that answered it}, of the connections that were seen open.
        cpu_s: {"API processes and learner", "database", "clients"}: processor time.
        by_hand: Changes of the live version by the administrator: version, asked at, answered at.
        n_workers: Processes asked for.
    """

    crowd: Crowd
    seconds: float
    processes: dict[int, int]
    cpu_s: dict[str, float]
    by_hand: list[tuple[int, float, float]]
    n_workers: int


class Checked(NamedTuple):
    """What was found in the store, and what of it is wrong.

    Attributes:
        wrong: {what: how many}; all 0 where everything is as promised.
        n_events: Events in the store.
        n_signals: Signals in the store.
        n_closed: Events that the learner closed.
        n_decisions: Entries of the ledger.
        swaps: (changes,) seconds from when each was known to the begin of the last request of the version before.
        error: Largest difference between what was answered and what is recomputed.
    """

    wrong: dict[str, int]
    n_events: int
    n_signals: int
    n_closed: int
    n_decisions: int
    swaps: FloatArray
    error: float


def _versions(url: str) -> None:
    """Make a store with some versions that have been live."""
    loop = dwell.open(url, features=FEATURES, weights=dict.fromkeys(FEATURES, 1.0), pepper=_PEPPER)
    rng = np.random.default_rng(1)
    for i in range(1, N_VERSIONS + 1):
        weights = dict(zip(FEATURES, rng.normal(size=len(FEATURES)).tolist(), strict=True))
        loop.promote(dwell.Params(i, weights), force=True)
    loop.close()


@contextlib.contextmanager
def _served(url: str, n_workers: int) -> Iterator[tuple[str, int]]:
    """Serve a database by several processes, and give address and process id."""
    url, secret = apart(url)
    env = {**os.environ, **_SETTINGS, **secret, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)}
    command = [sys.executable, "-m", "dwell", "serve", url, "--port", "0", "--no-auth"]
    if n_workers > 1:
        command += ["--workers", str(n_workers)]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        address, until = None, time.monotonic() + _START_S
        while address is None and time.monotonic() < until and process.poll() is None:
            address = re.search(r"http://[\w.:]+", process.stdout.readline())
        assert address is not None, "the service did not start"
        yield address[0], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        assert process.stdout is not None
        process.stdout.close()


def _posted(url: str, path: str, body: object) -> Any:  # noqa: ANN401 - JSON
    asked = Request(  # noqa: S310 - our own loopback
        url + path, data=msgspec.json.encode(body), headers={"content-type": "application/json"}, method="POST"
    )
    with urlopen(asked, timeout=60) as answer:  # noqa: S310 - our own loopback
        return msgspec.json.decode(answer.read())


async def _administrator(url: str, crowd: Crowd) -> list[tuple[int, float, float]]:
    """Make one version after the other live, and return which, when it was asked for and when it was answered."""
    done = []
    for i in itertools.count():
        await asyncio.sleep(TURN_S)
        if crowd.is_over:
            break
        wanted, asked_at = 1 + i % N_VERSIONS, time.time()
        with contextlib.suppress(OSError):  # it is live already, or the learner was faster
            await asyncio.to_thread(_posted, url, "/v1/rollback", {"to": wanted})
            done.append((wanted, asked_at, time.time()))
    return done


def processes_of(pid: int, port: int) -> dict[int, int]:
    """Return which process below one holds the connection of each client port to a port of this machine."""
    owner, below, waiting = {}, [], [pid]
    while waiting:
        below.append(one := waiting.pop())
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text(encoding="ascii").split())
    for one in below:
        with contextlib.suppress(OSError):
            for entry in Path(f"/proc/{one}/fd").iterdir():
                with contextlib.suppress(OSError):
                    owner[str(entry.readlink())] = one
    found = {}
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        inode = f"socket:[{fields[9]}]"
        if int(fields[1].rpartition(":")[2], 16) == port and inode in owner:
            found[int(fields[2].rpartition(":")[2], 16)] = owner[inode]
    return found


def _all_answer(url: str, pid: int, n_workers: int) -> None:
    """Return when connections are taken by as many processes as were asked for, or after a minute."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    seen: set[int] = set()
    until = time.monotonic() + _START_S
    while len(seen) < n_workers and time.monotonic() < until:
        with contextlib.ExitStack() as held:
            for _ in range(N_CLIENTS):
                held.enter_context(socket.create_connection((host, int(port)), timeout=_START_S))
                time.sleep(0.01)
            time.sleep(0.2)
            seen |= set(processes_of(pid, int(port)).values())
    print(f"{len(seen)} processes answer", file=sys.stderr, flush=True)


async def _crowded(url: str, pid: int, seconds: float) -> tuple[Crowd, dict[int, int], list[tuple[int, float, float]]]:
    crowd = Crowd(url, N_CLIENTS)
    asking = asyncio.ensure_future(crowd.ask())
    changing = asyncio.ensure_future(_administrator(url, crowd))
    found: dict[int, int] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until and not asking.done():
        await asyncio.wait({asking}, timeout=min(LOOK_S, seconds))
        found |= await asyncio.to_thread(processes_of, pid, int(url.rpartition(":")[2]))
    crowd.is_over = True
    await asking
    return crowd, found, await changing


def processes(url: str, *, minutes: float, n_workers: int) -> tuple[Ended, Checked]:
    """Return what clients of several API processes were told, and how that agrees with the store.

    Args:
        url: An empty database, or "" for a server of our own.
        minutes: How long they ask.
        n_workers: API processes.
    """
    with emptied(url) as database:
        _versions(database.url)
        with _served(database.url, n_workers) as (address, pid):
            _all_answer(address, pid, n_workers)
            began, cpu = time.monotonic(), time.process_time()
            before = (cpu_s_of(pid), cpu_s_of(database.pid) if database.pid else 0.0)
            crowd, held, by_hand = asyncio.run(_crowded(address, pid, 60.0 * minutes))
            taken = {
                "API processes and learner": cpu_s_of(pid) - before[0],
                "database": (cpu_s_of(database.pid) if database.pid else 0.0) - before[1],
                "clients": time.process_time() - cpu,
            }
            ended = Ended(crowd, time.monotonic() - began, held, taken, by_hand, n_workers)
        return ended, checked(database.url, ended)


def checked(url: str, ended: Ended) -> Checked:
    """Return how what was acknowledged agrees with what is in the store.

    Args:
        url: The database.
        ended: What the clients were told.
    """
    lists, reactions, n_wrong = ended.crowd.lists, ended.crowd.reactions, len(ended.crowd.wrong)
    wrong: Counter[str] = Counter({"retries answered otherwise": n_wrong})
    store = open_store(url, role="reader")
    signals: dict[str, Counter[tuple[str, str | None]]] = {}
    recorded: Counter[str] = Counter()
    kept: dict[str, tuple[tuple[str, ...], int]] = {}
    with store.snapshot() as reader:
        seqs = reader.seqs()
        for start in range(0, len(seqs), 1_000):
            part = seqs[start : start + 1_000]
            of = reader.signals(part)
            for one in reader.impressions(part):
                recorded[one.event_id] += 1
                kept[one.event_id] = (tuple(one.served), one.params_version)
                signals[one.event_id] = Counter((s.name, s.doc) for s in of.get(one.seq, []))
        versions = {n: reader.params(n) for n in reader.params_versions()}
        ledger = reader.decisions()
        n_closed = len(reader.seqs(states=("closed", "reopened")))
    store.close()
    for name, key in (("events lost", 0), ("events twice", 2)):
        wrong[name] = sum(min(recorded[_id(one)], 2) == key for one in lists)
    wrong["events nobody was told of"] = len(set(recorded) - {_id(one) for one in lists})
    wrong["lists other than answered"] = sum(kept.get(_id(one)) != (one.ids, one.version) for one in lists)
    given = Counter((_id(one), one.doc) for one in reactions)
    wrong["reactions lost"] = sum(signals.get(event, Counter())["click", doc] < 1 for event, doc in given)
    wrong["reactions twice"] = sum(n > 1 for of in signals.values() for n in of.values())
    wrong["reactions nobody sent"] = sum(of.total() for of in signals.values()) - len(given)
    errors = [_error(one, versions.get(one.version)) for one in lists]
    wrong["answers of two versions"] = sum(not error <= AGREEING for error in errors)
    changes = _changes(ledger, ended.by_hand)
    first = min((one.begun for one in lists), default=0.0)
    swaps = too_old(lists, changes)[sum(change.at < first for change in changes) :]
    wrong["versions later than a second"] = int((swaps > SWAP_S).sum())
    n_signals = sum(of.total() for of in signals.values())
    return Checked(dict(wrong), len(recorded), n_signals, n_closed, len(ledger), swaps, max(errors, default=0.0))


def _id(listed: Listed | Heard) -> str:
    return f"scale-{listed.number:012d}"


def _error(listed: Listed, params: dwell.Params | None) -> float:
    """Return how far an answer is from one that is recomputed from the version that it names.

    Scores are served, and drawn from, as the float32 that is logged, so they are rounded here as well; propensities
    are float64 and depend on the scores of all candidates, shown or not.
    """
    given = candidates(listed.number)
    if params is None or not set(listed.ids) <= set(given["ids"]):
        return float("inf")
    scores = params.score(given["features"]).astype(np.float32).astype(np.float64)
    shown = [given["ids"].index(doc) for doc in listed.ids]
    order = np.array([*shown, *(i for i in range(scores.size) if i not in shown)])
    expected = scores[shown]
    error = np.abs(expected - np.array(listed.scores)).max() / np.abs(expected).max()
    chances = conditional_propensities(policy_scores(scores, TEMPERATURE), order, len(shown))
    return float(max(error, np.abs(chances - np.array(listed.propensities)).max()))


def _changes(ledger: Sequence[GateDecision], by_hand: Sequence[tuple[int, float, float]]) -> list[Change]:
    """Return what went live, in order, and when that was known."""
    found = []
    for one in ledger:
        if one.verdict == "promote":
            of_hand = [
                answered
                for version, asked, answered in by_hand
                if version == one.proposed_version and asked <= one.decided_at <= answered
            ]
            found.append(Change(one.proposed_version, one.decided_at, max(of_hand, default=one.decided_at)))
    return sorted(found, key=lambda change: change.at)


def too_old(lists: Sequence[Listed], changes: Sequence[Change]) -> FloatArray:
    """Return, for each change, seconds from when it was known to the begin of the last request of the version before.

    An answer of a version that was live at some instant between its request and itself is in time; one of a version
    that never was live before it ended is infinitely late.
    """
    times = [change.at for change in changes]
    found = np.zeros(len(changes))
    for one in lists:
        first, last = bisect_right(times, one.begun) - 1, bisect_right(times, one.ended) - 1
        if any(changes[i].version == one.version for i in range(max(first, 0), last + 1)):
            continue
        before = [i for i in range(first) if changes[i].version == one.version]
        if not before:
            return np.full(len(changes), np.inf)
        i = before[-1] + 1  # what came after it
        found[i] = max(found[i], one.begun - changes[i].known_at)
    return found


def process_lines(ended: Ended, found: Checked, *, is_judged: bool) -> list[str]:
    """Return rates, latencies, counts and the verdict as Markdown."""
    crowd = ended.crowd
    ranked = np.array([one.ended - one.begun for one in crowd.lists])
    heard = np.array([one.seconds for one in crowd.reactions])
    by_process = Counter(ended.processes.get(one.port) for one in crowd.lists)
    answered = ", ".join(f"{n:,}" for process, n in by_process.most_common() if process is not None)
    statuses = ", ".join(f"{name}: {n:,}" for name, n in sorted(crowd.statuses.items()))
    shares = ", ".join(f"{name} {seconds / ended.seconds:.2f}" for name, seconds in ended.cpu_s.items())
    n_processes = len(set(ended.processes.values()))
    lines = [
        f"{ended.n_workers} processes asked for, {n_processes} answered; {N_CLIENTS} clients; {ended.seconds:.0f} s.",
        f"Lists answered by each process: {answered}. Cores used: {shares}.",
        f"Answers: {statuses}; broken connections {crowd.n_broken}; fallbacks, tried no further {crowd.n_fallbacks}.",
        f"The live version changed {len(found.swaps)} times, {len(ended.by_hand)} times by hand.",
        f"Events that the learner closed: {found.n_closed:,}; entries of the ledger: {found.n_decisions}.",
        "",
        "| call, on the disk when answered | how many | a second | p50, ms | p99, ms |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {of.size:,} | {of.size / ended.seconds:,.0f} | {1e3 * np.quantile(of, 0.5):.1f} "
            f"| {1e3 * np.quantile(of, 0.99):.1f} |"
            for name, of in (("rank", ranked), ("feedback", heard))
            if of.size
        ),
        "",
        "| what must not be | how often |",
        "|---|---|",
        *(f"| {name} | {n} |" for name, n in found.wrong.items()),
    ]
    is_met = not any(found.wrong.values()) and n_processes >= ended.n_workers
    said = ("met" if is_met else "**not met**") if is_judged or not is_met else "met, in a short run"
    slowest, usual = float(found.swaps.max(initial=0.0)), float(np.median(found.swaps)) if found.swaps.size else 0.0
    return [
        *lines,
        "",
        f"{found.n_events:,} events and {found.n_signals:,} signals in the store.",
        f"Retries: {crowd.n_retried:,}, answered as the first time: {crowd.n_same:,}.",
        f"Answers recomputed from the version that they name: off by at most {found.error:.1e}, promised {AGREEING:g}.",
        f"The last request of an older version began {slowest:.3f} s after its successor was known (median of all",
        f"changes {usual:.3f} s), promised {SWAP_S:g}.",
        f"Nothing lost, twice or mixed: {said}.",
        *(f"* {text}" for text in crowd.wrong[:5]),
    ]
