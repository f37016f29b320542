"""How a command finds a store and opens it: never making one, and disturbing nobody who has it open."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from dwell.errors import ConfigError, StorageError, StoreOwnedError

if TYPE_CHECKING:
    from dwell.loop import Loop
    from dwell.storage import Reader, Store

__all__ = [
    "AsServed",
    "admin_loop",
    "admin_store",
    "as_served",
    "check_place",
    "facts",
    "owner_loop",
    "reader_loop",
    "room_for",
    "store_settings",
]

_MOST_CAPACITY: Final = 100_000_000  # as `dwell.open` allows
_NEWEST: Final = 200  # events that say how the application serves


class AsServed(NamedTuple):
    """How the application opens this store, as far as its newest events tell.

    Attributes:
        mode: Mode in which the newest event was served; "live" where there is none.
        temperature: Exploration with which it was served.
        rewards: Name and version of the function that made the newest reward; "" where there is none.
        attribution_window_s: Window of the newest closed event; 1800 where there is none.
        max_results: Most served documents that one of the newest events kept, at least 20.
        n_learnable: Events that are learned from, or will be.
    """

    mode: str
    temperature: float
    rewards: str
    attribution_window_s: float
    max_results: int
    n_learnable: int


def check_place(store: str) -> None:
    """Refuse what opening would make, or would take for a new store.

    Raises:
        StorageError: There is no file, or an empty one, or something else than a file; of a database, no tables.
    """
    from dwell.storage import is_postgres, open_store

    if is_postgres(store):
        open_store(store, role="reader").close()  # a reader makes nothing, and says what is missing
        return
    if store == ":memory:":
        raise StorageError(
            "a store in memory lives in its own process", code="no_store", hint="Give the path of a store's file."
        )
    path = Path(store)
    if not path.exists():
        raise StorageError(
            f"there is no store at {store}",
            code="no_store",
            hint="Check the path. dwell.open makes one, as `dwell serve STORE --features NAMES` does, and imports with "
            "--create --features NAMES.",
        )
    if not path.is_file() or path.stat().st_size == 0:
        raise StorageError(
            f"{store} is {'an empty file' if path.is_file() else 'no file'}, no store",
            code="no_store",
            hint="Give the path of a store's file.",
        )


@contextlib.contextmanager
def facts(store: str, tenant: str) -> Iterator[Reader]:
    """Read one committed state of a store; nothing is made and nothing is written.

    Raises:
        PepperMismatch: The pepper is missing or not this store's.
        StorageError: There is no such store, or no such tenant in it.
    """
    from dwell.storage import check_pepper, open_store, resolve_pepper

    check_place(store)
    opened = open_store(store, tenant=tenant, role="reader")
    try:
        with opened.snapshot() as reader:
            is_there = reader.live_version() is not None
        if not is_there:
            raise StorageError(
                f"{store} holds nothing of " + (f"tenant {tenant!r}" if tenant else "the default tenant"),
                code="no_tenant",
                hint="Name the tenant with --tenant, as dwell.open(tenant=...) did.",
            )
        check_pepper(opened, resolve_pepper(store, None, os.environ))
        with opened.snapshot() as reader:
            yield reader
    finally:
        opened.close()


def as_served(reader: Reader) -> AsServed:
    """Return how the application opens this store, as far as its newest events tell."""
    newest = reader.impressions(reader.seqs(limit=_NEWEST, newest_first=True))
    live = reader.params(reader.live_version() or 0)
    temperature = 0.3 if live is None else live.temperature
    mode = "live"
    if newest:
        mode = newest[0].mode
        if newest[0].policy != "external" and mode in {"live", "canary"}:
            temperature = newest[0].temperature
    window, rewards = _closing_of(reader)
    counts = reader.counts()
    return AsServed(
        mode=mode,
        temperature=temperature,
        rewards=rewards,
        attribution_window_s=window,
        max_results=max([20, *(len(set(i.served) & set(i.documents)) for i in newest)]),
        n_learnable=sum(counts.get(state, 0) for state in ("open", "closed", "reopened")),
    )


def _closing_of(reader: Reader) -> tuple[float, str]:
    """Return attribution window and reward version of the newest closed event, (1800, "") where there is none."""
    seqs = reader.seqs(states=("closed", "reopened"), limit=1, newest_first=True)
    outcomes, impressions = reader.outcomes(seqs), reader.impressions(seqs)
    if not outcomes or not impressions or outcomes[0].closed_at is None:
        return 1800.0, ""
    return round(outcomes[0].closed_at - impressions[0].served_at, 6), outcomes[0].reward_version


def _preset_of(reward_version: str, given: object) -> object:
    """Return what to open with: the rewards given, else those that made the stored rewards.

    Raises:
        ConfigError: They were the application's own, which the store does not keep.
    """
    from dwell.reward.presets import PRESETS

    if given is not None or not reward_version:
        return given
    name = reward_version.partition("/")[0]
    if name in PRESETS:
        return name
    raise ConfigError(
        f"the stored rewards were made by {reward_version}, which the store does not keep",
        field="rewards",
        value=None,
        hint="Give --rewards the same mapping as dwell.open(rewards=...), as JSON.",
    )


def room_for(n: int, holdout: float) -> int:
    """Return a capacity from which nothing is evicted, however the hold-out splits n events."""
    smaller = min(holdout, 1.0 - holdout) if 0.0 < holdout < 1.0 else 1.0
    return max(100_000, int(min(n / smaller + 1.0, _MOST_CAPACITY)))


def _arguments(store: str, tenant: str, given: Mapping[str, Any], *, has_rewards: bool) -> dict[str, Any]:
    """Return the arguments with which the application opens this store, those given on the command line first."""
    with facts(store, tenant) as reader:
        served = as_served(reader)
    chosen = {name: value for name, value in given.items() if value is not None}
    holdout = chosen.get("holdout", 0.3)
    found: dict[str, Any] = {
        "mode": served.mode,
        "temperature": served.temperature,
        "attribution_window_s": served.attribution_window_s,
        "max_results": served.max_results,
        "max_candidates": max(64, served.max_results),
        "capacity": room_for(served.n_learnable, holdout),
        "max_store_bytes": 2**60,  # a command removes nothing that it was not asked to remove
        "tenant": tenant,
    }
    if has_rewards:
        found["rewards"] = _preset_of(served.rewards, chosen.get("rewards"))
    return found | {name: value for name, value in chosen.items() if name != "rewards"}


def reader_loop(
    store: str, tenant: str, given: Mapping[str, object] | None = None, *, has_rewards: bool = False
) -> Loop:
    """Open a loop that never writes, beside whoever has the store.

    Args:
        store: The file.
        tenant: Whose data.
        given: Arguments of `dwell.open` that the command line gives; None is left to the store's newest events.
        has_rewards: Whether the command needs the reward function.

    Raises:
        StorageError: See `facts`.
        ConfigError: A setting is out of range.
    """
    from dwell.loop import open_loop

    return open_loop(store, **_arguments(store, tenant, given or {}, has_rewards=has_rewards), _role="reader")


def admin_loop(store: str, tenant: str, given: Mapping[str, object] | None = None) -> Loop:
    """Open a loop for one short write: as the owner where there is none, else beside it; it follows within a second.

    Raises:
        StorageError: See `facts`.
        ConfigError: A setting is out of range.
    """
    from dwell.loop import open_loop

    arguments = _arguments(store, tenant, given or {}, has_rewards=False)
    try:
        return open_loop(store, **arguments, _role="guest")
    except StoreOwnedError:
        return open_loop(store, **arguments, _role="admin")


@contextlib.contextmanager
def admin_store(store: str, tenant: str = "") -> Iterator[Store]:
    """Open the facts for one short write, beside whoever has them: what is written is of the whole store.

    Raises:
        StorageError: There is no such store.
    """
    from dwell.storage import open_store

    check_place(store)
    try:
        opened = open_store(store, tenant=tenant, role="owner")
    except StoreOwnedError:
        opened = open_store(store, tenant=tenant, role="admin")
    try:
        yield opened
    finally:
        opened.close()


@contextlib.contextmanager
def store_settings(store: str) -> Iterator[Reader]:
    """Read one committed state of what is of the whole store; nothing is written, and no tenant need be there.

    Raises:
        StorageError: There is no such store.
    """
    from dwell.storage import open_store

    check_place(store)
    opened = open_store(store, role="reader")
    try:
        with opened.snapshot() as reader:
            yield reader
    finally:
        opened.close()


def owner_loop(
    store: str,
    tenant: str,
    given: Mapping[str, object],
    *,
    has_rewards: bool = True,
    remedy: str = "call Loop.train() in it",
) -> Loop:
    """Open a loop as the owner.

    Args:
        store: The file.
        tenant: Whose data.
        given: See `reader_loop`.
        has_rewards: See `reader_loop`.
        remedy: What else to do where another process has the store.

    Raises:
        StoreOwnedError: Another process owns the store.
        StorageError: See `facts`.
        ConfigError: A setting is out of range.
    """
    from dwell.loop import open_loop

    try:
        return open_loop(store, **_arguments(store, tenant, given, has_rewards=has_rewards), _role="guest")
    except StoreOwnedError as error:
        raise StoreOwnedError(
            f"{store} is owned by process {error.value or 'unknown'}, and this command needs the store to itself",
            hint=f"Stop that process, or {remedy}.",
        ) from error
