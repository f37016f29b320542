"""The rights that each kind of process needs on a store in PostgreSQL, as SQL, and no more than these."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias, get_args

from psycopg import sql

from dwell.errors import ConfigError

__all__ = ["KINDS", "Kind", "rights", "tenant_rights"]

#: "server" serves, ingests, promotes and erases; "learner" closes, learns and judges; "reader" reads
Kind: TypeAlias = Literal["server", "learner", "reader"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_WITH_MAINTAIN: Final = 170_000
_NOBODYS: Final = {
    "public",
    "none",
}  # quoted as well PostgreSQL takes the first for everybody, and no role has either name
_OUTCOME: Final = "(state, version, closed_at, reward, priority, details)"
_TENANT: Final = "(last_seq, live_version, epoch, last_trace_change, n_commits, n_bytes)"

# Tables are named one by one: a right on all tables would be one on partitions as well, past the triggers of the whole
_TABLES: Final = (
    "store", "tenants", "settings", "partitions", "snapshots", "event_ids", "events", "activations", "outcomes",
    "signals", "orphans", "quarantine", "params", "decisions", "tombstones", "statistics", "answers", "traces",
    "trace_changes",
)  # fmt: skip
_OF_BOTH: Final[dict[str, tuple[str, ...]]] = {
    "INSERT": ("settings", "params", "decisions", "statistics", "traces", "trace_changes"),
    "UPDATE": ("settings", "statistics", "traces"),
    f"UPDATE {_OUTCOME}": ("outcomes",),
    f"UPDATE {_TENANT}": ("tenants",),
    "UPDATE (n_changes)": ("store",),
    "DELETE": (
        "events", "activations", "outcomes", "signals", "orphans", "statistics", "answers", "traces", "trace_changes",
    ),
}  # fmt: skip
_GRANTED: Final[dict[Kind, tuple[dict[str, tuple[str, ...]], tuple[str, ...]]]] = {
    "server": (
        {
            **_OF_BOTH,
            "INSERT": (
                *_OF_BOTH["INSERT"],
                *("tenants", "events", "activations", "outcomes", "signals", "orphans", "quarantine"),
                *("tombstones", "answers"),
            ),
            "UPDATE": (*_OF_BOTH["UPDATE"], "answers", "tombstones"),
            "DELETE": (*_OF_BOTH["DELETE"], "quarantine"),
        },
        ("make_room(bigint)", "spans(text)", "drop_span(text, bigint)"),
    ),
    "learner": (_OF_BOTH, ("spans(text)", "drop_span(text, bigint)")),
    "reader": ({}, ()),
}


def rights(kind: Kind, role: str, *, server_version: int) -> list[str]:
    """Return the statements that give a role what a kind of process needs; the owner of the tables runs them.

    Args:
        kind: What the process does.
        role: A role that is there, with LOGIN and nothing else: no superuser, nor the right to make databases.
        server_version: As libpq tells it, 150004 for 15.4. From 17 on a server may also write tables anew, as an
            erasure asks for; before, that is their owner's.

    Raises:
        ConfigError: There is no such kind, or the role has no name.
    """
    who = _role(role)
    if kind not in KINDS:
        raise ConfigError(
            f"a role is for one of {', '.join(KINDS)}", field="kind", value=kind, hint="Choose one of them."
        )
    tables, functions = _GRANTED[kind]
    lines = [
        f"GRANT USAGE ON SCHEMA dwell TO {who}",
        f"GRANT SELECT ON {_named(_TABLES)} TO {who}",
        *(f"GRANT {right} ON {_named(on)} TO {who}" for right, on in tables.items()),
        *(f"GRANT EXECUTE ON FUNCTION dwell.{function} TO {who}" for function in functions),
    ]
    if kind == "server" and server_version >= _WITH_MAINTAIN:
        lines += [
            f"GRANT MAINTAIN ON ALL TABLES IN SCHEMA dwell TO {who}",
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA dwell GRANT MAINTAIN ON TABLES TO {who}",  # partitions to come
        ]
    return lines


def tenant_rights(role: str, tenant: str) -> list[str]:
    """Return the statements after which a role reads one tenant's rows by SQL, and nothing else of the store.

    They make a schema that is called like the role, with a view of each table. Row level security would also let a
    process serve a single tenant, but under it the database refuses COPY, which is how events come in.

    Raises:
        ConfigError: The role has no name.
    """
    who, whose = _role(role), sql.Literal(tenant).as_string()
    lines = [f"CREATE SCHEMA IF NOT EXISTS {who}", f"GRANT USAGE ON SCHEMA {who} TO {who}"]
    for table in _TABLES:
        if table in {"store", "partitions", "snapshots"}:
            continue
        # settings of the whole store hold its keys
        which = f"tenant = {whose}" + (" AND scope = 'tenant'" if table == "settings" else "")
        lines.append(
            f"CREATE OR REPLACE VIEW {who}.{table} WITH (security_barrier) AS SELECT * FROM dwell.{table} WHERE {which}"
        )
        lines.append(f"GRANT SELECT ON {who}.{table} TO {who}")
    return lines


def _role(role: str) -> str:
    if role in _NOBODYS:
        raise ConfigError(
            "a right for everybody who may connect is no role's", field="role", value=role, hint="Name a role."
        )
    if not role or "\0" in role:
        raise ConfigError("a role has a name", field="role", value=role, hint="Name a role of the database.")
    return sql.Identifier(role).as_string()


def _named(tables: tuple[str, ...]) -> str:
    return ", ".join(f"dwell.{table}" for table in tables)
