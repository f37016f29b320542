"""The one way to open a store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from dwell.errors import ConfigError, CorruptStoreError, MissingDependencyError, StorageError
from dwell.storage.memory import MemoryStore
from dwell.storage.places import is_postgres, shown_place
from dwell.storage.protocol import Durability, Role, Store
from dwell.storage.sqlite import SqliteStore

__all__ = ["needed_driver", "open_store"]


def open_store(where: str, *, tenant: str = "", durability: Durability = "full", role: Role = "owner") -> Store:
    """Return the store at a place.

    Args:
        where: ":memory:", the path of a SQLite file, or postgresql://user@host:port/database.
        tenant: Whose facts; "" is the default tenant.
        durability: "full": an acknowledged write survives a power cut. "relaxed": a power cut may take the last ones.
        role: "owner" ingests, and there is one; "serving" ingests as well, and there are several, in a database alone;
            "learner" closes, learns and judges beside them, and there is one; "admin" writes a little beside them;
            "reader" never writes.

    Raises:
        ConfigError: A durability or role that does not exist, "serving" where a store has one owner, or a place that
            can not hold a store, as a folder.
        StorageError: The store can not be opened; see `SqliteStore` and `PostgresStore`.
        MissingDependencyError: A database was named, and psycopg is not installed.
    """
    for field, value, legal in (("durability", durability, Durability), ("role", role, Role)):
        if value not in get_args(legal):
            raise ConfigError(
                f"{field} is one of {', '.join(get_args(legal))}", field=field, value=value, hint="Choose one of them."
            )
    if not where or "\0" in where:
        raise ConfigError("a store needs a place", field="where", value=where, hint='Give a path or ":memory:".')
    if is_postgres(where):
        return _postgres(where, tenant=tenant, durability=durability, role=role)
    if role == "serving":
        raise ConfigError(
            f"{where} has one owner: several processes that serve can not share it",
            field="role",
            value=role,
            hint='Open it as "owner" in one process, or copy it to PostgreSQL with `dwell db copy`.',
        )
    if where == ":memory:":
        return MemoryStore(tenant=tenant, role=role)
    if Path(where).is_dir():
        raise ConfigError(
            "a store is a file, and this is a folder",
            field="where",
            value=where,
            hint="Name a file in it, as search.dwell.",
        )
    lock = Path(f"{os.path.realpath(where)}.lock")
    is_locked_before = lock.exists()
    try:
        return SqliteStore(where, tenant=tenant, durability=durability, role=role)
    except StorageError as error:
        is_no_store = isinstance(error, CorruptStoreError) or error.code == "not_a_store"
        if role == "owner" and is_no_store and not is_locked_before:
            lock.unlink(missing_ok=True)  # beside somebody else's file nothing of ours stays
        raise


@contextlib.contextmanager
def needed_driver(where: str) -> Iterator[None]:
    """Have an import within this context that fails for want of the database's driver say what to install.

    Raises:
        MissingDependencyError: It is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("psycopg"):
            raise
        raise MissingDependencyError(
            "a store in PostgreSQL needs psycopg, which is not installed",
            field="where",
            value=shown_place(where),
            hint="Install it with: pip install 'dwell[postgres]'",
        ) from error


def _postgres(where: str, *, tenant: str, durability: Durability, role: Role) -> Store:
    with needed_driver(where):
        from dwell.storage.postgres import PostgresStore
    return PostgresStore(where, tenant=tenant, durability=durability, role=role)
