"""The tables of a store, as SQL.

A row of an event is addressed by one integer: the tenant's number in the high bits, `seq` in the low 40, so that one
look-up finds it and the events of a tenant stand together in the order in which they were served. The first tenant has
number 0: there the integer is `seq` itself. Rows of `traces` and `trace_changes` are addressed in the same way; their
`tenant` is the number, read off the integer: 17 rows of the usual size fill a page to its last byte.

Facts are append-only: triggers refuse every UPDATE of them, and every DELETE outside an erasure or a retention run,
which hold a row of `deletion_permit` while they work.
"""

from __future__ import annotations

from typing import Final

__all__ = ["APPLICATION_ID", "FACTS", "SCHEMA", "SEQ_BITS", "VERSION"]

APPLICATION_ID: Final = 0x6477_656C  # "dwel"; `file` and sqlite3 show it
VERSION: Final = 5
SEQ_BITS: Final = 40  # 10^12 events for each of 8 million tenants in SQLite's 63 bits

FACTS: Final = ("events", "activations", "signals", "params", "decisions")

_TABLES: Final = """
CREATE TABLE tenants (
  tenant TEXT NOT NULL PRIMARY KEY,
  n INTEGER NOT NULL UNIQUE CHECK (n >= 0),
  last_seq INTEGER NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
  live_version INTEGER,
  epoch INTEGER NOT NULL DEFAULT 0 CHECK (epoch >= 0),
  last_trace_change INTEGER NOT NULL DEFAULT 0 CHECK (last_trace_change >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE settings (
  scope TEXT NOT NULL CHECK (scope IN ('store', 'tenant')),
  tenant TEXT NOT NULL DEFAULT '',
  key TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (scope, tenant, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  id INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL DEFAULT '',
  event_id TEXT NOT NULL,
  served_at INTEGER NOT NULL CHECK (served_at >= 0),
  user TEXT,
  is_shown INTEGER NOT NULL CHECK (is_shown IN (0, 1)),
  shown TEXT NOT NULL,
  body BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX events_by_event_id ON events (tenant, event_id);
CREATE INDEX events_by_user ON events (tenant, user) WHERE user IS NOT NULL;

CREATE TABLE activations (
  id INTEGER PRIMARY KEY REFERENCES events (id),
  tenant TEXT NOT NULL DEFAULT '',
  shown TEXT NOT NULL,
  is_altered INTEGER NOT NULL CHECK (is_altered IN (0, 1)),
  at INTEGER NOT NULL CHECK (at >= 0)
) STRICT;

CREATE TABLE outcomes (
  id INTEGER PRIMARY KEY REFERENCES events (id),
  tenant TEXT NOT NULL DEFAULT '',
  state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'reopened', 'not_shown', 'evicted')),
  version INTEGER NOT NULL DEFAULT 0 CHECK (version >= 0),
  closed_at INTEGER CHECK (closed_at >= 0),
  reward REAL CHECK (reward BETWEEN -1 AND 1),
  priority REAL NOT NULL DEFAULT 1 CHECK (priority >= 0),
  details BLOB,
  served_at INTEGER NOT NULL DEFAULT 0 CHECK (served_at >= 0)
) STRICT;
CREATE INDEX outcomes_by_state ON outcomes (state, id, served_at);

CREATE TABLE signals (
  id INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL DEFAULT '',
  event INTEGER NOT NULL REFERENCES events (id),
  dedupe TEXT NOT NULL,
  digest TEXT NOT NULL,
  name TEXT NOT NULL,
  doc TEXT,
  value REAL NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  received_at INTEGER NOT NULL CHECK (received_at >= 0),
  idempotency_key TEXT
) STRICT;
CREATE UNIQUE INDEX signals_by_event ON signals (event, dedupe);

CREATE TABLE orphans (
  id INTEGER PRIMARY KEY,
  tenant TEXT NOT NULL DEFAULT '',
  event_id TEXT NOT NULL,
  dedupe TEXT NOT NULL,
  digest TEXT NOT NULL,
  name TEXT NOT NULL,
  doc TEXT,
  value REAL NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  received_at INTEGER NOT NULL CHECK (received_at >= 0),
  idempotency_key TEXT
) STRICT;
CREATE UNIQUE INDEX orphans_by_event ON orphans (tenant, event_id, dedupe);
CREATE INDEX orphans_by_time ON orphans (tenant, received_at);

CREATE TABLE quarantine (
  tenant TEXT NOT NULL DEFAULT '',
  n INTEGER NOT NULL,
  event_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  user TEXT,
  PRIMARY KEY (tenant, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX quarantine_by_event ON quarantine (tenant, event_id);
CREATE INDEX quarantine_by_user ON quarantine (tenant, user) WHERE user IS NOT NULL;

CREATE TABLE params (
  tenant TEXT NOT NULL DEFAULT '',
  version INTEGER NOT NULL CHECK (version >= 0),
  body BLOB NOT NULL,
  PRIMARY KEY (tenant, version)
) STRICT;

CREATE TABLE decisions (
  tenant TEXT NOT NULL DEFAULT '',
  n INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY (tenant, n)
) STRICT;

CREATE TABLE tombstones (
  tenant TEXT NOT NULL DEFAULT '',
  user TEXT NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  PRIMARY KEY (tenant, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE statistics (
  tenant TEXT NOT NULL DEFAULT '',
  query_hash BLOB NOT NULL,
  segment TEXT NOT NULL,
  doc TEXT NOT NULL,
  n REAL NOT NULL,
  exposure REAL NOT NULL,
  credit REAL NOT NULL,
  users BLOB NOT NULL CHECK (length(users) % 8 = 0 AND length(users) <= 40),
  at INTEGER NOT NULL CHECK (at >= 0),
  PRIMARY KEY (tenant, query_hash, segment, doc)
) STRICT, WITHOUT ROWID;
CREATE INDEX statistics_by_worth ON statistics (tenant, length(users), at);

CREATE TABLE answers (
  tenant TEXT NOT NULL DEFAULT '',
  key TEXT NOT NULL,
  digest BLOB NOT NULL,
  body BLOB NOT NULL,
  at INTEGER NOT NULL CHECK (at >= 0),
  PRIMARY KEY (tenant, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX answers_by_time ON answers (tenant, at);

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

CREATE TABLE deletion_permit (
  n INTEGER PRIMARY KEY CHECK (n = 1),
  tenant TEXT NOT NULL DEFAULT ''
) STRICT;
"""


def _guards(table: str) -> str:
    return f"""
CREATE TRIGGER {table}_never_change BEFORE UPDATE ON {table}
BEGIN SELECT RAISE(ABORT, '{table} never change once written'); END;
CREATE TRIGGER {table}_go_by_permit BEFORE DELETE ON {table}
WHEN NOT EXISTS (SELECT 1 FROM deletion_permit)
BEGIN SELECT RAISE(ABORT, '{table} are deleted by erasure and retention only'); END;
"""


SCHEMA: Final = _TABLES + "".join(_guards(table) for table in FACTS)
