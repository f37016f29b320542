"""Bulk ingest: the store's transactions against a bare psycopg COPY of the same rows into the same tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import psycopg
from psycopg import sql

from _timing import Contestant, FloatArray, interval, race, ratio, verdict
from dwell.storage import Outcome, Store, open_store
from dwell.testing.store_samples import sample_impression, sample_signal

__all__ = ["BAR", "OURS", "WHOLE", "copied", "copy_lines"]

BAR: Final = 0.7  # of the bare COPY: issue "Beyond one machine"
AT_ONCE: Final = 1_000  # events of a transaction, as the writer of a loop puts at most
N_ROUNDS: Final = 21
N_QUICK_ROUNDS: Final = 5
N_DOCUMENTS, N_SHOWN, N_FEATURES = 20, 10, 8
TABLES: Final = ("events", "outcomes")  # what one impression is written to; a trigger keeps the event ids

OURS: Final = "the store: encoded, checked, committed"
WHOLE: Final = "the store: the same, then a reaction to each, then the outcome of each"
BY_ROW: Final = "bare COPY of the same tables, row by row"
BY_LZ4: Final = "the same, compressed as the store does it"
AS_BYTES: Final = "bare COPY of the same tables, one ready buffer"
EVENTS_ALONE: Final = "bare COPY of the events alone, row by row"
# A plain connection compresses rows above 2 kB by pglz, the store's by lz4 where the server has it
_AS_THE_STORE: Final = """SELECT set_config('default_toast_compression', 'lz4', false) FROM pg_settings
WHERE name = 'default_toast_compression' AND 'lz4' = ANY(enumvals)"""


class Part(NamedTuple):
    """The rows of one transaction, as they stand in the tables.

    Attributes:
        rows: {table: rows without their tenant}.
        buffers: {table: the same, in PostgreSQL's binary format, under the tenant of `AS_BYTES`}.
    """

    rows: dict[str, list[tuple[Any, ...]]]
    buffers: dict[str, bytes]


class Copied(NamedTuple):
    """What was measured.

    Attributes:
        n_bytes: Of the rows of one event, in the format of COPY.
        per_s: {contestant: (rounds,) events per second}.
    """

    n_bytes: float
    per_s: dict[str, FloatArray]


def _columns(connection: psycopg.Connection, table: str) -> list[str]:
    """Return the columns of a table but its tenant."""
    query = """SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped
    AND attgenerated = '' AND attname <> 'tenant' ORDER BY attnum"""
    return [name for (name,) in connection.execute(query, (f"dwell.{table}",)).fetchall()]


def _written(store: Store, first: int) -> None:
    """Write one transaction of impressions by the store."""
    given = [
        sample_impression(f"event-{i:07d}", k=N_SHOWN, n=N_DOCUMENTS, f=N_FEATURES)
        for i in range(first, first + AT_ONCE)
    ]
    _write(store, given)


def _write(store: Store, given: Sequence[Any]) -> None:
    with store.transaction() as tx:
        tx.prefetch([one.event_id for one in given])
        for one in given:
            tx.add_impression(one)


def _write_whole(store: Store, given: Sequence[Any]) -> None:
    """Write everything that becomes of events, in three transactions."""
    with store.transaction() as tx:
        tx.prefetch([one.event_id for one in given])
        seqs = [tx.add_impression(one) for one in given]
    with store.transaction() as tx:
        tx.prefetch([one.event_id for one in given])
        for seq, one in zip(seqs, given, strict=True):
            assert tx.add_signal(seq, sample_signal(one.event_id, doc=one.served[0])) == "added"
    documents = np.full(N_DOCUMENTS, 0.05, dtype=np.float32)
    with store.transaction() as tx:
        for seq, one in zip(seqs, given, strict=True):
            outcome = Outcome(
                seq=seq,
                state="closed",
                version=1,
                closed_at=one.served_at + 1_800.0,
                reward=0.5,
                document_rewards=documents[:N_SHOWN],
                reward_version="benchmark",
                exposure=documents,
                exposure_se=documents,
                examination_version="benchmark",
            )
            assert tx.put_outcome(outcome, expected_version=0)


def _part(connection: psycopg.Connection, first: int) -> Part:
    """Return the rows that a transaction of the source wrote."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    buffers: dict[str, bytes] = {}
    for table in TABLES:
        columns = sql.SQL(", ").join(map(sql.Identifier, _columns(connection, table)))
        span = sql.SQL("FROM dwell.{} WHERE tenant = 'source' AND seq > {} AND seq <= {} ORDER BY seq").format(
            sql.Identifier(table), sql.Literal(first), sql.Literal(first + AT_ONCE)
        )
        rows[table] = connection.execute(sql.SQL("SELECT {} ").format(columns) + span, binary=True).fetchall()
        query = sql.SQL("COPY (SELECT 'bytes' COLLATE \"C\", {} ").format(columns) + span
        with connection.cursor() as cursor, cursor.copy(query + sql.SQL(") TO STDOUT (FORMAT BINARY)")) as copy:
            buffers[table] = b"".join(map(bytes, copy))
    return Part(rows, buffers)


class Bare:
    """A connection that copies rows as fast as psycopg does, in one transaction."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self._connection = connection
        self._into, self._types = {}, {}
        for table in TABLES:
            names = ["tenant", *_columns(connection, table)]
            found = connection.execute(
                sql.SQL("SELECT {} FROM dwell.{} LIMIT 0").format(
                    sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier(table)
                )
            )
            assert found.description is not None
            self._types[table] = [column.type_code for column in found.description]
            self._into[table] = sql.SQL("COPY dwell.{} ({}) FROM STDIN (FORMAT BINARY)").format(
                sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, names))
            )

    def by_row(self, tenant: str, part: Part, tables: Sequence[str]) -> None:
        """Copy rows as psycopg's manual does it."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for table in tables:
                with cursor.copy(self._into[table]) as copy:
                    copy.set_types(self._types[table])
                    for row in part.rows[table]:
                        copy.write_row((tenant, *row))

    def as_bytes(self, part: Part) -> None:
        """Copy a buffer that was made before."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            for table in TABLES:
                with cursor.copy(self._into[table]) as copy:
                    copy.write(part.buffers[table])


def copied(url: str, n_rounds: int) -> Copied:
    """Return what everybody writes in a second, in turn within each round, every call in one commit on the disk.

    Args:
        url: An empty database.
        n_rounds: Rounds, one transaction of every contestant in each.
    """
    source = open_store(url, tenant="source")
    for i in range(n_rounds + 1):
        _written(source, i * AT_ONCE)
    source.close()
    ours, whole = open_store(url, tenant="ours"), open_store(url, tenant="whole")
    with (
        psycopg.connect(url, autocommit=True) as reading,
        psycopg.connect(url, autocommit=True) as writing,
        psycopg.connect(url, autocommit=True) as writing_less,
    ):
        writing_less.execute(_AS_THE_STORE)
        made = [_part(reading, i * AT_ONCE) for i in range(n_rounds + 1)]
        bare, bare_less = Bare(writing), Bare(writing_less)
        calls = dict.fromkeys((OURS, BY_ROW, BY_LZ4, AS_BYTES, EVENTS_ALONE, WHOLE), 0)

        def entered(name: str, call: Callable[[Any], object]) -> Contestant:
            def prepare(_: int) -> Sequence[Any]:
                number = calls[name]
                calls[name] += 1
                if name not in {OURS, WHOLE}:
                    return [made[number]]
                first = number * AT_ONCE
                each = (sample_impression(f"event-{i:07d}", k=N_SHOWN, n=N_DOCUMENTS, f=N_FEATURES)
                        for i in range(first, first + AT_ONCE))  # fmt: skip
                return [list(each)]

            return Contestant(name, prepare, call, 1)

        seconds = race(
            [
                entered(OURS, lambda given: _write(ours, given)),
                entered(BY_ROW, lambda part: bare.by_row("rows", part, TABLES)),
                entered(BY_LZ4, lambda part: bare_less.by_row("less", part, TABLES)),
                entered(AS_BYTES, bare.as_bytes),
                entered(EVENTS_ALONE, lambda part: bare.by_row("alone", part, TABLES[:1])),
                entered(WHOLE, lambda given: _write_whole(whole, given)),
            ],
            n_rounds=n_rounds,
            clock=time.perf_counter,
        )
        _check(reading, n_rounds + 1)
        n_bytes = sum(len(buffer) for buffer in made[0].buffers.values()) / AT_ONCE
    ours.close()
    whole.close()
    return Copied(n_bytes, {name: AT_ONCE / of for name, of in seconds.items()})


def _check(connection: psycopg.Connection, n_calls: int) -> None:
    """Hold that everybody wrote the same rows.

    Raises:
        AssertionError: They differ.
    """
    for table in TABLES:
        columns = sql.SQL(", ").join(map(sql.Identifier, _columns(connection, table)))
        hashed = {}
        for tenant in ("source", "ours", "rows", "less", "bytes"):
            query = sql.SQL("SELECT count(*), md5(string_agg(md5(t::text), '' ORDER BY seq)) FROM ")
            of = sql.SQL("(SELECT {} FROM dwell.{} WHERE tenant = %s) AS t").format(columns, sql.Identifier(table))
            hashed[tenant] = connection.execute(query + of, (tenant,)).fetchone()
        assert len(set(hashed.values())) == 1, (table, hashed)
        assert hashed["ours"] is not None
        assert hashed["ours"][0] == n_calls * AT_ONCE, hashed


def copy_lines(found: Copied, *, is_judged: bool) -> list[str]:
    """Return rates and ratios as a Markdown table with the verdict."""
    lines = [
        f"{AT_ONCE:,} events to a transaction, {found.n_bytes:,.0f} bytes each as COPY sends them; by the clock.",
        "All end with a commit that is on the disk; at the end the rows of all are compared and are the same. The bare",
        "COPY goes into the same tables, with their indexes, keys and triggers.",
        "",
        "| who | events a second | the store's rate, of this one | promised | |",
        "|---|---|---|---|---|",
    ]
    ours = found.per_s[OURS]
    for name, rates in found.per_s.items():
        if name in {OURS, WHOLE}:
            lines.append(f"| {name} | {interval(rates)} | | | |")
            continue
        of = ratio(ours, rates)
        is_bar = name == BY_ROW
        said = (verdict(of, BAR) if is_judged else "not judged") if is_bar else ""
        lines.append(f"| {name} | {interval(rates)} | {of} | {f'at least {BAR:g}' if is_bar else ''} | {said} |")
    return lines
