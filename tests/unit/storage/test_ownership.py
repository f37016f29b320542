"""One owner; a child made by fork holds nothing."""

import gc
import os
import warnings
from pathlib import Path

import pytest

from dwell.errors import StorageError, StoreOwnedError
from dwell.storage.ownership import Ownership


def test_a_second_owner_hears_who_is_first(tmp_path: Path) -> None:
    first = Ownership(str(tmp_path / "s"))
    with pytest.raises(StoreOwnedError, match=f"is owned by process {os.getpid()}") as refusal:
        Ownership(str(tmp_path / "s"))
    for command in ("inspect", "health", "promote", "rollback", "erase"):
        assert command in refusal.value.hint
    assert "role" not in str(refusal.value)  # dwell.open knows no such argument
    first.release()
    first.release()
    Ownership(str(tmp_path / "s")).release()
    assert (tmp_path / "s.lock").read_text() == ""


def test_what_is_collected_gives_it_back(tmp_path: Path) -> None:
    first = Ownership(str(tmp_path / "s"))
    del first
    gc.collect()
    Ownership(str(tmp_path / "s")).release()


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can not be opened"):
        Ownership(str(tmp_path / "no" / "s"))


def test_a_child_neither_keeps_nor_frees_it(tmp_path: Path) -> None:
    ready, leave = os.pipe(), os.pipe()
    first = Ownership(str(tmp_path / "s"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forking is what is tested here
        child = os.fork()
    if child == 0:
        first.release()
        os.write(ready[1], b"x")
        os.read(leave[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    with pytest.raises(StoreOwnedError):
        Ownership(str(tmp_path / "s"))
    first.release()
    Ownership(str(tmp_path / "s")).release()  # while the child is still there
    os.write(leave[1], b"x")
    os.waitpid(child, 0)
    for descriptor in (*ready, *leave):
        os.close(descriptor)
