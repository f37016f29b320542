"""A place is shown without what is secret in it."""

import pytest

from dwell.storage.places import has_side_files, is_postgres, shown_place


@pytest.mark.parametrize(
    ("where", "shown"),
    [
        ("search.dwell", "search.dwell"),
        (":memory:", ":memory:"),
        ("postgresql://there/db", "postgresql://there/db"),
        ("postgresql://u@there:5433/db", "postgresql://u@there:5433/db"),
        ("postgresql://u:secret@there/db", "postgresql://u@there/db"),
        ("postgres://u:secret@there/db", "postgres://u@there/db"),
        ("postgresql://u:se/cr@et@there/db", "postgresql://u@there/db"),
        ("postgresql://u:s%2Fecret@/db?host=/run/pg", "postgresql://u@/db"),
        ("postgresql://there/db?user=u&password=secret", "postgresql://there/db"),
        ("postgresql://there/db#secret", "postgresql://there/db"),
    ],
)
def test_no_secret_is_shown(where: str, shown: str) -> None:
    assert shown_place(where) == shown


def test_places_are_told_apart() -> None:
    places = [":memory:", "postgresql:///db", "postgres:///db", "./postgresql", "a.dwell"]
    assert [is_postgres(where) for where in places] == [False, True, True, False, False]
    assert [has_side_files(where) for where in places] == [False, False, False, True, True]
