"""Give a role of the database what one kind of process needs on a store: what `dwell db grants` does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from dwell.errors import ConfigError, StorageError
from dwell.storage.opening import needed_driver, open_store
from dwell.storage.places import is_postgres, shown_place

__all__ = ["apply_grants", "grants"]


def grants(where: str, role: str, kind: str, *, tenant: str | None = None) -> list[str]:
    """Return the statements that give a role its rights; nothing is changed.

    Args:
        where: postgresql://..., with a store of today's schema.
        role: A role of the database that is there.
        kind: "server", "learner" or "reader".
        tenant: Of a reader: whose rows it sees, by SQL and nothing else; None for all of them.

    Raises:
        ConfigError: The store is no database, there is no such kind, or a tenant is named and it is no reader.
        StorageError: There is no store, or of an older version.
    """
    if not is_postgres(where):
        raise ConfigError(
            "a file has no roles", field="where", value=where, hint="Use the permissions of the file and its folder."
        )
    open_store(where, role="reader").close()
    with needed_driver(where):
        from dwell.storage.postgres_rights import rights, tenant_rights
    with _connected(where) as connection:
        found = rights(kind, role, server_version=connection.info.server_version)  # type: ignore[arg-type]  # it checks
    if tenant is None:
        return found
    if kind != "reader":
        raise ConfigError(
            f"a {kind} is of all tenants", field="tenant", value=tenant, hint="Name a tenant for a reader only."
        )
    return tenant_rights(role, tenant)


def apply_grants(where: str, statements: list[str]) -> None:
    """Run the statements of `grants`, all of them or none.

    Raises:
        StorageError: code `not_permitted`: the user of the URL does not own the tables.
    """
    with _connected(where) as connection, connection.transaction():
        # A GRANT of what one may not give is a warning to the database, and nothing happens
        owns = connection.execute("SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'events'::regclass")
        if not owns.fetchall()[0][0]:
            raise StorageError(
                f"the database user of {shown_place(where)} does not own the tables, so it can give no rights on them",
                code="not_permitted",
                hint="Give the URL of their owner.",
            )
        for statement in statements:
            connection.execute(statement)


@contextlib.contextmanager
def _connected(where: str) -> Iterator[Any]:
    with needed_driver(where):
        import psycopg

        from dwell.storage.postgres_failures import told
        from dwell.storage.postgres_sessions import Sessions
    try:
        with Sessions(where, role="admin", durability="full").connect(is_reader=False) as connection:
            yield connection
    except psycopg.Error as error:
        raise told(error, shown_place(where)) from error
