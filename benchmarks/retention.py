"""What it costs to remove old events from PostgreSQL: row by row, as a retention by age does, and by partitions.

    python benchmarks/retention.py --url postgresql://user@host/database [--quick]

The database must hold nothing: a schema `dwell` is made in it and dropped at the end. Without a URL (--url, or the
variable DWELL_BENCH_POSTGRES) nothing is measured. Of each half of the events one signal in three was sent. The bytes
are those of all tables and indexes, after a VACUUM.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any, Final

VARIABLE: Final = "DWELL_BENCH_POSTGRES"
N_PARTITIONS: Final = 8  # of them one half goes by rows, the other by partitions
WIDTH: Final = 131_072
QUICK_WIDTH: Final = 4_096
AT_ONCE: Final = 200  # events in a transaction, as in dwell.loop.keep

_EVENTS: Final = """
INSERT INTO events SELECT '', g, 'event-' || md5(g::text), g, md5((g % 5000)::text), true, '["a","b","c"]',
  decode((SELECT string_agg(md5(g::text || i), '') FROM generate_series(1, 64) AS i), 'hex')
FROM generate_series({first}::bigint, {last}::bigint) AS g"""
_OUTCOMES: Final = """
INSERT INTO outcomes (tenant, seq, state, served_at)
SELECT '', g, 'evicted', g FROM generate_series({first}::bigint, {last}::bigint) AS g"""
_SIGNALS: Final = """
INSERT INTO signals SELECT '', g, 'key', 'digest', 'click', 'a', 1, g, g, NULL
FROM generate_series({first}::bigint, {last}::bigint, 3) AS g"""
_SIZE: Final = """
SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class
WHERE relnamespace = 'dwell'::regnamespace AND relkind = 'r'"""


def one(connection: Any, sql: str) -> Any:  # noqa: ANN401 - psycopg's
    """Return the one value of a statement."""
    return connection.execute(sql).fetchall()[0][0]


def fill(connection: Any, n_events: int, width: int) -> None:  # noqa: ANN401 - psycopg's connection
    """Make partitions full of events of 2,048 bytes."""
    connection.execute(f"UPDATE store SET events_per_partition = {width}")
    connection.execute("INSERT INTO tenants (tenant) VALUES ('')")
    for first in range(1, n_events + 1, width):
        last = min(first + width, n_events + 1) - 1
        connection.execute(f"SELECT make_room({first})")
        for sql in (_EVENTS, _OUTCOMES, _SIGNALS):
            connection.execute(sql.format(first=first, last=last))
    connection.execute(f"UPDATE tenants SET last_seq = {n_events + width}")
    connection.execute("VACUUM ANALYZE")


def measured(name: str, connection: Any, remove: Callable[[], int]) -> None:  # noqa: ANN401 - psycopg's connection
    """Print what removing took, what it wrote ahead, and what is left on the disk."""
    before, wal = one(connection, _SIZE), one(connection, "SELECT pg_current_wal_lsn()")
    started = time.perf_counter()
    n_events = remove()
    took = time.perf_counter() - started
    written = one(connection, f"SELECT pg_current_wal_lsn() - '{wal}'::pg_lsn")
    started = time.perf_counter()
    connection.execute("VACUUM")
    vacuum = time.perf_counter() - started
    freed = before - one(connection, _SIZE)
    print(
        f"{name:<14} {n_events:>9,} events   {took:>7.1f} s   VACUUM {vacuum:>5.1f} s   "
        f"log {float(written) / 1e6:>7.1f} MB   freed {freed / 1e6:>7.1f} MB of {before / 1e6:,.1f}"
    )


def by_rows(url: str, first: int, last: int) -> int:
    """Remove events as retention by age does."""
    from dwell.storage import open_store

    store = open_store(url)
    n = 0
    for start in range(first, last + 1, AT_ONCE):
        with store.transaction() as tx:
            n += tx.delete_events(range(start, min(start + AT_ONCE, last + 1)))
    store.close()
    return n


def by_partitions(url: str, first: int) -> int:
    """Remove whole partitions from a number on."""
    from dwell.storage import open_store

    store = open_store(url)
    with store.snapshot() as reader:
        spans = [span for span in reader.spans() if span[0] >= first]
    n, longest = 0, 0.0
    for span in spans:
        started = time.perf_counter()
        with store.transaction() as tx:
            n += tx.drop_span(*span) or 0
        longest = max(longest, time.perf_counter() - started)
    store.close()
    print(f"the longest of {len(spans)} transactions that drop one took {longest:.2f} s")
    return n


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

    width = QUICK_WIDTH if asked.quick else WIDTH
    open_store(asked.url).close()
    with psycopg.connect(asked.url, autocommit=True) as connection:
        try:
            connection.execute("SET search_path = dwell")
            n_events = N_PARTITIONS * width - 1  # the first partition begins with number 1
            fill(connection, n_events, width)
            half = N_PARTITIONS // 2 * width
            measured("row by row", connection, lambda: by_rows(asked.url, 1, half - 1))
            measured("by partitions", connection, lambda: by_partitions(asked.url, half))
        finally:
            connection.execute("DROP SCHEMA dwell CASCADE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
