"""What a store in PostgreSQL costs: rows by COPY or pipelined, events beside a bare COPY, snapshots, commits.

    python benchmarks/postgres.py --url postgresql://user@host/database [--quick]

The database must hold nothing: a schema `dwell` is made in it and dropped at the end. Without a URL (--url, or the
variable DWELL_BENCH_POSTGRES) nothing is measured. Each figure is the median of its rounds, and contestants take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, Final

VARIABLE: Final = "DWELL_BENCH_POSTGRES"
N_ROUNDS: Final = 9
SIZES: Final = (1, 4, 8, 16, 24, 32, 64, 256)
N_EVENTS: Final = 20_000
N_QUICK_EVENTS: Final = 2_000
COLUMNS: Final = "tenant, seq, event_id, served_at, pseudonym, is_shown, shown, body"
TYPES: Final = ("text", "int8", "text", "int8", "text", "bool", "text", "bytea")


def rows_of(n: int, first: int = 1) -> list[tuple[Any, ...]]:
    """Return rows of events as a store keeps them."""
    from dwell.storage import rows
    from dwell.testing.store_samples import sample_impression

    made = (rows.event_row(sample_impression(f"event-{i:07d}", k=10, n=20, f=8)) for i in range(first, first + n))
    return [("bench", first + i, *row) for i, row in enumerate(made)]


def copied(connection: Any, many: list[tuple[Any, ...]]) -> None:  # noqa: ANN401 - psycopg's connection
    """Insert rows by COPY."""
    with connection.cursor() as cursor, cursor.copy(f"COPY events ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for row in many:
            copy.write_row(row)


def pipelined(connection: Any, many: list[tuple[Any, ...]]) -> None:  # noqa: ANN401 - psycopg's connection
    """Insert rows one by one, in one round trip."""
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO events ({COLUMNS}) VALUES ({', '.join(['%s'] * 8)})", many)


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def by_size(connection: Any) -> None:  # noqa: ANN401 - psycopg's connection
    """Print what a row costs by either way, in a transaction that is undone."""
    print("\nrows at once   COPY us/row   pipelined us/row")
    for size in SIZES:
        found: dict[str, list[float]] = {"COPY": [], "pipelined": []}
        many = rows_of(size)
        for _ in range(N_ROUNDS + 6):  # the first ones prepare the statement
            for name, way in (("COPY", copied), ("pipelined", pipelined)):
                connection.execute("BEGIN")
                found[name].append(timed(lambda way=way, many=many: way(connection, many)) / size * 1e6)
                connection.execute("ROLLBACK")
        medians = {name: statistics.median(values[6:]) for name, values in found.items()}
        print(f"{size:>12}   {medians['COPY']:>11.1f}   {medians['pipelined']:>16.1f}")


def ingest(url: str, connection: Any, n_events: int) -> None:  # noqa: ANN401 - psycopg's connection
    """Print events a second of the store, in transactions of a thousand, beside a bare COPY of the same rows."""
    from dwell.storage import open_store
    from dwell.testing.store_samples import sample_impression

    many = rows_of(n_events)
    bare = 0.0
    for start in range(0, n_events, 1_000):
        part = many[start : start + 1_000]
        bare += timed(
            lambda part=part: (connection.execute("BEGIN"), copied(connection, part), connection.execute("COMMIT"))
        )
    given = [sample_impression(f"ours-{i:07d}", k=10, n=20, f=8) for i in range(n_events)]
    store = open_store(url)
    ours = 0.0
    for start in range(0, n_events, 1_000):

        def write(start: int = start) -> None:
            with store.transaction() as tx:
                tx.prefetch([one.event_id for one in given[start : start + 1_000]])
                for one in given[start : start + 1_000]:
                    tx.add_impression(one)

        ours += timed(write)
    snapshots = []
    for _ in range(200):
        started = time.perf_counter()
        with store.snapshot():
            pass
        snapshots.append(time.perf_counter() - started)
    commits = []
    for i in range(200):
        started = time.perf_counter()
        with store.transaction() as tx:
            tx.put_setting("bench", str(i).encode())
        commits.append(time.perf_counter() - started)
    store.close()
    print(f"\nbare COPY of the events alone   {n_events / bare:>9,.0f} events/s")
    print(f"the store, encoded and checked  {n_events / ours:>9,.0f} events/s  ({bare / ours:.2f} of it)")
    print(f"a snapshot                      {statistics.median(snapshots) * 1e6:>9.0f} us")
    print(f"a transaction, committed        {statistics.median(commits) * 1e6:>9.0f} us")


def main() -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=os.environ.get(VARIABLE, ""))
    parser.add_argument("--quick", action="store_true")
    asked, _ = parser.parse_known_args()
    if not asked.url:
        print(f"passed over: give an empty database by --url, or in {VARIABLE}")
        return 0
    import psycopg

    from dwell.storage import open_store

    open_store(asked.url).close()
    with psycopg.connect(asked.url, autocommit=True) as connection:
        try:
            connection.execute("SET search_path = dwell")
            connection.execute("INSERT INTO tenants (tenant) VALUES ('bench')")  # which makes room for its events
            by_size(connection)
            ingest(asked.url, connection, N_QUICK_EVENTS if asked.quick else N_EVENTS)
        finally:
            connection.execute("DROP SCHEMA dwell CASCADE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
