"""From any older schema in PostgreSQL to the one of today, one step per version, all in one transaction.

A step expands: it adds what the new release needs and keeps what the one before uses, so that processes of both work
on the same tables while hosts are upgraded one by one. `oldest_code` says whose processes still may.
"""

from __future__ import annotations

from typing import Final

from dwell.storage.postgres_partitions import EVENTS_PER_PARTITION, FUNCTIONS, TABLES
from dwell.storage.postgres_schema import guards

__all__ = ["STEPS"]

_PARTITIONED: Final = ("events", "activations", "outcomes", "signals")
_FACTS_OF_THEM: Final = ("events", "activations", "signals")

STEPS: Final[dict[int, str]] = {
    # 1 could remove what is old by deleting rows only: an hour for a month, and its room on the disk never came back.
    # Its tables become the first partition as they are. events_by_event_id stays on it: processes of that release look
    # events up by it, and it goes with the partition
    1: (
        f"""
ALTER TABLE dwell.store ADD COLUMN oldest_code integer NOT NULL DEFAULT 1;
ALTER TABLE dwell.store ADD COLUMN events_per_partition bigint NOT NULL DEFAULT {EVENTS_PER_PARTITION}
  CHECK (events_per_partition > 0);
"""
        + "".join(
            f"""
ALTER TABLE dwell.{table} RENAME TO {table}_0;
ALTER INDEX dwell.{table}_pkey RENAME TO {table}_0_pkey;
"""
            for table in _PARTITIONED
        )
        + """
ALTER INDEX dwell.events_by_user RENAME TO events_0_by_user;
ALTER INDEX dwell.outcomes_by_state RENAME TO outcomes_0_by_state;
"""
        + TABLES
        + "".join(guards(table) for table in _FACTS_OF_THEM)
        + FUNCTIONS
        + """
INSERT INTO dwell.event_ids (tenant, event_id, seq) SELECT tenant, event_id, seq FROM dwell.events_0;
DO $$
DECLARE
  width bigint := (SELECT events_per_partition FROM dwell.store);
  beyond bigint := ((SELECT coalesce(max(last_seq), 0) FROM dwell.tenants) / width + 1) * width;
  parent text;
BEGIN
  FOREACH parent IN ARRAY '{events,activations,outcomes,signals}'::text[] LOOP
    EXECUTE format('ALTER TABLE dwell.%I ATTACH PARTITION dwell.%I FOR VALUES FROM (0) TO (%s)',
      parent, parent || '_0', beyond);
  END LOOP;
  INSERT INTO dwell.partitions VALUES (0, beyond);
  PERFORM dwell.make_room(last_seq + 1) FROM dwell.tenants;
END $$;
ANALYZE dwell.event_ids;
"""
    ),
}
