"""Where the sections of `scale.py` find a PostgreSQL: the one that was named, or one of their own for the run."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

import psycopg

__all__ = ["VARIABLE", "Database", "apart", "cpu_s_of", "emptied"]

VARIABLE: Final = "DWELL_BENCH_POSTGRES"
ROOT: Final = Path(__file__).resolve().parent.parent
# As a database is run that is there to stay; the memory is what a machine of 24 GB has beside what is measured
SETTINGS: Final = {
    "shared_buffers": "512MB", "wal_level": "replica", "max_wal_size": "4GB", "max_connections": "200",
    "autovacuum_naptime": "1min",
}  # fmt: skip


class Database(NamedTuple):
    """A database that holds nothing yet.

    Attributes:
        url: Its address.
        pid: Process of its server, None where that is not ours to look at.
    """

    url: str
    pid: int | None


@contextlib.contextmanager
def emptied(url: str = "") -> Iterator[Database]:
    """Give a database that holds nothing, and leave nothing of a store in it.

    Args:
        url: One that exists; without it a server is started for this run, as the tests start theirs.

    Raises:
        SystemExit: There is already a store in it, or no PostgreSQL is installed.
    """
    if not url:
        yield _of_our_own()
        return
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'dwell'").fetchone()
    if found:
        raise SystemExit("the database holds a schema `dwell`: name an empty one")
    try:
        yield Database(url, None)
    finally:
        with psycopg.connect(url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("DROP SCHEMA IF EXISTS dwell CASCADE")


_servers: list[object] = []


def _of_our_own() -> Database:
    sys.path.insert(0, str(ROOT))
    try:
        from tests.postgres import Server, binaries
    finally:
        sys.path.remove(str(ROOT))
    where = binaries()
    if where is None:
        raise SystemExit(f"no PostgreSQL is installed: name an empty database by --url, or in {VARIABLE}")
    if not _servers:
        _servers.append(Server(where, SETTINGS))
    server = _servers[0]
    assert isinstance(server, Server)
    return Database(server.new_database(), server.pid)


def apart(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL without its password, and the variable that libpq reads it from: all see command lines."""
    parts = urlsplit(url)
    if not parts.password:
        return url, {}
    who, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{who.partition(':')[0]}@{host}").geturl(), {"PGPASSWORD": unquote(parts.password)}


def cpu_s_of(pid: int) -> float:
    """Return the processor time that a process and all below it have taken, those included that have ended."""
    ticks, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        with contextlib.suppress(OSError, ValueError):
            fields = Path(f"/proc/{one}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            ticks += sum(int(field) for field in fields[11:15])  # its own, then its reaped children's
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text(encoding="ascii").split())
    return ticks / os.sysconf("SC_CLK_TCK")
