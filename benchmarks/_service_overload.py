"""What the service does when ten times as much is asked as it can answer: the part `overload` of service.py.

The peak is what callers get who each wait for their answer. Then arrivals come at ten times that rate, whatever comes
back, from more connections than the service takes requests. What must hold: nearly as many good answers as at the peak,
a refusal that says when to come again for the rest, bounded memory, and everything acknowledged in the store, once.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from _service_flood import MARK, Flood, Flooded, Flooder
from _service_load import Load, Loader, request
from _timing import interval, verdict

TIMES: Final = 10.0
GOODPUT_BAR: Final = 0.8  # of the peak
_SAMPLE_S: Final = 0.05


class OverloadSize(NamedTuple):
    """How much is asked.

    Attributes:
        n_rounds: Rounds, each a peak, a flood, and a peak.
        n_lists: Lists that reactions are about.
        n_peak: Requests of each measurement of the peak.
        seconds: How long a flood lasts.
        n_connections: Callers of a flood.
    """

    n_rounds: int
    n_lists: int
    n_peak: int
    seconds: float
    n_connections: int


FULL: Final = OverloadSize(5, 2_000, 2_000, 8.0, 2_000)
QUICK: Final = OverloadSize(1, 64, 400, 1.0, 700)


class Round(NamedTuple):
    """One flood, and the peaks before and after it.

    Attributes:
        before_per_s: Answers per second to callers who wait for each.
        after_per_s: The same, after the flood.
        flood: What came of it.
        most_bytes: The most resident memory while it lasted.
        answer_cpu_s: Processor time of the service per answer at the peak.
        flood_cpu_s: Its processor time from the flood's begin to its end.
    """

    before_per_s: float
    after_per_s: float
    flood: Flooded
    most_bytes: int
    answer_cpu_s: float
    flood_cpu_s: float

    @property
    def goodput(self) -> float:
        """Good answers per second while the flood lasted, as a share of the peak around it."""
        return 2.0 * self.flood.n_good / self.flood.seconds / (self.before_per_s + self.after_per_s)

    @property
    def useful(self) -> float:
        """The share of its processor time that good answers would have taken at the peak: steadier than rates are."""
        return self.flood.statuses[200] * self.answer_cpu_s / self.flood_cpu_s

    @property
    def n_refused(self) -> int:
        """Arrivals that were told to come again."""
        return self.flood.statuses[503] + self.flood.statuses[429]

    @property
    def n_wrong(self) -> int:
        """Answers that are neither good nor say when to come again, and those that never came."""
        return self.flood.n_silent + self.flood.statuses.total() - self.flood.statuses[200] - self.n_refused


class Overloaded(NamedTuple):
    """All floods of one kind of request.

    Attributes:
        name: What was asked.
        rounds: The floods.
        start_bytes: Resident memory before them.
        n_acknowledged: Requests that were acknowledged.
        n_missing: Those that are not in the store.
        n_twice: Those that are there more than once.
    """

    name: str
    rounds: list[Round]
    start_bytes: int
    n_acknowledged: int
    n_missing: int
    n_twice: int


class Asked(NamedTuple):
    """A kind of request that is asked too much of.

    Attributes:
        name: Its name.
        requests: Requests of the peak, and of the flood: `MARK` in them is replaced.
        good: What stands in the answer to one that was acknowledged.
        n_clients: Callers of the peak.
        kept: Reads from the store what was acknowledged: its marks.
    """

    name: str
    requests: Sequence[bytes]
    good: bytes
    n_clients: int
    kept: Callable[[], list[str]]


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(1_024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS"))


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def column_of(store: str, table: str, column: str) -> list[str]:
    """Return a column of the store's file; while the service runs, what is on disk."""
    connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=30.0)
    try:
        found = connection.execute(f"SELECT {column} FROM {table} WHERE {column} IS NOT NULL")
        return [str(one) for (one,) in found]
    finally:
        connection.close()


def reactions(lists: Sequence[tuple[str, str]], key: str | None, store: str, name: str = "feedback") -> Asked:
    """Return durable reactions, one per request, each known by its idempotency key."""
    mark = f"{name}-{MARK.decode()}"
    bodies = [{"event_id": event, "signal": "click", "doc": doc, "idempotency_key": mark} for event, doc in lists]
    requests = [request("/v1/feedback", msgspec.json.encode(body), key) for body in bodies]
    return Asked(name, requests, b'"joined"', 64, lambda: column_of(store, "signals", "idempotency_key"))


def rankings(bodies: Sequence[dict[str, Any]], key: str | None, store: str, name: str = "rank") -> Asked:
    """Return searches, each known by its event id."""
    mark = f"{name}-{MARK.decode()}"
    requests = [request("/v1/rank", msgspec.json.encode({**body, "event_id": mark}), key) for body in bodies]
    return Asked(name, requests, b'"recorded":"queued"', 16, lambda: column_of(store, "events", "event_id"))


def served(
    loader: Loader, url: str, bodies: Sequence[dict[str, Any]], key: str | None, n: int
) -> list[tuple[str, str]]:
    """Return (event id, document) of lists that were just served."""
    requests = [
        request(
            "/v1/rank", msgspec.json.encode({**bodies[i % len(bodies)], "event_id": f"list-{i}", "wait": True}), key
        )
        for i in range(n)
    ]
    found = [json.loads(body) for body in loader.ask(Load(url, requests, n, 16)).bodies]
    return [(one["event_id"], one["ids"][0]) for one in found]


def _peak(url: str, loader: Loader, asked: Asked, size: OverloadSize, name: str) -> float:
    """Return the answers per second to callers who each wait for theirs."""
    requests = [
        asked.requests[i % len(asked.requests)].replace(MARK, f"{name}-{i:06d}".encode()) for i in range(size.n_peak)
    ]
    return size.n_peak / loader.ask(Load(url, requests, size.n_peak, asked.n_clients)).seconds


def _flooded(pid: int, flooder: Flooder, flood: Flood) -> tuple[Flooded, int]:
    """Return what came of a flood, and the most resident memory meanwhile."""
    most = resident_bytes(pid)
    flooder.begin(flood)
    while not flooder.is_over(_SAMPLE_S):
        most = max(most, resident_bytes(pid))
    return flooder.found(), most


def overloaded(url: str, pid: int, loader: Loader, flooder: Flooder, asked: Asked, size: OverloadSize) -> Overloaded:
    """Return what floods do to a service, and whether what it acknowledged is kept."""
    _peak(url, loader, asked, size, "w00")  # to warm up
    start, rounds, marks = resident_bytes(pid), [], []
    for i in range(size.n_rounds):
        began = cpu_s(pid)
        before = _peak(url, loader, asked, size, f"b{i:02d}")
        answer_cpu, began = (cpu_s(pid) - began) / size.n_peak, cpu_s(pid)
        requests = [one.replace(MARK, MARK[:7] + b"%03d" % i) for one in asked.requests]
        flood = Flood(url, requests, asked.good, TIMES * before, size.seconds, size.n_connections)
        found, most = _flooded(pid, flooder, flood)
        flood_cpu = cpu_s(pid) - began
        after = _peak(url, loader, asked, size, f"a{i:02d}")
        rounds.append(Round(before, after, found, most, answer_cpu, flood_cpu))
        marks += [f"{asked.name}-{n:07d}{i:03d}" for n in found.acknowledged]
    time.sleep(1.0)  # what was queued is on disk by then
    kept = Counter(asked.kept())
    n_missing, n_twice = sum(mark not in kept for mark in marks), sum(kept[mark] > 1 for mark in marks)
    return Overloaded(asked.name, rounds, start, len(marks), n_missing, n_twice)


def overload_report(found: Sequence[Overloaded], size: OverloadSize) -> list[str]:
    """Return what is printed."""
    lines = [
        "# The service, asked ten times as much as it can answer",
        "",
        f"{size.n_rounds} floods of {size.seconds:g} s each, from {size.n_connections:,} connections.",
        "",
        "| | peak, a second | arrivals due | sent | 200 | 503 | p50 of the 200, ms | p99, ms | memory, MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found:
        floods = [r.flood for r in one.rounds]
        p50, p99 = np.quantile(np.concatenate([f.latencies for f in floods]), (0.5, 0.99))
        peak = interval(np.array([(r.before_per_s + r.after_per_s) / 2.0 for r in one.rounds]))
        most = max(r.most_bytes for r in one.rounds)
        lines.append(
            f"| {one.name} | {peak} | {sum(f.n_due for f in floods):,} | {sum(f.n_sent for f in floods):,} "
            f"| {sum(f.statuses[200] for f in floods):,} | {sum(r.n_refused for r in one.rounds):,} "
            f"| {1e3 * p50:,.0f} | {1e3 * p99:,.0f} | {one.start_bytes / 1e6:,.0f} to {most / 1e6:,.0f} |"
        )
    lines += ["", "| what | measured | promised | |", "|---|---|---|---|"]
    for one in found:
        goodput = interval(np.array([r.goodput for r in one.rounds]))
        n_wrong = sum(r.n_wrong for r in one.rounds)
        lost = f"{one.n_missing} of {one.n_acknowledged:,} missing, {one.n_twice} twice"
        useful = interval(np.array([r.useful for r in one.rounds]))
        is_kept = not one.n_missing and not one.n_twice
        rows = [
            ("good answers a second, of the peak", goodput, f"at least {GOODPUT_BAR:g}", verdict(goodput, GOODPUT_BAR)),
            ("processor time that went into good answers, of all", useful, "", ""),
            ("neither good nor told when to come again", f"{n_wrong:,}", "none", _word(not n_wrong)),
            ("acknowledged and not in the store once", lost, "none", _word(is_kept)),
        ]
        lines += [f"| {one.name}: {what} | {measured} | {bar} | {word} |" for what, measured, bar, word in rows]
    return lines


def _word(is_met: bool) -> str:  # noqa: FBT001 - the one thing that it says
    return "met" if is_met else "**not met**"
