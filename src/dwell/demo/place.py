"""Where the demo leaves its store and its report, and what it may replace there: its own, and nothing else."""

import os
from pathlib import Path
from typing import Final

from dwell.errors import ConfigError, DwellError, StoreOwnedError
from dwell.storage import check_pepper, open_store

__all__ = [
    "GENERATOR",
    "check_report",
    "check_store",
    "clear_store",
    "kept_pepper",
    "pepper_of",
    "place_pepper",
    "place_report",
]

#: What every report of a demo says it was made by.
GENERATOR: Final = "dwell demo"

_PEPPER_BEGINS: Final = "dwell-demo-simulated-users-"
# The store itself first, and what makes it known as a demo's last
_SIDE_FILES: Final = ("", "-wal", "-shm", "-journal", ".lock", ".learner.lock", ".pepper")


def pepper_of(seed: int) -> str:
    """The pepper of a demo: no secret, because nobody in it is real; the same seed has the same draws."""
    return f"{_PEPPER_BEGINS}{seed}"


def _beside(store: Path, suffix: str) -> Path:
    return store.with_name(store.name + suffix)


def check_store(store: Path) -> list[Path]:
    """What an earlier demo left at that place, the store itself first and its pepper last; nothing where nothing is.

    A demo's store is known by its pepper, which no other store has.

    Raises:
        ConfigError: Something else is there, or the folder is not.
        StoreOwnedError: A process has it open.
    """
    if not store.parent.is_dir():
        raise ConfigError(
            "the folder of the store does not exist", field="store", value=str(store), hint="Make it, or name another."
        )
    found = [path for path in (_beside(store, suffix) for suffix in _SIDE_FILES) if os.path.lexists(path)]
    if found and not _is_a_demo(store):
        raise ConfigError(
            "what is there was not made by the demo, and the demo removes nothing else",
            field="store",
            value=str(store),
            hint="Move it away with the files beside it, or name another place with --store.",
        )
    return found


def clear_store(store: Path) -> None:
    """Remove the store of an earlier demo with everything beside it, so that a new one can be made there.

    Raises:
        ConfigError: See `check_store`.
        StoreOwnedError: See `check_store`.
    """
    for path in check_store(store):  # the pepper last: whatever a crash leaves is known again
        path.unlink(missing_ok=True)


def _is_a_demo(store: Path) -> bool:
    pepper = _beside(store, ".pepper")
    if store.is_symlink() or pepper.is_symlink() or not pepper.is_file():
        return False
    text = pepper.read_bytes()[:200].strip()
    if not text.startswith(_PEPPER_BEGINS.encode()):
        return False
    if not os.path.lexists(store):
        return True  # an earlier demo, or its removal, was cut short
    try:
        opened = open_store(str(store))  # as the owner: nobody else may have it
        try:
            check_pepper(opened, text)
        finally:
            opened.close()
    except StoreOwnedError:
        raise
    except DwellError:
        return False
    return True


def place_pepper(store: Path, seed: int) -> str:
    """Put the pepper beside the store, where the commands look for it, and return it.

    Raises:
        OSError: It can not be written.
    """
    pepper = pepper_of(seed)
    descriptor = os.open(_beside(store, ".pepper"), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{pepper}\n")
    return pepper


def kept_pepper(store: Path) -> str:
    """Return the pepper of the store that an earlier demo left at that place.

    Raises:
        ConfigError: There is none, or what is there is no demo's.
        StoreOwnedError: A process has it open.
    """
    if store not in check_store(store):
        raise ConfigError(
            "there is no store of an earlier demo",
            field="store",
            value=str(store),
            hint="Leave --keep out: one is made.",
        )
    return _beside(store, ".pepper").read_text(encoding="ascii").strip()


def check_report(report: Path) -> None:
    """Refuse a place where the report can not be put, before anything else is done.

    Raises:
        ConfigError: There is no such folder, or what is there was not made by the demo.
    """
    if not report.parent.is_dir() or report.is_dir():
        raise ConfigError(
            "the report can not be put there",
            field="report",
            value=str(report),
            hint="Name a file in a folder that exists.",
        )
    if report.exists():
        with report.open("rb") as file:
            is_ours = GENERATOR.encode() in file.read(1_000)
        if not is_ours:
            raise ConfigError(
                "what is there was not made by the demo, and the demo replaces nothing else",
                field="report",
                value=str(report),
                hint="Move it away, or name another place with --report.",
            )


def place_report(report: Path, text: str) -> None:
    """Write the report, whole or not at all.

    Raises:
        OSError: It can not be written.
    """
    draft = report.with_name(f".{report.name}.{os.getpid()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(report)
    finally:
        draft.unlink(missing_ok=True)
