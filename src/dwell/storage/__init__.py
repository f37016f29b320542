"""Facts on disk: one port, a store in memory and one in a SQLite file, the pepper, and the one writer."""

from dwell.storage.opening import open_store
from dwell.storage.pepper import (
    PEPPER_VARIABLE,
    check_pepper,
    fingerprint,
    pseudonym,
    resolve_pepper,
    split_salt,
    store_secret,
    user_mark,
)
from dwell.storage.places import has_side_files, is_postgres, shown_place
from dwell.storage.protocol import (
    Answer,
    Durability,
    EventState,
    Outcome,
    PairStatistics,
    Quarantined,
    Reader,
    Role,
    SignalStatus,
    Store,
    Transaction,
)
from dwell.storage.writer import QueueFull, Writer

__all__ = [
    "PEPPER_VARIABLE",
    "Answer",
    "Durability",
    "EventState",
    "Outcome",
    "PairStatistics",
    "Quarantined",
    "QueueFull",
    "Reader",
    "Role",
    "SignalStatus",
    "Store",
    "Transaction",
    "Writer",
    "check_pepper",
    "fingerprint",
    "has_side_files",
    "is_postgres",
    "open_store",
    "pseudonym",
    "resolve_pepper",
    "shown_place",
    "split_salt",
    "store_secret",
    "user_mark",
]
