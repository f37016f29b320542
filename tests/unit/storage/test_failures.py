"""Every error of SQLite becomes one that says what to do."""

import apsw
import pytest

from dwell.errors import CorruptStoreError, StorageError, StoreBusyError, StoreClosedError
from dwell.storage.failures import told


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (apsw.BusyError("x"), StoreBusyError, "store_busy"),
        (apsw.FullError("x"), StorageError, "disk_full"),
        (apsw.IOError("x"), StorageError, "io"),
        (apsw.CorruptError("x"), CorruptStoreError, "corrupt_store"),
        (apsw.NotADBError("x"), CorruptStoreError, "corrupt_store"),
        (apsw.CantOpenError("x"), StorageError, "cannot_open"),
        (apsw.ReadOnlyError("x"), StorageError, "read_only"),
        (apsw.ConnectionClosedError("x"), StoreClosedError, "store_closed"),
        (apsw.ConstraintError("x"), StorageError, "constraint"),
        (apsw.SQLError("x"), StorageError, "storage"),
    ],
)
def test_each_is_told(error: apsw.Error, kind: type[StorageError], code: str) -> None:
    found = told(error, "a{b}.dwell")
    assert type(found) is kind
    assert found.code == code
    assert "a{b}.dwell" in str(found)
    assert found.hint
