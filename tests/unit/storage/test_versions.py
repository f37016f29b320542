"""Snapshots in memory: each sees its own state, and nothing is kept that nobody can see."""

from hypothesis import given
from hypothesis import strategies as st

from dwell.storage.versions import Changes, Versions, View


def commit(versions: Versions, **values: int | None) -> None:
    stamp = versions.begin()
    changes = Changes(View(versions, stamp))
    for key, value in values.items():
        if value is None:
            changes.remove("t", key)
        else:
            changes.put("t", key, value)
    versions.end(stamp)
    versions.commit(changes.pending)


def test_without_readers_one_value_is_kept_per_key() -> None:
    versions = Versions(("t",))
    for i in range(5):
        commit(versions, a=i, b=i)
    commit(versions, b=None)
    assert [node[2] for node in versions._tables["t"].values()] == [None]
    assert list(versions._tables["t"]) == ["a"]
    assert not versions._old


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.integers(0, 9)),
        st.tuples(st.just("remove"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("begin"), st.just("a"), st.just(0)),
        st.tuples(st.just("end"), st.just("a"), st.integers(0, 9)),
    ),
    max_size=40,
)


@given(STEPS)
def test_every_reader_sees_the_state_it_began_with(steps: list[tuple[str, str, int]]) -> None:
    versions, now, readers = Versions(("t",)), {}, []
    for step, key, number in steps:
        if step == "put":
            commit(versions, **{key: number})
            now = {**now, key: number}
        elif step == "remove":
            commit(versions, **{key: None})
            now = {kept: value for kept, value in now.items() if kept != key}
        elif step == "begin":
            readers.append((versions.begin(), now))
        elif readers:
            versions.end(readers.pop(number % len(readers))[0])
        for stamp, expected in readers:
            assert dict(versions.items("t", stamp)) == expected
            assert {key: versions.get("t", key, stamp) for key in "abc"} == {key: expected.get(key) for key in "abc"}
    for stamp, _ in readers:
        versions.end(stamp)
    assert {key: node[1:] for key, node in versions._tables["t"].items()} == {k: (v, None) for k, v in now.items()}


def test_changes_are_undone_to_a_mark() -> None:
    versions = Versions(("t",))
    commit(versions, a=1)
    changes = Changes(View(versions, versions.begin()))
    changes.put("t", "b", 2)
    mark = changes.mark()
    changes.put("t", "b", 3)
    changes.remove("t", "a")
    changes.put("t", "c", 4)
    assert sorted(changes.items("t")) == [("b", 3), ("c", 4)]
    assert changes.get("t", "a") is None
    changes.undo_to(mark)
    assert sorted(changes.items("t")) == [("a", 1), ("b", 2)]
