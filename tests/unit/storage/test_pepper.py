"""The pepper is found, made once, kept to oneself, and never made anew for a store that exists."""

import hashlib
import hmac
import stat
from pathlib import Path

import pytest

from dwell.errors import ConfigError, PepperMismatch, StorageError
from dwell.storage import (
    check_pepper,
    fingerprint,
    open_store,
    pseudonym,
    resolve_pepper,
    split_salt,
    store_secret,
    user_mark,
)


def make_store(path: Path, pepper: bytes) -> None:
    store = open_store(str(path))
    check_pepper(store, pepper)
    store.close()


def test_the_given_one_comes_first_then_the_environment_then_the_file(tmp_path: Path) -> None:
    where = str(tmp_path / "s.dwell")
    environ = {"DWELL_PEPPER": "from the environment\n"}
    assert resolve_pepper(where, "given\n", environ) == b"given"
    assert resolve_pepper(where, b"given", environ) == b"given"
    assert resolve_pepper(where, None, environ) == b"from the environment"
    assert not list(tmp_path.iterdir())
    made = resolve_pepper(where, None, {})
    assert made == resolve_pepper(where, None, {}) == (tmp_path / "s.dwell.pepper").read_bytes().strip()
    assert len(bytes.fromhex(made.decode())) == 32
    assert [found.name for found in tmp_path.iterdir()] == ["s.dwell.pepper"]


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    where = str(tmp_path / "s.dwell")
    resolve_pepper(where, None, {})
    path = tmp_path / "s.dwell.pepper"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(PepperMismatch, match=r"chmod 600") as refusal:
        resolve_pepper(where, None, {})
    assert refusal.value.code == "pepper_permissions"


def test_a_missing_file_of_an_existing_store_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.dwell"
    pepper = resolve_pepper(str(path), None, {})
    make_store(path, pepper)
    (tmp_path / "s.dwell.pepper").unlink()
    with pytest.raises(PepperMismatch, match="missing"):
        resolve_pepper(str(path), None, {})
    assert not (tmp_path / "s.dwell.pepper").exists()
    assert resolve_pepper(str(path), pepper, {}) == pepper


def test_a_store_that_never_had_one_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "s.dwell"
    open_store(str(path)).close()  # the process died before the pepper was made
    assert resolve_pepper(str(path), None, {}) == resolve_pepper(str(path), None, {})


def test_something_else_at_the_place_gets_none(tmp_path: Path) -> None:
    path = tmp_path / "s.dwell"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(PepperMismatch):
        resolve_pepper(str(path), None, {})


def test_an_empty_pepper_is_refused(tmp_path: Path) -> None:
    for given, environ in (("", {}), (b"\n", {}), (None, {"DWELL_PEPPER": ""})):
        with pytest.raises(ConfigError):
            resolve_pepper(str(tmp_path / "s"), given, environ)
    with pytest.raises(StorageError, match="can not be read"):
        resolve_pepper(str(tmp_path / "missing" / "s"), None, {})


def test_memory_gets_a_random_one() -> None:
    assert resolve_pepper(":memory:", None, {}) != resolve_pepper(":memory:", None, {})


def test_links_lead_to_the_same_pepper(tmp_path: Path) -> None:
    path = tmp_path / "s.dwell"
    make_store(path, resolve_pepper(str(path), None, {}))
    (tmp_path / "link").symlink_to(path)
    assert resolve_pepper(str(tmp_path / "link"), None, {}) == resolve_pepper(str(path), None, {})


def test_a_pseudonym_is_the_keyed_hash_of_tenant_and_user() -> None:
    expected = hmac.new(b"pepper", b"t\0u-77", hashlib.sha256).hexdigest()[:32]
    assert pseudonym(b"pepper", "t", "u-77") == expected
    others = {pseudonym(b"other", "t", "u-77"), pseudonym(b"pepper", "", "u-77"), pseudonym(b"pepper", "t", "u-78")}
    assert expected not in others
    assert len(others) == 3


def test_a_mark_is_the_head_of_the_pseudonym() -> None:
    name = pseudonym(b"pepper", "", "u")
    assert user_mark(name) == bytes.fromhex(name)[:8]
    assert len(user_mark("no hex")) == len(user_mark("ab")) == 8


def test_another_pepper_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.dwell"
    make_store(path, b"right")
    store = open_store(str(path))
    check_pepper(store, b"right")
    with pytest.raises(PepperMismatch, match="another pepper"):
        check_pepper(store, b"wrong")
    with store.snapshot() as reader:
        assert reader.store_setting("pepper_fingerprint") == fingerprint(b"right")
    store.close()
    assert b"right" not in path.read_bytes()


def test_secrets_are_made_once(tmp_path: Path) -> None:
    path = str(tmp_path / "s.dwell")
    store = open_store(path)
    secret, salt = store_secret(store), split_salt(store)
    store.close()
    reader = open_store(path, role="reader")
    assert (store_secret(reader), split_salt(reader)) == (secret, salt)
    assert len(secret) == len(salt) == 32
    assert secret != salt
    reader.close()
    bare = open_store(str(tmp_path / "other"))
    beside = open_store(str(tmp_path / "other"), role="reader")
    with pytest.raises(StorageError):
        store_secret(beside)
    beside.close()
    bare.close()
    assert Path(path).exists()


def test_who_gives_the_pepper_gets_the_same_secrets_from_another_new_store(tmp_path: Path) -> None:
    made = []
    for name, pepper in (("a", b"pepper"), ("b", b"pepper"), ("c", b"other"), ("d", None), ("e", None)):
        store = open_store(str(tmp_path / name))
        made.append((store_secret(store, pepper), split_salt(store, pepper)))
        assert (store_secret(store), split_salt(store, b"later")) == made[-1]  # what is there stays
        store.close()
    secrets, salts = zip(*made, strict=True)
    assert made[0] == made[1]
    assert len({*secrets, *salts}) == 8
    assert fingerprint(b"pepper") not in {secrets[0][:16], salts[0][:16]}
    assert secrets[0] == hmac.new(b"pepper", b"dwell secret", hashlib.sha256).digest()
