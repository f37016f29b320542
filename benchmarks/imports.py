"""How many events a minute an import takes, format by format, with durability full.

Each log is made up: lists of ten documents with two features and a reaction to each. An event is a list or a reaction.
Every round imports every log into a new store, beginning with another one each time. A rate of the wall clock is that
of the machine as it is; the rate of processor time is what it would be if nothing else ran and the disk took no time.

    python benchmarks/imports.py --lists 5000 --rounds 7
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np

import dwell
from _timing import Interval, interval
from dwell.integrations.importing import import_log

AT: Final = 1_700_000_000
N_DOCUMENTS: Final = 10
FEATURES: Final = ["bm25", "cosine"]
GOAL: Final = 100_000  # events a minute: what was asked for


def _features(i: int, j: int) -> dict[str, float]:
    return {"bm25": 10.0 - j, "cosine": ((i + j) % 7) / 10}


def _lines(path: Path, items: Iterable[object]) -> Path:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{item if isinstance(item, str) else json.dumps(item)}\n" for item in items)
    return path


def _jsonl(path: Path, n: int) -> Path:
    def items() -> Iterable[object]:
        for i in range(n):
            results = [
                {"memory_id": f"d{j}", "rank": j + 1, "score": 1 - j / 10, **_features(i, j)}
                for j in range(N_DOCUMENTS)
            ]
            yield {
                "event_id": f"e{i}",
                "timestamp": AT + i,
                "user_id": f"u{i % 997}",
                "query": f"q{i % 50}",
                "results": results,
            }
            yield {"event_id": f"e{i}", "signal": "click", "doc": "d1", "timestamp": AT + i + 5}

    return _lines(path, items())


def _rows(n: int) -> Iterable[dict[str, Any]]:
    for i in range(n):
        for j in range(N_DOCUMENTS):
            yield {
                "event_id": f"e{i}", "timestamp": AT + i, "user": f"u{i % 997}", "query": f"q{i % 50}", "doc": f"d{j}",
                "rank": j + 1, **_features(i, j), "click": int(j == 1),
            }  # fmt: skip


def _csv(path: Path, n: int) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(next(iter(_rows(1)))))
        writer.writeheader()
        writer.writerows(_rows(n))
    return path


def _parquet(path: Path, n: int) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(_rows(n))), path, row_group_size=50_000)
    return path


def _metarank(path: Path, n: int) -> Path:
    def items() -> Iterable[object]:
        for j in range(N_DOCUMENTS):
            fields = [{"name": name, "value": value} for name, value in _features(0, j).items()]
            yield {"event": "item", "id": f"i{j}", "timestamp": f"{AT}000", "item": f"d{j}", "fields": fields}
        for i in range(n):
            shown = [{"id": f"d{j}", "fields": [{"name": "bm25", "value": 10.0 - j}]} for j in range(N_DOCUMENTS)]
            at = f"{AT + i}000"
            yield {
                "event": "ranking", "id": f"e{i}", "timestamp": at, "user": f"u{i % 997}",
                "fields": [{"name": "query", "value": f"q{i % 50}"}], "items": shown,
            }  # fmt: skip
            yield {
                "event": "interaction",
                "id": f"x{i}",
                "ranking": f"e{i}",
                "timestamp": at,
                "type": "click",
                "item": "d1",
            }

    return _lines(path, items())


def _algolia(path: Path, n: int) -> Path:
    def items() -> Iterable[object]:
        for i in range(n):
            hits = [{"objectID": f"d{j}", **_features(i, j)} for j in range(N_DOCUMENTS)]
            yield {
                "queryID": f"{i:032x}",
                "query": f"q{i % 50}",
                "userToken": f"u{i % 997}",
                "timestamp": AT + i,
                "hits": hits,
            }
            yield {
                "eventType": "click", "eventName": "Opened", "userToken": f"u{i % 997}", "timestamp": (AT + i) * 1000,
                "queryID": f"{i:032x}", "objectIDs": ["d1"], "positions": [2],
            }  # fmt: skip

    return _lines(path, items())


def _open_bandit(path: Path, n: int) -> Path:
    head = ["timestamp", "item_id", "position", "click", "propensity_score", "user_feature_0"]
    head += [f"user-item_affinity_{j}" for j in range(N_DOCUMENTS)]
    rows = (
        [AT + i, i % N_DOCUMENTS, 1 + i % 3, 1, 0.1, f"f{i % 50}", *(int(j == i % 7) for j in range(N_DOCUMENTS))]
        for i in range(n)
    )
    return _lines(path, (",".join(map(str, row)) for row in [head, *rows]))


def _vw_dsjson(path: Path, n: int) -> Path:
    def item(i: int) -> object:
        actions = [{"id": f"d{j}", **_features(i, j)} for j in range(N_DOCUMENTS)]
        return {
            "EventId": f"e{i}", "Timestamp": AT + i,
            "a": list(range(1, N_DOCUMENTS + 1)), "p": [1 / N_DOCUMENTS] * N_DOCUMENTS,
            "c": {"User": {"kind": i % 50}, "_multi": actions}, "_label_cost": -1.0, "_label_Action": 2,
        }  # fmt: skip

    return _lines(path, map(item, range(n)))


def _vw_text(path: Path, n: int) -> Path:
    def items() -> Iterable[object]:
        for i in range(n):
            yield f"shared |User kind:{i % 50}"
            for j in range(N_DOCUMENTS):
                label = f"0:-1:{1 / N_DOCUMENTS} " if j == 1 else ""
                yield f"{label}|D bm25:{10.0 - j} cosine:{((i + j) % 7) / 10}"
            yield ""

    return _lines(path, items())


LOGS: Final[dict[str, Callable[[Path, int], Path]]] = {
    "jsonl": _jsonl,
    "csv": _csv,
    "parquet": _parquet,
    "metarank": _metarank,
    "algolia": _algolia,
    "open-bandit": _open_bandit,
    "vw-dsjson": _vw_dsjson,
    "vw-text": _vw_text,
}


def _timed(log: Path, name: str, folder: Path) -> tuple[float, float]:
    """Return events per minute by the wall clock and by processor time."""
    features = ["affinity"] if name == "open-bandit" else FEATURES
    with dwell.open(folder / "s.dwell", features=features, mode="log-only", pepper=b"of this benchmark") as loop:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        report = import_log(loop, log, format=name)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    assert not report.n_refused, report.refused[:1]
    assert not report.n_lists_without_features
    n_events = report.n_lists + sum(report.feedback.values())
    return 60 * n_events / wall_s, 60 * n_events / cpu_s


def main() -> None:
    """Print a line per format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lists", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--only", choices=sorted(LOGS), action="append")
    given = parser.parse_args()
    names = given.only or list(LOGS)
    n_lists, n_rounds = (100, 1) if given.quick else (given.lists, given.rounds)
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        logs = {name: LOGS[name](Path(folder) / name, n_lists) for name in names}
        for n in range(n_rounds):
            for name in [*names[n % len(names) :], *names[: n % len(names)]]:
                with tempfile.TemporaryDirectory(dir=folder) as place:
                    rates[name].append(_timed(logs[name], name, Path(place)))
    print(f"{'format':<12} {'events a minute':<32} {'of processor time':<32} at least {GOAL:,}")
    for name, found in rates.items():
        wall, cpu = (interval(np.array(column)) for column in zip(*found, strict=True))
        print(
            f"{name:<12} {_words(wall):<32} {_words(cpu):<32} {'yes' if wall.low >= GOAL else 'not by the wall clock'}"
        )
    if given.json is not None:
        given.json.write_text(json.dumps(rates), encoding="utf-8")
    print(f"most memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def _words(one: Interval) -> str:
    return f"{one.value:,.0f} ({one.low:,.0f} to {one.high:,.0f})"


if __name__ == "__main__":
    main()
