"""The pepper: what turns a user's id into a pseudonym that nobody can compute who has only the store."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import apsw

from dwell.errors import ConfigError, PepperMismatch, StorageError
from dwell.storage.failures import told
from dwell.storage.places import has_side_files, is_postgres, shown_place
from dwell.storage.protocol import Store

__all__ = [
    "PEPPER_VARIABLE",
    "check_pepper",
    "fingerprint",
    "pseudonym",
    "resolve_pepper",
    "split_salt",
    "store_secret",
    "user_mark",
]

PEPPER_VARIABLE: Final = "DWELL_PEPPER"
_FINGERPRINT_KEY: Final = "pepper_fingerprint"
_SECRET_KEY: Final = "secret"  # noqa: S105 - the name of a setting
_SALT_KEY: Final = "split_salt"
_N_SECRET_BYTES: Final = 32  # 256 bits: not to be guessed, now or ever


# what says nothing of the file: told as it is, instead of asking for a pepper
_REFUSED_BY_DISK: Final = (apsw.IOError, apsw.FullError, apsw.CantOpenError)


def resolve_pepper(where: str, given: bytes | str | None, environ: Mapping[str, str]) -> bytes:
    """Return the pepper for a store: the given one, else DWELL_PEPPER, else that of the file beside the store.

    The file `<store>.pepper`, readable by its owner alone, is made with a new store and never again: without it the
    users of an existing store would silently become other users. ":memory:" gets a random pepper. Line ends after the
    pepper are no part of it, so that the file's text may be given in its place.

    Args:
        where: What the store is opened with.
        given: The pepper, where the caller has one. Any that is not empty is taken: how hard it is to guess a user
            from a pseudonym is how hard it is to guess the pepper, so give 16 random bytes or more.
        environ: The environment, for DWELL_PEPPER.

    Raises:
        ConfigError: The pepper is empty, or neither bytes nor text, or not given for a database.
        PepperMismatch: The store exists and its pepper file does not, or others may read it.
        StorageError: The file can not be read or written.
    """
    for field, value in (("pepper", given), (PEPPER_VARIABLE, environ.get(PEPPER_VARIABLE))):
        if value is not None:
            return _checked(value, field)
    if is_postgres(where):
        raise ConfigError(
            f"the pepper of {shown_place(where)} is not given, and a database has no file beside it to hold one",
            field="pepper",
            value=None,
            hint=f"Give the same one in every process: pepper=, or {PEPPER_VARIABLE}; 32 random bytes are a good one. "
            "A store that was copied from a file needs that of the file, whose text stands beside it.",
        )
    if where == ":memory:":
        return secrets.token_bytes(_N_SECRET_BYTES)
    path = Path(f"{os.path.realpath(where)}.pepper")
    try:
        if not path.exists():
            if _has_pepper(os.path.realpath(where)):
                raise PepperMismatch(
                    f"the store {where} was made with a pepper, and its file {path.name} is missing",
                    hint=f"Restore the file beside the store, or give its text as pepper= or {PEPPER_VARIABLE}.",
                )
            _make(path)
        return _read(path)
    except OSError as error:
        raise StorageError(
            f"the pepper file {path} can not be read or made: {error.strerror}",
            code="cannot_open",
            hint="Check that the folder exists and that this user may write to it.",
        ) from error


def _checked(value: bytes | str, field: str) -> bytes:
    if not isinstance(value, bytes | str):  # bytes(32) would be 32 zeros
        raise ConfigError("a pepper is bytes or text", field=field, value=type(value).__name__, hint="Pass bytes.")
    pepper = (value.encode() if isinstance(value, str) else value).rstrip(b"\r\n")
    if not pepper:
        raise ConfigError("a pepper is not empty", field=field, value="", hint="Leave it out to have one made.")
    return pepper


def _has_pepper(path: str) -> bool:
    # Through SQLite: opening the file otherwise would drop the locks that this process holds on it
    if not os.path.exists(path) or os.path.getsize(path) == 0:  # noqa: PTH110, PTH202 - a plain path, as SQLite takes it
        return False
    try:
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    except _REFUSED_BY_DISK as error:
        raise told(error, path) from error
    except apsw.Error:
        return True
    try:
        connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        found = connection.execute(
            "SELECT 1 FROM settings WHERE scope = 'store' AND key = ?", (_FINGERPRINT_KEY,)
        ).fetchone()
    except _REFUSED_BY_DISK as error:
        raise told(error, path) from error
    except apsw.Error:
        return True  # whatever stands there, it is nothing new
    finally:
        connection.close()
    return found is not None


def _make(path: Path) -> None:
    # Complete or not there: a crash must leave no empty pepper, and of two makers one wins
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, f"{secrets.token_hex(_N_SECRET_BYTES)}\n".encode("ascii"))
        os.fsync(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        os.close(descriptor)
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _read(path: Path) -> bytes:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise PepperMismatch(
            f"others may read the pepper file {path} (mode {mode:o})",
            code="pepper_permissions",
            hint=f"Run: chmod 600 {path}",
        )
    return _checked(path.read_bytes(), path.name)


def pseudonym(pepper: bytes, tenant: str, user: str) -> str:
    """Return what a user is called in the store: 32 hex digits of HMAC-SHA256 over tenant and id."""
    # not hmac.digest, which lets other threads run in between and is waited for when searches come fast
    return hmac.new(pepper, f"{tenant}\0{user}".encode(), "sha256").hexdigest()[:32]


def user_mark(user: str) -> bytes:
    """Return the 8 bytes that stand for a pseudonym in `PairStatistics.users`, so that erasure finds them.

    They are the first ones of the pseudonym, which is a hash already; of any other text they are a hash.
    """
    try:
        mark = bytes.fromhex(user)[:8]
    except ValueError:
        mark = b""
    return mark if len(mark) == 8 else hashlib.blake2b(user.encode(), digest_size=8).digest()


def fingerprint(pepper: bytes) -> bytes:
    """Return 16 bytes by which a store knows its pepper again, and from which it can not be told."""
    return hmac.digest(pepper, b"dwell pepper fingerprint", "sha256")[:16]


def check_pepper(store: Store, pepper: bytes) -> None:
    """Let a pepper pass that the store was made with; the first owner's is written down.

    Raises:
        PepperMismatch: The store was made with another one.
    """
    with store.snapshot() as reader:
        kept = reader.store_setting(_FINGERPRINT_KEY)
    if kept is None and store.role in {"owner", "serving"}:
        with store.transaction() as tx:
            kept = tx.store_setting(_FINGERPRINT_KEY)  # several may begin at once
            if kept is None:
                tx.put_store_setting(_FINGERPRINT_KEY, fingerprint(pepper))
    if kept is not None and not hmac.compare_digest(kept, fingerprint(pepper)):
        raise PepperMismatch(
            f"the store {store.where} was made with another pepper",
            hint=f"Give the one it was made with: pepper=, {PEPPER_VARIABLE}, or the file beside the store."
            if has_side_files(store.where)
            else f"Give the one it was made with, as pepper= or {PEPPER_VARIABLE}: a database has no file to hold one.",
        )


def store_secret(store: Store, pepper: bytes | None = None) -> bytes:
    """Return the store's own 32 bytes that seed its draws, made once and kept.

    Args:
        store: The store.
        pepper: Derive them from it instead of from the system's entropy, so that who gives the pepper, the event ids
            and every instant gets the same draws from another new store.

    Raises:
        StorageError: They are not there yet and this process may not write.
    """
    return _made_once(store, _SECRET_KEY, pepper)


def split_salt(store: Store, pepper: bytes | None = None) -> bytes:
    """Return the salt of the hold-out split, 32 bytes made once: who is held out can not be chosen from outside.

    Args:
        store: The store.
        pepper: As for `store_secret`.

    Raises:
        StorageError: It is not there yet and this process may not write.
    """
    return _made_once(store, _SALT_KEY, pepper)


def _made_once(store: Store, key: str, pepper: bytes | None) -> bytes:
    with store.snapshot() as reader:
        kept = reader.store_setting(key)
    if kept is not None:
        return kept
    with store.transaction() as tx:
        kept = tx.store_setting(key)
        if kept is None:
            kept = secrets.token_bytes(_N_SECRET_BYTES) if pepper is None else _derived(pepper, key)
            tx.put_store_setting(key, kept)
    return kept


def _derived(pepper: bytes, key: str) -> bytes:
    # a purpose of its own for each: neither the fingerprint in the store nor one of these tells another
    return hmac.digest(pepper, f"dwell {key}".encode(), "sha256")
