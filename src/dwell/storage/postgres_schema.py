"""The tables of a store in PostgreSQL, as SQL: those of SQLite, with the tenant first in every key.

All stand in one schema, `dwell`, of whatever database the URL names. Text is compared by its code points (`COLLATE
"C"`), so that orders are those of every other store and no index depends on the system's locale.

Facts are append-only: triggers refuse every UPDATE of them, and every DELETE and TRUNCATE outside a transaction that
has said `SET LOCAL dwell.deletion_permit = 'given'`, as erasure and retention do.
"""

from __future__ import annotations

from typing import Final

from dwell.storage.postgres_partitions import EVENTS_PER_PARTITION, FUNCTIONS, TABLES
from dwell.storage.schema import FACTS

__all__ = ["SCHEMA", "VERSION", "guards"]

VERSION: Final = 2

_TABLES: Final = f"""
CREATE TABLE dwell.store (
  n integer PRIMARY KEY CHECK (n = 1),
  schema_version integer NOT NULL,
  n_changes bigint NOT NULL DEFAULT 0,
  oldest_code integer NOT NULL DEFAULT 1,
  events_per_partition bigint NOT NULL DEFAULT {EVENTS_PER_PARTITION} CHECK (events_per_partition > 0)
);

CREATE TABLE dwell.tenants (
  tenant text COLLATE "C" PRIMARY KEY,
  last_seq bigint NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
  live_version bigint,
  epoch bigint NOT NULL DEFAULT 0 CHECK (epoch >= 0),
  last_trace_change bigint NOT NULL DEFAULT 0 CHECK (last_trace_change >= 0),
  n_commits bigint NOT NULL DEFAULT 0,
  n_bytes bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 25);

CREATE TABLE dwell.settings (
  scope text COLLATE "C" NOT NULL CHECK (scope IN ('store', 'tenant')),
  tenant text COLLATE "C" NOT NULL DEFAULT '',
  key text COLLATE "C" NOT NULL,
  value bytea NOT NULL,
  PRIMARY KEY (tenant, scope, key)
);

CREATE TABLE dwell.orphans (
  tenant text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  dedupe text COLLATE "C" NOT NULL,
  digest text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  doc text COLLATE "C",
  value double precision NOT NULL,
  at bigint NOT NULL CHECK (at >= 0),
  received_at bigint NOT NULL CHECK (received_at >= 0),
  idempotency_key text COLLATE "C",
  PRIMARY KEY (tenant, event_id, dedupe)
);
CREATE INDEX orphans_by_time ON dwell.orphans (tenant, received_at);

CREATE TABLE dwell.quarantine (
  tenant text COLLATE "C" NOT NULL,
  n bigint NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  reason text COLLATE "C" NOT NULL,
  at bigint NOT NULL CHECK (at >= 0),
  pseudonym text COLLATE "C",
  PRIMARY KEY (tenant, n)
);
CREATE INDEX quarantine_by_event ON dwell.quarantine (tenant, event_id);
CREATE INDEX quarantine_by_user ON dwell.quarantine (tenant, pseudonym) WHERE pseudonym IS NOT NULL;

CREATE TABLE dwell.params (
  tenant text COLLATE "C" NOT NULL,
  version bigint NOT NULL CHECK (version >= 0),
  body bytea NOT NULL,
  PRIMARY KEY (tenant, version)
);

CREATE TABLE dwell.decisions (
  tenant text COLLATE "C" NOT NULL,
  n bigint NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (tenant, n)
);

CREATE TABLE dwell.tombstones (
  tenant text COLLATE "C" NOT NULL,
  pseudonym text COLLATE "C" NOT NULL,
  at bigint NOT NULL CHECK (at >= 0),
  PRIMARY KEY (tenant, pseudonym)
);

CREATE TABLE dwell.statistics (
  tenant text COLLATE "C" NOT NULL,
  query_hash bytea NOT NULL,
  segment text COLLATE "C" NOT NULL,
  doc text COLLATE "C" NOT NULL,
  n double precision NOT NULL,
  exposure double precision NOT NULL,
  credit double precision NOT NULL,
  users bytea NOT NULL CHECK (length(users) % 8 = 0 AND length(users) <= 40),
  at bigint NOT NULL CHECK (at >= 0),
  PRIMARY KEY (tenant, query_hash, segment, doc)
);
CREATE INDEX statistics_by_worth ON dwell.statistics (tenant, length(users), at);

CREATE TABLE dwell.answers (
  tenant text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  digest bytea NOT NULL,
  body bytea NOT NULL,
  at bigint NOT NULL CHECK (at >= 0),
  PRIMARY KEY (tenant, key)
);
CREATE INDEX answers_by_time ON dwell.answers (tenant, at);

CREATE TABLE dwell.traces (
  tenant text COLLATE "C" NOT NULL,
  item text COLLATE "C" NOT NULL,
  packed bytea NOT NULL,
  forget_at bigint CHECK (forget_at >= 0),
  PRIMARY KEY (tenant, item)
) WITH (fillfactor = 80);
CREATE INDEX traces_by_forgetting ON dwell.traces (tenant, forget_at, item) WHERE forget_at IS NOT NULL;

CREATE TABLE dwell.trace_changes (
  tenant text COLLATE "C" NOT NULL,
  n bigint NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (tenant, n)
);

"""

_GUARDS: Final = """
CREATE FUNCTION dwell.never_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% never change once written', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION dwell.goes_by_permit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce(current_setting('dwell.deletion_permit', true), '') <> 'given' THEN
    RAISE EXCEPTION '% are deleted by erasure and retention only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
  END IF;
  RETURN NULL;
END $$;
"""


def guards(table: str) -> str:
    """Return the triggers that keep the rows of a table as they were written."""
    return f"""
CREATE TRIGGER {table}_never_change BEFORE UPDATE ON dwell.{table}
FOR EACH STATEMENT EXECUTE FUNCTION dwell.never_changes();
CREATE TRIGGER {table}_go_by_permit BEFORE DELETE OR TRUNCATE ON dwell.{table}
FOR EACH STATEMENT EXECUTE FUNCTION dwell.goes_by_permit();
"""


SCHEMA: Final = (
    "CREATE SCHEMA IF NOT EXISTS dwell;"
    + _TABLES
    + TABLES
    + _GUARDS
    + "".join(guards(table) for table in FACTS)
    + FUNCTIONS
    + f"INSERT INTO dwell.store (n, schema_version) VALUES (1, {VERSION});"
)
