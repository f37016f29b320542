"""What a store is opened with: a file, memory, or the URL of a database, which may hold a password."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["has_side_files", "is_postgres", "shown_place", "without_passwords"]

_SCHEMES: Final = ("postgresql://", "postgres://")
# A URL within a text ends where white space or a quotation mark begins, and before the sentence's own marks
_URL: Final = re.compile(r"""postgres(?:ql)?://[^\s'"`<>]*[^\s'"`<>.,:;)]""")


def is_postgres(where: str) -> bool:
    """Return whether a place is a PostgreSQL database."""
    return where.startswith(_SCHEMES)


def has_side_files(where: str) -> bool:
    """Return whether a place is a file, beside which others may stand: the column ring, the pepper, locks.

    In memory and beside a database there are none: what is derived from the facts is made from them at each opening.
    """
    return where != ":memory:" and not is_postgres(where)


def shown_place(where: str) -> str:
    """Return a place as it may stand in a message or a log: of a URL the user, host and database, never a secret.

    Everything behind a question mark is left out with the password: the URL may carry it there as well.
    """
    if not is_postgres(where):
        return where
    scheme, _, rest = where.partition("://")
    address = re.split(r"[?#]", rest, maxsplit=1)[0]
    # A password that was not quoted may hold a slash: what stands before the last @ is user and password
    authority, at, place = address.rpartition("@")
    return f"{scheme}://{authority.partition(':')[0]}{at}{place}"


def without_passwords(text: str) -> str:
    """Return a text in which every URL of a database is as `shown_place` has it."""
    if "postgres" not in text:
        return text
    return _URL.sub(lambda found: shown_place(found[0]), text)
