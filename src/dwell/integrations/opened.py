"""Loops by name, for components that are written down and read again: one loop per store in a process."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

from dwell.errors import ConfigError
from dwell.integrations.reranking import Ranks
from dwell.loop import Loop, open_loop

__all__ = ["close_opened", "is_service", "opened"]


class _Opened(NamedTuple):
    loop: Any
    features: tuple[str, ...] | None
    settings: Mapping[str, object]


_OPENED: Final[dict[tuple[str, str], _Opened]] = {}
_OWN: Final = ("features", "pepper")  # arguments of their own beside the settings
_LOCK: Final = threading.Lock()


def is_service(where: str) -> bool:
    """Return whether this names a `dwell serve` rather than a store."""
    return where.startswith(("http://", "https://"))


def opened(
    where: str,
    *,
    key: str | None = None,
    pepper: str | None = None,
    features: Sequence[str] | None = None,
    settings: Mapping[str, object] | None = None,
) -> Ranks:
    """Return the loop of a store, or a client of a service: the one that is open in this process, else a new one.

    A store has one owner, so that components of one process share its loop; it is closed when the process ends.

    Args:
        where: Path, ":memory:", "postgresql://...", or the URL of a service.
        key: Of a service.
        pepper: Of a store, as `dwell.open`.
        features: Names to register.
        settings: What else `dwell.open`, or `dwell.Client`, takes.

    Raises:
        ConfigError: The store is open in this process with other settings, or there is no such setting.
        StorageError: It can not be opened.
    """
    chosen = dict(settings or {})
    names = None if features is None else tuple(features)
    is_file = where != ":memory:" and "://" not in where
    # neither the key nor the pepper may tell two loops of one store apart: it has one owner
    place = (str(Path(where).absolute()) if is_file else where, str(chosen.get("tenant", "")))
    with _LOCK:
        held = _OPENED.get(place)
        if held is not None and not _is_closed(held.loop):
            _check_same(held, names, chosen, where)
            return cast("Ranks", held.loop)
        # named late: a client stands beside the integrations, not below them
        made: Any = import_module("dwell.client").Client if is_service(where) else open_loop
        _check_settings(made, chosen)
        loop: Any = (
            made(where, key, **chosen) if is_service(where) else made(where, features=names, pepper=pepper, **chosen)
        )
        _OPENED[place] = _Opened(loop, names, chosen)
        return cast("Ranks", loop)


def _check_settings(made: Callable[..., Any], settings: Mapping[str, object]) -> None:
    """Refuse names that nothing takes.

    Raises:
        ConfigError: There is such a name.
    """
    known = [one.name for one in inspect.signature(made).parameters.values() if one.kind is one.KEYWORD_ONLY]
    taken = [name for name in known if not name.startswith("_") and name not in _OWN]
    strange = next((name for name in settings if name not in taken), None)
    if strange is not None:
        raise ConfigError(
            f"there is no setting {strange!r}",
            field=f"settings.{strange}",
            value=strange,
            hint=f"There are {', '.join(sorted(taken))}.",
        )


def _is_closed(loop: object) -> bool:
    return isinstance(loop, Loop) and not loop.is_recording


def _check_same(held: _Opened, features: tuple[str, ...] | None, settings: Mapping[str, object], where: str) -> None:
    known = held.loop.feature_columns if isinstance(held.loop, Loop) else held.features
    is_other = features is not None and known is not None and set(features) != set(known)
    if is_other or (settings and settings != held.settings):
        raise ConfigError(
            "this store is open in this process with other features or settings",
            field="where",
            value=where.partition("@")[2] or where,
            hint="Give every component of a store the same ones, or none.",
        )


def close_opened() -> None:
    """Close every loop that was opened by name; the next use opens it again. The process's end does it too."""
    with _LOCK:
        held = list(_OPENED.values())
        _OPENED.clear()
    for one in held:
        with contextlib.suppress(Exception):  # one that can not be closed must not keep the others open
            one.loop.close()


atexit.register(close_opened)
