"""What PostgreSQL says becomes an error of ours: its kind, its code, whether trying again is right, and no rows."""

import psycopg
import pytest
from psycopg import errors

from dwell.errors import CorruptStoreError, StorageError, StoreBusyError
from dwell.storage.postgres_failures import is_connection_lost, told


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("55P03", StoreBusyError, "store_busy"),  # lock_not_available
        ("40001", StoreBusyError, "store_busy"),  # serialization_failure
        ("40P01", StoreBusyError, "store_busy"),  # deadlock_detected
        ("57014", StoreBusyError, "timeout"),  # query_canceled
        ("25P03", StoreBusyError, "timeout"),  # idle_in_transaction_session_timeout
        ("53300", StoreBusyError, "too_many_connections"),
        ("53100", StorageError, "disk_full"),
        ("28P01", StorageError, "cannot_open"),  # invalid_password
        ("3D000", StorageError, "cannot_open"),  # invalid_catalog_name
        ("42501", StorageError, "not_permitted"),  # insufficient_privilege
        ("25006", StorageError, "read_only"),  # read_only_sql_transaction
        ("XX001", CorruptStoreError, "corrupt_store"),  # data_corrupted
        ("58030", StorageError, "io"),  # io_error
        ("23505", StorageError, "constraint"),  # unique_violation
        ("42P01", StorageError, "not_a_store"),  # undefined_table
        ("57P01", StoreBusyError, "unreachable"),  # admin_shutdown
        ("57P02", StoreBusyError, "unreachable"),  # crash_shutdown
        ("08006", StoreBusyError, "unreachable"),  # connection_failure
        ("42601", StorageError, "storage"),  # syntax_error: ours, and told as it is
    ],
)
def test_each_state_has_its_error(state: str, kind: type[StorageError], code: str) -> None:
    found = told(errors.lookup(state)("its words\nDETAIL: a row of somebody"), "postgresql://u@there/db")
    assert type(found) is kind
    assert (found.code, found.retryable) == (code, kind is StoreBusyError)
    assert "somebody" not in str(found)
    assert found.hint


def test_a_lost_connection_is_known_without_a_state() -> None:
    assert is_connection_lost(psycopg.OperationalError("the connection is closed"))
    assert is_connection_lost(psycopg.InterfaceError("the connection is closed"))
    assert not is_connection_lost(psycopg.DataError("NUL"))
    assert told(psycopg.DataError("text fields cannot contain NUL"), "there").code == "constraint"
