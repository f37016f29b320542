"""Who may call the service: API keys, and the keys that sign impression tokens."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import click

from dwell.cli.options import store_argument, tenant_option
from dwell.cli.printing import document, examples, fact_lines, json_option, say, table, when
from dwell.cli.stores import admin_store, store_settings

if TYPE_CHECKING:
    from dwell.server.keys import Issued, Key, Keyring, Kind
    from dwell.storage import Transaction

__all__ = ["keys"]


@click.group()
@examples(
    "dwell keys create --kind secret --name search-backend search.dwell",
    "dwell keys list search.dwell",
)
def keys() -> None:
    """Say who may call the service.

    Works beside a process that has the store open; a service follows within seconds. A key is printed once, when it is
    made: the store keeps a hash of it.
    """


@keys.command()
@click.option(
    "--kind", type=click.Choice(["public", "agent", "secret", "admin"]), required=True, help="What the key may do."
)
@click.option("--name", required=True, metavar="N", help="What to call it.")
@click.option("--expires-in-s", type=click.FloatRange(min=0.0, min_open=True), metavar="N", help="Default: never.")
@store_argument
@tenant_option
@json_option
@examples(
    "dwell keys create --kind secret --name search-backend search.dwell",
    "dwell keys create --kind public --name website --tenant acme --expires-in-s 2592000 search.dwell",
)
def create(store: str, kind: str, name: str, expires_in_s: float | None, tenant: str, *, as_json: bool) -> None:
    """Make a key, and print it this once, alone on the output: KEY=$(dwell keys create ...).

    public: for browsers; sends feedback with the token of a list that was shown, and reads nothing. secret: for the
    application's servers. admin: moves params, erases, reads experiences.
    """
    from dwell.server.keys import created, entropy

    now = time.time()
    with _ring(store, tenant) as (tx, ring):
        issued = created(
            ring,
            kind=cast("Kind", kind),
            name=name,
            tenant=tenant,
            now=now,
            expires_at=None if expires_in_s is None else now + expires_in_s,
            entropy=entropy(),
        )
        is_new_tenant = tx.live_version() is None
        _keep(tx, issued.keyring)
    _say_issued(issued, now, as_json=as_json)
    if is_new_tenant:
        say(f"{store} holds nothing of tenant {tenant!r} yet: check the name, unless it is new", err=True)


@keys.command("list")
@store_argument
@json_option
@examples("dwell keys list search.dwell")
def list_(store: str, *, as_json: bool) -> None:
    """Show all keys, without their secrets."""
    from dwell.server.keys import read_keyring

    now = time.time()
    with store_settings(store) as reader:
        ring = read_keyring(reader)
    if as_json:
        document({"keys": [_shown(key, now) for key in ring.keys]})
        return
    if not ring.keys:
        say(f"no keys in {store}; `dwell keys create` makes one")
        return
    rows = [
        (k.id, k.kind, k.tenant or "(default)", _state(k, now), when(k.created_at), when(k.expires_at), k.name)
        for k in ring.keys
    ]
    table(("id", "kind", "tenant", "state", "created", "expires", "name"), rows)


@keys.command()
@click.argument("key_id", metavar="ID")
@store_argument
@click.option(
    "--overlap-s",
    type=click.FloatRange(min=0.0),
    metavar="N",
    help="How long the old secret still works. Default: 7 d.",
)
@json_option
@examples(
    "dwell keys rotate KHwUqJhD5t4 search.dwell",
    "dwell keys rotate KHwUqJhD5t4 search.dwell --overlap-s 0",
)
def rotate(store: str, key_id: str, overlap_s: float | None, *, as_json: bool) -> None:
    """Give a key a new secret, and print it this once.

    The secret before works a week longer (--overlap-s); a third one stops at once.
    """
    from dwell.server.keys import OVERLAP_S, entropy, rotated

    now = time.time()
    with _ring(store) as (tx, ring):
        overlap = OVERLAP_S if overlap_s is None else overlap_s
        issued = rotated(ring, key_id, now=now, entropy=entropy(), overlap_s=overlap)
        _keep(tx, issued.keyring)
    _say_issued(issued, now, as_json=as_json)


@keys.command()
@click.argument("key_id", metavar="ID")
@store_argument
@json_option
@examples("dwell keys revoke KHwUqJhD5t4 search.dwell")
def revoke(store: str, key_id: str, *, as_json: bool) -> None:
    """End a key: it lets nobody in any more."""
    from dwell.server.keys import revoked

    now = time.time()
    with _ring(store) as (tx, ring):
        left = revoked(ring, key_id, now=now)
        _keep(tx, left)
    key = next(key for key in left.keys if key.id == key_id)
    if as_json:
        document(_shown(key, now))
    else:
        say(f"key {key.id} ({key.name}) is revoked")


@keys.command()
@store_argument
@json_option
@examples("dwell keys forget search.dwell")
def forget(store: str, *, as_json: bool) -> None:
    """Remove the keys that are revoked or expired."""
    from dwell.server.keys import forgotten

    with _ring(store) as (tx, ring):
        left = forgotten(ring, now=time.time())
        _keep(tx, left)
    n_forgotten = len(ring.keys) - len(left.keys)
    if as_json:
        document({"n_forgotten": n_forgotten})
    else:
        say(f"{n_forgotten} keys forgotten, {len(left.keys)} left")


@keys.command("rotate-signing")
@store_argument
@click.option("--drop-older", is_flag=True, help="Refuse the tokens that are out: after a leak.")
@json_option
@examples(
    "dwell keys rotate-signing search.dwell",
    "dwell keys rotate-signing search.dwell --drop-older",
)
def rotate_signing(store: str, *, drop_older: bool, as_json: bool) -> None:
    """Sign impression tokens with a new key from now on.

    Tokens that are out stay good until they expire, up to four rotations back; with --drop-older they are refused.
    """
    from dwell.server.tokens import read_signing_keys, rotated_signing_keys, write_signing_keys

    with admin_store(store) as opened, opened.transaction() as tx:
        before = () if drop_older else read_signing_keys(tx)  # what can not be read can still be replaced
        now_signing = rotated_signing_keys(before, now=time.time(), secret=secrets.token_bytes(32))
        write_signing_keys(tx, now_signing)
    if as_json:
        document({"n_signing_keys": len(now_signing)})
    else:
        say(f"tokens are signed with a new key; {len(now_signing) - 1} older ones are still accepted")


@contextlib.contextmanager
def _ring(store: str, tenant: str = "") -> Iterator[tuple[Transaction, Keyring]]:
    """Read the keys in the transaction that writes them again."""
    from dwell.server.keys import read_keyring

    with admin_store(store, tenant) as opened, opened.transaction() as tx:
        yield tx, read_keyring(tx)


def _keep(tx: Transaction, ring: Keyring) -> None:
    from dwell.server.keys import write_keyring

    write_keyring(tx, ring)


def _state(key: Key, now: float) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    n_secrets = sum(secret.expires_at is None or now < secret.expires_at for secret in key.secrets)
    return "active" if n_secrets < 2 else "rotating"


def _shown(key: Key, now: float) -> dict[str, object]:
    return {
        "id": key.id,
        "kind": key.kind,
        "tenant": key.tenant,
        "name": key.name,
        "state": _state(key, now),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "secrets": [{"created_at": secret.created_at, "expires_at": secret.expires_at} for secret in key.secrets],
    }


def _say_issued(issued: Issued, now: float, *, as_json: bool) -> None:
    key = issued.key
    if as_json:
        document({**_shown(key, now), "key": issued.text})
        return
    say(issued.text)  # alone on its stream: KEY=$(dwell keys create ...)
    say("this is the only time that it is shown", err=True)
    facts = [("id", key.id), ("kind", key.kind), ("tenant", key.tenant or "(default)"), ("name", key.name)]
    fact_lines(facts, err=True)
