"""Which shards there are: names that stay, and a note in the store that can be read or is refused."""

import pytest

from dwell.cluster.members import Members, members_in, needed_members, put_members, shard_names
from dwell.errors import ClusterError, ConfigError
from dwell.storage import open_store


def test_scaling_keeps_the_names_there_are_and_gives_new_ones_the_lowest_free_number() -> None:
    members = Members(4, ("shard-0", "shard-2"), "127.0.0.1:1")
    assert members.scaled(4).shards == ("shard-0", "shard-2", "shard-1", "shard-3")
    assert members.scaled(1).shards == ("shard-0",)
    assert members.scaled(1).generation == 5


@pytest.mark.parametrize("n", [0, -1, 1_025, True, 2.0, "2", None])
def test_a_number_of_shards_that_is_none_is_refused(n: object) -> None:
    with pytest.raises(ConfigError, match="1 to 1024 shards"):
        shard_names(n)


def test_the_note_of_a_cluster_is_kept_forgotten_and_refused_where_it_is_damaged() -> None:
    store = open_store(":memory:")
    members = Members(1, shard_names(2), "127.0.0.1:1")
    for given in (members, None):
        with store.transaction() as tx:
            put_members(tx, given)
        with store.snapshot() as reader:
            assert members_in(reader) == given
    with store.snapshot() as reader, pytest.raises(ClusterError) as told:
        needed_members(reader)
    assert told.value.code == "no_cluster"
    with store.transaction() as tx:
        tx.put_setting("cluster", b"\xc1")
    with store.snapshot() as reader, pytest.raises(ClusterError) as told:
        members_in(reader)
    assert told.value.code == "corrupt"
