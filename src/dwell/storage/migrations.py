"""From any older file to the schema of today, one step per version, all in one transaction."""

from __future__ import annotations

from typing import Final

import apsw

from dwell.errors import SchemaVersionError, StorageError
from dwell.storage.schema import APPLICATION_ID, SCHEMA, VERSION

__all__ = ["STEPS", "create", "migrate", "version_of"]

STEPS: Final[dict[int, str]] = {
    # 1 had to look at every open event to find those whose window is over, and at every event to find the newest ones
    1: """
ALTER TABLE outcomes ADD COLUMN served_at INTEGER NOT NULL DEFAULT 0 CHECK (served_at >= 0);
UPDATE outcomes SET served_at = (SELECT e.served_at FROM events e WHERE e.id = outcomes.id);
DROP INDEX outcomes_by_state;
CREATE INDEX outcomes_by_state ON outcomes (state, id, served_at);
""",
    # 2 could not tell whether what was derived from outcomes is still in step with them
    2: "ALTER TABLE tenants ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0)",
    # 3 had no place for what a request was answered: a retry over the wire had its effect once, but another answer
    3: """
CREATE TABLE answers (
  tenant TEXT NOT NULL DEFAULT '',
  key TEXT NOT NULL,
  digest BLOB NOT NULL,
  body BLOB NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (tenant, at);
""",
    # 4 had no place for activation traces: they would have had to be derived from every event at each opening
    4: """
ALTER TABLE tenants ADD COLUMN last_trace_change INTEGER NOT NULL DEFAULT 0 CHECK (last_trace_change >= 0);
CREATE TABLE traces (
  id INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL AS (id >> 40) VIRTUAL,
  item TEXT NOT NULL,
  packed BLOB NOT NULL,
  forget_at INTEGER CHECK (forget_at >= 0)
) STRICT;
CREATE UNIQUE INDEX traces_by_item ON traces (tenant, item);
CREATE INDEX traces_by_forgetting ON traces (tenant, forget_at) WHERE forget_at IS NOT NULL;
CREATE TABLE trace_changes (
  id INTEGER PRIMARY KEY,
  tenant INTEGER NOT NULL AS (id >> 40) VIRTUAL,
  body BLOB NOT NULL
) STRICT;
""",
}


def version_of(connection: apsw.Connection, where: str) -> int:
    """Return the schema version of an open file, 0 for an empty one.

    Raises:
        StorageError: code `not_a_store`: the file is a database of somebody else.
        SchemaVersionError: The file was written by a newer version.
    """
    found_id = _pragma(connection, "application_id")
    version = _pragma(connection, "user_version")
    if found_id != APPLICATION_ID:
        if found_id == 0 and version == 0 and _pragma(connection, "page_count") == 0:
            return 0
        raise StorageError(
            f"{where} is a database, but no dwell store; it was left as it is",
            code="not_a_store",
            hint="Give the path of a dwell store, or of a file that does not exist yet.",
        )
    if version > VERSION:
        raise SchemaVersionError(
            f"{where} has schema version {version}, this dwell knows up to {VERSION}",
            hint="Upgrade dwell, or restore a backup made by this version.",
        )
    return version


def create(connection: apsw.Connection) -> None:
    """Make the tables in an empty file; the caller holds the transaction."""
    connection.execute(SCHEMA)
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}")


def migrate(connection: apsw.Connection, version: int) -> None:
    """Bring a file of an older version up to date; the caller holds the transaction.

    Raises:
        SchemaVersionError: There is no step from that version.
    """
    for step in range(version, VERSION):
        if step not in STEPS:
            raise SchemaVersionError(
                f"schema version {version} is older than any that this dwell can read",
                hint="Open it with an earlier dwell first.",
            )
        connection.execute(STEPS[step])
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _pragma(connection: apsw.Connection, name: str) -> int:
    return int(connection.pragma(name) or 0)
