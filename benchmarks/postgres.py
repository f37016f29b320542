"""What a store in PostgreSQL costs: ways of a row to the server, what the server does with it, a loop, a copy.

    python benchmarks/postgres.py --url postgresql://user@host/database [--quick]

Bulk ingest beside a bare COPY is `benchmarks/scale.py --only copy`. The database must hold nothing: a schema `dwell` is
made in it and dropped at the end. Without a URL (--url, or the variable DWELL_BENCH_POSTGRES) nothing is measured. Each
figure is the median of its rounds, and contestants take turns.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "DWELL_BENCH_POSTGRES"
N_ROUNDS: Final = 9
SIZES: Final = (1, 4, 8, 16, 24, 32, 64, 256)
N_AT_ONCE: Final = 1_000  # rows of a COPY, as a store sends them
N_SMALL: Final = 200
N_LOOPS: Final = 5
N_SERVED: Final = 4_000  # lists of a loop: fewer than its queue takes
N_QUICK_SERVED: Final = 1_000
COLUMNS: Final = "tenant, seq, event_id, served_at, pseudonym, is_shown, shown, body"
TYPES: Final = ("text", "int8", "text", "int8", "text", "bool", "text", "bytea")

_KEYS_OF_OUTCOMES: Final = """
SELECT conrelid::regclass::text, conname FROM pg_constraint
WHERE contype = 'f' AND conparentid = 0 AND conrelid IN (SELECT relid FROM pg_partition_tree('outcomes'))"""
_CHECKED_AT_ONCE: Final = """
CREATE FUNCTION checked_at_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF EXISTS (SELECT 1 FROM fresh n WHERE NOT EXISTS (
      SELECT 1 FROM events e WHERE e.tenant = n.tenant AND e.seq = n.seq)) THEN
    RAISE EXCEPTION 'an outcome without an event';
  END IF;
  RETURN NULL;
END $$"""
_TRIGGER: Final = """
CREATE TRIGGER checked_at_once AFTER INSERT ON outcomes REFERENCING NEW TABLE AS fresh
FOR EACH STATEMENT EXECUTE FUNCTION checked_at_once()"""


def rows_of(n: int, first: int = 1) -> list[tuple[Any, ...]]:
    """Return rows of events as a store keeps them."""
    from dwell.storage import rows
    from dwell.testing.store_samples import sample_impression

    made = (
        rows.event_row(sample_impression(f"event-{i:07d}", k=10, n=20, f=8, user=f"{i % 500:032x}"))
        for i in range(first, first + n)
    )
    return [("bench", first + i, *row) for i, row in enumerate(made)]


def copied(connection: Any, many: list[tuple[Any, ...]]) -> None:  # noqa: ANN401 - psycopg's connection
    """Insert rows by COPY."""
    with connection.cursor() as cursor, cursor.copy(f"COPY events ({COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(TYPES)
        for row in many:
            copy.write_row(row)


def outcomes_copied(connection: Any, many: list[tuple[Any, ...]]) -> None:  # noqa: ANN401 - psycopg's connection
    """Insert the outcomes of events by COPY."""
    into = "COPY outcomes (tenant, seq, state, served_at) FROM STDIN (FORMAT BINARY)"
    with connection.cursor() as cursor, cursor.copy(into) as copy:
        copy.set_types(("text", "int8", "text", "int8"))
        for tenant, seq, _, served_at, *_ in many:
            copy.write_row((tenant, seq, "open", served_at))


def pipelined(connection: Any, many: list[tuple[Any, ...]]) -> None:  # noqa: ANN401 - psycopg's connection
    """Insert rows one by one, in one round trip."""
    with connection.cursor() as cursor:
        cursor.executemany(f"INSERT INTO events ({COLUMNS}) VALUES ({', '.join(['%s'] * 8)})", many)


def timed(call: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def spent(connection: Any) -> float:  # noqa: ANN401 - psycopg's connection
    """Return the CPU seconds that the server has spent for a connection; the clock where it is on another host."""
    try:
        said = Path(f"/proc/{connection.info.backend_pid}/schedstat").read_text(encoding="ascii")
    except OSError:
        return time.perf_counter()
    return int(said.split()[0]) / 1e9


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


def by_work(connection: Any) -> None:  # noqa: ANN401 - psycopg's connection
    """Print what a COPY of a thousand rows costs the server, by what it has to do with them; all is undone."""
    many = rows_of(N_AT_ONCE)
    keys = connection.execute(_KEYS_OF_OUTCOMES).fetchall()
    without_keys = [f"ALTER TABLE {table} DROP CONSTRAINT {name}" for table, name in keys]
    work: dict[str, tuple[list[str], bool]] = {
        "events, compressed by pglz": (["SET LOCAL default_toast_compression = pglz"], False),
        "events, compressed by lz4": (["SET LOCAL default_toast_compression = lz4"], False),
        "outcomes, each looked up by its foreign key": ([], True),
        "outcomes, looked up at once by a trigger": ([*without_keys, _CHECKED_AT_ONCE, _TRIGGER], True),
        "outcomes, not looked up": (without_keys, True),
    }
    found: dict[str, list[tuple[float, int]]] = {name: [] for name in work}
    for _ in range(N_ROUNDS + 2):  # the first ones fill caches
        for name, (before, is_of_outcomes) in work.items():
            connection.execute("BEGIN")
            for statement in before:
                connection.execute(statement)
            if is_of_outcomes:
                copied(connection, many)
            sizes = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree('events')"
            size, began = connection.execute(sizes).fetchone()[0], spent(connection)
            (outcomes_copied if is_of_outcomes else copied)(connection, many)
            cost = spent(connection) - began
            n_bytes = (connection.execute(sizes).fetchone()[0] - size) // N_AT_ONCE
            found[name].append((cost / N_AT_ONCE * 1e6, n_bytes))
            connection.execute("ROLLBACK")
    print(f"\n{N_AT_ONCE:,} rows by COPY, CPU of the server     us/row   bytes/row")
    for name, values in found.items():
        cost = statistics.median(value for value, _ in values[2:])
        print(f"{name:<46} {cost:>5.1f}" + (f" {values[-1][1]:>11,}" if values[-1][1] else ""))


def from_rank_to_disk(where: str, n_events: int) -> float:
    """Return events a second from `rank` to the commit of the last of them: one process, one thread."""
    import dwell

    names = [f"f{i}" for i in range(8)]
    rng = random.Random(0)  # noqa: S311 - no secret
    candidates = [{"id": f"doc-{i}", **{name: rng.random() for name in names}} for i in range(20)]
    with dwell.open(where, features=names, pepper="of a benchmark") as loop:
        served = loop.rank("first", candidates, k=10)
        loop.feedback(served.event_id, "click", doc=served.ids[0])
        began = time.perf_counter()
        for i in range(n_events):
            served = loop.rank(f"query {i}", candidates, k=10, user=f"u{i % 100}")
        answer = loop.feedback(served.event_id, "click", doc=served.ids[0])  # waits for its commit, after all others
        took = time.perf_counter() - began
        if answer.status != "joined":
            raise RuntimeError(f"the last event is not there: {answer}")
    return n_events / took


def emptied(url: str, connection: Any) -> str:  # noqa: ANN401 - psycopg's connection
    """Make the tables anew."""
    from dwell.storage import open_store

    connection.execute("DROP SCHEMA IF EXISTS dwell CASCADE")
    open_store(url).close()
    return url


def moved(url: str, connection: Any, n_events: int) -> None:  # noqa: ANN401 - psycopg's connection
    """Print the rate of a loop, and that of a copy from a file and back."""
    from dwell.storage.copying import copy_store

    with tempfile.TemporaryDirectory() as folder:
        rates: dict[str, list[float]] = {"in a file": [], "in PostgreSQL": []}
        for i in range(N_LOOPS):
            rates["in a file"].append(from_rank_to_disk(f"{folder}/{i}.dwell", n_events))
            rates["in PostgreSQL"].append(from_rank_to_disk(emptied(url, connection), n_events))
        print(f"\n{n_events:,} lists, from rank to the disk")
        for name, values in rates.items():
            print(f"{name:<24}{statistics.median(values):>9,.0f} lists/s  ({min(values):,.0f} to {max(values):,.0f})")
        print("\ndwell db copy, read back and compared")
        for name, source, target in (
            ("file to PostgreSQL", f"{folder}/0.dwell", emptied(url, connection)),
            ("PostgreSQL to file", url, f"{folder}/back.dwell"),
        ):
            began = time.perf_counter()
            n_rows = sum(copy_store(source, target).n_rows.values())
            print(f"{name:<24}{n_rows / (time.perf_counter() - began):>9,.0f} rows/s")


def small(url: str) -> None:
    """Print what a snapshot, and a transaction of one row, cost."""
    from dwell.storage import open_store

    store = open_store(url)
    snapshots, commits = [], []
    for i in range(N_SMALL):
        started = time.perf_counter()
        with store.snapshot():
            pass
        between = time.perf_counter()
        with store.transaction() as tx:
            tx.put_setting("bench", str(i).encode())
        snapshots.append(between - started)
        commits.append(time.perf_counter() - between)
    store.close()
    print(f"\na snapshot                {statistics.median(snapshots) * 1e6:>7.0f} us")
    print(f"a transaction, committed  {statistics.median(commits) * 1e6:>7.0f} us")


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

    with psycopg.connect(asked.url, autocommit=True) as connection:
        try:
            emptied(asked.url, connection)
            connection.execute("SET search_path = dwell")
            connection.execute("SELECT make_room(1)")
            by_size(connection)
            by_work(connection)
            small(asked.url)
            moved(asked.url, connection, N_QUICK_SERVED if asked.quick else N_SERVED)
        finally:
            connection.execute("DROP SCHEMA dwell CASCADE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
