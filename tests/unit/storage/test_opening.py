"""The one way to open a store refuses what it can not open, by name."""

import pytest

from dwell.errors import ConfigError
from dwell.storage import open_store


@pytest.mark.parametrize("where", ["postgresql://u:pass@there/db", "postgres://there/db"])
def test_postgresql_is_not_available(where: str) -> None:
    with pytest.raises(ConfigError, match="PostgreSQL is not available in this version") as refusal:
        open_store(where)
    assert "there" not in str(refusal.value), "a connection string may hold a password"


@pytest.mark.parametrize(
    "arguments", [{"role": "boss"}, {"durability": "none"}, {"where": ""}, {"where": "a\0b"}], ids=str
)
def test_what_does_not_exist_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        open_store(**{"where": ":memory:", **arguments})


def test_memory_is_told_by_its_name() -> None:
    store = open_store(":memory:")
    assert (store.where, store.role, store.verify(), store.data_version()) == (":memory:", "owner", [], 0)
    store.close()
