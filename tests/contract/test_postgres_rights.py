"""Each kind of process works with the rights that are listed for it, and the database refuses it everything else."""

import secrets
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import psycopg
import pytest

import dwell
from dwell.errors import ConfigError, StorageError
from dwell.storage import open_store
from dwell.storage.granting import apply_grants, grants
from dwell.storage.postgres_rights import KINDS, rights, tenant_rights
from dwell.testing.store_samples import sample_impression, sample_signal

from ..canary import kept  # noqa: TID252 - tests are no installed package
from ..postgres import database, server  # noqa: TID252

PEPPER = b"a pepper of these tests"
NOW = 1_700_000_000.0


class Roles(NamedTuple):
    """A store with a role of each kind; `url` is that of its owner."""

    administrator: str
    url: str
    of: dict[str, str]


def run(url: str, *statements: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def roles() -> Iterator[Roles]:
    """Give a store that a role without any right on the server owns, three events in a partition."""
    first = database()
    name = urlsplit(first).path[1:]
    password = secrets.token_urlsafe(12)
    kept.keep("a role's password", password)
    names = ["keeper", *KINDS, "clerk"]
    for role in names:
        server().do(f"CREATE ROLE {role} LOGIN PASSWORD '{password}' NOSUPERUSER NOCREATEDB NOCREATEROLE")
    urls = {role: server().url(name, role, quote(password)) for role in names}
    run(first, f"GRANT CREATE ON DATABASE {name} TO keeper", "CREATE SCHEMA other", "CREATE TABLE other.secret (x int)")
    loop = dwell.open(urls["keeper"], features=["x"], weights={"x": 1.0}, pepper=PEPPER)
    loop.close()
    run(urls["keeper"], "UPDATE dwell.store SET events_per_partition = 3")
    version = int(run(first, "SHOW server_version_num")[0][0])
    for kind in KINDS:
        run(urls["keeper"], *rights(kind, kind, server_version=version))
    run(urls["keeper"], *rights("server", "server", server_version=version))  # twice is legal
    yield Roles(first, urls["keeper"], urls)
    run(first, "DROP SCHEMA dwell CASCADE", "DROP SCHEMA IF EXISTS clerk CASCADE")
    run(first, *(f"DROP OWNED BY {role}" for role in names), *(f"DROP ROLE {role}" for role in names))


def test_a_loop_works_with_exactly_these_rights(roles: Roles) -> None:
    serving = dwell.open(roles.of["server"], pepper=PEPPER, temperature=1.0, attribution_window_s=10.0)
    for i in range(60):
        served = serving.rank(
            f"q{i % 3}", [{"id": f"d{j}", "x": j + i % 2} for j in range(4)], user=f"u{i % 7}", event_id=f"e{i}",
            now=NOW + i, activate=i % 5 != 0,
        )  # fmt: skip
        if i % 5 == 0:
            serving.activate(served.event_id, now=NOW + i)
        assert serving.feedback(served.event_id, "click", doc=served.ids[0], now=NOW + i).status == "joined"
        assert serving.feedback(f"unknown{i}", "click", doc="d", now=NOW + i).status == "orphan"
    from dwell.loop.entrance import open_loop

    how: dict[str, Any] = {"temperature": 1.0, "attribution_window_s": 10.0, "retention_s": 500.0}
    learning = open_loop(roles.of["learner"], pepper=PEPPER, **how, _role="learner")
    assert learning.close_events(now=NOW + 100.0) == 60
    assert learning.train(now=NOW + 101.0) is not None
    n_before = len(list(serving.experiences()))
    is_owners = int(run(roles.url, "SHOW server_version_num")[0][0]) < 170_000  # to write the tables anew
    with pytest.raises(StorageError, match="may not write the tables anew") if is_owners else nullcontext():
        serving.erase("u1", now=NOW + 102.0)
    assert len(list(serving.experiences())) == n_before - 9  # events 1, 8, ..., 57
    with pytest.raises(StorageError, match="may not"):
        learning.erase("u2", now=NOW + 103.0)
    learning.close_events(now=NOW + 520.5)  # those of the first 20 seconds are past their retention
    left = {event.event_id for event in serving.experiences()}
    assert left == {f"e{i}" for i in range(21, 60) if i % 7 != 1}
    assert run(roles.url, "SELECT count(*) FROM dwell.partitions WHERE beyond_seq <= 18") == [(0,)]
    learning.close()
    serving.close()
    reader = open_store(roles.of["reader"], role="reader")
    with reader.snapshot() as found:
        assert found.counts()["signals"] > 0
        assert found.impressions(found.seqs())
    reader.close()


@pytest.mark.parametrize("role", ["owner", "serving", "learner", "admin"])
def test_who_may_only_read_is_refused_when_it_opens_the_store_to_write(roles: Roles, role: Any) -> None:
    with pytest.raises(StorageError, match="may not do this") as refused:
        open_store(roles.of["reader"], role=role)
    assert refused.value.code == "not_permitted"
    # the lock of its role went with it: else nobody could learn beside a learner that can not
    open_store(roles.of["server"], role=role).close()


def test_a_standby_is_refused_as_one(roles: Roles) -> None:
    standby = f"{roles.of['server']}&options={quote('-c default_transaction_read_only=on', safe='')}"
    with pytest.raises(StorageError, match="primary") as refused:
        open_store(standby, role="serving")
    assert refused.value.code == "read_only"
    open_store(standby, role="reader").close()


def test_a_role_that_is_not_there_has_to_be_made_first(roles: Roles) -> None:
    with pytest.raises(StorageError, match="CREATE ROLE") as refused:
        apply_grants(roles.url, grants(roles.url, "nobody_yet", "server"))
    assert refused.value.code == "unknown_object"


FORBIDDEN = {
    "server": (
        "CREATE TABLE dwell.mine (x int)",
        "DROP TABLE dwell.orphans",
        "ALTER TABLE dwell.events DISABLE TRIGGER ALL",
        "TRUNCATE dwell.signals",
        "UPDATE dwell.events SET tenant = 'b'",
        "UPDATE dwell.signals SET value = 0",
        "UPDATE dwell.params SET version = 7",
        "DELETE FROM dwell.params",
        "DELETE FROM dwell.decisions",
        "DELETE FROM dwell.tombstones",
        "DELETE FROM dwell.tenants",
        "UPDATE dwell.outcomes SET served_at = 0",
        "UPDATE dwell.store SET schema_version = 9",
        "UPDATE dwell.event_ids SET seq = 1",
        "DELETE FROM dwell.event_ids",
        "INSERT INTO dwell.partitions VALUES (900, 903)",
        "SELECT * FROM dwell.events_0",
        "DELETE FROM dwell.events_0",
        "SELECT dwell.make_partition(900, 903)",
        "SELECT * FROM other.secret",
        "CREATE SCHEMA mine",
    ),
    "learner": (
        "INSERT INTO dwell.events SELECT * FROM dwell.events",
        "INSERT INTO dwell.signals SELECT * FROM dwell.signals",
        "INSERT INTO dwell.tombstones VALUES ('', 'x', 1)",
        "UPDATE dwell.params SET version = 7",
        "DELETE FROM dwell.decisions",
        "SELECT dwell.make_room(1)",
        "CREATE TABLE dwell.mine (x int)",
        "SELECT * FROM other.secret",
    ),
    "reader": (
        "INSERT INTO dwell.orphans SELECT * FROM dwell.orphans",
        "UPDATE dwell.outcomes SET priority = 0",
        "UPDATE dwell.tenants SET live_version = 0",
        "DELETE FROM dwell.signals",
        "SELECT dwell.drop_span('', 0)",
        "SELECT dwell.spans('')",
        "SELECT * FROM other.secret",
    ),
}


@pytest.mark.parametrize(("role", "statement"), [(role, one) for role, all_ in FORBIDDEN.items() for one in all_])
def test_the_database_refuses_what_is_not_listed(roles: Roles, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        run(roles.of[role], "SET dwell.deletion_permit = 'given'", statement)


def test_facts_go_by_permit_only_for_a_server_too(roles: Roles) -> None:
    with pytest.raises(psycopg.errors.RestrictViolation):
        run(roles.of["server"], "DELETE FROM dwell.signals")
    with pytest.raises(psycopg.errors.RestrictViolation):
        run(roles.of["server"], "SELECT dwell.drop_span('', 0)")


def test_no_role_can_do_more_than_log_in(roles: Roles) -> None:
    found = run(
        roles.url,
        "SELECT bool_or(rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls OR rolreplication) FROM pg_roles "
        "WHERE rolname IN ('keeper', 'server', 'learner', 'reader')",
    )
    assert found == [(False,)]


def test_a_role_of_one_tenant_sees_nothing_of_another(roles: Roles) -> None:
    for tenant in ("one", "two"):
        store = open_store(roles.of["server"], tenant=tenant)
        with store.transaction() as tx:
            tx.add_signal(tx.add_impression(sample_impression(f"of {tenant}")), sample_signal(f"of {tenant}"))
            tx.put_store_setting("keys", b"secret")
            tx.put_setting("own", b"x")
        store.close()
    run(roles.url, *tenant_rights("clerk", "one"))
    clerk = roles.of["clerk"]
    assert run(clerk, "SELECT event_id FROM events") == [("of one",)]
    assert run(clerk, "SELECT count(*) FROM signals") == [(1,)]
    assert run(clerk, "SELECT DISTINCT key FROM settings") == [("own",)]
    for statement in ("SELECT * FROM dwell.events", "DELETE FROM events", "INSERT INTO orphans SELECT * FROM orphans"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            run(clerk, statement)


def test_grants_are_refused_where_they_have_no_meaning(roles: Roles, tmp_path: Path) -> None:
    for where, kind, tenant, told in (
        (str(tmp_path / "a"), "server", None, "a file has no roles"),
        (roles.url, "king", None, "one of server, learner, reader"),
        (roles.url, "server", "t", "a server is of all tenants"),
    ):
        with pytest.raises(ConfigError, match=told):
            grants(where, "clerk", kind, tenant=tenant)
    for tenant in (None, "t"):  # quoted or not, to PostgreSQL it is everybody
        with pytest.raises(ConfigError, match="no role's"):
            grants(roles.url, "public", "reader", tenant=tenant)
    for url in (roles.of["server"], roles.of["reader"]):
        with pytest.raises(StorageError) as refusal:
            apply_grants(url, grants(url, "clerk", "learner"))
        assert refusal.value.code == "not_permitted"
    apply_grants(roles.url, grants(roles.url, "clerk", "reader"))
    assert run(roles.of["clerk"], "SELECT n FROM dwell.store") == [(1,)]


def test_names_are_quoted() -> None:
    for statement in rights("server", 'a"; DROP', server_version=180_000) + tenant_rights('a"; DROP', "it's"):
        assert '"a""; DROP"' in statement
    assert any("'it''s'" in statement for statement in tenant_rights("a", "it's"))
