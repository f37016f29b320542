"""Partitions of the tables with weight, as SQL: by ranges of `seq`, made ahead and dropped as a whole.

`seq` grows in the order of the commits, so a range of it is a slice of time, whatever the served times claim. The key
of each table holds it, so a key is unique across all partitions, and a look-up by `seq` reads one of them. All tenants
share the ranges: one that has few events lives in the first of them.

What the look-up by `event_id` needs stands in one slim table over all partitions, which triggers fill: they hold for
whatever wrote the row, a process of the release before included.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EVENTS_PER_PARTITION", "FUNCTIONS", "TABLES"]

# 131,072 events are some 400 MB, of the 10 GB that a store may take by default a twenty-fifth: small enough that few
# events wait for the last one of their partition, and so few partitions that statements which read all of them do not
# notice (docs/decisions/0013-partitions-by-seq.md)
EVENTS_PER_PARTITION: Final = 131_072

# The names of constraints are those that version 1 got by itself: a table becomes a partition where they are the same
TABLES: Final = """
CREATE TABLE dwell.partitions (
  first_seq bigint PRIMARY KEY,
  beyond_seq bigint NOT NULL CHECK (beyond_seq > first_seq)
);

CREATE TABLE dwell.event_ids (
  tenant text COLLATE "C" NOT NULL,
  event_id text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  PRIMARY KEY (tenant, event_id)
);

-- Holds nothing. Who reads a snapshot locks it in share, who drops a partition alone: a table that is dropped is gone
-- for older snapshots as well
CREATE TABLE dwell.snapshots ();

CREATE TABLE dwell.events (
  tenant text COLLATE "C" NOT NULL,
  seq bigint NOT NULL CONSTRAINT events_seq_check CHECK (seq > 0),
  event_id text COLLATE "C" NOT NULL,
  served_at bigint NOT NULL CONSTRAINT events_served_at_check CHECK (served_at >= 0),
  pseudonym text COLLATE "C",
  is_shown boolean NOT NULL,
  shown text COLLATE "C" NOT NULL,
  body bytea NOT NULL,
  PRIMARY KEY (tenant, seq)
) PARTITION BY RANGE (seq);
CREATE INDEX events_by_user ON dwell.events (tenant, pseudonym, served_at) WHERE pseudonym IS NOT NULL;

CREATE TABLE dwell.activations (
  tenant text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  shown text COLLATE "C" NOT NULL,
  is_altered boolean NOT NULL,
  at bigint NOT NULL CONSTRAINT activations_at_check CHECK (at >= 0),
  PRIMARY KEY (tenant, seq)
) PARTITION BY RANGE (seq);

CREATE TABLE dwell.outcomes (
  tenant text COLLATE "C" NOT NULL,
  seq bigint NOT NULL,
  state text COLLATE "C" NOT NULL
    CONSTRAINT outcomes_state_check CHECK (state IN ('open', 'closed', 'reopened', 'not_shown', 'evicted')),
  version bigint NOT NULL DEFAULT 0 CONSTRAINT outcomes_version_check CHECK (version >= 0),
  closed_at bigint CONSTRAINT outcomes_closed_at_check CHECK (closed_at >= 0),
  reward double precision CONSTRAINT outcomes_reward_check CHECK (reward BETWEEN -1 AND 1),
  priority double precision NOT NULL DEFAULT 1
    CONSTRAINT outcomes_priority_check CHECK (priority >= 0 AND priority < 'infinity'),
  details bytea,
  served_at bigint NOT NULL CONSTRAINT outcomes_served_at_check CHECK (served_at >= 0),
  PRIMARY KEY (tenant, seq)
) PARTITION BY RANGE (seq);
CREATE INDEX outcomes_by_state ON dwell.outcomes (tenant, state, seq, served_at);

CREATE TABLE dwell.signals (
  tenant text COLLATE "C" NOT NULL,
  event bigint NOT NULL,
  dedupe text COLLATE "C" NOT NULL,
  digest text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  doc text COLLATE "C",
  value double precision NOT NULL,
  at bigint NOT NULL CONSTRAINT signals_at_check CHECK (at >= 0),
  received_at bigint NOT NULL CONSTRAINT signals_received_at_check CHECK (received_at >= 0),
  idempotency_key text COLLATE "C",
  PRIMARY KEY (tenant, event, dedupe)
) PARTITION BY RANGE (event);
"""

FUNCTIONS: Final = """
CREATE FUNCTION dwell.keep_event_ids() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  INSERT INTO dwell.event_ids (tenant, event_id, seq) SELECT tenant, event_id, seq FROM fresh;
  RETURN NULL;
END $$;
CREATE TRIGGER events_keep_ids AFTER INSERT ON dwell.events
REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION dwell.keep_event_ids();

CREATE FUNCTION dwell.drop_event_ids() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  DELETE FROM dwell.event_ids i USING gone g WHERE i.tenant = g.tenant AND i.event_id = g.event_id;
  RETURN NULL;
END $$;
CREATE TRIGGER events_drop_ids AFTER DELETE ON dwell.events
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION dwell.drop_event_ids();

CREATE FUNCTION dwell.make_partition(first_seq bigint, beyond_seq bigint) RETURNS void LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  parent text;
  leaf text;
  number text;
BEGIN
  FOREACH parent IN ARRAY '{events,activations,outcomes,signals}'::text[] LOOP
    leaf := parent || '_' || first_seq;
    EXECUTE format('CREATE TABLE dwell.%I (LIKE dwell.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', leaf, parent);
    IF parent = 'outcomes' THEN
      EXECUTE format('ALTER TABLE dwell.%I SET (fillfactor = 80)', leaf);
    ELSE
      EXECUTE format('CREATE TRIGGER %I BEFORE UPDATE ON dwell.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION dwell.never_changes()', parent || '_never_change', leaf);
      EXECUTE format('CREATE TRIGGER %I BEFORE DELETE OR TRUNCATE ON dwell.%I '
        'FOR EACH STATEMENT EXECUTE FUNCTION dwell.goes_by_permit()', parent || '_go_by_permit', leaf);
    END IF;
    -- Unlike CREATE TABLE ... PARTITION OF, to attach what is empty lets everybody else read and write meanwhile
    EXECUTE format('ALTER TABLE dwell.%I ATTACH PARTITION dwell.%I FOR VALUES FROM (%s) TO (%s)',
      parent, leaf, first_seq, beyond_seq);
    IF parent <> 'events' THEN
      number := CASE parent WHEN 'signals' THEN 'event' ELSE 'seq' END;
      EXECUTE format('ALTER TABLE dwell.%I ADD CONSTRAINT %I FOREIGN KEY (tenant, %I) '
        'REFERENCES dwell.%I (tenant, seq)', leaf, parent || '_tenant_' || number || '_fkey', number,
        'events_' || first_seq);
    END IF;
  END LOOP;
  INSERT INTO dwell.partitions VALUES (first_seq, beyond_seq);
END $$;
REVOKE EXECUTE ON FUNCTION dwell.make_partition FROM PUBLIC;

-- Until the caller's transaction is over nobody drops a partition between `wanted` and what is returned
CREATE FUNCTION dwell.make_room(wanted bigint) RETURNS bigint LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  width bigint := (SELECT events_per_partition FROM dwell.store);
  place bigint := wanted;
  found bigint;
  low bigint;
  high bigint;
BEGIN
  IF wanted NOT BETWEEN 1 AND 4611686018427387904 - 2 * width THEN
    RAISE EXCEPTION 'there is no room for number %', wanted USING ERRCODE = 'numeric_value_out_of_range';
  END IF;
  WHILE place < wanted + width LOOP
    SELECT p.beyond_seq INTO found FROM dwell.partitions p
    WHERE p.first_seq <= place AND p.beyond_seq > place FOR KEY SHARE;
    IF found IS NULL THEN
      LOCK TABLE dwell.partitions IN SHARE ROW EXCLUSIVE MODE;
      SELECT p.beyond_seq INTO found FROM dwell.partitions p WHERE p.first_seq <= place AND p.beyond_seq > place;
    END IF;
    IF found IS NULL THEN
      low := place - place % width;
      high := low + width;
      SELECT greatest(low, max(p.beyond_seq)) INTO low FROM dwell.partitions p WHERE p.beyond_seq <= place;
      SELECT least(high, min(p.first_seq)) INTO high FROM dwell.partitions p WHERE p.first_seq > place;
      PERFORM dwell.make_partition(low, high);
      found := high;
    END IF;
    place := found;
  END LOOP;
  RETURN place;
END $$;
REVOKE EXECUTE ON FUNCTION dwell.make_room FROM PUBLIC;

-- What this keeps true: behind a commit there is room for another `events_per_partition` events of the tenant
CREATE FUNCTION dwell.make_room_ahead() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'UPDATE' AND EXISTS (
    SELECT FROM dwell.partitions p, dwell.store s
    WHERE p.first_seq <= OLD.last_seq + s.events_per_partition
    AND p.beyond_seq > NEW.last_seq + s.events_per_partition)
  THEN
    RETURN NULL;
  END IF;
  PERFORM dwell.make_room(NEW.last_seq + 1);
  RETURN NULL;
END $$;
CREATE TRIGGER tenants_have_room AFTER INSERT ON dwell.tenants
FOR EACH ROW EXECUTE FUNCTION dwell.make_room_ahead();
CREATE TRIGGER tenants_keep_room AFTER UPDATE ON dwell.tenants
FOR EACH ROW WHEN (NEW.last_seq > OLD.last_seq) EXECUTE FUNCTION dwell.make_room_ahead();

-- The partitions that a tenant has passed, and in which nobody else has anything
CREATE FUNCTION dwell.spans(whose text) RETURNS TABLE (first_seq bigint, last_seq bigint) LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  has_others boolean;
BEGIN
  FOR first_seq, last_seq IN
    SELECT p.first_seq, p.beyond_seq - 1 FROM dwell.partitions p
    WHERE NOT EXISTS (SELECT FROM dwell.tenants t, dwell.store s
      WHERE p.first_seq <= t.last_seq + s.events_per_partition AND p.beyond_seq > t.last_seq + 1)
    AND p.beyond_seq <= (SELECT t.last_seq + 1 FROM dwell.tenants t WHERE t.tenant = whose)
    ORDER BY p.first_seq
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM dwell.%1$I WHERE tenant < $1) OR '
      'EXISTS (SELECT FROM dwell.%1$I WHERE tenant > $1)', 'events_' || first_seq) INTO has_others USING whose;
    IF NOT has_others THEN
      RETURN NEXT;
    END IF;
  END LOOP;
END $$;
REVOKE EXECUTE ON FUNCTION dwell.spans FROM PUBLIC;

-- Events, their bytes, those of details, and signals that went; null where somebody reads, or needs the room again
CREATE FUNCTION dwell.drop_span(whose text, from_seq bigint) RETURNS bigint[] LANGUAGE plpgsql
SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '250ms' AS $$
DECLARE
  went bigint[];
BEGIN
  IF coalesce(current_setting('dwell.deletion_permit', true), '') <> 'given' THEN
    RAISE EXCEPTION 'events are deleted by erasure and retention only' USING ERRCODE = 'restrict_violation';
  END IF;
  PERFORM FROM dwell.partitions p WHERE p.first_seq = from_seq FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  -- Only now: who needs this partition held it until his number was committed
  PERFORM FROM dwell.spans(whose) s WHERE s.first_seq = from_seq;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  EXECUTE format('SELECT ARRAY[n, n_bytes, n_details, n_signals] FROM '
    '(SELECT count(*) AS n, coalesce(sum(octet_length(shown) + octet_length(body)), 0)::bigint AS n_bytes '
    'FROM dwell.%I) AS e, '
    '(SELECT coalesce(sum(octet_length(details)), 0)::bigint AS n_details FROM dwell.%I) AS o, '
    '(SELECT count(*) AS n_signals FROM dwell.%I) AS s',
    'events_' || from_seq, 'outcomes_' || from_seq, 'signals_' || from_seq) INTO went;
  EXECUTE format('DELETE FROM dwell.event_ids i USING dwell.%I e WHERE i.tenant = e.tenant AND i.event_id = e.event_id',
    'events_' || from_seq);
  LOCK TABLE dwell.snapshots IN ACCESS EXCLUSIVE MODE;
  EXECUTE format('DROP TABLE dwell.%I, dwell.%I, dwell.%I, dwell.%I', 'signals_' || from_seq,
    'outcomes_' || from_seq, 'activations_' || from_seq, 'events_' || from_seq);
  DELETE FROM dwell.partitions p WHERE p.first_seq = from_seq;
  RETURN went;
EXCEPTION WHEN lock_not_available THEN
  RETURN NULL;
END $$;
REVOKE EXECUTE ON FUNCTION dwell.drop_span FROM PUBLIC;
"""
